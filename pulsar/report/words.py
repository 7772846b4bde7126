"""What sheets and pages say of a row: where it is, what it measures, what speaks for it and against it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import C
from pulsar.data.direction import dms, galactic, galactic_dm, hms
from pulsar.data.flags import BY_NAME, split
from pulsar.data.fold import Fold
from pulsar.data.header import Header
from pulsar.data.numbers import significant, small_error, value_error
from pulsar.data.pulse import PulseCutout
from pulsar.data.text import printable

Lines = list[tuple[str, str]]

#: Features of a fold that tell most of its score: name, words with the number in them, factor.
_SCORE: Final = (
    ("dm_contrast", "{:.1f} sigma above DM 0", 1.0),
    ("dm_match", "DM curve alike to {:.2f}", 1.0),
    ("time_fraction", "in {:.0f} % of the time", 100.0),
    ("freq_fraction", "in {:.0f} % of the band", 100.0),
    ("repeats", "repeats with {:.1f} sigma", 1.0),
)


@dataclass(frozen=True)
class About:
    """What a plot sheet tells beside what is drawn.

    Attributes
    ----------
    row : mapping
        Of the table of candidates (``run.candidate("c0001")``), or of pulses: what the search knows.
    header : Header, optional
        Of its observation (``run.observation_of("c0001")``).
    title : str, optional
        In place of the id of the row.
    files : sequence of Path
        From which it is.
    """

    row: Mapping[str, Any] = field(default_factory=dict)
    header: Header | None = None
    title: str | None = None
    files: Sequence[Path] = ()

    def name(self, default: str) -> str:
        """What stands above the sheet."""
        return printable(self.title or str(self.row.get("id") or default))


def observed(header: Header, row: Mapping[str, Any], tstart: float, tobs: float) -> str:
    """One line of what was observed: source, telescope and beam, start, length, band, sampling; no unknown ones.

    Parameters
    ----------
    header : Header
        Of the observation of the row.
    row : mapping
        Of candidates or single pulses: its beam is taken where the header has none.
    tstart : float
        Start, MJD (UTC).
    tobs : float
        Length [s].
    """
    number = int(row.get("beam", -1)) if header.beam is None else header.beam
    parts = [printable(header.source or "unnamed source"), printable(telescope(header))]
    parts[1] += f", beam {number}" if number >= 0 else ""
    if math.isfinite(tstart):
        parts.append(f"MJD {tstart:.6f}")
    if math.isfinite(tobs):
        parts.append(f"{tobs:.5g} s")
    if header.is_series:
        parts.append("dedispersed series")
    elif math.isfinite(header.fch1):
        parts.append(f"{header.freqs[-1]:.5g}–{header.freqs[0]:.5g} MHz")
    if math.isfinite(header.tsamp):
        parts.append(f"{1e6 * header.tsamp:.6g} µs")
    return "   ·   ".join(parts)


def telescope(header: Header) -> str:
    """Its name."""
    return header.telescope or "unknown telescope"


def position(header: Header | None, row: Mapping[str, Any]) -> Lines:
    """Names and values of where a row lies on the sky: its own position, and that of the beam where it is another."""
    own = _place(header, row)
    beam = (math.nan, math.nan) if header is None else (header.ra_deg, header.dec_deg)
    if not all(map(math.isfinite, own)):
        return []
    longitude, latitude = galactic(*own)
    lines = [
        ("J2000", f"{hms(own[0])}  {dms(own[1])}"),
        ("galactic", f"l {float(longitude):.4f}°  b {float(latitude):+.4f}°"),
    ]
    nbeams = int(row.get("nbeams", 0))
    if nbeams > 1:
        lines.append(("seen in", f"{nbeams} beams, best in {row.get('beam', '?')}"))
    # To less than the digits shown it is the beam's.
    if all(map(math.isfinite, beam)) and math.dist(own, beam) > 1e-4:
        lines.append(("beam centre", f"{hms(beam[0])}  {dms(beam[1])}"))
    return lines


def origin(files: Sequence[Path]) -> Lines:
    """Name of the file in which a row was found, without its folders; of several the first, and how many more."""
    if not files:
        return []
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return [("file", f"{files[0].name}{more}")]


def share_of_galaxy(dm: float, row: Mapping[str, Any], header: Header | None) -> Lines:
    """How much of the most that the Galaxy disperses in its direction a DM is; nothing where no model is installed."""
    own = _place(header, row)
    most = galactic_dm(*(round(float(v), 2) for v in galactic(*own))) if math.isfinite(dm) else None
    return [] if most is None else [("of Galaxy", f"{100.0 * dm / most[0]:.0f} % of {most[0]:.0f} ({most[1]})")]


def _place(header: Header | None, row: Mapping[str, Any]) -> tuple[float, float]:
    """Direction of a row [deg]: its own, else that of the beam; NaN where it is unknown."""
    own = (float(row.get("ra_deg", math.nan)), float(row.get("dec_deg", math.nan)))
    beam = (math.nan, math.nan) if header is None else (header.ra_deg, header.dec_deg)
    return own if all(map(math.isfinite, own)) else beam


def numbers(fold: Fold, row: Mapping[str, Any], header: Header | None) -> Lines:
    """Names and values of what a fold measures; what is unknown is left out.

    Parameters
    ----------
    fold : Fold
    row : mapping
        Of candidates; may be empty.
    header : Header, optional
        Of the observation of the row.
    """
    freq, fdot, dm = fold.after.freq, fold.after.fdot, fold.after.dm
    if not 1e-9 < freq < 1e9:
        # Products of others may hold anything.
        return [("frequency", f"{freq:.6g} Hz")]
    accel, accel_err = -C * fdot / freq, C * fold.fdot_err / freq
    # Of data that are barycentred already it is not topocentric.
    frame = "P bary" if header is not None and header.barycentric else "P topo"
    lines = [
        (frame, f"{value_error(1e3 / freq, 1e3 * fold.freq_err / freq**2)} ms"),
        ("Pdot", f"{small_error(-fdot / freq**2, fold.fdot_err / freq**2)} s/s"),
    ]
    if finite(row.get("period_bary")) and frame == "P topo":
        error = fold.freq_err / freq**2
        lines.append(("P bary", f"{value_error(1e3 * row['period_bary'], 1e3 * error)} ms"))
        if finite(row.get("fdot_bary")):
            lines.append(("Pdot bary", f"{small_error(-row['fdot_bary'] / freq**2, fold.fdot_err / freq**2)} s/s"))
    if significant(accel, accel_err):
        lines.append(("acceleration", f"{value_error(accel, accel_err)} m/s²"))
    if finite(row.get("period_alt")):
        lines.append(("or period", f"{1e3 * row['period_alt']:.9g} ms"))
    lines += [
        ("DM", f"{value_error(dm, fold.dm_err)} pc/cm³"),
        *share_of_galaxy(dm, row, header),
        ("S/N", f"{fold.snr:.1f}   reduced χ² {fold.chi2_red:.2f}"),
        ("width", _width(fold)),
    ]
    if finite(row.get("sigma")):
        lines.append(("detection", f"{row['sigma']:.1f} σ, {row.get('nharm', '?')} harmonics"))
    if row.get("found_by"):
        lines.append(("found by", str(row["found_by"]).replace(",", ", ")))
    if fold.part:
        lines.append(("part", f"{fold.part}: {fold.start:.6g} to {fold.start + fold.tobs:.6g} s of the observation"))
    lines.append(("epoch", f"MJD {fold.epoch:.8f} UTC"))
    return lines + position(header, row)


def verdict(fold: Fold, row: Mapping[str, Any]) -> Lines:
    """Names and values of what was judged: score, flags and links, each with its reasons.

    Parameters
    ----------
    fold : Fold
    row : mapping
        Of candidates; may be empty.
    """
    lines: Lines = []
    if row.get("known_source"):
        lines.append(("known source", str(row["known_source"])))
    if finite(row.get("score")):
        stored = fold.extra.get("features")
        features: dict[str, Any] = stored if isinstance(stored, dict) else {}
        told = [words.format(features[name] * factor) for name, words, factor in _SCORE if finite(features.get(name))]
        lines.append(("score", f"{row['score']:.2f}" + (f": {', '.join(told)}" if told else "")))
    return lines + judged(row)


def judged(row: Mapping[str, Any]) -> Lines:
    """Names and values of the flags and links of a row, of candidates or single pulses."""
    lines: Lines = []
    if row.get("nseen", 0) > 1:
        lines.append(("seen again", f"{row['nseen']} times in all, by chance with {row['chance']:.1e}"))
    for flag in split(str(row.get("rfi_flags") or "")):
        lines.append(("flag", f"{flag}: {BY_NAME[flag].text}" if flag in BY_NAME else flag))
    if row.get("harmonic_of"):
        lines.append(("belongs to", f"{row['harmonic_of']}, {row.get('relation') or 'harmonic'}"))
    if row.get("source"):
        lines.append(("pulse of", str(row["source"])))
    if row.get("nattached"):
        lines.append(("explains", f"{row['nattached']} other groups of detections"))
    if row.get("npulses"):
        lines.append(("single pulses", f"{row['npulses']} in its phase"))
    if row.get("reasons"):
        lines.append(("because", str(row["reasons"])))
    return lines


def pulse_numbers(cutout: PulseCutout, row: Mapping[str, Any], header: Header | None) -> Lines:
    """Names and values of what a single pulse measures; what is unknown is left out.

    Parameters
    ----------
    cutout : PulseCutout
    row : mapping
        Of single pulses; may be empty.
    header : Header, optional
        Of the observation of the row.
    """
    lines = [("time", f"{cutout.time:.6f} s after the start")]
    if math.isfinite(cutout.mjd):
        lines.append(("arrival", f"MJD {cutout.mjd:.9f} at {cutout.fref:.6g} MHz"))
    lines.append(("DM", f"{value_error(row.get('dm', cutout.dm), row.get('dm_err', math.nan))} pc/cm³"))
    lines += share_of_galaxy(float(row.get("dm", cutout.dm)), row, header)
    if finite(row.get("snr")):
        lines.append(("S/N", f"{row['snr']:.1f}"))
    if finite(cutout.width):
        lines.append(("width", f"{1e3 * cutout.width:.3g} ms"))
    if finite(row.get("sigma")):
        lines.append(("significance", f"{row['sigma']:.1f} σ after all trials"))
    if row.get("ndetections"):
        lines.append(("events", f"{row['ndetections']}"))
    if finite(row.get("score")):
        lines.append(("score", f"{row['score']:.2f}"))
    return lines + position(header, row)


def w50(profile: NDArray[Any], width: float, phase: float) -> float:
    """Width at half the maximum of a profile [turns], NaN where it has none.

    The profile is smoothed over a third of the boxcar that fits it best, so that noise makes no peak.

    Parameters
    ----------
    profile : ndarray, shape (nbins,)
    width, phase : float
        Of that boxcar: its width and its centre [turns].
    """
    n = len(profile)
    data = np.asarray(profile, dtype=np.float64)
    if n < 4 or not (0.0 < width <= 1.0 and math.isfinite(phase) and np.all(np.isfinite(data)) and np.ptp(data) > 0):
        return math.nan
    smooth = max(1, round(width * n / 3))
    kernel = np.zeros(n)
    kernel[(np.arange(smooth) - smooth // 2) % n] = 1.0 / smooth
    data = np.fft.irfft(np.fft.rfft(data) * np.fft.rfft(kernel), n)
    # The pulse in the middle, and what is more than a width away as the level.
    data = np.roll(data, n // 2 - round((phase % 1.0) * n - 0.5))
    away = np.abs(np.arange(n) - n // 2) > max(width * n, 1.0)
    near = np.flatnonzero(~away)
    level = float(np.median(data[away])) if away.any() else float(data.min())
    peak = int(near[np.argmax(data[near])])
    half = level + 0.5 * (float(data[peak]) - level)
    ends = []
    for step in (-1, 1):
        at = peak
        while 0 <= at + step < n and data[at + step] > half:
            at += step
        if not 0 <= at + step < n:
            return math.nan
        ends.append(at + step * (data[at] - half) / (data[at] - data[at + step]))
    return float(ends[1] - ends[0]) / n


def finite(value: Any) -> bool:
    """Whether it is a number, and finite."""
    return isinstance(value, int | float | np.floating) and math.isfinite(value)


def _width(fold: Fold) -> str:
    half = w50(fold.profile, fold.width, fold.phase)
    told = f"duty {fold.width:.3f}"
    return f"W50 {1e3 * half / fold.after.freq:.3g} ms, {told}" if math.isfinite(half) else told
