"""From features to one number: how much a candidate looks like a pulsar, 0 to 1.

A `Scorer` takes the place of the other. Of :class:`LogisticScorer` the terms are written down by hand, from what each
feature means; their weights are learnt (benchmarks/train.py). How near it is to a probability docs/score.md tells.
"""

import functools
import math
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np

from pulsar.data.files import read_text
from pulsar.data.validated import Number, validated
from pulsar.errors import DataError
from pulsar.folding.refine import MOST_ACCEL
from pulsar.folding.whiten import RED
from pulsar_kernels.arrays import Floats


class Scorer(Protocol):
    """Anything that judges a candidate by its features."""

    @property
    def name(self) -> str:
        """Name and version, stored with the scores."""
        ...

    def __call__(self, features: dict[str, float]) -> float:
        """Score, 0 to 1."""
        ...


def ramp(value: float, low: float, high: float, unknown: float = 1.0) -> float:
    """0 at `low` and below, 1 at `high` and above, linear between; `unknown` for NaN."""
    if math.isnan(value):
        return unknown
    return min(max((value - low) / (high - low), 0.0), 1.0)


#: Significance against what scatters between sub-integrations from which on nothing speaks against a weak one [sigma].
REPEATING: Final = 3.5
#: Bounds of what surely does not repeat, and of what does: at least, as a part of the folded S/N, at most. Of 2,900
#: pulsars of S/N 7 to 40 (benchmarks/population.py) one in a hundred has less than 0.46 of its S/N. Where the pulses of
#: a strong one vary it has a few sigma however strong it is: 29 of 339 in one real series.
SCATTERED: Final = ((1.5, 0.3, 3.0), (REPEATING, 0.48, 5.5))


def _part_of(snr: float, bounds: tuple[float, float, float]) -> float:
    """A part of the S/N between two bounds: least, part, most."""
    least, part, most = bounds
    return least if math.isnan(snr) else min(max(part * snr, least), most)


#: Width of a profile [turns] from which on it may be a sine: half a turn is one.
WIDE_WAVE: Final = 0.35

#: Width [turns] of a pulse that is no wider than the drift itself, where whitening the fold took nearly all of it: it
#: kept so much of it.
WIDE_REST: Final = (0.1, 0.18)
LITTLE_KEPT: Final = (0.1, 0.3)

#: First words of a file of weights.
FORMAT: Final = "pulsar-score"
VERSION: Final = 1
_WHAT: Final = "weights of the score (JSON, of benchmarks/train.py)"


@dataclass(frozen=True)
class Coefficients:
    """How much each term counts [logit]."""

    bias: float  # Of a candidate in whose favour nothing speaks
    weights: dict[str, float]  # Of each term that speaks for a pulsar; every term lies between 0 and 1
    penalties: dict[str, float]  # Taken away at most by what is typical of interference

    @property
    def names(self) -> tuple[str, ...]:
        """All terms, those that speak for a pulsar first."""
        return (*self.weights, *self.penalties)

    def signed(self) -> Floats:
        """All numbers in one: weights, penalties below 0, the bias last."""
        return np.array([*self.weights.values(), *(-value for value in self.penalties.values()), self.bias])

    def probabilities(self, terms: Floats) -> Floats:
        """Scores of rows of terms in the order of `names`, shape (n, nterms)."""
        values = self.signed()
        return np.asarray(1.0 / (1.0 + np.exp(-(np.einsum("nk,k->n", terms, values[:-1]) + values[-1]))))


@dataclass(frozen=True)
class _Content:
    """The weights in a file."""

    format: Literal["pulsar-score"]
    version: Literal[1]
    bias: Number
    weights: dict[str, Number]
    penalties: dict[str, Number]


def read_weights(text: str, where: str = "weights of the score") -> Coefficients:
    """Weights from the text that benchmarks/train.py writes.

    Parameters
    ----------
    where : str
        Its file, for the message.

    Raises
    ------
    DataError
        It is something else.
    """
    stored = validated(_Content, text, where, f"expected {_WHAT}")
    return Coefficients(stored.bias, stored.weights, stored.penalties)


def scorer_of(weights: str) -> "Scorer":
    """The scorer with the weights of a file, or those of the program for "".

    Raises
    ------
    DataError
        The file cannot be read, or has other terms than the score.
    """
    if not weights:
        return DEFAULT
    path = Path(weights)
    fitted = read_weights(read_text(path, _WHAT), str(path))
    if set(fitted.weights) != set(shipped().weights) or set(fitted.penalties) != set(shipped().penalties):
        raise DataError(f"{path}: has other terms than the score of this version: learn them anew")
    return LogisticScorer(fitted)


@functools.cache
def shipped() -> Coefficients:
    """The weights in use, learnt as docs/score.md says (``weights.json`` beside this file)."""
    return read_weights((files("pulsar.sources") / "weights.json").read_text(encoding="utf-8"))


#: Log odds for a DM from which on a signal is at DM 0, and not: the flag is given from odds of 20 to 1 on (FLAGGED).
#: Less is no evidence, only an unknown DM.
DM_ODDS: Final = (-4.0, -2.33)

