"""Frequencies at a ratio of small numbers: which signals of a list may be harmonics of others."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Ratios:
    """Which ratios count, and how near to one of them the frequencies of two signals of one source are.

    Attributes
    ----------
    most : int
        No number of a ratio is larger; of orbits it is the denominator, and the ratio as a whole.
    bins : float
        Off by so many bins of 1/T,
    errors : float
        and so many errors.
    """

    most: int
    bins: float
    errors: float

    def allowed(self, tobs: float, error: Any, ratio: Any, head_error: Any, parts: Any = 1.0) -> Any:
        """How far a frequency may be from a ratio times that of the head [Hz].

        Parameters
        ----------
        tobs : float
            [s]
        error, head_error : float or ndarray
            Of the two frequencies [Hz].
        ratio : float or ndarray
        parts : float or ndarray
            The denominator of the ratio, where the bins are those of the head, of which the frequency is a part.
        """
        return self.bins / tobs / parts + self.errors * np.hypot(error, ratio * head_error)
