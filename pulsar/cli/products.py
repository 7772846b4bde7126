"""Commands that read products: ``pulsar candidates``, ``sift``, ``report``, ``why`` and ``view``."""

import csv
import math
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from pulsar.cli.console import check_new, note, out, output_folder, print_json, write_file
from pulsar.cli.options import JudgedFiles, Overwrite, Products, Top, argument, named, option, options, product_file
from pulsar.cli.tables import print_accel, print_candidates, print_lists, print_pulses
from pulsar.config.model import Config
from pulsar.data.candidate import table_of, values_of
from pulsar.data.text import cell
from pulsar.errors import ConfigError, DataError
from pulsar.handover.candidate import candidate_of, commands
from pulsar.handover.formats import CANDYJAR_LIST, candyjar_text, picture_of
from pulsar.io.labels import Labels, Sidecar, beside, header, labels_of, lines, person, read_labels, uid_of, when_of
from pulsar.io.product.reader import Run, read
from pulsar.io.product.schema import TABLES
from pulsar.io.product.writer import Target
from pulsar.pipeline.progress import Progress
from pulsar.report.why import Question
from pulsar.report.why import why as answer
from pulsar_kernels.arrays import Array, Bools


@options()
def sift(
    runs: Products,
    output: Annotated[Path, product_file("ALL.h5")],
    *,
    settings: Config,
    overwrite: Overwrite = False,
    top: Top = 20,
    progress: Progress,
) -> None:
    """Merge products of several beams and nights: one row a source, with the chance of coincidence."""
    from pulsar.nights.merge import merge

    product = merge([read(path) for path in runs], Target(output, overwrite, sys.argv), settings)
    print_lists(product, top=top)
    for problem in product.problems:
        progress.warning(problem)
    rows = product.rows("candidates")
    again = int(((rows["harmonic_of"] == "") & (rows["nseen"] > 1)).sum())
    seen = f", {again} of them seen at several times" if again else ""
    progress.message(f"{output}: {len(product)} candidates of {len(runs)} products{seen}")


@options()
def report(
    runs: Products,
    output: Annotated[Path | None, named("--out -o", "Folder to write.", "DIR", default="<RUN>.report")] = None,
    top: Annotated[int | None, option("Plot no more than the best N.", "N", default="all", min=1)] = None,
    one_file: Annotated[bool, named("--one-file", "Put the sheets into the page: one file, to be sent.")] = False,
    vector: Annotated[Literal["pdf", "svg"] | None, option("The sheets in this format, too.", "pdf|svg")] = None,
    judged: JudgedFiles = None,
    overwrite: Overwrite = False,
    *,
    progress: Progress,
) -> None:
    """Write a page with the ranked lists, maps and plot sheets, which opens from disk without a server."""
    products = [read(path) for path in runs]
    labels = labels_of(runs, judged or ())
    folder = output if output is not None else runs[0].with_suffix(".report")
    if output is None and folder.is_symlink():
        raise ConfigError(f"{folder}: is a link; name the folder of the report with --out")
    if (folder / "index.html").exists() and not overwrite:
        raise ConfigError(f"{folder}: holds a report already; give --overwrite to replace it, or another --out")
    output_folder(folder)

    from pulsar.report.page import tasks_of, write_report

    with progress.stage("report", total=len(tasks_of(products, top)), unit="sheets") as tick:
        page = write_report(products, folder, top=top, one_file=one_file, vector=vector or "", labels=labels, tick=tick)
    out(str(page))


@options()
def why(
    run: Annotated[Path, argument("RUN.h5", "Product of `pulsar search` or `pulsar sift`.")],
    period: Annotated[float | None, option("Period [s].", "S")] = None,
    freq: Annotated[float | None, option("Frequency [Hz].", "HZ")] = None,
    time: Annotated[float | None, option("Time of a single pulse from the start [s].", "S")] = None,
    dm: Annotated[float | None, option("At this DM; default: any.", "DM")] = None,
) -> None:
    """Tell who has a signal and on what evidence, or what kept it off the list."""
    if sum(value is not None for value in (period, freq, time)) != 1:
        raise ConfigError("give one of --period, --freq and --time")
    if period is not None:
        if not period > 0:
            raise ConfigError(f"--period {period:g}: expected a positive number of seconds")
        freq = 1.0 / period
    for line in answer(read(run), Question(freq, time, dm)):
        out(line)


