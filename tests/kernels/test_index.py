"""Every kernel that searches compile ahead of their work is tested in this folder."""

import ast
import functools
import re
from pathlib import Path

import pulsar_kernels
from pulsar_kernels.index import VERSIONS

TESTS = [path for path in sorted(Path(__file__).parent.glob("test_*.py")) if path != Path(__file__)]
FOLDER = Path(pulsar_kernels.__file__).parent


@functools.cache
def called_from(module: str) -> dict[str, set[str]]:
    """Functions of a file of kernels, also those made of others (``scan = of_series(...)``), and the names in each."""
    nodes: dict[str, ast.AST] = {}
    for node in ast.parse((FOLDER / f"{module}.py").read_text()).body:
        if isinstance(node, ast.FunctionDef):
            nodes[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            nodes[node.targets[0].id] = node.value
    return {name: {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} for name, node in nodes.items()}


def untested(names: set[str], tests: str) -> list[str]:
    """Kernels that no test names, nor a function of the same file that a test names and that calls them."""

    def named(name: str) -> bool:
        return re.search(rf"\b{name}\b", tests) is not None

    missing = []
    for path in sorted(names):
        module, _, name = path.partition(".")
        callers = [caller for caller, called in called_from(module).items() if name in called]
        if not any(named(one) for one in (name, *callers)):
            missing.append(path)
    return missing


def test_every_kernel_of_a_search_is_tested_here():
    tests = "\n".join(path.read_text() for path in TESTS)
    names = {version.partition("(")[0] for version in VERSIONS}
    assert len(names) > 70
    assert untested(names, tests) == []
    assert untested(names, tests.replace("pulse_train", "")) == ["longwave.pulse_train"]


def test_no_version_is_listed_twice():
    assert len(set(VERSIONS)) == len(VERSIONS)
