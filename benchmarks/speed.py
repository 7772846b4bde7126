"""How long the program takes: a beam of FAST, its parts by themselves (a series, reading, folding), and kills.

    python benchmarks/speed.py beam --folder /data                         # simulated (4.3 GB), kept there, used again
    python benchmarks/speed.py beam a.fits b.fits --set ffa.enabled=false
    python benchmarks/speed.py search accel --log2n 21 --set accel.zmax=200
    python benchmarks/speed.py kills --folder /data --twice 3              # each run is killed three times
    python benchmarks/speed.py --help

CPU seconds of one thread, of code that was compiled before; the least of several calls. What every kernel takes by
itself (dedispersion by tree and brute force among them) is told by `pulsar bench`, and what other programs take for the
same by `versus.py work`.
"""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from programs import PATIENCE, last_line, measured, run
from shared import FAST, NoiseSource, Sets, best_of, commands, kernel_clock, scratch_folder, white_noise, words_of

from pulsar.cleaning.statistics import piece_samples
from pulsar.config.load import load_config
from pulsar.config.model import Config, FoldConfig, OrbitsConfig
from pulsar.data.fold import FoldParams
from pulsar.data.header import Header
from pulsar.folding.folder import fold_many
from pulsar.folding.refine import refine
from pulsar.io.open import open_observation
from pulsar.io.product.reader import read
from pulsar.orbits.run import tried
from pulsar.orbits.search import Octave, OrbitSearch, octaves
from pulsar.pipeline.cleaning import clean_source, find_mask
from pulsar.pipeline.progress import Progress
from pulsar.searches import registry
from pulsar.synthesis.model import Pulsar, Sky
from pulsar.synthesis.write import write_filterbank, write_psrfits

# What is in a product is told by a reference of the tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from reference.products import everything

app = commands(__doc__)
SEARCHES: dict[str, Any] = {search.name: search for search in registry.SEARCHES}


@app.command()
def search(
    kind: Literal["fft", "coherent", "accel", "ffa", "single_pulse"],
    log2n: int = 20,
    tsamp: Annotated[float, typer.Option(help="[s]")] = 49.152e-6,
    repeat: int = 5,
    memory: Annotated[int, typer.Option(help="bytes that accelerations may take; 0: as many as they want")] = 0,
    sets: Sets = None,
) -> None:
    """A search of one series, of float32 and of int16, and the kernels that it calls."""
    config = load_config(None, sets or [])
    given: dict[str, Any] = {} if kind == "single_pulse" else {"ntrials_dm": 1000.0}
    given |= {"memory": memory} if memory else {}
    finder = SEARCHES[kind](1 << log2n, tsamp, getattr(config, kind), **given)
    floats = white_noise(1 << log2n, 1)
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
) -> None:
    """Folding and refining candidates of 1 ms to 1 s and DM 0 to 1000, no two alike: the worst case for sharing."""
    rng = np.random.default_rng(3)
    header = Header(
        nchans=nchans, nsamps=nsamps, tsamp=64e-6, fch1=1500 - 250.0 / nchans, foff=-500.0 / nchans, tstart=59000.0
    )
    noise = np.random.default_rng(5).integers(-14, 15, (nchans, 1 << 16), dtype=np.int8)
    freqs = np.exp(rng.uniform(np.log(1.0), np.log(1000.0), candidates))
    dms = rng.uniform(0, 1000, candidates)
    params = [FoldParams(float(f), 0.0, float(d)) for f, d in zip(freqs, dms, strict=True)]
    given = {"config": FoldConfig(), "memory": 1 << 30}
    # With all candidates, so that every kernel they need is there.
    for cube in fold_many(NoiseSource(header.with_(nsamps=1 << 14), noise), params, **given, threads=1):
        refine(cube)
    cpu, wall = time.process_time(), time.perf_counter()
    cubes = fold_many(NoiseSource(header, noise), params, **given, threads=threads)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    refined = best_of(1, lambda: [refine(cube) for cube in cubes])
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
        text = f"{tobs:5g}  {heaviest:4g}  {finder.bank.count:10d}  {finder.n:8d}  {1e3 * each:6.2f}  {per_hz:.4g}"
        print(f"{text}   ({octave.low:g} to {octave.high:g} Hz)", flush=True)


