"""Small models of labelled features, in numpy alone, kept as text: a logistic regression, boosted trees, or both.

They give the probability that a candidate is a pulsar, with what they were trained on as prior. What is unknown (NaN)
counts as what speaks less for a pulsar: in the regression the less favourable of the means of the two classes, in a
tree the branch with the lower value.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from pulsar.data.files import read_text
from pulsar.data.validated import STRICT, validated
from pulsar.errors import DataError

Array = NDArray[np.float64]
M = TypeVar("M", "Logistic", "Trees")

FORMAT: Final = "pulsar-model"
VERSION: Final = 1
#: Most bytes of a model.
MOST: Final = 100_000
#: Digits kept of its numbers: fewer than any table of features has, and none that a score shows.
_DIGITS: Final = 7


@dataclass(frozen=True)
class _Content:
    """What a file holds."""

    format: Literal["pulsar-model"]
    version: Literal[1]
    kind: str
    features: tuple[str, ...]
    about: dict[str, Any]
    model: dict[str, Any]

    __pydantic_config__ = STRICT


_CONTENT: Final = TypeAdapter(_Content)


class Model(Protocol):
    """What was learnt from labels."""

    @property
    def kind(self) -> str:
        """Name of the form."""
        ...

    def logits(self, x: Array) -> Array:
        """Log odds of rows of features, shape (n, nfeatures), in the order in which it was trained."""
        ...

    def stored(self) -> dict[str, Any]:
        """Its numbers, as JSON has them."""
        ...


def probability(logits: Array) -> Array:
    """Of log odds."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -700.0, 700.0))))


def _short(values: NDArray[Any]) -> Array:
    """Numbers as they are stored."""
    flat = [float(f"{value:.{_DIGITS}g}") for value in np.ravel(values).tolist()]
    return np.array(flat, dtype=np.float64).reshape(np.shape(values))


@dataclass(frozen=True)
class Logistic:
    """Logistic regression on arsinh((x - middle) / scale), and on the squares of that.

    Attributes
    ----------
    middle, scale : ndarray, shape (k,)
        Median, and 1.48 times the median deviation, of each feature in training.
    mean, spread : ndarray, shape (2 k,)
        By which the columns made of them are made even.
    weights : ndarray, shape (2 k,)
    bias : float
    unknown : ndarray, shape (2 k,)
        Value of a column that is not known.
    """

    middle: Array
    scale: Array
    mean: Array
    spread: Array
    weights: Array
    bias: float
    unknown: Array
    kind = "logistic"

    def logits(self, x: Array) -> Array:
        """Log odds, shape (n,), of features, shape (n, k)."""
        columns = (_columns(x, self.middle, self.scale) - self.mean) / self.spread
        columns = np.where(np.isnan(columns), self.unknown, columns)
        return _times(columns, self.weights) + self.bias

    def stored(self) -> dict[str, Any]:
        """Its numbers, as JSON has them."""
        names = ("middle", "scale", "mean", "spread", "weights", "unknown")
        return {name: getattr(self, name).tolist() for name in names} | {"bias": self.bias}


def _times(rows: Array, vector: Array) -> Array:
    """Matrix times vector, on this thread alone: those of BLAS wait for each other far longer than this takes."""
    return np.asarray(np.einsum("nk,k->n", rows, vector))


def _columns(x: Array, middle: Array, scale: Array) -> Array:
    even = np.arcsinh((np.where(np.isfinite(x), x, np.nan) - middle) / scale)
    return np.concatenate([even, even**2], axis=1)


