"""Runs as JSON, beside each other, and drawn; and limits that are limits."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from typer.testing import CliRunner

from pulsar.bench.case import Case
from pulsar.bench.figures import BenchRun, Figure, StageFigure, compare, draw_comparison, empty_run, load, roofline
from pulsar.bench.limits import Limits, measure_limits
from pulsar.bench.run import CASES, figure_of, measure_once
from pulsar.cli.app import app
from pulsar.errors import ConfigError, DataError


def figure(kernel: str, *times: float, **changed: Any) -> Figure:
    each = sorted(times)
    values = dict.fromkeys([field.name for field in fields(Figure)], 1.0)
    values |= {"about": "", "dtype": "int8 -> int8", "limit": "copy", "kernel": kernel}
    values |= {"nsamps": 8, "nchans": 1, "ndms": 1, "threads": 1, "calls": 3, "fraction": 0.5}
    values |= {"cpu_low_s": each[0], "cpu_s": each[len(each) // 2], "cpu_high_s": each[-1]}
    return Figure(**values | changed)


def run(*figures: Figure, repeats: int = 3, threads: int = 1) -> BenchRun:
    empty = empty_run(threads, 0.3, repeats)
    return replace(empty, cpu="A $ <b>", limits=[Limits(threads, *[1e10] * 5)], figures=list(figures))


def bench(*args: object) -> Any:
    return CliRunner().invoke(app, ["bench", *map(str, args)])


def test_the_names_of_the_fields_are_those_of_format_3() -> None:
    times = {"first_s", "cpu_s", "cpu_low_s", "cpu_high_s", "wall_s", "calls", "samples_per_s", "bytes_per_s"}
    times |= {"limit", "fraction", "about", "threads"}
    names = {
        Limits: {"threads", "copy", "copy_near", "adds_l1", "adds_l2", "floats"},
        Figure: times | {"kernel", "dtype", "nsamps", "nchans", "ndms", "adds_per_s", "flops_per_s", "adds_per_byte"}
        | {"flops_per_byte", "plain_cpu_s", "ratio"},
        StageFigure: times | {"stage", "operations_per_s", "speedup", "overhead"},
        BenchRun: {"format", "format_version", "created", "cpu", "cores", "threads", "seconds", "repeats", "versions"}
        | {"limits", "figures", "stages"},
    }  # fmt: skip
    for written, expected in names.items():
        hints = get_type_hints(written, include_extras=True)
        assert set(hints) == expected
        # Unit and meaning, for the page of the docs.
        assert all(isinstance(unit, str) and about for *_, unit, about in map(get_args, hints.values()))
    assert empty_run().format_version == "3.0"


@pytest.mark.usefixtures("small_copies")
def test_what_the_program_writes_is_what_it_reads(tmp_path: Path) -> None:
    picture = tmp_path / "roofline.png"
    done = bench("phase-bins", "votes", "--json", "--seconds", 0.002, "--repeats", 2, "--roofline", picture)
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    written = tmp_path / "a.json"
    written.write_text(done.stdout)
    assert asdict(load(written)) == document
    assert document["repeats"] == 2
    assert [f["kernel"] for f in document["figures"]] == ["votes", "phase-bins"]
    for f in document["figures"]:
        assert f["cpu_low_s"] <= f["cpu_s"] <= f["cpu_high_s"]
        assert f["calls"] >= 6
    assert picture.read_bytes().startswith(b"\x89PNG")
    refused = bench("votes", "--roofline", picture)
    assert refused.exit_code == 2
    assert "exists already" in refused.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cores": "2"}, r'cores = "2": expected an integer'),
        ({"cores": True}, "cores = true: expected an integer"),
        ({"cpu": 1}, "cpu = 1: expected a text"),
        ({"figures": None}, "figures = null: expected a list"),
        ({"figures": [asdict(figure("a", 1.0, ratio="x"))]}, r"figures\.0\.ratio = \"x\": expected a number"),
        ({"figures": [asdict(figure("a", 0.0))]}, r"figures\.0: expected 0 < cpu_low_s"),
        ({"limits": [{"threads": 1}]}, r"limits\.0\.copy is missing"),
        ({"stages": [1]}, r"stages\.0 = 1: expected an object"),
    ],
)
def test_a_damaged_file_is_told_by_field(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(asdict(run(figure("a", 1.0))) | change))
    with pytest.raises(DataError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not the output"),
        ("[]", "not the output"),
        ("[" * 100_000, "not the output"),
        (json.dumps(asdict(run()) | {"format_version": "2.0"}), "its format_version is 2.0, this program reads 3"),
    ],
)
def test_other_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    done = bench("--compare", path, path)
    assert (done.exit_code, done.stdout) == (3, "")
    assert message in done.stderr


def test_differences_beyond_the_noise_are_told_from_others() -> None:
    a = run(figure("one", 2.0, 2.1, 2.2), figure("two", 2.0, 2.1, 2.2), figure("three", 1.0, 1.1, 1.2))
    b = run(figure("one", 1.0, 1.05, 1.1), figure("two", 1.9, 1.95, 2.0), figure("three", 1.25, 1.3, 1.4))
    found = compare(a, b)
    assert [(d.name, d.verdict) for d in found.differences] == [("one", "faster"), ("two", "same"), ("three", "slower")]
    one = found.differences[0]
    assert (one.ratio, one.ratio_low, one.ratio_high) == pytest.approx((2.0, 2.0 / 1.1, 2.2))
    # Of the 20 ways in which three and three may lie in order, two are apart.
    assert found.chance == pytest.approx(0.1)
    single = compare(run(figure("one", 2.0), repeats=1), run(figure("one", 1.0), repeats=1))
    assert [d.verdict for d in single.differences] == ["unknown"]


def test_only_the_same_work_is_compared() -> None:
    a = run(figure("one", 1.0), figure("two", 1.0), figure("three", 1.0))
    b = run(figure("one", 1.0), figure("two", 1.0, nsamps=16), figure("four", 1.0))
    assert compare(a, b).left_out == ["two", "three", "four"]
    with pytest.raises(ConfigError, match="measured with 1 and with 2 threads"):
        compare(a, run(figure("one", 1.0), threads=2))
    with pytest.raises(ConfigError, match="nothing in common"):
        compare(a, run(figure("four", 1.0)))


def test_several_sizes_of_a_kernel_are_told_apart(tmp_path: Path) -> None:
    a = run(figure("one", 2.0), figure("one", 4.0, nsamps=16), figure("two", 1.0), figure("three", 1.0))
    b = run(figure("one", 8.0, nsamps=16), figure("two", 1.0), figure("three", 1.0, nsamps=16))
    found = compare(a, b)
    assert [(d.name, d.ratio) for d in found.differences] == [("one, 2^4, int8", 0.5), ("two", 1.0)]
    assert found.left_out == ["one, 2^3, int8", "three"]
    path = tmp_path / "roofline.svg"
    roofline(a, path)
    text = path.read_text()
    assert text.count("one, 2^3, int8") == text.count("one, 2^4, int8") == text.count("<!-- two -->") >= 1


@pytest.mark.usefixtures("small_copies")
def test_sizes_and_types_are_chosen_on_the_command_line() -> None:
    chosen = ("halve", "--nsamps", "2^9,400", "--nchans", "8", "--dtype", "int16", "--seconds", 0.001, "--repeats", 2)
    done = bench(*chosen, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    found = [(f["kernel"], f["nsamps"], f["nchans"], f["dtype"]) for f in document["figures"]]
    assert found == [("halve", 512, 8, "int16 -> int16"), ("halve", 400, 8, "int16 -> int16")]
    assert "measuring halve, 8 x 2^9, int16, 2 of 2" in done.stderr
    lines = [line.split() for line in bench(*chosen, "--list").stdout.splitlines()]
    assert [line[1:7] for line in lines[1:]] == [
        ["8", "x", "2^9", "int16", "->", "int16"], ["8", "x", "400", "int16", "->", "int16"],
    ]  # fmt: skip


def test_a_comparison_is_printed_and_drawn(tmp_path: Path) -> None:
    a, b = tmp_path / "a.json", tmp_path / "$b.json"
    a.write_text(json.dumps(asdict(run(figure("one", 2.0, 2.1, 2.2), figure("two", 1.0, 1.1, 1.2)))))
    b.write_text(json.dumps(asdict(run(figure("one", 1.0, 1.05, 1.1), figure("two", 1.0, 1.1, 1.3)))))
    done = bench("--compare", a, b, "--plot", tmp_path / "both.png")
    assert done.exit_code == 0, done.output
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    assert lines["one"].split() == ["one", "2.1e+03", "-5", "+5", "%", "1.05e+03", "-5", "+5", "%", "2.00", "1.82",
                                    "2.20", "faster"]  # fmt: skip
    assert lines["two"].endswith("as fast, within the noise")
    assert "1 of 2 differ beyond the noise; by chance 0.2 would." in done.stdout
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(bench("--compare", a, b, "--json").stdout)
    assert [d["verdict"] for d in found["differences"]] == ["faster", "same"]
    draw_comparison(compare(load(a), load(b)).differences, ("a", "b"), tmp_path / "both.svg")
    assert "<svg" in (tmp_path / "both.svg").read_text()


def test_list_names_every_kernel_with_its_size_and_types() -> None:
    lines = bench("--list").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [case.name for case in CASES]
    tree = next(line for line in lines if line.startswith("tree"))
    assert tree.split()[1:9] == ["256", "x", "2^16,", "512", "DMs", "int8", "->", "int16"]
    found = json.loads(bench("--list", "tree", "--stages", "--json").stdout)
    assert (found[0]["kernel"], found[0]["nsamps"], found[1]["stage"]) == ("tree", 1 << 16, "statistics")
    assert found[0]["offers"] == {"sizes": ["--nsamps", "--nchans", "--ndms"], "dtypes": ["int8"]}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--list", "--save"), "without --list"),
        (("--compare", "a", "b", "fft"), "without kernels"),
        (("--plot", "x.png"), "give both"),
        (("--stages", "--roofline", "x.png"), "name some"),
        (("fft", "--roofline", "x.jpg"), "ends in .png"),
        (("fft", "--roofline", "no/where.png"), "does not exist"),
        (("--repeats", "0"), "--repeats"),
        (("--nsamps", "2^14"), "name them"),
        (("--compare", "a", "b", "--dtype", "int8"), "name them"),
        (("fft", "--nsamps", "many"), "expected whole numbers"),
        (("fft", "--dtype", "int8"), "fft takes int16 or float32"),
        (("unpack", "fft", "--nchans", "64"), "fft has no channels to choose"),
    ],
)
def test_wrong_usage_exits_2(args: tuple[str, ...], message: str) -> None:
    done = bench(*args)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


def test_the_better_of_two_measurements_is_the_limit() -> None:
    a, b = Limits(2, 1.0, 4.0, 5.0, 8.0, 9.0), Limits(2, 2.0, 3.0, 6.0, 7.0, 10.0)
    assert a.best(b) == Limits(2, 2.0, 4.0, 6.0, 8.0, 10.0)


@pytest.fixture(scope="module")
def limits() -> Limits:
    return measure_limits(1, 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_kernel_is_faster_than_its_limit(case: Case, limits: Limits) -> None:
    # The highest fractions are near 0.6. Other programs on the same core make both times longer, not
    # by the same: measured again just before and after the kernel, the better limits count, and a tenth is allowed.
    before = measure_limits(1, 0.03)
    trial = measure_once(case, 1, 0.03, plain=False)
    best = limits.best(before).best(measure_limits(1, 0.03))
    assert 0 < figure_of(case, best, [trial]).fraction <= 1.1
