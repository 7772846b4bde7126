"""Folds for PRESTO: the layout against real files of prepfold, and the fold that a reader gets back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.pfd import dedispersed, parse
from reference.products import make_header, summed_fold, write_product

from pulsar.data.fold import Fold
from pulsar.handover.candidate import Exported, candidate_of
from pulsar.handover.formats import bestprof_text, pfd_bytes, phase_of_start, significance, spread
from pulsar.io.folded import spread_noise
from pulsar.io.product.reader import read


def exported(fold: Fold) -> Exported:
    return Exported("c0001", "J0534+2200", {}, fold, make_header(), (Path("a.fil"),), Path("run.h5"))


@pytest.mark.parametrize("name", ["Ter5_080912_DM242.30_PSR_1748-2446A", "Ter5_080912_bary_DM238.30_8.66ms_Cand"])
def test_the_layout_is_that_of_prepfold(shared_data: Path, name: str) -> None:
    real = parse((shared_data / "folded" / f"{name}.pfd").read_bytes())
    text = (shared_data / "folded" / f"{name}.pfd.bestprof").read_text()
    facts = dict(line[2:].split("=", 1) for line in text.splitlines() if line.startswith("# ") and "=" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    assert real["nbins"] == int(facts["Profile Bins"])
    assert real["dt"] == pytest.approx(float(facts["T_sample"]), rel=1e-6)
    # Where the DM cannot be told the text says N/A, and here it is not.
    assert real["dm"] == pytest.approx(float(facts.get("Best DM", real["dm"])), abs=1e-3)
    # A series has no DMs to try.
    assert real["ndm"] == (2 * real["nbins"] * real["steps"][3] + 1) * (real["nsub"] > 1)
    assert real["nperiod"] == 2 * real["nbins"] * real["steps"][4] + 1
    own = pfd_bytes(exported(summed_fold()))
    assert set(parse(own)) == set(real)
    # The same facts in the same words.
    ours = [line.split("=")[0].strip() for line in bestprof_text(exported(summed_fold())).splitlines()[:13]]
    assert [key.replace(" (MJD)", "") for key in ours] == [
        line.split("=")[0].strip().replace(" (MJD)", "") for line in text.splitlines()[:13]
    ]


def test_a_reader_gets_the_sums_of_the_fold_back() -> None:
    fold = summed_fold()
    one = exported(fold)
    pfd = parse(pfd_bytes(one))
    cube = dedispersed(pfd, fold.after.dm)
    size = np.sqrt(16 * 8)
    # Turned back to mid-observation, where the fold has its phase 0.
    turn = np.exp(-2j * np.pi * phase_of_start(one) * np.arange(33))

    def turned(profiles: Any) -> Any:
        return np.fft.irfft(np.fft.rfft(profiles, axis=-1) * turn, axis=-1)

    # Each sample spread over its bins, as in a fold of prepfold.
    profile, times, bands = (
        spread(one, sums.astype(float)) for sums in (fold.profile, fold.time_phase, fold.freq_phase)
    )
    np.testing.assert_allclose(turned(cube.sum(axis=(0, 1))) / size, profile, atol=0.3)
    np.testing.assert_allclose(turned(cube.sum(axis=1)) / np.sqrt(8), times, atol=0.4)
    np.testing.assert_allclose(turned(cube.sum(axis=0))[::-1] / np.sqrt(16), bands, atol=0.4)
    assert np.corrcoef(turned(cube.sum(axis=(0, 1))), fold.profile)[0, 1] > 0.999


@pytest.mark.parametrize("tsamp", [6.4e-5, 5.2e-4, 1e-3])
def test_the_statistics_give_the_chi_square_of_the_fold(tsamp: float) -> None:
    fold = summed_fold()
    header = make_header()
    one = replace(exported(fold), header=header.with_(tsamp=tsamp, nsamps=round(fold.tobs / tsamp)))
    pfd = parse(pfd_bytes(one))
    profile = dedispersed(pfd, fold.after.dm).sum(axis=(0, 1))
    # As PRESTO's readers do: variances are summed, and corrected for the samples that prepfold spreads over bins.
    bins = pfd["topo"][0] / pfd["nbins"] / pfd["dt"]
    factor = bins * 0.96 * (1.0 + bins**1.806) ** (-1.0 / 1.806)
    found = np.sum((profile - pfd["stats"][..., 4].sum()) ** 2) / pfd["stats"][..., 5].sum() / 63 / factor
    assert found == pytest.approx(significance(one)[0], rel=0.02)
    ndata, _, data_var, nprof, _, prof_var, chi2 = np.moveaxis(pfd["stats"], 2, 0)
    np.testing.assert_allclose(prof_var, data_var * ndata / nprof, rtol=1e-12)
    np.testing.assert_allclose(chi2, np.sum(pfd["profs"] ** 2, axis=2) / prof_var / (nprof - 1), rtol=1e-12)


def test_noise_that_is_spread_over_bins_is_less_by_what_the_format_says() -> None:
    rng = np.random.default_rng(5)
    for per_bin in (1.13, 2.31, 6.17):
        # Samples as boxes over bins: of each the overlap with its bins.
        edges = np.arange(int(20_000 * per_bin) + 1) / per_bin + rng.uniform()
        level = np.concatenate([[0.0], np.cumsum(rng.normal(size=edges.size - 1))])
        bins = np.diff(np.interp(np.arange(2, 19_990), edges, level))
        assert np.var(bins) / per_bin == pytest.approx(spread_noise(per_bin), rel=0.05)


def test_prepfold_states_the_variance_of_the_samples(shared_data: Path) -> None:
    real = parse((shared_data / "folded" / "Ter5_080912_DM242.30_PSR_1748-2446A.pfd").read_bytes())
    ndata, _, data_var, nprof, _, prof_var, _ = np.moveaxis(real["stats"], 2, 0)
    np.testing.assert_allclose(prof_var, data_var * ndata / nprof, rtol=1e-6)


def test_a_series_has_one_band_whatever_its_frequency() -> None:
    fold = summed_fold()
    fold = replace(fold, freq_phase=fold.profile[None], band_freqs=np.array([np.inf]))
    pfd = parse(pfd_bytes(replace(exported(fold), header=make_header().with_(nchans=1, foff=-400.0, is_series=True))))
    assert (pfd["nsub"], pfd["ndm"]) == (1, 0)
    assert np.all(np.isfinite(pfd["profs"]))
    assert pfd["profs"].sum(axis=(0, 1)).max() == pytest.approx(4 * fold.profile.max(), rel=0.1)


def test_numbers_are_those_of_the_start() -> None:
    fold = summed_fold()
    pfd = parse(pfd_bytes(exported(fold)))
    freq, fdot, fddot = pfd["fold"]
    half = 0.5 * fold.tobs
    assert freq + half * (fdot + 0.5 * fddot * half) == pytest.approx(fold.after.freq, rel=1e-14)
    assert pfd["topo"][0] == pytest.approx(1 / freq, rel=1e-14)
    assert pfd["bary"][0] == pytest.approx(1 / freq / (1 + pfd["voverc"]), rel=1e-8)
    assert pfd["tepoch"] == make_header().tstart
    assert pfd["place"] == ["05:34:31.9200", "+22:00:51.8400"]
    assert abs(pfd["voverc"]) > 1e-6
    assert len(pfd["dms"]) == len(pfd["periods"]) == len(pfd["pdots"]) == 2 * 64 + 1
    assert np.any(np.isclose(pfd["periods"], pfd["topo"][0], rtol=1e-14))


def test_the_dm_of_the_file_aligns_the_bands() -> None:
    fold = summed_fold()
    pfd = parse(pfd_bytes(exported(fold)))
    best = max(pfd["dms"], key=lambda dm: dedispersed(pfd, dm).sum(axis=(0, 1)).max())
    step = pfd["dms"][1] - pfd["dms"][0]
    assert best == pytest.approx(pfd["dm"], abs=2 * step)


def test_bestprof_of_a_product_holds_the_profile(tmp_path: Path) -> None:
    one = candidate_of(read(write_product(tmp_path / "run.h5")), "c0001")
    lines = bestprof_text(one).splitlines()
    profile = np.array([line.split() for line in lines if not line.startswith("#")], dtype=float)
    assert profile.shape == (64, 2)
    assert profile[:, 1].max() == pytest.approx(one.fold.profile.max(), rel=0.2)
    assert any(line.startswith("# P_topo (ms)") for line in lines)
    assert "inf" not in "".join(lines)
