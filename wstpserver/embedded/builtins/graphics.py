"""Pictures: drawings as SVG, bodies and surfaces in space projected onto the page, images; and files of all of them.

Mathics draws SVG of plane graphics. Graphics3D is projected here, with its polygons in the order of their distance
(the painter's algorithm). PNG and other images of a drawing need resvg_py, PDF needs svglib; both are part of the extra
`mathics`, and what is missing is said.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from xml.sax.saxutils import escape

import numpy
from mathics.builtin.image.base import Image
from mathics.core.atoms import ByteArray, Integer, MachineReal, NumericArray, Real, String
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol, SymbolFalse
from mathics.core.systemsymbols import SymbolFailed, SymbolRule

from wstpserver.client.interactive import RasterError, png_of_svg
from wstpserver.embedded.builtins.library import Library, value_by_other_rules
from wstpserver.embedded.builtins.numerics import numbers_of
from wstpserver.embedded.builtins.text import EXPORT_FORMATS, exported_text, imported_text
from wstpserver.embedded.convert import image_of

GRAPHICS = Library()

SymbolExportString, SymbolPolygon = Symbol("System`ExportString"), Symbol("System`Polygon")

#: Heads of pictures.
PICTURES: Final = frozenset({"System`Graphics", "System`Graphics3D", "System`Legended", "System`Graph"})

#: Endings of file names, and formats of Import and Export.
FORMATS: Final = {
    "svg": "SVG", "png": "PNG", "pdf": "PDF", "jpg": "JPEG", "jpeg": "JPEG", "gif": "GIF", "bmp": "BMP", "tif": "TIFF",
    "tiff": "TIFF", "json": "JSON", "csv": "CSV", "tsv": "TSV", "txt": "Text", "dat": "Table", "wl": "Package",
    "m": "Package", "webp": "WebP",
}  # fmt: skip

#: Formats of pixels, by Pillow's name.
_IMAGES: Final = {"PNG": "PNG", "JPEG": "JPEG", "GIF": "GIF", "BMP": "BMP", "TIFF": "TIFF", "WebP": "WEBP"}

#: Resolution of PNG of a drawing whose size is in points, and what is asked for by default, in dots per inch.
_POINTS_PER_INCH, _DEFAULT_RESOLUTION = 72.0, 144.0

_OPTIONS: Final = ("ImageSize", "ImageResolution", "Background", "CharacterEncoding")


_IMPORT_MESSAGES: Final = {
    "nffil": "File `1` not found during Import.",
    "jsonbad": "The text cannot be read: `1`.",
    "jsonarraymissingsep": "Expecting end of array or a value separator.",
    "jsonhintposandchar": "An error occurred near character '`1`', at line `2`:`3`",
}


class Unwritable(Exception):
    """A value has no form in a format, or a package is missing. The text is the reason."""


# Drawings.


def svg_of(picture: BaseElement, evaluation: Any) -> str:
    """The SVG text of a picture.

    Raises:
        Unwritable: It is no picture, or it cannot be drawn.
    """
    if isinstance(picture, Image):
        data = base64.b64encode(image_bytes(picture, "PNG")).decode()
        width, height = picture.dimensions()
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}px" height="{height}px" '
            f'viewBox="0 0 {width} {height}"><image width="{width}" height="{height}" '
            f'href="data:image/png;base64,{data}"/></svg>'
        )
    name = picture.get_head_name()
    if name == "System`Legended" and picture.elements:
        return svg_of(picture.elements[0], evaluation)
    if name == "System`Graph":
        drawn = Expression(Symbol("System`Show"), picture).evaluate(evaluation)
        if drawn.get_head_name() == "System`Graphics":
            return svg_of(drawn, evaluation)
    if name == "System`Graphics":
        drawn = value_by_other_rules(Expression(SymbolExportString, picture, String("SVG")), evaluation)
        if isinstance(drawn, String) and "<svg" in drawn.value:
            return str(drawn.value).lstrip()
    if name == "System`Graphics3D":
        return _scene_svg(picture, evaluation)
    raise Unwritable(f"{name.removeprefix('System`') or picture} is no picture that this kernel can draw")


# Space.

Point = tuple[float, float, float]


@dataclass
class _Scene:
    """What Mathics makes of Graphics3D: elements with coordinates in the scaled box, and how they are seen."""

    elements: list[dict[str, Any]]
    extent: dict[str, float]
    lights: list[dict[str, Any]]
    viewpoint: Point
    axes: list[bool]
    ticks: list[Any]
    background: str
    boxed: bool
    width: float = 360.0
    shapes: list[tuple[float, str]] = field(default_factory=list)


def _scene_of(picture: Expression, evaluation: Any) -> _Scene:
    from mathics.format.render.json import graphics3d_box_to_json

    plain = Expression(picture.head, _without_cuboids(picture.elements[0]), *picture.elements[1:])
    options = {
        rule.elements[0].get_name(): rule.elements[1] for rule in picture.elements if rule.has_form("Rule", 2)
    }  # fmt: skip
    if options.get("System`ImageSize") is not None:  # the size is taken care of here
        plain = Expression(picture.head, *(e for e in plain.elements if not _is_option(e, "System`ImageSize")))
    boxes = Expression(Symbol("System`MakeBoxes"), plain, Symbol("System`StandardForm")).evaluate(evaluation)
    try:
        found = json.loads(graphics3d_box_to_json(boxes))
    except Exception as error:  # what Mathics cannot put into boxes
        raise Unwritable(f"this picture has parts that cannot be drawn ({type(error).__name__})") from error
    if found["tooltip_text"]:
        raise Unwritable(str(found["tooltip_text"]).replace("System`", "").replace("3DBox", ""))
    return _Scene(
        elements=found["elements"], extent=found["extent"], lights=found["lighting"],
        viewpoint=tuple(found["viewpoint"]), axes=list(found["axes"]["hasaxes"]), ticks=found["axes"]["ticks"],
        background=found["background_color"].replace("100.0%", "100%"),
        boxed=options.get("System`Boxed", Symbol("System`True")).get_name() != "System`False",
        width=_width(options.get("System`ImageSize"), 360.0),
    )  # fmt: skip


def _is_option(element: BaseElement, name: str) -> bool:
    return bool(element.has_form("Rule", 2)) and element.elements[0].get_name() == name


def _width(size: BaseElement | None, default: float) -> float:
    """The width in points that an ImageSize asks for."""
    if isinstance(size, ListExpression) and size.elements:
        size = size.elements[0]
    if isinstance(size, Integer | Real) and float(size.value) > 0:
        return float(size.value)
    named = {"System`Tiny": 100.0, "System`Small": 180.0, "System`Medium": 360.0, "System`Large": 576.0}
    return default if size is None else named.get(size.get_name(), default)


def _without_cuboids(element: BaseElement) -> BaseElement:
    """Cuboids as six polygons, which is what Mathics can put into boxes."""
    if not isinstance(element, Expression):
        return element
    if element.has_form("Cuboid", None):
        given = list(element.elements)
        if len(given) == 1 and all(isinstance(part, ListExpression) for part in getattr(given[0], "elements", [0])):
            given = list(given[0].elements)
        corners = [[part.round_to_float() for part in getattr(corner, "elements", ())] for corner in given]
        if any(len(corner) != 3 or None in corner for corner in corners):
            return element
        low = corners[0] if corners else [0.0, 0.0, 0.0]
        high = corners[1] if len(corners) > 1 else [value + 1.0 for value in low]
        return ListExpression(*(_polygon(face) for face in _box_faces(low, high)))
    return Expression(element.head, *map(_without_cuboids, element.elements))


def _polygon(points: list[Point]) -> Expression:
    return Expression(
        SymbolPolygon, ListExpression(*(ListExpression(*(MachineReal(float(c)) for c in p)) for p in points))
    )


def _box_faces(low: Any, high: Any) -> Iterator[list[Point]]:
    ends = (low, high)

    def corner(i: int, j: int, k: int) -> Point:
        return (ends[i][0], ends[j][1], ends[k][2])

    square = ((0, 0), (0, 1), (1, 1), (1, 0))
    for side in (0, 1):
        yield [corner(side, j, k) for j, k in square]
        yield [corner(i, side, k) for i, k in square]
        yield [corner(i, j, side) for i, j in square]


class _Camera:
    """A projection in perspective: the view point counts from the middle of the box, in its longest sides."""

    def __init__(self, extent: dict[str, float], viewpoint: Point) -> None:
        low = numpy.array([extent["xmin"], extent["ymin"], extent["zmin"]])
        high = numpy.array([extent["xmax"], extent["ymax"], extent["zmax"]])
        self.low, self.high = low, high
        self.size = float(max(high - low)) or 1.0
        centre = (low + high) / 2
        view = numpy.array(viewpoint, dtype=float)
        if not view.any():
            view = numpy.array([1.3, -2.4, 2.0])
        self.place = centre + view * self.size
        self._forward = (centre - self.place) / numpy.linalg.norm(centre - self.place)
        right = numpy.cross(self._forward, [0.0, 0.0, 1.0])
        if numpy.linalg.norm(right) < 1e-9:  # seen from above or below
            right = numpy.array([1.0, 0.0, 0.0])
        self._right = right / numpy.linalg.norm(right)
        self._up = numpy.cross(self._right, self._forward)

    def project(self, points: Any) -> tuple[Any, Any]:
        """Places on the page, shape (n, 2), y down, and distances, of points of shape (n, 3)."""
        seen = numpy.asarray(points, dtype=float) - self.place
        distance = numpy.maximum(seen @ self._forward, 1e-6 * self.size)
        page = numpy.stack([seen @ self._right, -(seen @ self._up)], axis=-1) / distance[:, None]
        return page, distance

    def towards(self, normal: Any, at: Any) -> Any:
        """A normal of the side that is seen."""
        return normal if normal @ (self.place - at) >= 0 else -normal


def _scene_svg(picture: Expression, evaluation: Any) -> str:
    scene = _scene_of(picture, evaluation)
    camera = _Camera(scene.extent, scene.viewpoint)
    frame = numpy.array([p for face in _box_faces(camera.low, camera.high) for p in face])
    page, _ = camera.project(frame)
    low, high = page.min(axis=0), page.max(axis=0)
    has_axes = any(scene.axes)
    margin = 30.0 if has_axes else 4.0
    scale = (scene.width - 2 * margin) / (float((high - low)[0]) or 1.0)
    height = float((high - low)[1]) * scale + 2 * margin
    painter = _Painter(scene, camera, lambda points: (points - low) * scale + margin, scale)
    for element in scene.elements:
        painter.add(element)
    if scene.boxed:
        painter.add_box()
    if has_axes:
        painter.add_ticks()
    shapes = "\n".join(text for _, text in sorted(scene.shapes, key=lambda shape: -shape[0]))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{scene.width:.6g}px" height="{height:.6g}px" '
        f'viewBox="0 0 {scene.width:.6g} {height:.6g}">\n<rect width="100%" height="100%" '
        f'fill="{_background(scene.background)}"/>\n{shapes}\n</svg>'
    )


def _background(text: str) -> str:
    return "white" if text.startswith("rgba(100%, 100%, 100%") else text


class _Painter:
    """Turns elements of a scene into shapes of SVG, each with its distance."""

    #: Corners of what is round.
    ROUND = 32

    def __init__(self, scene: _Scene, camera: _Camera, place: Callable[[Any], Any], scale: float) -> None:
        self._scene = scene
        self._camera = camera
        self._place = place
        self._scale = scale

    def add(self, element: dict[str, Any]) -> None:
        """Add one element.

        Raises:
            Unwritable: There is no such kind of element.
        """
        kind = element["type"]
        draw = getattr(self, f"_add_{kind}", None)
        if draw is None:
            raise Unwritable(f"elements of the kind {kind} cannot be drawn")
        points = numpy.array([coordinates for coordinates, _ in element["coords"]], dtype=float)
        if len(points):
            draw(points, element)

    def _project(self, points: Any) -> tuple[Any, Any]:
        page, distance = self._camera.project(points)
        return self._place(page), distance

    def _put(self, distance: float, text: str) -> None:
        self._scene.shapes.append((distance, text))

    def _add_polygon(self, points: Any, element: dict[str, Any]) -> None:
        colour = element["color"] or [0.6, 0.7, 1.0]
        self._face(points, colour, element.get("opacity", 1))

    def _face(self, points: Any, colour: Any, opacity: float) -> None:
        page, distance = self._project(points)
        normal = numpy.cross(points[1] - points[0], points[-1] - points[0])
        length = float(numpy.linalg.norm(normal))
        lit = colour
        if length > 0:
            lit = self._lit(colour, self._camera.towards(normal / length, points[0]))
        paint = _rgb(lit)
        alpha = "" if opacity >= 1 else f' fill-opacity="{opacity:.3g}"'
        self._put(
            float(distance.mean()),
            f'<polygon points="{_path(page)}" fill="{paint}"{alpha} stroke="{paint}" stroke-width="0.4" '
            f'stroke-opacity="{min(1, opacity):.3g}" stroke-linejoin="round"/>',
        )

    def _lit(self, colour: Any, normal: Any) -> list[float]:
        """A colour in the light of the scene."""
        light = numpy.zeros(3)
        for source in self._scene.lights:
            strength = numpy.array(source["color"][:3], dtype=float)
            if source["type"] == "Ambient":
                light += strength
            elif source.get("position") is not None:
                towards = numpy.array(source["position"], dtype=float)
                norm = float(numpy.linalg.norm(towards))
                if norm:
                    light += strength * max(0.0, float(normal @ (towards / norm)))
        if not self._scene.lights:
            light += 1.0
        return [min(1.0, float(c * k)) for c, k in zip(colour[:3], light, strict=True)]

    def _add_line(self, points: Any, element: dict[str, Any]) -> None:
        page, distance = self._project(points)
        colour, opacity = _rgb(element["color"]), element.get("opacity", 1)
        for i in range(len(points) - 1):
            # In front of the faces whose edge it is.
            near = float(distance[i : i + 2].mean()) - 0.02 * self._camera.size
            self._put(near, _line(page[i], page[i + 1], colour, 0.8, opacity))

    def _add_arrow(self, points: Any, element: dict[str, Any]) -> None:
        self._add_line(points, element)
        if len(points) < 2:
            return
        page, distance = self._project(points[-2:])
        along = page[1] - page[0]
        length = float(numpy.linalg.norm(along))
        if length:
            unit = along / length * 8.0
            side = numpy.array([-unit[1], unit[0]]) * 0.4
            head = numpy.array([page[1], page[1] - unit + side, page[1] - unit - side])
            near = float(distance[1]) - 0.03 * self._camera.size
            self._put(near, f'<polygon points="{_path(head)}" fill="{_rgb(element["color"])}"/>')

    def _add_point(self, points: Any, element: dict[str, Any]) -> None:
        page, distance = self._project(points)
        radius = max(1.0, element["pointSize"] * self._scene.width)
        for (x, y), far in zip(page, distance, strict=True):
            near = float(far) - 0.02 * self._camera.size
            self._put(near, f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius:.2f}" fill="{_rgb(element["color"])}"/>')

    def _add_sphere(self, points: Any, element: dict[str, Any]) -> None:
        for centre in points:
            for face in _sphere_faces(centre, element["radius"], self.ROUND):
                self._face(face, element["color"], element.get("opacity", 1))

    def _add_cylinder(self, points: Any, element: dict[str, Any]) -> None:
        for start, end in zip(points[::2], points[1::2], strict=False):
            ring = _ring(start, end - start, element["radius"], self.ROUND)
            self._sides(ring, ring + (end - start), element)
            for cover in (ring, ring + (end - start)):
                self._face(cover, element["color"], element.get("opacity", 1))

    def _add_cone(self, points: Any, element: dict[str, Any]) -> None:
        for start, end in zip(points[::2], points[1::2], strict=False):
            ring = _ring(start, end - start, element["radius"], self.ROUND)
            self._face(ring, element["color"], element.get("opacity", 1))
            self._sides(ring, numpy.repeat(end[None, :], len(ring), axis=0), element)

    def _add_tube(self, points: Any, element: dict[str, Any]) -> None:
        for start, end in zip(points, points[1:], strict=False):
            if not numpy.allclose(start, end):
                ring = _ring(start, end - start, element["radius"], 12)
                self._sides(ring, ring + (end - start), element)

    def _sides(self, first: Any, second: Any, element: dict[str, Any]) -> None:
        for i in range(len(first)):
            j = (i + 1) % len(first)
            side = numpy.array([first[i], first[j], second[j], second[i]])
            self._face(side, element["color"] or [1, 1, 1], element.get("opacity", 1))

    def _add_uniformPolyhedron(self, points: Any, element: dict[str, Any]) -> None:  # noqa: N802 - Mathics' name
        for centre in points:
            for face in _polyhedron_faces(element["subType"]):
                self._face(face + centre, element["color"], element.get("opacity", 1))

    def add_box(self) -> None:
        """The edges of the box; those at the back are drawn first."""
        low, high = self._camera.low, self._camera.high
        edges = set()
        for face in _box_faces(low, high):
            for i in range(4):
                edges.add(tuple(sorted((tuple(map(float, face[i])), tuple(map(float, face[(i + 1) % 4]))))))
        corners = numpy.array([corner for edge in edges for corner in edge])
        distance = self._camera.project(corners)[1]
        farthest = tuple(corners[int(distance.argmax())])
        for edge in sorted(edges):
            page, far = self._project(numpy.array(edge))
            behind = 10.0 * self._camera.size if farthest in edge else 0.0
            self._put(float(far.mean()) + behind, _line(page[0], page[1], "#999999", 0.6, 1))

    def add_ticks(self) -> None:
        """Marks and labels, along the edges at the outline of the box."""
        low, high = self._camera.low, self._camera.high
        middle = (low + high) / 2
        for axis in range(3):
            if not self._scene.axes[axis]:
                continue
            others = [i for i in range(3) if i != axis]
            best, edge = -math.inf, (low, low)
            for first in (low, high):
                for second in (low, high):
                    place = middle.copy()
                    place[others[0]], place[others[1]] = first[others[0]], second[others[1]]
                    page = self._project(place[None, :])[0][0]
                    outside = page[1] if axis < 2 else -page[0]  # at the bottom, at the left
                    if outside > best + 1e-6:
                        best, edge = outside, (first, second)
            self._label(axis, others, edge, middle)

    def _label(self, axis: int, others: list[int], edge: tuple[Any, Any], middle: Any) -> None:
        values, _, labels = self._scene.ticks[axis]
        inside = self._project(middle[None, :])[0][0]
        for value, label in zip(values, labels, strict=True):
            place = middle.copy()
            place[axis], place[others[0]], place[others[1]] = value, edge[0][others[0]], edge[1][others[1]]
            page = self._project(place[None, :])[0][0]
            away = page - inside
            away = away / (float(numpy.linalg.norm(away)) or 1.0)
            end, text = page + 3 * away, page + 13 * away
            self._put(-1.0, _line(page, end, "#666666", 0.6, 1))
            self._put(
                -1.0,
                f'<text x="{text[0]:.2f}" y="{text[1] + 3:.2f}" font-size="9" font-family="sans-serif" '
                f'text-anchor="middle" fill="#444444">{escape(str(label))}</text>',
            )


def _rgb(colour: Any) -> str:
    return "#" + "".join(f"{round(255 * min(1.0, max(0.0, float(c)))):02x}" for c in colour[:3])


def _path(points: Any) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)


def _line(start: Any, end: Any, colour: str, width: float, opacity: float) -> str:
    alpha = "" if opacity >= 1 else f' stroke-opacity="{opacity:.3g}"'
    return (
        f'<line x1="{start[0]:.2f}" y1="{start[1]:.2f}" x2="{end[0]:.2f}" y2="{end[1]:.2f}" stroke="{colour}" '
        f'stroke-width="{width}"{alpha}/>'
    )


def _ring(centre: Any, axis: Any, radius: float, count: int) -> Any:
    """Points of a circle around an axis."""
    axis = axis / numpy.linalg.norm(axis)
    other = numpy.array([1.0, 0.0, 0.0]) if abs(axis[0]) < 0.9 else numpy.array([0.0, 1.0, 0.0])
    first = numpy.cross(axis, other)
    first /= numpy.linalg.norm(first)
    second = numpy.cross(axis, first)
    angles = numpy.linspace(0, 2 * math.pi, count, endpoint=False)
    return centre + radius * (numpy.outer(numpy.cos(angles), first) + numpy.outer(numpy.sin(angles), second))


def _sphere_faces(centre: Any, radius: float, count: int) -> Iterator[Any]:
    across = numpy.linspace(0, math.pi, count // 2 + 1)
    around = numpy.linspace(0, 2 * math.pi, count + 1)

    def at(i: int, j: int) -> Any:
        t, p = across[i], around[j]
        return centre + radius * numpy.array([math.sin(t) * math.cos(p), math.sin(t) * math.sin(p), math.cos(t)])

    for i in range(count // 2):
        for j in range(count):
            # The first and the third corner are not at a pole, where the second or fourth may be.
            yield numpy.array([at(i + 1, j), at(i + 1, j + 1), at(i, j + 1), at(i, j)])


def _polyhedron_faces(name: str) -> Iterator[Any]:
    """The triangles of a regular polyhedron with edges of length 1.

    Raises:
        Unwritable: It is none of the five.
    """
    from scipy.spatial import ConvexHull

    golden = (1 + math.sqrt(5)) / 2
    even = [(0, a, b * golden) for a in (-1, 1) for b in (-1, 1)]
    cube = [(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]
    known: dict[str, tuple[list[Any], float]] = {
        "tetrahedron": ([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)], 2 * math.sqrt(2)),
        "octahedron": ([(s if i == k else 0 for i in range(3)) for k in range(3) for s in (-1, 1)], math.sqrt(2)),
        "cube": (cube, 2.0),
        "icosahedron": ([(p[k % 3], p[(k + 1) % 3], p[(k + 2) % 3]) for p in even for k in range(3)], 2.0),
        "dodecahedron": (
            cube + [(p[k % 3] / golden**0, p[(k + 1) % 3], p[(k + 2) % 3])
                    for p in ((0, a / golden, b * golden) for a in (-1, 1) for b in (-1, 1)) for k in range(3)],
            2 / golden,
        ),
    }  # fmt: skip
    if name not in known:
        raise Unwritable(f"the polyhedron {name} cannot be drawn")
    corners, edge = known[name]
    points = numpy.array([tuple(corner) for corner in corners], dtype=float) / edge
    for triangle in ConvexHull(points).simplices:
        yield points[triangle]


# Pixels and pages.


def image_bytes(image: Image, name: str) -> bytes:
    """An image as a file of 8 bits a channel. `name`: a format of Pillow."""
    from PIL import Image as Pillow

    pixels = numpy.asarray(image.pixels)
    if pixels.dtype == bool:
        pixels = pixels.astype(float)
    if pixels.dtype.kind == "f":
        pixels = numpy.rint(numpy.clip(numpy.nan_to_num(pixels), 0.0, 1.0) * 255)
    pixels = pixels.astype(numpy.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    drawn = Pillow.fromarray(pixels)
    return _saved(drawn, name)


@GRAPHICS.define("Image", 1, 2, options=("ColorSpace", "Interleaving", "MetaInformation", "ImageSize"))
def image(
    evaluation: Any, data: BaseElement, kind: BaseElement | None = None, *, options: dict[str, BaseElement]
) -> BaseElement | None:
    """An image of an array of pixels of some type, as wolframclient sends those of Pillow; a list alone is Mathics'."""
    if kind is None and not options and isinstance(data, ListExpression):
        return None
    array = data.value if isinstance(data, NumericArray) else numbers_of(data)
    if array is None or not (kind is None or isinstance(kind, String)):
        return None
    space = options.get("ColorSpace")
    name, colours = "Real" if kind is None else kind.value, space.value if isinstance(space, String) else None
    return image_of(array, name, colours, planes=options.get("Interleaving") is SymbolFalse)


