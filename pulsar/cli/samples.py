"""Samples, without a search but for the demo: ``pulsar rfi``, ``dedisperse``, ``convert``, ``waterfall``; those made by
``simulate``, ``inject`` and ``demo``.
"""

import io
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from pulsar.api.results import plot
from pulsar.cli.console import check_new, check_not_input, note, out, output_folder, print_json, write_file
from pulsar.cli.options import (
    Files,
    Json,
    Overwrite,
    Threads,
    argument,
    declination,
    inputs,
    named,
    option,
    options,
    right_ascension,
)
from pulsar.cli.tables import Columns, print_candidates, print_table
from pulsar.config.load import load_config
from pulsar.config.model import Config
from pulsar.config.resources import thread_count
from pulsar.data.text import counted
from pulsar.errors import ConfigError, PulsarError
from pulsar.io.open import open_observation
from pulsar.io.product.writer import Target
from pulsar.io.series import series_paths
from pulsar.pipeline.progress import Progress

if TYPE_CHECKING:
    from pulsar.followup.masks import RfiReport


#: Lines of a table, at most.
_LISTED = 10


@options("no_rfi", "position", "cleaning")
def dedisperse(
    files: Files,
    dms: Annotated[list[float], named("--dm", "DM [pc/cm3]; may be repeated.", "DM")],
    output: Annotated[
        Path,
        named(
            "--out -o",
            "Series to write: PRESTO's with .inf, SIGPROC's or numpy's; of several DMs X_DM<DM>.",
            "X.dat|X.tim|X.npy",
        ),
    ],
    downsample: Annotated[int, option("Sum so many samples: a power of two.", "N", min=1)] = 1,
    bary: Annotated[bool, named("--bary", "At even times at the barycentre.")] = False,
    *,
    settings: Config,
    overwrite: Overwrite = False,
    progress: Progress,
) -> None:
    """Write the series of an observation at one DM or several: cleaned, of noise 1, at the highest channel."""
    from pulsar.followup.series import dedisperse_files, series_names

    for name in series_names(output, sorted(set(dms))):
        for path in series_paths(name):
            check_not_input(path, inputs(files, settings))
    how: dict[str, Any] = {"downsample": downsample, "barycentre": bary, "overwrite": overwrite}
    for path in dedisperse_files(files, dms, settings, output, progress=progress, **how):
        out(str(path))


@options("position")
def convert(
    files: Files,
    output: Annotated[
        Path, named("--out -o", "File to write: SIGPROC filterbank, PSRFITS search mode or FBH5.", "X.fil|X.sf|X.h5")
    ],
    freqs: Annotated[
        tuple[float, float] | None, option("Channels with centres from LOW to HIGH [MHz].", "LOW HIGH")
    ] = None,
    time: Annotated[tuple[float, float] | None, option("From START to END [s] from the start.", "START END")] = None,
    nbits: Annotated[
        Literal["1", "2", "4", "8", "16", "32"] | None,
        option("Bits a sample; fewer than the samples have: scaled.", default="those of the samples"),
    ] = None,
    tscrunch: Annotated[int, option("Average so many samples.", "N", min=1)] = 1,
    fscrunch: Annotated[int, option("Average so many channels.", "N", min=1)] = 1,
    *,
    settings: Config,
    overwrite: Overwrite = False,
    progress: Progress,
) -> None:
    """Write an observation, or a part of it, in another format or depth: as it is, not cleaned."""
    check_new(output, inputs=inputs(files, settings), overwrite=overwrite)

    from pulsar.followup.convert import Extract, convert_files

    depth = None if nbits is None else int(nbits)
    extract = Extract(freqs, time, tscrunch, fscrunch)
    text = convert_files(files, output, settings.input, extract, nbits=depth, overwrite=overwrite, progress=progress)
    progress.message(f"{output}: {text}")
    out(str(output))


