"""Data of other packages go wherever our own do: classes of the shape of theirs, and astropy's own table of times."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn
from astropy.time import Time
from astropy.timeseries import TimeSeries as AstropySeries

import pulsar
from pulsar.api._given import observed, taken
from pulsar.config.model import Config
from pulsar.errors import ConfigError, DataError
from pulsar.synthesis.model import Sky
from pulsar.synthesis.write import make

STEP = 1e-3
NSAMPS = 40_000
NCHANS, FCH1, FOFF = 16, 1492.0, -16.0


def pulses(nsamps: int = NSAMPS) -> np.ndarray:
    x = np.random.default_rng(1).standard_normal(nsamps)
    x[::97] += 3
    return x


class LightCurve:
    """As stingray's."""

    def __init__(self, time: np.ndarray, counts: np.ndarray, dt: float) -> None:
        self.time, self.counts, self.dt = time, counts, dt


class SampledSeries:
    """As sigpyproc's series since its version 1."""

    def __init__(self, data: np.ndarray, header: Any) -> None:
        self.data, self.header = data, header


class Block(np.ndarray):
    """As sigpyproc's block before that: an array with a header."""

    header: Any = None


class FilterbankFile:
    """As sigpyproc's reader."""

    def __init__(self, data: np.ndarray, header: Any) -> None:
        self._data, self.header = data, header

    def read_block(self, start: int, nsamps: int) -> SampledSeries:
        return SampledSeries(self._data[:, start : start + nsamps], self.header)


class UnifiedReader:
    """As that of `your`: (time, channel)."""

    def __init__(self, data: np.ndarray, header: Any) -> None:
        self._data, self.your_header = data, header
        self.most = 0

    def get_data(self, nstart: int, nsamp: int) -> np.ndarray:
        self.most = max(self.most, nsamp)
        return self._data[nstart : nstart + nsamp]


@pytest.fixture(scope="module")
def block() -> Any:
    signal = {"period": 0.0543, "dm": 60.0, "snr": 40, "duty": 0.08}
    sky = Sky(nchans=NCHANS, fch1=FCH1, foff=FOFF, tsamp=STEP, nsamps=20_000, seed=5, pulsars=(signal,), tstart=59000.5)
    return make(sky)


def header_of(block: Any, **changes: Any) -> SimpleNamespace:
    """A header with the names that both packages have."""
    values = {"nchans": NCHANS, "fch1": FCH1, "foff": FOFF, "tsamp": STEP, "tstart": 59000.5, "nbits": 8}
    values |= {"nsamples": block.data.shape[1], "nspectra": block.data.shape[1], "dm": 0.0}
    return SimpleNamespace(**(values | changes))


def test_a_table_of_times_is_a_series() -> None:
    start = Time(59000.25, format="mjd", scale="utc")
    table = AstropySeries(time_start=start, time_delta=STEP * u.s, data={"flux": pulses() * u.Jy})
    series = taken("search", table)
    np.testing.assert_array_equal(series.data, pulses().astype(np.float32))
    assert series.tsamp == pytest.approx(STEP, rel=1e-9)
    assert series.tstart == pytest.approx(59000.25, abs=1e-9)
    found = pulsar.search_fft(table)
    own = pulsar.search_fft(pulsar.TimeSeries(pulses(), STEP))
    assert found["freq"][0].to_value("Hz") == pytest.approx(own["freq"][0].to_value("Hz"), rel=1e-8)
    # Days as two numbers of 64 bits know a step to about 1e-11 of it.
    plain = pulsar.fold(pulsar.TimeSeries(pulses(), STEP), 0.097, refine=False)
    assert pulsar.fold(table, 0.097, refine=False).snr == pytest.approx(plain.snr, rel=1e-3)


def test_the_start_is_utc_whatever_the_scale_of_the_times() -> None:
    table = AstropySeries(time_start=Time(59000.25, format="mjd", scale="tdb"), time_delta=1 * u.s, n_samples=8)
    table["flux"] = np.arange(8.0)
    assert (taken("search", table).tstart - 59000.25) * 86400 == pytest.approx(-69.184, abs=0.01)


def test_missing_times_and_masked_values_are_missing_samples() -> None:
    table = AstropySeries(time_start=Time(59000, format="mjd"), time_delta=1 * u.s, n_samples=10)
    table["flux"] = MaskedColumn(np.arange(10.0), mask=np.arange(10) == 7)
    table["flux_err"] = 1.0
    series = taken("search", table[[0, 1, 2, 5, 6, 7, 8, 9]])
    np.testing.assert_array_equal(series.data, [0, 1, 2, np.nan, np.nan, 5, 6, np.nan, 8, 9])
    assert series.tsamp == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("columns", "late", "told"),
    [
        ({"a": 1.0, "b": 2.0}, 0.0, "with the columns a, b: give a table of the times and one of them"),
        ({"flux": 1.0}, 0.3, r"search: uneven times: sample 5 is \+0\.3 of 1 s off"),
        ({"flux": 1.0}, 3.0, "two times or more, ascending"),
    ],
)
def test_tables_that_are_no_series_are_told(columns: dict[str, float], late: float, told: str) -> None:
    seconds = np.arange(10.0)
    seconds[5] += late
    table = AstropySeries(time=Time(59000, format="mjd") + seconds * u.s)
    for name, value in columns.items():
        table[name] = value
    with pytest.raises(ConfigError, match=told):
        pulsar.search(table)


