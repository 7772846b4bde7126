"""This program on this machine: ``pulsar config``, ``pulsar compile`` and ``pulsar bench``."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulsar.cli.console import check_picture, note, out, write_file
from pulsar.cli.options import Display, Json, Overwrite, Preset, Quiet, Sets, argument, named, option, options
from pulsar.cli.tables import print_table
from pulsar.config.load import given_config, presets, to_toml
from pulsar.config.resources import thread_count
from pulsar.data.text import counted, si
from pulsar.errors import ConfigError
from pulsar.pipeline.progress import rates_file

if TYPE_CHECKING:
    from pulsar.bench.case import Case
    from pulsar.bench.figures import BenchRun, StageFigure


app = typer.Typer(help="Show, start or check a configuration.", no_args_is_help=True, rich_markup_mode=None)


@app.command("show")
@options()
def show(
    preset: Annotated[str | None, argument("PRESET|FILE", "Preset or TOML file.", default="default")] = None,
    sets: Sets = None,
    names: Annotated[bool, named("--list", "List the presets instead.")] = False,
    bare: Annotated[bool, named("--bare", "Without the explanations.")] = False,
) -> None:
    """Print all settings as TOML, with what each may hold."""
    if names:
        for name, path in presets().items():
            first = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
            out(f"{name:<20} {first}")
        return
    out(to_toml(given_config(preset, sets or (), {}), with_help=not bare).rstrip())


@app.command("init")
@options()
def init(
    file: Annotated[Path, argument("FILE", "TOML file to write.")],
    preset: Preset = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a configuration file with every setting and its explanation, ready to be changed."""
    write_file(file, to_toml(given_config(preset, (), {})), overwrite=overwrite)
    note(f"wrote {file}; use it with --config {file}")


@app.command("check")
@options()
def check(file: Annotated[str, argument("FILE", "TOML file (or preset).")]) -> None:
    """Check a configuration file; tells every key that is wrong."""
    given_config(file, (), {})
    out(f"{file}: valid")


@options()
def compile_kernels(
    jobs: Annotated[int | None, named("--jobs -j", "Processes.", "N", default="all cores", min=1)] = None,
    check: Annotated[bool, named("--check", "Compile nothing; end with 1 if a kernel is not there yet.")] = False,
    *,
    display: Display,
) -> None:
    """Compile all kernels for this processor and store them; a search does it by itself for what it needs."""
    from pulsar.pipeline.compiling import Ahead
    from pulsar_kernels import ahead

    names = ahead.versions()
    if not ahead.place():
        raise ConfigError(
            "there is no place for compiled kernels: set NUMBA_CACHE_DIR to a folder that can be written; "
            "without one every run compiles them again"
        )
    if not check:
        with Ahead(list(ahead.PARTS), thread_count(jobs)) as compiled:
            compiled.wait(display.progress())
    missing = [name for name in names if not ahead.stored(name)]
    if not display.quiet:
        out(f"{len(names) - len(missing)} of {len(names)} kernels are compiled for this processor, in {ahead.place()}")
    if missing:
        raise typer.Exit(1)


def _extent(name: str, counted: str) -> Any:
    about = f"{counted} on which the named kernels are measured."
    return named(f"--{name}", about, "N,...", default="as searches have it")


#: Verdicts on the second run, in the table.
VERDICTS = {"faster": "faster", "slower": "slower", "same": "as fast, within the noise", "unknown": "-"}


