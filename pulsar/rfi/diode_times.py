"""When a noise diode was on: often in the first file of an observation only.

Where it is on all the time its lines are narrow and can be left out of spectra (`pulsar.rfi.birdies.diode_lines`).
Where it is on for a part of the observation they are wide, with sidelobes all over the spectrum: that part is left out.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.rfi.birdies import DIODE_POWER, EVEN_SHARE

#: Turns of the diode in the stretches that are looked at, and fewest of these.
TURNS: Final = 5
LEAST: Final = 4
#: On for more than this part of the observation it is not worth while to leave that out; no more than the second part
#: is always left out.
MOST_ON: Final = 0.5
CHEAP: Final = 0.1
#: What is between is left out where the sidelobes of its lines are above this, in the power of noise, midway between
#: two of them.
LEAK: Final = 1.0
#: Three powers of even harmonics are in noise below this nine times in ten thousand.
EVEN_NOISE: Final = 10.0


def diode_stretches(series: NDArray[Any], tsamp: float, periods: Sequence[float]) -> NDArray[np.int64]:
    """Stretches in which a noise diode was on, if to leave them out is better than to leave out its lines.

    So it is if they are a small part of the observation, or up to half of it and the lines so strong that their
    sidelobes fill the spectrum.

    It is on where, within five of its turns, the odd harmonics up to the seventh are strong and the even ones, which a
    square wave does not have but a pulsar does, are not.

    Parameters
    ----------
    series : ndarray
        At DM 0; 0 where it is masked.
    tsamp : float
        [s]
    periods : sequence of float
        Of the diodes that there may be [s].

    Returns
    -------
    ndarray of int64, shape (n, 2)
        First sample and the one after the last, ascending, with a margin of a stretch.
    """
    values = np.asarray(series, dtype=np.float64)
    sigma = 1.4826 * float(np.median(np.abs(np.diff(values)))) / np.sqrt(2.0) if values.size > 1 else 0.0
    found = np.zeros(values.size, dtype=np.bool_)
    for period in periods:
        count = int(values.size * tsamp / (TURNS * period))
        if sigma == 0.0 or count < LEAST or 7.0 / period > 0.5 / tsamp:
            continue
        edges = np.rint(np.arange(count + 1) * TURNS * period / tsamp).astype(np.int64)
        powers = _powers(values, tsamp / period, edges) / sigma**2
        odd, even = powers[0::2].sum(axis=0), powers[1::2].sum(axis=0)
        on = (odd > DIODE_POWER) & (even - EVEN_NOISE <= EVEN_SHARE * odd)
        part = np.count_nonzero(on) / count
        if not 0 < part <= MOST_ON:
            continue
        # A line that is on for the part q has the sidelobes P / (pi q m)^2 at m bins of 1/T; of the power of the
        # whole, a stretch has 1 / (count q^2).
        leak = float(np.mean(powers[0, on])) / (count * (np.pi * TURNS) ** 2)
        if part > CHEAP and leak < LEAK:
            continue
        edges[-1] = values.size
        for i in np.flatnonzero(on):
            found[edges[max(i - 1, 0)] : edges[min(i + 2, count)]] = True
    steps = np.diff(found.astype(np.int8), prepend=0, append=0)
    return np.stack([np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)], axis=1).astype(np.int64)


def _powers(values: NDArray[np.float64], turns: float, edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Powers at the first seven multiples of so many turns a sample between each two edges, shape (7, n).

    In noise of variance 1 their mean is 1. With a Hann window, so that slow and strong signals do not leak in.
    """
    at = np.arange(edges[-1])
    lengths = np.diff(edges)
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * (at - np.repeat(edges[:-1], lengths) + 0.5) / np.repeat(lengths, lengths))
    weighed = values[: edges[-1]] * window
    mean = np.add.reduceat(weighed, edges[:-1]) / np.add.reduceat(window, edges[:-1])
    noise = np.add.reduceat(window**2, edges[:-1])
    out = np.empty((7, lengths.size))
    for k in range(1, 8):
        wave = np.exp(-2j * np.pi * np.mod(k * turns * at, 1.0))
        sums = np.add.reduceat(weighed * wave, edges[:-1]) - mean * np.add.reduceat(window * wave, edges[:-1])
        out[k - 1] = np.abs(sums) ** 2 / noise
    return out
