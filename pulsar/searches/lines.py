"""Known lines taken out of a series before it is folded or searched for single pulses."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pulsar.searches import stats

#: Power of a line, over that of noise, from which it is taken out of a series.
LINE_POWER = 30.0
#: Most lines of one series, the strongest.
MOST_LINES = 32


def without_lines(raw: NDArray[np.float32], tau: float, lines: Sequence[tuple[float, float]]) -> int:
    """Take lines out of a series, in place, where they are stronger than noise is.

    Parameters
    ----------
    raw : ndarray of float32, shape (n,)
        NaN are missing, and stay so.
    tau : float
        Time from one sample to the next [s].
    lines : sequence of (float, float)
        Frequencies and full widths [Hz]; those beyond Nyquist are left to the averaging.

    Returns
    -------
    int
        Lines that were there.
    """
    from scipy.fft import rfft

    from pulsar_kernels.longwave import remove_tone

    n = raw.shape[0]
    lines = [line for line in lines if line[0] + 0.5 * line[1] < 0.5 / tau]
    if not lines:
        return 0
    known = np.isfinite(raw)
    mean = np.float32(raw[known].mean()) if known.any() else np.float32(0.0)
    spectrum = rfft(np.where(known, raw - mean, np.float32(0.0)))
    powers = spectrum.real**2 + spectrum.imag**2
    usual = stats.median(powers) / np.log(2.0)
    work = np.empty((3, n + 1))
    step = 1.0 / (n * tau)
    strong = []
    for freq, width in lines:
        width = max(width, step)
        lo = max(int((freq - 0.5 * width) / step), 1)
        hi = max(int(np.ceil((freq + 0.5 * width) / step)) + 1, lo + 1)
        if powers[lo:hi].max() > LINE_POWER * usual:
            strong.append((float(powers[lo:hi].max()), freq, width))
    strong = sorted(strong, reverse=True)[:MOST_LINES]
    for _, freq, width in strong:
        remove_tone(raw, freq * tau, min(max(int(0.5 / (width * tau)), 1), n), work)
    return len(strong)
