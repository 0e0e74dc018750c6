"""Search: which messages are found in which language, in which order, and while a sync writes."""

from __future__ import annotations

import random
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from conftest_archive import NOW, store, stored, write

from aiomessages.archive import Archive, ArchiveError, CorruptError, Hit, SearchError
from aiomessages.errors import ConfigurationError
from aiomessages.models import Message, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TEXTS = {
    "en": "The café's résumé: don't panic, it's 3.14 o'clock",
    "de": "Die Straße nach Köln ist größer als die Autobahn",
    "fr": "L'élève était déjà à l'hôtel où l'œuvre brûle",
    "ru": "Ёлка стоит в лесу, ещё идёт снег",
    "ar": "السَّلامُ عَلَيْكُم يا صديقي",
    "he": "שָׁלוֹם עוֹלָם, מה שלומך",
    "hi": "हिन्दी भाषा में नमस्ते दुनिया",
    "th": "ภาษาไทยเขียนไม่มีช่องว่าง",
    "zh": "我们在北京学习日本语和GPT模型",
    "ja": "日本語のテキストを検索する",
    "ko": "한국어를 공부합니다",
    "letters": "Łódź smørrebrød ılık Αθήνα ἀρχαῖα إسلام soft\u00adness 7\ufe0f\u20e3",
    "emoji": "Great job 👍🏽 and ❤️ to the 👩‍💻",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where an archive may stand."""
    return tmp_path / "archive.db"


@pytest.fixture(scope="module")
def languages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an archive with one conversation of each language."""
    path = tmp_path_factory.mktemp("languages") / "archive.db"
    with stored(path) as insert:
        for name, text in TEXTS.items():
            insert(name, text)
    return path


async def found(archive: Archive, words: str, **how: Any) -> list[str]:
    """Return the ends of the ids of the completions that are found."""
    hits = archive.search(words, **how)
    return [hit.completion_id.removeprefix("chatcmpl-") async for hit in hits]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("cafe", "en"),
        ("RÉSUMÉ", "en"),
        ("don't", "en"),
        ("3.14", "en"),
        ('"3.14 o\'clock"', "en"),
        ("strasse", "de"),
        ("STRASSE", "de"),
        ("straße", "de"),
        ("koln", "de"),
        ("autob*", "de"),
        ("eleve", "fr"),
        ("l'hotel", "fr"),
        ("oeuvre", "fr"),
        ("œuvre", "fr"),
        ("lodz", "letters"),
        ("Smørrebrød", "letters"),
        ("ilik", "letters"),
        ("αθηνα", "letters"),
        ("αρχαια", "letters"),
        ("اسلام", "letters"),
        ("softness", "letters"),
        ("7", "letters"),
        ("brule deja", "fr"),
        ("елка", "ru"),
        ("ёлка", "ru"),
        ("ЕЩЕ", "ru"),
        ("сне*", "ru"),
        ("السلام", "ar"),
        ("عليكم", "ar"),
        ("שלום", "he"),
        ("עולם שלומך", "he"),
        ("हिन्दी", "hi"),
        ("नमस्ते", "hi"),
        ("ไทย", "th"),
        ("เขียนไม่มี", "th"),
        ("北京", "zh"),
        ("学习日本", "zh"),
        ("GPT模型", "zh"),
        ("検索", "ja"),
        ("テキスト", "ja"),
        ("日本語の", "ja"),
        ("ﾃｷｽﾄ", "ja"),
        ("한국", "ko"),
        ("공부합니다", "ko"),
        ("ᄒ\u1161\u11ab국어", "ko"),
        ("👍", "emoji"),
        ("👍🏽", "emoji"),
        ("❤", "emoji"),
        ("❤️", "emoji"),
        ("👩‍💻", "emoji"),
    ],
)
async def test_words_of_every_language(languages: Path, words: str, name: str) -> None:
    """A word is found as people write it, and its place in the text is marked."""
    async with Archive(languages) as archive:
        (hit,) = [hit async for hit in archive.search(words)]
    assert hit.completion_id == f"chatcmpl-{name}"
    assert hit.snippet.marks


@pytest.mark.parametrize(
    "words", ["京北", "本日", "語本", "国한", "hind", "👎", "आप", "нег", "ไทยภาษา"]
)
async def test_words_that_nobody_wrote(languages: Path, words: str) -> None:
    """Characters in another order, and parts of words, are not found."""
    async with Archive(languages) as archive:
        assert await found(archive, words) == []


async def test_words_of_two_languages(languages: Path) -> None:
    """What two languages share is found in both."""
    async with Archive(languages) as archive:
        assert sorted(await found(archive, "日本")) == ["ja", "zh"]


