"""What `pulsar bench --json` writes: every field, once, for whoever reads it; and the reader that holds files to it."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from pulsar.bench.case import Size
from pulsar.bench.run import FORMAT, FORMAT_VERSION
from pulsar.data.files import read_bytes
from pulsar.data.text import printable
from pulsar.data.validated import strict_json
from pulsar.errors import DataError


class Field(NamedTuple):
    """A field: its type as JSON knows it ("number or null"), unit, and what it is."""

    type: str
    unit: str
    about: str


#: JSON's name -> the types that it becomes. A whole number is a number, too; true and false are none.
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
    "object": (dict,),
    "list": (list,),
}

RUN: Final[dict[str, Field]] = {
    "format": Field("string", "", f'"{FORMAT}"'),
    "format_version": Field("string", "", "raised before the point where a field changes, behind it where one is new"),
    "created": Field("string", "", "when the run began, ISO 8601, UTC"),
    "cpu": Field("string", "", "model of the processor"),
    "cores": Field("integer", "", "cores that the run could use"),
    "threads": Field("integer", "", "threads that ran each kernel side by side"),
    "seconds": Field("number", "s", "processor time spent on each figure, all repeats together"),
    "repeats": Field("integer", "", "how many times each figure was measured"),
    "versions": Field("object", "", "version of Python, of this program and of what it uses, by name"),
    "limits": Field("list", "", "limits of the machine: of one core, of the threads of the run, of all cores"),
    "figures": Field("list", "", "figures of the kernels; several of one where several sizes or types were asked for"),
    "stages": Field("list", "", "figures of whole stages (`--stages`)"),
}
LIMITS: Final[dict[str, Field]] = {
    "threads": Field("integer", "", "threads that ran side by side; the rates are theirs together"),
    "copy": Field(
        "number",
        "bytes/s",
        "copying memory far larger than any cache (bytes read and written), or reading it, what is faster",
    ),
    "copy_near": Field("number", "bytes/s", "the same of what the last cache may hold"),
    "adds_l1": Field("number", "1/s", "additions of int16 out of half of the L1 cache"),
    "adds_l2": Field("number", "1/s", "additions of int8 out of half of the L2 cache"),
    "floats": Field("number", "1/s", "multiplications and additions of float32 in registers"),
}
_TIMES: Final[dict[str, Field]] = {
    "first_s": Field("number", "s", "what the first call took beyond a later one: compilation, or loading its result"),
    "cpu_s": Field("number", "s", "processor time: the least of the calls of a repeat, of the repeats the median"),
    "cpu_low_s": Field("number", "s", "processor time of the fastest repeat"),
    "cpu_high_s": Field("number", "s", "processor time of the slowest repeat"),
    "wall_s": Field("number", "s", "elapsed time, as `cpu_s`"),
    "calls": Field("integer", "", "calls that were timed, in all repeats together"),
    "samples_per_s": Field("number", "1/s", "samples taken in (channels times times), of all threads"),
    "bytes_per_s": Field("number", "bytes/s", "bytes that have to be read and written once at least"),
}
_BOUND: Final[dict[str, Field]] = {
    "limit": Field("string", "", "what would bound it first: copy, copy near, adds L1, adds L2 or floats"),
    "fraction": Field("number", "", "least time that this limit allows, over the time taken; 1 is all there is"),
}
FIGURE: Final[dict[str, Field]] = {
    "kernel": Field("string", "", "name"),
    "about": Field("string", "", "what is done"),
    "dtype": Field("string", "", "types of what it takes and of what it makes"),
    "nsamps": Field("integer", "", "samples, or what it counts instead"),
    "nchans": Field("integer", "", "channels; 1 for a series"),
    "ndms": Field("integer", "", "trial DMs; 1 where there are none"),
    "threads": Field("integer", "", "threads that ran it side by side, each on data of its own"),
    **_TIMES,
    "adds_per_s": Field("number", "1/s", "integer additions"),
    "flops_per_s": Field("number", "1/s", "floating point operations; in double precision they count twice"),
    "adds_per_byte": Field("number", "1/byte", "additions for every byte moved"),
    "flops_per_byte": Field("number", "1/byte", "floating point operations for every byte moved"),
    **_BOUND,
    "plain_cpu_s": Field("number or null", "s", "processor time of plain numpy or scipy for the same result"),
    "ratio": Field("number or null", "", "`plain_cpu_s` over `cpu_s`"),
}
STAGE: Final[dict[str, Field]] = {
    "stage": Field("string", "", "name"),
    "about": Field("string", "", "what is done, on how much"),
    "threads": Field("integer", "", "threads that shared the work"),
    **_TIMES,
    "operations_per_s": Field("number", "1/s", "operations that are held against the limit"),
    **_BOUND,
    "speedup": Field("number or null", "", "elapsed time of one thread over that of these; null for one"),
    "overhead": Field("number or null", "", "processor time over that of one thread; null for one"),
}
#: Key of the list in a run ("" is the run itself) -> its fields.
TABLES: Final[dict[str, dict[str, Field]]] = {"": RUN, "limits": LIMITS, "figures": FIGURE, "stages": STAGE}


def labels(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names by which figures of kernels are told apart: "fft", or "fft, 2^20, int16" where there are several of it.

    Parameters
    ----------
    figures : sequence of mapping
        Of a run.
    """
    names = Counter(f["kernel"] for f in figures)
    return [f["kernel"] if names[f["kernel"]] == 1 else label(f) for f in figures]


