"""The same sky in every format: the candidates must be the same.

SIGPROC at 1, 2, 4, 8, 16, 32 bit in both band orders, with 1 and 2 IFs; PSRFITS at 1, 2, 4, 8 bit with 1, 2 and 4
polarisations (AA+BB, AABB, AABBCRCI, IQUV), single and in several files, both band orders. Period within 1e-4 relative
or its error of the truth, DM within one step of the plan, S/N within 3 % of the 8-bit .fil, after the loss that theory
gives for few bits: efficiency 0.798 (= sqrt(2 / pi)) for 1 bit, 0.940 for 2 bits (Max 1960; Jenet & Anderson 1998),
0.989 for the 4 bits used here.

    python benchmarks/matrix.py
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pulsar.config.load import load_config
from pulsar.run import search
from pulsar.synthesis import Pulsar, Sky, write_filterbank, write_psrfits

EFFICIENCY = {1: np.sqrt(2 / np.pi), 2: 0.940, 4: 0.989, 8: 1.0, 16: 1.0, 32: 1.0}

SKY = Sky(
    nchans=128,
    fch1=1498.0,
    foff=-4.0,
    tsamp=128e-6,
    nsamps=2**17,
    seed=77,
    pulsars=(
        Pulsar(period=0.0123456, dm=45.0, snr=100, duty=0.08, phase0=0.3),
        Pulsar(period=0.2345678, dm=120.0, snr=120, duty=0.05, phase0=0.7),
    ),
)


def formats() -> list[tuple[str, int, dict[str, Any]]]:
    """Label, bits, arguments of the writer."""
    cases: list[tuple[str, int, dict[str, Any]]] = []
    for nbits in (8, 1, 2, 4, 16, 32):
        for ascending in (False, True):
            cases.append(("fil", nbits, {"ascending": ascending}))
    cases.append(("fil", 8, {"nifs": 2}))
    for nbits in (8, 4, 2, 1):
        for npol, pol_type in ((1, "AA+BB"), (2, "AABB"), (4, "AABBCRCI"), (4, "IQUV")):
            cases.append(("fits", nbits, {"npol": npol, "pol_type": pol_type}))
    cases.append(("fits", 8, {"npol": 2, "pol_type": "AABB", "ascending": False, "rows_per_file": 40}))
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    config = load_config(None, ["dedisp.dm_hi=150"])
    reference: dict[float, float] = {}
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for i, (kind, nbits, options) in enumerate(formats()):
            path, out = Path(folder) / f"{i}.{kind}", Path(folder) / f"{i}.h5"
            if kind == "fil":
                paths = [write_filterbank(SKY, path, nbits=nbits, threads=2, **options)]
            else:
                paths = list(write_psrfits(SKY, path, nbits=nbits, threads=2, **options))
            run = search(paths, config, out)
            rows = run.rows("candidates")
            steps = np.diff(np.unique(run.rows("detections")["dm"]))
            text = []
            for k, pulsar in enumerate(SKY.pulsars):
                near = [
                    r for r in rows if abs(r["period"] / pulsar.period - 1) < max(1e-4, r["period_err"] / r["period"])
                ]
                near = [r for r in near if not r["harmonic_of"]]
                if not near:
                    text.append("MISSED")
                    bad += 1
                    continue
                row = near[0]
                snr = float(row["snr"]) / EFFICIENCY[nbits]
                reference.setdefault(k, snr)
                ratio = snr / reference[k]
                step = max(float(np.median(steps)), float(row["dm_err"]))
                good = abs(ratio - 1) < 0.03 and abs(row["dm"] - pulsar.dm) < step
                bad += not good
                text.append(
                    f"rank {row['rank']} S/N {row['snr']:.1f} ratio {ratio:.3f} DM {row['dm']:.2f}({row['dm_err']:.2f})"
                    + ("" if good else "  <-- OUT")
                )
            label = f"{kind} {nbits:2d} bit " + " ".join(f"{a}={b}" for a, b in options.items())
            print(f"{label:62s} {'; '.join(text)}  [{len(rows)}]", flush=True)
            for p in paths:
                p.unlink()
    print("all the same" if not bad else f"{bad} differ")
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
