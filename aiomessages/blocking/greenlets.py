"""Detection of gevent and eventlet, which replace the threads of a process by greenlets.

Either makes a greenlet of every new thread. A greenlet runs only while the others of its thread
wait in the library's functions, and asyncio sees them all as one thread with one event loop. The
client's loop would never run, or no other greenlet could run a loop of its own.
"""

import sys
from typing import Final, NamedTuple


class _Patcher(NamedTuple):
    """A library that replaces threads, and the two ways around that which the error names."""

    library: str
    module: str
    is_patched: str  # the module's function that says whether a part is patched
    parts: tuple[str, ...]  # with any of them patched, the client and its thread cannot meet
    run_in_pool: str
    patch_less: str


_PATCHERS: Final = (
    _Patcher(
        "gevent",
        "gevent.monkey",
        "is_module_patched",
        ("_thread", "queue"),
        "gevent.get_hub().threadpool.apply(asyncio.run, (main(),))",
        "monkey.patch_all(thread=False, queue=False)",
    ),
    _Patcher(
        "eventlet",
        "eventlet.patcher",
        "is_monkey_patched",
        ("thread",),
        "eventlet.tpool.execute(asyncio.run, main())",
        "eventlet.monkey_patch(thread=False)",
    ),
)


def refuse_greenlets() -> None:
    """Raise RuntimeError where threads are greenlets.

    Check before every call: the patch may come after the import, and after the first call.
    """
    for patcher in _PATCHERS:
        module = sys.modules.get(patcher.module)
        if module is None:
            continue
        is_patched = getattr(module, patcher.is_patched)
        if any(is_patched(part) for part in patcher.parts):
            raise RuntimeError(
                f"{patcher.library} has patched the threads of this process, and MessagesClient"
                " needs real ones: use AsyncMessagesClient in a thread of its pool,"
                f" `{patcher.run_in_pool}`; or leave threads as they are, `{patcher.patch_less}`"
            )
