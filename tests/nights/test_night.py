"""A night of several beams: sorted, searched and merged, and what was missing is told."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from pulsar.cli.app import app
from pulsar.cli.options import parse_beams
from pulsar.config.load import load_config
from pulsar.errors import ConfigError, DataError
from pulsar.io.night import scan, unmatched_pointings
from pulsar.io.product.reader import read
from pulsar.io.product.writer import Target
from pulsar.nights.merge import merge
from pulsar.nights.night import ALL, Job, jobs, search_night
from pulsar.pipeline.progress import Progress
from pulsar.run import search
from pulsar.sky.observatory import Receiver
from pulsar.synthesis.model import Burst, Pulsar, Rfi, Sky
from pulsar.synthesis.write import write_filterbank, write_psrfits

NSAMPS, TSAMP, NCHANS = 1 << 14, 512e-6, 64
#: The receiver of FAST.
RECEIVER = Receiver(load_config("fast-19beam").receiver)
OFF = [
    "rfi.zap=[]", "dedisp.dm_hi=90", "coherent.enabled=false", "ffa.enabled=false", "fold.ncands=8", "fold.nbins=64",
    "fold.nbands=16", "run.threads=2",
]  # fmt: skip


def beam_file(
    folder: Path, source: str, beam: int, pulsars=(), rfi=(), number=1, tstart=59000.0, nsamps=NSAMPS, mode="tracking"
) -> Path:
    """One file of one beam of a source, with its own position."""
    east, north = RECEIVER.offsets[beam]
    # Rotation goes on from file to file.
    later = (number - 1) * nsamps * TSAMP
    pulsars = tuple(p.model_copy(update={"phase0": later / p.period % 1.0}) for p in pulsars)
    sky = Sky(
        nchans=NCHANS, fch1=1450.0, foff=-6.25, tsamp=TSAMP, nsamps=nsamps, beam=beam,
        seed=beam + 100 * number + 1000 * ord(source[-1]),
        source=source, pulsars=pulsars, rfi=rfi, ra_deg=100.0 + east / 60, dec_deg=north / 60, tstart=tstart,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{source}_tracking-M{beam:02d}.fits"
    (path,) = write_psrfits(sky, stem, npol=1, threads=1)
    named = folder / f"{source}_{mode}-M{beam:02d}_{number:04d}.fits"
    path.rename(named)
    return named


def gain(beam: int, east: float, north: float) -> float:
    x, y = RECEIVER.offsets[beam]
    return float(np.exp(-4 * np.log(2) * ((x - east) ** 2 + (y - north) ** 2) / 2.9**2))


def seen(beam: int, name: str, period: float, dm: float, snr: float, at: tuple[float, float], floor: float = 0.0):
    """The pulsar as a beam sees it; nothing where it is too faint."""
    snr = max(snr * gain(beam, *at), floor)
    return (Pulsar(name=name, period=period, dm=dm, snr=snr, duty=0.08),) if snr > 1 else ()


@pytest.fixture(scope="module")
def night(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("night")
    for beam in (1, 2, 3, 5, 8, 14, 17):
        pulsars = seen(beam, "single", 0.0913, 40, 20, RECEIVER.offsets[5])
        pulsars += seen(beam, "between", 0.1317, 80, 320, (2.9, 0.0))
        # Bright: in the sidelobes of all others with 5 %.
        pulsars += seen(beam, "bright", 0.0571, 60, 260, RECEIVER.offsets[3], floor=13.0)
        rfi = [Pulsar(name="rfi", period=0.2003, dm=5.0, snr=25, duty=0.1)] if beam in (8, 14, 17) else []
        beam_file(folder / "A", "SRCA", beam, (*pulsars, *rfi))
    return folder


def test_sources_interference_and_what_is_missing(night, tmp_path):
    # What beams have in common stays in, to be judged by the coincidence.
    config = load_config("fast-19beam", [*OFF, "rfi.common=false", "single_pulse.enabled=false"])
    found = scan([night], config.input)
    assert [(p.source, p.beam) for p in found.pointings] == [("SRCA", b) for b in (1, 2, 3, 5, 8, 14, 17)]
    outcome = search_night(jobs(found, config, tmp_path / "o"), config, tmp_path / "o", problems=found.problems)
    assert not outcome.failures
    assert len(outcome.products) == 7
    run = read(outcome.merged)
    rows = run.rows("candidates")
    own = rows[rows["harmonic_of"] == ""]
    best = {p: own[np.argmax(np.abs(own["period"] - p) < 2e-4)] for p in (0.0913, 0.1317, 0.0571, 0.2003)}
    for period, beams in ((0.0913, {5}), (0.1317, {1, 2}), (0.0571, {3})):
        row = best[period]
        assert int(row["beam"]) in beams
        assert "multibeam" not in str(row["rfi_flags"])
        assert run.fold(str(row["id"])).snr == pytest.approx(float(row["snr"]))
    # Exactly these three on top, and the interference is named.
    assert {round(float(r["period"]), 4) for r in rows[:3]} == {0.0913, 0.1317, 0.0571}
    assert best[0.1317]["nbeams"] == 2
    assert best[0.0571]["nbeams"] == 7
    assert (best[0.1317]["ra_deg"] - 100) * 60 == pytest.approx(2.9, abs=0.5)
    assert best[0.1317]["dec_deg"] * 60 == pytest.approx(0.0, abs=0.7)
    assert "multibeam" in str(best[0.2003]["rfi_flags"])
    assert any("not observed" in p and "4, 6, 7" in p for p in run.problems)
    # A product twice makes no sense.
    one = read(outcome.products[0])
    with pytest.raises(ConfigError, match="is given twice"):
        merge([one, read(outcome.products[0])], Target(tmp_path / "x.h5"), config)
    # Resumed, everything is there; without --resume it is refused.
    again = search_night(jobs(found, config, tmp_path / "o"), config, tmp_path / "o", resume=True)
    assert again.products == outcome.products
    with pytest.raises(ConfigError, match="exists already"):
        search_night(jobs(found, config, tmp_path / "o"), config, tmp_path / "o")


def test_a_bad_file_costs_nothing_else(tmp_path):
    config = load_config("fast-19beam", [*OFF, "dedisp.dm_hi=20", "single_pulse.enabled=false"])
    good = beam_file(tmp_path / "in", "SRCB", 1)
    bad = beam_file(tmp_path / "in", "SRCB", 2)
    todo = jobs(scan([tmp_path / "in"]), config, tmp_path / "o")
    bad.write_bytes(good.read_bytes()[:3000])
    outcome = search_night(todo, config, tmp_path / "o")
    assert [p.name for p in outcome.products] == ["SRCB_20200531_M01.h5"]
    assert [name for name, _ in outcome.failures] == ["SRCB_20200531_M02"]
    assert any("SRCB_20200531_M02: could not be searched" in p for p in read(tmp_path / "o" / ALL).problems)


def test_names_gaps_and_what_is_passed_over(tmp_path):
    folder = tmp_path / "in"
    length = NSAMPS * TSAMP / 86400
    for number in (1, 2, 4):
        beam_file(folder, "SRCC", 7, number=number, tstart=59000.0 + (number - 1) * length)
    beam_file(folder / "later", "SRCC", 7, tstart=59000.5)
    (folder / "SRCC_tracking-M07_0009.fits.gz").write_bytes(b"x")
    (folder / "SRCC_tracking-M07_W_0001.fits").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    with h5py.File(folder / "RUN.h5", "w") as file:
        file.attrs["format"] = "pulsar-search"
    (folder / "broken.fits").write_bytes(b"SIMPLE  = nothing")
    night = scan([folder])
    first = next(p for p in night.pointings if p.source == "SRCC")
    assert first.name == "SRCC_20200531_M07"
    assert len(first.paths) == 3
    assert first.missing == (3,)
    # Half a day later it is another pointing, of the next day.
    assert [p.name for p in night.pointings] == ["SRCC_20200531_M07", "SRCC_20200531_M07_n2"]
    text = "\n".join(night.problems)
    assert "gunzip" in text
    assert "spectral-line" in text
    assert "broken.fits" in text
    assert "files numbered 0003 are missing" in text
    assert "notes" not in text
    assert "RUN.h5" not in text
    with pytest.raises(DataError, match="no such file or folder"):
        scan([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: nothing that can be read is in this folder"):
        scan([tmp_path / "empty"])


def test_segments_of_a_drift_follow_the_sky(tmp_path):
    folder = tmp_path / "in"
    length = NSAMPS * TSAMP / 86400
    for number in range(1, 6):
        path = beam_file(folder, "SRCD", 1, number=number, tstart=59000.0 + (number - 1) * length)
        path.rename(path.with_name(path.name.replace("tracking", "drifting")))
    todo = jobs(scan([folder]), load_config(), tmp_path / "o", segment=2, overlap=0.5)
    assert [job.out.name for job in todo] == [f"SRCD_20200531_M01_s{i:02d}.h5" for i in range(1, 5)]
    assert [len(job.pointing.paths) for job in todo] == [2] * 4
    ra = np.array([job.config.input.ra_deg for job in todo])
    # The middle of the first segment is one file after the start.
    turned = NSAMPS * TSAMP * 360 / 86164.0905
    np.testing.assert_allclose(ra, 100.0 + turned * np.arange(1, 5), atol=1e-6)
    with pytest.raises(ConfigError, match="--segment"):
        jobs(scan([folder]), load_config(), tmp_path, segment=2, overlap=1.0)


def test_a_source_that_drifts_through_the_beam(tmp_path):
    """Seen for 12 s by half power: in the segment nearest to it, at its place, with nearly the S/N of the best one."""
    folder, nsamps, count = tmp_path / "in", NSAMPS // 2, 10
    length = nsamps * TSAMP
    # It passes where no segment has its middle: segments of four files begin at every second.
    crossing = 5 * length
    for number in range(1, count + 1):
        away = (number - 0.5) * length - crossing
        power = float(np.exp(-4 * np.log(2) * (away / 12.0) ** 2))
        pulsar = Pulsar(name="psr", period=0.0913, dm=40, snr=max(14 * power, 0.01), duty=0.08)
        beam_file(
            folder, "SRCE", 1, (pulsar,), number=number, tstart=59000.0 + (number - 1) * length / 86400,
            nsamps=nsamps, mode="drifting",
        )  # fmt: skip
    config = load_config("fast-19beam", [*OFF, "single_pulse.enabled=false"])
    todo = jobs(scan([folder]), config, tmp_path / "o", segment=4, overlap=0.5)
    outcome = search_night(todo, config, tmp_path / "o")
    rows = read(outcome.merged).rows("candidates")
    found = rows[np.abs(rows["period"] - 0.0913) < 5e-4]
    best = found[np.argmax(found["snr"])]
    (paths,) = [p.paths for p in scan([folder]).pointings]
    matched = search(list(paths[3:7]), config, tmp_path / "matched.h5").rows("candidates")[0]
    middle = (float(best["epoch"]) - 59000.0) * 86400
    assert abs(middle - crossing) < 1.01 * length
    assert rows[0]["period"] == pytest.approx(0.0913, abs=5e-4)
    assert best["snr"] > 0.85 * matched["snr"]
    # The sky has turned by so much when it is in the middle of the beam: 1.45 arcmin are half a beam.
    true_ra = 100.0 + crossing * 360 / 86164.0905
    assert abs(float(best["ra_deg"]) - true_ra) * 60 < 1.45


def test_a_table_of_pointings_overrides_the_headers(tmp_path):
    for beam in (1, 2):
        beam_file(tmp_path / "in", "SRCF", beam)
    table = tmp_path / "pointings.csv"
    table.write_text("source,beam,ra,dec\nSRCF,2,05:34:31.97,+22:00:52\nSRCF,,83.5,21.5\n")
    todo = jobs(scan([tmp_path / "in"]), load_config(None, [f"input.pointings={table}"]), tmp_path / "o")
    places = [(job.config.input.ra_deg, job.config.input.dec_deg) for job in todo]
    assert places[0] == (83.5, 21.5)
    assert places[1] == pytest.approx((83.63321, 22.01444), abs=1e-5)
    for text, message in (("source,ra\nA,1\n", "expected the columns"), ("source,ra,dec\nA,x,1\n", "line 2")):
        table.write_text(text)
        with pytest.raises(DataError, match=message):
            jobs(scan([tmp_path / "in"]), load_config(None, [f"input.pointings={table}"]), tmp_path / "o")


def test_names_in_a_table_of_pointings_that_no_file_has_are_told(tmp_path):
    from typer.testing import CliRunner

    for beam in (1, 2):
        beam_file(tmp_path / "in", "J0534+2200", beam, nsamps=1024)
    beam_file(tmp_path / "in", "B0329+54", 1, nsamps=1024)
    table = tmp_path / "pointings.csv"
    table.write_text("source,beam,ra,dec\nj0543+2200,,83.6,22\nJ0534+2200,1,83.6,22\nJ0534+2200,9,83.6,22\nX,,1,2\n")
    config = load_config(None, [f"input.pointings={table}"])
    told = unmatched_pointings(scan([tmp_path / "in"]), config.input)
    assert [t.removeprefix(f"{table}: ") for t in told] == [
        "source j0543+2200 is in no file, its position is not used; did you mean J0534+2200?",
        "source J0534+2200: no files of beam 9",
        "source X is in no file, its position is not used",
        "has no position for B0329+54 beam 1: those of the headers are used",
        "has no position for J0534+2200 beam 2: those of the headers are used",
    ]
    assert unmatched_pointings(scan([tmp_path / "in"]), load_config().input) == []
    shown = CliRunner().invoke(app, ["info", str(tmp_path / "in"), "--set", f"input.pointings={table}"])
    assert shown.exit_code == 0
    assert "did you mean J0534+2200?" in shown.stdout


def ended_by(error):
    """A search after which the night is ended."""

    def searched(*args, **how):
        search(*args, **how)
        raise error

    return searched


def test_a_hum_of_all_beams_is_left_out_of_all_and_a_bright_pulsar_is_not(tmp_path, monkeypatch):
    """6.7 Hz: dispersion cannot tell in any beam; a pulsar of DM 2 in beam 3 and the sidelobes of three."""
    folder, period = tmp_path / "in", 0.0571
    for beam in range(1, 5):
        pulsars = seen(beam, "bright", period, 2.0, 320, RECEIVER.offsets[3], floor=16.0)
        beam_file(folder, "SRCH", beam, pulsars, rfi=(Rfi(kind="mains", rate=6.7, strength=0.1, harmonics=1),))
    sets = [*OFF, "dedisp.dm_hi=20", "single_pulse.enabled=false", "rfi.clip=0", "run.threads=1"]
    tobs = NSAMPS * TSAMP
    bins, left_out = {}, {}
    for switch in (True, False):
        config = load_config("fast-19beam", [*sets, f"rfi.common={str(switch).lower()}"])
        out = tmp_path / str(switch)
        told: list[str] = []
        progress = Progress("quiet")
        monkeypatch.setattr(progress, "message", told.append)
        outcome = search_night(jobs(scan([folder]), config, out), config, out, progress=progress)
        assert len(outcome.products) == 4
        runs = [read(path) for path in outcome.products]
        rows = read(outcome.merged).rows("candidates")
        assert rows[0]["period"] == pytest.approx(period, abs=1e-4)
        assert (rows[0]["beam"], rows[0]["nbeams"]) == (3, 4)
        hums = [np.abs(run.rows("candidates")["freq"] - 6.7).min(initial=9.0) for run in runs]
        bins[switch] = tobs * np.array(hums)
        lines = [run.rows("rfi/birdies") for run in runs]
        common = [b[[("common" in str(r)) for r in b["reason"]]] for b in lines]
        assert {len(c) for c in common} == {int(switch)}
        assert any("SRCH_20200531: 1 line of interference in several beams" in t for t in told) == switch
        problems = "\n".join(read(outcome.merged).problems)
        assert ("left out of all: " in problems) == switch
        left_out[switch] = common
        # Nothing of the first looks is left.
        assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in [*outcome.products, out / ALL])
    assert left_out[True][0]["freq"] == pytest.approx(6.7, abs=1 / tobs)
    assert all(np.array_equal(c, left_out[True][0]) for c in left_out[True])
    # Where it is not left out it is in the list of every beam, but that in which the pulsar is ten times as strong.
    assert (np.delete(bins[False], 2) < 1.0).all()
    assert (bins[True] > 2.0).all()

    # A night that was interrupted goes on with what its first looks have shown, without another one.
    config, out = load_config("fast-19beam", sets), tmp_path / "again"
    todo = jobs(scan([folder]), config, out)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pulsar.nights.night.search", ended_by(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt) as stopped:
            search_night(todo, config, out)
    assert stopped.value.__notes__ == ["use --resume to go on"]
    monkeypatch.setattr("pulsar.nights.night.first_look", interrupt)
    outcome = search_night(todo, config, out, resume=True)
    assert len(outcome.products) == 4
    for path in outcome.products:
        lines = read(path).rows("rfi/birdies")
        assert [round(float(b["freq"]), 1) for b in lines if b["reason"] == "common"] == [6.7]
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in [*outcome.products, out / ALL])
    # When all is there it is still told.
    again = search_night(todo, config, out, resume=True)
    assert any("1 line of interference in several beams left out of all: 6.7" in p for p in read(again.merged).problems)

    # With less than four beams there is no first look: the first search is done, and ends the night.
    few = jobs(scan([folder]), config, tmp_path / "few", beams={1, 2, 3})
    monkeypatch.setattr("pulsar.nights.night.search", ended_by(StopIteration))
    with pytest.raises(StopIteration):
        search_night(few, config, tmp_path / "few")


def test_pulses_of_beams_that_began_at_other_times_are_compared_at_one(tmp_path):
    """Beam 2 lacks its first file; a beam without a number stands alone."""
    length, bursts = NSAMPS * TSAMP, []
    for k, beam in enumerate((1, 2, None)):
        start = 59000.0 + (0.25 * length / 86400 if beam == 2 else 0.0)
        at = 5.5 - (start - 59000.0) * 86400
        sky = Sky(
            nchans=NCHANS, fch1=1450.0, foff=-6.25, tsamp=TSAMP, nsamps=NSAMPS, seed=k, beam=beam, tstart=start,
            bursts=(Burst(time=at, dm=60.0, snr=25 - 5 * k, width=5e-3),),
        )  # fmt: skip
        path = write_filterbank(sky, tmp_path / f"b{k}.fil", threads=1)
        off = [f"{name}.enabled=false" for name in ("ffa", "fft", "coherent")]
        config = load_config(None, ["dedisp.dm_hi=80", *off])
        bursts.append(search(path, config, tmp_path / f"b{k}.h5"))
    run = merge(bursts, Target(tmp_path / "all.h5"), load_config("fast-19beam"))
    pulses = run.rows("single_pulses")
    assert len(pulses) == 2
    assert pulses["time"] == pytest.approx(5.5, abs=0.01)
    assert all("multibeam" not in str(flags) for flags in pulses["rfi_flags"])


def test_lists_of_beams():
    assert parse_beams("1,3,5-7") == {1, 3, 5, 6, 7}
    for bad in ("", "a", "3-1", "1,,2"):
        with pytest.raises(ConfigError, match="expected numbers"):
            parse_beams(bad)


def test_the_command_line(night, tmp_path):
    from typer.testing import CliRunner

    runner = CliRunner()
    told = runner.invoke(app, ["info", str(night)])
    assert told.exit_code == 0
    assert "SRCA, 20200531: 7 beams" in told.stdout
    assert "beam 14  #" in told.stdout
    sets = [a for s in [*OFF, "dedisp.dm_hi=20", "single_pulse.enabled=false"] for a in ("--set", s)]
    out = tmp_path / "o"
    done = runner.invoke(app, ["search", str(night), "--beams", "5,8", "--out", str(out), "-q", *sets])
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in out.glob("*.h5")) == [ALL, "SRCA_20200531_M05.h5", "SRCA_20200531_M08.h5"]
    products = [str(p) for p in sorted(out.glob("SRCA*.h5"))]
    merged = runner.invoke(app, ["sift", *products, "--out", str(tmp_path / "all.h5"), "--config", "fast-19beam"])
    assert merged.exit_code == 0, merged.output
    assert "not observed" in merged.output
    assert len(read(tmp_path / "all.h5")) == len(read(out / ALL))
    assert isinstance(jobs(scan([night]), load_config(), out)[0], Job)
    refused = runner.invoke(app, ["search", str(night), "--beams", "12", "--out", str(tmp_path / "n")])
    assert refused.exit_code == 2
    # Files of several beams are a night as well, those of one are not.
    files = [str(p) for p in sorted((night / "A").glob("*-M0[58]_*.fits"))]
    told = runner.invoke(app, ["info", *files])
    assert "SRCA, 20200531: 2 beams" in told.stdout
    assert "2 beams" not in runner.invoke(app, ["info", files[0]]).stdout
    done = runner.invoke(app, ["search", *files, "--out", str(tmp_path / "m"), "-q", *sets])
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in (tmp_path / "m").glob("*.h5")) == sorted(p.name for p in out.glob("*.h5"))
    refused = runner.invoke(app, ["search", *files, "--out", str(tmp_path / "one.h5"), "-q"])
    assert isinstance(refused.exception, ConfigError) or refused.exit_code == 2


@pytest.mark.slow
@pytest.mark.parametrize("common", [True, False])
def test_a_whole_night(tmp_path, common):
    """18 of 19 beams, two sources, two files each but one; three pulsars, interference in all and in three beams."""
    folder, length = tmp_path / "night", NSAMPS * TSAMP / 86400
    for source in ("SRCA", "SRCB"):
        for beam in set(range(1, 20)) - {12}:
            pulsars: tuple[Pulsar, ...] = (Pulsar(name="everywhere", period=0.2003, dm=3.0, snr=25, duty=0.1),)
            if source == "SRCA":
                pulsars += seen(beam, "single", 0.0913, 40, 22, RECEIVER.offsets[5])
                pulsars += seen(beam, "between", 0.1317, 80, 320, (2.9, 0.0))
                pulsars += (
                    (Pulsar(name="distant", period=0.1173, dm=30.0, snr=20, duty=0.1),) if beam in (8, 14, 17) else ()
                )
            else:
                sidelobes = 13.0 if beam in (2, 4, 6, 9, 16, 19) else 0.0
                pulsars += seen(beam, "bright", 0.0571, 60, 260, RECEIVER.offsets[3], floor=sidelobes)
            for number in (1, 2):
                if (source, beam, number) == ("SRCB", 7, 1):
                    continue
                start = 59000.0 + (number - 1) * length + (0.02 if source == "SRCB" else 0.0)
                beam_file(folder / source, source, beam, pulsars, number=number, tstart=start)
    config = load_config("fast-19beam", [*OFF, f"rfi.common={str(common).lower()}"])
    found = scan([folder], config.input)
    outcome = search_night(jobs(found, config, tmp_path / "o"), config, tmp_path / "o", problems=found.problems)
    assert len(outcome.products) == 36
    run = read(outcome.merged)
    rows = run.rows("candidates")
    assert {round(float(r["period"]), 4): int(r["beam"]) for r in rows[:3]} in (
        {0.0913: 5, 0.1317: 1, 0.0571: 3},
        {0.0913: 5, 0.1317: 2, 0.0571: 3},
    )
    own = rows[rows["harmonic_of"] == ""]
    # Lines of all beams are left out of all; of the other one dispersion tells, so that it is judged afterwards.
    seen_by = {0.2003: 36, 0.1173: 3}
    rows_of = {period: own[np.abs(own["period"] - period) < 2e-4] for period in seen_by}
    assert {period: bool(named.size) for period, named in rows_of.items()} == {0.2003: not common, 0.1173: True}
    for period in [0.1173] if common else [0.2003, 0.1173]:
        named, count = rows_of[period], seen_by[period]
        assert all("multibeam" in str(f) for f in named["rfi_flags"])
        # Where a pulsar is ten times as strong one of 36 may hide it.
        assert count - 2 <= int(named["nbeams"].sum()) <= count
    told = "\n".join(run.problems)
    assert ("of interference in several beams left out of all: " in told) == common
    assert "not observed, or not given: beams 12" in told
