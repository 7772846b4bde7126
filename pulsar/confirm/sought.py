"""Candidates that are looked for again: of a product, or of a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import DAY, C
from pulsar.data.fold import Fold
from pulsar.data.header import Part
from pulsar.errors import ConfigError
from pulsar.folding.profile import template_of
from pulsar.io.labels import labels_of, uid_of
from pulsar.io.lists import read_list
from pulsar.io.product.reader import Run
from pulsar.sky.barycentre import motion_of

#: Full widths at half maximum [turns] of the Gaussian pulses that stand for a profile that is not known: one that is
#: wider or narrower than another by a factor of 3^1/2 keeps 0.93 of its matched S/N.
WIDTHS: Final = (0.03, 0.1, 0.3)
#: Width of the box with the highest S/N over the full width at half maximum of a Gaussian.
BOX: Final = 1.19
#: Most harmonics of a profile, and the part of its power that those have which are used.
MOST_HARMONICS: Final = 32
KEPT: Final = 0.98


@dataclass(frozen=True, eq=False)
class Sought:
    """A candidate, as it is known.

    Attributes
    ----------
    ident : str
    freq, freq_err : float
        Spin frequency [Hz].
    barycentric : bool
        Whether the frequency is that at the barycentre; else that at a telescope.
    accel, accel_err : float
        Line-of-sight acceleration [m/s^2].
    dm, dm_err : float
        [pc cm^-3]
    templates : tuple of ndarray
        Amplitudes of harmonics 1, 2, ... of the profile, the sum of their squares 1: its own, and those of
        Gaussians.
    snr, tobs, bandwidth : float
        Boxcar S/N, length [s] and bandwidth [MHz] of its observation; NaN where they are not known.
    ra_deg, dec_deg : float
        [deg]; NaN where they are not known.
    """

    ident: str
    freq: float
    dm: float
    templates: tuple[NDArray[np.complex128], ...]
    freq_err: float = 0.0
    barycentric: bool = True
    accel: float = 0.0
    accel_err: float = 0.0
    dm_err: float = 0.0
    snr: float = nan
    tobs: float = nan
    bandwidth: float = nan
    ra_deg: float = nan
    dec_deg: float = nan

    @property
    def typical(self) -> NDArray[np.complex128]:
        """A template without noise, of middle width where the width is not known."""
        return self.templates[len(self.templates) // 2]


def gaussian(width: float) -> NDArray[np.complex128]:
    """Template of a Gaussian pulse of this full width at half maximum [turns]."""
    k = np.arange(1, MOST_HARMONICS + 1)
    return unit(np.exp(-0.25 * (np.pi * width * k) ** 2 / np.log(2.0)).astype(np.complex128))


def gaussians() -> tuple[NDArray[np.complex128], ...]:
    """Templates of Gaussian pulses of `WIDTHS`."""
    return tuple(map(gaussian, WIDTHS))


def unit(amplitudes: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """The first amplitudes that have most of the power, the sum of their squares 1."""
    power = np.cumsum(np.abs(amplitudes[:MOST_HARMONICS]) ** 2)
    used = amplitudes[: int(np.searchsorted(power, KEPT * power[-1])) + 1]
    return np.asarray(used / np.linalg.norm(used))


def templates_of(fold: Fold | None) -> tuple[NDArray[np.complex128], ...]:
    """Templates of a candidate with a fold, or without.

    The profile itself has the noise of its fold, which a weak one matches worse than a Gaussian of its width does.
    """
    if fold is None or not np.any(fold.profile):
        return gaussians()
    nbins = len(fold.profile)
    own = template_of(np.fft.rfft(fold.profile.astype(np.float64)), float(nbins), fold.width)[1:]
    return unit(own), gaussian(fold.width / BOX)


def of_product(run: Run, idents: Sequence[str] = (), score: float | None = None) -> list[Sought]:
    """Candidates of a product.

    Parameters
    ----------
    run : Run
    idents : sequence of str
        Those that are named. Without any: those that were judged as pulsars, and without such all that stand for
        themselves.
    score : float, optional
        In place of the judgements: those of this score or more.

    Raises
    ------
    ConfigError
        There is none.
    """
    if idents:
        rows: list[Any] = [run.candidate(ident) for ident in dict.fromkeys(idents)]
    else:
        rows = [row for row in run.rows("candidates") if not row["harmonic_of"]]
        if score is not None:
            rows = [row for row in rows if row["score"] >= score]
        else:
            labels = labels_of([run.path])
            rows = [row for row in rows if labels.matches(uid_of(row), "pulsar")] or rows
    if not rows:
        limit = "" if score is None else f" of score {score:g} or more"
        raise ConfigError(f"{run.path}: holds no candidate{limit} to look for")
    return [_of_row(run, row) for row in rows]


def _of_row(run: Run, row: Any) -> Sought:
    ident, freq = str(row["id"]), 1.0 / float(row["period"])
    header = Part.of_label(str(row["part"])).header(run.observation_of(row))
    header = header.with_(ra_deg=float(row["ra_deg"]), dec_deg=float(row["dec_deg"]))
    motion = motion_of(header)
    fold = run.fold(ident) if ident in run.folds else None
    return Sought(
        ident,
        freq if motion is None else motion.freq(freq),
        float(row["dm"]),
        templates_of(fold),
        freq_err=_known(row["period_err"]) * freq**2,
        barycentric=motion is not None,
        accel=_known(row["accel"]),
        accel_err=_known(row["accel_err"]),
        dm_err=_known(row["dm_err"]),
        snr=float(row["snr"]),
        tobs=header.tobs,
        # Without what was masked, of the products that know it.
        bandwidth=header.bandwidth * (1.0 - float(run.rfi.get("masked_fraction", 0.0))),
        ra_deg=header.ra_deg,
        dec_deg=header.dec_deg,
    )


def _known(value: Any) -> float:
    return float(value) if isfinite(value) else 0.0


def of_list(path: Path, mjd: float, idents: Sequence[str] = ()) -> list[Sought]:
    """Candidates of a list (:mod:`pulsar.io.lists`): a table has P or F0 at the barycentre, and DM.

    Parameters
    ----------
    path : Path
    mjd : float
        To which a frequency is brought that has an epoch and a derivative.
    idents : sequence of str
        Only those that are named.

    Raises
    ------
    ConfigError
        A column is missing, or a row makes no sense.
    DataError
        The file cannot be read.
    """
    return [
        Sought(
            entry.ident,
            entry.freq + entry.fdot * _known((mjd - entry.epoch) * DAY),
            entry.dm,
            gaussians(),
            barycentric=entry.barycentric is not False,
            accel=-C * entry.fdot / entry.freq,
            dm_err=entry.dm_err,
        )
        for entry in read_list(path, idents)
    ]
