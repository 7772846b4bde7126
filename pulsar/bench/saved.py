"""Rates of this machine for plans, measured by searches of synthetic observations."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from pulsar.config.load import load_config
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.rates import STARTS, Rates, StageRate, read_rates, write_rates
from pulsar.run import search
from pulsar.synthesis import Pulsar, Sky, write_filterbank

#: Channels and samples of what is searched: the first tells what a search costs with hardly any data, the others, an
#: eighth of a FAST beam, what it costs for more.
SMALL = (64, 1 << 14)
LARGE = (512, 1 << 20)
SETTINGS = ("dedisp.dm_hi=500", "run.threads=1")


def save_rates(progress: Callable[[str], None] | None = None) -> Rates:
    """Measure how long the stages of a search take here, and keep it for plans in place of what was known.

    Parameters
    ----------
    progress : callable, optional
        Called with what is done next.

    Returns
    -------
    Rates
    """
    say = progress if progress is not None else lambda _: None
    config = load_config(None, list(SETTINGS))
    with tempfile.TemporaryDirectory(prefix="pulsar-bench-") as folder:
        paths = []
        for name, (nchans, nsamps) in (("small", SMALL), ("large", LARGE)):
            sky = Sky(
                nchans=nchans,
                fch1=1500.0,
                foff=-500.0 / nchans,
                tsamp=49.152e-6,
                nsamps=nsamps,
                pulsars=(Pulsar(period=0.05, dm=100.0, snr=20.0, duty=0.05),),
            )
            paths.append(write_filterbank(sky, Path(folder) / f"{name}.fil"))
        say("kernels, compiled if they are not yet")
        search(paths[0], config, Path(folder) / "warm.h5", progress=Progress("quiet"))
        write_rates(Rates({name: StageRate(start) for name, start in STARTS.items()}))
        for number, path in enumerate((paths[0], paths[1], paths[1])):
            say(f"a search of {path.stat().st_size / 1e6:.0f} MB")
            search(path, config, Path(folder) / f"{number}.h5", progress=Progress("quiet"))
    return read_rates()