@options()
def bench(
    kernels: Annotated[
        list[str] | None,
        argument(
            "[KERNEL]...",
            "Kernels to measure, by name or by how several begin (unpack, fold).",
            default="all, without --stages",
        ),
    ] = None,
    as_json: Json = False,
    listed: Annotated[bool, named("--list", "List what can be measured.")] = False,
    compared: Annotated[
        tuple[Path, Path] | None, named("--compare", "Compare two runs of --json.", "A.json B.json", default=False)
    ] = None,
    plot: Annotated[Path | None, option("Draw what --compare finds.", "PNG", default=False)] = None,
    roofline: Annotated[
        Path | None, option("Draw the kernels under the limits of the machine.", "PNG", default=False)
    ] = None,
    save: Annotated[
        bool, named("--save", "Measure what searches take on this machine, a minute or two, and keep it for plans.")
    ] = False,
    threads: Annotated[int, option("Threads that run each kernel side by side.", "N", min=1)] = 1,
    seconds: Annotated[float, option("CPU seconds for each figure.", "S", min=0.001)] = 0.3,
    repeats: Annotated[int, option("Measurements of each figure, which share --seconds.", "N", min=1)] = 5,
    nsamps: Annotated[str | None, _extent("nsamps", "Numbers of samples (2^20 is one)")] = None,
    nchans: Annotated[str | None, _extent("nchans", "Numbers of channels")] = None,
    ndms: Annotated[str | None, _extent("ndms", "Numbers of trial DMs")] = None,
    dtype: Annotated[
        str | None,
        option(
            "Types of samples that the named kernels take in: uint8, uint16, float32 ...; --list tells.",
            "T,...",
            default="as searches have it",
        ),
    ] = None,
    stages: Annotated[
        bool, named("--stages", "Measure the stages of the pipeline, with one thread and with two.")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Measure the kernels on this machine, beside its own limits and plain numpy; or whole stages."""
    doing = {"--list": listed, "--compare": compared is not None, "--save": save, "--roofline": roofline is not None}
    asked = [name for name, is_given in doing.items() if is_given]
    if len(asked) > 1:
        raise typer.BadParameter(f"give it without {asked[0]}", param_hint=asked[1])
    if stages and not kernels and roofline is not None:
        raise typer.BadParameter("shows kernels: name some, or leave --stages out", param_hint="--roofline")
    if plot is not None and compared is None:
        raise typer.BadParameter("draws what --compare finds: give both", param_hint="--plot")
    sizes = {"nsamps": nsamps, "nchans": nchans, "ndms": ndms, "dtype": dtype}
    chosen = {name: text for name, text in sizes.items() if text is not None}
    if chosen and not kernels:
        raise typer.BadParameter("chooses for kernels: name them", param_hint=f"--{next(iter(chosen))}")
    check_picture(plot, roofline, overwrite=overwrite)
    if save:
        _save(kernels, stages, as_json, quiet)
        return
    if compared is not None:
        _compare(compared, kernels or [], stages, as_json, plot)
        return
    from pulsar.bench import figures, run
    from pulsar.bench import stages as whole

    cases = _cases(kernels, chosen) if kernels or not stages else []
    if listed:
        _list(cases, stages, as_json)
        return
    bench = run.run(
        cases,
        stages=whole.STAGES if stages else (),
        threads=threads,
        seconds=seconds,
        repeats=repeats,
        progress=None if quiet else _announce,
    )
    if roofline is not None:
        figures.roofline(bench, roofline)
    if as_json:
        out(json.dumps(asdict(bench), indent=2))
    else:
        print_bench(bench)


def _cases(kernels: list[str] | None, chosen: dict[str, str]) -> "list[Case]":
    """Cases of these names, on the sizes and types that the options choose."""
    from pulsar.bench.run import choose, numbers, select

    types = [item.strip() for item in chosen["dtype"].split(",")] if "dtype" in chosen else []
    sizes = {name: numbers(text, f"--{name}") for name, text in chosen.items() if name != "dtype"}
    return choose(select(kernels or ()), sizes, list(dict.fromkeys(types)))


def _list(cases: "list[Case]", stages: bool, as_json: bool) -> None:
    """Print the table of cases and stages."""
    from pulsar.bench import run
    from pulsar.bench import stages as whole

    if as_json:
        lines: list[dict[str, Any]] = [
            {"kernel": c.name, "about": c.words(), "dtype": c.dtype, **c.full._asdict()}
            | {"arithmetic": c.arithmetic, "offers": {"sizes": run.offered(c), "dtypes": list(c.takes)}}
            for c in cases
        ]
        out(json.dumps(lines + [{"stage": s.name, "about": s.about} for s in whole.STAGES if stages], indent=2))
        return
    if cases:
        print_table(
            {
                "kernel": lambda c: c.name,
                "size": lambda c: c.full.about,
                "types": lambda c: c.dtype,
                "or takes": lambda c: ", ".join(c.takes[1:]) or "-",
                "sizes by": lambda c: " ".join(run.offered(c)),
                "arithmetic": lambda c: c.arithmetic,
                "work": lambda c: c.words(),
            },
            cases,
            left=("kernel", "size", "types", "or takes", "sizes by", "arithmetic", "work"),
        )
    if stages:
        print_table({"stage": lambda s: s.name, "work": lambda s: s.about}, whole.STAGES, left=("stage", "work"))


def _compare(paths: tuple[Path, Path], kernels: list[str], stages: bool, as_json: bool, plot: Path | None) -> None:
    """Two runs beside each other."""
    if kernels or stages:
        raise typer.BadParameter("takes two files: give it without kernels and --stages", param_hint="--compare")
    from pulsar.bench.figures import compare, draw_comparison, load

    runs = [load(path) for path in paths]
    both = compare(*runs)
    if plot is not None:
        draw_comparison(both.differences, (str(paths[0]), str(paths[1])), plot)
    if as_json:
        out(json.dumps(asdict(both), indent=2))
        return
    for letter, path, run in zip("AB", paths, runs, strict=True):
        out(f"{letter}: {path}: {run.cpu}, {run.cores} cores, {run.created[:10]}, {run.repeats} repeats")
    out()
    print_table(
        {
            "kernel": lambda d: d.name,
            "A, CPU [ms]": lambda d: f"{1e3 * d.a_s:.3g}",
            "range A": lambda d: spread(d.a_s, d.a_low_s, d.a_high_s),
            "B, CPU [ms]": lambda d: f"{1e3 * d.b_s:.3g}",
            "range B": lambda d: spread(d.b_s, d.b_low_s, d.b_high_s),
            "times as fast": lambda d: f"{d.ratio:.2f}",
            "least": lambda d: f"{d.ratio_low:.2f}",
            "most": lambda d: f"{d.ratio_high:.2f}",
            "B is": lambda d: VERDICTS[d.verdict],
        },
        both.differences,
        left=("kernel", "B is"),
    )
    out()
    count = len(both.differences)
    if any(d.verdict == "unknown" for d in both.differences):
        out("A run has one repeat only: its noise is not known. Measure with --repeats 5.")
    else:
        beyond = sum(d.verdict in ("faster", "slower") for d in both.differences)
        out(f"{beyond} of {count} differ beyond the noise; by chance {both.chance * count:.2g} would.")
    if both.left_out:
        out(f"Not in both, or not the same work: {', '.join(both.left_out)}.")


def _save(kernels: list[str] | None, stages: bool, as_json: bool, quiet: bool) -> None:
    """Measure the rates that plans are made with."""
    if kernels or stages:
        raise typer.BadParameter("measures whole searches: give it without kernels and --stages", param_hint="--save")
    from pulsar.bench.stages import save_rates

    rates = save_rates(None if quiet else _announce)
    if as_json:
        out(json.dumps({name: {"start": s.start, "rate": s.rate} for name, s in rates.stages.items()}, indent=2))
        return
    print_table(
        {
            "stage": lambda item: item[0],
            "start [CPU s]": lambda item: f"{item[1].start:.2f}",
            "of the default": lambda item: f"{item[1].rate:.2f}",
        },
        list(rates.stages.items()),
        title="CPU seconds for a second at the default rates",
        left=("stage",),
    )
    out(f"kept in {rates_file()}")


def _announce(name: str) -> None:
    note(f"measuring {name}")


def print_bench(bench: "BenchRun") -> None:
    """Print the machine, its limits and the figures."""
    out(f"{bench.cpu}, {bench.cores} cores; {', '.join(f'{k} {v}' for k, v in bench.versions.items())}")
    out()
    print_table(
        {
            "limits": lambda x: counted(x.threads, "cores"),
            "copy [B/s]": lambda x: si(x.copy),
            "in cache": lambda x: si(x.copy_near),
            "int16 adds/s in L1": lambda x: si(x.adds_l1),
            "int8 adds/s in L2": lambda x: si(x.adds_l2),
            "float [flop/s]": lambda x: si(x.floats),
        },
        bench.limits,
        left=("limits",),
    )
    if bench.figures:
        out()
        print_kernels(bench)
    if bench.stages:
        out()
        print_stages(bench.stages)


def print_kernels(bench: "BenchRun") -> None:
    """Print the figures of the kernels."""
    print_table(
        {
            "kernel": lambda f: f.kernel,
            "size": lambda f: f.size,
            "types": lambda f: f.dtype,
            "samples/s": lambda f: si(f.samples_per_s),
            "adds/s": lambda f: si(f.adds_per_s),
            "flop/s": lambda f: si(f.flops_per_s),
            "bytes/s": lambda f: si(f.bytes_per_s),
            "CPU [ms]": lambda f: f"{1e3 * f.cpu_s:.2f}",
            "range": lambda f: spread(f.cpu_s, f.cpu_low_s, f.cpu_high_s),
            "limit": lambda f: f.limit,
            "of it": lambda f: f"{100 * f.fraction:.0f} %",
            "numpy [ms]": lambda f: "-" if f.plain_cpu_s is None else f"{1e3 * f.plain_cpu_s:.1f}",
            "ratio": lambda f: "-" if f.ratio is None else f"{f.ratio:.1f}",
            "first call [s]": lambda f: f"{f.first_s:.2f}",
            "work": lambda f: f.about,
        },
        bench.figures,
        title=f"Figures of {counted(bench.threads, 'threads')}, in CPU seconds",
        left=("kernel", "size", "types", "limit", "work"),
    )


def print_stages(stages: "Sequence[StageFigure]") -> None:
    """Print the figures of the stages."""
    print_table(
        {
            "stage": lambda f: f.stage,
            "threads": lambda f: str(f.threads),
            "samples/s": lambda f: si(f.samples_per_s),
            "operations/s": lambda f: si(f.operations_per_s),
            "bytes/s": lambda f: si(f.bytes_per_s),
            "CPU [ms]": lambda f: f"{1e3 * f.cpu_s:.2f}",
            "range": lambda f: spread(f.cpu_s, f.cpu_low_s, f.cpu_high_s),
            "elapsed [ms]": lambda f: f"{1e3 * f.wall_s:.2f}",
            "faster": lambda f: "-" if f.speedup is None else f"{f.speedup:.2f}",
            "CPU more": lambda f: "-" if f.overhead is None else f"{100 * (f.overhead - 1):.0f} %",
            "limit": lambda f: f.limit,
            "of it": lambda f: f"{100 * f.fraction:.0f} %",
            "first call [s]": lambda f: f"{f.first_s:.2f}",
            "work": lambda f: f.about,
        },
        stages,
        title="Stages of the pipeline",
        left=("stage", "limit", "work"),
    )


def spread(median: float, low: float, high: float) -> str:
    """How far the fastest and the slowest repeat are from the median: "-2 +11 %"; "-" for a single one."""
    if low == high:
        return "-"
    return f"-{100 * (1 - low / median):.0f} +{100 * (high / median - 1):.0f} %"
