"""Scenarios of recall.py: single series, made and searched without the rest of the program; several nights."""

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from time import process_time
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from programs import accelsearch_lines
from shared import FAST, First, Outcome, Sets, best_of, gaussian_pulses, made_words, scratch_folder, share, white_noise

from pulsar.config.load import load_config
from pulsar.config.model import AccelConfig, DedispConfig, OrbitsConfig
from pulsar.confirm.run import follow as follow_candidates
from pulsar.connect.turns import connect as connect_nights
from pulsar.connect.turns import fit
from pulsar.constants import DAY, KDM
from pulsar.data.header import Header
from pulsar.dedisp.engine import batch_size
from pulsar.dedisp.plan import FASTEST, DMPlan, DMStage, halved, halvings, lost, make_plan
from pulsar.followup.folding import fold_files
from pulsar.io.product.writer import Target
from pulsar.io.series import write_series
from pulsar.orbits.bank import projected_size
from pulsar.orbits.run import fold_phases
from pulsar.orbits.search import CircularOrbit, Octave, OrbitSearch
from pulsar.pipeline.ephemerides import Ephemeris
from pulsar.pipeline.stages import BatchSearch, SeriesSearch, Trials
from pulsar.searches import stats
from pulsar.searches.accel import AccelSearch
from pulsar.searches.coherent import BANDS
from pulsar.searches.search import EVERYTHING
from pulsar.sky.barycentre import arrival_times
from pulsar.stack.epochs import add_epoch
from pulsar.stack.run import search_stack
from pulsar.synthesis.model import Sky
from pulsar.synthesis.write import write_filterbank

# Times of arrival, skies of two epochs, and the engines of a run on data in memory are references of the tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from reference.arrivals import simulated
from reference.blocks import dedisperse_block
from reference.epochs import two_epochs

NAN = float("nan")
BEAM = Sky(**FAST)
#: Part of the speed of light that is gained in an observation, and points of a profile.
MOST_SPEED = 0.09
POINTS = 4096


