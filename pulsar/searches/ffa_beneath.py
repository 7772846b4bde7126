"""Sources beneath stronger ones in the fast folding search: the series without these, and what is left of trials.

A trial beside a strong source, or at a ratio of its frequency, shows that one; it may show a weaker pulsar as well. The
S/N of the two do not add up in a way that could be known, so that no limit tells them apart. The series does: without
the pulse train of the strong one a trial that showed nothing else is noise, and a pulsar of its own is what it was.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pulsar.searches import stats
from pulsar.searches.ffa_levels import Level
from pulsar.searches.ffa_series import Buffers, halved

#: So many sources are taken off at most, the strongest first: each costs a few passes over the series.
MOST_SOURCES = 8
#: Samples in a turn from which on a level has a profile of its own; below, that of a finer level is summed.
LEAST_SAMPLES = 8.0
#: Phase bins in a pulse: straight lines between their middles are within 1 % of a Gaussian.
BINS_IN_PULSE = 8.0
MOST_BINS = 512
#: Parts of the data by which pulses are seen to vary.
MOST_PARTS = 64
#: Where pulses vary more than noise does so seldom nothing is known of the series; if that is most of a turn, of
#: nothing.
_LOGP_VARIES = float(np.log(1e-4))
MOST_BLANK = 0.5


class PulseTrain:
    """The mean profile of a source in the series of a level, and the phases at which its pulses vary.

    Parameters
    ----------
    flat : ndarray of float32, shape (n,)
    tau : float
        [s]
    noise : float
        Of a sample that is there.
    root : (float, float, float, float)
        Frequency [Hz], S/N, width [turns] and variation of the source.
    """

    def __init__(self, flat: NDArray[np.float32], tau: float, noise: float, root: Sequence[float]) -> None:
        freq, _, width, _ = root
        self.per_sample = freq * tau
        self.bins = int(np.clip(np.ceil(BINS_IN_PULSE / width), 16, max(min(MOST_BINS, 1.0 / self.per_sample), 8.0)))
        self.box = max(round(width * self.bins), 1)
        parts = self._parts(flat), self._parts((flat != 0.0).astype(np.float32))
        sums, counts = (x.astype(np.float64) for x in parts)
        there = np.maximum(counts.sum(axis=0), 1.0)
        self.profile = sums.sum(axis=0) / there
        self.profile -= float(np.average(self.profile, weights=there))
        varies = self._varies(sums - counts * self.profile, counts * noise**2)
        # All bins of a box that varies.
        if varies.any():
            varies = self._boxes(np.roll(varies, self.box)[None].astype(np.float64))[0] > 0.0
        self.blank = varies

    def _parts(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Profiles of parts of two turns or more."""
        from pulsar_kernels import longwave

        nparts = int(np.clip(len(x) * self.per_sample / 2.0, 2, MOST_PARTS))
        parts = np.empty((nparts, self.bins), dtype=np.float32)
        longwave.fold(x, self.per_sample, parts)
        return parts

    def _boxes(self, parts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over the width of a pulse, from the bin after every phase on."""
        running = np.cumsum(np.concatenate((parts, parts[:, : self.box]), axis=1), axis=1)
        return np.asarray(running[:, self.box :] - running[:, : -self.box])

    def _varies(self, rest: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether boxes of parts differ by more than noise, at every phase; noise that is red differs everywhere."""
        chi2 = np.sum(self._boxes(rest) ** 2 / np.maximum(self._boxes(variance), 1e-30), axis=0)
        freedom = len(rest) - 1
        chi2 /= max(stats.median(chi2) / freedom, 1.0)
        # What is usual need not be worked out.
        varies = chi2 > freedom + 2.0 * np.sqrt(2.0 * freedom)
        if varies.any():
            varies[varies] = stats.chi2_logsf(chi2[varies], freedom) < _LOGP_VARIES
        return np.roll(varies, 1)

    def in_series(self, flat: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is to be taken off, sample by sample."""
        from pulsar_kernels import longwave

        out = np.empty_like(flat)
        longwave.pulse_train(flat, self.per_sample, self.profile, self.blank, out)
        return out

    def left(self, flat: NDArray[np.float32], noise: float) -> float:
        """Largest S/N of a box at its frequency, and up to a turn beside it, without the mean profile."""
        from pulsar_kernels import longwave

        parts = self._parts(flat)
        drifts = np.arange(-self.bins, self.bins + 1, max(self.box // 4, 1))
        boxes = np.unique(np.maximum(np.round(self.box * np.array([0.35, 0.7, 1.0, 1.4])), 1).astype(np.int64))
        boxes = boxes[boxes < self.bins]
        grid = np.empty((len(drifts), len(boxes)))
        longwave.drift_snr(parts, drifts, boxes, noise * float(np.sqrt(len(flat) / self.bins)), grid)
        return float(grid.max())


def take_source(levels: tuple[Level, ...], buffers: Buffers, root: Sequence[float], threshold: float) -> bool:
    """Take a source out of the series of all levels, in place; False if more than noise is left of it.

    Parameters
    ----------
    levels : tuple of Level
    buffers : Buffers
        Its series and their noise are changed.
    root : (float, float, float, float)
        Frequency [Hz], S/N, width [turns] and variation of the source.
    threshold : float
        S/N that noise does not have.
    """
    train: PulseTrain | None = None
    what = np.zeros(0, dtype=np.float32)
    own = -1
    freq = float(root[0])
    for i, level in enumerate(levels):
        flat = buffers.flat[i]
        noise = buffers.noise[i] * float(np.sqrt(len(flat) / max(int(np.count_nonzero(flat)), 1)))
        if freq * level.tau * LEAST_SAMPLES <= 1.0:
            train, own = PulseTrain(flat, level.tau, noise, root), i
            if float(np.mean(train.blank)) > MOST_BLANK:
                return False
            what = train.in_series(flat)
        elif train is None:
            return False
        else:
            steps = level.halvings - levels[i - 1].halvings
            what = halved(what, steps, np.empty_like(what))[-1][: len(flat)]
        flat -= what
        buffers.noise[i] = noise * float(np.sqrt(int(np.count_nonzero(flat)) / len(flat)))
    # The coarsest of the series that have a profile of their own tells it as well as the others.
    return train is not None and train.left(buffers.flat[own], buffers.noise[own]) < threshold
