"""Periodic interference: lines of the spectrum that are known, read from a file, or learnt from the series at DM 0.

A line is learnt only where dispersion can tell it from a pulsar: its power must be greatest at DM 0, and fall as an
undispersed line does, by half or more, within the first DMs. That is never so for slow signals, whose lines are left
alone, and never for a pulsar with a dispersion measure that can be measured at all. Within 0.6 % of a harmonic of the
mains noise is allowed for: a weak pulsar of that very period and a DM of some 3 may be lost there.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from pulsar.constants import LEAST_DM
from pulsar.data.files import read_text
from pulsar.data.header import dispersion_delays
from pulsar.errors import DataError
from pulsar_kernels.arrays import Array, Complexes, Float32s, Floats

#: Lines are learnt from powers that noise exceeds once in a thousand spectra.
CHANCE: Final = 1e-3
#: A line goes on while its powers are above this.
FOOT: Final = 8.0
#: Bins added on either side of a line.
MARGIN: Final = 1.0
#: Parts of the delay over the band that a line may reach over: hum sits in a part of the band, or mostly there, and
#: falls the slower with the DM. A dispersed one never falls from DM 0 on, in whatever part of the band it is.
PARTS: Final = (1.0, 0.7, 0.5, 0.35)
#: The same at the mains, where hum is to be expected.
PARTS_OF_HUM: Final = (*PARTS, 0.25, 0.18)
#: Lines that a list may hold, harmonics counted: a thousand times those of the longest lists in use.
MOST_LINES: Final = 200_000
#: No more than this part of the spectrum is left out, the strongest lines first.
MOST: Final = 0.02
#: Mains lines are looked for up to this harmonic, and so far about it: the grid wanders by half a per cent, and what
#: does wander is taken as far out as the skirts of the strongest lines reach (1.1 % in a real series of S/N 100).
MAINS_HARMONICS: Final = 10
MAINS_WANDER: Final = 6e-3
SKIRTS: Final = 1.2e-2
#: Half bins above a quarter of the top of a line, within REACH bins of it: a steady one, sinc^2 wide, has 3 at most.
#: From so many on a line wanders, if its power is at least STRONG, or else from so many: noise may add one or two.
BROAD: Final = (4, 6)
STRONG: Final = 60.0
REACH: Final = 20
#: Lines of the mains this close are one [bins].
ONE: Final = 10.0
#: Lines farther from the mains than this part of it, up to this factor in frequency, must be steady: those of a pulsar
#: that comes and goes, or drifts, are all as broad.
APART: Final = 0.03
COMPARED: Final = 2.0
#: So many times the power of all others about it a steady line has that is no harmonic of a slower pulsar.
ALONE: Final = 4.0


@dataclass(frozen=True)
class Birdie:
    """A range of frequencies that is left out."""

    #: freq, width: topocentric middle and full width [Hz].
    freq: float
    width: float
    reason: str  # "given", "learnt", "common" (to several beams), "mains", "noise diode", or the file that has it


def pairs(birdies: Iterable[Birdie]) -> list[tuple[float, float]]:
    """Their frequencies and full widths [Hz], as searches take them."""
    return [(birdie.freq, birdie.width) for birdie in birdies]


def read_zaplist(path: Path | str, voverc: float | None = None) -> list[Birdie]:
    """Lines of a PRESTO ``.zaplist`` (``freq width``) or ``.birds`` (``freq width numharm grow bary``).

    `voverc`: velocity of the telescope away from the source over that of light: barycentric lines (prefix B, or bary =
    1) are brought to the frame of the telescope, f / (1 + v/c).

    Raises
    ------
    DataError
        The file cannot be read, a line of it makes no sense, or it has barycentric lines and `voverc` is not known.
    """
    path = Path(path)
    lines = read_text(path, "a list of birdies").splitlines()
    birdies: list[Birdie] = []
    for number, line in enumerate(lines, 1):
        text = line.split("#")[0].split()
        if not text:
            continue
        bary = text[0][0] in "Bb"
        try:
            values = [float(t) for t in [text[0].lstrip("Bb"), *text[1:]]]
            freq, width = values[0], values[1]
            nharm = int(values[2]) if len(values) > 2 else 1
            grow = bool(values[3]) if len(values) > 3 else False
            bary |= bool(values[4]) if len(values) > 4 else False
        except (ValueError, IndexError, OverflowError):
            raise DataError(
                f"{path}: line {number}: {line.strip()[:80]!r}: expected a frequency and a width in Hz, and in "
                ".birds files the number of harmonics, whether they grow, and whether they are barycentric"
            ) from None
        if not 0 < freq < np.inf or not 0 <= width < np.inf:
            raise DataError(
                f"{path}: line {number}: frequency {freq:g} Hz, width {width:g} Hz: expected positive numbers"
            )
        if len(birdies) + nharm > MOST_LINES:
            raise DataError(
                f"{path}: line {number}: with its {nharm} harmonics there are more than {MOST_LINES} lines: expected "
                "fewer harmonics"
            )
        if bary and voverc is None:
            raise DataError(
                f"{path}: line {number} is barycentric, but telescope or position are unknown: give --ra and --dec"
            )
        shift = 1.0 / (1.0 + (voverc or 0.0)) if bary else 1.0
        birdies += [
            Birdie(k * freq * shift, width * (k if grow else 1), path.name) for k in range(1, max(nharm, 1) + 1)
        ]
    return birdies


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Whitened powers of a series."""

    #: Mean 1 in noise, at half bins: the element j is at j / (2 n tsamp) Hz, n the length of this array, at least that
    #: of the series.
    powers: Float32s
    tsamp: float  # sampling time of the series [s]
    tobs: float  # length of the data [s]

    @property
    def step(self) -> float:
        """From one power to the next [Hz]."""
        return 0.5 / (self.powers.size * self.tsamp)

    @property
    def nyquist(self) -> float:
        """[Hz]"""
        return 0.5 / self.tsamp

    def birdie(self, first: int, end: int, reason: str) -> Birdie:
        """The range of elements from `first` to before `end`, with MARGIN on either side."""
        return Birdie(0.5 * (first + end - 1) * self.step, (end - first) * self.step + 2.0 * MARGIN / self.tobs, reason)


