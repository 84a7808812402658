"""Graphs: vertices and edges, paths, components, and their drawing.

A graph is the expression Graph[{vertex, ...}, {edge, ...}, options], with DirectedEdge and UndirectedEdge as edges.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy
from mathics.core.atoms import Integer, MachineReal, Real, String
from mathics.core.definitions import Definitions
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol, SymbolFalse, SymbolTrue

from wstpserver.embedded.arrays import machine_real
from wstpserver.embedded.builtins.library import Library

GRAPHS = Library()

SymbolGraph = Symbol("System`Graph")
SymbolDirected, SymbolUndirected = Symbol("System`DirectedEdge"), Symbol("System`UndirectedEdge")

#: Heads of edges as they are typed, and those they are kept with.
_EDGES: Final = {
    "System`Rule": SymbolDirected, "System`DirectedEdge": SymbolDirected, "System`TwoWayRule": SymbolUndirected,
    "System`UndirectedEdge": SymbolUndirected,
}  # fmt: skip

#: Steps in which the drawing of a graph settles.
_LAYOUT_STEPS: Final = 150


@dataclass
class GraphData:
    """A graph by numbers.

    Attributes:
        vertices: The vertices, in order.
        edges: Head, first and second vertex of each edge, by number.
        options: Rules after the edges.
        weights: A weight for each edge; empty if none are given.
    """

    vertices: list[BaseElement]
    edges: list[tuple[Symbol, int, int]]
    options: list[BaseElement] = field(default_factory=list)
    weights: list[BaseElement] = field(default_factory=list)

    def number(self, vertex: BaseElement) -> int | None:
        """The number of a vertex; None if it is none."""
        try:
            return self.vertices.index(vertex)
        except ValueError:
            return None

    @property
    def directed(self) -> bool:
        """Whether there is a directed edge."""
        return any(head is SymbolDirected for head, _, _ in self.edges)

    def neighbours(self, *, undirected: bool = False, reverse: bool = False) -> list[list[tuple[int, int]]]:
        """For each vertex, the vertices an edge leads to, with the number of the edge."""
        found: list[list[tuple[int, int]]] = [[] for _ in self.vertices]
        for place, (head, start, end) in enumerate(self.edges):
            both = undirected or head is SymbolUndirected
            if both or not reverse:
                found[start].append((end, place))
            if (both or reverse) and (start != end or (reverse and not both)):
                found[end].append((start, place))
        return found

    def edge(self, place: int) -> Expression:
        """An edge as an expression."""
        head, start, end = self.edges[place]
        return Expression(head, self.vertices[start], self.vertices[end])

    def expression(self) -> Expression:
        """Graph[{...}, {...}]"""
        edges = ListExpression(*(self.edge(place) for place in range(len(self.edges))))
        return Expression(SymbolGraph, ListExpression(*self.vertices), edges, *self.options)


def graph_of(element: BaseElement) -> GraphData | None:
    """The graph an expression is: Graph[...], or a list of edges; None for anything else."""
    if isinstance(element, ListExpression):
        return _data(None, element.elements) if element.elements else None
    if not isinstance(element, Expression) or element.head is not SymbolGraph or not element.elements:
        return None
    parts = list(element.elements)
    options: list[BaseElement] = []
    while len(parts) > 1 and parts[-1].has_form(["Rule", "RuleDelayed"], 2):
        options.insert(0, parts.pop())
    if not all(isinstance(part, ListExpression) for part in parts) or len(parts) > 2:
        return None
    vertices = list(parts[0].elements) if len(parts) == 2 else None
    return _data(vertices, parts[-1].elements, options)


def _data(
    vertices: Iterable[BaseElement] | None, edges: Iterable[BaseElement], options: Sequence[BaseElement] = ()
) -> GraphData | None:
    numbers: dict[BaseElement, int] = {}
    for vertex in vertices or ():
        numbers.setdefault(vertex, len(numbers))
    found = []
    for edge in edges:
        head = _EDGES.get(edge.get_head_name())
        if head is None or len(edge.elements) != 2:
            return None
        ends = [numbers.setdefault(vertex, len(numbers)) for vertex in edge.elements]
        found.append((head, ends[0], ends[1]))
    data = GraphData(list(numbers), found, list(options))
    for option in options:
        values = option.elements[1]
        given = isinstance(values, ListExpression) and len(values.elements) == len(found)
        if given and option.elements[0].get_name() == "System`EdgeWeight":
            data.weights = [w.elements[1] if w.has_form("Rule", 2) else w for w in values.elements]
    return data


def _truth(value: object) -> Symbol:
    return SymbolTrue if value else SymbolFalse


def _of_graph(name: str, usage: str, function: Callable[..., Any], least: int = 1, most: int | None = None) -> None:
    """Define a function of a graph and other arguments; `function` gets GraphData and those, None is no value."""

    @GRAPHS.define(name, least, most or least, usage=usage)
    def of_graph(evaluation: Any, graph: BaseElement, *arguments: BaseElement) -> BaseElement | None:
        data = graph_of(graph)
        value: BaseElement | None = None if data is None else function(data, *arguments)
        return value


# Construction.


@GRAPHS.define("Graph", 1, None, usage="Graph[{e1, e2, ...}] is a graph with edges v -> w or v <-> w.")
def graph(evaluation: Any, *parts: BaseElement) -> BaseElement | None:
    """Brought into the form with vertices and edges."""
    given = Expression(SymbolGraph, *parts)
    data = graph_of(given)
    if data is None:
        return None
    wanted = data.expression()
    return None if wanted.sameQ(given) else wanted


def _made(vertices: int, edges: Iterable[tuple[int, int]], head: Symbol = SymbolUndirected) -> Expression:
    numbers: list[BaseElement] = [Integer(n + 1) for n in range(vertices)]
    return GraphData(numbers, [(head, start, end) for start, end in edges]).expression()


def _family(name: str, usage: str, edges: Callable[[int], Iterable[tuple[int, int]]]) -> None:
    @GRAPHS.define(name, 1, usage=usage)
    def family(evaluation: Any, size: BaseElement) -> BaseElement | None:
        if not isinstance(size, Integer) or size.value < 1:
            return None
        return _made(size.value, edges(size.value))


_family("CompleteGraph", "CompleteGraph[n] is the graph of n vertices with all edges.",
        lambda n: [(i, j) for i in range(n) for j in range(i + 1, n)])  # fmt: skip
_family("CycleGraph", "CycleGraph[n] is a ring of n vertices.",
        lambda n: [(i, i + 1) for i in range(n - 1)] + ([(0, n - 1)] if n > 2 else []))  # fmt: skip
_family("StarGraph", "StarGraph[n] is a vertex with n - 1 others around it.", lambda n: [(0, i) for i in range(1, n)])


@GRAPHS.define("PathGraph", 1, usage="PathGraph[{v1, v2, ...}] is the path through vertices.")
def path_graph(evaluation: Any, vertices: BaseElement) -> BaseElement | None:
    """Vertices in a row."""
    if not isinstance(vertices, ListExpression):
        return None
    names = list(dict.fromkeys(vertices.elements))
    places = [names.index(vertex) for vertex in vertices.elements]
    edges = [(SymbolUndirected, *pair) for pair in zip(places, places[1:], strict=False)]
    return GraphData(names, edges).expression()


@GRAPHS.define("GridGraph", 1, usage="GridGraph[{m, n}] is a grid of m by n vertices.")
def grid_graph(evaluation: Any, sizes: BaseElement) -> BaseElement | None:
    """A grid of one or two dimensions; neighbours in the first dimension have consecutive numbers."""
    if not isinstance(sizes, ListExpression) or not 1 <= len(sizes.elements) <= 2:
        return None
    if not all(isinstance(size, Integer) and size.value > 0 for size in sizes.elements):
        return None
    rows, columns = [*(size.value for size in sizes.elements), 1][:2]
    edges = []
    for number in range(rows * columns):
        if (number + 1) % rows:
            edges.append((number, number + 1))
        if number + rows < rows * columns:
            edges.append((number, number + rows))
    return _made(rows * columns, edges)


@GRAPHS.define("RandomGraph", 1, usage="RandomGraph[{n, m}] is a random graph of n vertices and m edges.")
def random_graph(evaluation: Any, sizes: BaseElement) -> BaseElement | None:
    """Edges drawn without replacement, by the generator that SeedRandom sets."""
    if not sizes.has_form("List", 2) or not all(isinstance(size, Integer) for size in sizes.elements):
        return None
    vertices, count = (size.value for size in sizes.elements)
    pairs = [(i, j) for i in range(vertices) for j in range(i + 1, vertices)]
    if vertices < 1 or not 0 <= count <= len(pairs):
        return None
    chosen = numpy.random.permutation(len(pairs))[:count]
    return _made(vertices, sorted(pairs[place] for place in chosen))


@GRAPHS.define("AdjacencyGraph", 1, 2, usage="AdjacencyGraph[m] is the graph with an adjacency matrix.")
def adjacency_graph(evaluation: Any, first: BaseElement, second: BaseElement | None = None) -> BaseElement | None:
    """Undirected if the matrix is symmetric."""
    matrix = first if second is None else second
    if not isinstance(matrix, ListExpression):
        return None
    rows = [row.elements for row in matrix.elements if isinstance(row, ListExpression)]
    size = len(matrix.elements)
    if len(rows) != size or any(len(row) != size for row in rows):
        return None
    symmetric = all(rows[i][j] == rows[j][i] for i in range(size) for j in range(i))
    names = list(first.elements) if second is not None and isinstance(first, ListExpression) else []
    names = names or [Integer(n + 1) for n in range(size)]
    head = SymbolUndirected if symmetric else SymbolDirected
    edges = [
        (head, i, j)
        for i in range(size)
        for j in range(i if symmetric else 0, size)
        if isinstance(rows[i][j], Integer) and rows[i][j].value
    ]
    return GraphData(names, edges).expression()


# Parts and properties.

_of_graph("VertexList", "VertexList[g] gives the vertices of a graph.", lambda g: ListExpression(*g.vertices))
_of_graph("EdgeList", "EdgeList[g] gives the edges of a graph.",
          lambda g: ListExpression(*(g.edge(place) for place in range(len(g.edges)))))  # fmt: skip
_of_graph("VertexCount", "VertexCount[g] gives the number of vertices.", lambda g: Integer(len(g.vertices)))
_of_graph("EdgeCount", "EdgeCount[g] gives the number of edges.", lambda g: Integer(len(g.edges)))
_of_graph("EdgeRules", "EdgeRules[g] gives the edges as rules.", lambda g: ListExpression(
    *(Expression(Symbol("System`Rule"), g.vertices[a], g.vertices[b]) for _, a, b in g.edges)))  # fmt: skip
_of_graph("VertexIndex", "VertexIndex[g, v] gives the number of a vertex.",
          lambda g, v: None if g.number(v) is None else Integer(g.number(v) + 1), 2)  # fmt: skip
_of_graph("VertexQ", "VertexQ[g, v] tells whether v is a vertex.", lambda g, v: _truth(g.number(v) is not None), 2)


def _edge_number(data: GraphData, edge: BaseElement) -> int | None:
    head = _EDGES.get(edge.get_head_name())
    if head is None or len(edge.elements) != 2:
        return None
    wanted = (head, *(data.number(vertex) for vertex in edge.elements))
    turned = (head, wanted[2], wanted[1])
    for place, found in enumerate(data.edges):
        if found == wanted or (head is SymbolUndirected and found == turned):
            return place
    return None


_of_graph("EdgeQ", "EdgeQ[g, e] tells whether e is an edge.", lambda g, e: _truth(_edge_number(g, e) is not None), 2)


@GRAPHS.define("GraphQ", 1, usage="GraphQ[g] tells whether g is a graph.")
def is_graph(evaluation: Any, element: BaseElement) -> BaseElement:
    """Whether an expression is a graph."""
    return _truth(element.has_form("Graph", None) and graph_of(element) is not None)


def _graph_test(name: str, usage: str, test: Callable[[GraphData], object]) -> None:
    @GRAPHS.define(name, 1, usage=usage)
    def graph_test(evaluation: Any, element: BaseElement) -> BaseElement:
        data = graph_of(element) if element.has_form("Graph", None) else None
        return _truth(data is not None and test(data))


def _degrees(data: GraphData, *, leaving: bool = True, arriving: bool = True) -> list[int]:
    found = [0] * len(data.vertices)
    for head, start, end in data.edges:
        both = head is SymbolUndirected
        found[start] += leaving or both
        found[end] += arriving or both
    return found


def _degree(name: str, usage: str, **which: bool) -> None:
    def degree(data: GraphData, vertex: BaseElement | None = None) -> BaseElement | None:
        found = _degrees(data, **which)
        if vertex is None:
            return ListExpression(*map(Integer, found))
        place = data.number(vertex)
        return None if place is None else Integer(found[place])

    _of_graph(name, usage, degree, 1, 2)


_degree("VertexDegree", "VertexDegree[g] gives the number of edges at each vertex.")
_degree("VertexInDegree", "VertexInDegree[g] gives the number of edges to each vertex.", leaving=False)
_degree("VertexOutDegree", "VertexOutDegree[g] gives the number of edges from each vertex.", arriving=False)


def _matrix(rows: Any) -> ListExpression:
    return ListExpression(*(ListExpression(*(Integer(int(value)) for value in row)) for row in rows))


def _adjacency(data: GraphData) -> Any:
    found = numpy.zeros((len(data.vertices),) * 2, dtype=int)
    for head, start, end in data.edges:
        found[start, end] += 1
        if head is SymbolUndirected and start != end:
            found[end, start] += 1
    return found


def _incidence(data: GraphData) -> Any:
    found = numpy.zeros((len(data.vertices), len(data.edges)), dtype=int)
    for place, (head, start, end) in enumerate(data.edges):
        found[start, place] += -1 if head is SymbolDirected else 1
        found[end, place] += 1
    return found


_of_graph("AdjacencyMatrix", "AdjacencyMatrix[g] gives the adjacency matrix as a list.",
          lambda g: _matrix(_adjacency(g)))  # fmt: skip
_of_graph("IncidenceMatrix", "IncidenceMatrix[g] gives the incidence matrix as a list.",
          lambda g: _matrix(_incidence(g)))  # fmt: skip
_of_graph("KirchhoffMatrix", "KirchhoffMatrix[g] gives the degrees minus the adjacency matrix, as a list.",
          lambda g: _matrix(numpy.diag(_degrees(g, arriving=False)) - _adjacency(g)))  # fmt: skip


def _adjacent(data: GraphData, vertex: BaseElement | None = None) -> BaseElement | None:
    around = [sorted({other for other, _ in row}) for row in data.neighbours(undirected=True)]
    lists = [ListExpression(*(data.vertices[other] for other in row)) for row in around]
    if vertex is None:
        return ListExpression(*lists)
    place = data.number(vertex)
    return None if place is None else lists[place]


_of_graph("AdjacencyList", "AdjacencyList[g, v] gives the vertices that an edge connects with v.", _adjacent, 1, 2)


# Paths.


def _weight(data: GraphData, edge: int) -> float:
    if not data.weights:
        return 1.0
    value = data.weights[edge]
    return float(value.value) if hasattr(value, "value") else 1.0


def _distances(data: GraphData, start: int) -> tuple[list[float], list[int]]:
    """Distances from a vertex, and the vertex before each on the way; Dijkstra's algorithm."""
    around = data.neighbours()
    distance = [math.inf] * len(data.vertices)
    before = [-1] * len(data.vertices)
    distance[start] = 0.0
    waiting = [(0.0, start)]
    while waiting:
        far, vertex = heapq.heappop(waiting)
        if far > distance[vertex]:
            continue
        for other, edge in around[vertex]:
            length = far + _weight(data, edge)
            if length < distance[other]:
                distance[other], before[other] = length, vertex
                heapq.heappush(waiting, (length, other))
    return distance, before


