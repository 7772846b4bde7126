"""The model of a synthetic observation: loaded from flags or from a TOML list."""

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from pulsar.constants import C
from pulsar.data.arguments import number
from pulsar.data.files import read_bytes
from pulsar.data.header import Header
from pulsar.errors import ConfigError
from pulsar_kernels.arrays import Floats

#: Mean and standard deviation of the noise in codes, by depth. 8 bit: as FAST writes it. 2 bit: the thresholds of
#: least loss, 0.9957 sigma apart (Max 1960); 1 bit: the threshold at the mean. 32 bit are floats.
LEVELS: Final[dict[int, tuple[float, float]]] = {
    1: (0.5, 1.0),
    2: (1.5, 1.0 / 0.9957),
    4: (7.5, 2.5),
    8: (96.0, 16.0),
    16: (8192.0, 512.0),
    32: (96.0, 16.0),
}

Depth = Literal[1, 2, 4, 8, 16, 32]
Positive = Annotated[float, Field(gt=0)]
M = TypeVar("M", bound=BaseModel)


class Base(BaseModel):
    """Base: frozen, and an unknown key is an error. Quantities become numbers in the unit that a field tells."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {key: _in_unit(key, value, cls.model_fields.get(str(key))) for key, value in values.items()}


def _in_unit(name: str, value: Any, field: FieldInfo | None) -> Any:
    """A quantity as a number in the unit that stands in brackets in the description of its field."""
    unit = _UNIT.search(field.description or "") if field is not None else None
    if isinstance(value, tuple | list):
        return [_in_unit(name, part, field) for part in value]
    if not hasattr(value, "to_value"):
        return value
    if unit is None:
        raise ValueError(f"{name} = {value}: expected a number without a unit")
    return number(name, value, unit[1])


_UNIT: Final = re.compile(r"\[(s|MHz|Hz|Hz/s|m/s2|pc/cm3|deg)\]")


class Component(Base):
    """One component of a profile."""

    duty: Annotated[float, Field(gt=0, lt=1, description="full width at half maximum [turns]")] = 0.05
    phase: Annotated[float, Field(ge=-0.5, le=0.5, description="centre after that of the pulsar [turns]")] = 0.0
    height: Annotated[float, Field(gt=0, description="relative height of the peak")] = 1.0
    shape: Annotated[Literal["gauss", "vonmises", "boxcar"], Field(description="form of the component")] = "gauss"


class Orbit(Base):
    """A circular orbit."""

    pb: Annotated[float, Field(gt=0, description="orbital period [s]")]
    x: Annotated[float, Field(ge=0, description="a sin i / c [s]")]
    phase: Annotated[float, Field(description="turns after the ascending node, at mid-observation")] = 0.0

    @model_validator(mode="after")
    def _slow(self) -> "Orbit":
        if 2 * 3.141592653589793 * self.x / self.pb > 0.1:
            raise ValueError(f"x {self.x:g} s in {self.pb:g} s is faster than a tenth of the speed of light")
        return self


class Pulsar(Base):
    """A pulsar: period and derivatives are topocentric, at mid-observation."""

    period: Annotated[float, Field(gt=0, description="spin period [s]")]
    dm: Annotated[float, Field(ge=0, description="dispersion measure [pc/cm3]")] = 0.0
    snr: Annotated[float, Field(gt=0, description="S/N of an ideal matched filter over the whole observation")] = 20.0
    duty: Annotated[float, Field(gt=0, lt=1, description="full width at half maximum of the profile [turns]")] = 0.05
    shape: Annotated[Literal["gauss", "vonmises", "boxcar"], Field(description="form of the profile")] = "gauss"
    components: Annotated[tuple[Component, ...], Field(description="in place of duty and shape")] = ()
    pdot: Annotated[float | None, Field(description="period derivative; or give accel")] = None
    accel: Annotated[float | None, Field(description="acceleration [m/s2], + receding ever faster")] = None
    orbit: Annotated[Orbit | None, Field(description="circular orbit")] = None
    scattering: Annotated[float, Field(ge=0, description="scattering time at 1 GHz [s], goes as f^-4")] = 0.0
    spectral_index: Annotated[float, Field(ge=-10, le=10, description="flux goes as f^index")] = 0.0
    phase0: Annotated[float, Field(description="a pulse passes these turns before mid-observation, at the top")] = 0.0
    nulling: Annotated[float, Field(ge=0, lt=1, description="fraction of the rotations without a pulse")] = 0.0
    name: Annotated[str, Field(description="label in the truth file")] = ""

    @model_validator(mode="after")
    def _one_derivative(self) -> "Pulsar":
        if self.pdot is not None and self.accel is not None:
            raise ValueError("pdot and accel are the same thing twice: give one of them")
        return self

    @property
    def freq(self) -> float:
        """Spin frequency at mid-observation, without the orbit [Hz]."""
        return 1.0 / self.period

    @property
    def fdot(self) -> float:
        """Frequency derivative, without the orbit [Hz/s]: -f a / c, or -Pdot / P^2."""
        if self.pdot is not None:
            return -self.pdot / self.period**2
        return 0.0 - (self.accel or 0.0) / (C * self.period)

    @property
    def profile(self) -> tuple[Component, ...]:
        """Components of the profile."""
        return self.components or (Component(duty=self.duty, shape=self.shape),)


def components_of(profile: Floats) -> tuple[Component, ...]:
    """A measured profile as a pulsar's components: a boxcar for each bin above its least, the highest at phase 0.

    Parameters
    ----------
    profile : ndarray, shape (nbins,)
        Of any scale; not flat.
    """
    nbins, peak = len(profile), int(np.argmax(profile))
    heights = np.roll((profile - profile.min()) / np.ptp(profile), nbins // 2 - peak)
    return tuple(
        Component(duty=1.0 / nbins, phase=i / nbins - 0.5, height=float(height), shape="boxcar")
        for i, height in enumerate(heights)
        if height > 0.0
    )


class Burst(Base):
    """A single pulse."""

    time: Annotated[float, Field(description="peak before scattering at the highest channel [s] from the start")]
    dm: Annotated[float, Field(ge=0, description="dispersion measure [pc/cm3]")] = 0.0
    snr: Annotated[float, Field(gt=0, description="S/N of an ideal matched filter")] = 20.0
    width: Annotated[float, Field(gt=0, description="full width at half maximum [s]")] = 1e-3
    scattering: Annotated[float, Field(ge=0, description="scattering time at 1 GHz [s], goes as f^-4")] = 0.0
    spectral_index: Annotated[float, Field(ge=-10, le=10, description="fluence goes as f^index")] = 0.0
    spectrum: Annotated[
        tuple[Positive, Positive] | None,
        Field(description="middle and full width at half maximum of a Gaussian spectrum [MHz]; default: none"),
    ] = None
    name: Annotated[str, Field(description="label in the truth file")] = ""


#: Kinds of interference, and which fields beside `kind`, `time` and `until` each of them has.
RFI_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "narrowband": ("freqs", "strength"),
    "intermittent": ("freqs", "strength", "width", "fraction"),
    "satellite": ("freqs", "strength", "width", "fraction"),
    "radar": ("freqs", "strength", "rate", "width", "scan", "fraction", "chirp"),
    "sweep": ("freqs", "strength", "rate"),
    "impulse": ("freqs", "strength", "rate", "width"),
    "mains": ("freqs", "strength", "rate", "harmonics", "drift", "wander"),
    "diode": ("freqs", "strength", "period"),
    "jump": ("freqs", "strength"),
    "jumps": ("freqs", "strength", "width", "fraction"),
    "dead": ("freqs",),
    "saturated": ("freqs",),
}
if TYPE_CHECKING:
    RfiKind = str
else:
    RfiKind = Literal[tuple(RFI_FIELDS)]


class Rfi(Base):
    """Interference of one kind; docs/simulation.md tells what the fields mean for each."""

    kind: RfiKind
    freqs: Annotated[tuple[float, float] | None, Field(description="range [MHz]; default the whole band")] = None
    strength: Annotated[float, Field(ge=0, description="power over the noise [sigma]; of jumps factor of gain")] = 1.0
    rate: Annotated[float, Field(gt=0, description="how many a second; of mains the fundamental [Hz]")] = 1.0
    width: Annotated[float, Field(gt=0, description="length of a pulse or stretch, scale of modulation [s]")] = 0.01
    fraction: Annotated[float, Field(gt=0, le=1, description="part of time, power or turn in which it is on")] = 0.3
    harmonics: Annotated[int, Field(ge=1, le=1000, description="mains: harmonics, falling as 1/h")] = 4
    drift: Annotated[float, Field(description="mains: drift of the fundamental from the start on [Hz/s]")] = 0.0
    wander: Annotated[float, Field(ge=0, description="mains: slow wander of the fundamental, rms [Hz]")] = 0.0
    period: Annotated[float, Field(gt=0, description="diode: on and off again in this time [s]")] = 0.201326592
    scan: Annotated[float, Field(gt=0, description="radar: a turn of the antenna [s]")] = 5.0
    chirp: Annotated[float, Field(description="radar: time in which a pulse runs down the range [s]; < 0: up")] = 0.0
    time: Annotated[float, Field(ge=0, description="from when on [s]")] = 0.0
    until: Annotated[float | None, Field(gt=0, description="until when [s]; default the end")] = None

    @model_validator(mode="after")
    def _possible(self) -> "Rfi":
        needed = ("narrowband", "intermittent", "satellite", "radar", "dead", "saturated")
        if self.freqs is None and self.kind in needed:
            raise ValueError(f"{self.kind}: give freqs = [low, high] in MHz")
        if self.kind in ("jump", "jumps") and self.strength == 1.0:
            raise ValueError(f"{self.kind}: strength is the factor by which the gain changes: 1 changes nothing")
        if self.freqs is not None and self.freqs[1] < self.freqs[0]:
            raise ValueError(f"{self.kind}: freqs {self.freqs[0]:g}, {self.freqs[1]:g}: give the lower one first")
        if self.until is not None and self.until <= self.time:
            raise ValueError(f"{self.kind}: until {self.until:g} s is not after time {self.time:g} s: swap them")
        if self.kind == "radar" and self.width * self.rate > 1.0:
            raise ValueError(f"radar: pulses of {self.width:g} s overlap at {self.rate:g} a second: shorten width")
        used = ("kind", "time", "until", *RFI_FIELDS[self.kind])
        for name, field in type(self).model_fields.items():
            if name not in used and getattr(self, name) != field.default:
                raise ValueError(f"{self.kind}: {name} has no meaning there; it takes {', '.join(used[1:])}")
        return self

    @property
    def is_whole(self) -> bool:
        """True where it is there from the start to the end of any observation."""
        return self.time == 0.0 and self.until is None


class Sky(Base):
    """A synthetic observation."""

    nchans: Annotated[int, Field(ge=1, le=65536, description="channels")] = 256
    fch1: Annotated[float, Field(gt=0, description="centre of the highest channel [MHz]")] = 1499.0
    foff: Annotated[float, Field(description="width of a channel [MHz], either sign")] = -1.953125
    tsamp: Annotated[float, Field(gt=0, description="sampling time [s]")] = 131.072e-6
    nsamps: Annotated[int | None, Field(ge=1, description="samples; or give tobs")] = None
    tobs: Annotated[float | None, Field(gt=0, description="length [s]; or give nsamps")] = None
    tstart: Annotated[float, Field(ge=0, description="MJD (UTC) of the first sample")] = 60000.0
    nbits: Annotated[Depth, Field(description="bits a sample")] = 8
    mean: Annotated[float | None, Field(ge=0, description="mean of the noise in codes; default by depth")] = None
    sigma: Annotated[float | None, Field(gt=0, description="noise in codes; default by depth")] = None
    source: Annotated[str, Field(description="name of the source")] = "SIMULATED"
    telescope: Annotated[str, Field(description="name of the telescope")] = "FAST"
    ra_deg: Annotated[float, Field(ge=0, lt=360, description="right ascension [deg]")] = 83.0
    dec_deg: Annotated[float, Field(ge=-90, le=90, description="declination [deg]")] = 22.0
    beam: Annotated[int | None, Field(ge=1, description="beam number, from 1")] = None
    seed: Annotated[int, Field(ge=0, lt=2**63, description="of all random numbers")] = 0
    # What is above the top code is clipped, or wrapped to the bottom as FAST's recorder does.
    overflow: Literal["clip", "wrap"] = "clip"
    # Gain over the band, from 8 bits on: at fewer each channel is levelled before.
    bandpass: Literal["flat", "rolloff", "ripple"] = "flat"
    drift: Annotated[float, Field(ge=0, description="slow wander common to all channels, rms [sigma]")] = 0.0
    pulsars: tuple[Pulsar, ...] = ()
    bursts: tuple[Burst, ...] = ()
    rfi: tuple[Rfi, ...] = ()

    @model_validator(mode="after")
    def _possible(self) -> "Sky":
        if self.nsamps is None and self.tobs is None:
            raise ValueError("give nsamps or tobs")
        if self.nsamps is not None and self.tobs is not None:
            raise ValueError("nsamps and tobs are the same thing twice: give one of them")
        if self.foff == 0:
            raise ValueError("foff is 0: give the width of a channel in MHz")
        if self.fch1 - abs(self.foff) * (self.nchans - 0.5) <= 0:
            band = f"{self.nchans} channels of {abs(self.foff):g} MHz below {self.fch1:g} MHz"
            raise ValueError(f"{band} reach below 0 MHz")
        for pulsar in self.pulsars:
            if pulsar.period < 2 * self.tsamp:
                raise ValueError(f"period {pulsar.period:g} s is shorter than two samples of {self.tsamp:g} s")
        return self

    def levels(self, nbits: int) -> tuple[float, float]:
        """Mean and standard deviation of the noise in codes at `nbits`.

        `mean` and `sigma` hold for the depth of the sky itself; other depths have their defaults.
        """
        mean, sigma = LEVELS[nbits]
        if nbits == self.nbits:
            mean = mean if self.mean is None else self.mean
            sigma = sigma if self.sigma is None else self.sigma
        return mean, sigma

    @property
    def header(self) -> Header:
        """Header of the observation, in the program's channel order."""
        nsamps = self.nsamps
        if nsamps is None:
            nsamps = max(1, round((self.tobs or 0.0) / self.tsamp))
        names = {"nchans", "tsamp", "fch1", "tstart", "nbits", "source", "telescope", "beam", "ra_deg", "dec_deg"}
        return Header(
            **self.model_dump(include=names),
            nsamps=nsamps,
            foff=-abs(self.foff),
            telescope_id=21 if self.telescope.upper() == "FAST" else None,
            machine="SIMULATED",
        )


