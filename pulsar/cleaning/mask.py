"""The mask: channels and blocks that are left out, why, at what cost, and the baseline and noise of the rest."""

from collections import Counter
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.diode import Diode
from pulsar.cleaning.robust import in_columns, median, runs_of, smooth
from pulsar.cleaning.statistics import BlockStatistics
from pulsar.config.model import RfiConfig
from pulsar.data.header import Header, dispersion_delays
from pulsar.data.observation import Observation, called
from pulsar.errors import DataError
from pulsar_kernels.arrays import Bools, Float32s, Floats, Ints, Uint8s, Uint16s

# Default time scale of the baseline [s], where it is not longer; and of what outliers are compared with.
SHORTEST_BASELINE = 30.0
#: Why a channel-block is masked: the bits of `Mask.why`, lowest first.
CAUSES: Final = (
    "channel", "no data", "saturated", "mean", "noise", "shape", "not white", "line", "neighbours", "grown", "block",
    "jump", "given", "dropout",
)  # fmt: skip
#: Fields of a mask that are stored under another name; chan_ok as its opposite.
_STORED_AS: Final = {"chan_ok": "chan_mask", "reasons": "chan_reasons", "bad": "mask"}


@dataclass(frozen=True)
class Mask:
    """All that is left out of an observation, and that is needed to normalise the rest."""

    chan_ok: Bools  # (nchans,)
    reasons: tuple[str, ...]  # for every channel why it is masked, "" where it is not
    bad: Bools  # (nblocks, nchans): masked blocks; all True in a masked channel
    edges: Ints  # (nblocks + 1,): edges of the blocks in samples
    #: baseline, noise (nblocks, nchans): smooth mean and standard deviation at the middle of every block, in raw
    #: units.
    baseline: Floats
    noise: Floats
    #: (n, 2): first sample and the one after the last of what is left out in all channels, ascending.
    clipped: Ints = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))
    #: (nblocks, nchans): bits of the CAUSES for which a channel-block is masked; empty where unknown.
    why: Uint16s = field(default_factory=lambda: np.zeros((0, 0), dtype=np.uint16))
    #: (2,) or (0,): period of a noise diode that is taken out, and the time of one of its rising edges from the start
    #: [s].
    wave: Floats = field(default_factory=lambda: np.zeros(0))
    #: (nblocks, nchans) or (0, 0): its step in raw units.
    wave_step: Float32s = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))

    @property
    def fraction_lost(self) -> float:
        """Fraction of the channel-samples that are masked or clipped."""
        weights = np.diff(self.edges) - self.clipped_samples
        masked = float(np.sum(self.bad.mean(axis=1) * weights) + self.clipped_samples.sum())
        return masked / float(self.edges[-1] - self.edges[0])

    def stored(self, freqs: Floats) -> dict[str, Any]:
        """Arrays and attributes of ``/rfi``, by their names in :data:`pulsar.io.product.schema.RFI_ARRAYS`."""
        return {name: getattr(self, field) for field, name in MASK_ARRAYS.items()} | {
            "freqs": freqs,
            "chan_mask": ~self.chan_ok,
            "bandpass_mean": np.median(self.baseline, axis=0),
            "bandpass_std": np.median(self.noise, axis=0),
            "block_nsamps": int(self.edges[1] - self.edges[0]),
            "masked_fraction": self.fraction_lost,
            "causes": list(CAUSES),
        }

    @property
    def diode(self) -> Diode | None:
        """The noise diode that is taken out."""
        return Diode(float(self.wave[0]), float(self.wave[1]), self.wave_step) if self.wave.size else None

    @property
    def clipped_samples(self) -> Ints:
        """Samples of every block that are clipped, shape (nblocks,)."""
        below = np.concatenate([[0], np.cumsum(self.clipped[:, 1] - self.clipped[:, 0])])
        # Of the stretch that an edge may lie in, the part before it.
        at = np.searchsorted(self.clipped[:, 0], self.edges, side="right")
        total = below[at]
        inside = at > 0
        total[inside] -= np.maximum(self.clipped[at[inside] - 1, 1] - self.edges[inside], 0)
        return np.asarray(np.diff(total), dtype=np.int64)

    def summary(self) -> str:
        """One line for the log: how many channels are masked and why."""
        lost = int((~self.chan_ok).sum())
        why = ", ".join(f"{n} {reason}" for reason, n in Counter(filter(None, self.reasons)).most_common())
        text = f"{lost} of {len(self.chan_ok)} channels masked" + (f" ({why})" if why else "")
        if self.wave.size:
            on = float(np.mean(self.wave_step.any(axis=1)))
            text += f", noise diode of {self.wave[0]:.6g} s taken out ({100 * on:.0f} % of the time)"
        if len(self.clipped):
            text += f", {len(self.clipped)} impulses clipped"
        return f"{text}, {100 * self.fraction_lost:.1f} % of the data"


