"""The formats in which a candidate is handed on, by the ending of their files."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from pulsar.handover.candidate import Exported
from pulsar.handover.presto import bestprof_text, pfd_bytes
from pulsar.handover.timing import par_text, tim_text, toas_of, wideband_of, without_noise


def _par(candidate: Exported) -> bytes:
    return par_text(candidate.fold, candidate.header, name=candidate.name, origin=candidate.origin).encode()


def _bestprof(candidate: Exported) -> bytes:
    return bestprof_text(candidate).encode()


def _tim(candidate: Exported) -> bytes:
    return tim_text(toas_of(candidate.fold, candidate.header), candidate.header, candidate.name).encode()


def wideband_tim(candidate: Exported) -> bytes:
    """The one time of arrival of a fold, with its DM."""
    toas = [wideband_of(toa, candidate.fold, candidate.header) for toa in toas_of(candidate.fold, candidate.header, 1)]
    return tim_text(toas, candidate.header, candidate.name).encode()


def _csv(candidate: Exported) -> bytes:
    """The profile: phases of the middles of bins, intensity in units of its noise, and without noise as a template."""
    profile = candidate.fold.profile.astype(np.float64)
    phases, clean = (np.arange(profile.size) + 0.5) / profile.size, without_noise(profile)
    rows = (f"{at:.9g},{level:.7g},{smooth:.7g}" for at, level, smooth in zip(phases, profile, clean, strict=True))
    return "\n".join(["phase,intensity,template", *rows, ""]).encode()


def _psrfits(candidate: Exported) -> bytes:
    # Which loads astropy's FITS.
    from pulsar.handover.psrfits import psrfits_bytes

    return psrfits_bytes(candidate)


#: Ending -> content of the file.
FORMATS: Final[Mapping[str, Callable[[Exported], bytes]]] = {
    "par": _par,
    "bestprof": _bestprof,
    "pfd": pfd_bytes,
    "csv": _csv,
    "tim": _tim,
    "psrfits": _psrfits,
}
