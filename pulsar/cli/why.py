"""``pulsar why``: what was detected at a period or a time, and what became of it."""

from pathlib import Path
from typing import Annotated

import typer

from pulsar.cli.console import out
from pulsar.cli.options import Debug


def command(
    run: Annotated[
        Path, typer.Argument(metavar="RUN.h5", help="Product of `pulsar search` or `pulsar sift`.", show_default=False)
    ],
    period: Annotated[float | None, typer.Option("--period", metavar="S", help="Period [s].")] = None,
    freq: Annotated[float | None, typer.Option("--freq", metavar="HZ", help="Frequency [Hz].")] = None,
    time: Annotated[
        float | None, typer.Option("--time", metavar="S", help="Time of a single pulse from the start [s].")
    ] = None,
    dm: Annotated[float | None, typer.Option("--dm", metavar="DM", help="At this DM; default: any.")] = None,
    _debug: Debug = False,
) -> None:
    """Tell who has a signal and on what evidence, or what kept it off the list."""
    from pulsar.errors import ConfigError
    from pulsar.io.product.reader import read
    from pulsar.report.why import Asked, why

    if sum(value is not None for value in (period, freq, time)) != 1:
        raise ConfigError("give one of --period, --freq and --time")
    if period is not None:
        if not period > 0:
            raise ConfigError(f"--period {period:g}: expected a positive number of seconds")
        freq = 1.0 / period
    for line in why(read(run), Asked(freq, time, dm)):
        out(line)
