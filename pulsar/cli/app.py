"""The command ``pulsar``: the parser, and the one place that turns errors into messages and exit codes."""

import errno
import os
import platform
import signal
import sys
import traceback
from importlib import import_module
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from pulsar import __version__
from pulsar.cli import ending
from pulsar.cli.console import error
from pulsar.config.resources import environment
from pulsar.errors import PulsarError

#: In the order of `pulsar --help`, the file that is loaded when one is called, its name there, and what is said.
COMMANDS = {
    "search": ("search:search", "Search an observation for pulsars of every kind."),
    "completeness": ("search:completeness", "Tell how many of the pulsars that are injected a search finds."),
    "info": ("plan:info", "Show what is in files and folders."),
    "plan": ("plan:plan", "Show what a search goes through, and what it takes."),
    "rfi": ("samples:rfi", "Make the mask of an observation."),
    "orbits": ("search:orbits", "Search for pulsars on circular orbits, as in globular clusters."),
    "fold": ("folds:fold", "Fold an observation with a period and DM, and refine them."),
    "connect": ("epochs:connect", "Make one ephemeris of folds of several nights: every turn is counted."),
    "follow": ("epochs:follow", "Tell which candidates are in a new observation."),
    "sift": ("products:sift", "Merge products of several beams and nights."),
    "candidates": ("products:candidates", "List the candidates, or the single pulses, of runs, best first."),
    "dedisperse": ("samples:dedisperse", "Write the series of an observation at one DM or several."),
    "convert": ("samples:convert", "Write an observation in another format or depth."),
    "waterfall": ("samples:waterfall", "Draw a stretch of an observation."),
    "export": ("folds:export", "Write candidates and bursts as other programs read them."),
    "report": ("products:report", "Write a page with the ranked lists, maps and plot sheets."),
    "view": ("products:view", "Show candidates on a page, and keep what you judge them to be."),
    "why": ("products:why", "Tell who has a signal, or what kept it off the list."),
    "simulate": ("samples:simulate", "Write a synthetic observation."),
    "inject": ("samples:inject", "Add pulsars, bursts and interference to an observation."),
    "demo": ("samples:demo", "Simulate a small observation with five pulsars, and search it."),
    "bench": ("setup:bench", "Measure kernels and stages on this machine."),
    "compile": ("setup:compile_kernels", "Compile all kernels for this processor."),
    "batch": ("batch:app", "Search many observations: begin, run, look, retry, merge."),
    "stack": ("epochs:stack", "Sum the power spectra of many epochs: add, look, search."),
    "config": ("setup:app", "Show, start or check a configuration."),
}


def command_of(name: str) -> TyperCommand | TyperGroup:
    """A command, or a group of them, loaded."""
    from pulsar.cli.options import Command  # which loads the model of the configuration

    module, _, attribute = COMMANDS[name][0].partition(":")
    command = getattr(import_module(f"pulsar.cli.{module}"), attribute)
    if isinstance(command, typer.Typer):
        return get_group(command)
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    alone.command(name, cls=Command)(command)
    return cast(TyperCommand, get_command(alone))


class ErrorGroup(TyperGroup):
    """Runs a command and ends with 0 (done), 1 (our failure), 2 (usage), 3 (unreadable input) or 130 (interrupted)."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.commands = {name: TyperCommand(name, help=text) for name, (_, text) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Name, command and its arguments: the one that was asked for is loaded."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None or command is None else command_of(name), rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            result = super().invoke(ctx)
            # What is left in the buffer is written here, where an error is answered, and not by Python as it ends.
            sys.stdout.flush()
            return result
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
    ending.the_one.announced = True
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


def _print_versions(all_packages: bool) -> None:
    typer.echo(f"pulsar-search {__version__}")
    if all_packages:
        from pulsar.io.product.provenance import cpu_model, versions

        for name, number in list(versions().items())[1:]:
            typer.echo(f"{name} {number}")
        typer.echo(f"{platform.platform()}, {cpu_model()}")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
    all_packages: Annotated[
        bool, typer.Option("--all", help="With --version: that of Python, of packages that matter, and the machine.")
    ] = False,
) -> None:
    """From a raw radio observation to ranked pulsar candidates in one HDF5 file."""
    if version:
        _print_versions(all_packages)
        raise typer.Exit
    if all_packages:
        raise typer.BadParameter("goes with --version only", param_hint="--all")
    if context.invoked_subcommand is None:
        context.fail("Missing command.")
    from pulsar.config.resources import check_address_space, check_environment, keep_freed

    # Before numba is loaded, which has words of its own for the one, and none for the other.
    check_environment()
    check_address_space()
    keep_freed()


def main() -> None:
    """Entry point of the command ``pulsar``."""
    # For processes that libraries start, too.
    os.environ.update(environment())
    ending.run(app)
