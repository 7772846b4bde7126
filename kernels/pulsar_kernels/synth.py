"""Synthetic observations: Gaussian noise that is a pure function of its place, pulses, and quantising.

Noise is counter-based: sample `i` of a channel is a function of the channel's key and of `i` alone, so a
stretch comes out the same whichever way the observation is cut into pieces or shared among threads. The
64-bit mixer is that of SplitMix64 (Steele, Lea & Flood 2014) over a Weyl sequence; bits become normal deviates
by the ziggurat of Marsaglia & Tsang (2000) in the form of Doornik (2005), exact in the tails.
"""

import math
from typing import Any

import numpy as np

from pulsar_kernels._jit import kernel
from pulsar_kernels.arrays import Array, Bools, Float32s, Floats, Ints, Uint64s

_LAYERS = 256
_R = 3.6541528853610088  # right edge of the base layer, and
_AREA = 0.00492867323399  # the area of each layer, for 256 layers (Marsaglia & Tsang 2000)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_LOW8 = np.uint64(255)
_TWO_M53 = 2.0**-53
_TWO_M52 = 2.0**-52


def _ziggurat() -> tuple[Floats, Floats]:
    edges = np.zeros(_LAYERS + 1)
    edges[0] = _AREA / math.exp(-0.5 * _R * _R)
    edges[1] = _R
    for i in range(2, _LAYERS):
        edges[i] = math.sqrt(-2.0 * math.log(_AREA / edges[i - 1] + math.exp(-0.5 * edges[i - 1] ** 2)))
    return edges, edges[1:] / edges[:-1]


_EDGE, _RATIO = _ziggurat()


@kernel(inline=True)
def _mix(z: Any) -> Any:
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


@kernel(inline=True)
def _uniform(bits: Any) -> Any:
    """(0, 1) from 64 bits."""
    return (np.float64(bits >> _S11) + 0.5) * _TWO_M53


@kernel(inline=True)
def _normal_slow(h: Any) -> Any:
    """The deviate of the bits `h` that fell outside the rectangle of their layer (1.2 % do)."""
    while True:
        i = np.int64(h & _LOW8)
        u = np.float64(np.int64(h) >> 11) * _TWO_M52
        if abs(u) < _RATIO[i]:
            return u * _EDGE[i]
        if i == 0:
            while True:
                h = _mix(h + _GOLDEN)
                x = -math.log(_uniform(h)) / _R
                h = _mix(h + _GOLDEN)
                if -2.0 * math.log(_uniform(h)) >= x * x:
                    return _R + x if u > 0 else -_R - x
        x = u * _EDGE[i]
        f0 = math.exp(-0.5 * (_EDGE[i] * _EDGE[i] - x * x))
        f1 = math.exp(-0.5 * (_EDGE[i + 1] * _EDGE[i + 1] - x * x))
        h = _mix(h + _GOLDEN)
        if f1 + _uniform(h) * (f0 - f1) < 1.0:
            return x
        h = _mix(h + _GOLDEN)


@kernel()
def normals(keys: Uint64s, start: int, out: Float32s) -> None:
    """Unit normal deviates number `start`, `start` + 1, … of each stream.

    Parameters
    ----------
    keys : ndarray of uint64, shape (nchans,)
        One for each stream; well mixed numbers (`stream_keys`).
    start : int
        Number of the first deviate, at least 0.
    out : ndarray of float32, shape (nchans, nsamps)
        Overwritten.
    """
    nchans, nsamps = out.shape
    for c in range(nchans):
        row = out[c]
        first = keys[c] + np.uint64(start) * _GOLDEN
        # Without a branch or a call this loop vectorises; what misses its rectangle is marked and done after.
        for j in range(nsamps):
            h = _mix(first + np.uint64(j) * _GOLDEN)
            i = np.int64(h & _LOW8)
            u = np.float64(np.int64(h) >> 11) * _TWO_M52
            row[j] = np.float32(u * _EDGE[i]) if abs(u) < _RATIO[i] else np.float32(np.inf)
        for j in range(nsamps):
            if row[j] == np.inf:
                row[j] = np.float32(_normal_slow(_mix(first + np.uint64(j) * _GOLDEN)))


