"""Arrays of the user's own are as good as files, whatever their type and layout."""

import numpy as np
import pytest
from astropy import units as u
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

import pulsar
from pulsar.io.sigproc import FilterbankWriter
from pulsar.synthesis.model import Sky
from pulsar.synthesis.write import make

PERIOD, DM, TSAMP = 0.05432, 60.0, 512e-6
SKY = {"nchans": 32, "fch1": 1492.0, "foff": -16.0, "tsamp": TSAMP, "nsamps": 30_000, "seed": 5, "telescope": ""}
SIGNAL = {"period": PERIOD, "dm": DM, "snr": 40, "duty": 0.08}
CONFIG = pulsar.load_config(None, ["dedisp.dm_lo=40", "dedisp.dm_hi=80", "fold.ncands=3", "ffa.enabled=false"])


@pytest.fixture(scope="module")
def block():
    return make(Sky(**SKY, pulsars=(SIGNAL,)))


@pytest.fixture(scope="module")
def file(block, tmp_path_factory):
    path = tmp_path_factory.mktemp("arrays") / "a.fil"
    with FilterbankWriter(path, block.header) as writer:
        writer.write(block.data)
    return path


def rows(run: pulsar.Run, name: str = "candidates") -> np.ndarray:
    """A table without what the name of a run goes into."""
    table = run.rows(name)
    kept = [k for k in table.dtype.names if k not in ("uid", "parent", "target")]
    return table[kept]


def assert_same(a: np.ndarray, b: np.ndarray) -> None:
    assert a.dtype.names == b.dtype.names
    for key in a.dtype.names:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_an_array_gives_the_candidates_of_its_file(file, block, tmp_path):
    """Spectra as a recorder writes them, lowest frequency first, and every column of the result."""
    from_file = pulsar.search(file, CONFIG, out=tmp_path / "run.h5")
    data = block.data[::-1].T
    known = {"tstart": block.header.tstart, "source": "SIMULATED", "ra": 83.0, "dec": 22.0}
    fb = pulsar.Filterbank.from_array(data, block.header.freqs[::-1], TSAMP, **known)
    from_array = pulsar.search(fb, CONFIG)
    assert len(from_array) > 0
    assert from_array.candidates["period"][0].to_value("s") == pytest.approx(PERIOD, rel=1e-4)
    assert_same(rows(from_array), rows(from_file))
    assert_same(rows(from_array, "single_pulses"), rows(from_file, "single_pulses"))
    ident = from_array.ids[0]
    np.testing.assert_array_equal(from_array.folds[ident].profile, from_file.fold(ident).profile)


def test_a_series_gives_the_candidates_of_its_file(block, tmp_path):
    series = pulsar.dedisperse(pulsar.Filterbank.from_block(block), DM)
    path = tmp_path / "a.dat"
    series.data.astype(np.float32).tofile(path)
    path.with_suffix(".inf").write_text(
        " Data file name without suffix          =  a\n"
        f" Epoch of observation (MJD)             =  {series.tstart:.15g}\n"
        f" Number of bins in the time series      =  {series.nsamps}\n"
        f" Width of each time series bin (sec)    =  {TSAMP}\n"
        f" Dispersion measure (cm-3 pc)           =  {DM}\n"
    )
    from_file = pulsar.search(path, CONFIG, out=tmp_path / "run.h5")
    from_array = pulsar.search(series, CONFIG)
    assert len(from_array) > 0
    assert_same(rows(from_array), rows(from_file))
    of_file, of_array = pulsar.search_fft(path), pulsar.search_fft(series)
    assert len(of_file) > 0
    for name in ("freq", "dm"):
        np.testing.assert_allclose(of_file[name].value, of_array[name].value, rtol=1e-6)
    assert pulsar.fold(path, PERIOD).snr == pytest.approx(pulsar.fold(series, PERIOD).snr, rel=1e-6)


TYPES = ("u1", "i1", "u2", "i2", "i4", "i8", "f2", "f4", "f8", ">f4", ">i2", "?")


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(TYPES),
    first=st.sampled_from(["time, channel", "channel, time"]),
    freqs=st.permutations(list(range(5))),
    layout=st.sampled_from(["C", "F", "strided", "readonly", "list", "quantity"]),
    seed=st.integers(0, 1000),
)
def test_filterbanks_of_every_kind_hold_the_same_samples(kind, first, freqs, layout, seed):
    values = np.random.default_rng(seed).integers(0, 2 if kind == "?" else 100, (7, 5)).astype(kind)
    frequencies = 1400.0 + np.array(freqs)
    given_data = values if first == "time, channel" else values.T
    if layout == "C":
        given_data = np.ascontiguousarray(given_data)
    elif layout == "F":
        given_data = np.asfortranarray(given_data)
    elif layout == "strided":
        given_data = np.repeat(np.repeat(given_data, 2, axis=0), 3, axis=1)[::2, ::3]
    elif layout == "readonly":
        given_data = given_data.copy()
        given_data.flags.writeable = False
    elif layout == "list":
        given_data = given_data.tolist()
    else:
        given_data = given_data.astype("f8") * u.Jy
    fb = pulsar.Filterbank.from_array(given_data, frequencies * u.MHz, 1 * u.ms)
    read = fb.read()
    np.testing.assert_array_equal(fb.header.freqs, [1404, 1403, 1402, 1401, 1400])
    np.testing.assert_array_equal(read.data, values.T[np.argsort(-frequencies)].astype("f8"))
    assert read.data.dtype in (np.uint8, np.uint16, np.float32)
    assert (fb.header.nchans, fb.header.nsamps, fb.header.tsamp) == (5, 7, pytest.approx(1e-3))


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(TYPES), layout=st.sampled_from(["plain", "strided", "readonly", "list", "reversed"]))
def test_series_of_every_kind_hold_the_same_samples(kind, layout):
    values = np.random.default_rng(1).integers(0, 2 if kind == "?" else 100, 40).astype(kind)
    data = {"strided": np.repeat(values, 3)[::3], "reversed": values[::-1].copy()[::-1], "list": values.tolist()}.get(
        layout, values.copy()
    )
    if layout == "readonly":
        data.flags.writeable = False
    series = pulsar.TimeSeries(data, 1e-3)
    np.testing.assert_array_equal(series.data, values.astype("f8"))
    assert series.data.dtype in (np.int16, np.float32)
    assert series.data.flags.writeable
    assert series.data.flags.c_contiguous


