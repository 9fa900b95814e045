"""The networks of the sample models: small, of convolutions and ReLU only; each halving is a max pooling.

Imported only if torch is installed. The trim removes pixels that zero padding affects, so windows of any size give the
same pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class ConvStack(nn.Module):  # type: ignore[misc]  # torch has no types where it is not installed
    """3 x 3 convolutions (two by default), each with batch normalisation and ReLU: (n, a, h, w) -> (n, b, h, w)."""

    def __init__(self, n_in: int, n_out: int, *, layers: int = 2) -> None:
        super().__init__()
        steps: list[Any] = []
        for number in range(layers):
            steps += [nn.Conv2d(n_in if number == 0 else n_out, n_out, 3, padding=1, bias=False)]
            steps += [nn.BatchNorm2d(n_out), nn.ReLU()]
        self.steps = nn.Sequential(*steps)

    def forward(self, image: Any) -> Any:
        """The features."""
        return self.steps(image)


class Encoder(nn.Module):  # type: ignore[misc]  # as above
    """Features at full size and after each halving: one convolution at full size, two at every other level."""

    def __init__(self, n_bands: int, widths: tuple[int, ...], *, joined: int = 0) -> None:
        super().__init__()
        extra = (joined, *[0] * len(widths))
        self.first = ConvStack(n_bands, widths[0], layers=1)
        pairs = zip(widths, widths[1:], extra, strict=False)
        self.levels = nn.ModuleList(ConvStack(a + more, b) for a, b, more in pairs)

    def forward(self, image: Any, joined: Any = None) -> list[Any]:
        """Features of every level, the finest first; `joined` are channels added after the first halving."""
        features = [self.first(image)]
        for number, level in enumerate(self.levels):
            below = nn.functional.max_pool2d(features[-1], 2)
            features.append(level(below if joined is None or number else torch.cat([below, joined], 1)))
        return features


class Decoder(nn.Module):  # type: ignore[misc]  # as above
    """Features of every level (`widths` channels each) merged at full size, and `n_out` scores of each pixel."""

    def __init__(self, widths: tuple[int, ...], made: tuple[int, ...], n_out: int) -> None:
        super().__init__()
        below = (*made[1:], widths[-1])
        self.levels = nn.ModuleList(
            ConvStack(n_below + n_skip, n, layers=1)
            for n_below, n_skip, n in zip(below, widths[:-1], made, strict=True)
        )
        self.scores = nn.Conv2d(made[0], n_out, 1)

    def forward(self, features: list[Any]) -> Any:
        """Logits (n, class, h, w)."""
        image = features[-1]
        for level, skip in zip(reversed(self.levels), reversed(features[:-1]), strict=True):
            finer = nn.functional.interpolate(image, scale_factor=2.0, mode="nearest")
            image = level(torch.cat([finer, skip], 1))
        return self.scores(image)


class UNet(nn.Module):  # type: ignore[misc]  # as above
    """(n, band, h, w) -> logits (n, class, h, w); total stride 8."""

    def __init__(self, n_bands: int, n_classes: int, widths: tuple[int, ...] = (12, 16, 24, 32)) -> None:
        super().__init__()
        self.encoder = Encoder(n_bands, widths)
        self.decoder = Decoder(widths, widths[:-1], n_classes)

    def forward(self, image: Any) -> Any:
        """The logits."""
        return self.decoder(self.encoder(image))


class Siamese(nn.Module):  # type: ignore[misc]  # as above
    """(n, 2 dates, band, h, w) -> logits (n, class, h, w), from features of one encoder: after - before, and after."""

    def __init__(self, n_bands: int, n_classes: int, widths: tuple[int, ...] = (10, 14, 20, 28)) -> None:
        super().__init__()
        self.encoder = Encoder(n_bands, widths)
        self.decoder = Decoder(tuple(2 * width for width in widths), widths[:-1], n_classes)

    def forward(self, pair: Any) -> Any:
        """The logits."""
        before, after = self.encoder(pair[:, 0]), self.encoder(pair[:, 1])
        return self.decoder([torch.cat([b - a, b], 1) for a, b in zip(before, after, strict=True)])


class Fusion(nn.Module):  # type: ignore[misc]  # as above
    """Optical (n, band, h, w) and radar (n, band, h / 2, w / 2) -> logits (n, class, h, w)."""

    def __init__(
        self, n_optical: int, n_radar: int, n_classes: int, widths: tuple[int, ...] = (12, 16, 24, 32)
    ) -> None:
        super().__init__()
        self.radar = ConvStack(n_radar, 12)
        self.encoder = Encoder(n_optical, widths, joined=12)
        self.decoder = Decoder(widths, widths[:-1], n_classes)

    def forward(self, optical: Any, radar: Any) -> Any:
        """The logits."""
        return self.decoder(self.encoder(optical, self.radar(radar)))
