"""What has been found in which trial DMs, wherever and in whatever order they were searched; kept for `--resume`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pulsar.pipeline.checkpoint import Checkpoint
from pulsar.pipeline.stages import Found

if TYPE_CHECKING:
    from pulsar.cleaning.birdies import Birdie

# Events of single pulses kept in a run, the strongest (interference can make any number).
MOST_EVENTS = 4_000_000


@dataclass
class Searched:
    """The state of a search between two batches.

    Attributes
    ----------
    found : Found
        As one process finds it that goes from DM to DM.
    ranges : list of (int, int)
        Trials that are done: the first, and the one after the last; ascending.
    birdies : list of Birdie or None
        What is left out of the spectra; None: not learnt yet.
    """

    found: Found = field(default_factory=lambda: Found.join([]))
    ranges: list[tuple[int, int]] = field(default_factory=list)
    birdies: "list[Birdie] | None" = None

    @property
    def ndone(self) -> int:
        """Trials that are done."""
        return sum(last - first for first, last in self.ranges)

    @property
    def done(self) -> int:
        """Trials that are done from the first on, without a hole."""
        return self.ranges[0][1] if self.ranges and self.ranges[0][0] == 0 else 0

    def add(self, first: int, last: int, parts: list[Found], tell: Callable[[str], None]) -> None:
        """Put what was found in the trials `first` to `last` - 1 in its place."""
        found = Found.join([self.found, *parts])
        if self.ranges and self.ranges[-1][1] > first:
            # All of a DM come together, and in their order: what is sorted is as if one had gone from DM to DM.
            found = Found(_by_dm(found.detections), _by_dm(found.events))
        # What is over is thrown away now and then, not with every batch.
        self.found = bounded(found, tell) if found.events.size > 2 * MOST_EVENTS else found
        self.ranges = _joined([*self.ranges, (first, last)])

    def up_to(self, last: int) -> "Searched":
        """What is of the trials below `last` alone."""
        found = self.found
        return Searched(
            Found(found.detections[found.detections["dm_index"] < last], found.events[found.events["dm_index"] < last]),
            [(low, min(high, last)) for low, high in self.ranges if low < last],
            self.birdies,
        )

    def left(self, ndms: int) -> list[tuple[int, int]]:
        """Trials that are not done."""
        edges = [0, *(edge for done in self.ranges for edge in done), ndms]
        return [(low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if low < high]

    def save(self, checkpoint: Checkpoint) -> None:
        """Store what there is; the lines must be known."""
        checkpoint.save(
            "searched",
            detections=self.found.detections,
            events=self.found.events,
            ranges=np.array(self.ranges, dtype=np.int64).reshape(-1, 2),
            **birdie_arrays(self.birdies or []),
        )

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> "Searched":
        """What an interrupted run has left, or nothing."""
        kept = checkpoint.load("searched")
        if kept is None or "ranges" not in kept:
            return cls()
        ranges = [(int(first), int(last)) for first, last in kept["ranges"]]
        return cls(Found(kept["detections"], kept["events"]), ranges, kept_birdies(kept))


def _by_dm(rows: NDArray[Any]) -> NDArray[Any]:
    return rows[np.argsort(rows["dm_index"], kind="stable")]


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in ascending order, neighbours made one."""
    out: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if out and out[-1][1] == first:
            out[-1] = out[-1][0], last
        else:
            out.append((first, last))
    return out


def bounded(found: Found, tell: Callable[[str], None]) -> Found:
    """What has been found, with no more than MOST_EVENTS events.

    Of equal ones the first are kept: what is left of some and then of all is the same as of all at once.
    """
    if found.events.size <= MOST_EVENTS:
        return found
    tell(f"{found.events.size} events of single pulses: the {MOST_EVENTS} strongest are kept")
    strongest = np.argsort(-found.events["snr"], kind="stable")[:MOST_EVENTS]
    return Found(found.detections, found.events[np.sort(strongest)])


def birdie_arrays(birdies: "list[Birdie]") -> dict[str, NDArray[Any]]:
    """For the checkpoint."""
    rows = [(b.freq, b.width) for b in birdies]
    return {
        "birdies": np.array(rows, dtype=np.float64).reshape(-1, 2),
        "birdie_reasons": np.array([b.reason for b in birdies], dtype="U64"),
    }


def kept_birdies(kept: dict[str, NDArray[Any]]) -> "list[Birdie]":
    """Back from the checkpoint."""
    from pulsar.cleaning.birdies import Birdie

    return [
        Birdie(float(freq), float(width), str(reason))
        for (freq, width), reason in zip(kept["birdies"], kept["birdie_reasons"], strict=True)
    ]
