"""What comes in the pulses of a source: of pulses that drift all, of signals of their own as much as by chance."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pulsar.config.model import FoldConfig
from pulsar.data.fold import FoldParams
from pulsar.data.series import TimeSeries
from pulsar.folding.folder import fold_series
from pulsar.folding.refine import refine
from pulsar.searches.sift import Group
from pulsar.searches.stats import power_logp
from pulsar.sources.candidate import Candidate
from pulsar.sources.detections import Observed
from pulsar.sources.modulation import outside_pulses, window_of
from pulsar.sources.pursue import pursue
from pulsar.sources.source import Source

NSAMPS, TSAMP, FREQ = 1 << 17, 1e-3, 1.2171
T = (np.arange(NSAMPS) + 0.5 - NSAMPS / 2) * TSAMP
#: Turns from one drift band to the next, and between subpulses.
P3, P2 = 4.37, 0.02


def noise(seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=NSAMPS)


def pulse(turns: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * ((turns - np.rint(turns)) / width) ** 2))


def drifting(height: float, depth: float = 1.0) -> NDArray[np.float64]:
    """Pulses under which subpulses drift."""
    turns = FREQ * T
    subpulses = 1.0 + depth * np.cos(2 * np.pi * ((turns - np.rint(turns)) / P2 - np.rint(turns) / P3))
    return np.asarray(height * pulse(turns, 0.02) * subpulses)


def nulling(height: float, seed: int) -> NDArray[np.float64]:
    """Pulses of which stretches of ten turns are off, on and off by chance."""
    turns = FREQ * T
    on = np.random.default_rng(seed).random(NSAMPS) < 0.5
    return np.asarray(height * pulse(turns, 0.02) * on[(np.rint(turns).astype(int) // 10) % NSAMPS])


def detected(freq: float, excess: float) -> Candidate:
    """A detection of four harmonics with 10^6 trials, not folded."""
    logp = float(power_logp(excess + 4.0, 4))
    sigma = float(np.sqrt(max(-2.0 * (logp + np.log(1e6)), 0.0)))
    fields = {"freq": freq, "freq_err": 1e-5, "dm": 0.0, "fdot": 0.0, "sigma": sigma, "logp": logp, "nharm": 4}
    row = np.zeros(
        1, dtype=[*((name, "f8") for name in fields), ("power", "f8"), ("width", "f8"), ("kind", "U8"), ("part", "U7")]
    )
    for name, value in fields.items():
        row[name] = value
    row["power"], row["width"], row["kind"] = excess + 4.0, np.nan, "fft"
    return Candidate(Group(f"{freq:.6f}", row[0], np.zeros(1, dtype=np.int64), 0.0, 0.0, found_by=("fft",)))


def series_of(data: NDArray[np.float64]) -> TimeSeries:
    return TimeSeries(data.astype(np.float32), TSAMP, 0.0, 59000.0)


def source_of(data: NDArray[np.float64], freq: float = FREQ) -> Source:
    cube = fold_series(series_of(data), [FoldParams(freq, 0.0, 0.0)], FoldConfig())[0]
    return Source.of(refine(cube, search_dm=False))


def part_of(data: NDArray[np.float64], freq: float) -> float:
    """Part of a detection at a frequency that comes in the pulses at FREQ; it is the only one that is asked for."""
    return 1.0 - outside_pulses(series_of(data), source_of(data), [detected(freq, 50.0)]).get(f"{freq:.6f}", 1.0)


@pytest.mark.parametrize("k", [41, 47, 52, 58])
def test_lines_of_subpulses_that_drift_come_in_the_pulses(k: int) -> None:
    data = noise(1) + drifting(2.0)
    # A subpulse is P2 apart from the next, and comes 1 / P3 of that later in each turn.
    freq = FREQ * (k - 1.0 / P3)
    assert part_of(data, freq) > 0.7


@pytest.mark.parametrize("ratio", [0.3183, 2.7183, 17.319])
@pytest.mark.parametrize("height", [0.5, 2.0])
@pytest.mark.parametrize("vary", [False, True])
def test_another_pulsar_has_no_part_in_the_pulses(ratio: float, height: float, vary: bool) -> None:
    first = nulling(4.0, 2) if vary else drifting(4.0, 0.0)
    other = height * pulse(FREQ * ratio * T - 0.3, 0.03)
    assert part_of(noise(3) + first + other, FREQ * ratio) == 0.0


def test_a_pulsar_whose_turns_vary_keeps_its_power() -> None:
    """It is brighter now inside the pulses of the other, now outside."""
    rng, turns = np.random.default_rng(11), 2.9713 * T - 0.3
    number = np.rint(turns).astype(int)
    for seed in range(12):
        bright = rng.lognormal(0.0, 1.0, np.ptp(number) + 1)[number - number.min()]
        data = noise(seed) + drifting(3.0, 0.0) + pulse(turns, 0.02) * bright
        candidates = [detected(2.9713 * k, 50.0) for k in (1, 2, 3)]
        assert outside_pulses(series_of(data), source_of(data), candidates) == {}


def test_a_source_of_few_turns_tells_nothing() -> None:
    turns = 0.1 * T
    slow = 3.0 * pulse(turns, 0.02)
    other = pulse(FREQ * 7.31 * T, 0.03) * (pulse(turns, 0.02) > 0.1)
    data = noise(12) + slow + 4.0 * other
    assert outside_pulses(series_of(data), source_of(data, 0.1), [detected(FREQ * 7.31, 50.0)]) == {}


def test_of_many_weak_signals_none_is_given_away() -> None:
    """At S/N 6 to 12, beside a bright pulsar: by four deviations one of 30,000."""
    rng = np.random.default_rng(5)
    bright = noise(6) + drifting(3.0, 0.0)
    source = source_of(bright)
    for freq in rng.uniform(0.4, 30.0, 60):
        height = rng.uniform(6.0, 12.0) / np.sqrt(NSAMPS * 0.05)
        data = series_of(bright + height * pulse(freq * T - rng.random(), 0.02))
        assert outside_pulses(data, source, [detected(float(freq), 50.0)]) == {}


def test_a_window_holds_the_pulse_and_the_interpulse() -> None:
    data = noise(8) + pulse(FREQ * T, 0.01) + 0.5 * pulse(FREQ * T - 0.43, 0.01)
    on = window_of(source_of(data))
    phases = (np.arange(len(on)) + 0.5) / len(on)
    near = np.minimum(np.abs(phases[:, None] - [0.0, 0.43, 1.0]).min(axis=1), 1.0)
    assert on[near < 0.02].all()
    assert not on[near > 0.08].any()


def test_the_lines_of_subpulses_belong_to_their_pulsar_and_another_pulsar_stands() -> None:
    other = FREQ * 17.319
    data = noise(9) + drifting(2.0) + 0.3 * pulse(other * T - 0.3, 0.05)
    rows = [detected(FREQ, 2000.0), detected(other, 200.0)]
    rows += [detected(FREQ * (k - 1.0 / P3), 90.0 - 0.1 * k) for k in (47, 52)]

    def fold(groups: list[Group]) -> list[Candidate]:
        cubes = fold_series(series_of(data), [FoldParams(group.freq, 0.0, 0.0) for group in groups], FoldConfig())
        return [Candidate(group, refine(cube, search_dm=False)) for group, cube in zip(groups, cubes, strict=True)]

    def compared(source: Source, candidates: list[Candidate]) -> dict[str, float]:
        return dict(outside_pulses(series_of(data), source, candidates))

    observed = Observed(NSAMPS, np.zeros(0), TSAMP, (), {"fft": 0.0})
    groups = [row.group for row in rows]
    alone = {row.uid for row in pursue(groups, observed, fold, 10) if not row.parent}
    assert alone == {row.uid for row in rows}
    found = {row.uid: row for row in pursue(groups, observed, fold, 10, outside=compared)}
    assert [found[row.uid].parent for row in rows] == ["", "", rows[0].uid, rows[0].uid]
    assert [found[row.uid].relation for row in rows[2:]] == ["modulation", "modulation"]
