"""A bright known pulsar taken out before a search: what is left of it, what a weak one gains, and what it costs.

    python benchmarks/subtract.py kinds                    # all kinds: rows of the lists, S/N of the weak one
    python benchmarks/subtract.py kinds --kind steady --seeds 4
    python benchmarks/subtract.py kinds --snr 30           # another brightness
    python benchmarks/subtract.py cost                     # processor time of a pass with and without
    python benchmarks/subtract.py real X.dat               # a real series laid out over a band, in as much noise again

A pulsar of S/N 300 (P 0.253 s, DM 56, 3 % wide) and one of S/N 12 (P 87.1 ms, DM 120) are in the same noise: 134 s of
256 us, 256 channels of 1.5 MHz below 1500 MHz.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter1d
from shared import best_of, commands, scratch_folder, words_of

from pulsar import simulate
from pulsar.config.load import load_config
from pulsar.config.model import Config, SubtractConfig
from pulsar.constants import KDM
from pulsar.data.fold import FoldParams
from pulsar.data.header import Header
from pulsar.data.source import SIGMA_LEVELS
from pulsar.folding.subtracted import SubtractedSource, measure_template
from pulsar.io.memory import Filterbank
from pulsar.io.open import open_observation
from pulsar.io.product.reader import Run
from pulsar.pipeline.cleaning import clean_source, find_mask
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import Means
from pulsar.pipeline.samples import subtract
from pulsar.run import search
from pulsar.synthesis.model import Pulsar, Sky

app = commands(__doc__)
BRIGHT = {"period": 0.2531234, "dm": 56.0, "duty": 0.03}
WEAK = {"period": 0.0871277, "dm": 120.0, "snr": 12.0, "duty": 0.05}
SKY: dict[str, Any] = {"nchans": 256, "fch1": 1499.0, "foff": -1.5, "tsamp": 256e-6, "tobs": 134.2}
KINDS = ("steady", "slow", "scintillating", "profile", "pulses")
QUIET = Progress("quiet")
SETTINGS = ["dedisp.dm_lo=0", "dedisp.dm_hi=200", "completeness.enabled=false"]
#: Codes of the noise of a simulated file.
CODES = 16.0


def brightness(kind: str, header: Header, rng: np.random.Generator) -> NDArray[np.float32]:
    """Factor of the pulses, in each channel at each 64th sample; its mean square is 1."""
    n, nchans = -(-header.nsamps // 64), header.nchans
    gain = np.ones((nchans, n), dtype=np.float32)
    if kind == "slow":
        gain *= 1.0 + 0.7 * np.sin(2 * np.pi * 1.3 * (np.arange(n) / n))
    if kind == "scintillating":
        scales = 40.0 / abs(header.foff), 20.0 / (64 * header.tsamp)
        field = sum(gaussian_filter(rng.normal(size=gain.shape), scales, mode="wrap") ** 2 for _ in range(2))
        gain = field.astype(np.float32)
    if kind == "pulses":
        turn = (np.arange(n) * 64 * header.tsamp / BRIGHT["period"]).astype(int)
        gain *= rng.lognormal(0.0, np.sqrt(np.log(2.0)), turn[-1] + 1)[turn]
    return gain / np.sqrt(np.mean(gain**2))


def pulses(kind: str, header: Header, snr: float, seed: int) -> NDArray[np.float32]:
    """The bright pulsar in units of noise, without its mean, shape (nchans, nsamps)."""
    gain = brightness(kind, header, np.random.default_rng(seed))
    grid = (np.arange(4096) + 0.5) / 4096

    def shape(*parts: tuple[float, float]) -> NDArray[np.float64]:
        """Components at these distances from the middle and of these heights, mean 0 and scatter 1."""
        sigma = BRIGHT["duty"] / 2.3548
        profile = sum(h * np.exp(-0.5 * ((grid - 0.5 - at) / sigma) ** 2) for at, h in parts)
        return np.asarray((profile - profile.mean()) / np.std(profile))

    first = second = shape((0.0, 1.0))
    if kind == "profile":
        first, second = shape((0.0, 1.0), (0.05, 0.5)), shape((0.0, 0.6), (0.05, 1.0))
    scale = snr / np.sqrt(float(header.nchans) * header.nsamps)
    out = np.empty((header.nchans, header.nsamps), dtype=np.float32)
    t = (np.arange(header.nsamps) + 0.5) * header.tsamp
    delays = header.delays(BRIGHT["dm"])
    for c, row in enumerate(out):
        place = ((t - 0.5 * header.tobs - delays[c]) / BRIGHT["period"] % 1.0 * 4096).astype(int)
        value = np.where(t < 0.5 * header.tobs, first[place], second[place])
        row[:] = scale * value * np.repeat(gain[c], 64)[: header.nsamps]
    return out


def observations(kind: str, snr: float, seed: int) -> tuple[Filterbank, Filterbank]:
    """The weak pulsar in noise, and the bright one added to it."""
    weak = simulate(sky=Sky(seed=seed, pulsars=(Pulsar(**WEAK),), **SKY))
    codes, header = weak.read().data, weak.header
    both = CODES * pulses(kind, header, snr, seed) + codes
    both += np.random.default_rng(seed + 1).random(both.shape, dtype=np.float32)
    return weak, Filterbank(np.clip(np.floor(both), 0, 255).astype(np.uint8), header)


def own_rows(run: Run) -> NDArray[Any]:
    """Rows above 6 sigma that stand for themselves."""
    rows = run.rows("candidates")
    return rows[(rows["harmonic_of"] == "") & (rows["sigma"] >= 6.0)]


def near(run: Run, of: dict[str, float]) -> tuple[int, float]:
    """Rows of a list at a harmonic of a pulsar's period, and the best S/N of those at the period itself."""
    rows, ratios = own_rows(run), np.array([n / m for n in range(1, 33) for m in range(1, 5)])
    allowed = 2.0 * rows["period"] / run.observation.tobs
    fits = np.abs(rows["period"][:, None] * ratios / of["period"] - 1.0) < allowed[:, None]
    # The first ratio is 1.
    return int(np.count_nonzero(fits.any(axis=1))), float(rows["snr"][fits[:, 0]].max(initial=0.0))


