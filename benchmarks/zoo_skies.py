"""A zoo of interference for zoo.py: observations with every kind of it, pulsars and bursts in them, and what is found.

Each observation exists twice with the same noise and the same signals: clean, and with interference. What is found in
the clean one and not in the other has been lost to the interference or to what is done against it. What is listed, is
no injected signal and carries no flag is interference that a user would have to look at.
"""

import itertools
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom
from shared import words_of

from pulsar.data.header import Header, band_delay
from pulsar.errors import ConfigError
from pulsar.synthesis.interference import alive
from pulsar.synthesis.model import Burst, Pulsar, Rfi, Sky
from pulsar.synthesis.population import smeared
from pulsar.synthesis.signal import burst_signal, pulsar_signal

_TOML: Final[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("zoo.toml").read_text())
RECEIVERS: Final[dict[str, Sky]] = {name: Sky(**fields) for name, fields in _TOML["receivers"].items()}
#: Lowest and highest frequency [MHz], mean power [sigma], and time scale [s] of the modulation of each satellite.
SATELLITES: Final[list[list[float]]] = _TOML["satellites"]["ranges"]


def _sources(entry: str | dict[str, Any]) -> list[Rfi]:
    """Sources of interference of an entry of an observation: shared ones by their name, satellites, or one source."""
    if isinstance(entry, str):
        return [Rfi(**source) for source in _TOML["shared"][entry]]
    if "satellites" not in entry:
        return [Rfi(**entry)]
    return [
        Rfi(kind="satellite", freqs=(low, high), strength=power, width=width, fraction=fraction)
        for (low, high, power, width), fraction in zip(SATELLITES, itertools.cycle(entry["satellites"]), strict=False)
    ]


def _observation(receiver: str, rfi: list[Any], **changes: Any) -> tuple[str, tuple[Rfi, ...], dict[str, Any]]:
    return receiver, tuple(source for entry in rfi for source in _sources(entry)), changes


#: Receiver, interference and changes of the sky, by name.
ZOO: Final = {name: _observation(**fields) for name, fields in _TOML["observations"].items()}

#: Signals in an observation.
PULSARS: Final = 4
BURSTS: Final = 4
#: Trial-corrected significance from which what is listed counts [sigma].
COUNTED: Final = 3.0


def draw(header: Header, seed: int) -> tuple[tuple[Pulsar, ...], tuple[Burst, ...]]:
    """Pulsars of 2 ms to 2 s and bursts of 0.5 to 10 ms, DM 10 to 500, S/N 10 to 20, that fit an observation.

    Parameters
    ----------
    header : Header
    seed : int

    Returns
    -------
    pulsars, bursts : tuple
        Periods are spread over the range, and none is a simple multiple of another; bursts come at even distances.
    """
    rng = np.random.default_rng(7000 + seed)
    low, high = max(2e-3, 8 * header.tsamp), min(2.0, header.tobs / 12)
    edges = np.geomspace(low, high, PULSARS + 1)
    pulsars: list[Pulsar] = []
    while len(pulsars) < PULSARS:
        i = len(pulsars)
        period = math.exp(rng.uniform(math.log(edges[i]), math.log(edges[i + 1])))
        duty = math.exp(rng.uniform(math.log(0.03), math.log(0.15)))
        dm = math.exp(rng.uniform(math.log(10), math.log(500)))
        ratios = [p.period / period * k for p in pulsars for k in (1, 2, 3, 4)]
        if smeared(header, dm) > 0.2 * period or any(abs(r - round(r)) < 2e-3 for r in ratios):
            continue
        shape = {"period": period, "dm": dm, "duty": duty, "snr": rng.uniform(10, 20)}
        pulsars.append(Pulsar(name=f"pulsar{i}", **shape, phase0=rng.uniform(-0.5, 0.5)))
    bursts: list[Burst] = []
    room = header.tobs - float(header.delays(500.0)[-1]) - 0.5
    room = room if room > 1.0 else 0.7 * header.tobs
    while len(bursts) < BURSTS:
        i = len(bursts)
        width = math.exp(rng.uniform(math.log(max(5e-4, header.tsamp)), math.log(1e-2)))
        dm = math.exp(rng.uniform(math.log(20), math.log(500)))
        time = 0.2 + (i + rng.uniform(0.2, 0.8)) * room / BURSTS
        if smeared(header, dm) > 3 * width or time + float(header.delays(dm)[-1]) > header.tobs - 0.1:
            continue
        bursts.append(Burst(name=f"burst{i}", time=time, dm=dm, width=width, snr=rng.uniform(10, 20)))
    return tuple(pulsars), tuple(bursts)


