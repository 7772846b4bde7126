"""The parts of a product: headers, rows, folds, cut-outs; and what each must be where it is read."""

import math
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, get_args

import numpy as np

from pulsar.data.candidate import Column, dtype_of, table_of
from pulsar.data.direction import galactic
from pulsar.data.fold import Fold, FoldCube, FoldParams, HarmonicNoise, LevelledFold, PulseCutout
from pulsar.data.header import HIGHEST_FREQ, LATEST_MJD, LONGEST_TSAMP, MOST_CHANNELS, SHORTEST_TSAMP, Header
from pulsar.data.text import printable, shown
from pulsar.data.validated import strict_json
from pulsar.io.hdf5 import Hdf5
from pulsar.io.product import schema
from pulsar_kernels.arrays import Array

#: Field of a header -> lowest and highest value; NaN, where nothing is known, passes.
_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "nchans": (1, MOST_CHANNELS),
    "nsamps": (0, 1 << 53),
    "tsamp": (SHORTEST_TSAMP, LONGEST_TSAMP),
    "fch1": (0.0, HIGHEST_FREQ),
    "foff": (-HIGHEST_FREQ, HIGHEST_FREQ),
    "tstart": (-LATEST_MJD, LATEST_MJD),
    "nbits": (1, 64),
}
#: Other numbers of a header are below this: an int32.
_ANY: Final = (-float(1 << 31), float(1 << 31))
#: What a description tells of the shape of an array.
_SHAPE: Final = re.compile(r"shape \((.*?)\)")
#: Paths are names of files, whatever their letters; all other texts are shown only.
_PATHS: Final = frozenset({"path", "product"})
#: Fields of a header that a table stores as -1 where they are None.
_OPTIONAL: Final = frozenset({"beam", "nbeams", "telescope_id"})
#: Fields without which there is no header: what several observations do not share is replaced by these.
_UNKNOWN: Final[Mapping[str, Any]] = {"nchans": 1, "nsamps": 0, "tsamp": np.nan, "fch1": np.nan, "foff": np.nan}


def checked_header(file: Hdf5, values: Mapping[str, Any]) -> Header:
    """The header of these fields, each of its type and in its range.

    Raises
    ------
    DataError
        Naming the field.
    """
    checked: dict[str, Any] = {}
    for field in fields(Header):
        name, kinds = field.name, get_args(field.type) or (field.type,)
        if name not in values or name == "freq_table":
            continue
        value, kind = values[name], kinds[0]
        # An int32 may stand for a float or a switch, never a text for a number.
        right = isinstance(value, str) if kind is str else isinstance(value, bool | int | float)
        if right and kind is not str:
            low, high = _RANGES.get(name, _ANY)
            right = low <= value <= high or (kind is float and math.isnan(value))
        if value is None and types.NoneType in kinds:
            checked[name] = None
        elif not right or (kind is int and value != int(value)):
            raise file.damaged(f"{name} of the observation is {shown(value)}")
        else:
            checked[name] = kind(value)
    table = values.get("freq_table")
    if table is not None:
        if len(table) != checked.get("nchans") or not all(0 < f <= HIGHEST_FREQ for f in table):
            raise file.damaged("freq_table of the observation does not hold a frequency for every channel")
        checked["freq_table"] = tuple(table)
    return Header(**checked)


def stored_rows(file: Hdf5, name: str, columns: tuple[Column, ...]) -> Array:
    """The rows of a table as they are stored, texts as str.

    Raises
    ------
    DataError
        It is no table, or a column is of another type than its numbers or texts.
    """
    # Columns that it lacks are added. Bytes that a row takes as it is listed (14 kB in `pulsar candidates --format
    # json`), and how many may be taken so for each that is stored: rows of real values have a hundred or more.
    listed = 8192 if name in ("candidates", "single_pulses") else 0
    rows = file.array(name, "V", (None,), more=dtype_of(columns).itemsize + listed, borne_out=64)
    kinds = {c.name: c.dtype[0] for c in columns}
    out: dict[str, Array] = {}
    for key in rows.dtype.names or ():
        column = rows[key]
        kind = column.dtype.kind
        # Columns of a later version are taken as they are.
        expected = {"U": "SO", "f": "fiu", "i": "iub"}.get(kinds.get(key, ""), "fiubSO")
        if column.ndim != 1 or kind not in expected:
            raise file.damaged(f"column {printable(key)} of {name} is of type {rows.dtype[key]}")
        out[key] = _texts(column, key in _PATHS and key in kinds) if kind in "SO" else column
    if not out:
        raise file.damaged(f"{name} has no columns")
    return table_of(out)


def _texts(column: Array, raw: bool) -> Array:
    texts = np.char.decode(column, "utf-8", "replace").tolist()
    return np.array(texts if raw else [printable(text) for text in texts], dtype=np.str_)


