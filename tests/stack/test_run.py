"""Who is whose harmonic among the groups of a stack."""

import numpy as np
import pytest

from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of
from pulsar.searches.sift import group
from pulsar.sources.candidate import Candidate
from pulsar.stack.run import explained

TOBS = 600.0


def candidates(*rows: tuple[float, int, float]) -> tuple[list[Candidate], np.ndarray]:
    """Groups of detections: frequency, row of the DM, significance."""
    found = np.zeros(len(rows), dtype=dtype_of(DETECTION_COLUMNS))
    for one, (freq, index, sigma) in zip(found, rows, strict=True):
        one["freq"], one["dm_index"], one["dm"], one["sigma"] = freq, index, 10.0 + index, sigma
        one["freq_err"], one["nharm"], one["power"], one["kind"] = 1e-5, 4, 4.0 + sigma**2, "stack"
    groups = group(found, TOBS, dms=10.0 + np.arange(20))
    return [Candidate(one) for one in groups], found["dm_index"]


@pytest.mark.parametrize(("ratio", "relation"), [(2.0, "harmonic 2"), (1.5, "harmonic 3/2"), (1 / 3, "harmonic 1/3")])
def test_a_ratio_of_small_numbers_at_a_dm_between_is_a_harmonic(ratio: float, relation: str) -> None:
    found, index = candidates((20.0, 3, 12.0), (20.0, 5, 11.0), (20.0 * ratio, 4, 6.0))
    head, other = explained(found, TOBS, index)
    assert (head.parent, head.nattached) == ("", 1)
    assert (other.parent, other.relation) == (head.uid, relation)


@pytest.mark.parametrize(
    "other",
    [
        (20.0 * 1.37, 4, 6.0),  # no ratio
        (40.0, 3, 6.0),  # found beside the other at its own DM: it has harmonics of its own
        (40.0, 15, 6.0),  # far from its DMs
        (40.01, 4, 6.0),  # six bins beside
        (20.0 * 17, 4, 6.0),  # no harmonic that is looked at
    ],
)
def test_what_stands_for_itself(other: tuple[float, int, float]) -> None:
    found, index = candidates((20.0, 3, 12.0), (20.0, 5, 11.0), other)
    assert [one.parent for one in explained(found, TOBS, index)] == ["", ""]
