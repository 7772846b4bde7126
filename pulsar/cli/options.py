"""The options that many commands share, and the configuration that they mean."""

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer
from typer.core import TyperCommand

from pulsar.config.load import given_config, keys
from pulsar.config.model import GROUPS, OPTIONS, Config
from pulsar.data.direction import sexagesimal
from pulsar.errors import ConfigError
from pulsar.pipeline.progress import Progress

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


def named(names: str, text: str, metavar: str | None = None, *, default: bool | str = True, **more: Any) -> Any:
    """An option of a command: a flag, or one that is not called as its parameter.

    Parameters
    ----------
    names : str
        With a blank between them.
    text : str
        Its help.
    metavar : str, optional
        Of its value.
    default : bool or str
        What help says of leaving it out.
    **more
        Bounds, a parser ..., as `typer.Option` takes them.
    """
    return typer.Option(*names.split(), metavar=metavar, help=text, show_default=default, **more)


def option(text: str, metavar: str | None = None, **more: Any) -> Any:
    """An option of a command that is called as its parameter, ``--time-limit`` of time_limit; as :func:`named`."""
    return named("", text, metavar, **more)


def product_file(metavar: str, default: str | bool = True) -> Any:
    """The option of a command whose result is an HDF5 file, as :func:`named`."""
    return named("--out -o", "HDF5 file to write.", metavar, default=default)


def argument(metavar: str, text: str, *, default: bool | str = False) -> Any:
    """An argument of a command, as :func:`named`."""
    return typer.Argument(metavar=metavar, help=text, show_default=default)


def _remember_debug(ctx: typer.Context, value: bool) -> bool:
    if value:
        ctx.meta["pulsar.debug"] = True
    return value


Debug = Annotated[bool, named("--debug", "Show the full traceback when something fails.", callback=_remember_debug)]
Files = Annotated[list[Path], argument("FILE...", "Files of one observation, in any format that is read.")]
Products = Annotated[list[Path], argument("RUN.h5...", "Products of `pulsar search`.")]
Preset = Annotated[str | None, named("--config", "Preset or TOML file.", "PRESET|FILE", default="default")]
Sets = Annotated[list[str] | None, named("--set", "Change one setting; may be repeated.", "SECTION.KEY=VALUE")]
JudgedFiles = Annotated[
    list[Path] | None,
    named("--labels", "Judgements of `pulsar view` besides those beside the products; may be repeated.", "FILE"),
]
Threads = Annotated[int | None, option("Threads.", "N", default="all cores, or OMP_NUM_THREADS", min=0)]
Beams = Annotated[str | None, option("Of folders: only these beams, such as 1,3,5-9.", "LIST")]
Overwrite = Annotated[bool, named("--overwrite", "Replace an existing output.")]
Top = Annotated[int, option("Candidates to print at the end.", "N", min=1)]
Resume = Annotated[bool, named("--resume", "Go on where an interrupted run stopped.")]
Quiet = Annotated[bool, named("--quiet -q", "Print nothing but the result and warnings.")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    option(
        "How much to tell: debug adds where a stage is every 10 s, error drops warnings too.",
        default="info; warning with --quiet",
    ),
]
Json = Annotated[bool, named("--json", "Print JSON.")]


@dataclass(frozen=True)
class Display:
    """How much a command tells."""

    quiet: Quiet = False
    log_level: LogLevel = None

    def progress(self) -> Progress:
        """For the terminal, the batch log, or none but for warnings."""
        # ``--log-level`` above ``-q``.
        return Progress(level=self.log_level or ("warning" if self.quiet else "info"))


def parse_beams(text: str) -> set[int]:
    """Beam numbers of a list such as ``1,3,5-9``.

    Raises
    ------
    ConfigError
    """
    beams: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdigit() or (last and not last.isdigit()) or (last and int(last) < int(first)):
            raise ConfigError(f"--beams {text}: expected numbers and ranges such as 1,3,5-9")
        beams |= set(range(int(first), int(last or first) + 1))
    return beams


@dataclass(frozen=True)
class Folders:
    """The beams of folders that are searched, and how many files at a time."""

    beams: Beams = None
    segment: Annotated[int | None, option("Search N files of a beam at a time.", "N", min=1)] = None
    overlap: Annotated[float, option("Of neighbouring segments, as a fraction.", min=0, max=0.99)] = 0.5

    @property
    def given(self) -> bool:
        """True if the command line says any of it: then there are several searches."""
        return self.beams is not None or self.segment is not None

    def wanted(self) -> dict[str, Any]:
        """The arguments of `pulsar.nights.night.jobs`."""
        beams = parse_beams(self.beams) if self.beams is not None else None
        return {"beams": beams, "segment": self.segment, "overlap": self.overlap}