@dataclass(frozen=True)
class RowOptions:
    """Rows of the lists that are asked for: options of ``pulsar candidates``.

    What has no S/N, unfolded, has less than any.
    """

    kind: Annotated[Literal["periodic", "pulse"], option("Periodic candidates, or single pulses.")] = "periodic"
    pulses: Annotated[bool, named("--single-pulses", "The same as --kind pulse.")] = False
    min_snr: Annotated[float | None, option("Only those of this S/N or more.", "X")] = None
    clean: Annotated[bool, named("--no-rfi", "None that is suspected of interference.")] = False
    idents: Annotated[
        list[str] | None, named("--id", "Only this, with the commands that confirm it; may be repeated.", "ID")
    ] = None
    label: Annotated[
        Literal["pulsar", "interference", "known", "noise", "unsure", "none", "disputed"] | None,
        option("Only what was judged so with `pulsar view`; none: by nobody yet."),
    ] = None
    everything: Annotated[
        bool, named("--all", "Every row, also those that belong to another: harmonics, sidelobes ...")
    ] = False

    @property
    def table(self) -> str:
        """Name of the table in products."""
        return "single_pulses" if self.pulses or self.kind == "pulse" else "candidates"

    def of(self, rows: Array, labels: Labels) -> Bools:
        """True where a row of the table is asked for."""
        if self.idents:
            return np.isin(rows["id"], self.idents)
        use = np.ones(len(rows), dtype=np.bool_)
        if self.table == "candidates" and not self.everything:
            use &= rows["harmonic_of"] == ""
        if self.min_snr is not None:
            use &= np.nan_to_num(rows["snr"], nan=-np.inf) >= self.min_snr
        if self.clean:
            use &= rows["rfi_flags"] == ""
        if self.label:
            use &= np.array([labels.matches(uid_of(row), self.label) for row in rows], dtype=np.bool_)
        return use


@options()
def candidates(
    runs: Products,
    top: Annotated[int | None, option("Only the best N.", "N", min=1)] = None,
    form: Annotated[
        Literal["table", "csv", "json", "ecsv", "votable", "fits", "accel", "candyjar"],
        named("--format", "How to print them; accel: in the manner of PRESTO's accelsearch; candyjar: for CandyJar."),
    ] = "table",
    output: Annotated[
        Path | None, named("--out -o", "Of votable and fits: file to write; of candyjar: folder.", "FILE|DIR")
    ] = None,
    overwrite: Overwrite = False,
    *,
    wanted: RowOptions,
    judged: JudgedFiles = None,
) -> None:
    """List the candidates, or the single pulses, of runs, best first: one row a source."""
    if form == "accel" and wanted.table != "candidates":
        raise ConfigError("--format accel is of periodic candidates: single pulses have no such list")
    _check_output(form, output, [*runs, *(judged or ())], wanted, overwrite=overwrite)
    products = [read(path) for path in runs]
    labels = labels_of(runs, judged or ())
    lists = [product.rows(wanted.table) for product in products]
    # By name: columns of an older version have another order.
    rows = np.concatenate([table[list(lists[0].dtype.names or ())] for table in lists])
    missing = set(wanted.idents or ()).difference(rows["id"].tolist())
    if missing:
        raise ConfigError(f"{', '.join(map(str, runs))}: no {wanted.table} named {', '.join(sorted(missing))}")
    order = np.flatnonzero(wanted.of(rows, labels))
    if len(lists) > 1:
        # NaN, which is unknown, comes last.
        order = order[np.lexsort((-rows["snr"][order], -rows["score"][order]))]
    order = order[:top]
    sources = [product for product, table in zip(products, lists, strict=True) for _ in table]
    of = [sources[i] for i in order]
    if form == "candyjar" and output is not None:
        _write_candyjar(rows[order], of, output)
        return
    chosen = _with_texts(rows[order], [str(product.path) for product in of] if len(runs) > 1 else [], labels)
    if form in ("ecsv", "votable", "fits"):
        _print_table_of(form, chosen, wanted.table, output, overwrite=overwrite)
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(chosen.dtype.names or ())
        writer.writerows([_cell(v) for v in row.tolist()] for row in chosen)
    elif form == "json":
        print_json([values_of(row) for row in chosen])
    elif form == "accel":
        print_accel(chosen, of)
    else:
        _print_table(chosen, products, wanted)
        hidden = int((rows["harmonic_of"] != "").sum()) if wanted.table == "candidates" else 0
        if hidden and not (wanted.everything or wanted.idents):
            out(f"{hidden} rows belong to another one: --all")


def _with_texts(rows: Array, products: Sequence[str], labels: Labels) -> Array:
    """The rows with the names of their products first, where there are several, and at the end what they were judged
    to be, where anything was.
    """
    columns = {name: rows[name] for name in rows.dtype.names or ()}
    if products:
        columns = {"product": np.array(products, dtype=np.str_), **columns}
    if labels.entries:
        columns["label"] = np.array([labels.label_text(uid_of(row)) for row in rows], dtype=np.str_)
    return table_of(columns)


