"""Sums, differences and comparisons of whole numbers.

Owns how a calculation is written out. The digits are worked column by column
in the answer itself: a small model copies that procedure to operands it never
saw, while it only memorises results that it has to state at once.
"""

from phrasing import Phrasings, Turn, is_held_out

LIMIT = 99
TOO_LARGE = "I can only add and subtract whole numbers from 0 to 99."
TRAINED_ANYWAY = {("sum", 12, 7), ("sum", 20, 3), ("sum", 47, 35), ("difference", 19, 3),
                  ("order", 17, 71)}

SUM = Phrasings("sum", [
    "What is {a} + {b}?", "What's {a} + {b}?", "{a} + {b}", "{a} + {b} = ?", "{a} + {b} =", "{a}+{b}",
    "{a}+{b}=?", "How much is {a} + {b}?", "What is {a} plus {b}?", "What's {a} plus {b}?",
    "{a} plus {b}?", "How much is {a} plus {b}?", "Add {a} and {b}.", "Add {b} to {a}.",
    "Calculate {a} + {b}.", "Compute {a} + {b}.", "What is the sum of {a} and {b}?",
    "The sum of {a} and {b}?", "Can you add {a} and {b}?", "Work out {a} + {b}.",
    "What do you get if you add {a} and {b}?", "Solve {a} + {b}", "What does {a} + {b} make?",
    "Could you work out {a} plus {b}?", "I have {a} apples and get {b} more. How many do I have?",
    "What is {a} and {b} together?", "Give me {a} plus {b}.", "Sum {a} and {b}."])
DIFFERENCE = Phrasings("difference", [
    "What is {a} - {b}?", "What's {a} - {b}?", "{a} - {b}", "{a} - {b} = ?", "{a} - {b} =", "{a}-{b}",
    "{a}-{b}=?", "How much is {a} - {b}?", "What is {a} minus {b}?", "What's {a} minus {b}?",
    "{a} minus {b}?", "How much is {a} minus {b}?", "Subtract {b} from {a}.",
    "Take {b} away from {a}.", "Calculate {a} - {b}.", "Compute {a} - {b}.", "Work out {a} - {b}.",
    "Can you subtract {b} from {a}?", "What do you get if you take {b} from {a}?",
    "Solve {a} - {b}", "Could you work out {a} minus {b}?", "Give me {a} minus {b}.",
    "What is {a} take away {b}?", "What is left if I take {b} from {a}?"])
THEN_PLUS = Phrasings("then plus", [
    "and plus {b}?", "And plus {b}?", "plus {b}?", "+ {b}", "and {b} more?", "Now add {b}.",
    "Add {b} to that.", "And if you add {b}?", "then plus {b}", "what about plus {b}?"])
THEN_MINUS = Phrasings("then minus", [
    "and minus {b}?", "And minus {b}?", "minus {b}?", "- {b}", "and {b} less?", "Now subtract {b}.",
    "Subtract {b} from that.", "And if you take away {b}?", "then minus {b}", "what about minus {b}?"])
LARGER = Phrasings("larger", [
    "Which is larger, {a} or {b}?", "Which number is larger, {a} or {b}?", "Which is bigger, {a} or {b}?",
    "Which is greater, {a} or {b}?", "What is larger, {a} or {b}?", "What is bigger: {a} or {b}?",
    "Which is the larger of {a} and {b}?", "Which is more, {a} or {b}?", "{a} or {b}, which is larger?",
    "{a} or {b}: which one is bigger?", "What is the bigger number, {a} or {b}?",
    "What is the maximum of {a} and {b}?", "Compare {a} and {b}.", "Larger: {a} or {b}?"])
SMALLER = Phrasings("smaller", [
    "Which is smaller, {a} or {b}?", "Which number is smaller, {a} or {b}?", "Which is less, {a} or {b}?",
    "What is smaller, {a} or {b}?", "What is less: {a} or {b}?", "Which is the smaller of {a} and {b}?",
    "{a} or {b}, which is smaller?", "{a} or {b}: which one is smaller?",
    "What is the smaller number, {a} or {b}?", "What is the minimum of {a} and {b}?"])
