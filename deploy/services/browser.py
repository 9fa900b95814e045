"""Chromium, in which the tests look at the pages that Tilewright writes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from deploy.services.errors import ServiceError
from deploy.services.packages import install_packages

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("chromium", "fonts-liberation")
"""Without a font a browser draws no letters; Chromium's own package only recommends one."""


def find_browser() -> str | None:
    """The program of a Chromium on the path; None where there is none."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def install_browser(tell: Callable[[str], None]) -> str:
    """The program of a Chromium, installed by apt-get where it is missing.

    Raises ServiceError: it is missing and cannot be installed here.
    """
    program = find_browser()
    if program is not None:
        return program
    install_packages(PACKAGES, what="Chromium", tell=tell)
    program = find_browser()
    if program is None:
        raise ServiceError(f"Debian's package {PACKAGES[0]} is installed, but brought no program of that name.")
    return program
