"""A wrong call is told in one message that names the argument, what was given and what is expected."""

import inspect

import numpy as np
import pytest
from astropy import units as u

import pulsar
from pulsar.cli import epochs, folds, samples, search
from pulsar.cli.options import Settings
from pulsar.config.load import keys
from pulsar.config.model import OPTIONS
from pulsar.data.arguments import number, quantities
from pulsar.errors import ConfigError, DataError

X = np.random.default_rng(1).standard_normal(2000).astype("f4")
TS = pulsar.TimeSeries(X, 1e-3)
FB = pulsar.Filterbank.from_array(np.ones((1000, 4), "u1"), [1400, 1401, 1402, 1403], 1e-3)
FREQS = [1400.0, 1401.0, 1402.0, 1403.0]
DATA = np.ones((100, 4), "u1")

WRONG = {
    "a list of numbers for an observation": (lambda: pulsar.search([1.0, 2.0]), "search: a list is no observation"),
    "an array for an observation": (lambda: pulsar.search(X), r"search: an array of shape \(2000,\) is no observation"),
    "nothing": (lambda: pulsar.search(None), "search: None is no observation"),
    "an empty list": (lambda: pulsar.search([]), "no observation"),
    "2-d for 1-d": (
        lambda: pulsar.TimeSeries(DATA, 1e-3),
        r"data has the shape \(100, 4\): expected one dimension, time",
    ),
    "2-d for a search": (lambda: pulsar.search_fft(DATA, 1e-3), "expected one dimension"),
    "1-d for 2-d": (lambda: pulsar.Filterbank.from_array(X, FREQS, 1e-3), "expected two dimensions"),
    "a masked array": (lambda: pulsar.TimeSeries(np.ma.array(X), 1e-3), "masked array.*filled"),
    "a masked filterbank": (lambda: pulsar.Filterbank.from_array(np.ma.array(DATA), FREQS, 1.0), "masked array"),
    "complex samples": (lambda: pulsar.TimeSeries(X + 1j, 1e-3), "data is complex: expected real numbers"),
    "texts": (lambda: pulsar.TimeSeries(["a", "b"], 1e-3), "expected real numbers"),
    "a path for samples": (lambda: pulsar.TimeSeries("a.dat", 1e-3), "files are read by pulsar.open"),
    "rows of unequal length": (lambda: pulsar.TimeSeries([[1, 2], [3]], 1e-3), "expected an array of numbers"),
    "no samples": (lambda: pulsar.TimeSeries([], 1e-3), "data is empty"),
    "no sampling time": (lambda: pulsar.search_fft(X), "search_fft: an array of shape .* has no sampling time"),
    "two sampling times": (lambda: pulsar.search_fft(TS, 1e-3), "has its own tsamp"),
    "tsamp of 0": (lambda: pulsar.TimeSeries(X, 0), "tsamp = 0 s: expected a number > 0, in s or as a quantity"),
    "tsamp that is NaN": (lambda: pulsar.TimeSeries(X, np.nan), "tsamp = nan s"),
    "tsamp as text": (lambda: pulsar.TimeSeries(X, "1 ms"), "tsamp = '1 ms': expected a number > 0, in s"),
    "tsamp of another unit": (lambda: pulsar.TimeSeries(X, 1 * u.MHz), "tsamp = 1.0 MHz: expected a number > 0, in s"),
    "tsamp of two values": (lambda: pulsar.TimeSeries(X, [1e-3, 2e-3]), r"tsamp has the shape \(2,\)"),
    "tsamp that is True": (lambda: pulsar.TimeSeries(X, True), "tsamp = True"),
    "dm below 0": (lambda: pulsar.dedisperse(FB, -5), "dm = -5 pc / cm3: expected a number >= 0"),
    "dm below 0 in a fold": (lambda: pulsar.fold(FB, 0.1, -5), "dm = -5 pc / cm3"),
    "dm below 0 of a series": (lambda: pulsar.TimeSeries(X, 1e-3, dm=-5), "dm = -5 pc / cm3"),
    "dm of another unit": (lambda: pulsar.dedisperse(FB, 5 * u.s), "dm = 5.0 s: expected a number >= 0, in pc / cm3"),
    "no dm": (lambda: pulsar.dedisperse(FB), "either dm"),
    "dm and dms": (lambda: pulsar.dedisperse(FB, 1.0, dms=[1, 2]), "either dm"),
    "uneven dms": (lambda: pulsar.dedisperse(FB, dms=[1.0, 2.0, 4.0]), "even steps"),
    "dms below 0": (lambda: pulsar.dedisperse(FB, dms=[-1.0, 2.0]), "dms = -1 pc / cm3"),
    "no dms": (lambda: pulsar.dedisperse(FB, dms=[]), "dms has the shape"),
    "a series dedispersed again": (lambda: pulsar.dedisperse(TS, 5), "dedispersed already"),
    "nharm of 7": (
        lambda: pulsar.search_fft(TS, nharm=7),
        "search_fft: fft.nharm = 7: expected one of 1, 2, 4, 8, 16, 32",
    ),
    "nharm of 32 with drift": (lambda: pulsar.search_accel(TS, zmax=9, nharm=32), "accel.nharm = 32: expected one of"),
    "no drift": (lambda: pulsar.search_accel(TS), "give zmax .* or accel_max"),
    "a negative drift": (lambda: pulsar.search_accel(TS, zmax=-2), "zmax = -2: expected a number >= 0"),
    "periods crossed": (lambda: pulsar.search_ffa(TS, p_min=2, p_max=1), "p_min 2 s is above p_max 1 s"),
    "periods of the FFT crossed": (lambda: pulsar.search_fft(TS, p_min=2, p_max=1), "p_min 2 s is not below p_max"),
    "p_min in Hz": (lambda: pulsar.search_fft(TS, p_min=2 * u.Hz), "p_min = 2.0 Hz: expected a number > 0, in s"),
    "a shape that is none": (lambda: pulsar.search_single_pulse(TS, shape="box"), "single_pulse.shape"),
    "birdies that are no pairs": (lambda: pulsar.search_fft(TS, birdies=[50.0]), "birdies = .*expected pairs"),
    "the sampling time of what was opened": (lambda: pulsar.search_fft(FB, 1e-3), "has its own tsamp"),
    "a DM for a range": (lambda: pulsar.search(FB, dm=60), r"search: dm: expected the lowest and the highest DM"),
    "a range upside down": (lambda: pulsar.search(FB, dm=(60, 0)), "dm_lo"),
    "DMs that fall": (lambda: pulsar.dedisperse(FB, dm=[3, 2]), "dm must ascend$"),
    "a name in a fold": (lambda: pulsar.plot(TS, "c0001"), "a name, 'c0001', is that of a candidate of a Run"),
    "channels searched": (lambda: pulsar.search_fft(FB), "has channels: give pulsar.dedisperse"),
    "an option of the command line": (
        lambda: pulsar.search(FB, zmax=50),
        r"search: no argument 'zmax': it is a setting: config=pulsar.load_config\(None, "
        r'\["accel.zmax=50"\]\)$',
    ),
    "a setting beside a preset": (
        lambda: pulsar.search(FB, "fast-19beam", dm_max=60),
        r"load_config\('fast-19beam', \[\"dedisp.dm_hi=60\"\]\)$",
    ),
    "a search that is switched off": (lambda: pulsar.search(FB, no_ffa=True), r'\["ffa.enabled=false"\]'),
    "cleaning that is switched off": (
        lambda: pulsar.dedisperse(FB, 5, no_rfi=True),
        r'\["rfi.enabled=false", "rfi.clip=0.0"\]',
    ),
    "a setting with a unit": (lambda: pulsar.search(FB, dm_hi=60 * u.m), r'\["dedisp.dm_hi=\.\.\."\]'),
    "an option in hours": (lambda: pulsar.search(FB, ra="05:34:31"), r'\["input.ra_deg=\.\.\."\]'),
    "a list of one": (lambda: pulsar.search(FB, subtract="X.par"), r'subtract.pulsars=\[\\"X.par\\"\]'),
    "a setting of several sections": (lambda: pulsar.search(FB, threshold=3), r'"fft.threshold=3", "coherent.'),
    "a setting that a function does not use": (
        lambda: pulsar.dedisperse(FB, dm_hi=60),
        "dedisperse: no argument 'dm_hi'(; did you mean dm|: it has data, dm, dms, config, progress)",
    ),
    "an argument misspelt": (lambda: pulsar.search_fft(TS, pmin=1), "search_fft: no argument 'pmin'; did you mean p_m"),
    "an argument that is none": (lambda: pulsar.plot(TS, qq=1), "plot: no argument 'qq': it has what, candidate, head"),
    "no period": (lambda: pulsar.fold(TS), "either period .* or par"),
    "period and ephemeris": (lambda: pulsar.fold(TS, 0.1, par="a.par"), "either period .* or par"),
    "dm with an ephemeris": (lambda: pulsar.fold(TS, dm=3, par="a.par"), "an ephemeris has its own"),
    "a period of 0": (lambda: pulsar.fold(TS, 0), "period = 0 s: expected a number > 0"),
    "a period below two samples": (lambda: pulsar.fold(TS, 1e-3), "shorter than two samples"),
    "no dm in a fold": (lambda: pulsar.fold(FB, 0.1), r"fold: give the dm \[pc / cm3\]"),
    "two bins": (lambda: pulsar.fold(TS, 0.1, nbins=2), "fold: fold.nbins = 2: expected an integer >= 4 and <= 1024"),
    "an odd number of bins": (
        lambda: pulsar.fold(TS, 0.1, nbins=65, refine=False),
        "fold.nbins = 65: is odd: expected an integer >= 4 and <= 1024 .*an even number",
    ),
    "no sub-integration": (lambda: pulsar.fold(TS, 0.1, nsub=0), "fold.nsubints = 0"),
    "freqs that do not fit": (
        lambda: pulsar.Filterbank.from_array(DATA, FREQS[:3], 1.0),
        r"shape \(100, 4\), freqs has 3 channels",
    ),
    "freqs that do not fit the order": (
        lambda: pulsar.Filterbank.from_array(DATA, FREQS, 1.0, order="channel, time"),
        "freqs has 4 channels",
    ),
    "uneven channels": (
        lambda: pulsar.Filterbank.from_array(DATA, [1400, 1401, 1402, 1404], 1.0),
        "uneven channels: 1404 and 1402 MHz",
    ),
    "a channel twice": (lambda: pulsar.Filterbank.from_array(DATA, [1400] * 4, 1.0), "uneven channels"),
    "freqs in Hz": (lambda: pulsar.Filterbank.from_array(DATA, np.array(FREQS) * 1e6, 1.0), "numbers are MHz"),
    "freqs in s": (
        lambda: pulsar.Filterbank.from_array(DATA, FREQS * u.s, 1.0),
        "freqs = .*expected a number > 0, in MHz",
    ),
    "one channel": (lambda: pulsar.Filterbank.from_array(DATA[:, :1], [1400], 1.0), "pulsar.TimeSeries"),
    "an order that is none": (lambda: pulsar.Filterbank.from_array(DATA, FREQS, 1.0, order="x"), "order = 'x'"),
    "beam 0": (lambda: pulsar.Filterbank.from_array(DATA, FREQS, 1.0, beam=0), "beam = 0"),
    "a config that is none": (lambda: pulsar.search(TS, config=5), "config: an int: expected a pulsar.Config"),
    "a preset that is none": (lambda: pulsar.search(TS, config="fast19beam"), "did you mean the preset 'fast-19beam'"),
    "a scratch folder that is none": (
        lambda: pulsar.search(TS, pulsar.load_config(None, ["run.scratch=/no/such"])),
        "run.scratch = '/no/such': no such folder",
    ),
    "progress that is none": (lambda: pulsar.search(TS, progress="yes"), "progress = 'yes': expected True or False"),
    "nothing to inject": (lambda: pulsar.inject(FB), "nothing to inject"),
    "a dict for a list": (lambda: pulsar.inject(FB, pulsars={"period": 1}), r"pulsars: expected a list"),
    "a field that is none": (lambda: pulsar.inject(FB, pulsars=[{"perod": 1}]), "perod.*did you mean.*period"),
    "a field of another unit": (lambda: pulsar.inject(FB, pulsars=[{"period": 1 * u.m}]), "period = 1.0 m: expected"),
    "a unit where there is none": (
        lambda: pulsar.inject(FB, pulsars=[{"period": 1, "snr": 5 * u.s}]),
        "snr = 5.0 s: expected a number without a unit",
    ),
    "threads below 0": (lambda: pulsar.simulate(nchans=4, nsamps=10, threads=-1), "threads = -1"),
    "no kind of file": (lambda: pulsar.simulate("a.dat", nchans=4, nsamps=10), r"\.fil \(SIGPROC\)"),
    "options without a file": (lambda: pulsar.simulate(nchans=4, nsamps=10, output={"npol": 2}), "no path"),
    "a field of no sky": (lambda: pulsar.simulate(nchan=4, nsamps=10), "nchan"),
    "a text to draw": (lambda: pulsar.plot("a.fil"), "plot: a str cannot be drawn"),
    "a picture of no kind": (lambda: pulsar.plot(TS, path="y.foo"), r"y.foo: expected a name .* \.png, \.pdf or \.svg"),
    "a picture without a suffix": (lambda: pulsar.plot(TS, path="y"), r"y: expected a name .* \.png, \.pdf or \.svg"),
    "a cube to draw": (lambda: pulsar.plot(np.zeros((2, 2, 2))), "expected two dimensions|expected one dimension"),
    "files in a list for open": (lambda: pulsar.open(["a.fil", "b.fil"]), r"pulsar.open\(\*files\)"),
    "a run to read": (lambda: pulsar.read(5), "read: an int is no path"),
    "the mask of a series": (lambda: pulsar.rfi(TS), "no channels to mask"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_call_has_one_message(what):
    call, message = WRONG[what]
    with pytest.raises(ConfigError, match=message) as caught:
        call()
    assert len(str(caught.value)) < 300


def test_data_that_cannot_be_used_are_no_wrong_call(tmp_path):
    with pytest.raises(DataError, match="at least 256"):
        pulsar.search_fft(X[:100], 1e-3)
    with pytest.raises(DataError, match="no such file"):
        pulsar.search(tmp_path / "a.fil")
    with pytest.raises(DataError, match="no such file"):
        pulsar.open(tmp_path / "a.fil")
    with pytest.raises(DataError, match="no such file"):
        pulsar.read(tmp_path / "a.h5")
    with pytest.raises(DataError, match="no such file"):
        pulsar.fold(TS, par=tmp_path / "a.par")
    with pytest.raises(DataError):
        pulsar.fold(pulsar.TimeSeries(np.ones(2000, "f4"), 1e-3), 0.1)
    with pytest.raises(DataError, match=r"^the observation: 10 samples are too few .*: give a longer one$"):
        pulsar.search(pulsar.TimeSeries(X[:10], 1e-3))
    with pytest.raises(DataError, match=r"^X: 10 samples are too few"):
        pulsar.search(pulsar.Filterbank.from_array(DATA[:10], FREQS, 1e-3, source="X"))


@pytest.mark.parametrize("call", [pulsar.search, pulsar.search_fft, pulsar.search_ffa, pulsar.search_single_pulse])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros(20_000, "f4"), "all 20000 finite samples are the same: there is nothing to search"),
        (np.full(20_000, 7, "i2"), "all 20000 finite samples are the same"),
        (np.where(np.arange(20_000) < 9, np.nan, 3.0), "all 19991 finite samples are the same"),
        (np.full(20_000, np.nan), "no sample is a finite number: there is nothing to search"),
    ],
    ids=["zeros", "integers", "partly missing", "missing"],
)
def test_a_series_in_which_nothing_is_left_is_not_searched(call, data, message):
    with pytest.raises(DataError, match=message):
        call(pulsar.TimeSeries(data, 1e-3))


