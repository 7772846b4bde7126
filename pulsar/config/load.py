"""Configuration of a run: preset < file < ``--set`` < the command's own options; and back to TOML.

A file may name the preset that it starts from with ``preset = "NAME"`` as its first line.
"""

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from pulsar.config.model import Config, Section
from pulsar.config.resources import parse_size
from pulsar.data.files import read_bytes
from pulsar.data.text import toml_value
from pulsar.data.validated import expected
from pulsar.errors import ConfigError, DataError

DEFAULT = "default"


def preset_folder() -> Path:
    """Folder of the presets: inside the installed package, else ``configs`` of the checkout."""
    packaged = Path(__file__).parent / "presets"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "configs"


def presets() -> dict[str, Path]:
    """Name -> file of every preset."""
    return {path.stem: path for path in sorted(preset_folder().glob("*.toml"))}


class Caller(NamedTuple):
    """How who gives settings knows the ways to give single ones, for the messages."""

    text: str  # Words about a text ``section.key=value``, which goes between the braces
    named: str  # Words about values by name
    hint: str  # How such a text is given


COMMAND_LINE: Final = Caller("--set {}", "the command line", "settings are given by --set {}")
PYTHON: Final = Caller(
    'load_config: "{}"', "load_config", 'settings are the second argument: load_config(None, ["{}"])'
)


def load_config(source: str | Path | None = None, sets: Sequence[str] = (), **overrides: Any) -> Config:
    """The configuration of a run.

    Parameters
    ----------
    source : str or Path, optional
        Name of a preset or a TOML file; the default preset otherwise.
    sets : sequence of str
        ``section.key=value``, the value as TOML writes it (a bare word is a text; ``none`` clears an optional key).
    **overrides
        ``section={"key": value}`` or ``**{"section.key": value}``, above all else. Values that are None are skipped.

    Returns
    -------
    Config

    Raises
    ------
    ConfigError
        The file is missing or no TOML, a key is unknown, a value is of the wrong type or out of bounds: all that is
        wrong, a line each. Or the call is no call of this function.
    """
    if not (source is None or isinstance(source, str | Path)):
        raise ConfigError(f"load_config: source = {source!r}: expected the name of a preset or a TOML file")
    if isinstance(sets, str | Mapping) or not all(isinstance(text, str) for text in sets):
        raise ConfigError(f'load_config: sets = {sets!r}: expected a list of texts, such as ["dedisp.dm_hi=60"]')
    return given_config(source, sets, overrides, PYTHON)


def given_config(
    source: str | Path | None, sets: Sequence[str], overrides: Mapping[str, Any], caller: Caller = COMMAND_LINE
) -> Config:
    """As `load_config`, with messages for who gave the settings."""
    collected = _Given()
    if source is not None and str(source) != DEFAULT:
        _merge_source(collected, source, caller)
    for text in sets:
        key, value = _parse_set(text)
        where = caller.text.format(text)
        if key:
            collected.put(key, value, where)
        else:
            collected.wrong.append(f"{where}: expected section.key=value, such as dedisp.dm_hi=200")
    for name, value in overrides.items():
        if "." not in name and not isinstance(value, Mapping):
            collected.wrong.append(f"{caller.named}: {name} = {value!r}: {_by_section(name, value)}")
            continue
        entries = {name: value} if "." in name else {f"{name}.{k}": v for k, v in value.items()}
        for key, entry in entries.items():
            if entry is not None:
                collected.put(key, entry, caller.named)
    return _validate(collected)


class _Given:
    """Settings as they are read.

    Attributes
    ----------
    values : dict
        Section -> key -> value.
    origin : dict of str to str
        ``section.key`` -> where it was given.
    wrong : list of str
        What is wrong so far, in words.
    """

    def __init__(self) -> None:
        self.values: dict[str, dict[str, Any]] = {}
        self.origin: dict[str, str] = {}
        self.wrong: list[str] = []

    def put(self, key: str, value: Any, where: str) -> None:
        """Set a key, or note that there is none of this name."""
        section, _, name = key.partition(".")
        fields = _section_fields(Config.model_fields[section]) if section in Config.model_fields else {}
        if name not in fields:
            self.wrong.append(f"{where}: no such key: {key}{_near(key)}")
        else:
            self.values.setdefault(section, {})[name] = value
            self.origin[key] = where


