"""The values of the API, as frozen Structs: messages, parts, completions, replies."""

from .as_sent import keep
from .completions import (
    Choice,
    CompletionTokensDetails,
    CompletionUsage,
    PromptTokensDetails,
    Reply,
    StoredCompletion,
)
from .messages import Message, OddMessage, ReceivedMessage
from .parts import (
    Annotation,
    Audio,
    ContentPart,
    CustomCall,
    CustomToolCall,
    FilePart,
    FileRef,
    FunctionCall,
    FunctionToolCall,
    ImagePart,
    ImageURL,
    InputAudio,
    InputAudioPart,
    Json,
    RefusalPart,
    Role,
    TextPart,
    ToolCall,
    UnknownAnnotation,
    UnknownPart,
    UnknownToolCall,
    URLCitation,
    URLCitationAnnotation,
)

__all__ = [
    "Annotation",
    "Audio",
    "Choice",
    "CompletionTokensDetails",
    "CompletionUsage",
    "ContentPart",
    "CustomCall",
    "CustomToolCall",
    "FilePart",
    "FileRef",
    "FunctionCall",
    "FunctionToolCall",
    "ImagePart",
    "ImageURL",
    "InputAudio",
    "InputAudioPart",
    "Json",
    "Message",
    "OddMessage",
    "PromptTokensDetails",
    "ReceivedMessage",
    "RefusalPart",
    "Reply",
    "Role",
    "StoredCompletion",
    "TextPart",
    "ToolCall",
    "URLCitation",
    "URLCitationAnnotation",
    "UnknownAnnotation",
    "UnknownPart",
    "UnknownToolCall",
    "keep",
]


def __dir__() -> list[str]:
    return sorted(__all__)  # a prompt would also offer the imports and the files
