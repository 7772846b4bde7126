"""Content of the HDF5 product: its version, its groups, and a unit and description for every array.

The writer, the reader and the documentation are made from these tables.
"""

import json
from typing import Final

from pulsar.data.candidate import CANDIDATE_COLUMNS, DETECTION_COLUMNS, SINGLE_PULSE_COLUMNS, SUBTRACTED_COLUMNS, Column
from pulsar.data.injected import INJECTED_COLUMNS, LIMIT_COLUMNS, ROW_COLUMNS

FORMAT: Final = "pulsar-search"

#: major.minor: a minor step only adds; a reader refuses a newer major version. docs/product.md has the history.
FORMAT_VERSION: Final = "1.15"

GROUPS: Final[dict[str, str]] = {
    "observation": "what was observed: the joined header as attributes (of several observations: what is the same in "
    "all, and the earliest start), the files, the gaps between them",
    "folds": "one group per folded candidate, named by its id",
    "pulses": "one group per single pulse that was cut out, named by its id",
    "rfi": "the mask: what was left out and why, the baseline and noise of the rest, lines of interference",
    "provenance": "how this file was made: configuration, inputs, versions, times",
}

FILE_COLUMNS: Final[tuple[Column, ...]] = (
    Column("path", "U1", "", "absolute path when the file was read"),
    Column("start", "i8", "", "sample of the observation at which the file starts"),
    Column("nsamps", "i8", "", "samples in the file"),
    Column("size", "i8", "byte", "size of the file"),
    Column("mtime", "f8", "s", "time of its last change, since 1970-01-01 UTC"),
    Column("obs", "i4", "", "row of the table observations to which it belongs"),
)

GAP_COLUMNS: Final[tuple[Column, ...]] = (
    Column("start", "i8", "", "first missing sample"),
    Column("nsamps", "i8", "", "missing samples"),
    Column("reason", "U1", "", "why they are missing"),
    Column("obs", "i4", "", "row of the table observations to which they belong"),
)

#: The fields of pulsar.data.header.Header by their names (but for freq_table), and what follows from them.
OBSERVATION_COLUMNS: Final[tuple[Column, ...]] = (
    Column("obs", "i4", "", "number of the row, from 0: what the column obs of other tables names"),
    Column("source", "U1", "", "name of the source that was observed, or empty"),
    Column("telescope", "U1", "", "telescope, or empty"),
    Column("beam", "i4", "", "beam number, -1 when unknown"),
    Column("ra_deg", "f8", "deg", "right ascension of the beam, NaN when unknown"),
    Column("dec_deg", "f8", "deg", "declination of the beam, NaN when unknown"),
    Column("gl", "f8", "deg", "galactic longitude of the beam, NaN when unknown"),
    Column("gb", "f8", "deg", "galactic latitude of the beam, NaN when unknown"),
    Column("tstart", "f8", "d", "MJD (UTC) of the first sample"),
    Column("tobs", "f8", "s", "length of the observation"),
    Column("nsamps", "i8", "", "time samples"),
    Column("tsamp", "f8", "s", "sampling time"),
    Column("nchans", "i4", "", "channels"),
    Column("fch1", "f8", "MHz", "centre of channel 0, the highest"),
    Column("foff", "f8", "MHz", "step from one channel to the next"),
    Column("bandwidth", "f8", "MHz", "total bandwidth, edge to edge"),
    Column("nbits", "i4", "", "bits a sample in the files"),
    Column("nifs", "i4", "", "polarisations in the files"),
    Column("dm", "f8", "pc / cm3", "DM to which the data were dedispersed already"),
    Column("is_series", "i1", "", "1 for a dedispersed time series"),
    Column("barycentric", "i1", "", "1 for data that are barycentred already"),
    Column("pulsarcentric", "i1", "", "1 for data that follow a pulsar already"),
    Column("az_deg", "f8", "deg", "azimuth at the start, NaN when unknown"),
    Column("za_deg", "f8", "deg", "zenith angle at the start, NaN when unknown"),
    Column("telescope_id", "i4", "", "SIGPROC number of the telescope, -1 when unknown"),
    Column("nbeams", "i4", "", "beams of the receiver, -1 when unknown"),
    Column("machine", "U1", "", "backend, or empty"),
    Column("pol_type", "U1", "", "polarisations as the files name them, or empty"),
    Column("format", "U1", "", "format of the files"),
    Column("product", "U1", "", "product that was merged, absolute path, or empty"),
    Column("masked", "f8", "", "fraction of its samples that were masked there, NaN when unknown"),
)

