"""Samples of an observation as a run searches and folds them: cleaned, or series that were dedispersed elsewhere.

Known pulsars are taken out of the cleaned samples before they are searched, and what is left of them is measured.
"""

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.cleaning.mask import Mask
from pulsar.cleaning.source import HeldSource, MaskedSource
from pulsar.config.model import Config, FoldConfig, SubtractConfig
from pulsar.constants import DAY, KDM
from pulsar.data.candidate import DETECTED, SUBTRACTED_COLUMNS, empty_table, subtraction_text, table_of
from pulsar.data.fold import Fold, FoldCube, FoldParams
from pulsar.data.header import WHOLE, Header, Part
from pulsar.data.observation import Observation, unchanged
from pulsar.data.series import Lines, TimeSeries
from pulsar.data.source import PartSource, Rows, SampleSource
from pulsar.errors import ConfigError
from pulsar.folding import folder
from pulsar.folding.fundamental import fold_sigma
from pulsar.folding.profile import best_box, template_of
from pulsar.folding.refine import refine
from pulsar.folding.subtracted import (
    SubtractedSource,
    Subtraction,
    TemplateFold,
    measure_rest,
    measure_templates,
    packed,
    unpacked,
    without,
)
from pulsar.io.product.reader import read
from pulsar.io.series import SeriesSet
from pulsar.pipeline.checkpoint import Checkpoint
from pulsar.pipeline.cleaning import Clean, clean_source, find_mask, mask_of, trial_series
from pulsar.pipeline.ephemerides import Ephemeris, FromPar, doubts, ephemerides_of
from pulsar.pipeline.room import Means
from pulsar.sky.timing import read_par
from pulsar_kernels.arrays import Array, Floats


@dataclass(frozen=True)
class PulsarToSubtract:
    """A pulsar to be taken out."""

    given: str  # as it was given
    name: str
    ephemeris: Ephemeris | FromPar


def split(text: str) -> tuple[Path, str]:
    """File and candidate that a text names; no candidate: an ephemeris.

    Raises
    ------
    ConfigError
        It is a product without a candidate.
    """
    path, colon, ident = text.rpartition(":")
    if colon and path and not Path(text).is_file():
        return Path(path), ident
    if Path(text).suffix.lower() in (".h5", ".hdf5"):
        raise ConfigError(f"--subtract {text}: which of its candidates? Give {text}:c0001")
    return Path(text), ""


def bright_pulsars(pulsars: Sequence[str]) -> list[PulsarToSubtract]:
    """The pulsars that the settings name.

    `pulsars`: as `subtract.pulsars` has them.

    Raises
    ------
    ConfigError
        A pulsar is named twice, a product has no such candidate, or an ephemeris has what is not supported.
    DataError
        A file cannot be read.
    """
    pulsars_wanted: list[PulsarToSubtract] = []
    for given in pulsars:
        path, ident = split(given)
        if not ident:
            model = read_par(path)
            pulsars_wanted.append(PulsarToSubtract(given, model.name, FromPar(model)))
            continue
        run = read(path)
        row = run.candidate(ident)
        pulsars_wanted.append(PulsarToSubtract(given, str(row["known_source"]) or ident, ephemerides_of(run, [row])[0]))
    names = [pulsar.given for pulsar in pulsars_wanted]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--subtract {name}: is given twice")
    return pulsars_wanted


def marks(config: SubtractConfig) -> list[str]:
    """Digests of the pulsars that the settings name, for the mark of a run.

    Raises
    ------
    ConfigError, DataError
        As :func:`bright_pulsars`.
    """
    return [hashlib.sha256(repr(pulsar.ephemeris).encode()).hexdigest() for pulsar in bright_pulsars(config.pulsars)]


def check_subtract(header: Header, config: Config) -> list[PulsarToSubtract]:
    """The pulsars to be taken out of an observation, after what is wrong with them has been told.

    Raises
    ------
    ConfigError
        As :func:`bright_pulsars`, or one cannot be folded in these data, or the series has no channels.
    DataError
        A file cannot be read.
    """
    pulsars = bright_pulsars(config.subtract.pulsars)
    if pulsars and header.is_series:
        raise ConfigError(
            f"--subtract {pulsars[0].given}: a template is taken out of the channels, which a dedispersed series has "
            "no more: search the raw data"
        )
    for pulsar in pulsars:
        pulsar.ephemeris.params(header).check(header.tobs, header.tsamp)
    return pulsars


