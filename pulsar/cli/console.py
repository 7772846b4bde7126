"""What goes to the screen and to text files: results on stdout, all else on stderr."""

import os
from collections.abc import Iterable
from pathlib import Path

import typer

from pulsar.data.text import printable
from pulsar.data.unfinished import write_whole


def out(text: str = "") -> None:
    """Print a result."""
    typer.echo(printable(text, lines=True))


def note(text: str) -> None:
    """Tell something beside the result."""
    typer.echo(printable(text, lines=True), err=True)


def error(text: str) -> None:
    """Tell what went wrong."""
    typer.echo(f"pulsar: {printable(text, lines=True)}", err=True)


def check_not_input(output: Path, files: Iterable[Path]) -> None:
    """Refuse an output that would replace one of the inputs, ``--overwrite`` or not."""
    from pulsar.errors import ConfigError

    if output.resolve() in {file.resolve() for file in files}:
        raise ConfigError(f"{output}: is the input itself: write to another file")


def check_picture(path: Path, *, overwrite: bool = False) -> None:
    """Refuse a picture that could not be written, before what it shows is made."""
    from pulsar.io.product.writer import check_output
    from pulsar.report.figure import check_suffix

    check_suffix(path)
    check_output(path, overwrite=overwrite)


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write a text file whole or not at all, never over an existing one unasked."""
    write_bytes(path, text.encode(), overwrite=overwrite)


def write_bytes(path: Path, content: bytes, *, overwrite: bool = False) -> None:
    """Write a file whole or not at all, never over an existing one unasked."""
    from pulsar.errors import ConfigError, PulsarError

    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; give the name of a file")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path}: exists already; give --overwrite to replace it, or another name")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: the folder {path.absolute().parent} does not exist")
    if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{path}: the folder {path.absolute().parent} cannot be written; give another name")
    try:
        write_whole(path, content)
    except OSError as failure:
        raise PulsarError(f"{path}: cannot be written: {failure.strerror}") from failure
