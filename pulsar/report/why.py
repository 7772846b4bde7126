"""Why a signal stands on the list, or does not: what was detected at a period or a time, and what became of it."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import Config
from pulsar.data import flags as table
from pulsar.data.header import Header
from pulsar.errors import ConfigError, DataError
from pulsar.io.product.reader import Run

#: Detections this close to the frequency asked for are at it [bins of 1/T].
BINS: Final = 1.5
#: Ratios that are looked at: largest multiple and divisor.
MULTIPLE: Final = 16
DIVISOR: Final = 8
#: Related groups that are told, the most significant.
MOST: Final = 8
#: Harmonics whose lines are looked up among what was left out.
HARMONICS: Final = 16


@dataclass(frozen=True)
class Asked:
    """A place in the data.

    Attributes
    ----------
    freq : float or None
        [Hz]
    time : float or None
        [s] from the start of the observation.
    dm : float or None
        [pc cm^-3]; None: any.
    """

    freq: float | None = None
    time: float | None = None
    dm: float | None = None


def why(run: Run, asked: Asked) -> list[str]:
    """Lines of text: what was found at a period or a time, by which search, who has it on what evidence, or why nobody.

    Parameters
    ----------
    run : Run
        Product of a search.
    asked : Asked
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
    config = _config(run)
    if asked.freq is not None:
        if not (np.isfinite(asked.freq) and asked.freq > 0):
            raise ConfigError(f"frequency {asked.freq:g} Hz: expected a positive number")
        return list(_periodic(run, config, asked.freq, asked.dm))
    if asked.time is None or not 0 <= asked.time <= run.observation.tobs:
        raise ConfigError(f"time {asked.time} s: the observation lasts from 0 to {run.observation.tobs:.6g} s")
    return list(_single(run, config, asked.time, asked.dm))


def _config(run: Run) -> Config:
    text = str(run.provenance.get("config", ""))
    try:
        return Config.model_validate(tomllib.loads(text))
    except ValueError:  # settings of another version: the defaults tell as much as can be told
        return Config()


def _periodic(run: Run, config: Config, freq: float, dm: float | None) -> Iterator[str]:
    header = run.observation
    detections, rows = run.rows("detections"), run.rows("candidates")
    if detections.size and "uid" not in (detections.dtype.names or ()):
        raise DataError(f"{run.path}: does not say whose its detections are; search the data again with this version")
    where = f" and DM {dm:g}" if dm is not None else ""
    yield f"{run.path.name}: {freq:.9g} Hz, a period of {1 / freq:.9g} s{where}"
    near = np.abs(detections["freq"] - freq) * header.tobs <= BINS
    yield from _told("detected at this frequency", detections[near], rows, freq, dm)
    if not near.any():
        yield "no search had a detection above its threshold at this frequency"
        yield from _limits(run, config, header, freq, dm)
    ratio, m, d = _ratios(detections["freq"], freq, header.tobs)
    related = ~near & ratio
    if related.any():
        yield from _told("detected at simple ratios of it", detections[related], rows, freq, dm, m[related], d[related])
    yield from _lines(run, header, freq)


def _told(
    title: str,
    found: NDArray[Any],
    rows: NDArray[Any],
    freq: float,
    dm: float | None,
    m: NDArray[np.int64] | None = None,
    d: NDArray[np.int64] | None = None,
) -> Iterator[str]:
    """Groups of detections, the most significant first, and the row that has each."""
    if not found.size:
        return
    best: dict[str, int] = {}
    for i in np.argsort(-found["sigma"]):
        best.setdefault(str(found["uid"][i]), int(i))
    order = list(best.items())
    if dm is not None:
        # What is nearest in DM first, by the range in which each group was seen.
        spread = {uid: np.ptp(found["dm"][found["uid"] == uid]) for uid in best}
        off = {uid: abs(float(found["dm"][i]) - dm) - spread[uid] for uid, i in order}
        order.sort(key=lambda pair: max(off[pair[0]], 0.0))
    yield f"{title}:"
    for uid, i in order[:MOST]:
        one, own = found[i], found[found["uid"] == uid]
        times = "" if m is None or d is None else f" at {m[i]}/{d[i]}"
        kinds = ", ".join(dict.fromkeys(own["kind"][np.argsort(-own["sigma"])].tolist()))
        bins = "" if m is not None else f", {1e6 * (one['freq'] / freq - 1):+.3g} ppm"
        yield (
            f"  {uid}{times}: P {1 / one['freq']:.9g} s{bins}, DM {one['dm']:.5g} ({own['dm'].min():.5g} to "
            f"{own['dm'].max():.5g}), {one['sigma']:.1f} sigma of {one['nharm']} harmonics by {kinds}; "
            f"{own.size} detections"
        )
        yield f"    {_holder(one, rows)}"
    if len(order) > MOST:
        yield f"  and {len(order) - MOST} weaker groups"


