"""``pulsar fold``: fold given periods, without a search; import folds of other programs."""

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pulsar.cli.console import check_not_input, check_picture, note, write_text
from pulsar.cli.options import Common, Files, Subtract, named_files, period_seconds, product_file, shared
from pulsar.cli.tables import print_candidates, print_imported, print_subtracted

if TYPE_CHECKING:
    from pulsar.config.model import Config
    from pulsar.data.fold import Fold
    from pulsar.data.header import Header
    from pulsar.pipeline.ephemerides import Ephemeris, FromPar


@shared
def command(
    files: Files,
    output: Annotated[Path | None, product_file("FOLD.h5", "none with --import")] = None,
    period: Annotated[
        float | None,
        typer.Option(
            "--period",
            metavar="P",
            parser=period_seconds,
            help="Topocentric period: 0.1637 (seconds), 0.1637s, 163.7ms or 163700us.",
            show_default=False,
        ),
    ] = None,
    dm: Annotated[float | None, typer.Option("--dm", metavar="DM", help="DM [pc/cm3].", show_default=False)] = None,
    accel: Annotated[
        float, typer.Option("--accel", metavar="A", help="Acceleration [m/s2], positive when receding ever faster.")
    ] = 0.0,
    epoch: Annotated[
        float | None,
        typer.Option("--epoch", metavar="MJD", help="Epoch of the period (UTC).", show_default="mid-observation"),
    ] = None,
    par: Annotated[
        list[Path] | None,
        typer.Option("--par", metavar="X.par", help="Ephemeris of a pulsar; may be repeated.", show_default=False),
    ] = None,
    candidates: Annotated[
        Path | None,
        typer.Option(
            "--candidates",
            metavar="RUN.h5",
            help="Fold the candidates of this run; of a merged one those of the files.",
            show_default=False,
        ),
    ] = None,
    idents: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="ID", help="Only this candidate; may be repeated.", show_default="all"),
    ] = None,
    subtract: Subtract = None,
    nbins: Annotated[
        int | None, typer.Option("--nbins", metavar="N", help="Most phase bins.", show_default="fold.nbins")
    ] = None,
    nsub: Annotated[
        int | None, typer.Option("--nsub", metavar="N", help="Sub-integrations.", show_default="fold.nsubints")
    ] = None,
    refine: Annotated[
        bool,
        typer.Option("--refine/--no-refine", help="Look for the best period, derivative and DM around those given."),
    ] = True,
    toas: Annotated[
        Path | None,
        typer.Option(
            "--toas", metavar="X.tim", help="Write the times of arrival of the one pulsar folded.", show_default="none"
        ),
    ] = None,
    ntoas: Annotated[int, typer.Option("--ntoas", min=1, metavar="N", help="So many times of arrival.")] = 8,
    template: Annotated[
        Path | None,
        typer.Option(
            "--template",
            metavar="X.csv",
            help="Profile to match, of `pulsar export --csv`.",
            show_default="the profile of the fold",
        ),
    ] = None,
    imported: Annotated[
        bool,
        typer.Option("--import", help="The files are folds: PRESTO's .pfd, or .phcx; measure and judge them as ours."),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--plot", metavar="X.png", help="Plot sheet of the one fold (PNG, PDF or SVG).", show_default="none"
        ),
    ] = None,
    *,
    common: Common,
) -> None:
    """Fold an observation with a period and DM, by an ephemeris, or with the candidates of a run; and refine them."""
    # Long: it is the order of the checks.
    if picture is not None:
        check_picture(picture, overwrite=common.overwrite)
        check_not_input(picture, [*files, *([] if output is None else [output])])
    if imported:
        of_samples = {
            "--period": period, "--dm": dm, "--accel": accel or None, "--epoch": epoch, "--par": par,
            "--candidates": candidates, "--id": idents, "--nbins": nbins, "--nsub": nsub, "--toas": toas,
            "--template": template, "--subtract": subtract, "--zap": common.zap, "--mask": common.mask,
            "--zerodm": common.zerodm,
        }  # fmt: skip
        wrong = [name for name, value in of_samples.items() if value is not None]
        import_folds(files, output, refine, picture, wrong, common)
        return
    if output is None:
        raise typer.BadParameter("give the product to write: --out FOLD.h5", param_hint="--out")
    settings = common.settings(fold__nbins=nbins, fold__nsubints=nsub, subtract__pulsars=subtract)
    wanted = ephemerides(period, dm, accel, epoch, candidates, idents, par, files=files, config=settings)
    from pulsar.errors import ConfigError, DataError
    from pulsar.handover.toas import LEAST_SNR, read_template, tim_text, toas_of
    from pulsar.io.product.writer import check_output

    check_output(output, overwrite=common.overwrite)
    if picture is not None and len(wanted) != 1:
        raise ConfigError(f"--plot {picture}: draws one fold, {len(wanted)} are asked for: pulsar report {output}")
    if toas is not None:
        if len(wanted) != 1:
            raise ConfigError(f"--toas {toas}: times of arrival are of one pulsar, {len(wanted)} are to be folded")
        check_output(toas, overwrite=common.overwrite)
        check_not_input(toas, [*files, *(par or []), output])
    elif template is not None:
        raise ConfigError(f"--template {template}: goes with --toas X.tim")
    shape = None if template is None else read_template(template)
    given = [*([] if candidates is None else [candidates]), *named_files(settings)]
    check_not_input(output, [*files, *given, *(par or [])])

    from pulsar.followup.folding import fold_files
    from pulsar.pipeline.target import Target

    progress = common.progress()
    target = Target(output, common.overwrite, sys.argv)
    run = fold_files(files, wanted, settings, target, fit=refine, progress=progress)
    print_candidates(run.rows("candidates"))
    print_subtracted(run.rows("subtracted/pulsars"))
    if toas is not None:
        ident = run.ids[0]
        times = toas_of(run.fold(ident), run.observation, ntoas, shape)
        if not times:
            raise DataError(f"{toas}: no pulse is strong enough (S/N {LEAST_SNR:g}) for a time of arrival")
        name = str(run.candidate(ident)["known_source"]) or ident
        write_text(toas, tim_text(times, run.observation, name), overwrite=common.overwrite)
        if len(times) < ntoas:
            progress.message(
                f"{toas}: {len(times)} of {ntoas} times of arrival: the others are below S/N {LEAST_SNR:g}"
            )
    if picture is not None:
        row = run.candidate(run.ids[0])
        _draw(picture, run.fold(run.ids[0]), row, run.observation)
    progress.message(f"{output}: {len(run)} folds; plots: pulsar report {output}")