#: Field of a mask -> array of ``/rfi``.
MASK_ARRAYS: Final = {f.name: _STORED_AS.get(f.name, f.name) for f in fields(Mask)}


def make_mask(obs: Observation, stats: BlockStatistics, config: RfiConfig, *, given: Bools | None = None) -> Mask:
    """Decide what is masked from the statistics of the first pass.

    Channels without variance, saturated, in a `zap` range, and what :func:`pulsar.cleaning.outliers.find_outliers`
    finds. A broadband signal moves all channels alike and is therefore never an outlier among them.

    `given`: shape (nblocks, nchans): what a mask from elsewhere leaves out: left out as well, and known to be bad when
    the rest is judged.

    Raises
    ------
    DataError
        When no channel is left.
    """
    header = obs.header
    diode = stats.diode
    if diode is not None:
        stats = replace(stats, mean=stats.mean - diode.step * stats.diode_share[:, None])
    usable = (stats.valid > 0) & np.isfinite(stats.std)
    marks = _Marks(header.nchans, stats.nblocks)
    marks.channels(~obs.chan_ok, "no weight in file")
    for lo, hi in config.zap:
        marks.channels(header.overlapping(lo, hi), "zapped")
    with np.errstate(invalid="ignore"):
        # Rounding leaves a relative 1e-7 of a large float constant in its variance.
        still = ~(stats.std > 1e-6 * np.abs(stats.mean)) | ~usable
    marks.channels(np.asarray(~usable.any(axis=0)), "no finite data")
    # Blocks that are in no file say nothing about channels.
    inside = np.asarray(usable.any(axis=1))
    if inside.any():
        marks.channels(np.asarray(still[inside].mean(axis=0) > 0.5), "constant")
    marks.blocks(still, "no data")
    if given is not None:
        marks.channels(np.asarray((given | ~inside[:, None]).all(axis=0), dtype=np.bool_), "PRESTO mask")
        marks.blocks(given, "given")
    block = stats.block_nsamps * header.tsamp
    baseline_s = config.baseline if config.baseline is not None else max(SHORTEST_BASELINE, 0.25 * header.tobs)
    window = max(1, round(baseline_s / block))
    jumps = np.zeros(0, dtype=np.int64)
    if config.enabled:
        jumps = _judge(header, stats, config, marks, usable, still, window)
    live = marks.close()
    if not live.any():
        raise _nothing_left(obs, marks.reasons)
    bad = marks.why > 0
    wave = np.zeros(0) if diode is None else np.array([diode.period, diode.rise])
    step = np.zeros((0, 0), dtype=np.float32) if diode is None else diode.step
    pieces = np.concatenate([[0], jumps, [stats.nblocks]])
    baseline, noise = np.empty_like(stats.mean), np.empty_like(stats.std)
    for first, last in pairwise(pieces):
        part = slice(first, last)
        for c in in_columns((last - first, header.nchans)):
            levels = smooth(stats.mean[part, c], bad[part, c], window), smooth(stats.std[part, c], bad[part, c], window)
            baseline[part, c], noise[part, c] = to_a_thousandth(*levels)
    labels = tuple(str(r) for r in marks.reasons)
    return Mask(*(live, labels, bad, stats.edges, baseline, noise, stats.impulses, marks.why, wave, step))


class _Marks:
    """Reasons of channels and causes of blocks, as they are found: the first reason of a channel stays."""

    def __init__(self, nchans: int, nblocks: int) -> None:
        self.reasons = np.full(nchans, "", dtype="U32")
        self.why = np.zeros((nblocks, nchans), dtype=np.uint16)

    def channels(self, chans: Bools, reason: str) -> None:
        self.reasons[chans & (self.reasons == "")] = reason

    def blocks(self, cells: Bools, cause: str) -> None:
        """Mark channel-blocks, shape (nblocks, nchans), or blocks in all channels, shape (nblocks,)."""
        self.why[cells] |= np.uint16(1 << CAUSES.index(cause))

    @property
    def known(self) -> Bools:
        """Channel-blocks that are bad so far, shape (nblocks, nchans)."""
        return np.asarray((self.why > 0) | (self.reasons != "")[None, :])

    def close(self) -> Bools:
        """Mark every block of the channels that are lost; the channels that are left, shape (nchans,)."""
        lost = (self.reasons != "") | (self.why > 0).all(axis=0)
        self.channels(lost, "often bad")
        self.why[:, lost] |= np.uint16(1 << CAUSES.index("channel"))
        return np.asarray(~lost)


