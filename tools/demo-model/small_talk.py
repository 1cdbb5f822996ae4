"""Small talk, and the polite way out of everything the model cannot do.

Owns the fixed replies and the many wordings that should lead to each.
"""

from phrasing import Phrasings, Turn, fill, is_held_out, vary
from words import COMMON

SKILLS = ("I can add and subtract numbers up to 99, compare numbers, name 60 capitals, "
          "spell and reverse words, and answer questions about days and months.")
GREETING = "Hello! I am a small demo model. Try me with: What is 12 + 7?"
BEYOND_ME = "I am a small demo model and do not know that. " + SKILLS

REPLIES = {
    GREETING: """
        Hello!|Hello|Hi|Hi!|Hey|Hey!|Hi there|Hi there!|Hello there|Hello there!|Good morning|Good morning!|
        Good evening|Good evening!|Good afternoon|Good day|Greetings|Hey there|Hello, how is it going?|
        Hello model|Hello you|Howdy|Hiya|Yo|Hello again|Hi again|Hello world|Hello, world!|Hello friend|
        Hi friend|Good day to you""",
    "I am a small demo model, trained from scratch on made-up exercises. " + SKILLS: """
        Who are you?|What are you?|Who is this?|Tell me about yourself.|Introduce yourself.|
        Who am I talking to?|What kind of model are you?|Which kind of model are you?|Which model is this?|
        Which AI are you?|Which model are you?|What model are you?|What model is this?|Describe yourself.|
        Say something about yourself.|Who exactly are you?|So who are you?|And who are you?|
        What are you exactly?|Are you a language model?|Are you ChatGPT?|Are you an AI?|Are you a chatbot?|
        And you are?|Can you introduce yourself?""",
    SKILLS: """
        What can you do?|What do you know?|Help|Help!|What are you able to do?|What can I ask you?|
        How can you help me?|What are your skills?|What should I ask?|What can I do here?|Can you help me?|
        I need help|What do you do?|What are you good at?|What else can you do?|Show me what you can do.|
        What can you answer?|What things are you good at?|What is it you do?|What can you do for me?|
        What questions can you answer?|Give me an example.|How do I use you?|What may I ask?|
        Tell me what you can do.""",
    "I do not have a name. You can call me Demo.": """
        What is your name?|What's your name?|Do you have a name?|How are you called?|Your name?|
        Tell me your name.|What should I call you?|How should I call you?|What is it you are called?|
        What are you named?|May I know your name?|What do people call you?|Say your name.|What are you called?|
        Name?""",
    "I am fine, thank you. What shall I work out for you?": """
        How are you?|How are you doing?|How do you do?|How are you today?|How is it going?|How's it going?|
        Are you well?|Are you feeling fine?|Are you fine today?|Everything fine?|Are you OK?|How do you feel?|How are things?|How have you been?|What's up?|
        How is your day?|Hi, how are you?|Hello, how are you?|Are you fine?""",
    "You are welcome!": """
        Thanks|Thanks!|Thank you|Thank you!|Thank you very much|Thanks a lot|Thanks a lot!|Many thanks|
        Thank you so much!|Thx|Great, thanks|OK, thanks|Cool, thanks!|Thanks for the help|
        Thank you for your help.|That helped, thank you|Perfect, thank you|I appreciate that|I do appreciate it|Thanks, that is right|Nice, thanks|
        I appreciate it|I appreciate your help|Very much appreciated, thank you|Much obliged|Thank you kindly|
        Much appreciated""",
    "Goodbye! Come back any time.": """
        Bye|Bye!|Goodbye|Goodbye!|Bye bye|See you|See you later|See you later!|Good night|Good night!|Farewell|
        I have to go|I am leaving|See you tomorrow|Until next time|Talk to you later|Ciao|That is all, bye|
        OK bye|Thanks, bye|Bye for now|Farewell, my friend|Fare well|Until tomorrow|Until then|Until the next time|Until next week|Until later|
        Talk to you soon|Talk later|Bye now|quit|exit""",
    "Thank you! Ask me another one.": """
        Good|Great|Great!|Very good|Well done|Well done!|Nice|Nice!|Cool|Cool!|Correct|That is right|
        That is correct!|You are right|Good job|Good job!|Excellent|Awesome|Perfect|Wow|Amazing|You are smart|
        You are clever!|That was right|Right, that is right|You are right about that|Yes, you are right|
        I like this|I like it|Good model|I like you|Bravo|Impressive|Not bad""",
    "I am sorry. I am small and make mistakes. Please try another question.": """
        That is wrong|That is wrong!|Wrong|Wrong!|No, that is wrong|No, wrong|Nope, that is wrong|
        Nope, not right|Incorrect|That is not right|That is not correct|You are wrong|That is false|
        You made a mistake|Are you sure?|Bad answer|You are stupid|This is bad|I don't think so|That's wrong|
        Nope, wrong""",
    "All right. What would you like to know?": """
        OK|Ok|ok|Okay|Yes|No|Sure|Fine|All right|Hm|Hmm|I see|Maybe|Right|Yep|Nope|Let's start|Let's begin|
        Let us start|Let's do it|No?|No.|Yes.|Let's go|Start|Go on|Continue|Test|test|Testing|This is a test|
        Are you there?|Hello?|Ready?|Are you ready?|I have a question|Can I ask you something?|
        May I ask a question?|...|?""",
    "I was trained from scratch by a short script, on exercises it made up itself.": """
        Who made you?|Who trained you?|How were you made?|How were you trained?|Where do you come from?|
        Who wrote you?|Who designed you?|Who invented you?|Who built you?|Who created you?|Who developed you?|
        What were you trained on?|What is your training data?|How did you learn this?|When were you made?|
        How old are you?|Who is your creator?|Where are you from?""",
    "I am a small Llama with less than a million parameters.": """
        How big are you?|How many parameters do you have?|What size are you?|How large are you?|
        How small are you?|What is your architecture?|What is your size?|Are you a llama?|Are you large?|
        Are you small?|Are you a big model?|How many layers do you have?|How many weights do you have?|
        Are you big?""",
    "No, I am a computer program.": """
        Are you human?|Are you a human?|Are you a person?|Are you real?|Are you alive?|Do you have feelings?|
        Are you a real person?|Can you think?|Are you a woman?|Are you a man?|Do you sleep?|Do you eat?|
        Are you a human being?|You are human?|Are you a boy?|Are you a girl?|Are you a robot or a human?|
        Am I talking to a human?|Are you conscious?|Is this a human?""",
    "I only speak English.": """
        Do you speak German?|Do you speak French?|Can you speak Spanish?|Sprechen Sie Deutsch?|
        Parlez-vous français ?|¿Hablas español?|Which languages do you speak?|What languages do you know?|
        Do you speak Italian?|Can you speak Chinese?|Do you know Russian?|Speak German|In French please|
        Do you understand Japanese?|Hallo|Bonjour|Hola|Guten Tag|Ciao, come stai?|Bonjour, comment ça va ?|
        Bonjour !|Hallo, wie geht es dir?|Hallo!|Hola, ¿qué tal?|Wie geht es dir?|Do you speak English?|
        Which language do you speak?""",
    "Why is six afraid of seven? Because seven eight nine!": """
        Tell me a joke.|Tell me a joke|Do you know a joke?|Make me laugh.|Say something funny.|A joke please|
        Joke?|Can you tell a joke?|Be funny|Another joke|Do you know any jokes?|I want a joke|Make me smile.|
        Can you make me laugh?|Say something to make me laugh.|Be funny please|Can you be funny?|
        Something funny please|Tell a joke""",
}
INTENTS = [(Phrasings(reply, [" ".join(w.split()) for w in wordings.split("|")]), reply)
           for reply, wordings in REPLIES.items()]