def smeared(period: float, duty: float, boxes: list[float], delays: NDArray[np.float64]) -> NDArray[np.float64]:
    """One turn of a Gaussian pulse, in boxes of these widths [s] and at these delays of channels [s]."""
    k = np.arange(POINTS // 2 + 1)
    lines = np.exp(-0.25 * (np.pi * duty * k) ** 2 / np.log(2.0)).astype(complex)
    lines[0] = 0.0
    for width in boxes:
        lines *= np.sinc(k * width / period)
    lines *= np.exp(-2j * np.pi * k[:, None] * delays / period).mean(axis=1)
    return np.fft.irfft(lines)


def pulses_at_dm(plan: DMPlan, row: int, turns: NDArray[Any], binary: dict[str, float]) -> NDArray[np.float32]:
    """A pulsar at a trial DM, as wide as channels, sampling and the distance from its DM make it."""
    number, within = plan.stage_of(row)
    stage = plan.stages[number]
    delays = KDM * (plan.dms[row] - binary["dm"]) * plan.freqs[::64] ** -2.0
    channel = float(stage.parts()["channel"][within])
    ideal = smeared(binary["period"], binary["duty"], [], np.zeros(1))
    shape = smeared(binary["period"], binary["duty"], [channel, stage.tsamp], delays - delays.mean())
    scale = binary["snr"] / np.sqrt(stage.nsamps * np.mean(ideal**2))
    return np.asarray((scale * shape).astype(np.float32)[turns])


def draw_binary(rng: np.random.Generator) -> dict[str, float]:
    """P 1.5 to 30 ms, duty 10 to 30 %, S/N 12 to 20, DM 0 to 1000, |z| up to 200 at harmonic 1, 2 or 4."""
    period = float(np.exp(rng.uniform(np.log(1.5e-3), np.log(30e-3))))
    z = min(rng.uniform(0, 200) / rng.choice([1, 2, 4]), MOST_SPEED * BEAM.header.tobs / period) * rng.choice([-1, 1])
    duty, snr, dm = float(np.exp(rng.uniform(np.log(0.1), np.log(0.3)))), rng.uniform(12, 20), rng.uniform(0, 1000)
    return {"period": period, "duty": duty, "snr": snr, "dm": dm, "z": float(z), "phase": rng.uniform()}


def beside(finder: BatchSearch, row: int) -> list[int]:
    """Trial DMs on both sides of one at which each band of frequencies is searched next."""
    octaves = finder.bands[1]["accel"]
    rows = np.flatnonzero(octaves.of_row >= 0)
    low = np.array([octaves.bands[k].low for k in octaves.of_row[rows].tolist()])
    found: set[int] = set()
    for served in (rows[low <= limit] for limit in np.unique(low)):
        at = int(np.searchsorted(served, row))
        found.update(served[max(at - 1, 0) : at + 1].tolist())
    return sorted(found)


def significance(finder: BatchSearch, plan: DMPlan, seed: list[int], binary: dict[str, float]) -> float:
    """Highest significance of a binary with its frequency within 2 bins and its drift within 4; NaN: not found."""
    row = min(int(np.searchsorted(plan.dms, binary["dm"])), plan.ndms - 1)
    number = plan.stage_of(row)[0]
    stage, tobs = plan.stages[number], BEAM.header.tobs
    noise = np.random.default_rng(seed).standard_normal(stage.nsamps, dtype=np.float32)
    u = (np.arange(stage.nsamps) + 0.5) / stage.nsamps - 0.5
    turns = (tobs / binary["period"]) * u + 0.5 * binary["z"] * u**2 + binary["phase"]
    turns = ((turns - np.floor(turns)) * POINTS).astype(np.int64) % POINTS
    top, sigma = 8.1 / binary["period"], NAN
    for index in beside(finder, row):
        band = finder.bands[1]["accel"].band(index)
        if band.low >= top or plan.stage_of(index)[0] != number:
            continue
        times = int(finder.halvings[index])
        search = finder.prepared(stage, times).searches[0].within(replace(band, high=min(band.high, top)))
        # In steps of a 32nd of the noise, as series of a run are kept.
        series = np.round(32.0 * (noise + pulses_at_dm(plan, index, turns, binary))).astype(np.int16)
        found = search.search(halved(series, times))
        near = (np.abs(found["freq"] - 1.0 / binary["period"]) * tobs < 2.0) & (found["sigma"] > 0.0)
        near &= np.abs(found["fdot"] * tobs**2 - binary["z"]) < 4.0
        sigma = np.fmax.reduce([sigma, *found["sigma"][near]])
    return float(sigma)


def cost(finder: BatchSearch, plan: DMPlan) -> float:
    """CPU seconds of the acceleration search of all trial DMs: one series of noise timed for each band."""
    total, first = 0.0, 0
    for stage in plan.stages:
        data = white_noise(stage.nsamps, 0)
        octaves = finder.bands[1]["accel"]
        of_row = octaves.of_row[first : first + stage.ndms]
        for number, count in zip(*np.unique(of_row[of_row >= 0], return_counts=True), strict=True):
            # As they are: where they are halved for it, the transform takes half of the time.
            search = finder.prepared(stage).searches[0].within(octaves.bands[number])
            search.search(data)
            total += count * best_of(2, search.search, data)
        first += stage.ndms
    return total


def octaves(
    count: int = 100,
    seed: int = 1,
    only_cost: Annotated[bool, typer.Option("--cost", help="CPU seconds of all trial DMs in place of pulsars")] = False,
    sets: Sets = None,
) -> Iterator[Outcome]:
    """Accelerated pulsars of a FAST beam, by significance: a search of all frequencies at all DMs, and in octaves.

    Of the 6,600 trial DMs of the beam only those beside a pulsar's are made, and of their frequencies those up to its
    eighth harmonic: white noise, and the pulse as wide as it would be. Significances are those of all.
    """
    names = ("fft", "coherent", "ffa", "single_pulse")
    settings = ["dedisp.dm_hi=1000", "accel.zmax=200", *(f"{name}.enabled=false" for name in names), *(sets or [])]
    plan = make_plan(BEAM.header, load_config(None, settings).dedisp)
    finders = {
        name: BatchSearch(plan, load_config(None, more), threads=1, memory=4_000_000_000)
        for name, more in (("everything", [*settings, "accel.loss=0"]), ("octaves", settings))
    }
    if only_cost:
        for name, finder in finders.items():
            print(f"{name}: {cost(finder, plan):.0f} CPU s {finder.bands[1]['accel'].text(plan.dms)}")
        raise typer.Exit
    rng = np.random.default_rng(seed)
    for number in range(count):
        binary = draw_binary(rng)
        text = "duty {duty:.2f} S/N {snr:.1f} DM {dm:.1f} z {z:.1f}".format_map(binary)
        values = {name: significance(finder, plan, [seed, number], binary) for name, finder in finders.items()}
        yield Outcome(f"{number} P {1e3 * binary['period']:.4f} ms {text}", values)


#: Noise of a series of 4096 channels [levels].
NOISE = 512.0


def narrow_train(period: float, snr: float, stage: DMStage, row: int, plan: DMPlan, turn: float) -> NDArray[np.float64]:
    """Pulses of no width, smeared by channels, arrival errors and mean step, of a matched S/N in noise of 1."""
    smearing = {name: float(values[row]) for name, values in stage.parts().items()}
    cubes = plan.freqs[::64] ** -3.0
    widths = smearing["channel"] * cubes / np.sqrt(np.mean(cubes**2))
    f = np.arange(1, int(0.5 / stage.tsamp * period) + 1) / period
    amplitude = np.sinc(f[:, None] * widths).mean(axis=1) * np.sinc(f * stage.tsamp)
    amplitude *= np.exp(-((2.0 * np.pi * f) ** 2) * (smearing["step"] ** 2 + smearing["arrival"] ** 2) / 24.0)
    t = np.arange(stage.nsamps) * stage.tsamp
    out = np.zeros(stage.nsamps)
    for k, (freq, a) in enumerate(zip(f, amplitude, strict=True), start=1):
        if a > 1e-4:
            out += a * np.cos(2.0 * np.pi * (freq * t - k * turn))
    return out * snr / np.sqrt(np.sum(out**2))


def surest(search: SeriesSearch, series: NDArray[np.int16], freq: float) -> float:
    """Single-trial significance of the surest detection at the frequency or a harmonic of it; NaN: none."""
    found = search.search(series, 0.0).detections
    harmonic = np.maximum(np.rint(found["freq"] / freq), 1.0)
    near = np.abs(found["freq"] - harmonic * freq) < 1.5 / (search.nsamps * search.tsamp)
    return float(found["sigma_single"][near].max(initial=0.0)) or NAN


def halved_series(threshold: float, trials: Trials) -> Iterator[tuple[DMPlan, int, DMStage, dict[str, SeriesSearch]]]:
    """First trial DMs of a FAST beam that are searched with half, a quarter ... of the samples; or all of them."""
    settings = ["dedisp.dm_hi=1000", "dedisp.tolerance=0.1", "fft.nharm=16", "ffa.enabled=false"]
    settings += ["single_pulse.enabled=false", f"fft.threshold={threshold}", f"coherent.threshold={threshold}"]
    config = load_config(None, settings)
    plan = make_plan(BEAM.header, config.dedisp)
    times = halvings(plan, config)
    for count in range(1, int(times.max()) + 1):
        row = int(np.argmax(times >= count))
        number, at = plan.stage_of(row)
        stage = plan.stages[number]
        smearing = {name: float(values[at]) for name, values in stage.parts().items()}
        print(
            f"DM {plan.dms[row]:.1f}, samples of {1e6 * stage.tsamp:.1f} us and {1e6 * stage.tsamp * 2**count:.1f} us, "
            f"loss by the plan {100 * lost(smearing, stage.tsamp, count, plan.freqs):.2f} %"
        )
        searches = {
            name: SeriesSearch(stage.nsamps, stage.tsamp, config, trials={1: trials}, memory=0, times=halving)
            for name, halving in (("all samples", 0), ("fewer", count))
        }
        yield plan, row, stage, searches


def fewer_samples(count: int = 100, snr: float = 9.0, seed: int = 1) -> Iterator[Outcome]:
    """Half as many samples where channels smear, by single-trial significance: all samples, and fewer, on one noise.

    At the first trial DMs of a FAST beam that are searched so; pulses have no width of their own.
    """
    rng = np.random.default_rng(seed)
    slow = tuple((band, ndms) for (band, _), ndms in zip(BANDS, (4000.0, 1300.0, 1.0), strict=True))
    trials = Trials(4000.0, {"coherent": slow, "ffa": ((EVERYTHING, 300.0),)})
    for plan, row, stage, searches in halved_series(0.0, trials):
        for _ in range(count):
            period = float(FASTEST * np.exp(rng.uniform(0.0, np.log(30.0))))
            pulses = narrow_train(period, snr, stage, plan.stage_of(row)[1], plan, rng.uniform())
            series = np.rint(NOISE * (rng.standard_normal(stage.nsamps) + pulses)).astype(np.int16)
            values = {name: surest(search, series, 1.0 / period) for name, search in searches.items()}
            yield Outcome(f"P {1e3 * period:.4f} ms", values, "", (f"DM {plan.dms[row]:.1f}",))


#: Sampling time of series that are searched for drifts [s].
TSAMP = 64e-6


def drifting(nsamps: int, freq: float, z: float, duty: float, snr: float, phase: float) -> NDArray[np.float32]:
    """Gaussian pulses: frequency at mid-observation [Hz], drift [bins], duty cycle, matched-filter S/N."""
    u = np.arange(nsamps) / nsamps - 0.5
    return (snr * gaussian_pulses(freq * nsamps * TSAMP * u + 0.5 * z * u**2 + phase, duty)).astype(np.float32)


def accelsearch(
    count: Annotated[int, typer.Option(help="series of three pulsars")] = 30,
    log2n: int = 20,
    zmax: float = 200.0,
    nharm: int = 8,
) -> Iterator[Outcome]:
    """Drifting pulsars of S/N 8 to 20 by PRESTO's accelsearch (on PATH) and ours, by single-trial significance.

    Each with its default threshold. What is on its list above 8 sigma and not on ours is told, and what either lists
    that is related to no pulsar.
    """
    nsamps = 1 << log2n
    search = AccelSearch(nsamps, TSAMP, AccelConfig.model_validate({"zmax": zmax, "nharm": nharm}))
    rng = np.random.default_rng(7)
    strong = missed = 0
    unrelated = {"PRESTO": 0, "ours": 0}
    for seed in range(count):
        series, pulsars = white_noise(nsamps, seed), []
        for _ in range(3):
            freq = float(np.exp(rng.uniform(np.log(30.0), np.log(500.0))))
            z = float(rng.uniform(-0.95, 0.95) * zmax / rng.choice([1, 2, 4, 8]))
            series += drifting(nsamps, freq, z, rng.choice([0.05, 0.1, 0.3]), rng.uniform(8.0, 20.0), rng.uniform())
            pulsars.append((freq * search.tobs, z))
        found = search.search(series)
        lines = accelsearch_lines(series, TSAMP, "-zmax", f"{zmax:g}", "-numharm", str(nharm), "-flo", "0.5")
        single = [float(stats.sigma_from_logp(stats.power_logp(line.power, line.nharm))) for line in lines]
        own = zip(found["freq"] * search.tobs, found["fdot"] * search.tobs**2, found["sigma_single"], strict=True)
        # Bins, drifts, and significances in a single trial.
        lists = {
            "PRESTO": [(line.r, line.z, sigma) for line, sigma in zip(lines, single, strict=True)],
            "ours": list(own),
        }
        for line in lines:
            strong += line.sigma > 8.0
            # It may be a multiple or a fraction of what is in our list.
            if line.sigma > 8.0 and not any(related(line.r, r) for r, _, _ in lists["ours"]):
                missed += 1
                print(f"only PRESTO: series {seed}, sigma {line.sigma:.1f}, r {line.r:.2f}, z {line.z:.2f}")
        for name, rows in lists.items():
            unrelated[name] += sum(not any(related(r, r0) for r0, _ in pulsars) for r, _, _ in rows)
        for r0, z0 in pulsars:
            values = {
                name: next((float(sigma) for r, z, sigma in rows if abs(r - r0) < 1.5 and abs(z - z0) < 4.0), NAN)
                for name, rows in lists.items()
            }
            yield Outcome(f"series {seed} r {r0:.1f} z {z0:.1f}", values)
    print(f"{strong} candidates of PRESTO above 8 sigma, of these not in our list: {missed}")
    print("listed and not related to a pulsar: " + ", ".join(f"{name} {number}" for name, number in unrelated.items()))


def related(r: float, other: float) -> bool:
    """True if two frequencies [bins] are as small integers, within 2 bins."""
    return any(abs(r * n - round(r * n / other) * other) < 2.0 * n for n in range(1, 9) if round(r * n / other) > 0)


def orbit_search(config: OrbitsConfig, tobs: float) -> OrbitSearch:
    """The search over orbits of a series of 1 ms, for frequencies of 85 to 170 Hz."""
    return OrbitSearch(round(tobs / 1e-3), 1e-3, Octave(85.0, 170.0), config)


def found_orbits(search: OrbitSearch, series: NDArray[np.float32]) -> list[CircularOrbit]:
    """Orbits that are found in a series."""
    white = search.whiten(series)
    assert white is not None
    return list(search.signals(white, search.peaks(white, search.bank.slices, 1, lambda _: None)))


def orbits(
    count: int = 20, tobs: float = 1200.0, heaviest: float = 0.05, duty: float = 0.2, seed: int = 1
) -> Iterator[Outcome]:
    """Pulsars of 7 ms and S/N 12 whose circular orbit the data hold once, by the part of the S/N of the true orbit."""
    period, tsamp = 0.007, 1e-3
    search = orbit_search(OrbitsConfig(p_min=0.95 * tobs, p_max=1.05 * tobs, heaviest=heaviest, nharm=2), tobs)
    t = (np.arange(search.nsamps) - 0.5 * (search.nsamps - 1)) * tsamp
    print(f"T {tobs:g} s, {search.bank.count} templates, companions to {heaviest:g}, duty {duty:g}")
    for number in range(seed, seed + count):
        rng = np.random.default_rng(number)
        p_orb = tobs * rng.uniform(0.96, 1.04)
        size = projected_size(p_orb, 1.4, heaviest * rng.uniform(0.1, 1.0))
        angle = rng.uniform(0.0, 2.0 * np.pi)
        true = CircularOrbit(1.0 / period, 2.0 * np.pi / p_orb, size * np.sin(angle), size * np.cos(angle), 1, 0.0)
        pulses = gaussian_pulses(true.freq * true.emitted(t) + rng.uniform(), duty)
        series = (12.0 * pulses + rng.standard_normal(search.nsamps)).astype(np.float32)
        begun = process_time()
        found = found_orbits(search, series)
        spent = process_time() - begun
        ideal = fold_phases(series, true.freq * true.emitted(t), period / tsamp).snr
        remark, part = f"S/N of the true orbit {ideal:.2f}, {spent:.1f} CPU s, {spent / 85.0:.4f} per Hz", NAN
        for orbit in [orbit for orbit in found if abs(orbit.freq - true.freq) < 20.0 / tobs][:1]:
            part = float(fold_phases(series, orbit.freq * orbit.emitted(t), period / tsamp).snr / ideal)
            remark += f", sigma {orbit.sigma:.1f}"
        yield Outcome(f"seed {number} P_orb {p_orb:.1f} s a sin i {size:.5f}", {"part": part}, remark)


def night_lengths(nights: int, unequal: bool) -> NDArray[np.float64]:
    """Parts of the full length of a night."""
    return np.resize([1.0, 0.25, 0.5, 0.75], nights) if unequal else np.ones(nights)


def harmonic_shares(duty: float, count: int) -> NDArray[np.float64]:
    """Part of the power of a Gaussian pulse in each harmonic, shape (count,); all harmonics together have 1."""
    power = np.exp(-((np.pi * duty * np.arange(1, 4001)) ** 2) / (2.0 * np.log(2.0)))
    return np.asarray((power / power.sum())[:count])


def stack(
    count: Annotated[int, typer.Option(help="fields of ten pulsars")] = 4,
    nights: int = 16,
    snr: float = 5.0,
    unequal: Annotated[bool, typer.Option(help="nights of a quarter to the full length")] = False,
) -> Iterator[Outcome]:
    """Pulsars in stacks of nights within a year, as FAST would see them, by S/N over that of theory.

    Each has the given matched-filter S/N in a night of full length: white noise of 2^18 samples of 128 us, one period
    at the barycentre. Theory is that of docs/stack.md: sum_e w_e sum_k L_ek / (H sum_e w_e^2)^1/2, with L_ek the power
    of harmonic k above noise, for the H that the search has chosen.
    """
    nsamps, tsamp, epoch = 1 << 18, 128e-6, 59000.0
    config = load_config("default", ["rfi.learn=false", f"stack.tobs={nsamps * tsamp}"])
    part = night_lengths(nights, unequal)
    for seed in range(count):
        rng = np.random.default_rng(seed)
        freqs, duties = 10.0 ** rng.uniform(0.7, 2.7, 10), 10.0 ** rng.uniform(-1.5, -0.5, 10)
        with scratch_folder() as folder:
            for night, start in enumerate(epoch + rng.uniform(0.0, 365.0, nights)):
                n = int(part[night] * nsamps)
                header = Header(
                    nchans=1, nsamps=n, tsamp=tsamp, fch1=1250.0, foff=-400.0, tstart=start, is_series=True, dm=10.0,
                    source="field", telescope="FAST", ra_deg=322.49, dec_deg=12.17,
                )  # fmt: skip
                nodes = np.linspace(0.0, n * tsamp, 257)
                first, arrived = arrival_times(start, nodes, header.ra_deg, header.dec_deg, "FAST")
                at = np.interp((np.arange(n) + 0.5) * tsamp, nodes, arrived)
                series = rng.standard_normal(n)
                for freq, duty in zip(freqs, duties, strict=True):
                    turns = (first - epoch) * DAY * freq % 1.0 + at * freq
                    series += snr * np.sqrt(part[night]) * gaussian_pulses(turns, duty)
                path = folder / f"night{night}.dat"
                write_series(path, series.astype(np.float32), header, 10.0)
                add_epoch([path], folder / "store", config)
            run = search_stack(
                folder / "store", Target(folder / "found.h5"), load_config("default", ["fft.threshold=-2"])
            )
            rows, detections, epochs = (run.rows(name) for name in ("candidates", "detections", "stack/epochs"))
        for freq, duty in zip(freqs, duties, strict=True):
            near, ratio, remark = rows[np.abs(rows["freq"] - freq) * nsamps * tsamp < 0.5], NAN, ""
            if near.size:
                nharm = int(near[0]["nharm"])
                power = detections["power"][detections["uid"] == near[0]["uid"]][0]
                measured = (power - nharm) / math.sqrt(nharm)
                excess = 0.5 * snr**2 * epochs["tobs"] / (nsamps * tsamp) * float(harmonic_shares(duty, nharm).sum())
                theory = float(epochs["weight"] @ excess) / np.sqrt(nharm * np.sum(epochs["weight"] ** 2))
                ratio = float(measured / theory)
                remark = f"{nharm} harmonics, S/N {measured:.2f}, theory {theory:.2f}, sigma {near[0]['sigma']:.1f}"
            yield Outcome(f"{1e3 / freq:.3f} ms duty {duty:.3f}", {"S/N over theory": ratio}, remark)


def follow(count: int = 100, first: First = 1) -> Iterator[Outcome]:
    """Pulsars of S/N 8 to 20 followed to a second epoch, ten in a file, by the S/N there over that expected.

    P 5 ms to 0.4 s, duty cycles of 3 to 30 %, 64 channels and 16.8 s; of three one has another velocity (50 km/s)
    there, one another acceleration (5 m/s2). Then the same candidates in noise: how many are there by chance?
    """
    config = load_config(None, [])
    false = []
    with scratch_folder() as folder:
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
                    f"seed {seed} {made_words(made)} {kind}",
                    {"S/N over expected": float(row["ratio"]) if row["answer"] == "yes" else NAN},
                    f"expected {row['expected']:.1f}, sigma {row['sigma']:.1f}, limit {row['limit']:.1f}",
                    (kind, "expected from 8 on" if row["expected"] >= 8.0 else "expected below 8"),
                )
            false += [str(row["answer"]) == "yes" for row in runs[1].rows("confirm/answers")]
            for file in folder.iterdir():
                file.unlink()
    print(f"in noise: {share(sum(false), len(false))} by chance")


