"""The ground of the embedded sample: its union grid, its two granules, its noise, its smoothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

Float = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

CRS = "EPSG:32633"
# Origin of the union, a multiple of 60 m as every Sentinel-2 granule's is; 60 m is the least common pixel of 10 and 20 m.
WEST, NORTH = 490_020, 5_400_000
RESOLUTION = 10
HEIGHT, WIDTH = 1098, 2094
# Rows and columns of the DEM at 30 m on the same origin.
DEM_FACTOR = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Granule:
    """One Sentinel-2 granule of the sample, a tenth of a real one in each direction.

    `column` is its first column in the union grid at 10 m; it holds `size` x `size` pixels at 10 m.
    """

    name: str
    column: int
    size: int = HEIGHT

    @property
    def west(self) -> int:
        """Easting of the left edge in metres."""
        return WEST + self.column * RESOLUTION

    def columns(self, resolution: int) -> slice:
        """Columns of a union raster at `resolution` metres that this granule holds."""
        factor = resolution // RESOLUTION
        return slice(self.column // factor, (self.column + self.size) // factor)


# The second starts on the real western edge of the squares 33UW*, 499980 m; they share 102 columns.
GRANULES = (Granule(name="33UVP", column=0), Granule(name="33UWP", column=996))


def fractal_noise(
    rng: np.random.Generator, shape: tuple[int, int], *, slope: float, longest: float | None = None
) -> Float:
    """Smooth random field (y, x), mean 0, standard deviation 1.

    The amplitude spectrum falls with frequency to the power `-slope`; waves longer than `longest` pixels are taken out.
    The field wraps round at its edges where both sizes are products of small primes.
    """
    rows, columns = (fft.next_fast_len(n, real=True) for n in shape)
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


def blurred(field: Float, side: float = 0.25) -> Float:
    """The field (y, x) after one pass of the three-tap kernel (side, 1 - 2 side, side) in both directions."""
    out = field * np.float32(1 - 2 * side)
    out[1:-1] += np.float32(side) * (field[:-2] + field[2:])
    out[0] += np.float32(side) * (field[0] + field[1])
    out[-1] += np.float32(side) * (field[-1] + field[-2])
    again = out * np.float32(1 - 2 * side)
    again[:, 1:-1] += np.float32(side) * (out[:, :-2] + out[:, 2:])
    again[:, 0] += np.float32(side) * (out[:, 0] + out[:, 1])
    again[:, -1] += np.float32(side) * (out[:, -1] + out[:, -2])
    return again


def halved(field: Float) -> Float:
    """Mean of each 2 x 2 pixels: (y, x) at 10 m becomes (y/2, x/2) at 20 m."""
    total = field[::2, ::2] + field[1::2, ::2]
    total += field[::2, 1::2]
    total += field[1::2, 1::2]
    return total * np.float32(0.25)


def doubled(field: Float) -> Float:
    """The field at twice as many pixels each way, smoothed so that no steps remain."""
    return blurred(np.repeat(np.repeat(field, 2, axis=0), 2, axis=1))
