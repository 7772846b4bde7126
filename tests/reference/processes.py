"""Commands in processes of their own, which never outlive the test that has started them."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKED_OUT = ROOT / "kernels" / "pulsar_kernels" / "__init__.py"
#: Variable of the environment by which a test finds the processes that its own have started.
MARK = "PULSAR_TEST_MARK"

_started: list["subprocess.Popen[str]"] = []
_marks: set[str] = set()
_cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()


def share_cores(number: int, count: int) -> None:
    """Keep one of `count` processes that share the tests to its own cores, and their searches to as many threads.

    Threads of several on one core wait for one another, which takes a tenth of the processor's time.
    """
    if len(_cores) >= count:
        os.sched_setaffinity(0, sorted(_cores)[number::count])


def environment() -> dict[str, str]:
    """That of this process, with the checkout on the path.

    Its kernels are those of this process, be they installed or of the checkout: they are stored by their folder, and
    those of another would be compiled once more.
    """
    kernels = find_spec("pulsar_kernels")
    own = [str(ROOT / "kernels")] if kernels is None or kernels.origin == str(CHECKED_OUT) else []
    paths = [str(ROOT), *own, os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}


def start(command: list[str], mark: str = "", **more: str) -> "subprocess.Popen[str]":
    """Begin a command; what it says can be read. Whatever becomes of the test, it ends with it.

    Parameters
    ----------
    command : list of str
    mark : str
        A word that no other test has, for :func:`processes`: what the command starts ends with the test, too.
    **more
        Variables of its environment.
    """
    env = {**environment(), "PYTHONUNBUFFERED": "1", **more}
    if mark:
        env[MARK] = mark
        _marks.add(mark)
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _started.append(process)
    # What it starts and what waits for it have not the same core.
    with contextlib.suppress(ProcessLookupError):
        if _cores:
            os.sched_setaffinity(process.pid, _cores)
    return process


def end_all() -> None:
    """End what is left of the processes that were started, and close their pipes."""
    while _started:
        process = _started.pop()
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
    while _marks:
        mark = f"{MARK}={_marks.pop()}"
        # A process that is just becoming another program shows no environment for a moment.
        while wait_until(lambda mark=mark: bool(processes(mark)), 0.2):  # type: ignore[misc]
            for pid in processes(mark):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def finish(command: list[str], **more: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    env = {**environment(), **more}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300.0, check=False)


def processes(word: str) -> list[int]:
    """Processes with a word in their command line or environment, but for this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            text = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
        except OSError:
            continue
        if word.encode() in text and int(path.name) != os.getpid():
            found.append(int(path.name))
    return found


def wait_until(true: Callable[[], bool], timeout: float = 60.0) -> bool:
    """Look again and again until something is so; False where it is not in time [s]."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return False