BIRDIE_COLUMNS: Final[tuple[Column, ...]] = (
    Column("freq", "f8", "Hz", "topocentric frequency of the periodic interference"),
    Column("width", "f8", "Hz", "width of the range around it that is suspected"),
    Column("reason", "U1", "", "how it was found"),
)

EPOCH_COLUMNS: Final[tuple[Column, ...]] = (
    Column("epoch", "i4", "", "number of the row, from 0: what the column epoch of stack/nights names"),
    Column("mjd", "f8", "d", "its middle at the barycentre, MJD (TDB); UTC of topocentric stacks"),
    Column("tobs", "f8", "s", "its length"),
    Column("weight", "f8", "", "its weight in the sum; all together 1"),
    Column("bandwidth", "f8", "MHz", "bandwidth that was used, NaN when unknown"),
    Column("voverc", "f8", "", "velocity of the telescope away from the source over that of light, NaN when unknown"),
    Column("source", "U1", "", "name of the source that was observed, or empty"),
    Column("telescope", "U1", "", "telescope, or empty"),
    Column("beam", "i4", "", "beam number, -1 when unknown"),
    Column("beyond", "i8", "", "powers of the whole observation that were too large for a byte"),
    Column("path", "U1", "", "its file in the store"),
)

NIGHT_COLUMNS: Final[tuple[Column, ...]] = (
    Column("id", "U12", "", "id of the candidate"),
    Column("epoch", "i4", "", "row of the table stack/epochs"),
    Column("power", "f4", "", "summed power of the harmonics of the candidate in this epoch, mean 1 each in noise"),
    Column("sigma", "f4", "", "Gaussian significance of it, in a single trial"),
    Column("snr", "f4", "", "S/N of a matched filter that it means: (2 (power - harmonics))^1/2, at least 0"),
)

ORBIT_COLUMNS: Final[tuple[Column, ...]] = (
    Column("id", "U12", "", "id of the candidate"),
    Column("dm", "f8", "pc / cm3", "dispersion measure of the series"),
    Column("freq", "f8", "Hz", "spin frequency in the time of the pulsar"),
    Column("freq_err", "f8", "Hz", "its 1-sigma error"),
    Column("porb", "f8", "s", "orbital period"),
    Column("porb_err", "f8", "s", "its 1-sigma error"),
    Column("asini", "f8", "s", "projected semi-major axis over the speed of light"),
    Column("asini_err", "f8", "s", "its 1-sigma error"),
    Column("tasc", "f8", "d", "ascending node, at infinite frequency, MJD (TDB; UTC if not barycentred)"),
    Column("tasc_err", "f8", "d", "its 1-sigma error"),
    Column("mc_min", "f8", "solMass", "least mass of the companion, of an orbit seen from its edge"),
    Column("sigma", "f4", "", "detection significance, corrected for all trials of the run"),
    Column("snr", "f4", "", "boxcar S/N of the profile"),
    Column("width", "f4", "", "width of that boxcar in turns"),
    Column("phase", "f4", "", "centre of that boxcar in turns, from mid-observation in the time of the pulsar"),
)

OCTAVE_COLUMNS: Final[tuple[Column, ...]] = (
    Column("low", "f8", "Hz", "lowest frequency of the highest harmonic"),
    Column("high", "f8", "Hz", "highest frequency"),
    Column("templates", "i8", "", "templates of a DM, as they were planned"),
    Column("samples", "i8", "", "samples of a template"),
    Column("each", "f8", "s", "processor time of a template, tried before the search"),
    Column("seconds", "f8", "s", "processor time of a DM, as it was planned"),
    Column("per_hz", "f8", "s / Hz", "the same per Hz"),
)