@options("no_rfi", "cleaning")
def waterfall(
    files: Files,
    time: Annotated[float, option("Middle, from the start, at the highest channel.", "S")],
    dm: Annotated[float, option("DM [pc/cm3]; 0: the sweep as it came.", "DM")] = 0.0,
    length: Annotated[float, option("Length of the stretch [s].", "S")] = 0.5,
    nbands: Annotated[int, option("Bands.", "N", min=1)] = 64,
    output: Annotated[
        Path | None,
        named(
            "--out -o",
            "Picture, or array of bands (highest first) by 256 columns, noise of 1.",
            "PNG|NPY",
            default="<FILE>_<S>s.png",
        ),
    ] = None,
    *,
    settings: Config,
    overwrite: Overwrite = False,
    progress: Progress,
) -> None:
    """Draw a stretch of an observation: its spectrum, the series of it, and how that fades away from the DM."""
    path = output if output is not None else Path(f"{files[0].stem}_{time:g}s.png")
    if path.suffix.lower() not in (".png", ".npy"):
        raise ConfigError(f"--out {path}: expected a name that ends in .png or .npy")
    check_new(path, inputs=inputs(files, settings), overwrite=overwrite)

    from pulsar.followup.series import waterfall as cut_out

    cutout, header = cut_out(files, time, dm, settings, length=length, nbands=nbands, progress=progress)
    if path.suffix.lower() == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, cutout.spectrum)
        write_file(path, buffer.getvalue(), overwrite=overwrite)
        bands, columns = cutout.spectrum.shape
        progress.message(
            f"{path}: {bands} bands from {cutout.freqs[0]:.6g} to {cutout.freqs[-1]:.6g} MHz, "
            f"{columns} columns of {cutout.tsamp:.6g} s from {cutout.start:.9g} s"
        )
    else:
        plot(cutout, header=header, title=f"{files[0].name}: {time:g} s", path=path)
    out(str(path))


@options("cleaning")
def rfi(
    files: Files,
    output: Annotated[Path | None, named("--out -o", "Mask file to write.", "MASK.h5")] = None,
    picture: Annotated[Path | None, named("--plot", "Draw mask, statistics and spectrum.", "PNG")] = None,
    as_json: Json = False,
    *,
    settings: Config,
    overwrite: Overwrite = False,
    progress: Progress,
) -> None:
    """Make the mask of an observation, say what is lost and why, and save it for ``--mask`` of other commands."""
    if picture is not None and picture.suffix.lower() != ".png":
        raise ConfigError(f"--plot {picture}: the picture is a PNG: end its name in .png")
    check_new(output, picture, inputs=inputs(files, settings), overwrite=overwrite)

    from pulsar.followup.masks import make_rfi

    target = None if output is None else Target(output, overwrite, sys.argv)
    report = make_rfi(files, settings, target, progress)
    if picture is not None:
        with progress.stage("plot"):
            report.plot(picture)
    if as_json:
        print_json(report.summary())
    else:
        _print_losses(report)
    if output is not None:
        names = " ".join(str(file) for file in files) if len(files) <= 3 else f"{files[0]} ..."
        progress.message(f"{output}: for later runs on this observation: pulsar search {names} --mask {output}")


def _print_losses(report: "RfiReport") -> None:
    """The losses, by reason, frequency and time, and the birdies."""
    losses = report.summary()
    out(
        f"{100 * losses['fraction_lost']:.2f} % of the data are left out; {losses['channels_masked']} of "
        f"{losses['nchans']} channels, {counted(losses['nblocks'], 'blocks')} of time"
    )
    if losses["reasons"]:
        out()
        print_table(REASONS, losses["reasons"], left=("reason", "how many"))
    for title, columns, rows in (
        ("Frequencies that lose most", FREQUENCIES, losses["frequencies"]),
        ("Times that lose most (of the channels that are left)", TIMES, losses["times"]),
    ):
        if rows:
            out()
            _print_costliest(title, columns, rows, _LISTED, "lo")
    out()
    if report.zero_dm is None:
        out("Periodic interference: too few samples to look for it")
    elif not report.birdies and report.zero_dm.ndms < 2:
        out("Periodic interference: not looked for (rfi.learn is off, or there is only one DM)")
    elif not report.birdies:
        out("Periodic interference: none found at DM 0")
    else:
        lines = f"{counted(len(report.birdies), 'lines')}, {_percent(report.spectrum_lost)} of the spectrum"
        widest = sorted(losses["birdies"], key=lambda birdie: -birdie["width"])
        _print_costliest(f"Periodic interference: {lines}", BIRDIES, widest, 2 * _LISTED, "freq")


