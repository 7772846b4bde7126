"""Every row of a merged product is of its own observation: on the table, on the page and on the sheets."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pulsar.cli.app import app
from pulsar.cli.tables import print_candidates
from pulsar.config.load import load_config
from pulsar.data.candidate import CANDIDATE_COLUMNS, empty_table
from pulsar.data.direction import dms, galactic, hms
from pulsar.io.night import scan
from pulsar.io.product.reader import Run, read
from pulsar.io.product.writer import Target
from pulsar.nights.merge import merge
from pulsar.nights.night import jobs, search_night
from pulsar.report import sheet
from pulsar.report.figure import Sheet
from pulsar.report.page import write_report
from pulsar.report.words import About
from pulsar.sky.barycentre import motion_of
from pulsar.sky.catalogue import separation
from pulsar.sky.observatory import Receiver
from pulsar.synthesis.model import Burst, Pulsar, Sky
from pulsar.synthesis.write import write_psrfits

RECEIVER = Receiver(load_config("fast-19beam").receiver)
NSAMPS, NCHANS = 1 << 14, 32
BEAMS = (1, 2, 5)
SETTINGS = [
    "rfi.zap=[]", "dedisp.dm_hi=100", "ffa.enabled=false", "coherent.enabled=false", "fold.ncands=4", "fold.nbins=64",
    "fold.nbands=16", "run.threads=1", "rfi.common=false",
]  # fmt: skip


@dataclass(frozen=True)
class Pointing:
    """A source, where its middle beam is, when it was observed, and with which sampling."""

    source: str
    ra_deg: float
    dec_deg: float
    tstart: float
    tsamp: float

    def place(self, beam: int) -> tuple[float, float]:
        """Centre of a beam [deg]."""
        east, north = RECEIVER.offsets[beam]
        return self.ra_deg + east / 60 / np.cos(np.radians(self.dec_deg)), self.dec_deg + north / 60


CRAB = Pointing("J0534+2200", 83.63, 22.01, 59000.25, 512e-6)
FIELD = Pointing("G027.6-14.9", 293.9, -11.36, 59000.75, 256e-6)
POINTINGS = {p.source: p for p in (CRAB, FIELD)}
#: (source, beam) -> period, DM and S/N of the pulsar there; that of 0.1317 s is seen by two beams.
PULSARS = {
    (CRAB.source, 2): (0.0913, 40.0, 25.0),
    (CRAB.source, 5): (0.1571, 60.0, 25.0),
    (FIELD.source, 1): (0.1317, 80.0, 30.0),
    (FIELD.source, 2): (0.1317, 80.0, 22.0),
}
#: (source, beam) -> time [s] of a burst of DM 30.
BURSTS = {(CRAB.source, 1): 3.5, (FIELD.source, 5): 1.25}


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Path]:
    """Products of the six searches of a night of two sources and three beams, and what they were merged into."""
    folder = tmp_path_factory.mktemp("rows")
    for pointing in POINTINGS.values():
        for beam in BEAMS:
            key = (pointing.source, beam)
            ra, dec = pointing.place(beam)
            pulsars: tuple[Pulsar, ...] = ()
            if key in PULSARS:
                period, dm, snr = PULSARS[key]
                pulsars = (Pulsar(name="psr", period=period, dm=dm, snr=snr, duty=0.08),)
            bursts = (Burst(time=BURSTS[key], dm=30.0, snr=30.0, width=5e-3),) if key in BURSTS else ()
            sky = Sky(
                nchans=NCHANS, fch1=1450.0, foff=-12.5, tsamp=pointing.tsamp, nsamps=NSAMPS, beam=beam,
                seed=beam + ord(pointing.source[0]), source=pointing.source, pulsars=pulsars, bursts=bursts,
                ra_deg=ra, dec_deg=dec, tstart=pointing.tstart,
            )  # fmt: skip
            where = folder / "in" / pointing.source
            where.mkdir(parents=True, exist_ok=True)
            (path,) = write_psrfits(sky, where / f"{pointing.source}_tracking-M{beam:02d}.fits", npol=1, threads=1)
            path.rename(where / f"{pointing.source}_tracking-M{beam:02d}_0001.fits")
    config = load_config("fast-19beam", SETTINGS)
    outcome = search_night(jobs(scan([folder / "in"]), config, folder / "out"), config, folder / "out")
    assert not outcome.failures
    assert outcome.merged is not None
    return outcome.products, outcome.merged


@pytest.fixture(scope="module")
def night(products: tuple[list[Path], Path]) -> Run:
    return read(products[1])


def named(run: Run, period: float) -> dict[str, Any]:
    """The best candidate of that period."""
    rows = run.rows("candidates")
    ident = rows["id"][np.abs(rows["period"] - period) < 1e-3 * period][0]
    return run.candidate(str(ident))


def truth() -> Iterator[tuple[Pointing, float, tuple[int, ...]]]:
    """Pointing, period and beams of each pulsar of the night."""
    for period in sorted({period for period, _, _ in PULSARS.values()}):
        keys = [key for key, (p, _, _) in PULSARS.items() if p == period]
        yield POINTINGS[keys[0][0]], period, tuple(beam for _, beam in keys)


def texts(sheet: Sheet) -> list[str]:
    """Everything that is written on a sheet, each part of its lines."""
    return [part.strip() for line in sheet.labels.texts for part in line.split("·")]


def table_of(page: str, name: str) -> dict[str, Any]:
    """A table of the page, as it is stored in it."""
    stored = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert stored is not None
    (table,) = [t for t in json.loads(stored[1])["tables"] if t["id"] == name]
    return dict(table)


def cells(page: str, name: str, *columns: str) -> list[tuple[str, ...]]:
    """What some columns of a table of the page say, row by row."""
    table = table_of(page, name)
    at = [[c["key"] for c in table["columns"]].index(key) for key in columns]
    shown = [[c if isinstance(c, str) else c[1] for c in row["c"]] for row in table["rows"]]
    return [tuple(row[i] for i in at) for row in shown]


def test_the_product_holds_every_observation(products: tuple[list[Path], Path], night: Run) -> None:
    single = [read(path) for path in products[0]]
    assert [(h.source, h.beam) for h in night.observations] == [(s, b) for s in POINTINGS for b in BEAMS]
    assert list(night.observations) == sorted((run.observation for run in single), key=lambda h: (h.tstart, h.beam))
    stored = night.rows("observations")
    assert stored["obs"].tolist() == list(range(6))
    by_path = {str(run.path): run.observation for run in single}
    files = night.rows("observation/files")
    for row, header in zip(stored, night.observations, strict=True):
        assert by_path[str(row["product"])] == header
        (path,) = files["path"][files["obs"] == row["obs"]]
        assert Path(str(path)).name == f"{header.source}_tracking-M{header.beam:02d}_0001.fits"
        assert (row["tobs"], row["tsamp"]) == (header.tobs, header.tsamp)
    # What they do not share is of none of them; the start is the earliest.
    shared = night.observation
    assert (shared.source, shared.beam, shared.nsamps, shared.tstart) == ("", None, NSAMPS, CRAB.tstart)
    assert np.isnan([shared.ra_deg, shared.dec_deg, shared.tsamp]).all()
    assert "J0534+2200, G027.6-14.9 (6 observations)" in repr(night)
    page = night._repr_html_()
    assert "<td>G027.6-14.9</td>" in page
    assert "6 observations" in page
    missing = "not observed, or not given: beams 3, 4, 6, 7"
    for source, start in ((CRAB.source, "59000.25000"), (FIELD.source, "59000.75000")):
        assert any(p.startswith(f"{source}, MJD {start}: {missing}") for p in night.problems)


@pytest.mark.parametrize("table", ["candidates", "single_pulses"])
def test_rows_are_of_their_own_observation(night: Run, table: str) -> None:
    rows = night.rows(table)
    assert {str(t) for t in rows["target"]} == set(POINTINGS)
    for row in rows:
        header = night.observation_of(row)
        assert night.observation_of(str(row["id"])) == header
        assert (header.source, header.beam) == (row["target"], row["beam"])
        pointing = POINTINGS[header.source]
        assert header.beam is not None
        assert (header.tstart, header.tsamp) == (pointing.tstart, pointing.tsamp)
        assert (header.ra_deg, header.dec_deg) == pytest.approx(pointing.place(header.beam), abs=1e-6)
        # Between beams it lies less than their distance from the best one.
        away = separation(header.ra_deg, header.dec_deg, row["ra_deg"], row["dec_deg"]) * 60
        assert away == 0 if row["nbeams"] == 1 else 0.1 < away < 5.74
        assert [row["gl"], row["gb"]] == pytest.approx([float(v) for v in galactic(row["ra_deg"], row["dec_deg"])])


def test_pulsars_bursts_and_the_barycentre(night: Run) -> None:
    for pointing, period, beams in truth():
        row = named(night, period)
        assert (row["target"], row["beam"], row["nbeams"]) == (pointing.source, beams[0], len(beams))
        header = night.observation_of(row)
        assert row["epoch"] == pytest.approx(header.tmid, abs=1e-9)
        motion = motion_of(header.with_(ra_deg=row["ra_deg"], dec_deg=row["dec_deg"]))
        assert motion is not None
        assert row["period_bary"] == pytest.approx(1 / motion.freq(row["freq"]), rel=1e-13)
    # A wrong position or epoch would be seen.
    motions = [motion_of(h) for h in night.observations]
    assert np.ptp([m.voverc for m in motions if m is not None]) > 1e-5
    pulses = night.rows("single_pulses")
    for (source, beam), time in BURSTS.items():
        (pulse,) = pulses[(pulses["target"] == source) & (pulses["beam"] == beam) & (pulses["score"] > 0.5)]
        assert pulse["time"] == pytest.approx(time, abs=0.01)
        assert pulse["mjd"] == pytest.approx(POINTINGS[source].tstart + pulse["time"] / 86400, abs=1e-10)
        assert night.pulse(str(pulse["id"])).mjd == pytest.approx(pulse["mjd"], abs=1e-9)


def test_the_table_on_screen(products: tuple[list[Path], Path], night: Run) -> None:
    runner = CliRunner()
    shown = runner.invoke(app, ["candidates", str(night.path)]).stdout.splitlines()
    assert shown.pop().endswith("rows belong to another one: --all")
    assert shown[0].split()[:7] == ["rank", "id", "source", "beam", "beams", "RA", "Dec"]
    lines = [line.split()[1:7] for line in shown[1:]]
    rows = night.rows("candidates")
    rows = rows[rows["harmonic_of"] == ""]
    assert lines == [
        [str(r["id"]), str(r["target"]), str(r["beam"]), str(r["nbeams"]), hms(r["ra_deg"]), dms(r["dec_deg"])]
        for r in rows
    ]
    for pointing, period, beams in truth():
        line = next(line for line in lines if line[0] == named(night, period)["id"])
        assert line[1:4] == [pointing.source, str(beams[0]), str(len(beams))]
        # Seen by several it lies between them.
        ra, dec = pointing.place(beams[0])
        assert line[4:] == [hms(ra), dms(dec)] or len(beams) > 1
    pulses = runner.invoke(app, ["candidates", str(night.path), "--single-pulses"]).stdout.splitlines()
    assert pulses[0].split()[2:8] == ["source", "beam", "beams", "RA", "Dec", "MJD"]
    assert len({line.split()[2] for line in pulses[1:]}) == 2
    # Of one observation nothing of it is repeated in every line.
    one = runner.invoke(app, ["candidates", str(products[0][0])]).stdout
    assert "source" not in one.splitlines()[0]
    # And the same table after `pulsar sift`.
    out = night.path.with_name("again.h5")
    args = ["sift", *map(str, products[0]), "--out", str(out), "--config", "fast-19beam", "-q"]
    done = runner.invoke(app, args)
    assert done.exit_code == 0, done.output
    again = done.stdout.splitlines()
    assert again[:11] == shown[:11]
    assert sum(line in shown for line in again) == min(len(shown), 21)


def test_the_page_and_its_sheets(night: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, list[str]] = {}

    draw = sheet.draw

    def noted(paper: Sheet, subject: Any, about: About) -> None:
        draw(paper, subject, about)
        drawn[str(about.row["id"])] = texts(paper)

    monkeypatch.setattr(sheet, "draw", noted)
    page = write_report([night], tmp_path / "report", top=5, workers=1).read_text()
    rows = [night.candidate(str(i)) for i in night.rows("candidates")["id"]]
    pulses = [{k: r[k].item() for k in r.dtype.names} for r in night.rows("single_pulses")]
    place = ("id", "obs", "target", "beam", "nbeams", "ra_deg", "dec_deg")
    listed = {row[0]: row[1:] for table in ("candidates", "pulses") for row in cells(page, table, *place)}
    assert set(listed) == {r["id"] for r in (*rows, *pulses)}
    stored = {r["i"]: r for table in ("candidates", "pulses") for r in table_of(page, table)["rows"]}
    sheets = 0
    for row in (*rows, *pulses):
        header = night.observation_of(row)
        beam, place_of = str(header.beam), (hms(row["ra_deg"]), dms(row["dec_deg"]))
        assert listed[row["id"]] == (str(row["obs"]), header.source, beam, str(row["nbeams"]), *place_of)
        assert stored[row["id"]]["w"] == f"{header.source}, beam {beam}, {'  '.join(place_of)}"
        if row["id"] not in drawn:
            continue
        sheets += 1
        written = drawn[row["id"]]
        assert header.source in written
        assert str(night.files_of(row["obs"])[0].name) in written
        assert f"FAST, beam {beam}" in written
        assert f"MJD {POINTINGS[header.source].tstart:.6f}" in written
        assert f"{1e6 * POINTINGS[header.source].tsamp:.6g} µs" in written
        assert "  ".join(place_of) in written
        assert ["J2000", "  ".join(place_of)] in stored[row["id"]]["d"]
    assert sheets == 5 + min(5, len(pulses))
    # Sheets of both sources, and of several beams.
    shown = [night.observation_of(ident) for ident in drawn]
    assert {h.source for h in shown} == set(POINTINGS)
    assert {h.beam for h in shown} == set(BEAMS)
    for pointing, period, beams in truth():
        row = named(night, period)
        written = drawn[row["id"]]
        centre = "  ".join((hms(pointing.place(beams[0])[0]), dms(pointing.place(beams[0])[1])))
        # Of one beam its centre is the position; between two both are told.
        assert centre in written
        assert (f"2 beams, best in {beams[0]}" in written) == (len(beams) == 2)
    assert cells(page, "observations", "source", "telescope", "beam", "ra_deg", "dec_deg") == [
        (h.source, "FAST", str(h.beam), hms(h.ra_deg), dms(h.dec_deg)) for h in night.observations
    ]
    assert "J0534+2200; G027.6-14.9" in page
    assert "FAST, beams 1, 2, 5" in page
    assert "MJD 59000.250000 to 59000.750000" in page


def test_pages_of_several_products_say_whose_rows_they_hold(products: tuple[list[Path], Path], tmp_path: Path) -> None:
    runs = [read(products[0][i]) for i in (0, 4)]
    page = write_report(runs, tmp_path / "report", top=1).read_text()
    places = set(cells(page, "candidates", "run", "target", "beam", "ra_deg", "dec_deg"))
    assert places == {
        (run.path.stem, h.source, str(h.beam), hms(h.ra_deg), dms(h.dec_deg)) for run in runs for h in run.observations
    }
    assert len(cells(page, "observations", "obs")) == 2


def test_what_was_merged_is_merged_again(products: tuple[list[Path], Path], night: Run, tmp_path: Path) -> None:
    config = load_config("fast-19beam")
    half = merge([read(p) for p in products[0] if FIELD.source in p.name], Target(tmp_path / "half.h5"), config)
    rest = [read(p) for p in products[0] if CRAB.source in p.name]
    whole = merge([half, *rest], Target(tmp_path / "whole.h5"), config)
    assert whole.observations == night.observations
    for table in ("candidates", "single_pulses"):
        for key in ("id", "target", "obs", "beam", "nbeams", "ra_deg", "dec_deg", "snr", "score"):
            np.testing.assert_array_equal(whole.rows(table)[key], night.rows(table)[key])
    assert whole.ids == night.ids
    assert whole.rows("observations")["product"].tolist() == night.rows("observations")["product"].tolist()


def test_known_pulsars_are_those_of_the_own_position(
    products: tuple[list[Path], Path], night: Run, tmp_path: Path
) -> None:
    """Two entries of one period and DM, one in each field: only the one that is there gives its name."""
    row = named(night, 0.1317)
    spin = f"{row['period_bary']:.12f},{row['dm']:.3f}"
    catalogue = tmp_path / "known.csv"
    catalogue.write_text(
        "PSRJ,RAJD,DECJD,P0,DM\n"
        f"J0534+2201,{CRAB.ra_deg},{CRAB.dec_deg},{spin}\n"
        f"J1935-1121,{FIELD.ra_deg},{FIELD.dec_deg},{spin}\n"
    )
    config = load_config("fast-19beam", [f"known.catalogue={catalogue}"])
    run = merge([read(p) for p in products[0]], Target(tmp_path / "all.h5"), config)
    assert named(run, 0.1317)["known_source"] == "J1935-1121"
    others = [str(r["known_source"]) for r in run.rows("candidates") if r["target"] == CRAB.source]
    assert len(others) > 1
    assert "J1935-1121" not in "".join(others)


def test_segments_of_one_beam_are_told_apart_by_their_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    rows = empty_table(CANDIDATE_COLUMNS, 3)
    rows["id"] = ["c0001", "c0002", "c0003"]
    rows["target"], rows["beam"], rows["nbeams"], rows["obs"] = "drift", [1, 1, 2], 1, [0, 1, 2]
    rows["epoch"] = [59000.12345, 59000.23456, 59000.12345]
    print_candidates(rows[1:], merged=True)
    assert "epoch" not in capsys.readouterr().out
    print_candidates(rows, top=2, merged=True)
    shown = capsys.readouterr().out.splitlines()
    assert "epoch [MJD]" in shown[0]
    assert [line.split()[7] for line in shown[1:3]] == ["59000.12345", "59000.23456"]
    # What is unknown is a dash, never the first one's.
    assert shown[1].split()[4:7] == ["1", "-", "-"]
