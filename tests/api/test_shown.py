"""How things show themselves: one line, HTML, pictures, bars in a notebook."""

import sys
import types
from xml.etree import ElementTree

import numpy as np
import pytest
from reference.products import write_product

import pulsar
from pulsar.data.fold import PulseCutout
from pulsar.data.text import line
from pulsar.io.memory import SeriesInMemory
from pulsar.pipeline.progress import Progress, in_notebook

X = np.random.default_rng(1).standard_normal(4000).astype("f4")
SERIES = pulsar.TimeSeries(X, 1e-3, dm=30, tstart=60000.25)
FB = pulsar.Filterbank.from_array(
    np.random.default_rng(2).integers(60, 120, (3000, 16)).astype("u1"), 1400 + np.arange(16), 1e-3, source="<X>"
)

CUTOUT = PulseCutout(
    spectrum=np.ones((4, 20), np.float32),
    freqs=np.linspace(1500.0, 1400.0, 4),
    plane=np.ones((5, 20), np.float32),
    dms=np.linspace(10.0, 20.0, 5),
    dm=15.0,
    time=1.0,
    width=2e-3,
    start=0.99,
    tsamp=1e-3,
    tstart=60000.0,
    fref=1500.0,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pulsar.Run:
    return pulsar.read(write_product(tmp_path_factory.mktemp("shown") / "run.h5"))


@pytest.fixture(scope="module")
def fold() -> pulsar.Fold:
    turns = np.arange(4000) / 50.0
    return pulsar.fold(pulsar.TimeSeries(X + 2 * (turns % 1 < 0.1), 1e-3), 0.05)


@pytest.fixture(scope="module")
def everything(run, fold) -> dict[str, object]:
    return {
        "series": SERIES,
        "series over DM": pulsar.DMTime(np.stack([X, X]), np.array([1.0, 2.0]), 1e-3),
        "observation": FB,
        "fold": fold,
        "run": run,
        "candidates": run.candidates,
        "part of the candidates": run.candidates[:2],
        "pulses": run.pulses,
        "detections": pulsar.search_fft(SERIES, threshold=-3),
        "block": FB.read(0, 10),
        "folds": run.folds,
        "cutout": CUTOUT,
    }


def test_everything_is_one_short_line(everything):
    for name, value in everything.items():
        text = repr(value)
        assert "\n" not in text, name
        assert len(text) < 300, name
        assert text.startswith("<"), name
    assert repr(SERIES) == "<TimeSeries: 4000 samples of 1000 µs (4 s), DM 30, MJD 60000.250000>"
    assert repr(FB) == "<Filterbank: <X>, 16 channels 1400 to 1415 MHz, 3000 samples of 1000 µs (3 s)>"
    assert repr(everything["fold"]).startswith("<Fold: P 0.0499")


@pytest.mark.parametrize(
    "name",
    [
        "series",
        "series over DM",
        "observation",
        "fold",
        "run",
        "candidates",
        "part of the candidates",
        "pulses",
        "detections",
    ],
)
def test_what_people_look_at_shows_itself_in_a_notebook(everything, name):
    text = everything[name]._repr_html_()
    assert "<X>" not in text
    ElementTree.fromstring(f"<div>{text}</div>".replace("<br>", "<br/>"))  # whole and well formed
    assert "<table" in text
    assert len(text) < 60_000


def test_tables_show_what_an_eye_looks_for_first(run):
    text = run.candidates._repr_html_()
    assert "period" in text
    assert "ra_deg" not in text.split("<small>")[0]
    assert "and the columns" in text
    assert run.candidates["period"].info.format is None  # shown short, kept whole


def test_a_series_without_numbers_is_no_drawing():
    assert line(np.full(10, np.nan)) == ""
    assert "polygon" in line(np.zeros(10))
    assert "nan" not in line(np.array([1.0, np.nan, 3.0]))


def test_whatever_can_be_drawn_is_drawn(everything, tmp_path):
    drawn = dict(everything)
    del drawn["block"], drawn["folds"]
    drawn |= {
        "an array": X,
        "an image": np.zeros((5, 7)),
        "a list": [1.0, 2.0],
        "rows": [[1, 2], [3, 4]],
        "missing samples": np.array([np.nan, 1.0]),
        "one sample": np.array([1.0]),
        "no rows": run_without_rows(everything["candidates"]),
        "rows of a product": everything["run"].rows("candidates"),
        "a series that was opened": SeriesInMemory(SERIES),
    }
    for i, (name, value) in enumerate(drawn.items()):
        path = tmp_path / f"{i}.png"
        sheet = pulsar.plot(value, path=path)
        assert path.read_bytes().startswith(b"\x89PNG"), name
        assert sheet.axes, name
    with pytest.raises(pulsar.ConfigError, match="does not exist"):
        pulsar.plot(X, path=tmp_path / "no" / "a.png")


def run_without_rows(table):
    return table[:0]


def test_a_picture_shows_the_data():
    axes = pulsar.plot(SERIES, title="mine").axes[0]
    assert axes.get_title(loc="left") == "mine"
    assert axes.get_xlim() == pytest.approx((0, 4), abs=0.01)
    image, band = pulsar.plot(FB).axes
    assert image.get_ylim() == (1399.5, 1415.5)
    assert len(band.lines) == 2
    mean = band.lines[0].get_xdata()
    np.testing.assert_allclose(mean, FB.data.mean(axis=1), rtol=0.01)


class Handle:
    def __init__(self, shown: list[str]) -> None:
        self.shown = shown

    def update(self, content) -> None:
        self.shown.append(content.data)


@pytest.fixture
def notebook(monkeypatch) -> list[str]:
    """A stand-in for the kernel of a notebook; what it was shown."""
    shown: list[str] = []
    ipython = types.ModuleType("IPython")
    module = types.ModuleType("IPython.display")

    class Html:
        def __init__(self, data: str) -> None:
            self.data = data

    def display(content, display_id: bool = False) -> Handle:
        shown.append(content.data)
        return Handle(shown)

    module.HTML, module.display = Html, display
    ipython.display = module
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return shown


def test_progress_is_a_bar_in_a_notebook(notebook, monkeypatch, capsys):
    monkeypatch.setattr("pulsar.pipeline.progress.CELL_INTERVAL", 0.0)
    assert in_notebook()
    pulsar.fold(SERIES, 0.05, progress=True)
    assert any("<progress value='1.000' max='1'>" in text for text in notebook)
    assert any(text.startswith("folding: done in") for text in notebook)
    with Progress("notebook").stage("of <unknown> length") as tick:
        tick(3)
    assert "<progress></progress>" in notebook[-2]
    assert "&lt;unknown&gt;" in notebook[-2]
    before = len(notebook)
    Progress("notebook").message("a & b")
    assert notebook[before:] == ["a &amp; b"]
    pulsar.fold(SERIES, 0.05)
    assert len(notebook) == before + 1
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_progress_is_a_bar_on_a_terminal(capsys):
    assert not in_notebook()
    pulsar.fold(SERIES, 0.05, progress=True)
    assert "folding" in capsys.readouterr().err
    pulsar.fold(SERIES, 0.05)
    assert capsys.readouterr().err == ""
