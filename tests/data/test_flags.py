"""THE table of flags against the code that gives them, the documentation and the factors in use."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pulsar
from pulsar.data.flags import BY_NAME, FLAGS, docs_table, split, weight

SOURCES = Path(pulsar.__file__).parent
DOCS = Path(__file__).resolve().parents[2] / "docs" / "cleaning.md"


def texts(node: ast.AST) -> Iterator[str]:
    """Texts in an expression, other than names of fields, separators, and what is only compared with."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str) and node.value.strip(", "):
            yield node.value
    elif isinstance(node, ast.Subscript):
        yield from texts(node.value)
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from texts(value)
    elif not isinstance(node, ast.Compare):
        for child in ast.iter_child_nodes(node):
            yield from texts(child)


def is_flags(node: ast.AST) -> bool:
    """Whether flags are kept in what is assigned to."""
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and node.slice.value == "rfi_flags"
    return isinstance(node, ast.Name) and node.id in ("flags", "FLAGS")


def put_into_flags(node: ast.AST) -> list[ast.expr]:
    """Expressions that this node puts into flags."""
    if isinstance(node, ast.Assign):
        return [node.value] if any(is_flags(target) for target in node.targets) else []
    if isinstance(node, ast.AnnAssign | ast.AugAssign):
        return [node.value] if is_flags(node.target) and node.value is not None else []
    if isinstance(node, ast.keyword):
        return [node.value] if node.arg == "flags" else []
    if isinstance(node, ast.Call):
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        method = isinstance(called, ast.Attribute) and name in ("append", "extend") and is_flags(called.value)
        return node.args if method or name == "add_flag" else []
    return []


def given_in(tree: ast.AST) -> set[str]:
    """Flags that a module gives: everything that it puts into flags."""
    return {text for node in ast.walk(tree) for value in put_into_flags(node) for text in texts(value)}


def given_by_code() -> set[str]:
    """Flags that the modules give."""
    out: set[str] = set()
    for folder in ("nights", "pipeline", "searches", "sources"):
        for path in (SOURCES / folder).glob("*.py"):
            out |= given_in(ast.parse(path.read_text()))
    return out


def test_the_reader_of_code_sees_all_ways_of_giving_a_flag():
    code = """
flags = ["a"]
flags.append("b")
flags += [f for f in reasons({"no": 1}) if f not in flags]
row["rfi_flags"] = ",".join([str(row["rfi_flags"]), "c"])
one = replace(one, flags=(*one.flags, "d"))
pairs = [(zero, "no")]
flags = [(zero, "e"), (x == "no", "f")]
FLAGS: Final = {"no": "g"}
add_flag(table, table["no"] > 1, "h")
"""
    assert given_in(ast.parse(code)) == set("abcdefgh")


def test_every_flag_that_is_given_is_in_the_table_and_the_other_way_round():
    given_flags = given_by_code()
    assert given_flags - set(BY_NAME) == set()
    assert set(BY_NAME) - given_flags == set()


def test_the_table_makes_sense():
    assert len(BY_NAME) == len(FLAGS)
    for flag in FLAGS:
        assert flag.of in ("candidate", "pulse", "both")
        assert 0.0 < flag.weight <= 1.0
        assert flag.text
        assert "," not in flag.name
        assert split(flag.name) == (flag.name,)


names = st.sampled_from(sorted(BY_NAME))


@given(flags=st.lists(names), one=names)
def test_a_score_is_lowered_by_the_worst_flag(flags, one):
    least = weight((*flags, one))
    assert least == min(weight(tuple(flags)), BY_NAME[one].weight)
    assert least == weight((one, *flags, one))
    assert weight(()) == 1.0
    with pytest.raises(KeyError):
        weight((*flags, "a flag that does not exist"))


@given(flags=st.lists(names, unique=True))
def test_flags_go_through_their_column(flags):
    assert split(",".join(flags)) == tuple(flags)


def test_all_flags_of_a_row_fit_into_their_column():
    from pulsar.data.candidate import CANDIDATE_COLUMNS, SINGLE_PULSE_COLUMNS, dtype_of

    for columns, of in ((CANDIDATE_COLUMNS, "candidate"), (SINGLE_PULSE_COLUMNS, "pulse")):
        together = ",".join(flag.name for flag in FLAGS if flag.of in (of, "both"))
        assert dtype_of(columns)["rfi_flags"].itemsize >= 4 * len(together)


def test_the_documentation_has_the_table():
    assert docs_table() in DOCS.read_text(), "docs/cleaning.md: print(pulsar.data.flags.docs_table())"
