"""A FastAPI app that shows conversations: one client for the app, one stream per reader.

    app = FastAPI(lifespan=messages_lifespan())
    add_exception_handlers(app)
    app.include_router(messages_router(), dependencies=[Depends(may_read)])

A stream sends the API's own bytes, page by page, while its reader is connected; a stream that
failed never looks complete. Error answers hold texts of this package alone: neither the API's
words nor the key reach a reader. The app decides who may read which conversation.
"""

import warnings
from typing import TYPE_CHECKING, Any

from fastapi.encoders import ENCODERS_BY_TYPE

from aiomessages.blocking.streams import Page as BlockingPage
from aiomessages.pages import CompletionPage, MessagePage, RawPage

from .formats import Format
from .lifespan import ClientDependency, get_messages_client, messages_lifespan
from .problems import InvalidParameters, Problem, add_exception_handlers
from .routes import ResumeAfter, StoredMessage, StoredMessagePage, messages_router, resume_after
from .streaming import StreamCutError, stream_messages

__all__ = [
    "ClientDependency",
    "Format",
    "InvalidParameters",
    "Problem",
    "ResumeAfter",
    "StoredMessage",
    "StoredMessagePage",
    "StreamCutError",
    "add_exception_handlers",
    "get_messages_client",
    "messages_lifespan",
    "messages_router",
    "resume_after",
    "stream_messages",
]

# Without a return annotation FastAPI would turn a page into an empty object.
for _kind in (MessagePage, CompletionPage, RawPage, BlockingPage):
    ENCODERS_BY_TYPE[_kind] = _kind.to_dict

if TYPE_CHECKING:
    MessagesClient = ClientDependency
else:

    def __getattr__(name: str) -> Any:
        if name != "MessagesClient":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        warnings.warn(
            "aiomessages.fastapi.MessagesClient is deprecated: use ClientDependency",
            DeprecationWarning,
            stacklevel=2,
        )
        return ClientDependency


def __dir__() -> list[str]:
    return sorted(__all__)  # a prompt would also offer the imports and the files
