"""From files to a stack and its candidates: what is added, once, whole or not at all."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from pulsar.cli.app import app
from pulsar.config.load import load_config
from pulsar.config.model import Config
from pulsar.constants import DAY
from pulsar.data.header import Header
from pulsar.errors import ConfigError, DataError
from pulsar.io.product.reader import read
from pulsar.io.product.writer import Target
from pulsar.io.series import write_series
from pulsar.nights.merge import merge
from pulsar.report.why_periodic import row_text
from pulsar.sky.barycentre import arrival_times
from pulsar.stack import epochs
from pulsar.stack.epochs import add_epoch
from pulsar.stack.files import Store, data_key
from pulsar.stack.run import opened, search_stack
from pulsar.synthesis.model import Sky
from pulsar.synthesis.write import write_filterbank

N, TSAMP, FREQ, DM = 1 << 15, 2e-3, 41.2345, 20.0
RA, DEC = 322.49, 12.17
STARTS = (59000.3, 59080.1, 59170.6, 59260.9)


def night(folder: Path, start: float, snr: float = 12.0, n: int = N, **more: Any) -> Path:
    """A series of a pulsar of one frequency at the barycentre."""
    nodes = np.linspace(0.0, n * TSAMP, 65)
    first, arrived = arrival_times(start, nodes, RA, DEC, "FAST")
    at = np.interp((np.arange(n) + 0.5) * TSAMP, nodes, arrived)
    series = np.random.default_rng(int(start)).standard_normal(n)
    series += snr * np.sqrt(2.0 / n) * np.sin(2 * np.pi * FREQ * (((first - 59000.0) * DAY) % (1.0 / FREQ) + at))
    header: dict[str, Any] = {
        "nchans": 1, "nsamps": n, "tsamp": TSAMP, "fch1": 1250.0, "foff": -400.0, "tstart": start, "is_series": True,
        "dm": DM, "source": "M15", "telescope": "FAST", "ra_deg": RA, "dec_deg": DEC,
    } | more  # fmt: skip
    path = folder / f"n{start:.1f}.dat"
    write_series(path, series.astype(np.float32), Header(**header), header["dm"])
    return path


def config(*sets: str) -> Any:
    return load_config("default", ["rfi.learn=false", "run.threads=1", *sets])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack of four nights, and a search of it beside it."""
    folder = tmp_path_factory.mktemp("stack")
    for start in STARTS:
        add_epoch([night(folder, start)], folder / "store", config())
    search_stack(folder / "store", Target(folder / "found.h5"), config())
    return folder


def test_a_pulsar_is_found_at_its_barycentric_frequency_in_all_nights(stack: Path) -> None:
    run = read(stack / "found.h5")
    best = run.rows("candidates")[0]
    assert best["freq"] == pytest.approx(FREQ, abs=5 * best["period_err"] * FREQ**2)
    # The Doppler shifts of these nights differ by half a bin: all of it would be lost at higher frequencies.
    voverc = run.rows("stack/epochs")["voverc"]
    assert np.ptp(voverc) * FREQ * N * TSAMP > 0.45
    nights = run.rows("stack/nights")
    nights = nights[nights["id"] == best["id"]]
    assert nights["snr"].mean() == pytest.approx(12.0, abs=2.0)
    assert np.all(nights["sigma"] > 5.0)
    assert "4 of 4 epochs show it" in str(best["reasons"])
    assert run.observation.barycentric
    assert best["period_bary"] == best["period"]


def test_what_is_not_folded_has_no_score_and_is_merged_all_the_same(stack: Path, tmp_path: Path) -> None:
    run = read(stack / "found.h5")
    rows = run.rows()
    assert len(rows) > 0
    assert np.isnan(rows["score"]).all()
    assert row_text(rows[0]).endswith("not folded, no score")
    merged = merge([run], Target(tmp_path / "ALL.h5"), Config()).rows()
    assert merged["uid"].tolist() == rows["uid"].tolist()
    assert np.isnan(merged["score"]).all()


