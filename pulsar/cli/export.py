"""``pulsar export``: candidates and bursts in the formats of other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulsar.cli.console import check_not_input, note, out, write_bytes
from pulsar.cli.options import Debug, Overwrite, Quiet, progress_mode

if TYPE_CHECKING:
    from pulsar.io.product.reader import Run


def command(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN.h5", help="Product of `pulsar search` or `pulsar fold`.", show_default=False),
    ],
    idents: Annotated[
        list[str],
        typer.Option("--id", metavar="ID", help="Candidate, or single pulse; may be repeated.", show_default=False),
    ],
    par: Annotated[bool, typer.Option("--par", help="Ephemeris for tempo, tempo2, PINT and `pulsar fold`.")] = False,
    bestprof: Annotated[bool, typer.Option("--bestprof", help="Profile and facts as prepfold's text.")] = False,
    pfd: Annotated[bool, typer.Option("--pfd", help="Fold as prepfold's binary file.")] = False,
    psrfits: Annotated[bool, typer.Option("--psrfits", help="Fold as an archive, for PSRCHIVE and others.")] = False,
    tim: Annotated[bool, typer.Option("--tim", help="Times of arrival, by the profile itself.")] = False,
    table: Annotated[bool, typer.Option("--csv", help="Profile as a table.")] = False,
    dat: Annotated[bool, typer.Option("--dat", help="Series of its files, with .inf: as `pulsar dedisperse`.")] = False,
    dm: Annotated[
        float | None,
        typer.Option("--dm", metavar="DM", help="DM of that series [pc/cm3].", show_default="that of the candidate"),
    ] = None,
    burst: Annotated[
        bool, typer.Option("--burst", help="Single pulse, cut out of its files, as burst classifiers read it (HDF5).")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="File to write.", show_default="<RUN>_<ID>.<format>"),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    _debug: Debug = False,
) -> None:
    """Write candidates and bursts as other programs read them, and print the commands that confirm them."""
    from pulsar.errors import ConfigError
    from pulsar.io.product.reader import read

    asked = (("par", par), ("bestprof", bestprof), ("pfd", pfd), ("psrfits", psrfits), ("tim", tim), ("csv", table))
    forms = [form for form, wanted in asked if wanted]
    if not (forms or dat or burst):
        raise ConfigError("give what to write: --par, --bestprof, --pfd, --psrfits, --tim, --csv, --dat or --burst")
    if dm is not None and not dat:
        raise ConfigError("--dm is of the series that --dat writes")
    idents = list(dict.fromkeys(idents))
    count = (len(forms) + dat + burst) * len(idents)
    if output is not None and count > 1:
        raise ConfigError(f"--out names one file, but {count} are asked for: leave it out")
    product = read(run)
    given = _given(run, output, overwrite, quiet)
    rows = {ident: _row(product, ident) for ident in idents}
    orbits = {str(row["id"]) for row in product.rows("orbits/found")}
    if forms and orbits.isdisjoint(idents):
        _folds(product, idents, forms, **given)
    elif forms:
        _orbits(product, idents, forms, **given)
    if burst:
        _bursts(product, idents, **given)
    for ident in idents if dat else ():
        _series(product, ident, float(rows[ident]["dm"]) if dm is None else dm, **given)
    for ident in [] if quiet else [ident for ident in idents if "period" in rows[ident] and ident not in orbits]:
        from pulsar.handover.candidate import commands

        note(f"to confirm {ident}:")
        for line in commands(product, rows[ident]):
            note(f"  {line}")


def _given(run: Path, output: Path | None, overwrite: bool, quiet: bool) -> dict[str, Any]:
    """What all writers need: where to, whether over an existing file, and whether to tell how it goes on."""

    def name(ident: str, form: str) -> Path:
        return output or run.with_name(f"{run.stem}_{ident}.{form}")

    return {"name": name, "overwrite": overwrite, "quiet": quiet}


def _row(product: "Run", ident: str) -> dict[str, Any]:
    """The row of a candidate or a single pulse."""
    pulses = product.rows("single_pulses")
    found = pulses[pulses["id"] == ident]
    return {key: found[0][key].item() for key in pulses.dtype.names or ()} if len(found) else product.candidate(ident)


def _write(contents: list[tuple[Path, bytes]], inputs: list[Path], overwrite: bool) -> None:
    """All names before the first file is written: what cannot be made leaves nothing half done."""
    for path, _ in contents:
        check_not_input(path, inputs)
    for path, content in contents:
        write_bytes(path, content, overwrite=overwrite)
        out(str(path))


def _folds(product: "Run", idents: list[str], forms: list[str], name: Any, overwrite: bool, quiet: bool) -> None:
    from pulsar.handover.candidate import candidate_of
    from pulsar.handover.formats import FORMATS

    del quiet
    found = [candidate_of(product, ident) for ident in idents]
    contents = [(name(one.ident, form), FORMATS[form](one)) for one in found for form in forms]
    _write(contents, [product.path, *(file for one in found for file in one.files)], overwrite)


def _orbits(product: "Run", idents: list[str], forms: list[str], name: Any, overwrite: bool, quiet: bool) -> None:
    """Ephemerides with an orbit."""
    from pulsar.errors import ConfigError
    from pulsar.handover.candidate import name_of
    from pulsar.handover.par import orbit_par_text

    del quiet
    if forms != ["par"]:
        raise ConfigError(f"{product.path}: its orbits have no folds: of them --par is written")
    found = product.rows("orbits/found")
    contents = []
    for ident in idents:
        row = found[found["id"] == ident][0]
        header = product.observation_of(product.candidate(ident))
        called = name_of(ident, product.candidate(ident), header)
        text = orbit_par_text(row, header, name=called, origin=f"{ident} of {product.path.name}")
        contents.append((name(ident, "par"), text.encode()))
    _write(contents, [product.path], overwrite)


def _bursts(product: "Run", idents: list[str], name: Any, overwrite: bool, quiet: bool) -> None:
    from pulsar.followup.origin import burst_of
    from pulsar.handover.burst import burst_bytes

    contents, inputs = [], [product.path]
    for ident in idents:
        row, cutout, header = burst_of(product, ident, progress_mode(quiet))
        files = product.files_of(int(row["obs"]))
        inputs += files
        contents.append((name(ident, "h5"), burst_bytes(row, cutout, header, files[0].name)))
    _write(contents, inputs, overwrite)


def _series(product: "Run", ident: str, dm: float, name: Any, overwrite: bool, quiet: bool) -> None:
    from pulsar.followup.origin import origin_of
    from pulsar.followup.series import dedisperse_files
    from pulsar.io.series_writer import series_paths

    files, config = origin_of(product, _row(product, ident))
    path = name(ident, "dat")
    for each in series_paths(path):
        check_not_input(each, [product.path, *files])
    progress = progress_mode(quiet)
    for written in dedisperse_files(files, [dm], config, path, overwrite=overwrite, progress=progress):
        out(str(written))
