"""Whole files through our program and others: random skies with several pulsars, and real data; for versus.py."""

import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from peer_programs import measured
from population import DM_HIGH, RATIOS, Fate, judge, judge_detections
from population_presto import Spent, presto_search
from population_sky import Sky, sky, write
from versus_programs import Accelsearch, Searcher

from pulsar.io.open import open_observation
from pulsar.io.product.reader import Run

#: What PRESTO's sifting leaves out: lower DMs, and what is seen at fewer of them.
SIFT_DM, SIFT_DMS = 2.0, 2
#: Lines of one source: this close [bins of 1/length].
ONE_SOURCE = 1.0
#: Where lists begin that are read: 6 sigma is the default of PRESTO's sifting, S/N 7 that of riptide's rseek.
SHOWN = {"PRESTO": 6.0, "riptide": 7.0}
#: A line is the pulsar's within this of its period, relatively: so well the answers are known.
PERIOD_ERROR = 1e-4


class Kept(Protocol):
    """What was measured."""

    def entries(self, *keys: str) -> dict[str, Any]: ...

    def put(self, value: Any, *keys: str) -> None: ...


@dataclass(frozen=True)
class Real:
    """A real file and its answer: the period [s], None where there is no pulsar; a highest DM for filterbank files."""

    path: str
    period: float | None
    dm_high: float | None = None


REAL = (
    Real("series/GBT_J1807-0847.dat", 0.1637113),
    Real("series/lovell_psr0.dat", 0.2265362),
    Real("series/lovell_psr2.dat", 0.476596),
    Real("series/lovell_psr4.dat", 0.299013),
    Real("series/lovell_psr5.dat", 0.714571),
    Real("series/Lband_DM62.00.dat", None),
    Real("bits/synthetic_2bit.fil", 0.24999, 100.0),
)


def our_search(path: Path, folder: Path, *options: str) -> tuple[Run, dict[str, Any]]:
    """``pulsar search`` on a file: the product, and what the process took from its start to its end.

    Parameters
    ----------
    path, folder : Path
        The product is written to the folder.
    options : str
        More of the command's options.

    Raises
    ------
    PeerError
        It ends with an error.
    """
    out = folder / f"{path.stem}.h5"
    command = [sys.executable, "-m", "pulsar", "search", str(path.absolute()), "--out", str(out), "--threads", "1"]
    command += ["--quiet", "--no-completeness", "--set", "output.detections=true", *options]
    timing, memory, _ = measured(command, folder)
    cost = {"cpu": timing.cpu, "wall": timing.wall, "memory": memory, "files": 1, "size": out.stat().st_size}
    return Run(out), cost


def strangers(lines: NDArray[Any], observed: Sky) -> NDArray[np.float64]:
    """Significances of what other programs list and is no pulsar's, whatever its DM: the strongest first.

    Lines at one frequency are one source; what their sifting would leave out is left out.

    Parameters
    ----------
    lines : structured ndarray
        With freq, dm and sigma.
    observed : Sky
    """
    lines = np.sort(lines[lines["dm"] >= SIFT_DM], order="freq")
    if not lines.size:
        return np.zeros(0)
    groups = np.split(lines, np.flatnonzero(np.diff(lines["freq"]) * observed.tobs > ONE_SOURCE) + 1)
    found = []
    for group in groups:
        best = group[np.argmax(group["sigma"])]
        away = [np.abs(best["freq"] - one.freq * RATIOS[:, 0] / RATIOS[:, 1]).min() for one in observed.pulsars]
        if len(np.unique(group["dm"])) >= SIFT_DMS and min(away, default=np.inf) * observed.tobs > 0.5:
            found.append(float(best["sigma"]))
    return np.sort(np.array(found))[::-1]


def examine_ours(path: Path, folder: Path, observed: Sky) -> dict[str, Any]:
    """What our list has of a sky, as numbers of its pulsars, and its cost."""
    run, cost = our_search(path, folder, "--dm", "0", str(DM_HIGH))
    fates, false, _ = judge(run.rows("candidates"), run.rows("detections"), observed)
    above = [n for n, fate in enumerate(fates) if fate.rows > 0 and fate.false_above == 0]
    listed = [n for n, fate in enumerate(fates) if fate.listed]
    return {"injected": len(fates), "above": above, "listed": listed, "false": len(false), **cost}


def examine_presto(path: Path, observed: Sky, binaries: Path) -> dict[str, Any]:
    """What accelsearch has of a sky, as numbers of its pulsars, and the cost of PRESTO's programs."""
    spent = Spent()
    lines = presto_search(binaries, observed, path, DM_HIGH, spent)
    others = strangers(lines, observed)
    fates = []
    for number, one in enumerate(observed.pulsars):
        fate = Fate(asdict(one))
        judge_detections(lines, number, observed, fate)
        fates.append(fate)
    level = float(others[0]) if others.size else 0.0
    return {
        "injected": len(fates),
        "above": [n for n, fate in enumerate(fates) if fate.detected > level],
        "listed": [n for n, fate in enumerate(fates) if fate.detected >= SHOWN["PRESTO"]],
        "false": int(np.sum(others >= SHOWN["PRESTO"])),
        **asdict(spent),
    }


