"""Configuration: what wins, what comes back, and what the messages say."""

import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulsar.config.load import (
    COMMAND_LINE,
    PYTHON,
    Caller,
    expected,
    given_config,
    keys,
    load_config,
    preset_folder,
    presets,
    to_toml,
)
from pulsar.config.model import Config
from pulsar.config.resources import SMALLEST, free_memory, memory_budget, parse_size
from pulsar.errors import ConfigError


def test_the_default_is_the_model() -> None:
    assert load_config() == Config()
    assert load_config("default") == Config()


def test_preset_file_set_and_options_in_this_order(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('preset = "fast-19beam"\n[dedisp]\ndm_hi = 20\ntolerance = 0.5\n')
    config = load_config(file, ["dedisp.tolerance=0.75", "run.memory=2GiB"], run={"threads": 3}, fold={"ncands": None})
    assert config.rfi.zap == load_config("fast-19beam").rfi.zap
    assert config.fold.ncands == 200
    assert (config.dedisp.dm_hi, config.dedisp.tolerance) == (20.0, 0.75)
    assert (config.run.memory, config.run.threads) == ("2GiB", 3)
    assert load_config(file, ["dedisp.dm_hi=30"], **{"dedisp.dm_hi": 40.0}).dedisp.dm_hi == 40.0


def test_set_values_are_toml_or_words() -> None:
    config = load_config(
        None,
        ["rfi.zap=[[1160, 1280.5]]", "rfi.zerodm=true", "dedisp.method=brute", "fft.p_max = 1e-1", "input.tsamp=none"],
    )
    assert config.rfi.zap == ((1160.0, 1280.5),)
    assert config.rfi.zerodm == "mean"
    assert config.dedisp.method == "brute"
    assert config.fft.p_max == 0.1
    assert config.input.tsamp is None


@pytest.mark.parametrize("name", sorted(presets()))
def test_presets_are_valid_and_survive_toml(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    for with_help in (True, False):
        file = tmp_path / "out.toml"
        file.write_text(to_toml(config, with_help))
        assert load_config(file) == config


def test_there_is_a_preset_for_each_promised_survey() -> None:
    assert {"default", "fast-19beam", "fast-crafts-drift", "fast-gpps", "parkes-multibeam"} <= set(presets())
    assert preset_folder().is_dir()


def test_fast_preset_masks_the_band_edges() -> None:
    zap = load_config("fast-19beam").rfi.zap
    (_, low), (high, _) = zap
    assert 1020 < low < 1050
    assert 1450 < high < 1480
    assert (zap[0][0], zap[1][1]) == (999.0, 1501.0)
    # The rest is for the mask, which looks first.
    assert (low - 1000.0 + 1500.0 - high) / 500.0 < 0.15


def test_toml_explains_every_key() -> None:
    text = to_toml(Config())
    for section, key, field in keys():
        assert field.description, f"{section}.{key}"
        assert f"# {field.description} ({expected(field)})" in text
    assert "trial dms" in text.lower()
    assert tomllib.loads(text)["dedisp"]["dm_hi"] == 500.0


@settings(deadline=None, max_examples=25)
@given(
    st.floats(0, 1e5),
    st.text(max_size=20).filter(lambda t: "\r" not in t),
    st.lists(st.tuples(st.floats(1e-300, 1e6), st.floats(1e6, 1e300)), max_size=3),
    st.one_of(st.none(), st.floats(5e-324, 1e300)),
)
def test_any_configuration_survives_toml(
    tmp_path_factory: pytest.TempPathFactory, dm: float, text: str, zap: list[Any], step: float | None
) -> None:
    config = load_config(
        None, dedisp={"dm_hi": dm, "dm_step": step}, run={"scratch": text}, rfi={"zap": zap, "zerodm": "mean"}
    )
    file = tmp_path_factory.mktemp("toml") / "c.toml"
    file.write_text(to_toml(config), encoding="utf-8")
    assert load_config(file) == config


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ("dedisp.dm_hii=3", "no such key: dedisp.dm_hii; did you mean dedisp.dm_hi?"),
        ("dm_hi=3", "no such key: dm_hi; did you mean dedisp.dm_hi?"),
        ("dedisp.dm_max=3", "no such key: dedisp.dm_max; did you mean dedisp.dm_hi?"),
        ("dm_min=3", "no such key: dm_min; did you mean dedisp.dm_lo?"),
        ("dedsip.dm_hi=3", "no such key: dedsip.dm_hi; did you mean dedisp.dm_hi?"),
        ("zzz.qqq=3", "no such key: zzz.qqq; `pulsar config show` lists all keys"),
        ("dedisp", "expected section.key=value"),
        ("=3", "expected section.key=value"),
        ("dedisp=3", "no such key: dedisp"),
        ("dedisp.dm_hi=-3", "dedisp.dm_hi = -3: expected a number >= 0 and <= 100000 (highest DM [pc/cm3])"),
        ("dedisp.dm_hi=abc", 'dedisp.dm_hi = "abc": expected a number >= 0'),
        ("dedisp.dm_hi=inf", "dedisp.dm_hi = inf: expected a number >= 0 and <= 100000, finite"),
        ("rfi.zap=[[1.0, inf]]", "rfi.zap"),
        ("dedisp.dm_lo=900", "[dedisp] dm_lo 900 is above dm_hi 500: give the lower one first"),
        ("dedisp.tolerance=0", "expected a number > 0 and <= 10"),
        ("fft.nharm=7", "fft.nharm = 7: expected one of 1, 2, 4, 8, 16, 32"),
        ("fft.nharm=none", "expected one of 1, 2"),
        ("rfi.zap=[[3, 1]]", "zap range 3 to 1 MHz: give the lower frequency first"),
        ("rfi.enabled=maybe", "expected true or false"),
        ("fold.nbins=2.5", "fold.nbins = 2.5: expected an integer >= 4 and <= 1024"),
        ("run.memory=lots", "run.memory = 'lots': expected a size such as 4GiB"),
        ("batch.memory=lots", "batch.memory = 'lots': expected a size such as 4GiB"),
        ("run.memory=" + 400 * "9" + "B", "expected at most 1024TiB"),
        (
            "batch.walltime=foo",
            'batch.walltime = "foo": expected a text such as 24:00:00 (time limit of a job, hh:mm:ss)',
        ),
        ("run.memory='4'", "at least 64MiB (is the unit missing?)"),
        ("input.ra_deg=400", "expected a number >= 0 and < 360, may be unset"),
    ],
)
def test_messages(sets: str, message: str) -> None:
    """For those who type commands and those who write Python; each is told what they gave."""
    for caller, begin in ((COMMAND_LINE, f"--set {sets}: "), (PYTHON, f'load_config: "{sets}": ')):
        with pytest.raises(ConfigError) as caught:
            given_config(None, [sets], {}, caller)
        told = str(caught.value)
        assert message in told
        assert told.startswith(begin)


