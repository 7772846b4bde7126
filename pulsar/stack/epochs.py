"""An observation becomes an epoch of a stack: cleaned, dedispersed, at the barycentre, its powers kept in bytes."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
from scipy import fft as scipy_fft

from pulsar.config.load import to_toml
from pulsar.config.model import Config
from pulsar.constants import DAY
from pulsar.data.observation import Observation, called
from pulsar.data.series import Lines
from pulsar.data.unfinished import output_lock
from pulsar.dedisp.plan import make_plan
from pulsar.errors import ConfigError
from pulsar.io.product.provenance import Provenance
from pulsar.pipeline.cleaning import SAME_DM, cleaned, dms_of_series, lines_of, trial_series
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import Means, stage_memory
from pulsar.pipeline.start import opened
from pulsar.searches.amplitudes import PAD
from pulsar.searches.fft import FFTSearch
from pulsar.sky.barycentre import barycentric, barycentric_samples
from pulsar.sky.catalogue import separation
from pulsar.stack.files import (
    POINTS,
    EpochInfo,
    EpochPiece,
    EpochWriter,
    StackGrid,
    Store,
    data_key,
    encode,
    has_epochs,
    is_store,
)
from pulsar_kernels.arrays import Array, Complex64s, Float32s, Ints

#: Powers beyond which also a level from many others matters: 1 % of them at n = 4000 and P = 9.
_RARE: Final = np.float32(9.0)


def add_epoch(
    paths: Sequence[Path | str],
    folder: Path,
    config: Config = Config(),
    *,
    factor: float = 1.0,
    argv: Sequence[str] = (),
    progress: Progress | None = None,
) -> Path:
    """Add one observation to a stack, whole or not at all; the first one makes the stack.

    Parameters
    ----------
    paths : sequence of paths
        Files of one observation, or its series at several DMs.
    folder : Path
        The store; made where it is missing.
    config : Config, optional
        Its sections `input`, `rfi`, `run` are used, of the first epoch `dedisp` and `stack`, too.
    factor : float
        By which it counts more than its length and band say.
    argv : sequence of str
        Command line, for the provenance.

    Returns
    -------
    Path
        Its epoch in the store, which may have been there already.

    Raises
    ------
    ConfigError
        The observation does not fit the stack, cannot be barycentred, or another process adds to it.
    DataError
        The files, or the store, cannot be read.
    """
    progress = Progress("quiet") if progress is None else progress
    if not (np.isfinite(factor) and factor > 0):
        raise ConfigError(f"--weight {factor:g}: expected a number above 0")
    _check_folder(folder)
    with opened(paths, config, progress) as obs, output_lock(folder, "pulsar stack"):
        store = Store(folder) if has_epochs(folder) else None
        grid = first_grid(obs, config) if store is None else store.grid
        _check_asked(grid, config, folder)
        downsample = _fitting(obs, grid)
        info, chosen = _placed(obs, grid, downsample, factor)
        there = None if store is None else store.holds(info)
        if there is not None:
            progress.message(f"{obs.files[0].path}: is in the stack already, as {there.name}")
            return there
        progress.message(
            f"{len(info.pieces)} x {info.pieces[0].tobs:.6g} s at {grid.dms.size} DMs: "
            f"{len(info.pieces) * grid.nbytes / 2**20:.4g} MiB"
        )
        means = _means(obs, grid, config, folder, progress)
        provenance = Provenance(argv, [file.path for file in info.files], to_toml(config), means.threads)
        maker = GridPowers(round(info.pieces[0].tobs / grid.tsamp), grid, means.threads)
        clean = cleaned(obs, config, means)
        info = replace(info, freqs=clean.freqs, bandwidth=clean.bandwidth)
        title = "powers" if clean.source is None else "dedispersion and powers"
        with progress.stage(title, grid.dms.size, "DMs") as tick:
            series = trial_series(
                obs, clean, grid.dms, means, downsample=downsample, method=config.dedisp.method, tick=tick
            )
            with closing(series):
                # Data that cannot be dedispersed are refused before there is a folder.
                first = next(series)
                folder.mkdir(exist_ok=True)
                # What an addition has left that was the first and was interrupted has decided nothing.
                store = Store.begin(folder, grid) if store is None else store
                with EpochWriter(store, info) as writer:
                    lines, beyond = [], 0
                    for dm_index, row in chain([first], series):
                        if dm_index == 0:
                            lines = lines_of(obs, clean, row, config, info.voverc)
                        beyond += _write_powers(writer, maker, dm_index, row if chosen is None else row[chosen], lines)
                    writer.finish(replace(info, beyond=beyond), provenance.record(progress.times))
        return store.folder / info.name


def first_grid(obs: Observation, config: Config) -> StackGrid:
    """The grid that the first epoch of a stack decides.

    Parameters
    ----------
    config : Config
        Its sections `dedisp` and `stack`.
    """
    header, settings = obs.header, config.stack
    if header.is_series and settings.downsample > 1:
        raise ConfigError("stack.downsample is for raw data: dedispersed series have the sampling that they have")
    tsamp = header.tsamp * settings.downsample
    tobs = header.tobs if settings.tobs is None else settings.tobs
    # The common transform is so much longer than the first epoch: others of the same length on the clock are up to 1e-4
    # longer at the barycentre.
    nfft = 2 * int(scipy_fft.next_fast_len(int(np.ceil(0.5 * 1.0005 * tobs / tsamp)), real=True))
    npoints = POINTS * nfft // 2
    if settings.f_max is not None:
        npoints = min(npoints, int(settings.f_max * POINTS * nfft * tsamp) + 1)
    dms = dms_of_series(obs) if header.is_series else make_plan(header, config.dedisp).dms
    where = (header.ra_deg, header.dec_deg) if settings.barycentre else (float("nan"), float("nan"))
    return StackGrid(tsamp, nfft, npoints, dms, *where, barycentric=settings.barycentre)


def _check_folder(folder: Path) -> None:
    """Refuse what is there and no store."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file: a stack is a folder, in which each epoch is a file")
    if folder.is_dir() and not is_store(folder) and any(not p.name.startswith(".") for p in folder.iterdir()):
        raise ConfigError(f"{folder}: holds other files and no stack: give the name of a new folder")
    if not folder.absolute().parent.is_dir():
        raise ConfigError(f"{folder}: the folder {folder.absolute().parent} does not exist: create it")


