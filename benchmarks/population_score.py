"""What the scores of a list are worth: of the rows with a score near p a part p should be real.

A candidate is real if it is the first row that is a pulsar (`population.whose` at 1/1); second rows and multiples are
not. A pulse is real if its time, DM and width are those of a burst, or those of a turn of a pulsar, and it is no
stronger than that can be. Counted are the rows that a reader is shown: candidates that belong to no other, flagged or
not, and pulses that belong to no candidate.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from evaluate import evaluate
from numpy.typing import NDArray
from population_sky import Sky

#: A pulse may be off by so many errors of its DM, or so many widths over half of the band ...
DM_ERRORS = 4.0
BAND_WIDTHS = 1.5
#: ... and in time by so many widths beyond what that shifts it.
TIME_WIDTHS = 1.5
#: Its box is no more than so many times wider or narrower than it.
WIDTHS = 3.0
#: It is no more than so many times as strong, and so many sigma, as the strongest turn of a pulsar is expected to be.
STRONGER = 1.5
ABOVE = 2.0


def same_pulse(
    rows: NDArray[Any], times: NDArray[np.float64], dm: float, width: float, observed: Sky
) -> NDArray[np.bool_]:
    """Which rows are a pulse of this DM and width at one of these times.

    Parameters
    ----------
    rows : structured array
        Single pulses of the product.
    times : ndarray
        At the highest channel [s].
    dm, width : float
        The width [s] at half maximum.
    observed : Sky
    """
    wide = np.maximum(np.hypot(width, observed.tsamp), rows["width"])
    sweep = float(np.ptp(observed.delays))
    allowed = np.maximum(DM_ERRORS * np.nan_to_num(rows["dm_err"]), BAND_WIDTHS * wide / sweep)
    # Seen at too high a DM a pulse seems to come earlier at the highest channel, about the middle of the band.
    middle = float(np.median(observed.delays))
    expected = np.asarray(times)[None, :] + ((dm - rows["dm"]) * middle)[:, None]
    off = np.abs(rows["time"][:, None] - expected).min(axis=1, initial=np.inf)
    close = np.abs(rows["dm"] - dm) <= allowed
    own = np.hypot(width, observed.tsamp)
    close &= (rows["width"] <= WIDTHS * own) & (rows["width"] >= own / WIDTHS)
    return np.asarray(close & (off <= TIME_WIDTHS * wide + allowed * middle))


def real_pulses(rows: NDArray[Any], observed: Sky) -> NDArray[np.bool_]:
    """Which single pulses are a burst or a turn of a pulsar."""
    real = np.zeros(len(rows), dtype=np.bool_)
    for burst in observed.bursts:
        real |= same_pulse(rows, np.array([burst.time]), burst.dm, burst.width, observed)
    for one in observed.pulsars:
        # The middle of a pulse is at phase 0.5.
        first = (0.5 - one.phase) * one.period
        turns = first + one.period * np.arange(-1, int(observed.tobs / one.period) + 2)
        # The logarithms of their heights are Gaussian; so is the highest of n at about sqrt(2 ln n).
        number = observed.tobs / one.period
        most = one.snr / np.sqrt(number) * np.exp(one.modulation * np.sqrt(2.0 * np.log(number)))
        able = rows["snr"] <= STRONGER * most + ABOVE
        real |= able & same_pulse(rows, turns, one.dm, one.width * one.period, observed)
    return real


def found_bursts(rows: NDArray[Any], observed: Sky) -> list[dict[str, Any]]:
    """What became of each burst: its rows without and with a flag, its best rank, score and S/N."""
    fates = []
    for burst in observed.bursts:
        own = np.sort(rows[same_pulse(rows, np.array([burst.time]), burst.dm, burst.width, observed)], order="rank")
        plain = own[own["rfi_flags"] == ""]
        best = plain[0] if len(plain) else own[0] if len(own) else None
        fates.append(
            {
                "name": burst.name,
                "snr": burst.snr,
                "dm": burst.dm,
                "width": burst.width,
                "rows": len(plain),
                "flagged": len(own) - len(plain),
                "flags": "" if best is None else str(best["rfi_flags"]),
                "rank": 0 if best is None else int(best["rank"]),
                "score": float("nan") if best is None else float(best["score"]),
                "found": float("nan") if best is None else float(best["snr"]),
            }
        )
    return fates


def reliability_table(title: str, pairs: Iterable[tuple[float, bool]]) -> str:
    """Scores against what is real: the summary and a row for each tenth that has any."""
    given = list(pairs)
    if not given:
        return f"{title}: no rows"
    judged = evaluate(np.array([p for p, _ in given]), np.array([real for _, real in given]))
    lines = [
        f"{title}: {judged.n} rows, {judged.positives} real; calibration error {judged.ece:.4f}, Brier score "
        f"{judged.brier:.4f}; in the first 1 % of the list {judged.top1}, 5 % {judged.top5}",
        "| score | mean | real |",
        "| --- | ---: | ---: |",
    ]
    lines += [f"| {b.low:.1f}–{b.high:.1f} | {b.mean:.3f} | {b.real} |" for b in judged.bins if b.real.n]
    return "\n".join(lines)


def burst_table(fates: Iterable[dict[str, Any]]) -> str:
    """How many bursts are listed, without a flag, and once."""
    given = list(fates)
    if not given:
        return "bursts: none"
    plain = [fate for fate in given if fate["rows"]]
    listed = [fate for fate in given if fate["rows"] or fate["flagged"]]
    once = sum(fate["rows"] == 1 for fate in given)
    scores = [fate["score"] for fate in listed] or [float("nan")]
    return (
        f"bursts: {len(listed)} of {len(given)} listed, {len(plain)} without a flag, {once} once; "
        f"score, median (10 %): {np.median(scores):.2f} ({np.quantile(scores, 0.1):.2f})"
    )
