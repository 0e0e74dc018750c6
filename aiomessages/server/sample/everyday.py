"""Sample conversations about everyday things: plain texts, several turns, named speakers."""

from __future__ import annotations

from .build import LARGE, assistant, conversation, message, system, user

EVERYDAY = [
    conversation(
        "haiku",
        user("Write a haiku about a lighthouse in fog."),
        reply="Lamp turning all night —\nthe fog keeps every secret\nexcept where we are.",
        topic="poetry",
    ),
    conversation(
        "bicycle",
        user("My bike chain slips when I stand up on the pedals. New chain, old cassette."),
        assistant(
            "That combination is the usual cause. A worn cassette has hooked teeth that fit the "
            "old, stretched chain; a new chain rides up on them under load.\n\n"
            "Does it slip in every gear, or only in the two or three you use most?"
        ),
        user("Only in the third and fourth."),
        assistant(
            "Then it is the cassette: those are the cogs you have worn. Replace it, and the "
            "slipping stops. Until then, use the gears around them."
        ),
        user("Can I just replace the two cogs?"),
        reply=(
            "On most cassettes no: the cogs are riveted together or not sold singly. A new "
            "cassette of the same range costs less than the afternoon you would spend looking."
        ),
        topic="repair",
    ),
    conversation(
        "sourdough",
        system("You are a patient baker. Ask before you diagnose. Metric units."),
        user("My starter rises for two hours and then collapses. Is it dead?"),
        assistant(
            "It sounds more hungry than dead. How warm is your kitchen, and how much flour do "
            "you feed it?"
        ),
        user("27 °C. I add a spoon of flour to about a glass of starter."),
        assistant(
            "There it is. At 27 °C a glass of starter eats a spoonful of flour in no time.\n\n"
            "1. Keep 20 g of starter, give away the rest.\n"
            "2. Add 100 g flour and 100 g water.\n"
            "3. Mark the level with a rubber band.\n\n"
            "It should double in four to six hours and stay up for another two."
        ),
        user("And the part I give away? I hate to waste it."),
        reply=(
            "Pancakes. 200 g of discarded starter, one egg, a pinch of salt, half a teaspoon of "
            "baking soda; fry at once, while it foams."
        ),
        model=LARGE,
        topic="kitchen",
    ),
    conversation(
        "code-review",
        message(
            "developer",
            "You review Python. Quote the line, name the problem, show the smallest fix.",
        ),
        user(
            "```python\ndef add_tag(tag, tags=[]):\n    tags.append(tag)\n    return tags\n```\n"
            "Works in my tests, misbehaves in production."
        ),
        assistant(
            "`def add_tag(tag, tags=[]):`\n\nThe default list is made once, when the function is "
            "defined, and shared by every call. Each of your tests calls it once; production "
            "does not.\n\n```python\ndef add_tag(tag, tags=None):\n"
            "    return [*(tags or []), tag]\n```"
        ),
        user("But now the caller's list isn't changed any more."),
        reply=(
            "Right, and that is the better habit: a function that returns a new list surprises "
            "nobody. If a caller relies on the change, let it write `tags = add_tag(tag, tags)`."
        ),
        model=LARGE,
        topic="code",
    ),
    conversation(
        "campfire",
        system("Several friends share this chat. Address each by name, and be fair."),
        user("I can bring the big tent and the stove.", name="ada"),
        user("I have a car, so I can take the heavy things. Allergic to nuts!", name="ben"),
        user("I only have a guitar.", name="chi"),
        assistant(
            "Good start. Ada: tent and stove. Ben: car, water canisters, charcoal. Chi: guitar, "
            "and you buy the food, since the others carry. No nuts, for Ben."
        ),
        user("How much pasta is that for three, two evenings?", name="chi"),
        reply=(
            "Chi: 750 g covers three people on two evenings, 125 g each. Take the pesto without "
            "cashews, for Ben's sake; many cheap ones have them."
        ),
        topic="travel",
    ),
    conversation(
        "condolence",
        user(
            "A colleague's father died. I hardly know her, but we share an office. Help me write "
            "two honest sentences."
        ),
        assistant(
            "“I was very sorry to hear about your father. I will see to our desk and the phone "
            "for as long as you are away.”"
        ),
        user("Can it be a bit warmer? Not sugary."),
        reply=(
            "“I am so sorry about your father, and I have been thinking of you. Please don't "
            "spend a thought on the office: I have your plants, your phone and your patience.”"
        ),
        topic="letters",
    ),
    conversation(
        "interview",
        system("You interview the user for a job as a librarian. One question at a time. Be kind."),
        user("I'm ready."),
        assistant("A child asks for “the blue book about the dog”. What do you do?"),
        user("I ask what happens in it."),
        assistant("The child says: “He gets lost.” And now?"),
        user("Then I ask whether he is found again, because I want to know too."),
        assistant("You would do well here. Why a library, and not a bookshop?"),
        user("In a bookshop people must decide. In a library they can change their minds."),
        reply=(
            "I have been asking that question for twenty years, and I will quote your answer to "
            "the board. When can you start?"
        ),
        topic="practice",
    ),
    conversation(
        "tides",
        system("You explain nature to curious adults: short, exact, one picture in words."),
        user("The Moon pulls the water on its side. Why is there a second tide on the far side?"),
        assistant(
            "Because the Moon pulls on the Earth too. It pulls the near water most, the Earth "
            "less, the far water least. Near water runs ahead of the Earth; the far water is "
            "left behind. Seen from the ground, both are bulges."
        ),
        user("So the far bulge is water that didn't keep up?"),
        assistant(
            "Exactly. Think of three runners on a rubber band, the first one fastest: the gaps "
            "grow on both sides of the one in the middle."
        ),
        user("Then why are the tides in Southampton so odd?"),
        reply=(
            "Because bulges are only half of the story. Water sloshes in basins, and the English "
            "Channel is one with a rhythm of its own. Around Southampton a six-hour swing adds to "
            "the twelve-hour one, flattens the top of it, and high water stays for about two "
            "hours. Harbour pilots love it."
        ),
        model=LARGE,
        topic="nature",
    ),
]
