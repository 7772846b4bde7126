"""Sizes and types that a run chooses for its kernels, in place of those of the table."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Final

from pulsar.bench.case import Case, Size
from pulsar.errors import ConfigError

#: Extents of a size that can be chosen, by option, and what they count.
EXTENTS: Final = {"nsamps": "samples", "nchans": "channels", "ndms": "trial DMs"}


@dataclass(frozen=True)
class Choice:
    """What is asked for; nothing: as the table has it. All combinations are measured.

    Attributes
    ----------
    nsamps, nchans, ndms : tuple of int
    dtypes : tuple of str
        Types to take in.
    """

    nsamps: tuple[int, ...] = ()
    nchans: tuple[int, ...] = ()
    ndms: tuple[int, ...] = ()
    dtypes: tuple[str, ...] = ()

    @property
    def given(self) -> list[str]:
        """Options that choose something."""
        found = [f"--{name}" for name in EXTENTS if getattr(self, name)]
        return found + ["--dtype"] * bool(self.dtypes)


def numbers(text: str | None, option: str) -> tuple[int, ...]:
    """Whole numbers out of "1000, 2^20"; none out of None.

    Raises
    ------
    ConfigError
        One of them is no whole number from 1 to 2^40.
    """
    found = []
    for item in [] if text is None else text.split(","):
        match = re.fullmatch(r"\s*(\d{1,13})(?:\^(\d{1,2}))?\s*", item, re.ASCII)
        value = int(match[1]) ** int(match[2] or 1) if match else 0
        if not 1 <= value <= 1 << 40:
            raise ConfigError(f"{option} {item.strip()!r}: expected whole numbers such as 1048576,2^21")
        found.append(value)
    return tuple(dict.fromkeys(found))


def offered(case: Case) -> list[str]:
    """Options by which the size of a case can be chosen."""
    return [f"--{name}" for name in EXTENTS if name == "nsamps" or getattr(case.full, name) > 1]


def choose(cases: Sequence[Case], choice: Choice) -> list[Case]:
    """Cases on the sizes and types that were asked for.

    Parameters
    ----------
    cases : sequence of Case
    choice : Choice

    Returns
    -------
    list of Case
        For every case one for each combination, in the order of the request.

    Raises
    ------
    ConfigError
        A case does not offer what was chosen.
    """
    return [one for case in cases for one in _variants(case, choice)]


def _variants(case: Case, choice: Choice) -> list[Case]:
    own = offered(case)
    for option in choice.given:
        if option not in (*own, "--dtype"):
            what = EXTENTS[option.removeprefix("--")]
            raise ConfigError(f"{option}: {case.name} has no {what} to choose; it offers {', '.join(own)}")
    for dtype in choice.dtypes:
        if dtype not in case.types:
            raise ConfigError(f"--dtype {dtype}: {case.name} takes {' or '.join(case.types)}")
    found = []
    for extents in product(*(getattr(choice, name) or (getattr(case.full, name),) for name in EXTENTS)):
        size = Size(*extents)
        _check(case, size, choice)
        found += [_typed(replace(case, full=size), dtype) for dtype in choice.dtypes or case.types[:1]]
    return found


def _typed(case: Case, dtype: str) -> Case:
    if dtype == case.types[0]:
        return case
    made = case.dtype.partition(" ")[2]
    return replace(case, dtype=f"{dtype} {made}", make=partial(case.make, dtype=dtype), also=())


def _check(case: Case, size: Size, choice: Choice) -> None:
    least = case.least or case.tiny
    for name in EXTENTS:
        value, lowest = getattr(size, name), getattr(least, name)
        if getattr(choice, name) and value < lowest:
            raise ConfigError(f"--{name} {value}: {case.name} needs {lowest} or more")
    wrong = case.expects(size)
    if wrong:
        raise ConfigError(f"{case.name}, {size.about}: {wrong}")
