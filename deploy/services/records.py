"""The sample's collections and items as an API holds them: twice, with hrefs in the bucket and on the web server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

WEB_SUFFIX = "-http"
"""What is added to a collection's name where its hrefs lead to the web server."""
OF_THE_FILES = frozenset({"root", "parent", "collection", "item", "self"})
"""Links between the sample's files; the API makes its own."""


def write_records(sample: Path, folder: Path, *, homes: Mapping[str, str]) -> Path:
    """The folder, with collections.ndjson and items.ndjson in it.

    `homes` says, per suffix of the collections' names, where the sample's files lie ("": "s3://bucket").
    """
    folder.mkdir(parents=True, exist_ok=True)
    collections = sorted(sample.glob("*/collection.json"))
    made = {
        "collections": [collection_record(path, suffix=suffix) for suffix in homes for path in collections],
        "items": [
            item_record(path, sample=sample, suffix=suffix, home=home)
            for suffix, home in homes.items()
            for collection in collections
            for path in _item_files(collection)
        ],
    }
    for table, records in made.items():
        (folder / f"{table}.ndjson").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def collection_record(path: Path, *, suffix: str) -> dict[str, Any]:
    """The collection of a collection.json, its name with the suffix, without links to files."""
    plain = json.loads(path.read_text())
    return {**plain, "id": plain["id"] + suffix, "links": _kept(plain)}


def item_record(path: Path, *, sample: Path, suffix: str, home: str) -> dict[str, Any]:
    """The item of a file, in the collection with the suffix; its relative hrefs are absolute under `home`."""
    plain = json.loads(path.read_text())
    place = path.parent.relative_to(sample)
    assets = {
        key: {**asset, "href": f"{home}/{(place / asset['href']).as_posix()}"} for key, asset in plain["assets"].items()
    }
    return {**plain, "collection": plain["collection"] + suffix, "links": _kept(plain), "assets": assets}


def _item_files(collection: Path) -> Iterator[Path]:
    links = json.loads(collection.read_text())["links"]
    return (collection.parent / link["href"] for link in links if link["rel"] == "item")


def _kept(plain: Mapping[str, Any]) -> list[Any]:
    return [link for link in plain["links"] if link["rel"] not in OF_THE_FILES]
