"""What a grid of half bins and drifts some bins apart leaves of accelerated signals: the table GRID of the search.

Signals of 1, 2, 4 ... equal harmonics in white noise, whose summed power at its peak is at the threshold or a little
above, somewhere between the points of the grid. Printed is the part of the excess power (over what noise has in the
mean) that the highest sum of the grid has of that at the peak, for all but a few per cent of the signals; and, for a
grid point whose excess is no more than that, how many there are in noise among a million.

    python benchmarks/drift_steps.py --signals 2000
"""

import numpy as np
from options import numbers
from scipy.optimize import brentq
from scipy.stats import gamma

#: Samples of the short series in which a harmonic is looked at, and grid points on either side of a signal.
SAMPLES = 64
REACH = 3
#: Drifts of the signals [bins], and how the peak is found: points to a side, and how much closer they get each time.
DRIFT = 60.0
POINTS = 7
CLOSER = 0.4
LOOKS = 6

U = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5


def sums(series: np.ndarray, r: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Summed powers of harmonics, shape (nharm, SAMPLES), at distances in bins and drift, shape (n, nharm)."""
    turns = r[..., None] * U + 0.5 * z[..., None] * U**2
    return (np.abs((series * np.exp(-2j * np.pi * turns)).mean(axis=-1)) ** 2).sum(axis=-1)


def square(size: float, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of a square in two dimensions, each of shape (points**2, 1)."""
    a, b = np.meshgrid(np.linspace(-size, size, points), np.linspace(-size, size, points), indexing="ij")
    return a.reshape(-1, 1), b.reshape(-1, 1)


def left(rng: np.random.Generator, nharm: int, steps: list[float], power: float) -> list[float]:
    """Part of the excess power that grids of these steps of drift leave of one signal; empty if it is too weak."""
    share = np.arange(1, nharm + 1) / nharm
    r, z = 1000.0 + rng.uniform(), rng.uniform(-DRIFT, DRIFT)
    noise = rng.standard_normal((2, nharm, SAMPLES)) * np.sqrt(SAMPLES / 2.0)
    lines = np.sqrt(power / nharm) * np.exp(2j * np.pi * rng.uniform(size=nharm))
    series = lines[:, None] + noise[0] + 1j * noise[1]
    at, size = np.zeros(2), np.array([0.6, 5.0])
    a, b = square(1.0, POINTS)
    for _ in range(LOOKS):
        found = sums(series, (at[0] + size[0] * a) * share, (at[1] + size[1] * b) * share)
        best = int(found.argmax())
        at, size = at + size * (a[best, 0], b[best, 0]), size * CLOSER
    peak = float(found.max())
    if peak < power:
        return []
    parts = []
    k = np.arange(1, nharm + 1)
    for step in steps:
        i, j = square(float(REACH), 2 * REACH + 1)
        i, j = i.astype(int) + round(2.0 * r), j.astype(int) + round(z / step)
        rows, drifts = (2 * i * k + nharm) // (2 * nharm), (2 * j * k + nharm) // (2 * nharm)
        highest = sums(series, 0.5 * rows - r * share, step * drifts - z * share).max()
        parts.append(float((highest - nharm) / (peak - nharm)))
    return parts


def main() -> None:
    """Measure and print."""
    parser = numbers(__doc__.splitlines()[0], signals=2000, seed=1)
    parser.add_argument("--steps", type=float, nargs="+", default=[2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    parser.add_argument("--logp", type=float, nargs="+", default=[-20.0, -27.0], help="ln p of the threshold")
    parser.add_argument("--lost", type=float, default=0.04, help="part of the signals that may have less")
    args = parser.parse_args()
    for logp in args.logp:
        for nharm in (1, 2, 4, 8, 16):
            power = float(brentq(lambda x, n=nharm, p=logp: gamma.logsf(x, n) - p, nharm, 500.0))
            rng = np.random.default_rng([args.seed, nharm])
            parts = [p for p in (left(rng, nharm, args.steps, power) for _ in range(args.signals)) if p]
            quantile = np.quantile(parts, args.lost, axis=0)
            noise = 1e6 * gamma.sf(nharm + quantile * (power - nharm), nharm)
            told = "  ".join(f"{q:.3f} ({n:.2g})" for q, n in zip(quantile, noise, strict=True))
            print(f"ln p {logp:g}, {nharm:2d} harmonics, {len(parts)} signals: {told}", flush=True)


if __name__ == "__main__":
    main()
