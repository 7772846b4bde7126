"""The search of a stack: powers of all epochs summed with weights, searched, grouped, written as a product."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.config.load import to_toml
from pulsar.config.model import Config
from pulsar.config.resources import memory_budget
from pulsar.constants import DAY
from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of
from pulsar.data.files import check_output
from pulsar.data.header import Header
from pulsar.errors import ConfigError
from pulsar.io.product.provenance import Provenance
from pulsar.io.product.reader import Run, read
from pulsar.io.product.writer import ProductWriter, Target
from pulsar.pipeline.cleaning import independent_trials
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import BASE_MEMORY, thread_count
from pulsar.pipeline.write import candidate_table
from pulsar.searches import stats
from pulsar.searches.sift import Ratios, group
from pulsar.sources.candidate import Candidate
from pulsar.stack.files import Epoch, EpochPiece, Store, decoded
from pulsar.stack.search import BESIDE, StackSearch, sum_logp
from pulsar_kernels.arrays import Array, Bools, Float32s, Floats, Uint8s

#: Stacks of spectra: sums of up to 32 harmonics whose frequencies are those of peaks on one grid. The bins are those
#: within which the search itself gives what is there to a pulsar that it has found.
_RATIOS: Final = Ratios(16, BESIDE, 3.0)
#: An epoch contributes to a candidate from this significance on, in a single trial.
SEEN_SIGMA: Final = 2.0


@dataclass(frozen=True, eq=False)
class EpochPart:
    """A piece of an epoch, and its weight."""

    epoch: Epoch
    number: int  # Of the piece
    weight: float  # All weights together are 1

    @property
    def piece(self) -> EpochPiece:
        """When it was, and how long."""
        return self.epoch.info.pieces[self.number]


class Stack:
    """All epochs of a store, open; sums of their powers.

    Attributes
    ----------
    grid : StackGrid
    parts : tuple of EpochPart
    weights : ndarray
        Of the parts; their sum is 1.
    """

    def __init__(self, store: Store, epochs: Sequence[Epoch]) -> None:
        if not epochs:
            raise ConfigError(f"{store.folder}: the stack is empty: add observations by `pulsar stack add`")
        self.grid = store.grid
        known = all(np.isfinite(epoch.info.bandwidth) for epoch in epochs)
        pieces = [(epoch, i) for epoch in epochs for i in range(len(epoch.info.pieces))]
        # Expected power beyond noise: S/N^2, which grows with time and bandwidth.
        weights = np.array(
            [
                epoch.info.pieces[i].tobs * (epoch.info.bandwidth if known else 1.0) * epoch.info.factor
                for epoch, i in pieces
            ]
        )
        self.weights = weights / weights.sum()
        self.parts = tuple(EpochPart(epoch, i, float(w)) for (epoch, i), w in zip(pieces, self.weights, strict=True))
        #: Length of the parts [s].
        self.tobs = np.array([part.piece.tobs for part in self.parts])
        self._tables = [(part.weight * decoded()).astype(np.float32) for part in self.parts]
        self._lock = threading.Lock()

    def code(self, part: EpochPart, dm_index: int) -> Uint8s:
        """The bytes of one part at one DM; safe to call from several threads."""
        with self._lock:
            return part.epoch.row(part.number, dm_index)

    def summed(self, dm_index: int) -> Float32s:
        """The weighted sum at one DM, mean 1 in noise."""
        total = np.zeros(self.grid.npoints, dtype=np.float32)
        for part, table in zip(self.parts, self._tables, strict=True):
            total += table[self.code(part, dm_index)]
        return total

    def band(self) -> Floats:
        """Channels of the widest epoch [MHz]."""
        return max((part.epoch.info.freqs for part in self.parts), key=lambda freqs: float(np.ptp(freqs)))

    def independent_dms(self) -> float:
        """Independent ones among the trial DMs."""
        freqs, grid = self.band(), self.grid
        if freqs.size < 2:
            return float(grid.dms.size)
        width = float(np.abs(np.diff(freqs)).mean())
        header = self.parts[0].epoch.info.header.with_(
            nchans=freqs.size, fch1=float(freqs[0]), foff=-width, freq_table=None, tsamp=grid.tsamp, nsamps=grid.nfft
        )
        # Of sums of powers it is the same within 4 %: 229 of 301 narrow steps for one power, 242 for sums of 64.
        return independent_trials(header, grid.dms, 1, freqs)

    def header(self) -> Header:
        """All that was observed, as one observation at the barycentre, as long as an epoch."""
        first, grid = self.parts[0].epoch.info.header, self.grid
        middle = float(self.weights @ np.array([part.piece.mjd for part in self.parts]))
        where = {"ra_deg": grid.ra_deg, "dec_deg": grid.dec_deg} if grid.barycentric else {}
        return first.with_(
            tsamp=grid.tsamp,
            nsamps=grid.nfft,
            tstart=middle - 0.5 * grid.span / DAY,
            barycentric=grid.barycentric,
            beam=None,
            **where,
        )


@contextmanager
def opened(folder: Path) -> Iterator[Stack]:
    """A stack with all its epochs, open.

    Raises
    ------
    ConfigError
        It is empty.
    DataError
        A file of it cannot be read.
    """
    store = Store(folder)
    with ExitStack() as files:
        yield Stack(store, [files.enter_context(Epoch(path, store.grid)) for path in store.paths()])


def search_stack(folder: Path, target: Target, config: Config = Config(), progress: Progress | None = None) -> Run:
    """Search the summed powers of a stack, and write its candidates.

    Parameters
    ----------
    folder : Path
        The store.
    target : Target
        Product to write.
    config : Config, optional
        Its sections `fft` (harmonics, threshold, periods), `sift` and `run` are used.

    Returns
    -------
    Run
        The product.

    Raises
    ------
    ConfigError
        The output exists, the stack is empty, or the range of periods is.
    DataError
        A file of the stack cannot be read.
    """
    progress = Progress("quiet") if progress is None else progress
    check_output(target.path, overwrite=target.overwrite)
    with opened(folder) as stack:
        room = memory_budget(config.run.memory) - BASE_MEMORY
        # Bytes per sample of the common transform that a thread takes to sum and to search.
        threads = max(min(thread_count(config), room // (32 * stack.grid.nfft)), 1)
        provenance = Provenance(
            target.argv, [p.epoch.path for p in stack.parts if p.number == 0], to_toml(config), threads
        )
        independent = stack.independent_dms()
        search = StackSearch(stack.grid, stack.weights, stack.tobs, config.fft, ntrials_dm=independent)
        progress.message(
            f"{len(stack.parts)} epochs ({search.neff:.1f} of equal weight), {stack.grid.dms.size} DMs "
            f"({independent:.0f} independent)"
        )
        detections = _detected(stack, search, threads, progress)
        groups = group(
            detections, search.tobs, config.sift, freqs=stack.band(), dms=stack.grid.dms, name=str(stack.grid.ra_deg)
        )
        candidates = explained(
            # Nothing is folded: there is nothing to score.
            [Candidate(signal, found_by=signal.found_by, score=np.nan) for signal in groups],
            search.tobs,
            detections["dm_index"],
        )
        progress.message(f"{len(groups)} groups of {len(detections)} detections")
        _write(target, stack, search, candidates, detections, provenance.record(progress.times))
    return read(target.path)


def _write(
    target: Target,
    stack: Stack,
    search: StackSearch,
    candidates: Sequence[Candidate],
    detections: Array,
    record: Mapping[str, Any],
) -> None:
    """The product, with what each epoch shows of each candidate."""
    header = stack.header()
    shown = [_shown(stack, search, candidate) for candidate in candidates]
    candidates = [
        replace(candidate, reasons=(*candidate.reasons, words))
        for candidate, (words, _) in zip(candidates, shown, strict=True)
    ]
    table, _ = candidate_table(candidates, header)
    nights = [(str(row["id"]), *night) for row, (_, own) in zip(table, shown, strict=True) for night in own]
    for candidate in candidates:
        members = candidate.group.members
        for name in ("uid", "parent", "relation"):
            detections[name][members] = getattr(candidate, name)
    with ProductWriter(target.path, overwrite=target.overwrite) as writer:
        files = [file for part in stack.parts if part.number == 0 for file in part.epoch.info.files]
        writer.observation(header, files)
        table["obs"] = 0
        writer.table("candidates", table)
        writer.table("detections", detections)
        writer.table("stack/epochs", [_epoch_row(i, part) for i, part in enumerate(stack.parts)])
        writer.table("stack/nights", nights)
        writer.table("rfi/birdies", [])
        writer.provenance(record)


def _detected(stack: Stack, search: StackSearch, threads: int, progress: Progress) -> Array:
    """Detections at all DMs."""
    grid = stack.grid
    with progress.stage("search", grid.dms.size, "DMs") as tick:

        def searched(index: int) -> Array:
            detections = search.search(stack.summed(index), float(grid.dms[index]), index)
            tick(1)
            return detections

        with ThreadPoolExecutor(threads, thread_name_prefix="stack") as pool:
            parts = list(pool.map(searched, range(grid.dms.size)))
    return np.concatenate([np.empty(0, dtype=dtype_of(DETECTION_COLUMNS)), *parts])


def explained(candidates: Sequence[Candidate], tobs: float, dm_index: Array) -> list[Candidate]:
    """Tell of each candidate whether its frequency is that of a better one times a ratio of small numbers.

    Parameters
    ----------
    candidates : sequence of Candidate
        Best first.
    tobs : float
        Length of an epoch [s].
    dm_index : ndarray
        Of all detections, their row of the grid. Where both were detected at one DM, the weaker one has harmonics of
        its own there, and is no harmonic.

    Returns
    -------
    list of Candidate
        Those that stand for themselves first.
    """
    heads: list[Candidate] = []
    rest: list[Candidate] = []
    # Of the heads: frequency, its error, and the range of DMs; and the DMs at which they were detected.
    known = np.zeros((4, len(candidates)))
    rows: list[set[int]] = []
    for candidate in candidates:
        apart = np.array([int(candidate.best["dm_index"]) not in dm_rows for dm_rows in rows], dtype=np.bool_)
        match = _ratio(known[:, : len(heads)], apart, candidate, tobs)
        if match is None:
            group = candidate.group
            # Rows of the plan by which the DM ranges of harmonics may miss each other.
            step = 3 * (group.dm_hi - group.dm_lo) / max(group.ndetections, 1)
            known[:, len(heads)] = group.freq, group.freq_err, group.dm_lo - step, group.dm_hi + step
            heads.append(candidate)
            rows.append(set(dm_index[group.members].tolist()))
        else:
            rest.append(replace(candidate, parent=heads[match[0]].uid, relation=f"harmonic {match[1]}"))
    count = Counter(candidate.parent for candidate in rest)
    return [*(replace(head, nattached=count[head.uid]) for head in heads), *rest]


def _ratio(heads: Floats, apart: Bools, candidate: Candidate, tobs: float) -> tuple[int, Fraction] | None:
    """The best of the heads of whose frequency it is a ratio of small numbers, at the same DMs; and the ratio."""
    freq, error, dm_lo, dm_hi = heads
    below = np.arange(1, _RATIOS.most + 1)[:, None]
    above = np.rint(candidate.freq / freq * below)
    off = np.abs(candidate.freq - above / below * freq)
    fits = off <= _RATIOS.allowed(tobs, candidate.freq_err, above / below, error, below)
    fits &= (above >= 1) & (above <= _RATIOS.most)
    fits &= apart & (candidate.group.dm_hi >= dm_lo) & (candidate.group.dm_lo <= dm_hi)
    if not fits.any():
        return None
    head = int(np.argmax(fits.any(axis=0)))
    row = int(np.argmax(fits[:, head]))
    return head, Fraction(int(above[row, head]), int(below[row, 0]))


def _shown(stack: Stack, search: StackSearch, candidate: Candidate) -> tuple[str, list[tuple[Any, ...]]]:
    """A candidate in each epoch, in words and in numbers: epoch, power, significance, S/N."""
    dm_index, nharm = int(candidate.best["dm_index"]), candidate.group.nharm
    points = search.harmonic_points(candidate.freq / stack.grid.step, nharm)
    powers = np.array([decoded()[stack.code(part, dm_index)[points]].sum() for part in stack.parts])
    sigma = stats.sigma_from_logp(stats.power_logp(powers, points.size))
    snr = np.sqrt(2.0 * np.maximum(powers - points.size, 0.0))
    nights = [(i, float(p), float(s), float(n)) for i, (p, s, n) in enumerate(zip(powers, sigma, snr, strict=True))]
    seen = int(np.count_nonzero(sigma >= SEEN_SIGMA))
    words = f"{seen} of {len(stack.parts)} epochs show it above {SEEN_SIGMA:g} sigma"
    if len(stack.parts) > 1:
        gain = search.weights * (powers - points.size)
        best = int(np.argmax(gain))
        weaker = np.arange(len(stack.parts)) != best
        left = sum_logp(float(search.weights[weaker] @ powers[weaker]), points.size, search.weights[weaker])
        words += (
            f"; the best, MJD {stack.parts[best].piece.mjd:.4f}, {sigma[best]:.1f} sigma; without it "
            f"{float(stats.trial_sigma(left, search.ntrials(left))[0]):.1f} sigma, corrected for trials"
        )
    return words, nights


def _epoch_row(number: int, part: EpochPart) -> tuple[Any, ...]:
    info, header = part.epoch.info, part.epoch.info.header
    return (
        *(number, part.piece.mjd, part.piece.tobs, part.weight, info.bandwidth, info.voverc),
        *(header.source, header.telescope, -1 if header.beam is None else header.beam, info.beyond),
        str(part.epoch.path),
    )
