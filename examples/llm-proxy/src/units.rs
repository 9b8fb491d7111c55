//! Durations and sizes as people write them: `500ms`, `15s`, `64KiB`.

use std::time::Duration;

#[cfg(test)]
mod tests;

/// Beyond this it is a slip of the pen, and arithmetic on instants stays safe.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Reads `500ms`, `15s`, `2m` or `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (count, unit) = split(text);
    let millis_each = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let (Ok(count), Some(each)) = (count.parse::<u64>(), millis_each) else {
        return Err("write a duration like 500ms, 15s, 2m or 1h".to_owned());
    };
    count
        .checked_mul(each)
        .map(Duration::from_millis)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "that is longer than a year".to_owned())
}

/// Reads `64KiB`, `1MiB`, `2GiB`, and bytes as `512B` or `512`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let (count, unit) = split(text);
    let bytes_each = match unit {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let (Ok(count), Some(each)) = (count.parse::<usize>(), bytes_each) else {
        return Err("write a size like 512B, 64KiB, 1MiB or 2GiB".to_owned());
    };
    count.checked_mul(each).ok_or_else(|| "that is more than this machine can address".to_owned())
}

/// Splits `15s` into `15` and `s`.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}
