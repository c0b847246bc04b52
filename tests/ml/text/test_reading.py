"""The canonical reading: what it folds, where its pieces lie in the text, and that all who use a model read alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from flashsale.errors import InputError
from ml.text import explain, model, reading, scorer
from ml.text.data import Example, encode
from ml.text.scorer import Reading, Scorer

PHRASES = {
    name: reading.phrases(reading.yaml.safe_load(reading.RULES.read_text("utf-8")), name) for name in ("zh", "en")
}


class Letters:
    """A tokenizer of single characters, which can cut any text."""

    def encode_batch(self, texts: list[str]) -> list[Any]:
        from types import SimpleNamespace

        return [
            SimpleNamespace(
                ids=list(map(ord, text)),
                offsets=[(at, at + 1) for at in range(len(text))],
                special_tokens_mask=[0] * len(text),
            )
            for text in texts
        ]


READER = Reading(Letters(), reading.table())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folders(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One network with random heads, saved with and without a reading."""
    import torch

    torch.manual_seed(2)
    network = model.build(tiny_base)
    for head in (network.sentiment, network.intent, network.tags):
        torch.nn.init.normal_(head.weight, std=1.0)
    places = {name: tmp_path_factory.mktemp(name) for name in ("canonical", "none")}
    for name, place in places.items():
        model.save(network, tiny_base, place, max_tokens=48, reading=name)
    return places


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("電池很好", "电池很好"),
        ("這間店嘅嘢好靓", "这间店的东西很漂亮"),
        ("噚日去嗰間", "昨天去那间"),
        ("贼好,老便宜了", "非常好,非常便宜"),
        ("巴适得很,硬是要得", "非常好,真是好"),
        ("这鞋老贴身了,贼耐穿,贼拉得劲", "这鞋非常贴身,非常耐穿,非常舒服"),
        ("客服冷淡惨了,菜相因得板", "客服非常冷淡,菜非常便宜"),
        ("Dead noisy, mad flimsy and too much costly", "very noisy, very flimsy and very expensive"),
        ("It ain’t worth it", "it is not worth it"),
        ("GUTTED, absolutely", "very disappointed, absolutely"),
        ("i am liking this only", "i like this"),
        ("手机👍🏽", "手机 很好 "),
        ("phone ❤️", "phone  love "),
        ("书📦好\u200b", "书好"),
        ("哈哈哈哈哈 sooooo 10000", "哈哈哈 sooo 10000"),
        ("显著 看著", "显著 看着"),
        ("快递从黑龙江到臺灣,网上海鲜不错", "快递从北京到北京,网上海鲜不错"),
        ("把东西藏起来,东西南北都行", "把东西藏起来,东西南北都行"),
        ("My uncle in NEW YORK CITY and his in Lagos", "My relative in London and his in London"),
        ("王婉清和阿依古麗說好,她媽媽喜歡", "王小王和小王说好,他家人喜欢"),
        ("小红书上的小龙虾,前台小姐推荐", "小红书上的小龙虾,前台先生推荐"),
        ("PRIYA says her mum and DeShawn like it", "Chris says his parent and Chris like it"),
        ("我阿妈钟意", "我家人喜欢"),
        ("Oh man, will Grace mark the end of May?", "Oh man, will Grace mark the end of May?"),
    ],
)
def test_what_is_folded(text: str, read: str) -> None:
    assert READER.read(text)[0] == read


def test_plain_text_stays_and_a_text_of_signs_alone_is_read_as_it_came() -> None:
    for text in (
        "性价比很高,下次还会来买!",
        "凉得很快,吵得很厉害,不值得很多人看",
        "第十二回,穿起来不错,等了好久到货了",
        "It works as well dry, and lets in too much light; not too much good to say.",
        "The battery died after two weeks. It was 10000 miles.",
        "📦📦",
        "",
    ):
        assert READER.read(text) == (text, [])


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_entry_reads_as_it_says(language: str) -> None:
    around = "书{}书" if language == "zh" else "xx {}, xx"
    wrong = {spoken: READER.read(around.format(spoken))[0] for spoken in PHRASES[language]}
    wrong = {spoken: got for spoken, got in wrong.items() if got != around.format(PHRASES[language][spoken])}
    assert len(PHRASES[language]) > 1000 and not wrong


@pytest.mark.parametrize("language", ["zh", "en"])
def test_who_speaks_is_read_as_one(language: str) -> None:
    """Every name reads alike in a sentence; no word that says a sex is what another is read as."""
    around, known = ("给{}买的", "小王") if language == "zh" else ("bought for {}, thanks", "Chris")
    read = {name: READER.read(around.format(name))[0] for name, new in reading.people(language).items() if new == known}
    assert len(read) > 700 and set(read.values()) == {around.format(known)}
    _, kin = reading._kin(language)
    assert len(kin) > 50 and not set(kin) & set(kin.values())


def test_english_words_are_read_whole() -> None:
    assert READER.read("a matey unreckoned ain'ts")[0] == "a matey unreckoned ain'ts"


