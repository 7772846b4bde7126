"""Commands on samples, without a search: ``pulsar rfi``, ``dedisperse``, ``convert`` and ``waterfall``."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from pulsar.api.results import plot
from pulsar.cli.console import check_new, check_not_input, out, print_json, write_file
from pulsar.cli.options import Display, Files, Given, Json, Overwrite, inputs, option, options
from pulsar.cli.tables import Columns, print_table
from pulsar.errors import ConfigError
from pulsar.io.series import series_paths

if TYPE_CHECKING:
    from pulsar.followup.masks import RfiReport

#: Lines of a table, at most.
_LISTED = 10


@options("no_rfi", "position", "cleaning")
def dedisperse(
    files: Files,
    dms: Annotated[list[float], option("--dm", "DM [pc/cm3]; may be repeated.", "DM")],
    output: Annotated[
        Path,
        option(
            "--out -o",
            "Series to write: PRESTO's with .inf, SIGPROC's or numpy's; of several DMs X_DM<DM>.",
            "X.dat|X.tim|X.npy",
        ),
    ],
    downsample: Annotated[int, option("--downsample", "Sum so many samples: a power of two.", "N", min=1)] = 1,
    bary: Annotated[bool, option("--bary", "At even times at the barycentre.")] = False,
    *,
    given: Given,
    overwrite: Overwrite = False,
    display: Display,
) -> None:
    """Write the series of an observation at one DM or several: cleaned, of noise 1, at the highest channel."""
    settings = given.config()
    from pulsar.followup.series import dedisperse_files, series_names

    for name in series_names(output, sorted(set(dms))):
        for path in series_paths(name):
            check_not_input(path, inputs(files, settings))
    how: dict[str, Any] = {"downsample": downsample, "barycentre": bary, "overwrite": overwrite}
    for path in dedisperse_files(files, dms, settings, output, progress=display.progress(), **how):
        out(str(path))


@options("position")
def convert(
    files: Files,
    output: Annotated[
        Path,
        option("--out -o", "File to write: SIGPROC filterbank, PSRFITS search mode or FBH5.", "X.fil|X.sf|X.h5"),
    ],
    freqs: Annotated[
        tuple[float, float] | None, option("--freqs", "Channels with centres from LOW to HIGH [MHz].", "LOW HIGH")
    ] = None,
    time: Annotated[
        tuple[float, float] | None, option("--time", "From START to END [s] from the start.", "START END")
    ] = None,
    nbits: Annotated[
        Literal["1", "2", "4", "8", "16", "32"] | None,
        option("--nbits", "Bits a sample; fewer than the samples have: scaled.", default="those of the samples"),
    ] = None,
    tscrunch: Annotated[int, option("--tscrunch", "Average so many samples.", "N", min=1)] = 1,
    fscrunch: Annotated[int, option("--fscrunch", "Average so many channels.", "N", min=1)] = 1,
    *,
    given: Given,
    overwrite: Overwrite = False,
    display: Display,
) -> None:
    """Write an observation, or a part of it, in another format or depth: as it is, not cleaned."""
    settings = given.config()
    check_new(output, inputs(files, settings), overwrite=overwrite)

    from pulsar.followup.convert import Extract, convert_files

    progress = display.progress()
    depth = None if nbits is None else int(nbits)
    extract = Extract(freqs, time, tscrunch, fscrunch)
    told = convert_files(files, output, settings.input, extract, nbits=depth, overwrite=overwrite, progress=progress)
    progress.message(f"{output}: {told}")
    out(str(output))


@options("no_rfi", "cleaning")
def waterfall(
    files: Files,
    time: Annotated[float, option("--time", "Middle, from the start, at the highest channel.", "S")],
    dm: Annotated[float, option("--dm", "DM [pc/cm3]; 0: the sweep as it came.", "DM")] = 0.0,
    length: Annotated[float, option("--length", "Length of the stretch [s].", "S")] = 0.5,
    nbands: Annotated[int, option("--nbands", "Bands.", "N", min=1)] = 64,
    output: Annotated[
        Path | None,
        option(
            "--out -o",
            "Picture, or array of bands (highest first) by 256 columns, noise of 1.",
            "PNG|NPY",
            default="<FILE>_<S>s.png",
        ),
    ] = None,
    *,
    given: Given,
    overwrite: Overwrite = False,
    display: Display,
) -> None:
    """Draw a stretch of an observation: its spectrum, the series of it, and how that fades away from the DM."""
    settings = given.config()

    path = output if output is not None else Path(f"{files[0].stem}_{time:g}s.png")
    if path.suffix.lower() not in (".png", ".npy"):
        raise ConfigError(f"--out {path}: expected a name that ends in .png or .npy")
    check_new(path, inputs(files, settings), overwrite=overwrite)

    from pulsar.followup.series import waterfall as cut_out

    progress = display.progress()
    cutout, header = cut_out(files, time, dm, settings, length=length, nbands=nbands, progress=progress)
    if path.suffix.lower() == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, cutout.spectrum)
        write_file(path, buffer.getvalue(), overwrite=overwrite)
        bands, columns = cutout.spectrum.shape
        progress.message(
            f"{path}: {bands} bands from {cutout.freqs[0]:.6g} to {cutout.freqs[-1]:.6g} MHz, "
            f"{columns} columns of {cutout.tsamp:.6g} s from {cutout.start:.9g} s"
        )
    else:
        plot(cutout, header=header, title=f"{files[0].name}: {time:g} s", path=path)
    out(str(path))


@options("cleaning")
def rfi(
    files: Files,
    output: Annotated[Path | None, option("--out -o", "Mask file to write.", "MASK.h5")] = None,
    picture: Annotated[Path | None, option("--plot", "Draw mask, statistics and spectrum.", "PNG")] = None,
    as_json: Json = False,
    *,
    given: Given,
    overwrite: Overwrite = False,
    display: Display,
) -> None:
    """Make the mask of an observation, say what is lost and why, and save it for ``--mask`` of other commands."""
    settings = given.config()

    if picture is not None and picture.suffix.lower() != ".png":
        raise ConfigError(f"--plot {picture}: the picture is a PNG: end its name in .png")
    for path in (path for path in (output, picture) if path is not None):
        check_new(path, inputs(files, settings), overwrite=overwrite)
    if picture is not None and output is not None:
        check_not_input(picture, [output])

    from pulsar.followup.masks import make_rfi

    progress = display.progress()
    made = make_rfi(files, settings, output, overwrite=overwrite, argv=sys.argv, progress=progress)
    if picture is not None:
        with progress.stage("plot"):
            made.plot(picture)
    if as_json:
        print_json(made.summary())
    else:
        _print_losses(made)
    if output is not None:
        names = " ".join(str(file) for file in files) if len(files) <= 3 else f"{files[0]} ..."
        progress.message(f"{output}: for later runs on this observation: pulsar search {names} --mask {output}")


def _print_losses(made: "RfiReport") -> None:
    """The losses, by reason, frequency and time, and the birdies."""
    losses = made.summary()
    out(
        f"{100 * losses['fraction_lost']:.2f} % of the data are left out; {losses['channels_masked']} of "
        f"{losses['nchans']} channels, {_count(losses['nblocks'], 'blocks')} of time"
    )
    if losses["reasons"]:
        out()
        print_table(REASONS, losses["reasons"], left=("reason", "how many"))
    for title, columns, rows in (
        ("Frequencies that lose most", FREQUENCIES, losses["frequencies"]),
        ("Times that lose most (of the channels that are left)", TIMES, losses["times"]),
    ):
        if rows:
            out()
            _print_costliest(title, columns, rows, _LISTED, "lo")
    out()
    if made.zero_dm is None:
        out("Periodic interference: too few samples to look for it")
    elif not made.birdies and made.zero_dm.ndms < 2:
        out("Periodic interference: not looked for (rfi.learn is off, or there is only one DM)")
    elif not made.birdies:
        out("Periodic interference: none found at DM 0")
    else:
        lines = f"{_count(len(made.birdies), 'lines')}, {_percent(made.spectrum_lost)} of the spectrum"
        widest = sorted(losses["birdies"], key=lambda birdie: -birdie["width"])
        _print_costliest(f"Periodic interference: {lines}", BIRDIES, widest, 2 * _LISTED, "freq")


def _print_costliest(title: str, columns: Columns, rows: list[dict[str, Any]], most: int, order: str) -> None:
    """The first rows, in the order of frequency or time."""
    print_table(columns, sorted(rows[:most], key=lambda row: row[order]), title=title, left=("reason", "reasons"))
    if len(rows) > most:
        out(f"... and {len(rows) - most} more (--json lists all)")


def _count(number: int, kind: str) -> str:
    return f"{number} {kind if number != 1 else kind.removesuffix('s')}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2g} %" if fraction < 0.1 else f"{100 * fraction:.1f} %"


REASONS: Columns = {
    "reason": "{0[reason]}",
    "how many": lambda r: _count(r["count"], r["unit"]),
    "of the data": lambda r: _percent(r["fraction"]),
}
SHARE: Columns = {"lost": lambda s: _percent(s["lost"]), "of the data": lambda s: _percent(s["share"])}
FREQUENCIES: Columns = {
    "MHz": "{0[lo]:.7g} - {0[hi]:.7g}",
    "channels": "{0[channels]}",
    **SHARE,
    "reasons": lambda s: ", ".join(s["reasons"]),
}
TIMES: Columns = {"s from the start": "{0[lo]:.6g} - {0[hi]:.6g}", "blocks": "{0[blocks]}", **SHARE}
BIRDIES: Columns = {"Hz": "{0[freq]:.6f}", "width [Hz]": "{0[width]:.3g}", "reason": "{0[reason]}"}
