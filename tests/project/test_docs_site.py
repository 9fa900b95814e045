"""The pages of the site keep their word: each command, job and snippet runs, and the site builds without a warning."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tilewright
from deploy.site.commands_page import commands_page, named_commands
from deploy.site.documents import PAGES, document_page, with_links, with_lists_apart
from deploy.site.job_page import job_page
from tests.support.browsers import DESK, PHONE, cut_off, open_file, watched
from tests.support.doc_blocks import DOCS, Runner, pages, parse, reasons
from tests.support.paths import ROOT
from tilewright.flows.schema.texts import TEXTS

of_all_pages = pytest.mark.slow(reason="runs every command of the pages: half a minute")


@pytest.fixture(scope="module")
def ran(sample, moto, tmp_path_factory):
    """A runner that has run all blocks of all pages in one folder, with the sample that the demo would build."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "demo").mkdir()
    (folder / "demo" / "sample").symlink_to(sample)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        # Drawing them in full takes longer than the small jobs of these pages.
        patch.setattr("tilewright.tasks.publish.publish.PICTURE_SIZE", 400)
        runner = Runner(folder=folder, bucket_server=moto, patch=patch)
        for page in pages():
            runner.page(page)
        yield runner


@pytest.fixture(scope="module")
def site(ran, tmp_path_factory):
    """The folder of the built site, whose gallery shows what the pages' commands made."""
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed: make .venv anew with `make test`")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = {**os.environ, "DOCS_GALLERY": str(ran.folder), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@of_all_pages
def test_every_block_runs_or_says_why_not(ran):
    assert len(ran.ran) > 60
    for place, reason in reasons():
        assert place in ran.ran
        assert len(reason) > 10, place
    told = [place for place, _ in reasons()]
    assert len(told) < len(ran.ran) / 4, "most of what the pages show is run"


def test_every_page_of_the_folder_is_run():
    assert set(pages()) == set(DOCS.rglob("*.md"))


@of_all_pages
def test_the_site_is_whole_and_asks_nothing_of_others(site):
    names = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    assert {str(page.relative_to(DOCS).with_suffix(".html")) for page in pages()} <= names
    assert {f"reference/{name}.html" for name in ("job", "commands", "python", "cards", "jobs")} <= names
    for path in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|iframe)[^>]* src="([^"]+)"|<link[^>]* href="([^"]+)"', path.read_text("utf-8")
        )
        outside = [words for pair in loaded for words in pair if re.match(r"(https?:)?//", words)]
        assert outside == [], path
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert "url(http" not in styles
    assert "@import" not in styles
    gallery = (site / "gallery.html").read_text("utf-8")
    assert (site / "gallery" / "water.webp").stat().st_size < 300_000
    assert gallery.count(".webp") >= 3


@of_all_pages
def test_pages_fit_a_phone_and_are_searched_without_a_server(site, browser):
    for name in ("gallery", "from/odc-stac", "reference/job"):
        with watched(browser, size=PHONE) as tab:
            open_file(tab, site / f"{name}.html")
            assert cut_off(tab) == [], name
            assert tab.evaluate("[...document.images].filter((each) => !each.naturalWidth).length") == 0, name
    with watched(browser, size=DESK) as tab:
        open_file(tab, site / "index.html").locator("[data-md-component=search-query]").fill("halo")
        tab.wait_for_selector(".md-search-result__item")
        assert "Glossary" in tab.locator(".md-search-result__list").inner_text()


@of_all_pages
def test_the_references_have_all_there_is(site):
    job = job_page()
    assert [key for key in TEXTS if f"| `{key}` | " not in job] == []
    commands = commands_page()
    assert [name for name, _ in named_commands() if f"\n## {name}\n" not in commands] == []
    python = (site / "reference" / "python.html").read_text("utf-8")
    assert [name for name in tilewright.__all__ if f"tilewright.{name}" not in python] == []


@pytest.mark.parametrize("document", PAGES)
def test_documents_of_the_repository_become_pages_whose_links_stay_inside(document):
    words = document_page(ROOT, document)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", words) if "://" not in link]
    page = Path(PAGES[document][0])
    made = {there for there, _ in PAGES.values()}
    for link in links:
        there = os.path.normpath(page.parent / link)
        assert there in made or (DOCS / there).exists(), (document, link)


def test_a_link_from_a_page_to_a_readme_leads_to_its_page():
    words = "See [catalogs/README.md](../../catalogs/README.md#odd-items), [code](../../README.md), [x](../glossary.md)"
    found = with_links(words, "docs/how/data.md", "how/data.md")
    assert found == "See [Sources in depth](../reference/sources.md#odd-items), code (`README.md`), [x](../glossary.md)"
    assert with_links("names[int(value[0])](window)", "docs/a.md", "a.md") == "names[int(value[0])](window)"


def test_lists_right_below_words_stand_apart_and_code_is_left_alone():
    assert with_lists_apart("Words:\n- one\n  more\n- two\n") == "Words:\n\n- one\n  more\n- two\n"
    assert with_lists_apart("Words:\n1. one\n") == "Words:\n\n1. one\n"
    code = "```\nkey:\n- one\n```\n"
    assert with_lists_apart(code) == code


FALSE_PAGES = {
    "a line that the command does not say": "```console\n$ tilewright --version\n99.9\n```\n",
    "a command that fails": "```console\n$ tilewright plan nowhere.yaml\n```\n",
    "a refusal that does not come": "<!-- exit: 2 -->\n```console\n$ tilewright --version\n```\n",
    "another program that fails": "```console\n$ ls nowhere\n```\n",
    "a key that no job has": "```yaml\nmaskk: {kind: none}\n```\n",
    "a value that no job takes": "```yaml\nprovider: abacus\n```\n",
    "a false job in a tab": '=== "Tilewright"\n\n    ```yaml\n    model: 3\n    ```\n',
    "Python that fails": "```python\nassert 1 == 2\n```\n",
    "a fence that does not close": "```console\n$ tilewright runn\n",
    "a fence with a space behind it": "```yaml\nmodell: a\n``` \n",
    "another fence": "~~~console\n$ tilewright runn\n~~~\n",
    "a card that goes nowhere": "```json\n{}\n```\n",
    "a language without a reason": "```r\nlibrary(sits)\n```\n",
    "a block without a language": "```\nanything\n```\n",
    "a word that is not there": "<!-- not run: a reason -->\n```console\n$ tilewright run a.yaml --no\n```\n",
    "a job that is not run and is none": "<!-- not run: a reason -->\n```yaml\nmodell: a\n```\n",
    "a reason that stands apart": "<!-- not run: a reason -->\n\n```r\nlibrary(sits)\n```\n",
}


@pytest.mark.parametrize("words", FALSE_PAGES.values(), ids=FALSE_PAGES)
def test_a_page_that_is_not_true_fails(tmp_path, monkeypatch, words):
    (tmp_path / "page.md").write_text(words)
    monkeypatch.chdir(tmp_path)
    runner = Runner(folder=tmp_path, patch=monkeypatch)
    with pytest.raises(AssertionError, match=r"page\.md:\d"):
        runner.page(tmp_path / "page.md")


@pytest.mark.parametrize(
    "words",
    ["runn first.yaml", "run", "run first.yaml --sett a=b", "models chek my-cover", "plan first.yaml --shards x"],
)
def test_a_command_that_does_not_exist_would_be_noticed(words):
    with pytest.raises(AssertionError):
        parse(words.split())