def _length(data: GraphData, value: float) -> BaseElement:
    if value == math.inf:
        return Expression(Symbol("System`DirectedInfinity"), Integer(1))
    exact = not any(isinstance(weight, Real) for weight in data.weights)
    return Integer(int(value)) if exact and value == int(value) else machine_real(value)


def _graph_distance(data: GraphData, start: BaseElement, end: BaseElement | None = None) -> BaseElement | None:
    first = data.number(start)
    if first is None:
        return None
    found, _ = _distances(data, first)
    if end is None:
        return ListExpression(*(_length(data, value) for value in found))
    last = data.number(end)
    return None if last is None else _length(data, found[last])


def _shortest_path(data: GraphData, start: BaseElement, end: BaseElement) -> BaseElement | None:
    first, last = data.number(start), data.number(end)
    if first is None or last is None:
        return None
    distance, before = _distances(data, first)
    if distance[last] == math.inf:
        return ListExpression()
    path = [last]
    while path[-1] != first:
        path.append(before[path[-1]])
    return ListExpression(*(data.vertices[place] for place in reversed(path)))


_of_graph("GraphDistance", "GraphDistance[g, s, t] gives the length of the shortest path.", _graph_distance, 2, 3)
_of_graph("FindShortestPath", "FindShortestPath[g, s, t] gives the vertices of a shortest path.", _shortest_path, 3)
_of_graph("GraphDistanceMatrix", "GraphDistanceMatrix[g] gives the lengths of all shortest paths.",
          lambda g: ListExpression(*(_graph_distance(g, vertex) for vertex in g.vertices)))  # fmt: skip


