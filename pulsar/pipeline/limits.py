"""Upper limits on flux densities: the S/N from which on injected pulsars are found, in the radiometer equation."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.config.load import load_config
from pulsar.config.model import TelescopeConfig
from pulsar.data.candidate import empty_table
from pulsar.data.header import Header
from pulsar.data.injected import LIMIT_COLUMNS, threshold_at, threshold_interval
from pulsar.sky.observatory import digitisation_loss, find_observatory, flux_limit, gain_at
from pulsar.synthesis.population import smeared

#: Limits are told for these periods [s], as far as pulsars of such periods were injected, and these duty cycles.
PERIODS: Final = (2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
DUTIES: Final = (0.01, 0.03, 0.1, 0.3)
#: The S/N of a period is that of a part of the injected pulsars, the nearest in its logarithm, and of no fewer than so
#: many, of which the S/N where nine tenths are found is known within about 1.
NEAREST_PART: Final = 0.25
NEAREST: Final = 60
MOST_NEAREST: Final = 2000
#: Shares that are told of.
SHARES: Final = {"half": 0.5, "most": 0.9}
#: A period is told of within this factor of those that were injected.
BEYOND: Final = 1.1


def telescope_of(header: Header, config: TelescopeConfig) -> TelescopeConfig:
    """The sensitivity that is set, or where none is and the file names FAST that of its presets."""
    observatory = find_observatory(header.telescope)
    if config.gain is not None or observatory is None or observatory.name != "FAST":
        return config

    preset = load_config("fast-19beam").telescope
    given = {name: getattr(config, name) for name in config.model_fields_set}
    return preset.model_copy(update=given)


def smeared_duty(header: Header, period: float, duty: float, dm: float) -> float:
    """Full width at half maximum of a pulse as it is recorded [turns]."""
    return float(np.hypot(duty, smeared(header, dm) / period))


def flux_of(snr: float, width: float, header: Header, bandwidth: float, telescope: TelescopeConfig) -> float:
    """Mean flux density [mJy] of a pulsar of this S/N and recorded width [turns] in so much bandwidth [MHz]."""
    return flux_limit(
        snr, width, nbits=header.nbits, tobs=header.tobs, bandwidth=bandwidth, config=telescope, za_deg=header.za_deg
    )


def flux_limits(
    header: Header, injected: NDArray[Any], bandwidth: float, config: TelescopeConfig, obs: int = 0
) -> NDArray[Any]:
    """Flux densities from which on half and nine tenths of the pulsars are found, by period and duty cycle.

    Parameters
    ----------
    header : Header
    injected : ndarray
        Fields of INJECTED_COLUMNS, of this observation.
    bandwidth : float
        That is not masked [MHz].
    config : TelescopeConfig
    obs : int
        Number of the observation.

    Returns
    -------
    ndarray
        Fields of LIMIT_COLUMNS; empty where the gain of the telescope is not known, or no pulsar was injected.
    """
    telescope = telescope_of(header, config)
    pulsars = injected[injected["kind"] == "pulsar"]
    gain = gain_at(telescope, header.za_deg)
    if not gain > 0 or not pulsars.size:
        return empty_table(LIMIT_COLUMNS, 0)
    dm = float(np.median(pulsars["dm"]))
    low, high = pulsars["period"].min() / BEYOND, pulsars["period"].max() * BEYOND
    periods = [period for period in PERIODS if low <= period <= high]
    table = empty_table(LIMIT_COLUMNS, len(periods) * len(DUTIES))
    for i, period in enumerate(periods):
        near = nearest(pulsars, period)
        thresholds = {
            name: (threshold_at(near, share), *threshold_interval(near, share)) for name, share in SHARES.items()
        }
        for j, duty in enumerate(DUTIES):
            row = table[len(DUTIES) * i + j]
            width = smeared_duty(header, period, duty, dm)
            row["period"], row["duty"], row["dm"], row["tried"] = period, duty, dm, near.size
            row["width"] = width * period
            for name, (snr, least, most) in thresholds.items():
                row[f"snr_{name}"], row[f"snr_{name}_low"], row[f"snr_{name}_high"] = snr, least, most
                row[f"flux_{name}"] = flux_of(snr, width, header, bandwidth, telescope)
    table["obs"], table["tobs"], table["bandwidth"], table["gain"] = obs, header.tobs, bandwidth, gain
    table["tsys"], table["npol"] = telescope.tsys, telescope.npol
    table["beta"] = digitisation_loss(header.nbits, telescope)
    return table


def pooled_limits(headers: Sequence[Header], injected: NDArray[Any], limits: NDArray[Any]) -> NDArray[Any]:
    """The limits of several observations, where few signals each were injected by the S/N that all of them tell.

    Parameters
    ----------
    headers : sequence of Header
        As the column obs counts them.
    injected, limits : ndarray
        Of all of them, fields of INJECTED_COLUMNS and LIMIT_COLUMNS.

    Returns
    -------
    ndarray
        Fields of LIMIT_COLUMNS.
    """
    pulsars = injected[injected["kind"] == "pulsar"]
    parts = [empty_table(LIMIT_COLUMNS, 0)]
    for obs in sorted(set(limits["obs"].tolist())):
        own = limits[limits["obs"] == obs]
        if obs < 0 or np.count_nonzero(pulsars["obs"] == obs) >= NEAREST:
            parts.append(own)
            continue
        # The gain of the table is that at the zenith angle of the observation.
        settings = {name: own[0][name].item() for name in ("gain", "tsys", "npol", "beta")}
        telescope = TelescopeConfig.model_construct(**TelescopeConfig().model_dump() | settings)
        parts.append(flux_limits(headers[obs], pulsars, float(own[0]["bandwidth"]), telescope, obs))
    return np.concatenate(parts)


def nearest(pulsars: NDArray[Any], period: float) -> NDArray[Any]:
    """Those of the injected pulsars whose periods are nearest to one, in their order."""
    count = min(max(NEAREST, int(np.ceil(NEAREST_PART * pulsars.size))), MOST_NEAREST)
    order = np.argsort(np.abs(np.log(pulsars["period"] / period)), kind="stable")[:count]
    return pulsars[np.sort(order)]
