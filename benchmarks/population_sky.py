"""Random skies of several pulsars in several kinds of interference, written as 8-bit SIGPROC filterbank files.

A second maker of skies beside `pulsar.synthesis`, with which it shares no code: pulse shapes, smearing, noise,
interference and the file are made here with numpy alone, so that an error, or a habit, of one does not hide in the
other. Everything follows from the environment and the seed.

The stated S/N of a pulsar is that of a matched filter on the recorded data, in white noise: the series dedispersed at
its DM (every channel divided by its noise, all of one weight) times the pulse shape as recorded, that is after sampling
and the dispersion inside a channel, over all turns. What interference costs is not in it. That of a burst is the same.
"""

import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: What is in the data beside pulsars and white noise.
ENVIRONMENTS = ("clean", "red", "impulses", "mains", "all")
#: Dispersion constant behind catalogue DMs [s MHz^2 cm^3 / pc].
KDM = 1.0 / 2.41e-4
#: Receivers: channels, highest channel centre and channel width [MHz], sampling time [s], length [s].
SETUPS = (
    (128, 1498.5, -2.34375, 256e-6, 67.0),
    (192, 1519.0, -1.5625, 320e-6, 64.0),
    (256, 1460.0, -1.0, 500e-6, 70.0),
    (160, 1530.0, -1.875, 400e-6, 60.0),
)
PER_FILE = 6
SNR = (12.0, 30.0)
PERIOD = (2e-3, 5.0)
DUTY = (0.015, 0.25)
DM = (5.0, 300.0)
#: Sampling and channels smear a pulsar that is drawn by no more than this [turns]: beyond, nothing but its fundamental
#: is left, and what "duty" says is no longer so.
MOST_SMEARED = 0.3
FEWEST_TURNS = 12
#: Bursts, where a sky has any: S/N, width at half maximum [s], and how far they are from one another and the ends [s].
BURST_SNR = (8.5, 25.0)
BURST_WIDTH = (1e-3, 30e-3)
BURST_APART = 2.0
#: Two pulsars of a file are not at f1 : f2 = m : d within this many bins of 1 / length at the common harmonic ...
APART = 2.0
#: ... for m and d up to this, and for m or d alone up to MOST_HARMONIC.
MOST_RATIO = 4
MOST_HARMONIC = 16
#: Full width at half maximum of a Gaussian over its standard deviation.
WIDTH_OF_GAUSSIAN = 2.3548200450309493
#: Phase bins of a pulse shape: a hundredth of the narrowest pulse.
FINE = 8192


@dataclass(frozen=True)
class Truth:
    """One pulsar: what was drawn."""

    name: str
    period: float
    dm: float
    duty: float
    snr: float
    phase: float
    shape: str
    scatter: float = 0.0
    modulation: float = 0.0
    #: Two components: height and width of the second over the first, and the duty over the width of the first.
    second: tuple[float, float, float] = (0.0, 1.0, 0.0)
    #: Width at half maximum as recorded, in turns, at the middle of the band.
    width: float = 0.0

    @property
    def freq(self) -> float:
        """Spin frequency [Hz]."""
        return 1.0 / self.period

    def __str__(self) -> str:
        kinds = f"{self.shape}{' scattered' if self.scatter else ''}{' modulated' if self.modulation else ''}"
        return f"{self.name} P {self.period:.7g} s DM {self.dm:.1f} duty {self.duty:.3f} S/N {self.snr:.1f} {kinds}"


@dataclass(frozen=True)
class Burst:
    """One burst, a Gaussian: when its middle reaches the highest channel [s], and its width at half maximum [s].

    Its spectrum is flat, or a Gaussian: middle and width at half maximum [MHz].
    """

    name: str
    time: float
    dm: float
    width: float
    snr: float
    spectrum: tuple[float, float] | None = None


