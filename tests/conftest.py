"""Shared fixtures: the numba cache, the oracles' path, the real data."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: the first example compiles. Uncompiled kernels are a hundred times slower; fewer examples still reach
# every line of them.
settings.register_profile("fast", max_examples=25, deadline=None)
settings.register_profile("nojit", max_examples=15, deadline=None)
settings.load_profile("fast")  # --hypothesis-profile takes precedence

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


def _kernel_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted((ROOT / "kernels" / "pulsar_kernels").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


# numba's disk cache does not notice an edit in a helper of another file: key it by all kernel sources.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path.home() / ".cache" / "pulsar-search-tests" / _kernel_hash()))
os.environ.setdefault("MPLBACKEND", "Agg")
# The processes that share the tests share the cores: threads of linear algebra would wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Processes that are started have the buffers that users' have.
os.environ.pop("PYTHONUNBUFFERED", None)
# A shell that runs tests in the background has them ignore Ctrl-C, and all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Nothing is learnt from the searches of tests, and no test depends on what was.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="pulsar-search-tests-")
# Kernels are compiled where they are met: what a search prints must not depend on the cache.
os.environ.setdefault("PULSAR_COMPILE_AHEAD", "0")
sys.path.insert(0, str(Path(__file__).resolve().parent))
if "PYTEST_XDIST_WORKER" in os.environ:
    from reference.processes import share_cores

    share_cores(int(os.environ["PYTEST_XDIST_WORKER"].lstrip("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile what searches call before all tests begin, where nothing is compiled yet.

    The processes that share the tests, and those that they start, would all compile the same at the same time.
    """
    config = session.config
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.collectonly
    shared = bool(getattr(config.option, "numprocesses", None)) and not hasattr(config, "workerinput")
    if everything and shared and not Path(os.environ["NUMBA_CACHE_DIR"]).exists():
        from reference.processes import environment

        env = {**environment(), "PULSAR_COMPILE_AHEAD": "1"}
        # Where it fails, the tests say why.
        subprocess.run([sys.executable, "-m", "pulsar", "compile"], env=env, capture_output=True, check=False)


@pytest.fixture(autouse=True)
def _processes_end() -> Iterator[None]:
    """What a test has started ends with it, even where it fails: one failure never causes a second."""
    from reference.processes import end_all

    yield
    end_all()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the small real observations; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real observations are not here: {SHARED_DATA} does not exist")
    return SHARED_DATA
