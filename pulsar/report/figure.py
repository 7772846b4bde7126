"""Common to all pictures: colours, the look of axes, a sheet that is quick to draw, and files of pictures."""

import io
import math
from functools import cache, cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import IdentityTransform
from PIL import Image, ImageDraw, ImageFont

from pulsar.data.unfinished import write_whole
from pulsar.errors import ConfigError
from pulsar_kernels.arrays import Array, Floats, Ints, Uint8s

INK: Final = "#14213d"
#: Vermilion beside dark blue: told apart by every kind of colour vision (Okabe and Ito 2008).
ACCENT: Final = "#d55e00"
SOFT: Final = "#5b6a80"
FILL: Final = "#9fb8d9"
#: Where there are no data.
EMPTY: Final = "#f1efe9"

#: White to ink: weak structure stays visible and prints well.
PAPER: Final = LinearSegmentedColormap.from_list("paper", ["#ffffff", "#d3dfee", "#7d9cc4", "#32568c", INK])

DPI: Final = 110


class Sheet(Figure):
    """A figure that shows itself in a notebook, whatever the plotting backend there."""

    def add_subplot(self, *place: Any, **options: Any) -> Axes:
        """Axes with quiet ticks and frames."""
        axes: Axes = super().add_subplot(*place, **options)
        axes.tick_params(labelsize=8.5, colors=SOFT, length=3)
        for side in axes.spines.values():
            side.set_color("#c4ccd8")
        axes.xaxis.label.set(color=SOFT, fontsize=9)
        axes.yaxis.label.set(color=SOFT, fontsize=9)
        return axes

    @cached_property
    def labels(self) -> "Texts":
        """Its texts and ticks."""
        return Texts(self)

    @cached_property
    def _panels(self) -> list[Axes]:
        return []

    def panel(self, box: tuple[float, float, float, float]) -> "Panel":
        """A panel at a place (left, bottom, width, height, in parts of the figure): used ones, if there are.

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
                return Panel(axes, self.labels)
        axes = self.add_axes(box)
        axes.xaxis.set_visible(False)
        axes.yaxis.set_visible(False)
        axes.set_autoscale_on(False)
        for side in axes.spines.values():
            side.set_color("#b4bdca")
        self._panels.append(axes)
        return Panel(axes, self.labels)

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
        return picture(self)


class Pixels(AxesImage):
    """An image that fills its axes, each value in whole pixels: not resampled, as matplotlib does it, slowly."""

    def make_image(self, renderer: Any, magnification: float = 1.0, unsampled: bool = False) -> Any:
        """The image as pixels from below, where it begins, and how it is turned."""
        if not isinstance(renderer, RendererAgg):
            return super().make_image(renderer, magnification, unsampled)
        left, bottom, right, top = np.round(self.axes.bbox.extents).astype(np.int64)
        values: Any = self.get_array()
        rows, columns = (np.arange(n) * k // n for n, k in zip((top - bottom, right - left), values.shape, strict=True))
        return self.to_rgba(values, bytes=True)[rows[:, None], columns], left, bottom, IdentityTransform()


class Panel:
    """Axes without ticks of a sheet. Limits are given: artists that looked for them would take most of the time.

    Parameters
    ----------
    labels : Texts
        Of the sheet.
    """

    def __init__(self, axes: Axes, labels: "Texts") -> None:
        self.axes, self._labels = axes, labels

    def line(self, x: Any, y: Any, colour: str, width: float = 1.3, dashes: Any = "-") -> None:
        """Draw a line."""
        self.axes.add_artist(Line2D(x, y, color=colour, linewidth=width, linestyle=dashes))

    def steps(self, edges: Floats, values: Floats, width: float, *lefts: float) -> tuple[float, float]:
        """Draw values between edges as steps, shaded where a pulse is: of a width, from each of `lefts` on.

        Returns
        -------
        low, high : float
            Range of the values, with some room.
        """
        self._shade(edges[0], -1.0, edges[-1] - edges[0], 2.0, color="#eef2f7")
        low, high = extremes(values)
        for left in lefts:
            self._shade(left, low, width, high - low, color=ACCENT, alpha=0.18)
        self.line(np.repeat(edges, 2)[1:-1], np.repeat(values, 2), INK, 1.1)
        return low, high

    def _shade(self, left: float, bottom: float, width: float, height: float, **options: Any) -> None:
        self.axes.add_artist(Rectangle((left, bottom), width, height, linewidth=0, **options))

    def image(self, values: Array, x: Floats, y: Floats, low: float, high: float) -> None:
        """Draw values between edges, shape (len(y) - 1, len(x) - 1), in grey."""
        self.axes.set_facecolor(EMPTY)
        if y[0] > y[-1]:
            y, values = y[::-1], values[::-1]
        steps = np.diff(y)
        if np.ptp(steps) <= 0.5 * steps.mean():
            self.pixels(values, (x[0], x[-1], y[0], y[-1]), PAPER, low, high)
        else:
            self.axes.pcolormesh(x, y, values, rasterized=True, cmap=PAPER, vmin=low, vmax=high)

    def pixels(
        self,
        values: Array,
        extent: tuple[float, float, float, float],
        colours: Any,
        low: float | None,
        high: float | None,
    ) -> None:
        """Fill the panel with values, from the bottom on, in colours from the lowest to the highest (None: theirs)."""
        image = Pixels(self.axes, cmap=colours, origin="lower", extent=extent, interpolation="nearest")
        image.set_data(values)
        image.set_clim(low, high)
        image.autoscale_None()
        self.axes.add_image(image)

    def frame(self, heading: str, x: "Scale", y: "Scale") -> None:
        """Give it a heading, limits, and ticks and labels in place of those of matplotlib."""
        axes, labels = self.axes, self._labels
        box = axes.get_position(original=True)
        axes.set_xlim(x.low, x.high, auto=None)
        axes.set_ylim(y.low, y.high, auto=None)
        down, left = 3.5 / labels.height, 3.5 / labels.width
        for value, text in x.ticks():
            at = box.x0 + box.width * (value - x.low) / (x.high - x.low)
            labels.mark(at, box.y0, at, box.y0 - down)
            if text:
                labels.add(at, box.y0 - 4.0 * down, text, 8, SOFT, "middle")
        for value, text in y.ticks():
            at = box.y0 + box.height * (value - y.low) / (y.high - y.low)
            labels.mark(box.x0, at, box.x0 - left, at)
            if text:
                labels.add(box.x0 - 1.6 * left, at - 0.8 * down, text, 8, SOFT, "right")
        for i, part in enumerate(x.label.split("\n")):
            labels.add(box.x0 + 0.5 * box.width, box.y0 - (7.3 + 3.4 * i) * down, part, 8.5, SOFT, "middle")
        if y.label:
            # Clear of the longest label of a tick.
            longest = max([len(text) for _, text in y.ticks()], default=0)
            away = (2.4 + 1.55 * longest) * left
            labels.add(box.x0 - away, box.y0 + 0.5 * box.height, y.label, 8.5, SOFT, "middle", 90)
        if heading:
            labels.add(box.x0, box.y1 + 1.7 * down, heading, -9.5, INK)

    def write(self, x: float, y: float, text: str, colour: str) -> None:
        """Write a line, at a place in parts of the panel."""
        box = self.axes.get_position(original=True)
        self._labels.add(box.x0 + x * box.width, box.y0 + y * box.height, text, 8, colour)


def extremes(values: Array) -> tuple[float, float]:
    """The range of what is finite, with some room."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


