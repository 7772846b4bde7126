"""What ``pulsar export`` makes of the files of an observation: a burst for classifiers, a series at a DM."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from reference.command import run

from pulsar.config.load import load_config
from pulsar.data.fold import PulseCutout
from pulsar.data.header import Header
from pulsar.errors import ConfigError
from pulsar.followup.series import SIDE, burst_of, even_bands
from pulsar.io.open import open_observation
from pulsar.io.product.reader import read
from pulsar.io.product.writer import Target
from pulsar.nights.merge import merge
from pulsar.run import search
from pulsar.synthesis.model import Burst, Sky
from pulsar.synthesis.write import write_filterbank

DM, TIME, WIDTH = 60.0, 4.0, 0.008


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("burst")
    burst = Burst(time=TIME, dm=DM, snr=40.0, width=WIDTH)
    sky = Sky(nchans=64, fch1=1500.0, foff=-6.0, tsamp=1e-3, tobs=8.0, tstart=58999.25, seed=5, bursts=(burst,))
    write_filterbank(sky, folder / "a.fil", threads=1)
    off = ["fft.enabled=false", "ffa.enabled=false", "dedisp.dm_hi=100", "rfi.zap=[[1300.0,1330.0]]", "run.threads=1"]
    search([folder / "a.fil"], load_config(None, off), folder / "run.h5")
    return folder / "run.h5"


def check_burst(path: Path, product: Path) -> None:
    row = read(product).rows("single_pulses")[0]
    with h5py.File(path) as file:
        told = dict(file.attrs)
        spectrum, plane = file["data_freq_time"][:], file["data_dm_time"][:]
        axes = [dim.label for dim in file["data_freq_time"].dims], [dim.label for dim in file["data_dm_time"].dims]
    assert axes == (["time", "frequency"], ["dm", "time"])
    assert spectrum.shape == plane.shape == (256, 256)
    assert np.isfinite(spectrum).all()
    # Bright in the middle of both, and nowhere else.
    profile = spectrum.sum(axis=1)
    assert abs(int(np.argmax(profile)) - 127.5) <= 2
    at_dm, at_time = np.unravel_index(np.argmax(plane), plane.shape)
    assert abs(at_time - 127.5) <= 2
    assert abs(at_dm - 127.5) <= 12
    assert plane[at_dm, at_time] > 15.0
    assert np.abs(plane[:40, :60]).max() < 7.0
    dms = np.linspace(told["dm_low"], told["dm_high"], 256)
    assert dms[at_dm] == pytest.approx(DM, abs=5.0)
    assert (told["dm_low"], told["dm_high"]) == pytest.approx((0.0, 2 * told["dm"]))
    # What was masked is empty: 1300 to 1330 MHz, below the highest channel edge of 1503.
    low, high = int((1503.0 - 1327.0) / 384 * 256), int((1503.0 - 1303.0) / 384 * 256)
    assert not spectrum[:, low:high].any()
    assert spectrum[:, high + 8 :].any(axis=0).all()
    assert told["tcand"] == pytest.approx(TIME, abs=0.01)
    assert (told["dm"], told["snr"]) == pytest.approx((row["dm"], row["snr"]))
    assert told["width"] == round(row["width"] / 1e-3)
    assert told["column_tsamp"] == pytest.approx(max(1, round(told["width"] / 2)) * 1e-3)
    assert (told["nchans"], told["fch1"], told["foff"], told["tsamp"]) == pytest.approx((64, 1500.0, -6.0, 1e-3))
    assert told["cand_id"].startswith("cand_tstart_58999.25")


def test_a_burst_lies_in_the_middle_of_both_arrays(product: Path) -> None:
    code, out, err = run("export", product, "--id", "p0001", "--burst", "-q")
    assert (code, out) == (0, f"{product.with_name('run_p0001.h5')}\n"), err
    check_burst(product.with_name("run_p0001.h5"), product)
    assert run("export", product, "--id", "p0001", "--burst")[0] == 2


def test_a_burst_of_a_merged_list_is_that_of_its_own_observation(product: Path) -> None:
    merged = product.with_name("all.h5")
    merge([read(product)], Target(merged), load_config(None))
    path = product.with_name("merged_burst.h5")
    code, _, err = run("export", merged, "--id", "p0001", "--burst", "--out", path)
    assert code == 0, err
    check_burst(path, product)


def test_the_series_is_that_of_dedisperse(product: Path) -> None:
    code, out, err = run("export", product, "--id", "p0001", "--dat", "--dm", DM, "-q")
    assert (code, out) == (0, f"{product.with_name('run_p0001.dat')}\n"), err
    own = product.with_name("own.dat")
    done = run("dedisperse", product.with_name("a.fil"), "--dm", DM, "--mask", product, "--out", own, "-q")
    assert done[0] == 0, done[2]
    with open_observation(product.with_name("run_p0001.dat")) as series, open_observation(own) as expected:
        assert series.header.dm == DM
        np.testing.assert_array_equal(series.read().data, expected.read().data)
    assert abs(int(np.argmax(np.fromfile(own, dtype="<f4"))) * 1e-3 - TIME) < WIDTH


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--id", "p0009", "--burst"), "no candidate 'p0009'"),
        (("--id", "p0001", "--par"), "no candidate 'p0001'"),
        (("--id", "p0001", "--burst", "--dm", "3"), "--dm is of the series"),
        (("--id", "p0001", "--dat", "--out", "x.h5"), "the ending tells the format"),
    ],
)
def test_what_cannot_be_made_is_told(product: Path, words: tuple[str, ...], told: str) -> None:
    code, out, err = run("export", product, *words)
    assert (code, out) == (2, "")
    assert told in err


def test_a_candidate_is_no_burst(product: Path) -> None:
    with pytest.raises(ConfigError, match="no single pulse 'c0001'; p0001"):
        burst_of(read(product), "c0001")


def test_files_that_are_gone_are_told(product: Path) -> None:
    fil = product.with_name("a.fil")
    fil.rename(product.with_name("away.fil"))
    try:
        code, _, err = run("export", product, "--id", "p0001", "--burst", "--out", product.with_name("y.h5"))
    finally:
        product.with_name("away.fil").rename(fil)
    assert code == 3
    assert "a.fil is not where it was" in err
    assert "pulsar waterfall" in err


def test_few_channels_fill_all_bands() -> None:
    header = Header(nchans=4, nsamps=1000, tsamp=1e-3, fch1=1450.0, foff=-100.0, tstart=59000.0)
    spectrum = np.repeat(np.arange(1.0, 4.0, dtype=np.float32)[:, None], 8, axis=1)
    # The second of four channels is masked.
    live = np.array([1450.0, 1250.0, 1150.0])
    cutout = PulseCutout(spectrum, live, spectrum, np.arange(3.0), 1.0, 0.5, 0.01, 0.4, 1e-3, 59000.0, 1450.0)
    found = even_bands(cutout, header)[:, 0]
    assert found.shape == (SIDE,)
    assert (found[:64] == 1.0).all()
    assert (found[66:126] == 0.0).all()
    assert (found[128:192] == 2.0).all()
    assert (found[192:] == 3.0).all()
