"""Archives of any size, made with a seed: articles, their terms without texts, and vectors without a model.

    python benchmarks/generated.py N --out FILE.jsonl.gz [--seed S]
    python benchmarks/generated.py --check [ARCHIVE] [--model] [--seed S]

The words are invented, but for stop words and 240 of the commonest others, and each is drawn by itself, so that no two
articles share a passage. How often a word stands, how many an article has, how many new ones come with more articles,
and how near vectors are to one another follow real archives. Article i is the same whatever else is made.

--check sets a generated archive beside a real one of the same size; the default is the examples. With --model it also
embeds up to 2,000 articles of the real one and compares as many vectors.
"""

import argparse
import gzip
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from measuring import EXAMPLES

from recommender import Article

BLOCK = 1024  # articles that are made at once; another number makes other articles
DIMENSIONS = 384

# Fitted on 9,741 articles of C++ documentation and 19,043 of news wire: a value between the two where they differ.
# Frequency of a word by its rank: 1 / (rank + SHIFT) ** SLOPE (Zipf-Mandelbrot). The slope also decides how fast the
# vocabulary grows. The words that sections, topics and stories have of their own come on top.
SHIFT, SLOPE = 40.0, 1.555
LAST_RANK = 2.0**31 - 2  # term numbers fit in 32 bits
LENGTH_MEAN, LENGTH_SPREAD = 4.85, 1.05  # of the natural logarithm of the number of words in a text
SHORTEST, LONGEST = 8, 6000
STOP_SHARE = 0.45  # of the words of a text
REPEATED = 0.5  # of an article's other words: chosen from those that it has already
# The others come from everywhere, or from the words of the article's section, topic or story: the share of each, how
# many words of its own each has, and the first rank that they are drawn from.
SHARES = {"anywhere": 0.55, "section": 0.25, "topic": 0.11, "story": 0.09}
OWN_WORDS = {"section": 100, "topic": 30, "story": 15}
FIRST_RANK = {"section": 30, "topic": 100, "story": 600}

# Stories and topics grow in number with the archive, and the older ones go on being written about.
SECTIONS, SECTIONS_SKEW = 200, 1.5
STORIES, STORIES_POWER, STORIES_SKEW = 0.35, 0.98, 1.15
TOPICS, TOPICS_POWER, TOPICS_SKEW = 0.10, 0.90, 1.5
HEAD_START = 500  # articles that stories and topics stand for before the first one

# Squared lengths of the parts of a vector: two articles have, on average, the cosine of the parts that they share.
PARTS = {"all": 0.12, "section": 0.10, "topic": 0.23, "story": 0.25, "article": 0.30}
OWN_SPREAD = 0.35  # of the logarithm of an article's own part: some lie close to their story, some far away
# Variances along the principal axes of all-MiniLM-L6-v2 on the two archives (together they are 1).
_AXES = (np.arange(DIMENSIONS) + 0.32) ** -0.47 * np.exp(-np.arange(DIMENSIONS) / 133)
_AXES /= _AXES.sum()

YEARS, LAST_DAY = 20, datetime(2025, 1, 1, tzinfo=UTC)

# The commonest stop words, by roughly how often each stands among a thousand words of English.
_RATES = {
    58: "the", 30: "of", 27: "and", 26: "to", 22: "a", 20: "in", 11: "that", 10: "is was", 9: "for it",
    7: "with as he on", 6: "be by", 5: "at his i this not", 4: "are but from have had they which or",
    3: "an she were we their been has her you", 2: "there when who more if no out so what up into than them would its",
    1: "all about can only other some could these then do after before over through most because between both under "
       "during while where how our any against own very such too down off",
}  # fmt: skip
_STOPS = [stop for stops in _RATES.values() for stop in stops.split()]
_STOP_SHARES = np.array([rate for rate, stops in _RATES.items() for _ in stops.split()]) / sum(
    rate * len(stops.split()) for rate, stops in _RATES.items()
)

