"""JSON that the program reads back, held to what it should be; and what a key may hold, in words.

Such files lie in folders of others, are cut by full disks and edited by hand: whatever is in them becomes values of the
types that the program counts on, or an error that names the place.
"""

import json
import math
import types
from functools import cache
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from pulsar.data.text import printable
from pulsar.errors import DataError

T = TypeVar("T")

#: Of dataclasses that are read back: no keys besides their own, no NaN.
STRICT: Final = ConfigDict(extra="forbid", allow_inf_nan=False)
#: Whole numbers below 2^63, as numpy holds them; no text, no true.
Count = Annotated[int, Strict(), Field(ge=0, lt=1 << 63)]
#: Times [s], and moments since 1970: 30,000 years at most, so that no sum of them is infinite.
Seconds = Annotated[float, Strict(), Field(ge=0.0, le=1e12)]
#: A number, not a text of one.
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
#: Values and faults that a message shows at most, and characters of one.
_MOST_FAULTS: Final = 3
_MOST_SHOWN: Final = 60
_WORDS: Final = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
#: What pydantic calls a value of another type -> what was expected.
_EXPECTED: Final = {
    "bool": _WORDS[bool], "int": _WORDS[int], "float": _WORDS[float], "finite": "a finite number",
    "string": _WORDS[str], "list": "a list", "tuple": "a list", "dict": "an object", "dataclass": "an object",
    "model": "an object",
}  # fmt: skip
_BOUNDS: Final = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def strict_json(text: str | bytes, *, finite: bool = True) -> Any:
    """The value of a JSON text.

    Parameters
    ----------
    finite : bool
        Every number has to be finite.

    Raises
    ------
    ValueError
        It is no JSON: says what is wrong with it.
    """
    try:
        return json.loads(text, parse_constant=_not_finite, parse_float=_finite) if finite else json.loads(text)
    except RecursionError:
        raise ValueError("lists in lists without an end") from None


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _not_finite(text[:_MOST_SHOWN])


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """What makes values of a kind, made once."""
    return TypeAdapter(kind)


def validated(kind: type[T], text: str | bytes, where: str, remedy: str) -> T:
    """A JSON text as a value of a kind.

    Parameters
    ----------
    where : str
        File, and line or key, for the message.
    remedy : str
        What to do when it is something else.

    Raises
    ------
    DataError
        It is no JSON, or holds something else: says which keys, and what was expected.
    """
    try:
        value = strict_json(text)
    except ValueError as error:
        raise DataError(f"{where}: is damaged, no JSON ({printable(str(error))}): {remedy}") from None
    return checked(kind, value, where, remedy)


def checked(kind: type[T], value: Any, where: str, remedy: str) -> T:
    """A value, such as a row of a database, as one of a kind; as :func:`validated`."""
    try:
        made: T = adapter(kind).validate_python(value)  # type: ignore[arg-type]  # types are hashable
        return made
    except ValidationError as error:
        raise DataError(f"{where}: is damaged: {'; '.join(faults(error))}: {remedy}") from None


def faults(error: ValidationError) -> list[str]:
    """Faults of a value in words, the first few."""
    errors = error.errors(include_url=False)
    more = len(errors) - _MOST_FAULTS
    return [*map(_fault, errors[:_MOST_FAULTS]), *([f"and {more} more"] if more > 0 else [])]


def _fault(error: Any) -> str:
    key = printable(".".join(map(str, error["loc"])))[:_MOST_SHOWN]
    kind, bounds = error["type"], error.get("ctx", {})
    if kind == "missing":
        return f"{key} is missing"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{key} is no key of it"
    if kind == "value_error":
        return printable(str(error["msg"]).removeprefix("Value error, "))
    expected_here = _EXPECTED.get(kind.partition("_")[0], str(error["msg"]))
    bound = [f"{sign} {bounds[name]:g}" for name, sign in _BOUNDS.items() if name in bounds]
    if bound:
        expected_here = bound[0]
    elif kind == "literal_error":
        expected_here = f"one of {bounds['expected']}"
    value = error["input"]
    shown = json.dumps(value) if isinstance(value, str | bool | None) else str(value)
    return f"{key + ' = ' if key else ''}{printable(shown)[:_MOST_SHOWN]}: expected {expected_here}"


def expected(field: FieldInfo) -> str:
    """Type and bounds of a key in words."""
    words, optional = _type_words(field.annotation), type(None) in get_args(field.annotation)
    bounds = []
    for constraint in field.metadata:
        for attribute, sign in _BOUNDS.items():
            bound = getattr(constraint, attribute, None)
            if bound is not None:
                bounds.append(f"{sign} {bound if isinstance(bound, int) else format(bound, 'g')}")
        if getattr(constraint, "pattern", None):
            words = f"a text such as {field.default}"
    return words + (" " + " and ".join(bounds) if bounds else "") + (", may be unset" if optional else "")


def _type_words(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_words(a) for a in get_args(annotation) if a is not type(None))
    if origin is Literal:
        return "one of " + ", ".join(str(a) for a in get_args(annotation))
    if origin is tuple:
        return "a list of [low, high] pairs" if get_origin(get_args(annotation)[0]) is tuple else "a list"
    return _WORDS.get(annotation, str(annotation))
