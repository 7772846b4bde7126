"""Runs that are interrupted on their way."""

from collections.abc import Callable
from typing import Any, NoReturn

import pytest


def stop(*args: object, **kwargs: object) -> NoReturn:
    """In place of a stage: the user interrupts it."""
    raise KeyboardInterrupt


def before_folding(
    monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any], *args: Any, **kwargs: Any
) -> KeyboardInterrupt:
    """Call a search that is interrupted where it begins to fold; what it raises."""
    with monkeypatch.context() as patch:
        patch.setattr("pulsar.folding.folder.fold_many", stop)
        with pytest.raises(KeyboardInterrupt) as stopped:
            run(*args, **kwargs)
    return stopped.value
