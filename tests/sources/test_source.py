"""What a source leaves elsewhere: against samples that are rendered, and folded or transformed there."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pulsar.config.model import FoldConfig
from pulsar.constants import KDM
from pulsar.data.fold import Fold, FoldParams
from pulsar.data.series import TimeSeries
from pulsar.folding.folder import fold_series
from pulsar.folding.refine import refine
from pulsar.sources.source import FoldResidual, Source, left_of

NSAMPS, TSAMP, FREQ = 1 << 16, 1e-3, 3.217
T = (np.arange(NSAMPS) + 0.5 - NSAMPS / 2) * TSAMP


def pulses(freq: float, fdot: float = 0.0, width: float = 0.02) -> NDArray[np.float64]:
    """A pulse of 1 in every turn, brighter in the second half of the time."""
    phase = freq * T + 0.5 * fdot * T**2 - 0.3
    shape = np.exp(-0.5 * ((phase - np.rint(phase)) / width) ** 2)
    return np.asarray((1.0 + 0.3 * np.tanh(T / 10.0)) * shape)


def folded(data: NDArray[np.float64], freq: float, fdot: float = 0.0) -> Fold:
    series = TimeSeries(data.astype(np.float32), TSAMP, 0.0, 59000.0)
    return refine(fold_series(series, [FoldParams(freq, fdot, 0.0)], FoldConfig())[0], search_dm=False)


def power_at(source: Source, freq: float, fdot: float = 0.0, nharm: int = 8) -> float:
    """Power of a source in the sum of harmonics of a frequency."""
    wanted = np.ones((1, nharm), dtype=np.bool_)
    return float(source.powers_at(np.array([freq]), np.array([fdot]), np.zeros(1), wanted, TSAMP).sum())


def left(there: Fold, *sources: Source) -> FoldResidual:
    return left_of(there, {str(i): (*one.rows_in(there), one.spread) for i, one in enumerate(sources)})


@pytest.mark.parametrize("ratio", [1.0, 0.5, 2.0, 1.5, 1 / 3, 2 / 3, 3.0, 0.75])
@pytest.mark.parametrize("strength", [0.5, 3.0])
def test_what_is_left_of_a_fold_at_a_ratio_is_noise(ratio: float, strength: float) -> None:
    noise = np.random.default_rng(1).normal(size=NSAMPS)
    data = noise + strength * pulses(FREQ)
    source, there = Source.of(folded(data, FREQ)), folded(data, FREQ * ratio)
    rest = left(there, source)
    assert there.snr > 5.0
    # Noise has 2 to 3.5 in its best box.
    assert rest.part * there.snr < 4.0
    assert rest.steady < 4.0


@pytest.mark.parametrize("ratio", [7, 10, 12, 14])
def test_of_pulses_that_vary_the_faint_harmonics_are_known(ratio: int) -> None:
    """Two wide components vary by themselves and scatter in the low harmonics; a narrow one is steady."""
    rng, phase = np.random.default_rng(3), FREQ * T
    turn, off = np.rint(phase).astype(int), phase - np.rint(phase)
    first, second = rng.lognormal(-0.25, np.sqrt(0.5), (2, np.ptp(turn) + 1))[:, turn - turn.min()]
    data = rng.normal(size=NSAMPS) + np.exp(-0.5 * ((off - 0.02) / 0.01) ** 2)
    data += 6.0 * (first * np.exp(-0.5 * (off / 0.06) ** 2) + 0.7 * second * np.exp(-0.5 * ((off + 0.35) / 0.06) ** 2))
    fold, there = folded(data, FREQ), folded(data, FREQ * ratio)
    assert fold.extra["noise_scale"] > 2.0
    assert there.snr > 5.0
    assert left(there, Source.of(fold)).part * there.snr < 4.0


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_a_line_beside_one_harmonic_hides_no_lower_ones(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=NSAMPS)
    data = noise + 2.0 * pulses(FREQ, width=0.01) + 3.0 * np.sin(2.0 * np.pi * (40.0 * FREQ + 0.05) * T)
    source = Source.of(folded(data, FREQ))
    for ratio in (0.5, 1.5, 9.0, 13.0):
        there = folded(data, ratio * FREQ)
        assert left(there, source).part * there.snr < 5.0


def test_another_pulsar_at_the_same_harmonics_is_left() -> None:
    noise = np.random.default_rng(2).normal(size=NSAMPS)
    both = noise + 2.0 * pulses(FREQ) + 0.7 * pulses(2.0 * FREQ + 0.05)
    there = folded(both, 2.0 * FREQ + 0.05)
    assert there.snr > 15.0
    assert left(there, Source.of(folded(both, FREQ))).part == pytest.approx(1.0, abs=0.1)


def over(data: NDArray[np.float64], first: int, freq: float, fdot: float = 0.0) -> Fold:
    """A fold over the rest of the samples from one on, at the frequency that it has in their middle."""
    fold = folded(data[first:], freq + fdot * 0.5 * first * TSAMP, fdot)
    return replace(fold, start=first * TSAMP)


@pytest.mark.parametrize("ratio", [1.0, 2.0, 1.5])
@pytest.mark.parametrize("fdot", [0.0, 2e-4])
def test_a_part_of_the_observation_has_what_its_sub_integrations_have(ratio: float, fdot: float) -> None:
    data = np.random.default_rng(5).normal(size=NSAMPS) + 2.0 * pulses(FREQ, fdot)
    whole, there = Source.of(folded(data, FREQ, fdot)), over(data, 3 * NSAMPS // 8, ratio * FREQ, ratio * fdot)
    rest = left(there, whole.during(there.start, there.tobs))
    assert there.snr > 20.0
    assert rest.part * there.snr < 4.5
    powers = power_at(whole.during(there.start, there.tobs), there.after.freq, there.after.fdot)
    assert powers == pytest.approx(power_at(Source.of(there), there.after.freq, there.after.fdot), rel=0.15)


def test_what_was_seen_in_a_part_is_off_elsewhere() -> None:
    first = NSAMPS // 2
    data = np.random.default_rng(6).normal(size=NSAMPS)
    data[first:] += 2.0 * pulses(FREQ)[first:]
    there = folded(data, 2.0 * FREQ)
    rest = left(there, Source.of(over(data, first, FREQ)).during(0.0, there.tobs))
    assert there.snr > 15.0
    assert rest.part * there.snr < 4.5


@pytest.mark.parametrize("mean", [-0.02, 0.0, 0.02])
def test_of_what_was_off_in_a_part_nothing_is_left_there(mean: float) -> None:
    """Noise makes the brightness there scatter around nothing, and its mean may be below it."""
    source = Source.of(folded(np.random.default_rng(1).normal(size=NSAMPS) + 2.0 * pulses(FREQ), FREQ))
    gains, quarter = source.gains.copy(), len(source.gains) // 4
    gains[:quarter] = mean + 0.02 * (-1.0) ** np.arange(quarter)
    tobs = NSAMPS * TSAMP
    off = replace(source, gains=gains).during(0.0, quarter / len(gains) * tobs)
    assert power_at(source, FREQ) > 1000.0
    assert power_at(off, off.freq) < 1e-3 * power_at(source, FREQ)
    assert off.power < 1e-3 * source.power


def test_a_fold_without_any_harmonic_is_no_source() -> None:
    fold = folded(np.random.default_rng(8).normal(size=NSAMPS), FREQ)
    empty = replace(fold, profile=np.zeros_like(fold.profile), time_phase=np.zeros_like(fold.time_phase))
    source = Source.of(replace(empty, freq_phase=np.zeros_like(fold.freq_phase)))
    assert power_at(source, FREQ) == 0.0
    assert np.isfinite(source.gains).all()


@pytest.mark.parametrize("number", [90, 140, 200])
def test_a_pulse_of_a_sample_has_harmonics_beyond_its_bins(number: int) -> None:
    freq = 1.0 / 0.5127
    data = np.random.default_rng(7).normal(size=NSAMPS)
    data[np.rint((np.arange(0.0, NSAMPS * TSAMP, 1.0 / freq)) / TSAMP).astype(int)] += 40.0
    source = Source.of(folded(data, freq))
    assert source.nbins // 2 < number
    line = np.exp(-2j * np.pi * number * source.freq * T)
    expected = abs(line @ data) ** 2 / NSAMPS
    assert expected > 50.0
    assert power_at(source, number * source.freq, nharm=1) == pytest.approx(expected, rel=0.5)


def test_samples_added_up_for_a_slow_pulsar_mirror_nothing_in_the_fold_of_a_fast_one() -> None:
    slow = Source.of(folded(np.random.default_rng(1).normal(size=NSAMPS) + 3.0 * pulses(0.3137), 0.3137))
    slow = replace(slow, resolution=8.0 * TSAMP)
    # Where its second harmonic is mirrored in samples as long as those of its own fold.
    freq = 1.0 / slow.resolution + 2.0 * slow.freq
    there = folded(np.random.default_rng(2).normal(size=NSAMPS) + pulses(freq, width=0.1), freq)
    assert there.extra["resolution"] == TSAMP
    assert there.snr > 50.0
    assert left(there, slow).part == pytest.approx(1.0, abs=0.05)


def test_two_equal_sources_are_not_taken_twice() -> None:
    noise = np.random.default_rng(3).normal(size=NSAMPS)
    data = noise + 2.0 * pulses(FREQ)
    one = Source.of(folded(data, FREQ))
    there = folded(data, 2.0 * FREQ)
    assert left(there, one, one).part == pytest.approx(left(there, one).part, abs=0.01)


@pytest.mark.parametrize("bins", [0.0, 0.4, 1.5, 7.3])
@pytest.mark.parametrize("drift", [0.0, 3.0])
def test_power_in_a_sum_of_harmonics(bins: float, drift: float) -> None:
    tobs = NSAMPS * TSAMP
    fdot = drift / tobs**2
    data = 1.5 * pulses(FREQ, fdot)
    noise = np.random.default_rng(4).normal(size=NSAMPS)
    source = Source.of(folded(data + noise, FREQ, fdot))
    at = FREQ + bins / tobs
    turns = np.exp(-2j * np.pi * np.arange(1, 9)[:, None] * at * T)
    expected = float(np.sum(np.abs(turns @ data) ** 2)) / NSAMPS
    strongest = power_at(source, FREQ, fdot)
    assert power_at(source, at) == pytest.approx(expected, rel=0.15, abs=0.05 * strongest)


@pytest.mark.parametrize("off", [0.0, 3.0, -8.0])
def test_harmonics_at_another_dm(off: float) -> None:
    freqs = np.linspace(1250.0, 1450.0, 8)
    delays = KDM * (freqs**-2.0 - freqs.max() ** -2.0)
    k = np.arange(1, 20)
    shape = np.exp(-0.5 * (2.0 * np.pi * k * 0.02) ** 2).astype(np.complex128)
    source = Source(
        freq=FREQ,
        fdot=0.0,
        dm=40.0,
        middle=30.0,
        amplitudes=np.repeat(shape[None, :], 8, axis=0),
        known=np.ones(19, dtype=np.bool_),
        white=np.ones(19),
        band_delays=delays,
        gains=np.ones(4),
        spread=0.0,
        time_edges=np.linspace(-30.0, 30.0, 5),
        nbins=64,
        resolution=0.0,
    )
    # Dedispersed at a DM that is too high by `off` the bands come early.
    phase = np.arange(4096) / 4096
    seen = sum(
        np.real(np.exp(2j * np.pi * k * (phase[:, None] + FREQ * off * delay)) @ shape) * 2.0 for delay in delays
    )
    expected = np.fft.fft(np.asarray(seen))[1:20] / 4096 / np.sqrt(8)
    assert source.at_dm(40.0 + off) == pytest.approx(expected, rel=1e-6, abs=1e-9)
