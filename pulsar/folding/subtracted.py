"""Cleaned samples without a known pulsar: its template is measured in them and taken out as they are read.

A template is ``profile[phase] * gain[time, band] * factor[channel]``. How finely phase, time and band are divided is
what Mallows' C_p has least: the squares of what the template leaves in the cells, in units of noise, and twice the
number of parameters (Mallows 1973, Technometrics 15, 661). This estimates the squares of what will be left of the
pulsar plus what of the noise is taken with it, so that neither a weak pulsar nor noise pays for freedom that is not
needed. Where it is less with a number for each turn, as pulses vary so much, each turn has a brightness of its own.
What the parameters scatter by noise alone is taken back: each is drawn towards the mean of all by the part of its
square that the scatter does not tell from noise (DerSimonian & Laird 1986, Control. Clin. Trials 7, 177).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np

from pulsar.cleaning.source import HeldSource, MaskedSource, live_parts
from pulsar.config.model import SubtractConfig
from pulsar.constants import KDM
from pulsar.data.fold import FoldParams
from pulsar.data.series import Lines
from pulsar.data.source import SIGMA_LEVELS, Relay, Rows, SampleSource
from pulsar.folding.profile import best_box, drawn, ratio_of
from pulsar.folding.whiten import on_lines
from pulsar_kernels.arrays import Array, Bools, Floats, Int8s, Ints
from pulsar_kernels.subtract import Grid, fold_cells, subtract_cells
from pulsar_kernels.synth import stream_keys

#: Copies of all sums and counts while a template is fitted.
COPIES: Final = 6
#: Bytes of samples that are held at once, at most, and samples.
GULP_BYTES: Final = 64 << 20
GULP_SAMPLES: Final = 1 << 16
#: Of the random numbers.
_SEED, _STREAM = 0, 6100


#: Phase bins at least.
LEAST_BINS: Final = 4
#: Most variance of the brightness of turns, that of their mean being 1, that is reckoned with: a pulsar that is off for
#: a part f of its turns has f / (1 - f), 4 where that is four fifths. Where it would be less than the noise of a turn,
#: turns are not looked at one by one.
_MOST_VARIANCE: Final = 4.0
#: Part of its amplitude that a harmonic may lose where another one is taken out: templates lack as much.
_COMMON: Final = 0.1
_ARRAYS: Final = ("shapes", "shape_of", "gains", "factors", "turns")


@dataclass(frozen=True, eq=False)
class Template:
    """The contribution of a pulsar to the cleaned samples."""

    #: shape (nshape_times * nshape_bands, nbins): Profiles without their mean, in units of the noise of a sample.
    shapes: Floats
    shape_of: Ints  # shape (nsubints, nbands): Which profile each of the finest cells has
    gains: Floats  # shape (nsubints, nbands): By which it is multiplied there
    factors: Floats  # shape (nchans,): By which it is multiplied in each channel
    #: Sub-integrations and bands that have a gain, and those that have a profile, of their own.
    grid: tuple[int, int, int, int]
    #: shape (nturns,): Brightness of each turn over that of its sub-integration; empty where they do not differ.
    turns: Floats = field(default_factory=lambda: np.zeros(0))
    #: Mean of a pulse over a turn, in units of the noise of a sample, by which brighter turns are higher.
    level: float = 0.0

    @property
    def nbins(self) -> int:
        """Phase bins."""
        return int(self.shapes.shape[1])

    @property
    def nparams(self) -> int:
        """Numbers that were measured: bins of profiles, gains, factors that differ."""
        nfactors = int(np.count_nonzero(self.factors != 1.0))
        return self.shapes.size + self.grid[0] * self.grid[1] + nfactors + self.turns.size


def _coarse(cells: Floats, nsubints: int, nbands: int) -> Floats:
    """Cells of the first two axes, neighbours added up until there are so many."""
    while cells.shape[0] > nsubints:
        cells = cells.reshape(cells.shape[0] // 2, 2, *cells.shape[1:]).sum(axis=1)
    while cells.shape[1] > nbands:
        cells = cells.reshape(cells.shape[0], cells.shape[1] // 2, 2, *cells.shape[2:]).sum(axis=2)
    return cells


def _fine(coarse: Floats, nsubints: int, nbands: int) -> Floats:
    """The opposite: every cell has what the one has of which it is a part."""
    return coarse.repeat(nsubints // coarse.shape[0], axis=0).repeat(nbands // coarse.shape[1], axis=1)


def choose_bins(sums: Floats, counts: Floats) -> int:
    """How many bins the profile of all channels and times is worth.

    Parameters
    ----------
    sums, counts : ndarray, shape (nbins,)
        Of samples of noise 1; a power of two of them.
    """
    best, chosen, nbins = np.inf, sums.size, sums.size
    while nbins >= LEAST_BINS:
        num, den = (x.reshape(nbins, -1).sum(axis=1) for x in (sums, counts))
        cost = 2.0 * nbins - float(np.sum(ratio_of(num**2, den)))
        if cost <= best:
            best, chosen = cost, nbins
        nbins //= 2
    return chosen


def _divided(num: Floats, den: Floats) -> tuple[Floats, Floats, tuple[int, int]]:
    """Cells added up over the first two axes to the grid on which Mallows' C_p is least, and that grid."""
    best: tuple[float, int] = (np.inf, 0)
    chosen = num, den
    across = num, den
    for nsubints in (num.shape[0] >> k for k in range(num.shape[0].bit_length())):
        across = _coarse(across[0], nsubints, num.shape[1]), _coarse(across[1], nsubints, num.shape[1])
        parts = across
        for nbands in (num.shape[1] >> k for k in range(num.shape[1].bit_length())):
            parts = _coarse(parts[0], nsubints, nbands), _coarse(parts[1], nsubints, nbands)
            cost = 2.0 * np.count_nonzero(parts[1] > 0) - float(np.sum(ratio_of(parts[0] ** 2, parts[1])))
            # Of equal ones that of fewest cells.
            if (cost, nsubints * nbands) < best:
                best, chosen = (cost, nsubints * nbands), parts
    return *chosen, chosen[0].shape[:2]