def test_of_every_kind_the_same_is_found():
    rng = np.random.default_rng(3)
    x = np.rint(20 * rng.standard_normal(1 << 14) + 100 + 30 * ((np.arange(1 << 14) / 77.3) % 1 < 0.1))
    expected = pulsar.search_fft(pulsar.TimeSeries(x.astype("f4"), 1e-3))
    assert expected["freq"][0].to_value("Hz") == pytest.approx(1 / 77.3e-3, rel=1e-3)
    readonly = x.astype("f4")
    readonly.flags.writeable = False
    for data in (x, x.astype("f2"), x.astype(">f4"), x.astype("i4"), x.tolist(), np.repeat(x, 2)[::2], readonly):
        found = pulsar.search_fft(data, 1 * u.ms)
        np.testing.assert_array_equal(found["freq"], expected["freq"])
    # int16 has kernels of its own.
    np.testing.assert_allclose(pulsar.search_fft(x.astype("i2"), 1e-3)["freq"], expected["freq"], rtol=1e-5)


def test_an_offset_does_not_round_the_noise_away():
    x = np.random.default_rng(1).standard_normal(1000)
    far = pulsar.TimeSeries(x + 1e9, 1.0)
    np.testing.assert_allclose(far.data, x - x.mean(), atol=1e-5)
    both = np.stack([x + 1e9, x], axis=1)
    fb = pulsar.Filterbank.from_array(both, [1400, 1401], 1.0)
    np.testing.assert_allclose(fb.data, np.stack([x, x - x.mean()]), atol=1e-5)
    assert fb.data.dtype == np.float32


def test_missing_samples_cost_little(block):
    data = block.data.T.astype("f4")
    data[1000:2000] = np.nan
    data[:, 7] = np.nan
    fb = pulsar.Filterbank.from_array(data, block.header.freqs, TSAMP)
    fold = pulsar.fold(fb, PERIOD, DM)
    assert fold.snr == pytest.approx(40, rel=0.15)
    series = pulsar.dedisperse(fb, DM)
    gone = series.data.astype("f4")
    gone[5000:6000] = np.nan
    assert pulsar.fold(pulsar.TimeSeries(gone, TSAMP), PERIOD).snr == pytest.approx(fold.snr, rel=0.1)
    found = pulsar.search_fft(gone, TSAMP)
    assert found["freq"][0].to_value("Hz") == pytest.approx(1 / PERIOD, rel=1e-3)


def test_the_square_is_time_first():
    data = np.arange(16, dtype="u1").reshape(4, 4)
    freqs = [1403, 1402, 1401, 1400]
    fb = pulsar.Filterbank.from_array(data, freqs, 1.0)
    np.testing.assert_array_equal(fb.data, data.T)
    np.testing.assert_array_equal(pulsar.Filterbank.from_array(data, freqs, 1.0, order="channel, time").data, data)


def test_what_is_known_of_it():
    fb = pulsar.Filterbank.from_array(
        np.zeros((10, 2), "u1"), [1.4, 1.401] * u.GHz, 64 * u.us, tstart=Time(60000.5, format="mjd"), source="X",
        telescope="FAST", beam=3, ra=5 * u.hourangle, dec=-10 * u.deg,
    )  # fmt: skip
    header = fb.header
    assert (header.source, header.telescope, header.beam) == ("X", "FAST", 3)
    assert (header.tstart, header.ra_deg, header.dec_deg) == pytest.approx((60000.5, 75.0, -10.0))
    assert header.tsamp == pytest.approx(64e-6)
    assert (header.fch1, header.foff) == pytest.approx((1401.0, -1.0))
    series = pulsar.TimeSeries([1.0, 2.0], 64 * u.us, 30 * u.pc / u.cm**3, Time(60000.5, format="mjd"))
    assert (series.tsamp, series.dm, series.tstart) == pytest.approx((64e-6, 30.0, 60000.5))


def test_the_array_is_not_changed(block):
    data = np.ascontiguousarray(block.data.T)
    before = data.copy()
    fb = pulsar.Filterbank.from_array(data, block.header.freqs, TSAMP)
    added = pulsar.inject(fb, pulsars=[{"period": 50 * u.ms, "dm": 30, "snr": 50}])
    np.testing.assert_array_equal(data, before)
    assert added.data.shape == fb.data.shape
    assert added.data.dtype == fb.data.dtype
    assert pulsar.fold(added, 0.05, 30.0).snr == pytest.approx(50, rel=0.15)


def test_a_channel_that_does_not_vary_keeps_its_level() -> None:
    values = np.random.default_rng(1).normal(10.0, 1.0, (7, 5))
    values[:, 2] = 0.1
    fb = pulsar.Filterbank.from_array(values, 1404.0 - np.arange(5.0), 1e-3)
    np.testing.assert_array_equal(fb.read().data[2], np.full(7, np.float32(0.1)))
