"""Signals that sweep through the band, but not as the interstellar plasma delays them, and pulses of few channels."""

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.robust import MAD_TO_SIGMA
from pulsar.data.fold import Fold, PulseCutout
from pulsar.sources.candidate import AGREE, CHANCE, RARE
from pulsar.sources.features import persistence
from pulsar.sources.score import NARROW
from pulsar_kernels.arrays import Floats, Ints

#: Groups of bands whose arrivals are compared; fewest of them in which the signal must be seen, with what S/N.
GROUPS: Final = 16
LEAST_GROUPS: Final = 5
SEEN: Final = 4.5
#: Error of an arrival at S/N 1, and what is added to it, in widths.
ARRIVAL_ERROR: Final = 0.8
SLACK: Final = 0.1
#: A bend is told from this height over a straight line on, in widths.
BEND_WIDTHS: Final = 0.6
#: A pulse is in few channels only if it is in an eighth of the band or less, and none is outside: two bands of
#: interference that come in line at some DM. Of 866 single pulses in benchmarks/population.py none has less than 4.3
#: outside. More may be left there, up to what would be listed without them, where scintillation makes such a rest of a
#: pulse rarely: an event of a narrow band chooses the time, and of all DMs that where noise is highest.
FEW_PARTS: Final = 8
LEAST_SNR: Final = 7.0


