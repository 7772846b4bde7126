"""How a product was made: argv, versions, inputs, machine, times, configuration, exit state."""

import os
import platform
import socket
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from pulsar.config.model import Config

#: Packages whose version can change a result.
PACKAGES = ("numpy", "scipy", "numba", "astropy", "h5py", "pydantic")


def software_version() -> str:
    """Version of this program."""
    # Read from the loaded package: importing it by name would tie this room to the public names of the whole program.
    return str(getattr(sys.modules["pulsar"], "__version__", "unknown"))


def versions() -> dict[str, str]:
    """Versions of this program, of Python and of the packages that matter."""
    numbers = {"pulsar-search": software_version(), "python": platform.python_version()}
    for name in PACKAGES:
        try:
            numbers[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return numbers


def cpu_model() -> str:
    """Name of the processor, as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model", "cpu model")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def input_record(path: Path | str) -> dict[str, Any]:
    """Path, size [byte] and time of last change (UTC, ISO) of an input file."""
    path = Path(path)
    stat = path.stat()
    changed = datetime.fromtimestamp(stat.st_mtime, UTC).isoformat(timespec="seconds")
    return {"path": str(path.absolute()), "size": stat.st_size, "mtime": changed}


def settings_of(record: Mapping[str, Any]) -> Config:
    """The configuration that a record tells.

    Parameters
    ----------
    record : mapping
        As a product has it.
    """
    try:
        return Config.model_validate(tomllib.loads(str(record.get("config", ""))))
    except ValueError:  # settings of another version: the defaults are nearest
        return Config()


@dataclass
class Provenance:
    """The record of one run; make it at the start, ask for :meth:`record` at the end."""

    argv: Sequence[str] = ()  # The command line
    inputs: Sequence[Path | str] = ()  # Files that were read
    config: str = ""  # Effective configuration, TOML
    threads: int = 1  # Threads used
    start: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        # As they are now: hours later a file may have been moved, and the result still counts.
        self._inputs = [input_record(path) for path in self.inputs]

    def record(self, stages: Mapping[str, tuple[float, float]] | None = None, state: str = "done") -> dict[str, Any]:
        """The record as :meth:`ProductWriter.provenance` takes it.

        Parameters
        ----------
        stages : mapping, optional
            Stage -> (elapsed, processor) time [s].
        state : str
            How the run ended.
        """
        return {
            "argv": list(self.argv),
            "command": os.fspath(sys.argv[0]) if not self.argv else self.argv[0],
            "versions": versions(),
            "inputs": self._inputs,
            "start": self.start.isoformat(timespec="seconds"),
            "stop": datetime.now(UTC).isoformat(timespec="seconds"),
            "threads": int(self.threads),
            "host": socket.gethostname(),
            "cpu": cpu_model(),
            "system": platform.platform(),
            "stages": dict(stages or {}),
            "config": self.config,
            "exit_state": state,
        }
