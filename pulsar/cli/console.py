"""What goes to the screen: results on stdout, all else on stderr; and the options that many commands share."""

import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pulsar.config.model import Config


def out(text: str = "") -> None:
    """Print a result."""
    typer.echo(text)


def note(text: str) -> None:
    """Tell something beside the result."""
    typer.echo(text, err=True)


def error(text: str) -> None:
    """Tell what went wrong."""
    typer.echo(f"pulsar: {text}", err=True)


def _remember_debug(ctx: typer.Context, value: bool) -> bool:
    if value:
        ctx.meta["pulsar.debug"] = True
    return value


Debug = Annotated[
    bool, typer.Option("--debug", callback=_remember_debug, help="Show the full traceback when something fails.")
]
Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", help="SIGPROC, PSRFITS or series files of one observation.", show_default=False),
]
Preset = Annotated[
    str | None, typer.Option("--config", metavar="PRESET|FILE", help="Preset or TOML file.", show_default="default")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting; may be repeated.", show_default=False),
]
DMRange = Annotated[
    tuple[float, float] | None,
    typer.Option("--dm", metavar="LO HI", help="Range of DM [pc/cm3].", show_default=False),
]
Zap = Annotated[
    list[str] | None,
    typer.Option("--zap", metavar="LO:HI", help="Mask this range [MHz]; may be repeated.", show_default=False),
]
Mask = Annotated[
    str | None,
    typer.Option("--mask", metavar="FILE", help="Mask of `pulsar rfi`, or PRESTO's .mask.", show_default="none"),
]
ZeroDM = Annotated[
    str | None,
    typer.Option("--zerodm", metavar="off|mean|zdot", help="Subtract from every sample what the channels share."),
]
ZMax = Annotated[
    float | None,
    typer.Option("--zmax", metavar="N", help="Search accelerations up to this drift [bins].", show_default="none"),
]
AccelMax = Annotated[
    float | None,
    typer.Option("--accel-max", metavar="A", help="Search accelerations up to this [m/s2].", show_default="none"),
]
WMax = Annotated[
    float | None,
    typer.Option("--wmax", metavar="N", help="With --zmax: search jerks up to this [bins].", show_default="none"),
]
NoFFT = Annotated[bool, typer.Option("--no-fft", help="No search of power spectra.")]
NoFFA = Annotated[bool, typer.Option("--no-ffa", help="No search for long periods by fast folding.")]
NoSinglePulse = Annotated[bool, typer.Option("--no-single-pulse", help="No search for single pulses.")]
RA = Annotated[
    str | None,
    typer.Option("--ra", metavar="RA", help="Right ascension, hh:mm:ss or deg.", show_default="from the files"),
]
Dec = Annotated[
    str | None,
    typer.Option("--dec", metavar="DEC", help="Declination, dd:mm:ss or deg.", show_default="from the files"),
]
Catalogue = Annotated[
    str | None,
    typer.Option(
        "--catalogue", metavar="FILE", help="Known pulsars: psrcat.db, CSV, ECSV, or psrqpy.", show_default="none"
    ),
]
Ncands = Annotated[
    int | None, typer.Option("--ncands", metavar="N", help="Candidates to fold.", show_default="from the preset")
]
Threads = Annotated[
    int | None, typer.Option("--threads", metavar="N", help="Threads.", show_default="all cores of this process")
]
Memory = Annotated[
    str | None,
    typer.Option("--memory", metavar="SIZE", help="Memory budget, such as 4GiB.", show_default="half of what is free"),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def searches(
    zmax: float | None, accel_max: float | None, wmax: float | None, no_fft: bool, no_ffa: bool, no_single_pulse: bool
) -> dict[str, Any]:
    """What the options of a command say about which searches are run, as `effective_config` takes it."""
    found: dict[str, Any] = {"accel__zmax": zmax, "accel__accel_max": accel_max, "accel__wmax": wmax}
    for section, off in (("fft", no_fft), ("ffa", no_ffa), ("single_pulse", no_single_pulse)):
        if off:
            found[f"{section}__enabled"] = False
    return found


def position(ra: str | None, dec: str | None) -> dict[str, Any]:
    """The position that ``--ra`` and ``--dec`` give, as `effective_config` takes it."""
    from pulsar.errors import ConfigError
    from pulsar.sky.catalogue import sexagesimal

    found: dict[str, Any] = {}
    for key, text, hours in (("ra", ra, True), ("dec", dec, False)):
        if text is None:
            continue
        value = sexagesimal(text) * (15.0 if hours and ":" in text else 1.0)
        if not math.isfinite(value):
            raise ConfigError(f"--{key} {text}: expected {'hh' if hours else 'dd'}:mm:ss.s or a number of degrees")
        found[f"input__{key}_deg"] = value
    return found


def effective_config(
    preset: str | None,
    sets: Sequence[str] | None,
    *,
    dm: tuple[float, float] | None = None,
    zap: Sequence[str] | None = None,
    zerodm: str | None = None,
    **more: Any,
) -> "Config":
    """The configuration that the options of a command mean; `more` holds ``section__key=value``."""
    from pulsar.config.load import load_config

    overrides: dict[str, Any] = {key.replace("__", "."): value for key, value in more.items()}
    if dm is not None:
        overrides |= {"dedisp.dm_lo": dm[0], "dedisp.dm_hi": dm[1]}
    if zerodm is not None:
        overrides["rfi.zerodm"] = zerodm
    if zap:
        ranges = [frequency_range(text) for text in zap]
        # Ranges given by hand come on top of those of the preset.
        overrides["rfi.zap"] = [*load_config(preset, sets or ()).rfi.zap, *ranges]
    return load_config(preset, sets or (), **overrides)


def frequency_range(text: str) -> tuple[float, float]:
    """The two frequencies [MHz] of ``LO:HI``."""
    from pulsar.errors import ConfigError

    low, separator, high = text.partition(":")
    try:
        pair = (float(low), float(high))
    except ValueError:
        pair = (math.nan, math.nan)
    if not separator or not pair[0] <= pair[1]:
        raise ConfigError(f"--zap {text}: expected two frequencies in MHz, the lower first, such as 1160:1280")
    return pair


def check_not_input(output: Path, files: Iterable[Path]) -> None:
    """Refuse an output that would replace one of the inputs, ``--overwrite`` or not."""
    from pulsar.errors import ConfigError

    if output.resolve() in {file.resolve() for file in files}:
        raise ConfigError(f"{output}: is the input itself: write to another file")


def progress_mode(quiet: bool) -> Any:
    """A progress display for the terminal, the batch log, or none."""
    from pulsar.pipeline.progress import Progress

    return Progress("quiet" if quiet else "auto")


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write a text file whole or not at all, never over an existing one unasked."""
    from pulsar.errors import ConfigError

    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; give the name of a file")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path}: exists already; give --overwrite to replace it, or another name")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: the folder {path.absolute().parent} does not exist")
    if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{path}: the folder {path.absolute().parent} cannot be written; give another name")
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def print_table(
    columns: Mapping[str, Callable[[Any], str]],
    rows: Iterable[Any],
    *,
    title: str = "",
    left: Sequence[str] = (),
    marked: Callable[[Any], bool] | None = None,
) -> None:
    """Print a table on stdout: with rules and colour on a terminal, plain aligned text otherwise.

    Parameters
    ----------
    columns : mapping
        Heading -> function from a row to the text of the cell.
    rows : iterable
    title : str
    left : sequence of str
        Headings of columns aligned to the left; numbers are aligned to the right.
    marked : callable, optional
        Tells rows that stand out.
    """
    rows = list(rows)
    cells = [[function(row) for function in columns.values()] for row in rows]
    marks = [marked(row) for row in rows] if marked is not None else [False] * len(cells)
    headings = list(columns)
    widths = [max(len(h), *(len(line[i]) for line in cells)) if cells else len(h) for i, h in enumerate(headings)]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
        for heading in headings:
            table.add_column(escape(heading), justify="left" if heading in left else "right", no_wrap=True)
        for line, mark in zip(cells, marks, strict=True):
            table.add_row(*(escape(c) for c in line), style="bold green" if mark else None)
        # Wider than the terminal the lines run over: better than cells cut short.
        console = Console()
        console.width = max(console.width, sum(widths) + 2 * len(widths))
        console.print(table)
        return
    if title:
        out(title)
    for line in [headings, *cells]:
        padded = [c.ljust(w) if h in left else c.rjust(w) for c, w, h in zip(line, widths, headings, strict=True)]
        out("  ".join(padded).rstrip())


def print_lists(run: Any, *, top: int) -> None:
    """Print the best candidates of a product, and its best single pulses but for those of a listed candidate.

    Parameters
    ----------
    run : Run
    top : int
        Print no more than these of each.
    """
    rows = run.rows("candidates")
    print_candidates(rows[rows["harmonic_of"] == ""], top=top, merged=run.is_merged)
    pulses = run.rows("single_pulses")
    # Those of a listed candidate are in its line.
    alone = pulses[pulses["source"] == ""]
    if len(alone):
        out()
        print_pulses(alone, top=top, title="Single pulses", merged=run.is_merged)


def print_candidates(
    rows: Any, *, top: int | None = None, title: str = "", marked: set[str] | None = None, merged: bool = False
) -> None:
    """Print the ranked table of candidates.

    Parameters
    ----------
    rows : structured array
        Fields of CANDIDATE_COLUMNS.
    top : int, optional
        Print no more than these.
    marked : set of str, optional
        Ids of known (injected) pulsars; a column says which they are.
    merged : bool
        The rows are of several observations: say of each which source, beam and position.
    """
    if not len(rows):
        out("No candidates above the threshold.")
        return
    shown = rows if top is None else rows[:top]
    columns: dict[str, Callable[[Any], str]] = {
        "rank": lambda r: str(r["rank"]),
        "id": lambda r: str(r["id"]),
        **(_place(rows, "epoch") if merged else {}),
        "period [ms]": lambda r: value_error(1e3 * r["period"], 1e3 * r["period_err"]),
        "DM": lambda r: value_error(r["dm"], r["dm_err"]),
        "accel [m/s2]": lambda r: value_error(r["accel"], r["accel_err"]) if _significant(r) else "",
        "S/N": lambda r: number(r["snr"], ".1f"),
        "sigma": lambda r: number(r["sigma"], ".1f"),
        "duty": lambda r: number(r["width"], ".3f"),
        "score": lambda r: number(r["score"], ".2f"),
        "found by": lambda r: str(r["found_by"]),
        "remarks": _remarks,
    }
    if not any(row["found_by"] for row in shown):
        del columns["found by"]
    if not any(_significant(row) for row in shown):
        del columns["accel [m/s2]"]
    if marked is not None:
        columns["injected"] = lambda r: "yes" if str(r["id"]) in marked else ""
    print_table(
        columns,
        list(shown),
        title=title,
        left=("id", "source", "found by", "remarks", "injected"),
        marked=(lambda r: str(r["id"]) in marked) if marked is not None else None,
    )
    if len(shown) < len(rows):
        out(f"... and {len(rows) - len(shown)} more")


def print_pulses(rows: Any, *, top: int | None = None, title: str = "", merged: bool = False) -> None:
    """Print the table of single pulses.

    Parameters
    ----------
    rows : structured array
        Fields of SINGLE_PULSE_COLUMNS.
    top : int, optional
        Print no more than these.
    title : str
    merged : bool
        The rows are of several observations: say of each which source, beam and position, and when on the sky.
    """
    if not len(rows):
        out("No single pulses above the threshold.")
        return
    shown = rows if top is None else rows[:top]
    print_table(
        {
            "rank": lambda r: str(r["rank"]),
            "id": lambda r: str(r["id"]),
            **(_place(rows, "mjd") if merged else {}),
            "time [s]": lambda r: number(r["time"], ".4f"),
            "DM": lambda r: value_error(r["dm"], r["dm_err"]),
            "width [ms]": lambda r: number(1e3 * r["width"], ".3g"),
            "S/N": lambda r: number(r["snr"], ".1f"),
            "sigma": lambda r: number(r["sigma"], ".1f"),
            "score": lambda r: number(r["score"], ".2f"),
            "remarks": lambda r: "; ".join(
                text
                for text in (
                    f"pulse of {r['source']}" if r["source"] else "",
                    f"rfi: {r['rfi_flags']}" if r["rfi_flags"] else "",
                )
                if text
            ),
        },
        list(shown),
        title=title,
        left=("id", "source", "remarks"),
    )
    if len(shown) < len(rows):
        out(f"... and {len(rows) - len(shown)} more")


def _place(rows: Any, when: str) -> dict[str, Callable[[Any], str]]:
    """Columns that say of what observation a row is; when, if one beam was on one source several times."""
    from pulsar.data.direction import dms, hms

    columns: dict[str, Callable[[Any], str]] = {
        "source": lambda r: str(r["target"]) or "-",
        "beam": lambda r: str(r["beam"]) if r["beam"] >= 0 else "-",
        "beams": lambda r: str(r["nbeams"]) if r["nbeams"] > 0 else "-",
        "RA": lambda r: hms(float(r["ra_deg"])) or "-",
        "Dec": lambda r: dms(float(r["dec_deg"])) or "-",
    }
    # Times of pulses count from the start of their own observations: the MJD (to 0.1 ms) is what they share.
    if when == "mjd":
        columns["MJD"] = lambda r: number(r["mjd"], ".9f")
        return columns
    observed = {(str(r["target"]), int(r["beam"]), int(r["obs"])) for r in rows}
    if len({(target, beam) for target, beam, _ in observed}) < len(observed):
        columns["epoch [MJD]"] = lambda r: number(r[when], ".5f")
    return columns


def _significant(row: Any) -> bool:
    """Whether the acceleration is more than three of its errors from zero: otherwise its digits say nothing."""
    return bool(abs(row["accel"]) > 3 * row["accel_err"])


def _remarks(row: Any) -> str:
    parts = [
        str(row["known_source"]),
        f"{row['relation'] or 'harmonic'} of {row['harmonic_of']}" if row["harmonic_of"] else "",
        f"+{row['nattached']} harmonics" if row["nattached"] > 0 else "",
        f"or {1e3 * row['period_alt']:.9g} ms" if math.isfinite(row["period_alt"]) else "",
        f"{row['npulses']} single pulses" if row["npulses"] else "",
        f"rfi: {row['rfi_flags']}" if row["rfi_flags"] else "",
    ]
    return "; ".join(p for p in parts if p)


def number(value: Any, form: str) -> str:
    """A number in that format, "-" when it is unknown."""
    value = float(value)
    return format(value, form) if math.isfinite(value) else "-"


def value_error(value: Any, uncertainty: Any) -> str:
    """A value with its error in brackets, in units of the last digit: 163.7113(12)."""
    value, uncertainty = float(value), float(uncertainty)
    if not math.isfinite(value):
        return "-"
    if not (math.isfinite(uncertainty) and uncertainty > 0):
        return f"{value:.8g}"
    digits = max(0, 1 - math.floor(math.log10(uncertainty)))
    if digits > 12:
        return f"{value:.12f}"
    scaled = round(uncertainty * 10**digits)
    return f"{value:.{digits}f}({scaled if digits else round(uncertainty)})"
