// A simulated device with scripted answers and a chat template of the test's choice.

import type { ScriptedAnswers } from 'mlx-serving'
import { INSTANT, type Ready, withTemplate } from './support.js'

/** A template with tools, tool calls in the Hermes format, and reasoning. */
export const HERMES =
  '{# <tool_call> <think> #}{{ tools | tojson if tools }}{% for message in messages %}<|{{ message.role }}|>' +
  '{{ message.content }}{{ message.tool_calls | tojson if message.tool_calls }}<|end|>{% endfor %}<|assistant|>'

/** An engine with these answers and a model with this template. Closed at the end of the test. */
export const chattingAs = (template: string, answers: ScriptedAnswers): Promise<Ready> =>
  withTemplate(template, { backend: { simulated: INSTANT, answers } })
