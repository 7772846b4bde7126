import numpy as np
import pytest

from pulsar.config.model import FFTConfig, SiftConfig
from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of
from pulsar.search import stats
from pulsar.search.fft import FFTSearch
from pulsar.search.sift import sift

TOBS = 600.0


def table(rows):
    """Detections from (freq, nharm, excess power, dm_index)."""
    out = np.zeros(len(rows), dtype=dtype_of(DETECTION_COLUMNS))
    for i, (freq, nharm, excess, index) in enumerate(rows):
        out[i]["freq"], out[i]["nharm"], out[i]["power"] = freq, nharm, nharm + excess
        out[i]["dm_index"], out[i]["dm"] = index, 0.5 * index
        out[i]["freq_err"] = 0.39 / np.sqrt(excess) / nharm / TOBS
    out["logp"] = stats.power_logp(out["power"], out["nharm"])
    out["sigma_single"] = stats.sigma_from_logp(out["logp"])
    out["sigma"] = stats.trial_sigma(out["logp"], 1e6)
    return out


def pulsar(freq, excess, index, width=5):
    """A pulsar with its harmonics 2, 3 and 4 over some DMs."""
    rows = []
    for i in range(index - width, index + width + 1):
        fade = excess * max(0.0, 1 - abs(i - index) / (width + 1))
        rows += [(freq * m, 16 if m == 1 else 8, fade / m, i) for m in range(1, 5)]
    return [row for row in rows if row[2] > 25]


def test_one_source_with_its_harmonics():
    det = table(pulsar(3.3, 400.0, 60))
    (source,) = sift(det, TOBS)
    assert source.freq == 3.3
    assert source.dm == 30.0
    assert source.ndetections == 11
    assert (source.dm_lo, source.dm_hi) == (27.5, 32.5)
    assert [h.ratio for h in source.harmonics] == ["2", "3", "4"]
    assert source.flags == ()
    assert source.harmonic_of is None
    rows = np.concatenate([source.members, *(h.members for h in source.harmonics)])
    np.testing.assert_array_equal(np.sort(rows), np.arange(det.size))


def test_two_pulsars_stay_two():
    det = table(pulsar(3.3, 400.0, 60) + pulsar(7.123, 300.0, 62))
    assert [s.freq for s in sift(det, TOBS)] == [3.3, 7.123]


def test_one_frequency_at_two_dms():
    det = table(pulsar(3.3, 400.0, 60) + pulsar(3.3, 300.0, 160))
    assert [(s.freq, s.dm) for s in sift(det, TOBS)] == [(3.3, 30.0), (3.3, 80.0)]
    # A weak detection beyond a gap is the same signal.
    det = table([*pulsar(3.3, 400.0, 60), (3.3, 16, 40.0, 90)])
    (source,) = sift(det, TOBS)
    assert source.ndetections == 12
    assert source.dm_hi == 32.5


def test_exact_ratio_at_another_dm_stays():
    det = table([(3.3, 16, 400.0, 60), (6.6, 16, 300.0, 160)])
    assert [s.freq for s in sift(det, TOBS)] == [3.3, 6.6]


def test_fractions():
    # At 3/2 the sum holds the harmonics 3, 6 ... of the fundamental, and no more power than was found at 3 f.
    rows = [(2.0, 32, 900.0, 10), (6.0, 8, 300.0, 10), (3.0, 16, 290.0, 10), (1.0, 32, 880.0, 10)]
    (source,) = sift(table(rows), TOBS)
    assert source.freq == 2.0
    assert {h.ratio for h in source.harmonics} == {"3", "3/2", "1/2"}
    # Much more: a signal of its own, though marked.
    rows[2] = (3.0, 16, 600.0, 10)
    sources = sift(table(rows), TOBS)
    assert [s.freq for s in sources] == [2.0, 3.0]
    assert sources[1].harmonic_of == 0
    assert sources[1].ratio == (3, 2)


def test_weaker_submultiple_with_odd_harmonics_is_the_fundamental():
    # At 4 f more significant (fewer powers), yet f has 66 beyond it in its other 24 harmonics.
    det = table([(10.0, 8, 300.0, 4), (2.5, 32, 342.0, 4)])
    assert det["logp"][0] < det["logp"][1]
    (source,) = sift(det, TOBS)
    assert source.freq == 2.5
    assert [h.ratio for h in source.harmonics] == ["4"]
    # Without them it is the line at 10 Hz.
    (source,) = sift(table([(10.0, 8, 300.0, 4), (2.5, 32, 301.0, 4)]), TOBS)
    assert source.freq == 10.0
    assert [h.ratio for h in source.harmonics] == ["1/4"]


def test_hundreds_of_random_pulsars_are_kept():
    rng = np.random.default_rng(7)
    n = 300
    rows = [
        (10 ** rng.uniform(0.3, 2.5), 2 ** int(rng.integers(0, 6)), 10 ** rng.uniform(1.5, 3), int(i))
        for i in np.sort(rng.integers(0, 2000, n))
    ]
    assert len(sift(table(rows), TOBS)) >= 0.99 * n


