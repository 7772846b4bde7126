"""Times and velocities that TEMPO has computed, for the tests of barycentres and ephemerides."""

from pathlib import Path
from typing import NamedTuple

from pulsar.sky.observatory import find_observatory


class TempoRow(NamedTuple):
    """A moment at an observatory, and TEMPO's answer: MJD there (UTC) and at the barycentre (TDB), and v/c."""

    site: str
    ra_deg: float
    dec_deg: float
    topo: float
    bary: float
    voverc: float

    @property
    def where(self) -> tuple[str, float, float]:
        return self[:3]


def tempo_rows(shared_data: Path) -> list[TempoRow]:
    """The rows of observatories that we know."""
    lines = (shared_data / "reference" / "barycentre_tempo.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return [
        TempoRow(site, 15 * _degrees(ra), _degrees(dec), float(topo), float(bary), float(voverc))
        for site, ra, dec, topo, bary, voverc in rows
        if find_observatory(site) is not None
    ]


def _degrees(text: str) -> float:
    sign = -1.0 if text.startswith("-") else 1.0
    parts = [abs(float(p)) for p in text.split(":")]
    return sign * (parts[0] + parts[1] / 60 + parts[2] / 3600)
