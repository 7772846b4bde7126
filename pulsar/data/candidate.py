"""THE tables of columns: name, type, unit and description of everything that is listed.

The HDF5 product, the tables on screen and the documentation are made from these. Those of injected signals are in
:mod:`pulsar.data.injected`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pulsar_kernels.arrays import Array


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    dtype: str  # numpy type; texts are fixed-width unicode
    unit: str  # As astropy writes it; "" for none
    description: str


DETECTION_COLUMNS: tuple[Column, ...] = (
    Column("dm_index", "i4", "", "row of the DM plan"),
    Column("dm", "f8", "pc / cm3", "trial dispersion measure"),
    Column("freq", "f8", "Hz", "refined topocentric frequency of the fundamental at mid-observation"),
    Column("freq_err", "f8", "Hz", "its 1-sigma error"),
    Column("fdot", "f8", "Hz / s", "frequency derivative (0 in a search without acceleration)"),
    Column("nharm", "i2", "", "harmonics summed; coherent, ffa, pulses: those that a pulse of this width has"),
    Column("power", "f4", "", "summed power, mean 1 a harmonic in noise; coherent, ffa, pulses: nharm + S/N^2 / 2"),
    Column("sigma_single", "f4", "", "Gaussian significance of the power in a single trial"),
    Column("sigma", "f4", "", "the same corrected for all independent trials of the run"),
    Column("logp", "f8", "", "natural logarithm of the single-trial false alarm probability"),
    Column("kind", "U8", "", "search that made it: fft, coherent, accel, ffa, stack, orbit, pulses (repeating ones)"),
    Column("fddot", "f8", "Hz / s2", "second frequency derivative (0 in a search without jerk)"),
    Column("snr", "f4", "", "S/N of the best pulse in the profile (coherent, ffa, pulses), else NaN"),
    Column("width", "f4", "", "width of that pulse in turns (coherent, ffa, pulses), else NaN"),
    Column("uid", "U12", "", "uid of the candidate whose group it is in"),
    Column("parent", "U12", "", "uid of the candidate that explains that one; empty where it stands for itself"),
    Column("relation", "U24", "", "what it is of its parent, as in candidates; of what has none: empty, or not folded"),
    Column("part", "U8", "", "part of the observation, such as 3/4, of whose middle freq is; empty: the whole"),
)

EVENT_COLUMNS: tuple[Column, ...] = (
    Column("dm_index", "i4", "", "row of the DM plan"),
    Column("dm", "f8", "pc / cm3", "trial dispersion measure"),
    Column("time", "f8", "s", "centre of the pulse from the start of the observation, at the highest channel"),
    Column("snr", "f4", "", "S/N of the matched filter"),
    Column("width", "f8", "s", "width of the filter: of the boxcar, or the full width at half maximum of the Gaussian"),
    Column("reach", "f8", "s", "widest pulse that the level of its series cannot hide; inf where that does not wander"),
)

CANDIDATE_COLUMNS: tuple[Column, ...] = (
    Column("rank", "i4", "", "1 is the best"),
    Column("id", "U12", "", "name inside the file, also the name of its fold"),
    Column("kind", "U8", "", "search of its best detection, as in detections; fold: the period was given"),
    Column("period", "f8", "s", "topocentric period at the epoch"),
    Column("period_err", "f8", "s", "1-sigma error of the period"),
    Column("freq", "f8", "Hz", "topocentric spin frequency at the epoch"),
    Column("fdot", "f8", "Hz / s", "topocentric frequency derivative at the epoch"),
    Column("fdot_err", "f8", "Hz / s", "1-sigma error of the frequency derivative"),
    Column("accel", "f8", "m / s2", "line-of-sight acceleration, -c fdot / f, positive when receding ever faster"),
    Column("accel_err", "f8", "m / s2", "1-sigma error of the acceleration"),
    Column("epoch", "f8", "d", "MJD (UTC) to which period and derivatives refer: the middle of what was folded"),
    Column("period_bary", "f8", "s", "barycentric period, NaN when not computed"),
    Column("fdot_bary", "f8", "Hz / s", "barycentric frequency derivative, NaN when not computed"),
    Column("dm", "f8", "pc / cm3", "refined dispersion measure"),
    Column("dm_err", "f8", "pc / cm3", "1-sigma error of the dispersion measure"),
    Column("snr", "f4", "", "boxcar S/N of the refined folded profile"),
    Column("sigma", "f4", "", "significance of the detection, corrected for trials; of a given period of the fold"),
    Column("sigma_single", "f4", "", "detection significance in a single trial"),
    Column("nharm", "i2", "", "harmonics summed in the detection"),
    Column("width", "f4", "", "duty cycle: width of the best boxcar in turns"),
    Column("width_err", "f4", "", "1-sigma error of the width"),
    Column("ndetections", "i4", "", "detections that were grouped into this candidate"),
    Column("dm_detected", "f8", "pc / cm3", "trial DM of the strongest detection"),
    Column("beam", "i2", "", "beam number, -1 when unknown"),
    Column("nbeams", "i2", "", "beams in which it was found, 1 for a single beam"),
    Column("ra_deg", "f8", "deg", "right ascension of the beam, or between several, NaN when unknown"),
    Column("dec_deg", "f8", "deg", "declination of the beam, or between several, NaN when unknown"),
    Column("score", "f4", "", "0 to 1: how much it looks like a pulsar"),
    Column("rfi_flags", "U192", "", "reasons to suspect interference, comma separated"),
    Column("harmonic_of", "U12", "", "id of the candidate that explains it (parent, relation), or empty"),
    Column("known_source", "U32", "", "known pulsar that it is (x 2, x 1/3: harmonics), or that left it (left of ...)"),
    Column("found_by", "U32", "", "all searches that found it or a harmonic of it, comma separated, best first"),
    Column("fddot", "f8", "Hz / s2", "second frequency derivative with which it was folded"),
    Column("npulses", "i4", "", "turns in which single pulses come in its phase"),
    Column("flux", "f8", "uJy", "mean flux density by the radiometer equation, NaN without a gain"),
    Column("flux_err", "f8", "uJy", "1-sigma error of the flux density, with that of telescope.gain_err"),
    Column("uid", "U12", "", "name for good: the same for the same detection of the same observation"),
    Column("parent", "U12", "", "uid of the candidate that explains it, empty where it stands for itself"),
    Column("relation", "U24", "", "what it is of its parent: same, harmonic 3/2, sidelobe, modulation, sighting"),
    Column("nattached", "i4", "", "groups of detections that it explains: its harmonics, sidelobes and so on"),
    Column("period_alt", "f8", "s", "another period that the data do not exclude, NaN where they decide"),
    Column("reasons", "U256", "", "the numbers behind parent, relation and flags"),
    Column("obs", "i4", "", "row of the table observations from which it is, -1 when unknown"),
    Column("target", "U32", "", "name of the source that was observed, from the header, or empty"),
    Column("gl", "f8", "deg", "galactic longitude of ra_deg and dec_deg, NaN when unknown"),
    Column("gb", "f8", "deg", "galactic latitude of ra_deg and dec_deg, NaN when unknown"),
    Column("nseen", "i2", "", "times at which its source was seen, 1 for a single one, 0 when unknown"),
    Column("chance", "f8", "", "probability that unrelated ones of other times agree with it as well; NaN: none does"),
    Column("score_alone", "f4", "", "of merged products: score before other times were asked, else NaN"),
    Column("part", "U8", "", "part of the observation that was folded, such as 3/4; empty: the whole"),
    Column("part_start", "f8", "s", "beginning of that part from the start of the observation, NaN for the whole"),
    Column("part_duration", "f8", "s", "its length, NaN for the whole"),
)

SINGLE_PULSE_COLUMNS: tuple[Column, ...] = (
    Column("rank", "i4", "", "1 is the best"),
    Column("id", "U12", "", "name inside the file"),
    Column("time", "f8", "s", "arrival at the highest channel, from the start of its observation"),
    Column("mjd", "f8", "d", "arrival at the highest channel, MJD (UTC, topocentric)"),
    Column("dm", "f8", "pc / cm3", "dispersion measure"),
    Column("dm_err", "f8", "pc / cm3", "its 1-sigma error"),
    Column("snr", "f4", "", "matched S/N"),
    Column("sigma", "f4", "", "significance corrected for trials"),
    Column("width", "f8", "s", "width of the best boxcar"),
    Column("ndetections", "i4", "", "events that were clustered into this one"),
    Column("beam", "i2", "", "beam number, -1 when unknown"),
    Column("score", "f4", "", "0 to 1: how much it looks like a celestial pulse"),
    Column("rfi_flags", "U192", "", "reasons to suspect interference, comma separated"),
    Column("source", "U12", "", "id of the candidate in whose phase it comes, or empty"),
    *(c for c in CANDIDATE_COLUMNS if c.name in ("ra_deg", "dec_deg", "obs", "target", "gl", "gb")),
    Column("nbeams", "i2", "", "beams in which it came, 1 for a single beam, 0 when unknown"),
    Column("nseen", "i2", "", "times at which pulses of its DM and direction came, 1 for a single one, 0 when unknown"),
    Column("chance", "f8", "", "probability that unrelated ones of other times agree with it as well; NaN: none does"),
    Column("freq_lo", "f8", "MHz", "lower edge of the band that shows it best, NaN for the whole band"),
    Column("freq_hi", "f8", "MHz", "upper edge of that band, NaN for the whole band"),
)


def dtype_of(columns: tuple[Column, ...]) -> np.dtype[Any]:
    """Structured numpy type of a table."""
    return np.dtype([(c.name, c.dtype) for c in columns])


def values_of(row: Any) -> dict[str, Any]:
    """A row of a structured array as a dict of Python values."""
    return dict(zip(row.dtype.names, row.item(), strict=True))


def table_of(columns: Mapping[str, Array]) -> Array:
    """A structured array of columns, each of its own type."""
    rows = next(iter(columns.values()))
    table = np.zeros(len(rows), dtype=[(name, column.dtype, column.shape[1:]) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    return table


def joined(columns: tuple[Column, ...], tables: Sequence[Array]) -> Array:
    """Tables of these columns one after the other; where no more than one has rows it is that table itself."""
    full = [table for table in tables if len(table)] or tables[:1]
    # numpy compares the types of all columns each time.
    return np.concatenate(full) if len(full) > 1 else full[0] if full else np.zeros(0, dtype=dtype_of(columns))


def empty_table(columns: tuple[Column, ...], nrows: int) -> Array:
    """A table whose every field is missing: NaN, "" or 0 (beam: -1)."""
    table = np.zeros(nrows, dtype=dtype_of(columns))
    for column in columns:
        if column.dtype.startswith("f"):
            table[column.name] = np.nan
        elif column.name == "beam":
            table[column.name] = -1
    return table


SUBTRACTED_COLUMNS: Final[tuple[Column, ...]] = (
    Column("name", "U32", "", "name of the pulsar, or id of the candidate"),
    Column("given", "U256", "", "as it was given: an ephemeris, or a product and a candidate of it"),
    Column("subtracted", "i1", "", "1; 0 where it is not detected in these data, and nothing was taken out"),
    Column("period", "f8", "s", "topocentric period at mid-observation, refined in these data"),
    Column("freq", "f8", "Hz", "its frequency"),
    Column("fdot", "f8", "Hz / s", "frequency derivative"),
    Column("fddot", "f8", "Hz / s2", "second frequency derivative"),
    Column("dm", "f8", "pc / cm3", "dispersion measure, refined in these data"),
    Column("snr_before", "f4", "", "boxcar S/N of its fold"),
    Column("snr_after", "f4", "", "boxcar S/N of the same fold of what is left: noise alone has some 3"),
    Column("rest", "f4", "", "what is left over what was there: amplitude of the template in the same fold"),
    Column("rest_err", "f4", "", "1-sigma error of it, by the noise of the samples"),
    Column("scatter", "f4", "", "rms of that amplitude in single sub-integrations and subbands, less that of noise"),
    Column("scatter_err", "f4", "", "below this the scatter is not told from noise: 1 sigma"),
    Column("nbins", "i4", "", "phase bins of the template"),
    Column("nsubints", "i4", "", "sub-integrations in which its brightness was measured"),
    Column("nbands", "i4", "", "subbands in which its brightness was measured"),
    Column("nshapes", "i4", "", "profiles of different times and subbands"),
    Column("nparams", "i4", "", "numbers that were measured in all"),
    Column("obs", "i4", "", "row of the table observations in whose samples it was"),
)


#: Significance, corrected for trials, below which a fold of a given period shows nothing: 1 of 740 folds of noise
#: reaches it.
DETECTED: Final = 3.0


def subtraction_text(row: Any) -> str:
    """A row of SUBTRACTED_COLUMNS in words."""
    if not row["subtracted"]:
        return f"{row['name']}: not detected (S/N {row['snr_before']:.1f}), nothing was subtracted"
    return (
        f"{row['name']} (P {row['period']:.9g} s, DM {row['dm']:.5g}) subtracted: S/N {row['snr_before']:.1f} before, "
        f"{row['snr_after']:.1f} after; {100 * row['rest']:.2f} ± {100 * row['rest_err']:.2f} % of its amplitude left "
        f"({row['nbins']} phase bins, brightness in {row['nsubints']} sub-integrations × {row['nbands']} subbands, "
        f"{row['nshapes']} profile{'s' if row['nshapes'] > 1 else ''})"
    )
