"""Stages of the pipeline: each does its work, on a small file, and its figures are figures."""

import math
from pathlib import Path

import numpy as np
import pytest

from pulsar.bench.case import power_of_two
from pulsar.bench.limits import Limits, in_turn
from pulsar.bench.stages import (
    BAND,
    FAST,
    PULSAR,
    STAGES,
    THREADS,
    TINY,
    cleaned,
    measure_stages,
    run_dedispersion,
    stage_figures,
)

LIMITS = {n: Limits(threads=n, copy=1e10, copy_near=2e10, adds_l1=4e10, adds_l2=2e10, floats=5e10) for n in THREADS}


def test_every_stage_is_measured_with_one_thread_and_with_two() -> None:
    told: list[str] = []
    measured = measure_stages(STAGES, 1e-4, repeats=2, survey=TINY, progress=told.append)
    figures = [figure for times in measured for figure in stage_figures(times, LIMITS)]
    assert [(f.stage, f.threads) for f in figures] == [(s.name, n) for s in STAGES for n in THREADS]
    assert told[1:] == [s.name for s in STAGES]
    for f in figures:
        for value in (f.cpu_s, f.wall_s, f.samples_per_s, f.bytes_per_s, f.fraction):
            assert value > 0
            assert math.isfinite(value)
        assert f.calls >= 4
        assert f.cpu_low_s <= f.cpu_s <= f.cpu_high_s
        assert f.first_s >= 0
        assert (f.speedup is None) == (f.overhead is None) == (f.threads == 1)
    for one, two in zip(figures[::2], figures[1::2], strict=True):
        assert two.speedup == pytest.approx(one.wall_s / two.wall_s)
        assert two.overhead == pytest.approx(two.cpu_s / one.cpu_s)
        assert one.samples_per_s * one.cpu_s == pytest.approx(two.samples_per_s * two.cpu_s / 2)


def test_surveys_are_what_they_say() -> None:
    assert BAND.about == "256 channels x 2^18 samples x 512 DMs"
    for survey in (BAND, FAST, TINY):
        plan = survey.plan()
        assert (plan.ndms, len(plan.stages)) == (survey.size.ndms, 1)
        np.testing.assert_allclose(np.diff(plan.dms), survey.dm_step)
        header = survey.sky.header
        assert header.freqs[0] + header.chan_width / 2 == pytest.approx(1500)
        assert header.freqs[-1] - header.chan_width / 2 == pytest.approx(1000)
    assert BAND.plan().dms[0] <= PULSAR.dm <= BAND.plan().dms[-1]
    assert [power_of_two(n) for n in (1, 2, 1024, 1000)] == ["1", "2^1", "2^10", "1000"]


def test_the_file_is_the_survey_and_is_dedispersed(tmp_path: Path) -> None:
    with cleaned(TINY.write(tmp_path)) as source:
        header = source.obs.header
        assert (header.nchans, header.nsamps, header.tsamp) == (32, 4096, TINY.tsamp)
        np.testing.assert_allclose(source.freqs, TINY.sky.header.freqs)
        run_dedispersion(source, TINY, 2)


def test_calls_in_turn_are_of_the_same_number_and_cpu_counts_all_threads() -> None:
    order: list[int] = []
    timings = in_turn([lambda: order.append(1), lambda: order.append(2)], 0.0)
    assert order == [1, 2] * 3
    assert [t.calls for t in timings] == [3, 3]
    assert all(t.cpu > 0 and t.wall > 0 for t in timings)
