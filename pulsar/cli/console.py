"""Output to the screen and to text files: results on stdout, all else on stderr."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from pulsar.data.files import check_output
from pulsar.data.text import printable
from pulsar.data.unfinished import write_whole
from pulsar.errors import ConfigError, PulsarError, refused


def out(text: str = "") -> None:
    """Print a result."""
    typer.echo(printable(text, lines=True))


def facts(texts: Mapping[str, str | Sequence[str]], width: int = 11, most: int | None = None) -> None:
    """Print texts behind their names, each on a line of its own; none where there is no text.

    Parameters
    ----------
    texts : mapping
        Name -> text, or several.
    width : int
        Of the column of names.
    most : int, optional
        Print no more of those that have one name: the others are counted.
    """
    for name, text in texts.items():
        lines = [text] if isinstance(text, str) else text
        for line in lines[:most]:
            if line:
                out(f"{name:<{width}} {line}")
        if most is not None and len(lines) > most:
            out(f"{'':<{width}} ... and {len(lines) - most} more: --json has them all")


def note(text: str) -> None:
    """Tell something beside the result."""
    typer.echo(printable(text, lines=True), err=True)


def error(text: str) -> None:
    """Tell what went wrong."""
    typer.echo(f"pulsar: {printable(text, lines=True)}", err=True)


def end_of_many(failures: Sequence[tuple[str, PulsarError]], summary: str = "") -> None:
    """Tell which of several searches have failed, and a summary; and end with the code of the worst."""
    for name, failure in failures:
        error(f"{name}: {failure}")
    if failures and summary:
        error(summary)
    if failures:
        raise typer.Exit(max(failure.exit_code for _, failure in failures))


def print_json(value: Any, *, ascii_only: bool = False) -> None:
    """Print a result as JSON."""
    out(json.dumps(plain(value), indent=2, ensure_ascii=ascii_only, allow_nan=False))


def plain(value: Any) -> Any:
    """A value made of what JSON knows: no arrays, and None for numbers that are not finite."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)


def output_folder(folder: Path) -> None:
    """Make the folder of an output, if it is not there; refuse one that cannot be written."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; give another folder with --out")
    with refused(ConfigError, f"{folder}: the folder cannot be made", "give another --out"):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder}: the folder cannot be written; give another --out")


def check_not_input(output: Path, files: Iterable[Path]) -> None:
    """Refuse an output that would replace one of the inputs, ``--overwrite`` or not."""
    if output.resolve() in {file.resolve() for file in files}:
        raise ConfigError(f"{output}: is the input itself: write to another file")


def check_new(*outputs: Path | None, inputs: Iterable[Path] = (), overwrite: bool) -> None:
    """Refuse outputs that could not be written, before any work is done, or that are an input, or one another."""
    paths = list(inputs)
    for output in outputs:
        if output is not None:
            check_output(output, overwrite=overwrite)
            check_not_input(output, paths)
            paths.append(output)


def check_picture(*paths: Path | None, overwrite: bool) -> None:
    """Refuse pictures that could not be written, before what they show is made."""
    for path in paths:
        if path is not None:
            from pulsar.report.figure import check_suffix  # which loads matplotlib

            check_suffix(path)
            check_output(path, overwrite=overwrite)


def write_file(path: Path, content: str | bytes, *, overwrite: bool = False) -> None:
    """Write a file whole or not at all, never over an existing one unasked."""
    check_output(path, overwrite=overwrite)
    with refused(PulsarError, f"{path}: cannot be written"):
        write_whole(path, content)
