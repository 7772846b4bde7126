"""A known pulsar taken out of the samples before a search: what is left of it, and of all else."""

import dataclasses
import functools
from contextlib import contextmanager

import numpy as np
import pytest
from reference.skies import RFI
from typer.testing import CliRunner

from pulsar.cleaning.mask import make_mask
from pulsar.cleaning.source import CleanedSource
from pulsar.cleaning.statistics import measure
from pulsar.cli.app import app
from pulsar.config.load import load_config
from pulsar.config.model import RfiConfig, SubtractConfig
from pulsar.constants import KDM
from pulsar.data.fold import FoldParams
from pulsar.errors import ConfigError, DataError
from pulsar.folding import subtracted
from pulsar.folding.subtracted import (
    SubtractedSource,
    fold_grid,
    measure_template,
    measure_templates,
    packed,
    unpacked,
    without,
)
from pulsar.handover.timing import par_text
from pulsar.io.memory import Filterbank
from pulsar.io.product.reader import read as product_of
from pulsar.io.product.writer import Target
from pulsar.nights.merge import merge
from pulsar.pipeline import ranges
from pulsar.pipeline.checkpoint import Checkpoint
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import Means
from pulsar.pipeline.samples import bright_pulsars, split, subtract
from pulsar.pipeline.start import fingerprint
from pulsar.report.summary import summary
from pulsar.run import search
from pulsar.synthesis.model import Pulsar, Rfi, Sky
from pulsar.synthesis.write import make, write_filterbank

