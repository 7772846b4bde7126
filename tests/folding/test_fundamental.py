"""The period of a source among simple multiples of it, and how sure folds of given periods are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pulsar.config.model import FoldConfig
from pulsar.data.candidate import DETECTED
from pulsar.data.fold import Fold, FoldParams
from pulsar.data.series import TimeSeries
from pulsar.folding.folder import fold_series
from pulsar.folding.fundamental import MOST, choose_period, coherent_logps, displaced, fold_sigma, ntrials, one_pulse
from pulsar.folding.refine import refine

RATIOS = (1 / 4, 1 / 3, 1 / 2, 2 / 3, 1, 3 / 2, 2, 3, 4)
PERIOD = 0.2503
TSAMP = 2e-3

#: Pulses as (phase, FWHM, height).
SINGLE = ((0.3, 0.04, 1.0),)
NARROW = ((0.3, 0.015, 1.0),)
WIDE = ((0.3, 0.25, 1.0),)
INTERPULSE = ((0.3, 0.04, 1.0), (0.8, 0.04, 0.6))
#: Close to two equal pulses: the even harmonics are the stronger ones.
EVEN = ((0.3, 0.05, 1.0), (0.8, 0.05, 0.8))
DOUBLE = ((0.2, 0.03, 1.0), (0.32, 0.03, 0.9))


def sky(seed, pulses, snr, *, turns=300, period=PERIOD, red=0.0, modulation=0.0) -> TimeSeries:
    """A pulsar of matched-filter S/N `snr`; `red`: rms of a random walk a second, in sample sigmas."""
    rng = np.random.default_rng(seed)
    n = int(turns * period / TSAMP)
    turn = ((np.arange(n) + 0.5) * TSAMP - 0.5 * n * TSAMP) / period
    shape = np.zeros(n)
    for phase, fwhm, height in pulses:
        x = turn - phase
        number = np.floor(x + 0.5).astype(int)
        strength = np.ones(turns + 3)
        if modulation:
            # Log-normal, mean 1: strong pulses now and then.
            spread = np.sqrt(np.log1p(modulation**2))
            strength = rng.lognormal(-0.5 * spread**2, spread, turns + 3)
        x -= number
        shape += height * strength[number - number.min()] * np.exp(-4 * np.log(2) * (x / fwhm) ** 2)
    amp = snr / np.sqrt(np.sum((shape - shape.mean()) ** 2))
    data = rng.standard_normal(n) + amp * shape + red * np.cumsum(rng.standard_normal(n)) * np.sqrt(TSAMP)
    return TimeSeries(data.astype(np.float32), TSAMP)


def folds_of(series: TimeSeries, period: float, ratios=RATIOS) -> list[Fold]:
    base = refine(fold_series(series, [FoldParams(1.0 / period)], FoldConfig())[0])
    params = [base.after.times(1.0 / r) for r in ratios]
    return [refine(cube) for cube in fold_series(series, params, FoldConfig())]


#: Pulses and S/N.
PULSES = [
    (SINGLE, 9.0), (SINGLE, 30.0), (SINGLE, 300.0), (NARROW, 12.0), (NARROW, 100.0), (WIDE, 9.0), (WIDE, 60.0),
    (WIDE, 300.0), (INTERPULSE, 35.0), (INTERPULSE, 200.0), (EVEN, 80.0), (EVEN, 300.0), (DOUBLE, 14.0),
    (DOUBLE, 100.0),
]  # fmt: skip
#: What was detected, as a multiple of the period.
BASES = (1, 1 / 2, 2)


def by_turns(cases):
    """Each case with one of BASES, by turns; the other pairs are tried among what is slow."""
    return [
        pytest.param(*case, base, marks=[] if base == BASES[number % 3] else [pytest.mark.slow])
        for number, case in enumerate(cases)
        for base in BASES
    ]


@pytest.mark.parametrize(("pulses", "snr", "base"), by_turns(PULSES))
def test_the_period_is_found_whichever_multiple_was_detected(pulses, snr, base):
    wrong = 0
    # Chance has a part where pulses are faint.
    for seed in range(3 if snr < 15 else 1):
        series = sky(seed, pulses, snr)
        folds = folds_of(series, base * PERIOD)
        choice = choose_period(folds)
        period = 1.0 / (choice.factor * folds[choice.index].after.freq)
        wrong += abs(period / PERIOD - 1.0) > 1e-3
    # At S/N 9 the odd harmonics alone stand at 4 to 5 sigma.
    assert wrong <= (1 if snr < 10 else 0)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_period_whose_every_kth_harmonic_alone_has_power_is_too_long(factor):
    folds = folds_of(sky(1, SINGLE, 40.0, period=PERIOD / factor, turns=300 * factor), PERIOD)
    choice = choose_period(folds)
    assert folds[choice.index].after.freq * PERIOD == pytest.approx(factor, rel=1e-3)
    # The long one alone tells by how much it is too long.
    alone = choose_period([folds[RATIOS.index(1)]])
    assert (alone.index, alone.factor) == (0, factor)


@pytest.mark.parametrize("pulses", [SINGLE, WIDE, INTERPULSE])
def test_red_noise_is_no_evidence_for_a_longer_period(pulses):
    """The low harmonics of the long periods stand in noise of many times the white one."""
    for seed in range(2):
        series = sky(seed, pulses, 45.0, red=3.0)
        folds = folds_of(series, PERIOD)
        choice = choose_period(folds)
        assert (RATIOS[choice.index], choice.factor) == (1, 1)


@pytest.mark.parametrize(("n", "number"), [(2, 1), (3, 1), (4, 1), (4, 3)])
@pytest.mark.parametrize(("pulses", "wave"), [(SINGLE, 0.3), (NARROW, 0.3)])
def test_a_wave_in_red_noise_is_no_evidence_for_a_longer_period(pulses, wave, n, number):
    """Unequal pulses of one shape have as much between their harmonics above: a wave at a harmonic below is alone."""
    for seed in range(3):
        series = sky(seed, pulses, 120.0, red=1.0)
        turns = (np.arange(series.nsamps) - 0.5 * series.nsamps) * TSAMP / PERIOD
        data = series.data + wave * np.sin(2.0 * np.pi * number / n * turns).astype(np.float32)
        longer = folds_of(TimeSeries(data, TSAMP), n * PERIOD, (1,))
        assert choose_period(longer).factor == n


@pytest.mark.parametrize(
    ("pulses", "snr"),
    [
        (((0.3, 0.05, 1.0), (0.8, 0.05, 0.7), (0.3, 0.3, 0.3)), 30.0),
        (((0.3, 0.05, 1.0), (0.8, 0.05, 0.9), (0.3, 0.3, 0.3)), 50.0),
        (((0.39, 0.04, 0.8), (0.45, 0.33, 0.5), (0.58, 0.045, 0.3), (0.89, 0.05, 0.8)), 25.0),
    ],
)
def test_a_broad_component_is_evidence_for_the_longer_period(pulses, snr):
    for seed in range(4):
        assert choose_period(folds_of(sky(seed, pulses, snr, turns=600), PERIOD, (1,))).factor == 1


@pytest.mark.parametrize("fwhm", [0.025, 0.05, 0.1])
@pytest.mark.parametrize("heights", [(1.0, 0.8), (1.0, 0.9, 0.8), (0.8, 1.0, 1.0, 1.0)])
def test_unequal_pulses_of_any_width_are_of_the_longer_period(fwhm, heights):
    n = len(heights)
    for seed in range(3):
        pulses = [((0.1 + i) / n, fwhm, height) for i, height in enumerate(heights)]
        assert choose_period(folds_of(sky(seed, pulses, 120.0), PERIOD, (1,))).factor == 1


@pytest.mark.parametrize("turns", [24, 120])
def test_pulses_that_vary_are_no_evidence_for_a_longer_period(turns):
    """With few turns and high S/N, pulses of their own strength differ between odd and even turns, far beyond noise."""
    right = 0
    for seed in range(5):
        folds = folds_of(sky(seed, SINGLE, 300.0, turns=turns, modulation=1.0), PERIOD)
        choice = choose_period(folds)
        assert RATIOS[choice.index] <= 1
        right += RATIOS[choice.index] == 1
    assert right >= 5


def test_noise_needs_no_harmonic():
    rng = np.random.default_rng(5)
    values = []
    for _ in range(30):
        series = TimeSeries(rng.standard_normal(20000).astype(np.float32), TSAMP)
        fold = refine(fold_series(series, [FoldParams(1.0 / PERIOD)], FoldConfig())[0])
        values.append(one_pulse(fold, (10, 3), 2, {2}))
    # The refinement has looked for power; beyond 4 sigma is what a pulsar has.
    assert np.mean(np.array(values) > 4.0) < 0.05


@pytest.mark.parametrize(("period", "low", "high"), [(PERIOD, 0.8, 1.0), (0.5 * PERIOD, 0.0, 0.05)])
def test_one_weak_narrow_pulse_is_told_from_two_equal_ones(period, low, high):
    """Its many odd harmonics are weak each; the box at its place against that half a turn later is one number."""
    significances = []
    for seed in range(20):
        series = sky(seed, NARROW, 8.5, turns=300 if period == PERIOD else 600, period=period)
        fold = refine(fold_series(series, [FoldParams(1.0 / PERIOD)], FoldConfig())[0])
        both = fold.profile.reshape(2, -1).sum(axis=0)
        width = round(0.02 * len(fold.profile))
        start = np.argmax(sum(np.roll(both, -i) for i in range(width)))
        significances.append(one_pulse(fold, (int(start), width), 2, {2}))
    assert low <= np.mean(np.array(significances) > 3.0) <= high


@pytest.mark.parametrize(
    ("pulses", "low", "high"),
    [
        # Of one strength, a width more than half a turn apart; of other widths; and at half a turn.
        (((0.3, 0.04, 1.0), (0.77, 0.04, 1.0)), 0.95, 1.0),
        (((0.3, 0.03, 1.0), (0.8, 0.06, 0.7)), 0.95, 1.0),
        (((0.3, 0.04, 1.0), (0.8, 0.04, 1.0)), 0.0, 0.05),
        # What is at the longer period is of another source, elsewhere in the turn, or a wave.
        (((0.3, 0.04, 1.0), (0.8, 0.04, 1.0), (0.55, 0.04, 0.6)), 0.0, 0.05),
        (((0.3, 0.04, 1.0), (0.8, 0.04, 1.0), (0.1, 0.5, 0.3)), 0.0, 0.05),
    ],
)
def test_pulses_that_differ_near_equal_places_are_told_from_other_sources(pulses, low, high):
    significances = []
    for seed in range(20):
        fold = refine(fold_series(sky(seed, pulses, 45.0), [FoldParams(1.0 / PERIOD)], FoldConfig())[0])
        both = fold.profile.reshape(2, -1).sum(axis=0)
        width = round(0.05 * len(fold.profile))
        start = np.argmax(sum(np.roll(both, -i) for i in range(width)))
        significances.append(displaced(fold, (int(start), width), 2))
    assert low <= np.mean(np.array(significances) > 4.0) <= high


def coherent_logp(parts):
    """Of all harmonics."""
    return float(coherent_logps(parts, np.ones((1, parts.shape[1]), dtype=np.bool_))[0])


def test_chance_of_coherence_is_what_it_says():
    rng = np.random.default_rng(6)
    for n, nharm, common in [(32, 12, False), (8, 5, False), (32, 12, True)]:
        logs = []
        for _ in range(2000):
            parts = rng.standard_normal((n, nharm)) + 1j * rng.standard_normal((n, nharm))
            if common:
                # All harmonics vary together, as those of a pulse do.
                parts = 10.0 * rng.standard_normal((n, 1)) * np.exp(1j * np.arange(nharm)) + 0.1 * parts
            logs.append(coherent_logp(parts / np.sqrt(2.0)))
        for p in (0.1, 0.01):
            share = np.mean(np.array(logs) < np.log(p))
            # Real amplitudes (common) have half the degrees of freedom that complex ones would: tails are longer.
            assert share < (4.0 if common else 1.6) * p + 3.0 * np.sqrt(p / 2000)
            assert share > 0.3 * p - 3.0 * np.sqrt(p / 2000)


def test_chance_of_coherence_far_out_is_finite_and_falls():
    parts = np.ones((32, 20), dtype=np.complex128)
    noise = np.random.default_rng(7).standard_normal((32, 20))
    logs = [coherent_logp(amp * parts + noise) for amp in (0.5, 1.0, 3.0, 30.0, 3e4)]
    assert np.all(np.isfinite(logs))
    assert np.all(np.diff(logs) < 0)
    assert coherent_logp(np.zeros((0, 4), dtype=np.complex128)) == 0.0


def test_chance_of_coherence_of_sets_is_that_of_their_harmonics_alone():
    rng = np.random.default_rng(8)
    for n in (1, 2, 20):
        parts = rng.standard_normal((n, 9)) + 1j * rng.standard_normal((n, 9)) + 0.3
        sets = np.array([np.arange(9) % k == 0 for k in (1, 2, 4, 8, 10)] + [np.zeros(9, dtype=np.bool_)])
        alone = [coherent_logp(parts[:, use]) for use in sets]
        assert coherent_logps(parts, sets) == pytest.approx(alone, rel=1e-9)
        assert alone[-1] == 0.0


def test_a_faint_interpulse_is_named_as_the_other_answer_or_decided():
    named = 0
    for seed in range(6):
        folds = folds_of(sky(seed, EVEN, 45.0), PERIOD)
        choice = choose_period(folds)
        right = RATIOS.index(1)
        named += right in (choice.index, choice.alternative)
    assert named >= 4


@pytest.mark.parametrize(("turns", "shown"), [(23, 23), (45, 45), (61, 61), (83, 45)])
def test_a_wave_far_faster_than_the_fold_is_told_by_its_one_line(turns, shown):
    rng = np.random.default_rng(turns)
    series = sky(turns, NARROW, 0.0, turns=60, period=2.0)
    t = np.arange(series.nsamps) * TSAMP
    data = rng.standard_normal(series.nsamps) + 0.3 * np.sin(2.0 * np.pi * turns * t / 2.0)
    cube = fold_series(TimeSeries(data.astype(np.float32), TSAMP), [FoldParams(0.5)], FoldConfig())[0]
    fold = refine(cube)
    # Beyond half of the bins a wave looks slower.
    assert fold.time_phase.shape[1] == 128
    assert choose_period([fold]).factor == shown


@pytest.mark.parametrize("snr", [7.0, 9.0, 12.0, 30.0])
def test_narrow_pulses_of_few_turns_are_no_wave(snr):
    for seed in range(8):
        series = sky(seed, ((0.3, 0.01, 1.0),), snr, turns=40, period=2.0)
        fold = refine(fold_series(series, [FoldParams(0.5)], FoldConfig())[0])
        assert choose_period([fold]).factor <= MOST


def test_no_fold_is_refused():
    with pytest.raises(ValueError, match="no fold"):
        choose_period([])


def test_a_dead_subintegration_does_no_harm():
    folds = folds_of(sky(3, INTERPULSE, 60.0), PERIOD)
    dead = []
    for fold in folds:
        part = fold.time_phase.copy()
        part[len(part) // 2] = 0.0
        dead.append(replace(fold, time_phase=part))
    assert RATIOS[choose_period(dead).index] == 1


#: Name, sampling time and period.
REAL = [
    ("lovell_psr4", 0.002, 0.299013),
    ("GBT_J1807-0847", 163.84e-6, 0.1637113),
    ("lovell_psr0", 0.01, 0.2265362),
    ("lovell_psr5", 0.01, 0.714571),
    ("lovell_psr2", 0.0025, 0.476596),
]


@pytest.mark.parametrize(("name", "tsamp", "period", "base"), by_turns(REAL))
def test_real_pulsars(shared_data: Path, name, tsamp, period, base):
    series = TimeSeries(np.fromfile(shared_data / "series" / f"{name}.dat", dtype=np.float32), tsamp)
    ratios = [r for r in RATIOS if r * base * period > 2.0 * tsamp]
    folds = folds_of(series, base * period, ratios)
    choice = choose_period(folds)
    assert 1.0 / (choice.factor * folds[choice.index].after.freq) == pytest.approx(period, rel=1e-4)
    assert choice.alternative is None


def folds(series: np.ndarray, freqs: np.ndarray) -> list:
    data = TimeSeries(series.astype(np.float32), 1e-3, 30.0, 55000.0)
    cubes = fold_series(data, [FoldParams(float(f), 0.0, 30.0) for f in freqs], FoldConfig(nbins=64))
    return [refine(cube, search_dm=False) for cube in cubes]


def test_noise_is_as_sure_as_chance_has_it() -> None:
    rng = np.random.default_rng(7)
    found = folds(rng.normal(size=60_000), 1.0 / rng.uniform(0.2, 0.9, 150))
    sigma = np.array([fold_sigma(fold) for fold in found])
    # 84 % below 1 sigma and 97.7 % below 2 where the trials are right; errors of 150 folds, and a factor 3 of trials.
    assert np.count_nonzero(sigma > 1.0) <= 36
    assert np.count_nonzero(sigma > 2.0) <= 9
    assert sigma.max() < DETECTED + 0.5
    # Not by being so strict that nothing could pass.
    assert np.count_nonzero(sigma > -0.5) >= 30


@pytest.mark.parametrize(("snr", "seen"), [(3.5, False), (8.0, True)])
def test_a_pulsar_is_detected_where_its_snr_is_beyond_its_trials(snr: float, seen: bool) -> None:
    period, duty, n = 0.4321, 0.05, 60_000
    phase = (np.arange(n) * 1e-3 / period) % 1.0
    inside = phase < duty
    series = np.random.default_rng(3).normal(size=n) + inside * snr / np.sqrt(np.count_nonzero(inside))
    (fold,) = folds(series, np.array([1.0 / period]))
    assert fold.snr == pytest.approx(snr, abs=1.5)
    assert (fold_sigma(fold) > DETECTED) == seen


def test_more_that_was_searched_is_more_trials() -> None:
    (fold,) = folds(np.random.default_rng(1).normal(size=60_000), np.array([2.0]))
    assert 1.0 < ntrials(fold, 5.0, refined=False) < ntrials(fold, 5.0, refined=True) < ntrials(fold, 6.0, refined=True)
