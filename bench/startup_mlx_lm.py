"""One start of mlx-lm as in a program: import, load, ask, first token. Counterpart of startup_engine.cjs.

Run by startup.mjs with the model folder and the question as its arguments.
"""

import json
import sys
import time

begin = time.perf_counter()


def since():
    return 1000 * (time.perf_counter() - begin)


from mlx_lm import load, stream_generate  # noqa: E402: what takes time is counted

at = {"required": since()}
model, tokenizer = load(sys.argv[1])
at["loaded"] = since()
prompt = tokenizer.apply_chat_template([{"role": "user", "content": sys.argv[2]}], add_generation_prompt=True)
next(iter(stream_generate(model, tokenizer, prompt, max_tokens=8)))
at["firstToken"] = since()
print(json.dumps(at))
