"""Synthetic files: what is written is what was made, at every depth; truth, TOML lists, and injection."""

import math

import numpy as np
import pytest

from pulsar.errors import ConfigError, DataError
from pulsar.io.open import open_observation
from pulsar.synthesis.injection import _sigma_of_codes, channel_sigmas, inject
from pulsar.synthesis.interference import channels_of
from pulsar.synthesis.model import (
    Burst,
    Injection,
    Orbit,
    Pulsar,
    Rfi,
    Sky,
    demo_sky,
    load_injection,
    load_sky,
    validate,
)
from pulsar.synthesis.write import NPOL, Synthesiser, make, to_toml, truth, truth_path, write_filterbank, write_psrfits

SKY = Sky(
    nchans=32,
    fch1=1480.0,
    foff=-15.625,
    tsamp=256e-6,
    nsamps=10_000,
    seed=5,
    pulsars=(Pulsar(name="a", period=0.0371, dm=30, snr=40, orbit=Orbit(pb=5000, x=1.0)),),
    bursts=(Burst(name="b", time=0.7, dm=10, snr=30),),
    rfi=(Rfi(kind="dead", freqs=(990, 1000)),),
)


def opened(path, read=None):
    obs = open_observation(*([path] if not isinstance(path, tuple) else path))
    try:
        return obs.read().data.copy(), obs.header
    finally:
        obs.close()


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("nbits", [1, 2, 4, 8, 16, 32])
def test_filterbank_holds_what_was_made(tmp_path, nbits, ascending):
    told = []
    path = write_filterbank(
        SKY, tmp_path / "a.fil", nbits=nbits, ascending=ascending, threads=2, memory=1, progress=told.append
    )
    data, header = opened(path)
    np.testing.assert_array_equal(data, make(SKY, nbits=nbits).data)
    assert sum(told) == 10_000
    assert header.freqs[0] == pytest.approx(1480.0)
    assert header.source == "SIMULATED"
    assert header.tstart == 60000.0
    assert header.telescope_id == 21


def test_two_ifs_sum_to_the_total(tmp_path):
    path = write_filterbank(SKY, tmp_path / "a.fil", nifs=2)
    data, _ = opened(path)
    total = (make(SKY, nbits=32).data[:-1].astype(float) - 96) / 16
    summed = (data[:-1].astype(float) - 192) / (16 * math.sqrt(2))
    np.testing.assert_allclose(summed, total, atol=0.07)


@pytest.mark.parametrize(("npol", "pol_type"), [(1, None), (2, None), (4, None), (4, "IQUV")])
def test_psrfits_holds_what_was_made(tmp_path, npol, pol_type):
    paths = write_psrfits(
        SKY, tmp_path / "a.fits", npol=npol, pol_type=pol_type, nsblk=1000, rows_per_file=4, ascending=npol == 1
    )
    assert [path.name for path in paths] == ["a_0001.fits", "a_0002.fits", "a_0003.fits"]
    data, header = opened(paths)
    assert header.nsamps == 10_000
    total = (make(SKY, nbits=32).data[:-1].astype(float) - 96) / 16
    summed = npol == 2 or (npol == 4 and pol_type is None)
    scale = 16 * math.sqrt(2) if summed else 16
    read = data[:-1].astype(float)
    np.testing.assert_allclose((read - (192 if summed else 96)) / scale, total, atol=0.07)
    with pytest.raises(ConfigError, match="exists"):
        write_psrfits(SKY, tmp_path / "a.fits", rows_per_file=4)


@pytest.mark.parametrize("pol_type", ["AA+BB", "AABB", "AABBCRCI", "IQUV"])
@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_psrfits_of_every_depth(tmp_path, nbits, pol_type):
    npol = NPOL[pol_type]
    sky = SKY.model_copy(update={"nsamps": 2048})
    paths = write_psrfits(sky, tmp_path / "a.fits", nbits=nbits, npol=npol, pol_type=pol_type)
    data, _ = opened(paths)
    codes = np.empty((npol, 32, 2048), dtype=np.uint8)
    Synthesiser(sky, nbits=nbits, pol=pol_type).fill(0, codes)
    total = codes[:2].sum(axis=0, dtype=np.float64) if pol_type.startswith("AAB") else codes[0].astype(np.float64)
    np.testing.assert_allclose(data, total, atol=1e-5)