@GRAPHICS.define("ImportByteArray", 1, 2, messages={"fmterr": "Cannot import data as `1` format.", "jsonbad": "`1`."})
def import_byte_array(evaluation: Any, data: BaseElement, form: BaseElement | None = None) -> BaseElement | None:
    """Images, and formats of text."""
    if not isinstance(data, ByteArray) or not (form is None or isinstance(form, String)):
        return None
    wanted = _import_format("", form) if form is not None else None
    if wanted is not None:
        return _imported("ImportByteArray", data.value.decode("utf-8", "replace"), *wanted, evaluation)
    from PIL import Image as Pillow

    try:
        with Pillow.open(io.BytesIO(data.value)) as opened:
            usual = opened if opened.mode in ("L", "RGB", "RGBA") else opened.convert("RGB")
            pixels = numpy.asarray(usual)
    except (OSError, ValueError):
        evaluation.message("ImportByteArray", "fmterr", form or String("image"))
        return SymbolFailed
    return Image(pixels, "Grayscale" if pixels.ndim == 2 else "RGB")


def _saved(drawn: Any, name: str) -> bytes:
    if name in ("JPEG", "BMP") and drawn.mode not in ("RGB", "L"):
        drawn = drawn.convert("RGB")
    written = io.BytesIO()
    drawn.save(written, name)
    return written.getvalue()


