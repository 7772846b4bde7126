"""A case of the benchmark: a kernel on made-up data, its cost, and plain numpy for the same result."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pulsar_kernels.arrays import Array

#: Numbers of samples, and of channels and DMs where there are some.
Extents = tuple[int, ...]


class Size(NamedTuple):
    """Extent of a case."""

    nsamps: int
    nchans: int = 1
    ndms: int = 1

    @property
    def about(self) -> str:
        """In words: "256 x 2^16, 512 DMs"."""
        channels = f"{self.nchans} x " if self.nchans > 1 else ""
        return f"{channels}{power_of_two(self.nsamps)}" + (f", {self.ndms} DMs" if self.ndms > 1 else "")


def power_of_two(n: int) -> str:
    """2^18 for 262144, and other numbers as they are."""
    return f"2^{n.bit_length() - 1}" if n > 1 and n & (n - 1) == 0 else str(n)


class CallCost(NamedTuple):
    """Cost of one call."""

    samples: int  # Samples taken in (channels times times)
    #: Bytes that have to be read and written once at least, however good the caches are; also its extent in memory.
    nbytes: float
    adds: float = 0.0  # Integer additions that vectorise
    flops: float = 0.0  # Floating point operations; those in double precision count twice


@dataclass(frozen=True)
class Work:
    """A case with its data made, ready to run again and again."""

    run: Callable[[], object]  # One call of the kernel; what it allocates is part of its time
    result: Callable[[], Array]  # Result of the last call
    cost: CallCost
    plain: Callable[[], Array] | None = None  # The same result, or its part `rows`, by plain numpy or scipy
    #: Part of the result that `plain` makes; its time is divided by the fraction that they are.
    rows: slice | None = None
    #: rtol, atol: how closely the two agree; 0 and 0: exactly.
    rtol: float = 0.0
    atol: float = 0.0

    @property
    def share(self) -> float:
        """Fraction of the result that `plain` makes."""
        every = range(len(self.result()))
        return 1.0 if self.rows is None else len(every[self.rows]) / len(every)

    def compare(self) -> None:
        """Raise AssertionError unless the result of the last call is that of `plain`, where there is one."""
        if self.plain is not None:
            part = self.result()[self.rows or slice(None)]
            np.testing.assert_allclose(part, self.plain(), rtol=self.rtol, atol=self.atol)


def anything(_: Size) -> str:
    """Nothing is wrong with a size."""
    return ""


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    make: Callable[..., Work]  # Size -> Work; of what takes several types, (Size, dtype) -> Work
    name: str
    takes: tuple[str, ...]  # Types of samples, or other values, that it can take in, the usual one first
    gives: str  # Type of what it makes
    about: str  # What is done, on how much: {nsamps}, {half} (of nsamps), {nchans}, {ndms} stand for the size
    #: full, tiny: for figures, and for tests. What is 1 in `full` is no choice.
    full: Size
    tiny: Size
    #: {"adds L1", "adds L2", "floats"}: Limit of the processor that its operations are held against: additions of rows
    #: of int16 in L1, of int8 in L2, or multiplications and additions of floats.
    arithmetic: str
    #: least, step: the smallest that makes sense (`tiny` without), and what every extent is a multiple of (without: of
    #: 1).
    least: Size | None = None
    step: Size | None = None
    expects: Callable[[Size], str] = anything  # Size -> what else is wrong with it, "" for nothing

    @property
    def dtype(self) -> str:
        """Types of what it takes and of what it makes: "int8 -> int16"."""
        return f"{self.takes[0]} -> {self.gives}"

    def work(self) -> Work:
        """Its data, of the full size."""
        return self.make(self.full, dtype=self.takes[0]) if len(self.takes) > 1 else self.make(self.full)

    def words(self) -> str:
        """Its work on the full size, in words."""
        nsamps, nchans, ndms = self.full
        samples = power_of_two(nsamps) if nsamps > 9999 else nsamps
        return self.about.format(nsamps=samples, half=power_of_two(nsamps // 2), nchans=nchans, ndms=ndms)


def case(
    name: str, types: str, about: str, full: Extents, tiny: Extents, arithmetic: str = "floats", **more: Any
) -> Callable[[Callable[..., Work]], Case]:
    """Make a `Case` of the function below, which makes its data.

    `types` are "int8, int16 -> int16"; `more` are `least`, `step` and `expects`.
    """
    takes, _, gives = types.partition(" -> ")
    row = (name, tuple(takes.split(", ")), gives, about, Size(*full), Size(*tiny), arithmetic)
    return lambda make: Case(make, *row, **more)


def afresh(out: Array, before: Array | float, kernel: Callable[[], object]) -> Callable[[], None]:
    """One call of a kernel that changes an array, which is first made what it was before."""

    def run() -> None:
        out[:] = before
        kernel()

    return run


def noise(*shape: int, mean: float = 0.0, sigma: float = 1.0, dtype: str = "float32") -> Array:
    """Normal noise, always the same; rounded and clipped for integers."""
    values = np.random.default_rng(1).normal(mean, sigma, shape)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        np.clip(np.rint(values, out=values), limits.min, limits.max, out=values)
    return values.astype(dtype)
