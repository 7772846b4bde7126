"""Pictures of whatever can be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsar.api._given import kind_of, named_settings
from pulsar.data.arguments import samples
from pulsar.data.fold import Fold
from pulsar.data.header import Header
from pulsar.data.observation import Observation
from pulsar.data.pulse import PulseCutout
from pulsar.data.series import DMTime, TimeSeries
from pulsar.errors import ConfigError
from pulsar.io.product.reader import Run
from pulsar.report.words import About

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from pulsar.followup.masks import RfiReport
    from pulsar.io.product.table import ResultTable
    from pulsar.report.figure import Sheet


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
    from pulsar.report import drawn, plots

    if isinstance(candidate, str):
        if not isinstance(what, Run):
            raise ConfigError(f"plot: a name, {candidate!r}, is that of a candidate of a Run, not of {kind_of(what)}")
        task = drawn.Task(0, candidate, pulse=candidate in what.pulse_ids)
        subject, about = drawn.Desk([what]).subject(task)
        return drawn.plot(subject, replace(about, title=title))
    if isinstance(what, Fold | PulseCutout):
        return drawn.plot(what, About(candidate or {}, header, title))
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
