"""How many threads a run takes where nobody says it."""

import math
import os
import re
from typing import Final

from pulsar.config.cgroup import Cgroup
from pulsar.errors import ConfigError

#: Variables by which a user, or a batch system, says what programs with threads may take.
VARIABLES: Final = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


def usable_cores() -> int:
    """Cores that this process may keep busy: those that it may run on, within the quota of its control group."""
    return max(1, min(len(os.sched_getaffinity(0)), _whole(Cgroup().processors())))


def thread_count(given: int | None) -> int:
    """The threads asked for; where that is None or 0, the usable cores, and no more than the environment says.

    Parameters
    ----------
    given : int or None
        Of ``--threads`` or `run.threads`.
    """
    if given:
        return given
    return min([usable_cores(), *(n for n in map(_variable, VARIABLES) if n > 0)])


def check_environment() -> None:
    """Refuse what numba stumbles over when it is loaded, with words of its own.

    Raises
    ------
    ConfigError
        ``NUMBA_NUM_THREADS`` is no number of threads.
    """
    text = os.environ.get("NUMBA_NUM_THREADS")
    if text is not None and not re.fullmatch(r"\s*0*[1-9]\d{0,5}\s*", text):
        raise ConfigError(
            f"NUMBA_NUM_THREADS is {text!r} in the environment: expected a number of threads such as 4: set it to one, "
            "or unset it"
        )


def _variable(name: str) -> int:
    """The number in a variable of the environment, of a list its first; 0 where there is none."""
    try:
        return int(os.environ.get(name, "").partition(",")[0])
    except ValueError:
        return 0


def _whole(cores: float) -> int:
    # Of a core and a half the half would be waited for.
    return int(cores) if math.isfinite(cores) else 1 << 20
