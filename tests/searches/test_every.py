"""What all searches for periods in one series have in common."""

import numpy as np
import pytest

from pulsar.config.model import AccelConfig, CoherentConfig, FFAConfig, FFTConfig
from pulsar.errors import ConfigError, DataError
from pulsar.searches.accel import AccelSearch
from pulsar.searches.coherent import CoherentSearch
from pulsar.searches.ffa import FFASearch
from pulsar.searches.fft import FFTSearch

EVERY = {FFTSearch: FFTConfig, CoherentSearch: CoherentConfig, AccelSearch: AccelConfig, FFASearch: FFAConfig}


@pytest.mark.parametrize("kind", EVERY)
def test_errors_say_what_to_do(kind):
    with pytest.raises(DataError, match="at least 256"):
        kind(100, 1e-3)
    with pytest.raises(DataError, match=f"make one {kind.__name__}"):
        kind(10_000, 1e-2).search(np.zeros(999, np.float32))
    # Pydantic's of the section that checks it itself.
    with pytest.raises((ConfigError, ValueError), match="swap"):
        kind(10_000, 1e-2, EVERY[kind](p_min=1.0, p_max=0.5))
    with pytest.raises(ConfigError, match="positive"):
        kind(10_000, 0.0)
    with pytest.raises(ConfigError, match="positive"):
        kind(10_000, 1e-2, ntrials_dm=0.0)
