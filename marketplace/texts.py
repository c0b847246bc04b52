"""Reviews, social posts and support messages of the simulated shop: real sentences, simulated authorship.

Sentences come from the public labelled corpora by polarity and category; those of the frozen test split
are never used, so that the text model's exam stays sealed. Three truths are planted:

- in the week before a sale the number of posts, their polarity and buying words follow its demand shock;
- after a sale, reviews and messages turn sour where customers found no stock (a trap for leaking features);
- reviews follow a SKU's quality.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.choice import Floats, Ints
from marketplace.columns import moments, numbered, pick, stream_table
from marketplace.events import Orders, users_of
from marketplace.sales import Cells, Lines
from marketplace.world import CATEGORIES, DAY_US, World, generator

POLARITIES = ("negative", "neutral", "positive", "wanting")
NEGATIVE, NEUTRAL, POSITIVE, WANTING = range(4)
PLATFORMS = ("weibo-like", "video-like", "forum-like")
BUYING_WORDS = r"想买|要买|准备买|打算买|再买|还会买|会再来|值得买|下单|入手|购买|want|buy|bought|purchase|recommend"
WARM_UP_US = 7 * DAY_US
CHINESE_SHARE = 0.75
MAX_CHARACTERS = 160
AGENT_LINES = (
    "您好，已为您记录，稍后回复。",
    "感谢反馈，我们会尽快处理。",
    "Hello, we have noted your message.",
    "Thank you, a colleague will follow up soon.",
)


@dataclass(frozen=True)
class Pool:
    """Indices into `texts` by category, polarity and language (0 Chinese, 1 English)."""

    texts: list[str]
    languages: list[str]
    by_kind: dict[tuple[int, int, int], Ints]


@dataclass(frozen=True)
class Drafts:
    """Texts to be written; arrays have one entry a text."""

    time_us: Ints
    sku: Ints
    polarity: Ints
    user: Ints


def build_pool(sentences: pa.Table) -> Pool:
    """Sort the labelled sentences into drawers by category, polarity and language.

    Args:
        sentences: table of `flashsale.corpora.load_sentences`.
    """
    usable = pc.and_(
        pc.not_equal(sentences["split"], "test"),
        pc.less_equal(pc.utf8_length(sentences["text"]), MAX_CHARACTERS),
    )
    kept = sentences.filter(usable)
    polarity = pc.index_in(kept["sentiment"], pa.array(POLARITIES[:3])).to_numpy()
    wants = pc.match_substring_regex(kept["text"], BUYING_WORDS, ignore_case=True).to_numpy(zero_copy_only=False)
    drawer = np.where(wants & (polarity == POSITIVE), WANTING, polarity)
    english = pc.equal(kept["language"], "en").to_numpy(zero_copy_only=False).astype(np.int64)
    by_kind: dict[tuple[int, int, int], Ints] = {}
    for c, category in enumerate(CATEGORIES):
        fits = pc.is_in(kept["domain"], pa.array(category.topics)).to_numpy(zero_copy_only=False)
        for p in range(4):
            for e in range(2):
                by_kind[c, p, e] = _drawer(fits, drawer == p, english == e)
    return Pool(kept["text"].to_pylist(), kept["language"].to_pylist(), by_kind)


def _drawer(fits: np.ndarray, polarity: np.ndarray, language: np.ndarray) -> Ints:
    """Rows of one drawer, widened to other categories, then languages, where it is nearly empty."""
    for mask in (fits & polarity & language, polarity & language, polarity):
        if mask.sum() >= 8:
            return np.flatnonzero(mask)
    raise ValueError("simulated shop: the corpora hold too few sentences of one polarity")


def announced_drafts(world: World, cells: Cells, extra: tuple[Ints, Ints, Floats]) -> Drafts:
    """Posts of the week before each sale, and a thin stream of posts at all times.

    Args:
        extra: (start in microseconds, SKU, shock) of the sale that is asked for but has not run.
    """
    rng = generator(world.size.seed, "posts")
    _, first = np.unique(cells.campaign * len(world.sku_ids) + cells.sku, return_index=True)
    start = np.concatenate([cells.starts_us[first], extra[0]])
    offered = np.concatenate([cells.sku[first], extra[1]])
    shock = np.concatenate([cells.shock[first], extra[2]])
    regime = world.size.regime
    heard = regime.text_gain * shock + rng.normal(0.0, regime.text_noise, len(shock))  # sensed, not quite exactly
    row = np.repeat(np.arange(len(offered)), rng.poisson(14.0 * np.exp(1.1 * heard)))
    # Interest grows towards the sale.
    time = start[row] - (WARM_UP_US * rng.random(len(row)) ** 1.3).astype(np.int64)
    mood = 0.55 + 1.5 * heard[row]
    warm = _polarity(rng, mood, wanting=1.0 / (1.0 + np.exp(-(-0.2 + 1.6 * heard[row]))))
    idle = rng.poisson(0.5, (len(world.sku_ids), world.size.days))
    idle_sku, idle_day = (np.repeat(i.ravel(), idle.ravel()) for i in np.indices(idle.shape))
    idle_time = world.size.start_us + idle_day * DAY_US + rng.integers(0, DAY_US, len(idle_day))
    calm = _polarity(rng, 0.3 + 0.5 * world.quality[idle_sku], wanting=np.full(len(idle_sku), 0.25))
    time, sku = np.concatenate([time, idle_time]), np.concatenate([offered[row], idle_sku])
    posts = Drafts(time, sku, np.concatenate([warm, calm]), rng.integers(0, world.users, len(sku)))
    return _joined(posts, _bots(world, start, offered))


def _bots(world: World, start: Ints, sku: Ints) -> Drafts:
    """Posts by a few bots in the week before a sale: each SKU praised or damned, whatever its demand."""
    rng = generator(world.size.seed, "bots")
    row = np.repeat(np.arange(len(sku)), rng.poisson(world.size.regime.bot_posts, len(sku)))
    opinion = rng.choice([NEGATIVE, WANTING], len(sku))
    time = start[row] - rng.integers(0, WARM_UP_US, len(row))
    return Drafts(time, sku[row], opinion[row], rng.integers(0, 5, len(row)))


def _joined(first: Drafts, second: Drafts) -> Drafts:
    return Drafts(*(np.concatenate([getattr(first, f), getattr(second, f)]) for f in first.__dataclass_fields__))


def _polarity(rng: np.random.Generator, mood: Floats, wanting: Floats) -> Ints:
    """Negative, neutral, positive or wanting: log odds of a good text are `mood`, one in eight is neutral."""
    good = rng.random(len(mood)) < 1.0 / (1.0 + np.exp(-mood))
    wants = rng.random(len(mood)) < wanting
    plain = rng.random(len(mood)) < 0.125
    return np.where(plain, NEUTRAL, np.where(~good, NEGATIVE, np.where(wants, WANTING, POSITIVE)))


def after_drafts(world: World, cells: Cells, lines: Lines, orders: Orders) -> tuple[Drafts, Drafts]:
    """Reviews by buyers and angry latecomers, and messages of those who found no stock."""
    rng = generator(world.size.seed, "reviews")
    row = np.flatnonzero(rng.random(len(orders.time_us)) < 0.05)
    time = orders.time_us[row] + rng.integers(2 * DAY_US, 9 * DAY_US, len(row))
    lost_share = 1.0 - cells.served / np.maximum(cells.demanded, 1)
    sour = np.where(orders.cell[row] >= 0, lost_share[orders.cell[row]], 0.0)
    polarity = _polarity(rng, 1.0 + world.quality[orders.sku[row]] - 3.0 * sour, np.full(len(row), 0.15))
    reviews = Drafts(time, orders.sku[row], polarity, orders.user[row])
    lost = np.flatnonzero(lines.wanted > lines.served)
    angry, asking = lost[rng.random(len(lost)) < 0.08], lost[rng.random(len(lost)) < 0.10]
    late = _latecomers(world, rng, cells, lines, angry)
    return _joined(reviews, late), _latecomers(world, rng, cells, lines, asking)


def _latecomers(world: World, rng: np.random.Generator, cells: Cells, lines: Lines, rows: Ints) -> Drafts:
    cell = lines.cell[rows]
    time = lines.time_us[rows] + rng.integers(DAY_US // 12, 3 * DAY_US, len(rows))
    return Drafts(time, cells.sku[cell], np.full(len(rows), NEGATIVE), users_of(world, rng, cells.region[cell]))


def text_tables(
    world: World, cells: Cells, lines: Lines, orders: Orders, pool: Pool, extra: tuple[Ints, Ints, Floats]
) -> dict[str, pa.Table]:
    """The streams `reviews`, `social_posts` and `support_messages`."""
    reviews, messages = after_drafts(world, cells, lines, orders)
    posts = announced_drafts(world, cells, extra)
    return {
        "reviews": _review_table(world, _known(world, reviews), pool),
        "social_posts": _post_table(world, _known(world, posts), pool),
        "support_messages": _support_table(world, _known(world, messages), pool),
    }


def _known(world: World, drafts: Drafts) -> Drafts:
    """Texts within the history, and of SKUs that were launched, in order of time."""
    born = np.maximum(world.launched_us[drafts.sku], world.size.start_us)
    keep = np.flatnonzero((drafts.time_us < world.size.end_us) & (drafts.time_us >= born))
    keep = keep[np.argsort(drafts.time_us[keep], kind="stable")]
    return Drafts(drafts.time_us[keep], drafts.sku[keep], drafts.polarity[keep], drafts.user[keep])


def _write(
    world: World, rng: np.random.Generator, pool: Pool, drafts: Drafts, repeats: float
) -> tuple[list[str], list[str]]:
    """Sentences and languages of the drafts; a share repeats an earlier one about the same SKU."""
    english = (rng.random(len(drafts.sku)) >= CHINESE_SHARE).astype(np.int64)
    kind = world.category[drafts.sku]
    chosen = np.zeros(len(drafts.sku), dtype=np.int64)
    for key, rows in pool.by_kind.items():
        mine = np.flatnonzero((kind == key[0]) & (drafts.polarity == key[1]) & (english == key[2]))
        chosen[mine] = rng.choice(rows, len(mine))
    copied = np.flatnonzero(rng.random(len(chosen)) < repeats)
    group = drafts.sku * 4 + drafts.polarity
    order = np.argsort(group, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    source = order[np.maximum(place[copied] - 1, 0)]
    same = group[source] == group[copied]
    chosen[copied[same]] = chosen[source[same]]
    words = [pool.texts[i] for i in chosen]
    for i in np.flatnonzero(rng.random(len(words)) < 0.02):
        words[i] = f"{words[i]} {_contact(rng)}"
    return words, [pool.languages[i] for i in chosen]


def _contact(rng: np.random.Generator) -> str:
    """A made-up phone number or e-mail address that the platform has to mask."""
    digits = "".join(str(d) for d in rng.integers(0, 10, 8))
    return (f"电话 138{digits}", f"QQ邮箱 u{digits}@example.com", f"call 139-{digits[:4]}-{digits[4:]}")[
        int(rng.integers(3))
    ]


def _review_table(world: World, drafts: Drafts, pool: Pool) -> pa.Table:
    rng = generator(world.size.seed, "review texts")
    words, languages = _write(world, rng, pool, drafts, repeats=0.02)
    n = len(words)
    stars = np.array([1, 3, 4, 5])[drafts.polarity] + (rng.random(n) < 0.3) * np.array([1, 0, 1, 0])[drafts.polarity]
    return stream_table(
        "reviews",
        {
            "event_at": moments(drafts.time_us),
            "review_id": numbered("r", np.arange(n)),
            "sku_id": pick(world.sku_ids, drafts.sku),
            "user_id": numbered("u", drafts.user),
            "rating": pa.array(stars.astype(np.int32), mask=rng.random(n) < 0.1),
            "text": pa.array(words, pa.string()),
            "language": pa.array(languages, pa.string()),
        },
    )


def _post_table(world: World, drafts: Drafts, pool: Pool) -> pa.Table:
    rng = generator(world.size.seed, "post texts")
    words, languages = _write(world, rng, pool, drafts, repeats=0.06)
    n = len(words)
    likes = rng.negative_binomial(0.6, 0.03, n)
    return stream_table(
        "social_posts",
        {
            "event_at": moments(drafts.time_us),
            "post_id": numbered("p", np.arange(n)),
            "platform": pick(PLATFORMS, rng.integers(0, len(PLATFORMS), n)),
            "author_id": numbered("a", drafts.user),
            "text": pa.array(words, pa.string()),
            "language": pa.array(languages, pa.string()),
            "likes": pa.array(likes.astype(np.int64)),
            "reposts": pa.array(rng.binomial(likes, 0.15).astype(np.int64)),
            "sku_id": pick(world.sku_ids, np.where(rng.random(n) < 0.03, -1, drafts.sku)),
        },
    )


def _support_table(world: World, drafts: Drafts, pool: Pool) -> pa.Table:
    """Each conversation is one customer's message and one stock phrase of an agent, minutes later."""
    rng = generator(world.size.seed, "support texts")
    words, languages = _write(world, rng, pool, drafts, repeats=0.0)
    n = len(words)
    answer = drafts.time_us + rng.integers(120_000_000, 1_800_000_000, n)
    chinese = np.array([language == "zh" for language in languages], dtype=bool)
    line = rng.integers(0, 2, n) + np.where(chinese, 0, 2)
    time = np.concatenate([drafts.time_us, answer])
    known = pa.array(time < world.size.end_us)
    columns = {
        "event_at": moments(time),
        "conversation_id": numbered("t", np.tile(np.arange(n), 2)),
        "user_id": numbered("u", np.tile(drafts.user, 2)),
        "role": pa.array(["customer"] * n + ["agent"] * n, pa.string()),
        "text": pa.array([*words, *(AGENT_LINES[i] for i in line)], pa.string()),
        "language": pa.array([*languages, *languages], pa.string()),
        "sku_id": pick(world.sku_ids, np.tile(drafts.sku, 2)),
    }
    return stream_table("support_messages", {name: column.filter(known) for name, column in columns.items()})
