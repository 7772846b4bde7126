"""What searching for periods with fewer samples, where channels smear, costs: pulses of no width, on the same noise.

    python benchmarks/fewer_samples.py              # at the first trial DM of a FAST beam with half as many samples
    python benchmarks/fewer_samples.py --noise 400  # chance detections in white noise: with all samples, and with fewer

A series is white noise and a pulse train: no width of its own, smeared by the channels, the arrival errors and the mean
step of the plan. It goes through the searches in the power spectrum and in profiles, with all samples and with those
that `search.loss` leaves.
"""

import numpy as np
from numpy.typing import NDArray
from options import numbers

from pulsar.config.load import load_config
from pulsar.dedisp.plan import DMPlan, DMStage, make_plan
from pulsar.dedisp.sampling import FASTEST, halvings, lost
from pulsar.pipeline.stages import SeriesSearch, Trials
from pulsar.synthesis import Sky

#: Noise of a series [levels]: that of 4096 channels.
NOISE = 512.0


def train(period: float, snr: float, stage: DMStage, row: int, plan: DMPlan, turn: float) -> NDArray[np.float64]:
    """A pulse train of a matched S/N in noise of 1, from its harmonics."""
    smearing = {name: float(values[row]) for name, values in stage.parts().items()}
    cubes = plan.freqs[::64] ** -3.0
    widths = smearing["channel"] * cubes / np.sqrt(np.mean(cubes**2))
    f = np.arange(1, int(0.5 / stage.tsamp * period) + 1) / period
    amplitude = np.sinc(f[:, None] * widths).mean(axis=1) * np.sinc(f * stage.tsamp)
    blur = np.hypot(smearing["step"], smearing["arrival"])
    amplitude *= np.exp(-((2.0 * np.pi * f * blur) ** 2) / 24.0)
    t = np.arange(stage.nsamps) * stage.tsamp
    out = np.zeros(stage.nsamps)
    for k, (each, a) in enumerate(zip(f, amplitude, strict=True), start=1):
        if a > 1e-4:
            out += a * np.cos(2.0 * np.pi * (each * t - k * turn))
    return out * snr / np.sqrt(np.sum(out**2))


def best(search: SeriesSearch, series: NDArray[np.int16], freq: float) -> float:
    """Single-trial significance of the surest detection at the frequency or a harmonic of it; 0 where there is none."""
    found = search.search(series, 0.0, folding=False).detections
    harmonic = np.maximum(np.rint(found["freq"] / freq), 1.0)
    mine = np.abs(found["freq"] - harmonic * freq) < 1.5 / (search.nsamps * search.tsamp)
    return float(found["sigma_single"][mine].max(initial=0.0))


def main() -> None:
    parser = numbers(__doc__.splitlines()[0], pulsars=100, snr=9.0, seed=1)
    parser.add_argument("--noise", type=int, default=0, help="series of noise, in place of pulsars")
    args = parser.parse_args()
    sky = Sky(nchans=4096, fch1=1499.93896484375, foff=-0.1220703125, tsamp=49.152e-6, nsamps=1 << 20)
    sets = [
        "dedisp.dm_hi=1000",
        "dedisp.tolerance=0.1",
        "fft.nharm=16",
        "ffa.enabled=false",
        "single_pulse.enabled=false",
    ]
    config = load_config(None, [*sets, f"fft.threshold={-1 if args.noise else 0}"])
    config = config.model_copy(
        update={"coherent": config.coherent.model_copy(update={"threshold": config.fft.threshold})}
    )
    plan = make_plan(sky.header, config.dedisp)
    times = halvings(plan, config)
    rng = np.random.default_rng(args.seed)
    for count in range(1, int(times.max()) + 1):
        row = int(np.argmax(times >= count))
        number, at = plan.stage_of(row)
        stage = plan.stages[number]
        smearing = {name: float(values[at]) for name, values in stage.parts().items()}
        trials = Trials() if args.noise else Trials(4000.0, 300.0, 1300.0)
        made = [SeriesSearch(stage.nsamps, stage.tsamp, config, trials=trials, memory=0, times=t) for t in (0, count)]
        print(
            f"DM {plan.dms[row]:.1f}, samples of {1e6 * stage.tsamp:.1f} us and {1e6 * stage.tsamp * 2**count:.1f} us, "
            f"loss by the plan {100 * lost(smearing, stage.tsamp, count, plan.freqs):.2f} %"
        )
        if args.noise:
            totals = np.zeros((2, 2), dtype=int)
            for _ in range(args.noise):
                series = np.rint(NOISE * rng.standard_normal(stage.nsamps)).astype(np.int16)
                for i, search in enumerate(made):
                    kinds = search.search(series, 0.0, folding=False).detections["kind"]
                    totals[i] += [np.count_nonzero(kinds == kind) for kind in ("fft", "coherent")]
            print(f"  chance detections, fft and coherent: all samples {totals[0]}, fewer {totals[1]}")
            continue
        sigmas = np.zeros((args.pulsars, 2))
        for i in range(args.pulsars):
            period = float(FASTEST * np.exp(rng.uniform(0.0, np.log(30.0))))
            pulses = train(period, args.snr, stage, at, plan, rng.uniform())
            series = np.rint(NOISE * (rng.standard_normal(stage.nsamps) + pulses)).astype(np.int16)
            sigmas[i] = [best(search, series, 1.0 / period) for search in made]
        both = np.all(sigmas > 0.0, axis=1)
        ratio = sigmas[both, 1] / sigmas[both, 0]
        print(
            f"  {args.pulsars} pulsars of S/N {args.snr:g}, {1e3 * FASTEST:.1f} to {3e4 * FASTEST:.0f} ms: found "
            f"{np.count_nonzero(sigmas[:, 0])} and {np.count_nonzero(sigmas[:, 1])}; significance over that with all "
            f"samples: mean {ratio.mean():.4f} +- {ratio.std() / np.sqrt(ratio.size):.4f}"
        )


if __name__ == "__main__":
    main()
