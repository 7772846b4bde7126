"""One beam of FAST in real time: file to ranked candidates, elapsed and processor seconds by stage, peak memory.

    python benchmarks/fast_beam.py --folder /data              # simulated (4.3 GB), kept there, used again
    python benchmarks/fast_beam.py --folder /data --pol AABB   # two PSRFITS files of two polarisations (8.7 GB)
    python benchmarks/fast_beam.py a.fits b.fits               # files of your own
    python benchmarks/fast_beam.py --set ffa.enabled=false     # without long periods

4096 channels, 1000-1500 MHz, 2^20 samples of 49.152 us (51.5 s), 8 bit; DM 0-1000 by the plan, 16 harmonics, sift,
50 folds. Compiled code is cached, and the files are read once, before anything is timed.
"""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from shared import FAST, Sets
from speed import run_pulsar, show_stages

from pulsar.synthesis import Pulsar, Sky, write_filterbank, write_psrfits

PULSARS = (
    Pulsar(period=0.00537, dm=71.0, snr=20, duty=0.08),
    Pulsar(period=0.0812, dm=452.0, snr=18, duty=0.04),
    Pulsar(period=0.512, dm=842.0, snr=20, duty=0.03),
)


def beam(folder: Path, pol: str, nsamps: int) -> list[Path]:
    """The files of the beam, simulated unless they are there."""
    sky = Sky(**{**FAST, "nsamps": nsamps}, seed=7, pulsars=PULSARS)
    if pol == "AA+BB":
        path = folder / f"beam-{nsamps}.fil"
        return [path if path.exists() else write_filterbank(sky, path, threads=2)]
    stem = f"beam-{nsamps}-{pol}"
    found = sorted(folder.glob(f"{stem}_*.fits"))
    return found or list(write_psrfits(sky, folder / f"{stem}.fits", npol=2, rows_per_file=512, threads=2))


def main(
    files: Annotated[list[Path] | None, typer.Argument(help="of your own")] = None,
    folder: Annotated[Path | None, typer.Option(help="where the simulated files are kept")] = None,
    pol: Annotated[str, typer.Option(help="AA+BB or AABB")] = "AA+BB",
    nsamps: int = FAST["nsamps"],
    tolerance: float = 0.1,
    threads: int = 2,
    memory: str = "8GiB",
    sets: Sets = None,
) -> None:
    """Search one beam of FAST, and tell what each stage took."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        paths = files or beam(folder or out, pol, nsamps)
        options = ["--set", f"dedisp.tolerance={tolerance}", "--set", "fft.nharm=16", "--ncands", "50"]
        options += [word for text in sets or [] for word in ("--set", text)]
        options += ["--memory", memory, "--threads", str(threads)]
        run_pulsar("search", *paths, "--dm", 0, 2, "--out", out / "warm.h5", *options)
        timing, peak = run_pulsar("search", *paths, "--dm", 0, 1000, "--out", out / "run.h5", *options)
        print(f"{timing.wall:.1f} s elapsed, {timing.cpu:.1f} CPU s, {threads} threads, {peak:.0f} MiB")
        show_stages(out / "run.h5")


if __name__ == "__main__":
    typer.run(main)
