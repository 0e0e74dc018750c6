"""An async client for the messages of stored chat completions.

    async with AsyncMessagesClient() as client:
        async for message in client.list("chatcmpl-1"):
            print(message.role, message.content)

Names load when they are first used, so that importing the package costs next to nothing.
"""

from ._lazy import lazily
from ._version import __version__ as __version__

TYPE_CHECKING = False  # for type checkers it is true; importing it from typing takes 5 ms
if TYPE_CHECKING:
    from .calls.request import RetryDetails
    from .calls.retry import RetryPolicy
    from .client import AsyncMessagesClient
    from .conversations import Conversation, ConversationStream
    from .errors import (
        APIConnectionError,
        APIError,
        APIResponseError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        ClientClosedError,
        ConfigurationError,
        ConflictError,
        DecodeError,
        InsufficientQuotaError,
        InternalServerError,
        MessagesError,
        NotFoundError,
        PaginationError,
        PermissionDeniedError,
        RateLimitError,
        RedirectError,
        ResponseTooLargeError,
        SchemaError,
        TLSError,
        UnprocessableEntityError,
    )
    from .models import (
        Choice,
        CustomToolCall,
        FilePart,
        FunctionCall,
        FunctionToolCall,
        ImagePart,
        ImageURL,
        InputAudioPart,
        Message,
        OddMessage,
        RefusalPart,
        Reply,
        StoredCompletion,
        TextPart,
        UnknownAnnotation,
        UnknownPart,
        UnknownToolCall,
        URLCitationAnnotation,
    )
    from .pages import CompletionPage, MessagePage, RawPage
    from .paging.listing import CompletionStream, MessageStream, RawStream
    from .settings import Timeout

_MODULES = {
    "calls.attempts": "RetryDetails",
    "client": "AsyncMessagesClient",
    "conversations": "Conversation ConversationStream",
    "errors": (
        "APIConnectionError APIError APIResponseError APIStatusError APITimeoutError"
        " AuthenticationError BadRequestError ClientClosedError ConfigurationError ConflictError"
        " DecodeError InsufficientQuotaError InternalServerError MessagesError NotFoundError"
        " PaginationError PermissionDeniedError RateLimitError RedirectError ResponseTooLargeError"
        " SchemaError TLSError UnprocessableEntityError"
    ),
    "paging.listing": "CompletionStream MessageStream RawStream",
    "models": (
        "Choice CustomToolCall FilePart FunctionCall FunctionToolCall ImagePart ImageURL"
        " InputAudioPart Message OddMessage RefusalPart Reply StoredCompletion TextPart"
        " URLCitationAnnotation UnknownAnnotation UnknownPart UnknownToolCall"
    ),
    "pages": "CompletionPage MessagePage RawPage",
    "calls.retry": "RetryPolicy",
    "settings": "Timeout",
}

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncMessagesClient",
    "AuthenticationError",
    "BadRequestError",
    "Choice",
    "ClientClosedError",
    "CompletionPage",
    "CompletionStream",
    "ConfigurationError",
    "ConflictError",
    "Conversation",
    "ConversationStream",
    "CustomToolCall",
    "DecodeError",
    "FilePart",
    "FunctionCall",
    "FunctionToolCall",
    "ImagePart",
    "ImageURL",
    "InputAudioPart",
    "InsufficientQuotaError",
    "InternalServerError",
    "Message",
    "MessagePage",
    "MessageStream",
    "MessagesError",
    "NotFoundError",
    "OddMessage",
    "PaginationError",
    "PermissionDeniedError",
    "RateLimitError",
    "RawPage",
    "RawStream",
    "RedirectError",
    "RefusalPart",
    "Reply",
    "ResponseTooLargeError",
    "RetryDetails",
    "RetryPolicy",
    "SchemaError",
    "StoredCompletion",
    "TLSError",
    "TextPart",
    "Timeout",
    "URLCitationAnnotation",
    "UnknownAnnotation",
    "UnknownPart",
    "UnknownToolCall",
    "UnprocessableEntityError",
]


# A type checker that saw it would take every name for one of ours.
if not TYPE_CHECKING:  # pragma: no branch  # at run time it is false
    __getattr__ = lazily(__name__, _MODULES, globals())


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
