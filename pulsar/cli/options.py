"""The options that many commands share, and the configuration that they mean."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

if TYPE_CHECKING:
    from pulsar.config.model import Config
    from pulsar.pipeline.progress import Progress


def _remember_debug(ctx: typer.Context, value: bool) -> bool:
    if value:
        ctx.meta["pulsar.debug"] = True
    return value


Debug = Annotated[
    bool, typer.Option("--debug", callback=_remember_debug, help="Show the full traceback when something fails.")
]
Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", help="Files of one observation, in any format that is read.", show_default=False),
]
Preset = Annotated[
    str | None, typer.Option("--config", metavar="PRESET|FILE", help="Preset or TOML file.", show_default="default")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting; may be repeated.", show_default=False),
]
DMRange = Annotated[
    tuple[float, float] | None,
    typer.Option("--dm", metavar="LO HI", help="Range of DM [pc/cm3].", show_default=False),
]
Zap = Annotated[
    list[str] | None,
    typer.Option("--zap", metavar="LO:HI", help="Mask this range [MHz]; may be repeated.", show_default=False),
]
JudgedFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="Judgements of `pulsar view` besides those beside the products; may be repeated.",
        show_default=False,
    ),
]
Mask = Annotated[
    str | None,
    typer.Option("--mask", metavar="FILE", help="Mask of `pulsar rfi`, or PRESTO's .mask.", show_default="none"),
]
ZeroDM = Annotated[
    str | None,
    typer.Option("--zerodm", metavar="off|mean|zdot", help="Subtract from every sample what the channels share."),
]


def product_file(metavar: str, default: str | bool = False) -> Any:
    """The option --out of a command whose result is an HDF5 file; `default` is what help says of leaving it out."""
    return typer.Option("--out", "-o", metavar=metavar, help="HDF5 file to write.", show_default=default)


NoRfi = Annotated[bool, typer.Option("--no-rfi", help="Mask and clip nothing that holds samples.")]
ZMax = Annotated[
    float | None,
    typer.Option("--zmax", metavar="N", help="Search accelerations up to this drift [bins].", show_default="none"),
]
AccelMax = Annotated[
    float | None,
    typer.Option("--accel-max", metavar="A", help="Search accelerations up to this [m/s2].", show_default="none"),
]
WMax = Annotated[
    float | None,
    typer.Option("--wmax", metavar="N", help="With --zmax: search jerks up to this [bins].", show_default="none"),
]
Parts = Annotated[
    str | None,
    typer.Option(
        "--parts",
        metavar="LIST",
        help="Search equal parts for periods: 1 the whole, 2 halves, 4 quarters, such as 1,2,4.",
        show_default="1",
    ),
]
NoFFT = Annotated[bool, typer.Option("--no-fft", help="No search of power spectra.")]
NoCoherent = Annotated[bool, typer.Option("--no-coherent", help="No coherent search of harmonics.")]
NoFFA = Annotated[bool, typer.Option("--no-ffa", help="No search for long periods by fast folding.")]
NoSinglePulse = Annotated[bool, typer.Option("--no-single-pulse", help="No search for single pulses.")]
RA = Annotated[
    str | None,
    typer.Option("--ra", metavar="RA", help="Right ascension, hh:mm:ss or deg.", show_default="from the files"),
]
Dec = Annotated[
    str | None,
    typer.Option("--dec", metavar="DEC", help="Declination, dd:mm:ss or deg.", show_default="from the files"),
]
Catalogue = Annotated[
    str | None,
    typer.Option(
        "--catalogue", metavar="FILE", help="Known pulsars: psrcat.db, CSV, ECSV, or psrqpy.", show_default="none"
    ),
]
Subtract = Annotated[
    list[str] | None,
    typer.Option(
        "--subtract",
        metavar="X.par|RUN.h5:ID",
        help="Take this pulsar out of the samples first: by its ephemeris, or a candidate; may be repeated.",
        show_default=False,
    ),
]
Ncands = Annotated[
    int | None, typer.Option("--ncands", metavar="N", help="Candidates to fold.", show_default="from the preset")
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", help="Threads.", show_default="all cores it may use, or OMP_NUM_THREADS"),
]
Memory = Annotated[
    str | None,
    typer.Option("--memory", metavar="SIZE", help="Memory budget, such as 4GiB.", show_default="half of what is free"),
]
Beams = Annotated[
    str | None, typer.Option("--beams", metavar="LIST", help="Of folders: only these beams, such as 1,3,5-9.")
]
Segment = Annotated[
    int | None, typer.Option("--segment", min=1, metavar="N", help="Search N files of a beam at a time.")
]
Overlap = Annotated[float, typer.Option("--overlap", min=0, max=0.99, help="Of neighbouring segments, as a fraction.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Top = Annotated[int, typer.Option("--top", min=1, metavar="N", help="Candidates to print at the end.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result and warnings.")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    typer.Option(
        "--log-level",
        help="How much to tell: debug adds where a stage is every 10 s, error drops warnings too.",
        show_default="info; warning with --quiet",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class Common:
    """The options of every command that reads the samples of an observation and writes a file; see :func:`shared`."""

    config: Preset = None
    sets: Sets = None
    zap: Zap = None
    mask: Mask = None
    zerodm: ZeroDM = None
    threads: Threads = None
    memory: Memory = None
    overwrite: Overwrite = False
    quiet: Quiet = False
    log_level: LogLevel = None
    debug: Debug = False

    def settings(self, **more: Any) -> "Config":
        """The configuration that they mean; `more` holds ``section__key=value``."""
        return effective_config(
            self.config,
            self.sets,
            zap=self.zap,
            zerodm=self.zerodm,
            rfi__mask=self.mask,
            run__threads=self.threads,
            run__memory=self.memory,
            **more,
        )

    def inputs(self, files: Sequence[Path]) -> list[Path]:
        """What is read: the files, and the mask that the command line names."""
        return [*files, *([] if self.mask is None else [Path(self.mask)])]

    def progress(self) -> "Progress":
        """The display that they ask for."""
        return progress_mode(self.quiet, self.log_level)


@dataclass(frozen=True)
class Told:
    """How much a command tells, of those without :class:`Common`; see :func:`shared`."""

    quiet: Quiet = False
    log_level: LogLevel = None
    debug: Debug = False

    def progress(self) -> "Progress":
        """The display that they ask for."""
        return progress_mode(self.quiet, self.log_level)


@dataclass(frozen=True)
class Searches:
    """Which searches are run, of every command that runs or plans them; see :func:`shared`."""

    zmax: ZMax = None
    accel_max: AccelMax = None
    wmax: WMax = None
    parts: Parts = None
    no_fft: NoFFT = False
    no_coherent: NoCoherent = False
    no_ffa: NoFFA = False
    no_single_pulse: NoSinglePulse = False

    def settings(self) -> dict[str, Any]:
        """What they say, as `effective_config` takes it."""
        found: dict[str, Any] = {
            "accel__zmax": self.zmax,
            "accel__accel_max": self.accel_max,
            "accel__wmax": self.wmax,
        }
        sections = {
            "fft": self.no_fft,
            "coherent": self.no_coherent,
            "ffa": self.no_ffa,
            "single_pulse": self.no_single_pulse,
        }
        for section, off in sections.items():
            if off:
                found[f"{section}__enabled"] = False
        if self.parts is not None:
            found["search__parts"] = part_counts(self.parts)
        return found


@dataclass(frozen=True)
class Pieces:
    """Which beams of folders are searched, and how many files at a time; see :func:`shared`."""

    beams: Beams = None
    segment: Segment = None
    overlap: Overlap = 0.5

    @property
    def given(self) -> bool:
        """Whether the command line says any of it: then there are several searches."""
        return self.beams is not None or self.segment is not None

    def wanted(self) -> dict[str, Any]:
        """What they say, as `pulsar.nights.night.jobs` takes it."""
        from pulsar.nights.night import parse_beams

        beams = parse_beams(self.beams) if self.beams is not None else None
        return {"beams": beams, "segment": self.segment, "overlap": self.overlap}


def shared(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of its groups: typer sees those of :class:`Common` in place of its `common`, say."""
    hints = get_type_hints(command, include_extras=True)
    del hints["return"]
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    seen: list[tuple[str, Any, Any]] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            options = get_type_hints(groups[name], include_extras=True)
            seen += [(field.name, options[field.name], field.default) for field in fields(groups[name])]
        else:
            seen.append((name, hints[name], parameter.default))

    def called(**given: Any) -> None:
        made = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    vars(called)["__signature__"] = inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
            for name, hint, default in seen
        ]
    )
    called.__annotations__ = {name: hint for name, hint, _ in seen}
    called.__doc__ = command.__doc__
    return called


