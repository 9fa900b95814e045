"""The environment is read in one file; the settings it means are tested in tests/catalogs/test_s3.py."""

from __future__ import annotations

import re

import pytest

from tests.support.paths import ROOT
from tilewright.flows.environment import STAC_TOKEN, has_screen, stac_token

READERS = {
    "flows/environment.py": "the one place",
    "flows/cli/bounded.py": "handed on whole to a process of the same command",
    "flows/prefect_flows/flows.py": "Prefect's own settings, before Prefect is imported",
}


def test_the_environment_is_read_in_one_place():
    files = [path for name in ("catalogs", "models", "tasks", "flows") for path in (ROOT / name).rglob("*.py")]
    assert len(files) > 200
    found = {
        str(path.relative_to(ROOT)) for path in files if re.search(r"\bos\.(environ|getenv)", path.read_text("utf-8"))
    }
    assert found == set(READERS)


@pytest.mark.parametrize(("environ", "token"), [({}, None), ({STAC_TOKEN: " "}, None), ({STAC_TOKEN: " abc\n"}, "abc")])
def test_a_token_is_taken_without_the_blanks_around_it(environ, token):
    assert stac_token(environ) == token


@pytest.mark.parametrize(
    ("platform", "environ", "screen"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ""}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {"BROWSER": "firefox"}, True),
        ("darwin", {}, True),
        ("win32", {}, True),
    ],
)
def test_a_browser_is_opened_where_there_is_a_screen(monkeypatch, platform, environ, screen):
    monkeypatch.setattr("sys.platform", platform)
    assert has_screen(environ) is screen
