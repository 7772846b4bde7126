"""Every case does what plain numpy does, and its figures are figures."""

import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from pulsar.bench.case import CallCost, Case, Size, Work, case
from pulsar.bench.figures import Figure
from pulsar.bench.limits import Limits, cache_bytes, measure, measure_limits
from pulsar.bench.run import CASES, EXTENTS, choose, figure_of, measure_once, numbers, offered, select
from pulsar.cli.app import app
from pulsar.config.resources import usable_cores
from pulsar.data.text import si
from pulsar.errors import ConfigError

LIMITS = Limits(threads=1, copy=1e10, copy_near=2e10, adds_l1=4e10, adds_l2=2e10, floats=5e10)


def tiny(case: Case) -> Case:
    return replace(case, full=case.tiny)


def measure_case(case: Case, limits: Limits, seconds: float) -> Figure:
    """The figure of one repeat."""
    return figure_of(case, limits, [measure_once(case, limits.threads, seconds)])


def by_name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_case_agrees_with_plain_numpy(case: Case) -> None:
    work = tiny(case).work()
    work.run()
    first = work.result().copy()
    assert first.size > 0
    assert np.isfinite(first).all()
    work.compare()
    # Calls that follow do the same work again.
    work.run()
    np.testing.assert_array_equal(work.result(), first)


def test_every_kernel_but_three_has_a_plain_form() -> None:
    assert {case.name for case in CASES if tiny(case).work().plain is None} == {"levels", "growth", "pulse-link"}


def test_comparison_notices_a_difference() -> None:
    result = np.array([9.0, 1.05, 2.0])
    work = Work(list, lambda: result, CallCost(3, 24), lambda: np.array([1.0, 2.0]), rows=slice(1, 3), atol=0.1)
    work.compare()
    assert work.share == pytest.approx(2 / 3)
    result[1] = 1.2
    with pytest.raises(AssertionError):
        work.compare()


OTHERS = [(case, dtype) for case in CASES for dtype in case.takes[1:]]


@pytest.mark.parametrize(("case", "dtype"), OTHERS, ids=[f"{case.name}-{dtype}" for case, dtype in OTHERS])
def test_other_types_agree_with_plain_numpy(case: Case, dtype: str) -> None:
    usual, chosen = choose([tiny(case)], {}, (case.takes[0], dtype))
    assert (usual.dtype, chosen.dtype) == (case.dtype, f"{dtype} {case.dtype.partition(' ')[2]}")
    work = chosen.work()
    work.run()
    assert work.plain is not None
    work.compare()
    # It is another type that is taken in.
    cost, plain = work.cost, usual.work().cost
    assert (cost.nbytes > plain.nbytes) == (np.dtype(dtype).itemsize > np.dtype(case.takes[0]).itemsize)
    assert cost.samples == plain.samples


