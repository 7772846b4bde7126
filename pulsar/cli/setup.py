"""Before a search: configurations (``pulsar config``), and kernels for this processor (``pulsar compile``)."""

from pathlib import Path
from typing import Annotated

import typer

from pulsar.cli.console import note, out, write_text
from pulsar.cli.options import Debug, Display, Overwrite, Preset, Sets, argument, option, options
from pulsar.config.load import given_config, presets, to_toml
from pulsar.config.resources import thread_count
from pulsar.errors import ConfigError

app = typer.Typer(help="Show, start or check a configuration.", no_args_is_help=True, rich_markup_mode=None)


@app.command("show")
def show(
    preset: Annotated[str | None, argument("PRESET|FILE", "Preset or TOML file.", default="default")] = None,
    sets: Sets = None,
    names: Annotated[bool, option("--list", "List the presets instead.")] = False,
    bare: Annotated[bool, option("--bare", "Without the explanations.")] = False,
    _debug: Debug = False,
) -> None:
    """Print all settings as TOML, with what each may hold."""
    if names:
        for name, path in presets().items():
            first = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
            out(f"{name:<20} {first}")
        return
    out(to_toml(given_config(preset, sets or (), {}), with_help=not bare).rstrip())


@app.command("init")
def init(
    file: Annotated[Path, argument("FILE", "TOML file to write.")],
    preset: Preset = None,
    overwrite: Overwrite = False,
    _debug: Debug = False,
) -> None:
    """Write a configuration file with every setting and its explanation, ready to be changed."""
    write_text(file, to_toml(given_config(preset, (), {})), overwrite=overwrite)
    note(f"wrote {file}; use it with --config {file}")


@app.command("check")
def check(
    file: Annotated[str, argument("FILE", "TOML file (or preset).")],
    _debug: Debug = False,
) -> None:
    """Check a configuration file; tells every key that is wrong."""
    given_config(file, (), {})
    out(f"{file}: valid")


@options()
def compile_kernels(
    jobs: Annotated[int | None, option("--jobs -j", "Processes.", "N", default="all cores", min=1)] = None,
    check: Annotated[bool, option("--check", "Compile nothing; end with 1 if a kernel is not there yet.")] = False,
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
