"""Synthetic observations, and pulsars injected into real ones."""

from pulsar.synthesis.injection import channel_sigmas, inject, inject_in_memory
from pulsar.synthesis.model import (
    Burst,
    Component,
    Injection,
    Orbit,
    Pulsar,
    Rfi,
    Sky,
    demo_sky,
    load_injection,
    load_sky,
    validate,
)
from pulsar.synthesis.signal import observed_accel, observed_spin, phase
from pulsar.synthesis.write import Synthesiser, make, truth_path, write_filterbank, write_psrfits

__all__ = [
    "Burst", "Component", "Injection", "Orbit", "Pulsar", "Rfi", "Sky", "Synthesiser", "channel_sigmas", "demo_sky",
    "inject", "inject_in_memory", "load_injection", "load_sky", "make", "observed_accel", "observed_spin", "phase",
    "truth_path", "validate", "write_filterbank", "write_psrfits",
]  # fmt: skip