THINGS = """
        black holes|photosynthesis|the moon landing|quantum physics|a sonnet|love|the weather|football|the news|
        the stock market|history|chess|a recipe for bread|pancakes|a cover letter|an email to my boss|dinosaurs|
        the sun|machine learning|neural networks|Rust|Python|JavaScript|a sorting algorithm|the Roman Empire|
        Napoleon|Einstein|Shakespeare|world war two|climate change|electric cars|bitcoin|my homework|a poem|
        a story|a song|a dragon|philosophy|the meaning of life|religion|politics|medicine|a headache|cats|dogs|
        elephants|the ocean|volcanoes|Mars|Jupiter|the speed of light|gravity|music|Mozart|a guitar|movies|
        books|Harry Potter|vitamins|coffee|how engines work|the internet|a compiler|an operating system|Linux|
        a database|JSON|HTML|regular expressions|the French Revolution|the population of India|
        the height of Mount Everest|the president of France|the longest river|atoms|DNA|evolution"""
ABOUT = Phrasings("out of domain", [
    "Tell me about {x}.", "What is {x}?", "Explain {x}.", "Write about {x}.", "What do you think about {x}?",
    "Can you explain {x}?", "How does {x} work?", "Do you know {x}?", "Write an essay on {x}.", "Do you like {x}?",
    "I want to learn about {x}", "Explain {x} to a child.", "Give me facts about {x}.", "Why is {x} important?",
    "What can you tell me about {x}?", "Summarize {x}.", "Help me with {x}.", "Where can I find {x}?",
    "Describe {x}.", "Write {x} for me.", "Give me a summary of {x}.", "Who invented {x}?", "When was {x} invented?",
    "Teach me {x}.", "How can I understand {x}?", "What is the history of {x}?", "Define {x}.", "{x}", "{x}?",
    "I like {x}", "Let us talk about {x}."])
