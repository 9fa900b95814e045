"""What a provider can compute: kernels by operator, by the versions of it that they take, and by the types."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


OPEN: Final = 2**31 - 1
"""The last version of a kernel of its first version alone. Source: ONNX Runtime, `KernelDef::SinceVersion`."""

ANY_VERSION: Final = OPEN - 1
"""The last version of an entry of a table that tells operators by their name alone."""

NO_OPERATOR: Final = "no such operator"

Types = dict[str, frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel: the versions of its operator that it takes, and which types together.

    Each of `choices` holds the types by the name of a type of the operator's schema, or of an input.
    """

    first: int
    last: int
    choices: tuple[Mapping[str, frozenset[str]], ...] = ()

    def takes_version(self, since: int) -> bool:
        """True if it takes an operator of that version.

        Without a last version it takes the one that it begins with: the next one may mean something else.
        Source: ONNX Runtime, `KernelRegistry::VerifyKernelDef`.
        """
        return self.first == since or self.first < since <= self.last < OPEN

    def takes_types(self, types: Mapping[str, str]) -> bool:
        """True unless a type that is known, by its name, is none of the kernel's in each choice."""
        return not self.choices or any(
            all(types[name] in known for name, known in choice.items() if name in types) for choice in self.choices
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTable:
    """The kernels of a provider by domain and operator, and the newest version of each domain that the source knows.

    `oldest` is the oldest opset of ai.onnx that it tells of. `source` names what it was read from, with its version.
    """

    source: str
    newest: Mapping[str, int]
    kernels: Mapping[tuple[str, str], tuple[Kernel, ...]]
    oldest: int = 1

    def knows(self, domain: str, since: int, opset: int) -> bool:
        """False for an operator of a version newer than the table, or of an opset older than it."""
        return since <= self.newest.get(domain, OPEN) and (domain != "ai.onnx" or opset >= self.oldest)

    def lacks(self, domain: str, name: str, since: int, types: Mapping[str, str]) -> str:
        """What the provider lacks of an operator, in a few words; empty if it has it."""
        kernels = self.kernels.get((domain, name), ())
        fitting = [each for each in kernels if each.takes_version(since)]
        if not kernels:
            return NO_OPERATOR
        if not fitting:
            return f"not in version {since}"
        if any(each.takes_types(types) for each in fitting):
            return ""
        return f"not for {' and '.join(dict.fromkeys(types.values()))}"


def kernel_table(
    source: str,
    newest: Mapping[str, int],
    definitions: Iterable[tuple[str, str, int, int, Types]],
) -> KernelTable:
    """The table of kernels given one by one: domain, operator, first and last version, types by their names."""
    found: dict[tuple[str, str], dict[tuple[int, int], list[Types]]] = defaultdict(lambda: defaultdict(list))
    for domain, name, first, last, types in definitions:
        found[domain or "ai.onnx", name][first, last].append(types)
    return KernelTable(
        source=source,
        newest=newest,
        kernels={
            key: tuple(
                Kernel(first=first, last=last, choices=tuple(merged(choices)))
                for (first, last), choices in sorted(ranges.items())
            )
            for key, ranges in sorted(found.items())
        },
    )


def merged(choices: Iterable[Types]) -> list[Types]:
    """The same choices of types, where two that differ in one name alone are one.

    Types that are no plain tensors (sequences, maps) are not told: nothing is refused by them.
    """
    pending = [dict(each) for each in choices]
    done: list[Types] = []
    while pending:
        choice = pending.pop(0)
        for number, other in enumerate(pending):
            differing = [name for name in choice if choice[name] != other.get(name)]
            if choice.keys() == other.keys() and len(differing) < 2:
                pending[number] = {name: choice[name] | other[name] for name in choice}
                break
        else:
            done.append(choice)
    return done
