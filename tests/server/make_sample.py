"""Make the sample that the local server ships: `python tests/server/make_sample.py`.

`sample.json`, beside this file, holds the conversations as their author wrote them. This script
adds the other values that the recorded API sends: ids, times, token counts, and null for every
member that does not apply. It writes one record a line. `test_sample.py` fails when the file is out
of date.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

JSON = dict[str, Any]

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "sample.json"
TARGET = HERE.parents[1] / "aiomessages" / "server" / "sample.jsonl.gz"

NEW_YEAR = 1_767_225_600  # 2026-01-01 00:00 UTC, in seconds
STEP = 3571  # seconds between two conversations; a prime number, so that no two look alike
NO_PART = {"text": None, "image_url": None, "input_audio": None, "file": None}


def sample() -> bytes:
    """Return the lines of the sample, oldest conversation first."""
    drafts = json.loads(SOURCE.read_text("utf-8"))
    records = [record(draft, number) for number, draft in enumerate(drafts)]
    lines = [json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in records]
    return "".join(f"{line}\n" for line in lines).encode()


def record(draft: JSON, number: int) -> JSON:
    """Return a conversation as a record; it is the `number`th of the sample, from 0."""
    id = f"chatcmpl-{draft['name']}"
    messages = [message(said) for said in draft["messages"]]
    return {
        "completion": completion(id, number, draft, messages),
        "messages": [{"id": f"{id}-{n}", **said} for n, said in enumerate(messages)],
    }


def message(draft: JSON) -> JSON:
    """Add the null members, and split content parts from the text as the API does."""
    said = {"role": None, "content": None, "content_parts": None, "name": None, **draft}
    if isinstance(said["content"], list):
        said["content_parts"] = said["content"]
        # The API joins the parts with spaces, and counts a picture as an empty text.
        said["content"] = " ".join(part.get("text") or "" for part in said["content"])
    if said["content_parts"]:
        said["content_parts"] = [
            {"type": part["type"], **NO_PART, **part} for part in said["content_parts"]
        ]
    return said


def completion(id: str, number: int, draft: JSON, messages: list[JSON]) -> JSON:
    """Return the completion object; the reply stands in `choices`, not among the messages."""
    reply = {"tool_calls": None, "function_call": None, **draft["reply"]}
    stop = "tool_calls" if reply["tool_calls"] else "stop"
    prompt_tokens = sum(len(said["content"] or "") for said in messages) // 4  # a rule of thumb
    completion_tokens = len(reply["content"] or "") // 4
    return {
        "object": "chat.completion",
        "id": id,
        "model": draft["model"],
        "created": NEW_YEAR + number * STEP,
        "request_id": f"req_{number:032x}",
        "tool_choice": None,
        "usage": {
            "total_tokens": prompt_tokens + completion_tokens,
            "completion_tokens": completion_tokens,
            "prompt_tokens": prompt_tokens,
        },
        "seed": number,
        "top_p": 1.0,
        "temperature": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "system_fingerprint": "fp_sample",
        "input_user": None,
        "service_tier": "default",
        "tools": None,
        "metadata": {**draft["metadata"], "source": "sample"},
        "choices": [{"index": 0, "message": reply, "finish_reason": stop, "logprobs": None}],
        "response_format": None,
    }


if __name__ == "__main__":
    # Without a time in its header the file depends on nothing but the lines and the zlib.
    TARGET.write_bytes(gzip.compress(sample(), 9, mtime=0))
