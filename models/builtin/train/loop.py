"""A network fitted to pictures: seeded crops, prepared by the card as the runtime prepares windows, and turned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.models.transforms.preprocess import prepare_input

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tilewright.models.builtin.train.pictures import Picture
    from tilewright.models.card.card import ModelCard


UNKNOWN = 255

# Origins of crops lie on a multiple of it, so that inputs of half the resolution are cut alike.
ALIGNED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How long and on what a network is fitted.

    `focus` is the share of crops around a pixel of a class drawn evenly, so that rare ones are met; `gain` the largest
    relative change of a band's brightness; `absent` how often an optional input is missing.
    """

    seed: int
    steps: int
    crop: int = 128
    batch: int = 8
    rate: float = 4e-3
    focus: float = 0.4
    gain: float = 0.06
    absent: float = 0.25


def fit(
    network: Any, card: ModelCard, pictures: Sequence[Picture], how: Training, *, say: Callable[[str], None]
) -> None:
    """The network fitted in place, on one thread, the same for the same seed and machine.

    Classes are weighted by the root of their rarity; pixels of unknown truth teach nothing.
    """
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    crops = Crops(card, pictures, how)
    loss_of = torch.nn.CrossEntropyLoss(weight=torch.from_numpy(crops.weights()), ignore_index=UNKNOWN)
    optimiser = torch.optim.AdamW(network.parameters(), lr=how.rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, how.rate, total_steps=how.steps)
    network.train()
    for step in range(how.steps):
        feeds, wanted = crops.draw()
        loss = loss_of(network(*(torch.from_numpy(each) for each in feeds)), torch.from_numpy(wanted))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 25 == 0 or step + 1 == how.steps:
            say(f"step {step + 1} of {how.steps}: loss {loss.item():.3f}")
    network.eval()


class Crops:
    """Seeded batches cut from pictures."""

    def __init__(self, card: ModelCard, pictures: Sequence[Picture], how: Training) -> None:
        self._card, self._pictures, self._how = card, pictures, how
        self._random = np.random.default_rng(how.seed)
        self._classes = np.array([each.value for each in card.outputs[0].classes], dtype=np.uint8)
        self._places = [[np.flatnonzero(each.truth == value) for value in self._classes] for each in pictures]

    def weights(self) -> NDArray[np.float32]:
        """A weight per class, mean one."""
        counts = np.array([[len(places) for places in each] for each in self._places]).sum(axis=0)
        weights = 1 / np.sqrt(np.maximum(counts, 1) / counts.sum())
        return (weights / weights.mean()).astype(np.float32)

    def draw(self) -> tuple[list[NDArray[Any]], NDArray[np.int64]]:
        """The network's inputs for one batch, in the card's order, and the class index (n, y, x), 255 = unknown."""
        cuts = [self._cut() for _ in range(self._how.batch)]
        feeds = [
            prepare_input(spec, np.stack([inputs[spec.name] for inputs, _ in cuts])).astype(np.float32)
            for spec in self._card.inputs
        ]
        truth = np.stack([wanted for _, wanted in cuts])
        index = np.full(truth.shape, UNKNOWN, dtype=np.int64)
        for number, value in enumerate(self._classes):
            index[truth == value] = number
        turns, flip = int(self._random.integers(4)), bool(self._random.integers(2))
        return [_turned(each, turns, flip=flip) for each in feeds], _turned(index, turns, flip=flip)

    def _cut(self) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.uint8]]:
        number = int(self._random.integers(len(self._pictures)))
        picture, size = self._pictures[number], self._how.crop
        row, col = self._origin(number)
        inputs = {}
        for spec in self._card.inputs:
            factor = round(self._card.ratio(spec))
            rows, cols = (slice(at // factor, (at + size) // factor) for at in (row, col))
            inputs[spec.name] = self._disturbed(picture.inputs[spec.name][:, :, rows, cols], optional=spec.optional)
        return inputs, picture.truth[row : row + size, col : col + size]

    def _origin(self, number: int) -> tuple[int, int]:
        """Upper left corner of a crop: anywhere, or so that it holds a pixel of a class drawn evenly."""
        height, width = self._pictures[number].truth.shape
        size = self._how.crop
        row, col = self._random.integers(height - size), self._random.integers(width - size)
        present = [places for places in self._places[number] if len(places)]
        if self._random.random() < self._how.focus and present:
            places = present[int(self._random.integers(len(present)))]
            at_row, at_col = divmod(int(places[self._random.integers(len(places))]), width)
            row = at_row - self._random.integers(size)
            col = at_col - self._random.integers(size)
        row, col = (int(np.clip(at, 0, most - size)) for at, most in ((row, height), (col, width)))
        return row // ALIGNED * ALIGNED, col // ALIGNED * ALIGNED

    def _disturbed(self, values: NDArray[np.float32], *, optional: bool) -> NDArray[np.float32]:
        """The values a little brighter or darker band by band, alike at all steps; or nothing at all."""
        if optional and self._random.random() < self._how.absent:
            return np.full_like(values, np.nan)
        gain = 1 + self._random.uniform(-self._how.gain, self._how.gain, (1, values.shape[1], 1, 1))
        return (values * gain).astype(np.float32)


def _turned(array: NDArray[Any], turns: int, *, flip: bool) -> NDArray[Any]:
    turned = np.rot90(array, turns, axes=(-2, -1))
    return np.ascontiguousarray(turned[..., ::-1] if flip else turned)
