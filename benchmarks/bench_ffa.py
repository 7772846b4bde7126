"""CPU time of the folding search stage by stage, and riptide's time and S/N in the same run.

Run: python benchmarks/bench_ffa.py [--log2n 21] [--tsamp 256e-6] [--p-min 0.5] [--p-max 10] [--repeat 5]
     python benchmarks/bench_ffa.py --riptide /path/to/venv/bin/python

riptide runs in its own interpreter on the same series and with the same numbers of phase bins (240 to 260) and widths.
One thread each, least CPU time of the repeats, the two in turn.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from options import numbers

from pulsar.config.model import FFAConfig
from pulsar.searches.ffa import FFASearch

BINS = (240, 260)
DUTY = (1 / 240, 0.2)
NONE = np.zeros((0, 0), dtype=np.float32)

_RIPTIDE = """
import json, sys, time
import numpy as np
from riptide import TimeSeries, ffa_search
path, tsamp, p_min, p_max, lo, hi = sys.argv[1], *map(float, sys.argv[2:])
raw = TimeSeries.from_numpy_array(np.load(path), tsamp)
kwargs = dict(period_min=p_min, period_max=p_max, bins_min=int(lo), bins_max=int(hi), ducy_max=0.2)
flat, _ = ffa_search(raw, **kwargs)
times = []
for already in (True, False):
    start = time.process_time()
    if already:
        _, gram = ffa_search(flat, deredden=False, already_normalised=True, **kwargs)
    else:
        ffa_search(raw, **kwargs)
    times.append(time.process_time() - start)
best = gram.snrs.max(axis=1)
at = int(best.argmax())
# One downsampling by 8 exactly, at which trials are the same.
kwargs.update(period_min=lo * 8 * tsamp, period_max=(hi + 1) * 8 * tsamp)
_, same = ffa_search(raw.normalise(), deredden=False, already_normalised=True, **kwargs)
np.save(path, same.snrs.max(axis=1))
print(json.dumps([*times, len(best), [int(w) for w in gram.widths], float(best[at]), float(gram.periods[at])]))
"""


def riptide(python: str, path: Path, *arguments: float) -> list[Any]:
    """CPU seconds of the search alone and with dereddening, trial periods, widths, best S/N and its period."""
    command = [python, "-c", _RIPTIDE, str(path), *(repr(float(x)) for x in arguments)]
    answer = subprocess.run(command, capture_output=True, check=True, text=True, env={"OMP_NUM_THREADS": "1"})
    return list(json.loads(answer.stdout.splitlines()[-1]))


def cpu(func: Callable[..., Any], *args: Any) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    func(*args)
    return time.process_time() - start


def stages(search: FFASearch, series: NDArray[Any], repeat: int) -> dict[str, float]:
    """Least CPU seconds of a whole search, and of its kernels by the clock."""
    from pulsar_kernels import ffa, longwave, moments

    least: dict[str, float] = {}
    names = {
        longwave: ("sum_samples", "sum_pairs", "flatten", "block_means", "running_sums", "sum_groups"),
        moments: ("running_medians",),
        ffa: ("search_periods",),
    }
    spent: dict[str, float] = {}

    def timed(name: str, func: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            start = time.perf_counter()
            try:
                return func(*args)
            finally:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - start

        return run

    for _ in range(repeat):
        least["search"] = min(least.get("search", np.inf), cpu(search.search, series))
    kept = {(module, name): getattr(module, name) for module, own in names.items() for name in own}
    try:
        for (module, name), func in kept.items():
            setattr(module, name, timed(name, func))
        for _ in range(repeat):
            spent.clear()
            search.search(series)
            for name, value in spent.items():
                least[name] = min(least.get(name, np.inf), value)
    finally:
        for (module, name), func in kept.items():
            setattr(module, name, func)
    return least


def same_trials(series: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Ratio of the best S/N of our kernel to theirs for sums of 8 samples and all rows of 240 to 260 bins."""
    from pulsar_kernels import ffa

    n = len(series) // 8
    sums = (series - series.mean()).reshape(n, 8).sum(axis=1)
    unit = 8.0
    data = np.zeros(n + 64, dtype=np.int16)
    data[:n] = np.round(sums * (unit / (series.std() * np.sqrt(8.0))))
    table = []
    at = 0
    for bins in range(BINS[0], BINS[1] + 1):
        rows = n // bins
        # Rows whose period is less than that of the next number of bins.
        hi = min(rows, int(np.ceil(bins * (rows - 1.0) / (bins + 1.0))))
        table.append((bins, 0, hi, at))
        at += hi
    widths = np.array([1, 2, 3, 4, 6, 9, 13, 19, 28, 42])
    noise = np.full(len(widths), np.sqrt(unit**2 + 1.0 / 12.0))
    work = np.zeros(max(ffa.work_size(n, t[0]) for t in table), dtype=np.int16)
    tile = np.zeros(ffa.tile_size(BINS[1], int(widths[-1])), dtype=np.int32)
    best = np.zeros(at + 16, dtype=np.float32)
    which = np.zeros(at + 16, dtype=np.uint8)
    ffa.search_periods(data, n, np.array(table), widths, noise, -np.inf, work, tile, best, which, NONE)
    if at != len(theirs):
        raise ValueError(f"{at} trials, riptide has {len(theirs)}")
    return np.asarray(best[:at] / theirs, dtype=np.float64)


