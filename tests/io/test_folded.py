"""Folds of other programs: what is in the file comes out, real ones have known answers, wrong ones a clear word."""

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reference.folded import BEST, phcx, rows_of_a_pulsar, section
from reference.products import make_header, summed_fold

from pulsar.data.fold import FoldCube, holds_sums_only
from pulsar.errors import DataError
from pulsar.folding.refine import refine
from pulsar.handover.candidate import Exported
from pulsar.handover.formats import pfd_bytes, significance
from pulsar.io.folded import FoldedFile, read_folded

A_PULSAR = section("FFT", rows_of_a_pulsar(18, 30.0), rows_of_a_pulsar(16, 30.0, seed=2), BEST)


def written(path: Path, data: bytes) -> FoldedFile:
    path.write_bytes(data)
    return read_folded(path)


def own_pfd() -> tuple[bytes, Exported]:
    fold = summed_fold()
    header = make_header().with_(nchans=8, foff=-50.0, fch1=1524.0, nsamps=round(fold.tobs / make_header().tsamp))
    one = Exported("c0001", "J0534+2200", {}, fold, header, (Path("a.fil"),), Path("run.h5"))
    return pfd_bytes(one), one


def chi2(cube: FoldCube) -> float:
    """Reduced chi-square of the summed profile."""
    profile = cube.data.sum(axis=(0, 1), dtype=float)
    return float(np.sum((profile - profile.mean()) ** 2) / cube.variance.sum(axis=(0, 1)).mean() / (len(profile) - 1))


def test_what_we_export_comes_back(tmp_path: Path) -> None:
    data, one = own_pfd()
    read = written(tmp_path / "a.pfd", data)
    fold, back = one.fold, refine(read.cube, fit=False)
    assert read.name == "J0534+2200"
    assert read.stated == {"period": pytest.approx(1 / fold.after.freq, rel=1e-6), "dm": fold.after.dm}
    params = read.cube.params
    assert (params.freq, params.fdot) == pytest.approx((fold.after.freq, fold.after.fdot), rel=1e-12)
    np.testing.assert_allclose(read.cube.band_freqs, one.header.freqs, rtol=1e-12)
    np.testing.assert_allclose(read.cube.time_edges, fold.time_edges, atol=1e-3)
    assert (read.header.tstart, read.header.telescope) == (one.header.tstart, "FAST")
    assert (read.header.ra_deg, read.header.dec_deg) == pytest.approx((83.633, 22.0144), abs=1e-4)
    for mine, theirs in ((back.profile, fold.profile), (back.time_phase, fold.time_phase)):
        assert np.corrcoef(mine.ravel(), theirs.ravel())[0, 1] > 0.99
    assert np.corrcoef(back.freq_phase.ravel(), fold.freq_phase.ravel())[0, 1] > 0.99
    # As of a fold of prepfold, which it is read as.
    assert chi2(read.cube) == pytest.approx(significance(one)[0], rel=0.03)


def test_what_has_only_sums_is_told_from_a_cube(tmp_path: Path) -> None:
    read = written(tmp_path / "a.pfd", own_pfd()[0])
    assert holds_sums_only(read.cube)
    uneven = replace(read.cube, time_edges=np.r_[read.cube.time_edges[:-1], read.cube.time_edges[-2] + 3.0])
    assert not holds_sums_only(uneven)
    noise = np.random.default_rng(1).normal(size=read.cube.data.shape).astype(np.float32)
    assert not holds_sums_only(replace(read.cube, data=read.cube.data + 0.01 * noise))
    assert not holds_sums_only(replace(read.cube, data=read.cube.data[:1], time_edges=np.array([0.0, 300.0])))
    assert holds_sums_only(written(tmp_path / "a.phcx", phcx([A_PULSAR])).cube)


def test_a_series_comes_back_as_one_band(tmp_path: Path) -> None:
    _, one = own_pfd()
    fold = replace(one.fold, freq_phase=one.fold.profile[None], band_freqs=np.array([1300.0]))
    header = make_header().with_(nchans=1, foff=-400.0, fch1=1300.0, is_series=True)
    header = header.with_(nsamps=one.header.nsamps)
    read = written(tmp_path / "a.pfd", pfd_bytes(replace(one, fold=fold, header=header)))
    assert read.header.is_series
    assert read.header.dm == fold.after.dm
    assert read.cube.data.shape == (16, 1, 64)


def test_either_order_of_bytes_is_read(tmp_path: Path) -> None:
    data, _ = own_pfd()
    swapped = _big_endian(data)
    little, big = written(tmp_path / "a.pfd", data), written(tmp_path / "b.pfd", swapped)
    np.testing.assert_array_equal(little.cube.data, big.cube.data)
    assert little.header == big.header


