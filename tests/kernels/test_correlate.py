import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import correlate as ref
from scipy.special import fresnel

from pulsar.bench.searching import block_powers
from pulsar_kernels import correlate, drifts

PAD = 16


def plane_of(real, imag, first, n, filled, centre, groups, lo, hi, w=0.0, scale2=6.0, which=0, stride=0, dz=2.0):
    """Bytes of one block, shape (2 (hi - lo), 16 groups)."""
    block = correlate.make_block(n, filled, dz)
    work = np.zeros(correlate.work_floats(n), np.float32)
    staged = np.zeros(correlate.staged_bytes(n), np.uint8)
    short = np.zeros((which + 1, 2, n), np.float32)
    correlate.short_series(real, imag, PAD, first - which * stride, stride, block, np.sqrt(scale2), work, short)
    plane = np.full(2 * (hi - lo) * 16 * groups + 64, 77, np.uint8)
    start = correlate.first_phase(n, -dz * centre, 0.0)
    bend = correlate.first_phase(n, 0.0, w)
    correlate.correlate(short[which], start, bend, block, groups, lo, hi, work, staged, plane, 32)
    # Nothing is written beyond the rows.
    assert np.all(plane[:32] == 77)
    assert np.all(plane[32 + 32 * (hi - lo) * groups :] == 77)
    return plane[32 : 32 + 32 * (hi - lo) * groups].reshape(2 * (hi - lo), 16 * groups)


