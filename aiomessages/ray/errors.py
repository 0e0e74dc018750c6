"""The errors of runs on a cluster, and problems as plain values that workers return."""

import socket
import sys
from typing import Final

import msgspec

from aiomessages import __version__
from aiomessages.errors import APIConnectionError, AuthenticationError, MessagesError
from aiomessages.export.errors import ExportError


class ClusterError(ExportError):
    """A run on a cluster cannot begin or continue; what is done stays done."""

    node: str | None
    """Name of the machine where it arose; None if that is the driver."""

    def __init__(self, said: str, *, hint: str = "", node: str | None = None) -> None:
        super().__init__(said, hint=hint)
        self.node = node


# The hints of the client name its own variable and stream.
_HINTS: Final = {
    AuthenticationError.hint: "check the key, and whether it belongs to this project",
    APIConnectionError.hint: "check the network and base_url",
}


class Problem(msgspec.Struct, frozen=True):
    """An error as a worker returns it: an exception would carry the worker's frames with it."""

    said: str
    hint: str
    node: str

    @classmethod
    def of(cls, error: BaseException, about: str = "") -> "Problem":
        """Return the problem that an error is, on this node."""
        hint = str(getattr(error, "hint", ""))
        if isinstance(error, OSError) and not isinstance(error, MessagesError):
            hint = "look at the disk of this node with its temporary files (TMPDIR)"
        said = str(error) if isinstance(error, MessagesError | OSError) else repr(error)
        if hint:
            said = said.removesuffix(hint).rstrip(" :.")
        said = f"{about}: {said}" if about else said
        return cls(said, _HINTS.get(hint, hint), node_name())

    def error(self) -> ClusterError:
        """Return it as an error for the driver to raise."""
        return ClusterError(f"on node {self.node}: {self.said}", hint=self.hint, node=self.node)


def check_version(version: str) -> None:
    """Raise ClusterError if the driver's version is not that of this process."""
    if version != __version__:
        raise ClusterError(
            f"aiomessages {__version__} is installed, and {version} on the driver",
            hint="install the same version on all nodes",
        )


def node_name() -> str:
    """Return the name of this machine, and in a cluster the beginning of its id there."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return socket.gethostname()
    return f"{socket.gethostname()} ({ray.get_runtime_context().get_node_id()[:8]})"
