"""How the weights of the score are learnt from folds of which it is known what they are.

What speaks for a pulsar and what against it, and how, is written down in :mod:`pulsar.rank.score`; how much each counts
is learnt, from what its meaning lets expect. So few numbers learn from few examples, none may change its side, and what
no example shows keeps what is expected of it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.errors import ConfigError
from pulsar.rank.evaluate import Evaluation, evaluate
from pulsar.rank.features import FEATURE_NAMES
from pulsar.rank.labelled import Table, parts_of
from pulsar.rank.model import probability
from pulsar.rank.score import FORMAT, VERSION, Coefficients, LogisticScorer

Array = NDArray[np.float64]

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
class Learnt:
    """Weights, and what they and those expected are worth on examples.

    Attributes
    ----------
    coefficients : Coefficients
    left_out : Evaluation
        Each group judged by weights that were learnt from the others.
    expected : Evaluation
        All of them judged by EXPECTED.
    before, after : Evaluation or None
        What was added judged by weights of the others alone, and by those that learn from both, in parts left out.
    """

    coefficients: Coefficients
    left_out: Evaluation
    expected: Evaluation
    before: Evaluation | None = None
    after: Evaluation | None = None

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """All of them, by what they are."""
        found = {
            "groups left out": self.left_out,
            "weights as expected": self.expected,
            "added, before": self.before,
            "added, after": self.after,
        }
        return {name: one for name, one in found.items() if one is not None}


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
    scorer, names = LogisticScorer(EXPECTED), EXPECTED.names
    unknown = dict.fromkeys(FEATURE_NAMES, float("nan"))
    rows = []
    for row in table.x:
        terms = scorer.terms(unknown | {name: float(row[at]) for name, at in column.items()})
        rows.append([terms[name] for name in names])
    return np.array(rows, dtype=np.float64).reshape(-1, len(names))


def fit_weights(terms: Array, real: NDArray[np.bool_]) -> Coefficients:
    """Weights of the greatest posterior probability: logistic likelihood, a normal prior around those expected.

    Parameters
    ----------
    terms : ndarray, shape (n, nterms)
        From :func:`terms_of`.
    real : ndarray of bool, shape (n,)
    """
    from scipy.optimize import minimize

    before = EXPECTED.signed()
    sides = np.sign(before)
    columns = np.concatenate([terms, np.ones((len(terms), 1))], axis=1)
    y = real.astype(np.float64)

    def cost(v: Array) -> tuple[float, Array]:
        logits = np.einsum("nk,k->n", columns, v)
        off = (v - before) / SPREAD
        loss = float(np.sum(np.logaddexp(0.0, logits) - y * logits) + 0.5 * np.sum(off**2))
        return loss, np.einsum("nk,n->k", columns, probability(logits) - y) + off / SPREAD

    bounds = [(0.0, MOST) if side > 0 else (-MOST, 0.0) for side in sides]
    best = minimize(cost, before, jac=True, method="L-BFGS-B", bounds=bounds)
    return Coefficients.of_signed(EXPECTED, np.asarray(best.x))


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
    table: Table, *, added: Table | None = None, nparts: int = 5, seed: int = 1, precision: float = 0.93
) -> Learnt:
    """Learn the weights of the score, and judge each group by weights that have not seen it.

    Parameters
    ----------
    table : Table
        Features by name, labels, and a column "group" if rows belong together.
    added : Table, optional
        Further ones, such as one's own: judged before and after they are learnt from.
    nparts, seed : int
        Parts by chance where there are no groups.
    precision : float
        At which recall is given.

    Raises
    ------
    ConfigError
        Too few labels, or no features of folds.
    """
    terms, group = terms_of(table), groups_of(table, nparts, seed)
    nothing = np.zeros((0, terms.shape[1])), np.zeros(0, dtype=np.bool_)
    left_out = evaluate(_left_out(terms, table.y, group, *nothing), table.y, precision)
    expected = evaluate(EXPECTED.probabilities(terms), table.y, precision)
    if added is None:
        return Learnt(fit_weights(terms, table.y), left_out, expected)
    more = terms_of(added)
    before = fit_weights(terms, table.y).probabilities(more)
    after = _left_out(more, added.y, groups_of(added, nparts, seed), terms, table.y)
    whole = fit_weights(np.concatenate([terms, more]), np.concatenate([table.y, added.y]))
    return Learnt(whole, left_out, expected, evaluate(before, added.y, precision), evaluate(after, added.y, precision))


def _left_out(
    terms: Array, real: NDArray[np.bool_], group: NDArray[np.int64], base: Array, base_real: NDArray[np.bool_]
) -> Array:
    """Scores of rows, each by weights of the other groups and of what is always learnt from."""
    found = np.zeros(len(real))
    for one in np.unique(group):
        away = group == one
        seen = np.concatenate([base, terms[~away]]), np.concatenate([base_real, real[~away]])
        found[away] = fit_weights(*seen).probabilities(terms[away])
    return found


def weights_text(found: Coefficients, about: Mapping[str, Any]) -> str:
    """Weights as text, with where they come from."""
    stored: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    stored |= {"bias": round(found.bias, 3)}
    for kind, values in (("weights", found.weights), ("penalties", found.penalties)):
        stored[kind] = {name: round(value, 3) for name, value in values.items()}
    return json.dumps(stored | dict(about), indent=1) + "\n"