@given(
    st.sampled_from([256, 512, 1024]),
    st.floats(0.9, 1.0),
    st.integers(1, 6),
    st.integers(-300, 900),
    st.sampled_from([0.0, 40.0, -100.0]),
    st.integers(0, 2),
    st.floats(0.5, 7.0),
    st.integers(0, 2**32 - 1),
)
def test_blocks_are_what_plain_transforms_give(n, filled, groups, first, w, which, dz, seed):
    rng = np.random.default_rng(seed)
    real, imag = (rng.standard_normal((2, 600 + 2 * PAD)) * np.sqrt(0.5)).astype(np.float32)
    lo, hi = sorted(rng.choice(n, 2, replace=False))
    centre = 8 * int(rng.integers(0, groups + 1))
    got = plane_of(real, imag, first, n, filled, centre, groups, lo, hi, w, which=which, stride=n // 3, dz=dz)
    # Zeros beyond the ends.
    every = np.pad(real.astype(float) + 1j * imag, 2000)
    block = every[2000 + PAD + first :][:n]
    for lane in rng.choice(16 * groups, 4):
        for half in (0, 1):
            p = 6.0 * block_powers(block, filled, dz * (lane - centre), w, half)[lo:hi]
            # Rounded to the nearest, up to what float32 cannot tell.
            assert np.all(got[half::2, lane] >= ref.codes(p * (1 - 1e-5) - 1e-3))
            assert np.all(got[half::2, lane] <= ref.codes(p * (1 + 1e-5) + 1e-3))


@pytest.mark.parametrize("amplitude", [1.0, 7.0, 14.96, 15.1, 16.1, 40.0, 500.0, 3000.0, 1e12])
def test_large_powers_keep_their_order(amplitude):
    n = 256
    real, imag = np.zeros((2, n + 2 * PAD), np.float32)
    real[PAD + 100] = amplitude
    got = plane_of(real, imag, 0, n, 1.0, 8, 1, 90, 110, scale2=1.0)
    code = ref.codes(amplitude**2)[0]
    assert got[20, 8] == code
    assert np.argmax(got[:, 8]) == (0 if amplitude > 1e10 else 20)
    table = correlate.decoded()
    # The last code stands for all that is larger.
    assert table[code] == pytest.approx(min(amplitude**2, table[255]), rel=0.25, abs=0.5)
    assert np.all(np.diff(table) > 0)


@pytest.mark.parametrize("z", [0.0, 6.0, 40.0, 90.0, -90.0])
def test_response_to_a_drift_is_that_of_fresnel_integrals(z):
    """A complex exponential of drift z seen at drift 0: |C + i S|^2 of the ends of the data, over z."""
    n, m, r0, amplitude = 1024, 1 << 15, 400.0, 40.0
    u = np.arange(m) / m - 0.5
    spectrum = np.fft.fft(np.exp(2j * np.pi * (r0 * u + z * u**2 / 2))) / m * amplitude
    real, imag = np.zeros((2, n + 2 * PAD), np.float32)
    real[PAD : PAD + n], imag[PAD : PAD + n] = spectrum[:n].real, spectrum[:n].imag
    got = plane_of(real, imag, 0, n, 1.0, 48, 6, 320, 480, scale2=1.0)
    d = np.arange(640, 960) / 2 - r0
    if z == 0:
        expected = np.sinc(d) ** 2
    else:
        # exp(-2 pi i d u + pi i z u^2): complete the square.
        a, b = ((-z / 2 - d) * np.sqrt(2 / abs(z)), (z / 2 - d) * np.sqrt(2 / abs(z)))
        (sa, ca), (sb, cb) = fresnel(a), fresnel(b)
        expected = ((cb - ca) ** 2 + (sb - sa) ** 2) / (2 * abs(z))
    expected = amplitude**2 * expected
    low = expected < 215
    assert np.mean(low) > 0.9
    error = np.abs(got[:, 48] - expected)
    assert np.all(error[low] < 0.51 + 0.3 * np.sqrt(expected[low]) + 0.01 * expected[low])
    assert np.mean(error[low]) < 0.4
    np.testing.assert_allclose(correlate.decoded()[got[:, 48]][~low], expected[~low], rtol=0.25)
    # At its own drift it is one line, with all its power.
    lane = 48 + int(z) // 2
    assert got[160, lane] == ref.codes(amplitude**2)[0]
    assert got[158, lane] < 2 + 255 * 0.01


@pytest.mark.jit
@pytest.mark.parametrize("filled", [1.0, 0.93])
def test_noise_keeps_mean_one_at_every_drift(filled):
    m, n = 1 << 15, 1024
    rng = np.random.default_rng(1)
    x = np.zeros(m)
    x[: int(filled * m)] = rng.standard_normal(int(filled * m))
    spectrum = np.fft.rfft(x) / np.sqrt(np.sum(x**2))
    real, imag = np.zeros((2, m // 2 + 1 + 2 * PAD), np.float32)
    real[PAD:-PAD], imag[PAD:-PAD] = spectrum.real, spectrum.imag
    rows = [plane_of(real, imag, k * 800, n, filled, 96, 13, 112, 912, scale2=20.0) for k in range(1, 18)]
    power = np.concatenate(rows) / 20.0
    assert np.all(np.abs(power.mean(axis=0) - 1) < 5 / np.sqrt(17 * 800))
    # exponential: rounding and saturation at 12.75 apart
    assert abs(np.mean(power > 4.5) / np.exp(-4.525) - 1) < 0.05


@given(st.integers(0, 4), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_sums_and_cells(stage_bits, groups, seed):
    """All sums above the limits, the highest of every cell, against plain sums."""
    rng = np.random.default_rng(seed)
    nstages = stage_bits + 1
    nharm = 1 << stage_bits
    align = max(nharm, 8)
    nrows = int(rng.integers(60, 200))
    centre = align * int(rng.integers(1, 3))
    pitch = max(16 * groups, 2 * centre + 16)
    pitch = -(-pitch // 16) * 16
    reach = int(rng.integers(0, min(centre, pitch - centre - 1) + 1))
    plane = np.minimum(rng.exponential(6.0, nrows * pitch + 2 * drifts.GUARD), 255).astype(np.uint8)
    zero = drifts.GUARD + centre + pitch * np.arange(nrows, dtype=np.int64)
    places = (zero // drifts.UNIT).astype(np.int32)
    decode = np.arange(256)
    decode[200:] *= 7
    limits = np.array([18 + 6 * 2**s + 18 * s for s in range(nstages)], dtype=np.uint8)
    rows = np.array([[int(rng.integers(0, 30)), nrows - int(rng.integers(0, 9))] for _ in range(nstages)])
    start, stop = 16, nrows
    slope = rng.uniform(0.05, 0.5)
    cells = np.zeros((nstages, nrows // drifts.CELL + 2, (pitch + 64) // drifts.CELL + 1), np.int32)
    hits = np.zeros((cells.size, 4), np.int64)
    shift = np.zeros((nharm, 2), np.int64)
    found = drifts.sum_rows(
        plane,
        places,
        shift,
        rows,
        start,
        stop,
        centre,
        pitch,
        slope,
        reach,
        np.repeat(limits, 64),
        decode,
        cells,
        0,
        hits,
    )
    assert not cells.any()
    table = {i: {j: decode[plane[zero[i] + j]] for j in range(-centre, pitch - centre)} for i in range(nrows)}
    best = {}
    for i in range(start, stop):
        for j in range(-reach, reach + 1):
            if abs(j) > slope * i:
                continue
            for s in range(nstages):
                total = ref.harmonic_sum(table, i, j, 1 << s)
                if total > limits[s] and rows[s, 0] <= i < rows[s, 1]:
                    cell = (s, (i - start) // drifts.CELL, (j + centre) // drifts.CELL)
                    best[cell] = max(best.get(cell, 0), total)
    got = {}
    for i, j, s, total in hits[:found].tolist():
        got[(s, (i - start) // drifts.CELL, (j + centre) // drifts.CELL)] = total
        assert total == ref.harmonic_sum(table, i, j, 1 << s)
    assert len(got) == found
    assert got == best


def test_sums_find_something():
    """The thresholds of the test above are exceeded at every stage: it compares no empty lists."""
    rng = np.random.default_rng(1)
    power = rng.exponential(6.0, (16, 100_000))
    for s in range(5):
        assert 1e-4 < np.mean(power[: 1 << s].sum(axis=0) > 18 + 6 * 2**s + 18 * s) < 0.3
