import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.noises import red_and_drifting
from reference.noises import white as noise
from reference.threads import side_by_side

from pulsar.config.model import AccelConfig
from pulsar.constants import C
from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of
from pulsar.errors import ConfigError
from pulsar.searches import stats
from pulsar.searches.accel import AccelSearch
from pulsar.searches.fft import FFTSearch
from pulsar.searches.response import GRID, LEAST, STEPS, alignment, coarsest, drift_steps, grid_part
from pulsar.searches.search import Band

TSAMP = 256e-6


def shape(turns: np.ndarray, duty: float, snr: float) -> np.ndarray:
    """Gaussian pulses of this duty cycle (full width at half maximum) and matched-filter S/N."""
    turns = turns - np.round(turns)
    x = np.exp(-4 * np.log(2) * (turns / duty) ** 2)
    x -= x.mean()
    return (x * snr / np.sqrt(np.sum(x**2))).astype(np.float32)


def pulses(n, f, z, duty, snr, w=0.0, phase=0.3, tsamp=TSAMP):
    """Frequency at mid-observation [Hz], drift z and its change w of the fundamental [bins]."""
    u = np.arange(n) / n - 0.5
    return shape(f * n * tsamp * u + z * u**2 / 2 + w * u**3 / 6 + phase, duty, snr)


def searched(x: np.ndarray, zmax: float = 200.0, birdies=(), **config) -> np.ndarray:
    """Detections of two sigma and more."""
    settings = AccelConfig(**{"zmax": zmax, "threshold": 2.0} | config)
    return AccelSearch(len(x), TSAMP, settings).search(x, birdies=birdies)


def matches(det, f, z, tobs, dr=1.0, dz=3.0):
    return np.flatnonzero((np.abs(det["freq"] - f) * tobs < dr) & (np.abs(det["fdot"] * tobs**2 - z) < dz))


def same(a, b):
    """Equal tables, NaN like NaN."""
    return len(a) == len(b) and all(np.array_equal(a[k], b[k], equal_nan=a[k].dtype.kind == "f") for k in a.dtype.names)


@given(st.floats(0.5, 1500.0), st.sampled_from([1, 2, 4, 8, 16]), st.floats(2.0, 7.0))
def test_steps_of_drift_are_no_longer_than_allowed_and_fill_vectors(limit, nharm, most):
    dz, reach = drift_steps(limit, nharm, most)
    assert dz * reach == pytest.approx(limit)
    assert dz <= most * (1 + 1e-12)
    # Rows hold a step more on either side, and their drift 0 is behind a multiple of the harmonics.
    assert (reach + 2) % alignment(nharm) == 0
    # No more vectors than that takes.
    fewer = reach - alignment(nharm)
    assert fewer * most < limit + 2.0 * most


def test_steps_of_drift_are_as_long_as_the_threshold_allows():
    """The grid's part of a threshold is worth a closer look no more often than it is said to be."""
    for logp in np.linspace(-60.0, -17.1, 30):
        dz = coarsest(logp)
        left = 1.0 + grid_part(0, dz) * (-logp - 1.0)
        assert STEPS[0] <= dz <= STEPS[-1]
        assert left >= LEAST - 1e-9
        assert dz == STEPS[-1] or left == pytest.approx(LEAST)
    assert coarsest(-3.0) == STEPS[0]
    for stage, parts in enumerate(GRID):
        assert np.all(np.diff(parts) < 0)
        assert grid_part(stage, 4.0) == parts[2]
        assert grid_part(stage, 1.0) == parts[0]


