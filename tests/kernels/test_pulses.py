import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reference import pulses as ref
from reference.matched import limits_of

from pulsar_kernels import matched, pulses

pytestmark = pytest.mark.usefixtures("quiet")
SEEDS = st.integers(0, 2**32 - 1)
NONE = np.zeros((0, 2), np.int64)
ONES = np.ones(9)


def white_of(series, base=None, scale=None, runs=NONE, excess=ONES, width_max=200):
    """The series for kernels, and the whitened samples and those that count for oracles."""
    ncells = -(-len(series) // 32)
    base = np.zeros(ncells, np.float32) if base is None else base
    scale = np.ones(ncells, np.float32) if scale is None else scale
    white, counts = ref.whitened(series, base, scale, runs)
    sums = np.zeros(ncells + 64, np.float32)
    sums[:ncells] = np.add.reduceat(white, np.arange(0, len(white), 32))
    work = np.zeros((2, pulses.work_size(width_max, len(series))))
    none = np.zeros(0, np.int16), np.zeros(0, np.float32)
    both = (series, none[1]) if series.dtype == np.int16 else (none[0], series.astype(np.float32))
    return pulses.White(*both, base, scale, sums, np.asarray(runs), excess, *work), white, counts


def picked(given, threshold=6.0, width_max=200, gaussian=False, most=1000, found=None):
    """Pulses of what the scan finds, or of boxes (first sample, width)."""
    limits = limits_of(7, 0.88 * threshold - 0.7, 1.25 * width_max)
    if found is None:
        series = given.ints if len(given.ints) else given.floats
        rows = np.zeros((5000, 5))
        work = np.zeros(2 * len(given.base) + 256, np.int16)
        count = matched.scan(series, given.base, given.scale, given.cells, given.runs, limits, work, rows)
        found = rows[:count]
    else:
        found = np.array([[10.0 - 0.01 * i, a, w, 0, a // 32 * 32] for i, (a, w) in enumerate(found)]).reshape(-1, 5)
    out = np.full((most, 5), np.nan)
    number = pulses.pick(given, limits, width_max, threshold, gaussian, found, out)
    assert np.all(np.isnan(out[number:]))
    return out[:number]


def steps(n, *parts):
    """A series of (first sample, samples, level)."""
    x = np.zeros(n, np.float32)
    for start, width, level in parts:
        x[start : start + width] = level
    return x


def noisy(seed, n, integers):
    """Noise with pulses of many widths, baseline and noise of each cell, a run and odd samples."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    for _ in range(6):
        width = int(2 ** rng.uniform(0, 6))
        start = int(rng.integers(0, n))
        x[start : start + width] += rng.uniform(5, 25) / np.sqrt(width)
    ncells = -(-n // 32)
    base = rng.normal(0, 50, ncells).round().astype(np.float32)
    scale = rng.uniform(0.004, 0.01, ncells).astype(np.float32)
    y = x / np.repeat(scale, 32)[:n] + np.repeat(base, 32)[:n]
    series = y.round().clip(-32767, 32767).astype(np.int16) if integers else y.astype(np.float32)
    if not integers:
        series[rng.integers(0, n, 3)] = [np.nan, np.inf, -np.inf]
    lo = int(rng.integers(0, n - 90))
    runs = np.array([[lo, lo + 3], [lo + 40, lo + 85]])
    excess = 1.0 + 0.1 * np.arange(9) * rng.integers(0, 2)
    return series, base, scale, runs, excess


def test_work_size():
    assert pulses.work_size(10, 10_000) == 2208
    assert pulses.work_size(10, 100) == 101


@example(741, False, 210794)
@given(st.integers(256, 2000), st.booleans(), SEEDS)
def test_every_pulse_is_the_best_box_around(n, integers, seed):
    series, base, scale, runs, excess = noisy(seed, n, integers)
    data, white, counts = white_of(series, base, scale, runs, excess)
    out = picked(data)
    snr, centre, width, first, end = out.T
    a, w = np.rint(centre - width / 2).astype(int), np.rint(width).astype(int)

    def box(start, stop):
        return ref.box_snr(white, counts, start, stop - start, excess)

    assert np.all(snr >= 6.0)
    assert np.all(w <= 200)
    assert np.all(first <= a)
    assert np.all(end >= a + w)
    # In order of time, without overlap.
    assert np.all(end[:-1] <= first[1:])
    left, right = np.concatenate([[0], end[:-1]]), np.concatenate([first[1:], [n]])
    for i in range(len(out)):
        lo, hi = a[i], a[i] + w[i]
        assert snr[i] == pytest.approx(box(lo, hi), rel=1e-4, abs=1e-3)
        # Neither edge is better elsewhere, as long as that is free.
        for start in range(max(lo - 2, int(left[i])), min(lo + 3, hi)):
            assert hi - start > 200 or box(start, hi) < snr[i] + 1e-2
        for stop in range(max(hi - 2, lo + 1), min(hi + 2, int(right[i])) + 1):
            assert stop - lo > 200 or box(lo, stop) < snr[i] + 1e-2
    room = len(data.total) - 1
    # Between two that have taken no more than themselves there is a valley.
    for i in np.flatnonzero((end[:-1] == (a + w)[:-1]) & (first[1:] == a[1:])):
        between = int(end[i]), int(first[i + 1])
        before = ref.has_valley(white, *between, w[i], snr[i] + 1e-3, True, room)
        after = ref.has_valley(white, *between, w[i + 1], snr[i + 1] + 1e-3, False, room)
        assert before or after
    # With less room there are fewer, the first ones of all.
    fewer = picked(data, most=max(len(out) - 1, 0))
    assert len(fewer) == max(len(out) - 1, 0)
    # Nothing is left that stands out: the best box of all is among them.
    total = np.concatenate([[0.0], np.cumsum(white)])
    alive = np.concatenate([[0], np.cumsum(counts)])
    best, place = 0.0, (0, 0)
    for k in range(1, 201):
        number = alive[k:] - alive[:-k]
        s = (total[k:] - total[:-k]) / np.sqrt(np.maximum(number, 1)) / ref.excess_at(number, excess)
        if s.max() > best:
            best, place = float(s.max()), (int(np.argmax(s)), int(np.argmax(s)) + k)
    # Several with valleys between them may share it.
    shared = snr[(end > place[0]) & (first < place[1])]
    assert np.sqrt(np.sum(shared**2)) > 0.7 * best or best <= 8.0
    assert best > 6.0 or len(out) == 0


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("width", [1, 3, 8, 20, 77, 150])
def test_boxes_without_noise_come_back_as_they_are(dtype, width):
    """With samples in them that do not count."""
    level = 40.0
    at = (0, 300, 601, 1024 - width)
    series = steps(1024, *[(a, width, level) for a in at]).astype(dtype)
    gone = max(width // 4, 1) if width > 1 else 0
    runs = np.array([[300 + width // 2, 300 + width // 2 + gone]])
    if dtype == np.float32 and width > 1:
        series[601 + width // 2] = np.nan
    out = picked(white_of(series, runs=runs)[0])
    counted = np.array([width, width - gone, width - (dtype == np.float32 and width > 1), width])
    np.testing.assert_allclose(out[:, 0], level * np.sqrt(counted), rtol=1e-6)
    assert out[:, 2].tolist() == [width] * 4
    assert out[:, 3].tolist() == list(at)
    assert out[:, 4].tolist() == [a + width for a in at]
    assert out[:, 1].tolist() == [a + width / 2 for a in at]


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("between", "own"), [(0.0, True), (1.3, True), (1.6, False), (3.0, False)])
def test_a_fall_to_half_parts_two_pulses(mirror, between, own):
    """A box of 100 samples at 3 beside a bright one; in between 40 samples at a level below its half, or above."""
    series = steps(2000, (600, 40, 60.0), (640, 40, between), (680, 100, 3.0))
    series = series[::-1].copy() if mirror else series
    out = picked(white_of(series)[0])
    bright = np.argmax(out[:, 0])
    assert out[bright, 0] == pytest.approx(60 * np.sqrt(40))
    assert len(out) == 1 + own
    first, end = out[bright, 3:] if not mirror else 2000 - out[bright, :2:-1]
    # What is between is its wing, if it is anything; and the other one too if nothing parts them.
    assert first == 600
    assert end == 640 if between == 0 else 640 <= end <= 680 if own else end == 780
    assert np.delete(out[:, 0], bright) == pytest.approx([30.0] * own)


def test_a_fall_must_be_three_times_the_noise():
    # A mean of 2.5, two samples between: less than half is not enough, 0.38 = 2.5 - 3 / sqrt(2) is needed.
    for below, own in ((0.3, True), (0.5, False), (1.1, False)):
        for parts in ((508, 2, below), (510, 4, 2.5)), ((498, 2, below), (494, 4, 2.5)):
            out = picked(white_of(steps(1024, (500, 8, 80.0), *parts))[0], threshold=4.9)
            assert len(out) == 1 + own


@pytest.mark.parametrize("width", [1, 5, 12, 40, 90])
def test_a_faint_pulse_beside_a_bright_one_is_found(width):
    """Where the bright one is the best of its vector of the scan: so are the vectors of all levels."""
    for gap in (2 * width, 3 * width):
        bright = (960, width, 200.0)
        for start in (960 + width + gap, 960 - gap - width):
            out = picked(white_of(steps(2048, bright, (start, width, 15.0 / np.sqrt(width))))[0])
            assert sorted(out[:, 3]) == sorted([960, start])
            assert sorted(out[:, 0]) == pytest.approx([15.0, 200.0 * np.sqrt(width)], rel=1e-5)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_two_narrow_pulses_in_one_vector(width):
    """Where no other level of the scan sees the weaker one."""
    for start in (485, 490, 508):
        out = picked(white_of(steps(1024, (500, 4, 80.0), (start, width, 7.0 / np.sqrt(width))))[0])
        assert sorted(out[:, 0]) == pytest.approx([7.0, 160.0])
        assert sorted(out[:, 3]) == sorted([start, 500])


def test_a_wing_hides_no_pulse_beyond_it():
    """All three in one vector of the scan."""
    for shift in (0, 1):
        series = steps(1024, (512 + shift, 8, 20.0), (520 + shift, 10, 6.0), (536 + shift, 4, 5.0))
        out = picked(white_of(series)[0])
        assert out[:, 3].tolist() == [512 + shift, 536 + shift]
        assert out[0, 4] == 530 + shift
        assert out[:, 0] == pytest.approx([20 * np.sqrt(8), 10.0])


def test_what_is_too_weak_or_too_wide_is_left_out():
    series = steps(512, (200, 8, 2.0))
    assert len(picked(white_of(series)[0], found=[(200, 8)])) == 0
    assert len(picked(white_of(series)[0], threshold=5.6, found=[(200, 8)])) == 1
    assert len(picked(white_of(series)[0], width_max=2, found=[(200, 8)])) == 0
    assert len(picked(white_of(series)[0], found=[])) == 0


def test_a_box_that_was_found_too_narrow_and_beside_grows():
    """What is best at the edge of what was tried is sought once more."""
    series = steps(1024, (300, 160, 3.0))
    for start, width in ((300, 4), (380, 8), (450, 5)):
        (row,) = picked(white_of(series)[0], found=[(start, width)])
        assert row.tolist() == pytest.approx([3.0 * np.sqrt(160), 380.0, 160.0, 300, 460])


@given(st.integers(200, 1500), st.booleans(), st.integers(1, 40), st.floats(0, 20), st.booleans(), SEEDS)
def test_valleys(n, integers, width, snr, forward, seed):
    data, white, _ = white_of(*noisy(seed, n, integers), width_max=1)
    rng = np.random.default_rng(seed)
    lo, hi = np.sort(rng.integers(0, n + 1, 2))
    hi = min(hi, lo + int(rng.choice([0, 1, width, 3 * width, n])))
    room = len(data.total) - 1
    got = pulses._has_valley(data, lo, hi, width, snr, forward)
    near = [ref.has_valley(white, lo, hi, width, snr + d, forward, room) for d in (-1e-3, 1e-3)]
    assert got in near


def test_valleys_are_looked_for_next_to_the_pulse_only():
    """No farther than 64 widths."""
    data, *_ = white_of(steps(1000, (0, 1000, 5.0), (400, 20, 0.0)))
    for width, far in ((2, 128), (3, 192)):
        assert not pulses._has_valley(data, 400 - far, 1000, width, 5.0 * width, True)
        assert pulses._has_valley(data, 420 - far, 1000, width, 5.0 * width, True)
        assert not pulses._has_valley(data, 0, 420 + far, width, 5.0 * width, False)
        assert pulses._has_valley(data, 0, 400 + far, width, 5.0 * width, False)


@given(st.integers(256, 2000), st.booleans(), SEEDS)
def test_a_vector_is_looked_at_again(n, integers, seed):
    data, white, _ = white_of(*noisy(seed, n, integers))
    rng = np.random.default_rng(seed)
    limits = limits_of(7, 4.0)
    for level in range(7):
        size = 1 << level
        vector = int(rng.integers(0, -(-n // (32 * size)))) * 32 * size
        left = int(vector + rng.integers(-20, 8 * size))
        right = int(rng.integers(left, n + 1)) if left < n else n
        ratio, start, width = pulses._again(data, limits, left, right, level, vector)
        expected = ref.best_of_vector(white, limits, left, right, level, vector)
        assert ratio == pytest.approx(expected, rel=1e-3, abs=1e-4)
        # -1: no box of the vector lies between the two.
        assert ratio <= -1.0 or max(left, vector) <= start < start + width <= right
        told = -1.0 if ratio <= -1.0 else np.sum(white[start : start + width]) / (4.0 * np.sqrt(width))
        assert told == pytest.approx(ratio, rel=1e-3, abs=1e-4)


@given(st.integers(1, 200), st.booleans(), SEEDS)
def test_strongest_first(n, ties, seed):
    rows = np.random.default_rng(seed).standard_normal((n, 5))
    if ties:
        rows = rows.round()
    order = pulses._strongest_first(rows)
    assert sorted(order) == list(range(n))
    assert np.all(np.diff(rows[order, 0]) <= 0)


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(-1, 51))
def test_number_before(first, sample):
    rows = np.zeros((25, 5))
    rows[: len(first), 3] = sorted(first)
    assert pulses._before(rows, len(first), sample) == sum(f <= sample for f in first)


@given(st.integers(200, 1500), st.booleans(), st.floats(1.0, 300.0), st.floats(0, 1), SEEDS)
def test_gaussian_snr(n, integers, fwhm, place, seed):
    series, base, scale, runs, excess = noisy(seed, n, integers)
    data, white, counts = white_of(series, base, scale, runs, excess)
    pulses._prefix(data, 0, n)
    centre = place * n
    expected = ref.gauss_snr(white, counts, centre, fwhm, excess)
    assert pulses._gauss_snr(data, centre, fwhm, n) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@given(st.floats(16.0, 3000.0), st.floats(0, 1))
def test_steps_of_a_gaussian_cost_nothing(fwhm, place):
    """A matched filter of another shape keeps their correlation of the S/N."""
    centre = 5000.0 + place
    lo, hi = int(centre - 1.5 * fwhm), int(centre + 1.5 * fwhm) + 1
    exact = ref.gauss_weights(lo, hi, centre, fwhm)
    steps = ref.gauss_weights(lo, hi, centre, fwhm, max(int(fwhm / 16), 1))
    assert exact @ steps > 0.999 * np.sqrt((exact @ exact) * (steps @ steps))


def test_a_gaussian_on_what_does_not_count_is_nothing():
    data, *_ = white_of(steps(512, (0, 512, 5.0)), runs=np.array([[100, 400]]))
    pulses._prefix(data, 0, 512)
    assert pulses._gauss_snr(data, 250.0, 20.0, 512) == 0.0
    assert pulses._box_snr(data, 200, 50) == 0.0


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize(("centre", "fwhm"), [(400.3, 2.2), (400.5, 9.0), (411.7, 28.0), (500.0, 70.0)])
def test_gaussians_come_back_as_they_are(dtype, centre, fwhm):
    i = np.arange(1000) + 0.5
    shape = 3000 * np.exp(-4 * np.log(2) * ((i - centre) / fwhm) ** 2)
    scale = np.full(32, 20 / np.sqrt(np.sum(shape**2)), np.float32)
    data, white, counts = white_of(shape.round().astype(dtype), scale=scale)
    (row,) = picked(data, gaussian=True)
    assert row[0] == pytest.approx(20.0, rel=0.005)
    assert row[0] == pytest.approx(ref.gauss_snr(white, counts, row[1], row[2], ONES), rel=0.005)
    assert row[1] == pytest.approx(centre, abs=0.04 * fwhm)
    assert row[2] == pytest.approx(fwhm, rel=0.05)
    # Not below the threshold, and no wider than the widest.
    assert len(picked(data, threshold=20.5, gaussian=True, found=[(int(centre), 4)])) == 0
    (row,) = picked(data, width_max=max(int(fwhm / 2), 1), gaussian=True, threshold=5.0)[:1]
    assert row[2] <= max(int(fwhm / 2), 1)