ANSWER_COLUMNS: Final[tuple[Column, ...]] = (
    Column("id", "U12", "", "id of the candidate, as in the product or the list that it is of"),
    Column("answer", "U4", "", "yes or no"),
    Column("sigma", "f4", "", "significance of the best peak, corrected for all that was tried for this candidate"),
    Column("changed", "i1", "", "1 where it is best beyond where an unchanged acceleration would lead; else 0"),
    Column("matched", "f4", "", "S/N of that peak in the matched filter"),
    Column("snr", "f4", "", "boxcar S/N of the fold there"),
    Column("expected", "f4", "", "boxcar S/N that length and bandwidth let expect, NaN when unknown"),
    Column("ratio", "f4", "", "snr over expected; NaN of a no"),
    Column("limit", "f4", "", "boxcar S/N that would have been a yes anywhere in the window 95 times of 100"),
    Column("freq_expected", "f8", "Hz", "topocentric frequency at mid-observation, had nothing changed"),
    Column("freq_reach", "f8", "Hz", "so far on either side it was looked for"),
    Column("accel_reach", "f8", "m / s2", "largest acceleration"),
    Column("dm_low", "f8", "pc / cm3", "lowest trial DM"),
    Column("dm_high", "f8", "pc / cm3", "highest trial DM"),
    Column("ndms", "i4", "", "trial DMs"),
    Column("nharm", "i2", "", "harmonics that were matched"),
    Column("velocity", "f8", "km / s", "change of the line-of-sight velocity that the frequency means, NaN of a no"),
    Column("remarks", "U256", "", "lines of interference in the window that were left out, and other limits"),
)

STAGE_COLUMNS: Final[tuple[Column, ...]] = (
    Column("stage", "U1", "", "stage of the run"),
    Column("wall", "f8", "s", "elapsed time"),
    Column("cpu", "f8", "s", "processor time of all threads"),
)

#: Table name -> (columns, description). Texts grow beyond the width given there when they must.
TABLES: Final[dict[str, tuple[tuple[Column, ...], str]]] = {
    "candidates": (CANDIDATE_COLUMNS, "periodic candidates, best first"),
    "single_pulses": (SINGLE_PULSE_COLUMNS, "single pulses, one row per cluster of events, best first"),
    "detections": (DETECTION_COLUMNS, "the raw detections that were grouped into candidates"),
    "observations": (OBSERVATION_COLUMNS, "the observations from which the rows of other tables are"),
    "observation/files": (FILE_COLUMNS, "the files of the observation, in order of time"),
    "observation/gaps": (GAP_COLUMNS, "samples that are in no file, filled with the mean of each channel"),
    "completeness/injected": (INJECTED_COLUMNS, "signals that were injected, and what became of them"),
    "completeness/rows": (ROW_COLUMNS, "what was listed at the DMs of the injected signals"),
    "completeness/limits": (LIMIT_COLUMNS, "flux densities from which on pulsars are found"),
    "stack/epochs": (EPOCH_COLUMNS, "epochs of which the powers were summed"),
    "stack/nights": (NIGHT_COLUMNS, "what each epoch shows of each candidate"),
    "orbits/found": (ORBIT_COLUMNS, "circular orbits of the candidates"),
    "orbits/octaves": (OCTAVE_COLUMNS, "what the search of one DM was planned to take"),
    "confirm/answers": (ANSWER_COLUMNS, "whether each candidate is in this observation"),
    "subtracted/pulsars": (SUBTRACTED_COLUMNS, "known pulsars that were taken out of the samples before the search"),
    "rfi/birdies": (BIRDIE_COLUMNS, "periodic interference"),
    "provenance/stages": (STAGE_COLUMNS, "time that each stage took"),
}

