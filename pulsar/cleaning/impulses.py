"""Impulses and lost spectra: all of the band has them at the same time, as nothing from the sky does.

Lost spectra are what recorders write in place of packets that did not come: zeros, or the last spectrum again.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from pulsar.cleaning.robust import runs_of
from pulsar.constants import LEAST_DM
from pulsar.data.header import Header, dispersion_delays
from pulsar.data.observation import left_out
from pulsar_kernels.arrays import Bools, Float32s, Floats, Ints
from pulsar_kernels.interference import count_above, less_running_means, most_beyond, stretches, sums_at

#: Bands that are compared, and fewest of them.
BANDS: Final = 16
LEAST_BANDS: Final = 8
#: Longest impulse [s].
LONGEST: Final = 0.1
#: An impulse is stronger at DM 0 than from LEAST_DM on by this significance [sigma].
DM_SIGMA: Final = 5.0
#: Delay over the band, or a part of it, at LEAST_DM from which on the DM is told [samples]: shifts are whole ones.
LEAST_SHIFT: Final = 2.0
#: Ratio of one trial DM that a pulse at DM 0 is compared with to the next.
DM_RATIO: Final = 1.15
#: An impulse in a part of the band is looked for in so many neighbouring bands of all, from every second on.
PART: Final = 8
#: The running mean is over so many times the longest impulse on either side.
WINDOWS: Final = 8
#: What is repeated so many times is no data, if noise would do that in one of a million stretches.
REPEATED: Final = 8
#: Some seconds that would lose more than this keep all.
MOST_CLIPPED: Final = 0.2


@dataclass(frozen=True)
class Bands:
    """Bands of neighbouring channels."""

    of_channel: Ints  # (nchans,): band of every channel; negative: none
    delays: Floats  # (nbands,): mean dispersion delay for 1 pc cm^-3 [samples]
    across: float  # delay over all of the band [samples]
    longest: int  # samples of the longest impulse

    @property
    def count(self) -> int:
        """Number of bands."""
        return len(self.delays)

    @property
    def margin(self) -> int:
        """Samples before and after a pulse by which it is told: the longest is cut off at the most distant DMs."""
        return 3 * max(self.longest, 1)

    @classmethod
    def of(cls, header: Header, chan_ok: Bools, zap: tuple[tuple[float, float], ...] = ()) -> "Bands | None":
        """Bands of as many channels each, without those that are zapped; None where dispersion cannot tell."""
        used = chan_ok.copy()
        for low, high in zap:
            used &= ~header.overlapping(low, high)
        count = int(used.sum())
        nbands = min(BANDS, count // 2)
        if nbands < LEAST_BANDS or not header.freqs[used].min() > 0:
            return None
        bands = np.full(header.nchans, -1, dtype=np.int64)
        bands[used] = np.arange(count) * nbands // count
        delay = dispersion_delays(header.freqs[used], header.freqs.max()) / header.tsamp
        means = np.array([delay[bands[used] == b].mean() for b in range(nbands)])
        across = float(np.ptp(delay))
        longest = max(int(LONGEST / header.tsamp), 2)
        return cls(bands, means, across, longest) if LEAST_DM * across >= LEAST_SHIFT else None


def find_impulses(
    series: Float32s, bands: Bands, sigma: float, dropout: float = np.inf, *, space: Float32s | None = None
) -> Ints:
    """Pulses that are in most bands at the same time and have no dispersion, and the same downwards.

    Sums over 1, 2, 4 ... samples are looked at, less a running mean, where most bands are high at once. A pulse that
    some DM from LEAST_DM on explains nearly as well is left alone, however bright it is.

    Parameters
    ----------
    series : ndarray of float32, shape (nbands, n)
        Sums over the channels of each band.
    sigma, dropout : float
        Significance of the median over the bands, in single trials, upwards and downwards.
    space : ndarray of float32, shape (nbands, n), optional
        Memory that is written to: new memory costs as much as it takes to look at it.

    Returns
    -------
    ndarray of int64, shape (n, 2)
        First sample and the one after the last, of impulses and then of dropouts.
    """
    plain = _plain(series, bands, space)
    looks = _looks(plain, 1, bands, (sigma, dropout))
    above = _runs_above(series, plain, bands, sigma, looks[0])
    if looks[1].following(0) is None:
        return above
    return np.concatenate(
        [above, _runs_above(series, np.negative(plain, out=plain), bands, dropout, looks[1], sign=-1)]
    )


def whole_band(nchans: int) -> Ints:
    """The band of every channel where all of `nchans` are shared out alike, dispersion or not."""
    return np.arange(nchans) * min(nchans, BANDS) // nchans


def _runs_above(series: Float32s, plain: Float32s, bands: Bands, sigma: float, look: "_Look", *, sign: int = 1) -> Ints:
    """Stretches of `plain`, which is `series` times `sign` less its running mean."""
    marks = _marked(plain, bands, sigma, look)
    if marks.any():
        # A train of impulses is gone with what is marked. Of a hum that were the crests: its lines remain.
        rest = plain if marks.mean() > MOST_CLIPPED else _plain(_filled(sign * series, marks, bands), bands)
        lines = _lines(rest, bands)
        if lines.any():
            # Impulses are not in the hum; its crests that were marked are, by what is around them.
            hum = _hum(lines, rest)
            if rest is not plain:
                hum = _hum(lines, np.where(marks, hum, rest))
            rest = plain - hum
            marks = _marked(rest, bands, sigma, _looks(rest, 1, bands, (sigma,))[0])
    if marks.mean() > MOST_CLIPPED:
        marks[:] = False
    return runs_of(marks)


def _plain(series: Float32s, bands: Bands, space: Float32s | None = None) -> Float32s:
    """The bands less a running mean, twice: of waves of seconds once leaves a tenth, enough to pass for impulses."""
    plain = np.empty_like(series) if space is None else space
    less_running_means(series, WINDOWS * bands.longest, plain)
    return plain


def _filled(series: Float32s, marks: Bools, bands: Bands) -> Float32s:
    """The bands with the median about it for what is marked, so that deep dropouts leave nothing beside them."""
    n = len(marks)
    edges = np.linspace(0, n, max(n // (WINDOWS * bands.longest), 1) + 1).astype(np.int64)
    centres = 0.5 * (edges[1:] + edges[:-1])
    at = np.flatnonzero(marks)
    out = series.copy()
    for row in out:
        levels = [np.median(row[first:last]) for first, last in pairwise(edges)]
        row[at] = np.interp(at, centres, levels)
    return out


@dataclass(frozen=True)
class _Look:
    """Levels of sums over 1, 2, 4 ... samples of the bands, to one side."""

    first: int  # number of the first length: sums are over ``2**first`` samples
    #: middle, spread (nlengths, nbands): median, and standard deviation by the quartiles; inf where a band is
    #: constant, which is never above.
    middle: Float32s
    spread: Float32s
    very_high: Float32s  # (nlengths, 2, nbands): what a band must exceed: one of all, and one of a part of them
    beyond: Bools  # (nlengths, 2): whether at any time so many bands exceed it that there may be an impulse

    def following(self, number: int) -> int | None:
        """The next length, from this one on, that has something to look at."""
        later = np.flatnonzero(self.beyond[number - self.first :].any(axis=1))
        return number + int(later[0]) if later.size else None


def _looks(plain: Float32s, width: int, bands: Bands, sigmas: tuple[float, ...]) -> list[_Look]:
    """Look at sums that are wider than those of `width` samples in `plain`; of 1 at these, too.

    The first of `sigmas` is for what is above, a second one for what is below (of which all signs are turned).
    """
    nbands, n = plain.shape
    shift = 0 if width == 1 else width // 2
    first = width.bit_length() - 1
    widths = [width << k for k in range(64) if width << k <= max(1, bands.longest // 2) and width << k < n]
    # Where sums of the longest would end after the last sample they are not looked at.
    at = np.arange(0, n, max(1, n // 512))
    sums = np.zeros((len(widths), nbands, len(at)), dtype=np.float32)
    sums_at(plain, shift, at, sums)
    # Of each side, in its own sign: what a quarter, half and three quarters are not above.
    quartiles = np.empty((len(sigmas), 3, len(widths), nbands), dtype=np.float32)
    for k, wide in enumerate(widths):
        ordered = np.sort(sums[k, :, : np.searchsorted(at, n - wide, side="right")], axis=1)
        last = ordered.shape[1] - 1
        places = np.array([int(q * last) for q in (0.25, 0.5, 0.75)])
        quartiles[0, :, k] = ordered[:, places].T
        if len(sigmas) > 1:
            quartiles[1, :, k] = -ordered[:, last - places].T
    levels = np.full((len(widths), nbands, 4), np.inf, dtype=np.float32)
    looks = []
    for side, sigma in enumerate(sigmas):
        low, middle, high = quartiles[side]
        spread = np.where(high > low, (high - low) / 1.349, np.inf).astype(np.float32)
        very_high = np.empty((len(widths), 2, nbands), dtype=np.float32)
        # The median of so many normal deviates scatters by 1.2533 / sqrt(count).
        for of, count in enumerate((nbands, PART)):
            very_high[:, of] = middle + 1.2533 * sigma / np.sqrt(count) * spread
        levels[:, :, 2 * side : 2 * side + 2] = np.swapaxes(very_high if side == 0 else -very_high, 1, 2)
        looks.append(_Look(first, middle, spread, very_high, np.zeros((len(widths), 2), dtype=np.bool_)))
    most = np.zeros((len(widths), 4), dtype=np.int64)
    most_beyond(plain, shift, levels, len(sigmas) > 1, most)
    for side, look in enumerate(looks):
        for of, count in enumerate((nbands, PART)):
            look.beyond[:, of] = most[:, 2 * side + of] >= count // 2 + 1
    return looks


def _marked(plain: Float32s, bands: Bands, sigma: float, look: _Look) -> Bools:
    """Samples of impulses in all of the band or, if dispersion tells there, a part of it, shape (n,)."""
    nbands, n = plain.shape
    marks = np.zeros(n, dtype=np.bool_)
    number = look.following(0)
    if number is None:
        return marks
    parts = [(slice(0, nbands), bands)]
    for first in range(0, nbands - PART + 1, 2) if nbands > PART else ():
        part = slice(first, first + PART)
        delays = bands.delays[part]
        across = float(np.ptp(delays)) * PART / (PART - 1)
        if LEAST_DM * across >= LEAST_SHIFT:
            parts.append((part, replace(bands, delays=delays, across=across)))
    some, many = np.empty(n, dtype=np.uint8), np.empty(n, dtype=np.uint8)
    # The first of one block and one width: no more are looked at.
    runs = np.empty((500, 2), dtype=np.int64)
    # Neither is changed before something is found.
    sums = rest = plain
    spare = [np.empty_like(plain), np.empty_like(plain)]
    width = 1
    while number is not None:
        while width < 1 << number:
            np.add(sums[:, : n - width], sums[:, width:], out=spare[0][:, : n - width])
            spare[0][:, n - width :] = 0.0
            sums, spare = spare[0], [spare[1], spare[0]]
            width *= 2
        middle, spread, very_high, beyond = (
            of[number - look.first] for of in (look.middle, look.spread, look.very_high, look.beyond)
        )
        changed = False
        # Sums are high from `width` samples before an impulse on.
        longest = bands.longest + width - 1
        for part, part_bands in parts:
            of = 0 if part_bands.count == nbands else 1
            if not beyond[of]:
                continue
            # A stretch goes on where a quarter of the bands are high.
            count_above(sums[part], np.asarray((middle + 1.5 * spread)[part], dtype=np.float32), some)
            count_above(sums[part], very_high[of, part], many)
            nruns = stretches(some, many, -(-part_bands.count // 4), part_bands.count // 2 + 1, longest, runs)
            if nruns and rest is plain:
                rest = plain.copy()
            for first, last in runs[:nruns]:
                end = min(int(last) + width - 1, n)
                if _undispersed(rest[part], int(first), end, width, spread[part], part_bands):
                    if sums is plain:
                        sums = plain.copy()
                    changed = True
                    marks[max(int(first) - 1, 0) : end + 1] = True
                    # What is marked does not count in longer sums, and is not beside what else is judged.
                    sums[:, max(int(first) - width, 0) : end + 1] = 0.0
                    rest[:, max(int(first) - 1, 0) : end + 1] = 0.0
            if marks.mean() > MOST_CLIPPED:
                # More than may be lost, such as the crests of a hum: none of it is kept, whatever else is there.
                return marks
        if changed:
            look = _looks(sums, 2 * width, bands, (sigma,))[0]
        number = look.following(number + 1)
    return marks


def _lines(plain: Float32s, bands: Bands) -> Bools:
    """The modes of a padded transform that are in lines of the sum of the bands, and close to these.

    `plain`: shape (nbands, n).
    """
    n = plain.shape[1]
    size = int(next_fast_len(n, real=True))
    # Modes in a hertz.
    per_hz = size * LONGEST / bands.longest
    deviation = plain.std(axis=1, keepdims=True)
    total = np.sum(plain / np.where(deviation > 0, deviation, np.inf), axis=0)
    power = np.abs(rfft(total * np.hanning(n), size)) ** 2
    blocks = np.array_split(power, max(len(power) // 128, 1))
    level = np.concatenate([np.full(len(block), np.median(block)) for block in blocks])
    # Crests of what is slower than 2.5 Hz are longer than impulses.
    slowest = farthest = max(round(2.5 * per_hz), 1)
    notch = np.zeros(len(power), dtype=np.bool_)
    # Noise, and impulses at no even distance, reach 15.
    strong = np.flatnonzero(power > 30.0 * level)
    # A line of power P in units of noise leaks P / (pi d)^2 into the d-th mode beside it: as far as that is more than
    # noise, and as a window's main lobe is wide. What wanders is in several modes.
    reach = np.minimum(np.ceil(np.sqrt(power[strong] / level[strong]) / np.pi).astype(np.int64) + 1, farthest)
    for line, near in zip(strong, reach, strict=True):
        if line > slowest:
            notch[line - near : line + near + 1] = True
    return notch


def _hum(lines: Bools, plain: Float32s) -> Float32s:
    """What these modes have of the bands: it would be taken for impulses, and hides them."""
    n = plain.shape[1]
    size = int(next_fast_len(n, real=True))
    spectra = rfft(plain, size, axis=1)
    spectra[:, ~lines] = 0.0
    return np.asarray(irfft(spectra, size, axis=1)[:, :n], dtype=np.float32)


def _undispersed(plain: Float32s, first: int, last: int, width: int, spread: Floats, bands: Bands) -> bool:
    """True if a pulse is surely stronger at DM 0 than at any DM that the sky has.

    S/N of the best box in the sum of the bands, each delayed as a DM says: the squares of two S/N differ by the square
    of the significance with which one DM is preferred to the other. A box tells little of a pulse with steep sides that
    it does not fit; of a strong one the energy of the sum tells, whatever its shape.
    """
    n = plain.shape[1]
    # As far as a pulse that is in most bands at once, of the longest width, can be smeared.
    farthest = max(2.0 * (bands.longest + width) / bands.across, LEAST_DM)
    margin = last - first + int(farthest * bands.across)
    lo, hi = first - margin, last + margin
    good = np.isfinite(spread)
    if good.sum() < LEAST_BANDS:
        return False
    noise = spread[good, None] * np.sqrt(good.sum() / width)
    least = LEAST_DM * bands.across
    if first < least or last + least > n:
        # The ends of the data may cut off different parts in different bands.
        return False
    beyond = (max(-lo, 0), max(hi - n, 0))
    near = np.pad(plain[good, max(lo, 0) : hi], ((0, 0), beyond))
    sums = np.cumsum(near / noise, axis=1, dtype=np.float64)
    delays = bands.delays[good] - bands.delays[good].min()
    size = sums.shape[1]

    # What the data's ends cut off is not seen: samples that are there, as a part of all bands.
    seen = None
    if any(beyond):
        inside = np.pad(np.ones(near.shape[1] - sum(beyond)), beyond) / len(sums)
        seen = np.broadcast_to(np.cumsum(inside), sums.shape)

    def delayed(rows: Floats, shifts: Ints) -> Floats:
        """Running sums of all bands, each earlier by its shift."""
        total = np.zeros(size)
        for row, shift in zip(rows, shifts, strict=True):
            if shift < size:
                total[: size - shift] += row[shift:]
                total[size - shift :] += row[-1]
        return total

    # At the width that fits best: in a narrower box noise, which every DM has another of, counts for too much.
    none = np.zeros(len(delays), dtype=np.int64)
    at_zero = delayed(sums, none)
    there = None if seen is None else delayed(seen, none)
    steps = int(2 * np.log2(max(min(2 * bands.longest, size - 1) / width, 1.0))) + 1
    widths = [max(round(width * 2.0 ** (k / 2)), 1) for k in range(steps)]
    box_snrs = [_boxes(at_zero, box, there) for box in widths]
    k = int(np.argmax([snrs.max() for snrs in box_snrs]))
    box, here, begin = widths[k], float(box_snrs[k].max()), int(np.argmax(box_snrs[k])) + 1
    fine = max(box // 16, 1)
    profile = _boxes(at_zero, fine)
    # What is in most bands at once has a width of half its delay over the band, or more: coarse steps see it.
    trials = LEAST_DM * DM_RATIO ** np.arange(int(np.log(farthest / LEAST_DM) / np.log(DM_RATIO)) + 2)

    def box_tells(dm: float) -> bool:
        shifts = np.rint(dm * delays).astype(np.int64)
        total = delayed(sums, shifts)
        there = None if seen is None else delayed(seen, shifts)
        dispersed = max(float(_boxes(total, wide, there).max()) for wide in widths[max(k - 1, 0) : k + 2])
        return here**2 - max(dispersed, 0.0) ** 2 > DM_SIGMA**2

    def energy_tells(dm: float) -> bool:
        shifts = np.rint(dm * delays).astype(np.int64)
        # Around the pulse, wherever the DM puts it.
        reach = box + int(shifts.max())
        part = slice(max(begin - reach, 0), begin + box + reach)
        lost = float(np.sum(profile[part] ** 2) - np.sum(_boxes(delayed(sums, shifts), fine)[part] ** 2))
        return lost > DM_SIGMA * _energy_error(profile[part], shifts) * float(np.sqrt(fine))

    if here <= 0:
        return False
    # Of a pulse as close to an end as it is long, or closer, the energy does not tell: it may be a part of one.
    by_energy = first >= last - first and n - last >= last - first
    return all(map(box_tells, trials)) or (by_energy and all(map(energy_tells, trials)))


def _boxes(total: Floats, box: int, seen: Floats | None = None) -> Floats:
    """S/N of boxes of so many samples, from running sums of unit noise; of those of which a half or more is seen."""
    sums = total[box:] - total[:-box]
    if seen is None:
        return np.asarray(sums / np.sqrt(box))
    count = seen[box:] - seen[:-box]
    return np.where(count >= 0.5 * box, sums / np.sqrt(np.maximum(count, 1.0)), 0.0)


def _energy_error(profile: Floats, shifts: Ints) -> float:
    """Error of the energy that a sum of bands loses by their shifts, of independent samples of unit noise.

    Noise of a band counts by how its pulse differs from that of all when it is shifted. All of them shifted together
    lose nothing, so that only the distance from the mean shift counts.
    """
    moved = 0.0
    for shift in np.abs(shifts - round(float(shifts.mean()))):
        if shift:
            off = profile[shift:] - profile[:-shift] if shift < profile.size else profile
            moved += max(float(np.sum(off**2)) - 2.0 * off.size, 0.1 * float(np.sum(off**2)))
    return float(np.sqrt(4.0 * moved / len(shifts) + 4.0 * profile.size))


def repeating(series: Float32s) -> Bools:
    """Bands that may stay exactly the same for `REPEATED` samples and one: a quick look at every fourth sample.

    `series`: shape (nbands, n): sums over the channels of each band.

    Returns
    -------
    ndarray of bool, shape (nbands,)
    """
    step = REPEATED // 2
    last = (series.shape[1] - 1) // step * step
    # So long a run holds two samples of these, and what is between.
    bands, places = np.nonzero(series[:, :last:step] == series[:, step : last + 1 : step])
    for k in range(1, step):
        same = series[bands, step * places + k] == series[bands, step * places]
        bands, places = bands[same], places[same]
    may_repeat = np.zeros(len(series), dtype=np.bool_)
    may_repeat[bands] = True
    return may_repeat


def repeated(series: Float32s, full: Floats, longest: float = np.inf) -> Ints:
    """Where all bands stay exactly what they are, and noise as coarse as theirs, or a pulse at their top, would not.

    Parameters
    ----------
    series : ndarray of float32, shape (nbands, n)
        Sums over the channels of each band.
    full : ndarray of float64, shape (nbands,)
        These where all channels have their top code, inf where there is none.
    longest : float
        Samples for which the brightest pulse may hold all bands there.

    Returns
    -------
    ndarray of int64, shape (n, 2)
        First sample and the one after the last.
    """
    same = series[0, 1:] == series[0, :-1]
    for row in series[1:]:
        same &= row[1:] == row[:-1]
    runs = runs_of(same)
    length = runs[:, 1] - runs[:, 0]
    short = length < REPEATED
    # Of few coarse samples, neighbours are often alike.
    alike = length[short].sum() / max(same.size - length[~short].sum(), 1)
    least = np.log(1e-6 / max(same.size, 1)) / np.log(alike) if alike > 0.0 else 0.0
    runs = runs[length >= max(REPEATED, least)]
    # Near the top code channels are saturated, by the brightest signals, too.
    below = series[:, runs[:, 0]].sum(axis=0, dtype=np.float64) < 0.9 * full.sum()
    return np.asarray(runs[below | (runs[:, 1] - runs[:, 0] > longest)] + np.array([0, 1]))


def bridged(series: Float32s, runs: Ints, reach: int) -> Float32s:
    """The bands with samples from beside them, up to `reach` away, in no order, where spectra are repeated.

    Of levels without noise the spread would be too small.
    """
    good = np.ones(series.shape[1], dtype=np.bool_)
    for first, last in runs:
        good[first:last] = False
    if good.all() or not good.any():
        return series
    there = np.flatnonzero(good)
    out = series.copy()
    for first, last in runs.tolist():
        low, high = np.searchsorted(there, (first - reach, last + reach)).tolist()
        near = there[low:high] if high > low else there
        # Steps of the golden ratio visit all, none much more often than others.
        out[:, first:last] = series[
            :, near[(np.arange(last - first) * 0.6180339887498949 % 1.0 * near.size).astype(np.int64)]
        ]
    return out


def beyond(runs: Ints, excluded: Ints) -> Ints:
    """Parts of runs, ascending, beyond others, where they are longer than REPEATED."""
    parts = [part for first, last in runs.tolist() for part in left_out(excluded.tolist(), first, last)]
    return np.array([p for p in parts if p[1] - p[0] > REPEATED], dtype=np.int64).reshape(-1, 2)


def parts_of_blocks(runs: Ints, edges: Ints) -> Ints:
    """Parts of runs in blocks that they do not fill, shape (n, 2): blocks that they fill are without data."""
    parts = []
    for first, last in runs.tolist():
        a = int(edges[min(np.searchsorted(edges, first), len(edges) - 1)])
        b = int(edges[np.searchsorted(edges, last, side="right") - 1])
        parts += [(first, a), (b, last)] if a < b else [(first, last)]
    return np.array([p for p in parts if p[0] < p[1]], dtype=np.int64).reshape(-1, 2)