def _shapes(sums: Floats, counts: Floats, gains: Floats) -> tuple[Floats, tuple[int, int]]:
    """Profiles, shape (times, bands, nbins), and on which grid they differ."""
    num, den, grid = _divided(sums * gains[:, :, None], counts * (gains**2)[:, :, None])
    flat = drawn(num.reshape(-1, num.shape[2]), den.reshape(-1, num.shape[2]), axis=0)
    shapes = flat.reshape(num.shape)
    return shapes - shapes.mean(axis=2, keepdims=True), grid


def levelled(sums: Floats, counts: Floats) -> Floats:
    """Sums without the mean of each profile, which is the level of the samples there."""
    mean = ratio_of(sums.sum(axis=-1, keepdims=True), counts.sum(axis=-1, keepdims=True))
    return np.asarray(sums - mean * counts)


def fit_template(cells: Floats, rows: Floats, bands: Ints, *, rounds: int = 2) -> Template:
    """Fit a template to folded samples.

    Parameters
    ----------
    cells : ndarray, shape (nsubints, nbands, nbins, 2)
        Sums of samples in units of their noise, and how many went in; powers of two each.
    rows : ndarray, shape (nchans, nbins, 2)
        The same of each channel.
    bands : ndarray of int64, shape (nchans,)
        Band of each channel.
    rounds : int
        Times that gains, and profiles with these gains, are measured one after the other.
    """
    total = cells.sum(axis=(0, 1))
    nbins = choose_bins(levelled(total[:, 0], total[:, 1]), total[:, 1])
    cells = cells.reshape(*cells.shape[:2], nbins, -1, 2).sum(axis=3)
    rows = rows.reshape(len(rows), nbins, -1, 2).sum(axis=2)
    counts, sums = cells[..., 1], levelled(cells[..., 0], cells[..., 1])
    shape = counts.shape[:2]
    mean = ratio_of(sums.sum(axis=(0, 1)), counts.sum(axis=(0, 1)))
    profiles = np.broadcast_to(mean - mean.mean(), (1, 1, nbins))
    gains, grid, divided = np.ones(shape), (1, 1), (1, 1)
    for _ in range(rounds):
        wide = _fine(profiles, *shape)
        # Of all cells, from the grid on which they differ: sums of samples times the profile, and of its squares.
        num, den, grid = _divided((sums * wide).sum(axis=2), (counts * wide**2).sum(axis=2))
        gains = _fine(drawn(num, den), *shape)
        profiles, divided = _shapes(sums, counts, gains)
    wide = _fine(profiles, *shape)
    # Samples of a channel have the mean profile of its band.
    weight = counts.sum(axis=2)
    of_band = ratio_of((weight[:, :, None] * gains[:, :, None] * wide).sum(axis=0), weight.sum(axis=0)[:, None])
    factor = of_band[bands]
    num = (levelled(rows[..., 0], rows[..., 1]) * factor).sum(axis=1)
    den = (rows[..., 1] * factor**2).sum(axis=1)
    # Less what the bands have of it: factors are about 1 in every band.
    mean_of = ratio_of(*(np.bincount(bands, x, shape[1]).astype(np.float64) for x in (num, den)))
    factors = drawn(num - mean_of[bands] * den, den)
    factors = np.ones_like(factors) if np.ptp(factors) == 0.0 else 1.0 + factors
    numbers = np.arange(divided[0] * divided[1], dtype=np.float64).reshape(divided)
    return Template(
        shapes=np.ascontiguousarray(profiles.reshape(-1, nbins)),
        shape_of=_fine(numbers, *shape).astype(np.int64),
        gains=gains,
        factors=factors,
        grid=(*grid, *divided),
    )


