"""What other channels than the wheel say of the package is what pyproject.toml says."""

import re
import tomllib
from pathlib import Path

import pytest

import pulsar

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Packages that conda has in a part that suffices.
PARTS = {"astropy-base": "astropy", "matplotlib-base": "matplotlib"}


def test_the_recipe_asks_for_what_the_project_asks_for() -> None:
    text = (ROOT / ".ci/conda/recipe.yaml").read_text()
    run = text.split("  run:\n")[1].split("\n\n")[0]
    asked = {PARTS.get(name, name): least for name, least in re.findall(r"- (\S+) >=([\d.]+)", run)}
    assert asked == dict(re.findall(r"^(\S+?)>=(\S+)$", "\n".join(PROJECT["dependencies"]), re.MULTILINE))
    assert f'version: "{pulsar.__version__}"' in text
    assert f'python_min: "{PROJECT["requires-python"].removeprefix(">=")}"' in text
    assert f"pulsar = {PROJECT['scripts']['pulsar']}" in text


def test_the_license_is_one() -> None:
    assert f"license: {PROJECT['license']}" in (ROOT / "CITATION.cff").read_text()
    assert f'"license": "{PROJECT["license"]}"' in (ROOT / ".zenodo.json").read_text()


def test_the_recipe_renders() -> None:
    rattler = pytest.importorskip("rattler_build", reason="renders recipes: pip install py-rattler-build")
    (rendered,) = rattler.Stage0Recipe.from_file(ROOT / ".ci/conda/recipe.yaml").render()
    told = rendered.recipe.to_dict()
    assert told["package"] == {"name": PROJECT["name"], "version": pulsar.__version__}
    assert told["build"]["noarch"] == "python"
    assert f"python >={told['context']['python_min']}" in told["requirements"]["run"]
    assert [set(test) for test in told["tests"]] == [{"python"}, {"script"}]
