"""Pulsars and bursts drawn at random, as a search might meet them; and tables of those that somebody asks for."""

import csv
import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.constants import C
from pulsar.data.files import read_text
from pulsar.data.header import Header
from pulsar.data.text import parsed
from pulsar.errors import ConfigError, DataError
from pulsar.synthesis.model import Burst, Pulsar
from pulsar.synthesis.signal import smearing

#: Duty cycles lie between these.
DUTY: Final = (0.003, 0.35)
#: What dispersion inside a channel and the sampling smear over more than this part of a turn is drawn again.
MOST_SMEARED: Final = 0.3
#: Widest burst that is drawn, over what dispersion in a channel and the sampling make of the narrowest.
WIDEST: Final = 16.0


#: Columns of a table of signals: what they hold, which kind they are of ("": both), the unit, and what is expected.
COLUMNS: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "kind": ("pulsar (if it is left out) or burst", "", "", ""),
    "period": ("period at mid-observation", "pulsar", "s", "more than 0"),
    "dm": ("dispersion measure", "", "pc / cm3", "0 or more"),
    "snr": ("S/N of an ideal matched filter", "", "", "more than 0"),
    "flux": ("mean flux density, in place of snr", "pulsar", "mJy", "more than 0"),
    "width": ("full width at half maximum", "", "s", "more than 0"),
    "duty": ("width over the period, in place of width", "pulsar", "", "more than 0 and below 1"),
    "accel": ("acceleration along the line of sight", "pulsar", "m / s2", "a number"),
}
#: Faults that are told of a table at once.
MOST_TOLD: Final = 10
_TABLE: Final = "a table of signals (csv or ecsv)"


@dataclass(frozen=True)
class Ranges:
    """Ranges from which signals are drawn."""

    periods: tuple[float, float]  # [s]; log-uniform
    dms: tuple[float, float]  # [pc cm^-3]; uniform
    snrs: tuple[float, float]  # Uniform
    accel: float | None = None  # Largest acceleration [m/s^2], either sign; None: none
    drift: float | None = None  # Largest drift of the fundamental [bins of 1/T]; None: none
    width_max: float = 0.25  # Widest burst [s]
    duties: tuple[float, float] | None = None  # Log-uniform; None: by the law of :func:`duty_of`
    #: Of bursts [s], log-uniform; None: from a sample to WIDEST times what smears the narrowest.
    widths: tuple[float, float] | None = None


@dataclass(frozen=True)
class SignalRequest:
    """A signal that somebody asks for; what is None is drawn."""

    kind: str = "pulsar"  # {"pulsar", "burst"}
    where: str = ""  # Where that is written, for messages
    period: float | None = None  # [s]
    dm: float | None = None  # [pc cm^-3]
    snr: float | None = None
    flux: float | None = None  # Mean flux density of a pulsar, in place of its S/N [mJy]
    width: float | None = None  # Full width at half maximum [s]
    duty: float | None = None  # In place of the width [turns]
    accel: float | None = None  # [m/s^2]


