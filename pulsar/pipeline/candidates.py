"""From sifted sources and their folds to the ranked table of candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import TelescopeConfig
from pulsar.constants import LEAST_DM, C
from pulsar.data.candidate import CANDIDATE_COLUMNS, empty_table
from pulsar.data.fold import Fold
from pulsar.data.header import Header
from pulsar.rank.features import dm_shift
from pulsar.search.sift import Source
from pulsar.sky.barycentre import motion_of
from pulsar.sky.flux import mean_flux

# Two refined frequencies agree within this many of their common errors, and never closer than this fraction of 1/T.
AGREE_SIGMA = 4.0
AGREE_BINS = 0.3
# Mains: relative wander, harmonics looked at.
MAINS_TOLERANCE = 0.005
MAINS_HARMONICS = 6
# Harmonics of a noise diode that are looked at.
DIODE_HARMONICS = 64
# Delay over the band below which a hum counts as undispersed [pulse widths].
MAINS_SHIFT = 0.2
# A detection less significant than this part of another is too faint to stand beside it at the same frequency; at a
# related one it must be fainter still: the sift has looked at harmonics already, only leakage of strong ones is left.
FAINT = 0.7
FAINT_HARMONIC = 0.35
# Most bins of 1/T over which the leakage of a strong signal is looked for.
MOST_LEAKAGE = 30.0
# And the largest part of the frequency, so that the windows of a slow source do not cover the axis.
MOST_SHIFT = 0.01
# Part of its S/N that an undispersed candidate has at DM 0.
UNDISPERSED = 0.95
#: Harmonics of a line of interference that are told, where they can be told from what lies between them.
COMB_HARMONICS = 16
COMB_PART = 0.02
# Ratios of frequency that make one candidate the harmonic of another.
LARGEST_RATIO = 32
LARGEST_MULTIPLE = 128
LARGEST_DENOMINATOR = 4


@dataclass(frozen=True)
class Folded:
    """A source with its refined fold and its score.

    Attributes
    ----------
    source : Source
    fold : Fold or None
        None when the source was not among the best that are folded.
    score : float
        0 to 1.
    features : mapping of str to float
        What the score was made from.
    flags : tuple of str
        Reasons to suspect interference.
    found_by : tuple of str
        Kinds of the searches that found it, best first.
    """

    source: Source
    fold: Fold | None
    score: float
    features: Mapping[str, float]
    flags: tuple[str, ...] = ()
    found_by: tuple[str, ...] = ()

    @property
    def freq(self) -> float:
        """Best frequency [Hz]: refined where there is a fold."""
        return self.fold.after.freq if self.fold is not None else self.source.freq

    @property
    def freq_err(self) -> float:
        """Its error [Hz]."""
        return self.fold.freq_err if self.fold is not None else float(self.source.best["freq_err"])

    @property
    def dm(self) -> float:
        """Best DM [pc cm^-3]."""
        return self.fold.after.dm if self.fold is not None else self.source.dm

    @property
    def dm_err(self) -> float:
        """Its error [pc cm^-3]."""
        return self.fold.dm_err if self.fold is not None else max(self.source.dm_hi - self.source.dm_lo, 1.0)

    @property
    def strength(self) -> tuple[float, float]:
        """Key of the ranking: the score, then the folded S/N (or, unfolded, far below, the significance)."""
        if self.fold is None:
            return (self.score, -1e6 + float(self.source.sigma))
        return (self.score, float(self.fold.snr))


def looks_undispersed(fold: Fold) -> bool:
    """Whether a refined DM is 0 within its error and the S/N at DM 0 as good, or surely below that of any pulsar."""
    if fold.after.dm + 2.0 * fold.dm_err < LEAST_DM:
        return True
    at_zero = float(fold.extra.get("snr_dm0", np.nan))
    return bool(fold.after.dm <= fold.dm_err and at_zero >= UNDISPERSED * fold.snr)


def looks_like_mains(fold: Fold, mains: Sequence[float], *, dispersion_known: bool) -> bool:
    """Whether a fold is an undispersed signal at a harmonic of the mains.

    Parameters
    ----------
    fold : Fold
    mains : sequence of float
        Mains frequencies [Hz]; the real ones wander by half a percent.
    dispersion_known : bool
        Whether the fold tells a DM (not so for a dedispersed series).
    """
    freq = fold.after.freq
    near = any(abs(freq / (k * f0) - 1.0) < MAINS_TOLERANCE for f0 in mains for k in range(1, MAINS_HARMONICS + 1))
    undispersed = not dispersion_known or fold.after.dm < 3.0 * fold.dm_err or dm_shift(fold) < MAINS_SHIFT
    return near and undispersed


def rank(found: Sequence[Folded], tobs: float) -> list[tuple[Folded, int | None]]:
    """Order candidates, best first, and find which are harmonics, or duplicates, of a better one.

    Parameters
    ----------
    found : sequence of Folded
    tobs : float
        Length of the observation [s].

    Returns
    -------
    list of (Folded, int or None)
        With the place in the list of the candidate it belongs to. What has converged onto the same frequency and DM as
        a better one is left out. Harmonics come after all others, whatever their score.
    """
    # Who belongs to whom is settled in the order of the search's own significance: a weak detection that the refinement
    # has dragged onto a strong source looks as strong as that in its fold.
    heard = sorted(found, key=lambda f: float(f.source.best["sigma"]), reverse=True)
    free: list[Folded] = []
    kinds: dict[int, list[str]] = {}
    bound: list[tuple[Folded, Folded]] = []
    for one in heard:
        for better in free:
            related = _relation(one, better, tobs)
            if related is not None:
                ratio, same_dm = related
                kinds[id(better)] += one.found_by
                if ratio != 1 or not same_dm:
                    bound.append((one, better))
                break
        else:
            free.append(one)
            kinds[id(one)] = [*one.found_by]
    free.sort(key=lambda f: f.strength, reverse=True)
    bound.sort(key=lambda pair: pair[0].strength, reverse=True)
    place = {id(one): i for i, one in enumerate(free)}
    whole = [replace(one, found_by=tuple(dict.fromkeys(kinds[id(one)]))) for one in free]
    return [(one, None) for one in whole] + [(one, place[id(owner)]) for one, owner in bound]


def attach(ranked: Sequence[tuple[Folded, int | None]], owners: Mapping[int, int]) -> list[tuple[Folded, int | None]]:
    """The list with some candidates, and what belongs to them, put behind all others as belonging to another.

    Parameters
    ----------
    ranked : sequence of (Folded, int or None)
        As `rank` gives it.
    owners : mapping of int to int
        Place of the candidate -> place of the one that it belongs to, which belongs to none.
    """
    top = [owners.get(i, owner) for i, (_, owner) in enumerate(ranked)]
    top = [None if owner is None else owners.get(owner, owner) for owner in top]
    order = [i for i, owner in enumerate(top) if owner is None] + [
        i for i, owner in enumerate(top) if owner is not None
    ]
    place = {i: k for k, i in enumerate(order)}
    return [(ranked[i][0], None if (owner := top[i]) is None else place[owner]) for i in order]


def _relation(weak: Folded, strong: Folded, tobs: float) -> tuple[Fraction, bool] | None:
    """The simple ratio of the frequencies if `weak` can be a harmonic of `strong`, and whether their DMs agree."""
    if strong.fold is None:
        return None
    ratio = weak.freq / strong.freq
    if not 1 / LARGEST_RATIO <= ratio <= LARGEST_MULTIPLE:
        return None
    simple = Fraction(ratio).limit_denominator(LARGEST_DENOMINATOR if ratio > 1 else LARGEST_RATIO)
    if simple.denominator > 1 and max(simple.numerator, simple.denominator) > LARGEST_RATIO:
        return None
    if ratio < 1 and simple.numerator > LARGEST_DENOMINATOR:
        return None
    expected = float(simple) * strong.freq
    part = float(weak.source.best["sigma_single"]) / max(float(strong.source.best["sigma_single"]), 1e-3)
    faint = part < FAINT
    if simple != 1 and part > FAINT_HARMONIC:
        return None  # as strong as that: a pulsar of its own
    # Where the search found it, or where the refinement has brought it.
    error = float(np.hypot(weak.freq_err, float(simple) * strong.freq_err))
    close = max(AGREE_SIGMA * error, AGREE_BINS / tobs)
    # A detection at m/d of a frequency whose d-th harmonic lies so far off a line is itself only 1/d of that off.
    leaking = max(close, min(_leakage(weak, strong) / simple.denominator / tobs, MOST_SHIFT * strong.freq))
    if abs(weak.freq - expected) > close and abs(weak.source.freq - expected) > leaking:
        return None
    # A weak neighbour in DM of a strong source is the same source even where the errors say otherwise.
    separate = abs(weak.dm - strong.dm) > AGREE_SIGMA * float(np.hypot(weak.dm_err, strong.dm_err))
    return None if separate and not (simple == 1 and faint) else (simple, not separate)


def _leakage(weak: Folded, strong: Folded) -> float:
    """Bins of 1/T from a line of `strong` at which its leakage is as strong as `weak`.

    A line leaks with an amplitude of 1 / (pi d) at d bins, and no line of a pulsar has more than its whole S/N.
    """
    if strong.fold is None:
        return 0.0
    heard = max(float(weak.source.best["sigma_single"]), 1.0)
    return min(MOST_LEAKAGE, float(strong.fold.snr) / (np.pi * heard))


def looks_like_diode(fold: Fold, periods: Sequence[float], *, dispersion_known: bool) -> bool:
    """Whether a fold is an undispersed signal at a harmonic of a noise diode, which is as regular as the clock."""
    after = fold.after
    undispersed = not dispersion_known or after.dm < 3.0 * fold.dm_err or dm_shift(fold) < MAINS_SHIFT
    for period in periods:
        multiple = round(after.freq * period)
        close = max(AGREE_SIGMA * fold.freq_err, AGREE_BINS / fold.tobs)
        if 1 <= multiple <= DIODE_HARMONICS and abs(after.freq - multiple / period) <= close:
            return undispersed
    return False


def looks_like_comb(fold: Fold, lines: Sequence[tuple[float, float]], *, dispersion_known: bool) -> bool:
    """Whether a fold is an undispersed signal at a harmonic of a line of interference.

    Parameters
    ----------
    fold : Fold
    lines : sequence of (float, float)
        Frequencies and full widths [Hz] of what was left out.
    dispersion_known : bool
        Whether the fold tells a DM.
    """
    after = fold.after
    if dispersion_known and not (after.dm < 3.0 * fold.dm_err or dm_shift(fold) < MAINS_SHIFT):
        return False
    for freq, width in lines:
        multiple = round(after.freq / freq)
        close = max(0.5 * width * multiple, AGREE_SIGMA * fold.freq_err, AGREE_BINS / fold.tobs)
        # Where harmonics lie so close that any frequency is one of them, being one says nothing.
        if 1 <= multiple <= COMB_HARMONICS and close < COMB_PART * freq and abs(after.freq - multiple * freq) <= close:
            return True
    return False


def fill_fold(row: Any, fold: Fold) -> None:
    """Fill a row of the candidates table with what a refined fold tells."""
    after = fold.after
    row["freq"] = after.freq
    row["period"] = 1.0 / after.freq
    row["period_err"] = fold.freq_err / after.freq**2
    row["fdot"] = after.fdot
    row["fdot_err"] = fold.fdot_err
    row["fddot"] = after.fddot
    row["accel"] = -C * after.fdot / after.freq
    row["accel_err"] = C * fold.fdot_err / after.freq
    row["dm"] = after.dm
    row["dm_err"] = fold.dm_err
    row["snr"] = fold.snr
    row["width"] = fold.width


def fill_place(row: Any, header: Header) -> None:
    """Fill a row with when and where it was observed."""
    row["epoch"] = header.tmid
    row["beam"] = -1 if header.beam is None else header.beam
    row["nbeams"] = 1
    row["ra_deg"] = header.ra_deg
    row["dec_deg"] = header.dec_deg


def fill_barycentre(table: NDArray[Any], header: Header) -> None:
    """Barycentric period and derivative of all rows, where telescope and position are known."""
    motion = motion_of(header)
    if motion is None:
        return
    for row in table:
        row["period_bary"] = 1.0 / motion.freq(float(row["freq"]))
        row["fdot_bary"] = motion.fdot(float(row["freq"]), float(row["fdot"]))


def candidate_table(
    ranked: Sequence[tuple[Folded, int | None]],
    header: Header,
    telescope: TelescopeConfig | None = None,
    bandwidth: float | None = None,
) -> tuple[NDArray[Any], list[tuple[str, Fold]]]:
    """The table of candidates in the order given, and the folds by id.

    Parameters
    ----------
    ranked : sequence of (Folded, int or None)
        As `rank` gives it.
    header : Header
    telescope : TelescopeConfig, optional
        For flux densities.
    bandwidth : float, optional
        Of the channels that were used [MHz]; default all.
    """
    table = empty_table(CANDIDATE_COLUMNS, len(ranked))
    folds: list[tuple[str, Fold]] = []
    for i, (one, owner) in enumerate(ranked):
        row = table[i]
        source, fold = one.source, one.fold
        ident = f"c{i + 1:04d}"
        row["rank"] = i + 1
        row["id"] = ident
        row["kind"] = str(source.best["kind"])
        row["found_by"] = ",".join(one.found_by)
        fill_place(row, header)
        if fold is not None:
            fill_fold(row, fold)
            if telescope is not None:
                row["flux"] = mean_flux(
                    fold.snr,
                    fold.width,
                    tobs=header.tobs,
                    bandwidth=header.bandwidth if bandwidth is None else bandwidth,
                    config=telescope,
                    za_deg=header.za_deg,
                )
            folds.append((ident, fold))
        else:
            row["freq"] = one.freq
            row["period"] = 1.0 / one.freq
            row["period_err"] = one.freq_err / one.freq**2
            row["fdot"] = float(source.best["fdot"])
            row["fddot"] = float(source.best["fddot"])
            row["accel"] = -C * row["fdot"] / one.freq
            row["dm"] = one.dm
        row["sigma"] = source.best["sigma"]
        row["sigma_single"] = source.best["sigma_single"]
        row["nharm"] = source.best["nharm"]
        row["ndetections"] = source.ndetections
        row["dm_detected"] = source.dm
        row["score"] = one.score
        row["rfi_flags"] = ",".join(one.flags)
        row["harmonic_of"] = "" if owner is None else f"c{owner + 1:04d}"
    fill_barycentre(table, header)
    return table, folds
