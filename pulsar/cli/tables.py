"""Tables on stdout: candidates, single pulses, and any other rows."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from pulsar.cli.console import out
from pulsar.data.candidate import DETECTED
from pulsar.data.direction import dms, hms
from pulsar.data.text import band_text, duty_cycle, number, significant, value_error

#: Heading -> text of the cell: a format of the row (``{0}``), or a function of it.
Columns = Mapping[str, str | Callable[[Any], str]]


def print_table(
    columns: Columns,
    rows: Iterable[Any],
    *,
    title: str = "",
    left: Sequence[str] = (),
    sparse: Sequence[str] = (),
    marked: Callable[[Any], bool] | None = None,
) -> None:
    """Print a table on stdout: with rules and colour on a terminal, plain aligned text otherwise.

    Parameters
    ----------
    left : sequence of str
        Headings of columns aligned to the left; numbers are aligned to the right.
    sparse : sequence of str
        Headings of columns that are left out where no row has anything in them.
    marked : callable, optional
        Tells rows that stand out.
    """
    rows = list(rows)
    cells = {
        heading: [column.format(row) if isinstance(column, str) else column(row) for row in rows]
        for heading, column in columns.items()
    }
    cells = {name: texts for name, texts in cells.items() if name not in sparse or not set(texts) <= {"", "-"}}
    widths = [max(map(len, [heading, *texts])) for heading, texts in cells.items()]
    lines = list(zip(*cells.values(), strict=True))
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
        for heading in cells:
            table.add_column(escape(heading), justify="left" if heading in left else "right", no_wrap=True)
        for row, line in zip(rows, lines, strict=True):
            table.add_row(*map(escape, line), style="bold green" if marked is not None and marked(row) else None)
        # Wider than the terminal the lines run over: better than cells cut short.
        console = Console()
        console.width = max(console.width, sum(widths) + 2 * len(widths))
        console.print(table)
        return
    if title:
        out(title)
    for line in [tuple(cells), *lines]:
        padded = [c.ljust(w) if h in left else c.rjust(w) for c, w, h in zip(line, widths, cells, strict=True)]
        out("  ".join(padded).rstrip())


def _accel(row: Any) -> str:
    return value_error(row["accel"], row["accel_err"]) if significant(row["accel"], row["accel_err"]) else ""


def _remarks(row: Any) -> str:
    parts = [
        "not detected" if row["kind"] == "fold" and row["sigma"] < DETECTED else "",
        str(row["known_source"]),
        f"{row['relation'] or 'harmonic'} of {row['harmonic_of']}" if row["harmonic_of"] else "",
        f"+{row['nattached']} harmonics" if row["nattached"] > 0 else "",
        f"or {1e3 * row['period_alt']:.9g} ms" if math.isfinite(row["period_alt"]) else "",
        f"single pulses in {row['npulses']} turns" if row["npulses"] else "",
        _flags(row),
    ]
    return "; ".join(p for p in parts if p)


def _flags(row: Any) -> str:
    return f"rfi: {row['rfi_flags']}" if row["rfi_flags"] else ""


#: Of what observation a row is.
PLACE: Final[Columns] = {
    "source": lambda r: str(r["target"]) or "-",
    "beam": lambda r: str(r["beam"]) if r["beam"] >= 0 else "-",
    "beams": lambda r: str(r["nbeams"]) if r["nbeams"] > 0 else "-",
    "RA": lambda r: hms(float(r["ra_deg"])) or "-",
    "Dec": lambda r: dms(float(r["dec_deg"])) or "-",
}
#: At how many times a source was seen, and how likely that is chance.
AGAIN: Final[Columns] = {
    "times": lambda r: str(r["nseen"]) if r["nseen"] > 0 else "-",
    "chance": lambda r: number(r["chance"], ".1g"),
}
RANK: Final[Columns] = {"rank": "{0[rank]}", "id": "{0[id]}"}
STRENGTH: Final[Columns] = {
    "S/N": lambda r: number(r["snr"], ".1f"),
    "sigma": lambda r: number(r["sigma"], ".1f"),
    "duty": lambda r: duty_cycle(r["width"], r["width_err"]),
    "score": lambda r: number(r["score"], ".2f"),
}
PERIOD: Final[Columns] = {"period [ms]": lambda r: value_error(1e3 * r["period"], 1e3 * r["period_err"])}
DM: Final[Columns] = {"DM": lambda r: value_error(r["dm"], r["dm_err"])}
CANDIDATE: Final[Columns] = {
    "product": "{0[product]}",
    **RANK,
    **PLACE,
    "epoch [MJD]": lambda r: number(r["epoch"], ".5f"),
    **AGAIN,
    **PERIOD,
    "part": "{0[part]}",
    **DM,
    "accel [m/s2]": _accel,
    **STRENGTH,
    "found by": "{0[found_by]}",
    "label": "{0[label]}",
    "remarks": _remarks,
}
PULSE: Final[Columns] = {
    "product": "{0[product]}",
    **RANK,
    **PLACE,
    # Times count from the start of their own observations: the MJD (to 0.1 ms) is what they share.
    "MJD": lambda r: number(r["mjd"], ".9f"),
    **AGAIN,
    "time [s]": lambda r: number(r["time"], ".4f"),
    **DM,
    "width [ms]": lambda r: number(1e3 * r["width"], ".3g"),
    "band [MHz]": lambda r: band_text(r["freq_lo"], r["freq_hi"], "-"),
    **{name: cell for name, cell in STRENGTH.items() if name != "duty"},
    "label": "{0[label]}",
    "remarks": lambda r: "; ".join(filter(None, [f"pulse of {r['source']}" if r["source"] else "", _flags(r)])),
}
LEFT: Final = ("product", "id", "source", "found by", "label", "remarks", "injected", "file", "name", "Notes")


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
    rows: Any, *, top: int | None = None, marked: set[str] | None = None, merged: bool = False
) -> None:
    """Print the ranked table of candidates.

    Parameters
    ----------
    rows : structured array
        Fields of CANDIDATE_COLUMNS; "product" too where they are of several, "label" where anything was judged.
    top : int, optional
        Print no more than these.
    marked : set of str, optional
        Ids of known (injected) pulsars; a column says which they are.
    merged : bool
        The rows are of several observations: say of each which source, beam and position.
    """
    if marked is None:
        _print_ranked(CANDIDATE, rows, "candidates", top, merged)
        return

    def known(row: Any) -> bool:
        return str(row["id"]) in marked

    columns = {**CANDIDATE, "injected": lambda row: "yes" if known(row) else ""}
    _print_ranked(columns, rows, "candidates", top, merged, marked=known)


def print_pulses(rows: Any, *, top: int | None = None, title: str = "", merged: bool = False) -> None:
    """Print the table of single pulses; as :func:`print_candidates`, with fields of SINGLE_PULSE_COLUMNS."""
    _print_ranked(PULSE, rows, "single pulses", top, merged, title=title)


def _print_ranked(columns: Columns, rows: Any, kind: str, top: int | None, merged: bool, **more: Any) -> None:
    """Print the first rows with those of the columns that tell them apart."""
    if not len(rows):
        out(f"No {kind} above the threshold.")
        return
    idle = {"product", "label"}.difference(rows.dtype.names)
    if not any(row["nseen"] > 1 for row in rows):
        idle.update(AGAIN)
    observed = {(str(r["target"]), int(r["beam"]), int(r["obs"])) for r in rows}
    if not merged:
        idle.update([*PLACE, "MJD", "epoch [MJD]"])
    elif len({(target, beam) for target, beam, _ in observed}) == len(observed):
        # No beam was on a source several times.
        idle.add("epoch [MJD]")
    shown = rows[:top]
    columns = {name: cell for name, cell in columns.items() if name not in idle}
    print_table(columns, shown, left=LEFT, sparse=("part", "band [MHz]", "accel [m/s2]", "found by"), **more)
    if len(shown) < len(rows):
        out(f"... and {len(rows) - len(shown)} more")


def print_imported(rows: Any, imported: Sequence[Any]) -> None:
    """Print folds of other programs beside what their files state themselves.

    Parameters
    ----------
    rows : structured array
        Fields of CANDIDATE_COLUMNS.
    imported : sequence of pulsar.followup.folding.Imported
        What the column `obs` counts.
    """

    def stated(row: Any) -> str:
        return number(float(imported[row["obs"]].fold.extra["stated"].get("snr", math.nan)), ".1f")

    columns: Columns = {
        **RANK,
        **PERIOD,
        **DM,
        "S/N": STRENGTH["S/N"],
        "its S/N": stated,
        **STRENGTH,
        "file": lambda r: imported[r["obs"]].path.name,
        "remarks": _remarks,
    }
    print_table(columns, rows, left=LEFT, sparse=("its S/N",))


def print_subtracted(rows: Any) -> None:
    """Print the pulsars that were taken out of the samples before the search, if there are any.

    Parameters
    ----------
    rows : ndarray
        Fields of SUBTRACTED_COLUMNS.
    """
    if not len(rows):
        return

    def done(text: str) -> Callable[[Any], str]:
        return lambda row: text.format(row) if row["subtracted"] else ""

    columns: Columns = {
        "name": "{0[name]}",
        "P [s]": "{0[period]:.9g}",
        "DM": "{0[dm]:.5g}",
        "S/N before": "{0[snr_before]:.1f}",
        "after": done("{0[snr_after]:.1f}"),
        "left [%]": lambda r: (
            f"{100 * r['rest']:.2f} ± {100 * r['rest_err']:.2f}" if r["subtracted"] else "not detected"
        ),
        "bins": done("{0[nbins]}"),
        "times x bands": done("{0[nsubints]} x {0[nbands]}"),
        "profiles": done("{0[nshapes]}"),
    }
    out()
    print_table(columns, rows, title="Subtracted", left=LEFT)


def print_accel(rows: Any, products: Sequence[Any]) -> None:
    """Print candidates with the columns of PRESTO's accelsearch, in its units.

    Parameters
    ----------
    rows : structured array
        Fields of CANDIDATE_COLUMNS.
    products : sequence of Run
        That of each row. Of what it has kept, the best detection of the row tells the summed power.
    """
    powers: dict[Any, dict[str, float]] = {}
    for product in products:
        if product.path not in powers:
            detections = product.rows("detections")
            detections = detections[np.argsort(detections["sigma"], kind="stable")]
            powers[product.path] = dict(zip(detections["uid"].tolist(), detections["power"].tolist(), strict=True))
    summed = [powers[run.path].get(str(row["uid"]), math.nan) for run, row in zip(products, rows, strict=True)]
    # Length of what was folded [s]: r and z are in bins of its inverse.
    whole = np.array([run.observation_of(row).tobs for run, row in zip(products, rows, strict=True)])
    lengths = np.where(np.isfinite(rows["part_duration"]), rows["part_duration"], whole)
    error = rows["period_err"] * rows["freq"] ** 2
    columns: Columns = {
        "Cand": lambda i: str(i + 1),
        "Sigma": lambda i: number(rows["sigma"][i], ".2f"),
        "Summed Power": lambda i: number(summed[i], ".2f"),
        "Num Harm": lambda i: str(rows["nharm"][i]),
        "Period (ms)": lambda i: value_error(1e3 * rows["period"][i], 1e3 * rows["period_err"][i]),
        "Frequency (Hz)": lambda i: value_error(rows["freq"][i], error[i]),
        "FFT 'r' (bin)": lambda i: value_error(rows["freq"][i] * lengths[i], error[i] * lengths[i]),
        "Freq Deriv (Hz/s)": lambda i: value_error(rows["fdot"][i], rows["fdot_err"][i]),
        "FFT 'z' (bins)": lambda i: value_error(
            rows["fdot"][i] * lengths[i] ** 2, rows["fdot_err"][i] * lengths[i] ** 2
        ),
        "Accel (m/s^2)": lambda i: value_error(rows["accel"][i], rows["accel_err"][i]),
        "DM": lambda i: value_error(rows["dm"][i], rows["dm_err"][i]),
        "Notes": lambda i: " ".join([str(rows["id"][i]), _remarks(rows[i])]).rstrip(),
    }
    print_table(columns, range(len(rows)), left=LEFT)
