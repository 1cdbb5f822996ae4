use mlx_serving::engine::{Config, Draft, Prompt};
use mlx_serving::request::FinishReason;

use super::support::{Caller, SLOW, draft, with_rows};

#[test]
fn a_stream_and_an_awaited_answer_are_equal() {
    let caller = Caller::new();
    let awaited = caller.ask(draft("Hello", 40));
    let streamed = caller.answer(caller.stream(draft("Hello", 40)));
    assert!(!awaited.whole.is_empty());
    assert_eq!((awaited.text.as_str(), awaited.num_chunks), ("", 0), "an awaited request gets no chunks");
    assert_eq!((&streamed.text, &streamed.whole), (&awaited.whole, &awaited.whole));
    let usage = streamed.end.expect("ended").expect("well").usage;
    assert_eq!(usage.output_tokens, streamed.tokens.len());
}

#[test]
fn an_answer_does_not_depend_on_concurrent_requests() {
    let mut config = with_rows(7);
    config.scheduler.prefill_chunk = 5;
    let caller = Caller::with(&config, "instant", Vec::new());
    let drafts: Vec<_> = (0..60).map(|id| draft(&format!("question {id}"), 1 + id % 50)).collect();
    let alone: Vec<_> = drafts.iter().map(|draft| caller.ask(draft.clone()).whole).collect();
    let readers: Vec<_> = drafts.into_iter().map(|draft| caller.submit(draft)).collect();
    let together: Vec<_> = readers.into_iter().map(|reader| caller.answer(reader).whole).collect();
    assert_eq!(alone, together);
}

#[test]
fn a_reader_that_starts_late_gets_the_whole_stream() {
    let caller = Caller::with(&Config::default(), SLOW, Vec::new());
    let reader = caller.submit(draft("Hello", 30));
    // Nothing is delivered meanwhile: an answer that has ended by then is streamed as well.
    caller.when(|_| caller.engine.usage(reader).is_some_and(|usage| usage.output_tokens >= 10));
    caller.engine.stream(reader);
    let late = caller.answer(reader);
    assert_eq!(late.text, late.whole);
}

#[test]
fn max_tokens_is_only_an_upper_limit() {
    let caller = Caller::new();
    let cut = caller.answer(caller.stream(draft("Hello", 3)));
    assert_eq!(cut.tokens.len(), 3);
    assert_eq!(cut.end.expect("ended").expect("well").finish_reason, FinishReason::Length);
    let whole = caller.ask(draft("Hello", 4_000));
    assert_eq!(whole.end.expect("ended").expect("well").finish_reason, FinishReason::Stop);
}

#[test]
fn a_stop_sequence_ends_the_answer_before_itself() {
    let caller = Caller::new();
    let whole = caller.ask(draft("Hello", 60)).whole;
    let stop: String = whole.chars().skip(9).take(3).collect();
    let stopped = caller.answer(caller.stream(Draft { stop_sequences: vec![stop.clone()], ..draft("Hello", 60) }));
    let before = whole.split_once(&stop).expect("it occurs").0;
    assert_eq!((stopped.text.as_str(), stopped.whole.as_str()), (before, before));
    assert_eq!(stopped.end.expect("ended").expect("well").finish_reason, FinishReason::Stop);
}

#[test]
fn a_prompt_of_tokens_is_used_unchanged() {
    let caller = Caller::new();
    let answer = caller.ask(Draft { prompt: Prompt::Tokens(vec![5, 6, 7]), ..draft("", 4) });
    assert_eq!(answer.end.expect("ended").expect("well").usage.input_tokens, 3);
}

#[test]
fn a_reader_that_does_not_consume_is_parked_until_it_has_credit() {
    let caller = Caller::with(&Config { buffer_tokens: 8, ..Config::default() }, SLOW, Vec::new());
    let whole = caller.ask(draft("Hello", 60));
    let reader = caller.stream_from_start(draft("Hello", 60));
    caller.tokens(reader, 8);
    caller.when(|stats| stats.parked == 1);
    caller.drain();
    assert_eq!(caller.so_far(reader).tokens.len(), 8, "the window limits how far the row runs ahead");
    assert_eq!(caller.ask(draft("Other", 20)).end.expect("ended").expect("well").usage.output_tokens, 20);
    caller.drain();
    assert_eq!(caller.so_far(reader).tokens.len(), 8, "also after steps that were in flight");
    let mut consumed = 0;
    let resumed = loop {
        let given = caller.so_far(reader);
        if given.end.is_some() {
            break given;
        }
        caller.engine.credit(reader, given.tokens.len() - consumed);
        consumed = given.tokens.len();
        caller.until(|answers| {
            answers.get(&reader).filter(|answer| answer.tokens.len() > consumed || answer.end.is_some()).map(drop)
        });
    };
    assert_eq!(resumed.text, whole.whole);
}