def pdf_of_svg(drawing: str) -> bytes:
    """A page of the size of a drawing.

    Raises:
        Unwritable: svglib is not installed, or cannot read the drawing.
    """
    try:
        from reportlab.graphics import renderPDF
        from svglib.svglib import svg2rlg
    except ImportError:
        raise Unwritable("PDF needs the package svglib: pip install 'wstpserver[mathics]'") from None
    try:
        page = svg2rlg(io.BytesIO(drawing.encode()))
        if page is None:
            raise ValueError("no drawing")
        return bytes(renderPDF.drawToString(page))
    except Exception as error:
        raise Unwritable(f"this drawing cannot be made PDF: {error}") from None


def _picture_bytes(picture: BaseElement, form: str, evaluation: Any, options: dict[str, BaseElement]) -> bytes:
    """A picture in a format of pictures.

    Raises:
        Unwritable: It cannot be written.
    """
    if isinstance(picture, Image) and form in _IMAGES:
        return image_bytes(picture, _IMAGES[form])
    drawing = svg_of(_sized(picture, options), evaluation)
    if form == "SVG":
        return drawing.encode()
    if form == "PDF":
        return pdf_of_svg(drawing)
    resolution = options.get("ImageResolution")
    dots = float(resolution.value) if isinstance(resolution, Integer | Real) else _DEFAULT_RESOLUTION
    try:
        data = png_of_svg(drawing, zoom=max(0.05, dots / _POINTS_PER_INCH))
    except ImportError:
        raise Unwritable(
            f"{form} of a drawing needs the package resvg_py: pip install 'wstpserver[mathics]'"
        ) from None
    except RasterError as error:
        raise Unwritable(f"this drawing cannot be made {form}: {error}") from None
    if form == "PNG":
        return data
    from PIL import Image as Pillow

    return _saved(Pillow.open(io.BytesIO(data)).convert("RGB"), _IMAGES[form])


