"""The period that a few arrival times have in common."""

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Floats, Ints


@kernel(inline=True, helper=True)
def log_chance(n: int, m: int, arc: float) -> float:
    """ln of how often `m` of `n` random phases lie within an arc [turns], by expectation; exact for m = n, arc < 1/2.

    n C(n - 1, m - 1) a^(m - 1) (1 - a)^(n - m): each point begins an arc that holds m - 1 of the others.
    """
    if arc <= 0.0:
        return -np.inf
    total = np.log(n) + (m - 1) * np.log(arc)
    for k in range(min(m - 1, n - m)):
        total += np.log((n - 1 - k) / (k + 1.0))
    if n > m:
        total += (n - m) * np.log(max(1.0 - arc, 1e-300))
    return float(total)


@kernel(inline=True)
def _smallest_arc(phase: Floats, n: int, m: int) -> float:
    """Length of the shortest arc with `m` of the sorted phases."""
    best = 1.0
    for i in range(n):
        j = i + m - 1
        arc = phase[j] - phase[i] if j < n else phase[j - n] + 1.0 - phase[i]
        best = min(best, arc)
    return best


@kernel(inline=True)
def _sorted_phases(times: Floats, freq: float, phase: Floats) -> None:
    n = times.shape[0]
    for i in range(n):
        x = times[i] * freq
        x -= np.floor(x)
        j = i
        while j > 0 and phase[j - 1] > x:
            phase[j] = phase[j - 1]
            j -= 1
        phase[j] = x


@kernel()
def best_at(times: Floats, freq: float, fewest: int, error: float, phase: Floats) -> tuple[float, int, float]:
    """Least ln of (chance over arc) at one frequency, how many times that takes, and their arc.

    Dividing by the arc counts the frequencies: an alignment is lost when the frequency moves by arc over span.

    Parameters
    ----------
    times : ndarray of float64, shape (n,)
        From the first on [s].
    freq : float
        [Hz]
    fewest : int
        Times that must fit.
    error : float
        No arc counts as shorter than this [s].
    phase : ndarray of float64, shape (n,)
        Overwritten.
    """
    n = times.shape[0]
    _sorted_phases(times, freq, phase)
    best = np.inf
    number = 0
    length = 1.0
    for m in range(fewest, n + 1):
        # Not 0 either, where nothing could be said.
        arc = max(_smallest_arc(phase, n, m), error * freq, 1e-12)
        if arc < 0.5:
            value = log_chance(n, m, arc) - np.log(arc)
            if value < best:
                best = value
                number = m
                length = arc
    return best, number, length


@kernel(inline=True)
def _may_agree(times: Floats, freq: float, fewest: int, bins: Ints) -> bool:
    """True if any half turn, in sixteenths and one more, holds enough of the phases: nearly never, and soon seen."""
    bins[:] = 0
    for i in range(times.shape[0]):
        x = times[i] * freq
        bins[int((x - np.floor(x)) * 16.0) & 15] += 1
    within = 0
    for k in range(9):
        within += bins[k]
    for k in range(16):
        if within >= fewest:
            return True
        within += bins[(k + 9) & 15] - bins[k]
    return False


@kernel()
def search_frequencies(
    times: Floats, first: float, step: float, count: int, fewest: int, error: float, out: Floats
) -> None:
    """The frequencies at which most times agree best.

    Parameters
    ----------
    times : ndarray of float64, shape (n,)
        [s], from the first on.
    first, step : float
        Frequencies ``first + k step`` [Hz], k < count.
    count, fewest : int
    error : float
        As for `best_at`.
    out : ndarray of float64, shape (nbest, 2)
        Filled with values (as of `best_at`) and frequencies, best first; inf where there are fewer.
    """
    n = times.shape[0]
    nbest = out.shape[0]
    phase = np.empty(n, np.float64)
    bins = np.empty(16, np.int64)
    out[:, 0] = np.inf
    out[:, 1] = first
    worst = np.inf
    for k in range(count):
        freq = first + k * step
        if not _may_agree(times, freq, fewest, bins):
            continue
        value, _, _ = best_at(times, freq, fewest, error, phase)
        if value < worst:
            j = nbest - 1
            while j > 0 and out[j - 1, 0] > value:
                out[j, 0] = out[j - 1, 0]
                out[j, 1] = out[j - 1, 1]
                j -= 1
            out[j, 0] = value
            out[j, 1] = freq
            worst = out[nbest - 1, 0]
