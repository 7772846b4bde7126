"""Size of the house, for who reads the log of CI: lines of code, all lines, modules, named numbers, by package.

    python .ci/size.py

Blank lines, comments and docstrings are no code. A named number is a constant of a module whose value is a number, or
a tuple of numbers.
"""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

EMPTY = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
ARITHMETIC = (ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Tuple, ast.expr_context)


def main() -> None:
    print(f"{'code':>8} {'lines':>8} {'modules':>8} {'numbers':>8}")
    for title, folders in (
        ("pulsar and kernels", ("pulsar", "kernels")),
        ("benchmarks", ("benchmarks",)),
        ("tests", ("tests",)),
    ):
        paths = [path for folder in folders for path in Path(folder).rglob("*.py")]
        sizes = [sum(column) for column in zip(*map(size, paths), strict=True)]
        print(" ".join(f"{number:8}" for number in sizes) + f"  {title}")


def size(path: Path) -> tuple[int, int, int, int]:
    """Lines of code, all lines, 1, and named numbers of a module."""
    text = path.read_text()
    tree = ast.parse(text)
    used: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in EMPTY:
            used.update(range(token.start[0], token.end[0] + 1))
    used.difference_update(docstring_lines(tree))
    return len(used), text.count("\n"), 1, sum(map(is_number, tree.body))


def docstring_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            yield from range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)


def is_number(statement: ast.stmt) -> bool:
    """True if a statement of a module gives a number, or a tuple of numbers, a name in capitals."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
        return False
    target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
    if not isinstance(target, ast.Name) or not target.id.isupper():
        return False
    values = [node for node in ast.walk(statement.value) if not isinstance(node, ARITHMETIC)]
    return bool(values) and all(
        isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool)
        for node in values
    )


if __name__ == "__main__":
    main()
