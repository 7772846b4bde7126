"""``python -m pulsar.rank.train``: learn from labels, and say how good what was learnt is.

Everything is made twice alike by the same tables and seed. A model is a text of numbers, which no search uses; with
``--score`` the weights of the score in use are learnt, which are such a text as well (:mod:`pulsar.rank.learn`).
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.data.unfinished import write_whole
from pulsar.errors import ConfigError, PulsarError
from pulsar.rank.evaluate import Evaluation, Splits, evaluate, over_splits
from pulsar.rank.labelled import Table, joined, parts_of, read_profiles, read_table
from pulsar.rank.model import MOST, Both, Model, fit_logistic, fit_trees, model_text, probability

Array = NDArray[np.float64]

#: Form -> what fits it to features and labels, with a seed.
FITS: Final[Mapping[str, Callable[[Array, NDArray[np.bool_], int], Model]]] = {
    "logistic": lambda x, y, _seed: fit_logistic(x, y),
    "trees": lambda x, y, seed: fit_trees(x, y, seed=seed),
    "both": lambda x, y, seed: Both(fit_logistic(x, y), fit_trees(x, y, seed=seed)),
}


def cross_validated(table: Table, kind: str, nparts: int, seed: int, base: Table | None = None) -> dict[str, Array]:
    """Probabilities of all candidates, each by a model that has not seen it.

    Parameters
    ----------
    table : Table
    kind : {"auto", "logistic", "trees", "both"}
        "auto": each of the others.
    nparts, seed : int
    base : Table, optional
        Candidates from which every model learns, too.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        By the form of the model.
    """
    part = parts_of(table.y, nparts, seed)
    scores: dict[str, Array] = {}
    for i in range(nparts):
        seen = part != i
        x, y = table.x[seen], table.y[seen]
        if base is not None:
            x, y = np.concatenate([base.x, x]), np.concatenate([base.y, y])
        model = FITS["both" if kind == "auto" else kind](x, y, seed)
        forms = {kind: model}
        if kind == "auto" and isinstance(model, Both):
            forms = {"logistic": model.logistic, "trees": model.trees, "both": model}
        for name, form in forms.items():
            found = scores.setdefault(name, np.zeros(len(table.y)))
            found[~seen] = probability(form.logits(table.x[~seen]))
    return scores


def log_loss(scores: Array, y: NDArray[np.bool_]) -> float:
    """Mean negative logarithm of the probability that was given to what it is."""
    right = np.clip(np.where(y, scores, 1.0 - scores), 1e-12, 1.0)
    return float(-np.mean(np.log(right)))


def train(
    table: Table,
    *,
    kind: str = "auto",
    nparts: int = 5,
    seed: int = 1,
    added: Table | None = None,
    against: Table | None = None,
    precision: float = 0.93,
) -> tuple[Model, dict[str, Evaluation], str]:
    """Learn from labels.

    Parameters
    ----------
    table : Table
    kind : {"auto", "logistic", "trees", "both"}
        "auto": that of the least log loss in the cross-validation.
    nparts : int
        Of the cross-validation.
    seed : int
    added : Table, optional
        Further labels, such as one's own: judged by a model of `table` alone, and by cross-validation with `table` in
        every part. The model learns from both.
    against : Table, optional
        Labels that are judged by the model, and not learnt.
    precision : float
        At which recall is given.

    Returns
    -------
    model : Model
    evaluations : dict of str to Evaluation
        "cross-validation"; with `added` also "added, before" and "added, after"; with `against` also "against".
    kind : str

    Raises
    ------
    ConfigError
        There are too few labels, or tables have other features.
    """
    whole = table if added is None else joined([table, added])
    if against is not None:
        joined([whole, against])
    scores = cross_validated(table, kind, nparts, seed)
    kind = min(scores, key=lambda name: log_loss(scores[name], table.y))
    found = {"cross-validation": evaluate(scores[kind], table.y, precision)}
    if added is not None:
        before = probability(FITS[kind](table.x, table.y, seed).logits(added.x))
        after = cross_validated(added, kind, nparts, seed, table)[kind]
        found["added, before"] = evaluate(before, added.y, precision)
        found["added, after"] = evaluate(after, added.y, precision)
    model = FITS[kind](whole.x, whole.y, seed)
    if against is not None:
        found["against"] = evaluate(probability(model.logits(against.x)), against.y, precision)
    return model, found, kind


def split_anew(table: Table, kind: str, *, nparts: int, seed: int, repeats: int, precision: float) -> Splits:
    """The cross-validation again and again, with other parts: what of its figures is the luck of the split.

    Parameters
    ----------
    table : Table
    kind : {"logistic", "trees", "both"}
    nparts : int
        Of each cross-validation.
    seed, repeats : int
        Seeds `seed` to `seed + repeats - 1`; the first is the cross-validation of :func:`train`.
    precision : float
        At which recall is taken.
    """
    scores = (cross_validated(table, kind, nparts, seed + i)[kind] for i in range(repeats))
    return over_splits([evaluate(each, table.y, precision) for each in scores])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pulsar.rank.train",
        description="Learn from labels which candidates are pulsars, and say how good that is.",
    )
    add = parser.add_argument
    add("tables", nargs="*", type=Path, metavar="TABLE", help="csv with the label last, .pat, or a judged product")
    add("--profiles", nargs=2, type=Path, metavar=("PULSARS", "OTHERS"), help="learn from profiles, one a line")
    add("--add", nargs="+", type=Path, default=[], metavar="TABLE", help="further labels, judged before and after")
    add("--against", nargs="+", type=Path, default=[], metavar="TABLE", help="labels that are judged, not learnt")
    add("--score", action="store_true", help="learn the weights of the score of searches, from features of folds")
    add("--model", choices=("auto", *FITS), default="auto", help="form of the model (default: the better one)")
    add("--folds", type=int, default=5, metavar="N", help="parts of the cross-validation (default: 5)")
    add("--repeats", type=int, default=1, metavar="N", help="cross-validations, each split anew (default: 1)")
    add("--precision", type=float, default=0.93, metavar="P", help="at which recall is given (default: 0.93)")
    add("--seed", type=int, default=1, metavar="N", help="of the parts and of the trees (default: 1)")
    add("--out", type=Path, metavar="MODEL.json", help="write the model")
    add("--overwrite", action="store_true", help="replace an existing model")
    add("--json", action="store_true", help="print JSON")
    return parser


def _run(options: argparse.Namespace) -> None:
    if bool(options.tables) == bool(options.profiles):
        raise ConfigError("give what to learn from: either TABLE…, or --profiles PULSARS OTHERS")
    if not 2 <= options.folds <= 100:
        raise ConfigError(f"--folds {options.folds}: expected 2 to 100")
    if not 1 <= options.repeats <= 1000:
        raise ConfigError(f"--repeats {options.repeats}: expected 1 to 1000")
    if not 0.0 < options.precision <= 1.0:
        raise ConfigError(f"--precision {options.precision:g}: expected a number above 0, up to 1")
    if options.seed < 0:
        raise ConfigError(f"--seed {options.seed}: expected 0 or more")
    out = options.out
    if out is not None:
        if out.exists() and not options.overwrite:
            raise ConfigError(f"{out}: exists already; give --overwrite to replace it, or another --out")
        if not out.absolute().parent.is_dir():
            raise ConfigError(f"{out}: the folder {out.absolute().parent} does not exist; create it")
        inputs = [*options.tables, *(options.profiles or ()), *options.add, *options.against]
        if out.resolve() in {path.resolve() for path in inputs}:
            raise ConfigError(f"{out}: is a table itself: write to another file")
    table = read_profiles(*options.profiles) if options.profiles else _tables(options.tables)
    if options.score:
        _run_score(options, table)
        return
    added = _tables(options.add) if options.add else None
    against = _tables(options.against) if options.against else None
    model, found, kind = train(
        table,
        kind=options.model,
        nparts=options.folds,
        seed=options.seed,
        added=added,
        against=against,
        precision=options.precision,
    )
    splits = None
    if options.repeats > 1:
        splits = split_anew(
            table,
            kind,
            nparts=options.folds,
            seed=options.seed,
            repeats=options.repeats,
            precision=options.precision,
        )
    about = {
        "trained_on": table.origin if added is None else f"{table.origin}, {added.origin}",
        "seed": options.seed,
        "folds": options.folds,
        "evaluation": {name: plain(one) for name, one in found.items()},
    }
    if splits is not None:
        about["splits"] = asdict(splits)
    text = model_text(model, table.names, about)
    if len(text.encode()) > MOST:
        raise ConfigError(f"the model has {len(text)} bytes, more than {MOST}: there are too many features")
    if options.json:
        sys.stdout.write(json.dumps({"kind": kind, "features": list(table.names)} | about) + "\n")
    else:
        sys.stdout.write(f"model: {kind}, {len(table.names)} features, {len(text.encode())} bytes\n")
        for name, one in found.items():
            sys.stdout.write(f"\n{name}\n{one}\n")
        if splits is not None:
            sys.stdout.write(f"\n{splits}\n")
    _write(out, text)


def _run_score(options: argparse.Namespace, table: Table) -> None:
    """Learn the weights of the score, and tell what they are worth on groups that were left out."""
    from pulsar.rank.learn import learn, weights_text

    if options.against or options.profiles or options.model != "auto" or options.repeats > 1:
        raise ConfigError(
            "--score learns weights from tables of folds: without --against, --profiles, --model and --repeats"
        )
    added = _tables(options.add) if options.add else None
    found = learn(table, added=added, nparts=options.folds, seed=options.seed, precision=options.precision)
    labels = table.y if added is None else np.concatenate([table.y, added.y])
    about = {
        "trained_on": {"rows": len(labels), "pulsars": int(labels.sum())},
        "seed": options.seed,
        "evaluation": {name: plain(one) for name, one in found.evaluations.items()},
    }
    text = weights_text(found.coefficients, about)
    if options.json:
        sys.stdout.write(text)
    else:
        for name, value in zip(found.coefficients.names, found.coefficients.signed()[:-1], strict=True):
            sys.stdout.write(f"{name:12s} {value:+.2f}\n")
        sys.stdout.write(f"{'bias':12s} {found.coefficients.bias:+.2f}\n")
        for name, one in found.evaluations.items():
            sys.stdout.write(f"\n{name}\n{one}\n")
    _write(options.out, text)


def _write(out: Path | None, text: str) -> None:
    if out is None:
        return
    try:
        write_whole(out, text)
    except OSError as error:
        raise PulsarError(f"{out}: cannot be written: {error.strerror}") from error


def _tables(paths: Sequence[Path]) -> Table:
    return joined([read_table(path) for path in paths])


def plain(one: Evaluation) -> dict[str, Any]:
    """An evaluation as JSON has it; what is unknown is null."""

    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: known(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [known(each) for each in value]
        return None if isinstance(value, float) and not np.isfinite(value) else value

    found: dict[str, Any] = known(asdict(one))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; the exit code is 2 for wrong usage, 3 for tables that cannot be read."""
    options = _parser().parse_args(argv)
    try:
        _run(options)
    except PulsarError as error:
        sys.stderr.write(f"{_parser().prog}: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