def _print_costliest(title: str, columns: Columns, rows: list[dict[str, Any]], most: int, order: str) -> None:
    """The first rows, in the order of frequency or time."""
    print_table(columns, sorted(rows[:most], key=lambda row: row[order]), title=title, left=("reason", "reasons"))
    if len(rows) > most:
        out(f"... and {len(rows) - most} more (--json lists all)")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2g} %" if fraction < 0.1 else f"{100 * fraction:.1f} %"


REASONS: Columns = {
    "reason": "{0[reason]}",
    "how many": lambda r: counted(r["count"], r["unit"]),
    "of the data": lambda r: _percent(r["fraction"]),
}
SHARE: Columns = {"lost": lambda s: _percent(s["lost"]), "of the data": lambda s: _percent(s["share"])}
FREQUENCIES: Columns = {
    "MHz": "{0[lo]:.7g} - {0[hi]:.7g}",
    "channels": "{0[channels]}",
    **SHARE,
    "reasons": lambda s: ", ".join(s["reasons"]),
}
TIMES: Columns = {"s from the start": "{0[lo]:.6g} - {0[hi]:.6g}", "blocks": "{0[blocks]}", **SHARE}
BIRDIES: Columns = {"Hz": "{0[freq]:.6f}", "width [Hz]": "{0[width]:.3g}", "reason": "{0[reason]}"}


Seed = Annotated[int | None, option("Seed of all random numbers.", "N", min=0)]


@dataclass(frozen=True)
class ObservationOptions:
    """The options that describe an observation: fields of a sky."""

    nchans: Annotated[int | None, option("Channels.", "N")] = None
    fch1: Annotated[float | None, option("Centre of the highest channel.", "MHZ")] = None
    foff: Annotated[float | None, option("Width of a channel.", "MHZ")] = None
    tobs: Annotated[float | None, option("Length [s].", "S")] = None
    nsamps: Annotated[int | None, option("Length in samples.", "N")] = None
    tsamp: Annotated[float | None, option("Sampling time [s].", "S")] = None
    nbits: Annotated[int | None, option("1, 2, 4, 8, 16 or 32 bits.", "N")] = None
    source: Annotated[str | None, option("Name of the source.", "NAME")] = None
    beam: Annotated[int | None, option("Beam number.", "N")] = None
    ra_deg: Annotated[float | None, named("--ra", "Right ascension.", "HH:MM:SS|DEG", parser=right_ascension)] = None
    dec_deg: Annotated[float | None, named("--dec", "Declination.", "DD:MM:SS|DEG", parser=declination)] = None
    tstart: Annotated[float | None, option("Time of the first sample (UTC).", "MJD")] = None
    bandpass: Annotated[Literal["flat", "rolloff", "ripple"] | None, option("Gain over the band.")] = None
    seed: Seed = None


@dataclass(frozen=True)
class PulsarOptions:
    """The options that describe a pulsar."""

    period: Annotated[float | None, option("Period of a pulsar, topocentric, at mid-observation [s].", "S")] = None
    dm: Annotated[float | None, option("Its dispersion measure [pc/cm3].", "DM")] = None
    snr: Annotated[float | None, option("Its ideal matched-filter S/N.", "X")] = None
    duty: Annotated[float | None, option("Width of its pulse [turns].", "X")] = None
    profile: Annotated[Path | None, option("Its profile, of `pulsar export --csv`, in place of --duty.", "X.csv")] = (
        None
    )
    accel: Annotated[float | None, option("Its acceleration [m/s2].", "X")] = None
    scattering: Annotated[float | None, option("Its scattering time at 1 GHz [s].", "S")] = None

    def values(self) -> dict[str, Any] | None:
        """The pulsar that they describe, None without --period."""
        fields = _those_given(self)
        if fields and self.period is None:
            raise ConfigError(f"--{next(iter(fields))} describes a pulsar: give its --period too")
        if self.profile is not None:
            if self.duty is not None:
                raise ConfigError("--profile and --duty both say how wide the pulse is: give one of them")
            from pulsar.handover.timing import read_profile
            from pulsar.synthesis.model import components_of

            fields["components"] = components_of(read_profile(fields.pop("profile")))
        return fields or None


