"""Equality in which what is not a number equals itself (of dataclasses it does so only before Python 3.13)."""

import dataclasses
from typing import Any

import numpy as np


def alike(one: Any, other: Any) -> bool:
    """Whether two values, or all their fields and elements, are the same."""
    if dataclasses.is_dataclass(one):
        names = [f.name for f in dataclasses.fields(one)]
        return type(one) is type(other) and all(alike(getattr(one, n), getattr(other, n)) for n in names)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[k], other[k]) for k in one)
    if isinstance(one, np.ndarray | np.void) and one.dtype.names:
        return one.dtype == other.dtype and all(alike(one[n], other[n]) for n in one.dtype.names)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
    return bool(one == other or (one != one and other != other))
