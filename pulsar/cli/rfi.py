"""``pulsar rfi``: make the mask of an observation, say what it costs, and save it for later runs."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulsar.cli.console import check_not_input, out
from pulsar.cli.options import Common, Files, Json, shared
from pulsar.cli.tables import print_table

if TYPE_CHECKING:
    from pulsar.followup.masks import RfiReport

#: Lines of a table, at most.
_LISTED = 10


@shared
def command(
    files: Files,
    output: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="MASK.h5", help="Mask file to write.", show_default="none")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--plot", metavar="PNG", help="Draw mask, statistics and spectrum.")
    ] = None,
    as_json: Json = False,
    *,
    common: Common,
) -> None:
    """Make the mask of an observation, say what is lost and why, and save it for ``--mask`` of other commands."""
    settings = common.settings()
    from pulsar.errors import ConfigError
    from pulsar.io.product.writer import check_output

    if picture is not None and picture.suffix.lower() != ".png":
        raise ConfigError(f"--plot {picture}: the picture is a PNG: end its name in .png")
    for path in (path for path in (output, picture) if path is not None):
        check_output(path, overwrite=common.overwrite)
        check_not_input(path, common.inputs(files))
    if picture is not None and output is not None:
        check_not_input(picture, [output])

    from pulsar.followup.masks import make_rfi

    progress = common.progress()
    made = make_rfi(files, settings, output, overwrite=common.overwrite, argv=sys.argv, progress=progress)
    if picture is not None:
        with progress.stage("plot"):
            made.plot(picture)
    if as_json:
        out(json.dumps(made.summary(), indent=2, ensure_ascii=False))
    else:
        _print(made)
    if output is not None:
        names = " ".join(str(file) for file in files) if len(files) <= 3 else f"{files[0]} ..."
        progress.message(f"{output}: for later runs on this observation: pulsar search {names} --mask {output}")


def _print(made: "RfiReport") -> None:
    """What is lost, by reason, frequency and time, and the birdies."""
    found = made.summary()
    out(
        f"{100 * found['fraction_lost']:.2f} % of the data are left out; {found['channels_masked']} of "
        f"{found['nchans']} channels, {_count(found['nblocks'], 'blocks')} of time"
    )
    if found["reasons"]:
        out()
        print_table(
            {
                "reason": lambda r: r["reason"],
                "how many": lambda r: _count(r["count"], r["unit"]),
                "of the data": lambda r: _percent(r["fraction"]),
            },
            found["reasons"],
            left=("reason", "how many"),
        )
    share: dict[str, Any] = {"lost": lambda s: _percent(s["lost"]), "of the data": lambda s: _percent(s["share"])}
    _stretches(
        "Frequencies that lose most",
        found["frequencies"],
        {
            "MHz": lambda s: f"{s['lo']:.7g} - {s['hi']:.7g}",
            "channels": lambda s: str(s["channels"]),
            **share,
            "reasons": lambda s: ", ".join(s["reasons"]),
        },
        left=("reasons",),
    )
    _stretches(
        "Times that lose most (of the channels that are left)",
        found["times"],
        {"s from the start": lambda s: f"{s['lo']:.6g} - {s['hi']:.6g}", "blocks": lambda s: str(s["blocks"]), **share},
    )
    out()
    if made.zero_dm is None:
        out("Periodic interference: too few samples to look for it")
        return
    if not made.birdies and made.zero_dm.ndms < 2:
        out("Periodic interference: not looked for (rfi.learn is off, or there is only one DM)")
        return
    if not made.birdies:
        out("Periodic interference: none found at DM 0")
        return
    print_table(
        {
            "Hz": lambda b: f"{b['freq']:.6f}",
            "width [Hz]": lambda b: f"{b['width']:.3g}",
            "reason": lambda b: b["reason"],
        },
        # The widest cost most.
        sorted(sorted(found["birdies"], key=lambda b: -b["width"])[: 2 * _LISTED], key=lambda b: b["freq"]),
        title="Periodic interference: "
        f"{_count(len(made.birdies), 'lines')}, {_percent(made.spectrum_lost)} of the spectrum",
        left=("reason",),
    )
    _more(found["birdies"], 2 * _LISTED)


def _stretches(title: str, rows: list[dict[str, Any]], columns: dict[str, Any], left: tuple[str, ...] = ()) -> None:
    if not rows:
        return
    out()
    # The costliest, in the order of frequency or time.
    print_table(columns, sorted(rows[:_LISTED], key=lambda s: s["lo"]), title=title, left=left)
    _more(rows, _LISTED)


def _more(rows: list[Any], shown: int) -> None:
    if len(rows) > shown:
        out(f"... and {len(rows) - shown} more (--json lists all)")


def _count(number: int, what: str) -> str:
    return f"{number} {what if number != 1 else what.removesuffix('s')}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2g} %" if fraction < 0.1 else f"{100 * fraction:.1f} %"