def load_section(section: str, where: str, values: Mapping[str, Any]) -> Any:
    """One section of the configuration, of the values that a function was given.

    Parameters
    ----------
    section : str
        Its name.
    where : str
        Whose arguments they are, for the message.
    values : mapping
        Key to value; keys that are left out have their default.

    Raises
    ------
    ConfigError
        A value is of the wrong type or out of bounds.
    """
    # numpy's numbers are none to the model.
    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in values.items()}
    collected = _Given()
    for key, value in plain.items():
        collected.put(f"{section}.{key}", value, where)
    return getattr(_validate(collected), section)


def keys() -> Iterator[tuple[str, str, FieldInfo]]:
    """Section, key and field of every setting, in the order of the model."""
    for section, field in Config.model_fields.items():
        for key, inner in _section_fields(field).items():
            yield section, key, inner


def to_toml(config: Config, with_help: bool = True) -> str:
    """The configuration as TOML that :func:`load_config` reads back to the same.

    Parameters
    ----------
    with_help : bool
        Write description, type and bounds of every key above it. Keys without a value stand there as comments.
    """
    lines: list[str] = []
    for section, field in Config.model_fields.items():
        if lines:
            lines.append("")
        if with_help:
            doc = (getattr(field.annotation, "__doc__", None) or "").strip().splitlines()
            lines += [f"# {doc[0]}"] if doc else []
        lines.append(f"[{section}]")
        values = getattr(config, section)
        for key, inner in _section_fields(field).items():
            value = getattr(values, key)
            if with_help:
                lines.append(f"# {inner.description or key} ({expected(inner)})")
            lines.append(f"# {key} =" if value is None else f"{key} = {toml_value(value)}")
    return "\n".join(lines) + "\n"


def _section_fields(field: FieldInfo) -> dict[str, FieldInfo]:
    fields: dict[str, FieldInfo] = getattr(field.annotation, "model_fields", {})
    return fields