def bend(rows: NDArray[np.floating], freqs: Floats, width: int) -> tuple[float, float]:
    """How far the arrivals in the bands bend from those of a dispersed pulse towards those of a linear sweep.

    A delay in proportion to nu^-2 is a straight line over nu^-2, whatever DM is left. Over nu^-2 a sweep that is linear
    in frequency bends to one side, scattering (nu^-4) to the other; only the former counts.

    Parameters
    ----------
    rows : ndarray, shape (nbands, ncols)
        Noise of 1; what is not finite is missing.
    freqs : ndarray, shape (nbands,)
        [MHz]
    width : int
        Of the pulse [columns].

    Returns
    -------
    significance, height : float
        [sigma], and greatest distance from the straight line between the ends, over the width; 0, 0 where too few
        bands see the pulse.
    """
    x, when, sigma, _ = _arrivals(rows, freqs, width)
    if len(x) < LEAST_GROUPS:
        return 0.0, 0.0
    width = min(max(width, 1), rows.shape[1] // 4)
    at = (x - x.min()) / max(float(np.ptp(x)), 1e-30)
    used = np.ones(len(at), dtype=np.bool_)
    for _ in range(2):
        basis = np.stack([np.ones_like(at), at, at**2], axis=1)[used] / sigma[used, None]
        inverse = np.linalg.pinv(basis.T @ basis)
        fit = inverse @ (basis.T @ (when[used] / sigma[used]))
        off = np.abs(when - np.stack([np.ones_like(at), at, at**2], axis=1) @ fit) > AGREE * sigma
        if not (off & used).any() or (used & ~off).sum() < LEAST_GROUPS:
            break
        used &= ~off
    # Half of the square term at the middle of the line between the ends, where it is a quarter of the coefficient.
    return float(-fit[2] / np.sqrt(max(inverse[2, 2], 1e-30))), float(-fit[2] / 4.0 / width)


def _arrivals(rows: NDArray[np.floating], freqs: Floats, width: int) -> tuple[Floats, Floats, Floats, list[Ints]]:
    """Where the signal is highest in each group of bands that sees it: nu^-2 [MHz^-2], column, its error, the bands."""
    nbands, ncols = rows.shape
    ngroups = min(GROUPS, nbands)
    edges = np.linspace(0, nbands, ngroups + 1).round().astype(int)
    known = np.isfinite(rows).all(axis=1)
    width = min(max(width, 1), ncols // 4)
    x, arrival, error, bands = [], [], [], []
    for first, last in pairwise(edges):
        good = first + np.flatnonzero(known[first:last])
        if good.size == 0:
            continue
        series = rows[good].sum(axis=0, dtype=np.float64) / np.sqrt(good.size)
        series -= np.median(series)
        sums = np.append(0.0, np.cumsum(series))
        boxes = (sums[width:] - sums[:-width]) / np.sqrt(width)
        # Noise of 1, but for interference and drifts: whose highest place is no arrival.
        boxes /= max(MAD_TO_SIGMA * float(np.median(np.abs(boxes - np.median(boxes)))), 1.0)
        top = int(np.argmax(boxes))
        if boxes[top] < SEEN:
            continue
        x.append(float(np.mean(freqs[good] ** -2.0)))
        # The middle of what is within the box, finer than a column.
        inside = np.maximum(series[top : top + width], 0.0)
        arrival.append(top + float(inside @ np.arange(width)) / max(float(inside.sum()), 1e-9))
        error.append(width * np.hypot(ARRIVAL_ERROR / boxes[top], SLACK))
        bands.append(good)
    return np.array(x), np.array(arrival), np.array(error), bands


def pulse_reasons(cutout: PulseCutout, snr: float) -> tuple[str, ...]:
    """Why a single pulse looks like interference: "sweep", "narrow-band".

    Parameters
    ----------
    snr : float
        Of the pulse.
    """
    if snr < LEAST_SNR or len(cutout.freqs) < LEAST_GROUPS:
        return ()
    flags = []
    columns = max(round(cutout.width / cutout.tsamp), 1)
    if _bent(cutout.spectrum, cutout.freqs, columns) and not _beside(cutout, columns):
        flags.append("sweep")
    power = _in_bands(cutout, columns)
    if len(power) >= LEAST_GROUPS and (persistence(power)[1] < NARROW or _in_few(power)):
        flags.append("narrow-band")
    return tuple(flags)


def _bent(rows: NDArray[np.floating], freqs: Floats, width: int) -> bool:
    """True if arrivals surely bend, and by a good part of the width (:func:`bend`)."""
    significance, height = bend(rows, freqs, width)
    return significance > CHANCE and height > BEND_WIDTHS


def bends(fold: Fold) -> bool:
    """True if the pulse of a fold arrives as a linear sweep does, within a quarter of a turn of where it is."""
    nbins = fold.freq_phase.shape[1]
    rows = np.roll(fold.freq_phase, nbins // 2 - int(fold.phase * nbins), axis=1)[:, nbins // 4 : nbins - nbins // 4]
    return _bent(rows, fold.band_freqs, max(round(fold.width * nbins), 1))


def _first_column(cutout: PulseCutout, columns: int) -> int:
    """Where the box of a pulse begins."""
    return max(round((cutout.time - cutout.start) / cutout.tsamp - 0.5 * columns), 0)


def _beside(cutout: PulseCutout, columns: int) -> bool:
    """True if a pulse is there where the arrivals are not: they are those of something else beside it.

    Of a sweep a trial DM sees a part, or all of it drawn out over its own width: where the sweep is elsewhere, nothing
    is left.
    """
    _, when, _, bands = _arrivals(cutout.spectrum, cutout.freqs, columns)
    first = _first_column(cutout, columns)
    elsewhere = [good for at, good in zip(when, bands, strict=True) if abs(at - first - 0.5 * columns) > 2.0 * columns]
    if not elsewhere:
        return False
    own = np.concatenate(elsewhere)
    rows = cutout.spectrum[own].astype(np.float64)
    rows -= np.median(rows, axis=1, keepdims=True)
    power = rows[:, first : first + columns].sum() / np.sqrt(columns * own.size)
    return bool(power >= CHANCE)


def _in_bands(cutout: PulseCutout, columns: int) -> Floats:
    """S/N in the box of a pulse of each band that is there all the while [sigma]."""
    first = _first_column(cutout, columns)
    known = np.isfinite(cutout.spectrum[:, first : first + columns]).all(axis=1)
    rows = cutout.spectrum[known].astype(np.float64)
    # The end of the data may be in the cut-out, beside the pulse.
    rows -= np.nanmedian(rows, axis=1, keepdims=True) if rows.size else 0.0
    return np.asarray(rows[:, first : first + columns].sum(axis=1) / np.sqrt(columns))


def _in_few(power: Floats) -> bool:
    """True if a pulse is in an eighth of the band or less, and what is outside does not tell of one.

    Parameters
    ----------
    power : ndarray, shape (nbands,)
        In each band, noise of 1.
    """
    nbands = len(power)
    sums = np.append(0.0, np.cumsum(power))
    best, place, number = 0.0, 0, 1
    for width in range(1, nbands // FEW_PARTS + 1):
        boxes = (sums[width:] - sums[:-width]) / np.sqrt(width)
        if boxes.max() > best:
            best, place, number = float(boxes.max()), int(np.argmax(boxes)), width
    others = nbands - number
    rest = float(sums[-1] - (sums[place + number] - sums[place])) / np.sqrt(others)
    if not AGREE <= rest < LEAST_SNR:
        return bool(rest < AGREE)
    # Scintles are exponential (Scheuer 1968), the more equal the narrower they are: at worst as wide as this box. Of
    # n + 1 such the one is r times the mean of the others with probability (1 + r / n)^-n. Both within their errors.
    ratio = max(best - 2.0, 0.0) / np.sqrt(number) / ((rest + 1.0) / np.sqrt(others))
    scintles = others / number
    return bool((scintles + 1.0) * (1.0 + ratio / scintles) ** -scintles < RARE)