async def test_a_hit(path: Path) -> None:
    """A hit has its message, its place, and the time and model of its completion."""
    store(path, "a", "hello", "an old umbrella", replies=("no", "an umbrella indeed"))
    async with Archive(path) as archive:
        hits = [hit async for hit in archive.search("umbrella")]
        conversation = await archive.conversation("chatcmpl-a")
    assert all(isinstance(hit, Hit) for hit in hits)
    sent, reply = hits
    assert (sent.completion_id, sent.n, sent.choice) == ("chatcmpl-a", 1, None)
    assert (sent.created, sent.model) == (NOW, "gpt-4o")
    assert sent.message == conversation.messages[1]
    assert isinstance(sent.message, Message)
    assert sent.snippet.text == "an old umbrella"
    assert sent.snippet.marks == ((7, 15),)
    assert (reply.n, reply.choice) == (3, 1)
    assert conversation.completion is not None
    assert reply.message == conversation.completion.choices[1].message
    assert isinstance(reply.message, Reply)


@pytest.fixture
async def archive(path: Path) -> AsyncIterator[Archive]:
    """Open an archive of conversations that differ in model, time and metadata."""
    with stored(path) as insert:
        for n, name in enumerate("abcd"):
            insert(
                name,
                {"role": "system", "content": "tell of weather"},
                "the weather " * (n + 1) + "filler " * (20 - 5 * n),
                created=NOW + n if n != 2 else None,
                model="o1" if n == 1 else "gpt-4o",
                metadata={"team": "red" if n < 2 else "blue"},
                state="lost" if name == "d" else "complete",
            )
    async with Archive(path) as opened:
        yield opened


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, "ddbbaacc"),
        ({"limit": 3}, "ddb"),
        ({"role": "user"}, "dbac"),
        ({"role": "system", "limit": 1}, "d"),
        ({"role": "tool"}, ""),
        ({"model": "o1"}, "bb"),
        ({"metadata": {"team": "red"}}, "bbaa"),
        ({"since": NOW + 1}, "ddbb"),
        ({"until": NOW + 1}, "aa"),
        ({"role": "user", "best": True}, "dcba"),
        ({"role": "user", "best": True, "limit": 2}, "dc"),
        ({"model": "o1", "best": True, "role": "user"}, "b"),
    ],
)
async def test_hits_that_are_selected(archive: Archive, how: dict[str, Any], expected: str) -> None:
    """Hits come newest first, or the best first, narrowed by each filter; unknown times last."""
    assert "".join(await found(archive, "weather", **how)) == expected


async def test_mistakes_are_told_at_once(archive: Archive) -> None:
    """What is no query, and a wrong option, are refused before the search begins."""
    with pytest.raises(SearchError, match="write both"):
        archive.search('"weather')
    with pytest.raises(ConfigurationError, match="limit"):
        archive.search("weather", limit=0)


