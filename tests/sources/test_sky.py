"""Which folds are sources: of pulses rendered at periods and parts of them, whatever is folded, and in what order."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from pulsar.config.model import FoldConfig
from pulsar.data.fold import Fold, FoldParams
from pulsar.data.series import TimeSeries
from pulsar.folding.folder import fold_series
from pulsar.folding.fundamental import one_pulse
from pulsar.folding.refine import refine
from pulsar.searches.sift import Group
from pulsar.searches.stats import power_logp
from pulsar.sources.candidate import AGREE, POSSIBLE, Candidate
from pulsar.sources.detections import Model, Observed
from pulsar.sources.pursue import pursue
from pulsar.sources.sky import CandidateSky
from pulsar.sources.source import Source

NSAMPS, TSAMP, FREQ = 1 << 16, 1e-3, 3.217
TOBS = NSAMPS * TSAMP
T = (np.arange(NSAMPS) + 0.5 - NSAMPS / 2) * TSAMP
OBSERVED = Observed(NSAMPS, np.zeros(0), TSAMP, (), {"fft": 0.0})


def pulses(freq: float, height: float, width: float = 0.02, phase: float = 0.3) -> NDArray[np.float64]:
    turns = freq * T - phase
    return np.asarray(height * np.exp(-0.5 * ((turns - np.rint(turns)) / width) ** 2))


def group_of(freq: float, excess: float) -> Group:
    """A detection of eight harmonics with 10^6 trials."""
    logp = float(power_logp(excess + 8.0, 8))
    sigma = float(np.sqrt(max(-2.0 * (logp + np.log(1e6)), 0.0)))
    fields = {"freq": freq, "freq_err": 1e-5, "dm": 0.0, "fdot": 0.0, "sigma": sigma, "logp": logp, "nharm": 8}
    row = np.zeros(
        1, dtype=[*((name, "f8") for name in fields), ("power", "f8"), ("width", "f8"), ("kind", "U8"), ("part", "U7")]
    )
    for name, value in fields.items():
        row[name] = value
    row["power"], row["width"], row["kind"] = excess + 8.0, np.nan, "fft"
    return Group(f"{freq:.6f}", row[0], np.zeros(1, dtype=np.int64), 0.0, 0.0, found_by=("fft",))


def folded(data: NDArray[np.float64], freq: float, lines: Sequence[tuple[float, float]] = ()) -> Fold:
    series = TimeSeries(data.astype(np.float32), TSAMP, 0.0, 59000.0)
    return refine(fold_series(series, [FoldParams(freq, 0.0, 0.0)], FoldConfig())[0], search_dm=False, lines=lines)


def sources(folds: Sequence[Fold], taken: Sequence[Model] = (), excesses: Sequence[float] = ()) -> list[float]:
    """Frequencies of the folds that stand, after some sources were taken out; each was detected with an excess."""
    powers = excesses or [0.5 * fold.snr**2 for fold in folds]
    candidates = [Candidate(group_of(f.after.freq, power), f) for f, power in zip(folds, powers, strict=True)]
    sky = CandidateSky([one.group for one in candidates], OBSERVED, taken)
    sky.fit(candidates)
    return sorted(one.freq for one in sky.accepted)


RATIOS = (1.0, 2.0, 3.0, 0.5, 1 / 3, 1.5, 2 / 3, 5.0, 0.2)


@pytest.mark.parametrize("height", [1.0, 6.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_of_all_periods_at_which_a_pulsar_is_seen_its_own_stands(height: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = rng.normal(size=NSAMPS) + pulses(FREQ, height)
    folds = [folded(data, FREQ * ratio) for ratio in rng.permutation(RATIOS)]
    assert sources(folds) == pytest.approx([FREQ], abs=0.005 / TOBS)


@pytest.mark.parametrize(("excesses", "period"), [((60.0, 40.0), 1.0), ((40.0, 60.0), 0.5)])
def test_where_the_folds_leave_it_open_the_surer_detection_has_the_period(
    excesses: tuple[float, float], period: float
) -> None:
    """Every second pulse alone: one pulse has 3 to 4 sigma of what scatters between sub-integrations."""
    data = np.random.default_rng(20).normal(size=NSAMPS) + pulses(FREQ, 0.18)
    folds = [folded(data, FREQ), folded(data, 2.0 * FREQ)]
    width = len(folds[0].profile) // 16
    assert POSSIBLE < one_pulse(folds[0], (round(0.3 * len(folds[0].profile)) - width // 2, width), 2, {2}) < AGREE
    assert sources(folds, excesses=excesses) == pytest.approx([FREQ / period], abs=0.05 / TOBS)


@pytest.mark.parametrize(("height", "other"), [(3.0, 1.2), (0.6, 0.36), (1.5, 1.05), (3.0, 2.4)])
def test_unequal_pulses_half_a_turn_apart_are_one_pulsar(height: float, other: float) -> None:
    """Also where both together have a higher S/N, at half of the period, than one of them."""
    data = np.random.default_rng(3).normal(size=NSAMPS) + pulses(FREQ, height) + pulses(FREQ, other, phase=0.8)
    folds = [folded(data, FREQ * ratio) for ratio in (*RATIOS, 4.0, 8.0)]
    assert sources(folds) == pytest.approx([FREQ], abs=0.02 / TOBS)


@pytest.mark.parametrize(("height", "seed"), [(12.0, 6), (20.0, 7), (12.0, 8)])
def test_a_pulse_that_is_far_narrower_than_a_bin_is_no_other_at_parts_of_its_period(height: float, seed: int) -> None:
    """These have as many bins in a part of the turn: the S/N is nearly the same, in harmonics that the whole lacks."""
    freq = 0.2213
    data = np.random.default_rng(seed).normal(size=NSAMPS) + pulses(freq, height, width=0.0005)
    folds = [folded(data, freq * ratio) for ratio in (1.0, 3.0, 4.0, 7.0)]
    assert folds[3].snr > 10.0
    assert sources(folds) == pytest.approx([freq], abs=0.02 / TOBS)


def test_a_pulsar_of_twice_the_period_is_another_where_its_pulse_is_elsewhere_in_the_turn() -> None:
    data = np.random.default_rng(5).normal(size=NSAMPS) + pulses(2.0 * FREQ, 1.5) + pulses(FREQ, 0.8, phase=0.9)
    folds = [folded(data, FREQ * ratio) for ratio in RATIOS]
    assert sources(folds) == pytest.approx([FREQ, 2.0 * FREQ], abs=0.02 / TOBS)


@pytest.mark.parametrize("seed", [4, 5])
def test_a_blend_of_two_pulsars_is_none(seed: int) -> None:
    """At three periods of one, which are nearly eight of the other, the pulses of both add up."""
    rng = np.random.default_rng(seed)
    other = 8.0 / 3.0 * FREQ + 0.0002
    data = rng.normal(size=NSAMPS) + pulses(FREQ, 2.0) + pulses(other, 2.0, phase=0.1)
    folds = [folded(data, freq) for freq in (FREQ / 3.0, FREQ, other, FREQ / 6.0, 2.0 * FREQ)]
    assert sources(folds) == pytest.approx([FREQ, other], abs=0.005 / TOBS)


@pytest.mark.parametrize("height", [0.6, 2.0])
@pytest.mark.parametrize(("first", "second"), [(7, 10), (5, 9), (3, 7)])
def test_a_blend_whose_sharpest_pulse_is_that_of_both_is_none(first: int, second: int, height: float) -> None:
    """Where the pulses of both meet they make a pulse of three quarters of the S/N of each."""
    base = 0.160273
    data = np.random.default_rng(13).normal(size=NSAMPS)
    data += pulses(first * base, height, width=0.04, phase=0.0) + pulses(second * base, height, width=0.04, phase=0.0)
    folds = [folded(data, freq * base) for freq in (1, first, second)]
    assert folds[0].snr > 12.0
    assert sources(folds) == pytest.approx([first * base, second * base], abs=0.02 / TOBS)


@pytest.mark.parametrize("height", [3.0, 6.0])
def test_a_wide_pulse_without_its_first_harmonic_is_at_its_period(height: float) -> None:
    """Of those that are multiples of neither 2, 3 nor 5 the seventh is the first that is left, a sixtieth as high."""
    pulse, wave = pulses(FREQ, height, width=0.065), np.exp(2j * np.pi * FREQ * T)
    pulse -= 2.0 * (np.mean(pulse * wave.conj()) * wave).real
    data = np.random.default_rng(14).normal(size=NSAMPS) + pulse
    folds = [folded(data, n * FREQ) for n in (1.0, 2.0, 3.0, 5.0)]
    assert sources(folds) == pytest.approx([FREQ], abs=0.02 / TOBS)


def test_what_a_line_has_taken_from_a_pulsar_makes_no_other() -> None:
    """Its fourth harmonic is left out of the fold at its period, and whole in that at a fourth of it."""
    data = np.random.default_rng(6).normal(size=NSAMPS) + pulses(FREQ, 4.0)
    own = folded(data, FREQ, [(4.0 * FREQ, 0.01)])
    part = folded(data, 4.0 * FREQ)
    assert own.extra["left_out"][4]
    assert part.snr > 20.0
    assert sources([own, part]) == pytest.approx([FREQ], abs=0.005 / TOBS)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_last_harmonics_of_a_wide_pulse_that_lines_have_taken_make_no_other(seed: int) -> None:
    data = np.random.default_rng(seed).normal(size=NSAMPS) + pulses(FREQ, 0.8, width=0.065)
    own = folded(data, FREQ, [(4.0 * FREQ, 0.01), (5.0 * FREQ, 0.01)])
    assert own.extra["left_out"][4:6].all()
    parts = [folded(data, n * FREQ) for n in (4.0, 5.0)]
    assert parts[0].snr > 7.0
    assert sources([own, *parts]) == pytest.approx([FREQ], abs=0.02 / TOBS)


def test_two_folds_of_one_pulsar_are_one_row() -> None:
    data = np.random.default_rng(7).normal(size=NSAMPS) + pulses(FREQ, 2.0)
    assert len(sources([folded(data, FREQ + off / TOBS) for off in (0.0, 0.02, -0.03)])) == 1


def test_pulses_of_one_sample_in_a_whole_number_of_samples_are_one_pulsar() -> None:
    """All lines of P / k are those of P, mirrored at the Nyquist frequency."""
    data = np.random.default_rng(8).normal(size=NSAMPS)
    data[::97] += 4.0
    freq = 1.0 / (97 * TSAMP)
    folds = [folded(data, freq * ratio) for ratio in (5.0, 2.0, 1.0, 3.0, 4.0, 0.5, 11.0)]
    assert sources(folds) == pytest.approx([freq], abs=0.02 / TOBS)


@pytest.mark.parametrize("n", [3, 7, 13])
def test_of_pulses_that_vary_the_brightest_of_a_few_turns_make_no_period(n: int) -> None:
    freq = 0.5731
    bright = np.random.default_rng(9).exponential(size=100) ** 1.5
    turns = np.floor(freq * T + 0.5 - 0.3).astype(int)
    data = np.random.default_rng(10).normal(size=NSAMPS) + bright[turns + 50] * pulses(freq, 1.0)
    assert sources([folded(data, freq / n), folded(data, freq)]) == pytest.approx([freq], abs=0.05 / TOBS)


def test_folds_may_come_in_any_order() -> None:
    data = np.random.default_rng(11).normal(size=NSAMPS) + pulses(FREQ, 3.0) + pulses(1.618 * FREQ, 1.0, phase=0.1)
    folds = [folded(data, FREQ * ratio) for ratio in (1.618, 2.0, 1.0, 0.809, 3.236)]
    candidates = [Candidate(group_of(fold.after.freq, 0.5 * fold.snr**2), fold) for fold in folds]
    lists = []
    for order in ([0, 1, 2, 3, 4], [2, 0, 1, 4, 3], [4, 3, 1, 0, 2]):
        sky = CandidateSky([one.group for one in candidates], OBSERVED)
        for i in order:
            sky.fit([candidates[i]])
        lists.append(sorted(one.freq for one in sky.accepted))
    assert lists[0] == pytest.approx([FREQ, 1.618 * FREQ], abs=0.01 / TOBS)
    assert lists[1] == lists[2] == lists[0]


@pytest.mark.parametrize(("part", "stands"), [(0.05, False), (0.3, True)])
def test_what_a_template_lacks_of_a_source_that_was_taken_out_is_none(part: float, stands: bool) -> None:
    """A tenth of its amplitude, at any of its harmonics: at a part of its period, too."""
    noise = np.random.default_rng(12).normal(size=NSAMPS)
    strong = Model("strong", Source.of(folded(noise + pulses(FREQ, 6.0), FREQ)))
    there = folded(noise + pulses(FREQ, part * 6.0), 2.0 * FREQ)
    assert there.snr > 6.0
    assert len(sources([there])) == 1
    assert (len(sources([there], [strong])) == 1) == stands


@pytest.mark.parametrize("n", [1.0, 6.0, 2.54])
def test_turns_that_vary_leave_no_source_when_their_mean_is_taken_out(n: float) -> None:
    """At six periods, and at others, their brightest are a pulse far above noise."""
    freq = 4.0
    turns = np.floor(freq * T + 0.5 - 0.3).astype(int)
    bright = np.random.default_rng(14).lognormal(0.0, 0.8, size=300)
    noise = np.random.default_rng(15).normal(size=NSAMPS)
    strong = folded(noise + bright[turns + 140] * pulses(freq, 2.0), freq)
    left = folded(noise + (bright[turns + 140] - bright.mean()) * pulses(freq, 2.0), freq / n)
    model = Model("strong", Source.of(strong))
    assert model.source.flicker == pytest.approx(bright.var() / bright.mean() ** 2, rel=0.5)
    assert len(sources([left])) == 1
    assert sources([left], [model]) == []
    # Another pulsar, which is above that.
    other = folded(noise + pulses(1.31, 2.5), 1.31)
    assert len(sources([other], [model])) == 1


@pytest.mark.parametrize("n", [2.54, 3.3, 4.6])
def test_what_varies_hides_no_pulsar_that_stands_out_of_it(n: float) -> None:
    """Turns that differ are noise in which another was folded, however strong they are."""
    freq = 4.0
    turns = np.floor(freq * T + 0.5 - 0.3).astype(int)
    bright = np.random.default_rng(17).lognormal(0.0, 0.8, size=300)
    noise = np.random.default_rng(18).normal(size=NSAMPS)
    strong = noise + bright[turns + 140] * pulses(freq, 8.0)
    rest = noise + (bright[turns + 140] - bright.mean()) * pulses(freq, 8.0)
    other = folded(rest + pulses(freq / n, 3.0, phase=0.6), freq / n)
    model = Model("strong", Source.of(folded(strong, freq)))
    assert 14.0 < other.snr < 20.0
    assert sources([other], [model]) == pytest.approx([freq / n], abs=0.05 / TOBS)


def test_one_turn_more_or_less_in_a_sub_integration_is_no_flicker() -> None:
    """Of 2.4 turns in each there are two or three pulses."""
    fold = folded(np.random.default_rng(16).normal(size=NSAMPS) + pulses(1.18, 6.0), 1.18)
    assert len(fold.time_phase) == pytest.approx(1.18 * TOBS / 2.4, rel=0.05)
    assert Source.of(fold).flicker < 0.02


@pytest.mark.parametrize("ratio", [29 / 12, 7 / 16, 1.71, 1.37])
def test_a_pulsar_that_is_on_for_an_eighth_is_of_no_source_that_leaves_little_of_it(ratio: float) -> None:
    noise, freq = np.random.default_rng(19).normal(size=NSAMPS), FREQ / ratio
    seen = pulses(freq, 5.0) * (np.abs(T - 10.0) < TOBS / 16)
    steady, rare = (folded(noise + pulses(FREQ, 3.0) + seen, at) for at in (FREQ, freq))
    folds = {f"{fold.after.freq:.6f}": fold for fold in (steady, rare)}
    groups = [group_of(fold.after.freq, 0.5 * fold.snr**2) for fold in (steady, rare)]

    def fold(heads: Sequence[Group]) -> list[Candidate]:
        flags = {groups[1].uid: ("unsteady",)}
        return [Candidate(head, folds[head.uid], flags=flags.get(head.uid, ())) for head in heads]

    assert [row.parent for row in pursue(groups, OBSERVED, fold, 10)] == ["", ""]
