"""``pulsar view``: candidates judged in a browser."""

import webbrowser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pulsar.cli.console import note, out, write_text
from pulsar.cli.options import Debug, Overwrite, argument, option
from pulsar.errors import ConfigError, DataError
from pulsar.io.labels import Labels, Sidecar, beside, header, lines, person, read_labels, uid_of, when_of
from pulsar.io.product.reader import read

if TYPE_CHECKING:
    from pulsar.io.product.reader import Run


def command(
    paths: Annotated[
        list[Path],
        argument(
            "RUN.h5|NIGHT/...", "Products of `pulsar search`, or folders of them; with --merge files of judgements."
        ),
    ],
    labels: Annotated[
        Path | None, option("--labels", "Keep judgements in this file.", "FILE", default="<RUN>.labels.ecsv")
    ] = None,
    by: Annotated[str | None, option("--by", "Who judges.", "NAME", default="the user's name")] = None,
    port: Annotated[int, option("--port", "Port; 0: any that is free.", "N", min=0, max=65535)] = 0,
    browse: Annotated[bool, option("--open", "Open the page in a browser.")] = False,
    merge: Annotated[bool, option("--merge", "Put files of judgements into one (--out), and end.")] = False,
    imported: Annotated[
        Path | None, option("--import", "Keep what CandyJar's csv says of these candidates, and end.", "X.csv")
    ] = None,
    output: Annotated[Path | None, option("--out -o", "Of --merge: file to write.", "FILE")] = None,
    overwrite: Overwrite = False,
    _debug: Debug = False,
) -> None:
    """Show candidates on a page of this machine, and keep what you judge them to be, key by key."""
    if merge:
        if output is None or labels is not None or by is not None or imported is not None or browse or port:
            raise ConfigError("--merge takes files of judgements and --out FILE, and nothing else")
        _merge(paths, output, overwrite=overwrite)
        return
    if output is not None or overwrite:
        raise ConfigError("--out and --overwrite belong to --merge; judgements are kept in --labels FILE")
    if imported is not None:
        if browse or port:
            raise ConfigError("--import keeps judgements and ends: --open and --port are of the page")
        _import(imported, products_of(paths), labels, person(by))
        return
    _serve(products_of(paths), labels, person(by), port, browse=browse)


def _import(path: Path, runs: Sequence["Run"], labels: Path | None, who: str) -> None:
    """Keep the classifications of a csv of CandyJar as judgements; those that are kept already stay as they are."""
    from pulsar.handover.candyjar import CLASSES, picture_of, read_classes
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
                entry = row_label(uid_of(row), run, {name: row[name].item() for name in row.dtype.names or ()})
                new.append(replace(entry, label=CLASSES[word], note=f"CandyJar: {word}", who=who, when=when))
        new = [entry for entry in new if entry.key not in kept]
        if new:
            sidecar.add(new)
            out(f"{sidecar.path}: {len(new)} judgements of {who}")
    if not count:
        raise ConfigError(f"{path}: classifies no candidate of {', '.join(str(run.path) for run in runs)}")
    if classes:
        note(f"{len(classes)} candidates of {path} are of other products")


def _merge(paths: Sequence[Path], output: Path, *, overwrite: bool) -> None:
    labels = Labels(entry for path in paths for entry in read_labels(path).entries)
    merged = labels.merged()
    write_text(output, header() + lines(merged), overwrite=overwrite)
    uids = dict.fromkeys(entry.uid for entry in merged)
    for uid in uids:
        if labels.matches(uid, "disputed"):
            judgement = next(iter(labels.of(uid).values()))
            note(f"disputed: {judgement.product} {judgement.id} ({uid}): {labels.told(uid)}")
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