def _eccentricities(data: GraphData) -> list[float]:
    return [max(_distances(data, place)[0]) for place in range(len(data.vertices))]


_of_graph("GraphDiameter", "GraphDiameter[g] gives the longest of the shortest paths.",
          lambda g: _length(g, max(_eccentricities(g))) if g.vertices else None)  # fmt: skip
_of_graph("GraphRadius", "GraphRadius[g] gives the smallest eccentricity.",
          lambda g: _length(g, min(_eccentricities(g))) if g.vertices else None)  # fmt: skip


# Components and trees.


def _reached(around: list[list[tuple[int, int]]], start: int) -> set[int]:
    seen, waiting = {start}, deque([start])
    while waiting:
        for other, _ in around[waiting.popleft()]:
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


def _components(data: GraphData, *, weakly: bool) -> list[list[int]]:
    """Connected components, the largest first; strongly connected ones unless `weakly`."""
    forth = data.neighbours(undirected=weakly)
    back = data.neighbours(undirected=weakly, reverse=True)
    left, found = set(range(len(data.vertices))), []
    for start in range(len(data.vertices)):
        if start in left:
            part = _reached(forth, start) & _reached(back, start)
            left -= part
            found.append(sorted(part))
    return sorted(found, key=len, reverse=True)


def _vertex_lists(data: GraphData, parts: list[list[int]]) -> ListExpression:
    return ListExpression(*(ListExpression(*(data.vertices[place] for place in part)) for part in parts))


