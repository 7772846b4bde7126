"""Folds for PRESTO have the chi-square and sigma of prepfold's own fold of the same samples."""

import re
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray
from reference.pfd import parse

from pulsar.config.model import FoldConfig
from pulsar.data.fold import FoldParams
from pulsar.data.header import Header
from pulsar.data.series import TimeSeries
from pulsar.folding.folder import fold_series
from pulsar.folding.refine import refine
from pulsar.handover.candidate import Exported
from pulsar.handover.formats import bestprof_text, pfd_bytes, spread
from pulsar.io.folded import spread_noise
from pulsar.searches.stats import chi2_logsf, sigma_from_logp

TSAMP: Final = 1e-3
#: Samples a turn, S/N, full width at half maximum [turns], bins, seed -> reduced chi-square and sigma that prepfold (of
#: PRESTO 6.0.1, ``-nosearch -npart 32 -topo``) has written of these samples.
MEASURED: Final = {
    (29.37, 17.0, 0.06, 64, 21): (11.740, 14.3),
    (29.37, 9.0, 0.15, 64, 22): (3.888, 6.2),
    (29.37, 60.0, 0.1, 64, 23): (126.949, 54.6),
    (17.31, 30.0, 0.1, 32, 24): (55.389, 26.4),
    (13.31, 25.0, 0.05, 32, 25): (43.271, 20.8),
    (45.3, 12.0, 0.04, 128, 26): (3.863, 7.8),
    (70.3, 25.0, 0.03, 64, 27): (14.387, 21.5),
    (70.3, 10.0, 0.1, 64, 28): (3.388, 7.2),
    (203.7, 25.0, 0.05, 128, 29): (7.040, 20.2),
    (997.3, 40.0, 0.02, 64, 30): (23.737, 34.4),
    (997.3, 60.0, 0.1, 128, 31): (26.724, 52.0),
}


def samples(turn: float, snr: float, width: float, seed: int, n: int = 1 << 16) -> NDArray[np.float64]:
    """White noise of 1 and Gaussian pulses, of which each sample holds the mean over its length."""
    at = (np.arange(8 * n) + 0.5) / 8 / turn % 1.0
    signal = np.exp(-0.5 * ((at - 0.4) * 2.3548 / width) ** 2).reshape(n, 8).mean(axis=1)
    signal -= signal.mean()
    return np.asarray(np.random.default_rng(seed).normal(size=n) + snr * signal / np.sqrt(np.sum(signal**2)))


def exported(data: NDArray[np.float64], turn: float, nbins: int) -> Exported:
    """Our fold of a series."""
    cube = fold_series(TimeSeries(data, TSAMP), [FoldParams(1.0 / (turn * TSAMP))], FoldConfig(nbins=nbins))[0]
    fold = refine(cube, fit=False)
    header = Header(
        nchans=1, nsamps=len(data), tsamp=TSAMP, fch1=1400.0, foff=-100.0, tstart=58000.0, is_series=True
    )  # fmt: skip
    return Exported("c0001", "c0001", {}, fold, header, (Path("a.dat"),), Path("run.h5"))


