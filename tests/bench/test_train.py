"""Weights of the score, learnt from folds of which it is known what they are."""

import json
from pathlib import Path

import numpy as np
import pytest
from reference.detections import make_group
from reference.folded import BEST, phcx, section, sums_of_a_pulsar
from reference.products import make_fold
from train import (
    EXPECTED,
    MOST,
    Table,
    app,
    fit_weights,
    groups_of,
    joined,
    learn,
    parts_of,
    read_table,
    terms_of,
    weights_text,
)

from pulsar.config.model import Config
from pulsar.data.candidate import CANDIDATE_COLUMNS
from pulsar.errors import ConfigError, DataError
from pulsar.followup.folding import import_files
from pulsar.io.labels import Label, beside, header, lines, now, uid_of
from pulsar.io.product.reader import read
from pulsar.io.product.writer import Target
from pulsar.pipeline.follow import scored
from pulsar.sources.candidate import Candidate
from pulsar.sources.features import FEATURE_NAMES
from pulsar.sources.score import Coefficients, LogisticScorer, read_weights, scorer_of, shipped


def made_terms(rng, n, truth):
    """Terms by chance, and labels by the probabilities that weights give them."""
    terms = rng.uniform(0.0, 1.0, (n, len(truth.names)))
    return terms, rng.uniform(size=n) < truth.probabilities(terms)


def test_the_weights_that_made_the_labels_are_found():
    rng = np.random.default_rng(0)
    # Penalties far less than expected, so that both labels occur.
    truth = Coefficients(-3.0, dict.fromkeys(EXPECTED.weights, 3.0), dict.fromkeys(EXPECTED.penalties, 1.5))
    found = fit_weights(*made_terms(rng, 60_000, truth))
    # Errors of some 0.05 by the likelihood alone.
    assert found.signed() == pytest.approx(truth.signed(), abs=0.3)


def test_without_examples_weights_are_those_expected():
    nothing = np.zeros((0, len(EXPECTED.names)))
    assert fit_weights(nothing, np.zeros(0, dtype=bool)).signed() == pytest.approx(EXPECTED.signed(), abs=1e-6)


def test_no_term_changes_its_side_or_decides_alone():
    rng = np.random.default_rng(1)
    penalties = {**dict.fromkeys(EXPECTED.penalties, 0.0), "wave": 40.0}
    truth = Coefficients(8.0, dict.fromkeys(EXPECTED.weights, -2.0), penalties)
    found = fit_weights(*made_terms(rng, 20_000, truth))
    values = found.signed()
    assert (np.sign(values) * np.sign(EXPECTED.signed()) >= 0.0).all()
    assert (np.abs(values) <= MOST).all()
    assert min(found.weights.values()) == 0.0
    assert found.penalties["wave"] == MOST


def test_the_prior_and_the_likelihood_balance_at_the_optimum():
    rng = np.random.default_rng(2)
    terms, real = made_terms(rng, 400, EXPECTED)
    found = fit_weights(terms, real).signed()
    columns = np.concatenate([terms, np.ones((len(terms), 1))], axis=1)
    p = 1.0 / (1.0 + np.exp(-columns @ found))
    gradient = columns.T @ (p - real) + (found - EXPECTED.signed()) / 1.5**2
    free = (np.abs(found) > 1e-9) & (np.abs(found) < MOST)
    assert free.sum() > 10
    assert np.abs(gradient[free]).max() < 2e-2


def table_of(rng, n, groups=4):
    """Folds by chance: pulsars of S/N 12 to 20, others of 5 to 8."""
    real = np.arange(n) % 2 == 0
    snr = np.where(real, rng.uniform(12.0, 20.0, n), rng.uniform(5.0, 8.0, n))
    sigma = np.where(real, 8.0, 1.0)
    x = np.stack([snr, sigma, np.full(n, 0.05), np.arange(n) % groups], axis=1)
    return Table(("snr", "sigma", "width", "group"), x, real, "made")


