"""Signals that sweep through the band, but not as the interstellar plasma delays them, and pulses of few channels."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from pulsar.constants import KDM
from pulsar.data.fold import Fold, PulseCutout
from pulsar.sources.candidate import AGREE, RARE
from pulsar.sources.features import persistence
from pulsar.sources.score import NARROW
from pulsar_kernels.arrays import Floats

#: Fewest bands that tell of the shape of a signal.
LEAST_BANDS: Final = 5
#: Bands at which a sweep may have the rate of dispersion, at most.
MOST_TRIED: Final = 32
#: A sweep is told where dispersion lacks so much of its (S/N)^2, and a dispersed signal where any sweep does. Profiles
#: that change over the band and pulses of others lack less: of 2,166 pulses and 686 folds of pulsars of S/N 60 to 400
#: in random skies (benchmarks/population.py) none passes for a sweep.
LACKS_AS_DISPERSED: Final = 0.2
LACKS_AS_SWEEP: Final = 0.5
#: A pulse is in few channels only if it is in an eighth of the band or less, and none is outside: two bands of
#: interference that come in line at some DM. Of 866 single pulses in benchmarks/population.py none has less than 4.3
#: outside. More may be left there, up to what would be listed without them, where scintillation makes such a rest of a
#: pulse rarely: an event of a narrow band chooses the time, and of all DMs that where noise is highest.
FEW_PARTS: Final = 8
LEAST_SNR: Final = 7.0


@dataclass(frozen=True)
class BandShape:
    """S/N of a signal over the band, as one that is dispersed, and as the best sweep that is linear in frequency.

    The sweep is the best of some hundred: of a signal in a tenth of the band, to which noise elsewhere can add, it has
    3.9 more than the dispersed one in 600 trials at most.
    """

    dispersed: float
    sweep: float
    #: (S/N)^2 of the dispersed signal in the bands where that sweep is elsewhere, over that of so many bands if all are
    #: alike: next to nothing of a sweep; about 1 of a pulse beside a stronger one, whose columns the sweep takes.
    beside: float = 0.0

    @property
    def is_sweep(self) -> bool:
        """True if the data tell a sweep from a dispersed signal, and from one beside something stronger."""
        lacks = self.dispersed**2 < (1.0 - LACKS_AS_DISPERSED) * self.sweep**2
        return lacks and self.sweep > self.dispersed + AGREE and self.beside < 1.0 - LACKS_AS_SWEEP

    @property
    def is_dispersed(self) -> bool:
        """True if the data exclude a sweep."""
        return self.dispersed > self.sweep + AGREE and self.sweep**2 < (1.0 - LACKS_AS_SWEEP) * self.dispersed**2


#: Of what too few bands show.
UNKNOWN: Final = BandShape(0.0, 0.0)


def shape(rows: Floats, freqs: Floats, dm: float, tsamp: float, width: int, *, periodic: bool) -> BandShape:
    """The shape of a signal in the middle of its bands.

    A sweep that has, at the frequency v0, the rate of what is dispersed by the same DM is late against that by
    K DM (2 (v0 - v) / v0^3 - 1/v^2 + 1/v0^2). Up to `MOST_TRIED` bands are tried for v0. Either signal may be narrower
    than the box in which it was found, by a half or a quarter, and beside its middle by the box.

    Parameters
    ----------
    rows : ndarray, shape (nbands, ncols)
        Dedispersed, of zero mean and noise 1.
    freqs : ndarray, shape (nbands,)
        [MHz]
    dm : float
        [pc cm^-3]
    tsamp : float
        Time of a column [s].
    width : int
        Of the box in which it was found [columns].
    periodic : bool
        What is late beyond one end comes in at the other; else it is not seen.
    """
    nbands, ncols = rows.shape
    width = min(width, ncols)
    # No more columns than the boxes in question have.
    start = max(ncols // 2 - 2 * width, 0)
    columns = np.arange(start, min(ncols // 2 + 2 * width + 1, ncols))
    v0 = freqs[:: max(-(-nbands // MOST_TRIED), 2), None]
    late = KDM * dm * (2.0 * (v0 - freqs) / v0**3 - freqs**-2.0 + v0**-2.0) / tsamp
    late = np.rint(np.concatenate([np.zeros((1, nbands)), late])).astype(np.int64)
    if not periodic:
        # What is late beyond an end comes from beside the rows, where nothing is.
        rows = np.pad(rows, ((0, 0), (ncols, ncols)))
        late = np.clip(late, -ncols, ncols) + ncols
    first = np.arange(nbands)[:, None] * rows.shape[1]
    series = [rows.take(first + (columns + delays[:, None]) % rows.shape[1]).sum(axis=0) for delays in late]
    snrs = _highest(np.array(series) / np.sqrt(nbands), width, ncols // 2 - start)
    best = 1 + int(np.argmax(snrs[1:]))
    elsewhere = np.abs(late[best] - late[0]) > 2 * width
    straight = rows[elsewhere][:, columns + late[0, 0]].sum(axis=0) / max(np.count_nonzero(elsewhere), 1)
    there = float(_highest(straight[None] * np.sqrt(nbands), width, ncols // 2 - start)[0])
    return BandShape(float(snrs[0]), float(snrs[best]), (there / max(float(snrs[0]), 1e-9)) ** 2)


def _highest(series: Floats, width: int, middle: int) -> Floats:
    """Highest S/N in boxes of a width, its half and its quarter, no further off than the width, of each series."""
    sums = np.pad(np.cumsum(series, axis=1), ((0, 0), (1, 0)))
    best = np.zeros(len(series))
    for box in {width, max(width // 2, 1), max(width // 4, 1)}:
        boxes = (sums[:, box:] - sums[:, :-box]) / np.sqrt(box)
        first = middle - box // 2
        best = np.maximum(best, boxes[:, max(first - width, 0) : first + width + 1].max(axis=1))
    return best


def shape_of_fold(fold: Fold) -> BandShape:
    """The shape of a folded pulse (:func:`shape`), in the bands that are there."""
    known = np.isfinite(fold.freq_phase).all(axis=1) & np.isfinite(fold.band_freqs) & fold.freq_phase.any(axis=1)
    if np.count_nonzero(known) < LEAST_BANDS:
        return UNKNOWN
    rows = fold.freq_phase[known].astype(np.float64)
    nbins = rows.shape[1]
    rows = np.roll(rows - rows.mean(axis=1, keepdims=True), nbins // 2 - int(fold.phase * nbins), axis=1)
    width = max(round(fold.width * nbins), 1)
    return shape(rows, fold.band_freqs[known], fold.after.dm, 1.0 / (fold.after.freq * nbins), width, periodic=True)


def shape_of_pulse(cutout: PulseCutout, snr: float) -> BandShape:
    """The shape of a single pulse (:func:`shape`).

    `snr`: of the pulse, in a series whose noise may be more than that of the bands: no more than that is told.
    """
    known = np.isfinite(cutout.spectrum).mean(axis=1) > 0.5
    if np.count_nonzero(known) < LEAST_BANDS:
        return UNKNOWN
    rows = cutout.spectrum[known].astype(np.float64)
    rows = np.nan_to_num(rows - np.nanmedian(rows, axis=1, keepdims=True))
    width = max(round(cutout.width / cutout.tsamp), 1)
    measured = shape(rows, cutout.freqs[known], cutout.dm, cutout.tsamp, width, periodic=False)
    part = min(snr / max(measured.dispersed, 1e-9), 1.0)
    return BandShape(part * measured.dispersed, part * measured.sweep, measured.beside)


def pulse_reasons(cutout: PulseCutout, snr: float, over_the_band: BandShape) -> tuple[str, ...]:
    """Why a single pulse looks like interference: "sweep", "narrow-band".

    Parameters
    ----------
    snr : float
        Of the pulse.
    over_the_band : BandShape
        Of the pulse (:func:`shape_of_pulse`).
    """
    if snr < LEAST_SNR or len(cutout.freqs) < LEAST_BANDS:
        return ()
    flags = []
    columns = max(round(cutout.width / cutout.tsamp), 1)
    if over_the_band.is_sweep:
        flags.append("sweep")
    power = _in_bands(cutout, columns)
    if len(power) >= LEAST_BANDS and (persistence(power)[1] < NARROW or _in_few(power)):
        flags.append("narrow-band")
    return tuple(flags)


def _in_bands(cutout: PulseCutout, columns: int) -> Floats:
    """S/N in the box of a pulse of each band that is there all the while [sigma]."""
    first = max(round((cutout.time - cutout.start) / cutout.tsamp - 0.5 * columns), 0)
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
    nothers = nbands - number
    rest = float(sums[-1] - (sums[place + number] - sums[place])) / np.sqrt(nothers)
    if not AGREE <= rest < LEAST_SNR:
        return bool(rest < AGREE)
    # Scintles are exponential (Scheuer 1968), the more equal the narrower they are: at worst as wide as this box. Of
    # n + 1 such the one is r times the mean of the others with probability (1 + r / n)^-n. Both within their errors.
    ratio = max(best - 2.0, 0.0) / np.sqrt(number) / ((rest + 1.0) / np.sqrt(nothers))
    scintles = nothers / number
    return bool((scintles + 1.0) * (1.0 + ratio / scintles) ** -scintles < RARE)