def fit_logistic(x: Array, y: NDArray[Any], *, penalty: float = 1.0) -> Logistic:
    """Fit by Newton's method, with a penalty on the squares of the weights.

    Parameters
    ----------
    x : ndarray, shape (n, k)
        Features, NaN where unknown.
    y : ndarray, shape (n,)
        1 for pulsars.
    penalty : float
        Half of it times the squared weights is added to the negative log likelihood.
    """
    x, real = np.asarray(x, dtype=np.float64), np.asarray(y) > 0
    # A feature that nobody has says nothing.
    x = np.where(np.isfinite(x), x, np.nan)
    some = np.where(np.isnan(x).all(axis=0), 0.0, x)
    middle = _short(np.nanmedian(some, axis=0))
    deviation = 1.4826 * np.nanmedian(np.abs(some - middle), axis=0)
    wide = np.nanstd(some, axis=0)
    scale = _short(np.where(deviation > 1e-9 * wide, deviation, np.where(wide > 0.0, wide, 1.0)))
    columns = _columns(some, middle, scale)
    mean, spread = _short(np.nanmean(columns, axis=0)), np.nanstd(columns, axis=0)
    spread = _short(np.where(spread > 1e-12, spread, 1.0))
    columns = (columns - mean) / spread
    sides = np.array([_side_mean(columns[real]), _side_mean(columns[~real])])
    # First what is unknown counts as the mean of others; then as what the weights say is worse.
    unknown = sides[1]
    for _ in range(3):
        full = np.where(np.isnan(columns), unknown, columns)
        weights, bias = _newton(full, real, penalty)
        unknown = np.where(weights > 0.0, sides.min(axis=0), sides.max(axis=0))
    weights, bias = _short(weights), float(f"{bias:.{_DIGITS}g}")
    return Logistic(middle, scale, mean, spread, weights, bias, _short(unknown))


def _side_mean(columns: Array) -> Array:
    """Means of the known, 0 where none is."""
    known = ~np.isnan(columns)
    return np.asarray(np.where(known, columns, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1))


def _newton(columns: Array, real: NDArray[np.bool_], penalty: float) -> tuple[Array, float]:
    n, k = columns.shape
    full = np.concatenate([columns, np.ones((n, 1))], axis=1)
    ridge = np.full(k + 1, penalty)
    ridge[-1] = 1e-6
    beta = np.zeros(k + 1)

    def loss(at: Array) -> float:
        z = _times(full, at)
        return float(np.sum(np.logaddexp(0.0, z) - real * z) + 0.5 * np.sum(ridge * at**2))

    now = loss(beta)
    for _ in range(60):
        p = probability(_times(full, beta))
        gradient = _times(full.T, p - real) + ridge * beta
        curvature = np.einsum("ni,nj->ij", full * (p * (1.0 - p))[:, None], full) + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > 1e-6 and not (new := loss(beta - size * step)) < now:
            size *= 0.5
        if size <= 1e-6 or now - new < 1e-10 * max(now, 1.0):
            break
        beta, now = beta - size * step, new
    return beta[:-1], float(beta[-1])


@dataclass(frozen=True)
class Trees:
    """Gradient-boosted trees of one depth (Friedman 2001, Ann. Stat. 29, 1189), Newton steps on the log likelihood.

    Attributes
    ----------
    bias : float
        Log odds of all.
    feature : ndarray of int64, shape (ntrees, 2^depth - 1)
        Of each branching; -1: all go left.
    threshold : ndarray, shape (ntrees, 2^depth - 1)
        What is no more than this goes left.
    lost_left : ndarray of bool, shape (ntrees, 2^depth - 1)
        Whether what is unknown goes left, too.
    value : ndarray, shape (ntrees, 2^depth)
        Added to the log odds.
    """

    bias: float
    feature: NDArray[np.int64]
    threshold: Array
    lost_left: NDArray[np.bool_]
    value: Array
    kind = "trees"

    def logits(self, x: Array) -> Array:
        """Log odds, shape (n,), of features, shape (n, k)."""
        x = np.asarray(x, dtype=np.float64)
        x = np.where(np.isfinite(x), x, np.nan)
        rows, found = np.arange(len(x)), np.full(len(x), self.bias)
        for feature, threshold, lost, value in zip(
            self.feature, self.threshold, self.lost_left, self.value, strict=True
        ):
            node = np.zeros(len(x), dtype=np.int64)
            while len(x) and node[0] < len(feature):
                what = feature[node]
                known = x[rows, np.maximum(what, 0)]
                left = np.where(np.isnan(known), lost[node], known <= threshold[node]) | (what < 0)
                node = 2 * node + np.where(left, 1, 2)
            found += value[node - len(feature)]
        return found

    def stored(self) -> dict[str, Any]:
        """Its numbers, as JSON has them."""
        return {
            "bias": self.bias,
            "feature": self.feature.tolist(),
            "threshold": self.threshold.tolist(),
            "lost_left": self.lost_left.astype(int).tolist(),
            "value": self.value.tolist(),
        }


