//! Measures a look-up in the answer cache: the key of a request with a prompt of 2,000 tokens, and a look-up among 10,000
//! answers with a hit rate of one half. The last line is one JSON object. Run by `npm run bench:answers`.

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use mlx_serving::answers::{AnswerCache, AnswerLog, Claim, Fingerprint, Finished, Settings, Stamps, Terms};
use mlx_serving::request::{FinishReason, Request, RequestId};

const PROMPT_TOKENS: usize = 2_000;
const NUM_ANSWERS: u32 = 10_000;
const NUM_LOOKS: u32 = 100_000;

fn request(number: u32) -> Request {
    let mut prompt = vec![7; PROMPT_TOKENS];
    prompt[PROMPT_TOKENS - 1] = number;
    let mut request = Request::of(prompt, 64);
    request.stop.end_tokens = [0].into();
    request
}

fn main() {
    let (model, terms) = (Fingerprint::new(b"files", "device"), Terms::default());
    let answers = AnswerCache::new(Settings::default());
    let claim = |request: &Request| Claim::new(model, request, &terms).expect("greedy requests may share");
    for number in 0..NUM_ANSWERS {
        let log = AnswerLog::new(RequestId("first".into()));
        log.append(1, "answer", &[]);
        let finish_reason = FinishReason::Stop;
        let stamps = Stamps::default();
        let finished = Finished { finish_reason, num_input_tokens: 1, num_cached_tokens: 0, seed: 0, stamps };
        log.close("", Ok(finished));
        answers.insert(&claim(&request(number)), answers.epoch(), Arc::new(log), Instant::now());
    }
    let requests: Vec<_> = (0..2 * NUM_ANSWERS).step_by(101).map(request).collect();
    let mut micros: Vec<_> = (0..NUM_LOOKS as usize)
        .map(|look| {
            let request = &requests[look % requests.len()];
            let begin = Instant::now();
            black_box(answers.find(&claim(black_box(request)), Instant::now()));
            begin.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    micros.sort_unstable_by(f64::total_cmp);
    let at = |hundredths: usize| micros[micros.len() * hundredths / 100];
    let [low, median, high] = [25, 50, 75].map(at);
    println!(
        "{{\"promptTokens\":{PROMPT_TOKENS},\"lookMicros\":[{low:.2},{median:.2},{high:.2}],\"p99\":{:.2}}}",
        at(99)
    );
}
