"""What is found, by whom, at equal false alarms and at what cost: our search, PRESTO and riptide on the same data.

    python benchmarks/versus.py series --log2n 22 --presto DIR --env DIR --json versus.json
    python benchmarks/versus.py series --log2n 24 --only ours,numharm --presto DIR --json versus.json
    python benchmarks/versus.py population --files 1 --presto DIR --json versus.json
    python benchmarks/versus.py real FOLDER --presto DIR --env DIR --json versus.json
    python benchmarks/versus.py table --json versus.json --into benchmarks/README.md
    python benchmarks/versus.py table --json versus.json --short --into README.md

* `series`: dedispersed series with one pulsar each, of the population that versus_series.py states (a third
  millisecond pulsars, S/N 5.5 to 11.5), and as many of noise alone. A program's threshold is what the highest line of a
  tenth of its noise series exceeds (0.1 false alarms a series); a pulsar is found where a line above that is its, at
  its frequency or a simple ratio of it. The intervals are 68 % (Wilson); beside them stands what would be found were
  the false alarms wrong by their own binomial error.
* `population`: files of the random skies of population.py, from the raw file to the list. Equal false alarms means
  none: a pulsar counts where it stands above every source of its file that is no pulsar.
* `real`: real series with known answers (FOLDER), where the pulsar stands in each list.

`--presto` is the folder of PRESTO's programs (without, PATH), `--env` the virtual environment of riptide; what is
absent is told and left out. (PulsarX has no search of series: what it does stands in peers.py.) Everything runs on one
thread. `--json` is written after every search: a run that was ended goes on where it was, and with larger numbers it
goes further. The tables are printed at the end, or put into the page `--into`: those of series and real files between
the lines ``<!-- versus -->`` and ``<!-- /versus -->``, those of random skies between ``<!-- versus-population -->`` and
``<!-- /versus-population -->``; what the file does not hold stays as it is.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from peer_programs import PeerError, interpreter
from peers import write_dat
from table import replace_between
from versus_files import population, real
from versus_programs import Accelsearch, Searched, Searcher, ours, riptide
from versus_series import Truth, draw, found, series, strongest
from versus_tables import tables

from pulsar.bench.limits import cores
from pulsar.data.locks import FileLock
from pulsar.data.unfinished import write_whole
from pulsar.errors import ConfigError, PulsarError
from pulsar.io.product.provenance import cpu_model, versions

SEED = 1
TSAMP = 60e-6


class Store:
    """What was measured, in a file that is whole after every entry.

    Parameters
    ----------
    path : Path or None
        None: in memory only.
    write : bool
        Nobody else may write it meanwhile.

    Raises
    ------
    ConfigError
        The file is none of this script, or somebody else writes it.
    """

    def __init__(self, path: Path | None, *, write: bool = True) -> None:
        self._path = path
        self._lock: FileLock | None = None
        self.content: dict[str, Any] = {}
        if path is not None:
            lock = FileLock(path.with_name(f"{path.name}.lock"), fleeting=True)
            if write and not lock.acquire():
                raise ConfigError(f"{path}: another run writes it; wait until it is done, or give another file")
            self._lock = lock
            if path.exists():
                try:
                    self.content = json.loads(path.read_text())
                    self.content["machine"]
                except (ValueError, KeyError, TypeError):
                    self.close()
                    raise ConfigError(f"{path}: not a file of this script; give another name") from None
        self.content.setdefault("machine", {"cpu": cpu_model(), "cores": cores(), "versions": versions()})

    def close(self) -> None:
        """Let others write the file."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def entries(self, *keys: str) -> dict[str, Any]:
        """What there is under these keys."""
        node = self.content
        for key in keys:
            node = node.setdefault(key, {})
        return node

    def put(self, value: Any, *keys: str) -> None:
        """Enter something, and write the file."""
        self.entries(*keys[:-1])[keys[-1]] = value
        self.content["machine"]["date"] = datetime.now(UTC).date().isoformat()
        if self._path is not None:
            write_whole(self._path, json.dumps(self.content))


def programs(args: argparse.Namespace, *, whiten: bool = False) -> Iterator[Searcher]:
    """Those that are there and asked for; of the others it is told how to provide them."""
    every: tuple[Searcher, ...] = (
        ours(),
        Accelsearch(16, args.presto, whiten=whiten),
        Accelsearch(32, args.presto, whiten=whiten),
        riptide(interpreter(args.env)),
    )
    wanted = args.only.split(",") if args.only else [""]
    for searcher in every:
        if not any(word in searcher.name for word in wanted):
            continue
        if missing := searcher.missing():
            print(f"{searcher.name}: {missing}", file=sys.stderr)
            continue
        yield searcher


