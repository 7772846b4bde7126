"""Folds as PSRFITS archives (fold mode), for PSRCHIVE, PulsePortraiture, PyPulse and what else reads them.

The layout is that of the PSRFITS definition (Hotan, van Straten & Manchester 2004, PASA 21, 302; ATNF's list of
keywords): a primary header, HISTORY, PSRPARAM with the ephemeris, POLYCO with the turns that the fold counts, SUBINT
with profiles by sub-integration, polarisation, channel and bin. Profiles are not dedispersed. Phase 0 is where the
polynomial of POLYCO has a whole turn, which is that of the fold itself: at mid-observation, at the highest channel.
"""

import io
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from astropy.io import fits

from pulsar.constants import DAY, KDM
from pulsar.data.fold import aligned_cube, turned
from pulsar.data.header import LATEST_MJD
from pulsar.data.text import ascii_only, file_name, printable
from pulsar.errors import ConfigError
from pulsar.handover.candidate import Exported
from pulsar.handover.timing import par_text, site_of
from pulsar.io.psrfits_writer import card_value, primary_cards
from pulsar_kernels.arrays import Floats

#: Coefficients of a polynomial of phase; those of the fold are four, the others 0.
_NCOEF: Final = 15


def psrfits_bytes(candidate: Exported) -> bytes:
    """The content of a PSRFITS file in fold mode.

    Raises
    ------
    ConfigError
        The time of the observation is not known.
    """
    if not 0 < candidate.fold.epoch <= LATEST_MJD:
        raise ConfigError("the time of the observation is not known: PSRFITS cannot tell when its pulses came")
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    tables = [_history(candidate, date), _ephemeris(candidate), _polyco(candidate, date), _subints(candidate)]
    content = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(header=_primary(candidate, date)), *tables]).writeto(content)
    return content.getvalue()


def band_profiles(candidate: Exported) -> Floats:
    """Profiles as they come, not dedispersed, highest frequency first, shape (nsubints, nbands, nbins)."""
    fold = candidate.fold
    cube = aligned_cube(fold, np.arange(len(fold.band_freqs)))
    late = np.zeros(len(fold.band_freqs))
    if len(late) > 1:
        late = fold.after.freq * KDM * fold.after.dm * (fold.band_freqs**-2.0 - candidate.header.fch1**-2.0)
    return turned(cube, np.broadcast_to(late, cube.shape[:2]))


def _width(candidate: Exported) -> float:
    """Width of a band [MHz], negative: the highest comes first."""
    return -candidate.header.bandwidth / len(candidate.fold.band_freqs)


def _primary(candidate: Exported, date: str) -> Any:
    h, fold = candidate.header, candidate.fold
    day, seconds = divmod(fold.epoch - 0.5 * fold.tobs / DAY, 1.0)
    # To a tenth of a microsecond, which is what the MJD holds.
    seconds = round(seconds * DAY, 7)
    fields = {"DATE": date, "BECONFIG": "N/A", "OBS_MODE": "PSR", "SRC_NAME": file_name(ascii_only(candidate.name))}
    named = {"TELESCOP": printable(h.telescope) or "unknown", "BACKEND": printable(h.machine)}
    return fits.Header(primary_cards(h, int(day), seconds, HDRVER="6.1", **fields, **named))


def _table(name: str, columns: list[tuple[str, str, str, Any]], dims: Mapping[str, str] | None = None) -> Any:
    """A table of columns: name, format, unit and values; with dimensions of some."""
    dims = dims or {}
    cols = [
        fits.Column(name=key, format=form, unit=unit or None, array=values, dim=dims.get(key))
        for key, form, unit, values in columns
    ]
    return fits.BinTableHDU.from_columns(cols, name=name)


def _row(name: str, values: list[tuple[str, str, str, Any]]) -> Any:
    """A table of one row."""
    return _table(name, [(key, form, unit, np.array([value])) for key, form, unit, value in values])


def _history(candidate: Exported, date: str) -> Any:
    """One line of what was done."""
    fold, h = candidate.fold, candidate.header
    nsub, nbands, nbins = len(fold.time_phase), len(fold.band_freqs), fold.profile.size
    period = 1.0 / fold.after.freq
    text = ascii_only(f"pulsar export {candidate.product.name} --id {candidate.ident} --psrfits")
    return _row("HISTORY", [
        ("DATE_PRO", "24A", "", date), ("PROC_CMD", "256A", "", text[:256]), ("SCALE", "8A", "", "FluxDen"),
        ("POL_TYPE", "8A", "", "INTEN"), ("NSUB", "1J", "", nsub), ("NPOL", "1I", "", 1), ("NBIN", "1I", "", nbins),
        ("NBIN_PRD", "1I", "", nbins), ("TBIN", "1D", "s", period / nbins), ("CTR_FREQ", "1D", "MHz", h.fcenter),
        ("NCHAN", "1J", "", nbands), ("CHAN_BW", "1D", "MHz", _width(candidate)),
        # Nothing was corrected, dedispersed, scaled or calibrated.
        *((key, "1I", "", 0) for key in ("PR_CORR", "FD_CORR", "BE_CORR", "RM_CORR", "DEDISP")),
        *((key, "32A", "", "NONE") for key in ("DDS_MTHD", "SC_MTHD", "CAL_MTHD")), ("CAL_FILE", "256A", "", "NONE"),
        ("RFI_MTHD", "32A", "", "pulsar-search"),
    ])  # fmt: skip


