"""What a run shows while it works and when it ends."""

from __future__ import annotations

import re
from datetime import datetime

import pytest

from tilewright.flows.cli.printed.terminal import Terminal
from tilewright.flows.run.outcome import Outcome, closing_lines
from tilewright.flows.shown import wrapped
from tilewright.tasks.progress import Advance, Notice, Stage

REPORT = {
    "area_km2": 14.2,
    "missing_percent": 0.0,
    "model": {"name": "ndwi-water"},
    "layers": [],
    "scenes": [{}],
    "blocks": 1,
    "windows_run": 4,
    "provider": "cpu",
    "km2_per_s": 1.1,
    "floor_seconds": 0.03,
    "efficiency": 0.0023,
    "seconds": {"total": 13.1},
    "exact": True,
    "exact_reason": "the model looks at each pixel alone: tiled equals whole",
}


def closing(**changes):
    words = "\n".join(closing_lines(Outcome(name="inn", output="out/inn", report={**REPORT, **changes})))
    return words.replace("\u00a0", " ")


def test_a_short_run_closes_in_the_singular_and_says_why_it_is_slow():
    words = closing()
    assert "1 scene, 1 block, 4 windows on cpu, 1.1 km²/s" in words
    assert "13.1 s in all, most of it start-up and publishing\n" in words
    assert "efficiency" not in words
    assert "no data" not in words


def test_a_long_run_is_held_against_its_floor_alone():
    words = closing(
        seconds={"total": 600.0, "read": 100.0, "infer": 900.0}, workers=2, floor_seconds=360.0, efficiency=0.6
    )
    floor = "reading, model and writing alone take 6 min 00 s here at the least (floor): efficiency 60 %"
    assert f"10 min 00 s in all; {floor}" in words
    assert "how fast it could be is not known" in closing(floor_seconds=None, efficiency=None)


@pytest.mark.parametrize(("missing", "said"), [(18.2, "! 18.2 % of the area has no data"), (0.4, None)])
def test_what_is_missing_is_said_from_one_percent_on(missing, said):
    words = closing(missing_percent=missing)
    assert (said in words) if said else ("no data" not in words)


def test_a_finished_product_says_where_it_is():
    lines = closing_lines(Outcome(name="inn", output="s3://b/inn/", report={}, already_complete=True))
    assert lines[0] == "inn: complete already, nothing was written"
    assert "  report   s3://b/inn/report.html" in lines


def test_a_job_over_places_answers_units_of_rows(capsys):
    with Terminal() as terminal:
        terminal(Stage(name="blocks", total=3, rows=256))
    assert dated(capsys.readouterr().err.splitlines()) == ["Answering units of 256 rows ..."]


def test_a_copy_of_the_table_is_named_and_nobody_says_that_nothing_was_written(tmp_path):
    done = Outcome(name="inn", output="out/inn", report={}, already_complete=True)
    lines = closing_lines(done, copied=tmp_path / "many.geojson")
    assert lines[0] == f"inn: complete already, only its table was written, to {tmp_path / 'many.geojson'}"
    assert f"  copy     {tmp_path / 'many.geojson'}" in lines
    made = Outcome(name="inn", output="out/inn", report=REPORT)
    assert closing_lines(made, copied=tmp_path / "many.geojson")[-1] == f"  copy     {tmp_path / 'many.geojson'}"


EVENTS = (
    Stage(name="plan"),
    Notice(text="mind [b]the[/b] gap", block="1_2", item="S2A"),
    Stage(name="blocks", total=3),
    Advance(km2=2.0),
    Advance(km2=2.0),
)


def dated(lines):
    """The lines without the time that stands before each, which has a zone."""
    times, words = zip(*(line.split(" ", 1) for line in lines), strict=True)
    assert all(datetime.fromisoformat(moment).tzinfo is not None for moment in times)
    return list(words)


def test_without_a_terminal_each_stage_is_a_line_with_its_time(capsys, monkeypatch):
    monkeypatch.setattr("tilewright.flows.cli.printed.terminal.LINE_SECONDS", -1.0)
    with Terminal() as terminal:
        for event in EVENTS:
            terminal(event)
    said = capsys.readouterr()
    assert said.out == ""
    assert dated(said.err.splitlines()) == ["Planning ...", "! mind [b]the[/b] gap", "Mapping blocks ..."]


