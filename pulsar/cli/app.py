"""The command ``pulsar``: the parser, and the one place that turns errors into messages and exit codes."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pulsar.cli import (
    batch,
    bench,
    completeness,
    ending,
    export,
    fold,
    info,
    orbits,
    plan,
    products,
    samples,
    search,
    setup,
    stack,
    synthetic,
    view,
)
from pulsar.cli.console import error
from pulsar.cli.options import Command
from pulsar.data.work import environment
from pulsar.errors import PulsarError


class ErrorGroup(TyperGroup):
    """Runs a command and ends with 0 (done), 1 (our failure), 2 (usage), 3 (unreadable input) or 130 (interrupted)."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            _tell_end(signal.SIGINT, stop)
            raise typer.Exit(ending.INTERRUPTED) from None
        except SystemExit as stop:
            if stop.code == 128 + signal.SIGTERM:
                _tell_end(signal.SIGTERM, stop)
            raise
        except BrokenPipeError:
            # The reader of our output (head, less) has gone: nothing is wrong.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except Exception as failure:
            if number := ending.the_one.number:
                # A library that a signal has found importing makes of it an error of its own.
                _tell_end(number, failure)
                raise typer.Exit(128 + number) from failure
            # typer's own errors (usage, exit) are exceptions too and know what to do.
            if type(failure).__module__.startswith(("typer", "click")):
                raise
            if ctx.meta.get("pulsar.debug"):
                traceback.print_exc()
            error(_message(failure))
            raise typer.Exit(failure.exit_code if isinstance(failure, PulsarError) else 1) from failure


def _tell_end(number: int, stop: BaseException) -> None:
    ending.the_one.told = True
    error(ending.words(number, getattr(stop, "__notes__", ())))


def _message(failure: Exception) -> str:
    if isinstance(failure, PulsarError):
        return str(failure)
    if isinstance(failure, MemoryError):
        return "out of memory; lower --memory or --threads, or take a shorter piece of the data"
    if isinstance(failure, RuntimeError) and "start new thread" in str(failure):
        return "no further thread can be had (ulimit -u, -v, or memory); lower --threads"
    if isinstance(failure, OSError) and failure.errno == errno.ENOSPC:
        return f"{failure.filename or 'the output'}: no space left on this disk; free some, or give another folder"
    if isinstance(failure, OSError):
        return f"{failure.filename}: {failure.strerror}" if failure.filename else str(failure)
    return (
        f"internal failure: {type(failure).__name__}: {failure}\n"
        "This is a fault of the program: run again with --debug and report what it prints."
    )


app = typer.Typer(
    cls=ErrorGroup,
    name="pulsar",
    help="From a raw radio observation to ranked pulsar candidates in one HDF5 file.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(value: bool) -> None:
    if value:
        from pulsar import __version__

        typer.echo(f"pulsar-search {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """From a raw radio observation to ranked pulsar candidates in one HDF5 file."""
    from pulsar.config.resources import check_address_space, check_environment

    # Before numba is loaded, which has words of its own for the one, and none for the other.
    check_environment()
    check_address_space()


#: In the order of `pulsar --help`.
COMMANDS: dict[str, Callable[..., None]] = {
    "search": search.command,
    "completeness": completeness.command,
    "info": info.command,
    "plan": plan.command,
    "rfi": samples.rfi,
    "orbits": orbits.command,
    "fold": fold.command,
    "sift": products.sift,
    "candidates": products.candidates,
    "dedisperse": samples.dedisperse,
    "waterfall": samples.waterfall,
    "export": export.command,
    "report": products.report,
    "view": view.command,
    "why": products.why,
    "simulate": synthetic.simulate,
    "inject": synthetic.inject,
    "demo": synthetic.demo,
    "bench": bench.command,
    "compile": setup.compile_kernels,
}
for _name, _command in COMMANDS.items():
    app.command(_name, cls=Command)(_command)
app.add_typer(batch.app, name="batch")
app.add_typer(stack.app, name="stack")
app.add_typer(setup.app, name="config")


def main() -> None:
    """Entry point of the command ``pulsar``."""
    # For processes that libraries start, too.
    os.environ.update(environment())
    ending.run(app)
