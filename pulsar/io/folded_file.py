"""A fold that another program has made, as its file has it."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pulsar.data.fold import FoldCube
from pulsar.data.header import Header


@dataclass(frozen=True)
class FoldedFile:
    """A fold as its file has it.

    Attributes
    ----------
    cube : FoldCube
        Dedispersed at its own DM, of unit noise for each sample that went in; to be refined or measured.
    header : Header
        Of the observation, as far as the file tells: channels are its subbands.
    name : str
        Of the candidate, "" where it has none.
    stated : dict of str to float
        What the file says itself: ``period`` (topocentric, or barycentric where the data are) [s], ``dm`` [pc cm^-3],
        ``snr``, ``width`` [turns]; what it does not tell is left out.
    problems : tuple of str
        What is not in the file and was reckoned in another way.
    """

    cube: FoldCube
    header: Header
    name: str = ""
    stated: dict[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def somewhere(freqs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frequencies of bands [MHz]; where that of the one band of a series is unknown it has no delay, at infinity."""
    return np.where(np.isfinite(freqs) & (freqs > 0.0), freqs, np.inf)
