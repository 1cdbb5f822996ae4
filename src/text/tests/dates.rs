//! Dates, compared with a calendar.

use crate::text::date::{at, now};

#[test]
fn times_are_formatted_as_by_strftime() {
    assert_eq!(at(0, "%Y-%m-%d %H:%M:%S %A %j"), "1970-01-01 00:00:00 Thursday 001");
    assert_eq!(at(951_782_400, "%d %b %Y, %a"), "29 Feb 2000, Tue");
    assert_eq!(at(1_735_689_599, "%e %B %y %I:%M %p %j %F %T"), "31 December 24 11:59 PM 366 2024-12-31 23:59:59");
    assert_eq!(at(1_709_251_200, "%d %m %Y %I %p"), "01 03 2024 12 AM");
    assert_eq!(at(43_200, "%I %p"), "12 PM");
    assert_eq!(at(4_107_542_400, "%d %m %Y"), "01 03 2100");
}

#[test]
fn unknown_directives_stay_and_every_time_can_be_formatted() {
    assert_eq!(at(0, "100%% %Q %"), "100% %Q %");
    assert!(at(u64::MAX, "%Y").parse::<u64>().is_ok_and(|year| year > 500_000_000_000));
    assert_eq!(at(now(), "%Y").len(), 4);
}
