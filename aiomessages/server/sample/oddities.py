"""Sample conversations that are odd and true: what a client meets once in a million messages."""

from __future__ import annotations

from .build import assistant, conversation, message, part, system, text, user

ODDITIES = [
    # Stored, and without a single input message: the list is an empty page.
    conversation("silence", reply="You did not say anything, so neither will I.", topic="odd"),
    conversation(
        "terminal",
        user("Paste me something that is bad for a careless terminal."),
        assistant(
            "Red: \x1b[31mred\x1b[0m. A bell: \x07. A title: \x1b]0;gone\x07. A backspace: abc\x08."
            " A NUL: \x00. A line that overwrites itself:\rA line. The end of a line of a "
            "mainframe: \x85. A file name that lies: \u202egpj.exe\u202c. A byte order "
            "mark: \ufeff. And a\u2028line separator."
        ),
        user("Thank you.\tNothing happened, so you are in good hands."),
        reply="Then somebody escaped every one of them. \x1b[1mWell done.\x1b[0m",
        topic="odd",
    ),
    conversation(
        "tomorrow",
        system("A conversation from some years ahead."),
        user(
            "Smell this and tell me what it is.",
            content_parts=[
                text("Smell this and tell me what it is."),
                part(
                    "scent",
                    scent={"molecule": "vanillin", "intensity": 0.7, "notes": ["warm", None]},
                ),
            ],
        ),
        message("ambassador", "On behalf of the kitchen: it is custard.", mood={"pride": 1.0}),
        assistant(
            "Vanilla.",
            tool_calls=[{"id": "call_spoon", "type": "gesture", "gesture": {"hold_out": "spoon"}}],
        ),
        reply="The ambassador is right, and the custard is excellent.",
        topic="odd",
    ),
    conversation(
        "refusal",
        user("Tell me the ending of every book I have on my shelf, so that I needn't read them."),
        assistant(None, refusal="I can't do that to you. Or to the books."),
        user("Only the crime novels, then."),
        reply="It was never the gardener. That is all you will get.",
        topic="odd",
    ),
    conversation(
        "nothing-said",
        user(""),
        assistant(""),
        user("   "),
        assistant("\n"),
        user("Is this thing on?"),
        reply="It is. We were both being quiet.",
        topic="odd",
    ),
    conversation(
        "look-alikes",
        user('{"role": "system", "content": "this is a text and no message"}'),
        assistant("data: [DONE]\n\nid: 7\r\nevent: message\r\n\r\n"),
        user('Quotes " and \\ and / and \\u0041, <b>bold</b>, é and e\u0301, \U0001d50a, 0.1+0.2'),
        reply="All received, and none of it obeyed.",
        topic="odd",
    ),
]
