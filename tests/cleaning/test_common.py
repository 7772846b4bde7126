"""Lines that beams share: interference where no source could be, and nothing else."""

import numpy as np
import pytest

from pulsar.cleaning.birdies import CHANCE, MOST, Spectrum, fraction_lost
from pulsar.cleaning.common import MOST_DMS, NEAR, Lines, common_lines, find_lines, line_dms, threshold
from pulsar.config.load import load_config
from pulsar.config.model import FFTConfig
from pulsar.constants import KDM
from pulsar.searches.fft import FFTSearch
from pulsar.sky.observatory import Receiver

FREQS = np.linspace(1450.0, 1050.0, 64)
DELAY = KDM * (FREQS**-2.0 - FREQS[0] ** -2.0)
TSAMP, NSAMPS = 1e-3, 1 << 15
TOBS = TSAMP * NSAMPS
DMS = line_dms(FREQS, 0.5 / TSAMP, 300.0)
RECEIVER = Receiver(load_config("fast-19beam").receiver)
SEARCH = FFTSearch(NSAMPS, TSAMP, FFTConfig())
INNER = (1, 2, 3, 4, 5, 6, 7)


def lines(signals, seed):
    """Of noise and sinusoids (frequency [Hz], amplitude over the noise of a sample, DM) in one beam."""
    rng = np.random.default_rng(seed)
    t = np.arange(NSAMPS) * TSAMP
    # Noise of groups of channels, so that it has at each DM what real noise has.
    noise = rng.normal(size=(16, NSAMPS)) / 4.0
    parts = DELAY.reshape(16, 4).mean(axis=1)

    def at(i):
        shift = np.rint(DMS[i] * parts / TSAMP).astype(int)
        series = sum(np.roll(row, -s) for row, s in zip(noise, shift, strict=True))
        for freq, amplitude, dm in signals:
            wave = np.exp(2j * np.pi * freq * (DMS[i] - dm) * DELAY).mean()
            series = series + amplitude * np.real(wave * np.exp(2j * np.pi * freq * t))
        return np.asarray(series, dtype=np.float32)

    return find_lines(Spectrum(SEARCH.spectrum(at(0)), TSAMP, TOBS), at, DMS, FREQS)


def common(strength, receiver=RECEIVER, seed=0):
    """Common lines where beam b has the sinusoids strength[b]."""
    return common_lines({b: lines(s, seed + b) for b, s in strength.items()}, receiver)


def test_a_slow_hum_in_all_beams_is_common():
    for seed in (0, 100, 200):
        (bird,) = common({b: [(3.0123, 0.08, 0.0)] for b in INNER}, seed=seed)
        assert abs(bird.freq - 3.0123) < 1 / TOBS
        assert 2 / TOBS < bird.width < 8 / TOBS
        assert bird.reason == "common"


def test_a_slow_pulsar_in_its_sidelobes_is_not(monkeypatch):
    # Bright in one beam, in two neighbours, in a patch of three: 5 % elsewhere, where it stands as well. At DM 2
    # dispersion does not tell.
    for own in ({1}, {1, 2}, {1, 2, 3}):
        strength = {b: [(3.0, 2.0 if b in own else 0.1, 2.0)] for b in INNER}
        assert all(lines(s, b).power.size for b, s in strength.items())
        assert common(strength) == []
    monkeypatch.setattr("pulsar.cleaning.common.SIMILAR", 0.01)
    assert len(common(strength)) == 1


def test_strengths_are_not_those_of_whitened_powers():
    """A strong slow line makes the level of its neighbourhood itself: whitened powers hardly grow any more."""
    power = [float(lines([(3.0123, a, 0.0)], 1).power[0]) for a in (0.1, 0.4, 1.6)]
    # A sinusoid of amplitude a has the power n a^2 / 4 in units of the noise.
    np.testing.assert_allclose(power, [NSAMPS * a**2 / 4 for a in (0.1, 0.4, 1.6)], rtol=0.2)


def test_what_is_dispersed_is_not_even_where_all_beams_have_it_alike():
    # Only sidelobes see it: the strengths are those of interference.
    pulsar = {b: [(7.3, 0.3, 60.0)] for b in INNER}
    assert all(lines(s, b).power.size for b, s in pulsar.items())
    assert common(pulsar) == []
    # The same without dispersion.
    assert len(common({b: [(7.3, 0.3, 0.0)] for b in INNER})) == 1


def test_a_harmonic_that_is_dispersed_tells_of_all():
    """A slow line of DM 8 that is in all beams alike: of one five times as fast dispersion tells."""
    slow, fast, other = (7.1, 0.1, 8.0), (35.5, 0.1, 8.0), (37.2, 0.1, 8.0)
    assert len(common({b: [slow] for b in INNER})) == 1
    assert common({b: [fast] for b in INNER}) == []
    assert common({b: [slow, fast] for b in INNER}) == []
    # Something else that is dispersed is no harmonic of it.
    assert len(common({b: [slow, other] for b in INNER})) == 1


