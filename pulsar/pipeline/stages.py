"""The stage of a run that goes over all dedispersed series, shared out over threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import FFTConfig
from pulsar.constants import KDM
from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of

if TYPE_CHECKING:
    from pulsar.dedisp.batches import Batch
    from pulsar.dedisp.plan import DMPlan, DMStage
    from pulsar.search.fft import FFTSearch

#: Samples that one task searches, at least.
_TASK_POINTS = 1 << 19


def independent_dms(plan: "DMStage", freqs: NDArray[np.float64], power: float = 16.0) -> float:
    """Independent trials among the DMs of a stage, for powers of noise at a search's threshold.

    Noise at neighbouring DMs is the same noise with slightly different delays: Fourier amplitudes at frequency f have
    the coherence g(f) = |mean over channels of exp(2 pi i f dt)|, dt the channel's delay over one DM step. A power
    above the threshold is a new one, not the continuation of its neighbour's, with the probability that the neighbour
    is below (the extremal index of the chain; Leadbetter 1983). Given one of two such exponential powers the other is a
    noncentral chi-square (Goodman 1957). Averaged over all frequencies up to Nyquist.

    Parameters
    ----------
    plan : DMStage
    freqs : ndarray
        Channel frequencies [MHz].
    power : float
        Normalised power of the threshold in a single trial; the result hardly depends on it.
    """
    from scipy.stats import ncx2

    if plan.ndms < 2:
        return float(plan.ndms)
    grid = (np.arange(64) + 0.5) / 64 * 0.5 / plan.tsamp
    # The power that is above exceeds the threshold by an exponential: its deciles' centres.
    above = power - np.log1p(-(np.arange(10) + 0.5) / 10)[None, :]
    # Steps grow slowly along a stage: a few stand for all.
    steps = np.unique(np.quantile(plan.steps, (np.arange(8) + 0.5) / 8, method="nearest"))
    nearest = np.abs(plan.steps[:, None] - steps).argmin(axis=1)
    new = np.zeros(steps.size)
    for i, step in enumerate(steps):
        delay = KDM * step * (freqs**-2.0 - freqs[0] ** -2.0)
        coherence = np.abs(np.exp(2j * np.pi * grid[:, None] * delay[None, :]).mean(axis=1))
        g2 = np.clip(coherence**2, 0.0, 1.0 - 1e-9)[:, None]
        new[i] = ncx2.cdf(2 * power / (1 - g2), 2, 2 * g2 * above / (1 - g2)).mean()
    return 1.0 + float(new[nearest].sum())


class BatchSearch:
    """Searches batches of series on several threads; the result does not depend on how many.

    Parameters
    ----------
    plan : DMPlan
        All trials of the run, for which significances are corrected.
    config : FFTConfig
    threads : int
    """

    def __init__(self, plan: "DMPlan", config: FFTConfig, *, threads: int) -> None:
        self.config = config
        self.threads = max(1, threads)
        self.ntrials_dm = sum(independent_dms(stage, plan.freqs) for stage in plan.stages)
        self._search: FFTSearch | None = None

    def search(self, batch: "Batch", progress: Callable[[float], None] | None = None) -> NDArray[Any]:
        """Detections in all series of a batch, with the fields of DETECTION_COLUMNS, `dm_index` ascending.

        Parameters
        ----------
        batch : Batch
        progress : callable, optional
            Called with the number of series newly searched.
        """
        from pulsar.search.fft import FFTSearch

        stage = batch.stage
        search = self._search
        if search is None or (search.nsamps, search.tsamp) != (stage.nsamps, stage.tsamp):
            search = FFTSearch(stage.nsamps, stage.tsamp, self.config, ntrials_dm=self.ntrials_dm)
            self._search = search

        def some(first: int, last: int) -> list[NDArray[Any]]:
            found = []
            for i in range(first, last):
                found.append(search.search(batch.row(i), dm=float(stage.dms[i]), dm_index=batch.first + i))
                if progress is not None:
                    progress(1)
            return found

        # Short series several at a time: handing them out costs as much as searching them.
        each = max(1, min(_TASK_POINTS // stage.nsamps, stage.ndms // (4 * self.threads)))
        starts = range(0, stage.ndms, each)
        with ThreadPoolExecutor(self.threads, thread_name_prefix="search") as pool:
            parts = pool.map(some, starts, [min(start + each, stage.ndms) for start in starts])
            found = [row for part in parts for row in part]
        return np.concatenate([np.empty(0, dtype=dtype_of(DETECTION_COLUMNS)), *found])
