//! Sizes and times as people write them.

use std::time::Duration;

/// Parses a count of bytes: `4096`, `64K`, `1M`, `1MiB`. The letters stand for powers of 1024, unless `B` follows one
/// (`64kB`, `1MB`): then for powers of 1000, as in dd and other tools.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "ki" | "kib" => 1 << 10,
        "m" | "mi" | "mib" => 1 << 20,
        "g" | "gi" | "gib" => 1 << 30,
        "t" | "ti" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err("write a size such as 4096, 64K or 1M".into()),
    };
    let number: u64 = number.parse().map_err(|_| "write a size such as 4096, 64K or 1M")?;
    number.checked_mul(factor).ok_or_else(|| "the size is too large".into())
}

/// Parses a count of bytes that is not 0.
pub(crate) fn some_bytes(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        0 => Err("it must be more than nothing".into()),
        bytes => Ok(bytes),
    }
}

/// Parses bytes per second, fast enough to keep a transfer alive.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        rate if rate >= SLOWEST => Ok(rate),
        _ => Err("it must be at least 1K: below, a peer would take the silence for an end".into()),
    }
}

/// Lowest limit, which leaves each of four sessions the least that the library takes. A server has no more sessions
/// than the limit leaves that to.
const SLOWEST: u64 = 4 * haul::RateLimit::MIN;

/// Parses a time: `90`, `90s`, `1500ms`, `10m`, `2h`, `1d`. Without a unit it is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| "write a time such as 90s, 10m or 2h")?;
    let factor = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err("write a time such as 90s, 10m or 2h".into()),
    };
    let seconds = number.checked_mul(factor).ok_or("the time is too long")?;
    Ok(Duration::from_secs(seconds))
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_with_and_without_unit_are_understood() {
        for (text, expected) in
            [("0", 0), ("4096", 4096), ("64K", 65536), ("1MiB", 1 << 20), ("2 g", 2 << 30)]
                .into_iter()
                .chain([("3Ki", 3072), ("1T", 1 << 40), ("64kB", 64_000), ("2GB", 2_000_000_000)])
        {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn bytes_that_make_no_sense_are_refused() {
        for text in
            ["", "K", "-1", "+1", "1.5M", "1P", "1KB!", "99999999999999999999", "20000000000G"]
        {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn duration_with_and_without_unit_is_understood() {
        for (text, millis) in
            [("0", 0), ("90", 90_000), ("1500ms", 1500), ("10m", 600_000), ("2h", 7_200_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn duration_that_makes_no_sense_is_refused() {
        for text in
            ["", "s", "-1s", "1.5s", "1y", "999999999999999999999s", "18446744073709551615d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
