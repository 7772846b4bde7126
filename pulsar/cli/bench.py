"""``pulsar bench``: how fast the kernels are on this machine."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pulsar.cli.console import note, out
from pulsar.cli.options import Debug, Json, Quiet
from pulsar.cli.tables import print_table

if TYPE_CHECKING:
    from pulsar.bench.run import Bench
    from pulsar.bench.stages import StageFigure

Kernels = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KERNEL]...",
        help="Kernels to measure, by name or by how several begin (unpack, fold).",
        show_default="all, without --stages",
    ),
]
BenchThreads = Annotated[
    int, typer.Option("--threads", metavar="N", min=1, help="Threads that run each kernel side by side.")
]
Seconds = Annotated[float, typer.Option("--seconds", metavar="S", min=0.001, help="CPU seconds for each figure.")]

Stages = Annotated[
    bool, typer.Option("--stages", help="Measure the stages of the pipeline, with one thread and with two.")
]
Save = Annotated[
    bool,
    typer.Option("--save", help="Measure what searches take on this machine, a minute or two, and keep it for plans."),
]


def command(
    kernels: Kernels = None,
    as_json: Json = False,
    save: Save = False,
    threads: BenchThreads = 1,
    seconds: Seconds = 0.3,
    stages: Stages = False,
    quiet: Quiet = False,
    _debug: Debug = False,
) -> None:
    """Measure the kernels on this machine, beside its own limits and plain numpy; or whole stages."""
    if save:
        _save(kernels, stages, as_json, quiet)
        return
    from pulsar.bench.registry import select
    from pulsar.bench.run import run
    from pulsar.bench.stages import STAGES

    bench = run(
        select(kernels or ()) if kernels or not stages else [],
        stages=STAGES if stages else (),
        threads=threads,
        seconds=seconds,
        progress=None if quiet else _announce,
    )
    if as_json:
        out(json.dumps(bench.document(), indent=2))
        return
    print_bench(bench)


def _save(kernels: list[str] | None, stages: bool, as_json: bool, quiet: bool) -> None:
    """Measure the rates that plans are made with."""
    if kernels or stages:
        raise typer.BadParameter("measures whole searches: give it without kernels and --stages", param_hint="--save")
    from pulsar.bench.saved import save_rates
    from pulsar.pipeline.rates import rates_file

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


def _announce(what: str) -> None:
    note(f"measuring {what}")


def print_bench(bench: "Bench") -> None:
    """Print the machine, its limits and the figures."""
    out(f"{bench.cpu}, {bench.cores} cores; {', '.join(f'{k} {v}' for k, v in bench.versions.items())}")
    out()
    print_table(
        {
            "limits": lambda x: f"{x.threads} core{'s' if x.threads > 1 else ''}",
            "copy [B/s]": lambda x: si(x.copy),
            "in cache": lambda x: si(x.copy_near),
            "int16 adds/s in L1": lambda x: si(x.adds_l1),
            "in L2": lambda x: si(x.adds_l2),
            "float [flop/s]": lambda x: si(x.floats),
            "in FFTs": lambda x: si(x.fft),
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


def print_kernels(bench: "Bench") -> None:
    """Print the figures of the kernels."""
    print_table(
        {
            "kernel": lambda f: f.kernel,
            "samples/s": lambda f: si(f.samples_per_s),
            "adds/s": lambda f: si(f.adds_per_s),
            "flop/s": lambda f: si(f.flops_per_s),
            "bytes/s": lambda f: si(f.bytes_per_s),
            "CPU [ms]": lambda f: f"{1e3 * f.cpu_s:.2f}",
            "limit": lambda f: f.limit,
            "of it": lambda f: f"{100 * f.fraction:.0f} %",
            "numpy [ms]": lambda f: "-" if f.plain_cpu_s is None else f"{1e3 * f.plain_cpu_s:.1f}",
            "ratio": lambda f: "-" if f.ratio is None else f"{f.ratio:.1f}",
            "first call [s]": lambda f: f"{f.first_s:.2f}",
            "work": lambda f: f.about,
        },
        bench.figures,
        title=f"Figures of {bench.threads} thread{'s' if bench.threads > 1 else ''}, in CPU seconds",
        left=("kernel", "limit", "work"),
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


def si(value: float) -> str:
    """Three digits and the prefix: 12.3 G; "-" for nothing."""
    if not value > 0:
        return "-"
    for factor, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= 0.9995 * factor:
            return f"{value / factor:.3g}{prefix}"
    return f"{value:.3g}"
