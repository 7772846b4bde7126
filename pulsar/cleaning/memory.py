"""What making a mask takes, and what of it stays while an observation is cleaned."""

from typing import Final

from pulsar.cleaning.impulses import BANDS, Bands
from pulsar.cleaning.statistics import GROUP_SAMPLES, GROUP_TIME, block_edges, piece_samples, spectrum_points
from pulsar.config.model import RfiConfig
from pulsar.data.observation import Observation

#: Bytes of a channel-block: its statistics; what judging them takes beside (measured, tracemalloc, by
#: tests/faults/test_memory.py); a mask and the coefficients made of it; more of these for the steps of a diode, for
#: zero-DM gains; while a diode is looked for, and of each of its periods.
STATISTICS: Final = 48
JUDGING: Final = 58
MASK: Final = 31
STEPS: Final = 12
GAINS: Final = 8
SUMS: Final = 4
WAVES: Final = 8


def channel_blocks(obs: Observation, config: RfiConfig) -> int:
    """Number of cells of the table of statistics."""
    header = obs.header
    return (len(block_edges(header.nsamps, header.tsamp, config.block, header.nchans)) - 1) * header.nchans


def mask_bytes(obs: Observation, config: RfiConfig) -> int:
    """Bytes that the mask and what is made of it take as long as cleaned samples are read."""
    each = MASK + (STEPS if config.diodes else 0) + (GAINS if config.zerodm == "zdot" else 0)
    return each * channel_blocks(obs, config)


def making_bytes(obs: Observation, config: RfiConfig) -> int:
    """Bytes that making the mask takes at its peak, once the file is read."""
    return (STATISTICS + JUDGING + (STEPS if config.diodes else 0)) * channel_blocks(obs, config)


def reading_bytes(obs: Observation, config: RfiConfig) -> tuple[int, int]:
    """Bytes that the first pass takes: in all, and of each thread."""
    header = obs.header
    edges = block_edges(header.nsamps, header.tsamp, config.block, header.nchans)
    _, npoints = spectrum_points(int(edges[1] - edges[0]), header.nchans, header.tsamp)
    bands = Bands.of(header, obs.chan_ok, config.zap) if config.enabled and config.clip > 0 else None
    # Points of spectra, and half as many powers.
    each = 6 * header.nchans * npoints
    # The series of bands, without their mean, and two more where there is something to look at.
    together = max(int(edges[-1] - edges[-2]), min(round(GROUP_TIME / header.tsamp), GROUP_SAMPLES))
    count, margin = (BANDS, 0) if bands is None else (bands.count, bands.margin)
    each += 4 * 4 * count * (min(together, header.nsamps) + 2 * margin)
    spectrum = header.nchans * obs.dtype.itemsize
    each += spectrum * piece_samples(spectrum)
    periods = len(config.diodes)
    cell = STATISTICS + (SUMS + WAVES * periods if periods else 0)
    return cell * channel_blocks(obs, config), each


def reading_threads(obs: Observation, config: RfiConfig, threads: int, memory: int) -> int:
    """Threads of the first pass that fit some memory [byte], one at least. What it gives does not depend on them."""
    whole, each = reading_bytes(obs, config)
    return max(1, min(threads, (memory - whole) // max(1, each)))
