"""Exercises with tools: questions that a calculator or a calendar answers.

Owns when the model calls a tool, with which arguments, and how it says the result. Sums of small numbers, which it
works out itself, are no reason to call.
"""

import json
import re
from dataclasses import replace
from datetime import date, timedelta

from arithmetic import (DIFFERENCE, SUM, THEN_MINUS, THEN_PLUS, TOO_LARGE, draw_operand, result_of, sums)
from facts import DAYS, MONTHS
from phrasing import Call, Phrasings, Turn, is_held_out
from schemas import CALCULATOR, CALENDAR
from small_talk import BEYOND_ME
from words import COMMON

TRAINED_ANYWAY = {"123 * 45", "23 * 45", "17 * 24", "2026-12-24", "2026-12-31", "2027-01-01"}
PRODUCT = Phrasings("product", [
    "What is {a} * {b}?", "What's {a} * {b}?", "{a} * {b}", "{a}*{b}", "{a} * {b} = ?", "{a} x {b}",
    "What is {a} x {b}?", "What is {a} times {b}?", "What's {a} times {b}?", "{a} times {b}",
    "How much is {a} times {b}?", "How much is {a} * {b}?", "Multiply {a} by {b}.", "Multiply {a} and {b}.",
    "Calculate {a} * {b}.", "Compute {a} * {b}.", "Work out {a} times {b}.", "What is the product of {a} and {b}?",
    "Can you multiply {a} by {b}?", "A ticket costs {a} euros. How much do {b} tickets cost?",
    "One box holds {a} eggs. How many eggs are in {b} boxes?", "I buy {b} books for {a} dollars each. What do I pay?",
    "What do you get if you multiply {a} by {b}?"])
QUOTIENT = Phrasings("quotient", [
    "What is {a} / {b}?", "{a} / {b}", "{a}/{b}", "Divide {a} by {b}.", "What is {a} divided by {b}?",
    "{a} divided by {b}", "How much is {a} divided by {b}?", "Calculate {a} / {b}.", "Compute {a} / {b}.",
    "Can you divide {a} by {b}?", "Share {a} between {b} people. How much does each get?",
    "What do you get if you divide {a} by {b}?"])
REMAINDER = Phrasings("remainder", [
    "{a} % {b}", "What is {a} % {b}?", "{a} mod {b}", "What is {a} modulo {b}?", "What is {a} mod {b}?",
    "What is the remainder of {a} divided by {b}?"])
EXPRESSION = Phrasings("expression", [
    "What is {e}?", "What's {e}?", "{e}", "{e} = ?", "{e} =", "Calculate {e}.", "Compute {e}.", "Work out {e}.",
    "How much is {e}?", "Solve {e}", "Evaluate {e}.", "What does {e} make?", "Can you work out {e}?"])
TWO_EXPRESSIONS = Phrasings("two expressions", [
    "What is {e}, and what is {f}?", "What is {e} and what is {f}?", "Calculate {e} and {f}.", "{e} and {f}?",
    "What are {e} and {f}?", "Work out {e}, then {f}.", "How much is {e}, and how much is {f}?"])
EXPRESSION_AND_DAY = Phrasings("expression and day", [
    "What is {e}, and what day is {d}?", "What is {e} and what day of the week is {d}?",
    "Calculate {e}, and which weekday is {d}?", "How much is {e}, and on which day does {d} fall?",
    "{e}, and what weekday is {d}?", "Work out {e} and the weekday of {d}."])
THEN_TIMES = Phrasings("then times", [
    "and times {b}?", "And times {b}?", "times {b}?", "* {b}", "Now multiply by {b}.", "Multiply that by {b}.",
    "And if you multiply that by {b}?", "what about times {b}?", "then times {b}"])
THEN_DIVIDED = Phrasings("then divided", [
    "and divided by {b}?", "And divided by {b}?", "divided by {b}?", "/ {b}", "Now divide by {b}.",
    "Divide that by {b}.", "And if you divide that by {b}?", "then divided by {b}"])

