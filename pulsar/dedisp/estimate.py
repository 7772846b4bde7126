"""What a plan will cost, for ``pulsar plan``."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from pulsar.dedisp.engine import batch_size, samples_per_dm, tile_size
from pulsar.dedisp.plan import DMPlan

#: Additions per CPU second, measured with `pulsar bench tree brute` on one core of an EPYC (Zen 4); other machines
#: differ by a factor of two or so.
ADDS_PER_SECOND: Final = {"tree": 38e9, "brute": 50e9}
#: Seconds per channel-sample to downsample it and to move it through the buffers, measured likewise.
SECONDS_PER_SAMPLE: Final = 2.5e-10


@dataclass(frozen=True)
class StageCost:
    """Cost of one stage.

    Attributes
    ----------
    adds : float
        Additions.
    nbytes : int
        Size of the series.
    cpu_seconds : float
        CPU time expected (divide by the threads for the time on the clock); reading and cleaning not counted.
    """

    adds: float
    nbytes: int
    cpu_seconds: float


@lru_cache(maxsize=16)
def _tree_adds(k: bytes, dms: bytes, tile: int) -> float:
    """`TreeProgram.adds` of a tree: a run asks twice, before and after its mask, and mostly for the same channels."""
    from pulsar.dedisp.tree import build_tree

    return build_tree(np.frombuffer(k), np.frombuffer(dms), tile).adds


def estimate(plan: DMPlan, method: str | None = None) -> list[StageCost]:
    """Cost of each stage of a plan.

    Parameters
    ----------
    plan : DMPlan
    method : {"tree", "brute"}, optional
        Default: the plan's.
    """
    method = method or plan.method
    costs = []
    for stage in plan.stages:
        if method == "tree":
            # A batch from the middle stands for all.
            batches = -(-stage.ndms // batch_size(method, plan.freqs.size, stage.nsamps))
            size = -(-stage.ndms // batches)
            first = (batches // 2) * (stage.ndms - size) // max(batches - 1, 1)
            k = samples_per_dm(plan.freqs, plan.fref, stage.tsamp)
            each = _tree_adds(k.tobytes(), stage.dms[first : first + size].tobytes(), tile_size(stage.nsamps))
            adds = each * stage.ndms / size * stage.nsamps
        else:
            adds = float(stage.ndms) * (plan.freqs.size - 1) * stage.nsamps
        moved = plan.freqs.size * stage.nsamps * SECONDS_PER_SAMPLE
        costs.append(StageCost(adds, stage.nbytes, adds / ADDS_PER_SECOND[method] + moved))
    return costs
