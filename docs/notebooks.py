"""Runs the notebooks of examples/ without Jupyter, and shows them as pages: texts, code, and what it gives."""

import ast
import contextlib
import io
import json
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: In the order of the site.
NOTEBOOKS = ("search_a_file", "search_by_routines", "single_pulses", "completeness", "benchmark_kernels")
FOLDER = Path(__file__).resolve().parents[1] / "examples"


@dataclass
class Cell:
    """A cell, and what its code gave: text printed, the value of its last line as HTML, text or a picture (PNG)."""

    kind: str
    source: str
    printed: str = ""
    html: str = ""
    text: str = ""
    picture: bytes = field(default=b"", repr=False)


def cells(path: Path) -> list[Cell]:
    """The cells of a notebook, nothing run."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return [Cell(cell["cell_type"], "".join(cell["source"])) for cell in document["cells"]]


def png(figure: Any) -> bytes:
    """A figure of matplotlib as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()


def show(cell: Cell, value: object) -> None:
    """What a notebook would show of a value."""
    from matplotlib.figure import Figure

    if value is None:
        return
    drawn = getattr(value, "_repr_png_", None)
    shown = getattr(value, "_repr_html_", None)
    if drawn is not None:
        cell.picture = drawn()
    elif isinstance(value, Figure):
        cell.picture = png(value)
    elif shown is not None:
        cell.html = shown()
    else:
        cell.text = repr(value)


def run(path: Path, names: dict[str, Any] | None = None) -> Iterator[Cell]:
    """Run a notebook, all its cells in one namespace.

    Parameters
    ----------
    path : Path
    names : dict, optional
        The namespace.

    Yields
    ------
    Cell
        Each, with what it gave.
    """
    names = {} if names is None else names
    for i, cell in enumerate(cells(path)):
        if cell.kind == "code":
            body = ast.parse(cell.source).body
            last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
            printed = io.StringIO()
            try:
                with contextlib.redirect_stdout(printed):
                    exec(compile(ast.Module(body, []), f"{path.name}, cell {i}", "exec"), names)
                    if last is not None:
                        show(cell, eval(compile(ast.Expression(last.value), f"{path.name}, cell {i}", "eval"), names))
            except Exception as error:
                raise RuntimeError(f"{path.name}, cell {i}:\n{traceback.format_exc()}") from error
            cell.printed = printed.getvalue()
        yield cell


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook that is run here, as Markdown, and its pictures by their file names."""
    parts, pictures = [], {}
    for cell in run(path):
        if cell.kind == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for text in (cell.printed.rstrip(), cell.text):
            if text:
                parts.append(f"```text\n{text}\n```")
        if cell.html:
            # Blank lines would end the block; a class would take the site's look from a table, and its number changes.
            shown = re.sub(r'<table id="table\d+"[^>]*>', "<table>", re.sub(r"\n\s*\n", "\n", cell.html))
            parts.append(f"<div>{shown}</div>")
        if cell.picture:
            name = f"{path.stem}-{len(pictures) + 1}.png"
            pictures[name] = cell.picture
            parts.append(f"![What the code above draws]({name})")
    title, _, rest = parts[0].partition("\n")
    note = f"*This page is `examples/{path.name}`, run when the site was built.*"
    return "\n\n".join([title, note, rest.strip(), *parts[1:]]) + "\n", pictures
