"""What sources leave in a detection: in the sum of harmonics of a search, of which the phases are not known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import KDM
from pulsar.searches.sift import Group
from pulsar.searches.spectrum import counted
from pulsar.searches.stats import expected_from_sigma, logp_from_sigma, power_logp, trial_sigma
from pulsar.sources.source import Source

#: Of the amplitude that a source leaves so much may be off: powers of detections in strong skies are within 20 % of
#: what is predicted.
OFF: Final = 0.1
#: Frequencies that differ by so many bins of 1/T are one: a fold at one of them is drawn onto the other.
SAME: Final = 0.3
#: Bands and sub-integrations of the model of a detection that is not folded: as many as folds have.
_BANDS: Final = 16
_PARTS: Final = 32
#: Bins of its turn: more than it has harmonics.
_BINS: Final = 1 << 16


@dataclass(frozen=True)
class Observed:
    """What the pursuit has to know of the data.

    Attributes
    ----------
    tobs : float
        [s]
    freqs : ndarray
        Channels that were used [MHz]; empty for a dedispersed series.
    tsamp : float
        [s]
    lines : sequence of (float, float)
        Frequencies and full widths of what the searches leave out [Hz].
    thresholds : mapping of str to float
        Trial-corrected significance from which each search keeps a detection.
    """

    tobs: float
    freqs: NDArray[np.float64]
    tsamp: float
    lines: Sequence[tuple[float, float]]
    thresholds: Mapping[str, float]

    def threshold(self, group: Group) -> float:
        """That of the search that has found a group."""
        return self.thresholds.get(str(group.best["kind"]), 0.0)


@dataclass(frozen=True)
class Share:
    """What sources leave of a detection.

    Attributes
    ----------
    powers : ndarray, shape (nsources,)
        Of each in the sum of harmonics.
    kept : float
        Power that is not theirs, beyond the errors of what is.
    left : float
        Its trial-corrected significance.
    """

    powers: NDArray[np.float64]
    kept: float
    left: float


def share_of(group: Group, sources: Sequence[tuple[Source, float]], observed: Observed) -> Share:
    """What sources leave in a group's best detection, and what is not theirs.

    Parameters
    ----------
    group : Group
    sources : sequence of (Source, float)
        Each with the part of its power that searches see.
    observed : Observed
    """
    powers = powers_in(group, sources, observed)
    # What two sources have at one harmonic is there once. Noise of two deviations is theirs.
    theirs = float(powers.max(axis=0, initial=0.0).sum())
    kept = max(float(group.excess - (1.0 + OFF) ** 2 * theirs - 2.0 * np.sqrt(2.0 * theirs)), 0.0)
    return Share(powers.sum(axis=1), kept, sigma_of(group, kept))


def powers_in(group: Group, sources: Sequence[tuple[Source, float]], observed: Observed) -> NDArray[np.float64]:
    """Power that each source leaves in the harmonics of a group's best detection, shape (nsources, nharm)."""
    harmonics = np.arange(1, group.nharm + 1)
    for line, width in observed.lines:
        harmonics = harmonics[np.abs(harmonics * group.freq - line) > 0.5 * width]
    args = group.freq, float(group.best["fdot"]), group.dm, harmonics, observed.tsamp
    bins = harmonics * group.freq * observed.tobs
    powers = [seen * counted(one.powers_at(*args), bins) for one, seen in sources]
    return np.array(powers).reshape(len(sources), len(harmonics))


def sigma_of(group: Group, excess: float) -> float:
    """Trial-corrected significance that a detection has with a part of its excess power."""
    sigma, single = group.sigma, float(group.best["logp"])
    expected = float(logp_from_sigma(sigma)) if sigma > 5.0 else float(np.log(expected_from_sigma(sigma)))
    ntrials = np.exp(min(expected - single, 700.0))
    # Searches of other statistics than sums of powers lose in the same proportion.
    lost = power_logp(excess + group.nharm, group.nharm) / power_logp(group.excess + group.nharm, group.nharm)
    return float(trial_sigma(single * lost, max(ntrials, 1.0)))


def same_as(freq: float, sources: Sequence[Source], observed: Observed) -> int | None:
    """Place of the source that has a frequency."""
    off = np.array([abs(one.freq - freq) for one in sources]) * observed.tobs
    return int(np.argmin(off)) if off.size and off.min() < SAME else None


def source_of(group: Group, observed: Observed) -> Source:
    """A source as its detection alone tells it: a Gaussian pulse of its width, alike in all bands and all the time."""
    k = np.arange(1, group.nharm + 1)
    width = float(group.best["width"])
    fwhm = width if np.isfinite(width) and width > 0.0 else 0.5 / group.nharm
    shape = np.exp(-((np.pi * k * fwhm / 2.3548) ** 2) * 2.0)
    shape *= np.sqrt(group.excess / np.sum(shape**2))
    delays = np.zeros(1)
    if observed.freqs.size > 1:
        edges = np.linspace(observed.freqs.min(), observed.freqs.max(), _BANDS + 1)
        delays = KDM * ((0.5 * (edges[1:] + edges[:-1])) ** -2.0 - observed.freqs.max() ** -2.0)
    amplitudes = np.repeat(shape[None, :] / np.sqrt(len(delays)), len(delays), axis=0).astype(np.complex128)
    return Source(
        freq=group.freq,
        fdot=float(group.best["fdot"]),
        dm=group.dm,
        amplitudes=amplitudes,
        known=np.ones(len(k), dtype=np.bool_),
        white=np.ones(len(k)),
        band_delays=delays,
        gains=np.ones(_PARTS),
        spread=0.0,
        time_edges=np.linspace(-0.5, 0.5, _PARTS + 1) * observed.tobs,
        nbins=_BINS,
        resolution=0.0,
    )