def _spanning_forest(data: GraphData) -> list[int]:
    """Edges of a spanning forest of the smallest weight; Kruskal's algorithm."""
    leader = list(range(len(data.vertices)))

    def find(vertex: int) -> int:
        while leader[vertex] != vertex:
            vertex = leader[vertex]
        return vertex

    kept = []
    for edge in sorted(range(len(data.edges)), key=lambda place: _weight(data, place)):
        first, second = (find(vertex) for vertex in data.edges[edge][1:])
        if first != second:
            leader[first] = second
            kept.append(edge)
    return sorted(kept)


def _topological(data: GraphData) -> list[int] | None:
    """Vertices so that edges lead forward; None with a cycle, or an undirected edge."""
    if any(head is SymbolUndirected for head, _, _ in data.edges):
        return None
    missing = _degrees(data, leaving=False)
    around = data.neighbours()
    ready, order = deque(place for place, count in enumerate(missing) if not count), []
    while ready:
        order.append(ready.popleft())
        for other, _ in around[order[-1]]:
            missing[other] -= 1
            if not missing[other]:
                ready.append(other)
    return order if len(order) == len(data.vertices) else None


def _is_connected(data: GraphData) -> bool:
    return bool(data.vertices) and len(_components(data, weakly=False)) == 1


def _is_acyclic(data: GraphData) -> bool:
    if data.directed:
        return _topological(data) is not None
    return len(_spanning_forest(data)) == len(data.edges)


