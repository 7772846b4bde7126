"""The table of pointings: positions of beams whose files do not tell them."""

import csv
import difflib
from pathlib import Path

from pulsar.config.model import Config
from pulsar.data.direction import sexagesimal
from pulsar.data.files import read_text
from pulsar.errors import DataError
from pulsar.io.night import Night


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


def unmatched_pointings(night: Night, config: Config) -> list[str]:
    """Lines of the table of pointings that no file answers to, and sources that it leaves out, each in words.

    Raises
    ------
    DataError
        The table cannot be read.
    """
    table = config.input.pointings
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
    for source, own in beams.items():
        without = sorted((b or 0) for b in own if (source, b) not in places and (source, None) not in places)
        if without:
            which = f" beam {', '.join(map(str, without))}" if any(without) else ""
            out.append(f"{table}: has no position for {source}{which}: those of the headers are used")
    return out