def test_dm0_flag():
    rfi = [(50.0, 4, 300.0 - i, i) for i in range(20)]
    source = sift(table(rfi + pulsar(3.3, 400.0, 60)), TOBS)
    assert {s.freq: s.flags for s in source} == {3.3: (), 50.0: ("dm0",)}
    # With one DM there is nothing to tell from.
    assert sift(table(rfi[:1]), TOBS)[0].flags == ()
    # DM 0 was not searched.
    assert sift(table(rfi[1:]), TOBS)[0].flags == ()


def test_settings():
    det = table([*pulsar(3.3, 400.0, 60), (1.2345, 1, 30.0, 3)])
    assert len(sift(det, TOBS)) == 2
    assert len(sift(det, TOBS, SiftConfig(min_detections=2))) == 1
    assert len(sift(det, TOBS, SiftConfig(harmonics=False))) == 5
    assert len(sift(det, TOBS, fmin=2.0)) == 1
    assert len(sift(det, TOBS, fmax=2.0)) == 1
    close = table([(1.0, 1, 50.0, 0), (1.0 + 3 / TOBS, 1, 40.0, 1)])
    assert len(sift(close, TOBS)) == 2
    assert len(sift(close, TOBS, SiftConfig(freq_tolerance=4.0))) == 1


def test_nothing_and_nonsense():
    assert sift(table([]), TOBS) == []
    with pytest.raises(ValueError, match="tobs"):
        sift(table([]), 0.0)


def test_order_and_indices_are_consistent():
    rng = np.random.default_rng(3)
    rows = [(rng.uniform(1, 100), 4, rng.uniform(30, 300), int(i)) for i in np.sort(rng.integers(0, 100, 3000))]
    det = table(rows)
    sources = sift(det, TOBS)
    used = np.concatenate([m for s in sources for m in (s.members, *(h.members for h in s.harmonics))])
    np.testing.assert_array_equal(np.sort(used), np.arange(det.size))
    for source in sources:
        assert source.best["logp"] == det["logp"][source.members].min()
    assert sources[0].sigma == det["sigma"].max()


def test_two_pulsars_in_one_series():
    n, tsamp = 1 << 17, 1e-3
    x = np.random.default_rng(1).standard_normal(n)
    for period, snr in ((0.1713, 60.0), (0.0411, 30.0)):
        turns = np.arange(n) * tsamp / period
        p = np.exp(-4 * np.log(2) * ((turns - np.round(turns)) / 0.05) ** 2)
        x += p * snr / np.sqrt(np.sum((p - p.mean()) ** 2))
    search = FFTSearch(n, tsamp, FFTConfig(nharm=32))
    sources = sift(search.search(x.astype(np.float32)), search.tobs)
    assert 1 / sources[0].freq == pytest.approx(0.1713, rel=1e-5)
    assert 1 / sources[1].freq == pytest.approx(0.0411, rel=1e-5)
    assert all(s.sigma < 8 for s in sources[2:])


def accelerated(freq, z, excess, index=60):
    """A drifting pulsar: the search with acceleration sees all of it, the one without some of it on the way."""
    rows = [(freq, 8, excess, i) for i in range(index - 2, index + 3)]
    accel = table(rows)
    accel["kind"], accel["fdot"] = "accel", z / TOBS**2
    smeared = [(freq + 0.5 * f * z / TOBS, 4, excess * 0.2, index) for f in (-0.9, -0.4, 0.3, 0.8)]
    smeared += [(2 * (freq + 0.5 * f * z / TOBS), 4, excess * 0.1, index) for f in (-0.7, 0.6)]
    fft = table(smeared)
    fft["kind"] = "fft"
    return np.concatenate([accel, fft])


def test_what_a_drifting_pulsar_leaves_on_its_way_belongs_to_it():
    det = accelerated(50.0, -60.0, 300.0)
    (source,) = sift(det, TOBS)
    assert source.freq == 50.0
    assert source.best["fdot"] == pytest.approx(-60.0 / TOBS**2)
    assert source.found_by == ("accel", "fft")
    assert sorted(h.ratio for h in source.harmonics) == ["1"] * 4 + ["2"] * 2
    # At another DM, or beyond the drift, it is another source.
    other = table([(50.0 + 20 / TOBS, 4, 90.0, 150), (50.0 + 45 / TOBS, 4, 90.0, 60)])
    other["kind"] = "fft"
    assert len(sift(np.concatenate([det, other]), TOBS)) == 3


def test_searches_are_compared_corrected_for_their_trials():
    fft, ffa = table([(2.0, 16, 120.0, 60)]), table([(2.0, 16, 110.0, 60)])
    fft["kind"], ffa["kind"] = "fft", "ffa"
    fft["sigma"] = stats.trial_sigma(fft["logp"], 1e12)
    ffa["sigma"] = stats.trial_sigma(ffa["logp"], 1e5)
    (source,) = sift(np.concatenate([fft, ffa]), TOBS)
    assert source.best["kind"] == "ffa"
    assert source.found_by == ("ffa", "fft")
    assert source.ndetections == 2
