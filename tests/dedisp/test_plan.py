"""The DM plan: smearing within the tolerance everywhere, no holes, the range covered."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulsar.config.model import DedispConfig
from pulsar.constants import KDM
from pulsar.data.header import Header
from pulsar.dedisp.engine import ADDS_PER_SECOND, SECONDS_PER_SAMPLE, stage_seconds
from pulsar.dedisp.plan import ARRIVAL_RMS, make_plan
from pulsar.errors import ConfigError


def header(nchans=256, low=1000.0, high=1500.0, tsamp=64e-6, nsamps=1 << 20):
    width = (high - low) / nchans
    return Header(nchans=nchans, nsamps=nsamps, tsamp=tsamp, fch1=high - width / 2, foff=-width, tstart=58000.0)


def squares(plan, head, dm, tsamp, off):
    """Square of the smearing at DMs that are `off` from their trial, and of the best possible, as rms [s^2]."""
    freqs = plan.freqs
    half = head.chan_width / 2
    channel = dm**2 * np.mean((KDM * ((freqs - half) ** -2 - (freqs + half) ** -2)) ** 2) / 12
    step = KDM**2 * off**2 * np.var(freqs**-2.0)
    width = plan.stages[0].smearing.width ** 2 / 12

    def fixed(tsamp):
        # Rounding misses no more than the delay itself.
        missed = np.minimum(ARRIVAL_RMS[plan.method] * tsamp, KDM * np.std(freqs**-2.0) * plan.dms[-1])
        return tsamp**2 / 12 + missed**2 + width

    return channel + step + fixed(tsamp), channel + fixed(head.tsamp)


@settings(deadline=None, max_examples=40)
@given(
    nchans=st.sampled_from([16, 256, 4096]),
    low=st.sampled_from([300.0, 704.0, 1000.0, 1300.0]),
    bandwidth=st.sampled_from([20.0, 300.0, 3000.0]),
    tsamp=st.sampled_from([49.152e-6, 64e-6, 1e-3]),
    dm_lo=st.sampled_from([0.0, 3.3, 120.0]),
    span=st.sampled_from([0.5, 40.0, 700.0]),
    tolerance=st.sampled_from([0.05, 0.1, 0.25, 0.5]),
    width=st.sampled_from([0.0, 2e-3]),
    method=st.sampled_from(["tree", "brute"]),
)
def test_within_tolerance_at_every_dm(nchans, low, bandwidth, tsamp, dm_lo, span, tolerance, width, method):
    head = header(nchans, low, low + bandwidth, tsamp)
    config = DedispConfig(dm_lo=dm_lo, dm_hi=dm_lo + span, tolerance=tolerance, width_min=width, method=method)
    plan = make_plan(head, config)
    dms = plan.dms
    assert (np.diff(dms) > 0).all()
    assert dms[0] == dm_lo
    assert dms[-1] == pytest.approx(config.dm_hi, rel=1e-9)
    assert plan.ndms == dms.size
    factors = [stage.downsample for stage in plan.stages]
    assert factors == sorted(set(factors))
    tsamps = np.repeat([stage.tsamp for stage in plan.stages], [stage.ndms for stage in plan.stages])
    # True DMs all over the gap below each trial and the one above, halfway to the next trials.
    edges = np.concatenate([dms[:1], 0.5 * (dms[1:] + dms[:-1]), dms[-1:]])
    inside = (np.arange(200) + 0.5) / 200
    for trial in np.unique(np.linspace(0, dms.size - 1, 60).astype(int)):
        truths = edges[trial] + inside * (edges[trial + 1] - edges[trial])
        total, best = squares(plan, head, truths, tsamps[trial], truths - dms[trial])
        assert np.sqrt(total.mean() / best.mean()) <= (1 + tolerance) * 1.02


def test_the_steps_are_no_finer_than_needed():
    head = header()
    plan = make_plan(head, DedispConfig(dm_hi=300.0))
    for stage in plan.stages:
        for parts in (stage.smearing, stage.smearing_high):
            assert 1 + 0.9 * plan.tolerance < parts.excess < 1 + 1.05 * plan.tolerance
    # The step grows with the smearing in the channels.
    assert (np.diff(plan.stages[0].steps[:-2]) > -1e-12).all()
    coarse = make_plan(head, DedispConfig(dm_hi=300.0, tolerance=0.3))
    assert coarse.points < 0.7 * plan.points


def test_smearing_parts_are_those_of_the_formulas():
    head = header()
    plan = make_plan(head, DedispConfig(dm_lo=10.0, dm_hi=100.0))
    stage = plan.stages[-1]
    parts = stage.smearing_high
    total, best = squares(plan, head, parts.dm, stage.tsamp, stage.steps[-2] / np.sqrt(12))
    assert parts.total == pytest.approx(np.sqrt(12 * total))
    assert parts.best == pytest.approx(np.sqrt(12 * best))
    assert parts.excess == pytest.approx(np.sqrt(total / best))
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
    assert wide.points < 0.5 * sharp.points
    assert wide.stages[0].downsample > 1


def test_short_data_are_not_downsampled_away():
    plan = make_plan(header(nsamps=5), DedispConfig(dm_hi=3000.0))
    assert all(stage.nsamps >= 1 for stage in plan.stages)


def test_refusals():
    with pytest.raises(ConfigError, match="trial DMs"):
        make_plan(header(), DedispConfig(dm_hi=1000.0, dm_step=1e-5))
    with pytest.raises(ConfigError, match="trial DMs"):
        make_plan(header(4096, 40.0, 80.0), DedispConfig(dm_hi=3000.0, tolerance=1e-6))
    with pytest.raises(ConfigError, match="no channel"):
        make_plan(header(), DedispConfig(), np.array([]))


def test_stage_of():
    plan = make_plan(header(), DedispConfig(dm_hi=300.0, tolerance=0.5))
    assert len(plan.stages) > 2
    for index in (0, plan.stages[0].ndms - 1, plan.stages[0].ndms, plan.ndms - 1):
        stage, row = plan.stage_of(index)
        assert plan.stages[stage].dms[row] == plan.dms[index]
    with pytest.raises(IndexError):
        plan.stage_of(plan.ndms)


def test_a_part_of_a_stage():
    stage = make_plan(header(), DedispConfig(dm_hi=100.0)).stages[0]
    part = stage.part(3, 7)
    np.testing.assert_array_equal(part.dms, stage.dms[3:7])
    assert (part.ndms, part.nbytes) == (4, 8 * stage.nsamps)
    assert (part.dm_first, part.dm_last) == (stage.dms[3], stage.dms[6])


def test_stages_take_what_their_additions_take():
    plan = make_plan(header(), DedispConfig(dm_hi=100.0))
    tree, brute = (stage_seconds(replace(plan, method=method)) for method in ("tree", "brute"))
    moved = [256 * stage.nsamps * SECONDS_PER_SAMPLE for stage in plan.stages]
    adds = [255.0 * stage.ndms * stage.nsamps for stage in plan.stages]
    assert brute == pytest.approx([a / ADDS_PER_SECOND["brute"] + m for a, m in zip(adds, moved, strict=True)])
    fewer = [(seconds - m) * ADDS_PER_SECOND["tree"] / a for seconds, m, a in zip(tree, moved, adds, strict=True)]
    assert 0.0 < min(fewer) <= max(fewer) < 1.0


def test_the_parts_of_a_stage_are_those_of_its_ends() -> None:
    header = Header(nchans=256, nsamps=1 << 20, tsamp=1e-4, fch1=1500.0, foff=-2.0, tstart=59000.0)
    plan = make_plan(header, DedispConfig(dm_hi=3000.0))
    assert len(plan.stages) > 1
    for stage in plan.stages:
        parts = stage.parts()
        for place, end in ((0, stage.smearing), (-1, stage.smearing_high)):
            for name in ("channel", "sampling", "arrival", "width", "best"):
                assert parts[name][place] == pytest.approx(getattr(end, name), rel=1e-9)
        assert parts["total"][0] == pytest.approx(stage.smearing.total, rel=1e-9)
        assert np.all(parts["total"][:-1] <= (1.0 + plan.tolerance) * parts["best"][:-1] * 1.001)