def test_several_faults_are_all_told(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[fold]\nnbins = 1\nncands = -1\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert str(caught.value).count(str(file)) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[dedisp\n", "not valid TOML"),
        ("dm_hi = 3\n", "stands outside a section; did you mean dedisp.dm_hi?"),
        ("[dedips]\ndm_hi = 3\n", "no such key: dedips.dm_hi; did you mean dedisp.dm_hi?"),
        ("[dedips]\n", "no such key: dedips"),
        ('preset = "fast"\n', "preset = 'fast': expected one of default, fast-19beam"),
        ("preset = 3\n", "preset = 3: expected one of"),
        ("[run]\nthreads = 'two'\n", 'run.threads = "two": expected an integer >= 0'),
    ],
)
def test_faults_in_files_name_the_file(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("fast19beam", "did you mean the preset 'fast-19beam'"),
        ("missing.toml", "neither a file nor a preset"),
        (".", "is a folder: expected a configuration"),
        ("x.fil", r"x\.fil: cannot be read"),
        ("dedisp.dm_hi=60", r'second argument: load_config\(None, \["dedisp.dm_hi=60"\]\)'),
    ],
)
def test_missing_or_unreadable_source(tmp_path: Path, monkeypatch, source: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.fil").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match=message):
        load_config(source)


def test_settings_in_place_of_a_file_are_told_as_options_to_who_types_commands() -> None:
    with pytest.raises(ConfigError, match=r"settings are given by --set dedisp\.dm_hi=60$"):
        given_config("dedisp.dm_hi=60", (), {})


@pytest.mark.parametrize(("caller", "who"), [(COMMAND_LINE, "the command line"), (PYTHON, "load_config")])
def test_unknown_override(caller: Caller, who: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{who}: no such key: fold.ncand; did you mean fold.ncands"):
        given_config(None, (), {"fold": {"ncand": 3}}, caller)


@pytest.mark.parametrize(
    ("args", "named", "message"),
    [
        ((None, "dedisp.dm_hi=60"), {}, r"sets = 'dedisp.dm_hi=60': expected a list of texts, such as \["),
        ((None, {"dedisp.dm_hi": 60}), {}, "sets = .*: expected a list of texts"),
        ((None, [("dedisp.dm_hi", 60)]), {}, "sets = .*: expected a list of texts"),
        ((["dedisp.dm_hi=60"],), {}, "source = .*: expected the name of a preset or a TOML file"),
        ((), {"dm_hi": 60}, r"dm_hi = 60: settings go by sections: dedisp=\{'dm_hi': 60\}$"),
        ((), {"dm_max": 60}, r"dm_max = 60: settings go by sections: dedisp=\{'dm_hi': 60\}$"),
        ((), {"qqqq": 60}, "qqqq = 60: settings go by sections; `pulsar config show`"),
        ((), {"dedisp": 60}, "dedisp = 60: a section: expected a dict of its keys"),
    ],
)
def test_a_wrong_call_has_one_line(args, named, message) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(*args, **named)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GiB", 4 << 30), ("512MB", 512_000_000), ("1.5 G", 3 << 29), ("800m", 800 << 20), ("1TB", 10**12)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert memory_budget(text) == size


def test_auto_memory() -> None:
    assert parse_size(" Auto ") is None
    assert SMALLEST <= memory_budget("auto") <= max(free_memory(), SMALLEST)


def test_expected_covers_every_type() -> None:
    for section, key, field in keys():
        words = expected(field)
        assert words, f"{section}.{key}"
        assert "typing" not in words
        assert words.endswith("may be unset") == (type(None) in get_args(field.annotation)), f"{section}.{key}"


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text(
        'stray = 1\n[fold]\nnbin = 3\nncands = -1\n[dedisp]\ndm_lo = nan\ndm_hi = "far"\n[run]\nmemory = "much"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_config(file, ["nothing", "fft.nharms=3"])
    lines = str(caught.value).splitlines()
    told = (
        "stray = 1",
        "fold.nbin;",
        "fold.ncands = -1",
        "dedisp.dm_lo = nan",
        'dedisp.dm_hi = "far"',
        "memory = 'much'",
    )
    for text in (*told, 'load_config: "nothing":', "fft.nharms;"):
        assert sum(text in line for line in lines) == 1, text
    assert len(lines) == 8
