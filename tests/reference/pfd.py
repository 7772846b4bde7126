"""PRESTO's ``.pfd`` as its own reader takes it."""

import struct
from typing import Any

import numpy as np

from pulsar.constants import KDM


def parse(data: bytes) -> dict[str, Any]:
    """A ``.pfd`` read front to back; all of it must be used."""
    at = 0

    def take(form: str) -> tuple[Any, ...]:
        nonlocal at
        values = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return values

    def text() -> str:
        (n,) = take("i")
        return take(f"{n}s")[0].decode()

    def array(*shape: int) -> Any:
        nonlocal at
        n = int(np.prod(shape))
        at += 8 * n
        return np.frombuffer(data, "<f8", n, at - 8 * n).reshape(shape)

    found: dict[str, Any] = dict(zip(("ndm", "nperiod", "npdot", "nsub", "npart"), take("5i"), strict=True))
    found["nbins"], found["nchan"], *found["steps"] = take("7i")
    found["texts"] = [text() for _ in range(4)]
    found["place"] = [take("16s")[0].split(b"\0")[0].decode() for _ in range(2)]
    names = ("dt", "start", "end", "tepoch", "bepoch", "voverc", "lofreq", "width", "dm")
    found |= dict(zip(names, take("9d"), strict=True))
    for name in ("topo", "bary", "fold"):
        found[name] = take("f4x3d")[1:]
    found["orbit"] = take("7d")
    for name, n in (("dms", "ndm"), ("periods", "nperiod"), ("pdots", "npdot")):
        found[name] = array(found[n])
    found["profs"] = array(found["npart"], found["nsub"], found["nbins"])
    found["stats"] = array(found["npart"], found["nsub"], 7)
    assert at == len(data)
    return found


def dedispersed(pfd: dict[str, Any], dm: float) -> Any:
    """Profiles of the subbands moved to the highest one at a DM, as PRESTO's reader does it, by fractions of bins."""
    freqs = (pfd["lofreq"] + pfd["width"] * np.arange(pfd["nsub"])) * (1 + pfd["voverc"])
    late = pfd["fold"][0] * KDM * dm * (freqs**-2 - freqs[-1] ** -2)
    spectra = np.fft.rfft(pfd["profs"], axis=2)
    return np.fft.irfft(spectra * np.exp(2j * np.pi * late[:, None] * np.arange(spectra.shape[2])), axis=2)
