//! Option names of other libraries, with the equivalent here: `OpenAI`, the AI SDK, Ollama, vLLM, node-llama-cpp and
//! Transformers. The error about an unknown option names the right one.

/// The objects whose names other libraries also have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The first argument of `generate`.
    Params,
    /// Its second argument.
    Options,
    /// A message of a chat.
    Message,
    /// The param `structured`.
    Structured,
    /// Any other object.
    Other,
}

const SAMPLING: [(&str, &str); 12] = [
    ("maxnewtokens maxoutputtokens maxcompletiontokens maxgentokens numpredict npredict maxlength", "use `maxTokens`"),
    ("stop stopstrings stopsequence stopwords customstoptriggers", "use `stopSequences`, a list of texts"),
    ("temp", "use `temperature`"),
    ("eostokenid stopids", "use `stopTokenIds`, a list of token ids"),
    ("includestopstrinoutput", "use `includeStop`"),
    ("repeatpenalty", "use `repetitionPenalty`"),
    ("repeatlastn lasttokens", "use `repetitionContextTokens`"),
    ("tokenbias", "use `logitBias`"),
    ("toplogprobs", "use `logprobs` with that number"),
    ("dosample", "say `temperature`: with 0 the most probable token is taken"),
    ("numreturnsequences bestof candidatecount", "use `n`"),
    ("numctx contextsize maxmodellen", "the context is as long as the model's (`handle.contextLength`)"),
];

const PROMPTS: [(&str, &str); 9] = [
    (
        "system systemprompt systemmessage instructions",
        "put it into `messages`, as the first one: { role: 'system', content }",
    ),
    ("input inputs text query content", "use `prompt`, or `messages`"),
    ("prompttokens promptids inputids tokens", "use `prompt: { tokens }`"),
    ("functions", "use `tools`"),
    ("functioncall", "use `toolChoice`"),
    ("chattemplatekwargs templatekwargs", "use `templateVariables`"),
    (
        "think thinking enablethinking reasoning reasoningeffort",
        "use `templateVariables`, with the name that the model's chat template has for it, such as `enable_thinking`",
    ),
    ("addgenerationprompt", "a turn of the model is begun, unless `continueFinalMessage` is true"),
    ("images image audio", "models here read text only"),
];

const WAYS: [(&str, &str); 5] = [
    ("stream streaming", "read the generation itself: for await (const chunk of engine.generate(params))"),
    ("streamoptions includeusage", "the usage is part of the result: await the generation"),
    (
        "ontoken ontextchunk onresponsechunk onchunk",
        "read the generation itself: for await (const chunk of generation)",
    ),
    (
        "responseformat format grammar schema jsonschema guidedjson guidedregex guidedgrammar guidedchoice output json \
         regex choices structuredoutputs guidance",
        "use `structured`: { schema }, { regex }, { grammar } or { choices }",
    ),
    ("keepalive", "use `modelLifecycle.idleUnloadMs` of the engine, or `loadModel({ pin: true })`"),
];

/// Names of the second argument.
const OPTIONS: [(&str, &str); 5] = [
    ("abortsignal signal", "pass it in the second argument: generate(params, { signal })"),
    ("timeout timeoutms maxtime deadline", "pass it in the second argument: generate(params, { timeoutMs })"),
    ("user tenant", "pass it in the second argument: generate(params, { tenant })"),
    ("priority", "pass it in the second argument: generate(params, { priority })"),
    (
        "id requestid streamid onabort onprogress",
        "pass it in the second argument: generate(params, { id, onAbort, onProgress })",
    ),
];

const OPTIONS_BY_OTHER_NAMES: [(&str, &str); 4] = [
    ("abortsignal abort", "use `signal`"),
    ("timeout maxtime deadline", "use `timeoutMs`"),
    ("user", "use `tenant`"),
    ("requestid streamid", "use `id`"),
];

const MESSAGES: [(&str, &str); 4] = [
    ("reasoningcontent thinking", "use `reasoning`"),
    ("text parts", "use `content`"),
    ("functioncall", "use `toolCalls`"),
    ("images image audio", "models here read text only"),
];

const STRUCTURED: [(&str, &str); 1] = [(
    "type jsonschema name strict properties required additionalproperties defs items enum anyof",
    "pass the JSON schema itself: `structured: { schema }`",
)];

/// The advice about an unknown name; `known` lists the names of the object.
pub(super) fn advice(place: Place, key: &str, known: &[&str]) -> String {
    let plain = plain(key);
    if let Some(known) = known.iter().find(|known| self::plain(known) == plain) {
        return format!("did you mean `{known}`?");
    }
    if let Some(advice) = tables(place).iter().find_map(|table| look_up(table, &plain)) {
        return advice.to_owned();
    }
    if place == Place::Options && PARAMS.split(' ').any(|param| param == plain) {
        return "pass it in the first argument".to_owned();
    }
    match nearest(known.iter().map(|known| (self::plain(known), known)), &plain) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("known are {}", known.join(", ")),
    }
}

