"""From detections at all DMs to sources: one for each signal, with its harmonics attached.

Three steps. Detections close in frequency are one group, led by its most significant member, whichever search made it.
What an accelerated source leaves in the frequencies that it drifts through is attached to it. Then groups whose
frequencies are in the ratio of small integers are compared, and attached to the fundamental where three things agree:
frequency (within the errors), DM (inside the range over which the fundamental is seen) and power (a harmonic has no
more of it than its fundamental). Why each rule is as it is: docs/search.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import SiftConfig
from pulsar.search import stats

#: Largest multiple and divisor in the ratio of a harmonic to its fundamental.
MAX_MULTIPLE = 64
MAX_DIVISOR = 32
#: Frequencies agree within this many standard errors ...
NSIGMA = 4.0
#: ... each of which is no smaller than this fraction of a bin of the top harmonic (drifts, the grid of refinement).
FLOOR = 0.1
#: A submultiple takes over from a stronger group if its further harmonics are this unlikely by chance.
LOGP_TAKE_OVER = float(np.log(1e-8))
#: Excess power of a harmonic over that of its fundamental that noise may give [standard deviations].
EXCESS_SIGMA = 4.0
#: A harmonic m has at most this over m of the power (1.0 to 1.5 in real pulsars of one component).
SHARE = 3.0
#: A harmonic's DM may lie so far beyond the range of its fundamental, as a part of it; and the DM of the m-th harmonic
#: within so much of the range, over m, of the fundamental's DM.
DM_MARGIN = 0.1
DM_SHARE = 0.6
#: A gap of this many DMs in a group ends the range over which its best member is seen.
DM_GAP = 3
#: Beyond such a gap, detections at the same frequency with at least this much of the excess power are another signal.
RETURN_FRACTION = 0.3
#: A source is marked "dm0" if at DM 0 it has at least this fraction of its best excess power.
DM0_FRACTION = 0.9


@dataclass(frozen=True)
class Harmonic:
    """A group of detections that belongs to a fundamental.

    Attributes
    ----------
    multiple, divisor : int
        Its frequency is multiple / divisor of the fundamental's.
    best : numpy.void
        Its most significant detection.
    members : ndarray of int64
        Rows of its detections.
    """

    multiple: int
    divisor: int
    best: Any
    members: NDArray[np.int64]

    @property
    def ratio(self) -> str:
        """As text, such as ``2`` or ``3/2``."""
        return f"{self.multiple}" if self.divisor == 1 else f"{self.multiple}/{self.divisor}"


@dataclass(frozen=True)
class Source:
    """One signal.

    Attributes
    ----------
    best : numpy.void
        Its most significant detection, a row with the fields of DETECTION_COLUMNS.
    members : ndarray of int64
        Rows of all its detections in the array that was sifted, best first, those of the harmonics not included.
    dm_lo, dm_hi : float
        Range of DMs around the best in which it was detected without a gap [pc cm^-3].
    harmonics : tuple of Harmonic
        Groups attached to it, best first.
    harmonic_of : int or None
        Place in the list of a better source to which this one is related in frequency and DM, though it has more
        power than a harmonic of it can have: perhaps a chance.
    ratio : tuple of (int, int) or None
        Multiple and divisor of that relation.
    flags : tuple of str
        "dm0": as strong at DM 0 as anywhere.
    found_by : tuple of str
        Kinds of the searches that found it or a harmonic of it, best first.
    """

    best: Any
    members: NDArray[np.int64]
    dm_lo: float
    dm_hi: float
    harmonics: tuple[Harmonic, ...] = ()
    harmonic_of: int | None = None
    ratio: tuple[int, int] | None = None
    flags: tuple[str, ...] = ()
    found_by: tuple[str, ...] = ()

    @property
    def freq(self) -> float:
        """Frequency [Hz]."""
        return float(self.best["freq"])

    @property
    def dm(self) -> float:
        """DM of the best detection [pc cm^-3]."""
        return float(self.best["dm"])

    @property
    def sigma(self) -> float:
        """Trial-corrected significance of the best detection."""
        return float(self.best["sigma"])

    @property
    def ndetections(self) -> int:
        """Detections at this frequency."""
        return int(self.members.size)


@dataclass
class _Groups:
    """The groups as columns, best first."""

    best: NDArray[np.int64]
    members: list[NDArray[np.int64]]
    freq: NDArray[np.float64]
    err: NDArray[np.float64]
    nharm: NDArray[np.int64]
    power: NDArray[np.float64]
    logp: NDArray[np.float64]
    sweep: NDArray[np.float64]
    dm: NDArray[np.float64]
    dm_lo: NDArray[np.float64]
    dm_hi: NDArray[np.float64]
    excess: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.excess = np.maximum(self.power - self.nharm, 0.0)


@dataclass
class _Relations:
    """Of every group: the fundamental to which it is attached, or merely related (-1: none), and the ratio."""

    parent: NDArray[np.int64]
    related: NDArray[np.int64]
    multiple: NDArray[np.int64]
    divisor: NDArray[np.int64]

    @classmethod
    def none(cls, n: int) -> "_Relations":
        """No relations among `n` groups."""
        return cls(np.full(n, -1), np.full(n, -1), np.ones(n, dtype=np.int64), np.ones(n, dtype=np.int64))


def sift(
    detections: NDArray[Any],
    tobs: float,
    config: SiftConfig | None = None,
    *,
    fmin: float = 0.0,
    fmax: float = float("inf"),
    dms: Sequence[float] | NDArray[np.float64] | None = None,
) -> list[Source]:
    """Group detections over DM, frequency and harmonics.

    Parameters
    ----------
    detections : ndarray
        Structured, with the fields of DETECTION_COLUMNS, of all DMs together.
    tobs : float
        Length of the data [s].
    config : SiftConfig
    fmin, fmax : float
        Sources outside this range of frequency [Hz] are left out (after harmonics have been attached).
    dms : sequence of float, optional
        All DMs that were searched; default: those that occur in `detections`.

    Returns
    -------
    list of Source
        Best first.

    Raises
    ------
    ValueError
        If `tobs` is not positive.
    """
    config = SiftConfig() if config is None else config
    if not tobs > 0:
        raise ValueError(f"tobs must be positive, not {tobs!r}")
    if detections.size == 0:
        return []
    position = _positions(detections)
    groups = _group(detections, position, config.freq_tolerance / tobs, tobs)
    relations = _relate(groups) if config.harmonics else _Relations.none(groups.freq.size)
    all_dms = np.unique(detections["dm"] if dms is None else np.asarray(dms, dtype=np.float64))
    attached: dict[int, list[Harmonic]] = {}
    for g in map(int, np.flatnonzero(relations.parent >= 0)):
        harmonic = Harmonic(
            int(relations.multiple[g]), int(relations.divisor[g]), detections[groups.best[g]], groups.members[g]
        )
        attached.setdefault(int(relations.parent[g]), []).append(harmonic)
    kept = []
    for g in map(int, np.flatnonzero(relations.parent < 0)):
        support = groups.members[g].size + sum(h.members.size for h in attached.get(g, ()))
        if support >= config.min_detections and fmin <= groups.freq[g] <= fmax:
            kept.append(g)
    place = {g: i for i, g in enumerate(kept)}
    sources: list[Source] = []
    best: list[int] = []
    for g in kept:
        members = groups.members[g]
        family = np.concatenate([members, *(h.members for h in attached.get(g, ()))])
        family = family[np.argsort(position[family])]
        best.append(int(position[family[0]]))
        of = place.get(int(relations.related[g]))
        sources.append(
            Source(
                best=detections[groups.best[g]],
                members=members,
                dm_lo=float(groups.dm_lo[g]),
                dm_hi=float(groups.dm_hi[g]),
                harmonics=tuple(attached.get(g, ())),
                harmonic_of=of,
                ratio=(int(relations.multiple[g]), int(relations.divisor[g])) if of is not None else None,
                flags=("dm0",) if _peaks_at_zero(detections[members], all_dms) else (),
                found_by=tuple(dict.fromkeys(detections["kind"][family].tolist())),
            )
        )
    # A fundamental that took over from a stronger harmonic ranks with the significance of the best of its family.
    return _ordered(sources, best)


def _positions(detections: NDArray[Any]) -> NDArray[np.int64]:
    """Place of each detection when all are sorted by significance, best first.

    Corrected for trials, that of different searches can be compared. Ties (possible at one frequency only by
    construction) go to the lower DM, so that the result is the same always.
    """
    position = np.empty(detections.size, dtype=np.int64)
    order = np.lexsort((detections["dm"], detections["logp"], -detections["sigma"].astype(np.float64)))
    position[order] = np.arange(detections.size)
    return position


def _ordered(sources: list[Source], key: list[int]) -> list[Source]:
    """Sorted by `key`, with `harmonic_of` following."""
    order = np.argsort(np.array(key), kind="stable")
    where = np.empty(order.size, dtype=np.int64)
    where[order] = np.arange(order.size)
    out = []
    for i in order:
        source = sources[i]
        if source.harmonic_of is not None:
            source = replace(source, harmonic_of=int(where[source.harmonic_of]))
        out.append(source)
    return out


def _group(detections: NDArray[Any], position: NDArray[np.int64], tolerance: float, tobs: float) -> _Groups:
    """Best first, every detection takes all that are within the tolerance and not taken yet."""
    from pulsar_kernels import peaks

    freq = np.ascontiguousarray(detections["freq"], dtype=np.float64)
    logp = np.asarray(detections["logp"], dtype=np.float64)
    by_freq = np.argsort(freq, kind="stable")
    rank = np.empty(freq.size, dtype=np.int64)
    rank[by_freq] = np.arange(freq.size)
    order = np.argsort(position)
    label_sorted = np.empty(freq.size, dtype=np.int64)
    ngroups = peaks.group(freq[by_freq], rank[order], tolerance, label_sorted)
    label = label_sorted[rank]
    # Rows by group, best first inside; groups are numbered from the best on.
    rows = order[np.argsort(label[order], kind="stable")]
    bounds = np.searchsorted(label[rows], np.arange(ngroups + 1))
    members = []
    for g in range(ngroups):
        members += _split(detections, rows[bounds[g] : bounds[g + 1]])
    members.sort(key=lambda m: int(position[m[0]]))
    ngroups = len(members)
    best = np.array([m[0] for m in members], dtype=np.int64)
    nharm = np.asarray(detections["nharm"][best], dtype=np.int64)
    dm_lo = np.empty(ngroups)
    dm_hi = np.empty(ngroups)
    for g in range(ngroups):
        dm_lo[g], dm_hi[g] = _dm_range(detections, members[g])
    err = np.maximum(np.asarray(detections["freq_err"][best], dtype=np.float64), FLOOR / (nharm * tobs))
    return _Groups(
        best=best,
        members=members,
        freq=freq[best],
        err=err,
        nharm=nharm,
        power=np.asarray(detections["power"][best], dtype=np.float64),
        logp=logp[best],
        sweep=0.5 * tobs * np.abs(np.asarray(detections["fdot"][best], dtype=np.float64)),
        dm=np.asarray(detections["dm"][best], dtype=np.float64),
        dm_lo=dm_lo,
        dm_hi=dm_hi,
    )


def _split(detections: NDArray[Any], members: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Signals at one frequency but at DMs of their own, each best first.

    What lies beyond a gap in DM is another signal if it has much of the best one's power: what fades does not return.
    """
    out = []
    while members.size > 1:
        lo, hi = _dm_range(detections, members)
        dm = detections["dm"][members]
        excess = detections["power"][members].astype(np.float64) - detections["nharm"][members]
        outside = (dm < lo) | (dm > hi)
        if not outside.any() or excess[outside].max() < RETURN_FRACTION * excess[0]:
            break
        out.append(members[~outside])
        members = members[outside]
    out.append(members)
    return out


