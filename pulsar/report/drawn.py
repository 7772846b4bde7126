"""The sheets of a page, drawn side by side in processes."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from pulsar.data.fold import Fold
from pulsar.data.pulse import PulseCutout
from pulsar.io.product.reader import Run
from pulsar.report import sheet
from pulsar.report.figure import Sheet, picture, small_png
from pulsar.report.words import About, Lines, headline, sides

#: Sheets for which a process more is worth its start: a second of processor, and a sheet takes a twelfth of one.
_WORTH: Final = 24
#: Sheets that are handed to a process at a time.
_TOGETHER: Final = 8
#: Width and height of a sheet [pixels].
PIXELS: Final = [round(inches * sheet.RESOLUTION) for inches in sheet.SIZE]


@dataclass(frozen=True)
class Task:
    """A sheet to draw.

    Attributes
    ----------
    run : int
        Number of the run.
    ident : str
        Candidate, or single pulse.
    pulse : bool
        True for a single pulse.
    """

    run: int
    ident: str
    pulse: bool = False


@dataclass(frozen=True)
class Drawn:
    """A sheet, and what it says.

    Attributes
    ----------
    image : dict of str to bytes
        By format: "png", and "pdf" or "svg" where asked for.
    lines : list of (str, str)
        Names and values.
    numbers : str
        The most important of them, for those who do not see it.
    """

    image: dict[str, bytes]
    lines: Lines
    numbers: str


def plot(subject: Fold | PulseCutout, about: About | None = None) -> Sheet:
    """Draw the plot sheet of a fold, or of a single pulse.

    Parameters
    ----------
    subject : Fold or PulseCutout
        Refined fold, from ``run.fold("c0001")`` or ``pulsar.fold(...)``; or what surrounds a pulse.
    about : About, optional
        What the sheet tells beside.

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    paper = sheet.empty_sheet()
    sheet.draw(paper, subject, about or About())
    return paper


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def draw_all(
    runs: Sequence[Run],
    tasks: Sequence[Task],
    *,
    vector: str = "",
    workers: int | None = None,
    tick: Callable[[float], None] | None = None,
) -> Iterator[Drawn]:
    """Draw sheets, in the order of the tasks.

    Parameters
    ----------
    runs : sequence of Run
    tasks : sequence of Task
    vector : {"", "pdf", "svg"}
        A format in which they are drawn, too.
    workers : int, optional
        Processes; None: one a core, as far as there is enough to do.
    tick : callable, optional
        Called with 1 after each sheet.
    """
    wanted = min(cores(), len(tasks) // _WORTH) if workers is None else workers
    # Begun afresh: a copy of this process could hold locks of threads that it does not have.
    begin = (wanted, get_context("spawn"), _begin, (tuple(runs), vector))
    with contextlib.ExitStack() as open_pool:
        if wanted > 1:
            pool = open_pool.enter_context(ProcessPoolExecutor(*begin))
            sheets = pool.map(_draw, tasks, chunksize=_TOGETHER)
        else:
            sheets = map(Desk(runs, vector).draw, tasks)
        for drawn in sheets:
            yield drawn
            if tick is not None:
                tick(1)


class Desk:
    """All that a process needs to draw sheets of some runs: tables are read, and the sheet made, once.

    Parameters
    ----------
    runs : sequence of Run
    vector : {"", "pdf", "svg"}
        A format in which they are drawn, too.
    resolution : float
        Pixels in an inch.
    """

    def __init__(self, runs: Sequence[Run], vector: str = "", resolution: float = sheet.RESOLUTION) -> None:
        self._runs, self._vector = runs, vector
        self._rows: dict[tuple[int, bool], dict[str, Any]] = {}
        self._files: dict[tuple[int, int], tuple[Path, ...]] = {}
        self._sheet = sheet.empty_sheet(resolution)

    def _row(self, task: Task) -> dict[str, Any]:
        key = (task.run, task.pulse)
        if key not in self._rows:
            rows = self._runs[task.run].rows("single_pulses" if task.pulse else "candidates")
            self._rows[key] = {str(row["id"]): row for row in rows}
        row = self._rows[key].get(task.ident)
        return {"id": task.ident} if row is None else {k: row[k].item() for k in row.dtype.names}

    def _files_of(self, task: Task, row: dict[str, Any]) -> tuple[Path, ...]:
        key = (task.run, int(row.get("obs", -1)))
        if key not in self._files:
            self._files[key] = self._runs[task.run].files_of(key[1]) if key[1] >= 0 else ()
        return self._files[key]

    def subject(self, task: Task) -> tuple[Fold | PulseCutout, About]:
        """A fold or pulse, and what its sheet tells beside."""
        run, row = self._runs[task.run], self._row(task)
        about = About(row, run.observation_of(row), files=self._files_of(task, row))
        return run.pulse(task.ident) if task.pulse else run.fold(task.ident), about

    def draw(self, task: Task) -> Drawn:
        """Draw a sheet."""
        subject, about = self.subject(task)
        paper = self._sheet.wiped()
        sheet.draw(paper, subject, about)
        images = {"png": small_png(paper)}
        if self._vector:
            images[self._vector] = picture(paper, self._vector)
        measured, judged = sides(subject, about)
        return Drawn(images, [*measured, *judged], ", ".join(headline(subject, about.row)))


_desk: Desk | None = None


def _begin(runs: Sequence[Run], vector: str) -> None:
    global _desk
    _desk = Desk(runs, vector)


def _draw(task: Task) -> Drawn:
    if _desk is None:
        raise RuntimeError("no runs were given to this process")
    return _desk.draw(task)
