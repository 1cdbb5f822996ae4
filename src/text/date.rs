//! The current date for chat templates. UTC, so that a prompt does not depend on the time zone of the server.

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

/// Returns the seconds since 1970.
pub(super) type Clock = fn() -> u64;

/// The system clock.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Formats seconds since 1970 like C's `strftime`. Unknown directives stay as they are.
pub(super) fn at(seconds: u64, format: &str) -> String {
    let moment = Moment::new(seconds);
    let mut out = String::new();
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        out.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        // As in glibc, `-` removes padding from a number.
        let is_unpadded = rest.starts_with('-');
        let mut chars = rest[usize::from(is_unpadded)..].chars();
        match chars.next().and_then(|directive| moment.text_of(directive)) {
            Some(text) if is_unpadded => out.push_str(unpadded(&text)),
            Some(text) => out.push_str(&text),
            None => {
                out.push('%');
                continue;
            }
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

/// A number without its padding. Other texts stay as they are.
fn unpadded(text: &str) -> &str {
    let number = text.trim_start_matches(' ');
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return text;
    }
    let significant = number.trim_start_matches('0');
    if significant.is_empty() { "0" } else { significant }
}

/// A calendar time.
struct Moment {
    year: u64,
    /// Month and days are counted from 0.
    month: usize,
    day: u64,
    day_of_year: u64,
    /// Days since 1 January 1970, a Thursday.
    days: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Moment {
    fn new(seconds: u64) -> Self {
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, day_of_year) = year_of(days);
        let (month, day) = month_of(year, day_of_year);
        Self { year, month, day, day_of_year, days, hour: second / 3600, minute: second / 60 % 60, second: second % 60 }
    }

    /// What a directive stands for. `None` if it is unknown.
    fn text_of(&self, directive: char) -> Option<String> {
        let Self { year, month, day, hour, minute, second, .. } = self;
        let two = |number: u64| format!("{number:02}");
        let weekday = DAYS[usize::try_from(self.days % 7).unwrap_or(0)];
        Some(match directive {
            'Y' => year.to_string(),
            'C' => two(year / 100),
            'y' => two(year % 100),
            'm' => two(*month as u64 + 1),
            'B' => MONTHS[*month].to_owned(),
            'b' | 'h' => MONTHS[*month][..3].to_owned(),
            'd' => two(day + 1),
            'e' => format!("{:2}", day + 1),
            'j' => format!("{:03}", self.day_of_year + 1),
            'A' => weekday.to_owned(),
            'a' => weekday[..3].to_owned(),
            'w' => ((self.days + 4) % 7).to_string(),
            'u' => ((self.days + 3) % 7 + 1).to_string(),
            'H' => two(*hour),
            'I' => two((hour + 11) % 12 + 1),
            'p' => if *hour < 12 { "AM" } else { "PM" }.to_owned(),
            'M' => two(*minute),
            'S' => two(*second),
            'f' => "000000".to_owned(),
            'F' => format!("{year}-{:02}-{:02}", month + 1, day + 1),
            'D' | 'x' => format!("{:02}/{:02}/{:02}", month + 1, day + 1, year % 100),
            'T' | 'X' => format!("{hour:02}:{minute:02}:{second:02}"),
            'R' => format!("{hour:02}:{minute:02}"),
            'c' => {
                let month = &MONTHS[*month][..3];
                format!("{} {month} {:2} {hour:02}:{minute:02}:{second:02} {year}", &weekday[..3], day + 1)
            }
            // Empty, as in Python for a time without a zone.
            'Z' | 'z' => String::new(),
            'n' => "\n".to_owned(),
            't' => "\t".to_owned(),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// The year of a day since 1970, and the day in this year.
fn year_of(mut days: u64) -> (u64, u64) {
    // 400 years always have the same number of days. So the loop below is short, even if the clock is wrong.
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
