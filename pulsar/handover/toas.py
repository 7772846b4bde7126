"""Times of arrival of the pulses of a fold, by matching a template in the Fourier domain (Taylor 1992, Phil. Trans. R.
Soc. A 341, 117).

A profile is a template of some height, turned by some phase, in white noise. The likeliest phase is where the
correlation of the two is the largest, of which only the harmonics are needed; the curvature there gives the error.
"""

from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import DAY
from pulsar.data.files import read_text
from pulsar.data.fold import Fold
from pulsar.data.header import Header
from pulsar.data.text import file_name
from pulsar.errors import ConfigError, DataError
from pulsar.folding.profile import fine_box, template_of
from pulsar.sky.observatory import find_observatory

#: Arrival times of an observation unless it is said otherwise.
GROUPS: Final = 8
#: S/N below which the highest place of the correlation may be one of noise, and its error means nothing: noise alone
#: exceeds it at one of a thousand phases once in a million profiles.
LEAST_SNR: Final = 6.0
#: Finer than a bin by this is the grid on which the correlation is first looked at.
_FINER: Final = 8
_STEPS: Final = 5


@dataclass(frozen=True)
class Template:
    """A profile without noise.

    Attributes
    ----------
    spectrum : ndarray of complex128, shape (nharm + 1,)
        Its Fourier series, of phase as it is: harmonic k belongs to exp(2 pi i k phase).
    phase : float
        Of the pulse whose arrival is told [turns]: the middle of its best box.
    """

    spectrum: NDArray[np.complex128]
    phase: float


@dataclass(frozen=True)
class Toa:
    """A time of arrival.

    Attributes
    ----------
    mjd : Decimal
        UTC at the telescope (of barycentred data TDB), at `freq`.
    error : float
        1 sigma [s].
    freq : float
        [MHz]; 0: infinite.
    snr : float
        Of the match.
    length : float
        Of the data it is from [s].
    """

    mjd: Decimal
    error: float
    freq: float
    snr: float
    length: float


