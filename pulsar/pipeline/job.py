"""The job of a run, and its detections, as stages hand them on."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import Config
from pulsar.data.fold import Fold, FoldCube, FoldParams
from pulsar.data.header import WHOLE, Part
from pulsar.data.observation import Observation
from pulsar.pipeline.checkpoint import Checkpoint
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.pulses import Pulses
from pulsar.pipeline.run_plan import RunPlan
from pulsar.pipeline.stages import BatchSearch, Found

if TYPE_CHECKING:
    from pulsar.cleaning import Mask
    from pulsar.cleaning.birdies import Birdie
    from pulsar.cleaning.source import MaskedSource
    from pulsar.dedisp.store import Reserve
    from pulsar.dedisp.subbands import Subbands
    from pulsar.pipeline.compiling import Ahead


class FoldMany(Protocol):
    """Folds any number of candidates in one pass over the data, or over a part of them."""

    def __call__(self, params: Sequence[FoldParams], part: Part = WHOLE) -> list[FoldCube]:
        """Cubes of candidates whose parameters are those at the middle of the part."""
        ...


@dataclass(frozen=True, eq=False)
class Searching:
    """With what raw data were searched, and what the series gave: for who searches some of them once more.

    Attributes
    ----------
    source : MaskedSource
    plan : RunPlan
        Of the channels that are alive.
    finder : BatchSearch
        With the lines that are left out.
    found : Found
    subbands : tuple of Subbands
        Of the first places at which signals will be injected.
    """

    source: "MaskedSource"
    plan: RunPlan
    finder: BatchSearch
    found: Found
    subbands: "tuple[Subbands, ...]" = ()


@dataclass(frozen=True)
class Job:
    """Observation, settings, plan and means of a run.

    Attributes
    ----------
    obs : Observation
    config : Config
    plan : RunPlan
        Made before any sample was read.
    checkpoint : Checkpoint
    progress : Progress
    threads : int
    common : sequence of Birdie
        Periodic interference that other beams have shown.
    compiled : Ahead, optional
        Kernels that are being compiled meanwhile; waited for before the searching begins.
    crew : Crew, optional
        Who searches ranges of DMs; by default this process does.
    reserve : Reserve, optional
        Memory for the samples that dedispersion keeps, asked for ahead.
    """

    obs: Observation
    config: Config
    plan: RunPlan
    checkpoint: Checkpoint
    progress: Progress
    threads: int
    common: "Sequence[Birdie]" = ()
    compiled: "Ahead | None" = None
    crew: "Callable[[], AbstractContextManager[Any]] | None" = None
    reserve: "Reserve | None" = None

    def wait_for_kernels(self) -> None:
        """Until all are compiled: that it happens once must not be counted into the time that a search takes."""
        if self.compiled is not None:
            self.compiled.wait(self.progress)


@dataclass(frozen=True)
class Detected:
    """Detections, and the means by which later stages go back to the data.

    Attributes
    ----------
    detections : ndarray
        Periodic, with the fields of DETECTION_COLUMNS, those of repeating pulses among them.
    dms : ndarray
        All DMs that were searched [pc cm^-3].
    pulses : Pulses
    fold_many : FoldMany
    freqs : ndarray
        Channels that were used [MHz]; empty for a dedispersed series.
    mask : Mask or None
    birdies : list of Birdie
        What was left out of the spectra.
    finish : callable or None
        Adds to a refined fold what its own data do not tell: of series of several DMs the DM curve.
    searching : Searching or None
        None for dedispersed series.
    known : mapping of str to Fold
        Folds that need not be made once more, by the uid of their group.
    subtracted : ndarray or None
        Pulsars that were taken out of the samples, with the fields of SUBTRACTED_COLUMNS.
    """

    detections: NDArray[Any]
    dms: NDArray[np.float64]
    pulses: Pulses
    fold_many: FoldMany
    freqs: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    mask: "Mask | None" = None
    birdies: "list[Birdie]" = field(default_factory=list)
    finish: Callable[[Fold], Fold] | None = None
    searching: Searching | None = None
    known: Mapping[str, Fold] = field(default_factory=dict)
    subtracted: NDArray[Any] | None = None
