"""How long the program takes: a beam of FAST, and its parts by themselves (a series, reading, folding, start, a page).

    python benchmarks/speed.py beam --folder /data                         # simulated (4.3 GB), kept there, used again
    python benchmarks/speed.py beam a.fits b.fits --set ffa.enabled=false
    python benchmarks/speed.py search accel --log2n 21 --set accel.zmax=200
    python benchmarks/speed.py start
    python benchmarks/speed.py --help

CPU seconds of one thread, of code that was compiled before; the least of several calls. What every kernel takes by
itself (dedispersion by tree and brute force among them) is told by `pulsar bench`, and what other programs take for the
same by peers.py.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray
from programs import measured
from shared import FAST, NoiseSource, Sets, best_of, commands, cpu_of, kernel_clock, markdown, white_noise

from pulsar.bench.case import Size, power_of_two
from pulsar.bench.limits import Timing
from pulsar.bench.stages import MEMORY, NHARM, Survey
from pulsar.cleaning.statistics import piece_samples
from pulsar.config.load import load_config
from pulsar.config.model import Config, FoldConfig, OrbitsConfig
from pulsar.data.fold import FoldParams
from pulsar.data.header import Header
from pulsar.dedisp.batches import choose_route, dedispersed
from pulsar.folding.folder import fold_many
from pulsar.folding.refine import refine
from pulsar.io.open import open_observation
from pulsar.io.product.reader import read
from pulsar.orbits.plan import tried
from pulsar.orbits.search import Octave, OrbitSearch, octaves
from pulsar.pipeline.cleaning import clean_source, find_mask
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.stages import BatchSearch
from pulsar.searches.accel import AccelSearch
from pulsar.searches.coherent import CoherentSearch
from pulsar.searches.ffa import FFASearch
from pulsar.searches.fft import FFTSearch
from pulsar.searches.single_pulse import SinglePulseSearch
from pulsar.synthesis import Pulsar, Sky, write_filterbank, write_psrfits

# The page of many candidates is made and opened by references of the tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

app = commands(__doc__)
SEARCHES: dict[str, Any] = {
    "fft": FFTSearch,
    "coherent": CoherentSearch,
    "accel": AccelSearch,
    "ffa": FFASearch,
    "single_pulse": SinglePulseSearch,
}


@app.command()
def search(
    kind: Literal["fft", "coherent", "accel", "ffa", "single_pulse"],
    log2n: int = 20,
    tsamp: Annotated[float, typer.Option(help="[s]")] = 49.152e-6,
    repeat: int = 5,
    ndms: Annotated[float, typer.Option(help="trial DMs for which significances are corrected")] = 1000.0,
    memory: Annotated[int, typer.Option(help="bytes that accelerations may take; 0: as many as they want")] = 0,
    bright: Annotated[float, typer.Option(help="S/N of a pulse in every 20,000 samples; 0: none")] = 0.0,
    sets: Sets = None,
) -> None:
    """A search of one series, of float32 and of int16, and the kernels that it calls."""
    config = load_config(None, sets or [])
    given: dict[str, Any] = {} if kind == "single_pulse" else {"ntrials_dm": ndms}
    if memory:
        given["memory"] = memory
    finder = SEARCHES[kind](1 << log2n, tsamp, getattr(config, kind), **given)
    floats = white_noise(1 << log2n, 1)
    if bright:
        floats[::20000] += bright
    estimate = finder.estimate(finder.nsamps, finder.tsamp, finder.config)
    print(f"{kind}, 2^{log2n} samples, {finder.config!r}: estimate {1e3 * estimate.seconds:.1f} ms; best of {repeat}")
    for name, series in (("float32", floats), ("int16", np.rint(300.0 * floats).astype(np.int16))):
        detections = len(finder.search(series))
        print(f"{name:8s} {1e3 * best_of(repeat, finder.search, series):9.3f} ms CPU, {detections} detections")
        least: dict[str, float] = {}
        for _ in range(repeat):
            with kernel_clock() as spent:
                finder.search(series)
            least = {kernel: min(seconds, least.get(kernel, seconds)) for kernel, seconds in spent.items()}
        for kernel, seconds in sorted(least.items(), key=lambda item: -item[1]):
            print(f"    {kernel:24s} {1e3 * seconds:9.3f} ms")
    print(f"peak of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")


@app.command()
def fold(
    nchans: int = 256,
    nsamps: int = 1 << 18,
    candidates: int = 100,
    threads: int = 1,
    clustered: Annotated[bool, typer.Option(help="ten DMs only")] = False,
) -> None:
    """Folding and refining candidates of 1 ms to 1 s and DM 0 to 1000, no two alike: the worst case for sharing."""
    rng = np.random.default_rng(3)
    header = Header(
        nchans=nchans, nsamps=nsamps, tsamp=64e-6, fch1=1500 - 250.0 / nchans, foff=-500.0 / nchans, tstart=59000.0
    )
    noise = np.random.default_rng(5).integers(-14, 15, (nchans, 1 << 16), dtype=np.int8)
    freqs = np.exp(rng.uniform(np.log(1.0), np.log(1000.0), candidates))
    dms = np.repeat(rng.uniform(0, 1000, 10), -(-candidates // 10)) if clustered else rng.uniform(0, 1000, 9999)
    params = [FoldParams(float(f), 0.0, float(d)) for f, d in zip(freqs, dms[:candidates], strict=True)]
    # With all candidates, so that every kernel they need is there.
    for cube in fold_many(
        NoiseSource(header.with_(nsamps=1 << 14), noise), params, FoldConfig(), threads=1, memory=1 << 30
    ):
        refine(cube)
    cpu, wall = time.process_time(), time.perf_counter()
    cubes = fold_many(NoiseSource(header, noise), params, FoldConfig(), threads=threads, memory=1 << 30)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    refined = cpu_of(lambda: [refine(cube) for cube in cubes])
    print(
        f"{candidates} candidates, {nchans} channels x {nsamps} samples: folded in {cpu:.2f} CPU s, {wall:.2f} elapsed "
        f"({nchans * nsamps * candidates / cpu / 1e9:.1f} G channel-samples/s), refined in {refined:.2f}"
    )


@app.command()
def orbits() -> None:
    """The search over circular orbits, from small to large: CPU seconds per Hz and DM, from a few templates of each.

    P_orb = T ± 5 %, frequencies 85 to 170 Hz (the fundamental of a pulsar of 7 ms); then P_orb from T / 2 to 10 T,
    companions to 0.1 solar masses, every octave.
    """
    print("T [s]   m_c   templates  samples   ms      per Hz and DM")
    lengths = ((1200.0, 0.05), (1200.0, 0.1), (3600.0, 0.1), (3600.0, 0.3), (7200.0, 0.1), (7200.0, 0.3))
    cases = [(tobs, heaviest, 0.95, 1.05, Octave(85.0, 170.0)) for tobs, heaviest in lengths]
    cases += [(tobs, 0.1, 0.5, 10.0, octave) for tobs in (1200.0, 3600.0) for octave in octaves(42.5, 340.0)]
    for tobs, heaviest, low, high, octave in cases:
        config = OrbitsConfig(p_min=low * tobs, p_max=high * tobs, heaviest=heaviest)
        finder = OrbitSearch(round(tobs / 1e-3), 1e-3, octave, config)
        each = tried(finder)
        per_hz = finder.bank.count * each / (octave.high - octave.low)
        print(
            f"{tobs:5g}  {heaviest:4g}  {finder.bank.count:10d}  {finder.n:8d}  {1e3 * each:6.2f}  {per_hz:.4g}   "
            f"({octave.low:g} to {octave.high:g} Hz)",
            flush=True,
        )


@app.command("read")
def reading() -> None:
    """Reading, unpacking, transposing and cleaning from page cache: bytes of the file and samples a processor second.

    Beside it what the machine can do at most: copying memory, and the plain numpy way (frombuffer, transpose, copy).
    """
    source = np.ones(1 << 28, np.uint8)
    target = np.empty_like(source)
    np.copyto(target, source)
    print(f"copying memory: {source.size / best_of(3, np.copyto, target, source) / 1e9:.1f} GB/s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for nchans in (4096, 256):
            sky = Sky(nchans=nchans, fch1=1499.9, foff=-500 / nchans, tsamp=49.152e-6, nsamps=2**27 // nchans)
            raw = np.random.default_rng(1).integers(0, 255, (sky.nsamps, nchans), dtype=np.uint8)
            plain = best_of(3, np.ascontiguousarray, raw.T)
            print(f"{nchans} channels: numpy transposes {raw.size / plain / 1e9:.2f} GB/s, without reading")
            for nbits in (1, 2, 4, 8, 16, 32):
                read_file(
                    f".fil {nbits:2d} bit", [write_filterbank(sky, folder / "a.fil", nbits=nbits, overwrite=True)]
                )
            paths = write_psrfits(sky, folder / f"{nchans}.fits", nbits=8, npol=2, threads=2)
            read_file("PSRFITS 8 bit AABB", list(paths))


def read_file(label: str, paths: list[Path]) -> None:
    """Print how fast a file is read, and read and cleaned."""
    with open_observation(*paths) as obs:
        size, header, quiet = sum(path.stat().st_size for path in paths), obs.header, Progress("quiet")
        step = piece_samples(header.nchans * obs.dtype.itemsize)
        out = np.empty((header.nchans, step), obs.dtype)
        mask = find_mask(obs, Config(), threads=2, progress=quiet).mask
        cleaned = clean_source(obs, mask, Config(), threads=2, progress=quiet)
        # As dedispersion and folding read: long rows.
        gulp = min(32 * step, header.nsamps)
        part = np.empty((cleaned.nchans, gulp), np.int8)

        def read_all() -> None:
            for at in range(0, header.nsamps - step, step):
                obs.read_into(at, out)

        def clean_all() -> None:
            for at in range(0, header.nsamps, gulp):
                cleaned.read_into(at, part)

        read_all()
        clean_all()
        seconds, both = best_of(3, read_all), best_of(3, clean_all)
    samples = header.nsamps * header.nchans
    print(
        f"  {label:20s} read {size / seconds / 1e9:5.2f} GB/s, {samples / seconds / 1e9:5.2f} Gsamples/s;  read and "
        f"cleaned {samples / both / 1e9:5.2f} Gsamples/s"
    )


def run_pulsar(*arguments: object, environment: dict[str, str] | None = None) -> tuple[Timing, float]:
    """Times and peak memory [MiB] of ``pulsar ARGUMENTS`` in a process of its own."""
    command = [sys.executable, "-m", "pulsar", *map(str, arguments)]
    timing, memory, _ = measured(command, Path.cwd(), environment or {})
    return timing, memory / 2**20


@app.command()
def program() -> None:
    """The whole program on 256 channels x 2^18 samples x 512 DMs, 16 harmonics, 5 folds: by stage, and peak memory.

    The peer's chain for it (planned prepsubband, realfft, accelsearch -zmax 0, sifting, 5 folds) took 125 to 145 CPU
    seconds on a machine of this kind and left over 2,000 files.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sky = Sky(tsamp=64e-6, nsamps=2**18, seed=5, pulsars=(Pulsar(period=0.00537, dm=71.0, snr=25, duty=0.08),))
        path = write_filterbank(sky, folder / "speed.fil", threads=2)
        options = ["--dm", "0", "127.75", "--set", "dedisp.dm_step=0.25", "--set", "dedisp.max_downsample=1"]
        options += ["--set", "fft.nharm=16", "--ncands", "5", "--threads", "1"]
        run_pulsar("search", path, "--out", folder / "warm.h5", *options)
        timing, peak = run_pulsar("search", path, "--out", folder / "run.h5", *options)
        print(f"256 channels x 2^18 samples x 512 DMs: {timing.cpu:.1f} CPU s, peak {peak:.0f} MiB")
        show_stages(folder / "run.h5")


