"""What tests of kernels share."""

from collections.abc import Iterator

import numpy as np
import pytest


@pytest.fixture(scope="module")
def quiet() -> Iterator[None]:
    """Uncompiled kernels do not warn of infinities, as compiled ones do not."""
    with np.errstate(all="ignore"):
        yield