def _sized(picture: BaseElement, options: dict[str, BaseElement]) -> BaseElement:
    size = options.get("ImageSize")
    if size is None or not picture.has_form(["Graphics", "Graphics3D"], None):
        return picture
    rest = [part for part in picture.elements if not _is_option(part, "System`ImageSize")]
    return Expression(picture.head, *rest, Expression(SymbolRule, Symbol("System`ImageSize"), size))


def _is_picture(value: BaseElement) -> bool:
    return isinstance(value, Image) or value.get_head_name() in PICTURES


# Import and Export.

_MESSAGES: Final = {"fmtexp": "`1` cannot be written: `2`.", "noopen": "The file `1` cannot be written: `2`."}


def _format(file: str, form: BaseElement | None) -> str | None:
    """The format that is asked for, or that of the file's name; None for what is left to Mathics."""
    if isinstance(form, ListExpression) and len(form.elements) == 1:
        form = form.elements[0]
    if isinstance(form, String):
        known = {name.lower(): name for name in (*_IMAGES, *EXPORT_FORMATS, "SVG", "PDF")}
        return known.get(str(form.value).lower())
    return FORMATS.get(os.path.splitext(file)[1].lower().lstrip(".")) if form is None else None


def _written(value: BaseElement, form: str, evaluation: Any, options: dict[str, BaseElement]) -> bytes | None:
    """The content of a file; None for what is left to Mathics.

    Raises:
        Unwritable: The value has no such form.
    """
    if form in _IMAGES or form in ("SVG", "PDF"):
        return _picture_bytes(value, form, evaluation, options)
    try:
        text = exported_text(value, form, evaluation)
    except ValueError as error:
        raise Unwritable(str(error)) from None
    return None if text is None else text.encode("utf-8", "surrogateescape")


