"""Ctrl-C and SIGTERM: a run ends in five seconds wherever it is, says how to go on with it, and leaves nothing."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults.conftest import names, results, search
from reference.processes import end_all, finish, processes, start, wait_until

from pulsar.cli import ending

#: What is promised [s].
PROMISED = 5.0
#: Patience of processes that are not to be waited for in vain [s].
SHORT = 1.0
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
FIRST_WORDS = {signal.SIGINT: "pulsar: interrupted", signal.SIGTERM: "pulsar: ended from outside"}


def ended(process: "subprocess.Popen[str]", number: signal.Signals) -> tuple[float, str]:
    """Send a signal; how long it takes to end [s], and what is told last."""
    begun = time.monotonic()
    process.send_signal(number)
    _, told = process.communicate(timeout=60.0)
    took = time.monotonic() - begun
    assert process.returncode == CODES[number], told
    assert "Traceback" not in told
    return took, told.splitlines()[-1] if told else ""


def scripted(body: str, patience: float = SHORT) -> list[str]:
    """A process in which `body` stands in for the command, told by a line on stderr that it is at it."""
    code = (
        "import sys, time, threading\n"
        "from pathlib import Path\n"
        "from pulsar.cli import app as cli, ending\n"
        f"ending.PATIENCE = {patience}\n"
        "from pulsar.data import unfinished\n"
        "def here(): print('here', file=sys.stderr, flush=True)\n"
        f"def command(path):\n{body}\n"
        "import pulsar.io.product.reader\n"
        "pulsar.io.product.reader.read = command\n"
        "sys.argv = ['pulsar', 'candidates', sys.argv[1]]\n"
        "cli.main()\n"
    )
    return [sys.executable, "-c", code]


#: Where a run may be, and whether it can be unwound from there in time.
PLACES = {
    "sleeping": "    here(); time.sleep(60)",
    "in a library that swallows the exception": (
        "    here()\n    while True:\n        try: time.sleep(60)\n        except BaseException: pass"
    ),
    "in a library that makes another error of it": (
        "    try: here(); time.sleep(60)\n    except BaseException: raise ImportError('initialization failed')"
    ),
    "waiting for a thread that does not end": (
        "    thread = threading.Thread(target=time.sleep, args=(60,)); thread.start(); here(); thread.join()"
    ),
    "leaving a pool whose thread does not end": (
        "    from concurrent.futures import ThreadPoolExecutor\n"
        "    with ThreadPoolExecutor(1) as pool: pool.submit(time.sleep, 60); here(); time.sleep(60)"
    ),
    "where it must not be disturbed": ("    with unfinished.undisturbed(): here(); time.sleep(60)"),
}


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("place", PLACES)
def test_ends_in_time_wherever_it_is(place: str, number: signal.Signals, tmp_path: Path) -> None:
    body = (
        "  with unfinished.output_lock(Path(path)), unfinished.resumable(lambda: True), "
        "unfinished.Unfinished(Path(path)) as file:\n"
        "    file.part.write_bytes(b'half')\n"
    ) + PLACES[place]
    process = start([*scripted(body), str(tmp_path / "run.h5")])
    assert process.stderr is not None
    assert process.stderr.readline() == "here\n"
    assert names(tmp_path) == [".run.h5.lock", ".run.h5.part"]
    took, told = ended(process, number)
    assert took < PROMISED - ending.PATIENCE + SHORT
    assert told == f"{FIRST_WORDS[number]}; use --resume to go on"
    assert names(tmp_path) == []


def test_what_must_not_be_disturbed_is_finished_first(tmp_path: Path) -> None:
    body = (
        "  with unfinished.undisturbed(), unfinished.Unfinished(Path(path)) as file:\n"
        "    here(); time.sleep(1); file.part.write_bytes(b'whole')\n"
        "  time.sleep(60)"
    )
    process = start([*scripted(body, ending.PATIENCE), str(tmp_path / "run.h5")])
    assert process.stderr is not None
    process.stderr.readline()
    took, told = ended(process, signal.SIGINT)
    assert took < PROMISED
    assert told == "pulsar: interrupted"
    assert (tmp_path / "run.h5").read_bytes() == b"whole"


def test_asked_twice_it_ends_at_once(tmp_path: Path) -> None:
    body = "  with unfinished.undisturbed(): here(); time.sleep(60)"
    process = start([*scripted(body, ending.PATIENCE), str(tmp_path / "run.h5")])
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    time.sleep(2 * ending.SAME)
    took, told = ended(process, signal.SIGINT)
    # Of its patience more than that was left.
    assert took < ending.PATIENCE - 3 * ending.SAME
    assert told == "pulsar: interrupted"


def test_children_end_with_it(tmp_path: Path) -> None:
    mark = f"ends-{tmp_path.name}"
    body = (
        "  import subprocess\n"
        "  subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        "  with unfinished.undisturbed(): here(); time.sleep(60)"
    )
    process = start([*scripted(body), str(tmp_path / "run.h5")], mark)
    assert process.stderr is not None
    process.stderr.readline()
    # The child is there a moment before its environment can be read.
    assert wait_until(lambda: len(processes(mark)) == 2, 5.0)
    ended(process, signal.SIGTERM)
    assert wait_until(lambda: not processes(mark), 5.0)


def test_what_a_test_has_started_ends_with_it(tmp_path: Path) -> None:
    mark = f"left-{tmp_path.name}"
    body = (
        "  import subprocess\n"
        "  subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        "  here(); time.sleep(60)"
    )
    process = start([*scripted(body), str(tmp_path / "run.h5")], mark)
    assert wait_until(lambda: len(processes(mark)) == 2, 20.0)
    # As where an assertion fails here; nothing waits for it.
    process.send_signal(signal.SIGSTOP)
    end_all()
    assert process.returncode == -signal.SIGKILL
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.closed
    assert process.stderr.closed
    assert wait_until(lambda: not processes(mark), 5.0)


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    code = (
        "import os, signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from pulsar.cli import ending\n"
        "def command():\n"
        "    os.kill(os.getpid(), signal.SIGINT); time.sleep(0.2); print('not disturbed')\n"
        "ending.run(command)"
    )
    assert finish([sys.executable, "-c", code]).stdout == "not disturbed\n"


def test_python_looks_through_nothing_at_its_end() -> None:
    """A collection of hundreds of thousands of objects takes longer than most commands."""
    code = (
        "import atexit, gc\n"
        "from pulsar.cli import ending\n"
        "atexit.register(lambda: print(len(gc.get_objects()) < gc.get_freeze_count() / 10))\n"
        "ending.run(lambda: None)"
    )
    assert finish([sys.executable, "-c", code]).stdout == "True\n"


def moments(observation: Path, out: Path) -> dict[str, object]:
    """Places of a real search, and what tells that it is there."""
    parts = out.with_name(f"{out.name}.parts")
    return {
        "reading": out.with_name(f".{out.name}.lock").exists,
        "searching": (parts / "mask.npz").exists,
        "writing": out.with_name(f".{out.name}.part").exists,
    }


@pytest.mark.slow
@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("moment", ["reading", "searching", "writing"])
def test_a_search_ends_in_time_and_goes_on(
    moment: str, number: signal.Signals, observation: Path, product: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run.h5"
    process = start(search(observation, out, "-q"))
    there = moments(observation, out)[moment]
    assert callable(there)
    assert wait_until(there, 60.0)
    took, _ = ended(process, number)
    assert took < PROMISED
    assert [name for name in names(tmp_path) if name not in ("run.h5", "run.h5.parts")] == []
    done = finish(search(observation, out, "-q", "--resume"))
    assert done.returncode == 0, done.stderr
    assert results(out) == results(product)
    assert names(tmp_path) == ["run.h5"]


@pytest.mark.slow
@pytest.mark.parametrize("ahead", ["0", "1"])
@pytest.mark.parametrize("after", [3.0, 6.0, 12.0])
def test_compiling_ends_in_time(ahead: str, after: float, observation: Path, tmp_path: Path) -> None:
    mark = f"compiles-{tmp_path.name}"
    out = tmp_path / "out" / "run.h5"
    out.parent.mkdir()
    cold = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PULSAR_COMPILE_AHEAD": ahead}
    process = start(search(observation, out, "-q"), mark, **cold)
    time.sleep(after)
    took, _ = ended(process, signal.SIGINT)
    assert took < PROMISED
    assert [name for name in names(out.parent) if name != "run.h5.parts"] == []
    assert wait_until(lambda: not processes(mark), 5.0)


@pytest.mark.slow
def test_kernels_that_run_long_are_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "long.fil"
    done = finish([
        sys.executable, "-m", "pulsar", "simulate", str(path), "--nchans", "256", "--tobs", "300", "--tsamp", "0.0002",
        "-q",
    ])  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = tmp_path / "run.h5"
    worst = 0.0
    for moment in (4.0, 6.0, 8.0, 10.0, 13.0, 16.0):
        process = start(search(path, out, "-q", "--dm", 0, 300, "--zmax", 50, "--resume"))
        time.sleep(moment)
        assert process.poll() is None
        worst = max(worst, ended(process, signal.SIGTERM)[0])
        assert [name for name in names(tmp_path) if name.startswith(".")] == []
    assert worst < PROMISED
