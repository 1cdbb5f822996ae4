//! Which worker gets a request, and what the router keeps of the request.

use std::sync::Arc;
use std::time::Instant;

use crate::answers::{AnswerLog, Claim, Fingerprint, ReaderId, Terms};
use crate::config::{Routing, Workers};
use crate::engine::asked::Asked;
use crate::engine::command::{Command, Submission};
use crate::engine::ids::ModelKey;
use crate::engine::ids::WorkerId;
use crate::engine::labels::Labels;
use crate::engine::pending::Caller;
use crate::engine::permit::Permits;
use crate::engine::router::Router;
use crate::engine::slots::SharedSlots;
use crate::request::{Request, RequestId, SequenceId, Sharing, TokenId};

const WORKERS: Workers = Workers { count: 4, routing: Routing::LeastBusy, sticky: true, replace_stuck: true };

/// A router with its permits. It sends requests to no thread.
struct Sending {
    router: Router,
    permits: Arc<Permits>,
    num_sent: u32,
}

impl Sending {
    fn new(config: Workers) -> Self {
        let slots = Arc::new(SharedSlots::new(1_000, None));
        Self { router: Router::new(config), permits: Permits::new(1_000, 1_000_000, slots), num_sent: 0 }
    }

    /// Sends a prompt; returns its reader and its worker. Only a request with a claim may share an answer.
    fn send(&mut self, prompt: &[TokenId], has_claim: bool) -> (ReaderId, usize) {
        let number = self.num_sent;
        self.num_sent += 1;
        let (reader, request) = (ReaderId(number), Request::of(prompt, 4));
        let terms = Terms { sharing: Sharing::Auto, salt: None, is_seeded: false, choice: 0 };
        let claim = Claim::new(Fingerprint::new(&[0; 32], "a device"), &request, &terms).filter(|_| has_claim);
        let asked = Asked { reader, label: Labels::default().of("model"), at: Instant::now() };
        let log = Arc::new(AnswerLog::new(RequestId(number.to_string().into())));
        let (model, sequence) = (ModelKey(0), SequenceId(u64::from(number)));
        let submission = Submission { model, sequence, asked, request, claim, writer: None, log };
        let permit = self.permits.try_take(1, Caller::default(), Instant::now()).expect("a permit").remove(0);
        let mut chosen = None;
        let send = |worker: WorkerId, _: Command| {
            chosen = Some(worker.0);
            Ok(())
        };
        assert!(self.router.send(submission, permit, send).is_ok());
        (reader, chosen.expect("it was sent"))
    }

    /// For each worker, its pending requests and all requests that it got.
    fn loads(&self) -> (Vec<usize>, Vec<u64>) {
        self.router.loads().iter().map(|load| (load.num_pending, load.num_requests)).unzip()
    }
}

/// A prompt of `common` tokens that all prompts have, and one token that only this prompt has.
fn prompt(common: usize, own: u32) -> Vec<TokenId> {
    let mut tokens = vec![7; common];
    tokens.push(1_000 + own);
    tokens
}

#[test]
fn the_least_busy_worker_gets_a_request_and_among_equals_the_one_that_got_the_fewest() {
    let mut sending = Sending::new(WORKERS);
    let sent: Vec<_> = (0..8).map(|own| sending.send(&prompt(0, own), false)).collect();
    assert_eq!(sent.iter().map(|(_, worker)| *worker).collect::<Vec<_>>(), [0, 1, 2, 3, 0, 1, 2, 3]);
    sending.router.ended([sent[2].0, sent[6].0, sent[1].0]);
    assert_eq!(sending.loads().0, [2, 1, 0, 2]);
    let next: Vec<_> = (8..11).map(|own| sending.send(&prompt(0, own), false).1).collect();
    assert_eq!(next, [2, 1, 2]);
    assert_eq!(sending.loads().1, [2, 3, 4, 2]);
}

