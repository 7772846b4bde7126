"""``pulsar connect``: several nights of one pulsar as one ephemeris."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np

from pulsar.cli.console import check_new, note, out, write_text
from pulsar.cli.options import Debug, Overwrite, argument, option
from pulsar.cli.tables import Columns, print_table
from pulsar.connect.ephemeris import (
    Arrivals,
    arrivals_of,
    ephemeris_of,
    hypotheses,
    par_text,
    read_tim,
    same_pulsar,
    tim_text,
)
from pulsar.errors import ConfigError
from pulsar.io.product.reader import read
from pulsar.sky.timing import read_par


def command(
    files: Annotated[
        list[Path],
        argument("NIGHT.h5...", "Products of `pulsar fold` or `pulsar search`, one a night; or one X.tim with --par."),
    ],
    output: Annotated[Path, option("--out -o", "Ephemeris to write.", "X.par")],
    par: Annotated[
        Path | None,
        option("--par", "Begin with its position, DM and period.", "X.par", default="of the strongest fold"),
    ] = None,
    idents: Annotated[
        list[str] | None,
        option(
            "--id", "Candidate: one for all, or one for each product.", "ID", default="those that agree in P and DM"
        ),
    ] = None,
    place_err: Annotated[
        float | None,
        option("--position-err", "1 sigma of the position.", "ARCSEC", default="the beam's; of a .tim 0", min=0),
    ] = None,
    tim: Annotated[Path | None, option("--tim", "Write the times of arrival of all nights, too.", "X.tim")] = None,
    overwrite: Overwrite = False,
    _debug: Debug = False,
) -> None:
    """Connect nights of one pulsar: count the turns between them, and fit one ephemeris to all."""
    inputs = [*files, *([] if par is None else [par])]
    for path in [output] if tim is None else [output, tim]:
        check_new(path, inputs, overwrite=overwrite)
    arrivals = _arrivals(files, par, idents or [])
    if place_err is not None:
        arrivals = replace(arrivals, place_err=float(np.radians(place_err / 3600.0)))
    for product in arrivals.left_out:
        note(f"{product}: left out: its pulse is too weak for a time of arrival")
    ephemeris = ephemeris_of(arrivals)
    print_table(NIGHTS, ephemeris.nights(), left=("night",), sparse=("night",))
    for line in ephemeris.verdict():
        out(line)
    if not ephemeris.connection.unique:
        print_table(HYPOTHESES, hypotheses(ephemeris))
    origin = f"{len(arrivals.labels)} nights: {', '.join(dict.fromkeys(path.name for path in files))}"
    write_text(output, par_text(ephemeris, origin), overwrite=overwrite)
    if tim is not None:
        write_text(tim, tim_text(arrivals), overwrite=overwrite)
    note(f"{output}: {'UNSURE' if not ephemeris.connection.unique else 'every turn is counted'}")


def _arrivals(files: list[Path], par: Path | None, idents: list[str]) -> Arrivals:
    """Times of arrival of products, or of a file of them."""
    model = None if par is None else read_par(par)
    times = [path for path in files if path.suffix == ".tim"]
    if not times:
        return arrivals_of(same_pulsar([read(path) for path in files], idents), model)
    if len(files) > 1:
        raise ConfigError(f"{times[0]}: times of arrival are of all nights: give the one file, or products")
    if model is None:
        raise ConfigError(f"{times[0]}: needs --par X.par: the position, the DM, a period that counts each night")
    if idents:
        raise ConfigError("--id chooses from products: times of arrival are of one pulsar")
    return read_tim(times[0], model)


#: Of a night.
NIGHTS: Columns = {
    "MJD": "{0.mjd:.5f}",
    "TOAs": "{0.ntoas}",
    "turns": "{0.turns}",
    "late us": lambda night: f"{1e6 * night.late:.2f}",
    "+-": lambda night: f"{1e6 * night.error:.2g}",
    "chi2": "{0.chi2:.1f}",
    "arc": "{0.arc}",
    "night": "{0.label}",
}
#: Of a count of turns.
HYPOTHESES: Columns = {
    "chi2": "{0[0].chi2:.2f}",
    "F0 Hz": "{0[0].spin[0]:.15g}",
    "F1 Hz/s": "{0[0].spin[1]:.4g}",
    "east arcsec": lambda row: f"{206264.8 * row[0].place[0]:.1f}",
    "north": lambda row: f"{206264.8 * row[0].place[1]:.1f}",
    "turns beside the best": "{0[1]}",
}