def subtract_seconds(npulsars: int, volume: float, passes: int) -> float:
    """CPU seconds that subtraction adds to a run.

    `volume`: channels times samples. `passes`: over the samples, by dedispersion and folding.
    """
    # Samples of a channel that are folded into a template, and less a template, a second: benchmarks/subtract.py cost.
    folded = (2.0 if npulsars == 1 else 3.0) * npulsars / 3e8
    # Of each pulsar the template is measured twice without others, and what is left without all.
    subtracted = npulsars * (1.5 * (npulsars - 1) + npulsars + passes) / 3.5e8
    return volume * (folded + subtracted)


def subtract(
    source: MaskedSource, header: Header, config: Config, means: Means, checkpoint: Checkpoint | None = None
) -> tuple[MaskedSource, Array]:
    """Take the pulsars that the settings name out of cleaned samples, the brightest first.

    Each is folded and its period, derivative and DM refined; where its S/N is at least `subtract.min_snr`, and more
    than what noise gives, its template is measured in the samples without the others, and taken out. What is left
    is folded once more.

    `checkpoint`: has the templates of an interrupted run, or is given them.

    Returns
    -------
    MaskedSource
        Samples without them.
    ndarray
        Fields of SUBTRACTED_COLUMNS, one row for each pulsar that was asked for.

    Raises
    ------
    ConfigError, DataError
        As :func:`check_subtract`.
    """
    pulsars = check_subtract(header, config)
    if not pulsars:
        return source, empty_table(SUBTRACTED_COLUMNS, 0)
    progress = means.progress
    kept = None if checkpoint is None else checkpoint.load("subtracted")
    if checkpoint is not None and kept is not None:
        try:
            old = unpacked(kept, source)
        except KeyError as error:
            raise ConfigError(
                f"{checkpoint.folder}: its templates of pulsars are of an earlier version of this program, with which "
                "this one cannot go on: search again without --resume, or remove that folder"
            ) from error
        progress.message(f"{len(old)} pulsars are subtracted: their templates are taken from the interrupted run")
        return SubtractedSource(source, old), kept["rows"]
    folds = _folds(source, pulsars, header, config, means)
    rows = _table(pulsars)
    bright = []
    for i in np.argsort([-fold.snr for fold in folds], kind="stable").tolist():
        there = folds[i].snr >= config.subtract.min_snr and fold_sigma(folds[i]) >= DETECTED
        _fill_params(rows[i], folds[i].after if there else folds[i].before, folds[i].snr)
        if there:
            bright.append(i)
        else:
            progress.warning(_missed(pulsars[i], folds[i], header, config.subtract))
    templates = templates_of(source, [folds[i].after for i in bright], config, means)
    measured = {}
    for i, (template, before) in zip(bright, templates, strict=True):
        if before.snr >= config.subtract.min_snr:
            measured[i] = template, before
        else:
            name = pulsars[i].name
            progress.warning(f"{pulsars[i].given}: nothing is left of {name} when the other pulsars are taken out")
            rows["snr_before"][i] = before.snr
    subtracted = [template for template, _ in measured.values()]
    left = without(source, subtracted)
    for i, (template, before) in measured.items():
        with progress.stage(f"what is left of {pulsars[i].name}", source.nsamps, "samples") as tick:
            residual = measure_rest(left, template, threads=means.threads, memory=means.memory, progress=tick)
        _fill(rows[i], template, before, residual)
        progress.message(subtraction_text(rows[i]))
    if checkpoint is not None:
        checkpoint.save("subtracted", rows=rows, **packed(subtracted))
    return left, rows


def templates_of(
    source: MaskedSource, params: Sequence[FoldParams], config: Config, means: Means, lines: Lines = ()
) -> list[tuple[Subtraction, TemplateFold]]:
    """Templates of pulsars in samples, the brightest first (:func:`pulsar.folding.subtracted.measure_templates`)."""
    passes = len(params) * (2 if len(params) > 1 else 1)
    with means.progress.stage("templates", passes * source.nsamps, "samples") as tick:
        how: dict[str, Any] = {"threads": means.threads, "memory": means.memory, "progress": tick}
        return measure_templates(source, params, config.subtract, lines=lines, **how)


