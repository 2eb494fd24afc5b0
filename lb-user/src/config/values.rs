//! Single values of the file: names, numbers, durations; beside it addresses and what checks say. Each parser takes a TOML value
//! and gives the checked value, or what is wrong and what would be right.

pub(super) mod address;
pub(super) mod probe;

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use toml::de::DeValue;

use super::{
    reader::{Fault, Parsed, nearest},
    types::{Failback, Ratio, Threshold},
};

/// One of a few words.
pub(super) fn choice<T: Copy>(
    options: &'static [(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Parsed<T> {
    move |value| {
        let list: Vec<_> = options.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let help = format!("possible: {}", list.join(", "));
        let word = text(value, &help)?;
        options.iter().find(|(known, _)| *known == word).map(|(_, value)| *value).ok_or_else(|| {
            let near = nearest(word, options.iter().map(|(known, _)| *known));
            let help = near.map_or(help.clone(), |n| format!("did you mean \"{n}\"? {help}"));
            Fault::new(format!("unknown value \"{word}\""), help)
        })
    }
}

/// A whole number in a range.
pub(super) fn integer(range: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Parsed<u32> {
    move |value| {
        let help = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(number) = value else {
            return Err(Fault::kind("an integer", value, help));
        };
        i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| Fault::new(format!("{number} is out of range"), help))
    }
}

/// Yes or no.
pub(super) fn boolean(value: &DeValue<'_>) -> Parsed<bool> {
    match value {
        DeValue::Boolean(value) => Ok(*value),
        _ => Err(Fault::kind("a boolean", value, "true or false")),
    }
}

/// A TCP or UDP port.
pub(super) fn port(value: &DeValue<'_>) -> Parsed<u16> {
    integer(1..=65_535)(value).map(|port| port as u16)
}

/// A ratio, exactly.
pub(super) fn ratio(value: &DeValue<'_>) -> Parsed<Ratio> {
    let help = "a decimal number from 0 to 1 with at most 18 digits, for example 0.6";
    let decimal = match value {
        DeValue::Float(number) => number.as_str(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        _ => return Err(Fault::kind("a decimal number", value, help)),
    };
    Ratio::from_decimal(decimal).map_err(|error| Fault::new(format!("{decimal}: {error}"), help))
}

/// A ratio if written with a point, else a number of nodes.
pub(super) fn threshold(value: &DeValue<'_>) -> Parsed<Threshold> {
    match value {
        DeValue::Float(_) => ratio(value).map(Threshold::Ratio),
        DeValue::Integer(_) => {
            integer(1..=lb_common::layout::MAX_NODES)(value).map(Threshold::Survivors)
        }
        _ => Err(Fault::kind("a number", value, "a ratio like 0.8, or a number of nodes like 3")),
    }
}

/// A duration with its unit, in a range.
pub(super) fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&DeValue<'_>) -> Parsed<Duration> {
    move |value| {
        let [low, high] = [range.start(), range.end()].map(|end| humantime::format_duration(*end));
        let help = format!("a number with its unit, from \"{low}\" to \"{high}\"");
        let text = match value {
            DeValue::String(text) => text,
            _ => return Err(Fault::kind("a duration", value, help)),
        };
        let duration = humantime::parse_duration(text)
            .map_err(|error| Fault::new(format!("\"{text}\" is no duration: {error}"), &*help))?;
        if range.contains(&duration) {
            return Ok(duration);
        }
        Err(Fault::new(format!("\"{text}\" is out of range"), help))
    }
}

/// The longest that a timed failback grows to, where nothing else is said.
const DEFAULT_FAILBACK_MAX: Duration = Duration::from_secs(3600);

/// When a recovered cluster takes its flows back; a time grows by doubling to the default limit.
pub(super) fn failback(
    range: RangeInclusive<Duration>,
) -> impl Fn(&DeValue<'_>) -> Parsed<Failback> {
    move |value| match value {
        DeValue::String(word) if word == "auto" => Ok(Failback::Auto),
        DeValue::String(word) if word == "manual" => Ok(Failback::Manual),
        _ => duration(range.clone())(value).map(timed).map_err(|fault| Fault {
            help: format!("\"auto\", \"manual\", or {}", fault.help),
            ..fault
        }),
    }
}

/// A timed failback with the default limit.
fn timed(wait: Duration) -> Failback {
    Failback::After { wait, max: wait.max(DEFAULT_FAILBACK_MAX) }
}

/// What a cluster, node or service may be called: it is written as `CLUSTER/NODE` in commands.
pub(super) fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(good)
}

/// Any text.
pub(super) fn any_text(value: &DeValue<'_>) -> Parsed<String> {
    text(value, "text in quotes").map(str::to_owned)
}

/// The name of a network interface.
pub(super) fn interface_name(value: &DeValue<'_>) -> Parsed<String> {
    let help = "a name as `ip link` shows it, of 1 to 15 bytes";
    let name = text(value, help)?;
    // dev_valid_name() of the kernel, and no name that would need quoting.
    let good = name.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != ':');
    if (1..16).contains(&name.len()) && good && name != "." && name != ".." {
        return Ok(name.to_owned());
    }
    Err(Fault::new(format!("\"{name}\" is no name of an interface"), help))
}

/// The MAC address of one station.
pub(super) fn mac(value: &DeValue<'_>) -> Parsed<[u8; 6]> {
    let help = "six bytes in hex, for example \"02:00:00:00:00:0a\"";
    let text = text(value, help)?;
    let octet = |part: &str| {
        let hex = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| u8::from_str_radix(part, 16).ok()).flatten()
    };
    let octets: Option<Vec<u8>> = text.split(':').map(octet).collect();
    let mac: Option<[u8; 6]> = octets.and_then(|octets| octets.try_into().ok());
    match mac {
        None => Err(Fault::new(format!("\"{text}\" is no MAC address"), help)),
        Some(mac) if mac == [0; 6] || mac[0] & 1 == 1 => {
            let help = "the address of one station: not zero, not multicast, not broadcast";
            Err(Fault::new(format!("{text} is no station's MAC address"), help))
        }
        Some(mac) => Ok(mac),
    }
}

/// Bytes in hex, for example a secret. The message does not repeat what it found.
pub(super) fn hex<const BYTES: usize>(value: &DeValue<'_>) -> Parsed<[u8; BYTES]> {
    let digits = 2 * BYTES;
    let help = format!("{digits} hex digits, for example from `openssl rand -hex {BYTES}`");
    let text = text(value, &help)?;
    if text.len() != digits || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let found = text.chars().count();
        return Err(Fault::new(format!("not {digits} hex digits ({found} characters)"), help));
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default() as u8;
    let digits = text.as_bytes();
    Ok(std::array::from_fn(|i| nibble(digits[2 * i]) << 4 | nibble(digits[2 * i + 1])))
}

/// An absolute path of at most so many bytes.
pub(super) fn path(longest: usize) -> impl Fn(&DeValue<'_>) -> Parsed<PathBuf> {
    move |value| {
        let help = format!("an absolute path of at most {longest} bytes");
        let text = text(value, &help)?;
        if text.starts_with('/') && text.len() <= longest && !text.contains('\0') {
            return Ok(PathBuf::from(text));
        }
        Err(Fault::new(format!("\"{text}\" will not do"), help))
    }
}

fn text<'v>(value: &'v DeValue<'_>, help: &str) -> Parsed<&'v str> {
    match value {
        DeValue::String(text) => Ok(text),
        _ => Err(Fault::kind("a string", value, help)),
    }
}
