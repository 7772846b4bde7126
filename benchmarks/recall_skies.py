"""Scenarios of recall.py in files of population_sky.py, which share no code with the program or its simulator."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from population import found_bursts, judge, real_pulses
from population_sky import ENVIRONMENTS, Burst, Sky, Truth, recorded_profile, write
from shared import FAST, First, Outcome, Sets

from pulsar.config.load import load_config
from pulsar.config.model import Config
from pulsar.io.product.reader import Run
from pulsar.run import search

NAN = float("nan")
#: Files of FAST-FREX (Guo et al. 2025, doi:10.3847/1538-4365/adf42d): 4096 channels, 60 rows of 1024 samples.
FREX = Sky("", 0, FAST["nchans"], FAST["fch1"], FAST["foff"], 98.304e-6, 60 * 1024, ())
#: DMs of its three repeaters, and how many of its 600 bursts each has.
FREX_DMS, FREX_BURSTS = (565.0, 411.0, 517.0), (470, 125, 5)
FREX_WIDTH, FREX_EXTENT = (1e-3, 15e-3), (100.0, 400.0)
#: The observation of PRESTO's tutorial: 96 channels of 1 MHz, 38.2 s, a pulsar of DM 62 beside 28.7 Hz at DM 0.
GBT = Sky("clean", 0, 96, 1447.5, -1.0, 72e-6, 531_000, ())
COMB = 0.034775


def searched(skies: Iterable[Sky], config: Config) -> Iterator[tuple[Sky, Run]]:
    """Every sky, written and searched; its file is removed before the next is made."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "sky.fil"
        for sky in skies:
            write(sky, path)
            yield sky, search(path, config, path.with_suffix(".h5"), overwrite=True)
            path.unlink()


def draw_frex(seed: int, snr: tuple[float, float]) -> Sky:
    """A file with a burst of one of the three sources, all of its sweep within the data."""
    rng = np.random.default_rng([20263, seed])
    empty = replace(
        FREX, environment=ENVIRONMENTS[seed % len(ENVIRONMENTS)], seed=seed, mains=float(50 + 10 * (seed % 2))
    )
    dm = float(rng.choice(FREX_DMS, p=np.array(FREX_BURSTS) / sum(FREX_BURSTS)) + rng.uniform(-3.0, 3.0))
    burst = Burst(
        name=f"seed {seed}",
        time=float(rng.uniform(0.3, empty.tobs - 0.3 - dm * empty.delays.max())),
        dm=dm,
        width=float(np.exp(rng.uniform(*np.log(FREX_WIDTH)))),
        snr=float(np.exp(rng.uniform(*np.log(snr)))),
        spectrum=(float(rng.uniform(empty.freqs.min(), empty.fch1)), float(rng.uniform(*FREX_EXTENT))),
    )
    return replace(empty, bursts=(burst,))


def frex(
    count: int = 60, snr: tuple[float, float] = (8.0, 80.0), first: First = 0, sets: Sets = None
) -> Iterator[Outcome]:
    """Bursts in files like those of FAST-FREX, without a flag, by S/N over that put in; and as many files without one.

    4096 channels, 98.304 µs, 6.04 s, DM 411, 517 and 565; a fifth of the files each is clean, or has drifts, impulses
    and narrow bands, a hum of the mains, or all of these. Bursts have Gaussian spectra, 100 to 400 MHz wide, whose
    middles are anywhere in the band, and widths of 1 to 15 ms. Their S/N is that of a filter that weighs all channels
    alike. False is a pulse without a flag that is not the burst. Searched is DM 0 to 1000, as one beam of FAST.
    """
    off = [f"{name}.enabled=false" for name in ("fft", "coherent", "ffa", "completeness")]
    config = load_config("fast-19beam", [*off, *(sets or [])])
    drawn = [draw_frex(seed, snr) for seed in range(first, first + 2 * count)]
    skies = [sky if n % 2 == 0 else replace(sky, bursts=()) for n, sky in enumerate(drawn)]
    false: dict[bool, list[int]] = {True: [], False: []}
    for sky, run in searched(skies, config):
        rows = run.rows("single_pulses")
        extra = rows[~real_pulses(rows, sky) & (rows["rfi_flags"] == "")]
        false[bool(sky.bursts)].append(len(extra))
        for burst, fate in zip(sky.bursts, found_bursts(rows, sky), strict=True):
            middle, extent = burst.spectrum or (NAN, NAN)
            signal = (
                f"{burst.name} {sky.environment} DM {burst.dm:.1f} width {1e3 * burst.width:.1f} ms S/N {burst.snr:.1f}"
            )
            ratio = fate["found"] / burst.snr
            yield Outcome(
                f"{signal}, {extent:.0f} MHz wide at {middle:.0f}",
                {"with or without a flag": ratio, "without": ratio if fate["rows"] else NAN},
                f"score {fate['score']:.2f} {fate['flags']}, {len(extra)} false",
                (f"in {sky.environment}", "S/N 10 and more" if burst.snr >= 10.0 else "S/N below 10"),
            )
    for having, counts in false.items():
        word = "with" if having else "without"
        print(f"false in {len(counts)} files {word} a burst: {np.mean(counts):.2f} a file, {max(counts)} at most")


def comb(count: int = 20, strength: float = 45.0, first: First = 0, sets: Sets = None) -> Iterator[Outcome]:
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
        truth = Truth("pulsar", period, dm, duty, snr, float(rng.uniform()), "gaussian")
        truth = replace(truth, width=float(np.mean((shape := recorded_profile(truth, GBT, 48)) > shape.max() / 2)))
        lines = replace(truth, name="comb", period=COMB, dm=0.0, duty=float(rng.uniform(0.02, 0.3)), snr=snr * strength)
        skies += [replace(GBT, seed=seed, pulsars=(truth,)), replace(GBT, seed=seed, pulsars=(truth, lines))]
    values: dict[str, float] = {}
    remarks: list[str] = []
    for sky, run in searched(skies, config):
        truth, name = sky.pulsars[0], "beside" if values else "alone"
        (fate,), false, _ = judge(run.rows("candidates"), run.rows("detections"), replace(sky, pulsars=(truth,)))
        values[name] = fate.snr / truth.snr if fate.rows else NAN
        remarks.append(f"{name}: {fate.flags} {len(false)} false, {fate.false_above} above")
        if name == "beside":
            signal = f"seed {sky.seed} P {1e3 * truth.period:.3f} ms DM {truth.dm:.1f} S/N {truth.snr:.1f}"
            yield Outcome(signal, values, "; ".join(remarks))
            values, remarks = {}, []


#: For recall.py.
SCENARIOS = (frex, comb)
