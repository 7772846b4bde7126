"""``pulsar export``: candidates in the formats of other programs."""

from pathlib import Path
from typing import Annotated

import typer

from pulsar.cli.console import check_not_input, note, out, write_bytes
from pulsar.cli.options import Debug, Overwrite, Quiet


def command(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN.h5", help="Product of `pulsar search` or `pulsar fold`.", show_default=False),
    ],
    idents: Annotated[
        list[str], typer.Option("--id", metavar="ID", help="Candidate; may be repeated.", show_default=False)
    ],
    par: Annotated[bool, typer.Option("--par", help="Ephemeris for tempo, tempo2, PINT and `pulsar fold`.")] = False,
    bestprof: Annotated[bool, typer.Option("--bestprof", help="Profile and facts as prepfold's text.")] = False,
    pfd: Annotated[bool, typer.Option("--pfd", help="Fold as prepfold's binary file.")] = False,
    tim: Annotated[bool, typer.Option("--tim", help="Times of arrival, by the profile itself.")] = False,
    table: Annotated[bool, typer.Option("--csv", help="Profile as a table.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="File to write.", show_default="<RUN>_<ID>.<format>"),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    _debug: Debug = False,
) -> None:
    """Write candidates as other programs read them, and print the commands that confirm them."""
    from pulsar.errors import ConfigError
    from pulsar.handover.candidate import candidate_of, commands
    from pulsar.handover.formats import FORMATS
    from pulsar.io.product.reader import read

    forms = [
        form
        for form, wanted in (("par", par), ("bestprof", bestprof), ("pfd", pfd), ("tim", tim), ("csv", table))
        if wanted
    ]
    if not forms:
        raise ConfigError("give what to write: --par, --bestprof, --pfd, --tim or --csv")
    idents = list(dict.fromkeys(idents))
    if output is not None and len(forms) * len(idents) > 1:
        raise ConfigError(f"--out names one file, but {len(forms) * len(idents)} are asked for: leave it out")
    product = read(run)
    found = [candidate_of(product, ident) for ident in idents]
    # All contents before the first is written: what cannot be made leaves nothing half done.
    contents = [
        (output or run.with_name(f"{run.stem}_{one.ident}.{form}"), FORMATS[form](one))
        for one in found
        for form in forms
    ]
    for path, _ in contents:
        check_not_input(path, [run, *(file for one in found for file in one.files)])
    for path, content in contents:
        write_bytes(path, content, overwrite=overwrite)
        out(str(path))
    if not quiet:
        for one in found:
            note(f"to confirm {one.ident}:")
            for line in commands(product, one.row):
                note(f"  {line}")