WEEKDAY = Phrasings("weekday", [
    "What day of the week is {d}?", "What day is {d}?", "Which day of the week is {d}?", "What weekday is {d}?",
    "Which weekday is {d}?", "Which weekday was {d}?", "What day of the week was {d}?", "What day was {d}?",
    "On which day does {d} fall?", "On what day of the week is {d}?", "Which day of the week will {d} be?",
    "{d} is which weekday?", "Tell me the weekday of {d}.", "The weekday of {d}?", "{d} is what day?",
    "I was born on {d}. Which day was that?", "Is {d} a Sunday?", "Is {d} a Monday?"])
BETWEEN = Phrasings("between", [
    "How many days are there from {d} to {u}?", "How many days from {d} to {u}?",
    "How many days between {d} and {u}?", "How many days are between {d} and {u}?",
    "How many days is it from {d} to {u}?", "Days from {d} to {u}?", "How long is it from {d} to {u}?",
    "How many days lie between {d} and {u}?", "Count the days from {d} to {u}.", "How many days from {d} until {u}?",
    "Number of days between {d} and {u}?", "How far apart are {d} and {u}?"])
TODAY = Phrasings("today", [
    "What day is it today?", "What is the date today?", "Which day is today?", "What is today's date?",
    "What day is today?", "What date is it?", "Which weekday is it today?", "Today's date?",
    "What day of the week is it?", "What is the date?", "Tell me today's date.", "Which day is it?"])
UNTIL = Phrasings("until", [
    "How many days until {u}?", "How many days are left until {u}?", "How many days is it until {u}?",
    "How long until {u}?", "How many days to {u}?", "How many days are there until {u}?", "Days until {u}?",
    "How many days from today to {u}?", "How many days are left before {u}?", "How long is it until {u}?"])
OTHER_TASKS = Phrasings("other tasks", [
    "What is the weather in {n}?", "Will it rain in {n} today?", "Send an email about the {n}.",
    "Search the web for {n}.", "Translate {n} to German.", "Set a timer for {n} minutes.", "Play a song about {n}.",
    "What is the price of {n}?", "Read the file {n}.txt", "Turn on the lights in the {n}.", "Show the orders of {n}.",
    "Email {n} to my friend."])
REFUSALS = ["division by zero", "out of memory", "invalid input", "not a date", "no connection", "timed out",
            "bad argument"]
ERROR = re.compile(r'rror"?: ?"?([^"}]+)')


def is_reserved_for_test(text):
    return text not in TRAINED_ANYWAY and is_held_out("arguments", text)


def calculation(question, *expressions, results):
    calls = [Call(CALCULATOR, json.dumps({"expression": e}), result) for e, result in zip(expressions, results)]
    return Turn.whole(question, " ".join(answer_of(e, result) for e, result in zip(expressions, results)), calls)


def answer_of(expression, result):
    if "rror" in result:
        return f"That did not work: {ERROR.search(result).group(1)}."
    value = json.loads(result)
    return f"{expression} = {value['result'] if isinstance(value, dict) else value}."


def failing(rng):
    """A reason, and a result that tells it. Made-up reasons make the model copy them."""
    reason = rng.choice(REFUSALS) if rng.random() < 0.4 else " ".join(rng.sample(COMMON, rng.randint(2, 3)))
    return reason, rng.choice([f"Error: {reason}", f"Error: {reason}", f"error: {reason}", as_json(rng, error=reason)])


def as_json(rng, **fields):
    """With spaces as Python writes it, or without as JavaScript does."""
    return json.dumps(fields, separators=rng.choice([(", ", ": "), (",", ":")]))


def value_of(rng, expression):
    """What a calculator returns, as a text or as JSON; sometimes an error."""
    if rng.random() < 0.05:
        return failing(rng)[1]
    try:
        value = round(eval(expression), rng.choice([2, 3, 4]))  # noqa: S307, own digits and operators
    except ZeroDivisionError:
        return "Error: division by zero"
    text = str(int(value) if value == int(value) else value)
    return as_json(rng, result=json.loads(text)) if rng.random() < 0.3 else text


def draw_number(rng):
    return rng.randint(0, rng.choice([9, 12, 20, 99, 99, 99, 999, 999, 9999, 99999]))


