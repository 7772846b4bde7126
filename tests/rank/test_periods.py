"""Which of several periods of one source is listed, and what is no period of its own."""

import dataclasses

import numpy as np
import pytest
from reference.detections import TOBS, make_group
from reference.sources import NBINS, SKY, Source, at_sigma, lines_of, parents

from pulsar.rank.compare import SAME_BINS, UNEXPLAINED, commensurate, may_be_period, shares, shows_others, unexplained
from pulsar.rank.explain import explain
from pulsar.rank.lines import comb_of


def candidate(source, uid, *, sigma=None, profile=None, **changes):
    """A source with its fold, the numbers of it changed."""
    one = dataclasses.replace(source.candidate(uid=uid), fold=source.fold(profile=profile))
    group = one.group if sigma is None else dataclasses.replace(one.group, best=at_sigma(one.group.best, sigma))
    return dataclasses.replace(one, group=group, fold=dataclasses.replace(one.fold, **changes))


@pytest.mark.parametrize(
    ("turns", "snr", "may"),
    # Two equal pulses leave 0.71 of the S/N at twice their period; nobody has seen three.
    [(2, 15.0, True), (2, 13.0, False), (3, 15.0, False), (5, 15.0, False), (3, 21.0, True), (5, 21.0, True)],
)
def test_a_multiple_of_the_period_shows_more_unless_it_has_two_pulses(turns, snr, may):
    pulsar = Source(2.0, snr=20.0)
    long = candidate(Source(2.0 / turns, snr=snr), "long")
    assert may_be_period(long, candidate(pulsar, "pulsar"), SKY, SAME_BINS) is may


@pytest.mark.parametrize(("amplitude", "stands"), [(0.0, False), (1.0, True)])
def test_one_wave_is_no_source_at_a_part_of_its_frequency(amplitude, stands):
    """A drift of the level that is a wave, at twice the frequency of a fold that holds a pulsar's pulses else."""
    pulsar = Source(5.05, snr=30.0, fwhm=0.05)
    phase = np.arange(NBINS) / NBINS
    profile = pulsar.fold().profile[5 * np.arange(NBINS) % NBINS] / np.sqrt(5.0) + 1.5 * np.cos(4.0 * np.pi * phase)
    profile += amplitude * (np.cos(2.0 * np.pi * phase) + np.cos(6.0 * np.pi * phase + 1.0))
    one = candidate(Source(1.01, snr=15.0, fwhm=0.03), "one", profile=profile)
    found = unexplained(one, [comb_of(pulsar.fold(), SKY.freqs, SKY.tsamp)])
    assert (found > UNEXPLAINED) is stands
    # The fundamental is never set aside: a pulse as wide as half a turn is little else.
    wide = candidate(Source(1.0, snr=15.0, fwhm=0.4), "wide", profile=2.0 * np.cos(2.0 * np.pi * phase))
    assert unexplained(wide, []) > UNEXPLAINED


@pytest.mark.parametrize(("sigma", "snr", "listed"), [(9.0, 14.0, "long"), (9.0, 12.0, "half"), (4.0, 14.0, "half")])
def test_a_longer_period_that_is_not_excluded_is_the_period_if_fold_and_search_agree(sigma, snr, listed):
    """Odd harmonics of 2.4 sigma leave it open: a surer detection and nearly the S/N do not."""
    pulsar, odd = Source(4.0, snr=14.0, fwhm=0.1), Source(2.0, snr=1.0, fwhm=0.1)
    at = np.arange(NBINS)
    profile = pulsar.fold().profile[2 * at % NBINS] + 5.5 * odd.fold().profile
    long = candidate(Source(2.0, snr=snr, fwhm=0.05), "long", sigma=sigma, profile=profile)
    half = candidate(pulsar, "half", sigma=6.0)
    told = parents(explain([long, half], [], SKY))
    assert [uid for uid, (parent, _) in told.items() if not parent] == [listed]


