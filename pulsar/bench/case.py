"""What a benchmark case is: some work on made-up data, what it amounts to, and plain numpy that does the same."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Size:
    """Extent of a case."""

    nsamps: int
    nchans: int = 1
    ndms: int = 1

    @property
    def about(self) -> str:
        """In words: "256 x 2^16, 512 DMs"."""
        channels = f"{self.nchans} x " if self.nchans > 1 else ""
        return f"{channels}{power_of_two(self.nsamps)}" + (f", {self.ndms} DMs" if self.ndms > 1 else "")


def anything(_: Size) -> str:
    """What a case expects that any size will do."""
    return ""


def multiple_of(step: int, name: str = "nsamps") -> Callable[[Size], str]:
    """What a case expects that takes `name` ("nsamps" or "nchans") in whole steps."""
    return lambda size: "" if getattr(size, name) % step == 0 else f"--{name} must be a multiple of {step}"


def power_of_two(n: int) -> str:
    """2^18 for 262144, and other numbers as they are."""
    return f"2^{n.bit_length() - 1}" if n > 1 and n & (n - 1) == 0 else str(n)


@dataclass(frozen=True)
class Baseline:
    """The same result by plain numpy or scipy.

    Attributes
    ----------
    run : callable
        Makes the result, or the part `rows` of it.
    share : float
        Fraction of the whole work that it does; its time is divided by it.
    rows : slice, optional
        Which part of the case's result it makes; without it all of it.
    rtol, atol : float
        How closely the two agree; 0 and 0: exactly.
    """

    run: Callable[[], NDArray[Any]]
    share: float = 1.0
    rows: slice | None = None
    rtol: float = 0.0
    atol: float = 0.0

    def compare(self, result: NDArray[Any]) -> None:
        """Raise AssertionError unless the part `rows` of `result` is what the baseline makes."""
        part = result if self.rows is None else result[self.rows]
        np.testing.assert_allclose(part, self.run(), rtol=self.rtol, atol=self.atol)


@dataclass(frozen=True)
class Work:
    """A case with its data made, ready to run again and again.

    Attributes
    ----------
    run : callable
        One call of the kernel; what it allocates is part of its time.
    result : callable
        What the last call left.
    samples : int
        Samples taken in (channels times times).
    nbytes : float
        Bytes that have to be read and written once at least, however good the caches are; also its extent in memory.
    adds : float
        Integer additions that vectorise.
    flops : float
        Floating point operations; those in double precision count twice.
    baseline : Baseline, optional
    """

    run: Callable[[], object]
    result: Callable[[], NDArray[Any]]
    samples: int
    nbytes: float
    adds: float = 0.0
    flops: float = 0.0
    baseline: Baseline | None = None


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes
    ----------
    name : str
    dtype : str
        Of the samples, or other values, that it takes and of what it makes: "int8 -> int16".
    about : str
        What is done, on how much: {nsamps}, {half} (of nsamps), {nchans}, {ndms} stand for the size.
    make : callable
        Size -> Work; of what takes other types, too, (Size, type) -> Work.
    full, tiny : Size
        For figures, and for tests. What is 1 in `full` is no choice.
    arithmetic : {"adds L1", "adds L2", "floats"}
        Which limit of the processor its operations are held against: additions of rows of int16 in L1, of int8 in
        L2, or multiplications and additions of floats.
    also : tuple of str
        Types that it can take in instead of that of `dtype`.
    least : Size, optional
        The smallest that makes sense; `tiny` without.
    expects : callable
        Size -> what is wrong with it, "" for nothing.
    """

    name: str
    dtype: str
    about: str
    make: Callable[..., Work]
    full: Size
    tiny: Size
    arithmetic: str
    also: tuple[str, ...] = ()
    least: Size | None = None
    expects: Callable[[Size], str] = anything

    @property
    def types(self) -> tuple[str, ...]:
        """Types that it can take in, the usual one first."""
        return (self.dtype.partition(" ")[0], *self.also)

    def words(self, size: Size) -> str:
        """What is done on this size."""
        return self.about.format(
            nsamps=power_of_two(size.nsamps) if size.nsamps > 9999 else size.nsamps,
            half=power_of_two(size.nsamps // 2),
            nchans=size.nchans,
            ndms=size.ndms,
        )
