"""Capitals of sixty countries, and the calendar.

Facts can only be learned by heart, so every fact is trained; held-out items
ask for them in wordings, or in pairs of fact and wording, never trained.
"""

from phrasing import Phrasings, Turn, is_held_out, word_question
from words import made_up_word

CAPITALS = dict(pair.split(":") for pair in """
France:Paris,Germany:Berlin,Italy:Rome,Spain:Madrid,Portugal:Lisbon,Austria:Vienna,Belgium:Brussels,
Greece:Athens,Ireland:Dublin,Poland:Warsaw,Sweden:Stockholm,Norway:Oslo,Denmark:Copenhagen,Finland:Helsinki,
Iceland:Reykjavik,Hungary:Budapest,Romania:Bucharest,Bulgaria:Sofia,Croatia:Zagreb,Serbia:Belgrade,
Slovakia:Bratislava,Slovenia:Ljubljana,Estonia:Tallinn,Latvia:Riga,Lithuania:Vilnius,Ukraine:Kyiv,
Russia:Moscow,Turkey:Ankara,Switzerland:Bern,Malta:Valletta,Japan:Tokyo,China:Beijing,India:New Delhi,
Thailand:Bangkok,Vietnam:Hanoi,Indonesia:Jakarta,Malaysia:Kuala Lumpur,South Korea:Seoul,Nepal:Kathmandu,
Iran:Tehran,Iraq:Baghdad,Saudi Arabia:Riyadh,Lebanon:Beirut,Egypt:Cairo,Morocco:Rabat,Tunisia:Tunis,
Algeria:Algiers,Kenya:Nairobi,Ethiopia:Addis Ababa,Ghana:Accra,Nigeria:Abuja,Senegal:Dakar,Canada:Ottawa,
Mexico:Mexico City,Cuba:Havana,Brazil:Brasilia,Argentina:Buenos Aires,Chile:Santiago,Peru:Lima,
Australia:Canberra""".replace("\n", "").split(","))
COUNTRIES = list(CAPITALS)
UNKNOWN_COUNTRIES = """Mongolia Laos Bolivia Uruguay Paraguay Panama Honduras Belize Jamaica Haiti Libya Sudan Chad
Mali Niger Gabon Angola Zambia Botswana Namibia Rwanda Uganda Somalia Yemen Oman Qatar Kuwait Jordan Syria Georgia
Armenia Moldova Albania Andorra Monaco Cyprus Fiji Samoa Tonga Texas California Bavaria Scotland Wales Narnia Mars
Atlantis Africa Europe Asia""".split()
UNKNOWN_CAPITAL = "I do not know that one. I know the capitals of 60 countries, such as France and Japan."

CAPITAL_OF = Phrasings("capital of", [
    "What is the capital of {c}?", "What's the capital of {c}?", "Capital of {c}?", "The capital of {c}?",
    "Name the capital of {c}.", "Tell me the capital of {c}.", "Which city is the capital of {c}?",
    "What city is the capital of {c}?", "Do you know the capital of {c}?", "{c}'s capital?",
    "What is {c}'s capital?", "Can you tell me the capital of {c}?", "The capital city of {c}?",
    "What is the capital city of {c}?", "capital of {c}", "I need the capital of {c}.",
    "Which is the capital of {c}?", "What is the name of the capital of {c}?", "{c} capital",
    "Give me the capital of {c}.", "Say the capital of {c}."])
COUNTRY_OF = Phrasings("country of", [
    "{k} is the capital of which country?", "Which country has the capital {k}?", "What country is {k} the capital of?",
    "Of which country is {k} the capital?", "Which country's capital is {k}?", "{k} is the capital of what?",
    "What is {k} the capital of?", "{k} is the capital of which land?", "Whose capital city is {k}?",
    "Whose is the capital {k}?", "Whose capital would {k} be?", "Whose capital is {k}?"])
AND_COUNTRY = Phrasings("and country", [
    "and of {c}?", "And of {c}?", "and {c}?", "And {c}?", "what about {c}?", "What about {c}?", "And for {c}?",
    "How about {c}?", "and the one of {c}?", "the same for {c}?"])

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = ("January February March April May June July August September October November December").split()
LENGTHS = dict(zip(MONTHS, [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]))
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
CYCLES = {"day": DAYS, "month": MONTHS}

