"""Keywords of a text: words without stop words, and pairs of neighbours in Chinese and its kin, which have no blanks."""

from __future__ import annotations

import math
import re
from collections import Counter

_MOST_WORDS = 10
_MOST_PAIRS = 200
_STOP_WORDS = """
a about after all also am an and any are as at be because been before being both but by can could did do does
for from had has have having he her here him his how i if in into is it its itself may me might more most must
my no nor not of off on only or other our out over own same she should so some such than that the their them
then there these they this those to too under until up very was we were what when where which while who whom why
will with would you your s t 的 了 和 是 在 我 有 他 这 中 大 来 上 个 到 说 们 为 子 你 地 出 道 也 时 年 吗 呢 与 及 或 多少 什么
"""
_STOP = frozenset(_STOP_WORDS.split())
_CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"


def words(text: str) -> list[str]:
    """Every keyword of a text in its order, repetitions included."""
    found = []
    for run in re.findall(rf"[{_CJK}]+|[^\W_{_CJK}]+", text):
        if re.match(rf"[{_CJK}]", run):
            found += [run[n : n + 2] for n in range(max(1, len(run) - 1))]
        elif len(run) > 1:
            found.append(run)
    return [word for word in found if word.lower() not in _STOP]


def keywords(text: str) -> list[str]:
    """The keywords that are kept of a segment, most frequent first."""
    counts = Counter(words(text))
    ranked = [word for word, _ in counts.most_common()]
    pairs = [word for word in ranked if re.match(rf"[{_CJK}]", word)]
    others = [word for word in ranked if word not in set(pairs)]
    return others[:_MOST_WORDS] + pairs[:_MOST_PAIRS]


def overlap(wanted: list[str], kept: list[str]) -> int:
    """How many of the wanted keywords are among those kept; case does not matter."""
    return len({word.lower() for word in wanted} & {word.lower() for word in kept})


def similarities(query: str, texts: list[str]) -> list[float]:
    """Cosine of the query and each text, keywords weighted by how rare they are among the texts."""
    bags = [Counter(word.lower() for word in keywords(text)) for text in texts]
    wanted = Counter(word.lower() for word in keywords(query))
    vocabulary = set(wanted).union(*bags)
    weight = {
        word: math.log((1 + len(bags)) / (1 + sum(word in bag for bag in bags))) + 1 for word in vocabulary
    }

    def length(bag: Counter[str]) -> float:
        return math.sqrt(sum((count * weight[word]) ** 2 for word, count in bag.items()))

    scores = []
    for bag in bags:
        product = sum(count * bag[word] * weight[word] ** 2 for word, count in wanted.items())
        scale = length(wanted) * length(bag)
        scores.append(product / scale if scale else 0.0)
    return scores
