"""The formats in which a candidate is handed on, by the ending of their files."""

from collections.abc import Callable, Mapping
from typing import Final

from pulsar.handover.candidate import Exported
from pulsar.handover.par import par_text
from pulsar.handover.presto import bestprof_text, pfd_bytes


def _par(one: Exported) -> bytes:
    return par_text(one.fold, one.header, name=one.name, origin=one.origin).encode()


def _bestprof(one: Exported) -> bytes:
    return bestprof_text(one).encode()


def _csv(one: Exported) -> bytes:
    """The profile: phase from the middle of bin 0, intensity in units of its noise."""
    nbins = one.fold.profile.size
    rows = (f"{(i + 0.5) / nbins:.9g},{level:.7g}" for i, level in enumerate(one.fold.profile))
    return "\n".join(["phase,intensity", *rows, ""]).encode()


#: Ending -> content of the file.
FORMATS: Final[Mapping[str, Callable[[Exported], bytes]]] = {
    "par": _par,
    "bestprof": _bestprof,
    "pfd": pfd_bytes,
    "csv": _csv,
}
