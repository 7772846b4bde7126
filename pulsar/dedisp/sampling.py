"""With how many samples the series of each trial DM are searched for periods.

A series is made with the sampling time of its stage of the DM plan, which the arrival errors of the tree and the steps
ask for; but where channels smear pulses over many samples, the upper half of its spectrum holds nothing. There it is
searched with half as many samples, as often as that can be done (docs/search.md). What it may cost is set
(`search.loss`).
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pulsar.config.model import Config
    from pulsar.dedisp.plan import DMPlan, DMStage

#: Shortest period whose losses count [s]: of J1748-2446ad, the shortest known, 1.396 ms (Hessels et al. 2006, Science
#: 311, 1901).
FASTEST = 1.396e-3
#: Harmonics below Nyquist without which the coherent search leaves a period out (its LEAST_HARMONICS).
HARMONICS = 7
#: Periods that are looked at, over the shortest: of longer ones less is lost.
_PERIODS = np.geomspace(1.0, 4.0, 9)
#: Channels by which smearing in them is told.
_CHANNELS = 16
#: Fewest samples of what a series is halved to: searches of shorter ones take no less.
_FEWEST = 1 << 14


def halvings(plan: "DMPlan", config: "Config") -> NDArray[np.int64]:
    """How often the series of each trial DM is halved before it is searched for periods, shape (ndms,).

    Of pulses of no width in themselves `search.loss` of the S/N is lost at most, against the series as they are made,
    at the sampling time, with the smearing in channels, the arrival errors and the mean step of the plan. The fastest
    pulsars keep the harmonics without which the coherent search leaves a period out. Series stay as they are where
    accelerations are searched at all frequencies (`accel.loss` 0).

    Parameters
    ----------
    plan : DMPlan
    config : Config
    """
    chosen = np.zeros(plan.ndms, dtype=np.int64)
    everything = config.accel.enabled and config.accel.loss == 0.0
    if config.search.loss == 0.0 or everything or plan.tolerance == 0.0:
        return chosen
    for first, stage in plan.numbered():
        smearing = stage.parts()
        low, times = 0, 1
        most = min(stage.nsamps / (_FEWEST * max(config.search.parts)), 0.5 * FASTEST / HARMONICS / stage.tsamp)
        while 2**times <= most:
            high = stage.ndms
            # Smearing grows with DM: from some trial on all of the stage.
            while low < high:
                middle = (low + high) // 2
                mine = {name: float(values[middle]) for name, values in smearing.items()}
                if lost(mine, stage.tsamp, times, plan.freqs) <= config.search.loss:
                    high = middle
                else:
                    low = middle + 1
            if low == stage.ndms:
                break
            chosen[first + low : first + stage.ndms] = times
            times += 1
    return chosen


def lost(smearing: Mapping[str, float], tsamp: float, times: int, freqs: NDArray[np.float64]) -> float:
    """Part of the S/N of a matched filter that is lost where a series is halved so often, of pulses of no width.

    The largest of all periods from `FASTEST` on.

    Parameters
    ----------
    smearing : mapping of str to float
        Full widths at a trial DM [s], as of :meth:`~pulsar.dedisp.plan.DMStage.parts`: channel, step and arrival.
    tsamp : float
        Sampling time of the series [s].
    times : int
    freqs : ndarray
        Channels that are alive [MHz].
    """
    # Boxes as wide as the delay in each channel, with the mean square of the plan.
    cubes = freqs[:: max(freqs.size // _CHANNELS, 1)] ** -3.0
    widths = smearing["channel"] * cubes / np.sqrt(np.mean(cubes**2))
    blur = np.hypot(smearing["step"], smearing["arrival"])
    periods = FASTEST * _PERIODS[:, None]
    f = np.arange(1, int(0.5 / tsamp * periods[-1, 0]) + 1) / periods
    power = np.mean(np.sinc(f[..., None] * widths), axis=-1) ** 2 * np.sinc(f * tsamp) ** 2
    power *= np.exp(-((2.0 * np.pi * f * blur) ** 2) / 12.0) * (f <= 0.5 / tsamp)
    kept = power * kept_halved(f, tsamp, times)
    return float(np.max(1.0 - np.sqrt(kept.sum(axis=1) / power.sum(axis=1))))


def kept_halved(f: NDArray[np.float64], tsamp: float, times: int) -> NDArray[np.float64]:
    """Part of the power of a harmonic over the noise that is kept where a series is halved so often.

    In white noise :func:`pulsar_kernels.dedisperse.halve_series` leaves a harmonic of frequency f, of samples dt apart,
    the part c / (c + s) of its power over the noise: c = cos(pi f dt)**6, and s = sin(pi f dt)**6 is the noise that
    comes back from beyond the new Nyquist frequency. Beyond that nothing is left.

    Parameters
    ----------
    f : ndarray
        [Hz]
    tsamp : float
        Sampling time of the series [s].
    times : int
    """
    kept = np.ones_like(f)
    for each in tsamp * 2.0 ** np.arange(times):
        c, s = np.cos(np.pi * f * each) ** 6, np.sin(np.pi * f * each) ** 6
        kept = np.where(f < 0.25 / each, kept * c / (c + s), 0.0)
    return kept


def halved(series: NDArray[Any], times: int) -> NDArray[Any]:
    """A series with half as many samples, so often.

    Parameters
    ----------
    series : ndarray of int16, shape (nsamps,)
    times : int
    """
    from pulsar_kernels.dedisperse import halve_series

    for _ in range(times):
        half = np.empty(series.shape[0] // 2, dtype=np.int16)
        halve_series(np.ascontiguousarray(series), half)
        series = half
    return series


def stretches(plan: "DMPlan", times: NDArray[np.int64]) -> "list[tuple[DMStage, int]]":
    """The trials of every stage of a plan that are halved equally often, and how often that is, in ascending DM."""
    found = []
    for first, stage in plan.numbered():
        mine = times[first : first + stage.ndms]
        edges = [0, *(np.flatnonzero(np.diff(mine)) + 1).tolist(), stage.ndms]
        found += [(stage.part(low, high), int(mine[low])) for low, high in pairwise(edges)]
    return found


def periods_text(plan: "DMPlan", times: NDArray[np.int64], config: "Config") -> str:
    """From which trial DMs on fewer samples are searched for periods, in words; empty where none are."""
    found = stretches(plan, times)
    if not times.any():
        return ""
    first: dict[float, float] = {}
    for part, halved in found:
        if halved:
            first.setdefault(1e6 * part.tsamp * 2.0**halved, part.dm_first)
    said = [f"of {tsamp:.4g} us from DM {dm:.4g} on" for tsamp, dm in first.items()]
    return (
        f"periods are searched in samples {', '.join(said)}, where channels smear: no more than "
        f"{100 * config.search.loss:g} % of the S/N of the narrowest pulses is lost (search.loss)"
    )