def skies(kind: str, seed: int = 0) -> tuple[Sky, Sky]:
    """The observation `kind` of the zoo without its interference and with it: the same noise and the same signals.

    Parameters
    ----------
    kind : str
        A name in `ZOO`.
    seed : int
        Draws other signals and other noise.

    Returns
    -------
    clean, contaminated : Sky
    """
    if kind not in ZOO:
        raise ConfigError(f"unknown observation {kind}: known are {', '.join(ZOO)}")
    receiver, rfi, changes = ZOO[kind]
    number = 100 * seed + list(ZOO).index(kind)
    base = RECEIVERS[receiver]
    pulsars, bursts = draw(base.header, number)
    changes = {"seed": number, **changes}
    # Gains of the clean one wander too: what is compared is interference alone.
    clean = base.model_copy(update={**changes, "overflow": "clip", "pulsars": pulsars, "bursts": bursts})
    header, live = base.header, alive(base.header, rfi)

    def weaker(signals: Sequence[Any], make: Any) -> tuple[Any, ...]:
        """The S/N of a sky is that over its live channels: with fewer of them the same signal has less."""
        parts = [make(header, s, chan_ok=live).per_amplitude / make(header, s).per_amplitude for s in signals]
        return tuple(s.model_copy(update={"snr": s.snr * float(part)}) for s, part in zip(signals, parts, strict=True))

    found = {"pulsars": weaker(pulsars, pulsar_signal), "bursts": weaker(bursts, burst_signal)}
    return clean, base.model_copy(update={**changes, "rfi": rfi, **found})


@dataclass(frozen=True)
class Verdict:
    """Lists of a search, compared with what is in the observation.

    Attributes
    ----------
    pulsars, bursts : tuple of float
        S/N with which each injected one was found; 0: not found.
    flagged : int
        Those of them that carry a flag of interference.
    candidates, pulses : tuple of str
        What is listed above COUNTED, belongs to nothing injected and carries no flag: in words.
    others : int
        What is listed above COUNTED and belongs to nothing injected, flagged or not.
    masked : float
        Part of the channel-samples that was masked.
    cpu : float
        CPU time of the search [s].
    """

    pulsars: tuple[float, ...]
    bursts: tuple[float, ...]
    flagged: int
    candidates: tuple[str, ...]
    pulses: tuple[str, ...]
    others: int
    masked: float
    cpu: float = field(default=0.0, compare=False)

    @property
    def signals(self) -> tuple[float, ...]:
        """S/N of the pulsars, then of the bursts."""
        return (*self.pulsars, *self.bursts)

    @property
    def strange(self) -> int:
        """Candidates and pulses of interference without a flag."""
        return len(self.candidates) + len(self.pulses)


def belongs(row: Any, pulsar: Pulsar, header: Header, most: int, least: int) -> bool:
    """True if a candidate is a pulsar, at its frequency times n / m with n up to `most` and m up to `least`."""
    freq = float(row["freq"]) * pulsar.period
    ratio = Fraction(freq).limit_denominator(least)
    if not 1 <= ratio.numerator <= most:
        return False
    error = np.nan_to_num(float(row["period_err"]) * float(row["freq"]) ** 2)
    close = max(0.3 / header.tobs, 4.0 * error)
    if abs(float(row["freq"]) - float(ratio) / pulsar.period) > close:
        return False
    width = pulsar.period * max(pulsar.duty, 0.05)
    dm_err = np.nan_to_num(float(row["dm_err"]))
    return bool(abs(float(row["dm"]) - pulsar.dm) <= max(4.0 * dm_err, 1.5 * width / band_delay(header.freqs), 1.0))


def off_in_dm(row: Any, dm: float, width: float, header: Header) -> float | None:
    """How far the DM of a single pulse is from that of pulses so wide [s]; None where it is another."""
    off = abs(float(row["dm"]) - dm)
    most = max(4.0 * np.nan_to_num(float(row["dm_err"])), 2.0 * width / band_delay(header.freqs))
    return off if off <= most else None


def is_burst(row: Any, burst: Burst, header: Header) -> bool:
    """True if a single pulse is an injected burst: DM and time within its width and their errors."""
    width = math.hypot(burst.width, smeared(header, burst.dm))
    off = off_in_dm(row, burst.dm, width, header)
    return off is not None and abs(float(row["time"]) - burst.time) <= 2.0 * width + off * band_delay(header.freqs)


