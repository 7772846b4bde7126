"""A candidate as an ephemeris (``.par``) and as times of arrival (``.tim``) for tempo, tempo2 and PINT.

The fold counts turns in the time of the telescope, at the highest channel. What an ephemeris counts is the same turns
by barycentric time (TDB), at infinite frequency. The turns are therefore laid out over the observation, their moments
carried to the barycentre, and the spin frequency and as many derivatives fitted as it takes to follow them.

Times of arrival come from matching a template in the Fourier domain (Taylor 1992, Phil. Trans. R. Soc. A 341, 117). A
profile is a template of some height, turned by some phase, in white noise. The likeliest phase is where the correlation
of the two is the largest, of which only the harmonics are needed; the curvature there gives the error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.constants import DAY, KDM
from pulsar.data.direction import dms, hms
from pulsar.data.files import read_text
from pulsar.data.fold import Fold, FoldParams
from pulsar.data.header import Header
from pulsar.data.text import ascii_only, file_name, printable, significant
from pulsar.errors import ConfigError, DataError
from pulsar.folding.errors import own_scatter, slopes_of, student
from pulsar.folding.profile import fine_box, template_of
from pulsar.sky.barycentre import arrival_times, barycentric
from pulsar.sky.observatory import find_observatory
from pulsar.sky.timing import delay_at_top, moments
from pulsar_kernels.arrays import Complexes, Floats

#: Ephemeris of the solar system that files name: one that tempo2 and PINT know. Ours departs from it by 10 us and by
#: 3e-9 of the frequency (:mod:`pulsar.sky.barycentre`).
EPHEMERIS: Final = "DE440"
#: Arrival times of an observation unless it is said otherwise.
GROUPS: Final = 8
#: S/N below which the highest place of the correlation may be one of noise, and its error means nothing: noise alone
#: exceeds it at one of a thousand phases once in a million profiles.
LEAST_SNR: Final = 6.0
_NAN: Final = float("nan")


@dataclass(frozen=True)
class Spin:
    """Rotation as an ephemeris tells it."""

    epoch: float  # MJD: TDB at the barycentre, or UTC at the telescope where that is all there is
    terms: tuple[float, ...]  # Frequency [Hz] and its derivatives there
    doppler: float  # Barycentric over topocentric frequency
    #: {"barycentre", "telescope", "data"}: Where its time is kept: at the barycentre, brought there by us or by who
    #: made the data; or at the telescope.
    frame: str


def spin_of(params: FoldParams, header: Header, epoch: float, tobs: float) -> Spin:
    """The rotation of a fold by the time of an ephemeris.

    Parameters
    ----------
    params : FoldParams
        Topocentric, at `epoch`.
    header : Header
        Telescope, position, and highest channel, at which the fold counts its turns.
    epoch : float
        MJD (UTC) of mid-observation.
    tobs : float
        Length [s].
    """
    nodes, late = moments(tobs), delay_at_top(header, params.dm)
    where = find_observatory(header.telescope)
    doppler, frame, first, seconds = 1.0, "telescope", epoch - late / DAY, nodes
    if header.barycentric:
        frame = "data"
    elif where is not None and _has_place(header) and epoch > 0:
        place = (header.ra_deg, header.dec_deg, where)
        first, seconds = arrival_times(first, nodes, *place)
        doppler, frame = 1.0 + barycentric(epoch, *place).voverc, "barycentre"
    return Spin(first, _terms(params.turns(nodes), seconds, 0.5 * tobs), doppler, frame)


def _terms(turns: Floats, seconds: Floats, scale: float) -> tuple[float, ...]:
    """Frequency and derivatives that follow turns: two at least, and no more than it takes."""
    x = seconds / scale
    # Most terms of the spin: the turning Earth needs no more over 6 h at a period of 1.4 ms (tests/handover).
    for count in range(2, 7):
        basis = np.stack([x**k for k in range(count + 1)], axis=1)
        fit, *_ = np.linalg.lstsq(basis, turns, rcond=None)
        # Terms are added until the turns are followed within this [turns]; a tenth of what an ephemeris is to hold.
        if np.max(np.abs(turns - basis @ fit)) < 1e-3:
            break
    factors = np.cumprod(np.arange(1, len(fit))) / scale ** np.arange(1, len(fit))
    return tuple(float(value) for value in fit[1:] * factors)


def pulse_mjd(fold: Fold) -> Decimal:
    """Passage of the middle of the pulse at the telescope next to mid-observation, MJD (UTC) at the highest channel."""
    return Decimal(fold.epoch) + Decimal(_passage(fold, 0.0, fold.phase)[0]) / Decimal(DAY)


def par_text(fold: Fold, header: Header, *, name: str, origin: str = "") -> str:
    """The text of a ``.par`` file.

    Phase 0 is the middle of the pulse. The frame is that of the barycentre where telescope and position are known;
    else it is that of the telescope, and the text says so.

    Parameters
    ----------
    header : Header
        Of its observation.
    name : str
        Of the pulsar.
    origin : str
        Where it comes from, for a comment.

    Raises
    ------
    ConfigError
        The time of the observation is not known.
    """
    if not (isfinite(fold.epoch) and fold.epoch > 0):
        raise ConfigError("the time of the observation is not known: an ephemeris cannot be made of its period")
    params, limit = _rotation(fold)
    spin = spin_of(params, header, fold.epoch, fold.tobs)
    # Delays shrink with the period, and frequencies grow: of the product with the square of a frequency one is left.
    dm, dm_err = fold.after.dm * spin.doppler, fold.dm_err * spin.doppler
    lines = par_head(name, header.ra_deg, header.dec_deg, origin, *_remarks(spin, header), limit)
    for order, value in enumerate(spin.terms):
        error = {0: fold.freq_err, 1: fold.fdot_err}.get(order, float("nan"))
        lines.append(par_line(f"F{order}", f"{value:.17g}", error))
    lines.append(par_line("PEPOCH", f"{spin.epoch:.12f}"))
    lines.append(par_line("DM", f"{dm:.10g}", dm_err))
    half = Decimal(0.5 * fold.tobs / DAY)
    lines.append(par_line("START", f"{Decimal(fold.epoch) - half:.8f}"))
    lines.append(par_line("FINISH", f"{Decimal(fold.epoch) + half:.8f}"))
    lines.append(par_line("TZRMJD", f"{pulse_mjd(fold):.15f}"))
    lines.append(par_line("TZRSITE", site_of(header.telescope) if spin.frame == "barycentre" else "@"))
    lines.append(par_line("TZRFRQ", f"{header.fch1:.6f}" if _top(header) else "0"))
    lines += [par_line("EPHEM", EPHEMERIS), par_line("UNITS", "TDB"), par_line("CLK", "UTC(NIST)")]
    return "\n".join(lines) + "\n"


def _rotation(fold: Fold) -> tuple[FoldParams, str]:
    """Parameters of a fold without a derivative that is not significant, and a remark on its limit."""
    after, drift = fold.after, fold.before.fdot
    if not isfinite(fold.fdot_err) or significant(after.fdot, fold.fdot_err):
        return after, ""
    limit = f"{abs(after.fdot) + 3.0 * fold.fdot_err:.2g} Hz/s"
    fdot = drift if abs(drift) < fold.fdot_err else 0.0
    return replace(after, fdot=fdot), f"no derivative of its own is seen: below {limit} (3 errors)"


def stack_par_text(row: Mapping[str, Any], header: Header, *, name: str, origin: str = "") -> str:
    """The text of a ``.par`` file for a candidate of a stack: a frequency at the barycentre, with no phase.

    Parameters
    ----------
    row : mapping
        Of the table of candidates.
    header : Header
        Of the stack: barycentric, with the direction that its epochs are barycentred for.
    name : str
        Of the pulsar.
    origin : str
        Where it comes from, for a comment.

    Raises
    ------
    ConfigError
        The stack is topocentric: each epoch has a period of its own.
    """
    if not header.barycentric:
        raise ConfigError("the stack is topocentric (stack.barycentre was off): no ephemeris is good for all epochs")
    freq, error = float(row["freq"]), float(row["period_err"]) * float(row["freq"]) ** 2
    remark = "position: that of the stack; no phase: TZRMJD is missing"
    lines = par_head(name, header.ra_deg, header.dec_deg, origin, remark)
    lines += [par_line("F0", f"{freq:.17g}", error), par_line("PEPOCH", f"{header.tmid:.12f}")]
    lines += [par_line("DM", f"{float(row['dm']):.10g}"), par_line("EPHEM", EPHEMERIS), par_line("UNITS", "TDB")]
    return "\n".join(lines) + "\n"


def orbit_par_text(row: Mapping[str, Any], header: Header, *, name: str, origin: str = "") -> str:
    """The text of a ``.par`` file for a pulsar on a circular orbit (ELL1: Lange et al. 2001, MNRAS 326, 274).

    Parameters
    ----------
    row : mapping
        Of the table ``orbits/found``: frequency in the time of the pulsar, orbit, node.
    header : Header
        Of what was searched: from the middle of it frequencies count, at the barycentre if it was barycentred.
    name : str
        Of the pulsar.
    origin : str
        Where it comes from, for a comment.
    """
    missing = "" if header.barycentric else "NOT BARYCENTRED: F0, PEPOCH and the orbit are topocentric (UTC)"
    lines = par_head(name, header.ra_deg, header.dec_deg, origin, missing, "no phase: TZRMJD is missing")
    lines.append(par_line("F0", f"{float(row['freq']):.17g}", float(row["freq_err"])))
    lines += [par_line("PEPOCH", f"{header.tmid:.12f}"), par_line("DM", f"{float(row['dm']):.10g}")]
    lines.append(par_line("BINARY", "ELL1"))
    lines.append(par_line("PB", f"{float(row['porb']) / DAY:.15g}", float(row["porb_err"]) / DAY))
    lines.append(par_line("A1", f"{float(row['asini']):.12g}", float(row["asini_err"])))
    lines.append(par_line("TASC", f"{float(row['tasc']):.12f}", float(row["tasc_err"])))
    lines += [par_line("EPS1", "0"), par_line("EPS2", "0"), par_line("EPHEM", EPHEMERIS), par_line("UNITS", "TDB")]
    return "\n".join(lines) + "\n"


def _top(header: Header) -> float:
    """The frequency at which a fold counts turns [MHz], 0 where it is unknown."""
    return header.fch1 if isfinite(header.fch1) and header.fch1 > 0 else 0.0


def _has_place(header: Header) -> bool:
    return isfinite(header.ra_deg) and isfinite(header.dec_deg)


def par_head(
    name: str, ra_deg: float, dec_deg: float, *remarks: str, place_err: Sequence[float] = (_NAN, _NAN)
) -> list[str]:
    """The first lines of a ``.par`` file: remarks, the name of the pulsar, and the direction if it is known.

    Parameters
    ----------
    ra_deg, dec_deg : float
        Position (ICRS) [deg]; NaN where it is not known.
    *remarks : str
        Empty ones are left out.
    place_err : sequence of float
        1 sigma of right ascension [s] and declination [arcsec], where they were fitted.
    """
    lines = [f"# {printable(line)}" for line in remarks if line]
    lines.append(par_line("PSR", file_name(ascii_only(name)) or "PSR"))
    if isfinite(ra_deg) and isfinite(dec_deg):
        lines += [par_line("RAJ", hms(ra_deg, 5), place_err[0]), par_line("DECJ", dms(dec_deg, 4), place_err[1])]
    return lines


def _remarks(spin: Spin, header: Header) -> list[str]:
    if spin.frame == "barycentre":
        return ["position: that of the beam; time: barycentric (TDB)"]
    if spin.frame == "data":
        return ["time: that of the data, which were barycentred before the search"]
    missing = [] if find_observatory(header.telescope) else ["telescope"]
    missing += [] if _has_place(header) else ["position"]
    return [f"NOT BARYCENTRED: the {' and the '.join(missing)} unknown; F0, F1 and PEPOCH are topocentric (UTC)"]


def par_line(key: str, value: str, error: float = _NAN) -> str:
    """A line of a ``.par`` file; with an error the value is one to be fitted."""
    fitted = f" 1 {error:.3g}" if isfinite(error) and error > 0 else ""
    return f"{key:<9}{value}{fitted}"


@dataclass(frozen=True)
class PulseTemplate:
    """A profile without noise."""

    #: shape (nharm + 1,): Its Fourier series, of phase as it is: harmonic k belongs to exp(2 pi i k phase).
    spectrum: Complexes
    phase: float  # Of the pulse whose arrival is told [turns]: the middle of its best box


@dataclass(frozen=True)
class Toa:
    """A time of arrival."""

    mjd: Decimal  # UTC at the telescope (of barycentred data TDB), at `freq`
    error: float  # 1 sigma [s]
    freq: float  # [MHz]; 0: infinite
    snr: float  # Of the match
    length: float  # Of the data it is from [s]
    #: dm, dm_err: DM that was measured with it, and its error [pc cm^-3], as an ephemeris counts; NaN where none was.
    dm: float = _NAN
    dm_err: float = _NAN


def series_of(profiles: Floats) -> Complexes:
    """Fourier series of profiles, shape (..., nbins): a bin stands for the phase in its middle."""
    nbins = profiles.shape[-1]
    k = np.arange(nbins // 2 + 1)
    spectra = np.fft.rfft(profiles, axis=-1) * np.exp(-1j * np.pi * k / nbins) / nbins
    spectra[..., 0] = 0.0
    return np.asarray(spectra, dtype=np.complex128)


def template_from(profile: Floats, *, clean: bool = False) -> PulseTemplate:
    """The template in a profile.

    Parameters
    ----------
    profile : ndarray, shape (nbins,)
        Of unit noise, which is left out (:func:`without_noise`).
    clean : bool
        There is none: it is taken as it is.
    """
    _, _, phase = _box(profile)
    return PulseTemplate(series_of(profile if clean else without_noise(profile)), phase)


def without_noise(profile: Floats) -> Floats:
    """A profile of unit noise with each harmonic weighted as Wiener does."""
    nbins = len(profile)
    _, width, _ = _box(profile)
    return np.asarray(np.fft.irfft(template_of(np.fft.rfft(profile), float(nbins), width), nbins), dtype=np.float64)


def _box(profile: Floats) -> tuple[float, float, float]:
    spectrum = np.fft.rfft(profile)
    spectrum[0] = 0.0
    return fine_box(spectrum, np.ones(len(profile)))


def read_template(path: Path) -> PulseTemplate:
    """A template from a table, taken as it is (:func:`read_profile`)."""
    return template_from(read_profile(path), clean=True)


def read_profile(path: Path) -> Floats:
    """A profile from a table, as ``pulsar export --csv`` writes it: the last of its columns, shape (nbins,).

    Raises
    ------
    DataError
        It cannot be read, or holds no profile.
    """
    lines = read_text(path, "a profile (phase,template)").splitlines()
    try:
        rows = [[float(cell) for cell in line.replace(",", " ").split()] for line in lines[1:] if line.strip()]
        profile = np.array([row[-1] for row in rows])
    except (ValueError, IndexError):
        raise DataError(f"{path}: expected lines of numbers, the last that of the template, below a heading") from None
    if len(profile) < 8 or not np.all(np.isfinite(profile)) or not np.ptp(profile) > 0:
        raise DataError(f"{path}: expected a profile of 8 bins or more that is not flat")
    return profile


def match(profile: Floats, template: PulseTemplate) -> tuple[float, float, float]:
    """By how much a profile of unit noise is later than a template.

    Parameters
    ----------
    profile : ndarray, shape (nbins,)
        Noise of 1 in every bin, and independent.

    Returns
    -------
    shift, error : float
        [turns], its 1-sigma error (Taylor 1992, appendix A: here with the noise known).
    snr : float
        Of the height of the template.
    """
    nbins = len(profile)
    n = min(nbins // 2 + 1, len(template.spectrum))
    spectrum, model = series_of(profile)[:n], template.spectrum[:n]
    k = np.arange(n)
    cross = spectrum * np.conj(model)
    # The correlation is first looked at on a grid finer than the bins.
    size = 8 * nbins
    shift = float(np.argmax(np.fft.irfft(cross, size)) / size)
    for _ in range(5):
        turned = cross * np.exp(2j * np.pi * k * shift)
        slope, bend = -np.sum(k * turned.imag), -np.sum(k**2 * turned.real)
        if not bend < 0:
            break
        # No farther than the grid is fine: the top is near.
        shift += float(np.clip(-slope / (2.0 * np.pi * bend), -1.0 / size, 1.0 / size))
    height = float(np.sum((cross * np.exp(2j * np.pi * k * shift)).real)) / float(np.sum(np.abs(model) ** 2))
    # Noise of 1 in nbins bins is 1 / (2 nbins) in each part of a harmonic.
    error = 1.0 / (2.0 * np.pi * abs(height) * np.sqrt(2.0 * nbins * np.sum(k**2 * np.abs(model) ** 2)))
    return shift - round(shift), float(error), height * float(np.sqrt(2.0 * nbins * np.sum(np.abs(model) ** 2)))


def toas_of(fold: Fold, header: Header, groups: int = GROUPS, template: PulseTemplate | None = None) -> list[Toa]:
    """Arrival times of a fold, one for each group of sub-integrations.

    Parameters
    ----------
    header : Header
        Of its observation.
    groups : int
        As many, or one for every sub-integration.
    template : PulseTemplate, optional
        Default: the profile of the fold itself.

    Returns
    -------
    list of Toa
        Those whose S/N is at least LEAST_SNR.

    Raises
    ------
    ConfigError
        The time of the observation is not known, or `groups` is below 1.
    """
    if groups < 1:
        raise ConfigError(f"{groups} arrival times: expected one at least")
    if not fold.epoch > 0:
        raise ConfigError("the time of the observation is not known: there are no times of arrival")
    shape = template_from(fold.profile.astype(np.float64)) if template is None else template
    rows, lengths = fold.time_phase.astype(np.float64), np.diff(fold.time_edges)
    middles = fold.time_edges[:-1] + 0.5 * lengths - 0.5 * fold.tobs
    # What is masked whole holds nothing.
    weights = np.where(np.ptp(rows, axis=1) > 0, lengths, 0.0)
    wander, scale = _wander(rows, weights, middles, shape)
    toas = []
    for part in np.array_split(np.arange(len(rows)), min(groups, len(rows))):
        weight = weights[part]
        if not weight.sum() > 0:
            continue
        profile = np.sqrt(weight) @ rows[part] / np.sqrt(weight.sum())
        shift, error, snr = match(profile, shape)
        if snr < LEAST_SNR:
            continue
        middle = float(weight @ middles[part] / weight.sum())
        at, freq = _passage(fold, middle, shape.phase + shift)
        mjd = Decimal(fold.epoch) + Decimal(at) / Decimal(DAY)
        error = float(np.sqrt(scale * error**2 + wander * np.sum(weight**2) / weight.sum() ** 2))
        toas.append(Toa(mjd, error / freq, _top(header), snr, float(weight.sum())))
    return toas


def wideband_of(toa: Toa, fold: Fold, header: Header) -> Toa:
    """The time of arrival of a whole fold together with its DM, as wideband timing takes them.

    The two must not depend on each other (Pennucci et al. 2014, ApJ 790, 93): a fold whose DM was measured a little too
    high arrives too early at high frequencies and too late at low ones, and just in time where 1 / freq^2 is the mean
    of its bands, weighted by their S/N^2. There the time is told.

    Parameters
    ----------
    toa : Toa
        At the highest channel, of all of the fold: a fold has one DM.

    Raises
    ------
    ConfigError
        The fold has measured no DM.
    """
    # Squares of the signal of each band, less what noise of 1 in each bin adds.
    profile = fold.profile.astype(np.float64)
    height = np.maximum(fold.freq_phase.astype(np.float64) @ profile, 0.0)
    weights = np.maximum(height**2 - profile @ profile, 0.0)
    if header.is_series or not (fold.dm_err > 0 and toa.freq > 0 and weights.sum() > 0):
        raise ConfigError("the fold has measured no DM: there is none to tell with its time of arrival (--wideband)")
    inverse = float(weights @ fold.band_freqs**-2.0 / weights.sum())
    later = KDM * fold.after.dm * (inverse - toa.freq**-2.0)
    doppler = spin_of(fold.after, header, fold.epoch, fold.tobs).doppler
    mjd = toa.mjd + Decimal(later) / Decimal(DAY)
    dm, dm_err = fold.after.dm * doppler, fold.dm_err * doppler
    return replace(toa, mjd=mjd, freq=inverse**-0.5, dm=dm, dm_err=dm_err)


def _wander(rows: Floats, weights: Floats, middles: Floats, template: PulseTemplate) -> tuple[float, float]:
    """Variance by which the pulse of a sub-integration is late or early beyond noise and a parabola [turns^2].

    And the scale of the variance by noise; both with what few degrees of freedom make of them.
    """
    use = weights > 0
    if np.count_nonzero(use) < 4:
        return 0.0, 1.0
    whole = np.sqrt(weights[use]) @ rows[use] / np.sqrt(weights.sum())
    shift, _, snr = match(whole, template)
    nharm = min(rows.shape[1] // 2 + 1, len(template.spectrum))
    k = np.arange(nharm)
    # As high as it is in each row, in noise of 1 a bin.
    power = float(np.sum(np.abs(template.spectrum[:nharm]) ** 2))
    height = snr / np.sqrt(2.0 * rows.shape[1] * power) * np.sqrt(weights[use] / weights.sum())
    model = template.spectrum[:nharm] * np.exp(-2j * np.pi * k * shift)
    information = (2.0 * np.pi) ** 2 * float(np.sum(k**2 * np.abs(model) ** 2))
    slopes, response = slopes_of(series_of(rows[use])[:, :nharm], model), height * information
    trend = np.polynomial.Polynomial.fit(middles[use], slopes / response, 2, w=height)
    white = np.full(len(slopes), information / (2.0 * rows.shape[1]))
    scatter, scale, free = own_scatter(slopes - response * trend(middles[use]), white, response, nparams=3)
    factor = float(student(free)) ** 2
    return factor * scatter, factor * scale


def _passage(fold: Fold, middle: float, phase: float) -> tuple[float, float]:
    """The moment next to `middle` [s after mid-observation] at which the fold has a phase, and the frequency there."""
    p = fold.after
    at, freq = middle, p.at(middle).freq
    turns = phase + round(p.turns(at) - phase)
    for _ in range(3):
        at += (turns - p.turns(at)) / freq
    return at, freq


def tim_text(toas: list[Toa], header: Header, name: str) -> str:
    """The text of a ``.tim`` file in the format of tempo2: name, frequency [MHz], MJD, error [us], telescope, flags."""
    site = "@" if header.barycentric else site_of(header.telescope)
    lines = ["FORMAT 1"]
    if site == "@" and not header.barycentric:
        lines.append("C the telescope is not known: times are topocentric (UTC)")
    return "\n".join([*lines, *(tim_line(toa, site, name) for toa in toas)]) + "\n"


def site_of(telescope: str) -> str:
    """The code of a telescope; "@", which stands for the barycentre, where it is not known."""
    where = find_observatory(telescope)
    return "@" if where is None else where.code


def tim_line(toa: Toa, site: str, name: str) -> str:
    """A line of a ``.tim`` file: of a telescope's code, or "@" for the barycentre; of a fold with S/N and length."""
    label = file_name(ascii_only(name)) or "toa"
    flags = f" -snr {toa.snr:.2f} -tobs {toa.length:.6g}" if isfinite(toa.snr) else ""
    # The flags by which wideband timing knows a DM.
    flags += f" -pp_dm {toa.dm:.10g} -pp_dme {toa.dm_err:.6g}" if isfinite(toa.dm) else ""
    return f"{label} {toa.freq:.6f} {toa.mjd:.15f} {1e6 * toa.error:.4f} {site}{flags}"
