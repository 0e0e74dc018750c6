"""Sample conversations in which the model calls tools, of every kind the API has known."""

from __future__ import annotations

from .build import LARGE, assistant, call, calls, conversation, message, result, system, user

TOOLS = [
    conversation(
        "old-function",
        user("How far is it from Lyon to Turin as the crow flies?"),
        # Before tools there were functions: one call a message, answered by a role of its own.
        assistant(
            None,
            function_call={"name": "distance", "arguments": '{"from":"Lyon","to":"Turin"}'},
        ),
        message("function", '{"kilometres": 232}', name="distance"),
        reply="About 232 km, with the Alps in the way.",
        topic="tools",
    ),
    conversation(
        "broken-arguments",
        system("Use the tool `book_table`. If it complains, correct yourself once."),
        user("A table for four tomorrow at eight, under the name O'Hara."),
        calls(
            {
                "id": "call_1",
                "type": "function",
                # Models do write this: JSON that ends too early.
                "function": {"name": "book_table", "arguments": '{"guests": 4, "at": "20:00'},
            }
        ),
        result("call_1", "error: the arguments are not valid JSON"),
        calls(call("call_2", "book_table", guests=4, at="20:00", party="O'Hara")),
        result("call_2", {"booked": True, "table": 11}),
        reply="Done: table 11, four people, tomorrow at eight, for O'Hara.",
        topic="tools",
    ),
    conversation(
        "custom-tool",
        system("Answer questions about the table `loans(book, reader, due)` with one SQL query."),
        user("Who has had a book for the longest time over the due date?"),
        calls(
            {
                "id": "call_sql",
                "type": "custom",
                "custom": {
                    "name": "query",
                    "input": "SELECT reader, book, due FROM loans ORDER BY due LIMIT 1",
                },
            }
        ),
        result("call_sql", "reader=Mr Pym | book=The Art of Being Punctual | due=2019-04-01"),
        reply="Mr Pym, with “The Art of Being Punctual”, due on 1 April 2019.",
        topic="tools",
    ),
    conversation(
        "train",
        system("You book trains. Ask before you pay. Never buy first class by yourself."),
        user("Vienna to Venice on Friday, by night, please."),
        calls(call("call_a", "search_trains", origin="Wien Hbf", to="Venezia", night=True)),
        result(
            "call_a",
            {
                "trains": [
                    {"number": "NJ 237", "departs": "21:27", "arrives": "08:34", "couchette": 59.9}
                ]
            },
        ),
        assistant(
            "There is one: NJ 237, Vienna 21:27, Venice 08:34, couchette €59.90. Shall I take it?"
        ),
        user("Yes, upper berth if there is a choice."),
        calls(
            call("call_b", "reserve", train="NJ 237", berth="upper"),
            content="I am trying for an upper berth.",
        ),
        result("call_b", "error: no upper berth left; middle available"),
        assistant("The upper berths are gone; a middle one is left. Take it?"),
        user("Fine, the middle one."),
        calls(call("call_c", "reserve", train="NJ 237", berth="middle")),
        result("call_c", {"reservation": "QX7MRT", "coach": 302, "berth": 45}),
        reply=(
            "Booked: NJ 237 on Friday, coach 302, berth 45 (middle), code QX7MRT. Breakfast is "
            "served before Mestre; wake up for the lagoon."
        ),
        model=LARGE,
        topic="travel",
    ),
    conversation(
        "umbrella",
        user("Do I need an umbrella in Bergen, Porto or Cairo tomorrow? I fly to one of them."),
        calls(
            call("call_bergen", "forecast", city="Bergen"),
            call("call_porto", "forecast", city="Porto"),
            call("call_cairo", "forecast", city="Cairo"),
        ),
        # Answers come in the order in which they were ready, not in the order of the calls.
        result("call_cairo", {"rain_mm": 0, "high": 34}),
        result("call_bergen", {"rain_mm": 21.4, "high": 9}),
        result("call_porto", {"rain_mm": 0.2, "high": 17}),
        reply=(
            "Bergen: yes, 21 mm. Porto: a light jacket will do. Cairo: take a hat instead, 34 °C."
        ),
        topic="travel",
    ),
]
