"""Events of neighbouring DMs that are one pulse: union by overlap in time, split where two peaks are two pulses.

A pulse of dispersion measure DM0 that arrives at t0 (at the reference frequency) shows at a trial DM0 + d as a box from
t0 - d e_lo to t0 - d e_hi, where e = K (f^-2 - f_ref^-2) of the lowest and highest frequency: the bow tie.
"""

from typing import NamedTuple

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Floats, Ints
from pulsar_kernels.order import first_from

#: How S/N falls with the smearing s of a pulse of width w, r = s/w: (1 + LINEAR r + r^2)^(-1/4). Far out that is what a
#: boxcar of the new width has; near the top it lies between the rounded one of Gaussians and the pointed one of boxes.
LINEAR = 0.6
#: The fraction to which that is right.
MODEL_ERROR = 0.15
#: An event is explained by a stronger pulse if it is no stronger than this many times what is expected, plus that.
EXPLAINED = (1.3, 5.0)
# Only where a pulse is expected with this fraction of the threshold at least does it explain anything.
_WEAKEST = 0.35
# A peak that rises less than this above the saddle (sigma, and fraction of itself) is none.
_RISE = (2.0, 0.15)


@kernel(inline=True, helper=True)
def expected(snr: float, width: float, smearing: float, widest: float) -> float:
    """S/N of a pulse smeared over a time, with the filter that is then the best, of those up to the widest."""
    r = smearing / width
    value = snr / np.sqrt(np.sqrt(1.0 + r * (LINEAR + r)))
    return float(value * np.sqrt(min(1.0, max(widest, width) / (width + smearing))))


@kernel(inline=True, helper=True)
def expected_in(snr: float, width: float, smearing: float, box: float, edge: float) -> float:
    """The same with a filter of another width, which takes in a part of it, or more than it.

    The high frequencies arrive closer together: that end of the bow tie is `edge` times denser than its mean.
    """
    ratio = box / (width + smearing)
    part = min(ratio, 1.0)
    dense = 1.0 + (edge - 1.0) * (1.0 - part) * smearing / (width + smearing)
    return expected(snr, width, smearing, np.inf) * float(np.sqrt(min(ratio, 1.0 / ratio))) * dense


@kernel(inline=True, helper=True)
def smearing_of(fall: float, width: float) -> float:
    """The inverse: smearing at which S/N is this fraction of its best."""
    return float(width * (np.sqrt(0.25 * LINEAR * LINEAR + fall**-4.0 - 1.0) - 0.5 * LINEAR))


@kernel(inline=True)
def _inside(d: float, time: float, width: float, e_hi: float, e_lo: float, lo: float, hi: float, slack: float) -> bool:
    """True if the interval ``lo ... hi`` at the DM offset `d` meets the bow tie of a pulse."""
    a, b = time - d * e_lo, time - d * e_hi
    if a > b:
        a, b = b, a
    return bool(lo <= b + 0.5 * width + slack and hi >= a - 0.5 * width - slack)


class Events(NamedTuple):
    """Events at the trial DMs of one beam.

    Attributes
    ----------
    row : ndarray of int64, shape (n,)
        DM of every event, ascending; within one, events ascend in the start ``time - width / 2``.
    dms, tsamp : ndarray of float64, shape (ndms,)
        [pc cm^-3], [s]
    time, width, snr : ndarray of float64, shape (n,)
        Centres and widths [s].
    """

    row: Ints
    dms: Floats
    tsamp: Floats
    time: Floats
    width: Floats
    snr: Floats


@kernel()
def _root(parent: Ints, i: int) -> int:
    r = i
    while parent[r] != r:
        r = parent[r]
    while parent[i] != r:
        up = parent[i]
        parent[i] = r
        i = up
    return r


