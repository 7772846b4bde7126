"""Folds of other programs: measured as our own are, judged by the same rules, and kept in a product."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pulsar.config.load import to_toml
from pulsar.config.model import Config
from pulsar.data import flags as flag_table
from pulsar.data.candidate import CANDIDATE_COLUMNS, empty_table
from pulsar.data.fold import Fold, FoldCube, holds_sums_only
from pulsar.data.header import Header
from pulsar.data.observation import InputFile
from pulsar.folding.refine import refine
from pulsar.followup.folding import fold_row
from pulsar.io.folded import FoldedFile, read_folded
from pulsar.io.product.provenance import Provenance
from pulsar.io.product.writer import ProductWriter, Target
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.write import fill_barycentre
from pulsar.searches.sift import Group
from pulsar.sky.catalogue import label, read_catalogue
from pulsar.sources.interference import Interference, flags_of
from pulsar.sources.score import scorer_of
from pulsar_kernels.arrays import Array


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
    read: FoldedFile = read_folded(path)
    if fit and holds_sums_only(read.cube):
        fold = _with_errors(read.cube)
    else:
        fold = refine(read.cube, search_dm=not read.header.is_series, fit=fit)
    fold.extra["stated"] = dict(read.stated)
    return Imported(path, fold, read.header, read.problems)


def _with_errors(cube: FoldCube) -> Fold:
    """A fold of which only sums are known, where it is; errors are those of refining each of the two sums alone."""
    fold = refine(cube, fit=False)
    bands, times = cube.band_freqs, cube.time_edges
    high, ends = np.array([cube.fref]), times[[0, -1]]
    over_bands = replace(
        cube,
        data=cube.data.sum(axis=1, keepdims=True),
        variance=cube.variance.sum(axis=1, keepdims=True),
        band_freqs=high,
    )
    over_time = replace(
        cube, data=cube.data.sum(axis=0, keepdims=True), variance=cube.variance.sum(axis=0, keepdims=True),
        time_edges=ends, band_freqs=bands,
    )  # fmt: skip
    spin, dispersion = refine(over_bands, search_dm=False), refine(over_time, search_fdot=False)
    return replace(fold, freq_err=spin.freq_err, fdot_err=spin.fdot_err, dm_err=dispersion.dm_err)


def imported_table(found: Sequence[Imported], config: Config) -> Array:
    """Candidates in the order of the files, with scores and flags as a search gives them.

    Parameters
    ----------
    config : Config
        Its sections `sift`, `rfi` (mains, diodes) and `known` are used.
    """
    scorer = scorer_of(config.sift.weights)
    table = empty_table(CANDIDATE_COLUMNS, len(found))
    for i, one in enumerate(found):
        rows, fold = table[i : i + 1], one.fold
        known = Interference(config.sift.mains, config.rfi.diodes, dispersion_known=not one.header.is_series)
        fold_row(f"c{i + 1:04d}", fold, one.header, rows[0], scorer)
        # Nobody has searched here: all that is known is the fold.
        alone = Group("", fold.before, np.zeros(0, dtype=np.int64), fold.before.dm, fold.before.dm)
        flags = flags_of(alone, fold, fold.extra["features"], known)
        rows["rfi_flags"] = ",".join(flags)
        rows["score"] *= flag_table.weight(flags)
        rows["obs"] = i
        fill_barycentre(rows, one.header)
        if config.known.catalogue:
            label(rows, one.header, read_catalogue(config.known.catalogue), radius=config.known.radius)
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
    found : list of Imported
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
    found = []
    with progress.stage("importing", total=len(paths), unit="folds") as tick:
        for path in paths:
            found.append(import_fold(path, fit=fit))
            tick(1)
    for problem in dict.fromkeys(problem for one in found for problem in one.problems):
        progress.message(problem)
    table = imported_table(found, config)
    table = table[np.lexsort((-table["snr"], -table["score"]))]
    table["rank"] = np.arange(1, len(table) + 1)
    if target is None or record is None:
        return found, table
    with ProductWriter(target.path, overwrite=target.overwrite) as writer:
        files = []
        for one in found:
            stat = one.path.stat()
            files.append([InputFile(one.path, 0, one.header.nsamps, stat.st_size, stat.st_mtime)])
        problems = [f"{one.path.name}: {problem}" for one in found for problem in one.problems]
        writer.observations([one.header for one in found], files, [[] for _ in found], problems=problems)
        for i, one in enumerate(found):
            writer.fold(f"c{i + 1:04d}", one.fold)
        writer.table("candidates", table)
        writer.provenance(record.record(progress.times))
    return found, table