#: Array of a fold -> (unit, description); the names are those of pulsar.data.fold.Fold.
FOLD_ARRAYS: Final[dict[str, tuple[str, str]]] = {
    "profile": ("", "refined profile in units of its noise (mean 0), shape (nbins,)"),
    "time_phase": ("", "sub-integrations by phase, in units of the noise of an element, shape (nsubints, nbins)"),
    "freq_phase": ("", "bands by phase, in units of the noise of an element, shape (nbands, nbins)"),
    "time_edges": ("s", "edges of the sub-integrations from the start, shape (nsubints + 1,)"),
    "band_freqs": ("MHz", "frequency of each band, shape (nbands,)"),
    "dms": ("pc / cm3", "trial DMs of the DM curve, shape (ndm,)"),
    "dm_snr": ("", "S/N at the trial DMs, shape (ndm,)"),
    "dm_expected": ("", "S/N expected there for the refined profile and DM, shape (ndm,)"),
    "freq_offsets": ("Hz", "axis of p_pdot: frequency minus the folding frequency, shape (nf,)"),
    "fdot_offsets": ("Hz / s", "axis of p_pdot: derivative minus the folding derivative, shape (nfdot,)"),
    "p_pdot": ("", "S/N over frequency and derivative, shape (nfdot, nf)"),
}

#: Scalars of a fold -> (unit, description), stored as attributes; the units are listed in the attribute "units".
FOLD_SCALARS: Final[dict[str, tuple[str, str]]] = {
    "freq_err": ("Hz", "1-sigma error of the refined frequency"),
    "fdot_err": ("Hz / s", "1-sigma error of the refined derivative"),
    "dm_err": ("pc / cm3", "1-sigma error of the refined DM"),
    "snr": ("", "boxcar S/N of the refined profile"),
    "width": ("", "width of that boxcar in turns"),
    "width_err": ("", "1-sigma error of the width"),
    "flux_err": ("", "1-sigma error of the mean flux density, as a part of it"),
    "phase": ("", "centre of that boxcar in turns"),
    "chi2_red": ("", "reduced chi-square of the refined profile against a constant"),
    "epoch": ("d", "MJD (UTC) of mid-observation"),
    "tobs": ("s", "length of the observation"),
}

#: Scalars that older products do not have: they are NaN.
FOLD_LATER: Final = ("width_err", "flux_err")

#: Numbers of what it was folded with, and of what was refined, likewise, with the ends _before and _after.
FOLD_PARAMS: Final[dict[str, str]] = {"freq": "Hz", "fdot": "Hz / s", "dm": "pc / cm3", "fddot": "Hz / s2"}

#: The same of folds of a part of the observation, and only of these.
FOLD_PART: Final[dict[str, tuple[str, str]]] = {
    "start": ("s", "beginning of the part from the start of the observation")
}

#: Array of the cube of a fold -> (unit, description); the names are those of pulsar.data.fold.FoldCube. The fold itself
#: has the edges of the sub-integrations, the frequencies of the bands, and what it was folded with.
CUBE_ARRAYS: Final[dict[str, tuple[str, str]]] = {
    "data": ("", "sums as folded, in units of the noise of a channel-sample, shape (nsubints, nbands, nbins)"),
    "variance": ("", "variance that noise alone gives each of them, shape (nsubints, nbands, nbins)"),
    "lags": ("s", "time by which sub-integrations of a band lie later than time_edges, shape (nbands,)"),
}

#: Likewise, of the same sums without a level that wanders, and only where it does.
LEVELLED_ARRAYS: Final[dict[str, tuple[str, str]]] = {
    "levelled": ("", "sums without the wandering level, of white noise, shape (nsubints, nbands, nbins)"),
    "measured": ("", "power of the noise beside each harmonic, over that of white noise, shape (nharmonics,)"),
    "smooth": ("", "the same, as a curve that never rises, shape (nharmonics,)"),
}

#: Scalars of a cube -> (unit, description), stored as attributes.
CUBE_SCALARS: Final[dict[str, tuple[str, str]]] = {
    "fref": ("MHz", "frequency to which delays are referred"),
    "tsamp": ("s", "sampling time of what was folded"),
    "resolution": ("s", "length of what was put into a bin at once, 0 where that is not known"),
}

