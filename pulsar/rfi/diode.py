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
#: On for more than this part of the observation it is not worth while to leave that out.
MOST_ON: Final = 0.5
#: Three powers of even harmonics are in noise below this nine times in ten thousand.
EVEN_NOISE: Final = 10.0


def diode_stretches(series: NDArray[Any], tsamp: float, periods: Sequence[float]) -> NDArray[np.int64]:
    """Stretches in which a noise diode was on, if it was off for half of the time at least.

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
        powers = [_powers(values, tsamp / period * k, edges) / sigma**2 for k in range(1, 8)]
        odd, even = sum(powers[0::2]), sum(powers[1::2])
        on = (odd > DIODE_POWER) & (even - EVEN_NOISE <= EVEN_SHARE * odd)
        if not 0 < np.count_nonzero(on) <= MOST_ON * count:
            continue
        edges[-1] = values.size
        for i in np.flatnonzero(on):
            found[edges[max(i - 1, 0)] : edges[min(i + 2, count)]] = True
    steps = np.diff(found.astype(np.int8), prepend=0, append=0)
    return np.stack([np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)], axis=1).astype(np.int64)


def _powers(values: NDArray[np.float64], turns: float, edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Power at so many turns a sample between each two edges, over the number of samples: 1 in noise of variance 1."""
    wave = np.exp(-2j * np.pi * np.mod(turns * np.arange(edges[-1]), 1.0))
    lengths = np.diff(edges)
    mean = np.add.reduceat(values[: edges[-1]], edges[:-1]) / lengths
    sums = np.add.reduceat(values[: edges[-1]] * wave, edges[:-1]) - mean * np.add.reduceat(wave, edges[:-1])
    return np.asarray(np.abs(sums) ** 2 / lengths, dtype=np.float64)


def joined(stretches: NDArray[np.int64]) -> NDArray[np.int64]:
    """Stretches in ascending order, those that touch or overlap made one, shape (n, 2)."""
    out: list[list[int]] = []
    for first, last in stretches[np.argsort(stretches[:, 0], kind="stable")].tolist():
        if out and first <= out[-1][1]:
            out[-1][1] = max(out[-1][1], last)
        else:
            out.append([first, last])
    return np.array(out, dtype=np.int64).reshape(-1, 2)
