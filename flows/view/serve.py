"""`tilewright view`: products opened, their page served until Ctrl-C, a browser opened on it."""

from __future__ import annotations

import importlib.util
import threading
import warnings
import webbrowser
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tilewright.flows.ending import EndedError
from tilewright.flows.environment import has_screen
from tilewright.flows.view.files import ViewError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tilewright.flows.view.server import ViewServer

NEEDED = {"rio_tiler": "rio-tiler", "js_lib_leaflet": "django-js-lib-leaflet"}
"""The packages of the extra `view` by the modules that they bring."""

POLL_SECONDS = 0.05
"""Seconds between two looks whether the server is to end."""


def view_products(
    outputs: Sequence[str], *, port: int, browser: bool, trusted: bool, say: Callable[[str], None]
) -> None:
    """Serve the page of finished products until Ctrl-C.

    ``say`` is told the page's address, and what of a product is not shown. ``port`` 0: a free one.
    Raises StoreError for a place without a finished product, ViewError where packages are missing or the port is taken.
    """
    # What a library has to say of a file goes into the page's own words, not between the lines of the command.
    warnings.simplefilter("ignore")
    with served(outputs, port=port, trusted=trusted, say=say) as server:
        say(f"{server.address}  (Ctrl-C ends it)")
        if browser and has_screen():
            # A browser that takes its time holds nothing up.
            threading.Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()
        try:
            threading.Event().wait()
        except EndedError:
            raise
        except KeyboardInterrupt:
            # It is how this command ends, and nothing was broken off.
            say("Ended.")


@contextmanager
def served(
    outputs: Sequence[str], *, port: int = 0, trusted: bool = False, say: Callable[[str], None] = lambda _: None
) -> Iterator[ViewServer]:
    """The server of the products' page, which answers on threads of its own within this context.

    Raises what ``view_products`` raises.
    """
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ViewError(
            f"view needs {' and '.join(missing)}: pip install -c constraints.txt -e '.[view]' in Tilewright's folder."
        )
    from tilewright.flows.view.answers import PageAnswers
    from tilewright.flows.view.files import Files
    from tilewright.flows.view.products import open_products
    from tilewright.flows.view.server import ViewServer

    files = Files()
    products = open_products(outputs, files, trusted=trusted)
    for product in products:
        for note in product.notes:
            say(f"{product.storage.uri}: {note}")
    answers = PageAnswers(products, files)
    try:
        server = ViewServer(answers, port=port)
    except (OSError, OverflowError) as error:
        answers.close()
        raise ViewError(f"--port {port} cannot be used ({error}): give another, or none for a free one.") from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": POLL_SECONDS}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        answers.close()