# The first ranks are English words that are their own stems: too few others, and a text does not pass for English.
_COMMON = """market bank trade report plan court school team game film book water food health law vote tax cost price
    rate fund club player coach goal match win black white green street road town river sea land farm oil
    gas power plant light air weather rain storm crash death crime prison lawyer parliament leader
    campaign budget debt loan stock share dollar growth job worker strike union firm brand shop sale car
    train flight airport ship music song album artist actor museum paint child student teacher parent
    mother father son wife husband friend girl woman doctor patient drug cancer virus brain heart blood
    data model phone network video photo design build garden park hotel summer winter spring night week
    month talk speech letter mail answer question record expert claim threat attack soldier war weapon
    bomb border press paper planet star moon rocket space earth bird fish dog cat tree wood metal gold
    steel stone glass wall window door floor kitchen breakfast dinner bread meat milk sugar salt wine beer
    drink meal cook chef north south west east london region district council mayor arrest victim suspect
    trial jail guilt appeal review fan ticket event season champion medal race sport cricket golf swim
    boat bike truck drive driver traffic tunnel station platform track fuel solar wind carbon forest ocean
    coast beach wave flood drought volcano aid relief camp crowd protest march flag king queen church
    priest faith belief hope fear anger joy love dream sleep walk jump climb fight hunt shoot kill wound
    burn melt""".split()  # noqa: SIM905
# Another word is made of syllables of two letters, as English ones begin, and an ending. No suffix that stemming takes
# off ends as an ending does, so that every word is its own stem; and an ending has one vowel and begins with a
# consonant, so that no two words are spelled the same.
_SYLLABLES = """re de in co un be en er an al ar or ma pa ca la pe ra ta mo no po ro to fo ho le ne se te me li di mi si
    ri fi hi su mu lu ju du tu pu sa ha ba da na es is as el ol ex im em om ad ac ap op ob""".split()  # noqa: SIM905
_ONSETS = "b c d f g h l m n p r s t w st tr br pr cl gr th sh ch".split()  # noqa: SIM905
_RIMES = """ack and ark ard ash ast ath awn am ap eck end eld elt em ick ind ight ish ift im ip ock ond ost od orm orn
    orth own ob uck und ump ust urn ush ug ut""".split()  # noqa: SIM905
_ENDINGS = [onset + rime for rime in _RIMES for onset in _ONSETS]
_NOT = ("most", "hind", "cond", "ward", "hand", "cord", "gard")  # they end almost, behind and other stop words
_ENDINGS = [ending for ending in _ENDINGS if ending not in _NOT]
# Of the words in a text: what English is known by, and is taken off again by stemming.
_INFLECTED = {"": 0.70, "s": 0.12, "ed": 0.10, "ing": 0.08}
NUMBERS_FROM, NUMBERS_EVERY = 300, 6  # a word of a rank that this divides is written in digits

