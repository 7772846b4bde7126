"""``pulsar fold``: fold given periods, without a search; import folds of other programs."""

import sys
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from pulsar.api.results import plot
from pulsar.cli.console import check_new, check_not_input, check_picture, note, write_file
from pulsar.cli.options import (
    Display,
    Files,
    Given,
    Overwrite,
    inputs,
    option,
    options,
    period_seconds,
    product_file,
    span,
)
from pulsar.cli.tables import print_candidates, print_imported, print_subtracted
from pulsar.config.load import to_toml
from pulsar.config.model import Config
from pulsar.data.candidate import values_of
from pulsar.data.fold import Fold
from pulsar.data.header import Header
from pulsar.errors import ConfigError, DataError
from pulsar.io.lists import is_list
from pulsar.io.open import open_observation
from pulsar.io.product.reader import Run, read
from pulsar.io.product.writer import Target
from pulsar.pipeline.ephemerides import Ephemeris, FromPar, ephemerides_of, ephemerides_of_list, rows_of
from pulsar.pipeline.progress import Progress
from pulsar.sky.timing import read_par


@dataclass(frozen=True)
class Wanted:
    """The periods, or ephemerides, that are folded: options of ``pulsar fold``."""

    period: Annotated[
        float | None,
        option(
            "--period",
            "Period, in the frame of the data: 0.1637 (seconds), 0.1637s, 163.7ms or 163700us.",
            "P",
            parser=period_seconds,
        ),
    ] = None
    dm: Annotated[float | None, option("--dm", "DM [pc/cm3].", "DM")] = None
    accel: Annotated[float, option("--accel", "Acceleration [m/s2], positive when receding ever faster.", "A")] = 0.0
    epoch: Annotated[
        float | None, option("--epoch", "Epoch of the period (UTC).", "MJD", default="mid-observation")
    ] = None
    par: Annotated[list[Path] | None, option("--par", "Ephemeris of a pulsar; may be repeated.", "X.par")] = None
    candidates: Annotated[
        Path | None,
        option(
            "--candidates",
            "Fold the sources of this run, of a merged one those of the files; or a list: csv, ECSV, of PRESTO ...",
            "RUN.h5|LIST",
        ),
    ] = None
    everything: Annotated[
        bool, option("--all", "Of --candidates every row, also those that belong to another: harmonics ...")
    ] = False
    idents: Annotated[list[str] | None, option("--id", "Only this one; may be repeated.", "ID", default="all")] = None

    def inputs(self) -> list[Path]:
        """Files that it is read from."""
        return [*(self.par or ()), *([] if self.candidates is None else [self.candidates])]

    def ephemerides(self, files: Sequence[Path] = (), config: Config | None = None) -> "list[Ephemeris | FromPar]":
        """The ephemerides with which these files are to be folded."""
        if (self.period is not None) + (self.candidates is not None) + bool(self.par) != 1:
            raise ConfigError("give what to fold: either --period with --dm, or --par X.par, or --candidates RUN.h5")
        if self.idents and self.candidates is None:
            way = "--par" if self.par else "--period"
            raise ConfigError(f"--id chooses from --candidates RUN.h5: it does not go with {way}")
        if self.everything and (self.candidates is None or self.idents):
            raise ConfigError("--all goes with --candidates RUN.h5 and without --id")
        if self.everything and self.candidates is not None and is_list(self.candidates):
            raise ConfigError(f"--all is of rows of a product that belong to others: {self.candidates} is a list")
        if self.period is not None:
            if self.dm is None:
                raise ConfigError("--period needs --dm (any for a dedispersed series, which has its own)")
            if not self.dm >= 0:
                raise ConfigError(f"--dm {self.dm:g}: expected a number >= 0")
            return [Ephemeris(self.period, self.dm, self.accel, self.epoch)]
        if self.dm is not None or self.accel or self.epoch is not None:
            raise ConfigError("--dm, --accel and --epoch go with --period; candidates and ephemerides have their own")
        if self.candidates is not None and is_list(self.candidates):
            return [*ephemerides_of_list(self.candidates, self.idents or [])]
        if self.candidates is not None:
            return from_product(self.candidates, self.idents or [], files, config, everything=self.everything)

        return [FromPar(read_par(path)) for path in self.par or ()]


@dataclass(frozen=True)
class Cleaned:
    """What is left out of a fold that is there: options of ``pulsar fold``."""

    zap_time: Annotated[
        list[str] | None,
        option("--zap-time", "Of FILE, a FOLD.h5, leave out these times [s from the start]; repeatable.", "LO:HI"),
    ] = None
    zap_freq: Annotated[
        list[str] | None, option("--zap-freq", "Likewise these frequencies [MHz]; may be repeated.", "LO:HI")
    ] = None