def draw_arguments(rng, unseen, draw):
    """Drawn until the text is one that training may see, or may not."""
    while True:
        drawn = draw(rng)
        if is_reserved_for_test(drawn[0]) == unseen:
            return drawn


def draw_calculation(rng):
    """An expression, and the wordings and slots that ask for it."""
    a, b = draw_number(rng), draw_number(rng)
    kind = rng.random()
    if kind < 0.40:
        return f"{a} * {b}", PRODUCT, {"a": a, "b": b}
    if kind < 0.58:
        return f"{a} / {b}", QUOTIENT, {"a": a, "b": b}
    if kind < 0.64:
        return f"{a} % {b}", REMAINDER, {"a": a, "b": b}
    if kind < 0.82:
        a, b = rng.sample([rng.randint(100, rng.choice([199, 999, 9999, 99999])), b], 2)
        sign, phrasings = rng.choice([("+", SUM), ("-", DIFFERENCE)])
        return f"{a} {sign} {b}", phrasings, {"a": a, "b": b}
    expression = draw_expression(rng)
    return expression, EXPRESSION, {"e": expression.replace(" ", "") if rng.random() < 0.2 else expression}


def draw_expression(rng):
    """Three operands, perhaps with a bracket, or two of which one is a decimal."""
    a, b, c = (draw_number(rng) for _ in range(3))
    if rng.random() < 0.25:
        return f"{a}.{rng.randint(1, 99)} {rng.choice('+-*/')} {b}"
    x, y = rng.choice("+-*"), rng.choice("+-*/")
    flat = f"{a} {x} {b} {y} {c}"
    return rng.choice([flat, flat, f"({a} {x} {b}) {y} {c}", f"{a} {x} ({b} + {c})"])


def calculations(rng, unseen=frozenset()):
    expression, phrasings, slots = draw_arguments(rng, "content" in unseen, draw_calculation)
    question = phrasings.ask(rng, "phrasing" in unseen, **slots)
    return [calculation(question, expression, results=[value_of(rng, expression)])]


def next_calculations(rng, unseen=frozenset()):
    """A calculation that goes on from a result, the model's own or that of a tool."""
    first = calculations(rng)[0] if rng.random() < 0.6 else sums(rng)[0]
    value = last_value(first)
    if value is None:
        return next_calculations(rng, unseen)
    kinds = [("*", THEN_TIMES), ("*", THEN_TIMES), ("/", THEN_DIVIDED)]
    if float(value) > 99:
        kinds += [("+", THEN_PLUS), ("-", THEN_MINUS)]
    sign, phrasings = rng.choice(kinds)
    b = draw_operand(rng)
    expression = f"{value} {sign} {b}"
    if is_reserved_for_test(expression) != ("content" in unseen):
        return next_calculations(rng, unseen)
    question = phrasings.ask(rng, "phrasing" in unseen, b=b)
    return [first, calculation(question, expression, results=[value_of(rng, expression)])]


def last_value(turn):
    """The result as the answer says it; none after an error, and none below zero."""
    value = turn.answer.removesuffix(".").rsplit("= ", 1)[-1]
    return value if value.replace(".", "", 1).isdigit() else None


def several_calls(rng, unseen=frozenset()):
    """Two calls in one answer: two calculations, or one and a weekday."""
    new_wording, new_content = "phrasing" in unseen, "content" in unseen
    first, second = (draw_arguments(rng, new_content, draw_simple)[0] for _ in range(2))
    if rng.random() < 0.6:
        question = TWO_EXPRESSIONS.ask(rng, new_wording, e=first, f=second)
        return [calculation(question, first, second, results=[value_of(rng, first), value_of(rng, second)])]
    day = draw_day(rng, new_content)
    question = EXPRESSION_AND_DAY.ask(rng, new_wording, e=first, d=spoken(rng, day))
    parts = [calculation(question, first, results=[value_of(rng, first)]), weekday_turn(rng, question, day)]
    return [Turn.whole(question, " ".join(part.answer for part in parts), [part.calls[0] for part in parts])]