def import_folds(
    files: Sequence[Path], output: Path | None, refine: bool, picture: Path | None, wrong: Sequence[str], common: Common
) -> None:
    """Show what is in folds of other programs, and keep them in a product if one is asked for."""
    from pulsar.errors import ConfigError
    from pulsar.io.product.writer import check_output

    if wrong:
        raise ConfigError(f"--import takes folds as they are: {', '.join(wrong)} are of folding samples")
    files = list(dict.fromkeys(files))
    if picture is not None and len(files) > 1:
        raise ConfigError(
            f"--plot {picture}: draws one fold, {len(files)} are given: --out X.h5, then pulsar report X.h5"
        )
    if output is not None:
        check_output(output, overwrite=common.overwrite)
        check_not_input(output, files)
    settings = common.settings()
    from pulsar.followup.imports import import_files
    from pulsar.pipeline.target import Target

    progress = common.progress()
    target = None if output is None else Target(output, common.overwrite, sys.argv)
    found, table = import_files(files, settings, target, fit=refine, progress=progress)
    print_imported(table, found)
    if picture is not None:
        row = {name: table[0][name].item() for name in table.dtype.names or ()}
        _draw(picture, found[0].fold, row, found[0].header)
    if output is not None:
        progress.message(f"{output}: {len(found)} folds; plots: pulsar report {output}")


def _draw(picture: Path, fold: "Fold", row: dict[str, Any], header: "Header") -> None:
    from pulsar.report.drawn import plot
    from pulsar.report.figure import save
    from pulsar.report.words import About

    save(plot(fold, About(row, header)), picture)
    note(f"{picture}: plot sheet")


def ephemerides(
    period: float | None,
    dm: float | None,
    accel: float,
    epoch: float | None,
    candidates: Path | None,
    idents: list[str] | None,
    par: list[Path] | None = None,
    *,
    files: Sequence[Path] = (),
    config: "Config | None" = None,
) -> "list[Ephemeris | FromPar]":
    """What the options ask to be folded in these files."""
    from pulsar.errors import ConfigError
    from pulsar.pipeline.ephemerides import Ephemeris, FromPar

    if (period is not None) + (candidates is not None) + bool(par) != 1:
        raise ConfigError("give what to fold: either --period with --dm, or --par X.par, or --candidates RUN.h5")
    if period is not None:
        if idents:
            raise ConfigError("--id chooses from --candidates RUN.h5: it does not go with --period")
        if dm is None:
            raise ConfigError("--period needs --dm (any for a dedispersed series, which has its own)")
        if not dm >= 0:
            raise ConfigError(f"--dm {dm:g}: expected a number >= 0")
        return [Ephemeris(period, dm, accel, epoch)]
    if dm is not None or accel or epoch is not None:
        raise ConfigError("--dm, --accel and --epoch go with --period; candidates and ephemerides have their own")
    if par:
        if idents:
            raise ConfigError("--id chooses from --candidates RUN.h5: it does not go with --par")
        from pulsar.sky.timing import read_par

        return [FromPar(read_par(path)) for path in par]
    return from_product(Path(str(candidates)), idents or [], files, config)


def from_product(
    path: Path, idents: Sequence[str], files: Sequence[Path], config: "Config | None"
) -> "list[Ephemeris | FromPar]":
    """Candidates of a product: those that are named, else all; of a merged one all that are of the files."""
    from pulsar.errors import ConfigError
    from pulsar.io.product.reader import read
    from pulsar.pipeline.ephemerides import ephemerides_of, rows_of

    run = read(path)
    rows = run.rows("candidates")
    if not len(rows):
        raise ConfigError(f"{path}: holds no candidates to fold")
    if idents:
        return [*ephemerides_of(run, [run.candidate(ident) for ident in dict.fromkeys(idents)])]
    if not run.is_merged:
        return [*ephemerides_of(run, list(rows))]
    from pulsar.io.open import open_observation

    with closing(open_observation(*files, config=None if config is None else config.input)) as obs:
        own = rows_of(run, obs.header)
    if len(own) < len(rows):
        note(f"{path}: {len(rows) - len(own)} of {len(rows)} candidates are of other observations and are left out")
    return [*ephemerides_of(run, own)]
