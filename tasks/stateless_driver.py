"""What odc-loader asks of a ReaderDriver besides opening, answered for drivers whose reads share no state."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from odc.geo.geobox import GeoBox


class StatelessDriver:
    """The base of our drivers: settings travel with the driver, each read enters its own GDAL environment."""

    md_parser = None
    dask_reader = None
    aux_reader = None

    def new_load(self, geobox: GeoBox, *, chunks: dict[str, int] | None = None) -> None:
        """No state is shared by the reads of a load."""

    def finalise_load(self, load_state: Any) -> Any:
        """Nothing to release."""
        return load_state

    def capture_env(self) -> dict[str, Any]:
        """Nothing is taken from the environment."""
        return {}

    @contextmanager
    def restore_env(self, env: dict[str, Any], load_state: Any) -> Iterator[None]:
        """Nothing is put back into the environment."""
        del env, load_state
        yield None
