"""``pulsar report``: a page with the ranked table and a plot sheet per candidate."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from pulsar.cli.console import out
from pulsar.cli.options import JudgedFiles, Overwrite, Told, shared


@shared
def command(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN.h5...", help="Products of `pulsar search`.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder to write.", show_default="<RUN>.report")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, metavar="N", help="Plot no more than the best N.", show_default="all"),
    ] = None,
    one_file: Annotated[
        bool, typer.Option("--one-file", help="Put the sheets into the page: one file, to be sent.")
    ] = False,
    vector: Annotated[
        Literal["pdf", "svg"] | None,
        typer.Option("--vector", metavar="pdf|svg", help="The sheets in this format, too.", show_default="none"),
    ] = None,
    judged: JudgedFiles = None,
    overwrite: Overwrite = False,
    *,
    told: Told,
) -> None:
    """Write a page with the ranked lists, maps and plot sheets, which opens from disk without a server."""
    from pulsar.errors import ConfigError
    from pulsar.io.labels import labels_of
    from pulsar.io.product.reader import read

    products = [read(path) for path in runs]
    labels = labels_of(runs, judged or ())
    folder = output if output is not None else runs[0].with_suffix(".report")
    if output is None and folder.is_symlink():
        raise ConfigError(f"{folder}: is a link; name the folder of the report with --out")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; the report needs a folder")
    if (folder / "index.html").exists() and not overwrite:
        raise ConfigError(f"{folder}: holds a report already; give --overwrite to replace it, or another --out")

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: the folder cannot be made: {error.strerror}; give another --out") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder}: the folder cannot be written; give another --out")

    from pulsar.report.page import tasks_of, write_report

    progress = told.progress()
    with progress.stage("report", total=len(tasks_of(products, top)), unit="sheets") as tick:
        page = write_report(products, folder, top=top, one_file=one_file, vector=vector or "", labels=labels, tick=tick)
    out(str(page))