def with_and_without(obs: Filterbank, settings: list[str], folder: Path) -> tuple[Run, Run, Config]:
    """A search, and one from which its first row is taken out; and the settings of this."""
    first = search(obs, load_config(None, settings), folder / "first.h5", overwrite=True)
    given = f"{folder / 'first.h5'}:{first.rows('candidates')[0]['id']}"
    config = load_config(None, settings, **{"subtract.pulsars": [given]})
    return first, search(obs, config, folder / "second.h5", overwrite=True), config


@app.command()
def kinds(
    kind: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(KINDS)}; may be repeated")] = None,
    snr: float = 300.0,
    seeds: int = 1,
) -> None:
    """What is left of a bright pulsar that is steady, changes, scintillates, has another profile half-way, or flickers.

    It changes slowly (by 0.3 to 1.7 of its mean), its brightness is exponential and correlated over 20 s and 40 MHz, or
    its single pulses scatter (log-normal, by as much as their mean). Searched are the weak one alone, both, and both
    with `--subtract`.
    """
    with scratch_folder() as folder:
        for each in kind or KINDS:
            for seed in range(1, seeds + 1):
                report(each, snr, seed, folder)


def report(kind: str, snr: float, seed: int, folder: Path) -> None:
    """Print all of one kind."""
    weak, both = observations(kind, snr, seed)
    first, second, config = with_and_without(both, SETTINGS, folder)
    alone = search(weak, load_config(None, SETTINGS), folder / "alone.h5", overwrite=True)
    row = second.rows("subtracted/pulsars")[0]
    # The same mask and levels for both: all that differs is the pulsar.
    mask, _ = find_mask(both, config, threads=1, progress=QUIET)
    cleaned = [clean_source(obs, mask, config, threads=1, progress=QUIET) for obs in (weak, both)]
    truth = pulses(kind, both.header, snr, seed)
    spreads, dots = [], []
    for source in (*cleaned, subtract(cleaned[1], both.header, config, Means(1, 1 << 30, folder, QUIET))[0]):
        data = np.empty((source.nchans, source.nsamps), dtype=np.int8)
        source.read_into(0, data)
        spreads.append(np.mean([np.var(part.astype(np.float32)) for part in data]) / SIGMA_LEVELS**2)
        dots.append(float(sum(np.dot(a.astype(np.float32), b) for a, b in zip(data, truth, strict=True))))
    left = (dots[2] - dots[0]) / (dots[1] - dots[0])
    runs = first, second, alone
    weak_snr = [near(run, WEAK)[1] for run in runs]
    lengths = [len(own_rows(run)) for run in runs]
    columns = {
        "S/N": f"{row['snr_before']:.1f} -> {row['snr_after']:.1f}",
        "true amplitude left": f"{100 * left:+.2f} %",
        "as the product says": f"{100 * row['rest']:+.2f} ± {100 * row['rest_err']:.2f} %",
        "scatter": f"{100 * row['scatter']:.1f} % (of noise {100 * row['scatter_err']:.1f} %)",
        "template": "{nbins} bins, {nsubints} x {nbands}, {nshapes} profiles, {nparams} numbers".format_map(row),
        "variance": "without it {:.5f}, with it {:.5f}, subtracted {:.5f}".format(*spreads),
        "rows at its harmonics": " -> ".join(str(near(run, BRIGHT)[0]) for run in (first, second)),
        "rows": "{} -> {} (without it {})".format(*lengths),
        "single pulses": " -> ".join(str(len(run.rows("single_pulses"))) for run in (first, second)),
        "S/N of the weak one": "{:.2f} -> {:.2f} (without it {:.2f})".format(*weak_snr),
    }
    print(f"{kind}, seed {seed}", *(f"    {name}: {text}" for name, text in columns.items()), sep="\n", flush=True)


