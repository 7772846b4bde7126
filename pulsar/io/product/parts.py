"""The parts of a product as they are read: header, rows, folds, cut-outs, each checked against what it must be."""

import math
import types
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from pulsar.data.candidate import Column, dtype_of
from pulsar.data.fold import Fold, FoldParams
from pulsar.data.header import HIGHEST_FREQ, LATEST_MJD, LONGEST_TSAMP, MOST_CHANNELS, SHORTEST_TSAMP, Header
from pulsar.data.pulse import PulseCutout
from pulsar.data.text import printable
from pulsar.data.validated import strict_json
from pulsar.io.hdf5 import Hdf5
from pulsar.io.product import schema

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
#: Bytes that a row takes as it is listed (14 kB in `pulsar candidates --format json`), and how many may be taken so for
#: each that is stored of the table: rows of real values have a hundred or more.
_LISTED: Final = 8192
_BORNE_OUT: Final = 64
#: Paths are names of files, whatever their letters; all other texts are shown only.
_PATHS: Final = frozenset({"path", "product"})


def checked_header(file: Hdf5, values: Mapping[str, Any]) -> Header:
    """The header of these fields, each of its type and in its range.

    Raises
    ------
    DataError
        Naming the field.
    """
    kinds = {f.name: f.type for f in fields(Header)}
    checked: dict[str, Any] = {}
    for name, value in values.items():
        kind = kinds.get(name)
        if kind is None or name == "freq_table":
            continue
        if value is None and type(None) in get_args(kind):
            checked[name] = None
            continue
        plain = next(k for k in get_args(kind) if k is not type(None)) if isinstance(kind, types.UnionType) else kind
        # An int32 may stand for a float or a switch, never a text for a number.
        right = isinstance(value, str) if plain is str else isinstance(value, bool | int | float)
        low, high = _RANGES.get(name, _ANY)
        number = right and plain is not str
        if not right or (number and not (low <= value <= high) and not (plain is float and math.isnan(value))):
            raise file.damaged(f"{name} of the observation is {printable(repr(value))[:80]}")
        whole = plain is not int or value == int(value)
        if not whole:
            raise file.damaged(f"{name} of the observation is {value!r}, expected a whole number")
        checked[name] = plain(value) if isinstance(plain, type) else value
    table = values.get("freq_table")
    if table is not None:
        if len(table) != checked.get("nchans") or not all(0 < f <= HIGHEST_FREQ for f in table):
            raise file.damaged("freq_table of the observation does not hold a frequency for every channel")
        checked["freq_table"] = tuple(table)
    return Header(**checked)


def stored_rows(file: Hdf5, name: str, columns: tuple[Column, ...]) -> NDArray[Any]:
    """The rows of a table as they are stored, texts as str.

    Raises
    ------
    DataError
        It is no table, or a column is of another type than its numbers or texts.
    """
    # Columns that it lacks are added.
    listed = _LISTED if name in ("candidates", "single_pulses") else 0
    rows = file.array(name, "V", (None,), more=dtype_of(columns).itemsize + listed, borne_out=_BORNE_OUT)
    kinds = {c.name: c.dtype[0] for c in columns}
    out: dict[str, NDArray[Any]] = {}
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
    table = np.zeros(len(rows), dtype=[(k, c.dtype if c.dtype.itemsize else "U1") for k, c in out.items()])
    for key, column in out.items():
        table[key] = column
    return table


def _texts(column: NDArray[Any], raw: bool) -> NDArray[Any]:
    texts: NDArray[Any] = np.char.decode(column, "utf-8", "replace")
    codes = np.frombuffer(column.tobytes(), dtype=np.uint8)
    # Plain ASCII, padded with zeros, is what nearly all of them are.
    plain = not np.any(((codes < 32) & (codes > 0)) | (codes > 126))
    shown = texts.tolist()
    if raw or (plain and not any("\0" in text for text in shown)):
        return texts
    return np.array([printable(text) for text in shown])


def read_json(file: Hdf5, name: str, text: Any, kind: type) -> Any:
    """A text of JSON of a kind."""
    try:
        # Folds may have numbers that are unknown.
        found = _shown(strict_json(text, finite=False))
    except (ValueError, TypeError) as error:
        raise file.damaged(f"{name} is no JSON: {error}") from error
    if not isinstance(found, kind):
        raise file.damaged(f"{name} is {type(found).__name__}, expected {kind.__name__}")
    return found


