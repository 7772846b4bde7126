"""Statistics of folded profiles: boxcar S/N, noise-free template."""

from functools import cache
from typing import Final

import numpy as np

from pulsar_kernels.arrays import Complexes, Floats, Ints

#: Positions inside a bin at which the boxes are tried.
SUBSTEPS: Final = 4


@cache
def box_widths(nbins: int, *, dense: bool) -> Ints:
    """Widths of the boxes [bins], 1 … nbins / 2: all of them, or in steps of about a fifth."""
    most = max(nbins // 2, 1)
    if dense:
        return np.arange(1, most + 1, dtype=np.int64)
    return np.unique(np.round(np.geomspace(1, most, int(np.ceil(np.log(most) / np.log(1.2))) + 1)).astype(np.int64))


def best_box(
    profiles: Floats, variance: Floats, *, dense: bool = True, most: bool = False
) -> tuple[Floats, Ints, Ints]:
    """Boxcar S/N, width and start bin of each profile, shape (n,), for `profiles` of shape (n, nbins).

    Boxes fill half of the turn at most; `most`: up to all of it but a bin.
    """
    from pulsar_kernels.fold import boxcar_snr

    n, nbins = profiles.shape
    snr = np.empty(n)
    width = np.empty(n, dtype=np.int64)
    start = np.empty(n, dtype=np.int64)
    rows = np.ascontiguousarray(profiles, dtype=np.float64)
    widths = box_widths(nbins, dense=dense)
    if most:
        widths = np.unique(np.concatenate([widths, nbins - widths]))
    boxcar_snr(rows, np.ascontiguousarray(variance), widths, snr, width, start)
    return snr, width, start


def fine_box(spectrum: Complexes, variance: Floats) -> tuple[float, float, float]:
    """Boxcar S/N of one profile with boxes that may start inside a bin.

    Parameters
    ----------
    spectrum : ndarray of complex128, shape (nbins // 2 + 1,)
        ``rfft`` of the profile.
    variance : ndarray, shape (nbins,)

    Returns
    -------
    snr, width, phase : float
        Width and centre of the box [turns].
    """
    snr, width, phase = (float(values[0]) for values in fine_boxes(spectrum[None, :], variance))
    return snr, width, phase


def fine_boxes(spectra: Complexes, variance: Floats) -> tuple[Floats, Floats, Floats]:
    """The same of several profiles, shape (n,) each, for `spectra` of shape (n, nbins // 2 + 1)."""
    nbins, rows = len(variance), np.arange(len(spectra))
    early = np.arange(SUBSTEPS) / SUBSTEPS
    shifted = spectra[:, None, :] * _substeps(nbins, spectra.shape[1])
    boxes = best_box(np.fft.irfft(shifted, nbins, axis=2).reshape(-1, nbins), variance)
    snr, width, start = (values.reshape(len(rows), SUBSTEPS) for values in boxes)
    i = np.argmax(snr, axis=1)
    centre = (start[rows, i] + 0.5 * width[rows, i] + early[i]) / nbins
    return snr[rows, i], width[rows, i] / nbins, centre % 1.0


@cache
def _substeps(nbins: int, nharm: int) -> Complexes:
    """Factors of the harmonics of a profile that is turned back by parts of a bin, shape (SUBSTEPS, nharm)."""
    early = np.arange(SUBSTEPS) / SUBSTEPS
    return np.asarray(np.exp(2j * np.pi * np.arange(nharm) * early[:, None] / nbins))


def template_of(spectrum: Complexes, total_variance: float, width: float) -> Complexes:
    """The signal in a profile: each harmonic weighted as Wiener does, DC left out.

    Harmonics beyond the last significant one, and beyond those that make up a pulse of that width, are left out: in a
    fit of phases they count with the square of their number, and would only fit noise.

    Parameters
    ----------
    spectrum : ndarray of complex128, shape (nbins // 2 + 1,)
        ``rfft`` of the profile.
    total_variance : float
        Sum of the variances of its bins: expected power of a harmonic of noise.
    width : float
        Width of the best boxcar [turns].
    """
    power = np.abs(spectrum) ** 2
    gain = np.clip(1.0 - total_variance / np.maximum(power, total_variance), 0.0, 1.0)
    gain[0] = 0.0
    # The Nyquist harmonic has no defined phase.
    gain[-1] = 0.0
    # exp(-12): one profile in several thousand has a harmonic of noise that strong.
    sure = np.flatnonzero(power[:-1] > 12.0 * total_variance)
    last = max(int(sure[-1]) if len(sure) else 0, int(np.ceil(0.6 / width)), 1)
    gain[last + 1 :] = 0.0
    if not np.any(gain > 0.0):
        gain[1:2] = 1.0
    return np.asarray(spectrum * gain)


def ratio_of(num: Floats, den: Floats) -> Floats:
    """Ratio of sums to their weights, 0 where nothing was measured."""
    return np.divide(num, den, out=np.zeros_like(num), where=den > 0)


def drawn(num: Floats, den: Floats, axis: int | None = None) -> Floats:
    """Means of many cells, each drawn to the mean of all as far as their scatter is noise.

    Parameters
    ----------
    num, den : ndarray
        Weighted sum of each cell and its weight, one over its variance: the mean is their ratio.
    axis : int, optional
        The cells lie along it; several sets of them (bins of profiles) share how much they scatter. Default: all are
        one set.
    """
    total = den.sum(axis=axis, keepdims=True)
    mean = ratio_of(num.sum(axis=axis, keepdims=True), total)
    away = ratio_of(num, den) - mean
    free = float(np.count_nonzero(den > 0)) - mean.size
    weight = float(total.sum() - ratio_of((den**2).sum(axis=axis, keepdims=True), total).sum())
    if free <= 0 or weight <= 0:
        return np.broadcast_to(mean, num.shape).copy()
    scatter = max((float(np.sum(den * away**2)) - free) / weight, 0.0)
    return np.asarray(mean + away * (scatter * den / (scatter * den + 1.0)))
