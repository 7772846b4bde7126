"""The coherent search of one series: what it finds, what noise does to it, what it lists."""

import numpy as np
import pytest
from reference.noises import white as noise

from pulsar.config.model import CoherentConfig
from pulsar.errors import ConfigError, DataError
from pulsar.searches import stats
from pulsar.searches.coherent import BANDS, SLOW, SLOWEST, CoherentSearch
from pulsar.searches.fft import FFTSearch
from pulsar.searches.search import Band

TSAMP = 1e-3


def pulsar(n, period, duty, snr, phase=0.3):
    """Gaussian pulses of matched S/N `snr` in noise of variance 1; `period` in samples."""
    turns = (np.arange(n) / period - phase + 0.5) % 1.0 - 0.5
    shape = np.exp(-4.0 * np.log(2.0) * (turns / duty) ** 2)
    shape -= shape.mean()
    return (snr * shape / np.sqrt(np.sum(shape**2))).astype(np.float32)


@pytest.mark.parametrize(("period", "duty"), [(19.37, 0.15), (101.3, 0.05), (411.7, 0.015), (2023.1, 0.005)])
def test_keeps_nearly_all_of_the_matched_snr(period, duty):
    n = 1 << 17
    search = CoherentSearch(n, TSAMP)
    kept = []
    for seed in range(12):
        found = search.search(noise(n, seed) + pulsar(n, period, duty, 14.0, 0.37 * seed))
        best = found[0]
        assert abs(best["freq"] * TSAMP * period - 1.0) * n / period < 0.1
        assert best["kind"] == "coherent"
        kept.append([best["snr"] / 14.0, best["width"] / duty])
    snr, width = np.mean(kept, axis=0)
    assert 0.94 < snr < 1.06
    assert 0.7 < width < 1.6


def test_finds_narrow_pulses_that_sums_of_powers_lose():
    n, seeds = 1 << 17, 12
    coherent, powers = CoherentSearch(n, TSAMP), FFTSearch(n, TSAMP)
    seen = np.zeros(2)
    for seed in range(seeds):
        x = noise(n, seed) + pulsar(n, 1402.3 + 31.7 * seed, 0.008, 8.0, 0.1 * seed)
        for i, search in enumerate((coherent, powers)):
            freq = search.search(x)["freq"] * TSAMP * (1402.3 + 31.7 * seed)
            near = np.abs(freq - np.round(freq)) * n / (1402.3 + 31.7 * seed) < 1.0
            seen[i] += np.any(near & (freq > 0.5))
    assert seen[0] >= 11
    assert seen[1] <= 6


@pytest.mark.parametrize(("log2n", "threshold", "seeds"), [(15, -2.0, 150), (17, -1.0, 60)])
def test_false_alarms_are_as_many_as_promised(log2n, threshold, seeds):
    search = CoherentSearch(1 << log2n, TSAMP, CoherentConfig(threshold=threshold))
    found = sum(len(search.search(noise(1 << log2n, 5000 + seed))) for seed in range(seeds))
    promised = seeds * stats.expected_from_sigma(threshold)
    assert abs(found - promised) < 3.0 * np.sqrt(promised) + 0.25 * promised


@pytest.mark.parametrize("slope", [1, 2, 3])
def test_red_noise_raises_no_more_alarms_than_promised(slope):
    n, seeds = 1 << 15, 60
    search = CoherentSearch(n, TSAMP, CoherentConfig(threshold=-1.0))
    found = []
    for seed in range(seeds):
        spec = np.fft.rfft(np.random.default_rng(seed).standard_normal(2 * n))
        spec[1:] *= np.sqrt(1.0 + (40.0 / (np.arange(1, spec.size) / 2.0)) ** slope)
        found += search.search(np.fft.irfft(spec)[:n].astype(np.float32))["snr"].tolist()
    promised = seeds * stats.expected_from_sigma(-1.0)
    assert 0.5 * promised < len(found) < promised + 4.0 * np.sqrt(promised)
    assert max(found) < search.snr_threshold + 2.0


