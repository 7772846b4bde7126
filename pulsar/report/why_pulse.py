"""What was found of a single pulse at a time, and what kept it off the list."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import Config
from pulsar.data.header import Header
from pulsar.io.product.reader import Run
from pulsar.report.why_periodic import dm_range, flag_texts, is_fold, masked_fraction, masks

#: Pulses this close are at the time asked for [s], and those that are longer within their width.
REACH: Final = 0.05
#: Pulses that are told, the best.
MOST: Final = 8
#: A DM is that of a pulse within so many of its errors.
ERRORS: Final = 5.0


def single(run: Run, config: Config, time: float, dm: float | None) -> Iterator[str]:
    """What the product of one observation knows of a time.

    Parameters
    ----------
    run : Run
    config : Config
        With which it was made.
    time : float
        From the start of the observation [s], at the highest channel.
    dm : float or None
        [pc cm^-3]; None: any.
    """
    header, pulses = run.observation, run.rows("single_pulses")
    if is_fold(run):
        yield "a product of `pulsar fold`: single pulses were not searched for"
        return
    if not config.single_pulse.enabled:
        yield "single pulses were not searched for (single_pulse.enabled)"
        return
    near = _near(pulses, time)
    found = _closest(pulses[near], dm)
    yield from (f"  {pulse_text(row)}" for row in found[:MOST])
    if found.size > MOST:
        yield f"  and {found.size - MOST} more pulses"
    at_dm = _of_dm(found, dm, header)
    if found.size and not at_dm.any():
        yield f"none of them has DM {dm:g}"
    if not at_dm.any():
        yield from _limits(run, config, dm)
        yield from _nearest(pulses[~near], time)
    yield from _masked(run, header, time, dm, always=not at_dm.any())
    yield from _missing(run, header, time, dm)


def pulse_rows(run: Run, time: float, dm: float | None, name: Callable[[Any], str]) -> Iterator[str]:
    """What the rows of a merged list know of a time.

    Parameters
    ----------
    run : Run
    time : float
        From the start of each observation [s].
    dm : float or None
        [pc cm^-3]; None: any.
    name : callable
        Tells the observation of a row.
    """
    pulses = run.rows("single_pulses")
    found = _closest(pulses[_near(pulses, time)], dm)
    yield "on the merged list at this time:" if found.size else "nothing on the merged list at this time"
    for row in found[:MOST]:
        yield f"  {pulse_text(row)}"
        yield f"    from {name(row)}" + (f", in {row['nbeams']} beams" if row["nbeams"] > 1 else "")
    if found.size > MOST:
        yield f"  and {found.size - MOST} more pulses"


def best_snr(run: Run, time: float, dm: float | None) -> float:
    """S/N of the strongest pulse at a time, 0 where there is none.

    Parameters
    ----------
    run : Run
        Product of one observation.
    time : float
        From its start [s].
    dm : float or None
        [pc cm^-3]; None: any.
    """
    pulses = run.rows("single_pulses")
    found = pulses[_near(pulses, time)]
    found = found[_of_dm(found, dm, run.observation)]
    return float(found["snr"].max()) if found.size else 0.0


def pulse_text(row: Any) -> str:
    """A row of single pulses in words."""
    texts = flag_texts(row)
    return (
        f"{row['id']}: at {row['time']:.4f} s, DM {row['dm']:.5g}, S/N {row['snr']:.1f}, width "
        f"{1e3 * row['width']:.3g} ms, score {row['score']:.2f}, {row['ndetections']} events"
        + (f"; flags: {', '.join(texts)}" if texts else "")
        + (f"; in the phase of {row['source']}" if row["source"] else "")
    )


def _near(pulses: NDArray[Any], time: float) -> NDArray[np.bool_]:
    """Which pulses are at a time."""
    return np.asarray(np.abs(pulses["time"] - time) <= np.maximum(pulses["width"], REACH))


def _closest(found: NDArray[Any], dm: float | None) -> NDArray[Any]:
    """Those of the nearest DM first, where one is asked for."""
    return found if dm is None else found[np.argsort(np.abs(found["dm"] - dm), kind="stable")]


def _of_dm(found: NDArray[Any], dm: float | None, header: Header) -> NDArray[np.bool_]:
    """Which pulses have the DM asked for, within their errors or one that spreads them over twice their width."""
    if dm is None or header.is_series:
        return np.ones(found.size, dtype=np.bool_)
    across = float(header.delays(1.0)[-1])
    wide = found["width"] / across if across > 0 else np.full(found.size, np.inf)
    return np.asarray(np.abs(found["dm"] - dm) <= np.maximum(ERRORS * np.nan_to_num(found["dm_err"]), wide))


def _limits(run: Run, config: Config, dm: float | None) -> Iterator[str]:
    """Which threshold or range kept it off."""
    header, sp, pulses = run.observation, config.single_pulse, run.rows("single_pulses")
    yield (
        f"no pulse above S/N {sp.snr:g} (single_pulse.snr) of {header.tsamp * 1e3:.3g} to {sp.width_max * 1e3:.3g} "
        "ms width (single_pulse.width_max)"
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


def _nearest(pulses: NDArray[Any], time: float) -> Iterator[str]:
    if len(pulses):
        nearest = pulses[int(np.argmin(np.abs(pulses["time"] - time)))]
        yield f"the nearest other is {nearest['id']} at {nearest['time']:.4f} s, DM {nearest['dm']:.5g}"


def _arrivals(header: Header, time: float, dm: float | None) -> NDArray[np.float64]:
    """When the pulse comes in each channel [s], shape (nchans,)."""
    return time + header.delays(0.0 if dm is None or header.is_series else dm)


def _masked(run: Run, header: Header, time: float, dm: float | None, *, always: bool) -> Iterator[str]:
    """How much of the pulse is masked, along its sweep, and why; `always`: also that nothing is."""
    rfi = masks(run)
    mask = rfi.get("mask")
    if mask is None or not mask.size:
        return
    samples = np.asarray(_arrivals(header, time, dm) / header.tsamp).astype(np.int64)
    inside = np.flatnonzero(samples < header.nsamps)
    if not inside.size:
        return
    samples = samples[inside]
    # Before version 1.3 a product knew no more than the length of a block.
    blocks = samples // max(int(rfi["block_nsamps"]), 1)
    if "edges" in rfi:
        blocks = np.searchsorted(rfi["edges"], samples, side="right") - 1
    blocks = np.minimum(blocks, mask.shape[0] - 1)
    lost = mask[blocks, inside] | rfi["chan_mask"][inside]
    if always or lost.any():
        sweep = "" if dm is None or dm == 0.0 else " along its sweep"
        yield (
            f"{100 * float(np.mean(lost)):.0f} % of the channels are masked at this time{sweep}"
            f"{_causes(rfi, blocks, inside)}; of all data {100 * masked_fraction(run):.2g} %"
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


def _causes(rfi: Mapping[str, Any], blocks: NDArray[np.int64], channels: NDArray[np.int64]) -> str:
    """Why these blocks of these channels are masked, the most frequent first; "" where the product does not tell."""
    bits, names = rfi.get("why"), rfi.get("causes")
    if bits is None or names is None or not bits.size:
        return ""
    own = bits[blocks, channels]
    counts = {str(name): int(np.count_nonzero((own >> i) & 1)) for i, name in enumerate(names)}
    told = sorted((name for name, count in counts.items() if count), key=lambda name: -counts[name])
    return f" ({', '.join(told)})" if told else ""


def _missing(run: Run, header: Header, time: float, dm: float | None) -> Iterator[str]:
    """What of the pulse is not in the data."""
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