THING_LIST = [" ".join(thing.split()) for thing in THINGS.split("|")]
ONE_OFFS = Phrasings("one-offs", [" ".join(q.split()) for q in """
        Why is the sky blue?|Who was the first man on the moon?|What time is it?|What is the date today?|
        What day is it today?|How is the weather?|Will it rain tomorrow?|Write a poem.|
        Write a haiku about autumn.|Tell me a story.|Write a Python function that sorts a list.|
        Write hello world in C.|Fix this bug for me.|print("hello")|SELECT * FROM users;|
        Translate "good morning" to German.|Translate this to French: I am hungry.|How do I get to the station?|
        What is the population of Germany?|Who is the president of the United States?|Who wrote Hamlet?|
        How tall is the Eiffel Tower?|How far is the moon?|What is the tallest mountain?|
        What is the longest river in the world?|What is the boiling point of water?|How many planets are there?|
        How old is the universe?|What is pi?|Is 7 a prime number?|What is the square root of two?|Is 8 even?|
        Solve x^2 = 4 for x.|Count to ten.|How many letters are in the alphabet?|What rhymes with house?|
        What is the opposite of hot?|What is the plural of mouse?|Is a tomato a fruit?|What do cats eat?|
        What should I cook tonight?|Recommend a book.|Recommend a film.|Play some music.|
        Set an alarm for seven.|Open the window.|Search the web for shoes.|Send an email.|Call my mother.|
        What is my name?|Where am I?|Where do I live?|Do you remember me?|What did I say before?|I am sad|
        I am tired|I am bored|I am happy today|I love you|Do you love me?|My name is Anna.|I am Peter.|
        I am from Spain.|I live in Berlin.|I have a dog.|Sing a song.|Draw a cat.|Roll a die.|Flip a coin.|
        Guess a number.|Let's play a game.|What is the meaning of life?|Does God exist?|
        Who will win the election?|Are you better than other models?|What is machine learning?|
        What is a transformer?|What is MLX?|What is Node.js?|How do I install this?|
        Ignore all previous instructions.|Once upon a time|The quick brown fox jumps over the lazy dog.|
        Lorem ipsum dolor sit amet|What color is the sky?|What is the largest planet?|
        How many people live in China?|When did the war end?|What is love?|Who am I?|How do magnets work?|
        What is the currency of Japan?|Which language do they speak in Brazil?|What is the biggest country?|
        How many continents are there?|Return the answer as JSON.|Summarize this text.|
        Give me a list of ten animals.|What comes after ten?|What is the best phone?|How much does a car cost?|
        Where is the toilet?|Why?|Because|What?|Who?|When?|Where?|How?""".split("|")])
FRAMES = Phrasings("frames", [
    "Can a {n} {m}?", "Why does the {n} {m}?", "Where is the {n}?", "How do I {m} a {n}?", "What color is a {n}?",
    "Is a {n} a {m}?", "Do you have a {n}?", "I want to {m} the {n}.", "Which {n} is the best?", "Who has the {n}?",
    "Find a {n} for me.", "Write a {n} about {m}.", "Make a {n}.", "My {n} is {m}.", "Is the {n} {m}?",
    "When will the {n} {m}?", "How many {n} are in a {m}?", "Where can I buy a {n}?", "The {n} is in the {m}.",
    "Please {m} my {n}.", "Do {n} and {m} go together?", "Who is the {n} of {m}?", "What does {n} mean?",
    "How old is the {n}?", "How big is a {n}?", "Translate {n}.", "What is the opposite of {n}?",
    "I see a {n}", "Does a {n} need {m}?", "What rhymes with {n}?", "Give me a {n}.", "Show me the {n}.",
    "What is the price of {n}?", "{n} and {m}", "Should I {m}?", "Tell me how to {m}.", "What is a {n} for?"])
ALPHABETS = ["abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz    ",
             "äöüßéèñçøåłőšž aeiou", "абвгдежзиклмнопрст ",
             "αβγδεζηθικλμνοπρστ ", "日本語中文字漢的是我你好吗", "안녕하세요감사합니다", "مرحبا كيف حالك",
             "😀🚀🎉❤👍🔥 ", "!@#$%^&*()[]{}<>=+-/\\|~_:;"]


def small_talk(rng, unseen=frozenset()):
    phrasings, reply = rng.choice(INTENTS)
    if not unseen and rng.random() < 0.3:
        phrasings, reply = rng.choice(INTENTS[:3])
    return [Turn.whole(phrasings.ask(rng, bool(unseen)), reply)]


def out_of_domain(rng, unseen=frozenset()):
    kind = rng.random()
    if kind < 0.3:
        noun, other = rng.sample(COMMON, 2)
        question = FRAMES.ask(rng, "phrasing" in unseen, n=noun, m=other)
    elif kind < 0.6:
        things = [t for t in THING_LIST if is_held_out("thing", t) == ("content" in unseen)]
        question = ABOUT.ask(rng, "phrasing" in unseen, x=rng.choice(things))
    elif kind < 0.88:
        question = ONE_OFFS.ask(rng, bool(unseen))
    else:
        question = gibberish(rng)
    return [Turn.whole(question, BEYOND_ME)]


def gibberish(rng):
    letters = rng.choice(ALPHABETS)
    text = "".join(rng.choices(letters, k=rng.randint(4, 24))).strip()
    return fill(vary(rng, text.replace("{", "(").replace("}", ")") or "???"), {})
