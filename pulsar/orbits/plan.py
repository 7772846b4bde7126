"""The plan of a search for orbits, and its cost, told before it begins."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pulsar.config.model import Config, OrbitsConfig
from pulsar.data.header import Header
from pulsar.data.observation import Observation
from pulsar.errors import ConfigError
from pulsar.orbits.bank import projected_size
from pulsar.orbits.search import OrbitSearch, octaves, template_memory
from pulsar.pipeline.cleaning import SAME_DM, dms_of_series
from pulsar.sky.barycentre import barycentric_samples, motion_of
from pulsar_kernels.arrays import Floats, Ints


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


def _dms(obs: Observation, asked: Sequence[float]) -> Floats:
    """The DMs that are searched, ascending."""
    wanted = np.unique(np.asarray(asked, dtype=np.float64))
    if obs.header.is_series:
        there = dms_of_series(obs)
        lost = [dm for dm in wanted if not np.any(np.abs(there - dm) < SAME_DM)]
        if lost:
            raise ConfigError(
                f"--dm {lost[0]:g}: no series of this DM is given, of {', '.join(f'{d:g}' for d in there[:20])}"
            )
        return wanted if wanted.size else there
    if not wanted.size:
        raise ConfigError("give the DM of the cluster: --dm 31.2, several for several: a search for orbits takes long")
    if not (np.all(np.isfinite(wanted)) and wanted[0] >= 0):
        raise ConfigError(f"--dm {wanted[0]:g}: expected a number >= 0")
    return wanted


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
    asked, header = config.orbits, layout.header
    if not asked.f_min < asked.f_max:
        raise ConfigError(f"frequencies from {asked.f_min:g} to {asked.f_max:g} Hz: expected MIN < MAX")
    bands = octaves(asked.f_min, asked.f_max)
    share = 1.0 / (len(bands) * independent)
    searches = tuple(OrbitSearch(header.nsamps, header.tsamp, band, asked, share) for band in bands)
    series, each = template_memory(max(search.n for search in searches))
    # Bytes for a sample of the series, at most, while it is folded; and copies of the white series, while it is made
    # (12 million samples, of a template 4.2 million: 97, and 3).
    fixed = 3 * series + 100 * header.nsamps
    if room < fixed + each:
        raise ConfigError(
            f"run.memory: a search of {header.nsamps} samples up to {asked.f_max:g} Hz takes "
            f"{(fixed + each) / 2**20:.0f} MiB beside the program itself, {room / 2**20:.0f} are left: give more "
            "--memory, or search lower frequencies (--freq)"
        )
    threads = max(min(threads, int((room - fixed) // each)), 1)
    rows = tuple(OctavePlan(s, s.bank.count, tried(s)) for s in searches)
    return OrbitsPlan(layout, asked, rows, independent, threads, fixed + threads * each)


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