#: Evenness over the subbands from which a pulse is in few, and not: of any, and where the band holds so many scintles
#: that each of 32 subbands has its share (evenness 1 / (1 + 32/100), 0.76).
FEW_BANDS: Final = (0.1, 0.3)
UNEVEN: Final = (0.25, 0.5)
SMOOTH: Final = 100.0

#: Width [turns] of a weak pulse that noise and what is left of interference make, and S/N from which it is its own: of
#: random skies (benchmarks/population.py) 88 rows of S/N 5 to 8 have 0.3 turns and more, none of them a pulsar, of the
#: 31 pulsars there none has; from S/N 10 on 105 of 109 are pulsars.
WIDE: Final = (0.25, 0.45)
OWN_WIDTH: Final = (9.0, 13.0)

#: Correlation of the DM curve with that of a pulse of the fold's width: of 2,850 pulsars of S/N 7 and more in
#: benchmarks/population.py, whatever interference was there, four have less than 0.88, and none less than 0.75.
UNLIKE: Final = (0.65, 0.88)


class LogisticScorer:
    """Logistic of a weighted sum of bounded terms.

    strength
        Folded S/N from 6 (what the refinement finds in noise) to 10.
    sigma
        Detection significance, from 0 (noise has as much in every other run) to 3 (in one of 740); half when unknown.
    dispersed
        S/N lost at DM 0, from 1 to 4, or the DM's significance from 2 to 5 (a slow pulsar hardly notices its DM) where
        it shifts the pulse over the band by a tenth to a quarter of its width.
    dm_curve
        Correlation of the DM curve with the expected one, from 0.3 to 0.9.
    time, freq
        Fraction of sub-integrations and of subbands with a positive pulse, from 0.5 (noise) to 0.85.

    Penalties: a strong signal (S/N from 6.5 to 8.5) with odds of 10 to 55 to 1 for DM 0 (``dm_odds`` from -2.33 to
    -4; a slow pulsar whose DM is known to some 10 has odds of up to 10 to 1 if that is small, by no fault of its own),
    one that sits in few subbands (evenness under 0.3; under 0.5 at a DM where scintillation leaves spectra smooth), or
    in few sub-integrations (under 0.15: scintillation and eclipses are not so rare).
    So is a wide profile (0.15 to 0.35 turns) of few rotations (50 to 15), or any profile of so few where the level
    around the pulse wanders by 5 to 15 times the white noise (pulsars in the drifts of benchmarks/population.py: 3.6 at
    most), unless the odds for a DM are overwhelming (``dm_odds`` from 5 to 10): red noise looks like that. Where the
    noise beside the harmonics can be told it must be red, too (``red_noise`` from half of the significance from which
    folds are whitened to all of it), or the profile be a sine of few turns, which is the drift itself and leaves no
    other noise beside it (0.35 to 0.5 turns: a sine has half a turn; slow pulsars are far narrower, their width falls
    with the period, about as P^-0.3, Posselt et al. 2021). Where whitening the fold has left little of the pulse (0.3
    to 0.1 of its S/N) it need not be so wide (0.1 to 0.18 turns): what is left is of the drift. Of 792 pulsars in folds
    that were whitened (benchmarks/population.py) none has that unless it is flagged anyway; of 427 rows that are none,
    7 with scores to 0.99, which two sinusoids of some seconds made.
    So is a pulse that does not repeat: its significance against what scatters between sub-integrations is 0.48 to 0.3
    of its S/N, but no less than 3.5 to 1.5, and no more than 5.5 to 3. Impulses and drifts have a period at which they
    add up, though not as the same pulse in all: they have -2 to 2.4, pulsars of a folded S/N of 7 to 10 have 4 to 9,
    and noise that the refinement has chosen has 3 to 4 (benchmarks/population.py).
    So is an acceleration of 500 to 1,000 m/s2 (the most that a refinement allows) that is significant (4 to 8
    errors): no binary known has it.
    So is a strong signal whose DM curve is not that of a pulse of its width (correlation 0.88 to 0.65): interference
    that adds up at some DM in a part of the band, or of the time.
    So is a wide profile (0.25 to 0.45 turns) of a weak one (S/N below 13 to 9): noise finds its best fold at any width,
    pulsars are narrower.
    With a single band, where nothing is known of DM and subbands, those terms count half, a fold counts as far as its
    detection is significant (from 1 to 6 sigma), and a wide profile (0.25 to 0.35 turns) is a tone: the lines of
    interference are, of the pulsars in the ATNF catalogue one in fifty.
    """

    name = "logistic-2"

    def __init__(self, coefficients: Coefficients | None = None) -> None:
        self._coefficients = coefficients

    @property
    def coefficients(self) -> Coefficients:
        """Weights of the terms: those that were given, or those in use."""
        return self._coefficients or shipped()

    def terms(self, features: dict[str, float]) -> dict[str, float]:
        """All terms and penalties, each 0 to 1: why a candidate got its score."""
        f = features
        lost = ramp(f["dm_contrast"], 1.0, 4.0, unknown=0.0)
        # A strong signal has a DM error so small that anything that varies over the band looks like a DM.
        shifted = min(ramp(f["dm_sigma"], 2.0, 5.0, unknown=0.0), ramp(f["dm_shift"], 0.1, 0.25))
        unknown = math.isnan(f["dm_contrast"]) and math.isnan(f["dm_sigma"])
        dispersed = 0.5 if unknown else max(lost, shifted)
        strong = ramp(f["snr"], 6.5, 8.5, unknown=0.0)
        # Without a DM the fold alone makes no candidate: the search must have been sure as well.
        sure = ramp(f["sigma"], 1.0, 6.0) if unknown else 1.0
        undispersed = 1.0 - ramp(f["dm_odds"], *DM_ODDS)
        return {
            "strength": sure * ramp(f["snr"], 6.0, 10.0, unknown=0.0),
            "sigma": ramp(f["sigma"], 0.0, 3.0, unknown=0.5),
            "dispersed": dispersed,
            "dm_curve": ramp(f["dm_match"], 0.3, 0.9, unknown=0.5),
            "time": ramp(f["time_fraction"], 0.5, 0.85, unknown=0.5),
            "freq": ramp(f["freq_fraction"], 0.5, 0.85, unknown=0.5),
            "zero_dm": 0.0 if unknown else strong * undispersed,
            "one_band": strong * (1.0 - ramp(f["freq_even"], *(UNEVEN if f["scintles"] >= SMOOTH else FEW_BANDS))),
            "wave": max(
                ramp(f["width"], 0.15, 0.35),
                ramp(f["noise_scale"], 5.0, 15.0, unknown=0.0),
                ramp(f["width"], *WIDE_REST) * (1.0 - ramp(f["pulse_kept"], *LITTLE_KEPT)),
            )
            * (1.0 - ramp(f["turns"], 15.0, 50.0))
            * (1.0 - ramp(f["dm_odds"], 5.0, 10.0, unknown=0.0))
            # Where the noise can be told, there must be red noise in it; a sine is it itself.
            * max(ramp(f["red_noise"], 0.5 * RED, RED), ramp(f["width"], WIDE_WAVE, 0.5)),
            "tone": ramp(f["width"], 0.25, 0.35, unknown=0.0) if unknown else 0.0,
            "unphysical": ramp(abs(f["accel"]), 0.5 * MOST_ACCEL, MOST_ACCEL, unknown=0.0)
            * ramp(abs(f["fdot_sigma"]), 4.0, 8.0, unknown=0.0),
            "one_burst": strong * (1.0 - ramp(f["time_even"], 0.05, 0.15)),
            "unsteady": 1.0 - ramp(f["repeats"], *(_part_of(f["snr"], bounds) for bounds in SCATTERED)),
            "wide": ramp(f["width"], *WIDE, unknown=0.0) * (1.0 - ramp(f["snr"], *OWN_WIDTH)),
            "unlike": strong * (1.0 - ramp(f["dm_match"], *UNLIKE)),
        }

    def __call__(self, features: dict[str, float]) -> float:
        """Score, 0 to 1."""
        terms = self.terms(features)
        count = self.coefficients
        logit = count.bias + sum(weight * terms[name] for name, weight in count.weights.items())
        logit -= sum(weight * terms[name] for name, weight in count.penalties.items())
        return 1.0 / (1.0 + math.exp(-logit))


