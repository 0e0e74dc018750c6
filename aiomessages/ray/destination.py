"""The destination of a run: a folder that all nodes share, or an object store.

Every file is written whole: its name appears with its last byte, or never. A name belongs to one
content, so a second writer of a name, late or restarted, writes the same. On a file system, the
first one wins; on an object store, the last one.
"""

import contextlib
import hashlib
import mmap
import os
import re
import secrets
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import unquote, urlsplit

from aiomessages.errors import ConfigurationError
from aiomessages.export.files import PRIVATE

from .errors import ClusterError

# On these, a file appears when its stream is closed. On others, it has another name until then.
_STORES: Final = frozenset({"abfs", "gcs", "s3"})
# Such as Path("s3://bucket/run"), which drops a slash.
_CUT_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
# In the names of options of a URI, such as client_secret or sig.
_SECRETS: Final = re.compile(
    r"(?:^|&)[^=&]*(?:key|password|secret|sig|token)[^=&]*=", re.IGNORECASE
)
_PROBE: Final = "probe"
_PROBE_TEXT: Final = b"written by aiomessages to find out who can read it\n"
_CHUNK: Final = 2**20


class Destination:
    """A folder, by its path or by a URI that pyarrow reads; it can be sent to other processes."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @classmethod
    def of(cls, destination: str | os.PathLike[str]) -> "Destination":
        """Return a destination. Raises ConfigurationError for one that cannot be used."""
        is_path = isinstance(destination, str | os.PathLike)
        uri = os.fspath(destination) if is_path else None
        if not isinstance(uri, str) or not uri or "\0" in uri:
            raise ConfigurationError("the destination must be a path or a URI")
        if "://" in uri:
            _check_uri(uri)
            return cls(uri)
        if _CUT_URI.match(uri):
            raise ConfigurationError(
                "the destination is a URI with one slash, as a Path makes it of one",
                hint="give a URI as a str, such as 's3://bucket/folder'",
            )
        return cls(str(Path(uri).absolute()))

    def __reduce__(self) -> tuple[type["Destination"], tuple[str]]:
        return Destination, (self.uri,)  # each process opens it by itself

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        from pyarrow import fs  # noqa: PLC0415 a large library

        with self._errors():
            if "://" not in self.uri:
                return fs.LocalFileSystem(), self.uri
            found: tuple[Any, str] = fs.FileSystem.from_uri(self.uri)
            return found

    @contextlib.contextmanager
    def _errors(self) -> Any:
        """Raise ClusterError in place of an error of the file system."""
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: an unknown scheme or option
            said = " ".join(str(error).split())[:500]
            raise ClusterError(
                f"the destination {self.uri} cannot be used: {said}",
                hint="check its address and space, and each node's credentials and permissions",
            ) from None

    @property
    def _is_local(self) -> bool:
        return bool(self._opened[0].type_name == "local")

    def _path(self, name: str) -> str:
        return f"{self._opened[1].rstrip('/')}/{name}"

    # --- reading ----------------------------------------------------------------------------------

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the sizes in bytes of the files of a folder by their names."""
        from pyarrow import fs  # noqa: PLC0415 a large library

        with self._errors():
            selector = fs.FileSelector(self._path(folder), allow_not_found=True)
            found = self._opened[0].get_file_info(selector)
        # A hidden name is one of a file that is being written.
        files = (info for info in found if info.is_file and not info.base_name.startswith("."))
        return {info.base_name: info.size for info in files}

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        with self._errors():
            return bool(self._opened[0].get_file_info(self._path(name)).is_file)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        with self._errors(), self.open(name) as file:
            data: bytes = file.read()
            return data

    def open(self, name: str) -> Any:
        """Open a file for reading; use the result in a `with` block."""
        with self._errors():
            return self._opened[0].open_input_stream(self._path(name), compression=None)

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file, in hexadecimal."""
        digest = hashlib.sha256()
        with self._errors(), self.open(name) as file:
            while data := file.read(_CHUNK):
                digest.update(data)
        return digest.hexdigest()

    # --- writing ----------------------------------------------------------------------------------

    def make_folders(self, *folders: str) -> None:
        """Create folders, where the destination has any."""
        if self._opened[0].type_name not in _STORES:
            with self._errors():
                for folder in ("", *folders):
                    self._opened[0].create_dir(self._path(folder), recursive=True)

    def put(self, name: str, content: bytes | IO[bytes], *, replace: bool = False) -> None:
        """Write a whole file, unless there is one of this name; `replace` replaces it."""
        with self._errors(), contextlib.ExitStack() as held:
            data: Any = content
            if not isinstance(content, bytes):
                content.flush()
                size = os.fstat(content.fileno()).st_size
                data = b""
                if size:
                    data = held.enter_context(
                        mmap.mmap(content.fileno(), size, access=mmap.ACCESS_READ)
                    )
            if self._is_local:
                self._put_locally(Path(self._path(name)), data, replace=replace)
            elif replace or not self.exists(name):
                self._put_remotely(name, data)

    def _put_locally(self, path: Path, data: Any, *, replace: bool) -> None:
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(partial, flags, PRIVATE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # Closed before: some shares find out there that they are full, and some rename no file
            # that is open.
            if replace:
                partial.replace(path)
            else:
                _give_name(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _put_remotely(self, name: str, data: Any) -> None:
        system, final = self._opened[0], self._path(name)
        path = final if system.type_name in _STORES else f"{final}.{secrets.token_hex(8)}.tmp"
        stream = system.open_output_stream(path, compression=None)
        # All bytes in one call: a stream that is closed early makes a file of what it has got.
        stream.write(data)
        stream.close()
        if path != final:
            system.move(path, final)

    # --- checks -----------------------------------------------------------------------------------

    def write_probe(self) -> str:
        """Write a small file, and return its name. Raises ClusterError."""
        name = f".{_PROBE}-{secrets.token_hex(8)}"
        self.make_folders()
        self.put(name, _PROBE_TEXT)
        if self.read(name) != _PROBE_TEXT:
            self.remove_probe(name)
            raise ClusterError(
                f"the destination {self.uri} returns other bytes than were written",
                hint="if it resembles S3, check the credentials, and set"
                " AWS_REQUEST_CHECKSUM_CALCULATION=when_required on each node",
            )
        return name

    def remove_probe(self, name: str) -> None:
        """Remove the small file."""
        with contextlib.suppress(OSError):
            self._opened[0].delete_file(self._path(name))


def _check_uri(uri: str) -> None:
    """Raise ConfigurationError for a URI that holds a secret, or a part that is not used."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise ConfigurationError("the destination is no URI: its host is invalid") from None
    user, at, _ = parts.netloc.rpartition("@")
    # On Azure, this is the container; on other systems, it may be a name.
    has_secret = at and (":" in user or parts.scheme == "s3")
    query = unquote(parts.query)
    if has_secret or "@" in query or _SECRETS.search(query):
        raise ConfigurationError(
            "the URI of the destination holds a password",
            hint="give the nodes the credentials by their environment or their role",
        )
    if {".", ".."}.intersection(unquote(parts.path).split("/")):
        raise ConfigurationError("the URI of the destination has '.' or '..' in its path")
    # pyarrow drops it, and two destinations would be the same.
    if parts.fragment or (parts.scheme == "file" and query):
        raise ConfigurationError(
            "the URI of the destination goes on after its path",
            hint="write '#' as %23, and '?' as %3F",
        )


def _give_name(partial: Path, path: Path) -> None:
    """Give a complete file its final name, unless that is taken."""
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        if not path.exists():
            partial.replace(path)
