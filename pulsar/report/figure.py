"""What all pictures share: colours, the look of axes, and a canvas that draws and packs them quickly."""

import io
import math
import zlib
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image, ImageFont

from pulsar.data.unfinished import write_whole
from pulsar.errors import ConfigError

INK: Final = "#14213d"
#: Vermilion beside dark blue: told apart by every kind of colour vision (Okabe and Ito 2008).
ACCENT: Final = "#d55e00"
SOFT: Final = "#5b6a80"
FILL: Final = "#9fb8d9"
#: Where there are no data.
EMPTY: Final = "#f1efe9"

#: White to ink: weak structure stays visible and prints well.
PAPER: Final = LinearSegmentedColormap.from_list("paper", ["#ffffff", "#d3dfee", "#7d9cc4", "#32568c", INK])
#: Of the plane of period and derivative: even in lightness.
PLANE: Final = "viridis"

DPI: Final = 110
#: Formats that a picture can have besides PNG.
VECTOR: Final = ("pdf", "svg")


class Sheet(Figure):
    """A figure that shows itself in a notebook, whatever the plotting backend there."""

    few_colours: bool = False

    @cached_property
    def labels(self) -> "Labels":
        """Its texts and ticks."""
        return Labels(self)

    @cached_property
    def _panels(self) -> list[Axes]:
        return []

    def panel(self, box: tuple[float, float, float, float]) -> Axes:
        """Axes without ticks at a place (left, bottom, width, height, in parts of the figure): used ones, if there are.

        Making them takes half of the time of a sheet. They begin at a pixel and are an even number of them wide: of two
        turns of phase the second has the pixels of the first, and takes no room in a file.
        """
        size = np.tile(np.asarray(self.bbox.size), 2)
        left, bottom, width, height = np.round(np.asarray(box) * size * (1.0, 1.0, 0.5, 1.0)) * (1.0, 1.0, 2.0, 1.0)
        box = (left / size[0], bottom / size[1], width / size[0], height / size[1])
        for axes in self._panels:
            if not axes.get_visible():
                axes.set_visible(True)
                axes.set_position(box)
                return axes
        axes = self.add_axes(box)
        axes.xaxis.set_visible(False)
        axes.yaxis.set_visible(False)
        axes.set_autoscale_on(False)
        for side in axes.spines.values():
            side.set_color("#b4bdca")
        self._panels.append(axes)
        return axes

    def wiped(self) -> "Sheet":
        """Itself without what was drawn in its panels, for the next drawing."""
        for axes in self._panels:
            for artist in (*axes.lines, *axes.images, *axes.collections, *axes.patches, *axes.artists):
                artist.remove()
            axes.set_facecolor("white")
            axes.set_visible(False)
        self.labels.wipe()
        return self

    def _repr_png_(self) -> bytes:
        return png(self)


class _Renderer(RendererAgg):
    """Draws plain texts whole and remembers them: glyph by glyph they take most of the time of a sheet."""

    def get_text_width_height_descent(self, s: str, prop: FontProperties, ismath: Any) -> tuple[float, float, float]:
        if ismath:
            base: Any = super()
            width, height, below = base.get_text_width_height_descent(s, prop, ismath)
            return float(width), float(height), float(below)
        mask, left, descent = _mask(s, *self._font(prop))
        return mask.shape[1] + left, mask.shape[0], descent

    def draw_text(
        self,
        gc: Any,
        x: float,
        y: float,
        s: str,
        prop: FontProperties,
        angle: float,
        ismath: Any = False,
        mtext: Any = None,
    ) -> None:
        if ismath or angle not in (0, 90):
            base: Any = super()
            base.draw_text(gc, x, y, s, prop, angle, ismath, mtext)
            return
        mask, left, descent = _mask(s, *self._font(prop))
        if not mask.size:
            return
        if angle == 90:
            turned = np.ascontiguousarray(np.rot90(mask))
            self._renderer.draw_text_image(turned, round(x + descent) - turned.shape[1], round(y - left), 0, gc)
        else:
            self._renderer.draw_text_image(mask, round(x + left), round(y + descent), 0, gc)

    def _font(self, prop: FontProperties) -> tuple[str, int]:
        return _found(prop), round(prop.get_size_in_points() * self.dpi / 72.0)


