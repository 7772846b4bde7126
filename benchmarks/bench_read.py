"""Reading, unpacking and transposing from page cache, one thread: bytes of the file and samples a processor second.

    python benchmarks/bench_read.py

Beside it what the machine can do at most: copying memory, and the plain numpy way (frombuffer, transpose, copy).
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from pulsar.cleaning.statistics import piece_samples
from pulsar.config.model import Config
from pulsar.io.open import open_observation
from pulsar.pipeline.cleaning import clean_source, find_mask
from pulsar.pipeline.progress import Progress
from pulsar.synthesis import Sky, write_filterbank, write_psrfits

REPEATS = 3


def best(function) -> float:  # type: ignore[no-untyped-def]
    """Least CPU seconds of a few calls, after one that compiles and fills the cache."""
    function()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    source = np.ones(1 << 28, np.uint8)
    target = np.empty_like(source)
    copy = best(lambda: np.copyto(target, source))
    print(f"copying memory: {source.size / copy / 1e9:.1f} GB/s")
    with tempfile.TemporaryDirectory() as name:
        for nchans in (4096, 256):
            sky = Sky(nchans=nchans, fch1=1499.9, foff=-500 / nchans, tsamp=49.152e-6, nsamps=2**27 // nchans)
            raw = np.random.default_rng(1).integers(0, 255, (sky.nsamps, nchans), dtype=np.uint8)
            plain = best(lambda raw=raw: np.ascontiguousarray(raw.T))
            print(f"{nchans} channels: numpy transposes {raw.size / plain / 1e9:.2f} GB/s, without reading")
            files = {
                f".fil {b:2d} bit": [write_filterbank(sky, Path(name) / f"{nchans}_{b}.fil", nbits=b, threads=2)]
                for b in (1, 2, 4, 8, 16, 32)
            }
            files["PSRFITS 8 bit AABB"] = list(
                write_psrfits(sky, Path(name) / f"{nchans}.fits", nbits=8, npol=2, threads=2)
            )
            for label, paths in files.items():
                obs = open_observation(*paths)
                size = sum(p.stat().st_size for p in paths)
                header = obs.header
                step = piece_samples(nchans * obs.dtype.itemsize)
                out = np.empty((nchans, step), obs.dtype)

                def read(obs=obs, step=step, out=out, n=header.nsamps) -> None:  # type: ignore[no-untyped-def]
                    for at in range(0, n - step, step):
                        obs.read_into(at, out)

                seconds = best(read)
                quiet = Progress("quiet")
                mask = find_mask(obs, Config(), threads=2, progress=quiet).mask
                cleaned = clean_source(obs, mask, Config(), threads=2, progress=quiet)
                # As dedispersion and folding read: long rows.
                gulp = min(32 * step, header.nsamps)
                part = np.empty((cleaned.nchans, gulp), np.int8)

                def pull(cleaned=cleaned, gulp=gulp, part=part, n=header.nsamps) -> None:  # type: ignore[no-untyped-def]
                    for at in range(0, n, gulp):
                        cleaned.read_into(at, part)

                both = best(pull)
                samples = header.nsamps * nchans
                print(
                    f"  {label:20s} read {size / seconds / 1e9:5.2f} GB/s, {samples / seconds / 1e9:5.2f} Gsamples/s;  "
                    f"read and cleaned {samples / both / 1e9:5.2f} Gsamples/s"
                )
                obs.close()
                for path in paths:
                    path.unlink()


if __name__ == "__main__":
    main()
