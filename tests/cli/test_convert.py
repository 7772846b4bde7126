"""``pulsar convert``: samples and header come back through every format, and what cannot is refused."""

import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference.command import run

from pulsar.config.model import InputConfig
from pulsar.data.header import Header
from pulsar.followup.convert import Extract, convert_files
from pulsar.io.open import open_observation
from pulsar.io.psrfits import PsrfitsWriter
from pulsar.io.sigproc import FilterbankWriter
from pulsar.synthesis.model import LEVELS

ENDINGS = ("fil", "sf", "h5")
HEADER = Header(
    nchans=16, nsamps=0, tsamp=1e-3, fch1=1500.0, foff=-2.0, tstart=58000.25, source="J0534+2200", telescope="FAST",
    telescope_id=21, beam=3, nbeams=19, ra_deg=83.63, dec_deg=-22.01,
)  # fmt: skip


def filterbank(path: Path, data: NDArray[Any], nbits: int = 8, **changes: Any) -> Path:
    header = HEADER.with_(nchans=len(data), **changes)
    with FilterbankWriter(path, header, nbits=nbits) as writer:
        writer.write(data)
    return path


def samples(path: Path) -> tuple[NDArray[Any], Header]:
    with open_observation(path) as obs:
        return obs.read().data, obs.header


@given(
    ending=st.sampled_from(ENDINGS),
    nbits=st.sampled_from((1, 2, 4, 8, 16, 32)),
    shape=st.tuples(st.integers(1, 5).map(lambda n: 8 * n), st.integers(1, 60)),
    start=st.integers(0, 20),
    first=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_samples_and_header_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    ending: str,
    nbits: int,
    shape: tuple[int, int],
    start: int,
    first: int,
    seed: int,
) -> None:
    assume(start < shape[1] and 8 * first < shape[0])
    folder = tmp_path_factory.mktemp("convert")
    data = np.random.default_rng(seed).integers(0, min(1 << nbits, 60000), shape)
    # Spectra of zeros at the end of a PSRFITS file are padding.
    data[:, -1] = 1
    source = filterbank(folder / "a.fil", data, nbits)
    freqs = HEADER.with_(nchans=len(data)).freqs
    # Whole bytes at every depth.
    extract = Extract((float(freqs[-1]), float(freqs[8 * first])), (start * 1e-3, shape[1] * 1e-3))
    convert_files([source], folder / f"b.{ending}", InputConfig(), extract)
    back, header = samples(folder / f"b.{ending}")
    np.testing.assert_array_equal(back, data[8 * first :, start:])
    np.testing.assert_allclose(header.freqs, freqs[8 * first :], rtol=1e-12)
    assert header.tstart == pytest.approx(HEADER.tstart + start * 1e-3 / 86400, abs=1e-11)
    assert (header.tsamp, header.source, header.telescope, header.beam) == (1e-3, "J0534+2200", "FAST", 3)
    assert (header.ra_deg, header.dec_deg) == pytest.approx((83.63, -22.01), abs=1e-6)
    assert header.nbits == (max(nbits, 8) if ending == "h5" else nbits)


