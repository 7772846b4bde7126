"""``pulsar export``: candidates and bursts in the formats of other programs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pulsar.cli.console import check_not_input, out, write_file
from pulsar.cli.options import Debug, Overwrite, Quiet, argument, option, progress_mode
from pulsar.cli.products import note_commands
from pulsar.data.candidate import values_of
from pulsar.errors import ConfigError
from pulsar.handover.candidate import candidate_of, name_of
from pulsar.io.product.reader import Run, read
from pulsar.io.series import series_paths


def command(
    run: Annotated[Path, argument("RUN.h5", "Product of `pulsar search` or `pulsar fold`.")],
    idents: Annotated[
        list[str] | None, option("--id", "Candidate, or single pulse; may be repeated.", "ID", default=False)
    ] = None,
    par: Annotated[bool, option("--par", "Ephemeris for tempo, tempo2, PINT and `pulsar fold`.")] = False,
    bestprof: Annotated[bool, option("--bestprof", "Profile and facts as prepfold's text.")] = False,
    pfd: Annotated[bool, option("--pfd", "Fold as prepfold's binary file.")] = False,
    psrfits: Annotated[bool, option("--psrfits", "Fold as an archive, for PSRCHIVE and others.")] = False,
    tim: Annotated[bool, option("--tim", "Times of arrival, by the profile itself.")] = False,
    wideband: Annotated[bool, option("--wideband", "Of --tim: one time, with the DM as flags for PINT.")] = False,
    table: Annotated[bool, option("--csv", "Profile as a table.")] = False,
    dat: Annotated[bool, option("--dat", "Series of its files, with .inf: as `pulsar dedisperse`.")] = False,
    dm: Annotated[float | None, option("--dm", "DM of the series [pc/cm3].", "DM", default="the candidate's")] = None,
    burst: Annotated[
        bool, option("--burst", "Single pulse, cut out of its files, as burst classifiers read it (HDF5).")
    ] = False,
    voevent: Annotated[bool, option("--voevent", "Single pulse as a VOEvent of a fast radio burst.")] = False,
    obscore: Annotated[
        bool, option("--obscore", "The product itself as rows of ObsCore (VOTable); needs no --id.")
    ] = False,
    author: Annotated[
        str,
        option(
            "--author", "Of --voevent and --obscore: IVO identifier, ivo://org.example/survey.", "IVOID", default=False
        ),
    ] = "",
    role: Annotated[
        Literal["observation", "test"], option("--role", "Of --voevent: what it is sent for.")
    ] = "observation",
    whole: Annotated[bool, option("--whole", "The fold with what was left out of it by hand.")] = False,
    output: Annotated[Path | None, option("--out -o", "File to write.", "FILE", default="<RUN>_<ID>.<format>")] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    _debug: Debug = False,
) -> None:
    """Write candidates and bursts as other programs read them, and print the commands that confirm them."""
    asked = {"par": par, "bestprof": bestprof, "pfd": pfd, "psrfits": psrfits, "tim": tim, "csv": table}
    forms = [form for form, wanted in asked.items() if wanted]
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
    export = Export(read(run), idents, output, overwrite, quiet)
    rows = {ident: export.row(ident) for ident in idents}
    orbits = {str(row["id"]) for row in export.product.rows("orbits/found")}
    if forms and orbits.isdisjoint(idents):
        export.folds(forms, whole=whole, wideband=wideband)
    elif forms:
        export.orbits(forms)
    # What reads the files comes last.
    if voevent:
        export.events(rows, author, role)
    if obscore:
        export.observations(author)
    if burst:
        export.bursts()
    if dat:
        for ident, row in rows.items():
            export.series(ident, row, float(row["dm"]) if dm is None else dm)
    for ident, row in rows.items() if not quiet else ():
        if "period" in row and ident not in orbits:
            note_commands(export.product, row)


@dataclass(frozen=True)
class Export:
    """Rows of a product that are exported, and how files are written."""

    product: "Run"
    idents: list[str]
    output: Path | None
    overwrite: bool
    quiet: bool

    def name(self, ident: str, form: str) -> Path:
        """The file for a row."""
        path = self.product.path
        # PRESTO looks for the text beside the fold, under its name.
        ending = "pfd.bestprof" if form == "bestprof" else form
        return self.output or path.with_name(f"{path.stem}_{ident}.{ending}")

    def row(self, ident: str) -> dict[str, Any]:
        """The row of a candidate or a single pulse."""
        pulses = self.product.rows("single_pulses")
        pulses = pulses[pulses["id"] == ident]
        if len(pulses):
            return values_of(pulses[0])
        return self.product.candidate(ident)

    def write(self, contents: Sequence[tuple[Path, str | bytes]], inputs: list[Path]) -> None:
        """Write files; all names before the first: what cannot be made leaves nothing half done."""
        for path, _ in contents:
            check_not_input(path, [self.product.path, *inputs])
        for path, content in contents:
            write_file(path, content, overwrite=self.overwrite)
            out(str(path))

    def folds(self, forms: list[str], *, whole: bool, wideband: bool) -> None:
        """Write what is made of folds, or of the whole ones from which something was left out."""
        from pulsar.handover.formats import FORMATS, wideband_tim

        makers = {**FORMATS, "tim": wideband_tim} if wideband else FORMATS
        candidates = [candidate_of(self.product, ident, whole=whole) for ident in self.idents]
        contents = [(self.name(each.ident, form), makers[form](each)) for each in candidates for form in forms]
        self.write(contents, [file for each in candidates for file in each.files])

    def orbits(self, forms: list[str]) -> None:
        """Write ephemerides with an orbit."""
        from pulsar.handover.timing import orbit_par_text

        product = self.product
        if forms != ["par"]:
            raise ConfigError(f"{product.path}: its orbits have no folds: of them --par is written")
        orbits = product.rows("orbits/found")
        contents = []
        for ident in self.idents:
            header = product.observation_of(product.candidate(ident))
            called = name_of(ident, product.candidate(ident), header)
            row = orbits[orbits["id"] == ident][0]
            text = orbit_par_text(row, header, name=called, origin=f"{ident} of {product.path.name}")
            contents.append((self.name(ident, "par"), text))
        self.write(contents, [])

    def bursts(self) -> None:
        """Write single pulses, cut out of their files."""
        from pulsar.followup.origin import burst_bytes, burst_of

        contents: list[tuple[Path, bytes]] = []
        inputs: list[Path] = []
        for ident in self.idents:
            row, cutout, header = burst_of(self.product, ident, progress_mode(self.quiet))
            files = self.product.files_of(int(row["obs"]))
            inputs += files
            contents.append((self.name(ident, "h5"), burst_bytes(row, cutout, header, files[0].name)))
        self.write(contents, inputs)

    def events(self, rows: Mapping[str, dict[str, Any]], author: str, role: str) -> None:
        """Write single pulses as events."""
        from pulsar.handover.vo import voevent_bytes
        from pulsar.io.product.provenance import settings_of

        telescope = settings_of(self.product.provenance).telescope
        contents = []
        for ident, row in rows.items():
            if "time" not in row:
                raise ConfigError(f"{self.product.path}: {ident} is no single pulse: --voevent is of those")
            content = voevent_bytes(row, self.product.observation_of(row), telescope, author, role)
            contents.append((self.name(ident, "xml"), content))
        self.write(contents, [])

    def observations(self, author: str) -> None:
        """Write the rows of ObsCore of the product."""
        from pulsar.handover.vo import obscore_votable

        path = self.output or self.product.path.with_name(f"{self.product.path.stem}_obscore.vot")
        self.write([(path, obscore_votable(self.product, author))], [])

    def series(self, ident: str, row: dict[str, Any], dm: float) -> None:
        """Write the series of the files of a row at a DM."""
        from pulsar.followup.origin import origin_of
        from pulsar.followup.series import dedisperse_files

        files, config = origin_of(self.product, row)
        path = self.name(ident, "dat")
        for each in series_paths(path):
            check_not_input(each, [self.product.path, *files])
        progress = progress_mode(self.quiet)
        for written in dedisperse_files(files, [dm], config, path, overwrite=self.overwrite, progress=progress):
            out(str(written))
