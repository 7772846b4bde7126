"""The scripts of benchmarks/ can be imported here: they are developers' tools and not in the package."""

import sys
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))


@pytest.fixture
def small_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs measure their limits on little memory."""
    from pulsar.bench.limits import measure_limits

    monkeypatch.setattr("pulsar.bench.run.measure_limits", partial(measure_limits, copy_bytes=1 << 20))