@GRAPHICS.define("Export", 2, 3, options=_OPTIONS, messages=_MESSAGES)
def export(
    evaluation: Any, file: BaseElement, value: BaseElement, form: BaseElement | None = None, *,
    options: dict[str, BaseElement],
) -> BaseElement | None:  # fmt: skip
    """Pictures as SVG, PNG, PDF and other images; JSON, CSV, TSV and tables."""
    name = file.elements[0] if file.has_form("File", 1) else file
    if not isinstance(name, String):
        return None
    wanted = _format(name.value, form)
    if wanted is None:
        return None
    try:
        data = _written(value, wanted, evaluation, options)
    except Unwritable as error:
        evaluation.message("Export", "fmtexp", String(wanted), String(str(error)))
        return SymbolFailed
    if data is None:
        return None
    try:
        with open(os.path.expanduser(name.value), "wb") as opened:
            opened.write(data)
    except OSError as error:
        evaluation.message("Export", "noopen", name, String(str(error.strerror)))
        return SymbolFailed
    return name


def _exported(
    function: str, evaluation: Any, value: BaseElement, form: BaseElement, options: dict[str, BaseElement]
) -> bytes | BaseElement | None:
    if not isinstance(form, String) or (wanted := _format("", form)) is None:
        return None
    try:
        return _written(value, wanted, evaluation, options)
    except Unwritable as error:
        evaluation.message(function, "fmtexp", String(wanted), String(str(error)))
        return SymbolFailed


