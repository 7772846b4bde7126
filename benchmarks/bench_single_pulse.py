"""CPU time of the single pulse search, stage by stage, and against PRESTO's single_pulse_search.py.

Run: python benchmarks/bench_single_pulse.py [--log2n 20] [--snr 7] [--repeat 20]
     python benchmarks/bench_single_pulse.py --presto path/to/single_pulse_search.py

PRESTO's script is run as it is, on .dat files of the same noise. The modules of it that the script imports are given
here (scipy's FFT for its own, a reader of .inf files, no plots), so nothing of PRESTO need be compiled. The start of
Python, a second or more, does not count: what is printed is what a file four times as long takes more, a third of it.
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_search import best_of
from numpy.typing import NDArray
from options import numbers

from pulsar.config.model import SinglePulseConfig
from pulsar.searches.single_pulse import SinglePulseSearch

TSAMP = 49.152e-6

SHIM = {
    "__init__.py": "",
    "presto.py": """
import numpy as np
from scipy import fft
def next2_to_n(x):
    return 1 << int(np.ceil(np.log2(x)))
def rfft(x, sign=-1):
    if sign < 0:
        full = fft.rfft(np.asarray(x, np.float32))
        full[0] = full[0].real + 1j * full[-1].real
        return full[:-1]
    full = np.append(x, 1j * 0).astype(np.complex64)
    full[-1], full[0] = x[0].imag, x[0].real
    return fft.irfft(full).astype(np.float32)
""",
    "infodata.py": """
class infodata:
    def __init__(self, path):
        self.DM, self.breaks, self.epoch = 0.0, 0, 60000.0
        self.N, self.dt = [float(line.split("=")[1]) for line in open(path)]
        self.telescope = self.instrument = self.object = self.RA = self.DEC = ""
""",
    "Pgplot.py": "",
    "ppgplot.py": "",
}


def stages(series: NDArray[Any], search: SinglePulseSearch, repeat: int) -> None:
    """Time the kernels one by one."""
    from pulsar_kernels import baseline, cells, matched

    b = search._buffers()
    excess = np.ones(search._nexcess)
    runs = np.zeros((0, 2), dtype=np.int64)
    limits = search._limits(excess)
    search.search(series)
    table: tuple[tuple[str, Callable[..., Any], tuple[Any, ...]], ...] = (
        ("moments of cells", cells.cell_moments, (series, b.mean, b.var, b.count)),
        (
            "baseline and noise",
            baseline.baseline_and_noise,
            (b.mean, b.var, b.count, search._nbase, search._nnoise, b.base, b.scale),
        ),
        ("scatter of sums", cells.scatter_of_sums, (series, b.count, b.base, b.scale, b.cells, b.work, excess)),
        ("scan", matched.scan, (series, b.base, b.scale, b.cells, runs, limits, b.integers, b.found)),
    )
    for name, func, arguments in table:
        print(f"  {name:20s} {best_of(repeat, func, *arguments):8.3f}")


def presto(script: Path, series: NDArray[Any], snr: float) -> float:
    """CPU seconds that PRESTO's script takes for one more such series in the file."""
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        (room / "presto").mkdir()
        for name, text in SHIM.items():
            (room / "presto" / name).write_text(text)
        spent = []
        for name, part in (("short", series), ("long", np.tile(series, 4))):
            part.astype(np.float32).tofile(room / f"{name}.dat")
            (room / f"{name}.inf").write_text(f"N = {len(part)}\ndt = {TSAMP!r}\n")
            times = []
            for _ in range(3):
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                subprocess.run(
                    [sys.executable, str(script), "--noplot", "-t", str(snr), "-m", "0.25", f"{name}.dat"],
                    cwd=room,
                    env=os.environ | {"PYTHONPATH": str(room), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            spent.append(min(times))
        return (spent[1] - spent[0]) / 3.0


def main() -> None:
    """Measure and print."""
    parser = numbers(__doc__, log2n=20, snr=7.0, repeat=20)
    parser.add_argument("--presto", type=Path, metavar="SCRIPT")
    args = parser.parse_args()
    n = 1 << args.log2n
    integers = np.rint(300 * np.random.default_rng(1).standard_normal(n)).astype(np.int16)
    floats = integers.astype(np.float32)
    print(f"2^{args.log2n} samples, S/N {args.snr:g}, CPU ms, best of {args.repeat}")
    for shape in ("boxcar", "gaussian"):
        search = SinglePulseSearch(n, TSAMP, SinglePulseConfig.model_validate({"snr": args.snr, "shape": shape}))
        for name, series in (("int16", integers), ("float32", floats)):
            search.search(series)
            print(f"{shape:8s} {name:13s} {best_of(args.repeat, search.search, series):8.3f}")
        if shape == "boxcar":
            stages(integers, search, args.repeat)
    pulses = integers.astype(np.float64)
    pulses[::20000] += 300 * 60.0
    pulses = np.clip(pulses, -32768, 32767).astype(np.int16)
    search = SinglePulseSearch(n, TSAMP, SinglePulseConfig(snr=args.snr))
    print(f"{len(search.search(pulses))} bright pulses {best_of(args.repeat, search.search, pulses):12.3f}")
    if args.presto is not None:
        print(f"PRESTO's script        {1e3 * presto(args.presto.resolve(), integers, args.snr):8.0f}")


if __name__ == "__main__":
    main()
