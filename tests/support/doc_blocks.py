"""The blocks of the pages, run in the order of the pages in one folder: nothing is left out without a reason."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import typer
import yaml
from typer.testing import CliRunner

from deploy.site.blocks import Block, Command, blocks_of
from tests.support.paths import REAL, ROOT
from tilewright.flows.chain.chain import make_chain
from tilewright.flows.cli.main import app
from tilewright.flows.job.job import JOBS, make_job
from tilewright.flows.job.template import fill

DOCS = ROOT / "docs"
TILEWRIGHT = "tilewright"
FILES = frozenset({"json", "csv"})
"""Kinds of blocks that are files for the commands below them; console, yaml and python are run, and all but `text`, in
which is nothing to run, need a reason if they are not."""

BASE = {
    "area": [14.97, 48.68, 15.03, 48.72],
    "period": "2022-06-10/2022-07-31",
    "source": "demo/sample/catalog.json",
    "model": "ndwi-water",
}
"""The job that a part of one, such as `mask: {kind: none}`, is a part of."""


BUCKET = "maps"

TEXTS = {"name": "north", "area": "14.97 48.68 15.03 48.72", "period": "2022-06"}
"""What stands in the place of the words of templates."""


def pages() -> list[Path]:
    """The pages of the site in the order of its navigation, those that are made at build left out."""
    words = (ROOT / "mkdocs.yml").read_text("utf-8").split("\nnav:")[1]
    found = [DOCS / name for name in re.findall(r"- ([\w/-]+\.md)$", words, re.MULTILINE)]
    return [page for page in found if page.exists()]


def shown_path(page: Path) -> str:
    """The path of a page as errors name it."""
    return str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name


@dataclass(slots=True)
class Runner:
    """Runs blocks in a folder, in which files that the pages show come to lie."""

    folder: Path
    bucket_server: str = ""
    patch: pytest.MonkeyPatch = field(default_factory=pytest.MonkeyPatch)
    ran: list[str] = field(default_factory=list)
    out_of_reach: set[str] = field(default_factory=set)
    names: dict[str, Any] = field(default_factory=dict)

    def page(self, page: Path) -> None:
        """Run all blocks of a page. Raises AssertionError that names page and line."""
        self.names = {}
        for block in blocks_of(page):
            place = f"{shown_path(page)}:{block.line}"
            try:
                self.block(block)
            except AssertionError as error:
                raise AssertionError(f"{place}: {error}") from error
            except Exception as error:
                raise AssertionError(f"{place}: {type(error).__name__}: {error}") from error
            self.ran.append(place)

    def block(self, block: Block) -> None:
        """Run a block, or look at as much of it as can be looked at without what it needs."""
        if block.title and not block.not_run:
            self._written(block)
        if block.kind == "yaml":
            self._job(block)
        elif block.kind == "console":
            for command in block.commands:
                self._command(command, block)
        elif block.kind == "python" and not block.not_run:
            exec(compile(block.text, f"line {block.line}", "exec"), self.names)  # noqa: S102 -- our own text
        else:
            done = block.kind == "text" or (block.kind in FILES and block.title)
            assert block.not_run or done, f"a block of kind {block.kind!r} is not run: give its reason"

    def _written(self, block: Block) -> None:
        path = self.folder / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        words = block.text
        if "earth-search" in words and block.kind == "yaml":
            # No test asks a network: real windows of the same archive stand for it, where they are at hand.
            if (REAL / "catalog.json").exists():
                words = words.replace("earth-search", str(REAL / "catalog.json"))
            else:
                self.out_of_reach.add(block.title)
        path.write_text(words, "utf-8")

    def _job(self, block: Block) -> None:
        """Every job and every part of one is accepted by what reads jobs."""
        keys = fill(yaml.safe_load(block.text), TEXTS)
        if JOBS in keys:
            make_chain(keys, base=self.folder)
            return
        if not {"model", "period"} <= set(keys):
            without = {"area"} if "places" in keys else {"source"} if "sources" in keys else set()
            keys = {**{key: value for key, value in BASE.items() if key not in without}, **keys}
        make_job(keys, base=self.folder)

    def _exported(self, name: str, value: str) -> None:
        """Set a variable; a server of buckets on this machine stands for that of the page, with the bucket in it."""
        if name == "AWS_ENDPOINT_URL":
            value = self.bucket_server
            requests.put(f"{value}/{BUCKET}", timeout=10).raise_for_status()
        self.patch.setenv(name, value)

    def _command(self, command: Command, block: Block) -> None:
        words = command.words
        if words[0] == "export" and not block.not_run:
            self._exported(*words[1].split("=", 1))
            return
        if words[0] != TILEWRIGHT:
            if not block.not_run:
                shell = ["bash", "-ec", command.line]
                done = subprocess.run(shell, cwd=self.folder, capture_output=True, text=True, check=False)
                assert done.returncode == block.code, f"{command.line}: {done.stdout}{done.stderr}"
                _shown(command, done.stdout)
            return
        parse(words[1:])
        if block.not_run or self.out_of_reach & set(words):
            return
        done = CliRunner().invoke(app, words[1:], env={"COLUMNS": "100"})
        assert done.exit_code == block.code, f"{command.line}: {done.output[-1500:]} {done.exception!r}"
        _shown(command, done.output)


def parse(words: list[str]) -> None:
    """Nothing if the command takes these words. Raises AssertionError that says which it does not."""
    group: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(group, "commands") and rest:
        assert rest[0] in group.commands or rest[0].startswith("-"), f"there is no command {rest[0]!r}"
        if rest[0].startswith("-"):
            return
        group = group.commands[rest.pop(0)]
    try:
        group.make_context("tilewright", rest)
    except Exception as error:
        if type(error).__name__ == "Exit":
            return
        raise AssertionError(f"{shlex.join(words)}: {error}") from error


def _shown(command: Command, said: str) -> None:
    """What the page shows below a command is what it says: in order, any run of spaces one, `…` for anything."""
    flat = " ".join(said.split())
    wanted = " ".join(" ".join(command.shown).split())
    if wanted:
        pattern = ".*?".join(re.escape(part.strip()) for part in wanted.split("…"))
        assert re.search(pattern, flat), f"{command.line} does not say {wanted!r}, but {flat[-2500:]!r}"


def reasons() -> Iterator[tuple[str, str]]:
    """Page and line of each block that is not run, and why."""
    for page in pages():
        for block in blocks_of(page):
            if block.not_run:
                yield f"{shown_path(page)}:{block.line}", block.not_run