def read_toml(path: Path, kind: str) -> dict[str, Any]:
    """The content of a TOML file.

    Parameters
    ----------
    kind : str
        What it should be, in words.

    Raises
    ------
    ConfigError
        It cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(read_bytes(path, kind).decode("utf-8"))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    except DataError as error:
        raise ConfigError(str(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read as {kind}: {error}") from error


def _merge_source(collected: _Given, source: str | Path, caller: Caller) -> None:
    path = Path(source)
    known = presets()
    if str(source) in known:
        path = known[str(source)]
    elif not path.exists():
        near = difflib.get_close_matches(str(source), known, n=1, cutoff=0.4)
        hint = f"; did you mean the preset {near[0]!r}?" if near else ""
        if "=" in str(source):
            hint = f"; {caller.hint.format(source)}"
        raise ConfigError(f"{source}: neither a file nor a preset ({', '.join(known)}){hint}")
    content = read_toml(path, "a configuration")
    base = content.pop("preset", None)
    if base is not None:
        if not isinstance(base, str) or base not in known:
            collected.wrong.append(f"{path}: preset = {base!r}: expected one of {', '.join(known)}")
        elif known[base].resolve() != path.resolve():
            _merge_source(collected, base, caller)
    for section, entries in content.items():
        if not isinstance(entries, Mapping):
            collected.wrong.append(f"{path}: {section} = {entries!r} stands outside a section{_near(section)}")
            continue
        if section not in Config.model_fields and not entries:
            collected.wrong.append(f"{path}: no such key: {section}{_near(section)}")
        for key, value in entries.items():
            collected.put(f"{section}.{key}", value, str(path))


def _parse_set(text: str) -> tuple[str, Any]:
    """Key and value; no key where the text is none of ``section.key=value``."""
    key, separator, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not separator or not key:
        return "", None
    if value.lower() == "none":
        return key, None
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


#: Words that end names of settings, and those that mean the same.
_SAME_WORDS = {"max": "hi", "high": "hi", "hi": "max", "min": "lo", "low": "lo", "lo": "min"}


def keys_called(name: str) -> list[str]:
    """Keys of this name in all sections, or of one that means the same: of ``dm_max`` ``dedisp.dm_hi``."""
    first, _, last = name.rpartition("_")
    alike = f"{first}_{_SAME_WORDS[last]}" if first and last in _SAME_WORDS else name
    called, same = ([f"{section}.{key}" for section, key, _ in keys() if key == word] for word in (name, alike))
    return called or same


def _by_section(name: str, value: Any) -> str:
    """How a setting is given by name, as the end of a message."""
    if name in Config.model_fields:
        return "a section: expected a dict of its keys"
    called = keys_called(name)
    if not called:
        return f"settings go by sections{_near(name)}"
    section, _, key = called[0].partition(".")
    shown = repr(value) if isinstance(value, bool | int | float | str) else "..."
    return f"settings go by sections: {section}={{{key!r}: {shown}}}"


def _near(key: str) -> str:
    """The nearest valid key, as the end of a message."""
    section, _, name = key.rpartition(".")
    every = [f"{section}.{name}" for section, name, _ in keys()]
    inside = {k.partition(".")[2]: k for k in every if k.startswith(f"{section}.")}
    called = keys_called(name)
    near = (
        [k for k in called if k in inside.values()],
        [inside[k] for k in difflib.get_close_matches(name, inside, n=1)],
        called,
        difflib.get_close_matches(key, every, n=1),
        list(inside.values()),
    )
    return next((f"; did you mean {found[0]}?" for found in near if found), "; `pulsar config show` lists all keys")


def _validate(collected: _Given) -> Config:
    values, origin, wrong = collected.values, collected.origin, collected.wrong
    for section in ("run", "batch"):
        memory = values.get(section, {}).get("memory")
        try:
            if isinstance(memory, str):
                parse_size(memory, f"{section}.memory")
        except ConfigError as error:
            wrong.append(f"{origin[f'{section}.memory']}: {error}")
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join([*wrong, *faults(Config, error, origin)])) from error
    if wrong:
        raise ConfigError("\n".join(wrong))
    return config


def faults(model: type[Section], error: ValidationError, origin: Mapping[str, str] | str) -> list[str]:
    """All that is wrong with a model of sections, in words.

    Parameters
    ----------
    origin : mapping of str to str, or str
        ``section.key`` -> where it was given; or the file that all are from.
    """
    return [_fault(model, dict(fault), origin) for fault in error.errors()]


def _fault(model: type[Section], fault: dict[str, Any], origin: Mapping[str, str] | str) -> str:
    section, *place = [str(part) for part in fault["loc"]]
    key = f"{section}.{place[0]}" if place else section
    if isinstance(origin, str):
        where = origin
    else:
        # A rule between the keys of one section: name all that were given.
        origins = [w for k, w in origin.items() if k == key or k.startswith(f"{key}.")]
        where = ", ".join(dict.fromkeys(origins)) or "configuration"
    field = model.model_fields.get(section)
    known = _section_fields(field) if field else {}
    field = known.get(place[0]) if place else field
    kind = fault["type"]
    reason = f": {str(fault['msg']).removeprefix('Value error, ')}" if kind == "value_error" else ""
    if kind == "missing":
        return f"{where}: {key} is missing" + (f": {field.description}" if field and field.description else "")
    if kind == "extra_forbidden":
        names = ", ".join(known or model.model_fields)
        return f"{where}: {key} is no setting of a {model.__name__.lower()}; known are {names}"
    if not place and reason:
        return f"{where}: [{section}] {reason.removeprefix(': ')}"
    value = fault["input"]
    shown = json.dumps(value) if isinstance(value, str | bool) else str(value)
    start = f"{where}: {key} = {shown}{reason}: expected "
    if field is None or kind == "model_type":
        return start + f"a section, [{section}]"
    finite = ", finite" if kind == "finite_number" else ""
    return start + expected(field) + finite + (f" ({field.description})" if field.description else "")
