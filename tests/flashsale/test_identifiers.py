"""The shared table of identifiers: every rule's own example, wide digits, text that no UTF-8 can hold."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest

from flashsale.errors import InputError
from flashsale.identifiers import Rule, identifiers, luhn, mask_identifiers, taiwan


@pytest.mark.parametrize("rule", identifiers(), ids=lambda rule: rule.name)
def test_every_rule_shows_what_it_does(rule: Rule) -> None:
    given, expected = rule.example
    assert rule.mask and f"<{rule.mask}>" in expected
    assert mask_identifiers(given) == expected


def test_full_width_digits_are_digits() -> None:
    assert mask_identifiers("电话１３８１２３４５６７８") == "电话<phone>"


def test_half_a_surrogate_pair_is_no_error() -> None:
    assert mask_identifiers("a\ud800b 13812345678") == "a?b <phone>"


HIDDEN = {
    "identity_number": ["身份证号 110101 19900307 1234", "id 11010119900307123x.", "passport number G12345678", "AB 12 34 56 C", "B220000000"],
    "phone": [
        "138 1234 5678", "138-1234-5678", "+86 13812345678", "+8613812345678", "(+86)138-1234-5678", "8613812345678",
        "0571-87654321", "02165432100", "(021) 6543 2100", "400 820 8820", "4008208820", "+1 (415) 555-2671",
        "(415) 555-2671", "020 7946 0958", "(02) 9876 5432", "电话: 8765 4321", "1 3 8 1 2 3 4 5 6 7 8",
        "幺三八零零幺三八零零零", "一五九一二三四五六七八",
    ],
    "order_number": [
        "订单编号：2023111112345", "order #123-4567890-1234567", "Order ID: AB12345678", "tracking no. 1234567890",
        "1Z999AA10123456784", "YT1234567890123", "EMS 1234567890123", "订单编号 JX20-2311-A7",
    ],
    "bank_card": ["4111111111111111", "5500-0000-0000-0004", "378282246310005", "银行卡 6222 0200 1234 5678"],
    "address": [
        "浙江省杭州市西湖区文三路90号东部软件园2栋301室", "北京市朝阳区建国路88号", "上海市浦东新区世纪大道100号",
        "350 Fifth Avenue", "42 Wallaby Way", "221B Baker Street, London NW1 6XE", "10 Downing Street, London, SW1A 2AA",
        "1600 Pennsylvania Avenue NW, Washington, DC 20500", "postcode EC1A 1BB", "5 High Road, M1 1AE", "1600 Amphitheatre Parkway, Mountain View, CA 94043", "邮编:310012",
    ],
    "account": ["微信 abc12345", "wx: hello_world88", "QQ 123456789", "WeChat: john_doe", "加V信:test_99", "加v happy88"],
    "licence_plate": ["京A12345", "沪A·88888", "粤B·D12345", "沪A-12345D", "粤Z1234港"],
    "ip_address": ["192.168.1.1", "IP:8.8.8.8", "fe80::1", "2001:0db8:85a3:0000:0000:8a2e:0370:7334", "00:1a:2b:3c:4d:5e"],
    "name": ["联系人:王小明先生", "收货人 张三丰", "Contact: Mary Jones"],
    "email": ["A.B+c@Mail.example.com", "john.doe (at) mail (dot) example", "a[at]b[dot]example[dot]com"],
}  # fmt: skip
LEFT = [
    "iPhone 15 Pro 256GB 5999.00元 2023-11-11 10:00 3.5mm 1080p 16:9", "2023年11月11日20:30下单", "尺码175/92A",
    "ISBN 9787111128069", "价格从1999-2999元", "120*60*75", "RTX4090 24G", "size 40-42-44", "走了一路15号才到",
    "7号电池 5层包装 路由器5号色", "南京西路店 解放路很堵 上海迪士尼2号楼", "it is a 2 way street", "微信支付很方便",
    "wechat payment is good", "全新A15仿生", "版本1.2.3.4", "std::vector", "order number 2 is late", "我叫了外卖", "my name is on it", "order 2 more",
    "物流 3天到", "4111111111111112", "10000000元", "IMEI 356938035643809", "老板姓名很好听", "联系人是谁", "@", "一三五七九单号限行", "look (at) this dot", "1 3 5 7 9 11",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), [(k, t) for k, texts in HIDDEN.items() for t in texts])
def test_identifiers_as_people_write_them_are_hidden(kind: str, text: str) -> None:
    hidden = mask_identifiers(f"见 {text} 好")
    assert f"<{kind}>" in hidden
    assert sum(c.isdigit() for c in hidden) == 0


@pytest.mark.parametrize("text", LEFT)
def test_words_of_products_are_left(text: str) -> None:
    assert mask_identifiers(text) == text


def test_a_name_ends_with_its_sentence() -> None:
    assert mask_identifiers("my name is Li J. Lei. Mr. Ko says hi") == "my name is <name>. Mr. Ko says hi"


def test_card_numbers_end_in_their_check_digit() -> None:
    assert luhn("79927398713") and not luhn("79927398710")


def test_identity_numbers_of_taiwan_end_in_their_check_digit() -> None:
    assert taiwan("A123456789") and taiwan("Z100000002")
    assert not taiwan("A123456788") and mask_identifiers("A123456788") == "A123456788"


def test_an_unknown_check_is_refused() -> None:
    with pytest.raises(InputError, match="unknown check"):
        Rule.of({"name": "x", "pattern": "x", "with": "", "check": "moon", "example": {"in": "", "out": ""}})


def test_a_quick_look_hides_no_match() -> None:
    from flashsale.identifiers import may_match, replace

    texts = [rule.example[0] for rule in identifiers()]
    texts += [f"{a} {b}" for a, b in pairwise(texts)]
    ruled_out = 0
    for rule in identifiers():
        for text in texts:
            changed = replace(pa.array([text], pa.string()), rule)[0].as_py() != text
            ruled_out += not may_match(text, rule)
            assert may_match(text, rule) or not changed, (rule.name, text)
    assert ruled_out > len(texts) * len(identifiers()) / 2
