"""Signals that are to be injected, against the room that an observation has for them."""

from typing import TYPE_CHECKING, Final

import numpy as np

from pulsar.config.model import Config
from pulsar.data.header import Header
from pulsar.errors import ConfigError
from pulsar.pipeline.injections import dm_trials, ranges_of
from pulsar.pipeline.limits import flux_of, smeared_duty, telescope_of
from pulsar.synthesis.population import MOST_SMEARED, MOST_TOLD, Asked, read_asked, smeared

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
        wrong = [fault for signal in read_asked(wanted.population) for fault in room.faults(signal)]
        if wrong:
            more = f"\n… and {len(wrong) - MOST_TOLD} more" if len(wrong) > MOST_TOLD else ""
            raise ConfigError("\n".join(wrong[:MOST_TOLD]) + more)
        return
    for name, kind in (("period", "pulsar"), ("dm", "pulsar"), ("width", "burst")):
        for value in getattr(wanted, name) or ():
            for fault in room.faults(Asked(kind, f"completeness.{name}", **{name: value})):
                raise ConfigError(fault)


class _Room:
    """Room of an observation and its search for signals."""

    def __init__(self, header: Header, plan: "RunPlan", config: Config) -> None:
        self.header = header
        trials = dm_trials(plan).dms
        self.dms = float(trials[0]), float(trials[-1])
        self.fits = plan.dm_fits
        self.periods = LEAST_SAMPLES * header.tsamp, header.tobs / LEAST_TURNS
        self.drawn = ranges_of(header, plan, config).periods
        self.telescope = telescope_of(header, config.telescope)

    def faults(self, signal: Asked) -> list[str]:
        """Faults of a signal, in words."""
        faults = []
        low, high = self.dms
        if signal.dm is not None and not low <= signal.dm <= high:
            faults.append(f"dm = {signal.dm:g}: expected what is searched, {low:g} to {high:g} pc/cm3 (--dm)")
        elif signal.dm is not None and signal.dm > self.fits:
            faults.append(
                f"dm = {signal.dm:g}: its delay over the band is longer than the data, expected {self.fits:.4g} at most"
            )
        if signal.kind == "burst":
            most = WIDEST * self.header.tobs
            if signal.width is not None and signal.width > most:
                faults.append(f"width = {signal.width:g}: expected up to a quarter of the observation, {most:.4g} s")
        else:
            faults += self._of_period(signal)
        return [f"{signal.where}: {text}" for text in faults]

    def _of_period(self, signal: Asked) -> list[str]:
        faults = []
        low, high = self.periods
        if signal.period is not None and not low <= signal.period <= high:
            faults.append(
                f"period = {signal.period:g}: expected 2 samples to half of the observation, {low:.4g} to {high:.4g} s"
            )
        elif signal.period is not None and signal.dm is not None:
            least = smeared(self.header, signal.dm) / MOST_SMEARED
            if signal.period < least:
                faults.append(
                    f"period = {signal.period:g}: at DM {signal.dm:g} dispersion in a channel smears more than "
                    f"{MOST_SMEARED:g} of a turn: expected {least:.4g} s or more"
                )
        longest = self.drawn[1] if signal.period is None else signal.period
        if signal.width is not None and not signal.width < 0.5 * longest:
            faults.append(f"width = {signal.width:g}: expected less than half of the period, {0.5 * longest:.4g} s")
        if signal.flux is not None:
            width = smeared_duty(self.header, 1.0, 0.1, 0.0)
            if not np.isfinite(flux_of(1.0, width, self.header, self.header.bandwidth, self.telescope)):
                faults.append(
                    f"flux = {signal.flux:g}: the gain of the telescope is not known, give --gain and --tsys, or snr"
                )
        return faults
