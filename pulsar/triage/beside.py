"""Rows of other beams and nights beside a candidate: those of the same period and DM."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.data.numbers import number, value_error
from pulsar.data.text import printable
from pulsar.errors import PulsarError
from pulsar.io.labels import uid_of
from pulsar.io.product.reader import read

if TYPE_CHECKING:
    from pulsar.io.product.reader import Run

#: Relative difference of periods that an orbit may make: 300 km/s, more than nearly all known pulsars move by.
ORBIT: Final = 1e-3
#: Difference of DMs that is always allowed for [pc/cm3], and its part of the DM: steps of a coarse plan.
DM_APART: Final = (1.0, 0.01)
#: Beside each other no more than these, the strongest.
MOST: Final = 19


@dataclass(frozen=True)
class Other:
    """A row of another observation.

    Attributes
    ----------
    run : int
        Which product.
    id : str
        Name of the row.
    text : str
        Where it is from, and its numbers.
    snr : float
    """

    run: int
    id: str
    text: str
    snr: float


def sources(runs: Sequence["Run"]) -> list["Run"]:
    """The runs, and after them the products that they were merged from, as far as those are still there."""
    shown, known = list(runs), {run.path.resolve() for run in runs}
    for path in (path for run in runs for path in merged_from(run)):
        if path.resolve() not in known:
            known.add(path.resolve())
            # What was removed or replaced since cannot be seen any more.
            with contextlib.suppress(PulsarError):
                shown.append(read(path))
    return shown


def merged_from(run: "Run") -> list[Path]:
    """Products from which one was merged: where they were, or else beside it."""
    names = dict.fromkeys(str(name) for name in run.rows("observations")["product"] if str(name))
    places = ((Path(name), run.path.parent / Path(name).name) for name in names)
    return [path for options in places for path in options if path.is_file()]


def others(runs: Sequence["Run"], number_of_run: int, row: Any) -> list[Other]:
    """Rows of other observations that have the period and the DM of a row, strongest first; one of each observation.

    Parameters
    ----------
    runs : sequence of Run
        As :func:`sources` gives them.
    number_of_run : int
        That of the row.
    row : mapping
        Of candidates.
    """
    own = _observation(runs[number_of_run], row)
    best: dict[tuple[str, float, int], Other] = {}
    for k, run in enumerate(runs):
        rows = run.rows("candidates")
        for other in rows[same(row, rows) & (rows["harmonic_of"] == "")]:
            where = _observation(run, other)
            if where == own or (k == number_of_run and uid_of(other) == uid_of(row)):
                continue
            match = Other(k, str(other["id"]), _told(run, other), float(other["snr"]))
            if where not in best or _strength(match) > _strength(best[where]):
                best[where] = match
    return sorted(best.values(), key=_strength, reverse=True)[:MOST]


def same(row: Any, rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Rows with the period of a row, whatever an orbit has done to it, and its DM.

    Parameters
    ----------
    row : mapping
        Of candidates.
    rows : structured array, shape (n,)
        Of candidates.
    """
    period_err, dm_err = (
        3.0 * np.hypot(_known(row[name]), np.nan_to_num(rows[name])) for name in ("period_err", "dm_err")
    )
    periods = np.abs(rows["period"] - row["period"]) <= np.maximum(ORBIT * row["period"], period_err)
    apart = np.maximum(max(DM_APART[0], DM_APART[1] * row["dm"]), dm_err)
    same_source: NDArray[np.bool_] = periods & (np.abs(rows["dm"] - row["dm"]) <= apart)
    return same_source


def _strength(other: Other) -> float:
    return other.snr if math.isfinite(other.snr) else -math.inf


def _known(value: float) -> float:
    return float(value) if math.isfinite(value) else 0.0


def _observation(run: "Run", row: Any) -> tuple[str, float, int]:
    header = run.observation_of(row)
    return header.source, round(_known(header.tstart), 6), -1 if header.beam is None else header.beam


def _told(run: "Run", row: Any) -> str:
    numbers = (
        f"P {value_error(1e3 * row['period'], 1e3 * row['period_err'])} ms",
        f"DM {value_error(row['dm'], row['dm_err'])}",
        f"S/N {number(row['snr'], '.1f')}",
    )
    return printable(f"{place_of(run, row)}: {row['id']} of {run.path.name}, {', '.join(numbers)}")


def place_of(run: "Run", row: Any) -> str:
    """Source, beam and start of the observation of a row, in words."""
    source, start, beam = _observation(run, row)
    parts = (source, f"beam {beam}" if beam >= 0 else "", f"MJD {start:.5f}" if start > 0 else "")
    return printable(", ".join(filter(None, parts)))