@pytest.mark.parametrize("ntrials_dm", [1.0, 1e4])
def test_weak_signals_are_found_wherever_they_lie_between_the_steps(ntrials_dm):
    """At the threshold a few per cent may be lost to the grid; the ones here are a little above it."""
    n, tobs = 1 << 16, (1 << 16) * TSAMP
    search = AccelSearch(n, TSAMP, AccelConfig(zmax=60, nharm=4), ntrials_dm=ntrials_dm)
    power = 1.25 * search.thresholds[0] + 2.0
    rng = np.random.default_rng(7)
    u = np.arange(n) / n - 0.5
    found = 0
    for seed in range(40):
        r, z = rng.uniform(2000.0, 4000.0), rng.uniform(-58.0, 58.0)
        x = noise(n, seed) + np.float32(2.0 * np.sqrt(power / n)) * np.cos(
            2 * np.pi * (r * u + z * u**2 / 2 + rng.uniform())
        ).astype(np.float32)
        det = search.search(x)
        found += matches(det, r / tobs, z, tobs).size == 1
    assert found >= 36


@pytest.mark.parametrize("top", [1, 8])
def test_accelerated_pulsars_are_found_where_they_are(top):
    """P 2 to 30 ms with up to 190 bins of drift at the fundamental, or at the eighth harmonic."""
    n, tobs = 1 << 18, (1 << 18) * TSAMP
    search = AccelSearch(n, TSAMP, AccelConfig(zmax=200, nharm=8), ntrials_dm=100)
    still = FFTSearch(n, TSAMP)
    rng = np.random.default_rng(top)
    found = 0
    seen_still = 0
    pulls = []
    drifts = []
    for seed in range(20):
        f = 1 / np.exp(rng.uniform(np.log(2e-3), np.log(30e-3)))
        z = rng.choice([-1, 1]) * rng.uniform(30, 190) / top
        x = noise(n, seed) + pulses(n, f, z, 0.35 if top == 1 else 0.1, 15.0)
        det = search.search(x)
        best = matches(det, f, z, tobs)
        found += best.size == 1 and best[0] == 0
        seen_still += matches(still.search(x), f, 0.0, tobs, abs(z) / 2 + 1).size > 0
        if best.size:
            hit = det[best[0]]
            pulls.append((hit["freq"] - f) / hit["freq_err"])
            drifts.append((hit["fdot"] * tobs**2 - z) * 2 * np.pi * hit["freq_err"] * tobs)
    assert found >= 18
    assert seen_still <= 12
    assert 0.5 < np.sqrt(np.mean(np.square(pulls))) < 1.6
    # The error of the drift is that of the frequency times sqrt(60).
    assert np.all(np.abs(drifts) < 1.0)


def test_amplitudes_of_the_search_without_drift_are_taken_over():
    n, tobs = 1 << 16, (1 << 16) * TSAMP
    x = noise(n, 4) + pulses(n, 200.0, 12.0, 0.1, 15.0)
    spectra = FFTSearch(n, TSAMP)
    config = AccelConfig(zmax=40)
    shared, alone = AccelSearch(n, TSAMP, config, spectra=spectra), AccelSearch(n, TSAMP, config)
    birdies = [(50.0, 0.2)]
    spectra.search(x, birdies=birdies)
    assert same(shared.search(x, birdies=birdies), alone.search(x, birdies=birdies))
    assert matches(shared.search(x), 200.0, 12.0, tobs).size
    assert shared.search(np.zeros(n, np.float32)).size == 0


def test_a_band_finds_the_sums_whose_highest_harmonic_is_in_it():
    """Four harmonics up to 1 kHz: as in the whole plane, unless the band ends below or begins above."""
    n, tobs = 1 << 17, (1 << 17) * TSAMP
    x = noise(n, 6) + pulses(n, 250.0, 20.0, 0.1, 16.0)
    whole = AccelSearch(n, TSAMP, AccelConfig(zmax=100, nharm=4))
    best = whole.search(x)[0]
    assert best["nharm"] == 4
    for low, high, seen in ((0.0, 1200.0, True), (900.0, 1200.0, True), (0.0, 240.0, False), (1100.0, np.inf, False)):
        part = whole.within(Band(low, high))
        assert part.plane.npoints < whole.plane.npoints
        found = part.search(x)
        assert (matches(found, 250.0, 20.0, tobs).size > 0) == seen
        if seen:
            assert found[0]["power"] == pytest.approx(best["power"], rel=1e-5)
            assert found[0]["sigma"] == pytest.approx(best["sigma"], rel=1e-5)
    # The work space is shared, and has nothing of the band in it.
    assert same(whole.search(x), AccelSearch(n, TSAMP, AccelConfig(zmax=100, nharm=4)).search(x))


