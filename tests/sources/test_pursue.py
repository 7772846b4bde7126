"""The list by pursuit, of whole searches: one row a source, whatever ratio their periods have."""

from pathlib import Path

import numpy as np
import pytest

from pulsar.config.load import load_config
from pulsar.run import search
from pulsar.synthesis.model import Pulsar, Sky
from pulsar.synthesis.write import write_filterbank

PERIOD = 0.0837


@pytest.mark.parametrize(("ratio", "dm"), [(2.004, 40.0), (1.37, 40.0), (0.731, 75.0)])
def test_two_pulsars_are_two_rows(ratio: float, dm: float, tmp_path: Path) -> None:
    pulsars = (
        Pulsar(name="a", period=PERIOD, dm=40.0, snr=60.0, duty=0.04),
        Pulsar(name="b", period=PERIOD * ratio, dm=dm, snr=25.0, duty=0.05, phase0=0.37),
    )
    sky = Sky(nchans=64, fch1=1450.0, foff=-4.0, tsamp=1e-3, nsamps=32768, seed=5, source="TWO", pulsars=pulsars)
    path = write_filterbank(sky, tmp_path / "two.fil", threads=2)
    off = ["ffa.enabled=false", "single_pulse.enabled=false", "fold.nbins=64", "fold.nbands=16"]
    config = load_config(None, [f"dedisp.dm_hi={dm + 20}", "fold.ncands=20", *off])
    rows = search(path, config, tmp_path / "two.h5").rows("candidates")
    listed = rows[(rows["parent"] == "") & (rows["score"] > 0.5)]
    assert sorted(listed["period"]) == pytest.approx(sorted(p.period for p in pulsars), rel=1e-4)
    attached = rows[rows["parent"] != ""]
    assert attached.size
    assert np.isin(attached["parent"], listed["uid"]).mean() > 0.9
