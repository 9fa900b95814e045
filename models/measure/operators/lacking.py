"""Which providers lack operators of a graph: ONNX Runtime's cpu, cuda and tensorrt, and openvino, installed or not.

What cuda and tensorrt lack runs on the CPU beside them; cpu and openvino refuse a graph that has it. Known are the
operator, its version and its types: a kernel may still turn down an attribute.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from tilewright.models.errors import CardError
from tilewright.models.measure.operators.kernels import NO_OPERATOR
from tilewright.models.measure.operators.openvino_probe import lacking_in_openvino
from tilewright.models.measure.operators.tables import installed_cpu, installed_openvino, stored_tables
from tilewright.models.measure.operators.uses import OperatorUse, count_operators
from tilewright.models.run.providers import GPUS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tilewright.models.measure.operators.kernels import KernelTable

PROVIDERS: Final = ("cpu", *GPUS, "openvino")

UNKNOWN: Final = "unknown"

WRITTEN_OUT: Final = "written out"

NO_KERNEL: Final = frozenset((("ai.onnx", "Constant"),))
"""Operators that every runtime turns into stored values before it looks for kernels."""

LONGEST: Final = 60
"""Characters of the name of a function that are told."""

NAMED: Final = 6
"""Operators that a sentence names; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorFacts:
    """An operator of a graph with its domain, the version of it (`opset`), and the number of its nodes.

    `function` says whose function it is, `the model` or `ONNX`; empty if it is none. `lacking` holds what a provider
    lacks of it by the provider's name; `unknown` are the providers whose table does not tell.
    """

    domain: str
    operator: str
    opset: int
    nodes: int
    function: str = ""
    lacking: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    def words(self) -> str:
        """Its name with its domain unless that is ONNX's own, and its version."""
        return f"{'' if self.domain == 'ai.onnx' else f'{self.domain}.'}{self.operator}-{self.opset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorReport:
    """The operators of a graph, those that some provider lacks first, and what each provider's answer was taken from.

    `refused` is what OpenVINO says where it refuses the graph for another reason than an operator.
    """

    operators: tuple[OperatorFacts, ...]
    sources: Mapping[str, str]
    refused: str = ""

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {"used": [asdict(each) for each in self.operators], "sources": dict(self.sources)}

    @property
    def n_nodes(self) -> int:
        """Nodes of the graph, its own functions written out."""
        return sum(each.nodes for each in self.operators if each.function != "the model")

    def lines(self) -> list[tuple[str, str]]:
        """Pairs of label and text for a person: one if every provider has every operator."""
        told = {provider: words for provider in PROVIDERS if (words := self.sentence(provider))}
        kinds = len({(each.domain, each.operator) for each in self.operators if each.function != "the model"})
        having = _listed([provider for provider in PROVIDERS if provider not in told])
        all_of_them = f"; {having} {'has' if len(told) == len(PROVIDERS) - 1 else 'have'} all" if having else ""
        return [
            ("operators", f"{_plural(self.n_nodes, 'node')} of {_plural(kinds, 'operator')}{all_of_them}"),
            *((f"on {provider}", words) for provider, words in told.items()),
            ("told by", ", ".join(f"{provider}: {self.sources[provider]}" for provider in PROVIDERS)),
        ]

    def sentence(self, provider: str) -> str:
        """What a provider lacks and what follows, with what its table does not tell; empty if it has everything."""
        lacking = [each for each in self.operators if provider in each.lacking]
        unknown = [each for each in self.operators if provider in each.unknown]
        words = []
        if lacking:
            n_nodes = sum(each.nodes for each in lacking)
            refuses = "would run on the CPU" if provider in GPUS else "is refused" if n_nodes == 1 else "are refused"
            words.append(f"{_plural(n_nodes, 'node')} {refuses}: {_named(lacking, provider)}")
        if unknown:
            n_nodes = sum(each.nodes for each in unknown)
            words.append(f"{_plural(n_nodes, 'node')} unknown to {self.sources[provider]}: {_named(unknown, provider)}")
        if provider == "openvino" and self.refused:
            words.append(f"the graph is refused: {self.refused}")
        return "; ".join(words)


