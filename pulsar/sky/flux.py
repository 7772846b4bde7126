"""Flux densities from S/N."""

import numpy as np

from pulsar.config.model import TelescopeConfig


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