def _shown(value: Any) -> Any:
    """A value of JSON with its texts as they may be shown; as deep as our own are."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_shown(v) for v in value]
    return {printable(k): _shown(v) for k, v in value.items()} if isinstance(value, dict) else value


def check_mask(file: Hdf5, found: Mapping[str, Any]) -> None:
    """Refuse arrays and attributes of ``/rfi`` that do not go with one another.

    Raises
    ------
    DataError
        Naming the array or attribute.
    """
    for name in ("block_nsamps", "masked_fraction"):
        value = found.get(name, None if "mask" in found else 1)
        if not isinstance(value, int | float) or not 0 <= value < 1 << 62:
            raise file.damaged(f"attribute {name} of rfi is {printable(repr(value))[:80]}, expected a number")
    if "mask" not in found:
        return
    shape = found["mask"].shape
    nchans = shape[-1] if shape else 0
    for name in ("chan_mask", "chan_reasons", "freqs"):
        if name not in found and name != "freqs":
            raise file.damaged(f"rfi has a mask, but no {name}")
        if name in found and (len(shape) != 2 or np.shape(found[name]) != (nchans,)):
            raise file.damaged(f"rfi/mask has the shape {shape}, rfi/{name} {np.shape(found[name])}")


def read_fold(file: Hdf5, ident: str) -> Fold:
    """The fold of a candidate.

    Raises
    ------
    DataError
        An array is missing, or does not go with the others.
    """
    group = f"folds/{ident}"
    values: dict[str, Any] = {name: file.array(f"{group}/{name}", "fiu") for name in schema.FOLD_ARRAYS}
    attrs = file.attributes(group)
    values |= _scalars(file, group, attrs, schema.FOLD_SCALARS)
    for when in ("before", "after"):
        given = {key: attrs.get(f"{key}_{when}", 0.0) for key in ("freq", "fdot", "dm", "fddot")}
        numbers = _scalars(file, group, given, given)
        if not 0.0 < numbers["freq"] < math.inf or not math.isfinite(sum(numbers.values())):
            raise file.damaged(f"freq_{when} of {group} and its derivatives are {numbers}, expected those of a pulsar")
        values[when] = FoldParams(*numbers.values())
    nbins, ndm = values["profile"].size, values["dms"].size
    shapes = {
        "profile": (nbins,),
        "time_phase": (values["time_edges"].size - 1, nbins),
        "freq_phase": (values["band_freqs"].size, nbins),
        "dms": (ndm,),
        "dm_snr": (ndm,),
        "dm_expected": (ndm,),
        "p_pdot": (values["fdot_offsets"].size, values["freq_offsets"].size),
    }
    _check_shapes(file, group, values, shapes)
    if "part" in attrs:
        values |= _scalars(file, group, attrs, schema.FOLD_PART) | {"part": printable(str(attrs["part"]))}
    extra = read_json(file, f"attribute extra of {group}", attrs.get("extra", "{}"), dict)
    return Fold(**values, extra=extra)


def read_pulse(file: Hdf5, ident: str) -> PulseCutout:
    """What surrounds a single pulse.

    Raises
    ------
    DataError
        An array is missing, or does not go with the others.
    """
    group = f"pulses/{ident}"
    values: dict[str, Any] = {name: file.array(f"{group}/{name}", "fiu") for name in schema.PULSE_ARRAYS}
    values |= _scalars(file, group, file.attributes(group), schema.PULSE_SCALARS)
    ntime = values["plane"].shape[-1] if values["plane"].ndim else 0
    shapes = {
        "spectrum": (values["freqs"].size, ntime),
        "freqs": (values["freqs"].size,),
        "plane": (values["dms"].size, ntime),
        "dms": (values["dms"].size,),
    }
    _check_shapes(file, group, values, shapes)
    return PulseCutout(**values)


def _scalars(file: Hdf5, group: str, attrs: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in wanted:
        value = attrs.get(name)
        if not isinstance(value, int | float) or abs(value) > 1e300:
            told = "missing" if value is None else printable(repr(value))[:80]
            raise file.damaged(f"attribute {name} of {group} is {told}, expected a number")
        found[name] = float(value)
    return found


def _check_shapes(
    file: Hdf5, group: str, values: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    for name, shape in shapes.items():
        if values[name].shape != shape or 0 in shape:
            raise file.damaged(f"{group}/{name} has the shape {values[name].shape}, expected {shape}, none of them 0")