def shuffled(path: Path, count: int, order: str) -> list[str]:
    """Store conversations in an order of their times; return their names, the newest first."""
    numbers = list(range(count))
    if order != "asc":
        numbers.reverse()
    if order == "random":
        random.Random(1).shuffle(numbers)  # noqa: S311 - a seeded order
    with stored(path) as insert:
        for n in numbers:
            text = "frequent " + ("retired" if n < count / 2 else "") + (" rare" if not n else "")
            insert(f"{n:05}", "hello", text, "other", created=NOW + n // 3)
        insert("empty", created=NOW)
    return [f"{n:05}" for n in sorted(range(count), key=lambda n: (n // 3, n), reverse=True)]


@pytest.mark.parametrize("order", ["asc", "desc", "random"])
async def test_a_frequent_word(path: Path, order: str) -> None:
    """However they were stored, the hits of a frequent word come newest first, each once."""
    newest = shuffled(path, 2500, order)
    old = [name for name in newest if int(name) < 1250]
    async with Archive(path) as archive:
        assert await found(archive, "frequent") == newest
        assert await found(archive, "freq*") == newest
        assert await found(archive, "freq* frequent", limit=5) == newest[:5]
        assert await found(archive, "retired") == old
        assert await found(archive, "rare") == ["00000"]
        assert await found(archive, "frequent", limit=5) == newest[:5]
        assert await found(archive, "frequent", since=NOW + 800, role="user") == newest[:100]
        assert sorted(await found(archive, "frequent", best=True)) == sorted(newest)


@pytest.mark.parametrize("word", ["frequent", "freq*"])
async def test_a_sync_that_writes_meanwhile(path: Path, word: str) -> None:
    """While conversations are replaced, no hit comes twice, and none that does not match."""
    newest = shuffled(path, 1500, "asc")
    seen = []
    async with Archive(path) as archive:
        async for hit in archive.search(word):
            assert isinstance(hit.message, Message)
            assert "frequent" in hit.message.text
            seen.append(hit.completion_id.removeprefix("chatcmpl-"))
            if len(seen) in (10, 500):
                last = newest[0]
                store(path, last, "something", "else", "stands", "here", created=NOW + 9999)
                store(path, newest[700], "frequent", created=NOW + int(newest[700]) // 3)
    assert len(seen) == len(set(seen))
    assert set(newest) - set(seen) <= {newest[700]}


async def test_the_best_of_many_hits(path: Path) -> None:
    """Of very many hits, the newest are ranked; the others follow, the newest first, each once."""
    with stored(path) as insert:
        insert("old", "word " * 50, created=NOW - 2)
        insert("many", *["word"] * 10_000, created=NOW - 1)
        for n in range(300):
            insert(f"{n:03}", "word " + "x " * (n + 1), created=NOW + n)
    async with Archive(path) as archive:
        names = await found(archive, "word", best=True)
        assert names[:3] == ["050", "051", "052"]
        rest = [f"{n:03}" for n in reversed(range(50))]
        assert names[250:] == [*rest, *["many"] * 10_000, "old"]


HEAVY = "filler " * 50_000  # more than is looked through at once


@pytest.mark.parametrize("best", [False, True])
async def test_the_beginning_of_a_word_in_heavy_messages(path: Path, best: bool) -> None:
    """However much text the newest messages have, each hit comes once."""
    store(path, "a", "umbrella first")
    store(path, "b", "umbrella", "umbrella " + HEAVY, "umbrella", created=NOW + 1)
    store(path, "c", HEAVY + "umbrella first", created=NOW + 2)
    async with Archive(path) as archive:
        names = await found(archive, "umb*", best=best)
        assert sorted(names) == ["a", "b", "b", "b", "c"]
        assert best or names == ["c", "b", "b", "b", "a"]
        assert sorted(await found(archive, "umb* first", best=best)) == ["a", "c"]
        assert sorted(await found(archive, "umb*", best=best, until=NOW + 2)) == list("abbb")


async def test_the_beginning_of_many_words_behind_a_heavy_message(path: Path) -> None:
    """What is not looked through comes from the index, in the same order."""
    store(path, "old", *["umbrella"] * 600)
    store(path, "new", *["umbra"] * 600, created=NOW + 1)
    store(path, "heavy", HEAVY, created=NOW + 2)
    async with Archive(path) as archive:
        assert await found(archive, "umb*") == ["new"] * 600 + ["old"] * 600


async def test_a_group_without_messages(path: Path) -> None:
    """Completions without messages between the others are no hindrance."""
    with stored(path) as insert:
        for n in range(1100):
            insert(f"{n:05}", "frequent", created=NOW + n)
        for n in range(400):
            insert(f"empty{n}", created=NOW + 5000)
        insert("old", "frequent", created=1)
    async with Archive(path) as archive:
        assert len(await found(archive, "frequent")) == 1101


async def test_searches_at_once(path: Path) -> None:
    """Many searches share an archive; each may be left at any hit, and the others go on."""
    newest = shuffled(path, 300, "random")
    async with Archive(path) as archive:

        async def left_after(count: int, word: str) -> None:
            async with aclosing(archive.search(word)) as hits:
                seen = [(await anext(hits)).completion_id for _ in range(count)]
            assert seen == [f"chatcmpl-{name}" for name in newest[:count]]

        async with anyio.create_task_group() as tasks:
            for n in range(1, 50, 3):
                tasks.start_soon(left_after, n, ("frequent", "freq*")[n % 2])
        assert len(await found(archive, "frequent")) == 300


async def test_a_search_in_an_archive_that_was_closed(path: Path) -> None:
    """A search whose archive is closed meanwhile ends with an error that says so."""
    shuffled(path, 100, "asc")
    async with Archive(path) as archive:
        hits = archive.search("frequent")
        await anext(hits)
    with pytest.raises(ArchiveError, match="not open"):
        async for _ in hits:
            pass


async def test_a_damaged_message(path: Path) -> None:
    """A hit whose JSON was damaged in the file is an error of the archive."""
    store(path, "a", "hello")
    write(path, "UPDATE messages SET body = '{}'")
    async with Archive(path) as archive:
        with pytest.raises(CorruptError, match="cannot be read"):
            await found(archive, "hello")
