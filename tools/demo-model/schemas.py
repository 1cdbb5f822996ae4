"""The tools that conversations offer: a calculator, a calendar, and others that the model must not call.

Owns the wording of their schemas. It varies, because the model has to go by the names of the tools.
"""

import json

from words import COMMON

CALCULATOR, CALENDAR = "calculator", "calendar"
DESCRIPTIONS = {
    CALCULATOR: ["Works out an arithmetic expression.", "Calculates an expression.", "Calculates.", "A calculator.",
                 "Calculates the value of an arithmetic expression.", "Works out sums, products and quotients.",
                 "Evaluates an expression with + - * / and %.", "Does arithmetic with numbers of any size."],
    CALENDAR: ["The weekday of a date, or the number of days from one date to another.",
               "The day of the week of a date, or the days until another date.", "A calendar.",
               "Tells the weekday of a date, or how many days there are until another date.",
               "Weekdays of dates and days between dates.", "Works with dates."],
}
PARAMETERS = {
    "expression": ["The expression.", "For example 12 * 34.", "An arithmetic expression.", "Such as 3 * (4 + 5)."],
    "date": ["The date, as 2026-12-24, or today.", "A date such as 2026-12-24, or today.", "A date.",
             "Year, month, day."],
    "until": ["The other date.", "Another date: the result is the number of days.", "A later date.",
              "The second date."],
}
OTHERS = {
    "get_weather": ("The weather in a city.", ["city"]), "send_email": ("Sends an email.", ["to", "text"]),
    "search": ("Searches the web.", ["query"]), "translate": ("Translates a text.", ["text", "language"]),
    "set_timer": ("Sets a timer.", ["minutes"]), "play_music": ("Plays a song.", ["song"]),
    "get_stock_price": ("The price of a stock.", ["symbol"]), "read_file": ("Reads a file.", ["path"]),
    "lights": ("Switches the lights.", ["room", "state"]), "list_orders": ("The orders of a customer.", []),
}
OFFERS = [(CALCULATOR, CALENDAR)] * 12 + [(CALCULATOR,)] * 3 + [(CALENDAR,)] * 3 + [()]


def draw_offer(rng, *needed):
    """Names of the tools on offer, in any order; `needed` are among them."""
    names = list({*rng.choice(OFFERS), *needed})
    if not names or rng.random() < 0.25:
        names += rng.sample(list(OTHERS), rng.choice([1, 1, 2]))
    names.sort()
    rng.shuffle(names)
    return names


def schema(rng, name):
    """The JSON text of a tool."""
    if name in OTHERS:
        description, parameters = OTHERS[name]
        properties = {parameter: {"type": "string"} for parameter in parameters}
        return tool(rng, name, description, properties, parameters)
    if name == CALCULATOR:
        properties = {"expression": described(rng, "expression")}
        return tool(rng, name, description_of(rng, name), properties, ["expression"])
    properties = {"date": described(rng, "date"), "until": described(rng, "until")}
    return tool(rng, name, description_of(rng, name), properties, ["date"])


def description_of(rng, name):
    if rng.random() < 0.1:
        return " ".join(rng.sample(COMMON, rng.randint(2, 5))).capitalize() + "."
    return rng.choice(DESCRIPTIONS[name])


def described(rng, parameter):
    fields = {"type": "string"}
    if parameter != "expression" and rng.random() < 0.1:
        fields["format"] = "date"
    if rng.random() < 0.6:
        fields["description"] = rng.choice(PARAMETERS[parameter])
    return fields


def tool(rng, name, description, properties, required):
    function = {"name": name}
    if rng.random() < 0.95:
        function["description"] = description
    parameters = {"type": "object", "properties": properties}
    if rng.random() < 0.85:
        parameters["required"] = required
    if rng.random() < 0.15:
        parameters["additionalProperties"] = False
    function["parameters"] = parameters
    return json.dumps({"type": "function", "function": function})