def _folds(
    source: MaskedSource, pulsars: Sequence[PulsarToSubtract], header: Header, config: Config, means: Means
) -> list[Fold]:
    """Refined folds of all, in one pass."""
    params = [pulsar.ephemeris.params(header) for pulsar in pulsars]
    with means.progress.stage("folding known pulsars", source.nsamps, "samples") as tick:
        cubes = folder.fold_many(source, params, config.fold, threads=means.threads, memory=means.memory, progress=tick)
    return [refine(cube) for cube in cubes]


def _missed(pulsar: PulsarToSubtract, fold: Fold, header: Header, config: SubtractConfig) -> str:
    why = "; ".join(doubts(fold, pulsar.ephemeris.origin, header))
    return (
        f"--subtract {pulsar.given}: {pulsar.name} is not detected (S/N {fold.snr:.1f}, subtract.min_snr = "
        f"{config.min_snr:g}): nothing of it is subtracted" + (f": {why}" if why else "")
    )


def _table(pulsars: Sequence[PulsarToSubtract]) -> Array:
    """A row for each, with its name; texts are as wide as the longest."""
    rows = empty_table(SUBTRACTED_COLUMNS, len(pulsars))
    texts = {name: np.array([getattr(pulsar, name) for pulsar in pulsars]) for name in ("name", "given")}
    return table_of({name: texts.get(name, rows[name]) for name in rows.dtype.names or ()})


def _fill_params(row: Any, params: FoldParams, snr: float) -> None:
    row["period"], row["freq"], row["dm"] = 1.0 / params.freq, params.freq, params.dm
    row["fdot"], row["fddot"], row["snr_before"] = params.fdot, params.fddot, snr
    row["obs"] = 0


def _fill(row: Any, subtraction: Subtraction, before: TemplateFold, residual: TemplateFold) -> None:
    """Tell which pulsars were taken out, and the S/N that is left of each."""
    row["subtracted"] = 1
    row["snr_before"], row["snr_after"] = before.snr, residual.snr
    row["rest"], row["rest_err"], row["scatter"], row["scatter_err"] = residual.amplitude
    template = subtraction.template
    row["nbins"], row["nparams"], row["nshapes"] = template.nbins, template.nparams, len(template.shapes)
    row["nsubints"], row["nbands"] = template.grid[:2]