def report_operators(path: Path, *, ask_openvino: bool = True) -> OperatorReport:
    """The operators of the graph at `path` and who lacks them.

    `ask_openvino`: where OpenVINO is installed it reads the graph, in a process of its own, which takes a second or
    more; the tables take a moment. Raises UnprovenError for a file that is no graph.
    """
    uses, calls = count_operators(path)
    tables = {**stored_tables(), **({"cpu": cpu} if (cpu := installed_cpu()) else {})}
    sources = {provider: tables[provider].source for provider in PROVIDERS}
    read: frozenset[tuple[str, str]] | None = None
    refused = ""
    if ask_openvino and (version := installed_openvino()):
        sources["openvino"] = f"the installed OpenVINO {version}"
        try:
            read = lacking_in_openvino(path)
        except CardError as error:
            read, refused = frozenset(), str(error)
    nodes: Counter[tuple[OperatorUse, tuple[str, ...]]] = Counter()
    for use, n_nodes in uses.items():
        standing = [_standing(use, tables[provider], tables["cpu"]) for provider in PROVIDERS]
        if read is not None:
            standing[-1] = _read_by_openvino(use, read)
        # Types that make no difference are not told apart.
        nodes[replace(use, types=()), tuple(standing)] += n_nodes
    operators = [_facts(use, standing, n_nodes) for (use, standing), n_nodes in nodes.items()]
    operators += [
        OperatorFacts(domain=_short(domain), operator=_short(name), opset=opset, nodes=n_calls, function="the model")
        for (domain, name, opset), n_calls in calls.items()
    ]
    return OperatorReport(operators=tuple(sorted(operators, key=_order)), sources=sources, refused=refused)


def _order(facts: OperatorFacts) -> tuple[Any, ...]:
    """What is lacking first, then what is not known, then the most frequent."""
    return (not facts.lacking, not facts.unknown, -facts.nodes, facts.domain, facts.operator, facts.opset)


def _facts(use: OperatorUse, standing: tuple[str, ...], nodes: int) -> OperatorFacts:
    told = dict(zip(PROVIDERS, standing, strict=True))
    return OperatorFacts(
        domain=use.domain,
        operator=use.name,
        opset=use.since,
        nodes=nodes,
        function="ONNX" if WRITTEN_OUT in standing else "",
        lacking={name: words for name, words in told.items() if words not in {"", UNKNOWN, WRITTEN_OUT}},
        unknown=tuple(name for name, words in told.items() if words == UNKNOWN),
    )


def _standing(use: OperatorUse, table: KernelTable, cpu: KernelTable) -> str:
    """What a provider lacks of an operator: nothing, some words, `UNKNOWN`, or nothing because it is `WRITTEN_OUT`.

    ONNX Runtime writes a function of ONNX out where neither the provider nor the CPU beside it has a kernel.
    Source: ONNX Runtime 1.31, graph_partitioner.cc, `InlineFunctionsAOT`.
    """
    if (use.domain, use.name) in NO_KERNEL:
        return ""
    if not table.knows(use.domain, use.since, use.opset):
        return UNKNOWN
    types = dict(use.types)
    lacks = table.lacks(use.domain, use.name, use.since, types)
    if not lacks:
        return ""
    if not use.is_function or not cpu.lacks(use.domain, use.name, use.since, types):
        # A CPU computes half precision in single. Source: ONNX Runtime 1.31, insert_cast_transformer.cc.
        single = {name: "float" if kind == "float16" else kind for name, kind in types.items()}
        return cpu.lacks(use.domain, use.name, use.since, single) if table is cpu else lacks
    inner = [(each.name, _standing(each, table, cpu)) for each in use.body]
    if lacking := list(dict.fromkeys(name for name, words in inner if words not in {"", UNKNOWN, WRITTEN_OUT})):
        return f"written out with {_listed(lacking)}, which it lacks"
    return UNKNOWN if not inner or any(words == UNKNOWN for _, words in inner) else WRITTEN_OUT


def _read_by_openvino(use: OperatorUse, lacking: frozenset[tuple[str, str]]) -> str:
    """What OpenVINO lacks of an operator of a graph for which it named the operators that it lacks."""
    if (use.domain, use.name) in lacking:
        return NO_OPERATOR
    # It may write functions out itself, and then names what is in them.
    inner = list(dict.fromkeys(each.name for each in use.body if (each.domain, each.name) in lacking))
    if inner and stored_tables()["openvino"].lacks(use.domain, use.name, use.since, {}):
        return f"written out with {_listed(inner)}, which it lacks"
    return ""


def _short(name: str) -> str:
    """The name of a function as its author gave it, of a length that fits a line."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."


def _plural(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _named(operators: list[OperatorFacts], provider: str) -> str:
    """The operators with their nodes, the first by name."""
    words = []
    for each in operators[:NAMED]:
        why = each.lacking.get(provider, NO_OPERATOR)
        words.append(f"{each.words()} ({each.nodes:,}{'' if why == NO_OPERATOR else f', {why}'})")
    more = len(operators) - NAMED
    return _listed([*words, *([f"{more} more"] if more > 0 else [])])


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
