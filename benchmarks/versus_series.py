"""Series with one pulsar each, in white and in red noise, for versus.py; what searches them, and finds in them.

The population stands for what blind searches look for, and is this:

* every third is a millisecond pulsar: period log-uniform from 1.2 to 30 ms, full width at half maximum log-normal about
  0.1 turns with 0.2 dex, within 0.02 to 0.35;
* the others have log-normal periods about 0.6 s with 0.35 dex, within 0.03 to 10 s, and widths by the law of pulsars,
  0.02 turns (P / 1 s)^-1/2, log-normal about it with 0.2 dex, within 0.004 to 0.35 (Rankin 1990, ApJ 352, 247, has the
  power; the median width of catalogued pulsars at 1 s is some 7 degrees);
* pulses are von Mises functions, averaged over a sample as they are recorded;
* S/N is uniform from 5.5 to 11.5: that of a matched filter of the true period and shape over the whole series in white
  noise, the mean unknown.

That of red noise (`red_noise`) has every one in noise of power 1 + (f / knee)^-2, the knee log-uniform within one of
KNEES: period log-uniform from 2 ms to 10 s, width log-uniform from 0.01 to 0.2 turns, S/N uniform from 7 to 20, which
is that in the white part of the noise alone.

Pulsar `k` of a seed is the same however many are drawn, and so is the noise that a generator makes with and without it.

Of the programs that search them accelsearch is started anew for every series, as PRESTO is used, and its whole
processes count. Ours and riptide live in a Python of their own that is given one series after the other, as their
pipelines do: there only the work counts, from the file to the list, not imports and compilation, but the memory is that
of the whole process.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from programs import ONE_THREAD, PeerError, Spent, last_line, missing_programs, peak_memory, spectrum_lines
from shared import scratch_folder

from pulsar.errors import ConfigError

MILLISECOND_PERIODS = (1.2e-3, 30e-3)
#: Median width of millisecond pulsars [turns].
MILLISECOND_WIDTH = 0.1
#: Median [s], scatter [dex] and range [s] of the other periods.
PERIOD, PERIOD_DEX, PERIODS = 0.6, 0.35, (0.03, 10.0)
#: Width at a period of 1 s [turns], power of the period, and scatter of all widths [dex].
WIDTH, WIDTH_POWER, WIDTH_DEX = 0.02, -0.5, 0.2
LEAST_MILLISECOND_WIDTH, LEAST_WIDTH, MOST_WIDTH = 0.02, 0.004, 0.35
SNR = (5.5, 11.5)
#: Power of red noise falls as frequency to this.
RED_POWER = -2.0
#: Knees of red noise [Hz]: in each of these, log-uniform.
KNEES = ((0.1, 0.5), (0.5, 2.0), (2.0, 6.0), (6.0, 15.0), (15.0, 50.0))
#: Of pulsars in red noise: periods [s], widths [turns] and S/N.
RED_PERIODS, RED_WIDTHS, RED_SNR = (2e-3, 10.0), (0.01, 0.2), (7.0, 20.0)
#: Phase bins of a pulse: a thirtieth of the narrowest.
FINE = 8192
#: Samples that are made at a time.
PIECE = 1 << 20
#: A line is a pulsar's within this many bins of 1/length [bins] of its frequency times one of the RATIOS ...
BINS = 1.0
#: ... m/d in lowest terms: harmonics up to the 16th, and up to the 8th of a half, a third and a quarter of it.
MOST_HARMONICS = {1: 16, 2: 8, 3: 8, 4: 8}
RATIOS = [(m, d) for d, most in MOST_HARMONICS.items() for m in range(1, most + 1) if math.gcd(m, d) == 1]


@dataclass(frozen=True)
class Truth:
    """A pulsar as it was drawn.

    Attributes
    ----------
    number : int
        Its place among those of its seed.
    period : float
        [s]
    duty : float
        Full width at half maximum, before sampling [turns].
    snr : float
        Of a matched filter on the whole series in white noise.
    phase : float
        Of the pulse's middle at the start [turns].
    """

    number: int
    period: float
    duty: float
    snr: float
    phase: float

    @property
    def freq(self) -> float:
        """Spin frequency [Hz]."""
        return 1.0 / self.period

    @property
    def millisecond(self) -> bool:
        """Whether it is one of the millisecond pulsars."""
        return self.number % 3 == 0


@dataclass(frozen=True)
class Case:
    """Series that are searched together: with and without pulsars, in noise of one kind.

    Attributes
    ----------
    part, name : str
        Where what was measured is kept.
    seed : tuple of int
    nsamps : int
    tsamp : float
        [s]
    pulsars : tuple of Truth
    knees : tuple of float
        Of each series [Hz], with and without its pulsar; 0: white.
    """

    part: str
    name: str
    seed: tuple[int, ...]
    nsamps: int
    tsamp: float
    pulsars: tuple[Truth, ...]
    knees: tuple[float, ...]

    def series(self, index: int, *, with_pulsar: bool) -> NDArray[np.float32]:
        """One of them, shape (nsamps,)."""
        rng = np.random.default_rng([*self.seed, index, int(with_pulsar)])
        pulsar = self.pulsars[index] if with_pulsar else None
        return make_series(pulsar, self.nsamps, self.tsamp, rng, self.knees[index])


def white_noise(seed: int, log2n: int, tsamp: float, noise: int, pulsars: int) -> Case:
    """Series of 2^log2n samples [s] in white noise, so many with pulsars."""
    knees = (0.0,) * max(noise, pulsars)
    return Case("series", str(log2n), (seed, log2n), 1 << log2n, tsamp, tuple(draw(seed, pulsars)), knees)


def red_noise(seed: int, log2n: int, tsamp: float, n: int) -> Iterable[Case]:
    """A case for each of KNEES, with so many series of 2^log2n samples.

    Parameters
    ----------
    seed, log2n : int
    tsamp : float
        [s]
    n : int
    """
    for number, (low, high) in enumerate(KNEES):
        pulsars, knees = [], []
        for index in range(n):
            rng = np.random.default_rng([seed, 0x4ED, number, index])
            period, duty, knee = (float(a * (b / a) ** rng.random()) for a, b in (RED_PERIODS, RED_WIDTHS, (low, high)))
            pulsars.append(Truth(index, period, duty, float(rng.uniform(*RED_SNR)), float(rng.random())))
            knees.append(knee)
        name = f"{low:g}–{high:g}"
        yield Case("red", name, (seed, log2n, number), 1 << log2n, tsamp, tuple(pulsars), tuple(knees))


def draw(seed: int, n: int) -> list[Truth]:
    """The first pulsars of a seed.

    Parameters
    ----------
    seed : int
    n : int
        How many.
    """
    rng = np.random.default_rng([seed, 0x5E71E5])
    drawn = []
    for number in range(n):
        # As many numbers for each, so that the next ones are the same.
        period_at, snr_at, phase = rng.random(3)
        period_off, width_off = rng.standard_normal(2)
        if number % 3 == 0:
            low, high = MILLISECOND_PERIODS
            period = low * (high / low) ** period_at
            duty, least = MILLISECOND_WIDTH, LEAST_MILLISECOND_WIDTH
        else:
            period = float(np.clip(PERIOD * 10 ** (PERIOD_DEX * period_off), *PERIODS))
            duty, least = WIDTH * period**WIDTH_POWER, LEAST_WIDTH
        duty = float(np.clip(duty * 10 ** (WIDTH_DEX * width_off), least, MOST_WIDTH))
        snr = SNR[0] + (SNR[1] - SNR[0]) * snr_at
        drawn.append(Truth(number, float(period), duty, float(snr), float(phase)))
    return drawn


def pulse(truth: Truth, tsamp: float) -> NDArray[np.float64]:
    """The pulse averaged over a sample, its peak before that 1, at FINE phases from its middle on.

    Parameters
    ----------
    truth : Truth
    tsamp : float
        [s]
    """
    concentration = math.log(2.0) / (1.0 - math.cos(math.pi * truth.duty))
    shape = np.exp(concentration * (np.cos(2.0 * np.pi * np.arange(FINE) / FINE) - 1.0))
    harmonics = np.fft.rfft(shape)
    return np.asarray(np.fft.irfft(harmonics * np.sinc(np.arange(len(harmonics)) * tsamp / truth.period), FINE))


def red_power(nsamps: int, tsamp: float, knee: float) -> NDArray[np.float64]:
    """Power of the noise of a series at its frequencies, over that of the white; the mean is as it is."""
    power = np.ones(nsamps // 2 + 1)
    power[1:] += (np.fft.rfftfreq(nsamps, tsamp)[1:] / knee) ** RED_POWER if knee else 0.0
    return power


def make_series(
    truth: Truth | None, nsamps: int, tsamp: float, rng: np.random.Generator, knee: float = 0.0
) -> NDArray[np.float32]:
    """Noise of variance 1, and a pulsar in it.

    Parameters
    ----------
    truth : Truth or None
        None: noise alone. Its period is constant.
    nsamps : int
    tsamp : float
        [s]
    rng : numpy.random.Generator
        Makes the noise, the same with and without a pulsar.
    knee : float
        Where red noise is as strong as the white [Hz]; 0: none. The S/N of the pulsar does not know of it.

    Returns
    -------
    ndarray of float32, shape (nsamps,)
    """
    data = rng.standard_normal(nsamps, dtype=np.float32)
    if knee > 0:
        spectrum = np.fft.rfft(data) * np.sqrt(red_power(nsamps, tsamp, knee))
        data = np.fft.irfft(spectrum, nsamps).astype(np.float32)
    if truth is not None:
        add_pulsar(data, truth, tsamp)
    return data


def add_pulsar(data: NDArray[np.float32], truth: Truth, tsamp: float) -> None:
    """Add a pulsar to samples of noise, shape (nsamps,), of a sampling time [s]."""
    nsamps = len(data)
    pieces = [(start, min(start + PIECE, nsamps)) for start in range(0, nsamps, PIECE)]
    fine = pulse(truth, tsamp)

    def wave(start: int, stop: int) -> NDArray[np.float64]:
        turns = (np.arange(start, stop) + 0.5) * (tsamp / truth.period) - truth.phase
        return np.asarray(fine[np.floor(turns % 1.0 * FINE + 0.5).astype(np.int64) % FINE])

    total = squares = 0.0
    for piece in pieces:
        samples = wave(*piece)
        total, squares = total + float(samples.sum()), squares + float(samples @ samples)
    height = truth.snr / math.sqrt(squares - total**2 / nsamps)
    for start, stop in pieces:
        data[start:stop] += (height * wave(start, stop)).astype(np.float32)


def matched(data: NDArray[np.float32], truth: Truth, tsamp: float, knee: float) -> float:
    """S/N of a series to who knows all of the pulsar but its height, and the power of the noise.

    With w the spectrum of the pulses, d that of the data, P the power of a noise of variance 1 above the knee, it is
    Re Σ w* d/P over √(nsamps/2 Σ |w|²/P), which has unit variance: no search of any kind expects more.

    Parameters
    ----------
    data : ndarray of float32, shape (nsamps,)
    truth : Truth
    tsamp : float
        [s]
    knee : float
        [Hz]; 0: white.
    """
    pulses = np.zeros_like(data)
    add_pulsar(pulses, truth, tsamp)
    power = red_power(len(data), tsamp, knee)[1:]
    wave, spectrum = (np.fft.rfft(samples)[1:] for samples in (pulses, data))
    squares = float(np.sum(np.abs(wave) ** 2 / power))
    return float(np.sum((wave.conj() * spectrum).real / power)) / math.sqrt(0.5 * len(data) * squares)


def found(freq: float, truth: Truth, tobs: float) -> tuple[int, int] | None:
    """The ratio m/d at which a frequency is a pulsar's, None where it is not; of several the simplest.

    Parameters
    ----------
    freq : float
        [Hz]
    truth : Truth
    tobs : float
        Length of the series [s].
    """
    fits = [(m, d) for m, d in RATIOS if abs(freq - truth.freq * m / d) * tobs <= BINS]
    return min(fits, key=lambda ratio: ratio[0] * ratio[1], default=None)


#: accelsearch writes what it has from this on [sigma]: below any threshold here; and from this frequency [Hz].
LEAST_SIGMA, LOWEST = 1.0, 0.1
#: Lines of a list that are kept.
MOST_LINES = 100

_OURS = """
import numpy as np
from pulsar.config.model import Config
from pulsar.pipeline.stages import SeriesSearch

