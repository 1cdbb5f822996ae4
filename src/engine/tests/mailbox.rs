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
    let (sender, _inbox) = mailbox();
    let queued = std::sync::Arc::new(());
    sender.send(std::sync::Arc::clone(&queued)).expect("open");
    sender.close();
    assert_eq!(std::sync::Arc::strong_count(&queued), 1);
    assert!(sender.send(queued).is_err());
}

#[test]
fn another_receiver_takes_over_and_the_end_of_the_first_one_closes_nothing() {
    let (sender, first) = mailbox();
    (0..4).for_each(|item| sender.send(item).expect("open"));
    let mut taken = VecDeque::new();
    first.take_all(&mut taken);
    sender.send(4).expect("open");
    taken.pop_front();
    first.hand_over(taken);
    sender.put_first([10, 11].into_iter());
    let second = sender.replace_inbox();
    let mut rest = VecDeque::new();
    second.take_all(&mut rest);
    assert_eq!(rest, [10, 11, 1, 2, 3, 4]);
    let third = sender.replace_inbox();
    drop(second);
    sender.send(5).expect("the replaced one closed nothing");
    assert_eq!(sender.queued(|item| Some(*item)), [5]);
    drop(third);
    assert_eq!(sender.send(6), Err(6));
}