def stream_keys(seed: int, stream: int, channels: Ints) -> Uint64s:
    """Keys of the channels of one stream: shape (nchans,), from the seed, the stream and the channel number."""
    with np.errstate(over="ignore"):
        base = np.full(channels.shape, seed & 0xFFFFFFFFFFFFFFFF, np.uint64)
        keys = _mix_array(base + _GOLDEN)
        keys = _mix_array(keys ^ (np.uint64(stream) * _MIX2 + _GOLDEN))
        return _mix_array(keys ^ (channels.astype(np.uint64) * _GOLDEN + _MIX1))


def _mix_array(z: Uint64s) -> Uint64s:
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


def uniforms(key: int, numbers: Ints) -> Floats:
    """Uniform deviates in (0, 1), a pure function of `key` and of each of `numbers`."""
    with np.errstate(over="ignore"):
        bits = _mix_array(np.uint64(key) + numbers.astype(np.uint64) * _GOLDEN)
    return ((bits >> _S11).astype(np.float64) + 0.5) * _TWO_M53


@kernel(inline=True)
def _phase(t: float, spin: Floats) -> float:
    """Rotations since mid-observation at the time `t` [s] of arrival at infinite frequency plus a constant."""
    u = t
    if spin[3] > 0.0:
        w = 2.0 * math.pi / spin[4]
        for _ in range(6):  # t = u + x sin(w (u - t0)): contracts by the orbital velocity in units of c
            u = t - spin[3] * math.sin(w * (u - spin[5]))
    d = u - spin[2]
    turns: float = spin[6] + d * (spin[0] + 0.5 * d * spin[1])
    return turns


@kernel()
def phases(times: Floats, spin: Floats, out: Floats) -> None:
    """Rotational phase [turns] at `times` [s]; for `spin` see `add_periodic`."""
    for i in range(times.size):
        out[i] = _phase(times[i], spin)


#: Samples over which the phase is a parabola; segments lie on multiples of it, whatever the call.
SEGMENT = 1024


