"""A bright known pulsar taken out before a search: what is left of it, what a weak one gains, and what it costs.

A pulsar of S/N 300 (P 0.253 s, DM 56, 3 % wide) and one of S/N 12 (P 87.1 ms, DM 120) in the same noise: 134 s of
256 us, 256 channels of 1.5 MHz below 1500 MHz. The bright one is steady, changes slowly (by 0.3 to 1.7 of its mean),
scintillates (exponential brightness, correlated over 20 s and 40 MHz), changes its profile half-way, or its single
pulses scatter (log-normal, by as much as their mean). Searched are the weak one alone, both, and both with
`--subtract`.

    python benchmarks/subtract.py                    # all kinds: rows of the lists, S/N of the weak one
    python benchmarks/subtract.py --kinds steady --seeds 4
    python benchmarks/subtract.py --snr 30           # another brightness
    python benchmarks/subtract.py --cost             # processor time of a pass with and without
    python benchmarks/subtract.py --real X.dat       # a real series laid out over a band, in as much noise again
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter1d

from pulsar.config.load import load_config
from pulsar.constants import KDM
from pulsar.data.fold import FoldParams
from pulsar.data.header import Header
from pulsar.data.source import SIGMA_LEVELS
from pulsar.io.memory import Filterbank
from pulsar.io.open import open_observation
from pulsar.pipeline.cleaning import clean_source, find_mask
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.subtracting import subtract
from pulsar.run import search
from pulsar.synthesis import Pulsar, Sky, write_filterbank

BRIGHT = {"period": 0.2531234, "dm": 56.0, "duty": 0.03}
WEAK = {"period": 0.0871277, "dm": 120.0, "snr": 12.0, "duty": 0.05}
SKY = {"nchans": 256, "fch1": 1499.0, "foff": -1.5, "tsamp": 256e-6, "tobs": 134.2}
KINDS = ("steady", "slow", "scintillating", "profile", "pulses")
QUIET = Progress("quiet")
SETTINGS = ["dedisp.dm_lo=0", "dedisp.dm_hi=200", "completeness.enabled=false"]
#: Codes of the noise of a simulated file.
CODES = 16.0


def brightness(kind: str, header: Header, rng: np.random.Generator) -> np.ndarray:
    """By which the pulses are multiplied, in each channel at each 64th sample; the mean square is 1."""
    n, nchans = -(-header.nsamps // 64), header.nchans
    t = np.arange(n) / n
    gain = np.ones((nchans, n), dtype=np.float32)
    if kind == "slow":
        gain *= 1.0 + 0.7 * np.sin(2 * np.pi * 1.3 * t)
    if kind == "scintillating":
        scales = 40.0 / abs(header.foff), 20.0 / (64 * header.tsamp)
        field = sum(gaussian_filter(rng.normal(size=gain.shape), scales, mode="wrap") ** 2 for _ in range(2))
        gain = field.astype(np.float32)
    if kind == "pulses":
        turn = (np.arange(n) * 64 * header.tsamp / BRIGHT["period"]).astype(int)
        gain *= rng.lognormal(0.0, np.sqrt(np.log(2.0)), turn[-1] + 1)[turn]
    return gain / np.sqrt(np.mean(gain**2))


def pulses(kind: str, header: Header, snr: float, seed: int) -> np.ndarray:
    """The bright pulsar in units of noise, without its mean, shape (nchans, nsamps)."""
    rng = np.random.default_rng(seed)
    gain = brightness(kind, header, rng)
    grid = (np.arange(4096) + 0.5) / 4096

    def shape(parts: list[tuple[float, float]]) -> np.ndarray:
        sigma = BRIGHT["duty"] / 2.3548
        one = sum(h * np.exp(-0.5 * ((grid - 0.5 - at) / sigma) ** 2) for at, h in parts)
        return (one - one.mean()) / np.std(one)

    usual = shape([(0.0, 1.0)]) if kind != "profile" else shape([(0.0, 1.0), (0.05, 0.5)])
    other = usual if kind != "profile" else shape([(0.0, 0.6), (0.05, 1.0)])
    scale = snr / np.sqrt(float(header.nchans) * header.nsamps)
    out = np.empty((header.nchans, header.nsamps), dtype=np.float32)
    t = (np.arange(header.nsamps) + 0.5) * header.tsamp
    delays = KDM * BRIGHT["dm"] * (header.freqs**-2.0 - header.freqs[0] ** -2.0)
    for c, row in enumerate(out):
        place = ((t - 0.5 * header.tobs - delays[c]) / BRIGHT["period"] % 1.0 * 4096).astype(int)
        value = np.where(t < 0.5 * header.tobs, usual[place], other[place])
        row[:] = scale * value * np.repeat(gain[c], 64)[: header.nsamps]
    return out


def files(folder: Path, kind: str, snr: float, seed: int) -> tuple[Filterbank, Filterbank]:
    """The weak pulsar in noise, and the bright one added to it."""
    path = folder / "weak.fil"
    write_filterbank(Sky(seed=seed, pulsars=(Pulsar(**WEAK),), **SKY), path, overwrite=True)
    obs = open_observation(path)
    codes, header = obs.read().data.copy(), obs.header
    obs.close()
    both = pulses(kind, header, snr, seed)
    both *= CODES
    both += codes
    both += np.random.default_rng(seed + 1).random(both.shape, dtype=np.float32)
    return Filterbank(codes, header), Filterbank(np.clip(np.floor(both), 0, 255).astype(np.uint8), header)


def near(run, of: dict[str, float]) -> tuple[int, float]:
    """Rows of a list at a harmonic of a pulsar's period, and the best S/N of those at the period itself."""
    rows = run.rows("candidates")
    rows = rows[(rows["harmonic_of"] == "") & (rows["sigma"] >= 6.0)]
    count, best = 0, 0.0
    for row in rows:
        for ratio in [n / m for n in range(1, 33) for m in range(1, 5)]:
            if abs(row["period"] * ratio / of["period"] - 1.0) < 2.0 * row["period"] / 134.2:
                count += 1
                best = max(best, row["snr"]) if ratio == 1.0 else best
                break
    return count, float(best)


