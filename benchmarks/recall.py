"""Of signals that were put in, how many are found, and with how much of their strength: a scenario for each question.

    python benchmarks/recall.py pulsars --snr 12 --count 90
    python benchmarks/recall.py --help                       # all scenarios
    python benchmarks/recall.py octaves --help               # what it asks, and its options

A scenario draws signals from fixed seeds, searches, and says of each signal what every search made of it: S/N over the
ideal one, or a significance. These are printed and counted, with 68 % intervals (Wilson). Here are scenarios of whole
files through the whole program; those of single series are in recall_series.py, of files of a second maker in
recall_skies.py.
"""

import math
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import recall_series
import recall_skies
import typer
from numpy.typing import NDArray
from shared import First, Outcome, Sets, band_delay, commands, rows_near, searched, share

import pulsar
from pulsar.cleaning.source import CleanedSource
from pulsar.cleaning.store import read_mask
from pulsar.config.load import load_config
from pulsar.confirm.run import follow as follow_candidates
from pulsar.constants import KDM, C
from pulsar.data.injected import recall
from pulsar.followup.folding import fold_files
from pulsar.io.open import open_observation
from pulsar.io.product.reader import Run
from pulsar.io.product.writer import Target
from pulsar.pipeline.completeness import Fates
from pulsar.pipeline.ephemerides import Ephemeris
from pulsar.pipeline.plan import dry_run
from pulsar.run import search
from pulsar.synthesis import Burst, Pulsar, Sky, channel_sigmas, write_filterbank
from pulsar.synthesis.injection import Injector, inject_in_memory
from pulsar.synthesis.model import Orbit
from pulsar.synthesis.signal import burst_signal, observed_spin, pulsar_signal

# Skies of two epochs are those of the tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from reference.epochs import two_epochs

NAN = float("nan")
Found = Iterator[Outcome]


def count(outcomes: Iterable[Outcome]) -> None:
    """Print what became of each signal, and how many each search has found."""
    seen = []
    for outcome in outcomes:
        seen.append(outcome)
        cells = [f"{name} {value:.3f}" for name, value in outcome.values.items()]
        line = f"{outcome.signal}: {', '.join(cells).replace('nan', 'MISSED')}"
        print(f"{line}; {outcome.remark}" if outcome.remark else line, flush=True)
    for group in dict.fromkeys(group for outcome in seen for group in outcome.groups):
        members = [outcome for outcome in seen if group in outcome.groups]
        if len(members) < len(seen):
            summary(group, members)
    summary("all", seen)


def summary(group: str, outcomes: list[Outcome]) -> None:
    """Print counts and quantiles of each search, and of two how they compare."""
    values = {name: np.array([outcome.values[name] for outcome in outcomes]) for name in outcomes[0].values}
    for name, each in values.items():
        kept = each[np.isfinite(each)]
        print(f"{group}, {name}: {share(len(kept), len(each))} found{quantiles(kept)}")
    if len(values) != 2:
        return
    (first, a), (second, b) = values.items()
    lost, gained = np.isfinite(a) & np.isnan(b), np.isnan(a) & np.isfinite(b)
    line = f"{group}: of those of {first} {second} lacks {share(int(lost.sum()), int(np.isfinite(a).sum()))}, and has "
    line += f"{gained.sum()} others"
    both = np.isfinite(a) & np.isfinite(b)
    print(f"{line}; {second} over {first}{quantiles(b[both] / a[both])}")


def quantiles(values: NDArray[np.float64]) -> str:
    """Mean and median, and what few lie beyond."""
    if not values.size:
        return ": no values"
    middle, least, low, high = np.quantile(values, [0.5, 0.05, 0.1, 0.9])
    error = np.std(values) / math.sqrt(values.size)
    spread = f"5 %: {least:.3f}, 10 %: {low:.3f}, 90 %: {high:.3f}, least {values.min():.3f}"
    return f": mean {np.mean(values):.4f} ± {error:.4f}, median {middle:.3f} ({spread})"


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


def without(*names: str) -> list[str]:
    """Settings that leave out searches."""
    return [f"{name}.enabled=false" for name in names]