def _holder(one: Any, rows: NDArray[Any]) -> str:
    """Which row of the list has a detection, and on what evidence."""
    uid, parent = str(one["uid"]), str(one["parent"])
    own, owner = rows[rows["uid"] == uid], rows[rows["uid"] == parent]
    if parent:
        name = _row(owner[0]) if owner.size else f"candidate {parent}"
        reason = f": {own[0]['reasons']}" if own.size and own[0]["reasons"] else ""
        return f"belongs to {name}, as {one['relation']}{reason}"
    if own.size:
        return f"is {_row(own[0])}"
    return f"is not on the list: {one['relation'] or 'left out'}"


def _row(row: Any) -> str:
    flags = table.split(str(row["rfi_flags"]))
    texts = [f"{flag} ({table.BY_NAME[flag].text})" if flag in table.BY_NAME else flag for flag in flags]
    folded = f"folded S/N {row['snr']:.1f}" if np.isfinite(row["snr"]) else "not folded (fold.ncands)"
    alternative = f", or {row['period_alt']:.9g} s" if np.isfinite(row["period_alt"]) else ""
    return (
        f"row {row['rank']} ({row['id']}): P {row['period']:.9g} s{alternative}, DM {row['dm']:.5g}, {folded}, score "
        f"{row['score']:.2f}" + (f"; flags: {', '.join(texts)}" if texts else "")
    )


