"""A sky of signals that are found and others that are not, searched once: `pulsar why` has an answer for each."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from pulsar.cli.app import app
from pulsar.cli.folds import FoldOptions
from pulsar.config.load import load_config
from pulsar.errors import ConfigError
from pulsar.io.product.reader import Run, read
from pulsar.io.product.writer import Target
from pulsar.nights.merge import merge
from pulsar.report.why import Question, why
from pulsar.synthesis.model import Burst, Pulsar, Rfi, Sky
from pulsar.synthesis.write import write_filterbank

PULSARS = {
    pulsar.name: pulsar
    for pulsar in (
        Pulsar(name="strong", period=0.1234567, dm=60.0, snr=25, duty=0.06),
        Pulsar(name="too weak", period=0.0456, dm=30.0, snr=3.5, duty=0.1),
        Pulsar(name="on the mains", period=0.02, dm=90.0, snr=12, duty=0.1),
        Pulsar(name="on a given line", period=1 / 313.0, dm=20.0, snr=12, duty=0.4),
        Pulsar(name="beyond the DMs", period=0.0777, dm=400.0, snr=25, duty=0.06),
        Pulsar(name="too fast for its DM", period=0.0006, dm=140.0, snr=40, duty=0.3),
        Pulsar(name="too slow", period=9.0, dm=45.0, snr=18, duty=0.02),
    )
}
BURSTS = {
    burst.name: burst
    for burst in (
        Burst(name="strong", time=5.0, dm=100.0, snr=20, width=3e-3),
        Burst(name="too weak", time=9.1, dm=80.0, snr=4.0, width=3e-3),
        Burst(name="among impulses", time=13.16, dm=10.0, snr=12, width=3e-3),
        Burst(name="beyond the DMs", time=16.0, dm=500.0, snr=20, width=3e-3),
        Burst(name="undispersed", time=11.0, dm=0.0, snr=40, width=3e-3),
    )
}
SKY = Sky(
    nchans=64, fch1=1496.0, foff=-8.0, tsamp=256e-6, nsamps=80_000, seed=5,
    pulsars=tuple(PULSARS.values()), bursts=tuple(BURSTS.values()),
    rfi=(
        Rfi(kind="mains", rate=50.0, strength=0.08),
        Rfi(kind="impulse", strength=6.0, rate=80.0, width=0.01, time=13.1, until=13.25),
    ),
)  # fmt: skip
SETTINGS = [
    "dedisp.dm_hi=150", "run.threads=1", "fold.ncands=10", "fold.nbins=64", "fold.nbands=16",
    "rfi.birdies=[[313.0, 0.5]]",
]  # fmt: skip
THRESHOLD = "fft: nothing above its threshold of 0 sigma, about"

#: What must be said of each.
PERIODIC = {
    "strong": ("detected at this frequency:", "harmonics by coherent, fft", "is row 1 (c0001)", "score 1.00"),
    "too weak": ("no search had a detection", THRESHOLD, "ffa: searched periods from 1.024 to 5.12 s only"),
    "on the mains": ("left out of the spectra as interference", "number 1 (50 Hz, learnt), 2 (100 Hz, learnt)"),
    "on a given line": ("left out of the spectra as interference", "number 1 (313 Hz, given)"),
    "beyond the DMs": ("DM 400 was not searched: 0 to 150 were (dedisp.dm_hi)",),
    "too fast for its DM": (
        "none of them reaches DM 140",
        "at DM 140 the series are downsampled 2 times",
        "their Nyquist frequency is 976.562 Hz",
    ),
    "too slow": (
        "fft: searched periods from 0.000512 to 2.048 s only (fft.p_min, fft.p_max)",
        "ffa: searched periods from 1.024 to 5.12 s only (ffa.p_min, ffa.p_max)",
        "detected at simple ratios of it:",
        "at 2/1: P 4.5",
        "is row 2 (c0002)",
    ),
}
SINGLE = {
    "strong": ("p0001: at 5.00", "score 1.00"),
    "too weak": ("no pulse above S/N 7 (single_pulse.snr)", "0 % of the channels are masked at this time"),
    "among impulses": ("of the channels it lies in what was left out as an undispersed impulse", "(rfi.clip)"),
    "beyond the DMs": ("DM 500 was not searched: 0 to 150 were (dedisp.dm_hi)",),
    "undispersed": ("in 100 % of the channels it lies in what was left out as an undispersed impulse", "(rfi.clip)"),
}


@pytest.fixture(scope="module")
def product(searched):
    return searched(name="whole")


@pytest.fixture(scope="module")
def part(searched):
    """Fewer DMs, and no row for what belongs to others without a fold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pulsar.pipeline.write.MOST_ATTACHED", 0)
        return searched("dedisp.dm_hi=65", "ffa.enabled=false", "single_pulse.enabled=false", name="part")


