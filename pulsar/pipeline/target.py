"""Where the product of a command goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """A product that is to be written.

    Attributes
    ----------
    path : Path
    overwrite : bool
        Replace an existing file.
    argv : sequence of str
        Command line, for the provenance.
    """

    path: Path
    overwrite: bool = False
    argv: Sequence[str] = ()
