"""Cleaned samples without a known pulsar: its template is measured in them and taken out as they are read."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.live import MaskedSource, live_parts
from pulsar.config.model import SubtractConfig
from pulsar.constants import KDM
from pulsar.data.fold import FoldParams
from pulsar.data.source import SIGMA_LEVELS, Relay
from pulsar.folding.profile import best_box
from pulsar.folding.template import LEAST_BINS, Template, fit_template, levelled

#: Turns of a sub-integration at least: of the scatter of single pulses no more than this part is taken with it.
LEAST_TURNS: Final = 16
#: Bins that a sample of a turn gets at most. A sample is the mean of a pulse that may be far narrower: its profile has
#: edges as sharp as that, and what bins do not resolve of them is left at images beyond the Nyquist frequency.
OVERSAMPLE: Final = 16
#: Bytes of a sum and a count, and copies of all of them while a template is fitted.
_PAIR: Final = 16
COPIES: Final = 6
#: Bytes of samples that are held at once, at most, and samples.
GULP_BYTES: Final = 64 << 20
GULP_SAMPLES: Final = 1 << 16
#: Of the random numbers.
_SEED, _STREAM = 0, 6100


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the samples of an observation go when they are folded, as the kernels take it.

    Attributes
    ----------
    spin : ndarray, shape (4,)
        Frequency, two derivatives, mid-observation [s].
    delays : ndarray, shape (nchans,)
        [s]
    edges, blocks, subints : ndarray of int64
        Parts of the observation, rows of `bad`, sub-integrations.
    bad : ndarray of bool, shape (nblocks, nchans)
    bands : ndarray of int64, shape (nchans,)
    shape : tuple of int
        Sub-integrations, bands, phase bins.
    """

    spin: NDArray[np.float64]
    delays: NDArray[np.float64]
    edges: NDArray[np.int64]
    blocks: NDArray[np.int64]
    subints: NDArray[np.int64]
    bad: NDArray[np.bool_]
    bands: NDArray[np.int64]
    shape: tuple[int, int, int]

    def of_samples(self, tsamp: float) -> tuple[Any, ...]:
        """Arguments of both kernels after the first sample."""
        return tsamp, self.spin, self.delays, self.edges, self.blocks, self.bad, self.subints, self.bands


def _power(number: float) -> int:
    """The largest power of two that is not above a number, at least 1."""
    return 1 << max(int(number), 1).bit_length() - 1