def test_truth_makes_the_file_again(tmp_path):
    first = write_filterbank(SKY, tmp_path / "a.fil", nbits=4)
    again = load_sky(truth_path(first))
    assert again.model_dump(exclude={"nbits", "mean", "sigma"}) == SKY.model_dump(exclude={"nbits", "mean", "sigma"})
    second = write_filterbank(again, tmp_path / "b.fil")
    assert first.read_bytes() == second.read_bytes()
    # The list is good for another depth too, unless it has levels of its own, which it then tells.
    third = write_filterbank(load_sky(truth_path(first), nbits=2), tmp_path / "c.fil")
    np.testing.assert_array_equal(opened(third)[0], make(SKY, nbits=2).data)
    own = SKY.model_copy(update={"mean": 60.0, "sigma": 9.0})
    fourth = write_filterbank(own, tmp_path / "d.fil")
    assert load_sky(truth_path(fourth)) == own
    entry, burst = truth(SKY)
    assert entry["dm"] == 30
    # At the ascending node it recedes fastest.
    assert entry["period"] == pytest.approx(0.0371 * (1 + 2 * math.pi / 5000), rel=1e-5)
    assert burst["mjd"] == pytest.approx(60000 + 0.7 / 86400, abs=1e-9)
    assert "[[truth]]" in truth_path(first).read_text()


def test_toml_of_odd_values():
    import tomllib

    values = {"a": 'say "x"\n\\', "b": 1e22, "c": -0.5, "d": True, "e": [1, 2.0], "f": None, "n": 3}
    text = to_toml({**values, "t": [{"k": float("inf"), "m": {"z": 1.0}}]})
    read = tomllib.loads(text)
    assert read == {**{k: v for k, v in values.items() if v is not None}, "t": [{"k": float("inf"), "m": {"z": 1.0}}]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nchan = 4\nnsamps = 9", ["nchan", "did you mean nchans"]),
        ("nsamps = 9\n[[pulsars]]\nperiot = 1.0", ["pulsars.1.periot", "did you mean period"]),
        ("nsamps = 9\n[[pulsars]]\nperiod = -1.0", ["pulsars.1.period", "greater than 0"]),
        ("nsamps = 9\n[[pulsars]]\nperiod = 1\npdot=1e-9\naccel=3", ["pdot and accel"]),
        ("nsamps = 9\ntobs = 2.0", ["nsamps and tobs"]),
        ("nchans = 4", ["give nsamps or tobs"]),
        ("nsamps = 9\n[[pulsars]]\nperiod = 1e-6", ["shorter than two samples"]),
        ("nsamps = 9\n[[rfi]]\nkind = 'dead'", ["give freqs"]),
        ("nsamps = 9\n[[rfi]]\nkind = 'jump'", ["changes nothing"]),
        ("nsamps = 9\nnchans = 2000", ["below 0 MHz"]),
        ("nsamps = ", ["not a TOML file"]),
    ],
)
def test_wrong_toml_is_explained(tmp_path, text, words):
    path = tmp_path / "sky.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_sky(path)
    for word in ["sky.toml", *words]:
        assert word in str(error.value)


def test_missing_toml_and_empty_injection(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load_sky(tmp_path / "none.toml")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(ConfigError, match="nothing to inject"):
        load_injection(tmp_path / "empty.toml")
    assert validate(Injection, {"pulsars": [{"period": 0.1}]}).pulsars[0].snr == 20


def test_nothing_is_written_over(tmp_path):
    path = tmp_path / "a.fil"
    path.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="exists"):
        write_filterbank(SKY, path)
    assert path.read_bytes() == b"mine"
    with pytest.raises(ConfigError, match="does not exist"):
        write_filterbank(SKY, tmp_path / "none" / "a.fil")
    with pytest.raises(ConfigError, match="whole bytes"):
        write_filterbank(SKY.model_copy(update={"nchans": 31, "rfi": ()}), tmp_path / "b.fil", nbits=1)
    with pytest.raises(ConfigError, match="nifs 3"):
        write_filterbank(SKY, tmp_path / "b.fil", nifs=3)
    with pytest.raises(ConfigError, match="polarisations"):
        write_psrfits(SKY, tmp_path / "b.fits", npol=2, pol_type="IQUV")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.fil"]