@lru_cache(maxsize=256)
def _found(prop: FontProperties) -> str:
    """Where its font is."""
    return str(findfont(prop))


@cache
def _loaded(path: str, size: int) -> Any:
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=4096)
def _mask(text: str, path: str, size: int) -> tuple[NDArray[np.uint8], int, int]:
    """A text as a mask, how far it begins behind its origin, and how far it reaches below its line [pixels]."""
    image, (left, top) = _loaded(path, size).getmask2(text, mode="L", anchor="ls")
    width, height = image.size
    # matplotlib takes only what could be written to.
    mask = np.frombuffer(bytes(image), dtype=np.uint8).reshape(height, width).copy()
    return mask, int(left), int(height + top)


class Canvas(FigureCanvasAgg):
    """Canvas of a sheet."""

    def get_renderer(self) -> Any:
        """The renderer of the size that the figure has now."""
        size = (*self.figure.bbox.size, self.figure.dpi)
        if getattr(self, "_size", None) != size:
            self._size = size
            make: Any = _Renderer
            self.renderer = make(*size)
        return self.renderer


class Labels(Artist):
    """All texts of a sheet, and the ticks of its axes: drawn by one artist each, since hundreds of them take its time.

    Places are in parts of the figure.

    Parameters
    ----------
    figure : Figure
    """

    def __init__(self, figure: Figure) -> None:
        super().__init__()
        self._texts: list[tuple[float, float, str, float, str, str, int]] = []
        self._marks: tuple[list[float], list[float]] = ([], [])
        figure.add_artist(self)
        self._sheet = figure
        self._width, self._height = figure.get_size_inches() * 72.0

    def wipe(self) -> None:
        """Forget all of them."""
        self._texts.clear()
        self._marks = ([], [])

    @property
    def texts(self) -> list[str]:
        """What is written, in the order in which it was given."""
        return [text for _, _, text, *_ in self._texts]

    def add(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        colour: str = INK,
        place: str = "left",
        angle: int = 0,
    ) -> None:
        """Write a line at the place of its left end, its middle or its right end; a size below 0 is bold."""
        self._texts.append((x, y, text, size, colour, place, angle))

    def frame(self, axes: Axes, heading: str, x: "Scale", y: "Scale") -> None:
        """Give axes a heading, and ticks and labels in place of those of matplotlib."""
        box = axes.get_position(original=True)
        axes.set_xlim(x.low, x.high, auto=None)
        axes.set_ylim(y.low, y.high, auto=None)
        down, left = 3.5 / self._height, 3.5 / self._width
        for value, told in x.ticks():
            at = box.x0 + box.width * (value - x.low) / (x.high - x.low)
            self._marks[0].extend((at, at, math.nan))
            self._marks[1].extend((box.y0, box.y0 - down, math.nan))
            if told:
                self.add(at, box.y0 - 4.0 * down, told, 8, SOFT, "middle")
        for value, told in y.ticks():
            at = box.y0 + box.height * (value - y.low) / (y.high - y.low)
            self._marks[0].extend((box.x0, box.x0 - left, math.nan))
            self._marks[1].extend((at, at, math.nan))
            if told:
                self.add(box.x0 - 1.6 * left, at - 0.8 * down, told, 8, SOFT, "right")
        for i, part in enumerate(x.label.split("\n")):
            self.add(box.x0 + 0.5 * box.width, box.y0 - (7.3 + 3.4 * i) * down, part, 8.5, SOFT, "middle")
        if y.label:
            # Clear of the longest label of a tick.
            longest = max([len(told) for _, told in y.ticks()], default=0)
            away = (2.4 + 1.55 * longest) * left
            self.add(box.x0 - away, box.y0 + 0.5 * box.height, y.label, 8.5, SOFT, "middle", 90)
        if heading:
            self.add(box.x0, box.y1 + 1.7 * down, heading, -9.5, INK)

    def draw(self, renderer: Any) -> None:
        """Draw all of it."""
        figure: Any = self._sheet
        width, height = figure.bbox.size
        marks = Line2D(*self._marks, transform=figure.transFigure, color="#8b96a8", linewidth=0.8)
        marks.set_figure(figure)
        marks.draw(renderer)
        context = renderer.new_gc()
        for x, y, text, size, colour, place, angle in self._texts:
            font = _properties(abs(size), size < 0)
            back = 0.0
            if place != "left":
                long, _, _ = renderer.get_text_width_height_descent(text, font, False)
                back = long if place == "right" else 0.5 * long
            left = x * width - (0.0 if angle else back)
            up = y * height - (back if angle else 0.0)
            context.set_foreground(colour)
            renderer.draw_text(context, left, height - up if renderer.flipy() else up, text, font, angle, False)
        context.restore()


