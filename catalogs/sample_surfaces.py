"""The surfaces of the embedded sample: what covers a pixel, what it reflects, what it scatters back, what the truth calls it.

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
    """One surface. Reflectances (0-1) stand in the order of `BANDS`, full summer and leafless winter.

    `grain` is the relative deviation from pixel to pixel, `mottle` the one over some ten pixels. `vv` and `vh` are
    gamma0 in dB.
    """

    name: str
    cover: int
    summer: Spectrum
    winter: Spectrum
    grain: float
    mottle: float
    vv: float
    vh: float


def _steady(name: str, cover: int, spectrum: Spectrum, grain: float, mottle: float, vv: float, vh: float) -> Surface:
    return Surface(
        name=name, cover=cover, summer=spectrum, winter=spectrum, grain=grain, mottle=mottle, vv=vv, vh=vh
    )


SURFACES = (
    _steady("river", 1, (0.058, 0.081, 0.064, 0.024, 0.011, 0.009), 0.01, 0.05, -19.5, -27.0),
    _steady("lake", 1, (0.040, 0.056, 0.032, 0.016, 0.010, 0.008), 0.01, 0.05, -20.5, -28.0),
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
    _steady("crop", 4, (0.060, 0.080, 0.090, 0.300, 0.250, 0.180), 0.025, 0.07, -12.0, -19.0),
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
    _steady("road", 6, (0.105, 0.122, 0.135, 0.175, 0.190, 0.175), 0.08, 0.05, -14.0, -21.5),
    _steady("red roof", 6, (0.098, 0.118, 0.185, 0.235, 0.265, 0.235), 0.20, 0.05, -4.5, -11.5),
    _steady("grey roof", 6, (0.135, 0.148, 0.160, 0.200, 0.205, 0.190), 0.18, 0.05, -3.8, -11.0),
    _steady("hall", 6, (0.330, 0.345, 0.355, 0.390, 0.340, 0.300), 0.15, 0.10, -2.5, -10.5),
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
    _steady("cut", 7, (0.092, 0.118, 0.150, 0.215, 0.330, 0.270), 0.07, 0.12, -13.5, -21.0),
    _steady("gravel", 7, (0.165, 0.190, 0.210, 0.260, 0.290, 0.265), 0.08, 0.10, -12.5, -20.5),
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
    _steady("track", 7, (0.108, 0.135, 0.160, 0.250, 0.305, 0.260), 0.06, 0.05, -13.5, -21.0),
)
INDEX = {surface.name: number for number, surface in enumerate(SURFACES)}
CROP = INDEX["crop"]
