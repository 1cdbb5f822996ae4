"""Spelling and reversing words letter by letter.

Owns the word pool. Most trained words are made up on the spot, so that the
model has to learn the procedure and cannot get by with a list.
"""

from phrasing import Phrasings, Turn, is_held_out

TRAINED_ANYWAY = {"cat", "stone"}
COMMON = """
cat dog bird fish horse cow sheep goat duck frog lion tiger bear wolf mouse rabbit snake whale shark eagle
apple banana cherry lemon orange peach pear plum grape melon bread butter cheese milk water coffee tea sugar
salt pepper soup rice pasta pizza cake cookie honey egg onion carrot potato tomato garlic bean corn
house door window roof wall floor table chair bed lamp mirror kitchen garden fence bridge road street city
village castle tower church school train plane boat ship car truck wheel engine rocket bicycle hammer knife
spoon fork plate bottle basket bucket candle pencil paper book letter story poem music guitar piano violin drum
stone rock sand river lake ocean island mountain valley forest tree leaf flower rose grass seed root cloud rain
snow wind storm thunder sun moon star planet earth sky fire smoke ice metal iron gold silver copper glass wood
red green blue yellow purple brown black white pink grey hand foot arm leg head eye ear nose mouth tooth hair
heart brain bone skin blood mother father sister brother friend king queen doctor teacher farmer sailor soldier
happy sad angry tired hungry quick slow strong weak heavy light bright dark cold warm hot soft hard loud quiet
run walk jump swim climb dance sing laugh cry sleep dream think write read speak listen watch build break open
close push pull throw catch carry drink eat cook wash clean paint draw cut grow learn play work rest travel
computer keyboard screen camera phone robot program memory network server model token python rust
hello world love peace power money market game ball team winter summer spring autumn morning evening night
banana level radar noon kayak civic strawberry butterfly elephant umbrella chocolate language question
""".split()

ONSETS = "b c d f g h j k l m n p r s t v w z bl br ch cl cr dr fl fr gr pl pr sh sl sp st str th tr qu".split()
VOWELS = "a e i o u ai ea ee oo ou y".split()
CODAS = ["", "", "", "", "n", "r", "s", "t", "l", "m", "ck", "ng", "st", "nd", "ll", "p", "x", "d"]
LETTERS = "etaoinshrdlcumwfgypbvkjxqz"
LONGEST = 10

SPELL = Phrasings("spell", [
    "Spell the word '{w}'.", "Spell '{w}'.", "Spell {w}.", "Spell {w}", "How do you spell '{w}'?",
    "How do you spell {w}?", "How is '{w}' spelled?", "How is the word '{w}' spelled?", "Spell the word {w}.",
    "Can you spell '{w}'?", "Can you spell {w}?", "Spell out '{w}'.", "Spell: {w}", "Spelling of {w}?",
    "What is the spelling of '{w}'?", "How would you spell {w}?", "Please spell '{w}' for me.",
    "What letters are in '{w}'?", "Say '{w}' letter by letter.", "Spell the word \"{w}\".", "Spell \"{w}\"",
    "How do I spell \"{w}\"?", "How to spell {w}?"])
REVERSE = Phrasings("reverse", [
    "Reverse the word '{w}'.", "Reverse '{w}'.", "Reverse {w}.", "Reverse {w}", "Reverse the word {w}.",
    "What is '{w}' backwards?", "What is {w} backwards?", "What is '{w}' reversed?", "What's {w} reversed?",
    "Write '{w}' backwards.", "Write the word '{w}' backwards.", "Say '{w}' backwards.", "Spell '{w}' backwards.",
    "Spell {w} backwards.", "Can you reverse '{w}'?", "Can you reverse the word {w}?", "Turn '{w}' around.",
    "How do you spell '{w}' backwards?", "Reverse: {w}", "'{w}' backwards?", "{w} backwards",
    "Reverse the word \"{w}\".", "What is the reverse of '{w}'?", "Reverse the letters of '{w}'.",
    "What is \"{w}\" in reverse?"])
AND_BACKWARDS = Phrasings("and backwards", [
    "and backwards?", "And backwards?", "backwards?", "And in reverse?", "Now backwards.", "and reversed?",
    "Now reverse it.", "Reverse it.", "What is it backwards?", "And the other way round?"])
AND_SPELLED = Phrasings("and spelled", [
    "and spelled?", "And how do you spell it?", "How is it spelled?", "Now spell it.", "Spell it.",
    "and the spelling?", "Spell it forwards."])
AND_WORD = Phrasings("and word", [
    "and '{w}'?", "And '{w}'?", "and {w}?", "what about '{w}'?", "What about {w}?", "Now '{w}'.",
    "And the word '{w}'?", "now {w}", "the same for '{w}'"])


def made_up_word(rng):
    if rng.random() < 0.35:
        weights = range(len(LETTERS), 0, -1)
        return "".join(rng.choices(LETTERS, weights, k=rng.randint(2, LONGEST)))
    syllables = [rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)
                 for _ in range(rng.choice([1, 1, 2, 2, 3]))]
    return "".join(syllables)[:LONGEST]


def draw_word(rng, unseen, common_share=0.35):
    while True:
        word = rng.choice(COMMON) if rng.random() < common_share else made_up_word(rng)
        if (word not in TRAINED_ANYWAY and is_held_out("word", word)) == unseen:
            return word.capitalize() if rng.random() < 0.08 else word


def spell_turn(question, word):
    return Turn.whole(question, f"'{word}' is spelled {'-'.join(word)}.")


def reverse_turn(question, word):
    backwards = word[::-1]
    return Turn(question, f"{'-'.join(word)} backwards is {'-'.join(backwards)}: '{backwards}'.",
                f": '{backwards}'.")


def spelling(rng, unseen=frozenset()):
    word = draw_word(rng, "content" in unseen)
    return [spell_turn(SPELL.ask(rng, "phrasing" in unseen, w=word), word)]


def reversing(rng, unseen=frozenset()):
    word = draw_word(rng, "content" in unseen)
    return [reverse_turn(REVERSE.ask(rng, "phrasing" in unseen, w=word), word)]


def word_follow_ups(rng, unseen=frozenset()):
    """A word spelled or reversed, then the other of the two, or the next word."""
    new_wording = "phrasing" in unseen
    word = draw_word(rng, "content" in unseen)
    starts_with_spelling = rng.random() < 0.6
    phrasings, make = (SPELL, spell_turn) if starts_with_spelling else (REVERSE, reverse_turn)
    first = make(phrasings.ask(rng, w=word), word)
    if rng.random() < 0.5:
        follow, other = (AND_BACKWARDS, reverse_turn) if starts_with_spelling else (AND_SPELLED, spell_turn)
        return [first, other(follow.ask(rng, new_wording), word)]
    second = draw_word(rng, "content" in unseen)
    return [first, make(AND_WORD.ask(rng, new_wording, w=second), second)]
