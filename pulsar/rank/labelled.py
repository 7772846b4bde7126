"""Tables of candidates of which somebody has said what they are: features and labels, from files of several kinds."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.data.files import check_file, read_text
from pulsar.data.text import printable
from pulsar.errors import ConfigError, DataError

#: Judgements that count as a pulsar, and as none; of others ("unsure") and where people disagree nothing is learnt.
PULSARS: Final = frozenset({"pulsar", "known"})
OTHERS: Final = frozenset({"interference", "noise"})
#: Bytes of a table: three million candidates of eight features.
_MOST: Final = 1 << 28
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
#: Fewest pulsars and others that a part of a cross-validation has to learn from.
_FEWEST: Final = 2
_SNNS: Final = "SNNS pattern definition file"
_WHAT: Final = "a table of labelled candidates (csv with the label last, SNNS .pat, or a judged product)"


@dataclass(frozen=True)
class Table:
    """Candidates with labels.

    Attributes
    ----------
    names : tuple of str
        Of the features.
    x : ndarray of float64, shape (n, k)
        NaN where unknown.
    y : ndarray of bool, shape (n,)
        True for pulsars.
    origin : str
        Where they come from.
    """

    names: tuple[str, ...]
    x: NDArray[np.float64]
    y: NDArray[np.bool_]
    origin: str = ""


def read_table(path: Path) -> Table:
    """Candidates with labels from one file, recognised by its content.

    Parameters
    ----------
    path : Path
        Comma-separated numbers with 1 (pulsar) or 0 last in each line, with or without a line of names (HTRU2); SNNS
        patterns, of which a first output of 1 is a pulsar; or a product of a search or of imported folds beside which
        lie judgements (`pulsar view`).

    Raises
    ------
    DataError
        It cannot be read, or has no labels.
    """
    check_file(path, _WHAT)
    with path.open("rb") as stream:
        head = stream.read(len(_HDF5))
    if head == _HDF5:
        return _product(path)
    text = read_text(path, _WHAT, most=_MOST)
    if text.lstrip().startswith(_SNNS):
        return _patterns(path, text)
    lines = _lines(path, text)
    names, x = _numbers(path, lines)
    if x.shape[1] < 2:
        raise DataError(f"{path}: has {x.shape[1]} columns: expected features and the label, separated by commas")
    labels = x[:, -1]
    wrong = np.flatnonzero((labels != 0.0) & (labels != 1.0))
    if len(wrong):
        raise DataError(
            f"{path}: candidate {wrong[0] + 1}: {labels[wrong[0]]:g} in the last column: expected 1 (pulsar) or 0"
        )
    return Table(names[:-1], x[:, :-1], labels == 1.0, str(path))


def read_profiles(pulsars: Path, others: Path) -> Table:
    """Two tables of profiles, one in a line, as the features of their shape (:mod:`pulsar.rank.shape`).

    Parameters
    ----------
    pulsars, others : Path
        Comma-separated numbers, of any level and scale; a line of each profile.

    Raises
    ------
    DataError
        They cannot be read.
    """
    from pulsar.rank.shape import profile_features

    found, labels = [], []
    for path, label in ((pulsars, True), (others, False)):
        _, rows = _numbers(path, _lines(path, read_text(path, "a table of profiles (csv)", most=_MOST)))
        found += [profile_features(row) for row in np.nan_to_num(rows)]
        labels += [label] * len(rows)
    names = tuple(found[0])
    x = np.array([[one[name] for name in names] for one in found])
    return Table(names, x, np.array(labels), f"{pulsars}, {others}")


def joined(tables: Sequence[Table]) -> Table:
    """All candidates of tables with the same features.

    Raises
    ------
    ConfigError
        They have others.
    """
    first = tables[0]
    for other in tables[1:]:
        if other.names != first.names:
            raise ConfigError(
                f"{other.origin}: has other features ({len(other.names)}: {', '.join(other.names[:4])} …) than "
                f"{first.origin} ({len(first.names)}: {', '.join(first.names[:4])} …): train a model of each"
            )
    x, y = np.concatenate([t.x for t in tables]), np.concatenate([t.y for t in tables])
    return Table(first.names, x, y, ", ".join(t.origin for t in tables))


def _lines(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """Cells of lines that are neither blank nor comments, with the number of the line."""
    found = [
        (number, [cell.strip() for cell in line.split(",")])
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not found:
        raise DataError(f"{path}: holds no line of numbers: expected {_WHAT}")
    return found


def _number(cell: str) -> float:
    return float(cell) if cell else float("nan")


def _numbers(path: Path, lines: list[tuple[int, list[str]]]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names of the columns, and the numbers; infinite ones are unknown."""
    width = len(lines[0][1])
    names = tuple(f"column{i + 1}" for i in range(width))
    try:
        list(map(_number, lines[0][1]))
    except ValueError:
        names = tuple(printable(cell)[:64] for cell in lines[0][1])
        lines = lines[1:]
    if not lines:
        raise DataError(f"{path}: holds no line of numbers: expected {_WHAT}")
    rows = []
    for number, cells in lines:
        try:
            row = list(map(_number, cells))
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {printable(str(error))[:120]}: expected numbers") from error
        if len(row) != width:
            raise DataError(f"{path}: line {number} has {len(row)} columns, the first {width}: it was cut or damaged")
        rows.append(row)
    x = np.array(rows, dtype=np.float64)
    return names, np.where(np.isfinite(x), x, np.nan)


