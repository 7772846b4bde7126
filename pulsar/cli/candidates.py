"""``pulsar candidates``: the ranked lists of products, as a table or for other programs."""

import csv
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pulsar.cli.console import note, out
from pulsar.cli.options import Debug, JudgedFiles
from pulsar.cli.tables import print_accel, print_candidates, print_pulses
from pulsar.data.text import cell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pulsar.io.labels import Labels
    from pulsar.io.product.reader import Run


@dataclass(frozen=True)
class Wanted:
    """What of the lists is asked for.

    Attributes
    ----------
    pulses : bool
        The single pulses, not the candidates.
    everything : bool
        Rows, too, that belong to another.
    min_snr : float or None
        Least S/N: what has none, unfolded, has less.
    clean : bool
        Nothing that is suspected of interference.
    idents : tuple of str
        Only these; empty: all.
    label : str
        Only what was judged so; empty: all.
    """

    pulses: bool = False
    everything: bool = False
    min_snr: float | None = None
    clean: bool = False
    idents: tuple[str, ...] = ()
    label: str = ""

    def of(self, rows: "NDArray[Any]", labels: "Labels") -> "NDArray[np.bool_]":
        """Which rows of a table are asked for."""
        import numpy as np

        from pulsar.io.labels import uid_of

        if self.idents:
            return np.isin(rows["id"], self.idents)
        use = np.ones(len(rows), dtype=np.bool_)
        if not (self.pulses or self.everything):
            use &= rows["harmonic_of"] == ""
        if self.min_snr is not None:
            use &= np.nan_to_num(rows["snr"], nan=-np.inf) >= self.min_snr
        if self.clean:
            use &= rows["rfi_flags"] == ""
        if self.label:
            use &= np.array([labels.matches(uid_of(row), self.label) for row in rows], dtype=np.bool_)
        return use


def command(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN.h5...", help="Products of `pulsar search`.", show_default=False),
    ],
    top: Annotated[int | None, typer.Option("--top", min=1, metavar="N", help="Only the best N.")] = None,
    form: Annotated[
        Literal["table", "csv", "json", "ecsv", "accel"],
        typer.Option("--format", help="How to print them; accel: in the manner of PRESTO's accelsearch."),
    ] = "table",
    kind: Annotated[
        Literal["periodic", "pulse"], typer.Option("--kind", help="Periodic candidates, or single pulses.")
    ] = "periodic",
    pulses: Annotated[bool, typer.Option("--single-pulses", help="The same as --kind pulse.")] = False,
    min_snr: Annotated[
        float | None, typer.Option("--min-snr", metavar="X", help="Only those of this S/N or more.")
    ] = None,
    no_rfi: Annotated[bool, typer.Option("--no-rfi", help="None that is suspected of interference.")] = False,
    idents: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="ID", help="Only this, with the commands that confirm it; may be repeated."),
    ] = None,
    label: Annotated[
        Literal["pulsar", "interference", "known", "noise", "unsure", "none", "disputed"] | None,
        typer.Option("--label", help="Only what was judged so with `pulsar view`; none: by nobody yet."),
    ] = None,
    judged: JudgedFiles = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every row, also those that belong to another: harmonics, sidelobes ...")
    ] = False,
    _debug: Debug = False,
) -> None:
    """List the candidates, or the single pulses, of runs, best first: one row a source."""
    from pulsar.errors import ConfigError
    from pulsar.io.labels import labels_of
    from pulsar.io.product.reader import read

    wanted = Wanted(pulses or kind == "pulse", everything, min_snr, no_rfi, tuple(idents or ()), label or "")
    if form == "accel" and wanted.pulses:
        raise ConfigError("--format accel is of periodic candidates: single pulses have no such list")
    products = [read(path) for path in runs]
    labels = labels_of(runs, judged or ())
    lists = [_with_labels(product.rows(_table(wanted)), labels) for product in products]
    missing = set(wanted.idents).difference(*(rows["id"].tolist() for rows in lists))
    if missing:
        raise ConfigError(f"{', '.join(map(str, runs))}: no {_table(wanted)} named {', '.join(sorted(missing))}")
    order = _order(lists, [wanted.of(rows, labels) for rows in lists], top)
    if form == "ecsv":
        _print_ecsv(products, order, wanted, labels)
        return
    rows = _joined(lists, order, [str(path) for path in runs] if len(runs) > 1 else [])
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(rows.dtype.names or ())
        writer.writerows([_cell(v) for v in row.tolist()] for row in rows)
    elif form == "json":
        keys = rows.dtype.names or ()
        records = [{k: _json(v) for k, v in zip(keys, row.tolist(), strict=True)} for row in rows]
        out(json.dumps(records, indent=2, ensure_ascii=False))
    elif form == "accel":
        powers = [_powers(product) for product in products]
        own = [powers[k].get(str(lists[k][i]["uid"]), math.nan) for k, i in order]
        whole = [products[k].observation_of(lists[k][i]).tobs for k, i in order]
        parts = [float(lists[k][i]["part_duration"]) for k, i in order]
        lengths = [part if math.isfinite(part) else tobs for part, tobs in zip(parts, whole, strict=True)]
        print_accel(rows, lengths, own)
    else:
        _print_table(rows, products, wanted)
        if not (wanted.pulses or wanted.everything or wanted.idents):
            hidden = sum(int((rows["harmonic_of"] != "").sum()) for rows in lists)
            if hidden:
                out(f"{hidden} rows belong to another one: --all")


