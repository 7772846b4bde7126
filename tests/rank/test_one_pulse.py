"""A pulse in the harmonics that others have no lines at."""

import dataclasses

import numpy as np
import pytest
from reference.detections import FREQS, TOBS, make_group
from reference.sources import NBINS, SKY, Source, evidence_of, lines_of, parents

from pulsar.folding.fundamental import coherent_sigma
from pulsar.rank.blends import _multiples, blends
from pulsar.rank.candidate import Candidate
from pulsar.rank.compare import UNEXPLAINED, beyond, nharm_of, unexplained
from pulsar.rank.explain import _orphans, _Verdict, explain
from pulsar.rank.lines import comb_of, expected_harmonics
from pulsar.rank.one_pulse import CHANCE_SNR, clear_harmonics, pulse_sigma, pulse_snr

NHARM = 30


def everything(nharm=NHARM):
    return np.zeros(nharm), np.ones(nharm, dtype=np.bool_)


def noisy_fold(seed, snr, fwhm=0.04, at=0.0):
    """A fold of a pulse of this S/N at a place [turns] in noise of its own."""
    fold = Source(1.0, snr=max(snr, 1.0), fwhm=fwhm).fold()
    profile, _ = lines_of(snr, fwhm) if snr else (np.zeros(NBINS), None)
    rng = np.random.default_rng(seed)
    rows = np.roll(profile, round(at * NBINS)) / 4.0 + rng.standard_normal((16, NBINS))
    return dataclasses.replace(fold, time_phase=rows.astype(np.float32), profile=(rows.sum(axis=0) / 4.0))


def test_harmonics_at_lines_of_others_are_not_clear():
    other = comb_of(Source(0.7).fold(), FREQS, 1e-4)
    # 4/7 of its frequency: every seventh harmonic is a line. 0.2 bins beside: so is every one that is near enough.
    for off, least in ((0.0, 0.0), (0.2, 0.0), (0.2, 1.0)):
        fold = Source(0.4 + off / TOBS).fold()
        number = np.arange(1, NHARM + 1)
        distance = np.abs((number * fold.after.freq) / 0.7 - np.round(number * fold.after.freq / 0.7)) * 0.7 * TOBS
        clear = clear_harmonics(fold, [other], NHARM)
        assert not clear[distance < 1.0].any()
        assert clear[distance > 1.5 + 0.1 * number].all()
        # Of errors all that they may hide is not clear.
        unsure = dataclasses.replace(fold, freq_err=least / TOBS)
        assert np.all(clear_harmonics(unsure, [other], NHARM) <= clear)
    assert clear_harmonics(fold, [], NHARM).all()