@contextmanager
def changed(run: Run, path: Path) -> Iterator[h5py.File]:
    """A copy of a product, open to be changed."""
    shutil.copyfile(run.path, path)
    with h5py.File(path, "r+") as file:
        yield file


@pytest.fixture(scope="module")
def later(product, tmp_path_factory) -> Path:
    """The same as if it had been observed a day later."""
    path = tmp_path_factory.mktemp("later") / "later.h5"
    with changed(product, path) as file:
        file["observation"].attrs["tstart"] += 1.0
        for table, column in (("observations", "tstart"), ("candidates", "epoch"), ("single_pulses", "mjd")):
            rows = file[table][()]
            rows[column] += 1.0
            file[table][...] = rows
    return path


def asked_of(signal: Pulsar | Burst) -> Question:
    if isinstance(signal, Burst):
        return Question(time=signal.time, dm=signal.dm)
    return Question(freq=signal.freq, dm=signal.dm)


def text(run, asked: Question) -> str:
    return "\n".join(why(run, asked))


@pytest.mark.parametrize("name", PULSARS)
def test_every_pulsar_has_an_answer(product, name):
    told = text(product, asked_of(PULSARS[name]))
    assert [part for part in PERIODIC[name] if part not in told] == [], told


@pytest.mark.parametrize("name", BURSTS)
def test_every_burst_has_an_answer(product, name):
    told = text(product, asked_of(BURSTS[name]))
    assert [part for part in SINGLE[name] if part not in told] == [], told


def test_found_signals_are_not_told_as_lost(product):
    assert "no search" not in text(product, asked_of(PULSARS["strong"]))
    strong = text(product, asked_of(BURSTS["strong"]))
    assert "no pulse above" not in strong
    assert "masked" not in strong
    # At another DM it is another signal.
    assert "none of them has DM 20" in text(product, Question(time=5.0, dm=20.0))
    assert "none of them reaches DM 140" in text(product, Question(freq=PULSARS["strong"].freq, dm=140.0))


def test_what_is_faster_than_the_sampling_is_looked_for_where_it_is_mirrored(product):
    strong = PULSARS["strong"].freq
    told = text(product, Question(freq=1.0 / SKY.tsamp + strong))
    assert "above the Nyquist frequency of the data, 1953.12 Hz" in told
    assert "detected at the mirrored frequency" in told
    assert "is row 1 (c0001)" in told


def test_a_period_of_few_digits_leads_to_the_candidate(product):
    told = text(product, Question(freq=1.0 / 0.000603))
    assert "no search had a detection" in told
    assert "the strongest within 1 % is" in told
    assert "P 0.000599999" in told.split("the strongest within 1 % is")[1]


def test_a_row_whose_fold_is_at_another_period_than_its_detections_is_told(product, tmp_path):
    path = tmp_path / "moved.h5"
    shutil.copyfile(product.path, path)
    strong = PULSARS["strong"]
    with h5py.File(path, "r+") as file:
        rows = file["detections"][()]
        rows["freq"][rows["uid"] == file["candidates"][()]["uid"][0]] /= 48.0
        file["detections"][...] = rows
    told = text(read(path), asked_of(strong))
    where = float(told.split("folded at this frequency, but detected at P ")[1].split(" s")[0])
    assert where == pytest.approx(48.0 * strong.period, rel=1e-4)
    assert "row 1 (c0001)" in told.split("no search had a detection")[0]
    # Where the detections are, it is still theirs.
    assert "is row 1 (c0001)" in text(read(path), Question(freq=strong.freq / 48.0))


def test_what_has_no_row_of_its_own_is_told_all_the_same(part):
    rows, found = part.rows("candidates"), part.rows("detections")
    gone = found[~np.isin(found["uid"], rows["uid"])]
    assert gone.size
    for freq in np.unique(gone["freq"]):
        told = text(part, Question(freq=float(freq)))
        assert "belongs to row " in told
        assert "no row of its own" in told