/// What belongs to the name that is nearest to `name`, if at most a third of the letters are wrong.
pub(super) fn nearest<T>(names: impl Iterator<Item = (String, T)>, name: &str) -> Option<T> {
    let all = names.map(|(known, of)| (distance(&known, name), of));
    let (distance, of) = all.min_by_key(|(distance, _)| *distance)?;
    (distance <= name.chars().count() / 3).then_some(of)
}

const PARAMS: &str = "model prompt messages maxtokens mintokens temperature topp topk minp repetitionpenalty \
                      repetitioncontexttokens presencepenalty frequencypenalty logitbias seed stopsequences includestop \
                      stoptokenids ignoreeos structured tools toolchoice paralleltoolcalls cache cachesalt logprobs n \
                      templatevariables continuefinalmessage specialtokens";

fn tables(place: Place) -> &'static [&'static [(&'static str, &'static str)]] {
    match place {
        Place::Params => &[&SAMPLING, &PROMPTS, &WAYS, &OPTIONS],
        Place::Options => &[&OPTIONS_BY_OTHER_NAMES],
        Place::Message => &[&MESSAGES],
        Place::Structured => &[&STRUCTURED],
        Place::Other => &[],
    }
}

fn look_up(table: &[(&str, &'static str)], key: &str) -> Option<&'static str> {
    table.iter().find(|(names, _)| names.split_ascii_whitespace().any(|name| name == key)).map(|(_, advice)| *advice)
}

/// The name without case and separators: `top_p` and `topP` are the same.
pub(super) fn plain(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).take(MAX_KEY_CHARS).collect::<String>().to_ascii_lowercase()
}

/// Longer than every known name.
const MAX_KEY_CHARS: usize = 40;

/// The Levenshtein distance of two names.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 9] = [
        "prompt",
        "maxTokens",
        "temperature",
        "topP",
        "topK",
        "stopSequences",
        "toolChoice",
        "logitBias",
        "repetitionPenalty",
    ];

    fn of(key: &str) -> String {
        advice(Place::Params, key, &KNOWN)
    }

    #[test]
    fn the_advice_about_a_name_of_another_library_is_the_name_here() {
        let renamed = [
            ("stop", "`stopSequences`"),
            ("max_tokens", "`maxTokens`"),
            ("max_new_tokens", "`maxTokens`"),
            ("maxOutputTokens", "`maxTokens`"),
            ("max_completion_tokens", "`maxTokens`"),
            ("num_predict", "`maxTokens`"),
            ("top_p", "`topP`"),
            ("top_k", "`topK`"),
            ("repeat_penalty", "`repetitionPenalty`"),
            ("repetition_penalty", "`repetitionPenalty`"),
            ("tool_choice", "`toolChoice`"),
            ("logit_bias", "`logitBias`"),
            ("system", "role: 'system'"),
            ("stream", "for await"),
            ("response_format", "`structured`"),
            ("abortSignal", "generate(params, { signal })"),
            ("signal", "generate(params, { signal })"),
            ("timeoutMs", "generate(params, { timeoutMs })"),
        ];
        for (name, answer) in renamed {
            assert!(of(name).contains(answer), "{name}: {}", of(name));
        }
        assert!(advice(Place::Options, "abortSignal", &["signal"]).contains("`signal`"));
        for name in ["maxTokens", "minTokens", "logitBias", "specialTokens"] {
            assert!(advice(Place::Options, name, &["signal"]).contains("first argument"), "{name}");
        }
        assert!(advice(Place::Message, "tool_call_id", &["toolCallId"]).contains("`toolCallId`"));
        for name in ["type", "json_schema", "properties"] {
            assert!(advice(Place::Structured, name, &["schema"]).contains("`structured: { schema }`"), "{name}");
        }
        for name in ["reasoning_content", "thinking"] {
            assert!(advice(Place::Message, name, &["reasoning"]).contains("use `reasoning`"), "{name}");
        }
    }

    #[test]
    fn the_advice_about_a_typo_is_the_nearest_name_and_otherwise_all_names() {
        assert_eq!(of("temprature"), "did you mean `temperature`?");
        assert_eq!(of("maxTokens "), "did you mean `maxTokens`?");
        assert_eq!(of("bogus"), "known are ".to_owned() + &KNOWN.join(", "));
        assert_eq!(of(&"x".repeat(100_000)), "known are ".to_owned() + &KNOWN.join(", "));
    }

    #[test]
    fn no_table_renames_a_name_that_is_known_here() {
        for known in KNOWN {
            let is_renamed = tables(Place::Params).iter().any(|table| look_up(table, &plain(known)).is_some());
            assert!(!is_renamed, "{known}");
        }
    }
}