def population(store: Kept, environments: Sequence[str], seeds: Iterable[int], presto: Path | None) -> None:
    """Random skies through both, those that were not yet.

    Parameters
    ----------
    store : Kept
    environments : sequence of str
    seeds : iterable of int
    presto : Path or None
        Folder of PRESTO's programs; None: ours alone.
    """
    for seed in seeds:
        for environment in environments:
            name = f"{environment}-{seed}"
            ours, theirs = "ours", "PRESTO"
            left = [p for p in (ours, theirs) if name not in store.entries("population", p)]
            if presto is None and theirs in left:
                left.remove(theirs)
            if not left:
                continue
            with tempfile.TemporaryDirectory(prefix="pulsar-versus-") as temporary:
                folder = Path(temporary)
                path = folder / f"{name}.fil"
                observed = write(sky(environment, seed), path)
                if ours in left:
                    store.put(examine_ours(path, folder, observed), "population", ours, name)
                if theirs in left and presto is not None:
                    store.put(examine_presto(path, observed, presto), "population", theirs, name)
            print(f"{name}: done", file=sys.stderr, flush=True)


def sources(lines: Sequence[tuple[float, float]], tobs: float) -> list[tuple[float, float]]:
    """Lines without those that are close to a stronger one: the strongest first.

    Parameters
    ----------
    lines : sequence of (float, float)
        Frequencies [Hz] and significances.
    tobs : float
        Length [s].
    """
    kept: list[tuple[float, float]] = []
    for freq, value in sorted(lines, key=lambda line: -line[1]):
        if all(abs(freq - other) * tobs > ONE_SOURCE for other, _ in kept):
            kept.append((freq, value))
    return kept


def place(freqs: Iterable[float], period: float | None, tobs: float) -> int:
    """Where in a list the pulsar stands as its period, from 1; 0 where it does not.

    Parameters
    ----------
    freqs : iterable of float
        [Hz]
    period : float or None
        [s]
    tobs : float
        Length [s].
    """
    if period is None:
        return 0
    allowed = max(PERIOD_ERROR / period, 0.3 / tobs)
    return next((n for n, freq in enumerate(freqs, 1) if abs(freq - 1.0 / period) <= allowed), 0)


def our_place(path: Path, one: Real, tobs: float) -> dict[str, Any]:
    """What our list has of a real file: rows without a flag that are attached to no other."""
    with tempfile.TemporaryDirectory(prefix="pulsar-versus-") as temporary:
        options = () if one.dm_high is None else ("--dm", "0", str(one.dm_high))
        run, cost = our_search(path, Path(temporary), *options)
        rows = np.sort(run.rows("candidates"), order="rank")
    rows = rows[(rows["harmonic_of"] == "") & (rows["rfi_flags"] == "")]
    return {"place": place(rows["freq"], one.period, tobs), "shown": len(rows), **cost}


def presto_place(path: Path, one: Real, binaries: Path) -> dict[str, Any]:
    """What accelsearch has of a real filterbank file, at the best of its DMs."""
    with open_observation(path) as obs:
        h = obs.header
    observed = Sky("clean", 0, h.nchans, h.fch1, h.foff, h.tsamp, h.nsamps, ())
    spent = Spent()
    lines = presto_search(binaries, observed, path, one.dm_high or 0.0, spent)
    lines = lines[lines["dm"] >= SIFT_DM]
    pairs = [(float(line["freq"]), float(line["sigma"])) for line in lines]
    listed = sources([pair for pair in pairs if pair[1] >= SHOWN["PRESTO"]], observed.tobs)
    return {"place": place((f for f, _ in listed), one.period, observed.tobs), "shown": len(listed), **asdict(spent)}


def real(store: Kept, searchers: Sequence[Searcher], folder: Path) -> None:
    """Real files through all programs, those that were not yet.

    Parameters
    ----------
    store : Kept
    searchers : sequence
        Of series; in place of ours, ``pulsar search`` runs.
    folder : Path
        Where the files are.
    """
    for one in REAL:
        path = folder / one.path
        with open_observation(path) as obs:
            tobs, tsamp = obs.header.tobs, obs.header.tsamp
        for searcher in searchers:
            if one.path in store.entries("real", searcher.name):
                continue
            if searcher.name.startswith("ours"):
                kept = our_place(path, one, tobs)
            elif one.dm_high is None:
                searched = searcher.search(path, tsamp)
                least = next(value for word, value in SHOWN.items() if word in searcher.name)
                listed = sources([line for line in searched.lines if line[1] >= least], tobs)
                kept = {**searched.document(), "shown": len(listed)}
                kept["place"] = place((f for f, _ in listed), one.period, tobs)
                kept.pop("lines")
            elif isinstance(searcher, Accelsearch) and searcher.folder is not None:
                kept = presto_place(path, one, searcher.folder)
            else:
                continue
            store.put({**kept, "period": one.period}, "real", searcher.name, one.path)
        print(f"{one.path}: done", file=sys.stderr, flush=True)