def grown(case: Case) -> dict[str, tuple[int, ...]]:
    """About three times what the tests have, of everything that can be chosen."""
    if case.name == "fft":  # 195 x 64 samples have the factor 13
        return {"nsamps": (12000,)}
    nsamps, nchans, ndms = case.tiny
    most = {"nsamps": (nsamps // 64 + 1) * 192, "nchans": nchans // 8 * 24 + 8, "ndms": 3 * ndms}
    return {name: (most[name],) for name in EXTENTS if f"--{name}" in offered(case)}


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_other_sizes_agree_with_plain_numpy(case: Case) -> None:
    (chosen,) = choose([case], grown(case))
    assert chosen.full != case.full
    work = chosen.work()
    work.run()
    assert np.isfinite(work.result()).all()
    assert work.cost.samples > tiny(case).work().cost.samples
    work.compare()


def test_all_combinations_of_a_choice_are_measured() -> None:
    tree, fft = select(["tree"]), select(["fft"])
    found = choose(tree, {"nsamps": (1 << 14, 1 << 15), "ndms": (64, 128)})
    assert [(c.full.nsamps, c.full.nchans, c.full.ndms) for c in found] == [
        (1 << 14, 256, 64), (1 << 14, 256, 128), (1 << 15, 256, 64), (1 << 15, 256, 128),
    ]  # fmt: skip
    assert [c.words() for c in found][:2] == [f"256 channels x {n} DMs by the tree" for n in (64, 128)]
    found = choose(fft, {"nsamps": (1 << 14, 12000)}, ("float32", "int16"))
    assert [(c.full.nsamps, c.dtype.split()[0]) for c in found] == [
        (1 << 14, "float32"), (1 << 14, "int16"), (12000, "float32"), (12000, "int16"),
    ]  # fmt: skip
    assert choose(CASES, {}) == CASES


@pytest.mark.parametrize(
    ("kernel", "sizes", "message"),
    [
        ("fft", {"nchans": (4,)}, "--nchans: fft has no channels to choose; it offers --nsamps"),
        ("halve", {"ndms": (4,)}, "--ndms: halve has no trial DMs to choose; it offers --nsamps, --nchans"),
        ("tree", {"nsamps": (95,)}, "--nsamps 95: tree needs 96 or more"),
        ("trend", {"nsamps": (5000,)}, "trend, 5000: --nsamps must be a multiple of 64"),
        ("unpack-2bit", {"nchans": (66,)}, "unpack-2bit, 66 x 2.13: --nchans must be a multiple of 4"),
        ("fft", {"nsamps": (1 << 14, 4099)}, "fft, 4099: --nsamps must be even, and a product"),
        ("pulse-link", {"nsamps": (400,)}, "--nsamps must be at least --ndms"),
    ],
)  # fmt: skip
def test_what_a_kernel_does_not_offer_is_refused(kernel: str, sizes: dict[str, tuple[int]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose(select([kernel]), sizes)


def test_a_type_that_a_kernel_does_not_take_is_refused() -> None:
    with pytest.raises(ConfigError, match="--dtype int8: normalise takes uint8 or uint16 or float32"):
        choose(select(["normalise"]), {}, ("int8",))


def test_numbers_of_an_option() -> None:
    assert numbers("1000, 2^20,1000,65536", "--nsamps") == (1000, 1 << 20, 65536)


@pytest.mark.parametrize("text", ["", "1,", "0", "-4", "1e6", "2^41", "9^99", "9999999999999^99", "4.5", "x"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--ndms .*expected whole numbers such as"):
        numbers(text, "--ndms")


def test_what_does_not_fit_the_memory_is_said() -> None:
    @case("add", "float64 -> float64", "adds", (1 << 30, 4096), (8,))
    def add(_: Size) -> Work:
        raise MemoryError

    with pytest.raises(ConfigError, match=r"add: 4096 x 2\^30 does not fit the memory"):
        measure_once(add, 1, 0.1)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_figures_are_positive(case: Case) -> None:
    figure = measure_case(tiny(case), LIMITS, 1e-4)
    for value in (figure.cpu_s, figure.wall_s, figure.samples_per_s, figure.bytes_per_s, figure.fraction):
        assert value > 0
        assert math.isfinite(value)
    assert figure.calls >= 3
    assert figure.cpu_low_s == figure.cpu_s == figure.cpu_high_s
    assert figure.first_s >= 0
    assert figure.limit in ("copy near", case.arithmetic)
    assert (figure.ratio is None) == (figure.plain_cpu_s is None)
    assert figure.ratio is None or figure.ratio > 0
    cost = tiny(case).work().cost
    assert figure.samples_per_s * figure.cpu_s == pytest.approx(cost.samples)
    assert figure.adds_per_s * figure.cpu_s == pytest.approx(cost.adds)
    assert figure.flops_per_byte * cost.nbytes == pytest.approx(cost.flops)


def test_names_are_unique_and_cases_are_of_a_size_that_means_something() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    for line in CASES:
        assert tiny(line).work().cost.samples < line.full.nchans * line.full.nsamps
        assert line.arithmetic in ("adds L1", "adds L2", "floats")


def test_the_limit_is_the_one_that_takes_longest() -> None:
    assert LIMITS.shortest(1e10, 0.0, "adds L1") == ("copy", 1.0)
    assert LIMITS.shortest(1e7, 0.0, "floats") == ("copy near", 5e-4)
    assert LIMITS.shortest(1e9, 4e10, "adds L1") == ("adds L1", 1.0)
    assert LIMITS.shortest(1e9, 4e10, "adds L2") == ("adds L2", 2.0)
    assert LIMITS.shortest(1e9, 1e11, "floats") == ("floats", 2.0)
    assert LIMITS.shortest(1e9, 1e9, "floats") == ("copy", 0.1)


@pytest.mark.parametrize("threads", [1, 2])
def test_limits_are_measured(threads: int) -> None:
    limits = measure_limits(threads, 1e-3, copy_bytes=1 << 16)
    assert limits.threads == threads
    for rate in (limits.copy, limits.copy_near, limits.adds_l1, limits.adds_l2, limits.floats):
        assert 1e6 < rate < 1e15
    assert usable_cores() >= 1
    assert 1 << 12 <= cache_bytes(1) <= cache_bytes(2)


def test_threads_together_do_several_times_the_work() -> None:
    @case("add", "float64 -> float64", "adds one", (1 << 16,), (8,))
    def add(size: Size) -> Work:
        a = np.zeros(size.nsamps)
        return Work(lambda: np.add(a, 1.0, out=a), lambda: a, CallCost(a.size, 16 * a.size))

    two = Limits(threads=2, copy=1.0, copy_near=1e10, adds_l1=1.0, adds_l2=1.0, floats=1.0)
    figure = measure_case(add, two, 1e-3)
    assert figure.samples_per_s * figure.cpu_s == pytest.approx(2 * (1 << 16))
    assert figure.fraction == pytest.approx(figure.bytes_per_s / two.copy_near)


def test_timing_tells_waiting_from_working() -> None:
    timing = measure([lambda: time.sleep(0.02)], 1e-3)
    assert timing.calls == 3
    assert timing.wall >= 0.02
    assert timing.cpu < 0.01


def test_selection() -> None:
    assert select() == CASES
    assert [case.name for case in select(["fold", "tree"])] == ["tree", "fold-band", "fold-bands", "fold-row"]
    assert [case.name for case in select(["fft"])] == ["fft"]
    with pytest.raises(ConfigError, match=r"did you mean unpack-8bit\?"):
        select(["unpak-8bit"])
    with pytest.raises(ConfigError, match="known are unpack-8bit, "):
        select([""])


@pytest.mark.usefixtures("small_copies")
def test_command_prints_a_table_and_json() -> None:
    table = CliRunner().invoke(app, ["bench", "fold-row", "--seconds", "0.001"])
    assert table.exit_code == 0
    assert "measuring fold-row" in table.stderr
    heading = next(line for line in table.stdout.splitlines() if line.startswith("kernel"))
    assert "samples/s" in heading
    assert any(line.startswith("fold-row") for line in table.stdout.splitlines())
    found = CliRunner().invoke(app, ["bench", "fold-row", "--json", "--quiet", "--threads", "2", "--seconds", "0.001"])
    assert (found.exit_code, found.stderr) == (0, "")
    document = json.loads(found.stdout)
    assert document["format"] == "pulsar-bench"
    assert document["cpu"]
    assert {"pulsar-search", "python", "numpy", "numba"} <= set(document["versions"])
    assert 2 in [limits["threads"] for limits in document["limits"]]
    assert [(f["kernel"], f["threads"]) for f in document["figures"]] == [("fold-row", 2)]


@pytest.mark.parametrize(
    ("args", "message"),
    [(("nonsense",), "no kernel 'nonsense'"), (("--threads", "0"), "--threads"), (("--seconds", "0"), "--seconds")],
)
def test_wrong_usage_exits_2(args: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(app, ["bench", *args])
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "-"), (12.34, "12.3"), (999.9e6, "1 G"), (2.345e10, "23.4 G"), (1e12, "1 T")]
)
def test_prefixes(value: float, text: str) -> None:
    assert si(value) == text
