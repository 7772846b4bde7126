"""Tables on stdout: candidates, single pulses, and any other rows."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pulsar.cli.console import out
from pulsar.data.numbers import number, significant, value_error


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


def print_subtracted(rows: Any) -> None:
    """Print the pulsars that were taken out of the samples before the search, if there are any.

    Parameters
    ----------
    rows : ndarray
        Fields of SUBTRACTED_COLUMNS.
    """
    if not len(rows):
        return

    def left(row: Any) -> str:
        return f"{100 * row['rest']:.2f} ± {100 * row['rest_err']:.2f}" if row["subtracted"] else "not detected"

    columns: dict[str, Callable[[Any], str]] = {
        "name": lambda r: str(r["name"]),
        "P [s]": lambda r: f"{r['period']:.9g}",
        "DM": lambda r: f"{r['dm']:.5g}",
        "S/N before": lambda r: f"{r['snr_before']:.1f}",
        "after": lambda r: f"{r['snr_after']:.1f}" if r["subtracted"] else "",
        "left [%]": left,
        "bins": lambda r: str(r["nbins"]) if r["subtracted"] else "",
        "times x bands": lambda r: f"{r['nsubints']} x {r['nbands']}" if r["subtracted"] else "",
        "profiles": lambda r: str(r["nshapes"]) if r["subtracted"] else "",
    }
    out()
    print_table(columns, rows, title="Subtracted", left=("name",))


def print_candidates(
    rows: Any,
    *,
    top: int | None = None,
    title: str = "",
    marked: set[str] | None = None,
    merged: bool = False,
) -> None:
    """Print the ranked table of candidates.

    Parameters
    ----------
    rows : structured array
        Fields of CANDIDATE_COLUMNS; "product" too where they are of several.
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
        **_product(rows),
        "rank": lambda r: str(r["rank"]),
        "id": lambda r: str(r["id"]),
        **(_place(rows, "epoch") if merged else {}),
        **_again(rows),
        "period [ms]": lambda r: value_error(1e3 * r["period"], 1e3 * r["period_err"]),
        "part": lambda r: str(r["part"]),
        "DM": lambda r: value_error(r["dm"], r["dm_err"]),
        "accel [m/s2]": lambda r: (
            value_error(r["accel"], r["accel_err"]) if significant(r["accel"], r["accel_err"]) else ""
        ),
        "S/N": lambda r: number(r["snr"], ".1f"),
        "sigma": lambda r: number(r["sigma"], ".1f"),
        "duty": lambda r: number(r["width"], ".3f"),
        "score": lambda r: number(r["score"], ".2f"),
        "found by": lambda r: str(r["found_by"]),
        **_labels(rows),
        "remarks": _remarks,
    }
    if not any(row["found_by"] for row in shown):
        del columns["found by"]
    if not any(row["part"] for row in shown):
        del columns["part"]
    if not any(significant(row["accel"], row["accel_err"]) for row in shown):
        del columns["accel [m/s2]"]
    if marked is not None:
        columns["injected"] = lambda r: "yes" if str(r["id"]) in marked else ""
    print_table(
        columns,
        list(shown),
        title=title,
        left=("product", "id", "source", "found by", "label", "remarks", "injected"),
        marked=(lambda r: str(r["id"]) in marked) if marked is not None else None,
    )
    if len(shown) < len(rows):
        out(f"... and {len(rows) - len(shown)} more")


def print_imported(rows: Any, found: Sequence[Any]) -> None:
    """Print folds of other programs beside what their files state themselves.

    Parameters
    ----------
    rows : structured array
        Fields of CANDIDATE_COLUMNS.
    found : sequence of pulsar.followup.imports.Imported
        What the column `obs` counts.
    """

    def stated(row: Any, key: str) -> float:
        return float(found[row["obs"]].fold.extra["stated"].get(key, math.nan))

    columns: dict[str, Callable[[Any], str]] = {
        "rank": lambda r: str(r["rank"]),
        "id": lambda r: str(r["id"]),
        "period [ms]": lambda r: value_error(1e3 * r["period"], 1e3 * r["period_err"]),
        "DM": lambda r: value_error(r["dm"], r["dm_err"]),
        "S/N": lambda r: number(r["snr"], ".1f"),
        "its S/N": lambda r: number(stated(r, "snr"), ".1f"),
        "sigma": lambda r: number(r["sigma"], ".1f"),
        "duty": lambda r: number(r["width"], ".3f"),
        "score": lambda r: number(r["score"], ".2f"),
        "file": lambda r: found[r["obs"]].path.name,
        "remarks": _remarks,
    }
    if not any(math.isfinite(stated(row, "snr")) for row in rows):
        del columns["its S/N"]
    print_table(columns, list(rows), left=("id", "file", "remarks"))


