"""Synthetic observations, and pulsars injected into real ones."""

from pulsar.simulate.api import simulate
from pulsar.simulate.engine import Synthesiser, make
from pulsar.simulate.injection import channel_sigmas, inject
from pulsar.simulate.model import (
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
from pulsar.simulate.signal import expected_snr, observed_accel, observed_spin, phase
from pulsar.simulate.truth import truth_path
from pulsar.simulate.write import write_filterbank, write_psrfits

__all__ = [
    "Burst",
    "Component",
    "Injection",
    "Orbit",
    "Pulsar",
    "Rfi",
    "Sky",
    "Synthesiser",
    "channel_sigmas",
    "demo_sky",
    "expected_snr",
    "inject",
    "load_injection",
    "load_sky",
    "make",
    "observed_accel",
    "observed_spin",
    "phase",
    "simulate",
    "truth_path",
    "validate",
    "write_filterbank",
    "write_psrfits",
]
