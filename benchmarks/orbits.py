"""The search over circular orbits: coverage of its banks, pulsars at T = P_orb, false alarms in noise, and its cost.

    python benchmarks/orbits.py --coverage            what is lost between templates, of random orbits
    python benchmarks/orbits.py --recall 20           pulsars of 7 ms and S/N 12 with T = P_orb
    python benchmarks/orbits.py --noise 20            false alarms in series of noise, against what was promised
    python benchmarks/orbits.py --cost                CPU seconds per Hz and DM, tried, of searches from small to large

Each prints a table; --seed N begins elsewhere.
"""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from options import numbers

from pulsar.config.model import OrbitsConfig
from pulsar.orbits.bank import Bank, Orbits, projected_size
from pulsar.orbits.fold import fold_phases
from pulsar.orbits.plan import tried
from pulsar.orbits.search import Octave, Orbit, OrbitSearch, octaves
from pulsar.searches import stats

#: Of the pulsars that are searched for [s].
PERIOD = 0.007
#: Orbits, length, highest frequency, mismatch, and heaviest companion of the banks whose coverage is looked at.
BANKS = (
    (1100.0, 1300.0, 1200.0, 170.0, 0.3, 0.1),
    (1100.0, 1300.0, 1200.0, 170.0, 0.3, 0.02),
    (900.0, 2400.0, 1200.0, 85.0, 0.3, 0.1),
    (600.0, 1200.0, 2400.0, 85.0, 0.3, 0.05),
    (2400.0, 12000.0, 1200.0, 170.0, 0.3, 0.3),
    (1100.0, 1300.0, 1200.0, 170.0, 0.5, 0.1),
    (1100.0, 1300.0, 1200.0, 170.0, 0.2, 0.1),
)


@dataclass(frozen=True)
class Templates:
    """All templates of a bank."""

    turn: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def all_templates(bank: Bank) -> Templates:
    """In one table."""
    parts = [(one.turn, *bank.templates(one)) for one in bank.slices]
    turn = np.concatenate([np.full(x.size, w) for w, x, _ in parts])
    return Templates(turn, np.concatenate([x for _, x, _ in parts]), np.concatenate([y for _, _, y in parts]))


def lost(bank: Bank, templates: Templates, rng: np.random.Generator) -> float:
    """Part of the power of a random orbit, at the highest frequency, that its best template does not see."""
    metric = bank.metric
    turn = rng.uniform(metric.turn[0], metric.turn[-1])
    least, most = (float(v) for v in bank.orbits.sizes(np.array(turn)))
    size, angle = np.sqrt(rng.uniform(least**2, most**2)), rng.uniform(0.0, 2.0 * np.pi)
    x, y = size * np.sin(angle), size * np.cos(angle)
    one = bank.coordinates(np.array([turn]), np.array([x]), np.array([y]))
    each = bank.coordinates(templates.turn, templates.x, templates.y)
    _, _, bend_even, bend_odd = (float(v[0]) for v in metric.at(np.array([turn])))
    bend = (one[0] * bend_even) ** 2 + (one[1] * bend_odd) ** 2
    far = (each[0] - one[0]) ** 2 + (each[1] - one[1]) ** 2 + bend * (templates.turn - turn) ** 2
    t = ((np.arange(512) + 0.5) / 512 - 0.5) * bank.tobs
    best = 0.0
    for i in np.argsort(far)[:30]:
        other = templates.x[i] * np.cos(templates.turn[i] * t) + templates.y[i] * np.sin(templates.turn[i] * t)
        phase = 2.0 * np.pi * bank.freq * (other - x * np.cos(turn * t) - y * np.sin(turn * t))
        # At the best frequency: a trend is what another one takes up.
        phase -= np.polyval(np.polyfit(t, phase, 1), t)
        best = max(best, float(np.max(np.abs(np.fft.fft(np.exp(1j * phase), 4096)) ** 2)) / t.size**2)
    return 1.0 - best


