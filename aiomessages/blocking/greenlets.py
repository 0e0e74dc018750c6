"""Detection of gevent and eventlet, which replace the threads of a process by greenlets.

Either makes a greenlet of every new thread. A greenlet runs only while the others of its thread
wait in the library's functions, and asyncio sees them all as one thread with one event loop. The
client's loop would never run, or no other greenlet could run a loop of its own.
"""

import sys


def refuse_greenlets() -> None:
    """Raise RuntimeError if threads are greenlets.

    Check before every call: the patch may come after the import, and after the first call.
    """
    gevent = sys.modules.get("gevent.monkey")
    # The thread and the queue in which a call waits: with either patched, the two cannot meet.
    if gevent and any(gevent.is_module_patched(part) for part in ("_thread", "queue")):
        in_pool = "gevent.get_hub().threadpool.apply(asyncio.run, (main(),))"
        raise _refusal("gevent", in_pool, "monkey.patch_all(thread=False, queue=False)")
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet and eventlet.is_monkey_patched("thread"):
        in_pool = "eventlet.tpool.execute(asyncio.run, main())"
        raise _refusal("eventlet", in_pool, "eventlet.monkey_patch(thread=False)")


def _refusal(library: str, in_pool: str, patch_less: str) -> RuntimeError:
    return RuntimeError(
        f"{library} has patched the threads of this process, and MessagesClient needs real ones:"
        f" use AsyncMessagesClient in a thread of its pool, `{in_pool}`; or leave threads as they"
        f" are, `{patch_less}`"
    )
