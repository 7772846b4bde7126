"""Times of arrival of pulsars in several nights, at the barycentre, whose turns are known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsar.connect.turns import Times
from pulsar.constants import DAY

DAYS = (0.0, 1.0, 3.0, 7.0, 20.0, 45.0, 90.0)
#: Of the Earth: radius of its orbit [s] and angular frequency [1/s].
AU, YEAR = 499.0, 2.0 * np.pi / (365.25 * DAY)


@dataclass(frozen=True)
class Simulated:
    """Times, and what they were made of."""

    times: Times
    reference: tuple[float, float]
    turns: NDArray[np.int64]
    spin: tuple[float, float]
    place: NDArray[np.float64]
    error: float


def simulated(
    seed: int,
    days: tuple[float, ...] = DAYS,
    *,
    freqs: tuple[float, float] = (0.3, 30.0),
    efac: float = 1.0,
    place_err: float = 0.0,
    orbit: float = 0.0,
) -> Simulated:
    """Times of a pulsar: F0 from a range [Hz], |F1| / F0 of 1e-18 to 1e-12 / s; nights of 10 min to 2 h with 2 to 8
    times, whose errors are 0.2 to 2 % of the period; the reference is the frequency that one night shows.

    Parameters
    ----------
    efac : float
        Times scatter by so many of their errors.
    place_err : float
        Of the position [rad].
    orbit : float
        Radius of one of 1.37 d [light-seconds].
    """
    rng = np.random.default_rng(seed)
    freq = float(np.exp(rng.uniform(*np.log(freqs))))
    # No more than 4e31 W at 1e38 kg m^2.
    fdot = -min(freq * 10 ** float(rng.uniform(-18.0, -12.0)), 1e-8 / freq)
    counts = rng.integers(2, 9, len(days))
    night = np.repeat(np.arange(len(days)), counts)
    place = rng.normal(size=2) * place_err
    start, length = np.array(days) * DAY + rng.uniform(-3600, 3600, len(days)), rng.uniform(600, 7200, len(days))
    within = np.concatenate([(np.arange(n) + 0.5) / n for n in counts])
    seconds = start[night] + within * length[night]
    seconds -= 0.5 * (seconds[0] + seconds[-1])
    errors = rng.uniform(0.002, 0.02, len(days))[night] / freq
    angle, height, phase = YEAR * seconds + rng.uniform(0, 2 * np.pi), rng.uniform(0, 1), rng.uniform()
    slopes = AU * np.stack([np.cos(angle), -height * np.sin(angle)], axis=1)
    beside = slopes @ place + orbit * np.sin(2.0 * np.pi * seconds / (1.37 * DAY))

    def rotation(t: NDArray[np.float64]) -> NDArray[np.float64]:
        t = t + beside
        return np.asarray(phase + t * (freq + 0.5 * fdot * t))

    turns, at = np.rint(rotation(seconds)), seconds
    for _ in range(8):
        at = at - (rotation(at) - turns) / freq
    at = at + efac * errors * rng.normal(size=at.size)
    own = np.flatnonzero(night == rng.integers(len(days)))
    error = float(np.mean(errors[own]) * freq / np.sqrt(np.sum((at[own] - at[own].mean()) ** 2)))
    # What an orbit or a position adds is the same for all times of the night.
    shown = freq + fdot * float(at[own].mean()) + error * float(rng.normal())
    unknown = np.full((len(days), 2), np.nan)
    times = Times(at, errors, night, slopes, place_err, unknown)
    return Simulated(times, (shown, 0.0), turns.astype(np.int64) - int(turns.min()), (freq, fdot), place, error)
