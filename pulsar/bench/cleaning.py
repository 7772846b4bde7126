"""Cases of reading and cleaning: unpacking, moments, normalising, downsampling."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.bench.case import Baseline, Case, Size, Work, multiple_of
from pulsar.cleaning.statistics import piece_samples


def _unpack(size: Size, nbits: int) -> Work:
    from pulsar_kernels.unpack import unpack

    per = 8 // nbits
    row = size.nchans // per
    raw = np.random.default_rng(1).integers(0, 256, (size.nsamps, row), dtype=np.uint8)
    # In pieces that stay in the cache, as files are read.
    step = min(piece_samples(size.nchans), size.nsamps)
    pieces = [raw[at : at + step] for at in range(0, size.nsamps, step)]
    out = np.zeros((size.nchans, step), dtype=np.uint8)
    target = out.reshape(-1)

    def run() -> None:
        for piece in pieces:
            unpack(piece.reshape(-1), len(piece), row, row, 0, nbits, True, 0, target, step, False)

    def plain() -> NDArray[Any]:
        last = raw[:0]
        for piece in pieces:
            last = piece
            if nbits < 8:
                last = np.empty((len(piece), row, per), dtype=np.uint8)
                for k in range(per):
                    last[:, :, k] = (piece >> (k * nbits)) & ((1 << nbits) - 1)
            last = np.ascontiguousarray(last.reshape(len(piece), -1).T)
        return last

    samples = size.nchans * size.nsamps
    return Work(run, lambda: out[:, : len(pieces[-1])], samples, float(raw.nbytes + samples), baseline=Baseline(plain))


def unpack_8bit(size: Size) -> Work:
    """Transpose 8-bit samples."""
    return _unpack(size, 8)


def unpack_2bit(size: Size) -> Work:
    """Unpack and transpose 2-bit samples."""
    return _unpack(size, 2)


def moments(size: Size, dtype: str = "uint8") -> Work:
    """Sums of four powers and, of integers, saturated samples of every channel."""
    from pulsar_kernels.moments import moments

    data = np.random.default_rng(1).integers(0, 256, (size.nchans, size.nsamps), dtype=np.uint8).astype(dtype)
    whole = data.dtype.kind == "u"
    sums, origin = np.zeros((4, size.nchans)), np.full(size.nchans, 128.0)
    count, ntop = np.zeros((2, size.nchans), dtype=np.int64)

    def run() -> None:
        sums[:] = 0.0
        ntop[:] = 0
        moments(data, 255, origin, sums, count, ntop)

    def plain() -> NDArray[Any]:
        x = data.astype(np.float64) - 128.0
        powers = [np.einsum("ij->i", x**k) for k in (1, 2, 3, 4)]
        return np.stack([*powers, np.sum(data >= 255, axis=1) * whole])

    return Work(
        run,
        lambda: np.vstack([sums, ntop]),
        data.size,
        data.nbytes,
        flops=9.0 * data.size,
        # Third powers nearly cancel.
        baseline=Baseline(plain, rtol=1e-5, atol=1e-5 * 128.0**3 * size.nsamps),
    )


def running_medians(size: Size) -> Work:
    """Medians over 31 blocks around each, of every channel."""
    from pulsar_kernels.moments import running_medians

    values = np.random.default_rng(1).normal(size=(size.nsamps, size.nchans))
    at = np.arange(size.nsamps)
    first, last = np.maximum(at - 15, 0), np.minimum(at + 16, size.nsamps)
    out = np.zeros(values.shape)

    def plain() -> NDArray[Any]:
        return np.stack([np.median(values[a:b], axis=0) for a, b in zip(first, last, strict=True)])

    return Work(
        lambda: running_medians(values, first, last, out),
        lambda: out,
        values.size,
        2.0 * values.nbytes,
        baseline=Baseline(plain),
    )


def normalise(size: Size, dtype: str = "uint8") -> Work:
    """From samples to cleaned int8: baseline off, scaled, rounded, clipped."""
    from pulsar_kernels import clean

    rng = np.random.default_rng(1)
    raw = np.clip(rng.normal(96.0, 10.0, (size.nchans, size.nsamps)), 0, 255).astype(np.uint8).astype(dtype)
    base = rng.uniform(94.0, 98.0, size.nchans).astype(np.float32)
    slope = rng.normal(0.0, 1e-5, size.nchans).astype(np.float32)
    scale = rng.uniform(1.2, 1.6, size.nchans).astype(np.float32)
    chans = np.arange(size.nchans)
    none = np.empty(0, dtype=np.float32)
    out = np.zeros(raw.shape, dtype=np.int8)

    def run() -> None:
        clean.normalise(raw, chans, base, slope, scale, 0, none, none, out)

    def plain() -> NDArray[Any]:
        line = base[:, None] + slope[:, None] * np.arange(size.nsamps, dtype=np.float32)
        return np.clip(np.rint((raw - line) * scale[:, None]), -127, 127).astype(np.int8)

    # Ties of the rounding may fall to either side: one step.
    return Work(
        run, lambda: out, raw.size, raw.nbytes + out.nbytes, flops=7.0 * raw.size, baseline=Baseline(plain, atol=1)
    )


def halve(size: Size, dtype: str = "int8") -> Work:
    """Sums of neighbouring cleaned samples, or of such sums, to int16."""
    from pulsar_kernels.dedisperse import halve_int8, halve_int16

    data = np.random.default_rng(1).integers(-127, 128, (size.nchans, size.nsamps), dtype=np.int8).astype(dtype)
    kernel = halve_int8 if data.itemsize == 1 else halve_int16
    out = np.zeros((size.nchans, size.nsamps // 2), dtype=np.int16)

    def plain() -> NDArray[Any]:
        return np.asarray(np.add(data[:, 0::2], data[:, 1::2], dtype=np.int16))

    return Work(
        lambda: kernel(data, out),
        lambda: out,
        data.size,
        data.nbytes + out.nbytes,
        adds=out.size,
        baseline=Baseline(plain),
    )


def requantise(size: Size) -> Work:
    """Sums of two samples back to int8, with the noise of one."""
    from pulsar_kernels import dedisperse

    sums = np.random.default_rng(1).integers(-254, 255, (size.nchans, size.nsamps), dtype=np.int16)
    out = np.zeros(sums.shape, dtype=np.int8)
    scale = float(np.sqrt(0.5))

    def plain() -> NDArray[Any]:
        rounded: NDArray[Any] = np.rint(sums * np.float32(scale))
        return rounded.clip(-128, 127).astype(np.int8)

    return Work(
        lambda: dedisperse.requantise(sums, scale, out),
        lambda: out,
        sums.size,
        sums.nbytes + out.nbytes,
        flops=4.0 * sums.size,
        baseline=Baseline(plain),
    )


CASES = (
    Case(
        "unpack-8bit",
        "uint8 -> uint8",
        "transpose {nchans} channels",
        unpack_8bit,
        Size(1 << 14, 1024),
        Size(15130, 70),
        "adds L1",
        least=Size(1),
    ),
    Case(
        "unpack-2bit",
        "uint8 -> uint8",
        "the same of {nchans} channels",
        unpack_2bit,
        Size(1 << 13, 4096),
        Size(15130, 72),
        "adds L1",
        least=Size(1, 4),
        expects=multiple_of(4, "nchans"),
    ),
    Case(
        "moments",
        "uint8 -> float64",
        "four powers, saturation, {nchans} channels",
        moments,
        Size(1 << 14, 1024),
        Size(333, 5),
        "floats",
        also=("uint16", "float32"),
    ),
    Case(
        "running-medians",
        "float64 -> float64",
        "31 blocks, {nchans} channels",
        running_medians,
        Size(200, 1024),
        Size(40, 5),
        "adds L1",
    ),
    Case(
        "normalise",
        "uint8 -> int8",
        "samples to cleaned int8, {nchans} channels",
        normalise,
        Size(1 << 14, 1024),
        Size(333, 5),
        "floats",
        also=("uint16", "float32"),
    ),
    Case(
        "halve",
        "int8 -> int16",
        "sums of two samples",
        halve,
        Size(1 << 14, 1024),
        Size(334, 5),
        "adds L1",
        also=("int16",),
        expects=multiple_of(2),
    ),
    Case(
        "requantise",
        "int16 -> int8",
        "sums of two back to int8",
        requantise,
        Size(1 << 13, 1024),
        Size(333, 5),
        "floats",
    ),
)
