"""The list by pursuit, of whole searches: one row a source, whatever ratio their periods have."""

from pathlib import Path

import numpy as np
import pytest

from pulsar.config.load import load_config
from pulsar.run import search
from pulsar.synthesis import Pulsar, Sky, write_filterbank

PERIOD = 0.0837


@pytest.mark.parametrize(("ratio", "dm"), [(2.004, 40.0), (1.37, 40.0), (0.731, 75.0)])
def test_two_pulsars_are_two_rows(ratio: float, dm: float, tmp_path: Path) -> None:
    pulsars = (
        Pulsar(name="a", period=PERIOD, dm=40.0, snr=60.0, duty=0.04),
        Pulsar(name="b", period=PERIOD * ratio, dm=dm, snr=25.0, duty=0.05, phase0=0.37),
    )
    sky = Sky(nchans=64, fch1=1450.0, foff=-4.0, tsamp=1e-3, nsamps=32768, seed=5, source="TWO", pulsars=pulsars)
    path = write_filterbank(sky, tmp_path / "two.fil", threads=2)
    config = load_config(None, ["dedisp.dm_hi=120", "fold.ncands=20"])
    rows = search(path, config, tmp_path / "two.h5").rows("candidates")
    listed = rows[(rows["parent"] == "") & (rows["score"] > 0.5)]
    assert sorted(listed["period"]) == pytest.approx(sorted(p.period for p in pulsars), rel=1e-4)
    attached = rows[rows["parent"] != ""]
    assert attached.size
    assert np.isin(attached["parent"], listed["uid"]).mean() > 0.9


def test_harmonics_stay_rows_of_their_own_on_request(tmp_path: Path) -> None:
    pulsars = (Pulsar(name="a", period=PERIOD, dm=40.0, snr=60.0, duty=0.04),)
    sky = Sky(nchans=32, fch1=1450.0, foff=-8.0, tsamp=1e-3, nsamps=16384, seed=6, source="ONE", pulsars=pulsars)
    path = write_filterbank(sky, tmp_path / "one.fil", threads=2)
    settings = ["dedisp.dm_hi=80", "fold.ncands=10"]
    alone = {}
    for harmonics in ("true", "false"):
        config = load_config(None, [*settings, f"sift.harmonics={harmonics}"])
        rows = search(path, config, tmp_path / f"{harmonics}.h5").rows("candidates")
        alone[harmonics] = int(np.count_nonzero(rows["parent"] == ""))
    assert alone["false"] > alone["true"]