def coverage(count: int, seed: int) -> None:
    """What is lost between templates."""
    print("P_orb [s]        T [s]  Hz   mismatch  m_c    templates  mean   95 %   most")
    for p_lo, p_hi, tobs, freq, mismatch, heaviest in BANKS:
        bank = Bank(Orbits(p_lo, p_hi, 1.4, 0.0, heaviest), freq, tobs, mismatch)
        templates = all_templates(bank)
        rng = np.random.default_rng(seed)
        part = np.array([lost(bank, templates, rng) for _ in range(count)])
        print(
            f"{p_lo:5g} to {p_hi:6g}  {tobs:5g}  {freq:4g}  {mismatch:8g}  {heaviest:4g}  {templates.x.size:9d}  "
            f"{part.mean():.3f}  {np.quantile(part, 0.95):.3f}  {part.max():.3f}",
            flush=True,
        )


def pulsar_series(
    orbit: Orbit, tobs: float, tsamp: float, snr: float, duty: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """White noise of 1 with a pulsar of a Gaussian pulse, whose matched filter at the true orbit has this S/N."""
    n = round(tobs / tsamp)
    t = (np.arange(n) - 0.5 * (n - 1)) * tsamp
    turns = orbit.freq * orbit.emitted(t) + rng.uniform()
    off = (turns + 0.5) % 1.0 - 0.5
    pulse = np.exp(-4.0 * np.log(2.0) * (off / duty) ** 2)
    pulse -= pulse.mean()
    pulse *= snr / np.sqrt(np.sum(pulse**2))
    return (pulse + rng.standard_normal(n)).astype(np.float32)


def recall(count: int, seed: int, tobs: float, heaviest: float, duty: float) -> None:
    """Pulsars of 7 ms and S/N 12 whose orbit the data hold once."""
    tsamp = 1e-3
    config = OrbitsConfig(p_min=0.95 * tobs, p_max=1.05 * tobs, heaviest=heaviest, nharm=2)
    search = OrbitSearch(round(tobs / tsamp), tsamp, Octave(85.0, 170.0), config)
    t = (np.arange(search.nsamps) - 0.5 * (search.nsamps - 1)) * tsamp
    print(f"T {tobs:g} s, {search.bank.count} templates, companions to {heaviest:g}, duty {duty:g}")
    print("seed  P_orb    a sin i  S/N of true orbit  found  part   sigma  CPU s  per Hz")
    parts, hz = [], search.octave.high - search.octave.low
    for number in range(seed, seed + count):
        rng = np.random.default_rng(number)
        period = tobs * rng.uniform(0.96, 1.04)
        size = projected_size(period, 1.4, heaviest * rng.uniform(0.1, 1.0))
        angle = rng.uniform(0.0, 2.0 * np.pi)
        true = Orbit(1.0 / PERIOD, 2.0 * np.pi / period, size * np.sin(angle), size * np.cos(angle), 1, 0.0)
        series = pulsar_series(true, tobs, tsamp, 12.0, duty, rng)
        begun = time.process_time()
        white = search.whiten(series)
        assert white is not None
        found = search.found(white, search.peaks(white, search.bank.slices, 1, lambda _: None))
        cpu = time.process_time() - begun
        ideal = fold_phases(series, true.freq * true.emitted(t), PERIOD / tsamp).snr
        near = [one for one in found if abs(one.freq - true.freq) < 20.0 / tobs]
        snr = fold_phases(series, near[0].freq * near[0].emitted(t), PERIOD / tsamp).snr if near else 0.0
        parts.append(snr / ideal)
        print(
            f"{number:4d}  {period:7.1f}  {size:.5f}  {ideal:17.2f}  {snr:5.2f}  {parts[-1]:.3f}  "
            f"{near[0].sigma if near else 0.0:5.1f}  {cpu:5.1f}  {cpu / hz:.4f}",
            flush=True,
        )
    good = np.array(parts)
    print(
        f"found {np.count_nonzero(good)} of {good.size}, with {good.mean():.3f} of the S/N, at least {good.min():.3f}"
    )


def noise(count: int, seed: int, tobs: float, heaviest: float, nharm: int) -> None:
    """False alarms in noise at thresholds at which some are promised."""
    tsamp = 1e-3
    promised = np.array([3.0, 1.0, 0.3, 0.1])
    sigma = float(stats.sigma_from_logp(np.log(-np.expm1(-promised[0]))))
    low, high = 0.9 * tobs, 1.2 * tobs
    config = OrbitsConfig(p_min=low, p_max=high, heaviest=heaviest, nharm=nharm, threshold=sigma)
    search = OrbitSearch(round(tobs / tsamp), tsamp, Octave(85.0, 170.0), config)
    print(f"T {tobs:g} s, {search.bank.count} templates, up to {nharm} harmonics: promised and found a series")
    seen: list[float] = []
    for number in range(seed, seed + count):
        series = np.random.default_rng(number).standard_normal(search.nsamps, dtype=np.float32)
        white = search.whiten(series)
        assert white is not None
        found = search.found(white, search.peaks(white, search.bank.slices, 1, lambda _: None))
        seen += [float(np.exp(one.logp) * search.ntrials(one.logp)) for one in found]
    for limit in promised:
        n = int(np.count_nonzero(np.array(seen) < limit))
        print(f"{limit:5g}  {n / count:.3f} +- {np.sqrt(max(n, 1)) / count:.3f}")


def cost() -> None:
    """CPU seconds per Hz and DM of searches from small to large, from a few templates of each."""
    print("P_orb = T +- 5 %, frequencies 85 to 170 Hz (a 7 ms pulsar's fundamental), mismatch 0.3")
    print("T [s]   m_c   templates  samples   ms      per Hz and DM")
    for tobs, heaviest in ((1200.0, 0.05), (1200.0, 0.1), (3600.0, 0.1), (3600.0, 0.3), (7200.0, 0.1), (7200.0, 0.3)):
        config = OrbitsConfig(p_min=0.95 * tobs, p_max=1.05 * tobs, heaviest=heaviest)
        _cost_row(config, tobs, Octave(85.0, 170.0))
    print("P_orb from T / 2 to 10 T, companions to 0.1, every octave")
    for tobs in (1200.0, 3600.0):
        for octave in octaves(42.5, 340.0):
            _cost_row(OrbitsConfig(p_min=0.5 * tobs, p_max=10.0 * tobs, heaviest=0.1), tobs, octave)


def _cost_row(config: OrbitsConfig, tobs: float, octave: Octave) -> None:
    search = OrbitSearch(round(tobs / 1e-3), 1e-3, octave, config)
    each = tried(search)
    per_hz = search.bank.count * each / (octave.high - octave.low)
    print(
        f"{tobs:5g}  {config.heaviest:4g}  {search.bank.count:10d}  {search.n:8d}  {1e3 * each:6.2f}  {per_hz:.4g}"
        f"   ({octave.low:g} to {octave.high:g} Hz)",
        flush=True,
    )


def main() -> None:
    """What the command line asks for."""
    parser = numbers(__doc__, tobs=1200.0, heaviest=0.05, duty=0.2, nharm=2, seed=1)
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--recall", type=int, default=0, metavar="N")
    parser.add_argument("--noise", type=int, default=0, metavar="N")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--orbits", type=int, default=300, help="random orbits of a bank")
    asked = parser.parse_args()
    if asked.coverage:
        coverage(asked.orbits, asked.seed)
    if asked.recall:
        recall(asked.recall, asked.seed, asked.tobs, asked.heaviest, asked.duty)
    if asked.noise:
        noise(asked.noise, asked.seed, asked.tobs, asked.heaviest, asked.nharm)
    if asked.cost:
        cost()


if __name__ == "__main__":
    main()
