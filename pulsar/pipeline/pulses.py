"""Single pulses of a run: from events at all DMs to the table, the periods of repeating ones, and cut-outs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import Config
from pulsar.data.candidate import DETECTION_COLUMNS, SINGLE_PULSE_COLUMNS, dtype_of, empty_table
from pulsar.data.fold import Fold
from pulsar.data.header import Header
from pulsar.pipeline.progress import Progress

if TYPE_CHECKING:
    from pulsar.rfi import CleanedSource
    from pulsar.search.cutout import CutOut