def named_files(settings: "Config") -> list[Path]:
    """Files that the settings name and that are read: the mask, and those of pulsars that are subtracted."""
    from pulsar.pipeline.subtracting import split

    mask = [Path(settings.rfi.mask)] if settings.rfi.mask else []
    return [*mask, *(split(given)[0] for given in settings.subtract.pulsars)]


def part_counts(text: str) -> list[int]:
    """The whole numbers of ``1,2,4``."""
    from pulsar.errors import ConfigError

    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"--parts {text}: expected whole numbers, such as 1,2,4: the whole, its halves and its quarters"
        ) from None


def uncleaned(no_rfi: bool) -> dict[str, Any]:
    """What ``--no-rfi`` says, as `effective_config` takes it: the bandpass is levelled, nothing is left out."""
    return {"rfi__enabled": False, "rfi__clip": 0.0} if no_rfi else {}


def position(ra: str | None, dec: str | None) -> dict[str, Any]:
    """The position that ``--ra`` and ``--dec`` give, as `effective_config` takes it."""
    from pulsar.errors import ConfigError
    from pulsar.sky.catalogue import sexagesimal

    found: dict[str, Any] = {}
    for key, text, hours in (("ra", ra, True), ("dec", dec, False)):
        if text is None:
            continue
        value = sexagesimal(text) * (15.0 if hours and ":" in text else 1.0)
        if not math.isfinite(value):
            raise ConfigError(f"--{key} {text}: expected {'hh' if hours else 'dd'}:mm:ss.s or a number of degrees")
        found[f"input__{key}_deg"] = value
    return found


