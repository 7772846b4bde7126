"""``pulsar rfi`` and ``--mask``: made, saved, printed, drawn, and used again with the same result."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.command import run
from reference.masks import presto_bytes

from pulsar.cleaning.store import read_mask
from pulsar.config.load import load_config
from pulsar.data.observation import InputFile
from pulsar.followup.masks import make_rfi
from pulsar.io.open import open_observation
from pulsar.io.product.reader import read
from pulsar.io.product.writer import Target
from pulsar.io.sigproc import FilterbankWriter
from pulsar.pipeline.start import fingerprint
from pulsar.synthesis.model import Pulsar, Rfi, Sky
from pulsar.synthesis.write import write_filterbank

SKY = Sky(
    nchans=64,
    fch1=1496.0,
    foff=-8.0,
    tsamp=512e-6,
    nsamps=40_000,
    seed=21,
    source="MASKED",
    pulsars=(Pulsar(name="a", period=0.0523456, dm=45.0, snr=25, duty=0.1),),
    rfi=(
        Rfi(kind="dead", freqs=(1010, 1030)),
        Rfi(kind="narrowband", freqs=(1200, 1214), strength=4),
        Rfi(kind="mains", rate=120.0, strength=0.05),
    ),
)
SEARCH = ("--dm", 0, 100, "--no-ffa", "--no-single-pulse", "--ncands", 4, "--threads", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rfi")


@pytest.fixture(scope="module")
def observation(folder: Path) -> Path:
    return write_filterbank(SKY, folder / "a.fil", threads=1)


def test_without_an_output_nothing_is_written(
    observation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--set", "dedisp.dm_hi=100", "--threads", 1, "--set", f"run.scratch={tmp_path}")
    code, out, err = run("rfi", observation, *options)
    assert code == 0, err
    assert "of the data are left out" in out
    assert "for later runs" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def made(observation: Path, folder: Path) -> tuple[Path, str]:
    """The mask, and what was printed."""
    path = folder / "a.mask.h5"
    options = ("--plot", folder / "a.png", "--set", "dedisp.dm_hi=100", "--threads", 1)
    code, out, err = run("rfi", observation, "--out", path, *options)
    assert code == 0, err
    assert f"pulsar search {observation} --mask {path}" in err
    return path, out


@pytest.fixture(scope="module")
def mask(made: tuple[Path, str]) -> Path:
    return made[0]


def same(a: Path, b: Path, tables: tuple[str, ...]) -> None:
    for name in tables:
        ours, theirs = read(a).rows(name), read(b).rows(name)
        assert len(ours) == len(theirs) > 0
        for key in ours.dtype.names or ():
            np.testing.assert_array_equal(ours[key], theirs[key], err_msg=f"{name}.{key}")


def test_what_is_printed(made: tuple[Path, str]) -> None:
    path, out = made
    lines = out.splitlines()
    found = read_mask(path)
    assert lines[0].startswith(f"{100 * found.mask.fraction_lost:.2f} % of the data are left out; ")
    assert f"{np.count_nonzero(~found.mask.chan_ok)} of 64 channels" in lines[0]
    assert any(line.split()[:3] == ["constant", "4", "channels"] for line in lines)
    title = next(i for i, line in enumerate(lines) if line.startswith("Frequencies that lose most"))
    bands = [line.split()[:3] for line in lines[title + 2 :] if " - " in line]
    assert ["1004", "-", "1036"] in bands
    (title,) = (line for line in lines if line.startswith("Periodic interference: "))
    assert title.endswith("of the spectrum")
    assert any(line.split() and line.split()[0].startswith(("120.0", "119.9")) for line in lines)


def test_the_file_has_what_later_runs_need(mask: Path) -> None:
    found = read_mask(mask)
    assert found.header.source == "MASKED"
    assert found.stats is not None
    assert np.isfinite(found.stats.kurtosis[:, found.mask.chan_ok]).all()
    assert any(abs(b.freq - 120) < 0.5 and b.reason == "learnt" for b in found.birdies)
    assert "dm_hi = 100" in found.config


def test_the_picture(mask: Path) -> None:
    raw = mask.with_name("a.png").read_bytes()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(raw) > 50_000


def test_nothing_to_learn_from(observation: Path, tmp_path: Path) -> None:
    for change in ("rfi.learn=false", "dedisp.dm_hi=0"):
        code, out, err = run("rfi", observation, "--out", tmp_path / "m.h5", "--set", change, "--overwrite")
        assert code == 0, err
        assert "not looked for (rfi.learn is off, or there is only one DM)" in out
    # What is given is told all the same.
    options = ("--set", "rfi.learn=false", "--set", "rfi.birdies=[[7.0, 0.1]]", "--overwrite")
    assert "7.000000         0.1  given" in run("rfi", observation, "--out", tmp_path / "m.h5", *options)[1]
    assert [(b.freq, b.reason) for b in read_mask(tmp_path / "m.h5").birdies] == [(7.0, "given")]


def test_json_and_a_mask_made_from_a_mask(mask: Path, observation: Path, tmp_path: Path, monkeypatch) -> None:
    before = read_mask(mask)
    monkeypatch.setattr("pulsar.pipeline.cleaning.measure", None)  # the statistics are those of the file
    options = ("--mask", mask, "--zap", "1399.6:1400.4", "--set", "dedisp.dm_hi=100", "--threads", 1, "--json")
    code, out, err = run("rfi", observation, "--out", tmp_path / "b.h5", *options, "-q")
    assert code == 0, err
    assert err == ""
    record = json.loads(out)
    after = read_mask(tmp_path / "b.h5")
    assert record["fraction_lost"] == pytest.approx(after.mask.fraction_lost)
    assert sum(r["fraction"] for r in record["reasons"]) == pytest.approx(after.mask.fraction_lost)
    assert {"reason": "zapped", "count": 1, "unit": "channels", "fraction": 1 / 64} in record["reasons"]
    assert record["nblocks"] == len(record["block_start"]) == len(record["block_lost"])
    assert len(record["freqs"]) == len(record["channel_lost"]) == 64
    assert np.mean(record["channel_lost"]) == pytest.approx(after.mask.fraction_lost)
    assert record["spectrum_lost"] > 0
    changed = np.flatnonzero(before.mask.chan_ok != after.mask.chan_ok)
    assert changed.tolist() == [12]
    assert after.stats is not None
    np.testing.assert_array_equal(after.stats.mean, before.stats.mean if before.stats is not None else None)


def test_search_with_the_mask_is_the_search_without(mask: Path, observation: Path, tmp_path: Path) -> None:
    without, with_ = tmp_path / "without.h5", tmp_path / "with.h5"
    assert run("search", observation, "--out", without, *SEARCH)[0] == 0
    code, _, err = run("search", observation, "--out", with_, *SEARCH, "--mask", mask)
    assert code == 0, err
    assert f"mask: taken from {mask}" in err
    assert "statistics:" not in err
    same(without, with_, ("candidates", "detections", "rfi/birdies"))
    np.testing.assert_array_equal(read(without).rfi["mask"], read(with_).rfi["mask"])
    # What the command learns is what the search learns.
    learnt = [(r["freq"], r["width"]) for r in read(without).rows("rfi/birdies")]
    assert learnt == [(b.freq, b.width) for b in read_mask(mask).birdies]
    assert str(mask) in read(with_).provenance["config"]
    best = read(with_).rows("candidates")[0]
    assert best["period"] == pytest.approx(0.0523456, rel=1e-4)
    # And the product of a search is a mask file: it has the same mask, lines and all.
    again = tmp_path / "again.h5"
    code, _, err = run("search", observation, "--out", again, *SEARCH, "--mask", without)
    assert code == 0, err
    same(without, again, ("candidates", "detections", "rfi/birdies"))
    assert run("search", observation, "--out", without, *SEARCH, "--mask", without, "--overwrite")[0] == 2


def test_lines_of_the_mask_where_they_cannot_be_learnt(mask: Path, observation: Path, tmp_path: Path) -> None:
    # A search that begins above DM 0 has no series to learn from.
    options = ("--dm", 20, 60, *SEARCH[3:])
    code, _, err = run("search", observation, "--out", tmp_path / "r.h5", *options, "--mask", mask)
    assert code == 0, err
    stored = [(b.freq, b.width) for b in read_mask(mask).birdies]
    found = read(tmp_path / "r.h5").rows("rfi/birdies")
    assert [(r["freq"], r["width"]) for r in found] == stored != []


def test_fold_with_the_mask_is_the_fold_without(mask: Path, observation: Path, tmp_path: Path) -> None:
    paths = tmp_path / "without.h5", tmp_path / "with.h5"
    for path, options in zip(paths, ((), ("--mask", mask)), strict=True):
        code, _, err = run("fold", observation, "--period", 0.0523456, "--dm", 45, "--out", path, *options)
        assert code == 0, err
    same(*paths, ("candidates",))


def test_a_mask_of_presto_is_added(observation: Path, tmp_path: Path) -> None:
    channels = np.zeros(64, dtype=bool)
    channels[[40, 41]] = True
    none = np.zeros((4, 64), dtype=bool), channels, np.zeros(4, dtype=bool)
    path = tmp_path / "a_rfifind.mask"
    path.write_bytes(presto_bytes(*none, tstart=SKY.tstart, tsamp=512e-6, ptsperint=10_000, lofreq=992.0, dfreq=8.0))
    code, _, err = run("search", observation, "--out", tmp_path / "r.h5", *SEARCH, "--mask", path)
    assert code == 0, err
    assert f"mask: that of PRESTO in {path} is added" in err
    rfi = read(tmp_path / "r.h5").rfi
    reasons = np.array(rfi["chan_reasons"])
    assert rfi["freqs"][reasons == "PRESTO mask"].tolist() == [1320.0, 1312.0]
    assert (reasons == "constant").sum() == 4


def other(path: Path) -> Path:
    header = open_observation(path.with_name("a.fil")).header.with_(nsamps=0, tstart=60001.0)
    with FilterbankWriter(path, header, nbits=8) as writer:
        writer.write(np.random.default_rng(1).normal(100, 10, (64, 40_000)))
    return path


def test_what_is_refused(mask: Path, observation: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("pulsar.pipeline.cleaning.measure", None)  # all of it in the first second
    out = tmp_path / "o.h5"
    foreign = other(observation.with_name("other.fil"))
    damaged, text = tmp_path / "damaged.h5", tmp_path / "text.mask"
    damaged.write_bytes(mask.read_bytes()[:-5000])
    text.write_text("no mask\n" * 30)
    night = tmp_path / "night"
    night.mkdir()
    for i in (1, 2):
        (night / f"b{i}.fil").symlink_to(observation)
    cases: list[tuple[tuple[object, ...], int, str]] = [
        (("search", foreign, "--mask", mask), 2, "start [MJD] 60000 in the mask, 60001 in the data"),
        (("search", observation, "--mask", tmp_path / "gone.h5"), 3, "gone.h5: no such file"),
        (("search", observation, "--mask", damaged), 3, "damaged.h5"),
        (("search", observation, "--mask", text), 3, "text.mask: as a mask of PRESTO's rfifind"),
        (("search", observation, "--set", f"rfi.mask={text}"), 3, "text.mask: as a mask of PRESTO's rfifind"),
        (("rfi", foreign, "--mask", mask), 2, "the mask of another observation"),
        (("rfi", observation, "--mask", damaged), 3, "damaged.h5"),
        (("plan", foreign, "--set", f"rfi.mask={mask}"), 2, "the mask of another observation"),
        (("fold", foreign, "--period", 1, "--dm", 1, "--mask", mask), 2, "the mask of another observation"),
        (("rfi", observation, "--zap", "0:9999"), 2, "every channel lies in a zapped range"),
    ]
    for args, expected, message in cases:
        before = sorted(p.name for p in tmp_path.iterdir())
        given = args if args[0] == "plan" else (*args, "--out", out)
        code, _, err = run(*given)
        assert (code, message in err) == (expected, True), (args, err)
        assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_outputs_are_kept(mask: Path, observation: Path, tmp_path: Path) -> None:
    before = mask.read_bytes()
    picture = tmp_path / "p.png"
    picture.write_bytes(b"x")
    for options, message in (
        (("--out", mask), "exists already"),
        (("--out", observation, "--overwrite"), "is the input itself"),
        (("--out", mask, "--mask", mask, "--overwrite"), "is the input itself"),
        (("--out", tmp_path / "m.h5", "--plot", picture), "exists already"),
        (("--out", tmp_path / "m.h5", "--plot", tmp_path / "m.pdf"), "the picture is a PNG: end its name in .png"),
        (("--out", tmp_path / "m.png", "--plot", tmp_path / "m.png"), "is the input itself"),
        (("--out", tmp_path / "gone" / "m.h5"), "does not exist"),
    ):
        code, _, err = run("rfi", observation, *options)
        assert (code, message in err) == (2, True), (options, err)
    assert mask.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["p.png"]


def test_another_mask_is_another_run(mask: Path, tmp_path: Path) -> None:
    files = [InputFile(Path("a.fil"), 0, 10, 10, 1.0)]
    copy = tmp_path / "m.h5"
    copy.write_bytes(mask.read_bytes())
    config = load_config(None, [f"rfi.mask={copy}"])
    first = fingerprint(files, config, "1")
    assert fingerprint(files, config, "1") == first
    copy.write_bytes(mask.read_bytes() + b"x")
    assert fingerprint(files, config, "1") != first


def test_several_beams_have_no_common_mask(mask: Path, observation: Path, tmp_path: Path) -> None:
    from pulsar.errors import ConfigError
    from pulsar.io.night import scan
    from pulsar.nights.night import jobs

    config = load_config(None, [f"rfi.mask={mask}"])
    for name in ("SRC_tracking-M01_0001.fil", "SRC_tracking-M02_0001.fil"):
        (tmp_path / name).write_bytes(observation.read_bytes())
    night = scan([tmp_path], config.input)
    assert len(night.pointings) > 1
    with pytest.raises(ConfigError, match="a mask belongs to one observation, these are 2"):
        jobs(night, config, tmp_path / "out")
    assert len(jobs(night, config, tmp_path / "out", beams={night.pointings[0].beam or 0})) == 1


def test_in_a_notebook(observation: Path, tmp_path: Path) -> None:
    import pulsar

    made = pulsar.rfi(observation, "default")
    assert made.path is None
    assert made.mask.fraction_lost > 0.04
    assert "64 channels masked" in repr(made)
    assert made._repr_png_()[:4] == b"\x89PNG"
    obs = open_observation(observation)
    again = make_rfi(obs, load_config(), Target(tmp_path / "m.h5"))
    obs.close()
    np.testing.assert_array_equal(again.mask.bad, made.mask.bad)
    assert again.birdies == made.birdies
    with pytest.raises(pulsar.ConfigError, match="exists already"):
        make_rfi([observation], load_config(), Target(tmp_path / "m.h5"))


def test_a_series_and_too_few_samples(folder: Path, observation: Path, tmp_path: Path) -> None:
    series = tmp_path / "x.dat"
    np.zeros(1000, dtype=np.float32).tofile(series)
    keys = {"Number of bins": "1000", "Width of each time series bin (sec)": "0.001", "Dispersion measure": "10"}
    keys |= {"Data file name without suffix": "x", "Epoch of observation (MJD)": "59000.0", "Barycentered?": "0"}
    series.with_suffix(".inf").write_text("".join(f" {k:<40}=  {v}\n" for k, v in keys.items()))
    code, _, err = run("rfi", series, "--out", tmp_path / "m.h5")
    assert (code, "a dedispersed series has no channels to mask" in err) == (2, True), err
    header = open_observation(observation).header.with_(nsamps=0)
    short = tmp_path / "short.fil"
    with FilterbankWriter(short, header, nbits=8) as writer:
        writer.write(np.random.default_rng(1).normal(100, 10, (64, 200)))
    code, out, err = run("rfi", short, "--out", tmp_path / "m.h5", "--plot", tmp_path / "m.png")
    assert code == 0, err
    assert "too few samples to look for it" in out
    assert (tmp_path / "m.png").stat().st_size > 10_000


def test_the_real_burst_with_a_mask(shared_data: Path, tmp_path: Path) -> None:
    data, made = shared_data / "burst" / "28.fil", tmp_path / "28.h5"
    code, _, err = run("rfi", data, "--out", made, "--threads", 1)
    assert code == 0, err
    found = read_mask(made)
    # Faint bursts in all channels are no reason to mask anything.
    assert found.mask.fraction_lost < 0.02
    options = ("--dm", 400, 550, "--no-fft", "--no-ffa", "--threads", 1, "--mask", made)
    code, _, err = run("search", data, "--out", tmp_path / "run.h5", *options)
    assert code == 0, err
    pulse = read(tmp_path / "run.h5").rows("single_pulses")[0]
    assert pulse["time"] == pytest.approx(2.029, abs=0.004)
    assert pulse["dm"] == pytest.approx(474.8, abs=4)
    assert pulse["snr"] == pytest.approx(16.5, rel=0.15)


def test_the_mains_in_real_data(shared_data: Path, tmp_path: Path) -> None:
    data = shared_data / "bits" / "parkes_8bit_1.fil"
    code, out, err = run("rfi", data, "--out", tmp_path / "m.h5", "--threads", 1, "--json")
    assert code == 0, err
    record = json.loads(out)
    lines = [(b["freq"], b["width"]) for b in record["birdies"]]
    for harmonic in (50.0, 150.0):
        assert any(abs(freq - harmonic) < 0.5 * width for freq, width in lines), lines
    assert 0 < record["spectrum_lost"] < 0.02
    # Mobile telephony and satellites, with any reason; and not the quiet top of the band.
    lost, freqs = np.array(record["channel_lost"]), np.array(record["freqs"])
    assert lost[(freqs > 1804) & (freqs < 1824)].mean() > 0.5
    assert lost[freqs > 2600].mean() < 0.02
