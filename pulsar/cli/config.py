"""``pulsar config``: show, start and check configurations."""

from pathlib import Path
from typing import Annotated

import typer

from pulsar.cli.console import note, out, write_text
from pulsar.cli.options import Debug, Overwrite, Sets

app = typer.Typer(help="Show, start or check a configuration.", no_args_is_help=True, rich_markup_mode=None)


@app.command("show")
def show(
    preset: Annotated[
        str | None, typer.Argument(metavar="PRESET|FILE", help="Preset or TOML file.", show_default="default")
    ] = None,
    sets: Sets = None,
    names: Annotated[bool, typer.Option("--list", help="List the presets instead.")] = False,
    bare: Annotated[bool, typer.Option("--bare", help="Without the explanations.")] = False,
    _debug: Debug = False,
) -> None:
    """Print all settings as TOML, with what each may hold."""
    from pulsar.config.load import given_config, presets, to_toml

    if names:
        for name, path in presets().items():
            first = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
            out(f"{name:<20} {first}")
        return
    out(to_toml(given_config(preset, sets or (), {}), with_help=not bare).rstrip())


@app.command("init")
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML file to write.", show_default=False)],
    preset: Annotated[
        str | None, typer.Option("--config", metavar="PRESET|FILE", help="Start from this.", show_default="default")
    ] = None,
    overwrite: Overwrite = False,
    _debug: Debug = False,
) -> None:
    """Write a configuration file with every setting and its explanation, ready to be changed."""
    from pulsar.config.load import given_config, to_toml

    write_text(file, to_toml(given_config(preset, (), {})), overwrite=overwrite)
    note(f"wrote {file}; use it with --config {file}")


@app.command("check")
def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="TOML file (or preset).", show_default=False)],
    _debug: Debug = False,
) -> None:
    """Check a configuration file; tells every key that is wrong."""
    from pulsar.config.load import given_config

    given_config(file, (), {})
    out(f"{file}: valid")
