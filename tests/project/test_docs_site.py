"""The pages of the site keep their word: each command, job and snippet runs, and the site builds without a warning."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import pytest

from tests.support.doc_blocks import DOCS, Runner, pages, parse, reasons
from tests.support.paths import ROOT
from tilewright.flows.schema.job_schema import job_schema


@pytest.fixture(scope="module")
def ran(sample, tmp_path_factory):
    """A runner that has run all blocks of all pages in one folder, with the sample that the demo would build."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "demo").mkdir()
    (folder / "demo" / "sample").symlink_to(sample)
    before, environment = os.getcwd(), dict(os.environ)
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tilewright.tasks.publish.publish.PICTURE_SIZE", 256)
        runner = Runner(folder=folder)
        try:
            for page in pages():
                runner.page(page)
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ.update(environment)
    return runner


def test_every_block_runs_or_says_why_not(ran):
    assert len(ran.ran) > 20
    for place, reason in reasons():
        assert place in ran.ran, place
        assert len(reason) > 10, place