@GRAPHICS.define("ExportString", 2, options=_OPTIONS, messages=_MESSAGES)
def export_string(
    evaluation: Any, value: BaseElement, form: BaseElement, *, options: dict[str, BaseElement]
) -> BaseElement | None:
    """Text of a format; images and PDF as the characters of their bytes."""
    data = _exported("ExportString", evaluation, value, form, options)
    if not isinstance(data, bytes):
        return data
    text = _format("", form) in EXPORT_FORMATS or _format("", form) == "SVG"
    return String(data.decode("utf-8", "surrogateescape") if text else data.decode("latin-1"))


@GRAPHICS.define("ExportByteArray", 2, options=_OPTIONS, messages=_MESSAGES)
def export_byte_array(
    evaluation: Any, value: BaseElement, form: BaseElement, *, options: dict[str, BaseElement]
) -> BaseElement | None:
    """The bytes of a format."""
    data = _exported("ExportByteArray", evaluation, value, form, options)
    return ByteArray(data) if isinstance(data, bytes) else data


@GRAPHICS.define("Import", 1, 2, messages=_IMPORT_MESSAGES)
def import_file(evaluation: Any, file: BaseElement, form: BaseElement | None = None) -> BaseElement | None:
    """JSON, CSV, TSV and tables; other formats are left to Mathics."""
    name = file.elements[0] if file.has_form("File", 1) else file
    if not isinstance(name, String) or "://" in name.value:
        return None
    wanted = _import_format(name.value, form)
    if wanted is None:
        return None
    try:
        with open(os.path.expanduser(name.value), encoding="utf-8-sig", errors="surrogateescape") as opened:
            text = opened.read()
    except OSError:
        evaluation.message("Import", "nffil", name)
        return SymbolFailed
    return _imported("Import", text, *wanted, evaluation)