def grid_shape(source: MaskedSource, params: FoldParams, config: SubtractConfig, memory: int) -> tuple[int, int, int]:
    """Sub-integrations, bands and bins that are measured: as many as the settings, the turns and the memory allow.

    Parameters
    ----------
    source : MaskedSource
    params : FoldParams
        Topocentric, at mid-observation.
    config : SubtractConfig
    memory : int
        Bytes that all cells may take.
    """
    turn = 1.0 / (params.freq * source.tsamp)
    nchans = len(source.freqs)
    nsubints = _power(min(config.nsubints, source.nsamps / turn / LEAST_TURNS))
    nbands = _power(min(config.nbands, nchans))
    nbins = max(_power(min(config.nbins, OVERSAMPLE * turn)), LEAST_BINS)
    # Fewer of what there is most of.
    while COPIES * _PAIR * (nsubints * nbands + nchans) * nbins > memory and nsubints * nbins > LEAST_BINS:
        nsubints, nbins = (nsubints // 2, nbins) if nsubints > LEAST_BINS else (nsubints, nbins // 2)
    return nsubints, nbands, max(nbins, LEAST_BINS)


def make_grid(source: MaskedSource, params: FoldParams, shape: tuple[int, int, int]) -> Grid:
    """Cells in which a pulsar is measured.

    Parameters
    ----------
    source : MaskedSource
    params : FoldParams
        Topocentric, at mid-observation.
    shape : tuple of int
        Sub-integrations, bands, phase bins.
    """
    nchans, (nsubints, nbands, _) = len(source.freqs), shape
    edges = np.round(np.linspace(0, source.nsamps, nsubints + 1)).astype(np.int64)
    live = live_parts(source).cut(edges)
    subints = np.searchsorted(edges, live.edges[:-1], side="right") - 1
    tmid = 0.5 * source.nsamps * source.tsamp
    return Grid(
        np.array([params.freq, params.fdot, params.fddot, tmid]),
        KDM * params.dm * (source.freqs**-2.0 - source.fref**-2.0),
        live.edges,
        live.blocks,
        np.clip(subints, 0, nsubints - 1).astype(np.int64),
        live.bad,
        np.arange(nchans, dtype=np.int64) * nbands // nchans,
        shape,
    )


def fold_grid(
    source: MaskedSource,
    grid: Grid,
    *,
    threads: int = 1,
    memory: int = 4 * GULP_BYTES,
    progress: Callable[[int], None] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fold all samples, each channel in its own time, in one streamed pass.

    Parameters
    ----------
    source : MaskedSource
    grid : Grid
    threads : int
        The result does not depend on their number.
    memory : int
        Bytes of which a quarter may be samples.
    progress : callable, optional
        Called with the number of samples done since the last call.

    Returns
    -------
    cells : ndarray, shape (nsubints, nbands, nbins, 2)
        Sums in units of the noise of a sample, and how many samples went in.
    rows : ndarray, shape (nchans, nbins, 2)
        The same of each channel.
    """
    from pulsar_kernels.subtract import Grid, fold_cells

    nchans, (nsubints, nbands, nbins) = len(source.freqs), grid.shape
    cells = np.zeros((nsubints, nbands, nbins, 2), dtype=np.int64)
    rows = np.zeros((nchans, nbins, 2), dtype=np.int64)
    gulp = max(min(min(GULP_BYTES, memory // 4) // nchans, GULP_SAMPLES, source.nsamps), 1)
    buffer = np.empty((nchans, gulp), dtype=np.int8)
    # A band is folded by one thread: its cells are added to by no other.
    cuts = np.searchsorted(grid.bands, np.linspace(0, nbands, max(min(threads, nbands), 1) + 1).astype(np.int64))
    ranges = [slice(int(a), int(b)) for a, b in pairwise(cuts)]
    with ThreadPoolExecutor(max(threads, 1), thread_name_prefix="template") as pool:
        for start in range(0, source.nsamps, gulp):
            size = min(gulp, source.nsamps - start)
            slices = np.linspace(0, size, max(threads, 1) + 1).astype(np.int64)

            def read(i: int, start: int = start, slices: NDArray[np.int64] = slices) -> None:
                if slices[i] < slices[i + 1]:
                    source.read_into(start + int(slices[i]), buffer[:, slices[i] : slices[i + 1]])

            def fold(own: slice, start: int = start, size: int = size) -> None:
                place = Grid(
                    source.tsamp,
                    grid.spin,
                    grid.delays[own],
                    grid.edges,
                    grid.blocks,
                    np.ascontiguousarray(grid.bad[:, own]),
                    grid.subints,
                    grid.bands[own],
                )
                fold_cells(buffer[own, :size], start, place, cells, rows[own])

            list(pool.map(read, range(max(threads, 1))))
            list(pool.map(fold, ranges))
            if progress is not None:
                progress(size)
    found = cells.astype(np.float64), rows.astype(np.float64)
    for one in found:
        one[..., 0] /= SIGMA_LEVELS
    return found


@dataclass(frozen=True, eq=False)
class Taken:
    """A pulsar's template, and where it is in the samples of an observation.

    Attributes
    ----------
    params : FoldParams
    template : Template
    grid : Grid
    """

    params: FoldParams
    template: Template
    grid: Grid


@dataclass(frozen=True, eq=False)
class Folded:
    """A pulsar folded in the cells of its template.

    Attributes
    ----------
    cells : ndarray, shape (nsubints, nbands, 2)
        Sums of the samples times the template, and of its squares.
    snr : float
        Boxcar S/N of the profile of all cells.
    amplitude : tuple of float
        Of the template in the samples, with its error; rms of that of single cells without that of noise, and how
        large it would come out in noise. In units of the template.
    """

    cells: NDArray[np.float64]
    snr: float
    amplitude: tuple[float, float, float, float]


def _folded(cells: NDArray[np.float64], template: Template) -> Folded:
    """What of a template is in cells."""
    nbins, shape = template.nbins, cells.shape[:2]
    cells = cells.reshape(*shape, nbins, -1, 2).sum(axis=3)
    counts = cells[..., 1]
    sums = levelled(cells[..., 0], counts)
    model = template.shapes[template.shape_of] * template.gains[:, :, None]
    own = np.stack([(sums * model).sum(axis=2), (counts * model**2).sum(axis=2)], axis=2)
    num, den = own[..., 0], own[..., 1]
    power = float(den.sum())
    mean, total = (float(num.sum()) / power, power) if power > 0 else (0.0, 1.0)
    n = np.count_nonzero(den > 0)
    squares = float(np.sum(np.divide(num**2, den, out=np.zeros_like(num), where=den > 0)))
    scatter = np.sqrt(max(squares - n, 0.0) / total), (2.0 * n) ** 0.25 / np.sqrt(total)
    profile, variance = sums.sum(axis=(0, 1)), counts.sum(axis=(0, 1))
    snr = float(best_box(profile[None, :], variance)[0][0])
    return Folded(own, snr, (mean, float(total**-0.5), float(scatter[0]), float(scatter[1])))


def measure_template(
    source: MaskedSource,
    params: FoldParams,
    config: SubtractConfig,
    *,
    threads: int,
    memory: int,
    progress: Callable[[int], None] | None = None,
) -> tuple[Taken, Folded]:
    """Measure the template of a pulsar in cleaned samples, in one pass over them; and what of it is there.

    Parameters
    ----------
    source, params, config
        As of :func:`grid_shape`.
    threads : int
    memory : int
        Bytes that may be taken.
    progress : callable, optional
    """
    grid = make_grid(source, params, grid_shape(source, params, config, memory // 2))
    cells, rows = fold_grid(source, grid, threads=threads, memory=memory, progress=progress)
    template = fit_template(cells, rows, grid.bands)
    return Taken(params, template, grid), _folded(cells, template)


def measure_rest(
    source: MaskedSource,
    taken: Taken,
    *,
    threads: int,
    memory: int = 4 * GULP_BYTES,
    progress: Callable[[int], None] | None = None,
) -> Folded:
    """What of a template is left in samples, in one pass over them.

    Parameters
    ----------
    source : MaskedSource
        Without it.
    taken : Taken
    threads, memory : int
        As :func:`fold_grid` takes them.
    progress : callable, optional
    """
    cells, _ = fold_grid(source, taken.grid, threads=threads, memory=memory, progress=progress)
    return _folded(cells, taken.template)


class SubtractedSource(Relay):
    """Cleaned samples less the templates of pulsars; what is masked, clipped or missing stays as it is.

    Parameters
    ----------
    source : MaskedSource
    taken : sequence of Taken
        In the order in which they were measured.
    """

    def __init__(self, source: MaskedSource, taken: Sequence[Taken]) -> None:
        from pulsar_kernels.synth import stream_keys

        super().__init__(source)
        self.obs = source.obs
        self.mask = source.mask
        self.nchans = source.nchans
        self.taken = tuple(taken)
        chans = np.arange(self.nchans, dtype=np.int64)
        self._keys = [
            (stream_keys(_SEED, _STREAM + number, chans) >> np.uint64(32)).astype(np.int64)
            for number in range(len(self.taken))
        ]
        # Levels, of which noise has SIGMA_LEVELS.
        self._shapes = [one.template.shapes * SIGMA_LEVELS for one in self.taken]

    def _meet(self, start: int, data: NDArray[np.int8]) -> None:
        from pulsar_kernels.subtract import Grid, subtract_cells

        for one, shapes, keys in zip(self.taken, self._shapes, self._keys, strict=True):
            template = one.template
            place = Grid(*one.grid.of_samples(self.tsamp))
            subtract_cells(data, start, place, shapes, template.shape_of, template.gains, template.factors, keys)


def measure_templates(
    source: MaskedSource,
    params: Sequence[FoldParams],
    config: SubtractConfig,
    *,
    threads: int,
    memory: int,
    progress: Callable[[int], None] | None = None,
) -> list[tuple[Taken, Folded]]:
    """Measure the templates of several pulsars, each in the samples without the others.

    A brightness that is free to vary follows what others leave beside a harmonic, and carries it to all harmonics. So
    first the profiles of all are taken out as they are in the mean, then each is measured anew in what that leaves.

    Parameters
    ----------
    source : MaskedSource
    params : sequence of FoldParams
        Topocentric, at mid-observation; the brightest first.
    config, threads, memory, progress
        As :func:`measure_template` takes them; one pass over the samples for one pulsar, two for each of several.
    """
    how: dict[str, Any] = {"threads": threads, "memory": memory, "progress": progress}
    taken: list[Taken] = []
    if len(params) > 1:
        mean = config.model_copy(update={"nsubints": 1})
        for one in params:
            taken.append(measure_template(without(source, taken), one, mean, **how)[0])
    measured = []
    for i, one in enumerate(params):
        measured.append(measure_template(without(source, taken[:i] + taken[i + 1 :]), one, config, **how))
        taken[i : i + 1] = [measured[-1][0]]
    return measured


def without(source: MaskedSource, taken: Sequence[Taken]) -> MaskedSource:
    """Samples less the templates of pulsars, if any."""
    return SubtractedSource(source, taken) if taken else source


def packed(taken: Sequence[Taken]) -> dict[str, NDArray[Any]]:
    """Templates as arrays, for who keeps them; :func:`unpacked` makes them anew."""
    arrays: dict[str, NDArray[Any]] = {"count": np.array(len(taken))}
    for i, one in enumerate(taken):
        params, template = one.params, one.template
        arrays[f"params{i}"] = np.array([params.freq, params.fdot, params.dm, params.fddot])
        arrays[f"shape{i}"] = np.array(one.grid.shape)
        arrays[f"grid{i}"] = np.array(template.grid)
        for name in ("shapes", "shape_of", "gains", "factors"):
            arrays[f"{name}{i}"] = getattr(template, name)
    return arrays


def unpacked(arrays: dict[str, NDArray[Any]], source: MaskedSource) -> list[Taken]:
    """The templates that :func:`packed` has made arrays of, for the same samples."""
    found = []
    for i in range(int(arrays["count"])):
        freq, fdot, dm, fddot = (float(x) for x in arrays[f"params{i}"])
        params = FoldParams(freq, fdot, dm, fddot)
        nsubints, nbands, nbins = (int(x) for x in arrays[f"shape{i}"])
        grid = make_grid(source, params, (nsubints, nbands, nbins))
        a, b, c, d = (int(x) for x in arrays[f"grid{i}"])
        shapes, shape_of, gains, factors = (arrays[f"{x}{i}"] for x in ("shapes", "shape_of", "gains", "factors"))
        found.append(Taken(params, Template(shapes, shape_of, gains, factors, (a, b, c, d)), grid))
    return found