@dataclass(frozen=True)
class Sky:
    """A whole file: receiver, pulsars, and the numbers of what interferes, for the record."""

    environment: str
    seed: int
    nchans: int
    fch1: float
    foff: float
    tsamp: float
    nsamps: int
    pulsars: tuple[Truth, ...] = ()
    mains: float = 0.0
    interference: dict[str, Any] = field(default_factory=dict)
    bursts: tuple[Burst, ...] = ()

    @property
    def tobs(self) -> float:
        """Length [s]."""
        return self.nsamps * self.tsamp

    @property
    def freqs(self) -> NDArray[np.float64]:
        """Centres of the channels [MHz], highest first."""
        return self.fch1 + self.foff * np.arange(self.nchans)

    @property
    def delays(self) -> NDArray[np.float64]:
        """Delays behind the highest channel for a DM of 1 [s]."""
        return KDM * (self.freqs**-2.0 - self.fch1**-2.0)

    @property
    def smears(self) -> NDArray[np.float64]:
        """Dispersion inside each channel for a DM of 1 [s]."""
        half = abs(self.foff) / 2
        return KDM * ((self.freqs - half) ** -2.0 - (self.freqs + half) ** -2.0)


def sky(environment: str, seed: int, npulsars: int = PER_FILE, nbursts: int = 0, snr: tuple[float, float] = SNR) -> Sky:
    """The sky of an environment and a seed.

    Parameters
    ----------
    environment : str
        One of ENVIRONMENTS.
    seed : int
    npulsars, nbursts : int
        Fewer pulsars are the first of more; bursts change nothing else.
    snr : (float, float)
        Lowest and highest S/N of pulsars.
    """
    rng = np.random.default_rng([20260, ENVIRONMENTS.index(environment), seed])
    nchans, fch1, foff, tsamp, tobs = SETUPS[seed % len(SETUPS)]
    mains = float(rng.choice([50.0, 60.0]) + rng.uniform(-0.05, 0.05)) if environment in ("mains", "all") else 0.0
    empty = Sky(environment, seed, nchans, fch1, foff, tsamp, round(tobs / tsamp), mains=mains)
    pulsars: list[Truth] = []
    while len(pulsars) < npulsars:
        pulsar = draw(rng, empty, f"{environment}{seed}-{len(pulsars)}", snr)
        if pulsar is not None and all(apart(pulsar.freq, earlier.freq, empty.tobs) for earlier in pulsars):
            pulsars.append(pulsar)
    return replace(empty, pulsars=tuple(pulsars), bursts=draw_bursts(empty, nbursts))


def draw_bursts(empty: Sky, count: int) -> tuple[Burst, ...]:
    """Bursts of which neither sampling nor channels smear one to more than twice its width, all within the data."""
    rng = np.random.default_rng([20262, ENVIRONMENTS.index(empty.environment), empty.seed])
    bursts: list[Burst] = []
    while len(bursts) < count:
        dm = float(rng.uniform(*DM))
        width = float(np.exp(rng.uniform(*np.log(BURST_WIDTH))))
        end = empty.tobs - BURST_APART - dm * float(empty.delays.max())
        time, snr = float(rng.uniform(BURST_APART, end)), float(np.exp(rng.uniform(*np.log(BURST_SNR))))
        burst = Burst(f"{empty.environment}{empty.seed}-burst{len(bursts)}", time, dm, width, snr)
        smeared = np.hypot(empty.tsamp, dm * np.median(empty.smears)) > np.sqrt(3.0) * width
        if not smeared and all(abs(burst.time - earlier.time) > BURST_APART for earlier in bursts):
            bursts.append(burst)
    return tuple(bursts)


def draw(rng: np.random.Generator, empty: Sky, name: str, snr: tuple[float, float] = SNR) -> Truth | None:
    """A pulsar, or None where what was drawn is smeared too much, turns too seldom, or sits on a line of the mains."""
    period = float(np.exp(rng.uniform(*np.log(PERIOD))))
    duty = float(np.exp(rng.uniform(*np.log(DUTY))))
    dm = float(rng.uniform(*DM))
    shape = str(rng.choice(["gaussian", "vonmises", "double"], p=[0.4, 0.3, 0.3]))
    strength, phase = float(rng.uniform(*snr)), float(rng.uniform())
    scatter = float(rng.uniform(0.3, 1.0) * duty) if rng.uniform() < 0.25 else 0.0
    modulation = float(rng.uniform(0.3, 1.0)) if rng.uniform() < 0.4 else 0.0
    second = float(rng.uniform(0.3, 0.8)), float(rng.uniform(0.6, 1.2)), float(rng.uniform(1.2, 2.2))
    truth = Truth(name, period, dm, duty, strength, phase, shape, scatter, modulation, second)
    smear = np.hypot(empty.tsamp, dm * np.median(empty.smears)) / period
    if smear > MOST_SMEARED or period * FEWEST_TURNS > empty.tobs:
        return None
    if empty.mains:
        order = max(round(truth.freq / empty.mains), 1)
        # The line wanders by up to 0.02 Hz at the fundamental.
        if abs(truth.freq - order * empty.mains) < 4 / empty.tobs + 0.03 * order:
            return None
    return recorded_width(truth, empty)