@kernel()
def link(
    first: Ints, events: Events, order: Ints, gap: int, e_hi: float, e_lo: float, edge: float, parent: Ints
) -> None:
    """Groups of events, each with one peak.

    From the strongest on, each event joins the strongest of those before it that it overlaps in time, at most `gap`
    DMs away. Where it joins two groups they become one if the weaker peak lies in the bow tie of the stronger, and
    either hardly rises above this saddle or is no stronger than the bow tie there.

    Parameters
    ----------
    first : ndarray of int64, shape (ndms + 1,)
        First event of every DM.
    events : Events
    order : ndarray of int64, shape (n,)
        Events from the strongest on.
    gap : int
    e_hi, e_lo : float
        Delay at the highest and the lowest frequency [s per pc cm^-3].
    edge : float
        How much denser than the mean over the band the highest frequencies arrive.
    parent : ndarray of int64, shape (n,)
        Filled with the peak of every event's group.
    """
    row, dms, tsamp, time, width, snr = events
    n = time.shape[0]
    ndms = dms.shape[0]
    lo = np.empty(n, np.float64)
    hi = np.empty(n, np.float64)
    reach = np.empty(n, np.float64)
    begin = np.empty(n, np.float64)
    rank = np.empty(n, np.int64)
    for o in range(n):
        rank[order[o]] = o
    for i in range(n):
        half = 0.55 * width[i] + 0.5 * tsamp[row[i]]
        lo[i] = time[i] - half
        hi[i] = time[i] + half
        parent[i] = i
    for r in range(ndms):
        top = -np.inf
        for i in range(first[r], first[r + 1]):
            top = max(top, hi[i])
            reach[i] = top
        low = np.inf
        for i in range(first[r + 1] - 1, first[r] - 1, -1):
            low = min(low, lo[i])
            begin[i] = low
    roots = np.empty(256, np.int64)
    for o in range(n):
        i = order[o]
        nroots = 0
        best = -1
        for r in range(max(row[i] - gap, 0), min(row[i] + gap + 1, ndms)):
            # The first that may reach so far.
            j = first_from(reach, first[r], first[r + 1], lo[i])
            # A wide one that starts later may reach further ahead: none of the rest begins before `begin`.
            while j < first[r + 1] and begin[j] <= hi[i]:
                if lo[j] <= hi[i] and hi[j] >= lo[i] and rank[j] < o:
                    if best < 0 or rank[j] < rank[best]:
                        best = j
                    root = _root(parent, j)
                    new = True
                    for k in range(nroots):
                        new = new and roots[k] != root
                    if new and nroots < roots.shape[0]:
                        roots[nroots] = root
                        nroots += 1
                j += 1
        if best < 0:
            continue
        parent[i] = _root(parent, best)
        for k in range(nroots):
            a = _root(parent, roots[k])
            b = _root(parent, i)
            if a == b:
                continue
            if rank[a] > rank[b]:
                a, b = b, a
            d = dms[row[b]] - dms[row[a]]
            slack = 0.5 * (tsamp[row[a]] + tsamp[row[b]])
            if not _inside(d, time[a], width[a], e_hi, e_lo, lo[b], hi[b], slack):
                continue
            limit = EXPLAINED[0] * expected_in(snr[a], width[a], abs(d) * (e_lo - e_hi), width[b], edge) + EXPLAINED[1]
            if snr[b] - snr[i] < max(_RISE[0], _RISE[1] * snr[b]) or snr[b] <= limit:
                parent[b] = a
    for i in range(n):
        parent[i] = _root(parent, i)


@kernel()
def spread(parent: Ints, events: Events, span: float, share: Floats) -> None:
    """Part of the band over which the pulses of groups are spread, from how their S/N falls: less than 1 falls less.

    Parameters
    ----------
    parent : ndarray of int64, shape (n,)
        From `link`.
    events : Events
    span : float
        Delay over the band [s per pc cm^-3].
    share : ndarray of float64, shape (n,)
        Filled for the peaks; 1 where nothing says less.
    """
    row, dms, _, _, width, snr = events
    n = parent.shape[0]
    weight = np.zeros(n, np.float64)
    share[:] = 0.0
    for i in range(n):
        p = parent[i]
        fall = snr[i] / snr[p]
        smearing = abs(dms[row[i]] - dms[row[p]]) * span
        if fall < 0.75 and smearing > 0.0:
            w = snr[i] ** 2
            share[p] += w * min(smearing_of(fall, width[p]) / smearing, 1.5)
            weight[p] += w
    for i in range(n):
        share[i] = min(max(share[i] / weight[i], 0.05), 1.0) if weight[i] > 0.0 else 1.0


