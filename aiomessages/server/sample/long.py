"""Sample conversations of many pages, played rather than written: a drill, a tour, a lighthouse.

Each is computed from a short table, the same each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .build import JSON, LARGE, Draft, assistant, conversation, system, user

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORDS = """
acqua water|albero tree|amico friend|anno year|barca boat|biblioteca library|bosco forest
bottega workshop|caffè coffee|cane dog|casa house|cavallo horse|chiave key|cielo sky|coltello knife
corda rope|cucina kitchen|dito finger|domani tomorrow|faro lighthouse|finestra window|fiore flower
fiume river|forchetta fork|formaggio cheese|fratello brother|fuoco fire|gatto cat|ghiaccio ice
giardino garden|gioia joy|giorno day|inverno winter|isola island|lago lake|lana wool|latte milk
legno wood|lettera letter|luna moon|mano hand|mare sea|mela apple|miele honey|montagna mountain
nebbia fog|neve snow|notte night|nuvola cloud|orologio clock|pane bread|pesce fish|pietra stone
ponte bridge|porta door|radice root|sabbia sand|sale salt|scala ladder|stella star|strada road
vento wind
"""


def long_conversations() -> list[Draft]:
    """Return the long conversations: 250, 130 and 61 messages."""
    return [
        conversation("vocabulary", *_drill(), reply="*Vento* it is: 124 of 124. Buona notte!"),
        conversation("knights-tour", *_tour(), reply="Sixty-four squares, none of them twice."),
        conversation("lighthouse", *_adventure(), reply=_ENDING, model=LARGE, topic="game"),
    ]


def _drill() -> Iterator[JSON]:
    """Ask 62 words from Italian, then the same words back: 2 + 4 × 62 messages."""
    pairs = [entry.split() for entry in _WORDS.strip().replace("\n", "|").split("|")]
    yield system("You drill Italian words. One at a time. Say when the answer is wrong.")
    yield user("First from Italian, then back. Don't spare me.")
    for n, (italian, english) in enumerate(pairs):
        yield assistant(f"{n + 1}. What is *{italian}*?")
        yield user(english)
    for n, (italian, english) in enumerate(pairs):
        yield assistant(f"{len(pairs) + n + 1}. And *{english}*, in Italian?")
        yield user(italian)


def _tour() -> Iterator[JSON]:
    """Ride a knight over the whole board: 2 + 2 × 64 messages."""
    yield system("You ride a knight across a chessboard. Name the next square, and only that.")
    yield user("Every square once. Start in the corner.")
    for n, square in enumerate(_knight_squares(), start=1):
        yield assistant(f"{n}. {square}")
        yield user("Go on." if n < 64 else "Bravo!")


_JUMPS = ((1, 2), (2, 1), (2, -1), (1, -2), (-1, -2), (-2, -1), (-2, 1), (-1, 2))


def _knight_squares() -> Iterator[str]:
    """Follow Warnsdorff's rule (1823): go where the fewest ways lead on."""
    free = {(file, rank) for file in range(8) for rank in range(8)}
    square = (0, 0)
    while True:
        yield "abcdefgh"[square[0]] + str(square[1] + 1)
        free.remove(square)
        if not free:
            return
        square = min(_ways(square, free), key=lambda way: len(_ways(way, free)))


def _ways(square: tuple[int, int], free: set[tuple[int, int]]) -> list[tuple[int, int]]:
    reached = [(square[0] + file, square[1] + rank) for file, rank in _JUMPS]
    return [way for way in reached if way in free]


# What the player types, and what happens then.
_MOVES = """
look|You stand on a pier. Rain. A lighthouse, dark. A door, ajar.
go in|A round room. Stairs lead up, a hatch leads down. A lamp hangs on a hook.
take lamp|You have the lamp. It is empty.
go down|A cellar, black as ink. You hear water. Without light you will not find the way.
go up|You are back in the round room.
climb stairs|The keeper's room. A bed, a table, a logbook, a cat.
read logbook|“12 Dec. Oil is low. 13 Dec. Oil is lower. 14 Dec. Fog. Gone for oil.” It is the 15th.
talk to cat|The cat looks at the bed.
look under bed|A can of oil, half full. The keeper did not look there.
ask the cat why|The cat washes a paw. It was never asked.
take can|You have the can of oil.
fill lamp|You fill the lamp. A spoonful of oil is gone from the can.
light lamp|You have no matches.
search table|A drawer. In it: a compass, a stub of pencil, three matches.
take matches|You have three matches.
light lamp|The first match breaks. Two left.
light lamp slowly|The lamp burns with a small and steady flame.
go down|The round room, golden now. The hatch is open.
go down|The cellar. Stone steps run into the sea. A rowing boat is tied up; its rope is wet.
look at boat|In it: two oars, a scarf, a letter.
read letter|“If the light is out when I come back, I shall not find the harbour. Please.”
go up|The round room. Far away, through the rain, a voice calls.
answer|“HERE!” The wind takes the word apart.
climb stairs|The keeper's room. The cat is gone. A ladder that you did not see leads higher.
climb ladder|The lantern room. A great lens, taller than you. The cat sits beside it.
pour oil|The big lamp drinks the whole can.
light big lamp|The second match goes out. One left.
shield match with scarf|The scarf is in the boat.
use lamp|Of course. You hold your small flame to the great wick.
wait|The wick takes. The lens wakes. A beam goes out over the water, and turns.
"""
_ENDING = (
    "Out at sea a boat turns towards you. An hour later someone comes up the ladder, wet to the "
    "bone, with a can of oil in each hand, and says to the cat: “You could have told me.”\n\n"
    "*** You have won, with one match left. ***"
)


def _adventure() -> Iterator[JSON]:
    """Play a small adventure: 1 + 2 × 30 messages."""
    yield system("You are a text adventure. The player types, you tell what happens. No hints.")
    for line in _MOVES.strip().splitlines():
        typed, told = line.split("|")
        yield user(f"> {typed}")
        yield assistant(told)