@GRAPHICS.define("ImportString", 2, messages={"jsonbad": "The text cannot be read: `1`."})
def import_string(evaluation: Any, text: BaseElement, form: BaseElement) -> BaseElement | None:
    """JSON, CSV, TSV and tables; other formats are left to Mathics."""
    wanted = _import_format("", form)
    if not isinstance(text, String) or wanted is None:
        return None
    return _imported("ImportString", text.value, *wanted, evaluation)


def _import_format(file: str, form: BaseElement | None) -> tuple[str, str] | None:
    """The format, and the element of it."""
    parts = list(form.elements) if isinstance(form, ListExpression) else [] if form is None else [form]
    if len(parts) > 2 or not all(isinstance(part, String) for part in parts):
        return None
    element = "Dataset" if parts and parts[-1].value == "Dataset" else ""
    first = parts[0] if parts and not (element and len(parts) == 1) else None
    found = _format(file, first)
    if found in ("JSON", "RawJSON", "CSV", "TSV", "Table") and len(parts) - bool(element) <= 1:
        return found, element
    return None


def _imported(function: str, text: str, form: str, element: str, evaluation: Any) -> BaseElement | None:
    try:
        return imported_text(text, form, element, evaluation)
    except json.JSONDecodeError as error:
        _json_messages(function, error, evaluation)
    except ValueError as error:
        evaluation.message(function, "jsonbad", String(str(error)))
    return SymbolFailed


_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def _json_messages(function: str, error: json.JSONDecodeError, evaluation: Any) -> None:
    """Say what is wrong with a text, by the messages of a Wolfram kernel where these are known."""
    opened = ""
    for token in _JSON_TOKEN.findall(error.doc[: error.pos]):
        opened = opened + token if token in "[{" else opened[:-1] if token in "]}" else opened
    if not (opened.endswith("[") and "delimiter" in error.msg):
        evaluation.message(function, "jsonbad", String(str(error)))
        return
    evaluation.message("Import", "jsonarraymissingsep")
    found = error.doc[error.pos : error.pos + 1] or "EOF"
    place = (String(found), Integer(error.lineno), Integer(error.colno + 1))
    evaluation.message("Import", "jsonhintposandchar", *place)
