"""Kernels compiled ahead of a search: the index, the processes, the files on disk."""

import io
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from reference.processes import start

from pulsar.config.load import load_config
from pulsar.pipeline.compiling import Ahead, parts_of
from pulsar.pipeline.progress import Progress
from pulsar_kernels import ahead

pytestmark = pytest.mark.jit

#: Cheap ones.
FEW = [name for name in ahead.versions() if name.startswith(("fold.count_slots", "longwave.count_beyond"))]


def test_every_version_of_the_index_can_be_read():
    assert FEW
    for name in ahead.versions():
        kernel, signature = ahead._version(name)
        assert kernel.py_func.__code__.co_argcount == len(signature), name
        assert all(isinstance(kind, ahead.types.Type) for kind in signature)


def test_a_part_is_compiled_only_if_the_settings_need_it():
    plain, drifting = (load_config(None, sets) for sets in ([], ["accel.zmax=20"]))
    assert "accel" not in parts_of(plain)
    assert "accel" in parts_of(drifting)
    assert "statistics" not in parts_of(plain, series=True)
    assert "completeness" not in parts_of(plain)
    assert "completeness" in parts_of(plain, injected=True)
    assert set(parts_of(drifting, injected=True)) <= set(ahead.PARTS)
    assert len(ahead.versions(parts_of(plain))) < len(ahead.versions(parts_of(drifting)))


def fresh(code, tmp_path, **env):
    """Run Python in a process with an empty cache."""
    more = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PULSAR_COMPILE_AHEAD": "1"} | env
    return start([sys.executable, "-c", code], **{"PYTHONPATH": os.pathsep.join(sys.path), **more})


COMPILE = """
from pulsar.pipeline.compiling import Ahead
from pulsar.pipeline.progress import Progress
from pulsar_kernels import ahead
import sys
few = [n for n in ahead.versions() if n.startswith(("fold.count_slots", "longwave.count_beyond"))]
ahead.versions = lambda *_: few
before = sum(map(ahead.stored, few))
with Ahead(["fold"], 2) as compiled:
    compiled.wait(Progress("log", stream=sys.stdout, interval=0.0))
print("stored", before, sum(map(ahead.stored, few)))
"""


def test_processes_compile_what_is_missing_and_two_first_runs_at_once_do_no_harm(tmp_path):
    runs = [fresh(COMPILE, tmp_path) for _ in range(2)]
    told = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    # On a busy computer one may have ended before the other has begun.
    assert all(text.endswith(f" {len(FEW)}\n") for text in told), told
    first = next(text for text in told if f"stored 0 {len(FEW)}" in text)
    assert f"compiling: {len(FEW)} of {len(FEW)} kernels for this processor, once" in first
    assert " left" not in first
    # A computer with another processor and the same home: neither takes the other's code, or replaces it.
    other = fresh(COMPILE, tmp_path, NUMBA_CPU_NAME="generic").communicate()[0]
    assert f"stored 0 {len(FEW)}" in other
    again = fresh(COMPILE, tmp_path).communicate()[0]
    assert again.split() == ["stored", str(len(FEW)), str(len(FEW))]


def test_the_same_sources_installed_again_are_not_compiled_again(tmp_path):
    package = tmp_path / "pulsar_kernels"
    shutil.copytree(Path(ahead.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    path = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    assert f"stored 0 {len(FEW)}" in fresh(COMPILE, tmp_path, **path).communicate()[0]
    for file in package.glob("*.py"):
        os.utime(file, (2e9, 2e9))
    assert f"stored {len(FEW)} {len(FEW)}" in fresh(COMPILE, tmp_path, **path).communicate()[0]
    # Of any file: a kernel carries the code of helpers.
    with (package / "unpack.py").open("a") as file:
        file.write("# other words\n")
    assert f"stored 0 {len(FEW)}" in fresh(COMPILE, tmp_path, **path).communicate()[0]


def test_where_nothing_can_be_written_kernels_run_all_the_same(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    code = (
        "import numba.core.caching as c\n"
        "c.CacheImpl._locator_classes = []\n"  # as numba finds no folder that it can write
        "import numpy as np\n"
        "from pulsar_kernels import ahead\n"
        "from pulsar_kernels.fold import count_slots\n"
        "counts = np.zeros(2, np.int64)\n"
        "count_slots(np.array([1, 1, 0], np.uint16), counts)\n"
        "print(counts.tolist(), bool(ahead.place()))\n"
    )
    assert fresh(code, tmp_path).communicate()[0].strip() == "[1, 2] False"


def test_versions_of_a_kernel_never_share_a_file(tmp_path):
    # Two processes that have both seen an empty index: numba's own numbering would give both the name 1.
    from pulsar_kernels._cache import KernelFiles

    first, second = (KernelFiles(str(tmp_path), "k", ("stamp",)) for _ in range(2))
    lost = first._load_index()
    first.save("a", "code of a")
    first._load_index = lambda: dict(lost)
    second.save("b", "code of b")
    first.save("a", "code of a")
    assert first.load("a") is None or first.load("a") == "code of a"
    assert second.load("b") in (None, "code of b")
    assert KernelFiles(str(tmp_path), "k", ("stamp",)).load("a") == "code of a"
    assert KernelFiles(str(tmp_path), "k", ("other sources",)).load("a") is None


def test_one_process_that_dies_leaves_its_kernels_to_the_search(monkeypatch):
    dead = lambda: subprocess.Popen(  # noqa: E731
        [sys.executable, "-c", ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    monkeypatch.setenv("PULSAR_COMPILE_AHEAD", "1")
    monkeypatch.setattr("pulsar.pipeline.compiling._worker", dead)
    monkeypatch.setattr(ahead, "stored", lambda _: False)
    before = threading.active_count()
    with Ahead(["fold"], 2) as compiled:
        compiled.wait(Progress("log", stream=io.StringIO()))
    assert compiled.missing
    assert threading.active_count() == before


def test_kernels_of_one_file_are_compiled_by_one_process_while_there_are_others(monkeypatch):
    monkeypatch.setenv("PULSAR_COMPILE_AHEAD", "0")
    shared = Ahead(["fold"], 2)
    shared._left = ["hits.select()", "fft.real_fft()", "hits.exact()", "fold.count()", "fft.edges()"]
    assert [shared._next(number) for number in (0, 1, 1, 0, 1, 1, 0)] == [
        "hits.select()",
        "fft.real_fft()",
        "fold.count()",
        "hits.exact()",
        "fft.edges()",
        "",
        "",
    ]
    # What the search waits for comes before all else; what is left at the end is anybody's.
    shared._left = ["hits.select()", "hits.exact()", "tree.spans()"]
    shared._wanted = {"tree.spans()"}
    assert [shared._next(number) for number in (1, 1, 1)] == ["tree.spans()", "hits.select()", "hits.exact()"]
