"""Numbers as tables, sheets and pages show them."""

import math
from typing import Any


def number(value: Any, form: str, unknown: str = "-") -> str:
    """A number in that format; `unknown` where it is not known."""
    value = float(value)
    return format(value, form) if math.isfinite(value) else unknown


def value_error(value: Any, uncertainty: Any) -> str:
    """A value with its error in brackets, in units of the last digit: 163.7113(12); "-" where it is unknown."""
    value, uncertainty = float(value), float(uncertainty)
    if not math.isfinite(value):
        return "-"
    if not (math.isfinite(uncertainty) and uncertainty > 0):
        return f"{value:.8g}"
    digits = max(0, 1 - math.floor(math.log10(uncertainty)))
    if digits > 12:
        return f"{value:.12f}"
    scaled = round(uncertainty * 10**digits)
    return f"{value:.{digits}f}({scaled if digits else round(uncertainty)})"


def small_error(value: Any, uncertainty: Any) -> str:
    """The same with a power of ten, for numbers far from 1: -1.23(45)e-15."""
    value, uncertainty = float(value), float(uncertainty)
    largest = max(abs(value), abs(uncertainty) if math.isfinite(uncertainty) else 0.0)
    if not math.isfinite(value) or largest == 0.0 or 1e-3 <= largest < 1e6:
        return value_error(value, uncertainty)
    power = math.floor(math.log10(largest))
    scale = 10.0**-power
    return f"{value_error(value * scale, uncertainty * scale)}e{power}"


def significant(value: Any, uncertainty: Any) -> bool:
    """Whether a value is more than three of its errors from zero: otherwise its digits say nothing."""
    return bool(abs(float(value)) > 3 * float(uncertainty))


def si(value: float) -> str:
    """Three digits and the prefix: 12.3 G; "-" for nothing."""
    if not value > 0:
        return "-"
    for factor, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= 0.9995 * factor:
            return f"{value / factor:.3g}{prefix}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """A time in the largest units that tell it: 12 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
