"""Interference: statistics, mask, normalised integer samples, and periodic lines."""

from pulsar.rfi.mask import Mask, make_mask
from pulsar.rfi.source import CleanedSource, cleaned_source
from pulsar.rfi.statistics import BlockStatistics, measure

__all__ = ["BlockStatistics", "CleanedSource", "Mask", "cleaned_source", "make_mask", "measure"]