def _patterns(path: Path, text: str) -> Table:
    """SNNS patterns: a head with the numbers of units, then inputs and outputs of each pattern, in any lines."""
    sizes = {}
    for key in ("patterns", "input units", "output units"):
        found = re.search(rf"No\. of {key}\s*:\s*(\d{{1,9}})", text)
        if found is None:
            raise DataError(f"{path}: says no number of {key}: it is no file of SNNS patterns, or damaged")
        sizes[key] = int(found.group(1))
    n, k, m = sizes.values()
    body = (line for line in text.split("\n") if not line.lstrip().startswith("#"))
    # The head ends with the last of its sizes.
    cells = list(_cells(body))
    if not (n and k and m) or len(cells) != n * (k + m):
        raise DataError(f"{path}: {len(cells)} numbers are not {n} patterns of {k} and {m}: it was cut or damaged")
    try:
        rows = np.array(list(map(float, cells)), dtype=np.float64).reshape(n, k + m)
    except ValueError as error:
        raise DataError(f"{path}: {printable(str(error))[:120]}: expected numbers") from error
    x = np.where(np.isfinite(rows[:, :k]), rows[:, :k], np.nan)
    return Table(tuple(f"input{i + 1}" for i in range(k)), x, rows[:, k] == 1.0, str(path))


def _cells(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if not ("No. of" in line or line.lstrip().startswith(("SNNS", "generated at"))):
            yield from line.split()


def _product(path: Path) -> Table:
    """Judged candidates of a product that were folded, with our features."""
    from pulsar.io.labels import beside, labels_of, uid_of
    from pulsar.io.product.reader import read
    from pulsar.rank.features import FEATURE_NAMES, features, vector

    run, labels = read(path), labels_of([path])
    ids = set(run.ids)
    x, y = [], []
    for row in run.rows("candidates"):
        said = set(labels.said(uid_of(row)))
        if str(row["id"]) not in ids or not said or not (said <= PULSARS or said <= OTHERS):
            continue
        # Of a period that was given there is no significance of a detection.
        given = str(row["kind"]) == "fold"
        sigma = float("nan") if given else float(row["sigma"])
        count = None if given else int(row["ndetections"])
        x.append(vector(features(run.fold(str(row["id"])), sigma=sigma, ndetections=count)))
        y.append(said <= PULSARS)
    if not x:
        raise DataError(
            f"{path}: no candidate with a fold is judged pulsar, known, interference or noise in {beside(path).name}: "
            f"judge some: pulsar view {path}"
        )
    found = np.array(x)
    return Table(FEATURE_NAMES, np.where(np.isfinite(found), found, np.nan), np.array(y), str(path))


def parts_of(y: NDArray[np.bool_], nparts: int, seed: int) -> NDArray[np.int64]:
    """The part of each candidate in a cross-validation: as many pulsars and as many others in all, by chance.

    Parameters
    ----------
    y : ndarray of bool, shape (n,)
    nparts : int
    seed : int

    Raises
    ------
    ConfigError
        There are too few of either.
    """
    rng = np.random.default_rng(seed)
    found = np.zeros(len(y), dtype=np.int64)
    for side, name in ((y, "pulsars"), (~y, "others")):
        rows = np.flatnonzero(side)
        if len(rows) < max(nparts, _FEWEST):
            raise ConfigError(f"{len(rows)} {name} are too few for {nparts} parts: give more labels, or less --folds")
        found[rng.permutation(rows)] = np.arange(len(rows)) % nparts
    return found
