"""Models on the terminal: the registry, a card, an imported card, the check of a card."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.text import Text

from tilewright.flows.shown import shown
from tilewright.tasks.report.format import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.models.card.card import ModelCard
    from tilewright.models.imports.importing import Imported
    from tilewright.models.measure.check import CheckReport
    from tilewright.models.spec.outputs import OutputSpec


from tilewright.flows.cli.printed.console import MOST_ROWS, print_columns, print_facts, print_line, shown_console

MOST_CHARACTERS = 100
"""Characters of a field of a card that are shown."""


def print_models(cards: Sequence[ModelCard]) -> None:
    """Print the registry: a model's name and task, then its inputs and layers."""
    console = shown_console()
    for card in cards:
        console.print(Text(shown(card.name), style="bold") + Text(shown(f"  {', '.join(card.tasks)}")), soft_wrap=True)
        reads = "; ".join(f"{entry.collection} {' '.join(entry.bands)}" for entry in card.inputs)
        layers = [layer for output in card.outputs for layer in _given(output)]
        objects = [f"{each.name} (objects)" for each in card.masks]
        words = [f"{name} (words)" for name in card.answers]
        gives = ", ".join([*layers, *(f"{table.name} (boxes)" for table in card.boxes), *objects, *words])
        title = str(card.raw["properties"].get("title", ""))[:MOST_CHARACTERS]
        print_facts(console, [*([("  is", title)] if title else []), ("  reads", reads), ("  gives", gives)])


def _given(output: OutputSpec) -> tuple[str, ...]:
    """The layers of an output as its card names them."""
    return (*((f"{output.instances.name} (objects)",) if output.instances else ()), *output.layers)


def print_card(card: ModelCard) -> None:
    """Print the inputs and outputs of a card."""
    console = shown_console()
    console.print(Text(shown(card.name), style="bold") + Text(shown(f"  {', '.join(card.tasks)}")), soft_wrap=True)
    facts = [("sha256", card.sha256)]
    for entry in card.inputs:
        pixels = f" at {entry.resolution:g} m" if entry.resolution else ""
        source = f"{entry.collection} {' '.join(entry.bands)}; {entry.unit}{pixels}, dates: {entry.dates.kind}"
        facts.append((f"input {entry.name}", source))
    for output in card.outputs:
        classes = ", ".join(known.name for known in output.classes)
        facts.append(
            (f"output {output.name}", f"{', '.join(_given(output))}{f'; classes {classes}' if classes else ''}")
        )
    for table in card.boxes:
        classes = ", ".join(known.name for known in table.classes)
        told = ", ".join(output.name for output in table.outputs)
        facts.append((f"output {told}", f"{table.name}, a table of boxes; classes {classes}"))
    facts += [(f"output {port.name}", f"{n}, a table of answers in words") for n in card.answers for port in card.ports]
    for masks in card.masks:
        classes = ", ".join(known.name for known in masks.boxes.classes)
        told = ", ".join(output.name for output in masks.outputs)
        facts.append((f"output {told}", f"{masks.name} (objects with masks); classes {classes}"))
    print_facts(console, facts)


def print_imported(imported: Imported) -> None:
    """Print where each field of an imported card comes from, and what to do next."""
    console = shown_console()
    card = imported.card
    console.print(
        Text(shown(card.name), style="bold") + Text(shown(f"  a card from the {imported.format}")), soft_wrap=True
    )
    facts = [
        (f"{part or 'model'} {field}", f"{_short(value)}  ({place})") for part, field, value, place in imported.facts
    ]
    print_facts(console, [*facts, ("prove it", f"tilewright models check {card.folder}")])


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."


def print_check(report: CheckReport) -> None:
    """Print the check of a card, one finding a line, then its operators and who lacks them."""
    console = shown_console()
    print_facts(console, report.lines())
    operators = report.operators.operators
    rows = []
    for each in operators[:MOST_ROWS]:
        kind = {"ONNX": " (function)", "the model": " (own function)"}.get(each.function, "")
        lacking = ", ".join([*each.lacking, *(f"{provider}?" for provider in each.unknown)]) or "-"
        rows.append((f"{each.operator}{kind}", each.domain, str(each.opset), f"{each.nodes:,}", lacking))
    print_columns(console, ("operator", "domain", "opset", "nodes", "lacking in"), rows, right={2, 3})
    if len(operators) > len(rows):
        print_line(console, f"... and {plural(len(operators) - len(rows), 'operator')} more (--json has all)")
