//! Sizes, rates and times, as people read them.

use std::time::Duration;

/// Formats a count of bytes in three digits or so: `200 B`, `1.4 MiB`, `176 MiB`. It is rounded down.
pub(crate) fn size(bytes: u64) -> String {
    let Some(unit) = (1..=UNITS.len()).rev().find(|unit| bytes >> (10 * unit) > 0) else {
        return format!("{bytes} B");
    };
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    let name = UNITS[unit - 1];
    if tenths < 100 {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    } else {
        format!("{} {name}", tenths / 10)
    }
}

/// Formats a rate.
pub(crate) fn rate(bytes: u64) -> String {
    format!("{}/s", size(bytes))
}

/// Formats a count of something: `1 file`, `2 files`.
pub(crate) fn count(count: u64, of: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {of}{plural}")
}

/// Formats how long something took: `0.8 s`, `42 s`, `3 min 5 s`, `2 h 10 min`.
pub(crate) fn took(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Formats how long something is to take, as a clock has it: `0:12`, `1:02:03`.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, rest) = (seconds / 60, seconds % 60);
    match minutes / 60 {
        0 => format!("{minutes}:{rest:02}"),
        hours if hours < 100 => format!("{hours}:{:02}:{rest:02}", minutes % 60),
        hours => format!("{} days", hours / 24),
    }
}

/// Returns how many bytes passed in a second, of so many in this time.
pub(crate) fn average(bytes: u64, time: Duration) -> u64 {
    let millis = time.as_millis().max(1);
    u64::try_from(u128::from(bytes) * 1000 / millis).unwrap_or(u64::MAX)
}

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_has_few_digits_and_is_never_more_than_there_is() {
        for (bytes, shown) in [
            (0, "0 B"),
            (200, "200 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1535, "1.4 KiB"),
            (10 << 10, "10 KiB"),
            ((1 << 20) - 1, "1023 KiB"),
            (300 << 20, "300 MiB"),
            (3 << 39, "1.5 TiB"),
            (u64::MAX, "15 EiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
        assert_eq!(rate(229 << 20), "229 MiB/s");
    }

    #[test]
    fn times_are_short() {
        for (millis, shown, ahead) in [
            (800, "0.8 s", "0:00"),
            (42_900, "42 s", "0:42"),
            (185_000, "3 min 5 s", "3:05"),
            (7_800_000, "2 h 10 min", "2:10:00"),
            (864_000_000, "240 h 0 min", "10 days"),
        ] {
            let time = Duration::from_millis(millis);
            assert_eq!((took(time).as_str(), clock(time).as_str()), (shown, ahead));
        }
    }

    #[test]
    fn average_of_no_time_is_no_panic() {
        assert_eq!(average(1, Duration::ZERO), 1000);
        assert_eq!(average(u64::MAX, Duration::ZERO), u64::MAX);
        assert_eq!(average(3000, Duration::from_secs(3)), 1000);
    }
}
