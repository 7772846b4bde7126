"""The page of `pulsar view` in a notebook: in a frame, whose requests come as messages and are answered by messages."""

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from pulsar.data.validated import strict_json
from pulsar.errors import ConfigError, PulsarError
from pulsar.triage.site import Site, as_json, part

if TYPE_CHECKING:
    from anywidget import AnyWidget

#: What the page runs before its own scripts.
SCRIPTS: Final = ("frame.js",)


def widget(site: Site, height: int) -> "AnyWidget":
    """A widget that shows the page, in a frame of a height [pixels].

    Raises
    ------
    ConfigError
        anywidget is not installed.
    """
    try:
        from anywidget import AnyWidget
    except ImportError as error:
        raise ConfigError(
            f"view needs anywidget: pip install 'pulsar-search[notebook]', and load the notebook anew ({error}); "
            "without it: pulsar view FILE.h5 in a terminal"
        ) from error

    class View(AnyWidget):  # type: ignore[misc]
        """Sends what the page asks for, when it asks."""

        _esm = f"const HEIGHT = {height};\n{part('widget.js')}"

    view = View()
    view.on_msg(lambda _view, message, _buffers: view.send(*answer(site, message)))
    return view


def answer(site: Site, message: Any) -> tuple[dict[str, Any], list[bytes]]:
    """Answer a request of the page.

    Parameters
    ----------
    site : Site
    message : dict
        "path", an address from that of the page; "body", a judgement as JSON, or empty; whatever else tells requests
        apart comes back.

    Returns
    -------
    message : dict
        "status", as that of an answer of the server.
    content : list of bytes
        One: the page, a sheet or JSON.
    """
    address, status = urlsplit(message["path"]), 200
    try:
        if message.get("body"):
            content = as_json(site.keep(strict_json(message["body"])))
        else:
            _, content = site.shown(address.path, parse_qs(address.query)) or ("", b"")
    except PulsarError as error:
        status, content = 400, as_json({"error": str(error)})
    return {**message, "status": status if content else 404}, [content or as_json({"error": "nothing is there"})]
