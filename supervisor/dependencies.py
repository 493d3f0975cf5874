"""What depends on what: cycles, orders, dependents. Plain names, nothing of jobs.

A graph maps each name to those that it depends on; all of these are names of the graph.
"""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

Graph = Mapping[str, Iterable[str]]


def find_cycle(graph: Graph) -> list[str] | None:
    """Return a cycle as a path from a name to itself, or None.

    In ["a", "b", "c", "a"] each name depends on the next; it begins with the name that comes first
    in the graph.
    """
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        ring: list[str] = error.args[1][:0:-1]  # each after its dependents, the first one twice
        members = set(ring)
        start = ring.index(next(name for name in graph if name in members))
        return [*ring[start:], *ring[:start], ring[start]]
    return None


def find_cycles(graph: Graph) -> list[list[str]]:
    """Return cycles that have no name in common, until none is left."""
    rest = {name: list(needed) for name, needed in graph.items()}
    cycles = []
    while cycle := find_cycle(rest):
        cycles.append(cycle)
        gone = set(cycle)
        rest = {
            name: [other for other in needed if other not in gone]
            for name, needed in rest.items()
            if name not in gone
        }
    return cycles


def find_dependents(graph: Graph) -> dict[str, list[str]]:
    """Return for each name those that depend on it, in the order of the graph."""
    dependents: dict[str, list[str]] = {name: [] for name in graph}
    for name, needed in graph.items():
        for other in needed:
            dependents[other].append(name)
    return dependents


def find_affected(graph: Graph, names: Iterable[str]) -> set[str]:
    """Return those that depend on any of these names, by themselves or through others."""
    dependents = find_dependents(graph)
    affected: set[str] = set()
    pending = list(names)
    while pending:
        new = set(dependents[pending.pop()]) - affected
        affected |= new
        pending += new
    return affected


def find_parts(graph: Graph) -> list[list[str]]:
    """Return the names in groups without ties to one another, all in the order of the graph.

    What a name depends on may be missing from the graph here.
    """
    part_of = {name: [name] for name in graph}
    for name, needed in graph.items():
        for other in needed:
            small, big = sorted((part_of[name], part_of.get(other, part_of[name])), key=len)
            if small is not big:
                big += small
                part_of |= dict.fromkeys(small, big)
    parts: dict[int, list[str]] = {}
    for name in graph:
        parts.setdefault(id(part_of[name]), []).append(name)
    return list(parts.values())