def _ratios(
    freqs: NDArray[np.float64], freq: float, tobs: float
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Which frequencies are m/d times the one asked for, with the smallest d."""
    found = np.zeros(freqs.size, dtype=np.bool_)
    m, d = np.zeros(freqs.size, dtype=np.int64), np.ones(freqs.size, dtype=np.int64)
    for divisor in range(1, DIVISOR + 1):
        multiple = np.round(freqs * divisor / freq)
        off = np.abs(freqs - multiple * freq / divisor) * tobs
        # The frequency asked for is known to a part of a bin only, and so are its multiples.
        close = ~found & (multiple >= 1) & (multiple <= MULTIPLE) & (off <= 0.5 * np.maximum(multiple / divisor, 1.0))
        m[close], d[close] = multiple[close].astype(np.int64), divisor
        found |= close
    return found, m, d


def _limits(run: Run, config: Config, header: Header, freq: float, dm: float | None) -> Iterator[str]:
    """Which threshold or range kept it off."""
    period, nyquist = 1.0 / freq, 0.5 / header.tsamp
    detections = run.rows("detections")
    if freq > nyquist:
        yield f"  it is above the Nyquist frequency of the data, {nyquist:.6g} Hz"
    if dm is not None and not header.is_series and not config.dedisp.dm_lo <= dm <= config.dedisp.dm_hi:
        yield f"  DM {dm:g} was not searched: {config.dedisp.dm_lo:g} to {config.dedisp.dm_hi:g} were (dedisp.dm_hi)"
    searches = {
        "fft": (config.fft.enabled, config.fft.p_min or 2 * header.tsamp, config.fft.p_max or header.tobs / 10),
        "accel": (config.accel.enabled, config.accel.p_min or 2 * header.tsamp, config.accel.p_max or header.tobs / 10),
        "ffa": (config.ffa.enabled, config.ffa.p_min, min(config.ffa.p_max, header.tobs / 4)),
    }
    limits = {
        "fft": (config.fft.threshold, config.fft.max_detections),
        "accel": (config.accel.threshold, config.accel.max_detections),
        "ffa": (config.ffa.threshold, config.ffa.max_detections),
    }
    for kind, (enabled, low, high) in searches.items():
        if not enabled:
            yield f"  {kind}: was switched off"
        elif not low <= period <= high:
            yield f"  {kind}: searched periods from {low:.4g} to {high:.4g} s only ({kind}.p_min, {kind}.p_max)"
        else:
            own = detections[detections["kind"] == kind]
            threshold, most = limits[kind]
            single = _single_threshold(own, threshold)
            text = f", about {single:.1f} in a single trial" if np.isfinite(single) else ""
            yield f"  {kind}: nothing above its threshold of {threshold:g} sigma{text}"
            full = 0 if not own.size else int(np.max(np.bincount(own["dm_index"])))
            if full >= most:
                yield f"  {kind}: some DMs have as many detections as are kept ({kind}.max_detections = {full})"


def _single_threshold(found: NDArray[Any], threshold: float) -> float:
    """Single-trial significance that the trial-corrected threshold meant, from the weakest detection."""
    if not found.size:
        return float("nan")
    weakest = found[int(np.argmin(found["sigma"]))]
    return float(weakest["sigma_single"]) if weakest["sigma"] < threshold + 3.0 else float("nan")


def _lines(run: Run, header: Header, freq: float) -> Iterator[str]:
    """Lines of interference that were left out at the frequency or its harmonics."""
    lines = run.rows("rfi/birdies")
    if not lines.size:
        return
    most = min(HARMONICS, int(0.5 / (header.tsamp * freq)))
    hit = {
        k: str(line["reason"])
        for k in range(1, most + 1)
        for line in lines
        if abs(k * freq - line["freq"]) <= 0.5 * line["width"]
    }
    if hit:
        told = ", ".join(f"{k} ({reason})" for k, reason in hit.items())
        yield f"left out of the spectra as interference: of its first {most} harmonics number {told}"


def _single(run: Run, config: Config, time: float, dm: float | None) -> Iterator[str]:
    header, pulses = run.observation, run.rows("single_pulses")
    where = f" and DM {dm:g}" if dm is not None else ""
    yield f"{run.path.name}: {time:.6g} s from the start{where}"
    sp = config.single_pulse
    if not sp.enabled:
        yield "single pulses were not searched for (single_pulse.enabled)"
        return
    near = np.abs(pulses["time"] - time) <= np.maximum(pulses["width"], 0.05)
    found = pulses[near]
    if dm is not None and found.size:
        found = found[np.argsort(np.abs(found["dm"] - dm), kind="stable")]
    for row in found[:MOST]:
        flags = table.split(str(row["rfi_flags"]))
        texts = [f"{flag} ({table.BY_NAME[flag].text})" if flag in table.BY_NAME else flag for flag in flags]
        yield (
            f"  {row['id']}: at {row['time']:.4f} s, DM {row['dm']:.5g}, S/N {row['snr']:.1f}, width "
            f"{1e3 * row['width']:.3g} ms, score {row['score']:.2f}, {row['ndetections']} events"
            + (f"; flags: {', '.join(texts)}" if texts else "")
            + (f"; in the phase of {row['source']}" if row["source"] else "")
        )
    if not found.size:
        yield (
            f"no pulse above S/N {sp.snr:g} (single_pulse.snr) of {header.tsamp * 1e3:.3g} to {sp.width_max * 1e3:.3g} "
            "ms width"
        )
        if dm is not None and not header.is_series and not config.dedisp.dm_lo <= dm <= config.dedisp.dm_hi:
            yield f"DM {dm:g} was not searched: {config.dedisp.dm_lo:g} to {config.dedisp.dm_hi:g} were"
        if len(pulses):
            nearest = pulses[int(np.argmin(np.abs(pulses["time"] - time)))]
            yield f"the nearest is {nearest['id']} at {nearest['time']:.4f} s, DM {nearest['dm']:.5g}"
    rfi = run.rfi
    if "mask" in rfi and rfi["mask"].size:
        block = int(time / header.tsamp) // max(int(rfi["block_nsamps"]), 1)
        if 0 <= block < rfi["mask"].shape[0]:
            yield f"{100 * float(np.mean(rfi['mask'][block])):.0f} % of the channels are masked at this time"
    for gap in run.rows("observation/gaps"):
        if gap["start"] <= time / header.tsamp < gap["start"] + gap["nsamps"]:
            yield f"there are no data at this time: {gap['reason']}"