def _those_given(group: ObservationOptions | PulsarOptions) -> dict[str, Any]:
    return {key: value for key, value in asdict(group).items() if value is not None}


@options()
def simulate(
    output: Annotated[Path, argument("OUT.fil|OUT.fits", "File to write.")],
    sky: Annotated[
        Path | None, option("Sky with pulsars, bursts and interference; flags change it.", "FILE.toml")
    ] = None,
    *,
    shape: ObservationOptions,
    one_pulsar: PulsarOptions,
    pol: Annotated[Literal["AA+BB", "AABB", "AABBCRCI", "IQUV"], option("Polarisations in the file.")] = "AA+BB",
    rows_per_file: Annotated[int | None, option("Split into files of N rows (PSRFITS).", "N", min=1)] = None,
    ascending: Annotated[
        bool | None,
        named("--ascending/--descending", "Order of the channels in the file.", default="as the format has it"),
    ] = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    progress: Progress,
) -> None:
    """Write a synthetic observation, and what is in it as TOML beside it."""
    content = build_sky(sky, _those_given(shape), one_pulsar.values())
    fits = is_psrfits(output, rows_per_file, pol)
    common: dict[str, Any] = {"threads": thread_count(threads), "overwrite": overwrite}
    check_truth(output, sky, overwrite=overwrite)

    from pulsar.synthesis.write import NPOL, truth_path, write_filterbank, write_psrfits

    written: Sequence[Path]
    with progress.stage("simulating", total=content.header.nsamps, unit="samples") as tick:
        common["progress"] = tick
        if fits:
            form: dict[str, Any] = {"npol": NPOL[pol], "pol_type": pol, "rows_per_file": rows_per_file}
            written = write_psrfits(content, output, **form, ascending=ascending is not False, **common)
        else:
            written = [write_filterbank(content, output, nifs=NPOL[pol], ascending=bool(ascending), **common)]
    for path in written:
        out(str(path))
    progress.message(f"what is in it: {truth_path(output)}")


def is_psrfits(output: Path, rows_per_file: int | None, pol: str) -> bool:
    """True if the name asks for PSRFITS; refuses what the format cannot hold."""
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


def check_truth(output: Path, sky: Path | None, *, overwrite: bool) -> None:
    """Refuse to replace the truth of another file of the same stem, unless it is what the sky was read from."""
    from pulsar.synthesis.write import truth_path

    path = truth_path(output)
    # An output that exists is refused itself.
    if path.exists() and not output.exists() and not overwrite and (sky is None or sky.resolve() != path.resolve()):
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


@options()
def inject(
    files: Files,
    output: Annotated[Path, named("--out -o", "SIGPROC file to write.", "OUT.fil")],
    sky: Annotated[Path | None, option("List of [[pulsars]], [[bursts]] and [[rfi]].", "FILE.toml")] = None,
    *,
    one_pulsar: PulsarOptions,
    seed: Seed = None,
    nbits: Annotated[int | None, option("Depth of the output.", "N", default="as the input")] = None,
    settings: Config,
    threads: Threads = None,
    overwrite: Overwrite = False,
    progress: Progress,
) -> None:
    """Add pulsars, bursts and interference to an observation: a new file, with what was added as TOML beside it."""
    if output.suffix.lower() != ".fil":
        raise ConfigError(f"{output}: inject writes SIGPROC files: end the name in .fil")
    pulsar = one_pulsar.values()

    from pulsar.synthesis.injection import inject as inject_into
    from pulsar.synthesis.model import Injection, load_injection, validate
    from pulsar.synthesis.write import truth_path

    content: dict[str, Any] = {} if sky is None else load_injection(sky).model_dump()
    if pulsar is not None:
        content["pulsars"] = [*content.get("pulsars", ()), pulsar]
    if seed is not None:
        content["seed"] = seed
    injection = validate(Injection, content, "inject")
    workers = thread_count(threads)
    check_truth(output, sky, overwrite=overwrite)
    with (
        open_observation(*files, config=settings.input) as obs,
        progress.stage("injecting", total=obs.header.nsamps, unit="samples") as tick,
    ):
        inject_into(obs, output, injection, nbits=nbits, threads=workers, overwrite=overwrite, progress=tick)
    out(str(output))
    progress.message(f"what was added: {truth_path(output)}")


