"""Samples of an observation as a run searches and folds them: cleaned, or series that were dedispersed elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.mask import Mask
from pulsar.cleaning.source import MaskedSource
from pulsar.config.model import Config, FoldConfig
from pulsar.constants import DAY, KDM
from pulsar.data.fold import Fold, FoldCube, FoldParams
from pulsar.data.header import WHOLE, Header, Part
from pulsar.data.observation import Observation, unchanged
from pulsar.data.series import TimeSeries
from pulsar.data.source import PartSource, SampleSource
from pulsar.folding import folder
from pulsar.folding.profile import best_box, template_of
from pulsar.io.series import SeriesSet
from pulsar.pipeline.checkpoint import Checkpoint
from pulsar.pipeline.cleaning import clean_source, find_mask, mask_of
from pulsar.pipeline.room import Means
from pulsar.pipeline.subtracting import subtract

#: Series on each side of a fold's own that its DM curve is folded from.
CURVE_SIDE = 8


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples that are searched and folded.

    Attributes
    ----------
    obs : Observation
    source : MaskedSource or None
        Its cleaned samples; None for dedispersed series, which are read as they are.
    subtracted : ndarray or None
        Pulsars that were taken out of them, with the fields of SUBTRACTED_COLUMNS.
    """

    obs: Observation
    source: MaskedSource | None = None
    subtracted: NDArray[Any] | None = None

    @property
    def header(self) -> Header:
        """Of the observation."""
        return self.obs.header

    @property
    def mask(self) -> Mask | None:
        """That they are cleaned with."""
        return None if self.source is None else self.source.mask

    @property
    def freqs(self) -> NDArray[np.float64]:
        """Channels that are used [MHz], descending; empty for a single dedispersed series."""
        if self.source is not None:
            return self.source.freqs
        return self.obs.freqs if isinstance(self.obs, SeriesSet) else np.zeros(0)

    @property
    def bandwidth(self) -> float:
        """Bandwidth that is not masked [MHz]."""
        return self.header.bandwidth * (1.0 - (0.0 if self.mask is None else self.mask.fraction_lost))

    @cached_property
    def series(self) -> TimeSeries:
        """The only series."""
        with unchanged(self.obs):
            data = np.ascontiguousarray(self.obs.read().data[0])
        return TimeSeries(data, self.header.tsamp, self.header.dm, self.header.tstart)

    def cubes(
        self, params: Sequence[FoldParams], config: FoldConfig, means: Means, part: Part = WHOLE
    ) -> list[FoldCube]:
        """Fold any number of candidates in one pass over the samples, or over a part of them.

        Parameters
        ----------
        params : sequence of FoldParams
            At the middle of the part.
        config : FoldConfig
        means : Means
        part : Part
        """
        if self.source is None:
            if isinstance(self.obs, SeriesSet):
                return _fold_set(self.obs, params, config, part)
            return folder.fold_series(_part_of(self.series, part), params, config)
        return self._folded(self.source, params, config, means, part)

    def _folded(
        self, source: SampleSource, params: Sequence[FoldParams], config: FoldConfig, means: Means, part: Part
    ) -> list[FoldCube]:
        stretch = source if part.count == 1 else PartSource(source, *part.samples(source.nsamps))
        with unchanged(self.obs), means.progress.stage("folding", stretch.nsamps, "samples") as tick:
            return folder.fold_many(
                stretch, params, config, threads=means.threads, memory=means.memory // 2, progress=tick
            )

    def finished(self, fold: Fold, config: FoldConfig) -> Fold:
        """A refined fold with what its own samples do not tell: of series of several DMs the DM curve."""
        return with_dm_curve(self.obs, fold, config) if isinstance(self.obs, SeriesSet) else fold


def clean(obs: Observation, config: Config, means: Means, checkpoint: Checkpoint | None = None) -> Samples:
    """The cleaned samples of an observation, less the pulsars that are to be taken out; series as they are.

    Parameters
    ----------
    obs : Observation
    config : Config
    means : Means
    checkpoint : Checkpoint, optional
        Has the mask and the templates of an interrupted run, or is given them.

    Raises
    ------
    ConfigError, DataError
        A mask that is given, or a pulsar, cannot be used; or no channel is left.
    """
    if obs.header.is_series:
        return Samples(obs)
    kept = None if checkpoint is None else checkpoint.load("mask")
    if kept is not None:
        mask = mask_of(kept)
    else:
        mask = find_mask(obs, config, threads=means.threads, progress=means.progress).mask
    if checkpoint is not None and kept is None:
        checkpoint.save("mask", **{f.name: np.asarray(getattr(mask, f.name)) for f in fields(mask)})
    means.progress.message(mask.summary())
    source = clean_source(obs, mask, config, threads=means.threads, progress=means.progress)
    if not config.subtract.pulsars:
        return Samples(obs, source)
    rest = subtract(source, obs.header, config, means, checkpoint)
    return Samples(obs, rest.source, rest.rows)


def _part_of(series: TimeSeries, part: Part) -> TimeSeries:
    """The samples of a series that are in a part of it; the series itself where that is the whole."""
    if part.count == 1:
        return series
    first, nsamps = part.samples(series.nsamps)
    start = series.tstart + first * series.tsamp / DAY
    return TimeSeries(series.data[first : first + nsamps], series.tsamp, series.dm, start)


def _fold_set(obs: SeriesSet, params: Sequence[FoldParams], config: FoldConfig, part: Part) -> list[FoldCube]:
    """Fold candidates, each in the series of the nearest DM."""
    at = [obs.nearest(p.dm) for p in params]
    cubes: dict[int, FoldCube] = {}
    for index in sorted(set(at)):
        rows = [i for i, where in enumerate(at) if where == index]
        there = [replace(params[i], dm=float(obs.dms[index])) for i in rows]
        made = folder.fold_series(_part_of(obs.series(index), part), there, config)
        cubes |= dict(zip(rows, made, strict=True))
    return [cubes[i] for i in range(len(params))]


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
        cube = folder.fold_series(_part_of(obs.series(index), Part.of_label(fold.part)), [there], config)[0]
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
