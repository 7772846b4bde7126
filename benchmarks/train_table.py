"""Features of the folds of kept searches of simulated skies, with what each is: what the score's weights learn from.

Products are those that population.py and zoo_survey.py keep. A row counts that belongs to no other; it is a pulsar if
it is the first at a pulsar's own period and DM. Rows with a flag that no term of the score stands for (mains, a comb,
sweeps, a crowd ...) are left out. Rows of one environment, or of one kind of interference, are one group: the table is
for `benchmarks/train.py`, which leaves out each in turn.

    python benchmarks/population.py --envs clean,red,impulses,mains,all --first 10240 --files 34 --keep SKIES
    python benchmarks/zoo_survey.py --files 136 --every 4 --keep ZOO
    python benchmarks/train_table.py --skies SKIES --zoo ZOO --out TABLE.csv
    python benchmarks/train.py TABLE.csv --out pulsar/sources/weights.json --overwrite
"""

import argparse
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import population
from population_sky import ENVIRONMENTS, sky
from train import GROUP
from zoo import ZOO, belongs
from zoo_survey import file_of

import pulsar
from pulsar.data.unfinished import write_whole
from pulsar.sources.features import FEATURE_NAMES, features, vector
from pulsar.sources.score import FLAGS

#: Flags that go with a term of the score.
OWN = frozenset({*FLAGS.values(), "no dm curve"})


def rows_of(path: Path, is_pulsar: Callable[[Any, Any], int]) -> Iterator[tuple[np.ndarray, bool]]:
    """Features of the rows of a product, and whether each is the first of a pulsar.

    Parameters
    ----------
    path : Path
    is_pulsar : callable
        Number of the pulsar whose period and DM a row has, -1 if it has none; of the row and the header.
    """
    run = pulsar.read(path)
    table, seen = run.rows("candidates"), set()
    for row in np.sort(table[table["harmonic_of"] == ""], order="rank"):
        number = is_pulsar(row, run.observation)
        real = number >= 0 and number not in seen
        seen.add(number)
        flags = set(filter(None, str(row["rfi_flags"]).split(",")))
        if np.isfinite(row["snr"]) and flags <= OWN:
            found = features(run.fold(str(row["id"])), sigma=float(row["sigma"]), ndetections=int(row["ndetections"]))
            yield vector(found), real


def of_skies(folder: Path) -> Iterator[tuple[int, np.ndarray, bool]]:
    """Rows of products of population.py, with the number of the environment."""
    for path in sorted(folder.glob("*.h5")):
        name = re.fullmatch(rf"({'|'.join(ENVIRONMENTS)})-(\d+)", path.stem)
        if name is None:
            continue
        observed = sky(name[1], int(name[2]))

        def number(row: Any, _header: Any, observed: Any = observed) -> int:
            at = population.whose(row["freq"], row["dm"], observed, population.row_bins(row, observed), row["dm_err"])
            return at[0] if at is not None and at[1] == (1, 1) else -1

        for x, real in rows_of(path, number):
            yield ENVIRONMENTS.index(name[1]), x, real


def of_zoo(folder: Path) -> Iterator[tuple[int, np.ndarray, bool]]:
    """Rows of products of zoo_survey.py, with the number of the kind of interference, after the environments."""
    for path in sorted(folder.glob("*.h5")):
        name = re.fullmatch(r"(\d+)-(\d+)", path.stem)
        if name is None:
            continue
        kind, _, observed = file_of(int(name[1]), int(name[2]))

        def number(row: Any, header: Any, observed: Any = observed) -> int:
            return next((k for k, one in enumerate(observed.pulsars) if belongs(row, one, header, 1, 1)), -1)

        for x, real in rows_of(path, number):
            yield len(ENVIRONMENTS) + list(ZOO).index(kind), x, real


def table_text(rows: list[tuple[int, np.ndarray, bool]]) -> str:
    """The table, as csv."""
    lines = [",".join([*FEATURE_NAMES, GROUP, "label"])]
    for group, x, real in rows:
        lines.append(",".join([*(f"{value:.5g}" for value in x), str(group), str(int(real))]))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="\n".join((__doc__ or "").splitlines()[:1]))
    parser.add_argument("--skies", type=Path, nargs="*", default=[], metavar="DIR", help="of population.py --keep")
    parser.add_argument("--zoo", type=Path, nargs="*", default=[], metavar="DIR", help="of zoo_survey.py --keep")
    parser.add_argument("--out", type=Path, required=True, metavar="TABLE.csv")
    args = parser.parse_args()
    rows = [row for folder in args.skies for row in of_skies(folder)]
    rows += [row for folder in args.zoo for row in of_zoo(folder)]
    if not rows:
        parser.error("no row in the products of these folders: give those of population.py or zoo_survey.py --keep")
    write_whole(args.out, table_text(rows))
    print(f"{args.out}: {len(rows)} rows, {sum(real for _, _, real in rows)} of them pulsars")


if __name__ == "__main__":
    main()
