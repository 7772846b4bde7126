"""Mask files: what goes in comes out, what does not fit is refused, and what a mask costs adds up."""

from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.masks import NoSamples, make_header, make_mask_of, make_statistics

from pulsar.cleaning.birdies import Birdie, merged
from pulsar.cleaning.mask import (
    CAUSES,
    MASK_ARRAYS,
    Mask,
    block_losses,
    channel_losses,
    losses,
    reason_classes,
    to_a_thousandth,
    worst_blocks,
    worst_channels,
)
from pulsar.cleaning.statistics import BlockStatistics
from pulsar.cleaning.store import (
    FORMAT_VERSION,
    STATISTICS_FIELDS,
    STATISTICS_SCALARS,
    read_given,
    read_mask,
    without,
    write_mask,
)
from pulsar.config.load import load_config
from pulsar.errors import ConfigError, DataError
from pulsar.io.product.writer import ProductWriter
from pulsar.pipeline.cleaning import find_mask, given_birdies, given_mask
from pulsar.pipeline.progress import Progress

HEADER = make_header()
STATS = make_statistics(HEADER)
MASK = make_mask_of(STATS)
BIRDIES = (Birdie(50.0, 0.1, "learnt"), Birdie(100.0, 0.2, "given, learnt"))


@pytest.fixture
def path(tmp_path):
    return write_mask(tmp_path / "m.h5", NoSamples(HEADER), MASK, STATS, BIRDIES, provenance={"config": "[rfi]\n"})


def test_a_product_is_a_mask_file_too(tmp_path):
    path = tmp_path / "run.h5"
    with ProductWriter(path) as writer:
        writer.observation(HEADER)
        writer.rfi(MASK.stored(HEADER.freqs), [(b.freq, b.width, b.reason) for b in BIRDIES])
    found = read_given(path, HEADER)
    for f in fields(Mask):
        np.testing.assert_array_equal(getattr(found.mask, f.name), getattr(MASK, f.name))
    assert found.birdies == BIRDIES
    assert found.stats is None


def test_products_without_a_mask_are_refused(tmp_path):
    series, merged_of_two = tmp_path / "series.h5", tmp_path / "two.h5"
    with ProductWriter(series) as writer:
        writer.observation(HEADER)
        writer.table("rfi/birdies", [(50.0, 0.1, "mains")])
    with pytest.raises(DataError, match="holds no mask"):
        read_given(series, HEADER)
    with ProductWriter(merged_of_two) as writer:
        writer.observations([HEADER, HEADER], [(), ()], [(), ()])
    with pytest.raises(DataError, match="several observations holds no mask"):
        read_given(merged_of_two, HEADER)


def test_rounding_keeps_a_thousandth_of_the_noise():
    rng = np.random.default_rng(1)
    noise = 10.0 ** rng.uniform(-6, 6, 1000)
    baseline = noise * rng.normal(0, 1e4, 1000)
    noise[:3] = 0.0, np.nan, np.inf
    near, width = to_a_thousandth(baseline, noise)
    assert np.all(np.abs(near - baseline)[3:] <= 0.0005 * noise[3:])
    np.testing.assert_allclose(width[3:], noise[3:], rtol=0.0005)
    np.testing.assert_array_equal(near[:3], baseline[:3])
    np.testing.assert_array_equal(width[:3], noise[:3])
    # Once rounded, always rounded: a mask that is read and stored again is the same.
    np.testing.assert_array_equal(to_a_thousandth(near, width), (near, width))


def test_every_field_is_stored():
    assert {f.name for f in fields(Mask)} == set(MASK_ARRAYS)
    assert {f.name for f in fields(BlockStatistics)} == {
        *STATISTICS_FIELDS,
        *STATISTICS_SCALARS,
        # What the mask has of it.
        "diode",
        "diode_share",
    }


