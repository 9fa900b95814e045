"""The reference of the commands, made from the commands themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import typer

from tilewright.flows.cli.main import app

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD: Final = """# Commands

Made from the commands themselves; `tilewright COMMAND --help` says the same. The option `--debug` goes with each and
shows the trace of an error.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed while running: what is finished is kept |
| 2 | refused before pixels were read: one sentence says why |
| 3 | `compare --same` found the two not the same |
| 75 | another run is writing this output or took it over: again later, or with `--wait` |
| 130, 143, 129 | interrupted, ended by SIGTERM or SIGHUP: the same command goes on |
"""

SAME_FOR_ALL: Final = {"--help", "--json", "--debug"}


def commands_page() -> str:
    """The page, Markdown: each command with its usage, what it does, its words and its options."""
    return HEAD + "".join(_section(name, command) for name, command in named_commands())


def named_commands() -> Iterator[tuple[str, Any]]:
    """Each command that does something, by the words that call it: ``models check``."""
    yield from _below("", typer.main.get_command(app))


def _below(before: str, group: Any) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        words = f"{before} {name}".strip()
        if hasattr(command, "commands"):
            yield from _below(words, command)
        elif not command.hidden:
            yield words, command


def _section(name: str, command: Any) -> str:
    context = command.make_context(f"tilewright {name}", [], resilient_parsing=True)
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    records = [record for each in command.params if (record := each.get_help_record(context))]
    shown = [(words, text) for words, text in records if words.split()[0].rstrip(",") not in SAME_FOR_ALL]
    table = "".join(f"| `{_word(words)}` | {_cell(text)} |\n" for words, text in shown)
    json_too = " `--json` prints one document for machines." if any(w.startswith("--json") for w, _ in records) else ""
    examples = f"\n```text\n{command.epilog.strip()}\n```\n" if command.epilog else ""
    head = "\n| word | what it is |\n|---|---|\n" if table else ""
    return f"\n## {name}\n\n```text\n{usage}\n```\n\n{_prose(command.help)}{json_too}\n{head}{table}{examples}"


def _prose(text: str) -> str:
    return re.sub(r"(?<!`)(--[a-z-]+)", r"`\1`", (text or "").strip()).replace("<", "&lt;")


def _word(text: str) -> str:
    """Of a code span, in which only the table's own mark must be escaped."""
    return " ".join(text.split()).replace("|", "\\|")


def _cell(text: str) -> str:
    return _word(text).replace("<", "&lt;")
