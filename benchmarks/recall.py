"""Of signals that were put in, how many are found, and with how much of their strength: a scenario for each question.

    python benchmarks/recall.py pulsars --snr 12 --count 90
    python benchmarks/recall.py --help                       # all scenarios
    python benchmarks/recall.py octaves --help               # what it asks, and its options

A scenario draws signals from fixed seeds, searches, and says of each signal what every search made of it: S/N over the
ideal one, or a significance. Here these are printed and counted, with 68 % intervals (Wilson). Scenarios of whole files
are in recall_files.py, of single series in recall_series.py.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

import numpy as np
import recall_files
import recall_series
from numpy.typing import NDArray
from shared import Outcome, commands, share

SCENARIOS: tuple[Callable[..., Iterator[Outcome]], ...] = (
    recall_files.pulsars,
    recall_files.binaries,
    recall_files.bursts,
    recall_files.bands,
    recall_files.neighbours,
    recall_files.parts,
    recall_files.formats,
    recall_files.completeness,
    recall_files.follow,
    recall_series.octaves,
    recall_series.fewer_samples,
    recall_series.accelsearch,
    recall_series.orbits,
    recall_series.stack,
    recall_series.connect,
    recall_series.dedispersion,
)


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
    lost, gained = np.isfinite(a) & np.isnan(b), np.isnan(a) & np.isfinite(b)
    line = f"{group}: of those of {first} {second} lacks {share(int(lost.sum()), int(np.isfinite(a).sum()))}, and has "
    line += f"{gained.sum()} others"
    both = np.isfinite(a) & np.isfinite(b)
    print(f"{line}; {second} over {first}{quantiles(b[both] / a[both])}")


def quantiles(values: NDArray[np.float64]) -> str:
    """Mean and median, and what few lie beyond."""
    if not values.size:
        return ": no values"
    middle, least, low, high = np.quantile(values, [0.5, 0.05, 0.1, 0.9])
    error = np.std(values) / math.sqrt(values.size)
    spread = f"5 %: {least:.3f}, 10 %: {low:.3f}, 90 %: {high:.3f}, least {values.min():.3f}"
    return f": mean {np.mean(values):.4f} ± {error:.4f}, median {middle:.3f} ({spread})"


def command(scenario: Callable[..., Iterator[Outcome]]) -> Callable[..., None]:
    """A scenario as a command: its arguments are the options."""

    @wraps(scenario)
    def run(**options: Any) -> None:
        count(scenario(**options))

    return run


app = commands(__doc__)
for scenario in SCENARIOS:
    app.command(scenario.__name__.replace("_", "-"))(command(scenario))

if __name__ == "__main__":
    app()
