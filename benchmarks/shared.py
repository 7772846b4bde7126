"""What the scripts have in common: options, clocks, noise, pulses, skies that are searched, counts, scores, tables."""

import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.stats import rankdata

from pulsar.bench import stages
from pulsar.bench.limits import measure
from pulsar.config.model import Config
from pulsar.data.header import Header
from pulsar.data.injected import wilson
from pulsar.run import search
from pulsar.synthesis.model import Pulsar
from pulsar.synthesis.write import write_filterbank

Array = NDArray[np.float64]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="of the search; may be repeated")]
First = Annotated[int, typer.Option(help="first seed")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="write all numbers there")]

#: One beam of FAST: 4096 channels, 2^20 samples of 49.152 us.
FAST: dict[str, Any] = {name: getattr(stages.FAST.sky, name) for name in ("nchans", "fch1", "foff", "tsamp", "nsamps")}


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
    plain = {"rich_markup_mode": None, "pretty_exceptions_enable": False}
    return typer.Typer(help=(about or "").partition("\n")[0], add_completion=False, no_args_is_help=True, **plain)


def best_of(repeat: int, call: Callable[..., object], *args: Any) -> float:
    """Least CPU seconds of several calls."""
    return measure([partial(call, *args)], 0.0, least=repeat).cpu


@contextmanager
def kernel_clock() -> Iterator[dict[str, float]]:
    """Elapsed seconds of the kernels that Python calls meanwhile, by name; all must be compiled already."""
    from numba.core.registry import CPUDispatcher

    spent: dict[str, float] = {}

    def timed(name: str, kernel: Callable[..., Any], *args: Any) -> Any:
        start = time.perf_counter()
        result = kernel(*args)
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - start
        return result

    with ExitStack() as stack:
        for module in [sys.modules[name] for name in sys.modules if name.startswith("pulsar_kernels.")]:
            for name, kernel in list(vars(module).items()):
                if isinstance(kernel, CPUDispatcher):
                    stack.enter_context(patch.object(module, name, partial(timed, name, kernel)))
        yield spent


def without(*names: str) -> list[str]:
    """Settings that leave out searches, or another part of the program."""
    return [f"{name}.enabled=false" for name in names]


class NoiseSource:
    """Cleaned samples in memory: one block again and again.

    Parameters
    ----------
    header : Header
    block : ndarray of int8, shape (nchans, n)
    """

    def __init__(self, header: Header, block: NDArray[np.int8]) -> None:
        self.freqs, self.fref, self.chan_width = header.freqs, float(header.freqs[0]), header.chan_width
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


#: Writes a sky of the program's own simulator.
SIMULATE = partial(write_filterbank, threads=2, overwrite=True)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="pulsar-benchmark-") as name:
        yield Path(name)


def searched(
    skies: Iterable[Any], *configs: Config, write: Callable[[Any, Path], object] = SIMULATE
) -> Iterator[tuple[Any, ...]]:
    """Every sky, written as an 8-bit filterbank file and searched with each configuration, and the runs."""
    with scratch_folder() as folder:
        path = folder / "sky.fil"
        for sky in skies:
            write(sky, path)
            runs = [search(path, config, folder / f"run{n}.h5", overwrite=True) for n, config in enumerate(configs)]
            path.unlink()
            yield sky, *runs


def rows_near(
    rows: NDArray[Any], header: Header, *, freq: float, bins: float, dm: float, dm_off: float | NDArray[Any]
) -> NDArray[Any]:
    """Candidates that stand for themselves within so many bins of a frequency, and so far from a DM."""
    near = np.abs(rows["freq"] - freq) * header.tobs < bins
    near &= np.abs(rows["dm"] - dm) < dm_off
    return rows[near & (rows["harmonic_of"] == "")]


