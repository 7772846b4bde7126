"""Flags from a fold and from what the run knows of interference."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.detections import make_group
from reference.products import make_fold

from pulsar.constants import LEAST_DM
from pulsar.data.flags import BY_NAME
from pulsar.data.fold import FoldParams
from pulsar.sources.features import FEATURE_NAMES, dm_odds, features
from pulsar.sources.interference import (
    KnownInterference,
    flags_of,
    looks_like_comb,
    looks_like_diode,
    looks_like_mains,
    looks_like_radar,
    looks_mirrored,
    looks_stepped,
    looks_undispersed,
)
from pulsar.sources.score import UNDISPERSED

#: Of a noise diode [s].
DIODE = 0.201326592


def fold_at(freq, dm=0.0, dm_err=0.5, freq_err=1e-5, **more):
    fold = make_fold(1)
    return dataclasses.replace(fold, after=FoldParams(freq, 0.0, dm), dm_err=dm_err, freq_err=freq_err, **more)


def judged(fold, known=None, group=None):
    known = KnownInterference() if known is None else known
    group = make_group(fold.after.freq) if group is None else group
    return flags_of(group, fold, features(fold, sigma=10.0, ndetections=20), known)


def test_a_pulsar_has_no_flag():
    assert judged(make_fold(1), KnownInterference(mains=(50.0, 60.0), diodes=(DIODE,), lines=((11.0, 0.01),))) == ()


def test_undispersed_by_its_detections():
    # The search saw it as strong at DM 0; a fold that tells the DM goes before that.
    neutral = features(make_fold(1), sigma=10.0, ndetections=20)
    fold = fold_at(3.0, dm=30.0, dm_err=9.0)
    # A slow pulsar whose DM is known to 10 or so has odds of ten to one for 0, if it is small.
    for odds, told in (
        (-2.3, False),
        (-4.0, True),
        (float("nan"), True),
        (UNDISPERSED - 0.1, True),
        (UNDISPERSED + 0.1, False),
    ):
        values = {**neutral, "dm_odds": odds}
        flags = flags_of(make_group(3.0, undispersed=True), fold, values, KnownInterference())
        assert ("dm0" in flags) is told
    assert flags_of(make_group(3.0), fold, {**neutral, "dm_odds": 0.0}, KnownInterference()) == ()


def test_odds_of_a_dm():
    # A small error around 0 speaks for interference, a large one says nothing, many errors from 0 for a pulsar.
    def odds(dm, dm_err, at_zero=float("nan")):
        fold = fold_at(3.0, dm=dm, dm_err=dm_err)
        fold.extra["snr_dm0"] = at_zero
        return dm_odds(fold)

    assert odds(0.0, 1.0) == pytest.approx(-np.log(300 / np.sqrt(2 * np.pi)))
    assert odds(0.0, 200.0) == 0.0
    assert odds(30.0, 200.0) > 0.0
    assert odds(30.0, 3.0) > 40.0
    # As good at DM 0: what the fit takes for a DM is something else that varies over the band.
    snr = make_fold(1).snr
    assert odds(30.0, 0.03, at_zero=snr) < -2.0
    assert np.isnan(odds(30.0, float("nan")))


def test_undispersed_by_its_fold():
    # Surely below the DM of any pulsar.
    assert looks_undispersed(fold_at(3.0, dm=0.4, dm_err=0.1))
    assert not looks_undispersed(fold_at(3.0, dm=LEAST_DM + 0.1, dm_err=0.1))
    # Else only if it is surely better at DM 0, of which it is a lobe.
    sure = fold_at(3.0, dm=30.0, dm_err=4.0)
    for more, told in ((0.0, False), (2.0, False), (4.0, True)):
        sure.extra["snr_dm0"] = sure.snr + more
        assert looks_undispersed(sure) is told


@pytest.mark.parametrize(
    ("snr_dm0", "width_dm0", "told"), [(17.2, 1 / 128, False), (17.2, 0.3, True), (40.0, 0.02, True)]
)
def test_what_is_stronger_at_dm_0_is_another_signal_where_it_leaves_too_little(snr_dm0, width_dm0, told):
    # Hum in the turn of a pulsar at DM 270: at that DM a box of one bin is drawn out over ten.
    fold = fold_at(0.3, dm=270.0, dm_err=10.0, snr=12.4, width=0.023)
    fold.extra.update(snr_dm0=snr_dm0, width_dm0=width_dm0)
    assert looks_undispersed(fold) is told


@given(seed=st.integers(0, 200), width=st.floats(0.2, 40.0), snr=st.floats(0.0, 60.0), second=st.floats(0.0, 1.0))
def test_no_pulse_is_a_mirrored_line(seed, width, snr, second):
    # From a fraction of a bin to a third of a turn, with another pulse half a turn on; drifts took the first harmonics.
    nbins, at = 128, np.arange(128)
    shape = np.exp(-0.5 * ((at - 40) / width) ** 2) + second * np.exp(-0.5 * ((at - 104) / width) ** 2)
    spectrum = np.fft.rfft(snr * (shape - shape.mean()) / np.sqrt(np.sum((shape - shape.mean()) ** 2)))
    spectrum[1:4] *= 0.3
    profile = np.fft.irfft(spectrum, nbins) + np.random.default_rng(seed).standard_normal(nbins)
    assert not looks_mirrored(dataclasses.replace(make_fold(1), profile=profile.astype(np.float32)))


@pytest.mark.parametrize(("snr", "told"), [(4.0, False), (15.0, True), (30.0, True)])
def test_a_mirrored_line_is_told(snr, told):
    # 211.2 turns of the mains in one of the fold: harmonic 45, left out, and its feet.
    nbins = 128
    rng = np.random.default_rng(0)
    spectrum = np.zeros(65, dtype=np.complex128)
    near = np.arange(36, 62)
    spectrum[near] = np.exp(0.4j * near) / (np.abs(near - 44.8) + 1.0)
    spectrum[43:48] = 0.0
    line = np.fft.irfft(spectrum, nbins)
    profile = snr * line / np.sqrt(np.sum(line**2)) + rng.standard_normal(nbins)
    fold = dataclasses.replace(make_fold(1), profile=profile.astype(np.float32))
    assert looks_mirrored(fold) is told
    assert ("mirrored" in judged(fold)) is told
    # A pulsar in whose fold it is as well is one.
    pulse = np.exp(-0.5 * ((np.arange(nbins) - 40) / 4.0) ** 2)
    profile += 12.0 * (pulse - pulse.mean()) / np.sqrt(np.sum((pulse - pulse.mean()) ** 2))
    assert not looks_mirrored(dataclasses.replace(fold, profile=profile.astype(np.float32)))


def whitened(profile, width, kept):
    extra = {"whitened": 40.0, "red_noise": 40.0, "pulse_kept": kept}
    snr = float(np.max(np.convolve(profile, np.ones(round(width * 128)) / np.sqrt(round(width * 128)), "same")))
    return fold_at(0.04, dm=30.0, profile=profile.astype(np.float32), width=width, snr=snr, extra=extra)


def high_passed(profile, noise, seed=1):
    """Without its five lowest harmonics, in noise of 1."""
    parts = np.fft.rfft(profile)
    parts[:6] = 0.0
    return np.fft.irfft(parts, profile.size) + noise * np.random.default_rng(seed).normal(size=profile.size)


def test_the_edges_of_a_step_are_no_pulse():
    step = np.zeros(128)
    step[40:104] = 25.0
    edges = whitened(np.diff(step, prepend=0.0) + np.random.default_rng(3).normal(size=128), 1 / 128, 0.07)
    assert looks_stepped(edges)
    assert "red noise" in judged(edges)
    assert not looks_stepped(dataclasses.replace(edges, extra={}))


@pytest.mark.parametrize("sigma", [1.0, 3.0, 6.0])
def test_a_pulse_without_its_lowest_harmonics_is_no_step(sigma):
    pulse = np.exp(-0.5 * ((np.arange(128) - 60.0) / sigma) ** 2)
    filtered = high_passed(30.0 * pulse / np.sqrt(np.sum(pulse**2)), 1.0)
    kept = np.sqrt(np.sum(high_passed(pulse, 0.0) ** 2) / np.sum(pulse**2))
    assert not looks_stepped(whitened(filtered, round(2.35 * sigma) / 128, kept))


@given(harmonic=st.integers(1, 6), wander=st.floats(-0.004, 0.004), mains=st.sampled_from([50.0, 60.0]))
def test_mains_wander(harmonic, wander, mains):
    fold = fold_at(harmonic * mains * (1 + wander))
    assert looks_like_mains(fold, (50.0, 60.0), dispersion_known=True)
    assert not looks_like_mains(fold, (), dispersion_known=True)
    # A pulsar at that frequency is dispersed.
    pulsar = fold_at(harmonic * mains * (1 + wander), dm=60.0)
    assert not looks_like_mains(pulsar, (50.0, 60.0), dispersion_known=True)
    assert looks_like_mains(pulsar, (50.0, 60.0), dispersion_known=False)


@pytest.mark.parametrize("freq", [50.0 * 1.006, 25.0, 7 * 50.0 * 1.001, 41.0])
def test_what_is_no_harmonic_of_the_mains(freq):
    assert not looks_like_mains(fold_at(freq), (50.0,), dispersion_known=True)


@given(harmonic=st.integers(1, 64), part=st.floats(-0.9, 0.9))
def test_the_diode_is_as_regular_as_the_clock(harmonic, part):
    near = fold_at(harmonic / DIODE + part * 0.3 / 300.0, freq_err=1e-9)
    assert looks_like_diode(near, (DIODE,), dispersion_known=True)
    beside = fold_at(harmonic / DIODE + np.sign(part or 1.0) * 0.4 / 300.0, freq_err=1e-9)
    assert not looks_like_diode(beside, (DIODE,), dispersion_known=True)
    unsure = dataclasses.replace(beside, freq_err=0.2 / 300.0)
    assert looks_like_diode(unsure, (DIODE,), dispersion_known=True)
    assert not looks_like_diode(fold_at(harmonic / DIODE, dm=60.0), (DIODE,), dispersion_known=True)
    assert not looks_like_diode(near, (), dispersion_known=True)


@pytest.mark.parametrize(("period", "width"), [(8.27945, 0.0156), (10.01838, 0.008), (4.0, 0.02), (12.5, 0.001)])
def test_a_turn_of_a_radar_is_told_where_no_dm_is(period, width):
    once = fold_at(1.0 / period, dm=26.0, width=width)
    assert looks_like_radar(once, dispersion_known=False)
    assert "radar" in judged(once, KnownInterference(dispersion_known=False))
    assert not looks_like_radar(once, dispersion_known=True)


@pytest.mark.parametrize(("period", "width"), [(3.9, 0.01), (12.6, 0.01), (0.714571, 0.01), (8.0, 0.03)])
def test_other_turns_are_no_radar(period, width):
    assert not looks_like_radar(fold_at(1.0 / period, width=width), dispersion_known=False)


def test_lines_and_their_harmonics():
    lines = ((11.0, 0.02),)
    for harmonic in (1, 2, 16):
        assert looks_like_comb(fold_at(11.0 * harmonic + 0.009 * harmonic), lines, dispersion_known=True)
        assert not looks_like_comb(fold_at(11.0 * harmonic + 0.02 * harmonic), lines, dispersion_known=True)
    assert not looks_like_comb(fold_at(11.0 * 17), lines, dispersion_known=True)
    assert not looks_like_comb(fold_at(5.5), lines, dispersion_known=True)
    assert not looks_like_comb(fold_at(22.0, dm=60.0), lines, dispersion_known=True)
    assert looks_like_comb(fold_at(22.0, dm=60.0), lines, dispersion_known=False)
    # Where harmonics lie so close that any frequency is one of them, being one says nothing.
    assert not looks_like_comb(fold_at(11.0), ((11.0, 0.5),), dispersion_known=True)


def test_a_line_is_named_once():
    known = KnownInterference(mains=(50.0,), diodes=(DIODE,), lines=((50.0, 0.1), (1 / DIODE, 0.001), (13.0, 0.001)))
    assert judged(fold_at(50.02), known) == ("dm0", "mains")
    assert judged(fold_at(1 / DIODE), known) == ("dm0", "noise diode")
    assert judged(fold_at(13.0), known) == ("dm0", "comb")
    assert judged(fold_at(17.0), known) == ("dm0",)


numbers = st.floats(-1e6, 1e6) | st.just(float("nan"))


@given(
    values=st.dictionaries(st.sampled_from(FEATURE_NAMES), numbers),
    freq=st.sampled_from([50.0, 1 / DIODE, 13.0, 17.0]),
    dm=st.floats(0.0, 300.0),
    undispersed=st.booleans(),
    known=st.booleans(),
)
def test_every_flag_is_in_the_table_and_given_once(values, freq, dm, undispersed, known):
    rules = KnownInterference((50.0,), (DIODE,), ((13.0, 0.001),), known)
    fold = fold_at(freq, dm=dm)
    complete = dict.fromkeys(FEATURE_NAMES, float("nan")) | values
    flags = flags_of(make_group(freq, undispersed=undispersed), fold, complete, rules)
    assert set(flags) <= set(BY_NAME)
    assert len(set(flags)) == len(flags)
    assert all(BY_NAME[flag].of in ("candidate", "both") for flag in flags)
    assert ("dm0" in flags) or not undispersed or complete["dm_odds"] >= UNDISPERSED