@kernel()
def absorb(
    peaks: Ints,
    first: Ints,
    by_row: Ints,
    events: Events,
    share: Floats,
    e_hi: float,
    e_lo: float,
    edge: float,
    least: float,
    owner: Ints,
) -> None:
    """Groups that are what is left of stronger pulses far from their DM, where noise breaks the bow tie into pieces.

    Where the bow ties of several pulses meet their S/N add at most.

    Parameters
    ----------
    peaks : ndarray of int64, shape (m,)
        The strongest event of every group, strongest first.
    first : ndarray of int64, shape (ndms + 1,)
        Place in `by_row` of the first group with its peak at every DM.
    by_row : ndarray of int64, shape (m,)
        Groups in order of the DM, and then of the time, of their peaks.
    events, e_hi, e_lo, edge
        As for `link`.
    share : ndarray of float64, shape (n,)
        From `spread`.
    least : float
        Threshold of the events.
    owner : ndarray of int64, shape (m,)
        Filled with the group that each is part of.
    """
    row, dms, tsamp, time, width, snr = events
    m = peaks.shape[0]
    times = np.empty(m, np.float64)
    explained = np.zeros(m, np.float64)
    most_from = np.zeros(m, np.float64)
    widest = np.zeros(dms.shape[0], np.float64)
    for k in range(m):
        times[k] = time[peaks[by_row[k]]]
        owner[k] = k
        widest[row[peaks[k]]] = max(widest[row[peaks[k]]], width[peaks[k]])
    if m == 0:
        return
    span = e_lo - e_hi
    floor = _WEAKEST * least
    for g in range(m):
        a = peaks[g]
        if explained[g] > 0.0 and snr[a] <= EXPLAINED[0] * explained[g] + EXPLAINED[1]:
            continue
        owner[g] = g
        own_span = span * share[a]
        most = smearing_of(min(floor / snr[a], 1.0), width[a]) / max(share[a], 1e-3)
        lowest, highest = row[a], row[a]
        while lowest > 0 and (dms[row[a]] - dms[lowest - 1]) * span <= most:
            lowest -= 1
        while highest < dms.shape[0] - 1 and (dms[highest + 1] - dms[row[a]]) * span <= most:
            highest += 1
        for r in range(lowest, highest + 1):
            d = dms[r] - dms[row[a]]
            early = min(-d * e_lo, -d * e_hi) - 0.5 * width[a] - 0.5 * (tsamp[row[a]] + tsamp[r]) - 0.55 * widest[r]
            late = max(-d * e_lo, -d * e_hi) + 0.5 * width[a] + 0.5 * (tsamp[row[a]] + tsamp[r]) + 0.55 * widest[r]
            # The first of this DM that is not too early.
            k = first_from(times, first[r], first[r + 1], time[a] + early)
            while k < first[r + 1] and times[k] <= time[a] + late:
                h = by_row[k]
                k += 1
                if h <= g:
                    continue
                b = peaks[h]
                half = 0.55 * width[b] + 0.5 * tsamp[r]
                if not _inside(d, time[a], width[a], e_hi, e_lo, time[b] - half, time[b] + half, 0.5 * tsamp[row[a]]):
                    continue
                part = expected_in(snr[a], width[a], abs(d) * own_span, width[b], edge)
                explained[h] += part
                if part > most_from[h]:
                    most_from[h] = part
                    owner[h] = g


@kernel(inline=True)
def _top_of(top: Floats, dms: Floats, peak: int, depth: float) -> float:
    """DM at the top of a parabola through the S/N^2 about the best trial that are less than `depth` below it.

    As far to one side as to the other: the slopes are no parabola, and one that is cut off would draw the top aside.
    """
    last = dms.shape[0] - 1
    centre = dms[peak]
    limit = (1.0 - max(depth, min(9.0 / top[peak] ** 2, 0.9))) * top[peak] ** 2
    a = peak
    while a > 0 and top[a - 1] ** 2 > limit and top[a - 1] > 0.0:
        a -= 1
    b = peak
    while b < last and top[b + 1] ** 2 > limit and top[b + 1] > 0.0:
        b += 1
    # Coarse trials: the next ones, however low.
    a = min(a, max(peak - 1, 0)) if top[max(peak - 1, 0)] > 0.0 else a
    b = max(b, min(peak + 1, last)) if top[min(peak + 1, last)] > 0.0 else b
    lowest, highest = dms[a], dms[b]
    for _ in range(4):
        reach = min(centre - lowest, highest - centre)
        while b - a > 2 and dms[a] < centre - 1.0001 * reach and a < peak - 1:
            a += 1
        while b - a > 2 and dms[b] > centre + 1.0001 * reach and b > peak + 1:
            b -= 1
        if b - a < 2:
            return float(centre)
        scale = dms[b] - dms[a]
        m = np.zeros(5, np.float64)
        v = np.zeros(3, np.float64)
        for r in range(a, b + 1):
            x = (dms[r] - dms[peak]) / scale
            q = 1.0
            for k in range(5):
                m[k] += q
                if k < 3:
                    v[k] += q * top[r] ** 2
                q *= x
        # Cramer's rule for the linear and the quadratic term.
        det = m[0] * (m[2] * m[4] - m[3] ** 2) - m[1] * (m[1] * m[4] - m[2] * m[3]) + m[2] * (m[1] * m[3] - m[2] ** 2)
        lin = (
            m[0] * (v[1] * m[4] - v[2] * m[3]) - v[0] * (m[1] * m[4] - m[2] * m[3]) + m[2] * (m[1] * v[2] - m[2] * v[1])
        )
        quad = (
            m[0] * (m[2] * v[2] - m[3] * v[1]) - m[1] * (m[1] * v[2] - m[2] * v[1]) + v[0] * (m[1] * m[3] - m[2] ** 2)
        )
        if not quad * det < 0.0:
            return float(centre)
        before = centre
        centre = min(max(dms[peak] - 0.5 * lin / quad * scale, dms[a]), dms[b])
        if abs(centre - before) < 1e-3 * scale:
            break
    return float(centre)


