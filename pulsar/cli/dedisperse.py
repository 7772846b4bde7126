"""``pulsar dedisperse``: series of an observation at given DMs."""

from pathlib import Path
from typing import Annotated

import typer

from pulsar.cli.console import check_not_input, out
from pulsar.cli.options import RA, Common, Dec, Files, NoRfi, position, shared, uncleaned


@shared
def command(
    files: Files,
    dms: Annotated[
        list[float], typer.Option("--dm", metavar="DM", help="DM [pc/cm3]; may be repeated.", show_default=False)
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="X.dat|X.tim|X.npy",
            help="Series to write: PRESTO's with .inf, SIGPROC's or numpy's; of several DMs X_DM<DM>.",
            show_default=False,
        ),
    ],
    downsample: Annotated[
        int, typer.Option("--downsample", min=1, metavar="N", help="Sum so many samples: a power of two.")
    ] = 1,
    bary: Annotated[bool, typer.Option("--bary", help="At even times at the barycentre.")] = False,
    no_rfi: NoRfi = False,
    ra: RA = None,
    dec: Dec = None,
    *,
    common: Common,
) -> None:
    """Write the series of an observation at one DM or several: cleaned, of noise 1, at the highest channel."""
    settings = common.settings(**position(ra, dec), **uncleaned(no_rfi))
    from pulsar.followup.series import dedisperse_files, series_names
    from pulsar.io.series_writer import series_paths

    for name in series_names(output, sorted(set(dms))):
        for path in series_paths(name):
            check_not_input(path, common.inputs(files))
    written = dedisperse_files(
        files,
        dms,
        settings,
        output,
        downsample=downsample,
        barycentre=bary,
        overwrite=common.overwrite,
        progress=common.progress(),
    )
    for path in written:
        out(str(path))
