"""A folded candidate."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import C
from pulsar.data.html import facts, known, line


@dataclass(frozen=True)
class FoldParams:
    """What a candidate is folded with: topocentric, at mid-observation.

    Attributes
    ----------
    freq : float
        Spin frequency [Hz].
    fdot : float
        Frequency derivative [Hz/s].
    dm : float
        Dispersion measure [pc cm^-3].
    fddot : float
        Second derivative [Hz/s^2].
    """

    freq: float
    fdot: float = 0.0
    dm: float = 0.0
    fddot: float = 0.0

    def times(self, factor: float) -> "FoldParams":
        """The same rotation counted as `factor` turns where this one counts one."""
        return FoldParams(self.freq * factor, self.fdot * factor, self.dm, self.fddot * factor)


@dataclass(frozen=True)
class LevelledFold:
    """A fold from which a wandering level was taken turn by turn (:mod:`pulsar.folding.turns`).

    Attributes
    ----------
    data : ndarray of float32, shape (nsubints, nbands, nbins)
        As in :class:`FoldCube`, of white noise.
    measured, smooth : ndarray, shape (nbins / 2 + 1,)
        Noise power that the harmonics had, over that of white noise: as measured, and never rising.
    red : float
        How surely the noise is red [sigma].
    """

    data: NDArray[np.float32]
    measured: NDArray[np.float64]
    smooth: NDArray[np.float64]
    red: float


@dataclass(frozen=True, repr=False)
class FoldCube:
    """Folded data before any refinement: everything else is derived from it.

    Phase 0, the left edge of bin 0, is at mid-observation (highest channel):
    phase(t) = f (t - tmid) + fdot (t - tmid)^2 / 2 + fddot (t - tmid)^3 / 6.

    Attributes
    ----------
    data : ndarray of float32, shape (nsubints, nbands, nbins)
        Sums of cleaned samples, in units of the noise of one channel-sample (already divided by SIGMA_LEVELS).
    variance : ndarray of float64, shape (nsubints, nbands, nbins)
        Variance that noise alone gives each element (channel-samples that went in).
    time_edges : ndarray, shape (nsubints + 1,)
        Edges of the sub-integrations [s] from the start.
    band_freqs : ndarray, shape (nbands,)
        Reference frequency of each band [MHz]: at which its residual delay is reckoned when the DM is changed.
    fref : float
        Frequency to which delays are referred [MHz].
    params : FoldParams
        What it was folded with.
    tobs, tsamp : float
        Length of the observation, sampling time of the folded samples [s].
    epoch : float
        MJD (UTC) of mid-observation.
    lags : ndarray, shape (nbands,), optional
        Time [s] by which the sub-integrations of a band lie later than `time_edges` (which hold for the highest
        channel): each band is folded in its own time, so that nothing is lost at the ends. None: 0.
    levelled : LevelledFold, optional
        The same without the level, where that surely wanders from turn to turn.
    resolution : float
        Length of what was put into a bin at once, `tsamp` or several [s]; 0 where that is not known.
    """

    data: NDArray[np.float32]
    variance: NDArray[np.float64]
    time_edges: NDArray[np.float64]
    band_freqs: NDArray[np.float64]
    fref: float
    params: FoldParams
    tobs: float
    tsamp: float
    epoch: float
    lags: NDArray[np.float64] | None = None
    levelled: LevelledFold | None = None
    resolution: float = 0.0

    def without(self, subints: NDArray[np.bool_]) -> "FoldCube":
        """The same without some of the sub-integrations, shape (nsubints,)."""
        keep = ~subints[:, None, None]
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
        Further numbers worth keeping with the fold (features of the ranking).
    start : float
        Beginning of what was folded [s] from the start of the observation: 0 but for parts of it. Times, epoch and
        length are those of the part.
    part : str
        Which part, such as 3/4; empty for the whole.
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
    profile: NDArray[np.float32]
    time_phase: NDArray[np.float32]
    freq_phase: NDArray[np.float32]
    time_edges: NDArray[np.float64]
    band_freqs: NDArray[np.float64]
    dms: NDArray[np.float64]
    dm_snr: NDArray[np.float32]
    dm_expected: NDArray[np.float32]
    freq_offsets: NDArray[np.float64]
    fdot_offsets: NDArray[np.float64]
    p_pdot: NDArray[np.float32]
    epoch: float
    tobs: float
    extra: dict[str, Any] = field(default_factory=dict)
    start: float = 0.0
    part: str = ""

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
            f"<Fold: P {self.period:.9g} s, DM {self.dm:.5g}, S/N {self.snr:.1f}, {len(self.profile)} bins, "
            f"{self.time_phase.shape[0]} sub-integrations, {self.freq_phase.shape[0]} bands>"
        )

    def _repr_html_(self) -> str:
        f = self.after.freq
        rows = [
            ("period", f"{self.period:.12g} s" + _error(self.freq_err / f**2, "s")),
            ("acceleration", f"{-C * self.after.fdot / f:.5g} m/s²" + _error(C * self.fdot_err / f, "m/s²")),
            ("DM", f"{self.dm:.6g} pc/cm³" + _error(self.dm_err, "pc/cm³")),
            ("S/N", f"{self.snr:.1f}"),
            ("duty cycle", f"{self.width:.3f}"),
            ("epoch", known(self.epoch, ".8f", "MJD (UTC)")),
        ]
        return facts("Fold", rows, line(np.tile(self.profile, 2)))


def _error(value: float, unit: str) -> str:
    return f" ± {value:.2g} {unit}" if np.isfinite(value) else ""
