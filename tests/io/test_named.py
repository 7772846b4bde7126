"""Every format that can be opened is named where astronomers look for it, and is fuzzed."""

import ast
import inspect
from pathlib import Path

import pytest
from fuzz.kinds import KINDS, observation

import pulsar
from pulsar.io import open as opening
from pulsar.io.night import SUFFIXES
from pulsar.io.open import READABLE, open_observation

ROOT = Path(__file__).resolve().parents[2]


def opened() -> set[str]:
    """Names of the readers that `_open_one` returns."""
    calls = [
        node.value for node in ast.walk(ast.parse(inspect.getsource(opening._open_one))) if type(node) is ast.Return
    ]
    return {call.func.id for call in calls if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)}


@pytest.fixture(scope="module")
def formats(tmp_path_factory):
    """Reader -> format, of valid files of all kinds of observations that are fuzzed."""
    found = {}
    for kind in KINDS:
        if kind.use is observation:
            folder = tmp_path_factory.mktemp("kind")
            for content in kind.samples(folder):
                path = folder / kind.file
                path.write_bytes(content)
                with open_observation(path) as obs:
                    found[type(obs).__name__] = obs.header.format
    return found


def test_files_of_every_kind_are_looked_at_in_folders():
    # An .inf stands beside its .dat, and is found by it.
    suffixes = {Path(kind.file).suffix for kind in KINDS if kind.use is observation} - {".inf"}
    assert len(suffixes) >= 5
    assert suffixes - set(SUFFIXES) == set()


def test_every_reader_has_a_kind_in_the_fuzzing(formats):
    assert len(opened()) >= 5
    assert set(formats) == opened()


@pytest.mark.parametrize(
    "where", ["READABLE", "open_observation", "pulsar.open", "README.md", "docs/formats.md", "CHANGELOG.md"]
)
def test_every_format_is_named(formats, where):
    texts = {"READABLE": READABLE, "open_observation": open_observation.__doc__, "pulsar.open": pulsar.open.__doc__}
    text = texts.get(where) or (ROOT / where).read_text(encoding="utf-8")
    names = {name.split()[0] for name in formats.values()}
    if where == "README.md":
        text = text[: text.index("## ")]
        # By its suffixes.
        names = {".dat/.inf" if name == "PRESTO" else name for name in names}
    assert len(names) >= 4
    assert [name for name in sorted(names) if name not in text] == []