def test_what_goes_in_comes_out(path):
    found = read_mask(path)
    assert repr(found.header) == repr(HEADER)
    assert found.birdies == BIRDIES
    assert found.config == "[rfi]\n"
    for f in fields(Mask):
        stored, wanted = getattr(found.mask, f.name), getattr(MASK, f.name)
        np.testing.assert_array_equal(stored, wanted)
        assert getattr(stored, "dtype", None) == getattr(wanted, "dtype", None)
    for name in STATISTICS_FIELDS:
        np.testing.assert_allclose(getattr(found.stats, name), getattr(STATS, name), rtol=1e-6)
        assert getattr(found.stats, name).dtype == getattr(STATS, name).dtype
    for name in STATISTICS_SCALARS:
        assert getattr(found.stats, name) == getattr(STATS, name)
    assert read_mask(path, statistics=False).stats is None


def test_everything_is_described(path):
    with h5py.File(path) as file:
        assert file.attrs["format"] == "pulsar-mask"
        assert file.attrs["format_version"] == "2.0"

        def check(name, item):
            assert item.attrs["description"], name
            assert "unit" in item.attrs or isinstance(item, h5py.Group), name

        file.visititems(check)
        assert file["statistics/mean"].dtype == np.float32
        assert file["rfi"].attrs["masked_fraction"] == pytest.approx(MASK.fraction_lost)


def test_without_statistics(tmp_path):
    path = write_mask(tmp_path / "m.h5", NoSamples(HEADER), MASK, None)
    found = read_mask(path)
    assert found.stats is None
    assert found.birdies == ()


def test_the_documentation_lists_everything():
    text = (Path(__file__).resolve().parents[2] / "docs" / "masks.md").read_text()
    for name, (dtype, _, description) in STATISTICS_FIELDS.items():
        assert f"| `{name}` | {dtype} | {description} |" in text
    assert all(f"`{name}`" in text for name in STATISTICS_SCALARS)
    assert ", ".join(CAUSES) in " ".join(text.split())
    assert f'"{FORMAT_VERSION}"' in text


def test_causes_keep_their_names(path):
    with h5py.File(path, "r+") as file:
        attrs = file["rfi"].attrs
        assert tuple(attrs["causes"]) == CAUSES
        # As another version may have them: in another order, and one that is not known here.
        order = [*reversed(CAUSES), "of old"]
        bits = np.zeros_like(MASK.why)
        for i, cause in enumerate(CAUSES):
            bits |= ((MASK.why >> i) & 1) << order.index(cause)
        attrs["causes"] = order
        file["rfi/why"][...] = bits | (1 << (len(order) - 1))
    np.testing.assert_array_equal(read_mask(path).mask.why, MASK.why)


def test_an_existing_file_stays(path):
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        write_mask(path, NoSamples(HEADER), MASK, STATS)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["m.h5"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"nsamps": 10_301}, "samples 10300 in the mask, 10301 in the data"),
        ({"nchans": 25}, "channels 24 in the mask, 25 in the data"),
        ({"tsamp": 1.001e-3}, "sampling time [s] 0.001 in the mask, 0.001001 in the data"),
        ({"tstart": 59000.26}, "start [MJD] 59000.25 in the mask, 59000.26 in the data"),
        ({"fch1": 1500.5}, "[MHz] 1500 in the mask, 1500.5 in the data"),
        ({"foff": -1.001}, "frequency of channel 23 [MHz] 1477 in the mask, 1476.977 in the data"),
        ({"beam": 4}, "beam 3 in the mask, 4 in the data"),
    ],
)
def test_another_observation_is_refused_with_both_values(path, change, told):
    with pytest.raises(ConfigError) as error:
        read_given(path, make_header(**change))
    assert told in str(error.value)
    assert "m.h5: the mask of another observation" in str(error.value)


def test_the_same_observation_read_a_little_differently(path):
    # Rounding of times, and a beam number that one of both does not know.
    near = make_header(tstart=59000.25 + 4e-9, tsamp=1e-3 * (1 + 1e-10), beam=None, source="other")
    assert read_given(path, near).mask.reasons == MASK.reasons


