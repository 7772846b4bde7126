"""One candidate of a product with all that its formats need, and the commands that would confirm it."""

import shlex
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from pulsar.data.direction import dms, hms
from pulsar.data.fold import Fold, FoldParams, zapped
from pulsar.data.header import Header, Part
from pulsar.errors import ConfigError
from pulsar.io.product.reader import Run


@dataclass(frozen=True)
class Exported:
    """A candidate to be handed on."""

    #: ident, name: its id, and the pulsar's name: the known one, else one of its position.
    ident: str
    name: str
    row: dict[str, Any]  # Of the table of candidates
    fold: Fold
    header: Header  # Of its observation
    files: tuple[Path, ...]  # Of that observation
    product: Path

    @property
    def origin(self) -> str:
        """Its product, target and S/N, in words."""
        target = f", {self.header.source}" if self.header.source else ""
        without = f", without {zapped(self.fold)}" if zapped(self.fold) else ""
        return f"{self.ident} of {self.product.name}{target}: S/N {self.fold.snr:.1f}{without}"


def candidate_of(run: Run, ident: str, *, whole: bool = False) -> Exported:
    """A candidate of a product.

    Parameters
    ----------
    whole : bool
        Its fold with what was left out of it by hand.

    Raises
    ------
    ConfigError
        There is no candidate of that name, or it was not folded.
    """
    row = run.candidate(ident)
    if is_stack(run):
        raise ConfigError(
            f"{run.path}: {ident} is of a stack and has no fold; the ephemeris by which each of its nights is folded: "
            f"pulsar stack nights {run.path} --id {ident} --par X.par"
        )
    if ident not in run.ids:
        raise ConfigError(
            f"{run.path}: {ident} was not folded (it belongs to {row['harmonic_of'] or 'none'}): nothing to export; "
            f"fold it first: pulsar fold FILE --candidates {run.path} --id {ident}"
        )
    header, fold = run.observation_of(row), run.fold(ident, whole=whole)
    # A fold of a part is that of a shorter observation.
    header = Part.of_label(fold.part).header(header)
    return Exported(ident, name_of(ident, row, header), row, fold, header, run.files_of(int(row["obs"])), run.path)


def name_of(ident: str, row: dict[str, Any], header: Header) -> str:
    """The known pulsar that it is, else a name of its position."""
    known = str(row["known_source"])
    if known and not row["harmonic_of"] and " " not in known:
        return known
    if not (isfinite(header.ra_deg) and isfinite(header.dec_deg)):
        return ident
    # Names of positions are cut off, not rounded (IAU).
    ra, dec = hms(header.ra_deg, 6).split(":"), dms(header.dec_deg, 6).split(":")
    return f"J{ra[0]}{ra[1]}{dec[0]}{dec[1]}_{ident}"


def is_stack(run: Run) -> bool:
    """True for the product of a stack."""
    return len(run.rows("stack/epochs")) > 0


def commands(run: Run, row: dict[str, Any]) -> list[str]:
    """Commands that confirm a candidate: its own fold, its ephemeris, its series; PRESTO's and dspsr's fold.

    Parameters
    ----------
    row : dict
        Of the table of candidates.
    """
    ident, dm = str(row["id"]), f"{row['dm']:.6g}"
    stem = f"{run.path.stem}_{ident}"
    files = [str(path) for path in run.files_of(int(row["obs"]))] or ["FILE"]
    product = str(run.path)
    if is_stack(run):
        nights = ["pulsar", "stack", "nights", product, "--id", ident, "--par", f"{stem}.par"]
        return [shlex.join(nights), *(shlex.join(["pulsar", "fold", file, "--par", f"{stem}.par"]) for file in files)]
    start = _at_start(row, run.observation_of(row))
    lines = [
        ["pulsar", "fold", *files, "--candidates", product, "--id", ident, "--out", f"{stem}.h5"],
        ["pulsar", "export", product, "--id", ident, "--par", "--out", f"{stem}.par"],
        ["pulsar", "fold", *files, "--par", f"{stem}.par", "--out", f"{stem}_par.h5"],
        ["pulsar", "dedisperse", *files, "--dm", dm, "--out", f"{stem}.dat"],
        ["prepfold", "-topo", *start, "-dm", dm, "-o", stem, *files],
        ["dspsr", "-E", f"{stem}.par", "-O", stem, *files],
    ]
    return [shlex.join(words) for words in lines]


def _at_start(row: dict[str, Any], header: Header) -> list[str]:
    """Frequency and derivatives at the start of the observation, as PRESTO counts."""
    back = -0.5 * header.tobs if np.isfinite(header.tobs) else 0.0
    if row["part"]:
        back = -float(row["part_start"]) - 0.5 * float(row["part_duration"])
    fdot, fddot = (float(v) if isfinite(v) else 0.0 for v in (row["fdot"], row["fddot"]))
    start = FoldParams(float(row["freq"]), fdot, fddot=fddot).at(back)
    words = ["-f", f"{start.freq:.15g}", "-fd", f"{start.fdot:.9g}"]
    return [*words, "-fdd", f"{fddot:.9g}"] if fddot else words
