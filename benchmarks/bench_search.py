"""CPU time of the FFT search from series to detections, stage by stage.

Run: python benchmarks/bench_search.py [--log2n 21] [--nharm 16] [--repeat 5]
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from options import numbers
from scipy import fft as scipy_fft

from pulsar.config.model import FFTConfig
from pulsar.searches.amplitudes import PAD, cubic_trend
from pulsar.searches.fft import FFTSearch


def best_of(repeat: int, func: Callable[..., Any], *args: Any) -> float:
    """Least CPU time of several calls [ms]."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        func(*args)
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def main() -> None:
    """Measure and print."""
    from pulsar_kernels import fft, harmonics, whiten

    args = numbers(__doc__, log2n=21, nharm=16, repeat=5).parse_args()
    n = 1 << args.log2n
    series = np.random.default_rng(1).standard_normal(n, dtype=np.float32)
    search = FFTSearch(n, 64e-6, FFTConfig.model_validate({"nharm": args.nharm, "threshold": 2.0}), ntrials_dm=500)
    integers = np.round(20 * series).astype(np.int16)
    search.search(series)
    search.search(integers)
    print(f"2^{args.log2n} samples, {args.nharm} harmonics, CPU ms, best of {args.repeat}")
    print(f"search, float32        {best_of(args.repeat, search.search, series):8.1f}")
    print(f"search, int16          {best_of(args.repeat, search.search, integers):8.1f}")
    b = search._buffers()
    trend = cubic_trend(series)
    padded = np.zeros(search.nfft, dtype=np.float32)
    transform: tuple[tuple[str, Callable[..., Any], tuple[Any, ...]], ...] = (
        (("detrend", whiten.detrend, (series, trend, padded)), ("real FFT", scipy_fft.rfft, (padded,)))
        if search.amplitudes.plan is None
        else (
            ("scipy's FFT instead", scipy_fft.rfft, (padded,)),
            (
                "detrend and real FFT",
                fft.real_fft,
                (series, trend, search.amplitudes.plan, b.work, PAD, b.real, b.imag),
            ),
        )
    )
    levels = np.zeros(search.noise.centres.size)
    thresholds = np.array(search.thresholds, dtype=np.float32)
    stages: tuple[tuple[str, Callable[..., Any], tuple[Any, ...]], ...] = (
        ("trend", search.amplitudes.trend, (series,)),
        *transform,
        ("levels", search.noise.levels, (b.real, b.imag, PAD)),
        (
            "white powers",
            harmonics.white_powers,
            (
                *(b.real, b.imag, PAD, search.noise.centres, levels, search._weights),
                *(search.noise.inverse, search.noise.own, search.noise.inverse_rest, b.half),
            ),
        ),
        ("harmonic sums", harmonics.harmonic_peaks, (b.half, search._limits, thresholds, b.index, b.ranges, b.power)),
    )
    for name, func, arguments in stages:
        # Most stages work in place.
        search._white_powers(series, (), b)
        print(f"  {name:20s} {best_of(args.repeat, func, *arguments):8.1f}")


if __name__ == "__main__":
    main()
