"""What the stage of the searches decides by itself."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsar.config.load import load_config
from pulsar.constants import KDM
from pulsar.errors import ConfigError
from pulsar.pipeline.searches import enabled_searches, wide_dms

FREQS = np.linspace(1500.0, 1000.0, 64)
ACROSS = KDM * (1000.0**-2 - 1500.0**-2)


@given(st.lists(st.floats(1e-3, 3.0), min_size=1, max_size=200), st.floats(1e-4, 1e-1))
def test_dms_of_wide_pulses_are_dense_enough_and_no_denser(steps, width):
    dms = np.cumsum(steps)
    chosen = wide_dms(dms, FREQS, width)
    kept = dms[chosen]
    assert chosen[[0, -1]].all()
    # Between neighbours no pulse is smeared by more than its width, except by the plan's own steps.
    widest = np.maximum(np.diff(kept) * ACROSS, 0)
    own = np.array([np.diff(dms[(dms >= a) & (dms <= b)]).max() * ACROSS for a, b in pairwise(kept)])
    assert np.all(widest <= np.maximum(width, own) * (1 + 1e-9))
    # Any one less of the inner ones would leave a hole.
    assert np.all((kept[2:] - kept[:-2]) * ACROSS > width * (1 - 1e-9))


def test_one_channel_needs_one_dm_and_the_last():
    assert np.flatnonzero(wide_dms(np.arange(10.0), np.array([1400.0]), 1e-3)).tolist() == [0, 9]


def test_a_run_that_searches_for_nothing_is_refused():
    off = ["fft.enabled=false", "coherent.enabled=false", "ffa.enabled=false", "single_pulse.enabled=false"]
    with pytest.raises(ConfigError, match="no search is switched on"):
        enabled_searches(load_config(None, off), 60.0)
    enabled_searches(load_config(None, [*off, "accel.accel_max=5"]), 60.0)
    enabled_searches(load_config(None, off[:3]), 60.0)
