"""An async client for the messages of stored chat completions.

    async with AsyncMessagesClient() as client:
        async for message in client.list("chatcmpl-1"):
            print(message.role, message.content)

Importing the package loads none of its modules: a name loads its module when it is first used.
"""

from ._lazy import lazily, listed

TYPE_CHECKING = False  # type checkers take it for true; importing it from typing takes 5 ms
if TYPE_CHECKING:
    # `X as X` re-exports X. Sorting would give each a statement of its own.
    # isort: off
    from ._version import __version__ as __version__
    from .calls.request import RetryDetails as RetryDetails
    from .calls.retry import RetryPolicy as RetryPolicy
    from .client import AsyncMessagesClient as AsyncMessagesClient
    from .conversations import (
        Conversation as Conversation,
        ConversationStream as ConversationStream,
    )
    from .errors import (
        APIConnectionError as APIConnectionError,
        APIError as APIError,
        APIResponseError as APIResponseError,
        APIStatusError as APIStatusError,
        APITimeoutError as APITimeoutError,
        AuthenticationError as AuthenticationError,
        BadRequestError as BadRequestError,
        ClientClosedError as ClientClosedError,
        ConfigurationError as ConfigurationError,
        ConflictError as ConflictError,
        DecodeError as DecodeError,
        InsufficientQuotaError as InsufficientQuotaError,
        InternalServerError as InternalServerError,
        MessagesError as MessagesError,
        NotFoundError as NotFoundError,
        PaginationError as PaginationError,
        PermissionDeniedError as PermissionDeniedError,
        ProxyError as ProxyError,
        RateLimitError as RateLimitError,
        RedirectError as RedirectError,
        ResponseTooLargeError as ResponseTooLargeError,
        SchemaError as SchemaError,
        TLSError as TLSError,
        UnprocessableEntityError as UnprocessableEntityError,
    )
    from .models import (
        Choice as Choice,
        CompletionUsage as CompletionUsage,
        CustomToolCall as CustomToolCall,
        FilePart as FilePart,
        FunctionCall as FunctionCall,
        FunctionToolCall as FunctionToolCall,
        ImagePart as ImagePart,
        ImageURL as ImageURL,
        InputAudioPart as InputAudioPart,
        Message as Message,
        OddMessage as OddMessage,
        RefusalPart as RefusalPart,
        Reply as Reply,
        StoredCompletion as StoredCompletion,
        TextPart as TextPart,
        UnknownAnnotation as UnknownAnnotation,
        UnknownPart as UnknownPart,
        UnknownToolCall as UnknownToolCall,
        URLCitationAnnotation as URLCitationAnnotation,
    )
    from .pages import (
        CompletionPage as CompletionPage,
        MessagePage as MessagePage,
        RawPage as RawPage,
    )
    from .paging.stream import (
        CompletionStream as CompletionStream,
        MessageStream as MessageStream,
        RawStream as RawStream,
    )
    from .settings import Timeout as Timeout
    # isort: on

_MODULES = {
    "calls.request": "RetryDetails",
    "calls.retry": "RetryPolicy",
    "client": "AsyncMessagesClient",
    "conversations": "Conversation ConversationStream",
    "errors": (
        "APIConnectionError APIError APIResponseError APIStatusError APITimeoutError"
        " AuthenticationError BadRequestError ClientClosedError ConfigurationError ConflictError"
        " DecodeError InsufficientQuotaError InternalServerError MessagesError NotFoundError"
        " PaginationError PermissionDeniedError ProxyError RateLimitError RedirectError"
        " ResponseTooLargeError SchemaError TLSError UnprocessableEntityError"
    ),
    "models": (
        "Choice CompletionUsage CustomToolCall FilePart FunctionCall FunctionToolCall ImagePart"
        " ImageURL InputAudioPart Message OddMessage RefusalPart Reply StoredCompletion TextPart"
        " URLCitationAnnotation UnknownAnnotation UnknownPart UnknownToolCall"
    ),
    "pages": "CompletionPage MessagePage RawPage",
    "paging.stream": "CompletionStream MessageStream RawStream",
    "settings": "Timeout",
}

# Type checkers read the imports above. They would take every name for one of the package's if they
# saw `__getattr__`, and cannot evaluate `__all__`.
if not TYPE_CHECKING:  # pragma: no branch  # at run time it is false
    __all__ = list(listed(_MODULES))
    __getattr__ = lazily(__name__, _MODULES | {"_version": "__version__"}, globals())


def __dir__() -> list[str]:
    return [*listed(_MODULES), "__version__"]
