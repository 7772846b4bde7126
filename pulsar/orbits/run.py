"""The search for pulsars on circular orbits: a plan that tells its cost, DM by DM, octave by octave, a product."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.config.load import to_toml
from pulsar.config.model import Config, OrbitsConfig
from pulsar.constants import DAY, KDM
from pulsar.data.candidate import CANDIDATE_COLUMNS, DETECTION_COLUMNS, dtype_of, empty_table
from pulsar.data.files import check_output
from pulsar.data.header import Header
from pulsar.data.observation import Observation
from pulsar.data.unfinished import output_lock, resumable
from pulsar.errors import ConfigError
from pulsar.folding.folder import normalise
from pulsar.folding.profile import fine_box
from pulsar.io.open import open_observation
from pulsar.io.product.provenance import Provenance, software_version
from pulsar.io.product.reader import Run, read
from pulsar.io.product.writer import ProductWriter, Target
from pulsar.orbits.bank import least_companion, projected_size
from pulsar.orbits.search import CircularOrbit, OrbitSearch, Peaks, octaves, template_memory
from pulsar.pipeline.checkpoint import Checkpoint
from pulsar.pipeline.cleaning import SAME_DM, cleaned, dms_of_series, independent_trials, lines_of, trial_series
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import Means, stage_memory, thread_count
from pulsar.pipeline.start import fingerprint, opened
from pulsar.pipeline.write import fill_place
from pulsar.searches import stats
from pulsar.searches.sift import Ratios
from pulsar.sky.barycentre import barycentric_samples, motion_of
from pulsar_kernels.arrays import Array, Float32s, Floats, Ints

#: Circular orbits: sums have 8 harmonics at most. A frequency is refined together with the orbit, and what a pulsar
#: leaves at other DMs and in other octaves is refined to an orbit that is not its own: both are farther off than peaks
#: of one spectrum.
_RATIOS: Final = Ratios(8, 3.0, 5.0)
#: More templates of an octave are planned, but not searched: at 10 ms each they take three days of processor.
MOST_TEMPLATES: Final = 3e7
#: CPU seconds of templates between two notes of how far a search has come.
NOTED: Final = 300.0
#: Phase bins of a profile: the phases of an orbit go through all of them, however few samples a turn has.
NBINS: Final = 64


@dataclass(frozen=True, eq=False)
class Layout:
    """How the samples that are searched follow from those of the observation."""

    dms: Floats  # shape (ndms,): [pc cm^-3]
    downsample: int  # Samples of the observation in one
    header: Header  # What is searched, as one observation; at the barycentre where that is known
    chosen: Ints | None = None  # Sample of the series that each is, where they come at even times of the barycentre
    #: Velocity of the telescope away from the source over that of light; 0 where the series is not barycentred here.
    voverc: float = 0.0
    remark: str = ""  # Why it is not, or empty


def lay_out(obs: Observation, dms: Sequence[float], config: Config) -> Layout:
    """Decide what is searched; nothing is read.

    Raises
    ------
    ConfigError
        No DM is given for raw data, or one that these series do not have.
    """
    header = obs.header
    trials = _dms(obs, dms)
    downsample = 1
    # Samples in a period of the highest frequency, at least, where raw data have as many: what a profile is folded
    # from.
    while not header.is_series and header.tsamp * 2 * downsample * config.orbits.f_max * 8 <= 1.0:
        downsample *= 2
    nsamps, tsamp = header.nsamps // downsample, header.tsamp * downsample
    if config.orbits.f_max > 0.5 / tsamp:
        raise ConfigError(
            f"frequencies to {config.orbits.f_max:g} Hz (--freq) in samples of {1e3 * tsamp:g} ms, which hold "
            f"{0.5 / tsamp:.6g} Hz at most: lower it"
        )
    plain = Layout(trials, downsample, header.with_(nsamps=nsamps, tsamp=tsamp))
    if header.barycentric:
        return plain
    if not config.orbits.barycentre:
        return replace(plain, remark="not barycentred, as orbits.barycentre is off")
    motion = motion_of(header)
    if motion is None:
        return replace(plain, remark="not barycentred: telescope, position (--ra, --dec) or time are unknown")
    first, chosen = barycentric_samples(header, nsamps, tsamp)
    there = plain.header.with_(nsamps=chosen.size, tstart=first, barycentric=True)
    return replace(plain, header=there, chosen=chosen, voverc=motion.voverc)


def _dms(obs: Observation, dms: Sequence[float]) -> Floats:
    """The DMs that are searched, ascending."""
    sorted_dms = np.unique(np.asarray(dms, dtype=np.float64))
    if obs.header.is_series:
        there = dms_of_series(obs)
        lost = [dm for dm in sorted_dms if not np.any(np.abs(there - dm) < SAME_DM)]
        if lost:
            raise ConfigError(
                f"--dm {lost[0]:g}: no series of this DM is given, of {', '.join(f'{d:g}' for d in there[:20])}"
            )
        return sorted_dms if sorted_dms.size else there
    if not sorted_dms.size:
        raise ConfigError("give the DM of the cluster: --dm 31.2, several for several: a search for orbits takes long")
    if not (np.all(np.isfinite(sorted_dms)) and sorted_dms[0] >= 0):
        raise ConfigError(f"--dm {sorted_dms[0]:g}: expected a number >= 0")
    return sorted_dms


@dataclass(frozen=True, eq=False)
class OctavePlan:
    """One octave of one DM."""

    search: OrbitSearch
    templates: int
    each: float  # CPU seconds of a template, tried on this machine

    @property
    def seconds(self) -> float:
        """CPU seconds."""
        return self.templates * self.each

    @property
    def per_hz(self) -> float:
        """CPU seconds per Hz."""
        return self.seconds / (self.search.octave.high - self.search.octave.low)


@dataclass(frozen=True, eq=False)
class OrbitsPlan:
    """The plan of a search for orbits."""

    layout: Layout
    config: OrbitsConfig
    octaves: tuple[OctavePlan, ...]
    independent: float  # Independent ones among the DMs
    threads: int
    memory: int  # Bytes that the search takes

    @property
    def seconds(self) -> float:
        """CPU seconds of the search of all DMs, without cleaning and dedispersion."""
        return float(len(self.layout.dms) * sum(octave.seconds for octave in self.octaves))

    def summary(self) -> list[str]:
        """The plan in words."""
        config, header = self.config, self.layout.header
        ndms = len(self.layout.dms)
        size = [projected_size(p, config.pulsar, config.heaviest) for p in (config.p_min, config.p_max)]
        hz = self.octaves[-1].search.octave.high - self.octaves[0].search.octave.low
        per_dm = sum(octave.seconds for octave in self.octaves)
        return [
            f"{ndms} DM{'s' if ndms > 1 else ''} ({self.independent:.3g} independent), {header.tobs:.6g} s in samples "
            f"of {1e3 * header.tsamp:.4g} ms{', barycentred' if self.layout.chosen is not None else ''}: "
            f"{header.tobs / config.p_max:.3g} to {header.tobs / config.p_min:.3g} orbits",
            f"circular orbits of {config.p_min:g} to {config.p_max:g} s, pulsar of {config.pulsar:g} and companions of "
            f"{config.lightest:g} to {config.heaviest:g} solar masses, seen from the edge: a sin(i)/c up to "
            f"{size[0]:.4g} to {size[1]:.4g} s",
            f"up to {config.nharm} harmonics; at most about {config.mismatch:g} of the power of the highest is lost "
            "between templates",
            f"{per_dm:.4g} CPU seconds a DM, {per_dm / hz:.4g} per Hz and DM (templates tried on this machine); "
            f"{_time(self.seconds)} of processor in all, {_time(self.seconds / self.threads)} by {self.threads} "
            f"thread{'s' if self.threads > 1 else ''}, and cleaning and dedispersion before; "
            f"{self.memory / 2**20:.0f} MiB",
        ]


def plan_orbits(layout: Layout, config: Config, independent: float, threads: int, room: int) -> OrbitsPlan:
    """Lay out the octaves, and try a few templates of each.

    Parameters
    ----------
    config : Config
        Its section `orbits` is used.
    independent : float
        Independent DMs.
    threads : int
        That are asked for.
    room : int
        Bytes that the search may take.

    Raises
    ------
    ConfigError
        The ranges are empty, or the memory is too little for one thread.
    """
    settings, header = config.orbits, layout.header
    if not settings.f_min < settings.f_max:
        raise ConfigError(f"frequencies from {settings.f_min:g} to {settings.f_max:g} Hz: expected MIN < MAX")
    bands = octaves(settings.f_min, settings.f_max)
    share = 1.0 / (len(bands) * independent)
    searches = tuple(OrbitSearch(header.nsamps, header.tsamp, band, settings, share) for band in bands)
    series, each = template_memory(max(search.n for search in searches))
    # Bytes for a sample of the series, at most, while it is folded; and copies of the white series, while it is made
    # (12 million samples, of a template 4.2 million: 97, and 3).
    fixed = 3 * series + 100 * header.nsamps
    if room < fixed + each:
        raise ConfigError(
            f"run.memory: a search of {header.nsamps} samples up to {settings.f_max:g} Hz takes "
            f"{(fixed + each) / 2**20:.0f} MiB beside the program itself, {room / 2**20:.0f} are left: give more "
            "--memory, or search lower frequencies (--freq)"
        )
    threads = max(min(threads, int((room - fixed) // each)), 1)
    rows = tuple(OctavePlan(s, s.bank.count, tried(s)) for s in searches)
    return OrbitsPlan(layout, settings, rows, independent, threads, fixed + threads * each)


def tried(search: OrbitSearch) -> float:
    """CPU seconds of a template: the mean of some, of noise."""
    noise = np.random.default_rng(1).standard_normal(search.nsamps, dtype=np.float32)
    white = search.whiten(noise)
    if white is None:
        return 0.0
    turns = search.bank.metric.turn
    _, most = search.bank.sizes(turns)
    # Two before the clock: kernels are loaded, or compiled, and memory is touched. Then for 0.3 CPU s, three at least.
    times: list[float] = []
    begun = time.thread_time()
    while len(times) < 5 or (time.thread_time() - begun < 0.3 and len(times) < 1000):
        k = len(times) % turns.size
        first = time.thread_time()
        search.look(white, float(turns[k]), 0.7 * float(most[k]), -0.3 * float(most[k]))
        times.append(time.thread_time() - first)
    return float(np.mean(times[2:]))


def _time(seconds: float) -> str:
    """A time in words."""
    if seconds < 120.0:
        return f"{seconds:.3g} s"
    return f"{seconds / 60.0:.3g} min" if seconds < 7200.0 else f"{seconds / 3600.0:.4g} h"


@dataclass(frozen=True, eq=False)
class OrbitFold:
    """A folded profile."""

    profile: Float32s  # shape (NBINS,): Mean 0, in units of the noise of a bin
    #: snr, width, phase: of its best boxcar: S/N, width and centre [turns].
    snr: float
    width: float
    phase: float


def fold_phases(series: Array, turns: Floats, turn: float) -> OrbitFold:
    """Fold a series by the phase of each of its samples.

    Parameters
    ----------
    series : ndarray, shape (nsamps,)
    turns : ndarray, shape (nsamps,)
        Phases, counted on.
    turn : float
        Samples in a turn, about: over some of them the baseline is taken.

    Raises
    ------
    DataError
        When the series does not vary.
    """
    data = normalise(series, max(turn, 32.0))
    slot = ((turns - np.floor(turns)) * NBINS).astype(np.int64) % NBINS
    sums = np.bincount(slot, weights=data, minlength=NBINS)
    counts = np.bincount(slot, minlength=NBINS).astype(np.float64)
    sums -= counts * sums.sum() / counts.sum()
    snr, width, phase = fine_box(np.fft.rfft(sums), counts)
    profile = sums / np.sqrt(np.maximum(counts, 1.0))
    return OrbitFold(profile.astype(np.float32), snr, width, phase)


@dataclass(frozen=True, eq=False)
class OrbitSignal:
    """A signal, where it was found, and its fold."""

    orbit: CircularOrbit
    dm_index: int
    fold: OrbitFold


def plan_only(
    paths: Sequence[Path | str], dms: Sequence[float], config: Config = Config(), progress: Progress | None = None
) -> OrbitsPlan:
    """The plan of :func:`search_orbits`, and its cost; a few templates are tried.

    Raises
    ------
    ConfigError, DataError
        As that.
    """
    with open_observation(*paths, config=config.input) as obs:
        return _planned(obs, dms, config, Progress("quiet") if progress is None else progress)


def _planned(obs: Observation, dms: Sequence[float], config: Config, progress: Progress) -> OrbitsPlan:
    layout = lay_out(obs, dms, config)
    if layout.remark:
        progress.warning(layout.remark)
    independent = independent_trials(obs.header, layout.dms, layout.downsample, obs.header.freqs)
    return plan_orbits(layout, config, independent, thread_count(config), stage_memory(config, obs))


def search_orbits(
    paths: Sequence[Path | str],
    target: Target,
    dms: Sequence[float] = (),
    config: Config = Config(),
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Search an observation, or series, for circular orbits, and write what is found.

    Parameters
    ----------
    paths : sequence of paths
        Files of one observation, or its series.
    target : Target
        Product to write.
    dms : sequence of float
        [pc cm^-3]; of series by default all that are given.
    config : Config, optional
        Its sections `input`, `rfi`, `orbits` and `run` are used.
    resume : bool
        Go on where an interrupted search of the same files and settings stopped.

    Returns
    -------
    Run
        The product.

    Raises
    ------
    ConfigError
        The output exists, or a setting makes no sense for these data.
    DataError
        The files cannot be read.
    """
    progress = Progress("quiet") if progress is None else progress
    out = check_output(target.path, overwrite=target.overwrite)
    with output_lock(out, "pulsar orbits"), opened(paths, config, progress) as obs:
        plan = _planned(obs, dms, config, progress)
        for line in plan.summary():
            progress.message(line)
        check_size(plan)
        mark = fingerprint(obs.files, config, f"{software_version()} orbits {plan.layout.dms.tolist()}", obs.header)
        checkpoint = Checkpoint(out, mark, resume=resume)
        if checkpoint.outdated:
            progress.warning("the earlier results belong to other files or settings: starting anew")
        provenance = Provenance(target.argv, [file.path for file in obs.files], to_toml(config), plan.threads)
        with resumable(lambda: checkpoint.begun):
            signals = list(_signals(obs, plan, config, checkpoint, out, progress))
        signals.sort(key=lambda signal: -signal.orbit.sigma)
        _write(target, plan, obs, signals, provenance.record(progress.times))
        checkpoint.remove()
    return read(out)


