"""The training loop: a network fitted to seeded crops, prepared by the card as the runtime prepares windows."""

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

# Origins of crops are multiples of it, so that inputs of half the resolution are cropped alike.
ALIGNMENT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The settings of the training of a network.

    `rate` is the largest learning rate; `focus` the share of crops around a pixel of a class drawn uniformly, so that
    crops show rare classes; `gain` the largest relative change of a band's brightness; `absent` the share of crops
    without an optional input.
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
    network: Any, card: ModelCard, pictures: Sequence[Picture], training: Training, *, log: Callable[[str], None]
) -> None:
    """Fits the network in place, on one thread; the result is the same for the same seed and machine.

    Classes are weighted by the inverse square root of their frequency; pixels of unknown truth have no weight.
    """
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    crops = Crops(card, pictures, training)
    loss_of = torch.nn.CrossEntropyLoss(weight=torch.from_numpy(crops.weights()), ignore_index=UNKNOWN)
    optimiser = torch.optim.AdamW(network.parameters(), lr=training.rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, training.rate, total_steps=training.steps)
    network.train()
    for step in range(training.steps):
        feeds, labels = crops.draw()
        loss = loss_of(network(*(torch.from_numpy(each) for each in feeds)), torch.from_numpy(labels))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 25 == 0 or step + 1 == training.steps:
            log(f"step {step + 1} of {training.steps}: loss {loss.item():.3f}")
    network.eval()


class Crops:
    """Seeded batches of crops from pictures."""

    def __init__(self, card: ModelCard, pictures: Sequence[Picture], training: Training) -> None:
        self._card, self._pictures, self._training = card, pictures, training
        self._random = np.random.default_rng(training.seed)
        self._classes = np.array([each.value for each in card.outputs[0].classes], dtype=np.uint8)
        self._places = [[np.flatnonzero(each.truth == value) for value in self._classes] for each in pictures]

    def weights(self) -> NDArray[np.float32]:
        """Weight per class, with mean 1."""
        counts = np.array([[len(places) for places in each] for each in self._places]).sum(axis=0)
        weights = 1 / np.sqrt(np.maximum(counts, 1) / counts.sum())
        return (weights / weights.mean()).astype(np.float32)

    def draw(self) -> tuple[list[NDArray[Any]], NDArray[np.int64]]:
        """The network's inputs for one batch, in the card's order, and the class index (n, y, x), 255 = unknown."""
        crops = [self._crop() for _ in range(self._training.batch)]
        feeds = [
            prepare_input(spec, np.stack([inputs[spec.name] for inputs, _ in crops])).astype(np.float32)
            for spec in self._card.inputs
        ]
        truth = np.stack([labels for _, labels in crops])
        index = np.full(truth.shape, UNKNOWN, dtype=np.int64)
        for number, value in enumerate(self._classes):
            index[truth == value] = number
        turns, flip = int(self._random.integers(4)), bool(self._random.integers(2))
        return [_rotated(each, turns, flip=flip) for each in feeds], _rotated(index, turns, flip=flip)

    def _crop(self) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.uint8]]:
        number = int(self._random.integers(len(self._pictures)))
        picture, size = self._pictures[number], self._training.crop
        row, col = self._origin(number)
        inputs = {}
        for spec in self._card.inputs:
            factor = round(self._card.ratio(spec))
            rows, cols = (slice(at // factor, (at + size) // factor) for at in (row, col))
            inputs[spec.name] = self._augmented(picture.inputs[spec.name][:, :, rows, cols], optional=spec.optional)
        return inputs, picture.truth[row : row + size, col : col + size]

    def _origin(self, number: int) -> tuple[int, int]:
        """Upper left corner of a crop: anywhere, or such that the crop holds a pixel of a class drawn uniformly."""
        height, width = self._pictures[number].truth.shape
        size = self._training.crop
        row, col = self._random.integers(height - size), self._random.integers(width - size)
        present = [places for places in self._places[number] if len(places)]
        if self._random.random() < self._training.focus and present:
            places = present[int(self._random.integers(len(present)))]
            at_row, at_col = divmod(int(places[self._random.integers(len(places))]), width)
            row = at_row - self._random.integers(size)
            col = at_col - self._random.integers(size)
        row, col = (int(np.clip(at, 0, most - size)) for at, most in ((row, height), (col, width)))
        return row // ALIGNMENT * ALIGNMENT, col // ALIGNMENT * ALIGNMENT

    def _augmented(self, values: NDArray[np.float32], *, optional: bool) -> NDArray[np.float32]:
        """The values with a random gain per band, the same at all steps; all NaN if an optional input is left out."""
        if optional and self._random.random() < self._training.absent:
            return np.full_like(values, np.nan)
        gain = 1 + self._random.uniform(-self._training.gain, self._training.gain, (1, values.shape[1], 1, 1))
        return (values * gain).astype(np.float32)


def _rotated(array: NDArray[Any], turns: int, *, flip: bool) -> NDArray[Any]:
    turned = np.rot90(array, turns, axes=(-2, -1))
    return np.ascontiguousarray(turned[..., ::-1] if flip else turned)
