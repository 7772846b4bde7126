"""Options that set settings: help and check are those of the model, and texts become values of it."""

from pathlib import Path
from typing import Any

import pytest
from reference.command import run

from pulsar.cli.options import Settings, described, inputs
from pulsar.config.load import keys, load_config
from pulsar.config.model import GROUPS, OPTIONS


@pytest.mark.parametrize(
    ("option", "sets"),
    [
        ({"dm": ("5", "60.5")}, ["dedisp.dm_lo=5", "dedisp.dm_hi=60.5"]),
        ({"snr": ("6", "1e1")}, ["completeness.snr=[6, 10]"]),
        ({"mask": "5"}, ['rfi.mask="5"']),
        ({"nharm": "8"}, ["orbits.nharm=8"]),
        ({"ra": "05:34:30"}, ["input.ra_deg=83.625"]),
        ({"ra": "83.625", "dec": "-22:30:00"}, ["input.ra_deg=83.625", "input.dec_deg=-22.5"]),
        ({"parts": "1,4"}, ["search.parts=[1, 4]"]),
        ({"bands": "1,4"}, ["single_pulse.bands=[1, 4]"]),
        ({"zap": ["1100:1200", "1300:1300"]}, ["rfi.zap=[[1100, 1200], [1300, 1300]]"]),
        ({"subtract": ["1e3", "a.par"]}, ['subtract.pulsars=["1e3", "a.par"]']),
        ({"no_rfi": True, "no_ffa": True}, ["rfi.enabled=false", "rfi.clip=0", "ffa.enabled=false"]),
        ({"completeness": False}, ["completeness.enabled=false"]),
    ],
)
def test_an_option_sets_what_its_keys_would(option: dict[str, Any], sets: list[str]) -> None:
    assert Settings(None, (), option).config() == load_config(None, sets) != load_config()


def test_ranges_to_zap_come_on_top_of_those_of_the_settings() -> None:
    given = Settings(None, ["rfi.zap=[[1, 2]]"], {"zap": ["3:4"]})
    assert given.config().rfi.zap == ((1.0, 2.0), (3.0, 4.0))


def test_options_come_before_single_settings() -> None:
    assert Settings(None, ["fold.ncands=3"], {"ncands": "4"}).config().fold.ncands == 4


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--ncands", "many"), 'fold.ncands = "many": expected an integer >= 0'),
        (("--zmax", "2000"), "accel.zmax = 2000: expected a number >= 0 and <= 1200"),
        (("--dm", "0", "high"), 'dedisp.dm_hi = "high": expected a number'),
        (("--zerodm", "maybe"), 'rfi.zerodm = "maybe": expected one of off, mean, zdot'),
        (("--parts", "1;2"), "--parts 1;2: expected whole numbers, such as 1,2,4"),
        (("--bands", "1;2"), "--bands 1;2: expected whole numbers, such as 1,2,4"),
        (("--parts", "1,2,2"), "give different whole numbers from 1 to 64"),
        (("--ra", "north"), "--ra north: expected hh:mm:ss.s or a number of degrees"),
        (("--dec", "95"), "input.dec_deg = 95.0: expected a number >= -90 and <= 90"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_expected(tmp_path: Path, args: tuple[str, ...], message: str) -> None:
    code, out, err = run("search", tmp_path / "a.fil", *args)
    assert (code, out) == (2, "")
    assert message in err


def test_every_option_is_described_by_the_model() -> None:
    fields = {f"{section}.{key}": field for section, key, field in keys()}
    for name, option in OPTIONS.items():
        text, default = described(name)
        assert text[0].isupper()
        assert text.endswith(f"({', '.join(option.keys)}).")
        own = [str(fields[key].description) for key in option.keys]
        assert option.text or option.off or all(about[1:] in text for about in own)
        assert default or option.off or all(not isinstance(fields[key].default, int | float) for key in option.keys)
    assert described("dm") == ("Range of DM [pc/cm3] (dedisp.dm_lo, dedisp.dm_hi).", "0 500")
    assert described("no_ffa") == ("No fast folding search for long periods (ffa.enabled).", "")
    assert {name for names in GROUPS.values() for name in names} <= OPTIONS.keys()


def test_help_shows_settings_and_their_defaults() -> None:
    code, out, _ = run("search", "--help")
    text = " ".join(out.split())
    assert code == 0
    assert "--ncands N Candidates folded (fold.ncands). [default: (100)]" in text
    assert "--completeness / --no-completeness Inject signals" in text
    # Of another command of the same name it is an option of its own.
    assert "--dm DM DM to search [pc/cm3]; may be repeated." in " ".join(run("orbits", "--help")[1].split())


def test_all_that_settings_name_is_an_input() -> None:
    config = load_config(None, ['rfi.mask="m.h5"', 'subtract.pulsars=["x.par", "run.h5:c0001"]'])
    assert inputs([Path("a.fil")], config) == [Path("a.fil"), Path("m.h5"), Path("x.par"), Path("run.h5")]
