"""Pulsar search: from a raw observation to ranked candidates."""

__version__ = "0.1.0"