def test_a_pulse_has_its_snr():
    """With all harmonics the matched sum has the S/N of the pulse, with some of them their part of it."""
    left, use = everything(NBINS // 2 - 1)
    found = np.array([pulse_snr(noisy_fold(seed, 20.0, at=0.3), left, use) for seed in range(40)])
    # Noise that is told from 16 parts, and never less than white, is 1.1 in the mean.
    whole = found.mean()
    assert whole == pytest.approx(20.0, rel=0.1)
    assert 0.5 < found.std() < 1.6
    number = np.arange(1, use.size + 1)
    weights = np.exp(-((np.pi * number * 0.04) ** 2) / (2.0 * np.log(2.0)))
    some = number % 3 == 0
    part = whole * np.sqrt(weights[some].sum() / weights.sum())
    found = np.array([pulse_snr(noisy_fold(seed, 20.0, at=0.3), left, some) for seed in range(40)])
    assert found.mean() == pytest.approx(part, rel=0.1)


def test_noise_has_no_pulse():
    """Where the fold shows the pulse by some harmonics, the others have 0 +- 1; significances are of one in so many."""
    left, use = everything()
    number = np.arange(1, NHARM + 1)
    found = []
    for seed in range(300):
        fold = noisy_fold(seed, 0.0)
        assert pulse_sigma(fold, left, use) < UNEXPLAINED
        rows = fold.time_phase + lines_of(12.0, 0.04)[0] / 4.0
        # The pulse is in the even harmonics alone: twice a turn.
        rows = (
            0.5 * (rows + np.roll(rows, NBINS // 2, axis=1))
            + fold.time_phase
            - 0.5 * (fold.time_phase + np.roll(fold.time_phase, NBINS // 2, axis=1))
        )
        found.append(pulse_snr(dataclasses.replace(fold, time_phase=rows.astype(np.float32)), left, number % 2 == 1))
    # Of the two places, half a turn apart, the odd ones have opposite signs: the one with more noise is taken.
    assert abs(np.mean(found)) < 1.2
    assert 0.5 < np.std(found) < 1.3


def test_one_of_many_parts_is_no_pulse():
    left, use = everything()
    fold = noisy_fold(1, 0.0)
    rows = fold.time_phase.copy()
    steady = dataclasses.replace(fold, time_phase=rows + lines_of(12.0, 0.04)[0].astype(np.float32) / 4.0)
    rows[:3] += lines_of(12.0, 0.04)[0].astype(np.float32) * 4.0 / 3.0
    burst = dataclasses.replace(fold, time_phase=rows)
    assert pulse_sigma(steady, left, use) > 8.0
    assert pulse_sigma(burst, left, use) < UNEXPLAINED


def test_less_than_refined_noise_is_nothing():
    left, use = everything()
    found = {snr: pulse_sigma(noisy_fold(5, snr), left, use) for snr in (0.7 * CHANCE_SNR, 2.0 * CHANCE_SNR)}
    assert found[0.7 * CHANCE_SNR] == 0.0
    assert found[2.0 * CHANCE_SNR] > UNEXPLAINED
    none = np.zeros(NHARM, dtype=np.bool_)
    assert pulse_sigma(noisy_fold(5, 20.0), left, none) == pulse_snr(noisy_fold(5, 20.0), left, none) == 0.0


def by_chance(own):
    """A pulsar near 4/7 of the frequency of a stronger one, whose lines are most of what a search found there."""
    strong = Source(0.7, snr=25.0, fwhm=0.06)
    slow = Source(0.4 + 0.02 / TOBS, snr=own, fwhm=0.03)
    profile, _ = lines_of(own, 0.03)
    spectrum, lines = np.fft.rfft(profile), np.fft.rfft(lines_of(strong.snr, strong.fwhm)[0])
    for k in range(1, 5):
        spectrum[7 * k] += lines[4 * k] * np.exp(1j * k)
    profile = np.fft.irfft(spectrum, NBINS)
    fold = dataclasses.replace(slow.fold(profile=profile), snr=float(np.sqrt(np.sum(profile**2))))
    power = strong.power(slow.freq, 16, 60) + slow.power(slow.freq, 16, 60)
    return strong, Candidate(make_group(slow.freq, nharm=16, excess=power, uid="slow"), fold)


def test_a_pulse_at_a_ratio_by_chance_stands():
    strong, slow = by_chance(6.5)
    comb = comb_of(strong.fold(), FREQS, SKY.tsamp)
    told = parents(explain([strong.candidate(uid="strong"), slow], [], SKY))
    assert told["slow"] == ("", "")
    assert unexplained(slow, [comb]) > UNEXPLAINED
    # By their powers alone its harmonics would not do.
    power = np.sum([expected_harmonics(comb, slow.fold, nharm_of(slow.fold))], axis=0)
    assert coherent_sigma(*beyond(slow.fold, power)) < UNEXPLAINED
    # Without the pulse what is there is the other one's.
    strong, slow = by_chance(1.0)
    told = parents(explain([strong.candidate(uid="strong"), slow], [], SKY))
    assert told["slow"][0] == "strong"


def test_what_belonged_to_one_that_is_given_away_stands():
    """At three times its period a pulsar is the surer; the fold there has nothing that a chance neighbour does not."""
    strong, slow = by_chance(6.5)
    third = Source(slow.freq / 3.0, snr=6.0, fwhm=0.03)
    spectrum = np.zeros(NBINS // 2 + 1, complex)
    spectrum[21::21] = np.fft.rfft(strong.fold().profile)[4:13:4][: spectrum[21::21].size]
    fold = third.fold(profile=np.fft.irfft(spectrum, NBINS))
    folded = [
        strong.candidate(uid="strong"),
        slow,
        Candidate(make_group(third.freq, nharm=32, excess=80.0, uid="third"), fold),
    ]
    known = evidence_of(folded)
    assert known.unexplained(1, [0]) > UNEXPLAINED > known.unexplained(2, [0])
    told = _Verdict([0], np.array([-1, 2, 0]))
    _orphans(told, known)
    # With what it accounts for.
    assert told.parent.tolist() == [-1, -1, 1]
    assert told.accepted == [0, 1]
    # What has nothing of its own follows.
    weak = by_chance(1.0)[1]
    told = _Verdict([0], np.array([-1, 2, 0]))
    _orphans(told, evidence_of([folded[0], weak, folded[2]]))
    assert told.parent.tolist() == [-1, 2, 0]


def test_a_pulsar_in_red_noise_is_no_blend_of_its_half_and_another():
    """Noise has the power of most harmonics that are not in its half, or every 13th; summed at its phases they tell."""
    common, blended = 0.4, 0
    spectrum = np.fft.rfft(lines_of(10.0, 0.05)[0])
    other = Source(13.0 / 3.0 * common + 0.03 / TOBS, snr=15.0, fwhm=0.05)
    theirs, half = np.fft.rfft(other.fold().profile), np.zeros_like(spectrum)
    half[: NBINS // 4] = spectrum[0 : NBINS // 2 : 2]
    spectrum[13::13] += theirs[3 : 3 * spectrum[13::13].size + 1 : 3]
    two = Source(2.0 * common, snr=8.6, fwhm=0.1)
    fast = dataclasses.replace(two.candidate(uid="fast"), fold=two.fold(profile=np.fft.irfft(half, NBINS)))
    for seed in range(20):
        source = Source(common, snr=10.0, fwhm=0.05)
        fold = source.fold(profile=np.fft.irfft(spectrum, NBINS))
        parts = np.fft.rfft(fold.time_phase.astype(np.float64), axis=1)
        rng = np.random.default_rng(seed)
        parts[:, 1:12] += np.sqrt(1.5 * NBINS) * (rng.standard_normal((16, 11)) + 1j * rng.standard_normal((16, 11)))
        fold = dataclasses.replace(fold, time_phase=np.fft.irfft(parts, NBINS, axis=1).astype(np.float32))
        slow = dataclasses.replace(source.candidate(uid="slow"), fold=fold)
        known = evidence_of([slow, fast, other.candidate(uid="other")])
        assert len(_multiples(0, [1, 2], known)) == 2
        blended += 0 in blends([0, 1, 2], known)
    assert blended == 0


def test_multiples_of_a_strong_pulsar_stay_its_own():
    """Their tails are more than its comb tells, as of a real one of S/N 46: what was of one of them is of it."""
    strong = Source(1.4, snr=46.0, fwhm=0.0234)
    spectrum = np.fft.rfft(lines_of(strong.snr, strong.fwhm)[0])
    folded = [strong.candidate(uid="strong")]
    for ratio in (2, 5):
        comb = np.zeros_like(spectrum)
        own = spectrum[ratio::ratio]
        comb[1 : own.size + 1] = own
        # As wide as it is there, and somewhat more of it than there should be.
        profile = np.fft.irfft(comb, NBINS) + lines_of(9.0, 0.03)[0]
        fold = dataclasses.replace(strong.fold(ratio, profile), width=ratio * strong.fwhm, snr=46.0 / np.sqrt(ratio))
        folded.append(Candidate(strong.group(ratio, 8, uid=f"{ratio}"), fold))
    known = evidence_of(folded)
    assert known.unexplained(2, [0]) > UNEXPLAINED
    told = _Verdict([0], np.array([-1, 0, 1]))
    _orphans(told, known)
    assert told.parent.tolist() == [-1, 0, 1]
