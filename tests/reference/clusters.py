"""Plain float64 oracles of pulsar_kernels.clusters: every event against every other."""

import numpy as np


def best_boxcar(width, smearing, boxes):
    """S/N of a box smeared by another one with each boxcar, over that of the box itself."""
    t = (np.arange(2000) + 0.5) / 2000 - 0.5
    area = []
    for box in boxes:
        y = np.clip(0.5 * (width + smearing) - np.abs(t * box), 0.0, min(width, smearing)) / (width * smearing)
        area.append(np.mean(y) * box)
    return np.array(area) / np.sqrt(boxes) * np.sqrt(width)


def expected(snr, width, smearing, widest=np.inf):
    r = smearing / width
    limited = max(widest, width) / (width + smearing)
    return snr * (1 + 0.6 * r + r**2) ** -0.25 * min(1.0, limited) ** 0.5


def expected_in(snr, width, smearing, box, edge):
    """A filter too short sees a part, at the dense end; one too long takes in noise."""
    seen = box / (width + smearing)
    value = expected(snr, width, smearing) * min(seen, 1 / seen) ** 0.5
    if seen < 1:
        value *= 1 + (edge - 1) * (1 - seen) * smearing / (width + smearing)
    return value


def meets(d, time, width, e_hi, e_lo, lo, hi, slack):
    """Whether lo ... hi meets the bow tie of a pulse at the DM offset d."""
    ends = (time - d * e_lo, time - d * e_hi)
    return lo <= max(ends) + width / 2 + slack and hi >= min(ends) - width / 2 - slack


def link(row, dms, tsamp, time, width, snr, order, gap, e_hi, e_lo, edge):
    half = 0.55 * width + 0.5 * tsamp[row]
    lo, hi = time - half, time + half
    rank = np.argsort(order)
    peak = np.arange(len(row))
    for i in order:
        near = np.flatnonzero((rank < rank[i]) & (abs(row - row[i]) <= gap) & (lo <= hi[i]) & (hi >= lo[i]))
        if near.size == 0:
            continue
        peak[i] = peak[near[np.argmin(rank[near])]]
        for other in list(dict.fromkeys(peak[near])):
            a, b = sorted((peak[other], peak[i]), key=lambda j: rank[j])
            d = dms[row[b]] - dms[row[a]]
            slack = (tsamp[row[a]] + tsamp[row[b]]) / 2
            if a == b or not meets(d, time[a], width[a], e_hi, e_lo, lo[b], hi[b], slack):
                continue
            no_rise = snr[b] - snr[i] < max(2.0, 0.15 * snr[b])
            there = expected_in(snr[a], width[a], abs(d) * (e_lo - e_hi), width[b], edge)
            if no_rise or snr[b] <= 1.3 * there + 5:
                peak[peak == b] = a
    return peak


def spread(peak, row, dms, width, snr, span):
    """Mean over the members that are well below their peak, of weight snr^2: smearing that says so over that due."""
    share = np.ones(len(peak))
    for p in np.unique(peak):
        values, weights = [], []
        for i in np.flatnonzero(peak == p):
            fall, due = snr[i] / snr[p], abs(dms[row[i]] - dms[row[p]]) * span
            if fall < 0.75 and due > 0:
                # 1 + 0.6 r + r^2 = fall^-4
                r = np.roots([1.0, 0.6, 1 - fall**-4.0]).max()
                values.append(min(r * width[p] / due, 1.5))
                weights.append(snr[i] ** 2)
        if values:
            share[p] = np.clip(np.average(values, weights=weights), 0.05, 1.0)
    return share


def absorb(peaks, row, dms, tsamp, time, width, snr, share, e_hi, e_lo, edge, least):
    owner = np.arange(len(peaks))
    explained, most = np.zeros((2, len(peaks)))
    span = e_lo - e_hi
    for g, a in enumerate(peaks):
        if explained[g] > 0 and snr[a] <= 1.3 * explained[g] + 5:
            continue
        owner[g] = g
        for h in range(g + 1, len(peaks)):
            b = peaks[h]
            d = dms[row[b]] - dms[row[a]]
            smearing = abs(d) * span * share[a]
            half = 0.55 * width[b] + 0.5 * tsamp[row[b]]
            slack = 0.5 * tsamp[row[a]]
            if expected(snr[a], width[a], smearing) < 0.35 * least:
                continue
            if meets(d, time[a], width[a], e_hi, e_lo, time[b] - half, time[b] + half, slack):
                part = expected_in(snr[a], width[a], smearing, width[b], edge)
                explained[h] += part
                if part > most[h]:
                    most[h], owner[h] = part, g
    return owner


def top_of(top, dms, peak):
    """Top of a parabola through the S/N^2 less than 30 % (and 3 sigma) below the best, in a window centred on it."""
    near = top**2 > (1 - max(0.3, min(9 / top[peak] ** 2, 0.9))) * top[peak] ** 2
    a = b = peak
    while a > 0 and near[a - 1]:
        a -= 1
    while b < len(top) - 1 and near[b + 1]:
        b += 1
    # Of coarse trials the next ones, however low.
    if a == peak > 0 and top[a - 1] > 0:
        a -= 1
    if b == peak < len(top) - 1 and top[b + 1] > 0:
        b += 1
    ends, centre = (dms[a], dms[b]), dms[peak]
    for _ in range(4):
        reach = 1.0001 * min(centre - ends[0], ends[1] - centre)
        while b - a > 2 and a < peak - 1 and dms[a] < centre - reach:
            a += 1
        while b - a > 2 and b > peak + 1 and dms[b] > centre + reach:
            b -= 1
        if b - a < 2:
            return centre
        scale = dms[b] - dms[a]
        quad, lin, _ = np.polyfit((dms[a : b + 1] - dms[peak]) / scale, top[a : b + 1] ** 2, 2)
        if quad >= 0:
            return centre
        before, centre = centre, np.clip(dms[peak] - lin / (2 * quad) * scale, dms[a], dms[b])
        if abs(centre - before) < 1e-3 * scale:
            break
    return centre


def describe(group, peaks, row, dms, snr, width, reach, share, span, least, widest):
    """`group` is the number of the group of every event."""
    out = []
    for g, p in enumerate(peaks):
        top = np.zeros(len(dms))
        np.maximum.at(top, row[group == g], snr[group == g])
        smearing = np.abs(dms - dms[row[p]]) * span * share[p]
        model = np.array([expected(snr[p], width[p], s, widest) for s in smearing])
        told = smearing <= max(reach[p] - width[p], 0.0)
        where = np.flatnonzero((top > 0) | ((model >= least) & told))
        part = slice(min(where.min(), row[p]), where.max() + 1)
        # What is seen is above the threshold; what is not, just below it at most.
        want = np.maximum(model, min(least, snr[p]))
        have = np.where(top > 0, top, np.minimum(model, least))
        want = np.where((top == 0) & (model < least), model, want)
        diff = ((have - want) / np.hypot(1.0, 0.15 * model))[part][(told | (top > 0))[part]]
        must = ((model > least + 1.5) & (told | (top > 0)))[part]
        out.append(
            (
                top_of(top, dms, row[p]),
                np.sqrt(np.mean(diff**2)),
                must.sum(),
                (must & (top[part] > 0)).sum(),
                top[0],
                model[0],
            )
        )
    return np.array(out).reshape(-1, 6)
