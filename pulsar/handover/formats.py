"""The formats in which a candidate is handed on, by the ending of their files; those of PRESTO's prepfold in full.

prepfold leaves the binary ``.pfd`` and the text ``.bestprof``.
Facts of the formats: the order in which prepfold's own reader takes the numbers of a ``.pfd``, checked on real files
(tests/handover). Counts and lengths are int32, texts are preceded by their length, positions are 16 bytes, all other
numbers float64, but for three "powers" of float32 that are followed by four bytes of nothing.

PRESTO counts turns from the start of the observation, subbands ascend in frequency and are not dedispersed among each
other. A product keeps sums over frequency and over time, not what is in both: :mod:`pulsar.data.fold`.

prepfold spreads a sample over the bins that it covers, and here each is in one bin. Signal and noise of the exported
profiles are made what spreading would have left of them, and variances are those of samples with their signal, as
prepfold takes them: chi-square and sigma of prepfold, of its text and of PRESTO's class ``pfd`` are then those of
prepfold's own fold.

CandyJar and CandyWeb, the viewers of MeerKAT's surveys (version 3.1), read a folder with ``candidates.csv`` and
pictures, which the list names from the folder on. Lines are cut at commas, without quotes, and empty cells at their end
are lost. Cells of numbers must be numbers (NaN is one), ``beam_id`` and ``pointing_id`` integers, ``utc_start`` an ISO
time. A ``metafile_path`` that leads nowhere stands for no map of beams. Classifications are written to a csv of the
columns beamid, utc, png, classification, and to another with the whole lines and a column classification.
"""

import csv
import io
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.constants import KDM, C
from pulsar.data.direction import dms, galactic, galactic_dm, hms
from pulsar.data.files import read_text
from pulsar.data.fold import aligned_cube, reciprocal, turned
from pulsar.data.header import band_delay
from pulsar.data.text import file_name, iso_time, printable
from pulsar.errors import ConfigError, DataError
from pulsar.handover.candidate import Exported
from pulsar.handover.timing import par_text, tim_text, toas_of, wideband_of, without_noise
from pulsar.io.folded import spread_noise
from pulsar.io.labels import uid_of
from pulsar.io.product.reader import Run
from pulsar.searches.stats import chi2_logsf, sigma_from_logp
from pulsar.sky.barycentre import motion_of
from pulsar_kernels.arrays import Floats

#: Bytes of a position.
_POSITION: Final = 16
#: Multiples of the bins to either side whose aliases are summed: what is left out is 2 / (pi^2 _ALIASES) of the noise.
_ALIASES: Final = 256


def spin_at_start(candidate: Exported) -> tuple[float, float, float]:
    """Topocentric frequency and two derivatives at the start of the observation."""
    p = candidate.fold.after.at(-0.5 * candidate.fold.tobs)
    return p.freq, p.fdot, p.fddot


def bary_periods(candidate: Exported) -> tuple[float, float, float, float]:
    """MJD (TDB), barycentric period and derivatives at the start; zeros where they are unknown."""
    header = candidate.header
    # The motion at the start: of an observation of no length.
    motion = motion_of(header.with_(nsamps=0)) if not header.barycentric else None
    if motion is None:
        return 0.0, 0.0, 0.0, 0.0
    freq, fdot, fddot = spin_at_start(candidate)
    return motion.mjd_tdb, *reciprocal(motion.freq(freq), motion.fdot(freq, fdot), fddot)


def phase_of_start(candidate: Exported) -> float:
    """Phase of the fold at the start of the observation, from which PRESTO counts [turns]."""
    return float(candidate.fold.after.turns(-0.5 * candidate.fold.tobs))


def subbands(candidate: Exported) -> Floats:
    """Middles of as many equal subbands as the fold has bands [MHz], ascending."""
    low, high = candidate.header.edges
    count = len(candidate.fold.band_freqs)
    return np.asarray(low + (high - low) / count * (np.arange(count) + 0.5), dtype=np.float64)


