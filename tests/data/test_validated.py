"""JSON that is read back: values of the types that are counted on, or an error that names the place."""

import json
from dataclasses import asdict, dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsar.data.text import file_name, is_file_name
from pulsar.data.validated import STRICT, Count, Seconds, strict_json, validated
from pulsar.errors import DataError


@dataclass(frozen=True)
class Kept:
    name: str
    places: tuple[str, ...]
    count: Count = 0
    seconds: Seconds | None = None

    __pydantic_config__ = STRICT


@given(
    st.builds(
        Kept, st.text(), st.lists(st.text()).map(tuple), st.integers(0, (1 << 63) - 1),
        st.none() | st.floats(0.0, 1e12),
    )
)  # fmt: skip
def test_what_is_written_is_read_back(kept: Kept) -> None:
    assert validated(Kept, json.dumps(asdict(kept)), "x.json", "write it again") == kept


def test_a_name_of_a_file_in_an_old_encoding_is_read_back() -> None:
    kept = Kept("a", (b"/data/\xe9.fil".decode(errors="surrogateescape"),))
    assert validated(Kept, json.dumps(asdict(kept)), "x.json", "write it again") == kept


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no JSON"),
        ("[]", "[]: expected an object"),
        ('{"name": "a"}', "places is missing"),
        ('{"name": 1, "places": []}', "name = 1: expected a text"),
        ('{"name": "a", "places": "b"}', 'places = "b": expected a list'),
        ('{"name": "a", "places": [null]}', "places.0 = null: expected a text"),
        ('{"name": "a", "places": [], "count": "1"}', 'count = "1": expected an integer'),
        ('{"name": "a", "places": [], "count": true}', "count = true: expected an integer"),
        ('{"name": "a", "places": [], "count": 1.0}', "count = 1.0: expected an integer"),
        ('{"name": "a", "places": [], "count": -1}', "count = -1: expected >= 0"),
        ('{"name": "a", "places": [], "seconds": "x"}', 'seconds = "x": expected a number'),
        ('{"name": "a", "places": [], "seconds": NaN}', "NaN is no number of JSON"),
        ('{"name": "a", "places": [], "seconds": 1e999}', "1e999 is no number of JSON"),
        ('{"name": "a", "places": [], "\\u001b[2J": 1}', r"\x1b[2J is no key of it"),
        ("[" * 100_000, "lists in lists without an end"),
        ("1" * 5000, "no JSON"),
    ],
)
def test_anything_else_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(DataError) as error:
        validated(Kept, text, "x.json", "write it again")
    assert str(error.value).startswith("x.json: is damaged")
    assert told in str(error.value)
    assert str(error.value).endswith(": write it again")
    assert len(str(error.value)) < 400


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_json_of_finite_numbers_or_none(data: bytes) -> None:
    try:
        value = strict_json(data)
    except ValueError:
        return
    json.dumps(value, allow_nan=False)


@given(st.text(min_size=1))
def test_names_that_are_made_are_plain(text: str) -> None:
    assert is_file_name(file_name(text)) == bool(file_name(text))


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".x", "../x", "/x", "a/b", "a\\b", "a\0", "a\n", "a b", "x" * 201, "\udcff"]
)
def test_names_that_lead_elsewhere_are_none(name: str) -> None:
    assert not is_file_name(name)