def _power(number: float) -> int:
    """The largest power of two that is not above a number, at least 1."""
    return 1 << max(int(number), 1).bit_length() - 1


def grid_shape(source: MaskedSource, params: FoldParams, config: SubtractConfig, memory: int) -> tuple[int, int, int]:
    """Sub-integrations, bands and bins that are measured: as many as the settings, the turns and the memory allow.

    Parameters
    ----------
    params : FoldParams
        Topocentric, at mid-observation.
    memory : int
        Bytes that all cells may take.
    """
    turn = 1.0 / (params.freq * source.tsamp)
    nchans = len(source.freqs)
    # 16 turns: of the scatter of single pulses no more than this part is taken with a sub-integration and band.
    nsubints = _power(min(config.nsubints, source.nsamps / turn / 16))
    nbands = _power(min(config.nbands, nchans))
    # Bins that a sample of a turn gets at most. A sample is the mean of a pulse that may be far narrower: its profile
    # has edges as sharp as that, and what bins do not resolve of them is left at images beyond the Nyquist frequency.
    nbins = max(_power(min(config.nbins, 16 * turn)), LEAST_BINS)
    # Fewer of what there is most of.
    while COPIES * 16 * (nsubints * nbands + nchans) * nbins > memory and nsubints * nbins > LEAST_BINS:
        nsubints, nbins = (nsubints // 2, nbins) if nsubints > LEAST_BINS else (nsubints, nbins // 2)
    return nsubints, nbands, max(nbins, LEAST_BINS)


def make_grid(source: MaskedSource, params: FoldParams, shape: tuple[int, int, int], boundary: float = 0.0) -> "Grid":
    """Where the samples of an observation go when they are folded, as the kernels take it.

    Parameters
    ----------
    params : FoldParams
        Topocentric, at mid-observation.
    shape : tuple of int
        Sub-integrations, of whole turns, the last ones of which may be empty; bands; phase bins.
    boundary : float
        Phase at which sub-integrations begin [turns].
    """
    nchans, (nsubints, nbands, _) = len(source.freqs), shape
    live = live_parts(source)
    delays = KDM * params.dm * (source.freqs**-2.0 - source.fref**-2.0)
    first, last = _turns_seen(source, params, delays)
    begin = np.floor(first - boundary) + boundary
    return Grid(
        source.tsamp,
        np.array([params.freq, params.fdot, params.fddot, 0.5 * source.nsamps * source.tsamp]),
        delays,
        live.edges,
        live.blocks,
        live.bad,
        np.array([begin, max(np.ceil((last - begin) / nsubints), 1.0)]),
        np.arange(nchans, dtype=np.int64) * nbands // nchans,
    )


def _turns_seen(source: MaskedSource, params: FoldParams, delays: Floats) -> tuple[float, float]:
    """Turns from mid-observation with which the samples begin, in the channel that is last, and end, in the first."""
    half = 0.5 * source.nsamps * source.tsamp
    t = np.array([-half - delays.max(), half - delays.min()])
    first, last = t * (params.freq + t * (params.fdot / 2.0 + t * params.fddot / 6.0))
    return float(first), float(last)


def fold_grid(
    source: MaskedSource,
    grid: "Grid",
    shape: tuple[int, int, int],
    *,
    threads: int = 1,
    memory: int = 4 * GULP_BYTES,
    progress: Callable[[int], None] | None = None,
) -> tuple[Floats, Floats]:
    """Fold all samples, each channel in its own time, in one streamed pass.

    Parameters
    ----------
    shape : tuple of int
        Sub-integrations, bands, phase bins.
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
    nchans, (nsubints, nbands, nbins) = len(source.freqs), shape
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

            def read(i: int, start: int = start, slices: Ints = slices) -> None:
                if slices[i] < slices[i + 1]:
                    source.read_into(start + int(slices[i]), buffer[:, slices[i] : slices[i + 1]])

            def fold(chans: slice, start: int = start, size: int = size) -> None:
                bad = np.ascontiguousarray(grid.bad[:, chans])
                place = grid._replace(delays=grid.delays[chans], bad=bad, bands=grid.bands[chans])
                fold_cells(buffer[chans, :size], start, place, cells, rows[chans])

            list(pool.map(read, range(max(threads, 1))))
            list(pool.map(fold, ranges))
            if progress is not None:
                progress(size)
    # Sums in levels become sums in units of the noise; counts stay.
    unit = np.array([SIGMA_LEVELS, 1.0])
    return cells / unit, rows / unit


@dataclass(frozen=True, eq=False)
class Subtraction:
    """A pulsar's template, and where it is in the samples of an observation."""

    params: FoldParams
    template: Template
    grid: "Grid"
    shape: tuple[int, int, int]  # Sub-integrations, bands, phase bins of the cells in which it was measured
    single: "Grid | None" = None  # The same with every turn for itself, where they differ

    def cells(self) -> tuple["Grid", Ints, Floats, Floats]:
        """Cells in which the template is taken out: their grid, and profile, gain and level [levels] of each."""
        shape_of, gains, turns = self.template.shape_of, self.template.gains, self.template.turns[:, None]
        if self.single is None:
            return self.grid, shape_of, gains, np.zeros(gains.shape)
        of_turn = _subints_of(self.single, len(turns), self.grid, len(gains))
        gains = gains[of_turn]
        single = self.single._replace(bands=self.grid.bands)
        return single, shape_of[of_turn], gains * turns, self.template.level * SIGMA_LEVELS * gains * (turns - 1.0)


@dataclass(frozen=True, eq=False)
class TemplateFold:
    """A pulsar folded in the cells of its template."""

    cells: Floats  # shape (nsubints, nbands, 2): Sums of the samples times the template, and of its squares
    snr: float  # Boxcar S/N of the profile of all cells
    #: Of the template in the samples, with its error; rms of that of single cells without that of noise, and how large
    #: it would come out in noise. In units of the template.
    amplitude: tuple[float, float, float, float]


def _folded(cells: Floats, template: Template) -> TemplateFold:
    """A template's part in cells."""
    nbins, shape = template.nbins, cells.shape[:2]
    cells = cells.reshape(*shape, nbins, -1, 2).sum(axis=3)
    counts = cells[..., 1]
    sums = levelled(cells[..., 0], counts)
    model = template.shapes[template.shape_of] * template.gains[:, :, None]
    sums_of_cells = np.stack([(sums * model).sum(axis=2), (counts * model**2).sum(axis=2)], axis=2)
    num, den = sums_of_cells[..., 0], sums_of_cells[..., 1]
    power = float(den.sum())
    mean, total = (float(num.sum()) / power, power) if power > 0 else (0.0, 1.0)
    n = np.count_nonzero(den > 0)
    squares = float(np.sum(np.divide(num**2, den, out=np.zeros_like(num), where=den > 0)))
    scatter = np.sqrt(max(squares - n, 0.0) / total), (2.0 * n) ** 0.25 / np.sqrt(total)
    profile, variance = sums.sum(axis=(0, 1)), counts.sum(axis=(0, 1))
    snr = float(best_box(profile[None, :], variance)[0][0])
    return TemplateFold(sums_of_cells, snr, (mean, float(total**-0.5), float(scatter[0]), float(scatter[1])))


def harmonics_on_lines(cells: Floats, grid: "Grid", lines: Lines, lowest: int = 1) -> Bools:
    """Harmonics of folded samples that lines of interference fall on, from 0 on, without images of other harmonics.

    Parameters
    ----------
    cells : ndarray, shape (nsubints, nbands, nbins, 2)
        As :func:`fold_grid` returns them.
    lines : sequence of (float, float)
        Frequencies and full widths [Hz].
    lowest : int
        Harmonic that may be left out, and those above it.
    """
    nbands, nbins = cells.shape[1:3]
    delays = np.array([grid.delays[grid.bands == band].mean() for band in range(nbands)])
    # Interference is not dispersed: its lines add up over the bands at DM 0.
    turns = grid.spin[0] * delays[:, None] * np.arange(nbins // 2 + 1)
    parts = np.einsum("sbk,bk->sk", np.fft.rfft(cells[..., 0], axis=2), np.exp(-2j * np.pi * turns))
    tobs = float(grid.edges[-1] - grid.edges[0]) * grid.tsamp
    weight = cells[..., 1].sum(axis=(1, 2))
    hit = on_lines(parts, weight, float(grid.spin[0]), tobs, grid.tsamp, lines, lowest=lowest)
    return hit & ~_images(cells[..., 1], hit)


def _images(counts: Floats, hit: Bools) -> Bools:
    """Those harmonics of a set that show a lower one, which is not of the set, as samples are in few of the bins."""
    nbins, out = counts.shape[-1], np.zeros_like(hit)
    # Two waves have so much in common where samples are, by the difference of their numbers, and by their sum.
    number = max(float(counts.sum(axis=-1).mean()), 1.0)
    # Less what samples at random have of it.
    power = np.mean(np.abs(np.fft.rfft(counts)) ** 2, axis=(0, 1)) - number
    alike = np.sqrt(np.maximum(power, 0.0)) / number
    for k in np.flatnonzero(hit):
        below = np.flatnonzero(~hit[:k])
        sums = np.minimum(k + below, nbins - k - below)
        out[k] = bool(np.any(np.maximum(alike[k - below], alike[sums]) > _COMMON))
    return out


def without_harmonics(cells: Floats, hit: Bools) -> Floats:
    """Sums and counts of samples along the last two axes, without some harmonics; bins may hold few samples or none.

    One after the other, as one is seen at others, too, where samples are in few of the bins.
    """
    counts, nbins = cells[..., 1], cells.shape[-2]
    sums, phase = levelled(cells[..., 0], counts), 2.0 * np.pi * np.arange(nbins) / nbins
    for k in np.flatnonzero(hit):
        wave = np.stack([np.cos(k * phase), np.sin(k * phase)])
        share = 1.0 if 2 * k == nbins else 0.5
        sums -= counts * (ratio_of(sums @ wave.T, share * counts.sum(axis=-1, keepdims=True)) @ wave)
    return np.stack([sums, counts], axis=-1)


def profile_beside_lines(cells: Floats, gains: Floats, grid: "Grid", hit: Bools) -> Floats:
    """Some harmonics of a pulsar that stand on lines of interference.

    The pulsar has them in step in all bands, as its brightness goes; a line is in step at DM 0, as bright as it likes
    in every sub-integration. Both are fitted together by least squares. A harmonic that is not worth its two numbers
    (Mallows' C_p) is 0: noise, or a line that the DM does not tell from the pulsar.

    Parameters
    ----------
    cells : ndarray, shape (nsubints, nbands, nbins, 2)
        As :func:`fold_grid` returns them.
    gains : ndarray, shape (nsubints, nbands)
    hit : ndarray of bool, shape (nbins // 2 + 1,)
        Which harmonics.

    Returns
    -------
    ndarray, shape (nbins,)
        The profile of these harmonics alone.
    """
    nbands, nbins = cells.shape[1:3]
    number = np.flatnonzero(hit)
    spectra = np.fft.rfft(levelled(cells[..., 0], cells[..., 1]), axis=2)[..., number]
    waves = np.exp(2j * np.pi * grid.spin[0] * grid.delays[:, None] * number)
    # What the channels of a band leave of a line.
    line = np.array([waves[grid.bands == band].mean(axis=0) for band in range(nbands)])
    counts = cells[..., 1].mean(axis=2)
    line_power = counts @ np.abs(line) ** 2
    along = np.einsum("sb,bk->sk", counts * gains, line)
    share = np.divide(along, line_power, out=np.zeros_like(along), where=line_power > 0)
    on_line = np.einsum("sbk,bk->sk", spectra, line.conj())
    num = np.einsum("sb,sbk->k", gains, spectra) - np.sum(share * on_line, axis=0)
    den = np.sum(counts * gains**2) - np.sum(np.abs(along) ** 2 / np.maximum(line_power, 1e-300), axis=0)
    whole = np.zeros(hit.size, dtype=np.complex128)
    # Where the DM does not tell it from the line nothing is left to divide by but roundings.
    measured = den > 1e-6 * float(np.sum(counts * gains**2))
    worth = measured & (np.abs(num) ** 2 > 2.0 * nbins * den)
    whole[number[worth]] = num[worth] / den[worth]
    return np.fft.irfft(whole, nbins)


def measure_template(
    source: MaskedSource,
    params: FoldParams,
    config: SubtractConfig,
    *,
    threads: int,
    memory: int,
    lines: Lines = (),
    progress: Callable[[int], None] | None = None,
) -> tuple[Subtraction, TemplateFold]:
    """Measure the template of a pulsar in cleaned samples, in one pass over them; and what of it is there.

    Parameters
    ----------
    source, params, config
        As of :func:`grid_shape`.
    memory : int
        Bytes that may be taken.
    lines : sequence of (float, float), optional
        Frequencies and full widths [Hz] of periodic interference: what they leave in the fold is no part of the pulsar.
    """
    shape = grid_shape(source, params, config, memory // 2)
    grid = make_grid(source, params, shape)
    cells, rows = fold_grid(source, grid, shape, threads=threads, memory=memory, progress=progress)
    # Of a wide pulse little is left without its fundamental: then it tells the brightness, line or not.
    for lowest in (1, 2):
        hit = harmonics_on_lines(cells, grid, lines, lowest)
        free, free_rows = (without_harmonics(x, hit) if hit.any() else x for x in (cells, rows))
        template = fit_template(free, free_rows, grid.bands)
        there = _folded(free, template)
        if there.snr >= config.min_snr or not hit[1]:
            break
    subtraction = Subtraction(params, template, grid, shape)
    if config.nsubints > 1:
        subtraction = _turn_by_turn(source, subtraction, there.snr, hit, threads, memory)
    if hit.any():
        profile = profile_beside_lines(cells, template.gains, grid, hit)
        shapes = template.shapes + profile.reshape(template.nbins, -1).mean(axis=1)
        subtraction = replace(subtraction, template=replace(subtraction.template, shapes=shapes))
    return subtraction, there


def _subints_of(single: "Grid", nturns: int, grid: "Grid", nsubints: int) -> Ints:
    """Sub-integration of a grid in which the middle of each turn of another is."""
    middles = single.subints[0] + np.arange(nturns) + 0.5
    number = np.floor((middles - grid.subints[0]) / grid.subints[1]).astype(np.int64)
    return np.asarray(np.clip(number, 0, nsubints - 1))


def _turn_by_turn(
    source: MaskedSource, subtraction: Subtraction, snr: float, hit: Bools, threads: int, memory: int
) -> Subtraction:
    """A template with the brightness of every turn, if that leaves less (Mallows' C_p); one more pass over the samples.

    Of N turns whose brightness has the variance V, that of S/N 1 for the mean of all, it leaves less where V S^2 > N.
    """
    template, grid = subtraction.template, subtraction.grid
    nbands, nbins = template.gains.shape[1], template.nbins
    share = np.bincount(grid.bands, minlength=nbands) / grid.bands.size
    models = np.einsum("b,sb,sbk->sk", share, template.gains, template.shapes[template.shape_of])
    # Turns begin half of one from the pulse.
    _, width, start = best_box(models.mean(axis=0)[None, :], np.ones(nbins))
    centre = float(start[0] + 0.5 * width[0]) / nbins
    first, last = _turns_seen(source, subtraction.params, grid.delays)
    nturns = int(np.ceil(last - first)) + 1
    if _MOST_VARIANCE * snr**2 < nturns or nturns * (2 * COPIES * 16 * nbins + 32 * nbands) > memory:
        return subtraction
    single = make_grid(source, subtraction.params, (nturns, 1, nbins), centre + 0.5)
    # Each thread has cells of its own, of whole numbers, as far as there is room for them.
    parts = max(min(threads, len(source.freqs), memory // (2 * 16 * nturns * nbins) - 1), 1)
    apart = single._replace(bands=np.arange(len(source.freqs)) * parts // len(source.freqs))
    cells = fold_grid(source, apart, (nturns, parts, nbins), threads=threads, memory=memory)[0].sum(axis=1)
    kept = hit[: nbins // 2 + 1]
    cells = without_harmonics(cells, kept) if kept.any() else cells
    of_turn = _subints_of(single, nturns, grid, len(models))
    models = models[of_turn]
    num, den = _matched(cells, models)
    each = 2.0 * np.count_nonzero(den > 0) - float(np.sum(ratio_of(num**2, den)))
    if each >= 2.0 - float(num.sum() ** 2 / max(den.sum(), 1e-300)):
        return subtraction
    turns, seen = drawn(num, den), den > 0
    gains = np.einsum("b,sb->s", share, template.gains)[of_turn]
    levels = ratio_of(cells[..., 0].sum(axis=1), cells[..., 1].sum(axis=1))[seen]
    beside = -_lowest(models.mean(axis=0)) / max(float(gains.mean()), 1e-300)
    level = _level((gains * (turns - 1.0))[seen], levels, beside)
    return replace(subtraction, template=replace(template, turns=turns, level=level), single=single)


def _matched(cells: Floats, models: Floats) -> tuple[Floats, Floats]:
    """Sums of samples times a profile in each turn, and of its squares, in units of the noise that there is.

    That is told by how the same sums differ from turn to turn at other phases, of which most have no pulse.
    """
    nbins = models.shape[1]
    spectra = np.fft.rfft(levelled(cells[..., 0], cells[..., 1])) * np.fft.rfft(models).conj()
    sums, den = np.fft.irfft(spectra, nbins), (cells[..., 1] * models**2).sum(axis=1)
    seen = den > 0
    beside = sums[seen, nbins // 8 : nbins - nbins // 8]
    differ = np.mean((beside - beside.mean(axis=0)) ** 2 / den[seen, None], axis=0)
    noise = max(float(np.median(differ)) if differ.size else 1.0, 1.0)
    return sums[:, 0] / noise, den / noise


def _lowest(profile: Floats) -> float:
    """Level beside a pulse: the lowest mean of a quarter of the turn."""
    width = max(profile.size // 4, 1)
    sums = np.cumsum(np.concatenate([[0.0], profile, profile[:width]]))
    return float(np.min(sums[width:] - sums[:-width])) / width


def _level(brightness: Floats, levels: Floats, beside: float) -> float:
    """By how much brighter turns are higher: profiles have no mean, pulses have one.

    It is what the profile lacks beside the pulse, less what the level of the samples has followed: as the levels of the
    turns tell, in the noise that they have. Before that it is what the profile lacks, give or take as much.
    """
    away = brightness - brightness.mean()
    power = max(float(away @ away), 1e-300)
    fitted = float(away @ levels) / power
    noise, prior = max(float(np.var(levels - fitted * away)) / power, 1e-300), beside**2
    return max((fitted * prior + beside * noise) / (prior + noise), 0.0)


def measure_rest(
    source: MaskedSource,
    subtraction: Subtraction,
    *,
    threads: int,
    memory: int = 4 * GULP_BYTES,
    progress: Callable[[int], None] | None = None,
) -> TemplateFold:
    """A template's part that is left in samples, in one pass over them.

    Parameters
    ----------
    source : MaskedSource
        Without it.
    threads, memory : int
        As :func:`fold_grid` takes them.
    """
    cells, _ = fold_grid(source, subtraction.grid, subtraction.shape, threads=threads, memory=memory, progress=progress)
    return _folded(cells, subtraction.template)


class SubtractedSource(Relay):
    """Cleaned samples less the templates of pulsars; what is masked, clipped or missing stays as it is.

    Parameters
    ----------
    templates : sequence of Subtraction
        In the order in which they were measured.
    first : int
        How many were taken out before: each has random numbers of its own.
    """

    def __init__(self, source: MaskedSource, templates: Sequence[Subtraction], first: int = 0) -> None:
        super().__init__(source)
        self.obs = source.obs
        self.mask = source.mask
        self.nchans = source.nchans
        self.taken = tuple(templates)
        chans = np.arange(self.nchans, dtype=np.int64)
        self._keys = [
            (stream_keys(_SEED, _STREAM + first + number, chans) >> np.uint64(32)).astype(np.int64)
            for number in range(len(self.taken))
        ]
        self._cells = [pulsar.cells() for pulsar in self.taken]
        # Levels, of which noise has SIGMA_LEVELS.
        self._shapes = [pulsar.template.shapes * SIGMA_LEVELS for pulsar in self.taken]

    def _meet(self, start: int, data: Int8s) -> None:
        for pulsar, cells, shapes, keys in zip(self.taken, self._cells, self._shapes, self._keys, strict=True):
            grid, shape_of, gains, levels = cells
            subtract_cells(data, start, grid, shapes, shape_of, gains, levels, pulsar.template.factors, keys)


def measure_templates(
    source: MaskedSource,
    params: Sequence[FoldParams],
    config: SubtractConfig,
    *,
    threads: int,
    memory: int,
    lines: Lines = (),
    progress: Callable[[int], None] | None = None,
) -> list[tuple[Subtraction, TemplateFold]]:
    """Measure the templates of several pulsars, each in the samples without the others.

    A brightness that is free to vary follows what others leave beside a harmonic, and carries it to all harmonics. So
    first the profiles of all are taken out as they are in the mean, then each is measured anew in what that leaves.

    Parameters
    ----------
    params : sequence of FoldParams
        Topocentric, at mid-observation; the brightest first.
    config, threads, memory, lines, progress
        As :func:`measure_template` takes them; one pass over the samples for one pulsar, two for each of several.
    """
    how: dict[str, Any] = {"threads": threads, "lines": lines, "progress": progress}
    held = 2 * source.nchans * source.nsamps
    # The cells are those that all of the memory has room for.
    cells = [[grid_shape(source, p, config, room // 2) for p in params] for room in (memory, memory - held)]
    if len(params) > 1 and held <= memory // 2 and cells[0] == cells[1]:
        return _in_memory(source, params, config, memory=memory - held, **how)
    how["memory"] = memory
    templates: list[Subtraction] = []
    if len(params) > 1:
        for pulsar in params:
            templates.append(measure_template(without(source, templates), pulsar, _mean(config), **how)[0])
    measured = []
    for i, pulsar in enumerate(params):
        measured.append(measure_template(without(source, templates[:i] + templates[i + 1 :]), pulsar, config, **how))
        templates[i : i + 1] = [measured[-1][0]]
    return measured


def _mean(config: SubtractConfig) -> SubtractConfig:
    """Settings by which a template is that of the mean pulse."""
    return config.model_copy(update={"nsubints": 1})


def _in_memory(
    source: MaskedSource, params: Sequence[FoldParams], config: SubtractConfig, *, threads: int, **how: Any
) -> list[tuple[Subtraction, TemplateFold]]:
    """What :func:`measure_templates` does, of samples in memory: each template is taken out of them once, or twice."""
    how["threads"] = threads
    left = np.empty((source.nchans, source.nsamps), dtype=np.int8)
    _read_all(source, left, threads)
    rest = left.copy()
    before, beside = HeldSource(source, Rows(left, 0)), HeldSource(source, Rows(rest, 0))
    templates: list[Subtraction] = []
    for i, pulsar in enumerate(params):
        templates.append(measure_template(beside, pulsar, _mean(config), **how)[0])
        _read_all(SubtractedSource(beside, templates[i:], i), rest, threads)
    measured = []
    for i, pulsar in enumerate(params):
        _read_all(without(before, templates[i + 1 :], i), rest, threads)
        measured.append(measure_template(beside, pulsar, config, **how))
        _read_all(SubtractedSource(before, [measured[-1][0]], i), left, threads)
    return measured


def _read_all(source: SampleSource, out: Int8s, threads: int) -> None:
    """Read all samples into memory, which may be where the source has them from."""
    gulp = max(min(GULP_BYTES // out.shape[0], -(-out.shape[1] // max(threads, 1))), 1)

    def read(start: int) -> None:
        source.read_into(start, out[:, start : start + gulp])

    with ThreadPoolExecutor(max(threads, 1), thread_name_prefix="template") as pool:
        list(pool.map(read, range(0, out.shape[1], gulp)))


def without(source: MaskedSource, templates: Sequence[Subtraction], first: int = 0) -> MaskedSource:
    """Samples less the templates of pulsars, if any; `first`: the number of the first."""
    return SubtractedSource(source, templates, first) if templates else source


def packed(templates: Sequence[Subtraction]) -> dict[str, Array]:
    """Templates as arrays, for who keeps them; :func:`unpacked` makes them anew."""
    arrays: dict[str, Array] = {"count": np.array(len(templates))}
    for i, pulsar in enumerate(templates):
        params, template = pulsar.params, pulsar.template
        arrays[f"params{i}"] = np.array([params.freq, params.fdot, params.dm, params.fddot])
        arrays[f"shape{i}"] = np.array(pulsar.shape)
        arrays[f"grid{i}"] = np.array(template.grid)
        for name in _ARRAYS:
            arrays[f"{name}{i}"] = getattr(template, name)
        arrays[f"level{i}"] = np.array(template.level)
        arrays[f"boundary{i}"] = np.array(np.nan if pulsar.single is None else pulsar.single.subints[0] % 1.0)
    return arrays


def unpacked(arrays: dict[str, Array], source: MaskedSource) -> list[Subtraction]:
    """The templates that :func:`packed` has made arrays of, for the same samples."""
    pulsars = []
    for i in range(int(arrays["count"])):
        params = FoldParams(*(float(x) for x in arrays[f"params{i}"]))
        nsubints, nbands, nbins = (int(x) for x in arrays[f"shape{i}"])
        shape = nsubints, nbands, nbins
        a, b, c, d = (int(x) for x in arrays[f"grid{i}"])
        level = float(arrays[f"level{i}"])
        template = Template(grid=(a, b, c, d), level=level, **{name: arrays[f"{name}{i}"] for name in _ARRAYS})
        boundary, single = float(arrays[f"boundary{i}"]), None
        if template.turns.size:
            single = make_grid(source, params, (template.turns.size, 1, template.nbins), boundary)
        pulsars.append(Subtraction(params, template, make_grid(source, params, shape), shape, single))
    return pulsars