IS_LARGER = Phrasings("is larger", [
    "Is {a} larger than {b}?", "Is {a} bigger than {b}?", "Is {a} greater than {b}?",
    "Is {a} more than {b}?", "{a} > {b}?", "{a} > {b}", "Is {a} > {b}?",
    "Would you say {a} is larger than {b}?", "True or false: {a} is larger than {b}",
    "Is it true that {a} is larger than {b}?"])
IS_SMALLER = Phrasings("is smaller", [
    "Is {a} smaller than {b}?", "Is {a} less than {b}?", "Is {a} below {b}?", "{a} < {b}?",
    "{a} < {b}", "Is {a} < {b}?", "Would you say {a} is smaller than {b}?",
    "True or false: {a} is smaller than {b}", "Is it true that {a} is smaller than {b}?"])
AND_OTHER_WAY = Phrasings("other way", [
    "and which is {word}?", "And which one is {word}?", "which is {word}?", "and {word}?",
    "And the {word} one?"])


def written_sum(a, b):
    if a < 10 and b < 10:
        return f"{a} + {b} = {a + b}."
    ones = a % 10 + b % 10
    carry, note, extra = ones // 10, "", ""
    if carry:
        note, extra = ", carry 1", " + 1"
    tens = a // 10 + b // 10 + carry
    return (f"Ones: {a % 10} + {b % 10} = {ones}{note}. "
            f"Tens: {a // 10} + {b // 10}{extra} = {tens}. So {a} + {b} = {a + b}.")


def written_columns_down(a, b):
    """The two columns of a - b for a >= b."""
    ones, note, extra = a % 10, "", ""
    if ones < b % 10:
        ones, note, extra = ones + 10, ", borrow 1", " - 1"
    tens = a // 10 - b // 10 - (1 if note else 0)
    return (f"Ones: {ones} - {b % 10} = {ones - b % 10}{note}. "
            f"Tens: {a // 10} - {b // 10}{extra} = {tens}.")


def written_difference(a, b):
    if a < 10 and b < 10:
        return f"{a} - {b} = {a - b}."
    if a >= b:
        return f"{written_columns_down(a, b)} So {a} - {b} = {a - b}."
    return (f"{b} is larger, so swap. {written_columns_down(b, a)} "
            f"{b} - {a} = {b - a}, so {a} - {b} = {a - b}.")


def sum_turn(question, a, b):
    return Turn(question, written_sum(a, b), f"{a} + {b} = {a + b}.")


def difference_turn(question, a, b):
    return Turn(question, written_difference(a, b), f"{a} - {b} = {a - b}.")


def is_reserved_for_test(kind, a, b):
    """Both orders of a pair or neither: answers also write a pair the other way round."""
    if (kind, a, b) in TRAINED_ANYWAY or (kind, b, a) in TRAINED_ANYWAY:
        return False
    return is_held_out(kind, f"{a},{b}") and is_held_out(kind, f"{b},{a}")


def draw_operand(rng, limit=LIMIT):
    """Mostly uniform; small numbers are what people try first, so they get extra weight."""
    return rng.randint(0, min(12, limit) if rng.random() < 0.15 else limit)


def draw_pair(rng, kind, unseen, draw=draw_operand):
    while True:
        a, b = draw(rng), draw(rng)
        if is_reserved_for_test(kind, a, b) == unseen:
            return a, b


def sums(rng, unseen=frozenset()):
    a, b = draw_pair(rng, "sum", "content" in unseen)
    return [sum_turn(SUM.ask(rng, "phrasing" in unseen, a=a, b=b), a, b)]


def differences(rng, unseen=frozenset()):
    a, b = draw_pair(rng, "difference", "content" in unseen)
    if a < b and rng.random() < 0.4:
        a, b = b, a
    return [difference_turn(DIFFERENCE.ask(rng, "phrasing" in unseen, a=a, b=b), a, b)]


def running_totals(rng, unseen=frozenset()):
    """A sum or difference, then one to three steps that go on from its result."""
    turns = rng.choice([sums, differences])(rng)
    while not is_operand(result_of(turns[-1])) and rng.random() < 0.9:
        turns = rng.choice([sums, differences])(rng)
    for _ in range(rng.choice([1, 1, 2, 3])):
        value = result_of(turns[-1])
        turn = next_step(rng, value, unseen)
        if turn is None:
            return running_totals(rng, unseen)
        turns.append(turn)
        if not is_operand(value):
            break
    return turns