@pytest.mark.parametrize(("second", "rough", "listed"), [(0.0, 0.1, "long"), (0.5, 0.0, "half")])
def test_a_longer_period_that_is_not_sure_is_none_where_there_are_pulses_at_the_other_places(second, rough, listed):
    """Pulses that vary happen to be brighter in every second turn; the search has the surer detection there."""
    source, at = Source(2.0, snr=11.0, fwhm=0.05), np.arange(NBINS)
    pulse = source.fold().profile
    profile = pulse + second * np.roll(pulse, NBINS // 2)
    part = (profile + np.roll(profile, NBINS // 2))[at // 2] / np.sqrt(2.0)
    rows = source.fold(profile=profile).time_phase
    vary = rough * np.random.default_rng(3).standard_normal(len(rows))[:, None] * (pulse - np.roll(pulse, NBINS // 2))
    changes = {"phase": (float(np.argmax(profile)) + 0.5) / NBINS, "time_phase": (rows + vary).astype(np.float32)}
    long = candidate(Source(2.0, snr=14.0, fwhm=0.05), "long", sigma=9.0, profile=profile, **changes)
    half = candidate(Source(4.0, snr=14.0, fwhm=0.1), "half", sigma=6.0, profile=part)
    assert shows_others(long, half) is (listed == "half")
    told = parents(explain([long, half], [], SKY))
    assert [uid for uid, (parent, _) in told.items() if not parent] == [listed]


@pytest.mark.parametrize(("snr", "listed"), [(16.0, "half"), (20.0, "long")])
def test_two_pulses_half_a_turn_apart_must_surely_differ(snr, listed):
    """Odd harmonics of 3.7 sigma beside a second pulse of 5: by chance, of pulses that vary; 5.3 sigma are none."""
    source, at = Source(2.0, snr=snr, fwhm=0.05), np.arange(NBINS)
    pulse = source.fold().profile
    profile = pulse + 0.4 * np.roll(pulse, NBINS // 2)
    part = (profile + np.roll(profile, NBINS // 2))[at // 2] / np.sqrt(2.0)
    long = candidate(source, "long", sigma=9.0, profile=profile, phase=(float(np.argmax(profile)) + 0.5) / NBINS)
    half = candidate(Source(4.0, snr=snr * 1.4 / np.sqrt(2.0), fwhm=0.1), "half", sigma=9.5, profile=part)
    told = parents(explain([long, half], [], SKY))
    assert [uid for uid, (parent, _) in told.items() if not parent] == [listed]


@pytest.mark.parametrize(("bins", "dm", "alike"), [(0.001, 0.05, True), (0.01, 0.05, False), (0.001, 0.5, False)])
def test_multiples_of_one_frequency_within_errors_are_of_one_source(bins, dm, alike):
    one, other = candidate(Source(2.0), "one"), candidate(Source(3.0), "other")
    after = other.fold.after
    moved = dataclasses.replace(after, freq=after.freq + bins / TOBS, dm=after.dm + dm)
    other = dataclasses.replace(other, fold=dataclasses.replace(other.fold, after=moved))
    assert commensurate(one, 2, other, 3, SKY) is alike


def test_harmonics_that_were_left_out_or_drown_have_no_share():
    fold = Source(2.0, snr=20.0, fwhm=0.05).fold()
    share = shares(fold, 20)
    assert share[0] == pytest.approx(1.0, abs=0.6)
    assert share[19] < 0.2 * share[:5].mean()
    # Of the power that the harmonics of the pulse have, as far as noise is white.
    _, lines = lines_of(20.0, 0.05)
    assert share[:12].sum() == pytest.approx(lines[:12].sum() / lines[0], rel=0.2)
    rows = np.fft.rfft(fold.time_phase.astype(np.float64), axis=1)
    rows[:, 3] = 0.0
    rows[:, 5] *= 5.0 * np.exp(2j * np.pi * np.random.default_rng(3).uniform(size=(len(rows), 1)))[:, 0]
    spoilt = dataclasses.replace(fold, time_phase=np.fft.irfft(rows, NBINS, axis=1).astype(np.float32))
    told = shares(spoilt, 20)
    assert told[2] == 0.0
    assert told[4] < 0.1 * share[4]


def test_a_pulse_whose_odd_harmonics_fall_on_the_mains_is_no_blend():
    """1, 3 and 5 left out: half and a third of the period hold the rest, at the same DM."""
    pulsar = Source(2.0, snr=24.0, fwhm=0.06)
    rows = np.fft.rfft(pulsar.fold().time_phase.astype(np.float64), axis=1)
    rows[:, [1, 3, 5]] = 0.0
    time_phase = np.fft.irfft(rows, NBINS, axis=1).astype(np.float32)
    profile = (time_phase.sum(axis=0) / np.sqrt(len(time_phase))).astype(np.float32)
    one = candidate(pulsar, "one", time_phase=time_phase, profile=profile, snr=14.0)
    at = np.arange(NBINS)
    line = pulsar.fold().profile
    parts = {}
    for k in (2, 3):
        # Folded at P / k every k-th harmonic is left.
        wrapped = sum(np.roll(line, -j * NBINS // k) for j in range(k)) / np.sqrt(k)
        squeezed = np.interp(at / k, at, wrapped)
        parts[k] = candidate(Source(2.0 * k, snr=12.0, fwhm=0.06 * k), f"part {k}", sigma=5.0, profile=squeezed)
    folded = [dataclasses.replace(one, group=make_group(2.0, nharm=16, excess=200.0, uid="one")), *parts.values()]
    told = parents(explain(folded, [], SKY))
    assert told["one"] == ("", "")
    assert {told[f"part {k}"][0] for k in (2, 3)} == {"one"}


@pytest.mark.parametrize(("more", "stands"), [(0.0, False), (1.2, True)])
def test_nineteen_times_the_period_of_a_bright_pulsar_is_its_pulses(more, stands):
    """Found far from its DM, where it leaves little: only the fold shows whose it is; or a source of its own."""
    pulsar, at = Source(19.0, snr=70.0, fwhm=0.4), np.arange(NBINS)
    own = Source(1.0, snr=16.0, fwhm=0.02)
    profile = pulsar.fold().profile[19 * at % NBINS] / np.sqrt(19.0) + more * own.fold().profile
    long = candidate(own, "long", sigma=7.0, profile=profile)
    told = parents(explain([candidate(pulsar, "pulsar"), long], [], SKY))
    assert [uid for uid, (parent, _) in told.items() if not parent] == ["pulsar", *["long"] * stands]
