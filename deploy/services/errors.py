"""What is said when a service cannot be had."""

from __future__ import annotations


class ServiceError(RuntimeError):
    """A service that cannot be installed, started or filled; the message says what to do."""