@dataclass(frozen=True)
class Both:
    """The mean of the log odds of a regression and of trees: one is smooth, the other knows of combinations.

    Attributes
    ----------
    logistic : Logistic
    trees : Trees
    """

    logistic: Logistic
    trees: Trees
    kind = "both"

    def logits(self, x: Array) -> Array:
        """Log odds, shape (n,), of features, shape (n, k)."""
        return np.asarray(0.5 * (self.logistic.logits(x) + self.trees.logits(x)))

    def stored(self) -> dict[str, Any]:
        """Its numbers, as JSON has them."""
        return {"logistic": self.logistic.stored(), "trees": self.trees.stored()}


#: Bins into which a feature is divided, at equal numbers of candidates.
_BINS: Final = 64
#: Penalty on squared values, least sum of p (1 - p) in a branch, least gain.
_RIDGE, _LEAST, _GAIN = 1.0, 2.0, 1e-3


def fit_trees(
    x: Array,
    y: NDArray[Any],
    *,
    seed: int,
    ntrees: int = 160,
    depth: int = 3,
    rate: float = 0.06,
    part: float = 0.6,
) -> Trees:
    """Fit boosted trees.

    Parameters
    ----------
    x : ndarray, shape (n, k)
        Features, NaN where unknown.
    y : ndarray, shape (n,)
        1 for pulsars.
    seed : int
        Of the choice of candidates for each tree.
    ntrees, depth : int
    rate : float
        Part of each Newton step that is taken.
    part : float
        Of the candidates that each tree sees.
    """
    # Many arguments: the two of the data, and what such a model is known by.
    x, real = np.asarray(x, dtype=np.float64), (np.asarray(y) > 0).astype(np.float64)
    x = np.where(np.isfinite(x), x, np.nan)
    n, k = x.shape
    edges = [_edges(x[:, j]) for j in range(k)]
    codes = np.stack([_codes(x[:, j], edges[j]) for j in range(k)], axis=1)
    rng = np.random.default_rng(seed)
    share = min(max(float(real.mean()), 1e-6), 1.0 - 1e-6)
    bias = float(f"{np.log(share / (1.0 - share)):.{_DIGITS}g}")
    inner = 2**depth - 1
    feature = np.full((ntrees, inner), -1, dtype=np.int64)
    threshold, lost = np.zeros((ntrees, inner)), np.ones((ntrees, inner), dtype=np.bool_)
    value = np.zeros((ntrees, inner + 1))
    logits = np.full(n, bias)
    for t in range(ntrees):
        p = probability(logits)
        seen = rng.random(n) < part
        slope, curve = np.where(seen, p - real, 0.0), np.where(seen, p * (1.0 - p), 0.0)
        node = np.zeros(n, dtype=np.int64)
        for level in range(depth):
            first = 2**level - 1
            for at in range(first, 2 * first + 1):
                here = node == at
                j, cut, left = _branching(codes[here], slope[here], curve[here], edges)
                if j >= 0:
                    feature[t, at], threshold[t, at], lost[t, at] = j, edges[j][cut], left
                    code = codes[here, j]
                    goes_left = np.where(code == _BINS, left, code <= cut)
                else:
                    goes_left = np.ones(int(here.sum()), dtype=np.bool_)
                node[here] = 2 * at + np.where(goes_left, 1, 2)
        leaf = node - inner
        down = np.bincount(leaf, slope, inner + 1)
        value[t] = _short(-rate * down / (np.bincount(leaf, curve, inner + 1) + _RIDGE))
        logits += value[t][leaf]
    return Trees(bias, feature, threshold, lost, value)


def _edges(column: Array) -> Array:
    """Values at which a feature may be cut, as they are stored."""
    known = column[~np.isnan(column)]
    if not len(known):
        return np.zeros(0)
    quantiles = np.quantile(known, np.linspace(0.0, 1.0, _BINS + 1)[1:-1])
    edges = np.unique(_short(quantiles))
    return np.asarray(edges[edges < known.max()], dtype=np.float64)


def _codes(column: Array, edges: Array) -> NDArray[np.int64]:
    """Bin of each value: no more than which edge it is; `_BINS` where it is unknown."""
    found = np.searchsorted(edges, column, side="left")
    return np.where(np.isnan(column), _BINS, found).astype(np.int64)


