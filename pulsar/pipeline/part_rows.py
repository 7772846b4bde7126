"""One list of what was found in the whole observation and in parts of it: a source is one row.

What candidates of the whole leave in a part is taken from their folds; only what they do not account for there is
folded, over that part. Then every source is folded over the part in which it stands out most, if that is more than all
of the observation gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pulsar.data import flags as table
from pulsar.data.fold import Fold, FoldParams
from pulsar.data.part import WHOLE, Part, parts_of_counts
from pulsar.pipeline.follow import follow_up, groups_of, judged_folds, name_of, thresholds
from pulsar.rank.candidate import Candidate
from pulsar.rank.compare import Sky, enough, leaves, near, unexplained
from pulsar.rank.explain import JUNK, comb_of_candidate
from pulsar.rank.parts import in_part, owned, params_at, ratio_between
from pulsar.searches.sift import Group, positions

if TYPE_CHECKING:
    from pulsar.data.header import Header
    from pulsar.pipeline.detect import Detected, Job


@dataclass(frozen=True)
class _View:
    """A part of the observation as later stages see it: an observation of its own.

    Attributes
    ----------
    part : Part
    start, tobs : float
        [s]
    header : Header
    detected : Detected
        Which folds over the part.
    sky : Sky
    """

    part: Part
    start: float
    tobs: float
    header: "Header"
    detected: "Detected"
    sky: Sky

    @classmethod
    def of(cls, part: Part, job: "Job", detected: "Detected") -> "_View":
        """The view of a part of the observation of a job."""
        whole = job.obs.header
        start, header = part.samples(whole.nsamps)[0] * whole.tsamp, part.header(whole)

        def finish(fold: Fold) -> Fold:
            fold = replace(fold, start=start, part=part.label)
            return fold if detected.finish is None else detected.finish(fold)

        own = replace(detected, fold_many=lambda params, _=part: detected.fold_many(params, part), finish=finish)
        sky = Sky(header.tobs, header.tsamp, detected.freqs, thresholds(job.config))
        return cls(part, start, header.tobs, header, own, sky)

    def seen(self, one: Candidate) -> Candidate:
        """A candidate as it is in this part."""
        return one if one.fold is None else replace(one, fold=in_part(one.fold, self.start, self.tobs))


class _List:
    """The candidates so far, to which those of one part after the other are added."""

    def __init__(self, job: "Job", detected: "Detected", whole: Sequence[Candidate]) -> None:
        self.job, self.detected = job, detected
        self.rows = {one.uid: one for one in whole}
        #: Place of every detection, the most significant first.
        self.positions = positions(detected.detections)

    @property
    def owners(self) -> list[Candidate]:
        """Those that stand for themselves, with folds, the strongest first."""
        own = [one for one in self.rows.values() if one.fold is not None and not one.parent]
        return sorted(own, key=lambda one: -one.snr)

    def add(self, view: _View) -> None:
        """What was found in a part: the groups that nothing accounts for are folded over it."""
        detected, label = self.detected, view.part.label
        rows = np.flatnonzero(detected.detections["part"] == label)
        if not rows.size:
            return
        name = f"{name_of(self.job.obs.header)}|{label}"
        groups = groups_of(self.job, detected, view.tobs, name, rows)
        seen = [view.seen(one) for one in self.owners]
        known = owned(groups, seen, view.sky)
        for group_of in known.values():
            self._attach(group_of.one)
        free = [group for g, group in enumerate(groups) if g not in known]
        if not free:
            return
        found = follow_up(self.job, view.detected, free, view.header)
        moved = self._settle(view, [one for one in found if not one.parent and one.fold is not None], seen)
        for one in found:
            if one.uid in moved:
                continue
            if one.parent in moved:
                self._attach(replace(one, parent=moved[one.parent], fold=None))
            else:
                self.rows[one.uid] = one

    def _settle(self, view: _View, found: list[Candidate], seen: Sequence[Candidate]) -> dict[str, str]:
        """Whose the folds of a part are that have come to a source which is listed already.

        Returns
        -------
        dict of str to str
            Name of each of them, and of the source that has it.
        """
        moved: dict[str, str] = {}
        for one in sorted(found, key=lambda one: -one.snr):
            for there in seen:
                listed = self.rows[there.uid]
                ratio = self._same(view, one, there, listed)
                if ratio is None or listed.fold is None:
                    continue
                if ratio == 1.0:
                    self._join(listed, one)
                    moved[one.uid] = listed.uid
                elif listed.snr >= one.snr:
                    text = f"over the part {one.part} it is at {ratio:g} of the {there.freq:.9g} Hz of {there.uid}"
                    self._attach(_told(one, there.uid, f"harmonic {ratio:g}", text))
                    moved[one.uid] = there.uid
                else:
                    continue
                break
        return moved

    def _same(self, view: _View, one: Candidate, there: Candidate, listed: Candidate) -> float | None:
        """Frequency of a fold of a part over that of a source that it belongs to; None: to itself."""
        if there.fold is None or listed.fold is None or listed.parent:
            return None
        ratio = ratio_between(one, there, _apart(listed.fold, view.start, view.tobs), view.sky)
        if ratio == 1:
            return 1.0
        junk, own = table.weight(there.flags) <= JUNK, table.weight(one.flags) > JUNK
        comb = comb_of_candidate(there, view.sky)
        if (junk and own) or there.snr <= one.snr:
            return None if ratio is None or junk else float(ratio)
        if not (ratio is not None or near(one, there, view.sky) or leaves(there, comb, one, view.sky)):
            return None
        if own and unexplained(one, [comb]) > enough(one, there, view.sky):
            return None
        return one.freq / there.freq if ratio is None else float(ratio)

    def _join(self, listed: Candidate, one: Candidate) -> None:
        """Make a fold of a part and a listed source one: the better fold is kept."""
        joined = self._with(listed, one.group)
        cleaner = table.weight(one.flags) > JUNK >= table.weight(listed.flags)
        if one.snr > listed.snr or cleaner:
            joined = replace(
                joined, fold=one.fold, features=one.features, score=one.score, flags=one.flags, refolded=True
            )
        self.rows[listed.uid] = joined

    def _attach(self, one: Candidate) -> None:
        """Add what belongs to a listed source: to its group, or that of the same harmonic, or as a row of its own."""
        owner = self.rows[one.parent]
        if one.relation == "same":
            self.rows[owner.uid] = self._with(owner, one.group)
            return
        for other in self.rows.values():
            if other.parent == one.parent and other.relation == one.relation:
                self.rows[other.uid] = self._with(other, one.group)
                return
        self.rows[one.uid] = one
        kinds = tuple(dict.fromkeys([*owner.found_by, *one.found_by]))
        self.rows[owner.uid] = replace(owner, nattached=owner.nattached + 1, found_by=kinds)

    def _with(self, one: Candidate, group: Group) -> Candidate:
        """A candidate with the detections of a group of a part in its own."""
        mine = one.group
        members = np.concatenate([mine.members, group.members])
        members = members[np.argsort(self.positions[members], kind="stable")]
        joined = replace(
            mine,
            best=self.detected.detections[members[0]],
            members=members,
            dm_lo=min(mine.dm_lo, group.dm_lo),
            dm_hi=max(mine.dm_hi, group.dm_hi),
            found_by=tuple(dict.fromkeys([*mine.found_by, *group.found_by])),
        )
        return replace(one, group=joined, found_by=tuple(dict.fromkeys([*one.found_by, *joined.found_by])))

    def across(self, views: Sequence[_View]) -> None:
        """Hand over what a source has left in the whole and in parts that came before it was found.

        A source that drifts is at another frequency in each of them.
        """
        of = {view.part.label: view for view in views}
        names = [one.uid for one in sorted(self.rows.values(), key=lambda one: -np.nan_to_num(one.snr))]
        for name, other in ((name, other) for name in names for other in names if other != name):
            strong, weak = self.rows.get(name), self.rows.get(other)
            if strong is None or weak is None or strong.fold is None or strong.parent or weak.parent:
                continue
            if weak.part == strong.part or not np.nan_to_num(weak.snr) <= strong.snr:
                continue
            view = of[weak.part]
            there = view.seen(strong)
            short = max(view, of[strong.part], key=lambda one: one.part.count)
            apart = _apart(strong.fold, view.start, view.tobs)
            ratio = ratio_between(weak, there, apart, short.sky)
            if ratio == 1:
                del self.rows[other]
                self._join(strong, weak)
            elif ratio is not None:
                where = f"in the part {weak.part}" if weak.part else "in the whole"
                text = f"{where} it is at {ratio} of the frequency to which {name} drifts"
                self._attach(_told(weak, name, f"harmonic {ratio}", text))
            elif mine := owned([weak.group], [there], view.sky):
                self._attach(_told(weak, name, mine[0].one.relation, mine[0].one.reasons[-1]))
            else:
                continue
            if self.rows.get(other) is weak:
                del self.rows[other]
            self._hand_over(other, name)

    def _hand_over(self, before: str, after: str) -> None:
        """What belonged to one source belongs to another one."""
        mine = [other for other in self.rows.values() if other.parent == before]
        for other in mine:
            self.rows[other.uid] = replace(other, parent=after)
        owner = self.rows[after]
        self.rows[after] = replace(owner, nattached=owner.nattached + len(mine))

    def refold(self, views: Sequence[_View]) -> None:
        """Fold sources over the part in which they stand out, where that gives more than what they are folded over."""
        wanted: dict[str, list[tuple[Candidate, FoldParams]]] = {}
        found = self.detected.detections["part"]
        for one in self.owners:
            labels = set(found[one.group.members].tolist()) - {"", one.part}
            best = max(
                (view for view in views if view.part.label in labels), key=lambda v: v.seen(one).snr, default=None
            )
            if one.fold is not None and best is not None and best.seen(one).snr > one.snr:
                params = params_at(one.fold, best.start + 0.5 * best.tobs)
                wanted.setdefault(best.part.label, []).append((one, params))
        for view in views:
            mine = wanted.get(view.part.label, [])
            if not mine:
                continue
            groups = [one.group for one, _ in mine]
            detected = replace(view.detected, known={})
            for one, again in zip(
                [one for one, _ in mine], judged_folds(self.job, detected, groups, [p for _, p in mine]), strict=True
            ):
                if again.snr > one.snr:
                    self.rows[one.uid] = replace(
                        one,
                        fold=again.fold,
                        features=again.features,
                        score=again.score,
                        flags=again.flags,
                        refolded=True,
                    )


def _apart(fold: Fold, start: float, tobs: float) -> float:
    """Time over which a drift may change [s]: from the middle of a fold to that of a part, and half of the longer."""
    return abs(fold.start + 0.5 * fold.tobs - start - 0.5 * tobs) + 0.5 * max(fold.tobs, tobs)


def _told(one: Candidate, parent: str, relation: str, text: str) -> Candidate:
    """A candidate with its parent and what it is of that."""
    return replace(one, parent=parent, relation=relation, reasons=(*one.reasons, text))


def follow_parts(job: "Job", detected: "Detected", whole: Sequence[Candidate]) -> list[Candidate]:
    """Add what was found in parts of the observation to the candidates of the whole.

    Parameters
    ----------
    job : Job
    detected : Detected
    whole : sequence of Candidate
        Of :func:`pulsar.pipeline.follow.follow_up`.

    Returns
    -------
    list of Candidate
        In no order.
    """
    views = [_View.of(part, job, detected) for part in parts_of_counts(job.config.search.parts)]
    if not views:
        return list(whole)
    listed = _List(job, detected, whole)
    for view in views:
        listed.add(view)
    listed.across([_View.of(WHOLE, job, detected), *views])
    listed.refold(views)
    return list(listed.rows.values())