#[test]
fn with_round_robin_each_worker_gets_the_same_number_of_requests_however_busy_it_is() {
    let mut sending = Sending::new(Workers { routing: Routing::RoundRobin, ..WORKERS });
    let workers: Vec<_> = (0..12)
        .map(|own| {
            let (reader, worker) = sending.send(&prompt(0, own), false);
            if worker != 0 {
                sending.router.ended([reader]);
            }
            worker
        })
        .collect();
    assert_eq!(workers, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
}

#[test]
fn identical_requests_go_to_the_worker_that_computes_their_answer() {
    let mut sending = Sending::new(WORKERS);
    let (first, worker) = sending.send(&prompt(0, 1), true);
    let (second, same) = sending.send(&prompt(0, 1), true);
    assert_eq!(same, worker);
    assert_ne!(sending.send(&prompt(0, 1), false).1, worker, "this request shares no answer");
    sending.router.ended([first]);
    assert_eq!(sending.send(&prompt(0, 1), true).1, worker, "the second request is still pending");
    sending.router.ended([second, ReaderId(3)]);
    assert_eq!(sending.loads().0.iter().sum::<usize>(), 1);
}

#[test]
fn a_prompt_that_continues_another_goes_to_its_worker_unless_that_is_busier() {
    let mut sending = Sending::new(WORKERS);
    let (first, home) = sending.send(&prompt(100, 1), false);
    sending.router.ended([first]);
    // A beginning of one token is not remembered, so this request goes to the next worker.
    assert_ne!(sending.send(&prompt(1, 2), false).1, home);
    assert_eq!(sending.send(&prompt(100, 3), false).1, home);
    assert_eq!(sending.send(&prompt(100, 4), false).1, home, "its worker has one request more than the least busy one");
    assert_ne!(sending.send(&prompt(100, 5), false).1, home, "its worker has two requests more");
    let mut free = Sending::new(Workers { sticky: false, ..WORKERS });
    let workers: Vec<_> = (0..4).map(|own| free.send(&prompt(100, own), false).1).collect();
    assert_eq!(workers, [0, 1, 2, 3]);
}

#[test]
fn a_request_goes_to_the_worker_that_has_read_the_longest_beginning_of_its_prompt() {
    let mut sending = Sending::new(WORKERS);
    let short = sending.send(&[vec![1; 64], vec![2; 8]].concat(), false);
    let long = sending.send(&[vec![1; 64], vec![3; 200]].concat(), false);
    // If two workers got these prompts, the worker of the long prompt was the last one to read the first 64 tokens.
    sending.router.ended([short.0, long.0]);
    assert_eq!(sending.send(&[vec![1; 64], vec![3; 200], vec![4; 9]].concat(), false).1, long.1);
}

#[test]
fn under_an_even_load_of_chats_no_worker_gets_a_tenth_more_than_another() {
    let mut sending = Sending::new(WORKERS);
    let mut running = std::collections::VecDeque::new();
    for number in 0..2_000_u32 {
        // Forty chats with the same system prompt and different histories.
        let prompt = [vec![7; 200], vec![100 + number % 40; 64 + number as usize / 10]].concat();
        running.push_back(sending.send(&prompt, false).0);
        if running.len() > 32 {
            sending.router.ended(running.pop_front());
        }
    }
    let requests = sending.loads().1;
    let (least, most) = (requests.iter().min().expect("four"), requests.iter().max().expect("four"));
    assert!(most * 10 <= least * 11, "{requests:?}");
}

#[test]
fn the_requests_of_a_lost_worker_are_taken_except_those_that_wait_in_its_mailbox() {
    let mut sending = Sending::new(Workers { count: 2, ..WORKERS });
    let sent: Vec<_> = (0..6).map(|own| sending.send(&prompt(0, own), true)).collect();
    let of_first: Vec<_> = sent.iter().filter(|(_, worker)| *worker == 0).map(|(reader, _)| *reader).collect();
    let lost = sending.router.take_lost(WorkerId(0), || vec![of_first[2]]);
    let readers: Vec<_> = lost.iter().map(|lost| lost.submission.asked.reader).collect();
    assert_eq!(readers, of_first[..2]);
    assert!(lost.iter().all(|lost| lost.permit.is_some() && !lost.was_lost));
    assert_eq!((sending.loads().0, sending.permits.num_taken()), (vec![1, 3], 6), "the permits move with the requests");
    for lost in lost {
        sending.router.keep_again(lost);
    }
    let again = sending.router.take_lost(WorkerId(0), Vec::new);
    assert_eq!(again.iter().map(|lost| lost.was_lost).collect::<Vec<_>>(), [true, true, false]);
    drop(again);
    sending.router.ended(sent.iter().map(|(reader, _)| *reader));
    assert_eq!((sending.loads().0, sending.permits.num_taken()), (vec![0, 0], 0));
    assert!(sending.router.is_idle());
}

#[test]
fn a_worker_that_was_given_up_gets_no_requests() {
    for routing in [Routing::LeastBusy, Routing::RoundRobin] {
        let mut sending = Sending::new(Workers { routing, ..WORKERS });
        let (first, home) = sending.send(&prompt(100, 1), false);
        sending.router.ended([first]);
        sending.router.close(WorkerId(home));
        let workers: Vec<_> = (2..14).map(|own| sending.send(&prompt(100, own), false).1).collect();
        assert!(!workers.contains(&home), "{routing:?}: {workers:?}");
    }
}

#[test]
fn a_request_that_joined_another_has_no_permit() {
    let mut sending = Sending::new(WORKERS);
    let (first, worker) = sending.send(&prompt(0, 1), true);
    let (second, _) = sending.send(&prompt(0, 1), true);
    sending.router.joined(second);
    assert_eq!(sending.permits.num_taken(), 1);
    let lost = sending.router.take_lost(WorkerId(worker), Vec::new);
    assert_eq!(lost.iter().map(|lost| lost.permit.is_some()).collect::<Vec<_>>(), [true, false]);
    drop((first, lost));
    assert_eq!(sending.permits.num_taken(), 0);
}

#[test]
fn a_request_does_not_follow_an_identical_one_to_a_worker_that_was_given_up() {
    let mut sending = Sending::new(WORKERS);
    let (_, worker) = sending.send(&prompt(0, 1), true);
    sending.router.close(WorkerId(worker));
    assert_ne!(sending.send(&prompt(0, 1), true).1, worker);
}
