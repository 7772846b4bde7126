"""Plot sheets and the report page."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from reference.products import make_fold, make_header, write_product

from pulsar.errors import ConfigError
from pulsar.io.product.placed import unknown_header
from pulsar.io.product.reader import read
from pulsar.report.page import write_report
from pulsar.report.sheet import numbers, plot, png, position

PNG = b"\x89PNG\r\n\x1a\n"


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


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    product = write_product(folder / "run.h5")
    return write_report([read(product)], folder / "out")


def test_page_needs_nothing_else(report: Path) -> None:
    text = report.read_text()
    page = Page(text)
    assert page.all("link") == []
    assert all("src" not in attrs for attrs in page.all("script"))
    for attrs in page.all("img"):
        assert (attrs["src"] or "").startswith("data:image/png;base64,")
    without_images = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert "http" not in without_images
    assert "url(" not in without_images


def test_page_shows_every_candidate_and_sheet(report: Path) -> None:
    text = report.read_text()
    page = Page(text)
    rows = re.findall(r"<tr>(<td.*?)</tr>", text)
    # What belongs to another has no row of its own.
    assert len(rows) == 2
    assert "33.3919663" in rows[0]
    assert "B0531+21" in rows[0]
    assert '<a href="#c0001">' in rows[0]
    assert "<a " not in rows[1]
    figures = [attrs.get("id") for attrs in page.all("figure")]
    assert figures == ["c0001", None]
    *sheets, mask = page.all("img")
    for attrs in sheets:
        assert "S/N 35.0" in (attrs["alt"] or "")
        assert int(attrs["width"] or 0) > 1000
    assert re.match(r"Mask of run over time and frequency: \d+\.\d % of the data, 1 of 4 channels", mask["alt"] or "")
    assert "prefers-color-scheme" in text
    assert [attrs.get("lang") for attrs in page.all("html")] == ["en"]


def test_page_escapes_what_it_shows(report: Path) -> None:
    text = report.read_text()
    assert "<b>narrow band</b>" not in text
    assert "&lt;b&gt;narrow band&lt;/b&gt;" in text


def test_png_files_beside_the_page(report: Path) -> None:
    assert sorted(p.name for p in report.parent.iterdir()) == ["c0001.png", "index.html"]
    image = (report.parent / "c0001.png").read_bytes()
    assert image.startswith(PNG)
    assert base64.b64encode(image).decode() in report.read_text()


def test_several_runs_in_one_page(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    runs = [read(write_product(tmp_path / "run.h5")), read(write_product(tmp_path / "b" / "run.h5"))]
    ticks: list[float] = []
    page = write_report(runs, tmp_path / "out", top=1, tick=ticks.append)
    text = page.read_text()
    Page(text)
    assert ticks == [1, 1]
    # Two candidates that stand for themselves and one observation of each.
    assert len(re.findall(r"<tr>(<td.*?)</tr>", text)) == 6
    assert sorted(p.name for p in page.parent.glob("*.png")) == ["run-c0001.png", "run_2-c0001.png"]
    assert "2 runs" in text


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    run = read(write_product(tmp_path / "run.h5"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be made"):
        write_report([run], tmp_path / "file" / "out")


def test_sheet_shows_itself_and_is_written(tmp_path: Path) -> None:
    sheet = plot(make_fold(1), {"id": "c0001", "score": 0.5}, make_header(), path=tmp_path / "s.png")
    assert (tmp_path / "s.png").read_bytes().startswith(PNG)
    assert sheet._repr_png_().startswith(PNG)
    titles = [axes.get_title(loc="left") for axes in sheet.axes]
    assert {"Profile, and time and phase", "Frequency and phase", "DM curve", "Period and derivative"} <= set(titles)


def test_sheets_of_poor_folds() -> None:
    fold = make_fold(1, nfdot=1)
    assert png(plot(fold)).startswith(PNG)
    series = replace(
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
    assert png(plot(series)).startswith(PNG)
    masked = replace(fold, freq_phase=np.full_like(fold.freq_phase, np.nan), time_phase=np.zeros_like(fold.time_phase))
    assert png(plot(masked)).startswith(PNG)


def test_numbers_say_what_is_known() -> None:
    values = dict(numbers(make_fold(1), {"sigma": float("nan"), "harmonic_of": "c0007"}, None))
    assert values["period"] == "33.391966 ± 0.000023 ms"
    assert values["derivative"] == "(-1.00 ± 0.30)e-7 Hz/s"
    assert values["acceleration"] == "1.00 ± 0.30 m/s²"
    assert values["harmonic of"] == "c0007"
    assert "detection" not in values
    assert "position" not in values


def test_the_position_is_that_of_the_row() -> None:
    header = make_header()
    assert dict(position(header, {})) == {"position": "05:34:31.9  +22:00:52", "galactic": "l 184.5575°  b -5.7845°"}
    own = {"ra_deg": header.ra_deg + 0.02, "dec_deg": header.dec_deg, "nbeams": 2, "beam": 1}
    told = dict(position(header, own))
    assert told["position"] == "05:34:36.7  +22:00:52"
    assert told["beam centre"] == "05:34:31.9  +22:00:52"
    assert told["seen in"] == "2 beams, best in 1"
    assert dict(position(None, own))["position"] == told["position"]
    assert position(None, {}) == []


def test_a_sheet_of_an_observation_that_nobody_has_recorded() -> None:
    """Of products merged by older versions: what the fold and the row know, and nothing of another observation."""
    fold, row = make_fold(1), {"id": "c0001", "beam": 4, "ra_deg": 10.0, "dec_deg": -20.0, "obs": -1}
    sheet = plot(fold, row, unknown_header(row))
    assert png(sheet).startswith(PNG)
    (line,) = [t.get_text() for t in sheet.texts if "·" in t.get_text()]
    start = fold.epoch - 0.5 * fold.tobs / 86400
    assert line.split("   ·   ") == [
        "unnamed source", "unknown telescope, beam 4", f"MJD {start:.6f}", f"{fold.tobs:.5g} s"
    ]  # fmt: skip
