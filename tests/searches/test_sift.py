"""Detections to groups: one signal at one frequency and DM."""

import functools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from reference.detections import FREQS, TOBS, curve, kept, table

from pulsar.config.model import FFTConfig, SiftConfig
from pulsar.searches import stats
from pulsar.searches.fft import FFTSearch
from pulsar.searches.sift import DM_GAP, fade, group

ALL = range(400)


def grouped(*parts, **more):
    """Groups of these detections in an L-band."""
    det = np.concatenate(parts)
    return group(det, TOBS, freqs=FREQS, dms=0.5 * np.arange(len(ALL)), **more)


def one_each(groups, size):
    """Whether every detection is in exactly one group."""
    rows = np.sort(np.concatenate([g.members for g in groups]))
    return np.array_equal(rows, np.arange(size))


def test_one_signal_is_one_group():
    det = curve(13.3, 16, 400.0, 30.0, ALL)
    (one,) = grouped(det)
    assert one.freq == 13.3
    assert one.dm == 30.0
    assert one.ndetections == det.size > 20
    assert one.dm_lo < 30.0 < one.dm_hi
    assert not one.undispersed
    assert one.found_by == ("fft",)
    assert one.excess == pytest.approx(400.0, abs=1e-3)
    assert one.sigma == det["sigma"].max()


