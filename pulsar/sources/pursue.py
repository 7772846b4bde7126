"""The list by pursuit: the surest detection that what is accepted does not leave becomes a source, until none is left.

1. Heads: of the detections, surest first, those that neither a source nor a head before them leaves are folded.
2. A fold stands if, less what the accepted sources leave in its sub-integrations, its detection is still above the
   threshold of its search, in the noise that there is; then it is a source. Otherwise it belongs to the one that leaves
   most of it.
3. Backward, the least sure first: a source that the others together leave goes to one of them. So a harmonic that was
   taken first belongs to its fundamental.
4. What is not left by any source is folded in turn; when nothing is, or the room for folds is used up, every group has
   a parent or stands.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import KDM
from pulsar.data.fold import Fold
from pulsar.folding.profile import best_box
from pulsar.rank.candidate import Candidate
from pulsar.rank.steady import repeats
from pulsar.searches.sift import Group
from pulsar.searches.stats import expected_from_sigma, logp_from_sigma, power_logp, trial_sigma
from pulsar.sources.source import Source

#: Bands and sub-integrations of the model of a detection that is not folded: as many as folds have.
_BANDS: Final = 16
_PARTS: Final = 32
#: Rounds of folding; in each the room for folds is shared equally.
_ROUNDS: Final = 3
#: Of the amplitude that a source leaves so much may be off: its own noise, pulses that vary.
_OFF: Final = 0.1
#: The same of its fold, where sub-integrations tell how much.
_SCALE: Final = 0.2
#: Sweeps over the amplitudes that are fitted together.
_SWEEPS: Final = 30
#: Largest integers of the ratio by which a relation is named.
_MOST_RATIO: Final = 16


@dataclass(frozen=True)
class Observed:
    """What the pursuit has to know of the data.

    Attributes
    ----------
    tobs : float
        [s]
    freqs : ndarray
        Channels that were used [MHz]; empty for a dedispersed series.
    thresholds : mapping of str to float
        Trial-corrected significance from which each search keeps a detection.
    """

    tobs: float
    freqs: NDArray[np.float64]
    thresholds: Mapping[str, float]


@dataclass(frozen=True)
class Share:
    """What sources leave of a detection.

    Attributes
    ----------
    powers : ndarray, shape (nsources,)
        Of each in the sum of harmonics.
    left : float
        Trial-corrected significance of what is not theirs.
    """

    powers: NDArray[np.float64]
    left: float


def pursue(
    groups: Sequence[Group], observed: Observed, fold: Callable[[Sequence[Group]], list[Candidate]], most: int
) -> list[Candidate]:
    """One candidate for every group, in no order: folded where it may be a source, with its parent where it is none.

    Parameters
    ----------
    groups : sequence of Group
        Best first.
    observed : Observed
    fold : callable
        Gives refined folds of groups, with flags and scores.
    most : int
        Folds at most.
    """
    waiting, folded = list(groups), list[Candidate]()
    accepted: list[Candidate] = []
    sources: dict[str, Source] = {}
    for _ in range(_ROUNDS):
        heads = _heads(waiting, [sources[one.uid] for one in accepted], observed, -(-most // _ROUNDS))
        if not heads:
            break
        new = fold(heads)
        names = {one.uid for one in new}
        waiting = [one for one in waiting if one.uid not in names]
        folded += new
        sources |= {one.uid: Source.of(one.fold) for one in new if one.fold is not None}
        for one in sorted(new, key=lambda one: -one.group.sigma):
            if _stands(one, _left(one, accepted, sources), observed):
                accepted.append(one)
        accepted = _needed(accepted, sources, observed)
    heads_of = {one.uid for one in accepted}
    rest = [one for one in folded if one.uid not in heads_of] + [Candidate(g, found_by=g.found_by) for g in waiting]
    return [*accepted, *(_attached(one, accepted, sources, observed) for one in rest)]


def _heads(groups: Sequence[Group], sources: Sequence[Source], observed: Observed, most: int) -> list[Group]:
    """The surest groups that neither the sources nor those among them before leave."""
    models, heads = list(sources), list[Group]()
    for one in groups:
        if len(heads) == most:
            break
        if _share(one, models, observed).left >= _threshold(one, observed):
            heads.append(one)
            models.append(_model(one, observed))
    return heads


def _threshold(group: Group, observed: Observed) -> float:
    return observed.thresholds.get(str(group.best["kind"]), 0.0)


def _share(group: Group, sources: Sequence[Source], observed: Observed) -> Share:
    """What sources leave in the sum of harmonics of a group's best detection."""
    best = group.best
    args = group.freq, float(best["fdot"]), group.dm, group.nharm
    near = [_near(one, group.freq, group.nharm, observed.tobs) for one in sources]
    powers = np.array([one.power_at(*args) if close else 0.0 for one, close in zip(sources, near, strict=True)])
    # Phases are not known: powers add up on average, and noise of two deviations is theirs.
    theirs = powers.sum()
    kept = group.excess - (1.0 + _OFF) ** 2 * theirs - 2.0 * np.sqrt(2.0 * theirs)
    return Share(powers, _sigma(group, max(float(kept), 0.0)))


