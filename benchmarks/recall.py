"""Of signals that were put in, how many are found, and with how much of their strength: a scenario for each question.

    python benchmarks/recall.py pulsars --snr 12 --count 90
    python benchmarks/recall.py --help                       # all scenarios
    python benchmarks/recall.py octaves --help               # what it asks, and its options

A scenario draws signals from fixed seeds, searches, and says of each signal what every search made of it: S/N over the
ideal one, or a significance. These are printed and counted, with 68 % intervals (Wilson). Here are scenarios of whole
files through the whole program; those of single series are in recall_series.py. Files of `frex` and `comb` are made by
population_sky.py, which shares no code with the program or its simulator.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import population_sky
import recall_series
import typer
from numpy.typing import NDArray
from population import found_bursts, judge, real_pulses
from shared import FAST, First, Outcome, Sets, commands, count, made_words, rows_near, scratch_folder, searched, without

import pulsar
from pulsar.cleaning.source import CleanedSource
from pulsar.cleaning.store import read_mask
from pulsar.config.load import load_config
from pulsar.constants import KDM, C
from pulsar.data.header import band_delay
from pulsar.data.injected import recall
from pulsar.io.open import open_observation
from pulsar.io.product.reader import Run
from pulsar.pipeline.completeness import Fates
from pulsar.pipeline.plan import dry_run
from pulsar.run import search
from pulsar.synthesis.injection import Injector, channel_sigmas, inject_in_memory
from pulsar.synthesis.model import Burst, Injection, Orbit, Pulsar, Sky
from pulsar.synthesis.signal import burst_signal, observed_spin, pulsar_signal

NAN = float("nan")
Found = Iterator[Outcome]


def receivers(*rows: tuple[int, float, float, float, float]) -> list[dict[str, Any]]:
    """Channels, first one and their distance [MHz], sampling time and length [s], as fields of a sky."""
    return [dict(zip(("nchans", "fch1", "foff", "tsamp", "tobs"), row, strict=True)) for row in rows]


#: A spread of receivers, short enough for two cores.
RECEIVERS = receivers(
    (256, 1499.0, -1.953125, 64e-6, 12.0),
    (512, 1499.5, -0.9765625, 98.304e-6, 20.0),
    (128, 1515.0, -2.5, 128e-6, 40.0),
    (96, 1520.0, -3.0, 250e-6, 120.0),
    (1024, 1449.8, -0.390625, 196.608e-6, 30.0),
)


#: Settings of a search for single pulses alone.
PULSES_ALONE = without("fft", "coherent", "ffa", "completeness")


def pulsars(snr: float = 12.0, count: int = 60, first: First = 0, sets: Sets = None) -> Found:
    """Pulsars as their fundamental, by the folded S/N over the ideal: three in a file, several receivers, DM to 1000.

    Period (1 ms to 3 s), duty (2 to 30 %) and DM (1 to 1000) are drawn so that the sampling or the channels smear none
    beyond 0.3 turns. The S/N is that of a matched filter, as recorded.
    """
    config = load_config(None, ["dedisp.dm_hi=1010", *(sets or [])])
    for sky, run in searched((draw_pulsars(seed, snr, 3) for seed in range(first, first - (-count // 3))), config):
        rows, band = run.rows("candidates"), band_delay(run.observation.freqs)
        for number, each in enumerate(sky.pulsars):
            width = each.period * max(each.duty, 0.05)
            dm_off = np.maximum(np.maximum(3 * rows["dm_err"], 1.5 * width / band), 1.0)
            near = rows_near(rows, run.observation, freq=1.0 / each.period, bins=0.3, dm=each.dm, dm_off=dm_off)
            yield folded(f"seed {sky.seed} number {number} {made_words(each)}", near, snr)


def folded(signal: str, near: NDArray[Any], snr: float, *groups: str) -> Outcome:
    """A pulsar by the S/N of its first row over the ideal one."""
    if not near.size:
        return Outcome(signal, {"folded S/N over ideal": NAN}, "", groups)
    row = near[0]
    remark = f"rank {row['rank']}, sigma {row['sigma']:.1f} by {row['found_by']}, score {row['score']:.2f}"
    return Outcome(signal, {"folded S/N over ideal": float(row["snr"]) / snr}, remark, groups)


def draw_pulsars(seed: int, snr: float, count: int) -> Sky:
    """A sky of so many pulsars, none at a simple ratio to another."""
    rng = np.random.default_rng(1000 + seed)
    receiver = RECEIVERS[seed % len(RECEIVERS)]
    nchans, fch1, foff, tsamp, tobs = receiver.values()
    flow = fch1 + foff * (nchans - 1)
    drawn: list[Pulsar] = []
    while len(drawn) < count:
        period = 10 ** rng.uniform(-3, np.log10(3))
        duty = 10 ** rng.uniform(np.log10(0.02), np.log10(0.3))
        dm = 10 ** rng.uniform(0, 3)
        smear = np.hypot(2 * KDM * dm * abs(foff) / flow**3, tsamp)
        if smear > 0.3 * period or period > tobs / 12 or period < 4 * tsamp:
            continue
        if any(abs(p.period / period * k - round(p.period / period * k)) < 1e-3 for p in drawn for k in (1, 2, 3)):
            continue
        name = f"p{seed}_{len(drawn)}"
        drawn.append(Pulsar(period=period, dm=dm, duty=duty, snr=snr, phase0=float(rng.uniform()), name=name))
    return Sky(**receiver, seed=seed, bandpass="rolloff", pulsars=drawn)


#: The band, and the length, of the files that hold binaries.
BINARIES = {"nchans": 128, "fch1": 1498.0, "foff": -4.0, "tsamp": 64e-6, "nsamps": 1 << 19}


def draw_binaries(seed: int, snr: float) -> Sky:
    """A sky with a pulsar that drifts at its fundamental, one at its eighth harmonic, and one in an orbit."""
    rng = np.random.default_rng(5000 + seed)
    tobs = BINARIES["tsamp"] * BINARIES["nsamps"]
    drawn = []
    for kind in ("fundamental", "eighth", "orbit"):
        period = 10 ** rng.uniform(np.log10(2e-3), np.log10(30e-3))
        duty = rng.uniform(0.2, 0.35) if kind == "fundamental" else 10 ** rng.uniform(np.log10(0.05), np.log10(0.3))
        z = rng.uniform(40, 190) * rng.choice([-1, 1]) / (1 if kind == "fundamental" else 8)
        accel = -z * C / (1.0 / period * tobs**2)
        dm = rng.uniform(4, 14)
        more: dict[str, Any] = {"accel": accel}
        if kind == "orbit":
            pb = tobs * rng.uniform(10, 20)
            size = abs(accel) / C * (pb / (2 * np.pi)) ** 2
            more = {"orbit": Orbit(pb=pb, x=size, phase=float(rng.uniform()))}
        phase = float(rng.uniform())
        drawn.append(Pulsar(period=period, dm=dm, duty=duty, snr=snr, phase0=phase, name=kind, **more))
    return Sky(**BINARIES, seed=seed, pulsars=drawn)


def drifting(run: Run, made: Pulsar) -> tuple[NDArray[Any], float]:
    """Candidates within 3 bins of a pulsar's drift and half of that of its frequency; and its drift in bins."""
    header, rows = run.observation, run.rows("candidates")
    freq, fdot = observed_spin(header, made)
    rows = rows[np.abs(rows["fdot"] - fdot) * header.tobs**2 < 3.0]
    return rows_near(rows, header, freq=freq, bins=1.5, dm=made.dm, dm_off=5.0), fdot * header.tobs**2


