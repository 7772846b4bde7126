"""Rates of stages: learnt from searches, kept whole, told in plans."""

import platform
from pathlib import Path

import pytest

from pulsar.config.load import load_config
from pulsar.io.open import open_observation
from pulsar.pipeline.plan import RunPlan, dry_run
from pulsar.pipeline.progress import (
    PLANNED,
    SURE,
    Progress,
    Rates,
    StageRate,
    learning,
    rates_file,
    read_rates,
    write_rates,
)
from pulsar.synthesis.model import Sky
from pulsar.synthesis.write import write_filterbank


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def planned(path: Path) -> RunPlan:
    with open_observation(path) as obs:  # type: ignore[attr-defined]
        return dry_run(obs, load_config(None, ["dedisp.dm_hi=100", "run.threads=2"]))


def test_small_searches_tell_the_start_and_large_ones_the_rate() -> None:
    rates = read_rates()
    assert (rates.searches, rates.source) == (0, "by default rates")
    for _ in range(30):
        rates.learn({"search": 0.01}, {"search": 3.0})
    assert rates.stages["search"].start == pytest.approx(3.0, rel=1e-3)
    assert rates.stages["search"].rate == 1.0
    rates.learn({"search": 100.0}, {"search": 203.0})
    assert rates.stages["search"].rate == pytest.approx((200.0 + SURE) / (100.0 + SURE))
    # One that is hardly larger than its start turns no plan.
    other = StageRate(0.5)
    other.learn(0.51, 3.75)
    assert other.rate < 1.6
    for _ in range(10):
        rates.learn({"search": 100.0}, {"search": 53.0})
    assert rates.stages["search"].rate == pytest.approx(0.5, rel=0.05)
    assert rates.stages["folding"].start == PLANNED["folding"][0]
    rates.learn({}, {"search": 5.0})
    assert rates.source == "by 41 searches on this machine"


def test_rates_are_kept_by_machine_and_what_is_damaged_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = read_rates()
    rates.learn({"statistics": 50.0}, {"statistics": 101.0})
    write_rates(rates)
    assert read_rates() == rates
    node = platform.node()
    monkeypatch.setattr("pulsar.pipeline.progress.platform.node", lambda: "another")
    assert read_rates().searches == 0
    write_rates(Rates(read_rates().stages, 7))
    monkeypatch.setattr("pulsar.pipeline.progress.platform.node", lambda: node)
    assert read_rates() == rates
    assert [p.name for p in rates_file().parent.iterdir()] == ["rates.json"]
    of_other_units = rates_file().read_text().replace('"format": 2', '"format": 1')
    for text in ("", "[]", '{"format": 2, "machines": {"' + node + '": {}}}', of_other_units):
        rates_file().write_text(text)
        assert read_rates().searches == 0
    write_rates(rates)
    assert read_rates() == rates


def test_a_cache_that_cannot_be_written_is_no_matter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    write_rates(read_rates())
    assert read_rates().searches == 0


def test_a_search_that_ends_well_and_compiles_nothing_is_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    progress = Progress("quiet")
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr("pulsar.pipeline.progress.time.process_time", lambda: float(next(clock)))

    def searched(*, compiling: bool = False, failing: bool = False) -> Rates:
        with learning({"search": 10.0}, lambda: progress.times):
            with progress.clock("search"):
                if compiling:
                    numba.njit(lambda x: x + 1)(1)
            if failing:
                raise RuntimeError
        return read_rates()

    assert searched(compiling=True).searches == 0
    with pytest.raises(RuntimeError):
        searched(failing=True)
    assert read_rates().searches == 0
    found = searched()
    # One alone: what earlier ones took is not its own.
    assert (found.searches, found.stages["search"].rate) == (
        1,
        pytest.approx((20.0 - PLANNED["search"][0] + SURE) / (10.0 + SURE)),
    )


def test_plans_say_what_they_are_taken_from(tmp_path: Path) -> None:
    path = write_filterbank(Sky(nchans=16, fch1=1450.0, foff=-25.0, tsamp=1e-3, nsamps=20_000), tmp_path / "a.fil")
    before = planned(path)
    assert before.rated == "by default rates"
    assert before.seconds["starting"] == pytest.approx(sum(start for start, _ in PLANNED.values()))
    assert before.work["search"] == pytest.approx(
        2 * sum(before.seconds[k] for k in ("fft", "coherent", "ffa", "single_pulse"))
    )
    rates = read_rates()
    rates.learn({"search": 100.0}, {"search": 300.0 + PLANNED["search"][0]})
    write_rates(rates)
    after = planned(path)
    assert after.seconds["fft"] == pytest.approx((300.0 + SURE) / (100.0 + SURE) * before.seconds["fft"])
    assert after.seconds["folding"] == pytest.approx(before.seconds["folding"])
    assert any("(by 1 search on this machine, without compilation)" in line for line in after.summary())
