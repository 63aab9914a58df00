//! The URL that notifications go to, checked before anything is written.

use url::Url;

use super::super::failure::Advice;
use super::super::output::warn;
use crate::config::DeliverySettings;
use crate::deliver::guard::{GuardVerdict, NetworkGuard};

/// Checks a URL as it was typed.
pub(super) async fn check(text: &str, settings: &DeliverySettings) -> anyhow::Result<Url> {
    let url = parse(text)?;
    let verdict = NetworkGuard::new(settings).check_url(&url).await;
    match verdict.map_err(|error| anyhow::Error::new(error).context("notifications can't be sent to this URL"))? {
        GuardVerdict::Allowed => {}
        GuardVerdict::Unresolved(error) => warn(&format!(
            "{} can't be resolved now ({error}); notifications are kept until it can",
            url.host_str().unwrap_or_default()
        )),
    }
    Ok(url)
}

fn parse(text: &str) -> Result<Url, Advice> {
    let wrong = |what: String| Advice::new(what, "give a URL like https://example.com/webhooks");
    let url = Url::parse(text).map_err(|error| wrong(format!("this is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(format!("notifications are sent by http or https, not by {}", url.scheme())));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("the URL has no host".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let hint = "take them out; the receiver knows us by the signature";
        return Err(Advice::new("the URL has credentials in it", hint));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn http_urls_with_a_host_are_good() {
        for text in ["https://example.com", "http://10.0.0.1:8080/hook?x=1", "https://[::1]/"] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "example.com",
            "ftp://example.com",
            "mailto:a@example.com",
            "https://",
            "https://user@example.com",
            "https://:secret@example.com",
            "https://user:secret@example.com/",
        ] {
            let refused = parse(text).unwrap_err().to_string();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