def print_pulses(
    rows: Any,
    *,
    top: int | None = None,
    title: str = "",
    merged: bool = False,
) -> None:
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
            **_product(rows),
            "rank": lambda r: str(r["rank"]),
            "id": lambda r: str(r["id"]),
            **(_place(rows, "mjd") if merged else {}),
            **_again(rows),
            "time [s]": lambda r: number(r["time"], ".4f"),
            "DM": lambda r: value_error(r["dm"], r["dm_err"]),
            "width [ms]": lambda r: number(1e3 * r["width"], ".3g"),
            "S/N": lambda r: number(r["snr"], ".1f"),
            "sigma": lambda r: number(r["sigma"], ".1f"),
            "score": lambda r: number(r["score"], ".2f"),
            **_labels(rows),
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
        left=("product", "id", "source", "label", "remarks"),
    )
    if len(shown) < len(rows):
        out(f"... and {len(rows) - len(shown)} more")


def print_accel(rows: Any, lengths: Sequence[float], powers: Sequence[float]) -> None:
    """Print candidates with the columns of PRESTO's accelsearch, in its units.

    Parameters
    ----------
    rows : structured array
        Fields of CANDIDATE_COLUMNS.
    lengths : sequence of float
        Length of the observation of each [s]: r and z are in bins of its inverse.
    powers : sequence of float
        Summed power of the best detection of each; NaN where it was not kept.
    """
    error = rows["period_err"] * rows["freq"] ** 2
    print_table(
        {
            "Cand": lambda i: str(i + 1),
            "Sigma": lambda i: number(rows["sigma"][i], ".2f"),
            "Summed Power": lambda i: number(powers[i], ".2f"),
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
        },
        range(len(rows)),
        left=("Notes",),
    )


def _product(rows: Any) -> dict[str, Callable[[Any], str]]:
    """The column that says of what product a row is, where they are of several."""
    return {"product": lambda r: str(r["product"])} if "product" in (rows.dtype.names or ()) else {}


def _labels(rows: Any) -> dict[str, Callable[[Any], str]]:
    """The column that says what somebody judged a row to be, where anybody did."""
    return {"label": lambda r: str(r["label"])} if "label" in (rows.dtype.names or ()) else {}


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


def _again(rows: Any) -> dict[str, Callable[[Any], str]]:
    """Columns that say at how many times a source was seen, and how likely that is chance, where any was."""
    if not any(row["nseen"] > 1 for row in rows):
        return {}
    return {
        "times": lambda r: str(r["nseen"]) if r["nseen"] > 0 else "-",
        "chance": lambda r: number(r["chance"], ".1g"),
    }


def not_detected(row: Any) -> bool:
    """Whether a fold of a given period shows no more than noise would."""
    from pulsar.folding.significance import DETECTED

    return bool(row["kind"] == "fold" and row["sigma"] < DETECTED)


def _remarks(row: Any) -> str:
    parts = [
        "not detected" if not_detected(row) else "",
        str(row["known_source"]),
        f"{row['relation'] or 'harmonic'} of {row['harmonic_of']}" if row["harmonic_of"] else "",
        f"+{row['nattached']} harmonics" if row["nattached"] > 0 else "",
        f"or {1e3 * row['period_alt']:.9g} ms" if math.isfinite(row["period_alt"]) else "",
        f"{row['npulses']} single pulses" if row["npulses"] else "",
        f"rfi: {row['rfi_flags']}" if row["rfi_flags"] else "",
    ]
    return "; ".join(p for p in parts if p)
