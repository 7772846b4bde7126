"""Turns between nights, from times of arrival at the barycentre.

Within a night a fold counts turns; between nights nobody has, and the error of the period leaves several counts. The
times of a night are therefore fitted with an offset of their own, all nights with one rotation. The two arcs of nights
whose offsets differ by the surest number are joined first: each whole number of turns that chi-square admits is a
hypothesis. Joined, they know the period better, and the next two arcs are joined, until there is one. Freire & Ridolfi
(2018, MNRAS 476, 4794) and Phillips & Ransom (2022, AJ 163, 84) do so by one fit after another. Here it is least
squares in whole numbers (Teunissen 1995, J. Geodesy 70, 65): how well arcs are known does not depend on the counts, so
that all hypotheses of a step share one matrix, and each costs a few products.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.spatial.distance import pdist, squareform
from scipy.stats import chi2 as chi_square

from pulsar_kernels.arrays import Floats, Ints

#: A wrong count is better than the right one by this difference of chi-square once in 3 million (5 sigma): decisive.
DECISIVE: Final = 25.0
#: Below this probability of a chi-square errors are scaled, or the position is fitted.
UNLIKELY: Final = 1e-3
#: Hypotheses that are kept: 20 nights of them take 64 MiB.
_MOST: Final = 400_000
#: No known pulsar has a characteristic age F / (2 |F1|) below 700 yr, nor loses more than 5e31 W at a moment of inertia
#: of 1e38 kg m^2 (Manchester et al. 2005, AJ 129, 1993: J1846-0258; J0537-6910). [1/s, Hz^2/s]
_YOUNGEST: Final = 1.0 / (2.0 * 700.0 * 3.156e7)
_BRIGHTEST: Final = 5e31 / (4.0 * np.pi**2 * 1e38)


@dataclass(frozen=True)
class Times:
    """Times of arrival of one pulsar at the barycentre and at infinite frequency."""

    #: seconds, errors: shape (n,), after the epoch, and 1 sigma [s].
    seconds: Floats
    errors: Floats
    #: shape (n,): Night of each, from 0 and none left out: within one the frequency given counts turns surely.
    night: Ints
    #: shape (n, 2): By how much each becomes later with right ascension (on the sky) and declination [s/rad].
    slopes: Floats
    place_err: float  # 1 sigma of either [rad]; 0: the position is known
    #: shape (nnights, 2): Frequency that each night shows in its middle, and its error [Hz]; NaN where it is that of
    #: the reference.
    freqs: Floats

    @property
    def nnights(self) -> int:
        """Number of nights."""
        return int(self.night.max()) + 1


@dataclass(frozen=True)
class Rotation:
    """Rotation that is fitted to times with a count of turns."""

    #: spin, errors: F0 [Hz] and F1 [Hz/s] at the epoch, and 1 sigma, not scaled.
    spin: tuple[float, float]
    errors: tuple[float, float]
    #: place, place_err: by how much right ascension (on the sky) and declination are larger [rad], and 1 sigma; 0 where
    #: not fitted.
    place: tuple[float, float]
    place_err: tuple[float, float]
    residuals: Floats  # shape (n,): By how much each is later than it should be [turns]
    #: chi2, dof: what is believed before (F1) takes a part of a degree of freedom where times say little.
    chi2: float
    dof: float

    @property
    def scale(self) -> float:
        """Factor of the errors (EFAC) that chi-square asks for; 1 where chance explains it."""
        return float(np.sqrt(_scale(self.chi2, self.dof)))


@dataclass(frozen=True)
class Connection:
    """Counts of turns between nights."""

    #: shape (nhypotheses, nnights): Those that chi-square does not decide between, best first: turns of each night
    #: beside those of the reference, from the first night.
    counts: Ints
    reference: Ints  # shape (n,): Turns of the reference at each time, counted on within each night
    night: Ints  # shape (n,): Of each time
    chi2: Floats  # shape (nhypotheses,)
    cut: bool  # There were more hypotheses than were kept
    arcs: Ints  # shape (nnights,): Arc of each night, in which all counts agree

    @property
    def unique(self) -> bool:
        """True if one count is left."""
        return len(self.counts) == 1 and not self.cut

    def turns(self, hypothesis: int = 0) -> Ints:
        """Turns at each time, from the first, shape (n,)."""
        turns = self.reference + self.counts[hypothesis][self.night]
        return np.asarray(turns - turns.min())


def largest_fdot(freq: float) -> float:
    """The fastest that a pulsar of a frequency slows down [Hz/s]: 1 sigma of F1 before times are fitted."""
    return float(min(_YOUNGEST * freq, _BRIGHTEST / freq))


@dataclass(frozen=True)
class _Rows:
    """Equations of least squares, in units of their errors: times of arrival and rates, then what is believed."""

    design: Floats
    targets: Floats
    weights: Floats
    night: Ints
    measured: int

    def matrix(self, arcs: Ints) -> Floats:
        """With a column for the offset of each arc before the others."""
        return np.hstack([self.offsets(arcs), self.design])

    def offsets(self, arcs: Ints) -> Floats:
        """Columns of the offset of each arc, shape (nrows, narcs)."""
        columns = np.zeros((len(self.targets), int(arcs.max()) + 1))
        columns[np.arange(len(self.night)), arcs[self.night]] = self.weights
        return columns

    def dof(self, matrix: Floats) -> float:
        """Degrees of freedom: equations measured, but for what they take part in the parameters."""
        taken = np.einsum("ij,ji->i", matrix, _solver(matrix))
        return float(self.measured - taken[: self.measured].sum())


def _rows(times: Times, reference: Sequence[float], *, place: bool, turns: Ints | None = None) -> _Rows:
    """What is fitted: by how many turns the pulsar is ahead of a reference, at whole numbers of its own."""
    freq, fdot = reference
    t, n = times.seconds, len(times.seconds)
    ahead = t * (freq + 0.5 * fdot * t)
    behind = np.rint(ahead) - ahead if turns is None else turns - ahead
    rates = []
    for night in range(times.nnights):
        own = np.flatnonzero(times.night == night)
        middle, (own_freq, error) = float(t[own].mean()), times.freqs[night]
        faster = own_freq - freq - fdot * middle if np.isfinite(own_freq) else 0.0
        if turns is None:
            own = own[np.argsort(t[own], kind="stable")]
            trend = faster * (t[own] - middle)
            behind[own] = np.unwrap(behind[own] - trend, period=1.0) + trend
        if len(own) == 1 and error > 0:
            # Several times of a night have its frequency in them.
            rates.append((middle, faster, error))
    weights = 1.0 / (times.errors * freq)
    believed = [largest_fdot(freq), *([times.place_err] * 2 if place else [])]
    measured = n + len(rates)
    design, targets = np.zeros((measured + len(believed), 1 + len(believed))), np.zeros(measured + len(believed))
    design[:n, :2] = np.stack([t, 0.5 * t**2], axis=1) * weights[:, None]
    if place:
        design[:n, 2:] = freq * times.slopes * weights[:, None]
    targets[:n] = behind * weights
    for row, (middle, faster, error) in enumerate(rates, n):
        design[row, :2], targets[row] = [1.0 / error, middle / error], faster / error
    design[measured:, 1:] = np.diag(1.0 / np.array(believed))
    return _Rows(design, targets, weights, times.night, measured)


def _solver(matrix: Floats) -> Floats:
    """The matrix that makes parameters of what is wanted: its product with its transpose is their covariance."""
    size = np.linalg.norm(matrix, axis=0)
    q, r = np.linalg.qr(matrix / size)
    # A triangular solution wakes all threads of the library: 2 ms in place of 7 us.
    return np.asarray(np.linalg.inv(r) @ q.T / size[:, None], dtype=np.float64)


def connect(times: Times, reference: Sequence[float]) -> Connection:
    """Count turns between nights.

    Parameters
    ----------
    reference : sequence of float
        Frequency [Hz] and derivative [Hz/s] at the epoch: good enough to count turns within each night.
    """
    rows = _rows(times, reference, place=times.place_err > 0)
    nnights, t = times.nnights, times.seconds
    free, joined = rows.matrix(np.arange(nnights)), rows.matrix(np.zeros(nnights, dtype=np.int64))
    left = rows.targets - free @ (_solver(free) @ rows.targets)
    least, dof, within = float(left @ left), rows.dof(joined), rows.dof(free)
    scale = own = _scale(least, within)
    # Times by which the errors are found anew, with counts of their own.
    for _ in range(4):
        counts, chi2, cut = _tree(rows, nnights, least, scale)
        # Nights may scatter by more than their times do: an orbit, another position, a DM that changes.
        between = own * _scale((float(chi2[0]) - least) / own, dof - within)
        larger = max(_scale(float(chi2[0]), dof), between)
        if larger <= 1.1 * scale:
            break
        scale = larger
    near = chi2 <= chi2[0] + DECISIVE * scale
    counts, chi2 = counts[near], chi2[near]
    sure = np.all(np.diff(counts, axis=1) == np.diff(counts[0]), axis=0)
    arcs = np.concatenate([[0], np.cumsum(~sure)])
    ahead = t * (reference[0] + 0.5 * reference[1] * t)
    whole = np.rint(ahead + rows.targets[: len(t)] / rows.weights).astype(np.int64)
    return Connection(counts, whole, times.night, chi2, cut, arcs)


def _scale(chi2: float, dof: float) -> float:
    """Factor of the variances that a chi-square asks for; 1 where chance explains it."""
    return chi2 / dof if dof >= 1.0 and chi_square.sf(chi2, dof) < UNLIKELY else 1.0


def _tree(rows: _Rows, nnights: int, least: float, scale: float) -> tuple[Ints, Floats, bool]:
    """Hypotheses and their chi-squares, best first; and whether some were given up for their number.

    The chi-square of a hypothesis only grows from step to step. At the end the right one exceeds that of free offsets
    by less than the quantile of as many degrees of freedom, and what is to be compared with it by no more than the
    decisive difference beyond: nothing that is worse needs to be kept.
    """
    # Probability that the right count is given up on the way.
    worse = (float(chi_square.isf(1e-6, nnights - 1)) + DECISIVE) * scale
    arcs = np.arange(nnights)
    counts, chi2, cut = np.zeros((1, nnights), dtype=np.int64), np.array([least]), False
    while arcs.max() > 0:
        solver = _solver(rows.matrix(arcs))[: int(arcs.max()) + 1]
        first, second, variance = _surest(solver)
        # Turns by which the arcs are apart, of each hypothesis: those within arcs are known.
        apart = solver[first] - solver[second]
        predicted = apart @ rows.targets + counts @ (apart @ rows.offsets(np.arange(nnights)))
        reach = int(np.ceil(np.sqrt(worse * variance + 0.25) + 0.5))
        if len(counts) * (2 * reach + 1) > 10 * _MOST:
            reach, cut = max(5 * _MOST // len(counts), 1), True
        number = np.rint(predicted)[:, None] + np.arange(-reach, reach + 1)
        grown = chi2[:, None] + (number - predicted[:, None]) ** 2 / variance
        kept = np.flatnonzero(grown <= grown.min() + worse)
        if len(kept) > _MOST:
            kept, cut = kept[np.argpartition(grown.flat[kept], _MOST)[:_MOST]], True
        parent = kept // number.shape[1]
        counts, chi2 = counts[parent], grown.flat[kept]
        joined = arcs == first
        # Offset plus count is what is one and the same in an arc.
        counts[:, joined] -= number.flat[kept].astype(np.int64)[:, None]
        arcs[joined] = second
        arcs -= arcs > first
    order = np.argsort(chi2, kind="stable")
    return counts[order] - counts[order, :1], chi2[order], cut


def _surest(solver: Floats) -> tuple[int, int, float]:
    """The two arcs whose offsets differ by the surest number, and its variance [turns^2]."""
    # As differences of rows: of the covariance of long arcs no digit would be left.
    variance = squareform(pdist(solver, "sqeuclidean"))
    np.fill_diagonal(variance, np.inf)
    first, second = np.unravel_index(int(np.argmin(variance)), variance.shape)
    return int(first), int(second), max(float(variance[first, second]), np.finfo(float).tiny)


def fit(times: Times, reference: Sequence[float], turns: Ints, *, place: bool = False) -> Rotation:
    """The rotation that times have with a count of turns.

    Parameters
    ----------
    reference : sequence of float
        As for :func:`connect`.
    turns : ndarray of int64, shape (n,)
        Of each time.
    place : bool
        Fit the position, too.
    """
    rows = _rows(times, reference, place=place, turns=turns)
    matrix = rows.matrix(np.zeros(times.nnights, dtype=np.int64))
    solver = _solver(matrix)
    values, errors = solver @ rows.targets, np.sqrt(np.sum(solver**2, axis=1))
    left = rows.targets - matrix @ values
    if not place:
        values, errors = np.append(values, [0.0, 0.0]), np.append(errors, [0.0, 0.0])
    return Rotation(
        spin=(reference[0] + float(values[1]), reference[1] + float(values[2])),
        errors=(float(errors[1]), float(errors[2])),
        place=(float(values[3]), float(values[4])),
        place_err=(float(errors[3]), float(errors[4])),
        residuals=-left[: len(turns)] / rows.weights,
        chi2=float(left @ left),
        dof=rows.dof(matrix),
    )
