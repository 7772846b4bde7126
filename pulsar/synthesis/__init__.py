"""Synthetic observations, and pulsars injected into real ones."""
