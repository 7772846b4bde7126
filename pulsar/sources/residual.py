"""The residual of a fold: what other sources leave in it is taken off."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.data.fold import Fold
from pulsar.folding.profile import best_box
from pulsar.sources.source import left_out
from pulsar.sources.steady import repeats
from pulsar_kernels.arrays import Bools, Complexes, Floats

#: Of the amplitude of a source in a fold so much more may be there than it leaves: folds of a series are in units of a
#: noise that holds the pulsar, and differ by up to 14 %.
_SCALE: Final = 0.2
#: Of the brightness of a sub-integration so much may be off beside what it is known to vary.
_EPS: Final = 0.03
#: Sweeps over the amplitudes that are fitted together.
_SWEEPS: Final = 30


@dataclass(frozen=True)
class Left:
    """The residual of a fold, and its measures."""

    powers: Mapping[str, float]  # Of each source in the fold, by uid
    part: float  # Of the S/N of the fold
    residual: Fold | None = None  # With what is left in its sub-integrations; None where nothing was taken
    taken: float = 0.0  # Power of what was taken from the profile, mean noise power 1 in each bin
    #: shape (nbins // 2 + 1,): What is left of each harmonic over what was there, all of it where that is not known;
    #: None where nothing was taken.
    own: Complexes | None = None

    @cached_property
    def steady(self) -> float:
        """Significance of what is left against what scatters between sub-integrations."""
        return np.inf if self.residual is None else repeats(self.residual)


def left_of(fold: Fold, others: Mapping[str, tuple[NDArray[np.floating[Any]], Bools, float]]) -> Left:
    """The residual of a fold beside other sources.

    Parameters
    ----------
    others : mapping of str to (ndarray, ndarray, float)
        By uid what each leaves there, the harmonics at which that is not known (:meth:`Source.rows_in`), and how its
        brightness varies.
    """
    if not others:
        return Left({}, 1.0)
    theirs = np.stack([rows for rows, _, _ in others.values()]).astype(np.float64)
    unknown = np.logical_or.reduce([left_out(fold), *(harmonics for _, harmonics, _ in others.values())])
    rows = fold.time_phase.astype(np.float64) * float(fold.extra.get("noise_scale", 1.0))
    unknown[-1] = True  # has no defined phase
    powers = dict(zip(others, np.sum(theirs**2, axis=(1, 2)).tolist(), strict=True))
    cut, theirs = _without_harmonics(rows, unknown), _without_harmonics(theirs, unknown)
    kept = _without(cut, theirs, np.array([spread for _, _, spread in others.values()]))
    share = np.sqrt(np.diff(fold.time_edges) / fold.tobs)[:, None]
    profiles = np.stack([(rows * share).sum(axis=0), (kept * share).sum(axis=0)])
    profiles -= profiles.mean(axis=1, keepdims=True)
    whole, left = best_box(profiles, np.ones(rows.shape[1]))[0]
    spectra = np.fft.rfft(profiles, axis=1)
    own = spectra[1] / np.where(np.abs(spectra[0]) > 0.0, spectra[0], 1.0)
    own /= np.maximum(np.abs(own), 1.0)
    own[unknown] = 1.0
    taken = float(np.sum(((cut - kept) * share).sum(axis=0) ** 2))
    residual = replace(fold, time_phase=kept.astype(np.float32), extra={**fold.extra, "noise_scale": 1.0})
    return Left(powers, float(left / max(whole, 1.0)), residual, taken, own)


def _without_harmonics(rows: Floats, which: Bools) -> Floats:
    spectra = np.fft.rfft(rows, axis=-1)
    spectra[..., which] = 0.0
    return np.asarray(np.fft.irfft(spectra, rows.shape[-1], axis=-1))


def _without(rows: Floats, left: Floats, spread: Floats) -> Floats:
    """Sub-integrations less what sources leave in them, each as bright as fits best.

    Over the whole time none at least, little more than all: sources that share harmonics share what is there. In a
    sub-integration the brightness is drawn to that of its own fold, as far as it varies.
    """
    models = left.reshape(len(left), -1)
    gram, seen = models @ models.T, models @ rows.ravel()
    scale = np.ones(len(models))
    for _ in range(_SWEEPS):  # coordinate descent, which bounds do not hinder
        before = scale.copy()
        for i in range(len(scale)):
            step = float(seen[i] - gram[i] @ scale) / max(float(gram[i, i]), 1e-9)
            scale[i] = min(max(scale[i] + step, 0.0), 1.0 + _SCALE)
        if np.abs(scale - before).max() < 1e-3:
            break
    left = left * scale[:, None, None]
    kept = rows - left.sum(axis=0)
    each = np.einsum("isb,jsb->sij", left, left) + np.diag(1.0 / (spread + _EPS**2))
    more = np.linalg.solve(each, np.einsum("isb,sb->si", left, kept)[..., None])[..., 0]
    return np.asarray(kept - np.einsum("si,isb->sb", more, left))
