"""Signals that were added to the data of a run, what became of them, and what that says of the run."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from pulsar.data.candidate import Column, table_of
from pulsar.errors import ConfigError
from pulsar_kernels.arrays import Array, Bools, Floats, Ints

INJECTED_COLUMNS: Final[tuple[Column, ...]] = (
    Column("kind", "U8", "", "pulsar or burst"),
    Column("place", "i4", "", "number of the place, a DM, at which it was added, from 0"),
    Column("snr", "f8", "", "S/N of an ideal matched filter in the cleaned samples"),
    Column("dm", "f8", "pc / cm3", "dispersion measure"),
    Column("period", "f8", "s", "period at mid-observation, NaN of a burst"),
    Column("accel", "f8", "m / s2", "line-of-sight acceleration, NaN of a burst"),
    Column("time", "f8", "s", "peak of a burst from the start, at the highest channel; NaN of a pulsar"),
    Column("width", "f8", "s", "full width at half maximum of the pulse, before it is smeared"),
    Column("duty", "f8", "", "width over the period, NaN of a burst"),
    Column("found", "i1", "", "1: on the list as itself, without a flag"),
    Column("fate", "U64", "", "found, or what kept it off the list"),
    Column("listed_snr", "f8", "", "S/N on the list, NaN where it is on none"),
    Column("score", "f8", "", "score on the list, NaN where it is on none"),
    Column("obs", "i4", "", "row of the table observations to which it was added"),
)

ROW_COLUMNS: Final[tuple[Column, ...]] = (
    Column("kind", "U8", "", "pulsar or burst: what the row is listed as"),
    Column("place", "i4", "", "number of the place beside whose signals it was listed"),
    Column("score", "f8", "", "its score"),
    Column("snr", "f8", "", "its S/N"),
    Column("dm", "f8", "pc / cm3", "its DM"),
    Column("origin", "U8", "", "injected; sky: the run lists it too, without any injection; or other"),
    Column("obs", "i4", "", "row of the table observations in which it was listed"),
)

LIMIT_COLUMNS: Final[tuple[Column, ...]] = (
    Column("obs", "i4", "", "row of the table observations for which it holds"),
    Column("period", "f8", "s", "period"),
    Column("duty", "f8", "", "full width at half maximum of the pulse over the period, before it is smeared"),
    Column("dm", "f8", "pc / cm3", "DM for which the width is smeared: the median of the injected pulsars"),
    Column("width", "f8", "s", "full width at half maximum, smeared by the sampling and in the channels"),
    Column("tried", "i8", "", "injected pulsars, the nearest in period, from which the two S/N are"),
    Column("snr_half", "f8", "", "S/N from which on half of them are found, NaN where that is nowhere so"),
    Column("snr_half_low", "f8", "", "lower end of its 68 % interval (likelihood ratio)"),
    Column("snr_half_high", "f8", "", "upper end of it, infinite where half may be found nowhere"),
    Column("snr_most", "f8", "", "S/N from which on nine tenths are found, NaN where that is nowhere so"),
    Column("snr_most_low", "f8", "", "lower end of its 68 % interval"),
    Column("snr_most_high", "f8", "", "upper end of it, infinite where nine tenths may be found nowhere"),
    Column("flux_half", "f8", "mJy", "mean flux density from which on half are found, NaN where a turn is too short"),
    Column("flux_most", "f8", "mJy", "mean flux density from which on nine tenths are found"),
    Column("tobs", "f8", "s", "length of the observation"),
    Column("bandwidth", "f8", "MHz", "bandwidth that is not masked"),
    Column("gain", "f8", "K / Jy", "gain of the telescope at the zenith angle of the observation"),
    Column("tsys", "f8", "K", "system temperature, sky included"),
    Column("npol", "i4", "", "polarisations that are summed"),
    Column("beta", "f8", "", "loss of S/N by digitisation"),
)


RECALL_COLUMNS: Final[tuple[Column, ...]] = (
    Column("low", "f8", "", "lower edge of the bin"),
    Column("high", "f8", "", "its upper edge"),
    Column("tried", "i8", "", "signals that were injected"),
    Column("found", "i8", "", "those that were found"),
    Column("recall", "f8", "", "found over tried, NaN where nothing was"),
    Column("recall_low", "f8", "", "lower end of its 68 % interval (Wilson)"),
    Column("recall_high", "f8", "", "upper end of its 68 % interval (Wilson)"),
    Column("snr_kept", "f8", "", "median of listed over injected S/N of what was found"),
)

RELIABILITY_COLUMNS: Final[tuple[Column, ...]] = (
    Column("low", "f8", "", "lowest score of the bin"),
    Column("high", "f8", "", "its highest score"),
    Column("injected", "i8", "", "rows that are an injected signal"),
    Column("other", "i8", "", "rows that are none, and that the run does not list without the signals"),
    Column("sky", "i8", "", "rows that the run lists in any case"),
    Column("reliability", "f8", "", "injected over injected and other, NaN where there is none"),
    Column("reliability_low", "f8", "", "lower end of its 68 % interval (Wilson)"),
    Column("reliability_high", "f8", "", "upper end of its 68 % interval (Wilson)"),
)


def _in_bins(columns: tuple[Column, ...], edges: Floats, *values: Array) -> Array:
    """A row for each bin: its edges, then the other columns in their order."""
    return table_of({c.name: value for c, value in zip(columns, (edges[:-1], edges[1:], *values), strict=True)})


def _shares(nfound: Ints, tried: Ints) -> tuple[Floats, ...]:
    """Found over tried, NaN where nothing was, and the ends of its interval."""
    share = np.divide(nfound, tried, out=np.full(tried.size, np.nan), where=tried > 0)
    return share, *wilson(nfound, tried)


#: Columns by which recall can be told.
BY: Final = ("snr", "period", "dm", "width", "duty", "accel", "time")
#: Edges of bins of S/N: from 6 to 20, and further ones where there are such signals.
SNR_EDGES: Final = (0.0, 2.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 15.0, 20.0, 30.0, 50.0, 100.0, 300.0, 1000.0)


def recall(rows: Array, by: str = "snr", edges: Sequence[float] | Floats | None = None) -> Array:
    """Recall in bins of a column.

    Parameters
    ----------
    rows : ndarray
        Fields of INJECTED_COLUMNS, of one kind.
    by : str
        One of BY.
    edges : sequence of float, optional
        Ascending; default: of the S/N those of SNR_EDGES that it takes, else four bins of equal numbers.

    Returns
    -------
    ndarray
        Fields of RECALL_COLUMNS, a row for each bin.

    Raises
    ------
    ConfigError
        There is no such column, or none of these signals; or the edges do not ascend.
    """
    if by not in BY:
        raise ConfigError(f"recall by {by!r}: by one of {', '.join(BY)}")
    values = np.asarray(rows[by], dtype=np.float64)
    if values.size and np.isnan(values).all():
        raise ConfigError(f"recall by {by!r}: {rows['kind'][0]}s have none")
    if edges is None:
        edges = _snr_edges(values) if by == "snr" else equal_bins(values, 4)
    limits = np.asarray(edges, dtype=np.float64)
    if limits.ndim != 1 or limits.size < 2 or not np.all(np.diff(limits) > 0):
        raise ConfigError(f"edges of recall by {by}: two numbers or more are expected, each above the one before")
    nbins = limits.size - 1
    at = np.searchsorted(limits, values, side="right") - 1
    at[values == limits[-1]] = nbins - 1
    inside = (at >= 0) & (at < nbins)
    good = rows["found"] == 1
    tried = np.bincount(at[inside], minlength=nbins)
    nfound = np.bincount(at[inside & good], minlength=nbins)
    ratio = rows["listed_snr"] / rows["snr"]
    kept = np.array([float(np.median(ratio[inside & good & (at == k)])) if nfound[k] else np.nan for k in range(nbins)])
    return _in_bins(RECALL_COLUMNS, limits, tried, nfound, *_shares(nfound, tried), kept)


def equal_bins(values: Floats, count: int) -> Floats:
    """Edges of so many bins of as many values each; of fewer where values are the same."""
    edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, count + 1))) if values.size else np.array([0.0, 1.0])
    return edges if edges.size > 1 else np.array([edges[0], np.nextafter(edges[0], np.inf)])


def _snr_edges(values: Floats) -> tuple[float, ...]:
    """Those of SNR_EDGES from 6 to 20, and as many more as it takes for all values to lie between them."""
    low, high = np.nanmin([6.0, *values]), np.nanmax([20.0, *values])
    first, last = np.searchsorted(SNR_EDGES, low, "right") - 1, np.searchsorted(SNR_EDGES, high)
    most = [float(high)] if high > SNR_EDGES[-1] else []
    return (*SNR_EDGES[max(first, 0) : last + 1], *most)


def threshold_at(rows: Array, share: float = 0.9) -> float:
    """S/N from which on so large a share is found; NaN where none is so strong, or nothing was added.

    From the rising step function that fits best (isotonic regression: neighbours in S/N are pooled until no share is
    larger than the next): no form of the curve is assumed.

    Parameters
    ----------
    rows : ndarray
        Fields of INJECTED_COLUMNS, of one kind.
    share : float
        0 to 1.
    """
    order = np.argsort(rows["snr"], kind="stable")
    snr = rows["snr"][order]
    firsts, shares = _rising(rows["found"][order] == 1)
    return next((float(snr[k]) for k, part in zip(firsts, shares, strict=True) if part >= share), float("nan"))


def _rising(good: Bools) -> tuple[list[int], list[float]]:
    """Where each step of the rising step function begins that fits best, and how high it is."""
    pools: list[tuple[int, int, int]] = []  # first, found, tried
    for k, nfound in enumerate(good.tolist()):
        pools.append((k, int(nfound), 1))
        while len(pools) > 1 and pools[-2][1] * pools[-1][2] >= pools[-1][1] * pools[-2][2]:
            (first, some, tried), last = pools[-2], pools[-1]
            pools[-2:] = [(first, some + last[1], tried + last[2])]
    return [first for first, _, _ in pools], [nfound / tried for _, nfound, tried in pools]


def threshold_interval(rows: Array, share: float = 0.9) -> tuple[float, float]:
    """68 % interval of what :func:`threshold_at` tells, by the likelihood ratio for rising functions.

    Parameters
    ----------
    rows, share
        As for :func:`threshold_at`.

    Returns
    -------
    low, high : float
        `high` is infinite where so large a share need not be reached at all; NaN where nothing was added.
    """
    if not rows.size:
        return float("nan"), float("nan")
    order = np.argsort(rows["snr"], kind="stable")
    snr, good = rows["snr"][order], rows["found"][order] == 1
    best = _likelihood(good, 0.0, 1.0)
    tried = np.unique(np.quantile(snr, np.linspace(0.0, 1.0, 200)))
    places = [*np.searchsorted(snr, tried).tolist(), snr.size]
    ends = [*tried.tolist(), float("inf")]
    # A S/N is within the 68 % interval if twice the logarithm of the likelihood is less than this below that of the
    # best step function. It has a law of its own (Banerjee & Wellner 2001, Ann. Stat. 29, 1699), whose 0.68 quantile
    # is 0.7; of 60 to 400 signals it came out as 0.6 to 0.85 for nine tenths, for whatever width of a logistic curve.
    inside = [
        end
        for end, k in zip(ends, places, strict=True)
        if 2.0 * (best - _likelihood(good[:k], 0.0, share) - _likelihood(good[k:], share, 1.0)) <= 0.85
    ]
    best_snr = threshold_at(rows, share)
    inside.append(best_snr if np.isfinite(best_snr) else float("inf"))
    return min(inside), max(inside)


def _likelihood(good: Bools, least: float, most: float) -> float:
    """Logarithm of the likelihood of the best rising step function between two shares."""
    firsts, shares = _rising(good)
    part = np.repeat(shares, np.diff([*firsts, good.size])) if firsts else np.zeros(0)
    part = np.clip(part, least, most)
    # What is certain adds nothing; what is impossible does not come, for no step has a share of 0 with one found.
    return float(np.log(np.where(good, part, 1.0 - part)).sum())


#: Lower edges of the scores whose reliability is told.
SCORE_EDGES: Final = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95)


def reliability(rows: Array, edges: Sequence[float] = (*SCORE_EDGES, 1.0)) -> Array:
    """Reliability of the score in bins of it.

    Parameters
    ----------
    rows : ndarray
        Fields of ROW_COLUMNS, of one kind.
    edges : sequence of float
        Ascending; the last bin includes its upper edge.

    Returns
    -------
    ndarray
        Fields of RELIABILITY_COLUMNS, a row for each bin.
    """
    limits = np.asarray(edges, dtype=np.float64)
    nbins = limits.size - 1
    at = np.clip(np.searchsorted(limits, rows["score"], side="right") - 1, 0, nbins - 1)
    injected, chance, sky = (
        np.bincount(at[rows["origin"] == origin], minlength=nbins) for origin in ("injected", "other", "sky")
    )
    shares = _shares(injected, injected + chance)
    return _in_bins(RELIABILITY_COLUMNS, limits, injected, chance, sky, *shares)


#: The score from which on it is told in words how reliable it is.
SURE: Final = 0.9


def in_words(injected: Array, rows: Array) -> list[str]:
    """Recall and reliability in a few lines.

    Parameters
    ----------
    injected, rows : ndarray
        Fields of INJECTED_COLUMNS and ROW_COLUMNS.
    """
    lines = []
    for kind in ("pulsar", "burst"):
        signals = injected[injected["kind"] == kind]
        if not signals.size:
            continue
        good = signals[signals["found"] == 1]
        low, high = wilson(good.size, signals.size)
        line = f"{good.size} of {signals.size} injected {kind}s are found ({100 * low:.0f} to {100 * high:.0f} %)"
        half, most = threshold_at(signals, 0.5), threshold_at(signals, 0.9)
        if np.isfinite(most):
            line += f", half of those of S/N {half:.1f}, nine tenths from {most:.1f} on"
        if good.size:
            line += f"; of the S/N the list has {np.median(good['listed_snr'] / good['snr']):.2f}"
        lines.append(line)
        sure = rows[(rows["kind"] == kind) & (rows["origin"] != "sky") & (rows["score"] >= SURE)]
        if sure.size:
            true = int(np.count_nonzero(sure["origin"] == "injected"))
            low, high = wilson(true, sure.size)
            lines.append(
                f"of {sure.size} rows with a score of {SURE:g} or more that they make, {true} are true "
                f"({100 * low:.0f} to {100 * high:.0f} %)"
            )
    return lines or ["nothing could be injected: no period or burst has room in these data"]


def wilson(successes: Array | int, tried: Array | int) -> tuple[Floats, Floats]:
    """68 % interval of a fraction (Wilson 1927, J. Am. Stat. Assoc. 22, 209).

    Where few were tried, or all or none found, it holds too.

    Returns
    -------
    low, high : ndarray of float64
        NaN where nothing was tried.
    """
    n = np.asarray(tried, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.asarray(successes, dtype=np.float64) / n
        middle = (p + 0.5 / n) / (1.0 + 1.0 / n)
        half = np.sqrt(p * (1.0 - p) / n + 0.25 / n**2) / (1.0 + 1.0 / n)
    return np.asarray(np.maximum(middle - half, 0.0)), np.asarray(np.minimum(middle + half, 1.0))
