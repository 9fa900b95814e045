"""Jobs begun by answers: what is written is what was said, is taken by the program, and a wrong answer asks again."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest
import yaml
from jsonschema import Draft202012Validator

from tilewright.flows.job.job import read_job
from tilewright.flows.start.begin import OFFERED, SCHEMA_NAME, USUAL, BeginError, begin_job

GIVEN = {"area": "13.1,48.2,13.2,48.3", "period": "2021-06"}


def valid(path):
    """True if a job file is right by the schema that lies beside it."""
    schema = json.loads(path.with_name(SCHEMA_NAME).read_text())
    return Draft202012Validator(schema).is_valid(yaml.safe_load(path.read_text()))


def test_a_job_of_two_answers_is_whole_and_right(tmp_path):
    begun = begin_job(tmp_path / "river.yaml", GIVEN)
    job = read_job(begun.job)
    assert (job.name, job.source, job.model) == ("river", USUAL["source"], USUAL["model"])
    assert job.area.bbox == (13.1, 48.2, 13.2, 48.3)
    assert job.output_uri == "out/river"
    assert valid(begun.job)
    assert begun.job.read_text().startswith(f"# yaml-language-server: $schema={SCHEMA_NAME}\n")


@pytest.mark.parametrize("key", OFFERED)
def test_what_stands_in_it_as_a_comment_may_be_taken_out_of_it(tmp_path, key):
    begun = begin_job(tmp_path / "job.yaml", GIVEN)
    begun.job.write_text(begun.job.read_text().replace(f"\n# {key}: ", f"\n{key}: "))
    assert getattr(read_job(begun.job), key) != getattr(read_job(begin_job(tmp_path / "other.yaml", GIVEN).job), key)
    assert valid(begun.job)


def test_paths_of_the_working_folder_are_written_as_the_job_sees_them(tmp_path, monkeypatch):
    square = {"type": "Polygon", "coordinates": [[[13, 48], [13.1, 48], [13.1, 48.1], [13, 48.1], [13, 48]]]}
    (tmp_path / "place.geojson").write_text(json.dumps(square))
    (tmp_path / "jobs").mkdir()
    monkeypatch.chdir(tmp_path)
    begun = begin_job(tmp_path / "jobs" / "a.yaml", {**GIVEN, "area": "place.geojson"})
    assert yaml.safe_load(begun.job.read_text())["area"] == "../place.geojson"
    assert read_job(begun.job).area.bbox == (13, 48, 13.1, 48.1)


def test_a_model_that_compares_is_asked_two_periods(tmp_path):
    asked = []

    def ask(question, usual):
        asked.append(question)
        return {"before": "2020-06", "after": "2021-06"}.get(question.split()[0], usual)

    begun = begin_job(tmp_path / "job.yaml", {"area": "13,48,14,49", "model": "cva-change"}, ask=ask)
    assert [period.name for period in read_job(begun.job).period] == ["before", "after"]
    assert len(asked) == 4  # source, before, after, name


def test_a_wrong_answer_is_explained_and_asked_again(tmp_path):
    answers, complaints = iter(["nowhere", "13,48,12,49", "13,48,13.1,48.1"]), []
    begun = begin_job(
        tmp_path / "job.yaml",
        {"period": "2021-06"},
        ask=lambda question, usual: next(answers) if question.startswith("where?") else usual,
        complain=complaints.append,
    )
    assert read_job(begun.job).area.bbox == (13, 48, 13.1, 48.1)
    assert len(complaints) == 2
    assert "antimeridian" in complaints[1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "--area is missing"),
        ({"area": "13,48,14,49"}, "--period is missing"),
        ({**GIVEN, "period": "soon"}, "--period: 'soon' is not a period"),
        ({**GIVEN, "area": "1,2,3"}, "--area: a box is four numbers"),
        ({**GIVEN, "model": "ndwi-wate"}, "did you mean 'ndwi-water'"),
        ({**GIVEN, "source": "earth-serch"}, "--source: "),
        ({**GIVEN, "name": "a/b"}, "--name: letters, digits"),
        ({**GIVEN, "before": "2020"}, "are for models that compare"),
        ({**GIVEN, "model": "cva-change"}, "give --before and --after"),
        ({"area": "1,2,3,4", "model": "cva-change", "before": "2021", "after": "2020"}, "must end before after"),
    ],
)
def test_a_wrong_answer_of_an_option_writes_nothing(tmp_path, given, said):
    with pytest.raises(BeginError, match=said):
        begin_job(tmp_path / "job.yaml", given)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_kept(tmp_path):
    (tmp_path / "job.yaml").write_text("mine")
    with pytest.raises(BeginError, match="is there already"):
        begin_job(tmp_path / "job.yaml", GIVEN)
    assert (tmp_path / "job.yaml").read_text() == "mine"
    begin_job(tmp_path / "job.yaml", GIVEN, replace=True)
    with pytest.raises(BeginError, match=r"ends in \.yaml"):
        begin_job(tmp_path / "job.json", GIVEN)


def test_somebody_elses_schema_is_kept(tmp_path):
    (tmp_path / SCHEMA_NAME).write_text("{}")
    with pytest.raises(BeginError, match="none of Tilewright's"):
        begin_job(tmp_path / "job.yaml", GIVEN)
    assert [path.name for path in tmp_path.iterdir()] == [SCHEMA_NAME]


COMMAND = [sys.executable, "-m", "tilewright.flows.cli", "init"]


def test_the_command_asks_on_a_terminal_and_takes_what_is_typed(tmp_path):
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "job.yaml"], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    ) as process:
        os.close(theirs)
        # The first answer and one to the period are empty, where nothing is usual: both are asked for again.
        os.write(ours, b"\n13.1,48.2,13.2,48.3\n\n\n\n2021-06\n\n")
        said = b""
        while True:
            try:
                more = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not more:
                break
            said += more
        assert process.wait(60) == 0, said
    os.close(ours)
    assert said.count(b"Where?") == 2
    assert said.count(b"When?") == 2
    assert said.count(b"tilewright: ") == 2
    assert b"tilewright run job.yaml" in said
    assert read_job(tmp_path / "job.yaml").period[0].text == "2021-06-01/2021-06-30"


def test_the_command_refuses_where_nobody_can_be_asked(tmp_path):
    done = subprocess.run(COMMAND, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("tilewright: --area is missing")
