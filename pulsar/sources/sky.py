"""Which of the folds are sources, and what is left of each fold beside them.

What two sources have in common is in the folds of both. It is of the stronger one; of a period and a part of it that is
of the one at which the pulse, not its copies, has the higher S/N. The other has what that does not leave. So a blend of
two pulsars, at a common multiple of their periods, has nothing of its own, and a pulsar beside a stronger one has.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.data.fold import Fold
from pulsar.folding.fundamental import needs_all
from pulsar.folding.profile import best_box
from pulsar.rank.candidate import Candidate
from pulsar.searches.sift import Group
from pulsar.sources.detections import OFF, SAME, Observed, powers_in, sigma_of
from pulsar.sources.residual import Left, left_of
from pulsar.sources.source import Source

#: Significance against what scatters between sub-integrations, below which what is left of a fold is noise: chance
#: adds up to 4 where the refinement has chosen it [sigma].
REPEATS: Final = 4.0
#: S/N that the best fold of noise reaches (docs/folding.md).
CHANCE: Final = 5.0
#: Largest integer of a ratio of two periods.
MOST_RATIO: Final = 16
#: Squared S/N by which two folds of one source differ that are within 4 errors of its parameters, in white noise. Of
#: strong ones, which pulses that vary make noisier, a tenth.
_ALIKE: Final = 16.0
#: Times that sources are taken in and let go of.
_ROUNDS: Final = 3
#: Power in a fold below which a source leaves nothing there.
_FELT: Final = 1.0
#: Flags of what varies so that nothing can be predicted of it.
_NOISE: Final = frozenset({"red noise", "unsteady"})

#: A source by its uid, and those to which what they share is reckoned.
Name = tuple[str, frozenset[str]]
#: What a source leaves in a fold, and the harmonics at which that is not known.
There = tuple[NDArray[np.float32], NDArray[np.bool_]]


class Sky:
    """Candidates that are folded, and those of them that are sources.

    Parameters
    ----------
    groups : sequence of Group
        All detections.
    observed : Observed

    Attributes
    ----------
    folded, accepted : list of Candidate
        By the S/N of their folds, highest first.
    """

    def __init__(self, groups: Sequence[Group], observed: Observed) -> None:
        self.observed = observed
        self.folded: list[Candidate] = []
        self.accepted: list[Candidate] = []
        self._groups = sorted(groups, key=lambda one: one.freq)
        self._freqs = np.array([one.freq for one in self._groups])
        self._folds: dict[str, Fold] = {}
        self._sources: dict[Name, Source] = {}
        self._there: dict[tuple[Name, str], There | None] = {}
        self._turns: dict[tuple[str, int, frozenset[str]], bool] = {}
        self._left: dict[tuple[str, frozenset[Name]], Left] = {}

    def fit(self, new: Sequence[Candidate]) -> None:
        """Take in new folds, and find anew the sources that leave nothing of any of them, none of which is idle."""
        folds = {one.uid: one.fold for one in new if one.fold is not None}
        self._folds |= folds
        self._sources |= {(uid, frozenset()): Source.of(fold) for uid, fold in folds.items()}
        self.folded = _by_snr([*self.folded, *(one for one in new if one.uid in folds)])
        self.accepted = []
        self._left.clear()
        for _ in range(_ROUNDS):
            before = [one.uid for one in self.accepted]
            self._forward()
            self._backward()
            if before == [one.uid for one in self.accepted]:
                break

    def source(self, one: Candidate) -> Source:
        """All that a candidate's fold shows."""
        return self._sources[one.uid, frozenset()]

    def own(self) -> list[tuple[Source, float]]:
        """The accepted sources without what is of others, and the part of its power that searches see of each."""
        names = [self._name(one, self.accepted) for one in self.accepted]
        return [(self._source(name), self._seen(one)) for name, one in zip(names, self.accepted, strict=True)]

    def whole(self) -> list[tuple[Source, float]]:
        """The same with all that their folds show."""
        return [(self.source(one), self._seen(one)) for one in self.accepted]

    def left(self, one: Candidate) -> Left:
        """What is left of a candidate's fold beside the accepted ones, itself apart."""
        others = [other for other in self._felt(one, self.accepted) if other is not one]
        return self._beside(one, [self._name(other, [*others, one]) for other in others])

    def _forward(self) -> None:
        """Accept what stands, that of which most is left first."""
        while True:
            accepted = {one.uid for one in self.accepted}
            standing = [one for one in self.folded if one.uid not in accepted and self._stands(one)]
            if not standing:
                return
            best = max(standing, key=lambda one: self.left(one).part * one.snr)
            self.accepted = _by_snr([*self.accepted, best])

    def _backward(self) -> None:
        """Let go of what does not stand beside the others, the weakest first."""
        for one in self.accepted[::-1]:
            if not self._stands(one):
                self.accepted = [other for other in self.accepted if other is not one]

    def _stands(self, one: Candidate) -> bool:
        """Whether what is left of a fold is a source.

        Not at the frequency of another; above the threshold of its search; more than what the refinement finds in
        noise, and than templates lack, as far as something was taken; and the same in all sub-integrations.
        """
        if any(self._same(one, other) and self._first(other, one, self.accepted) for other in self.accepted):
            return False
        left = self.left(one)
        if sigma_of(one.group, left.part**2 * one.group.excess) < self.observed.threshold(one.group):
            return False
        scale = float(self._folds[one.uid].extra.get("noise_scale", 1.0))
        least = CHANCE**2 * (1.0 - left.part**2) + OFF**2 * left.taken / scale**2
        # Of too few sub-integrations it is not known what repeats.
        return bool((left.part * one.snr) ** 2 >= least and not left.steady < REPEATS)

    def _seen(self, one: Candidate) -> float:
        """Part of the power of a source that searches see, at its own frequency.

        Folds are in units of white noise, searches in those of the noise around each line, which the lines of a strong
        source raise.
        """
        source = self.source(one)
        first, last = np.searchsorted(self._freqs, source.freq + np.array([-0.5, 0.5]) / self.observed.tobs)
        parts = [0.0]
        for group in self._groups[first:last]:
            power = float(powers_in(group, [(source, 1.0)], self.observed).sum())
            parts.append(group.excess / power if power > 0.0 else 0.0)
        return min(max(parts), 1.0) or 1.0

    def _felt(self, one: Candidate, others: Sequence[Candidate]) -> list[Candidate]:
        """Those that leave something in a candidate's fold that can be predicted."""
        steady = [other for other in others if not _NOISE & set(other.flags)]
        return [other for other in steady if self._rows((other.uid, frozenset()), one.uid) is not None]

    def _name(self, one: Candidate, every: Sequence[Candidate]) -> Name:
        return one.uid, frozenset(other.uid for other in every if other is not one and self._first(other, one, every))

    def _first(self, one: Candidate, other: Candidate, every: Sequence[Candidate]) -> bool:
        """Whether what two sources share is of the first; of two folds of one source that of the surer detection."""
        longer, part = (one, other) if one.freq < other.freq else (other, one)
        if n := self._times(longer, part):
            stronger = [a for a in every if a.snr > longer.snr and a is not part]
            # Not its own parts, though: what they have it has, too.
            parts = {a.uid for a in stronger if (m := self._times(longer, a)) and self._is_turn(longer, m, ())}
            return self._is_turn(longer, n, [a for a in stronger if a.uid not in parts]) == (one is longer)
        if self._same(one, other) and abs(one.snr**2 - other.snr**2) < max(_ALIKE, OFF * one.snr**2):
            return one.group.sigma > other.group.sigma
        return one.snr > other.snr

    def _same(self, one: Candidate, other: Candidate) -> bool:
        return one is not other and abs(one.freq - other.freq) * self.observed.tobs < SAME

    def _times(self, one: Candidate, other: Candidate) -> int:
        """How many times the period of one is that of another; 0 where it is no small multiple."""
        n = round(other.freq / one.freq)
        near = abs(other.freq - n * one.freq) * self.observed.tobs < SAME
        return n if near and 2 <= n <= MOST_RATIO else 0

    def _is_turn(self, one: Candidate, n: int, stronger: Sequence[Candidate]) -> bool:
        """Whether a fold is at the period of its source, not at n times that, without what is of stronger ones.

        One pulse in a turn has sqrt(n) times the S/N that it has at the n-th part, n equal ones have 1 / sqrt(n): the
        period is told halfway between, at 2 sqrt(n) / (n + 1). And harmonics that are no multiples of n must be there,
        in the noise that there is.
        """
        key = one.uid, n, frozenset(other.uid for other in stronger)
        if key not in self._turns:
            names = [(other.uid, frozenset[str]()) for other in self._felt(one, stronger)]
            left = self._beside(one, names)
            fold, nbins = left.residual or self._folds[one.uid], len(self._folds[one.uid].profile)
            spectrum = np.fft.rfft(self._folds[one.uid].profile.astype(np.float64))
            spectrum = spectrum if left.own is None else spectrum * left.own
            shared = np.where(np.arange(len(spectrum)) % n == 0, np.sqrt(n) * spectrum, 0.0)
            whole, part = best_box(np.fft.irfft([spectrum, shared], nbins, axis=1), np.ones(nbins))[0]
            single = whole > 2.0 * np.sqrt(n) / (n + 1) * part
            self._turns[key] = bool(single and needs_all(fold, most=n)[n - 2] >= REPEATS)
        return self._turns[key]

    def _beside(self, one: Candidate, names: Sequence[Name]) -> Left:
        """What is left of a fold beside sources."""
        key = one.uid, frozenset(names)
        if key not in self._left:
            rows = {name[0]: self._rows(name, one.uid) for name in names}
            self._left[key] = left_of(
                self._folds[one.uid],
                {
                    uid: (*pair, self._sources[uid, frozenset()].spread)
                    for uid, pair in rows.items()
                    if pair is not None
                },
            )
        return self._left[key]

    def _source(self, name: Name) -> Source:
        """A source without what is of some others."""
        if name not in self._sources:
            one = next(one for one in self.folded if one.uid == name[0])
            others = self._felt(one, [other for other in self.folded if other.uid in name[1]])
            own = self._beside(one, [self._name(other, [*others, one]) for other in others]).own
            source = self.source(one)
            self._sources[name] = source if own is None else source.times(own)
        return self._sources[name]

    def _rows(self, name: Name, uid: str) -> There | None:
        """What a source leaves in the fold of a candidate; None where it is nothing."""
        key = name, uid
        if key not in self._there:
            rows, unknown = self._source(name).rows_in(self._folds[uid])
            felt = float(np.sum(rows**2)) > _FELT or bool(unknown.any())
            self._there[key] = (rows.astype(np.float32), unknown) if felt else None
        return self._there[key]


def _by_snr(candidates: Sequence[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda one: -one.snr)