@given(
    ending=st.sampled_from(ENDINGS),
    shape=st.tuples(st.integers(1, 20), st.integers(1, 40)),
    steps=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_averages_are_means(
    tmp_path_factory: pytest.TempPathFactory, ending: str, shape: tuple[int, int], steps: tuple[int, int]
) -> None:
    nchans, nsamps = shape
    bands, times = steps
    # A file of SIGPROC of one channel is a series.
    assume(2 * bands <= nchans and times <= nsamps and bands * times > 1)
    folder = tmp_path_factory.mktemp("averages")
    data = np.random.default_rng(7).integers(1, 200, shape)
    source = filterbank(folder / "a.fil", data)
    convert_files([source], folder / f"b.{ending}", InputConfig(), Extract(tscrunch=times, fscrunch=bands))
    back, header = samples(folder / f"b.{ending}")
    cut = data[: nchans // bands * bands, : nsamps // times * times]
    expected = cut.reshape(nchans // bands, bands, nsamps // times, times).mean(axis=(1, 3))
    np.testing.assert_allclose(back, expected, rtol=1e-6)
    assert header.tsamp == pytest.approx(times * 1e-3)
    assert header.chan_width == 2.0 * bands
    assert header.freqs[0] == pytest.approx(1500.0 - (bands - 1))


@pytest.mark.parametrize(
    ("ending", "nbits"),
    [*((ending, nbits) for ending in ("fil", "sf") for nbits in (1, 2, 4, 8, 16)), ("h5", 8), ("h5", 16)],
)
def test_fewer_bits_keep_the_noise(tmp_path: Path, ending: str, nbits: int) -> None:
    rng = np.random.default_rng(3)
    level, noise = rng.uniform(-50.0, 1000.0, (16, 1)), rng.uniform(0.01, 300.0, (16, 1))
    data = rng.normal(size=(16, 5000)) * noise + level
    source = filterbank(tmp_path / "a.fil", data, 32)
    target = tmp_path / f"b.{ending}"
    code, _, err = run("convert", source, "--out", target, "--nbits", nbits)
    assert code == 0, err
    assert "scaled in each channel" in err
    back, header = samples(target)
    assert header.nbits == nbits
    # Correlation with what went in: what quantisation at these levels leaves (van Vleck 1966; Max 1960).
    least = {1: 0.79, 2: 0.93, 4: 0.985, 8: 0.999, 16: 0.9999}[nbits]
    assert min(np.corrcoef(row, old)[0, 1] for row, old in zip(back, data, strict=True)) > least
    # PSRFITS keeps the units.
    mean, spread = LEVELS[nbits]
    scale, offset = (noise / spread, level - mean * noise / spread) if ending == "sf" else (1.0, 0.0)
    codes = (back - offset) / scale
    np.testing.assert_allclose(codes.mean(axis=1), mean, atol=0.06 * spread)
    drawn = np.clip(np.rint(mean + spread * rng.normal(size=100_000)), 0, (1 << nbits) - 1)
    np.testing.assert_allclose(codes.std(axis=1), drawn.std(), rtol=0.05)


def test_interference_in_some_stretches_does_not_set_the_scale(tmp_path: Path) -> None:
    data = np.random.default_rng(4).normal(100.0, 2.0, (16, 1 << 19))
    data[:, : 1 << 17] += 5000.0
    filterbank(tmp_path / "a.fil", data, 32)
    convert_files([tmp_path / "a.fil"], tmp_path / "b.fil", InputConfig(), Extract(), nbits=8)
    back, _ = samples(tmp_path / "b.fil")
    assert back[:, 1 << 18 :].std() == pytest.approx(16.0, rel=0.05)


def test_files_are_joined_and_polarisations_summed(tmp_path: Path) -> None:
    data = np.random.default_rng(5).integers(0, 100, (2, 16, 128))
    with PsrfitsWriter(tmp_path / "a.fits", HEADER, npol=2, nsblk=16, rows_per_file=4) as writer:
        writer.write(data)
    files = sorted(tmp_path.glob("a_*.fits"))
    assert len(files) == 2
    code, out, err = run("convert", *files, "--out", tmp_path / "b.fil", "-q")
    assert (code, out) == (0, f"{tmp_path / 'b.fil'}\n"), err
    back, header = samples(tmp_path / "b.fil")
    np.testing.assert_array_equal(back, data.sum(axis=0))
    assert (header.nifs, header.nbits) == (1, 16)


def test_masked_channels_stay_masked(tmp_path: Path) -> None:
    weights = np.ones(16)
    weights[3] = 0.0
    with PsrfitsWriter(tmp_path / "a.fits", HEADER, weights=weights, nsblk=16) as writer:
        writer.write(np.random.default_rng(6).integers(1, 200, (16, 64)))
    for ending in ENDINGS:
        assert run("convert", tmp_path / "a.fits", "--out", tmp_path / f"b.{ending}")[0] == 0
    with open_observation(tmp_path / "b.sf") as obs:
        assert np.flatnonzero(~obs.chan_ok).tolist() == [3]
    for ending in ("fil", "h5"):
        back, _ = samples(tmp_path / f"b.{ending}")
        assert np.flatnonzero(~back.any(axis=1)).tolist() == [3]


def test_hours_and_degrees_are_in_fbh5(tmp_path: Path) -> None:
    source = filterbank(tmp_path / "a.fil", np.ones((16, 20)))
    convert_files([source], tmp_path / "b.h5", InputConfig(), Extract())
    with h5py.File(tmp_path / "b.h5") as file:
        assert file.attrs["CLASS"] == "FILTERBANK"
        assert file["data"].shape == (20, 1, 16)
        assert file["data"].attrs["src_raj"] == pytest.approx(83.63 / 15)
        assert file["data"].attrs["foff"] == -2.0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--out", "b.txt"), "the ending says the format: .fil"),
        (("--out", "a.fil", "--overwrite"), "is the input itself"),
        (("--out", "there.fil"), "exists already"),
        (
            ("--out", "b.fil", "--freqs", "1600", "1700"),
            "no channel of a.fil lies there: they go from 1470 to 1500 MHz",
        ),
        (("--out", "b.fil", "--time", "0.03", "0.01"), "a.fil has times from 0 to 0.04 s"),
        (("--out", "b.fil", "--time", "0", "9"), "a.fil has times from 0 to 0.04 s"),
        (("--out", "b.fil", "--tscrunch", "41"), "--tscrunch 41: there are 40 samples"),
        (("--out", "b.fil", "--fscrunch", "17"), "--fscrunch 17: there are 16 channels"),
        (("--out", "b.fil", "--freqs", "1498", "1500", "--nbits", "1"), "do not fill whole bytes"),
        (("--out", "b.h5", "--nbits", "4"), "FBH5 has no 4 bit"),
    ],
)
def test_what_cannot_be_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    filterbank(Path("a.fil"), np.ones((16, 40)))
    Path("there.fil").write_text("precious")
    code, out, err = run("convert", "a.fil", *words)
    assert (code, out) == (2, "")
    assert told in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fil", "there.fil"]
    assert Path("there.fil").read_text() == "precious"


def test_series_and_barycentred_data_are_refused_where_the_format_cannot_say_it(tmp_path: Path) -> None:
    source = filterbank(tmp_path / "a.fil", np.ones((16, 40)), barycentric=True)
    code, _, err = run("convert", source, "--out", tmp_path / "b.sf")
    assert code == 2
    assert "PSRFITS cannot say that the data are barycentred" in err
    assert run("convert", source, "--out", tmp_path / "b.h5")[0] == 0
    assert samples(tmp_path / "b.h5")[1].barycentric
    series = filterbank(tmp_path / "c.tim", np.ones((1, 40)), 32, is_series=True)
    code, _, err = run("convert", series, "--out", tmp_path / "d.fil")
    assert code == 2
    assert "is a dedispersed series" in err


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_left_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    source = filterbank(tmp_path / "a.fil", np.ones((16, 40)))

    def failing(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pulsar.followup.convert.Extracted._fill", failing)
    with pytest.raises(OSError, match="No space"):
        convert_files([source], tmp_path / f"b.{ending}", InputConfig(), Extract())
    assert [path.name for path in tmp_path.iterdir()] == ["a.fil"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulsar.followup.convert._PIECE", 1 << 16)
    peaks = []
    for name, nsamps in (("a", 1 << 12), ("b", 1 << 17)):
        source = filterbank(tmp_path / f"{name}.fil", np.ones((64, nsamps), dtype=np.uint8))
        tracemalloc.start()
        convert_files([source], tmp_path / f"{name}2.{ending}", InputConfig(), Extract(tscrunch=2), nbits=8)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The file is 8 MiB, and 64 of its floats are 32.
    assert peaks[1] < peaks[0] + (2 << 20)


@pytest.mark.parametrize("name", ["bits/parkes_8bit_1.fil", "bits/parkes_2bit.fil", "bits/parkes_1bit.fil"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_real_files_come_back(shared_data: Path, tmp_path: Path, name: str, ending: str) -> None:
    convert_files([shared_data / name], tmp_path / f"b.{ending}", InputConfig(), Extract())
    (old, before), (new, after) = samples(shared_data / name), samples(tmp_path / f"b.{ending}")
    np.testing.assert_array_equal(old, new)
    np.testing.assert_allclose(before.freqs, after.freqs, rtol=1e-12)
    assert (before.tsamp, before.source) == (after.tsamp, after.source)
    assert before.tstart == pytest.approx(after.tstart, abs=1e-11)


@pytest.mark.parametrize("name", ["bits/parkes_4bit.sf", "burst/28.fits"])
def test_real_psrfits_become_8_bits(shared_data: Path, tmp_path: Path, name: str) -> None:
    for ending in ENDINGS:
        convert_files([shared_data / name], tmp_path / f"b.{ending}", InputConfig(), Extract(), nbits=8)
        (old, before), (new, after) = samples(shared_data / name), samples(tmp_path / f"b.{ending}")
        assert old.shape == new.shape
        assert before.telescope == after.telescope
        live = np.flatnonzero(old.std(axis=1) > 0)[::7]
        assert len(live) > 20
        assert all(np.corrcoef(old[c], new[c])[0, 1] > 0.99 for c in live)
