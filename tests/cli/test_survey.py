"""``pulsar plan --survey``: what a survey takes."""

import json
import math
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pulsar.cli.app import app
from pulsar.followup.survey import Survey, load_survey, plan_survey

SURVEY = {
    "name": "drift",
    "observing": {"beams": 19, "hours": 100.0, "hours_per_day": 12.0, "length": 20.0, "overlap": 0.5},
    "band": {"low": 1000.0, "high": 1500.0, "nchans": 64, "tsamp": 1e-3, "nbits": 2, "npol": 2},
    "search": {"set": ["dedisp.dm_hi=100"]},
    "machine": {"nodes": 2, "cores": 8, "memory": "16GB", "threads": 2, "storage": 0.5},
}


def changed(section: str, **values: object) -> Survey:
    return Survey.model_validate({**SURVEY, section: {**SURVEY[section], **values}})  # type: ignore[dict-item]


def test_the_sums_are_right() -> None:
    plan = plan_survey(Survey.model_validate(SURVEY))
    assert plan.unit_bytes == 20000 * 64 * 2 * 2 / 8
    assert plan.data_rate == pytest.approx(19 * 3.6e6 * 32)
    assert plan.data_bytes == pytest.approx(100 * plan.data_rate)
    # Segments overlap by half: every second of a beam is searched twice.
    assert plan.units == pytest.approx(19 * 100 * 3600 / 10)
    assert plan.side_by_side == 4
    assert plan.bound_by == "cores"
    # Nineteen units every ten seconds, half the day.
    assert plan.cores_needed == pytest.approx(0.5 * 1.9 * plan.cpu_seconds)
    assert plan.storage_needed == pytest.approx(0.5 * 1.9 * 3 * plan.unit_bytes)
    assert plan.speed["cores"] == pytest.approx(16 / plan.cores_needed)
    assert plan.core_hours == pytest.approx(plan.units * plan.cpu_seconds / 3600)
    assert plan.keeps_up == min(plan.speed.values())


def test_what_is_given_changes_what_it_should() -> None:
    plan = plan_survey(Survey.model_validate(SURVEY))
    slower = plan_survey(changed("machine", shared_speed=0.8))
    assert slower.cpu_seconds == pytest.approx(plan.cpu_seconds / 0.8)
    staged = plan_survey(changed("machine", stage_in=True))
    assert staged.storage_needed == pytest.approx(plan.storage_needed / 3)
    more = plan_survey(changed("machine", nodes=4))
    assert more.speed["cores"] == pytest.approx(2 * plan.speed["cores"])


def test_little_memory_bounds_the_searches_side_by_side() -> None:
    plan = plan_survey(changed("machine", cores=64, threads=1, memory="8GB"))
    assert plan.side_by_side < 64
    assert plan.bound_by == "memory"
    assert plan.side_by_side * plan.unit_memory <= 8e9


def test_threads_are_chosen_where_none_are_given() -> None:
    chosen = plan_survey(changed("machine", threads=None))
    for threads in (1, 2, 4, 8):
        assert chosen.keeps_up >= 0.95 * plan_survey(changed("machine", threads=threads)).keeps_up


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


GOOD = """
name = "a survey"
[observing]
hours = 10
length = 30.0
[band]
low = 1250.0
high = 1550.0
nchans = 32
tsamp = 1e-3
[search]
set = ["dedisp.dm_hi=50"]
[machine]
cores = 4
memory = "8GB"
"""


