"""Words of sheets and pages for a row: where it is, what it measures, what speaks for it and against it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.constants import C
from pulsar.data.direction import dms, galactic, galactic_dm, hms
from pulsar.data.flags import BY_NAME, split
from pulsar.data.fold import Fold, PulseCutout, zapped
from pulsar.data.header import Header
from pulsar.data.text import band_text, duty_cycle, printable, significant, small_error, value_error
from pulsar_kernels.arrays import Array

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
    """Facts of a plot sheet beside what is drawn."""

    #: Of the table of candidates (``run.candidate("c0001")``), or of pulses: what the search knows.
    row: Mapping[str, Any] = field(default_factory=dict)
    header: Header | None = None  # Of its observation (``run.observation_of("c0001")``)
    title: str | None = None  # In place of the id of the row
    files: Sequence[Path] = ()  # From which it is

    def name(self, default: str) -> str:
        """The name above the sheet."""
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
    parts = [printable(header.source or "unnamed source"), printable(header.telescope or "unknown telescope")]
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


def position(header: Header | None, row: Mapping[str, Any]) -> Lines:
    """Names and values of where a row lies on the sky: its own position, and that of the beam where it is another."""
    place, beam = _place(header, row), _place(header, {})
    if not all(map(math.isfinite, place)):
        return []
    longitude, latitude = galactic(*place)
    # To less than the digits shown it is the beam's.
    apart = all(map(math.isfinite, beam)) and math.dist(place, beam) > 1e-4
    return _known(
        ("J2000", f"{hms(place[0])}  {dms(place[1])}"),
        ("galactic", f"l {float(longitude):.4f}°  b {float(latitude):+.4f}°"),
        ("seen in", f"{row['nbeams']} beams, best in {row.get('beam', '?')}" if row.get("nbeams", 0) > 1 else ""),
        ("beam centre", f"{hms(beam[0])}  {dms(beam[1])}" if apart else ""),
    )


def _known(*lines: tuple[str, str]) -> Lines:
    """Without what has no value."""
    return [(name, value) for name, value in lines if value]


def origin(files: Sequence[Path]) -> Lines:
    """Name of the file in which a row was found, without its folders; of several the first, and how many more."""
    if not files:
        return []
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return [("file", f"{files[0].name}{more}")]


def share_of_galaxy(dm: float, row: Mapping[str, Any], header: Header | None) -> Lines:
    """A DM as a share of the most that the Galaxy has in its direction; nothing where no model is installed."""
    place = _place(header, row)
    most = galactic_dm(*(round(float(v), 2) for v in galactic(*place))) if math.isfinite(dm) else None
    return [] if most is None else [("of Galaxy", f"{100.0 * dm / most[0]:.0f} % of {most[0]:.0f} ({most[1]})")]


def _place(header: Header | None, row: Mapping[str, Any]) -> tuple[float, float]:
    """Direction of a row [deg]: its own, else that of the beam; NaN where it is unknown."""
    place = (float(row.get("ra_deg", math.nan)), float(row.get("dec_deg", math.nan)))
    beam = (math.nan, math.nan) if header is None else (header.ra_deg, header.dec_deg)
    return place if all(map(math.isfinite, place)) else beam


def headline(subject: Fold | PulseCutout, row: Mapping[str, Any]) -> list[str]:
    """The most important numbers of a fold or a single pulse; the row, of candidates or pulses, may be empty."""
    if isinstance(subject, Fold):
        facts = [f"P {1e3 / subject.after.freq:.9g} ms", f"DM {subject.after.dm:.5g}", f"S/N {subject.snr:.1f}"]
    else:
        facts = [_fact(row, "snr", "S/N {:.1f}"), f"DM {subject.dm:.5g}"]
        # Of a stretch that nobody called a pulse there is none.
        facts.append(f"width {1e3 * subject.width:.3g} ms" if finite(subject.width) else "")
    return [fact for fact in (*facts, _fact(row, "score", "score {:.2f}")) if fact]


def sides(subject: Fold | PulseCutout, about: About) -> tuple[Lines, Lines]:
    """Names and values of what is measured; and of where it is from, and what was judged."""
    if isinstance(subject, Fold):
        judgement = verdict(subject, about.row)
        return numbers(subject, about.row, about.header), [*origin(about.files), *judgement]
    return pulse_numbers(subject, about.row, about.header), [*origin(about.files), *judged(about.row)]


def numbers(fold: Fold, row: Mapping[str, Any], header: Header | None) -> Lines:
    """Names and values of what a fold measures; what is unknown is left out.

    Parameters
    ----------
    row : mapping
        Of candidates; may be empty.
    header : Header, optional
        Of the observation of the row.
    """
    freq, fdot = fold.after.freq, fold.after.fdot
    if not 1e-9 < freq < 1e9:
        # Products of others may hold anything.
        return [("frequency", f"{freq:.6g} Hz")]
    accel, accel_err = -C * fdot / freq, C * fold.fdot_err / freq
    period_err, pdot_err = fold.freq_err / freq**2, fold.fdot_err / freq**2
    # Of data that are barycentred already it is not topocentric.
    frame = "P bary" if header is not None and header.barycentric else "P topo"
    bary: Any = row.get("period_bary") if frame == "P topo" else None
    pdot_bary: Any = row.get("fdot_bary") if finite(bary) else None
    flux: Any = row.get("flux")
    end = fold.start + fold.tobs
    half = w50(fold.profile, fold.width, fold.phase)
    wide = f"W50 {1e3 * half / freq:.3g} ms, " if math.isfinite(half) else ""
    lines = [
        (frame, f"{value_error(1e3 / freq, 1e3 * period_err)} ms"),
        ("Pdot", f"{small_error(-fdot / freq**2, pdot_err)} s/s"),
        ("P bary", "" if not finite(bary) else f"{value_error(1e3 * bary, 1e3 * period_err)} ms"),
        ("Pdot bary", "" if not finite(pdot_bary) else f"{small_error(-pdot_bary / freq**2, pdot_err)} s/s"),
        ("acceleration", f"{value_error(accel, accel_err)} m/s²" if significant(accel, accel_err) else ""),
        ("or period", f"{1e3 * row['period_alt']:.9g} ms" if finite(row.get("period_alt")) else ""),
        ("DM", f"{value_error(fold.after.dm, fold.dm_err)} pc/cm³"),
        *share_of_galaxy(fold.after.dm, row, header),
        ("S/N", f"{fold.snr:.1f}   reduced χ² {fold.chi2_red:.2f}"),
        ("left out", f"{zapped(fold)}, by hand" if zapped(fold) else ""),
        ("width", f"{wide}duty {duty_cycle(fold.width, fold.width_err)}"),
        ("mean flux", f"{value_error(flux, row.get('flux_err', math.nan))} µJy" if finite(flux) else ""),
        ("detection", _fact(row, "sigma", f"{{:.1f}} σ, {row.get('nharm', '?')} harmonics")),
        ("found by", str(row.get("found_by") or "").replace(",", ", ")),
        ("part", f"{fold.part}: {fold.start:.6g} to {end:.6g} s of the observation" if fold.part else ""),
        ("epoch", f"MJD {fold.epoch:.8f} UTC"),
    ]
    return _known(*lines, *position(header, row))


def verdict(fold: Fold, row: Mapping[str, Any]) -> Lines:
    """Names and values of what was judged: score, flags and links, each with its reasons.

    Parameters
    ----------
    row : mapping
        Of candidates; may be empty.
    """
    stored = fold.extra.get("features")
    features: dict[str, Any] = stored if isinstance(stored, dict) else {}
    reasons = [words.format(features[name] * factor) for name, words, factor in _SCORE if finite(features.get(name))]
    score = _fact(row, "score", "{:.2f}")
    return _known(
        ("known source", str(row.get("known_source") or "")),
        ("score", f"{score}: {', '.join(reasons)}" if score and reasons else score),
        *judged(row),
    )


def judged(row: Mapping[str, Any]) -> Lines:
    """Names and values of the flags and links of a row, of candidates or single pulses."""
    flags = split(str(row.get("rfi_flags") or ""))
    again = f"{row['nseen']} times in all, by chance with {row['chance']:.1e}" if row.get("nseen", 0) > 1 else ""
    owner = f"{row['harmonic_of']}, {row.get('relation') or 'harmonic'}" if row.get("harmonic_of") else ""
    return _known(
        ("seen again", again),
        *(("flag", f"{flag}: {BY_NAME[flag].text}" if flag in BY_NAME else flag) for flag in flags),
        ("belongs to", owner),
        ("pulse of", str(row.get("source") or "")),
        ("explains", f"{row['nattached']} other groups of detections" if row.get("nattached") else ""),
        ("single pulses", f"in its phase in {row['npulses']} turns" if row.get("npulses") else ""),
        ("because", str(row.get("reasons") or "")),
    )


def pulse_numbers(cutout: PulseCutout, row: Mapping[str, Any], header: Header | None) -> Lines:
    """Names and values of what a single pulse measures; what is unknown is left out.

    Parameters
    ----------
    row : mapping
        Of single pulses; may be empty.
    header : Header, optional
        Of the observation of the row.
    """
    dm, band = row.get("dm", cutout.dm), band_text(row.get("freq_lo", math.nan), row.get("freq_hi", math.nan))
    return _known(
        ("time", f"{cutout.time:.6f} s after the start"),
        ("arrival", f"MJD {cutout.mjd:.9f} at {cutout.fref:.6g} MHz" if math.isfinite(cutout.mjd) else ""),
        ("DM", f"{value_error(dm, row.get('dm_err', math.nan))} pc/cm³"),
        *share_of_galaxy(float(dm), row, header),
        ("S/N", _fact(row, "snr", "{:.1f}")),
        ("band", f"{band} MHz shows it best" if band else ""),
        ("width", f"{1e3 * cutout.width:.3g} ms" if finite(cutout.width) else ""),
        ("significance", _fact(row, "sigma", "{:.1f} σ after all trials")),
        ("events", str(row.get("ndetections") or "")),
        ("score", _fact(row, "score", "{:.2f}")),
        *position(header, row),
    )


def w50(profile: Array, width: float, phase: float) -> float:
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
    """True for a number that is finite."""
    return isinstance(value, int | float | np.floating) and math.isfinite(value)


def _fact(row: Mapping[str, Any], key: str, words: str) -> str:
    """Words with a number of a row in them; "" where it is unknown."""
    return words.format(row[key]) if finite(row.get(key)) else ""