@kernel()
def describe(
    first: Ints,
    member: Ints,
    peak: Ints,
    events: Events,
    reach: Floats,
    share: Floats,
    span: float,
    least: float,
    widest: float,
    out: Floats,
) -> None:
    """Width, DM and time of every group, by the S/N at all DMs.

    Parameters
    ----------
    first : ndarray of int64, shape (ngroups + 1,)
        Place of every group in `member`.
    member : ndarray of int64, shape (n,)
        Events, group by group.
    peak : ndarray of int64, shape (ngroups,)
        The strongest event of each.
    events : Events
    reach : ndarray of float64, shape (n,)
        Widest pulse that the level of its series cannot hide [s]: DMs that would make it wider say nothing, unless it
        is seen there.
    share : ndarray of float64, shape (n,)
        From `spread`: a pulse in part of the band is smeared by the delay over that part.
    span : float
        Delay over the band [s per pc cm^-3].
    least : float
        Threshold of the events.
    widest : float
        Widest filter [s].
    out : ndarray of float64, shape (ngroups, 6)
        DM at the top of a parabola through S/N^2; rms difference from the expected S/N, in sigma; DMs at which it must
        be seen, and how many of those it is seen at; S/N at the lowest DM, and that expected there.
    """
    row, dms, _, _, width, snr = events
    ndms = dms.shape[0]
    top = np.zeros(ndms, np.float64)
    for g in range(peak.shape[0]):
        p = peak[g]
        s0, w0, d0 = snr[p], width[p], dms[row[p]]
        own_span = span * share[p]
        most = max(reach[p] - w0, 0.0) / own_span if own_span > 0.0 else np.inf
        low = row[p]
        high = row[p]
        for k in range(first[g], first[g + 1]):
            i = member[k]
            r = row[i]
            top[r] = max(top[r], snr[i])
            low = min(low, r)
            high = max(high, r)
        # Where it should be seen.
        while low > 0 and d0 - dms[low - 1] <= most:
            if expected(s0, w0, (d0 - dms[low - 1]) * own_span, widest) < least:
                break
            low -= 1
        while high < ndms - 1 and dms[high + 1] - d0 <= most:
            if expected(s0, w0, (dms[high + 1] - d0) * own_span, widest) < least:
                break
            high += 1
        out[g, 0] = _top_of(top, dms, row[p], 0.3)
        total = 0.0
        ncompared = 0
        must = 0
        seen = 0
        for r in range(low, high + 1):
            if top[r] == 0.0 and abs(dms[r] - d0) > most:
                continue
            ncompared += 1
            model = expected(s0, w0, abs(dms[r] - d0) * own_span, widest)
            # What is seen is above the threshold; what is not agrees with any model below it.
            have = top[r] if top[r] > 0.0 else min(model, least)
            want = max(model, min(least, s0)) if top[r] > 0.0 else model
            diff = (have - want) / np.sqrt(1.0 + (MODEL_ERROR * model) ** 2)
            total += diff * diff
            if model > least + 1.5:
                must += 1
                seen += 1 if top[r] > 0.0 else 0
        out[g, 1] = np.sqrt(total / ncompared)
        out[g, 2] = must
        out[g, 3] = seen
        out[g, 4] = top[0]
        out[g, 5] = expected(s0, w0, (d0 - dms[0]) * own_span, widest)
        for r in range(low, high + 1):
            top[r] = 0.0
