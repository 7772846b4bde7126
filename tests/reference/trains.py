"""Trains of pulses."""

import numpy as np
from numpy.typing import NDArray


def pulses(
    n: int, period: float, duty: float, snr: float, phase: float = 0.3, present: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Gaussian pulses of full width `duty` at half maximum (turns), period in samples, matched-filter S/N."""
    turns = np.arange(n) / period + phase
    number = np.round(turns).astype(int)
    turns -= number
    x = np.exp(-4 * np.log(2) * (turns / duty) ** 2)
    if present is not None:
        x *= present[number]
    x -= x.mean()
    return (x * snr / np.sqrt(np.sum(x**2))).astype(np.float32)
