"""Debian's packages that the services and the tests need, installed where one is missing and that is possible."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from deploy.services.errors import ServiceError
from deploy.services.processes import run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

APT = ("-qq", "-o", "Acquire::http::Timeout=20", "-o", "Acquire::Retries=1", "-o", "DPkg::Lock::Timeout=120")


def install_packages(packages: Sequence[str], *, what: str, tell: Callable[[str], None]) -> None:
    """Install packages by apt-get; ``what`` they bring is missing. One installation at a time.

    Raises ServiceError: they cannot be installed here.
    """
    names = " ".join(packages)
    word = "packages" if len(packages) > 1 else "package"
    if shutil.which("apt-get") is None:
        raise ServiceError(f"{what} is not installed; the services need Debian's {word} {names}.")
    if os.geteuid() != 0:
        raise ServiceError(f"{what} is not installed: run `sudo apt-get install {names}` first.")
    tell(f"Installing {what} (Debian's {word} {names}) ...")
    failure = f"Debian's {word} {names} cannot be installed: is the package archive within reach?"
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", *APT], timeout=120, failure=failure, env=quiet)
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *APT, *packages]
    run(install, timeout=400, failure=failure, env=quiet)