def test_a_light_curve_is_a_series_of_unknown_start() -> None:
    times = 5000.0 + STEP * (np.arange(NSAMPS) + 0.5)
    counts = np.random.default_rng(2).poisson(5 + 3 * (np.arange(NSAMPS) % 97 < 5)).astype(np.int64)
    series = taken("search", LightCurve(times, counts, STEP))
    np.testing.assert_array_equal(series.data, counts)
    assert series.tsamp == pytest.approx(STEP)
    assert np.isnan(series.tstart)
    config = pulsar.load_config(None, ["ffa.enabled=false", "single_pulse.enabled=false", "fold.ncands=1"])
    run = pulsar.search(LightCurve(times, counts, STEP), config)
    assert run.sources["period"][0].to_value("s") == pytest.approx(0.097, rel=1e-4)


def test_a_series_with_a_header_keeps_its_dm_and_start(block: Any) -> None:
    header = header_of(block, nchans=1, dm=56.7)
    series = taken("fold", SampledSeries(pulses(), header))
    assert (series.tsamp, series.dm, series.tstart) == (STEP, 56.7, 59000.5)
    assert pulsar.fold(SampledSeries(pulses(), header), 0.097).snr > 10


def bands(block: Any) -> dict[str, Any]:
    """The same samples in each of the shapes."""
    array = block.data.view(Block)
    array.header = header_of(block)
    upside_down = header_of(block, fch1=FCH1 + FOFF * (NCHANS - 1), foff=-FOFF)
    return {
        "reader": FilterbankFile(block.data, header_of(block)),
        "block": SampledSeries(block.data, header_of(block)),
        "array": array,
        "unified": UnifiedReader(block.data.T, header_of(block)),
        "ascending": UnifiedReader(block.data[::-1].T, upside_down),
    }


@pytest.mark.parametrize("shape", ["reader", "block", "array", "unified", "ascending"])
def test_a_band_has_the_same_samples_in_every_shape(block: Any, shape: str) -> None:
    with observed("search", bands(block)[shape], Config()) as obs:
        assert obs.dtype == block.data.dtype
        np.testing.assert_array_equal(obs.header.freqs, block.header.freqs)
        assert (obs.header.tsamp, obs.header.tstart, obs.header.nsamps) == (STEP, 59000.5, 20_000)
        np.testing.assert_array_equal(obs.read().data, block.data)
        np.testing.assert_array_equal(obs.read(777, 5000).data, block.data[:, 777:5777])


def test_a_band_is_read_piece_by_piece_and_dedispersed_as_ours(block: Any) -> None:
    data = bands(block)["unified"]
    series = pulsar.dedisperse(data, 60.0)
    assert data.most < 20_000
    np.testing.assert_array_equal(series.data, pulsar.dedisperse(pulsar.Filterbank.from_block(block), 60.0).data)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"coord": SkyCoord(83.5 * u.deg, -22 * u.deg)}, (83.5, -22.0)),
        ({"coord": SkyCoord(0 * u.deg, 0 * u.deg)}, (np.nan, np.nan)),
        ({"ra_deg": 83.5, "dec_deg": -22.0}, (83.5, -22.0)),
        ({}, (np.nan, np.nan)),
    ],
)
def test_the_position_of_a_band(block: Any, changes: dict[str, Any], place: tuple[float, float]) -> None:
    header = taken("search", FilterbankFile(block.data, header_of(block, **changes))).header
    np.testing.assert_allclose((header.ra_deg, header.dec_deg), place)


def test_a_reader_that_gives_less_than_it_promises_is_told(block: Any) -> None:
    data = FilterbankFile(block.data[:, :1000], header_of(block))
    with pytest.raises(DataError, match=r"samples 0 to \d+ were asked for, and an array of shape \(16, 1000\) came"):
        taken("search", data).read()


def test_what_was_taken_before_is_taken_as_it_was() -> None:
    for data in (np.zeros(5), [1.0, 2.0], "a.fil", None, pulsar.TimeSeries(pulses(), STEP)):
        assert taken("search", data) is data


@pytest.mark.parametrize(("step", "count"), [(1e-3, 40_000), (256e-6, 100_000), (1e-2, 100_000)])
def test_times_that_are_rounded_are_even(step: float, count: int) -> None:
    # As MJDs in 64 bits are, to 0.6 us.
    times = Time(59000.0 + np.arange(count) * step / 86400.0, format="mjd")
    values = np.arange(count, dtype=np.float64)
    series = taken("X", AstropySeries(time=times, data={"counts": values}))
    assert series.tsamp == pytest.approx(step, rel=1e-6)
    assert len(series.data) == count
    kept = np.arange(count) % 1000 != 17
    series = taken("X", AstropySeries(time=times[kept], data={"counts": values[kept]}))
    assert len(series.data) == count
    assert np.count_nonzero(np.isnan(series.data)) == np.count_nonzero(~kept)


def test_masked_counts_are_missing() -> None:
    times = Time(59000.0, format="mjd") + np.arange(1000) * STEP * u.s
    counts = MaskedColumn(np.arange(1000), mask=np.arange(1000) == 7, name="counts")
    series = taken("X", AstropySeries(time=times, data={"counts": counts}))
    assert np.flatnonzero(np.isnan(series.data)).tolist() == [7]


def test_nights_apart_are_no_series() -> None:
    night = np.arange(1000) * STEP
    with pytest.raises(ConfigError, match="give the stretches between the gaps one by one"):
        taken("X", LightCurve(np.concatenate([night, night + 3e7]), np.ones(2000), STEP))