def is_operand(value):
    return 0 <= value <= LIMIT


def result_of(turn):
    return int(turn.final.rstrip(".").rsplit("= ", 1)[1])


def next_step(rng, value, unseen):
    """A step on from `value`, or None where no pair with it is of the kind asked for."""
    adds = rng.random() < 0.5
    kind, phrasings = ("sum", THEN_PLUS) if adds else ("difference", THEN_MINUS)
    limit = LIMIT if "content" in unseen else rng.choice([12, LIMIT])
    choices = [b for b in range(limit + 1)
               if is_reserved_for_test(kind, value, b) == ("content" in unseen)]
    if not choices:
        return None
    b = rng.choice(choices)
    question = phrasings.ask(rng, "phrasing" in unseen, b=b)
    if not is_operand(value):
        return Turn.whole(question, TOO_LARGE)
    return (sum_turn if adds else difference_turn)(question, value, b)


def draw_compared(rng):
    if rng.random() < 0.2:
        return rng.randint(100, 999)
    return draw_operand(rng)


def relation(a, b):
    if a == b:
        return f"{a} and {b} are equal."
    return f"{a} is {'larger' if a > b else 'smaller'} than {b}."


def draw_compared_pair(rng, unseen):
    a, b = draw_pair(rng, "order", "content" in unseen, draw_compared)
    swapped_digits = int(str(a)[::-1])
    if rng.random() < 0.2 and is_reserved_for_test("order", a, swapped_digits) == ("content" in unseen):
        b = swapped_digits
    return a, b


def comparisons(rng, unseen=frozenset()):
    a, b = draw_compared_pair(rng, unseen)
    new_wording = "phrasing" in unseen
    kind = rng.choice(["larger", "larger", "smaller", "is larger", "is smaller"])
    if kind == "larger":
        turns = [Turn.whole(LARGER.ask(rng, new_wording, a=a, b=b), relation(max(a, b), min(a, b)))]
    elif kind == "smaller":
        turns = [Turn.whole(SMALLER.ask(rng, new_wording, a=a, b=b), relation(min(a, b), max(a, b)))]
    else:
        phrasings, holds = (IS_LARGER, a > b) if kind == "is larger" else (IS_SMALLER, a < b)
        verdict = "yes" if holds else "no"
        answer = f"{relation(a, b).rstrip('.')}, so {verdict}."
        turns = [Turn.whole(phrasings.ask(rng, new_wording, a=a, b=b), answer)]
    if kind in ("larger", "smaller") and rng.random() < 0.15:
        turns.append(other_way(rng, kind, a, b, unseen))
    return turns


def other_way(rng, kind, a, b, unseen):
    word = "smaller" if kind == "larger" else "larger"
    pair = (min(a, b), max(a, b)) if word == "smaller" else (max(a, b), min(a, b))
    return Turn.whole(AND_OTHER_WAY.ask(rng, "phrasing" in unseen, word=word), relation(*pair))


BEYOND = Phrasings("beyond arithmetic", [
    "What is {a} * {b}?", "{a} * {b}", "{a}*{b}", "{a} x {b}", "What is {a} times {b}?", "Multiply {a} by {b}.",
    "What is {a} / {b}?", "{a} / {b}", "{a}/{b}", "Divide {a} by {b}.", "What is {a} divided by {b}?",
    "{a} to the power of {b}", "{a} ^ {b}", "{a} % {b}", "What is {a} % {b}?", "{a} mod {b}",
    "What is {a} modulo {b}?", "What is {a} squared?", "What is the square root of {a}?", "How much is {a} times {b}?"])


def beyond_arithmetic(rng, unseen=frozenset()):
    new_wording = "phrasing" in unseen
    if rng.random() < 0.5:
        slots = {"a": draw_operand(rng), "b": draw_operand(rng)}
        return [Turn.whole(BEYOND.ask(rng, new_wording, **slots), TOO_LARGE)]
    pair = [rng.randint(100, rng.choice([199, 999, 99999])), draw_operand(rng)]
    if rng.random() < 0.5:
        pair[1] = rng.randint(100, 9999)
    rng.shuffle(pair)
    phrasings = rng.choice([SUM, DIFFERENCE])
    return [Turn.whole(phrasings.ask(rng, new_wording, a=pair[0], b=pair[1]), TOO_LARGE)]
