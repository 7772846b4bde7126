"""``pulsar sift``: the products of several beams, or times, as one list."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pulsar.cli.options import Overwrite, Preset, Sets, Told, Top, effective_config, product_file, shared
from pulsar.cli.tables import print_lists


@shared
def command(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN.h5...", help="Products of `pulsar search`.", show_default=False)
    ],
    output: Annotated[Path, product_file("ALL.h5", True)],
    config: Preset = None,
    sets: Sets = None,
    overwrite: Overwrite = False,
    top: Top = 20,
    *,
    told: Told,
) -> None:
    """Merge products of several beams and nights: one row a source, with the chance of coincidence."""
    settings = effective_config(config, sets)
    from pulsar.io.product.reader import read
    from pulsar.nights.merge import merge

    product = merge([read(path) for path in runs], output, settings, overwrite=overwrite, argv=sys.argv)
    progress = told.progress()
    print_lists(product, top=top)
    for problem in product.problems:
        progress.warning(problem)
    rows = product.rows("candidates")
    again = int(((rows["harmonic_of"] == "") & (rows["nseen"] > 1)).sum())
    seen = f", {again} of them seen at several times" if again else ""
    progress.message(f"{output}: {len(product)} candidates of {len(runs)} products{seen}")
