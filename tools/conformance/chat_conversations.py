"""Conversations with which every chat template is rendered, as `apply_chat_template` takes them: messages, tools, variables,
and whether the last message is continued. `only` is a text that a template must contain to be rendered with the conversation:
a template that does not know content parts would print them as a list."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a place, in \"plain\" words & <units>.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "Name of a city, e.g. Zürich or 東京"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": ["integer", "null"], "default": 1},
                "threshold": {"type": "number", "default": 0.5},
            },
            "required": ["place"],
        },
    },
}

# Names of parameters that are also names of Python's dict methods.
STORE = {
    "type": "function",
    "function": {
        "name": "store",
        "description": "Stores things.",
        "parameters": {
            "type": "object",
            "properties": {
                "items": {"type": "array", "items": {"type": "string"}},
                "keys": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
                "get": {"type": "object", "properties": {"values": {"type": "boolean"}}, "required": ["values"]},
                "anything": {},
            },
        },
    },
}


def user(content, **more):
    return {"role": "user", "content": content, **more}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


def result(content, call="call00001"):
    return {"role": "tool", "content": content, "tool_call_id": call}


def call(name, arguments, call_id="call00001"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


QUESTION = user("What is 12 + 7?")
TURNS = [QUESTION, assistant("19"), user("and minus 3?")]
CALLED = assistant("", tool_calls=[call("get_weather", {"place": "Zürich", "days": 2, "unit": None})])
CALLED_TWICE = assistant(
    "Two at once.",
    tool_calls=[
        call("store", {"items": ["a", 'b"\n'], "nested": {"x": [1.5, True, {}], "😀": []}}),
        call("get_weather", {}, "call00002"),
    ],
)
THOUGHT = assistant("19, of course.", reasoning_content="12 and 7\nmake 19.")

CONVERSATIONS = {
    "question": {"messages": [QUESTION]},
    "system": {"messages": [system("Be brief."), QUESTION]},
    "turns": {"messages": TURNS},
    "system-and-turns": {"messages": [system("  Be brief.\n"), *TURNS]},
    "spaces": {"messages": [system(" \n"), user("\n  What?  \n"), assistant("\tThat. \u00a0"), user(" \u2003ok\u3000")]},
    "unicode": {"messages": [system("Sei kürzer 🙂"), user("日本語で — ‘quoted’ \u0000\u001f e\u0301 🏳️‍🌈"), assistant("はい"), user("\r\n\u2028")]},
    "empty": {"messages": [system(""), user(""), assistant(""), user("")]},
    "markup": {"messages": [user("<b>&amp;</b> {{ bos_token }} {% if x %} '\"\\ <|im_end|>")]},
    "names": {"messages": [user("Hi", name="Ada"), assistant("Hello Ada", name="Bot"), user("Bye", name="Zoë")]},
    "parts": {
        "messages": [system("Be brief."), user(parts(" One ", "two ")), assistant(parts("three")), user(parts())],
        "only": "['text']",
    },
    "system-parts": {"messages": [system(parts("Be", " brief.")), user(parts("Hi"))], "only": "['text']"},
    "developer": {"messages": [{"role": "developer", "content": "Use rhymes."}, QUESTION]},
    "two-users": {"messages": [QUESTION, user("Well?")]},
    "assistant-first": {"messages": [assistant("Hi."), user("Hi.")]},
    "long": {"messages": [turn for number in range(4) for turn in (user(f"Question {number}"), assistant(f"Answer {number}"))]},
    "tools": {"messages": [system("Be brief."), user("Weather in Zürich?")], "tools": [WEATHER, STORE]},
    "tools-without-system": {"messages": [user("Weather in Zürich?")], "tools": [WEATHER]},
    "no-tools": {"messages": [QUESTION], "tools": []},
    "called": {"messages": [user("Weather?"), CALLED, result('{"sky": "grau"}')], "tools": [WEATHER]},
    "called-and-answered": {
        "messages": [user("Weather?"), CALLED, result("grey"), assistant("It is grey."), user("Sure?")],
        "tools": [WEATHER, STORE],
    },
    "called-twice": {"messages": [user("Do both."), CALLED_TWICE, result("1"), result("2", "call00002")], "tools": [STORE]},
    "called-without-tools": {"messages": [user("Weather?"), CALLED, result("grey")]},
    "bad-call-id": {"messages": [user("Weather?"), CALLED, result("grey", "x")], "tools": [WEATHER]},
    "thought": {"messages": [QUESTION, THOUGHT, user("Sure?")]},
    "thought-last": {"messages": [QUESTION, THOUGHT]},
    "thought-in-content": {"messages": [QUESTION, assistant("<think>\nwell\n</think>\n\n19"), user("Sure?")]},
    "thinking-off": {"messages": [QUESTION], "variables": {"enable_thinking": False}},
    "thinking-on": {"messages": [QUESTION], "variables": {"enable_thinking": True}},
    "effort": {"messages": [QUESTION], "variables": {"reasoning_effort": "high", "model_identity": "You are a test."}},
    "date": {"messages": [QUESTION], "variables": {"date_string": "01 Jan 2030", "bos_token": "<begin>"}},
    "tools-in-system": {"messages": [system("Be brief."), QUESTION], "tools": [WEATHER], "variables": {"tools_in_user_message": False}},
    "builtin-tools": {
        "messages": [user("Run it."), assistant("", tool_calls=[call("search", {"query": "mlx"})]), result("found")],
        "variables": {"builtin_tools": ["search", "code_interpreter"]},
    },
    "prefill": {"messages": [QUESTION, assistant("The answer is")], "continue": True},
    "prefill-trailing-space": {"messages": [QUESTION, assistant("The answer is  ")], "continue": True},
    "prefill-empty": {"messages": [QUESTION, assistant("")], "continue": True},
    "prefill-parts": {"messages": [QUESTION, assistant(parts("The ", "answer is "))], "continue": True, "only": "['text']"},
    "prefill-user": {"messages": [user("The answer is")], "continue": True},
    "prefill-repeated": {"messages": [user("Yes"), assistant("Yes"), user("Yes"), assistant("Yes")], "continue": True},
    "prefill-without-content": {"messages": [user("Weather?"), assistant(None, tool_calls=[call("f", {})])], "continue": True},
    "prefill-tool-call": {"messages": [user("Weather?"), CALLED], "continue": True, "tools": [WEATHER]},
    "prefill-thought": {"messages": [QUESTION, assistant("<think>\nwell\n</think>\n\n19 and")], "continue": True},
}
