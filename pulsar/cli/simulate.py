"""``pulsar simulate``: a synthetic observation."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pulsar.cli.console import out
from pulsar.cli.options import Overwrite, Threads, Told, shared

Seed = Annotated[int | None, typer.Option("--seed", min=0, metavar="N", help="Seed of all random numbers.")]


@dataclass(frozen=True)
class OnePulsar:
    """The options that describe a pulsar; see `pulsar.cli.options.shared`."""

    period: Annotated[
        float | None,
        typer.Option("--period", metavar="S", help="Period of a pulsar, topocentric, at mid-observation [s]."),
    ] = None
    dm: Annotated[float | None, typer.Option("--dm", metavar="DM", help="Its dispersion measure [pc/cm3].")] = None
    snr: Annotated[float | None, typer.Option("--snr", metavar="X", help="Its ideal matched-filter S/N.")] = None
    duty: Annotated[float | None, typer.Option("--duty", metavar="X", help="Width of its pulse [turns].")] = None
    accel: Annotated[float | None, typer.Option("--accel", metavar="X", help="Its acceleration [m/s2].")] = None
    scattering: Annotated[
        float | None, typer.Option("--scattering", metavar="S", help="Its scattering time at 1 GHz [s].")
    ] = None

    def values(self) -> dict[str, Any] | None:
        """The pulsar that they describe, None without --period."""
        from pulsar.errors import ConfigError

        given = {key: value for key, value in asdict(self).items() if value is not None}
        if given and self.period is None:
            raise ConfigError(f"--{next(iter(given))} describes a pulsar: give its --period too")
        return given or None


@shared
def command(
    output: Annotated[Path, typer.Argument(metavar="OUT.fil|OUT.fits", help="File to write.", show_default=False)],
    sky: Annotated[
        Path | None,
        typer.Option("--sky", metavar="FILE.toml", help="Sky with pulsars, bursts and interference; flags change it."),
    ] = None,
    nchans: Annotated[int | None, typer.Option("--nchans", metavar="N", help="Channels.")] = None,
    fch1: Annotated[float | None, typer.Option("--fch1", metavar="MHZ", help="Centre of the highest channel.")] = None,
    foff: Annotated[float | None, typer.Option("--foff", metavar="MHZ", help="Width of a channel.")] = None,
    tobs: Annotated[float | None, typer.Option("--tobs", metavar="S", help="Length [s].")] = None,
    nsamps: Annotated[int | None, typer.Option("--nsamps", metavar="N", help="Length in samples.")] = None,
    tsamp: Annotated[float | None, typer.Option("--tsamp", metavar="S", help="Sampling time [s].")] = None,
    nbits: Annotated[int | None, typer.Option("--nbits", metavar="N", help="1, 2, 4, 8, 16 or 32 bits.")] = None,
    source: Annotated[str | None, typer.Option("--source", metavar="NAME", help="Name of the source.")] = None,
    beam: Annotated[int | None, typer.Option("--beam", metavar="N", help="Beam number.")] = None,
    bandpass: Annotated[
        Literal["flat", "rolloff", "ripple"] | None, typer.Option("--bandpass", help="Gain over the band.")
    ] = None,
    seed: Seed = None,
    *,
    one_pulsar: OnePulsar,
    pol: Annotated[
        Literal["AA+BB", "AABB", "AABBCRCI", "IQUV"], typer.Option("--pol", help="Polarisations in the file.")
    ] = "AA+BB",
    rows_per_file: Annotated[
        int | None, typer.Option("--rows-per-file", min=1, metavar="N", help="Split into files of N rows (PSRFITS).")
    ] = None,
    ascending: Annotated[
        bool | None,
        typer.Option(
            "--ascending/--descending", help="Order of the channels in the file.", show_default="as the format has it"
        ),
    ] = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    told: Told,
) -> None:
    """Write a synthetic observation, and what is in it as TOML beside it."""
    changes: dict[str, Any] = {
        "nchans": nchans,
        "fch1": fch1,
        "foff": foff,
        "tobs": tobs,
        "nsamps": nsamps,
        "tsamp": tsamp,
        "nbits": nbits,
        "source": source,
        "beam": beam,
        "bandpass": bandpass,
        "seed": seed,
    }
    pulsar = one_pulsar.values()
    settings = build_sky(sky, {k: v for k, v in changes.items() if v is not None}, pulsar)
    fits = is_psrfits(output, rows_per_file, pol)
    workers = thread_count(threads)
    if not output.exists():
        check_truth(output, sky, overwrite=overwrite)

    from pulsar.synthesis import truth_path, write_filterbank, write_psrfits

    progress = told.progress()
    with progress.stage("simulating", total=settings.header.nsamps, unit="samples") as tick:
        if fits:
            written = write_psrfits(
                settings,
                output,
                npol=_NPOL[pol],
                pol_type=pol,
                rows_per_file=rows_per_file,
                ascending=ascending is not False,
                threads=workers,
                overwrite=overwrite,
                progress=tick,
            )
        else:
            written = (
                write_filterbank(
                    settings,
                    output,
                    nifs=_NPOL[pol],
                    ascending=bool(ascending),
                    threads=workers,
                    overwrite=overwrite,
                    progress=tick,
                ),
            )
    for path in written:
        out(str(path))
    progress.message(f"what is in it: {truth_path(output)}")


_NPOL = {"AA+BB": 1, "AABB": 2, "AABBCRCI": 4, "IQUV": 4}


def is_psrfits(output: Path, rows_per_file: int | None, pol: str) -> bool:
    """Whether the name asks for PSRFITS; refuses what the format cannot hold."""
    from pulsar.errors import ConfigError

    suffix = output.suffix.lower()
    if suffix in (".fits", ".sf", ".fit"):
        return True
    if suffix != ".fil":
        raise ConfigError(f"{output}: the name decides the format: end it in .fil (SIGPROC) or .fits (PSRFITS)")
    if rows_per_file is not None:
        raise ConfigError("--rows-per-file splits PSRFITS files: end the name of the output in .fits")
    if pol == "AABBCRCI":
        raise ConfigError("--pol AABBCRCI exists in PSRFITS only: end the name of the output in .fits")
    return False


def thread_count(threads: int | None) -> int:
    """The threads asked for, or all cores that this process may use."""
    from pulsar.config import threads as default
    from pulsar.errors import ConfigError

    if threads is not None and threads < 0:
        raise ConfigError(f"--threads {threads}: expected an integer >= 0 (0: all cores)")
    return default.thread_count(threads)


def check_truth(output: Path, sky: Path | None, *, overwrite: bool) -> None:
    """Refuse to replace the truth of another file of the same stem, unless it is what the sky was read from."""
    from pulsar.errors import ConfigError
    from pulsar.synthesis import truth_path

    path = truth_path(output)
    if path.exists() and not overwrite and (sky is None or sky.resolve() != path.resolve()):
        raise ConfigError(
            f"{path} exists and tells what another file holds: give another name, or --overwrite to replace it"
        )


def build_sky(file: Path | None, changes: dict[str, Any], pulsar: dict[str, Any] | None) -> Any:
    """The sky of a TOML file (or the default one) with the changes of the flags."""
    from pulsar.synthesis.model import Sky, load_sky, validate

    # The two ways to give a length exclude each other: a flag replaces both of the file.
    length = {"tobs", "nsamps"} & changes.keys()
    if length:
        changes = {"tobs": None, "nsamps": None} | changes
    if file is not None:
        sky = load_sky(file, **changes)
        if pulsar is None:
            return sky
        changes = sky.model_dump()
        changes["pulsars"] = [*changes["pulsars"], pulsar]
    else:
        if not length:
            changes = changes | {"tobs": 60.0}
        if pulsar is not None:
            changes["pulsars"] = [pulsar]
    return validate(Sky, changes, "simulate")
