from __future__ import annotations

import os
import signal
import time

import pytest
import typer

from tilewright.flows.cli.exits import exit_codes
from tilewright.flows.job.job import JobError
from tilewright.tasks.storage.errors import StorageError


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (JobError("area: no\n such place."), 2, "tilewright: area: no such place.\n"),
        (StorageError("the disk is full."), 1, "tilewright: the disk is full.\n"),
        (KeyboardInterrupt(), 130, "tilewright: Interrupted.\n"),
    ],
)
def test_what_ends_a_command_is_one_sentence_and_a_code(capsys, error, code, words):
    with pytest.raises(typer.Exit) as ended, exit_codes():
        raise error
    assert (ended.value.exit_code, capsys.readouterr().err) == (code, words)


def test_an_error_that_is_not_ours_keeps_its_traceback():
    with pytest.raises(ValueError, match="somebody else's"), exit_codes():
        raise ValueError("somebody else's")


def import_broken_off():
    """What an import of numpy makes of Ctrl-C."""
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt as error:
        raise ImportError("numpy._core.multiarray failed to import") from error


def test_an_import_that_ctrl_c_broke_off_is_an_interrupt(capsys):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(typer.Exit) as ended, exit_codes(resumable=True):
            import_broken_off()
        assert ended.value.exit_code == 130
        assert "What is finished is kept: the same command goes on from there." in capsys.readouterr().err
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(ImportError), exit_codes():
            raise ImportError("really missing")
    finally:
        signal.signal(signal.SIGINT, before)


class Finalized:
    """Its finalizer is where Ctrl-C arrives: Python prints what is raised there, and goes on."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)


def work_past_a_finalizer():
    finalized = Finalized()
    del finalized
    for _ in range(200):  # what would go on to its end
        time.sleep(0.01)


def test_ctrl_c_in_a_callback_whose_errors_python_drops_is_not_lost(capsys):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(typer.Exit) as ended, exit_codes():
            work_past_a_finalizer()
        assert ended.value.exit_code == 130
        assert capsys.readouterr().err == "tilewright: Interrupted.\n"
    finally:
        signal.signal(signal.SIGINT, before)
