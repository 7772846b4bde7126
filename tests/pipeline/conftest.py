"""What modules of tests that search one sky share: its file, and runs of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pulsar.config.load import load_config
from pulsar.io.product.reader import Run
from pulsar.run import search
from pulsar.synthesis.write import write_filterbank


@pytest.fixture(scope="module")
def sky_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module's SKY as a filterbank."""
    return write_filterbank(request.module.SKY, tmp_path_factory.mktemp("sky") / "sky.fil", threads=2)


@pytest.fixture(scope="module")
def searched(
    request: pytest.FixtureRequest, sky_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Run]:
    """Searches it with the module's SETTINGS and more of them."""

    def run(*more: str, name: str = "run") -> Run:
        config = load_config(None, [*request.module.SETTINGS, *more])
        return search(sky_file, config, tmp_path_factory.mktemp(name) / f"{name}.h5")

    return run