def spoil(name, path):
    with h5py.File(path, "r+") as file:
        if name == "missing":
            del file["rfi/noise"]
        elif name == "shape":
            del file["rfi/mask"]
            file["rfi/mask"] = np.zeros((3, 4), dtype=bool)
        elif name == "edges":
            file["rfi/edges"][-1] = 9999
        elif name == "reasons":
            del file["rfi/chan_reasons"]
            file["rfi/chan_reasons"] = np.array(["x"], dtype=object)
        elif name == "clipped":
            file["rfi/clipped"][0] = (30, 20)
        elif name == "header":
            del file["observation"].attrs["tsamp"]
        elif name == "version":
            file.attrs["format_version"] = "3.0"
        elif name == "block":
            del file["statistics"].attrs["block_nsamps"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "rfi/noise cannot be read: .*missing"),
        ("shape", r"rfi/mask has the shape \(3, 4\), expected \(nblocks, nchans\) with nchans = 24, nblocks = 10"),
        ("edges", "rfi/edges do not ascend from 0 to the 10300 samples"),
        ("reasons", r"rfi/chan_reasons has the shape \(1,\), expected \(nchans\) with nchans = 24"),
        ("clipped", "rfi/clipped"),
        ("header", "/observation lacks the attribute 'tsamp'"),
        ("version", "format_version is '3.0', this program reads up to 2.x"),
        ("block", "attribute block_nsamps of statistics is None, expected"),
    ],
)
def test_damage_is_told(path, name, message):
    spoil(name, path)
    with pytest.raises(DataError, match=rf"m\.h5: .*{message}"):
        read_mask(path)


def test_truncated_foreign_and_missing_files(path, tmp_path):
    whole = path.read_bytes()
    for size in (len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"m\.h5: damaged or truncated"):
            read_mask(path)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file.attrs["format"] = "theirs"
    with pytest.raises(DataError, match=r"not a mask of `pulsar rfi`.*: attribute format is 'theirs'"):
        read_given(other, HEADER)
    with pytest.raises(DataError, match=r"gone\.h5: no such file"):
        read_given(tmp_path / "gone.h5", HEADER)
    with pytest.raises(DataError, match="is a folder: expected a mask"):
        read_given(tmp_path, HEADER)


def test_more_channels_left_out():
    more = np.zeros(HEADER.nchans, dtype=bool)
    more[[0, 10]] = True
    mask = without(MASK, more, "zapped")
    assert mask.reasons[10] == "zapped"
    assert not mask.chan_ok[10]
    assert mask.bad[:, 10].all()
    assert (mask.bad | more == MASK.bad | more).all()
    assert without(MASK, np.zeros(HEADER.nchans, dtype=bool), "zapped").reasons == MASK.reasons


def settings(path, *sets):
    return load_config(None, [f"rfi.mask={path}", *sets])


def test_a_mask_of_ours_is_used_as_it_is(path, monkeypatch):
    monkeypatch.setattr("pulsar.pipeline.cleaning.measure", None)  # no second look at the samples
    obs = NoSamples(HEADER)
    quiet = Progress("quiet")
    mask, stats = find_mask(obs, settings(path), threads=1, progress=quiet)
    for f in fields(Mask):
        np.testing.assert_array_equal(getattr(mask, f.name), getattr(MASK, f.name))
    assert stats is None
    assert find_mask(obs, settings(path), threads=1, progress=quiet, statistics=True)[1] is not None
    # What is ruled out now is left out too.
    obs.chan_ok[5] = False
    mask, _ = find_mask(obs, settings(path, "rfi.zap=[[1489.6, 1490.4]]"), threads=1, progress=quiet)
    assert (mask.reasons[5], mask.reasons[10]) == ("no weight in file", "zapped")
    assert np.flatnonzero(mask.chan_ok != MASK.chan_ok).tolist() == [5, 10]
    with pytest.raises(ConfigError, match=r"m\.h5: the mask and rfi.zap leave no channel"):
        find_mask(obs, settings(path, "rfi.zap=[[1000, 2000]]"), threads=1, progress=quiet)


