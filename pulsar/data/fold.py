"""A folded candidate, and cubes over time and frequency that are made of its sums; a single pulse cut out of the data.

A product keeps sums over frequency and over time, not what is in both. Formats that hold a cube are filled with the one
that has just these sums and nothing else: every plot that is made of a sum is that of the fold.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pulsar.constants import DAY, C
from pulsar.data.header import LARGEST_DM
from pulsar.data.text import facts, known, line
from pulsar.errors import ConfigError
from pulsar_kernels.arrays import Array, Bools, Float32s, Floats, Ints


@dataclass(frozen=True)
class FoldParams:
    """Parameters with which a candidate is folded: topocentric, at mid-observation."""

    freq: float  # Spin frequency [Hz]
    fdot: float = 0.0  # Frequency derivative [Hz/s]
    dm: float = 0.0  # Dispersion measure [pc cm^-3]
    fddot: float = 0.0  # Second derivative [Hz/s^2]

    def times(self, factor: float) -> "FoldParams":
        """The same rotation counted as `factor` turns where this one counts one."""
        return FoldParams(self.freq * factor, self.fdot * factor, self.dm, self.fddot * factor)

    def check(self, tobs: float, tsamp: float) -> None:
        """Refuse what cannot be folded in so many seconds, of samples so far apart [s].

        Raises
        ------
        ConfigError
            When the frequency is not positive or above the Nyquist frequency, the DM beyond any, or a number not
            finite.
        """
        if not abs(self.dm) <= LARGEST_DM or not all(np.isfinite([self.freq, self.fdot, self.fddot])):
            raise ConfigError(f"cannot fold with frequency {self.freq} Hz, derivative {self.fdot} Hz/s, DM {self.dm}")
        if self.freq <= 0:
            raise ConfigError(f"cannot fold with a frequency of {self.freq:g} Hz: it must be positive")
        span = 0.5 * tobs * (abs(self.fdot) + 0.25 * tobs * abs(self.fddot))
        if self.freq + span > 0.5 / tsamp:
            raise ConfigError(
                f"cannot fold at {self.freq:g} Hz: samples of {tsamp * 1e6:g} us show at most {0.5 / tsamp:g} Hz"
            )

    def at(self, seconds: Any) -> "FoldParams":
        """The same rotation as it is `seconds` later."""
        freq = self.freq + seconds * (self.fdot + 0.5 * self.fddot * seconds)
        return FoldParams(freq, self.fdot + self.fddot * seconds, self.dm, self.fddot)

    def turns(self, seconds: Any) -> Any:
        """Turns from the moment of these parameters to `seconds` later."""
        return seconds * (self.freq + seconds * (self.fdot / 2.0 + seconds * self.fddot / 6.0))


def reciprocal(value: float, first: float, second: float) -> tuple[float, float, float]:
    """A period and its derivatives of a frequency with its own, or a frequency of a period."""
    return 1.0 / value, -first / value**2, (2.0 * first**2 / value - second) / value**2


@dataclass(frozen=True)
class HarmonicNoise:
    """Noise of the harmonics of a fold."""

    #: shape (nharm + 1,): Power of the noise beside each harmonic, over that of white noise; 1 at harmonic 0.
    measured: Floats
    smooth: Floats  # shape (nharm + 1,): The same, as a curve that never rises with frequency
    red: float  # Standard errors by which the lowest harmonics are noisier than white noise

    @property
    def gain(self) -> Floats:
        """Factor of each harmonic: noise is white and of unit power afterwards."""
        return np.asarray(1.0 / np.sqrt(self.smooth))

    def evened(self) -> "HarmonicNoise":
        """The noise once it has been evened out."""
        return HarmonicNoise(self.measured * self.gain**2, np.ones(len(self.smooth)), 0.0)

    def scale(self, width: float) -> float:
        """Rms of the noise of a box of `width` turns over that of white noise."""
        box = np.sinc(np.arange(len(self.measured)) * width) ** 2
        box[0] = 0.0
        return float(np.sqrt(np.sum(self.measured * box) / np.sum(box)))


@dataclass(frozen=True)
class LevelledFold:
    """A fold from which a wandering level was taken turn by turn (:mod:`pulsar.folding.sums`)."""

    data: Float32s  # shape (nsubints, nbands, nbins): As in :class:`FoldCube`, of white noise
    noise: HarmonicNoise  # That the harmonics had, shape (nbins / 2 + 1,)


@dataclass(frozen=True, repr=False)
class FoldCube:
    """Folded data before any refinement: everything else is derived from it.

    Phase 0, the left edge of bin 0, is at mid-observation (highest channel):
    phase(t) = f (t - tmid) + fdot (t - tmid)^2 / 2 + fddot (t - tmid)^3 / 6.
    """

    #: shape (nsubints, nbands, nbins): Sums of cleaned samples, in units of the noise of one channel-sample (already
    #: divided by SIGMA_LEVELS).
    data: Float32s
    #: shape (nsubints, nbands, nbins): Variance that noise alone gives each element (channel-samples that went in).
    variance: Floats
    time_edges: Floats  # shape (nsubints + 1,): Edges of the sub-integrations [s] from the start
    #: shape (nbands,): Reference frequency of each band [MHz]: at which its residual delay is reckoned when the DM is
    #: changed.
    band_freqs: Floats
    fref: float  # Frequency to which delays are referred [MHz]
    params: FoldParams  # What it was folded with
    #: tobs, tsamp: length of the observation, sampling time of the folded samples [s].
    tobs: float
    tsamp: float
    epoch: float  # MJD (UTC) of mid-observation
    #: shape (nbands,): Time [s] by which the sub-integrations of a band lie later than `time_edges` (which hold for the
    #: highest channel): each band is folded in its own time, so that nothing is lost at the ends. None: 0.
    lags: Floats | None = None
    levelled: LevelledFold | None = None  # The same without the level, where that surely wanders from turn to turn
    #: Length of what was put into a bin at once, `tsamp` or several [s]; 0 where that is not known.
    resolution: float = 0.0

    def without(self, subints: Bools, bands: Bools | None = None) -> "FoldCube":
        """The same without some of the sub-integrations, shape (nsubints,), and of the bands, shape (nbands,)."""
        keep = ~subints[:, None, None]
        if bands is not None:
            keep = keep & ~bands[:, None]
        levelled = self.levelled
        if levelled is not None:
            levelled = replace(levelled, data=np.where(keep, levelled.data, np.float32(0.0)))
        data, variance = np.where(keep, self.data, np.float32(0.0)), np.where(keep, self.variance, 0.0)
        return replace(self, data=data, variance=variance, levelled=levelled)

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.data.shape))
        return f"<FoldCube: {shape}, P {1.0 / self.params.freq:.9g} s, DM {self.params.dm:.5g}>"


@dataclass(frozen=True, repr=False)
class Fold:
    """A refined fold: what the product stores and the plot sheet shows.

    Attributes
    ----------
    before, after : FoldParams
        Parameters of the fold and of its refinement.
    freq_err, fdot_err, dm_err : float
        1-sigma errors of the refined values (fdot_err NaN when it was not fitted).
    snr : float
        Boxcar S/N of the refined profile.
    width : float
        Width of that boxcar [turns], at most 0.5.
    phase : float
        Centre of that boxcar [turns].
    chi2_red : float
        Reduced chi-square of the refined profile against a constant.
    profile : ndarray, shape (nbins,)
        Refined profile in units of its noise (mean 0).
    time_phase : ndarray, shape (nsubints, nbins)
        Refined, summed over bands, in units of the noise of an element.
    freq_phase : ndarray, shape (nbands, nbins)
        Refined, summed over time, in units of the noise of an element.
    time_edges : ndarray, shape (nsubints + 1,)
        [s] from the start.
    band_freqs : ndarray, shape (nbands,)
        [MHz]
    dms, dm_snr, dm_expected : ndarray, shape (ndm,)
        Trial DMs, S/N there, and the S/N expected there for the refined profile and DM.
    freq_offsets : ndarray, shape (nf,)
        Axis of the plane: refined around `before` [Hz].
    fdot_offsets : ndarray, shape (nfdot,)
        Axis of the plane [Hz/s].
    p_pdot : ndarray, shape (nfdot, nf)
        S/N over the plane.
    epoch, tobs : float
        MJD (UTC) of mid-observation; length [s].
    extra : dict
        Further numbers worth keeping with the fold: ``features`` of the ranking; ``residual``, a row for each strong
        source by which templates were measured, the strongest first: the fields of its FoldParams, and whether it was
        taken out of what was folded here; ``bandwidth`` that was not masked [MHz], of folds of given periods.
    start : float
        Beginning of what was folded [s] from the start of the observation: 0 but for parts of it. Times, epoch and
        length are those of the part.
    part : str
        Which part, such as 3/4; empty for the whole.
    width_err : float
        1-sigma error of the width [turns].
    flux_err : float
        1-sigma error of the mean flux density, as a part of it: by noise, and what the pulsar scatters by.
    period, dm : float
        Refined topocentric period at `epoch` [s] and dispersion measure [pc cm^-3]: those of `after`.
    """

    before: FoldParams
    after: FoldParams
    freq_err: float
    fdot_err: float
    dm_err: float
    snr: float
    width: float
    phase: float
    chi2_red: float
    profile: Float32s
    time_phase: Float32s
    freq_phase: Float32s
    time_edges: Floats
    band_freqs: Floats
    dms: Floats
    dm_snr: Float32s
    dm_expected: Float32s
    freq_offsets: Floats
    fdot_offsets: Floats
    p_pdot: Float32s
    epoch: float
    tobs: float
    extra: dict[str, Any] = field(default_factory=dict)
    start: float = 0.0
    part: str = ""
    width_err: float = float("nan")
    flux_err: float = float("nan")

    @property
    def period(self) -> float:
        """Refined period [s]."""
        return 1.0 / self.after.freq

    @property
    def dm(self) -> float:
        """Refined dispersion measure [pc cm^-3]."""
        return self.after.dm

    def __repr__(self) -> str:
        return (
            f"<Fold: P {self.period:.9g} s, DM {self.dm:.5g} pc/cm3, S/N {self.snr:.1f}, {len(self.profile)} bins, "
            f"{self.time_phase.shape[0]} sub-integrations, {self.freq_phase.shape[0]} bands>"
        )

    def _repr_html_(self) -> str:
        f = self.after.freq
        rows = [
            ("period", f"{self.period:.12g} s" + _error(self.freq_err / f**2, "s")),
            ("acceleration", f"{-C * self.after.fdot / f:.5g} m/s²" + _error(C * self.fdot_err / f, "m/s²")),
            ("DM", f"{self.dm:.6g} pc/cm³" + _error(self.dm_err, "pc/cm³")),
            ("S/N", f"{self.snr:.1f}"),
            ("left out by hand", zapped(self)),
            ("duty cycle", f"{self.width:.3f}" + _error(self.width_err, "")),
            ("epoch", known(self.epoch, ".8f", "MJD (UTC)")),
        ]
        return facts("Fold", rows, line(np.tile(self.profile, 2)))


def zapped(fold: Fold) -> str:
    """What was left out of a fold by hand, in words; empty: nothing."""
    zaps = [(fold.extra.get(f"zap_{name}"), unit) for name, unit in (("time", "s"), ("freq", "MHz"))]
    return ", ".join(f"{span} {unit}" for spans, unit in zaps if isinstance(spans, list) for span in spans)


def _error(value: float, unit: str) -> str:
    return f" ± {value:.2g} {unit}".rstrip() if np.isfinite(value) else ""


def turned(profiles: Floats, turns: Floats | float) -> Floats:
    """Profiles moved later by so many turns, without their means.

    Parameters
    ----------
    profiles : ndarray, shape (..., nbins)
    turns : float or ndarray, shape (...)
    """
    nbins = profiles.shape[-1]
    spectra = np.fft.rfft(profiles, axis=-1)
    spectra[..., 0] = 0.0
    phase = np.asarray(turns)[..., None] * np.arange(spectra.shape[-1])
    return np.asarray(np.fft.irfft(spectra * np.exp(-2j * np.pi * phase), nbins, axis=-1), dtype=np.float64)


def aligned_cube(fold: Fold, at: Ints) -> Floats:
    """The fold as it is refined, dedispersed, noise of 1 in every element, shape (nsubints, nbands, nbins).

    Parameters
    ----------
    at : ndarray of int64, shape (nbands,)
        Place of each band; one in which none is put is empty.
    """
    nsub = len(at)
    bands, count = np.zeros((nsub, fold.profile.size)), np.zeros(nsub)
    np.add.at(bands, at, fold.freq_phase.astype(np.float64))
    np.add.at(count, at, 1.0)
    share = np.diff(fold.time_edges) / fold.tobs
    return cube_of_sums(fold.profile, fold.time_phase, bands, share, count)


def cube_of_sums(profile: Array, time_phase: Array, freq_phase: Array, share: Floats, count: Floats) -> Floats:
    """The cube that has these sums and nothing else, noise of 1 in every element, shape (nsubints, nbands, nbins).

    Parameters
    ----------
    profile : ndarray, shape (nbins,)
        In units of its noise, as all others.
    time_phase : ndarray, shape (nsubints, nbins)
        Summed over bands.
    freq_phase : ndarray, shape (nbands, nbins)
        Summed over time.
    share : ndarray, shape (nsubints,)
        Of each sub-integration in the time.
    count : ndarray, shape (nbands,)
        Bands that were added to each; 0: it is empty.
    """
    npart, nsub = len(time_phase), len(freq_phase)
    size = np.sqrt(float(npart * nsub))
    whole = turned(profile.astype(np.float64), 0.0) * size
    times = turned(time_phase.astype(np.float64), 0.0) * size * np.sqrt(share)[:, None]
    bands = turned(freq_phase.astype(np.float64), 0.0) * size / np.sqrt(nsub)
    part = count / nsub
    beside = bands - part[:, None] * whole
    cube: Floats = times[:, None, :] * part[None, :, None] + share[:, None, None] * beside[None]
    return cube


def holds_sums_only(cube: FoldCube) -> bool:
    """True if a cube is one of :func:`cube_of_sums`: noise is then not white in it, but a sum of two parts.

    Turned in time and in frequency at once, such noise does not stay what the variance says: a refinement of both finds
    periods and DMs at which it falls, and takes what is left for a signal.
    """
    live = cube.variance.any(axis=(0, 2))
    lasts = np.diff(cube.time_edges)
    if len(cube.data) < 2 or np.count_nonzero(live) < 2:
        return False
    each = cube.data[:, live].astype(np.float64) * (lasts.mean() / lasts)[:, None, None]
    # Turns by fractions of a bin do not keep the Nyquist harmonic.
    parts = np.fft.rfft(each, axis=2)[..., 1:-1]
    beside = parts - parts.mean(axis=0) - parts.mean(axis=1, keepdims=True) + parts.mean(axis=(0, 1))
    # Single precision leaves some power of 0.
    return bool(np.sum(np.abs(beside) ** 2) < 1e-8 * np.sum(np.abs(parts) ** 2))


@dataclass(frozen=True, eq=False, repr=False)
class PulseCutout:
    """The surroundings of a pulse.

    Attributes
    ----------
    spectrum : ndarray of float32, shape (nbands, ntime)
        Dedispersed at `dm`, noise of 1; NaN where there are no data.
    freqs : ndarray, shape (nbands,)
        Middles of the bands [MHz], descending.
    plane : ndarray of float32, shape (ndms, ntime)
        Series at `dms`, noise of 1.
    dms : ndarray, shape (ndms,)
        [pc cm^-3]
    dm : float
        DM of the pulse [pc cm^-3].
    time : float
        Its arrival [s] from the start of the observation, at `fref`.
    width : float
        Its width [s]; NaN where a stretch was cut out that is no pulse.
    start : float
        Time of the beginning of the first column [s].
    tsamp : float
        Time of a column [s].
    tstart : float
        MJD (UTC) of the start of the observation.
    fref : float
        Frequency to which times refer [MHz].
    """

    spectrum: Float32s
    freqs: Floats
    plane: Float32s
    dms: Floats
    dm: float
    time: float
    width: float
    start: float
    tsamp: float
    tstart: float
    fref: float

    @property
    def times(self) -> Floats:
        """Middles of the columns [s] from the start of the observation, shape (ntime,)."""
        middles = np.arange(self.spectrum.shape[1]) + 0.5
        return np.asarray(self.start + middles * self.tsamp, dtype=np.float64)

    @property
    def mjd(self) -> float:
        """Arrival at `fref`, MJD (UTC)."""
        return self.tstart + self.time / DAY

    @property
    def profile(self) -> Float32s:
        """The series at the DM of the pulse, noise of 1, shape (ntime,)."""
        return np.asarray(self.plane[int(np.argmin(np.abs(self.dms - self.dm)))], dtype=np.float32)

    def __repr__(self) -> str:
        return (
            f"<PulseCutout: {self.time:.6f} s, DM {self.dm:.5g}, width {1e3 * self.width:.4g} ms, "
            f"{self.spectrum.shape[0]} bands, {self.spectrum.shape[1]} times>"
        )
