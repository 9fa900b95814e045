"""The surfaces of the embedded sample: reflectance, backscatter, and their class in the truth rasters.

The spectra are plausible round numbers for Central Europe, not measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")

Spectrum = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """One class of the truth rasters."""

    value: int
    name: str
    color: str
    description: str


COVERS = (
    Cover(value=1, name="water", color="2f6fde", description="open water: river, oxbow lakes, ponds, reservoir"),
    Cover(value=2, name="broadleaf", color="6abf4b", description="broadleaf forest, riparian wood and hedges"),
    Cover(value=3, name="conifer", color="1f6b3a", description="conifer forest"),
    Cover(value=4, name="cropland", color="f0d66c", description="arable parcels, whatever stands on them that day"),
    Cover(value=5, name="grassland", color="b7e08a", description="meadows, pastures, gardens, field margins"),
    Cover(value=6, name="built-up", color="d0455a", description="buildings and roads"),
    Cover(value=7, name="bare", color="b89b7a", description="bare soil, gravel, tracks, the dam, fresh clear-cuts"),
)

CHANGES = (
    Cover(value=0, name="none", color="000000", description="the same cover at both ends"),
    Cover(value=1, name="reservoir", color="2f6fde", description="land flooded behind the dam"),
    Cover(value=2, name="clear-cut", color="b8722f", description="forest cut"),
    Cover(value=3, name="houses", color="d0455a", description="houses and streets built on fields and meadows"),
)

COVER_NODATA = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """One surface.

    `summer` and `winter` (leafless; None: the same all year) are reflectances (0-1) in the order of `BANDS`. `grain` is
    the relative deviation from pixel to pixel, `mottle` that over some ten pixels. `vv` and `vh` are gamma0 in dB.
    """

    name: str
    cover: int
    summer: Spectrum
    grain: float
    mottle: float
    vv: float
    vh: float
    winter: Spectrum | None = None


SURFACES = (
    Surface(
        name="river",
        cover=1,
        summer=(0.058, 0.081, 0.064, 0.024, 0.011, 0.009),
        grain=0.01,
        mottle=0.05,
        vv=-19.5,
        vh=-27.0,
    ),
    Surface(
        name="lake",
        cover=1,
        summer=(0.040, 0.056, 0.032, 0.016, 0.010, 0.008),
        grain=0.01,
        mottle=0.05,
        vv=-20.5,
        vh=-28.0,
    ),
    Surface(
        name="broadleaf",
        cover=2,
        summer=(0.018, 0.042, 0.022, 0.370, 0.165, 0.070),
        winter=(0.038, 0.050, 0.060, 0.180, 0.200, 0.120),
        grain=0.10,
        mottle=0.07,
        vv=-9.8,
        vh=-15.3,
    ),
    Surface(
        name="conifer",
        cover=3,
        summer=(0.013, 0.027, 0.017, 0.235, 0.095, 0.042),
        winter=(0.015, 0.025, 0.019, 0.190, 0.085, 0.042),
        grain=0.11,
        mottle=0.06,
        vv=-10.8,
        vh=-16.2,
    ),
    # Crops take their reflectance from their parcel; the spectrum here is never used.
    Surface(
        name="crop",
        cover=4,
        summer=(0.060, 0.080, 0.090, 0.300, 0.250, 0.180),
        grain=0.025,
        mottle=0.07,
        vv=-12.0,
        vh=-19.0,
    ),
    Surface(
        name="grass",
        cover=5,
        summer=(0.034, 0.074, 0.048, 0.390, 0.215, 0.110),
        winter=(0.045, 0.070, 0.072, 0.245, 0.240, 0.150),
        grain=0.03,
        mottle=0.10,
        vv=-12.8,
        vh=-19.5,
    ),
    Surface(
        name="road",
        cover=6,
        summer=(0.092, 0.106, 0.116, 0.165, 0.185, 0.170),
        grain=0.06,
        mottle=0.05,
        vv=-14.0,
        vh=-21.5,
    ),
    Surface(
        name="red roof",
        cover=6,
        summer=(0.092, 0.104, 0.150, 0.215, 0.250, 0.220),
        grain=0.15,
        mottle=0.05,
        vv=-4.5,
        vh=-11.5,
    ),
    Surface(
        name="grey roof",
        cover=6,
        summer=(0.120, 0.132, 0.142, 0.190, 0.205, 0.190),
        grain=0.15,
        mottle=0.05,
        vv=-3.8,
        vh=-11.0,
    ),
    Surface(
        name="hall",
        cover=6,
        summer=(0.270, 0.285, 0.295, 0.340, 0.320, 0.280),
        grain=0.18,
        mottle=0.1,
        vv=-2.5,
        vh=-10.5,
    ),
    Surface(
        name="garden",
        cover=5,
        summer=(0.040, 0.070, 0.056, 0.310, 0.200, 0.115),
        winter=(0.052, 0.070, 0.078, 0.200, 0.215, 0.145),
        grain=0.18,
        mottle=0.06,
        vv=-9.5,
        vh=-15.8,
    ),
    Surface(
        name="cut",
        cover=7,
        summer=(0.112, 0.140, 0.172, 0.235, 0.340, 0.280),
        grain=0.07,
        mottle=0.12,
        vv=-13.5,
        vh=-21.0,
    ),
    Surface(
        name="gravel",
        cover=7,
        summer=(0.165, 0.190, 0.210, 0.260, 0.290, 0.265),
        grain=0.08,
        mottle=0.1,
        vv=-12.5,
        vh=-20.5,
    ),
    Surface(
        name="hedge",
        cover=2,
        summer=(0.021, 0.047, 0.027, 0.345, 0.170, 0.078),
        winter=(0.040, 0.053, 0.064, 0.185, 0.205, 0.130),
        grain=0.12,
        mottle=0.05,
        vv=-10.3,
        vh=-15.8,
    ),
    Surface(
        name="track",
        cover=7,
        summer=(0.108, 0.135, 0.160, 0.250, 0.305, 0.260),
        grain=0.06,
        mottle=0.05,
        vv=-13.5,
        vh=-21.0,
    ),
)

INDEX = {surface.name: index for index, surface in enumerate(SURFACES)}

CROP = INDEX["crop"]
