"""Candidates that are looked for again, and the window of each: frequencies, accelerations and DMs, and its noise.

A matched filter for a profile with amplitudes c_k (the sum of |c_k|^2 is 1) at phase p, frequency f, derivative g and
DM is Z = 2^1/2 Re sum_k c_k* X_k exp(-2 pi i k p), with X_k the amplitude of the series at harmonic k in noise of mean
power 1: in noise Z is a Gaussian field of variance 1. A turn by dp loses K^2 dp^2 / 2 of it,
K^2 = (2 pi)^2 sum |c_k|^2 k^2, and so the metric is K^2 times the variance over time, or over the band, of the phase
that a step makes, less what a phase and lower orders take up: T^2 / 12 for f, T^4 / 720 for g, and f^2 times the
variance of the delays of the channels for DM. The maximum of the field over a window, a circle in p times a box,
exceeds u as often as its excursion set has parts: the expected Euler characteristic (Adler & Taylor 2007, Random Fields
and Geometry, chapter 12)

    E(u) = l_p sum_j e_j (2 pi)^-(j + 2)/2 He_j(u) exp(-u^2 / 2),

with l_p = K, e_j the elementary symmetric polynomials of the lengths of the sides of the box, He_j Hermite's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, log, nan, pi, sqrt
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.polynomial import hermite_e

from pulsar.config.model import Config
from pulsar.constants import DAY, KDM, C
from pulsar.data.fold import Fold
from pulsar.data.header import Header, Part
from pulsar.errors import ConfigError
from pulsar.folding.profile import best_box, template_of
from pulsar.io.labels import labels_of, uid_of
from pulsar.io.lists import read_list
from pulsar.io.product.reader import Run
from pulsar.searches import stats
from pulsar.searches.amplitudes import counted
from pulsar.sky.barycentre import motion_of
from pulsar_kernels.arrays import Bools, Complexes, Floats

#: Full widths at half maximum [turns] of the Gaussian pulses that stand for a profile that is not known: one that is
#: wider or narrower than another by a factor of 3^1/2 keeps 0.93 of its matched S/N.
WIDTHS: Final = (0.03, 0.1, 0.3)
#: Most harmonics of a profile.
MOST_HARMONICS: Final = 32


@dataclass(frozen=True, eq=False)
class Sought:
    """A candidate, as it is known."""

    ident: str
    freq: float  # Spin frequency [Hz]
    dm: float  # [pc cm^-3]
    #: Amplitudes of harmonics 1, 2, ... of the profile, the sum of their squares 1: its own, and those of Gaussians.
    templates: tuple[Complexes, ...]
    freq_err: float = 0.0
    barycentric: bool = True  # Whether the frequency is that at the barycentre; else that at a telescope
    accel: float = 0.0  # Line-of-sight acceleration [m/s^2]
    accel_err: float = 0.0
    dm_err: float = 0.0
    #: Boxcar S/N, length [s] and bandwidth [MHz] of its observation; NaN where they are not known, as is the position.
    snr: float = nan
    tobs: float = nan
    bandwidth: float = nan
    ra_deg: float = nan
    dec_deg: float = nan

    @property
    def typical(self) -> Complexes:
        """A template without noise, of middle width where the width is not known."""
        return self.templates[len(self.templates) // 2]


def gaussian(width: float) -> Complexes:
    """Template of a Gaussian pulse of this full width at half maximum [turns]."""
    k = np.arange(1, MOST_HARMONICS + 1)
    return unit(np.exp(-0.25 * (np.pi * width * k) ** 2 / np.log(2.0)).astype(np.complex128))


def gaussians() -> tuple[Complexes, ...]:
    """Templates of Gaussian pulses of `WIDTHS`."""
    return tuple(map(gaussian, WIDTHS))


def unit(amplitudes: Complexes) -> Complexes:
    """The first amplitudes that have 98 % of the power, the sum of their squares 1."""
    power = np.cumsum(np.abs(amplitudes[:MOST_HARMONICS]) ** 2)
    used = amplitudes[: int(np.searchsorted(power, 0.98 * power[-1])) + 1]
    return np.asarray(used / np.linalg.norm(used))


def templates_of(fold: Fold | None) -> tuple[Complexes, ...]:
    """Templates of a candidate with a fold, or without.

    The profile itself has the noise of its fold, which a weak one matches worse than a Gaussian of its width does.
    """
    if fold is None or not np.any(fold.profile):
        return gaussians()
    nbins = len(fold.profile)
    own = template_of(np.fft.rfft(fold.profile.astype(np.float64)), float(nbins), fold.width)[1:]
    # Width of the box with the highest S/N over the full width at half maximum of a Gaussian.
    return unit(own), gaussian(fold.width / 1.19)


def of_product(run: Run, idents: Sequence[str] = (), score: float | None = None) -> list[Sought]:
    """Candidates of a product.

    Parameters
    ----------
    idents : sequence of str
        Those that are named. Without any: those that were judged as pulsars, and without such all that stand for
        themselves.
    score : float, optional
        In place of the judgements: those of this score or more.

    Raises
    ------
    ConfigError
        There is none.
    """
    if idents:
        rows: list[Any] = [run.candidate(ident) for ident in dict.fromkeys(idents)]
    else:
        rows = [row for row in run.rows("candidates") if not row["harmonic_of"]]
        if score is not None:
            rows = [row for row in rows if row["score"] >= score]
        else:
            labels = labels_of([run.path])
            rows = [row for row in rows if labels.matches(uid_of(row), "pulsar")] or rows
    if not rows:
        limit = "" if score is None else f" of score {score:g} or more"
        raise ConfigError(f"{run.path}: holds no candidate{limit} to look for")
    return [_of_row(run, row) for row in rows]


def _of_row(run: Run, row: Any) -> Sought:
    ident, freq = str(row["id"]), 1.0 / float(row["period"])
    header = Part.of_label(str(row["part"])).header(run.observation_of(row))
    header = header.with_(ra_deg=float(row["ra_deg"]), dec_deg=float(row["dec_deg"]))
    motion = motion_of(header)
    fold = run.fold(ident) if ident in run.folds else None
    return Sought(
        ident,
        freq if motion is None else motion.freq(freq),
        float(row["dm"]),
        templates_of(fold),
        freq_err=_known(row["period_err"]) * freq**2,
        barycentric=motion is not None,
        accel=_known(row["accel"]),
        accel_err=_known(row["accel_err"]),
        dm_err=_known(row["dm_err"]),
        snr=float(row["snr"]),
        tobs=header.tobs,
        # Without what was masked, of the products that know it.
        bandwidth=header.bandwidth * (1.0 - float(run.rfi.get("masked_fraction", 0.0))),
        ra_deg=header.ra_deg,
        dec_deg=header.dec_deg,
    )


def _known(value: Any) -> float:
    return float(value) if isfinite(value) else 0.0


def of_list(path: Path, mjd: float, idents: Sequence[str] = ()) -> list[Sought]:
    """Candidates of a list (:mod:`pulsar.io.lists`): a table has P or F0 at the barycentre, and DM.

    Parameters
    ----------
    mjd : float
        To which a frequency is brought that has an epoch and a derivative.
    idents : sequence of str
        Only those that are named.

    Raises
    ------
    ConfigError
        A column is missing, or a row makes no sense.
    DataError
        The file cannot be read.
    """
    return [
        Sought(
            entry.ident,
            entry.freq + entry.fdot * _known((mjd - entry.epoch) * DAY),
            entry.dm,
            gaussians(),
            barycentric=entry.barycentric is not False,
            accel=-C * entry.fdot / entry.freq,
            dm_err=entry.dm_err,
        )
        for entry in read_list(path, idents)
    ]


#: Errors to either side within which a candidate that has not changed is.
ERRORS: Final = 4.0
#: Part of the S/N that is lost half way between two points of a grid, along each axis.
LOSS: Final = 0.03
#: The Earth moves by so much of the speed of light at most, and is accelerated by so much [m/s^2]: in its orbit 29.8 to
#: 30.3 km/s, and turning 0.5; 0.006 and 0.034.
EARTH_SPEED: Final = 1.03e-4
EARTH_ACCEL: Final = 0.04
#: Frequencies that stand for the band of a series, and DMs that are one and the same as they are written [pc cm^-3].
BAND: Final = 64
SAME_DM: Final = 1e-3
#: Below so many deviations what exceeds it has holes, too, and the characteristic counts them off.
SPARSE: Final = 2.0
#: Between the S/N at which a signal is as often seen as not, and that at which 95 % are [deviations].
SEEN_95: Final = 1.645


@dataclass(frozen=True)
class Box:
    """Ranges of frequency, acceleration and DM on either side of the centre of a window."""

    freq: float  # [Hz]
    fdot: float  # [Hz/s]
    dm: float  # [pc cm^-3]


@dataclass(frozen=True, eq=False)
class Window:
    """All that is searched for one candidate."""

    sought: Sought
    freq: float  # Topocentric frequency that is expected at mid-observation, had nothing changed [Hz]
    fdot: float  # Likewise its derivative [Hz/s]
    #: near, wide: where it is had nothing changed, and where an orbit may have brought it.
    near: Box
    wide: Box
    tobs: float  # Length of the data [s]
    dms: Floats  # Trial DMs [pc cm^-3]
    templates: tuple[Complexes, ...]  # Those of the candidate, as many harmonics as are searched
    spread: float  # Standard deviation of the delays of the channels by a DM of 1 [s]

    @cached_property
    def curvature(self) -> float:
        """The largest K of the templates [1 / turn]."""
        return max(map(curvature, self.templates))

    @property
    def nharm(self) -> int:
        """Harmonics of the longest template."""
        return max(map(len, self.templates))

    @property
    def freq_step(self) -> float:
        """Of the grid [Hz]."""
        return grid_step(self.curvature, self.tobs / sqrt(12.0))

    @property
    def fdot_step(self) -> float:
        """Of the grid [Hz/s]."""
        return grid_step(self.curvature, self.tobs**2 / sqrt(720.0))

    @cached_property
    def fdots(self) -> Floats:
        """Derivatives of the grid [Hz/s]; that which is expected is one of them; alone where none differs."""
        low, high = (np.array([-1.0, 1.0]) * self.wide.fdot - self.fdot) / self.fdot_step
        return np.asarray(self.fdot + self.fdot_step * np.arange(np.ceil(low - 0.5), np.floor(high + 0.5) + 1.0))

    @property
    def points(self) -> float:
        """Points of its grid."""
        width = 2.0 * (self.wide.freq + 0.5 * self.wide.fdot * self.tobs) + 32.0 / self.tobs
        return self.dms.size * self.fdots.size * self.nharm * max(width / self.freq_step, 2.0 * self.nharm)

    @cached_property
    def level_bins(self) -> float:
        """Bin at which a noise level is as well known as are those of all harmonics together.

        How well goes with the bin, as the width of blocks does; levels of different octaves are independent.
        """
        share = np.abs(self.templates[0]) ** 2
        k = np.arange(1, share.size + 1)
        octave = np.log2(k).astype(np.int64)
        power = np.bincount(octave, share)
        middle = np.bincount(octave, share * k) / np.maximum(power, 1e-300)
        return self.freq * self.tobs / float(np.sum(power**2 / np.maximum(middle, 1.0)))

    def is_near(self, freq: Floats | float, fdot: float, dm: float) -> Bools:
        """Whether places are where the candidate is had nothing changed; the nearest of the grid are."""
        nearest = float(np.abs(self.dms - self.sought.dm).min()) * (1.0 + 1e-9)
        inside = abs(dm - self.sought.dm) <= max(self.near.dm, nearest)
        inside &= abs(fdot - self.fdot) <= max(self.near.fdot, 0.5 * self.fdot_step)
        return np.asarray(inside & (np.abs(freq - self.freq) <= max(self.near.freq, 0.5 * self.freq_step)))

    def log_expected(self, snr: float, *, near: bool) -> float:
        """ln of how many peaks of a matched S/N or more noise alone shows in the window.

        A signal is looked for near its place and in the whole window: each of the two counts twice.

        Parameters
        ----------
        near : bool
            Near the place of a candidate that has not changed.
        """
        u = sqrt(2.0 * float(counted(np.array(0.5 * snr**2), np.array(self.level_bins))))
        box = self.near if near else self.wide
        expected = 0.0
        # A peak is refined up to a step beyond the box, in what is searched at all.
        sides = (
            2.0 * (box.freq + self.freq_step) * self.tobs / sqrt(12.0),
            2.0 * (box.fdot + self.fdot_step) * self.tobs**2 / sqrt(720.0) if self.fdots.size > 1 else 0.0,
            2.0 * box.dm * self.freq * self.spread,
        )
        for template in self.templates:
            expected += characteristic(u, curvature(template), sides)
        return log(2.0 * expected) - 0.5 * u**2

    def sigma(self, snr: float, *, near: bool) -> float:
        """Significance of a matched S/N, corrected for all that was tried."""
        return float(stats.trial_sigma(min(self.log_expected(snr, near=near), 50.0), 1.0))

    def least_snr(self, sigma: float) -> float:
        """Matched S/N that has a significance in the whole window."""
        logp = float(stats.logp_from_sigma(sigma))
        return stats.inverse_tail(lambda snr: self.log_expected(snr, near=False), logp, 3.0, 12.0, 1e-6)


def curvature(template: Complexes) -> float:
    """K of a template [1 / turn]."""
    k = np.arange(1, len(template) + 1)
    return 2.0 * pi * float(np.sqrt(np.sum(np.abs(template) ** 2 * k**2)))


def grid_step(bend: float, deviation: float) -> float:
    """From one point of a grid to the next, half way between which `LOSS` is lost.

    Parameters
    ----------
    bend : float
        K of the template [1 / turn].
    deviation : float
        Standard deviation of the phase by a unit of the axis [turns].
    """
    return 2.0 * sqrt(2.0 * LOSS) / (bend * deviation)


def characteristic(u: float, bend: float, sides: Sequence[float]) -> float:
    """Expected Euler characteristic of what exceeds u, times exp(u^2 / 2); below `SPARSE` that factor stays as it is.

    Parameters
    ----------
    bend : float
        K of the template [1 / turn].
    sides : sequence of float
        Of the box, in turns: standard deviation of the phase from one end to the other.
    """
    # Coefficients of (1 + l_1 x) (1 + l_2 x) ...: the elementary symmetric polynomials.
    symmetric = np.array([1.0])
    for side in sides:
        symmetric = np.convolve(symmetric, [1.0, bend * side])
    u = max(u, SPARSE)
    density = [
        float(hermite_e.hermeval(u, np.eye(j + 1)[j])) / (2.0 * pi) ** (0.5 * j + 1.0) for j in range(len(sides) + 1)
    ]
    return bend * float(symmetric @ np.array(density))


def window_of(sought: Sought, header: Header, freqs: Floats, config: Config, series: Floats | None) -> Window:
    """The window of a candidate in an observation.

    Parameters
    ----------
    header : Header
        Of the new observation.
    freqs : ndarray
        Its channels that are used [MHz].
    series : ndarray or None
        DMs of dedispersed series, of which the trials are chosen; there may be none within the window.
    """
    where = {}
    if isfinite(sought.ra_deg) and isfinite(sought.dec_deg):
        where = {"ra_deg": sought.ra_deg, "dec_deg": sought.dec_deg}
    motion = motion_of(header.with_(**where))
    placed = sought.barycentric and motion is not None
    freq = sought.freq / (1.0 + motion.voverc) if placed and motion is not None else sought.freq
    earth = 0.0 if placed else 2.0 * EARTH_SPEED * freq
    templates = tuple(t[: max(int(0.5 / (header.tsamp * freq)) - 1, 1)] for t in sought.templates)
    if freqs.size == 1:
        # Of a series the edges of the band are known, or nothing is.
        freqs = np.linspace(*header.edges, BAND) if 0.0 < header.edges[0] < header.edges[1] else freqs
    delays = KDM * freqs**-2.0
    spread = float(np.std(delays)) if freqs.size > 1 else 0.0
    error = ERRORS * sought.dm_err
    # A pulse as wide as its profile is spread over the band.
    pulse = box_of(sought.typical)[1] / (freq * float(np.ptp(delays))) if freqs.size > 1 else 0.0
    own, away, most = sought.accel, ERRORS * sought.accel_err, config.follow.accel_max
    if abs(own) <= away:
        # Not told from that of a pulsar without an orbit.
        own, away = 0.0, min(away, most)
    to_fdot = freq / C
    near = Box(ERRORS * sought.freq_err + earth, (away + 2.0 * EARTH_ACCEL) * to_fdot, min(error, pulse))
    wide = Box(
        config.sift.orbit * freq + near.freq,
        (max(most, abs(own) + away) + 2.0 * EARTH_ACCEL) * to_fdot,
        max(error, pulse),
    )
    while True:
        step = grid_step(max(map(curvature, templates)), freq * spread) if spread else np.inf
        count = int(np.ceil(wide.dm / step))
        dms: Floats = sought.dm + wide.dm / max(count, 1) * np.arange(-count, count + 1, dtype=np.float64)
        dms = dms[dms >= 0.0]
        if series is not None:
            nearest = np.unique([series[np.argmin(np.abs(series - dm))] for dm in dms.tolist()])
            dms = nearest[np.abs(nearest - sought.dm) <= wide.dm + SAME_DM]
        window = Window(sought, freq, -own * to_fdot, near, wide, header.tobs, dms, templates, spread)
        # Points (of frequency, derivative, harmonic and DM) that are made for a window at most: the highest harmonics
        # are left out where there are more.
        if window.points <= 2e9 or window.nharm == 1:
            return window
        half = window.nharm // 2
        templates = tuple(template[:half] / np.linalg.norm(template[:half]) for template in templates)


def box_of(template: Complexes) -> tuple[float, float]:
    """Boxcar S/N of a pulse of matched S/N 1, and the width of the box [turns]."""
    nbins = 8 * max(len(template), 16)
    spectrum = np.zeros(nbins // 2 + 1, dtype=np.complex128)
    spectrum[1 : len(template) + 1] = sqrt(0.5 * nbins) * template
    snr, width, _ = best_box(np.fft.irfft(spectrum, nbins)[None, :], np.ones(nbins))
    return float(snr[0]), float(width[0]) / nbins
