"""Files that are written to while they are searched: the run ends, and says which."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from faults.conftest import search
from reference.command import run

from pulsar.data.observation import unchanged
from pulsar.errors import DataError
from pulsar.io.open import open_observation
from pulsar.pipeline.progress import Progress


def written_to(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(2000)
        file.write(b"\x07" * 1000)


def written_to_with_its_time_put_back(path: Path) -> None:
    state = path.stat()
    written_to(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def appended(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0" * 1600)


def replaced(path: Path) -> None:
    other = path.with_suffix(".new")
    shutil.copy2(path, other)
    other.rename(path)


CHANGES = {
    "it has been written to": written_to,
    "its time put back": written_to_with_its_time_put_back,
    "bytes now and had": appended,
    "another file has its name": replaced,
}


@pytest.mark.parametrize("words", CHANGES)
def test_a_pass_over_a_file_that_changes(words: str, observation: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.fil"
    shutil.copy(observation, path)
    with open_observation(path) as obs:
        with unchanged(obs):
            obs.read(0, 100)
        with pytest.raises(DataError, match=rf"a\.fil: .*{words}"), unchanged(obs):
            CHANGES[words](path)
        # The next pass does not even begin.
        with pytest.raises(DataError, match=words):
            unchanged(obs).__enter__()


def test_a_touch_that_changes_nothing_is_no_change(observation: Path, tmp_path: Path) -> None:
    with open_observation(observation) as obs, unchanged(obs):
        observation.chmod(0o600)
        (tmp_path / "link").hardlink_to(observation)


@pytest.mark.parametrize("stage", ["statistics", "searching", "folding"])
def test_a_search_of_a_file_that_is_overwritten(
    stage: str, observation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "a.fil", tmp_path / "run.h5"
    shutil.copy(observation, path)
    before = Progress.stage

    def begun(self: Progress, name: str, *args: Any, **kwargs: Any) -> Any:
        # The stage writes to the file before it reads: a real writer would have to hit a moment.
        if name == stage:
            written_to(path)
        return before(self, name, *args, **kwargs)

    monkeypatch.setattr(Progress, "stage", begun)
    code, _, told = run(*search(path, out, "-q")[3:])
    assert code == 3, told
    assert f"{path}: has changed while it was read" in told
    assert not out.exists()