def duty_of(period: float, deviation: float = 0.0) -> float:
    """Duty cycle of a pulsar of a period [s], so many standard deviations off the law."""
    # Width at half maximum of a pulse [deg] at a period of 1 s, its power of the period (P^-0.3: Johnston &
    # Karastergiou 2019, MNRAS 485, 640; Posselt et al. 2021, MNRAS 508, 4249), and its scatter, which is large [dex].
    duty: float = 4.9 / 360.0 * period**-0.3 * 10.0 ** (0.2 * deviation)
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
    asked: SignalRequest = SignalRequest(),
) -> Pulsar | None:
    """A pulsar at a DM, or None where what was drawn is smeared out.

    Parameters
    ----------
    dm : float
        [pc cm^-3]
    stratum : (int, int)
        Which of how many parts of the range of periods it is from.
    asked : SignalRequest
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
        limits = [ranges.accel, None if ranges.drift is None else ranges.drift * C * period / header.tobs**2]
        accel = part * min(limit for limit in limits if limit is not None)
    accel = accel if asked.accel is None else asked.accel
    snr = snr if asked.snr is None else asked.snr
    if not 0.0 < duty < 1.0 or smeared(header, dm) > MOST_SMEARED * period:
        return None
    return Pulsar(period=period, dm=dm, snr=snr, duty=duty, phase0=phase, accel=accel)


def _duty(period: float, deviation: float, ranges: Ranges, asked: SignalRequest) -> float:
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
    rng: np.random.Generator, header: Header, ranges: Ranges, dm: float, asked: SignalRequest = SignalRequest()
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


def read_asked(path: Path | str) -> tuple[SignalRequest, ...]:
    """The signals of a table.

    Parameters
    ----------
    path : path
        Comma-separated with a line of names, or ECSV, whose units are converted; the columns are those of COLUMNS.

    Raises
    ------
    ConfigError
        A column is not known, or rows make no sense: which, and what is expected.
    DataError
        The file cannot be read.
    """
    path = Path(path)
    text = read_text(path, _TABLE)
    rows = _ecsv(path, text) if text.startswith("# %ECSV") else _csv(path, text)
    signals, wrong = [], []
    for where, cells in rows:
        try:
            signals.append(_signal_request(f"{path}: {where}", cells))
        except ConfigError as error:
            wrong.append(str(error))
    if wrong:
        more = f"\n… and {len(wrong) - MOST_TOLD} rows more" if len(wrong) > MOST_TOLD else ""
        raise ConfigError("\n".join(wrong[:MOST_TOLD]) + more)
    if not signals:
        raise ConfigError(f"{path}: holds no signals: expected a row for each below the names of the columns")
    return tuple(signals)


def _check_names(path: Path, names: Sequence[str]) -> None:
    for name in names:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{path}: column {name!r} is not known{hint}; expected some of {', '.join(COLUMNS)}")
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise ConfigError(f"{path}: column {twice!r} is there twice")


def _csv(path: Path, text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows with where they are."""
    lines = csv.reader(text.splitlines(), skipinitialspace=True)
    names: list[str] = []
    try:
        for cells in lines:
            if not any(cell.strip() for cell in cells) or cells[0].startswith("#"):
                continue
            if not names:
                names = [cell.strip().lower() for cell in cells]
                _check_names(path, names)
                continue
            if len(cells) != len(names):
                raise ConfigError(f"{path}: line {lines.line_num}: {len(cells)} cells, expected {len(names)}")
            yield f"line {lines.line_num}", dict(zip(names, (c.strip() for c in cells), strict=True))
    except csv.Error as error:
        raise ConfigError(f"{path}: line {lines.line_num}: {error}; expected {_TABLE}") from error


def _ecsv(path: Path, text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows with where they are, in our units."""
    from astropy.table import Table

    try:
        table = Table.read(text.splitlines(), format="ascii.ecsv")
    except Exception as error:  # whatever astropy makes of a damaged one
        raise DataError(f"{path}: cannot be read as ECSV: {error}") from error
    names = [name.lower() for name in table.colnames]
    _check_names(path, names)
    columns: dict[str, list[str]] = {}
    for name, column in zip(names, table.columns.values(), strict=True):
        factor = 1.0
        if column.unit is not None:
            try:
                factor = column.unit.to(COLUMNS[name][2])
            except (ValueError, TypeError):
                expected = COLUMNS[name][2] or "none"
                raise ConfigError(f"{path}: column {name} has the unit {column.unit}, expected {expected}") from None
        columns[name] = [_cell(value, factor) for value in column.tolist()]
    for i in range(len(table)):
        yield f"row {i + 1}", {name: cells[i] for name, cells in columns.items()}


def _cell(value: Any, factor: float) -> str:
    if value is None:
        return ""
    return repr(value * factor) if isinstance(value, float | int) else str(value)


def _signal_request(where: str, cells: Mapping[str, str]) -> SignalRequest:
    """One signal."""
    kind = cells.get("kind", "").lower() or "pulsar"
    if kind not in ("pulsar", "burst"):
        raise ConfigError(f"{where}: kind {kind!r}: expected pulsar or burst")
    values: dict[str, float] = {}
    for name, text in cells.items():
        if name == "kind" or text in ("", "nan", "*"):
            continue
        about, of, unit, expected = COLUMNS[name]
        if of and of != kind:
            raise ConfigError(f"{where}: {name} = {text}: a {kind} has none; leave it empty")
        value = parsed(text)
        good = value >= 0.0 if name == "dm" else value > 0.0 or name == "accel"
        if not math.isfinite(value) or not good or (name == "duty" and value >= 1.0):
            raise ConfigError(f"{where}: {name} = {text}: expected {expected}{f' [{unit}]' if unit else ''} ({about})")
        values[name] = value
    for first, second in (("snr", "flux"), ("width", "duty")):
        if first in values and second in values:
            raise ConfigError(f"{where}: {first} and {second} are given: one of them says it")
    return SignalRequest(kind=kind, where=where, **values)
