"""Periodic interference that the beams of a receiver share.

A line that stands in the series at DM 0 of beams which no source on the sky can reach together is interference, also
where dispersion cannot tell (slow signals): a hum of a few Hz is in all beams alike. What the strengths of a bright
source in the sidelobes would be, or what is dispersed, is no such line.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import comb
from typing import Final

import numpy as np

from pulsar.cleaning.birdies import CHANCE, MARGIN, Birdie, Spectrum, plain_powers, stretches, within_room
from pulsar.constants import KDM
from pulsar.data.header import dispersion_delays
from pulsar.sky.observatory import Receiver
from pulsar_kernels.arrays import Array, Bools, Floats, Ints

#: Fewest beams that are compared, and in which a line is common wherever they are.
BEAMS: Final = 4
#: Only beams with more than this part of the greatest amplitude count: in sidelobes are a few per cent.
SIMILAR: Final = 0.2
#: Powers this rare by themselves are compared; noise has BEAMS of MOST_BEAMS within a bin once in 1/CHANCE spectra.
MOST_BEAMS: Final = 19
#: Half bins that a line in another beam may take to be within a bin.
NEAR: Final = 5
#: DMs at which lines are looked at beside 0: from a quarter turn over the band at the fastest line, by factors of two,
#: but no more of them.
MOST_DMS: Final = 16
#: Lines up to about this frequency [Hz] are compared; dispersion tells of faster ones in each beam by itself.
FASTEST: Final = 500.0


@dataclass(frozen=True)
class Lines:
    """Lines that stand in the series at DM 0 of one beam."""

    #: lo, hi, top (nlines,): first and last frequency of each, and that of its greatest power [Hz].
    lo: Floats
    hi: Floats
    top: Floats
    power: Floats  # (nlines,): power of the line at DM 0 above that of white noise in one bin
    others: Floats  # (nlines, ndms): the same at other DMs
    coherence: Floats  # (nlines, ndms): part of its power that an undispersed line keeps there
    bins: Ints  # (nlines,): bins over which these are sums
    alone: Bools  # (nlines,): noise makes such a line once in 1/CHANCE spectra of one beam
    tobs: float  # length of the data [s]
    nyquist: float  # highest frequency looked at [Hz]


def line_dms(freqs: Floats, nyquist: float, dm_hi: float) -> Floats:
    """DMs at which lines are compared, ascending from 0 [pc cm^-3].

    `nyquist`: [Hz]. `dm_hi`: highest DM that is searched.
    """
    across = KDM * float(np.min(freqs) ** -2.0 - np.max(freqs) ** -2.0)
    if not across > 0 or not dm_hi > 0:
        return np.zeros(1)
    first = min(0.25 / (nyquist * across), dm_hi)
    count = min(1 + int(np.ceil(np.log2(dm_hi / first))), MOST_DMS)
    return np.concatenate([[0.0], np.geomspace(first, dm_hi, count) if count > 1 else [dm_hi]])


def threshold(n: int) -> float:
    """Whitened power of half bins that noise exceeds in BEAMS of MOST_BEAMS beams together once in 1/CHANCE spectra.

    n C(MOST_BEAMS, BEAMS) (NEAR exp(-power))^BEAMS = CHANCE, for `n` half bins.
    """
    return float(np.log(NEAR) + np.log(n * comb(MOST_BEAMS, BEAMS) / CHANCE) / BEAMS)


def find_lines(zero: Spectrum, series: Callable[[int], Array], dms: Floats, freqs: Floats) -> Lines:
    """Lines in the series at DM 0 that noise does not make in several beams at once, and what is there at other DMs.

    Whitened powers tell which lines stand, but of strong ones among slow ones they say little: these make the noise
    level of their neighbourhood themselves. Strengths are therefore sums of plain powers over a line, in units of those
    of the faster half of the spectrum, where noise is white.

    Parameters
    ----------
    zero : Spectrum
        Of the series at DM 0.
    series : callable
        ``series(i)``: the series of trial `i`.
    dms : ndarray
        Trial DMs, ascending from 0 [pc cm^-3].
    """
    n, step = zero.powers.size, zero.step
    # Slower ones than five turns no search looks at.
    lines = [s for s in stretches(zero.powers, threshold(n)) if s[2] * step * zero.tobs >= 5.0]
    # Whole bins, with one more on either side.
    ranges = [(max(lo // 2 - 1, 1), hi // 2 + 2) for lo, hi, _ in lines]
    delay = dispersion_delays(freqs)
    sums = np.zeros((len(lines), dms.size))
    coherence = np.ones((len(lines), dms.size - 1))
    level = 1.0
    for k, dm in enumerate(dms) if lines else ():
        powers = plain_powers(series(k), n)
        if k == 0:
            # The noise of all DMs is the same; its estimates are not.
            level = float(np.median(powers[powers.size // 2 :])) / np.log(2.0) or 1.0
        for i, (lo, hi) in enumerate(ranges):
            sums[i, k] = float(np.sum(powers[lo:hi], dtype=np.float64)) / level - (hi - lo)
            if k:
                turns = lines[i][2] * step * dm * delay
                coherence[i, k - 1] = np.abs(np.mean(np.exp(2j * np.pi * turns))) ** 2
    rows = np.array(lines, dtype=np.float64).reshape(-1, 3)
    bins = np.array([hi - lo for lo, hi in ranges], dtype=np.int64)
    alone = np.array([zero.powers[top] for _, _, top in lines], dtype=np.float64) > np.log(n / CHANCE)
    first, last, top = rows[:, 0] * step, (rows[:, 1] - 1) * step, rows[:, 2] * step
    return Lines(first, last, top, sums[:, 0], sums[:, 1:], coherence, bins, alone, zero.tobs, zero.nyquist)


def common_lines(beams: Mapping[int, Lines], receiver: Receiver) -> list[Birdie]:
    """Lines that several beams have in common and no source on the sky can make.

    A line is in common if it stands, within a bin and at similar strength, in BEAMS beams (more than the receiver's
    `max_beams`), or by itself in each of fewer that are no patch of neighbours. Beams with a small part of the greatest
    amplitude are not counted: a bright source may be in their sidelobes. What is dispersed, or has a harmonic that is,
    is left alone.

    `beams`: all beams that were observed.

    Returns
    -------
    list of Birdie
        Strongest first, of reason "common"; no more than MOST of the spectrum.
    """
    if len(beams) < BEAMS:
        return []
    tobs = min(lines.tobs for lines in beams.values())
    every = [(lines.lo[i], lines.hi[i], beam, i) for beam, lines in beams.items() for i in range(lines.power.size)]
    shared = []
    dispersed: list[float] = []
    for group in _overlapping(sorted(every), 1.0 / tobs):
        strongest: dict[int, int] = {}
        for _, _, beam, i in group:
            if beam not in strongest or beams[beam].power[i] > beams[beam].power[strongest[beam]]:
                strongest[beam] = i
        power = {beam: float(beams[beam].power[i]) for beam, i in strongest.items()}
        best = max(power, key=lambda beam: power[beam])
        core = {beam for beam, p in power.items() if p > SIMILAR**2 * power[best]}
        top = float(beams[best].top[strongest[best]])
        if _dispersed([beams[beam] for beam in core], [strongest[beam] for beam in core]):
            dispersed.append(top)
            continue
        known = {beam for beam in core if beam in receiver.offsets and beams[beam].alone[strongest[beam]]}
        spread = len(known) > 1 and not receiver.together(known, set(beams))
        if len(core) >= max(BEAMS, receiver.config.max_beams + 1) or spread:
            lo, hi = min(g[0] for g in group), max(g[1] for g in group)
            shared.append((sum(power[beam] for beam in core), top, lo, hi))
    shared.sort(key=lambda f: -f[0])
    birdies = []
    for _, top, lo, hi in shared:
        if not any(_related(top, slow, tobs) for slow in dispersed):
            lo, hi = lo - MARGIN / tobs, hi + MARGIN / tobs
            birdies.append(Birdie(float(0.5 * (lo + hi)), float(hi - lo), "common"))
    return within_room(birdies, min(lines.nyquist for lines in beams.values()))


def _related(slow: float, fast: float, tobs: float) -> bool:
    """True if a line is a harmonic of a slower one, as far as their frequencies are known well enough to tell."""
    multiple = round(fast / slow)
    slack = (0.25 * multiple + 0.5) / tobs
    # A line with a dispersed harmonic up to the 32nd is one of a pulsar, too, if by chance that would be so with a
    # probability of 0.02 at most, for each such line.
    return 2 <= multiple <= 32 and 2.0 * slack < 0.02 * slow and abs(fast - multiple * slow) <= slack


def _overlapping(
    intervals: list[tuple[float, float, int, int]], reach: float
) -> list[list[tuple[float, float, int, int]]]:
    """Sorted intervals, cut where the next one begins more than `reach` after all before have ended."""
    out: list[list[tuple[float, float, int, int]]] = []
    end = -np.inf
    for interval in intervals:
        if interval[0] > end + reach:
            out.append([])
            end = -np.inf
        out[-1].append(interval)
        end = max(end, interval[1])
    return out


def _dispersed(beams: list[Lines], rows: list[int]) -> bool:
    """True if a line is stronger at another DM, all its beams together.

    Of an undispersed line of power P the part g^2 is left there. The noise of the two amplitudes has the coherence g as
    well, so that their difference, and with it that of the powers, has the variance 2 P (1 - g^2); and up to 2 a bin
    of the noise itself.
    """
    count = min(lines.others.shape[1] for lines in beams)
    power = sum(float(lines.power[i]) for lines, i in zip(beams, rows, strict=True))
    bins = sum(int(lines.bins[i]) for lines, i in zip(beams, rows, strict=True))
    for k in range(count):
        more = sum(float(lines.others[i, k] - lines.power[i]) for lines, i in zip(beams, rows, strict=True))
        away = 1.0 - float(np.mean([lines.coherence[i, k] for lines, i in zip(beams, rows, strict=True)]))
        # By four times what noise adds.
        if more > 4.0 * float(np.sqrt(2.0 * (power * away + bins))):
            return True
    return False
