//! From one string or number of the file to one value, checked against its limits.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;

use super::limits::{Limits, POSTGRES_NAME_BYTES_MAX};
use super::problems::{Problems, Reported};
use super::tree::{Entry, Field, Place, Text, TextList};

/// A value within its limits, with its place where the file gives it.
pub(super) struct Checked<T> {
    pub(super) value: T,
    /// `None` for a default.
    pub(super) place: Option<Place>,
    /// As a problem with another value, which depends on this one, would show it.
    pub(super) shown: String,
}

impl<T> Checked<T> {
    fn default(value: T, shown: &str) -> Self {
        Self { value, place: None, shown: format!("{shown}, the default") }
    }
}

/// A duration as people write it, `10s` or `72h`.
pub(super) fn duration(
    field: Field<Text>,
    limits: &Limits<Duration>,
    problems: &mut Problems,
) -> Result<Checked<Duration>, Reported> {
    let show = |duration: Duration| humantime::format_duration(duration).to_string();
    let Some(Entry { value: text, place }) = field? else {
        return Ok(Checked::default(limits.default, &show(limits.default)));
    };
    let Ok(value) = humantime::parse_duration(text.as_str()) else {
        let example = show(limits.default);
        return Err(problems.add(&place, format!("expected a duration such as {example:?}, found {}", text.shown())));
    };
    if value < limits.min || value > limits.max {
        return Err(problems.add(&place, out_of_range("a duration", show(limits.min), show(limits.max), text.shown())));
    }
    Ok(Checked { value, place: Some(place), shown: text.shown() })
}

/// A number of bytes as people write it, `64MiB`.
pub(super) fn size(field: Field<Text>, limits: &Limits<u64>, problems: &mut Problems) -> Result<usize, Reported> {
    let show = |bytes: u64| ByteSize::b(bytes).display().iec().to_string();
    let Some(Entry { value: text, place }) = field? else { return Ok(saturating_usize(limits.default)) };
    let Ok(ByteSize(value)) = text.as_str().parse::<ByteSize>() else {
        return Err(problems.add(&place, format!("expected a size such as \"64MiB\", found {}", text.shown())));
    };
    if value < limits.min || value > limits.max {
        return Err(problems.add(&place, out_of_range("a size", show(limits.min), show(limits.max), text.shown())));
    }
    Ok(saturating_usize(value))
}

/// On a machine whose addresses are too small for the size there cannot be that much memory either.
fn saturating_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// A number of things.
pub(super) fn count<T>(field: Field<i64>, limits: &Limits<T>, problems: &mut Problems) -> Result<Checked<T>, Reported>
where
    T: TryFrom<i64> + PartialOrd + Copy + fmt::Display,
{
    let Some(Entry { value: written, place }) = field? else {
        return Ok(Checked::default(limits.default, &limits.default.to_string()));
    };
    match T::try_from(written) {
        Ok(value) if value >= limits.min && value <= limits.max => {
            Ok(Checked { value, place: Some(place), shown: written.to_string() })
        }
        _ => Err(problems.add(&place, out_of_range("a number", limits.min, limits.max, written))),
    }
}

fn out_of_range(kind: &str, min: impl fmt::Display, max: impl fmt::Display, found: impl fmt::Display) -> String {
    format!("expected {kind} from {min} to {max}, found {found}")
}

/// One of a few words; `choices` pairs each with what it means.
pub(super) fn choice<T: Copy>(
    field: Field<Text>,
    default: T,
    choices: &[(&str, T)],
    problems: &mut Problems,
) -> Result<T, Reported> {
    let Some(Entry { value: text, place }) = field? else { return Ok(default) };
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text.as_str()) {
        return Ok(*value);
    }
    let words: Vec<_> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
    Err(problems.add(&place, format!("expected {}, found {}", words.join(" or "), text.shown())))
}

/// A text that a rule holds for.
pub(super) fn matching(
    field: Field<Text>,
    default: &str,
    expected: &str,
    rule: fn(&str) -> bool,
    problems: &mut Problems,
) -> Result<String, Reported> {
    let Some(Entry { value: text, place }) = field? else { return Ok(default.to_owned()) };
    if rule(text.as_str()) {
        return Ok(text.as_str().to_owned());
    }
    Err(problems.add(&place, format!("expected {expected}, found {}", text.shown())))
}

/// What Postgres allows as the name of a slot.
pub(super) fn is_slot_name(name: &str) -> bool {
    is_postgres_name(name) && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// What Postgres allows, quoted, as the name of anything, without what would garble a log line. Nor is a URL a name, which got
/// into the wrong place: names are shown, and there may be a password in it.
pub(super) fn is_postgres_name(name: &str) -> bool {
    (1..=POSTGRES_NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control) && !name.contains("://")
}

/// What can stand unquoted in metrics, log lines and on the command line.
pub(super) fn is_source_name(name: &str) -> bool {
    is_postgres_name(name)
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// A level, or a filter in `tracing`'s syntax. A lone word has to be a level, since the filter's syntax would take a
/// misspelt one for the name of a module.
pub(super) fn is_log_filter(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_filter = text.contains('=') && tracing_subscriber::EnvFilter::try_new(text).is_ok();
    is_filter || LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text))
}

/// An address with its port.
pub(super) fn address(
    field: Field<Text>,
    default: SocketAddr,
    problems: &mut Problems,
) -> Result<SocketAddr, Reported> {
    let Some(Entry { value: text, place }) = field? else { return Ok(default) };
    text.as_str().parse().map_err(|_| {
        let message = format!("expected an IP address and a port such as \"{default}\", found {}", text.shown());
        problems.add(&place, message)
    })
}

/// Keys of organizations, each once.
pub(super) fn organization_keys(list: TextList, problems: &mut Problems) -> Result<Vec<String>, Reported> {
    let mut keys: Vec<String> = Vec::new();
    let mut outcome = Ok(());
    for element in list? {
        match element {
            Ok(Entry { value: key, place })
                if key.as_str().is_empty() || keys.iter().any(|one| one == key.as_str()) =>
            {
                let message = format!("expected keys of organizations, each once, found {}", key.shown());
                outcome = Err(problems.add(&place, message));
            }
            Ok(Entry { value: key, .. }) => keys.push(key.as_str().to_owned()),
            Err(reported) => outcome = Err(reported),
        }
    }
    outcome.map(|()| keys)
}

/// Networks such as `10.0.0.0/8`; a single address is a network of one.
pub(super) fn networks(list: TextList, problems: &mut Problems) -> Result<Vec<IpNet>, Reported> {
    let networks: Vec<_> = list?.into_iter().map(|element| network(&element?, problems)).collect();
    networks.into_iter().collect()
}

fn network(element: &Entry<Text>, problems: &mut Problems) -> Result<IpNet, Reported> {
    let text = &element.value;
    let single = || text.as_str().parse::<IpAddr>().ok().map(IpNet::from);
    text.as_str().parse().ok().or_else(single).ok_or_else(|| {
        let message = format!("expected a network such as \"10.0.0.0/8\" or \"::1\", found {}", text.shown());
        problems.add(&element.place, message)
    })
}
