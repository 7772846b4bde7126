"""Interference for synthetic skies that is masked: channels, blocks of some, and samples of all."""

from pulsar.synthesis.model import Rfi

RFI = (
    Rfi(kind="narrowband", freqs=(1400, 1410), strength=8),
    Rfi(kind="intermittent", freqs=(1300, 1340), strength=10, width=0.6, fraction=0.1),
    Rfi(kind="impulse", rate=1.0, width=0.002, strength=3),
)
