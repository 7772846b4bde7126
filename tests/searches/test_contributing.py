"""The search that CONTRIBUTING.md shows, as one more of a run."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulsar.data.header import Header
from pulsar.dedisp.batches import TrialBatch
from pulsar.dedisp.plan import make_plan
from pulsar.errors import ConfigError
from pulsar.io.memory import Filterbank
from pulsar.pipeline import follow, plan, searches
from pulsar.pipeline.compiling import parts_of
from pulsar.pipeline.plan import dry_run
from pulsar.pipeline.stages import BatchSearch
from pulsar.searches import registry

PAGE = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"
NSAMPS, TSAMP = 1 << 14, 1e-3
HEADER = Header(nchans=16, nsamps=NSAMPS, tsamp=TSAMP, fch1=1500.0, foff=-6.0, tstart=60000.0)


@pytest.fixture
def config(monkeypatch):
    """Settings of a run in which the search of the page is one more, the only one that is on."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (code,) = (block for block in blocks if "class LineSearch" in block)
    names: dict[str, Any] = {"__name__": "line"}
    exec(compile(code, str(PAGE), "exec"), names)
    every = (*registry.SEARCHES, names["LineSearch"])
    for module in (registry, searches, follow):
        monkeypatch.setattr(module, "SEARCHES", every)
    names_of_trials = {search.name: search.counted for search in every}
    monkeypatch.setattr(plan, "TRIALS", names_of_trials)
    off = {search.name: {"enabled": False} for search in every[:-1] if not search.drifts}
    off |= {"line": {"enabled": True}}
    return names["ConfigWithLine"].model_validate(off | {"dedisp": {"dm_hi": 5.0}, "search": {"parts": (1, 2)}})


def test_it_is_planned_compiled_and_has_its_threshold(config):
    planned = dry_run(Filterbank(np.zeros((16, NSAMPS), np.uint8), HEADER), config)
    assert planned.trials["line"] == 2 * planned.ndms * NSAMPS / 2
    assert "frequencies of lines" in " ".join(planned.summary())
    assert "fft" in parts_of(config)
    assert follow.thresholds(config)["line"] == 0.0


def test_it_finds_a_line_in_the_whole_and_in_halves(config):
    trials = make_plan(HEADER, config.dedisp)
    finder = BatchSearch(trials, config, threads=1, memory=0)
    noise = np.random.default_rng(1).standard_normal(NSAMPS)
    series = np.rint(300 * (noise + 0.3 * np.sin(2 * np.pi * 31.7 * TSAMP * np.arange(NSAMPS)))).astype(np.int16)
    found = finder.search(TrialBatch(0, trials.stages[0], lambda _: series)).detections
    assert set(found["kind"].tolist()) == {"line"}
    assert len(found) == 3 * trials.ndms
    assert sorted(set(found["part"].tolist())) == ["", "1/2", "2/2"]
    assert found["freq"] == pytest.approx(np.full(len(found), 31.7), abs=0.1)


def test_it_is_as_others_are(config):
    search = registry.SEARCHES[-1]
    with pytest.raises(ConfigError, match="swap"):
        search(NSAMPS, TSAMP, search.section(p_min=1.0, p_max=0.5))
    in_range = search(NSAMPS, TSAMP, search.section(p_max=0.02))
    series = np.sin(2 * np.pi * 31.7 * TSAMP * np.arange(NSAMPS)) + np.random.default_rng(1).standard_normal(NSAMPS)
    assert len(search(NSAMPS, TSAMP).search(series.astype(np.float32))) == 1
    assert (in_range.search(series.astype(np.float32))["freq"] > 50.0).all()
