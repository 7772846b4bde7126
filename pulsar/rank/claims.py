"""Which groups may be harmonics of which, told from the detections alone: what is worth folding first.

A claim decides nothing. It spares folds: a bright pulsar shows at a hundred frequencies, and folding each would tell
the same. When the heads of the families are folded, every claim is looked at again (:mod:`pulsar.rank.explain`), with
the lines that the fold really shows; what it does not explain is folded itself.

Best first, groups whose frequencies are in the ratio of small integers are compared, and claimed where three things
agree: frequency (within the errors), DM (inside the range over which the head is seen) and power (a harmonic has no
more of it than its fundamental).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pulsar.searches import stats
from pulsar.searches.sift import Group

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


@dataclass
class _Groups:
    """The groups as columns, best first."""

    freq: NDArray[np.float64]
    err: NDArray[np.float64]
    nharm: NDArray[np.int64]
    power: NDArray[np.float64]
    logp: NDArray[np.float64]
    sweep: NDArray[np.float64]
    dm: NDArray[np.float64]
    dm_lo: NDArray[np.float64]
    dm_hi: NDArray[np.float64]
    undispersed: NDArray[np.bool_]
    excess: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.excess = np.maximum(self.power - self.nharm, 0.0)


@dataclass(frozen=True)
class Claims:
    """Of every group the head of its family, and what its frequency is of that.

    Attributes
    ----------
    head : ndarray of int64
        Place of the head; its own place for heads.
    multiple, divisor : ndarray of int64
        Frequency over that of the head.
    """

    head: NDArray[np.int64]
    multiple: NDArray[np.int64]
    divisor: NDArray[np.int64]

    @property
    def heads(self) -> NDArray[np.int64]:
        """Places of the heads, best family first."""
        places = np.arange(self.head.size)
        best = np.full(self.head.size, self.head.size)
        np.minimum.at(best, self.head, places)
        own = np.flatnonzero(self.head == places)
        return own[np.argsort(best[own], kind="stable")]


def claims(groups: Sequence[Group], tobs: float, *, harmonics: bool = True) -> Claims:
    """Families of groups.

    Parameters
    ----------
    groups : sequence of Group
        Best first.
    tobs : float
        Length of the data [s].
    harmonics : bool
        False: every group is the head of a family of its own.
    """
    n = len(groups)
    none = Claims(np.arange(n), np.ones(n, dtype=np.int64), np.ones(n, dtype=np.int64))
    if n == 0 or not harmonics:
        return none
    columns = _columns(groups, tobs)
    relations = _relate(columns)
    head = np.where(relations.parent >= 0, relations.parent, np.arange(n))
    # A family may have been claimed as a whole by a later, lower head.
    for _ in range(n):
        above = head[head]
        if np.array_equal(above, head):
            break
        head = above
    return Claims(head, relations.multiple, relations.divisor)


def _columns(groups: Sequence[Group], tobs: float) -> _Groups:
    best = np.array([g.best for g in groups])
    nharm = best["nharm"].astype(np.int64)
    return _Groups(
        freq=best["freq"].astype(np.float64),
        err=np.maximum(best["freq_err"].astype(np.float64), FLOOR / (nharm * tobs)),
        nharm=nharm,
        power=best["power"].astype(np.float64),
        logp=best["logp"].astype(np.float64),
        sweep=0.5 * tobs * np.abs(best["fdot"].astype(np.float64)),
        dm=best["dm"].astype(np.float64),
        dm_lo=np.array([g.dm_lo for g in groups]),
        dm_hi=np.array([g.dm_hi for g in groups]),
        undispersed=np.array([g.undispersed for g in groups]),
    )


@dataclass
class _Relations:
    """Of every group: the head to which it is attached (-1: none), and the ratio."""

    parent: NDArray[np.int64]
    multiple: NDArray[np.int64]
    divisor: NDArray[np.int64]


def _relate(groups: _Groups) -> _Relations:
    """Families of harmonics.

    Best first, each group that is not yet attached becomes the head of a family. A submultiple with harmonics of its
    own then takes the head's place, as often as there is one. All weaker groups are compared with the head.
    """
    n = groups.freq.size
    relations = _Relations(np.full(n, -1), np.ones(n, dtype=np.int64), np.ones(n, dtype=np.int64))
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
        # Too strong for a harmonic: may become the head of a family itself.
    return relations


def _in_dm(groups: _Groups, root: int, by_dm: NDArray[np.int64], dm_sorted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Groups whose DM lies where the root is seen, give or take a tenth of that range."""
    margin = DM_MARGIN * (groups.dm_hi[root] - groups.dm_lo[root]) + 1e-9 * (1.0 + groups.dm_hi[root])
    lo = np.searchsorted(dm_sorted, groups.dm_lo[root] - margin, side="left")
    hi = np.searchsorted(dm_sorted, groups.dm_hi[root] + margin, side="right")
    near = by_dm[lo:hi]
    # What is as strong at DM 0 never takes in what is not.
    return near[groups.undispersed[near]] if groups.undispersed[root] else near


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
