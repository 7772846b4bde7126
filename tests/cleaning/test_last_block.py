"""The last block of an observation may be shorter than the others: nothing is made up for what it lacks."""

import numpy as np
from reference.masks import Noise

from pulsar.cleaning import make_mask, measure
from pulsar.config.model import RfiConfig


def test_no_lines_in_a_short_last_block():
    obs = Noise(20_700)
    stats = measure(obs, RfiConfig(block=1.0))
    lengths = np.diff(stats.edges)
    assert lengths[-1] < lengths[0]
    assert np.isfinite(stats.fourier[:-1]).all()
    assert np.isnan(stats.fourier[-1]).all()
    assert np.isnan(stats.excess[-1]).all()
    assert make_mask(obs, stats, RfiConfig(block=1.0)).fraction_lost < 0.01


def test_a_longer_one_has_its_lines():
    stats = measure(Noise(20_300), RfiConfig(block=1.0))
    lengths = np.diff(stats.edges)
    assert lengths[-1] > lengths[0]
    assert np.isfinite(stats.fourier).all()
    assert np.nanmax(np.abs(stats.excess)) < 1.0