def report(title: str, search: FFASearch, least: dict[str, float]) -> None:
    """Print the stages."""
    vectors = sum(
        int(np.sum(s.transforms[:, 0] * (s.nsamps // s.transforms[:, 0]))) for v in search.levels for s in v.steps
    )
    print(f"{title}: {search.ntrial_periods} periods, {vectors / 1e6:.1f} M phase bins")
    print(f"  search               {1e3 * least['search']:8.2f} ms CPU")
    for name, value in sorted(least.items(), key=lambda item: -item[1]):
        if name != "search":
            per = f"  {1e9 * value / vectors:6.3f} ns a phase bin" if name == "search_periods" else ""
            print(f"    {name:18s} {1e3 * value:8.2f}{per}")


def main() -> None:
    """Measure and print."""
    parser = numbers(__doc__, log2n=21, tsamp=256e-6, p_min=0.5, p_max=10.0, repeat=5)
    parser.add_argument("--riptide", metavar="PYTHON", help="interpreter that has riptide")
    args = parser.parse_args()
    n = 1 << args.log2n
    rng = np.random.default_rng(1)

    # A beam of a 19-beam receiver: short, finely sampled, many DMs; the program's own choice of bins.
    fast = FFASearch(1 << 20, 49.152e-6, ntrials_dm=1000)
    integers = np.round(30 * rng.standard_normal(1 << 20)).astype(np.int16)
    report("int16, 2^20 samples of 49.152 us, 0.5-12.9 s, default", fast, stages(fast, integers, args.repeat))

    # Pulses of 5 bins at 1.37 s.
    series = rng.standard_normal(n, dtype=np.float32)
    phase = np.arange(n) * args.tsamp / 1.37 % 1.0
    series += np.where(phase < 5 / 250, np.float32(30 / np.sqrt(n * 5 / 250)), np.float32(0))
    values = {"p_min": args.p_min, "p_max": args.p_max, "duty_min": DUTY[0], "duty_max": DUTY[1]}
    search = FFASearch(n, args.tsamp, FFAConfig.model_validate(values), nbins=BINS[0])
    least = stages(search, series, args.repeat)
    report(f"float32, 2^{args.log2n} samples, {args.p_min:g}-{args.p_max:g} s, {BINS[0]} bins", search, least)
    most = max(len(step.widths) for level in search.levels for step in level.steps)
    every = np.zeros((search.ntrial_periods, most), dtype=np.float32)
    times = [cpu(search._fold, series, search._buffers(), every) for _ in range(args.repeat)]
    print(f"  all S/N of all {most} widths kept: {1e3 * min(times):.1f} ms CPU")
    found = search.search(series)[0]
    print(f"  best S/N {found['snr']:.2f} at {1 / found['freq']:.6f} s")
    if args.riptide is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "series.npy"
        np.save(path, series)
        answers = []
        ours = []
        for _ in range(args.repeat):
            np.save(path, series)
            ours.append(cpu(search.search, series))
            answers.append(riptide(args.riptide, path, args.tsamp, args.p_min, args.p_max, *BINS))
        snr_8 = np.load(path)
    alone = min(a[0] for a in answers)
    whole = min(a[1] for a in answers)
    _, _, periods, widths, snr, period = answers[0]
    print(f"riptide: {periods} periods, widths {widths}")
    print(f"  search alone         {1e3 * alone:8.2f} ms CPU, with dereddening {1e3 * whole:.2f}")
    print(f"  best S/N {snr:.2f} at {period:.6f} s")
    ratio = same_trials(series, snr_8)
    print(
        f"  the same {len(ratio)} trials of the same samples: S/N ours / theirs {ratio.mean():.4f} ± {ratio.std():.4f}"
    )
    folding = least["search_periods"] + least["sum_groups"]
    print(f"  theirs / ours: downsampling and folding {alone / folding:.1f}, all {whole / min(ours):.1f}")


if __name__ == "__main__":
    main()