#: What a penalty is called among the flags of a candidate, and from which part of it on.
FLAGS: Final = {
    "zero_dm": "dm0",
    "one_band": "narrow-band",
    "one_burst": "intermittent",
    "wave": "red noise",
    "unphysical": "unphysical",
    "tone": "tone",
    "unsteady": "unsteady",
    "unlike": "no dm curve",
}
FLAGGED: Final = 0.4
#: Values from which on that is so: log odds for a DM, and evenness over the subbands.
UNDISPERSED: Final = DM_ODDS[1] - FLAGGED * (DM_ODDS[1] - DM_ODDS[0])
NARROW: Final = FEW_BANDS[1] - FLAGGED * (FEW_BANDS[1] - FEW_BANDS[0])


def reasons(features: dict[str, float]) -> tuple[str, ...]:
    """Why a candidate looks like interference: flags that go with the penalties of its score."""
    terms = LogisticScorer().terms(features)
    flags = [flag for term, flag in FLAGS.items() if terms[term] >= FLAGGED]
    # Pulses that vary much have a third of a strong S/N: a flag is for what surely does not repeat.
    if "unsteady" in flags and features["repeats"] >= REPEATING:
        flags.remove("unsteady")
    # Scattering and noise take a part of the likeness: a flag is for what has none of it left.
    if "no dm curve" in flags and terms["unlike"] < 1.0:
        flags.remove("no dm curve")
    return tuple(flags)


#: The scorer in use.
DEFAULT: Final[Scorer] = LogisticScorer()


def score(features: dict[str, float], scorer: Scorer = DEFAULT) -> float:
    """Score of a candidate, 0 to 1, from :func:`pulsar.sources.features.features`."""
    return min(max(float(scorer(features)), 0.0), 1.0)
