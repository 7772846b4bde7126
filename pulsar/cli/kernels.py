"""``pulsar compile``: all kernels compiled for this processor, before the first search."""

from typing import Annotated

import typer

from pulsar.cli.console import out
from pulsar.cli.options import Told, shared


@shared
def command(
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, metavar="N", help="Processes.", show_default="all cores")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compile nothing; end with 1 if a kernel is not there yet.")
    ] = False,
    *,
    told: Told,
) -> None:
    """Compile all kernels for this processor and store them; a search does it by itself for what it needs."""
    from pulsar.cli.simulate import thread_count
    from pulsar.errors import ConfigError
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
            compiled.wait(told.progress())
    missing = [name for name in names if not ahead.stored(name)]
    if not told.quiet:
        out(f"{len(names) - len(missing)} of {len(names)} kernels are compiled for this processor, in {ahead.place()}")
    if missing:
        raise typer.Exit(1)
