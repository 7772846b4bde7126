"""The formats in which a candidate is handed on, by the ending of their files."""

from collections.abc import Callable, Mapping
from typing import Final

from pulsar.handover.candidate import Exported
from pulsar.handover.par import par_text


def _par(one: Exported) -> bytes:
    return par_text(one.fold, one.header, name=one.name, origin=one.origin).encode()


#: Ending -> content of the file.
FORMATS: Final[Mapping[str, Callable[[Exported], bytes]]] = {"par": _par}
