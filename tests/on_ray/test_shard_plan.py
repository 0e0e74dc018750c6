"""The plan: what is in which shard, and names that follow from it alone."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from aiomessages.ray.errors import ClusterError
from aiomessages.ray.manifest import decode_manifest, manifest_of
from aiomessages.ray.plan import (
    VERSION,
    Plan,
    ProjectPlan,
    RunSettings,
    Shard,
    check_part,
    decode_part,
    decode_plan,
    difference,
    encode_part,
    line_of,
    shard_of,
)
from aiomessages.ray.records import ShardRecord, decode_record, encode_record, shard_in

SETTINGS = RunSettings("messages", 2, include_reply=True, format="jsonl.gz")
URL = "https://api.test/v1"

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
completions = st.none() | st.dictionaries(st.text(max_size=3), st.integers(), max_size=3).map(
    lambda found: json.dumps(found, indent=None).encode()
)
named = st.lists(st.tuples(ids, completions), max_size=20)


def plan(*projects: ProjectPlan, settings: RunSettings = SETTINGS) -> Plan:
    """Return a plan of projects."""
    return Plan(VERSION, settings, [*projects])


def project(name: str = "a", *shards: str, **changes: object) -> ProjectPlan:
    """Return the plan of a project."""
    made = ProjectPlan(name, URL, {"model": None}, [Shard(shard, 10) for shard in shards])
    return structs.replace(made, **changes)


@given(named)
def test_a_part_comes_back(found: list[tuple[str, bytes | None]]) -> None:
    """A part has the completions that were put into it, in order, whatever their ids are."""
    assert decode_part(encode_part(line_of(*one) for one in found)) == found


@given(named, named)
def test_a_name_follows_from_the_content(
    one: list[tuple[str, bytes | None]], other: list[tuple[str, bytes | None]]
) -> None:
    """Two shards have the same name if they have the same completions, and only then."""
    parts = [encode_part(line_of(*each) for each in found) for found in (one, other)]
    names = [shard_of("a", URL, SETTINGS, 0, part, 1).name for part in parts]
    assert (names[0] == names[1]) == (one == other)


def test_a_name_follows_from_everything_that_decides() -> None:
    """Another project, server, option or place is another name."""
    others = [
        ("b", URL, SETTINGS, 0),
        ("a", "https://other.test/v1", SETTINGS, 0),
        ("a", URL, structs.replace(SETTINGS, layout="conversations"), 0),
        ("a", URL, structs.replace(SETTINGS, include_reply=False), 0),
        ("a", URL, structs.replace(SETTINGS, format="parquet"), 0),
        ("a", URL, SETTINGS, 1),
    ]
    names = {shard_of(*facts, b"part", 1).name for facts in [("a", URL, SETTINGS, 0), *others]}
    assert len(names) == 7
    assert shard_of("a", URL, SETTINGS, 3, b"part", 1).name.startswith("a-000003-")


@pytest.mark.parametrize(
    ("part", "name"),
    [(b"", ""), (b"other", ""), (b"part", "odd"), (b"part", "a-000009-00ff")],
    ids=["empty", "another", "a name without a number", "another name"],
)
def test_a_part_that_is_not_the_planned_one(part: bytes, name: str) -> None:
    """A file that was cut or replaced is refused: an empty one would read as no completions."""
    shard = shard_of("a", URL, SETTINGS, 7, b"part", 1)
    check_part(shard, "a", URL, SETTINGS, b"part")
    odd = Shard(name or shard.name, 1)
    with pytest.raises(ClusterError, match="is not the file that was planned"):
        check_part(odd, "a", URL, SETTINGS, part)


def test_a_plan_comes_back() -> None:
    """A plan is the same after it was written and read."""
    made = plan(project("a", "a-0", "a-1"), project("b"))
    assert decode_plan(made.encode(), "s3://x") == made
    assert made.projects[0].completions == 20


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no plan"),
        (b'{"version": 1}', "no plan"),
        (b"\xff", "no plan"),
        (plan().encode().replace(b'"version": 1', b'"version": 9'), "of version 9"),
    ],
    ids=["empty", "of another shape", "not text", "of a later version"],
)
def test_a_file_that_is_no_plan(data: bytes, said: str) -> None:
    """It is refused, and so is one of another version."""
    with pytest.raises(ClusterError, match=said) as raised:
        decode_plan(data, "s3://bucket/run")
    assert "s3://bucket/run" in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "projects", "said"),
    [
        (SETTINGS, [project("a")], None),
        (structs.replace(SETTINGS, layout="chat"), [project("a")], "layout is 'messages' there"),
        (SETTINGS, [project("b")], "its projects are a, and here b"),
        (SETTINGS, [], "its projects are a, and here "),
        (SETTINGS, [project("a", base_url="http://x")], "a is at https://api.test/v1 there"),
        (SETTINGS, [project("a", source={"model": "x"})], 'source {"model": null} there'),
    ],
    ids=["the same", "settings", "projects", "none", "address", "source"],
)
def test_a_run_that_is_not_that_of_the_plan(
    settings: RunSettings, projects: list[ProjectPlan], said: str | None
) -> None:
    """The difference is said in words."""
    found = difference(plan(project("a", "a-0")), settings, projects)
    assert found is None if said is None else found is not None and said in found


def record(shard: str, **facts: object) -> ShardRecord:
    """Return the record of a shard."""
    made = ShardRecord(shard, f"{shard}.jsonl.gz", "0123456789abcdef" * 4, 100, 30, 9, 20)
    return structs.replace(made, **facts)


def test_a_record_names_its_shard_and_its_file() -> None:
    """The name of a record follows from its content, and names the shard."""
    made = record("a-000000-00ff", gone=["x"], failed={"y": "APITimeoutError"})
    assert decode_record(encode_record(made), made.name) == made
    assert made.name == "a-000000-00ff-0123456789abcdef.json"
    assert shard_in(made.name) == made.shard


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"\xff", encode_record(record("another"))],
    ids=["", "{}", "not text", "another's"],
)
def test_a_file_that_is_no_record(data: bytes) -> None:
    """It is refused, with its name and what to do."""
    with pytest.raises(ClusterError, match="is not the file that was written") as raised:
        decode_record(data, record("a-000000-00ff").name)
    assert "remove it and data/a-000000-00ff.*" in raised.value.hint


def test_the_manifest_sums_up() -> None:
    """It has the sums, all files in order, and what is missing by project."""
    made = manifest_of(
        plan(project("a", "a-0", "a-1"), project("b", "b-0")),
        {
            "a-0": record("a-0", gone=["x"], pending=["p"], skipped={"s": "no reply"}),
            "a-1": record("a-1", gone=["y"], failed={"z": "APITimeoutError"}),
            "b-0": record("b-0", lost=["l"], left_out={"o": "no text"}),
        },
    )
    assert (made.rows, made.completions, made.messages) == (90, 27, 60)
    assert [file.name for file in made.files] == [
        f"data/{n}.jsonl.gz" for n in ("a-0", "a-1", "b-0")
    ]
    a, b = made.projects["a"], made.projects["b"]
    assert (a.completions, a.messages, a.rows) == (18, 40, 60)
    assert (a.gone, a.pending, a.failed) == (["x", "y"], ["p"], {"z": "APITimeoutError"})
    assert (a.skipped, b.lost, b.left_out) == ({"s": "no reply"}, ["l"], {"o": "no text"})
    assert decode_manifest(made.encode(), "here") == made


def test_a_file_that_is_no_manifest() -> None:
    """It is refused, with its place."""
    with pytest.raises(ClusterError, match=r"s3://x holds a manifest\.json that is none"):
        decode_manifest(b"{}", "s3://x")
