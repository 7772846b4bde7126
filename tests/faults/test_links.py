"""Folders in which others can write: what they have put under our names is neither followed, written to nor removed."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from faults.conftest import made, names, results, search
from reference.command import run

from pulsar.batch.process import copies_of, staged
from pulsar.data.files import Folder, sweep
from pulsar.data.unfinished import FileLock, Unfinished, output_lock, write_whole
from pulsar.errors import ConfigError
from pulsar.io.labels import Sidecar
from pulsar.pipeline.checkpoint import Checkpoint

#: Another user, and what only root can set up.
SOMEBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of another user")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file that no run may touch."""
    path = tmp_path / "elsewhere" / "victim"
    path.parent.mkdir()
    path.write_text("precious")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that others can write in."""
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(0o1777)
    return path


def link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def hard_link(path: Path, target: Path) -> None:
    path.hardlink_to(target)


@pytest.mark.parametrize("plant", [link, hard_link])
def test_a_search_among_planted_links(
    plant: Callable[[Path, Path], None], victim: Path, folder: Path, observation: Path, product: Path
) -> None:
    plant(folder / ".run.h5.part", victim)
    made(observation, folder / "run.h5")
    assert results(folder / "run.h5") == results(product)
    assert not (folder / "run.h5").is_symlink()
    assert (folder / "run.h5").stat().st_nlink == 1
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("plant", [link, hard_link])
def test_a_lock_writes_into_no_other_file(
    plant: Callable[[Path, Path], None], victim: Path, folder: Path, observation: Path
) -> None:
    plant(folder / ".run.h5.lock", victim)
    code, _, told = run(*search(observation, folder / "run.h5", "-q")[3:])
    assert (code, "remove it" in told) == {link: (2, True), hard_link: (0, False)}[plant]
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", [".a.part", "a"])
def test_a_dangling_link_makes_no_file(name: str, folder: Path, victim: Path) -> None:
    (folder / name).symlink_to(victim.with_name("not there"))
    write_whole(folder / "a", "content")
    assert (folder / "a").read_text() == "content"
    assert not (folder / "a").is_symlink()
    assert names(victim.parent) == ["victim"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_link_for_the_folder_of_stages(resume: bool, victim: Path, folder: Path) -> None:
    (victim.parent / "fingerprint").write_text("mark")
    (victim.parent / "mask.npz").write_text("precious")
    (folder / "run.h5.parts").symlink_to(victim.parent)
    before = names(victim.parent)
    with pytest.raises(ConfigError, match=r"run\.h5\.parts: a link"):
        Checkpoint(folder / "run.h5", "mark", resume=resume).save("mask", a=np.arange(3))
    assert names(victim.parent) == before
    assert (victim.parent / "mask.npz").read_text() == "precious"


def test_a_link_within_the_folder_of_stages(victim: Path, folder: Path) -> None:
    kept = Checkpoint(folder / "run.h5", "mark", resume=False)
    kept.save("mask", a=np.arange(3))
    np.savez(victim.with_name("other.npz"), a=np.arange(5))
    (kept.folder / "lines.npz").symlink_to(victim.with_name("other.npz"))
    (kept.folder / ".lines.npz.part").symlink_to(victim)
    assert kept.load("lines") is None
    assert not kept.has("lines")
    kept.save("lines", a=np.arange(2))
    assert len((kept.load("lines") or {})["a"]) == 2
    kept.remove()
    assert names(folder) == []
    assert names(victim.parent) == ["other.npz", "victim"]
    assert victim.read_text() == "precious"


def test_stages_that_others_could_have_written_are_not_gone_on_from(folder: Path) -> None:
    kept = Checkpoint(folder / "run.h5", "mark", resume=False)
    kept.save("mask", a=np.arange(3))
    assert kept.folder.stat().st_mode & 0o777 == 0o700
    assert Checkpoint(folder / "run.h5", "mark", resume=True).resumed
    kept.folder.chmod(0o777)
    (kept.folder / "notes").write_text("of the astronomer")
    again = Checkpoint(folder / "run.h5", "mark", resume=True)
    assert not again.resumed
    assert again.load("mask") is None
    assert names(kept.folder) == ["notes"]


def test_only_what_a_run_has_made_is_removed(folder: Path) -> None:
    parts = folder / "run.h5.parts"
    parts.mkdir(0o700)
    (parts / "of the astronomer.npz").write_text("precious")
    Checkpoint(folder / "run.h5", "mark", resume=False)
    assert names(parts) == ["of the astronomer.npz"]


@as_root
def test_the_stages_of_another_user(folder: Path) -> None:
    kept = Checkpoint(folder / "run.h5", "mark", resume=False)
    kept.save("mask", a=np.arange(3))
    os.chown(kept.folder, SOMEBODY, SOMEBODY)
    with pytest.raises(ConfigError, match=r"another user"):
        Checkpoint(folder / "run.h5", "mark", resume=True)
    assert names(kept.folder) == ["fingerprint", "mask.npz"]


@as_root
def test_a_product_is_no_file_of_another_user(folder: Path) -> None:
    part = folder / ".a.part"
    part.write_text("")
    part.chmod(0o666)
    os.chown(part, SOMEBODY, SOMEBODY)
    write_whole(folder / "a", "content")
    assert (folder / "a").stat().st_uid == os.geteuid()
    assert names(folder) == [".a.part", "a"]


def test_a_folder_that_is_another_meanwhile(folder: Path, victim: Path) -> None:
    here = folder / "here"
    here.mkdir()
    with Unfinished(here / "a") as file, os.fdopen(file.handle(), "wb") as stream:
        stream.write(b"content")
        here.rename(folder / "moved")
        here.symlink_to(victim.parent)
    assert (folder / "moved" / "a").read_text() == "content"
    assert names(victim.parent) == ["victim"]


def test_copies_of_inputs_lie_in_a_folder_that_nobody_knows(folder: Path, victim: Path, observation: Path) -> None:
    for name in ("pulsar-batch-0123456789ab", "pulsar-batch-0123456789ab-x"):
        (folder / name).symlink_to(victim.parent)
    planted = names(folder)
    with staged([observation], folder, "0123456789ab", nullcontext, print) as copies:
        (copy,) = copies.values()
        assert copy.read_bytes() == observation.read_bytes()
        (ours,) = set(names(folder)) - set(planted)
        assert (folder / ours).stat().st_mode & 0o777 == 0o700
        # Another unit of the batch leaves it alone.
        sweep(folder, copies_of("0123456789ab"))
        assert copy.exists()
    assert names(folder) == planted
    assert victim.read_text() == "precious"


def test_copies_of_a_process_that_was_killed_are_removed(folder: Path, victim: Path) -> None:
    left = folder / "pulsar-batch-0123456789ab-killed"
    (left / "0000").mkdir(parents=True, mode=0o700)
    left.chmod(0o700)
    (left / "0000" / "a.fil").write_text("copy")
    (left / "linked").symlink_to(victim.parent)
    sweep(folder, copies_of("0123456789ab"))
    assert names(folder) == []
    assert victim.read_text() == "precious"


def test_judgements_are_written_to_no_link(folder: Path, victim: Path) -> None:
    victim.write_text("")
    (folder / "run.labels.csv").symlink_to(victim)
    sidecar = Sidecar(folder / "run.labels.csv")
    with pytest.raises(OSError, match="a link"), FileLock(sidecar.path) as lock:
        lock.acquire()
    assert victim.read_text() == ""


@pytest.mark.parametrize("what", ["folder", "sheets"])
def test_a_report_removes_no_pictures_of_others(what: str, folder: Path, victim: Path, product: Path) -> None:
    picture = victim.with_name("c0009.png")
    picture.write_text("precious")
    (folder / "run.h5").write_bytes(product.read_bytes())
    if what == "folder":
        (folder / "run.report").symlink_to(victim.parent)
    else:
        (folder / "run.report").mkdir()
        (folder / "run.report" / "sheets").symlink_to(victim.parent)
    code, _, told = run("report", folder / "run.h5")
    assert (code, "link" in told) == (2, True), told
    assert names(victim.parent) == ["c0009.png", "victim"]


def test_a_pipe_for_a_lock_is_told(folder: Path) -> None:
    os.mkfifo(folder / ".run.h5.lock")
    with pytest.raises(ConfigError, match=r"\.run\.h5\.lock: a link, a pipe"), output_lock(folder / "run.h5"):
        pass


def test_a_folder_of_ours_is_no_file(folder: Path) -> None:
    (folder / "x").write_text("")
    with pytest.raises(OSError, match="remove it"):
        Folder.own(folder / "x", lambda _: True)