def test_frequency_errors_are_honest():
    n, pulls = 1 << 16, []
    for seed in range(40):
        period, duty = 311.7 + 7.3 * seed, (0.02, 0.05, 0.1)[seed % 3]
        found = CoherentSearch(n, TSAMP).search(noise(n, seed) + pulsar(n, period, duty, 13.0, 0.1 * seed))
        pulls.append((found[0]["freq"] - 1e3 / period) / found[0]["freq_err"])
    assert 0.6 < np.sqrt(np.mean(np.square(pulls))) < 1.4


def test_a_bright_source_is_listed_once_or_nearly():
    n = 1 << 17
    x = noise(n, 1) + pulsar(n, 411.7, 0.03, 60.0) + pulsar(n, 1303.9, 0.02, 15.0)
    found = CoherentSearch(n, TSAMP).search(x)
    assert found["freq"][0] == pytest.approx(1e3 / 411.7, abs=0.05 / (n * TSAMP))
    assert found["snr"][0] == pytest.approx(60.0, rel=0.1)
    assert found["freq"][1] == pytest.approx(1e3 / 1303.9, abs=0.1 / (n * TSAMP))
    assert len(found) <= 4


def test_numbers_of_a_detection_agree():
    n = 1 << 16
    search = CoherentSearch(n, TSAMP, ntrials_dm=100.0)
    best = search.search(noise(n, 3) + pulsar(n, 411.7, 0.03, 12.0), dm=7.0, dm_index=3)[0]
    assert (best["dm"], best["dm_index"], best["fdot"]) == (7.0, 3, 0.0)
    assert best["logp"] == pytest.approx(float(stats.logp_from_sigma(best["snr"])))
    assert best["power"] == pytest.approx(best["nharm"] + 0.5 * best["snr"] ** 2)
    assert best["sigma"] == pytest.approx(
        float(stats.trial_sigma(best["logp"], search.ntrials(best["logp"]))), rel=1e-5
    )
    assert search.ntrials(-30.0) == pytest.approx(100.0 * CoherentSearch(n, TSAMP).ntrials(-30.0))


def test_lines_that_are_known_are_left_out():
    n = 1 << 16
    x = noise(n, 3) + 0.2 * np.sin(2.0 * np.pi * 50.0 * TSAMP * np.arange(n)).astype(np.float32)
    search = CoherentSearch(n, TSAMP)
    assert np.any(np.abs(search.search(x)["freq"] - 50.0) < 0.05)
    # Nor what is left of it anywhere else.
    assert len(search.search(x, birdies=[(50.0, 0.4)])) == 0


def test_the_range_of_periods_is_kept():
    n = 1 << 16
    x = noise(n, 3) + pulsar(n, 411.7, 0.03, 15.0)
    assert CoherentSearch(n, TSAMP).search(x).size
    for limits in ({"p_min": 1.0}, {"p_max": 0.1}):
        search = CoherentSearch(n, TSAMP, CoherentConfig.model_validate(limits))
        periods = 1.0 / search.search(x)["freq"]
        assert not np.any(np.abs(periods - 0.4117) < 0.001)
        assert search.units.sum() < CoherentSearch(n, TSAMP).units.sum()
    with pytest.raises(ConfigError, match="swap them"):
        CoherentSearch(n, TSAMP, CoherentConfig(p_min=2.0, p_max=1.0))


def test_nothing_is_found_where_there_is_nothing():
    n = 1 << 14
    search = CoherentSearch(n, TSAMP)
    assert len(search.search(np.full(n, 7, dtype=np.int16))) == 0
    assert len(CoherentSearch(n, TSAMP, CoherentConfig(p_min=1e-3, p_max=0.01)).search(noise(n, 1))) == 0
    with pytest.raises(DataError, match="coherent harmonic search"):
        CoherentSearch(100, TSAMP)


