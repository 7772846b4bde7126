"""The formats in which a candidate is handed on, by the ending of their files."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from pulsar.handover.candidate import Exported
from pulsar.handover.par import par_text
from pulsar.handover.presto import bestprof_text, pfd_bytes
from pulsar.handover.psrfits import psrfits_bytes
from pulsar.handover.toas import tim_text, toas_of, without_noise


def _par(one: Exported) -> bytes:
    return par_text(one.fold, one.header, name=one.name, origin=one.origin).encode()


def _bestprof(one: Exported) -> bytes:
    return bestprof_text(one).encode()


def _tim(one: Exported) -> bytes:
    return tim_text(toas_of(one.fold, one.header), one.header, one.name).encode()


def _csv(one: Exported) -> bytes:
    """The profile: phases of the middles of bins, intensity in units of its noise, and without noise as a template."""
    profile = one.fold.profile.astype(np.float64)
    phases, clean = (np.arange(profile.size) + 0.5) / profile.size, without_noise(profile)
    rows = (f"{at:.9g},{level:.7g},{smooth:.7g}" for at, level, smooth in zip(phases, profile, clean, strict=True))
    return "\n".join(["phase,intensity,template", *rows, ""]).encode()


#: Ending -> content of the file.
FORMATS: Final[Mapping[str, Callable[[Exported], bytes]]] = {
    "par": _par,
    "bestprof": _bestprof,
    "pfd": pfd_bytes,
    "csv": _csv,
    "tim": _tim,
    "psrfits": psrfits_bytes,
}