def check_size(plan: OrbitsPlan) -> None:
    """Refuse what nobody will wait for.

    Raises
    ------
    ConfigError
        Saying how much there is to do.
    """
    most = max(plan.octaves, key=lambda octave: octave.templates)
    if most.templates > MOST_TEMPLATES:
        raise ConfigError(
            f"{most.search.octave.low:g} to {most.search.octave.high:g} Hz: {most.templates:.3g} templates, at most "
            f"{MOST_TEMPLATES:.0e} are searched: narrow --porb or --companion, lower --freq, or take a part of the data"
        )


def _signals(
    obs: Observation, plan: OrbitsPlan, config: Config, checkpoint: Checkpoint, out: Path, progress: Progress
) -> Iterator[OrbitSignal]:
    """The signals at all DMs."""
    layout = plan.layout
    memory = max(stage_memory(config, obs) - plan.memory, 64 << 20)
    means = replace(Means.of(config, obs, progress, out), memory=memory)
    clean = cleaned(obs, config, means)
    nsamps, tsamp = layout.header.nsamps, layout.header.tsamp
    for index, series in trial_series(obs, clean, layout.dms, means, downsample=layout.downsample):
        lines = lines_of(obs, clean, series, config, layout.voverc)
        chosen = series if layout.chosen is None else series[layout.chosen]
        data = np.ascontiguousarray(chosen[:nsamps])
        for number, octave in enumerate(plan.octaves):
            search, stage = octave.search, f"dm{index:04d}-{number}"
            kept = checkpoint.load(stage)
            if kept is None:
                title = f"DM {layout.dms[index]:g}, {search.octave.low:g} to {search.octave.high:g} Hz"
                white = search.whiten(data, lines)
                if white is None:
                    progress.warning(f"{title}: the series does not vary")
                    orbits = []
                else:
                    orbits = _searched(octave, white, plan.threads, title, checkpoint.within(stage), progress)
                rows = [[*astuple(orbit)[:-1], *orbit.errors] for orbit in orbits]
                checkpoint.save(stage, orbits=np.array(rows, dtype=np.float64).reshape(-1, 12))
            else:
                each = [(*row[:4], int(row[4]), *row[5:8], tuple(row[8:])) for row in kept["orbits"].tolist()]
                orbits = [CircularOrbit(*values) for values in each]
            for orbit in orbits:
                t = (np.arange(nsamps, dtype=np.float64) - 0.5 * (nsamps - 1)) * tsamp
                fold = fold_phases(data, orbit.freq * orbit.emitted(t), 1.0 / (orbit.freq * tsamp))
                yield OrbitSignal(orbit, index, fold)


