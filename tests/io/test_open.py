"""Opening by content, joins of SIGPROC files, series, FBH5, names."""

import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from pulsar.config.model import InputConfig
from pulsar.constants import DAY
from pulsar.data.header import Header
from pulsar.data.observation import Observation
from pulsar.errors import DataError
from pulsar.io.base import is_calibration, is_spectral_line, parse_name
from pulsar.io.open import open_observation
from pulsar.io.sigproc import FilterbankWriter

NCHANS = 16
INF = """ Data file name without suffix          =  a
 Telescope used                         =  GBT
 Object being observed                  =  J1 = odd = X
 J2000 Right Ascension (hh:mm:ss.ssss)  =  00:30:00.0
 J2000 Declination     (dd:mm:ss.ssss)  =  -00:30:00.0
 Epoch of observation (MJD)             =  55000.5
 Barycentered?           (1 yes, 0 no)  =  1
 Number of bins in the time series      =  100
 Width of each time series bin (sec)    =  0.001
 Any breaks in the data? (1 yes, 0 no)  =  1
 On/Off bin pair #  1                   =  0          , 39
 On/Off bin pair #  2                   =  60         , 89
 Dispersion measure (cm-3 pc)           =  12.5
 Central freq of low channel (MHz)      =  1400
 Total bandwidth (MHz)                  =  100
 Number of channels                     =  50
 Channel bandwidth (MHz)                =  2
 Any additional notes:
    nothing = here
"""


def write(path, data, start=0, **changes):
    header = Header(nchans=NCHANS, nsamps=0, tsamp=1e-3, fch1=1500.0, foff=-1.0, tstart=55000.0 + start * 1e-3 / DAY)
    with FilterbankWriter(path, header.with_(**changes), nbits=8) as writer:
        writer.write(data)
    return path


@pytest.fixture
def data():
    return np.random.default_rng(2).integers(0, 256, (NCHANS, 400))


def test_readers_are_observations(tmp_path, data):
    assert isinstance(open_observation(write(tmp_path / "a.fil", data)), Observation)


def test_join_sigproc(tmp_path, data):
    a, b = write(tmp_path / "a.fil", data[:, :200]), write(tmp_path / "b.fil", data[:, 200:], 200.4)
    obs = open_observation(b, a)
    assert isinstance(obs, Observation)
    np.testing.assert_array_equal(obs.read().data, data)
    assert obs.gaps == ()
    c = write(tmp_path / "c.fil", data[:, 200:], 230)
    obs = open_observation(c, a)
    assert [(g.start, g.nsamps) for g in obs.gaps] == [(200, 30)]
    got = obs.read(190, 60).data
    np.testing.assert_array_equal(got[:, :10], data[:, 190:200])
    np.testing.assert_array_equal(got[:, 40:], data[:, 200:220])
    np.testing.assert_array_equal(got[:, 10:40], np.tile(np.rint(data[:, :200].mean(axis=1))[:, None], 30))


@pytest.mark.parametrize(
    ("changes", "key"), [({"tsamp": 2e-3}, "tsamp"), ({"fch1": 1501.0}, "fch1"), ({"beam": 2}, "beam")]
)
def test_join_refuses_other_headers(tmp_path, data, changes, key):
    a, b = write(tmp_path / "a.fil", data), write(tmp_path / "b.fil", data, 400, **changes)
    with pytest.raises(DataError, match=rf"a\.fil and .*b\.fil .*{key}"):
        open_observation(a, b)


def test_join_refuses_overlap_and_days_between(tmp_path, data):
    a = write(tmp_path / "a.fil", data)
    with pytest.raises(DataError, match="overlap"):
        open_observation(a, write(tmp_path / "b.fil", data, 300))
    with pytest.raises(DataError, match="not one observation"):
        open_observation(a, write(tmp_path / "c.fil", data, 86_400_000))
    assert open_observation(a, a).header.nsamps == 400, "the same file twice is one file"


