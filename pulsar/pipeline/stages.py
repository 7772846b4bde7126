"""The stage of a run that goes over all dedispersed series, shared out over threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import FFTConfig
from pulsar.constants import KDM
from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of

if TYPE_CHECKING:
    from pulsar.dedisp.plan import DMStage
    from pulsar.dedisp.store import StoredStage


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
    delay = KDM * plan.dm_step * (freqs**-2.0 - freqs[0] ** -2.0)
    grid = (np.arange(64) + 0.5) / 64 * 0.5 / plan.tsamp
    coherence = np.abs(np.exp(2j * np.pi * grid[:, None] * delay[None, :]).mean(axis=1))
    g2 = np.clip(coherence**2, 0.0, 1.0 - 1e-9)[:, None]
    # The power that is above exceeds the threshold by an exponential: its deciles' centres.
    above = power - np.log1p(-(np.arange(10) + 0.5) / 10)[None, :]
    new = ncx2.cdf(2 * power / (1 - g2), 2, 2 * g2 * above / (1 - g2)).mean()
    return 1.0 + (plan.ndms - 1) * float(new)


def search_stages(
    stages: "Sequence[StoredStage]",
    config: FFTConfig,
    *,
    freqs: NDArray[np.float64],
    threads: int,
    progress: Callable[[float], None] | None = None,
) -> NDArray[Any]:
    """Search every series of every stage.

    Parameters
    ----------
    stages : sequence of StoredStage
    config : FFTConfig
    freqs : ndarray
        Frequencies of the channels that went into the series [MHz].
    threads : int
        Series are shared out over this many threads; the result does not depend on it.
    progress : callable, optional
        Called with the number of series done.

    Returns
    -------
    ndarray
        Detections with the fields of DETECTION_COLUMNS, `dm_index` ascending.
    """
    from pulsar.search.fft import FFTSearch

    ntrials_dm = sum(independent_dms(stage.plan, freqs) for stage in stages)
    found: list[NDArray[Any]] = [np.empty(0, dtype=dtype_of(DETECTION_COLUMNS))]
    first = 0
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for stage in stages:
            plan = stage.plan
            search = FFTSearch(plan.nsamps, plan.tsamp, config, ntrials_dm=ntrials_dm)

            def one(
                index: int, stage: "StoredStage" = stage, search: FFTSearch = search, first: int = first
            ) -> NDArray[Any]:
                dm = float(stage.plan.dms[index])
                detections = search.search(stage.row(index), dm=dm, dm_index=first + index)
                if progress is not None:
                    progress(1)
                return detections

            found.extend(pool.map(one, range(plan.ndms)))
            first += plan.ndms
    return np.concatenate(found)