def test_traditional_sentences_come_back() -> None:
    """OpenCC writes real sentences in traditional characters, choosing by phrase; the reading turns them back."""
    import opencc

    from ml.text.data import load_examples

    plain = [e.text for e in load_examples("valid", ("zh",))[:300]]
    changed = opencc.OpenCC("s2t").convert("\n".join(plain)).split("\n")
    before = sum(a != b for x, y in zip(plain, changed, strict=True) for a, b in zip(x, y, strict=True))
    turned = [text.translate(READER.characters) for text in changed]
    after = sum(a != b for x, y in zip(plain, turned, strict=True) for a, b in zip(x, y, strict=True))
    assert before > 1000 and after <= 0.01 * before


TEXTS = st.lists(
    st.one_of(
        st.text(max_size=6),
        st.sampled_from(
            [
                *"電池很好ab' ,.1İ",
                "👍🏽",
                "❤️‍🔥",
                "📦",
                "aaaaa",
                "！！！！！",
                *sorted(PHRASES["zh"]),
                *sorted(PHRASES["en"]),
            ]
        ),
    ),
    max_size=12,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_pieces_lie_in_the_text_as_it_came(text: str) -> None:
    read, bounds = READER.read(text)
    assert len(bounds) in (0, len(read)) and (bounds or read == text.translate(READER.characters))
    last = (0, 0)
    for start, end in bounds:
        assert 0 <= start < end <= len(text)
        assert (start, end) == last or start >= last[1], "two parts of the reading share a part of the text"
        last = (start, end)
    (cut,) = READER.encode_batch([text])
    assert len(cut.offsets) == len(cut.ids) == len(read)
    assert all(0 <= start < end <= len(text) for start, end in cut.offsets)


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_only_signs_leave_without_a_trace(text: str) -> None:
    _, bounds = READER.read(text)
    turned = text.translate(READER.characters)
    covered = {place for start, end in bounds for place in range(start, end)}
    gone = [turned[place] for place in range(len(turned)) if bounds and place not in covered]
    assert set(gone) <= READER.signs


def test_demand_spans_point_into_the_text(tiny_base: Path) -> None:
    text = "📦唔系好嘅電池,手機👍"
    spans = tuple((text.index(word), text.index(word) + 2) for word in ("電池", "手機"))
    tokenizer = reading.tokenizer_of(tiny_base, "canonical")
    (row,) = encode([Example(text, "zh", 2, 0, spans)], tokenizer, 48)
    (cut,) = tokenizer.encode_batch([text])
    named = [text[start:end] for (start, end), tag in zip(cut.offsets, row.tags, strict=True) if tag == 1]
    assert "".join(named) == "電池手機"
    assert cut.ids == Tokenizer.from_file(str(tiny_base / "tokenizer.json")).encode(tokenizer.read(text)[0]).ids


def test_scores_are_those_of_the_reading(folders: dict[str, Path]) -> None:
    """Scoring a text equals scoring its reading with a folder that has none; spans are of the text."""
    texts = ["手機嘅電池很好", "the phone ain't good 👍", "性价比很好", "巴适得很,书推荐"]
    ours, plain = (Scorer(folders[name], precision="fp32") for name in ("canonical", "none"))
    found, wanted = ours.score(texts), plain.score([READER.read(text)[0] for text in texts])
    numbers = [name for name in scorer.COLUMNS if name.startswith("p_")]
    assert (found[numbers] - wanted[numbers]).abs().max().max() <= 2e-4
    assert (found[numbers] - plain.score(texts)[numbers]).abs().max().max() > 0.001
    for text, spans in zip(texts, found["spans"], strict=True):
        assert all(text[s["start"] : s["end"]] == s["text"] for s in json.loads(spans))


def test_explanations_are_of_the_reading(folders: dict[str, Path]) -> None:
    text = "書嘅電池很好👍"
    ours, plain = (explain.Explainer(folders[name]).explain(text) for name in ("canonical", "none"))
    read = explain.Explainer(folders["none"]).explain(READER.read(text)[0])
    assert ours.shares == pytest.approx(read.shares) and ours.shares != pytest.approx(plain.shares)
    assert all(text[word.start : word.end] == word.text for word in ours.words)


def test_a_folder_says_how_it_reads(folders: dict[str, Path]) -> None:
    labels = {name: json.loads((place / scorer.LABELS).read_text("utf-8")) for name, place in folders.items()}
    assert {name: (found["format"], found["reading"]) for name, found in labels.items()} == {
        "canonical": (3, "canonical"),
        "none": (2, "none"),
    }
    assert (folders["canonical"] / scorer.READING).is_file() and not (folders["none"] / scorer.READING).exists()
    assert scorer.READING in scorer.check_manifest(folders["canonical"])
    assert isinstance(Scorer(folders["none"]).tokenizer, Tokenizer)


def test_an_entry_with_one_side_is_named() -> None:
    with pytest.raises(InputError, match=r"zh\.x"):
        reading.phrases({"zh": {"x": "嘅=的; 咗"}}, "zh")


def test_any_adjective_stands_in_a_turn_and_an_entry_of_its_own_goes_before_it() -> None:
    turns = {"any": "good; bad", "x": {"turns": "well {}=very {}", "words": "naff=tacky"}}
    raw = {"en": {"x": "well bad=awful"}, "graded": {"en": turns}}
    assert reading.phrases(raw, "en") == {
        "well bad": "awful",
        "well naff": "very tacky",
        "well good": "very good",
    }
    turns["x"]["words"] = "naff"  # type: ignore[index]
    with pytest.raises(InputError, match=r"graded\.en\.x\.words"):
        reading.phrases(raw, "en")