def spread(candidate: Exported, profiles: Floats) -> Floats:
    """Profiles as if samples had been spread over bins, shape (..., nbins).

    A sample that is as long as `t` turns and is spread over them leaves sinc^2(k t) of the power of the signal in
    harmonic k. Of white noise, which has power beyond the last harmonic, each alias leaves that share of its own part;
    the parts, sinc^2(k / nbins) of bins that are sums, add up to 1. Harmonics get the power that they then have on
    average, by which chi-square is neither too large in noise nor too small in signal.

    Parameters
    ----------
    candidate : Exported
        Its profile tells signal from noise.
    profiles : ndarray, shape (..., nbins)
    """
    nbins = profiles.shape[-1]
    turns = spin_at_start(candidate)[0] * candidate.header.tsamp
    harmonics = np.arange(nbins // 2 + 1)
    aliases = harmonics + nbins * np.arange(-_ALIASES, _ALIASES + 1)[:, None]
    noise = np.sum((np.sinc(aliases / nbins) * np.sinc(aliases * turns)) ** 2, axis=0)
    power = np.abs(np.fft.rfft(candidate.fold.profile.astype(np.float64))) ** 2 / nbins
    left = np.sinc(harmonics * turns) ** 2 * (power - 1.0) + noise
    # Power at which nothing is divided by 0; a harmonic is never made larger.
    gain = np.sqrt(np.clip(left / np.maximum(power, 1e-12), 0.0, 1.0))
    return np.asarray(np.fft.irfft(np.fft.rfft(profiles, axis=-1) * gain, nbins, axis=-1))


def sample_variance(candidate: Exported) -> float:
    """Variance of the samples of a band over that of their noise: what is folded is in them, too."""
    fold = candidate.fold
    signal = max(float(np.sum(fold.profile.astype(np.float64) ** 2)) - (fold.profile.size - 1), 0.0)
    return 1.0 + signal / (len(fold.band_freqs) * candidate.header.nsamps)


def significance(candidate: Exported) -> tuple[float, float, float]:
    """Reduced chi-square, ln of its chance probability and sigma of the fold, as prepfold reckons them.

    Chi-square is over the variance of the samples in a bin. Bins that share samples are fewer independent ones: their
    number, less one, is multiplied by :func:`pulsar.io.folded.spread_noise` (PRESTO: ``DOF_corr`` in fold.c;
    prepfold_plot.c; ``calc_redchi2`` and ``calc_sigma`` of the class ``pfd``).
    """
    fold = candidate.fold
    nbins = fold.profile.size
    profile = spread(candidate, fold.profile.astype(np.float64))
    chi2 = float(np.sum((profile - profile.mean()) ** 2)) / sample_variance(candidate)
    freedom = (nbins - 1) * spread_noise(1.0 / (spin_at_start(candidate)[0] * nbins * candidate.header.tsamp))
    logp = float(chi2_logsf(chi2, freedom))
    return chi2 / freedom, logp, float(sigma_from_logp(logp))


def cube_of(candidate: Exported) -> Floats:
    """The fold as PRESTO lays it out, shape (npart, nsub, nbins): noise of 1 in every element, less what is spread.

    A band is put in the subband where its frequency lies, and moved to where it came before it was dedispersed; a
    subband in which none lies is empty.
    """
    fold, freqs = candidate.fold, subbands(candidate)
    nsub = len(freqs)
    at = np.zeros(nsub, dtype=np.int64)
    # The one band of a series may be at no frequency.
    if nsub > 1:
        at = np.clip(np.rint((fold.band_freqs - freqs[0]) / (freqs[1] - freqs[0])), 0, nsub - 1).astype(np.int64)
    cube = spread(candidate, aligned_cube(fold, at))
    late = _late(candidate, freqs) if nsub > 1 else np.zeros(1)
    return turned(cube, np.broadcast_to(late - phase_of_start(candidate), cube.shape[:2]))


def _late(candidate: Exported, freqs: Floats) -> Floats:
    """Turns by which the pulse comes later at a frequency than at the highest subband, as PRESTO reckons them."""
    motion = motion_of(candidate.header)
    seen = freqs * (1.0 if motion is None else 1.0 + motion.voverc)
    return np.asarray(spin_at_start(candidate)[0] * KDM * candidate.fold.after.dm * (seen**-2.0 - seen[-1] ** -2.0))


def pfd_bytes(candidate: Exported) -> bytes:
    """The content of a ``.pfd`` file."""
    fold, header = candidate.fold, candidate.header
    cube, freqs = cube_of(candidate), subbands(candidate)
    npart, nsub, nbins = cube.shape
    spin = spin_at_start(candidate)
    epoch, *bary = bary_periods(candidate)
    motion = motion_of(header)
    axes = _axes(candidate, nbins, freqs)

    def text(value: str) -> bytes:
        raw = printable(value).encode("ascii", "replace")[:255]
        return struct.pack("<i", len(raw)) + raw

    def place(value: str) -> bytes:
        return value.encode()[: _POSITION - 1].ljust(_POSITION, b"\0")

    name = candidate.files[0].name if candidate.files else candidate.product.name
    parts = [
        struct.pack("<5i", *(len(axis) for axis in axes), nsub, npart),
        # One channel a subband; steps and factors of the axes.
        struct.pack("<7i", nbins, nsub, 1, 1, 1, 1, 1),
        text(name),
        text(file_name(candidate.name)),
        text(header.telescope or "Unknown"),
        text(f"{candidate.product.stem}_{candidate.ident}.pfd.ps/CPS"),
        place(hms(header.ra_deg, 4) or "00:00:00.0000"),
        place(dms(header.dec_deg, 4) or "00:00:00.0000"),
        struct.pack("<2d", header.tsamp, 0.0),
        struct.pack("<4d", 1.0, header.tstart, epoch, 0.0 if motion is None else motion.voverc),
        struct.pack("<3d", *np.nan_to_num([freqs[0], header.bandwidth / nsub, fold.after.dm])),
        # Each behind a power that is not told.
        *(struct.pack("<f4x3d", 0.0, *periods) for periods in (reciprocal(*spin), bary, spin)),
        struct.pack("<7d", *np.zeros(7)),
        np.concatenate(axes).astype("<f8").tobytes(),
        cube.astype("<f8").tobytes(),
        _statistics(candidate, cube).astype("<f8").tobytes(),
    ]
    return b"".join(parts)


def _axes(candidate: Exported, nbins: int, freqs: Floats) -> list[Floats]:
    """Trial DMs, periods and period derivatives: 2 nbins + 1 of each, a bin of drift apart, as prepfold has."""
    steps = np.arange(-nbins, nbins + 1, dtype=np.float64) / nbins
    freq, fdot, _ = spin_at_start(candidate)
    dm, tobs = candidate.fold.after.dm, candidate.fold.tobs
    across = freq * band_delay(freqs)
    dms_ = dm + steps / across if across > 0 else dm + steps
    # None below 0, and none of a series.
    dms_ = dms_ - min(dms_[0], 0.0) if len(freqs) > 1 else dms_[:0]
    return [dms_, 1.0 / (freq - steps / tobs), -(fdot - 2.0 * steps / tobs**2) / freq**2]


def _statistics(candidate: Exported, cube: Floats) -> Floats:
    """Of every sub-integration and subband: samples, their mean and variance; bins, their mean, variance and chi2."""
    npart, nsub, nbins = cube.shape
    stats = np.zeros((npart, nsub, 7))
    samples = np.diff(candidate.fold.time_edges) / candidate.header.tsamp
    stats[..., 0] = samples[:, None]
    stats[..., 3] = nbins
    # Noise of 1 for a sub-integration of mean length, as in the cube.
    stats[..., 5] = sample_variance(candidate) * (samples / samples.mean())[:, None]
    stats[..., 2] = stats[..., 5] * nbins / stats[..., 0]
    stats[..., 6] = np.sum(cube**2, axis=2) / stats[..., 5] / (nbins - 1)
    return stats


def bestprof_text(candidate: Exported) -> str:
    """The text of a ``.bestprof`` file: facts of the fold, and its profile in units of its noise (unspread)."""
    fold, header = candidate.fold, candidate.header
    freq, fdot, fddot = spin_at_start(candidate)
    period, pdot, pddot = reciprocal(freq, fdot, fddot)
    epoch, *bary = bary_periods(candidate)
    nbins = fold.profile.size
    chi2_red, logp, sigma = significance(candidate)
    deviation = np.sqrt(sample_variance(candidate))
    errors = (fold.freq_err / freq**2, fold.fdot_err / freq**2)

    def value(number: float, factor: float, error: float) -> str:
        return f"{factor * number:<17.15g} +/- {factor * error if np.isfinite(error) else 0.0:.3g}"

    facts = [
        ("Input file", printable(candidate.files[0].name if candidate.files else candidate.product.name)),
        ("Candidate", file_name(candidate.name)),
        ("Telescope", printable(header.telescope) or "Unknown"),
        ("Epoch_topo", f"{header.tstart:.15g}"),
        ("Epoch_bary (MJD)", f"{epoch:.15g}" if epoch else "N/A"),
        ("T_sample", f"{header.tsamp:.10g}"),
        ("Data Folded", f"{header.nsamps}"),
        ("Data Avg", "0"),
        ("Data StdDev", f"{deviation:.7g}"),
        ("Profile Bins", f"{nbins}"),
        ("Profile Avg", "0"),
        ("Profile StdDev", f"{deviation:.7g}"),
        ("Reduced chi-sqr", f"{chi2_red:.3f}"),
        ("Prob(Noise)", f"<  {np.exp(logp):.3g}   (~{sigma:.1f} sigma)"),
        ("Best DM", f"{fold.after.dm:.3f}"),
        ("P_topo (ms)", value(period, 1e3, errors[0])),
        ("P'_topo (s/s)", value(pdot, 1.0, errors[1])),
        ("P''_topo (s/s^2)", value(pddot, 1.0, 0.0)),
        ("P_bary (ms)", value(bary[0], 1e3, errors[0]) if epoch else "N/A"),
        ("P'_bary (s/s)", value(bary[1], 1.0, errors[1]) if epoch else "N/A"),
        ("P''_bary (s/s^2)", value(bary[2], 1.0, 0.0) if epoch else "N/A"),
        *((key, "N/A") for key in ("P_orb (s)", "asin(i)/c (s)", "eccentricity", "w (rad)", "T_peri")),
    ]
    # An inequality takes the place of the sign.
    lines = [f"# {key:<16} {'' if key.startswith('Prob') else '=  '}{text}" for key, text in facts]
    lines.append("#" * 54)
    profile = turned(spread(candidate, fold.profile.astype(np.float64)), -phase_of_start(candidate))
    lines += [f"{i:4d}  {level:.7g}" for i, level in enumerate(profile)]
    return "\n".join(lines) + "\n"


def wideband_tim(candidate: Exported) -> str:
    """The one time of arrival of a fold, with its DM."""
    toas = [wideband_of(toa, candidate.fold, candidate.header) for toa in toas_of(candidate.fold, candidate.header, 1)]
    return tim_text(toas, candidate.header, candidate.name)


def _csv(candidate: Exported) -> str:
    """The profile: phases of the middles of bins, intensity in units of its noise, and without noise as a template."""
    profile = candidate.fold.profile.astype(np.float64)
    phases, clean = (np.arange(profile.size) + 0.5) / profile.size, without_noise(profile)
    rows = (f"{at:.9g},{level:.7g},{smooth:.7g}" for at, level, smooth in zip(phases, profile, clean, strict=True))
    return "\n".join(["phase,intensity,template", *rows, ""])


def _psrfits(candidate: Exported) -> bytes:
    # Which loads astropy's FITS.
    from pulsar.handover.psrfits import psrfits_bytes

    return psrfits_bytes(candidate)


#: Ending -> content of the file.
FORMATS: Final[Mapping[str, Callable[[Exported], str | bytes]]] = {
    "par": lambda c: par_text(c.fold, c.header, name=c.name, origin=c.origin),
    "bestprof": bestprof_text,
    "pfd": pfd_bytes,
    "csv": _csv,
    "tim": lambda c: tim_text(toas_of(c.fold, c.header), c.header, c.name),
    "psrfits": _psrfits,
}


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