def read_json(file: Hdf5, name: str, text: Any, kind: type) -> Any:
    """A text of JSON of a kind."""
    try:
        # Folds may have numbers that are unknown.
        value = _shown(strict_json(text, finite=False))
    except (ValueError, TypeError) as error:
        raise file.damaged(f"{name} is no JSON: {error}") from error
    if not isinstance(value, kind):
        raise file.damaged(f"{name} is {type(value).__name__}, expected {kind.__name__}")
    return value


def _shown(value: Any) -> Any:
    """A value of JSON with its texts as they may be shown; as deep as our own are."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_shown(v) for v in value]
    return {printable(k): _shown(v) for k, v in value.items()} if isinstance(value, dict) else value


def check_mask(file: Hdf5, arrays: Mapping[str, Any]) -> None:
    """Refuse arrays and attributes of ``/rfi`` that do not go with one another.

    Raises
    ------
    DataError
        Naming the array or attribute.
    """
    for name in ("block_nsamps", "masked_fraction"):
        value = arrays.get(name, None if "mask" in arrays else 1)
        if not isinstance(value, int | float) or not 0 <= value < 1 << 62:
            raise file.damaged(f"attribute {name} of rfi is {shown(value)}, expected a number")
    if "mask" not in arrays:
        return
    for name in ("chan_mask", "chan_reasons", "edges"):
        if name not in arrays:
            raise file.damaged(f"rfi has a mask, but no {name}")
    together = [name for name in ("mask", "chan_mask", "chan_reasons", "edges", "freqs") if name in arrays]
    shapes = {name: (np.shape(arrays[name]), schema.RFI_ARRAYS[name][2]) for name in together}
    check_shapes(file, "rfi", shapes)


def check_shapes(file: Hdf5, group: str, arrays: Mapping[str, tuple[tuple[int, ...], str]], **sizes: int) -> None:
    """Refuse arrays that do not go with one another.

    Parameters
    ----------
    arrays : mapping of str to (shape, description)
        A description ends in such as ``shape (nbands, nbins + 1)``: what is named alike is as long, ``2`` is that long,
        and ``n`` may be 0.
    **sizes
        Lengths that are known.

    Raises
    ------
    DataError
        Naming the array.
    """
    for name, (shape, description) in arrays.items():
        axes = [axis for axis in re.split(", ?", _SHAPE.findall(description)[-1]) if axis]
        fits = len(shape) == len(axes)
        for axis, n in zip(axes, shape, strict=False):
            length, _, more = axis.partition(" + ")
            size = int(length) if length.isdecimal() else sizes.setdefault(length, n - int(more or 0))
            fits &= size + int(more or 0) == n and (n > 0 or length == "n")
        if not fits:
            known = ", ".join(f"{length} = {n}" for length, n in sizes.items())
            raise file.damaged(
                f"{group}/{name} has the shape {shape}, expected ({', '.join(axes)}) with {known}, none of them 0"
            )


def read_fold(file: Hdf5, ident: str) -> Fold:
    """The fold of a candidate.

    Raises
    ------
    DataError
        An array is missing, or does not go with the others.
    """
    group = f"folds/{ident}"
    attrs = dict.fromkeys(schema.FOLD_LATER, math.nan) | dict(file.attributes(group))
    values = _measured(file, group, attrs, schema.FOLD_ARRAYS, schema.FOLD_SCALARS)
    for when in ("before", "after"):
        params = {key: attrs.get(f"{key}_{when}", 0.0) for key in schema.FOLD_PARAMS}
        numbers = _scalars(file, group, params, params)
        if not 0.0 < numbers["freq"] < math.inf or not math.isfinite(sum(numbers.values())):
            raise file.damaged(f"freq_{when} of {group} and its derivatives are {numbers}, expected those of a pulsar")
        values[when] = FoldParams(**numbers)
    if "part" in attrs:
        values |= _scalars(file, group, attrs, schema.FOLD_PART) | {"part": printable(str(attrs["part"]))}
    extra = read_json(file, f"attribute extra of {group}", attrs.get("extra", "{}"), dict)
    return Fold(**values, extra=extra)


def read_cube(file: Hdf5, ident: str) -> tuple[FoldCube, tuple[tuple[float, float], ...]]:
    """Of what the fold of a candidate was made, and the lines [Hz] of interference that were left out of it.

    Raises
    ------
    DataError
        An array is missing, or does not go with the others.
    """
    fold, group = read_fold(file, ident), f"folds/{ident}/cube"
    attrs = file.attributes(group)
    # A series without a frequency is referred to an infinite one.
    endless = attrs.get("fref") == math.inf
    attrs |= {"fref": 0.0} if endless else {}
    values = _measured(file, group, attrs, schema.CUBE_ARRAYS, schema.CUBE_SCALARS)
    stored = read_json(file, f"attribute lines of {group}", attrs.get("lines", "[]"), list)
    noise: dict[str, Any] = {}
    if file.has(f"{group}/levelled"):
        noise = _measured(file, group, attrs, schema.LEVELLED_ARRAYS, schema.LEVELLED_SCALARS)
    nsubints, nbands, nbins = values["data"].shape
    right = (nsubints + 1, nbands) == (len(fold.time_edges), len(fold.band_freqs)) and nbins % 2 == 0
    # Sums of a fold are below this: of samples within +-127, less of them than there can be.
    right &= all(bool(np.all(np.abs(array) < 127.0 * (1 << 53))) for array in (values | noise).values())
    if noise:
        right &= noise["levelled"].shape == values["data"].shape and len(noise["smooth"]) == nbins // 2 + 1
        right &= bool(np.all(noise["smooth"] > 0))
    if not right or np.any(values["variance"] < 0):
        raise file.damaged(f"{group} does not hold sums and variances of the fold {ident}")
    try:
        lines = tuple((float(freq), float(width)) for freq, width in stored)
    except (ValueError, TypeError) as error:
        raise file.damaged(f"attribute lines of {group} is no list of frequencies and widths") from error
    levelled = None
    if noise:
        levelled = LevelledFold(noise["levelled"], HarmonicNoise(noise["measured"], noise["smooth"], noise["red"]))
    values |= {"fref": math.inf} if endless else {}
    axes = {name: getattr(fold, name) for name in ("time_edges", "band_freqs", "tobs", "epoch")}
    return FoldCube(**values, **axes, params=fold.before, levelled=levelled), lines


def read_pulse(file: Hdf5, ident: str) -> PulseCutout:
    """The surroundings of a single pulse.

    Raises
    ------
    DataError
        An array is missing, or does not go with the others.
    """
    group = f"pulses/{ident}"
    return PulseCutout(**_measured(file, group, file.attributes(group), schema.PULSE_ARRAYS, schema.PULSE_SCALARS))


def _measured(
    file: Hdf5,
    group: str,
    attrs: Mapping[str, Any],
    arrays: Mapping[str, tuple[str, str]],
    scalars: Mapping[str, tuple[str, str]],
) -> dict[str, Any]:
    """The arrays of a group that the schema lists, and its numbers."""
    values: dict[str, Any] = {name: file.array(f"{group}/{name}", "fiu") for name in arrays}
    check_shapes(file, group, {name: (values[name].shape, description) for name, (_, description) in arrays.items()})
    return values | _scalars(file, group, attrs, scalars)


def _scalars(file: Hdf5, group: str, attrs: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, float]:
    for name in names:
        value = attrs.get(name)
        if not isinstance(value, int | float) or abs(value) > 1e300:
            value_text = "missing" if value is None else shown(value)
            raise file.damaged(f"attribute {name} of {group} is {value_text}, expected a number")
    return {name: float(attrs[name]) for name in names}


def observation_row(obs: int, header: Header, product: str = "", masked: float = math.nan) -> tuple[Any, ...]:
    """A header as row `obs` of the table of observations."""
    longitude, latitude = galactic(header.ra_deg, header.dec_deg)
    values = {f.name: getattr(header, f.name) for f in fields(header)}
    values |= {name: -1 for name in _OPTIONAL if values[name] is None}
    values |= {"obs": obs, "product": product, "masked": masked, "gl": float(longitude), "gb": float(latitude)}
    values |= {"tobs": header.tobs, "bandwidth": header.bandwidth}
    return tuple(values[column.name] for column in schema.OBSERVATION_COLUMNS)


def row_header(file: Hdf5, row: Any, freq_table: tuple[float, ...] | None) -> Header:
    """The header in a row of the table of observations.

    Parameters
    ----------
    row : void
        Fields of OBSERVATION_COLUMNS.
    freq_table : tuple of float, optional
        Channel centres [MHz] where they are not evenly spaced.

    Raises
    ------
    DataError
        As :func:`checked_header`.
    """
    values = {f.name: row[f.name].item() for f in fields(Header) if f.name in row.dtype.names}
    values |= {name: None for name in _OPTIONAL if values[name] < 0}
    return checked_header(file, values | {"freq_table": freq_table})


def shared_header(headers: Sequence[Header]) -> Header:
    """The header that several observations share: what differs is unknown; the earliest start."""
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


def placed(table: Array, headers: Sequence[Header]) -> Array:
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
    named = np.where(known, targets[np.where(known, obs, 0)], table["target"])
    out = table_of({name: named if name == "target" else table[name] for name in names})
    out["gl"], out["gb"] = galactic(table["ra_deg"], table["dec_deg"])
    out["nbeams"][known & (out["nbeams"] == 0)] = 1
    if "nseen" in names:
        out["nseen"][known & (out["nseen"] == 0)] = 1
    return out
