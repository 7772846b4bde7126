"""Circular orbits shorter than an observation: `pulsar orbits`."""
