"""Whether a mask belongs to an observation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pulsar.errors import ConfigError

#: What a double precision MJD cannot tell [s], with room.
MJD_SLACK: Final = 1e-5


def refuse(path: Path, checks: Sequence[tuple[str, Any, Any, bool]]) -> None:
    """Raise if any of the checks (name, value in the mask, value in the observation, whether they agree) has failed.

    Raises
    ------
    ConfigError
    """
    wrong = [
        f"{name} {_text(theirs)} in the mask, {_text(ours)} in the data" for name, theirs, ours, ok in checks if not ok
    ]
    if wrong:
        raise ConfigError(
            f"{path}: the mask of another observation: {'; '.join(wrong)}. Make one for these files with `pulsar rfi`"
        )


def _text(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)
