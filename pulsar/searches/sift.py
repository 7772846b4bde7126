"""From detections at all DMs and of all searches to groups: the detections of one signal at one frequency.

Detections close in frequency are one group, led by the most significant, whichever search made it. But a signal loses
power with the distance from its DM as its dispersion says, and with that from its frequency: where the power returns
after a valley, or stands beside it, and is more than the leader can leave there, it is another signal. Nothing is
judged here and nothing is left out: which is of which source is for :mod:`pulsar.sources`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pulsar.config.model import SiftConfig
from pulsar.data.header import band_delay
from pulsar_kernels import peaks
from pulsar_kernels.arrays import Array, Bools, Floats, Ints


@dataclass(frozen=True)
class Ratios:
    """Ratios of the frequencies of two signals of one source, and how near to one of them these are."""

    most: int  # no number of a ratio is larger; of orbits it is the denominator, and the ratio as a whole
    bins: float  # off by so many bins of 1/T, ...
    errors: float  # ... and so many errors

    def allowed(self, tobs: float, error: Any, ratio: Any, head_error: Any, parts: Any = 1.0) -> Any:
        """How far a frequency may be from a ratio times that of the head [Hz].

        Parameters
        ----------
        error, head_error : float or ndarray
            Of the two frequencies [Hz].
        parts : float or ndarray
            The denominator of the ratio, where the bins are those of the head, of which the frequency is a part.
        """
        return self.bins / tobs / parts + self.errors * np.hypot(error, ratio * head_error)


#: A gap of this many DMs in a group ends the range over which its best member is seen.
DM_GAP = 3
#: Errors of frequency that are allowed for; each is no smaller than this part of a bin of the highest harmonic.
FREQ_SIGMA = 3.0
FREQ_FLOOR = 0.05


@dataclass(frozen=True)
class Group:
    """Detections of one signal at one frequency."""

    uid: str  # its name for good: the same for the same detection of the same observation
    best: Any  # its most significant detection, a row with the fields of DETECTION_COLUMNS
    members: Ints  # rows of its detections in the array that was grouped, best first
    #: dm_lo, dm_hi: range of DMs around the best in which it was detected without a gap [pc cm^-3].
    dm_lo: float
    dm_hi: float
    undispersed: bool = False  # as strong at DM 0 as anywhere
    found_by: tuple[str, ...] = ()  # kinds of the searches that found it, best first

    @property
    def freq(self) -> float:
        """Frequency [Hz]."""
        return float(self.best["freq"])

    @property
    def freq_err(self) -> float:
        """Its 1-sigma error [Hz]."""
        return float(self.best["freq_err"])

    @property
    def dm(self) -> float:
        """DM of the best detection [pc cm^-3]."""
        return float(self.best["dm"])

    @property
    def sigma(self) -> float:
        """Trial-corrected significance of the best detection."""
        return float(self.best["sigma"])

    @property
    def nharm(self) -> int:
        """Harmonics summed in the best detection."""
        return int(self.best["nharm"])

    @property
    def excess(self) -> float:
        """Power of the best detection beyond that of noise."""
        return max(float(self.best["power"]) - self.nharm, 0.0)

    @property
    def part(self) -> str:
        """Label of the part of the observation that it is of; empty for the whole."""
        return str(self.best["part"])

    @property
    def ndetections(self) -> int:
        """Detections at this frequency."""
        return int(self.members.size)


def group(
    detections: Array,
    tobs: float,
    config: SiftConfig = SiftConfig(),
    *,
    freqs: Sequence[float] | Floats = (),
    dms: Sequence[float] | Floats | None = None,
    name: str = "",
) -> list[Group]:
    """Group detections over DM, frequency and searches.

    Parameters
    ----------
    detections : ndarray
        Structured, with the fields of DETECTION_COLUMNS, of all DMs together.
    freqs : sequence of float
        Channel frequencies [MHz], from which follows how soon a signal fades with DM; empty or one for a dedispersed
        series.
    dms : sequence of float, optional
        All DMs that were searched; default: those that occur in `detections`.
    name : str
        What tells this observation from others: part of every uid.

    Returns
    -------
    list of Group
        Best first.

    Raises
    ------
    ValueError
        If `tobs` is not positive.
    """
    if not tobs > 0:
        raise ValueError(f"tobs must be positive, not {tobs!r}")
    if detections.size == 0:
        return []
    position = positions(detections)
    freq = np.ascontiguousarray(detections["freq"], dtype=np.float64)
    by_freq = np.argsort(freq, kind="stable")
    rank = np.empty(freq.size, dtype=np.int64)
    rank[by_freq] = np.arange(freq.size)
    order = np.argsort(position)
    label_sorted = np.empty(freq.size, dtype=np.int64)
    ngroups = peaks.group(freq[by_freq], rank[order], config.freq_tolerance / tobs, label_sorted)
    label = label_sorted[rank]
    # Rows by group, best first inside; groups are numbered from the best on.
    rows = order[np.argsort(label[order], kind="stable")]
    bounds = np.searchsorted(label[rows], np.arange(ngroups + 1))
    span = band_delay(freqs)
    members: list[Ints] = []
    for g in range(ngroups):
        members += _split(detections, rows[bounds[g] : bounds[g + 1]], span, tobs)
    members.sort(key=lambda m: int(position[m[0]]))
    all_dms = np.unique(detections["dm"] if dms is None else np.asarray(dms, dtype=np.float64))
    out: list[Group] = []
    uids: set[str] = set()
    for members_of in members:
        best = detections[members_of[0]]
        uid = _uid(best, tobs, name, uids)
        low, high = _dm_range(detections, members_of)
        kinds = tuple(dict.fromkeys(detections["kind"][members_of].tolist()))
        out.append(Group(uid, best, members_of, low, high, _peaks_at_zero(detections[members_of], all_dms), kinds))
    return out


def joined(groups: Sequence[Group], detections: Array, place: Ints) -> Group:
    """Some groups as one, with the name of the first.

    `detections`: those that were grouped. `place`: of each by significance, see :func:`positions`.
    """
    members = np.concatenate([part.members for part in groups])
    members = members[np.argsort(place[members], kind="stable")]
    return replace(
        groups[0],
        best=detections[members[0]],
        members=members,
        dm_lo=min(part.dm_lo for part in groups),
        dm_hi=max(part.dm_hi for part in groups),
        found_by=tuple(dict.fromkeys(str(kind) for kind in detections["kind"][members])),
    )


def positions(detections: Array) -> Ints:
    """Place of each detection when all are sorted by significance, best first.

    Corrected for trials, that of different searches can be compared. Ties (possible at one frequency only by
    construction) go to the lower DM, so that the result is the same always.
    """
    position = np.empty(detections.size, dtype=np.int64)
    order = np.lexsort((detections["dm"], detections["logp"], -detections["sigma"].astype(np.float64)))
    position[order] = np.arange(detections.size)
    return position


def fade(turns: Floats) -> Floats:
    """Most of its power that a line keeps when its phase slides by so many turns over the band, or over the time.

    sinc^2 up to half a turn, its envelope 1 / (pi x)^2 from there on.
    """
    x = np.abs(turns)
    return np.asarray(np.where(x <= 0.5, np.sinc(x) ** 2, 1.0 / (np.pi * np.maximum(x, 0.5)) ** 2))


def _uid(best: Any, tobs: float, name: str, uids: set[str]) -> str:
    """A name of ten letters and digits made from what was detected where."""
    text = f"{name}|{best['kind']}|{float(best['freq']) * tobs:.2f}|{float(best['dm']):.3f}|{float(best['fdot']):.6g}"
    for count in range(1 << 16):
        uid = hashlib.blake2b(f"{text}|{count}".encode(), digest_size=5).hexdigest()
        if uid not in uids:
            uids.add(uid)
            return uid
    raise RuntimeError("65,536 groups with the same frequency and DM")


def _split(detections: Array, members: Ints, span: float, tobs: float) -> list[Ints]:
    """Signals at nearly one frequency but at DMs or frequencies of their own, each best first."""
    if members.size == 1:
        return [members]
    dm = detections["dm"][members].astype(np.float64)
    nharm = detections["nharm"][members].astype(np.float64)
    excess = np.maximum(detections["power"][members].astype(np.float64) - nharm, 0.0)
    # Power that noise may add to what the leader of a group is expected to leave at another DM [standard deviations].
    noise = 4.0 * np.sqrt(nharm + 2.0 * excess)
    freq = detections["freq"][members].astype(np.float64)
    error = np.maximum(detections["freq_err"][members].astype(np.float64) * tobs, FREQ_FLOOR / nharm)
    drift = np.abs(detections["fdot"][members].astype(np.float64)) * tobs**2
    label = np.zeros(members.size, dtype=np.int64)
    free = np.ones(members.size, dtype=np.bool_)
    count = 0
    while free.any():
        head = int(np.flatnonzero(free)[0])
        left = np.flatnonzero(free)
        # Half of the harmonics: the power of most pulses sits in the lower ones, which fade later.
        k = np.arange(1, max(int(nharm[head]) // 2, 1) + 1)
        away = np.abs(dm[left] - dm[head])
        beside = np.abs(freq[left] - freq[head]) * tobs - FREQ_SIGMA * np.hypot(error[left], error[head])
        beside = np.maximum(beside - 0.5 * np.maximum(drift[left], drift[head]), 0.0)
        kept = fade(away[:, None] * (freq[head] * span) * k) * fade(beside[:, None] * k)
        expected = excess[head] * kept.mean(axis=1)
        # The valley is looked for among all detections there are, but for gaps wider than what the head fades over.
        gap = 0.5 / (freq[head] * span * k[-1]) if span > 0.0 else np.inf
        deepest = _valleys(dm[left], excess[left], dm[head], gap)
        # What is expected is taken times this: profiles and bands are not those of the model.
        distinct = excess[left] > 2.0 * expected + noise[left]
        # Another signal at the same frequency stands out from a valley that is no deeper than half of it, or is surely
        # 0.3 bins of 1/T beside the leader, and stronger than its lobe there.
        distinct &= (deepest < 0.5 * excess[left] - 0.5 * noise[left]) | (beside > 0.3)
        same = left[~distinct]
        label[same] = count
        free[same] = False
        count += 1
    return [members[label == g] for g in range(count)]


def _valleys(dm: Floats, excess: Floats, head: float, gap: float) -> Floats:
    """Least excess power on the way from the DM of the head to that of each member; 0 across a gap."""
    grid, index = np.unique(dm, return_inverse=True)
    top = np.zeros(grid.size)
    np.maximum.at(top, index, excess)
    steps = np.diff(grid)
    # A plan has steps of its own: a gap is wider than the signal and than several of them.
    wide = steps > max(gap, DM_GAP * float(np.median(steps))) if steps.size else np.zeros(0, dtype=np.bool_)
    at = int(np.searchsorted(grid, head))

    def on_the_way(top: Floats, wide: Bools) -> Floats:
        """Least power between the head, the first, and each of those beyond it."""
        return np.minimum.accumulate(np.where(wide, 0.0, np.append(np.inf, top[1:])[: wide.size]))

    below = on_the_way(top[at::-1], wide[:at][::-1])[::-1]
    return np.concatenate([below, [np.inf], on_the_way(top[at:], wide[at:])])[index]


def _dm_range(detections: Array, members: Ints) -> tuple[float, float]:
    """DMs around the best member in which the group is present without a gap of more than DM_GAP rows of the plan."""
    if members.size == 1:
        dm = float(detections["dm"][members[0]])
        return dm, dm
    index = detections["dm_index"][members]
    by_index = np.argsort(index, kind="stable")
    steps = np.diff(index[by_index])
    at = int(np.flatnonzero(by_index == 0)[0])
    breaks = np.flatnonzero(steps > DM_GAP)
    lo = int(breaks[breaks < at][-1]) + 1 if np.any(breaks < at) else 0
    hi = int(breaks[breaks >= at][0]) if np.any(breaks >= at) else members.size - 1
    dms = detections["dm"][members[by_index[lo : hi + 1]]]
    return float(dms.min()), float(dms.max())


def _peaks_at_zero(members: Array, all_dms: Floats) -> bool:
    """As strong at DM 0 as anywhere, where more than one DM was searched and 0 was among them."""
    if all_dms.size < 2 or all_dms[0] != 0.0:
        return False
    excess = members["power"].astype(np.float64) - members["nharm"]
    zero = members["dm"] == 0.0
    # A group is marked "dm0" if at DM 0 it has at least this fraction of its best excess power.
    return bool(zero.any() and excess[zero].max() >= 0.9 * excess.max())
