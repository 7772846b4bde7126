"""The picture of a mask: every masked element is in it, whatever the size, and poor input draws too."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from reference.masks import make_header, make_mask_of, make_statistics

from pulsar.cleaning.birdies import Birdie
from pulsar.cleaning.mask import CAUSES, Mask
from pulsar.report import rfi
from pulsar.report.figure import picture
from pulsar.report.rfi import peaks_by_frequency, plot_mask, plot_rfi

PNG = b"\x89PNG\r\n\x1a\n"
HEADER = make_header(64, 60_000)
STATS = make_statistics(HEADER, 40)
MASK = make_mask_of(STATS)
POWERS = np.random.default_rng(1).exponential(1, 1 << 15).astype(np.float32)


def overlay(sheet):
    """Colours and opacity of the pixels of what is masked."""
    (picture,) = (i.get_array() for axes in sheet.axes for i in axes.images if i.get_array().ndim == 3)
    return np.asarray(picture)


def test_all_panels_and_the_file(tmp_path):
    powers = POWERS.copy()
    powers[5000] = 900.0
    step = 0.5 / (powers.size * 1e-3)
    birdies = [Birdie(5000 * step, 0.2, "learnt")]
    sheet = plot_rfi(HEADER, MASK, STATS, birdies=birdies, spectrum=(powers, step), path=tmp_path / "m.png")
    assert (tmp_path / "m.png").read_bytes().startswith(PNG)
    titles = [axes.get_title(loc="left") for axes in sheet.axes]
    for title in ("Skewness", "Kurtosis", "Strongest line", "Noise over its usual", "Excess of 1 ms sums"):
        assert title in titles
    assert any(t.startswith("Spectrum at DM 0: 1 line left out, 0.04 % of it") for t in titles)
    texts = " ".join(t.get_text() for t in sheet.texts)
    assert f"{100 * MASK.fraction_lost:.2f} % left out" in texts
    assert "4 of 64 channels" in texts
    assert "3 impulses" in texts
    legend = [t.get_text() for axes in sheet.axes if axes.get_legend() for t in axes.get_legend().get_texts()]
    assert set(legend) == {"zapped", "constant", "noise outlier", "whole blocks", "blocks: noise", "blocks: line"}


def test_every_masked_element_is_coloured():
    picture = overlay(plot_rfi(HEADER, MASK, STATS))
    assert picture.shape == (64, 40, 4)
    np.testing.assert_array_equal(picture[..., 3] > 0, MASK.bad.T)
    # The highest channels, at the top, are zapped; the costliest reason has the first colour.
    names = rfi._shown(MASK)[1]
    np.testing.assert_allclose(picture[0, 0, :3], to_rgb(rfi._COLOURS[names.index("zapped")]))
    assert names[0] == "blocks: noise"


def test_one_masked_element_of_a_large_observation_shows(monkeypatch):
    monkeypatch.setattr(rfi, "_COLUMNS", 13)
    monkeypatch.setattr(rfi, "_ROWS", 10)
    bad = np.zeros((40, 64), dtype=bool)
    bad[17, 33] = True
    why = np.where(bad, np.uint16(1 << CAUSES.index("noise")), np.uint16(0))
    one = Mask(np.ones(64, dtype=bool), ("",) * 64, bad, STATS.edges, STATS.mean, STATS.std, why=why)
    picture = overlay(plot_rfi(HEADER, one, STATS))
    assert picture.shape == (10, 13, 4)
    row, column = np.argwhere(picture[..., 3] > 0).squeeze()
    assert (row, column) == (33 * 10 // 64, 17 * 13 // 40)
    assert picture[row, column, 3] >= rfi._LEAST


def test_more_reasons_than_colours():
    reasons = tuple(f"reason {i}" if i < 14 else "" for i in range(64))
    ok = np.array([not r for r in reasons])
    many = replace(MASK, chan_ok=ok, reasons=reasons, bad=MASK.bad | ~ok, why=np.zeros((0, 0), dtype=np.uint16))
    classes, names = rfi._shown(many)
    assert names[-1] == "other reasons"
    assert len(names) == len(rfi._COLOURS)
    assert classes.max() == len(names)
    np.testing.assert_array_equal(classes > 0, many.bad)
    assert picture(plot_rfi(HEADER, many)).startswith(PNG)


@pytest.mark.parametrize("powers", [None, np.zeros(512, dtype=np.float32)])
def test_little_is_known(powers):
    spectrum = None if powers is None else (powers, 1.0)
    everything = replace(MASK, bad=np.ones_like(MASK.bad), clipped=np.zeros((0, 2), dtype=np.int64))
    uneven = make_header(64, 60_000, freq_table=tuple(1500.0 - np.arange(64) ** 1.1))
    nothing = replace(STATS, skewness=np.full_like(STATS.mean, np.nan))
    for sheet in (
        plot_rfi(HEADER, MASK, None, spectrum=spectrum),
        plot_rfi(uneven, everything, nothing, spectrum=spectrum),
        plot_mask(HEADER, ~MASK.chan_ok, MASK.bad, MASK.reasons, 1500),
    ):
        assert picture(sheet).startswith(PNG)


def test_the_highest_power_of_each_stretch_is_drawn():
    powers = POWERS.copy()
    powers[[3, 40, 31_000]] = 50.0, 60.0, 70.0
    freqs, tops = peaks_by_frequency(powers, 0.25)
    assert len(freqs) < 1600
    assert (np.diff(freqs) > 0).all()
    for i, power in ((3, 50.0), (40, 60.0), (31_000, 70.0)):
        assert tops[freqs == 0.25 * i] == power
    np.testing.assert_array_equal(powers[np.round(freqs / 0.25).astype(int)], tops)
