"""A candidate on its way from group to row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from pulsar.data.fold import Fold
from pulsar.searches.sift import Group

#: Deviations of noise within which two values agree, and beyond which something is there: beyond are 6 in 100,000.
AGREE: Final = 4.0
#: What is within so many may be noise: 3 in 1,000 are beyond.
POSSIBLE: Final = 3.0
#: S/N that the best fold of noise reaches (docs/folding.md).
CHANCE: Final = 5.0
#: Frequencies agree within this part of 1/T, too: a fold at one of them is drawn onto the other.
AGREE_BINS: Final = 0.3
#: What has a lower chance to be there by accident is not: a list of a thousand rows has a tenth of one that is.
MAX_CHANCE: Final = 1e-4
#: So of what something else tells of, too.
RARE: Final = 1e-2


@dataclass(frozen=True)
class Candidate:
    """A group of detections with its refined fold, and what has been told of it so far."""

    group: Group
    fold: Fold | None = None  # None when it was not folded: explained by another one, or not among the best
    features: Mapping[str, float] = field(default_factory=dict)  # What the score is made from; empty without a fold
    score: float = 0.0  # 0 to 1
    flags: tuple[str, ...] = ()  # Reasons to suspect interference, names of the table of flags
    parent: str = ""  # uid of the candidate that explains it; empty when it stands for itself
    relation: str = ""  # What it is of its parent: "harmonic 2", "harmonic 3/2", "same", "sidelobe", "modulation"
    reasons: tuple[str, ...] = ()  # The numbers behind parent, relation and flags, in words
    found_by: tuple[str, ...] = ()  # Kinds of the searches that found it or what belongs to it, best first
    nattached: int = 0  # Groups that it explains
    alternative: float = float("nan")  # Another period [s] that the data do not exclude; NaN where they decide
    #: Its fold is of a part of the observation, its name that of a group of the whole, or of a longer part.
    refolded: bool = False

    @property
    def uid(self) -> str:
        """Its name, that of its group."""
        return self.group.uid

    @property
    def best(self) -> Any:
        """Its most significant detection."""
        return self.group.best

    @property
    def freq(self) -> float:
        """Best frequency [Hz]: refined where there is a fold."""
        return self.fold.after.freq if self.fold is not None else self.group.freq

    @property
    def fdot(self) -> float:
        """Its derivative [Hz/s]."""
        return self.fold.after.fdot if self.fold is not None else float(self.best["fdot"])

    @property
    def freq_err(self) -> float:
        """Its error [Hz]."""
        return self.fold.freq_err if self.fold is not None else self.group.freq_err

    @property
    def dm(self) -> float:
        """Best DM [pc cm^-3]."""
        return self.fold.after.dm if self.fold is not None else self.group.dm

    @property
    def dm_err(self) -> float:
        """Its error [pc cm^-3]."""
        return self.fold.dm_err if self.fold is not None else max(self.group.dm_hi - self.group.dm_lo, 1.0)

    @property
    def snr(self) -> float:
        """Folded S/N; NaN without a fold."""
        return float(self.fold.snr) if self.fold is not None else float(np.nan)

    @property
    def part(self) -> str:
        """Part of the observation that its parameters are of, such as 3/4; empty for the whole."""
        return self.fold.part if self.fold is not None else self.group.part

    @property
    def strength(self) -> tuple[float, float]:
        """Key of the order: the score, then the folded S/N (or, unfolded, far below, the significance)."""
        if self.fold is None:
            return (self.score, -1e6 + self.group.sigma)
        return (self.score, self.snr)