def pulsars(snr: float = 12.0, count: int = 60, first: First = 0, sets: Sets = None) -> Found:
    """Pulsars as their fundamental, by the folded S/N over the ideal: three in a file, several receivers, DM to 1000.

    Period (1 ms to 3 s), duty (2 to 30 %) and DM (1 to 1000) are drawn so that the sampling or the channels smear none
    beyond 0.3 turns. The S/N is that of a matched filter, as recorded.
    """
    config = load_config(None, ["dedisp.dm_hi=1010", *(sets or [])])
    for sky, run in searched((draw_pulsars(seed, snr, 3) for seed in range(first, first - (-count // 3))), config):
        rows, band = run.rows("candidates"), band_delay(run.observation)
        for number, each in enumerate(sky.pulsars):
            width = each.period * max(each.duty, 0.05)
            dm_off = np.maximum(np.maximum(3 * rows["dm_err"], 1.5 * width / band), 1.0)
            near = rows_near(rows, run.observation, freq=1.0 / each.period, bins=0.3, dm=each.dm, dm_off=dm_off)
            yield folded(f"seed {sky.seed} number {number} {words(each)}", near, snr)


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


def words(made: Pulsar) -> str:
    """What there is to say of a pulsar that was made."""
    return f"P {1e3 * made.period:.4f} ms DM {made.dm:.2f} duty {made.duty:.3f} S/N {made.snr:.1f}"


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
            yield folded(f"seed {sky.seed} {made.name} {words(made)} z {z:.1f}", near, snr, made.name)


class Pulses:
    """Single pulses of a run, each of which is one burst at most, and how far DMs were off in their errors."""

    def __init__(self, run: Run, pulls: list[float]) -> None:
        self.table, self.pulls = run.rows("single_pulses"), pulls
        self.free = np.ones(len(self.table), dtype=bool)

    def take(self, made: Burst, near: NDArray[Any]) -> tuple[float, str]:
        """S/N over injected of the first of some that is free, and words on it; NaN: none."""
        for at in np.flatnonzero(self.free & near)[:1]:
            row, self.free[at] = self.table[at], False
            self.pulls.append(float((row["dm"] - made.dm) / row["dm_err"]))
            where = f"{row['freq_lo']:.0f}-{row['freq_hi']:.0f} MHz, " if row["freq_lo"] > 0 else ""
            remark = f"{where}DM {row['dm']:.2f} ± {row['dm_err']:.2f}, width {1e3 * row['width']:.3f} ms"
            return float(row["snr"]) / made.snr, f"{remark}, score {row['score']:.2f} {row['rfi_flags']}".strip()
        return NAN, ""


def tell_others(extra: int, pulls: list[float]) -> None:
    """Print how many pulses were no burst, and how far DMs of bursts were off."""
    print(f"{extra} pulses more; DM pulls: mean {np.mean(pulls):.2f}, rms {np.std(pulls):.2f}")


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
    off = without("fft", "coherent", "ffa", "completeness")
    config = load_config(None, ["dedisp.dm_hi=2100", *off, *(sets or [])])
    pulls: list[float] = []
    extra = 0
    for sky, run in searched((draw_bursts(seed, snr, 8) for seed in range(first, first + files)), config):
        pulses, delay = Pulses(run, pulls), band_delay(run.observation)
        table = pulses.table
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
        extra += np.count_nonzero(pulses.free)
    tell_others(extra, pulls)


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
        drawn.append(
            Burst(
                time=(k + rng.uniform(0.3, 0.7)) * (nsamps * tsamp - 2.0) / 6,
                dm=dm,
                snr=10 ** rng.uniform(*np.log10(snr)),
                width=width,
                spectrum=(middle, filling * abs(foff) * nchans),
            )
        )
    return Sky(**BAND, seed=seed, bursts=drawn)


def bands(
    files: Annotated[int, typer.Option(help="of every width")] = 6,
    snr: tuple[float, float] = (8.0, 20.0),
    counts: Annotated[str, typer.Option(help="bands beside the whole")] = "1,2,4",
    first: First = 0,
    sets: Sets = None,
) -> Found:
    """Bursts of Gaussian spectra searched in the whole band, and in parts of it too, by S/N over the ideal one.

    Widths at half maximum of 0.1 to 1 of the band (1000 to 1500 MHz), 2 to 10 ms, DMs of 50 to 500. The S/N is that of
    a filter that knows the spectrum. Rows that are no burst are told, and how far DMs are off in their errors.
    """
    settings = ["dedisp.dm_hi=550", *without("fft", "coherent", "ffa", "completeness"), *(sets or [])]
    configs = [load_config(None, [*settings, f"single_pulse.bands=[{bands}]"]) for bands in ("1", counts)]
    pulls: dict[str, list[float]] = {"whole": [], "bands": []}
    extra = dict.fromkeys(pulls, 0)
    drawn = [(filling, seed) for filling in FILLINGS for seed in range(first, first + files)]
    skies = (draw_spectra(seed, filling, snr) for filling, seed in drawn)
    for (filling, _), (sky, *runs) in zip(drawn, searched(skies, *configs), strict=True):
        forms = {name: Pulses(run, pulls[name]) for name, run in zip(pulls, runs, strict=True)}
        for made in sky.bursts:
            told = {}
            for name, pulses in forms.items():
                table = pulses.table
                low, high = np.nan_to_num(table["freq_lo"], nan=1000.0), np.nan_to_num(table["freq_hi"], nan=1500.0)
                # Off in DM is off in time, by the mean delay of the band that shows it.
                late = KDM * (1.0 / (low * high) - sky.fch1**-2.0)
                when = table["time"] + (table["dm"] - made.dm) * late
                near = np.abs(when - made.time) < 1.5 * made.width
                told[name] = pulses.take(made, near & (np.abs(table["dm"] - made.dm) < 4.0 * table["dm_err"]))
            middle, width = made.spectrum or (NAN, NAN)
            signal = f"seed {sky.seed} t {made.time:.3f} s DM {made.dm:.1f} S/N {made.snr:.1f} at {middle:.0f} MHz"
            yield Outcome(
                f"{signal}, {width:.0f} wide",
                {name: ratio for name, (ratio, _) in told.items()},
                "; ".join(f"{name}: {remark}" for name, (_, remark) in told.items() if remark),
                (f"filling {filling:g}",),
            )
        for name, pulses in forms.items():
            extra[name] += int(np.count_nonzero(pulses.free))
    for name in pulls:
        print(f"{name}: ", end="")
        tell_others(extra[name], pulls[name])


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
            alone_and_beside = [
                Sky(**PAIRS, seed=seed, source="PAIR", pulsars=pulsars)
                for seed, pair in zip(seeds, drawn, strict=True)
                for pulsars in (pair[:1], pair)
            ]
            scores = (score(run, sky.pulsars[0]) for sky, run in searched(alone_and_beside, config))
            for seed, (weak, strong) in zip(seeds, drawn, strict=True):
                alone, beside = next(scores), next(scores)
                signal = f"seed {seed} {words(weak)} beside S/N {strength:g}, P {1e3 * strong.period:.4f} ms"
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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, made in kinds.items():
            tsamp = 9.216e-3 * 2**18 / nsamps if kind == "binary" else 256e-6
            for seed in range(first, first + skies):
                sky = Sky(**PARTS, tsamp=tsamp, nsamps=nsamps, seed=seed, pulsars=(made,))
                data = samples(sky)
                if kind == "third quarter":
                    empty = samples(sky.model_copy(update={"pulsars": ()}))
                    empty[:, nsamps // 2 : 3 * nsamps // 4] = data[:, nsamps // 2 : 3 * nsamps // 4]
                    data = empty
                freqs = PARTS["fch1"] + PARTS["foff"] * np.arange(PARTS["nchans"])
                obs = pulsar.Filterbank.from_array(data, freqs, tsamp, tstart=60000.0, source="SIMULATED")
                values, remarks = {}, []
                for form, counts in (("whole", "[1]"), ("parts", "[1,2,4]")):
                    config = load_config(None, [*settings, f"search.parts={counts}"])
                    run = search(obs, config, folder / "run.h5", overwrite=True)
                    table = run.rows("candidates")
                    own = table[(table["parent"] == "") & (table["snr"] > 0)]
                    own = own[np.abs(own["period"] / made["period"] - 1.0) < 0.01]
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
    with tempfile.TemporaryDirectory() as name, open_observation(file) as obs:
        run = search(obs, config, Path(name) / "run.h5")
        cleaned = run.rows("completeness/injected")
        source = CleanedSource(obs, read_mask(run.path, statistics=False).mask)
        live, varies = Injector(source).share, channel_sigmas(obs) > 0
        trials = dry_run(obs, plain, freqs=source.freqs).dm
        assert trials is not None  # of a dedispersed series
        fates = Fates(obs.header, trials.dms, source.freqs)

        def as_raw(made: Any, signal: Any) -> Any:
            """With the S/N over all channels that vary, masked or not, at the same amplitude."""
            whole = signal(obs.header, made, chan_ok=varies).per_amplitude
            return made.model_copy(
                update={"snr": made.snr * whole / signal(obs.header, made, chan_ok=live).per_amplitude}
            )

        raw = []
        for place in np.unique(cleaned["place"]):
            drawn, flashes = signals_of(cleaned[cleaned["place"] == place])
            strong = {
                "pulsars": [as_raw(made, pulsar_signal) for made in drawn],
                "bursts": [as_raw(made, burst_signal) for made in flashes],
            }
            added = inject_in_memory(obs, **strong, seed=int(place))
            there = search(added, plain, Path(name) / f"{place}.h5")
            rows = listed(there)
            raw += [fates.pulsar(made, int(place), rows, there.rows("detections"), {}) for made in drawn]
            raw += [fates.burst(made, int(place), there.rows("single_pulses"))[0] for made in flashes]
    again = np.concatenate(raw)
    for kind in ("pulsar", "burst"):
        first, second = cleaned[cleaned["kind"] == kind], again[again["kind"] == kind]
        edges = recall(first)["low"]
        for a, b in zip(first, second, strict=True):
            at = int(np.searchsorted(edges, a["snr"], side="right")) - 1
            yield Outcome(
                f"{kind} S/N {a['snr']:.1f} P {a['period']:.5g} t {a['time']:.4g} DM {a['dm']:.1f}",
                {
                    form: float(row["listed_snr"] / row["snr"]) if row["found"] == 1 else NAN
                    for form, row in (("cleaned", a), ("raw", b))
                },
                f"cleaned {a['fate']}, raw {b['fate']}",
                (f"{kind}s", f"{kind}s of S/N {edges[at]:g} and more"),
            )


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
    found = []
    for row in run.rows("candidates"):
        numbers = {name: float(row[name]) for name in ("dm", "dm_err", "freq", "snr", "score")}
        texts = {name: str(row[name]) for name in ("uid", "parent", "relation")}
        flags = tuple(filter(None, str(row["rfi_flags"]).split(",")))
        freq_err = float(row["period_err"] * row["freq"] ** 2)
        found.append(SimpleNamespace(**texts, **numbers, flags=flags, freq_err=freq_err))
    return found


def follow(count: int = 100, first: First = 1) -> Found:
    """Pulsars of S/N 8 to 20 followed to a second epoch, ten in a file, by the S/N there over that expected.

    P 5 ms to 0.4 s, duty cycles of 3 to 30 %, 64 channels and 16.8 s; of three one has another velocity (50 km/s)
    there, one another acceleration (5 m/s2). Then the same candidates in noise: how many are there by chance?
    """
    config = load_config(None, [])
    false = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(first, first - (-count // 10)):
            epochs = two_epochs(seed)
            skies = epochs.first, epochs.second, epochs.second.model_copy(update={"pulsars": (), "seed": 7000 + seed})
            files = [folder / f"{seed}{kind}.fil" for kind in ("first", "second", "noise")]
            for sky, file in zip(skies, files, strict=True):
                write_filterbank(sky, file)
            given = [Ephemeris(made.period, made.dm, ident=f"c{i}") for i, made in enumerate(epochs.first.pulsars)]
            old = folder / f"{seed}.h5"
            fold_files(files[:1], given, config, Target(old))
            runs = [follow_candidates(old, [file], Target(file.with_suffix(".h5")), config) for file in files[1:]]
            answers = {str(row["id"]): row for row in runs[0].rows("confirm/answers")}
            for i, (made, kind) in enumerate(zip(epochs.second.pulsars, epochs.kinds, strict=True)):
                row = answers[f"c{i}"]
                yield Outcome(
                    f"seed {seed} {words(made)} {kind}",
                    {"S/N over expected": float(row["ratio"]) if row["answer"] == "yes" else NAN},
                    f"expected {row['expected']:.1f}, sigma {row['sigma']:.1f}, limit {row['limit']:.1f}",
                    (kind, "expected from 8 on" if row["expected"] >= 8.0 else "expected below 8"),
                )
            false += [str(row["answer"]) == "yes" for row in runs[1].rows("confirm/answers")]
            for file in folder.iterdir():
                file.unlink()
    print(f"in noise: {share(sum(false), len(false))} by chance")


def command(scenario: Callable[..., Found]) -> Callable[..., None]:
    """A scenario as a command: its arguments are the options."""

    @wraps(scenario)
    def run(**options: Any) -> None:
        count(scenario(**options))

    return run


app = commands(__doc__)
FILES: tuple[Callable[..., Found], ...] = (pulsars, binaries, bursts, bands, neighbours, parts, completeness, follow)
for scenario in (*FILES, *recall_skies.SCENARIOS, *recall_series.SCENARIOS):
    app.command(scenario.__name__.replace("_", "-"))(command(scenario))

if __name__ == "__main__":
    app()
