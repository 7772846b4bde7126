"""Fewer samples in the search for periods, where channels smear."""

import numpy as np
import pytest

from pulsar.config.load import load_config
from pulsar.dedisp.batches import TrialBatch
from pulsar.dedisp.plan import FASTEST, HARMONICS, halved, halvings, lost, make_plan, periods_text, stretches
from pulsar.pipeline.searches import independent_periodic
from pulsar.pipeline.stages import BatchSearch, SeriesSearch
from pulsar.synthesis.model import Sky

FAST = Sky(nchans=4096, fch1=1499.94, foff=-0.122, tsamp=49.152e-6, nsamps=1 << 18)


def _plan(*more):
    config = load_config(None, ["dedisp.dm_hi=1000", *more])
    return make_plan(FAST.header, config.dedisp), config


def test_series_are_halved_from_the_trial_on_at_which_the_narrowest_pulses_lose_no_more_than_is_set():
    plan, config = _plan()
    times = halvings(plan, config)
    first = int(np.argmax(times > 0))
    number, row = plan.stage_of(first)
    stage = plan.stages[number]
    each = [
        lost({name: values[at] for name, values in stage.parts().items()}, stage.tsamp, 1, plan.freqs)
        for at in (row - 1, row)
    ]
    assert each[1] <= config.search.loss < each[0]
    assert 200 < plan.dms[first] < 350
    assert set(times[first : stage.ndms].tolist()) == {1}
    assert not times[:first].any()


def test_more_may_be_lost_at_more_trials_and_nothing_where_nothing_may_be():
    counts = [int(np.count_nonzero(halvings(*_plan(f"search.loss={loss}")))) for loss in (0.0, 0.003, 0.01, 0.05)]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert len(set(counts)) == 4


def test_the_fastest_pulsars_keep_the_harmonics_of_the_coherent_search():
    from pulsar.searches.coherent import LEAST_HARMONICS

    plan, config = _plan("search.loss=0.5", "dedisp.max_downsample=1")
    assert HARMONICS == LEAST_HARMONICS
    longest = max(part.tsamp * 2**times for part, times in stretches(plan, halvings(plan, config)))
    assert 0.25 / longest < LEAST_HARMONICS / FASTEST <= 0.5 / longest


@pytest.mark.parametrize("more", [["accel.zmax=20", "accel.loss=0"], ["dedisp.dm_hi=50"]])
def test_series_stay_as_they_are(more):
    plan, config = _plan(*more)
    times = halvings(plan, config)
    assert not times.any()
    assert periods_text(plan, times, config) == ""


def test_the_plan_says_from_which_dm_on():
    plan, config = _plan()
    times = halvings(plan, config)
    said = periods_text(plan, times, config)
    assert f"of 98.3 us from DM {plan.dms[np.argmax(times > 0)]:.4g} on" in said
    assert "1 % of the S/N" in said


def test_fewer_frequencies_make_fewer_trials_independent():
    plan, config = _plan()
    all_samples = independent_periodic(plan, np.zeros(plan.ndms, dtype=np.int64))
    assert 0.6 < independent_periodic(plan, halvings(plan, config)) / all_samples < 0.99


def test_a_halved_series_keeps_noise_and_time():
    rng = np.random.default_rng(1)
    noise = np.rint(300 * rng.standard_normal(1 << 16)).astype(np.int16)
    half = halved(noise, 1)
    assert half.shape == (1 << 15,)
    assert np.std(half) == pytest.approx(300, rel=0.03)
    pulse = np.rint(5000 * np.exp(-0.5 * ((np.arange(1 << 12) - 1001.5) / 9.0) ** 2)).astype(np.int16)
    for times in (1, 2):
        short = halved(pulse, times).astype(np.float64)
        middle = np.sum(short * (np.arange(short.size) + 0.5)) / short.sum()
        assert middle * 2**times == pytest.approx(1002.0, abs=0.05)


def test_a_pulsar_is_found_as_with_all_samples():
    rng = np.random.default_rng(2)
    nsamps, tsamp, freq = 1 << 18, 49.152e-6, 151.7
    t = (np.arange(nsamps) + 0.5) * tsamp
    phase = (t * freq) % 1.0 - 0.5
    series = np.rint(500 * (rng.standard_normal(nsamps) + 0.12 * np.exp(-0.5 * (phase / 0.05) ** 2))).astype(np.int16)
    config = load_config(None, ["ffa.enabled=false"])
    found = [SeriesSearch(nsamps, tsamp, config, memory=0, times=times).search(series, 300.0) for times in (0, 1)]
    for kind in ("fft", "coherent"):
        whole, half = (one.detections[one.detections["kind"] == kind][0] for one in found)
        assert half["freq"] == pytest.approx(whole["freq"], abs=0.1 / t[-1])
        assert half["sigma_single"] == pytest.approx(whole["sigma_single"], rel=0.03)
    # Single pulses are looked for in all samples.
    np.testing.assert_array_equal(found[0].events, found[1].events)


def test_a_batch_takes_what_each_of_its_trials_has():
    plan, config = _plan("ffa.enabled=false", "single_pulse.enabled=false")
    finder = BatchSearch(plan, config, threads=2, memory=0)
    edge = int(np.argmax(finder.halvings > 0))
    number, row = plan.stage_of(edge)
    assert number == 0
    stage = plan.stages[0].part(row - 2, row + 2)
    rng = np.random.default_rng(3)
    tone = np.sin(2 * np.pi * 410.3 * np.arange(stage.nsamps) * stage.tsamp)
    rows = np.rint(400 * (rng.standard_normal((4, stage.nsamps)) + 0.1 * tone)).astype(np.int16)
    found = finder.search(TrialBatch(edge - 2, stage, lambda i: rows[i])).detections
    best = [found[(found["dm_index"] == edge - 2 + i) & (found["kind"] == "fft")][0] for i in range(4)]
    assert [float(one["freq"]) for one in best] == pytest.approx([410.3] * 4, abs=0.05)
    assert [float(one["dm"]) for one in best] == pytest.approx(stage.dms.tolist())
    wanted = [
        SeriesSearch(stage.nsamps, stage.tsamp, config, trials=finder.trials, memory=0, times=times).search(one, 0.0)
        for one, times in zip(rows, (0, 0, 1, 1), strict=True)
    ]
    for one, mine in zip(wanted, range(edge - 2, edge + 2), strict=True):
        np.testing.assert_array_equal(one.detections["sigma"], found["sigma"][found["dm_index"] == mine])
