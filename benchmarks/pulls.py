"""Pulls: how far refined periods, derivatives, DMs and times of arrival are from the truth, in units of their errors.

Folds of pulsars whose pulses vary from turn to turn (energies of modulation index m, places that scatter over `jitter`
of the profile), scintillate over time and band, or whose profile moves over the band, are made turn by turn from the
formulas, with a frequency, derivative and DM that are off by known amounts. They are refined as a search refines them.
Within 1 error should be 68.3 %, within 3 errors 99.7 %.

    python benchmarks/pulls.py                    # 400 folds of each kind
    python benchmarks/pulls.py --trials 2000 --toas
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import product
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from shared import First, markdown, share

from pulsar.config.model import FoldConfig
from pulsar.constants import KDM
from pulsar.data.fold import Fold, FoldCube, FoldParams
from pulsar.data.header import Header
from pulsar.folding.profile import fine_box
from pulsar.folding.refine import refine
from pulsar.handover.timing import toas_of

#: Channel-samples in each element of a fold, its frequencies [MHz], length [s] and DM.
COUNT, TOP, BANDWIDTH, TOBS, DM = 1000.0, 1500.0, 300.0, 600.0, 60.0
HEADER = Header(nchans=1, nsamps=1, tsamp=1e-3, fch1=TOP, foff=-1.0, tstart=60000.0)
#: Sub-integrations and bands of a search's folds.
PARTS = FoldConfig().nsubints, FoldConfig().nbands
#: Numbers that are judged, and arrival times of a fold.
NAMES, GROUPS = ("frequency", "derivative", "DM", "width", "flux"), 8


@dataclass(frozen=True)
class Kind:
    """A pulsar: S/N, full width at half maximum [turns], period [s], what of it varies; parts in time and band."""

    snr: float
    duty: float
    period: float = 0.1
    m: float = 0.0
    jitter: float = 0.0
    scintillation: float = 0.0
    evolution: float = 0.0
    parts: tuple[int, int] = PARTS

    def __str__(self) -> str:
        varies = [f"{name} {getattr(self, name):g}" for name in ("m", "jitter", "scintillation", "evolution")]
        varies += [f"{self.parts[0]} sub-integrations, {self.parts[1]} bands"] if self.parts != PARTS else []
        told = ", ".join(text for text in varies if not text.endswith(" 0"))
        return f"S/N {self.snr:g}, duty {self.duty:g}, P {self.period:g} s{', ' if told else ''}{told}"


KINDS = (
    *(Kind(snr, duty) for snr in (8.0, 12.0, 30.0, 100.0, 400.0) for duty in (0.02, 0.05, 0.2, 0.5)),
    *(Kind(snr, 0.05, m=1.0, jitter=0.7) for snr in (12.0, 40.0, 100.0, 400.0)),
    *(Kind(snr, 0.1, period=1.0, m=m, jitter=0.7) for snr in (20.0, 100.0, 400.0) for m in (0.5, 1.0, 2.0)),
    *(Kind(snr, 0.05, scintillation=0.8) for snr in (20.0, 100.0)),
    Kind(300.0, 0.05, m=1.0, jitter=0.7, scintillation=0.8),
    Kind(200.0, 0.05, evolution=0.05),
    *(Kind(snr, 0.05, parts=parts) for snr in (15.0, 60.0) for parts in ((8, 4), (5, 8))),
    *(Kind(200.0, 0.1, 1.0, 1.0, 0.7, parts=(parts, 8)) for parts in (5, 8, 16)),
    *(Kind(200.0, 0.1, 10.0, 1.0, 0.7, parts=(parts, 8)) for parts in (8, 30, 60)),
)


def make_cube(rng: np.random.Generator, kind: Kind, nbins: int = 128) -> tuple[FoldCube, NDArray[np.float64]]:
    """A fold of a pulsar, and the truth.

    That is its frequency, derivative and DM less those that it was folded with, the width of the box that fits it best
    [turns], and its S/N times the root of width / (1 - width), as of a flux density.
    """
    shape = nsubints, nbands, nbins = *kind.parts, nbins
    # The best box, 1.19 times as wide as half of the maximum, is told in bins: the truth is anywhere between them.
    kind = replace(kind, duty=kind.duty + rng.uniform(-0.5, 0.5) / (1.19 * nbins))
    freq, freqs = 1.0 / kind.period, TOP - BANDWIDTH * np.arange(nbands) / nbands
    delays, k = KDM * (freqs**-2.0 - TOP**-2.0), np.arange(nbins // 2 + 1)
    edges = np.linspace(0.0, TOBS, nsubints + 1)
    tau = 0.5 * (edges[1:] + edges[:-1] - TOBS)
    offsets = rng.normal(size=3) * [0.1 / TOBS, 0.1 / TOBS**2, 0.05 * kind.duty * kind.period / np.ptp(delays)]
    late = -offsets[0] * tau[:, None] - 0.5 * offsets[1] * tau[:, None] ** 2 + freq * offsets[2] * delays
    late += rng.uniform() + kind.evolution * kind.duty * rng.normal(size=nbands)
    pulses = turns(rng, kind, max(int(TOBS * freq / nsubints), 1), nsubints, k)
    spectra = pulses[:, None, :] * scintles(rng, kind, nsubints, nbands)[:, :, None]
    spectra = spectra * np.exp(-2j * np.pi * k * late[:, :, None])
    spectra[..., 0] = pulses[:, 0] = 0.0
    mean = np.fft.irfft(pulses.mean(axis=0), nbins)
    height = kind.snr * np.sqrt(COUNT / (nsubints * nbands * np.sum(mean**2)))
    whole = np.zeros(8 * nbins + 1)
    whole[: len(k)] = 16.0 * height * np.exp(-2.0 * (np.pi * k * kind.duty / 2.3548) ** 2)
    whole[0] = 0.0
    snr, width, _ = fine_box(whole, np.full(16 * nbins, 16.0 * COUNT / (nsubints * nbands)))
    size = [width, snr * np.sqrt(width / (1.0 - width))]
    data = height * np.fft.irfft(spectra, nbins, axis=2) + np.sqrt(COUNT) * rng.normal(size=shape)
    params, tsamp = FoldParams(freq, 0.0, DM), kind.period / nbins
    counts = np.full(shape, COUNT)
    cube = FoldCube(data.astype(np.float32), counts, edges, freqs, TOP, params, TOBS, tsamp, 60000.0)
    return cube, np.append(offsets, size)


def turns(
    rng: np.random.Generator, kind: Kind, count: int, nsubints: int, k: NDArray[np.int64]
) -> NDArray[np.complex128]:
    """Fourier series of the mean pulse of each sub-integration, shape (nsubints, nharm + 1)."""
    sigma, spread = kind.duty / 2.3548, np.log1p(kind.m**2)
    energies = rng.lognormal(-0.5 * spread, np.sqrt(spread), (nsubints, count))
    places = rng.normal(size=(nsubints, count)) * kind.jitter * sigma
    # Harmonic by harmonic: all pulses turn on by their places.
    waves, step, whole = energies / count + 0j, np.exp(-2j * np.pi * places), np.empty((nsubints, len(k)), complex)
    for harmonic in whole.T:
        harmonic[:] = waves.sum(axis=1)
        waves *= step
    return np.asarray(whole * np.exp(-2.0 * (1.0 - kind.jitter**2) * (np.pi * k * sigma) ** 2))


def scintles(rng: np.random.Generator, kind: Kind, nsubints: int, nbands: int) -> NDArray[np.float64]:
    """Brightness over time and band: exponential scintles of 8 sub-integrations and 4 bands, mean 1."""
    size = max(nsubints // 8, 1), max(nbands // 4, 1)
    power = rng.exponential(size=size).repeat(-(-nsubints // size[0]), axis=0).repeat(-(-nbands // size[1]), axis=1)
    return np.asarray(1.0 - kind.scintillation + kind.scintillation * power[:nsubints, :nbands])


def pulls_of(fold: Fold, truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences from the truth in units of their errors, shape (5,)."""
    after, before, flux = fold.after, fold.before, fold.snr * np.sqrt(fold.width / (1.0 - fold.width))
    measured = [after.freq - before.freq, after.fdot - before.fdot, after.dm - before.dm, fold.width, flux]
    errors = [fold.freq_err, fold.fdot_err, fold.dm_err, fold.width_err, fold.flux_err * flux]
    return np.asarray((np.array(measured) - truth) / errors)