def descriptors() -> int:
    """Open files of this process; 0 where the system does not list them."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def test_more_files_than_may_be_open(tmp_path, data, monkeypatch):
    monkeypatch.setattr("pulsar.io.open.MOST_OPEN", 2)
    paths = [write(tmp_path / f"{i}.fil", data[:, i * 100 : i * 100 + 100], i * 100) for i in range(4)]
    before = descriptors()
    obs = open_observation(*paths)
    np.testing.assert_array_equal(obs.read().data, data)
    np.testing.assert_array_equal(obs.read(50, 200).data, data[:, 50:250])
    assert descriptors() <= before + 1
    obs.close()
    with pytest.raises(ValueError, match="closed"):
        obs.read()


def test_inf_with_breaks(tmp_path):
    series = np.arange(100, dtype=np.float32)
    (tmp_path / "a.dat").write_bytes(series.tobytes())
    (tmp_path / "a.inf").write_text(INF)
    for name in ("a.dat", "a.inf"):
        obs = open_observation(tmp_path / name)
        h = obs.header
        assert (h.is_series, h.nchans, h.dm, h.fch1, h.barycentric) == (True, 1, 12.5, 1498.0, True)
        assert (h.ra_deg, h.dec_deg, h.tstart) == (7.5, -0.5, 55000.5)
        assert [(g.start, g.nsamps) for g in obs.gaps] == [(40, 20), (90, 10)]
        want = series.copy()
        want[40:60] = want[90:] = series[:40].mean()
        np.testing.assert_array_equal(obs.read().data[0], want)


def test_dat_without_inf(tmp_path):
    (tmp_path / "a.dat").write_bytes(bytes(40))
    with pytest.raises(DataError, match=r"a\.inf"):
        open_observation(tmp_path / "a.dat")
    (tmp_path / "b.inf").write_text(INF)
    with pytest.raises(DataError, match=r"b\.dat is missing"):
        open_observation(tmp_path / "b.inf")


@pytest.mark.parametrize("signed", [None, False, True])
def test_tim_of_bytes(tmp_path, signed):
    def text(value):
        return struct.pack("<i", len(value)) + value.encode()

    head = text("HEADER_START") + text("data_type") + struct.pack("<i", 2) + text("nbits") + struct.pack("<i", 8)
    head += text("tsamp") + struct.pack("<d", 1e-3) + text("refdm") + struct.pack("<d", 5.0)
    head += text("signed") + b"\1" + text("HEADER_END")
    (tmp_path / "a.tim").write_bytes(head + b"\x01\xff")
    obs = open_observation(tmp_path / "a.tim", config=InputConfig(signed=signed))
    assert obs.read().data.tolist() == [[1.0, 255.0 if signed is False else -1.0]]
    assert obs.header.is_series
    assert obs.header.dm == 5.0


def test_real_series(shared_data):
    for name in ("lovell_psr0", "lovell_psr2", "lovell_psr5", "GBT_J1807-0847"):
        dat, tim = (open_observation(shared_data / f"series/{name}.{kind}") for kind in ("dat", "tim"))
        assert dat.dtype == tim.dtype == np.float32
        assert dat.header.tsamp == tim.header.tsamp
        assert dat.header.dm == pytest.approx(tim.header.dm)
        assert dat.header.ra_deg == pytest.approx(tim.header.ra_deg, abs=1e-3)
    gbt = open_observation(shared_data / "series/GBT_J1807-0847.inf").header
    assert gbt.fch1 == pytest.approx(920.0)
    assert (gbt.dm, gbt.nsamps) == (112.3802, 131072)


@pytest.mark.parametrize("nifs", [1, 2])
@pytest.mark.parametrize("kind", ["u1", "f4"])
@pytest.mark.parametrize("foff", [-1.0, 1.0])
@pytest.mark.parametrize("bitshuffle", [False, True])
def test_fbh5(tmp_path, nifs, kind, foff, bitshuffle):
    values = np.random.default_rng(4).integers(0, 256, (300, nifs, 24)).astype(kind)
    options = {}
    if bitshuffle:
        options = dict(pytest.importorskip("hdf5plugin").Bitshuffle())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("data", data=values, chunks=(7, 1, 24), **options)
        for key, value in {"fch1": 1500.0, "foff": foff, "tsamp": 1e-3, "tstart": 55000.0, "nchans": 24}.items():
            dataset.attrs[key] = value
        dataset.attrs["source_name"] = b"Voyager1"
        dataset.attrs["src_raj"], dataset.attrs["src_dej"] = 12.0, -1.5
    obs = open_observation(tmp_path / "a.h5")
    want = values.astype(float).sum(axis=1).T
    np.testing.assert_array_equal(obs.read().data, want[::-1] if foff > 0 else want)
    assert (obs.header.source, obs.header.ra_deg, obs.header.dec_deg) == ("Voyager1", 180.0, -1.5)
    assert obs.header.freqs[0] == max(1500.0, 1500.0 + 23 * foff)


def test_wrong_files(tmp_path):
    (tmp_path / "empty.fil").write_bytes(b"")
    (tmp_path / "text.fil").write_text("hello world\n" * 20)
    (tmp_path / "noise.fil").write_bytes(bytes(range(200, 256)) * 3)
    (tmp_path / "cut.fil").write_bytes(b"\x0c\0\0\0HEADER")
    (tmp_path / "a.fits").write_bytes(b"SIMPLE  =                    T")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["format"] = "pulsar-search"
    for name, match in {
        "missing.fil": "no such file",
        "empty.fil": "empty",
        "text.fil": "text file",
        "noise.fil": "not a format",
        "cut.fil": "breaks off",
        "a.fits": "a.fits",
        "a.h5": "not FBH5",
        ".": "folder",
    }.items():
        with pytest.raises(DataError, match=match) as caught:
            open_observation(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert caught.value.exit_code == 3
    with pytest.raises(DataError, match="no input file"):
        open_observation()


def test_wrong_requests(tmp_path, data):
    obs = open_observation(write(tmp_path / "a.fil", data))
    with pytest.raises(ValueError, match="samples 390 to 410"):
        obs.read_into(390, np.empty((NCHANS, 20), dtype=np.uint8))
    with pytest.raises(ValueError, match="shape"):
        obs.read_into(0, np.empty((NCHANS, 20), dtype=np.float32))
    with pytest.raises(ValueError, match="contiguous"):
        obs.read_into(0, np.empty((NCHANS, 40), dtype=np.uint8)[:, ::2])
    with pytest.raises(ValueError, match="gulp"):
        list(obs.blocks(0))


@pytest.mark.parametrize(
    ("name", "beam", "mode", "sequence"),
    [
        ("J0534_tracking-M01_0001.fits", 1, "tracking", 1),
        ("Dec+41_arcdrift+23.4-M19_0112.fits", 19, "arcdrift+23.4", 112),
        ("G57.49-0.17_20190321_snapshot-M01-P1-c2048b1.fits", 1, "snapshot", None),
        ("plain.fits", None, "", None),
    ],
)
def test_fast_names(name, beam, mode, sequence):
    parts = parse_name(Path(name))
    assert (parts.beam, parts.mode, parts.sequence) == (beam, mode, sequence)
    assert not is_spectral_line(Path(name))


@pytest.mark.parametrize(
    ("name", "start", "tool"),
    [
        ("a.fits.gz", b"\x1f\x8b\x08", "gunzip"),
        ("a.fil.xz", b"\xfd7zXZ\0", "unxz"),
        ("a.fits.fz", b"SIMPLE  =", "funpack"),
    ],
)
def test_packed_files_are_refused_with_what_unpacks_them(tmp_path, name, start, tool):
    path = tmp_path / name
    path.write_bytes(start + bytes(1000))
    with pytest.raises(DataError, match=f"unpack it with `{tool} .*{name}`"):
        open_observation(path)


def test_calibration_scans_are_known_by_their_names():
    assert is_calibration(Path("3C286_swiftcalibration-M01_0001.fits"))
    assert is_calibration(Path("J0000_cal-M01_0001.fits"))
    assert is_calibration(Path("J0000_tracking_cal.fits"))
    assert not is_calibration(Path("SCAL_tracking-M01_0001.fits"))
    assert not is_calibration(Path("G57.49-0.17_snapshot-M01_0001.fits"))


def test_files_left_open_close_without_a_word_when_python_ends(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"x" * 64)
    code = (
        "import gc, pathlib, pulsar.io.base as base\n"
        f"file, parked = base.RawFile(pathlib.Path({str(path)!r})), base.RawFile(pathlib.Path({str(path)!r}))\n"
        "parked.park(); parked.read(0, 8)\n"
        # What the end of the interpreter does to a module whose objects outlive it.
        "for name in list(vars(base)):\n    setattr(base, name, None)\n"
        "del file, parked; gc.collect()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
