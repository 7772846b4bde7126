"""The one table of cases, for the figures and for the tests."""

import difflib
from collections.abc import Sequence

from pulsar.bench import accelerating, bursts, cleaning, dedispersion, folding, long_periods, masking, searching
from pulsar.bench.case import Case
from pulsar.errors import ConfigError

#: In the order of the data.
CASES: tuple[Case, ...] = (
    *cleaning.CASES,
    *masking.CASES,
    *dedispersion.CASES,
    *searching.CASES,
    *accelerating.CASES,
    *long_periods.CASES,
    *bursts.CASES,
    *folding.CASES,
)


def select(names: Sequence[str] = ()) -> list[Case]:
    """Cases of these names, in the order of the table; all without any.

    Parameters
    ----------
    names : sequence of str
        A full name, or how several begin (``fold`` is fold-band, fold-bands and fold-row).

    Raises
    ------
    ConfigError
        If a name fits none.
    """
    wanted: set[str] = set()
    known = [case.name for case in CASES]
    for name in names:
        found = {name} if name in known else {k for k in known if name and k.startswith(name)}
        if not found:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"no kernel {name!r} to measure: {hint}")
        wanted |= found
    return [case for case in CASES if case.name in wanted or not names]