def _ephemeris(candidate: Exported) -> Any:
    """The ephemeris that `--par` writes, a line a row."""
    text = par_text(candidate.fold, candidate.header, name=candidate.name, origin="")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return _table("PSRPARAM", [("PARAM", "128A", "", np.array(lines))])


def _polyco(candidate: Exported, date: str) -> Any:
    """The turns of the fold: phase = REF_PHS + 60 REF_F0 t + the polynomial, t in minutes after REF_MJD."""
    p, fold = candidate.fold.after, candidate.fold
    coefficients = np.zeros(_NCOEF)
    coefficients[2:4] = 60.0**2 * p.fdot / 2.0, 60.0**3 * p.fddot / 6.0
    minutes = min(math.ceil(fold.tobs / 60.0) + 2, np.iinfo(np.int16).max)
    site = "@" if candidate.header.barycentric else site_of(candidate.header.telescope)
    return _row("POLYCO", [
        ("DATE_PRO", "24A", "", date), ("POLYVER", "16A", "", "pulsar-search"), ("NSPAN", "1I", "min", minutes),
        ("NCOEF", "1I", "", _NCOEF), ("NPBLK", "1I", "", 1), ("NSITE", "8A", "", site),
        ("REF_FREQ", "1D", "MHz", candidate.header.fch1), ("PRED_PHS", "1D", "", 0.0),
        ("REF_MJD", "1D", "", fold.epoch), ("REF_PHS", "1D", "", 0.0), ("REF_F0", "1D", "Hz", p.freq),
        ("LGFITERR", "1D", "", -10.0), ("COEFF", f"{_NCOEF}D", "", coefficients),
    ])  # fmt: skip


def _subints(candidate: Exported) -> Any:
    fold, h = candidate.fold, candidate.header
    profiles = np.nan_to_num(band_profiles(candidate))
    nsub, nbands, nbins = profiles.shape
    low, high = profiles.min(axis=2), profiles.max(axis=2)
    offset = (0.5 * (low + high)).astype(np.float32)
    # Largest sample of 16 bit that is used.
    scale = np.maximum(0.5 * (high - low) / 32000.0, 1e-30).astype(np.float32)
    data = np.rint((profiles - offset[..., None]) / scale[..., None]).astype(np.int16)
    middle = 0.5 * (fold.time_edges[1:] + fold.time_edges[:-1])
    p = fold.after
    known = np.nan_to_num([h.ra_deg, h.dec_deg])
    # The one band of a series may be at no frequency; its phase is that of its channel.
    freqs = np.where(np.isfinite(fold.band_freqs), fold.band_freqs, h.fch1)
    columns: list[tuple[str, str, str, Any]] = [
        ("INDEXVAL", "1D", "", np.arange(nsub, dtype=np.float64)),
        ("TSUBINT", "1D", "s", np.diff(fold.time_edges)),
        ("OFFS_SUB", "1D", "s", middle),
        ("PERIOD", "1D", "s", 1.0 / p.at(middle - 0.5 * fold.tobs).freq),
        ("RA_SUB", "1D", "deg", np.full(nsub, known[0])),
        ("DEC_SUB", "1D", "deg", np.full(nsub, known[1])),
        ("DAT_FREQ", f"{nbands}D", "MHz", np.tile(freqs, (nsub, 1))),
        ("DAT_WTS", f"{nbands}E", "", np.ones((nsub, nbands), dtype=np.float32)),
        ("DAT_OFFS", f"{nbands}E", "", offset),
        ("DAT_SCL", f"{nbands}E", "", scale),
        ("DATA", f"{nbands * nbins}I", "", data.reshape(nsub, 1, nbands, nbins)),
    ]
    # Its axes in the order of FITS: bin, channel, polarisation.
    table = _table("SUBINT", columns, {"DATA": f"({nbins},{nbands},1)"})
    cards: list[tuple[str, Any]] = [
        ("INT_TYPE", "TIME"), ("INT_UNIT", "SEC"), ("SCALE", "FluxDen"), ("POL_TYPE", "INTEN"), ("NPOL", 1),
        ("TBIN", 1.0 / p.freq / nbins), ("NBIN", nbins), ("NBIN_PRD", nbins), ("PHS_OFFS", 0.0), ("NBITS", 1),
        ("ZERO_OFF", 0.0), ("SIGNINT", 0), ("NSUBOFFS", 0), ("NCHAN", nbands), ("CHAN_BW", _width(candidate)),
        ("REFFREQ", h.fch1), ("DM", p.dm), ("RM", 0.0), ("NCHNOFFS", 0), ("NSBLK", 1),
        ("EPOCHS", "MIDTIME"),
    ]  # fmt: skip
    table.header.update({key: card_value(value) for key, value in cards})
    return table
