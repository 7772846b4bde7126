"""Search and folds of series that were dedispersed elsewhere, at several DMs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.birdies import merged
from pulsar.config.model import FoldConfig
from pulsar.constants import DAY, KDM
from pulsar.data.fold import Fold, FoldCube, FoldParams
from pulsar.data.header import WHOLE, Part
from pulsar.data.series import TimeSeries
from pulsar.dedisp.batches import Batch
from pulsar.dedisp.plan import DMPlan, few_trials
from pulsar.folding.folder import fold_series
from pulsar.folding.profile import best_box, template_of
from pulsar.io.series import SeriesSet
from pulsar.pipeline.birdies import first_trials, learn_in_series
from pulsar.pipeline.cleaning import gaps_of, given_birdies
from pulsar.pipeline.job import Detected
from pulsar.pipeline.pulses import find_pulses
from pulsar.pipeline.searched import detections_of
from pulsar.pipeline.stages import BatchSearch

if TYPE_CHECKING:
    from pulsar.pipeline.job import Detected, Job
    from pulsar.pipeline.searched import Searched

#: Series on each side of a fold's own that its DM curve is folded from.
CURVE_SIDE = 8


def set_plan(obs: SeriesSet) -> DMPlan:
    """The DMs of a set as the plan of a run.

    Parameters
    ----------
    obs : SeriesSet
    """
    freqs, fine = obs.freqs, obs.groups[0].tsamp
    width = abs(float(freqs[1] - freqs[0]))
    raw = obs.header.with_(nchans=freqs.size, fch1=float(freqs[0]), foff=-width, dm=0.0, is_series=False)
    stages = []
    for group in obs.groups:
        downsample = max(round(group.tsamp / fine), 1)
        stage = few_trials(raw, group.dms, downsample, freqs).stages[0]
        stages.append(replace(stage, tsamp=group.tsamp, nsamps=group.nsamps))
    return DMPlan(tuple(stages), freqs, float(freqs[0]), fine, obs.groups[0].nsamps, 0.0, "brute")


def batches(obs: SeriesSet, plan: DMPlan) -> Iterator[Batch]:
    """The series of a set, read when they are asked for; the first batch holds all that lines are learnt from."""
    most, first = first_trials(plan), 0
    for stage in plan.stages:
        for at in range(0, stage.ndms, most):
            end = min(at + most, stage.ndms)

            def row(i: int, base: int = first + at, nsamps: int = stage.nsamps) -> NDArray[np.float32]:
                return np.asarray(obs.series(base + i, nsamps).data)

            yield Batch(first + at, stage.part(at, end), row)  # type: ignore[arg-type]  # float32 is searched as well
        first += stage.ndms


def fold_set(obs: SeriesSet, params: Sequence[FoldParams], config: FoldConfig, part: Part = WHOLE) -> list[FoldCube]:
    """Fold candidates, each in the series of the nearest DM.

    Parameters
    ----------
    obs : SeriesSet
    params : sequence of FoldParams
        At the middle of the part.
    config : FoldConfig
    part : Part
        What of the observation is folded.
    """
    at = [obs.nearest(p.dm) for p in params]
    cubes: dict[int, FoldCube] = {}
    for index in sorted(set(at)):
        mine = [i for i, where in enumerate(at) if where == index]
        series = part_of_series(obs.series(index), part)
        there = [replace(params[i], dm=float(obs.dms[index])) for i in mine]
        cubes |= dict(zip(mine, fold_series(series, there, config), strict=True))
    return [cubes[i] for i in range(len(params))]


def part_of_series(series: TimeSeries, part: Part) -> TimeSeries:
    """The samples of a series that are in a part of it; the series itself where that is the whole."""
    if part.count == 1:
        return series
    first, nsamps = part.samples(series.nsamps)
    start = series.tstart + first * series.tsamp / DAY
    return TimeSeries(series.data[first : first + nsamps], series.tsamp, series.dm, start)


def with_dm_curve(obs: SeriesSet, fold: Fold, config: FoldConfig) -> Fold:
    """A refined fold with its S/N in the neighbouring series, and what is expected there.

    The error of the DM is that of the best of neighbouring trials, or that at which the delay over the band is the
    width of the pulse over its S/N, whichever is larger.

    Parameters
    ----------
    obs : SeriesSet
    fold : Fold
        In the series of its DM.
    config : FoldConfig
    """
    own = obs.nearest(fold.after.dm)
    near = np.arange(max(own - CURVE_SIDE, 0), min(own + CURVE_SIDE + 1, obs.dms.size))
    zero = np.flatnonzero(np.abs(obs.dms) < 1e-6)
    scale = float(fold.extra.get("noise_scale", 1.0))
    measured: dict[int, float] = {own: fold.snr}
    for index in {*near.tolist(), *zero.tolist()} - {own}:
        there = replace(fold.after, dm=float(obs.dms[index]))
        cube = fold_series(part_of_series(obs.series(index), Part.of_label(fold.part)), [there], config)[0]
        snr, _, _ = best_box(
            cube.data.sum(axis=(0, 1), dtype=np.float64)[None], cube.variance.sum(axis=(0, 1), dtype=np.float64)
        )
        measured[index] = float(snr[0]) / scale
    template = template_of(np.fft.rfft(fold.profile.astype(np.float64)), float(fold.profile.size), fold.width)
    offsets = obs.dms[near] - fold.after.dm
    late = KDM * fold.after.freq * offsets[:, None] * (obs.freqs**-2.0 - obs.freqs.max() ** -2.0)
    turned = np.exp(2j * np.pi * np.arange(template.size)[None, :, None] * late[:, None, :]).mean(axis=2)
    shapes = np.fft.irfft(template * turned, fold.profile.size, axis=1)
    expected, _, _ = best_box(shapes, np.ones(fold.profile.size))
    peak = expected[int(np.argmin(np.abs(offsets)))]
    step = float(np.diff(obs.dms[near]).mean()) if near.size > 1 else np.nan
    across = KDM * float(np.ptp(obs.freqs**-2.0))
    error = max(step / np.sqrt(12.0), fold.width / (fold.after.freq * across * max(fold.snr, 1.0)))
    return replace(
        fold,
        dm_err=error,
        dms=obs.dms[near],
        dm_snr=np.array([measured[i] for i in near.tolist()], dtype=np.float32),
        dm_expected=(expected * (fold.snr / peak if peak > 0 else 0.0)).astype(np.float32),
        extra={**fold.extra, "snr_dm0": measured[int(zero[0])] if zero.size else float("nan")},
    )


def detect_set(job: "Job", obs: SeriesSet) -> "Detected":
    """Search the series of a set as the DM trials of one observation.

    Parameters
    ----------
    job : Job
    obs : SeriesSet
        That of the job.
    """
    config, plan = job.config, set_plan(obs)
    finder = BatchSearch(plan, config, threads=job.threads, memory=job.plan.accel_memory, gaps=gaps_of(obs))

    def search(state: "Searched") -> None:
        with job.progress.stage("search", plan.ndms, "series") as tick:
            tick(state.ndone)
            for batch in batches(obs, plan):
                if state.birdies is None:
                    mains, _ = learn_in_series(batch.row(0), batch.stage.tsamp, config)
                    learnt = finder.learn(batch) if config.rfi.learn else []
                    state.birdies = merged([*given_birdies(obs.header, config.rfi), *job.common, *mains, *learnt])
                    finder.birdies = [(b.freq, b.width) for b in state.birdies]
                state.search(batch, finder, tick)

    found, birdies = detections_of(job, finder, search)
    tsamps = np.concatenate([np.full(stage.ndms, stage.tsamp) for stage in plan.stages])
    pulses = find_pulses(
        found.events, plan.dms, tsamps, None, obs.header, finder.pulse_trials(), config, job.progress, freqs=obs.freqs
    )
    return Detected(
        np.concatenate([found.detections, pulses.repeating]),
        plan.dms,
        pulses,
        lambda params, part=WHOLE: fold_set(obs, params, config.fold, part),
        freqs=obs.freqs,
        birdies=birdies,
        finish=lambda fold: with_dm_curve(obs, fold, config.fold),
    )
