"""Two runs beside each other: which differences are beyond the noise of both."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import comb
from typing import Any

from pulsar.bench.document import labels
from pulsar.errors import ConfigError


@dataclass(frozen=True)
class Difference:
    """One kernel or stage in two runs; times in processor seconds.

    Attributes
    ----------
    name : str
        "tree", "fft, 2^20, int16" where a run measured several sizes or types, or "clean, 2 threads" of a stage.
    a_s, a_low_s, a_high_s, b_s, b_low_s, b_high_s : float
        Median, fastest and slowest repeat of either run [s].
    ratio, ratio_low, ratio_high : float
        How many times as fast the second run is; the least and the most that the repeats allow.
    verdict : {"faster", "slower", "same", "unknown"}
        Of the second run: "same" where the repeats overlap; "unknown" where a run has one repeat only.
    """

    name: str
    a_s: float
    a_low_s: float
    a_high_s: float
    b_s: float
    b_low_s: float
    b_high_s: float
    ratio: float
    ratio_low: float
    ratio_high: float
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """What two runs have in common, and what not.

    Attributes
    ----------
    differences : tuple of Difference
        In the order of the first run.
    left_out : tuple of str
        Names that only one run has, or that it measured on other sizes or types.
    chance : float
        Chance that the repeats of equally fast runs do not overlap, for one kernel.
    """

    differences: tuple[Difference, ...]
    left_out: tuple[str, ...]
    chance: float


def _entries(run: Mapping[str, Any]) -> Iterator[tuple[tuple[Any, ...], str, Mapping[str, Any]]]:
    """What has to agree for times to be comparable, name, and the figure."""
    for f, name in zip(run["figures"], labels(run["figures"]), strict=True):
        yield (f["kernel"], f["dtype"], f["nsamps"], f["nchans"], f["ndms"]), name, f
    for f in run["stages"]:
        threads = f["threads"]
        name = f"{f['stage']}, {threads} thread{'s' if threads > 1 else ''}"
        yield (name, f["about"]), name, f


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> Comparison:
    """Set two runs beside each other.

    Parameters
    ----------
    a, b : mapping
        Runs, as `pulsar.bench.document.load` reads them.

    Raises
    ------
    ConfigError
        They measured kernels with different numbers of threads, or nothing in common.
    """
    if a["figures"] and b["figures"] and a["threads"] != b["threads"]:
        raise ConfigError(
            f"--compare: the kernels were measured with {a['threads']} and with {b['threads']} threads: measure both "
            "with the same --threads"
        )
    repeats = (a["repeats"], b["repeats"])
    second = {what: (name, f) for what, name, f in _entries(b)}
    found, left_out = [], []
    for what, short, f in _entries(a):
        other, g = second.pop(what, (short, None))
        # The longer tells more: of which of several sizes it is.
        name = max(short, other, key=len)
        if g is None:
            left_out.append(name)
            continue
        if min(repeats) < 2:
            verdict = "unknown"
        elif g["cpu_high_s"] < f["cpu_low_s"]:
            verdict = "faster"
        elif g["cpu_low_s"] > f["cpu_high_s"]:
            verdict = "slower"
        else:
            verdict = "same"
        times = {f"{run}_{key}": x[f"cpu_{key}"] for run, x in (("a", f), ("b", g)) for key in ("s", "low_s", "high_s")}
        ratios = (f["cpu_s"] / g["cpu_s"], f["cpu_low_s"] / g["cpu_high_s"], f["cpu_high_s"] / g["cpu_low_s"])
        found.append(
            Difference(name, **times, ratio=ratios[0], ratio_low=ratios[1], ratio_high=ratios[2], verdict=verdict)
        )
    left_out += [name for name, _ in second.values()]
    if not found:
        raise ConfigError("--compare: the two runs measured nothing in common")
    return Comparison(tuple(found), tuple(dict.fromkeys(left_out)), 2.0 / comb(sum(repeats), repeats[0]))
