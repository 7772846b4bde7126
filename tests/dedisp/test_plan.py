"""The DM plan: smearing within the tolerance everywhere, no holes, the range covered."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulsar.config.model import DedispConfig
from pulsar.constants import KDM
from pulsar.data.header import Header
from pulsar.dedisp.estimate import estimate
from pulsar.dedisp.plan import ARRIVAL_RMS, make_plan
from pulsar.errors import ConfigError


def header(nchans=256, low=1000.0, high=1500.0, tsamp=64e-6, nsamps=1 << 20):
    width = (high - low) / nchans
    return Header(nchans=nchans, nsamps=nsamps, tsamp=tsamp, fch1=high - width / 2, foff=-width, tstart=58000.0)


def smearing(plan, head, dm, tsamp, nearest):
    """Total and best smearing at true DMs, each with its trial and the trial's sampling, from first principles [s]."""
    freqs = plan.freqs
    half = head.chan_width / 2
    channel = dm * np.sqrt(np.mean((KDM * ((freqs - half) ** -2 - (freqs + half) ** -2)) ** 2))
    step = KDM * abs(dm - nearest) * (freqs[-1] ** -2 - freqs[0] ** -2)
    arrival = ARRIVAL_RMS[plan.method] * tsamp
    best = np.hypot(channel, head.tsamp)
    return np.sqrt(channel**2 + step**2 + tsamp**2 + arrival**2), best


@settings(deadline=None, max_examples=40)
@given(
    nchans=st.sampled_from([16, 256, 4096]),
    low=st.sampled_from([300.0, 704.0, 1000.0, 1300.0]),
    bandwidth=st.sampled_from([20.0, 300.0, 3000.0]),
    tsamp=st.sampled_from([49.152e-6, 64e-6, 1e-3]),
    dm_lo=st.sampled_from([0.0, 3.3, 120.0]),
    span=st.sampled_from([0.5, 40.0, 700.0]),
    tolerance=st.sampled_from([0.25, 0.5, 2.0]),
    method=st.sampled_from(["tree", "brute"]),
    seed=st.integers(0, 1000),
)
def test_within_tolerance_at_every_dm(nchans, low, bandwidth, tsamp, dm_lo, span, tolerance, method, seed):
    head = header(nchans, low, low + bandwidth, tsamp)
    config = DedispConfig(dm_lo=dm_lo, dm_hi=dm_lo + span, tolerance=tolerance, method=method)
    plan = make_plan(head, config)
    dms = plan.dms
    assert (np.diff(dms) > 0).all()
    assert dms[0] == dm_lo
    assert dms[-1] == pytest.approx(config.dm_hi, rel=1e-9)
    assert plan.ndms == dms.size
    tsamps = np.repeat([stage.tsamp for stage in plan.stages], [stage.ndms for stage in plan.stages])
    middles = 0.5 * (dms[1:] + dms[:-1]) * (1 - 1e-12)
    truths = np.concatenate([np.random.default_rng(seed).uniform(dm_lo, config.dm_hi, 100), dms[::7], middles])
    # Of the two trials around each, one is good enough.
    right = np.minimum(np.searchsorted(dms, truths), dms.size - 1)
    ratios = []
    for trial in (np.maximum(right - 1, 0), right):
        total, best = smearing(plan, head, truths, tsamps[trial], dms[trial])
        ratios.append(total / best)
    assert np.minimum(*ratios).max() <= (1 + tolerance) * (1 + 1e-6)


@pytest.mark.parametrize("tolerance", [0.01, 0.1])
def test_a_tolerance_that_cannot_be_met_leaves_only_the_integer_delays(tolerance):
    head = header()
    plan = make_plan(head, DedispConfig(dm_hi=100.0, tolerance=tolerance))
    assert plan.stages[0].downsample == 1
    for stage in plan.stages:
        parts = stage.smearing
        without = np.sqrt(parts.total**2 - parts.arrival**2)
        assert without <= (1 + tolerance) * parts.best * (1 + 1e-9)


