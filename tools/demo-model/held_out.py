"""The held-out set: contents and wordings that training never draws."""

from dataclasses import dataclass

from conversations import CATEGORIES
from phrasing import Turn, rng_for

HELD_OUT_KINDS = [frozenset({"content"}), frozenset({"phrasing"})]


@dataclass(frozen=True)
class Item:
    """A question, the turns that came before it, and what was held out about it."""

    category: str
    held_out: str
    history: tuple
    turn: Turn


def held_out_items(seed, share=1.0):
    """Distinct items, half with new contents and half with new wordings."""
    items = []
    for category, (exercise, _, count) in CATEGORIES.items():
        rng = rng_for(seed, "held-out", category)
        items.extend(distinct_items(rng, category, exercise, round(count * share)))
    return items


def distinct_items(rng, category, exercise, count):
    items, seen = [], set()
    for attempt in range(20 * count):
        unseen = HELD_OUT_KINDS[attempt % 2]
        *history, turn = exercise(rng, unseen)
        key = (tuple(history), turn)
        if key not in seen:
            seen.add(key)
            items.append(Item(category, *unseen, tuple(history), turn))
        if len(items) == count:
            break
    return items