def _dm_range(detections: NDArray[Any], members: NDArray[np.int64]) -> tuple[float, float]:
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


def _relate(groups: _Groups) -> _Relations:
    """Families of harmonics.

    Best first, each group that is not yet attached becomes the head of a family. A submultiple with harmonics of its
    own then takes the head's place, as often as there is one. All weaker groups are compared with the head.
    """
    n = groups.freq.size
    relations = _Relations.none(n)
    free = np.ones(n, dtype=np.bool_)
    by_dm = np.argsort(groups.dm, kind="stable")
    dm_sorted = groups.dm[by_dm]
    for g in range(n):
        if not free[g]:
            continue
        root = g
        chain = [g]
        rows, m, d = _family(groups, root, free, by_dm, dm_sorted)
        while (lower := _take_over(groups, root, rows, m, d)) >= 0:
            root = lower
            chain.append(root)
            rows, m, d = _family(groups, root, free, by_dm, dm_sorted)
        free[root] = False
        for one in chain:
            if groups.sweep[one] > 0:
                swept, multiple = _swept(groups, one, free, by_dm, dm_sorted)
                relations.multiple[swept] = np.round(multiple * groups.freq[one] / groups.freq[root]).astype(np.int64)
                relations.parent[swept] = root
                free[swept] = False
        left = free[rows]
        rows, m, d = rows[left], m[left], d[left]
        if rows.size == 0:
            continue
        whole = _explained(groups, root, max(groups.excess[root], groups.excess[g]), rows, m, d)
        whole |= np.isin(rows, chain)
        relations.multiple[rows] = m
        relations.divisor[rows] = d
        relations.parent[rows[whole]] = root
        free[rows[whole]] = False
        # Too strong for a harmonic: stays in the list, and may become the head of a family itself.
        relations.related[rows[~whole]] = root
    return relations


