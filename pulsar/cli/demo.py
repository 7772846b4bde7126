"""``pulsar demo``: simulate a small FAST-like observation, search it, and say whether its pulsars came out on top."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pulsar.cli.console import note, out
from pulsar.cli.options import Overwrite, Threads, Told, effective_config, shared
from pulsar.cli.tables import print_candidates


@shared
def command(
    output: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write.")] = Path("pulsar-demo"),
    threads: Threads = None,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Seed of the simulation.")] = 1,
    overwrite: Overwrite = False,
    *,
    told: Told,
) -> None:
    """Simulate a small FAST-like observation with five pulsars and interference, search it, and write the report."""
    from pulsar.errors import ConfigError, PulsarError

    data, product, folder = output / "demo.fil", output / "RUN.h5", output / "report"
    # The demo may be run again and again: only what it wrote itself is replaced.
    again = data.with_name("demo.truth.toml").exists()
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output}: is a file; give another folder with --out")
    if product.exists() and not (overwrite or again):
        raise ConfigError(f"{product}: exists already and is not of an earlier demo; give another --out")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{output}: the folder cannot be made: {error.strerror}") from error

    from pulsar.cli.simulate import thread_count
    from pulsar.pipeline.compiling import Ahead, parts_of

    progress = told.progress()
    settings = effective_config(None, None, run__threads=threads)
    # The kernels of the search are compiled while the observation is simulated.
    with Ahead(parts_of(settings), thread_count(threads)) as compiled:
        from pulsar.report.page import tasks_of, write_report
        from pulsar.run import search
        from pulsar.synthesis import demo_sky, write_filterbank
        from pulsar.synthesis.truth import truth

        sky = demo_sky(seed)
        with progress.stage("simulating", total=sky.header.nsamps, unit="samples") as tick:
            write_filterbank(sky, data, threads=thread_count(threads), overwrite=True, progress=tick)
        run = search([data], settings, product, overwrite=True, argv=sys.argv, progress=progress, compiled=compiled)
    injected = [entry for entry in truth(sky) if entry["kind"] == "pulsar"]
    rows = run.rows("candidates")
    found = match(rows, injected)
    with progress.stage("report", total=len(tasks_of([run], None)), unit="sheets") as tick:
        page = write_report([run], folder, tick=tick)

    print_candidates(rows[rows["harmonic_of"] == ""], top=15, marked={str(rows["id"][i]) for i in found.values()})
    out()
    note(f"data {data}, product {product}, report {page}")
    problems = verdict(rows, injected, found)
    if problems:
        raise PulsarError("the demo did not come out as it should:\n" + "\n".join(f"  {p}" for p in problems))
    out(f"All {len(injected)} simulated pulsars stand above everything else.")


def match(rows: Any, injected: list[dict[str, Any]]) -> dict[str, int]:
    """Name of each simulated pulsar that was found -> row of its best candidate.

    The period must agree within 1e-3, or five of its errors, as the fundamental; the DM within 5 or five errors.
    """
    found: dict[str, int] = {}
    for pulsar in injected:
        for i, row in enumerate(rows):
            period_close = abs(row["period"] - pulsar["period"]) < max(
                1e-3 * pulsar["period"], 5 * _known(row["period_err"])
            )
            dm_close = abs(row["dm"] - pulsar["dm"]) < max(5.0, 5 * _known(row["dm_err"]))
            if period_close and dm_close and i not in found.values():
                found[str(pulsar["name"])] = i
                break
    return found


def _known(value: float) -> float:
    return float(value) if value == value else 0.0


def verdict(rows: Any, injected: list[dict[str, Any]], found: dict[str, int]) -> list[str]:
    """What is wrong with the ranking, in words; empty when every pulsar stands above everything else."""
    problems = []
    for pulsar in injected:
        name = str(pulsar["name"])
        what = f"{name} (period {1e3 * pulsar['period']:.6g} ms, DM {pulsar['dm']:g})"
        if name not in found:
            problems.append(f"{what} was not found")
        elif found[name] >= len(found):
            above = [str(rows["id"][i]) for i in range(found[name]) if i not in found.values()]
            problems.append(f"{what} has rank {rows['rank'][found[name]]}, below {', '.join(above)}")
    return problems
