"""Progress: bars on a terminal, sparse lines in a log, times of the stages."""

import io
import re
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from pulsar.pipeline.progress import Progress, _seconds


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_batch_lines_are_dated_and_sparse() -> None:
    stream = io.StringIO()
    progress = Progress(stream=stream)
    assert progress.mode == "log"
    with progress.stage("search", total=1000, unit="series") as tick:
        for _ in range(1000):
            tick(1)
    progress.message("found 3")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in lines)
    assert "search: done in" in lines[0]
    assert lines[1].endswith("found 3")


def test_long_stages_tell_part_and_time_left() -> None:
    stream = io.StringIO()
    with Progress("log", stream=stream, interval=0.0).stage("clean", total=4, unit="blocks") as tick:
        tick(1)
    with Progress("log", stream=stream, interval=0.0).stage("clean") as tick:
        tick(7)
    first, _, third = stream.getvalue().splitlines()[:3]
    assert re.search(r"clean: 25 % of 4 blocks, [\d.]+ s left$", first)
    assert third.endswith("clean: 7")


def test_times_add_up_and_count_processor_time() -> None:
    progress = Progress("quiet")
    for _ in range(2):
        with progress.stage("work"):
            end = time.process_time() + 0.02
            while time.process_time() < end:
                pass
    assert progress.times["work"].cpu >= 0.04
    assert progress.times["work"].wall >= progress.times["work"].cpu * 0.9


def test_the_time_of_other_processes_counts() -> None:
    progress = Progress("quiet")
    with progress.stage("compiling"):
        subprocess.run([sys.executable, "-c", "while __import__('time').process_time() < 0.3: pass"], check=True)
    assert progress.times["compiling"].cpu >= 0.25


def test_ticks_from_many_threads_are_all_counted() -> None:
    stream = io.StringIO()
    progress = Progress("log", stream=stream, interval=0.0)
    with progress.stage("x", total=8000) as tick:
        threads = [threading.Thread(target=lambda: [tick(1) for _ in range(1000)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "x: 100 % of 8000" in stream.getvalue().splitlines()[-2]


def test_failure_and_interruption_are_named() -> None:
    stream = io.StringIO()
    progress = Progress("log", stream=stream)
    for error in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), progress.stage("x"):
            raise error
    failed, interrupted, stopped = stream.getvalue().splitlines()
    assert "x: failed" in failed
    assert "x: interrupted" in interrupted
    assert "x: stopped" in stopped
    assert "x" in progress.times


def test_bars_on_a_terminal() -> None:
    stream = Terminal()
    progress = Progress(stream=stream)
    assert progress.mode == "bars"
    progress.message("before")
    with progress.stage("outer", total=2) as tick, progress.stage("inner") as inner:
        tick(2)
        inner(1)
        progress.message("between [x]")
    with progress.stage("next"):
        pass
    text = stream.getvalue()
    for word in ("before", "between [x]", "outer", "inner", "next", "done in"):
        assert word in text
    assert set(progress.times) == {"outer", "inner", "next"}


def test_quiet_says_nothing() -> None:
    stream = io.StringIO()
    progress = Progress("quiet", stream=stream)
    progress.message("x")
    with progress.stage("y", total=1) as tick:
        tick(1)
    assert stream.getvalue() == ""
    assert "y" in progress.times


def test_words_for_times() -> None:
    assert [_seconds(s) for s in (1.23, 61, 3725)] == ["1.2 s", "1 min 01 s", "1 h 02 min"]


@pytest.mark.parametrize(
    ("level", "told"), [("debug", "wlps"), ("info", "wls"), ("warning", "w"), ("error", "")], ids=lambda x: x or "none"
)
def test_levels_say_how_much_is_told(level: Any, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("pulsar.pipeline.progress.time.monotonic", iter(range(0, 1000, 11)).__next__)
    progress = Progress("log", level=level, stream=stream)
    with progress.stage("stage", total=3) as tick:
        tick(1)
    progress.message("a line")
    progress.warning("beware")
    progress.warning("beware")
    words = {"w": "warning: beware", "l": "a line", "p": "stage: 33 %", "s": "stage: done"}
    text = stream.getvalue()
    assert "".join(key for key in words if words[key] in text) == told
    assert len(text.splitlines()) == len(told)


def test_hours_give_a_sign_of_life_every_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("pulsar.pipeline.progress.time.monotonic", iter(range(0, 1 << 20, 60)).__next__)
    with Progress("log", stream=stream).stage("stage", total=60) as tick:
        for _ in range(60):
            tick(1)
    assert 4 <= len(stream.getvalue().splitlines()) - 1 <= 6


def test_quiet_runs_still_warn() -> None:
    stream = io.StringIO()
    Progress("quiet", stream=stream).warning("beware")
    assert stream.getvalue() == "pulsar: warning: beware\n"