def show_stages(product: Path) -> None:
    """Print what the stages of a search took, and its first candidates."""
    run = read(product)
    for stage, (wall, cpu) in run.provenance["stages"].items():
        print(f"  {stage:14s} {wall:6.2f} s elapsed  {cpu:6.2f} CPU s")
    rows = run.rows("candidates")
    for row in rows[rows["harmonic_of"] == ""][:5]:
        print(f"  P {row['period']:.9f} s, DM {row['dm']:.2f}, S/N {row['snr']:.1f}, score {row['score']:.2f}")


@app.command("memory")
def bounded_memory(gib: float = 6.0, bound: str = "1GiB") -> None:
    """A file of so many GiB with and without a bound on memory: time, peak, and the same candidates."""
    drawn = (Pulsar(period=0.00537, dm=71.0, snr=25, duty=0.08), Pulsar(period=0.8123, dm=52.0, snr=25, duty=0.04))
    sky = Sky(
        nchans=1024, fch1=1499.755859375, foff=-0.48828125, tsamp=65.536e-6, nsamps=int(gib * 2**20), seed=5,
        pulsars=drawn,
    )  # fmt: skip
    tables = []
    with tempfile.TemporaryDirectory() as name:
        path = write_filterbank(sky, Path(name) / "big.fil", threads=2)
        for size in (bound, "12GiB"):
            out = path.with_suffix(f".{size}.h5")
            timing, peak = run_pulsar("search", path, "--dm", 40, 100, "--memory", size, "--out", out)
            tables.append(read(out).rows("candidates"))
            about = f"{gib:g} GiB file, --memory {size}"
            print(f"{about}: {timing.cpu:.0f} CPU s, peak {peak:.0f} MiB, {len(tables[-1])} candidates", flush=True)
    same = len(tables[0]) == len(tables[1]) and all(
        np.allclose(tables[0][key], tables[1][key], rtol=1e-6, equal_nan=True) for key in ("period", "dm", "snr")
    )
    print("the same candidates" if same else "DIFFERENT candidates")


