"""``pulsar waterfall``: a stretch of an observation as a dynamic spectrum."""

from pathlib import Path
from typing import Annotated

import typer

from pulsar.cli.console import check_not_input, out, write_bytes
from pulsar.cli.options import Common, Files, NoRfi, shared, uncleaned


@shared
def command(
    files: Files,
    time: Annotated[
        float,
        typer.Option("--time", metavar="S", help="Middle, from the start, at the highest channel.", show_default=False),
    ],
    dm: Annotated[float, typer.Option("--dm", metavar="DM", help="DM [pc/cm3]; 0: the sweep as it came.")] = 0.0,
    length: Annotated[float, typer.Option("--length", metavar="S", help="Length of the stretch [s].")] = 0.5,
    nbands: Annotated[int, typer.Option("--nbands", min=1, metavar="N", help="Bands.")] = 64,
    output: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PNG|NPY",
            help="Picture, or array of bands (highest first) by 256 columns, noise of 1.",
            show_default="<FILE>_<S>s.png",
        ),
    ] = None,
    no_rfi: NoRfi = False,
    *,
    common: Common,
) -> None:
    """Draw a stretch of an observation: its spectrum, the series of it, and how that fades away from the DM."""
    settings = common.settings(**uncleaned(no_rfi))
    from pulsar.errors import ConfigError
    from pulsar.io.product.writer import check_output

    path = output if output is not None else Path(f"{files[0].stem}_{time:g}s.png")
    if path.suffix.lower() not in (".png", ".npy"):
        raise ConfigError(f"--out {path}: expected a name that ends in .png or .npy")
    check_output(path, overwrite=common.overwrite)
    check_not_input(path, files)

    import io

    import numpy as np

    from pulsar.followup.waterfall import waterfall

    progress = common.progress()
    cutout, header = waterfall(files, time, dm, settings, length=length, nbands=nbands, progress=progress)
    if path.suffix.lower() == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, cutout.spectrum)
        write_bytes(path, buffer.getvalue(), overwrite=common.overwrite)
        first, last = float(cutout.freqs[0]), float(cutout.freqs[-1])
        progress.message(
            f"{path}: {cutout.spectrum.shape[0]} bands from {first:.6g} to {last:.6g} MHz, "
            f"{cutout.spectrum.shape[1]} columns of {cutout.tsamp:.6g} s from {cutout.start:.9g} s"
        )
    else:
        from pulsar.report.drawn import plot
        from pulsar.report.figure import save
        from pulsar.report.words import About

        save(plot(cutout, About(header=header, title=f"{files[0].name}: {time:g} s")), path)
    out(str(path))