@dataclass(frozen=True)
class Settings:
    """Settings as the command line gives them."""

    preset: str | None
    sets: Sequence[str]  # ``section.key=value``
    options: Mapping[str, Any]  # Those of OPTIONS that are given, with their texts

    def config(self) -> Config:
        """The configuration that they mean."""
        changes: dict[str, Any] = {}
        for name, value in self.options.items():
            changes |= _changes(name, value)
        if "zap" in self.options:
            # Ranges given by hand come on top of those of the preset.
            changes["rfi.zap"] = [*given_config(self.preset, self.sets, {}).rfi.zap, *changes["rfi.zap"]]
        return given_config(self.preset, self.sets, changes)


def options(*named: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of its groups, in place of the parameters that are annotated with them; and --debug.

    A group is a dataclass of options, such as :class:`Folders`. Those of :class:`Settings` are ``--config``,
    ``--set``, and those of OPTIONS, or of GROUPS, that are named here; the command is then of :class:`Command`. What
    takes a Config, or a Progress, has the options of Settings, or of Display, and is handed what they mean.
    """
    settings = [name for title in named for name in GROUPS.get(title, (title,))]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        del hints["return"]
        kinds = {name: _MEANT.get(hint, (hint, None)) for name, hint in hints.items()}
        groups = {name: _members(kind, settings) for name, (kind, _) in kinds.items() if is_dataclass(kind)}
        seen: list[Parameter] = []
        for name, parameter in inspect.signature(command).parameters.items():
            seen += groups.get(name, [(name, hints[name], parameter.default)])
        seen.append(("debug", Debug, False))

        @functools.wraps(command)
        def called(**values: Any) -> None:
            values.pop("debug", None)  # which the parser has remembered
            for group, members in groups.items():
                own = {name: values.pop(name) for name, _, _ in members}
                kind, meant = kinds[group]
                made = _given(**own) if kind is Settings else kind(**own)
                values[group] = made if meant is None else meant(made)
            command(**values)

        keyword = inspect.Parameter.KEYWORD_ONLY
        vars(called)["__signature__"] = inspect.Signature(
            [inspect.Parameter(name, keyword, default=default, annotation=hint) for name, hint, default in seen]
        )
        called.__annotations__ = {name: hint for name, hint, _ in seen}
        return called

    return decorate


#: What a command may take -> the group of options that means it, and how.
_MEANT: dict[Any, tuple[Any, Callable[[Any], Any]]] = {
    Config: (Settings, Settings.config),
    Progress: (Display, Display.progress),
}
#: Name, annotation and default of an option.
Parameter = tuple[str, Any, Any]


def _members(group: Any, settings: Sequence[str]) -> list[Parameter]:
    """The options of a group."""
    if group is Settings:
        return [("config", Preset, None), ("sets", Sets, None), *map(_option, settings)]
    hints = get_type_hints(group, include_extras=True)
    return [(field.name, hints[field.name], field.default) for field in fields(group)]


def _given(config: str | None, sets: list[str] | None, **values: Any) -> Settings:
    return Settings(
        config,
        sets or (),
        {
            name: value
            for name, value in values.items()
            if value not in (None, [], ()) and not (value is False and OPTIONS[name].off)
        },
    )


def _option(name: str) -> Parameter:
    """The parameter of an option of OPTIONS; its help comes later."""
    setting, flag = OPTIONS[name], f"--{name.replace('_', '-')}"
    kind: Any = str
    if not setting.metavar:
        kind = bool
        flag = flag if setting.off else f"{flag}/--no-{name}"
    elif setting.repeated:
        kind = list[str]
    elif " " in setting.metavar:
        kind = tuple[str, str]
    return name, Annotated[kind | None, typer.Option(flag, metavar=setting.metavar or None, show_default=False)], None


class Command(TyperCommand):
    """A command with options of OPTIONS, whose help is that of the model.

    It is looked up when the command is called: to load the model takes longer than all else of ``pulsar --help``.
    """

    def get_params(self, ctx: Any) -> Any:
        """All options, those of OPTIONS with their help."""
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if parameter.name in OPTIONS and vars(parameter).get("help") is None:
                text, default = described(parameter.name)
                vars(parameter).update(help=text, show_default=default or False)
        return parameters


def described(name: str) -> tuple[str, str]:
    """Help of an option of OPTIONS, and its default in words."""
    setting = OPTIONS[name]
    text = setting.text
    if setting.off and not text:
        section = Config.model_fields[setting.keys[0].partition(".")[0]].annotation
        first = (section.__doc__ or "").splitlines()[0].rstrip(".")
        text = f"no {first[0].lower()}{first[1:]}"
    model_fields = [_field(key) for key in setting.keys]
    text = text or "; ".join(str(field.description) for field in model_fields)
    more = "; may be repeated" if setting.repeated else ""
    values = [] if setting.off else [_words(field.default) for field in model_fields]
    return f"{text[0].upper()}{text[1:]}{more} ({', '.join(setting.keys)}).", " ".join(values)


def _field(key: str) -> "FieldInfo":
    return next(field for section, name, field in keys() if f"{section}.{name}" == key)


def _words(default: Any) -> str:
    if isinstance(default, tuple):
        return " ".join(map(_words, default))
    return f"{default:g}" if isinstance(default, int | float) and not isinstance(default, bool) else default or ""


def _changes(name: str, value: Any) -> dict[str, Any]:
    """Keys and values that an option means."""
    setting = OPTIONS[name]
    if not setting.metavar:
        return dict(zip(setting.keys, setting.off or (value,), strict=True))
    if len(setting.keys) > 1:
        return dict(zip(setting.keys, map(_READ.get(name, _number), value), strict=True))
    key = setting.keys[0]
    if name in _READ:
        return {key: _READ[name](value)}
    if setting.repeated or _field(key).annotation is str:
        return {key: value}
    return {key: _number(value) if isinstance(value, str) else [_number(text) for text in value]}


def _number(text: str) -> int | float | str:
    """A number, where the text is one; the model says what is wrong with others."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def right_ascension(text: str) -> float:
    """Degrees of ``hh:mm:ss.s``, or of a number of them."""
    return _degrees("--ra", text, "hh") * (15.0 if ":" in text else 1.0)


def declination(text: str) -> float:
    """Degrees of ``-dd:mm:ss.s``, or of a number of them."""
    return _degrees("--dec", text, "dd")


def _degrees(name: str, text: str, unit: str) -> float:
    value = sexagesimal(text)
    if not math.isfinite(value):
        raise ConfigError(f"{name} {text}: expected {unit}:mm:ss.s or a number of degrees")
    return value


def _counts(name: str, text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"{name} {text}: expected whole numbers, such as 1,2,4: the whole, its halves and its quarters"
        ) from None


def _ranges(texts: Iterable[str]) -> list[tuple[float, float]]:
    return [frequency_range(text) for text in texts]


def frequency_range(text: str) -> tuple[float, float]:
    """The two frequencies [MHz] of ``LO:HI``."""
    return span(text, "--zap", "frequencies in MHz", "1160:1280")


def span(text: str, name: str, what: str, example: str) -> tuple[float, float]:
    """The two numbers of ``LO:HI``, as an option takes them."""
    low, separator, high = text.partition(":")
    try:
        pair = (float(low), float(high))
    except ValueError:
        pair = (math.nan, math.nan)
    if not separator or not pair[0] <= pair[1]:
        raise ConfigError(f"{name} {text}: expected two {what}, the lower first, such as {example}")
    return pair


def orbital_period(text: str, name: str = "--porb") -> float:
    """Seconds of ``5700``, ``95min``, ``10h`` or ``0.35d``."""
    value = _seconds(text, ("min", "h", "d", "s", ""))
    if not math.isfinite(value):
        raise ConfigError(f"{name} {text}: expected a number of seconds, or one with a unit: 95min, 10h, 0.35d")
    return value


#: Units of time [s].
_UNITS: dict[str, float] = {"ms": 1e-3, "us": 1e-6, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}


def _seconds(text: str, units: Sequence[str]) -> float:
    """Seconds of a number and the unit that ends it, the longer of two endings first; NaN where it is neither."""
    number = text.strip()
    unit = next(unit for unit in units if number.endswith(unit))
    try:
        return float(number.removesuffix(unit)) * _UNITS[unit]
    except ValueError:
        return math.nan


#: Options whose text is neither a number nor taken as it is.
_READ: dict[str, Callable[[Any], Any]] = {
    "porb": orbital_period,
    "ra": right_ascension,
    "dec": declination,
    "parts": functools.partial(_counts, "--parts"),
    "bands": functools.partial(_counts, "--bands"),
    "zap": _ranges,
}


def inputs(files: Iterable[Path], settings: Config) -> list[Path]:
    """All that is read: the files, and those that the settings name, mask and pulsars that are subtracted."""
    from pulsar.pipeline.samples import split

    mask = [Path(settings.rfi.mask)] if settings.rfi.mask else []
    return [*files, *mask, *(split(given)[0] for given in settings.subtract.pulsars)]


def period_seconds(text: str) -> float:
    """Seconds of ``0.1637``, ``0.1637s``, ``163.7ms`` or ``163700us``."""
    value = _seconds(text, ("ms", "us", "s", ""))
    if math.isnan(value):
        raise typer.BadParameter(f"{text!r}: expected a number of seconds, or one with the unit s, ms or us: 163.7ms")
    return value
