"""Two observations of the same pulsars, some of which have an orbit."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pulsar.constants import C
from pulsar.sky.barycentre import motion_of
from pulsar.synthesis.model import Pulsar, Sky

#: Receiver of both, and the starts of the observations.
BAND: dict[str, Any] = {
    "nchans": 64, "fch1": 1450.0, "foff": -4.0, "tsamp": 256e-6, "nsamps": 1 << 16, "telescope": "FAST",
}  # fmt: skip
STARTS = (58000.0, 58100.0)
#: By turns: nothing changes, the velocity does [m/s], the acceleration does [m/s^2].
KINDS = ("same", "velocity", "acceleration")
VELOCITY, ACCEL = 50e3, 5.0


@dataclass(frozen=True)
class Epochs:
    """Skies of two observations, of the same pulsars; and of each of these what has changed between them."""

    first: Sky
    second: Sky
    kinds: tuple[str, ...]


def two_epochs(seed: int, count: int = 10) -> Epochs:
    """Pulsars of S/N 8 to 20, 5 ms to 0.4 s, duty cycles of 3 to 30 % and DM 10 to 150."""
    rng = np.random.default_rng(seed)
    empty = [Sky(**BAND, seed=10 * seed + i, tstart=start) for i, start in enumerate(STARTS)]
    before, after = (motion_of(sky.header) for sky in empty)
    assert before is not None
    assert after is not None
    # So far apart that none is beside another.
    places = (np.arange(count) + rng.uniform(0.0, 0.7, count)) / count
    pulsars: tuple[list[Pulsar], list[Pulsar]] = ([], [])
    kinds = tuple(KINDS[i % len(KINDS)] for i in range(count))
    for place, kind in zip(places, kinds, strict=True):
        period = 5e-3 * 80.0**place
        velocity = VELOCITY * rng.choice([-1, 1]) if kind == "velocity" else 0.0
        accel = ACCEL * rng.choice([-1, 1]) if kind == "acceleration" else 0.0
        shape = {
            "dm": rng.uniform(10.0, 150.0),
            "snr": rng.uniform(8.0, 20.0),
            "duty": 10.0 ** rng.uniform(-1.5, -0.5),
        }
        pulsars[0].append(Pulsar(period=period * (1.0 + before.voverc), **shape))
        pulsars[1].append(Pulsar(period=period * (1.0 + velocity / C) * (1.0 + after.voverc), accel=accel, **shape))
    skies = [sky.model_copy(update={"pulsars": tuple(own)}) for sky, own in zip(empty, pulsars, strict=True)]
    return Epochs(skies[0], skies[1], kinds)