def test_terms_are_those_of_the_score_and_what_a_table_lacks_is_unknown():
    table = table_of(np.random.default_rng(3), 6)
    terms = terms_of(table)
    scorer = LogisticScorer(EXPECTED)
    for row, values in zip(table.x, terms, strict=True):
        unknown = dict.fromkeys(FEATURE_NAMES, float("nan"))
        features = unknown | dict(zip(table.names[:3], row[:3], strict=True))
        assert EXPECTED.probabilities(values[None])[0] == pytest.approx(scorer(features))


def test_groups_are_left_out_whole_and_what_is_told_is_of_all():
    table = table_of(np.random.default_rng(4), 80)
    assert np.array_equal(groups_of(table, 5, 1), np.arange(80) % 4)
    _, found = learn(table)
    assert found["groups left out"].n == found["weights as expected"].n == 80
    assert found["groups left out"].positives == 40
    assert found["groups left out"].auc == 1.0
    lone = Table(table.names, np.concatenate([table.x[:, :3], np.ones((80, 1))], axis=1), table.y, "lone.csv")
    with pytest.raises(ConfigError, match=r"lone\.csv: all rows are of one group"):
        learn(lone)
    with pytest.raises(ConfigError, match="no feature of a fold"):
        terms_of(Table(("a", "b"), np.zeros((3, 2)), np.ones(3, dtype=bool), "t"))


def test_weights_are_kept_as_text_and_shipped_ones_have_all_terms():
    text = weights_text(EXPECTED, {"seed": 1})
    assert json.loads(text)["format"] == "pulsar-score"
    assert read_weights(text) == EXPECTED
    assert shipped().names == EXPECTED.names
    assert (np.sign(shipped().signed()) * np.sign(EXPECTED.signed()) >= 0.0).all()


def run(*arguments: object) -> int:
    """Exit code of `train.py weights`."""
    with pytest.raises(SystemExit) as ended:
        app(["weights", *map(str, arguments)])
    return ended.value.code or 0


