"""The held-out set: contents and wordings that training never draws."""

from dataclasses import dataclass

from chat_tokenizer import END, parts
from conversations import CATEGORIES, TOOL_CATEGORIES, Conversation, needs_tool
from phrasing import rng_for
from schemas import draw_offer, schema

HELD_OUT_KINDS = [frozenset({"content"}), frozenset({"phrasing"})]


@dataclass(frozen=True)
class Item:
    """A conversation of which the model gives the last part: the call, or the answer."""

    category: str
    held_out: str
    conversation: Conversation
    is_call: bool = False

    @property
    def parts(self):
        """The last one is the one to produce."""
        whole = list(parts(self.conversation))
        return whole[:-2] if self.is_call else whole

    @property
    def final(self):
        """The part of the model's text that has to be exact: a call as a whole, the end of an answer."""
        return self.parts[-1].text.removesuffix(END) if self.is_call else self.conversation.turns[-1].final


def held_out_items(seed, share=1.0):
    """Distinct items, half with new contents and half with new wordings."""
    items = []
    for category, (exercise, _, count) in CATEGORIES.items():
        rng = rng_for(seed, "held-out", category)
        drawn = distinct(rng, exercise, round(count * share))
        items.extend(Item(category, kind, Conversation(turns)) for kind, turns in drawn)
    for category, (exercise, needed, _, count) in TOOL_CATEGORIES.items():
        rng = rng_for(seed, "held-out", "tools", category)
        for kind, turns in distinct(rng, exercise, round(count * share)):
            conversation = with_tools(rng, turns, draw_offer(rng, *needed))
            items.append(Item(f"calls: {category}", kind, conversation, is_call=True))
            items.append(Item("results of calls", kind, conversation))
    return items + answers_without_calls(seed, share)


def answers_without_calls(seed, share):
    """Items of the other categories, asked while tools are on offer."""
    rng, items = rng_for(seed, "held-out", "no call"), []
    for exercise, _, count in CATEGORIES.values():
        for kind, turns in distinct(rng, exercise, round(count * share / 6)):
            offer = draw_offer(rng)
            if not any(needs_tool(turn, offer) for turn in turns):
                items.append(Item("no call", kind, with_tools(rng, turns, offer)))
    return items


def with_tools(rng, turns, offer):
    return Conversation(turns, None, tuple(schema(rng, name) for name in offer))


def distinct(rng, exercise, count):
    """Pairs of what was held out and the turns."""
    drawn = {}
    for attempt in range(20 * count):
        unseen = HELD_OUT_KINDS[attempt % 2]
        turns = tuple(exercise(rng, unseen))
        drawn.setdefault(turns, *unseen)
        if len(drawn) == count:
            break
    return [(kind, turns) for turns, kind in drawn.items()]