def series_of(profiles: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Fourier series of profiles, shape (..., nbins): a bin stands for the phase in its middle."""
    nbins = profiles.shape[-1]
    k = np.arange(nbins // 2 + 1)
    spectra = np.fft.rfft(profiles, axis=-1) * np.exp(-1j * np.pi * k / nbins) / nbins
    spectra[..., 0] = 0.0
    return np.asarray(spectra, dtype=np.complex128)


def template_from(profile: NDArray[np.float64], *, clean: bool = False) -> Template:
    """The template in a profile.

    Parameters
    ----------
    profile : ndarray, shape (nbins,)
        Of unit noise, which is left out (:func:`without_noise`).
    clean : bool
        There is none: it is taken as it is.
    """
    _, _, phase = _box(profile)
    return Template(series_of(profile if clean else without_noise(profile)), phase)


def without_noise(profile: NDArray[np.float64]) -> NDArray[np.float64]:
    """A profile of unit noise with each harmonic weighted as Wiener does."""
    nbins = len(profile)
    _, width, _ = _box(profile)
    return np.asarray(np.fft.irfft(template_of(np.fft.rfft(profile), float(nbins), width), nbins), dtype=np.float64)


def _box(profile: NDArray[np.float64]) -> tuple[float, float, float]:
    spectrum = np.fft.rfft(profile)
    spectrum[0] = 0.0
    return fine_box(spectrum, np.ones(len(profile)))


def read_template(path: Path) -> Template:
    """A template from a table, as ``pulsar export --csv`` writes it: the last of its columns, taken as it is.

    Raises
    ------
    DataError
        It cannot be read, or holds no profile.
    """
    lines = read_text(path, "a template (phase,template)").splitlines()
    try:
        rows = [[float(cell) for cell in line.replace(",", " ").split()] for line in lines[1:] if line.strip()]
        profile = np.array([row[-1] for row in rows])
    except (ValueError, IndexError):
        raise DataError(f"{path}: expected lines of numbers, the last that of the template, below a heading") from None
    if len(profile) < 8 or not np.all(np.isfinite(profile)) or not np.ptp(profile) > 0:
        raise DataError(f"{path}: expected a profile of 8 bins or more that is not flat")
    return template_from(profile, clean=True)


def match(profile: NDArray[np.float64], template: Template) -> tuple[float, float, float]:
    """By how much a profile of unit noise is later than a template.

    Parameters
    ----------
    profile : ndarray, shape (nbins,)
        Noise of 1 in every bin, and independent.
    template : Template

    Returns
    -------
    shift, error : float
        [turns], its 1-sigma error (Taylor 1992, appendix A: here with the noise known).
    snr : float
        Of the height of the template.
    """
    nbins = len(profile)
    n = min(nbins // 2 + 1, len(template.spectrum))
    own, model = series_of(profile)[:n], template.spectrum[:n]
    k = np.arange(n)
    cross = own * np.conj(model)
    size = _FINER * nbins
    shift = float(np.argmax(np.fft.irfft(cross, size)) / size)
    for _ in range(_STEPS):
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


def toas_of(fold: Fold, header: Header, groups: int = GROUPS, template: Template | None = None) -> list[Toa]:
    """Arrival times of a fold, one for each group of sub-integrations.

    Parameters
    ----------
    fold : Fold
    header : Header
        Of its observation.
    groups : int
        As many, or one for every sub-integration.
    template : Template, optional
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
    own = template_from(fold.profile.astype(np.float64)) if template is None else template
    rows, lengths = fold.time_phase.astype(np.float64), np.diff(fold.time_edges)
    middles = fold.time_edges[:-1] + 0.5 * lengths - 0.5 * fold.tobs
    # What is masked whole holds nothing.
    weights = np.where(np.ptp(rows, axis=1) > 0, lengths, 0.0)
    found = []
    for part in np.array_split(np.arange(len(rows)), min(groups, len(rows))):
        weight = weights[part]
        if not weight.sum() > 0:
            continue
        profile = np.sqrt(weight) @ rows[part] / np.sqrt(weight.sum())
        shift, error, snr = match(profile, own)
        if snr < LEAST_SNR:
            continue
        middle = float(weight @ middles[part] / weight.sum())
        at, freq = _passage(fold, middle, own.phase + shift)
        known = isfinite(header.fch1) and header.fch1 > 0
        mjd = Decimal(fold.epoch) + Decimal(at) / Decimal(DAY)
        found.append(Toa(mjd, error / freq, header.fch1 if known else 0.0, snr, float(weight.sum())))
    return found


def _passage(fold: Fold, middle: float, phase: float) -> tuple[float, float]:
    """The moment next to `middle` [s after mid-observation] at which the fold has a phase, and the frequency there."""
    p = fold.after
    at = middle

    def turns(t: float) -> float:
        return t * (p.freq + t * (p.fdot / 2.0 + t * p.fddot / 6.0))

    freq = p.freq + at * (p.fdot + 0.5 * p.fddot * at)
    wanted = phase + round(turns(at) - phase)
    for _ in range(3):
        at += (wanted - turns(at)) / freq
    return at, freq


def tim_text(toas: list[Toa], header: Header, name: str) -> str:
    """The text of a ``.tim`` file in the format of tempo2: name, frequency [MHz], MJD, error [us], telescope, flags."""
    where = find_observatory(header.telescope)
    site = "@" if header.barycentric or where is None else where.code
    label = file_name(name.encode("ascii", "replace").decode()) or "toa"
    lines = ["FORMAT 1"]
    if where is None and not header.barycentric:
        lines.append("C the telescope is not known: times are topocentric (UTC)")
    lines += [
        f"{label} {toa.freq:.6f} {toa.mjd:.15f} {1e6 * toa.error:.4f} {site} -snr {toa.snr:.2f} -tobs {toa.length:.6g}"
        for toa in toas
    ]
    return "\n".join(lines) + "\n"
