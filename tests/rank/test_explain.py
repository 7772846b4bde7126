"""Who explains whom: folds of known profiles, and groups with the powers that these, or others, leave."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference.detections import FREQS, TOBS, make_group, table
from reference.sources import KINDS, NBINS, SERIES, SKY, Source, at_sigma, evidence_of, lines_of, parents

from pulsar.data.fold import FoldParams
from pulsar.rank.blends import blends
from pulsar.rank.candidate import Candidate
from pulsar.rank.compare import DOUBT_SIGMA, UNEXPLAINED, left_sigma, may_be_period, unexplained
from pulsar.rank.explain import _by_others, _own_periods, _part_without, _period, _Verdict, alternatives, explain
from pulsar.rank.lines import comb_of
from pulsar.searches import stats


def test_harmonics_and_fractions_belong_to_their_pulsar():
    pulsar = Source(7.3)
    ratios = {"harmonic 2": (2.0, 8), "harmonic 5": (5.0, 4), "harmonic 3/2": (1.5, 16), "harmonic 1/2": (0.5, 32)}
    rest = [pulsar.group(ratio, nharm, uid=name) for name, (ratio, nharm) in ratios.items()]
    rest.append(pulsar.group(1.0, 4, index=62, uid="same"))
    told = parents(explain([pulsar.candidate(uid="pulsar")], rest, SKY))
    assert told == {"pulsar": ("", "")} | {name: ("pulsar", name) for name in [*ratios, "same"]}


def test_the_numbers_are_told():
    pulsar = Source(7.3)
    group = pulsar.group(2.0, 8)
    (one,) = explain([pulsar.candidate(uid="pulsar")], [group], SKY).rest
    (text,) = one.reasons
    assert "pulsar" in text
    assert f"{group.excess:.1f}" in text
    assert "at 2 of" in text


def test_what_no_candidate_leaves_stands_for_itself():
    pulsar = Source(7.3)
    others = [
        make_group(8.1234, excess=60.0, uid="elsewhere"),
        make_group(2 * 7.3, nharm=4, excess=4 * pulsar.power(14.6, 4, 60), uid="too strong"),
        make_group(5 * 7.3, nharm=1, excess=200.0, index=200, uid="another DM"),
    ]
    told = parents(explain([pulsar.candidate()], others, SKY))
    assert {told[g.uid][0] for g in others} == {""}
    # Without a DM there is nothing that tells the last from a harmonic of the strong one.
    told = parents(explain([pulsar.candidate(uid="pulsar")], others, SERIES))
    assert [told[g.uid][0] for g in others] == ["", "", "pulsar"]


@pytest.mark.parametrize("flag", ["dm0", "red noise", "mains", "unphysical"])
def test_junk_owns_nothing_that_is_dispersed(flag):
    # Red noise of 5.1 s, far stronger than the pulsar at its 5th harmonic: all its power is predicted.
    junk, pulsar = Source(1 / 5.1, snr=300.0, fwhm=0.1), Source(5 / 5.1, snr=15.0)
    assert junk.power(pulsar.freq, 4, 60) > pulsar.power(pulsar.freq, 4, 60)
    head = junk.candidate(flag, uid="junk")
    for folded, rest in (
        ([head, pulsar.candidate(uid="pulsar", nharm=4)], []),
        ([head], [pulsar.group(nharm=4, uid="pulsar")]),
    ):
        told = parents(explain(folded, rest, SKY))
        assert told["pulsar"] == ("", "")
        assert told["junk"] == ("", "")
    # What is undispersed itself, or junk of its own, is owned; so is all in a series, where nothing tells DMs.
    rest = [pulsar.group(nharm=4, uid="at zero", undispersed=True)]
    assert parents(explain([head], rest, SKY))["at zero"][0] == "junk"
    folded = [head, pulsar.candidate("comb", uid="comb", nharm=4)]
    assert parents(explain(folded, [], SKY))["comb"][0] == "junk"
    assert parents(explain([head], [pulsar.group(nharm=4, uid="pulsar")], SERIES))["pulsar"][0] == "junk"


def test_a_fold_that_tells_the_dm_goes_before_the_search():
    # A slow one: as strong at DM 0 in the search, its fold is surely dispersed, so that it has no flag.
    junk, pulsar = Source(1 / 5.1, snr=300.0, fwhm=0.1), Source(5 / 5.1, snr=15.0)
    folded = [junk.candidate("dm0", uid="junk"), pulsar.candidate(uid="slow", nharm=4, undispersed=True)]
    assert parents(explain(folded, [], SKY))["slow"] == ("", "")


def test_a_harmonic_of_interference_that_noise_has_moved_off_dm_0_belongs_to_it():
    square = Source(1.9, index=0, snr=120.0, fwhm=0.02)
    head = square.candidate("dm0", uid="square")

    def told(multiple, dm, err, more=1.0, head=head):
        """The parent of a harmonic with this DM, and so many times the power that is left there."""
        one = Source(multiple * 1.9, index=0, snr=12.0, fwhm=0.5)
        group = make_group(one.freq, nharm=1, excess=more * square.power(25 * 1.9, 1, 0), index=0, uid="harmonic")
        fold = one.fold()
        fold = dataclasses.replace(fold, after=FoldParams(fold.after.freq, 0.0, dm), dm_err=err)
        return parents(explain([head, Candidate(group, fold)], [], SKY))["harmonic"][0]

    assert told(25, 2.0, 0.6) == "square"
    assert told(25, 6.0, 0.6) == ""
    assert told(25, 2.0, 0.6, more=4.0) == ""
    assert told(25.02, 2.0, 0.6) == ""
    # A pulsar under interference that was hardly detected is no harmonic of it.
    weak = make_group(1.9, nharm=1, excess=9.0, index=0, uid="square")
    assert told(25, 2.0, 0.6, head=dataclasses.replace(head, group=weak)) == ""


def test_a_flag_that_only_tells_is_no_junk():
    pulsar = Source(7.3)
    head = pulsar.candidate("near sweeps", uid="pulsar")
    assert parents(explain([head], [pulsar.group(2.0, 8, uid="two")], SKY))["two"][0] == "pulsar"


@given(
    freq=st.floats(0.5, 60.0),
    multiple=st.integers(2, 12),
    bins=st.floats(0.4, 3.0),
    side=st.sampled_from([-1, 1]),
    snrs=st.tuples(st.floats(15.0, 60.0), st.floats(15.0, 60.0)),
)
def test_two_pulsars_of_almost_a_simple_ratio_stay_two(freq, multiple, bins, side, snrs):
    first = Source(freq, snr=snrs[0])
    second = Source(multiple * freq + side * bins / TOBS, snr=snrs[1])
    # Each must have clearly more power than the lines of the other beside it can leave.
    assume(6.0 * first.power(second.freq, 16, 60, most=True) < second.group().excess)
    assume(6.0 * second.power(first.freq, 16, 60, most=True) < first.group().excess)
    told = parents(explain([first.candidate(uid="1"), second.candidate(uid="2")], [], SKY))
    assert told == {"1": ("", ""), "2": ("", "")}


def test_two_pulsars_half_a_bin_from_four_times():
    first, second = Source(3.7, snr=40.0), Source(4 * 3.7 + 0.5 / TOBS, snr=25.0)
    for folded in ([first, second], [second, first]):
        told = parents(explain([one.candidate() for one in folded], [], SKY))
        assert [parent for parent, _ in told.values()] == ["", ""]


def test_a_refinement_that_has_walked_onto_another_is_that():
    strong = Source(3.7, snr=40.0)
    # Found where the other one leaves nothing, with power of its own; its fold has ended on a harmonic of it.
    for multiple, off, attached in ((2, 0.01, True), (2, 0.2, False), (1, 0.2, True), (1, 0.5, False)):
        weak = Source(multiple * 3.7 + off / TOBS, snr=12.0)
        lost = dataclasses.replace(weak.candidate(uid="weak"), group=make_group(9.1234, excess=80.0, uid="weak"))
        told = parents(explain([strong.candidate(uid="strong"), lost], [], SKY))
        assert told["weak"][0] == ("strong" if attached else "")
        # At another DM it is another one, however near.
        other = dataclasses.replace(lost, fold=dataclasses.replace(lost.fold, after=FoldParams(weak.freq, 0.0, 90.0)))
        assert parents(explain([strong.candidate(), other], [], SKY))["weak"][0] == ""


@pytest.mark.parametrize(("snr", "head"), [(19.8, "found"), (20.3, "found"), (26.0, "chance")])
@pytest.mark.parametrize("order", [1, -1])
def test_the_surer_of_two_detections_whose_folds_are_one_stands_for_the_source(snr, head, order):
    # Noise and a part of the pulses make a weak detection at 36 periods; its fold has found the period.
    pulsar = Source(7.2, snr=20.0)
    chance = make_group(7.2 / 36, nharm=32, excess=70.0, uid="chance", kind="ffa")
    found = pulsar.candidate(uid="found")
    assert found.group.sigma > chance.sigma + 3.0
    again = Candidate(chance, dataclasses.replace(pulsar.fold(), snr=snr))
    told = parents(explain([found, again][::order], [], SKY))
    assert [uid for uid, (parent, _) in told.items() if not parent] == [head]
    assert {parent for parent, _ in told.values()} == {"", head}


def test_a_pulsar_that_happens_to_turn_at_a_multiple_of_another_stays():
    # 24 times the frequency within the errors, at one DM; its fold shows far more than a pulse that comes once in 24.
    slow, fast = Source(0.48, snr=18.0, fwhm=0.1), Source(24 * 0.48 + 0.02 / TOBS, snr=18.0)
    told = parents(explain([slow.candidate(uid="slow"), fast.candidate(uid="fast")], [], SKY))
    assert [parent for parent, _ in told.values()] == ["", ""]
    weak = dataclasses.replace(fast, snr=6.0)
    lost = dataclasses.replace(weak.candidate(uid="weak"), group=make_group(9.1234, excess=80.0, uid="weak"))
    assert parents(explain([slow.candidate(uid="slow"), lost], [], SKY))["weak"][0] == "slow"


@pytest.mark.parametrize(
    ("turns", "off", "snr", "attached"),
    [
        (5, 0.03, 20.0, True),
        (5, 0.2, 20.0, False),
        (5, 0.03, 60.0, True),
        (17, 0.03, 12.0, True),
        (17, 0.2, 12.0, False),
    ],
)
def test_a_fold_at_several_turns_of_another_shows_one_of_its_pulses(turns, off, snr, attached):
    strong = Source(5.3, snr=50.0, fwhm=0.1)
    at = 5.3 / turns + off / TOBS
    # A pulse of the strong one in a turn of its own: harmonics at the multiples of `turns` alone.
    profile, _ = lines_of(1.0, 0.1)
    spectrum = np.fft.rfft(profile, NBINS)
    several = np.zeros(NBINS // 2 + 1, complex)
    several[::turns] = spectrum[: several[::turns].size]
    comb = np.fft.irfft(several, NBINS)
    comb *= snr / np.sqrt(np.sum(comb**2))
    fold = dataclasses.replace(Source(at, snr=snr).fold(profile=comb), width=0.1 / turns)
    walked = Candidate(make_group(9.1234, excess=80.0, uid="walked"), fold)
    told = parents(explain([strong.candidate(uid="strong"), walked], [], SKY))
    assert told["walked"][0] == ("strong" if attached else "")
    # With harmonics of its own, or at another DM, it is another source.
    own = dataclasses.replace(walked, fold=Source(at, snr=snr).fold())
    other = dataclasses.replace(walked, fold=dataclasses.replace(fold, after=FoldParams(at, 0.0, 90.0)))
    for one in (own, other):
        assert parents(explain([strong.candidate(), one], [], SKY))["walked"][0] == ""


def test_a_longer_period_holds_the_harmonics_of_the_shorter_one():
    # What was found at 13 times the period of a pulsar is its; refined a fifth of a bin away it shows a harmonic of
    # another one, which needs all of its own harmonics, but has none of the pulsar's.
    fast = Source(11.06, snr=25.0)
    slow = Source(fast.freq / 13 + 0.2 / TOBS, snr=31.0 / np.sqrt(3.0), fwhm=0.12)
    third = Source(slow.freq / 3, snr=31.0, fwhm=0.04)
    lost = dataclasses.replace(slow.candidate(uid="long"), group=fast.group(1 / 13, 32, uid="long"))
    told = parents(explain([third.candidate(uid="third"), fast.candidate(uid="pulsar"), lost], [], SKY))
    assert {uid: parent for uid, (parent, _) in told.items()} == {"third": "", "pulsar": "", "long": "pulsar"}


def comb_profile(lines, every=1):
    """A profile with power in every so-many-th harmonic: 0, ..., lines[0], 0, ..., lines[1] ..."""
    spectrum = np.zeros(NBINS // 2 + 1, dtype=complex)
    places = np.arange(every, NBINS // 2, every)
    spectrum[places[: lines.size]] = np.sqrt(lines[: places.size] * NBINS)
    return np.fft.irfft(spectrum, NBINS)


@pytest.mark.parametrize("snr", [20.0, 60.0, 300.0])
def test_the_fundamental_takes_over(snr):
    # A narrow pulsar, of which few harmonics were summed at f (red noise) and many at 2 f: that is more significant.
    low = Source(7.3, snr=snr, fwhm=0.015)
    _, lines = lines_of(snr, low.fwhm)
    at_two = make_group(14.6, nharm=32, excess=float(lines[1:64:2].sum()), uid="2f")
    at_one = low.group(nharm=8, uid="f")
    assert at_two.sigma > at_one.sigma
    # Folded twice as fast, every second harmonic is there: half of the power that was found at f.
    folded = [Candidate(at_two, low.fold(2.0, comb_profile(lines[1::2]))), Candidate(at_one, low.fold())]
    for order in (folded, folded[::-1]):
        assert parents(explain(order, [], SKY)) == {"2f": ("f", "harmonic 2"), "f": ("", "")}


@pytest.mark.parametrize(("found", "part", "owner"), [(1.0, 0.87, "f"), (0.2, 0.87, "2f"), (1.0, 0.75, "2f")])
def test_a_spectrum_with_odd_harmonics_tells_the_period_where_lines_are_left_out_of_its_fold(found, part, owner):
    # Odd harmonics beside lines of the mains: a fifth of their power is left in the folds, and the S/N at the period
    # (`part` of that at half of it) is nearer to that of one of two equal pulses. Of the spectrum they are `found`.
    pulsar = Source(7.3, snr=14.0, fwhm=0.06)
    _, lines = lines_of(14.0, 0.06)
    odd = np.arange(lines.size) % 2 == 0
    left = np.where(odd, 0.2, 1.0) * lines
    at_two = make_group(14.6, nharm=4, excess=float(lines[1:8:2].sum()), uid="2f")
    at_one = make_group(7.3, nharm=8, excess=float((np.where(odd, found, 1.0) * lines)[:8].sum()), uid="f")
    weak = Source(7.3, snr=14.0 * part, fwhm=0.06).fold(1.0, comb_profile(left))
    folded = [Candidate(at_two, pulsar.fold(2.0, comb_profile(left[1::2]))), Candidate(at_one, weak)]
    told = parents(explain(folded, [], SKY))
    assert [uid for uid, (parent, _) in told.items() if not parent] == [owner]


@pytest.mark.parametrize(("pulses", "sigma", "made"), [(1, 7.0, False), (2, 7.0, True), (1, 4.0, True)])
def test_a_single_pulse_is_not_made_by_a_line_of_another(monkeypatch, pulses, sigma, made):
    # Weak in drifts: without the fifth harmonic, where another has power, the odd ones are not sure by themselves.
    monkeypatch.setattr("pulsar.rank.explain.coherent_sigma", lambda _, numbers: 3.7 if 5 in numbers else -0.2)
    slow, other = Source(0.3344, snr=10.0, fwhm=0.02), Source(5 * 0.3344 + 0.1 / TOBS, snr=6.0, fwhm=0.3)
    at = np.arange(NBINS)
    shape = slow.fold().profile
    shape = shape if pulses == 1 else (shape + np.roll(shape, NBINS // 2)) / 2
    fold = slow.fold(profile=shape + 0.5 * other.fold().profile[5 * at % NBINS])

    def found(group, sigma, fold, snr):
        best = at_sigma(group.best, sigma)
        phase = (np.argmax(slow.fold().profile) + 0.5) / NBINS
        return Candidate(dataclasses.replace(group, best=best), dataclasses.replace(fold, snr=snr, phase=phase))

    long = found(slow.group(nharm=8), sigma, fold, 10.5 / pulses**0.5)
    half = found(slow.group(2, 8), 4.3, slow.fold(2), 8.9)
    assert _by_others(long, half, [comb_of(other.fold(), FREQS, 1e-4)]) is made
    assert not _by_others(long, half, [])


def test_the_head_of_a_family_is_no_multiple_of_its_period_that_others_make():
    # The sum at twice the period holds three lines of another pulsar, too: it is the surer, and needs its harmonics.
    half, at = 0.445, np.arange(NBINS)
    pulsar = Source(2.0 * half, snr=11.4, fwhm=0.15)
    other = Source(5.0 * half / 3.0 + 0.02 / TOBS, snr=24.0, fwhm=0.1)
    spectrum = np.fft.rfft(pulsar.fold().profile[2 * at % NBINS])
    theirs = np.fft.rfft(other.fold().profile)
    spectrum[5 : NBINS // 2 : 5] += theirs[3 : 3 * ((NBINS // 2 - 1) // 5) + 1 : 3]
    power = pulsar.power(half, 16, 60) + other.power(half, 16, 60)
    long = Candidate(
        make_group(half, nharm=16, excess=power, uid="long"),
        dataclasses.replace(pulsar.fold(0.5, np.fft.irfft(spectrum, NBINS)), snr=10.5, width=0.08),
    )
    short = pulsar.candidate(uid="short", nharm=4)
    assert long.group.sigma > short.group.sigma
    told = _Verdict([0, 2], np.array([-1, 0, -1]))
    _own_periods(told, evidence_of([long, short, other.candidate(uid="other")]), set())
    assert told.accepted == [1, 2]
    assert told.parent.tolist() == [1, -1, -1]


@pytest.mark.parametrize(("others", "owner"), [(0.0, "slow"), (0.9, "fast")])
def test_a_single_pulse_in_more_noise_than_its_sixth_part_has_is_no_sixth(others, owner):
    # Pulsars that vary are noise at the long period: its fold has a lower S/N. It has a single pulse for all that, or
    # six equal ones.
    pulsar = Source(0.978, snr=60.0, fwhm=0.03)
    single = pulsar.fold().profile
    profile = single + others * np.sum([np.roll(single, round(k * NBINS / 6)) for k in range(1, 6)], axis=0)
    profile -= profile.mean()
    slow = Candidate(
        pulsar.group(uid="slow"),
        dataclasses.replace(pulsar.fold(1.0, profile), width=0.03, phase=(np.argmax(profile) + 0.5) / NBINS, snr=60.0),
    )
    fast = Candidate(
        pulsar.group(6.0, uid="fast"), dataclasses.replace(pulsar.fold(6.0), snr=75.0, width=0.18, phase=0.5)
    )
    family = [slow, fast]
    assert family[_period(family)[0]].group.uid == owner
    assert may_be_period(slow, fast, SKY, 0.3) == (owner == "slow")


@pytest.mark.parametrize(("snr", "owner"), [(17.3, "fast"), (21.0, "slow")])
def test_a_wave_at_three_times_the_period_of_a_pulsar_is_not_its_period(snr, owner):
    # Its fold is drawn onto three pulses of the pulsar, and needs its first harmonics for the wave; of a single pulse
    # the S/N is the higher one.
    pulsar = Source(0.978, snr=20.0, fwhm=0.05)
    at = np.arange(NBINS)
    wave = 1.2 * np.sin(2.0 * np.pi * at / NBINS) + 0.8 * np.cos(4.0 * np.pi * at / NBINS)
    fold = pulsar.fold(1.0 / 3.0, pulsar.fold().profile[3 * at % NBINS] / np.sqrt(3.0) + wave)
    slow = Candidate(pulsar.group(1.0 / 3.0, uid="slow"), dataclasses.replace(fold, snr=snr, width=0.36))
    family = [slow, pulsar.candidate(uid="fast")]
    assert family[_period(family)[0]].group.uid == owner
    assert family[::-1][_period(family[::-1])[0]].group.uid == owner
    assert may_be_period(slow, family[1], SKY, 0.3) == (owner == "slow")
    assert may_be_period(family[1], slow, SKY, 0.3)


@pytest.mark.parametrize("snr", [20.0, 60.0, 300.0])
@pytest.mark.parametrize("divisor", [2, 3, 4])
@pytest.mark.parametrize("sigma", [-1.0, 3.0])
def test_a_part_of_the_frequency_does_not_take_over(snr, divisor, sigma):
    # What a sum finds at a part of the frequency is what the pulsar leaves, and noise, by which it may be the more
    # significant. Folded there, all of the power is in every second, third ... harmonic.
    pulsar = Source(7.3, snr=snr)
    _, lines = lines_of(snr, pulsar.fwhm)
    excess = pulsar.power(7.3 / divisor, 16, 60)
    group = make_group(7.3 / divisor, nharm=16, excess=excess + sigma * np.sqrt(16 + 2.0 * excess), uid="low")
    folded = [pulsar.candidate(uid="f"), Candidate(group, pulsar.fold(1 / divisor, comb_profile(lines, divisor)))]
    for order in (folded, folded[::-1]):
        assert parents(explain(order, [], SKY)) == {"f": ("", ""), "low": ("f", f"harmonic 1/{divisor}")}


def test_a_fold_with_harmonics_of_its_own_is_not_handed_to_what_explains_its_sum():
    # The 32nd harmonic of the slow one's sum is the third of a fast one, which the detection is made of.
    fast = Source(40.0, snr=26.0, fwhm=0.1)
    slow = Source(3.75 + 0.3 / TOBS, snr=17.0, fwhm=0.25)
    found = make_group(3.75, nharm=32, excess=fast.power(3.75, 32, 60), index=60, uid="slow")
    told = parents(explain([fast.candidate(uid="fast"), Candidate(found, slow.fold())], [], SKY))
    assert told == {"fast": ("", ""), "slow": ("", "")}
    # Refined onto no pulse, it is what explains it.
    nothing = slow.fold(profile=np.zeros(NBINS))
    told = parents(explain([fast.candidate(uid="fast"), Candidate(found, nothing)], [], SKY))
    assert told["slow"][0] == "fast"


def blended(common: float, one: Source, two: Source, *, nharm: int, snr: float, width: float) -> Candidate:
    """What two pulsars leave at a common part of their frequencies: a sum of `nharm` powers, and a fold."""
    excess = one.power(common, nharm, 60) + two.power(common, nharm, 60)
    at = np.arange(NBINS)
    profile = sum(source.fold().profile[round(source.freq / common) * at % NBINS] for source in (one, two))
    fold = dataclasses.replace(Source(common).fold(profile=profile), snr=snr, width=width)
    return Candidate(make_group(common, nharm=nharm, excess=excess, uid="both"), fold)


def is_of_one_or_two(folded: list[Candidate]) -> bool:
    """Whether the candidates "one" and "two" stand for themselves, and "both" belongs to one of them."""
    told = parents(explain(folded, [], SKY))
    return told["one"] == told["two"] == ("", "") and told["both"][0] in ("one", "two")


def test_what_two_pulsars_leave_at_a_common_part_of_their_frequencies_is_none():
    common = 0.913
    one, two = Source(3 * common, snr=23.0, fwhm=0.15), Source(10 * common, 61, snr=21.0, fwhm=0.1)
    both = blended(common, one, two, nharm=32, snr=12.0, width=0.04)
    folded = [both, one.candidate(uid="one", nharm=4), two.candidate(uid="two", nharm=4)]
    assert both.group.sigma > max(c.group.sigma for c in folded[1:])
    assert is_of_one_or_two(folded)


def test_two_pulsars_of_which_each_fold_is_too_much_for_their_common_period():
    # 13/4 apart, and the sum at the common period is the more significant; the weaker fold is below that there.
    common = 0.32
    one, two = Source(4 * common, snr=16.0, fwhm=0.08), Source(13 * common, 61, snr=12.0, fwhm=0.16)
    both = blended(common, one, two, nharm=32, snr=13.0, width=0.02)
    folded = [both, one.candidate(uid="one", nharm=6), two.candidate(uid="two", nharm=4)]
    assert is_of_one_or_two(folded)
    assert is_of_one_or_two(folded[::-1])


def test_a_pulsar_of_two_components_is_no_blend_of_its_harmonic_and_another():
    # The pulses half a turn apart leave little in odd harmonics, and another pulsar has what is in every fifth: yet
    # what is left in 1, 3, 7, 9 ... is of neither.
    common, at = 0.925, np.arange(NBINS)
    pulse = lines_of(20.0, 0.05)[0]
    spectrum = np.fft.rfft(1.2 * pulse + 0.5 * pulse[(at + NBINS // 2) % NBINS])
    strong = Source(2.5 * common + 0.05 / TOBS, 61, snr=27.0, fwhm=0.05)
    theirs = np.fft.rfft(strong.fold().profile)
    with_theirs, half = spectrum.copy(), np.zeros_like(spectrum)
    with_theirs[5 : NBINS // 2 : 5] += theirs[2 : 2 * ((NBINS // 2 - 1) // 5) + 1 : 2]
    half[: NBINS // 4] = spectrum[0 : NBINS // 2 : 2]
    source, two = Source(common, snr=20.0, fwhm=0.05), Source(2.0 * common, snr=14.0, fwhm=0.1)
    slow = dataclasses.replace(source.candidate(uid="slow"), fold=source.fold(profile=np.fft.irfft(with_theirs, NBINS)))
    fast = dataclasses.replace(two.candidate(uid="fast", nharm=4), fold=two.fold(profile=np.fft.irfft(half, NBINS)))
    assert blends([0, 1, 2], evidence_of([slow, fast, strong.candidate(uid="strong")])) == set()


def test_a_fold_with_the_harmonics_of_two_others_alone_is_none():
    # A pulse of 0.07 turns in 0.112 Hz has 14 harmonics, not every fourth and fifth; it is the surer of the three.
    common = 0.112
    one, two = Source(4 * common, snr=9.5, fwhm=0.08), Source(5 * common, 61, snr=9.0, fwhm=0.2)
    both = blended(common, one, two, nharm=8, snr=11.0, width=0.07)
    folded = [both, one.candidate(uid="one", nharm=4), two.candidate(uid="two", nharm=2)]
    assert is_of_one_or_two(folded)
    assert is_of_one_or_two(folded[::-1])
    # A pulse there has all of its harmonics: then it is theirs that are explained.
    slow = Source(common, snr=20.0, fwhm=0.07)
    _, lines = lines_of(20.0, 0.07)
    parts = [Candidate(slow.group(k, 3, uid=f"{k}"), slow.fold(k, comb_profile(lines[k - 1 :: k]))) for k in (4, 5)]
    told = parents(explain([slow.candidate(uid="slow", nharm=8), *parts], [], SKY))
    assert told["slow"] == ("", "")


@pytest.mark.parametrize(("dm", "stands"), [(30.0, False), (42.0, True)])
def test_less_evidence_makes_two_sources_where_their_dms_part(dm, stands):
    # The wide one turns 2.5 times as fast, so that the other one leaves its even harmonics: it has hardly more than 1.
    slow = Source(0.4, snr=24.0, fwhm=0.06)
    wide = lines_of(1.6, 0.3)[0] + comb_profile(lines_of(24.0, 0.06)[1][4::5], 2)
    fold = dataclasses.replace(Source(1.0).fold(profile=wide), after=FoldParams(1.0, 0.0, dm), dm_err=2.0)
    # Its bands, which would tell the DM too, show nothing.
    fold = dataclasses.replace(fold, snr=9.0, width=0.2, freq_phase=np.zeros_like(fold.freq_phase))
    found = make_group(1.0, nharm=4, excess=1.1 * slow.power(1.0, 4, 60), uid="fast")
    assert DOUBT_SIGMA < unexplained(Candidate(found, fold), [comb_of(slow.fold(), FREQS, 1e-4)]) < UNEXPLAINED
    told = parents(explain([slow.candidate(uid="slow"), Candidate(found, fold)], [], SKY))
    assert (told["fast"][0] == "") is stands


def test_harmonics_together_do_not_own_their_fundamental():
    # A slow one of small DM: as strong at DM 0, and flagged; its harmonics, taken first, are not.
    low = Source(4.99, index=10, snr=25.0, fwhm=0.1)
    _, lines = lines_of(low.snr, low.fwhm)
    folded = [low.candidate("dm0", uid="f", undispersed=True)]
    for k in (2, 3, 4):
        own = comb_profile(lines[k - 1 :: k])
        folded.append(Candidate(low.group(k, 8, uid=f"{k}f"), low.fold(k, own)))
    assert folded[0].group.sigma > max(one.group.sigma for one in folded[1:])
    for order in (folded, folded[::-1]):
        told = parents(explain(order, [], SKY))
        assert told["f"] == ("", "")


def sky_of(seed):
    """Pulsars with harmonics, junk, and chance groups."""
    rng = np.random.default_rng(seed)
    folded, rest = [], []
    for i in range(6):
        one = Source(float(rng.uniform(0.5, 30)), int(rng.integers(10, 300)), float(rng.uniform(12, 80)))
        folded.append(one.candidate(*(["dm0"] if i == 0 else []), uid=f"p{i}"))
        if i % 2:
            folded.append(dataclasses.replace(one.candidate(), group=one.group(2.0, 8, uid=f"p{i}h2")))
            twice = dataclasses.replace(one, freq=2 * one.freq)
            folded[-1] = dataclasses.replace(folded[-1], fold=twice.fold())
        rest += [one.group(ratio, 8, uid=f"p{i}x{ratio}") for ratio in (3.0, 1.5, 0.5)]
    rest += [make_group(float(f), excess=40.0, uid=f"c{k}") for k, f in enumerate(rng.uniform(1, 60, 10))]
    return folded, rest


@given(seed=st.integers(0, 500), order=st.integers(0, 500))
@settings(max_examples=20)
def test_the_order_changes_nothing(seed, order):
    folded, rest = sky_of(seed)
    rng = np.random.default_rng(order)
    mixed = explain(
        [folded[i] for i in rng.permutation(len(folded))], [rest[i] for i in rng.permutation(len(rest))], SKY
    )
    straight = explain(folded, rest, SKY)
    assert parents(mixed) == parents(straight)
    assert [one.uid for one in straight.folded] == [one.uid for one in folded]
    assert [one.uid for one in straight.rest] == [group.uid for group in rest]


@given(seed=st.integers(0, 500))
@settings(max_examples=20)
def test_a_parent_stands_for_itself_and_has_a_fold(seed):
    verdict = explain(*sky_of(seed), SKY)
    able = {one.uid for one in verdict.folded if not one.parent}
    told = [one for one in (*verdict.folded, *verdict.rest) if one.parent]
    assert told
    for one in told:
        assert one.parent in able
        assert one.relation
        assert one.reasons


@pytest.mark.parametrize(("nharm", "folded"), [(16, ["part"]), (1, [])])
def test_a_part_of_the_period_that_is_as_significant_is_folded(nharm, folded):
    pulsar = Source(2.3, snr=20.0, fwhm=0.02)
    owner = pulsar.candidate(uid="owner", nharm=4)
    part = pulsar.group(3.0, nharm, uid="part")
    verdict = explain([owner], [part], SKY)
    assert parents(verdict)["part"][0] == "owner"
    assert (part.sigma > owner.group.sigma - 1.5) == bool(folded)
    assert [one.uid for one in alternatives(verdict, SKY)] == folded


@pytest.mark.parametrize(("known", "folded"), [(True, ["half"]), (False, [])])
def test_half_of_a_period_is_folded_if_only_others_leave_the_odd_harmonics(known, folded):
    # Twice the period of one: 32 harmonics, and the ninth is a pulsar of its own, where that is known.
    pulsar, ninth = Source(2.06, snr=16.0, fwhm=0.1), Source(9 * 1.03 + 0.2 / TOBS, snr=18.0, fwhm=0.3)
    at = np.arange(NBINS)
    profile = pulsar.fold().profile[2 * at % NBINS] + ninth.fold().profile[9 * at % NBINS]
    power = pulsar.power(1.03, 32, 60) + ninth.power(1.03, 32, 60)
    fold = dataclasses.replace(Source(1.03).fold(profile=profile), snr=13.0, width=0.05)
    double = Candidate(make_group(1.03, nharm=32, excess=power, uid="double"), fold)
    half = pulsar.group(nharm=4, uid="half")
    others = [ninth.candidate(uid="ninth", nharm=2)] if known else []
    verdict = explain([double, *others], [half], SKY)
    assert parents(verdict)["half"][0] == "double"
    assert half.sigma < double.group.sigma - 1.5
    assert [one.uid for one in alternatives(verdict, SKY)] == folded


@pytest.mark.parametrize(("sigma", "folded"), [(2.0, []), (6.0, ["long"])])
def test_a_longer_period_that_is_more_significant_is_folded(sigma, folded):
    # The fold at half the period accounts for all the power of the longer one, and it was found at 4 sigma.
    pulsar = Source(2.3, snr=20.0)
    owner = pulsar.candidate(uid="owner")
    owner = dataclasses.replace(owner, group=dataclasses.replace(owner.group, best=at_sigma(owner.group.best, 4.0)))
    long = pulsar.group(0.5, 8, uid="long")
    verdict = explain([owner], [dataclasses.replace(long, best=at_sigma(long.best, sigma))], SKY)
    assert parents(verdict)["long"][0] == "owner"
    assert [one.uid for one in alternatives(verdict, SKY)] == folded


def test_nothing_and_nonsense():
    assert explain([], [], SKY).folded == []
    group = make_group(3.0)
    (one,) = explain([], [group], SKY).rest
    assert (one.parent, one.fold, one.found_by) == ("", None, ("fft",))
    with pytest.raises(ValueError, match="no fold"):
        explain([Candidate(group)], [], SKY)


def of_kind(kind, excess, nharm):
    """A group as each search would find it."""
    group = make_group(3.0, nharm=nharm, excess=excess, kind=kind)
    if kind in ("ffa", "pulses"):
        best = table([(3.0, nharm, excess, 60)], kind=kind)
        best["snr"] = np.sqrt(2.0 * excess)
        best["logp"] = stats.logp_from_sigma(best["snr"])
        best["sigma"] = stats.trial_sigma(best["logp"], 1e6)
        group = dataclasses.replace(group, best=best[0])
    return group


@given(
    kind=st.sampled_from(KINDS),
    excess=st.floats(30.0, 1e5),
    nharm=st.sampled_from([1, 2, 8, 32]),
    parts=st.lists(st.floats(0.0, 3.0), min_size=2, max_size=8),
)
def test_what_is_left_falls_with_what_is_expected(kind, excess, nharm, parts):
    group = of_kind(kind, excess, nharm)
    left = [left_sigma(group, part * excess) for part in sorted(parts)]
    assert np.isfinite(left).all()
    assert all(after <= before + 1e-3 * abs(before) for before, after in pairwise(left))
    # Nothing expected: all is left; never more.
    assert left_sigma(group, 0.0) == group.sigma
    assert max(left) <= group.sigma + 1e-3 * abs(group.sigma)


@given(kind=st.sampled_from(KINDS), excess=st.floats(60.0, 3000.0), nharm=st.sampled_from([1, 2, 8, 32]))
def test_little_is_subtracted_where_little_is_expected(kind, excess, nharm):
    group = of_kind(kind, excess, nharm)
    assert left_sigma(group, 1e-6) == pytest.approx(group.sigma, rel=0.02, abs=0.05)
    assert left_sigma(group, excess) < 0.5


@pytest.mark.parametrize("nharm", [1, 4, 16])
def test_what_is_left_of_noise_and_a_known_power_is_as_probable_as_it_says(nharm):
    # Single-trial: half of all sums with a known power in them are above their median, 16 % a sigma above.
    rng = np.random.default_rng(nharm)
    known = 40.0
    amplitude = np.sqrt(2.0 * known / (2 * nharm))
    sums = 0.5 * ((rng.standard_normal((40000, 2 * nharm)) + amplitude) ** 2).sum(axis=1)
    for quantile in (0.9, 0.99, 0.999):
        power = float(np.quantile(sums, quantile))
        group = make_group(3.0, nharm=nharm, excess=power - nharm)
        best = np.array([group.best])
        best["sigma"] = stats.trial_sigma(best["logp"], 1.0)
        one = dataclasses.replace(group, best=best[0])
        assert left_sigma(one, known) == pytest.approx(-float(stats.sigma_from_logp(np.log(quantile))), abs=0.2)


@pytest.mark.parametrize(("numbers", "left"), [(np.arange(1, 2 * NBINS), 0.0), (np.array([NBINS, 3 * NBINS]), 1.0)])
def test_harmonics_that_the_bins_do_not_hold_take_nothing_of_a_pulse(numbers, left):
    # A pulse as narrow as a bin is expected to have twice as many harmonics as the bins can hold.
    fold = Source(7.3, snr=14.0, fwhm=1.0 / NBINS).fold()
    fold = dataclasses.replace(fold, phase=(np.argmax(fold.profile) + 0.5) / NBINS)
    assert _part_without(fold, numbers) == pytest.approx(left, abs=0.02)
