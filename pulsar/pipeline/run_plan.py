"""The plan of a run: what it will do and need."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from pulsar.dedisp.batches import Route
from pulsar.dedisp.plan import DMPlan
from pulsar.searches.registry import SEARCHES


@dataclass(frozen=True)
class Amount:
    """How much is injected.

    Attributes
    ----------
    places : int
        DMs at which there are signals.
    at_once : int
        Of how many of them subbands fit the memory; 0: they go to scratch files.
    cpu : float
        Expected processor time [s], at the default rates.
    """

    places: int
    at_once: int
    cpu: float


@dataclass(frozen=True)
class RunPlan:
    """The plan of a run.

    Attributes
    ----------
    dm : DMPlan or None
        Trial DMs; None for an already dedispersed series.
    nsamps, nchans : int
        Samples and (live) channels.
    threads : int
    memory : int
        Bytes that the stages may take.
    mask_memory, least_memory : int
        Bytes that the mask takes beside, and those below which the observation cannot be searched at all.
    series_bytes : int
        Size of all dedispersed series.
    route : Route or None
        How they are reached: from samples kept in memory, in passes over the file, or through a scratch file.
    trials : dict of str to float
        What each search goes through in all series: frequencies (fft), points of frequency and drift (accel), periods
        at the DMs that are folded (ffa), samples times widths (single_pulse).
    search_memory : int
        Bytes that the buffers of the searches take, in all threads.
    accel_memory : int
        Those among them that the acceleration search may take.
    parts : str
        What is searched in parts of the observation, and what that costs, in words; empty for the whole alone.
    octaves : str
        Which frequencies of which trial DMs the acceleration search takes, where that is not all, in words.
    halved : str
        From which trial DMs on fewer samples are searched for periods, in words; empty where none are.
    seconds : dict of str to float
        Expected elapsed time of each stage [s], without compilation.
    work : dict of str to float
        CPU seconds of each stage at the default rates, without its start.
    rated : str
        What the expected times are taken from, in words.
    dm_fits : float
        DM from which on the delay over the band is longer than the data.
    tsamp : float
        Sampling time [s].
    zapped : float
        Share of the band that `rfi.zap` leaves out before anything is looked at.
    subtracted : int
        Known pulsars that are taken out of the samples first.
    injections : Amount or None
        Signals that are injected to tell the completeness; None: none.
    """

    dm: DMPlan | None
    nsamps: int
    nchans: int
    threads: int
    memory: int
    series_bytes: int
    route: Route | None
    trials: dict[str, float] = field(default_factory=dict)
    search_memory: int = 0
    accel_memory: int = 0
    parts: str = ""
    octaves: str = ""
    halved: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)
    rated: str = ""
    dm_fits: float = np.inf
    zapped: float = 0.0
    tsamp: float = 0.0
    mask_memory: int = 0
    least_memory: int = 0
    injections: Amount | None = None
    subtracted: int = 0

    @property
    def ndms(self) -> int:
        """Trial DMs."""
        return 1 if self.dm is None else self.dm.ndms

    @property
    def scratch_bytes(self) -> int:
        """Size of the scratch file."""
        return 0 if self.route is None else self.route.scratch_bytes

    @property
    def total_seconds(self) -> float:
        """Expected elapsed time of the run [s]."""
        return sum(self.seconds.values())

    def summary(self) -> Iterable[str]:
        """Lines for the log."""
        if self.dm is not None:
            lo, hi = float(self.dm.dms[0]), float(self.dm.dms[-1])
            stages = "1 stage" if len(self.dm.stages) == 1 else f"{len(self.dm.stages)} stages"
            yield f"{self.ndms} DMs from {lo:g} to {hi:g} in {stages}"
            if hi > self.dm_fits:
                yield f"note: above DM {self.dm_fits:.4g} the delay over the band is longer than the data"
        if self.zapped:
            yield f"rfi.zap leaves out {100 * self.zapped:.2g} % of the band before looking at it"
        yield "searching " + ", ".join(f"{count:.3g} {TRIALS[name]}" for name, count in self.trials.items())
        if self.parts:
            yield self.parts
        for said in (self.octaves, self.halved):
            if said:
                yield said
        if self.subtracted:
            some = "1 known pulsar is" if self.subtracted == 1 else f"{self.subtracted} known pulsars are"
            yield f"{some} taken out of the samples first"
        if self.injections is not None:
            yield f"signals injected at {self.injections.places} DMs will tell the completeness"
        yield (
            f"dedispersed series: {_size(self.series_bytes)}{self._way()}; {self.threads} threads, "
            f"about {self.total_seconds:.0f} s ({self.rated}, without compilation)"
        )

    def _way(self) -> str:
        route = self.route
        if route is None:
            return ""
        if route.kind == "scratch":
            return " through a scratch file"
        if route.kind == "samples":
            return f" in batches, {_size(route.held)} in memory"
        return " in memory" if route.passes == 1 else f" in {route.passes} passes over the file"


#: What a search goes through.
TRIALS = {search.name: search.counted for search in SEARCHES}


def _size(nbytes: float) -> str:
    mib = nbytes / 2**20
    return f"{mib / 1024:.2f} GiB" if mib >= 100 else f"{mib:.1f} MiB"
