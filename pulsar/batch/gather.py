"""One list over all units of a batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pulsar.batch.ledger import Ledger
from pulsar.batch.records import products
from pulsar.batch.units import product, read_batch
from pulsar.data.locks import only_one
from pulsar.errors import ConfigError, DataError
from pulsar.nights.merge import merge
from pulsar.nights.night import ALL

if TYPE_CHECKING:
    from pulsar.io.product.reader import Run


def merged(
    folder: Path | str,
    out: Path | None = None,
    *,
    overwrite: bool = False,
    argv: Sequence[str] = (),
    unreadable: list[str] | None = None,
) -> "Run":
    """Merge the products of all finished units: beams of one time are compared, all others listed.

    Parameters
    ----------
    folder : Path
        Of the batch.
    out : Path, optional
        Default: ``ALL.h5`` in that folder.
    overwrite : bool
        Replace an existing one.
    argv : sequence of str
    unreadable : list of str, optional
        Gets the names of the units whose products cannot be read, and are passed over.

    Raises
    ------
    ConfigError
        No unit is done, the output exists, or another process works on this batch.
    DataError
        There is no batch in this folder, or none of its products can be read.
    """
    from pulsar.io.product.reader import read

    batch = read_batch(folder)
    with only_one(batch.folder / "lock", "batch merge"):
        ledger = Ledger(batch, writable=True)
        ledger.refresh()
        there = products(batch.folder)
        names = [unit.name for unit in batch.units if unit.name in there]
        if not names:
            raise ConfigError(f"{batch.folder}: no unit is done: run it first with `pulsar batch run {batch.folder}`")
        lost = [r for r in ledger.records().values() if r.status != "done"]
        notes = [*batch.problems, *(f"{r.name}: is not in this list ({r.status}): {r.reason}" for r in lost)]
        runs = []
        for name in sorted(names):
            try:
                runs.append(read(product(batch.folder, name)))
            except DataError as error:
                # One of thousands is no reason to have no list.
                if unreadable is not None:
                    unreadable.append(name)
                notes.append(
                    f"{name}: is not in this list: {error}; `pulsar batch run` searches it again if it is short"
                )
        if not runs:
            raise DataError(f"{batch.folder}: no product can be read: " + "; ".join(notes))
        target = batch.folder / ALL if out is None else out
        return merge(runs, target, batch.config, overwrite=overwrite, argv=argv, problems=notes)
