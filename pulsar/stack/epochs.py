"""An observation becomes an epoch of a stack: cleaned, dedispersed, at the barycentre, its powers kept in bytes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.config.load import to_toml
from pulsar.config.model import Config
from pulsar.constants import DAY
from pulsar.data.observation import Observation, called, unchanged
from pulsar.errors import ConfigError
from pulsar.pipeline.progress import Progress
from pulsar.stack.files import EpochInfo, EpochWriter, Store, data_key, has_epochs, is_store
from pulsar.stack.grid import POINTS, Piece, StackGrid, encode

if TYPE_CHECKING:
    from pulsar.cleaning.birdies import Birdie

#: The common transform is so much longer than the first epoch: others of the same length on the clock are up to 1e-4
#: longer at the barycentre.
MARGIN: Final = 1.0005
#: Sampling times that agree so well shift no line by a tenth of a bin in 10^7 of them.
SAME_TSAMP: Final = 1e-8
#: Positions further apart are not of one stack [deg].
MOST_APART: Final = 1.0
#: DMs of series agree with those of the store [pc cm^-3].
SAME_DM: Final = 1e-4
#: Bytes per sample of the common transform that making powers takes.
POWER_BYTES: Final = 40


@dataclass(frozen=True)
class Added:
    """What became of an observation.

    Attributes
    ----------
    path : Path
        Its epoch in the store.
    new : bool
        False: it was there already.
    info : EpochInfo
    """

    path: Path
    new: bool
    info: EpochInfo


@dataclass(frozen=True, eq=False)
class _Task:
    """What is needed to make an epoch."""

    obs: Observation
    grid: StackGrid
    config: Config
    downsample: int
    threads: int
    folder: Path
    progress: Progress


def add_epoch(
    paths: Sequence[Path | str],
    folder: Path,
    config: Config | None = None,
    *,
    factor: float = 1.0,
    argv: Sequence[str] = (),
    progress: Progress | None = None,
) -> Added:
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
    progress : Progress, optional

    Returns
    -------
    Added

    Raises
    ------
    ConfigError
        The observation does not fit the stack, cannot be barycentred, or another process adds to it.
    DataError
        The files, or the store, cannot be read.
    """
    from pulsar.data.locks import output_lock
    from pulsar.io.open import open_observation
    from pulsar.pipeline.room import thread_count

    config = Config() if config is None else config
    progress = Progress("quiet") if progress is None else progress
    if not (np.isfinite(factor) and factor > 0):
        raise ConfigError(f"--weight {factor:g}: expected a number above 0")
    _check_folder(folder)
    with closing(open_observation(*paths, config=config.input)) as obs, output_lock(folder, "pulsar stack"):
        for problem in obs.problems:
            progress.warning(problem)
        known = Store(folder).grid if has_epochs(folder) else None
        grid = first_grid(obs, config) if known is None else known
        _check_asked(grid, config, folder)
        task = _Task(obs, grid, config, _fitting(obs, grid), thread_count(config), folder, progress)
        info, chosen = _placed(task, factor)
        there = None if known is None else Store(folder).holds(info)
        if there is not None:
            progress.message(f"{obs.files[0].path}: is in the stack already, as {there.name}")
            return Added(there, False, info)
        progress.message(
            f"{len(info.pieces)} x {info.pieces[0].tobs:.6g} s at {grid.dms.size} DMs: "
            f"{len(info.pieces) * grid.nbytes / 2**20:.4g} MiB"
        )
        return Added(*_written(task, info, chosen, argv))


