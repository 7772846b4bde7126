"""Cleaning, first form: statistics, mask, normalised integer samples."""

from pulsar.rfi.mask import Mask, make_mask
from pulsar.rfi.source import CleanedSource
from pulsar.rfi.statistics import BlockStatistics, measure

__all__ = ["BlockStatistics", "CleanedSource", "Mask", "make_mask", "measure"]