def test_the_same_data_are_added_once_whatever_their_name(stack: Path, tmp_path: Path) -> None:
    first = stack / f"n{STARTS[0]:.1f}.dat"
    copy = tmp_path / "copy.dat"
    copy.write_bytes(first.read_bytes())
    copy.with_suffix(".inf").write_text(first.with_suffix(".inf").read_text())
    before = Store(stack / "store").paths()
    for path in (first, copy):
        assert add_epoch([path], stack / "store", config()) in before
    assert Store(stack / "store").paths() == before
    assert len(before) == 4


def test_a_key_follows_every_part_of_the_data(tmp_path: Path) -> None:
    from pulsar.data.observation import InputFile

    content = bytearray(b"\0" * 5_000_000)
    path = tmp_path / "a"
    keys = set()
    for at in (0, 2_500_000, 4_999_999):
        path.write_bytes(content)
        keys.add(data_key([InputFile(path, 0, 1, len(content), 0.0)]))
        content[at] = 1
    path.write_bytes(content)
    keys.add(data_key([InputFile(path, 0, 1, len(content), 0.0)]))
    assert len(keys) >= 3


def test_an_interrupted_addition_leaves_the_stack_as_it_was(
    stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = night(tmp_path, 59300.4)
    before = {p.name: p.read_bytes() for p in (stack / "store").iterdir()}

    def broken(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(epochs, "encode", broken)
    with pytest.raises(KeyboardInterrupt):
        add_epoch([path], stack / "store", config())
    assert {p.name: p.read_bytes() for p in (stack / "store").iterdir()} == before


def test_a_first_addition_that_was_interrupted_has_decided_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = night(tmp_path, STARTS[0])
    with monkeypatch.context() as patch:
        patch.setattr(epochs, "encode", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            add_epoch([path], tmp_path / "store", config())
    add_epoch([path], tmp_path / "store", config("stack.f_max=100"))
    grid = Store(tmp_path / "store").grid
    assert grid.npoints * grid.step == pytest.approx(100.0, rel=1e-3)


def test_longer_nights_are_cut_into_pieces_and_shorter_ones_padded(tmp_path: Path) -> None:
    add_epoch([night(tmp_path, STARTS[0])], tmp_path / "store", config())
    add_epoch([night(tmp_path, STARTS[1], n=2 * N)], tmp_path / "store", config())
    add_epoch([night(tmp_path, STARTS[2], snr=8.5, n=N // 2)], tmp_path / "store", config())
    with opened(tmp_path / "store") as found:
        tobs = sorted(part.piece.tobs for part in found.parts)
        assert tobs == pytest.approx([N * TSAMP / 2, *[N * TSAMP] * 3], rel=2e-3)
        assert found.weights / found.tobs == pytest.approx(np.full(4, 1.0 / sum(tobs)))
    run = search_stack(tmp_path / "store", Target(tmp_path / "found.h5"), config())
    assert run.rows("candidates")["freq"][0] == pytest.approx(FREQ, abs=2e-3)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"tsamp": 3e-3}, "sampled every"),
        ({"dm": 21.0}, "dedisperse all epochs to the same DMs"),
        ({"ra_deg": 100.0}, "degrees beside"),
        ({"telescope": "nowhere"}, "not known"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_do(
    stack: Path, tmp_path: Path, more: dict[str, Any], what: str
) -> None:
    path = night(tmp_path, 59310.2, **more)
    with pytest.raises(ConfigError, match=what):
        add_epoch([path], stack / "store", config())


def test_settings_that_the_first_epoch_has_decided_are_refused(stack: Path) -> None:
    path = stack / f"n{STARTS[0]:.1f}.dat"
    for one in ("stack.barycentre=false", "stack.tobs=10", "stack.f_max=5", "dedisp.dm_hi=90"):
        with pytest.raises(ConfigError, match="begin another"):
            add_epoch([path], stack / "store", config(one))


def test_folders_that_are_no_stacks(tmp_path: Path) -> None:
    path = night(tmp_path, STARTS[0])
    with pytest.raises(ConfigError, match="holds other files"):
        add_epoch([path], tmp_path, config())
    with pytest.raises(ConfigError, match="is a file"):
        add_epoch([path], path, config())
    with pytest.raises(DataError, match="no stack"):
        search_stack(tmp_path, Target(tmp_path / "x.h5"), config())


def test_a_damaged_epoch_is_named(stack: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    for path in (stack / "store").glob("*.h5"):
        (store / path.name).write_bytes(path.read_bytes())
    victim = Store(store).paths()[1]
    victim.write_bytes(victim.read_bytes()[:-5000])
    with pytest.raises(DataError, match=victim.name):
        search_stack(store, Target(tmp_path / "x.h5"), config())


def test_an_epoch_of_another_stack_is_refused(stack: Path, tmp_path: Path) -> None:
    add_epoch([night(tmp_path, STARTS[0])], tmp_path / "store", config("stack.f_max=100"))
    other = Store(stack / "store").paths()[1]
    (tmp_path / "store" / other.name).write_bytes(other.read_bytes())
    with pytest.raises(ConfigError, match="another stack"):
        search_stack(tmp_path / "store", Target(tmp_path / "x.h5"), config())


def test_raw_files_become_epochs_of_all_dms(tmp_path: Path) -> None:
    settings = config("dedisp.dm_lo=10", "dedisp.dm_hi=30", "dedisp.dm_step=4", "rfi.learn=true", "stack.downsample=2")
    for i, start in enumerate(STARTS[:2]):
        pulsar = {"period": 0.05, "dm": DM, "snr": 25.0, "duty": 0.1}
        sky = Sky(nchans=32, fch1=1450.0, foff=-8.0, tsamp=5e-4, nsamps=1 << 15, tstart=start, seed=i, pulsars=[pulsar])
        write_filterbank(sky, tmp_path / f"e{i}.fil")
        add_epoch([tmp_path / f"e{i}.fil"], tmp_path / "store", settings)
    path = Store(tmp_path / "store").paths()[0]
    with h5py.File(path) as file:
        dms = file["grid/dms"][()]
        assert file["powers"].shape[:2] == (1, dms.size)
        assert file["grid"].attrs["tsamp"] == 1e-3
    assert dms[0] == 10.0
    run = search_stack(tmp_path / "store", Target(tmp_path / "found.h5"), settings)
    best = run.rows("candidates")[0]
    assert best["period"] == pytest.approx(0.05, rel=2e-4)
    assert abs(best["dm"] - DM) < 6.0


def test_the_command_line(stack: Path, tmp_path: Path) -> None:
    def run(*args: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["stack", *map(str, args)])
        return result.exit_code, result.stdout + result.stderr

    code, text = run("info", stack / "store")
    assert code == 0
    assert "4 epochs" in text
    code, text = run("search", stack / "store", "--out", tmp_path / "c.h5", "-q")
    assert code == 0
    assert "stack" in text
    code, text = run("nights", tmp_path / "c.h5", "--par", tmp_path / "x.par")
    assert code == 0
    assert text.count("M15") == 4
    lines = dict(line.split()[:2] for line in (tmp_path / "x.par").read_text().splitlines())
    assert float(lines["F0"]) == pytest.approx(FREQ, abs=2e-3)
    assert run("nights", tmp_path / "c.h5", "--id", "c9999")[0] == 2
    again = run("add", stack / f"n{STARTS[0]:.1f}.dat", "--into", stack / "store", "-q")
    assert again[0] == 0
    assert run("search", stack / "store", "--out", tmp_path / "c.h5")[0] == 2
    assert run("add", stack / f"n{STARTS[0]:.1f}.dat", "--into", stack / "store", "--weight", "0")[0] == 2