def words_of(row: np.void) -> str:
    """A candidate or a single pulse of a product in a few words."""
    if "period" in (row.dtype.names or ()):
        text = f"{row['kind']} P {row['period']:.7g} s DM {row['dm']:.1f} S/N {row['snr']:.1f} sigma {row['sigma']:.1f}"
    else:
        text = f"pulse t {row['time']:.3f} s DM {row['dm']:.1f} S/N {row['snr']:.1f} width {1e3 * row['width']:.2f} ms"
    return f"{text} score {row['score']:.2f} {row['rfi_flags']}".rstrip()


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A table whose first columns are aligned to the left, and the others to the right."""
    lines = [headings, [*["---"] * left, *["---:"] * (len(headings) - left)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def columns_of(columns: Mapping[str, Callable[[Any], str]], rows: Iterable[Any]) -> str:
    """A table of what each of some functions makes of each row, under the names of the functions."""
    return markdown(list(columns), [[cell(row) for cell in columns.values()] for row in rows])


@dataclass(frozen=True)
class Share:
    """A fraction that was counted, k of n.

    Attributes
    ----------
    k, n : int
    low, high : float
        68 % interval of the fraction (:func:`~pulsar.data.injected.wilson`); 0 and 1 of none.
    """

    k: int
    n: int

    @property
    def value(self) -> float:
        """The fraction, NaN of none."""
        return self.k / self.n if self.n else float("nan")

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return float(wilson(self.k, self.n)[0]) if self.n else 0.0

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return float(wilson(self.k, self.n)[1]) if self.n else 1.0

    @property
    def percent(self) -> str:
        """Fraction and interval; "-" of none."""
        return f"{100 * self.value:.0f} % ({100 * self.low:.0f}–{100 * self.high:.0f})" if self.n else "-"

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] ({self.k} of {self.n})"


def made_words(made: Pulsar) -> str:
    """What there is to say of a pulsar that was made."""
    return f"P {1e3 * made.period:.4f} ms DM {made.dm:.2f} duty {made.duty:.3f} S/N {made.snr:.1f}"


def share(found: int, tried: int) -> str:
    """A count of so many, and its 68 % interval."""
    counted = Share(found, tried)
    return f"{found} of {tried}" + (f" ({100 * counted.low:.1f}–{100 * counted.high:.1f} %)" if tried else "")


def count(outcomes: Iterable[Outcome]) -> None:
    """Print what became of each signal, and how many each search has found."""
    seen = []
    for outcome in outcomes:
        seen.append(outcome)
        cells = [f"{name} {value:.3f}" for name, value in outcome.values.items()]
        line = f"{outcome.signal}: {', '.join(cells).replace('nan', 'MISSED')}"
        print(f"{line}; {outcome.remark}" if outcome.remark else line, flush=True)
    for group in dict.fromkeys(group for outcome in seen for group in outcome.groups):
        members = [outcome for outcome in seen if group in outcome.groups]
        if len(members) < len(seen):
            summary(group, members)
    summary("all", seen)


def summary(group: str, outcomes: list[Outcome]) -> None:
    """Print counts and quantiles of each search, and of two how they compare."""
    values = {name: np.array([outcome.values[name] for outcome in outcomes]) for name in outcomes[0].values}
    for name, each in values.items():
        kept = each[np.isfinite(each)]
        print(f"{group}, {name}: {share(len(kept), len(each))} found{quantiles(kept)}")
    if len(values) != 2:
        return
    (first, a), (second, b) = values.items()
    has_a, has_b = np.isfinite(a), np.isfinite(b)
    lacks = share(int(np.sum(has_a & ~has_b)), int(np.sum(has_a)))
    ratios = quantiles(b[has_a & has_b] / a[has_a & has_b])
    print(
        f"{group}: of those of {first} {second} lacks {lacks}, and has {np.sum(has_b & ~has_a)} others; "
        f"{second} over {first}{ratios}"
    )


def quantiles(values: Array) -> str:
    """Mean and median, and what few lie beyond."""
    if not values.size:
        return ": no values"
    middle, least, low, high = np.quantile(values, [0.5, 0.05, 0.1, 0.9])
    error = np.std(values) / math.sqrt(values.size)
    spread = f"5 %: {least:.3f}, 10 %: {low:.3f}, 90 %: {high:.3f}, least {values.min():.3f}"
    return f": mean {np.mean(values):.4f} ± {error:.4f}, median {middle:.3f} ({spread})"


@dataclass(frozen=True)
class Bin:
    """Scores of a range, and how many of those were pulsars.

    Attributes
    ----------
    low, high : float
        Of the range.
    mean : float
        Mean score.
    real : Share
    """

    low: float
    high: float
    mean: float
    real: Share


@dataclass(frozen=True)
class Evaluation:
    """Scores against labels.

    Attributes
    ----------
    n, positives : int
    auc, auc_err : float
        Area under the receiver's curve, and its error (Hanley & McNeil 1982, Radiology 143, 29).
    top1, top5 : Share
        Pulsars among the first 1 % and 5 % of the list, of all that these can hold.
    brier : float
        Mean squared difference of score and label; `brier_constant` for the mean label.
    brier_constant : float
    ece : float
        Expected calibration error: mean over the bins, by their number, of |mean score - fraction|.
    bins : tuple of Bin
    """

    n: int
    positives: int
    auc: float
    auc_err: float
    top1: Share
    top5: Share
    brier: float
    brier_constant: float
    ece: float
    bins: tuple[Bin, ...]

    def table(self, title: str) -> str:
        """The summary, and a row for each tenth that has any."""
        rows = [[f"{b.low:.1f}–{b.high:.1f}", f"{b.mean:.3f}", str(b.real)] for b in self.bins if b.real.n]
        return (
            f"{title}: {self.n} rows, {self.positives} real; calibration error {self.ece:.4f}, Brier score "
            f"{self.brier:.4f}; in the first 1 % of the list {self.top1}, 5 % {self.top5}\n"
            + markdown(["score", "mean", "real"], rows)
        )


def auc(scores: Array, labels: NDArray[Any]) -> tuple[float, float]:
    """Chance that a pulsar has a higher score than another candidate, equal ones counted half, and its error.

    Parameters
    ----------
    scores : ndarray, shape (n,)
    labels : ndarray, shape (n,)
        1 (or True) for pulsars.

    Returns
    -------
    auc, err : float
        NaN where there are none of either.
    """
    real = np.asarray(labels) > 0
    npos, nneg = int(np.count_nonzero(real)), int(np.count_nonzero(~real))
    if not npos or not nneg:
        return float("nan"), float("nan")
    a = float((rankdata(scores)[real].sum() - 0.5 * npos * (npos + 1)) / (npos * nneg))
    q1, q2 = a / (2.0 - a), 2.0 * a**2 / (1.0 + a)
    variance = (a * (1.0 - a) + (npos - 1) * (q1 - a**2) + (nneg - 1) * (q2 - a**2)) / (npos * nneg)
    return a, float(np.sqrt(max(variance, 0.0)))


def top_recall(scores: Array, labels: NDArray[Any], part: float) -> Share:
    """Pulsars in the first part of the list, of all (or of as many as fit into it)."""
    real = np.asarray(labels) > 0
    n = max(int(np.ceil(part * len(real))), 1)
    first = np.argsort(-scores, kind="stable")[:n]
    return Share(int(np.count_nonzero(real[first])), min(int(np.count_nonzero(real)), n))


def reliability(scores: Array, labels: NDArray[Any], nbins: int = 10) -> tuple[Bin, ...]:
    """Of scores in equal ranges from 0 to 1 the mean, and the part of pulsars among them."""
    at = np.minimum((np.asarray(scores) * nbins).astype(np.int64), nbins - 1)
    bins = []
    for i in range(nbins):
        own, real = scores[at == i], np.asarray(labels)[at == i] > 0
        mean = float(np.mean(own)) if own.size else float("nan")
        bins.append(Bin(i / nbins, (i + 1) / nbins, mean, Share(int(np.count_nonzero(real)), own.size)))
    return tuple(bins)


def evaluate(scores: Array, labels: NDArray[Any]) -> Evaluation:
    """All numbers of a ranking.

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Probabilities, 0 to 1.
    labels : ndarray, shape (n,)
        1 (or True) for pulsars.
    """
    scores, real = np.asarray(scores, dtype=np.float64), np.asarray(labels) > 0
    n, positives, bins = len(real), int(np.count_nonzero(real)), reliability(scores, real)
    gaps = [b.real.n * abs(b.mean - b.real.value) for b in bins if b.real.n]
    top1, top5 = (top_recall(scores, real, part) for part in (0.01, 0.05))
    brier, mean = (float(np.mean((scores - real) ** 2)), positives / n) if n else (math.nan, math.nan)
    ece = float(np.sum(gaps)) / max(n, 1)
    return Evaluation(n, positives, *auc(scores, real), top1, top5, brier, mean * (1.0 - mean), ece, bins)


def reliability_table(title: str, pairs: Iterable[tuple[float, bool]]) -> str:
    """Scores against what is real: the summary and a row for each tenth that has any."""
    given = list(pairs)
    if not given:
        return f"{title}: no rows"
    return evaluate(np.array([p for p, _ in given]), np.array([real for _, real in given])).table(title)
