"""The server through Python's client of OpenAI, on the bundled model. OPENAI_BASE_URL names the server."""

import asyncio
import json
import unittest

import openai
from pydantic import BaseModel

MODEL = "demo"
SUM = [{"role": "user", "content": "What is 12 + 7?"}]
CALCULATOR = {
    "type": "function",
    "function": {
        "name": "calculator",
        "description": "Works out an arithmetic expression.",
        "parameters": {
            "type": "object",
            "properties": {"expression": {"type": "string", "description": "For example 12 * 34."}},
            "required": ["expression"],
        },
    },
}


class Sum(BaseModel):
    sum: int


class Chat(unittest.TestCase):
    def setUp(self):
        self.client = openai.OpenAI(max_retries=0)
        self.addCleanup(self.client.close)

    def ask(self, **params):
        return self.client.chat.completions.create(model=MODEL, **{"messages": SUM, **params})

    def test_an_answer_and_its_usage(self):
        answer = self.ask()
        self.assertIn("19", answer.choices[0].message.content)
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)
        self.assertTrue(answer._request_id.startswith("req_"))

    def test_a_stream_has_the_same_text_and_usage(self):
        whole = self.ask()
        with self.client.chat.completions.stream(
            model=MODEL, messages=SUM, stream_options={"include_usage": True}
        ) as stream:
            text = "".join(event.delta for event in stream if event.type == "content.delta")
            completion = stream.get_final_completion()
        self.assertEqual(text, whole.choices[0].message.content)
        # The second answer may come from the cache.
        self.assertEqual(completion.usage.total_tokens, whole.usage.total_tokens)

    def test_a_tool_is_called_and_its_result_is_used(self):
        messages = [{"role": "user", "content": "What is 321 * 123?"}]
        message = self.ask(messages=messages, tools=[CALCULATOR], tool_choice="required").choices[0].message
        [call] = message.tool_calls
        self.assertEqual(call.function.name, "calculator")
        self.assertIn("expression", json.loads(call.function.arguments))
        result = {"role": "tool", "tool_call_id": call.id, "content": "39483"}
        answer = self.ask(messages=[*messages, message, result], tools=[CALCULATOR]).choices[0].message
        self.assertIn("39483", answer.content)

    def test_a_streamed_tool_call(self):
        chunks = list(self.ask(tools=[CALCULATOR], tool_choice="required", stream=True))
        calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
        self.assertEqual(calls[0].function.name, "calculator")
        json.loads("".join(call.function.arguments for call in calls if call.index == 0))
        self.assertEqual(chunks[-1].choices[0].finish_reason, "tool_calls")

    def test_an_object_of_a_class(self):
        answer = self.client.chat.completions.parse(model=MODEL, messages=SUM, response_format=Sum)
        self.assertIsInstance(answer.choices[0].message.parsed, Sum)

    def test_several_answers_with_log_probabilities(self):
        answer = self.ask(n=2, temperature=1, seed=3, logprobs=True, top_logprobs=2, max_tokens=8)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1])
        self.assertEqual(len(answer.choices[0].logprobs.content[0].top_logprobs), 2)

    def test_texts_are_continued(self):
        answer = self.client.completions.create(model=MODEL, prompt="What is", max_tokens=5)
        self.assertLessEqual(answer.usage.completion_tokens, 5)

    def test_models(self):
        self.assertEqual([model.id for model in self.client.models.list()], [MODEL])
        self.assertEqual(self.client.models.retrieve(MODEL).id, MODEL)

    def test_errors_have_their_class_and_name_the_field(self):
        with self.assertRaises(openai.NotFoundError) as missing:
            self.client.chat.completions.create(model="other", messages=SUM)
        self.assertEqual(missing.exception.code, "model_not_found")
        with self.assertRaises(openai.BadRequestError) as wrong:
            self.ask(temperature=7)
        self.assertEqual(wrong.exception.param, "temperature")
        with self.assertRaises(openai.BadRequestError) as long:
            self.ask(messages=[{"role": "user", "content": "word " * 3000}])
        self.assertEqual(long.exception.code, "context_length_exceeded")
        with self.assertRaises(openai.NotFoundError):
            self.client.embeddings.create(model=MODEL, input="text")


class Responses(unittest.TestCase):
    def setUp(self):
        self.client = openai.OpenAI(max_retries=0)
        self.addCleanup(self.client.close)

    def test_an_answer_and_the_next_turn(self):
        first = self.client.responses.create(model=MODEL, input="What is 12 + 7?")
        self.assertIn("19", first.output_text)
        self.assertEqual(first.status, "completed")
        second = self.client.responses.create(model=MODEL, input="What is 3 + 4?", previous_response_id=first.id)
        self.assertGreater(second.usage.input_tokens, first.usage.input_tokens)
        self.assertEqual(self.client.responses.retrieve(first.id).output_text, first.output_text)
        self.client.responses.delete(first.id)
        with self.assertRaises(openai.NotFoundError):
            self.client.responses.retrieve(first.id)

    def test_a_stream(self):
        with self.client.responses.stream(model=MODEL, input="What is 12 + 7?") as stream:
            text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
            self.assertEqual(stream.get_final_response().output_text, text)

    def test_an_object_of_a_class(self):
        answer = self.client.responses.parse(model=MODEL, input="What is 12 + 7?", text_format=Sum)
        self.assertIsInstance(answer.output_parsed, Sum)

    def test_a_tool_is_called(self):
        tool = {"type": "function", **CALCULATOR["function"], "strict": False}
        answer = self.client.responses.create(
            model=MODEL, input="What is 321 * 123?", tools=[tool], tool_choice="required"
        )
        self.assertEqual([item.name for item in answer.output if item.type == "function_call"], ["calculator"])


class Concurrent(unittest.IsolatedAsyncioTestCase):
    async def test_many_streams_at_the_same_time_and_one_that_is_left(self):
        async with openai.AsyncOpenAI(max_retries=0) as client:

            async def ask(n):
                messages = [{"role": "user", "content": f"What is {n} + 7?"}]
                stream = await client.chat.completions.create(model=MODEL, messages=messages, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

            async def leave():
                stream = await client.chat.completions.create(model=MODEL, messages=SUM, stream=True)
                async for _ in stream:
                    break
                await stream.close()

            texts, *_ = await asyncio.gather(asyncio.gather(*map(ask, range(2, 18))), leave())
        for n, text in enumerate(texts, 2):
            self.assertIn(str(n + 7), text)


if __name__ == "__main__":
    unittest.main()