def first_grid(obs: Observation, config: Config) -> StackGrid:
    """The grid that the first epoch of a stack decides.

    Parameters
    ----------
    obs : Observation
    config : Config
        Its sections `dedisp` and `stack`.
    """
    from scipy.fft import next_fast_len

    from pulsar.dedisp.plan import make_plan
    from pulsar.io.series import SeriesSet

    header, settings = obs.header, config.stack
    if header.is_series and settings.downsample > 1:
        raise ConfigError("stack.downsample is for raw data: dedispersed series have the sampling that they have")
    tsamp = header.tsamp * settings.downsample
    tobs = header.tobs if settings.tobs is None else settings.tobs
    nfft = 2 * int(next_fast_len(int(np.ceil(0.5 * MARGIN * tobs / tsamp)), real=True))
    npoints = POINTS * nfft // 2
    if settings.f_max is not None:
        npoints = min(npoints, int(settings.f_max * POINTS * nfft * tsamp) + 1)
    if isinstance(obs, SeriesSet):
        if len(obs.groups) > 1:
            raise ConfigError(f"{obs.files[0].path}: series of one sampling time make a stack: give those of one")
        dms = obs.dms
    elif header.is_series:
        dms = np.array([header.dm])
    else:
        dms = make_plan(header, config.dedisp).dms
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
    settings, asked = config.stack, config.stack.model_fields_set
    dedisp = config.dedisp.model_fields_set & {"dm_lo", "dm_hi"}
    low, high = float(grid.dms[0]), float(grid.dms[-1])
    # The last trial of a plan may lie a step beside the end of its range.
    near = 2.0 * float(np.diff(grid.dms).max(initial=0.0)) + SAME_DM
    wrong = {
        "stack.barycentre": "barycentre" in asked and settings.barycentre != grid.barycentric,
        "stack.tobs": settings.tobs is not None and not 0.9 < settings.tobs / grid.span < 1.1,
        "stack.f_max": settings.f_max is not None and settings.f_max < 0.9 * grid.npoints * grid.step,
        "--dm": bool(dedisp) and max(abs(config.dedisp.dm_lo - low), abs(config.dedisp.dm_hi - high)) > near,
    }
    for name, other in wrong.items():
        if other:
            raise ConfigError(
                f"{folder}: {name} is not that of this stack (DM {low:g} to {high:g}, {grid.span:g} s, up to "
                f"{grid.npoints * grid.step:g} Hz), as the first epoch has decided: leave it out, or begin another"
            )


def _fitting(obs: Observation, grid: StackGrid) -> int:
    """Samples in one of the grid's; refuses an observation that does not fit it."""
    from pulsar.io.series import SeriesSet
    from pulsar.sky.catalogue import separation

    header, name = obs.header, called(obs)
    ratio = grid.tsamp / header.tsamp
    downsample = max(round(ratio), 1)
    if abs(ratio / downsample - 1.0) > SAME_TSAMP or downsample & (downsample - 1):
        raise ConfigError(
            f"{name}: is sampled every {header.tsamp:g} s, this stack every {grid.tsamp:g} s: epochs of a stack have "
            "the same sampling time, or it divided by a power of two"
        )
    if header.is_series:
        dms = obs.dms if isinstance(obs, SeriesSet) else np.array([header.dm])
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
        if apart > MOST_APART:
            raise ConfigError(
                f"{name}: points {apart:.2g} degrees beside the direction of this stack: make another stack"
            )
    return downsample


def _placed(task: _Task, factor: float) -> tuple[EpochInfo, NDArray[np.int64] | None]:
    """When an observation was, in pieces of the common length; and which of its samples come at even times.

    The samples are those of the barycentre; None where they stay as they are.
    """
    from pulsar.sky.barycentre import barycentric, barycentric_samples

    grid, header = task.grid, task.obs.header
    nsamps, chosen = header.nsamps // task.downsample, None
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
    pieces = tuple(Piece(first + (i + 0.5) * length / DAY, length) for i in range(count))
    info = EpochInfo(
        data_key(task.obs.files), header, task.obs.files, pieces, np.zeros(0), float("nan"), factor, voverc
    )
    return info, chosen


def _written(task: _Task, info: EpochInfo, chosen: NDArray[np.int64] | None, argv: Sequence[str]) -> tuple[Any, ...]:
    """Make the epoch: its path, that it is new, and what is known of it now."""
    from pulsar.io.product.provenance import Provenance
    from pulsar.stack.grid_powers import GridPowers

    grid, progress = task.grid, task.progress
    _room(task)
    provenance = Provenance(argv, [file.path for file in info.files], to_toml(task.config), task.threads)
    each = round(info.pieces[0].tobs / grid.tsamp)
    maker = GridPowers(each, grid, task.threads)
    beyond = 0
    with _series_of(task) as made:
        task.folder.mkdir(exist_ok=True)
        # What an addition has left that was the first and was interrupted has decided nothing.
        store = Store(task.folder) if has_epochs(task.folder) else Store.begin(task.folder, grid)
        info = replace(info, freqs=made.freqs, bandwidth=made.bandwidth)
        lines = shifted(made.birdies, info)
        with EpochWriter(store, info) as writer:
            for dm_index, series in made.rows:
                moved = series if chosen is None else series[chosen]
                for i in range(len(info.pieces)):
                    part = np.ascontiguousarray(moved[i * each : (i + 1) * each])
                    code, more = encode(maker.powers(part, lines))
                    writer.row(i, dm_index, code)
                    beyond += more
            writer.finish(replace(info, beyond=beyond), provenance.record(progress.times))
    return store.folder / info.name, True, replace(info, beyond=beyond)