def learn(
    zero: Spectrum, series: Callable[[int], Array], dms: Floats, freqs: Floats, mains: Sequence[float] = ()
) -> list[Birdie]:
    """Undispersed lines in the series at DM 0.

    Whitened powers tell which lines stand. How they change with the DM is told by plain powers: a strong line with its
    skirts is the noise level of its own neighbourhood, so that its whitened power falls by a tenth where that of the
    line has fallen to a third.

    Parameters
    ----------
    zero : Spectrum
        Of the series at DM 0.
    series : callable
        ``series(i)``: the series of trial `i`.
    dms : ndarray
        Trial DMs at hand, ascending from 0 [pc cm^-3].
    mains : sequence of float
        Nominal frequencies [Hz]. Of a line at one of their harmonics noise may have made more at a small DM: hum in a
        fourth of the band falls by nothing there.

    Returns
    -------
    list of Birdie
        Strongest first; no more than MOST of the spectrum.
    """
    if dms.size < 2 or dms[0] != 0.0:
        return []
    n, step = zero.powers.size, zero.step
    threshold = float(np.log(n / CHANCE))
    lines = stretches(zero.powers, threshold)
    if not lines:
        return []
    # Whole bins about each.
    near = [slice(max(lo // 2 - 1, 1), hi // 2 + 2) for lo, hi, _ in lines]

    def tops(row: int) -> Floats:
        powers = plain_powers(series(row), n)
        return np.array([float(powers[part].max()) for part in near])

    at_zero = np.maximum(tops(0), 1e-30)
    some = freqs[:: max(freqs.size // 256, 1)]
    delay = dispersion_delays(some, freqs.max())
    # A few DMs tell: from the nearest on, about evenly in the logarithm.
    rows = np.unique(np.round(np.geomspace(1, dms.size - 1, 12)).astype(np.int64))
    at_dms = {int(r): tops(int(r)) / at_zero for r in rows}
    undispersed = []
    for number, (lo, hi, top) in enumerate(lines):
        power, freq = float(zero.powers[top]), top * step
        there = {row: float(parts[number]) * power for row, parts in at_dms.items()}
        nearest = [max(round(freq / nominal), 1) * nominal for nominal in mains]
        hum = any(
            abs(freq / at - 1.0) < MAINS_WANDER and at <= MAINS_HARMONICS * f
            for f, at in zip(mains, nearest, strict=True)
        )
        phases = 2j * np.pi * freq * np.outer(PARTS_OF_HUM if hum else PARTS, delay)
        if any(_undispersed(power, there, dms, phase, threshold, phases[0] if hum else None) for phase in phases):
            undispersed.append((power, zero.birdie(lo, hi, "learnt")))
    undispersed.sort(key=lambda f: -f[0])
    return within_room([birdie for _, birdie in undispersed], zero.nyquist)


def within_room(birdies: Iterable[Birdie], nyquist: float) -> list[Birdie]:
    """The first birdies, as many as MOST of the spectrum up to `nyquist` [Hz] has room for."""
    out: list[Birdie] = []
    room = MOST * nyquist
    for birdie in birdies:
        room -= birdie.width
        if room < 0:
            break
        out.append(birdie)
    return out


def _undispersed(
    power: float,
    at_dms: dict[int, float],
    dms: Floats,
    span: Complexes,
    threshold: float,
    whole: Complexes | None = None,
) -> bool:
    """True if a line falls from DM 0 on as an undispersed one does.

    Parameters
    ----------
    power : float
        Its power at DM 0.
    at_dms : dict of int to float
        Row of a trial DM -> its power there.
    span : ndarray of complex128, shape (nchans,)
        i times the phase of each channel at DM 1 [rad].
    threshold : float
        Power of noise that is not expected in the spectrum.
    whole : ndarray of complex128, optional
        As `span`, for the whole band, which the noise is in: what that adds at another DM is allowed for.
    """
    compared = False
    for row, there in at_dms.items():
        coherence = float(np.abs(np.mean(np.exp(dms[row] * span))) ** 2)
        # Of an undispersed line the series at another DM keeps this, and has noise of its own besides.
        same = coherence if whole is None else float(np.abs(np.mean(np.exp(dms[row] * whole))) ** 2)
        # In one of a thousand series that is a power of more than 7.
        kept = (np.sqrt(coherence * power) + np.sqrt((1.0 - same) * 7.0)) ** 2
        if there > (max(power, kept) if dms[row] < 0.5 * LEAST_DM or whole is not None else power):
            return False
        if coherence <= 0.5:
            compared = True
            # What noise and the sidelobes of the coherence may add.
            if there > (coherence + 0.25) * power + threshold:
                return False
    return compared


def series_lines(spectrum: Spectrum, mains: Sequence[float]) -> list[Birdie]:
    """Lines of the mains in a single series, where no DM tells.

    What tells is that the mains wander, and a pulsar does not: its lines are as wide as the data are long, or all of
    them are broad alike. A line at a harmonic of the mains that is broader than that is taken, and with it the others
    of its fundamental, folded about the Nyquist frequency where they lie beyond. A steady one is left to be judged as a
    candidate: it may be the harmonic of a pulsar.

    `mains`: nominal frequencies [Hz].

    Returns
    -------
    list of Birdie
        Of reason "mains", ascending; no more than MOST of the spectrum.
    """
    powers, step, nyquist = spectrum.powers, spectrum.step, spectrum.nyquist
    tobs = spectrum.tobs
    half_bins = 0.5 / (tobs * step)
    lines = stretches(powers, float(np.log(powers.size / CHANCE)))
    if not lines:
        return []
    tops = np.array([top for *_, top in lines])
    freq, power = tops * step, powers[tops]
    reach = round(2 * REACH * half_bins)
    above = [int(np.count_nonzero(powers[max(t - reach, 0) : t + reach] > 0.25 * powers[t])) for t in tops]
    breadth = np.array(above) / half_bins
    broad = breadth >= np.where(power >= STRONG, BROAD[0], BROAD[1])
    wandering: set[int] = set()
    for nominal in mains:
        # Where the harmonics would be seen, and how far from them each line is.
        order = np.arange(1.0, MAINS_HARMONICS + 1.0)
        off = np.abs(freq[:, None] - _folded(order * nominal, nyquist)[None, :]) / (order * nominal)
        # Beyond the Nyquist frequency only as harmonics of a fundamental: their places are anywhere.
        near = (off < SKIRTS) & (order * nominal < nyquist * (1.0 + SKIRTS))[None, :]
        steady = ~broad & (off > APART).all(axis=1)
        shaky = broad & (off > APART).all(axis=1)
        for i in np.flatnonzero(broad & near.any(axis=1)):
            alike = (freq > freq[i] / COMPARED) & (freq < freq[i] * COMPARED)
            if np.count_nonzero(shaky & alike) > np.count_nonzero(steady & alike):
                continue
            wandering.add(int(i))
            if power[i] < STRONG:
                continue
            # Its fundamental and harmonics, which wander by as much less or more.
            base = float(order[near[i]][0])
            hardly = breadth[i] <= BROAD[1]
            for k in order / base:
                at = float(_folded(np.array([k * freq[i]]), nyquist)[0])
                # What wanders does so at all of them, though less at lower ones; what hardly does is known to a part of
                # a bin.
                wander = 0.25 * k * min(breadth[i], 2.0 * REACH)
                slack = np.where(broad | (near.any(axis=1) & (k < 1.0)), wander, 0.25 * k if hardly else 0.0)
                family = (slack > 0.0) & (np.abs(freq - at) * tobs <= np.maximum(slack, 1.0))
                wandering.update(np.flatnonzero(family).tolist())
    strongest = [
        spectrum.birdie(*lines[i][:2], "mains") for i in sorted(wandering, key=lambda i: (power[i], i), reverse=True)
    ]
    # What lies between pieces of one wandering line is that line.
    wide = merged([Birdie(b.freq, b.width + ONE / tobs, b.reason) for b in within_room(strongest, nyquist)])
    return [Birdie(b.freq, b.width - ONE / tobs, b.reason) for b in wide]


def steady_lines(spectrum: Spectrum, mains: Sequence[float]) -> list[Birdie]:
    """Strong lines at the mains that may be a pulsar's all the same, to be taken out where single pulses are searched.

    A harmonic of a slower pulsar has others about as strong beside it; one that stands out by ALONE among all lines
    within a factor COMPARED is no such harmonic. A pulsar of the mains' own period would be taken: its single pulses
    come 50 times a second.

    `mains`: nominal frequencies [Hz].

    Returns
    -------
    list of Birdie
        Of reason "mains", ascending.
    """
    powers, step = spectrum.powers, spectrum.step
    lines = stretches(powers, STRONG)
    order = np.arange(1.0, MAINS_HARMONICS + 1.0)
    places = np.concatenate([order * nominal for nominal in mains] or [np.zeros(0)])
    freq = np.array([top * step for *_, top in lines])
    power = np.array([float(powers[top]) for *_, top in lines])
    inside = (np.abs(freq[:, None] / places[None, :] - 1.0) < MAINS_WANDER).any(axis=1)
    out = []
    for i in np.flatnonzero(inside):
        beside = ~inside & (freq > freq[i] / COMPARED) & (freq < freq[i] * COMPARED)
        if not beside.any() or power[i] > ALONE * power[beside].max():
            out.append(spectrum.birdie(*lines[i][:2], "mains"))
    return merged(out)


def _folded(freqs: Floats, nyquist: float) -> Floats:
    """Where frequencies appear that lie beyond the Nyquist frequency."""
    return np.asarray(np.abs(np.mod(freqs + nyquist, 2.0 * nyquist) - nyquist), dtype=np.float64)


def diode_lines(zero: Spectrum, periods: Sequence[float]) -> list[Birdie]:
    """Lines of a noise diode in the series at DM 0: a square wave, on for half of a known period.

    It is there if the odd harmonics up to the seventh are strong and the even ones, which a square wave does not have
    but a pulsar does, are not.

    `zero`: of the series at DM 0. `periods`: [s].

    Returns
    -------
    list of Birdie
        The odd harmonics, up to where none of the next three is above noise.
    """
    powers, tobs = zero.powers, zero.tobs

    def at(freq: float) -> float:
        i = round(freq / zero.step)
        near = powers[max(i - 1, 0) : i + 2]
        return float(near.max()) if near.size else 0.0

    out = []
    for period in periods:
        # Below ten turns nothing is known of the noise level there.
        if period * 10 > tobs or 7 / period > zero.nyquist:
            continue
        odd = sum(at(k / period) for k in (1, 3, 5, 7))
        even = sum(at(k / period) for k in (2, 4, 6))
        # Four powers of noise, each the largest of three, sum up to 40 once in a million.
        if odd < 60.0 or even - 3 * 2.5 > 0.05 * odd:
            continue
        last = 7
        for k in range(9, int(zero.nyquist * period) + 1, 2):
            if k > last + 6:
                break
            last = k if at(k / period) > FOOT else last
        out += [Birdie(k / period, 4.0 / tobs, "noise diode") for k in range(1, last + 1, 2)]
    return out


def stretches(powers: Float32s, threshold: float) -> list[tuple[int, int, int]]:
    """Of each stretch above FOOT that reaches the threshold: first element, the one after its last, the highest."""
    above = np.flatnonzero(powers > min(FOOT, threshold))
    if above.size == 0:
        return []
    # Half bins between two whole ones may fall below.
    starts = np.flatnonzero(np.diff(above, prepend=above[0] - 10) > 2)
    ends = np.append(starts[1:], above.size)
    out = []
    for a, b in zip(starts, ends, strict=True):
        lo, hi = int(above[a]), int(above[b - 1]) + 1
        top = lo + int(np.argmax(powers[lo:hi]))
        if powers[top] > threshold:
            out.append((lo, hi, top))
    return out


def plain_powers(series: Array, n: int) -> Float32s:
    """Powers of a series less its mean, padded to `n` samples, at whole bins."""
    from scipy.fft import rfft

    values = np.asarray(series, dtype=np.float32)
    amplitudes = rfft(values - values.mean(dtype=np.float64).astype(np.float32), n)
    return np.asarray(amplitudes.real**2 + amplitudes.imag**2, dtype=np.float32)


def merged(birdies: Iterable[Birdie]) -> list[Birdie]:
    """Ranges that overlap made one, ascending."""
    out: list[Birdie] = []
    for b in sorted(birdies, key=lambda b: b.freq - 0.5 * b.width):
        if out and b.freq - 0.5 * b.width <= out[-1].freq + 0.5 * out[-1].width:
            last = out[-1]
            reason = ", ".join(dict.fromkeys([*last.reason.split(", "), *b.reason.split(", ")]))
            lo, hi = last.freq - 0.5 * last.width, b.freq + 0.5 * b.width
            if hi <= last.freq + 0.5 * last.width:
                # As it was, to the last bit: lines from a mask file come together with themselves.
                out[-1] = Birdie(last.freq, last.width, reason)
            else:
                out[-1] = Birdie(0.5 * (lo + hi), hi - lo, reason)
        else:
            out.append(b)
    return out


def fraction_lost(birdies: Sequence[Birdie], nyquist: float) -> float:
    """Part of the spectrum up to `nyquist` [Hz] that is left out."""
    lost = 0.0
    for b in merged(birdies):
        lo, hi = max(b.freq - 0.5 * b.width, 0.0), min(b.freq + 0.5 * b.width, nyquist)
        lost += max(hi - lo, 0.0)
    return lost / nyquist
