"""Numbers by which a folded candidate is judged.

Order and names are fixed: a trained model stores the list it was made with.
"""

from typing import Final

import numpy as np

from pulsar.constants import KDM, C
from pulsar.data.fold import Fold
from pulsar.sources.candidate import POSSIBLE
from pulsar.sources.steady import repeats
from pulsar_kernels.arrays import Array, Floats

#: What each feature measures, and its range.
FEATURES: Final[dict[str, str]] = {
    "sigma": "significance of the detection, corrected for all trials of the run; NaN when unknown",
    "snr": "boxcar S/N of the refined folded profile",
    "chi2_red": "reduced chi-square of the profile against a constant",
    "width": "duty cycle: width of the best boxcar [turns], 0 to 0.5",
    "dm": "refined DM [pc/cm3]",
    "dm_sigma": "refined DM over its error: how surely it is not 0; NaN when the DM was not fitted",
    "dm_shift": "delay over the band at the refined DM, in pulse widths; NaN for a single band",
    "dm_contrast": "(S/N at the DM - S/N at DM 0) / (their noise, 1): NaN for a single band",
    "dm_match": "correlation of the measured with the expected DM curve, -1 to 1; NaN for a single band",
    "time_fraction": "fraction of sub-integrations in which the pulse is positive, 0 to 1",
    "time_even": "evenness of the pulse over time, 1 for a steady source at any S/N, 1/n for one burst of n",
    "time_top": "share of the pulse in the strongest tenth of the sub-integrations, 0.1 to 1",
    "freq_fraction": "fraction of subbands in which the pulse is positive, 0 to 1; NaN for a single band",
    "freq_even": "evenness of the pulse over frequency, as time_even; NaN for a single band",
    "freq_top": "share of the pulse in the strongest tenth of the subbands; NaN for a single band",
    "ndetections": "detections grouped into the candidate; NaN when unknown",
    "turns": "rotations in the observation",
    "accel": "acceleration [m/s2]",
    "fdot_sigma": "frequency derivative over its error; NaN when not fitted",
    "dm_odds": "log odds of a DM as refined against DM 0, see dm_odds(); NaN when the DM was not fitted",
    "noise_scale": "off-pulse noise over the expected white noise, 1 when clean",
    "repeats": "significance of the pulse against what scatters between sub-integrations; NaN when unknown",
    "red_noise": "significance of more than white noise under the lowest harmonics; NaN when unknown",
    "pulse_kept": "part of the pulse's S/N in white noise that whitening the fold leaves; NaN when unknown",
    "scintles": "scintles in the band at the DM, at least, see fewest_scintles(); NaN when nothing is told",
    "dm_misfit": "measured less expected DM curve beyond noise, over the peak; NaN for a single band",
}

FEATURE_NAMES: Final[tuple[str, ...]] = tuple(FEATURES)


def box_amplitudes(rows: Array, width: float, phase: float) -> Floats:
    """S/N of one box in each row of profiles in units of their noise.

    Parameters
    ----------
    rows : ndarray, shape (n, nbins)
        Mean 0 over the bins, unit variance in noise.
    width, phase : float
        Width and centre of the box [turns].
    """
    nbins = rows.shape[1]
    # The part of each bin that lies inside the box.
    edges = np.arange(nbins + 1) / nbins
    start = (phase - 0.5 * width) % 1.0
    cover = np.zeros(nbins)
    for turn in (-1.0, 0.0, 1.0):
        low = np.maximum(edges[:-1], start + turn)
        high = np.minimum(edges[1:], start + width + turn)
        cover += np.maximum(high - low, 0.0) * nbins
    cover -= cover.mean()
    norm = float(np.sqrt(np.sum(cover**2)))
    if norm == 0.0:
        return np.zeros(len(rows))
    return np.asarray(rows.astype(np.float64) @ cover / norm)