def test_a_band_in_little_memory_finds_the_same():
    n = 1 << 17
    x = noise(n, 7) + pulses(n, 250.0, 20.0, 0.1, 16.0)
    config = AccelConfig(zmax=200, nharm=4)
    found = [AccelSearch(n, TSAMP, config, memory=memory).within(Band(500.0, 2000.0)) for memory in (None, 24_000_000)]
    assert [search.plane.stored for search in found] == [True, False]
    assert same(found[0].search(x), found[1].search(x))


def test_error_of_the_drift():
    """sqrt(60) times that of the frequency in bins, by Cramer-Rao."""
    n, tobs = 1 << 16, (1 << 16) * TSAMP
    search = AccelSearch(n, TSAMP, AccelConfig(zmax=60, nharm=4))
    pulls = []
    for seed in range(40):
        z = -12.0 + 0.61 * seed
        det = search.search(noise(n, seed) + pulses(n, 311.7 + seed, z, 0.2, 14.0))
        best = matches(det, 311.7 + seed, z, tobs)
        assert best.size == 1
        hit = det[best[0]]
        pulls.append((hit["fdot"] * tobs**2 - z) / (np.sqrt(60) * hit["freq_err"] * tobs))
    assert 0.7 < np.sqrt(np.mean(np.square(pulls))) < 1.4


