"""What a mask costs: by reason, over frequency, and over time."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.mask import CAUSES, Mask
from pulsar.data.header import Header

#: Channels and blocks stand out when they lose this much more than the median one.
EXCESS: Final = 0.1
#: What blocks of channels that are not masked whole are lost for: cause in the mask -> in words. Of several the first
#: in this order counts, then the others in the order of their bits.
WORDS: Final = {"no data": "no data", "block": "whole blocks", "given": "blocks: PRESTO mask"}
CLIPPED: Final = "clipped impulses"
UNKNOWN: Final = "blocks"


#: Blocks that are summed at once: 134 MB of 4096 channels in double precision.
_BLOCKS: Final = 4096


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
    # Piece by piece: a product makes a copy in double precision.
    pieces = (slice(at, at + _BLOCKS) for at in range(0, len(kept), _BLOCKS))
    return np.asarray(1.0 - sum(kept[piece] @ ~mask.bad[piece] for piece in pieces))


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


def reason_classes(mask: Mask) -> tuple[NDArray[np.uint8], list[str]]:
    """The one reason for which each channel-block counts as lost.

    Parameters
    ----------
    mask : Mask

    Returns
    -------
    classes : ndarray of uint8, shape (nblocks, nchans)
        0 where nothing is masked, else 1 + the index of the reason.
    names : list of str
        Those of whole channels first.
    """
    names = sorted(set(mask.reasons) - {""})
    # The reasons of channels, repeated down the blocks.
    number = {name: i + 1 for i, name in enumerate(names)}
    row = np.array([number.get(reason, 0) for reason in mask.reasons], dtype=np.uint8)
    classes = np.repeat(np.where(mask.chan_ok, np.uint8(0), row)[None, :], mask.bad.shape[0], axis=0)
    left = mask.bad & (classes == 0)
    if mask.why.shape == mask.bad.shape:
        causes = [c for c in WORDS if c != "given"] + [c for c in CAUSES if c not in WORDS] + ["given"]
        for cause in causes:
            which = left & ((mask.why & np.uint16(1 << CAUSES.index(cause))) > 0)
            if which.any():
                names.append(WORDS.get(cause, f"blocks: {cause}"))
                classes[which] = len(names)
                left &= ~which
    if left.any():
        names.append(UNKNOWN)
        classes[left] = len(names)
    return classes, names


def losses(mask: Mask) -> list[Loss]:
    """What every reason costs, the largest first; a channel-sample counts once."""
    share, nchans = weights(mask), mask.chan_ok.size
    classes, names = reason_classes(mask)
    found = []
    for i, name in enumerate(names):
        which = classes == i + 1
        fraction = float(share @ which.sum(axis=1)) / nchans
        if name in mask.reasons:
            found.append(Loss(name, int(which.any(axis=0).sum()), "channels", fraction))
        elif name == WORDS["block"]:
            found.append(Loss(name, int(which.any(axis=1).sum()), "blocks", fraction))
        else:
            found.append(Loss(name, int(np.count_nonzero(which)), "channel-blocks", fraction))
    if len(mask.clipped):
        kept = (classes == 0).sum(axis=1) / nchans
        found.append(Loss(CLIPPED, len(mask.clipped), "impulses", float((share * clipped_parts(mask)) @ kept)))
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