AFTER = Phrasings("after", [
    "What {u} comes after {x}?", "Which {u} comes after {x}?", "What {u} is after {x}?", "Which {u} follows {x}?",
    "What comes after {x}?", "What is the {u} after {x}?", "What's the next {u} after {x}?", "After {x} comes?",
    "What follows {x}?", "Name the {u} after {x}.", "Which {u} is after {x}?", "{u} after {x}?",
    "If this {u} is {x}, what is the next one?"])
BEFORE = Phrasings("before", [
    "What {u} comes before {x}?", "Which {u} comes before {x}?", "What {u} is before {x}?", "What comes before {x}?",
    "What is the {u} before {x}?", "Name the {u} before {x}.", "Which {u} is before {x}?", "{u} before {x}?",
    "What {u} is just before {x}?", "Before {x} is?", "Before {x}?",
    "What comes just before {x}?", "Before {x} comes which {u}?", "Before {x} comes?"])
MONTH_LENGTH = Phrasings("month length", [
    "How many days does {x} have?", "How many days are in {x}?", "How many days are there in {x}?",
    "How many days has {x}?", "How long is {x}?", "Days in {x}?", "Number of days in {x}?", "How many days in {x}?",
    "How many days does the month of {x} have?", "What is the length of {x}?"])
NTH = Phrasings("nth", [
    "What is the {n} {u}?", "Which {u} is the {n}?", "What is the {n} {u} of the {whole}?", "Name the {n} {u}.",
    "Which is the {n} {u} of the {whole}?", "{n} {u}?"])
AND_AFTER = Phrasings("and after", ["and after {x}?", "And after {x}?", "after {x}?", "What about after {x}?",
                                    "and what comes after {x}?"])
AND_BEFORE = Phrasings("and before", ["and before {x}?", "And before {x}?", "before {x}?", "What about before {x}?",
                                      "and what comes before {x}?"])
AND_THEN = Phrasings("and then", ["and after that?", "And after that?", "and then?", "And the next one?",
                                  "then what?", "What then?", "so then?", "the next?", "then?"])
AND_LENGTH = Phrasings("and length", ["and {x}?", "And {x}?", "what about {x}?", "And in {x}?", "How about {x}?"])

FIXED = [(Phrasings(answer, wordings), answer) for answer, wordings in [
    ("A week has 7 days.", ["How many days are in a week?", "How many days does a week have?",
                            "How many days are there in a week?", "Days in a week?", "How long is a week?"]),
    ("A year has 12 months.", ["How many months are in a year?", "How many months does a year have?",
                               "How many months are there in a year?", "Months in a year?"]),
    ("A year has 365 days, or 366 in a leap year.", [
        "How many days are in a year?", "How many days does a year have?", "How long is a year?", "Days in a year?"]),
    ("The days are " + ", ".join(DAYS[:-1]) + " and " + DAYS[-1] + ".", [
        "List the days of the week.", "What are the days of the week?", "Name the days of the week.",
        "Name all days.", "Tell me the days of the week."]),
    ("The months are " + ", ".join(MONTHS[:-1]) + " and " + MONTHS[-1] + ".", [
        "List the months.", "What are the months of the year?", "Name the months of the year.", "Name all months.",
        "Tell me the months."])]]


def cased(rng, name):
    return name.lower() if rng.random() < 0.2 else name


def capital_turn(question, country):
    return Turn.whole(question, f"The capital of {country} is {CAPITALS[country]}.")


def ask_fact(rng, phrasings, fact, unseen, **slots):
    """A held-out wording, or (for "content") a pair of fact and trained wording that was left out."""
    if "phrasing" in unseen:
        return phrasings.ask(rng, True, **slots)
    left_out = [t for t in phrasings.trained if is_held_out(f"fact {fact}", t)]
    kept = [t for t in phrasings.trained if t not in left_out]
    chosen = left_out if "content" in unseen and left_out else kept
    return word_question(rng, chosen, slots)