def _room(task: _Task) -> int:
    """Bytes that are left for dedispersion beside the making of powers."""
    from pulsar.pipeline.room import stage_memory

    taken = POWER_BYTES * task.grid.nfft
    left = stage_memory(task.config, task.obs) - taken
    if left <= 0:
        raise ConfigError(
            f"powers of {task.grid.nfft} samples take {taken / 2**20:.0f} MiB, more than run.memory leaves: give more "
            "--memory, or begin a stack of shorter pieces (stack.tobs) or fewer samples (stack.downsample)"
        )
    return left


def shifted(birdies: "Sequence[Birdie]", info: EpochInfo) -> list[tuple[float, float]]:
    """Frequencies and widths [Hz] of lines at the barycentre: as much higher as the telescope moves away.

    Parameters
    ----------
    birdies : sequence of Birdie
        Topocentric.
    info : EpochInfo
    """
    doppler = 1.0 + (info.voverc if np.isfinite(info.voverc) else 0.0)
    return [(b.freq * doppler, b.width * doppler) for b in birdies]


@dataclass(frozen=True, eq=False)
class _Series:
    """The series at all DMs of the grid, one after the other.

    Attributes
    ----------
    rows : iterator of (int, ndarray)
        Index of the DM, and its series.
    birdies : list of Birdie
        Lines that are left out.
    freqs : ndarray
        Channels [MHz], descending.
    bandwidth : float
        [MHz]; NaN where it is not known.
    """

    rows: Iterator[tuple[int, NDArray[Any]]]
    birdies: "list[Birdie]"
    freqs: NDArray[np.float64]
    bandwidth: float


@contextmanager
def _series_of(task: _Task) -> "Iterator[_Series]":
    from pulsar.io.series import SeriesSet
    from pulsar.pipeline.birdies import learn_in_series
    from pulsar.pipeline.cleaning import given_birdies

    header, config = task.obs.header, task.config
    if not header.is_series:
        with _dedispersed(task) as found:
            yield found
        return
    obs = task.obs
    read: Callable[[int], NDArray[Any]]
    if isinstance(obs, SeriesSet):
        whole: SeriesSet = obs

        def read(index: int) -> NDArray[Any]:
            return np.asarray(whole.series(index, header.nsamps).data)
    else:
        data = np.ascontiguousarray(obs.read().data[0])

        def read(index: int) -> NDArray[Any]:  # noqa: ARG001
            return data

    learnt, _ = learn_in_series(read(0), header.tsamp, config)
    freqs = obs.freqs if isinstance(obs, SeriesSet) else header.freqs
    bandwidth = float(np.ptp(freqs)) if freqs.size > 1 else header.bandwidth
    bandwidth = bandwidth if bandwidth > 0 else float("nan")
    with task.progress.stage("powers", task.grid.dms.size, "DMs") as tick:

        def rows() -> Iterator[tuple[int, NDArray[Any]]]:
            for index in range(task.grid.dms.size):
                yield index, read(index)
                tick(1)

        yield _Series(rows(), [*given_birdies(header, config.rfi), *learnt], freqs, bandwidth)


@contextmanager
def _dedispersed(task: _Task) -> "Iterator[_Series]":
    """The series of raw data: cleaned, lines learnt at DM 0, dedispersed in batches that fit the memory."""
    from pulsar.cleaning.birdies import merged
    from pulsar.dedisp.batches import choose_route, dedispersed
    from pulsar.dedisp.plan import few_trials
    from pulsar.pipeline.birdies import zero_dm
    from pulsar.pipeline.cleaning import clean_source, find_mask, given_birdies

    obs, config, threads, progress = task.obs, task.config, task.threads, task.progress
    header = obs.header
    mask = find_mask(obs, config, threads=threads, progress=progress).mask
    progress.message(mask.summary())
    source = clean_source(obs, mask, config, threads=threads, progress=progress)
    memory = _room(task)
    scratch = Path(config.run.scratch) if config.run.scratch else task.folder.absolute().parent
    birdies = given_birdies(header, config.rfi)
    if config.rfi.learn:
        zero = zero_dm(source, header, config, threads=threads, memory=memory, scratch=scratch, progress=progress)
        birdies = birdies if zero is None else merged([*birdies, *zero.lines])
    plan = few_trials(header, task.grid.dms, task.downsample, source.freqs)
    plan = replace(plan, method=config.dedisp.method)
    route = choose_route(plan, threads=threads, memory=memory)
    with (
        unchanged(obs),
        progress.stage("dedispersion and powers", plan.ndms, "DMs") as tick,
        closing(dedispersed(source, plan, route, threads=threads, scratch=scratch, progress=tick)) as batches,
    ):

        def rows() -> Iterator[tuple[int, NDArray[Any]]]:
            for batch in batches:
                for i in range(batch.stage.ndms):
                    yield batch.first + i, batch.row(i)

        yield _Series(rows(), birdies, source.freqs, header.bandwidth * (1.0 - mask.fraction_lost))
