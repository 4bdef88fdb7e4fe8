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
        _ => return Err("write a size such as 4096, 64K or 1.5G".into()),
    };
    times(number, factor, "write a size such as 4096, 64K or 1.5G")?
        .ok_or_else(|| "the size is too large".into())
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

/// Parses a time, which has a unit: `90s`, `1500ms`, `10m`, `2h`, `1d`. Seconds for whoever means days could cost data.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        "" if number.parse::<f64>().is_ok() => {
            return Err(format!("a time has a unit: {number}s, {number}m, {number}h or {number}d"));
        }
        _ => return Err("write a time such as 90s, 1.5m or 2h".into()),
    };
    let millis = times(number, factor, "write a time such as 90s, 1.5m or 2h")?;
    millis.map(Duration::from_millis).ok_or_else(|| "the time is too long".into())
}

/// Returns a number, which may have a fraction, times a factor, rounded down; `None` if that is too large.
fn times(number: &str, factor: u64, help: &str) -> Result<Option<u64>, String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |digits: &str| digits.chars().all(|char| char.is_ascii_digit());
    let parsed = |digits: &str| digits.parse::<u64>().map_err(|_| help.to_owned());
    // More digits than that say nothing.
    let digits = fraction.get(..fraction.len().min(9)).filter(|_| is_number(fraction));
    let digits = digits.ok_or_else(|| help.to_owned())?;
    let scale = 10_u128.pow(u32::try_from(digits.len()).unwrap_or(0));
    let part = u128::from(parsed(digits)?) * u128::from(factor) / scale;
    let whole = parsed(whole)?.checked_mul(factor);
    Ok(whole.and_then(|whole| whole.checked_add(u64::try_from(part).ok()?)))
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
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
                .chain([
                    ("3Ki", 3072),
                    ("1.5K", 1536),
                    ("0.5", 0),
                    ("1.25GB", 1_250_000_000),
                    ("1T", 1 << 40),
                    ("64kB", 64_000),
                    ("2GB", 2_000_000_000),
                ])
        {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn bytes_that_make_no_sense_are_refused() {
        for text in [
            "",
            "K",
            "-1",
            "+1",
            "1.5.1M",
            ".5M",
            "1.M",
            "1.xM",
            "1P",
            "1KB!",
            "99999999999999999999",
            "20000000000G",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn duration_of_each_unit_is_understood() {
        for (text, millis) in [
            ("0s", 0),
            ("90s", 90_000),
            ("1500ms", 1500),
            ("10m", 600_000),
            ("1.5m", 90_000),
            ("2h", 7_200_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn duration_without_a_unit_is_told_the_units() {
        for text in ["0", "3", "90", "1.5"] {
            let said = format!("a time has a unit: {text}s, {text}m, {text}h or {text}d");
            assert_eq!(duration(text), Err(said));
        }
    }

    #[test]
    fn duration_that_makes_no_sense_is_refused() {
        for text in
            ["", "s", "-1s", "1.s", ".5s", "1y", "999999999999999999999s", "18446744073709551615d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