@app.command()
def start(repeat: int = 5) -> None:
    """How long the program takes to start, in fresh processes, against what is promised; exit code 1 if it is missed.

    `pulsar --help` and `pulsar info` on a file; `pulsar search` on a small one (64 channels x 2^16 samples, DM 0-50)
    with an empty numba cache, less what it takes afterwards: the compilation that a user waits for once; and the whole
    of it afterwards. Judged is the elapsed time, or the CPU time of the process where that is less: a machine busy with
    other work must not fail it. The least of some runs; with an empty cache one.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {"NUMBA_CACHE_DIR": str(folder / "cache")}

        def least(runs: int, *arguments: object) -> Timing:
            times = [run_pulsar(*arguments, environment=environment)[0] for _ in range(runs)]
            return Timing(min(t.cpu for t in times), min(t.wall for t in times), runs)

        pulsar = Pulsar(period=0.0731, dm=21.0, snr=25, duty=0.05)
        sky = Sky(nchans=64, foff=-7.8125, fch1=1496.0, tsamp=128e-6, nsamps=1 << 16, pulsars=(pulsar,))
        file = write_filterbank(sky, folder / "small.fil")
        small = ("search", file, "--dm", 0, 50, "--out", folder / "run.h5", "--overwrite", "--quiet")
        helped, info = least(repeat, "--help"), least(repeat, "info", file)
        cold, warm = least(1, *small), least(repeat, *small)
    compilation = Timing(cold.cpu - warm.cpu, cold.wall - warm.wall, 1)
    missed = False
    for work, timing, limit in (
        ("pulsar --help", helped, 0.4),
        ("pulsar info", info, 1.0),
        ("compilation, first search", compilation, 60.0),
        ("small search, compiled", warm, 3.0),
    ):
        good = min(timing.wall, timing.cpu) < limit
        missed = missed or not good
        verdict = "ok" if good else "MISSED"
        print(f"{work:<26} {timing.wall:7.2f} s elapsed  {timing.cpu:7.2f} CPU s  limit {limit:4g} s  {verdict}")
    raise typer.Exit(1 if missed else 0)


@app.command()
def together(
    most: Annotated[int, typer.Option(help="searches at a time; 0: as many as cores")] = 0,
    nchans: int = 1024,
    nsamps: int = 1 << 19,
    dm: Annotated[float, typer.Option(help="highest DM")] = 500.0,
) -> None:
    """How much slower a search gets beside others: searches of one thread, 1, 2 ... at a time.

    Cores share the memory and the last cache. What a core does with all others busy, over what it does alone, is
    `machine.shared_speed` of `pulsar plan --survey`; the throughput is N times that.
    """
    most = most or len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        pulsars = (Pulsar(period=0.0337, dm=120.0, snr=20.0, duty=0.05),)
        sky = Sky(nchans=nchans, fch1=1500.0, foff=-500.0 / nchans, tsamp=49.152e-6, nsamps=nsamps, pulsars=pulsars)
        files = [write_filterbank(sky, Path(folder) / f"{i}.fil") for i in range(most)]
        # Kernels compiled, files in memory.
        search_together(files, dm)
        counts = [1]
        while counts[-1] < most:
            counts.append(min(2 * counts[-1], most))
        print(f"{'searches':>9}{'elapsed [s]':>12}{'CPU s each':>12}{'speed of a core':>17}{'throughput':>12}")
        alone = 0.0
        for count in counts:
            elapsed, cpu = search_together(files[:count], dm)
            alone = alone or elapsed
            speed = alone / elapsed
            print(f"{count:>9}{elapsed:>12.1f}{cpu / count:>12.1f}{speed:>17.3f}{count * speed:>12.2f}")


def search_together(files: list[Path], dm: float) -> tuple[float, float]:
    """Elapsed and processor seconds of searches that run at the same time."""
    command = [sys.executable, "-m", "pulsar", "search", "--dm", "0", str(dm), "--threads", "1", "--quiet"]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    running = [subprocess.Popen([*command, str(f), "--out", str(f.with_suffix(".h5")), "--overwrite"]) for f in files]
    if any(p.wait() for p in running):
        raise SystemExit("a search failed")
    elapsed, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return elapsed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


BEAM_PULSARS = (
    Pulsar(period=0.00537, dm=71.0, snr=20, duty=0.08),
    Pulsar(period=0.0812, dm=452.0, snr=18, duty=0.04),
    Pulsar(period=0.512, dm=842.0, snr=20, duty=0.03),
)


def beam_files(folder: Path, pol: str, nsamps: int) -> list[Path]:
    """The files of the beam, simulated unless they are there."""
    sky = Sky(**{**FAST, "nsamps": nsamps}, seed=7, pulsars=BEAM_PULSARS)
    if pol == "AA+BB":
        path = folder / f"beam-{nsamps}.fil"
        return [path if path.exists() else write_filterbank(sky, path, threads=2)]
    stem = f"beam-{nsamps}-{pol}"
    found = sorted(folder.glob(f"{stem}_*.fits"))
    return found or list(write_psrfits(sky, folder / f"{stem}.fits", npol=2, rows_per_file=512, threads=2))


@app.command("beam")
def fast_beam(
    files: Annotated[list[Path] | None, typer.Argument(help="of your own")] = None,
    folder: Annotated[Path | None, typer.Option(help="where the simulated files are kept")] = None,
    pol: Annotated[str, typer.Option(help="AA+BB or AABB")] = "AA+BB",
    nsamps: int = FAST["nsamps"],
    tolerance: float = 0.1,
    threads: int = 2,
    memory: str = "8GiB",
    sets: Sets = None,
) -> None:
    """One beam of FAST, from files to ranked candidates: elapsed and processor seconds by stage, and peak memory.

    4096 channels, 1000-1500 MHz, 2^20 samples of 49.152 us (51.5 s), 8 bit, simulated (4.3 GB; AABB: two PSRFITS files,
    8.7 GB) and kept in --folder, or files of your own; DM 0-1000 by the plan, 16 harmonics, sift, 50 folds. Compiled
    code is cached, and the files are read once, before anything is timed.
    """
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        paths = files or beam_files(folder or out, pol, nsamps)
        options = ["--set", f"dedisp.tolerance={tolerance}", "--set", "fft.nharm=16", "--ncands", "50"]
        options += [word for text in sets or [] for word in ("--set", text)]
        options += ["--memory", memory, "--threads", str(threads)]
        run_pulsar("search", *paths, "--dm", 0, 2, "--out", out / "warm.h5", *options)
        timing, peak = run_pulsar("search", *paths, "--dm", 0, 1000, "--out", out / "run.h5", *options)
        print(f"{timing.wall:.1f} s elapsed, {timing.cpu:.1f} CPU s, {threads} threads, {peak:.0f} MiB")
        show_stages(out / "run.h5")


#: What is measured as it grows.
NCHANS, NDMS, NSAMPS = 256, 128, 1 << 18
SAMPLES = [1 << k for k in range(18, 23)]
DMS = [1 << k for k in range(5, 11)]
SYSTEM = "... of the system, for memory"
#: Spectra alone are searched.
SPECTRA: dict[str, Any] = {
    "fft": {"nharm": NHARM},
    **{name: {"enabled": False} for name in ("coherent", "ffa", "single_pulse")},
}

#: By name, numbers of samples or DMs, and seconds.
Lines = dict[str, tuple[list[int], list[float]]]


class Parts(NamedTuple):
    """CPU time of the parts of one run [s]."""

    user: float
    system: float
    search: float


def dedispersion(survey: Survey, data: NDArray[np.int8], search: bool) -> Parts:
    """Dedisperse a survey, and search all its series if `search`."""
    source, plan = NoiseSource(survey.sky.header, data), survey.plan()
    finder = BatchSearch(plan, Config.model_validate(SPECTRA), threads=1, memory=MEMORY)
    searching = 0.0
    start = resource.getrusage(resource.RUSAGE_SELF)
    for batch in dedispersed(source, plan, choose_route(plan, threads=1, memory=MEMORY), threads=1):
        if search:
            searching += cpu_of(finder.search, batch)
    end = resource.getrusage(resource.RUSAGE_SELF)
    return Parts(end.ru_utime - start.ru_utime - searching, end.ru_stime - start.ru_stime, searching)


def one_series(nsamps: int) -> float:
    """CPU time of the search of one series [s], the least of several."""
    series = np.rint(np.random.default_rng(1).normal(0.0, 200.0, nsamps)).astype(np.int16)
    finder = FFTSearch(nsamps, 64e-6, Config.model_validate(SPECTRA).fft)
    finder.search(series)
    return best_of(5, finder.search, series)


def measure_growth(rounds: int) -> tuple[Lines, Lines]:
    """Times against samples, and against DMs."""
    data = np.random.default_rng(1).integers(-14, 15, (NCHANS, SAMPLES[-1]), dtype=np.int8)
    dedispersion(Survey(Size(NSAMPS, NCHANS, 32)), data, True)  # compiles
    by_samples = np.full((3, len(SAMPLES)), np.inf)
    by_dms = np.full((3, len(DMS)), np.inf)
    for _ in range(rounds):
        for i, n in enumerate(SAMPLES):
            user, system, _ = dedispersion(Survey(Size(n, NCHANS, NDMS)), data, False)
            by_samples[:, i] = np.minimum(by_samples[:, i], (user, system, one_series(n)))
        for i, n in enumerate(DMS):
            by_dms[:, i] = np.minimum(by_dms[:, i], dedispersion(Survey(Size(NSAMPS, NCHANS, n)), data, True))
    names = (f"dedispersion, {NDMS} DMs", SYSTEM, "search of one series")
    samples = {name: (SAMPLES, times.tolist()) for name, times in zip(names, by_samples, strict=True)}
    names = ("dedispersion, 2^18 samples", SYSTEM, "search of all series")
    return samples, {name: (DMS, times.tolist()) for name, times in zip(names, by_dms, strict=True)}


def exponent(x: list[int], y: list[float]) -> float:
    """Of the power law that fits best."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def show_lines(lines: Lines, unit: str) -> None:
    """A table in Markdown."""
    x = next(iter(lines.values()))[0]
    rows = [
        [name, *(f"{value:.3g}" for value in y), "" if name == SYSTEM else f"{exponent(x, y):.2f}"]
        for name, (_, y) in lines.items()
    ]
    print(markdown([f"CPU [s] for {unit}", *map(power_of_two, x), "exponent"], rows), end="\n\n")


