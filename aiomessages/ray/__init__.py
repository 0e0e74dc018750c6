"""Read and export the conversations of many projects on many machines, with Ray.

report = aiomessages.ray.export([Project("a", key="env:KEY_A")], "s3://bucket/folder", workers=4)
"""

from .errors import ClusterError
from .exporting import export
from .manifest import ProjectReport
from .projects import Project, Selection
from .reading import read_conversations
from .report import ClusterProgress, ClusterReport

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
