"""Arithmetic on fields (y, x) of the embedded sample: noise, smoothing, halving, doubling, distances."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

# scipy.ndimage defines these names at run time, where mypy does not find them.
from scipy.ndimage import (  # type: ignore[attr-defined]
    distance_transform_edt,
    gaussian_filter,
    label,
    uniform_filter,
)

from tilewright.catalogs.sample.landscape.grid import HEIGHT, WIDTH

Float = npt.NDArray[np.float32]

Mask = npt.NDArray[np.bool_]

PixelIndices = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


def fractal_noise(
    rng: np.random.Generator, shape: tuple[int, int], *, slope: float, longest: float | None = None
) -> Float:
    """Smooth random field (y, x), mean 0, standard deviation 1.

    The amplitude spectrum falls with frequency to the power `-slope`; waves longer than `longest` pixels are damped.
    The field is periodic if both sizes are products of small primes.
    """
    rows, columns = (int(fft.next_fast_len(size, real=True)) for size in shape)  # type: ignore[no-untyped-call]
    spectrum = fft.rfft2(rng.standard_normal((rows, columns), dtype=np.float32))
    frequency = np.hypot(fft.fftfreq(rows)[:, None], fft.rfftfreq(columns)[None, :]).astype(np.float32)
    frequency[0, 0] = np.inf
    spectrum *= frequency ** np.float32(-slope)
    if longest is not None:
        spectrum *= np.minimum(1, frequency * np.float32(longest)) ** 3
    field = np.asarray(fft.irfft2(spectrum, s=(rows, columns)), dtype=np.float32)[: shape[0], : shape[1]]
    field -= field.mean()
    field /= field.std()
    return field


def smooth_noise(rng: np.random.Generator, *, slope: float, longest: float) -> Float:
    """`fractal_noise` on the union grid (y, x) at 10 m without its finest waves; `longest` in pixels of 10 m."""
    return doubled(fractal_noise(rng, (HEIGHT // 2, WIDTH // 2), slope=slope, longest=longest / 2))


def blurred(field: Float, side: float = 0.25) -> Float:
    """The field (y, x) after one pass of the three-tap kernel (side, 1 - 2 side, side) in both directions."""
    out = field * np.float32(1 - 2 * side)
    out[1:-1] += np.float32(side) * (field[:-2] + field[2:])
    out[0] += np.float32(side) * (field[0] + field[1])
    out[-1] += np.float32(side) * (field[-1] + field[-2])
    both = out * np.float32(1 - 2 * side)
    both[:, 1:-1] += np.float32(side) * (out[:, :-2] + out[:, 2:])
    both[:, 0] += np.float32(side) * (out[:, 0] + out[:, 1])
    both[:, -1] += np.float32(side) * (out[:, -1] + out[:, -2])
    return both


def halved(field: Float) -> Float:
    """Mean of each 2 x 2 pixels: (y, x) at 10 m becomes (y/2, x/2) at 20 m."""
    total = field[::2, ::2] + field[1::2, ::2]
    total += field[::2, 1::2]
    total += field[1::2, 1::2]
    return total * np.float32(0.25)


def doubled(field: Float) -> Float:
    """The field with twice as many pixels along each side, smoothed so that no steps remain."""
    return blurred(np.repeat(np.repeat(field, 2, axis=0), 2, axis=1))


def distance_to(mask: Mask) -> Float:
    """Distance (y, x) in pixels to the nearest True of the mask."""
    return np.asarray(distance_transform_edt(~mask), dtype=np.float32)


def nearest_to(mask: Mask) -> PixelIndices:
    """Row and column of the nearest True of each pixel, each (y, x)."""
    rows, columns = distance_transform_edt(~mask, return_distances=False, return_indices=True)
    return rows, columns


def smoothed(field: Float, deviation: float) -> Float:
    """The field after a Gaussian blur with standard deviation `deviation` in pixels."""
    return np.asarray(gaussian_filter(field, deviation), dtype=np.float32)


def enlarged(field: Float, factor: int) -> Float:
    """The field with `factor` times as many pixels along each side, smoothed so that no steps remain."""
    fine = np.repeat(np.repeat(field, factor, axis=0), factor, axis=1)
    return np.asarray(uniform_filter(uniform_filter(fine, factor), factor), dtype=np.float32)


def component_at(mask: Mask, row: int, column: int) -> Mask:
    """The connected part of the mask that holds the pixel."""
    numbers, _ = label(mask)
    return np.asarray(numbers == numbers[row, column])
