//! Today's date for chat templates that tell the model what day it is. UTC, so that a prompt does not depend on where
//! the server stands.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// The present moment in a format of C's `strftime`.
pub(super) fn now(format: &str) -> String {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    at(elapsed.as_secs(), format)
}

/// A moment, in seconds since 1970, in a format of C's `strftime`; a directive that it does not know stays as it is.
pub(super) fn at(seconds: u64, format: &str) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, day_of_year) = year_of(days);
    let (month, day) = month_of(year, day_of_year);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let weekday = DAYS[usize::try_from(days % 7).unwrap_or(0)];
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let directive = chars.next();
        let written = match directive {
            Some('Y') => write!(out, "{year}"),
            Some('y') => write!(out, "{:02}", year % 100),
            Some('m') => write!(out, "{:02}", month + 1),
            Some('B') => write!(out, "{}", MONTHS[month]),
            Some('b' | 'h') => write!(out, "{}", &MONTHS[month][..3]),
            Some('d') => write!(out, "{:02}", day + 1),
            Some('e') => write!(out, "{:2}", day + 1),
            Some('j') => write!(out, "{:03}", day_of_year + 1),
            Some('A') => write!(out, "{weekday}"),
            Some('a') => write!(out, "{}", &weekday[..3]),
            Some('H') => write!(out, "{hour:02}"),
            Some('I') => write!(out, "{:02}", (hour + 11) % 12 + 1),
            Some('p') => write!(out, "{}", if hour < 12 { "AM" } else { "PM" }),
            Some('M') => write!(out, "{minute:02}"),
            Some('S') => write!(out, "{second:02}"),
            Some('F') => write!(out, "{year}-{:02}-{:02}", month + 1, day + 1),
            Some('T') => write!(out, "{hour:02}:{minute:02}:{second:02}"),
            Some(other) if other != '%' => write!(out, "%{other}"),
            _ => write!(out, "%"),
        };
        written.expect("a string takes any text");
    }
    out
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn year_of(mut days: u64) -> (u64, u64) {
    // 400 years always have the same number of days: a clock that is far off costs no long walk.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    loop {
        let len = if is_leap(year) { 366 } else { 365 };
        if days < len {
            return (year, days);
        }
        days -= len;
        year += 1;
    }
}

/// Month and day, both counted from 0.
fn month_of(year: u64, mut day: u64) -> (usize, u64) {
    for month in 0..11 {
        let len = match month {
            1 if is_leap(year) => 29,
            1 => 28,
            3 | 5 | 8 | 10 => 30,
            _ => 31,
        };
        if day < len {
            return (month, day);
        }
        day -= len;
    }
    (11, day)
}
