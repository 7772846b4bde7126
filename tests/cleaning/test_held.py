"""Cleaned samples that are read once and stay in memory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pulsar.cleaning.mask import make_mask
from pulsar.cleaning.source import CleanedSource, HeldSource
from pulsar.cleaning.statistics import measure
from pulsar.config.model import RfiConfig
from pulsar.data.header import Header
from pulsar.data.source import Rows
from pulsar.io.memory import Filterbank
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import Means
from pulsar.pipeline.samples import Samples

NCHANS, NSAMPS = 32, 5000


class Counting(CleanedSource):
    """Counts the samples that it is asked for."""

    asked = 0

    def read_into(self, start: int, out: NDArray[np.int8]) -> None:
        self.asked += out.shape[1]
        super().read_into(start, out)


@pytest.fixture(scope="module")
def samples() -> Samples:
    data = np.random.default_rng(3).integers(80, 120, (NCHANS, NSAMPS)).astype(np.uint8)
    header = Header(nchans=NCHANS, nsamps=NSAMPS, tsamp=1e-3, fch1=1500.0, foff=-1.0, tstart=60000.0, nbits=8)
    obs = Filterbank(data, header)
    return Samples(obs, Counting(obs, make_mask(obs, measure(obs, RfiConfig()), RfiConfig())))


def expected(samples: Samples, start: int, n: int) -> NDArray[np.int8]:
    out = np.full((NCHANS, n), 99, dtype=np.int8)
    CleanedSource(samples.obs, samples.source.mask).read_into(start, out)
    return out


def read(held: HeldSource, start: int, n: int) -> NDArray[np.int8]:
    out = np.full((NCHANS, n), 99, dtype=np.int8)
    held.read_into(start, out)
    return out


def test_what_was_read_is_not_read_again(samples: Samples) -> None:
    held = HeldSource(samples.source)
    before = samples.source.asked
    for start in range(0, NSAMPS, 700):
        read(held, start, min(700, NSAMPS - start))
    assert samples.source.asked - before == NSAMPS
    for start, n in ((0, NSAMPS), (-50, 200), (650, 900), (NSAMPS - 20, 300), (-100, NSAMPS + 200)):
        np.testing.assert_array_equal(read(held, start, n), expected(samples, start, n))
    assert samples.source.asked - before == NSAMPS


def test_what_others_have_read_is_not_read(samples: Samples) -> None:
    means = Means(1, 4 * NCHANS * NSAMPS, Path(), Progress("quiet"))
    kept = expected(samples, -100, NSAMPS + 200)
    before = samples.source.asked
    held = samples.held(means, Rows(kept, 100))
    for start, n in ((0, NSAMPS), (-50, 200), (650, 900), (-100, NSAMPS + 200)):
        np.testing.assert_array_equal(read(held.source, start, n), expected(samples, start, n))
    assert samples.source.asked == before
    assert held.held(means) is held


def test_what_others_have_read_is_not_held_where_its_memory_has_no_room(samples: Samples) -> None:
    kept = expected(samples, 0, 3 * NSAMPS)[:, :NSAMPS]
    before = samples.source.asked
    held = samples.held(Means(1, 4 * NCHANS * NSAMPS, Path(), Progress("quiet")), Rows(kept, 0))
    np.testing.assert_array_equal(read(held.source, 0, NSAMPS), kept)
    assert samples.source.asked - before == NSAMPS


def test_what_was_not_read_is(samples: Samples) -> None:
    held = HeldSource(samples.source)
    for start, n in ((1000, 500), (2000, 500), (1200, 1000), (-10, 60), (900, 1700), (NSAMPS, 40), (-40, 40)):
        np.testing.assert_array_equal(read(held, start, n), expected(samples, start, n))


def test_threads_read_together(samples: Samples) -> None:
    held = HeldSource(samples.source)
    starts = np.random.default_rng(4).integers(-100, NSAMPS, 200).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda start: read(held, start, 300), starts))
    for start, data in zip(starts, found, strict=True):
        np.testing.assert_array_equal(data, expected(samples, start, 300))


@pytest.mark.parametrize(("memory", "kept"), [(2 * NCHANS * NSAMPS, True), (2 * NCHANS * NSAMPS - 2, False)])
def test_samples_are_held_where_half_of_the_memory_has_room(samples: Samples, memory: int, kept: bool) -> None:
    held = samples.held(Means(1, memory, Path(), Progress("quiet")))
    assert isinstance(held.source, HeldSource) == kept


def test_series_are_as_they_are(samples: Samples) -> None:
    series = Samples(samples.obs)
    assert series.held(Means(1, 1 << 30, Path(), Progress("quiet"))) is series
