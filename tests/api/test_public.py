"""What is public: real signatures with types, documented in numpydoc, and defaults of the configuration."""

import importlib
import inspect
import re
import subprocess
import sys

import pytest

import pulsar
from pulsar.config.model import Config

FUNCTIONS = sorted(name for name in pulsar.__all__ if inspect.isfunction(getattr(pulsar, name)))
METHODS = {
    "TimeSeries": pulsar.TimeSeries.__init__,
    "Filterbank.from_array": pulsar.Filterbank.from_array,
    "Run.save": pulsar.Run.save,
}
#: Where their parameters are documented.
DOCUMENTED = {name: getattr(pulsar, name) for name in FUNCTIONS} | {
    "TimeSeries": pulsar.TimeSeries,
    "Filterbank.from_array": pulsar.Filterbank.from_array,
    "Run.save": pulsar.Run.save,
}
CALLS = {name: getattr(pulsar, name) for name in FUNCTIONS} | METHODS


def sections(doc: str) -> dict[str, list[str]]:
    """The lines of every section of a numpydoc text; the summary is that of name ""."""
    found: dict[str, list[str]] = {"": []}
    lines = inspect.cleandoc(doc).splitlines()
    at = ""
    for i, line in enumerate(lines):
        if i + 1 < len(lines) and re.fullmatch("-{3,}", lines[i + 1]):
            assert len(lines[i + 1]) == len(line), f"underline of {line}"
            at = line
            found[at] = []
        elif not re.fullmatch("-{3,}", line):
            found[at].append(line)
    return found


def documented(lines: list[str]) -> dict[str, str]:
    """Name -> type and description of every entry of a section of parameters."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        if line and not line.startswith(" "):
            head, _, kind = line.partition(" : ")
            names = [name.strip("* ") for name in head.split(",")]
            found |= dict.fromkeys(names, kind)
        else:
            for name in names:
                found[name] += " " + line.strip()
    return found


def test_the_functions_are_these() -> None:
    assert FUNCTIONS == [
        "dedisperse", "export", "fold", "import_fold", "inject", "load_config", "open", "plot", "read", "rfi", "search",
        "search_accel", "search_coherent", "search_ffa", "search_fft", "search_single_pulse", "simulate",
        "view", "write_report",
    ]  # fmt: skip


def test_a_notebook_completes_what_is_public_and_nothing_else() -> None:
    assert dir(pulsar) == sorted(pulsar.__all__)


@pytest.mark.parametrize("name", CALLS)
def test_signatures_have_types(name: str) -> None:
    signature = inspect.signature(CALLS[name])
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in signature.parameters.values():
        assert parameter.name == "self" or parameter.annotation is not inspect.Parameter.empty, parameter
        assert parameter.kind is not inspect.Parameter.VAR_POSITIONAL or name == "open"
        assert parameter.kind is not inspect.Parameter.VAR_KEYWORD or name in ("simulate", "load_config")


@pytest.mark.parametrize("name", CALLS)
def test_documentation_is_numpydoc(name: str) -> None:
    found = sections(DOCUMENTED[name].__doc__ or "")
    summary = found[""]
    assert summary[0].endswith(".") or summary[1].endswith(".")
    assert "Raises" in found
    assert any("Error" in line for line in found["Raises"])
    assert ("Returns" in found) or name == "TimeSeries"
    parameters = documented(found["Parameters"])
    taken = [p for p in inspect.signature(CALLS[name]).parameters if p not in ("self", "cls")]
    assert list(parameters) == taken
    for parameter, text in parameters.items():
        assert text.strip(), parameter
    order = [s for s in ("Parameters", "Attributes", "Returns", "Raises", "Warns", "Examples") if s in found]
    assert [s for s in found if s] == order


@pytest.mark.parametrize("name", [name for name in CALLS if hasattr(CALLS[name], "units")])
def test_quantities_are_documented_with_their_unit(name: str) -> None:
    parameters = documented(sections(DOCUMENTED[name].__doc__ or "")["Parameters"])
    for argument, spec in CALLS[name].units.items():
        unit = re.sub(r" ?>=? 0$", "", spec)
        if unit:
            assert f"[{unit}]" in parameters[argument], argument
            assert "Quantity" in parameters[argument] or "Time" in parameters[argument], argument


@pytest.mark.parametrize(
    ("function", "section", "renamed"),
    [
        ("search_fft", "fft", {}),
        ("search_accel", "accel", {}),
        ("search_coherent", "coherent", {}),
        ("search_ffa", "ffa", {}),
        ("search_single_pulse", "single_pulse", {}),
    ],
)
def test_defaults_are_those_of_the_command_line(function: str, section: str, renamed: dict[str, str]) -> None:
    settings = getattr(Config(), section)
    parameters = inspect.signature(getattr(pulsar, function)).parameters
    shared = [key for key in type(settings).model_fields if key in parameters]
    assert len(shared) >= 4
    for key in shared:
        assert parameters[key].default == getattr(settings, key), key


def test_help_shows_signature_and_text() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import pulsar; help(pulsar.search)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    # Newer Pythons begin a line with every argument.
    shown = " ".join(done.stdout.split()).replace("( ", "(")
    for text in ("search(data: ", "config: ", "out: ", "-> 'Run'", "Parameters", "Returns", "ConfigError"):
        assert text in shown


def test_every_name_says_what_it_is() -> None:
    for name in pulsar.__all__:
        value = getattr(pulsar, name)
        assert name == "__version__" or (value.__doc__ and value.__doc__.strip())
    assert "public" in (pulsar.__doc__ or "")


def test_the_functions_of_the_api_are_public() -> None:
    rooms = [importlib.import_module(f"pulsar.api.{room}") for room in ("observations", "results", "series")]
    own = [f for room in rooms for f in vars(room).values() if inspect.isfunction(f) and f.__module__ == room.__name__]
    assert sorted(f.__name__ for f in own if not f.__name__.startswith("_")) == sorted({*FUNCTIONS} - {"load_config"})
