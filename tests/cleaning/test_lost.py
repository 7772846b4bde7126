"""Spectra that a recorder has repeated in place of lost ones: they count nowhere, wherever blocks begin."""

import numpy as np
import pytest
from reference.masks import Noise

from pulsar.cleaning.mask import make_mask
from pulsar.cleaning.source import CleanedSource
from pulsar.cleaning.statistics import measure
from pulsar.config.model import RfiConfig

CONFIG = RfiConfig(block=1.0)
#: Channels [MHz] of a band over which dispersion can tell impulses, and of one where it cannot.
WIDE, NARROW = -20.0, -1.0


def lost(first, last, value=0, foff=WIDE):
    obs = Noise(20_000, foff=foff)
    obs.data[:, first:last] = value
    return obs, measure(obs, CONFIG)


@pytest.mark.parametrize(("first", "last"), [(3300, 9700), (0, 700), (19_000, 20_000), (5100, 5250)])
@pytest.mark.parametrize(("value", "foff"), [(0, WIDE), (200, WIDE), (255, WIDE), (0, NARROW), (255, NARROW)])
def test_what_is_there_of_a_block_tells_its_level_and_noise(first, last, value, foff):
    obs, stats = lost(first, last, value, foff)
    whole = (stats.edges[:-1] >= first) & (stats.edges[1:] <= last)
    error = 12.0 / np.sqrt(stats.valid * np.diff(stats.edges)[:, None])[~whole]
    assert np.abs((stats.mean[~whole] - 99.5) / error).max() < 5.0
    assert np.abs((stats.std[~whole] - 12.0) / error).max() < 5.0 / np.sqrt(2.0)
    parts = ((stats.edges[1:] > first) & (stats.edges[:-1] < last)) & ~whole
    assert np.all(stats.valid[parts] < 1.0)
    assert np.all(stats.valid[~parts] == 1.0)
    mask = make_mask(obs, stats, CONFIG)
    gone = np.repeat(mask.bad.all(axis=1), np.diff(stats.edges))
    for low, high in mask.clipped:
        gone[low:high] = True
    assert np.flatnonzero(gone).tolist() == list(range(first, last))


@pytest.mark.parametrize("foff", [WIDE, NARROW])
def test_of_what_is_lost_in_a_part_of_the_band_the_block_is_left_out(foff):
    obs = Noise(20_000, foff=foff)
    # Not at the edges of bands; two parts at overlapping times, and a run that is no longer than noise may be.
    obs.data[7:12, 3300:3400] = 0
    obs.data[16:20, 3390:4100] = 120
    obs.data[2:6, 6000:6008] = 0
    stats = measure(obs, CONFIG)
    expected = np.zeros(stats.valid.shape, dtype=np.bool_)
    expected[3, 7:12] = expected[3:5, 16:20] = True
    np.testing.assert_array_equal(stats.valid == 0.0, expected)
    np.testing.assert_array_equal(stats.valid == 1.0, ~expected)
    assert stats.impulses.tolist() == []
    mask = make_mask(obs, stats, CONFIG)
    assert mask.bad[expected].all()
    assert mask.bad.mean() < 0.05


def test_a_channel_that_is_constant_is_no_loss():
    obs = Noise(20_000, foff=WIDE)
    obs.data[4:8] = 17
    stats = measure(obs, CONFIG)
    assert np.all(stats.valid == 1.0)
    reasons = make_mask(obs, stats, CONFIG).reasons
    assert [k for k, reason in enumerate(reasons) if reason == "constant"] == [4, 5, 6, 7]


def test_they_are_the_mean_of_the_cleaned_samples():
    obs, stats = lost(3300, 9700)
    source = CleanedSource(obs, make_mask(obs, stats, CONFIG))
    out = np.empty((source.nchans, 20_000), dtype=np.int8)
    source.read_into(0, out)
    assert not out[:, 3300:9700].any()
    assert np.abs(out[:, :3300].mean()) < 0.2
    assert np.abs(out[:, 9700:].std() - 8.0) < 0.3