def test_without_detections_the_list_answers(product, tmp_path):
    path = tmp_path / "few.h5"
    with changed(product, path) as file:
        del file["detections"]
    told = text(read(path), asked_of(PULSARS["strong"]))
    assert "the detections were not kept (output.detections)" in told
    assert "on the list at this frequency:" in told
    assert "is row 1 (c0001)" in told


def test_a_masked_block_is_told_with_its_cause(product, tmp_path):
    path = tmp_path / "masked.h5"
    with changed(product, path) as file:
        block = int(np.searchsorted(file["rfi/edges"][()], 9.1 / SKY.tsamp, side="right")) - 1
        bits, mask = file["rfi/why"][()], file["rfi/mask"][()]
        mask[block : block + 4, :48] = True
        bits[block : block + 4, :48] = 1 << list(file["rfi"].attrs["causes"]).index("noise")
        file["rfi/why"][...], file["rfi/mask"][...] = bits, mask
    told = text(read(path), asked_of(BURSTS["too weak"]))
    assert "75 % of the channels are masked at this time along its sweep (noise)" in told


@pytest.fixture(scope="module")
def merged(product, later, tmp_path_factory):
    return merge([product, read(later)], Target(tmp_path_factory.mktemp("merged") / "ALL.h5"), load_config(None, []))


def test_a_merged_product_asks_those_that_it_was_made_of(merged, product, later):
    told = text(merged, asked_of(PULSARS["strong"]))
    assert "on the merged list at this frequency:" in told
    assert told.count("from SIMULATED, MJD 6000") == 2
    for path in (product.path, later):
        assert f"{path.name} (SIMULATED, MJD 6000" in told
    assert told.count("is row 1 (c0001)") == 2
    for name, pulsar in PULSARS.items():
        told = text(merged, asked_of(pulsar))
        assert [part for part in PERIODIC[name] if part not in told] == [], told
    for name, burst in BURSTS.items():
        told = text(merged, asked_of(burst))
        assert [part for part in SINGLE[name] if part not in told] == [], told


def test_products_that_are_gone_are_named_and_found_beside(merged, product, later, tmp_path):
    alone, beside = tmp_path / "alone" / "ALL.h5", tmp_path / "beside" / "ALL.h5"
    for path in (alone, beside):
        path.parent.mkdir()
        with changed(merged, path) as file:
            rows = file["observations"][()]
            rows["product"] = [f"/nowhere/{Path(p.decode()).name}".encode() for p in rows["product"]]
            del file["observations"]
            file["observations"] = rows
    told = text(read(alone), asked_of(PULSARS["too weak"]))
    assert "nothing on the merged list at this frequency" in told
    assert "  pulsar why /nowhere/whole.h5 --freq 21.9298245614 --dm 30" in told
    assert "  pulsar why /nowhere/later.h5 --freq 21.9298245614 --dm 30" in told
    for path in (product.path, later):
        shutil.copyfile(path, beside.parent / path.name)
    told = text(read(beside), asked_of(PULSARS["too weak"]))
    assert told.count(THRESHOLD) == 2
    assert "/nowhere" not in told


def test_the_command_answers_for_merged_products(merged):
    result = CliRunner().invoke(app, ["why", str(merged.path), "--period", "0.0777", "--dm", "400"])
    assert result.exit_code == 0, result.output
    assert "DM 400 was not searched: 0 to 150 were" in result.output


def test_of_a_merged_product_only_candidates_of_the_files_are_folded(merged, sky_file, product, tmp_path):
    def chosen(files, idents=(), everything=False):
        return FoldOptions(candidates=merged.path, idents=list(idents), everything=everything).ephemerides(files)

    rows = merged.rows("candidates")
    own = rows["obs"] == 0
    assert 0 < np.count_nonzero(own) < len(rows)
    assert [e.ident for e in chosen([sky_file], everything=True)] == rows["id"][own].tolist()
    # Those that belong to none.
    assert [e.ident for e in chosen([sky_file])] == rows["id"][own & (rows["harmonic_of"] == "")].tolist()
    # What is named is folded in any files.
    other = str(rows["id"][rows["obs"] == 1][0])
    assert [e.ident for e in chosen([sky_file], [other])] == [other]
    elsewhere = write_filterbank(
        SKY.model_copy(update={"tstart": SKY.tstart + 5.0, "nsamps": 2000, "bursts": (), "pulsars": (), "rfi": ()}),
        tmp_path / "other.fil",
    )
    with pytest.raises(ConfigError, match=r"holds no candidate of the observation of these files .*MJD 60005"):
        chosen([elsewhere])