@options()
def demo(
    output: Annotated[Path, named("--out -o", "Folder to write.", "DIR")] = Path("pulsar-demo"),
    seed: Annotated[int, option("Seed of the simulation.", "N", min=0)] = 1,
    threads: Threads = None,
    overwrite: Overwrite = False,
    *,
    progress: Progress,
) -> None:
    """Simulate a small FAST-like observation with five pulsars and interference, search it, and write the report."""
    data, product = output / "demo.fil", output / "RUN.h5"
    # The demo may be run again and again: only what it wrote itself is replaced.
    again = data.with_name("demo.truth.toml").exists()
    if product.exists() and not (overwrite or again):
        raise ConfigError(f"{product}: exists already and is not of an earlier demo; give another --out")
    output_folder(output)

    from pulsar.pipeline.compiling import Ahead, parts_of

    workers = thread_count(threads)
    settings = load_config(run={"threads": threads})
    # The kernels of the search are compiled while the observation is simulated.
    with Ahead(parts_of(settings), workers) as compiled:
        from pulsar.report.page import tasks_of, write_report
        from pulsar.run import search
        from pulsar.synthesis.model import demo_sky
        from pulsar.synthesis.write import truth, write_filterbank

        sky = demo_sky(seed)
        with progress.stage("simulating", total=sky.header.nsamps, unit="samples") as tick:
            write_filterbank(sky, data, threads=workers, overwrite=True, progress=tick)
        run = search([data], settings, product, overwrite=True, argv=sys.argv, progress=progress, compiled=compiled)
    injected = [entry for entry in truth(sky) if entry["kind"] == "pulsar"]
    rows = run.rows("candidates")
    best = match(rows, injected)
    with progress.stage("report", total=len(tasks_of([run], None)), unit="sheets") as tick:
        page = write_report([run], output / "report", tick=tick)

    print_candidates(rows[rows["harmonic_of"] == ""], top=15, marked={str(rows["id"][i]) for i in best.values()})
    out()
    note(f"data {data}, product {product}, report {page}")
    problems = verdict(rows, injected, best)
    if problems:
        raise PulsarError("the demo did not come out as it should:\n" + "\n".join(f"  {p}" for p in problems))
    out(f"All {len(injected)} simulated pulsars stand above everything else.")


def match(rows: Any, injected: list[dict[str, Any]]) -> dict[str, int]:
    """Name of each simulated pulsar that was found -> row of its best candidate.

    The period must agree within 1e-3, or five of its errors, as the fundamental; the DM within 5 or five errors.
    """
    best: dict[str, int] = {}
    for pulsar in injected:
        for i, row in enumerate(rows):
            # An error that is NaN, unknown, widens nothing: max() takes the first.
            period_close = abs(row["period"] - pulsar["period"]) < max(1e-3 * pulsar["period"], 5 * row["period_err"])
            dm_close = abs(row["dm"] - pulsar["dm"]) < max(5.0, 5 * row["dm_err"])
            if period_close and dm_close and i not in best.values():
                best[str(pulsar["name"])] = i
                break
    return best


def verdict(rows: Any, injected: list[dict[str, Any]], best: dict[str, int]) -> list[str]:
    """Faults of the ranking, in words; empty when every pulsar stands above everything else."""
    problems = []
    for pulsar in injected:
        name = str(pulsar["name"])
        words = f"{name} (period {1e3 * pulsar['period']:.6g} ms, DM {pulsar['dm']:g})"
        if name not in best:
            problems.append(f"{words} was not found")
        elif best[name] >= len(best):
            above = [str(rows["id"][i]) for i in range(best[name]) if i not in best.values()]
            problems.append(f"{words} has rank {rows['rank'][best[name]]}, below {', '.join(above)}")
    return problems