def _in_dm(groups: _Groups, root: int, by_dm: NDArray[np.int64], dm_sorted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Groups whose DM lies where the root is seen, give or take a tenth of that range."""
    margin = DM_MARGIN * (groups.dm_hi[root] - groups.dm_lo[root]) + 1e-9 * (1.0 + groups.dm_hi[root])
    lo = np.searchsorted(dm_sorted, groups.dm_lo[root] - margin, side="left")
    hi = np.searchsorted(dm_sorted, groups.dm_hi[root] + margin, side="right")
    return by_dm[lo:hi]


def _swept(
    groups: _Groups,
    root: int,
    free: NDArray[np.bool_],
    by_dm: NDArray[np.int64],
    dm_sorted: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Free weaker groups at frequencies that a harmonic of the drifting root goes through: rows and multiples.

    There a search without acceleration, or with a wrong one, sees a part of its power.
    """
    rows = _in_dm(groups, root, by_dm, dm_sorted)
    rows = rows[free[rows] & (rows > root)]
    multiple = np.maximum(np.round(groups.freq[rows] / groups.freq[root]), 1.0)
    reach = multiple * (groups.sweep[root] + NSIGMA * groups.err[root]) + NSIGMA * groups.err[rows]
    within = np.abs(groups.freq[rows] - multiple * groups.freq[root]) <= reach
    within &= multiple <= max(2 * int(groups.nharm[root]), 4)
    within &= groups.excess[rows] < groups.excess[root]
    return rows[within], multiple[within].astype(np.int64)


def _family(
    groups: _Groups,
    root: int,
    free: NDArray[np.bool_],
    by_dm: NDArray[np.int64],
    dm_sorted: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Free groups that agree with the root in DM and frequency: rows, multiples and divisors.

    The best DM of a harmonic lies where its (stronger) fundamental is seen, give or take a tenth of that range. A whole
    multiple m tells DMs apart m times as well: its best DM is no farther from the fundamental's than that leaves open,
    and half of its own range.
    """
    from pulsar_kernels import peaks

    near = _in_dm(groups, root, by_dm, dm_sorted)
    found = np.empty((near.size, 3), dtype=np.int64)
    # Harmonics beyond twice those that were worth summing are not seen.
    most = float(min(max(2 * int(groups.nharm[root]), 4), MAX_MULTIPLE))
    limits = np.array([NSIGMA, most, MAX_DIVISOR, MAX_DIVISOR])
    count = peaks.ratios(groups.freq, groups.err, groups.nharm, free, near, root, limits, found)
    rows, multiple, divisor = found[:count].T
    extent = groups.dm_hi[root] - groups.dm_lo[root]
    open_ = np.maximum(DM_SHARE / np.maximum(multiple, 1), DM_MARGIN) * extent
    own = 0.5 * (groups.dm_hi[rows] - groups.dm_lo[rows])
    off = np.abs(groups.dm[rows] - groups.dm[root])
    close = (divisor > 1) | (multiple == 1) | (off <= open_ + own + 1e-9 * (1.0 + groups.dm[root]))
    return rows[close], multiple[close], divisor[close]


def _explained(
    groups: _Groups,
    root: int,
    most: float,
    rows: NDArray[np.int64],
    m: NDArray[np.int64],
    d: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which groups have no more power than the fundamental's harmonics can give them.

    At m f these are the harmonics m, 2 m ...: all of the power at most, and for a plain pulse about one part in m. At
    m/d f they are the same ones, so that there must be no more than was found at m f itself.
    """
    excess = groups.excess[rows]
    noise = EXCESS_SIGMA * np.sqrt(groups.nharm[rows] + 2.0 * excess)
    bound = most * np.minimum(1.0, SHARE / m)
    for multiple in np.unique(m[d > 1]):
        same = m == multiple
        whole = excess[same & (d == 1)]
        at_multiple = groups.excess[root] if multiple == 1 else float(whole.max(initial=0.0))
        bound[same & (d > 1)] = at_multiple
    return np.asarray(excess <= bound + noise, dtype=np.bool_)


def _take_over(groups: _Groups, root: int, rows: NDArray[np.int64], m: NDArray[np.int64], d: NDArray[np.int64]) -> int:
    """The submultiple of the root that is the true fundamental, or -1.

    At f/n a sum of H powers holds H/n harmonics of f. Where f itself was summed over as many or more, what the
    submultiple has beyond f's power lies in harmonics that f does not have; if noise does not explain it, f is a
    harmonic of f/n. (With few more powers such a submultiple is also the more significant; with many it may not be.)
    """
    included = groups.nharm[rows] // d
    able = (m == 1) & (d > 1) & (included <= groups.nharm[root])
    low, included = rows[able], included[able]
    if low.size == 0:
        return -1
    extra = np.maximum(groups.power[low] - groups.power[root], 0.0)
    ok = stats.power_logp(extra, np.maximum(groups.nharm[low] - included, 1)) < LOGP_TAKE_OVER
    if not ok.any():
        return -1
    return int(low[ok][np.argmin(groups.logp[low[ok]])])


def _peaks_at_zero(members: NDArray[Any], all_dms: NDArray[np.float64]) -> bool:
    """As strong at DM 0 as anywhere, where more than one DM was searched and 0 was among them."""
    if all_dms.size < 2 or all_dms[0] != 0.0:
        return False
    excess = members["power"].astype(np.float64) - members["nharm"]
    zero = members["dm"] == 0.0
    return bool(zero.any() and excess[zero].max() >= DM0_FRACTION * excess.max())