def connect(
    count: Annotated[int, typer.Option(help="pulsars")] = 100,
    low: Annotated[float, typer.Option(help="least frequency [Hz]")] = 0.3,
    high: Annotated[float, typer.Option(help="largest frequency [Hz]")] = 30.0,
    efac: Annotated[float, typer.Option(help="times scatter by so many of their errors")] = 1.0,
    position_err: Annotated[float, typer.Option(help="of the position [arcsec]")] = 0.0,
    orbit: Annotated[float, typer.Option(help="radius of an orbit of 1.37 d that nobody knows of [light-s]")] = 0.0,
) -> Iterator[Outcome]:
    """Pulsars with times of arrival in seven nights of 90 days, 0, 1, 3, 7, 20, 45 and 90: are their turns counted?

    A night has 2 to 8 times over 10 minutes to 2 hours, with errors of 0.2 to 2 % of the period; |F1| / F0 is 1e-18 to
    1e-12 / s. The frequency known before is that of one night. Missed are those for which `pulsar connect` says UNSURE.
    """
    for seed in range(count):
        place_err = position_err * np.pi / 648000.0
        case = simulated(seed, freqs=(low, high), efac=efac, place_err=place_err, orbit=orbit)
        connection = connect_nights(case.times, case.reference)
        rotation = fit(case.times, case.reference, connection.turns(), place=position_err > 0)
        right = np.array_equal(connection.turns(), case.turns)
        groups = () if right or not connection.unique else ("wrong without a word",)
        remark = f"{'right' if right else 'WRONG'}, {len(connection.chi2)} counts fit"
        ratio = rotation.chi2 / rotation.dof if connection.unique else NAN
        yield Outcome(f"{1.0 / case.spin[0]:.4f} s F1 {case.spin[1]:.2g}", {"chi2/dof": ratio}, remark, groups)