def _searched(
    octave: OctavePlan,
    white: Float32s,
    threads: int,
    title: str,
    checkpoint: Checkpoint,
    progress: Progress,
) -> list[CircularOrbit]:
    """The orbits in one octave of one series; how far it has come is noted every few minutes."""
    search, slices = octave.search, octave.search.bank.slices
    counts = [search.bank.templates(part)[0].size for part in slices]
    kept = checkpoint.load("partly")
    first = 0 if kept is None else int(kept["done"])
    rows = np.zeros((0, 8)) if kept is None else kept["peaks"]
    peaks = Peaks({(int(row[0]), int(row[1])): tuple(float(v) for v in row[2:]) for row in rows})
    with progress.stage(title, float(sum(counts)), "templates") as tick:
        tick(float(sum(counts[:first])))
        spent = 0.0
        for stop in range(first + 1, len(slices) + 1):
            spent += counts[stop - 1] * octave.each
            if spent < NOTED and stop < len(slices):
                continue
            peaks.join(search.peaks(white, slices[first:stop], threads, tick))
            if stop < len(slices):
                rows = np.array([[*key, *row] for key, row in peaks.best.items()], dtype=np.float64).reshape(-1, 8)
                checkpoint.save("partly", done=np.array(stop), peaks=rows)
            first, spent = stop, 0.0
    with progress.clock("refinement"):
        return search.signals(white, peaks)


