from __future__ import annotations

import errno
import importlib.metadata
import json
import math
import os
import signal
import time

import pytest
import typer
from typer.testing import CliRunner

from tilewright.flows.cli.commands import EXAMPLES, PURPOSES
from tilewright.flows.cli.exits import exit_codes
from tilewright.flows.cli.main import app
from tilewright.flows.cli.options import EXAMPLE_PRICES, wait_seconds
from tilewright.flows.job.job import JobError
from tilewright.flows.run.existing import OutputChangedError
from tilewright.tasks.storage.errors import FencedError, LockHeldError, StorageError, StoreError


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (JobError("area: no\n such place."), 2, "tilewright: area: no such place.\n"),
        (StorageError("the disk is full."), 1, "tilewright: the disk is full.\n"),
        (LockHeldError("Another run is writing."), 75, "tilewright: Another run is writing.\n"),
        (FencedError("It was taken over."), 75, "tilewright: It was taken over.\n"),
        (OutputChangedError("Another run was at work."), 75, "tilewright: Another run was at work.\n"),
        (StoreError("It is a file."), 2, "tilewright: It is a file.\n"),
        (KeyboardInterrupt(), 130, "tilewright: Interrupted.\n"),
    ],
)
def test_what_ends_a_command_is_one_sentence_and_a_code(capsys, error, code, words):
    with pytest.raises(typer.Exit) as ended, exit_codes():
        raise error
    assert (ended.value.exit_code, capsys.readouterr().err) == (code, words)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("somebody else's"), "An error that was not foreseen (ValueError: somebody else's)"),
        (ZeroDivisionError("by zero"), "not foreseen (ZeroDivisionError: by zero). Run again with --debug"),
        (RecursionError("maximum depth"), "not foreseen (RecursionError: maximum depth)"),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full ([Errno 28] No space left on device)"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "The disk is full"),
        (MemoryError("Unable to allocate 9 TiB"), "The memory does not suffice (Unable to allocate 9 TiB)"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "check the path and its permissions"),
        (KeyError("https://h.org/a?sig=S3CR3T\x1b[2J"), "(KeyError: 'https://h.org/a"),
    ],
)
def test_an_error_that_is_not_ours_is_one_sentence_too(capsys, error, words):
    with pytest.raises(typer.Exit) as ended, exit_codes():
        raise error
    said = capsys.readouterr().err
    assert ended.value.exit_code == 1
    assert words in said
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert "S3CR3T" not in said


def test_the_trace_of_an_error_is_shown_on_request(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tilewright", "run", "--debug"])
    with pytest.raises(typer.Exit), exit_codes():
        raise ValueError("somebody else's \x1b[2J https://h.org/a?sig=S3CR3T")
    said = capsys.readouterr().err
    assert "Traceback (most recent call last)" in said
    assert said.rstrip("\n").splitlines()[-1].startswith("tilewright: An error that was not foreseen")
    assert "\x1b" not in said
    assert "S3CR3T" not in said


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
        with pytest.raises(typer.Exit) as ended, exit_codes():
            raise ImportError("really missing")
        assert ended.value.exit_code == 1
        assert "(ImportError: really missing)" in capsys.readouterr().err
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


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("90", 90.0), ("2.5", 2.5), ("forever", math.inf)])
def test_wait_takes_seconds_or_forever(text, seconds):
    assert wait_seconds(text) == seconds


@pytest.mark.parametrize("text", ["-1", "soon", "nan", "", "10s"])
def test_a_wait_that_is_no_time_is_refused(text):
    with pytest.raises(typer.BadParameter, match="expected a number of seconds, or forever"):
        wait_seconds(text)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("plna", "No such command 'plna' (did you mean 'plan'?): see tilewright --help."),
        ("xyz", "No such command 'xyz': see tilewright --help."),
        ("models shw", "No such command 'shw' (did you mean 'show'?): see tilewright models --help."),
        ("run --repalce x", "No such option: --repalce (did you mean '--replace'?): see tilewright run --help."),
        ("--versoin", "No such option: --versoin (did you mean '--version'?): see tilewright --help."),
        ("plan", "Missing argument 'JOB': see tilewright plan --help."),
        ("plan a b", "There is one word too many, b: see tilewright plan --help."),
        ("run j --workers x", "Invalid value for '--workers': expected a whole number: see tilewright run --help."),
        ("run --output", "Option '--output' requires an argument: see tilewright --help."),
    ],
)
def test_a_word_that_no_command_takes_is_refused_in_one_sentence(words, sentence):
    answer = CliRunner().invoke(app, words.split(), prog_name="tilewright")
    assert (answer.exit_code, answer.stderr) == (2, f"tilewright: {sentence}\n")


