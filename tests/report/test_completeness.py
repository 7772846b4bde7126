"""Pictures and tables of what became of injected signals: they show the numbers, whatever these are."""

import random
from pathlib import Path

import numpy as np
import pytest
from reference.products import make_header

from pulsar.data.candidate import empty_table
from pulsar.data.injected import INJECTED_COLUMNS, LIMIT_COLUMNS, ROW_COLUMNS
from pulsar.io.product.reader import read
from pulsar.io.product.writer import ProductWriter
from pulsar.report.figure import picture
from pulsar.report.paper import limits_text, recall_rows, recall_text
from pulsar.report.plots import plot_completeness, plot_limits
from pulsar.report.summary import summary


def tables(count=60):
    rng = np.random.default_rng(1)
    injected, rows = empty_table(INJECTED_COLUMNS, count), empty_table(ROW_COLUMNS, count)
    injected["kind"] = np.where(np.arange(count) % 4 == 3, "burst", "pulsar")
    injected["snr"], injected["dm"] = rng.uniform(6, 20, count), rng.uniform(0, 100, count)
    injected["period"] = np.where(injected["kind"] == "pulsar", np.exp(rng.uniform(-6, 1, count)), np.nan)
    injected["width"], injected["obs"] = rng.uniform(1e-3, 1e-2, count), np.arange(count) % 2
    injected["found"] = injected["snr"] > 10
    injected["listed_snr"] = np.where(injected["found"] == 1, 0.9 * injected["snr"], np.nan)
    rows["kind"], rows["score"] = injected["kind"], rng.uniform(size=count)
    rows["origin"] = np.where(rng.uniform(size=count) < rows["score"], "injected", "other")
    limits = empty_table(LIMIT_COLUMNS, 8)
    limits["obs"], limits["period"] = np.arange(8) // 4, np.repeat([0.1, 0.1], 4)
    limits["duty"], limits["flux_half"], limits["flux_most"] = [0.01, 0.03, 0.1, 0.3] * 2, 0.1, 0.2
    limits["snr_half"], limits["snr_most"] = 10.0, 12.0
    return injected, rows, limits


def test_recall_and_the_s_n_kept_are_drawn():
    figure = plot_completeness(*tables()[:2])
    by_snr, kept = figure.axes[0], figure.axes[4]
    assert [axes.get_title(loc="left") for axes in figure.axes[:4]] == [
        f"Recall by {name}" for name in ("S/N", "period", "DM", "width")
    ]
    points = by_snr.containers[0].lines[0]
    assert points.get_ydata().tolist() == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    np.testing.assert_allclose(kept.lines[0].get_ydata(), 0.9)


def test_what_is_missing_is_said():
    none = [table[:0] for table in tables()]
    figure = plot_completeness(*none[:2])
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts.count("nothing was injected") == 4
    assert "nothing was found" in texts
    bursts = tables()[0]
    figure = plot_completeness(bursts[bursts["kind"] == "burst"], none[1])
    assert [text.get_text() for text in figure.axes[1].texts] == ["nothing was injected"]


@pytest.fixture
def product(tmp_path: Path) -> Path:
    with ProductWriter(tmp_path / "C.h5") as writer:
        header = make_header()
        writer.observations([header, header.with_(tstart=59001.0)], [[], []], [[], []])
        writer.completeness(*tables())
    return tmp_path / "C.h5"


def test_the_page_tells_recall_by_s_n_and_by_observation(product):
    told = summary(read(product), "C")["completeness"]
    assert [table["title"] for table in told["tables"]] == ["Pulsars by S/N", "Bursts by S/N", "By observation"]
    pulsars = told["tables"][0]["lines"]
    assert sum(int(line[1]) for line in pulsars) == 45
    assert pulsars[-1][:1] == ["15–20"]
    by_obs = told["tables"][2]["lines"]
    assert [line[1] for line in by_obs] == ["58999.12346", "59001.00000"]
    assert "of 30" in by_obs[0][3]
    assert len(told["pictures"]) == 2


def test_tables_for_a_paper(product):
    run = read(product)
    table = recall_rows(run)
    assert table["tried"][table["observation"] == "all"].sum() == 60
    assert table["tried"].sum() == 120
    tex = recall_text(run, Path("t.tex"))
    assert tex.count("\\\\") == 15
    assert "$1.00^{+0.00}_{-" in tex
    assert "J0534+2200 58999.1235 & 100 & 10.0 & 12.0 & 0.2 & 0.2 & 0.2 & 0.2" in limits_text(run, Path("t.tex"))


def test_no_spreadsheet_takes_a_source_for_a_formula(tmp_path):
    with ProductWriter(tmp_path / "run.h5") as writer:
        writer.observations([make_header().with_(source="=1+1"), make_header()], [[], []], [[], []])
        writer.completeness(*tables())
    lines = recall_text(read(tmp_path / "run.h5"), Path("t.csv")).splitlines()
    assert any(line.startswith("'=1+1 ") for line in lines)
    assert not any(line.startswith("=") for line in lines)


@pytest.mark.parametrize("seed", range(3))
def test_strange_numbers_are_drawn(seed):
    rng = random.Random(seed)
    strange = [np.nan, np.inf, -np.inf, 0.0, -1.0, 1e300, -1e300, 1e-300]
    injected, rows, limits = tables()
    for table in (injected, rows, limits):
        names = [name for name in table.dtype.names if table.dtype[name].kind == "f"]
        for _ in range(40):
            table[rng.choice(names)][rng.randrange(len(table))] = rng.choice(strange)
    for figure in (plot_completeness(injected, rows), plot_limits(limits)):
        figure.set_dpi(30)
        assert picture(figure).startswith(b"\x89PNG")
