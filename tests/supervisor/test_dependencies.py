from graphlib import TopologicalSorter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.dependencies import (
    find_affected,
    find_cycle,
    find_cycles,
    find_dependents,
    find_parts,
)

Graph = dict[str, list[str]]

ACYCLIC: list[Graph] = [
    {},
    {"a": []},
    {"a": ["b"], "b": []},
    {"join": ["left", "right"], "left": ["top"], "right": ["top"], "top": []},
    {"a": ["b", "c"], "b": ["c"], "c": []},  # two ways to c are no cycle
]
names = st.sampled_from("abcdefg")
graphs: st.SearchStrategy[Graph] = st.dictionaries(names, st.lists(names)).map(
    lambda graph: {name: [] for needed in graph.values() for name in needed} | graph
)


@pytest.mark.parametrize("graph", ACYCLIC)
def test_what_is_no_cycle_is_accepted(graph: Graph) -> None:
    assert find_cycle(graph) is None
    assert find_cycles(graph) == []


@pytest.mark.parametrize(
    ("graph", "path"),
    [
        ({"a": ["a"]}, "a a"),
        ({"a": ["b"], "b": ["a"]}, "a b a"),
        ({"b": ["a"], "a": ["b"]}, "b a b"),
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, "a b c a"),
        ({"c": ["a"], "a": ["b"], "b": ["c"]}, "c a b c"),
        ({"x": ["a"], "y": [], "a": ["y", "b"], "b": ["a"]}, "a b a"),
    ],
)
def test_cycle_is_a_path_from_the_first_name_to_itself(graph: Graph, path: str) -> None:
    assert find_cycle(graph) == path.split()


def test_every_cycle_is_found() -> None:
    graph = {"a": ["b"], "b": ["a"], "c": ["c", "a"], "d": ["e"], "e": ["f"], "f": ["d"]}

    assert find_cycles(graph) == [["a", "b", "a"], ["c", "c"], ["d", "e", "f", "d"]]


def test_long_chain_is_no_trouble() -> None:
    graph = {str(n): [str(n + 1)] for n in range(20_000)} | {"20000": []}
    assert find_cycle(graph) is None

    cycle = find_cycle(graph | {"20000": ["0"]})

    assert cycle is not None
    assert len(cycle) == 20_002


def test_dependents_are_those_that_depend() -> None:
    graph = {"a": ["c"], "b": ["a", "c"], "c": []}

    assert find_dependents(graph) == {"a": ["b"], "b": [], "c": ["a", "b"]}


def test_those_who_depend_through_others_are_affected() -> None:
    graph = {"a": ["b"], "b": ["c"], "c": [], "d": ["a", "e"], "e": []}

    assert find_affected(graph, ["c"]) == {"a", "b", "d"}


def test_nobody_is_affected_by_what_nobody_depends_on() -> None:
    assert find_affected({"a": ["b"], "b": []}, ["a"]) == set()


@pytest.mark.parametrize(
    ("graph", "parts"),
    [
        ({}, []),
        ({"a": [], "b": []}, [["a"], ["b"]]),
        ({"a": ["b"], "b": []}, [["a", "b"]]),
        ({"a": [], "b": ["a"]}, [["a", "b"]]),
        ({"a": [], "b": [], "c": [], "d": ["a", "c"]}, [["a", "c", "d"], ["b"]]),
        ({"a": ["z"], "b": ["z"]}, [["a"], ["b"]]),  # z is none of them
    ],
)
def test_parts_have_no_ties(graph: Graph, parts: list[list[str]]) -> None:
    assert find_parts(graph) == parts


@given(graph=graphs)
def test_graph_has_a_cycle_or_an_order(graph: Graph) -> None:
    cycle = find_cycle(graph)

    if cycle is None:
        assert sorted(TopologicalSorter(graph).static_order()) == sorted(graph)
    else:
        assert cycle[0] == cycle[-1]
        assert all(after in graph[name] for name, after in pairwise(cycle))