@options("subtract", "nbins", "nsub", "cleaning")
def command(
    files: Files,
    output: Annotated[Path | None, product_file("FOLD.h5", "none with --import")] = None,
    *,
    wanted: Wanted,
    refine: Annotated[
        bool, option("--refine/--no-refine", "Look for the best period, derivative and DM around those given.")
    ] = True,
    toas: Annotated[Path | None, option("--toas", "Write times of arrival of the one pulsar folded.", "X.tim")] = None,
    ntoas: Annotated[int, option("--ntoas", "So many times of arrival.", "N", min=1)] = 8,
    template: Annotated[
        Path | None,
        option("--template", "Profile to match, of `pulsar export --csv`.", "X.csv", default="the profile of the fold"),
    ] = None,
    wideband: Annotated[bool, option("--wideband", "Of --toas: one time, with the DM as flags for PINT.")] = False,
    imported: Annotated[
        bool, option("--import", "The files are folds: PRESTO's .pfd, or .phcx; measure and judge them as ours.")
    ] = False,
    cleaned: Cleaned,
    picture: Annotated[Path | None, option("--plot", "Plot sheet of the one fold (PNG, PDF or SVG).", "X.png")] = None,
    given: Given,
    overwrite: Overwrite = False,
    display: Display,
) -> None:
    """Fold an observation with a period and DM, by an ephemeris, or with the candidates of a run; and refine them."""
    if picture is not None:
        check_picture(picture, overwrite=overwrite)
        check_not_input(picture, [*files, *([] if output is None else [output])])

    of_samples = (
        asdict(wanted) | dict(given.options) | {"toas": toas, "template": template, "wideband": wideband or None}
    )
    if imported:
        _check_folds("--import takes folds as they are", of_samples | asdict(cleaned))
        target = None if output is None else Target(output, overwrite, sys.argv)
        _import(list(dict.fromkeys(files)), given.config(), target, refine, picture, display.progress())
        return
    if output is None:
        raise typer.BadParameter("give the product to write: --out FOLD.h5", param_hint="--out")
    settings = given.config()
    if cleaned.zap_time or cleaned.zap_freq:
        more = {"idents": None, "no-refine": None if refine else True}
        _check_folds("--zap-time and --zap-freq clean a fold that is there", of_samples | more)
        _clean(files, wanted.idents or (), cleaned, settings, Target(output, overwrite, sys.argv), picture)
        return
    if wideband and not refine:
        raise ConfigError("--wideband tells the DM that is measured: it does not go with --no-refine")
    sources = wanted.ephemerides(files, settings)
    from pulsar.handover.timing import LEAST_SNR, read_template, tim_text, toas_of, wideband_of

    check_new(output, [*inputs(files, settings), *wanted.inputs()], overwrite=overwrite)
    if picture is not None and len(sources) != 1:
        raise ConfigError(f"--plot {picture}: draws one fold, {len(sources)} are asked for: pulsar report {output}")
    if toas is not None:
        if len(sources) != 1:
            raise ConfigError(f"--toas {toas}: times of arrival are of one pulsar, {len(sources)} are to be folded")
        check_new(toas, [*files, *wanted.inputs(), output], overwrite=overwrite)
        if wideband:
            with open_observation(*files, config=settings.input) as obs:
                if min(obs.header.nchans, settings.fold.nbands) < 2:
                    raise ConfigError(f"{files[0]}: --wideband tells a DM, which one band does not measure")
    elif template is not None or wideband:
        raise ConfigError(f"{'--wideband' if template is None else f'--template {template}'}: goes with --toas X.tim")
    shape = None if template is None else read_template(template)
    from pulsar.followup.folding import fold_files

    progress = display.progress()
    run = fold_files(files, sources, settings, Target(output, overwrite, sys.argv), fit=refine, progress=progress)
    print_candidates(run.rows("candidates"))
    print_subtracted(run.rows("subtracted/pulsars"))
    ident = run.ids[0] if run.ids else ""
    if toas is not None:
        ntoas = 1 if wideband else ntoas
        times = toas_of(run.fold(ident), run.observation, ntoas, shape)
        if wideband:
            times = [wideband_of(toa, run.fold(ident), run.observation) for toa in times]
        if not times:
            raise DataError(f"{toas}: no pulse is strong enough (S/N {LEAST_SNR:g}) for a time of arrival")
        name = str(run.candidate(ident)["known_source"]) or ident
        write_file(toas, tim_text(times, run.observation, name), overwrite=overwrite)
        if len(times) < ntoas:
            progress.message(
                f"{toas}: {len(times)} of {ntoas} times of arrival: the others are below S/N {LEAST_SNR:g}"
            )
    if picture is not None:
        _draw(picture, run.fold(ident), run.candidate(ident), run.observation)
    progress.message(f"{output}: {len(run)} folds; plots: pulsar report {output}")