def apart(first: float, second: float, tobs: float) -> bool:
    """True if two frequencies are at no simple ratio."""
    ratios = [(m, d) for m in range(1, MOST_RATIO + 1) for d in range(1, MOST_RATIO + 1)]
    ratios += [pair for k in range(MOST_RATIO + 1, MOST_HARMONIC + 1) for pair in ((k, 1), (1, k))]
    return all(abs(m * first - d * second) * tobs > APART for m, d in ratios)


def intrinsic(truth: Truth) -> NDArray[np.float64]:
    """The pulse shape over a turn before anything smears it, peak 1, its middle at phase 0.5."""
    phase = np.arange(FINE) / FINE - 0.5
    sigma = truth.duty / WIDTH_OF_GAUSSIAN
    if truth.shape == "gaussian":
        return np.exp(-0.5 * (phase / sigma) ** 2)
    if truth.shape == "vonmises":
        kappa = np.log(2.0) / (1.0 - np.cos(np.pi * truth.duty))
        return np.exp(kappa * (np.cos(2 * np.pi * phase) - 1.0))
    height, wide, distance = truth.second
    # Both components together are as wide as the duty says, more or less.
    sigma /= distance
    gap = truth.duty * (1.0 - 1.0 / distance)
    first = np.exp(-0.5 * ((phase + gap / 2) / sigma) ** 2)
    return first + height * np.exp(-0.5 * ((phase - gap / 2) / (sigma * wide)) ** 2)