def _near(source: Source, freq: float, nharm: int, tobs: float) -> bool:
    """Whether any harmonic of a source comes within what a sub-integration tells apart of one of a frequency."""
    ratio = np.arange(1, nharm + 1) * freq / source.freq
    slides = np.abs(ratio - np.maximum(np.rint(ratio), 1.0)) * source.freq * tobs / _PARTS
    return bool(slides.min() < 1.0)


def _sigma(group: Group, excess: float) -> float:
    """Trial-corrected significance that a detection has with a part of its excess power."""
    sigma = group.sigma
    expected = float(logp_from_sigma(sigma)) if sigma > 5.0 else float(np.log(expected_from_sigma(sigma)))
    ntrials = np.exp(min(expected - float(group.best["logp"]), 700.0))
    return float(trial_sigma(power_logp(excess + group.nharm, group.nharm), max(ntrials, 1.0)))


def _model(group: Group, observed: Observed) -> Source:
    """A source as its detection alone tells it: a Gaussian pulse of its width, alike in all bands and all the time."""
    k = np.arange(1, group.nharm + 1)
    width = float(group.best["width"])
    fwhm = width if np.isfinite(width) and width > 0.0 else 0.5 / group.nharm
    shape = np.exp(-((np.pi * k * fwhm / 2.3548) ** 2) * 2.0)
    shape *= np.sqrt(group.excess / np.sum(shape**2))
    if observed.freqs.size > 1:
        edges = np.linspace(observed.freqs.min(), observed.freqs.max(), _BANDS + 1)
        centres = 0.5 * (edges[1:] + edges[:-1])
        delays = KDM * (centres**-2.0 - observed.freqs.max() ** -2.0)
    else:
        delays = np.zeros(1)
    amplitudes = np.repeat(shape[None, :] / np.sqrt(len(delays)), len(delays), axis=0).astype(np.complex128)
    edges = np.linspace(-0.5, 0.5, _PARTS + 1) * observed.tobs
    nbins = 1 << 16
    return Source(group.freq, float(group.best["fdot"]), group.dm, amplitudes, delays, np.ones(_PARTS), edges, nbins)


@dataclass(frozen=True)
class Left:
    """What is left of a fold without what sources leave in it.

    Attributes
    ----------
    powers : ndarray, shape (nsources,)
        Of each source in the fold.
    part : float
        Of the S/N of the fold.
    steady : float
        Significance against what scatters between sub-integrations.
    """

    powers: NDArray[np.float64]
    part: float
    steady: float


