"""What all searches of one series have in common."""

import numpy as np
import pytest

from pulsar.config.model import Config
from pulsar.errors import ConfigError, DataError
from pulsar.searches.registry import SEARCHES
from pulsar_kernels.ahead import PARTS

PERIODIC = [search for search in SEARCHES if search.periodic]


@pytest.mark.parametrize("kind", PERIODIC)
def test_errors_say_what_to_do(kind):
    with pytest.raises(DataError, match="at least 256"):
        kind(100, 1e-3)
    with pytest.raises(DataError, match=f"make one {kind.__name__}"):
        kind(10_000, 1e-2).search(np.zeros(999, np.float32))
    # Pydantic's of the section that checks it itself.
    with pytest.raises((ConfigError, ValueError), match="swap"):
        kind(10_000, 1e-2, kind.section(p_min=1.0, p_max=0.5))
    with pytest.raises(ConfigError, match="positive"):
        kind(10_000, 0.0)
    with pytest.raises(ConfigError, match="positive"):
        kind(10_000, 1e-2, ntrials_dm=0.0)


@pytest.mark.parametrize("kind", SEARCHES)
def test_each_has_a_section_kernels_and_words_of_its_own(kind):
    assert Config.model_fields[kind.name].annotation is kind.section
    assert kind.kernels in PARTS
    assert sum(kind.counted == search.counted for search in SEARCHES) == 1
    section, key = kind.switch().split(".")
    assert key in Config.model_fields[section].annotation.model_fields


@pytest.mark.parametrize("kind", PERIODIC)
def test_each_finds_a_strong_pulsar_and_names_itself(kind):
    n, tsamp = 1 << 15, 2e-3
    turns = (np.arange(n) * tsamp / 3.1 + 0.5) % 1.0 - 0.5
    pulses = 3.0 * np.exp(-4.0 * np.log(2.0) * (turns / 0.05) ** 2)
    series = (np.random.default_rng(1).standard_normal(n) + pulses).astype(np.float32)
    low, high = kind.periods(n * tsamp, tsamp, kind.section())
    assert low < 3.1 < high
    (best, *_) = kind(n, tsamp).search(series, 12.5, 3)
    assert best["kind"] == kind.name
    assert (best["dm"], best["dm_index"]) == (12.5, 3)
    ratio = best["freq"] * 3.1
    assert ratio == pytest.approx(round(ratio), abs=0.05)
    assert best["sigma"] > 5.0