def _print_table(rows: "NDArray[Any]", products: "Sequence[Run]", wanted: Wanted) -> None:
    """The table on screen, and of what is named the commands that confirm it."""
    merged = any(product.is_merged for product in products)
    if wanted.pulses:
        print_pulses(rows, merged=merged)
        return
    print_candidates(rows, merged=merged)
    if wanted.idents:
        from pulsar.handover.candidate import commands

        for product in products:
            for ident in set(wanted.idents).intersection(product.rows("candidates")["id"].tolist()):
                note(f"to confirm {ident}:")
                for line in commands(product, product.candidate(ident)):
                    note(f"  {line}")


def _powers(product: "Run") -> dict[str, float]:
    """Summed power of the best detection of every candidate, by its uid."""
    import numpy as np

    rows = product.rows("detections")
    best = rows[np.argsort(rows["sigma"], kind="stable")]
    return dict(zip(best["uid"].tolist(), best["power"].tolist(), strict=True))


def _with_labels(rows: "NDArray[Any]", labels: "Labels") -> "NDArray[Any]":
    """The rows with what they were judged to be, where anything was judged."""
    if not labels.entries:
        return rows
    import numpy as np

    from pulsar.io.labels import uid_of

    told = np.array([labels.told(uid_of(row)) for row in rows], dtype=np.str_)
    out = np.zeros(len(rows), dtype=[*rows.dtype.descr, ("label", told.dtype.str if len(rows) else "U1")])
    for name in rows.dtype.names or ():
        out[name] = rows[name]
    out["label"] = told
    return out


def _table(wanted: Wanted) -> str:
    return "single_pulses" if wanted.pulses else "candidates"


def _order(
    lists: "Sequence[NDArray[Any]]", masks: "Sequence[NDArray[np.bool_]]", top: int | None
) -> list[tuple[int, int]]:
    """Product and row of what is asked for: of one product in its order, of several by score and S/N."""
    import numpy as np

    chosen = [(k, int(i)) for k, mask in enumerate(masks) for i in np.flatnonzero(mask)]
    if len(lists) > 1:
        chosen.sort(key=lambda at: tuple(-_known(lists[at[0]][at[1]][name]) for name in ("score", "snr")))
    return chosen[:top]


def _known(value: Any) -> float:
    return float(value) if math.isfinite(value) else -math.inf


def _joined(lists: "Sequence[NDArray[Any]]", order: Sequence[tuple[int, int]], names: Sequence[str]) -> "NDArray[Any]":
    """Rows of several tables as one, texts as wide as the widest; with names of the products, those come first."""
    import numpy as np

    first = lists[0].dtype
    fields = [(name, max((rows.dtype[name] for rows in lists), key=lambda d: d.itemsize)) for name in first.names or ()]
    if names:
        fields.insert(0, ("product", np.dtype(f"U{max(map(len, names))}")))
    joined = np.zeros(len(order), dtype=fields)
    for at, (k, i) in enumerate(order):
        if names:
            joined["product"][at] = names[k]
        for name in first.names or ():
            joined[name][at] = lists[k][name][i]
    return joined


def _print_ecsv(products: "Sequence[Run]", order: Sequence[tuple[int, int]], wanted: Wanted, labels: "Labels") -> None:
    import numpy as np
    from astropy.table import vstack

    from pulsar.io.labels import uid_of

    tables = [product.table(_table(wanted)) for product in products]
    if labels.entries:
        for product, table in zip(products, tables, strict=True):
            table["label"] = [labels.told(uid_of(row)) for row in product.rows(_table(wanted))]
    starts = np.cumsum([0, *map(len, tables)])
    if len(tables) > 1:
        for product, table in zip(products, tables, strict=True):
            table.add_column([str(product.path)] * len(table), name="product", index=0)
    whole = tables[0] if len(tables) == 1 else vstack(tables, metadata_conflicts="silent")
    whole[np.array([starts[k] + i for k, i in order], dtype=np.int64)].write(sys.stdout, format="ascii.ecsv")


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return cell(value)
    return "" if isinstance(value, float) and math.isnan(value) else value


def _json(value: Any) -> Any:
    # JSON knows no NaN: unknown values are null.
    return None if isinstance(value, float) and not math.isfinite(value) else value