_SPACE, _STOP, _BREAK = 0, 1, 2
_AFTER = np.array([" ", ". ", ".\n\n"], dtype=object)


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of up to 1024 successive articles, as `recommender.text.terms.extract_terms` counts them.

    Attributes:
        first: the number of the first article.
        starts: where each article begins in the two others, int64, shape (articles + 1,).
        numbers: the terms, ascending in each article, int32; `word` gives the word that a number stands for.
        counts: how often each stands in the article, those of the title three times, uint16.
    """

    first: int
    starts: np.ndarray
    numbers: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True, slots=True)
class Subjects:
    """Numbers of the story, topic and section of each article of a block, each of shape (articles,)."""

    story: np.ndarray
    topic: np.ndarray
    section: np.ndarray


@dataclass(frozen=True, slots=True)
class Draws:
    """The words of a block but for stop words: the title's and then the text's, article by article.

    Attributes:
        titles: how many stand in the title of each article.
        lengths: how many stand in its text.
        ranks: the words, titles and texts together.
    """

    titles: np.ndarray
    lengths: np.ndarray
    ranks: np.ndarray


def articles(n: int, seed: int = 0, start: int = 0) -> Iterator[Article]:
    """Give `n` articles from number `start` on."""
    for block, part in _blocks(n, start):
        yield from _articles(seed, block, part)


def vectors(n: int, seed: int = 0, start: int = 0) -> Iterator[np.ndarray]:
    """Give the vectors of the same articles: L2-normalised, float32, up to 1024 rows of 384 numbers at a time."""
    for block, part in _blocks(n, start):
        # The whole block even for a part of it: a product of other shapes may round otherwise.
        yield _vectors(seed, block)[part]


def terms(n: int, seed: int = 0, start: int = 0) -> Iterator[Terms]:
    """Give the terms of the same articles, up to 1024 articles at a time, without making their texts."""
    for block, part in _blocks(n, start):
        block_terms = _terms(seed, block)
        lower, upper = block_terms.starts[part.start], block_terms.starts[part.stop]
        yield Terms(
            block * BLOCK + part.start,
            block_terms.starts[part.start : part.stop + 1] - lower,
            block_terms.numbers[lower:upper],
            block_terms.counts[lower:upper],
        )


def word(rank: int) -> str:
    """Return the word of a rank, 0 for the most frequent; no two have the same."""
    if rank < len(_COMMON):
        return _COMMON[rank]
    if rank >= NUMBERS_FROM and rank % NUMBERS_EVERY == 0:
        return str(rank)
    quotient, end = divmod(rank, len(_ENDINGS))
    syllables = []
    while True:  # at least one syllable before the ending: short words would be English ones
        quotient, syllable = divmod(quotient, len(_SYLLABLES))
        syllables.append(_SYLLABLES[(syllable + 37 * end) % len(_SYLLABLES)])  # words of near ranks look different
        if quotient == 0:
            break
        quotient -= 1  # so that a longer word is never a shorter one with a syllable of rank 0
    return "".join(reversed(syllables)) + _ENDINGS[end]


def _blocks(n: int, start: int) -> Iterator[tuple[int, slice]]:
    """Give the blocks that `n` articles from `start` on lie in, and which part of each they are."""
    for block in range(start // BLOCK, -(-(start + n) // BLOCK)):
        yield block, slice(max(start - block * BLOCK, 0), min(start + n - block * BLOCK, BLOCK))


def _generator(seed: int, block: int, what: int) -> np.random.Generator:
    return np.random.default_rng([seed, block, what])


def _hash(*parts: int | np.ndarray) -> np.ndarray:
    """Mix numbers into 64 bits that look random (splitmix64), so that anything numbered can be drawn alone."""
    mixed = np.zeros(1, dtype=np.uint64)
    for part in parts:
        mixed = mixed + np.asarray(part).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed


def _uniform(*parts: int | np.ndarray) -> np.ndarray:
    return (_hash(*parts) >> np.uint64(11)) * 2.0**-53


def _normal(*parts: int | np.ndarray) -> np.ndarray:
    """Return rows of 384 numbers that are nearly normal, one row for each of the numbers in the last part."""
    *first, rows = parts
    bits = _hash(_hash(*first, rows)[:, None], np.arange(DIMENSIONS))
    total = np.zeros(bits.shape, dtype=np.float32)
    for shift in (0, 16, 32, 48):
        total += ((bits >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.float32)
    return (total / 65536 - 2) * np.float32(3**0.5)


@lru_cache(maxsize=4)
def _subjects(seed: int, block: int) -> Subjects:
    number = np.arange(block * BLOCK, (block + 1) * BLOCK)
    draw = _generator(seed, block, 0).random(BLOCK)
    story = (STORIES * (number + HEAD_START) ** STORIES_POWER * draw**STORIES_SKEW).astype(np.int64)
    # A story's topic is one of those that there were when the story began.
    began = (story / STORIES) ** (1 / STORIES_POWER) + HEAD_START
    topic = (TOPICS * began**TOPICS_POWER * _uniform(seed, 1, story) ** TOPICS_SKEW).astype(np.int64)
    section = (SECTIONS * _uniform(seed, 2, topic) ** SECTIONS_SKEW).astype(np.int64)
    return Subjects(story, topic, section)


def _ranks(uniform: np.ndarray, least: np.ndarray | float) -> np.ndarray:
    """Draw ranks from the law, none below `least`."""
    first, last = (least + SHIFT) ** (1 - SLOPE), (LAST_RANK + SHIFT) ** (1 - SLOPE)
    ranks = (first - uniform * (first - last)) ** (1 / (1 - SLOPE)) - SHIFT
    return np.clip(ranks, 0, LAST_RANK).astype(np.int32)


@lru_cache(maxsize=2)
def _words(seed: int, block: int) -> Draws:
    """Draw the words of a block; a title's are its section's, topic's or story's more often than a text's."""
    subjects = _subjects(seed, block)
    rng = _generator(seed, block, 1)
    words = np.clip(np.exp(rng.normal(LENGTH_MEAN, LENGTH_SPREAD, BLOCK)), SHORTEST, LONGEST)
    lengths = np.maximum(np.round(words * (1 - STOP_SHARE)), 3).astype(np.int64)
    titles = rng.integers(3, 7, BLOCK)
    both = titles + lengths
    article = np.repeat(np.arange(BLOCK), both)
    position = np.arange(len(article)) - np.repeat(np.cumsum(both) - both, both)  # within the article

    draw = rng.random(len(article))
    in_title = position < titles[article]
    draw = np.where(in_title, SHARES["anywhere"] * 0.6 + draw * (1 - SHARES["anywhere"] * 0.6), draw)
    limits = np.cumsum(list(SHARES.values()))[:-1]
    source = np.searchsorted(limits, draw, side="right")
    uniform = rng.random(len(article))
    which = rng.random(len(article)) ** 3  # a few of its words are most of what is said of a topic
    least = np.zeros(len(article))
    for level, name in enumerate(OWN_WORDS, start=1):
        rows = np.flatnonzero(source == level)
        owner = getattr(subjects, name)[article[rows]]
        uniform[rows] = _uniform(seed, 2 + level, owner, (which[rows] * OWN_WORDS[name]).astype(np.int64))
        least[rows] = FIRST_RANK[name]
    ranks = _ranks(uniform, least)
    again = np.flatnonzero((rng.random(len(article)) < REPEATED) & ~in_title)
    earlier = (rng.random(len(again)) * position[again]).astype(np.int64)
    ranks[again] = ranks[again - position[again] + earlier]
    return Draws(titles, lengths, ranks)