@kernel()
def add_periodic(
    data: Float32s,
    start: int,
    tsamp: float,
    delays: Floats,
    spin: Floats,
    offsets: Floats,
    cumulative: Floats,
    rows: Ints,
    on: Floats,
    amps: Floats,
    nulls: Bools,
    first_null: int,
) -> None:
    """Add a pulsar, its mean taken off, to each channel: every sample gets the exact mean of the profile over it.

    With C the integral of the profile over phase, a sample from phase a to b gets (C(b) - C(a)) / (b - a).

    Parameters
    ----------
    data : ndarray of float32, shape (nchans, nsamps)
        Added to.
    start : int
        Sample of the observation at which `data` starts.
    tsamp : float
        [s]
    delays : ndarray, shape (nchans,)
        Dispersion delay of each channel [s].
    spin : ndarray, shape (8,)
        freq [Hz], fdot [Hz/s], epoch [s], a sin i / c [s] (0: no orbit), orbital period [s], time of the ascending
        node [s], phase at the epoch [turns], fraction of the rotations that have a pulse.
    offsets : ndarray, shape (nchans,)
        Added to the phase of each channel [turns], so that the pulse begins at phase 0.
    cumulative : ndarray, shape (ntemplates, nbins + 1)
        Integral of the profile (mean 1) from phase 0, less the phase: 0 at both ends.
    rows : ndarray of int64, shape (nchans,)
        Template of each channel.
    on : ndarray, shape (nchans,)
        The profile is 0 from this phase to 1.
    amps : ndarray, shape (nchans,)
        Mean of the pulsar's signal.
    nulls : ndarray of bool, shape (npulses,)
        True for a rotation without a pulse; empty: none.
    first_null : int
        Rotation of ``nulls[0]``.
    """
    # Many arguments: columns of a table, an array each, and what is filled.
    nchans, nsamps = data.shape
    nbins = cumulative.shape[1] - 1
    half = SEGMENT // 2
    nulling = nulls.size > 0
    for c in range(nchans):
        row = data[c]
        table = cumulative[rows[c]]
        amp = amps[c]
        last = on[c]
        if amp == 0.0:
            continue
        mean = np.float32(amp * spin[7])
        for j in range(nsamps):
            row[j] -= mean
        segment = (start // SEGMENT) * SEGMENT
        while segment < start + nsamps:
            t = segment * tsamp - delays[c]
            p0 = _phase(t, spin) + offsets[c]
            turn = math.floor(p0)
            p0 -= turn
            p1 = _phase(t + half * tsamp, spin) + offsets[c] - turn
            p2 = _phase(t + SEGMENT * tsamp, spin) + offsets[c] - turn
            a2 = 0.5 * (p2 - 2.0 * p1 + p0) / (half * half)
            a1 = (p2 - p0) / SEGMENT - a2 * SEGMENT
            step = max(abs(a1), abs(a1 + 2.0 * a2 * SEGMENT))
            lo = max(segment, start) - segment
            hi = min(segment + SEGMENT, start + nsamps) - segment
            at = segment - start
            j = lo
            while j < hi:
                a = p0 + j * (a1 + a2 * j)
                fa = a - math.floor(a)
                if fa >= last:
                    skip = int((1.0 - fa) / step)
                    if skip > 0:
                        j += skip
                        continue
                x = fa * nbins
                k = min(int(x), nbins - 1)
                ca = table[k] + (x - k) * (table[k + 1] - table[k])
                # Through the pulse: the end of one sample is the beginning of the next.
                while j < hi:
                    b = p0 + (j + 1) * (a1 + a2 * (j + 1))
                    nb = math.floor(b)
                    fb = b - nb
                    x = fb * nbins
                    k = min(int(x), nbins - 1)
                    cb = table[k] + (x - k) * (table[k + 1] - table[k])
                    value = amp * ((cb - ca) / (b - a) + 1.0)
                    if nulling:
                        # A sample that runs into the next rotation belongs to that one: pulses begin at phase 0.
                        number = int(turn + nb) - first_null
                        if 0 <= number < nulls.size and nulls[number]:
                            value = 0.0
                    row[at + j] += np.float32(value)
                    j += 1
                    a = b
                    ca = cb
                    if fb >= last:
                        break
            segment += SEGMENT


@kernel()
def add_burst(
    data: Float32s, start: int, tsamp: float, begins: Floats, span: float, cumulative: Floats, rows: Ints, amps: Floats
) -> None:
    """Add one pulse to each channel: every sample gets the exact mean of the template over it.

    Parameters
    ----------
    data : ndarray of float32, shape (nchans, nsamps)
        Added to.
    start : int
        Sample of the observation at which `data` starts.
    tsamp : float
        [s]
    begins : ndarray, shape (nchans,)
        Time at which the template begins in each channel [s].
    span : float
        Length of the template [s].
    cumulative : ndarray, shape (ntemplates, nbins + 1)
        Integral of the template (mean 1) over its span, from 0 to 1.
    rows : ndarray of int64, shape (nchans,)
        Template of each channel.
    amps : ndarray, shape (nchans,)
        Mean over the span.
    """
    nchans, nsamps = data.shape
    nbins = cumulative.shape[1] - 1
    scale = nbins / span
    for c in range(nchans):
        row = data[c]
        table = cumulative[rows[c]]
        lo = max(math.floor(begins[c] / tsamp) - start, 0)
        hi = min(math.ceil((begins[c] + span) / tsamp) - start, nsamps)
        for j in range(lo, hi):
            a = min(max(((start + j) * tsamp - begins[c]) * scale, 0.0), nbins)
            b = min(max(((start + j + 1) * tsamp - begins[c]) * scale, 0.0), nbins)
            k = min(np.int64(a), nbins - 1)
            ca = table[k] + (a - k) * (table[k + 1] - table[k])
            k = min(np.int64(b), nbins - 1)
            cb = table[k] + (b - k) * (table[k + 1] - table[k])
            row[j] += np.float32(amps[c] * (cb - ca) * span / tsamp)


@kernel(inline=True)
def _codes(
    data: Float32s, common: Float32s, means: Float32s, sigmas: Float32s, high: np.float32, mask: int, out: Array
) -> None:
    """Samples rounded, and held within 0 ... `high`; of their bits those in `mask`."""
    nchans, nsamps = data.shape
    for c in range(nchans):
        row = data[c]
        codes = out[c]
        mean = means[c] + np.float32(0.5)
        sigma = sigmas[c]
        for j in range(nsamps):
            # The half is there for the cut to an integer, which goes down: below 0 is cut to 0 by the clip.
            v = mean + sigma * (row[j] + common[j])
            codes[j] = np.int32(min(max(v, np.float32(0.0)), high)) & mask


@kernel()
def quantise(data: Float32s, common: Float32s, means: Float32s, sigmas: Float32s, top: int, out: Array) -> None:
    """``out = round(mean + sigma (data + common))``, clipped to 0 … `top`.

    Parameters
    ----------
    data : ndarray of float32, shape (nchans, nsamps)
    common : ndarray of float32, shape (nsamps,)
        Added to every channel.
    means, sigmas : ndarray of float32, shape (nchans,)
    top : int
        Highest code.
    out : ndarray of uint8 or uint16, shape (nchans, nsamps)
    """
    _codes(data, common, means, sigmas, np.float32(top), -1, out)


@kernel()
def quantise_wrapped(data: Float32s, common: Float32s, means: Float32s, sigmas: Float32s, top: int, out: Array) -> None:
    """As `quantise`, of a recorder that keeps the low bits of a wider number: above `top` it begins at 0 again.

    `top` is one less than a power of two; powers are never negative: below 0 is 0. `out` may be int16, too.
    """
    _codes(data, common, means, sigmas, np.float32(2.0**30), top, out)


@kernel()
def rescale(data: Float32s, common: Float32s, means: Float32s, sigmas: Float32s, out: Float32s) -> None:
    """As `quantise`, for floats: neither rounded nor clipped."""
    nchans, nsamps = data.shape
    for c in range(nchans):
        row = data[c]
        values = out[c]
        mean = means[c]
        sigma = sigmas[c]
        for j in range(nsamps):
            values[j] = mean + sigma * (row[j] + common[j])


@kernel()
def interleave(rows: Array, out: Array) -> None:
    """``out[:] = rows.T`` in squares that stay in the level-1 cache.

    Parameters
    ----------
    rows : ndarray, shape (nchans, nsamps), rows contiguous
    out : ndarray, shape (nsamps, nchans), rows contiguous, of the same type
    """
    nchans, nsamps = rows.shape
    for c0 in range(0, nchans, 64):
        c1 = min(c0 + 64, nchans)
        for j0 in range(0, nsamps, 64):
            for j in range(j0, min(j0 + 64, nsamps)):
                for c in range(c0, c1):
                    out[j, c] = rows[c, j]


@kernel()
def add_dithered(codes: Array, signal: Float32s, scales: Float32s, keys: Uint64s, start: int, top: int) -> None:
    """Add a signal to integer samples: rounded up or down at random, so that its mean is kept to any depth.

    Parameters
    ----------
    codes : ndarray of uint8 or uint16, shape (nchans, nsamps)
        Changed in place, clipped to 0 … `top`.
    signal : ndarray of float32, shape (nchans, nsamps)
        In units of the noise.
    scales : ndarray of float32, shape (2, nchans)
        Levels that one unit of a negative and of a positive signal makes; 0: the channel is left alone.
    keys : ndarray of uint64, shape (nchans,)
        Streams of the random numbers.
    start : int
        Number of the first sample in its stream.
    top : int
        Highest code.
    """
    nchans, nsamps = codes.shape
    for c in range(nchans):
        down = np.float64(scales[0, c])
        up = np.float64(scales[1, c])
        if down == 0.0 and up == 0.0:
            continue
        row = codes[c]
        first = keys[c] + np.uint64(start) * _GOLDEN
        for j in range(nsamps):
            u = np.float64(_mix(first + np.uint64(j) * _GOLDEN) >> _S11) * _TWO_M53
            x = np.float64(signal[c, j])
            v = np.floor(np.float64(row[j]) + x * (up if x > 0.0 else down) + u)
            row[j] = np.int32(min(max(v, 0.0), np.float64(top)))