QUIET = SKY.model_copy(update={"pulsars": (), "bursts": (), "nsamps": 2**15})


@pytest.mark.parametrize("nbits", [1, 2, 4, 8, 16, 32])
def test_injection_has_the_snr_asked_for(tmp_path, nbits):
    path = write_filterbank(QUIET.model_copy(update={"bandpass": "rolloff"}), tmp_path / "a.fil", nbits=nbits)
    pulsar = Pulsar(period=0.0371, dm=30, snr=60, duty=0.08)
    burst = Burst(time=3.0, dm=30, snr=50, width=3e-3)
    for extra, options in ((pulsar, {"pulsars": [pulsar]}), (burst, {"bursts": [burst]})):
        obs = open_observation(path)
        before = obs.read().data.astype(np.float64)
        sigmas = channel_sigmas(obs)
        out = inject(obs, tmp_path / "b.fil", Injection(**options), threads=2, memory=1, overwrite=True)
        with pytest.raises(ConfigError, match="input itself"):
            inject(obs, path, Injection(**options), overwrite=True)
        obs.close()
        after, header = opened(out)
        assert header.nbits == nbits
        # The dead channel is as it was; the others have the signal in the mean.
        assert sigmas[-1] == 0
        np.testing.assert_array_equal(after[-1], before[-1])
        clean = SKY.model_copy(
            update={"pulsars": options.get("pulsars", ()), "bursts": options.get("bursts", ()), "nsamps": 2**15}
        )
        bare = clean.model_copy(update={"pulsars": (), "bursts": ()})
        template = (make(clean, nbits=32).data.astype(np.float64) - make(bare, nbits=32).data)[:-1] / 16
        template -= template.mean(axis=1, keepdims=True)
        added = (after - before)[:-1] / sigmas[:-1, None]
        snr = np.sum(added * template) / math.sqrt(np.sum(template**2))
        # Few bits cannot hold the peak of a burst; the rounding adds a little noise of its own.
        near = 0.03 if nbits >= 4 else 0.1
        least, most = (1 - near, 1 + near) if nbits >= 8 or extra is pulsar else (0.3, 1.0)
        assert least * extra.snr < snr < most * extra.snr


def test_summed_polarisations_are_injected_into_at_a_depth_that_holds_them(tmp_path):
    (path,) = write_psrfits(SKY.model_copy(update={"nbits": 4}), tmp_path / "a.fits", npol=2)
    with open_observation(path) as obs:
        data = obs.read().data
        out, header = opened(inject(obs, tmp_path / "b.fil", Injection(pulsars=(Pulsar(period=0.05, snr=5.0),))))
    assert header.nbits == 8
    assert data.max() > 15
    assert abs(out.mean() - data.mean()) < 0.1


def test_measured_noise_ignores_bursts_of_interference(tmp_path):
    sky = QUIET.model_copy(
        update={"rfi": (Rfi(kind="intermittent", freqs=(1200, 1300), strength=20, width=0.3, fraction=0.1),)}
    )
    path = write_filterbank(sky, tmp_path / "a.fil")
    obs = open_observation(path)
    np.testing.assert_allclose(channel_sigmas(obs), 16, rtol=0.15)
    obs.close()
    assert _sigma_of_codes(np.bincount([7] * 10, minlength=256)) == 0


