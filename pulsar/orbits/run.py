"""The search for pulsars on circular orbits: planned, DM by DM, octave by octave, written as a product."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.config.load import to_toml
from pulsar.config.model import Config
from pulsar.constants import DAY, KDM
from pulsar.data.candidate import CANDIDATE_COLUMNS, DETECTION_COLUMNS, dtype_of, empty_table
from pulsar.data.header import Header
from pulsar.data.locks import output_lock
from pulsar.data.observation import Observation
from pulsar.data.unfinished import resumable
from pulsar.errors import ConfigError
from pulsar.orbits.bank import Slice, least_companion
from pulsar.orbits.fold import OrbitFold, fold_phases
from pulsar.orbits.plan import OrbitsPlan, plan_orbits
from pulsar.orbits.search import Orbit, OrbitSearch, Peaks
from pulsar.orbits.series import Layout, Made, lay_out, series_of
from pulsar.pipeline.checkpoint import Checkpoint
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.start import fingerprint
from pulsar.pipeline.target import Target
from pulsar.searches import stats
from pulsar.searches.ratios import Ratios

if TYPE_CHECKING:
    from pulsar.io.product.reader import Run

#: Circular orbits: sums have 8 harmonics at most. A frequency is refined together with the orbit, and what a pulsar
#: leaves at other DMs and in other octaves is refined to an orbit that is not its own: both are farther off than peaks
#: of one spectrum.
_RATIOS: Final = Ratios(8, 3.0, 5.0)
#: More templates of an octave are planned, but not searched: at 10 ms each they take three days of processor.
MOST_TEMPLATES: Final = 3e7
#: CPU seconds of templates between two notes of how far a search has come.
NOTED: Final = 300.0
#: An orbit whose size is less than so many errors is none that the data tell.
TOLD: Final = 4.0


@dataclass(frozen=True, eq=False)
class Found:
    """A signal, where it was found, and its fold.

    Attributes
    ----------
    orbit : Orbit
    dm_index : int
    fold : OrbitFold
    """

    orbit: Orbit
    dm_index: int
    fold: OrbitFold


def plan_only(
    paths: Sequence[Path | str], dms: Sequence[float], config: Config | None = None, progress: Progress | None = None
) -> OrbitsPlan:
    """What :func:`search_orbits` would do, and what it would take; a few templates are tried.

    Raises
    ------
    ConfigError, DataError
        As that.
    """
    from pulsar.io.open import open_observation

    config = Config() if config is None else config
    with closing(open_observation(*paths, config=config.input)) as obs:
        return _planned(obs, dms, config, Progress("quiet") if progress is None else progress)


def _planned(obs: Observation, dms: Sequence[float], config: Config, progress: Progress) -> OrbitsPlan:
    from pulsar.dedisp.plan import few_trials
    from pulsar.pipeline.independent import independent_dms
    from pulsar.pipeline.room import stage_memory, thread_count

    layout = lay_out(obs, dms, config)
    if layout.remark:
        progress.warning(layout.remark)
    independent = float(len(layout.dms))
    freqs = obs.header.freqs
    if len(layout.dms) > 1 and freqs.size > 1:
        stage = few_trials(obs.header, layout.dms, layout.downsample, freqs).stages[0]
        independent = max(independent_dms(stage, freqs), 1.0)
    return plan_orbits(layout, config, independent, thread_count(config), stage_memory(config, obs))


def search_orbits(
    paths: Sequence[Path | str],
    target: Target,
    dms: Sequence[float] = (),
    config: Config | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> "Run":
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
    progress : Progress, optional

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
    from pulsar.io.open import open_observation
    from pulsar.io.product.provenance import Provenance, software_version
    from pulsar.io.product.reader import read
    from pulsar.io.product.writer import check_output

    config = Config() if config is None else config
    progress = Progress("quiet") if progress is None else progress
    out = check_output(target.path, overwrite=target.overwrite)
    with output_lock(out, "pulsar orbits"), closing(open_observation(*paths, config=config.input)) as obs:
        for problem in obs.problems:
            progress.warning(problem)
        plan = _planned(obs, dms, config, progress)
        for line in plan.summary():
            progress.message(line)
        check_size(plan)
        mark = fingerprint(obs.files, config, f"{software_version()} orbits {plan.layout.dms.tolist()}")
        checkpoint = Checkpoint(out, mark, resume=resume)
        if checkpoint.outdated:
            progress.warning("the earlier results belong to other files or settings: starting anew")
        provenance = Provenance(target.argv, [file.path for file in obs.files], to_toml(config), plan.threads)
        with resumable(lambda: checkpoint.begun):
            found = list(_found(obs, plan, config, checkpoint, out, progress))
        writer = _Writer(plan, obs, found)
        writer.write(out, provenance.record(progress.times), overwrite=target.overwrite)
        checkpoint.remove()
    return read(out)


def check_size(plan: OrbitsPlan) -> None:
    """Refuse what nobody will wait for.

    Raises
    ------
    ConfigError
        Saying how much there is to do.
    """
    most = max(plan.octaves, key=lambda one: one.templates)
    if most.templates > MOST_TEMPLATES:
        raise ConfigError(
            f"{most.octave.low:g} to {most.octave.high:g} Hz: {most.templates:.3g} templates, at most "
            f"{MOST_TEMPLATES:.0e} are searched: narrow --porb or --companion, lower --freq, or take a part of the data"
        )


def _found(
    obs: Observation, plan: OrbitsPlan, config: Config, checkpoint: Checkpoint, out: Path, progress: Progress
) -> Iterator[Found]:
    """What there is at all DMs."""
    # Many arguments: what one search is made of.
    from pulsar.pipeline.room import stage_memory

    room = max(stage_memory(config, obs) - plan.memory, 64 << 20)
    folder = out.absolute().parent
    searches = plan.searches()
    for made in series_of(obs, plan.layout, config, folder, plan.threads, room, progress):
        dm = plan.layout.dms[made.index]
        for number, search in enumerate(searches):
            name = f"dm{made.index:04d}-{number}"
            kept = checkpoint.load(name)
            orbits = None if kept is None else _orbits_from(kept["orbits"])
            if orbits is None:
                octave = search.octave
                title = f"DM {dm:g}, {octave.low:g} to {octave.high:g} Hz"
                orbits = _searched(search, plan, number, made, name, title, checkpoint, progress)
                checkpoint.save(name, orbits=_orbit_rows(orbits))
            for orbit in orbits:
                yield Found(orbit, made.index, _folded(made.data, plan.layout, orbit))


def _searched(
    search: OrbitSearch,
    plan: OrbitsPlan,
    number: int,
    made: Made,
    name: str,
    title: str,
    checkpoint: Checkpoint,
    progress: Progress,
) -> list[Orbit]:
    """What there is in one octave of one series; how far it has come is noted every few minutes."""
    # Many arguments: what one unit of the search is made of.
    white = search.whiten(made.data, made.lines)
    if white is None:
        progress.warning(f"{title}: the series does not vary")
        return []
    slices = search.bank.slices
    counts = [search.bank.templates(one)[0].size for one in slices]
    partly = f"{name}-partly"
    kept = checkpoint.load(partly)
    done = 0 if kept is None else int(kept["done"])
    peaks = Peaks() if kept is None else _peaks_from(kept["peaks"])
    with progress.stage(title, float(sum(counts)), "templates") as tick:
        tick(float(sum(counts[:done])))
        for part in _parts(counts, done, plan.octaves[number].each):
            peaks.join(search.peaks(white, _subset(slices, part), plan.threads, tick))
            if part.stop < len(slices):
                checkpoint.save(partly, done=np.array(part.stop), peaks=_peak_rows(peaks))
    with progress.clock("refinement"):
        return search.found(white, peaks)


def _subset(slices: Sequence[Slice], part: range) -> Sequence[Slice]:
    return slices[part.start : part.stop]


def _parts(counts: Sequence[int], done: int, each: float) -> Iterator[range]:
    """Slices in parts of a few minutes."""
    first, spent = done, 0.0
    for i in range(done, len(counts)):
        spent += counts[i] * each
        if spent >= NOTED:
            yield range(first, i + 1)
            first, spent = i + 1, 0.0
    if first < len(counts):
        yield range(first, len(counts))


def _peak_rows(peaks: Peaks) -> NDArray[np.float64]:
    return np.array([[*key, *row] for key, row in peaks.best.items()], dtype=np.float64).reshape(-1, 8)


def _peaks_from(rows: NDArray[np.float64]) -> Peaks:
    return Peaks({(int(row[0]), int(row[1])): tuple(float(v) for v in row[2:]) for row in rows})


def _orbit_rows(orbits: Sequence[Orbit]) -> NDArray[np.float64]:
    rows = [[o.freq, o.turn, o.x, o.y, o.nharm, o.power, o.logp, o.sigma, *o.errors] for o in orbits]
    return np.array(rows, dtype=np.float64).reshape(-1, 12)


def _orbits_from(rows: NDArray[np.float64]) -> list[Orbit]:
    found = []
    for row in rows.tolist():
        freq, turn, x, y, nharm, power, logp, sigma, *errors = row
        found.append(Orbit(freq, turn, x, y, int(nharm), power, logp, sigma, tuple(errors)))
    return found


def _folded(data: NDArray[Any], layout: Layout, orbit: Orbit) -> OrbitFold:
    t = (np.arange(layout.nsamps, dtype=np.float64) - 0.5 * (layout.nsamps - 1)) * layout.tsamp
    return fold_phases(data, orbit.freq * orbit.emitted(t), 1.0 / (orbit.freq * layout.tsamp))


def explained(found: Sequence[Found], tobs: float) -> list[tuple[int, str]]:
    """Of each signal the number of a better one, if their frequencies are in a ratio of small numbers, and which.

    Parameters
    ----------
    found : sequence of Found
        Best first.
    tobs : float
        [s]

    Returns
    -------
    list of (int, str)
        -1 and nothing for what stands for itself.
    """
    told: list[tuple[int, str]] = []
    for i, one in enumerate(found):
        told.append(
            next(
                ((k, what) for k in range(i) if told[k][0] < 0 and (what := _relation(found[k], one, tobs))),
                (-1, ""),
            )
        )
    return told


def _relation(head: Found, one: Found, tobs: float) -> str:
    a, b = head.orbit, one.orbit
    ratio = Fraction(b.freq / a.freq).limit_denominator(_RATIOS.most)
    if not 0 < ratio <= _RATIOS.most:
        return ""
    off = abs(b.freq - float(ratio) * a.freq)
    if off > _RATIOS.allowed(tobs, b.errors[0], float(ratio), a.errors[0]):
        return ""
    if ratio == 1:
        return "same" if head.dm_index != one.dm_index else "sidelobe 1"
    return f"harmonic {ratio}"


class _Writer:
    """The product of a search for orbits."""

    def __init__(self, plan: OrbitsPlan, obs: Observation, found: Sequence[Found]) -> None:
        self.plan, self.obs = plan, obs
        self.header = plan.layout.header(obs.header)
        self.found = sorted(found, key=lambda one: -one.orbit.sigma)
        self.told = explained(self.found, plan.layout.tobs)
        self.idents = [f"c{i + 1:04d}" for i in range(len(self.found))]
        self.uids = [self._uid(one) for one in self.found]

    def _uid(self, one: Found) -> str:
        what = f"{self.header.tstart!r}|{one.dm_index}|{one.orbit.freq!r}|{one.orbit.turn!r}|{one.orbit.nharm}"
        return hashlib.blake2b(what.encode(), digest_size=5).hexdigest()

    def write(self, out: Path, record: Mapping[str, Any], *, overwrite: bool) -> None:
        """Write it, whole or not at all."""
        from pulsar.io.product.writer import ProductWriter

        with ProductWriter(out, overwrite=overwrite) as writer:
            writer.observation(self.header, self.obs.files, self.obs.gaps, self.obs.problems)
            writer.table("candidates", self._candidates())
            writer.table("detections", self._detections())
            profiles = np.array([one.fold.profile for one in self.found], dtype=np.float32)
            writer.orbits([self._row(i) for i in range(len(self.found))], self._units(), profiles)
            writer.table("rfi/birdies", [])
            writer.provenance(record)

    def _candidates(self) -> NDArray[Any]:
        from pulsar.pipeline.candidates import fill_place

        table = empty_table(CANDIDATE_COLUMNS, len(self.found))
        for i, (row, one, (parent, relation)) in enumerate(zip(table, self.found, self.told, strict=True)):
            orbit = one.orbit
            fill_place(row, self.header)
            values = {
                "rank": i + 1, "id": self.idents[i], "uid": self.uids[i], "kind": "orbit", "found_by": "orbit",
                "freq": orbit.freq, "period": 1.0 / orbit.freq, "period_err": orbit.errors[0] / orbit.freq**2,
                "dm": self.plan.layout.dms[one.dm_index], "dm_detected": self.plan.layout.dms[one.dm_index],
                "snr": one.fold.snr, "width": one.fold.width, "sigma": orbit.sigma, "nharm": orbit.nharm,
                "sigma_single": float(stats.sigma_from_logp(orbit.logp)), "obs": 0, "ndetections": 1,
                "nattached": sum(k == i for k, _ in self.told), "relation": relation, "reasons": self._reasons(orbit),
            }  # fmt: skip
            if parent >= 0:
                values |= {"parent": self.uids[parent], "harmonic_of": self.idents[parent]}
            for name, value in values.items():
                row[name] = value
        return table

    def _reasons(self, orbit: Orbit) -> str:
        error = max(orbit.errors[2], orbit.errors[3])
        if orbit.size < TOLD * error:
            return f"no orbit is told: a sin(i)/c {orbit.size:.3g} +- {error:.2g} s: an isolated pulsar, or a line"
        return (
            f"P_orb {orbit.period:.6g} s, a sin(i)/c {orbit.size:.4g} s, companion of "
            f"{least_companion(orbit.period, orbit.size, self.plan.config.pulsar):.3g} solar masses or more"
        )

    def _detections(self) -> NDArray[Any]:
        table = np.zeros(len(self.found), dtype=dtype_of(DETECTION_COLUMNS))
        for i, (row, one, (parent, relation)) in enumerate(zip(table, self.found, self.told, strict=True)):
            orbit = one.orbit
            row["kind"], row["uid"], row["relation"] = "orbit", self.uids[i], relation
            row["parent"] = self.uids[parent] if parent >= 0 else ""
            row["dm"], row["dm_index"] = self.plan.layout.dms[one.dm_index], one.dm_index
            row["freq"], row["freq_err"] = orbit.freq, orbit.errors[0]
            row["nharm"], row["power"] = orbit.nharm, orbit.power
            row["logp"], row["sigma"] = orbit.logp, orbit.sigma
            row["sigma_single"] = stats.sigma_from_logp(orbit.logp)
            row["snr"], row["width"] = one.fold.snr, one.fold.width
        return table

    def _row(self, number: int) -> tuple[Any, ...]:
        one = self.found[number]
        orbit, dm = one.orbit, float(self.plan.layout.dms[one.dm_index])
        size = orbit.size
        size_err = float(np.hypot(orbit.x * orbit.errors[2], orbit.y * orbit.errors[3])) / max(size, 1e-12)
        # Across the direction of (x, y), as an angle; and W turns it about mid-observation.
        angle_err = float(np.hypot(orbit.y * orbit.errors[2], orbit.x * orbit.errors[3])) / max(size, 1e-12) ** 2
        node_err = float(np.hypot(angle_err, orbit.node * orbit.errors[1])) / orbit.turn
        return (
            self.idents[number],
            dm,
            orbit.freq,
            orbit.errors[0],
            orbit.period,
            orbit.period * orbit.errors[1] / orbit.turn,
            size,
            size_err,
            self.plan.layout.tmid - _late(self.header, dm) / DAY + orbit.node / DAY,
            node_err / DAY,
            least_companion(orbit.period, size, self.plan.config.pulsar),
            orbit.sigma,
            one.fold.snr,
            one.fold.width,
            one.fold.phase,
        )

    def _units(self) -> list[tuple[Any, ...]]:
        return [
            (one.octave.low, one.octave.high, one.templates, one.samples, one.each, one.seconds, one.per_hz)
            for one in self.plan.octaves
        ]


def _late(header: Header, dm: float) -> float:
    """Delay of the series, which is that of the highest channel, against infinite frequency [s]."""
    known = np.isfinite(header.fch1) and header.fch1 > 0
    return KDM * dm * float(header.fch1) ** -2.0 if known else 0.0
