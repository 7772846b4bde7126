"""How many of the trial DMs are independent: what significances are corrected for."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import KDM
from pulsar.dedisp.sampling import stretches

if TYPE_CHECKING:
    from pulsar.dedisp.plan import DMPlan, DMStage


def independent_dms(plan: "DMStage", freqs: NDArray[np.float64], power: float = 16.0) -> float:
    """Independent trials among the DMs of a stage, for powers of noise at a search's threshold.

    Noise at neighbouring DMs is the same noise with slightly different delays: Fourier amplitudes at frequency f have
    the coherence g(f) = |mean over channels of exp(2 pi i f dt)|, dt the channel's delay over one DM step. A power
    above the threshold is a new one, not the continuation of its neighbour's, with the probability that the neighbour
    is below (the extremal index of the chain; Leadbetter 1983). Given one of two such exponential powers the other is a
    noncentral chi-square (Goodman 1957). Averaged over all frequencies up to Nyquist.

    Parameters
    ----------
    plan : DMStage
    freqs : ndarray
        Channel frequencies [MHz].
    power : float
        Normalised power of the threshold in a single trial; the result hardly depends on it.
    """
    if plan.ndms < 2:
        return float(plan.ndms)
    return independent_steps(plan.steps, freqs, (np.arange(64) + 0.5) / 64 * 0.5 / plan.tsamp, power)


def independent_steps(
    steps: NDArray[np.float64], freqs: NDArray[np.float64], grid: NDArray[np.float64], power: float = 16.0
) -> float:
    """Independent trials among DMs in a row, see `independent_dms`.

    Parameters
    ----------
    steps : ndarray, shape (ndms - 1,)
        From one to the next [pc cm^-3].
    freqs : ndarray
        Channel frequencies [MHz].
    grid : ndarray
        Frequencies in the spectrum that are averaged over [Hz].
    power : float
        Normalised power of the threshold in a single trial.
    """
    # The whole of scipy.stats takes a second to load.
    from scipy.special import chndtr

    if steps.size == 0:
        return 1.0
    # The power that is above exceeds the threshold by an exponential: its deciles' centres.
    above = power - np.log1p(-(np.arange(10) + 0.5) / 10)[None, :]
    # Steps grow slowly along a stage: a few stand for all.
    some = np.unique(np.quantile(steps, (np.arange(8) + 0.5) / 8, method="nearest"))
    nearest = np.abs(steps[:, None] - some).argmin(axis=1)
    new = np.zeros(some.size)
    for i, step in enumerate(some):
        delay = KDM * step * (freqs**-2.0 - freqs[0] ** -2.0)
        coherence = np.abs(np.exp(2j * np.pi * grid[:, None] * delay[None, :]).mean(axis=1))
        g2 = np.clip(coherence**2, 0.0, 1.0 - 1e-9)[:, None]
        new[i] = chndtr(2 * power / (1 - g2), 2, 2 * g2 * above / (1 - g2)).mean()
    return 1.0 + float(new[nearest].sum())


def independent_periodic(plan: "DMPlan", times: NDArray[np.int64]) -> float:
    """Independent trials among the DMs of a plan, for frequencies up to where each is searched for periods.

    Parameters
    ----------
    plan : DMPlan
    times : ndarray of int64, shape (ndms,)
        How often series are halved for that (:func:`pulsar.dedisp.sampling.halvings`).
    """
    parts = [replace(part, tsamp=part.tsamp * 2.0**halved) for part, halved in stretches(plan, times)]
    return sum(independent_dms(part, plan.freqs) for part in parts)
