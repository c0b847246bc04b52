"""Rough product domains of a sentence, by the words it uses.

A keyword table, not a classifier: it serves to draw sentences that fit a product, and `other` is an honest
answer. The first domain with the most different hits wins; ties go to the order of the table.
"""

from __future__ import annotations

import re

DOMAIN_WORDS: dict[str, dict[str, str]] = {
    "zh": {
        "book": "书|作者|阅读|读者|情节|小说|出版|翻译|印刷|章节|内容|纸张|文笔|故事|观点",
        "hotel": "酒店|房间|宾馆|前台|入住|早餐|客房|退房|大堂|卫生间|地理位置|招待所|住宿|交通|预订",
        "computer": "笔记本|电脑|屏幕|键盘|系统|硬盘|内存|本本|散热|xp|vista|驱动|cpu|显卡|触摸板|配置|光驱|惠普|联想",
        "phone": "手机|短信|通话|诺基亚|铃声|待机|机身",
        "camera": "相机|镜头|像素|拍照|照片",
        "audio": "耳机|音质|音箱|音效|喇叭",
        "appliance": "热水器|安装|洗衣机|空调|冰箱|电视机|售后",
        "clothing": "衣服|裤|鞋|面料|尺码|款式|布料",
        "food": "牛奶|蒙牛|伊利|酸奶|水果|苹果|好吃|味道|新鲜|口感|零食",
        "beauty": "洗发|头发|护肤|香水|皮肤|化妆",
        "baby": "宝宝|孩子|奶粉|玩具|儿童",
    },
    "en": {
        "book": r"books?|novel|author|reading|chapter|story",
        "hotel": r"hotel|room|lobby|check-?in",
        "computer": r"router|laptop|computer|software|install\w*|windows|usb|wireless|network\w*"
        r"|drive|linksys|norton|pc|mac",
        "phone": r"phones?|nokia|cell|ringtones?|reception|t-mobile|at&t|speakerphone"
        r"|bluetooth|call(?:s|ing)?",
        "camera": r"cameras?|lens|zoom|photos?|pictures?|canon|nikon|shots?|flash|megapixels?|viewfinder",
        "audio": r"mp3|ipod|creative|zen|headphones?|earbuds|songs?|music|sound|player|playlists?|itunes|dvd",
        "appliance": r"vacuum|kitchen|washer|dryer|coffee|oven",
        "clothing": r"shirts?|shoes?|dress|wear(?:ing)?|jeans|jacket|socks",
        "food": r"food|eat(?:ing)?|lunch|dinner|breakfast|pizza|chocolate|cake|delicious|hungry|yummy",
        "beauty": r"hair|makeup|skin|perfume|nails",
        "baby": r"diapers?|champ|pail|baby|babies|odou?r|toys?|refills?|kids?|nursery",
    },
}
DOMAINS: tuple[str, ...] = (*DOMAIN_WORDS["zh"], "other")

_PATTERNS = {
    "zh": {name: re.compile(words) for name, words in DOMAIN_WORDS["zh"].items()},
    "en": {name: re.compile(rf"\b(?:{words})\b") for name, words in DOMAIN_WORDS["en"].items()},
}


def domain_of(text: str, language: str) -> str:
    """Return the domain with the most different keywords in `text`, or `other` where there is none.

    Raises KeyError for a language other than `zh` and `en`.
    """
    lowered = text.lower()
    best, most = "other", 0
    for name, pattern in _PATTERNS[language].items():
        hits = len(set(pattern.findall(lowered)))
        if hits > most:
            best, most = name, hits
    return best