_of_graph("ConnectedComponents", "ConnectedComponents[g] gives the (strongly) connected components.",
          lambda g: _vertex_lists(g, _components(g, weakly=False)))  # fmt: skip
_of_graph("WeaklyConnectedComponents", "WeaklyConnectedComponents[g] gives components without regard to direction.",
          lambda g: _vertex_lists(g, _components(g, weakly=True)))  # fmt: skip
_graph_test("ConnectedGraphQ", "ConnectedGraphQ[g] tells whether a graph is connected.", _is_connected)
_graph_test("DirectedGraphQ", "DirectedGraphQ[g] tells whether all edges are directed.",
            lambda g: g.edges and all(head is SymbolDirected for head, _, _ in g.edges))  # fmt: skip
_graph_test("UndirectedGraphQ", "UndirectedGraphQ[g] tells whether no edge is directed.", lambda g: not g.directed)
_graph_test("AcyclicGraphQ", "AcyclicGraphQ[g] tells whether a graph has no cycles.", _is_acyclic)
_graph_test("TreeGraphQ", "TreeGraphQ[g] tells whether a graph is a tree.",
            lambda g: g.vertices and len(g.edges) == len(g.vertices) - 1
            and len(_components(g, weakly=True)) == 1)  # fmt: skip
_graph_test("CompleteGraphQ", "CompleteGraphQ[g] tells whether all vertices are connected with each other.",
            lambda g: g.vertices and all(
                value or i == j for i, row in enumerate(_adjacency(g)) for j, value in enumerate(row)))  # fmt: skip