def _check_asked(grid: StackGrid, config: Config, folder: Path) -> None:
    """Refuse settings that a stack cannot follow: the first epoch has decided."""
    settings, keys = config.stack, config.stack.model_fields_set
    dedisp = config.dedisp.model_fields_set & {"dm_lo", "dm_hi"}
    low, high = float(grid.dms[0]), float(grid.dms[-1])
    # The last trial of a plan may lie a step beside the end of its range.
    near = 2.0 * float(np.diff(grid.dms).max(initial=0.0)) + SAME_DM
    wrong = {
        "stack.barycentre": "barycentre" in keys and settings.barycentre != grid.barycentric,
        "stack.tobs": settings.tobs is not None and not 0.9 < settings.tobs / grid.span < 1.1,
        "stack.f_max": settings.f_max is not None and settings.f_max < 0.9 * grid.npoints * grid.step,
        "--dm": bool(dedisp) and max(abs(config.dedisp.dm_lo - low), abs(config.dedisp.dm_hi - high)) > near,
    }
    for name, differs in wrong.items():
        if differs:
            raise ConfigError(
                f"{folder}: {name} is not that of this stack (DM {low:g} to {high:g}, {grid.span:g} s, up to "
                f"{grid.npoints * grid.step:g} Hz), as the first epoch has decided: leave it out, or begin another"
            )


