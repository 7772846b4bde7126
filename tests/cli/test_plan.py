"""``pulsar plan`` of folders."""

import json
from pathlib import Path

import pytest
from reference.command import run

from pulsar.data.text import duration
from pulsar.synthesis.model import Sky
from pulsar.synthesis.write import write_psrfits


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("night")
    for beam in (1, 2, 5):
        sky = Sky(nchans=16, fch1=1450.0, foff=-25.0, tsamp=1e-3, nsamps=8192, beam=beam, source="SRC", tstart=59000.0)
        (path,) = write_psrfits(sky, folder / f"SRC_tracking-M{beam:02d}.fits", npol=1, threads=1)
        path.rename(folder / f"SRC_tracking-M{beam:02d}_0001.fits")
    return folder


def test_a_folder_is_planned_as_it_would_be_searched(night: Path) -> None:
    options = ("--dm", 0, 100, "--threads", 1, "--memory", "2GiB")
    code, out, err = run("plan", night, *options)
    assert code == 0, err
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == [f"SRC_20200531_M{b:02d}" for b in (1, 2, 5)]
    assert lines[4].startswith("3 searches of 24.6 s of data, one after the other: about ")
    record = json.loads(run("plan", night, *options, "--json")[1])
    alone = json.loads(run("plan", night / "SRC_tracking-M02_0001.fits", *options, "--json")[1])
    assert record["plans"][1] == {"name": record["plans"][1]["name"], **alone}
    assert {"costs", "dms", "freqs"}.isdisjoint(alone)
    assert record["totals"]["seconds"] == pytest.approx(3 * sum(alone["seconds"].values()))
    assert run("plan", night, *options, "--beams", "1,5")[1].splitlines()[3].startswith("2 searches")


def test_the_dm_plan_is_drawn(night: Path, tmp_path: Path) -> None:
    file = night / "SRC_tracking-M02_0001.fits"
    picture = tmp_path / "plan.svg"
    code, _, err = run("plan", file, "--dm", 0, 2000, "--threads", 1, "--memory", "2GiB", "--plot", picture)
    assert code == 0, err
    text = picture.read_text()
    for told in ("all together", "best possible", "in the channels", "DM step", "smearing [ms]"):
        assert f"<!-- {told} -->" in text
    assert "exists already" in run("plan", file, "--plot", picture)[2]
    for args in ((night,), (file, "--segment", 1)):
        code, _, err = run("plan", *args, "--plot", tmp_path / "other.png")
        assert (code, "draws the plan of one observation" in err) == (2, True)
    assert "ends in .png" in run("plan", file, "--plot", tmp_path / "plan.jpg")[2]
    assert [path.name for path in tmp_path.iterdir()] == ["plan.svg"]


def test_what_cannot_be_searched_is_told(night: Path) -> None:
    code, out, err = run("plan", night, "--dm", 90000, 100000)
    assert code == 2
    assert err.count("give DMs below") == 3
    assert "0 searches" in out


def test_durations() -> None:
    assert [duration(s) for s in (0.123456, 59.94, 200, 7500)] == ["0.123 s", "59.9 s", "3 min 20 s", "2 h 05 min"]