_of_graph("TopologicalSort", "TopologicalSort[g] orders the vertices so that edges lead forward.",
          lambda g: None if (order := _topological(g)) is None else
          ListExpression(*(g.vertices[place] for place in order)))  # fmt: skip
_of_graph("FindSpanningTree", "FindSpanningTree[g] gives a spanning tree of the smallest weight.",
          lambda g: GraphData(g.vertices, [g.edges[place] for place in _spanning_forest(g)]).expression())  # fmt: skip


# Changed graphs.


def _with_edges(data: GraphData, edges: BaseElement, keep: bool) -> BaseElement | None:  # noqa: FBT001
    given = edges.elements if isinstance(edges, ListExpression) else [edges]
    if keep:
        old = [data.edge(place) for place in range(len(data.edges))]
        changed = _data(data.vertices, [*old, *given])
        return None if changed is None else changed.expression()
    numbers = {_edge_number(data, edge) for edge in given}
    if None in numbers:
        return None
    return GraphData(data.vertices, [e for place, e in enumerate(data.edges) if place not in numbers]).expression()


def _restricted(data: GraphData, kept: Iterable[int]) -> Expression:
    places = {old: new for new, old in enumerate(kept)}
    edges = [(head, places[a], places[b]) for head, a, b in data.edges if a in places and b in places]
    return GraphData([data.vertices[old] for old in places], edges).expression()


def _chosen(data: GraphData, vertices: BaseElement) -> list[int]:
    given = vertices.elements if isinstance(vertices, ListExpression) else [vertices]
    return [place for place, vertex in enumerate(data.vertices) if vertex in given]


_of_graph("EdgeAdd", "EdgeAdd[g, e] adds edges.", lambda g, e: _with_edges(g, e, True), 2)
_of_graph("EdgeDelete", "EdgeDelete[g, e] removes edges.", lambda g, e: _with_edges(g, e, False), 2)
_of_graph("VertexAdd", "VertexAdd[g, v] adds vertices.", lambda g, v: GraphData(
    list(dict.fromkeys([*g.vertices, *(v.elements if isinstance(v, ListExpression) else [v])])),
    g.edges).expression(), 2)  # fmt: skip
_of_graph("VertexDelete", "VertexDelete[g, v] removes vertices with their edges.", lambda g, v: _restricted(
    g, [place for place in range(len(g.vertices)) if place not in _chosen(g, v)]), 2)  # fmt: skip
_of_graph("Subgraph", "Subgraph[g, {v1, ...}] keeps vertices and the edges between them.",
          lambda g, v: _restricted(g, _chosen(g, v)), 2)  # fmt: skip
_of_graph("NeighborhoodGraph", "NeighborhoodGraph[g, v] keeps a vertex and those around it.",
          lambda g, v: None if (n := g.number(v)) is None else _restricted(
              g, sorted({n, *(other for other, _ in g.neighbours(undirected=True)[n])})), 2)  # fmt: skip
_of_graph("ReverseGraph", "ReverseGraph[g] turns all edges.",
          lambda g: GraphData(g.vertices, [(head, b, a) for head, a, b in g.edges]).expression())  # fmt: skip
_of_graph("UndirectedGraph", "UndirectedGraph[g] makes all edges undirected.", lambda g: GraphData(
    g.vertices, list(dict.fromkeys((SymbolUndirected, min(a, b), max(a, b)) for _, a, b in g.edges)),
    ).expression())  # fmt: skip
_of_graph("DirectedGraph", "DirectedGraph[g] makes two directed edges of each undirected one.", lambda g: GraphData(
    g.vertices, [(SymbolDirected, *pair) for head, a, b in g.edges
                 for pair in ([(a, b)] if head is SymbolDirected else [(a, b), (b, a)])]).expression())  # fmt: skip
