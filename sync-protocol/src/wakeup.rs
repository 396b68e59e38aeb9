//! Where a device wishes to be woken: an address that a relay posts to, and a token that says nothing.
//!
//! Both sides check the same shape here: a device before it asks, a relay before it believes what it is asked. What the
//! relay then allows of it is its own business.

use std::fmt;

use crate::limits::{WAKEUP_TOKEN_BYTES_MAX, WAKEUP_TOKEN_BYTES_MIN, WAKEUP_URL_BYTES_MAX};

/// A device's wish to be woken. Neither part may stand in a log: whoever knows the address can wake the device.
#[derive(Clone, PartialEq, Eq)]
pub struct WakeupTarget {
    url: String,
    token: String,
}

impl fmt::Debug for WakeupTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakeupTarget").finish_non_exhaustive()
    }
}

/// The parts of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// `https` and not `http`.
    pub is_tls: bool,
    /// A name or an address; one of IPv6 without its brackets.
    pub host: &'a str,
    /// The port that is named, or the one that belongs to the scheme.
    pub port: u16,
    /// Path and query; empty stands for `/`.
    pub path: &'a str,
}

/// No such wish can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WakeupTargetError {
    /// Longer than [`WAKEUP_URL_BYTES_MAX`].
    #[error("the address is longer than {WAKEUP_URL_BYTES_MAX} bytes: ask the push service for a shorter one")]
    TooLong,
    /// Neither `https://` nor `http://`.
    #[error("the address begins neither with https:// nor with http://: give it as the push service shows it")]
    Scheme,
    /// No host, or one that is none.
    #[error(
        "the address names no host, or has a user name, a # or characters that an address has not: give it as the push service shows it"
    )]
    Malformed,
    /// Too short, too long, or other characters than letters and digits.
    #[error("a token is {WAKEUP_TOKEN_BYTES_MIN} to {WAKEUP_TOKEN_BYTES_MAX} letters and digits")]
    Token,
}

impl WakeupTarget {
    /// A wish of this shape.
    ///
    /// # Errors
    /// [`WakeupTargetError`].
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Result<Self, WakeupTargetError> {
        let (url, token) = (url.into(), token.into());
        endpoint(&url)?;
        let is_length = (WAKEUP_TOKEN_BYTES_MIN..=WAKEUP_TOKEN_BYTES_MAX).contains(&token.len());
        // Nothing that is a command, a field or a line to whoever gets it.
        if !is_length || !token.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(WakeupTargetError::Token);
        }
        Ok(Self { url, token })
    }

    /// The address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What is posted there, and nothing else.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The parts of the address.
    ///
    /// # Errors
    /// None of one that [`Self::new`] made.
    pub fn endpoint(&self) -> Result<Endpoint<'_>, WakeupTargetError> {
        endpoint(&self.url)
    }
}

/// Reads an address strictly: what two readers could take for two hosts is no address.
fn endpoint(url: &str) -> Result<Endpoint<'_>, WakeupTargetError> {
    if url.len() > WAKEUP_URL_BYTES_MAX {
        return Err(WakeupTargetError::TooLong);
    }
    let (is_tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(WakeupTargetError::Scheme),
    };
    if !rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b'\\') {
        return Err(WakeupTargetError::Malformed);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (host, port) = split_port(authority).ok_or(WakeupTargetError::Malformed)?;
    let port = match port {
        None => {
            if is_tls {
                443
            } else {
                80
            }
        }
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(WakeupTargetError::Malformed)?,
    };
    Ok(Endpoint { is_tls, host, port, path })
}

fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        return if rest.is_empty() { Some((host, None)) } else { Some((host, Some(digits(rest.strip_prefix(':')?)?))) };
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(digits(port)?)),
        None => (authority, None),
    };
    let is_name = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    is_name.then_some((host, port))
}

fn digits(port: &str) -> Option<&str> {
    port.bytes().all(|byte| byte.is_ascii_digit()).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> Result<(bool, String, u16, String), WakeupTargetError> {
        endpoint(url).map(|at| (at.is_tls, at.host.to_owned(), at.port, at.path.to_owned()))
    }

    #[test]
    fn an_address_is_taken_apart_as_it_is_written() {
        let at = |is_tls, host: &str, port, path: &str| Ok((is_tls, host.to_owned(), port, path.to_owned()));
        assert_eq!(parts("https://push.example/a?b=c"), at(true, "push.example", 443, "/a?b=c"));
        assert_eq!(parts("http://push.example"), at(false, "push.example", 80, ""));
        assert_eq!(parts("https://push.example:8443?up=1"), at(true, "push.example", 8443, "?up=1"));
        assert_eq!(parts("http://[::1]:8080/x"), at(false, "::1", 8080, "/x"));
    }

    #[test]
    fn what_two_readers_could_take_for_two_hosts_is_no_address() {
        for url in [
            "https://",
            "https:///path",
            "https://user@push.example/",
            "https://push.example@evil.example/",
            "https://push.example\\@evil.example/",
            "https://push.example#@evil.example/",
            "https://push.example:443:80/",
            "https://push.example:0/",
            "https://push.example:65536/",
            "https://push.example:+80/",
            "https://push.example:/",
            "https://[push.example]/",
            "https://[::1/",
            "https://[::1]80/",
            "https://::1/",
            "https://push example/",
            "https://push.example/a b",
            "https://push.example/\r\nX: y",
            "https://push.ex\u{e4}mple/",
            "https://push%2eexample/",
        ] {
            assert_eq!(parts(url), Err(WakeupTargetError::Malformed), "{url}");
        }
        for url in ["ftp://push.example/", "push.example", "HTTPS://push.example/", "file:///etc/passwd", ""] {
            assert_eq!(parts(url), Err(WakeupTargetError::Scheme), "{url}");
        }
        let long = format!("https://push.example/{}", "a".repeat(WAKEUP_URL_BYTES_MAX));
        assert_eq!(parts(&long), Err(WakeupTargetError::TooLong));
    }

    #[test]
    fn a_token_is_letters_and_digits_and_neither_shows_itself() {
        let wish = |token: &str| WakeupTarget::new("https://push.example/secretpath", token);
        assert!(wish(&"a".repeat(WAKEUP_TOKEN_BYTES_MIN)).is_ok() && wish(&"9".repeat(WAKEUP_TOKEN_BYTES_MAX)).is_ok());
        let (short, long) = ("a".repeat(WAKEUP_TOKEN_BYTES_MIN - 1), "a".repeat(WAKEUP_TOKEN_BYTES_MAX + 1));
        for token in
            [short.as_str(), long.as_str(), "{\"command\":\"stop\"}", "a=1&b=2aaaaaaaaaa", "line\r\nbreak1234567"]
        {
            assert_eq!(wish(token), Err(WakeupTargetError::Token), "{token}");
        }
        let shown = format!("{:?}", wish("0123456789abcdef").unwrap());
        assert!(!shown.contains("secretpath") && !shown.contains("0123456789abcdef"), "{shown}");
    }
}
