"""What docs/notebook.md shows works as it stands there, from the first line on, in a folder without a file."""

import doctest
import importlib
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

import pulsar

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "notebook.md"


def examples(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


EXAMPLES = examples(PAGE)


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    assert len(EXAMPLES[0].splitlines()) == 5
    names: dict[str, object] = {}
    for example in EXAMPLES:
        exec(example, names)
    (best,) = names["run"].sources
    assert np.isfinite(best["snr"])
    assert best["period"].to_value("s") == pytest.approx(0.097, rel=1e-4)
    assert names["found"].candidates["period"][0].to_value("s") == pytest.approx(0.0703, rel=1e-4)
    assert names["found"].candidates["dm"][0].to_value("pc / cm3") == pytest.approx(30, abs=2)
    assert "period = 97.0 MHz: expected a number > 0, in s or as a quantity" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


#: Modules whose docstrings have examples.
WITH_EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "pulsar").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_of_docstrings_give_what_they_say(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


def test_the_readme_shows_the_same_five_lines() -> None:
    def code(example: str) -> list[str]:
        return [line.partition("#")[0].rstrip() for line in example.splitlines()]

    assert code(examples(ROOT / "README.md")[0]) == code(EXAMPLES[0])


def test_the_page_names_all_that_is_public() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in set(pulsar.__all__) - {"__version__"}:
        assert f"`{name}`" in text or f"pulsar.{name}" in text, name