def _big_endian(data: bytes) -> bytes:
    at, parts = 0, []

    def swap(form: str) -> tuple[int, ...]:
        nonlocal at
        values = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        parts.append(struct.pack(">" + form, *values))
        return values

    swap("12i")
    for _ in range(4):
        (n,) = swap("i")
        swap(f"{n}s")
    swap("32s9d")
    for _ in range(3):
        swap("f4x3d")
    swap(f"{(len(data) - at) // 8}d")
    return b"".join(parts)


def test_masked_bands_and_parts_weigh_nothing(tmp_path: Path) -> None:
    data, _ = own_pfd()
    stats = np.frombuffer(data[-16 * 8 * 56 :], "<f8").reshape(16, 8, 7).copy()
    stats[3, :, 2], stats[:, 1, 2] = 0.0, np.nan
    read = written(tmp_path / "a.pfd", data[: -16 * 8 * 56] + stats.tobytes())
    # Bands ascend in the file.
    assert not read.cube.variance[3].any()
    assert not read.cube.variance[:, 6].any()
    assert np.count_nonzero(read.cube.variance[..., 0]) == 15 * 7
    assert not read.cube.data[:, 6].any()


@pytest.mark.parametrize(
    ("name", "period", "dm", "snr"),
    [
        # Its pulses vary; beside them the sum is white (bins scatter by 1.05 of that).
        ("Ter5_080912_DM242.30_PSR_1748-2446A", 0.01156306, 242.3, 256.0),
        ("Ter5_080912_bary_DM238.30_8.66ms_Cand", 0.0086643, 238.3, 11.5),
    ],
)
def test_real_folds_of_prepfold(shared_data: Path, name: str, period: float, dm: float, snr: float) -> None:
    read = read_folded(shared_data / "folded" / f"{name}.pfd")
    fold = refine(read.cube, search_dm=not read.header.is_series)
    assert fold.period == pytest.approx(period, rel=5e-6)
    # prepfold tries DMs in steps of 0.11.
    assert fold.dm == pytest.approx(dm, abs=0.15)
    assert fold.snr == pytest.approx(snr, rel=0.1)
    assert (read.header.telescope, read.header.is_series) == ("GBT", dm == 238.3)


def test_the_chi_square_of_a_real_fold(shared_data: Path) -> None:
    read = read_folded(shared_data / "folded" / "Ter5_080912_bary_DM238.30_8.66ms_Cand.pfd")
    assert read.header.barycentric
    assert read.stated["period"] == pytest.approx(0.00866431399, rel=1e-9)
    # As the text beside it says, which turns by whole bins.
    assert chi2(read.cube) == pytest.approx(3.830, rel=0.05)


def test_an_archive_that_is_not_read_says_so(shared_data: Path) -> None:
    with pytest.raises(DataError, match=r"parkes_bpsr\.ar.*archives of PSRCHIVE are not read"):
        read_folded(shared_data / "folded" / "parkes_bpsr.ar")


@pytest.mark.parametrize("packed", [False, True])
def test_a_candidate_of_parkes(tmp_path: Path, packed: bool) -> None:
    data = phcx([A_PULSAR])
    read = written(tmp_path / ("a.phcx.gz" if packed else "a.phcx"), gzip.compress(data) if packed else data)
    fold = refine(read.cube, fit=False)
    assert (fold.period, fold.dm) == (pytest.approx(0.3344), 165.75)
    # A pulse of S/N 30 for a filter of its own shape; a box has up to 6 % less.
    assert fold.snr == pytest.approx(29.0, rel=0.08)
    assert fold.phase == pytest.approx(0.4 + 0.5 / 64, abs=0.01)
    assert (read.header.telescope, read.header.beam, read.header.source) == ("Parkes", 4, "J1803-2711")
    assert (read.header.fch1, read.header.foff) == (1382.0 + 187.5, -25.0)
    assert read.stated == {"period": pytest.approx(0.3344), "dm": 165.75, "snr": 30.9, "width": 0.0625}
    assert len(read.problems) == 2
    # Noise of 1, whatever the scale of the file.
    off = np.delete(fold.time_phase, np.arange(20, 32), axis=1)
    assert off.std() == pytest.approx(1.0, abs=0.08)


def test_bands_of_a_rising_band_are_turned_round(tmp_path: Path) -> None:
    bands = rows_of_a_pulsar(16, 30.0, seed=2)
    bands[0] += 15 * (np.arange(64) == 5)
    one = section("FFT", rows_of_a_pulsar(18, 30.0), bands, BEST)
    down = refine(written(tmp_path / "a.phcx", phcx([one])).cube, fit=False)
    up = refine(written(tmp_path / "b.phcx", phcx([one], width=400.0)).cube, fit=False)
    np.testing.assert_allclose(up.freq_phase[::-1], down.freq_phase, atol=1e-3)
    assert np.argmax(down.freq_phase[0]) == np.argmax(up.freq_phase[-1]) == 5