def dedispersion(
    nsamps: int = 1 << 17, nchans: Annotated[int, typer.Option(help="256 or 4096; 0: both")] = 0
) -> Iterator[Outcome]:
    """What dedispersion keeps of the S/N of pulses at a trial's own DM: exact delays rounded to samples, and the tree.

    Trains of Gaussian pulses of 0.15, 0.3 and 1 ms arrive at the exact time in every channel; noise of 8 levels with
    and without them is rounded to int8 as cleaning does, and dedispersed with the batch of trials of the default plan
    around the DM. Integer delays, shared rows and all roundings count, the distance to the next trial does not (the
    plan bounds it).
    """
    bands = [band for band in ((256, 64e-6), (4096, 49.152e-6)) if nchans in (0, band[0])]
    for (channels, tsamp), dm, width in product(bands, (34.0, 225.0, 600.0), (0.15e-3, 0.3e-3, 1e-3)):
        methods = {"delays rounded": "brute", "tree": "tree"}
        values = {name: kept_snr(channels, tsamp, dm, width, nsamps, method) for name, method in methods.items()}
        group = f"{channels} channels, {1e3 * width:.2f} ms"
        yield Outcome(f"{channels} channels, DM {dm:.0f}, {1e3 * width:.2f} ms", values, "", (group,))


