"""The radiometer equation; geometry of the 19-beam receiver and positions between beams."""

import numpy as np
import pytest

from pulsar.config.load import load_config
from pulsar.config.model import TelescopeConfig
from pulsar.sky.observatory import Receiver, gain_at, mean_flux

FAST = TelescopeConfig(gain=16.0, tsys=20.0, npol=2, za_full=26.4, za_zero=50.0)


def test_a_worked_example():
    # 20 K / (16 K/Jy sqrt(2 * 300 s * 400 MHz)) = 2.55 uJy at S/N 1; a duty cycle of 10 % takes a third of it.
    assert mean_flux(7.0, 0.1, tobs=300.0, bandwidth=400.0, config=FAST) == pytest.approx(5.954, rel=1e-3)


def test_the_gain_falls_with_zenith_angle():
    assert gain_at(FAST, 10.0) == gain_at(FAST, float("nan")) == gain_at(FAST, 26.4) == 16.0
    assert gain_at(FAST, 38.2) == pytest.approx(8.0)
    assert gain_at(FAST, 60.0) == 0.0
    far = mean_flux(7.0, 0.1, tobs=300.0, bandwidth=400.0, config=FAST, za_deg=38.2)
    assert far == pytest.approx(2 * 5.954, rel=1e-3)


def test_what_is_unknown_stays_unknown():
    assert np.isnan(mean_flux(7.0, 0.1, tobs=300.0, bandwidth=400.0, config=TelescopeConfig()))
    assert np.isnan(mean_flux(7.0, float("nan"), tobs=300.0, bandwidth=400.0, config=FAST))
    assert np.isnan(mean_flux(7.0, 0.1, tobs=300.0, bandwidth=400.0, config=FAST, za_deg=60.0))
    assert load_config("fast-19beam").telescope.gain == 16.0


def fast(**changes) -> Receiver:
    config = load_config("fast-19beam").receiver
    return Receiver(config.model_copy(update=changes))


def test_neighbours_of_the_19_beams():
    receiver = fast()
    pairs = {frozenset((a, b)) for a in receiver.offsets for b in receiver.neighbours(a)}
    assert len(receiver.offsets) == 19
    assert len(pairs) == 42
    assert receiver.neighbours(1) == {2, 3, 4, 5, 6, 7}
    assert receiver.neighbours(14) == {5, 13, 15}
    assert np.isnan(receiver.distance(1, 20))


def test_the_13_beams_of_parkes():
    """Rings of 29.1 and 50.8 arcmin; from beam 3, in the north, position angles grow towards beam 10."""
    receiver = Receiver(load_config("parkes-multibeam").receiver)
    angle = {b: np.degrees(np.arctan2(x, y)) % 360 for b, (x, y) in receiver.offsets.items() if b > 1}
    radius = {b: np.hypot(x, y) for b, (x, y) in receiver.offsets.items()}
    for first, ring, size in ((300, range(2, 8), 29.1), (270, range(8, 14), 50.8)):
        for k, beam in enumerate(ring):
            assert radius[beam] == pytest.approx(size, abs=0.02)
            assert angle[beam] == pytest.approx((first + 60 * k) % 360, abs=0.03)
    assert receiver.neighbours(3) == {1, 2, 4, 9, 10}
    assert receiver.neighbours(8) == {2, 7}
    assert len({frozenset((a, b)) for a in receiver.offsets for b in receiver.neighbours(a)}) == 24


def test_rotation_and_handedness():
    # From north through east: what was in the north is in the east after a quarter turn.
    east, north = fast(rotation=90.0).offsets[17]
    assert (east, north) == pytest.approx((9.94, 0.018), abs=1e-6)
    assert fast(mirrored=True).offsets[2] == pytest.approx((-5.74, 0.008))
    assert fast(rotation=60.0).neighbours(1) == fast().neighbours(1)


def test_patches():
    receiver = fast()
    every = set(range(1, 20))
    assert receiver.together({4}, every)
    assert receiver.together({1, 2, 9}, every)
    assert not receiver.together({8, 14}, every)
    assert not receiver.together({2, 5}, every)
    # Beam 1 between them was not observed: nobody knows.
    assert receiver.together({2, 5}, every - {1})
    assert not receiver.together({8, 14}, every - {1})


@pytest.mark.parametrize("at", [(0.0, 0.0), (1.9, -1.2), (2.87, 0.0), (-6.5, 3.0)])
def test_a_source_is_placed_between_the_beams_that_see_it(at):
    receiver = fast()
    gains = {
        b: float(np.exp(-4 * np.log(2) * ((x - at[0]) ** 2 + (y - at[1]) ** 2) / 2.9**2))
        for b, (x, y) in receiver.offsets.items()
    }
    rng = np.random.default_rng(3)
    pulls = []
    flux = 40 / max(gains.values())
    for _ in range(40):
        measured = {b: flux * g + rng.normal() for b, g in gains.items()}
        snr = {b: s for b, s in measured.items() if s > 6}
        east, north, error = receiver.place(snr, dict.fromkeys(set(gains) - set(snr), 6.0))
        assert np.hypot(east - at[0], north - at[1]) < max(1.2, 2.5 * error)
        pulls.append((east - at[0]) / error)
        pulls.append((north - at[1]) / error)
    assert np.sqrt(np.mean(np.square(pulls))) < 2.0
    assert receiver.place({20: 10.0}, {}) is None
