"""The folds that are sources, and the rest of each fold beside them.

What two sources have in common is in the folds of both. It is of the stronger one; of a period and a part of it that is
of the one at which the pulse, not its copies, has the higher S/N. The other has what that does not leave. So a blend of
two pulsars, at a common multiple of their periods, has nothing of its own, and a pulsar beside a stronger one has.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Final

import numpy as np

from pulsar.data.fold import Fold
from pulsar.folding.fundamental import displaced, one_pulse, unequal
from pulsar.folding.profile import best_box
from pulsar.searches.sift import Group
from pulsar.sources.candidate import AGREE, AGREE_BINS, CHANCE, POSSIBLE, Candidate
from pulsar.sources.detections import OFF, Model, Observed, Shares, sigma_of
from pulsar.sources.source import FoldResidual, Source, left_of
from pulsar_kernels.arrays import Bools, Float32s

#: Largest integer of a ratio of two periods.
MOST_RATIO: Final = 16
#: Squared S/N by which two folds of one source differ that are within 4 errors of its parameters, in white noise. Of
#: strong ones, which pulses that vary make noisier, a tenth.
_ALIKE: Final = 16.0
#: Times that sources are taken in and let go of.
_ROUNDS: Final = 3
#: Power in a fold below which a source leaves nothing there.
_FELT: Final = 1.0
#: What has less of its squared S/N left than this is mostly of others.
_MOSTLY: Final = 0.5
#: Flags of what varies so that nothing can be predicted of it.
NOISE: Final = frozenset({"red noise", "unsteady"})

#: A source by its uid, and those to which what they share is reckoned.
Name = tuple[str, frozenset[str]]
#: Part of the power of detections that is there outside of the pulses of a source, by uid
#: (:mod:`pulsar.sources.modulation`).
Outside = Callable[[Source, Sequence[Candidate]], Mapping[str, float]]
#: What a source leaves in a fold, and the harmonics at which that is not known.
PredictedRows = tuple[Float32s, Bools]


class CandidateSky:
    """Candidates that are folded, and those of them that are sources.

    Parameters
    ----------
    groups : sequence of Group
        All detections.
    taken : sequence of Model
        Sources that were taken out of the samples.
    outside : callable, optional
        Tells what is there outside of the pulses of sources.

    Attributes
    ----------
    folded, accepted : list of Candidate
        By the S/N of their folds, highest first.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        observed: Observed,
        taken: Sequence[Model] = (),
        outside: Outside | None = None,
    ) -> None:
        self.observed = observed
        self._taken = list(taken)
        self._measure = outside
        self._outside: dict[str, dict[str, float]] = {}  # by the uid of the source
        #: Uids of source and detection; if that was folded, and accepted.
        self._compared: set[tuple[str, str, bool, bool]] = set()
        self._lacks: dict[str, dict[str, float]] = {}
        self.folded: list[Candidate] = []
        self.accepted: list[Candidate] = []
        self._groups = sorted(groups, key=lambda candidate: candidate.freq)
        self._freqs = np.array([candidate.freq for candidate in self._groups])
        self._folds: dict[str, Fold] = {}
        self._sources: dict[Name, Source] = {}
        self._there: dict[tuple[Name, str], PredictedRows | None] = {}
        self._turns: dict[tuple[str, int, float, frozenset[str], frozenset[int]], bool] = {}
        self._multiples: dict[tuple[str, str], int] = {}
        self._parts: dict[str, dict[str, tuple[int, float]]] = {}
        self._left: dict[tuple[str, frozenset[Name]], FoldResidual] = {}

    def fit(self, new: Sequence[Candidate]) -> None:
        """Take in new folds, and find anew the sources that leave nothing of any of them, none of which is idle."""
        folds = {candidate.uid: candidate.fold for candidate in new if candidate.fold is not None}
        self._folds |= folds
        self._sources |= {(uid, frozenset()): Source.of(fold) for uid, fold in folds.items()}
        self.folded = _by_snr([*self.folded, *(candidate for candidate in new if candidate.uid in folds)])
        self.accepted = []
        if new:
            self._left.clear()
            self._parts.clear()
        if new and any(fold.part for fold in self._folds.values()):
            # Sources may be known better in some part now.
            self._there.clear()
            self._turns.clear()
            self._sources = {name: source for name, source in self._sources.items() if not name[1]}
        for _ in range(_ROUNDS):
            before = [candidate.uid for candidate in self.accepted]
            self._forward()
            self._backward()
            if before == [candidate.uid for candidate in self.accepted]:
                break

    def compare_with_pulses(self) -> None:
        """Measure what of detections is outside of the pulses of stronger sources; where not all is, fit anew."""
        if self._measure is None:
            return
        new = True
        while new:
            new, folded = False, {candidate.uid: candidate for candidate in self.folded}
            detected = [folded.get(group.uid, Candidate(group)) for group in self._groups]
            for model in self._known():
                # What is itself in the pulses of a stronger source is none.
                rivals = self._beyond(model, detected) if self._part_outside(model.uid) >= _MOSTLY else []
                outside = self._measure(model.source, rivals) if rivals else {}
                self._outside[model.uid] = {**self._outside.get(model.uid, {}), **outside}
                new = new or bool(outside)
            if new:
                self.fit([])

    def _part_outside(self, uid: str) -> float:
        """Part of the power of a detection that is there outside of the pulses of any source."""
        known = {model.uid for model in self._taken} | {source.uid for source in self.accepted} - {uid}
        return min((self._outside.get(name, {}).get(uid, 1.0) for name in known), default=1.0)

    def _beyond(self, model: Model, detected: Sequence[Candidate]) -> list[Candidate]:
        """Weaker detections at the DM of a source, folded or not, of which its mean pulse is not all."""
        accepted = {candidate.uid for candidate in self.accepted}
        new = {
            (model.uid, candidate.uid, candidate.fold is not None, candidate.uid in accepted): candidate
            for candidate in detected
            if candidate.group.excess < model.source.power and _at_dm(candidate, model.source)
        }
        new = {key: candidate for key, candidate in new.items() if key not in self._compared}
        self._compared |= new.keys()
        shares = Shares([candidate.group for candidate in new.values()], self.observed)
        shares.add(model._replace(outside={}))
        return [c for i, c in enumerate(new.values()) if c.uid in accepted - {model.uid} or shares.stands(i)]

    def most_in_pulses(self, uid: str) -> tuple[str, float]:
        """The source in the pulses of which most of a detection comes, and that part; empty and 0 where none does."""
        parts = {model.uid: 1.0 - model.outside.get(uid, 1.0) for model in self._known()}
        owner = max(parts, key=lambda name: parts[name], default="")
        return (owner, parts[owner]) if parts.get(owner, 0.0) > 0.0 else ("", 0.0)

    def _known(self) -> list[Model]:
        """Sources that were taken out of the samples, and the accepted ones, the strongest first."""
        return self._without() + [self._model(source, (source.uid, frozenset())) for source in self.accepted]

    def _without(self) -> list[Model]:
        return [model._replace(outside=self._outside.get(model.uid, {})) for model in self._taken]

    def source(self, candidate: Candidate) -> Source:
        """All that a candidate's fold shows."""
        return self._sources[candidate.uid, frozenset()]

    def own(self) -> list[Model]:
        """The accepted sources without what is of others, and as they are in other parts of the observation."""
        models = [self._model(candidate, self._name(candidate, self.accepted)) for candidate in self.accepted]
        return models + self._elsewhere() + self._without()

    def whole(self) -> list[Model]:
        """The same with all that their folds show."""
        whole = [self._model(candidate, (candidate.uid, frozenset())) for candidate in self.accepted]
        return whole + self._elsewhere() + self._without()

    def _elsewhere(self) -> list[Model]:
        """Folds over other parts of sources which an orbit moves."""
        models = []
        for candidate in self._not_accepted():
            owner = next((source for source in self.accepted if self._moved_by_orbit(candidate, source)), None)
            if owner is not None:
                models.append(self._model(candidate, (candidate.uid, frozenset()), owner.uid))
        return models

    def _not_accepted(self) -> list[Candidate]:
        """Those that are not accepted."""
        accepted = {candidate.uid for candidate in self.accepted}
        return [candidate for candidate in self.folded if candidate.uid not in accepted]

    def _model(self, candidate: Candidate, name: Name, owner: str = "") -> Model:
        outside = self._outside.get(candidate.uid, {})
        return Model(owner or candidate.uid, self._source(name), self._seen(candidate), outside=outside)

    def left(self, candidate: Candidate) -> FoldResidual:
        """The rest of a candidate's fold beside the accepted ones, itself apart."""
        rivals = [rival for rival in self._felt(candidate, self.accepted) if rival is not candidate]
        return self._beside(candidate, [self._name(rival, [*rivals, candidate]) for rival in rivals])

    def _forward(self) -> None:
        """Accept what stands, that of which most is left first; what falls is asked again in the next round."""
        standing = {candidate.uid: candidate for candidate in self._not_accepted() if self._stands(candidate)}
        while standing:
            best = max(standing.values(), key=lambda candidate: self.left(candidate).part * candidate.snr)
            self.accepted = _by_snr([*self.accepted, best])
            del standing[best.uid]
            for candidate in list(standing.values()):
                if self._concerns(best, candidate) and not self._stands(candidate):
                    del standing[candidate.uid]

    def _concerns(self, source: Candidate, candidate: Candidate) -> bool:
        """True if whether a candidate stands may depend on a source."""
        related = self._times(candidate, source) or self._times(source, candidate)
        measured = candidate.uid in self._outside.get(source.uid, {})
        return bool(related or measured or self._felt(candidate, [source]))

    def _backward(self) -> None:
        """Let go of what does not stand beside the others, the weakest first."""
        for candidate in self.accepted[::-1]:
            if not self._stands(candidate):
                self.accepted = [rival for rival in self.accepted if rival is not candidate]

    def _stands(self, candidate: Candidate) -> bool:
        """True if what is left of a fold is a source.

        Not at the frequency of another, nor where an orbit moves a stronger one; above the threshold of its search;
        more than what the refinement finds in noise, and than templates lack, as far as something was taken; and the
        same in all sub-integrations, where half was taken, flags tell of noise, or pulses of another are in phase.
        """
        for rival in self.accepted:
            if self._of_one_period(candidate, rival) and self._first(rival, candidate, self.accepted):
                return False
            if rival.snr > candidate.snr and self._moved_by_orbit(candidate, rival):
                return False
        left = self.left(candidate)
        part, excess = left.part**2, candidate.group.excess
        if any(candidate.uid in (model.before or ()) for model in self._taken):
            # Of what it was detected with the fold shows what was not of those that have been taken out since.
            part = min(part, self.source(candidate).power / max(excess, 1.0))
        part *= self._part_outside(candidate.uid)
        if sigma_of(candidate.group, part * excess) < self.observed.threshold(candidate.group):
            return False
        scale = float(self._folds[candidate.uid].extra.get("noise_scale", 1.0))
        least = (
            CHANCE**2 * (1.0 - left.part**2) + (OFF**2 * left.taken + sum(self.lacks(candidate).values())) / scale**2
        )
        if (left.part * candidate.snr) ** 2 < least:
            return False
        in_phase = [rival.uid for rival in self.accepted if self._times(candidate, rival) > 1]
        # Of too few sub-integrations it is not known what repeats.
        unsteady = left.steady < AGREE
        doubtful = left.part**2 < _MOSTLY or bool(NOISE & set(candidate.flags))
        return not (unsteady and (doubtful or not left.powers.keys().isdisjoint(in_phase)))

    def varies_alone(self, candidate: Candidate) -> bool:
        """True if a fold varies so that it is no source, and others leave less than half of it."""
        return bool(NOISE & set(candidate.flags)) and self.left(candidate).part ** 2 >= _MOSTLY

    def lacks(self, candidate: Candidate) -> dict[str, float]:
        """Power that may be in a fold of sources that were taken out of the samples.

        That is what templates lack of a mean profile; and what its turns differ from one another, in the box of the
        pulse, of which the best fold reaches as many deviations as of noise. At n times its period they all are in n
        such boxes; elsewhere at any phase, which is part of the noise that the fold is measured in.
        """
        if candidate.uid not in self._lacks:
            fold, lacks = self._folds[candidate.uid], {}
            share = np.sqrt(np.diff(fold.time_edges) / fold.tobs)
            # Twice the deviation of the fold's noise in a box, as turns of which few are bright are no Gaussian noise.
            most = 4.0 * float(fold.extra.get("noise_scale", 1.0)) ** 2
            for model in self._taken:
                source = model.source.during(fold.start, fold.tobs)
                rows, _ = source.rows_in(fold)
                mean = OFF**2 * float(np.sum((share @ rows) ** 2))
                ratio = Fraction(source.freq / fold.after.freq).limit_denominator(MOST_RATIO)
                near = abs(source.freq - float(ratio) * fold.after.freq) * fold.tobs < AGREE_BINS
                flicker = source.flickering(fold.after.freq, fold.after.dm)
                place = 1.0 / ratio.numerator if near else 0.0
                inside = place * flicker if place > fold.width else min(fold.width * flicker, most)
                lacks[model.uid] = model.seen * (mean + CHANCE**2 * inside)
            self._lacks[candidate.uid] = lacks
        return self._lacks[candidate.uid]

    def _seen(self, candidate: Candidate) -> float:
        """Part of the power of a source that searches see, at its own frequency.

        Folds are in units of white noise, searches in those of the noise around each line, which the lines of a strong
        source raise.
        """
        source = self.source(candidate)
        first, last = np.searchsorted(self._freqs, source.freq + np.array([-0.5, 0.5]) / source.tobs)
        groups = [group for group in self._groups[first:last] if group.part == candidate.part]
        shares = Shares(groups, self.observed)
        shares.add(Model(candidate.uid, source))
        pairs = zip(groups, shares.powers[0].tolist(), strict=True)
        return min(max((group.excess / power for group, power in pairs if power > 0.0), default=0.0), 1.0) or 1.0

    def _felt(self, candidate: Candidate, rivals: Sequence[Candidate]) -> list[Candidate]:
        """Those that leave something in a candidate's fold that can be predicted."""
        steady = [rival for rival in rivals if not NOISE & set(rival.flags)]
        return [rival for rival in steady if self._rows((rival.uid, frozenset()), candidate.uid) is not None]

    def _name(self, candidate: Candidate, candidates: Sequence[Candidate]) -> Name:
        rivals = [rival for rival in candidates if rival is not candidate]
        felt = self._felt(candidate, rivals)
        return candidate.uid, frozenset(rival.uid for rival in felt if self._first(rival, candidate, candidates))

    def _first(self, candidate: Candidate, rival: Candidate, candidates: Sequence[Candidate]) -> bool:
        """True if what two sources share is of the first; of two folds of one source that of the surer detection."""
        longer, part = (candidate, rival) if candidate.freq < rival.freq else (rival, candidate)
        if (n := self._times(longer, part)) > 1:
            parts = self._parts_of(longer)
            # A part of one pulse has 1 / sqrt(m) of its S/N: halfway to all of it begins what it may be a blend of.
            every = frozenset({n, *(m for m, snr in parts.values() if snr > longer.snr / m**0.25)})
            stronger = [a for a in candidates if a.snr > longer.snr and a is not part]
            # Not its own parts, though: what they have it has, too.
            own_parts = {a.uid for a in stronger if a.uid in parts and self._is_turn(longer, a, (), every)}
            rivals = [a for a in stronger if a.uid not in own_parts]
            return self._is_turn(longer, part, rivals, every) == (candidate is longer)
        if self._of_one_period(candidate, rival) and abs(candidate.snr**2 - rival.snr**2) < max(
            _ALIKE, OFF * candidate.snr**2
        ):
            return candidate.group.sigma > rival.group.sigma
        return candidate.snr > rival.snr

    def _of_one_period(self, candidate: Candidate, rival: Candidate) -> bool:
        return candidate is not rival and self._times(candidate, rival) == 1

    def _moved_by_orbit(self, candidate: Candidate, rival: Candidate) -> bool:
        """True if a fold is at a harmonic of a source of another part, as far as an orbit may have moved that."""
        apart = candidate.part != rival.part and max(self._strays(candidate, rival)) > 0.0
        return apart and self._times(rival, candidate) > 0

    def _strays(self, candidate: Candidate, rival: Candidate) -> tuple[float, float]:
        """By how much each may have another frequency in the middle of the other than its drift says [Hz]."""
        fold, rival_fold = self._folds[candidate.uid], self._folds[rival.uid]
        strays = self.source(candidate).strays(rival_fold.start, rival_fold.tobs)
        return strays, self.source(rival).strays(fold.start, fold.tobs)

    def _times(self, candidate: Candidate, rival: Candidate) -> int:
        """How many times the period of one is that of another, 1 at least; 0 where it is no small multiple."""
        key = candidate.uid, rival.uid
        if key not in self._multiples:
            fold = min(self._folds[candidate.uid], self._folds[rival.uid], key=lambda fold: fold.tobs)
            low, high = (self.source(each).during(fold.start, fold.tobs).freq for each in (candidate, rival))
            n, near = round(high / low), AGREE_BINS / fold.tobs
            if candidate.part != rival.part and of_one_dm(candidate, rival):
                strays = self._strays(candidate, rival)
                near += max(n * strays[0], strays[1])
            self._multiples[key] = n if 1 <= n <= MOST_RATIO and abs(high - n * low) < near else 0
        return self._multiples[key]

    def _parts_of(self, longer: Candidate) -> dict[str, tuple[int, float]]:
        """Folds at parts of the period of another, by uid: the ratio of periods and the S/N."""
        if longer.uid not in self._parts:
            times = ((rival, self._times(longer, rival)) for rival in self.folded)
            self._parts[longer.uid] = {rival.uid: (n, rival.snr) for rival, n in times if n > 1}
        return self._parts[longer.uid]

    def _is_turn(
        self, candidate: Candidate, part: Candidate, stronger: Sequence[Candidate], divisors: frozenset[int]
    ) -> bool:
        """True if a fold is at the period of its source, not at n times that, without what is of stronger ones.

        One pulse in a turn has sqrt(n) times the S/N that it has at the n-th part, n equal ones have 1 / sqrt(n): the
        period is told halfway between, at 2 sqrt(n) / (n + 1), unless the pulses are unequal at their own places, or
        differ close to them. And they must not be equal, in the noise that there is, more surely where the part has the
        surer detection; and harmonics that are multiples of no divisor must be there, with half of the significance
        that their number makes expected of those that are no multiples of one, or beyond chance: a blend of pulsars at
        several parts of it has none, a wide pulse in red noise few, of unequal pulses they are weak.
        """
        n, least = self._times(candidate, part), POSSIBLE if candidate.group.sigma > part.group.sigma else AGREE
        key = candidate.uid, n, least, frozenset(rival.uid for rival in stronger), divisors
        if key not in self._turns:
            names = [(rival.uid, frozenset[str]()) for rival in self._felt(candidate, stronger)]
            left = self._beside(candidate, names)
            fold, nbins = left.residual or self._folds[candidate.uid], len(self._folds[candidate.uid].profile)
            spectrum = np.fft.rfft(self._folds[candidate.uid].profile.astype(np.float64))
            spectrum = spectrum if left.own is None else spectrum * left.own
            shared = np.where(np.arange(len(spectrum)) % n == 0, np.sqrt(n) * spectrum, 0.0)
            profiles = np.fft.irfft([spectrum, shared], nbins, axis=1)
            snr, width, start = best_box(profiles, np.ones(nbins))
            box = int(start[1]), int(width[1])
            single = snr[0] > 2.0 * np.sqrt(n) / (n + 1) * snr[1]
            single = single or unequal(fold, box, n) >= AGREE or displaced(fold, box, n) >= AGREE
            is_turn = single and one_pulse(fold, box, n, {n}) >= least
            if is_turn and divisors != {n}:
                number = np.arange(1, len(spectrum))[:, None] % np.array(sorted(divisors)) != 0
                odds = np.array([one_pulse(fold, box, k, {k}) for k in sorted(divisors)])
                expected = np.min(odds * np.sqrt(np.mean(number.all(axis=1)) / number.mean(axis=0)))
                is_turn = one_pulse(fold, box, n, divisors) >= min(0.5 * expected, CHANCE)
            self._turns[key] = bool(is_turn)
        return self._turns[key]

    def _beside(self, candidate: Candidate, names: Sequence[Name]) -> FoldResidual:
        """The rest of a fold beside sources."""
        key = candidate.uid, frozenset(names)
        if key not in self._left:
            there = {}
            for name in names:
                rows = self._rows(name, candidate.uid)
                if rows is not None:
                    there[name[0]] = (*rows, self._sources[name[0], frozenset()].spread)
            self._left[key] = left_of(self._folds[candidate.uid], there)
        return self._left[key]

    def _source(self, name: Name) -> Source:
        """A source without what is of some others."""
        if name not in self._sources:
            candidate = next(candidate for candidate in self.folded if candidate.uid == name[0])
            rivals = [rival for rival in self.folded if rival.uid in name[1]]
            share_left = self._beside(candidate, [self._name(rival, [*rivals, candidate]) for rival in rivals]).own
            source = self.source(candidate)
            self._sources[name] = source if share_left is None else source.times(share_left)
        return self._sources[name]

    def _nearest(self, name: Name, uid: str) -> Name:
        """That fold of a source which an orbit moves that is of the same part as another, that one apart."""
        part = self._folds[uid].part
        if self._folds[name[0]].part == part:
            return name
        source = next(candidate for candidate in self.folded if candidate.uid == name[0])
        there = [candidate for candidate in self.folded if candidate.part == part and candidate.uid != uid]
        moved = (
            candidate
            for candidate in there
            if self._of_one_period(candidate, source) and self._moved_by_orbit(candidate, source)
        )
        return next(((candidate.uid, frozenset()) for candidate in moved), name)

    def _rows(self, name: Name, uid: str) -> PredictedRows | None:
        """Rows that a source leaves in the fold of a candidate; None where it is nothing."""
        key = name, uid
        if key not in self._there:
            fold = self._folds[uid]
            rows, unknown = self._source(self._nearest(name, uid)).during(fold.start, fold.tobs).rows_in(fold)
            felt = float(np.sum(rows**2)) > _FELT or bool(unknown.any())
            self._there[key] = (rows.astype(np.float32), unknown) if felt else None
        return self._there[key]


def of_one_dm(candidate: Candidate, rival: Candidate) -> bool:
    """True if two have one DM within their errors, or the ranges over which they were detected."""
    own, theirs = candidate.group, rival.group
    near = abs(candidate.dm - rival.dm) <= AGREE * float(np.hypot(candidate.dm_err, rival.dm_err))
    return near or own.dm_lo <= rival.dm <= own.dm_hi or theirs.dm_lo <= candidate.dm <= theirs.dm_hi


def _by_snr(candidates: Sequence[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda candidate: -candidate.snr)


def _at_dm(candidate: Candidate, source: Source) -> bool:
    """True if a detection, or a fold, may be of the DM of a source: its highest harmonic tells no finer DMs apart."""
    group, across = candidate.group, float(np.ptp(source.band_delays)) * candidate.freq
    error = 0.5 / (across * (group.nharm if candidate.fold is None else 1)) if across > 0.0 else np.inf
    low, high = (group.dm_lo, group.dm_hi) if candidate.fold is None else (candidate.dm, candidate.dm)
    return low - error <= source.dm <= high + error
