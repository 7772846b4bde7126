"""What a search for orbits will cost, told before it begins."""

import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from pulsar.config.model import Config, OrbitsConfig
from pulsar.errors import ConfigError
from pulsar.orbits.search import Octave, OrbitSearch, octaves, template_memory
from pulsar.orbits.series import Layout

#: Templates are tried for so long in each octave, and no fewer than three, to tell what one takes [CPU s].
TRIED: Final = 0.3
MOST_TRIED: Final = 1000
#: Bytes for a sample of the series, at most, while it is folded; and copies of the white series, while it is made
#: (12 million samples, of a template 4.2 million: 97, and 3).
SERIES_BYTES: Final = 100
COPIES: Final = 3


@dataclass(frozen=True, eq=False)
class OctavePlan:
    """One octave of one DM.

    Attributes
    ----------
    octave : Octave
    templates : int
    samples : int
        Of a template.
    each : float
        CPU seconds of a template, tried on this machine.
    """

    octave: Octave
    templates: int
    samples: int
    each: float

    @property
    def seconds(self) -> float:
        """CPU seconds."""
        return self.templates * self.each

    @property
    def per_hz(self) -> float:
        """CPU seconds per Hz."""
        return self.seconds / (self.octave.high - self.octave.low)


@dataclass(frozen=True, eq=False)
class OrbitsPlan:
    """What is searched, and what it takes.

    Attributes
    ----------
    layout : Layout
    config : OrbitsConfig
    octaves : tuple of OctavePlan
    independent : float
        Independent ones among the DMs.
    threads : int
    memory : int
        Bytes that the search takes.
    """

    layout: Layout
    config: OrbitsConfig
    octaves: tuple[OctavePlan, ...]
    independent: float
    threads: int
    memory: int

    @property
    def seconds(self) -> float:
        """CPU seconds of the search of all DMs, without cleaning and dedispersion."""
        return float(len(self.layout.dms) * sum(one.seconds for one in self.octaves))

    def searches(self) -> list[OrbitSearch]:
        """The search of each octave."""
        share = 1.0 / (len(self.octaves) * self.independent)
        layout = self.layout
        return [OrbitSearch(layout.nsamps, layout.tsamp, one.octave, self.config, share) for one in self.octaves]

    def summary(self) -> list[str]:
        """The plan in words."""
        config, layout = self.config, self.layout
        ndms = len(layout.dms)
        size = [float(s) for s in _sizes(config)]
        hz = self.octaves[-1].octave.high - self.octaves[0].octave.low
        per_dm = sum(one.seconds for one in self.octaves)
        return [
            f"{ndms} DM{'s' if ndms > 1 else ''} ({self.independent:.3g} independent), {layout.tobs:.6g} s in samples "
            f"of {1e3 * layout.tsamp:.4g} ms{', barycentred' if layout.chosen is not None else ''}: "
            f"{layout.tobs / config.p_max:.3g} to {layout.tobs / config.p_min:.3g} orbits",
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
    layout : Layout
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
    asked = config.orbits
    if not asked.f_min < asked.f_max:
        raise ConfigError(f"frequencies from {asked.f_min:g} to {asked.f_max:g} Hz: expected MIN < MAX")
    bands = octaves(asked.f_min, asked.f_max)
    share = 1.0 / (len(bands) * independent)
    searches = [OrbitSearch(layout.nsamps, layout.tsamp, band, asked, share) for band in bands]
    series, each = template_memory(max(search.n for search in searches))
    fixed = COPIES * series + SERIES_BYTES * layout.nsamps
    if room < fixed + each:
        raise ConfigError(
            f"run.memory: a search of {layout.nsamps} samples up to {asked.f_max:g} Hz takes "
            f"{(fixed + each) / 2**20:.0f} MiB beside the program itself, {room / 2**20:.0f} are left: give more "
            "--memory, or search lower frequencies (--freq)"
        )
    threads = max(min(threads, int((room - fixed) // each)), 1)
    rows = tuple(OctavePlan(s.octave, s.bank.count, s.n, tried(s)) for s in searches)
    return OrbitsPlan(layout, asked, rows, independent, threads, fixed + threads * each)


def tried(search: OrbitSearch) -> float:
    """CPU seconds of a template: the mean of some, of noise."""
    noise = np.random.default_rng(1).standard_normal(search.nsamps, dtype=np.float32)
    white = search.whiten(noise)
    if white is None:
        return 0.0
    turns = search.bank.metric.turn
    _, most = search.bank.orbits.sizes(turns)
    # Two before the clock: kernels are loaded, or compiled, and memory is touched.
    times: list[float] = []
    begun = time.thread_time()
    while len(times) < 5 or (time.thread_time() - begun < TRIED and len(times) < MOST_TRIED):
        k = len(times) % turns.size
        first = time.thread_time()
        search.look(white, float(turns[k]), 0.7 * float(most[k]), -0.3 * float(most[k]))
        times.append(time.thread_time() - first)
    return float(np.mean(times[2:]))


def _sizes(config: OrbitsConfig) -> tuple[float, float]:
    from pulsar.orbits.bank import projected_size

    low, high = (projected_size(p, config.pulsar, config.heaviest) for p in (config.p_min, config.p_max))
    return low, high


def _time(seconds: float) -> str:
    """A time in words."""
    if seconds < 120.0:
        return f"{seconds:.3g} s"
    return f"{seconds / 60.0:.3g} min" if seconds < 7200.0 else f"{seconds / 3600.0:.4g} h"
