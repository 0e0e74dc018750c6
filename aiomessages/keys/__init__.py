"""Ready `api_key` callables: a key in a file, the output of a command, a token of Azure Entra.

Pass one as `api_key` to a client, or the same one to many clients, also of other event loops and
threads. It gets the key when the first request needs it, keeps it, and gets another one before it
expires, or after a server refuses it (401). No repr, log line or error has the key.
"""

from .command import KeyCommand
from .entra import EntraToken
from .file import KeyFile

__all__ = ["EntraToken", "KeyCommand", "KeyFile"]


def __dir__() -> list[str]:
    return sorted(__all__)  # a prompt would also offer the imports and the files
