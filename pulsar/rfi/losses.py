"""What a mask costs: by reason, over frequency, and over time."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.data.header import Header
from pulsar.rfi.mask import Mask
from pulsar.rfi.statistics import BlockStatistics

#: Channels and blocks stand out when they lose this much more than the median one.
EXCESS: Final = 0.1
#: Reasons for what is not a whole channel.
MISSING: Final = "in no file"
WHOLE_BLOCKS: Final = "whole blocks"
SINGLE: Final = "single blocks"
CLIPPED: Final = "clipped impulses"


@dataclass(frozen=True)
class Loss:
    """What one reason costs.

    Attributes
    ----------
    reason : str
    count : int
        Channels, blocks of time, channel-blocks or impulses.
    unit : str
        Which of them.
    fraction : float
        Of all channel-samples. Over all reasons they add up to the whole loss.
    """

    reason: str
    count: int
    unit: str
    fraction: float


@dataclass(frozen=True)
class Stretch:
    """Neighbouring channels or blocks that lose more than the others.

    Attributes
    ----------
    first, last : int
        Channels or blocks.
    lo, hi : float
        Edges, in MHz or s from the start.
    lost : float
        Fraction of them that is lost.
    share : float
        Of all channel-samples of the observation.
    reasons : tuple of str
        Of channels that are masked whole, most of them first.
    """

    first: int
    last: int
    lo: float
    hi: float
    lost: float
    share: float
    reasons: tuple[str, ...] = ()


def weights(mask: Mask) -> NDArray[np.float64]:
    """Part of the observation in every block, shape (nblocks,)."""
    lengths = np.diff(mask.edges).astype(np.float64)
    return np.asarray(lengths / lengths.sum())


def clipped_parts(mask: Mask) -> NDArray[np.float64]:
    """Part of every block that is clipped, shape (nblocks,)."""
    return np.asarray(mask.clipped_samples / np.diff(mask.edges))


def channel_losses(mask: Mask) -> NDArray[np.float64]:
    """Fraction of its samples that every channel loses, shape (nchans,)."""
    kept = weights(mask) * (1.0 - clipped_parts(mask))
    return np.asarray(1.0 - kept @ ~mask.bad)


def block_losses(mask: Mask, *, live: bool = False) -> NDArray[np.float64]:
    """Fraction of its samples that every block loses, shape (nblocks,).

    Parameters
    ----------
    mask : Mask
    live : bool
        Count only channels that are not masked whole.
    """
    bad = mask.bad[:, mask.chan_ok] if live else mask.bad
    if bad.shape[1] == 0:
        return np.ones(bad.shape[0])
    return np.asarray(1.0 - (1.0 - bad.mean(axis=1)) * (1.0 - clipped_parts(mask)))


def losses(mask: Mask, stats: BlockStatistics | None = None) -> list[Loss]:
    """What every reason costs, the largest first.

    A channel-sample counts once: for its channel, else for a block that is lost in all channels, else for its block,
    else for an impulse.

    Parameters
    ----------
    mask : Mask
    stats : BlockStatistics, optional
        Tells blocks that are in no file from those that are bad.
    """
    share, nchans = weights(mask), mask.chan_ok.size
    reasons = np.array(mask.reasons, dtype=object)
    found = []
    for reason in sorted(set(mask.reasons) - {""}):
        count = int(np.count_nonzero(reasons == reason))
        found.append(Loss(reason, count, "channels", count / nchans))
    live = mask.bad[:, mask.chan_ok]
    part = live.shape[1] / nchans
    whole = live.all(axis=1)
    missing = whole & (stats.valid == 0).all(axis=1) if stats is not None else np.zeros(whole.size, dtype=np.bool_)
    for reason, which in ((MISSING, missing), (WHOLE_BLOCKS, whole & ~missing)):
        if which.any():
            found.append(Loss(reason, int(which.sum()), "blocks", float(part * share[which].sum())))
    single = np.where(whole, 0.0, live.mean(axis=1)) if live.shape[1] else np.zeros(whole.size)
    if single.any():
        count = int(np.count_nonzero(live[~whole]))
        found.append(Loss(SINGLE, count, "channel-blocks", float(part * (share @ single))))
    if len(mask.clipped):
        kept = np.where(whole, 0.0, 1.0 - single)
        found.append(Loss(CLIPPED, len(mask.clipped), "impulses", float(part * (share * clipped_parts(mask)) @ kept)))
    return sorted(found, key=lambda one: -one.fraction)


def worst_channels(mask: Mask, header: Header) -> list[Stretch]:
    """Ranges of frequency that lose more than the others, the costliest first."""
    half = 0.5 * header.chan_width
    reasons = np.array(mask.reasons, dtype=object)
    found = []
    lost = channel_losses(mask)
    for first, last in _runs(lost):
        names, counts = np.unique(reasons[first : last + 1].astype(str), return_counts=True)
        order = np.argsort(-counts, kind="stable")
        found.append(
            Stretch(
                first,
                last,
                float(header.freqs[last]) - half,
                float(header.freqs[first]) + half,
                float(lost[first : last + 1].mean()),
                float(lost[first : last + 1].sum() / lost.size),
                tuple(str(n) for n in names[order] if n),
            )
        )
    return sorted(found, key=lambda one: -one.share)


def worst_blocks(mask: Mask, header: Header) -> list[Stretch]:
    """Times that lose more than the others, in the channels that are not masked whole, the costliest first."""
    lost, share = block_losses(mask, live=True), weights(mask)
    part = float(mask.chan_ok.mean())
    found = []
    for first, last in _runs(lost):
        inside = slice(first, last + 1)
        found.append(
            Stretch(
                first,
                last,
                float(mask.edges[first] * header.tsamp),
                float(mask.edges[last + 1] * header.tsamp),
                float(np.average(lost[inside], weights=share[inside])),
                float(part * (lost[inside] @ share[inside])),
            )
        )
    return sorted(found, key=lambda one: -one.share)


def _runs(lost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """First and last of neighbours that lose more than the median and EXCESS."""
    high = lost > float(np.median(lost)) + EXCESS
    # Where most is lost, the median would hide it.
    high |= lost > 0.5
    edges = np.flatnonzero(np.diff(high.astype(np.int8), prepend=0, append=0))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]