def plot_growth(samples: Lines, dms: Lines, path: Path) -> None:
    """Both as an image, with the line of proportional growth through each first point."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    for axis, lines, label in zip(axes, (samples, dms), ("samples", "trial DMs"), strict=True):
        shown = {name: line for name, line in lines.items() if name != SYSTEM}
        for colour, (name, (x, y)) in enumerate(shown.items()):
            axis.plot(x, y, "o-", color=f"C{colour}", label=f"{name}: exponent {exponent(x, y):.2f}")
            axis.plot(x, [y[0] * n / x[0] for n in x], "--", color=f"C{colour}", alpha=0.5)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set(xlabel=label, ylabel="CPU [s]")
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


@app.command("scaling")
def growth(png: Annotated[Path | None, typer.Option("--plot", metavar="PNG")] = None, rounds: int = 3) -> None:
    """How CPU time grows with samples and with trial DMs: 256 channels in memory, 1000-1500 MHz, 64 us, one thread.

    Samples: 2^18 to 2^22, for 128 DMs, and for the search of one series. DMs: 32 to 1024, steps of 0.5, 2^18 samples.
    Every point is the least of some rounds over all points. The exponent is that of the power law that fits best: 1 is
    linear; an FFT of n samples takes n log n, which is 1.07 here. Dedispersion is split into the time of the program
    and that of the system, which fetches fresh pages of memory (over 2 GB at 2^22): what a page costs depends on what
    else the machine's memory is used for, so this part is stated but not fitted.
    """
    samples, dms = measure_growth(rounds)
    show_lines(samples, "samples")
    show_lines(dms, "DMs")
    if png is not None:
        plot_growth(samples, dms, png)


#: What is done, as JavaScript that does it.
ACTIONS = {
    "sort by DM": "lists.get('candidates').sort(lists.get('candidates').columns.findIndex(c => c.key === 'dm'))",
    "filter": "lists.get('candidates').input.value = 'dm>50 snr>8'; lists.get('candidates').refresh()",
    "clear": "lists.get('candidates').clear()",
    "open a sheet": "lists.get('candidates').select(lists.get('candidates').view[500], true)",
    "next row": "lists.get('candidates').move(1)",
}


@app.command("page")
def page_of_many(
    run: Annotated[Path, typer.Argument(help="product of a real run")],
    count: int = 1000,
    keep: Annotated[Path | None, typer.Option(help="folder in which product and page stay")] = None,
) -> None:
    """The page of 1,000 candidates: how long it takes to make, how large it is, how long a browser takes with it.

    The folds of a real run, such as that of ``pulsar demo``, are repeated with other periods, DMs and noise until there
    are enough. Needs Chromium. Times in it are from the start of loading until the lists are there, and from an action
    until the page is laid out, of one process on this machine.
    """
    from reference.many import many

    with tempfile.TemporaryDirectory() as folder:
        where = keep or Path(folder)
        where.mkdir(parents=True, exist_ok=True)
        make_page(many(read(run), where / "many.h5", count, pulses=count), where / "report")
        open_page(where / "report" / "index.html")


def make_page(product: Path, folder: Path) -> None:
    """Print time and size."""
    from pulsar.report.page import tasks_of, write_report

    run = read(product)
    sheets = len(tasks_of([run], None))
    before, start = ended_cpu(), time.perf_counter()
    page = write_report([run], folder)
    wall, spent = time.perf_counter() - start, ended_cpu() - before
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"made: {sheets} sheets in {wall:.1f} s, {spent:.1f} s of processor, {1e3 * spent / sheets:.0f} ms each")
    print(f"size: {size / 1e6:.1f} MB, of which the page {page.stat().st_size / 1e6:.1f} MB")
    print(f"      a sheet {(size - page.stat().st_size) / sheets / 1e3:.1f} kB")


def ended_cpu() -> float:
    """CPU seconds of this process and of those that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def open_page(page: Path) -> None:
    """Print how long the browser takes."""
    from reference.browser import Browser

    frame = "await new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)));"
    with Browser(1280, 800) as browser:
        ready = []
        for _ in range(5):
            browser.ask("Page.navigate", url="about:blank")
            browser.open(page)
            ready.append(float(browser.run("document.documentElement.dataset.ready")))
        print(f"opens: {min(ready):.0f} ms, of five times the worst {max(ready):.0f} ms")
        for name, script in ACTIONS.items():
            # Do it, lay the page out, note the time [ms], and let it be drawn.
            timed = f"const s = performance.now(); {script}; document.body.offsetHeight; t.push(performance.now() - s);"
            loop = f"for (let i = 0; i < 9; i++) {{ {timed} {frame} }}"
            times = json.loads(browser.run(f"(async () => {{ const t = []; {loop} return JSON.stringify(t); }})()"))
            print(f"{name}: {sorted(times)[len(times) // 2]:.0f} ms")


if __name__ == "__main__":
    app()