@pytest.mark.parametrize("name", ["search", "fold", "dedisperse", "rfi", "inject", "plot", "open", "search_accel"])
def test_arguments_that_are_none_are_not_shown_by_help(name):
    parameters = inspect.signature(getattr(pulsar, name)).parameters.values()
    assert [p.name for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD] == []
    with pytest.raises(ConfigError, match=f"^{name}: no argument 'xyzzy'"):
        getattr(pulsar, name)(xyzzy=1)


def test_the_settings_of_options_are_those_of_the_command_line():
    commands = (
        search.search, folds.fold, epochs.follow, samples.dedisperse, search.completeness, search.orbits,
    )  # fmt: skip
    options = {name for command in commands for name in inspect.signature(command).parameters}
    assert set(OPTIONS) - options == set()
    with pytest.raises(ConfigError) as caught:
        pulsar.search(FB, period=(5, 60))
    asked = eval(str(caught.value).partition("config=")[2])
    assert asked == Settings(None, (), {"period": ("5", "60")}).config() != pulsar.load_config()
    every = {f"{section}.{key}" for section, key, _ in keys()}
    assert [key for option in OPTIONS.values() for key in option.keys if key not in every] == []


UNUSUAL = {
    "GHz": ([1.2, 1.3, 1.4, 1.5], 1e-3, "freqs are 1.2 to 1.5 MHz, telescopes have 8 to 1e.06: is their unit right"),
    "kHz": (np.array(FREQS) * 1e3, 1e-3, "freqs are 1.4e.06 to .* MHz"),
    "ms": (FREQS, 500.0, "tsamp 500 s is longer than 10 s: is its unit right"),
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_numbers_of_an_unusual_size_are_asked_about(what):
    freqs, tsamp, message = UNUSUAL[what]
    with pytest.warns(UserWarning, match=message) as told:
        pulsar.Filterbank.from_array(DATA, freqs, tsamp)
    assert [one.filename for one in told] == [__file__]


@pytest.mark.parametrize(("low", "tsamp"), [(8.0, 1e-3), (10.0, 0.5), (950_000.0, 1e-6), (1400.0, 10.0)])
def test_numbers_that_telescopes_have_are_taken_without_a_word(low, tsamp):
    assert pulsar.Filterbank.from_array(DATA, low + np.arange(4.0), tsamp).header.tsamp == tsamp


def test_quantities_in_any_unit_are_right_calls():
    assert pulsar.TimeSeries(X, 1 * u.ms).tsamp == pytest.approx(1e-3)
    assert pulsar.TimeSeries(X, np.float32(0.5)).tsamp == 0.5
    assert number("dm", 3 * u.Unit("pc / cm3"), "pc / cm3 >= 0") == 3.0
    assert number("dm", np.array(3), "pc / cm3 >= 0") == 3.0
    in_ms = pulsar.search_fft(X, 1 * u.ms, p_max=50 * u.ms, threshold=-3)
    plain = pulsar.search_fft(TS, p_max=0.05, threshold=-3)
    assert len(plain) > 0
    np.testing.assert_array_equal(in_ms["freq"], plain["freq"])
    assert in_ms["dm"].unit == u.pc / u.cm**3


def test_the_decorator_keeps_what_a_function_is():
    @quantities(period="s > 0")
    def half(period: float, scale: float = 0.5) -> float:
        """Half of it."""
        return period * scale

    assert half.__doc__ == "Half of it."
    assert half(4 * u.ms) == pytest.approx(2e-3)
    assert half(period=4) == 2
    with pytest.raises(TypeError, match=r"half\(\) missing 1 required"):
        half()
    with pytest.raises(ConfigError, match="period = -1 s"):
        half(-1)
