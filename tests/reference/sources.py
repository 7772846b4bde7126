"""Sources whose folds, and powers in sums at any frequency and DM, are known: what verdicts are tested on."""

import dataclasses

import numpy as np
from reference.detections import FREQS, THRESHOLD, TOBS, kept, make_group
from reference.products import make_fold

from pulsar.data.fold import FoldParams
from pulsar.rank.candidate import Candidate
from pulsar.rank.compare import Evidence, Sky
from pulsar.rank.lines import Searched, comb_of, expected
from pulsar.searches.sift import fade

KINDS = ("fft", "accel", "ffa", "pulses")
SKY = Sky(TOBS, 1e-4, FREQS, dict.fromkeys(KINDS, THRESHOLD))
SERIES = dataclasses.replace(SKY, freqs=np.zeros(0))
NBINS = 128
NSUBINTS = 16


def lines_of(snr, fwhm):
    """Powers of the harmonics of a Gaussian pulse of this S/N."""
    phase = np.arange(NBINS) / NBINS - 0.5
    profile = np.exp(-4.0 * np.log(2.0) * (phase / fwhm) ** 2)
    profile -= profile.mean()
    profile *= snr / np.sqrt(np.sum(profile**2))
    return profile, np.abs(np.fft.rfft(profile))[1:] ** 2 / NBINS


@dataclasses.dataclass(frozen=True)
class Source:
    """A pulsar, or what looks like one."""

    freq: float
    index: int = 60
    snr: float = 50.0
    fwhm: float = 0.05

    def power(self, freq, nharm, index, *, most=False):
        """What a sum of powers holds of it, or at most, wherever between the zeros of its sidelobes it looks."""
        _, lines = lines_of(self.snr, self.fwhm)
        total = 0.0
        for j in range(1, nharm + 1):
            k = round(j * freq / self.freq)
            if 1 <= k <= lines.size:
                off = (j * freq - k * self.freq) * TOBS
                seen = float(kept(k * self.freq, 0.5 * (index - self.index), 1)[0])
                lobe = float(fade(np.array(off))) if most else float(np.sinc(off)) ** 2
                total += float(lines[k - 1]) * lobe * seen
        return total

    def group(self, ratio=1.0, nharm=16, index=None, **more):
        """Its detection at a ratio of its frequency."""
        index = self.index if index is None else index
        at = ratio * self.freq
        return make_group(at, nharm=nharm, excess=self.power(at, nharm, index), index=index, **more)

    def fold(self, ratio=1.0, profile=None):
        """Its fold, at a ratio of its frequency with the profile that it has there."""
        profile = lines_of(self.snr, self.fwhm)[0] if profile is None else profile
        noise = np.random.default_rng(int(1000 * self.freq * ratio)).standard_normal((NSUBINTS, NBINS))
        return dataclasses.replace(
            make_fold(1),
            after=FoldParams(ratio * self.freq, 0.0, 0.5 * self.index),
            time_phase=(profile / np.sqrt(NSUBINTS) + noise).astype(np.float32),
            time_edges=np.linspace(0.0, TOBS, NSUBINTS + 1),
            freq_err=0.02 / TOBS / self.snr,
            dm_err=0.05,
            snr=self.snr,
            width=self.fwhm,
            profile=profile.astype(np.float32),
            tobs=TOBS,
            extra={},
        )

    def candidate(self, *flags, uid="", **more):
        """Its detection with its fold."""
        return Candidate(self.group(uid=uid, **more), self.fold(), flags=tuple(flags))


def evidence_of(folded):
    """What is known of candidates before it is told who explains whom."""
    groups = [one.group for one in folded]
    combs = [comb_of(one.fold, FREQS, SKY.tsamp) for one in folded]
    given = np.array([expected(comb, Searched.of(groups, TOBS)) for comb in combs])
    return Evidence(folded, groups, combs, given, np.zeros(len(folded), dtype=np.bool_), SKY)


def parents(verdict):
    """uid -> (uid of the parent, relation)."""
    return {one.uid: (one.parent, one.relation) for one in (*verdict.folded, *verdict.rest)}


def at_sigma(best, sigma):
    """The same detection, of another significance."""
    best = best.copy()
    best["sigma"] = sigma
    return best