class Injection(Base):
    """Signals and interference for a real observation: the list in the TOML file of ``pulsar inject``."""

    seed: Annotated[int, Field(ge=0, lt=2**63, description="of the dither, the nulls and the interference")] = 0
    pulsars: tuple[Pulsar, ...] = ()
    bursts: tuple[Burst, ...] = ()
    rfi: tuple[Rfi, ...] = ()

    @model_validator(mode="after")
    def _something(self) -> "Injection":
        if not self.pulsars and not self.bursts and not self.rfi:
            raise ValueError("nothing to inject: give [[pulsars]], [[bursts]] or [[rfi]]")
        return self


#: Models within models, by the key.
_WITHIN: Final[dict[str, type[BaseModel]]] = {
    "pulsars": Pulsar, "bursts": Burst, "rfi": Rfi, "components": Component, "orbit": Orbit,
}  # fmt: skip


def _explain(error: ValidationError, model: type[BaseModel], origin: str) -> Iterator[str]:
    for item in error.errors():
        where = item["loc"]
        key = ".".join(str(step + 1) if isinstance(step, int) else step for step in where)
        if item["type"] == "extra_forbidden":
            inside = [step for step in where[:-1] if isinstance(step, str)]
            known = list((_WITHIN[inside[-1]] if inside else model).model_fields)
            near = difflib.get_close_matches(str(where[-1]), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            yield f"{origin}: unknown key {key}: {hint}"
        else:
            message = item["msg"].removeprefix("Value error, ")
            yield f"{origin}: {key}: {message}" if key else f"{origin}: {message}"


def validate(model: type[M], values: dict[str, Any], origin: str = "simulation") -> M:
    """Build a model from plain values.

    Raises
    ------
    ConfigError
        Naming `origin`, each wrong key and, for an unknown one, the nearest that exists.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(error, model, origin))) from None


def _read_toml(path: Path) -> dict[str, Any]:
    """The values of a file; what a truth file tells beside them is left out."""
    try:
        values = tomllib.loads(read_bytes(path, "a TOML file").decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from None
    values.pop("truth", None)
    return values


def load_sky(path: str | Path, **changes: Any) -> Sky:
    """Read a sky from a TOML file: keys of `Sky`, then [[pulsars]], [[bursts]], [[rfi]]; a truth file is one too.

    Raises
    ------
    ConfigError, DataError
        For a wrong key or value, or a file that cannot be read.
    """
    return validate(Sky, _read_toml(Path(path)) | changes, str(path))


def load_injection(path: str | Path) -> Injection:
    """Read what to inject from a TOML file: [[pulsars]], [[bursts]] and [[rfi]].

    Raises
    ------
    ConfigError, DataError
        For a wrong key or value, or a file that cannot be read.
    """
    return validate(Injection, _read_toml(Path(path)), str(path))


def demo_sky(seed: int = 1) -> Sky:
    """The sky of ``pulsar demo``: a small FAST-like observation with five pulsars, bad channels and interference."""
    return load_sky(Path(__file__).with_name("demo.toml"), seed=seed)