def explained(signals: Sequence[OrbitSignal], tobs: float) -> list[tuple[int, str]]:
    """Of each signal the number of a better one, if their frequencies are in a ratio of small numbers, and which.

    Parameters
    ----------
    signals : sequence of OrbitSignal
        Best first.
    tobs : float
        [s]

    Returns
    -------
    list of (int, str)
        -1 and nothing for what stands for itself.
    """
    relations: list[tuple[int, str]] = []
    for i, signal in enumerate(signals):
        heads = ((k, _relation(signals[k], signal, tobs)) for k in range(i) if relations[k][0] < 0)
        relations.append(next(((k, relation) for k, relation in heads if relation), (-1, "")))
    return relations


def _relation(head: OrbitSignal, signal: OrbitSignal, tobs: float) -> str:
    a, b = head.orbit, signal.orbit
    ratio = Fraction(b.freq / a.freq).limit_denominator(_RATIOS.most)
    if not 0 < ratio <= _RATIOS.most:
        return ""
    off = abs(b.freq - float(ratio) * a.freq)
    if off > _RATIOS.allowed(tobs, b.errors[0], float(ratio), a.errors[0]):
        return ""
    if ratio == 1:
        return "same" if head.dm_index != signal.dm_index else "sidelobe 1"
    return f"harmonic {ratio}"