@cache
def _properties(size: float, bold: bool) -> FontProperties:
    return FontProperties(size=size, weight="bold" if bold else "normal")


#: Beyond it a number is no measurement, and its square overflows what pictures are reckoned in.
_LARGEST: Final = 1e15


def tame(values: NDArray[Any]) -> NDArray[Any]:
    """Values in which what no measurement gives is NaN."""
    data = np.asarray(values, dtype=np.float64)
    return np.where(np.abs(data) < _LARGEST, data, math.nan)


def rising(values: NDArray[Any]) -> bool:
    """Whether all are finite and go one way, as an axis does."""
    data = tame(values)
    return bool(np.all(np.diff(data) > 0) or np.all(np.diff(data) < 0)) if np.all(np.isfinite(data)) else False


class Scale:
    """One axis: from where to where it goes, what it says, and where its ticks are.

    Parameters
    ----------
    low, high : float
        Its ends.
    label : str
    most : int
        Ticks at most; 0 for none.
    ticks : sequence of float, optional
        In place of round numbers.
    told : bool
        Whether the ticks have numbers.
    """

    def __init__(
        self, low: float, high: float, label: str = "", most: int = 4, *, at: Any = None, told: bool = True
    ) -> None:
        self.low, self.high, self.label = float(low), float(high), label
        if not (abs(self.low) < _LARGEST and abs(self.high) < _LARGEST and self.low != self.high):
            self.low, self.high = 0.0, 1.0
        self._most, self._at, self._told = most, at, told

    def ticks(self) -> list[tuple[float, str]]:
        """Places and numbers of the ticks."""
        low, high = sorted((self.low, self.high))
        if self._at is not None:
            values = np.asarray(self._at, dtype=np.float64)
        elif self._most:
            values = np.asarray(_locator(self._most).tick_values(low, high), dtype=np.float64)
        else:
            return []
        values = values[(values >= low - 1e-9 * (high - low)) & (values <= high + 1e-9 * (high - low))]
        step = float(np.min(np.diff(values))) if len(values) > 1 else 1.0
        digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
        if len(values) > 1 and abs(step * 10**digits - round(step * 10**digits)) > 1e-6:
            digits += 1
        largest = float(np.max(np.abs(values))) if len(values) else 0.0
        form = ".3g" if digits > 6 or largest >= 1e6 else f".{digits}f"
        # Never "-0".
        return [(float(v), format(0.0 if abs(v) < 1e-9 * step else v, form) if self._told else "") for v in values]


@cache
def _locator(most: int) -> MaxNLocator:
    return MaxNLocator(most)


