"""The notebooks of examples/ run as they stand, in an empty folder, and show what they promise."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "docs"))

import notebooks  # noqa: E402

#: Name -> how many pictures it has.
PICTURES = {
    "search_a_file": 4,
    "search_by_routines": 3,
    "single_pulses": 3,
    "completeness": 1,
    "benchmark_kernels": 2,
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


def ran(name: str) -> tuple[list[notebooks.Cell], dict[str, Any]]:
    names: dict[str, Any] = {}
    found = list(notebooks.run(notebooks.FOLDER / f"{name}.ipynb", names))
    assert sum(bool(cell.picture) for cell in found) == PICTURES[name]
    assert all(cell.picture.startswith(b"\x89PNG") for cell in found if cell.picture)
    return found, names


def test_every_notebook_is_shown_and_kept_without_output() -> None:
    assert sorted(PICTURES) == sorted(notebooks.NOTEBOOKS)
    files = sorted((ROOT / "examples").glob("*.ipynb"))
    assert [path.name for path in files] == sorted(f"{name}.ipynb" for name in PICTURES)
    for path in files:
        document = json.loads(path.read_text(encoding="utf-8"))
        assert (document["nbformat"], document["cells"][0]["cell_type"]) == (4, "markdown")
        assert document["cells"][0]["source"][0].startswith("# ")
        for cell in document["cells"]:
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None
            assert max(map(len, "".join(cell["source"]).splitlines())) <= 120
        # As it is written here, so that a change of a line is a change of a line.
        assert path.read_text(encoding="utf-8") == json.dumps(document, indent=1, ensure_ascii=False) + "\n"


@pytest.mark.slow
def test_search_a_file_finds_both_pulsars() -> None:
    _, names = ran("search_a_file")
    found = names["run"].candidates[:2]
    np.testing.assert_allclose(sorted(found["period"].to_value("s")), [0.0893, 0.2571], rtol=1e-3)


def test_search_by_routines_finds_the_pulsar() -> None:
    _, names = ran("search_by_routines")
    assert names["dms"][names["at"]] == pytest.approx(45.0, abs=10.0)
    assert names["fold"].period == pytest.approx(0.1237, rel=1e-4)
    assert names["fold"].dm == pytest.approx(45.0, abs=1.5)


def test_single_pulses_finds_all_three() -> None:
    found, names = ran("single_pulses")
    np.testing.assert_allclose(sorted(names["run"].pulses["time"].to_value("s")), [2.1, 5.6, 8.3], atol=2e-3)
    assert "QTable length=2" in found[-1].html


@pytest.mark.slow
def test_completeness_goes_from_none_to_all() -> None:
    _, names = ran("completeness")
    assert names["fraction"][0] == 0.0
    assert names["fraction"][-1] == 1.0
    assert 0.2 < names["fraction"].mean() < 0.7


@pytest.mark.slow
def test_benchmark_kernels_compares_two_runs() -> None:
    found, names = ran("benchmark_kernels")
    printed = "".join(cell.printed for cell in found)
    assert "of 5 differ beyond the noise; by chance 0.04 would." in printed
    assert all(0 < f["fraction"] < 2 for f in names["run"]["figures"])


def test_what_fails_names_the_cell_and_pages_show_what_was_given(tmp_path: Path) -> None:
    path = tmp_path / "small.ipynb"
    sources = [("markdown", "# Title\ntext"), ("code", "print('one')\n1 + 1"), ("code", "1 / 0")]
    cells = [{"cell_type": kind, "source": [source]} for kind, source in sources]
    path.write_text(json.dumps({"cells": cells[:2]}))
    text, pictures = notebooks.page(path)
    assert pictures == {}
    assert text.startswith("# Title\n\n*This page is `examples/small.ipynb`")
    assert "```text\none\n```\n\n```text\n2\n```" in text
    path.write_text(json.dumps({"cells": cells}))
    with pytest.raises(RuntimeError, match=r"small.ipynb, cell 2:(.|\n)*ZeroDivisionError"):
        notebooks.page(path)
    path.unlink()