#: The same of what has been levelled.
LEVELLED_SCALARS: Final[dict[str, tuple[str, str]]] = {
    "red": ("", "standard errors by which the lowest harmonics were noisier than white noise")
}

#: Array of a pulse that was cut out -> (unit, description); the names are those of pulsar.data.fold.PulseCutout.
PULSE_ARRAYS: Final[dict[str, tuple[str, str]]] = {
    "spectrum": ("", "dedispersed spectrum, noise of 1, NaN where there are no data, shape (nbands, ntime)"),
    "freqs": ("MHz", "middle of each band, descending, shape (nbands,)"),
    "plane": ("", "series at the trial DMs, noise of 1, shape (ndms, ntime)"),
    "dms": ("pc / cm3", "trial DMs of the plane, shape (ndms,)"),
}

#: Scalars of a pulse -> (unit, description), stored as attributes; the units are listed in the attribute "units".
PULSE_SCALARS: Final[dict[str, tuple[str, str]]] = {
    "dm": ("pc / cm3", "DM of the pulse"),
    "time": ("s", "its arrival from the start of the observation, at fref"),
    "width": ("s", "its width"),
    "start": ("s", "beginning of the first column from the start of the observation"),
    "tsamp": ("s", "time of a column"),
    "tstart": ("d", "MJD (UTC) of the start of the observation"),
    "fref": ("MHz", "frequency to which times refer"),
}

#: Array of the group rfi -> (stored type, unit, description): the mask, whole, in a product as in a mask file.
RFI_ARRAYS: Final[dict[str, tuple[str, str, str]]] = {
    "freqs": ("f8", "MHz", "channel centres, descending, shape (nchans,)"),
    "chan_mask": ("?", "", "True where the whole channel is masked, shape (nchans,)"),
    "chan_reasons": ("U", "", "why the channel is masked, empty where it is not, shape (nchans,)"),
    "mask": ("?", "", "True where a block of a channel is masked, shape (nblocks, nchans)"),
    "edges": ("i8", "", "edges of the blocks in samples, shape (nblocks + 1,)"),
    "baseline": ("f8", "", "smooth mean at the middle of every block, levels of the file, shape (nblocks, nchans)"),
    "noise": ("f8", "", "smooth standard deviation likewise, levels of the file, shape (nblocks, nchans)"),
    "bandpass_mean": ("f4", "", "median over the blocks of baseline, levels of the file, shape (nchans,)"),
    "bandpass_std": ("f4", "", "median over the blocks of noise, levels of the file, shape (nchans,)"),
    "clipped": ("i8", "", "first sample and the one after the last that are left out in all channels, shape (n, 2)"),
    "why": ("u2", "", "bits of the attribute causes, lowest first, why a block is masked, (nblocks, nchans) or empty"),
    "wave": ("f8", "s", "period of a noise diode that is taken out, and one rising edge from the start, or empty"),
    "wave_step": ("f4", "", "its step in every block and channel, levels of the file, or empty"),
}

#: Those of them that a search needs and a list does not: most of a product of a long observation.
RFI_LARGE: Final = frozenset({"baseline", "noise", "why", "wave_step"})


def column_meta(columns: tuple[Column, ...]) -> list[str]:
    """Lines of YAML with unit and description of each column, as astropy's ``Table.read`` expects them."""
    lines = ["datatype:"]
    for column in columns:
        entry = {"name": column.name, "datatype": _yaml_type(column.dtype), "description": column.description}
        if column.unit:
            entry["unit"] = column.unit
        lines.append("- " + json.dumps(entry, ensure_ascii=False))
    return lines


def _yaml_type(dtype: str) -> str:
    if dtype.startswith("U"):
        return "string"
    return {"f": "float", "i": "int", "u": "uint", "b": "bool"}[dtype[0]] + str(8 * int(dtype[1:]))