def _print_table(rows: Array, products: Sequence[Run], choice: RowOptions) -> None:
    """The table on screen, and of what is named the commands that confirm it."""
    merged = any(product.is_merged for product in products)
    if choice.table != "candidates":
        print_pulses(rows, merged=merged)
        return
    print_candidates(rows, merged=merged)
    for product in products if choice.idents else ():
        for ident in set(choice.idents or ()).intersection(product.rows("candidates")["id"].tolist()):
            note_commands(product, product.candidate(ident))


def note_commands(product: Run, row: dict[str, Any]) -> None:
    """Tell the commands that confirm a candidate."""
    note(f"to confirm {row['id']}:")
    for line in commands(product, row):
        note(f"  {line}")


def _check_output(
    form: str, output: Path | None, inputs: Sequence[Path], choice: RowOptions, *, overwrite: bool
) -> None:
    """Refuse an output that cannot be, before anything is read."""
    if output is None:
        if form in ("fits", "candyjar"):
            raise ConfigError(f"--format {form}: give the {'file' if form == 'fits' else 'folder'} to write: --out")
        return
    if form not in ("votable", "fits", "candyjar"):
        raise ConfigError(f"--out {output}: --format {form} goes to the screen: > {output}")
    if form == "candyjar":
        if choice.table != "candidates":
            raise ConfigError("--format candyjar is of periodic candidates: CandyJar has no single pulses")
        if (output / CANDYJAR_LIST).exists() and not overwrite:
            raise ConfigError(f"{output}: holds {CANDYJAR_LIST} already; give --overwrite, or another --out")
    else:
        check_new(output, inputs=inputs, overwrite=overwrite)


def _print_table_of(form: str, rows: Array, name: str, output: Path | None, *, overwrite: bool) -> None:
    """Print or write a list with its units."""
    from pulsar.io.product.table import as_table

    table = as_table(rows, *TABLES[name])
    if form == "ecsv":
        table.write(sys.stdout, format="ascii.ecsv")
        return
    from pulsar.handover.vo import list_fits, list_votable

    content = list_votable(table, name) if form == "votable" else list_fits(table, name)
    if output is None:
        sys.stdout.write(content.decode())
        return
    write_file(output, content, overwrite=overwrite)
    out(str(output))


def _write_candyjar(rows: Array, of: Sequence[Run], folder: Path) -> None:
    """Write the folder that CandyJar opens: its list, and a sheet of each candidate; those without a fold have none."""
    from pulsar.data.unfinished import write_whole
    from pulsar.report.sheet import Task, draw_all

    pairs = [(run, row) for run, row in zip(of, rows, strict=True) if str(row["id"]) in run.ids]
    # A judgement is of a candidate, of whatever copy of its product: it is shown once.
    shown: dict[str, tuple[Run, Array]] = {}
    for run, row in pairs:
        shown.setdefault(picture_of(row), (run, row))
    folded = list(shown.values())
    if not folded:
        raise ConfigError("--format candyjar: none of these candidates was folded: there is nothing to look at")
    text = candyjar_text([(run, candidate_of(run, str(row["id"]))) for run, row in folded])
    runs = list(dict.fromkeys(run for run, _ in folded))
    tasks = [Task(runs.index(run), str(row["id"])) for run, row in folded]
    output_folder(folder / "plots")
    for (_, row), drawn in zip(folded, draw_all(runs, tasks), strict=True):
        write_whole(folder / picture_of(row), drawn.image["png"])
    # Last: a list whose pictures are there.
    write_whole(folder / CANDYJAR_LIST, text.encode())
    if unfolded := len(rows) - len(pairs):
        note(f"{unfolded} candidates were not folded: they are left out")
    if again := len(pairs) - len(folded):
        note(f"{again} candidates stand in several of these products: each is written once, of the first in the list")
    out(str(folder / CANDYJAR_LIST))


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return cell(value)
    return "" if isinstance(value, float) and math.isnan(value) else value


