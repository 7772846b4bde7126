"""Results handed on: candidates in the formats of other programs, pages with plot sheets, pictures of whatever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsar.api._given import kind_of, named_settings, progress_of
from pulsar.data.arguments import samples
from pulsar.data.files import check_output
from pulsar.data.fold import Fold, PulseCutout
from pulsar.data.header import Header
from pulsar.data.observation import Observation
from pulsar.data.series import DMTime, TimeSeries
from pulsar.data.unfinished import write_whole
from pulsar.errors import ConfigError
from pulsar.handover.candidate import candidate_of
from pulsar.io.labels import labels_of, person
from pulsar.io.product.reader import Run
from pulsar.report.words import About

if TYPE_CHECKING:
    from anywidget import AnyWidget
    from numpy.typing import ArrayLike

    from pulsar.followup.masks import RfiReport
    from pulsar.io.product.table import ResultTable
    from pulsar.report.figure import Sheet


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
    runs: Run | Sequence[Run], *, labels: str | PathLike[str] | None = None, by: str | None = None, height: int = 720
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
    from pulsar.triage.site import SCRIPTS, Site, widget

    products, place = [runs] if isinstance(runs, Run) else list(runs), None if labels is None else Path(fspath(labels))
    if not products or not all(isinstance(run, Run) for run in products):
        raise ConfigError("view: runs: expected one Run at least, as pulsar.read('RUN.h5') gives it")
    if place is None and not all(run.path.is_file() for run in products):
        raise ConfigError(
            "view: a run in memory has no file beside which judgements are kept: save it, "
            "pulsar.view(run.save('R.h5')), or name a file, labels='R.labels.ecsv'"
        )
    return widget(Site(products, person(by, "by='NAME'"), place, SCRIPTS), height)


@named_settings()
def plot(
    what: Fold | PulseCutout | TimeSeries | DMTime | Observation | Run | ResultTable | RfiReport | ArrayLike,
    candidate: Mapping[str, Any] | str | None = None,
    header: Header | None = None,
    *,
    title: str | None = None,
    path: str | PathLike[str] | None = None,
) -> Sheet:
    """Draw a fold, a pulse, data, a mask or results.

    Parameters
    ----------
    what : Fold, PulseCutout, TimeSeries, DMTime, Filterbank, Observation, Run, table, RfiReport or array_like
        A fold or a pulse that was cut out gets its plot sheet; data are drawn over time, and frequency or DM; a run or
        a table of candidates over period and DM, of pulses over time and DM; an array of one dimension as a line, of
        two as an image.
    candidate : str or mapping, optional
        Of a run the name of a candidate or single pulse, whose sheet is drawn: ``pulsar.plot(run, "c0001")``. Of a
        fold or pulse the row of its table (``run.candidate("c0001")``): adds what the search knows.
    header : Header, optional
        Of the observation of that candidate (``run.observation_of("c0001")``).
    title : str, optional
        In place of the id of the candidate, or what else stands there.
    path : path, optional
        Also write the picture there: ``.png``, ``.pdf`` or ``.svg``.

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.

    Raises
    ------
    ConfigError
        It is nothing that can be drawn, the run has no fold or pulse of that name, or `path` ends otherwise or is in
        no folder.
    """
    from pulsar.report.figure import check_suffix, save

    target = None if path is None else Path(fspath(path))
    if target is not None:
        check_suffix(target)
        if not target.absolute().parent.is_dir():
            raise ConfigError(f"{target}: the folder {target.absolute().parent} does not exist; create it")
    sheet = _sheet(what, candidate, header, title)
    if target is not None:
        save(sheet, target)
    return sheet


def _sheet(what: Any, candidate: Mapping[str, Any] | str | None, header: Header | None, title: str | None) -> Sheet:
    from pulsar.report import plots, sheet

    if isinstance(candidate, str):
        if not isinstance(what, Run):
            raise ConfigError(f"plot: a name, {candidate!r}, is that of a candidate of a Run, not of {kind_of(what)}")
        task = sheet.Task(0, candidate, pulse=candidate in what.pulse_ids)
        subject, about = sheet.Desk([what]).subject(task)
        return sheet.plot(subject, replace(about, title=title))
    if isinstance(what, Fold | PulseCutout):
        return sheet.plot(what, About(candidate or {}, header, title))
    if isinstance(what, TimeSeries):
        return plots.plot_series(what, title=title)
    if isinstance(what, DMTime):
        return plots.plot_dm_time(what, title=title)
    if isinstance(what, Observation):
        return plots.plot_observation(what, title=title)
    if isinstance(what, Run):
        return plots.plot_table(what.rows("candidates"), what.observation, title=title)
    names = getattr(what, "colnames", None) or getattr(getattr(what, "dtype", None), "names", None)
    if names:
        if "dm" not in names or not {"time", "period", "freq"} & set(names):
            raise ConfigError("plot: a table needs the columns dm and time, period or freq")
        return plots.plot_table(what, header, title=title)
    if isinstance(what, str | bytes | PathLike | Mapping) or not hasattr(what, "__len__"):
        # Which loads the stages of a run.
        from pulsar.followup.masks import RfiReport

        if isinstance(what, RfiReport):
            return what.plot()
        raise ConfigError(
            f"plot: {kind_of(what)} cannot be drawn: give a Fold, a pulse, a TimeSeries, an observation, a Run, a "
            "table of candidates or pulses, an RfiReport or an array"
        )
    # An image where the first element is a row itself.
    rows = getattr(what, "ndim", None) == 2 or (len(what) > 0 and hasattr(what[0], "__len__"))
    dims = ("rows", "columns") if rows else ("samples",)
    return plots.plot_array(samples("what", what, dims, ("int16", "float32")), title=title)
