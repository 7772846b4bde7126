"""Folds: of given periods, cleaned or imported (``pulsar fold``), and handed to other programs (``pulsar export``)."""

import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pulsar.api.results import plot
from pulsar.cli.console import check_new, check_not_input, check_picture, note, out, write_file
from pulsar.cli.options import (
    Display,
    Files,
    Overwrite,
    Quiet,
    Settings,
    argument,
    inputs,
    named,
    option,
    options,
    period_seconds,
    product_file,
    span,
)
from pulsar.cli.products import note_commands
from pulsar.cli.tables import print_candidates, print_imported, print_subtracted
from pulsar.config.load import to_toml
from pulsar.config.model import Config
from pulsar.data.candidate import values_of
from pulsar.data.fold import Fold
from pulsar.data.header import Header
from pulsar.errors import ConfigError, DataError
from pulsar.handover.candidate import candidate_of, name_of
from pulsar.io.lists import is_list
from pulsar.io.open import open_observation
from pulsar.io.product.reader import Run, read
from pulsar.io.product.writer import Target
from pulsar.io.series import series_paths
from pulsar.pipeline.ephemerides import Ephemeris, FromPar, ephemerides_of, ephemerides_of_list, rows_of
from pulsar.pipeline.progress import Progress
from pulsar.sky.timing import read_par


@dataclass(frozen=True)
class FoldOptions:
    """The periods, or ephemerides, that are folded: options of ``pulsar fold``."""

    period: Annotated[
        float | None,
        option(
            "Period, in the frame of the data: 0.1637 (seconds), 0.1637s, 163.7ms or 163700us.",
            "P",
            parser=period_seconds,
        ),
    ] = None
    dm: Annotated[float | None, option("DM [pc/cm3].", "DM")] = None
    accel: Annotated[float, option("Acceleration [m/s2], positive when receding ever faster.", "A")] = 0.0
    epoch: Annotated[float | None, option("Epoch of the period (UTC).", "MJD", default="mid-observation")] = None
    par: Annotated[list[Path] | None, option("Ephemeris of a pulsar; may be repeated.", "X.par")] = None
    candidates: Annotated[
        Path | None,
        option(
            "Fold the sources of this run, of a merged one those of the files; or a list: csv, ECSV, of PRESTO ...",
            "RUN.h5|LIST",
        ),
    ] = None
    everything: Annotated[
        bool, named("--all", "Of --candidates every row, also those that belong to another: harmonics ...")
    ] = False
    idents: Annotated[list[str] | None, named("--id", "Only this one; may be repeated.", "ID", default="all")] = None

    def inputs(self) -> list[Path]:
        """Files that it is read from."""
        return [*(self.par or ()), *([] if self.candidates is None else [self.candidates])]

    def ephemerides(self, files: Sequence[Path] = (), config: Config | None = None) -> list[Ephemeris | FromPar]:
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
        list[str] | None, option("Of FILE, a FOLD.h5, leave out these times [s from the start]; repeatable.", "LO:HI")
    ] = None
    zap_freq: Annotated[list[str] | None, option("Likewise these frequencies [MHz]; may be repeated.", "LO:HI")] = None