def _branching(codes: NDArray[np.int64], slope: Array, curve: Array, edges: Sequence[Array]) -> tuple[int, int, bool]:
    """Feature, edge, and side of the unknown that gain most; -1 where none gains.

    The unknown go where the value is lower.
    """
    best, found = _GAIN, (-1, 0, True)
    total, heavy = float(slope.sum()), float(curve.sum())
    whole = total**2 / (heavy + _RIDGE)
    for j, cuts in enumerate(edges):
        if not len(cuts):
            continue
        down = np.bincount(codes[:, j], slope, _BINS + 1)
        weight = np.bincount(codes[:, j], curve, _BINS + 1)
        left, left_weight = np.cumsum(down[: len(cuts)]), np.cumsum(weight[: len(cuts)])
        for with_lost in (True, False):
            g = left + (down[_BINS] if with_lost else 0.0)
            h = left_weight + (weight[_BINS] if with_lost else 0.0)
            rest, rest_weight = total - g, heavy - h
            lower_left = -g / (h + _RIDGE) <= -rest / (rest_weight + _RIDGE)
            valid = (h >= _LEAST) & (rest_weight >= _LEAST) & (lower_left == with_lost)
            gain = g**2 / (h + _RIDGE) + rest**2 / (rest_weight + _RIDGE) - whole
            gain = np.where(valid, gain, -np.inf)
            at = int(np.argmax(gain))
            if gain[at] > best:
                best, found = float(gain[at]), (j, at, with_lost)
    return found


def model_text(model: Model, names: Sequence[str], about: Mapping[str, Any]) -> str:
    """A model as a file has it (JSON).

    Parameters
    ----------
    model : Model
    names : sequence of str
        Features in its order.
    about : mapping
        What it was trained on, and how good it is.
    """
    content = {"format": FORMAT, "version": VERSION, "kind": model.kind, "features": list(names), "about": dict(about)}
    return json.dumps(content | {"model": model.stored()}, separators=(",", ":")) + "\n"


def read_model(path: Path) -> tuple[Model, tuple[str, ...], dict[str, Any]]:
    """A model, its features in order, and what was written about it.

    Parameters
    ----------
    path : Path
        As :func:`model_text` is kept.

    Raises
    ------
    DataError
        It cannot be read, is damaged, or something else.
    """
    what = "a model of labels (JSON, of `python -m pulsar.rank.train`)"
    content = validated(_CONTENT, read_text(path, what, most=MOST), str(path), f"expected {what}")
    try:
        model = _model_of(content.kind, content.model, len(content.features))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: is damaged: its numbers do not belong together: expected {what}") from error
    return model, content.features, content.about


def _model_of(kind: str, numbers: Mapping[str, Any], k: int) -> "Logistic | Trees | Both":
    if kind == Both.kind:
        return Both(_checked(_logistic_of(numbers["logistic"]), k), _checked(_trees_of(numbers["trees"]), k))
    if kind == Trees.kind:
        return _checked(_trees_of(numbers), k)
    if kind == Logistic.kind:
        return _checked(_logistic_of(numbers), k)
    raise ValueError


def _logistic_of(numbers: Mapping[str, Any]) -> Logistic:
    arrays = {
        name: np.array(numbers[name], dtype=np.float64)
        for name in ("middle", "scale", "mean", "spread", "weights", "unknown")
    }
    return Logistic(bias=float(numbers["bias"]), **arrays)


def _trees_of(numbers: Mapping[str, Any]) -> Trees:
    return Trees(
        float(numbers["bias"]),
        np.array(numbers["feature"], dtype=np.int64),
        np.array(numbers["threshold"], dtype=np.float64),
        np.array(numbers["lost_left"], dtype=np.bool_),
        np.array(numbers["value"], dtype=np.float64),
    )


def _checked(model: M, k: int) -> M:
    """The model, if its numbers belong together."""
    if isinstance(model, Logistic):
        shapes = [(model.middle, k), (model.scale, k)]
        shapes += [(one, 2 * k) for one in (model.mean, model.spread, model.weights, model.unknown)]
        fits = all(one.shape == (size,) and np.isfinite(one).all() for one, size in shapes)
        fits = fits and bool((model.scale > 0.0).all() and (model.spread > 0.0).all())
    else:
        ntrees, inner = model.feature.shape
        fits = inner > 0 and (inner + 1) & inner == 0 and model.value.shape == (ntrees, inner + 1)
        fits = fits and model.threshold.shape == model.lost_left.shape == (ntrees, inner)
        fits = fits and bool(((model.feature >= -1) & (model.feature < k)).all())
        fits = fits and bool(np.isfinite(model.value).all() and np.isfinite(model.threshold).all())
    if not fits or not np.isfinite(model.bias):
        raise ValueError
    return model
