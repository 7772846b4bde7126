"""Interference: statistics, mask, normalised integer samples, and periodic lines."""