def _fitting(obs: Observation, grid: StackGrid) -> int:
    """Samples in one of the grid's; refuses an observation that does not fit it."""
    header, name = obs.header, called(obs)
    ratio = grid.tsamp / header.tsamp
    downsample = max(round(ratio), 1)
    # Sampling times that agree so well shift no line by a tenth of a bin in 10^7 of them.
    if abs(ratio / downsample - 1.0) > 1e-8 or downsample & (downsample - 1):
        raise ConfigError(
            f"{name}: is sampled every {header.tsamp:g} s, this stack every {grid.tsamp:g} s: epochs of a stack have "
            "the same sampling time, or it divided by a power of two"
        )
    if header.is_series:
        dms = dms_of_series(obs)
        if downsample > 1:
            raise ConfigError(f"{name}: series of {header.tsamp:g} s for a stack of {grid.tsamp:g} s: downsample them")
        if dms.size != grid.dms.size or np.any(np.abs(dms - grid.dms) > SAME_DM):
            raise ConfigError(
                f"{name}: {dms.size} series from DM {dms[0]:g} to {dms[-1]:g}, this stack has {grid.dms.size} DMs from "
                f"{grid.dms[0]:g} to {grid.dms[-1]:g}: dedisperse all epochs to the same DMs"
            )
    if grid.barycentric and header.barycentric and not np.isfinite(grid.ra_deg):
        return downsample
    if grid.barycentric and np.isfinite(header.ra_deg) and np.isfinite(grid.ra_deg):
        apart = float(separation(header.ra_deg, header.dec_deg, grid.ra_deg, grid.dec_deg))
        # Positions further apart are not of one stack [deg].
        if apart > 1.0:
            raise ConfigError(
                f"{name}: points {apart:.2g} degrees beside the direction of this stack: make another stack"
            )
    return downsample


