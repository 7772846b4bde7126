"""Batches begun in folders of others, with inputs that change: nothing of theirs is executed or taken for a result."""

import errno
import os
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from batch.conftest import command, one_file, quick
from reference.processes import finish

from pulsar.batch.drive import init
from pulsar.batch.process import staged
from pulsar.batch.slurm import script
from pulsar.batch.units import PARTS, read_batch
from pulsar.config import resources
from pulsar.config.model import BatchConfig
from pulsar.errors import DataError


def plant(folder: Path, *modules: str) -> None:
    """Modules that leave a file when they are imported."""
    for name in modules:
        (folder / f"{name}.py").write_text(f"import os\nopen({str(folder / 'executed')!r}, 'a').write('{name} ')\n")


def test_modules_of_the_current_folder_are_not_executed(tmp_path, monkeypatch):
    batch = init([one_file(tmp_path / "data", 0)], tmp_path / "out", quick())
    here = tmp_path / "here"
    here.mkdir()
    plant(here, "h5py", "scipy", "resource", "sqlite3")
    monkeypatch.chdir(here)
    # The program itself is not run from there: that is for its user to say.
    done = finish([sys.executable, "-P", *command(batch.folder, "-q")[1:]])
    assert done.returncode == 0, done.stderr
    assert not (here / "executed").exists()


def test_neither_are_they_in_jobs_of_slurm(tmp_path, monkeypatch):
    batch = init([one_file(tmp_path / "data", 0)], tmp_path / "out", quick())
    here = tmp_path / "here"
    here.mkdir()
    plant(here, "pulsar", "h5py", "resource", "signal")
    last = shlex.split(script(batch.folder, 1, 1, BatchConfig()).splitlines()[-1])
    assert last[0] == "exec"
    monkeypatch.chdir(here)
    # There is no order of that number: what is executed before is what counts.
    done = finish(last[1:])
    assert "0001.json" in done.stderr
    assert not (here / "executed").exists()


def test_the_environment_of_child_processes(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/opt/modules", "", "relative", "."]))
    given = resources.environment({"OMP_NUM_THREADS": "2"})
    assert [given[key] for key in ("PYTHONPATH", "PYTHONSAFEPATH", "OMP_NUM_THREADS")] == ["/opt/modules", "1", "2"]
    assert "-P" in resources.command("-m", "x")


def test_the_users_own_packages_are_used_only_where_this_process_uses_them(tmp_path, monkeypatch):
    own = tmp_path / "lib"
    monkeypatch.setattr(resources.site, "ENABLE_USER_SITE", True)
    monkeypatch.setattr(resources.site, "getusersitepackages", lambda: str(own))
    assert "-s" in resources.command("-m", "x")
    own.mkdir()
    (own / "module_of_the_user.py").write_text("")
    monkeypatch.syspath_prepend(own)
    __import__("module_of_the_user")
    assert "-s" not in resources.command("-m", "x")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes links of another user")
@pytest.mark.parametrize("part", PARTS)
def test_a_folder_of_a_batch_that_another_user_has_led_elsewhere(part, tmp_path):
    batch = init([one_file(tmp_path / "data", 0)], tmp_path / "out", quick())
    there = tmp_path / "elsewhere"
    (batch.folder / part).mkdir(exist_ok=True)
    (batch.folder / part).rename(there)
    (batch.folder / part).symlink_to(there)
    assert read_batch(batch.folder).units
    os.lchown(batch.folder / part, 65534, 65534)
    with pytest.raises(DataError, match=rf"{part}: a link"):
        read_batch(batch.folder)


def test_a_disk_that_fills_while_inputs_are_copied(tmp_path, monkeypatch):
    path, told = one_file(tmp_path / "data", 0), []

    def full(_source, target, _piece):
        target.write(b"a part of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pulsar.batch.process.shutil.copyfileobj", full)
    with staged([path], tmp_path / "stage", "0123456789ab", nullcontext, told.append) as copies:
        assert copies == {}
        (folder,) = (tmp_path / "stage").iterdir()
        assert not list(folder.iterdir())
    assert "do not fit" in told[0]
    assert not list((tmp_path / "stage").iterdir())


def test_a_file_that_changes_while_it_is_copied(tmp_path):
    path = one_file(tmp_path / "data", 0)

    class Gate:
        """Storage is read in this context: somebody writes to it meanwhile."""

        def __enter__(self):
            os.utime(path, (1, 1))

        def __exit__(self, *_):
            pass

    def copied(source, target, _piece):
        target.write(source.read())
        with path.open("r+b") as file:
            file.write(b"x")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pulsar.batch.process.shutil.copyfileobj", copied)
        with pytest.raises(DataError, match="has changed while it was read: it has been written to"):
            staged([path], tmp_path / "stage", "0123456789ab", Gate, print).__enter__()
    assert not list((tmp_path / "stage").iterdir())
