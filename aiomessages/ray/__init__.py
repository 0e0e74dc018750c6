"""Read and export the conversations of many projects on many machines, with Ray.

report = export([Project("a", key="env:KEY_A")], "s3://bucket/folder", workers=4)

It needs the extra `ray`. Names load on first use: the modules that decide and those that a worker
runs need no Ray, and neither do their tests.
"""

from typing import TYPE_CHECKING

from aiomessages._lazy import lazily

if TYPE_CHECKING:
    from .errors import ClusterError
    from .exporting import export
    from .manifest import ProjectReport
    from .projects import Project, Selection
    from .reading import read_conversations
    from .report import ClusterProgress, ClusterReport

_MODULES = {
    "errors": "ClusterError",
    "exporting": "export",
    "manifest": "ProjectReport",
    "projects": "Project Selection",
    "reading": "read_conversations",
    "report": "ClusterProgress ClusterReport",
}

__all__ = [
    "ClusterError",
    "ClusterProgress",
    "ClusterReport",
    "Project",
    "ProjectReport",
    "Selection",
    "export",
    "read_conversations",
]


# Hidden from type checkers, which would accept any name.
if not TYPE_CHECKING:  # pragma: no branch  # at run time it is false
    _load = lazily(__name__, _MODULES, globals())

    def __getattr__(name: str) -> object:
        try:
            return _load(name)
        except ModuleNotFoundError as error:
            if error.name not in ("pyarrow", "ray"):
                raise
            raise ModuleNotFoundError(
                f"aiomessages.ray needs an extra: pip install 'aiomessages[ray]' ({error})",
                name=error.name,
            ) from None


def __dir__() -> list[str]:
    return sorted(__all__)  # a prompt would also offer the imports and the files