def test_the_command_line(tmp_path: Path) -> None:
    path = write(tmp_path / "survey.toml", GOOD)
    result = CliRunner().invoke(app, ["plan", "--survey", str(path)])
    assert result.exit_code == 0, result.stderr
    words = [line.split()[0] for line in result.stdout.splitlines()]
    assert words == ["a", "data", "a", "takes", "all", "side", "cores", "storage", "verdict"]
    assert "it keeps up" in result.stdout
    record = json.loads(CliRunner().invoke(app, ["plan", "--survey", str(path), "--json"]).stdout)
    assert record["bottleneck"] in record["speed"]
    assert record["keeps_up"] > 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("tsamp = 1e-3", "tsam = 1e-3", ["band.tsamp is missing: sampling time [s]", "band.tsam is no setting"]),
        ("cores = 4", "cores = 0", ["machine.cores = 0: expected an integer >= 1 and <= 100000 (cores of a node)"]),
        ("low = 1250.0", "low = 1650.0", ["[band] low 1650 MHz is not below high 1550 MHz"]),
        ('memory = "8GB"', 'memory = "much"', ["machine.memory = 'much': expected a size such as 256GB"]),
        ('memory = "8GB"', 'memory = "auto"', ["machine.memory = 'auto' means nothing for another machine"]),
        ("cores = 4", "cores = 4\nthreads = 8", ["[machine] 8 threads of one search are more than the 4 cores"]),
        ("cores = 4", "cores = 99999999999999999999", ["expected an integer >= 1 and <= 100000 (cores of a node)"]),
        ("hours = 10", "hours = 1e300", ["observing.hours = 1e+300: expected a number > 0 and <= 1e+06"]),
        ("hours = 10", "hours = nan", ["observing.hours = nan: expected a number > 0"]),
        ("length = 30.0", "length = 1e-300", ["observing.length / band.tsamp = 1e-297 samples"]),
        ("tsamp = 1e-3", "tsamp = 1e-9", ["observing.length / band.tsamp = 3e+10 samples"]),
        ("tsamp = 1e-3", "tsamp = 1e-300", ["band.tsamp = 1e-300: expected a number >= 1e-09"]),
        ('name = "a survey"', "name = 3", ["name = 3: expected a text (for the headline)"]),
        ('name = "a survey"', "machine = " + 5000 * "[", ["not valid TOML"]),
        ("[machine]", "[machin]", ["machine is missing", "machin is no setting of a survey"]),
        ("[band]", "[band", ["not valid TOML"]),
        ("dm_hi=50", "dm_hie=50", ["dm_hie"]),
    ],
)
def test_errors_name_the_key(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert GOOD.count(old) == 1
    path = write(tmp_path / "survey.toml", GOOD.replace(old, new))
    result = CliRunner().invoke(app, ["plan", "--survey", str(path)])
    assert result.exit_code == 2
    for text in words:
        assert text in result.stderr


def test_the_example_of_the_documentation_is_a_survey(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "howto" / "survey.md"
    (example,) = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    survey = load_survey(write(tmp_path / "plan.toml", example))
    assert (survey.observing.beams, survey.band.nchans, survey.search.config) == (19, 4096, "fast-19beam")


def test_files_or_a_survey(tmp_path: Path) -> None:
    for args in (["plan"], ["plan", "a.fil", "--survey", "b.toml"]):
        result = CliRunner().invoke(app, args)
        assert result.exit_code == 2
        assert "--survey" in result.stderr
    none = tmp_path / "none.toml"
    for path, words in ((none, "no such file: expected the description of a survey"), (tmp_path, "is a folder")):
        result = CliRunner().invoke(app, ["plan", "--survey", str(path)])
        assert result.exit_code == 2
        assert f"{path}: {words}" in result.stderr
    none.write_bytes(b"\xff\xfe")
    result = CliRunner().invoke(app, ["plan", "--survey", str(none)])
    assert result.exit_code == 2
    assert f"{none}: cannot be read as the description of a survey" in result.stderr


PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "fast-survey.md"
#: What each row of the page's table changes in its file.
CHANGES = {
    "as above": ("", ""),
    "segments without overlap": ("overlap = 0.25", "overlap = 0.0"),
    "DM to 300": ("dm_hi=1000", "dm_hi=300"),
    "196 µs": ("49.152e-6", "196.608e-6"),
    "two polarisations": ("tsamp = 49.152e-6", "tsamp = 49.152e-6\nnpol = 2"),
    "storage of 3 GB/s": ("storage = 10.0", "storage = 3.0"),
    "storage of 3 GB/s, `stage_in = true`": ("storage = 10.0", "storage = 3.0\nstage_in = true"),
    "`accel.zmax=200`": ('hi=1000"', 'hi=1000", "accel.zmax=200"'),
    "`shared_speed = 0.7`": ("shared_speed = 1.0", "shared_speed = 0.7"),
}


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """What ``pulsar plan --survey`` prints of a description, without rates learnt on this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(text: str) -> str:
        path = tmp_path / "drift.toml"
        path.write_text(text, encoding="utf-8")
        result = CliRunner().invoke(app, ["plan", "--survey", str(path)])
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def blocks(language: str) -> str:
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return block


def test_the_page_of_the_19_beams_shows_what_is_printed(planned) -> None:
    assert planned(blocks("toml")) == blocks("text")


@pytest.mark.parametrize("change", CHANGES)
def test_the_table_of_the_19_beams_is_what_is_printed(planned, change) -> None:
    cells = re.search(rf"^\| {re.escape(change)} \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert cells is not None
    core_hours, cores, storage, day = cells[1].split(" | ")
    old, new = CHANGES[change]
    text = blocks("toml").replace(old, new) if old else blocks("toml")
    assert (text != blocks("toml")) == bool(old)
    shown = planned(text)
    # Rows of the tree are chosen by sums whose rounding depends on the processor: 54.80509 cores are 54.81, and are
    # 54.80 where it is a millionth less. So much as one step of the four digits that are printed, no more.
    for unit, cell in ((r"(\S+) core hours", core_hours), (r"\ncores +(\S+) are needed", cores)):
        told = float(cell.replace(",", ""))
        step = 10.0 ** (math.floor(math.log10(told)) - 3)
        assert float(re.search(unit, shown)[1]) == pytest.approx(told, rel=0, abs=1.001 * step)
    assert f"\nstorage       {storage} are needed" in shown
    assert f"a day of observing is searched in {day}: " in shown
