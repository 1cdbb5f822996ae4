//! How many events happened in the last seconds.

use std::time::Duration;

/// Seconds that are kept: at least the minute that is read, and the second that is not complete yet.
const NUM_SLOTS: usize = 64;

/// Counts of events for each second of the last minute. Times are durations since an origin that all rates of an engine share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The count of second `s` is at `s % NUM_SLOTS`.
    slots: [u32; NUM_SLOTS],
    /// The newest second that has a slot.
    newest: u64,
}

impl Default for Rate {
    fn default() -> Self {
        Self { slots: [0; NUM_SLOTS], newest: 0 }
    }
}

impl Rate {
    /// Counts events at a time that is not before the time of earlier events.
    pub fn add(&mut self, at: Duration, num_events: u32) {
        let second = at.as_secs();
        self.move_to(second);
        let slot = &mut self.slots[index(second)];
        *slot = slot.saturating_add(num_events);
    }

    /// Events in the last `seconds` complete seconds, at most a minute of them, before `now`.
    pub fn in_last(&self, seconds: u64, now: Duration) -> u64 {
        let end = now.as_secs();
        let kept = (self.newest + 1).saturating_sub(NUM_SLOTS as u64);
        let wanted = end.saturating_sub(seconds).max(kept)..end.min(self.newest + 1);
        wanted.map(|second| u64::from(self.slots[index(second)])).sum()
    }

    /// Adds the events of another rate with the same origin.
    pub fn merge(&mut self, other: &Self) {
        self.move_to(other.newest);
        let kept = (self.newest + 1).saturating_sub(NUM_SLOTS as u64);
        for second in kept..=other.newest {
            let slot = &mut self.slots[index(second)];
            *slot = slot.saturating_add(other.slots[index(second)]);
        }
    }

    /// Makes a second the newest one, unless a later one is. The seconds that lose their slots are forgotten.
    fn move_to(&mut self, second: u64) {
        let passed = second.saturating_sub(self.newest).min(NUM_SLOTS as u64);
        for offset in 0..passed {
            self.slots[index(second - offset)] = 0;
        }
        self.newest = self.newest.max(second);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a remainder of a small number")]
const fn index(second: u64) -> usize {
    (second % NUM_SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn only_complete_seconds_count() {
        let mut rate = Rate::default();
        rate.add(at(0), 3);
        rate.add(at(999), 4);
        assert_eq!(rate.in_last(5, at(999)), 0);
        rate.add(at(1_000), 5);
        assert_eq!(rate.in_last(5, at(1_500)), 7);
        assert_eq!(rate.in_last(5, at(2_000)), 12);
        assert_eq!(rate.in_last(1, at(2_000)), 5);
    }

    #[test]
    fn events_leave_each_window_when_it_has_passed() {
        let mut rate = Rate::default();
        rate.add(at(10_500), 6);
        for (window, last) in [(5, 15), (30, 40), (60, 70)] {
            assert_eq!(rate.in_last(window, at(last * 1_000 + 999)), 6, "{window}");
            assert_eq!(rate.in_last(window, at((last + 1) * 1_000)), 0, "{window}");
        }
    }

    #[test]
    fn a_slot_that_is_used_again_starts_at_zero() {
        let mut rate = Rate::default();
        (0..200).for_each(|second| rate.add(at(second * 1_000), 1));
        assert_eq!(rate.in_last(60, at(200_000)), 60);
        rate.add(at(10_000_000), 1);
        assert_eq!(rate.in_last(60, at(10_001_000)), 1);
        assert_eq!(rate.in_last(60, at(20_000_000)), 0);
    }

    #[test]
    fn merged_rates_add_up_whichever_is_newer() {
        let (mut early, mut late) = (Rate::default(), Rate::default());
        early.add(at(1_000), 1);
        early.add(at(2_000), 2);
        late.add(at(2_000), 10);
        late.add(at(50_000), 20);
        for (mut one, other) in [(early, late), (late, early)] {
            one.merge(&other);
            assert_eq!([5, 60].map(|window| one.in_last(window, at(51_000))), [20, 33]);
            assert_eq!(one.in_last(60, at(62_000)), 32);
        }
        let mut much_later = Rate::default();
        much_later.add(at(500_000), 7);
        much_later.merge(&early);
        assert_eq!(much_later.in_last(60, at(501_000)), 7, "older events are not counted");
    }
}
