"""`tilewright` and `python -m tilewright.flows.cli`; with BOUNDED and megabytes first, in so much memory."""

from __future__ import annotations

import signal
import sys


def program(words: list[str] | None = None) -> None:
    """Run the command, with the words of the process or these; it never returns.

    While a command is under way `exit_codes` hears Ctrl-C. Before and after that it ends the process at once, as it
    ends any: Python's own handler would print a trace of the imports, the parser of words exit with another code.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # The first imports that take time.
    from tilewright.flows.cli.bounded import BOUNDED, bind
    from tilewright.flows.cli.main import app

    if sys.argv[1:2] == [BOUNDED]:
        megabytes = int(sys.argv[2])
        del sys.argv[1:3]
        if "cuda" not in sys.argv and "tensorrt" not in sys.argv:
            # A driver of GPUs reserves all their addresses at once; there the memory alone is watched.
            bind(megabytes)
    app(words, prog_name="tilewright")


if __name__ == "__main__":
    program()
