"""Whether gevent or eventlet has replaced the threads of this process, and what to do then.

Both make a greenlet of every new thread. A greenlet runs only while the thread that it shares waits
in their own terms, and Python takes its event loop for one of that thread: the client's loop would
never get its turn, or keep every other greenlet from a loop of its own.
"""

import sys
from typing import Final, NamedTuple


class _Patcher(NamedTuple):
    """A library that patches, how it tells what it has patched, and the two ways around that."""

    library: str
    module: str
    is_patched: str
    parts: tuple[str, ...]  # each of them would keep the client's thread and its caller apart
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

    Ask before every call: the patch may come after the import, and after the first call.
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
