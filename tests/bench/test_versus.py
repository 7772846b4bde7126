"""Programs beside ours at equal false alarms: thresholds, what counts as found, going on, stand-ins for programs."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import versus
from population_sky import sky
from programs import DTYPE, PeerError
from table import population_table, real_table, red_table, series_table, size, tables, threshold, work_table
from versus import Store, app, place, record, run_series, sources, strangers
from versus_series import Accelsearch, Case, Searched, Truth, Worker, draw, white_noise

from pulsar.data.candidate import CANDIDATE_COLUMNS, DETECTION_COLUMNS, empty_table

TRUTH = Truth(1, 0.25, 0.05, 8.0, 0.0)

LISTING = """\
             Summed  Coherent  Num        Period          Frequency         FFT 'r'        Freq Deriv       FFT 'z'
Cand  Sigma  Power    Power    Harm        (ms)             (Hz)             (bin)           (Hz/s)         (bins)
--------------------------------------------------------------------------------------------------------------------
1     2.27   27.60   108.89    16       1012.3(5)        0.9878(5)        66.031(31)       0.00000(3)      0.00(13)
2     5.13   41.04     3.17     8        0.28922(8)     3.4575(9)x10^3     231.1(6)         0.00000(6)      0.00(25)

"""


class Known:
    """A searcher that finds what it is told, and counts."""

    def __init__(self, name: str, lines: list[tuple[float, float]]) -> None:
        self.name, self.lines, self.lengths = name, lines, []

    def search(self, path: Path, tsamp: float) -> Searched:
        self.lengths.append(path.stat().st_size // 4 * tsamp)
        return Searched(lines=list(self.lines), cpu=0.5, memory=2_000_000)


def main(arguments: list[str]) -> None:
    """Run the script."""
    app(arguments, standalone_mode=False)


def test_threshold_is_what_a_tenth_of_the_noise_exceeds():
    values = [float(n) for n in np.random.default_rng(1).permutation(100)]
    level = threshold(values)
    assert sum(value > level.value for value in values) == 10
    assert sum(value > level.low for value in values) == 13
    assert sum(value > level.high for value in values) == 7
    assert threshold(values, 0.5).value == 49.0


def test_threshold_where_noise_has_few_lines():
    level = threshold([None] * 19 + [2.0])
    assert level.value == -math.inf
    assert threshold([None] * 17 + [1.0, 2.0, 3.0]).value == 1.0
    with pytest.raises(ValueError, match="9 noise series tell no threshold"):
        threshold([1.0] * 9)


def test_record_has_the_strongest_line_and_the_strongest_of_the_pulsar():
    lines = [(7.77, 9.0), (8.002, 6.0), (4.0, 5.0)]
    kept = record(Searched(lines=lines), TRUTH, 100.0)
    assert (kept["best"], kept["own"], kept["ratio"]) == (9.0, 6.0, [2, 1])
    assert kept["error"] == pytest.approx(0.1)
    assert record(Searched(lines=lines[:1]), TRUTH, 100.0)["own"] is None
    noise = record(Searched(lines=[(7.77, 9.0, 11.0)]), None, 100.0)
    assert (noise["best"], noise["single"], "own" in noise) == (9.0, 11.0, False)
    assert record(Searched(), None, 100.0)["best"] is None


def white(noise: int, pulsars: int) -> Case:
    """Short series."""
    return white_noise(1, 10, 1e-3, noise, pulsars)


def test_what_was_ended_goes_on(tmp_path):
    file = tmp_path / "versus.json"
    first, slow = Known("first", [(1.0, 2.0)]), Known("slow", [])
    store = Store(file)
    run_series(store, [first, slow], white(2, 3), (2, 3), {"slow": (1, 1)})
    assert Store(file).entries("series") == store.entries("series")
    assert first.lengths == [pytest.approx(1.024)] * 5
    assert len(slow.lengths) == 2
    again = Known("first", [(1.0, 3.0)])
    run_series(Store(file), [again, slow], white(4, 3), (4, 3), {"slow": (1, 1)})
    assert len(again.lengths) == 2
    assert len(slow.lengths) == 2
    noise = json.loads(file.read_text())["series"]["10"]["first"]["noise"]
    assert [noise[str(n)]["best"] for n in range(4)] == [2.0, 2.0, 3.0, 3.0]
    assert [p.name for p in tmp_path.iterdir()] == ["versus.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"figures": []}'])
def test_another_file_is_not_touched(tmp_path, text):
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(SystemExit, match=r"other.json: not a file of this script"):
        main(["table", "--json", str(file)])
    assert file.read_text() == text
    assert [p.name for p in tmp_path.iterdir()] == ["other.json"]


def test_noise_and_pulsars_are_the_same_for_all_and_in_all_runs():
    class Reads(Known):
        def search(self, path: Path, tsamp: float) -> Searched:
            self.sums = [*getattr(self, "sums", []), float(np.fromfile(path, np.float32).sum())]
            return Searched()

    one, other, alone = Reads("one", []), Reads("other", []), Reads("alone", [])
    run_series(Store(None), [one, other], white(2, 2), (2, 2), {})
    run_series(Store(None), [alone], white(2, 2), (2, 2), {})
    assert one.sums == other.sums == alone.sums
    assert len(set(one.sums)) == 4


def test_ours_finds_a_pulsar_in_a_short_series(tmp_path, capsys):
    file = tmp_path / "versus.json"
    command = ["series", "--log2n", "16", "--noise", "1", "--pulsars", "2", "--only", "ours", "--json", str(file)]
    main(command)
    assert "| ours | not enough series " in capsys.readouterr().out
    pulsars = json.loads(file.read_text())["series"]["16"]["ours"]["pulsars"]
    truths = draw(versus.SEED, 2)
    assert [one["snr"] for one in pulsars.values()] == [one.snr for one in truths]
    best = max(pulsars.values(), key=lambda one: one["snr"])
    assert best["own"] > 2
    assert abs(best["error"]) < 0.3
    assert 50e6 < best["memory"] < 4e9
    assert best["files"] == 0


@pytest.fixture
def presto(tmp_path, monkeypatch):
    """Stand-ins for realfft and accelsearch on PATH."""
    folder = tmp_path / "presto"
    folder.mkdir()
    (tmp_path / "listing").write_text(LISTING)
    scripts = {"realfft": 'cp "$1" "${1%.dat}.fft"', "rednoise": 'cp "$1" "${1%.fft}_red.fft"'}
    scripts["accelsearch"] = f'for last; do :; done; cp {tmp_path}/listing "${{last%.fft}}_ACCEL_0"'
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_lists_of_accelsearch_are_read_and_its_files_counted(tmp_path, presto):
    path = tmp_path / "a.dat"
    np.zeros(1000, np.float32).tofile(path)
    path.with_suffix(".inf").write_text("")
    found = Accelsearch(16).search(path, 0.05)
    assert found.lines == [(pytest.approx(231.1 / 50), 5.13), (pytest.approx(66.031 / 50), 2.27)]
    assert (found.files, found.size) == (2, 4000 + len(LISTING))
    assert found.cpu > 0
    assert Accelsearch(16, whiten=True).search(path, 0.05).files == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.dat", "a.inf", "listing", "presto"]
    (presto / "accelsearch").unlink()
    assert "no " in Accelsearch(16).missing()


def test_a_worker_searches_one_after_the_other_and_says_why_it_ended(tmp_path):
    text = (
        "calls = []\ndef search(path, tsamp):\n    calls.append(path)\n    return [(1.0 / tsamp, len(calls)), (2, 9)]\n"
    )
    worker = Worker("own", Path(sys.executable), text, "json")
    assert worker.missing() == ""
    assert worker.search(tmp_path / "a", 0.5).lines == [(2.0, 9.0), (2.0, 1.0)]
    found = worker.search(tmp_path / "b", 0.25)
    assert found.lines == [(2.0, 9.0), (4.0, 2.0)]
    assert found.memory > 1e6
    worker.close()
    broken = Worker(
        "broken", Path(sys.executable), "def search(path, tsamp):\n    raise ValueError(path[-3:])\n", "json"
    )
    with pytest.raises(PeerError, match=r"^broken: ValueError: b\.d$"):
        broken.search(tmp_path / "b.d", 0.25)
    broken.close()
    absent = Worker("absent", Path(sys.executable), text, "no_such_module")
    assert absent.missing().startswith("no no_such_module in that environment")
    absent.close()


def test_lines_of_other_programs_that_are_no_pulsars():
    observed = sky("clean", 3)
    one = observed.pulsars[0]
    bins = 1 / observed.tobs
    rows = [(dm, f, sigma, sigma, "x") for dm in (5.0, 6.0) for f, sigma in ((one.freq, 20.0), (77.7, 7.0))]
    rows += [(9.0, 2 * one.freq + 0.2 * bins, 9.0, 9.0, "x")]  # a harmonic
    rows += [(9.0, 55.5, 8.0, 8.0, "x")]  # at one DM
    rows += [(0.0, 44.4, 30.0, 30.0, "x"), (1.0, 44.4, 30.0, 30.0, "x")]  # not dispersed
    lines = np.array(rows, DTYPE)
    away = [abs(f - p.freq * m / d) for f in (77.7, 55.5) for p in observed.pulsars for m, d in versus_ratios()]
    assert min(away) > bins
    assert strangers(lines, observed).tolist() == [7.0]
    assert strangers(lines[:0], observed).size == 0


def test_skies_are_judged_alike_and_once(monkeypatch, tmp_path):
    kept = []

    def presto_search(observed, path, dm_high, spent):
        rows = [
            (one.dm + off, one.freq, one.snr - n, one.snr - n, "x")
            for n, one in enumerate(observed.pulsars)
            for off in (0, 0.1)
        ]
        level = sorted(one.snr - n for n, one in enumerate(observed.pulsars))[1] + 0.01
        rows += [(dm, 77.7, level, level, "x") for dm in (50.0, 50.5)]
        spent.cpu, spent.files = 7.0, 3
        kept.append(path.name)
        return np.array(rows, DTYPE)

    class Product:
        def rows(self, name):
            columns = {"candidates": CANDIDATE_COLUMNS, "detections": DETECTION_COLUMNS}[name]
            if name == "detections":
                return empty_table(columns, 0)
            rows = empty_table(columns, 3)
            first, second = sky("clean", 3).pulsars[:2]
            rows["freq"], rows["dm"], rows["rank"] = (
                (first.freq, 77.7, second.freq),
                (first.dm, 50.0, second.dm),
                (1, 2, 3),
            )
            rows["dm_err"] = rows["period_err"] = np.nan
            return rows

    monkeypatch.setattr(versus, "presto_search", presto_search)
    monkeypatch.setattr(versus, "write", lambda observed, _: observed)
    monkeypatch.setattr(versus, "our_search", lambda *_: (Product(), {"cpu": 1.0}))
    store = Store(None)
    for _ in range(2):
        versus.examine_skies(store, ["clean"], [3], presto=True)
    assert kept == ["clean-3.fil"]
    theirs = store.entries("population", "PRESTO")["clean-3"]
    strongest = np.argsort([one.snr - n for n, one in enumerate(sky("clean", 3).pulsars)])
    assert theirs["above"] == sorted(strongest[2:])
    assert (theirs["injected"], theirs["listed"], theirs["false"]) == (6, [0, 1, 2, 3, 4, 5], 1)
    assert (theirs["cpu"], theirs["files"]) == (7.0, 3)
    ours = store.entries("population", "ours")["clean-3"]
    assert (ours["injected"], ours["above"], ours["listed"], ours["false"]) == (6, [0], [0, 1], 1)
    assert ours["cpu"] == 1.0
    json.dumps(theirs)


def versus_ratios():
    """Ratios at which a line is no stranger."""
    return [(m, d) for m in range(1, 17) for d in range(1, 17)]


def test_place_of_a_pulsar_in_a_list():
    lines = sources([(4.0, 5.0), (4.004, 9.0), (8.0, 7.0), (2.0, 6.0)], 100.0)
    assert lines == [(4.004, 9.0), (8.0, 7.0), (2.0, 6.0)]
    freqs = [f for f, _ in lines]
    assert place(freqs, 0.5, 1000.0) == 3
    assert place(freqs, 0.25, 100.0) == 0
    assert place(freqs, 0.25, 50.0) == 1
    assert place(freqs, None, 100.0) == 0


def test_tables():
    noise = {str(n): {"best": n / 10, **cost()} for n in range(100)}
    pulsars = {
        str(n): {"own": own, "snr": 5.0, "millisecond": n % 2 == 0, "error": 0.1, **cost()}
        for n, own in enumerate((9.5, 9.2, 8.95, 8.0, None, 8.7))
    }
    text = series_table({"fast": {"noise": noise, "pulsars": pulsars}}, "22")
    # Above 8.9 are three; above 9.2 and 8.6, one and four.
    assert (
        "| fast | 50 % (31–69), 17–67 | 2/3 | 1/3 | 8.90 of 100 series | 1.84 | 0.100 | 0.25 | 3 MB | 4 files (12 kB) |"
        in text
    )
    files = {
        "x.dat": {"period": 0.5, "place": 2, "shown": 7, **cost()},
        "y.dat": {"period": None, "place": 0, "shown": 3, **cost()},
    }
    text = real_table({"ours": files, "riptide": {"y.dat": files["y.dat"]}})
    assert "| x.dat | 0.5 s | 2 of 7; 0.25 s; 4 | - |" in text
    assert "| y.dat | no pulsar | 3 false; 0.25 s; 4 | 3 false; 0.25 s; 4 |" in text
    few = {"noise": noise, "pulsars": {key: pulsars[key] for key in ("0", "4")}}
    text = series_table({"ours": {"noise": noise, "pulsars": pulsars}, "riptide": few}, "22")
    assert text.endswith("\n\nOf the 2 pulsars that all were given: ours 1, riptide 1.")
    begun = {"22": {"ours": {"noise": noise}}, "24": {"ours": {"noise": {}, "pulsars": {}}}}
    assert tables({"machine": Store(None).content["machine"], "series": begun})["versus"].count("| ours |") == 1
    assert tables(Store(None).content) == {}
    assert [size(n) for n in (5, 5_000, 5_000_000, 5e9)] == ["5 B", "5 kB", "5 MB", "5 GB"]


def test_red_noise_is_counted_beside_what_is_possible():
    # The threshold is 8.9, and 0.7 more is what one trial alone says there.
    noise = {str(n): {"best": n / 10, "single": n / 10 + 0.7, "own": None if n < 95 else 9.6} for n in range(100)}
    noise["100"] = {"best": None, "single": None, "own": None}
    # By chance a line would pass for the second of two pulsars.
    noise = {key: {**entry, "by_chance": [None, entry["own"]]} for key, entry in noise.items()}
    pulsars = {
        str(n): {"own": own, "ratio": ratio, "matched": matched}
        for n, (own, ratio, matched) in enumerate(
            [(9.5, [1, 1], 12.0), (9.2, [1, 2], 11.0), (8.8, [1, 1], 9.65), (None, [], 9.5), (None, [], 3.0)]
        )
    }
    few = {"noise": {"0": noise["0"]}, "pulsars": pulsars}
    case = {"ours": {"noise": noise, "pulsars": pulsars}, "PRESTO": few}
    text = red_table({"0.1–0.5": case, "2–6": {**case, "PRESTO": case["ours"]}}, 0.1).splitlines()
    assert text[2] == (
        "| 0.1–0.5 | 76.2 % | 60 % (38–78), from S/N 9.6 | 40 % (22–62) of 5 | 1 of 2 | 2.48 % | - | - | - |"
    )
    total = "| all | - | 60 % (44–74) | 40 % (26–56) of 10 | 2 of 4 | 2.48 % | 40 % (22–62) of 5 |"
    assert text[4].startswith(total)


def test_random_skies_are_counted_where_all_programs_had_them():
    first = {"injected": 6, "above": [0, 1, 2, 3, 5], "listed": [0, 1, 2, 3, 4, 5], "false": 2, **cost()}
    second = {"injected": 6, "above": [0, 4], "listed": [0, 4, 5], "false": 0, **cost()}
    ours = {"red-7": first, "red-8": first, "two words-1": first, "red-9": second}
    theirs = {"red-7": second, "two words-1": first, "red-8": second}
    text = population_table({"ours": ours, "PRESTO": theirs, "none": {}}).splitlines()
    # Of red-7 and red-8 theirs has no 1, 2 and 3.
    assert text[2:4] == [
        "| ours | 3 | 15 of 18 | 6 | 18 | 6 | 0 | 3 MB | 4 files (12 kB) |",
        "| PRESTO | 3 | 9 of 18 | 0 | 12 | 2 | 0 | 3 MB | 4 files (12 kB) |",
    ]
    assert text[7:] == [
        "| red | 2 | 10 of 12 | 12 of 12 | 4 | 4 of 12 | 6 of 12 | 0 |",
        "| two words | 1 | 5 of 6 | 6 of 6 | 2 | 5 of 6 | 6 of 6 | 2 |",
    ]
    alone = population_table({"ours": {"red-7": first}, "PRESTO": {}}).splitlines()
    assert alone[2] == "| ours | 1 | 5 of 6 | - | 6 | 2 | 0 | 3 MB | 4 files (12 kB) |"


def test_the_same_work_of_others_beside_ours():
    entries = {"PRESTO `prepfold`": {"cpu": 20.0, "ours": 0.1, "wall": 21.0, "note": "a note"}}
    entries["PulsarX"] = {"cpu": 0.3, "ours": 0.1, "wall": 21.0, "note": ""}
    lines = work_table({"fold": entries}).splitlines()
    assert lines[2:] == [
        "| fold | PRESTO `prepfold` | 20 | 0.1 | 200 x | a note |",
        "| fold | PulsarX | 0.3 | 0.1 | 3.0 x |  |",
    ]


def test_a_page_keeps_the_tables_of_what_was_not_measured(tmp_path):
    page, file = tmp_path / "page.md", tmp_path / "skies.json"
    whole = (
        "<!-- versus -->\nof another day\n<!-- /versus -->\n<!-- versus-population -->\n<!-- /versus-population -->\n"
    )
    page.write_text(whole)
    store = Store(file)
    store.put({"injected": 6, "above": [3], "listed": [3], "false": 0, **cost()}, "population", "ours", "red-7")
    main(["table", "--json", str(file), "--into", str(page)])
    text = page.read_text()
    assert "of another day" in text
    assert "| red | 1 | 1 of 6 | 1 of 6 | 0 |" in text
    assert store.content["machine"]["date"] in text


def cost():
    """What a search took."""
    return {"cpu": 0.25, "memory": 3_000_000, "files": 4, "size": 12_000}