def test_lines_of_a_mask_are_given(path):
    known = given_birdies(HEADER, settings(path, "rfi.birdies=[[7.0, 0.1]]").rfi)
    assert known == [Birdie(7.0, 0.1, "given"), *BIRDIES]
    assert given_birdies(HEADER, load_config().rfi) == []
    # Learnt once more they are the same to the last bit.
    assert merged([*BIRDIES, Birdie(50.0, 0.1, "learnt")]) == list(BIRDIES)


def test_a_series_has_nothing_to_mask(path):
    with pytest.raises(ConfigError, match="a dedispersed series has no channels to mask"):
        given_mask(make_header(is_series=True), settings(path).rfi)
    assert given_mask(make_header(is_series=True), load_config().rfi) is None


@given(st.integers(0, 10_000), st.integers(3, 12), st.integers(5, 40))
def test_losses_add_up(seed, nblocks, nchans):
    rng = np.random.default_rng(seed)
    header = make_header(nchans, int(rng.integers(nblocks * 50, nblocks * 90)))
    mask = make_mask_of(make_statistics(header, nblocks, seed), seed)
    # Impulses anywhere, over edges of blocks too.
    cuts = np.sort(rng.choice(header.nsamps + 1, 2 * int(rng.integers(0, 8)), replace=False)).reshape(-1, 2)
    mask = replace(mask, clipped=cuts.astype(np.int64))
    lost = mask.bad[np.searchsorted(mask.edges, np.arange(header.nsamps), side="right") - 1]
    for a, b in cuts:
        lost[a:b] = True
    assert mask.fraction_lost == pytest.approx(lost.mean())
    np.testing.assert_allclose(channel_losses(mask), lost.mean(axis=0))
    for live in (False, True):
        counted = lost[:, mask.chan_ok] if live else lost
        each = [counted[a:b].mean() for a, b in zip(mask.edges[:-1], mask.edges[1:], strict=True)]
        np.testing.assert_allclose(block_losses(mask, live=live), each)
    assert sum(one.fraction for one in losses(mask)) == pytest.approx(lost.mean())
    told = {one.reason: one.count for one in losses(mask) if one.unit == "channels"}
    assert told == {reason: mask.reasons.count(reason) for reason in told}


def test_reasons_and_their_order():
    classes, names = reason_classes(MASK)
    assert names[:3] == ["constant", "noise outlier", "zapped"]
    assert set(names[3:]) == {"whole blocks", "blocks: noise", "blocks: line"}
    assert (classes[:, MASK.chan_ok][5] == 1 + names.index("whole blocks")).all()
    assert ((classes > 0) == MASK.bad).all()
    # Without the causes something is said all the same.
    unknown = replace(MASK, why=np.zeros((0, 0), dtype=np.uint16))
    classes, names = reason_classes(unknown)
    assert names[3:] == ["blocks"]
    assert ((classes > 0) == MASK.bad).all()


def test_where_most_is_lost():
    bad = np.zeros((10, 24), dtype=bool)
    reasons = [""] * 24
    for channel in (3, 4, 5):
        bad[:, channel] = True
        reasons[channel] = "zapped" if channel < 5 else "constant"
    bad[6:8] = True
    mask = replace(MASK, chan_ok=np.array([not r for r in reasons]), reasons=tuple(reasons), bad=bad)
    mask = replace(mask, clipped=np.zeros((0, 2), dtype=np.int64))
    (band,) = worst_channels(mask, HEADER)
    assert (band.first, band.last, band.lo, band.hi) == (3, 5, 1494.5, 1497.5)
    assert band.lost == 1.0
    assert band.share == pytest.approx(3 / 24)
    assert band.reasons == ("zapped", "constant")
    (time,) = worst_blocks(mask, HEADER)
    assert (time.lo, time.hi) == (pytest.approx(6.18), pytest.approx(8.24))
    assert time.lost == 1.0
    assert time.share == pytest.approx(2 / 10 * 21 / 24)
    clean = replace(mask, chan_ok=np.ones(24, dtype=bool), reasons=("",) * 24, bad=np.zeros_like(bad))
    assert worst_channels(clean, HEADER) == worst_blocks(clean, HEADER) == losses(clean) == []