def _check_folds(way: str, of_samples: dict[str, Any]) -> None:
    """Refuse options, by their names, that make sense for samples only."""
    usual = asdict(Wanted())
    wrong = [
        "id" if name == "idents" else name.replace("_", "-")
        for name, value in of_samples.items()
        if value != usual.get(name) and name not in ("threads", "memory")
    ]
    if wrong:
        raise ConfigError(f"{way}: {', '.join(f'--{name}' for name in wrong)} are of folding samples")


def _clean(
    files: list[Path], idents: Sequence[str], cleaned: Cleaned, settings: Config, target: Target, picture: Path | None
) -> None:
    """Measure the fold of a product without what is left out of it."""
    from pulsar.followup.folding import zap_fold

    if len(files) != 1 or is_list(files[0]):
        raise ConfigError("--zap-time and --zap-freq clean a fold of one product: pulsar fold FOLD.h5 --zap-time LO:HI")
    check_new(target.path, files, overwrite=target.overwrite)
    times = [span(text, "--zap-time", "times in s from the start", "10:20") for text in cleaned.zap_time or ()]
    freqs = [span(text, "--zap-freq", "frequencies in MHz", "1160:1280") for text in cleaned.zap_freq or ()]
    run = zap_fold(files[0], idents, times, freqs, settings, target, told=note)
    print_candidates(run.rows("candidates"))
    if picture is not None:
        _draw(picture, run.fold(run.ids[0]), run.candidate(run.ids[0]), run.observation)


def _import(
    files: list[Path],
    settings: Config,
    target: "Target | None",
    refine: bool,
    picture: Path | None,
    progress: "Progress",
) -> None:
    """Show what is in folds of other programs, and keep them in a product if one is asked for."""
    from pulsar.followup.imports import import_files

    if picture is not None and len(files) > 1:
        raise ConfigError(
            f"--plot {picture}: draws one fold, {len(files)} are given: --out X.h5, then pulsar report X.h5"
        )
    if target is not None:
        check_new(target.path, files, overwrite=target.overwrite)
    folds, table = import_files(files, settings, target, fit=refine, progress=progress)
    print_imported(table, folds)
    if picture is not None:
        _draw(picture, folds[0].fold, values_of(table[0]), folds[0].header)
    if target is not None:
        progress.message(f"{target.path}: {len(folds)} folds; plots: pulsar report {target.path}")


def _draw(picture: Path, fold: "Fold", row: dict[str, Any], header: "Header") -> None:
    plot(fold, row, header, path=picture)
    note(f"{picture}: plot sheet")


def _tell_differences(run: "Run", config: Config) -> None:
    """Say which settings that a fold depends on are not those of the search."""
    searched, own = (tomllib.loads(text) for text in (run.provenance.get("config", ""), to_toml(config)))
    names = [
        f"{section}.{key}"
        for section in ("rfi", "fold", "subtract")
        for key in sorted(searched.get(section, {}).keys() | own[section].keys())
        if key != "ncands" and searched.get(section, {}).get(key) != own[section].get(key)
    ]
    if names and searched:
        differ = ", ".join(names)
        note(
            f"{run.path}: was searched with other settings ({differ}): S/N may differ; give the same --config or --set"
        )


def from_product(
    path: Path, idents: Sequence[str], files: Sequence[Path], config: Config | None, *, everything: bool = False
) -> "list[Ephemeris | FromPar]":
    """Candidates of a product: those that are named, else its sources, or every row; of a merged one of the files."""
    run = read(path)
    rows = run.rows("candidates")
    if not len(rows):
        raise ConfigError(f"{path}: holds no candidates to fold")
    if config is not None and not run.is_merged:
        _tell_differences(run, config)
    if idents:
        return [*ephemerides_of(run, [run.candidate(ident) for ident in dict.fromkeys(idents)])]
    if not everything:
        rows = rows[rows["harmonic_of"] == ""]
        if not len(rows):
            raise ConfigError(f"{path}: all of its candidates belong to others that it does not hold: give --all")
    if not run.is_merged:
        return [*ephemerides_of(run, list(rows))]

    with open_observation(*files, config=(config or Config()).input) as obs:
        own = rows_of(run, obs.header)
        own = own if everything else [row for row in own if not row["harmonic_of"]]
    if len(own) < len(rows):
        note(f"{path}: {len(rows) - len(own)} of {len(rows)} candidates are of other observations and are left out")
    return [*ephemerides_of(run, own)]
