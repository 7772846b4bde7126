"""The template of a pulsar in samples: profiles, how bright they are when and where, chosen by evidence.

A template is ``profile[phase] * gain[time, band] * factor[channel]``. How finely phase, time and band are divided is
what Mallows' C_p has least: the squares of what the template leaves in the cells, in units of noise, and twice the
number of parameters (Mallows 1973, Technometrics 15, 661). This estimates the squares of what will be left of the
pulsar plus what of the noise is taken with it, so that neither a weak pulsar nor noise pays for freedom that is not
needed. What the parameters scatter by noise alone is taken back: each is drawn towards the mean of all by the part of
its square that the scatter does not tell from noise (DerSimonian & Laird 1986, Control. Clin. Trials 7, 177).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Phase bins at least.
LEAST_BINS: Final = 4


@dataclass(frozen=True, eq=False)
class Template:
    """What of a pulsar is in the cleaned samples.

    Attributes
    ----------
    shapes : ndarray, shape (nshape_times * nshape_bands, nbins)
        Profiles without their mean, in units of the noise of a sample.
    shape_of : ndarray of int64, shape (nsubints, nbands)
        Which profile each of the finest cells has.
    gains : ndarray, shape (nsubints, nbands)
        By which it is multiplied there.
    factors : ndarray, shape (nchans,)
        By which it is multiplied in each channel.
    grid : tuple of int
        Sub-integrations and bands that have a gain, and those that have a profile, of their own.
    """

    shapes: NDArray[np.float64]
    shape_of: NDArray[np.int64]
    gains: NDArray[np.float64]
    factors: NDArray[np.float64]
    grid: tuple[int, int, int, int]

    @property
    def nbins(self) -> int:
        """Phase bins."""
        return int(self.shapes.shape[1])

    @property
    def nparams(self) -> int:
        """Numbers that were measured: bins of profiles, gains, factors that differ."""
        own = int(np.count_nonzero(self.factors != 1.0))
        return self.shapes.size + self.grid[0] * self.grid[1] + own


def _halved(cells: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Neighbours along an axis of even length added up."""
    shape = cells.shape
    return np.asarray(cells.reshape(*shape[:axis], shape[axis] // 2, 2, *shape[axis + 1 :]).sum(axis=axis + 1))


def _coarse(cells: NDArray[np.float64], nsubints: int, nbands: int) -> NDArray[np.float64]:
    """Cells of the first two axes added up until there are so many."""
    while cells.shape[0] > nsubints:
        cells = _halved(cells, 0)
    while cells.shape[1] > nbands:
        cells = _halved(cells, 1)
    return cells


def _fine(coarse: NDArray[np.float64], nsubints: int, nbands: int) -> NDArray[np.float64]:
    """The opposite: every cell has what the one has of which it is a part."""
    return coarse.repeat(nsubints // coarse.shape[0], axis=0).repeat(nbands // coarse.shape[1], axis=1)


def _ratio(num: NDArray[np.float64], den: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 where nothing was measured."""
    return np.divide(num, den, out=np.zeros_like(num), where=den > 0)


def drawn(num: NDArray[np.float64], den: NDArray[np.float64], axis: int | None = None) -> NDArray[np.float64]:
    """Means of many cells, each drawn to the mean of all as far as their scatter is noise.

    Parameters
    ----------
    num, den : ndarray
        Weighted sum of each cell and its weight, one over its variance: the mean is their ratio.
    axis : int, optional
        The cells lie along it; several sets of them (bins of profiles) share how much they scatter. Default: all are
        one set.
    """
    total = den.sum(axis=axis, keepdims=True)
    mean = _ratio(num.sum(axis=axis, keepdims=True), total)
    away = _ratio(num, den) - mean
    free = float(np.count_nonzero(den > 0)) - mean.size
    weight = float(total.sum() - _ratio((den**2).sum(axis=axis, keepdims=True), total).sum())
    if free <= 0 or weight <= 0:
        return np.broadcast_to(mean, num.shape).copy()
    scatter = max((float(np.sum(den * away**2)) - free) / weight, 0.0)
    return np.asarray(mean + away * (scatter * den / (scatter * den + 1.0)))


def _grids(nsubints: int, nbands: int) -> list[tuple[int, int]]:
    """Numbers of sub-integrations and bands to choose from, the fewest cells first."""
    times = [1 << k for k in range(nsubints.bit_length())]
    bands = [1 << k for k in range(nbands.bit_length())]
    return sorted(((s, b) for s in times for b in bands), key=lambda grid: grid[0] * grid[1])


def choose_bins(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> int:
    """How many bins the profile of all channels and times is worth.

    Parameters
    ----------
    sums, counts : ndarray, shape (nbins,)
        Of samples of noise 1; a power of two of them.
    """
    best, chosen, nbins = np.inf, sums.size, sums.size
    while nbins >= LEAST_BINS:
        num, den = (x.reshape(nbins, -1).sum(axis=1) for x in (sums, counts))
        cost = 2.0 * nbins - float(np.sum(_ratio(num**2, den)))
        if cost <= best:
            best, chosen = cost, nbins
        nbins //= 2
    return chosen


def _gains(num: NDArray[np.float64], den: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Gains of all cells, and on which grid they differ: sums of samples times the profile, and of its squares."""
    shape = num.shape
    best, chosen = np.inf, (1, 1)
    for grid in _grids(*shape):
        n, d = _coarse(num, *grid), _coarse(den, *grid)
        cost = 2.0 * np.count_nonzero(d > 0) - float(np.sum(_ratio(n**2, d)))
        if cost < best:
            best, chosen = cost, grid
    gains = drawn(_coarse(num, *chosen), _coarse(den, *chosen))
    return _fine(gains, *shape), chosen


def _shapes(
    sums: NDArray[np.float64], counts: NDArray[np.float64], gains: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Profiles, shape (times, bands, nbins), and on which grid they differ."""
    num, den = sums * gains[:, :, None], counts * (gains**2)[:, :, None]
    best, chosen = np.inf, (1, 1)
    across = num, den
    for nsubints in (num.shape[0] >> k for k in range(num.shape[0].bit_length())):
        across = _coarse(across[0], nsubints, num.shape[1]), _coarse(across[1], nsubints, num.shape[1])
        parts = across
        for nbands in (num.shape[1] >> k for k in range(num.shape[1].bit_length())):
            parts = _coarse(parts[0], nsubints, nbands), _coarse(parts[1], nsubints, nbands)
            cost = 2.0 * np.count_nonzero(parts[1] > 0) - float(np.sum(_ratio(parts[0] ** 2, parts[1])))
            if cost < best:
                best, chosen = cost, (nsubints, nbands)
    num, den = (_coarse(x, *chosen) for x in (num, den))
    flat = drawn(num.reshape(-1, num.shape[2]), den.reshape(-1, num.shape[2]), axis=0)
    shapes = flat.reshape(num.shape)
    return shapes - shapes.mean(axis=2, keepdims=True), chosen


def levelled(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums without the mean of each profile, which is the level of the samples there."""
    mean = _ratio(sums.sum(axis=-1, keepdims=True), counts.sum(axis=-1, keepdims=True))
    return np.asarray(sums - mean * counts)


def fit_template(
    cells: NDArray[np.float64], rows: NDArray[np.float64], bands: NDArray[np.int64], *, rounds: int = 2
) -> Template:
    """Fit a template to folded samples.

    Parameters
    ----------
    cells : ndarray, shape (nsubints, nbands, nbins, 2)
        Sums of samples in units of their noise, and how many went in; powers of two each.
    rows : ndarray, shape (nchans, nbins, 2)
        The same of each channel.
    bands : ndarray of int64, shape (nchans,)
        Band of each channel.
    rounds : int
        Times that gains, and profiles with these gains, are measured one after the other.
    """
    total = cells.sum(axis=(0, 1))
    nbins = choose_bins(levelled(total[:, 0], total[:, 1]), total[:, 1])
    cells = cells.reshape(*cells.shape[:2], nbins, -1, 2).sum(axis=3)
    rows = rows.reshape(len(rows), nbins, -1, 2).sum(axis=2)
    counts, sums = cells[..., 1], levelled(cells[..., 0], cells[..., 1])
    shape = counts.shape[:2]
    mean = _ratio(sums.sum(axis=(0, 1)), counts.sum(axis=(0, 1)))
    profiles = np.broadcast_to(mean - mean.mean(), (1, 1, nbins))
    gains, grid, divided = np.ones(shape), (1, 1), (1, 1)
    for _ in range(rounds):
        wide = _fine(profiles, *shape)
        gains, grid = _gains((sums * wide).sum(axis=2), (counts * wide**2).sum(axis=2))
        profiles, divided = _shapes(sums, counts, gains)
    wide = _fine(profiles, *shape)
    # Samples of a channel have the mean profile of its band.
    weight = counts.sum(axis=2)
    of_band = _ratio((weight[:, :, None] * gains[:, :, None] * wide).sum(axis=0), weight.sum(axis=0)[:, None])
    own = of_band[bands]
    num = (levelled(rows[..., 0], rows[..., 1]) * own).sum(axis=1)
    den = (rows[..., 1] * own**2).sum(axis=1)
    # Less what the bands have of it: factors are about 1 in every band.
    mean_of = _ratio(*(np.bincount(bands, x, shape[1]).astype(np.float64) for x in (num, den)))
    factors = drawn(num - mean_of[bands] * den, den)
    factors = np.ones_like(factors) if np.ptp(factors) == 0.0 else 1.0 + factors
    which = np.arange(divided[0] * divided[1], dtype=np.float64).reshape(divided)
    return Template(
        shapes=np.ascontiguousarray(profiles.reshape(-1, nbins)),
        shape_of=_fine(which, *shape).astype(np.int64),
        gains=gains,
        factors=factors,
        grid=(*grid, *divided),
    )
