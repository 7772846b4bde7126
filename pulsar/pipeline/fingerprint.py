"""What the result of a run depends on, as one text."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pulsar.config.model import Config
from pulsar.data.observation import InputFile
from pulsar.pipeline.subtracting import marks


def fingerprint(files: Sequence[InputFile], config: Config, version: str) -> str:
    """Digest of what the result of a run depends on (not on threads, memory or scratch)."""
    from pulsar.sky.catalogue import catalogue_file

    settings = config.model_dump(mode="json", exclude={"run", "output", "batch"})
    inputs: list[Any] = [[str(f.path), f.size, f.mtime] for f in files]
    rfi, asked = config.rfi, config.completeness.population
    for path in (catalogue_file(config.known.catalogue), *map(Path, (rfi.zaplist, rfi.mask, asked))):
        if path.is_file():
            inputs.append(hashlib.sha256(path.read_bytes()).hexdigest())
    if config.subtract.pulsars:
        inputs += marks(config.subtract)
    text = json.dumps([version, settings, inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
