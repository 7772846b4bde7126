"""Whether an observation can hold the signals that somebody wants to be injected into it."""

from typing import TYPE_CHECKING, Final

import numpy as np

from pulsar.config.model import Config
from pulsar.data.header import Header
from pulsar.errors import ConfigError
from pulsar.pipeline.injections import dm_trials, ranges_of
from pulsar.pipeline.limits import flux_of, smeared_duty, telescope_of
from pulsar.synthesis.asked import MOST_TOLD, read_asked
from pulsar.synthesis.population import MOST_SMEARED, Asked, smeared

if TYPE_CHECKING:
    from pulsar.pipeline.run_plan import RunPlan

#: A period takes no fewer samples than these, and comes no fewer times.
LEAST_SAMPLES: Final = 2.0
LEAST_TURNS: Final = 2.0
#: Widest burst, as a part of the observation.
WIDEST: Final = 0.25


def check_wanted(header: Header, plan: "RunPlan", config: Config) -> None:
    """Refuse ranges and tables of signals that the observation, or its search, has no room for.

    Parameters
    ----------
    header : Header
    plan : RunPlan
    config : Config

    Raises
    ------
    ConfigError
        Naming the setting or the row, and what is expected.
    """
    if plan.injections is None or plan.dm is None:
        return
    wanted, room = config.completeness, _Room(header, plan, config)
    if wanted.population:
        wrong = [told for one in read_asked(wanted.population) for told in room.faults(one)]
        if wrong:
            more = f"\n… and {len(wrong) - MOST_TOLD} more" if len(wrong) > MOST_TOLD else ""
            raise ConfigError("\n".join(wrong[:MOST_TOLD]) + more)
        return
    for name, kind in (("period", "pulsar"), ("dm", "pulsar"), ("width", "burst")):
        for value in getattr(wanted, name) or ():
            for told in room.faults(Asked(kind, f"completeness.{name}", **{name: value})):
                raise ConfigError(told)


class _Room:
    """What an observation and its search have room for."""

    def __init__(self, header: Header, plan: "RunPlan", config: Config) -> None:
        self.header = header
        trials = dm_trials(plan).dms
        self.dms = float(trials[0]), float(trials[-1])
        self.fits = plan.dm_fits
        self.periods = LEAST_SAMPLES * header.tsamp, header.tobs / LEAST_TURNS
        self.drawn = ranges_of(header, plan, config).periods
        self.telescope = telescope_of(header, config.telescope)

    def faults(self, one: Asked) -> list[str]:
        """What is wrong with a signal, in words."""
        told = []
        low, high = self.dms
        if one.dm is not None and not low <= one.dm <= high:
            told.append(f"dm = {one.dm:g}: expected what is searched, {low:g} to {high:g} pc/cm3 (--dm)")
        elif one.dm is not None and one.dm > self.fits:
            told.append(
                f"dm = {one.dm:g}: its delay over the band is longer than the data, expected {self.fits:.4g} at most"
            )
        if one.kind == "burst":
            most = WIDEST * self.header.tobs
            if one.width is not None and one.width > most:
                told.append(f"width = {one.width:g}: expected up to a quarter of the observation, {most:.4g} s")
        else:
            told += self._of_period(one)
        return [f"{one.where}: {text}" for text in told]

    def _of_period(self, one: Asked) -> list[str]:
        told = []
        low, high = self.periods
        if one.period is not None and not low <= one.period <= high:
            told.append(
                f"period = {one.period:g}: expected 2 samples to half of the observation, {low:.4g} to {high:.4g} s"
            )
        elif one.period is not None and one.dm is not None:
            least = smeared(self.header, one.dm) / MOST_SMEARED
            if one.period < least:
                told.append(
                    f"period = {one.period:g}: at DM {one.dm:g} dispersion in a channel smears more than "
                    f"{MOST_SMEARED:g} of a turn: expected {least:.4g} s or more"
                )
        longest = self.drawn[1] if one.period is None else one.period
        if one.width is not None and not one.width < 0.5 * longest:
            told.append(f"width = {one.width:g}: expected less than half of the period, {0.5 * longest:.4g} s")
        if one.flux is not None:
            width = smeared_duty(self.header, 1.0, 0.1, 0.0)
            if not np.isfinite(flux_of(1.0, width, self.header, self.header.bandwidth, self.telescope)):
                told.append(
                    f"flux = {one.flux:g}: the gain of the telescope is not known, give --gain and --tsys, or snr"
                )
        return told
