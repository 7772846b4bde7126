"""Which frequencies are searched with a drift at which trial DMs."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsar.config.load import load_config
from pulsar.config.model import AccelConfig, DedispConfig
from pulsar.constants import KDM
from pulsar.data.header import Header
from pulsar.dedisp.batches import TrialBatch
from pulsar.dedisp.plan import halvings, make_plan
from pulsar.pipeline.searches import (
    LEVELS,
    everything,
    lengths_of,
    plan_bands,
    plan_octaves,
    plan_searches,
    ruler,
    trials_of,
)
from pulsar.pipeline.stages import BatchSearch
from pulsar.searches.accel import AccelSearch
from pulsar.searches.search import EVERYTHING, Band

#: A FAST beam, and one of few samples.
FAST = Header(nchans=4096, nsamps=1 << 20, tsamp=49.152e-6, fch1=1499.94, foff=-0.1220703125, tstart=60000.0)
SHORT = Header(nchans=256, nsamps=1 << 17, tsamp=64e-6, fch1=1499.0, foff=-2.0, tstart=60000.0)


def fast_octaves(dm_hi=1000.0, **settings):
    plan = make_plan(FAST, DedispConfig(dm_hi=dm_hi))
    return plan, plan_octaves(plan, AccelConfig(zmax=200, **settings))


def accel_of(finder, plan):
    """The acceleration search of a run."""
    return next(search for search in finder.prepared(plan.stages[0]).searches if search.drifts)


@given(st.integers(1, 500), st.floats(1.0, 12.0))
def test_the_ruler_has_every_second_every_fourth_every_eighth(ndms, step):
    rows, levels = ruler(ndms, step, last=False)
    assert rows[0] == 0
    assert levels[0] == LEVELS
    assert np.all(np.abs(np.diff(rows) - step) < 1.0 + 1e-9)
    for level in range(1, LEVELS + 1):
        assert np.array_equal(np.flatnonzero(levels >= level), np.arange(0, rows.size, 2**level))


def test_the_last_trial_is_searched_at_all_frequencies():
    rows, levels = ruler(23, 3.3, last=True)
    assert rows[-1] == 22
    assert levels[-1] == LEVELS


def test_steps_and_highest_frequency_cost_the_fastest_pulsar_no_more_than_is_said():
    """Four harmonics of a Gaussian of 10 % at 1.5 ms, at true DMs anywhere, by the distances of the trials chosen."""
    plan, octaves = fast_octaves(dm_hi=20.0)
    k = np.arange(1, 9)
    freqs = k / 1.5e-3
    power = np.exp(-0.5 * (np.pi * k * 0.1) ** 2 / np.log(2.0))
    trials = plan.dms[octaves.of_row >= 0]
    # What the plan of all trials leaves is not the octaves'.
    across = KDM * np.std(plan.freqs**-2.0)
    kept = []
    for dms in (plan.dms, trials):
        true = np.linspace(0.0, dms[-1], 20_001)
        off = np.abs(dms[np.searchsorted(dms, true).clip(1, dms.size - 1) - np.array([[0], [1]])] - true).min(axis=0)
        lines = np.exp(-((2 * np.pi * freqs * across * off[:, None]) ** 2)).mean(axis=0)
        kept.append(np.sum((power * lines)[:4]))
    assert octaves.bands[octaves.of_row[0]].high == pytest.approx(4 / 1.5e-3)
    # The power goes with the square of S/N; significances with a little less.
    assert np.sqrt(kept[1] / kept[0]) > 0.87
    assert trials.size < 0.4 * plan.ndms


def test_halved_series_are_searched_where_their_lines_are():
    """No frequencies beyond their Nyquist frequency, and no longer steps to make good for what halving takes."""
    plan, octaves = fast_octaves()
    times = halvings(plan, load_config(None, ["accel.zmax=200"]))
    assert times.any()
    fewer = plan_octaves(plan, AccelConfig(zmax=200), times)
    tsamp = np.concatenate([np.full(stage.ndms, stage.tsamp) for stage in plan.stages]) * 2.0**times
    rows = np.flatnonzero(fewer.of_row >= 0)
    high = np.array([fewer.bands[b].high for b in fewer.of_row[rows].tolist()])
    assert np.all(high <= 0.5 / tsamp[rows])
    assert 0.95 * octaves.ndms < fewer.ndms < 1.2 * octaves.ndms
    first = int(np.argmax(times > 0)) // 2
    assert np.array_equal(fewer.of_row[:first] >= 0, octaves.of_row[:first] >= 0)


def test_frequencies_fall_with_dm_and_lower_octaves_have_wider_steps():
    plan, octaves = fast_octaves()
    rows = np.flatnonzero(octaves.of_row >= 0)
    high = np.array([octaves.bands[b].high for b in octaves.of_row[rows]])
    low = np.array([octaves.bands[b].low for b in octaves.of_row[rows]])
    assert high[0] == pytest.approx(4 / 1.5e-3)
    assert np.all(np.diff(high) <= 1e-9)
    assert high[-1] < 0.5 * high[0]
    # Of a frequency in the middle of an octave the next trial is twice as far as one octave up.
    first = plan.dms[rows] < 50.0
    steps = [np.diff(plan.dms[rows[first & (low <= f)]]).mean() for f in (1000.0, 500.0, 250.0, 100.0)]
    assert np.all(np.abs(np.diff(np.log2(steps)) - 1.0) < 0.15)
    assert low[0] == low[-1] == 0.0


def test_less_loss_and_slower_pulsars_change_what_is_searched():
    _, usual = fast_octaves(dm_hi=50.0)
    ndms = [int(np.count_nonzero(fast_octaves(dm_hi=50.0, loss=loss)[1].of_row >= 0)) for loss in (0.03, 0.1, 0.2)]
    assert ndms[0] > ndms[1] > ndms[2]
    _, slow = fast_octaves(dm_hi=50.0, p_fast=6e-3)
    assert slow.bands[0].high == pytest.approx(usual.bands[0].high / 4)
    _, alike = fast_octaves(dm_hi=50.0, p_min=6e-3)
    assert alike.bands == slow.bands
    _, narrow = fast_octaves(dm_hi=50.0, duty_min=0.05)
    assert narrow.bands[0].high > usual.bands[0].high


def test_nothing_changes_where_nothing_may_be_lost():
    plan, octaves = fast_octaves(dm_hi=50.0, loss=0.0)
    assert octaves.bands == (EVERYTHING,)
    assert np.all(octaves.of_row == 0)
    assert octaves.text(plan.dms) == ""
    config = load_config(None, ["accel.zmax=20", "accel.loss=0", "dedisp.dm_hi=5"])
    plan = make_plan(SHORT, config.dedisp)
    finder = BatchSearch(plan, config, threads=1, memory=10**9)
    search = accel_of(finder, plan)
    alone = AccelSearch(SHORT.nsamps, SHORT.tsamp, config.accel, ntrials_dm=finder.trials[1].periodic)
    assert search.logp_threshold == alone.logp_threshold
    assert search.plane.npoints == alone.plane.npoints


def test_trials_are_those_of_the_octaves():
    n, tsamp = SHORT.nsamps, SHORT.tsamp
    config = AccelConfig(zmax=20)
    plain = AccelSearch(n, tsamp, config, ntrials_dm=30.0)
    assert AccelSearch(n, tsamp, config, bands=((EVERYTHING, 30.0),)).ntrials(-20.0) == pytest.approx(
        plain.ntrials(-20.0)
    )
    # Half of the DMs without what is below 1 kHz (sums of one and two: 580 and 750 Hz), and nothing above 2 kHz. Sums
    # whose fundamental no others have (of two below 1160, of four below 1500, of eight below 2000 Hz) count as single.
    octaves = ((Band(1000.0, 2000.0), 15.0), (Band(0.0, 2000.0), 15.0))
    cells = AccelSearch(n, tsamp, config, bands=octaves).cells[:, 0] / (30.0 * plain.cells[:, 0])
    assert cells == pytest.approx(15.0 * np.array([5330, 2840, 2500, 2000]) / (30.0 * 0.5 / tsamp), rel=0.01)
    # The highest octave, which all of the chosen DMs have, and they are far apart.
    _, chosen = fast_octaves(dm_hi=100.0)
    ndms = sum(count for _, count in chosen.trials)
    assert 0.8 * np.count_nonzero(chosen.of_row >= 0) < ndms <= np.count_nonzero(chosen.of_row >= 0) + 1e-9


def test_a_trial_counts_the_same_at_every_dm():
    """Where series are downsampled at high DMs, too: what is likely at one DM would else be listed at another."""
    config = AccelConfig(zmax=20)
    plan = make_plan(replace(SHORT, nsamps=1 << 16), DedispConfig(dm_hi=500.0))
    octaves = plan_octaves(plan, config)

    def trials_of(**more):
        return [float(AccelSearch(s.nsamps, s.tsamp, config, **more).ntrials(-20.0)) for s in plan.stages]

    run = trials_of(bands=octaves.trials)
    assert run == pytest.approx([run[0]] * len(run), rel=0.01)
    # Of a series alone what lies beyond its samples is no trial.
    alone = trials_of()
    assert alone[-1] < 0.6 * alone[0]


def test_a_binary_is_found_where_its_octave_is_searched():
    """Four harmonics up to 1 kHz, in every series; at DMs without that octave only the search without drift sees it."""
    config = load_config(
        None,
        [
            "accel.zmax=40",
            "dedisp.dm_hi=8",
            "ffa.enabled=false",
            "coherent.enabled=false",
            "single_pulse.enabled=false",
        ],
    )
    plan = make_plan(SHORT, config.dedisp)
    finder = BatchSearch(plan, config, threads=2, memory=10**9)
    n, tobs = SHORT.nsamps, SHORT.tobs
    u = np.arange(n) / n - 0.5
    turns = 250.0 * tobs * u + 0.5 * 8.0 * u**2
    pulse = np.exp(-4 * np.log(2) * ((turns - np.round(turns)) / 0.1) ** 2)
    pulse -= pulse.mean()
    series = np.random.default_rng(5).standard_normal(n, dtype=np.float32)
    series += (18.0 * pulse / np.sqrt(np.sum(pulse**2))).astype(np.float32)
    found = finder.search(TrialBatch(0, plan.stages[0], lambda _: series)).detections
    own = found[(found["kind"] == "accel") & (np.abs(found["freq"] - 250.0) * tobs < 1.5)]
    assert np.all(np.abs(own["fdot"] * tobs**2 - 8.0) < 2.0)
    bands = [finder.bands[1]["accel"].band(row) for row in range(plan.ndms)]
    with_it = [row for row, band in enumerate(bands) if band is not None and band.low < 1000.0]
    assert 0 < len(with_it) < 0.5 * plan.ndms
    assert set(own["dm_index"].tolist()) >= set(with_it)
    never = [row for row, band in enumerate(bands) if band is None]
    assert never
    assert not np.isin(found["dm_index"][found["kind"] == "accel"], never).any()
    assert set(found["dm_index"][found["kind"] == "fft"].tolist()) >= set(never)


def test_a_series_of_one_dm_is_searched_at_all_frequencies():
    config = load_config(None, ["accel.zmax=40"])
    plan = make_plan(SHORT, DedispConfig(dm_lo=30.0, dm_hi=30.0))
    octaves = plan_octaves(plan, config.accel)
    assert [band.low for band in octaves.bands] == [0.0]
    assert everything(3).band(2) == EVERYTHING


def test_a_run_needs_the_memory_of_its_bands_alone():
    """All frequencies would not fit, with drifts of 1200 bins, into what the plan of their octaves takes."""
    config = load_config(None, ["accel.zmax=1200", "dedisp.dm_hi=2"])
    plan = make_plan(FAST, config.dedisp)
    octaves = plan_octaves(plan, config.accel)
    series = FAST.nsamps, FAST.tsamp, config.accel
    need = max(AccelSearch.estimate(*series, band=band, bands=octaves.trials).memory for band in octaves.bands)
    assert need < 0.5 * AccelSearch.estimate(*series).memory
    finder = BatchSearch(plan, config, threads=1, memory=need)
    searches = [accel_of(finder, plan).within(band) for band in octaves.bands]
    assert all(search.plane.stored for search in searches)
    assert max(search.plane.memory_bytes for search in searches) <= need


def test_costs_of_trials_are_those_of_their_bands():
    config = load_config(None, ["accel.zmax=200", "dedisp.dm_hi=20", "fft.enabled=false", "coherent.enabled=false"])
    config = config.model_copy(update={"ffa": config.ffa.model_copy(update={"enabled": False})})
    plan = make_plan(FAST, config.dedisp)
    octaves = plan_octaves(plan, config.accel)

    halved = halvings(plan, config)
    bands = plan_bands(plan, config, halved)
    lengths, trials = lengths_of(plan, halved), trials_of(bands[1], plan)
    searches, _ = plan_searches(config, FAST.tobs, lengths, bands, trials, 10**10, 1)
    for number, band in enumerate(octaves.bands):
        mine = searches.costs[octaves.of_row == number]
        own = AccelSearch.estimate(FAST.nsamps, FAST.tsamp, config.accel, band=band, bands=octaves.trials).seconds
        # Single pulses are searched for at every DM.
        assert np.allclose(mine - searches.costs[octaves.of_row < 0].min(), own)
