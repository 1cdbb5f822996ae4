//! The queue of commands to the engine thread.

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::mailbox::{Empty, mailbox};

#[test]
fn items_arrive_in_order_and_sending_never_blocks() {
    let (sender, inbox) = mailbox();
    (0..100_000).for_each(|item| assert_eq!(sender.send(item), Ok(())));
    let mut items = VecDeque::new();
    inbox.take_all(&mut items);
    assert!(items.iter().copied().eq(0..100_000));
    sender.send(7).expect("open");
    assert_eq!(inbox.take(None), Ok(7));
}

#[test]
fn taking_waits_for_an_item_until_the_given_time() {
    let (sender, inbox) = mailbox();
    assert_eq!(inbox.take(Some(Instant::now())), Err(Empty::TimedOut));
    let sending = thread::spawn(move || {
        sender.send(1).expect("open");
        sender
    });
    assert_eq!(inbox.take(Some(Instant::now() + Duration::from_mins(1))), Ok(1));
    drop(sending.join().expect("no panic"));
    assert_eq!(inbox.take(None), Err(Empty::Abandoned));
}

#[test]
fn a_closed_inbox_returns_new_items_and_drops_queued_ones() {
    let (sender, inbox) = mailbox();
    let lying = std::sync::Arc::new(());
    sender.send(std::sync::Arc::clone(&lying)).expect("open");
    inbox.close();
    assert_eq!(std::sync::Arc::strong_count(&lying), 1);
    assert!(sender.send(lying).is_err());
}
