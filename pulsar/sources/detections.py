"""Power that sources leave in a detection: in the sum of harmonics of a search, of which the phases are not known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from pulsar.data.header import Part, dispersion_delays
from pulsar.searches.amplitudes import counted
from pulsar.searches.sift import Group
from pulsar.searches.stats import expected_from_sigma, logp_from_sigma, power_logp, trial_sigma
from pulsar.sources.candidate import AGREE_BINS
from pulsar.sources.source import Source
from pulsar_kernels.arrays import Floats

#: Of the amplitude that a source leaves so much may be off: powers of detections in strong skies are within 20 % of
#: what is predicted.
OFF: Final = 0.1
#: Bands and sub-integrations of the model of a detection that is not folded: as many as folds have.
_BANDS: Final = 16
_PARTS: Final = 32
#: Bins of its turn: more than it has harmonics.
_BINS: Final = 1 << 16


@dataclass(frozen=True)
class Observed:
    """The data, as far as the pursuit has to know them."""

    nsamps: int  # Of the observation
    freqs: Floats  # Channels that were used [MHz]; empty for a dedispersed series
    tsamp: float  # [s]
    lines: Sequence[tuple[float, float]]  # Frequencies and full widths of what the searches leave out [Hz]
    thresholds: Mapping[str, float]  # Trial-corrected significance from which each search keeps a detection

    def window(self, label: str) -> tuple[float, float]:
        """Beginning and length of a part of the observation by its label [s]."""
        first, count = Part.of_label(label).samples(self.nsamps)
        return first * self.tsamp, count * self.tsamp

    def threshold(self, group: Group) -> float:
        """That of the search that has found a group."""
        return self.thresholds.get(str(group.best["kind"]), 0.0)


class Model(NamedTuple):
    """A source that belongs to a candidate, and what searches see of it."""

    uid: str  # Of the candidate
    source: Source
    seen: float = 1.0  # Part of its power
    #: Uids of the groups that were detected before it was taken out of the samples: in others there is so much of it as
    #: templates lack. None: it was not taken out.
    before: frozenset[str] | None = None
    #: Part of the power of groups that is there outside of its pulses, by uid (:mod:`pulsar.sources.modulation`).
    outside: Mapping[str, float] = MappingProxyType({})


class Shares:
    """Powers that sources leave in the best detections of groups, and the rest that is not theirs.

    Attributes
    ----------
    powers : list of ndarray, shape (ngroups,)
        Of each source that was added, in the sum of harmonics.
    """

    def __init__(self, groups: Sequence[Group], observed: Observed) -> None:
        self.powers: list[Floats] = []
        self._groups, self._observed = groups, observed
        self._uids = [group.uid for group in groups]
        self._freqs = np.array([group.freq for group in groups])
        self._fdots = np.array([float(group.best["fdot"]) for group in groups])
        self._dms = np.array([group.dm for group in groups])
        self._excess = np.array([group.excess for group in groups])
        nharm = np.array([group.nharm for group in groups], dtype=np.int64)
        harmonics = np.arange(1, nharm.max(initial=1) + 1)
        self._lines = self._freqs[:, None] * harmonics
        self._wanted = harmonics <= nharm[:, None]
        for line, width in observed.lines:
            self._wanted &= np.abs(self._lines - line) > 0.5 * width
        parts = np.array([group.part for group in groups])
        self._windows = [(observed.window(str(part)), np.flatnonzero(parts == part)) for part in np.unique(parts)]
        self._theirs, self._outside = np.zeros(self._lines.shape), np.ones(len(groups))

    def add(self, model: Model) -> None:
        """Take in a source."""
        powers, left = np.zeros(self._lines.shape), np.full(len(self._groups), model.seen)
        if model.before is not None:
            left *= [1.0 if uid in model.before else OFF**2 for uid in self._uids]
        for (start, tobs), rows in self._windows:
            source = model.source.during(start, tobs)
            args = self._freqs[rows], self._fdots[rows], self._dms[rows], self._wanted[rows]
            seen = source.powers_at(*args, self._observed.tsamp)
            powers[rows] = left[rows, None] * counted(seen, self._lines[rows] * tobs)
        # What two sources have at one harmonic is there once.
        np.maximum(self._theirs, powers, out=self._theirs)
        outside = np.array([model.outside.get(uid, 1.0) for uid in self._uids])
        np.minimum(self._outside, outside, out=self._outside)
        self.powers.append(np.maximum(powers.sum(axis=1), (1.0 - outside) * self._excess))

    def kept(self, i: int) -> float:
        """Power of a group that is not theirs, beyond the errors of what is: noise of two deviations is theirs."""
        power_of_sources = float(self._theirs[i].sum())
        kept = float(self._excess[i] - (1.0 + OFF) ** 2 * power_of_sources - 2.0 * np.sqrt(2.0 * power_of_sources))
        return max(min(kept, float(self._outside[i] * self._excess[i])), 0.0)

    def stands(self, i: int) -> bool:
        """True if what is kept of a group is above the threshold of its search."""
        group, kept = self._groups[i], self.kept(i)
        return kept > 0.0 and sigma_of(group, kept) >= self._observed.threshold(group)


def sigma_of(group: Group, excess: float) -> float:
    """Trial-corrected significance that a detection has with a part of its excess power."""
    sigma, single = group.sigma, float(group.best["logp"])
    expected = float(logp_from_sigma(sigma)) if sigma > 5.0 else float(np.log(expected_from_sigma(sigma)))
    ntrials = np.exp(min(expected - single, 700.0))
    # Searches of other statistics than sums of powers lose in the same proportion.
    lost = power_logp(excess + group.nharm, group.nharm) / power_logp(group.excess + group.nharm, group.nharm)
    return float(trial_sigma(single * lost, max(ntrials, 1.0)))


def same_as(freq: float, group: Group, sources: Sequence[Model], observed: Observed) -> str:
    """Name of the source that is at a frequency in the part of the observation that a group is of; empty: of none.

    Parameters
    ----------
    freq : float
        [Hz]
    group : Group
        Where the frequency of a source strays it must be among its DMs.
    """
    start, tobs = observed.window(group.part)
    nearest, name = 1.0, ""
    for model in sources:
        source = model.source
        strays = source.strays(start, tobs) if group.dm_lo <= source.dm <= group.dm_hi else 0.0
        near = abs(source.during(start, tobs).freq - freq) / (AGREE_BINS / tobs + strays)
        if near < nearest:
            nearest, name = near, model.uid
    return name


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
        delays = dispersion_delays(0.5 * (edges[1:] + edges[:-1]), observed.freqs.max())
    amplitudes = np.repeat(shape[None, :] / np.sqrt(len(delays)), len(delays), axis=0).astype(np.complex128)
    start, tobs = observed.window(group.part)
    return Source(
        freq=group.freq,
        fdot=float(group.best["fdot"]),
        dm=group.dm,
        middle=start + 0.5 * tobs,
        amplitudes=amplitudes,
        known=np.ones(len(k), dtype=np.bool_),
        white=np.ones(len(k)),
        band_delays=delays,
        gains=np.ones(_PARTS),
        spread=0.0,
        time_edges=np.linspace(-0.5, 0.5, _PARTS + 1) * tobs,
        nbins=_BINS,
        resolution=0.0,
    )