def _write(
    target: Target, plan: OrbitsPlan, obs: Observation, signals: Sequence[OrbitSignal], record: dict[str, Any]
) -> None:
    """The product, whole or not at all."""
    header = plan.layout.header
    candidates, detections = _tables(plan, signals)
    orbits = [_row(plan, str(row["id"]), signal) for row, signal in zip(candidates, signals, strict=True)]
    octaves = [
        (o.search.octave.low, o.search.octave.high, o.templates, o.search.n, o.each, o.seconds, o.per_hz)
        for o in plan.octaves
    ]
    with ProductWriter(target.path, overwrite=target.overwrite) as writer:
        writer.observation(header, obs.files, obs.gaps, obs.problems)
        writer.table("candidates", candidates)
        writer.table("detections", detections)
        writer.orbits(orbits, octaves, np.array([signal.fold.profile for signal in signals], dtype=np.float32))
        writer.table("rfi/birdies", [])
        writer.provenance(record)


def _tables(plan: OrbitsPlan, signals: Sequence[OrbitSignal]) -> tuple[Array, Array]:
    """Candidates and detections: a row of each for every signal."""
    header = plan.layout.header
    relations = explained(signals, header.tobs)
    idents, uids = [f"c{i + 1:04d}" for i in range(len(signals))], [_uid(header, signal) for signal in signals]
    candidates = empty_table(CANDIDATE_COLUMNS, len(signals))
    detections = np.zeros(len(signals), dtype=dtype_of(DETECTION_COLUMNS))
    for i, (signal, (parent, relation)) in enumerate(zip(signals, relations, strict=True)):
        orbit, dm = signal.orbit, plan.layout.dms[signal.dm_index]
        values = {
            "rank": i + 1, "id": idents[i], "uid": uids[i], "kind": "orbit", "found_by": "orbit", "obs": 0,
            "freq": orbit.freq, "freq_err": orbit.errors[0], "period": 1.0 / orbit.freq,
            "period_err": orbit.errors[0] / orbit.freq**2, "dm": dm, "dm_index": signal.dm_index, "dm_detected": dm,
            "nharm": orbit.nharm, "power": orbit.power, "logp": orbit.logp, "sigma": orbit.sigma,
            "sigma_single": float(stats.sigma_from_logp(orbit.logp)),
            "snr": signal.fold.snr, "width": signal.fold.width,
            "ndetections": 1, "nattached": sum(k == i for k, _ in relations), "relation": relation,
            "parent": uids[parent] if parent >= 0 else "", "harmonic_of": idents[parent] if parent >= 0 else "",
            "reasons": _reasons(orbit, plan.config.pulsar),
        }  # fmt: skip
        fill_place(candidates[i], header)
        for table in (candidates, detections):
            for name in values.keys() & set(table.dtype.names or ()):
                table[name][i] = values[name]
    return candidates, detections


