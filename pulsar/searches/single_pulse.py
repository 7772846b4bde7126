"""Search for single pulses in one dedispersed series; what it does and how well is in docs/single-pulses.md."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np

from pulsar.config.model import SinglePulseConfig
from pulsar.data.candidate import EVENT_COLUMNS
from pulsar.data.series import Lines
from pulsar.searches.amplitudes import without_lines
from pulsar.searches.search import Band, Circumstances, Cost, Pairs, Search
from pulsar_kernels import baseline, cells, matched
from pulsar_kernels.arrays import Array, Float32s, Floats, Ints
from pulsar_kernels.cells import CELL, FINE_LEVELS
from pulsar_kernels.cells import work_size as cell_work
from pulsar_kernels.pulses import White, pick, work_size

#: A stretch of baseline holds this many of the widest pulses, and no fewer cells than this.
BASE_WIDTHS = 10.0
BASE_CELLS = 8
#: Share of its S/N that a pulse keeps in the worst place between the filters of the scan, and how far below the scan's
#: threshold lies, in units of the noise that this leaves open.
SCAN_KEEPS: dict[str, float] = {"boxcar": 0.88, "gaussian": 0.85}
SCAN_MARGIN = 1.5
#: On it pulses of so many times that width are found, too: between the widths of two baselines one of them must find
#: it, whatever noise does to the width, and on a coarse baseline the level may hide it. What is as wide (AT_LIMIT) as
#: is looked for may be a piece of something wider.
BEYOND = 4
AT_LIMIT = 0.9
#: A level wanders if the means of this part of the stretches are off by so many of their errors: 1e-4 of the stretches
#: of white noise are (bright pulses are clipped on either baseline, so that a finer one hardly costs them).
WANDERS = (0.02, 3.9)

#: Independent trials a sample, from benchmarks/noise.py trials pulses: widest pulse in samples, number at S/N 4.5,
#: and what is added for each unit of (S/N)^4. So grows the number of tops of boxes with two free edges, as long as the
#: edges are not as sharp as the samples.
TRIALS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "boxcar": (
        (1, 1.0, 0.0),
        (2, 1.82, 0.00025),
        (4, 2.99, 0.0008),
        (8, 4.26, 0.0023),
        (16, 5.33, 0.0041),
        (64, 6.70, 0.0073),
        (1024, 7.50, 0.0073),
    ),
    "gaussian": (
        (1, 2.67, 0.0006),
        (2, 3.36, 0.0015),
        (4, 3.89, 0.0026),
        (8, 4.15, 0.0035),
        (16, 4.30, 0.0042),
        (64, 4.52, 0.0050),
        (1024, 4.66, 0.0050),
    ),
}
_TRIALS_AT = 4.5


class SinglePulseSearch(Search["_Buffers"]):
    """Search for single pulses; see :class:`~pulsar.searches.search.Search`.

    Samples that are not finite, and stretches of one value, count as nothing; lines of interference are taken out where
    they are strong. One row for each pulse, with its best width.

    `config`: threshold, widest pulse, shape, most events.
    """

    name = "single_pulse"
    section = SinglePulseConfig
    title = "a search for pulses"
    counted = "times and widths of single pulses"
    kernels = "single pulse"
    columns = EVENT_COLUMNS
    periodic = False
    config: SinglePulseConfig

    def __init__(self, nsamps: int, tsamp: float, config: SinglePulseConfig | None = None, **run: Any) -> None:
        super().__init__(nsamps, tsamp, config, **run)
        config = self.config
        self.gaussian = config.shape == "gaussian"
        #: Widest pulse [samples].
        self.width_max = _width_max(config, nsamps, tsamp)
        self._ncells = -(-self.nsamps // CELL)
        cells = max(math.ceil(BASE_WIDTHS * self.width_max / CELL), BASE_CELLS)
        #: Widest pulse [samples] and cells of a stretch of baseline, from the coarsest on.
        self._baselines = [(self.width_max, cells)]
        while self._baselines[-1][1] > BASE_CELLS:
            # Where the level wanders, pulses narrower by this factor have a baseline of their own, of stretches shorter
            # by as much; and so on, down to BASE_CELLS.
            finer = max(self._baselines[-1][1] // 8, BASE_CELLS)
            self._baselines.append((int(finer * CELL / BASE_WIDTHS), finer))
        # Samples from which the noise of a stretch is known to half a per cent.
        self._nnoise = max(self._ncells // max(cells, 512), 1)
        # Level l of the scan has boxes of 5 to 8 times 2^l samples, level 0 of 1 to 8; Gaussians are wider.
        self._widest = _widest(config, self.width_max, nsamps)
        nlevels = 1
        while (4 << nlevels) < self._widest:
            nlevels += 1
        widths = (np.arange(1, 9)[None, :] << np.arange(nlevels)[:, None]).astype(np.float64)
        # One box beyond the widest: a pulse may lie between two.
        used = widths <= 1.25 * self._widest
        used[1:, :4] = False
        used[0, 0] = True
        self._widths = np.where(used, widths, np.inf)
        self._nexcess = max(nlevels + 3, FINE_LEVELS)
        keeps = SCAN_KEEPS[config.shape]
        # The scan's threshold, whatever the search's: sums must stay within 16 bit.
        self.scan_threshold = min(keeps * config.snr - SCAN_MARGIN * math.sqrt(1.0 - keeps**2), 25.0)
        #: Octaves of the widths, and thresholds in white noise.
        self._octaves = np.log2(np.where(used, widths, 1.0))
        self._thresholds = self.scan_threshold * np.sqrt(self._widths)

    @classmethod
    def _cost(cls, nsamps: int, tsamp: float, config: Any, _band: Band, _run: Circumstances, /) -> Cost:
        width = _width_max(config, nsamps, tsamp)
        ncells, cell_work, work = _sizes(nsamps, _widest(config, width, nsamps))
        nbytes = 24 * ncells + 4 * cell_work + 40 * _CAPACITY + 16 * work
        return Cost(_trials(config.snr, config.shape, width, nsamps), 1.5e-4 + 1.3e-9 * nsamps, nbytes)

    @property
    def ntrials(self) -> float:
        """Independent trials of one series: chance events expected are this times Q(snr)."""
        return self.trials(self.config.snr)

    def trials(self, snr: float) -> float:
        """The same at another S/N; the number grows slowly, because rarer maxima are narrower."""
        return _trials(snr, self.config.shape, self.width_max, self.nsamps)

    def _make_buffers(self) -> "_Buffers":
        return _Buffers(*_sizes(self.nsamps, self._widest))

    def _find(self, series: Array, b: "_Buffers", birdies: Pairs, _band: Band, /) -> Array:
        odd = cells.cell_moments(series, b.mean, b.var, b.count)
        runs = _NO_RUNS if odd == 0 else cells.constant_runs(series, b.mean, b.var, b.count, odd)
        if birdies:
            series, runs = self._without_lines(series, runs, birdies)
        parts: list[tuple[int, Floats]] = []
        means = _NO_FLOATS
        for widest, size in self._baselines:
            nbase = max(self._ncells // size, 1)
            if parts:
                means = means if means.size else self._fine_means()
                if not _wander(means, size // BASE_CELLS):
                    continue
                means = _NO_FLOATS
            if not baseline.baseline_and_noise(b.mean, b.var, b.count, nbase, self._nnoise, b.base, b.scale):
                break
            cells.cell_sums(b.mean, b.count, b.base, b.scale, b.cells)
            reach = min(BEYOND * widest, self.width_max) if parts else widest
            parts.append((reach, self._pulses(series, runs, reach)))
        pulses = _joined(parts)
        if len(pulses) > self.config.max_events:
            pulses = pulses[np.sort(np.argsort(-pulses[:, 0], kind="stable")[: self.config.max_events])]
        out = self._table(len(pulses))
        out["time"] = pulses[:, 1] * self.tsamp
        out["snr"] = pulses[:, 0]
        out["width"] = pulses[:, 2] * self.tsamp
        # A level that wanders may hide what is wider than its finest baseline finds.
        out["reach"] = self.tsamp * AT_LIMIT * parts[-1][0] if len(parts) > 1 else np.inf
        return out

    def _without_lines(self, series: Array, runs: Ints, lines: Lines) -> tuple[Array, Ints]:
        """The series less its lines, and what counts as nothing in it; moments are made again where there are any."""
        clean = series.astype(np.float32)
        for first, last in runs:
            clean[first:last] = np.nan
        if not without_lines(clean, self.tsamp, lines):
            return series, runs
        b = self._buffers()
        odd = cells.cell_moments(clean, b.mean, b.var, b.count)
        return clean, _NO_RUNS if odd == 0 else cells.constant_runs(clean, b.mean, b.var, b.count, odd)

    def _fine_means(self) -> Float32s:
        """Means of BASE_CELLS cells off the baseline, in units of their errors; 0 where nothing is."""
        b = self._buffers()
        n = self._ncells // BASE_CELLS
        ones = np.ones(BASE_CELLS, dtype=np.float32)
        sums, alive = (x[: n * BASE_CELLS].reshape(n, BASE_CELLS) @ ones for x in (b.cells, b.count))
        return np.asarray(sums / np.sqrt(np.maximum(alive, np.float32(1.0))), dtype=np.float32)

    def _pulses(self, series: Array, runs: Ints, widest: int) -> Floats:
        """S/N, centre, width, first sample and end of pulses up to a width, on the baseline of the buffers."""
        b = self._buffers()
        excess = np.ones(self._nexcess)
        cells.scatter_of_sums(series, b.count, b.base, b.scale, b.cells, b.work, excess)
        # Thresholds of the scan, shape (nlevels, 8), for sums of whitened samples.
        limits = self._thresholds * np.interp(self._octaves, np.arange(excess.shape[0]), excess)
        # One box beyond the widest.
        limits[(self._widths > 1.25 * max(widest, 1)) & (widest < self.width_max)] = np.inf
        while True:
            nboxes = matched.scan(series, b.base, b.scale, b.cells, runs, limits, b.integers, b.found)
            if nboxes <= b.found.shape[0]:
                break
            b.found = np.empty((int(1.2 * nboxes), 5))
        if nboxes == 0:
            return np.zeros((0, 5))
        ints, floats = (series, _NO_FLOATS) if series.dtype == np.int16 else (_NO_INTS, series)
        white = White(ints, floats, b.base, b.scale, b.cells, runs, excess, b.total, b.alive)
        pulses = np.empty((min(nboxes, _CAPACITY), 5))
        while True:
            number = pick(white, limits, widest, self.config.snr, self.gaussian, b.found[:nboxes], pulses)
            if number < pulses.shape[0] or number == nboxes:
                break
            pulses = np.empty((4 * pulses.shape[0], 5))
        return pulses[:number]


#: Boxes above the threshold for which there is room at first.
_CAPACITY = 4096
_NO_RUNS = np.zeros((0, 2), dtype=np.int64)
_NO_INTS = np.zeros(0, dtype=np.int16)
_NO_FLOATS = np.zeros(0, dtype=np.float32)


def _width_max(config: SinglePulseConfig, nsamps: int, tsamp: float) -> int:
    """Widest pulse [samples]."""
    # Widest pulse in units of the series.
    return max(1, min(int(config.width_max / tsamp + 1e-9), int(0.125 * nsamps)))


def _widest(config: SinglePulseConfig, width_max: int, nsamps: int) -> int:
    """Widest box [samples]."""
    return min(int(1.3 * width_max + 1) if config.shape == "gaussian" else width_max, nsamps // 4)


def _trials(snr: float, shape: str, width_max: int, nsamps: int) -> float:
    """Independent trials of one series at a S/N."""
    widths, number, slope = np.array(TRIALS[shape]).T
    at, known = np.log2(width_max), np.log2(widths)
    # No more are counted beyond this S/N: they no longer matter.
    each = np.interp(at, known, number) + np.interp(at, known, slope) * (min(snr, 12.0) ** 4 - _TRIALS_AT**4)
    return nsamps * float(each)


def _sizes(nsamps: int, widest: int) -> tuple[int, int, int]:
    """Cells, elements of their work space, and of that for pulses."""
    ncells = -(-nsamps // CELL)
    return ncells, cell_work(ncells), work_size(widest, nsamps)


def _wander(means: Float32s, number: int) -> bool:
    """True if the means of `number` stretches are off more often than noise is."""
    size = means.shape[0] // number
    sums = means[: size * number].reshape(size, number) @ np.full(number, number**-0.5, dtype=np.float32)
    share, errors = WANDERS
    return bool(np.count_nonzero(np.abs(sums) > np.float32(errors)) > share * size)


def _joined(parts: Sequence[tuple[int, Floats]]) -> Floats:
    """Pulses found on several baselines, in order of time: of those that overlap the strongest.

    `parts`: widest pulse that is looked for on each baseline, descending, and what was found. Pulses narrower than
    AT_LIMIT of what the next one is for are left to that, and those as wide as is looked for to the one before.
    """
    if not parts:
        return np.zeros((0, 5))
    if len(parts) == 1:
        return parts[0][1]
    high = [np.inf, *(AT_LIMIT * reach for reach, _ in parts[1:])]
    low = [*(AT_LIMIT * reach / BEYOND for reach, _ in parts[1:]), 0.0]
    ranges = zip(parts, high, low, strict=True)
    every = np.concatenate([p[(p[:, 2] <= hi) & (p[:, 2] > lo)] for (_, p), hi, lo in ranges])
    spans: list[tuple[float, float]] = []
    chosen = []
    for i in np.argsort(-every[:, 0], kind="stable"):
        first, last = every[i, 3], every[i, 4]
        at = bisect_left(spans, (first, last))
        if (at > 0 and spans[at - 1][1] > first) or (at < len(spans) and spans[at][0] < last):
            continue
        spans.insert(at, (first, last))
        chosen.append(i)
    out = every[chosen]
    return np.asarray(out[np.argsort(out[:, 1], kind="stable")])


class _Buffers:
    """Work space of one thread: about a byte a sample."""

    def __init__(self, ncells: int, cell_work: int, work: int) -> None:
        self.mean, self.var, self.count, self.base, self.scale = np.zeros((5, ncells), dtype=np.float32)
        self.cells = np.zeros(ncells + 64, dtype=np.float32)
        self.work = np.zeros(cell_work, dtype=np.float32)
        self.integers = self.work.view(np.int16)
        self.found = np.empty((_CAPACITY, 5))
        self.total, self.alive = np.zeros((2, work))
