"""One beam of FAST in real time: file to ranked candidates, elapsed and processor seconds by stage, peak memory.

    python benchmarks/fast_beam.py --folder /data           # simulated as beam.fil (4.3 GB), kept there, used again
    python benchmarks/fast_beam.py --folder /data --pol AABB   # two PSRFITS files of two polarisations (8.7 GB)
    python benchmarks/fast_beam.py --beam a.fits b.fits     # files of your own
    python benchmarks/fast_beam.py --set ffa.enabled=false  # without long periods

4096 channels, 1000-1500 MHz, 2^20 samples of 49.152 us (51.5 s), 8 bit; DM 0-1000 by the plan, 16 harmonics, sift,
50 folds. Compiled code is cached, and the files are read once, before anything is timed.
"""

import tempfile
import time
from pathlib import Path

from bench_pipeline import run
from options import numbers

from pulsar.io.product.reader import read
from pulsar.synthesis import Pulsar, Sky, write_filterbank, write_psrfits

PULSARS = (
    Pulsar(period=0.00537, dm=71.0, snr=20, duty=0.08),
    Pulsar(period=0.0812, dm=452.0, snr=18, duty=0.04),
    Pulsar(period=0.512, dm=842.0, snr=20, duty=0.03),
)


def beam(folder: Path, pol: str, nsamps: int) -> list[Path]:
    """The files of the beam, simulated unless they are there."""
    sky = Sky(
        nchans=4096,
        fch1=1499.93896484375,
        foff=-0.1220703125,
        tsamp=49.152e-6,
        nsamps=nsamps,
        seed=7,
        pulsars=PULSARS,
    )
    if pol == "AA+BB":
        path = folder / f"beam-{nsamps}.fil"
        return [path if path.exists() else write_filterbank(sky, path, threads=2)]
    stem = f"beam-{nsamps}-{pol}"
    found = sorted(folder.glob(f"{stem}_*.fits"))
    return found or list(write_psrfits(sky, folder / f"{stem}.fits", npol=2, rows_per_file=512, threads=2))


def main() -> None:
    parser = numbers(__doc__.splitlines()[0], nsamps=1 << 20, tolerance=0.1, threads=2)
    parser.add_argument("--folder", type=Path, help="where the simulated files are kept")
    parser.add_argument("--beam", nargs="*", type=Path, help="files of your own")
    parser.add_argument("--pol", default="AA+BB", choices=["AA+BB", "AABB"])
    parser.add_argument("--memory", default="8GiB")
    parser.add_argument("--set", dest="sets", action="append", default=[], help="setting of the search")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        folder = args.folder or out
        files = [str(path) for path in (args.beam or beam(folder, args.pol, args.nsamps))]
        options = ["--set", f"dedisp.tolerance={args.tolerance}", "--set", "fft.nharm=16", "--ncands", "50"]
        options += [word for text in args.sets for word in ("--set", text)]
        options += ["--memory", args.memory, "--threads", str(args.threads)]
        run(["search", *files, "--dm", "0", "2", "--out", str(out / "warm.h5"), *options])
        start = time.monotonic()
        cpu, peak = run(["search", *files, "--dm", "0", "1000", "--out", str(out / "run.h5"), *options])
        wall = time.monotonic() - start
        product = read(out / "run.h5")
        tobs = product.observation.tobs
        print(f"{tobs:.1f} s of data: {wall:.1f} s elapsed, {cpu:.1f} CPU s, {args.threads} threads, {peak:.0f} MiB")
        for stage, (stage_wall, stage_cpu) in product.provenance["stages"].items():
            print(f"  {stage:14s} {stage_wall:6.2f} s elapsed  {stage_cpu:6.2f} CPU s")
        rows = product.rows("candidates")
        for row in rows[rows["harmonic_of"] == ""][:5]:
            print(f"  P {row['period']:.9f} s, DM {row['dm']:.2f}, S/N {row['snr']:.1f}, score {row['score']:.2f}")


if __name__ == "__main__":
    main()
