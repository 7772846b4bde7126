"""The index of kernels: for what arguments a search calls them, and compiling these versions before it does.

:func:`main` compiles the versions whose names it reads from stdin, one a line, and says each when it is done.
"""

import functools
import gc
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import typeof, types

from pulsar_kernels._cache import is_kept
from pulsar_kernels.index import VERSIONS

#: Modules of kernels that a part of a search runs through.
PARTS: dict[str, tuple[str, ...]] = {
    "planning": ("tree",),
    "statistics": ("unpack", "moments", "interference", "spectra"),
    "dedispersion": ("clean", "tree", "dedisperse"),
    "fft": ("fft", "whiten", "lanes", "harmonics", "peaks"),
    "coherent": ("fft", "whiten", "lanes", "harmonics", "coherent", "longwave"),
    "accel": ("fft", "whiten", "lanes", "harmonics", "peaks", "correlate", "drifts", "hits"),
    "ffa": ("ffa", "longwave"),
    "single pulse": ("cells", "baseline", "matched", "pulses", "clusters", "period", "longwave"),
    "fold": ("fold", "dedisperse", "longwave"),
    "simulation": ("synth",),
    "completeness": ("injections",),
}


def versions(parts: Sequence[str] = tuple(PARTS)) -> list[str]:
    """Names of the versions of kernels in some parts, the most expensive ones first.

    Parameters
    ----------
    parts : sequence of str
        Keys of PARTS.
    """
    modules = {module for part in parts for module in PARTS[part]}
    return [name for name in VERSIONS if name.partition(".")[0] in modules]


def compile_version(name: str) -> None:
    """Compile one version, or load it, and store it."""
    kernel, signature = _version(name)
    kernel.compile(signature)


def place() -> str:
    """Folder of the compiled kernels of one file; "" if there is none that can be written, or nothing is compiled."""
    stats = getattr(_kernel(VERSIONS[0].partition("(")[0]), "stats", None)
    return str(getattr(stats, "cache_path", None) or "")


def stored(name: str) -> bool:
    """True if a version has been compiled for this processor from the present sources."""
    return is_kept(*_version(name))


def main() -> None:
    """Compile what is asked for on stdin."""
    gc.disable()
    for line in sys.stdin:
        compile_version(line.strip())
        # Nearly all that a compiler has made and not let go of by now is kept for good: it is looked through once.
        gc.collect(0)
        gc.freeze()
        print(line.strip(), flush=True)  # noqa: T201


def _kernel(path: str) -> Any:
    module, _, name = path.partition(".")
    return getattr(importlib.import_module(f"pulsar_kernels.{module}"), name)


@functools.cache
def _version(name: str) -> tuple[Any, tuple[Any, ...]]:
    """A kernel and the types of its arguments, from a name such as ``fold.count(uint16[::1], int64)``."""
    path, _, arguments = name.removesuffix(")").partition("(")
    return _kernel(path), tuple(_type(text) for text in arguments.split(", ") if text)


def _type(text: str) -> Any:
    """As numba writes it: ``float64``, ``int16[:,::1]`` (rows contiguous), ``const float32[::1]``, or a named tuple."""
    if text in _TUPLES:
        return _tuple(text)
    readonly = text.startswith("const ")
    base, _, shape = text.removeprefix("const ").partition("[")
    kind = getattr(types, "boolean" if base == "bool" else base)
    if not shape:
        return kind
    return types.Array(kind, shape.count(",") + 1, "C" if "::1" in shape else "A", readonly=readonly)


_TUPLES = ("fft.Plan", "coherent.Ladder", "correlate.Tables", "pulses.White", "clusters.Events")


@functools.cache
def _tuple(text: str) -> Any:
    """Type of a named tuple, from the smallest example."""
    type_of: Callable[[Any], Any] = typeof
    if text == "fft.Plan":
        from pulsar_kernels.fft import make_plan

        return type_of(make_plan(1024))
    if text == "coherent.Ladder":
        from pulsar_kernels.coherent import make_ladder

        return type_of(make_ladder(7, 16))
    if text == "correlate.Tables":
        from pulsar_kernels.correlate import make_block

        return type_of(make_block(256, 1.0, 2.0))
    doubles = np.zeros(1)
    if text == "clusters.Events":
        from pulsar_kernels.clusters import Events

        return type_of(Events(np.zeros(1, np.int64), *[doubles] * 5))
    from pulsar_kernels.pulses import White

    floats = np.zeros(1, np.float32)
    runs = np.zeros((1, 2), np.int64)
    return type_of(White(np.zeros(1, np.int16), floats, floats, floats, floats, runs, doubles, doubles, doubles))
