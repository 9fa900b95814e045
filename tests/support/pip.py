"""Pip in environments that tests make."""

from __future__ import annotations

import os
import subprocess
import sys


def pip_settings() -> dict[str, str]:
    """Where pip finds packages, and keeps those it had before, is this machine's business."""
    cache = subprocess.run([sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=True)
    kept = {"PIP_CACHE_DIR": cache.stdout.strip()}
    return kept | {
        key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_", "REQUESTS_", "HTTP"))
    }
