"""Which observation a row is from: headers as rows of a table and back, and what rows say of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.data.direction import galactic
from pulsar.data.header import Header
from pulsar.io.product.schema import OBSERVATION_COLUMNS

#: Fields of a header that a table stores as -1 where they are None, and as 0 or 1.
_OPTIONAL: Final = frozenset({"beam", "nbeams", "telescope_id"})
_SWITCHES: Final = frozenset({"is_series", "barycentric", "pulsarcentric"})
#: Fields without which there is no header: what several observations do not share is replaced by these.
_UNKNOWN: Final[Mapping[str, Any]] = {"nchans": 1, "nsamps": 0, "tsamp": np.nan, "fch1": np.nan, "foff": np.nan}


def observation_row(obs: int, header: Header, product: str = "") -> tuple[Any, ...]:
    """A header as row `obs` of the table of observations."""
    longitude, latitude = galactic(header.ra_deg, header.dec_deg)
    values = {f.name: getattr(header, f.name) for f in fields(header)}
    values |= {name: -1 for name in _OPTIONAL if values[name] is None}
    values |= {"obs": obs, "product": product, "gl": float(longitude), "gb": float(latitude)}
    values |= {"tobs": header.tobs, "bandwidth": header.bandwidth}
    return tuple(values[column.name] for column in OBSERVATION_COLUMNS)


def header_of(row: Any, freq_table: tuple[float, ...] | None = None) -> Header:
    """The header in a row of the table of observations.

    Parameters
    ----------
    row : void
        Fields of OBSERVATION_COLUMNS.
    freq_table : tuple of float, optional
        Channel centres [MHz] where they are not evenly spaced.
    """
    names = [f.name for f in fields(Header) if f.name in row.dtype.names]
    values = {name: row[name].item() for name in names}
    values |= {name: None for name in _OPTIONAL if values.get(name, -1) < 0}
    values |= {name: bool(values.get(name, 0)) for name in _SWITCHES}
    return Header(**values, freq_table=freq_table)


def shared_header(headers: Sequence[Header]) -> Header:
    """What is the same in all of several observations, everything else unknown; the earliest start.

    Parameters
    ----------
    headers : sequence of Header
    """
    if not headers:
        return Header(**_UNKNOWN, tstart=float("nan"))
    first = headers[0]
    if len(headers) == 1:
        return first
    changes: dict[str, Any] = {}
    for field in fields(Header):
        value = getattr(first, field.name)
        if all(_same(getattr(h, field.name), value) for h in headers):
            continue
        if field.name in _UNKNOWN:
            changes[field.name] = _UNKNOWN[field.name]
        else:
            changes[field.name] = {str: "", float: np.nan}.get(type(value), field.default)
    starts = [h.tstart for h in headers if np.isfinite(h.tstart)]
    return first.with_(**(changes | {"tstart": min(starts, default=np.nan)}))


def _same(a: Any, b: Any) -> bool:
    return bool(a == b or (isinstance(a, float) and isinstance(b, float) and np.isnan(a) and np.isnan(b)))


def unknown_header(row: Any) -> Header:
    """The header of a row whose observation nobody has recorded: with its own beam and position, where it has them.

    Parameters
    ----------
    row : mapping or void
        A row of candidates or single pulses.
    """
    names = row.keys() if isinstance(row, Mapping) else row.dtype.names
    beam = int(row["beam"]) if "beam" in names else -1
    place: dict[str, Any] = {key: float(row[key]) for key in ("ra_deg", "dec_deg") if key in names}
    return Header(**_UNKNOWN, tstart=float("nan"), beam=beam if beam >= 0 else None, **place)


def placed(table: NDArray[Any], headers: Sequence[Header]) -> NDArray[Any]:
    """A copy of a table of candidates or single pulses with what follows from each row's own observation.

    That is the name of its target, its galactic coordinates, and one beam and one time where nobody has counted them.

    Parameters
    ----------
    table : ndarray
        Fields of CANDIDATE_COLUMNS or SINGLE_PULSE_COLUMNS.
    headers : sequence of Header
        What the column `obs` counts; a row that names none of them keeps what it has.
    """
    names = table.dtype.names or ()
    if "obs" not in names:
        return table
    obs = table["obs"].astype(np.int64)
    known = (obs >= 0) & (obs < len(headers))
    targets = np.array([h.source for h in headers] or [""])
    widest = max(targets.dtype.itemsize, table.dtype["target"].itemsize) // 4
    dtype = [(n, f"U{widest}" if n == "target" else table.dtype[n]) for n in names]
    out = np.zeros(len(table), dtype=dtype)
    for name in names:
        out[name] = table[name]
    out["target"][known] = targets[obs[known]]
    out["gl"], out["gb"] = galactic(table["ra_deg"], table["dec_deg"])
    out["nbeams"][known & (out["nbeams"] == 0)] = 1
    if "nseen" in names:
        out["nseen"][known & (out["nseen"] == 0)] = 1
    return out