@app.command("read")
def reading() -> None:
    """Reading, unpacking, transposing and cleaning from page cache: bytes of the file and samples a processor second.

    What copying memory and the plain numpy way take on the machine: `pulsar bench unpack`.
    """
    with scratch_folder() as folder:
        for nchans in (4096, 256):
            sky = Sky(nchans=nchans, fch1=1499.9, foff=-500 / nchans, tsamp=49.152e-6, nsamps=2**27 // nchans)
            for nbits in (1, 2, 4, 8, 16, 32):
                path = write_filterbank(sky, folder / "a.fil", nbits=nbits, overwrite=True)
                read_file(f"{nchans} channels, .fil {nbits:2d} bit", [path])
            paths = write_psrfits(sky, folder / f"{nchans}.fits", nbits=8, npol=2, threads=2)
            read_file(f"{nchans} channels, PSRFITS 8 bit AABB", list(paths))


def read_file(label: str, paths: list[Path]) -> None:
    """Print how fast a file is read, and read and cleaned."""
    with open_observation(*paths) as obs:
        size, header, quiet = sum(path.stat().st_size for path in paths), obs.header, Progress("quiet")
        step = piece_samples(header.nchans * obs.dtype.itemsize)
        out = np.empty((header.nchans, step), obs.dtype)
        mask, _ = find_mask(obs, Config(), threads=2, progress=quiet)
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
        f"{label:34s} read {size / seconds / 1e9:5.2f} GB/s, {samples / seconds / 1e9:5.2f} Gsamples/s;  read and "
        f"cleaned {samples / both / 1e9:5.2f} Gsamples/s"
    )


def pulsar_command(*arguments: object) -> list[str]:
    """The command ``pulsar ARGUMENTS``."""
    return [sys.executable, "-m", "pulsar", *map(str, arguments)]


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
    with scratch_folder() as folder:
        pulsars = (Pulsar(period=0.0337, dm=120.0, snr=20.0, duty=0.05),)
        sky = Sky(nchans=nchans, fch1=1500.0, foff=-500.0 / nchans, tsamp=49.152e-6, nsamps=nsamps, pulsars=pulsars)
        files = [write_filterbank(sky, folder / f"{i}.fil") for i in range(most)]
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
    options = ("--dm", 0, dm, "--threads", 1, "--quiet", "--overwrite", "--out")
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    running = [subprocess.Popen(pulsar_command("search", f, *options, f.with_suffix(".h5"))) for f in files]
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
    threads: int = 2,
    memory: Annotated[str, typer.Option(help="of the search; with 9GiB its samples stay to be folded")] = "9GiB",
    sets: Sets = None,
) -> None:
    """One beam of FAST, from files to ranked candidates: elapsed and processor seconds by stage, and peak memory.

    4096 channels, 1000-1500 MHz, 2^20 samples of 49.152 us (51.5 s), 8 bit, simulated (4.3 GB; AABB: two PSRFITS files,
    8.7 GB) and kept in --folder, or files of your own; DM 0-1000 by the plan, 16 harmonics, sift, 50 folds. Compiled
    code is cached, and the files are read once, before anything is timed.
    """
    with scratch_folder() as out:
        paths = files or beam_files(folder or out, pol, nsamps)
        settings = ("dedisp.tolerance=0.1", "fft.nharm=16", "fold.ncands=50", f"run.memory={memory}", *(sets or []))
        options = ["--threads", str(threads), *(word for text in settings for word in ("--set", text))]
        here = Path.cwd()
        measured(pulsar_command("search", *paths, "--dm", 0, 2, "--out", out / "warm.h5", *options), here, {})
        ran = measured(pulsar_command("search", *paths, "--dm", 0, 1000, "--out", out / "run.h5", *options), here, {})
        print(f"{ran.wall:.1f} s elapsed, {ran.cpu:.1f} CPU s, {threads} threads, {ran.memory / 2**20:.0f} MiB")
        found = read(out / "run.h5")
        stages, rows = found.provenance["stages"], found.rows("candidates")
    for stage, (wall, cpu) in stages.items():
        print(f"  {stage:14s} {wall:6.2f} s elapsed  {cpu:6.2f} CPU s")
    for row in rows[rows["harmonic_of"] == ""][:5]:
        print(f"  {words_of(row)}")


