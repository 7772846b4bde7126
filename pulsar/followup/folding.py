"""Folds without a search: of given periods, of a product anew without some of their parts, of other programs.

All are measured as those of a search are, judged by the same rules, and kept in a product.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pulsar.cleaning.source import MaskedSource
from pulsar.config.load import to_toml
from pulsar.config.model import Config
from pulsar.data.candidate import CANDIDATE_COLUMNS, DETECTED, empty_table
from pulsar.data.flags import split, weight
from pulsar.data.fold import Fold, FoldCube, FoldParams, holds_sums_only
from pulsar.data.header import Header
from pulsar.data.observation import InputFile, Observation, unchanged
from pulsar.data.series import Lines
from pulsar.errors import ConfigError
from pulsar.folding.fundamental import fold_sigma
from pulsar.folding.refine import refine
from pulsar.folding.subtracted import Subtraction, without
from pulsar.io.folded import read_folded
from pulsar.io.product.provenance import Provenance
from pulsar.io.product.reader import Run, read
from pulsar.io.product.writer import ProductWriter, Target
from pulsar.pipeline.cleaning import given_mask
from pulsar.pipeline.ephemerides import Ephemeris, FromPar, KnownFold, doubts, verdict
from pulsar.pipeline.follow import steady_fold
from pulsar.pipeline.plan import live_frequencies
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import Means
from pulsar.pipeline.samples import Samples, check_subtract, clean, templates_of
from pulsar.pipeline.start import opened
from pulsar.pipeline.write import fill_barycentre, fill_flux, fill_fold, fill_place
from pulsar.searches.sift import Group
from pulsar.sky.catalogue import label, read_catalogue
from pulsar.sources.features import features
from pulsar.sources.interference import KnownInterference, flags_of
from pulsar.sources.score import Scorer, score, scorer_of
from pulsar_kernels.arrays import Array, Bools


def folded(
    obs: Observation, params: Sequence[FoldParams], config: Config, means: Means, known: Sequence[KnownFold | None] = ()
) -> tuple[Samples, list[FoldCube]]:
    """Clean and fold an observation; all candidates in one streamed pass.

    A search may have folded some of them without strong sources (:mod:`pulsar.pipeline.residual`): so are they here, in
    a pass for each set of these.

    Parameters
    ----------
    obs : Observation
        Raw data or a dedispersed series.
    params : sequence of FoldParams
        Topocentric, at mid-observation.
    known : sequence of KnownFold or None, optional
        The fold of each that a search of these samples has made.

    Raises
    ------
    ConfigError, DataError
        A pulsar that is to be taken out makes no sense for these data, or its file cannot be read.
    """
    check_subtract(obs.header, config)
    samples = clean(obs, config, means)
    if samples.source is None:
        with unchanged(obs), means.progress.stage("folding", total=obs.header.nsamps, unit="samples") as tick:
            folds = samples.cubes(params, config.fold, means)
            tick(obs.header.nsamps)
        return samples, folds
    cubes: dict[int, FoldCube] = {}
    for source, rows in _residuals(samples.source, known, len(params), config, means):
        folds = replace(samples, source=source).cubes([params[i] for i in rows], config.fold, means)
        cubes |= dict(zip(rows, folds, strict=True))
    return samples, [cubes[i] for i in range(len(params))]


def _residuals(
    source: MaskedSource, known: Sequence[KnownFold | None], count: int, config: Config, means: Means
) -> list[tuple[MaskedSource, list[int]]]:
    """Samples without strong sources, and which of `count` folds are made in them, as in a search."""
    strong = [fold.strong if fold is not None and any(out for _, out in fold.strong) else () for fold in known]
    strong = strong or [()] * count
    lines = next((fold.lines for fold in known if fold is not None), ())
    templates: dict[tuple[FoldParams, ...], list[Subtraction]] = {(): []}
    residuals = []
    for sources in dict.fromkeys(strong):
        params = tuple(params for params, _ in sources)
        if params not in templates:
            means.progress.message(f"strong sources are taken out as in the search: templates of {len(params)}")
            templates[params] = [taken for taken, _ in templates_of(source, params, config, means, lines)]
        taken = [template for template, (_, out) in zip(templates[params], sources, strict=True) if out]
        residuals.append((without(source, taken), [i for i in range(count) if strong[i] == sources]))
    return residuals


def fold_given(obs: Observation, params: FoldParams, config: Config, *, fit: bool, progress: Progress) -> Fold:
    """Clean and fold an observation by one set of parameters.

    Parameters
    ----------
    obs : Observation
        Raw data or a dedispersed series.
    params : FoldParams
        Topocentric, at mid-observation.
    fit : bool
        Refine period, derivative and DM; False measures those that are given.

    Raises
    ------
    ConfigError, DataError
        As :func:`folded`.
    """
    samples, (cube,) = folded(obs, [params], config, Means.of(config, obs, progress))
    return samples.finished(refine(cube, search_dm=not obs.header.is_series, fit=fit), config.fold)


def fold_row(
    ident: str, fold: Fold, header: Header, row: Any, scorer: Scorer, detected: Mapping[str, Any] | None = None
) -> None:
    """Fill a row of the candidates table for a period that was given, or is known in the same data.

    Parameters
    ----------
    fold : Fold
        Is told its features.
    detected : mapping, optional
        What a search of the same data says: fields `sigma`, `ndetections` and `rfi_flags`.
    """
    fill_place(row, header)
    fill_fold(row, fold)
    row["id"] = ident
    row["kind"] = "fold"
    row["dm_detected"] = fold.before.dm
    row["sigma"] = fold_sigma(fold)
    values = features(fold)
    if detected is not None:
        row["rfi_flags"] = detected["rfi_flags"]
        values |= {name: float(detected[name]) for name in ("sigma", "ndetections")}
    fold.extra["features"] = values
    row["score"] = score(values, scorer) * weight(split(str(row["rfi_flags"])))


def _known(ephemeris: Ephemeris | FromPar, header: Header) -> KnownFold | None:
    """The fold that a search has made of a candidate in the same data."""
    return ephemeris.fold_of(header) if isinstance(ephemeris, Ephemeris) else None


def _start(ephemeris: Ephemeris | FromPar, header: Header, *, fit: bool) -> FoldParams:
    """With what a fold is made: where it is refined, and has been in these data, that from which the search began."""
    known = _known(ephemeris, header) if fit else None
    params = ephemeris.params(header)
    return params if known is None or known.params is None else known.params


def measured(cube: FoldCube, lines: Lines, *, fit: bool, search_dm: bool) -> Fold:
    """A fold refined as those of a search are, or (`fit` False) measured where it was made.

    Parameters
    ----------
    lines : sequence of (float, float)
        Frequencies and full widths [Hz] of periodic interference.
    """
    if fit:
        return steady_fold(cube, search_dm=search_dm, lines=lines)
    return refine(cube, search_dm=search_dm, lines=lines, fit=False)


def complete(table: Array, folds: Sequence[Fold], header: Header, config: Config) -> None:
    """Fill what follows from the folds of rows: barycentric values, flux density, the known pulsars that they are.

    Flux densities are of the band that each fold tells, which is without what was masked.
    """
    fill_barycentre(table, header)
    for fold, row in zip(folds, table, strict=True):
        fill_flux(row, fold, header, fold.extra["bandwidth"], config.telescope)
    if config.known.catalogue:
        label(table, header, read_catalogue(config.known.catalogue), radius=config.known.radius)


def fold_files(
    paths: Sequence[Path | str],
    ephemerides: Sequence[Ephemeris | FromPar],
    config: Config,
    target: Target,
    *,
    fit: bool = True,
    progress: Progress | None = None,
) -> Run:
    """Fold given periods in an observation and write a product with candidates and folds, best first.

    Parameters
    ----------
    paths : sequence of paths
        Files of one observation.
    target : Target
        Product to write.
    fit : bool
        Refine period, derivative and DM; False measures those that are given.

    Raises
    ------
    ConfigError
        The output exists, or a period cannot be folded.
    DataError
        The files cannot be read.
    """
    scorer = scorer_of(config.sift.weights)
    if config.known.catalogue:
        read_catalogue(config.known.catalogue)  # what is wrong with it is told before any work
    progress = Progress("quiet") if progress is None else progress
    with opened(paths, config, progress) as obs:
        means = Means.of(config, obs, progress, target.path)
        record = Provenance(target.argv, [f.path for f in obs.files], to_toml(config, with_help=False), means.threads)
        for remark in obs.remarks:
            progress.message(remark)
        given_mask(obs.header, config.rfi)
        check_subtract(obs.header, config)
        params = [_start(ephemeris, obs.header, fit=fit) for ephemeris in ephemerides]
        if not obs.header.is_series:
            live_frequencies(obs, config)  # refuses when all channels are zapped
        with ProductWriter(target.path, overwrite=target.overwrite) as writer:
            searched = [_known(ephemeris, obs.header) for ephemeris in ephemerides]
            samples, cubes = folded(obs, params, config, means, searched)
            if samples.subtracted is not None:
                writer.table("subtracted/pulsars", samples.subtracted)
            lines = [() if known is None else known.lines for known in searched]
            with progress.stage("refining", total=len(cubes), unit="folds") as tick:
                folds = []
                for cube, hit in zip(cubes, lines, strict=True):
                    fold = measured(cube, hit, fit=fit, search_dm=not obs.header.is_series)
                    folds.append(samples.finished(fold, config.fold))
                    folds[-1].extra["bandwidth"] = samples.bandwidth
                    tick(1)
            names = [e.ident or f"c{i + 1:04d}" for i, e in enumerate(ephemerides)]
            table = empty_table(CANDIDATE_COLUMNS, len(folds))
            for i, (name, fold, row) in enumerate(zip(names, folds, table, strict=True)):
                known = searched[i]
                if known is not None:
                    row["harmonic_of"], row["relation"] = known.row["harmonic_of"], known.row["relation"]
                fold_row(name, fold, obs.header, row, scorer, None if known is None else known.row)
                writer.fold(name, fold, cubes[i], lines[i])
                if row["sigma"] < DETECTED and known is None:
                    why = doubts(fold, ephemerides[i].origin, obs.header)
                    progress.warning(verdict(fold, float(row["sigma"]), name, why))
            # A parent that is not folded, too, would make a row of nobody's.
            table["harmonic_of"][~np.isin(table["harmonic_of"], names)] = ""
            table["relation"][table["harmonic_of"] == ""] = ""
            complete(table, folds, obs.header, config)
            for row, ephemeris in zip(table, ephemerides, strict=True):
                if isinstance(ephemeris, FromPar):
                    row["known_source"] = ephemeris.model.name
            if None in searched:
                table = table[np.argsort(-table["snr"], kind="stable")]
            table["rank"] = np.arange(1, len(table) + 1)
            writer.observation(obs.header, obs.files, obs.gaps, obs.problems)
            writer.table("candidates", table)
            writer.provenance(record.record(progress.times))
    return read(target.path)


#: Lowest and highest values of what is left out.
Spans = Sequence[tuple[float, float]]
Mask = Bools
Notify = Callable[[str], None]


def touched(cube: FoldCube, times: Spans, freqs: Spans) -> tuple[Mask, Mask]:
    """The sub-integrations, shape (nsubints,), and bands, shape (nbands,), of which a part lies in a span.

    A band reaches half way to its neighbours.

    Parameters
    ----------
    times : sequence of (float, float)
        [s] from the start.
    freqs : sequence of (float, float)
        [MHz]

    Raises
    ------
    ConfigError
        A span touches none, or nothing would be left.
    """
    bands = cube.band_freqs
    if freqs and len(bands) < 2:
        raise ConfigError("--zap-freq: the fold has one band only, as those of series have: leave out times")
    half = 0.5 * np.abs(np.diff(bands)) if len(bands) > 1 else np.zeros(1)
    below, above = (np.concatenate(pair)[: len(bands)] for pair in ((half, half[-1:]), (half[:1], half)))
    axes = (
        ("time", "s", times, cube.time_edges[:-1], cube.time_edges[1:]),
        ("freq", "MHz", freqs, bands - below, bands + above),
    )
    masks = []
    for name, unit, spans, lows, highs in axes:
        mask = np.zeros(len(lows), dtype=np.bool_)
        for first, last in spans:
            hit = (lows < last) & (highs > first)
            if not hit.any():
                raise ConfigError(
                    f"--zap-{name} {first:g}:{last:g}: touches nothing of the fold, which is from {lows.min():g} to "
                    f"{highs.max():g} {unit}"
                )
            mask |= hit
        masks.append(mask)
    if not cube.without(masks[0], masks[1]).variance.any():
        raise ConfigError("--zap-time and --zap-freq leave nothing of the fold")
    return masks[0], masks[1]


def _number_of(values: Any, name: str) -> float:
    """A number of what a product tells of a fold; NaN where it does not."""
    value = values.get(name) if isinstance(values, dict) else None
    return float(value) if isinstance(value, int | float) else float("nan")


def zap_fold(
    product: Path, idents: Sequence[str], times: Spans, freqs: Spans, config: Config, target: Target, *, notify: Notify
) -> Run:
    """Measure a fold of a product without some of it, in the way in which it was made, and write it to another product.

    Parameters
    ----------
    product : Path
        Of ``pulsar fold``, which keeps all of its folds. Of one that was cleaned itself the whole fold is taken.
    idents : sequence of str
        Its name; may be left out where the product has just one.
    times, freqs : sequence of (float, float)
        What is left out [s from the start, MHz]; none: the fold as it was made.
    notify : callable
        Is told what has become of the S/N.

    Returns
    -------
    Run
        With the fold that is left, and the whole one beside it (``run.fold(ident, whole=True)``).

    Raises
    ------
    ConfigError
        No one fold is named, it was not kept, or what is to be left out is none or all of it.
    DataError
        The product cannot be read.
    """
    run = read(product)
    names = list(dict.fromkeys(idents)) or list(run.ids)
    if len(names) != 1:
        raise ConfigError(f"{product}: holds {len(run.ids)} folds: name the one to be cleaned: --id ID")
    ident = names[0]
    cube, lines = run.cube(ident)
    whole, old, header = run.fold(ident, whole=True), run.candidate(ident), run.observation
    subints, bands = touched(cube, times, freqs)
    # Errors are known of what was refined.
    fit = bool(np.any(np.isfinite([whole.freq_err, whole.fdot_err, whole.dm_err])))
    fold = measured(cube.without(subints, bands), lines, fit=fit, search_dm=not header.is_series)
    for name, spans in (("time", times), ("freq", freqs)):
        if spans:
            fold.extra[f"zap_{name}"] = [f"{low:g}:{high:g}" for low, high in spans]
    record = Provenance(target.argv, [product], to_toml(config, with_help=False), 1)
    table = empty_table(CANDIDATE_COLUMNS, 1)
    # What a search of the same data has said of it still holds.
    detected = {name: _number_of(whole.extra.get("features"), name) for name in ("sigma", "ndetections")}
    scorer = scorer_of(config.sift.weights)
    fold_row(ident, fold, header, table[0], scorer, {"rfi_flags": old["rfi_flags"], **detected})
    table["known_source"], table["rank"] = old["known_source"], 1
    # The flux density is of the time and the band that are left.
    bandwidth = _number_of(whole.extra, "bandwidth")
    bandwidth = bandwidth if np.isfinite(bandwidth) else header.bandwidth
    fold.extra["bandwidth"] = bandwidth * float(np.mean(~bands))
    complete(table, [fold], header, config)
    for name in ("flux", "flux_err"):
        table[name] /= np.sqrt(np.mean(~subints))
    with ProductWriter(target.path, overwrite=target.overwrite) as writer:
        writer.observation(header, *run.inputs[0], run.problems)
        writer.table("candidates", table)
        if len(run.rows("subtracted/pulsars")):
            writer.table("subtracted/pulsars", run.rows("subtracted/pulsars"))
        writer.fold(ident, fold, cube, lines)
        writer.fold(f"{ident}/whole", whole)
        writer.provenance(record.record({}))
    notify(
        f"{ident}: S/N {whole.snr:.1f} -> {fold.snr:.1f} without {np.count_nonzero(subints)} of {len(subints)} "
        f"sub-integrations and {np.count_nonzero(bands)} of {len(bands)} bands; sigma does not count what you tried to "
        "choose these"
    )
    return read(target.path)


@dataclass(frozen=True)
class Imported:
    """A fold of another program."""

    path: Path
    fold: Fold  # `extra` holds what the file states itself, as ``stated``
    header: Header  # Of its observation, as far as the file tells
    problems: tuple[str, ...] = ()  # What is not in the file and was reckoned in another way


def import_fold(path: Path, *, fit: bool = True) -> Imported:
    """Read a fold that another program has made, and refine it as our own.

    Parameters
    ----------
    path : Path
        ``.pfd`` or ``.phcx`` (:func:`pulsar.io.folded.read_folded`).
    fit : bool
        Refine period, derivative and DM; False measures those of the file. Where the file has only sums over frequency
        and over time they stay as they are, and get their errors.

    Raises
    ------
    DataError
        It cannot be read.
    """
    stored = read_folded(path)
    if fit and holds_sums_only(stored.cube):
        fold = _with_errors(stored.cube)
    else:
        fold = refine(stored.cube, search_dm=not stored.header.is_series, fit=fit)
    fold.extra["stated"] = dict(stored.stated)
    return Imported(path, fold, stored.header, stored.problems)


def _with_errors(cube: FoldCube) -> Fold:
    """A fold of which only sums are known, where it is; errors are those of refining each of the two sums alone."""

    def summed(axis: int, **edges: Any) -> FoldCube:
        data, variance = (values.sum(axis=axis, keepdims=True) for values in (cube.data, cube.variance))
        return replace(cube, data=data, variance=variance, **edges)

    spin = refine(summed(1, band_freqs=np.array([cube.fref])), search_dm=False)
    dispersion = refine(summed(0, time_edges=cube.time_edges[[0, -1]]), search_fdot=False)
    return replace(refine(cube, fit=False), freq_err=spin.freq_err, fdot_err=spin.fdot_err, dm_err=dispersion.dm_err)


def imported_table(imports: Sequence[Imported], config: Config) -> Array:
    """Candidates in the order of the files, with scores and flags as a search gives them.

    Parameters
    ----------
    config : Config
        Its sections `sift`, `rfi` (mains, diodes) and `known` are used.
    """
    scorer = scorer_of(config.sift.weights)
    table = empty_table(CANDIDATE_COLUMNS, len(imports))
    for i, entry in enumerate(imports):
        rows, fold = table[i : i + 1], entry.fold
        known = KnownInterference(config.sift.mains, config.rfi.diodes, dispersion_known=not entry.header.is_series)
        fold_row(f"c{i + 1:04d}", fold, entry.header, rows[0], scorer)
        # Nobody has searched here: all that is known is the fold.
        alone = Group("", fold.before, np.zeros(0, dtype=np.int64), fold.before.dm, fold.before.dm)
        flags = flags_of(alone, fold, fold.extra["features"], known)
        rows["rfi_flags"] = ",".join(flags)
        rows["score"] *= weight(flags)
        rows["obs"] = i
        fill_barycentre(rows, entry.header)
        if config.known.catalogue:
            label(rows, entry.header, read_catalogue(config.known.catalogue), radius=config.known.radius)
    return table


def import_files(
    paths: Sequence[Path],
    config: Config,
    target: Target | None = None,
    *,
    fit: bool = True,
    progress: Progress | None = None,
) -> tuple[list[Imported], Array]:
    """Import folds of other programs, and write a product with candidates and folds if it is asked for.

    Parameters
    ----------
    paths : sequence of Path
        Each a fold of its own.
    target : Target, optional
        Product to write.
    fit : bool
        Refine period, derivative and DM; False measures those of the files.

    Returns
    -------
    imports : list of Imported
    table : ndarray
        Fields of CANDIDATE_COLUMNS; `id` and `obs` count the files, `rank` 1 is the best.

    Raises
    ------
    ConfigError
        The output exists.
    DataError
        A file cannot be read.
    """
    progress = Progress("quiet") if progress is None else progress
    record = None if target is None else Provenance(target.argv, paths, to_toml(config, with_help=False), 1)
    imports = []
    with progress.stage("importing", total=len(paths), unit="folds") as tick:
        for path in paths:
            imports.append(import_fold(path, fit=fit))
            tick(1)
    for problem in dict.fromkeys(problem for entry in imports for problem in entry.problems):
        progress.message(problem)
    table = imported_table(imports, config)
    table = table[np.lexsort((-table["snr"], -table["score"]))]
    table["rank"] = np.arange(1, len(table) + 1)
    if target is None or record is None:
        return imports, table
    with ProductWriter(target.path, overwrite=target.overwrite) as writer:
        files = []
        for entry in imports:
            stat = entry.path.stat()
            files.append([InputFile(entry.path, 0, entry.header.nsamps, stat.st_size, stat.st_mtime)])
        problems = [f"{entry.path.name}: {problem}" for entry in imports for problem in entry.problems]
        writer.observations([entry.header for entry in imports], files, [[] for _ in imports], problems=problems)
        for i, entry in enumerate(imports):
            writer.fold(f"c{i + 1:04d}", entry.fold)
        writer.table("candidates", table)
        writer.provenance(record.record(progress.times))
    return imports, table
