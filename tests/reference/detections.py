"""Detections as a search would leave them: powers from the phases of the channels, channel by channel."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import KDM
from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of
from pulsar.searches import stats
from pulsar.searches.sift import Group

TOBS = 600.0
#: Channels of an L-band receiver [MHz].
FREQS = np.linspace(1100.0, 1500.0, 256)
NTRIALS = 1e6
#: Trial-corrected significance from which a search keeps a detection.
THRESHOLD = 2.0


def kept(freq: float, away: NDArray[np.float64] | float, nharm: int, freqs: NDArray[np.float64] = FREQS) -> Any:
    """Part of its power that a comb of `nharm` equal lines keeps when dedispersed `away` from its DM."""
    delay = KDM * np.atleast_1d(away)[:, None] * (freqs**-2.0 - freqs.max() ** -2.0)
    k = np.arange(1, nharm + 1)
    phase = np.exp(2j * np.pi * freq * delay[:, None, :] * k[None, :, None])
    return (np.abs(phase.mean(axis=2)) ** 2).mean(axis=1)


def table(rows: Iterable[tuple[float, int, float, int]], step: float = 0.5, kind: str = "fft") -> NDArray[Any]:
    """Detections from (freq, nharm, power beyond noise, row of the DM plan), all that are given."""
    rows = list(rows)
    out = np.zeros(len(rows), dtype=dtype_of(DETECTION_COLUMNS))
    for i, (freq, nharm, excess, index) in enumerate(rows):
        out[i]["freq"], out[i]["nharm"], out[i]["power"] = freq, nharm, nharm + excess
        out[i]["dm_index"], out[i]["dm"] = index, step * index
        out[i]["freq_err"] = 0.39 / np.sqrt(max(excess, 1.0)) / nharm / TOBS
    out["kind"] = kind
    out["logp"] = stats.power_logp(out["power"], out["nharm"])
    out["sigma_single"] = stats.sigma_from_logp(out["logp"])
    out["sigma"] = stats.trial_sigma(out["logp"], NTRIALS)
    return out


def curve(
    freq: float,
    nharm: int,
    excess: float,
    dm: float,
    indices: Iterable[int],
    *,
    step: float = 0.5,
    kind: str = "fft",
    rng: np.random.Generator | None = None,
) -> NDArray[Any]:
    """Detections above THRESHOLD of one dispersed signal over the rows of a DM plan, with the noise of their powers."""
    index = np.array(list(indices))
    power = excess * kept(freq, step * index - dm, nharm)
    if rng is not None:
        power = power + np.sqrt(nharm + 2.0 * power) * rng.standard_normal(index.size)
    out = table([(freq, nharm, p, int(i)) for p, i in zip(power, index, strict=True)], step, kind)
    return out[out["sigma"] >= THRESHOLD]


def make_group(
    freq: float,
    *,
    nharm: int = 8,
    excess: float = 100.0,
    index: int = 60,
    reach: float = 3.0,
    uid: str = "",
    fdot: float = 0.0,
    undispersed: bool = False,
    kind: str = "fft",
) -> Group:
    """A group of one detection, seen over `reach` on either side of its DM."""
    best = table([(freq, nharm, excess, index)], kind=kind)
    best["fdot"] = fdot
    dm = float(best["dm"][0])
    members = np.zeros(1, dtype=np.int64)
    name = uid or f"{freq:.6f}@{index}"
    return Group(name, best[0], members, max(dm - reach, 0.0), dm + reach, undispersed, (kind,))
