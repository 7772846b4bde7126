"""From a folded candidate to flags: each rule a function of the fold and of what the run knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pulsar.constants import LEAST_DM
from pulsar.data.fold import Fold
from pulsar.searches.sift import Group
from pulsar.sources.candidate import AGREE, AGREE_BINS, CHANCE, POSSIBLE
from pulsar.sources.features import dm_shift
from pulsar.sources.score import UNDISPERSED, reasons
from pulsar.sources.sweep import shape_of_fold

#: Harmonics of the mains that a fold may be, and part by which they wander: further out, as cleaning looks for lines,
#: windows would hold one in eight of all frequencies.
MAINS_HARMONICS = 6
MAINS_TOLERANCE = 0.005
#: Harmonics of a noise diode that are looked at.
DIODE_HARMONICS = 64
#: Delay over the band below which a hum counts as undispersed [pulse widths].
MAINS_SHIFT = 0.2
#: What is stronger at DM 0 is another signal if this is over so many times what that one leaves at the DM.
SMEARED = 1.2
#: Harmonics of a line of interference that are told, where they can be told from what lies between them.
COMB_HARMONICS = 16
COMB_PART = 0.02
#: Part of the power of high harmonics that the low ones of a pulse hold at least, whatever drifts and lines have taken
#: of them (487 folds of pulsars in benchmarks/population.py have more, by 1.4 errors or above).
LEAST_LOW = 0.5
#: A pulse and the dip beside it are the two sides of a step if the dip is at least this part of it, and no noise, and
#: whitening has left no more than so much of its S/N. Of 308 pulsars in whitened folds none has a dip of more than
#: 0.71, nor kept less than 0.16 (benchmarks/population.py); the step in a real series has 0.88 and 0.07.
STEP_DIP = 0.8
STEP_KEPT = 0.15
#: A turn of the antenna of a surveillance radar [s]: from 15 a minute, at airports, to 5 (ARSR-4), on long routes; and
#: the part of a turn in which it is seen. Its beam is 1.5 degrees wide, and seen far down its sides: in two real series
#: (8.28 s and 10.02 s) for 3 to 6 degrees.
RADAR_TURNS = (4.0, 12.5)
RADAR_SEEN = 0.02


@dataclass(frozen=True)
class KnownInterference:
    """Periodic interference that the run knows of."""

    mains: Sequence[float] = ()  # Mains frequencies [Hz]
    diodes: Sequence[float] = ()  # Periods of noise diodes [s]
    #: Frequencies and full widths [Hz] of what was left out of the spectra.
    lines: Sequence[tuple[float, float]] = field(default_factory=tuple)
    dispersion_known: bool = True  # Whether folds tell a DM (not so for a dedispersed series)


def flags_of(group: Group, fold: Fold, features: Mapping[str, float], known: KnownInterference) -> tuple[str, ...]:
    """All flags that a group and its fold give by themselves, without the other candidates."""
    flags = []
    # As strong at DM 0 in the search: what the fold says of the DM, with its error, goes before it. A slow pulsar is as
    # strong at DM 0 as anywhere, whatever its DM. Where the fold knows nothing of it, the search tells.
    if looks_undispersed(fold) or (group.undispersed and not features.get("dm_odds", np.nan) >= UNDISPERSED):
        flags.append("dm0")
    flags += [flag for flag in reasons(dict(features)) if flag not in flags]
    if looks_stepped(fold) and "red noise" not in flags:
        flags.append("red noise")
    if looks_mirrored(fold):
        flags.append("mirrored")
    if shape_of_fold(fold).is_sweep:
        flags.append("sweep")
    dispersed = known.dispersion_known
    if looks_like_mains(fold, known.mains, dispersion_known=dispersed):
        flags.append("mains")
    if looks_like_diode(fold, known.diodes, dispersion_known=dispersed):
        flags.append("noise diode")
    if looks_like_radar(fold, dispersion_known=dispersed):
        flags.append("radar")
    cause_known = {"mains", "noise diode"} & set(flags)
    if not cause_known and looks_like_comb(fold, known.lines, dispersion_known=dispersed):
        flags.append("comb")
    return tuple(flags)


def looks_undispersed(fold: Fold) -> bool:
    """True if a refined DM is surely below that of any pulsar.

    What is stronger at DM 0 than at any DM near its own is undispersed too, however well that is fitted: it is a lobe.
    Unless it is more than the signal at DM 0 can leave there: a box of w turns that is drawn out over d turns by the
    band leaves sqrt(w / (w + 0.35 d)) of its S/N (as in `pulsar_kernels.longwave.explained`), and another signal stands
    in the same turn, such as the hum of the mains.
    """
    if fold.after.dm + 2.0 * fold.dm_err < LEAST_DM:
        return True
    at_zero = float(fold.extra.get("snr_dm0", np.nan))
    if not at_zero > fold.snr + POSSIBLE:
        return False
    width = float(fold.extra.get("width_dm0", fold.width))
    drift = dm_shift(fold) * fold.width
    left = at_zero * np.sqrt(width / (width + 0.35 * drift)) / max(drift, 1.0)
    return bool(fold.snr <= SMEARED * left)


def looks_mirrored(fold: Fold) -> bool:
    """True if a profile has its power in high harmonics alone.

    A pulse adds up in phase in its lowest harmonics, be it as narrow as a bin: these have no less power than any other.
    Drifts, and what was left out for lines, take a part of them. A line above the highest harmonic is mirrored at a
    high one, and its feet are beside that.
    """
    profile = fold.profile.astype(np.float64)
    powers = np.abs(np.fft.rfft(profile))[1 : max(profile.size // 2, 2)] ** 2 / profile.size - 1.0
    quarter, half = powers[: powers.size // 4], powers[powers.size // 2 :]
    if quarter.size == 0:
        return False
    low, high = float(quarter.sum()), float(half.mean())
    least = LEAST_LOW * quarter.size
    error = np.sqrt(quarter.size + 2.0 * max(low, 0.0) + least**2 * (1.0 + 2.0 * max(high, 0.0)) / half.size)
    # Power in the low ones that noise does not give is a pulse, or a drift: whatever line is there beside.
    return bool(low + POSSIBLE * error < least * high and low < POSSIBLE * np.sqrt(quarter.size))


def looks_stepped(fold: Fold) -> bool:
    """True if the pulse of a whitened fold is an edge of a step: a dip beside it is as deep as it is high.

    Whitening takes the slow part of a step and leaves its edges, which are as narrow as a bin. Of a pulse it takes the
    lowest harmonics, which leaves a wide and shallow trough around it.
    """
    if not float(fold.extra.get("pulse_kept", np.nan)) < STEP_KEPT:
        return False
    profile = fold.profile.astype(np.float64)
    width = min(max(round(fold.width * profile.size), 1), profile.size)
    dip = 0.0
    for bins in {width, max(width // 2, 1)}:
        sums = np.cumsum(np.concatenate([[0.0], profile, profile[:bins]]))
        dip = max(dip, -float(np.min(sums[bins:] - sums[:-bins])) / np.sqrt(bins))
    return dip >= max(STEP_DIP * fold.snr, CHANCE)


def looks_like_mains(fold: Fold, mains: Sequence[float], *, dispersion_known: bool) -> bool:
    """True if a fold is an undispersed signal at a harmonic of the mains.

    Parameters
    ----------
    mains : sequence of float
        Mains frequencies [Hz]; the real ones wander.
    dispersion_known : bool
        Whether the fold tells a DM (not so for a dedispersed series).
    """
    freq = fold.after.freq
    near = any(abs(freq / (k * f0) - 1.0) < MAINS_TOLERANCE for f0 in mains for k in range(1, MAINS_HARMONICS + 1))
    return near and _may_be_undispersed(fold, dispersion_known)


def _may_be_undispersed(fold: Fold, dispersion_known: bool) -> bool:
    """True unless a fold tells a DM that is not 0."""
    return not dispersion_known or fold.after.dm < POSSIBLE * fold.dm_err or dm_shift(fold) < MAINS_SHIFT


def looks_like_diode(fold: Fold, periods: Sequence[float], *, dispersion_known: bool) -> bool:
    """True if a fold is an undispersed signal at a harmonic of a noise diode, which is as regular as the clock."""
    after = fold.after
    for period in periods:
        multiple = round(after.freq * period)
        close = max(AGREE * fold.freq_err, AGREE_BINS / fold.tobs)
        if 1 <= multiple <= DIODE_HARMONICS and abs(after.freq - multiple / period) <= close:
            return _may_be_undispersed(fold, dispersion_known)
    return False


def looks_like_radar(fold: Fold, *, dispersion_known: bool) -> bool:
    """True if a fold in which no DM can be told has one narrow pulse in a turn of a surveillance radar.

    Nothing but a DM tells it from a slow pulsar. Of the pulsars in the ATNF catalogue 89 of 4238 have such a period; of
    the six real series that the rules were looked at with two have a radar.
    """
    low, high = RADAR_TURNS
    return not dispersion_known and low <= 1.0 / fold.after.freq <= high and fold.width <= RADAR_SEEN


def looks_like_comb(fold: Fold, lines: Sequence[tuple[float, float]], *, dispersion_known: bool) -> bool:
    """True if a fold is an undispersed signal at a harmonic of a line of interference.

    Parameters
    ----------
    lines : sequence of (float, float)
        Frequencies and full widths [Hz] of what was left out.
    dispersion_known : bool
        Whether the fold tells a DM.
    """
    after = fold.after
    if not _may_be_undispersed(fold, dispersion_known):
        return False
    for freq, width in lines:
        multiple = round(after.freq / freq)
        close = max(0.5 * width * multiple, AGREE * fold.freq_err, AGREE_BINS / fold.tobs)
        # Where harmonics lie so close that any frequency is one of them, being one says nothing.
        if 1 <= multiple <= COMB_HARMONICS and close < COMB_PART * freq and abs(after.freq - multiple * freq) <= close:
            return True
    return False
