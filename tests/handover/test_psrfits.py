"""Folds as PSRFITS: what a reader of the format gets back is the fold."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from reference.products import make_header, summed_fold, write_product

from pulsar.constants import DAY, KDM
from pulsar.errors import ConfigError
from pulsar.handover.candidate import Exported, candidate_of
from pulsar.handover.psrfits import psrfits_bytes
from pulsar.io.open import open_observation
from pulsar.io.product.reader import read


def opened(one: Exported) -> fits.HDUList:
    return fits.open(io.BytesIO(psrfits_bytes(one)))


def exported(**changes: object) -> Exported:
    fold = replace(summed_fold(), **changes)
    return Exported("c0001", "J0534+2200", {}, fold, make_header(), (Path("a.fil"),), Path("run.h5"))


def cube(file: fits.HDUList, dm: float) -> np.ndarray:
    """Profiles as a reader makes them: scaled, and dedispersed to the highest channel."""
    table = file["SUBINT"].data
    data = table["DATA"][:, 0] * table["DAT_SCL"][:, :, None] + table["DAT_OFFS"][:, :, None]
    late = KDM * dm * (table["DAT_FREQ"] ** -2 - make_header().fch1 ** -2) / table["PERIOD"][:, None]
    k = np.arange(data.shape[2] // 2 + 1)
    return np.fft.irfft(np.fft.rfft(data, axis=2) * np.exp(2j * np.pi * late[:, :, None] * k), axis=2)


def test_profiles_come_back() -> None:
    one = exported()
    file = opened(one)
    found = cube(file, file["SUBINT"].header["DM"])
    assert found.shape == (16, 8, 64)
    np.testing.assert_allclose(found.sum(axis=(0, 1)) / np.sqrt(16 * 8), one.fold.profile, atol=0.3)
    np.testing.assert_allclose(found.sum(axis=1) / np.sqrt(8), one.fold.time_phase, atol=0.4)
    np.testing.assert_allclose(found.sum(axis=0) / np.sqrt(16), one.fold.freq_phase, atol=0.4)
    # At another DM the pulse is smeared.
    assert cube(file, 20.0).sum(axis=(0, 1)).max() < 0.7 * found.sum(axis=(0, 1)).max()


def test_the_headers_are_those_of_fold_mode() -> None:
    file = opened(exported())
    primary, subint = file[0].header, file["SUBINT"].header
    assert [hdu.name for hdu in file] == ["PRIMARY", "HISTORY", "PSRPARAM", "POLYCO", "SUBINT"]
    assert (primary["FITSTYPE"], primary["OBS_MODE"], primary["TELESCOP"]) == ("PSRFITS", "PSR", "FAST")
    assert (primary["RA"], primary["DEC"]) == ("05:34:31.9200", "+22:00:51.8400")
    start = primary["STT_IMJD"] + (primary["STT_SMJD"] + primary["STT_OFFS"]) / DAY
    fold = exported().fold
    assert start == pytest.approx(fold.epoch - 0.5 * fold.tobs / DAY, abs=1e-11)
    assert 0 <= primary["STT_OFFS"] < 1
    assert subint["TDIM" + str(file["SUBINT"].columns.names.index("DATA") + 1)] == "(64,8,1)"
    assert (subint["NBIN"], subint["NCHAN"], subint["NPOL"], subint["NAXIS2"]) == (64, 8, 1, 16)
    assert subint["CHAN_BW"] < 0
    assert subint["DM"] == pytest.approx(56.71)
    history = file["HISTORY"].data[0]
    assert (history["DEDISP"], history["NBIN"], history["NCHAN"], history["NSUB"]) == (0, 64, 8, 16)
    lines = dict(line.split(maxsplit=1) for line in file["PSRPARAM"].data["PARAM"])
    assert lines["PSR"] == "J0534+2200"
    assert float(lines["DM"].split()[0]) == pytest.approx(56.71, rel=1e-3)


def test_the_polynomial_counts_the_turns_of_the_fold() -> None:
    fold = replace(exported().fold, after=replace(exported().fold.after, fdot=-2e-6, fddot=3e-9))
    file = opened(exported(after=fold.after))
    poly = file["POLYCO"].data[0]
    t = file["SUBINT"].data["OFFS_SUB"] - 0.5 * fold.tobs
    minutes = t / 60.0
    phase = poly["REF_PHS"] + 60 * poly["REF_F0"] * minutes + np.polyval(poly["COEFF"][::-1], minutes)
    p = fold.after
    np.testing.assert_allclose(phase, t * (p.freq + t * (p.fdot / 2 + t * p.fddot / 6)), atol=1e-9)
    assert poly["REF_MJD"] == fold.epoch
    assert poly["NSPAN"] * 60 >= fold.tobs
    np.testing.assert_allclose(file["SUBINT"].data["PERIOD"] * (p.freq + t * (p.fdot + t * p.fddot / 2)), 1.0)


def test_a_product_is_exported_and_told_from_search_mode(tmp_path: Path) -> None:
    from pulsar.errors import DataError

    one = candidate_of(read(write_product(tmp_path / "run.h5")), "c0001")
    path = tmp_path / "x.fits"
    path.write_bytes(psrfits_bytes(one))
    with fits.open(path) as file:
        assert cube(file, 56.71).sum(axis=(0, 1)).max() > 0
    with pytest.raises(DataError, match="folded data: expected search mode"):
        open_observation(path)


def test_a_fold_of_a_series_and_one_without_a_time() -> None:
    fold = exported().fold
    one = exported(freq_phase=fold.profile[None], band_freqs=np.array([1300.0]))
    assert opened(one)["SUBINT"].data["DATA"].shape == (16, 1, 1, 64)
    nowhere = exported(freq_phase=fold.profile[None], band_freqs=np.array([np.inf]))
    assert np.all(opened(nowhere)["SUBINT"].data["DAT_FREQ"] == make_header().fch1)
    with pytest.raises(ConfigError, match="time of the observation is not known"):
        psrfits_bytes(exported(epoch=float("nan")))
