"""Verdicts on single pulses of a run."""

from pathlib import Path

import numpy as np
import pytest

from pulsar.config.load import load_config
from pulsar.data.candidate import SINGLE_PULSE_COLUMNS, empty_table
from pulsar.pipeline.pulses import judge_shapes, sweep_dms, sweeps_share
from pulsar.run import search
from pulsar.synthesis.model import Burst, Sky
from pulsar.synthesis.write import write_filterbank


def test_what_has_the_dm_of_several_sweeps_is_told():
    table = empty_table(SINGLE_PULSE_COLUMNS, 5)
    table["dm"] = [240.0, 250.0, 300.0, 20.0, 260.0]
    table["rfi_flags"] = ["sweep", "", "", "dm0", ""]
    assert sweep_dms(table) == (0.0, 0.0)
    # Two whose DMs agree are enough, of others it takes three.
    table["rfi_flags"][1] = "narrow-band,sweep"
    assert sweep_dms(table) == (200.0, 300.0)
    table["dm"][0] = 100.0
    assert sweep_dms(table) == (0.0, 0.0)
    table["dm"][0] = 240.0
    table["rfi_flags"][4] = "sweep"
    assert sweep_dms(table) == (200.0, 312.0)
    # What is made of this range does not widen it; what is at DM 0 does not sweep.
    table["dm"][2:4] = [311.0, 0.0]
    table["rfi_flags"][2:4] = ["near sweeps", "dm0,sweep"]
    assert sweep_dms(table) == (200.0, 312.0)


def test_what_is_among_sweeps_scores_what_the_density_elsewhere_leads_to_expect():
    table = empty_table(SINGLE_PULSE_COLUMNS, 8)
    table["id"] = [f"p{k}" for k in range(8)]
    table["dm"] = [240.0, 250.0, 260.0, 255.0, 245.0, 241.0, 20.0, 400.0]
    table["rfi_flags"][:3] = "sweep"
    table["score"] = [0.1, 0.1, 0.1, 1.0, 1.0, 1.0, 0.9, 0.8]
    table["sigma"] = 10.0
    dms = np.linspace(0.0, 560.0, 561)
    assert sweeps_share(table, dms) == pytest.approx((312.0 - 200.0) / 560.0)
    assert judge_shapes(table, {}, dms) == set()
    # Outside are two, of 0.9 and 0.8, and one that is not known, in four fifths of the DMs; the sweeps do not count.
    assert list(table["id"][:2]) == ["p6", "p7"]
    near = table[table["rfi_flags"] == "near sweeps"]
    assert sorted(near["id"]) == ["p3", "p4", "p5"]
    assert near["score"] == pytest.approx(2.7 * 0.25 / 3.0)
    assert (np.diff(table["sigma"] * table["score"]) <= 0.0).all()


def test_pulses_are_judged_by_their_shape_beyond_those_that_are_stored(tmp_path: Path):
    # In a twelfth of the band, at DMs from 120 to 300.
    bursts = tuple(
        Burst(time=2.0 + 2.0 * k, dm=120.0 + 30.0 * k, snr=26.0, width=4e-3, spectrum=(1250.0, 40.0)) for k in range(7)
    )
    sky = Sky(nchans=128, fch1=1498.0, foff=-4.0, tsamp=512e-6, nsamps=1 << 15, seed=3, bursts=bursts)
    path = write_filterbank(sky, tmp_path / "sky.fil", threads=1)
    sets = [f"{name}.enabled=false" for name in ("fft", "coherent", "ffa", "completeness")]
    run = search(path, load_config(None, [*sets, "dedisp.dm_hi=400", "single_pulse.cutouts=2"]), tmp_path / "run.h5")
    rows = run.rows("single_pulses")
    assert len(rows) >= 7
    assert np.count_nonzero(np.char.find(rows["rfi_flags"], "narrow-band") >= 0) >= 6
    assert list(run.pulse_ids) == list(rows["id"][:2])
