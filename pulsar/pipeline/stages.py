"""The stage of a run that goes over all dedispersed series, shared out over threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import FFTConfig
from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of

if TYPE_CHECKING:
    from pulsar.dedisp.store import StoredStage


def search_stages(
    stages: "Sequence[StoredStage]",
    config: FFTConfig,
    *,
    threads: int,
    progress: Callable[[float], None] | None = None,
) -> NDArray[Any]:
    """Search every series of every stage.

    Parameters
    ----------
    stages : sequence of StoredStage
    config : FFTConfig
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

    ntrials_dm = float(sum(stage.plan.ndms for stage in stages))
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
