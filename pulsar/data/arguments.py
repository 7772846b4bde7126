"""Arguments of the public functions: numbers, quantities and arrays, checked and brought to the units of this program.

Whatever is wrong is told in one form: ``name = what was given: what is expected``.
"""

import functools
import inspect
import re
from collections.abc import Callable
from os import PathLike
from typing import Any, ParamSpec, TypeVar

import numpy as np

from pulsar.errors import ConfigError
from pulsar_kernels.arrays import Array, Floats

P = ParamSpec("P")
R = TypeVar("R")

_SPEC = re.compile(r"(?P<unit>.*?)\s*(?:(?P<sign>>=?)\s*0)?")


def quantities(*, arrays: tuple[str, ...] = (), **units: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function take astropy quantities: inside it there are floats, in the unit that is named here, once.

    Plain numbers are in that unit already. None is passed on.

    Parameters
    ----------
    arrays : tuple of str
        Arguments that are one-dimensional arrays.
    **units : str
        Of each argument the unit as astropy writes it, with its bound if it has one: ``"s > 0"``, ``"pc / cm3 >= 0"``;
        ``""`` for a number without a unit.

    Returns
    -------
    callable
        A decorator that keeps name, signature and documentation. The function raises ConfigError for what is no
        number, has another unit, is not finite or out of bounds.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def converted(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # raises the same error, with the name of the function
            for name, unit in units.items():
                value = bound.arguments.get(name)
                if value is not None:
                    bound.arguments[name] = (numbers if name in arrays else number)(name, value, unit)
            return function(*bound.args, **bound.kwargs)

        converted.units = units  # type: ignore[attr-defined]
        return converted

    return decorate


def number(name: str, value: Any, spec: str) -> float:
    """One number.

    Parameters
    ----------
    name : str
        What it is, for the message.
    value : float, Quantity, or Time where the unit is "d"
    spec : str
        Unit and bound, as in :func:`quantities`.

    Returns
    -------
    float
        In that unit.

    Raises
    ------
    ConfigError
        It is no number, of another unit, not finite or out of bounds.
    """
    values = _values(name, value, spec)
    if values.ndim:
        raise ConfigError(f"{name} has the shape {values.shape}: expected {_expected(spec)}")
    return float(values)


def numbers(name: str, value: Any, spec: str) -> Floats:
    """A one-dimensional array of numbers, at least one; a single number is an array of one.

    Parameters
    ----------
    name, value, spec
        As for :func:`number`.

    Raises
    ------
    ConfigError
    """
    values = np.atleast_1d(_values(name, value, spec))
    if values.ndim > 1 or not values.size:
        raise ConfigError(f"{name} has the shape {values.shape}: expected numbers in one dimension")
    return values


def _values(name: str, value: Any, spec: str) -> Floats:
    unit, sign = _parts(spec)
    if unit == "d" and hasattr(value, "utc"):
        value = value.utc.mjd
    if hasattr(value, "to_value"):
        try:
            plain = value.to_value(unit)
        except (TypeError, ValueError) as error:  # astropy's UnitConversionError is both
            raise ConfigError(f"{name} = {value}: expected {_expected(spec)}") from error
    else:
        plain = value
    try:
        array = np.asarray(plain)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "iuf":
        raise ConfigError(f"{name} = {_shown(value)}: expected {_expected(spec)}")
    values = array.astype(np.float64)
    bad = ~np.isfinite(values)
    if sign == ">":
        bad |= ~(values > 0)
    elif sign == ">=":
        bad |= ~(values >= 0)
    if bad.any():
        worst = values[bad][0] if values.ndim else float(values)
        raise ConfigError(f"{name} = {worst:g}{' ' if unit else ''}{unit}: expected {_expected(spec)}")
    return values


def _parts(spec: str) -> tuple[str, str]:
    match = _SPEC.fullmatch(spec)
    assert match is not None
    return match["unit"], match["sign"] or ""


def _expected(spec: str) -> str:
    unit, sign = _parts(spec)
    bound = f" {sign} 0" if sign else ""
    return f"a number{bound}, in {unit} or as a quantity" if unit else f"a number{bound}"


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def samples(name: str, data: Any, dims: tuple[str, ...], types: tuple[str, ...]) -> Array:
    """An array of samples of one of `types`, native, writable, rows contiguous; the array itself where it is that.

    Parameters
    ----------
    name : str
        What it is, for the message.
    data : array_like
        Of any real type. A Quantity loses its unit: intensities are arbitrary.
    dims : tuple of str
        Names of its dimensions.
    types : tuple of str
        numpy types that stay; the narrowest that holds all values is taken, else float32. Where float32 would round
        away part of the noise, the mean is taken off first (of each channel).

    Raises
    ------
    ConfigError
        It is no array of real numbers, masked, or of another number of dimensions.
    """
    array = plain_array(name, data)
    if array.ndim != len(dims):
        words = ("no dimension", "one dimension", "two dimensions")[len(dims)]
        raise ConfigError(f"{name} has the shape {array.shape}: expected {words}, {' and '.join(dims)}")
    if array.dtype.kind not in "biuf":
        kind = "complex" if array.dtype.kind == "c" else f"of type {array.dtype}"
        raise ConfigError(f"{name} is {kind}: expected real numbers")
    if not array.size:
        raise ConfigError(f"{name} is empty: it has the shape {array.shape}")
    native = array.dtype.newbyteorder("=")
    kept = next((t for t in map(np.dtype, types) if np.can_cast(native, t, "safe")), np.dtype(np.float32))
    if np.can_cast(native, kept, "safe"):
        return np.require(array, dtype=kept, requirements=("C", "W"))
    out = np.empty(array.shape, dtype=kept)
    for row, values in zip(np.atleast_2d(out), np.atleast_2d(array), strict=True):
        with np.errstate(over="ignore"):  # beyond float32: counts as missing
            row[:] = _without_offset(values.astype(np.float64))
    return out


def plain_array(name: str, data: Any) -> Array:
    """The array that data are, of whatever type and shape; a Quantity loses its unit.

    Raises
    ------
    ConfigError
        They are masked, the name of a file, or no array.
    """
    if isinstance(data, np.ma.MaskedArray):
        raise ConfigError(
            f"{name} is a masked array, and masks are not read: give {name}.astype('f4').filled(numpy.nan); "
            "what is NaN counts as missing"
        )
    if isinstance(data, str | bytes | PathLike):
        raise ConfigError(f"{name} = {_shown(data)}: expected an array of samples; files are read by pulsar.open")
    data = getattr(data, "value", data) if hasattr(data, "to_value") else data
    try:
        return np.asarray(data)
    except ValueError as error:
        raise ConfigError(f"{name}: expected an array of numbers: {error}") from error


def _without_offset(values: Floats) -> Floats:
    """The values, less their mean where float32 would lose part of the noise."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return values
    if np.ptp(finite) == 0.0:
        return values  # there is no noise to lose
    mean = float(finite.mean())
    step = float(np.spacing(np.float32(abs(mean))))
    # What stays of the noise when values are rounded to float32, at least; beyond it a constant is taken off first.
    return values - mean if step > 1e-3 * float(finite.std()) else values
