"""Boxcars and Gaussians of all widths over one series: what stands out, found coarsely and measured exactly.

Four steps. Moments of cells of 32 samples give baseline, noise, and how much wide sums scatter more than white noise
would. A scan in vectors looks for boxcars of 1 to 8 samples, and of 5 to 8 sums of 2, 4, 8 ... samples, above a
threshold low enough that no pulse falls between two of them. Around each one all widths and places are tried at full
resolution, and the best becomes the pulse; so the coarse ladder costs no sensitivity.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from pulsar_kernels._jit import kernel, vector

#: Samples of a cell.
CELL = 32
#: Levels of the scan that are made from samples; the others from cells.
FINE_LEVELS = 5
#: Noise of a whitened sample in the integers of the scan.
UNIT = 256.0

_LANES = 32
_CHUNK = 4096
_HALO = 256
# Cells whose variance is this far from the mean of the others do not count; chi-square of 31 degrees of freedom
# scatters by sqrt(2/31) = 0.254.
_CLIP = 2.5 * 0.254
# What the clipping takes off the mean (benchmarks/calibrate_pulse_trials.py prints it).
CLIP_BIAS = 0.9785
# Mean of min(z^2, 2.5^2) of normal z.
WINSOR = 0.9776
_WINSOR_AT = 2.5
# Cells of a group that is looked at for noise of its own, and from where on it counts.
_GROUP = 32
_RAISED = 1.3
# The noise of a stretch is never taken to be below this fraction of that of the whole series.
_FLOOR = 0.3
_MANY_ROUNDS = 64


# ----------------------------------------------------------------------------------------------------------------------
# Baseline and noise


@kernel(reorder=True)
def _cell(x: NDArray[Any], mean: NDArray[np.float32], var: NDArray[np.float32], c: int) -> None:
    """Mean and variance of a whole cell."""
    total = np.float32(0.0)
    origin = np.float32(x[0])
    for i in range(CELL):
        total += np.float32(x[i]) - origin
    middle = total * np.float32(1.0 / CELL)
    squares = np.float32(0.0)
    for i in range(CELL):
        d = np.float32(x[i]) - origin - middle
        squares += d * d
    mean[c] = origin + middle
    var[c] = squares * np.float32(1.0 / (CELL - 1))


@kernel()
def _some(
    x: NDArray[Any], lo: int, hi: int, mean: NDArray[np.float32], var: NDArray[np.float32], count: NDArray[np.float32]
) -> None:
    """The same of what is finite of any samples of one cell."""
    total = 0.0
    origin = 0.0
    n = 0
    c = lo // CELL
    for i in range(lo, hi):
        v = np.float64(x[i])
        if np.isfinite(v):
            if n == 0:
                origin = v
            total += v - origin
            n += 1
    count[c] = n
    mean[c] = 0.0
    var[c] = 0.0
    if n == 0:
        return
    middle = total / n
    squares = 0.0
    for i in range(lo, hi):
        v = np.float64(x[i])
        if np.isfinite(v):
            squares += (v - origin - middle) ** 2
    mean[c] = np.float32(origin + middle)
    var[c] = np.float32(squares / max(n - 1, 1))


@kernel()
def cell_moments(
    series: NDArray[Any], mean: NDArray[np.float32], var: NDArray[np.float32], count: NDArray[np.float32]
) -> int:
    """Mean, variance about it, and number of the finite samples of every cell of 32.

    Parameters
    ----------
    series : ndarray of int16 or float32, shape (n,)
    mean, var, count : ndarray of float32, shape (ceil(n / 32),)

    Returns
    -------
    int
        Cells that are constant, or not all finite.
    """
    n = series.shape[0]
    whole = n // CELL
    odd = 0
    for c in range(whole):
        _cell(series[c * CELL : (c + 1) * CELL], mean, var, c)
        count[c] = CELL
    for c in range(whole):
        if not (0.0 < var[c] < np.inf):
            odd += 1
            _some(series, c * CELL, (c + 1) * CELL, mean, var, count)
    if n > whole * CELL:
        _some(series, whole * CELL, n, mean, var, count)
        if not var[whole] > 0.0:
            odd += 1
    return odd


@kernel()
def constant_runs(
    series: NDArray[Any], mean: NDArray[np.float32], var: NDArray[np.float32], count: NDArray[np.float32], most: int
) -> NDArray[np.int64]:
    """Stretches of one and the same value, or of none, that fill a cell or more; their part of cells is undone.

    Parameters
    ----------
    series : ndarray of int16 or float32, shape (n,)
    mean, var, count : ndarray of float32, shape (ncells,)
        From `cell_moments`; those of cells that a run enters are made anew from the rest of their samples.
    most : int
        Cells that are constant or not all finite.

    Returns
    -------
    ndarray of int64, shape (nruns, 2)
        First sample and end of each, ascending.
    """
    n = series.shape[0]
    ncells = mean.shape[0]
    runs = np.empty((most, 2), np.int64)
    nruns = 0
    for c in range(ncells):
        # A cell of a few finite samples is left to the mask of samples.
        if var[c] > 0.0 or (nruns > 0 and runs[nruns - 1, 1] >= min((c + 1) * CELL, n)):
            continue
        if c == ncells - 1 and count[c] < 8 and n - c * CELL < 8 and count[c] > 0 and nruns == 0:
            continue
        lo = c * CELL
        hi = min(lo + CELL, n)
        value = np.float64(series[lo])
        for i in range(lo, hi):
            if np.isfinite(np.float64(series[i])):
                value = np.float64(series[i])
                break
        while lo > 0 and (np.float64(series[lo - 1]) == value or not np.isfinite(np.float64(series[lo - 1]))):
            lo -= 1
        while hi < n and (np.float64(series[hi]) == value or not np.isfinite(np.float64(series[hi]))):
            hi += 1
        if nruns > 0:
            lo = max(lo, runs[nruns - 1, 1])
        runs[nruns, 0] = lo
        runs[nruns, 1] = hi
        nruns += 1
        # The cells at both ends keep what is outside.
        first = lo // CELL
        if first * CELL < lo:
            _some(series, first * CELL, lo, mean, var, count)
        last = (hi - 1) // CELL
        for k in range(first, last + 1):
            if k * CELL >= lo and min((k + 1) * CELL, n) <= hi:
                count[k] = 0.0
                var[k] = 0.0
        if last * CELL < hi < min((last + 1) * CELL, n):
            _some(series, hi, min((last + 1) * CELL, n), mean, var, count)
    return runs[:nruns]


@kernel()
def _clipped_level(x: NDArray[np.float32], count: NDArray[np.float32], work: NDArray[np.float64]) -> float:
    """Mean of cells that are full, without those far from the median of some of them."""
    n = x.shape[0]
    step = max(n // work.shape[0], 1)
    some = 0
    for i in range(0, n, step):
        if count[i] >= 8.0 and some < work.shape[0]:
            work[some] = x[i]
            some += 1
    if some == 0:
        for i in range(n):
            if count[i] >= 8.0 and some < work.shape[0]:
                work[some] = x[i]
                some += 1
        if some == 0:
            return np.nan
    part = np.sort(work[:some])
    middle = 0.5 * (part[(some - 1) // 2] + part[some // 2])
    spread = np.sort(np.abs(part - middle))
    width = 3.0 * 1.4826 * spread[some // 2]
    for _ in range(2):
        total = 0.0
        squares = 0.0
        kept = 0
        for i in range(n):
            d = np.float64(x[i]) - middle
            if abs(d) <= width and count[i] >= 8.0:
                total += d
                squares += d * d
                kept += 1
        if kept == 0:
            break
        middle += total / kept
        # Clipped at 3 sigma, a normal variable has 0.9733 of its variance.
        width = 3.0 * np.sqrt(max(squares / kept - (total / kept) ** 2, 0.0) / 0.9733)
    return float(middle)


@kernel()
def _clipped_variance(var: NDArray[np.float32], count: NDArray[np.float32], work: NDArray[np.float64]) -> float:
    """Variance of a sample from those of cells, without cells that hold something else."""
    n = var.shape[0]
    step = max(n // work.shape[0], 1)
    some = 0
    for i in range(0, n, step):
        if count[i] >= 8.0 and some < work.shape[0]:
            work[some] = var[i]
            some += 1
    if some < 8:
        some = 0
        for i in range(n):
            if count[i] >= 8.0 and some < work.shape[0]:
                work[some] = var[i]
                some += 1
        if some == 0:
            return np.nan
    part = np.sort(work[:some])
    # The median of chi-square of 31 degrees of freedom is 0.9786 of its mean, and so is the clipped mean.
    middle = 0.5 * (part[(some - 1) // 2] + part[some // 2])
    for _ in range(4):
        lo = middle / CLIP_BIAS * (1.0 - _CLIP)
        hi = middle / CLIP_BIAS * (1.0 + _CLIP)
        total = 0.0
        kept = 0
        for i in range(n):
            good = (var[i] >= lo) & (var[i] <= hi) & (count[i] >= 8.0)
            total += np.float64(var[i]) if good else 0.0
            kept += 1 if good else 0
        if kept == 0:
            break
        middle = total / kept
    return float(middle / CLIP_BIAS)


@kernel()
def _fill(knots: NDArray[np.float64]) -> bool:
    """Give knots that are not known the value of the next one that is; False if none is."""
    n = knots.shape[0]
    for k in range(1, n):
        if np.isnan(knots[k]):
            knots[k] = knots[k - 1]
    for k in range(n - 2, -1, -1):
        if np.isnan(knots[k]):
            knots[k] = knots[k + 1]
    return not np.isnan(knots[0])


@kernel()
def _lines(knots: NDArray[np.float64], extend: bool, out: NDArray[np.float32]) -> None:
    """Straight lines between knots at the middles of equal stretches; beyond the ends the line goes on, or not."""
    n = out.shape[0]
    m = knots.shape[0]
    if m == 1:
        out[:] = np.float32(knots[0])
        return
    for b in range(m - 1):
        c0 = 0.5 * (b * n // m + (b + 1) * n // m - 1)
        c1 = 0.5 * ((b + 1) * n // m + (b + 2) * n // m - 1)
        slope = (knots[b + 1] - knots[b]) / (c1 - c0)
        lo = 0 if b == 0 else int(np.ceil(c0))
        hi = n if b == m - 2 else int(np.ceil(c1))
        for i in range(lo, hi):
            t = i - c0
            if not extend:
                t = min(max(t, 0.0), c1 - c0)
            out[i] = np.float32(knots[b] + slope * t)


@kernel()
def baseline_and_noise(
    mean: NDArray[np.float32],
    var: NDArray[np.float32],
    count: NDArray[np.float32],
    nbase: int,
    nnoise: int,
    base: NDArray[np.float32],
    scale: NDArray[np.float32],
) -> bool:
    """Baseline and one over the noise of a sample, for every cell.

    Parameters
    ----------
    mean, var, count : ndarray of float32, shape (ncells,)
    nbase, nnoise : int
        Stretches whose clipped means are joined by straight lines.
    base, scale : ndarray of float32, shape (ncells,)
        `scale` is 0 where a cell has no samples.

    Returns
    -------
    bool
        False if there is no noise at all.
    """
    n = mean.shape[0]
    work = np.empty(96, np.float64)
    knots = np.empty(nbase, np.float64)
    for b in range(nbase):
        lo, hi = b * n // nbase, (b + 1) * n // nbase
        knots[b] = _clipped_level(mean[lo:hi], count[lo:hi], work)
    if not _fill(knots):
        return False
    _lines(knots, True, base)
    knots = np.empty(nnoise, np.float64)
    for b in range(nnoise):
        lo, hi = b * n // nnoise, (b + 1) * n // nnoise
        knots[b] = _clipped_variance(var[lo:hi], count[lo:hi], work)
    if not _fill(knots):
        return False
    floor = _FLOOR**2 * np.median(knots)
    for b in range(nnoise):
        knots[b] = max(knots[b], floor)
    if not knots[0] > 0.0:
        return False
    _lines(knots, False, scale)
    _raise_groups(var, count, scale)
    for c in range(n):
        scale[c] = np.float32(1.0 / np.sqrt(scale[c])) if count[c] > 0.0 else np.float32(0.0)
    return True


@kernel()
def _raise_groups(var: NDArray[np.float32], count: NDArray[np.float32], level: NDArray[np.float32]) -> None:
    """Where most cells of a group are noisier than the rest, their own median is the level, there and next to it."""
    n = var.shape[0]
    ngroups = -(-n // _GROUP)
    raised = np.zeros(ngroups, np.float32)
    found = False
    for g in range(ngroups):
        lo, hi = g * _GROUP, min((g + 1) * _GROUP, n)
        above = 0
        alive = 0
        for c in range(lo, hi):
            above += 1 if (var[c] > np.float32(_RAISED) * level[c]) & (count[c] >= 8.0) else 0
            alive += 1 if count[c] >= 8.0 else 0
        if above > 8 and 2 * above > alive:
            part = np.empty(alive, np.float32)
            k = 0
            for c in range(lo, hi):
                if count[c] >= 8.0:
                    part[k] = var[c]
                    k += 1
            raised[g] = np.sort(part)[alive // 2]
            found = True
    if not found:
        return
    for g in range(ngroups):
        top = raised[g]
        if g > 0:
            top = max(top, raised[g - 1])
        if g < ngroups - 1:
            top = max(top, raised[g + 1])
        if top > 0.0:
            for c in range(g * _GROUP, min((g + 1) * _GROUP, n)):
                level[c] = max(level[c], top)


@kernel(reorder=True)
def _lower_square(z: NDArray[np.float32], n: int, limit: np.float32) -> tuple[float, int]:
    """Sum of min(z^2, limit^2) over negative z, and their number (pulses are positive)."""
    total = np.float32(0.0)
    sums = 0.0
    count = np.int32(0)
    for lo in range(0, n, 1024):
        total = np.float32(0.0)
        for i in range(lo, min(lo + 1024, n)):
            v = max(z[i], -limit)
            low = v < np.float32(0.0)
            total += v * v if low else np.float32(0.0)
            count += np.int32(1) if low else np.int32(0)
        sums += np.float64(total)
    return sums, int(count)


@kernel(inline=True)
def _excess(z: NDArray[np.float32], n: int) -> tuple[float, int]:
    """Standard deviation from the negative half, without the few far out, and the number of values."""
    r = 1.0
    count = 0
    for _ in range(3):
        total, count = _lower_square(z, n, np.float32(_WINSOR_AT * r))
        if count == 0:
            return 1.0, 0
        before = r
        r = np.sqrt(total / count / WINSOR)
        if abs(r - before) < 0.03:
            break
    return r, count


@kernel()
def scatter_of_sums(
    series: NDArray[Any],
    mean: NDArray[np.float32],
    count: NDArray[np.float32],
    base: NDArray[np.float32],
    scale: NDArray[np.float32],
    cells: NDArray[np.float32],
    excess: NDArray[np.float64],
) -> None:
    """How much more than in white noise sums of 1, 2, 4 ... samples scatter (1 where that is not significant).

    Parameters
    ----------
    series : ndarray of int16 or float32, shape (n,)
    mean, count, base, scale : ndarray of float32, shape (ncells,)
    cells : ndarray of float32, shape (>= ncells + 64,)
        Filled with the whitened sums of cells, in units of the noise of a sample, and zeros.
    excess : ndarray of float64, shape (nlevels,)
        Of sums of 2^k samples.
    """
    ncells = mean.shape[0]
    for c in range(ncells):
        cells[c] = (mean[c] - base[c]) * scale[c] * count[c]
    cells[ncells:] = np.float32(0.0)
    nlevels = excess.shape[0]
    excess[0] = 1.0
    # Sums of 2 to 16 samples from some cells, evenly spread.
    step = max(ncells // 2048, 1)
    room = -(-ncells // step)
    pairs = np.empty(room * CELL, np.float32)
    k = 0
    for c in range(0, ncells - 1, step):
        if count[c] == CELL and scale[c] > 0.0:
            for i in range(CELL):
                pairs[k + i] = (np.float32(series[c * CELL + i]) - base[c]) * scale[c]
            k += CELL
    for level in range(1, min(FINE_LEVELS, nlevels)):
        k //= 2
        for i in range(k):
            pairs[i] = (pairs[2 * i] + pairs[2 * i + 1]) * np.float32(np.sqrt(0.5))
        r, number = _excess(pairs, k)
        excess[level] = r if number >= 16 and r > 1.0 + 2.0 / np.sqrt(2.0 * number) else 1.0
    if nlevels <= FINE_LEVELS:
        return
    sums = np.empty(ncells, np.float32)
    k = 0
    for c in range(ncells):
        if count[c] == CELL:
            sums[k] = cells[c] * np.float32(np.sqrt(1.0 / CELL))
            k += 1
    for level in range(FINE_LEVELS, nlevels):
        if level > FINE_LEVELS:
            k //= 2
            for i in range(k):
                sums[i] = (sums[2 * i] + sums[2 * i + 1]) * np.float32(np.sqrt(0.5))
        r, number = _excess(sums, k)
        if number < 8:
            excess[level] = excess[level - 1]
        else:
            excess[level] = r if r > 1.0 + 2.0 / np.sqrt(2.0 * number) else 1.0


@kernel(inline=True)
def _excess_at(width: float, excess: NDArray[np.float64]) -> float:
    """Between sums of 2^k samples, by straight lines in the logarithm of the width."""
    k = 0
    w = width
    while w >= 2.0 and k < excess.shape[0] - 1:
        w *= 0.5
        k += 1
    if k == excess.shape[0] - 1:
        return float(excess[k])
    # w - 1 for log2 w, which is close enough.
    return float(excess[k] + (excess[k + 1] - excess[k]) * min(max(w - 1.0, 0.0), 1.0))


# ----------------------------------------------------------------------------------------------------------------------
# The scan


def _whiten_code(builder: Any, args: Any) -> Any:
    i16, i32 = ir.IntType(16), ir.IntType(32)
    element = args[0].type.pointee
    vec = ir.VectorType(ir.FloatType(), _LANES)

    def wide(scalar: Any) -> Any:
        one = builder.insert_element(ir.Constant(vec, ir.Undefined), scalar, i32(0))
        return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(i32, _LANES), [i32(0)] * _LANES))

    def constant(value: float) -> Any:
        return ir.Constant(vec, [value] * _LANES)

    def call(name: str, *values: Any) -> Any:
        full = f"llvm.{name}.v{_LANES}f32"
        kind = ir.FunctionType(vec, [vec] * len(values))
        function = builder.module.globals.get(full) or ir.Function(builder.module, kind, full)
        return builder.call(function, values)

    place = builder.gep(args[0], [args[1]])
    source = ir.VectorType(element, _LANES)
    x = builder.load(builder.bitcast(place, source.as_pointer()), align=2 if element == i16 else 4)
    if element == i16:
        x = builder.sitofp(builder.sext(x, ir.VectorType(i32, _LANES)), vec)
    y = builder.fmul(builder.fsub(x, wide(args[2])), wide(args[3]))
    if element != i16:
        # What is not finite is nothing.
        good = builder.fcmp_ordered("<=", call("fabs", y), constant(1e38))
        y = builder.select(good, y, constant(0.0))
    y = call("maxnum", call("minnum", call("rint", y), constant(32767.0)), constant(-32767.0))
    out = builder.trunc(builder.fptosi(y, ir.VectorType(i32, _LANES)), ir.VectorType(i16, _LANES))
    builder.store(out, builder.bitcast(builder.gep(args[4], [args[5]]), out.type.as_pointer()), align=2)


@vector(_whiten_code)
def _whiten_32(x: NDArray[Any], at: int, base: np.float32, scale: np.float32, out: NDArray[np.int16], to: int) -> None:
    """Write 32 samples minus `base`, times `scale`, rounded and held within int16; what is not finite becomes 0."""
    y = (x[at : at + _LANES].astype(np.float32) - base) * scale
    y[~(np.abs(y) <= 1e38)] = 0.0
    out[to : to + _LANES] = np.clip(np.rint(y), -32767.0, 32767.0)


def _saturated(builder: Any, a: Any, b: Any) -> Any:
    name = f"llvm.sadd.sat.v{_LANES}i16"
    kind = ir.FunctionType(a.type, [a.type, a.type])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, [a, b])


def _pairs_code(builder: Any, args: Any, form: int) -> Any:
    i16, i32 = ir.IntType(16), ir.IntType(32)
    vec = ir.VectorType(i16, _LANES)
    both = []
    for half in range(2):
        place = builder.gep(args[1], [builder.add(args[2], ir.IntType(64)(half * _LANES))])
        both.append(builder.load(builder.bitcast(place, vec.as_pointer()), align=2))
    index = ir.VectorType(i32, _LANES)
    even = builder.shuffle_vector(*both, ir.Constant(index, [i32(2 * k) for k in range(_LANES)]))
    odd = builder.shuffle_vector(*both, ir.Constant(index, [i32(2 * k + 1) for k in range(_LANES)]))
    total = _saturated(builder, even, odd)
    if form:
        total = _saturated(builder, total, ir.Constant(vec, [i16(1)] * _LANES))
        total = builder.ashr(total, ir.Constant(vec, [i16(1)] * _LANES))
    builder.store(total, builder.bitcast(builder.gep(args[3], [args[4]]), vec.as_pointer()), align=2)


@vector(_pairs_code, literal=0)
def _pairs_32(form: int, x: NDArray[np.int16], at: int, out: NDArray[np.int16], to: int) -> None:
    """Write the sums of 32 pairs from ``x[at:]``, halved (rounded up) if `form` is 1; saturated."""
    pair = x[at : at + 2 * _LANES].astype(np.int64)
    total = np.clip(pair[0::2] + pair[1::2], -32768, 32767)
    if form:
        total = np.minimum(total + 1, 32767) >> 1
    out[to : to + _LANES] = total


def _boxes_code(builder: Any, args: Any, form: int) -> Any:
    i16, i32, i64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
    vec = ir.VectorType(i16, _LANES)

    def wide(scalar: Any) -> Any:
        one = builder.insert_element(ir.Constant(vec, ir.Undefined), builder.trunc(scalar, i16), i32(0))
        return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(i32, _LANES), [i32(0)] * _LANES))

    total: Any = None
    above: Any = None
    for k in range(8):
        place = builder.gep(args[1], [builder.add(args[2], i64(k))])
        x = builder.load(builder.bitcast(place, vec.as_pointer()), align=2)
        total = x if total is None else _saturated(builder, total, x)
        if k >= form:
            mask = builder.icmp_signed(">", total, wide(args[3 + k]))
            above = mask if above is None else builder.or_(above, mask)
    return builder.zext(builder.bitcast(above, i32), i64)


@vector(_boxes_code, literal=0, returns=types.int64)
def _boxes_32(
    form: int,
    x: NDArray[np.int16],
    at: int,
    t1: int,
    t2: int,
    t3: int,
    t4: int,
    t5: int,
    t6: int,
    t7: int,
    t8: int,
) -> int:
    """Which of the boxcars that begin at 32 neighbours are above a threshold: `t1` for one element, `t8` for eight.

    Only those of more than `form` elements count. Bit k of the value returned is set for the start ``at + k``. Sums
    are saturated.
    """
    limits = (t1, t2, t3, t4, t5, t6, t7, t8)
    total = np.zeros(_LANES, np.int64)
    above = np.zeros(_LANES, bool)
    for k in range(8):
        total = np.clip(total + x[at + k : at + k + _LANES], -32768, 32767)
        if k >= form:
            above |= total > limits[k]
    return sum(1 << k for k in range(_LANES) if above[k])


@kernel()
def _best_box(
    x: NDArray[Any], at: int, narrowest: int, limits: NDArray[np.float64], last: int
) -> tuple[float, int, int]:
    """The boxcar that is furthest above its threshold, in units of it, its start and its width, among 32 starts.

    `last` is the number of elements; boxes end there at most.
    """
    best = -1.0
    where = 0
    width = 0
    for i in range(min(_LANES, last - at)):
        total = 0.0
        for k in range(min(8, last - at - i)):
            total += np.float64(x[at + i + k])
            if k >= narrowest and total > best * limits[k]:
                best = total / limits[k]
                where = at + i
                width = k + 1
    return best, where, width


@kernel(inline=True)
def _zero_runs(y: NDArray[np.int16], first: int, n: int, runs: NDArray[np.int64], at: int) -> int:
    """Put 0 where runs cover the samples ``first ... first + n``; the runs before `at` end earlier."""
    while at < runs.shape[0] and runs[at, 1] <= first:
        at += 1
    k = at
    while k < runs.shape[0] and runs[k, 0] < first + n:
        y[max(runs[k, 0] - first, 0) : min(runs[k, 1] - first, n)] = 0
        k += 1
    return at


@kernel()
def _note(
    found: NDArray[np.float64], count: int, x: NDArray[Any], at: int, level: int, first: int,
    limits: NDArray[np.float64], last: int,
) -> int:  # fmt: skip
    """Write down the best box of one vector: S/N in units of the threshold, first sample, samples, level, vector."""
    ratio, start, width = _best_box(x, at, 0 if level == 0 else 4, limits, last)
    if ratio <= 1.0:
        return count
    if count < found.shape[0]:
        found[count, 0] = ratio
        found[count, 1] = first + (start << level)
        found[count, 2] = width << level
        found[count, 3] = level
        found[count, 4] = first + (at << level)
    return count + 1


@kernel()
def scan(
    series: NDArray[Any],
    base: NDArray[np.float32],
    scale: NDArray[np.float32],
    cells: NDArray[np.float32],
    runs: NDArray[np.int64],
    limits: NDArray[np.float64],
    found: NDArray[np.float64],
) -> int:
    """Vectors of 32 starts with boxcars above the thresholds.

    Parameters
    ----------
    series : ndarray of int16 or float32, shape (n,)
    base, scale : ndarray of float32, shape (ncells,)
    cells : ndarray of float32, shape (>= ncells + 64,)
        Whitened sums of cells; overwritten.
    runs : ndarray of int64, shape (nruns, 2)
        Stretches that count as nothing.
    limits : ndarray of float64, shape (nlevels, 8)
        Thresholds of sums of k + 1 elements of level l, 2^l samples each, in units of the noise of a sample; inf
        where there is nothing to look for.
    found : ndarray of float64, shape (most, 5)
        Sum over threshold, first sample, samples, level, and first sample of the vector.

    Returns
    -------
    int
        Number found, which may be more than there is room for.
    """
    n = series.shape[0]
    nlevels = limits.shape[0]
    fine = min(nlevels, FINE_LEVELS)
    y0 = np.zeros(_CHUNK + _HALO + 64, np.int16)
    y1 = np.zeros(_CHUNK // 2 + _HALO // 2 + 64, np.int16)
    y2 = np.zeros(_CHUNK // 4 + _HALO // 4 + 64, np.int16)
    y3 = np.zeros(_CHUNK // 8 + _HALO // 8 + 64, np.int16)
    y4 = np.zeros(_CHUNK // 16 + _HALO // 16 + 64, np.int16)
    tail = np.zeros(_LANES, series.dtype)
    # Thresholds in the integers of each level.
    whole = np.full((FINE_LEVELS, 8), 32767, np.int64)
    near = np.full((FINE_LEVELS, 8), np.inf)
    for level in range(fine):
        unit = UNIT / (1 << (level >> 1))
        for k in range(8):
            near[level, k] = limits[level, k] * unit
            whole[level, k] = int(min(near[level, k], 32000.0)) if limits[level, k] < np.inf else 32767
    count = 0
    run = 0
    unit32 = np.float32(UNIT)
    for first in range(0, n, _CHUNK):
        have = min(_CHUNK + _HALO, n - first)
        full = have // _LANES
        for v in range(full):
            c = (first >> 5) + v
            _whiten_32(series, first + v * _LANES, base[c], scale[c] * unit32, y0, v * _LANES)
        if have < _CHUNK + _HALO:
            y0[full * _LANES :] = 0
            if have > full * _LANES:
                c = (first >> 5) + full
                tail[: have - full * _LANES] = series[first + full * _LANES : n]
                _whiten_32(tail, 0, base[c], scale[c] * unit32, y0, full * _LANES)
                y0[have:] = 0
        if runs.shape[0] > 0:
            run = _zero_runs(y0, first, have, runs, run)
        t = whole[0]
        a1, a2, a3, a4, a5, a6, a7, a8 = t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7]
        here = min(_CHUNK, n - first)
        for v in range(0, here, _LANES):
            if _boxes_32(0, y0, v, a1, a2, a3, a4, a5, a6, a7, a8) != 0:
                count = _note(found, count, y0, v, 0, first, near[0], have)
        if fine > 1:
            for v in range(0, (_CHUNK + _HALO) // 2, _LANES):
                _pairs_32(0, y0, 2 * v, y1, v)
            count = _level(found, count, y1, 1, first, here, have, whole[1], near[1])
        if fine > 2:
            for v in range(0, (_CHUNK + _HALO) // 4, _LANES):
                _pairs_32(1, y1, 2 * v, y2, v)
            count = _level(found, count, y2, 2, first, here, have, whole[2], near[2])
        if fine > 3:
            for v in range(0, (_CHUNK + _HALO) // 8, _LANES):
                _pairs_32(0, y2, 2 * v, y3, v)
            count = _level(found, count, y3, 3, first, here, have, whole[3], near[3])
        if fine > 4:
            for v in range(0, (_CHUNK + _HALO) // 16, _LANES):
                _pairs_32(1, y3, 2 * v, y4, v)
            count = _level(found, count, y4, 4, first, here, have, whole[4], near[4])
    if nlevels > FINE_LEVELS:
        count = _coarse(n, base.shape[0], cells, limits, found, count)
    return count


@kernel()
def _level(
    found: NDArray[np.float64], count: int, y: NDArray[np.int16], level: int, first: int, here: int, have: int,
    t: NDArray[np.int64], near: NDArray[np.float64],
) -> int:  # fmt: skip
    a5, a6, a7, a8 = t[4], t[5], t[6], t[7]
    starts = (here + (1 << level) - 1) >> level
    for v in range(0, starts, _LANES):
        if _boxes_32(4, y, v, 0, 0, 0, 0, a5, a6, a7, a8) != 0:
            count = _note(found, count, y, v, level, first, near, (have + (1 << level) - 1) >> level)
    return count


@kernel()
def _any_above(x: NDArray[np.float32], at: int, t: NDArray[np.float32]) -> bool:
    above = np.int32(0)
    t5, t6, t7, t8 = t[4], t[5], t[6], t[7]
    for i in range(at, at + _LANES):
        s = x[i] + x[i + 1] + x[i + 2] + x[i + 3] + x[i + 4]
        above |= np.int32(s > t5)
        s += x[i + 5]
        above |= np.int32(s > t6)
        s += x[i + 6]
        above |= np.int32(s > t7)
        s += x[i + 7]
        above |= np.int32(s > t8)
    return bool(above != 0)


@kernel()
def _coarse(
    n: int, ncells: int, cells: NDArray[np.float32], limits: NDArray[np.float64], found: NDArray[np.float64], count: int
) -> int:
    """The levels that are made of cells."""
    m = ncells
    t = np.empty(8, np.float32)
    for level in range(FINE_LEVELS, limits.shape[0]):
        if level > FINE_LEVELS:
            half = -(-m // 2)
            for i in range(half):
                cells[i] = cells[2 * i] + cells[2 * i + 1]
            cells[half : m + 40] = np.float32(0.0)
            m = half
        t[:] = limits[level].astype(np.float32)
        last = (n + (1 << level) - 1) >> level
        for v in range(0, m, _LANES):
            if _any_above(cells, v, t):
                count = _note(found, count, cells, v, level, 0, limits[level], last)
    return count


# ----------------------------------------------------------------------------------------------------------------------
# From boxes above the threshold to pulses


@kernel()
def _prefix(
    series: NDArray[Any],
    base: NDArray[np.float32],
    scale: NDArray[np.float32],
    runs: NDArray[np.int64],
    lo: int,
    hi: int,
    total: NDArray[np.float64],
    alive: NDArray[np.float64],
) -> None:
    """Running sums of whitened samples, and of how many count, from sample `lo` to `hi`."""
    total[0] = 0.0
    alive[0] = 0.0
    run = 0
    while run < runs.shape[0] and runs[run, 1] <= lo:
        run += 1
    s = 0.0
    k = 0.0
    for i in range(lo, hi):
        c = i >> 5
        v = np.float64(np.float32(series[i]) - base[c]) * scale[c]
        while run < runs.shape[0] and runs[run, 1] <= i:
            run += 1
        if abs(v) <= 1e38 and not (run < runs.shape[0] and runs[run, 0] <= i):
            s += v
            k += 1.0
        total[i - lo + 1] = s
        alive[i - lo + 1] = k


@kernel()
def _box_snr(
    total: NDArray[np.float64], alive: NDArray[np.float64], a: int, w: int, excess: NDArray[np.float64]
) -> float:
    """S/N of a boxcar over the samples in it that count."""
    k = alive[a + w] - alive[a]
    return float((total[a + w] - total[a]) / (np.sqrt(k) * _excess_at(k, excess))) if k >= 1.0 else 0.0


@kernel()
def _gauss_snr(
    total: NDArray[np.float64],
    alive: NDArray[np.float64],
    centre: float,
    fwhm: float,
    n: int,
    excess: NDArray[np.float64],
) -> float:
    """S/N of a Gaussian centred at `centre` (the middle of sample i is i + 1/2), out to 1.5 times its full width."""
    step = max(int(fwhm / 16.0), 1)
    lo = max(int(np.floor(centre - 1.5 * fwhm)), 0)
    hi = min(int(np.ceil(centre + 1.5 * fwhm)), n)
    rate = -4.0 * np.log(2.0) / (fwhm * fwhm)
    signal = 0.0
    norm = 0.0
    area = 0.0
    i = lo
    while i < hi:
        j = min(i + step, hi)
        d = 0.5 * (i + j) - centre
        g = np.exp(rate * d * d)
        k = alive[j] - alive[i]
        signal += g * (total[j] - total[i])
        norm += g * g * k
        area += g * k
        i = j
    if not norm > 0.0:
        return 0.0
    return float(signal / (np.sqrt(norm) * _excess_at(area * area / norm, excess)))


@kernel()
def _climb(
    series: NDArray[Any],
    base: NDArray[np.float32],
    scale: NDArray[np.float32],
    runs: NDArray[np.int64],
    excess: NDArray[np.float64],
    width_max: int,
    left: int,
    right: int,
    start: int,
    width: int,
    total: NDArray[np.float64],
    alive: NDArray[np.float64],
) -> tuple[float, int, int]:
    """The best boxcar near one, within ``left ... right``: S/N, start, width."""
    a = start
    w = width
    best = -np.inf
    for _ in range(24):
        # Everything within 0.6 widths, then ever finer steps around the best.
        reach = max(2, (6 * w) // 10)
        lo = max(left, a - 2 * reach)
        hi = min(right, a + w + 3 * reach)
        _prefix(series, base, scale, runs, lo, hi, total, alive)
        step = max(1, w >> 4)
        a0 = a
        w0 = w
        best = -np.inf
        k = max(1, w0 - reach)
        while k <= min(w0 + reach, width_max):
            i = max(a0 - reach, lo)
            while i <= a0 + reach and i + k <= hi:
                s = _box_snr(total, alive, i - lo, k, excess)
                if s > best:
                    best = s
                    a = i
                    w = k
                i += step
            k += step
        if best == -np.inf:
            return best, a, w
        while step > 1:
            step >>= 1
            moved = True
            while moved:
                moved = False
                i0 = a
                k0 = w
                for dw in (-step, 0, step):
                    for da in (-step, 0, step):
                        i = i0 + da
                        k = k0 + dw
                        if k < 1 or k > width_max or i < lo or i + k > hi:
                            continue
                        s = _box_snr(total, alive, i - lo, k, excess)
                        if s > best:
                            best = s
                            a = i
                            w = k
                            moved = True
        # At the edge of what was tried there may be better beyond.
        if abs(w - w0) < reach and abs(a - a0) < reach:
            break
        if w == w0 and a == a0:
            break
    return best, a, w


@kernel()
def _climb_gauss(
    series: NDArray[Any],
    base: NDArray[np.float32],
    scale: NDArray[np.float32],
    runs: NDArray[np.int64],
    excess: NDArray[np.float64],
    width_max: int,
    left: int,
    right: int,
    start: int,
    width: int,
    total: NDArray[np.float64],
    alive: NDArray[np.float64],
) -> tuple[float, float, float]:
    """The best Gaussian near a boxcar: S/N, centre, full width at half maximum."""
    reach = 4 * width + 8
    lo = max(left, start - reach)
    hi = min(right, start + width + reach)
    n = hi - lo
    _prefix(series, base, scale, runs, lo, hi, total, alive)
    centre = start - lo + 0.5 * width
    fwhm = max(min(0.85 * width, 1.0 * width_max), 1.0)
    best = _gauss_snr(total, alive, centre, fwhm, n, excess)
    move = 0.25
    ratio = 1.3
    for _ in range(40):
        c0 = centre
        f0 = fwhm
        for df in (-1, 0, 1):
            f = min(max(f0 * ratio**df, 1.0), 1.0 * width_max, 0.5 * n)
            for dc in (-1, 0, 1):
                c = min(max(c0 + dc * move * f0, 0.0), 1.0 * n)
                s = _gauss_snr(total, alive, c, f, n, excess)
                if s > best + 1e-9:
                    best = s
                    centre = c
                    fwhm = f
        if centre == c0 and fwhm == f0:
            if move < 0.03:
                break
            move *= 0.5
            ratio = np.sqrt(ratio)
    return best, centre + lo, fwhm


@kernel()
def _has_valley(
    series: NDArray[Any],
    base: NDArray[np.float32],
    scale: NDArray[np.float32],
    runs: NDArray[np.int64],
    lo: int,
    hi: int,
    width: int,
    snr: float,
    forward: bool,
    total: NDArray[np.float64],
    alive: NDArray[np.float64],
) -> bool:
    """Whether between ``lo ... hi`` the signal falls to less than half of the mean of a pulse of this width and S/N.

    A pulse next to a brighter one is one of its own only then; its tail or its wing is not. The fall must be three
    times the noise of what is looked at. No more than 64 widths are, from the pulse on.
    """
    most = min(64 * width, total.shape[0] - 1)
    if hi - lo > most:
        if forward:
            hi = lo + most
        else:
            lo = hi - most
    n = hi - lo
    if n < 1:
        return False
    w = min(width, n)
    mean = snr / np.sqrt(width)
    if 3.0 / np.sqrt(w) > mean:
        return False
    limit = min(0.5 * mean, mean - 3.0 / np.sqrt(w)) * w
    _prefix(series, base, scale, runs, lo, hi, total, alive)
    return bool(np.min(total[w : n + 1] - total[: n + 1 - w]) < limit)


@kernel()
def _again(
    series: NDArray[Any],
    base: NDArray[np.float32],
    scale: NDArray[np.float32],
    runs: NDArray[np.int64],
    limits: NDArray[np.float64],
    left: int,
    right: int,
    level: int,
    vector: int,
    total: NDArray[np.float64],
    alive: NDArray[np.float64],
) -> tuple[float, int, int]:
    """Best box of a vector of the scan that lies within ``left ... right``: over threshold, start, width."""
    size = 1 << level
    lo = max(vector, left)
    hi = min(vector + (_LANES + 7) * size, right)
    best = -1.0
    where = 0
    width = 0
    if hi - lo < size:
        return best, where, width
    _prefix(series, base, scale, runs, lo, hi, total, alive)
    for i in range(lo, min(vector + _LANES * size, hi), size):
        for k in range(0 if level == 0 else 4, 8):
            w = (k + 1) * size
            if i + w > hi:
                break
            s = (total[i - lo + w] - total[i - lo]) / limits[level, k]
            if s > best:
                best = s
                where = i
                width = w
    return best, where, width


@kernel()
def pick(
    series: NDArray[Any],
    base: NDArray[np.float32],
    scale: NDArray[np.float32],
    runs: NDArray[np.int64],
    excess: NDArray[np.float64],
    limits: NDArray[np.float64],
    width_max: int,
    threshold: float,
    gaussian: bool,
    found: NDArray[np.float64],
    pulses: NDArray[np.float64],
) -> int:
    """One pulse for everything that stands out: best first, each takes what it explains.

    What overlaps a pulse, or is not parted from it by a valley, belongs to it; a vector of the scan whose best box
    does is looked at again without the pulse.

    Parameters
    ----------
    series : ndarray of int16 or float32, shape (n,)
    base, scale, runs, limits : as for `scan`
    excess : ndarray of float64, shape (nlevels,)
        From `scatter_of_sums`.
    width_max : int
        Widest boxcar, or Gaussian [samples].
    threshold : float
        S/N of a pulse.
    gaussian : bool
        Measure with Gaussians; otherwise with boxcars.
    found : ndarray of float64, shape (nfound, 5)
        From `scan`.
    pulses : ndarray of float64, shape (most, 5)
        S/N, centre and width in samples (the middle of sample i is i + 1/2), first sample and end of what is taken;
        in order of time.

    Returns
    -------
    int
        Number of pulses, no more than there is room for.
    """
    n = series.shape[0]
    most = pulses.shape[0]
    count = 0
    size = 8 * (64 * width_max + 256)
    widest = 40 * width_max + 1024
    size = min(max(size, widest), n + 64)
    total = np.empty(size + 1, np.float64)
    alive = np.empty(size + 1, np.float64)
    room = found.shape[0]
    todo = found.copy()
    for _ in range(_MANY_ROUNDS):
        if room == 0:
            break
        order = np.argsort(-todo[:room, 0])
        later = np.empty((room, 5), np.float64)
        nlater = 0
        for o in order:
            row = todo[o]
            lo = int(row[1])
            hi = min(lo + int(row[2]), n)
            # The pulses before and after.
            k = 0
            k1 = count
            while k < k1:
                middle = (k + k1) >> 1
                if pulses[middle, 3] <= lo:
                    k = middle + 1
                else:
                    k1 = middle
            left = int(pulses[k - 1, 4]) if k > 0 else 0
            right = int(pulses[k, 3]) if k < count else n
            if lo < left or hi > right:
                # Without what is taken there may be something else in this vector.
                level = int(row[3])
                first = int(row[4])
                last = first + (_LANES + 7) * (1 << level)
                best = -1.0
                where = 0
                width = 0
                g = k
                while g > 0 and int(pulses[g - 1, 4]) > first:
                    g -= 1
                free = max(first, int(pulses[g - 1, 4]) if g > 0 else 0)
                while free < min(last, n):
                    until = int(pulses[g, 3]) if g < count else n
                    s, a, w = _again(series, base, scale, runs, limits, free, min(until, n), level, first, total, alive)
                    if s > best:
                        best = s
                        where = a
                        width = w
                    if g >= count:
                        break
                    free = int(pulses[g, 4])
                    g += 1
                if best > 1.0:
                    later[nlater, 0] = best
                    later[nlater, 1] = where
                    later[nlater, 2] = width
                    later[nlater, 3] = row[3]
                    later[nlater, 4] = row[4]
                    nlater += 1
                continue
            if count == most:
                continue
            snr, a, w = _climb(series, base, scale, runs, excess, width_max, left, right, lo, hi - lo, total, alive)
            centre = a + 0.5 * w
            fwhm = 1.0 * w
            strength = snr
            if gaussian:
                strength, centre, fwhm = _climb_gauss(
                    series, base, scale, runs, excess, width_max, left, right, a, w, total, alive
                )
            if strength < threshold:
                continue
            # Part of a neighbour, which then takes its place too.
            if k > 0 and not _has_valley(series, base, scale, runs, left, a, w, snr, False, total, alive):
                pulses[k - 1, 4] = max(pulses[k - 1, 4], a + w)
                continue
            if k < count and not _has_valley(series, base, scale, runs, a + w, right, w, snr, True, total, alive):
                pulses[k, 3] = min(pulses[k, 3], a)
                continue
            for j in range(count, k, -1):
                pulses[j] = pulses[j - 1]
            pulses[k, 0] = strength
            pulses[k, 1] = centre
            pulses[k, 2] = fwhm
            pulses[k, 3] = a
            pulses[k, 4] = a + w
            count += 1
        todo = later
        room = nlater
    return count