def drizzled(data: NDArray[np.float64], turn: float, nbins: int) -> NDArray[np.float64]:
    """A fold in which each sample is a box over the bins: differences of the running sum at their edges."""
    edges = np.arange(int(len(data) / turn * nbins) + 1) * (turn / nbins)
    whole = np.diff(np.interp(edges, np.arange(len(data) + 1), np.concatenate([[0.0], np.cumsum(data)])))
    return np.asarray(whole[: len(whole) // nbins * nbins].reshape(-1, nbins).sum(axis=0))


def significance(profile: NDArray[np.float64], variance: float, samples_per_bin: float) -> tuple[float, float]:
    """Reduced chi-square and sigma as PRESTO reckons them (``DOF_corr``, ``calc_redchi2``, ``calc_sigma``)."""
    freedom = (len(profile) - 1) * samples_per_bin * 0.96 * (1.0 + samples_per_bin**1.806) ** (-1.0 / 1.806)
    chi2 = float(np.sum((profile - profile.mean()) ** 2) / variance)
    return chi2 / freedom, float(sigma_from_logp(float(chi2_logsf(chi2, freedom))))


def of_pfd(data: bytes) -> tuple[float, float]:
    """What the class ``pfd`` of PRESTO finds in a file of one subband."""
    pfd = parse(data)
    period = pfd["topo"][0] or pfd["bary"][0]
    profile = pfd["profs"].sum(axis=(0, 1))
    return significance(profile, pfd["stats"][..., 5].sum(), period / pfd["nbins"] / pfd["dt"])


def of_text(text: str) -> tuple[float, float]:
    """Reduced chi-square and sigma of a ``.bestprof``."""
    found = re.search(r"Reduced chi-sqr *= *(\S+)\n.*\(~(\S+) sigma", text)
    assert found is not None
    return float(found[1]), float(found[2])


@pytest.mark.parametrize("case", list(MEASURED), ids=lambda case: f"{case[0]:g} samples, S/N {case[1]:g}")
def test_the_numbers_are_those_of_prepfold(case: tuple[float, float, float, int, int]) -> None:
    turn, snr, width, nbins, seed = case
    data = samples(turn, snr, width, seed)
    # What stands in for prepfold below is it: to the last turn, which is not whole, and to what is printed.
    own = significance(drizzled(data, turn, nbins), len(data) / nbins * np.var(data), turn / nbins)
    assert own == pytest.approx(MEASURED[case], rel=0.015)
    one = exported(data, turn, nbins)
    assert one.fold.profile.size == nbins
    file = of_pfd(pfd_bytes(one))
    # In bins that share samples the same noise lies otherwise: half a sigma, where 3 % are less.
    assert file[1] == pytest.approx(MEASURED[case][1], rel=0.03, abs=0.5)
    # Sigma is about the root of chi-square.
    assert file[0] == pytest.approx(MEASURED[case][0], rel=0.06)
    assert of_text(bestprof_text(one)) == pytest.approx(file, rel=5e-3, abs=0.12)


def test_text_holds_what_its_numbers_are_made_of() -> None:
    one = exported(samples(29.37, 20.0, 0.1, 21), 29.37, 64)
    text = bestprof_text(one)
    profile = np.array([line.split()[1] for line in text.splitlines() if not line.startswith("#")], dtype=float)
    deviation = re.search(r"Profile StdDev *= *(\S+)", text)
    assert deviation is not None
    assert significance(profile, float(deviation[1]) ** 2, 29.37 / 64) == pytest.approx(of_text(text), rel=2e-3)


@pytest.mark.parametrize("turn", [29.37, 70.3, 203.7])
def test_noise_is_neither_a_signal_nor_less_than_noise(turn: float) -> None:
    # The mean of 40 reduced chi-squares of 63 degrees of freedom, of which bins that share samples leave a third.
    found = [of_pfd(pfd_bytes(exported(samples(turn, 0.0, 0.1, 100 + k, 1 << 13), turn, 64)))[0] for k in range(40)]
    expected = [
        significance(drizzled(samples(turn, 0.0, 0.1, 100 + k, 1 << 13), turn, 64), (1 << 13) / 64, turn / 64)[0]
        for k in range(40)
    ]
    assert np.mean(found) == pytest.approx(np.mean(expected), abs=0.06)
    assert np.mean(found) == pytest.approx(1.0, abs=0.12)


def test_a_pulse_gets_as_wide_as_samples_make_it() -> None:
    turn = 13.31
    data = samples(turn, 150.0, 0.03, 5)
    one = exported(data, turn, 32)
    profile = spread(one, one.fold.profile.astype(float))
    powers = [np.abs(np.fft.rfft(each)[1:8]) ** 2 for each in (one.fold.profile, profile, drizzled(data, turn, 32))]
    share = np.sinc(np.arange(1, 8) / turn) ** 2
    np.testing.assert_allclose(powers[1] / powers[0], share, rtol=0.02)
    # The other fold is in another unit.
    np.testing.assert_allclose(powers[2] / powers[2][0], powers[1] / powers[1][0], rtol=0.05)
    assert powers[0][-1] / powers[0][0] > 1.3 * powers[2][-1] / powers[2][0]


@pytest.mark.parametrize("name", ["Ter5_080912_DM242.30_PSR_1748-2446A", "Ter5_080912_bary_DM238.30_8.66ms_Cand"])
def test_formulas_are_those_of_prepfold(shared_data: Path, name: str) -> None:
    data = (shared_data / "folded" / f"{name}.pfd").read_bytes()
    text = (shared_data / "folded" / f"{name}.pfd.bestprof").read_text()
    told = parse(data)
    bins = (told["topo"][0] or told["bary"][0]) / told["nbins"] / told["dt"]
    red, sigma = of_text(text)
    freedom = (told["nbins"] - 1) * spread_noise(bins)
    assert sigma == pytest.approx(float(sigma_from_logp(float(chi2_logsf(red * freedom, freedom)))), abs=0.1)
