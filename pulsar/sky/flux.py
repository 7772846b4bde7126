"""Flux densities from S/N."""

import math
from typing import Final

import numpy as np

from pulsar.config.model import TelescopeConfig

#: S/N that is lost where noise is written with so few bits, levels at their best: of one bit sqrt(pi/2); of four levels
#: they keep 0.8825 of the power of a signal (Max 1960, IRE Trans. Inf. Theory 6, 7); of more bits nothing.
BETA: Final = {1: math.sqrt(0.5 * math.pi), 2: 1.0 / math.sqrt(0.8825)}
#: A rectangle of so many times the width at half maximum of a Gaussian gives the same S/N for the same mean flux.
EVEN: Final = math.sqrt(0.5 * math.pi / math.log(2.0))


def digitisation_loss(nbits: int, config: TelescopeConfig) -> float:
    """Loss of S/N by digitisation, 1 or more: what is set, or that of so many bits."""
    return BETA.get(nbits, 1.0) if config.beta is None else config.beta


def flux_limit(
    snr: float,
    width: float,
    *,
    nbits: int,
    tobs: float,
    bandwidth: float,
    config: TelescopeConfig,
    za_deg: float = float("nan"),
) -> float:
    """Mean flux density [mJy] at which an ideal matched filter shows a pulsar of Gaussian pulses with this S/N.

    The radiometer equation (Dewey et al. 1985; Lorimer & Kramer 2004, A1.22) times the loss by digitisation, with the
    rectangle of the same S/N for the pulse: EVEN times its width at half maximum.

    Parameters
    ----------
    snr : float
    width : float
        Full width at half maximum [turns], smeared.
    nbits : int
        Of the files.
    tobs, bandwidth, config, za_deg
        As for :func:`mean_flux`.

    Returns
    -------
    float
        NaN when something is unknown, or where nothing of a turn is beside the pulse.
    """
    flux = mean_flux(snr, EVEN * width, tobs=tobs, bandwidth=bandwidth, config=config, za_deg=za_deg)
    return 1e-3 * flux * digitisation_loss(nbits, config)


def gain_at(config: TelescopeConfig, za_deg: float) -> float:
    """Gain at a zenith angle [K/Jy]: full up to `za_full`, then falling on a line to `za_zero`; NaN without a gain.

    An unknown angle (NaN) counts as the zenith.
    """
    if config.gain is None:
        return float("nan")
    if not za_deg > config.za_full:
        return config.gain
    return config.gain * max((config.za_zero - za_deg) / (config.za_zero - config.za_full), 0.0)


def mean_flux(
    snr: float, width: float, *, tobs: float, bandwidth: float, config: TelescopeConfig, za_deg: float = float("nan")
) -> float:
    """Mean flux density of a pulsar [uJy] by the radiometer equation (Dewey et al. 1985).

    S = S/N Tsys / (G sqrt(npol tobs bandwidth)) sqrt(w / (1 - w))

    Parameters
    ----------
    snr : float
        Folded S/N.
    width : float
        Width of the pulse [turns].
    tobs : float
        [s]
    bandwidth : float
        Of the channels that were used [MHz].
    config : TelescopeConfig
    za_deg : float
        Zenith angle [deg]; NaN when unknown.

    Returns
    -------
    float
        NaN when something is unknown.
    """
    gain = gain_at(config, za_deg)
    if not gain > 0 or not 0 < width < 1 or not bandwidth > 0 or not tobs > 0:
        return float("nan")
    noise = config.tsys / (gain * np.sqrt(config.npol * tobs * bandwidth * 1e6))
    return float(1e6 * snr * noise * np.sqrt(width / (1.0 - width)))
