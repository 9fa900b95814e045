"""Completion by the shell: what is offered for the beginnings of words, and its script."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT


def asked(*words, **variables):
    variables = {"PYTHONPATH": str(ROOT), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", **variables}
    return subprocess.run(
        [sys.executable, "-m", "tilewright.flows.cli", *words],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"), [("tilewright back", ["backfill"]), ("tilewright run --not", ["--notify"])]
)
def test_the_shell_completes_commands_and_options(words, offered):
    place = str(len(words.split()) - 1)
    assert asked(_TILEWRIGHT_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=place) == offered


def test_the_script_of_a_shell_is_shown():
    assert "_TILEWRIGHT_COMPLETE=complete_zsh" in asked("--show-completion", "zsh")
