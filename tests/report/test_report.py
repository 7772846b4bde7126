"""Plot sheets and the report page."""

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from reference.products import make_candidates, make_fold, make_header, write_product

from pulsar.data.fold import Fold
from pulsar.errors import ConfigError
from pulsar.io.product.parts import unknown_header
from pulsar.io.product.reader import read
from pulsar.io.product.writer import ProductWriter
from pulsar.report.figure import Sheet, picture, save, small_png
from pulsar.report.page import tasks_of, write_report
from pulsar.report.sheet import Task, draw, draw_all, empty_sheet, growth, plot
from pulsar.report.words import About, numbers, origin, position, verdict, w50

PNG = b"\x89PNG\r\n\x1a\n"
#: A name of somebody who means no good: markup, the end of a script, ends of lines of JavaScript, a control code.
HOSTILE = "</script><img src=x onerror=alert(1)>&amp;\u2028\x1b[2J\"'`${1}"


class Page(HTMLParser):
    """Collects tags with their attributes and checks that they nest."""

    VOID = frozenset({"meta", "img", "link", "br", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def stored(page: str) -> dict[str, Any]:
    """What the page holds for its scripts."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return dict(json.loads(text))


def rows_of(page: str, table: str) -> list[dict[str, Any]]:
    """Rows of a table of the page, their cells by the keys of the columns."""
    (found,) = [t for t in stored(page)["tables"] if t["id"] == table]
    keys = [c["key"] for c in found["columns"]]
    return [{**row, **dict(zip(keys, row["c"], strict=True))} for row in found["rows"]]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    product = write_product(folder / "run.h5")
    return write_report([read(product)], folder / "out")


def test_page_asks_nobody(report: Path) -> None:
    text = report.read_text()
    page = Page(text)
    assert page.all("link") == []
    assert all("src" not in attrs for attrs in page.all("script"))
    for attrs in page.all("img"):
        assert (attrs["src"] or "").startswith("data:image/png;base64,")
    without_images = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert "http:" not in without_images
    assert "https:" not in without_images
    assert "url(" not in without_images
    (policy,) = [m["content"] or "" for m in page.all("meta") if m.get("http-equiv")]
    assert "default-src 'none'" in policy
    scripts = [s for s in page.all("script") if s.get("type") is None]
    # Only what we wrote ourselves is run.
    assert policy.count("'sha256-") == len(scripts) == 3
    assert "script-src 'sha256-" in policy


def test_page_shows_every_candidate(report: Path) -> None:
    text = report.read_text()
    first, second, third = rows_of(text, "candidates")
    assert first["period"] == [pytest.approx(33.391966), "33.391966(23)"]
    assert first["known_source"] == "B0531+21 é"
    assert first["s"] == "sheets/c0001.png"
    assert first["o"] == ""
    # What belongs to another names it, and is no row of its own until it is asked for.
    assert (second["o"], second["id"]) == ("c0001", "c0002")
    assert "s" not in third
    assert third["rfi_flags"] == "<b>narrow band</b>"
    assert ["P topo", "33.391966(23) ms"] in first["d"]
    page = Page(text)
    assert [attrs.get("lang") for attrs in page.all("html")] == ["en"]
    assert "prefers-color-scheme" in text
    (mask,) = page.all("img")
    assert re.match(r"Mask of run over time and frequency: \d+\.\d % of the data, 1 of 4 channels", mask["alt"] or "")
    assert 'Candidates <span class="count">2</span>' in text


def test_columns_that_say_nothing_are_left_out(report: Path) -> None:
    keys = [c["key"] for t in stored(report.read_text())["tables"] if t["id"] == "candidates" for c in t["columns"]]
    assert {"period", "dm", "snr", "rfi_flags", "score"} < set(keys)
    assert not {"found_by", "accel", "npulses"} & set(keys)


def test_sheets_beside_the_page(report: Path) -> None:
    assert sorted(p.name for p in report.parent.iterdir()) == ["index.html", "sheets"]
    sheets = sorted((report.parent / "sheets").iterdir())
    assert [p.name for p in sheets] == ["c0001.png", "c0002.png"]
    for path in sheets:
        image = path.read_bytes()
        assert image.startswith(PNG)
        assert len(image) < 60_000
        assert Image.open(io.BytesIO(image)).size[0] >= 780


def hostile_product(path: Path) -> Path:
    table = make_candidates()
    table["known_source"] = HOSTILE[:32]
    table["rfi_flags"], table["reasons"] = HOSTILE, HOSTILE
    with ProductWriter(path) as writer:
        writer.observation(make_header().with_(source=HOSTILE, telescope=HOSTILE), problems=[HOSTILE])
        writer.table("candidates", table)
        writer.fold("c0001", make_fold(1))
        writer.provenance({"config": HOSTILE, "argv": [HOSTILE], "inputs": [{"path": HOSTILE, "size": 1}]})
    return path


def test_markup_is_text_everywhere(tmp_path: Path) -> None:
    text = write_report([read(hostile_product(tmp_path / "run.h5"))], tmp_path / "out").read_text()
    page = Page(text)
    assert page.all("img") == []
    # Ours, and the data: nothing that was in a name ended one of them.
    assert text.count("<script") == text.count("</script>") == 4
    assert "\x1b" not in text
    assert "\u2028" not in text
    row = rows_of(text, "candidates")[0]
    shown = HOSTILE.replace("\u2028", "\\u2028").replace("\x1b", "\\x1b")
    assert row["rfi_flags"] == shown
    assert row["w"].startswith(shown)
    assert ["because", shown] in row["d"]


def test_one_file_that_can_be_sent(tmp_path: Path) -> None:
    page = write_report([read(write_product(tmp_path / "run.h5"))], tmp_path / "out", one_file=True)
    assert [p.name for p in page.parent.iterdir()] == ["index.html"]
    assert set(stored(page.read_text())["images"]) == {"c0001", "c0002"}
    assert all(not row.get("s") for row in rows_of(page.read_text(), "candidates"))


def test_sheets_for_print(tmp_path: Path) -> None:
    page = write_report([read(write_product(tmp_path / "run.h5"))], tmp_path / "out", top=1, vector="pdf")
    assert sorted(p.name for p in (page.parent / "sheets").iterdir()) == ["c0001.pdf", "c0001.png"]
    assert (page.parent / "sheets" / "c0001.pdf").read_bytes().startswith(b"%PDF")
    # Written again without, nothing of the earlier report is left.
    write_report([read(tmp_path / "run.h5")], tmp_path / "out", top=1)
    assert [p.name for p in (page.parent / "sheets").iterdir()] == ["c0001.png"]


def test_processes_draw_what_one_does(tmp_path: Path) -> None:
    runs = [read(write_product(tmp_path / "run.h5"))]
    tasks = tasks_of(runs, None)
    assert tasks == [Task(0, "c0001"), Task(0, "c0002")]
    ticks: list[float] = []
    assert list(draw_all(runs, tasks, workers=2, tick=ticks.append)) == list(draw_all(runs, tasks, workers=1))
    assert ticks == [1, 1]


def test_several_runs_in_one_page(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    runs = [read(write_product(tmp_path / "run.h5")), read(write_product(tmp_path / "b" / "run.h5"))]
    ticks: list[float] = []
    page = write_report(runs, tmp_path / "out", top=1, tick=ticks.append)
    text = page.read_text()
    Page(text)
    assert ticks == [1, 1]
    rows = rows_of(text, "candidates")
    assert [(r["run"], r["id"]) for r in rows] == [
        (run, ident) for ident in ("c0001", "c0002", "c0003") for run in ("run", "run_2")
    ]
    assert {r["o"] for r in rows} == {"", "run-c0001", "run_2-c0001"}
    assert [r["i"] for r in rows_of(text, "observations")] == ["", ""]
    assert sorted(p.name for p in (page.parent / "sheets").glob("*.png")) == ["run-c0001.png", "run_2-c0001.png"]
    assert "2 runs" in text


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    run = read(write_product(tmp_path / "run.h5"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be made"):
        write_report([run], tmp_path / "file" / "out")


def test_sheet_shows_itself_and_is_written(tmp_path: Path) -> None:
    sheet = plot(make_fold(1), About({"id": "c0001", "score": 0.5}, make_header()))
    save(sheet, tmp_path / "s.png")
    assert (tmp_path / "s.png").read_bytes().startswith(PNG)
    assert sheet._repr_png_().startswith(PNG)
    headings = {"Profile, time and phase", "Frequency and phase", "DM curve"}
    assert headings <= set(sheet.labels.texts)
    assert any(text.startswith("P and Pdot, S/N") for text in sheet.labels.texts)
    for name, start in (("s.pdf", b"%PDF"), ("s.svg", b"<?xml")):
        save(sheet, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)


def poor(fold: Fold) -> Fold:
    """As of a dedispersed series: no bands, no DMs, nothing refined."""
    return replace(
        fold,
        freq_phase=fold.freq_phase[:1],
        band_freqs=np.array([np.nan]),
        dms=fold.dms[:1],
        dm_snr=fold.dm_snr[:1],
        dm_expected=fold.dm_expected[:1],
        freq_offsets=np.zeros(1),
        p_pdot=np.zeros((1, 1), dtype=np.float32),
        fdot_err=float("nan"),
        dm_err=float("nan"),
        time_edges=fold.time_edges * 100,
    )


def test_sheets_of_poor_folds() -> None:
    fold = make_fold(1, nfdot=1)
    assert picture(plot(fold)).startswith(PNG)
    assert picture(plot(poor(fold))).startswith(PNG)
    masked = replace(fold, freq_phase=np.full_like(fold.freq_phase, np.nan), time_phase=np.zeros_like(fold.time_phase))
    assert picture(plot(masked)).startswith(PNG)


def test_no_panel_is_left_empty() -> None:
    fold = make_fold(1)
    series = replace(poor(fold), freq_offsets=fold.freq_offsets, p_pdot=fold.p_pdot)
    assert [len(plot(f).axes) for f in (fold, series, poor(fold))] == [8, 6, 3]
    # The one that is left takes the place of three.
    widths = [plot(f).axes[at].get_position().width for f, at in ((fold, 5), (series, 3))]
    assert widths[1] > 2 * widths[0]


def test_a_weak_pulse_is_seen() -> None:
    """Rows and phases of a weak fold are summed until its pulse stands out of the noise in them."""
    rng = np.random.default_rng(1)
    shape = np.exp(-0.5 * ((np.arange(128) / 128 - 0.4) / 0.04) ** 2)
    rows = (0.35 * shape + rng.normal(size=(64, 128))).astype(np.float32)
    weak = replace(make_fold(1), snr=8.0, width=0.1, time_phase=rows, time_edges=np.linspace(0, 300, 65))
    (image,) = plot(weak).axes[1].images
    # In sigma: grey goes with asinh of a quarter of it.
    shown = 4.0 * np.sinh(np.asarray(image.get_array()))
    # Two turns, the pulse in the middle of each.
    assert shown.shape == (16, 64)
    centre = shown[:, [15, 16, 47, 48]].mean()
    # Three times what one element of the fold has.
    assert centre > 1.0
    assert abs(shown[:, 24:40].mean()) < 0.4
    bright = replace(weak, snr=60.0)
    assert plot(bright).axes[1].images[0].get_array().shape[0] == 64


def test_what_is_faint_is_seen_beside_a_bright_pulse() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(64, 128)).astype(np.float32)
    rows[:, 30:40] += 100.0
    rows[:, 90:94] += 4.0
    rows -= rows.mean(axis=1, keepdims=True)
    fold = replace(make_fold(1), snr=1000.0, width=0.06, phase=35 / 128, time_phase=rows)
    image = plot(replace(fold, time_edges=np.linspace(0, 300, 65))).axes[1].images[0]
    grey = np.roll(np.asarray(image.norm(image.get_array()))[:, :128], 99, axis=1)
    # As grey as the eye tells from the noise beside it; and the bright pulse is not one black bar.
    faint, noise, bright = grey[:, 90:94], grey[:, 60:80], grey[:, 32:38]
    assert faint.mean() > noise.mean() + 2.0 * noise.std()
    assert faint.mean() > 0.2
    assert 0.9 < bright.mean() < 0.995


def test_curves_of_period_and_derivative_alone_pass_through_the_refined_ones() -> None:
    fold = make_fold(1)
    *_, above, beside = plot(fold).axes
    (alone_p,), (alone_pdot,) = ([line for line in axes.lines if len(line.get_xdata()) > 2] for axes in (above, beside))
    plane = np.asarray(fold.p_pdot, dtype=np.float64)
    row = np.argmin(np.abs(fold.before.fdot + fold.fdot_offsets - fold.after.fdot))
    column = np.argmin(np.abs(fold.before.freq + fold.freq_offsets - fold.after.freq))
    np.testing.assert_array_equal(alone_p.get_ydata(), plane[row, ::-1])
    np.testing.assert_array_equal(alone_pdot.get_xdata(), plane[::-1, column])


def test_signal_grows_with_time() -> None:
    nbins, level = 64, 1.5
    profile = np.zeros(nbins)
    profile[20:26] = level
    profile -= profile.mean()
    fold = replace(
        make_fold(1), time_phase=np.tile(profile, (16, 1)).astype(np.float32), width=6 / nbins, phase=23 / nbins
    )
    snr, chi2 = growth(fold)
    # Of a steady pulse S/N grows with the square root of time, chi-square with time.
    exact = level * np.sqrt(6 * (1 - 6 / nbins))
    np.testing.assert_allclose(snr, exact * np.sqrt(np.arange(1, 17)), rtol=1e-5)
    np.testing.assert_allclose(chi2, chi2[0] * np.arange(1, 17), rtol=1e-5)


def test_width_at_half_maximum() -> None:
    phase = np.arange(256) / 256
    sigma = 0.03
    away = (phase - 0.97 + 0.5) % 1.0 - 0.5
    profile = 20 * np.exp(-0.5 * (away / sigma) ** 2)
    # Smoothing over a third of the boxcar widens it a little.
    assert w50(profile, 2.5 * sigma, 0.97) == pytest.approx(2.3548 * sigma, rel=0.06)
    assert np.isnan(w50(np.full(64, np.nan), 0.1, 0.5))
    assert np.isnan(w50(profile, np.nan, 0.5))


def test_numbers_say_what_is_known() -> None:
    values = dict(numbers(make_fold(1), {"sigma": float("nan")}, None))
    assert values["P topo"] == "33.391966(23) ms"
    assert values["Pdot"] == "1.12(33)e-10 s/s"
    assert values["acceleration"] == "1.00(30) m/s²"
    assert values["DM"] == "56.710(80) pc/cm³"
    assert values["width"].startswith("W50 ")
    assert not {"detection", "J2000", "P bary"} & set(values)
    bary = dict(numbers(make_fold(1), {"period_bary": 0.0333, "fdot_bary": -2e-7}, make_header()))
    assert bary["P bary"] == "33.300000(23) ms"
    assert bary["Pdot bary"] == "2.23(33)e-10 s/s"


def test_an_acceleration_is_told_only_where_it_is_significant() -> None:
    fold = make_fold(1)
    assert "acceleration" in dict(numbers(fold, {}, None))
    assert "acceleration" not in dict(numbers(replace(fold, fdot_err=4e-8), {}, None))
    assert "acceleration" not in dict(numbers(replace(fold, fdot_err=float("nan")), {}, None))


def test_verdicts_come_with_their_reasons() -> None:
    fold = replace(make_fold(1), extra={"features": {"dm_contrast": 9.31, "time_fraction": 0.5, "repeats": None}})
    row = {"score": 0.97, "rfi_flags": "mains,new", "harmonic_of": "c0007", "relation": "harmonic 2", "reasons": "why"}
    assert verdict(fold, row) == [
        ("score", "0.97: 9.3 sigma above DM 0, in 50 % of the time"),
        ("flag", "mains: undispersed, at a harmonic of the mains"),
        ("flag", "new"),
        ("belongs to", "c0007, harmonic 2"),
        ("because", "why"),
    ]


def test_the_position_is_that_of_the_row() -> None:
    header = make_header()
    assert dict(position(header, {})) == {"J2000": "05:34:31.9  +22:00:52", "galactic": "l 184.5575°  b -5.7845°"}
    own = {"ra_deg": header.ra_deg + 0.02, "dec_deg": header.dec_deg, "nbeams": 2, "beam": 1}
    told = dict(position(header, own))
    assert told["J2000"] == "05:34:36.7  +22:00:52"
    assert told["beam centre"] == "05:34:31.9  +22:00:52"
    assert told["seen in"] == "2 beams, best in 1"
    assert dict(position(None, own))["J2000"] == told["J2000"]
    assert position(None, {}) == []


def test_the_file_is_named_without_its_folders() -> None:
    assert origin([]) == []
    assert origin([Path("/data/night/a.fil")]) == [("file", "a.fil")]
    assert origin([Path("/data/a_0001.fits"), Path("/data/a_0002.fits")]) == [("file", "a_0001.fits and 1 more")]


def test_a_sheet_of_an_observation_that_nobody_has_recorded() -> None:
    """What the fold and the row know, and nothing of another observation."""
    fold, row = make_fold(1), {"id": "c0001", "beam": 4, "ra_deg": 10.0, "dec_deg": -20.0, "obs": -1}
    sheet = plot(fold, About(row, unknown_header(row)))
    assert picture(sheet).startswith(PNG)
    (line,) = [text for text in sheet.labels.texts if "·" in text]
    start = fold.epoch - 0.5 * fold.tobs / 86400
    assert line.split("   ·   ") == [
        "unnamed source", "unknown telescope, beam 4", f"MJD {start:.6f}", f"{fold.tobs:.5g} s"
    ]  # fmt: skip


@pytest.fixture(scope="module")
def paper() -> Sheet:
    """A sheet that is drawn on again and again, as those of a page are."""
    return empty_sheet()


def drawn(paper: Sheet, fold: Fold, about: About) -> bytes:
    draw(paper.wiped(), fold, about)
    return small_png(paper)


#: What a damaged product, or one of another program, may hold in place of a number.
STRANGE = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e30)


@pytest.mark.parametrize("name", ["profile", "time_phase", "freq_phase", "dms", "dm_snr", "p_pdot"])
@pytest.mark.parametrize("value", STRANGE)
def test_arrays_of_strange_numbers_are_drawn(paper: Sheet, name: str, value: float) -> None:
    fold = make_fold(1)
    assert drawn(paper, replace(fold, **{name: np.full_like(getattr(fold, name), value)}), About()).startswith(PNG)


@pytest.mark.parametrize("name", ["time_edges", "band_freqs", "freq_offsets", "fdot_offsets"])
@pytest.mark.parametrize("value", STRANGE)
def test_axes_that_are_none_are_drawn(paper: Sheet, name: str, value: float) -> None:
    fold = make_fold(1)
    axis = getattr(fold, name).copy()
    axis[-1] = value
    for strange in (axis, np.full_like(axis, value)):
        assert drawn(paper, replace(fold, **{name: strange}), About()).startswith(PNG)


@pytest.mark.parametrize("name", ["snr", "width", "phase", "freq_err", "fdot_err", "dm_err", "chi2_red", "epoch"])
@pytest.mark.parametrize("value", STRANGE)
def test_strange_numbers_are_drawn(paper: Sheet, name: str, value: float) -> None:
    assert drawn(paper, replace(make_fold(1), **{name: value}), About({}, make_header())).startswith(PNG)
