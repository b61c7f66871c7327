"""An inverted index: word → ids of the products whose text has it."""

import re
from collections import defaultdict
from collections.abc import Iterable
from heapq import nsmallest

from shop.feed import Product

_WORD = re.compile(r"[a-z]+")


def words(text: str) -> set[str]:
    """The distinct words of a text, in lower case."""
    return set(_WORD.findall(text.lower()))


class Index:
    """Built once, then only read; the workers share its pages."""

    def __init__(self, products: Iterable[Product]) -> None:
        ids: defaultdict[str, set[int]] = defaultdict(set)
        for product in products:
            for word in words(product.description):
                ids[word].add(product.id)
        self._ids = dict(ids)

    def find(self, query: str, limit: int) -> list[int]:
        """Ids of the products with the query's rarest known word, those with most of its other words first."""
        wanted = [self._ids[word] for word in words(query) if word in self._ids]
        if not wanted:
            return []
        rarest = min(wanted, key=len)
        return nsmallest(limit, rarest, key=lambda number: (-sum(number in ids for ids in wanted), number))