def _uid(header: Header, signal: OrbitSignal) -> str:
    text = f"{header.tstart!r}|{signal.dm_index}|{signal.orbit.freq!r}|{signal.orbit.turn!r}|{signal.orbit.nharm}"
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()


def _reasons(orbit: CircularOrbit, pulsar: float) -> str:
    error = max(orbit.errors[2], orbit.errors[3])
    # An orbit whose size is less than so many errors is none that the data tell.
    if orbit.size < 4.0 * error:
        return f"no orbit is told: a sin(i)/c {orbit.size:.3g} +- {error:.2g} s: an isolated pulsar, or a line"
    return (
        f"P_orb {orbit.period:.6g} s, a sin(i)/c {orbit.size:.4g} s, companion of "
        f"{least_companion(orbit.period, orbit.size, pulsar):.3g} solar masses or more"
    )


def _row(plan: OrbitsPlan, ident: str, signal: OrbitSignal) -> tuple[Any, ...]:
    """Of the table of orbits."""
    orbit, dm, header = signal.orbit, float(plan.layout.dms[signal.dm_index]), plan.layout.header
    size = orbit.size
    size_err = float(np.hypot(orbit.x * orbit.errors[2], orbit.y * orbit.errors[3])) / max(size, 1e-12)
    # Across the direction of (x, y), as an angle; and W turns it about mid-observation.
    angle_err = float(np.hypot(orbit.y * orbit.errors[2], orbit.x * orbit.errors[3])) / max(size, 1e-12) ** 2
    node_err = float(np.hypot(angle_err, orbit.node * orbit.errors[1])) / orbit.turn
    # The series have the delay of the highest channel against infinite frequency.
    late = KDM * dm * float(header.fch1) ** -2.0 if np.isfinite(header.fch1) and header.fch1 > 0 else 0.0
    node = header.tmid - late / DAY + orbit.node / DAY
    return (
        *(ident, dm, orbit.freq, orbit.errors[0]),
        *(orbit.period, orbit.period * orbit.errors[1] / orbit.turn, size, size_err, node, node_err / DAY),
        *(least_companion(orbit.period, size, plan.config.pulsar), orbit.sigma),
        *(signal.fold.snr, signal.fold.width, signal.fold.phase),
    )
