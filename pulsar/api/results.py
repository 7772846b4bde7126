"""Results handed on: candidates in the formats of other programs, pages with plot sheets."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from pulsar.api._given import named_settings, progress_of
from pulsar.data.files import check_output
from pulsar.data.unfinished import write_whole
from pulsar.errors import ConfigError
from pulsar.handover.candidate import candidate_of
from pulsar.io.labels import labels_of, person
from pulsar.io.product.reader import Run

if TYPE_CHECKING:
    from anywidget import AnyWidget


@named_settings()
def export(run: Run, ident: str, path: str | PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a candidate as another program reads it.

    Parameters
    ----------
    run : Run
    ident : str
        Name of the candidate, such as "c0001".
    path : path
        File to write; its ending names the format: ``.par`` (tempo, tempo2, PINT), ``.bestprof`` and ``.pfd``
        (PRESTO), ``.psrfits`` (PSRCHIVE), ``.tim`` (times of arrival) or ``.csv`` (the profile).
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ConfigError
        The ending is another, the candidate is not there or was not folded, or the file exists or cannot be written.
    """
    from pulsar.handover.formats import FORMATS

    target = Path(fspath(path))
    form = target.suffix.removeprefix(".")
    if form not in FORMATS:
        raise ConfigError(f"export: {target}: its ending says no format: expected .{', .'.join(FORMATS)}")
    check_output(target, overwrite=overwrite)
    write_whole(target, FORMATS[form](candidate_of(run, ident)))
    return target


@named_settings()
def write_report(
    runs: Run | Sequence[Run],
    folder: str | PathLike[str],
    *,
    top: int | None = None,
    one_file: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> Path:
    """Write the page of ``pulsar report``: ranked lists, maps and plot sheets, to be opened in a browser.

    Parameters
    ----------
    runs : Run or sequence of Run
    folder : path
        Made where it is missing.
    top : int, optional
        Sheets for no more than the best `top` candidates and single pulses of each run.
    one_file : bool
        Put the sheets into the page, which can be sent as it is.
    overwrite : bool
        Replace a report that the folder holds.
    progress : bool
        Show bars, in a notebook or on a terminal.

    Returns
    -------
    Path
        The page, ``index.html`` in that folder.

    Raises
    ------
    ConfigError
        The folder holds a report, or cannot be made.
    """
    from pulsar.report import page

    products, target = [runs] if isinstance(runs, Run) else list(runs), Path(fspath(folder))
    if (target / "index.html").exists() and not overwrite:
        raise ConfigError(f"{target}: holds a report already; give overwrite=True to replace it, or another folder")
    if not products:
        raise ConfigError("write_report: runs: expected one Run at least")
    labels = labels_of(product.path for product in products)
    with progress_of(progress).stage("report", total=len(page.tasks_of(products, top)), unit="sheets") as tick:
        return page.write_report(products, target, top=top, one_file=one_file, labels=labels, tick=tick)


@named_settings()
def view(
    runs: Run | Sequence[Run],
    *,
    labels: str | PathLike[str] | None = None,
    by: str | None = None,
    height: int = 720,
) -> AnyWidget:
    """Show the page of ``pulsar view`` in a notebook: lists, sheets, and keys by which candidates are judged.

    Sheets are drawn by the kernel as they are looked at. A judgement is in the file when the page shows it as kept.

    Parameters
    ----------
    runs : Run or sequence of Run
    labels : path, optional
        Keep judgements in this file; default: in that of ``pulsar view``, RUN.labels.ecsv beside each product.
    by : str, optional
        Name of who judges; default: that of the user.
    height : int
        Of the page [pixels].

    Returns
    -------
    AnyWidget
        Shows itself in notebooks.

    Raises
    ------
    ConfigError
        anywidget is not installed (``pip install 'pulsar-search[notebook]'``), no candidate is there, or judgements
        cannot be kept: the folder is read-only, or a run is in memory only and no `labels` are named.
    DataError
        A file of judgements cannot be read.
    """
    from pulsar.triage.site import Site
    from pulsar.triage.widget import SCRIPTS, widget

    products, place = [runs] if isinstance(runs, Run) else list(runs), None if labels is None else Path(fspath(labels))
    if not products or not all(isinstance(run, Run) for run in products):
        raise ConfigError("view: runs: expected one Run at least, as pulsar.read('RUN.h5') gives it")
    if place is None and not all(run.path.is_file() for run in products):
        raise ConfigError(
            "view: a run in memory has no file beside which judgements are kept: save it, "
            "pulsar.view(run.save('R.h5')), or name a file, labels='R.labels.ecsv'"
        )
    return widget(Site(products, person(by, "by='NAME'"), place, SCRIPTS), height)
