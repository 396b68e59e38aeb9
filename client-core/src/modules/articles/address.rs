//! One address for one page, however it was come by: what tells visitors apart is left out.

/// Parameters that say where a visitor came from.
const TRACKING: [&str; 20] = [
    "fbclid", "gclid", "gclsrc", "dclid", "msclkid", "yclid", "twclid", "igshid", "igsh", "mc_cid", "mc_eid", "_hsenc",
    "_hsmi", "mkt_tok", "ref_src", "ref_url", "cmpid", "s_cid", "vero_id", "wt_mc",
];

/// The address of a page, without what tells visitors apart; `None` for what is no address of the web.
#[must_use]
pub fn canonical(address: &str) -> Option<String> {
    let address = address.trim();
    if address.len() > super::declared::ADDRESS_BYTES_MAX
        || address.contains(|char: char| char.is_control() || char == ' ')
    {
        return None;
    }
    let (scheme, rest) = address.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    if !["http", "https"].contains(&scheme.as_str()) {
        return None;
    }
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    // Names and passwords are for nobody else.
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host).to_lowercase();
    let usual = if scheme == "https" { ":443" } else { ":80" };
    let host = host.strip_suffix(usual).unwrap_or(&host).trim_end_matches('.');
    if host.is_empty() || host.starts_with(':') {
        return None;
    }
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let path = if path.is_empty() { "/" } else { path };
    let kept: Vec<&str> = query.into_iter().flat_map(|query| query.split('&')).filter(|pair| is_kept(pair)).collect();
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    Some(format!("{scheme}://{host}{path}{query}"))
}

fn is_kept(pair: &str) -> bool {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name).to_ascii_lowercase();
    !name.is_empty() && !name.starts_with("utm_") && !TRACKING.contains(&name.as_str())
}

/// What two addresses of one page have in common: whether it was fetched with TLS does not count.
#[must_use]
pub fn key(canonical: &str) -> &str {
    canonical.split_once("://").map_or(canonical, |(_, rest)| rest)
}

/// The host, with its port.
#[must_use]
pub fn host(canonical: &str) -> &str {
    let rest = key(canonical);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// An address as another page writes it: whole, or from that page on. Only what leads to the web.
#[must_use]
pub fn joined(page: &str, address: &str) -> Option<String> {
    let address = address.trim();
    if address.is_empty() || address.starts_with('#') {
        return canonical(page);
    }
    let (scheme, rest) = page.split_once("://")?;
    if address.starts_with("//") {
        return canonical(&format!("{scheme}:{address}"));
    }
    if let Some((before, _)) = address.split_once(':').filter(|(before, _)| !before.contains(['/', '?', '#'])) {
        return ["http", "https"].contains(&before.to_ascii_lowercase().as_str()).then(|| canonical(address))?;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let path = path.split('?').next().unwrap_or_default();
    if address.starts_with('?') {
        return canonical(&format!("{scheme}://{host}{path}{address}"));
    }
    let (address, query) =
        address.split_once('?').map_or((address, String::new()), |(path, query)| (path, format!("?{query}")));
    let base = if address.starts_with('/') { "" } else { path.rsplit_once('/').map_or("", |(folder, _)| folder) };
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    let ends_in_folder = address.ends_with('/') || address.ends_with("/.") || address.is_empty();
    for part in address.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let slash = if ends_in_folder && !parts.is_empty() { "/" } else { "" };
    canonical(&format!("{scheme}://{host}/{}{slash}{query}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_page_has_one_address() {
        let same = [
            "https://Example.org/a?x=1",
            "https://example.org:443/a?x=1#part",
            " https://me:secret@example.org./a?utm_source=x&x=1&fbclid=2 ",
        ];
        for address in same {
            assert_eq!(canonical(address).as_deref(), Some("https://example.org/a?x=1"), "{address}");
        }
        assert_eq!(canonical("http://example.org").as_deref(), Some("http://example.org/"));
        assert_eq!(key("http://example.org/a"), key("https://example.org/a"));
        assert_eq!(host("https://example.org:8080/a"), "example.org:8080");
        for odd in [
            "",
            "example.org",
            "ftp://x/",
            "javascript:alert(1)",
            "https://",
            "https://a b/",
            "file:///etc/passwd",
            "https://:80/",
        ] {
            assert_eq!(canonical(odd), None, "{odd}");
        }
    }

    #[test]
    fn addresses_on_a_page_lead_on_from_it() {
        let page = "https://x.org/a/b.html?q=1";
        for (address, whole) in [
            ("c.png", "https://x.org/a/c.png"),
            ("../c/", "https://x.org/c/"),
            ("/c?d=1", "https://x.org/c?d=1"),
            ("//y.org/c", "https://y.org/c"),
            ("http://y.org", "http://y.org/"),
            ("?d", "https://x.org/a/b.html?d"),
            ("", "https://x.org/a/b.html?q=1"),
            ("#part", "https://x.org/a/b.html?q=1"),
            ("../../../c", "https://x.org/c"),
        ] {
            assert_eq!(joined(page, address).as_deref(), Some(whole), "{address}");
        }
        for odd in ["mailto:a@b", "data:text/plain,x", "file:///etc/passwd"] {
            assert_eq!(joined(page, odd), None, "{odd}");
        }
    }
}
