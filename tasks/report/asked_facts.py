"""Figures of what a job asked for beside its map: a screen, masks by a model, dates that are moved, losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilewright.tasks.report import format as words
from tilewright.tasks.report.fields import mapping, rows, text
from tilewright.tasks.report.format import number
from tilewright.tasks.report.performance import Fact

if TYPE_CHECKING:
    from tilewright.tasks.report.fields import Fields


def asked_facts(report: Fields) -> tuple[Fact, ...]:
    """The figures of all that a report holds of it."""
    return (*_screen_facts(report), *_mask_facts(report), *_align_facts(report), *_loss_facts(report))


def _screen_facts(report: Fields) -> tuple[Fact, ...]:
    """How many windows the screen left out; none without a screen."""
    screen = mapping(report, "screen")
    out, run = number(screen.get("windows_screened")), number(screen.get("windows_run"))
    if out is None or run is None:
        return ()
    share = f"{100 * (number(screen.get('least_share')) or 0.0):.3g}"
    note = f"by {text(screen, 'model')}, which saw less than {share} % of what is looked for; {words.count(run)} run"
    return (Fact(name="Windows screened out", value=words.count(out), note=note),)


def _align_facts(report: Fields) -> tuple[Fact, ...]:
    """How far each date was moved; none where none was."""
    align = mapping(report, "align")
    facts = []
    for row in rows(align, "steps"):
        x, y, used = (number(row.get(key)) for key in ("shift_x", "shift_y", "used_percent"))
        value = "nothing" if x is None or y is None else f"{0.0 - x:.1f} m east, {0.0 - y:.1f} m north"
        note = f"the median; measured in {text(row, 'band')} in {used or 0:.0f} % of windows"
        facts.append(Fact(name=f"{text(row, 'step')} moved by", value=value, note=note))
    return tuple(facts)


def _mask_facts(report: Fields) -> tuple[Fact, ...]:
    """What the masks that a model made of scenes dropped; none where no model made any."""
    mask = mapping(report, "mask")
    dropped = number(mask.get("dropped_percent"))
    if dropped is None:
        return ()
    maps = (
        f"{words.count(mask.get('blocks_made'))} blocks made, found again {words.count(mask.get('blocks_kept'))} times"
    )
    note = f"of the pixels of all scenes over the area; of its maps {maps}"
    return (Fact(name=f"Masked by {text(mask, 'model')}", value=f"{words.figure(dropped)} %", note=note),)


def _loss_facts(report: Fields) -> tuple[Fact, ...]:
    """What each layer that is stored with an error saved, and how far its values are off; none without losses."""
    losses = mapping(report, "loss")
    return tuple(_loss_fact(str(name), told) for name in losses if (told := mapping(losses, str(name))))


def _loss_fact(layer: str, told: Fields) -> Fact:
    psnr = number(told.get("psnr"))
    exact, allowed = words.size(told.get("bytes_exact")), words.figure(told.get("allowed"))
    off = words.figure(told.get("max_error"))
    note = f"than {exact} without loss, by values off by at most {off} of {allowed} allowed"
    return Fact(
        name=f"Saved in {layer}",
        value=f"{words.size(told.get('bytes_saved'))} less",
        note=note if psnr is None else f"{note}; PSNR {psnr:.1f} dB",
    )
