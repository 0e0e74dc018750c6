"""The function `export`: check the arguments, and start one run."""

import os
from collections.abc import Callable, Iterable
from typing import Final, Literal

from msgspec import structs

from aiomessages.conversations import OnError
from aiomessages.errors import ConfigurationError
from aiomessages.export.layouts import EXAMPLES, LAYOUTS, version_of
from aiomessages.settings import check_count

from .cluster_run import ClusterRun
from .destination import Destination
from .plan import FORMATS, RunSettings
from .projects import Access, Project, Selection, check_rate
from .report import ClusterProgress, ClusterReport
from .worker import Job

_SHARD_SIZE: Final = 1000


def export(
    projects: Iterable[Project],
    destination: str | os.PathLike[str],
    *,
    workers: int,
    # the output
    layout: str = "messages",
    format: Literal["jsonl.gz", "parquet"] = "jsonl.gz",  # noqa: A002 the word for it
    include_reply: bool = True,
    shard_size: int = _SHARD_SIZE,
    # the requests
    concurrency: int = 64,
    max_rps: float | None = None,
    on_error: OnError = "continue",
    # the surroundings
    on_progress: Callable[[ClusterProgress], object] | None = None,
) -> ClusterReport:
    """Write the conversations of many projects to one folder, on many machines, each exactly once.

    A run that was interrupted continues when the same call is made again: nothing that is done is
    fetched again. The completions of a run are those that it listed when it began; for later ones
    use another destination.

    The arguments:

    - `projects`: each with its completions, its key by name, and its own pace.
    - `destination`: a folder that all nodes share, or a URI that pyarrow reads, such as
      `s3://bucket/folder`.
    - `workers`: the number of processes that read; each takes one CPU of the cluster.
    - `layout`, `include_reply`: as for `aiomessages.export.export`.
    - `format`: `jsonl.gz`, or `parquet` with the columns of the Parquet export.
    - `shard_size`: the largest number of completions of one file.
    - `concurrency`: the largest number of conversations of a shard to fetch at once.
    - `max_rps`: the largest number of requests per second to each project that has no limit of its
      own. Without one, the rate adapts to the server's limit.
    - `on_error`: `continue` names a completion that cannot be read in the report and the manifest;
      `raise` ends the run with it. A refused key, a used-up quota, a Retry-After of more than ten
      minutes and twenty failures in a row end the run in any case.
    - `on_progress`: a function to call with the ClusterProgress after each shard.

    The call blocks. Ray is started if it is not (`ray.init`).

    Raises ConfigurationError for arguments that cannot be used, and ClusterError if a node, a key
    or the destination cannot be used, or if the run cannot continue.
    """
    settings = _checked_settings(layout, format, include_reply=include_reply)
    check_count("workers", workers)
    check_count("shard_size", shard_size)
    check_count("concurrency", concurrency)
    if on_error not in ("raise", "continue"):
        raise ConfigurationError(f"on_error must be 'raise' or 'continue', not {on_error!r}")
    if not callable(on_progress) and on_progress is not None:
        raise ConfigurationError(
            f"on_progress must be a function, not {type(on_progress).__name__}"
        )
    checked = _checked_projects(projects, max_rps)
    target = Destination.of(destination)
    job = Job(
        target.uri,
        settings,
        {project.name: access for project, access in checked},
        on_error == "raise",
        concurrency,
        shard_size,
    )
    return ClusterRun(target, job, [project for project, _ in checked], workers, on_progress).run()


def _checked_settings(layout: str, format: str, *, include_reply: bool) -> RunSettings:  # noqa: A002
    if layout not in LAYOUTS:
        raise ConfigurationError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    if format not in FORMATS:
        raise ConfigurationError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
    if not isinstance(include_reply, bool):  # a plan has it as JSON
        raise ConfigurationError(f"include_reply must be True or False, not {include_reply!r}")
    if layout in EXAMPLES and not include_reply:
        raise ConfigurationError(
            f"a line of {layout!r} ends with the reply", hint="include replies"
        )
    version = version_of(layout, columns=format == "parquet")
    return RunSettings(layout, version, include_reply, format)


def _checked_projects(
    projects: Iterable[Project], max_rps: float | None
) -> list[tuple[Project, Access]]:
    check_rate(max_rps)
    if isinstance(projects, Project) or not isinstance(projects, Iterable):
        given = "one Project" if isinstance(projects, Project) else type(projects).__name__
        raise ConfigurationError(f"projects must be a list of Projects, not {given}")
    found: list[tuple[Project, Access]] = []
    names: set[str] = set()
    for project in projects:
        if not isinstance(project, Project):
            raise ConfigurationError(
                f"projects must be of the class Project, not {type(project).__name__}"
            )
        source = project.source
        if not isinstance(source, Selection | str | bytes) and isinstance(source, Iterable):
            source = tuple(source)  # it is read twice
        rate = max_rps if project.max_rps is None else project.max_rps
        limited = structs.replace(project, source=source, max_rps=rate)
        access = limited.access()
        if isinstance(source, Selection):
            limited = structs.replace(limited, source=source.checked())
        found.append((limited, access))
        if project.name.lower() in names:
            raise ConfigurationError(
                f"two projects are named {project.name}",
                hint="give each another name, also where capitals do not count",
            )
        names.add(project.name.lower())
    if not found:
        raise ConfigurationError("there is no project", hint="name one or more")
    return found
