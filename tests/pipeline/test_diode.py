"""The noise diode in the first file of an observation."""

import numpy as np
import pytest

from pulsar.config.load import load_config
from pulsar.io.open import open_observation
from pulsar.io.psrfits import PsrfitsWriter
from pulsar.run import first_look, search
from pulsar.synthesis.model import Pulsar, Sky
from pulsar.synthesis.write import write_psrfits

NSAMPS, TSAMP, PERIOD = 1 << 15, 512e-6, 0.0913


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Four files of a pulsar, in the first of which the diode adds two sigma to every sample while it is on."""
    folder = tmp_path_factory.mktemp("cal")
    sky = Sky(
        nchans=64, fch1=1450.0, foff=-6.25, tsamp=TSAMP, nsamps=NSAMPS, beam=1, seed=3, source="SRC", tstart=59000.0,
        pulsars=(Pulsar(period=PERIOD, dm=40.0, snr=20.0, duty=0.08),),
    )  # fmt: skip
    (whole,) = write_psrfits(sky, folder / "whole.fits", npol=1, threads=1)
    obs = open_observation(whole)
    data = obs.read().data.astype(np.float64)
    t = np.arange(NSAMPS) * TSAMP
    data += 32.0 * (t / 0.201326592 % 1.0 < 0.5) * (t < 0.25 * NSAMPS * TSAMP)
    with PsrfitsWriter(folder / "SRC_tracking-M01.fits", obs.header, nsblk=1024, rows_per_file=8) as writer:
        writer.write(data)
    return list(writer.paths)


def settings(*more):
    off = ["rfi.zap=[]", "dedisp.dm_hi=60", "ffa.enabled=false", "single_pulse.enabled=false", "run.threads=1"]
    return load_config("fast-19beam", [*off, *more])


def test_it_is_taken_out_of_the_file_that_has_it(files, tmp_path):
    out = tmp_path / "run.h5"
    # What is by chance may have any DM, 0 too.
    sure = settings("coherent.threshold=2")
    # As a night does: a first look, whose mask the search takes.
    first_look(files, sure, out)
    rows = search(files, sure, out, begun=True).rows("candidates")
    assert rows[0]["period"] == pytest.approx(PERIOD, rel=3e-4)
    assert rows[0]["snr"] > 16
    # Nothing else than noise, and what belongs to the pulsar.
    assert (rows["parent"][1:][~(rows["snr"][1:] < 8)] == rows["uid"][0]).all()
    assert not any(flag in str(r["rfi_flags"]) for r in rows for flag in ("diode", "dm0"))


def test_without_it_the_list_is_full_of_its_sidelobes(files, tmp_path):
    off = ["rfi.diodes=[]", "rfi.learn=false", "rfi.clip=0", "coherent.enabled=false", "search.residual=0"]
    config = settings(*off, "fold.ncands=16", "fold.nbins=64", "fold.nbands=16")
    rows = search(files, config, tmp_path / "run.h5").rows("candidates")
    assert sum("dm0" in str(r["rfi_flags"]) for r in rows) > 8
