"""Rows of candidates, single pulses and observations as the page shows them: a number to sort by and its text."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pulsar.data.candidate import CANDIDATE_COLUMNS, SINGLE_PULSE_COLUMNS, Column
from pulsar.data.direction import dms, hms
from pulsar.data.numbers import duty_cycle, number, significant, value_error
from pulsar.data.text import printable
from pulsar.io.product.schema import OBSERVATION_COLUMNS

Row = Mapping[str, Any]
#: What a cell shows; None where nothing is known.
Show = Callable[[Row], str | None]


class Field:
    """A column of the page.

    Parameters
    ----------
    key : str
        Column of the table, by which it is sorted; also its name in a filter.
    title : str
        Its heading.
    show : str or callable
        Format of its number ("" for a text), or what gives the text of a row.
    unit : str, optional
        In place of the one of the table.
    factor : float
        From the stored unit to the one shown, in which it is filtered, too.
    keep : int
        How long it stays on small screens: 3 always, 2 on a tablet, 1 beside a sheet, 0 on a wide screen.
    """

    def __init__(
        self, key: str, title: str, show: str | Show, unit: str | None = None, *, factor: float = 1.0, keep: int = 0
    ) -> None:
        self.key, self.title, self.unit, self.factor, self.keep = key, title, unit, factor, keep
        self._show = show

    @property
    def text(self) -> bool:
        """True where it is sorted as a text."""
        return self._show == ""

    def cell(self, row: Row) -> Any:
        """The cell as the page stores it: a text, or a number (None where it is unknown) and its text."""
        value = row[self.key]
        if self.text:
            return printable(str(value))
        value = float(value)
        known = math.isfinite(value) and not (self.key in ("beam", "obs") and value < 0)
        shown = self._show(row) if callable(self._show) else format(row[self.key], str(self._show))
        # More digits than anybody reads or filters by are not stored.
        return [
            float(f"{self.factor * value:.12g}") if known else None,
            printable(shown) if known and shown is not None else "–",
        ]


def _angle(key: str, form: Callable[[float], str]) -> Show:
    return lambda r: form(float(r[key]))


def _error(key: str, factor: float = 1.0) -> Show:
    return lambda r: value_error(factor * r[key], factor * r.get(f"{key}_err", math.nan))


CANDIDATES: Final = (
    Field("rank", "rank", "d", keep=2),
    Field("id", "id", "", keep=3),
    Field("period", "period", _error("period", 1e3), "ms", factor=1e3, keep=3),
    Field("dm", "DM", _error("dm"), keep=3),
    Field("snr", "S/N", ".1f", keep=3),
    Field("rfi_flags", "flags", "", keep=2),
    Field("score", "score", ".2f", keep=3),
    Field("nattached", "harm.", lambda r: f"+{r['nattached']}" if r["nattached"] > 0 else "", keep=1),
    Field("found_by", "found by", "", keep=1),
    Field("beam", "beam", "d", keep=1),
    Field("known_source", "known source", "", keep=1),
    Field("sigma", "sigma", ".1f"),
    Field("accel", "accel.", lambda r: _error("accel")(r) if significant(r["accel"], r["accel_err"]) else ""),
    Field("width", "duty", lambda r: duty_cycle(r["width"], r.get("width_err", math.nan))),
    Field("npulses", "pulses", lambda r: str(r["npulses"]) if r["npulses"] > 0 else ""),
    Field("nharm", "summed", "d"),
    Field("ndetections", "det.", "d"),
)
PULSES: Final = (
    Field("rank", "rank", "d", keep=2),
    Field("id", "id", "", keep=3),
    Field("time", "time", ".4f", keep=3),
    Field("dm", "DM", _error("dm"), keep=3),
    Field("snr", "S/N", ".1f", keep=3),
    Field("rfi_flags", "flags", "", keep=2),
    Field("score", "score", ".2f", keep=3),
    Field("width", "width", lambda r: number(1e3 * r["width"], ".3g"), "ms", factor=1e3, keep=2),
    Field("source", "pulse of", "", keep=1),
    Field("beam", "beam", "d", keep=1),
    Field("sigma", "sigma", ".1f"),
    Field("ndetections", "events", "d"),
)
#: After the number of a row, where rows are of several observations; the column beam goes.
_PLACE: Final = (
    Field("target", "source", "", keep=2),
    Field("beam", "beam", "d", keep=2),
    Field("nbeams", "beams", "d", keep=1),
    Field("ra_deg", "RA", _angle("ra_deg", hms), "h:m:s"),
    Field("dec_deg", "Dec", _angle("dec_deg", dms), "d:m:s"),
    Field("obs", "obs.", "d"),
)
#: ... and where other times were asked.
_AGAIN: Final = (
    Field("nseen", "times", "d", keep=1),
    Field("chance", "chance", lambda r: number(r["chance"], ".1g")),
)
OBSERVATIONS: Final = (
    Field("obs", "no.", "d", keep=3),
    Field("source", "source", "", keep=3),
    Field("telescope", "telescope", "", keep=1),
    Field("beam", "beam", "d", keep=3),
    Field("ra_deg", "RA", _angle("ra_deg", hms), "h:m:s", keep=2),
    Field("dec_deg", "Dec", _angle("dec_deg", dms), "d:m:s", keep=2),
    Field("gl", "l", ".4f"),
    Field("gb", "b", ".4f"),
    Field("tstart", "start", ".6f", "MJD", keep=2),
    Field("tobs", "length", ".6g", keep=1),
    Field("tsamp", "sampling", lambda r: f"{1e6 * r['tsamp']:.6g}", "µs", factor=1e6),
    Field("fch1", "highest channel", ".6g"),
    Field("bandwidth", "bandwidth", ".6g"),
    Field("nchans", "channels", "d"),
    Field("masked", "masked", lambda r: f"{100.0 * r['masked']:.1f}", "%", factor=100.0),
)
_STORED: Final[dict[str, tuple[Column, ...]]] = {
    "candidates": CANDIDATE_COLUMNS,
    "pulses": SINGLE_PULSE_COLUMNS,
    "observations": OBSERVATION_COLUMNS,
}


def fields(table: str, merged: bool) -> tuple[Field, ...]:
    """Columns of a table of the page.

    Parameters
    ----------
    table : {"candidates", "pulses", "observations"}
    merged : bool
        Rows are of several observations: each says of which.
    """
    own = {"candidates": CANDIDATES, "pulses": PULSES, "observations": OBSERVATIONS}[table]
    if not merged or table == "observations":
        return own
    rest = [f for f in own[2:] if f.key != "beam"]
    # Seven columns stay beside the numbers that tell a candidate.
    when = [Field("mjd", "MJD", ".9f", "UTC")] if table == "pulses" else []
    return (*own[:2], *rest[:5], *_PLACE, *when, *_AGAIN, *rest[5:])


def headings(table: str, shown: Sequence[Field], several: bool) -> list[dict[str, Any]]:
    """Columns as the page stores them; with the run first, where there are several."""
    stored = {c.name: c for c in _STORED[table]}
    first = [{"key": "run", "title": "run", "unit": "", "text": True, "keep": 1, "about": "name of the product"}]
    return (first if several else []) + [
        {
            "key": f.key,
            "title": f.title,
            "unit": stored[f.key].unit if f.unit is None else f.unit,
            "text": f.text,
            "keep": f.keep,
            "about": stored[f.key].description,
        }
        for f in shown
    ]
