"""Files in the folders of a night: those that belong together, by source, date and beam, and those that are missing.

The table of pointings has the positions of beams whose files do not tell them.
"""

import csv
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Final

from pulsar.config.model import InputConfig
from pulsar.constants import DAY
from pulsar.data.direction import sexagesimal
from pulsar.data.files import read_text
from pulsar.data.header import Header
from pulsar.data.observation import Gap
from pulsar.data.text import file_name, utc_of
from pulsar.errors import DataError
from pulsar.io.base import is_calibration, is_spectral_line, parse_name
from pulsar.io.hdf5 import Hdf5
from pulsar.io.open import READABLE, open_observation
from pulsar.io.product.schema import FORMAT

#: Suffixes of files that may be observations; what is in them decides.
SUFFIXES: Final = (".fits", ".sf", ".fil", ".h5", ".fbh5", ".dat", ".tim")
PACKED: Final = {".gz": "gunzip", ".fz": "funpack", ".xz": "unxz", ".zst": "unzstd"}


@dataclass(frozen=True)
class Pointing:
    """Files of one source, date and beam, in order of time."""

    source: str
    date: str  # UTC date of the start, YYYYMMDD
    beam: int | None
    paths: tuple[Path, ...]
    header: Header  # Of the first file, with the samples of all
    missing: tuple[int, ...] = ()  # Sequence numbers that the names leave out between the first and the last
    number: int = 1  # 1, 2 ... where source, date and beam were observed several times.
    #: Files that hold less than they should, and how much, in words.
    short: Mapping[Path, str] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """For a file name: ``SOURCE_DATE_M05``, with the number from the second pointing on."""
        parts = [self.source or "unnamed", self.date or "undated"]
        parts += [f"M{self.beam:02d}"] if self.beam is not None else []
        parts += [f"n{self.number}"] if self.number > 1 else []
        return "_".join(file_name(part).replace("_", "-") for part in parts)

    @property
    def group(self) -> tuple[str, str, int]:
        """Source, date and number, which the beams of one pointing have in common."""
        return self.source, self.date, self.number


@dataclass(frozen=True)
class Night:
    """All that was found."""

    pointings: tuple[Pointing, ...]  # By source, date, beam
    problems: tuple[str, ...] = field(default=())  # Files that were passed over, and why; files that are missing
    unreadable: tuple[Path, ...] = ()  # Files among them that look like observations and cannot be read

    def groups(self) -> dict[tuple[str, str, int], list[Pointing]]:
        """Pointings of one time by their beams."""
        out: dict[tuple[str, str, int], list[Pointing]] = {}
        for pointing in self.pointings:
            out.setdefault(pointing.group, []).append(pointing)
        return out


def find_files(paths: Iterable[Path | str], *, calibration: bool = False) -> tuple[list[Path], list[str]]:
    """Files that may be observations: those named, and all below the folders named; and what was passed over.

    Raises
    ------
    DataError
        A path does not exist.
    """
    files: list[Path] = []
    problems: list[str] = []
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"{path}: no such file or folder: check the name")
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in inside:
            tool = PACKED.get(file.suffix.lower())
            if tool is not None and Path(file.stem).suffix.lower() in SUFFIXES:
                problems.append(f"{file}: is packed: unpack it with `{tool} {file}`")
            elif path.is_dir() and _is_product(file):
                continue  # of an earlier search
            elif is_spectral_line(file):
                problems.append(f"{file}: a spectral-line product by its name: passed over")
            elif is_calibration(file) and not calibration:
                problems.append(
                    f"{file}: a calibration scan by its name: passed over (input.calibration=true takes it)"
                )
            elif file.suffix.lower() in SUFFIXES or not path.is_dir():
                files.append(file)
    return list(dict.fromkeys(files)), problems


def several_pointings(paths: Sequence[Path | str]) -> bool:
    """True if these are a night: a folder among them, or files that by their names are of several sources or beams."""
    files = [Path(p) for p in paths]
    if any(p.is_dir() for p in files):
        return True
    names = {(name.source, name.beam) for name in map(parse_name, files)}
    return len(names) > 1 and all(beam is not None for _, beam in names)


def _is_product(path: Path) -> bool:
    """True if a file is a product of this program."""
    if path.suffix.lower() != ".h5":
        return False

    try:
        with Hdf5(path, "an HDF5 file") as file:
            return bool(file.attributes().get("format", "") == FORMAT)
    except DataError:
        return False


