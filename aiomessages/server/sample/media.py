"""Sample conversations with pictures, sounds and files; the small ones are made right here."""

from __future__ import annotations

from .build import (
    LARGE,
    assistant,
    audio,
    conversation,
    data_uri,
    file,
    image,
    png,
    text,
    user,
    wav,
)

_HEART = png(
    [
        "................",
        "...rrr....rrr...",
        "..rwwrr..rrrrr..",
        ".rwwrrrrrrrrrrr.",
        ".rwrrrrrrrrrrrr.",
        ".rrrrrrrrrrrrrd.",
        ".rrrrrrrrrrrrrd.",
        "..rrrrrrrrrrrd..",
        "...rrrrrrrrrd...",
        "....rrrrrrrd....",
        ".....rrrrrd.....",
        "......rrrd......",
        ".......rd.......",
        "................",
    ],
    {".": (250, 248, 240), "r": (200, 30, 60), "w": (255, 200, 210), "d": (130, 10, 40)},
)
# The first notes of “Frère Jacques”, in a hurry.
_TUNE = wav([523, 587, 659, 523, 523, 587, 659, 523])

_SHOPPING = "flour\neggs (6)\nbutter\nbutter\nbirthday candles: 40? 41?\n"

MEDIA = [
    conversation(
        "heart",
        user([text("What is in this picture?"), image(data_uri("image/png", _HEART), "low")]),
        assistant("A red heart in pixel art, with a highlight on its left side."),
        user("How many pixels wide is it at its widest?"),
        reply="Fourteen, in the rows just below the two bumps.",
        model=LARGE,
        topic="pictures",
    ),
    conversation(
        "two-photos",
        user(
            [
                text("Which of the two doors should I paint first?"),
                image("https://images.example.org/doors/north.jpg", "high"),
                image("https://images.example.org/doors/south.jpg"),
                text("The south one gets all the sun."),
            ]
        ),
        reply=(
            "The south door. Its varnish is flaking at the bottom edge, and sun will finish the "
            "job by summer. The north door is only dusty."
        ),
        model=LARGE,
        topic="pictures",
    ),
    conversation(
        "tune",
        user([text("Which song is this?"), audio(_TUNE)]),
        assistant("“Frère Jacques”, and whoever plays it is late for the train."),
        user("That was me. Can you name the notes?"),
        reply="C D E C, C D E C. The monk sleeps on in F.",
        model="gpt-4o-audio-preview-2024-12-17",
        topic="sound",
    ),
    conversation(
        "spoken-answer",
        user("Say good morning the way a lighthouse keeper would."),
        assistant(
            None,
            audio={
                "id": "audio_lighthouse",
                "expires_at": 1_767_229_200,
                "data": data_uri("audio/wav", wav([196, 147])).partition(",")[2],
                "transcript": "Morning. Wind's gone round to the west. Kettle's on.",
            },
        ),
        user("Perfect. Again, but as if there were a storm."),
        reply="MORNING! Hold on to something, and I'll hold on to the kettle!",
        model="gpt-4o-audio-preview-2024-12-17",
        topic="sound",
    ),
    conversation(
        "shopping-list",
        user([text("Something is off with my list."), file("shopping.txt", _SHOPPING)]),
        reply=(
            "Butter is on it twice. And it is 41: if you are unsure between two numbers of "
            "candles, the person who bakes the cake is being polite."
        ),
        topic="kitchen",
    ),
    conversation(
        "citation",
        user("When did the last steam train run on a main line in Britain? With a source."),
        assistant(
            "The last main-line passenger train hauled by steam ran on 11 August 1968.",
            annotations=[
                {
                    "type": "url_citation",
                    "url_citation": {
                        "start_index": 58,
                        "end_index": 72,
                        "title": "The Fifteen Guinea Special",
                        "url": "https://railways.example.org/fifteen-guinea-special",
                    },
                }
            ],
        ),
        user("Why that name?"),
        reply="For its price: the ticket cost fifteen guineas, £15 15s, a fortune for a day out.",
        model="gpt-4o-search-preview-2025-03-11",
        topic="history",
    ),
]
