"""The whole program on small real observations with known answers; skipped where they are absent."""

import functools

import numpy as np
import pytest

from pulsar.config.load import load_config
from pulsar.io.open import open_observation
from pulsar.run import search


@pytest.fixture(scope="module")
def run(shared_data, tmp_path_factory):
    """The search of a file with settings; each is made once, and asked many things."""

    @functools.cache
    def searched(name, *sets):
        return search(shared_data / name, load_config(None, list(sets)), tmp_path_factory.mktemp("run") / "run.h5")

    return searched


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("GBT_J1807-0847", "inf"), *((name, "tim") for name in ("lovell_psr0", "lovell_psr5", "lovell_psr2"))],
)
def test_a_series_is_the_same_by_whichever_of_its_files(shared_data, name, suffix):
    with (
        open_observation(shared_data / f"series/{name}.dat") as dat,
        open_observation(shared_data / f"series/{name}.{suffix}") as other,
    ):
        assert other.header.tsamp == pytest.approx(dat.header.tsamp)
        assert other.header.is_series
        np.testing.assert_array_equal(other.read().data, dat.read().data)


@pytest.mark.parametrize("suffix", ["dat", "tim"])
def test_j1807(run, suffix):
    rows = run(f"series/GBT_J1807-0847.{suffix}").rows("candidates")
    best = rows[0]
    assert best["period"] == pytest.approx(0.1637113, rel=1e-4)
    assert best["snr"] > 200
    # One candidate: no other stands free at a harmonic of it.
    free = rows[(rows["harmonic_of"] == "") & (rows["rank"] > 1)]
    ratio = best["period"] / free["period"]
    assert not np.any((np.abs(ratio - np.round(ratio)) < 1e-3) & (free["sigma"] > 5))


@pytest.mark.parametrize(
    ("name", "period", "tolerance", "snr"),
    [("lovell_psr0", 0.2265362, 2e-5, 120), ("lovell_psr5", 0.714571, 2e-5, 45), ("lovell_psr2", 0.476596, 3e-5, 0)],
)
def test_lovell(run, name, period, tolerance, snr):
    best = run(f"series/{name}.dat").rows("candidates")[0]
    assert best["period"] == pytest.approx(period, rel=tolerance)
    assert best["snr"] > snr


def test_mains_lines_of_psr2_are_left_out_or_flagged(run):
    product = run("series/lovell_psr2.dat")
    left_out = product.rows("rfi/birdies")
    for freq in (49.96, 100.44):
        near = left_out[np.abs(left_out["freq"] - freq) < 0.1]
        assert len(near) >= 1
        assert all("mains" in reason for reason in near["reason"])
    rows = product.rows()
    lines = rows[(np.abs(rows["freq"] - 49.96) < 0.1) | (np.abs(rows["freq"] - 100.44) < 0.1)]
    assert all("mains" in flags for flags in lines["rfi_flags"])
    # Where they are not looked for they are listed, and flagged.
    off = [f"{name}.enabled=false" for name in ("coherent", "ffa", "single_pulse")]
    lines_only = ["rfi.learn=false", "fft.p_min=0.009", "fft.p_max=0.03", *off]
    shown = run("series/lovell_psr2.dat", *lines_only).rows("candidates")
    lines = shown[(np.abs(shown["freq"] - 49.96) < 0.1) | (np.abs(shown["freq"] - 100.44) < 0.1)]
    lines = lines[lines["parent"] == ""]
    assert len(lines) >= 2
    assert all("mains" in flags for flags in lines["rfi_flags"])


def test_psr4_is_first_and_alone(run):
    rows = run("series/lovell_psr4.dat").rows("candidates")
    assert rows["period"][0] == pytest.approx(0.299013, rel=5e-5)
    assert not ((rows["score"][1:] > 0.5) & (rows["harmonic_of"][1:] == "")).any()


@pytest.mark.parametrize(
    ("name", "period"),
    [
        ("GBT_J1807-0847", 0.1637113),
        ("lovell_psr0", 0.2265362),
        ("lovell_psr2", 0.476596),
        ("lovell_psr4", 0.299013),
        ("lovell_psr5", 0.714571),
        ("Lband_DM62.00", None),
    ],
)
def test_nothing_but_the_pulsar_of_a_series_scores_above_a_half(run, name, period):
    found = run(f"series/{name}.dat")
    rows, pulses = found.rows(), found.rows("single_pulses")
    high = rows[rows["score"] > 0.5]
    expected = [] if period is None else [pytest.approx(period, rel=5e-5)]
    assert list(high["period"]) == expected
    assert (rows["score"][: len(expected)] >= 0.95).all()
    assert set(pulses["source"][pulses["score"] > 0.5]) <= set(high["id"])


def test_synthetic_two_bit(run):
    off = [f"{name}.enabled=false" for name in ("coherent", "ffa", "single_pulse")]
    sets = ["dedisp.dm_lo=20", "dedisp.dm_hi=40", "fold.nbins=64", *off]
    best = run("bits/synthetic_2bit.fil", *sets).rows("candidates")[0]
    assert abs(best["period"] - 0.24999) < 3 * best["period_err"] + 1e-5
    assert abs(best["dm"] - 30) < 3 * best["dm_err"]
    assert best["snr"] == pytest.approx(94, rel=0.1)


@pytest.mark.parametrize(("name", "snr"), [("28.fil", 16.5), pytest.param("28.fits", 16.4, marks=pytest.mark.slow)])
def test_frb_180417(run, name, snr):
    product = run(f"burst/{name}", "dedisp.dm_hi=800")
    (pulse,) = product.rows("single_pulses")
    assert pulse["dm"] == pytest.approx(474.8, abs=4)
    assert pulse["time"] == pytest.approx(2.029, abs=0.004)
    assert 1 <= round(pulse["width"] / 1.26647e-3) <= 3
    assert pulse["snr"] == pytest.approx(snr, rel=0.15)
    # It has a period by chance only.
    rows = product.rows("candidates")
    assert not np.any((rows["score"] > 0.5) & (np.abs(rows["dm"] - 475) < 20))


def test_single_rotations_of_j1807(run):
    product = run("series/GBT_J1807-0847.dat")
    best, pulses = product.rows("candidates")[0], product.rows("single_pulses")
    assert set(best["found_by"].split(",")) >= {"fft", "pulses"}
    mine = pulses[pulses["source"] == best["id"]]
    turns = np.unique(np.round((mine["time"] - mine["time"][0]) / best["period"]))
    assert turns.size >= 120


@pytest.mark.parametrize(
    ("name", "period"), [("GBT_J1807-0847", 0.1637113), ("lovell_psr0", 0.2265362), ("lovell_psr5", 0.714571)]
)
def test_folding_search_finds_the_fundamental(run, name, period):
    only = ["fft.enabled=false", "coherent.enabled=false", "single_pulse.enabled=false", "ffa.p_min=0.1", "ffa.p_max=5"]
    rows = run(f"series/{name}.dat", *only).rows("candidates")
    assert rows[0]["period"] == pytest.approx(period, rel=1e-4)
    assert rows[0]["found_by"] == "ffa"


@pytest.mark.parametrize("name", ["burst/28.fil", "burst/28.fits", "bits/parkes_4bit.sf", "bits/parkes_1bit.fil"])
def test_what_looks_good_without_a_pulsar_is_the_mains(run, name):
    rows = run(name, "dedisp.dm_hi=60").rows("candidates")
    good = rows[rows["score"] > 0.5]
    harmonic = good["freq"] / 50
    assert (np.abs(harmonic - np.round(harmonic)) < 0.01).all()
