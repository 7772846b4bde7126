"""What is found, by whom, at equal false alarms and at what cost: our search, PRESTO and riptide on the same data.

    python benchmarks/versus.py series --log2n 22 --presto DIR --env DIR --json versus.json
    python benchmarks/versus.py series --log2n 24 --only ours,numharm --presto DIR --json versus.json
    python benchmarks/versus.py red --presto DIR --json red.json
    python benchmarks/versus.py population --files 1 --presto DIR --json versus.json
    python benchmarks/versus.py real FOLDER --presto DIR --env DIR --json versus.json
    python benchmarks/versus.py table --json versus.json --into benchmarks/README.md
    python benchmarks/versus.py table --json versus.json --short --into README.md

* `series`: dedispersed series with one pulsar each, of the population that versus_series.py states (a third
  millisecond pulsars, S/N 5.5 to 11.5), and as many of noise alone. A program's threshold is what the highest line of a
  tenth of its noise series exceeds (0.1 false alarms a series); a pulsar is found where a line above that is its, at
  its frequency or a simple ratio of it. The intervals are 68 % (Wilson); beside them stands what would be found were
  the false alarms wrong by their own binomial error.
* `red`: series in red noise of knees from 0.1 to 50 Hz, of another population, which versus_series.py states, too.
  Beside what is found stand what a published study finds, and what is possible: where a matched filter of the true
  period and shape, in noise of known power, has the S/N that one trial of ours needs at the threshold. By chance is
  found what passes, in a series of noise, for the pulsar of another series.
* `population`: files of the random skies of population.py, from the raw file to the list. Equal false alarms means
  none: a pulsar counts where it stands above every source of its file that is no pulsar.
* `real`: real series with known answers (FOLDER), where the pulsar stands in each list.

`--presto` is the folder of PRESTO's programs (without, PATH), `--env` the virtual environment of riptide; what is
absent is told and left out. (PulsarX has no search of series: what it does stands in peers.py.) Everything runs on one
thread. `--json` is written after every search: a run that was ended goes on where it was, and with larger numbers it
goes further. The tables are printed at the end, or put into the page `--into`: those of series and real files between
the lines ``<!-- versus -->`` and ``<!-- /versus -->``, those of red noise and of random skies between the same of
``versus-red`` and ``versus-population``; what the file does not hold stays as it is.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from programs import PeerError, interpreter, write_dat
from shared import First, commands
from table import put
from versus_searches import Accelsearch, Searched, Searcher, Store, ours, riptide
from versus_searches import population as run_population
from versus_searches import real as run_real
from versus_series import Case, Truth, found, matched, red_noise, strongest, white_noise
from versus_tables import tables

from pulsar.errors import PulsarError

app = commands(__doc__)
Json = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="what was measured is kept, and found, there")
]
Into = Annotated[Path | None, typer.Option(metavar="README.md", help="put the tables between its marks")]
Presto = Annotated[Path | None, typer.Option(metavar="DIR", help="folder of PRESTO's programs; default: on PATH")]
Env = Annotated[Path | None, typer.Option(metavar="DIR", help="virtual environment that has riptide-ffa")]
Only = Annotated[str, typer.Option(help="parts of names of programs, comma separated")]

SEED = 1
TSAMP, RED_TSAMP = 60e-6, 128e-6


@contextmanager
def programs(only: str, presto: Path | None, env: Path | None, *, whiten: bool = False) -> Iterator[list[Searcher]]:
    """Those that are there and asked for; of the others it is told how to provide them."""
    searchers: list[Searcher] = [
        ours(),
        Accelsearch(16, presto, whiten=whiten),
        Accelsearch(32, presto, whiten=whiten),
        riptide(interpreter(env)),
    ]
    searchers = [searcher for searcher in searchers if any(word in searcher.name for word in only.split(","))]
    with ExitStack() as stack:
        there = []
        for searcher in searchers:
            if missing := searcher.missing():
                print(f"{searcher.name}: {missing}", file=sys.stderr)
            else:
                there.append(searcher)
                stack.callback(searcher.close)
        yield there


def record(searched: Searched, truth: Truth | None, tobs: float) -> dict[str, Any]:
    """What is kept of a search: costs, the strongest line, and the strongest that is the pulsar's.

    Parameters
    ----------
    searched : Searched
    truth : Truth or None
        None: no pulsar. Of a series of noise, it is one that is not there: what is its is so by chance.
    tobs : float
        Length of the series [s].
    """
    kept = {**asdict(searched), "lines": len(searched.lines)}
    kept["best"], *single = searched.lines[0][1:] if searched.lines else [None]
    # Ours say how significant it is if nothing else was tried.
    kept["single"] = single[0] if single else None
    if truth is None:
        return kept
    kept["snr"], kept["millisecond"] = truth.snr, truth.millisecond
    at = strongest([f for f, *_ in searched.lines], [s for _, s, *_ in searched.lines], truth, tobs)
    kept["own"] = None
    if at is not None:
        freq, value, *_ = searched.lines[at]
        m, d = found(freq, truth, tobs) or (1, 1)
        kept["own"], kept["ratio"] = value, [m, d]
        # Of the spin frequency, in bins.
        kept["error"] = (freq * d / m - truth.freq) * tobs
    return kept


def run_series(
    store: Store, searchers: Sequence[Searcher], case: Case, counts: tuple[int, int], fewer: dict[str, tuple[int, int]]
) -> None:
    """Search series of noise and with pulsars, those that were not yet.

    Parameters
    ----------
    store : Store
    searchers : sequence
    case : Case
    counts : (int, int)
        Series of noise, and with a pulsar.
    fewer : dict
        The same for those that get another number of them, by a part of their name.
    """
    tobs = case.nsamps * case.tsamp
    with tempfile.TemporaryDirectory(prefix="pulsar-versus-") as folder:
        path = Path(folder) / "series.dat"
        for index in range(max(counts)):
            truth = case.pulsars[index] if index < len(case.pulsars) else None
            for which, kind in enumerate(("noise", "pulsars")):
                left = []
                for searcher in searchers:
                    own = next((c for part, c in fewer.items() if part in searcher.name), counts)
                    done = store.entries(case.part, case.name, searcher.name, kind)
                    if index < min(own[which], counts[which]) and str(index) not in done:
                        left.append(searcher)
                if not left:
                    continue
                data = case.series(index, with_pulsar=bool(which))
                write_dat(path, data, case.tsamp)
                ideal = {}
                if truth is not None and which:
                    ideal["matched"] = matched(data, truth, case.tsamp, case.knees[index])
                for searcher in left:
                    kept = {**record(searcher.search(path, case.tsamp), truth, tobs), **ideal}
                    store.put(kept, case.part, case.name, searcher.name, kind, str(index))
            print(f"{case.part} {case.name}: {index + 1} of {max(counts)}", file=sys.stderr, flush=True)


@contextmanager
def measuring(file: Path | None, into: Path | None, *, short: bool = False, write: bool = True) -> Iterator[Store]:
    """What was measured, open to more of it; then its tables are printed, or put into a page."""
    store = Store(None)
    try:
        store = Store(file, write=write)
        yield store
    except (PulsarError, PeerError) as error:
        raise SystemExit(str(error)) from None
    finally:
        store.close()
    texts = tables(store.content, short=short)
    put(texts, into)


@app.command()
def series(
    log2n: Annotated[int, typer.Option(help="2^N samples of 60 us")] = 22,
    noise: Annotated[int, typer.Option(help="series of noise")] = 100,
    pulsars: Annotated[int, typer.Option(help="series with a pulsar")] = 100,
    riptides: Annotated[int, typer.Option("--riptide", help="of each kind for riptide, which takes long")] = 40,
    presto: Presto = None,
    env: Env = None,
    only: Only = "",
    file: Json = None,
    into: Into = None,
) -> None:
    """Dedispersed series with one pulsar each, and as many of noise alone."""
    with measuring(file, into) as store, programs(only, presto, env) as searchers:
        case = white_noise(SEED, log2n, TSAMP, noise, pulsars)
        run_series(store, searchers, case, (noise, pulsars), {"riptide": (riptides, riptides)})


@app.command()
def red(
    log2n: Annotated[int, typer.Option(help="2^N samples of 128 us")] = 20,
    count: Annotated[int, typer.Option(help="series of noise, and with a pulsar, of each range of knees")] = 200,
    presto: Presto = None,
    env: Env = None,
    only: Only = "ours,numharm 16",
    file: Json = None,
    into: Into = None,
) -> None:
    """Series in red noise, of knees from 0.1 to 50 Hz: one pulsar each, and as many of noise alone."""
    with measuring(file, into) as store, programs(only, presto, env, whiten=True) as searchers:
        for case in red_noise(SEED, log2n, RED_TSAMP, count):
            run_series(store, searchers, case, (count, count), {})


@app.command()
def population(
    envs: Annotated[str, typer.Option(help="environments, comma separated")] = "clean,red,impulses",
    first: First = 0,
    files: Annotated[int, typer.Option(help="files of each environment")] = 1,
    presto: Presto = None,
    file: Json = None,
    into: Into = None,
) -> None:
    """Random skies of population.py, from the raw file to the list."""
    with measuring(file, into) as store:
        accelsearch = Accelsearch(16, presto)
        if missing := accelsearch.missing():
            print(f"PRESTO: {missing}", file=sys.stderr)
        run_population(store, envs.split(","), range(first, first + files), None if missing else accelsearch.folder)


@app.command()
def real(
    folder: Annotated[Path, typer.Argument(help="where the real files are")],
    presto: Presto = None,
    env: Env = None,
    only: Only = "",
    file: Json = None,
    into: Into = None,
) -> None:
    """Real series with known answers: where the pulsar stands in each list."""
    with measuring(file, into) as store, programs(only, presto, env, whiten=True) as searchers:
        run_real(store, searchers, folder)


@app.command()
def table(
    file: Json = None,
    into: Into = None,
    short: Annotated[bool, typer.Option(help="a short one, with a column for each package")] = False,
) -> None:
    """Tables of what was measured."""
    with measuring(file, into, short=short, write=False):
        pass


if __name__ == "__main__":
    app()