@app.command()
def real(path: Path) -> None:
    """The pulses of a real dedispersed series, each channel at its delay, in noise as strong as the series' own."""
    with open_observation(path) as obs:
        header, series = obs.header, obs.read().data[0].astype(np.float64)
    level = uniform_filter1d(series, max(int(2.0 / header.tsamp), 1))
    series = (series - level) / (1.4826 * np.median(np.abs(series - level)))
    nchans, dm = 256, header.dm
    freqs = 920.0 - 0.78125 * np.arange(nchans)
    delays = np.round(KDM * dm * (freqs**-2.0 - freqs[0] ** -2.0) / header.tsamp).astype(int)
    data = np.random.default_rng(1).normal(size=(nchans, series.size)).astype(np.float32)
    for row, delay in zip(data, delays, strict=True):
        row += np.roll(series, delay) / np.sqrt(nchans)
    codes = np.clip(np.round(96 + CODES * data), 0, 255).astype(np.uint8)
    band = Filterbank.from_array(codes, freqs, header.tsamp, source="real", order="channel, time")
    settings = [f"dedisp.dm_lo={dm - 20}", f"dedisp.dm_hi={dm + 20}", "dedisp.dm_step=1.0", SETTINGS[-1]]
    with scratch_folder() as folder:
        first, second, _ = with_and_without(band, settings, folder)
        subtracted = second.rows("subtracted/pulsars")[0]
        for column in subtracted.dtype.names:
            print(f"    {column}: {subtracted[column]}")
        for label, run in (("first", first), ("second", second)):
            snr = run.rows("single_pulses")["snr"]
            brightest = snr.max(initial=0.0)
            print(f"{label}: {len(own_rows(run))} rows, {snr.size} single pulses, the brightest {brightest:.1f}")
            for row in run.rows("candidates")[:6]:
                print(f"    {words_of(row)} {row['harmonic_of']} {row['known_source']}")


@app.command()
def cost(snr: float = 300.0) -> None:
    """Processor time of reading the cleaned samples, of the same without a pulsar, and of measuring it."""
    _, both = observations("steady", snr, 1)
    config = load_config(None, SETTINGS)
    mask, _ = find_mask(both, config, threads=1, progress=QUIET)
    source = clean_source(both, mask, config, threads=1, progress=QUIET)
    params = FoldParams(1.0 / BRIGHT["period"], 0.0, BRIGHT["dm"])
    data = np.empty((source.nchans, 1 << 15), dtype=np.int8)
    given = {"threads": 1, "memory": 1 << 30}
    subtracted = SubtractedSource(source, [measure_template(source, params, SubtractConfig(), **given)[0]])

    def read_all(cleaned: Any) -> None:
        for start in range(0, source.nsamps, 1 << 15):
            cleaned.read_into(start, data)

    scale = 1e9 / (source.nchans * source.nsamps)
    measuring = best_of(3, lambda: measure_template(source, params, SubtractConfig(), **given))
    plain, without = best_of(3, read_all, source), best_of(3, read_all, subtracted)
    print(
        f"ns a sample of a channel: measuring the template {scale * measuring:.2f}, reading, cleaned "
        f"{scale * plain:.2f}, less the pulsar {scale * without:.2f}"
    )


if __name__ == "__main__":
    app()