def binaries(snr: float = 15.0, count: int = 45, zmax: float = 200.0, first: First = 0, sets: Sets = None) -> Found:
    """Accelerated pulsars of 2 to 30 ms with frequency and derivative, by the folded S/N over the ideal.

    Three in a file: with |z| up to 190 at the fundamental (and so broad that only first harmonics lie within zmax), at
    the eighth harmonic, and in circular orbits of ten to twenty times the observation. --zmax 0: without acceleration.
    """
    settings = [*without("ffa", "single_pulse"), "dedisp.dm_hi=20", f"accel.zmax={zmax}"]
    config = load_config(None, [*settings, *(sets or [])])
    for sky, run in searched((draw_binaries(seed, snr) for seed in range(first, first - (-count // 3))), config):
        for made in sky.pulsars:
            near, z = drifting(run, made)
            yield folded(f"seed {sky.seed} {made.name} {made_words(made)} z {z:.1f}", near, snr, made.name)


class Pulses:
    """Single pulses of one run after the other, each of which is one burst at most; how many are none, and DMs off."""

    def __init__(self) -> None:
        self.extra, self.pulls = 0, list[float]()

    def of(self, run: Run) -> NDArray[Any]:
        """Pulses of the next run, from which bursts are taken."""
        self.table = run.rows("single_pulses")
        self.free = np.ones(len(self.table), dtype=bool)
        self.extra += len(self.table)
        return self.table

    def take(self, made: Burst, near: NDArray[Any]) -> tuple[float, str]:
        """S/N over injected of the first of some that is free, and words on it; NaN: none."""
        for at in np.flatnonzero(self.free & near)[:1]:
            row, self.free[at] = self.table[at], False
            self.extra -= 1
            self.pulls.append(float((row["dm"] - made.dm) / row["dm_err"]))
            where = f"{row['freq_lo']:.0f}-{row['freq_hi']:.0f} MHz, " if row["freq_lo"] > 0 else ""
            remark = f"{where}DM {row['dm']:.2f} ± {row['dm_err']:.2f}, width {1e3 * row['width']:.3f} ms"
            return float(row["snr"]) / made.snr, f"{remark}, score {row['score']:.2f} {row['rfi_flags']}".strip()
        return NAN, ""

    def __str__(self) -> str:
        return f"{self.extra} pulses more; DM pulls: mean {np.mean(self.pulls):.2f}, rms {np.std(self.pulls):.2f}"


BURST_RECEIVERS = receivers(
    (512, 1499.5, -0.9765625, 196.608e-6, 30.0),
    (336, 1464.5, -1.0, 1.26646875e-3, 60.0),
    (256, 1515.0, -1.171875, 256e-6, 30.0),
)


def draw_bursts(seed: int, snr: tuple[float, float], count: int) -> Sky:
    """A sky with bursts at even distances, none smeared by channels or sampling to three times its width."""
    rng = np.random.default_rng(2000 + seed)
    receiver = BURST_RECEIVERS[seed % len(BURST_RECEIVERS)]
    nchans, fch1, foff, tsamp, tobs = receiver.values()
    middle = fch1 + 0.5 * foff * nchans
    drawn: list[Burst] = []
    while len(drawn) < count:
        width = 10 ** rng.uniform(-4, -1)
        dm = 10 ** rng.uniform(0, np.log10(2000))
        if np.hypot(2 * KDM * dm * abs(foff) / middle**3, tsamp) > 3 * width:
            continue
        at = (len(drawn) + rng.uniform(0.3, 0.7)) * (tobs - 5.0) / count
        drawn.append(Burst(time=at, dm=dm, snr=10 ** rng.uniform(*np.log10(snr)), width=width))
    return Sky(**receiver, seed=seed, bursts=drawn)


def bursts(files: int = 6, snr: tuple[float, float] = (8.0, 50.0), first: First = 0, sets: Sets = None) -> Found:
    """Bursts, once each and at their time and DM, by S/N over that injected: eight in a file, three receivers.

    Widths of 0.1 to 100 ms, DMs of 1 to 2000. Pulses beside them are told, and how far DMs are off in their errors.
    """
    config = load_config(None, ["dedisp.dm_hi=2100", *PULSES_ALONE, *(sets or [])])
    pulses = Pulses()
    for sky, run in searched((draw_bursts(seed, snr, 8) for seed in range(first, first + files)), config):
        table, delay = pulses.of(run), band_delay(run.observation.freqs)
        for made in sky.bursts:
            width = np.hypot(made.width, sky.tsamp)
            allowed = np.maximum(4 * table["dm_err"], 1.5 * width / (delay * 8))
            # Off in DM is off in time.
            when = made.time + (made.dm - table["dm"]) * 0.5 * delay
            near = np.abs(table["dm"] - made.dm) <= allowed
            near &= np.abs(table["time"] - when) < 1.5 * width + allowed * delay
            ratio, remark = pulses.take(made, near)
            signal = f"seed {sky.seed} t {made.time:.3f} s DM {made.dm:.2f} width {1e3 * made.width:.3f} ms"
            groups = ("S/N 8.5 and more",) if made.snr >= 8.5 else ()
            yield Outcome(f"{signal} S/N {made.snr:.1f}", {"S/N over injected": ratio}, remark, groups)
    print(pulses)


#: Widths of the spectra of bursts over that of the band, at half maximum.
FILLINGS = (0.1, 0.25, 0.5, 1.0)
BAND = {"nchans": 256, "fch1": 1499.0, "foff": -1.953125, "tsamp": 512e-6, "nsamps": 1 << 15}


def draw_spectra(seed: int, filling: float, snr: tuple[float, float]) -> Sky:
    """A sky with six bursts of Gaussian spectra whose middles are anywhere in the band."""
    rng = np.random.default_rng([3000 + seed, round(100 * filling)])
    nchans, fch1, foff, tsamp, nsamps = BAND.values()
    drawn = []
    for k in range(6):
        dm, width = rng.uniform(50, 500), 10 ** rng.uniform(-2.7, -2)
        middle = fch1 + foff * nchans * rng.uniform()
        at = (k + rng.uniform(0.3, 0.7)) * (nsamps * tsamp - 2.0) / 6
        spectrum = middle, filling * abs(foff) * nchans
        drawn.append(Burst(time=at, dm=dm, snr=10 ** rng.uniform(*np.log10(snr)), width=width, spectrum=spectrum))
    return Sky(**BAND, seed=seed, bursts=drawn)


def bands(
    files: Annotated[int, typer.Option(help="of every width")] = 6,
    snr: tuple[float, float] = (8.0, 20.0),
    first: First = 0,
    sets: Sets = None,
) -> Found:
    """Bursts of Gaussian spectra searched in the whole band, and in parts of it too, by S/N over the ideal one.

    Widths at half maximum of 0.1 to 1 of the band (1000 to 1500 MHz), 2 to 10 ms, DMs of 50 to 500. The S/N is that of
    a filter that knows the spectrum. Rows that are no burst are told, and how far DMs are off in their errors.
    """
    settings = ["dedisp.dm_hi=550", *PULSES_ALONE, *(sets or [])]
    configs = [load_config(None, [*settings, f"single_pulse.bands=[{bands}]"]) for bands in ("1", "1,2,4")]
    forms = {"whole": Pulses(), "bands": Pulses()}
    drawn = [(filling, seed) for filling in FILLINGS for seed in range(first, first + files)]
    skies = (draw_spectra(seed, filling, snr) for filling, seed in drawn)
    for (filling, _), (sky, *runs) in zip(drawn, searched(skies, *configs), strict=True):
        tables = [pulses.of(run) for pulses, run in zip(forms.values(), runs, strict=True)]
        for made in sky.bursts:
            told = {}
            for (name, pulses), table in zip(forms.items(), tables, strict=True):
                low, high = np.nan_to_num(table["freq_lo"], nan=1000.0), np.nan_to_num(table["freq_hi"], nan=1500.0)
                # Off in DM is off in time, by the mean delay of the band that shows it.
                late = KDM * (1.0 / (low * high) - sky.fch1**-2.0)
                when = table["time"] + (table["dm"] - made.dm) * late
                near = np.abs(when - made.time) < 1.5 * made.width
                told[name] = pulses.take(made, near & (np.abs(table["dm"] - made.dm) < 4.0 * table["dm_err"]))
            middle, width = made.spectrum or (NAN, NAN)
            signal = f"seed {sky.seed} t {made.time:.3f} s DM {made.dm:.1f} S/N {made.snr:.1f} at {middle:.0f} MHz"
            values = {name: ratio for name, (ratio, _) in told.items()}
            remark = "; ".join(f"{name}: {remark}" for name, (_, remark) in told.items() if remark)
            yield Outcome(f"{signal}, {width:.0f} wide", values, remark, (f"filling {filling:g}",))
    for name, pulses in forms.items():
        print(f"{name}: {pulses}")


#: Files of FAST-FREX (Guo et al. 2025, doi:10.3847/1538-4365/adf42d): 4096 channels, 60 rows of 1024 samples.
FREX = population_sky.Sky("", 0, FAST["nchans"], FAST["fch1"], FAST["foff"], 98.304e-6, 60 * 1024, ())
#: DMs of its three repeaters, and how many of its 600 bursts each has.
FREX_DMS, FREX_BURSTS = (565.0, 411.0, 517.0), (470, 125, 5)
FREX_WIDTH, FREX_EXTENT = (1e-3, 15e-3), (100.0, 400.0)
#: The observation of PRESTO's tutorial: 96 channels of 1 MHz, 38.2 s, a pulsar of DM 62 beside 28.7 Hz at DM 0.
GBT = population_sky.Sky("clean", 0, 96, 1447.5, -1.0, 72e-6, 531_000, ())
COMB = 0.034775


def draw_frex(seed: int, snr: tuple[float, float]) -> population_sky.Sky:
    """A file with a burst of one of the three sources, all of its sweep within the data."""
    rng = np.random.default_rng([20263, seed])
    kinds = population_sky.ENVIRONMENTS
    empty = replace(FREX, environment=kinds[seed % len(kinds)], seed=seed, mains=float(50 + 10 * (seed % 2)))
    dm = float(rng.choice(FREX_DMS, p=np.array(FREX_BURSTS) / sum(FREX_BURSTS)) + rng.uniform(-3.0, 3.0))
    time = float(rng.uniform(0.3, empty.tobs - 0.3 - dm * empty.delays.max()))
    width, strength = (float(np.exp(rng.uniform(*np.log(limits)))) for limits in (FREX_WIDTH, snr))
    spectrum = float(rng.uniform(empty.freqs.min(), empty.fch1)), float(rng.uniform(*FREX_EXTENT))
    return replace(empty, bursts=(population_sky.Burst(f"seed {seed}", time, dm, width, strength, spectrum),))


def frex(count: int = 60, snr: tuple[float, float] = (8.0, 80.0), first: First = 0, sets: Sets = None) -> Found:
    """Bursts in files like those of FAST-FREX, without a flag, by S/N over that put in; and as many files without one.

    4096 channels, 98.304 µs, 6.04 s, DM 411, 517 and 565; a fifth of the files each is clean, or has drifts, impulses
    and narrow bands, a hum of the mains, or all of these. Bursts have Gaussian spectra, 100 to 400 MHz wide, whose
    middles are anywhere in the band, and widths of 1 to 15 ms. Their S/N is that of a filter that weighs all channels
    alike. False is a pulse without a flag that is not the burst. Searched is DM 0 to 1000, as one beam of FAST.
    """
    config = load_config("fast-19beam", [*PULSES_ALONE, *(sets or [])])
    drawn = [draw_frex(seed, snr) for seed in range(first, first + 2 * count)]
    skies = [sky if n % 2 == 0 else replace(sky, bursts=()) for n, sky in enumerate(drawn)]
    false: dict[bool, list[int]] = {True: [], False: []}
    for sky, run in searched(skies, config, write=population_sky.write):
        rows = run.rows("single_pulses")
        extra = rows[~real_pulses(rows, sky) & (rows["rfi_flags"] == "")]
        false[bool(sky.bursts)].append(len(extra))
        for burst, fate in zip(sky.bursts, found_bursts(rows, sky), strict=True):
            middle, extent = burst.spectrum or (NAN, NAN)
            signal = (
                f"{burst.name} {sky.environment} DM {burst.dm:.1f} width {1e3 * burst.width:.1f} ms S/N {burst.snr:.1f}"
            )
            ratio = fate["found"] / burst.snr
            values = {"with or without a flag": ratio, "without": ratio if fate["rows"] else NAN}
            remark = f"score {fate['score']:.2f} {fate['flags']}, {len(extra)} false"
            groups = f"in {sky.environment}", "S/N 10 and more" if burst.snr >= 10.0 else "S/N below 10"
            yield Outcome(f"{signal}, {extent:.0f} MHz wide at {middle:.0f}", values, remark, groups)
    for having, counts in false.items():
        word = "with" if having else "without"
        print(f"false in {len(counts)} files {word} a burst: {np.mean(counts):.2f} a file, {max(counts)} at most")


def comb(count: int = 20, strength: float = 45.0, first: First = 0, sets: Sets = None) -> Found:
    """A pulsar beside undispersed pulses so many times as strong, and alone, by the S/N of its row over that put in.

    Receiver, length and comb (34.8 ms) are those of the observation of PRESTO's tutorial. The first pulsar has its
    period, DM, and S/N, 4.62 ms, 62.3 and 45; the others 2 ms to 1 s, 20 to 200, and 12 to 45. The comb has a duty of 2
    to 30 %. Rows without a flag that are not the pulsar are told: so many above it.
    """
    config = load_config(None, ["dedisp.dm_hi=220", "output.detections=true", *(sets or [])])
    skies = []
    for seed in range(first, first + count):
        rng = np.random.default_rng([20264, seed])
        period, dm = float(np.exp(rng.uniform(*np.log([2e-3, 1.0])))), float(rng.uniform(20.0, 200.0))
        snr, duty = float(rng.uniform(12.0, 45.0)), float(rng.uniform(0.04, 0.2))
        if seed == 0:
            period, dm, snr = 0.004621, 62.3, 45.0
        truth = population_sky.Truth("pulsar", period, dm, duty, snr, float(rng.uniform()), "gaussian")
        truth = population_sky.recorded_width(truth, GBT)
        lines = replace(truth, name="comb", period=COMB, dm=0.0, duty=float(rng.uniform(0.02, 0.3)), snr=snr * strength)
        skies += [replace(GBT, seed=seed, pulsars=(truth,)), replace(GBT, seed=seed, pulsars=(truth, lines))]
    values: dict[str, float] = {}
    remarks: list[str] = []
    for sky, run in searched(skies, config, write=population_sky.write):
        truth, name = sky.pulsars[0], "beside" if values else "alone"
        (fate,), false, _ = judge(run.rows("candidates"), run.rows("detections"), replace(sky, pulsars=(truth,)))
        values[name] = fate.snr / truth.snr if fate.rows else NAN
        remarks.append(f"{name}: {fate.flags} {len(false)} false, {fate.false_above} above")
        if name == "beside":
            signal = f"seed {sky.seed} P {1e3 * truth.period:.3f} ms DM {truth.dm:.1f} S/N {truth.snr:.1f}"
            yield Outcome(signal, values, "; ".join(remarks))
            values, remarks = {}, []


PAIRS = {"nchans": 64, "fch1": 1496.0, "foff": -4.0, "tsamp": 512e-6, "nsamps": 1 << 16}
PAIR_KINDS = ("random", "near")


def draw_pair(kind: str, snr: float, seed: int) -> tuple[Pulsar, Pulsar]:
    """A weak pulsar and its stronger neighbour."""
    rng = np.random.default_rng([seed, round(snr), PAIR_KINDS.index(kind)])
    tobs = PAIRS["nsamps"] * PAIRS["tsamp"]
    period, dms = float(np.exp(rng.uniform(np.log(0.01), 0.0))), rng.uniform(10.0, 100.0, 2)
    if kind == "random":
        ratio = float(np.exp(rng.uniform(-np.log(5.0), np.log(5.0))))
    else:
        multiple, divisor = rng.integers(1, 5, 2)
        ratio = multiple / divisor * (1.0 + rng.choice([-1.0, 1.0]) * rng.uniform(1.0, 6.0) * period / tobs)
    weak = rng.uniform(12.0, 20.0)
    duties, phases = rng.uniform(0.03, 0.1, 2), rng.uniform(0.0, 1.0, 2)
    return (
        Pulsar(name="weak", period=period, dm=dms[0], snr=weak, duty=duties[0], phase0=phases[0]),
        Pulsar(name="strong", period=period * ratio, dm=dms[1], snr=snr, duty=duties[1], phase0=phases[1]),
    )


def neighbours(
    pairs: int = 40, first: First = 0, snr: Annotated[list[float] | None, typer.Option()] = None, sets: Sets = None
) -> Found:
    """The weaker of two pulsars, alone and beside a stronger one in the same noise, by its score.

    Surveys lose the later of several signals to the order in which they are found (Kepler 5.5 to 15.9 % of the later
    planets of a star: Zink et al. 2019, AJ 157, 226). The weaker has S/N 12 to 20, P 10 ms to 1 s, DM 10 to 100 and is
    3 to 10 % wide; the stronger has S/N 30, 100 or 300 (--snr, may be repeated), any DM there, and a period at random
    (0.2 to 5 times the other), or at a ratio m/d (up to 4) with a frequency 1 to 6 bins of 1/T beside.
    """
    off = ["single_pulse.enabled=false", "run.threads=1", "output.detections=false"]
    config = load_config(None, ["dedisp.dm_hi=120", *off, *(sets or [])])

    def score(run: Run, made: Pulsar) -> float:
        rows = run.rows("candidates")
        dm_off = np.maximum(4.0 * rows["dm_err"], 2.0)
        near = rows_near(rows, run.observation, freq=1.0 / made.period, bins=0.3, dm=made.dm, dm_off=dm_off)
        return float(near["score"][near["score"] > 0.1].max(initial=0.0)) or NAN

    for strength in snr or [30.0, 100.0, 300.0]:
        for kind in PAIR_KINDS:
            seeds = range(first, first + pairs)
            drawn = [draw_pair(kind, strength, seed) for seed in seeds]
            lists = [(seed, pulsars) for seed, pair in zip(seeds, drawn, strict=True) for pulsars in (pair[:1], pair)]
            skies = (Sky(**PAIRS, seed=seed, source="PAIR", pulsars=pulsars) for seed, pulsars in lists)
            scores = (score(run, sky.pulsars[0]) for sky, run in searched(skies, config))
            for seed, (weak, strong) in zip(seeds, drawn, strict=True):
                alone, beside = next(scores), next(scores)
                signal = f"seed {seed} {made_words(weak)} beside S/N {strength:g}, P {1e3 * strong.period:.4f} ms"
                values = {"alone": alone, "beside": beside if np.isfinite(alone) else NAN}
                yield Outcome(signal, values, "", (f"S/N {strength:g}, {kind}",))


PARTS = {"nchans": 64, "fch1": 1496.0, "foff": -8.0}


def parts(
    skies: Annotated[int, typer.Option(help="of every kind")] = 1, nsamps: int = 1 << 18, first: First = 0
) -> Found:
    """A search of halves and quarters beside the whole, by the best S/N that is listed.

    Of a pulsar that is on in the third quarter only; of a binary whose quarter is nearly coherent (180 m/s2 at most, 68
    bins of drift in the whole, 4 in a quarter); and of a constant one. Chance detections: `noise.py series`.
    """
    kinds: dict[str, dict[str, Any]] = {
        "third quarter": {"period": 0.0937, "dm": 30.0, "snr": 24.0},
        "binary": {
            "period": 0.1031, "dm": 30.0, "snr": 40.0, "duty": 0.1, "orbit": {"pb": 5760.0, "x": 0.5, "phase": 0.1},
        },
        "constant": {"period": 0.0937, "dm": 30.0, "snr": 20.0},
    }  # fmt: skip
    settings = ["dedisp.dm_hi=60", "single_pulse.enabled=false", "completeness.enabled=false", "run.threads=1"]
    with scratch_folder() as folder:
        for kind, made in kinds.items():
            tsamp = 9.216e-3 * 2**18 / nsamps if kind == "binary" else 256e-6
            for seed in range(first, first + skies):
                sky = Sky(**PARTS, tsamp=tsamp, nsamps=nsamps, seed=seed, pulsars=(made,))
                data = samples(sky)
                if kind == "third quarter":
                    off, others = samples(sky.model_copy(update={"pulsars": ()})), np.arange(nsamps) * 4 // nsamps != 2
                    data[:, others] = off[:, others]
                obs = pulsar.Filterbank.from_array(data, sky.header.freqs, tsamp, tstart=60000.0, source="SIMULATED")
                values, remarks = {}, []
                for form, counts in (("whole", "[1]"), ("parts", "[1,2,4]")):
                    config = load_config(None, [*settings, f"search.parts={counts}"])
                    run = search(obs, config, folder / "run.h5", overwrite=True)
                    table = run.rows("candidates")
                    own = table[(table["parent"] == "") & (np.abs(table["period"] / made["period"] - 1.0) < 0.01)]
                    own = own[own["snr"] > 0]
                    values[form] = float(own["snr"].max(initial=0.0)) or NAN
                    listed = ", ".join(f"S/N {row['snr']:.1f} in {row['part'] or 'all'}" for row in own)
                    spent = sum(cpu for _, cpu in run.provenance["stages"].values())
                    remarks.append(f"{form}: {len(own)} rows ({listed}), {spent:.1f} CPU s")
                yield Outcome(f"{kind}, seed {seed}", values, "; ".join(remarks), (kind,))


def samples(sky: Sky) -> NDArray[Any]:
    """The 8-bit samples of a sky."""
    return np.array(pulsar.simulate(sky=sky, threads=1).read().data)


def completeness(file: Path, places: int = 24, sets: Sets = None) -> Found:
    """Signals injected into cleaned samples, and the same ones into the raw samples of a file, by S/N kept.

    The first is what `pulsar search --completeness` does. For the second the same signals, with the same amplitude in
    units of each channel's noise, are added to the samples of the file, place by place, and everything from the mask on
    is done anew: a search for every place. Both lists are asked alike (`pulsar.pipeline.completeness`).
    """
    given = sets or []
    config = load_config(None, ["completeness.enabled=true", f"completeness.places={places}", *given])
    plain = load_config(None, ["completeness.enabled=false", *given])
    with scratch_folder() as folder, open_observation(file) as obs:
        run = search(obs, config, folder / "run.h5")
        cleaned = run.rows("completeness/injected")
        source = CleanedSource(obs, read_mask(run.path, statistics=False).mask)
        live, varies = Injector(source).share, channel_sigmas(obs) > 0
        trials = dry_run(obs, plain, freqs=source.freqs).dm
        assert trials is not None  # of a dedispersed series
        fates = Fates(obs.header, trials.dms, source.freqs)

        def as_raw(made: Any, signal: Any) -> Any:
            """With the S/N over all channels that vary, masked or not, at the same amplitude."""
            whole = signal(obs.header, made, chan_ok=varies).per_amplitude
            snr = made.snr * whole / signal(obs.header, made, chan_ok=live).per_amplitude
            return made.model_copy(update={"snr": snr})

        raw = []
        for place in np.unique(cleaned["place"]):
            drawn, flashes = signals_of(cleaned[cleaned["place"] == place])
            strong = [as_raw(made, pulsar_signal) for made in drawn], [as_raw(made, burst_signal) for made in flashes]
            added = inject_in_memory(obs, Injection(pulsars=strong[0], bursts=strong[1], seed=int(place)))
            there = search(added, plain, folder / f"{place}.h5")
            rows = listed(there)
            raw += [fates.pulsar(made, int(place), rows, there.rows("detections"), {}) for made in drawn]
            raw += [fates.burst(made, int(place), there.rows("single_pulses"))[0] for made in flashes]
    again = np.concatenate(raw)
    for kind in ("pulsar", "burst"):
        first, second = cleaned[cleaned["kind"] == kind], again[again["kind"] == kind]
        edges = recall(first)["low"]
        for a, b in zip(first, second, strict=True):
            at = int(np.searchsorted(edges, a["snr"], side="right")) - 1
            signal = f"{kind} S/N {a['snr']:.1f} P {a['period']:.5g} t {a['time']:.4g} DM {a['dm']:.1f}"
            kept = [float(row["listed_snr"] / row["snr"]) if row["found"] == 1 else NAN for row in (a, b)]
            groups = f"{kind}s", f"{kind}s of S/N {edges[at]:g} and more"
            yield Outcome(signal, {"cleaned": kept[0], "raw": kept[1]}, f"cleaned {a['fate']}, raw {b['fate']}", groups)


def signals_of(rows: NDArray[Any]) -> tuple[list[Pulsar], list[Burst]]:
    """Pulsars and bursts of rows of injected signals."""
    drawn = [
        Pulsar(period=r["period"], dm=r["dm"], snr=r["snr"], duty=r["duty"], accel=r["accel"], phase0=0.37 * k)
        for k, r in enumerate(rows)
        if r["kind"] == "pulsar"
    ]
    flashes = [Burst(time=r["time"], dm=r["dm"], snr=r["snr"], width=r["width"]) for r in rows if r["kind"] == "burst"]
    return drawn, flashes


def listed(run: Run) -> list[Any]:
    """Candidates of a product, as fates are told from."""
    names = ("uid", "parent", "relation", "dm", "dm_err", "freq", "snr", "score")
    return [
        SimpleNamespace(
            **{name: row[name] for name in names},
            flags=tuple(filter(None, row["rfi_flags"].split(","))),
            freq_err=row["period_err"] * row["freq"] ** 2,
        )
        for row in run.rows("candidates")
    ]


def command(scenario: Callable[..., Found]) -> Callable[..., None]:
    """A scenario as a command: its arguments are the options."""

    @wraps(scenario)
    def run(**options: Any) -> None:
        count(scenario(**options))

    return run


app = commands(__doc__)
FILES = (pulsars, binaries, bursts, bands, frex, comb, neighbours, parts, completeness)
for scenario in (*FILES, *recall_series.SCENARIOS):
    app.command(scenario.__name__.replace("_", "-"))(command(scenario))

if __name__ == "__main__":
    app()