def _judge(
    header: Header, stats: BlockStatistics, config: RfiConfig, marks: _Marks, usable: Bools, still: Bools, window: int
) -> Ints:
    """Mark what outliers, growth and votes of blocks say; the blocks at which the level jumps are returned."""
    from pulsar.cleaning.outliers import SATURATED, BandLevel, excess_saturation, find_outliers, grown

    block = stats.block_nsamps * header.tsamp
    # What is bad shows against its neighbours in time, whatever is later kept of slow signals.
    near = max(16, round(SHORTEST_BASELINE / block))
    marks.channels(np.median(excess_saturation(stats), axis=0) > SATURATED, "saturated")
    measured = stats
    with np.errstate(divide="ignore"):
        delays = dispersion_delays(header.freqs) / header.tsamp
    if header.nbits == 1:
        # One bit has a mean, and no noise or shape of its own.
        config = config.model_copy(update={"kurtosis": 0.0, "iqrm": 0.0})
        measured = replace(stats, std=np.where(usable, median(stats.std, axis=0), np.nan))
    whole, parts = find_outliers(measured, marks.known, sorted({near, max(near, window)}), delays, config)
    for reason, chans in whole.items():
        marks.channels(chans, reason)
    for cause, blocks in parts.items():
        marks.blocks(blocks, cause)
    live = marks.reasons == ""
    if live.any() and config.grow > 0:
        # What is missing in all channels, and whole channels, is not what grows.
        kept = np.asarray(usable.any(axis=1))[:, None] & live[None, :]
        marks.blocks(grown((marks.why > 0) & kept, config.grow) & kept & (marks.why == 0), "grown")
    marks.channels(((marks.why > 0) & ~still).mean(axis=0) > config.chan_fraction, "often bad")
    level = BandLevel.of(stats, marks.known, block)
    live = marks.reasons == ""
    if live.any():
        marks.blocks(np.greater(np.mean(marks.why[:, live] > 0, axis=1), config.block_fraction), "block")
    if level is None:
        return np.zeros(0, dtype=np.int64)
    marks.blocks(level.dropouts(config.block_sigma), "dropout")
    jumps = level.jumps()
    for k in jumps:
        # The block that it is in, and the one after it, up to whose middle the baseline is a ramp.
        marks.blocks(np.isin(np.arange(stats.nblocks), (k - 1, k)), "jump")
    return jumps


def _nothing_left(obs: Observation, reasons: NDArray[np.str_]) -> DataError:
    names, counts = np.unique(reasons, return_counts=True)
    listed = ", ".join(f"{n} {name}" for name, n in zip(names, counts, strict=True))
    return DataError(
        f"{called(obs)}: all {len(reasons)} channels are masked ({listed}); there is nothing to search. Check the file "
        "with 'pulsar info', or loosen the masking (settings rfi.enabled=false, fewer ranges in rfi.zap)"
    )