BRIGHT = Pulsar(name="bright", period=0.1012345, dm=45.0, snr=150, duty=0.04)
WEAK = Pulsar(name="weak", period=0.0371277, dm=80.0, snr=16, duty=0.06)
SHAPE = {"nchans": 64, "fch1": 1496.0, "foff": -8.0, "tsamp": 512e-6, "nsamps": 1 << 16, "seed": 21}
GIB = 1 << 30
SETTINGS = [
    "dedisp.dm_lo=30", "dedisp.dm_hi=100", "dedisp.dm_step=2", "fold.ncands=8", "fold.nbins=64", "fold.nbands=16",
    "ffa.enabled=false", "coherent.enabled=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of both pulsars, and of the weak one in the same noise; the product of a first search of both."""
    path = tmp_path_factory.mktemp("skies")
    for name, pulsars in (("both", (BRIGHT, WEAK)), ("weak", (WEAK,))):
        write_filterbank(Sky(pulsars=pulsars, **SHAPE), path / f"{name}.fil", threads=2)
    search(path / "both.fil", load_config(None, SETTINGS), path / "first.h5")
    return path


def config(*pulsars, sets=()):
    return load_config(None, [*SETTINGS, *sets], **{"subtract.pulsars": [str(one) for one in pulsars]})


@pytest.fixture(scope="module")
def second(folder):
    return search(folder / "both.fil", config(f"{folder / 'first.h5'}:c0001"), folder / "second.h5")


@pytest.fixture(scope="module")
def alone(folder):
    """The search of the weak one alone, of which nothing is taken out."""
    return search(folder / "weak.fil", load_config(None, SETTINGS), folder / "alone.h5")


@pytest.fixture(scope="module")
def several(folder):
    """What the command prints that takes both out, the weak one named first; and its product."""
    given = [word for ident in ("c0002", "c0001") for word in ("--subtract", f"{folder / 'first.h5'}:{ident}")]
    sets = [word for one in SETTINGS for word in ("--set", one)]
    out = folder / "several.h5"
    result = CliRunner().invoke(app, ["search", str(folder / "both.fil"), *given, *sets, "-q", "-o", str(out)])
    assert result.exit_code == 0, result.output
    return result.stdout, product_of(out)


def near(run, period):
    """Rows at a harmonic or a fraction of a period that are above the threshold and nobody else's."""
    rows = run.rows("candidates")
    rows = rows[(rows["harmonic_of"] == "") & (rows["sigma"] > 5)]
    ratios = [n / m for n in range(1, 17) for m in range(1, 5)]
    return [r for r in rows if any(abs(r["period"] * k / period - 1) < 2 * r["period"] / 33.5 for k in ratios)]


def test_the_bright_one_leads_the_first_list_and_is_not_in_the_second(folder, second, alone):
    first = product_of(folder / "first.h5")
    assert first.rows("candidates")["period"][0] == pytest.approx(BRIGHT.period, rel=1e-5)
    assert near(second, BRIGHT.period) == []
    assert len(first.rows("single_pulses")) > 50
    assert len(second.rows("single_pulses")) < 3
    ours, theirs = second.rows("candidates")[0], alone.rows("candidates")[0]
    assert ours["period"] == pytest.approx(WEAK.period, rel=1e-4)
    assert theirs["period"] == pytest.approx(WEAK.period, rel=1e-4)
    assert ours["snr"] == pytest.approx(theirs["snr"], rel=0.05)


def test_the_product_tells_what_was_taken_out_and_what_is_left(folder, second):
    (row,) = second.rows("subtracted/pulsars")
    assert row["name"] == "c0001"
    assert row["given"] == f"{folder / 'first.h5'}:c0001"
    assert row["subtracted"] == 1
    assert row["period"] == pytest.approx(BRIGHT.period, rel=1e-6)
    assert row["dm"] == pytest.approx(BRIGHT.dm, abs=0.3)
    assert row["snr_before"] == pytest.approx(BRIGHT.snr, rel=0.1)
    assert row["snr_after"] < 5
    assert row["rest_err"] == pytest.approx(1 / BRIGHT.snr, rel=0.15)
    assert abs(row["rest"]) < 0.02
    assert row["nbins"] >= 64
    assert (row["nsubints"], row["nshapes"]) == (1, 1)
    assert row["nparams"] >= row["nbins"] + 1
    (fact,) = [text for name, text in summary(second, "run")["facts"] if name == "Subtracted"]
    assert fact.startswith("c0001 (P 0.1012")
    assert "of its amplitude left" in fact
    assert str(row["given"]) in second.provenance["config"]


def test_an_ephemeris_does_the_same(folder, second):
    first = product_of(folder / "first.h5")
    path = folder / "bright.par"
    # Of a fold whose derivative is taken as it is: the refinement begins at the same values.
    fold = dataclasses.replace(first.fold("c0001"), fdot_err=float("nan"))
    path.write_text(par_text(fold, first.observation, name="J0000+00"))
    run = search(folder / "both.fil", config(path), folder / "par.h5", overwrite=True)
    (row,), (other,) = run.rows("subtracted/pulsars"), second.rows("subtracted/pulsars")
    assert row["name"] == "J0000+00"
    assert row["period"] == pytest.approx(other["period"], rel=1e-7)
    assert abs(row["rest"]) < 0.02
    assert near(run, BRIGHT.period) == []


def test_what_is_given_by_two_names_is_taken_out_once(folder, source):
    par = folder / "same.par"
    par.write_text("PSR X\nF0 22.883295194508\nDM 60\nRAJ 05:32:00\nDECJ 22:00:00\n")
    other = folder / "other.par"
    other.write_text(par.read_text().replace("PSR X", "PSR Y"))
    header = dataclasses.replace(source.obs.header, barycentric=True)
    means = Means(1, 1 << 30, folder, Progress(level="error"))
    _, found = subtract(source, header, config(par, other), means)
    assert sorted(found["subtracted"].tolist()) == [0, 1]
    assert found["snr_before"].max() > 80
    assert found["snr_before"].min() < 6


def test_several_are_taken_out_the_brightest_first(several):
    _, run = several
    rows = run.rows("subtracted/pulsars")
    assert rows["subtracted"].tolist() == [1, 1]
    assert rows["period"] == pytest.approx([WEAK.period, BRIGHT.period], rel=1e-4)
    assert np.all(rows["snr_after"] < 5)
    found = run.rows("candidates")
    assert not np.any((found["sigma"] > 5) & (found["harmonic_of"] == ""))


def test_what_is_not_there_is_left_alone_and_told(folder, alone, capsys):
    given = f"{folder / 'first.h5'}:c0001"
    run = search(folder / "weak.fil", config(given), folder / "none.h5", progress=Progress(level="warning"))
    assert "is not detected (S/N" in capsys.readouterr().err
    (row,) = run.rows("subtracted/pulsars")
    assert row["subtracted"] == 0
    assert row["period"] == pytest.approx(BRIGHT.period, rel=1e-5)
    assert np.isnan(row["rest"])
    np.testing.assert_array_equal(run.rows("candidates")["snr"], alone.rows("candidates")["snr"])


def test_an_interrupted_run_goes_on_with_its_templates(folder, second, monkeypatch, tmp_path):
    settings, out = config(f"{folder / 'first.h5'}:c0001"), tmp_path / "run.h5"

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pulsar.pipeline.detect.dedispersed", stop)
        with pytest.raises(KeyboardInterrupt):
            search(folder / "both.fil", settings, out)
    monkeypatch.setattr("pulsar.folding.subtracted.measure_template", stop)
    run = search(folder / "both.fil", settings, out, resume=True)
    for table in ("candidates", "subtracted/pulsars"):
        assert run.rows(table).tobytes() == second.rows(table).tobytes()


def test_templates_of_an_earlier_version_are_not_gone_on_with(folder, source, tmp_path):
    checkpoint = Checkpoint(tmp_path / "run.h5", "mark", resume=False)
    taken, _ = measure_template(source, PARAMS, SubtractConfig(nbins=16), threads=1, memory=GIB)
    arrays = packed([taken])
    del arrays["level0"]
    checkpoint.save("subtracted", **arrays)
    means = Means(1, GIB, folder, Progress(level="error"))
    with pytest.raises(ConfigError, match=r"run\.h5\.parts: .* earlier version .* without --resume"):
        subtract(source, source.obs.header, config(f"{folder / 'first.h5'}:c0001"), means, checkpoint)


def test_other_pulsars_are_another_run(folder):
    from pulsar.io.open import open_observation

    path, product = folder / "changed.par", folder / "first.h5"
    path.write_text("PSR X\nF0 9.87\nPEPOCH 60000\nDM 45\nRAJ 05:00:00\nDECJ 22:00:00\n")
    obs = open_observation(folder / "both.fil")
    given = [(), (path,), (f"{product}:c0001",), (f"{product}:c0002",)]
    marks = [fingerprint(obs.files, config(*some), "1") for some in given]
    path.write_text(path.read_text().replace("9.87", "9.88"))
    marks.append(fingerprint(obs.files, config(path), "1"))
    obs.close()
    assert len(set(marks)) == len(marks)


class Here:
    """Workers that are this process."""

    count, threads, memory = 2, 1, 1 << 30

    def search(self, tasks):
        for task in tasks:
            yield task, ranges.search_range(task)

    @contextmanager
    def __call__(self):
        ranges._opened.cache_clear()
        yield self
        ranges._opened.cache_clear()


def test_workers_take_out_the_same(folder, second):
    given = f"{folder / 'first.h5'}:c0001"
    run = search(folder / "both.fil", config(given), folder / "shared.h5", crew=Here())
    assert run.rows("candidates").tobytes() == second.rows("candidates").tobytes()


def test_mistakes_are_told(folder, tmp_path):
    product, file = folder / "first.h5", folder / "both.fil"
    cases = [
        ((tmp_path / "no.par",), DataError, "no such file"),
        ((f"{tmp_path / 'no.h5'}:c0001",), DataError, "no such file"),
        ((f"{product}:c0999",), ConfigError, "no candidate 'c0999'"),
        ((product,), ConfigError, "which of its candidates"),
        ((f"{product}:c0001", f"{product}:c0001"), ConfigError, "given twice"),
    ]
    for given, kind, words in cases:
        with pytest.raises(kind, match=words):
            search(file, config(*given), tmp_path / "x.h5")
    fast = tmp_path / "fast.par"
    fast.write_text("PSR X\nF0 1200.5\nPEPOCH 60000\nDM 45\nRAJ 05:32:00\nDECJ 22:00:00\n")
    with pytest.raises(ConfigError, match="shorter than two samples"):
        search(file, config(fast), tmp_path / "x.h5")
    assert not (tmp_path / "x.h5").exists()


def test_a_dedispersed_series_has_no_channels(folder, tmp_path):
    (np.random.default_rng(1).normal(size=20_000)).astype(np.float32).tofile(tmp_path / "x.dat")
    (tmp_path / "x.inf").write_text(
        " Data file name without suffix = x\n Number of bins in the time series = 20000\n"
        " Width of each time series bin (sec) = 0.001\n Dispersion measure (cm-3 pc) = 12\n"
    )
    with pytest.raises((ConfigError, DataError), match=r"channels|\.inf"):
        search(tmp_path / "x.dat", config(f"{folder / 'first.h5'}:c0001"), tmp_path / "x.h5")


def test_a_text_is_an_ephemeris_or_a_candidate(tmp_path):
    assert split("a/b.par")[1] == ""
    assert split("run.h5:c0001")[1] == "c0001"
    assert str(split("/x:y/run.h5:c0001")[0]) == "/x:y/run.h5"
    odd = tmp_path / "a:b.par"
    odd.write_text("PSR X\nF0 1.5\nRAJ 0:0:0\nDECJ 0:0:0\n")
    assert split(str(odd)) == (odd, "")
    assert bright_pulsars([str(odd)])[0].name == "X"


def test_the_command_prints_what_is_left(several):
    told, _ = several
    assert "Subtracted" in told
    assert "c0001" in told.split("Subtracted")[1]


def test_the_product_that_names_the_pulsar_is_not_written_over(folder):
    given = ["--subtract", f"{folder / 'first.h5'}:c0001", "--overwrite", "-o", str(folder / "first.h5")]
    result = CliRunner().invoke(app, ["search", str(folder / "both.fil"), *given])
    assert result.exit_code == 2
    assert "is the input itself" in result.output


def test_folds_are_made_without_it_too(folder):
    given = ["--subtract", f"{folder / 'first.h5'}:c0001", "--candidates", str(folder / "first.h5")]
    args = ["fold", str(folder / "both.fil"), *given, "--id", "c0001", "--id", "c0002", "-q"]
    result = CliRunner().invoke(app, [*args, "-o", str(folder / "folds.h5")])
    assert result.exit_code == 0, result.output
    run = product_of(folder / "folds.h5")
    assert run.rows("subtracted/pulsars")["subtracted"].tolist() == [1]
    snr = dict(zip(run.rows("candidates")["id"].tolist(), run.rows("candidates")["snr"].tolist(), strict=True))
    assert snr["c0001"] < 6
    assert snr["c0002"] == pytest.approx(14, rel=0.25)


def test_a_plan_counts_it(folder):
    args = ["plan", str(folder / "both.fil"), "--dm", "0", "100", "--threads", "1"]
    plain = CliRunner().invoke(app, args)
    with_it = CliRunner().invoke(app, [*args, "--subtract", f"{folder / 'first.h5'}:c0001"])
    assert "1 known pulsar is taken out" in with_it.stdout
    assert "subtraction" in with_it.stdout
    assert "taken out" not in plain.stdout
    wrong = CliRunner().invoke(app, [*args, "--subtract", f"{folder / 'first.h5'}:c0999"])
    assert wrong.exit_code == 2


def test_merged_products_have_those_of_all(folder, second, tmp_path):
    run = merge([product_of(folder / "first.h5"), second], Target(tmp_path / "all.h5"), load_config(None))
    rows = run.rows("subtracted/pulsars")
    assert rows["given"].tolist() == second.rows("subtracted/pulsars")["given"].tolist()
    assert [str(run.rows("observations")["product"][i]) for i in rows["obs"]] == [str(second.path.absolute())]


@pytest.fixture(scope="module")
def source():
    """Samples with masked channels, blocks and impulses, and a bright pulsar."""
    pulsar = Pulsar(period=0.0437, dm=60.0, snr=120.0, duty=0.05)
    sky = Sky(nchans=64, fch1=1500.0, foff=-4.0, tsamp=256e-6, nsamps=60_000, seed=3, rfi=RFI, pulsars=(pulsar,))
    block = make(sky, threads=2)
    obs, settings = Filterbank(block.data, block.header), RfiConfig()
    return CleanedSource(obs, make_mask(obs, measure(obs, settings), settings))


PARAMS = FoldParams(1 / 0.0437, 0.0, 60.0)


def read(source, start=0, n=None):
    out = np.empty((source.freqs.size, source.nsamps if n is None else n), dtype=np.int8)
    source.read_into(start, out)
    return out


@pytest.fixture(scope="module")
def taken(source):
    return measure_template(source, PARAMS, SubtractConfig(), threads=1, memory=1 << 30)[0]


def test_what_is_masked_stays_zero(source, taken):
    before, after = read(source), read(SubtractedSource(source, [taken]))
    mask = source.mask
    dead = np.repeat(mask.bad[:, mask.chan_ok], np.diff(mask.edges), axis=0).T.copy()
    for a, b in mask.clipped:
        dead[:, a:b] = True
    assert dead.mean() > 0.01
    np.testing.assert_array_equal(after[dead], before[dead])
    assert np.mean(after[~dead] != before[~dead]) > 0.05


def test_pieces_and_threads_change_nothing(source, taken):
    one = SubtractedSource(source, [taken])
    whole = read(one)
    for start, n in ((0, 1), (2047, 2), (12345, 5000), (source.nsamps - 10, 30), (-7, 20)):
        part = read(one, start, n)
        inside = slice(max(start, 0), min(start + n, source.nsamps))
        np.testing.assert_array_equal(part[:, inside.start - start : inside.stop - start], whole[:, inside])
        assert not part[:, : max(-start, 0)].any()
    other = measure_template(source, PARAMS, SubtractConfig(), threads=3, memory=1 << 30)[0]
    for ours, theirs in zip(packed([taken]).values(), packed([other]).values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_templates_can_be_kept(source, taken):
    again = unpacked(packed([taken]), source)
    np.testing.assert_array_equal(read(SubtractedSource(source, again)), read(SubtractedSource(source, [taken])))


def test_little_memory_makes_coarser_templates(source):
    small = measure_template(source, PARAMS, SubtractConfig(), threads=1, memory=1 << 20)[0]
    assert np.prod(small.shape) * 16 * 6 <= 1 << 20


def test_noise_grows_by_the_dither_alone(source, taken):
    cells, _ = fold_grid(SubtractedSource(source, [taken]), taken.grid, taken.shape)
    total = cells.sum(axis=(0, 1))
    profile = total[:, 0].reshape(taken.template.nbins, -1).sum(axis=1)
    counts = total[:, 1].reshape(taken.template.nbins, -1).sum(axis=1)
    # Nothing of the profile is left: the template was that of these samples.
    assert np.max(np.abs(profile - profile.mean()) / np.sqrt(counts)) < 1.0
    before, after = read(source).astype(float), read(SubtractedSource(source, [taken])).astype(float)
    live = before != 0
    drop = before[live].var() - after[live].var()
    signal = (before - after)[live]
    # The variance that goes is that of the template; a quarter of a level squared at most comes with the rounding.
    assert -0.25 < drop - (2 * np.cov(before[live], signal)[0, 1] - signal.var()) < 0.01


def test_a_template_does_not_follow_the_beat_with_another_pulsar():
    # The second harmonic of the slow one is 0.3 Hz below the first of the fast one, which so seems to vary; a gain that
    # follows this puts as much beside the second harmonic of the fast one, where there is nothing.
    fast = Pulsar(name="fast", period=0.0553946, dm=80.0, snr=280, duty=0.15)
    slow = Pulsar(name="slow", period=0.1128141, dm=30.0, snr=280, duty=0.05)
    block = make(Sky(pulsars=(fast, slow), **SHAPE), threads=2)
    obs, settings = Filterbank(block.data, block.header), RfiConfig(learn=False)
    source = CleanedSource(obs, make_mask(obs, measure(obs, settings), settings))
    params = [FoldParams(1 / one.period, 0.0, one.dm) for one in (fast, slow)]
    measured = measure_templates(source, params, SubtractConfig(), threads=2, memory=1 << 30)
    one_after_the_other = [measure_template(source, params[0], SubtractConfig(), threads=2, memory=1 << 30)[0]]
    line = 1 / fast.period + 2 / slow.period
    dm = (fast.dm / fast.period + 2 * slow.dm / slow.period) / line
    assert power(without(source, [template for template, _ in measured]), line, dm) < 12.0
    assert power(without(source, one_after_the_other), line, dm) > 30.0


def test_templates_of_several_do_not_depend_on_the_memory(source):
    """Where it holds all samples twice, each template is taken out of them there; else as they are read."""
    params = [PARAMS, FoldParams(1.0 / 0.0871, 0.0, 60.0), FoldParams(3.7, 0.0, 20.0)]
    settings = SubtractConfig(nbins=32, nsubints=8, nbands=8)
    size = source.freqs.size * source.nsamps
    held, streamed = (
        packed([taken for taken, _ in measure_templates(source, params, settings, threads=2, memory=memory)])
        for memory in (4 * size, 4 * size - 1)
    )
    assert held.keys() == streamed.keys()
    for name, array in held.items():
        np.testing.assert_array_equal(array, streamed[name])


SLOW = Pulsar(name="bright", period=0.3012345, dm=45.0, snr=250, duty=0.03)
OF_SLOW = FoldParams(1 / SLOW.period, 0.0, SLOW.dm)


@pytest.fixture(scope="module")
def slow():
    """Samples of a slow pulsar that is off in a part of its turns, and its template; each is made once."""

    @functools.cache
    def measured(nulling):
        block = make(Sky(pulsars=(SLOW.model_copy(update={"nulling": nulling}),), **SHAPE), threads=2)
        obs, settings = Filterbank(block.data, block.header), RfiConfig(learn=False, enabled=False)
        source = CleanedSource(obs, make_mask(obs, measure(obs, settings), settings))
        return source, measure_template(source, OF_SLOW, SubtractConfig(), threads=1, memory=GIB)[0]

    return measured


@pytest.mark.parametrize("nulling", [0.0, 0.5])
def test_a_template_knows_each_turn_where_turns_differ(slow, nulling):
    # Of a pulsar that is off in half of its turns a mean profile would leave V S^2 / N in all, V being 1, N 111.
    source, taken = slow(nulling)
    turns = taken.template.turns
    assert (turns.size > 0) == (nulling > 0.0)
    assert beside(without(source, [taken]), SLOW) < 2.0
    again = unpacked(packed([taken]), source)
    np.testing.assert_array_equal(read(SubtractedSource(source, again)), read(SubtractedSource(source, [taken])))


def test_turns_are_folded_by_all_threads_and_are_the_same(slow, monkeypatch):
    source, _ = slow(0.5)
    fold, channels = subtracted.fold_cells, []

    def noted(data, start, grid, cells, rows):
        # A turn has cells of its own in the second pass.
        if cells.shape[0] > SubtractConfig().nsubints:
            channels.append(len(data))
        fold(data, start, grid, cells, rows)

    monkeypatch.setattr(subtracted, "fold_cells", noted)
    first, third = (
        packed([measure_template(source, OF_SLOW, SubtractConfig(), threads=n, memory=GIB)[0]]) for n in (1, 3)
    )
    assert set(channels) == {64, 22, 21}
    for name, array in first.items():
        np.testing.assert_array_equal(third[name], array)


def test_turns_without_a_pulse_are_told_from_those_with_one(slow):
    source, taken = slow(0.5)
    # Of the first and the last not all channels are there. Half of the turns have all that there is.
    gains = taken.cells()[2].mean(axis=1)[1:-2]
    assert np.all((np.abs(gains) < 0.5) | (np.abs(gains - gains.max()) < 0.5))
    assert gains.max() == pytest.approx(gains.size / np.count_nonzero(gains > 1.0), rel=0.15)
    steady = measure_template(source, OF_SLOW, SubtractConfig(nsubints=1), threads=2, memory=GIB)[0]
    assert steady.template.turns.size == 0
    assert beside(without(source, [steady]), SLOW) > 10.0


def beside(source, pulsar):
    """Mean power at some frequencies between the first harmonics of a pulsar, that of white noise being 1."""
    places = [k + part for k in range(1, 6) for part in (0.2, 0.3, 0.4)]
    return np.mean([power(source, place / pulsar.period, pulsar.dm) for place in places])


def power(source, freq, dm):
    """Of a frequency in the series of a DM, in units of its noise."""
    return abs(amplitude(source, freq, dm)) ** 2


def amplitude(source, freq, dm):
    """The same with its phase."""
    data = read(source).astype(np.float64)
    turns = freq * KDM * dm * (source.freqs**-2.0 - source.fref**-2.0)
    t = np.arange(source.nsamps) * source.tsamp
    wave = np.exp(-2j * np.pi * freq * t)
    return np.sum((data @ wave) * np.exp(2j * np.pi * turns)) / np.sqrt(np.sum(data**2))


def test_a_template_holds_no_line_of_interference_and_all_of_the_pulsar():
    # A hum is 15 turns of the pulsar. Taken out in 64 steps of its turn it leaves an image at 49 turns.
    pulsar = Pulsar(period=0.5, dm=80.0, snr=250, duty=0.04)
    hum, settings = Rfi(kind="mains", rate=30.0, harmonics=1, strength=1.0, wander=0.02), RfiConfig(learn=False)

    def sky(*pulsars):
        block = make(Sky(pulsars=pulsars, rfi=(hum,), **SHAPE), threads=2)
        obs = Filterbank(block.data, block.header)
        return CleanedSource(obs, make_mask(obs, measure(obs, settings), settings))

    def left(lines):
        how = {"lines": lines, "threads": 2, "memory": 1 << 30}
        params = FoldParams(1 / pulsar.period, 0.0, pulsar.dm)
        return SubtractedSource(both, [measure_template(both, params, SubtractConfig(nbins=64), **how)[0]])

    both, line, image = sky(pulsar), 15 / pulsar.period, 49 / pulsar.period
    known, unknown = left([(30.0, 1.0)]), left([])
    assert power(known, image, pulsar.dm) < 0.1 * power(unknown, image, pulsar.dm)
    hum_alone = amplitude(sky(), line, pulsar.dm)
    own, rest = (amplitude(source, line, pulsar.dm) - hum_alone for source in (both, known))
    assert abs(own) > 10.0
    assert abs(rest) < 0.3 * abs(own)


@pytest.mark.parametrize("off", [-0.4, 0.5])
def test_a_template_does_not_follow_the_beat_of_the_fundamental_with_a_line(off):
    pulsar = Pulsar(period=1 / (30.0 - off), dm=80.0, snr=250, duty=0.04)
    hum, settings = Rfi(kind="mains", rate=30.0, harmonics=1, strength=1.0, wander=0.02), RfiConfig(learn=False)
    block = make(Sky(pulsars=(pulsar,), rfi=(hum,), **SHAPE), threads=2)
    obs = Filterbank(block.data, block.header)
    source = CleanedSource(obs, make_mask(obs, measure(obs, settings), settings))
    how, params = {"threads": 2, "memory": 1 << 30}, FoldParams(1 / pulsar.period, 0.0, pulsar.dm)
    taken, _ = measure_template(source, params, SubtractConfig(), lines=[(30.0, 1.0)], **how)
    rest = without(source, [taken])
    for k in (3, 5):
        own = k / pulsar.period
        assert power(source, own, pulsar.dm) > 300.0
        assert power(rest, own, pulsar.dm) < 12.0
        # A gain that follows the beat has the phases of the line, which is not dispersed, less those of the pulsar.
        for beat, turns in ((own + off, k - 1), (own - off, k + 1)):
            assert power(rest, beat, pulsar.dm * turns / k * own / beat) < 12.0


def test_of_a_wide_pulse_whose_fundamental_is_beside_a_line_all_is_taken_out():
    pulsar, settings = Pulsar(period=1 / 30.3, dm=80.0, snr=100, duty=0.6), RfiConfig(learn=False)
    block = make(Sky(pulsars=(pulsar,), **SHAPE), threads=2)
    obs = Filterbank(block.data, block.header)
    source = CleanedSource(obs, make_mask(obs, measure(obs, settings), settings))
    how, params = {"threads": 2, "memory": 1 << 30}, FoldParams(1 / pulsar.period, 0.0, pulsar.dm)
    taken, there = measure_template(source, params, SubtractConfig(), lines=[(30.0, 1.0)], **how)
    assert there.snr > 50.0
    assert power(source, 1 / pulsar.period, pulsar.dm) > 1000.0
    assert power(without(source, [taken]), 1 / pulsar.period, pulsar.dm) < 12.0