def one(kind: str, snr: float, seed: int, out: Path) -> None:
    """All of one kind."""
    weak, both = files(out, kind, snr, seed)
    first = search(both, load_config(None, SETTINGS), out / "first.h5", overwrite=True)
    row = first.rows("candidates")[0]
    given = f"{out / 'first.h5'}:{row['id']}"
    config = load_config(None, SETTINGS, **{"subtract.pulsars": [given]})
    second = search(both, config, out / "second.h5", overwrite=True)
    alone = search(weak, load_config(None, SETTINGS), out / "alone.h5", overwrite=True)
    told = second.rows("subtracted/pulsars")[0]
    # The same mask and levels for both: all that differs is the pulsar.
    mask = find_mask(both, config, threads=1, progress=QUIET).mask
    ours = [clean_source(obs, mask, config, threads=1, progress=QUIET) for obs in (weak, both)]
    done = subtract(ours[1], both.header, config, threads=1, memory=1 << 30, progress=QUIET)
    spreads = []
    truth = pulses(kind, both.header, snr, seed)
    samples = []
    for source in (*ours, done.source):
        data = np.empty((source.nchans, source.nsamps), dtype=np.int8)
        source.read_into(0, data)
        samples.append(data)
        spreads.append(float(np.mean([np.var(part.astype(np.float32)) for part in data])) / SIGMA_LEVELS**2)
    dots = [float(sum(np.dot(a, b) for a, b in zip(some.astype(np.float32), truth, strict=True))) for some in samples]
    left = (dots[2] - dots[0]) / (dots[1] - dots[0])
    columns = {
        "S/N": f"{told['snr_before']:.1f} -> {told['snr_after']:.1f}",
        "true amplitude left": f"{100 * left:+.2f} %",
        "told": f"{100 * told['rest']:+.2f} ± {100 * told['rest_err']:.2f} %",
        "scatter": f"{100 * told['scatter']:.1f} % (of noise {100 * told['scatter_err']:.1f} %)",
        "template": f"{told['nbins']} bins, {told['nsubints']} x {told['nbands']}, {told['nshapes']} profiles, "
        f"{told['nparams']} numbers",
        "variance": f"without it {spreads[0]:.5f}, with it {spreads[1]:.5f}, subtracted {spreads[2]:.5f}",
        "rows at its harmonics": f"{near(first, BRIGHT)[0]} -> {near(second, BRIGHT)[0]}",
        "rows": f"{rows_of(first)} -> {rows_of(second)} (without it {rows_of(alone)})",
        "single pulses": f"{len(first.rows('single_pulses'))} -> {len(second.rows('single_pulses'))}",
        "S/N of the weak one": f"{near(first, WEAK)[1]:.2f} -> {near(second, WEAK)[1]:.2f} "
        f"(without it {near(alone, WEAK)[1]:.2f})",
    }
    print(f"{kind}, seed {seed}", *(f"    {name}: {text}" for name, text in columns.items()), sep="\n", flush=True)


