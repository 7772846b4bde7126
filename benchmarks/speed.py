"""How long the parts of the program take, each by itself: searches of a series, reading, dedispersion, folding, start.

    python benchmarks/speed.py search accel --log2n 21 --set accel.zmax=200
    python benchmarks/speed.py start
    python benchmarks/speed.py --help

CPU seconds of one thread, of code that was compiled before; the least of several calls. What every kernel takes by
itself (dedispersion by tree and brute force among them) is told by `pulsar bench`, and what other programs take for the
same by peers.py.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from programs import measured
from shared import NoiseSource, Sets, best_of, commands, cpu_of, kernel_clock, white_noise

from pulsar.bench.limits import Timing
from pulsar.cleaning.statistics import piece_samples
from pulsar.config.load import load_config
from pulsar.config.model import Config, FoldConfig, OrbitsConfig
from pulsar.data.fold import FoldParams
from pulsar.data.header import Header
from pulsar.folding.folder import fold_many
from pulsar.folding.refine import refine
from pulsar.io.open import open_observation
from pulsar.io.product.reader import read
from pulsar.orbits.plan import tried
from pulsar.orbits.search import Octave, OrbitSearch, octaves
from pulsar.pipeline.cleaning import clean_source, find_mask
from pulsar.pipeline.progress import Progress
from pulsar.searches.accel import AccelSearch
from pulsar.searches.coherent import CoherentSearch
from pulsar.searches.ffa import FFASearch
from pulsar.searches.fft import FFTSearch
from pulsar.searches.single_pulse import SinglePulseSearch
from pulsar.synthesis import Pulsar, Sky, write_filterbank, write_psrfits

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


if __name__ == "__main__":
    app()
