"""Pulsars and bursts drawn at random, as a search might meet them."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from pulsar.data.header import Header
from pulsar.synthesis.model import Burst, Pulsar
from pulsar.synthesis.signal import smearing

#: Width at half maximum of a pulse [deg] at a period of 1 s, its power of the period (P^-0.3: Johnston & Karastergiou
#: 2019, MNRAS 485, 640; Posselt et al. 2021, MNRAS 508, 4249), and its scatter, which is large [dex].
WIDTH_DEG: Final = 4.9
WIDTH_POWER: Final = -0.3
WIDTH_SCATTER: Final = 0.2
#: Duty cycles lie between these.
DUTY: Final = (0.003, 0.35)
#: What dispersion inside a channel and the sampling smear over more than this part of a turn is drawn again.
MOST_SMEARED: Final = 0.3
#: Widest burst that is drawn, over what dispersion in a channel and the sampling make of the narrowest.
WIDEST: Final = 16.0


@dataclass(frozen=True)
class Ranges:
    """What may be drawn.

    Attributes
    ----------
    periods : (float, float)
        [s]; log-uniform.
    dms : (float, float)
        [pc cm^-3]; uniform.
    snrs : (float, float)
        Uniform.
    accel : float or None
        Largest acceleration [m/s^2], either sign; None: none.
    drift : float or None
        Largest drift of the fundamental [bins of 1/T]; None: none.
    width_max : float
        Widest burst [s].
    duties : (float, float) or None
        Log-uniform; None: by the law of :func:`duty_of`.
    widths : (float, float) or None
        Of bursts [s], log-uniform; None: from a sample to WIDEST times what smears the narrowest.
    """

    periods: tuple[float, float]
    dms: tuple[float, float]
    snrs: tuple[float, float]
    accel: float | None = None
    drift: float | None = None
    width_max: float = 0.25
    duties: tuple[float, float] | None = None
    widths: tuple[float, float] | None = None


@dataclass(frozen=True)
class Asked:
    """A signal that somebody asks for; what is None is drawn.

    Attributes
    ----------
    kind : {"pulsar", "burst"}
    where : str
        Where that is written, for messages.
    period : float or None
        [s]
    dm : float or None
        [pc cm^-3]
    snr : float or None
    flux : float or None
        Mean flux density of a pulsar, in place of its S/N [mJy].
    width : float or None
        Full width at half maximum [s].
    duty : float or None
        In place of the width [turns].
    accel : float or None
        [m/s^2]
    """

    kind: str = "pulsar"
    where: str = ""
    period: float | None = None
    dm: float | None = None
    snr: float | None = None
    flux: float | None = None
    width: float | None = None
    duty: float | None = None
    accel: float | None = None


def duty_of(period: float, deviation: float = 0.0) -> float:
    """Duty cycle of a pulsar of a period [s], so many standard deviations off the law."""
    duty: float = WIDTH_DEG / 360.0 * period**WIDTH_POWER * 10.0 ** (WIDTH_SCATTER * deviation)
    return min(max(duty, DUTY[0]), DUTY[1])


def smeared(header: Header, dm: float) -> float:
    """Width that dispersion inside the middle channel and the sampling give to the narrowest pulse [s]."""
    return math.hypot(float(smearing(header, dm, np.array([header.fcenter]))[0]), header.tsamp)


def draw_pulsar(
    rng: np.random.Generator,
    header: Header,
    ranges: Ranges,
    dm: float,
    stratum: tuple[int, int] = (0, 1),
    asked: Asked = Asked(),
) -> Pulsar | None:
    """A pulsar at a DM, or None where what was drawn is smeared out.

    Parameters
    ----------
    rng : Generator
    header : Header
    ranges : Ranges
    dm : float
        [pc cm^-3]
    stratum : (int, int)
        Which of how many parts of the range of periods it is from.
    asked : Asked
        What is not drawn; its flux is left to the caller.
    """
    low, high = np.log(ranges.periods)
    number, count = stratum
    period = float(np.exp(low + (high - low) * (number + rng.uniform()) / count))
    period = period if asked.period is None else asked.period
    duty = _duty(period, float(rng.normal()), ranges, asked)
    snr, phase = float(rng.uniform(*ranges.snrs)), float(rng.uniform())
    part = float(rng.uniform(-1.0, 1.0))
    accel = None
    if ranges.accel is not None or ranges.drift is not None:
        from pulsar.constants import C

        limits = [ranges.accel, None if ranges.drift is None else ranges.drift * C * period / header.tobs**2]
        accel = part * min(limit for limit in limits if limit is not None)
    accel = accel if asked.accel is None else asked.accel
    snr = snr if asked.snr is None else asked.snr
    if not 0.0 < duty < 1.0 or smeared(header, dm) > MOST_SMEARED * period:
        return None
    return Pulsar(period=period, dm=dm, snr=snr, duty=duty, phase0=phase, accel=accel)


def _duty(period: float, deviation: float, ranges: Ranges, asked: Asked) -> float:
    """The duty cycle that is asked for, or one drawn by a normal deviate."""
    if asked.duty is not None:
        return asked.duty
    if asked.width is not None:
        return asked.width / period
    if ranges.duties is None:
        return duty_of(period, deviation)
    low, high = np.log(ranges.duties)
    return float(np.exp(low + (high - low) * 0.5 * (1.0 + math.erf(deviation / math.sqrt(2.0)))))


def draw_burst(
    rng: np.random.Generator, header: Header, ranges: Ranges, dm: float, asked: Asked = Asked()
) -> Burst | None:
    """A burst at a DM that is whole within the observation, or None where that is too short for its delay."""
    least = smeared(header, dm)
    most = max(min(0.5 * ranges.width_max, WIDEST * least), header.tsamp)
    narrowest, widest = (header.tsamp, most) if ranges.widths is None else ranges.widths
    width = float(np.exp(rng.uniform(np.log(narrowest), np.log(widest))))
    width = width if asked.width is None else asked.width
    snr, place = float(rng.uniform(*ranges.snrs)), float(rng.uniform())
    snr = snr if asked.snr is None else asked.snr
    margin = 2.0 * math.hypot(width, least)
    room = header.tobs - float(header.delays(dm)[-1]) - 2.0 * margin
    if room <= 0.0:
        return None
    return Burst(time=margin + place * room, dm=dm, snr=snr, width=width)
