"""The curriculum: which exercises there are, how often each is trained, and
how they are strung together into conversations.
"""

from arithmetic import beyond_arithmetic, comparisons, differences, running_totals, sums
from facts import (calendar, calendar_follow_ups, capital_follow_ups, capitals,
                   unknown_capitals)
from small_talk import out_of_domain, small_talk
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
LENGTHS = [1] * 16 + [2] * 3 + [4]


def draw_exercise(rng):
    exercises = [entry[0] for entry in CATEGORIES.values()]
    shares = [entry[1] for entry in CATEGORIES.values()]
    return rng.choices(exercises, shares)[0](rng)


def draw_conversation(rng):
    """A system message (sometimes) and the turns of one or more exercises."""
    system = rng.choice(SYSTEM_MESSAGES) if rng.random() < 0.15 else None
    turns = []
    for _ in range(rng.choice(LENGTHS)):
        turns.extend(draw_exercise(rng))
    return system, turns


def chat_messages(system, turns, open_question=None):
    """The conversation in the message form that chat templates take."""
    messages = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        messages.append({"role": "user", "content": turn.question})
        messages.append({"role": "assistant", "content": turn.answer})
    if open_question is not None:
        messages.append({"role": "user", "content": open_question})
    return messages