def left_of(fold: Fold, others: Sequence[Source]) -> Left:
    """What is left of a fold without what other sources leave in it."""
    near = [_near(one, fold.after.freq, len(fold.profile) // 2, fold.tobs) for one in others]
    rows = fold.time_phase.astype(np.float64) * float(fold.extra.get("noise_scale", 1.0))
    theirs = np.zeros((len(others), *rows.shape))
    for place in np.flatnonzero(near).tolist():
        theirs[place] = others[place].rows_in(fold)
    powers = np.sum(theirs**2, axis=(1, 2))
    if not powers.any():
        return Left(powers, 1.0, np.inf)
    kept = _without(rows, theirs[powers > 0.0])
    share = np.sqrt(np.diff(fold.time_edges) / fold.tobs)[:, None]
    profiles = np.stack([(rows * share).sum(axis=0), (kept * share).sum(axis=0)])
    profiles -= profiles.mean(axis=1, keepdims=True)
    whole, left = best_box(profiles, np.ones(rows.shape[1]))[0]
    residual = replace(fold, time_phase=kept.astype(np.float32), extra={**fold.extra, "noise_scale": 1.0})
    return Left(powers, float(left / max(whole, 1.0)), repeats(residual))


def _without(rows: NDArray[np.float64], left: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sub-integrations less what sources leave in them, each times what fits best: none at least, little more than all.

    Sources that share harmonics share what is there; and folds of other lengths of the turn weigh noise and smear
    samples a little differently.
    """
    models = left.reshape(len(left), -1)
    gram, seen = models @ models.T, models @ rows.ravel()
    scale = np.ones(len(models))
    for _ in range(_SWEEPS):  # coordinate descent, which bounds do not hinder
        for i in range(len(scale)):
            step = (seen[i] - gram[i] @ scale) / gram[i, i]
            scale[i] = np.clip(scale[i] + step, 0.0, 1.0 + _SCALE)
    return np.asarray(rows - np.tensordot(scale, left, 1))


def _stands(one: Candidate, left: Left, observed: Observed) -> bool:
    """Whether what is left of a fold is a source: above the threshold of its search, in the noise that there is."""
    if _sigma(one.group, left.part**2 * one.group.excess) < _threshold(one.group, observed):
        return False
    # What varies leaves more than its mean: the noise that there is counts, where others leave something.
    return left.steady >= REPEATS or left.part > 1.0 - _OFF


def _left(one: Candidate, accepted: Sequence[Candidate], sources: Mapping[str, Source]) -> Left:
    """What is left of a candidate's fold beside the accepted ones, itself apart."""
    if one.fold is None:
        return Left(np.zeros(0), 1.0, np.inf)
    return left_of(one.fold, [sources[other.uid] for other in accepted if other.uid != one.uid])


#: Significance against what scatters between sub-integrations, below which what is left of a fold is noise: chance
#: adds up to 4 where the refinement has chosen it [sigma].
REPEATS: Final = 4.0


def _needed(accepted: Sequence[Candidate], sources: Mapping[str, Source], observed: Observed) -> list[Candidate]:
    """The sources that stand beside all others, tried from the least sure on."""
    out = sorted(accepted, key=lambda one: one.group.sigma)
    for one in tuple(out):
        if not _stands(one, _left(one, out, sources), observed):
            out.remove(one)
    return sorted(out, key=lambda one: -one.group.sigma)


def _attached(
    one: Candidate, accepted: Sequence[Candidate], sources: Mapping[str, Source], observed: Observed
) -> Candidate:
    """A candidate with the source that leaves most of it; as it is where none leaves enough of what is not folded."""
    if not accepted:
        return one
    share = _share(one.group, [sources[other.uid] for other in accepted], observed)
    powers = share.powers if one.fold is None else _left(one, accepted, sources).powers
    if powers.max() <= 0.0 or (one.fold is None and share.left >= _threshold(one.group, observed)):
        return one
    owner = accepted[int(np.argmax(powers))]
    words = (
        f"of its power of {one.group.excess:.1f} beyond noise {owner.uid} leaves {share.powers.max():.1f}, all sources "
        f"{share.powers.sum():.1f}; what is left has {share.left:.1f} sigma"
    )
    return replace(one, parent=owner.uid, relation=_relation(one, owner), reasons=(*one.reasons, words))


def _relation(one: Candidate, owner: Candidate) -> str:
    """The ratio of the frequencies in words."""
    ratio = Fraction(one.freq / owner.freq).limit_denominator(_MOST_RATIO)
    if ratio.numerator == 0 or abs(float(ratio) * owner.freq - one.freq) * owner_length(owner) > 1.0:
        return "sidelobe"
    return "same" if ratio == 1 else f"harmonic {ratio}"


def owner_length(owner: Candidate) -> float:
    """Length of what a candidate was folded from [s]."""
    return owner.fold.tobs if owner.fold is not None else 0.0
