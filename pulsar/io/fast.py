"""Names of FAST 19-beam files: beam, mode and sequence number."""

import re
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"^(?P<source>.+?)_(?P<mode>[^_]+)-M(?P<beam>\d\d)(?P<rest>.*)$")
_SEQUENCE = re.compile(r"_(\d{4,})(?=\.|$|-)")
_LINE = re.compile(r"_[WNF]_\d{3,}|_[WNF]-M\d\d|-M\d\d_[WNF](?=[_.])")


@dataclass(frozen=True)
class FastName:
    """What a file name says.

    Attributes
    ----------
    source, mode : str
    beam : int or None
        1 to 19.
    sequence : int or None
        Number of the file in its observation, from 1.
    """

    source: str = ""
    mode: str = ""
    beam: int | None = None
    sequence: int | None = None


def parse_name(path: Path) -> FastName:
    """Parts of ``<SRC>_<mode>-M<01..19>_<NNNN>.fits``; what is not there is None or ""."""
    name = path.name
    numbers = _SEQUENCE.findall(name)
    sequence = int(numbers[-1]) if numbers else None
    match = _NAME.match(path.stem)
    if match is None:
        return FastName(sequence=sequence)
    beam = int(match["beam"])
    return FastName(match["source"], match["mode"], beam if 1 <= beam <= 19 else None, sequence)


def is_calibration(path: Path) -> bool:
    """Whether the name is that of a scan with the noise diode (modes ``cal``, ``swiftcalibration``, and ``_cal``)."""
    mode = parse_name(path).mode.lower()
    return "calibration" in mode or mode == "cal" or re.search(r"_cal(?=[_.-]|$)", path.stem.lower()) is not None


def is_spectral_line(path: Path) -> bool:
    """Whether the name is that of a spectral-line product (``_W_``, ``_N_``, ``_F_``) of the FAST backend."""
    return _LINE.search(path.name) is not None
