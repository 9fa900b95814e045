"""A chain as a mapping: what its jobs share, which products they read, where they write; nothing else is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilewright.flows.chain.chain import make_chain
from tilewright.flows.job.job import JobError, make_job

AREA = [13.1, 48.2, 13.2, 48.3]
SHARED = {"area": AREA, "period": "2021", "source": "earth-search", "model": "m"}
JOBS = [{"name": "clear"}, {"name": "cover", "source": "clear"}, {"name": "change", "sources": {"map": "cover"}}]


def chain(tmp_path, jobs=None, *, changes=(), output=None, **shared):
    return make_chain(
        {**SHARED, "jobs": JOBS if jobs is None else jobs, **shared}, base=tmp_path, changes=changes, output=output
    )


def test_jobs_share_what_stands_beside_them_and_read_products_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = chain(tmp_path, grid={"resolution": 20})
    assert [job.name for job in made.jobs] == ["clear", "cover", "change"]
    assert {job.grid.resolution for job in made.jobs} == {20}
    assert dict(made.reads) == {"clear": (), "cover": ("clear",), "change": ("cover",)}
    assert made.job("clear").source == "earth-search"
    item = {"kind": "product", "name": "clear", "href": f"{tmp_path}/out/clear/item.json"}
    assert made.job("cover").source == item
    assert made.job("change").sources == {"map": {**item, "name": "cover", "href": f"{tmp_path}/out/cover/item.json"}}
    assert made.job("change").source == ""


def test_a_jobs_own_source_or_area_takes_the_place_of_the_other_kind_that_all_share(tmp_path):
    (tmp_path / "rows.csv").write_text("lon,lat\n13.1,48.2\n")
    rows = {"name": "rows", "places": "rows.csv", "sources": {"map": "clear"}}
    made = chain(tmp_path, [{"name": "clear"}, rows])
    assert made.job("rows").places is not None
    assert made.job("rows").source == ""
    made = chain(tmp_path, [{"name": "clear", "source": "cdse"}], source="earth-search")
    assert made.job("clear").source == "cdse"


def test_products_lie_below_the_chains_output_or_where_their_job_says(tmp_path):
    jobs = [{"name": "clear", "output": "s3://maps/clear"}, {"name": "cover", "source": "clear"}]
    made = chain(tmp_path, jobs, output="s3://other/")
    assert [job.output_uri for job in made.jobs] == ["s3://maps/clear", "s3://other/cover"]
    assert made.job("cover").source["href"] == "s3://maps/clear/item.json"


def test_a_change_is_of_all_jobs_or_of_the_one_it_names(tmp_path):
    made = chain(tmp_path, changes=("grid.resolution=20", "cover.grid.resolution=40", "change.layers=[a]"))
    assert [job.grid.resolution for job in made.jobs] == [20, 40, 20]
    assert [job.layers for job in made.jobs] == [(), (), ("a",)]
    made = chain(tmp_path, [{"name": "a.b"}, {"name": "a"}], changes=("a.b.grid.resolution=20", "a.tile.block=64"))
    assert [(job.grid.resolution, job.tile.block) for job in made.jobs] == [(20, None), (None, 64)]


def test_a_job_that_reads_a_table_of_places_is_refused(tmp_path):
    (tmp_path / "rows.csv").write_text("lon,lat\n13.1,48.2\n")
    jobs = [{"name": "rows", "places": "rows.csv"}, {"name": "cover", "source": "rows"}]
    with pytest.raises(JobError, match="Job cover: job rows is over places and makes a table, which is no source"):
        chain(tmp_path, jobs)


def test_a_name_that_is_a_key_of_jobs_is_refused(tmp_path):
    with pytest.raises(JobError, match="grid is a key of jobs"):
        chain(tmp_path, [{"name": "grid"}])


def test_a_file_may_be_named_like_no_job(tmp_path):
    (tmp_path / "prior").mkdir()
    made = chain(tmp_path, [{"name": "clear"}, {"name": "cover", "sources": {"a": "clear", "b": "prior"}}])
    assert made.job("cover").sources["b"] == "prior"
    with pytest.raises(JobError, match="'priors' is no earlier job"):
        chain(tmp_path, [{"name": "clear"}, {"name": "cover", "sources": {"a": "clear", "b": "priors"}}])


@pytest.mark.parametrize("make", [make_job])
def test_where_one_job_is_taken_a_chain_is_refused(tmp_path, make):
    with pytest.raises(JobError, match="jobs: a chain of jobs is taken by plan, run and status"):
        make({**SHARED, "jobs": JOBS}, base=tmp_path)


GOOD = {"area": AREA, "period": "2021", "model": "m"}
WRONG = {
    "both": ({"source": "s", "sources": {"a": "b"}}, "sources: each collection has its own place in sources, so leave"),
    "neither": ({}, r"source: the job does not say it\. A job needs area \(or places\), period, source and model\."),
    "none": ({"sources": {}}, "sources: write collections, as the model's card names them, and where each is"),
    "no name": ({"sources": {" ": "b"}}, "sources: write collections, as the model's card names them"),
    "a list": ({"sources": ["a"]}, "sources: expected collections with where each comes from, like"),
    "a number": ({"sources": {"prior": 5}}, r"sources\.prior: expected a name, a path, a URL, or a description"),
    "a misspelt key": ({"sourcs": {"a": "b"}}, r"sourcs: unknown key \(did you mean 'sources?'\?\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_sources_that_are_none_are_refused(case):
    given, words = WRONG[case]
    with pytest.raises(JobError, match=words):
        make_job({**GOOD, **given}, base=Path())


def test_the_request_has_the_key_that_the_job_has():
    several = make_job({**GOOD, "sources": {"a": "b"}}, base=Path()).request()
    assert several["sources"] == {"a": "b"}
    assert "source" not in several
    one = make_job({**GOOD, "source": "s"}, base=Path()).request()
    assert "sources" not in one
