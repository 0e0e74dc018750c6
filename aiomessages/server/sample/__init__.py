"""The sample: some thirty conversations of the project's own, small and of every kind.

They are made when asked for and the same each time. Ids are words (`chatcmpl-tides`), so that a
person can type them; the newest is the one a newcomer should meet first.
"""

from __future__ import annotations

from .build import JSON, stored
from .everyday import EVERYDAY
from .languages import LANGUAGES
from .long import long_conversations
from .media import MEDIA
from .oddities import ODDITIES
from .tools import TOOLS

__all__ = ["sample_records"]


def sample_records() -> list[JSON]:
    """Return the sample as records, oldest first."""
    drafts = [*ODDITIES, *long_conversations(), *MEDIA, *LANGUAGES, *TOOLS, *EVERYDAY]
    return [stored(draft, number) for number, draft in enumerate(drafts)]