@options()
def view(
    paths: Annotated[
        list[Path],
        argument(
            "RUN.h5|NIGHT/...", "Products of `pulsar search`, or folders of them; with --merge files of judgements."
        ),
    ],
    labels: Annotated[Path | None, option("Keep judgements in this file.", "FILE", default="<RUN>.labels.ecsv")] = None,
    by: Annotated[str | None, option("Who judges.", "NAME", default="the user's name")] = None,
    port: Annotated[int, option("Port; 0: any that is free.", "N", min=0, max=65535)] = 0,
    browse: Annotated[bool, named("--open", "Open the page in a browser.")] = False,
    merge: Annotated[bool, named("--merge", "Put files of judgements into one (--out), and end.")] = False,
    imported: Annotated[
        Path | None, named("--import", "Keep what CandyJar's csv says of these candidates, and end.", "X.csv")
    ] = None,
    output: Annotated[Path | None, named("--out -o", "Of --merge: file to write.", "FILE")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Show candidates on a page of this machine, and keep what you judge them to be, key by key."""
    if merge:
        if output is None or labels is not None or by is not None or imported is not None or browse or port:
            raise ConfigError("--merge takes files of judgements and --out FILE, and nothing else")
        _merge_judgements(paths, output, overwrite=overwrite)
        return
    if output is not None or overwrite:
        raise ConfigError("--out and --overwrite belong to --merge; judgements are kept in --labels FILE")
    if imported is not None:
        if browse or port:
            raise ConfigError("--import keeps judgements and ends: --open and --port are of the page")
        _import_judgements(imported, products_of(paths), labels, person(by))
        return
    _serve(products_of(paths), labels, person(by), port, browse=browse)


def _import_judgements(path: Path, runs: Sequence["Run"], labels: Path | None, who: str) -> None:
    """Keep the classifications of a csv of CandyJar as judgements; those that are kept already stay as they are."""
    from pulsar.handover.formats import CLASSES, picture_of, read_classes
    from pulsar.triage.site import row_label

    classes = read_classes(path)
    count = 0
    # They are not younger than the file.
    when = when_of(path.stat().st_mtime)
    for run in runs:
        sidecar = Sidecar(beside(run.path) if labels is None else labels)
        kept = {entry.key for entry in sidecar.read().entries}
        new = []
        for row in run.rows("candidates"):
            word = classes.pop(picture_of(row), "")
            if word:
                count += 1
                entry = row_label(uid_of(row), run, values_of(row))
                new.append(replace(entry, label=CLASSES[word], note=f"CandyJar: {word}", who=who, when=when))
        new = [entry for entry in new if entry.key not in kept]
        if new:
            sidecar.add(new)
            out(f"{sidecar.path}: {len(new)} judgements of {who}")
    if not count:
        raise ConfigError(f"{path}: classifies no candidate of {', '.join(str(run.path) for run in runs)}")
    if classes:
        note(f"{len(classes)} candidates of {path} are of other products")


def _merge_judgements(paths: Sequence[Path], output: Path, *, overwrite: bool) -> None:
    labels = Labels(entry for path in paths for entry in read_labels(path).entries)
    merged = labels.merged()
    write_file(output, header() + lines(merged), overwrite=overwrite)
    uids = dict.fromkeys(entry.uid for entry in merged)
    for uid in uids:
        if labels.matches(uid, "disputed"):
            judgement = next(iter(labels.of(uid).values()))
            note(f"disputed: {judgement.product} {judgement.id} ({uid}): {labels.label_text(uid)}")
    people = {entry.who for entry in merged}
    out(f"{output}: {len(labels)} rows judged by {len(people)}: {', '.join(sorted(people))}")


def products_of(paths: Sequence[Path]) -> list["Run"]:
    """Products, and those in folders; of a folder none that another one in it was merged from.

    Raises
    ------
    ConfigError
        A folder holds no product.
    DataError
        A file cannot be read.
    """
    from pulsar.triage.site import merged_from

    runs = {}
    for path in paths:
        if not path.is_dir():
            runs[path.resolve()] = read(path)
            continue
        products = {}
        for file in sorted(path.glob("*.h5")):
            try:
                products[file.resolve()] = read(file)
            except DataError as error:
                note(f"left out: {error}")
        parts = {part.resolve() for run in products.values() for part in merged_from(run)}
        whole = {file: run for file, run in products.items() if file not in parts}
        if not whole:
            raise ConfigError(f"{path}: no product of `pulsar search` (*.h5) is in this folder")
        runs |= whole
    return list(runs.values())


def _serve(runs: Sequence["Run"], labels: Path | None, who: str, port: int, *, browse: bool) -> None:
    from pulsar.triage.server import Server
    from pulsar.triage.site import Site

    site = Site(runs, who, labels)
    with Server(site, port) as server:
        note(f"judged by {who}; keys: p pulsar, i interference, k known, n noise, u unsure; ? shows all. Ctrl-C ends.")
        out(server.link)
        if browse and not webbrowser.open(server.once()):
            note("no browser could be opened: open the link yourself")
        try:
            server.serve_forever()
        except (KeyboardInterrupt, SystemExit) as stop:
            stop.add_note("all judgements are kept")
            raise
