"""Why a signal stands on the list, or does not: what was detected at a period or a time, and what became of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter

from pulsar.data.header import Header
from pulsar.data.validated import validated
from pulsar.errors import ConfigError, DataError
from pulsar.io.product.provenance import settings_of
from pulsar.io.product.reader import Run, read
from pulsar.report.why_periodic import best_sigma, periodic, periodic_rows
from pulsar.report.why_pulse import best_snr, pulse_rows, single

#: Products of a merged list that are asked for all that they know: those with the strongest detections.
MOST_ASKED: Final = 3
#: Commands and products that are named, and others that have detections too.
MOST_NAMED: Final = 8
_PATHS: Final = TypeAdapter(tuple[str, ...])


@dataclass(frozen=True)
class Asked:
    """A place in the data.

    Attributes
    ----------
    freq : float or None
        [Hz]
    time : float or None
        [s] from the start of the observation; of a merged product from that of each of them.
    dm : float or None
        [pc cm^-3]; None: any.
    """

    freq: float | None = None
    time: float | None = None
    dm: float | None = None

    def __str__(self) -> str:
        what = f"--freq {self.freq:.12g}" if self.freq is not None else f"--time {self.time:.9g}"
        return what + ("" if self.dm is None else f" --dm {self.dm:g}")

    @property
    def title(self) -> str:
        """The same in words."""
        where = f" and DM {self.dm:g}" if self.dm is not None else ""
        if self.freq is not None:
            return f"{self.freq:.9g} Hz, a period of {1 / self.freq:.9g} s{where}"
        return f"{self.time:.6g} s from the start{where}"


def why(run: Run, asked: Asked) -> list[str]:
    """Lines of text: what was found at a period or a time, by which search, who has it on what evidence, or why nobody.

    Of a merged product its own rows are told first, then what those of the products that were merged know that still
    lie where they were, or beside it.

    Parameters
    ----------
    run : Run
        Product of a search, or of several that were merged.
    asked : Asked
        Either a frequency or a time.

    Raises
    ------
    ConfigError
        Neither or both of frequency and time, or a value that makes no sense.
    DataError
        The product does not tell whose the detections are.
    """
    if (asked.freq is None) == (asked.time is None):
        raise ConfigError("why what? give one of a period, a frequency or a time")
    if asked.freq is not None and not (np.isfinite(asked.freq) and asked.freq > 0):
        raise ConfigError(f"frequency {asked.freq:g} Hz: expected a positive number")
    if asked.dm is not None and not (np.isfinite(asked.dm) and asked.dm >= 0):
        raise ConfigError(f"DM {asked.dm:g}: expected a number >= 0")
    longest = max((header.tobs for header in run.observations), default=np.inf)
    if asked.time is not None and not 0 <= asked.time <= longest:
        raise ConfigError(f"time {asked.time} s: the observation lasts from 0 to {longest:.6g} s")
    return [f"{run.path.name}: {asked.title}", *(_merged(run, asked) if _is_merged(run) else _told(run, asked))]


def _is_merged(run: Run) -> bool:
    return run.is_merged or "merged" in run.provenance


def _told(run: Run, asked: Asked) -> Iterator[str]:
    """What the product of one observation knows."""
    config = settings_of(run.provenance)
    if asked.freq is not None:
        return periodic(run, config, asked.freq, asked.dm)
    return single(run, config, float(asked.time or 0.0), asked.dm)


def _merged(run: Run, asked: Asked) -> Iterator[str]:
    """The rows of a merged list, and what its products know."""
    name: Callable[[Any], str] = lambda row: _name(run.observation_of(row))  # noqa: E731
    if asked.freq is not None:
        yield from periodic_rows(run, asked.freq, asked.dm, name)
    else:
        yield from pulse_rows(run, float(asked.time or 0.0), asked.dm, name)
    found, missing = _products(run)
    parts = []
    for part in found:
        try:
            strength = (
                best_sigma(part, asked.freq, asked.dm)
                if asked.freq is not None
                else best_snr(part, float(asked.time or 0.0), asked.dm)
            )
        except DataError:
            missing.append(part.path)
            continue
        parts.append((strength, part))
    parts.sort(key=lambda pair: -pair[0])
    for _, part in parts[:MOST_ASKED]:
        yield f"{part.path.name} ({_name(part.observation)}) says:"
        yield from (f"  {line}" for line in _answer(part, asked))
    others = [part for strength, part in parts[MOST_ASKED:] if strength > 0]
    rest = [part for strength, part in parts[MOST_ASKED:] if not strength > 0]
    if others:
        yield f"{len(others)} more have something there:"
        yield from (f"  pulsar why {part.path} {asked}" for part in others[:MOST_NAMED])
    if rest:
        yield f"{len(rest)} more have nothing there; to hear why: pulsar why {rest[0].path} {asked}"
    if missing:
        yield "what was detected is in products that are no longer where they were, or too old to tell; ask them:"
        yield from (f"  pulsar why {path} {asked}" for path in missing[:MOST_NAMED])
        if len(missing) > MOST_NAMED:
            yield f"  and {len(missing) - MOST_NAMED} more"
    if not parts and not missing:
        yield "it does not say which products were merged; ask those with the same command"


def _answer(part: Run, asked: Asked) -> list[str]:
    tobs = part.observation.tobs
    if asked.time is not None and asked.time > tobs:
        return [f"this observation lasts {tobs:.6g} s only"]
    return list(_told(part, asked))


def _products(run: Run) -> tuple[list[Run], list[Path]]:
    """The products that were merged: those that can be read, and the paths of those that are gone."""
    rows, headers = run.rows("observations"), run.observations
    named: list[tuple[Path, Header | None]] = [
        (Path(str(row["product"])), header) for row, header in zip(rows, headers, strict=False) if row["product"]
    ]
    if not named:  # before version 1.2 the paths were all that was known
        text, where = str(run.provenance.get("merged", "[]")), f"{run.path}: attribute merged of provenance"
        named = [(Path(path), None) for path in validated(_PATHS, text, where, "ask the products that were merged")]
    found: list[Run] = []
    missing: list[Path] = []
    for path, header in named:
        part = _there(path, run.path, header) or _there(run.path.with_name(path.name), run.path, header)
        if part is None:
            missing.append(path)
        elif part.path.resolve() not in [other.path.resolve() for other in found]:
            found.append(part)
    return found, missing


def _there(path: Path, merged: Path, header: Header | None) -> Run | None:
    """The product of an observation at a path, or None when it is not there, or of another observation."""
    if not path.exists() or path.resolve() == merged.resolve():
        return None
    try:
        part = read(path)
        own = part.observation
    except DataError:
        return None
    if header is None:
        return part
    same = own.beam == header.beam and own.nsamps == header.nsamps
    return part if same and (own.tstart == header.tstart or not np.isfinite(header.tstart)) else None


def _name(header: Header) -> str:
    """What tells an observation from the others of a merged product."""
    beam = f"beam {header.beam}, " if header.beam is not None else ""
    start = f"MJD {header.tstart:.5f}" if np.isfinite(header.tstart) else "of an unknown time"
    return f"{header.source or 'unnamed source'}, {beam}{start}"