def persistence(amps: Floats) -> tuple[float, float, float]:
    """Fraction positive, evenness and share of the strongest tenth of amplitudes with unit noise.

    Evenness is (sum a)^2 / (n sum a^2) over its expectation for equal amplitudes in the same noise, at most 1: so a
    weak steady source counts as even, although noise scatters its parts.
    """
    n = len(amps)
    total = float(amps.sum())
    square = float(np.sum(amps**2))
    if n == 0 or square == 0.0 or total <= 0.0:
        return 0.0, 0.0, 1.0
    mean2 = (total / n) ** 2
    even = min((total**2 / (n * square)) * (mean2 + 1.0) / mean2, 1.0)
    tenth = max(n // 10, 1)
    positive = np.maximum(amps, 0.0)
    top = float(np.sort(positive)[-tenth:].sum() / positive.sum())
    return float(np.mean(amps > 0.0)), float(even), top


def _there(rows: Array) -> Array:
    """Rows that have data: masked bands and gaps say nothing of how even a pulse is."""
    return rows[np.any(rows != 0.0, axis=1)]


def _match(measured: Array, expected: Array) -> float:
    """Correlation of two curves; 0 when one of them does not vary."""
    a = measured.astype(np.float64) - float(np.mean(measured))
    b = expected.astype(np.float64) - float(np.mean(expected))
    norm = float(np.sqrt(np.sum(a**2) * np.sum(b**2)))
    return float(np.sum(a * b)) / norm if norm > 0.0 else 0.0


def _misfit(measured: Array, expected: Array) -> float:
    """Root mean square difference of two curves beyond noise of 1, over the peak of the expected one; NaN without."""
    square, peak = float(np.mean((measured.astype(np.float64) - expected) ** 2)), float(np.max(expected))
    return float(np.sqrt(max(square - 1.0, 0.0))) / peak if peak > 0.0 else float("nan")


def dm_shift(fold: Fold) -> float:
    """Dispersion delay between the outer bands at the refined DM, in widths of the pulse."""
    delay = KDM * fold.after.dm * float(np.ptp(fold.band_freqs**-2.0))
    return delay * fold.after.freq / max(fold.width, 1e-6)


#: Scattering may be less than the mean at its DM by this factor: 2.3 deviations, each a factor of 4.5.
CLEAR_SIGHT: Final = 30.0


def fewest_scintles(fold: Fold) -> float:
    """Scintles that the band holds at the refined DM, at least: many of them leave the spectrum of a pulsar smooth.

    The time by which the interstellar medium scatters is, in the mean, 10^(-6.46 + 0.154 x + 1.07 x^2 - 3.86 log nu) ms
    with x = log DM, at nu GHz (Bhat et al. 2004, ApJ 605, 759), with a deviation of 0.65 in the exponent; a scintle is
    1.16 / (2 pi time) wide (Cordes & Rickett 1998), and fills a fifth of the band that it has. Over more than an octave
    a pulsar's own spectrum, and pulses drawn out by scattering, leave little at one end: nothing is told.
    """
    several = fold.freq_phase.shape[0] > 1 and np.max(fold.band_freqs) <= 2.0 * np.min(fold.band_freqs)
    if not (several and fold.after.dm > 0.0):
        return float("nan")
    x, freq = np.log10(fold.after.dm), float(np.mean(fold.band_freqs))
    time = 1e-3 * 10.0 ** (-6.46 + 0.154 * x + 1.07 * x**2 - 3.86 * np.log10(1e-3 * freq)) / CLEAR_SIGHT
    width = 1.16 / (2.0 * np.pi * time)
    return float(1.0 + 0.2 * 1e6 * float(np.ptp(fold.band_freqs)) / width)


#: DMs that pulsars may have, as far as a prior is concerned [pc cm^-3]: two of three in the ATNF catalogue lie below.
DM_RANGE: Final = 300.0


def dm_odds(fold: Fold) -> float:
    """Natural logarithm of the odds that a signal is dispersed rather than at DM 0, from its fold.

    The likelihood at DM 0 is below that at the refined DM by exp(-z^2/2), for a DM of z errors. A signal with any DM up
    to DM_RANGE has one within an error of where it was found only once in DM_RANGE / (error sqrt(2 pi)): so a DM of 0
    within a small error speaks for interference, and one within a large error says nothing (Savage-Dickey ratio). A
    signal that loses no S/N at DM 0, whatever the fit of its DM says, varies over the band for another reason.
    """
    if not (np.isfinite(fold.dm_err) and fold.dm_err > 0.0):
        return float("nan")
    at_zero = float(fold.extra.get("snr_dm0", np.nan))
    z2 = (fold.after.dm / fold.dm_err) ** 2
    if np.isfinite(at_zero):
        # The noise of the box alone may make up for so much.
        z2 = min(z2, POSSIBLE**2 + 2.0 * max(fold.snr**2 - at_zero**2, 0.0))
    return float(0.5 * z2 - np.log(max(DM_RANGE / (fold.dm_err * np.sqrt(2.0 * np.pi)), 1.0)))


def features(fold: Fold, *, sigma: float = float("nan"), ndetections: int | None = None) -> dict[str, float]:
    """All features of a folded candidate, in the order of FEATURES.

    Parameters
    ----------
    sigma : float
        Trial-corrected significance of the detection.
    ndetections : int, optional
        Detections grouped into the candidate.
    """
    nan = float("nan")
    several = fold.freq_phase.shape[0] > 1
    time = persistence(box_amplitudes(_there(fold.time_phase), fold.width, fold.phase))
    freq = persistence(box_amplitudes(_there(fold.freq_phase), fold.width, fold.phase)) if several else (nan, nan, nan)
    curve = len(fold.dms) > 2
    values = {
        "sigma": float(sigma),
        "snr": float(fold.snr),
        "chi2_red": float(fold.chi2_red),
        "width": float(fold.width),
        "dm": float(fold.after.dm),
        "dm_sigma": float(fold.after.dm / fold.dm_err) if fold.dm_err > 0.0 else nan,
        "dm_shift": dm_shift(fold) if several else nan,
        "dm_contrast": float(fold.snr - fold.extra.get("snr_dm0", nan)),
        "dm_match": _match(fold.dm_snr, fold.dm_expected) if curve else nan,
        "time_fraction": time[0],
        "time_even": time[1],
        "time_top": time[2],
        "freq_fraction": freq[0],
        "freq_even": freq[1],
        "freq_top": freq[2],
        "ndetections": nan if ndetections is None else float(ndetections),
        "turns": float(fold.tobs * fold.after.freq),
        "accel": -C * fold.after.fdot / fold.after.freq,
        "fdot_sigma": float(fold.after.fdot / fold.fdot_err) if fold.fdot_err > 0.0 else nan,
        "dm_odds": dm_odds(fold) if curve else nan,
        "noise_scale": float(fold.extra.get("noise_scale", nan)),
        "repeats": repeats(fold),
        "red_noise": float(fold.extra.get("red_noise", nan)),
        "pulse_kept": float(fold.extra.get("pulse_kept", nan)),
        "scintles": fewest_scintles(fold),
        "dm_misfit": _misfit(fold.dm_snr, fold.dm_expected) if curve else nan,
    }
    return {name: values[name] for name in FEATURE_NAMES}


def vector(values: dict[str, float]) -> Floats:
    """Features as an array in the fixed order, shape (len(FEATURES),)."""
    return np.array([values[name] for name in FEATURE_NAMES], dtype=np.float64)