def test_a_pulsar_in_a_circular_orbit():
    """Over a tenth of the orbit the acceleration is constant enough; its sign is that of receding ever faster."""
    n, tobs = 1 << 18, (1 << 18) * TSAMP
    period, orbit, f = 5e-3, 12 * tobs, 200.0
    found = 0
    for seed, phase in enumerate(np.linspace(0, 1, 8, endpoint=False)):
        # Largest acceleration: 25 bins of drift.
        a = 25 * C * period / tobs**2
        omega = 2 * np.pi / orbit
        t = (np.arange(n) + 0.5) * TSAMP - tobs / 2
        # Line-of-sight distance x(t) with acceleration a cos(...) at mid-observation, without the velocity there.
        x = a / omega**2 * (1 - np.cos(omega * t + 2 * np.pi * phase))
        x -= x[n // 2] + (x[n // 2 + 1] - x[n // 2 - 1]) / (2 * TSAMP) * t
        series = noise(n, seed) + shape(f * (t - x / C) + 0.2, 0.1, 15.0)
        det = searched(series, 200.0)
        z = -f * a * np.cos(2 * np.pi * phase) * tobs**2 / C
        best = matches(det, f, z, tobs, 3.0, 6.0)
        found += best.size > 0 and best[0] == 0
    assert found >= 7


def test_jerk():
    n, tobs = 1 << 16, (1 << 16) * TSAMP
    search = AccelSearch(n, TSAMP, AccelConfig(zmax=40, wmax=200, nharm=2))
    plain = AccelSearch(n, TSAMP, AccelConfig(zmax=40, nharm=2))
    gain = []
    for seed, (z, w) in enumerate([(8.0, 90.0), (-15.0, -70.0), (3.0, 20.0), (12.0, -95.0)]):
        x = noise(n, seed) + pulses(n, 123.4, z, 0.3, 16.0, w)
        det = search.search(x)
        hit = det[0]
        # The errors of frequency and change of drift are correlated, and this is in freq_err.
        assert abs(hit["freq"] - 123.4) < 4 * hit["freq_err"]
        assert abs(hit["fdot"] * tobs**2 - z) < 1.5
        assert abs(hit["fddot"] * tobs**3 - w) < 15
        straight = plain.search(x)
        gain.append(hit["power"] - (straight["power"][0] if straight.size else 0))
    assert max(gain) > 30


def test_memory_makes_no_difference():
    n = 1 << 17
    x = noise(n, 3) + pulses(n, 77.3, 1.7, 0.05, 25.0)
    for config in (AccelConfig(zmax=100, nharm=8, threshold=-4), AccelConfig(zmax=30, nharm=16, threshold=-4)):
        whole = AccelSearch(n, TSAMP, config)
        slabs = AccelSearch(n, TSAMP, config, memory=25_000_000)
        assert whole.plane.stored
        assert not slabs.plane.stored
        assert slabs.plane.memory_bytes <= 25_000_000
        assert slabs.plane.npoints > whole.plane.npoints
        a, b = whole.search(x), slabs.search(x)
        assert len(a) == len(b) > 3
        # The bytes are the same, cells of hits begin elsewhere.
        for hit in a:
            near = b[np.argmin(np.abs(b["freq"] - hit["freq"]))]
            assert abs(near["freq"] - hit["freq"]) < 0.1 * hit["freq_err"]
            assert near["power"] == pytest.approx(hit["power"], rel=1e-3)
            assert near["nharm"] == hit["nharm"]


def test_what_is_allocated_is_what_is_announced():
    for config, memory in ((AccelConfig(zmax=100), None), (AccelConfig(zmax=40, wmax=100), 60_000_000)):
        search = AccelSearch(1 << 17, TSAMP, config, memory=memory)
        b = search._buffers()
        b.fit(search.plane)
        held = sum(v.nbytes for v in vars(b).values() if isinstance(v, np.ndarray) and v.base is None)
        held += sum(v.base.nbytes for v in (b.plane, b.work, b.staged))
        assert held < search.plane.memory_bytes
        assert search.plane.memory_bytes < 1.2 * held + 20_000_000


@pytest.mark.parametrize(
    ("zmax", "nharm", "log2n"),
    [(0.0, 8, 16), (30.0, 1, 14), (30.0, 1, 16), (100.0, 8, 14), (100.0, 8, 16), (60.0, 16, 14), (60.0, 16, 16)],
)
def test_false_alarms_are_as_many_as_promised(zmax, nharm, log2n):
    n, seeds = 1 << log2n, 60
    search = AccelSearch(n, TSAMP, AccelConfig(zmax=zmax, nharm=nharm, threshold=-1.5))
    promised = seeds * stats.expected_from_sigma(-1.5)
    found = sum(len(search.search(noise(n, 1000 + seed))) for seed in range(seeds))
    assert abs(found - promised) < 3 * np.sqrt(promised) + 0.15 * promised


def test_false_alarms_on_red_noise_drift_and_gaps():
    n, seeds = 1 << 15, 30
    search = AccelSearch(n, TSAMP, AccelConfig(zmax=100, threshold=-1.0))
    promised = seeds * stats.expected_from_sigma(-1.0)
    total = 0
    for seed in range(seeds):
        x = red_and_drifting(n, seed)
        x[5000:6000] = np.mean(x)
        x[17] = np.nan
        total += len(search.search(x.astype(np.float32)))
    assert 0.4 * promised < total < promised + 4 * np.sqrt(promised)


def test_one_detection_of_a_strong_signal():
    """Powers far beyond what a byte holds; no ridges, sidelobes or ratios of the frequency are left."""
    n, tobs = 1 << 17, (1 << 17) * TSAMP
    search = AccelSearch(n, TSAMP, AccelConfig(zmax=100, nharm=8))
    for seed, (z, snr) in enumerate([(0.0, 100.0), (9.0, 100.0), (-12.0, 400.0)]):
        det = search.search(noise(n, seed) + pulses(n, 99.31, z, 0.07, snr))
        assert matches(det, 99.31, z, tobs)[0] == 0
        # The level is known from 4200 powers: more than that is worth its logarithm only.
        assert det["power"][0] > 0.15 * snr**2
        assert det["sigma"][0] > 30
        assert len(det) <= 5


def test_the_frequency_is_not_a_fraction_of_it():
    """At a fifth, 16 harmonics hold three of a pulsar of which the limit of drift leaves a sum of two."""
    n, tobs = 1 << 17, (1 << 17) * TSAMP
    for seed in range(6):
        x = noise(n, seed) + pulses(n, 77.3, 9.7, 0.05, 25.0)
        det = AccelSearch(n, TSAMP, AccelConfig(zmax=30, nharm=16)).search(x)
        assert matches(det, 77.3, 9.7, tobs)[0] == 0
        assert det["nharm"][0] == 2


def test_two_pulsars_at_one_frequency_but_other_drift():
    n, tobs = 1 << 16, (1 << 16) * TSAMP
    x = noise(n, 1) + pulses(n, 100.0, 20.0, 0.3, 18.0) + pulses(n, 100.0, -20.0, 0.3, 18.0)
    det = searched(x, 60.0, nharm=2)
    assert matches(det, 100.0, 20.0, tobs).size == 1
    assert matches(det, 100.0, -20.0, tobs).size == 1


@pytest.mark.parametrize("n", [1 << 16, 60_001, 65_539])
def test_padding_changes_nothing(n):
    """Frequency, drift and power refer to the data, not to the padded transform."""
    tobs = n * TSAMP
    det = searched(noise(n, 4) + pulses(n, 150.0, 21.0, 0.1, 20.0), 100.0)
    assert abs(det["freq"][0] - 150.0) < 4 * det["freq_err"][0]
    assert abs(det["fdot"][0] * tobs**2 - 21.0) < 0.6
    assert det["power"][0] > 0.7 * 20**2 / 2


def test_limits_of_acceleration_and_drift():
    n, tobs = 1 << 16, (1 << 16) * TSAMP
    f, z = 150.0, 30.0
    x = noise(n, 4) + pulses(n, f, z, 0.3, 25.0)
    a = z * C / (f * tobs**2)
    for config, seen in (
        (AccelConfig(accel_max=1.2 * a, nharm=2), True),
        (AccelConfig(accel_max=0.8 * a, nharm=2), False),
        (AccelConfig(zmax=35, nharm=1), True),
        (AccelConfig(zmax=25, nharm=1), False),
        (AccelConfig(zmax=25, accel_max=1.2 * a, nharm=1), False),
        (AccelConfig(zmax=0, nharm=1), False),
    ):
        assert (matches(AccelSearch(n, TSAMP, config).search(x), f, z, tobs).size > 0) == seen
    few = AccelSearch(n, TSAMP, AccelConfig(accel_max=1.2 * a))
    assert few.plane.npoints < AccelSearch.estimate(n, TSAMP, AccelConfig(zmax=1200)).trials
    assert few.ntrials(-20.0) < AccelSearch(n, TSAMP, AccelConfig(zmax=1200)).ntrials(-20.0)


def test_period_range_and_birdies():
    n = 1 << 16
    x = noise(n, 6) + pulses(n, 100.0, 12.0, 0.3, 40.0)
    assert searched(x)["freq"][0] == pytest.approx(100.0, abs=0.01)
    for limits in ({"p_min": 0.012}, {"p_max": 0.008}):
        assert not np.any(np.abs(searched(x, **limits)["freq"] - 100.0) < 1.0)
    assert searched(x, birdies=[(100.0 * k, 6.0) for k in range(1, 19)]).size == 0
    assert len(searched(x, threshold=-4, max_detections=7)) == 7


def test_real_pulsar(shared_data):
    x = np.fromfile(shared_data / "series" / "GBT_J1807-0847.dat", dtype=np.float32)
    search = AccelSearch(x.size, 163.84e-6, AccelConfig(zmax=20, nharm=16))
    det = search.search(x)
    assert 1 / det["freq"][0] == pytest.approx(0.1637113, rel=1e-4)
    assert abs(det["fdot"][0]) * search.tobs**2 < 0.2
    # The same at zero drift.
    best = FFTSearch(x.size, 163.84e-6).search(x)[0]
    assert det["sigma_single"][0] == pytest.approx(best["sigma_single"], rel=0.1)


def test_sigma_agrees_with_the_search_without_drift():
    """What is said of a pulsar that does not drift differs by what the grid takes, and by the trials."""
    n = 1 << 16
    ratios = []
    for seed in range(10):
        x = noise(n, seed) + pulses(n, 100.0 + 1.37 * seed, 0.0, 0.1, 20.0)
        mine = searched(x, 50.0)[0]
        plain = FFTSearch(n, TSAMP).search(x)[0]
        ratios.append(mine["sigma_single"] / plain["sigma_single"])
        assert mine["sigma"] < mine["sigma_single"]
    assert 1.0 < np.mean(ratios) < 1.08


def test_table_and_order():
    n = 1 << 15
    x = (50 * (noise(n, 2) + pulses(n, 77.7, 5.0, 0.1, 25.0))).astype(np.int16)
    det = AccelSearch(n, TSAMP, AccelConfig(zmax=50, threshold=-3)).search(x, dm=12.5, dm_index=3)
    assert det.dtype == dtype_of(DETECTION_COLUMNS)
    assert len(det) > 3
    assert np.all(np.diff(det["logp"]) >= 0)
    assert set(det["dm"]) == {12.5}
    assert set(det["dm_index"]) == {3}
    assert set(det["kind"]) == {"accel"}
    assert np.all(det["fddot"] == 0)
    assert np.all(np.isnan(det["snr"]) & np.isnan(det["width"]))
    assert np.all(det["sigma"] < det["sigma_single"])
    np.testing.assert_allclose(det["logp"], stats.power_logp(det["power"], det["nharm"]), rtol=1e-5)
    # More DMs, more trials.
    one = AccelSearch(n, TSAMP, AccelConfig(zmax=50), ntrials_dm=50).search(x)
    assert one["sigma"][0] < det["sigma"][0]
    # Its grid may be coarser: the peak is the same but for the last steps to it.
    assert one["logp"][0] == pytest.approx(det["logp"][0], rel=1e-6)


@pytest.mark.parametrize("n", [256, 257, 1000, 4099])
@pytest.mark.parametrize("config", [AccelConfig(), AccelConfig(zmax=1200), AccelConfig(zmax=10, wmax=50, nharm=2)])
def test_any_length(n, config):
    x = noise(n, 1) + 2 * np.cos(2 * np.pi * 0.2345 * np.arange(n)).astype(np.float32)
    det = AccelSearch(n, 1.0, config).search(x)
    assert abs(det["freq"][0] - 0.2345) < 0.3 / n
    assert AccelSearch(n, 1.0, config).search(np.zeros(n, np.float32)).size == 0
    assert AccelSearch(n, 1.0, config).search(np.full(n, np.nan, np.float32)).size == 0


def test_too_little_memory_is_told():
    with pytest.raises(ConfigError, match="are needed"):
        AccelSearch(1 << 20, 1e-3, AccelConfig(zmax=1000), memory=1_000_000)


def test_threads_give_what_one_gives():
    n = 1 << 14
    search = AccelSearch(n, TSAMP, AccelConfig(zmax=50, threshold=-4))
    series = [noise(n, s) for s in range(8)]
    alone = [search.search(x) for x in series]
    out = side_by_side(search.search, series, 8)
    assert all(len(a) > 0 for a in alone)
    assert all(same(a, b) for a, b in zip(alone, out, strict=True))