#: Samples of a series that is made to look at sources, as a power of two: 200 MB of work space; an hour in 1 ms.
MOST_BITS: Final = 22
#: Series on each side of a fold's own that its DM curve is folded from.
CURVE_SIDE = 8


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples that are searched and folded."""

    obs: Observation
    source: MaskedSource | None = None  # its cleaned samples; None for dedispersed series, which are read as they are
    subtracted: Array | None = None  # pulsars that were taken out of them, with the fields of SUBTRACTED_COLUMNS

    @property
    def header(self) -> Header:
        """Of the observation."""
        return self.obs.header

    @property
    def mask(self) -> Mask | None:
        """That they are cleaned with."""
        return None if self.source is None else self.source.mask

    @property
    def freqs(self) -> Floats:
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

    def series_at(self, dm: float, means: Means) -> TimeSeries:
        """The series at a DM [pc cm^-3], of series the nearest; with fewer samples where they are many."""
        if self.source is None:
            series = self.obs.series(self.obs.nearest(dm)) if isinstance(self.obs, SeriesSet) else self.series
            times = _downsampling(series.nsamps)
            if times == 1:
                return series
            rows = series.data[: series.nsamps // times * times].reshape(-1, times)
            return TimeSeries(rows.mean(axis=1, dtype=np.float32), series.tsamp * times, series.dm, series.tstart)
        header, times = self.header, _downsampling(self.header.nsamps)
        clean, means = Clean(self.source, [], self.freqs, self.bandwidth), replace(means, memory=_fold_memory(means))
        with closing(trial_series(self.obs, clean, np.array([dm]), means, downsample=times, method="tree")) as batches:
            data = next(batches)[1].copy()
        return TimeSeries(data, header.tsamp * times, dm, header.tstart)

    def cubes(
        self, params: Sequence[FoldParams], config: FoldConfig, means: Means, part: Part = WHOLE
    ) -> list[FoldCube]:
        """Fold any number of candidates in one pass over the samples, or over a part of them.

        `params`: at the middle of the part.
        """
        if self.source is None:
            if isinstance(self.obs, SeriesSet):
                return _fold_set(self.obs, params, config, part)
            return folder.fold_series(part_of(self.series, part), params, config)
        return self._folded(self.source, params, config, means, part)

    def held(self, means: Means, rows: Rows | None = None) -> "Samples":
        """The same, to be folded several times: cleaned once, if all fit into the memory that folding leaves.

        `rows`: all of them, where they are in memory: held if that fits with all that it is a part of.
        """
        source, room = self.source, means.memory - _fold_memory(means)
        if source is None or isinstance(source, HeldSource) or source.nchans * source.nsamps > room:
            return self
        whole = None if rows is None else rows.data if rows.data.base is None else rows.data.base
        return replace(self, source=HeldSource(source, None if whole is None or whole.nbytes > room else rows))

    def _folded(
        self, source: SampleSource, params: Sequence[FoldParams], config: FoldConfig, means: Means, part: Part
    ) -> list[FoldCube]:
        first, nsamps = part.samples(source.nsamps)
        stretch = source if part.count == 1 else PartSource(source, first, nsamps)
        rows = source.rows if isinstance(source, HeldSource) else None
        if rows is not None:
            rows = Rows(rows.data, rows.first + first)
        with unchanged(self.obs), means.progress.stage("folding", stretch.nsamps, "samples") as tick:
            held = source.nchans * source.nsamps if isinstance(source, HeldSource) else 0
            memory = max(_fold_memory(means), min(means.memory // 2, means.memory - held))
            how: dict[str, Any] = {"threads": means.threads, "memory": memory, "progress": tick}
            return folder.fold_many(stretch, params, config, rows=rows, **how)

    def finished(self, fold: Fold, config: FoldConfig) -> Fold:
        """A refined fold with what its own samples do not tell: of series of several DMs the DM curve."""
        return with_dm_curve(self.obs, fold, config) if isinstance(self.obs, SeriesSet) else fold


def clean(obs: Observation, config: Config, means: Means, checkpoint: Checkpoint | None = None) -> Samples:
    """The cleaned samples of an observation, less the pulsars that are to be taken out; series as they are.

    `checkpoint`: has the mask and the templates of an interrupted run, or is given them.

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
        mask, _ = find_mask(obs, config, threads=means.threads, progress=means.progress)
    if checkpoint is not None and kept is None:
        checkpoint.save("mask", **{f.name: np.asarray(getattr(mask, f.name)) for f in fields(mask)})
    means.progress.message(mask.summary())
    source = clean_source(obs, mask, config, threads=means.threads, progress=means.progress)
    if not config.subtract.pulsars:
        return Samples(obs, source)
    return Samples(obs, *subtract(source, obs.header, config, means, checkpoint))


def _fold_memory(means: Means) -> int:
    """Bytes that are left to a fold, beside samples that are held: with few threads no more make it faster."""
    return min(means.memory // 2, folder.ENOUGH_MEMORY)


def _downsampling(nsamps: int) -> int:
    """By which a series is downsampled to be looked at."""
    return 1 << max(int(nsamps - 1).bit_length() - MOST_BITS, 0)


def part_of(series: TimeSeries, part: Part) -> TimeSeries:
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
        folded = folder.fold_series(part_of(obs.series(index), part), there, config)
        cubes |= dict(zip(rows, folded, strict=True))
    return [cubes[i] for i in range(len(params))]


def with_dm_curve(obs: SeriesSet, fold: Fold, config: FoldConfig) -> Fold:
    """A refined fold with its S/N in the neighbouring series, and what is expected there.

    The error of the DM is that of the best of neighbouring trials, or that at which the delay over the band is the
    width of the pulse over its S/N, whichever is larger.

    `fold`: in the series of its DM.
    """
    here = obs.nearest(fold.after.dm)
    near = np.arange(max(here - CURVE_SIDE, 0), min(here + CURVE_SIDE + 1, obs.dms.size))
    zero = np.flatnonzero(np.abs(obs.dms) < 1e-6)
    scale = float(fold.extra.get("noise_scale", 1.0))
    measured: dict[int, float] = {here: fold.snr}
    for index in {*near.tolist(), *zero.tolist()} - {here}:
        there = replace(fold.after, dm=float(obs.dms[index]))
        cube = folder.fold_series(part_of(obs.series(index), Part.of_label(fold.part)), [there], config)[0]
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
