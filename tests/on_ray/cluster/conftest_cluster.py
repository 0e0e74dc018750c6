"""The servers of these tests, and what each node of the cluster finds in its environment."""

from __future__ import annotations

from aiomessages.testing import MessagesServer

KEYS = {"KEY_A": "sk-canary-a-0123456789", "KEY_B": "sk-canary-b-0123456789"}
# A node gets these with its start, as a container gets its secrets.
NODES = {
    **KEYS,
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "canary-of-s3",
    "AWS_EC2_METADATA_DISABLED": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def serve(key: str, completions: int, *, rate: float | None = None) -> MessagesServer:
    """Return a server of completions with one to five messages each."""
    records = [
        {
            "completion": {
                "id": f"chatcmpl-{number:04}",
                "object": "chat.completion",
                "created": 1_767_225_600 + number,
                "model": "gpt-4o",
                "metadata": {"number": str(number)},
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": f"reply {number}"},
                    }
                ],
            },
            "messages": [
                {"id": f"chatcmpl-{number:04}-{n}", "role": "user", "content": f"message {n}"}
                for n in range(number % 5 + 1)
            ],
        }
        for number in range(completions)
    ]
    return MessagesServer(records=records, api_key=KEYS[key], rate=rate)