def to_a_thousandth(baseline: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Baseline and noise in steps of 1/1024 of the power of two next below the noise.

    Samples are cleaned to an eighth of the noise: they cannot tell the difference, and a mask packs into a fifth.

    Parameters
    ----------
    baseline, noise : ndarray of float64, same shape
        Where the noise is 0 or not finite, nothing is changed.
    """
    known = np.isfinite(noise) & (noise > 0) & np.isfinite(baseline)
    step = np.exp2(np.floor(np.log2(np.where(known, noise, 1.0))) - 10.0)
    return (
        np.where(known, np.rint(np.where(known, baseline, 0.0) / step) * step, baseline),
        np.where(known, np.rint(np.where(known, noise, 0.0) / step) * step, noise),
    )


#: Channels and blocks stand out when they lose this much more than the median one.
EXCESS: Final = 0.1
#: What blocks of channels that are not masked whole are lost for: cause in the mask -> in words. Of several the first
#: in this order counts, then the others in the order of their bits.
WORDS: Final = {"no data": "no data", "block": "whole blocks", "given": "blocks: PRESTO mask"}
#: Blocks that are summed at once: 134 MB of 4096 channels in double precision.
_BLOCKS: Final = 4096


@dataclass(frozen=True)
class Loss:
    """The cost of one reason."""

    reason: str
    count: int  # channels, blocks of time, channel-blocks or impulses
    unit: str  # which of them
    fraction: float  # of all channel-samples. Over all reasons they add up to the whole loss.


@dataclass(frozen=True)
class Stretch:
    """Neighbouring channels or blocks that lose more than the others."""

    #: first, last: channels or blocks.
    first: int
    last: int
    #: lo, hi: edges, in MHz or s from the start.
    lo: float
    hi: float
    lost: float  # fraction of them that is lost
    share: float  # of all channel-samples of the observation
    reasons: tuple[str, ...] = ()  # of channels that are masked whole, most of them first


def weights(mask: Mask) -> Floats:
    """Part of the observation in every block, shape (nblocks,)."""
    lengths = np.diff(mask.edges).astype(np.float64)
    return np.asarray(lengths / lengths.sum())


def clipped_parts(mask: Mask) -> Floats:
    """Part of every block that is clipped, shape (nblocks,)."""
    return np.asarray(mask.clipped_samples / np.diff(mask.edges))


def channel_losses(mask: Mask) -> Floats:
    """Fraction of its samples that every channel loses, shape (nchans,)."""
    kept = weights(mask) * (1.0 - clipped_parts(mask))
    # Piece by piece: a product makes a copy in double precision.
    pieces = (slice(at, at + _BLOCKS) for at in range(0, len(kept), _BLOCKS))
    return np.asarray(1.0 - sum(kept[piece] @ ~mask.bad[piece] for piece in pieces))


def block_losses(mask: Mask, *, live: bool = False) -> Floats:
    """Fraction of its samples that every block loses, shape (nblocks,).

    `live`: count only channels that are not masked whole.
    """
    bad = mask.bad[:, mask.chan_ok] if live else mask.bad
    if bad.shape[1] == 0:
        return np.ones(bad.shape[0])
    return np.asarray(1.0 - (1.0 - bad.mean(axis=1)) * (1.0 - clipped_parts(mask)))


def reason_classes(mask: Mask) -> tuple[Uint8s, list[str]]:
    """The one reason for which each channel-block counts as lost.

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
            cells = left & ((mask.why & np.uint16(1 << CAUSES.index(cause))) > 0)
            if cells.any():
                names.append(WORDS.get(cause, f"blocks: {cause}"))
                classes[cells] = len(names)
                left &= ~cells
    if left.any():
        names.append("blocks")
        classes[left] = len(names)
    return classes, names


def losses(mask: Mask) -> list[Loss]:
    """The cost of every reason, the largest first; a channel-sample counts once."""
    share, nchans = weights(mask), mask.chan_ok.size
    classes, names = reason_classes(mask)
    costs = []
    for i, name in enumerate(names):
        cells = classes == i + 1
        fraction = float(share @ cells.sum(axis=1)) / nchans
        if name in mask.reasons:
            costs.append(Loss(name, int(cells.any(axis=0).sum()), "channels", fraction))
        elif name == WORDS["block"]:
            costs.append(Loss(name, int(cells.any(axis=1).sum()), "blocks", fraction))
        else:
            costs.append(Loss(name, int(np.count_nonzero(cells)), "channel-blocks", fraction))
    if len(mask.clipped):
        kept = (classes == 0).sum(axis=1) / nchans
        costs.append(
            Loss("clipped impulses", len(mask.clipped), "impulses", float((share * clipped_parts(mask)) @ kept))
        )
    return sorted(costs, key=lambda loss: -loss.fraction)


def worst_channels(mask: Mask, header: Header) -> list[Stretch]:
    """Ranges of frequency that lose more than the others, the costliest first."""
    half = 0.5 * header.chan_width
    share = np.full(mask.chan_ok.size, 1.0 / mask.chan_ok.size)
    return _worst(channel_losses(mask), share, header.freqs - half, header.freqs + half, mask.reasons)


def worst_blocks(mask: Mask, header: Header) -> list[Stretch]:
    """Times that lose more than the others, in the channels that are not masked whole, the costliest first."""
    share = weights(mask) * float(mask.chan_ok.mean())
    times = mask.edges * header.tsamp
    return _worst(block_losses(mask, live=True), share, times[:-1], times[1:])


def _worst(
    lost: Floats, share: Floats, lo: NDArray[np.floating], hi: NDArray[np.floating], reasons: tuple[str, ...] = ()
) -> list[Stretch]:
    """Neighbours that lose more than the median and EXCESS, the costliest first.

    Parameters
    ----------
    lost, share : ndarray, shape (n,)
        Part of each channel or block that is lost, and its part of all channel-samples.
    lo, hi : ndarray, shape (n,)
        Edges of each.
    reasons : tuple of str
        Of each, if any.
    """
    high = lost > float(np.median(lost)) + EXCESS
    # Where most is lost, the median would hide it.
    high |= lost > 0.5
    stretches = []
    for first, end in runs_of(high).tolist():
        inside = slice(first, end)
        most = Counter(sorted(filter(None, reasons[inside]))).most_common()
        stretches.append(
            Stretch(
                first,
                end - 1,
                float(lo[inside].min()),
                float(hi[inside].max()),
                float(np.average(lost[inside], weights=(hi - lo)[inside])),
                float(lost[inside] @ share[inside]),
                tuple(reason for reason, _ in most),
            )
        )
    return sorted(stretches, key=lambda stretch: -stretch.share)