class Texts(Artist):
    """All texts of a sheet, and the ticks of its axes: drawn by one artist each, since hundreds of them take its time.

    Places are in parts of the figure. Texts of pixels are drawn whole and remembered: by matplotlib, glyph by glyph, a
    sheet would take three times as long.
    """

    def __init__(self, figure: Figure) -> None:
        super().__init__()
        self._texts: list[tuple[float, float, str, float, str, str, int]] = []
        self._marks: tuple[list[float], list[float]] = ([], [])
        figure.add_artist(self)
        self._sheet = figure
        #: Size of the sheet [points].
        self.width, self.height = figure.get_size_inches() * 72.0

    def wipe(self) -> None:
        """Forget all of them."""
        self._texts.clear()
        self._marks = ([], [])

    @property
    def texts(self) -> list[str]:
        """All texts, in the order in which they were given."""
        return [text for _, _, text, *_ in self._texts]

    def add(
        self, x: float, y: float, text: str, size: float, colour: str = INK, place: str = "left", angle: int = 0
    ) -> None:
        """Write a line at the place of its left end, its middle or its right end; a size below 0 is bold."""
        self._texts.append((x, y, text, size, colour, place, angle))

    def mark(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Draw a tick from a place to another."""
        self._marks[0].extend((x0, x1, math.nan))
        self._marks[1].extend((y0, y1, math.nan))

    def draw(self, renderer: Any) -> None:
        """Draw all of it."""
        figure: Any = self._sheet
        width, height = figure.bbox.size
        marks = Line2D(*self._marks, transform=figure.transFigure, color="#8b96a8", linewidth=0.8)
        marks.set_figure(figure)
        marks.draw(renderer)
        context = renderer.new_gc()
        for x, y, text, size, colour, place, angle in self._texts:
            back = {"left": 0.0, "middle": 0.5, "right": 1.0}[place]
            if isinstance(renderer, RendererAgg):
                pixels = round(abs(size) * renderer.dpi / 72.0)
                image, left, descent = _written(text, pixels, size < 0, colour, turned=angle == 90)
                long = image.shape[angle == 0] + left
                across, up = x * width, y * height
                if angle:
                    at = (round(across + descent) - image.shape[1], round(up + left - back * long))
                else:
                    at = (round(across + left - back * long), round(up - descent))
                renderer.draw_image(context, *at, image)
                continue
            font = FontProperties(size=abs(size), weight="bold" if size < 0 else "normal")
            back *= renderer.get_text_width_height_descent(text, font, False)[0]
            across = x * width - (0.0 if angle else back)
            up = y * height - (back if angle else 0.0)
            context.set_foreground(colour)
            renderer.draw_text(context, across, height - up if renderer.flipy() else up, text, font, angle, False)
        context.restore()


@lru_cache(maxsize=1024)
def _written(text: str, size: int, bold: bool, colour: str, *, turned: bool) -> tuple[Uint8s, int, int]:
    """A text as pixels (red, green, blue, opacity) from below, where it begins, how far it reaches below its line."""
    font = _font(size, bold)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text, anchor="ls"))
    image = Image.new("RGBA", (max(right - left, 1), max(bottom - top, 1)), f"{colour}00")
    ImageDraw.Draw(image).text((-left, -top), text, fill=colour, font=font, anchor="ls")
    pixels = np.rot90(np.asarray(image)) if turned else np.asarray(image)
    # matplotlib takes only what could be written to.
    return pixels[::-1].copy(), left, bottom


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    path = findfont(FontProperties(weight="bold" if bold else "normal"))
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


#: Beyond it a number is no measurement, and its square overflows what pictures are reckoned in.
_LARGEST: Final = 1e15


def tame(values: Array) -> Array:
    """Values in which what no measurement gives is NaN."""
    data = np.asarray(values, dtype=np.float64)
    return np.where(np.abs(data) < _LARGEST, data, math.nan)


def rising(values: Array) -> bool:
    """True where all are finite and go one way, as an axis does."""
    data = tame(values)
    steps = np.diff(data)
    return bool(np.all(np.isfinite(data)) and (np.all(steps > 0) or np.all(steps < 0)))


def time_unit(longest: float) -> tuple[float, str]:
    """Seconds in the unit in which a time of so many seconds is drawn, and its name."""
    if longest <= 300.0:
        return 1.0, "s"
    return (60.0, "min") if longest <= 4 * 3600.0 else (3600.0, "h")


def blocks(count: int, most: int) -> Ints:
    """The first elements of each of `most` parts of as many elements; of every one where there are fewer."""
    return np.unique(np.linspace(0, count, min(count, most) + 1)[:-1].astype(np.int64))


def block_means(values: Array, rows: Ints, columns: Ints) -> Floats:
    """Means of what is finite over the parts that begin at `rows` and `columns`, NaN where nothing is."""

    def sums(data: Array) -> Floats:
        # Of hours of a wide band no copy in double precision is made.
        edges = pairwise([*rows.tolist(), len(data)])
        along = np.array([data[low:high].sum(axis=0, dtype=np.float64) for low, high in edges])
        return np.asarray(np.add.reduceat(along, columns, axis=1))

    known = np.isfinite(values)
    total, count = sums(np.where(known, values, values.dtype.type(0))), sums(known)
    return np.where(count > 0, total / np.maximum(count, 1.0), math.nan)


class Scale:
    """One axis: from where to where it goes, what it says, and where its ticks are.

    Parameters
    ----------
    low, high : float
        Its ends.
    most : int
        Ticks at most; 0 for none.
    ticks : sequence of float, optional
        In place of round numbers.
    numbered : bool
        Whether the ticks have numbers.
    """

    def __init__(
        self, low: float, high: float, label: str = "", most: int = 4, *, at: Any = None, numbered: bool = True
    ) -> None:
        self.low, self.high, self.label = float(low), float(high), label
        if not (abs(self.low) < _LARGEST and abs(self.high) < _LARGEST and self.low != self.high):
            self.low, self.high = 0.0, 1.0
        self._most, self._at, self._numbered = most, at, numbered

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
        return [(float(v), format(0.0 if abs(v) < 1e-9 * step else v, form) if self._numbered else "") for v in values]


@cache
def _locator(most: int) -> MaxNLocator:
    return MaxNLocator(most)


def new_sheet(width: float, height: float, dpi: float = DPI, *, tight: bool = False) -> Sheet:
    """An empty sheet [inches]; `tight`: axes take what labels leave of it."""
    figure = Sheet(figsize=(width, height), dpi=dpi, facecolor="white", layout="tight" if tight else None)
    FigureCanvasAgg(figure)
    return figure


def picture(figure: Figure, kind: str = "png") -> bytes:
    """The content of a file of a figure: PNG, PDF or SVG, without the time, so that the same figure gives the same."""
    buffer = io.BytesIO()
    unnamed = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    # Whatever the user's matplotlibrc says of saved figures.
    with rc_context({"savefig.bbox": None, "savefig.facecolor": "auto"}):
        figure.savefig(buffer, format=kind, metadata=unnamed[kind], dpi="figure", transparent=False)
    return buffer.getvalue()


def small_png(figure: Figure) -> bytes:
    """The figure as PNG of few colours, a third as large: for pages of a thousand sheets."""
    canvas: Any = figure.canvas
    canvas.draw()
    pixels = canvas.buffer_rgba()
    image = Image.frombuffer("RGBA", canvas.get_width_height(), pixels, "raw", "RGBA", 0, 1).convert("RGB")
    buffer = io.BytesIO()
    # No more shades than the eye tells in noise: what they tell apart has to be stored.
    image.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(buffer, format="PNG")
    return buffer.getvalue()


def check_suffix(path: Path) -> None:
    """Refuse the name of a picture that does not say of which kind it is.

    Raises
    ------
    ConfigError
    """
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ConfigError(f"{path}: expected a name that ends in .png, .pdf or .svg")


def save(figure: Figure, path: Path) -> None:
    """Write the figure, whole or not at all: as PDF or SVG where the name ends so, else as PNG."""
    kind = path.suffix.lower().removeprefix(".")
    write_whole(path, picture(figure, kind if kind in ("pdf", "svg") else "png"))


def head(axes: Axes, heading: str) -> None:
    """Give axes a heading."""
    axes.set_title(heading, loc="left", fontsize=10, color=INK, weight="bold", pad=5)


def show(axes: Axes, values: Array, extent: tuple[float, float, float, float], **options: Any) -> AxesImage:
    """Draw values as pixels from end to end of both axes, in grey unless they are colours themselves."""
    axes.set_facecolor(EMPTY)
    return axes.imshow(values, extent=extent, aspect="auto", interpolation="nearest", cmap=PAPER, **options)


def empty(axes: Axes, heading: str, text: str) -> None:
    """Axes that say why they show nothing."""
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=SOFT, fontsize=9)
    head(axes, heading)