def test_the_section_that_was_optimised_counts(tmp_path: Path) -> None:
    first = section("FFT", rows_of_a_pulsar(32, 5.0), rows_of_a_pulsar(16, 5.0), BEST | {"Dm": 1.0})
    assert written(tmp_path / "a.phcx", phcx([first, A_PULSAR])).cube.params.dm == 165.75


def test_a_candidate_without_bands_is_a_series(tmp_path: Path) -> None:
    read = written(tmp_path / "a.phcx", phcx([section("FFT", rows_of_a_pulsar(18, 30.0), None, BEST)]))
    assert read.header.is_series
    assert refine(read.cube, search_dm=False, fit=False).snr == pytest.approx(29.0, rel=0.08)


def test_a_series_of_no_frequency_has_no_delay(tmp_path: Path) -> None:
    data = phcx([section("FFT", rows_of_a_pulsar(18, 30.0), None, BEST)]).replace(b">1382.0<", b"><")
    read = written(tmp_path / "a.phcx", data)
    assert np.isnan(read.header.fch1)
    assert refine(read.cube, search_dm=False, fit=False).snr == pytest.approx(29.0, rel=0.08)


def test_constant_rows_are_masked(tmp_path: Path) -> None:
    times = rows_of_a_pulsar(18, 30.0)
    times[4] = times.mean()
    read = written(tmp_path / "a.phcx", phcx([section("FFT", times, rows_of_a_pulsar(16, 30.0), BEST)]))
    assert not read.cube.variance[4].any()
    assert read.cube.variance[5].all()


WRONG = {
    "cut": ("pfd", lambda data: data[:900], "ends at byte 900"),
    "cut in its statistics": ("pfd", lambda data: data[:-8], "inside the statistics"),
    "a time of nothing": ("pfd", lambda data: data[:-7168] + bytes(7168), "a length of 0 s"),
    "something else": ("xml", lambda _: b"GIF89a" + bytes(90), "starts with b'GIF89a"),
    "nothing": ("xml", lambda _: b"", "is empty"),
    "a FITS file": ("xml", lambda _: b"SIMPLE  =                    T", "archives of PSRFITS are not read"),
    "half an XML": ("xml", lambda data: data[:1500], "is damaged or cut off"),
    "half a packed one": ("xml", lambda data: gzip.compress(data)[:1500], "is damaged or cut off"),
    "entities": (
        "xml",
        lambda data: data.replace(b"<phcf>", b'<!DOCTYPE a [<!ENTITY b "c">]><phcf>'),
        "declares entities",
    ),
    "no period": ("xml", lambda data: data.replace(b"TopoPeriod", b"Period"), "a period of nan s"),
    "an absurd period": ("xml", lambda data: data.replace(b"0.3344", b"1e30"), "a period of inf s"),
    "an absurd band": ("xml", lambda data: data.replace(b">1382.0<", b">-5<"), "around -5 MHz"),
    "no rows": ("xml", lambda data: data.replace(b"SubIntegrations", b"Parts"), "has no SubIntegrations"),
    "another number of rows": ("xml", lambda data: data.replace(b"nSub='18'", b"nSub='19'"), "not 19 rows of 64"),
    "no hexadecimal": (
        "xml",
        lambda data: data.replace(b"format='02X' min='0.0' max='1.0'>\n", b">\nXY"),
        "hexadecimal",
    ),
    "no section": ("xml", lambda data: data.replace(b"Section", b"Part"), "has no Section"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told(tmp_path: Path, case: str) -> None:
    kind, change, told = WRONG[case]
    data = own_pfd()[0] if kind == "pfd" else phcx([A_PULSAR])
    with pytest.raises(DataError, match=told) as error:
        written(tmp_path / "a.fold", change(data))
    assert "a.fold" in str(error.value)


@pytest.mark.parametrize(
    ("at", "value", "told"),
    [
        (0, 0.0, "a sampling time of 0 s"),
        (6, -1e9, "a band from -1e"),
        (8, 1e300, "a DM of 1e"),
        (3, 1e300, "a start at MJD"),
        (5, 0.5, "a velocity of the Earth"),
    ],
)
def test_absurd_numbers_of_a_pfd_are_named(tmp_path: Path, at: int, value: float, told: str) -> None:
    data = own_pfd()[0]
    texts = 48
    for _ in range(4):
        texts += 4 + struct.unpack_from("<i", data, texts)[0]
    place = texts + 32 + 8 * at
    with pytest.raises(DataError, match=told):
        written(tmp_path / "a.pfd", data[:place] + struct.pack("<d", value) + data[place + 8 :])


def test_a_candidate_without_a_length_is_refused(tmp_path):
    path = tmp_path / "a.phcx"
    path.write_bytes(phcx([A_PULSAR], tobs=0.0))
    with pytest.raises(DataError, match="a length of 0 s"):
        read_folded(path)