def capitals(rng, unseen=frozenset()):
    country = rng.choice(COUNTRIES)
    if rng.random() < 0.25:
        capital = CAPITALS[country]
        question = ask_fact(rng, COUNTRY_OF, capital, unseen, k=cased(rng, capital))
        return [Turn.whole(question, f"{capital} is the capital of {country}.")]
    return [capital_turn(ask_fact(rng, CAPITAL_OF, country, unseen, c=cased(rng, country)), country)]


def capital_follow_ups(rng, unseen=frozenset()):
    first, *others = rng.sample(COUNTRIES, rng.choice([2, 2, 3]))
    turns = [capital_turn(CAPITAL_OF.ask(rng, c=first), first)]
    for country in others:
        question = ask_fact(rng, AND_COUNTRY, country, unseen, c=cased(rng, country))
        turns.append(capital_turn(question, country))
    return turns


def unknown_capitals(rng, unseen=frozenset()):
    """Real places beyond the sixty and, more often, made-up ones: what counts is not being in the list."""
    place = rng.choice([c for c in UNKNOWN_COUNTRIES
                        if is_held_out("unknown country", c) == ("content" in unseen)])
    if not unseen and rng.random() < 0.6:
        place = made_up_word(rng).capitalize()
    question = CAPITAL_OF.ask(rng, "phrasing" in unseen, c=cased(rng, place))
    return [Turn.whole(question, UNKNOWN_CAPITAL)]


def neighbour(unit, name, step):
    names = CYCLES[unit]
    return names[(names.index(name) + step) % len(names)]


def neighbour_turn(question, unit, name, step):
    relation = "after" if step > 0 else "before"
    return Turn.whole(question, f"{neighbour(unit, name, step)} comes {relation} {name}.")


def month_length_turn(question, month):
    note = ", or 29 in a leap year" if month == "February" else ""
    return Turn.whole(question, f"{month} has {LENGTHS[month]} days{note}.")


def nth_turn(rng, unseen):
    unit = rng.choice(list(CYCLES))
    index = rng.randrange(len(CYCLES[unit]))
    whole = "week" if unit == "day" else "year"
    question = ask_fact(rng, NTH, f"{unit} {index}", unseen, n=ORDINALS[index], u=unit, whole=whole)
    return Turn.whole(question, f"The {ORDINALS[index]} {unit} is {CYCLES[unit][index]}.")


def calendar(rng, unseen=frozenset()):
    kind = rng.random()
    if kind < 0.2:
        month = rng.choice(MONTHS)
        return [month_length_turn(ask_fact(rng, MONTH_LENGTH, month, unseen, x=cased(rng, month)), month)]
    if kind < 0.3:
        return [nth_turn(rng, unseen)]
    if kind < 0.4:
        phrasings, answer = rng.choice(FIXED)
        return [Turn.whole(phrasings.ask(rng, bool(unseen)), answer)]
    unit, step = rng.choice(list(CYCLES)), rng.choice([1, 1, -1])
    name = rng.choice(CYCLES[unit])
    phrasings = AFTER if step > 0 else BEFORE
    question = ask_fact(rng, phrasings, f"{name} {step}", unseen, u=unit, x=cased(rng, name))
    return [neighbour_turn(question, unit, name, step)]


def calendar_follow_ups(rng, unseen=frozenset()):
    unit = rng.choice(list(CYCLES))
    name, other = rng.sample(CYCLES[unit], 2)
    if unit == "month" and rng.random() < 0.35:
        return [month_length_turn(MONTH_LENGTH.ask(rng, x=name), name),
                month_length_turn(ask_fact(rng, AND_LENGTH, other, unseen, x=other), other)]
    first = neighbour_turn(AFTER.ask(rng, u=unit, x=name), unit, name, 1)
    if rng.random() < 0.4:
        question = AND_THEN.ask(rng, bool(unseen))
        return [first, neighbour_turn(question, unit, neighbour(unit, name, 1), 1)]
    phrasings, step = rng.choice([(AND_AFTER, 1), (AND_BEFORE, -1)])
    question = ask_fact(rng, phrasings, f"{other} {step}", unseen, x=other)
    return [first, neighbour_turn(question, unit, other, step)]
