"""Candidates for CandyJar and CandyWeb, the viewers of MeerKAT's surveys, and what they say of them.

Facts of the form, as the viewer reads it (version 3.1): a folder with ``candidates.csv`` and pictures, which the list
names from the folder on. Lines are cut at commas, without quotes, and empty cells at their end are lost. Cells of
numbers must be numbers (NaN is one), ``beam_id`` and ``pointing_id`` integers, ``utc_start`` an ISO time. A
``metafile_path`` that leads nowhere stands for no map of beams. Classifications are written to a csv of the columns
beamid, utc, png, classification, and to another with the whole lines and a column classification.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pulsar.constants import C
from pulsar.data.direction import dms, galactic, galactic_dm, hms
from pulsar.data.files import read_text
from pulsar.data.text import file_name, iso_time, printable
from pulsar.errors import ConfigError, DataError
from pulsar.handover.candidate import Exported
from pulsar.io.labels import uid_of
from pulsar.io.product.reader import Run

#: The list in the folder.
CANDYJAR_LIST: Final = "candidates.csv"
#: What CandyJar calls a candidate -> what we do. T2 are the weaker ones, NB pulsars of a neighbouring beam.
CLASSES: Final[Mapping[str, str]] = {
    "T1_CAND": "pulsar",
    "T2_CAND": "unsure",
    "KNOWN_PSR": "known",
    "NB_PSR": "known",
    "RFI": "interference",
    "NOISE": "noise",
    "UNCAT": "",
}


def picture_of(row: Any) -> str:
    """Path of the sheet of a candidate within the folder: by its names, from which it is known again.

    Parameters
    ----------
    row : mapping or void
        Of the table of candidates.
    """
    return f"plots/{file_name(str(row['id']))}_{file_name(uid_of(row))}.png"


def candyjar_text(candidates: Sequence[tuple[Run, Exported]]) -> str:
    """The text of the list.

    ``_user`` are the values with which the fold began, ``_opt`` those of the refined fold, topocentric at ``pepoch``;
    ``sn_fft`` is the significance of the detection. Distances are not known, and there are no scores of PICS.

    Raises
    ------
    ConfigError
        Position or time of an observation are not known, which CandyJar cannot do without.
    """
    text = io.StringIO()
    lines = [_cells(run, candidate) for run, candidate in candidates]
    writer = csv.writer(text, quoting=csv.QUOTE_NONE, escapechar="\\", lineterminator="\n")
    writer.writerow(lines[0])
    writer.writerows(line.values() for line in lines)
    return text.getvalue()


def _cells(run: Run, candidate: Exported) -> dict[str, Any]:
    header, fold, before, after = candidate.header, candidate.fold, candidate.fold.before, candidate.fold.after
    if not (math.isfinite(header.ra_deg) and math.isfinite(header.dec_deg) and header.tstart > 0):
        raise ConfigError(
            f"{run.path}: {candidate.ident}: CandyJar needs position and start of the observation: give --ra and --dec "
            "to the search"
        )
    gl, gb = (float(value) for value in galactic(header.ra_deg, header.dec_deg))
    most, model = galactic_dm(gl, gb) or (math.nan, "")
    texts = {
        "pointing_id": max(0, int(candidate.row["obs"])), "beam_id": -1 if header.beam is None else header.beam,
        "beam_name": "unknown" if header.beam is None else f"beam{header.beam:05d}",
        "source_name": _plain(header.source or candidate.name),
        "ra": hms(header.ra_deg, 3), "dec": dms(header.dec_deg, 2), "utc_start": iso_time(header.tstart),
        "png_path": picture_of(candidate.row), "metafile_path": "none", "candidate_tarball_path": "none",
        "filterbank_path": _plain(str(candidate.files[0])) if candidate.files else "none",
    }  # fmt: skip
    numbers = {
        "gl": gl, "gb": gb, "mjd_start": header.tstart,
        "f0_user": before.freq, "f0_opt": after.freq, "f0_opt_err": fold.freq_err,
        "f1_user": before.fdot, "f1_opt": after.fdot, "f1_opt_err": fold.fdot_err,
        "acc_user": -C * before.fdot / before.freq, "acc_opt": -C * after.fdot / after.freq,
        "acc_opt_err": C * fold.fdot_err / after.freq,
        "dm_user": before.dm, "dm_opt": after.dm, "dm_opt_err": fold.dm_err,
        "sn_fft": candidate.row["sigma"], "sn_fold": fold.snr, "pepoch": fold.epoch,
        "maxdm_ymw16": most if model == "YMW16" else math.nan, "dist_ymw16": math.nan, "tobs": fold.tobs,
    }  # fmt: skip
    # Numbers last: what is empty at the end of a line is lost.
    return texts | {name: f"{value:.15g}" for name, value in numbers.items()}


def _plain(text: str) -> str:
    """A text in which no line is cut."""
    return printable(text).replace(",", ";")


def read_classes(path: Path) -> dict[str, str]:
    """What CandyJar says of the candidates that somebody classified, by the path of the picture.

    Raises
    ------
    DataError
        The file cannot be read, or is something else.
    """
    expected = "classifications of CandyJar (columns png or png_path, and classification)"
    try:
        lines = list(csv.reader(read_text(path, expected).splitlines()))
    except csv.Error as error:
        raise DataError(f"{path}: {error}: expected {expected}") from error
    names = lines[0] if lines else []
    key = "png" if "png" in names else "png_path"
    if not {key, "classification"} <= set(names):
        raise DataError(f"{path}: expected {expected}")
    classes = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        if len(line) != len(names):
            raise DataError(f"{path}: line {number} has {len(line)} cells, its heading {len(names)}")
        cells = dict(zip(names, line, strict=True))
        if cells["classification"] not in CLASSES:
            word = printable(cells["classification"][:40])
            raise DataError(f"{path}: line {number}: classification {word!r}: expected one of {', '.join(CLASSES)}")
        classes[cells[key]] = cells["classification"]
    return {picture: word for picture, word in classes.items() if CLASSES[word]}