def test_with_json_a_word_that_no_command_takes_is_a_document_too(monkeypatch):
    monkeypatch.setattr("sys.argv", ["tilewright", "status", "--json", "--nope"])
    answer = CliRunner().invoke(app, ["status", "--json", "--nope"], prog_name="tilewright")
    sentence = "No such option: --nope: see tilewright status --help."
    assert json.loads(answer.stdout) == {"state": "refused", "exit_code": 2, "error": sentence}
    assert (answer.exit_code, answer.stderr) == (2, f"tilewright: {sentence}\n")


def test_the_version_is_said_and_no_words_at_all_are_answered_with_the_help():
    answer = CliRunner().invoke(app, ["--version"])
    assert (answer.exit_code, answer.stdout) == (0, f"tilewright {importlib.metadata.version('tilewright')}\n")
    for words in ([], ["models"]):
        assert "Usage: " in CliRunner().invoke(app, words).output


def test_the_help_of_every_command_ends_with_an_example_of_options_that_it_has():
    group = typer.main.get_command(app)
    known = dict(group.commands)
    known |= {f"models {name}": command for name, command in known["models"].commands.items()}
    assert sorted(EXAMPLES) == sorted(known)
    for words, command in known.items():
        example = EXAMPLES[words]
        said = CliRunner().invoke(app, [*words.split(), "--help"], terminal_width=80).output
        assert said.endswith(f"  Example:\n    tilewright {example}\n"), said
        given = example.removeprefix(words).split(" > ")[0].split()
        if words != "models":
            command.make_context(words, given, resilient_parsing=False).close()
        assert {each for each in given if each.startswith("-")} <= {
            option for each in command.params for option in each.opts
        }


def test_the_help_names_each_command_once_by_its_purpose_and_without_cutting_a_sentence():
    text = CliRunner().invoke(app, ["--help"], terminal_width=80).output
    for purpose, commands in PURPOSES.items():
        section = text.split(f"{purpose}:\n")[1].split("\n\n")[0].splitlines()
        assert [line.split() for line in section] == [[name, *words.split()] for name, words in commands.items()]
    named = [name for commands in PURPOSES.values() for name in commands]
    assert sorted(named) == sorted(typer.main.get_command(app).commands)


def test_the_help_on_prices_names_a_table_that_is_there():
    from tilewright.flows.estimate.pricing import read_prices

    assert read_prices(EXAMPLE_PRICES) == read_prices()
    said = "".join(CliRunner().invoke(app, ["plan", "--help"]).stdout.split())
    assert "".join(str(EXAMPLE_PRICES).split()) in said


def interrupted(ending, output):
    ending.output = output
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "What is finished is kept"),
        ("s3://bucket/out", "What is finished is kept"),
        ("begun", "What is finished is kept: the same command goes on from there."),
        ("nothing", "Nothing was begun yet: the same command begins it."),
    ],
)
def test_an_interruption_says_whether_anything_was_begun(capsys, tmp_path, output, words):
    (tmp_path / "begun" / ".tilewright").mkdir(parents=True)
    (tmp_path / "begun" / ".tilewright" / "plan.json").write_text("{}")
    place = str(tmp_path / output) if output and "://" not in output else output
    with pytest.raises(typer.Exit), exit_codes(resumable=True) as ending:
        interrupted(ending, place)
    assert words in capsys.readouterr().err


def test_a_command_that_begins_anew_says_without_what_it_goes_on(capsys):
    with pytest.raises(typer.Exit), exit_codes(resumable=True, restarts="--replace"):
        raise KeyboardInterrupt
    said = capsys.readouterr().err
    assert "the same command without --replace goes on from there" in said
