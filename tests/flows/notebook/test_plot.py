"""A layer in one line: the card's colours, the legend, and what cannot be drawn."""

from __future__ import annotations

import json
import shutil
import sys

import matplotlib as mpl
import numpy as np
import pytest

import tilewright as tw
from tilewright.tasks.storage.errors import StoreError

mpl.use("Agg")

from matplotlib import pyplot as plt


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def drawn(axes):
    """The picture of axes, after all of it was drawn."""
    axes.figure.canvas.draw()
    (image,) = axes.images
    return np.asarray(image.get_array()), image


def labels(axes):
    return [text.get_text().strip() for legend in axes.figure.legends for text in legend.get_texts()]


def test_classes_have_the_colours_of_the_file_and_a_legend_with_their_ground(whole):
    import rasterio

    axes = tw.open(whole).plot("class")
    picture, image = drawn(axes)
    with rasterio.open(whole / "class.tif") as dataset:
        pixels, table = dataset.read(1), dataset.colormap(1)
        assert image.get_extent() == [
            dataset.bounds.left,
            dataset.bounds.right,
            dataset.bounds.bottom,
            dataset.bounds.top,
        ]
    for value in (0, 1):
        assert (picture[pixels == value][:, :3] == table[value][:3]).all()
    assert (picture[pixels == 255][:, 3] == 0).all(), "what was not observed is left to the hatching"
    names = labels(axes)
    assert sorted(name.split()[0] for name in names[:2]) == ["land", "water"]
    assert all("km²" in name for name in names[:2])
    assert names[-1] == "no value"
    assert "EPSG:32633" in axes.get_xlabel()


def test_values_have_a_ramp_with_their_ends_and_their_unit(whole):
    product = tw.open(whole)
    picture, image = drawn(product.plot("confidence"))
    assert image.get_clim() == (0, 100)
    stored = product["confidence"].to_numpy()
    assert np.array_equal(np.ma.masked_array(picture).filled(0)[np.isfinite(stored)], stored[np.isfinite(stored)])
    assert (np.ma.getmaskarray(image.get_array()) == np.isnan(stored)).all()
    assert [axes.get_ylabel() for axes in image.axes.figure.axes[1:]] == ["%"]


def test_observations_are_counts_from_none(whole):
    _, image = drawn(tw.open(whole).plot("observations"))
    assert image.get_clim() == (0, 1)
    assert (np.ma.getmaskarray(image.get_array())).any()


def test_without_a_name_the_first_layer_is_drawn_on_the_axes_that_are_given(whole):
    _, (left, right) = plt.subplots(1, 2)
    product = tw.open(whole)
    assert product.plot(ax=left) is left
    for name in ("class", "confidence"):
        alone = product.plot(name, legend=False)
        assert (alone.figure.legends, len(alone.figure.axes)) == ([], 1)
    assert product.plot("class", ax=right, max_size=64) is right
    assert left.get_title() == "class"
    assert drawn(right)[0].shape == (64, 64, 4)
    assert [text.get_text().strip().split()[0] for text in left.get_legend().get_texts()][-1] == "no"


def test_hostile_names_are_drawn_as_words(hostile):
    folder, values = hostile
    product = tw.open(folder)
    axes = product.plot("class")
    picture, _ = drawn(axes)
    assert (picture[..., 3] == np.where(values == 255, 0, 255)).all()
    names = labels(axes)
    assert len(names) == 4
    assert names[1].startswith(r"_\$\frac{x}{\$")
    assert max(map(len, names)) < 70
    assert not any("\x1b" in name or "\n" in name for name in names)
    drawn(product.plot("height"))


@pytest.mark.parametrize("name", ["water", "spatial_ref", "", "class/../x", "x" * 1000])
def test_what_is_no_layer_is_refused_with_the_names_of_those_there_are(whole, name):
    with pytest.raises(StoreError, match="it has class, confidence, observations"):
        tw.open(whole).plot(name)
    assert plt.get_fignums() == [], "no empty figure is left"


def test_without_matplotlib_one_sentence_says_what_to_install(whole, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(StoreError, match=r"needs the library matplotlib: pip install .*\[notebook\]"):
        tw.open(whole).plot()


def test_a_table_of_places_is_no_map(whole, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(whole, folder)
    report = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps({**report, "places": {"rows": 3}}))
    with pytest.raises(StoreError, match="is a table of places"):
        tw.open(folder).plot()
