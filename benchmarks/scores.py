"""How good a ranking is, and how near its scores are to probabilities: each number with its n and its error."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from shared import markdown

from pulsar.data.injected import wilson

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """A fraction that was counted, k of n.

    Attributes
    ----------
    k, n : int
    low, high : float
        68 % interval of the fraction (:func:`~pulsar.data.injected.wilson`); 0 and 1 of none.
    """

    k: int
    n: int

    @property
    def value(self) -> float:
        """The fraction, NaN of none."""
        return self.k / self.n if self.n else float("nan")

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return float(wilson(self.k, self.n)[0]) if self.n else 0.0

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return float(wilson(self.k, self.n)[1]) if self.n else 1.0

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] ({self.k} of {self.n})"


@dataclass(frozen=True)
class Bin:
    """Scores of a range, and how many of those were pulsars.

    Attributes
    ----------
    low, high : float
        Of the range.
    mean : float
        Mean score.
    real : Share
    """

    low: float
    high: float
    mean: float
    real: Share


@dataclass(frozen=True)
class Evaluation:
    """Scores against labels.

    Attributes
    ----------
    n, positives : int
    auc, auc_err : float
        Area under the receiver's curve, and its error (Hanley & McNeil 1982, Radiology 143, 29).
    recall : Share
        Of the pulsars, at the lowest threshold of at least the precision `precision`.
    precision : float
    top1, top5 : Share
        Pulsars among the first 1 % and 5 % of the list, of all that these can hold.
    brier : float
        Mean squared difference of score and label; `brier_constant` for the mean label.
    brier_constant : float
    ece : float
        Expected calibration error: mean over the bins, by their number, of |mean score - fraction|.
    bins : tuple of Bin
    """

    n: int
    positives: int
    auc: float
    auc_err: float
    recall: Share
    precision: float
    top1: Share
    top5: Share
    brier: float
    brier_constant: float
    ece: float
    bins: tuple[Bin, ...]

    def __str__(self) -> str:
        lines = [
            f"n {self.n}, pulsars {self.positives}",
            f"AUC                       {self.auc:.4f} +/- {self.auc_err:.4f}",
            f"recall at precision {self.precision:.2f}  {self.recall}",
            f"recall in the top 1 %     {self.top1}",
            f"recall in the top 5 %     {self.top5}",
            f"Brier score               {self.brier:.4f} ({self.brier_constant:.4f} for the mean alone)",
            f"calibration error         {self.ece:.4f}",
            "score      mean   real",
        ]
        lines += [f"{b.low:.1f}-{b.high:.1f}    {b.mean:.3f}  {b.real}" for b in self.bins if b.real.n]
        return "\n".join(lines)


def auc(scores: Array, labels: NDArray[Any]) -> tuple[float, float]:
    """Chance that a pulsar has a higher score than another candidate, equal ones counted half, and its error.

    Parameters
    ----------
    scores : ndarray, shape (n,)
    labels : ndarray, shape (n,)
        1 (or True) for pulsars.

    Returns
    -------
    auc, err : float
        NaN where there are none of either.
    """
    real = np.asarray(labels) > 0
    npos, nneg = int(np.count_nonzero(real)), int(np.count_nonzero(~real))
    if not npos or not nneg:
        return float("nan"), float("nan")
    a = float((rankdata(scores)[real].sum() - 0.5 * npos * (npos + 1)) / (npos * nneg))
    q1, q2 = a / (2.0 - a), 2.0 * a**2 / (1.0 + a)
    variance = (a * (1.0 - a) + (npos - 1) * (q1 - a**2) + (nneg - 1) * (q2 - a**2)) / (npos * nneg)
    return a, float(np.sqrt(max(variance, 0.0)))


def recall_at_precision(scores: Array, labels: NDArray[Any], precision: float) -> Share:
    """The most pulsars that a threshold takes of whose selection at least a part `precision` are pulsars."""
    real = np.asarray(labels) > 0
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(real[order])
    # Between equal scores there is no threshold.
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0.0, True)) if len(order) else np.zeros(0, dtype=int)
    good = last[hits[last] >= precision * (last + 1)]
    return Share(int(hits[good].max()) if len(good) else 0, int(np.count_nonzero(real)))


def top_recall(scores: Array, labels: NDArray[Any], part: float) -> Share:
    """Pulsars in the first part of the list, of all (or of as many as fit into it)."""
    real = np.asarray(labels) > 0
    n = max(int(np.ceil(part * len(real))), 1)
    first = np.argsort(-scores, kind="stable")[:n]
    return Share(int(np.count_nonzero(real[first])), min(int(np.count_nonzero(real)), n))


def reliability(scores: Array, labels: NDArray[Any], nbins: int = 10) -> tuple[Bin, ...]:
    """Of scores in equal ranges from 0 to 1 the mean, and the part of pulsars among them."""
    real = np.asarray(labels) > 0
    at = np.minimum((np.asarray(scores) * nbins).astype(np.int64), nbins - 1)
    bins = []
    for i in range(nbins):
        inside = at == i
        n = int(np.count_nonzero(inside))
        mean = float(np.mean(scores[inside])) if n else float("nan")
        bins.append(Bin(i / nbins, (i + 1) / nbins, mean, Share(int(np.count_nonzero(real[inside])), n)))
    return tuple(bins)


def evaluate(scores: Array, labels: NDArray[Any], precision: float = 0.93) -> Evaluation:
    """All numbers of a ranking.

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Probabilities, 0 to 1.
    labels : ndarray, shape (n,)
        1 (or True) for pulsars.
    precision : float
        At which the recall is given.
    """
    scores, real = np.asarray(scores, dtype=np.float64), np.asarray(labels) > 0
    area, error = auc(scores, real)
    bins = reliability(scores, real)
    gaps = [b.real.n * abs(b.mean - b.real.value) for b in bins if b.real.n]
    mean = float(real.mean()) if len(real) else float("nan")
    return Evaluation(
        n=len(real),
        positives=int(np.count_nonzero(real)),
        auc=area,
        auc_err=error,
        recall=recall_at_precision(scores, real, precision),
        precision=precision,
        top1=top_recall(scores, real, 0.01),
        top5=top_recall(scores, real, 0.05),
        brier=float(np.mean((scores - real) ** 2)) if len(real) else float("nan"),
        brier_constant=mean * (1.0 - mean),
        ece=float(np.sum(gaps)) / max(len(real), 1),
        bins=bins,
    )


def reliability_table(title: str, pairs: Iterable[tuple[float, bool]]) -> str:
    """Scores against what is real: the summary and a row for each tenth that has any."""
    given = list(pairs)
    if not given:
        return f"{title}: no rows"
    judged = evaluate(np.array([p for p, _ in given]), np.array([real for _, real in given]))
    rows = [[f"{b.low:.1f}–{b.high:.1f}", f"{b.mean:.3f}", str(b.real)] for b in judged.bins if b.real.n]
    return (
        f"{title}: {judged.n} rows, {judged.positives} real; calibration error {judged.ece:.4f}, Brier score "
        f"{judged.brier:.4f}; in the first 1 % of the list {judged.top1}, 5 % {judged.top5}\n"
        + markdown(["score", "mean", "real"], rows)
    )