def label(figure: Mapping[str, Any]) -> str:
    """Kernel, size and the type that it takes in: "fft, 2^20, int16"."""
    size = Size(figure["nsamps"], figure["nchans"], figure["ndms"])
    return f"{figure['kernel']}, {size.about}, {figure['dtype'].partition(' ')[0]}"


def _check(item: object, fields: Mapping[str, Field], where: str) -> None:
    if not isinstance(item, dict):
        raise ValueError(f"{where}: expected an object")
    for name, field in fields.items():
        at = f"{where}.{name}" if where else name
        if name not in item:
            raise ValueError(f"{at} is missing")
        allowed = tuple(t for kind in field.type.split(" or ") for t in _TYPES[kind])
        if not isinstance(item[name], allowed) or isinstance(item[name], bool):
            raise ValueError(f"{at} = {json.dumps(item[name])}: expected {field.type}")


def validate(document: Any) -> None:
    """Hold a document against the fields of its tables; fields besides them are left alone.

    Parameters
    ----------
    document : object
        As ``json.loads`` makes it.

    Raises
    ------
    ValueError
        Names the first field that is missing or of another type.
    """
    _check(document, RUN, "")
    for key, fields in list(TABLES.items())[1:]:
        for i, item in enumerate(document[key]):
            where = f"{key}[{i}]"
            _check(item, fields, where)
            if "cpu_s" in fields and not 0 < item["cpu_low_s"] <= item["cpu_s"] <= item["cpu_high_s"] < math.inf:
                raise ValueError(f"{where}: expected 0 < cpu_low_s <= cpu_s <= cpu_high_s")


def load(path: Path) -> dict[str, Any]:
    """Read a run.

    Parameters
    ----------
    path : Path
        What ``pulsar bench --json`` wrote.

    Raises
    ------
    DataError
        It is no such file, of another version, or damaged.
    """
    try:
        document: Any = strict_json(read_bytes(path, "the output of `pulsar bench --json`"))
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DataError(f"{path}: not the output of `pulsar bench --json`")
    version = printable(str(document.get("format_version")))
    if version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
        raise DataError(
            f"{path}: its format_version is {version}, this program reads {FORMAT_VERSION}: run `pulsar bench --json` "
            "anew"
        )
    try:
        validate(document)
    except ValueError as error:
        raise DataError(f"{path}: {error}; it was changed or cut off: run `pulsar bench --json` anew") from None
    return document