@options("subtract", "nbins", "nsub", "cleaning")
def fold(
    files: Files,
    output: Annotated[Path | None, product_file("FOLD.h5", "none with --import")] = None,
    *,
    wanted: FoldOptions,
    refine: Annotated[
        bool, named("--refine/--no-refine", "Look for the best period, derivative and DM around those given.")
    ] = True,
    toas: Annotated[Path | None, option("Write times of arrival of the one pulsar folded.", "X.tim")] = None,
    ntoas: Annotated[int, option("So many times of arrival.", "N", min=1)] = 8,
    template: Annotated[
        Path | None, option("Profile to match, of `pulsar export --csv`.", "X.csv", default="the profile of the fold")
    ] = None,
    wideband: Annotated[bool, named("--wideband", "Of --toas: one time, with the DM as flags for PINT.")] = False,
    imported: Annotated[
        bool, named("--import", "The files are folds: PRESTO's .pfd, or .phcx; measure and judge them as ours.")
    ] = False,
    cleaned: Cleaned,
    picture: Annotated[Path | None, named("--plot", "Plot sheet of the one fold (PNG, PDF or SVG).", "X.png")] = None,
    given: Settings,
    overwrite: Overwrite = False,
    progress: Progress,
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
        _import(list(dict.fromkeys(files)), given.config(), target, refine, picture, progress)
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

    check_new(output, inputs=[*inputs(files, settings), *wanted.inputs()], overwrite=overwrite)
    if picture is not None and len(sources) != 1:
        raise ConfigError(f"--plot {picture}: draws one fold, {len(sources)} are asked for: pulsar report {output}")
    if toas is not None:
        if len(sources) != 1:
            raise ConfigError(f"--toas {toas}: times of arrival are of one pulsar, {len(sources)} are to be folded")
        check_new(toas, inputs=[*files, *wanted.inputs(), output], overwrite=overwrite)
        if wideband:
            with open_observation(*files, config=settings.input) as obs:
                if min(obs.header.nchans, settings.fold.nbands) < 2:
                    raise ConfigError(f"{files[0]}: --wideband tells a DM, which one band does not measure")
    elif template is not None or wideband:
        raise ConfigError(f"{'--wideband' if template is None else f'--template {template}'}: goes with --toas X.tim")
    shape = None if template is None else read_template(template)
    from pulsar.followup.folding import fold_files

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
    usual = asdict(FoldOptions())
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
    check_new(target.path, inputs=files, overwrite=target.overwrite)
    times = [span(text, "--zap-time", "times in s from the start", "10:20") for text in cleaned.zap_time or ()]
    freqs = [span(text, "--zap-freq", "frequencies in MHz", "1160:1280") for text in cleaned.zap_freq or ()]
    run = zap_fold(files[0], idents, times, freqs, settings, target, notify=note)
    print_candidates(run.rows("candidates"))
    if picture is not None:
        _draw(picture, run.fold(run.ids[0]), run.candidate(run.ids[0]), run.observation)


def _import(
    files: list[Path], settings: Config, target: Target | None, refine: bool, picture: Path | None, progress: Progress
) -> None:
    """Show what is in folds of other programs, and keep them in a product if one is asked for."""
    from pulsar.followup.folding import import_files

    if picture is not None and len(files) > 1:
        raise ConfigError(
            f"--plot {picture}: draws one fold, {len(files)} are given: --out X.h5, then pulsar report X.h5"
        )
    if target is not None:
        check_new(target.path, inputs=files, overwrite=target.overwrite)
    folds, table = import_files(files, settings, target, fit=refine, progress=progress)
    print_imported(table, folds)
    if picture is not None:
        _draw(picture, folds[0].fold, values_of(table[0]), folds[0].header)
    if target is not None:
        progress.message(f"{target.path}: {len(folds)} folds; plots: pulsar report {target.path}")


def _draw(picture: Path, fold: Fold, row: dict[str, Any], header: Header) -> None:
    plot(fold, row, header, path=picture)
    note(f"{picture}: plot sheet")


def _tell_differences(run: Run, config: Config) -> None:
    """Say which settings that a fold depends on are not those of the search."""
    searched, current = (tomllib.loads(text) for text in (run.provenance.get("config", ""), to_toml(config)))
    names = [
        f"{section}.{key}"
        for section in ("rfi", "fold", "subtract")
        for key in sorted(searched.get(section, {}).keys() | current[section].keys())
        if key != "ncands" and searched.get(section, {}).get(key) != current[section].get(key)
    ]
    if names and searched:
        differ = ", ".join(names)
        note(
            f"{run.path}: was searched with other settings ({differ}): S/N may differ; give the same --config or --set"
        )


def from_product(
    path: Path, idents: Sequence[str], files: Sequence[Path], config: Config | None, *, everything: bool = False
) -> list[Ephemeris | FromPar]:
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


@options()
def export(
    run: Annotated[Path, argument("RUN.h5", "Product of `pulsar search` or `pulsar fold`.")],
    idents: Annotated[
        list[str] | None, named("--id", "Candidate, or single pulse; may be repeated.", "ID", default=False)
    ] = None,
    par: Annotated[bool, named("--par", "Ephemeris for tempo, tempo2, PINT and `pulsar fold`.")] = False,
    bestprof: Annotated[bool, named("--bestprof", "Profile and facts as prepfold's text.")] = False,
    pfd: Annotated[bool, named("--pfd", "Fold as prepfold's binary file.")] = False,
    psrfits: Annotated[bool, named("--psrfits", "Fold as an archive, for PSRCHIVE and others.")] = False,
    tim: Annotated[bool, named("--tim", "Times of arrival, by the profile itself.")] = False,
    wideband: Annotated[bool, named("--wideband", "Of --tim: one time, with the DM as flags for PINT.")] = False,
    table: Annotated[bool, named("--csv", "Profile as a table.")] = False,
    dat: Annotated[bool, named("--dat", "Series of its files, with .inf: as `pulsar dedisperse`.")] = False,
    dm: Annotated[float | None, option("DM of the series [pc/cm3].", "DM", default="the candidate's")] = None,
    burst: Annotated[
        bool, named("--burst", "Single pulse, cut out of its files, as burst classifiers read it (HDF5).")
    ] = False,
    voevent: Annotated[bool, named("--voevent", "Single pulse as a VOEvent of a fast radio burst.")] = False,
    obscore: Annotated[
        bool, named("--obscore", "The product itself as rows of ObsCore (VOTable); needs no --id.")
    ] = False,
    author: Annotated[
        str, option("Of --voevent and --obscore: IVO identifier, ivo://org.example/survey.", "IVOID", default=False)
    ] = "",
    role: Annotated[Literal["observation", "test"], option("Of --voevent: what it is sent for.")] = "observation",
    whole: Annotated[bool, named("--whole", "The fold with what was left out of it by hand.")] = False,
    output: Annotated[Path | None, named("--out -o", "File to write.", "FILE", default="<RUN>_<ID>.<format>")] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write candidates and bursts as other programs read them, and print the commands that confirm them."""
    paths = {"par": par, "bestprof": bestprof, "pfd": pfd, "psrfits": psrfits, "tim": tim, "csv": table}
    forms = [form for form, is_asked in paths.items() if is_asked]
    if not (forms or dat or burst or voevent or obscore):
        raise ConfigError(
            "give what to write: --par, --bestprof, --pfd, --psrfits, --tim, --csv, --dat, --burst, --voevent or "
            "--obscore"
        )
    if whole and not forms:
        raise ConfigError("--whole is of formats of folds: --par, --bestprof, --pfd, --psrfits, --tim and --csv")
    if dm is not None and not dat:
        raise ConfigError("--dm is of the series that --dat writes")
    if wideband and not tim:
        raise ConfigError("--wideband is of the times that --tim writes")
    if forms and (burst or voevent):
        way = "burst" if burst else "voevent"
        raise ConfigError(f"--{way} is of single pulses, --{forms[0]} of candidates: export them one after the other")
    if voevent or obscore:
        from pulsar.handover.vo import checked_ivoid

        checked_ivoid(author)
    idents = list(dict.fromkeys(idents or ()))
    if not idents and (forms or dat or burst or voevent):
        raise ConfigError("give the candidate, or single pulse: --id ID")
    count = (len(forms) + dat + burst + voevent) * len(idents) + obscore
    if output is not None and count > 1:
        raise ConfigError(f"--out names one file, but {count} are asked for: leave it out")
    product, progress = read(run), Display(quiet).progress()
    rows = {ident: _row(product, ident) for ident in idents}
    orbits = {str(row["id"]) for row in product.rows("orbits/found")}

    def write(made: Iterable[ExportedFile]) -> None:
        """Write files; all names before the first: what cannot be made leaves nothing half done."""
        contents = {_exported(product, output, ident, form): (content, files) for ident, form, content, files in made}
        for path, (_, files) in contents.items():
            check_not_input(path, [product.path, *files])
        for path, (content, _) in contents.items():
            write_file(path, content, overwrite=overwrite)
            out(str(path))

    if forms:
        folded = orbits.isdisjoint(idents)
        write(_of_folds(product, idents, forms, whole, wideband) if folded else _of_orbits(product, idents, forms))
    # What reads the files comes last.
    if voevent:
        write(_of_events(product, rows, author, role))
    if obscore:
        from pulsar.handover.vo import obscore_votable

        write([("obscore", "vot", obscore_votable(product, author), ())])
    if burst:
        write([*_of_bursts(product, idents, progress)])
    for ident, row in rows.items() if dat else ():
        path = _exported(product, output, ident, "dat")
        _write_series(product, row, float(row["dm"]) if dm is None else dm, path, overwrite, progress)
    for ident, row in rows.items() if not quiet else ():
        if "period" in row and ident not in orbits:
            note_commands(product, row)


#: What is exported: its row, the ending of its file, the content, and the files that it was made of.
ExportedFile = tuple[str, str, str | bytes, Sequence[Path]]


def _exported(product: Run, output: Path | None, ident: str, form: str) -> Path:
    """The file for a row."""
    # PRESTO looks for the text beside the fold, under its name.
    ending = "pfd.bestprof" if form == "bestprof" else form
    return output or product.path.with_name(f"{product.path.stem}_{ident}.{ending}")


def _row(product: Run, ident: str) -> dict[str, Any]:
    """The row of a candidate or a single pulse."""
    pulses = product.rows("single_pulses")
    pulses = pulses[pulses["id"] == ident]
    return values_of(pulses[0]) if len(pulses) else product.candidate(ident)


def _of_folds(product: Run, idents: list[str], forms: list[str], whole: bool, wideband: bool) -> Iterator[ExportedFile]:
    """What is made of folds, or of the whole ones from which something was left out."""
    from pulsar.handover.formats import FORMATS, wideband_tim

    makers = {**FORMATS, "tim": wideband_tim} if wideband else FORMATS
    for each in [candidate_of(product, ident, whole=whole) for ident in idents]:
        yield from ((each.ident, form, makers[form](each), each.files) for form in forms)


def _of_orbits(product: Run, idents: list[str], forms: list[str]) -> Iterator[ExportedFile]:
    """Ephemerides with an orbit."""
    from pulsar.handover.timing import orbit_par_text

    if forms != ["par"]:
        raise ConfigError(f"{product.path}: its orbits have no folds: of them --par is written")
    orbits = product.rows("orbits/found")
    for ident in idents:
        row = product.candidate(ident)
        header = product.observation_of(row)
        name, origin = name_of(ident, row, header), f"{ident} of {product.path.name}"
        yield ident, "par", orbit_par_text(orbits[orbits["id"] == ident][0], header, name=name, origin=origin), ()


def _of_events(product: Run, rows: Mapping[str, dict[str, Any]], author: str, role: str) -> Iterator[ExportedFile]:
    """Single pulses as events."""
    from pulsar.handover.vo import voevent_bytes
    from pulsar.io.product.provenance import settings_of

    telescope = settings_of(product.provenance).telescope
    for ident, row in rows.items():
        if "time" not in row:
            raise ConfigError(f"{product.path}: {ident} is no single pulse: --voevent is of those")
        yield ident, "xml", voevent_bytes(row, product.observation_of(row), telescope, author, role), ()


def _of_bursts(product: Run, idents: list[str], progress: Progress) -> Iterator[ExportedFile]:
    """Single pulses, cut out of their files."""
    from pulsar.followup.series import burst_bytes, burst_of

    for ident in idents:
        row, cutout, header = burst_of(product, ident, progress)
        files = product.files_of(int(row["obs"]))
        yield ident, "h5", burst_bytes(row, cutout, header, files[0].name), files


def _write_series(
    product: Run, row: dict[str, Any], dm: float, path: Path, overwrite: bool, progress: Progress
) -> None:
    """Write the series of the files of a row at a DM."""
    from pulsar.followup.series import dedisperse_files, origin_of

    files, config = origin_of(product, row)
    for each in series_paths(path):
        check_not_input(each, [product.path, *files])
    for written in dedisperse_files(files, [dm], config, path, overwrite=overwrite, progress=progress):
        out(str(written))
