"""The sheets of a page, drawn side by side in processes."""

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
from pulsar.report import pulse, sheet
from pulsar.report.figure import Sheet, new_sheet, packed_sheet
from pulsar.report.words import About, Lines, judged, numbers, origin, pulse_numbers, verdict

#: Sheets for which a process more is worth its start: a second of processor, and a sheet takes a twelfth of one.
_WORTH: Final = 24
#: Sheets that are handed to a process at a time.
_TOGETHER: Final = 8


@dataclass(frozen=True)
class Task:
    """A sheet to draw.

    Attributes
    ----------
    run : int
        Which run.
    ident : str
        Candidate, or single pulse.
    pulse : bool
        Which of the two.
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


def plot(what: Fold | PulseCutout, about: About | None = None) -> Sheet:
    """Draw the plot sheet of a fold, or of a single pulse.

    Parameters
    ----------
    what : Fold or PulseCutout
        Refined fold, from ``run.fold("c0001")`` or ``pulsar.fold(...)``; or what surrounds a pulse.
    about : About, optional
        What the sheet tells beside.

    Returns
    -------
    Sheet
        A matplotlib figure that displays itself in notebooks.
    """
    size = sheet.SIZE if isinstance(what, Fold) else pulse.SIZE
    paper, about = new_sheet(*size, sheet.RESOLUTION, few=True), about or About()
    if isinstance(what, Fold):
        sheet.draw(paper, what, about)
    else:
        pulse.draw(paper, what, about)
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
    wanted = cores() if workers is None else workers
    wanted = min(wanted, len(tasks) // _WORTH) if workers is None else wanted
    if wanted <= 1:
        desk = Desk(runs, vector)
        for task in tasks:
            yield desk.draw(task)
            if tick is not None:
                tick(1)
        return
    # Begun afresh: a copy of this process could hold locks of threads that it does not have.
    with ProcessPoolExecutor(wanted, get_context("spawn"), _begin, (tuple(runs), vector)) as pool:
        for drawn in pool.map(_draw, tasks, chunksize=_TOGETHER):
            yield drawn
            if tick is not None:
                tick(1)


def size_of(task: Task) -> list[int]:
    """Width and height of a sheet [pixels], before it is drawn."""
    return [round(inches * sheet.RESOLUTION) for inches in (pulse.SIZE if task.pulse else sheet.SIZE)]


class Desk:
    """What a process needs to draw sheets of some runs, one at a time: tables are read, and sheets made, once.

    Parameters
    ----------
    runs : sequence of Run
    vector : {"", "pdf", "svg"}
        A format in which they are drawn, too.
    """

    def __init__(self, runs: Sequence[Run], vector: str = "") -> None:
        self._runs, self._vector = runs, vector
        self._rows: dict[tuple[int, str], dict[str, Any]] = {}
        self._files: dict[tuple[int, int], tuple[Path, ...]] = {}
        self._sheets = [new_sheet(*size, sheet.RESOLUTION, few=True) for size in (sheet.SIZE, pulse.SIZE)]

    def _row(self, task: Task) -> dict[str, Any]:
        name = "single_pulses" if task.pulse else "candidates"
        key = (task.run, name)
        if key not in self._rows:
            rows = self._runs[task.run].rows(name)
            self._rows[key] = {str(row["id"]): row for row in rows}
        row = self._rows[key].get(task.ident)
        return {"id": task.ident} if row is None else {k: row[k].item() for k in row.dtype.names}

    def _files_of(self, task: Task, row: dict[str, Any]) -> tuple[Path, ...]:
        key = (task.run, int(row.get("obs", -1)))
        if key not in self._files:
            self._files[key] = self._runs[task.run].files_of(key[1]) if key[1] >= 0 else ()
        return self._files[key]

    def draw(self, task: Task) -> Drawn:
        """Draw a sheet."""
        run, row = self._runs[task.run], self._row(task)
        header = run.observation_of(row)
        files = self._files_of(task, row)
        about = About(row, header, files=files)
        if task.pulse:
            cutout = run.pulse(task.ident)
            lines = [*pulse_numbers(cutout, row, header), *origin(files), *judged(row)]
            told = f"time {cutout.time:.4f} s, DM {cutout.dm:.5g} pc/cm³"
            told += f", S/N {row['snr']:.1f}" if "snr" in row else ""
            paper = self._sheets[1].wiped()
            pulse.draw(paper, cutout, about)
            return Drawn(packed_sheet(paper, self._vector), lines, told)
        fold = run.fold(task.ident)
        lines = [*numbers(fold, row, header), *origin(files), *verdict(fold, row)]
        told = f"period {1e3 / fold.after.freq:.9g} ms, DM {fold.after.dm:.5g} pc/cm³, S/N {fold.snr:.1f}"
        paper = self._sheets[0].wiped()
        sheet.draw(paper, fold, about)
        return Drawn(packed_sheet(paper, self._vector), lines, told)


_desk: Desk | None = None


def _begin(runs: Sequence[Run], vector: str) -> None:
    global _desk
    _desk = Desk(runs, vector)


def _draw(task: Task) -> Drawn:
    if _desk is None:
        raise RuntimeError("no runs were given to this process")
    return _desk.draw(task)
