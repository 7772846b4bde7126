"""Why a signal stands on the list, or does not: what was detected at a period or a time, and what became of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.config.model import Config
from pulsar.data.header import Header
from pulsar.data.text import band_text
from pulsar.errors import ConfigError, DataError
from pulsar.io.product.provenance import settings_of
from pulsar.io.product.reader import Run, read
from pulsar.report.why_periodic import Detections, closest, dm_range, flag_texts, is_fold, periodic_rows
from pulsar_kernels.arrays import Array, Bools, Floats, Ints

#: Products of a merged list that are asked for all that they know: those with the strongest detections.
MOST_ASKED: Final = 3
#: Commands and products that are named, others that have detections too, and pulses, the best.
MOST_NAMED: Final = 8


@dataclass(frozen=True)
class Question:
    """A place in the data."""

    freq: float | None = None  # [Hz]
    time: float | None = None  # [s] from the start of the observation; of a merged product from that of each of them
    dm: float | None = None  # [pc cm^-3]; None: any

    def __str__(self) -> str:
        place = f"--freq {self.freq:.12g}" if self.freq is not None else f"--time {self.time:.9g}"
        return place + ("" if self.dm is None else f" --dm {self.dm:g}")

    @property
    def title(self) -> str:
        """The same in words."""
        where = f" and DM {self.dm:g}" if self.dm is not None else ""
        if self.freq is not None:
            return f"{self.freq:.9g} Hz, a period of {1 / self.freq:.9g} s{where}"
        return f"{self.time:.6g} s from the start{where}"


def why(run: Run, asked: Question) -> list[str]:
    """Lines of text: what was found at a period or a time, by which search, who has it on what evidence, or why nobody.

    Of a merged product its own rows are told first, then what those of the products that were merged know that still
    lie where they were, or beside it.

    Parameters
    ----------
    run : Run
        Product of a search, or of several that were merged.
    asked : Question
        Either a frequency or a time.

    Raises
    ------
    ConfigError
        Neither or both of frequency and time, or a value that makes no sense.
    DataError
        The product does not tell whose the detections are.
    """
    if (asked.freq is None) == (asked.time is None):
        raise ConfigError("why what? give one of a period, a frequency or a time")
    if asked.freq is not None and not (np.isfinite(asked.freq) and asked.freq > 0):
        raise ConfigError(f"frequency {asked.freq:g} Hz: expected a positive number")
    if asked.dm is not None and not (np.isfinite(asked.dm) and asked.dm >= 0):
        raise ConfigError(f"DM {asked.dm:g}: expected a number >= 0")
    longest = max(header.tobs for header in run.observations)
    if asked.time is not None and not 0 <= asked.time <= longest:
        raise ConfigError(f"time {asked.time} s: the observation lasts from 0 to {longest:.6g} s")
    merged = run.is_merged or "merged" in run.provenance
    return [f"{run.path.name}: {asked.title}", *(_merged(run, asked) if merged else _answer_lines(run, asked))]


def _answer_lines(run: Run, asked: Question) -> Iterator[str]:
    """All that the product of one observation knows."""
    config = settings_of(run.provenance)
    if asked.freq is not None:
        return Detections(run, asked.freq, asked.dm).lines(config)
    return _single(run, config, asked.time or 0.0, asked.dm)


def _merged(run: Run, asked: Question) -> Iterator[str]:
    """The rows of a merged list, and what its products know."""
    if asked.freq is not None:
        yield from periodic_rows(run, asked.freq, asked.dm, lambda row: _name(run.observation_of(row)))
    else:
        yield from _pulse_rows(run, asked.time or 0.0, asked.dm)
    products, missing = _products(run)
    parts = []
    for part in products:
        try:
            parts.append((_strength(part, asked), part))
        except DataError:
            missing.append(part.path)
    parts.sort(key=lambda pair: -pair[0])
    for _, part in parts[:MOST_ASKED]:
        yield f"{part.path.name} ({_name(part.observation)}) says:"
        yield from (f"  {line}" for line in _answer(part, asked))
    others = [part for strength, part in parts[MOST_ASKED:] if strength > 0]
    rest = [part for strength, part in parts[MOST_ASKED:] if not strength > 0]
    if others:
        yield f"{len(others)} more have something there:"
        yield from (f"  pulsar why {part.path} {asked}" for part in others[:MOST_NAMED])
    if rest:
        yield f"{len(rest)} more have nothing there; to hear why: pulsar why {rest[0].path} {asked}"
    if missing:
        yield "what was detected is in products that are no longer where they were, or too old to tell; ask them:"
        yield from (f"  pulsar why {path} {asked}" for path in missing[:MOST_NAMED])
        if len(missing) > MOST_NAMED:
            yield f"  and {len(missing) - MOST_NAMED} more"
    if not parts and not missing:
        yield "it does not say which products were merged; ask those with the same command"


def _strength(part: Run, asked: Question) -> float:
    """Significance of the strongest detection of a product at a place, or S/N of the strongest pulse; 0: none."""
    if asked.freq is not None:
        return Detections(part, asked.freq, asked.dm).best_sigma()
    header, pulses = part.observation, part.rows("single_pulses")
    near = pulses[_near(pulses, asked.time or 0.0)]
    near = near[_of_dm(near, asked.dm, header)]
    return float(near["snr"].max()) if near.size else 0.0


def _answer(part: Run, asked: Question) -> list[str]:
    tobs = part.observation.tobs
    if asked.time is not None and asked.time > tobs:
        return [f"this observation lasts {tobs:.6g} s only"]
    return list(_answer_lines(part, asked))


def _products(run: Run) -> tuple[list[Run], list[Path]]:
    """The products that were merged: those that can be read, and the paths of those that are gone."""
    rows, headers = run.rows("observations"), run.observations
    named = [(Path(str(row["product"])), header) for row, header in zip(rows, headers, strict=False) if row["product"]]
    products: list[Run] = []
    missing: list[Path] = []
    for path, header in named:
        part = _there(path, run.path, header) or _there(run.path.with_name(path.name), run.path, header)
        if part is None:
            missing.append(path)
        elif part.path.resolve() not in [known.path.resolve() for known in products]:
            products.append(part)
    return products, missing


def _there(path: Path, merged: Path, header: Header) -> Run | None:
    """The product of an observation at a path, or None when it is not there, or of another observation."""
    if not path.exists() or path.resolve() == merged.resolve():
        return None
    try:
        part = read(path)
        own = part.observation
    except DataError:
        return None
    same = own.beam == header.beam and own.nsamps == header.nsamps
    return part if same and (own.tstart == header.tstart or not np.isfinite(header.tstart)) else None


def _name(header: Header) -> str:
    """Source, beam and start of an observation, which tell it from the others of a merged product."""
    beam = f"beam {header.beam}, " if header.beam is not None else ""
    start = f"MJD {header.tstart:.5f}" if np.isfinite(header.tstart) else "of an unknown time"
    return f"{header.source or 'unnamed source'}, {beam}{start}"


def _single(run: Run, config: Config, time: float, dm: float | None) -> Iterator[str]:
    """All that the product of one observation knows of a time [s], from its start at the highest channel."""
    header, pulses = run.observation, run.rows("single_pulses")
    if is_fold(run):
        yield "a product of `pulsar fold`: single pulses were not searched for"
        return
    if not config.single_pulse.enabled:
        yield "single pulses were not searched for (single_pulse.enabled)"
        return
    near = _near(pulses, time)
    matches = closest(pulses[near], dm)
    yield from (f"  {_pulse_text(row)}" for row in matches[:MOST_NAMED])
    if matches.size > MOST_NAMED:
        yield f"  and {matches.size - MOST_NAMED} more pulses"
    at_dm = _of_dm(matches, dm, header)
    if matches.size and not at_dm.any():
        yield f"none of them has DM {dm:g}"
    if not at_dm.any():
        yield from _limits(run, config, dm)
        yield from _nearest(pulses[~near], time)
    yield from _masked(run, header, time, dm, always=not at_dm.any())
    yield from _missing(run, header, time, dm)


def _pulse_rows(run: Run, time: float, dm: float | None) -> Iterator[str]:
    """The rows of a merged list at a time from the start of each observation [s]."""
    pulses = run.rows("single_pulses")
    matches = closest(pulses[_near(pulses, time)], dm)
    yield "on the merged list at this time:" if matches.size else "nothing on the merged list at this time"
    for row in matches[:MOST_NAMED]:
        yield f"  {_pulse_text(row)}"
        beams = f", in {row['nbeams']} beams" if row["nbeams"] > 1 else ""
        yield f"    from {_name(run.observation_of(row))}{beams}"
    if matches.size > MOST_NAMED:
        yield f"  and {matches.size - MOST_NAMED} more pulses"


def _pulse_text(row: Any) -> str:
    """A row of single pulses in words."""
    texts = flag_texts(row)
    band = band_text(row["freq_lo"], row["freq_hi"], " to ")
    return (
        f"{row['id']}: at {row['time']:.4f} s, DM {row['dm']:.5g}, S/N {row['snr']:.1f}, width "
        f"{1e3 * row['width']:.3g} ms, "
        f"{f'best from {band} MHz, ' if band else ''}score {row['score']:.2f}, {row['ndetections']} events"
        + (f"; flags: {', '.join(texts)}" if texts else "")
        + (f"; in the phase of {row['source']}" if row["source"] else "")
    )


def _near(pulses: Array, time: float) -> Bools:
    """True for pulses at a time."""
    # Pulses this close are at the time asked for [s], and those that are longer within their width.
    return np.asarray(np.abs(pulses["time"] - time) <= np.maximum(pulses["width"], 0.05))


def _of_dm(matches: Array, dm: float | None, header: Header) -> Bools:
    """True for pulses of the DM asked for: within 5 of their errors, or within one that makes them twice as wide."""
    if dm is None or header.is_series:
        return np.ones(matches.size, dtype=np.bool_)
    across = float(header.delays(1.0)[-1])
    wide = matches["width"] / across if across > 0 else np.full(matches.size, np.inf)
    return np.asarray(np.abs(matches["dm"] - dm) <= np.maximum(5.0 * np.nan_to_num(matches["dm_err"]), wide))


def _limits(run: Run, config: Config, dm: float | None) -> Iterator[str]:
    """The thresholds and ranges that kept it off."""
    header, sp, pulses = run.observation, config.single_pulse, run.rows("single_pulses")
    more = "" if sp.bands == (1,) else ", and a little more for the trials of all bands"
    yield (
        f"no pulse above S/N {sp.snr:g} (single_pulse.snr{more}) of {header.tsamp * 1e3:.3g} to "
        f"{sp.width_max * 1e3:.3g} ms width (single_pulse.width_max)"
    )
    if dm is not None and not header.is_series and not config.dedisp.dm_lo <= dm <= config.dedisp.dm_hi:
        yield dm_range(config, dm)
    flags = {flag: str(row["id"]) for row in pulses for flag in str(row["rfi_flags"]).split(",") if flag}
    if "storm" in flags:
        yield (
            f"{flags['storm']} stands for a storm: weak events, at any time and DM, that could not be told from "
            "interference"
        )
    if "many" in flags:
        yield f"there were too many events: the weakest were left out (single_pulse.max_events = {sp.max_events})"
    if config.rfi.zerodm != "off":
        yield f"what all channels share was subtracted: little is left of small DMs (rfi.zerodm = {config.rfi.zerodm})"


def _nearest(pulses: Array, time: float) -> Iterator[str]:
    if len(pulses):
        nearest = pulses[int(np.argmin(np.abs(pulses["time"] - time)))]
        yield f"the nearest other is {nearest['id']} at {nearest['time']:.4f} s, DM {nearest['dm']:.5g}"


def _arrivals(header: Header, time: float, dm: float | None) -> Floats:
    """Arrival of the pulse in each channel [s], shape (nchans,)."""
    return time + header.delays(0.0 if dm is None or header.is_series else dm)


def _masked(run: Run, header: Header, time: float, dm: float | None, *, always: bool) -> Iterator[str]:
    """The share of the pulse that is masked, along its sweep, and why; `always`: also that nothing is."""
    rfi = run.rfi
    mask = rfi.get("mask")
    if mask is None or not mask.size:
        return
    samples = np.asarray(_arrivals(header, time, dm) / header.tsamp).astype(np.int64)
    inside = np.flatnonzero(samples < header.nsamps)
    if not inside.size:
        return
    samples = samples[inside]
    blocks = np.minimum(np.searchsorted(rfi["edges"], samples, side="right") - 1, mask.shape[0] - 1)
    lost = mask[blocks, inside] | rfi["chan_mask"][inside]
    if always or lost.any():
        sweep = "" if dm is None or dm == 0.0 else " along its sweep"
        yield (
            f"{100 * float(np.mean(lost)):.0f} % of the channels are masked at this time{sweep}"
            f"{_causes(rfi, blocks, inside)}; of all data {100 * rfi.get('masked_fraction', 0.0):.2g} %"
        )
    clipped = rfi.get("clipped")
    if clipped is None or not clipped.size:
        return
    place = np.searchsorted(clipped[:, 0], samples, side="right") - 1
    within = (place >= 0) & (samples < clipped[np.maximum(place, 0), 1])
    if within.any():
        first, last = clipped[place[within].min(), 0], clipped[place[within].max(), 1]
        yield (
            f"in {100 * float(np.mean(within)):.0f} % of the channels it lies in what was left out as an undispersed "
            f"impulse, from {first * header.tsamp:.4f} to {last * header.tsamp:.4f} s (rfi.clip)"
        )


def _causes(rfi: Mapping[str, Any], blocks: Ints, channels: Ints) -> str:
    """Causes for which these blocks of these channels are masked, the most frequent first; "": not in the product."""
    bits, names = rfi.get("why"), rfi.get("causes")
    if bits is None or names is None or not bits.size:
        return ""
    own = bits[blocks, channels]
    counts = {str(name): int(np.count_nonzero((own >> i) & 1)) for i, name in enumerate(names)}
    present = sorted((name for name, count in counts.items() if count), key=lambda name: -counts[name])
    return f" ({', '.join(present)})" if present else ""


def _missing(run: Run, header: Header, time: float, dm: float | None) -> Iterator[str]:
    """Parts of the pulse that are not in the data."""
    arrivals = _arrivals(header, time, dm)
    after = float(np.mean(arrivals >= header.tobs))
    if after > 0:
        yield f"in {100 * after:.0f} % of the channels it comes after the end of the observation"
    samples = arrivals / header.tsamp
    for gap in run.rows("observation/gaps"):
        within = (samples >= gap["start"]) & (samples < gap["start"] + gap["nsamps"])
        if within.any():
            share = 100 * float(within.mean())
            yield f"there are no data at this time in {share:.0f} % of the channels: {gap['reason']}"