def effective_config(
    preset: str | None,
    sets: Sequence[str] | None,
    *,
    dm: tuple[float, float] | None = None,
    zap: Sequence[str] | None = None,
    zerodm: str | None = None,
    **more: Any,
) -> "Config":
    """The configuration that the options of a command mean; `more` holds ``section__key=value``."""
    from pulsar.config.load import given_config

    overrides: dict[str, Any] = {key.replace("__", "."): value for key, value in more.items()}
    if dm is not None:
        overrides |= {"dedisp.dm_lo": dm[0], "dedisp.dm_hi": dm[1]}
    if zerodm is not None:
        overrides["rfi.zerodm"] = zerodm
    if zap:
        ranges = [frequency_range(text) for text in zap]
        # Ranges given by hand come on top of those of the preset.
        overrides["rfi.zap"] = [*given_config(preset, sets or (), {}).rfi.zap, *ranges]
    return given_config(preset, sets or (), overrides)


def period_seconds(text: str) -> float:
    """Seconds of ``0.1637``, ``0.1637s``, ``163.7ms`` or ``163700us``."""
    number = text.strip()
    for unit, factor in (("ms", 1e-3), ("us", 1e-6), ("s", 1.0), ("", 1.0)):
        if number.endswith(unit):
            try:
                return float(number.removesuffix(unit)) * factor
            except ValueError:
                break
    raise typer.BadParameter(f"{text!r}: expected a number of seconds, or one with the unit s, ms or us: 163.7ms")


def frequency_range(text: str) -> tuple[float, float]:
    """The two frequencies [MHz] of ``LO:HI``."""
    from pulsar.errors import ConfigError

    low, separator, high = text.partition(":")
    try:
        pair = (float(low), float(high))
    except ValueError:
        pair = (math.nan, math.nan)
    if not separator or not pair[0] <= pair[1]:
        raise ConfigError(f"--zap {text}: expected two frequencies in MHz, the lower first, such as 1160:1280")
    return pair


def progress_mode(quiet: bool, level: Literal["debug", "info", "warning", "error"] | None = None) -> "Progress":
    """A progress display for the terminal, the batch log, or none but for warnings; ``--log-level`` above ``-q``."""
    from pulsar.pipeline.progress import Progress

    return Progress(level=level or ("warning" if quiet else "info"))