def kept_snr(nchans: int, tsamp: float, dm: float, width: float, nsamps: int, method: str) -> float:
    """S/N over that of the same pulses with all channels aligned and nothing rounded."""
    step, sigma = 500.0 / nchans, 8.0
    header = Header(nchans=nchans, nsamps=nsamps, tsamp=tsamp, fch1=1500 - step / 2, foff=-step, tstart=60000.0)
    plan = make_plan(header, DedispConfig(dm_hi=1000.0, max_downsample=1), header.freqs)
    at = int(np.argmin(np.abs(plan.dms - dm)))
    size = batch_size("tree", nchans, nsamps) if method == "tree" else 1
    first = max(0, at - size // 2)
    delay = KDM * plan.dms[at] * (header.freqs**-2.0 - header.freqs[0] ** -2.0) / tsamp
    period, scale = 20.37 * width / tsamp, width / tsamp / np.sqrt(8 * np.log(2))
    table = np.exp(-0.5 * (((np.arange(4096) / 4096 - 0.5) * period) / scale) ** 2).astype(np.float32)
    rng = np.random.default_rng(3)
    time = np.arange(nsamps)

    def train(shift: float, length: int) -> NDArray[np.float32]:
        """Pulses of height 1 that come so many samples late."""
        phase = ((time[:length] - shift) / period) % 1.0
        return np.asarray(table[(phase * 4096).astype(np.int32) & 4095])

    quiet, loud = (np.empty((nchans, nsamps), np.int8) for _ in range(2))
    amplitude = 0.3 * sigma
    for c in range(nchans):
        noise = rng.standard_normal(nsamps, dtype=np.float32) * np.float32(sigma)
        quiet[c] = np.clip(np.rint(noise), -127, 127)
        loud[c] = np.clip(np.rint(noise + amplitude * train(delay[c], nsamps)), -127, 127)
    blocks = [
        dedisperse_block(data, header.freqs, plan.dms[first:][:size], tsamp, method=method) for data in (quiet, loud)
    ]
    without, with_pulses = (block.data[at - first].astype(float) for block in blocks)
    whole = nsamps - int(delay[-1]) - 2
    signal = (with_pulses - without)[:whole]
    waves = [wave - wave.mean() for wave in (train(shift, whole) for shift in np.arange(-1.0, 1.0, 0.05))]
    best = max(0.0, *(float(np.sum(signal * wave) / np.sqrt(np.sum(wave**2))) for wave in waves))
    ideal = train(0.0, whole) - train(0.0, whole).mean()
    return (best / without[:whole].std()) / (amplitude * np.sqrt(nchans) * np.sqrt(np.sum(ideal**2)) / sigma)


#: For recall.py.
SCENARIOS = (octaves, fewer_samples, accelsearch, orbits, stack, follow, connect, dedispersion)