_of_graph("GraphComplement", "GraphComplement[g] has the edges that g lacks.", lambda g: GraphData(
    g.vertices, [(SymbolUndirected, i, j) for i in range(len(g.vertices)) for j in range(i + 1, len(g.vertices))
                 if not _adjacency(g)[i, j]]).expression())  # fmt: skip


# Drawing.


def _places(data: GraphData) -> Any:
    """Coordinates of the vertices: springs between those with an edge, repulsion between all."""
    size = len(data.vertices)
    angles = numpy.linspace(0, 2 * math.pi, size, endpoint=False)
    places = numpy.stack([numpy.cos(angles), numpy.sin(angles)], axis=1) * math.sqrt(size)
    places += numpy.array([[random.Random(i).uniform(-0.1, 0.1) for _ in range(2)] for i in range(size)])
    linked = (_adjacency(data) + _adjacency(data).T) > 0
    for step in range(_LAYOUT_STEPS):
        apart = places[:, None, :] - places[None, :, :]
        distance = numpy.maximum(numpy.linalg.norm(apart, axis=2), 1e-3)
        push = apart / distance[:, :, None] ** 2
        pull = -apart * distance[:, :, None] * linked[:, :, None] * 0.5
        move = (push + pull).sum(axis=1)
        length = numpy.maximum(numpy.linalg.norm(move, axis=1), 1e-9)[:, None]
        places += move / length * numpy.minimum(length, 1.0) * (1 - step / _LAYOUT_STEPS) * 0.3
    return places


def _point(place: Any) -> ListExpression:
    return ListExpression(*(MachineReal(float(value)) for value in place))


@GRAPHS.define("Show", 1, None)
def show(evaluation: Any, picture: BaseElement, *options: BaseElement) -> BaseElement | None:
    """The drawing of a graph as Graphics; other pictures are left to Mathics."""
    data = graph_of(picture) if picture.has_form("Graph", None) else None
    if data is None or not data.vertices:
        return None
    places = _places(data)
    span = float(numpy.ptp(places, axis=0).max()) or 1.0
    colour = [MachineReal(value) for value in (0.3, 0.5, 0.7)]
    parts: list[BaseElement] = [Expression(Symbol("System`RGBColor"), *colour)]
    radius = 0.025 * span
    for head, start, end in data.edges:
        along = places[end] - places[start]
        shorter = places[end] - along / (float(numpy.linalg.norm(along)) or 1.0) * radius
        ends = ListExpression(_point(places[start]), _point(shorter if head is SymbolDirected else places[end]))
        parts.append(Expression(Symbol("System`Arrow" if head is SymbolDirected else "System`Line"), ends))
    parts += [Expression(Symbol("System`Disk"), _point(place), MachineReal(radius)) for place in places]
    named = next((o.elements[1] for o in data.options if o.elements[0].get_name() == "System`VertexLabels"), None)
    if named is not None and named.get_name() != "System`None":
        parts.append(Expression(Symbol("System`GrayLevel"), Integer(0)))
        shift = numpy.array([1.6 * radius, 1.6 * radius])
        for vertex, place in zip(data.vertices, places, strict=True):
            text = vertex if isinstance(vertex, String) else Expression(Symbol("System`ToString"), vertex)
            parts.append(Expression(Symbol("System`Text"), text.evaluate(evaluation), _point(place + shift)))
    drawn = Expression(Symbol("System`Graphics"), ListExpression(*parts), *options)
    value: BaseElement = drawn.evaluate(evaluation)
    return value


@GRAPHS.define("GraphPlot", 1, None, usage="GraphPlot[{e1, ...}] draws a graph.")
def graph_plot(evaluation: Any, picture: BaseElement, *options: BaseElement) -> BaseElement | None:
    """The graph, which is drawn where it is shown."""
    data = graph_of(picture)
    if data is None:
        return None
    data.options += options
    return data.expression()


@GRAPHS.text("Graph")
def graph_text(element: Expression, evaluation: Any) -> str | None:
    """Graph[<3>, <2>]: the numbers of vertices and edges."""
    parts = [part for part in element.elements[:2] if isinstance(part, ListExpression)]
    return f"Graph[<{len(parts[0].elements)}>, <{len(parts[1].elements)}>]" if len(parts) == 2 else None


def install_edges(definitions: Definitions) -> None:
    """Write edges by their names: the arrows that Mathics writes do not read back."""
    for head in (SymbolDirected, SymbolUndirected):
        if head.name in definitions.builtin:
            definitions.builtin[head.name].formatvalues.clear()
