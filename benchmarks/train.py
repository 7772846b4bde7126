"""Learn the weights of the score from folds of which it is known what they are, and say what they are worth.

    python benchmarks/population.py --envs clean,red,impulses,mains,all --first 10240 --files 34 --keep SKIES
    python benchmarks/zoo.py survey --first 254 --files 136 --every 4 --keep ZOO
    python benchmarks/train.py table --skies SKIES --zoo ZOO --out TABLE.csv
    python benchmarks/train.py weights TABLE.csv --out pulsar/sources/weights.json --overwrite
    python benchmarks/train.py weights TABLE.csv --add MINE.h5 --out mine.json     # labels of your own
    pulsar search … --set sift.weights=mine.json

What speaks for a pulsar and what against it, and how, is written down in `pulsar.sources.score`; how much each counts
is learnt, from what its meaning lets expect. So few numbers learn from few examples, none may change its side, and what
no example shows keeps what is expected of it. Rows of a group (a column "group", or parts by chance) are judged by
weights that have not seen it. The same tables and seed give the same weights. Tables have features by name and the
label last; products whose candidates were judged in `pulsar view` will do, too.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray
from population import pulsar_of
from population_sky import ENVIRONMENTS, sky
from scipy.optimize import minimize
from scipy.special import expit
from shared import Evaluation, commands, evaluate
from zoo import file_of
from zoo_skies import ZOO, belongs

from pulsar.cli.console import plain
from pulsar.data.unfinished import write_whole
from pulsar.errors import ConfigError, DataError, PulsarError
from pulsar.io.labels import beside, labels_of, uid_of
from pulsar.io.product.reader import Run, read
from pulsar.sources.features import FEATURE_NAMES, features, vector
from pulsar.sources.score import FLAGS, FORMAT, VERSION, Coefficients, LogisticScorer

app = commands(__doc__)

Array = NDArray[np.float64]

#: Judgements that count as a pulsar, and as none; of others ("unsure") and where people disagree nothing is learnt.
PULSARS: Final = frozenset({"pulsar", "known"})
OTHERS: Final = frozenset({"interference", "noise"})
#: What is expected of each term before any example [logit]: what it means, and rows that it was first seen in.
EXPECTED: Final = Coefficients(
    bias=-6.8,
    weights={"strength": 7.5, "sigma": 2.0, "dispersed": 1.5, "dm_curve": 0.7, "time": 0.8, "freq": 0.8},
    penalties={
        "zero_dm": 7.5,
        "one_band": 9.5,
        "one_burst": 4.0,
        "wave": 5.0,
        "tone": 5.5,
        "unphysical": 5.0,
        "unsteady": 5.0,
        "unlike": 5.0,
        "wide": 3.0,
    },
)
#: Standard deviation of that [logit].
SPREAD: Final = 1.5
#: No single term decides alone, whatever the examples say [logit].
MOST: Final = 12.0
#: A column of a table that says which rows belong together, such as the kind of sky they are of.
GROUP: Final = "group"


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
    x: Array
    y: NDArray[np.bool_]
    origin: str = ""


def read_table(path: Path) -> Table:
    """Candidates with labels: numbers with names, 1 (pulsar) or 0 last in each line; or a product that was judged."""
    if path.suffix in (".h5", ".hdf5"):
        return _product(path)
    try:
        rows = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True, dtype=np.float64))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}: expected features by name and the label, separated by commas") from error
    *names, label = rows.dtype.names or ("",)
    if not names or not np.isin(rows[label], (0.0, 1.0)).all():
        raise DataError(f"{path}: expected features by name, and 1 (pulsar) or 0 in the last column")
    return Table(tuple(names), np.stack([rows[name] for name in names], axis=1), rows[label] == 1.0, str(path))


def _product(path: Path) -> Table:
    """Judged candidates of a product that were folded, with our features."""
    run, labels = read(path), labels_of([path])
    x, y = [], []
    for row in run.rows("candidates"):
        said = set(labels.said(uid_of(row)))
        if str(row["id"]) in run.ids and said and (said <= PULSARS or said <= OTHERS):
            x.append(features_of(run, row))
            y.append(said <= PULSARS)
    if not x:
        raise DataError(
            f"{path}: no candidate with a fold is judged pulsar, known, interference or noise in {beside(path).name}: "
            f"judge some: pulsar view {path}"
        )
    return Table(FEATURE_NAMES, np.array(x), np.array(y), str(path))


def features_of(run: Run, row: np.void) -> Array:
    """Features of the fold of a candidate; of a period that was given there is no significance of a detection."""
    given = row["kind"] == "fold"
    sigma, count = (np.nan, None) if given else (float(row["sigma"]), int(row["ndetections"]))
    return vector(features(run.fold(str(row["id"])), sigma=sigma, ndetections=count))


def parts_of(y: NDArray[np.bool_], nparts: int, seed: int) -> NDArray[np.int64]:
    """The part of each candidate in a cross-validation: as many pulsars and as many others in all, by chance."""
    rng, parts = np.random.default_rng(seed), np.zeros(len(y), dtype=np.int64)
    for side, name in ((y, "pulsars"), (~y, "others")):
        rows = np.flatnonzero(side)
        if len(rows) < max(nparts, 2):
            raise ConfigError(f"{len(rows)} {name} are too few for {nparts} parts: give more labels, or less --folds")
        parts[rng.permutation(rows)] = np.arange(len(rows)) % nparts
    return parts


def terms_of(table: Table) -> Array:
    """Terms of the score of each row, those that count for a pulsar first; shape (n, nterms).

    Parameters
    ----------
    table : Table
        Features are found by their names; those it lacks are unknown.

    Raises
    ------
    ConfigError
        It has none of the features of a fold.
    """
    column = {name: table.names.index(name) for name in FEATURE_NAMES if name in table.names}
    if not column:
        raise ConfigError(f"{table.origin}: has no feature of a fold, such as snr or dm_match, in a line of names")
    scorer, unknown = LogisticScorer(EXPECTED), dict.fromkeys(FEATURE_NAMES, float("nan"))
    rows = [scorer.terms(unknown | {name: float(row[at]) for name, at in column.items()}) for row in table.x]
    return np.array([[terms[name] for name in EXPECTED.names] for terms in rows]).reshape(-1, len(EXPECTED.names))


def fit_weights(terms: Array, real: NDArray[np.bool_]) -> Coefficients:
    """Weights of the greatest posterior probability: logistic likelihood, a normal prior around those expected.

    Parameters
    ----------
    terms : ndarray, shape (n, nterms)
        From :func:`terms_of`.
    real : ndarray of bool, shape (n,)
    """
    before = EXPECTED.signed()
    sides = np.sign(before)
    columns = np.concatenate([terms, np.ones((len(terms), 1))], axis=1)
    y = real.astype(np.float64)

    def cost(v: Array) -> tuple[float, Array]:
        logits = np.einsum("nk,k->n", columns, v)
        off = (v - before) / SPREAD
        loss = float(np.sum(np.logaddexp(0.0, logits) - y * logits) + 0.5 * np.sum(off**2))
        return loss, np.einsum("nk,n->k", columns, expit(logits) - y) + off / SPREAD

    bounds = [(0.0, MOST) if side > 0 else (-MOST, 0.0) for side in sides]
    best = minimize(cost, before, jac=True, method="L-BFGS-B", bounds=bounds)
    numbers, nweights = best.x.tolist(), len(EXPECTED.weights)
    weights = dict(zip(EXPECTED.weights, numbers[:nweights], strict=True))
    penalties = dict(zip(EXPECTED.penalties, (abs(value) for value in numbers[nweights:-1]), strict=True))
    return Coefficients(numbers[-1], weights, penalties)


def groups_of(table: Table, nparts: int, seed: int) -> NDArray[np.int64]:
    """Which rows are left out together: those of a column "group", or parts by chance.

    Raises
    ------
    ConfigError
        There is one group only, or there are too few labels.
    """
    if GROUP not in table.names:
        return parts_of(table.y, nparts, seed)
    _, number = np.unique(table.x[:, table.names.index(GROUP)], return_inverse=True)
    if number.max() < 1:
        raise ConfigError(f"{table.origin}: all rows are of one group: none can be left out")
    return np.asarray(number, dtype=np.int64)


def learn(
    table: Table, *, added: Table | None = None, nparts: int = 5, seed: int = 1
) -> tuple[Coefficients, dict[str, Evaluation]]:
    """Learn the weights of the score, and judge each group by weights that have not seen it.

    Parameters
    ----------
    table : Table
        Features by name, labels, and a column "group" if rows belong together.
    added : Table, optional
        Further ones, such as one's own: judged before and after they are learnt from.
    nparts, seed : int
        Parts by chance where there are no groups.

    Returns
    -------
    coefficients : Coefficients
        Learnt from all.
    evaluations : dict of str to Evaluation
        "groups left out": each group judged by weights that were learnt from the others; "weights as expected": all
        judged by EXPECTED; "added, before" and "added, after": what was added judged by weights of the others alone,
        and by those that learn from both, in parts left out.

    Raises
    ------
    ConfigError
        Too few labels, or no features of folds.
    """
    terms, group = terms_of(table), groups_of(table, nparts, seed)
    nothing = np.zeros((0, terms.shape[1])), np.zeros(0, dtype=np.bool_)
    scores = {
        "groups left out": (_left_out(terms, table.y, group, *nothing), table.y),
        "weights as expected": (EXPECTED.probabilities(terms), table.y),
    }
    learnt = fit_weights(terms, table.y)
    if added is not None:
        more, parts = terms_of(added), groups_of(added, nparts, seed)
        scores["added, before"] = learnt.probabilities(more), added.y
        scores["added, after"] = _left_out(more, added.y, parts, terms, table.y), added.y
        learnt = fit_weights(np.concatenate([terms, more]), np.concatenate([table.y, added.y]))
    return learnt, {name: evaluate(*pair) for name, pair in scores.items()}


def _left_out(
    terms: Array, real: NDArray[np.bool_], group: NDArray[np.int64], base: Array, base_real: NDArray[np.bool_]
) -> Array:
    """Scores of rows, each by weights of the other groups and of what is always learnt from."""
    found = np.zeros(len(real))
    for left_out in np.unique(group):
        away = group == left_out
        seen = np.concatenate([base, terms[~away]]), np.concatenate([base_real, real[~away]])
        found[away] = fit_weights(*seen).probabilities(terms[away])
    return found


def weights_text(found: Coefficients, about: Mapping[str, Any]) -> str:
    """Weights as text, with where they come from."""
    stored: dict[str, Any] = {"format": FORMAT, "version": VERSION, "bias": round(found.bias, 3)}
    for kind, values in (("weights", found.weights), ("penalties", found.penalties)):
        stored[kind] = {name: round(value, 3) for name, value in values.items()}
    return json.dumps(stored | dict(about), indent=1) + "\n"


def joined(tables: Sequence[Table]) -> Table:
    """All candidates of tables with the same features."""
    first = tables[0]
    for table in tables[1:]:
        if table.names != first.names:
            raise ConfigError(f"{table.origin}: has other features than {first.origin}")
    x, y = np.concatenate([t.x for t in tables]), np.concatenate([t.y for t in tables])
    return Table(first.names, x, y, ", ".join(t.origin for t in tables))


@app.command()
def weights(
    tables: Annotated[list[Path], typer.Argument(metavar="TABLE ...", help="csv, or a judged product")],
    add: Annotated[list[Path] | None, typer.Option(help="further labels, judged before and after")] = None,
    folds: Annotated[int, typer.Option(help="parts where rows have no group")] = 5,
    seed: Annotated[int, typer.Option(help="of the parts")] = 1,
    out: Annotated[Path | None, typer.Option(metavar="WEIGHTS.json", help="write the weights")] = None,
    overwrite: Annotated[bool, typer.Option(help="replace existing ones")] = False,
) -> None:
    """Learn from tables; the exit code is 2 for wrong usage, 3 for tables that cannot be read."""
    try:
        if out is not None and out.exists() and not overwrite:
            raise ConfigError(f"{out}: exists already; give --overwrite to replace it, or another --out")
        given = joined([read_table(path) for path in tables])
        added = joined([read_table(path) for path in add]) if add else None
        coefficients, evaluations = learn(given, added=added, nparts=folds, seed=seed)
        labels = given.y if added is None else np.concatenate([given.y, added.y])
        about: dict[str, Any] = {"trained_on": {"rows": len(labels), "pulsars": int(labels.sum())}, "seed": seed}
        about["evaluation"] = {name: plain(asdict(each)) for name, each in evaluations.items()}
        for name, value in zip([*coefficients.names, "bias"], coefficients.signed(), strict=True):
            print(f"{name:12s} {value:+.2f}")
        for name, each in evaluations.items():
            print(f"\n{each.table(name)}\n\nAUC {each.auc:.4f} ± {each.auc_err:.4f}")
        if out is not None:
            write_whole(out, weights_text(coefficients, about))
    except PulsarError as error:
        print(f"train.py: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None


#: Flags that go with a term of the score.
OWN = frozenset(FLAGS.values())


def rows_of(
    folder: Path, names: str, made: Callable[..., tuple[int, Callable[[Any, Any], int | None]]]
) -> Iterator[tuple[int, NDArray[np.float64], bool]]:
    """Group and features of the rows of products that belong to no other, and true for the first of each pulsar.

    Rows with a flag that no term of the score stands for (mains, a comb, sweeps, a crowd ...) are left out.

    Parameters
    ----------
    folder : Path
    names : str
        Pattern of the names of products.
    made : callable
        Takes the groups of the pattern; its group, and what gives, from a row and the header, the number of the pulsar
        whose period and DM the row has, or None.
    """
    for path in sorted(folder.glob("*.h5")):
        name = re.fullmatch(names, path.stem)
        if name is None:
            continue
        group, pulsar_number = made(*name.groups())
        run = read(path)
        table, seen = run.rows("candidates"), {None}
        for row in np.sort(table[table["harmonic_of"] == ""], order="rank"):
            number = pulsar_number(row, run.observation)
            real = number not in seen
            seen.add(number)
            flags = set(filter(None, str(row["rfi_flags"]).split(",")))
            if np.isfinite(row["snr"]) and flags <= OWN:
                yield group, features_of(run, row), real


def of_sky(environment: str, seed: str) -> tuple[int, Callable[[Any, Any], int | None]]:
    """Products of population.py: the number of the environment, and which pulsar a row is."""
    observed = sky(environment, int(seed))
    return ENVIRONMENTS.index(environment), lambda row, _: pulsar_of(row, observed)


def of_zoo(number: str, every: str) -> tuple[int, Callable[[Any, Any], int | None]]:
    """Products of `zoo.py survey`: the number of the kind, after the environments, and which pulsar a row is."""
    kind, _, observed = file_of(int(number), int(every))

    def pulsar_number(row: Any, header: Any) -> int | None:
        return next((k for k, pulsar in enumerate(observed.pulsars) if belongs(row, pulsar, header, 1, 1)), None)

    return len(ENVIRONMENTS) + list(ZOO).index(kind), pulsar_number


@app.command()
def table(
    out: Annotated[Path, typer.Option(metavar="TABLE.csv")],
    skies: Annotated[list[Path] | None, typer.Option(help="folder of population.py --keep; may be repeated")] = None,
    zoo: Annotated[list[Path] | None, typer.Option(help="folder of zoo.py survey --keep; may be repeated")] = None,
) -> None:
    """Features of the folds of kept searches of simulated skies, and what each is.

    Rows of one environment, or of one kind of interference, are one group, which is left out in turn.
    """
    rows = [row for folder in skies or [] for row in rows_of(folder, rf"({'|'.join(ENVIRONMENTS)})-(\d+)", of_sky)]
    rows += [row for folder in zoo or [] for row in rows_of(folder, r"(\d+)-(\d+)", of_zoo)]
    if not rows:
        raise typer.BadParameter("no row in the products of these folders: give those of --keep")
    lines = [[*FEATURE_NAMES, GROUP, "label"]]
    lines += [[*(f"{value:.5g}" for value in x), str(group), str(int(real))] for group, x, real in rows]
    write_whole(out, "".join(",".join(line) + "\n" for line in lines))
    print(f"{out}: {len(rows)} rows, {sum(real for _, _, real in rows)} of them pulsars")


if __name__ == "__main__":
    app()
