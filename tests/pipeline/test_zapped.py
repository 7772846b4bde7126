"""What is said of ranges that are zapped before anything is looked at."""

import io
from pathlib import Path

import pytest

from pulsar.config.load import load_config
from pulsar.config.model import RfiConfig
from pulsar.data.header import Header
from pulsar.io.open import open_observation
from pulsar.pipeline.cleaning import tell_zapped
from pulsar.pipeline.plan import dry_run
from pulsar.pipeline.progress import Level, Progress
from pulsar.synthesis.model import Sky
from pulsar.synthesis.write import write_filterbank

HEADER = Header(nchans=100, nsamps=1000, tsamp=1e-3, fch1=1497.5, foff=-5.0, tstart=55000.0)


def told(level: Level, *zap: tuple[float, float]) -> str:
    stream = io.StringIO()
    tell_zapped(HEADER, RfiConfig(zap=zap), Progress("log", level=level, stream=stream))
    return stream.getvalue()


@pytest.mark.parametrize("outside", [(1.16, 1.28), (1500.0, 1510.0), (900.0, 1000.0)])
def test_a_range_outside_the_band_is_a_warning_that_names_the_band(outside: tuple[float, float]) -> None:
    text = told("warning", (1100.0, 1101.0), outside)
    assert text.count("warning") == 1
    assert f"{outside[0]:g} to {outside[1]:g} MHz lies outside the band from 1000 to 1500 MHz" in text


def test_the_share_that_is_zapped_is_told_and_a_large_one_is_a_warning() -> None:
    assert told("warning") == told("info") == told("warning", (999.0, 1001.0)) == ""
    assert "leaves out 1 % of the band" in told("info", (999.0, 1001.0))
    assert "leaves out 40 % of the band" in told("warning", (999.0, 1200.0))


def test_the_plan_tells_the_share(tmp_path: Path) -> None:
    path = write_filterbank(Sky(nchans=50, fch1=1495.0, foff=-10.0, tsamp=1e-3, nsamps=4000), tmp_path / "a.fil")
    with open_observation(path) as obs:  # type: ignore[attr-defined]
        plan = dry_run(obs, load_config("fast-19beam", ["dedisp.dm_hi=10"]))
    assert plan.zapped == pytest.approx(7 / 50)
    assert any("leaves out 14 % of the band" in line for line in plan.summary())