def test_cost_grows_with_the_length_and_needs_no_more_room_than_the_power_spectrum():
    short, long_ = (CoherentSearch.estimate(1 << k, TSAMP) for k in (16, 18))
    assert 3.0 < long_.trials / short.trials < 5.0
    assert long_.seconds > 3.0 * short.seconds
    assert long_.memory == FFTSearch.estimate(1 << 18, TSAMP).memory
    # Those that are looked at are counted: close to what noise leaves.
    search = CoherentSearch(1 << 16, TSAMP)
    buffers = search._buffers()
    assert search._fft.fill(noise(1 << 16, 1), (), buffers)
    looked = 0
    for tier, cells in zip(search.tiers, search._look(buffers, 0.0), strict=True):
        looked += cells.size * tier.offsets.size
    assert looked == pytest.approx(short.trials, rel=0.4)


def test_spectra_that_were_just_made_are_taken_over_and_no_others():
    n = 1 << 15
    spectra = FFTSearch(n, TSAMP)
    search, alone = CoherentSearch(n, TSAMP, spectra=spectra), CoherentSearch(n, TSAMP)
    one, two = (noise(n, seed) + pulsar(n, 211.3, 0.03, 15.0) for seed in (1, 2))
    expected = [alone.search(x).tolist() for x in (one, two)]
    assert expected[0] != expected[1]
    spectra.search(one)
    assert search.search(one).tolist() == expected[0]
    assert search.search(two).tolist() == expected[1]
    # The same array with other samples, gone through by both.
    one[:] = two
    spectra.search(one)
    assert search.search(one).tolist() == expected[1]
    # Lines that are left out are part of what was made.
    lines = [(1e3 / 211.3 * k, 0.1) for k in range(1, 60)]
    without = search.search(one, birdies=lines).tolist()
    assert without == alone.search(one, birdies=lines).tolist() != expected[1]
    assert search.search(one).tolist() == expected[1]


def test_slow_periods_are_left_out_where_a_dm_is_not_one_of_the_few():
    n = 1 << 17
    search = CoherentSearch(n, TSAMP)
    x = noise(n, 3) + pulsar(n, 811.7, 0.02, 14.0) + pulsar(n, 83.1, 0.05, 14.0)
    both, fast = (search.search(x, band=Band(low)) for low in (0.0, SLOW))
    assert np.sort(1.0 / both["freq"][:2]) / TSAMP == pytest.approx([83.1, 811.7], rel=1e-4)
    assert fast["freq"].min() > SLOW
    assert 1.0 / fast["freq"][0] / TSAMP == pytest.approx(83.1, rel=1e-4)
    assert fast["snr"][0] == both["snr"][np.abs(both["freq"] * TSAMP * 83.1 - 1.0).argmin()]


def test_the_slowest_are_left_out_by_themselves():
    n, tsamp = 1 << 17, 4e-4
    search = CoherentSearch(n, tsamp)
    x = noise(n, 3) + pulsar(n, 4111.7, 0.02, 16.0) + pulsar(n, 811.7, 0.02, 14.0)
    every, some, fast = (search.search(x, band=Band(low)) for low in (0.0, SLOWEST, SLOW))
    assert np.sort(1.0 / every["freq"][:2]) / tsamp == pytest.approx([811.7, 4111.7], rel=1e-4)
    assert SLOWEST < some["freq"].min() < SLOW < fast["freq"].min(initial=np.inf)
    assert 1.0 / some["freq"][0] / tsamp == pytest.approx(811.7, rel=1e-4)


def test_fewer_dms_for_slow_periods_are_fewer_trials():
    every = CoherentSearch(1 << 17, TSAMP, ntrials_dm=1000.0)
    bands = tuple((band, number) for (band, _), number in zip(BANDS, (1000.0, 100.0, 30.0), strict=True))
    few = CoherentSearch(1 << 17, TSAMP, ntrials_dm=1000.0, bands=bands)
    expected = every.units @ [1000.0, 100.0, 30.0] / (every.units.sum() * 1000.0)
    assert few.ntrials(-20.0) / every.ntrials(-20.0) == pytest.approx(expected)
    assert few.snr_threshold < every.snr_threshold