def new_sheet(width: float, height: float, dpi: float = DPI, *, few: bool = False) -> Sheet:
    """An empty sheet [inches]; `few`: only of the colours named here, so that its PNG is small."""
    figure = Sheet(figsize=(width, height), dpi=dpi, facecolor="white")
    figure.few_colours = few
    Canvas(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as PNG."""
    canvas: Any = figure.canvas if isinstance(figure.canvas, Canvas) else Canvas(figure)
    canvas.draw()
    pixels = np.ascontiguousarray(canvas.buffer_rgba())
    buffer = io.BytesIO()
    if not getattr(figure, "few_colours", False):
        Image.fromarray(pixels[..., :3]).save(buffer, format="PNG")
        return buffer.getvalue()
    palette, nearest = _palette()
    # Five bits of red, green and blue.
    packed = pixels.view("<u4")[..., 0]
    colours = ((packed & 0xF8) << 7) | ((packed >> 6) & 0x3E0) | ((packed >> 19) & 0x1F)
    image = Image.fromarray(nearest.take(colours), mode="P")
    image.putpalette(palette.tobytes())
    image.save(buffer, format="PNG", compress_level=7, compress_type=zlib.Z_FILTERED)
    return buffer.getvalue()


@cache
def _palette() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The colours of our pictures, shape (256, 3), and the nearest of them for 5 bits of red, green and blue."""
    white = np.ones(3)
    # No more shades than the eye tells in noise: what they tell apart has to be stored.
    ramps = [mpl.colormaps[PLANE](np.linspace(0, 1, 16))[:, :3], PAPER(np.linspace(0, 1, 12))[:, :3]]
    for colour, count in ((INK, 4), (SOFT, 3), (ACCENT, 3), (FILL, 3), ("#000000", 4)):
        ramps.append(white + np.linspace(0, 1, count)[:, None] * (np.array(to_rgb(colour)) - white))
    ramps.append(np.array([to_rgb(c) for c in (EMPTY, "#eef2f7", "#b4bdca", "#fadfcc", "#eccfbd")]))
    colours = np.concatenate(ramps)
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[: len(colours)] = np.round(255 * colours)
    level = np.arange(32) * 255.0 / 31.0
    red, green, blue = np.meshgrid(level, level, level, indexing="ij")
    wanted = np.stack([red, green, blue], axis=-1).reshape(-1, 3)
    distance = np.full(len(wanted), np.inf)
    nearest = np.zeros(len(wanted), dtype=np.uint8)
    for i, colour in enumerate(palette[: len(colours)].astype(np.float64)):
        d = ((wanted - colour) ** 2).sum(axis=1)
        closer = d < distance
        nearest[closer], distance[closer] = i, d[closer]
    return palette, nearest


def packed_sheet(figure: Figure, vector: str = "") -> dict[str, bytes]:
    """The figure by format: as PNG, and as PDF or SVG where asked for."""
    images = {"png": png(figure)}
    if vector:
        images[vector] = drawn_as(figure, vector)
    return images


def drawn_as(figure: Figure, kind: str) -> bytes:
    """The figure as PDF or SVG."""
    buffer = io.BytesIO()
    # Without the time, so that the same figure gives the same file.
    figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else {"CreationDate": None})
    return buffer.getvalue()


def check_suffix(path: Path) -> None:
    """Refuse the name of a picture that does not say of which kind it is.

    Raises
    ------
    ConfigError
    """
    if path.suffix.lower() not in (".png", *(f".{kind}" for kind in VECTOR)):
        raise ConfigError(f"{path}: expected a name that ends in .png, .pdf or .svg")


def save(figure: Figure, path: Path) -> None:
    """Write the figure, whole or not at all: as PDF or SVG where the name ends so, else as PNG."""
    kind = path.suffix.lower().removeprefix(".")
    data = drawn_as(figure, kind) if kind in VECTOR else png(figure)
    write_whole(path, data)


def style(axes: Axes, heading: str) -> None:
    """Heading, and quiet ticks and frames."""
    if heading:
        axes.set_title(heading, loc="left", fontsize=10, color=INK, weight="bold", pad=5)
    axes.tick_params(labelsize=8.5, colors=SOFT, length=3)
    for side in axes.spines.values():
        side.set_color("#c4ccd8")
    axes.xaxis.label.set(color=SOFT, fontsize=9)
    axes.yaxis.label.set(color=SOFT, fontsize=9)


def empty(axes: Axes, heading: str, text: str) -> None:
    """Axes that say why they show nothing."""
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=SOFT, fontsize=9)
    style(axes, heading)
