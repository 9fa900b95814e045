"""Pages in a real browser without a window, watched: nothing but files is asked for, and nothing goes wrong unseen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from deploy.services.addresses import PREFIX
from deploy.services.browser import find_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

GIVEN = f"{PREFIX}BROWSER"
"""Names the program where a browser is expected: a test fails without one, where otherwise it is skipped."""

OWN = frozenset({"file", "data", "blob"})
"""Schemes of what a page may ask for."""

DESK, PHONE = (1280, 900), (390, 844)
"""Widths and heights of screens, in CSS pixels."""


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Chromium, without a window. Skips the test with a reason where there is none, unless one is expected."""
    given = os.environ.get(GIVEN)
    if given is None:
        pytest.importorskip("playwright", reason="playwright is not installed: make .venv anew with `make test`")
    program = given or find_browser()
    if program is None:
        pytest.skip("no Chromium is installed: `make services` installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program)
        yield browser
        browser.close()


@contextmanager
def watched(browser: Browser, *, size: tuple[int, int] = DESK, **how: Any) -> Iterator[Page]:
    """A tab with a storage of its own; ``how`` are further words of Playwright's ``new_context``.

    Raises AssertionError at the end for an error in the page, a message in its console, or a request elsewhere.
    """
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, **how)
    context.set_default_timeout(10_000)
    wrong: list[str] = []

    def requested(request: Any) -> None:
        if urlsplit(request.url).scheme not in OWN:
            wrong.append(f"asks for {request.url[:200]}")

    context.on("request", requested)
    context.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
    context.on("weberror", lambda error: wrong.append(f"fails: {error.error}"))
    try:
        yield context.new_page()
    finally:
        context.close()
    assert not wrong, wrong


def open_file(tab: Page, path: Path) -> Page:
    """The tab, a file open in it and all its pictures there."""
    tab.goto(path.as_uri())
    tab.evaluate("Promise.all([...document.images].map((each) => each.decode().catch(() => {})))")
    return tab


def missing_pictures(tab: Page) -> list[str]:
    """What shown pictures of a page depict that were not drawn, or of one colour alone."""
    return list(tab.evaluate(_MISSING_PICTURES))


def cut_off(tab: Page) -> list[str]:
    """What of a page cannot be seen or reached: beyond the right edge of the screen, or cut by its own box.

    Boxes that can be scrolled hold what they hold; texts that end in an ellipsis on purpose are left out.
    """
    return list(tab.evaluate(_CUT_OFF))


_MISSING_PICTURES = """() => [...document.images].filter((each) => each.checkVisibility()).filter((each) => {
  if (!each.complete || !each.naturalWidth) return true;
  const canvas = document.createElement("canvas");
  canvas.width = Math.min(each.naturalWidth, 256); canvas.height = Math.min(each.naturalHeight, 256);
  const context = canvas.getContext("2d");
  context.drawImage(each, 0, 0, canvas.width, canvas.height);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const colours = new Set();
  for (let at = 0; at < data.length; at += 4) colours.add([...data.slice(at, at + 4)].join());
  return colours.size < 2;
}).map((each) => each.alt || each.className || each.src.slice(0, 60))"""

_CUT_OFF = """() => {
  const found = [], page = document.documentElement, wide = innerWidth + 0.5;
  if (page.scrollWidth > innerWidth) found.push(`the page is ${page.scrollWidth} px wide on ${innerWidth}`);
  const kind = (each) => `${each.tagName} ${each.className.baseVal ?? each.className}`;
  const words = (each) => `${kind(each)}: ${each.textContent.trim().slice(0, 60)}`;
  const holds = (each, kinds) => {
    let box = each.parentElement;
    while (box && !kinds.has(getComputedStyle(box).overflowX)) box = box.parentElement;
    return box;
  };
  const scrolled = new Set(["auto", "scroll"]), any = new Set(["auto", "scroll", "hidden", "clip"]);
  for (const each of document.body.querySelectorAll("*")) {
    if (!each.checkVisibility() || each.closest("svg *, .sheet, .sheet2, script, style")) continue;
    const own = getComputedStyle(each), box = each.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    const texts = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (box.right > wide && !holds(each, scrolled)) found.push(`beyond the edge: ${words(each)}`);
    if (!texts) continue;
    const cuts = own.overflowX !== "visible" && !scrolled.has(own.overflowX) && own.textOverflow !== "ellipsis";
    if (cuts && each.scrollWidth > each.clientWidth + 1) found.push(`cut by itself: ${words(each)}`);
    const holder = holds(each, any), cut = holder && !scrolled.has(getComputedStyle(holder).overflowX);
    if (cut && box.right > holder.getBoundingClientRect().right + 1) found.push(`cut by its box: ${words(each)}`);
  }
  return found;
}"""
