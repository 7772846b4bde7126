"""Signals injected into cleaned samples, and the same ones into the raw samples of a file: is as much found of both?

The first is what `pulsar search --completeness` does. For the second the same pulsars and bursts, with the same
amplitude in units of each channel's noise, are added to the samples of the file, place by place, and everything from
the mask on is done anew: a search for every place. Both lists are asked alike (`pulsar.pipeline.completeness`).

    python benchmarks/completeness.py FILE --places 24
    python benchmarks/completeness.py FILE --places 24 --set dedisp.dm_hi=100 --verbose
"""

import argparse
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning import CleanedSource
from pulsar.config.load import load_config
from pulsar.data.injected import recall, wilson
from pulsar.io.open import open_observation
from pulsar.io.product.reader import Run
from pulsar.pipeline.completeness import Fates
from pulsar.pipeline.plan import dry_run
from pulsar.run import search
from pulsar.synthesis import Burst, Pulsar, channel_sigmas
from pulsar.synthesis.cleaned import Injector
from pulsar.synthesis.injection import inject_in_memory
from pulsar.synthesis.signal import burst_signal, pulsar_signal


def signals_of(rows: NDArray[Any]) -> tuple[list[Pulsar], list[Burst]]:
    """Pulsars and bursts of rows of injected signals."""
    pulsars = [
        Pulsar(period=r["period"], dm=r["dm"], snr=r["snr"], duty=r["duty"], accel=r["accel"], phase0=0.37 * k)
        for k, r in enumerate(rows)
        if r["kind"] == "pulsar"
    ]
    bursts = [Burst(time=r["time"], dm=r["dm"], snr=r["snr"], width=r["width"]) for r in rows if r["kind"] == "burst"]
    return pulsars, bursts


def listed(run: Run) -> list[Any]:
    """Candidates of a product, as fates are told from."""
    return [
        SimpleNamespace(
            uid=str(row["uid"]),
            parent=str(row["parent"]),
            relation=str(row["relation"]),
            flags=tuple(filter(None, str(row["rfi_flags"]).split(","))),
            dm=float(row["dm"]),
            dm_err=float(row["dm_err"]),
            freq=float(row["freq"]),
            freq_err=float(row["period_err"] * row["freq"] ** 2),
            snr=float(row["snr"]),
            score=float(row["score"]),
        )
        for row in run.rows("candidates")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--places", type=int, default=24)
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    config = load_config(None, ["completeness.enabled=true", f"completeness.places={args.places}", *args.sets])
    plain = load_config(None, ["completeness.enabled=false", *args.sets])
    with tempfile.TemporaryDirectory() as name, open_observation(args.file) as obs:
        out = Path(name) / "run.h5"
        run = search(obs, config, out)
        cleaned = run.rows("completeness/injected")
        mask = mask_of(run)
        source = CleanedSource(obs, mask)
        share, varies = Injector(source).share, channel_sigmas(obs) > 0
        trials = dry_run(obs, plain, freqs=source.freqs).dm
        assert trials is not None  # of a dedispersed series
        fates = Fates(obs.header, trials.dms, source.freqs)
        raw = []
        for place in np.unique(cleaned["place"]):
            pulsars, bursts = signals_of(cleaned[cleaned["place"] == place])
            strong_p = [as_raw(obs.header, one, pulsar_signal, varies, share) for one in pulsars]
            strong_b = [as_raw(obs.header, one, burst_signal, varies, share) for one in bursts]
            added = inject_in_memory(obs, pulsars=strong_p, bursts=strong_b, seed=int(place))
            there = search(added, plain, Path(name) / f"{place}.h5")
            rows = listed(there)
            raw += [fates.pulsar(one, int(place), rows, there.rows("detections"), {}) for one in pulsars]
            raw += [fates.burst(one, int(place), there.rows("single_pulses"))[0] for one in bursts]
    compare(cleaned, np.concatenate(raw), args.verbose)


def as_raw(header: Any, one: Any, make: Any, varies: NDArray[np.bool_], share: NDArray[np.float64]) -> Any:
    """A signal with the S/N that it has over all channels that vary, masked or not, at the same amplitude."""
    whole = make(header, one, chan_ok=varies).per_amplitude
    return one.model_copy(update={"snr": one.snr * whole / make(header, one, chan_ok=share).per_amplitude})


def mask_of(run: Run) -> Any:
    """The mask in a product."""
    from pulsar.cleaning.store import read_mask

    return read_mask(run.path, statistics=False).mask


def compare(cleaned: NDArray[Any], raw: NDArray[Any], verbose: bool) -> None:
    """Print both, in numbers."""
    for kind in ("pulsar", "burst"):
        one, two = cleaned[cleaned["kind"] == kind], raw[raw["kind"] == kind]
        for label, rows in (("cleaned", one), ("raw", two)):
            low, high = wilson(int(rows["found"].sum()), len(rows))
            kept = np.nanmedian(np.where(rows["found"] == 1, rows["listed_snr"] / rows["snr"], np.nan))
            print(
                f"{kind}s, {label}: {rows['found'].sum()} of {len(rows)} ({low:.3f} to {high:.3f}), S/N kept {kept:.3f}"
            )
            curve = recall(rows)
            print("   " + ", ".join(f"S/N {a:g}-{b:g}: {f}/{n}" for a, b, n, f, *_ in curve if n))
        first, second = one["found"] == 1, two["found"] == 1
        ratio = (two["listed_snr"] / one["listed_snr"])[first & second]
        error = np.std(ratio) / np.sqrt(max(ratio.size, 1))
        print(
            f"{kind}s: both {np.sum(first & second)}, cleaned only {np.sum(first & ~second)}, raw only "
            f"{np.sum(~first & second)}; listed S/N, raw over cleaned: {np.mean(ratio):.3f} +- {error:.3f}"
        )
        for a, b in zip(one, two, strict=True):
            if verbose and a["found"] != b["found"]:
                print(
                    f"  S/N {a['snr']:.1f} P {a['period']:.5g} t {a['time']:.4g} DM {a['dm']:.1f} duty {a['duty']:.3f}"
                )
                print(f"    cleaned {a['fate']} ({a['listed_snr']:.1f}), raw {b['fate']} ({b['listed_snr']:.1f})")


if __name__ == "__main__":
    main()