def scan(paths: Iterable[Path | str], config: InputConfig = InputConfig()) -> Night:
    """Read the headers of files and folders, and sort them into pointings.

    Parameters
    ----------
    paths : iterable of paths
        Files, and folders that are searched with all below them.

    Raises
    ------
    DataError
        A path does not exist, nothing readable was found, or the table of pointings cannot be read.
    """
    paths = list(paths)
    files, problems = find_files(paths, calibration=config.calibration)
    headers: list[tuple[Path, Header]] = []
    promised: dict[Path, int] = {}
    unreadable: list[Path] = []
    for file in files:
        try:
            with open_observation(file, config=config) as obs:
                headers.append((file, obs.header))
                promised[file] = obs.files[0].promised
        except DataError as error:
            problems.append(str(error))
            unreadable.append(file)
    if not headers:
        names = ", ".join(map(str, paths[:3])) + (" ..." if len(paths) > 3 else "")
        kind = "folder" if any(Path(p).is_dir() for p in paths) else "files"
        listed = "".join(f"\n  {p}" for p in problems[:10])
        raise DataError(f"{names}: nothing that can be read is in this {kind}, which may be {READABLE}{listed}")
    keyed: dict[tuple[str, int], list[tuple[Path, Header]]] = {}
    for file, header in headers:
        name = parse_name(file)
        beam = header.beam if header.beam is not None else name.beam
        # Coordinates differ in the beams of one source; its name does not.
        source = name.source or header.source
        # A scan with the noise diode is never joined with others.
        scan_of = source + ("_cal" if is_calibration(file) else "")
        keyed.setdefault((scan_of, -1 if beam is None else beam), []).append((file, header))
    pointings: list[Pointing] = []
    for (source, beam), members in sorted(keyed.items()):
        counts: dict[str, int] = {}
        for part in _apart(members):
            date = _date(part[0][1].tstart)
            counts[date] = counts.get(date, 0) + 1
            pointings.append(_pointing(source, date, None if beam < 0 else beam, part, counts[date]))
    problems += [f"{p.name}: files numbered {_numbers(p.missing)} are missing" for p in pointings if p.missing]
    pointings.sort(key=lambda p: (p.source, p.date, p.number, p.beam or 0))
    night = Night(tuple(pointings), tuple(problems), tuple(unreadable))
    lengths = {file: header.tobs for file, header in headers}
    short: dict[Path, str] = {}
    for beams in night.groups().values():
        short |= _short(beams, lengths, promised)
    whole = (replace(p, short={path: short[path] for path in p.paths if path in short}) for p in pointings)
    return replace(night, pointings=tuple(whole), problems=(*problems, *unmatched_pointings(night, config)))


def _short(beams: Sequence[Pointing], lengths: Mapping[Path, float], promised: Mapping[Path, int]) -> dict[Path, str]:
    """Files of one time that hold less than their header promises, or than the same files of other beams, in words.

    Recorders begin a new file after a fixed time: of files with a number only the last one may be shorter than others.
    """
    out = {}
    same: dict[int, list[Path]] = {}
    beside: dict[Path, list[Path]] = {}
    for beam in beams:
        numbers = [parse_name(path).sequence for path in beam.paths]
        longest = max(beam.paths, key=lambda path: lengths[path])
        for place, (path, number) in enumerate(zip(beam.paths, numbers, strict=True)):
            beside[path] = same.setdefault(place if number is None else number, [])
            beside[path].append(path)
            if number is not None and number != numbers[-1]:
                beside[path] = [longest]
    for beam in beams:
        for path in beam.paths:
            longest = max(beside[path], key=lambda file: lengths[file])
            # Of one length within 1 %: S/N goes as the root of it, by 0.5 %.
            if promised[path]:
                held = f"{lengths[path] / beam.header.tsamp:.0f}"
                out[path] = f"holds {held} of the {promised[path]} samples that its header promises"
            elif lengths[path] < 0.99 * lengths[longest]:
                out[path] = f"holds {lengths[path]:.6g} s, {longest.name} {lengths[longest]:.6g} s"
    return out


@dataclass(frozen=True)
class Examined:
    """A pointing as one observation."""

    header: Header  # Of all files together; of the first one where they cannot be joined
    gaps: tuple[Gap, ...]
    problems: tuple[str, ...]  # What several files have in common is told once


def examine(pointing: Pointing, config: InputConfig = InputConfig()) -> Examined:
    """Join the files of a pointing, and tell what a search of it would say of them."""
    try:
        with open_observation(*pointing.paths, config=config) as obs:
            header, gaps, problems = obs.header, obs.gaps, obs.problems
    except DataError as error:
        return Examined(pointing.header, (), (str(error),))
    names = {path.name for path in pointing.paths}
    named: dict[str, list[str]] = {}
    for problem in problems:
        name, _, rest = problem.partition(": ")
        if name in names and rest:
            named.setdefault(rest, []).append(name)
        else:
            named[problem] = []
    return Examined(
        header,
        gaps,
        tuple(
            (f"in {len(files)} files: " if len(files) > 1 else "".join(f"{f}: " for f in files)) + text
            for text, files in named.items()
        ),
    )