@given(
    freq=st.floats(3.0, 300.0),
    nharm=st.sampled_from([1, 2, 4, 8, 16]),
    excess=st.floats(40.0, 3000.0),
    dm=st.floats(5.0, 190.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_curve_of_one_signal_is_never_split(freq, nharm, excess, dm, seed):
    det = curve(freq, nharm, excess, dm, ALL, rng=np.random.default_rng(seed))
    assume(det.size > 0)
    assert len(grouped(det)) == 1


@given(
    freq=st.floats(20.0, 300.0),
    nharm=st.sampled_from([4, 8, 16]),
    ratio=st.floats(0.5, 1.0),
    widths=st.floats(12.0, 30.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_two_pulsars_at_one_frequency_with_a_valley_between(freq, nharm, ratio, widths, seed):
    rng = np.random.default_rng(seed)
    span = 4149.377593 * (1100.0**-2 - 1500.0**-2)
    apart = widths / (freq * span * nharm)  # first zeros of the highest harmonic
    assume(5.0 < apart < 150.0)  # several steps of the plan
    first = curve(freq, nharm, 500.0, 20.0, ALL, rng=rng)
    second = curve(freq + 0.3 / TOBS, nharm, 500.0 * ratio, 20.0 + apart, ALL, rng=rng)
    groups = grouped(first, second)
    assert len(groups) == 2
    assert one_each(groups, first.size + second.size)
    by_dm = sorted(groups, key=lambda g: g.dm)
    reach = 2.0 / (freq * span * nharm) + 0.5
    assert by_dm[0].dm == pytest.approx(20.0, abs=reach)
    assert by_dm[1].dm == pytest.approx(20.0 + apart, abs=reach)


def test_a_pulsar_beside_the_mains():
    # 0.19978 s is 0.0055 Hz from 5 Hz: within 1.5 bins of an observation of some minutes, for all their DMs.
    tobs = 150.0
    assert abs(1 / 0.19978 - 5.0) * tobs < 1.5
    mains = curve(5.0, 1, 200.0, 0.0, ALL)
    det = np.concatenate([mains, curve(1 / 0.19978, 16, 350.0, 150.0, ALL)])
    groups = group(det, tobs, freqs=FREQS, dms=0.5 * np.arange(len(ALL)))
    assert len(groups) == 2
    pulsar, line = groups
    assert pulsar.freq == pytest.approx(1 / 0.19978)
    assert pulsar.dm == 150.0
    assert not pulsar.undispersed
    assert line.freq == 5.0
    assert line.dm == 0.0
    assert line.undispersed


def test_strong_mains_take_their_fading_flank_along():
    det = curve(50.0, 2, 20000.0, 0.0, ALL, rng=np.random.default_rng(3))
    assert det.size > 100
    (one,) = grouped(det)
    assert one.undispersed
    assert one.dm == 0.0


@given(
    freq=st.floats(5.0, 300.0),
    nharm=st.sampled_from([4, 8, 16]),
    bins=st.floats(0.7, 1.4),
    ratio=st.floats(0.7, 1.0),
    dispersed=st.booleans(),
)
def test_two_signals_a_bin_apart_at_one_dm(freq, nharm, bins, ratio, dispersed):
    det = table([(freq, nharm, 500.0, 60), (freq + bins / TOBS, nharm, 500.0 * ratio, 60)])
    groups = group(det, TOBS, freqs=FREQS) if dispersed else group(det, TOBS)
    assert [g.freq for g in groups] == [freq, freq + bins / TOBS]


@given(
    freq=st.floats(5.0, 300.0),
    nharm=st.sampled_from([1, 4, 16]),
    excess=st.floats(50.0, 3000.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_errors_of_frequency_split_nothing(freq, nharm, excess, seed):
    rng = np.random.default_rng(seed)
    det = curve(freq, nharm, excess, 60.0, ALL, rng=rng)
    det["freq"] += det["freq_err"] * rng.standard_normal(det.size)
    assume(det.size > 1)
    assert len(grouped(det)) == 1


@given(
    freq=st.floats(1.0, 500.0), nharm=st.sampled_from([1, 4, 16]), excess=st.floats(150.0, 1e5), seed=st.integers(0, 99)
)
def test_interference_in_a_narrow_band_stays_one_group(freq, nharm, excess, seed):
    # What sits in one channel is as strong at all DMs, give or take the noise.
    rng = np.random.default_rng(seed)
    power = excess + np.sqrt(nharm + 2 * excess) * rng.standard_normal(len(ALL))
    det = table([(freq, nharm, max(p, 1.0), i) for i, p in enumerate(power)])
    assert len(grouped(det)) == 1


@given(freq=st.floats(0.2, 5.0), excess=st.floats(60.0, 600.0), first=st.integers(0, 9), seed=st.integers(0, 99))
def test_a_search_of_every_tenth_dm_is_no_row_of_valleys(freq, excess, first, seed):
    ffa = curve(freq, 16, excess, 60.0, range(first, len(ALL), 10), kind="ffa", rng=np.random.default_rng(seed))
    assume(ffa.size > 0)
    assert len(grouped(ffa)) == 1


def test_two_searches_of_one_signal_are_one_group():
    # The power of a sum of 16 harmonics beside the S/N of a fold, on other DMs.
    fft = curve(2.0, 16, 300.0, 60.0, ALL)
    ffa = curve(2.0, 12, 330.0, 60.0, range(0, len(ALL), 10), kind="ffa")
    (one,) = grouped(fft, ffa)
    assert one.found_by == ("ffa", "fft")
    assert one.best["kind"] == "ffa"
    assert one.ndetections == fft.size + ffa.size


def test_searches_are_compared_corrected_for_their_trials():
    fft, ffa = table([(2.0, 16, 120.0, 60)]), table([(2.0, 16, 110.0, 60)], kind="ffa")
    fft["sigma"] = stats.trial_sigma(fft["logp"], 1e12)
    ffa["sigma"] = stats.trial_sigma(ffa["logp"], 1e5)
    (one,) = group(np.concatenate([fft, ffa]), TOBS)
    assert one.best["kind"] == "ffa"
    assert one.found_by == ("ffa", "fft")
    assert one.ndetections == 2


def test_a_gap_ends_the_range_of_dms_but_not_the_group():
    rows = [(0.5, 4, 100.0, i) for i in range(50, 60)] + [(0.5, 4, 60.0, 59 + DM_GAP + 1), (0.5, 4, 60.0, 90)]
    (one,) = grouped(table(rows))
    assert one.ndetections == 12
    assert (one.dm_lo, one.dm_hi) == (25.0, 29.5)


def test_a_dedispersed_series_is_not_split_by_dm():
    det = np.concatenate([curve(50.0, 8, 400.0, 20.0, ALL), curve(50.0, 8, 300.0, 120.0, ALL)])
    assert len(group(det, TOBS)) == 1
    assert len(group(det, TOBS, freqs=[1400.0])) == 1
    assert len(group(det, TOBS, freqs=FREQS)) == 2


def test_undispersed():
    line = table([(50.0, 4, 300.0 - i, i) for i in range(20)])
    pulsar = curve(13.3, 16, 400.0, 30.0, ALL)
    assert {g.freq: g.undispersed for g in grouped(line, pulsar)} == {13.3: False, 50.0: True}
    # With one DM there is nothing to tell from, and where 0 was not searched neither.
    assert not group(line[:1], TOBS, freqs=FREQS)[0].undispersed
    assert not group(line[1:], TOBS, freqs=FREQS)[0].undispersed
    # DM 0 was searched, and the signal is not there.
    assert not group(line[1:], TOBS, freqs=FREQS, dms=np.arange(20) * 0.5)[0].undispersed


def field(seed):
    """Detections of many signals and chance ones."""
    rng = np.random.default_rng(seed)
    parts = [
        curve(10 ** rng.uniform(0.3, 2.5), 2 ** int(rng.integers(0, 5)), 10 ** rng.uniform(1.7, 3), dm, ALL, rng=rng)
        for dm in rng.uniform(3, 190, 12)
    ]
    chance = [(rng.uniform(1, 100), 4, rng.uniform(30, 60), int(i)) for i in np.sort(rng.integers(0, 400, 300))]
    return np.concatenate([*parts, table(chance)])


@functools.cache
def groups_of(seed):
    return grouped(field(seed))


@pytest.mark.parametrize("seed", range(8))
def test_every_detection_is_in_one_group_and_the_best_lead(seed):
    det, groups = field(seed), groups_of(seed)
    assert one_each(groups, det.size)
    sigmas = [g.sigma for g in groups]
    assert sigmas == sorted(sigmas, reverse=True)
    for one in groups:
        assert one.best == det[one.members[0]]
        assert (np.diff(det["sigma"][one.members]) <= 0).all()
        assert one.dm_lo <= one.dm <= one.dm_hi
        assert np.ptp(det["freq"][one.members]) <= 2 * 1.5 / TOBS
    assert len({g.uid for g in groups}) == len(groups)


def identity(groups):
    """Everything that must not depend on the order of the detections."""
    return [(g.uid, g.freq, g.dm, g.ndetections, g.dm_lo, g.dm_hi, g.undispersed, g.found_by) for g in groups]


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_the_detections_changes_nothing(seed):
    det = field(seed)
    rows = np.random.default_rng(seed).permutation(det.size)
    assert identity(grouped(det[rows])) == identity(groups_of(seed))


@pytest.mark.parametrize("seed", range(8))
def test_a_name_is_for_good(seed):
    det = field(seed)
    before = {g.uid: (g.freq, g.dm) for g in groups_of(seed)}
    # Far from all others in frequency; stronger ones, so that they come first.
    rng = np.random.default_rng(seed)
    more = table(
        [(f, 8, 5000.0, int(i)) for f, i in zip(rng.uniform(600, 900, 20), rng.integers(0, 400, 20), strict=True)]
    )
    after = {g.uid: (g.freq, g.dm) for g in grouped(more, det)}
    assert before.items() <= after.items()
    assert len(after) > len(before)


def test_a_name_tells_observations_apart():
    det = curve(13.3, 16, 400.0, 30.0, ALL)
    names = {grouped(det, name=name)[0].uid for name in ("", "beam 1", "beam 2")}
    assert len(names) == 3
    assert all(len(name) <= 12 and name.isalnum() for name in names)


def test_the_tolerance_is_in_bins():
    # The second may be a lobe of the first.
    close = table([(1.0, 1, 500.0, 0), (1.0 + 3 / TOBS, 1, 30.0, 0)])
    assert len(group(close, TOBS)) == 2
    assert len(group(close, TOBS, SiftConfig(freq_tolerance=4.0))) == 1


def test_nothing_and_nonsense():
    assert group(table([]), TOBS) == []
    for tobs in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="tobs"):
            group(table([]), tobs)


def test_fading_bounds_what_a_band_leaves():
    # An upper bound for equal channels in delay, exact up to half a turn; lobes of a real band beyond.
    x = np.linspace(0.0, 20.0, 400)
    line = np.array([np.abs(np.mean(np.exp(2j * np.pi * t * (np.arange(4096) + 0.5) / 4096))) ** 2 for t in x])
    assert (fade(x) >= line - 1e-6).all()
    np.testing.assert_allclose(fade(x[x <= 0.5]), line[x <= 0.5], atol=1e-6)
    assert (np.diff(fade(x)) < 0).all()
    np.testing.assert_array_equal(fade(-x), fade(x))
    # Real channels lie more densely at short delays than at long ones: a little more power is left.
    span = 4149.377593 * (1100.0**-2 - 1500.0**-2)
    band = kept(10.0, x / (10.0 * span), 1)
    assert (band <= 1.6 * fade(x) + 1e-4).all()


def test_two_pulsars_in_one_series():
    n, tsamp = 1 << 17, 1e-3
    x = np.random.default_rng(1).standard_normal(n)
    for period, snr in ((0.1713, 60.0), (0.0411, 30.0)):
        turns = np.arange(n) * tsamp / period
        p = np.exp(-4 * np.log(2) * ((turns - np.round(turns)) / 0.05) ** 2)
        x += p * snr / np.sqrt(np.sum((p - p.mean()) ** 2))
    search = FFTSearch(n, tsamp, FFTConfig(nharm=32))
    groups = group(search.search(x.astype(np.float32)), search.tobs)
    assert 1 / groups[0].freq == pytest.approx(0.1713, rel=1e-5)
    assert any(abs(1 / g.freq / 0.0411 - 1) < 1e-5 for g in groups[1:4])
