"""A whole search: the order of the stages, what is kept between them, and the product at the end."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import Config
from pulsar.data.fold import Fold, FoldCube, FoldParams
from pulsar.data.observation import Observation
from pulsar.data.series import TimeSeries
from pulsar.errors import ConfigError, DataError, PulsarError
from pulsar.pipeline.candidates import (
    Folded,
    attach,
    candidate_table,
    looks_like_comb,
    looks_like_diode,
    looks_like_mains,
    looks_undispersed,
    rank,
)
from pulsar.pipeline.checkpoint import Checkpoint, fingerprint
from pulsar.pipeline.cleaning import clean_source, find_mask, given_birdies, given_mask
from pulsar.pipeline.plan import RunPlan, dry_run, stage_memory, thread_count
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.pulses import (
    SHAPE_FACTOR,
    Pulses,
    explained,
    find_pulses,
    is_one_pulse,
    judge_shapes,
    link,
    sweep_dms,
)
from pulsar.pipeline.stages import BatchSearch, Found, SeriesSearch, Trials

if TYPE_CHECKING:
    from pulsar.dedisp.batches import Batch
    from pulsar.dedisp.plan import DMPlan
    from pulsar.io.product.reader import Run
    from pulsar.rfi import CleanedSource, Mask
    from pulsar.rfi.birdies import Birdie
    from pulsar.rfi.common import Lines
    from pulsar.search.sift import Source

# Part of the work on a trial DM that is done when its series is there.
DEDISPERSION_SHARE = 0.3
# Seconds after which what has been found so far is stored.
SAVE_INTERVAL = 30.0
# The score of what hums at a harmonic of the mains, or of another line, is taken times this.
MAINS_FACTOR = 0.1
# The score of what is nothing but one single pulse, which has any period, is taken times this.
ONE_PULSE_FACTOR = 0.1
# Events of single pulses kept in a run, the strongest (interference can make any number).
MOST_EVENTS = 4_000_000

FoldMany = Callable[[Sequence[FoldParams]], list[FoldCube]]


def search(
    paths: Sequence[Path | str] | Path | str | Observation,
    config: Config | None = None,
    out: Path | str = "run.h5",
    *,
    overwrite: bool = False,
    resume: bool = False,
    argv: Sequence[str] = (),
    progress: Progress | None = None,
    common: "Sequence[Birdie]" = (),
    begun: bool = False,
) -> "Run":
    """Search an observation for pulsars of every kind and write the ranked candidates and single pulses.

    Parameters
    ----------
    paths : path, sequence of paths, or Observation
        The files of one observation.
    config : Config, optional
    out : path
        The HDF5 product, written at the end, whole or not at all.
    overwrite : bool
        Replace an existing `out`.
    resume : bool
        Go on after the last stage that an interrupted run of the same inputs and settings has finished; a product that
        is already there is returned as it is.
    argv : sequence of str
        The command line, for the provenance.
    progress : Progress, optional
        Default: quiet.
    common : sequence of Birdie
        Periodic interference that other beams have shown.
    begun : bool
        :func:`first_look` has left the mask of these files beside `out`: go on from it.

    Returns
    -------
    Run
        The product, opened.

    Raises
    ------
    ConfigError
        The output exists or cannot be written, or a setting makes no sense for these data.
    DataError
        The files cannot be read, or nothing is left after masking.
    """
    from pulsar.io.open import open_observation
    from pulsar.io.product.reader import read
    from pulsar.io.product.writer import check_output

    config = Config() if config is None else config
    progress = Progress("quiet") if progress is None else progress
    out = check_output(Path(out), overwrite=overwrite or resume)
    if isinstance(paths, str | Path):
        paths = [paths]
    opened = not isinstance(paths, Observation)
    obs = open_observation(*paths, config=config.input) if not isinstance(paths, Observation) else paths
    try:
        from pulsar import __version__

        mark = fingerprint(obs.files, config, __version__)
        refuse_calibration(obs, config)
        dry_run(obs, config)  # refuses what cannot be done before any sample is read
        check_lists(obs, config)
        done = read(out) if resume and out.exists() else None
        if done is not None and (done.provenance.get("fingerprint") == mark or not overwrite):
            if done.provenance.get("fingerprint") != mark:
                raise ConfigError(
                    f"{out}: is the product of other files or settings; --resume goes on with the same ones only: "
                    "give --overwrite to replace it, or another --out"
                )
            Checkpoint(out, mark, resume=False)  # what a first look has left
            progress.message(f"{out} is complete: nothing left to do")
            return done
        checkpoint = Checkpoint(out, mark, resume=resume or begun)
        if checkpoint.outdated:
            progress.message("the earlier results belong to other files or settings: starting anew")
        for problem in obs.problems:
            progress.message(f"note: {problem}")
        runner = _Runner(obs, config, checkpoint, progress, common)
        try:
            runner.run(out, overwrite=overwrite, argv=argv)
        except (ConfigError, DataError):
            if not checkpoint.has("detections") and not checkpoint.has("searched"):
                checkpoint.remove()  # nothing in it that the same command could go on from
            raise
        checkpoint.remove()
    finally:
        if opened:
            obs.close()
    return read(out)


def first_look(
    paths: Sequence[Path | str],
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> "Lines | None":
    """The first pass of a search and a short second one: lines in the series at DM 0, to be compared with other beams'.

    The mask stays beside `out`, for the search that is `begun` with it.

    Parameters
    ----------
    paths : sequence of paths
        The files of one observation.
    config : Config
    out : Path
        The product that the search will write.
    resume : bool
        Take the mask that an interrupted run of the same inputs and settings has left.
    progress : Progress, optional

    Returns
    -------
    Lines or None
        None for dedispersed series.

    Raises
    ------
    ConfigError, DataError
        As :func:`search`.
    """
    from pulsar import __version__
    from pulsar.io.open import open_observation

    progress = Progress("quiet") if progress is None else progress
    with closing(open_observation(*paths, config=config.input)) as obs:
        refuse_calibration(obs, config)
        dry_run(obs, config)
        if obs.header.is_series:
            return None
        checkpoint = Checkpoint(out, fingerprint(obs.files, config, __version__), resume=resume)
        return _Runner(obs, config, checkpoint, progress).lines()


def refuse_calibration(obs: Observation, config: Config) -> None:
    """Refuse a scan of a calibrator, in which the noise diode is all that there is.

    Raises
    ------
    ConfigError
    """
    from pulsar.io.fast import is_calibration

    found = [f.path for f in obs.files if is_calibration(f.path)]
    if found and not config.input.calibration:
        raise ConfigError(
            f"{found[0]}: a calibration scan by its name, with the noise diode on: leave it out, or search it all the "
            "same with --set input.calibration=true"
        )


def check_lists(obs: Observation, config: Config) -> None:
    """Read the lists and the mask that a run will need, so that what is wrong with them is told at its start.

    Raises
    ------
    ConfigError, DataError
    """
    from pulsar.rfi.birdies import read_zaplist
    from pulsar.sky.catalogue import read_catalogue

    if config.known.catalogue:
        read_catalogue(config.known.catalogue)
    if config.rfi.zaplist:
        read_zaplist(config.rfi.zaplist, 0.0)
    given_mask(obs.header, config.rfi)


def dm_plan(plan: RunPlan) -> "DMPlan":
    """The DM plan of a run on raw data."""
    if plan.dm is None:
        raise PulsarError("an already dedispersed series has no DM plan")
    return plan.dm


class _Runner:
    """The state of one run: what each stage hands to the next."""

    def __init__(
        self,
        obs: Observation,
        config: Config,
        checkpoint: Checkpoint,
        progress: Progress,
        common: "Sequence[Birdie]" = (),
    ) -> None:
        self.obs = obs
        self.config = config
        self.checkpoint = checkpoint
        self.progress = progress
        self.threads = thread_count(config)
        self.mask: Mask | None = None
        self.birdies: list[Birdie] = []
        self.common = common

    def lines(self) -> "Lines":
        """Lines in the series at DM 0, and what is of them at a few other DMs."""
        from pulsar.dedisp.plan import few_trials
        from pulsar.dedisp.stream import dedisperse
        from pulsar.rfi.common import FASTEST, find_lines, line_dms
        from pulsar.search.fft import FFTSearch

        source, header = self._clean(), self.obs.header
        downsample = 1
        while downsample < 256 and 2 * downsample * header.tsamp <= 0.5 / FASTEST:
            downsample *= 2
        dms = line_dms(header.freqs, 0.5 / (downsample * header.tsamp), self.config.dedisp.dm_hi)
        plan = few_trials(header, dms, downsample, source.freqs)
        with (
            self.progress.stage("first look", header.nsamps, "samples") as tick,
            dedisperse(source, plan, threads=self.threads, memory=stage_memory(self.config), progress=tick) as store,
        ):
            stage = plan.stages[0]
            search = FFTSearch(stage.nsamps, stage.tsamp, self.config.fft)
            tobs = stage.nsamps * stage.tsamp
            return find_lines(search.spectrum(store.row(0)), store.row, dms, source.freqs, stage.tsamp, tobs)

    def run(self, out: Path, *, overwrite: bool, argv: Sequence[str]) -> None:
        from pulsar.config.load import to_toml
        from pulsar.io.product.provenance import Provenance
        from pulsar.io.product.writer import ProductWriter

        config, header = self.config, self.obs.header
        provenance = Provenance(
            argv=argv, inputs=[f.path for f in self.obs.files], config=to_toml(config), threads=self.threads
        )
        if header.is_series:
            found, dms, pulses, fold_many = self._series()
        else:
            found, dms, pulses, fold_many = self._filterbank(out)
        detections = np.concatenate([found.detections, pulses.repeating])
        sources = self._sift(detections, dms)
        folded = self._fold(sources, fold_many, pulses)
        # What is masked of the channels and blocks adds nothing to the S/N: as if the band were narrower.
        live = None if self.mask is None else header.bandwidth * (1.0 - self.mask.fraction_lost)
        ranked, table, folds = self._list(folded, pulses, live)
        cutouts = pulses.cut_out(self.config.single_pulse.cutouts, self.progress)
        swept = judge_shapes(pulses.table, dict(cutouts))
        low, high = sweep_dms(pulses.table)
        if swept or high > low:
            names = [str(name) for name in table["id"]]
            folded = [
                replace(one, score=SHAPE_FACTOR * one.score, flags=(*one.flags, "sweep"))
                if name in swept
                else replace(one, flags=("near sweeps",))
                if low < one.dm < high and not one.flags
                else one
                for name, (one, _) in zip(names, ranked, strict=True)
            ]
            _, table, folds = self._list(folded, pulses, live)
        self._label(table)

        with self.progress.stage("writing"), ProductWriter(out, overwrite=overwrite) as writer:
            writer.observation(header, self.obs.files, self.obs.gaps, self.obs.problems)
            writer.candidates(table)
            for ident, fold in folds:
                writer.fold(ident, fold)
            if config.single_pulse.enabled:
                writer.single_pulses(pulses.table)
            for ident, cutout in cutouts:
                writer.pulse(ident, cutout)
            if config.output.detections:
                writer.detections(detections)
            if self.mask is not None:
                mask = self.mask
                writer.rfi(
                    mask.chan_ok,
                    mask.reasons,
                    mask.bad,
                    int(mask.edges[1] - mask.edges[0]),
                    np.median(mask.baseline, axis=0),
                    np.median(mask.noise, axis=0),
                    header.freqs,
                    [(b.freq, b.width, b.reason) for b in self.birdies],
                )
            writer.provenance({**provenance.record(self.progress.times), "fingerprint": self.checkpoint.fingerprint})

    def _list(
        self, folded: list[Folded], pulses: Pulses, live: float | None
    ) -> tuple[list[tuple[Folded, int | None]], NDArray[Any], list[tuple[str, Fold]]]:
        """Candidates in their order, their table, and folds by id; pulses are told which they belong to."""
        header, telescope = self.obs.header, self.config.telescope
        ranked = rank(folded, header.tobs)
        table, folds = candidate_table(ranked, header, telescope, live)
        link(pulses.table, table, dict(folds))
        owners = explained(pulses.table, table, dict(folds))
        if owners:
            ranked = attach(ranked, owners)
            table, folds = candidate_table(ranked, header, telescope, live)
            link(pulses.table, table, dict(folds))
        return ranked, table, folds

    def _series(self) -> tuple[Found, NDArray[np.float64], Pulses, FoldMany]:
        """An already dedispersed series goes straight to the search."""
        from pulsar.fold.folder import fold_series

        header = self.obs.header
        data = np.ascontiguousarray(self.obs.read().data[0])
        series = TimeSeries(data, header.tsamp, header.dm, header.tstart)
        self.birdies = [*given_birdies(self.obs.header, self.config.rfi), *self.common]
        with self.progress.stage("search", 1, "series"):
            finder = SeriesSearch(
                len(data),
                header.tsamp,
                self.config,
                trials=Trials(),
                memory=dry_run(self.obs, self.config).accel_memory,
                gaps=self._gaps(),
            )
            found = finder.search(data, header.dm, birdies=[(b.freq, b.width) for b in self.birdies])
        ntrials = 1.0 if finder.pulses is None else finder.pulses.ntrials
        dms = np.array([header.dm])
        pulses = find_pulses(
            found.events, dms, np.array([header.tsamp]), None, header, ntrials, self.config, self.progress
        )
        return found, dms, pulses, lambda params: fold_series(series, params, self.config.fold)

    def _gaps(self) -> tuple[tuple[int, int], ...]:
        return tuple((gap.start, gap.start + gap.nsamps) for gap in self.obs.gaps)

    def _filterbank(self, out: Path) -> tuple[Found, NDArray[np.float64], Pulses, FoldMany]:
        """Statistics, dedispersion and search of raw data."""
        from pulsar.fold.folder import fold_many

        source = self._clean()
        plan = dry_run(self.obs, self.config, freqs=source.freqs)
        for line in plan.summary():
            self.progress.message(line)
        trials = dm_plan(plan)
        finder = BatchSearch(trials, self.config, threads=self.threads, memory=plan.accel_memory, gaps=self._gaps())
        self.birdies = [*given_birdies(self.obs.header, self.config.rfi), *self.common]
        kept = self.checkpoint.load("detections")
        if kept is not None:
            self.progress.message("detections: taken from the interrupted run")
            found = Found(kept["detections"], kept["events"])
            self._take_birdies(kept, finder)
        else:
            found = self._search(source, plan, finder, out)
            self.checkpoint.save("detections", detections=found.detections, events=found.events, **self._kept_birdies())
        tsamps = np.concatenate([np.full(stage.ndms, stage.tsamp) for stage in trials.stages])
        pulses = find_pulses(
            found.events, trials.dms, tsamps, source, self.obs.header, finder.pulse_trials(), self.config, self.progress
        )

        def fold(params: Sequence[FoldParams]) -> list[FoldCube]:
            with self.progress.stage("folding", source.nsamps, "samples") as tick:
                return fold_many(
                    source, params, self.config.fold, threads=self.threads, memory=plan.memory // 2, progress=tick
                )

        return found, trials.dms, pulses, fold

    def _clean(self) -> "CleanedSource":
        from pulsar.rfi import Mask

        config = self.config
        kept = self.checkpoint.load("mask")
        if kept is not None:
            reasons = tuple(str(r) for r in kept.pop("reasons"))
            self.mask = Mask(reasons=reasons, **kept)
        else:
            self.mask = find_mask(self.obs, config, threads=self.threads, progress=self.progress).mask
            arrays = {f.name: np.asarray(getattr(self.mask, f.name)) for f in fields(self.mask)}
            self.checkpoint.save("mask", **arrays)
        self.progress.message(self.mask.summary())
        return clean_source(self.obs, self.mask, config, threads=self.threads, progress=self.progress)

    def _search(self, source: "CleanedSource", plan: RunPlan, finder: BatchSearch, out: Path) -> Found:
        """Dedisperse and search, batch by batch; what has been found so far outlives an interruption."""
        from pulsar.dedisp.batches import dedispersed

        config, trials = self.config, dm_plan(plan)
        if plan.route is None:
            raise PulsarError("an already dedispersed series is not dedispersed")
        found: list[Found] = []
        done = 0
        kept = self.checkpoint.load("searched")
        if kept is not None:
            found, done = [Found(kept["detections"], kept["events"])], int(kept["done"])
            self._take_birdies(kept, finder)
            self.progress.message(f"{done} of {trials.ndms} DMs: taken from the interrupted run")
        saved = time.monotonic()
        with self.progress.stage("searching", trials.ndms, "DMs", clocked=False) as tick:
            tick(done)
            batches = dedispersed(
                source,
                trials,
                plan.route,
                threads=self.threads,
                scratch=Path(config.run.scratch) if config.run.scratch else out.absolute().parent,
                start=done,
                progress=lambda n: tick(DEDISPERSION_SHARE * n),
            )
            with closing(batches):
                while True:
                    with self.progress.clock("dedispersion"):
                        batch = next(batches, None)
                    if batch is None:
                        break
                    with self.progress.clock("search"):
                        if batch.first == 0:
                            self._learn_birdies(batch, finder)
                        found.append(finder.search(batch, lambda n: tick((1.0 - DEDISPERSION_SHARE) * n)))
                    done = batch.first + batch.stage.ndms
                    if time.monotonic() - saved > SAVE_INTERVAL and done < trials.ndms:
                        found = [self._bounded(Found.join(found))]
                        self.checkpoint.save(
                            "searched",
                            detections=found[0].detections,
                            events=found[0].events,
                            done=np.array(done),
                            **self._kept_birdies(),
                        )
                        saved = time.monotonic()
        return self._bounded(Found.join(found))

    def _learn_birdies(self, batch: "Batch", finder: BatchSearch) -> None:
        """Add what the series at DM 0 shows, and leave it out of all spectra."""
        from pulsar.rfi.birdies import fraction_lost, merged

        learnt = finder.learn(batch) if self.config.rfi.learn else []
        self.birdies = merged([*self.birdies, *learnt])
        finder.birdies = [(b.freq, b.width) for b in self.birdies]
        if self.birdies:
            lost = fraction_lost(self.birdies, 0.5 / self.obs.header.tsamp)
            self.progress.message(
                f"{len(self.birdies)} lines of periodic interference ({len(learnt)} learnt at DM 0) are left out: "
                f"{100 * lost:.2g} % of the spectrum"
            )

    def _kept_birdies(self) -> dict[str, NDArray[Any]]:
        """For the checkpoint."""
        rows = [(b.freq, b.width) for b in self.birdies]
        return {
            "birdies": np.array(rows, dtype=np.float64).reshape(-1, 2),
            "birdie_reasons": np.array([b.reason for b in self.birdies], dtype="U64"),
        }

    def _take_birdies(self, kept: dict[str, NDArray[Any]], finder: BatchSearch) -> None:
        from pulsar.rfi.birdies import Birdie

        self.birdies = [
            Birdie(float(freq), float(width), str(reason))
            for (freq, width), reason in zip(kept["birdies"], kept["birdie_reasons"], strict=True)
        ]
        finder.birdies = [(b.freq, b.width) for b in self.birdies]

    def _bounded(self, found: Found) -> Found:
        """What has been found, with no more than MOST_EVENTS events."""
        if found.events.size <= MOST_EVENTS:
            return found
        self.progress.message(f"{found.events.size} events of single pulses: the {MOST_EVENTS} strongest are kept")
        strongest = np.argpartition(-found.events["snr"], MOST_EVENTS)[:MOST_EVENTS]
        return Found(found.detections, found.events[np.sort(strongest)])

    def _sift(self, detections: NDArray[Any], dms: NDArray[np.float64]) -> "list[Source]":
        from pulsar.search.sift import sift

        with self.progress.stage("sifting", len(detections), "detections"):
            sources = sift(detections, self.obs.header.tobs, self.config.sift, dms=dms)
        self.progress.message(f"{len(detections)} detections of {len(sources)} sources")
        return sources

    def _fold(self, sources: "list[Source]", fold_many: FoldMany, pulses: Pulses) -> list[Folded]:
        """Fold the best sources, refine and score them; those not folded keep a score of 0."""
        chosen = sources[: self.config.fold.ncands]
        params = [FoldParams(s.freq, float(s.best["fdot"]), s.dm, float(s.best["fddot"])) for s in chosen]
        folds = self._refined(params, fold_many)
        from pulsar.fold.refine import fundamental_factor

        # Where the profile shows several equal pulses the true frequency is that many times higher.
        nyquist = 0.5 / self.obs.header.tsamp
        wrong = {i: factor for i, fold in enumerate(folds) if (factor := fundamental_factor(fold)) != 1}
        wrong = {i: factor for i, factor in wrong.items() if factor * folds[i].after.freq < nyquist}
        if wrong:
            again = [folds[i].after.times(k) for i, k in wrong.items()]
            for i, fold in zip(wrong, self._refined(again, fold_many), strict=True):
                folds[i] = fold
        found = [self._scored(source, fold, pulses) for source, fold in zip(chosen, folds, strict=True)]
        return found + [Folded(s, None, 0.0, {}, found_by=s.found_by) for s in sources[len(chosen) :]]

    def _label(self, table: NDArray[Any]) -> None:
        """Name the candidates that are known pulsars."""
        known, header = self.config.known, self.obs.header
        if not known.catalogue:
            return
        from pulsar.sky.barycentre import motion_of
        from pulsar.sky.catalogue import beam_width, label, read_catalogue

        if motion_of(header) is None or not (known.radius or beam_width(header) > 0):
            self.progress.message(
                "known pulsars cannot be told: telescope or position are unknown (--ra, --dec, --set known.radius=DEG)"
            )
            return
        inside = label(table, header, read_catalogue(known.catalogue), radius=known.radius)
        names = ", ".join(p.name for p in inside[:10]) + (" ..." if len(inside) > 10 else "")
        self.progress.message(f"known pulsars at this position: {names or 'none'}")

    def _refined(self, params: Sequence[FoldParams], fold_many: FoldMany) -> list[Fold]:
        from concurrent.futures import ThreadPoolExecutor

        from pulsar.fold.refine import refine

        if not params:
            return []
        cubes = fold_many(params)
        search_dm = not self.obs.header.is_series
        with self.progress.stage("refinement", len(cubes), "folds") as tick, ThreadPoolExecutor(self.threads) as pool:

            def one(cube: FoldCube) -> Fold:
                fold = refine(cube, search_dm=search_dm)
                tick(1)
                return fold

            return list(pool.map(one, cubes))

    def _scored(self, source: "Source", fold: Fold, pulses: Pulses) -> Folded:
        from pulsar.rank.features import features
        from pulsar.rank.score import reasons, score

        values = features(fold, sigma=source.sigma, ndetections=source.ndetections)
        fold.extra["features"] = dict(values)
        value = score(values)
        flags = source.flags
        if "dm0" not in flags and looks_undispersed(fold):
            flags = (*flags, "dm0")
        flags = (*flags, *(flag for flag in reasons(values) if flag not in flags))
        known = not self.obs.header.is_series
        if looks_like_mains(fold, self.config.sift.mains, dispersion_known=known):
            flags = (*flags, "mains")
            value *= MAINS_FACTOR
        if looks_like_diode(fold, self.config.rfi.diodes, dispersion_known=known):
            flags = (*flags, "noise diode")
            value *= MAINS_FACTOR
        lines = [(b.freq, b.width) for b in self.birdies]
        if not {"mains", "noise diode"} & set(flags) and looks_like_comb(fold, lines, dispersion_known=known):
            flags = (*flags, "comb")
            value *= MAINS_FACTOR
        if is_one_pulse(pulses.table, fold):
            flags = (*flags, "one pulse")
            value *= ONE_PULSE_FACTOR
        return Folded(source, fold, value, values, flags, source.found_by)