def _apart(members: Sequence[tuple[Path, Header]]) -> list[list[tuple[Path, Header]]]:
    """Files of one source and beam, split where another observation begins."""
    ordered = sorted(members, key=lambda m: (m[1].tstart, m[0].name))
    out: list[list[tuple[Path, Header]]] = []
    start = end = last = length = 0.0
    shape: tuple[object, ...] = ()
    for file, header in ordered:
        now = header.tstart * DAY
        form = (header.nchans, header.fch1, header.foff, header.nbits, header.is_series, header.dm)
        # In files with wrong times (TBIN too small) the steps are a multiple of the length.
        # A longer pause begins another pointing [s], unless the pointing itself has lasted longer.
        new = not out or form != shape or now - end > max(120.0, end - start, 8 * header.tobs) or header.is_series
        # What begins while another is being recorded is no continuation of it, whatever source the headers name. Where
        # the name tells a beam or a number they should have been, which is told when they are joined.
        name = parse_name(file)
        nameless = name.beam is None and name.sequence is None
        new |= nameless and now - last < 0.5 * min(length, header.tobs)
        if new:
            out.append([])
            start = now
        out[-1].append((file, header))
        end, shape = max(end, now + header.tobs) if not new else now + header.tobs, form
        last, length = now, header.tobs
    return out


def _pointing(source: str, date: str, beam: int | None, part: Sequence[tuple[Path, Header]], number: int) -> Pointing:
    numbers = [parse_name(file).sequence for file, _ in part]
    known = sorted(n for n in numbers if n is not None)
    missing = tuple(sorted(set(range(known[0], known[-1] + 1)) - set(known))) if len(known) == len(part) else ()
    header = part[0][1].with_(nsamps=sum(h.nsamps for _, h in part))
    return Pointing(source, date, beam, tuple(f for f, _ in part), header, missing, number)


def _date(mjd: float) -> str:
    if not 0 < mjd < 2_000_000:
        return ""
    return f"{utc_of(mjd):%Y%m%d}"


def _numbers(values: Sequence[int]) -> str:
    """Ranges in words: 3, 5-8."""
    runs = [[value for _, value in run] for _, run in groupby(enumerate(values), lambda pair: pair[1] - pair[0])]
    return ", ".join("-".join(f"{value:04d}" for value in dict.fromkeys((run[0], run[-1]))) for run in runs)


def read_pointings(path: Path | str) -> dict[tuple[str, int | None], tuple[float, float]]:
    """Positions [deg] by source and beam (None: all beams without a line of their own) from a CSV table.

    Raises
    ------
    DataError
        The file cannot be read, lacks a column, or a line of it makes no sense.
    """
    path = Path(path)
    lines = read_text(path, "a table of pointings").splitlines()
    places: dict[tuple[str, int | None], tuple[float, float]] = {}
    for number, row in enumerate(csv.DictReader(lines, skipinitialspace=True), 2):
        values = {str(k).strip().lower(): str(v or "").strip() for k, v in row.items() if k is not None}
        if not {"source", "ra", "dec"} <= set(values):
            raise DataError(f"{path}: expected the columns source, beam, ra, dec; found {', '.join(values)}")
        ra = sexagesimal(values["ra"]) * (15.0 if ":" in values["ra"] else 1.0)
        dec = sexagesimal(values["dec"])
        beam = values.get("beam", "")
        if not (0 <= ra < 360 and -90 <= dec <= 90) or (beam and not beam.isdigit()):
            raise DataError(f"{path}: line {number}: expected a beam number, hh:mm:ss or degrees, dd:mm:ss or degrees")
        places[values["source"], int(beam) if beam else None] = (ra, dec)
    return places


def unmatched_pointings(night: Night, config: InputConfig) -> list[str]:
    """Lines of the table of pointings that no file answers to, and sources that it leaves out, each in words.

    Raises
    ------
    DataError
        The table cannot be read.
    """
    table = config.pointings
    if not table:
        return []
    places = read_pointings(table)
    beams: dict[str, set[int | None]] = {}
    for pointing in night.pointings:
        beams.setdefault(pointing.source, set()).add(pointing.beam)
    folded = {source.casefold(): source for source in beams}
    out = []
    for source in dict.fromkeys(source for source, _ in places):
        if source not in beams:
            near = difflib.get_close_matches(source.casefold(), folded, n=3, cutoff=0.6)
            hint = f"; did you mean {' or '.join(folded[n] for n in near)}?" if near else ""
            out.append(f"{table}: source {source} is in no file, its position is not used{hint}")
            continue
        lost = sorted(b for s, b in places if s == source and b is not None and b not in beams[source])
        if lost:
            out.append(f"{table}: source {source}: no files of beam {', '.join(map(str, lost))}")
    for source, numbers in beams.items():
        without = sorted((b or 0) for b in numbers if (source, b) not in places and (source, None) not in places)
        if without:
            text = f" beam {', '.join(map(str, without))}" if any(without) else ""
            out.append(f"{table}: has no position for {source}{text}: those of the headers are used")
    return out
