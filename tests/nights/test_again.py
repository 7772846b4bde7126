"""Products of several nights as one list: what was seen again rises, what is on the ground does not."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pulsar.cli.app import app
from pulsar.config.load import load_config
from pulsar.data.candidate import CANDIDATE_COLUMNS, SINGLE_PULSE_COLUMNS, empty_table
from pulsar.data.header import Header
from pulsar.io.product.provenance import Provenance
from pulsar.io.product.reader import Run, read
from pulsar.io.product.writer import ProductWriter, Target
from pulsar.nights.merge import MOST_RAISED, merge, raised
from pulsar.report.page import write_report
from pulsar.report.why import Question, why
from pulsar.report.words import judged
from pulsar.run import search
from pulsar.sky.barycentre import motion_of
from pulsar.synthesis.model import Pulsar, Sky
from pulsar.synthesis.write import write_filterbank

CONFIG = load_config(None)
#: A weak pulsar in two nights, a line at one topocentric period everywhere.
PERIOD, DM, LINE = 0.0893417, 67.3, 0.0371


def header(night: int, field: int) -> Header:
    return Header(
        nchans=64, nsamps=600_000, tsamp=1e-3, fch1=1450.0, foff=-6.25, tstart=59000.0 + 40.0 * night + 0.02 * field,
        telescope="FAST", source=f"F{field}", ra_deg=100.0 + field, dec_deg=20.0, beam=1,
    )  # fmt: skip


def product(folder: Path, night: int, field: int, count: int = 40, seed: int = 0) -> Path:
    """A product of random weak candidates; field 0 has the pulsar, every field the line."""
    rng = np.random.default_rng(1000 * seed + 10 * night + field)
    own = header(night, field)
    motion = motion_of(own)
    table = empty_table(CANDIDATE_COLUMNS, count)
    table["rank"] = np.arange(1, count + 1)
    table["id"] = [f"c{i + 1:04d}" for i in range(count)]
    table["uid"] = [f"{night}{field}{i:04d}" for i in range(count)]
    table["kind"] = "fft"
    table["period"] = 10 ** rng.uniform(-2.5, 0.5, count)
    table["dm"], table["dm_err"] = rng.uniform(2.0, 400.0, count), 0.5
    table["snr"], table["score"] = rng.uniform(6.0, 7.5, count), rng.uniform(0.0, 0.2, count)
    table["period"][1], table["score"][1], table["snr"][1] = LINE, 0.6, 20.0
    if field == 0:
        # Topocentric of one barycentric period.
        table["period"][0], table["dm"][0] = PERIOD * (1.0 + motion.voverc), DM + 0.3 * night
        table["snr"][0], table["score"][0] = 6.5, 0.05
    table["period_err"] = 2e-6 * table["period"]
    table["freq"] = 1.0 / table["period"]
    table["ra_deg"], table["dec_deg"], table["beam"] = own.ra_deg, own.dec_deg, 1
    table["epoch"] = own.tmid
    table["obs"] = 0
    path = folder / f"F{field}_{night}.h5"
    with ProductWriter(path) as writer:
        writer.observation(own)
        writer.table("candidates", table)
        writer.provenance(Provenance(("pulsar",), (), "", 1).record({"search": (1.0, 1.0)}))
    return path


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("nights")
    return [product(folder, night, field) for night in range(2) for field in range(4)]


@pytest.fixture(scope="module")
def merged(nights: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return merge([read(path) for path in nights], Target(tmp_path_factory.mktemp("merged") / "ALL.h5"), CONFIG)


def at(run: Run, period: float) -> np.ndarray:
    rows = run.rows("candidates")
    return rows[np.abs(rows["period"] / period - 1.0) < 2e-4]


def test_a_weak_pulsar_of_two_nights_is_the_first_row(merged: Run) -> None:
    first = merged.rows("candidates")[0]
    assert first["period"] == pytest.approx(PERIOD, rel=2e-4)
    assert first["nseen"] == 2
    assert first["chance"] < 1e-6
    assert first["score_alone"] == pytest.approx(0.05)
    assert first["score"] > 0.9
    assert "seen at MJD 59000.00, 59040.00" in str(first["reasons"])
    second = at(merged, PERIOD)[1]
    assert (second["harmonic_of"], second["parent"], second["relation"]) == (first["id"], first["uid"], "sighting")
    assert second["reasons"].startswith("as at MJD 59000.00: period within")
    rows = merged.rows("candidates")
    assert list(rows["harmonic_of"] != "").count(True) == 1


def test_a_line_of_all_directions_sinks_and_says_why(merged: Run) -> None:
    lines = at(merged, LINE)
    assert len(lines) == 8
    assert all(row["rfi_flags"] == "terrestrial" for row in lines)
    assert lines["score"] == pytest.approx(0.06)
    assert lines["score_alone"] == pytest.approx(0.6)
    assert all("topocentric period as at" in str(row["reasons"]) for row in lines)
    assert (lines["nseen"] == 1).all()


def test_nothing_else_rises(merged: Run) -> None:
    rows = merged.rows("candidates")
    others = rows[(rows["nseen"] == 1) & (rows["rfi_flags"] == "")]
    assert len(others) == 8 * 39 - 2
    assert (others["score"] < 0.3).all()
    assert (others["score"] >= others["score_alone"]).all()


def test_nights_that_come_later_are_merged_with_the_list(nights: list[Path], merged: Run, tmp_path: Path) -> None:
    early = merge([read(path) for path in nights[:4]], Target(tmp_path / "early.h5"), CONFIG)
    assert not (early.rows("candidates")["nseen"] > 1).any()
    both = merge([early, *(read(path) for path in nights[4:])], Target(tmp_path / "both.h5"), CONFIG)
    again = merge([read(merged.path)], Target(tmp_path / "again.h5"), CONFIG)
    for run in (both, again):
        for key in ("id", "uid", "nseen", "relation", "rfi_flags", "harmonic_of"):
            np.testing.assert_array_equal(run.rows("candidates")[key], merged.rows("candidates")[key])
        for key in ("score", "score_alone", "chance"):
            # Sums are in the order of the rows.
            np.testing.assert_allclose(run.rows("candidates")[key], merged.rows("candidates")[key], rtol=1e-12)


def test_the_tables_page_and_why_tell_it(nights: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "all.h5"
    result = CliRunner().invoke(app, ["sift", *map(str, nights), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "1 of them seen at several times" in result.output
    shown = CliRunner().invoke(app, ["candidates", str(out), "--top", "3"]).output.splitlines()
    assert "times" in shown[0].split()
    assert "chance" in shown[0].split()
    everything = CliRunner().invoke(app, ["candidates", str(out), "--all"]).output
    assert "sighting of c0001" in everything
    page = write_report([read(out)], tmp_path / "report").read_text()
    assert '"nseen"' in page
    told = "\n".join(why(read(out), Question(freq=1.0 / PERIOD)))
    assert "seen at 2 times (chance " in told
    assert "seen at MJD 59000.00, 59040.00" in told


def night_of_bursts(folder: Path, night: int) -> Path:
    """A product with single pulses at any DM, one of a repeater, and one that is flagged."""
    rng = np.random.default_rng(night)
    own = header(night, 0)
    pulses = empty_table(SINGLE_PULSE_COLUMNS, 12)
    pulses["rank"] = np.arange(1, 13)
    pulses["id"] = [f"p{i + 1:04d}" for i in range(12)]
    pulses["time"] = rng.uniform(1.0, 500.0, 12)
    pulses["dm"], pulses["dm_err"], pulses["width"] = rng.uniform(2.0, 100.0, 12), 0.4, 0.003
    pulses["dm"][0], pulses["snr"], pulses["sigma"], pulses["score"] = 557.0 + 0.3 * night, 12.0, 9.0, 0.6
    pulses["dm"][1], pulses["rfi_flags"][1] = 300.0, "narrow-band"
    pulses["ra_deg"], pulses["dec_deg"], pulses["beam"], pulses["obs"] = own.ra_deg, own.dec_deg, 1, 0
    path = folder / f"bursts_{night}.h5"
    with ProductWriter(path) as writer:
        writer.observation(own)
        writer.table("candidates", empty_table(CANDIDATE_COLUMNS, 0))
        writer.table("single_pulses", pulses)
        writer.provenance(Provenance(("pulsar",), (), "", 1).record({"search": (1.0, 1.0)}))
    return path


def test_bursts_of_one_dm_and_direction_are_told_with_their_chance(tmp_path: Path) -> None:
    out = tmp_path / "all.h5"
    given = [str(night_of_bursts(tmp_path, night)) for night in range(3)]
    result = CliRunner().invoke(app, ["sift", *given, "--out", str(out)])
    assert result.exit_code == 0, result.output
    rows = read(out).rows("single_pulses")
    repeater = rows[np.abs(rows["dm"] - 557.0) < 1.0]
    assert repeater["nseen"].tolist() == [3, 3, 3]
    assert np.all(repeater["chance"] < 1e-3)
    assert set(rows["nseen"][np.abs(rows["dm"] - 557.0) > 1.0]) == {1}
    assert np.isnan(rows["chance"][rows["rfi_flags"] != ""]).all()
    np.testing.assert_array_equal(rows["score"], np.float32(0.6))
    shown = CliRunner().invoke(app, ["candidates", str(out), "--single-pulses"]).output.splitlines()
    assert {"times", "chance"} <= set(shown[0].split())
    # Merged again it says the same.
    again = tmp_path / "again.h5"
    assert CliRunner().invoke(app, ["sift", str(out), "--out", str(again)]).exit_code == 0
    np.testing.assert_array_equal(read(again).rows("single_pulses")["chance"], rows["chance"])
    assert ("seen again", f"3 times in all, by chance with {repeater['chance'][0]:.1e}") in judged(
        {name: repeater[name][0].item() for name in repeater.dtype.names}
    )


def test_a_score_rises_by_what_chance_would_not_do_and_no_more() -> None:
    assert raised(0.2, 1.0, 1.0) == raised(0.2, 1.0, 50.0) == 0.2
    assert raised(0.2, 1.0, 0.1) == pytest.approx(10 * 0.25 / (1 + 10 * 0.25))
    assert raised(0.02, 0.1, 1e-9) < 0.1
    most = np.exp(MOST_RAISED) * 0.25
    assert raised(0.2, 1.0, 1e-200) == pytest.approx(most / (1 + most))


def test_two_short_nights_of_one_pulsar(tmp_path: Path) -> None:
    """The Doppler shift of half a year between them, and another pulsar near in period in the second night."""
    common = ["dedisp.dm_hi=120", "ffa.enabled=false", "single_pulse.enabled=false", "rfi.learn=false", "fold.ncands=6"]
    config = load_config(None, [*common, "run.threads=1"])
    period, dm = 0.0213, 60.0
    found = []
    for night, tstart in enumerate((59122.0, 59304.0)):
        sky = Sky(
            nchans=32, fch1=1450.0, foff=-12.5, tsamp=1e-3, nsamps=1 << 15, seed=night, source="F", tstart=tstart,
            ra_deg=100.0, dec_deg=20.0, telescope="FAST", beam=1,
        )  # fmt: skip
        doppler = 1.0 + motion_of(sky.header).voverc
        pulsars = [Pulsar(period=period * doppler, dm=dm, snr=14.0, duty=0.1)]
        if night:
            pulsars.append(Pulsar(period=period * doppler * 1.0003, dm=15.0, snr=14.0, duty=0.1))
        sky = sky.model_copy(update={"pulsars": tuple(pulsars)})
        path = write_filterbank(sky, tmp_path / f"{night}.fil", threads=1)
        found.append(search([path], config, tmp_path / f"{night}.h5"))
    run = merge(found, Target(tmp_path / "ALL.h5"), config)
    rows = run.rows("candidates")
    same = rows[(np.abs(rows["dm"] - dm) < 15) & (np.abs(rows["period"] / period - 1.0) < 5e-4)]
    assert len(same) == 2
    assert abs(same["period"][0] / same["period"][1] - 1.0) > 1e-4
    assert same["nseen"].tolist() == [2, 2]
    assert sorted(same["harmonic_of"].tolist()) == ["", same["id"][0]]
    assert same["chance"][0] < 1e-3
    other = rows[(np.abs(rows["dm"] - 15.0) < 10) & (np.abs(rows["period"] / period - 1.0) < 1e-3)]
    assert len(other) == 1
    assert other["nseen"][0] == 1