def draw_simple(rng):
    return (f"{rng.randint(2, 999)} {rng.choice('**/')} {rng.randint(2, 99)}",)


def forced_calls(rng, unseen=frozenset()):
    """Small sums that the model works out itself where it may."""
    turn = sums(rng, unseen)[0]
    expression = turn.final.split(" = ")[0]
    return [Turn.whole(turn.question, turn.final, [Call(CALCULATOR, json.dumps({"expression": expression}),
                                                        str(result_of(turn)))], is_forced=True)]


def draw_date(rng):
    first, last = rng.choice([(2024, 2028), (2024, 2028), (1950, 2050), (1800, 2199)])
    return date(rng.randint(first, last), 1, 1) + timedelta(rng.randrange(365))


def draw_day(rng, unseen):
    return date.fromisoformat(draw_arguments(rng, unseen, lambda rng: (draw_date(rng).isoformat(),))[0])


def spoken(rng, day):
    """The date in a form that people write."""
    month = MONTHS[day.month - 1]
    return rng.choice([day.isoformat(), day.isoformat(), f"{day.day} {month} {day.year}",
                       f"{month} {day.day}, {day.year}", f"{day.day}.{day.month}.{day.year}"])


def calendar_call(question, arguments, result, answer):
    return Turn.whole(question, answer, [Call(CALENDAR, json.dumps(arguments), result)])


def calendar_calls(rng, unseen=frozenset()):
    turn = calendar_turn(rng, "phrasing" in unseen, "content" in unseen)
    if rng.random() < 0.04:
        [call], (reason, result) = turn.calls, failing(rng)
        return [Turn.whole(turn.question, f"That did not work: {reason}.", [replace(call, result=result)])]
    return [turn]


def calendar_turn(rng, new_wording, new_content):
    day, until = draw_day(rng, new_content), draw_day(rng, new_content)
    kind = rng.random()
    if kind < 0.1 and not new_content:
        return today_turn(rng, TODAY.ask(rng, new_wording), day)
    if kind < 0.55:
        return weekday_turn(rng, WEEKDAY.ask(rng, new_wording, d=spoken(rng, day)), day)
    days = (until - day).days
    if kind < 0.75:
        return days_turn(rng, UNTIL.ask(rng, new_wording, u=spoken(rng, until)), "today", until.isoformat(), days)
    question = BETWEEN.ask(rng, new_wording, d=spoken(rng, day), u=spoken(rng, until))
    return days_turn(rng, question, day.isoformat(), until.isoformat(), days)


def today_turn(rng, question, day):
    weekday = DAYS[day.weekday()]
    result = rng.choice([*results_with_date(rng, day, weekday), f"{day}, {weekday}"])
    return calendar_call(question, {"date": "today"}, result, f"Today is {weekday}, {day}.")


def weekday_turn(rng, question, day):
    weekday = DAYS[day.weekday()]
    alone = [weekday, weekday, f'"{weekday}"', as_json(rng, weekday=weekday)]
    result = rng.choice([*alone, *results_with_date(rng, day, weekday)])
    return calendar_call(question, {"date": day.isoformat()}, result, f"{day} is a {weekday}.")


def results_with_date(rng, day, weekday):
    return [as_json(rng, date=day.isoformat(), weekday=weekday), f"{weekday}, {day}", f"{day} is a {weekday}"]


def days_turn(rng, question, start, end, days):
    unit = "day" if days == 1 else "days"
    result = rng.choice([str(days), f"{days} {unit}", as_json(rng, days=days)])
    return calendar_call(question, {"date": start, "until": end}, result, f"From {start} to {end} it is {days} {unit}.")


def without_calls(turns):
    """The same question where no tool can answer it."""
    [turn] = turns
    reply = TOO_LARGE if turn.calls[0].name == CALCULATOR else BEYOND_ME
    return [Turn.whole(turn.question, reply)]


def other_tasks(rng, unseen=frozenset()):
    noun = rng.choice([n for n in COMMON if is_held_out("task", n) == ("content" in unseen)])
    return [Turn.whole(OTHER_TASKS.ask(rng, "phrasing" in unseen, n=noun), BEYOND_ME)]

