"""Unrelated finds of a survey: so many in every field and night."""

from typing import Any

import numpy as np


def scattered(rng: np.random.Generator, start: Any, field: Any) -> dict[str, Any]:
    """DM and place of finds that have nothing to do with each other: begin [MJD], and the field that each is in."""
    n = len(start)
    return {
        "dm": 500.0 * rng.beta(1, 2, n),
        "dm_err": 0.5 * 10 ** rng.uniform(-0.5, 0.5, n),
        "ra": 100.0 + field + rng.normal(0.0, 0.005, n),
        "dec": 20.0 + rng.normal(0.0, 0.005, n),
        "beam": np.full(n, 0.05),
        "start": start,
        "end": start + 0.005,
    }
