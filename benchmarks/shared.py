"""What the scripts have in common: options, clocks, noise, pulses, skies that are searched, counts and tables."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from pulsar.config.model import Config
from pulsar.constants import KDM
from pulsar.data.header import Header
from pulsar.data.injected import wilson
from pulsar.io.product.reader import Run
from pulsar.run import search
from pulsar.synthesis import Sky, write_filterbank

Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="of the search; may be repeated")]
First = Annotated[int, typer.Option(help="first seed")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="write all numbers there")]

#: One beam of FAST.
FAST: dict[str, Any] = {
    "nchans": 4096,
    "fch1": 1499.93896484375,
    "foff": -0.1220703125,
    "tsamp": 49.152e-6,
    "nsamps": 1 << 20,
}


@dataclass(frozen=True)
class Outcome:
    """One signal, and what each search made of it.

    Attributes
    ----------
    signal : str
        In words.
    values : dict of str to float
        By the name of the search S/N over the ideal, or a significance; NaN where it was not found.
    remark : str
    groups : tuple of str
        It is counted with others of each of these, beside all.
    """

    signal: str
    values: dict[str, float]
    remark: str = ""
    groups: tuple[str, ...] = ()


def commands(about: str | None) -> typer.Typer:
    """A command line whose commands are functions: their arguments are its options."""
    return typer.Typer(
        help=(about or "").partition("\n")[0],
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def cpu_of(call: Callable[..., object], *args: Any) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    call(*args)
    return time.process_time() - start


def best_of(repeat: int, call: Callable[..., object], *args: Any) -> float:
    """Least CPU seconds of several calls."""
    return min(cpu_of(call, *args) for _ in range(repeat))


@contextmanager
def kernel_clock() -> Iterator[dict[str, float]]:
    """Elapsed seconds of the kernels that Python calls meanwhile, by name; all must be compiled already."""
    from numba.core.registry import CPUDispatcher

    spent: dict[str, float] = {}

    def timed(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            start = time.perf_counter()
            try:
                return kernel(*args)
            finally:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - start

        return call

    modules = [module for name, module in sys.modules.items() if name.startswith("pulsar_kernels.")]
    kernels = [
        (module, name, value)
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, CPUDispatcher)
    ]
    try:
        for module, name, kernel in kernels:
            setattr(module, name, timed(name, kernel))
        yield spent
    finally:
        for module, name, kernel in kernels:
            setattr(module, name, kernel)


class NoiseSource:
    """Cleaned samples in memory: one block again and again.

    Parameters
    ----------
    header : Header
    block : ndarray of int8, shape (nchans, n)
    """

    def __init__(self, header: Header, block: NDArray[np.int8]) -> None:
        self.freqs = header.freqs
        self.fref = float(header.freqs[0])
        self.chan_width = header.chan_width
        self.nsamps, self.tsamp, self.tstart = header.nsamps, header.tsamp, header.tstart
        self.block = block

    def read_into(self, start: int, out: NDArray[np.int8]) -> None:
        """Copy from the block, turned round."""
        size, done = self.block.shape[1], 0
        while done < out.shape[1]:
            at = (start + done) % size
            n = min(size - at, out.shape[1] - done)
            out[:, done : done + n] = self.block[:, at : at + n]
            done += n

    def valid_fraction(self, start: int, nsamps: int) -> float:  # noqa: ARG002
        """Nothing is masked."""
        return 1.0


def white_noise(nsamps: int, seed: int) -> NDArray[np.float32]:
    """Samples of variance 1, shape (nsamps,)."""
    return np.random.default_rng(seed).standard_normal(nsamps, dtype=np.float32)


def gaussian_pulses(turns: NDArray[np.float64], duty: float) -> NDArray[np.float64]:
    """Gaussian pulses of full width `duty` at half maximum [turns], their mean 0 and their sum of squares 1."""
    x = np.exp(-4.0 * np.log(2.0) * ((turns - np.rint(turns)) / duty) ** 2)
    x -= x.mean()
    return np.asarray(x / np.sqrt(np.sum(x**2)))


def band_delay(header: Header) -> float:
    """Delay over the band at a DM of 1 [s]."""
    return float(KDM * (header.freqs[-1] ** -2.0 - header.freqs[0] ** -2.0))


def search_sky(sky: Sky, folder: Path, *configs: Config) -> list[Run]:
    """Write a sky as an 8-bit filterbank file, and search it with each configuration."""
    path = write_filterbank(sky, folder / "sky.fil", threads=2, overwrite=True)
    runs = [search(path, config, folder / f"run{n}.h5", overwrite=True) for n, config in enumerate(configs)]
    path.unlink()
    return runs


def rows_near(
    rows: NDArray[Any], header: Header, *, freq: float, bins: float, dm: float, dm_off: float | NDArray[Any]
) -> NDArray[Any]:
    """Candidates that stand for themselves within so many bins of a frequency, and so far from a DM."""
    near = np.abs(rows["freq"] - freq) * header.tobs < bins
    near &= np.abs(rows["dm"] - dm) < dm_off
    return rows[near & (rows["harmonic_of"] == "")]


def share(found: int, tried: int) -> str:
    """A count of so many, and its 68 % interval."""
    if not tried:
        return "0 of 0"
    low, high = wilson(found, tried)
    return f"{found} of {tried} ({100 * float(low):.1f}–{100 * float(high):.1f} %)"


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A table whose first columns are aligned to the left, and the others to the right."""
    lines = [headings, [*["---"] * left, *["---:"] * (len(headings) - left)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