def rows_of(run) -> int:
    """Rows above the threshold."""
    rows = run.rows("candidates")
    return int(np.sum((rows["harmonic_of"] == "") & (rows["sigma"] >= 6.0)))


def real(path: Path, folder: Path) -> None:
    """The pulses of a real dedispersed series, each channel at its delay, in noise as strong as the series' own."""
    obs = open_observation(path)
    header = obs.header
    series = obs.read().data[0].astype(np.float64)
    obs.close()
    level = uniform_filter1d(series, max(int(2.0 / header.tsamp), 1))
    series = (series - level) / (1.4826 * np.median(np.abs(series - level)))
    nchans, dm = 256, header.dm
    freqs = 920.0 - 0.78125 * np.arange(nchans)
    delays = np.round(KDM * dm * (freqs**-2.0 - freqs[0] ** -2.0) / header.tsamp).astype(int)
    rng = np.random.default_rng(1)
    data = rng.normal(size=(nchans, series.size)).astype(np.float32)
    for row, delay in zip(data, delays, strict=True):
        row += np.roll(series, delay) / np.sqrt(nchans)
    codes = np.clip(np.round(96 + CODES * data), 0, 255).astype(np.uint8)
    band = Filterbank.from_array(codes, freqs, header.tsamp, source="real", order="channel, time")
    sets = [f"dedisp.dm_lo={dm - 20}", f"dedisp.dm_hi={dm + 20}", "dedisp.dm_step=1.0", "completeness.enabled=false"]
    first = search(band, load_config(None, sets), folder / "first.h5", overwrite=True)
    given = f"{folder / 'first.h5'}:{first.rows('candidates')['id'][0]}"
    second = search(
        band, load_config(None, sets, **{"subtract.pulsars": [given]}), folder / "second.h5", overwrite=True
    )
    told = second.rows("subtracted/pulsars")[0]
    for name in told.dtype.names:
        print(f"    {name}: {told[name]}")
    for name, run in (("first", first), ("second", second)):
        pulses = run.rows("single_pulses")
        best = max(pulses["snr"], default=0.0)
        print(f"{name}: {rows_of(run)} rows, {len(pulses)} single pulses, the brightest of S/N {best:.1f}")
        for row in run.rows("candidates")[:6]:
            print(
                f"    P {row['period']:.7g} s, DM {row['dm']:.4g}, S/N {row['snr']:.1f}, sigma {row['sigma']:.1f}, "
                f"score {row['score']:.2f} {row['harmonic_of']} {row['rfi_flags']} {row['known_source']}"
            )


def cost(folder: Path, seed: int) -> None:
    """Processor time of reading the cleaned samples, of the same without a pulsar, and of measuring it."""
    _, both = files(folder, "steady", 300.0, seed)
    config = load_config(None, SETTINGS)
    mask = find_mask(both, config, threads=1, progress=QUIET).mask
    source = clean_source(both, mask, config, threads=1, progress=QUIET)
    from pulsar.config.model import SubtractConfig
    from pulsar.folding.subtracted import SubtractedSource, measure_template

    params = FoldParams(1.0 / BRIGHT["period"], 0.0, BRIGHT["dm"])
    total = source.nchans * source.nsamps
    for _ in range(3):
        begun = time.process_time()
        taken, _ = measure_template(source, params, SubtractConfig(), threads=1, memory=1 << 30)
        spent = time.process_time() - begun
        print(f"measuring the template: {1e9 * spent / total:.2f} ns a sample of a channel")
        for name, one_source in (("cleaned", source), ("less the pulsar", SubtractedSource(source, [taken]))):
            begun = time.process_time()
            data = np.empty((source.nchans, 1 << 15), dtype=np.int8)
            for start in range(0, source.nsamps, 1 << 15):
                one_source.read_into(start, data)
            print(f"reading, {name}: {1e9 * (time.process_time() - begun) / total:.2f} ns")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--snr", type=float, default=300.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--real", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.real:
            real(args.real, folder)
            return
        if args.cost:
            cost(folder, 1)
            return
        for kind in args.kinds:
            for seed in range(1, args.seeds + 1):
                one(kind, args.snr, seed, folder)


if __name__ == "__main__":
    main()