def toa_pulls(fold: Fold, offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """What times of arrival are off the true turns, but for their mean, in units of its error; empty for too few."""
    toas = toas_of(fold, HEADER, GROUPS)
    if len(toas) < min(GROUPS, len(fold.time_phase)):
        return np.zeros(0)
    seconds = np.array([float((toa.mjd - Decimal(fold.epoch)) * 86400) for toa in toas])
    errors = np.array([toa.error for toa in toas]) * fold.after.freq
    turns = seconds * (fold.before.freq + offsets[0] + 0.5 * offsets[1] * seconds)
    late = turns - turns[0] - np.round(turns - turns[0])
    weight = errors**-2.0 / np.sum(errors**-2.0)
    # What is off the mean scatters by less than the times themselves: the mean has a share of each.
    return np.asarray((late - weight @ late) / (errors * np.sqrt(1.0 - weight)))


def main(
    trials: Annotated[int, typer.Option(help="folds of each kind")] = 400,
    first: First = 0,
    kinds: Annotated[str, typer.Option(help="words in the names of kinds")] = "",
    toas: Annotated[bool, typer.Option("--toas", help="times of arrival, too")] = False,
) -> None:
    names = [*NAMES, "arrival"] if toas else [*NAMES]
    pulls: dict[str, dict[str, list[float]]] = defaultdict(lambda: {name: [] for name in names})
    for number, kind in [(number, kind) for number, kind in enumerate(KINDS) if kinds in str(kind)]:
        titles = "all folded as by a search" if kind.parts == PARTS else "all others", str(kind)
        for seed in range(first, first + trials):
            cube, offsets = make_cube(np.random.default_rng([number, seed]), kind)
            fold = refine(cube)
            own = [*pulls_of(fold, offsets)[:, None], *([toa_pulls(fold, offsets)] if toas else [])]
            for title, (name, values) in product(titles, zip(names, own, strict=True)):
                pulls[title][name] += values.tolist()
        print(row(titles[1], pulls[titles[1]]), flush=True)
    head = ["pulsar", *(f"{name}: within 1, 3 errors" for name in names)]
    print(markdown(head, [row(*each) for each in pulls.items()]))


def row(title: str, pulls: dict[str, list[float]]) -> list[str]:
    """How many of the pulls are within 1 and 3 errors."""
    cells = []
    for each in pulls.values():
        one, three = (sum(abs(pull) < most for pull in each) for most in (1.0, 3.0))
        cells.append(f"{share(one, len(each))}, {three / max(len(each), 1):.3f}")
    return [title, *cells]


if __name__ == "__main__":
    typer.run(main)