def record(searched: Searched, truth: Truth | None, tobs: float) -> dict[str, Any]:
    """What is kept of a search: costs, the strongest line, and the strongest that is the pulsar's.

    Parameters
    ----------
    searched : Searched
    truth : Truth or None
        None: noise alone.
    tobs : float
        Length of the series [s].
    """
    kept = {**searched.document(), "lines": len(searched.lines)}
    kept["best"] = searched.lines[0][1] if searched.lines else None
    if truth is None:
        return kept
    kept["snr"], kept["millisecond"] = truth.snr, truth.millisecond
    at = strongest([f for f, _ in searched.lines], [s for _, s in searched.lines], truth, tobs)
    kept["own"] = None
    if at is not None:
        freq, value = searched.lines[at]
        m, d = found(freq, truth, tobs) or (1, 1)
        kept["own"] = value
        kept["ratio"] = [m, d]
        # Of the spin frequency, in bins.
        kept["error"] = (freq * d / m - truth.freq) * tobs
    return kept


def run_series(
    store: Store, searchers: Sequence[Searcher], log2n: int, counts: tuple[int, int], fewer: dict[str, tuple[int, int]]
) -> None:
    """Search series of noise and with pulsars, those that were not yet.

    Parameters
    ----------
    store : Store
    searchers : sequence
    log2n : int
        2^log2n samples.
    counts : (int, int)
        Series of noise, and with a pulsar.
    fewer : dict
        The same for those that get another number of them, by a part of their name.
    """
    nsamps = 1 << log2n
    tobs = nsamps * TSAMP
    drawn = draw(SEED, counts[1])
    with tempfile.TemporaryDirectory(prefix="pulsar-versus-") as folder:
        path = Path(folder) / "series.dat"
        for index in range(max(counts)):
            for kind, truth in (("noise", None), ("pulsars", drawn[index] if index < counts[1] else None)):
                which = kind == "pulsars"
                left = []
                for searcher in searchers:
                    own = next((c for part, c in fewer.items() if part in searcher.name), counts)
                    done = store.entries("series", str(log2n), searcher.name, kind)
                    if index < min(own[which], counts[which]) and str(index) not in done:
                        left.append(searcher)
                if not left:
                    continue
                rng = np.random.default_rng([SEED, log2n, index, int(which)])
                write_dat(path, series(truth, nsamps, TSAMP, rng), TSAMP)
                for searcher in left:
                    kept = record(searcher.search(path, TSAMP), truth, tobs)
                    store.put(kept, "series", str(log2n), searcher.name, kind, str(index))
            print(f"2^{log2n}: {index + 1} of {max(counts)}", file=sys.stderr, flush=True)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for name in ("series", "population", "real", "table"):
        part = parts.add_parser(name)
        part.add_argument("--json", type=Path, metavar="FILE", help="what was measured is kept, and found, there")
        part.add_argument("--into", type=Path, metavar="README.md", help="put the tables between its marks")
        if name == "table":
            part.add_argument("--short", action="store_true", help="a short one, with a column for each package")
            continue
        part.add_argument("--presto", type=Path, metavar="DIR", help="folder of PRESTO's programs; default: on PATH")
        part.add_argument("--env", type=Path, metavar="DIR", help="virtual environment that has riptide-ffa")
        part.add_argument("--only", default="", help="parts of names of programs, comma separated")
        if name == "series":
            part.add_argument("--log2n", type=int, default=22, help="2^N samples of 60 us")
            part.add_argument("--noise", type=int, default=100, help="series of noise")
            part.add_argument("--pulsars", type=int, default=100, help="series with a pulsar")
            part.add_argument("--riptide", type=int, default=40, help="of each kind for riptide, which takes long")
        elif name == "population":
            part.add_argument("--envs", default="clean,red,impulses", help="environments, comma separated")
            part.add_argument("--first", type=int, default=0, help="first seed")
            part.add_argument("--files", type=int, default=1, help="files of each environment")
        else:
            part.add_argument("folder", type=Path, help="where the real files are")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write."""
    args = parse(argv)
    searchers: list[Searcher] = []
    store = Store(None)
    try:
        store = Store(args.json, write=args.part != "table")
        if args.part in ("series", "real"):
            searchers = list(programs(args, whiten=args.part == "real"))
        if args.part == "series":
            counts = (args.noise, args.pulsars)
            run_series(store, searchers, args.log2n, counts, {"riptide": (args.riptide, args.riptide)})
        elif args.part == "population":
            presto = Accelsearch(16, args.presto)
            if missing := presto.missing():
                print(f"PRESTO: {missing}", file=sys.stderr)
            seeds = range(args.first, args.first + args.files)
            population(store, args.envs.split(","), seeds, None if missing else presto.folder)
        elif args.part == "real":
            real(store, searchers, args.folder)
    except (PulsarError, PeerError) as error:
        raise SystemExit(str(error)) from None
    finally:
        for searcher in searchers:
            searcher.close()
        store.close()
    texts = tables(store.content, short=args.part == "table" and args.short)
    if args.into is not None:
        replace_between(args.into, texts)
    else:
        print("\n\n".join(texts.values()))


if __name__ == "__main__":
    main()
