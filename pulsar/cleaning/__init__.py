"""Interference: statistics, mask, normalised integer samples, and periodic lines."""

from pulsar.cleaning.mask import Mask, make_mask
from pulsar.cleaning.source import CleanedSource, cleaned_source
from pulsar.cleaning.statistics import BlockStatistics, measure

__all__ = ["BlockStatistics", "CleanedSource", "Mask", "cleaned_source", "make_mask", "measure"]
