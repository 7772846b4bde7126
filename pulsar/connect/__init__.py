"""Folds of one pulsar in several nights as one ephemeris that counts every turn between them."""
