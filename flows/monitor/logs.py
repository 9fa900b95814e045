"""Structured logs: one JSON object a line on stderr, each with time, level, run, block and item."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from tilewright.flows.ending import interruption_words
from tilewright.flows.errors import classify, sentence
from tilewright.flows.shown import shown_json, shown_lines
from tilewright.tasks.progress import Advance, Notice, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilewright.tasks.progress import Event


class JsonLog:
    """A listener that logs every event, and warnings of libraries during the run."""

    def __init__(self, run: str, *, stream: TextIO | None = None) -> None:
        self.run = run
        self.stream = stream or sys.stderr
        self.stage = ""
        self.handler = _Records(self)
        logging.getLogger().addHandler(self.handler)

    def __call__(self, event: Event) -> None:
        """Log one event."""
        match event:
            case Stage():
                self.stage = event.name
                self.write("info", f"{event.name} began", total=event.total)
            case Advance():
                figures: dict[str, Any] = {
                    "km2": event.km2,
                    "bytes_read": event.bytes_read,
                    "seconds": dict(event.seconds),
                }
                self.write("info", "block done" if event.block else "done", block=event.block, n=event.done, **figures)
            case Notice():
                self.write("warning", event.text, block=event.block, item=event.item)

    def ended(self, error: BaseException | None) -> None:
        """Log the end of the run, and restore the logging of libraries."""
        logging.getLogger().removeHandler(self.handler)
        if error is None:
            self.write("info", "complete")
        elif isinstance(error, KeyboardInterrupt):
            self.write("warning", interruption_words(error))
        else:
            failing = {"block": str(getattr(error, "block", "")), "item": str(getattr(error, "item", ""))}
            self.write("error", sentence(error), error_class=classify(error).value, **failing)

    def write(self, level: str, message: str, *, block: str = "", item: str = "", **more: Any) -> None:
        """Write one record; users, passwords and queries of URLs are cut, because they hold keys."""
        record = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "run": self.run,
            "stage": self.stage,
            "block": block,
            "item": item,
            "message": message,
            **more,
        }
        print(shown_json(record, default=str), file=self.stream, flush=True)


def clean_records() -> None:
    """Have what libraries log and warn of in this process go without secrets, whoever shows or sends it."""
    if not isinstance(logging.getLogRecordFactory(), _CleanRecords):
        logging.setLogRecordFactory(_CleanRecords(logging.getLogRecordFactory()))
        warnings.formatwarning = _clean_warning(warnings.formatwarning)


class _CleanRecords:
    """Makes log records as before, and cuts the secrets of their words and traces."""

    def __init__(self, before: Callable[..., logging.LogRecord]) -> None:
        self.before = before

    def __call__(self, *given: Any, **more: Any) -> logging.LogRecord:
        record = self.before(*given, **more)
        if record.levelno < logging.INFO:
            return record
        try:
            words = record.getMessage()
        except (TypeError, ValueError):
            return record
        kept = shown_lines(words)
        if kept != words:
            record.msg, record.args = kept, ()
        if record.exc_info and record.exc_info[0] is not None:
            # A formatter takes the text of a trace that is there.
            record.exc_text = shown_lines("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
        return record


def _clean_warning(before: Callable[..., str]) -> Callable[..., str]:
    def words(*given: Any, **more: Any) -> str:
        return shown_lines(before(*given, **more))

    return words


class _Records(logging.Handler):
    def __init__(self, log: JsonLog) -> None:
        super().__init__(level=logging.WARNING)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        self.log.write(record.levelname.lower(), record.getMessage(), logger=record.name)
