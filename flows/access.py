"""The access to the scenes of a source or a plan, with the keys and the settings of this environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilewright.catalogs.sources.registry import sign_href
from tilewright.catalogs.sources.source import Source
from tilewright.flows.environment import reading_settings, s3_settings
from tilewright.tasks.identity.register import Register
from tilewright.tasks.identity.take import present_identity
from tilewright.tasks.read.access import Access, Reading

if TYPE_CHECKING:
    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.read.failures import FailureLog


def scene_access(source: Source, failures: FailureLog | None = None, *, threads: int = 1) -> Access:
    """The access to a source's scenes: hrefs signed where it signs, GDAL settings from the environment."""

    def sign(scene: Scene, href: str) -> str:
        del scene
        return sign_href(source, href)

    def identify(href: str, signed: str) -> str | None:
        return present_identity(href, signed=signed, source=source)

    return Access(
        sign=None if source.signing == "none" else sign,
        failures=failures,
        reading=Reading(gdal=reading_settings(), rules=source.rules, identify=identify),
        register=Register(identify),
        threads=threads,
    )


def plan_source(plan: Plan) -> Source:
    """The source of a plan's scenes, with the keys of this environment."""
    return Source.from_json(plan.source, s3=s3_settings())
