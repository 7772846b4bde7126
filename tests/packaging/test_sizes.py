"""No function over 80 lines of code or ten parameters, unless a comment in it says why."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [path for room in ("pulsar", "kernels/pulsar_kernels") for path in sorted((ROOT / room).rglob("*.py"))]
LINES, PARAMETERS = 80, 10
#: What a comment that gives the reason begins with; the reason itself is a few words at least.
LONG, MANY = "# Long: ", "# Many arguments: "
REASON = 20

Function = ast.FunctionDef | ast.AsyncFunctionDef


def too_large(text: str, *, commands: bool = False) -> list[str]:
    """Functions of a file that are too long, or take too many arguments (those of commands are options)."""
    lines = text.splitlines()
    found = []
    for function in functions(ast.parse(text)):
        size, number = code_lines(function, lines), parameters(function)
        if size > LINES and not reason(comments(text, function), LONG):
            found.append(f"{function.name} has {size} lines")
        if number > PARAMETERS and not commands and not reason(comments(text, function), MANY):
            found.append(f"{function.name} has {number} parameters")
    return found


def comments(text: str, function: Function) -> list[str]:
    """Comments within a function of a file."""
    within = range(function.lineno, (function.end_lineno or 0) + 1)
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT and token.start[0] in within]


def functions(tree: ast.AST) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def code_lines(function: Function, lines: list[str]) -> int:
    """Lines of the body that are neither its docstring, nor blank, nor comments."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body:
        return 0
    within = lines[body[0].lineno - 1 : function.end_lineno]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in within)


def parameters(function: Function) -> int:
    given = function.args
    names = [part.arg for part in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"])) + (given.vararg is not None) + (given.kwarg is not None)


def reason(told: list[str], mark: str) -> bool:
    return any(comment.startswith(mark) and len(comment) >= len(mark) + REASON for comment in told)


def test_functions_are_small_or_say_why():
    found = [
        f"{path.relative_to(ROOT)}: {what}"
        for path in FILES
        for what in too_large(path.read_text(encoding="utf-8"), commands=path.parent.name == "cli")
    ]
    assert found == []


LONG_BODY = "\n".join(f"    x{i} = {i}" for i in range(LINES + 1))
MANY_NAMES = ", ".join(f"a{i}" for i in range(PARAMETERS + 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"def f():\n{LONG_BODY}\n", ["f has 81 lines"]),
        (f'def f():\n    """Words."""\n{LONG_BODY}\n', ["f has 81 lines"]),
        (f"def f():\n    # Long: because each of them is needed here.\n{LONG_BODY}\n", []),
        (f"def f():\n    # Long: so.\n{LONG_BODY}\n", ["f has 81 lines"]),
        (f"def f():\n    # {LONG_BODY.strip()}\n", []),
        (f"def f({MANY_NAMES}):\n    pass\n", ["f has 11 parameters"]),
        (f"class A:\n    def f(self, {MANY_NAMES[4:]}):\n        pass\n", []),
        (f"def f({MANY_NAMES}):\n    # Many arguments: columns of a table, one array each.\n    pass\n", []),
        (f"def f({MANY_NAMES}):\n    # Long: columns of a table, one array each.\n    pass\n", ["f has 11 parameters"]),
    ],
)
def test_what_is_too_large(text, expected):
    assert too_large(text) == expected


def test_options_of_commands_do_not_count():
    assert too_large(f"def command({MANY_NAMES}):\n    pass\n", commands=True) == []