def recorded_profile(truth: Truth, empty: Sky, channel: int) -> NDArray[np.float64]:
    """The pulse shape that a channel records: scattered (f^-4), smeared by its own dispersion, and sampled."""
    k = np.arange(FINE // 2 + 1)
    spectrum = np.fft.rfft(intrinsic(truth))
    spectrum *= np.sinc(k * empty.tsamp / truth.period)
    spectrum *= np.sinc(k * empty.smears[channel] * truth.dm / truth.period)
    if truth.scatter:
        tail = truth.scatter * (empty.freqs[channel] / np.median(empty.freqs)) ** -4.0
        spectrum /= 1.0 + 2j * np.pi * k * tail
    return np.fft.irfft(spectrum, FINE)


def recorded_width(truth: Truth, empty: Sky) -> Truth:
    """The pulsar with its width in the middle of the band."""
    profile = recorded_profile(truth, empty, empty.nchans // 2)
    return replace(truth, width=float(np.mean(profile > profile.max() / 2)))


class Signal:
    """A pulsar in the file: amplitude in units of a channel's noise, by channel."""

    def __init__(self, truth: Truth, empty: Sky) -> None:
        rng = np.random.default_rng([7, empty.seed, round(truth.period * 1e9) % 2**31])
        self.tables = np.stack([recorded_profile(truth, empty, c) for c in range(empty.nchans)])
        self.shifts = np.round(truth.dm * empty.delays / truth.period * 2.0**32).astype(np.int64)
        turns = (np.arange(empty.nsamps) + 0.5) * (empty.tsamp / truth.period) + truth.phase
        # Turns with 32 bits behind the point; enough of them before the start that none is negative.
        ahead = int(self.shifts.max() >> 32) + 2
        self.turns = np.round((turns + ahead) * 2.0**32).astype(np.int64)
        self.modulated = truth.modulation > 0
        if self.modulated:
            self.amps = np.exp(rng.normal(0.0, truth.modulation, int(self.turns[-1] >> 32) + 2))
            self.amps /= self.amps.mean()
        # The dedispersed series has the mean of the channels, with the noise of one over sqrt(nchans).
        mean = self.tables.mean(axis=0)
        energy = empty.nsamps * np.var(mean) * empty.nchans
        self.template = mean - mean.mean()
        self.scale = truth.snr / np.sqrt(energy)

    def add(self, _rng: np.random.Generator, c: int, samples: NDArray[np.float32]) -> None:
        """Add it to a channel."""
        turns = self.turns - self.shifts[c]
        table = (self.scale * self.tables[c]).astype(np.float32)
        found = table[(turns >> 19) & (FINE - 1)]
        if self.modulated:
            found *= self.amps[turns >> 32].astype(np.float32)
        samples += found


class Flash:
    """A burst in the file: amplitude in units of a channel's noise, by channel."""

    #: Points over which a sample, and the dispersion inside a channel, are taken.
    STEPS = (np.arange(16) - 7.5) / 16

    def __init__(self, burst: Burst, empty: Sky) -> None:
        self.burst, self.sky = burst, empty
        middle, extent = burst.spectrum or (0.0, np.inf)
        self.heights = np.exp(-4.0 * np.log(2.0) * ((empty.freqs - middle) / extent) ** 2)
        self.reach = 2.0 * burst.width + 2.0 * max(empty.tsamp, burst.dm * float(empty.smears.max()))
        # The pulse as it is sampled, from which every channel takes what it smears: a hundred points to its sigma.
        sigma = burst.width / WIDTH_OF_GAUSSIAN
        self.times = np.arange(-2.0 * self.reach, 2.0 * self.reach, 0.01 * sigma)
        samples = [np.exp(-0.5 * ((self.times + step * empty.tsamp) / sigma) ** 2) for step in self.STEPS]
        self.sampled = np.mean(samples, axis=0)
        # The dedispersed series has the mean of the channels, of which each is sampled somewhere.
        offsets = np.arange(-self.reach, self.reach, empty.tsamp)
        mean = np.mean([self.shape(offsets, c) for c in range(empty.nchans)], axis=0)
        self.scale = burst.snr / np.sqrt(np.sum(mean**2) * empty.nchans)

    def shape(self, offsets: NDArray[np.float64], c: int) -> NDArray[np.float64]:
        """What a channel records, peak about 1, at times [s] after the burst's middle there."""
        at = np.add.outer(offsets, self.STEPS * self.sky.smears[c] * self.burst.dm)
        return self.heights[c] * np.mean(np.interp(at, self.times, self.sampled), axis=1)

    def add(self, _rng: np.random.Generator, c: int, samples: NDArray[np.float32]) -> None:
        """Add it to a channel."""
        middle = self.burst.time + self.burst.dm * self.sky.delays[c]
        first = max(int((middle - self.reach) / self.sky.tsamp), 0)
        last = min(int((middle + self.reach) / self.sky.tsamp) + 1, self.sky.nsamps)
        offsets = (np.arange(first, last) + 0.5) * self.sky.tsamp - middle
        samples[first:last] += (self.scale * self.shape(offsets, c)).astype(np.float32)


class Hum:
    """The mains: a wave of amplitude 1, and its strength by channel in units of the noise."""

    def __init__(self, rng: np.random.Generator, empty: Sky) -> None:
        # The frequency wanders slowly by up to 0.02 Hz.
        knots = np.cumsum(rng.normal(0.0, 1.0, 12))
        knots = 0.02 * (knots - knots.mean()) / max(np.abs(knots - knots.mean()).max(), 1e-9)
        freq = empty.mains + np.interp(np.arange(empty.nsamps), np.linspace(0, empty.nsamps, 12), knots)
        phase = np.cumsum(freq) * empty.tsamp + rng.uniform()
        kind = str(rng.choice(["square", "harmonics"]))
        if kind == "square":
            # Edges of a twentieth of a turn.
            wave = np.clip(np.sin(2 * np.pi * phase) / np.sin(2 * np.pi * 0.05), -1.0, 1.0)
        else:
            wave = np.zeros(empty.nsamps)
            for order in range(1, 13):
                amp = rng.uniform(0.3, 1.0) / order
                wave += amp * np.cos(2 * np.pi * (order * phase + rng.uniform()))
            wave /= wave.std()
        amp = float(np.exp(rng.uniform(*np.log([0.05, 0.3]))))
        gains = 1.0 + 0.2 * rng.normal(size=empty.nchans)
        part = float(rng.choice([1.0, rng.uniform(0.3, 0.7)]))
        start = int(rng.uniform(0, 1 - part) * empty.nchans)
        where = np.zeros(empty.nchans)
        where[start : start + round(part * empty.nchans)] = 1.0
        self.wave, self.strengths = wave.astype(np.float32), amp * gains * where
        self.drawn = {"kind": kind, "amp": amp, "part": part, "freq": empty.mains}

    def add(self, _rng: np.random.Generator, c: int, samples: NDArray[np.float32]) -> None:
        """Add it to a channel."""
        if self.strengths[c]:
            samples += np.float32(self.strengths[c]) * self.wave


class Red:
    """Drifts of the level: sinusoids of several seconds, a random walk; shared, and a part of each channel's own."""

    def __init__(self, rng: np.random.Generator, empty: Sky) -> None:
        t = np.arange(empty.nsamps) * empty.tsamp
        shared = np.zeros(empty.nsamps)
        waves = []
        for _ in range(int(rng.integers(1, 4))):
            period, amp = float(rng.uniform(3.0, 15.0)), float(np.exp(rng.uniform(*np.log([0.03, 0.3]))))
            shared += amp * np.sin(2 * np.pi * (t / period + rng.uniform()))
            waves.append((period, amp))
        # At the end it is this far from where it began [noise of a channel and sample].
        walk = float(np.exp(rng.uniform(*np.log([0.03, 0.15]))))
        shared += walk / np.sqrt(empty.nsamps) * np.cumsum(rng.normal(size=empty.nsamps))
        self.shared = shared.astype(np.float32)
        self.gains = (1.0 + 0.3 * rng.normal(size=empty.nchans)).astype(np.float32)
        self.own = walk
        self.drawn = {"waves": waves, "walk": walk}

    def add(self, rng: np.random.Generator, c: int, samples: NDArray[np.float32]) -> None:
        """Add them to a channel; its own walk has a step every 64 samples."""
        size = len(self.shared)
        steps = rng.normal(size=size // 64 + 2) * self.own * np.sqrt(64 / size)
        own = np.interp(np.arange(size), 64 * np.arange(len(steps)), np.cumsum(steps))
        samples += self.gains[c] * self.shared + own.astype(np.float32)


class Impulses:
    """Broadband undispersed impulses; narrow bands, some of them there all the time."""

    def __init__(self, rng: np.random.Generator, empty: Sky) -> None:
        count = int(rng.integers(30, 151))
        self.times = np.sort(rng.integers(0, empty.nsamps, count))
        self.widths = np.round(np.exp(rng.uniform(0.0, np.log(20.0), count))).astype(int)
        self.amps = np.exp(rng.uniform(*np.log([0.4, 5.0]), count))
        # The channels in which each is there: a stretch of a third of the band to all of it.
        part = np.where(rng.uniform(size=count) < 0.7, 1.0, rng.uniform(0.33, 1.0, count))
        first = rng.uniform(size=count) * (1 - part)
        self.low, self.high = first * empty.nchans, (first + part) * empty.nchans
        self.bands: list[tuple[int, int, int, int, float]] = []
        for persistent in [True] * int(rng.integers(1, 4)) + [False] * int(rng.integers(2, 6)):
            wide = int(rng.integers(1, 5))
            low = int(rng.integers(0, empty.nchans - wide))
            length = empty.nsamps if persistent else min(int(rng.uniform(0.5, 10.0) / empty.tsamp), empty.nsamps // 2)
            start = 0 if persistent else int(rng.integers(0, empty.nsamps - length))
            self.bands.append((low, low + wide, start, start + length, float(np.exp(rng.uniform(0.0, np.log(5.0))))))
        self.drawn = {"impulses": count, "bands": self.bands}

    def add(self, rng: np.random.Generator, c: int, samples: NDArray[np.float32]) -> None:
        """Add them to a channel. A band has a carrier whose strength varies, and more noise."""
        found = np.zeros_like(samples)
        for time, width, amp, low, high in zip(self.times, self.widths, self.amps, self.low, self.high, strict=True):
            if low <= c < high:
                found[time : time + width] += amp
        for first, last, start, stop, amp in self.bands:
            if first <= c < last:
                slow = np.interp(np.arange(stop - start), np.linspace(0, stop - start, 40), rng.uniform(0, 1, 40))
                noise = rng.standard_normal(stop - start, dtype=np.float32)
                found[start:stop] += amp * (slow.astype(np.float32) + noise * 0.5)
        samples += found


def write(observed: Sky, path: Path, only: str = "") -> Sky:
    """Write the file and return the sky with what was drawn of its interference.

    Parameters
    ----------
    observed : Sky
    path : Path
        The .fil to write; replaced where it exists.
    only : str
        The only interference to put in, as it is drawn in the sky's own environment ("red"); empty: all of it.
    """
    rng = np.random.default_rng([20261, ENVIRONMENTS.index(observed.environment), observed.seed])
    signals = [*(Signal(p, observed) for p in observed.pulsars), *(Flash(b, observed) for b in observed.bursts)]
    kinds = {"red": Red, "impulses": Impulses, "mains": Hum}
    rfi = {name: make(rng, observed) for name, make in kinds.items() if observed.environment in (name, "all")}
    added = [*signals, *(source for name, source in rfi.items() if only in ("", name))]
    # The bandpass: smooth, with ripples and scatter; the noise follows the level as a radiometer's does.
    x = np.linspace(-1, 1, observed.nchans)
    gain = (1.0 - 0.45 * x**8) * (1.0 + 0.08 * np.sin(9 * x + rng.uniform(0, 6)))
    gain *= rng.uniform(0.93, 1.07, observed.nchans)
    data = np.empty((observed.nsamps, observed.nchans), np.uint8)
    block = 16  # channels made at a time: rows of the file are written in stretches
    for start in range(0, observed.nchans, block):
        stop = min(start + block, observed.nchans)
        rows = np.empty((stop - start, observed.nsamps), np.uint8)
        for c in range(start, stop):
            samples = rng.standard_normal(observed.nsamps, dtype=np.float32)
            for source in added:
                source.add(rng, c, samples)
            samples *= np.float32(16.0 * gain[c])
            samples += np.float32(96.0 * gain[c])
            rows[c - start] = np.clip(np.rint(samples), 0, 255).astype(np.uint8)
        data[:, start:stop] = rows.T
    with path.open("wb") as file:
        file.write(header(observed))
        data.tofile(file)
    return replace(observed, interference={name: source.drawn for name, source in rfi.items()})


def header(observed: Sky) -> bytes:
    """The SIGPROC header."""

    def text(value: str) -> bytes:
        return struct.pack("<i", len(value)) + value.encode("ascii")

    parts = [text("HEADER_START"), text("source_name"), text(f"{observed.environment}_{observed.seed}")]
    fields = {"telescope_id": 4, "machine_id": 0, "data_type": 1, "nbits": 8, "nifs": 1, "nchans": observed.nchans}
    fields |= {"tstart": 60000.0 + observed.seed / 1000, "tsamp": observed.tsamp}
    fields |= {"fch1": observed.fch1, "foff": observed.foff, "src_raj": 83000.0, "src_dej": -453000.0}
    parts += [text(key) + struct.pack("<i" if isinstance(value, int) else "<d", value) for key, value in fields.items()]
    return b"".join([*parts, text("HEADER_END")])


def dedispersed(observed: Sky, path: Path, dm: float) -> NDArray[np.float64]:
    """The file's series at a DM: every channel in units of its noise, delays rounded to a sample, noise of 1.

    Parameters
    ----------
    observed : Sky
    path : Path
    dm : float
    """
    data = np.memmap(path, np.uint8, "r", offset=len(header(observed)), shape=(observed.nsamps, observed.nchans))
    series = np.zeros(observed.nsamps)
    for c in range(observed.nchans):
        samples = data[:, c].astype(np.float64)
        noise = 1.4826 * np.median(np.abs(np.diff(samples[: 1 << 16]) / np.sqrt(2.0)))
        shift = round(dm * observed.delays[c] / observed.tsamp)
        series[: observed.nsamps - shift] += (samples[shift:] - samples.mean()) / noise
    return series / np.sqrt(observed.nchans)