def test_the_command_writes_what_it_learns_and_tells_what_it_is_worth(tmp_path, capsys):
    table = table_of(np.random.default_rng(5), 60)
    path, out = tmp_path / "table.csv", tmp_path / "weights.json"
    lines = [",".join([*table.names, "label"])]
    lines += [",".join(f"{v:.6g}" for v in [*row, y]) for row, y in zip(table.x, table.y, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    assert run(path, "--out", out) == 0
    told = capsys.readouterr().out
    assert "groups left out" in told
    assert "weights as expected" in told
    assert read_weights(out.read_text()).signed() == pytest.approx(learn(table)[0].signed(), abs=2e-3)
    assert json.loads(out.read_text())["trained_on"] == {"rows": 60, "pulsars": 30}
    assert run(path, "--out", out) == 2
    assert "exists already" in capsys.readouterr().err
    # One's own labels are judged before and after.
    assert run(path, "--add", path, "--out", out, "--overwrite") == 0
    told = capsys.readouterr().out
    assert "added, before" in told
    assert "added, after" in told
    assert json.loads(out.read_text())["trained_on"] == {"rows": 120, "pulsars": 60}


def test_added_labels_move_the_weights_and_are_judged_by_parts_left_out():
    rng = np.random.default_rng(6)
    table = table_of(rng, 80)
    # Where weak folds are pulsars, and strong ones are none.
    added = Table(table.names, table.x, ~table.y, "added")
    weights, found = learn(table, added=added)
    assert found["added, before"].auc < 0.1
    assert found["added, after"].brier < found["added, before"].brier
    assert weights.weights["strength"] < learn(table)[0].weights["strength"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged, no JSON"),
        ("[]", "is damaged.*expected an object"),
        ('{"format": "pulsar-model", "version": 1}', "is damaged.*expected one of 'pulsar-score'"),
        ('{"format": "pulsar-score", "version": 1, "bias": -1, "weights": {"snr": 1}, "penalties": {}}', "other terms"),
        (
            f'{{"format": "pulsar-score", "version": 1, "bias": 1{"0" * 400}, "weights": {{}}, "penalties": {{}}}}',
            "is dam",
        ),
        ('{"format": "pulsar-score", "version": 1, "bias": 1e999, "weights": {}, "penalties": {}}', "is damaged"),
    ],
)
def test_a_file_that_is_no_weights_is_refused(tmp_path, text, message):
    path = tmp_path / "weights.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        scorer_of(str(path))
    assert str(path) in str(caught.value)


def test_weights_of_a_file_are_those_of_the_search(tmp_path):
    path = tmp_path / "weights.json"
    path.write_text(weights_text(EXPECTED, {}))
    features = dict.fromkeys(FEATURE_NAMES, float("nan")) | {"snr": 9.0, "sigma": 2.0, "width": 0.05, "repeats": 6.0}
    assert scorer_of(str(path))(features) == pytest.approx(LogisticScorer(EXPECTED)(features))
    assert scorer_of("")(features) == LogisticScorer()(features) != scorer_of(str(path))(features)
    one = Candidate(make_group(3.0), make_fold(1), features)
    assert scored(one, scorer_of(str(path))).score == pytest.approx(LogisticScorer(EXPECTED)(features))


def test_parts_have_as_many_of_each() -> None:
    y = np.arange(53) < 11
    part = parts_of(y, 5, 1)
    assert np.ptp(np.bincount(part[y])) <= 1
    assert np.ptp(np.bincount(part[~y])) <= 1
    assert (part == parts_of(y, 5, 1)).all()
    assert (part != parts_of(y, 5, 2)).any()
    with pytest.raises(ConfigError, match="11 pulsars are too few for 12 parts"):
        parts_of(y, 12, 1)


def test_a_judged_product_gives_our_features(tmp_path: Path) -> None:
    files = []
    for i, snr in enumerate((30.0, 40.0, 0.0, 0.0, 20.0)):
        files.append(tmp_path / f"{i}.phcx")
        sums = sums_of_a_pulsar(8, 6, snr, seed=i)
        files[-1].write_bytes(phcx([section("FFT", *sums, BEST | {"TopoPeriod": 0.3 + i})]))
    out = tmp_path / "run.h5"
    import_files(files, Config(), Target(out))
    rows = {str(row["id"]): row for row in read(out).rows("candidates")}
    assert set(rows["c0001"].dtype.names) >= {c.name for c in CANDIDATE_COLUMNS}
    said = {"c0001": ["pulsar"], "c0002": ["known", "pulsar"], "c0003": ["noise"], "c0004": ["unsure"]}
    said["c0005"] = ["pulsar", "noise"]
    entries = [
        Label(uid=uid_of(rows[ident]), label=label, who=f"p{i}", when=now())
        for ident, labels in said.items()
        for i, label in enumerate(labels)
    ]
    with pytest.raises(DataError, match=r"judge some: pulsar view .*run\.h5"):
        read_table(out)
    beside(out).write_text(header() + lines(entries))
    table = read_table(out)
    assert table.names == FEATURE_NAMES
    assert sorted(table.y.tolist()) == [False, True, True]
    snr = table.x[:, FEATURE_NAMES.index("snr")]
    assert snr[table.y].min() > 20 > 6 > snr[~table.y].max()
    assert np.isnan(table.x[:, FEATURE_NAMES.index("ndetections")]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [("snr,label\n7\n", "columns"), ("snr,label\n7,3\n", r"0 in the last column")],
)
def test_wrong_tables_are_told(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_table(path)
    assert str(path) in str(caught.value)


def test_tables_of_other_features_are_not_joined():
    rng = np.random.default_rng(7)
    a, b = table_of(rng, 8), Table(("snr",), np.zeros((8, 1)), np.arange(8) % 2 == 0, "two")
    assert joined([a, a]).x.shape == (16, 4)
    with pytest.raises(ConfigError, match="two: has other features"):
        joined([a, b])