def test_told_more_it_says_how_far_it_is_and_how_long_stages_took(capsys, monkeypatch):
    monkeypatch.setattr("tilewright.flows.cli.printed.terminal.LINE_SECONDS", -1.0)
    with Terminal(verbose=True) as terminal:
        for event in EVENTS:
            terminal(event)
    words = [re.sub(r"[0-9.]+.s$", "T", line) for line in dated(capsys.readouterr().err.splitlines())]
    counts = [f"Mapping blocks: {n} of 3" for n in (1, 2)]
    assert words == [
        *("Planning ...", "! mind [b]the[/b] gap (1_2, S2A)", "Planning: T"),
        *("Mapping blocks ...", *counts, "Mapping blocks: T"),
    ]


def test_told_less_it_says_the_last_line_alone(capsys):
    with Terminal(brief=True) as terminal:
        for event in EVENTS:
            terminal(event)
        terminal.close_run(Outcome(name="inn", output="out/inn", report=REPORT))
    assert capsys.readouterr() == ("inn: 14.2 km² mapped with ndwi-water: out/inn\n", "")


@pytest.mark.parametrize("colours", [True, False])
def test_a_bar_gives_way_to_the_closing_words(capsys, monkeypatch, colours):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    if not colours:
        monkeypatch.setenv("NO_COLOR", "1")
    with Terminal() as terminal:
        terminal(Stage(name="plan"))
        terminal(Stage(name="blocks", total=4))
        terminal(Advance(km2=2.0))
        terminal.bars.refresh()
        terminal.close_run(Outcome(name="inn", output="out/inn", report=REPORT))
        terminal(Stage(name="plan"))
    drawn = capsys.readouterr()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.err)
    assert "1/4" in plain
    assert "0/1" not in plain
    assert max(len(line) for line in re.split(r"[\r\n]", plain)) <= 80
    assert bool(re.search(r"\x1b\[3[0-9]|\x1b\[38", drawn.err)) is colours


def test_quiet_means_nothing_at_all(capsys):
    with Terminal(quiet=True) as terminal:
        terminal(Stage(name="blocks", total=2))
        terminal(Advance())
        terminal(Notice(text="x"))
    assert capsys.readouterr() == ("", "")


LONG = "/a/folder/of/some/body/with/a/very/long/name/so-that-it-does-not-fit/on/any/line/of/eighty/columns/out"


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("", 80, [""]),
        ("one two", 80, ["one two"]),
        ("  layer: water 1.00\u00a0km², crop-land 2.00\u00a0km²", 26,
         ["  layer: water 1.00\u00a0km²,", "    crop-land 2.00\u00a0km²"]),
        (f"  product  {LONG}", 80, ["  product", f"    {LONG}"]),
        ("one two", 1, ["one two"]),
    ],
)  # fmt: skip
def test_lines_hang_and_no_word_is_cut(text, width, lines):
    assert wrapped(text, width) == lines


def test_a_run_is_read_at_80_columns(capsys, monkeypatch):
    """What it notes and its closing lines, with whatever a report tells; paths stay whole."""
    monkeypatch.setenv("COLUMNS", "80")
    classes = [
        {"name": name, "pixels": 9, "area_km2": 12.5, "percent": 9.1} for name in ("broad-leaf", "water", "crop")
    ]
    changes = {"layers": [{"name": "class", "classes": 4 * classes}], "exact_reason": "the model sees 43 px " * 9}
    with Terminal() as terminal:
        terminal(Stage(name="plan"))
        terminal(Notice(text=f"{'These scenes lack a band that others have. ' * 5}{LONG}"))
    outcome = Outcome(name="inn", output=LONG, report={**REPORT, **changes}, off="other than foretold " * 8)
    terminal.close_run(outcome)
    shown = capsys.readouterr()
    assert all(len(line) <= 80 or line.split() == [line.strip()] for line in shown.out.splitlines())
    assert len(dated(shown.err.splitlines())) == 2, "a line each for logs"
    assert " ".join(shown.out.split()) == " ".join(" ".join(closing_lines(outcome)).split())
    assert shown.err.count(LONG) == 1
    assert sum(LONG in line for line in shown.out.splitlines()) == 3