def turn_of(row: Any, pulsar: Pulsar, header: Header) -> tuple[float, float] | None:
    """How far a single pulse is from the nearest pulse of a pulsar, and how far it may be.

    Returns
    -------
    (off, close) : (float, float), or None
        [turns]. None where the DM is another, or `close` is above a quarter: any time would do, so it tells nothing.
    """
    off = off_in_dm(row, pulsar.dm, pulsar.period * max(pulsar.duty, 0.05), header)
    if off is None:
        return None
    turns = (float(row["time"]) - 0.5 * header.tobs) / pulsar.period + pulsar.phase0
    close = pulsar.duty + off * band_delay(header.freqs) / pulsar.period
    return (abs(turns - round(turns)), close) if close <= 0.25 else None


def of_pulsar(row: Any, pulsar: Pulsar, header: Header) -> bool:
    """True if a single pulse is one of a pulsar's own."""
    found = turn_of(row, pulsar, header)
    return found is not None and found[0] <= found[1]


def in_turns(pulses: NDArray[Any], pulsar: Pulsar, header: Header) -> bool:
    """True if pulses at the DM of a pulsar come with its turns more often than pulses of any other times would.

    One or two impulses whose times fit say nothing: by chance the pulses that fit must come once in a thousand times,
    in a binomial of their number, with the mean of what is close enough for each.
    """
    found = [turn for row in pulses if (turn := turn_of(row, pulsar, header)) is not None]
    if not found:
        return False
    fit = sum(off <= close for off, close in found)
    chance = float(np.mean([2.0 * close for _, close in found]))
    return bool(binom.sf(fit - 1, len(found), chance) < 1e-3)


def judge(
    candidates: NDArray[Any],
    pulses: NDArray[Any],
    header: Header,
    pulsars: Sequence[Pulsar],
    bursts: Sequence[Burst],
    mask: Mapping[str, Any] | None = None,
    cpu: float = 0.0,
) -> Verdict:
    """Compare the lists of a search with what was injected.

    A pulsar is found when a candidate that is no harmonic of another has its frequency, or half, twice, a third or
    three times that, and its DM.

    Parameters
    ----------
    candidates, pulses : ndarray
        Tables of a product, best first.
    header : Header
    pulsars, bursts : sequence
        What is in the observation.
    mask : mapping, optional
        Group rfi of the product.
    cpu : float
        [s]
    """
    free = candidates[candidates["harmonic_of"] == ""]
    found_pulsars, found_bursts, flagged = [], [], 0
    for pulsar in pulsars:
        own = [row for row in free if belongs(row, pulsar, header, 3, 3)]
        found_pulsars.append(float(own[0]["snr"]) if own else 0.0)
        flagged += bool(own) and all(row["rfi_flags"] for row in own)
    for burst in bursts:
        own = [row for row in pulses if is_burst(row, burst, header)]
        found_bursts.append(max((float(row["snr"]) for row in own), default=0.0))
        # What runs out of the observation is flagged for it, rightly.
        flagged += bool(own) and all(row["rfi_flags"] not in ("", "cut") for row in own)
    other = [row for row in free if row["sigma"] > COUNTED and not any(belongs(row, p, header, 32, 4) for p in pulsars)]
    # Those of a candidate are listed with it.
    lone = [row for row in pulses if row["sigma"] > COUNTED and row["source"] == ""]
    lone = [row for row in lone if not any(is_burst(row, b, header) for b in bursts)]
    lone = [row for row in lone if not any(of_pulsar(row, p, header) for p in pulsars)]
    strange = [tuple(words_of(row) for row in rows if not row["rfi_flags"]) for rows in (other, lone)]
    masked = 0.0 if mask is None else masked_part(mask, header)
    found = tuple(found_pulsars), tuple(found_bursts)
    return Verdict(*found, int(flagged), *strange, len(other) + len(lone), masked, cpu)


def masked_part(rfi: Mapping[str, Any], header: Header) -> float:
    """Part of the channel-samples that a product's mask leaves out."""
    mask = np.asarray(rfi["mask"], dtype=bool)
    lengths = np.full(len(mask), float(rfi["block_nsamps"]))
    # The last block has what is left over.
    lengths[-1] = max(header.nsamps - lengths[:-1].sum(), 1.0)
    return float(np.average(mask.mean(axis=1), weights=lengths))