def test_saturated_channels_have_the_highest_code(tmp_path):
    stuck = Rfi(kind="saturated", freqs=(1000, 1040))
    quiet = QUIET.model_copy(update={"nbits": 8, "rfi": ()})
    obs = open_observation(write_filterbank(quiet, tmp_path / "a.fil"))
    before = obs.read().data
    after, header = opened(inject(obs, tmp_path / "b.fil", Injection(rfi=[stuck])))
    obs.close()
    hit = channels_of(header, stuck)
    assert hit.any()
    assert (after[hit] == 255).all()
    np.testing.assert_array_equal(after[~hit], before[~hit])
    obs = open_observation(write_filterbank(quiet.model_copy(update={"nbits": 32}), tmp_path / "c.fil"))
    with pytest.raises(ConfigError, match="no highest code"):
        inject(obs, tmp_path / "d.fil", Injection(rfi=[stuck]))
    obs.close()


@pytest.mark.parametrize("nbits", [8, 32])
def test_interference_is_injected_as_it_is_simulated(tmp_path, nbits):
    sky = QUIET.model_copy(update={"nbits": nbits, "rfi": ()})
    path = write_filterbank(sky, tmp_path / "a.fil")
    before, header = opened(path)
    before = before.astype(np.float64)
    rfi = (
        Rfi(kind="narrowband", freqs=(1300, 1310), strength=4),
        Rfi(kind="mains", rate=50, strength=0.5, wander=0.02),
        Rfi(kind="satellite", freqs=(1201, 1240), strength=2, width=2e-3),
        Rfi(kind="diode", strength=0.4),
        Rfi(kind="radar", freqs=(1100, 1130), strength=9, rate=200, width=1e-3, scan=1.0, fraction=0.2),
        Rfi(kind="jump", strength=1.3, freqs=(1400, 1460), time=1.0, until=2.0),
        Rfi(kind="dead", freqs=(1000, 1040)),
    )
    obs = open_observation(path)
    outs = []
    for name, options in (("b", {"memory": 1, "threads": 2}), ("c", {})):
        out = inject(obs, tmp_path / f"{name}.fil", Injection(rfi=rfi, seed=5), **options)
        outs.append(opened(out)[0])
    np.testing.assert_array_equal(*outs)
    obs.close()
    after = outs[0].astype(np.float64)
    assert load_injection(truth_path(tmp_path / "c.fil")).rfi == rfi
    hit = channels_of(header, rfi[-1])
    assert (after[hit] == 0).all()
    # The same power as in a simulation, channel by channel, with the noise that belongs to it.
    # (Random phases come from another stream: compared is what does not hang on them.)
    made = make(sky.model_copy(update={"rfi": rfi})).data.astype(np.float64)
    quiet = ~hit
    np.testing.assert_allclose(
        (after - before).mean(axis=1)[quiet] / 16, (made - before).mean(axis=1)[quiet] / 16, atol=0.12
    )
    np.testing.assert_allclose(after.std(axis=1)[quiet], made.std(axis=1)[quiet], rtol=0.05)


def test_injection_refuses_what_it_cannot_do(tmp_path):
    obs = open_observation(write_filterbank(QUIET, tmp_path / "a.fil"))
    with pytest.raises(ConfigError, match="nothing to inject"):
        validate(Injection, {})
    with pytest.raises(ConfigError, match="two samples"):
        inject(obs, tmp_path / "b.fil", Injection(pulsars=[Pulsar(period=1e-4)]))
    with pytest.raises(ConfigError, match="nbits 3"):
        inject(obs, tmp_path / "b.fil", Injection(pulsars=[Pulsar(period=1)]), nbits=3)
    obs.close()
    dead = QUIET.model_copy(update={"rfi": (Rfi(kind="dead", freqs=(900, 1600)),), "nsamps": 1000})
    obs = open_observation(write_filterbank(dead, tmp_path / "c.fil"))
    with pytest.raises(DataError, match="no channel varies"):
        inject(obs, tmp_path / "b.fil", Injection(pulsars=[Pulsar(period=1)]))
    obs.close()
    assert not (tmp_path / "b.fil").exists()


def test_demo_sky():
    sky = demo_sky()
    assert sky.header.nsamps * sky.nchans == 2**25
    assert len(truth(sky)) == 5
    assert {r.kind for r in sky.rfi} >= {"dead", "intermittent", "mains"}
