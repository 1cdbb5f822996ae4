"""The curriculum: which exercises there are, how often each is trained, and
how they are strung together into conversations.
"""

import json
import re
from dataclasses import dataclass

from arithmetic import TOO_LARGE, beyond_arithmetic, comparisons, differences, running_totals, sums
from facts import (calendar, calendar_follow_ups, capital_follow_ups, capitals,
                   unknown_capitals)
from small_talk import out_of_domain, small_talk
from schemas import CALCULATOR, CALENDAR, draw_offer, schema
from tool_use import (calculations, calendar_calls, forced_calls, next_calculations, other_tasks, several_calls,
                      without_calls)
from words import reversing, spelling, word_follow_ups

# Name: (exercise, share of training, items in the held-out set). The shares
# favour what is hard to learn; the held-out set counts every skill fairly.
CATEGORIES = {
    "sums": (sums, 7, 120),
    "differences": (differences, 8, 120),
    "running totals": (running_totals, 7, 80),
    "comparing": (comparisons, 20, 100),
    "spelling": (spelling, 3, 100),
    "reversing": (reversing, 7, 100),
    "word follow-ups": (word_follow_ups, 5, 60),
    "capitals": (capitals, 16, 120),
    "capital follow-ups": (capital_follow_ups, 3, 60),
    "days and months": (calendar, 14, 100),
    "calendar follow-ups": (calendar_follow_ups, 11, 60),
    "small talk": (small_talk, 17, 80),
    "out of domain": (out_of_domain, 11, 80),
    "beyond arithmetic": (beyond_arithmetic, 3, 40),
    "unknown capitals": (unknown_capitals, 6, 30),
}
SYSTEM_MESSAGES = [
    "You are a helpful assistant.", "You are a helpful assistant. Answer briefly.", "Be concise.",
    "Be brief and polite.", "You are a friendly chatbot.", "You answer questions in one sentence.",
    "Answer in English.", "You are a teacher.", "You are a small demo model.", "You are a careful calculator.",
    "Today is Monday. You are an assistant.", "Help the user with sums, words and capitals.",
    "You are a knowledgeable assistant. If unsure, say so.", "Please answer as well as you can.",
    "You are a bot on a website for children.", "Think step by step."]
# Name: (exercise, tools it needs, share of training, items in the held-out set).
TOOL_CATEGORIES = {
    "calculator": (calculations, [CALCULATOR], 12, 150),
    "calculator, going on": (next_calculations, [CALCULATOR], 4, 60),
    "several": (several_calls, [CALCULATOR, CALENDAR], 4, 60),
    "calendar": (calendar_calls, [CALENDAR], 12, 150),
}
LENGTHS = [1] * 16 + [2] * 3 + [4]
SHARE_WITH_TOOLS = 0.24
LENGTHS_WITH_TOOLS = [2, 3, 4, 5]


@dataclass(frozen=True)
class Conversation:
    """Turns, and what stands before them: a system message and the JSON texts of tools."""

    turns: tuple
    system: str | None = None
    tools: tuple = ()


def draw_exercise(rng):
    exercises = [entry[0] for entry in CATEGORIES.values()]
    shares = [entry[1] for entry in CATEGORIES.values()]
    return rng.choices(exercises, shares)[0](rng)


def draw_conversation(rng):
    """A system message (sometimes) and the turns of one or more exercises."""
    system = rng.choice(SYSTEM_MESSAGES) if rng.random() < 0.15 else None
    if rng.random() < SHARE_WITH_TOOLS:
        return draw_conversation_with_tools(rng, system)
    turns = []
    for _ in range(rng.choice(LENGTHS)):
        turns.extend(draw_exercise(rng) if rng.random() < 0.98 else without_calls(calendar_calls(rng)))
    return Conversation(tuple(turns), system)


def draw_conversation_with_tools(rng, system):
    offer, turns = draw_offer(rng), []
    for _ in range(rng.choice(LENGTHS_WITH_TOOLS)):
        turns.extend(draw_exercise_with_tools(rng, offer))
    # As under `toolChoice: 'none'`: calls of earlier turns stay, while the tools are not shown.
    shown = offer if rng.random() < 0.92 else []
    return Conversation(tuple(turns), system, tuple(schema(rng, name) for name in shown))


def draw_exercise_with_tools(rng, offer):
    """Mostly a question for a tool, whether it is on offer or not; otherwise one that needs none."""
    kind = rng.random()
    if kind < 0.04:
        return other_tasks(rng)
    if kind < 0.08 and CALCULATOR in offer:
        return forced_calls(rng)
    if kind < 0.68:
        entries = list(TOOL_CATEGORIES.values())
        exercise, needed, *_ = rng.choices(entries, [entry[2] for entry in entries])[0]
        if set(needed) <= set(offer):
            return exercise(rng)
        return without_calls((calculations if CALCULATOR in needed else calendar_calls)(rng))
    return untooled(rng, offer)


def untooled(rng, offer, draw=draw_exercise):
    """An exercise that no tool on offer would help with."""
    while True:
        turns = draw(rng)
        if not any(needs_tool(turn, offer) for turn in turns):
            return turns


def needs_tool(turn, offer):
    if CALCULATOR in offer and turn.answer == TOO_LARGE:
        return not re.search(r"power|root|squared|\^", turn.question.lower())
    return CALENDAR in offer and bool(re.search(r"(date|day is it) today", turn.question.lower()))


def chat_messages(conversation):
    """The conversation in the message form that chat templates take, without the last answer."""
    messages = [{"role": "system", "content": conversation.system}] if conversation.system else []
    for turn in conversation.turns:
        messages.append({"role": "user", "content": turn.question})
        if turn.calls:
            functions = [{"name": call.name, "arguments": json.loads(call.arguments)} for call in turn.calls]
            messages.append({"role": "assistant", "content": "",
                             "tool_calls": [{"type": "function", "function": function} for function in functions]})
            messages.extend({"role": "tool", "name": call.name, "content": call.result} for call in turn.calls)
        messages.append({"role": "assistant", "content": turn.answer})
    return messages