CONFIG = Config.model_validate({"single_pulse": {"enabled": False}})
kept = {}

def search(path, tsamp):
    data = np.fromfile(path, np.float32)
    key = len(data), tsamp
    if key not in kept:
        kept[key] = SeriesSearch(*key, CONFIG, memory=1 << 30)
    found = kept[key].search(data, 0.0).detections
    return [(float(d["freq"]), float(d["sigma"]), float(d["sigma_single"])) for d in found]
"""

#: Periods are searched with about as many phase bins as the narrowest pulses there ask for, with fewer where the
#: sampling has no more, boxcars up to 0.35 turns.
_RIPTIDE = """
import numpy as np
from riptide import TimeSeries, ffa_search, find_peaks

RANGES = ((1.2e-3, 10e-3, 20), (10e-3, 0.1, 120), (0.1, 10.0, 240))
FEWEST = 16

def ranges(tsamp):
    for low, high, most in RANGES:
        low = max(low, FEWEST * tsamp)
        while low < high:
            bins = min(most, int(low / tsamp * 1.000001))
            up = high if bins == most else min(high, 2 * low)
            yield max(low, tsamp * bins * 1.000001), up, bins, bins + max(2, bins // 12)
            low = up

def search(path, tsamp):
    series = TimeSeries.from_numpy_array(np.fromfile(path, np.float32), tsamp)
    found = []
    for low, high, least, most in ranges(tsamp):
        _, gram = ffa_search(series, period_min=low, period_max=high, bins_min=least, bins_max=most, ducy_max=0.35)
        found += [(float(peak.freq), float(peak.snr)) for peak in find_peaks(gram, smin=6.0)[0]]
    return found
"""

_LOOP = """
import json, sys, time

for request in sys.stdin:
    cpu, wall = time.process_time(), time.perf_counter()
    lines = search(*json.loads(request))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(json.dumps({"lines": lines, "cpu": cpu, "wall": wall}), flush=True)
"""


def interpreter(env: Path | None) -> Path | None:
    """The Python of a virtual environment.

    Raises
    ------
    ConfigError
        There is none.
    """
    if env is None:
        return None
    python = env.absolute() / "bin" / "python"
    if not os.access(python, os.X_OK):
        raise ConfigError(f"--env {env}: has no bin/python; give the folder of a virtual environment")
    return python


def missing_module(python: Path | None, module: str) -> str:
    """How to provide a module that an interpreter cannot import; "" if it can."""
    howto = f"give --env a virtual environment that has {module}"
    if python is None:
        return howto
    probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    done = subprocess.run([python, "-c", probe], capture_output=True, check=False)
    return f"no {module} in that environment: {howto}" if done.returncode else ""


@dataclass
class Searched(Spent):
    """What a program made of one series.

    Attributes
    ----------
    lines : list of (float, float) or (float, float, float)
        Frequencies [Hz] and significances, or S/N: the strongest first. Of ours the significance of one trial, too.
    """

    lines: list[tuple[float, ...]] = field(default_factory=list)


class Accelsearch:
    """PRESTO: realfft and accelsearch without acceleration.

    Parameters
    ----------
    nharm : int
        Most harmonics summed.
    whiten : bool
        Run rednoise between the two, as for real data.
    """

    def __init__(self, nharm: int, *, whiten: bool = False) -> None:
        self.name = f"PRESTO accelsearch -numharm {nharm}"
        self._nharm, self._whiten = nharm, whiten

    def missing(self) -> str:
        """How to provide it, "" when it is there."""
        return missing_programs(("realfft", "rednoise", "accelsearch"))

    def search(self, path: Path, tsamp: float) -> Searched:
        """Search a ``.dat``, whose ``.inf`` is beside it, of a sampling time [s].

        Raises
        ------
        PeerError
        """
        with scratch_folder() as folder:
            before = [path.name, path.with_suffix(".inf").name]
            for file in before:
                (folder / file).symlink_to(path.with_name(file).absolute())
            found = Searched()
            options = ("-zmax", "0", "-numharm", str(self._nharm), "-sigma", str(LEAST_SIGMA), "-flo", str(LOWEST))
            lines = spectrum_lines(folder, path.stem, found, *options, whiten=self._whiten)
            found.left(file for file in folder.iterdir() if file.name not in before)
            tobs = path.stat().st_size // 4 * tsamp
            found.lines = strongest_first([(line.r / tobs, line.sigma) for line in lines])
        return found

    def close(self) -> None:
        """Nothing is kept."""


class Worker:
    """A Python of its own that searches one series after the other.

    Parameters
    ----------
    name : str
    python : Path or None
        The interpreter; None where there is none.
    text : str
        Defines ``search(path, tsamp)`` which returns frequencies and significances.
    module : str
        What must be importable.
    """

    def __init__(self, name: str, python: Path | None, text: str, module: str) -> None:
        self.name = name
        self._python, self._text, self._module = python, text, module
        self._process: subprocess.Popen[str] | None = None

    def missing(self) -> str:
        """How to provide it, "" when it is there."""
        return missing_module(self._python, self._module)

    def search(self, path: Path, tsamp: float) -> Searched:
        """Search a series; see :meth:`Accelsearch.search`."""
        if self._process is None:
            command = [str(self._python), "-c", self._text + _LOOP]
            #: What it writes to stderr.
            self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115, it is closed with the process
            given = {"text": True, "env": os.environ | ONE_THREAD, "stderr": self._said}
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **given)
        process = self._process
        try:
            print(json.dumps([str(path.absolute()), tsamp]), file=process.stdin, flush=True)
            answer = json.loads(process.stdout.readline())
        except (BrokenPipeError, ValueError):
            self._process = None
            process.communicate()
            with self._said as said:
                said.seek(0)
                raise PeerError(f"{self.name}: {last_line(said.read()) or 'ended'}") from None
        lines = strongest_first([tuple(map(float, line)) for line in answer["lines"]])
        return Searched(answer["cpu"], answer["wall"], peak_memory(process.pid), lines=lines)

    def close(self) -> None:
        """End its process."""
        if self._process is not None:
            self._process.communicate()
            self._said.close()
            self._process = None


Searcher = Accelsearch | Worker


def ours() -> Worker:
    """The searches for periods of `pulsar search`, with their default settings."""
    return Worker("ours", Path(sys.executable), _OURS, "pulsar")


def riptide(env: Path | None) -> Worker:
    """riptide's ffa_search and find_peaks over 1.2 ms to 10 s, of a virtual environment."""
    return Worker("riptide ffa_search", interpreter(env), _RIPTIDE, "riptide")


def strongest_first(lines: Iterable[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """The strongest lines."""
    return sorted(lines, key=lambda line: -line[1])[:MOST_LINES]