def _terms(seed: int, block: int) -> Terms:
    draws = _words(seed, block)
    both = draws.titles + draws.lengths
    article = np.repeat(np.arange(BLOCK), both)
    position = np.arange(len(article)) - np.repeat(np.cumsum(both) - both, both)
    weight = np.where(position < draws.titles[article], 3, 1)
    keys = (article << 32) | draws.ranks
    order = np.argsort(keys)
    keys = keys[order]
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.add.reduceat(weight[order], first)
    starts = np.searchsorted(keys[first] >> 32, np.arange(BLOCK + 1))
    return Terms(block * BLOCK, starts, (keys[first] & 0xFFFFFFFF).astype(np.int32), counts.astype(np.uint16))


@cache
def _rotation(seed: int) -> np.ndarray:
    """Return the principal axes, scaled and turned: a model's are not those that its numbers stand along."""
    turned, _ = np.linalg.qr(_generator(seed, 0, 9).standard_normal((DIMENSIONS, DIMENSIONS)))
    return (np.sqrt(_AXES)[:, None] * turned).astype(np.float32)


@cache
def _fixed(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what all articles share, and what those of each section do."""
    shared = _normal(seed, 10, np.zeros(1, dtype=np.int64))
    shared /= np.sqrt((shared**2 * _AXES).sum())
    return PARTS["all"] ** 0.5 * shared, PARTS["section"] ** 0.5 * _normal(seed, 11, np.arange(SECTIONS))


def _vectors(seed: int, block: int) -> np.ndarray:
    subjects = _subjects(seed, block)
    rng = _generator(seed, block, 2)
    vectors = rng.standard_normal((BLOCK, DIMENSIONS), dtype=np.float32)
    spread = np.exp(OWN_SPREAD * rng.standard_normal(BLOCK)) * PARTS["article"] ** 0.5
    vectors *= spread[:, None].astype(np.float32)
    shared, sections = _fixed(seed)
    vectors += shared + sections[subjects.section]
    for what, name, which in ((12, "topic", subjects.topic), (13, "story", subjects.story)):
        numbers, rows = np.unique(which, return_inverse=True)
        vectors += np.float32(PARTS[name] ** 0.5) * _normal(seed, what, numbers)[rows]
    rotated = vectors @ _rotation(seed)
    rotated /= np.linalg.norm(rotated, axis=1, keepdims=True)
    return rotated


@lru_cache(maxsize=300_000)
def _spelled(rank: int) -> str:
    return word(rank)


def _articles(seed: int, block: int, part: slice) -> Iterator[Article]:
    subjects, draws = _subjects(seed, block), _words(seed, block)
    rng = _generator(seed, block, 3)
    both = draws.titles + draws.lengths
    article = np.repeat(np.arange(BLOCK), both)
    ends = np.cumsum(both)
    is_title = np.arange(len(article)) - (ends - both)[article] < draws.titles[article]
    distinct, spelled_as = np.unique(draws.ranks, return_inverse=True)
    spellings = [_spelled(rank) for rank in distinct.tolist()]
    words = np.array(spellings, dtype=object)[spelled_as]
    inflects = (distinct >= len(_COMMON)) & np.array([spelling[-1] in "bdgkmnpt" for spelling in spellings])

    # Stop words go between the others; a text's words are put in another order first, as its terms come from the same
    # draws and repeat what stands before them.
    text = np.flatnonzero(~is_title)
    text = text[np.lexsort((rng.random(len(text)), article[text]))]
    stops = np.round(draws.lengths * STOP_SHARE / (1 - STOP_SHARE)).astype(np.int64)
    totals = draws.lengths + stops
    of = np.repeat(np.arange(BLOCK), totals)
    starts = np.cumsum(totals) - totals
    position = np.arange(len(of)) - starts[of]
    is_stop = np.empty(len(of), dtype=bool)
    order = np.lexsort((rng.random(len(of)), of))
    is_stop[order] = position < stops[of]
    flat = np.empty(len(of), dtype=object)
    inflected = rng.choice(np.array(list(_INFLECTED), dtype=object), len(text), p=list(_INFLECTED.values()))
    flat[~is_stop] = words[text] + np.where(inflects[spelled_as][text], inflected, "")
    chosen = np.searchsorted(np.cumsum(_STOP_SHARES)[:-1], rng.random(int(is_stop.sum())), side="right")
    flat[is_stop] = np.array(_STOPS, dtype=object)[chosen]

    last = position == totals[of] - 1  # of a sentence
    until = np.cumsum(rng.integers(8, 31, len(of) // 8 + 1)) - 1
    last[until[until < len(of)]] = True
    first = np.concatenate([[True], last[:-1]])
    flat[first] = [word[0].upper() + word[1:] for word in flat[first].tolist()]
    after = np.full(len(of), _SPACE)
    after[last] = np.where(rng.random(int(last.sum())) < 0.25, _BREAK, _STOP)
    flat += _AFTER[after]

    little = rng.choice(len(_STOPS), size=(BLOCK, 3), p=_STOP_SHARES)
    extra = rng.integers(1, 4, BLOCK)
    slots = rng.integers(1, 7, (BLOCK, 3))
    age_days = 7300 * _uniform(seed, 20, subjects.story)
    later = rng.exponential(20, BLOCK)
    for row in range(part.start, part.stop):
        number = block * BLOCK + row
        topic, section = int(subjects.topic[row]), int(subjects.section[row])
        title_words = words[ends[row] - both[row] : ends[row] - both[row] + draws.titles[row]].tolist()
        for which in range(min(int(extra[row]), 9 - len(title_words))):
            title_words.insert(min(int(slots[row, which]), len(title_words)), _STOPS[little[row, which]])
        days = min(age_days[row] + later[row], 7304.9)
        section_name = _spelled(section)
        yield Article(
            id=f"g{number:08d}",
            title=_capital(" ".join(title_words)),
            text="".join(flat[starts[row] : starts[row] + totals[row]].tolist()).rstrip(),
            url=f"https://example.org/{section_name}/{number}",
            published=LAST_DAY - timedelta(seconds=int((YEARS * 365.25 - days) * 86400)),
            section=section_name,
            tags=tuple(_spelled(rank) for rank in _topic_words(seed, topic)),
            metadata={"topic": topic, "story": int(subjects.story[row]), "words": int(totals[row])},
        )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


@lru_cache(maxsize=50_000)
def _topic_words(seed: int, topic: int) -> list[int]:
    """Return the ranks of the three words that a topic uses most."""
    uniform = _uniform(seed, 4, np.full(3, topic), np.arange(3))
    return _ranks(uniform, FIRST_RANK["topic"]).tolist()


def write(path: Path, n: int, seed: int) -> None:
    """Write `n` articles as JSON Lines, compressed where the name ends in .gz."""
    # No name and no time in the compressed file: the same articles give the same bytes.
    with path.open("wb") as file:
        out = gzip.GzipFile("", "wb", 1, file, mtime=0) if path.suffix == ".gz" else file
        for article in articles(n, seed):
            record = {
                "id": article.id,
                "title": article.title,
                "text": article.text,
                "url": article.url,
                "published": article.published.isoformat() if article.published else None,
                "section": article.section,
                "tags": list(article.tags),
                **article.metadata,
            }
            out.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        if out is not file:
            out.close()


def check(archive: Path, seed: int, *, model: bool) -> None:
    """Print the figures of an archive and of a generated one of the same size, side by side."""
    from recommender.sources import Source
    from recommender.text.language import detect_language
    from recommender.text.terms import extract_terms

    real = [entry.article for entry in Source(archive) if entry.article]
    n = len(real)
    starts, numbers, counts = _counted(real)
    words = np.array([len(article.text.split()) for article in real])

    started = time.perf_counter()
    blocks = list(terms(n, seed))
    terms_rate = n / (time.perf_counter() - started)
    made_starts = np.cumsum(np.concatenate([[0], *(np.diff(block.starts) for block in blocks)]))
    made_numbers = np.concatenate([block.numbers for block in blocks])
    made_counts = np.concatenate([block.counts for block in blocks]).astype(np.int64)
    timed = min(n, 20 * BLOCK)  # texts take longer, and some are enough
    started = time.perf_counter()
    generated = list(articles(timed, seed))
    articles_rate = timed / (time.perf_counter() - started)
    generated_words = np.array([len(article.text.split()) for article in generated])

    print(f"{n:,} articles of {archive.name} beside as many generated ones\n")
    print(f"{'':40}{'':>6}{'real':>12}{'generated':>12}")
    _quantiles("words of a text", words, generated_words)
    _quantiles("distinct terms of an article", np.diff(starts), np.diff(made_starts))
    columns = (starts, numbers, counts), (made_starts, made_numbers, made_counts)
    (vocabulary, once, df), (made_vocabulary, made_once, made_df) = (_terms_figures(*column) for column in columns)
    print(f"{'vocabulary':46}{vocabulary:12,}{made_vocabulary:12,}")
    print(f"{'of it in one article only':46}{once:12.0%}{made_once:12.0%}")
    growth = [_growth(*column[:2]) for column in columns]
    print(f"{'vocabulary ~ articles to the power of':46}{growth[0]:12.2f}{growth[1]:12.2f}")
    _quantiles("df/N of the strongest terms, %", 100 * df, 100 * made_df)
    if model:
        from recommender.embedding.encoder import DenseEncoder

        rows = np.sort(np.random.default_rng(0).choice(n, min(n, 2000), replace=False))
        encoded = DenseEncoder().encode_articles([real[row] for row in rows])
        every = np.concatenate(list(vectors(n, seed)))[rows]
        (pairs, near), (made_pairs, made_near) = _cosines(encoded), _cosines(every)
        _quantiles("cosine of two articles", pairs, made_pairs)
        _quantiles(f"cosine to the 10th nearest of {len(rows):,}", near, made_near)

    started = time.perf_counter()
    vectors_rate = sum(map(len, vectors(timed, seed))) / (time.perf_counter() - started)
    first = generated[:200]
    english = sum(detect_language(f"{article.title}\n{article.text}") == "en" for article in first)
    agree = 0
    for row, article in enumerate(first):
        part = slice(blocks[0].starts[row], blocks[0].starts[row + 1])
        of_article = zip(blocks[0].numbers[part].tolist(), blocks[0].counts[part].tolist(), strict=True)
        agree += extract_terms(article.title, article.text, "en") == {word(rank): count for rank, count in of_article}
    print(f"\nof the first {len(first)} generated, {english} pass for English, and {agree} have the terms that their")
    print(f"texts give; a second: {articles_rate:,.0f} articles, {terms_rate:,.0f} terms, {vectors_rate:,.0f} vectors")


def _counted(real: list[Article]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the terms of articles in the form of `Terms`, with numbers in the order in which they come."""
    from recommender.text.terms import extract_terms

    names: dict[str, int] = {}
    term_counts = [extract_terms(article.title, article.text, "en") for article in real]
    numbers = np.array([names.setdefault(term, len(names)) for of_article in term_counts for term in of_article])
    counts = np.array([count for of_article in term_counts for count in of_article.values()])
    return np.cumsum([0, *map(len, term_counts)]), numbers, counts


def _quantiles(name: str, real: np.ndarray, generated: np.ndarray) -> None:
    for quantile in (5, 25, 50, 75, 95):
        values = [np.percentile(column, quantile) for column in (real, generated)]
        columns = [f"{value:12,.0f}" if abs(value) >= 20 else f"{value:12.3f}" for value in values]
        print(f"{name:40}{quantile:>4} %{columns[0]}{columns[1]}")
        name = ""


def _terms_figures(starts: np.ndarray, numbers: np.ndarray, counts: np.ndarray) -> tuple[int, float, np.ndarray]:
    """Return the vocabulary's size, how much of it one article has, and df/N of the strongest terms of articles."""
    from recommender.text import tfidf
    from recommender.text.terms import strongest_terms

    n = len(starts) - 1
    _, term, df = np.unique(numbers, return_inverse=True, return_counts=True)
    strongest = []
    for row in np.random.default_rng(0).permutation(n)[:2000]:
        part = slice(starts[row], starts[row + 1])
        of_article = df[term[part]]
        rows = np.zeros(len(of_article), dtype=np.int64)
        weighed = tfidf.tfidf_weights(counts[part].astype(float), of_article, np.array([n]), rows, 1)
        strongest.append(of_article[strongest_terms(weighed)])
    return len(df), float((df == 1).mean()), np.concatenate(strongest) / n


def _growth(starts: np.ndarray, numbers: np.ndarray) -> float:
    """Return the exponent at which the vocabulary grows from an eighth of the articles, in any order, to all."""
    n = len(starts) - 1
    is_chosen = np.zeros(n, dtype=bool)
    is_chosen[np.random.default_rng(0).permutation(n)[: n // 8]] = True
    part = len(np.unique(numbers[np.repeat(is_chosen, np.diff(starts))]))
    return float(np.log(len(np.unique(numbers)) / part) / np.log(n / (n // 8)))


def _cosines(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosines of all pairs of rows, and of each to its 10th nearest."""
    cosines = rows @ rows.T
    pairs = cosines[np.triu_indices(len(rows), 1)]
    np.fill_diagonal(cosines, -2)
    return pairs, np.sort(cosines, axis=1)[:, -min(10, len(rows) - 1)]


def main() -> None:
    """Write an archive, or check what is generated against a real one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("n", nargs="?", type=int, metavar="N")
    parser.add_argument("--out", type=Path, metavar="FILE")
    parser.add_argument("--check", nargs="?", const=EXAMPLES, type=Path, metavar="ARCHIVE")
    parser.add_argument("--model", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.check:
        check(options.check, options.seed, model=options.model)
    elif options.n is not None and options.out:
        write(options.out, options.n, options.seed)
        print(f"{options.n:,} articles written to {options.out}", file=sys.stderr)
    else:
        parser.error("give N and --out FILE, or --check")


if __name__ == "__main__":
    main()