def line(freq, power=50.0, alone=True):
    """One undispersed line."""
    one = np.array([freq])
    kept = np.ones((1, 3))
    return Lines(one, one, one, np.array([power]), power * kept, kept, np.array([3]), np.array([alone]), TOBS, 500.0)


def test_faint_lines_need_beams_enough():
    """A line that one beam cannot tell from noise is none in two that are far from each other, but in four."""
    none = Lines(*(np.zeros(0) for _ in range(4)), np.zeros((0, 3)), np.zeros((0, 3)), *(np.zeros(0),) * 2, TOBS, 500.0)
    for alone in (True, False):
        far = {b: line(3.0, alone=alone) if b in (8, 14) else none for b in range(1, 20)}
        assert bool(common_lines(far, RECEIVER)) == alone
        assert len(common_lines(dict.fromkeys(INNER[:4], line(3.0, alone=alone)), RECEIVER)) == 1


def test_noise_makes_no_line_of_several_beams():
    """Exponential powers, thousands of spectra of 19 beams: the promised chance holds at a laxer one as well."""
    rng = np.random.default_rng(5)
    n, nights = 2048, 400
    chance = 1.0
    level = float(np.log(NEAR) + np.log(n * 3876 / chance) / 4)
    assert level == pytest.approx(threshold(n) - np.log(1 / CHANCE) / 4)
    hits = 0
    for _ in range(nights):
        at, beam = [], []
        for b in range(1, 20):
            # Whole bins, independent.
            above = np.flatnonzero(rng.exponential(size=n // 2) > level)
            at += above.tolist()
            beam += [b] * above.size
        order = np.argsort(at)
        at, beam = np.array(at)[order], np.array(beam)[order]
        hits += any(len(set(beam[i : i + 4])) == 4 and at[i + 3] - at[i] <= 1 for i in range(len(at) - 3))
    assert hits <= chance * nights


def test_beams_that_have_nothing_to_do_with_each_other():
    hum = [(3.0, 0.1, 0.0)]
    assert len(common({b: hum if b in (8, 14) else [] for b in range(1, 20)})) == 1
    # Neighbours may be a source, also with one between them that was not observed.
    assert common({b: hum if b in (1, 2) else [] for b in range(1, 20)}) == []
    assert common({b: hum if b in (2, 5) else [] for b in range(2, 20)}) == []
    # Without a geometry only the number of beams counts.
    plain = Receiver(load_config().receiver)
    assert common({b: hum if b in (8, 14) else [] for b in range(1, 20)}, plain) == []
    assert len(common(dict.fromkeys(INNER, hum), plain)) == 1


def test_few_beams_tell_nothing():
    hum = [(3.0, 0.1, 0.0)]
    assert common(dict.fromkeys((1, 2, 3), hum)) == []
    assert common(dict.fromkeys((1, 8, 14), hum)) == []
    # Beams that overlap more, as phased ones do, may see a source in more of them.
    wide = Receiver(RECEIVER.config.model_copy(update={"max_beams": 7}))
    assert common(dict.fromkeys(INNER, hum), wide) == []
    assert len(common(dict.fromkeys(range(1, 9), hum), wide)) == 1


def test_lines_of_other_frequencies_or_of_noise_are_not_common():
    assert common({b: [(3.0 + 3 * b / TOBS, 0.1, 0.0)] for b in INNER}) == []
    assert sum(len(common({b: [] for b in INNER}, seed=s)) for s in range(0, 160, 20)) == 0


def test_the_range_is_that_of_the_widest_beam():
    drifting = [(3.0 + k / TOBS, 0.1, 0.0) for k in range(4)]
    (bird,) = common({b: drifting if b == 4 else [(3.0, 0.1, 0.0)] for b in INNER})
    assert bird.freq - bird.width / 2 < 3.0 < 3.0 + 3 / TOBS < bird.freq + bird.width / 2


def test_no_more_than_a_part_is_taken():
    freq, n = 2.0 + 1.9 * np.arange(200), np.ones(200, dtype=np.int64)
    one = Lines(freq, freq, freq, 100.0 + freq, np.zeros((200, 3)), np.ones((200, 3)), 3 * n, n > 0, TOBS, 0.5 / TSAMP)
    birds = common_lines(dict.fromkeys(INNER, one), RECEIVER)
    assert MOST - 3 / TOBS / 500 < fraction_lost(birds, 0.5 / TSAMP) <= MOST
    # The strongest first.
    assert [b.freq for b in birds] == pytest.approx(freq[::-1][: len(birds)])


def test_dms_from_a_quarter_turn_on():
    across = DELAY[-1]
    assert DMS[0] == 0
    assert DMS[1] * across * 0.5 / TSAMP == pytest.approx(0.25)
    assert DMS[-1] == pytest.approx(300.0)
    assert (np.diff(np.log(DMS[1:])) < np.log(2.001)).all()
    assert line_dms(FREQS, 500.0, 3e6).size == MOST_DMS + 1
    assert line_dms(FREQS, 500.0, 0.0).tolist() == [0.0]
    assert line_dms(FREQS, 500.0, 0.01).tolist() == [0.0, 0.01]
    assert line_dms(FREQS[:1], 500.0, 10.0).tolist() == [0.0]