def _placed(obs: Observation, grid: StackGrid, downsample: int, factor: float) -> tuple[EpochInfo, Ints | None]:
    """When an observation was, in pieces of the common length; and which of its samples come at even times.

    The samples are those of the barycentre; None where they stay as they are.
    """
    header = obs.header
    nsamps, chosen = header.nsamps // downsample, None
    first, voverc = header.tstart, float("nan")
    if grid.barycentric and header.barycentric:
        voverc = 0.0
    elif grid.barycentric:
        there = header.with_(ra_deg=grid.ra_deg, dec_deg=grid.dec_deg)
        first, chosen = barycentric_samples(there, nsamps, grid.tsamp)
        voverc = barycentric(header.tmid, grid.ra_deg, grid.dec_deg, header.telescope).voverc
        nsamps = chosen.size
    count = -(-nsamps // grid.nfft)
    each = nsamps // count
    length = each * grid.tsamp
    pieces = tuple(EpochPiece(first + (i + 0.5) * length / DAY, length) for i in range(count))
    return EpochInfo(data_key(obs.files), header, obs.files, pieces, factor, voverc), chosen


def _means(obs: Observation, grid: StackGrid, config: Config, folder: Path, progress: Progress) -> Means:
    """Threads, and what the making of powers leaves of the memory."""
    # Bytes per sample of the common transform that making powers takes.
    fft_memory = 40 * grid.nfft
    left = stage_memory(config, obs) - fft_memory
    if left <= 0:
        raise ConfigError(
            f"powers of {grid.nfft} samples take {fft_memory / 2**20:.0f} MiB, more than run.memory leaves: give more "
            "--memory, or begin a stack of shorter pieces (stack.tobs) or fewer samples (stack.downsample)"
        )
    return replace(Means.of(config, obs, progress, folder), memory=left)


class GridPowers:
    """Powers of series of one length at the frequencies of a grid.

    The amplitudes are those of the periodicity search, white by its noise model and at its length. Their transform back
    is a white series, which is padded to the common length and transformed at quarter bins: Fourier interpolation
    without an end.

    Parameters
    ----------
    nsamps : int
        Samples of every series; their transform is no longer than that of the grid.

    Raises
    ------
    DataError
        There are too few samples.
    """

    def __init__(self, nsamps: int, grid: StackGrid, threads: int = 1) -> None:
        self.grid, self.nsamps, self._threads = grid, nsamps, threads
        self._search = FFTSearch(nsamps, grid.tsamp)
        self.nfft = self._search.nfft
        if self.nfft > grid.nfft:
            raise ValueError(f"a transform of {self.nfft} samples does not fit one of {grid.nfft}")
        noise, span = self._search.noise, self.nfft * grid.tsamp
        # Of which of the half bins, for which the noise model knows its error, each frequency is the nearest.
        known = int(min(noise.inverse.size / (2.0 * span) / grid.step, grid.npoints))
        half = (np.arange(known) * grid.step * 2.0 * span).astype(np.int64)
        self._inverse, self._own = noise.inverse[half], noise.own[half]
        self._turn = np.exp(-2j * np.pi / (POINTS * grid.nfft) * np.arange(self.nfft)).astype(np.complex64)

    def powers(self, series: Array, birdies: Lines = ()) -> Float32s:
        """Powers of one series, exponential with mean 1 in noise; all 0 where it is constant.

        Parameters
        ----------
        series : ndarray of int16 or float32, shape (nsamps,), C-contiguous
        birdies : iterable of (float, float)
            Frequencies and full widths [Hz] that are left out: 0.

        Returns
        -------
        ndarray of float32, shape (npoints,)
        """
        grid = self.grid
        out = np.zeros(grid.npoints, dtype=np.float32)
        white = self._white(series, birdies)
        if white is None:
            return out
        # Whole and half bins of the common transform, then quarters; those of bins r + 3/4 are the mirrored ones.
        even = scipy_fft.rfft(white, 2 * grid.nfft, workers=self._threads)
        count = -(-grid.npoints // 2)
        out[0::2] = _squared(even[:count])
        del even
        odd = scipy_fft.fft(white * self._turn, grid.nfft, overwrite_x=True, workers=self._threads)
        count = out[1::4].size
        out[1::4] = _squared(odd[:count])
        count = out[3::4].size
        out[3::4] = _squared(odd[grid.nfft - count :][::-1])
        self._honest(out)
        return out

    def _white(self, series: Array, birdies: Lines) -> Float32s | None:
        """The series with white noise, of such a size that powers have mean 1; None where it is constant."""
        amplitudes = self._search.filled(series, tuple(birdies))
        if amplitudes is None:
            return None
        nbins = self.nfft // 2
        white = np.empty(nbins + 1, dtype=np.complex64)
        white.real, white.imag = (part[PAD : PAD + nbins + 1] for part in amplitudes)
        white[nbins] = 0.0
        return np.asarray(scipy_fft.irfft(white, self.nfft, overwrite_x=True, workers=self._threads))

    def _honest(self, powers: Float32s) -> None:
        """Make powers over a level that is not known exactly exponential again (`pulsar_kernels.harmonics.honest`)."""
        known = self._inverse.size
        low = powers[:known]
        z = self._inverse * low * (1.0 + np.where(low > np.log(2.0), self._own, -self._own))
        low[:] = np.log1p(z) / self._inverse
        rest = self._search.noise.inverse_rest
        large = known + np.flatnonzero(powers[known:] > _RARE)
        powers[large] = np.log1p(rest * powers[large]) / rest


def _squared(amplitudes: Complex64s) -> Float32s:
    return np.asarray(amplitudes.real**2 + amplitudes.imag**2)


def _write_powers(writer: EpochWriter, maker: GridPowers, dm_index: int, series: Array, lines: Lines) -> int:
    """Store the powers of all pieces at one DM; how many are too large for a byte."""
    beyond = 0
    for i in range(len(writer.info.pieces)):
        # A copy: what makes powers keeps its last series, and a batch of them is not to be kept with it.
        piece = np.array(series[i * maker.nsamps : (i + 1) * maker.nsamps])
        code, more = encode(maker.powers(piece, lines))
        writer.row(i, dm_index, code)
        beyond += more
    return beyond