def test_smearing_parts_are_those_of_the_formulas():
    head = header()
    plan = make_plan(head, DedispConfig(dm_lo=10.0, dm_hi=100.0))
    stage = plan.stages[-1]
    parts = stage.smearing_high
    total, best = smearing(plan, head, parts.dm, stage.tsamp, parts.dm + stage.dm_step / 2)
    assert parts.total == pytest.approx(total)
    assert parts.best == pytest.approx(best)
    assert parts.excess == pytest.approx(total / best)
    assert parts.sampling == stage.tsamp == head.tsamp * stage.downsample
    # 2 K DM df / f^3 in the middle of the band is near the rms over it.
    assert parts.channel == pytest.approx(2 * KDM * parts.dm * head.chan_width / head.fcenter**3, rel=0.2)


@settings(deadline=None, max_examples=25)
@given(
    step=st.floats(0.05, 3.0),
    dm_lo=st.floats(0, 50),
    span=st.floats(0.0, 300.0),
    limit=st.sampled_from([1, 3, 8, 64, 5000]),
)
def test_fixed_step_and_largest_downsampling(step, dm_lo, span, limit):
    head = header(nchans=64)
    plan = make_plan(head, DedispConfig(dm_lo=dm_lo, dm_hi=dm_lo + span, dm_step=step, max_downsample=limit))
    dms = plan.dms
    np.testing.assert_allclose(dms, dm_lo + step * np.arange(dms.size), atol=1e-9)
    assert dms[-1] >= dm_lo + span - 1e-6 * (1 + step)
    assert dms[-1] < dm_lo + span + step
    for stage in plan.stages:
        assert stage.downsample <= min(limit, 256)
        assert stage.downsample & (stage.downsample - 1) == 0
        assert stage.nsamps == head.nsamps // stage.downsample
    downsamples = [stage.downsample for stage in plan.stages]
    assert downsamples == sorted(downsamples)


def test_one_trial_where_the_range_is_one_dm_or_there_is_one_channel():
    plan = make_plan(header(), DedispConfig(dm_lo=56.7, dm_hi=56.7))
    assert plan.dms.tolist() == [56.7]
    assert plan.stages[0].smearing.step == 0
    plan = make_plan(header(nchans=1), DedispConfig(dm_hi=100.0))
    assert plan.ndms == 1


def test_live_channels_decide_the_step():
    head = header()
    whole = make_plan(head, DedispConfig(dm_hi=50.0))
    half = make_plan(head, DedispConfig(dm_hi=50.0), head.freqs[:128])
    assert half.ndms < 0.6 * whole.ndms
    assert half.fref == whole.fref == head.freqs[0]


def test_wide_pulses_need_fewer_trials():
    head = header()
    sharp = make_plan(head, DedispConfig(dm_hi=200.0))
    wide = make_plan(head, DedispConfig(dm_hi=200.0, width_min=2e-3))
    assert wide.ndms < 0.5 * sharp.ndms
    assert wide.stages[0].downsample > 1


def test_short_data_are_not_downsampled_away():
    plan = make_plan(header(nsamps=5), DedispConfig(dm_hi=3000.0))
    assert all(stage.nsamps >= 1 for stage in plan.stages)


def test_refusals():
    with pytest.raises(ConfigError, match="trial DMs"):
        make_plan(header(), DedispConfig(dm_hi=1000.0, dm_step=1e-5))
    with pytest.raises(ConfigError, match="trial DMs"):
        make_plan(header(4096, 40.0, 80.0), DedispConfig(dm_hi=3000.0, tolerance=0.001))
    with pytest.raises(ConfigError, match="no channel"):
        make_plan(header(), DedispConfig(), np.array([]))


def test_stage_of():
    plan = make_plan(header(), DedispConfig(dm_hi=100.0))
    assert len(plan.stages) > 2
    for index in (0, plan.stages[0].ndms - 1, plan.stages[0].ndms, plan.ndms - 1):
        stage, row = plan.stage_of(index)
        assert plan.stages[stage].dms[row] == plan.dms[index]
    with pytest.raises(IndexError):
        plan.stage_of(plan.ndms)


def test_estimate():
    head = header()
    plan = make_plan(head, DedispConfig(dm_hi=100.0))
    tree, brute = estimate(plan, "tree"), estimate(plan, "brute")
    assert len(tree) == len(plan.stages)
    for a, b, stage in zip(tree, brute, plan.stages, strict=True):
        assert 0 < a.adds < b.adds
        assert a.nbytes == stage.nbytes == 2 * stage.ndms * stage.nsamps
        assert a.cpu_seconds > 0
    assert sum(b.adds for b in brute) == pytest.approx(sum(s.ndms * s.nsamps * 255 for s in plan.stages))
