"""A run keeps to its memory at any length, and says so where there is too little."""

import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from batch.conftest import one_file
from faults.conftest import names, search
from reference.masks import make_statistics
from reference.processes import environment, finish

from pulsar.cleaning.mask import make_mask
from pulsar.cleaning.statistics import JUDGING, MASK, block_edges, channel_blocks, making_bytes, reading_threads
from pulsar.config.load import load_config
from pulsar.config.model import Config
from pulsar.data.header import Header
from pulsar.errors import ConfigError
from pulsar.io.memory import Filterbank
from pulsar.io.sigproc import FilterbankWriter
from pulsar.pipeline.room import BASE_MEMORY, OVER, least_memory, stage_memory

NCHANS = 4096
MIB = 1 << 20


def sparse(path: Path, nbytes: int, tsamp: float) -> Path:
    """A file of that size of which all but a few spectra of noise in every block are holes, and take no disk."""
    header = Header(nchans=NCHANS, nsamps=0, tsamp=tsamp, fch1=1500.0, foff=-0.1, tstart=59000.0)
    noise = np.random.default_rng(1).normal(100, 10, (NCHANS, 8))
    with FilterbankWriter(path, header, nbits=8) as writer:
        writer.write(noise)
    spectra = np.clip(noise, 1, 255).astype(np.uint8).T.tobytes()
    start = path.stat().st_size - len(spectra)
    edges = block_edges((nbytes - start) // NCHANS, tsamp, Config().rfi.block, NCHANS)
    with path.open("r+b") as stream:
        for edge in edges[:-1]:
            stream.seek(start + int(edge) * NCHANS)
            stream.write(spectra)
        stream.truncate(nbytes)
    assert path.stat().st_blocks * 512 < 64 * MIB
    return path


#: The program, which writes its largest resident memory [KiB] at its end: what the system counts for a child begins
#: with the memory of the process that started it.
TELLING = """
import atexit, pathlib, re, runpy, sys
def tell(path=pathlib.Path(sys.argv.pop(1))):
    path.write_text(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
atexit.register(tell)
runpy.run_module("pulsar", run_name="__main__", alter_sys=True)
"""


def peak(path: Path, out: Path, memory: str, dm: float = 30.0) -> float:
    """Largest resident memory of a search up to a DM [MiB]."""
    sets = ("rfi.clip=0", "ffa.enabled=false", "fold.ncands=4", "fft.max_detections=20")
    command = ["search", str(path), "--out", str(out), "--dm", "0", str(dm), "--memory", memory, "-q"]
    told = out.with_suffix(".peak")
    done = subprocess.run(
        [sys.executable, "-c", TELLING, str(told), *command, *(a for one in sets for a in ("--set", one))],
        env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(told.read_text()) / 1024


def test_a_file_of_more_than_the_memory(tmp_path: Path) -> None:
    # The comb of spectra that are no holes is found at every DM, over and over: a few of them do.
    found = peak(sparse(tmp_path / "a.fil", 544 * MIB, 1e-3), tmp_path / "run.h5", "512MiB", dm=10.0)
    assert found < OVER * 512


@pytest.mark.slow
def test_24_gib_through_2(tmp_path: Path) -> None:
    found = peak(sparse(tmp_path / "a.fil", 24 << 30, 5e-5), tmp_path / "run.h5", "2GiB")
    assert found < OVER * 2048


def limited(addresses: int, *args: object) -> "subprocess.CompletedProcess[str]":
    """A command under a limit of addresses [byte], as ``ulimit -v`` sets it."""
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_AS, ({addresses}, {addresses})); "
        "sys.argv[0] = 'pulsar'; from pulsar.cli.app import main; main()"
    )
    return finish([sys.executable, "-c", code, *map(str, args)])


def test_few_addresses_are_told_before_libraries_abort(tmp_path: Path) -> None:
    # numba never ends being loaded within so few.
    done = limited(300 * MIB, "config", "show")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"pulsar: `ulimit -v` leaves this process 300 MiB of addresses: .* \(ulimit -v \d+\)\n", done.stderr
    )
    # The compiler aborts within these.
    out = tmp_path / "run.h5"
    path = sparse(tmp_path / "a.fil", 4 * MIB, 1e-3)
    done = limited(700 * MIB, "search", path, "--out", out, "--threads", 2, "--memory", "500MiB")
    assert (done.returncode, done.stdout) == (2, "")
    assert "a search within 500 MiB of memory by 2 threads may take" in done.stderr
    assert names(tmp_path) == ["a.fil"]


@pytest.mark.slow
def test_as_many_addresses_as_are_asked_for_do(tmp_path: Path) -> None:
    args = search(one_file(tmp_path, 1), tmp_path / "run.h5", "-q", "--memory", "500MiB", "--threads", 2)[3:]
    needed = re.search(r"raise it \(ulimit -v (\d+)\)", limited(700 * MIB, *args).stderr)
    assert needed is not None
    done = limited(1024 * int(needed[1]), *args)
    assert done.returncode == 0, done.stderr


def observation(nsamps: int, nchans: int = NCHANS) -> Filterbank:
    header = Header(nchans=nchans, nsamps=nsamps, tsamp=1e-3, fch1=1500.0, foff=-0.1, tstart=59000.0, nbits=8)
    return Filterbank(np.broadcast_to(np.uint8(0), (nchans, nsamps)), header)


def test_making_a_mask_takes_what_the_plan_counts() -> None:
    obs = observation(256 * 250, 1024)
    stats = make_statistics(obs.header, 256)
    config = Config().rfi
    make_mask(obs, stats, config)  # compiles, imports
    tracemalloc.start()
    mask = make_mask(obs, stats, config)
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Small tables have the same small change as large ones: a few rows or columns at a time.
    cells, change = mask.bad.size, 12 * MIB
    assert cells == channel_blocks(obs, config)
    assert most < JUDGING * cells + change
    assert kept < MASK * cells


def test_the_stages_have_what_the_mask_leaves() -> None:
    short, long = observation(1000), observation(10**6)
    config = load_config(None, ["run.memory=600MiB"])
    assert 600 * MIB - BASE_MEMORY - stage_memory(config, long) == MASK * channel_blocks(long, config.rfi)
    assert stage_memory(config, short) > stage_memory(config, long)
    least = least_memory(long, config)
    assert BASE_MEMORY + making_bytes(long, config.rfi) <= OVER * least
    told = f"give at least {-(-least // MIB)}MiB"
    with pytest.raises(ConfigError, match=told):
        stage_memory(load_config(None, [f"run.memory={least // MIB - 1}MiB"]), long)
    stage_memory(load_config(None, [f"run.memory={-(-least // MIB)}MiB"]), long)


def test_fewer_threads_read_where_memory_is_short() -> None:
    obs, config = observation(10**6), Config().rfi
    assert reading_threads(obs, config, 64, 1 << 40) == 64
    assert reading_threads(obs, config, 64, 1 << 20) == 1
    assert 1 < reading_threads(obs, config, 64, 300 * MIB) < 64
