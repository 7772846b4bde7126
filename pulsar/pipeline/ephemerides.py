"""Periods that are given: of an ephemeris, a list, rows of a product; and the likely faults where they show nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.constants import DAY, C
from pulsar.data.fold import Fold, FoldParams
from pulsar.data.header import Header
from pulsar.errors import ConfigError, DataError
from pulsar.io.lists import read_list
from pulsar.io.product.reader import Run
from pulsar.sky.barycentre import motion_of
from pulsar.sky.catalogue import beam_width, separation
from pulsar.sky.timing import TimingModel

#: Samples are the same where these are: what a header tells of time, band, beam and source.
_SAME: Final = ("tstart", "tsamp", "nsamps", "nchans", "fch1", "foff", "is_series", "dm", "beam", "source")


@dataclass(frozen=True)
class Origin:
    """Where a period to be folded comes from."""

    #: "period", "par", "candidate" or "list": given by hand, by an ephemeris, found in an observation, or of a list.
    kind: str = "period"
    name: str = ""  # of the pulsar or of the observed source
    #: ra_deg, dec_deg: where it is [deg]; NaN: unknown.
    ra_deg: float = nan
    dec_deg: float = nan
    epoch: float = nan  # MJD of the period; NaN: that of the fold
    place: str = ""  # file and row of a list

    @classmethod
    def of_candidate(cls, header: Header) -> "Origin":
        """That of a candidate of another observation."""
        return cls("candidate", header.source, header.ra_deg, header.dec_deg, header.tmid)


@dataclass(frozen=True)
class KnownFold:
    """How a search has folded a candidate, for who folds the same data again, and what it says of it."""

    params: FoldParams | None  # before the refinement; None: it was not folded
    #: Frequencies and full widths [Hz] of periodic interference that was left out.
    lines: tuple[tuple[float, float], ...]
    row: Any  # of its candidate, fields of CANDIDATE_COLUMNS
    observed: Header  # of the samples in which it was found
    #: By what strong sources were folded for their templates, the strongest first, and whether each of these was taken
    #: out of the samples in which this was folded.
    strong: tuple[tuple[FoldParams, bool], ...] = ()

    def is_of(self, header: Header) -> bool:
        """True if a header tells of the samples that were searched: of their time, band, beam and source."""
        pairs = [(getattr(self.observed, name), getattr(header, name)) for name in _SAME]
        return all(value == of_file or (value != value and of_file != of_file) for value, of_file in pairs)


@dataclass(frozen=True)
class Ephemeris:
    """A period to fold with."""

    period: float  # [s] at `epoch`
    dm: float  # [pc cm^-3]
    accel: float = 0.0  # line-of-sight acceleration [m/s^2], positive when receding ever faster
    epoch: float | None = None  # MJD (UTC) to which the period refers; None: mid-observation
    ident: str = ""  # name of the fold
    fddot: float = 0.0  # second frequency derivative [Hz/s^2]
    origin: Origin = field(default_factory=Origin)  # where it comes from, for what is said of a fold that shows nothing
    fold: "KnownFold | None" = None  # its fold where it was found
    #: True: period, acceleration and epoch (then TDB) are those at the barycentre; False: those of the telescope; None:
    #: those of the data.
    barycentric: bool | None = None

    def fold_of(self, header: Header) -> "KnownFold | None":
        """Its fold where it was found, if that is of the samples of a header."""
        return self.fold if self.fold is not None and self.fold.is_of(header) else None

    def params(self, header: Header) -> FoldParams:
        """Frequency and derivative at mid-observation.

        Raises
        ------
        ConfigError
            The period is not positive, shorter than two samples or longer than the data, or no longer positive at
            mid-observation.
        """
        where = f"{self.origin.place}: " if self.origin.place else ""
        if not self.period > 0:
            raise ConfigError(f"{where}period {self.period:g} s: expected a positive number of seconds")
        if self.period < 2 * header.tsamp:
            raise ConfigError(f"{where}period {self.period:g} s is shorter than two samples of {header.tsamp:g} s")
        if self.period > header.tobs:
            raise ConfigError(
                f"{where}period {self.period:g} s is longer than the data ({header.tobs:.4g} s): is its unit right?"
            )
        freq, fdot, epoch, middle = 1.0 / self.period, -self.accel / (C * self.period), self.epoch, header.tmid
        motion = None
        if self.barycentric not in (None, header.barycentric):
            # The telescope moves as it does in the middle of the data, or as it did at the epoch of its period.
            at_epoch = header.with_(barycentric=False, tstart=epoch or middle, nsamps=0)
            motion = motion_of(header if self.barycentric else at_epoch)
            if motion is None:
                here, there = ("barycentre", "telescope") if self.barycentric else ("telescope", "barycentre")
                raise ConfigError(
                    f"{where}the period is that at the {here}: the telescope and position of these data are needed for "
                    f"that at the {there}: give --telescope, --ra and --dec"
                )
            if self.barycentric:
                middle = motion.mjd_tdb
            else:
                freq, fdot, epoch = motion.freq(freq), motion.fdot(freq, fdot), motion.mjd_tdb
        away = 0.0 if epoch is None else (middle - epoch) * DAY
        # Where nobody knows the time of the data, or of the candidate, it is taken to be of these.
        away = away if isfinite(away) else 0.0
        # A dedispersed series has the DM that it has, whatever is asked for.
        dm = header.dm if header.is_series and isfinite(header.dm) else self.dm
        params = FoldParams(freq, fdot, dm, self.fddot).at(away)
        if not params.freq > 0:
            raise ConfigError(
                f"{where}period {self.period:g} s with acceleration {self.accel:g} m/s2 at MJD {self.epoch} is not "
                f"positive at mid-observation, MJD {header.tmid:.6f}; give the acceleration of that time"
            )
        if motion is None or header.barycentric:
            return params
        return FoldParams(*motion.topocentric(params.freq, params.fdot), params.dm, params.fddot)


@dataclass(frozen=True)
class FromPar:
    """A pulsar to fold by its ephemeris."""

    model: TimingModel
    ident: str = ""  # name of the fold

    @property
    def origin(self) -> Origin:
        """Where the period comes from."""
        model = self.model
        return Origin("par", model.name, model.ra_deg, model.dec_deg, model.epoch)

    def params(self, header: Header) -> FoldParams:
        """Frequency and derivatives that the telescope sees at mid-observation.

        Raises
        ------
        ConfigError
            Telescope or time are unknown, the DM is missing, the period is shorter than two samples, or the orbit too
            short for the observation.
        """
        model = self.model
        dm = header.dm if header.is_series and isfinite(header.dm) else model.dm
        if not isfinite(dm):
            raise ConfigError(f"{model.name}: the ephemeris has no DM: add it, or fold with --period and --dm")
        freq, fdot, fddot = model.topocentric(header)
        if freq * header.tsamp > 0.5:
            raise ConfigError(f"{model.name}: period {1 / freq:g} s is shorter than two samples of {header.tsamp:g} s")
        return FoldParams(freq, fdot, dm, fddot)


def ephemerides_of(run: Run, rows: Sequence[Any]) -> list[Ephemeris]:
    """Ephemerides of rows of candidates.

    `run`: whose candidates they are. `rows`: fields of CANDIDATE_COLUMNS.
    """
    lines = tuple((float(line["freq"]), float(line["width"])) for line in run.rows("rfi/birdies"))

    def known(row: Any) -> KnownFold | None:
        """Folds of parts, and of products that hold several observations, are made anew."""
        if run.is_merged or row["part"]:
            return None
        if row["id"] not in run.folds:
            return KnownFold(None, lines, row, run.observation_of(row))
        fold, observed = run.fold(str(row["id"])), run.observation_of(row)
        try:
            subtracted = np.array(fold.extra.get("residual", ()), dtype=np.float64).reshape(-1, 5)
            strong = tuple((FoldParams(*values), bool(out)) for *values, out in subtracted.tolist())
            for params, _ in strong:
                params.check(observed.tobs, observed.tsamp)
        except (TypeError, ValueError, OverflowError, ConfigError) as exc:
            raise DataError(
                f"{run.path}: fold {row['id']}: residual is no table of frequencies, their derivatives, DMs and flags "
                "of strong sources: search again"
            ) from exc
        return KnownFold(fold.before, lines, row, observed, strong)

    return [
        Ephemeris(
            float(row["period"]),
            float(row["dm"]),
            0.0 if not isfinite(row["accel"]) else float(row["accel"]),
            float(row["epoch"]),
            str(row["id"]),
            0.0 if not isfinite(row["fddot"]) else float(row["fddot"]),
            Origin.of_candidate(run.observation_of(row)),
            known(row),
            run.observation_of(row).barycentric,
        )
        for row in rows
    ]


def ephemerides_of_list(path: Path, idents: Sequence[str] = ()) -> list[Ephemeris]:
    """Ephemerides of a list of candidates (:mod:`pulsar.io.lists`).

    What does not say in which frame it is, is taken to be in that of the data.

    `idents`: only those that are named; default: all.

    Raises
    ------
    ConfigError, DataError
        As :func:`pulsar.io.lists.read_list`.
    """
    return [
        Ephemeris(
            1.0 / entry.freq,
            entry.dm,
            -C * entry.fdot / entry.freq,
            entry.epoch if isfinite(entry.epoch) else None,
            entry.ident,
            entry.fddot,
            Origin("list", epoch=entry.epoch, place=entry.place),
            barycentric=entry.barycentric,
        )
        for entry in read_list(path, idents)
    ]


def rows_of(run: Run, header: Header) -> list[Any]:
    """The candidates of a merged product that are of the observation of a header, or of a part of it.

    They are of its beam and band, and their epoch lies in it (or its middle in their observation).

    `header`: of the files to be folded.

    Raises
    ------
    ConfigError
        There is none.
    """
    rows = run.rows("candidates")
    matching = [row for row in rows if _is_of(row, run.observation_of(row), header)]
    if not matching:
        names = list(dict.fromkeys(str(row["target"]) or "unnamed source" for row in rows))
        listed = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
        beam = "" if header.beam is None else f", beam {header.beam}"
        raise ConfigError(
            f"{run.path}: holds no candidate of the observation of these files ({header.source or 'unnamed source'}"
            f"{beam}, MJD {header.tstart:.5f}), but of {listed or 'none'}; "
            "give the files of one of these, or name candidates to be folded all the same (--id)"
        )
    return matching


def _is_of(row: Any, own: Header, header: Header) -> bool:
    """True if a candidate is of the observation of a header; `own` is its own, as far as it is known."""
    if int(row["beam"]) != (-1 if header.beam is None else header.beam):
        return False
    if own.source and header.source and own.source != header.source:
        return False
    if isfinite(own.fcenter) and abs(own.fcenter - header.fcenter) > 0.1 * min(own.bandwidth, header.bandwidth):
        return False
    longest = max(header.tobs, own.tobs if isfinite(own.tobs) else 0.0)
    return abs(float(row["epoch"]) - header.tmid) * DAY <= 0.5 * longest


def doubts(fold: Fold, origin: Origin, header: Header) -> list[str]:
    """Possible faults of a fold that shows nothing, the likeliest first.

    `header`: of the observation that was folded.
    """
    faults = [*_elsewhere(origin, header)]
    period = 1.0 / fold.before.freq
    if origin.kind == "period":
        faults.append(
            f"is the period in seconds? {period:.6g} s were folded; milliseconds are --period {period:.6g}ms"
            if period >= 1.0
            else f"are period ({period:.6g} s) and DM those of this source, topocentric at mid-observation (--epoch)?"
        )
    elif origin.kind == "par":
        days = abs(header.tmid - origin.epoch)
        faults.append(f"does the ephemeris hold {days:.0f} days from its epoch?" if isfinite(days) else "")
    elif origin.kind == "list" and not isfinite(origin.epoch):
        faults.append(
            f"{origin.place}: is its period ({period:.6g} s were folded) that at the telescope in these data?"
        )
    elif isfinite(origin.epoch) and abs(header.tmid - origin.epoch) > 1.0 / 24.0:
        days = abs(header.tmid - origin.epoch)
        faults.append(f"the period was measured {days:.3g} days away: does it hold so long (--accel, --epoch, --par)?")
    return [fault for fault in faults if fault]


def _elsewhere(origin: Origin, header: Header) -> list[str]:
    """The position and the name of what was asked for against those in the file."""
    here = f"the file has {header.source or 'an unnamed source'}"
    away = float(separation(origin.ra_deg, origin.dec_deg, header.ra_deg, header.dec_deg))
    beam = beam_width(header)
    if isfinite(away):
        # Without a known telescope a degree is more than any beam of one that finds pulsars.
        if away > (beam if isfinite(beam) else 1.0):
            width = f" (the beam is {beam:.2g} deg wide)" if isfinite(beam) else ""
            return [f"another position: {origin.name or 'it'} is {away:.3g} deg away{width}, {here}"]
        return []
    if origin.name and header.source and origin.name.casefold() not in header.source.casefold():
        return [f"another source? it is of {origin.name}, {here}"]
    return []


def verdict(fold: Fold, sigma: float, ident: str, doubted: Sequence[str]) -> str:
    """The warning about a fold that shows nothing."""
    why = "; ".join(doubted)
    return (
        f"{ident}: not detected: noise gives S/N {fold.snr:.1f} as well, over all that the fold was tried at "
        f"({sigma:.1f} sigma)" + (f": {why}" if why else "")
    )