@app.command()
def kills(
    folder: Annotated[Path | None, typer.Option(help="where the simulated file is kept")] = None,
    nsamps: int = 1 << 19,
    dm: Annotated[float, typer.Option(help="highest DM")] = 1000.0,
    count: Annotated[int, typer.Option(help="kills in all")] = 40,
    twice: Annotated[int, typer.Option(help="kills of each run")] = 1,
    calm: Annotated[int, typer.Option(help="undisturbed runs")] = 3,
    seed: int = 1,
    threads: int = 2,
) -> None:
    """A search of a FAST beam is killed at random times and gone on with: is the product the same, how much done twice?

    A kill is SIGKILL for all processes of the run, at a time drawn evenly from what an undisturbed run takes; then the
    same command goes on with `--resume` to the end. Done twice is the processor time of all its processes less that of
    an undisturbed run (the median of `--calm` runs; their scatter is the error), and as a part of that. The program's
    own is told apart from that of the system, which on a virtual machine is mostly memory that the host has to find
    anew; and what a start takes, imports, kernels and writing: that of a search of a file with next to nothing in it.
    All that the product holds must be the same, but for how and when it was made. Exit code 1 if it is not. Elapsed
    time is told, too, which says little on a machine with others on it.
    """
    chance = random.Random(seed)
    with scratch_folder() as room:
        out = room / "run.h5"
        file = beam_files(folder or room, "AA+BB", nsamps)[0]
        nothing = write_filterbank(Sky(nchans=64, nsamps=1 << 14), room / "nothing.fil", threads=1)

        def search(path: Path, *more: object, after: float = PATIENCE) -> tuple[NDArray[np.float64], bool]:
            """Elapsed time, that of the program and of the system; true if it ended before it was killed."""
            words = pulsar_command("search", path, "--out", out, "-q", "--threads", threads, *more)
            ran = run(words, room, {}, after)
            if ran.code not in (0, -signal.SIGKILL):
                raise SystemExit(f"exit code {ran.code}: {last_line(ran.err)}")
            return np.array([ran.wall, ran.user, ran.system]), ran.code == 0

        search(nothing)
        start = search(nothing, "--overwrite")[0]
        undisturbed = []
        for _ in range(calm):
            undisturbed.append(search(file, "--dm", 0, dm, "--overwrite")[0])
            print("undisturbed: {:.1f} s elapsed, {:.1f} + {:.1f} CPU s".format(*undisturbed[-1]), flush=True)
        whole, want = np.median(undisturbed, axis=0), everything(out)
        out.unlink()
        again = []
        different = done = 0
        while done < count:
            spent, at, ended = -whole, list[float](), False
            while not ended:
                after = chance.uniform(0.0, float(whole[0])) if len(at) < twice else PATIENCE
                more, ended = search(file, "--dm", 0, dm, "--resume", after=after)
                spent = spent + more
                at += [] if ended else [after]
            same = everything(out) == want and not out.with_name("run.h5.parts").exists()
            different, done = different + (not same), done + len(at)
            out.unlink()
            if at:
                again.append(spent / len(at))
                more = "{1:.2f} + {2:.2f} CPU s more, {0:.1f} s elapsed".format(*again[-1])
                result, times = "the same" if same else "ANOTHER PRODUCT", ", ".join(f"{second:.1f}" for second in at)
                print(f"killed after {times} s: {result}, each {more}", flush=True)
    print(f"{done} kills, {different} other products; a start takes {start[1]:.2f} + {start[2]:.2f} CPU s")
    elapsed, own, system = np.array(again).T
    for label, values, of in (
        ("done twice at a kill [CPU]", own + system, whole[1] + whole[2]),
        ("  of the program's own", own, whole[1]),
        ("  and without the start", own - start[1], whole[1]),
        ("elapsed", elapsed, whole[0]),
    ):
        low, high = np.median(values), max(values)
        print(f"{label}: median {low:.2f} s ({100 * low / of:.1f} %), worst {high:.2f} s ({100 * high / of:.1f} %)")
    raise typer.Exit(1 if different else 0)


if __name__ == "__main__":
    app()
