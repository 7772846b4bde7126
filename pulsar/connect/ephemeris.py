"""One ephemeris of several nights: times of arrival, turns between them, the rotation, and the position.

The nights, folds in products or a ``.tim`` file, share one template: the sum of their profiles, each turned to where it
fits best. A fold tells its times at the highest channel, for its own DM. They are carried to the frequency at which
they do not depend on it, that of the mean of 1 / f^2 over its bands, so that nights whose DMs were measured with
different errors go together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from math import isfinite, log
from pathlib import Path
from typing import Final

import numpy as np
from scipy.stats import chi2 as chi_square

from pulsar.connect.turns import UNLIKELY, Connection, Rotation, Times, connect, fit, largest_fdot
from pulsar.constants import DAY, KDM
from pulsar.data.files import read_text
from pulsar.data.fold import Fold, turned
from pulsar.data.header import HIGHEST_FREQ, LATEST_MJD, Header
from pulsar.errors import ConfigError, DataError
from pulsar.handover.candidate import Exported, candidate_of
from pulsar.handover.timing import (
    EPHEMERIS,
    GROUPS,
    LEAST_SNR,
    PulseTemplate,
    Spin,
    Toa,
    match,
    par_head,
    par_line,
    site_of,
    spin_of,
    template_from,
    tim_line,
    toas_of,
)
from pulsar.io.product.reader import Run
from pulsar.sky.barycentre import arrival_times
from pulsar.sky.catalogue import beam_width
from pulsar.sky.observatory import find_observatory
from pulsar.sky.timing import TimingModel
from pulsar_kernels.arrays import Floats, Ints

#: Candidates of two nights are one pulsar if periods and DMs differ by less than so many errors.
_FAR: Final = 5.0
#: A fold is cut into no more parts than keep this S/N: few of those fall below LEAST_SNR by noise.
_PART_SNR: Final = LEAST_SNR + 2.0
#: Steps over which delays are differenced: of time [s], and of direction [rad].
_STEP: Final = 60.0
_TURN: Final = 1e-4


@dataclass(frozen=True)
class Arrivals:
    """Times of arrival of one pulsar, and what is known of it before they are connected."""

    toas: tuple[Toa, ...]  # In order of nights
    telescopes: tuple[str, ...]  # Of each; "" at the barycentre
    night: Ints  # Of each
    labels: tuple[str, ...]  # Of each night
    #: shape (nnights, 2): Barycentric frequency of each night, and its error [Hz]; NaN where it is not known.
    freqs: Floats
    #: spin, epoch: F0 [Hz] and F1 [Hz/s] that are known at an epoch, MJD (TDB).
    spin: tuple[float, float]
    epoch: float
    #: ra_deg, dec_deg: position by which times are carried to the barycentre (ICRS) [deg].
    ra_deg: float
    dec_deg: float
    place_err: float  # 1 sigma of it [rad]
    dm: float  # At the barycentre [pc cm^-3]
    name: str  # Of the pulsar
    left_out: tuple[str, ...] = ()  # Nights without a pulse that is strong enough


def arrivals_of(nights: Sequence[Exported], model: TimingModel | None = None) -> Arrivals:
    """Times of arrival of the folds of one pulsar.

    Parameters
    ----------
    model : TimingModel, optional
        Position, DM and rotation that are known; default: those of the strongest fold, DMs together.

    Raises
    ------
    ConfigError
        Times cannot be carried to the barycentre.
    """
    nights = sorted(nights, key=lambda night: night.fold.epoch)
    spins, folds = [barycentric_spin(night) for night in nights], [night.fold for night in nights]
    template = common_template(folds)
    toas = [_toas(night.fold, night.header, template) for night in nights]
    kept = [k for k in range(len(nights)) if toas[k]]
    sites = ["" if nights[k].header.barycentric else nights[k].header.telescope for k in kept]
    night = np.repeat(np.arange(len(kept)), [len(toas[k]) for k in kept])
    best = int(np.argmax([fold.snr for fold in folds]))
    header = nights[best].header
    width = beam_width(header)
    arrivals = Arrivals(
        toas=tuple(toa for k in kept for toa in toas[k]),
        telescopes=tuple(sites[k] for k in night),
        night=night,
        labels=tuple(f"{nights[k].product.name} {nights[k].ident}" for k in kept),
        freqs=np.array([(spins[k].terms[0], folds[k].freq_err * spins[k].doppler) for k in kept]).reshape(-1, 2),
        spin=(spins[best].terms[0], 0.0),
        epoch=spins[best].epoch,
        ra_deg=header.ra_deg,
        dec_deg=header.dec_deg,
        place_err=float(np.radians(width / np.sqrt(8.0 * log(2.0)))) if isfinite(width) else 0.0,
        dm=_common_dm(folds, spins),
        name=nights[best].name,
        left_out=tuple(str(nights[k].product) for k in range(len(nights)) if k not in kept),
    )
    return arrivals if model is None else with_model(arrivals, model)


def _common_dm(folds: Sequence[Fold], spins: Sequence[Spin]) -> float:
    """DM of all folds together at the barycentre; 0 of series whose DM is not known."""
    dms = np.array([(fold.dm * spin.doppler, fold.dm_err) for fold, spin in zip(folds, spins, strict=True)])
    dms = dms[np.isfinite(dms[:, 0])]
    weights = dms[:, 1] ** -2.0 if np.all(dms[:, 1] > 0) else np.ones(len(dms))
    return float(weights @ dms[:, 0] / weights.sum()) if len(dms) else 0.0


def with_model(arrivals: Arrivals, model: TimingModel) -> Arrivals:
    """Times of arrival with what an ephemeris knows of the pulsar: name, position, DM, rotation."""
    if model.orbit is not None:
        raise ConfigError(f"{model.name}: has an orbit: only pulsars without one are connected")
    middle = float(arrivals.toas[len(arrivals.toas) // 2].mjd) if arrivals.toas else model.epoch
    ra, dec = model.position(middle)
    spin, dm = (model.spin[0], (*model.spin, 0.0)[1]), model.dm if isfinite(model.dm) else arrivals.dm
    return replace(arrivals, spin=spin, epoch=model.epoch, ra_deg=ra, dec_deg=dec, dm=dm, name=model.name)


def barycentric_spin(night: Exported) -> Spin:
    """Rotation of a fold at the barycentre.

    Raises
    ------
    ConfigError
        Telescope, position or time of the observation are not known.
    """
    spin = spin_of(night.fold.after, night.header, night.fold.epoch, night.fold.tobs)
    if spin.frame == "telescope" or not night.fold.epoch > 0:
        raise ConfigError(
            f"{night.product}: {night.ident}: telescope, position or time of its observation are not known: its "
            "times cannot be carried to the barycentre; its position may be given to the fold: --set input.ra_deg=..."
        )
    return spin


def _toas(fold: Fold, header: Header, template: PulseTemplate) -> list[Toa]:
    """Arrival times of a fold at the frequency at which they do not depend on its DM."""
    if not np.ptp(fold.profile) > 0:
        return []
    parts = int(np.clip((fold.snr / _PART_SNR) ** 2, 1, GROUPS))
    toas = toas_of(fold, header, parts, template) or toas_of(fold, header, 1, template)
    live = fold.band_freqs[np.ptp(fold.freq_phase, axis=1) > 0]
    if not (toas and toas[0].freq > 0 and isfinite(fold.dm) and live.size and np.all(live > 0)):
        return toas
    middle = float(np.mean(live**-2.0)) ** -0.5
    later = Decimal(KDM * fold.dm * (middle**-2.0 - toas[0].freq ** -2.0)) / Decimal(DAY)
    return [replace(toa, mjd=toa.mjd + later, freq=middle) for toa in toas]


def common_template(folds: Sequence[Fold]) -> PulseTemplate:
    """The template of several folds: the sum of their profiles, each turned to where it fits best."""
    nbins = min(fold.profile.size for fold in folds)
    profiles = [_in_bins(fold.profile.astype(np.float64), nbins) for fold in folds]
    best = max(range(len(folds)), key=lambda index: folds[index].snr)
    template = template_from(profiles[best])
    # The second time by what all have in common.
    for _ in range(2):
        matches = [match(profile, template) for profile in profiles]
        total = sum(snr * turned(profile, -shift) for profile, (shift, _, snr) in zip(profiles, matches, strict=True))
        template = template_from(np.asarray(total) / np.sqrt(sum(snr**2 for _, _, snr in matches)))
    return template


def _in_bins(profile: Floats, nbins: int) -> Floats:
    """A profile of unit noise in fewer bins, of unit noise again."""
    size = profile.size
    if size == nbins:
        return profile
    k = np.arange(nbins // 2 + 1)
    # Phases are those of the middles of bins.
    spectrum = np.fft.rfft(profile)[: k.size] * np.exp(1j * np.pi * k * (1.0 / nbins - 1.0 / size))
    return np.asarray(np.fft.irfft(spectrum, nbins) * np.sqrt(nbins / size), dtype=np.float64)


def same_pulsar(runs: Sequence[Run], idents: Sequence[str] = ()) -> list[Exported]:
    """The candidate of each product that is one pulsar.

    Parameters
    ----------
    idents : sequence of str
        Of each product, or one for all; default: the strongest that agrees in all of them in period at the barycentre
        and in DM.

    Raises
    ------
    ConfigError
        There is none, or what was folded does not tell.
    """
    if idents:
        if len(idents) not in (1, len(runs)):
            raise ConfigError(f"{len(idents)} --id for {len(runs)} products: give one for all, or one for each")
        named = list(idents) * (len(runs) if len(idents) == 1 else 1)
        return [candidate_of(run, ident) for run, ident in zip(runs, named, strict=True)]
    lists = [[candidate_of(run, ident) for ident in _heads(run)] for run in runs]
    for run, nights in zip(runs, lists, strict=True):
        if not nights:
            raise ConfigError(f"{run.path}: holds no fold: fold its candidates, or leave it out")
    if all(len(nights) == 1 for nights in lists):
        return [nights[0] for nights in lists]
    spun = [[(night, barycentric_spin(night)) for night in nights] for nights in lists]
    groups: list[list[Exported]] = []
    for seed in min(spun, key=len):
        near = [[night for night, spin in nights if _agree(*seed, night, spin)] for nights in spun]
        if all(near):
            groups.append([max(nights, key=lambda night: night.fold.snr) for nights in near])
    if not groups:
        raise ConfigError(
            "no candidate is in all products with one period at the barycentre and one DM: name those of the pulsar, "
            "one --id for each product, or fold each night with its period (pulsar fold)"
        )
    return max(groups, key=lambda group: min(night.fold.snr for night in group))


def _heads(run: Run) -> list[str]:
    """Candidates with a fold that stand for themselves."""
    rows = run.rows("candidates")
    heads = {str(row["id"]) for row in rows if row["harmonic_of"] == ""}
    return [ident for ident in run.ids if ident in heads]


def _agree(first: Exported, seed: Spin, second: Exported, spin: Spin) -> bool:
    """True if two folds may be of one pulsar."""
    a, b = first.fold, second.fold
    drift = largest_fdot(seed.terms[0]) * abs(spin.epoch - seed.epoch) * DAY
    apart = np.hypot(_FAR * np.hypot(a.freq_err, b.freq_err), drift)
    dms = abs(a.dm - b.dm) < _FAR * np.hypot(a.dm_err, b.dm_err) if isfinite(a.dm_err + b.dm_err) else True
    return bool(abs(seed.terms[0] - spin.terms[0]) < apart and dms)


def read_tim(path: Path, model: TimingModel) -> Arrivals:
    """Times of arrival of a file in the format of tempo2.

    Parameters
    ----------
    path : Path
        ``FORMAT 1``: name, frequency [MHz], MJD, error [us], telescope, flags.
    model : TimingModel
        Position, DM, and a frequency that counts turns within each night.

    Raises
    ------
    DataError
        The file cannot be read, or a line is not such a time.
    """
    read: list[tuple[Toa, str]] = []
    for row, line in enumerate(read_text(path, "times of arrival (FORMAT 1)").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#") or words[0].upper() in ("C", "FORMAT", "MODE"):
            continue
        try:
            freq, mjd, error, site = float(words[1]), Decimal(words[2]), 1e-6 * float(words[3]), words[4]
            # Below 1 MHz nothing passes the ionosphere.
            usable = (freq == 0 or 1 <= freq < HIGHEST_FREQ) and 1e-9 <= error < DAY and 0 < mjd < LATEST_MJD
        except (ValueError, IndexError, InvalidOperation):
            usable = False
        if not usable:
            raise DataError(
                f"{path}: line {row}: expected name, frequency [MHz], MJD, error [us] and telescope, found "
                f"{line.strip()[:80]!r}; commands of tempo2 are not read"
            )
        where = find_observatory(site)
        if where is None and site not in ("@", "bat"):
            raise DataError(f"{path}: line {row}: the telescope {site!r} is not known")
        read.append((Toa(mjd, error, freq, float("nan"), float("nan")), where.name if where else ""))
    if not read:
        raise DataError(f"{path}: holds no times of arrival")
    read.sort(key=lambda each: each[0].mjd)
    mjds = [toa.mjd for toa, _ in read]
    # Times of a ``.tim`` that are farther apart are of different nights [s]: whose frequency is off by less than a
    # fifth of its inverse, from whatever fold, cannot be miscounted within.
    gaps = [(after - before) * Decimal(DAY) > 3600.0 for before, after in pairwise(mjds)]
    night = np.concatenate([[0], np.cumsum(gaps)]).astype(np.int64)
    if len(mjds) == night[-1] + 1:
        raise DataError(
            f"{path}: no two times are within an hour: the error of the period is not known, nor what counts it allows"
        )
    toas, telescopes = zip(*read, strict=True)
    count, nan = int(night[-1]) + 1, float("nan")
    unknown = np.full((count, 2), nan)
    times = Arrivals(toas, telescopes, night, ("",) * count, unknown, (nan, 0.0), nan, nan, nan, 0.0, 0.0, path.stem)
    return with_model(times, model)


def at_barycentre(arrivals: Arrivals, epoch: float) -> Times:
    """Times at the barycentre and at infinite frequency, in seconds after an epoch, MJD (TDB)."""
    n = len(arrivals.toas)
    seconds, rates, slopes = np.zeros(n), np.ones(n), np.zeros((n, 2))
    ra, dec = arrivals.ra_deg, arrivals.dec_deg
    east = _TURN / float(np.cos(np.radians(dec)))
    # Night by night: the tables of the Earth's rotation are read for the days between, and no leap second is within.
    for night, telescope in dict.fromkeys(zip(arrivals.night.tolist(), arrivals.telescopes, strict=True)):
        members = [k for k in range(n) if arrivals.night[k] == night and arrivals.telescopes[k] == telescope]
        mjds = [arrivals.toas[k].mjd for k in members]
        if not telescope:
            seconds[members] = [float((mjd - Decimal(epoch)) * Decimal(DAY)) for mjd in mjds]
            continue
        start, count = int(mjds[0]), len(members)
        at = np.array([float((mjd - start) * Decimal(DAY)) for mjd in mjds])
        around = np.concatenate([at, at - 0.5 * _STEP, at + 0.5 * _STEP])
        late = []
        for turn, north in ((0.0, 0.0), (east, 0.0), (0.0, _TURN)):
            place = (ra + float(np.degrees(turn)), dec + float(np.degrees(north)))
            first, after = arrival_times(float(start), around, *place, telescope)
            late.append((first - epoch) * DAY + after)
        seconds[members] = late[0][:count]
        rates[members] = (late[0][2 * count :] - late[0][count : 2 * count]) / _STEP
        slopes[members] = np.stack([(late[k][:count] - late[0][:count]) / _TURN for k in (1, 2)], axis=1)
    freqs = np.array([toa.freq for toa in arrivals.toas])
    # The frequency is another one at the barycentre, as the period is.
    seconds -= np.where(freqs > 0, KDM * arrivals.dm * (np.where(freqs > 0, freqs, 1.0) / rates) ** -2.0, 0.0)
    errors = np.array([toa.error for toa in arrivals.toas])
    return Times(seconds, errors, arrivals.night, slopes, arrivals.place_err, arrivals.freqs)


#: The time it takes goes with the fourth power of their number: 180 nights took 50 s.
MOST_NIGHTS: Final = 300
#: Counts of turns that are listed.
MOST_TOLD: Final = 20


@dataclass(frozen=True)
class SolvedNight:
    """A night of an ephemeris."""

    label: str  # Of what it is from
    mjd: float  # Of the middle of its times (UTC)
    ntoas: int
    turns: int  # Since the night before
    #: late, error: by how much its pulses come later than the ephemeris says, and 1 sigma [s].
    late: float
    error: float
    chi2: float  # Of its times
    arc: int  # From 1: nights of one are connected


@dataclass(frozen=True)
class TimingSolution:
    """What several nights say of one pulsar."""

    arrivals: Arrivals  # With the position of the ephemeris
    epoch: float  # Of the rotation, MJD (TDB)
    reference: tuple[float, float]  # F0 [Hz] and F1 [Hz/s] there, before times were fitted
    times: Times
    connection: Connection
    rotation: Rotation  # By the best count of turns
    #: 1 sigma of right ascension (on the sky) and declination [rad]; 0: the position was kept.
    place_err: tuple[float, float]

    def nights(self) -> list[SolvedNight]:
        """The nights, in order of time."""
        turns, period, before = self.connection.turns(), 1.0 / self.rotation.spin[0], 0
        nights = []
        for index, label in enumerate(self.arrivals.labels):
            rows = np.flatnonzero(self.times.night == index)
            weights, late = self.times.errors[rows] ** -2.0, self.rotation.residuals[rows] * period
            mjd, arc = np.mean([float(self.arrivals.toas[k].mjd) for k in rows]), int(self.connection.arcs[index]) + 1
            middle, error = float(weights @ late / weights.sum()), float(weights.sum() ** -0.5)
            since, chi2 = int(turns[rows[0]]) - before, float(weights @ late**2)
            nights.append(SolvedNight(label, float(mjd), len(rows), since, middle, error, chi2, arc))
            before = int(turns[rows[0]])
        return nights

    def verdict(self) -> list[str]:
        """The result in sentences."""
        rotation, connection = self.rotation, self.connection
        lines = []
        if not connection.unique:
            more = "more than could be kept" if connection.cut else f"{len(connection.counts)} counts of turns"
            lines.append(
                f"UNSURE: not unique: {more} fit, chi-square does not decide; arcs of nights that are connected: "
                f"{int(connection.arcs[-1]) + 1}"
            )
            exact = connect(replace(self.times, place_err=0.0), self.reference)
            if self.times.place_err > 0 and exact.unique and np.array_equal(exact.turns(), connection.turns()):
                lines.append("the best alone fits if the position given is exact: --position-err tells how good it is")
        lines.append(f"chi2/dof {rotation.chi2:.1f}/{rotation.dof:.1f} = {rotation.chi2 / max(rotation.dof, 1e-9):.2f}")
        if rotation.scale > 1.0:
            lines.append(f"errors are those of the times of arrival multiplied by EFAC {rotation.scale:.2f}")
        if any(self.place_err):
            lines.append("position: fitted")
        else:
            error = np.degrees(self.times.place_err) * 60.0
            kept = f"; its error of {error:.2g}' is not in those of F0 and F1" if error > 0 else ""
            lines.append(f"position: that given, kept{kept}")
        return lines


def ephemeris_of(arrivals: Arrivals) -> TimingSolution:
    """Connect nights.

    Raises
    ------
    ConfigError
        There are fewer than three nights, or more than MOST_NIGHTS.
    """
    nnights = len(arrivals.labels)
    if not 3 <= nnights <= MOST_NIGHTS:
        raise ConfigError(
            f"{nnights} nights with times of arrival: from three, between which turns can be counted, to {MOST_NIGHTS}"
        )
    mjds = [float(toa.mjd) for toa in arrivals.toas]
    # A whole number of quarters, which a file holds exactly.
    epoch = round(2.0 * (min(mjds) + max(mjds))) / 4.0
    times = at_barycentre(arrivals, epoch)
    freq, fdot = arrivals.spin
    reference = (freq + fdot * (epoch - arrivals.epoch) * DAY, fdot)
    connection = connect(times, reference)
    turns = connection.turns()
    rotation = fit(times, reference, turns)
    kept = TimingSolution(arrivals, epoch, reference, times, connection, rotation, (0.0, 0.0))
    # A position is fitted over no shorter time [d]: in less the Earth's orbit bends too little to tell it from F0 and
    # F1.
    if not times.place_err > 0 or np.ptp(times.seconds) < 60.0 * DAY:
        return kept
    moved = fit(times, reference, turns, place=True)
    if chi_square.sf(rotation.chi2 - moved.chi2, 2) > UNLIKELY:
        return kept
    # Three fits of the position: each but the last moves what its delays are linear around.
    for _ in range(2):
        ra, dec = np.degrees(moved.place) / (np.cos(np.radians(arrivals.dec_deg)), 1.0)
        arrivals = replace(arrivals, ra_deg=arrivals.ra_deg + float(ra), dec_deg=arrivals.dec_deg + float(dec))
        times = at_barycentre(arrivals, epoch)
        moved = fit(times, reference, turns, place=True)
    return TimingSolution(arrivals, epoch, reference, times, connection, moved, moved.place_err)


def hypotheses(ephemeris: TimingSolution) -> list[tuple[Rotation, str]]:
    """Counts of turns that chi-square does not decide between, best first, no more than MOST_TOLD.

    Returns
    -------
    list of (Rotation, str)
        Its rotation, with the position that it needs, and the turns from night to night that it counts more than the
        best one.
    """
    connection, steps = ephemeris.connection, np.diff(ephemeris.connection.counts, axis=1)
    more = [" ".join(f"{step:+d}" if step else "0" for step in each - steps[0]) for each in steps[:MOST_TOLD]]
    times, place = ephemeris.times, ephemeris.times.place_err > 0
    fits = [fit(times, ephemeris.reference, connection.turns(k), place=place) for k in range(len(more))]
    return list(zip(fits, more, strict=True))


def par_text(ephemeris: TimingSolution, origin: str) -> str:
    """The text of the ``.par`` file, whose phase 0 is the passage of the template's pulse.

    Parameters
    ----------
    origin : str
        Where it comes from, for a comment.
    """
    arrivals, rotation = ephemeris.arrivals, ephemeris.rotation
    east, north = (np.degrees(error) * 3600.0 * rotation.scale for error in ephemeris.place_err)
    errors = (float(east / 15.0 / np.cos(np.radians(arrivals.dec_deg))), float(north))
    lines = par_head(arrivals.name, arrivals.ra_deg, arrivals.dec_deg, origin, *ephemeris.verdict(), place_err=errors)
    lines.append(par_line("POSEPOCH", f"{ephemeris.epoch:.12f}"))
    for order, (value, error) in enumerate(zip(rotation.spin, rotation.errors, strict=True)):
        lines.append(par_line(f"F{order}", f"{value:.17g}", error * rotation.scale))
    lines.append(par_line("PEPOCH", f"{ephemeris.epoch:.12f}"))
    lines.append(par_line("DM", f"{arrivals.dm:.10g}"))
    mjds = [toa.mjd for toa in arrivals.toas]
    lines += [par_line("START", f"{min(mjds):.8f}"), par_line("FINISH", f"{max(mjds):.8f}")]
    # The time next to the epoch, without what it departs by.
    near = int(np.argmin(np.abs(ephemeris.times.seconds)))
    toa, late = arrivals.toas[near], float(rotation.residuals[near]) / rotation.spin[0]
    lines.append(par_line("TZRMJD", f"{toa.mjd - Decimal(late) / Decimal(DAY):.15f}"))
    lines.append(par_line("TZRSITE", site_of(arrivals.telescopes[near])))
    lines.append(par_line("TZRFRQ", f"{toa.freq:.6f}"))
    lines += [par_line("EPHEM", EPHEMERIS), par_line("UNITS", "TDB"), par_line("CLK", "UTC(NIST)")]
    lines.append(par_line("NTOA", str(len(mjds))))
    if rotation.dof > 0:
        lines.append(par_line("CHI2R", f"{rotation.chi2 / rotation.dof:.4f}"))
    return "\n".join(lines) + "\n"


def tim_text(arrivals: Arrivals) -> str:
    """The text of a ``.tim`` file of all times."""
    sites = zip(arrivals.toas, arrivals.telescopes, strict=True)
    lines = ["FORMAT 1", *(tim_line(toa, site_of(telescope), arrivals.name) for toa, telescope in sites)]
    return "\n".join(lines) + "\n"
