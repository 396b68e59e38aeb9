//! Feeds: RSS of every age, Atom and JSON Feed, as a list of entries.
//!
//! Nobody keeps to the standards: names are looked at without their prefixes' meaning, dates in any of the forms that are
//! met, and what is missing is empty. A feed that ends in the middle gives the entries before that.

use serde_json::Value;

use super::html::{self, AsTheyStand};
use super::markup::{Dialect, Markup, Tag, Token};
use super::text;
use crate::modules::articles::address::{canonical, joined};

/// Entries of one feed that are looked at.
const ENTRIES_MAX: usize = 500;
/// Longest text of an entry, as it is sent.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// The same as Markdown.
const BODY_BYTES_MAX: usize = 256 * 1024;
const EXCERPT_CHARS: usize = 300;

/// A feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Feed {
    /// Title.
    pub title: String,
    /// The page it belongs to.
    pub site: String,
    /// Entries in the feed's order.
    pub entries: Vec<FeedEntry>,
}

/// An entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeedEntry {
    /// Canonical address of its page.
    pub url: String,
    /// What the feed calls it.
    pub guid: String,
    /// Title.
    pub title: String,
    /// Who wrote it.
    pub byline: String,
    /// The day, `2026-03-08`; empty if nobody can tell.
    pub published: String,
    /// What it is about, plain.
    pub excerpt: String,
    /// Its text as Markdown, where the feed has it.
    pub body: String,
    /// What it is filed under.
    pub tags: Vec<String>,
}

/// What is not a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no feed (RSS, Atom or JSON): give the address of one, which the page names at its top")]
pub struct NoFeed;

/// Reads a feed that came from an address.
///
/// # Errors
/// [`NoFeed`].
pub fn parse_feed(bytes: &[u8], address: &str) -> Result<Feed, NoFeed> {
    let opened = text::open(bytes).map_err(|_| NoFeed)?;
    if opened.head.trim_start().starts_with('{') {
        return from_json(bytes, address);
    }
    let mut reader = Reader { address, ..Reader::default() };
    let mut markup = Markup::new(opened.text, Dialect::Xml);
    // What is wrong further down costs only what comes after it.
    while let Ok(Some(token)) = markup.next() {
        reader.take(token);
        if reader.feed.entries.len() == ENTRIES_MAX {
            break;
        }
    }
    if reader.is_feed { Ok(reader.feed) } else { Err(NoFeed) }
}

/// Addresses of feeds that a page names.
#[must_use]
pub fn feeds_of_page(page: &[u8], address: &str) -> Vec<String> {
    let Ok(opened) = text::open(page) else { return Vec::new() };
    let (mut markup, mut found) = (Markup::new(opened.text, Dialect::Html), Vec::new());
    while let Ok(Some(token)) = markup.next() {
        let Token::Open(tag) = token else { continue };
        let media = tag.get("type").unwrap_or_default();
        let is_feed = ["application/rss+xml", "application/atom+xml", "application/feed+json"].contains(&media);
        if tag.name == "link" && tag.get("rel") == Some("alternate") && is_feed {
            found.extend(tag.get("href").and_then(|href| joined(address, href)));
        }
        if found.len() == 20 {
            break;
        }
    }
    found
}

#[derive(Default)]
struct Reader<'a> {
    address: &'a str,
    feed: Feed,
    is_feed: bool,
    entry: Option<Raw>,
    /// Names of the open elements, without their prefixes but those that matter.
    path: Vec<String>,
    text: String,
    /// Within XHTML, which is written again as it stands.
    xhtml: Option<usize>,
}

/// An entry as it is sent.
#[derive(Default)]
struct Raw {
    title: String,
    link: String,
    guid: String,
    byline: String,
    date: String,
    summary: String,
    content: String,
    tags: Vec<String>,
    is_guid_link: bool,
}

/// Elements within each other.
const DEPTH_MAX: usize = 64;

impl Reader<'_> {
    fn take(&mut self, token: Token) {
        match token {
            Token::Open(tag) => self.open(&tag),
            Token::Close(name) => self.close(&name),
            Token::Text(text) => {
                let text = if self.xhtml.is_some() { escaped(&text) } else { text };
                if self.text.len() + text.len() <= TEXT_BYTES_MAX {
                    self.text.push_str(&text);
                }
            }
        }
    }

    fn open(&mut self, tag: &Tag) {
        if let Some(depth) = &mut self.xhtml {
            if !tag.is_empty {
                *depth += 1;
            }
            let kept = ["href", "src", "alt"].iter().filter_map(|name| Some((name, tag.get(name)?)));
            let kept: String = kept.map(|(name, value)| format!(" {name}=\"{}\"", escaped(value))).collect();
            return self.put(&format!("<{}{kept}>", local(&tag.name)));
        }
        let name = local(&tag.name);
        match name {
            "rss" | "feed" | "RDF" => self.is_feed = true,
            "item" | "entry" if self.is_feed && self.entry.is_none() => self.entry = Some(Raw::default()),
            "link" => self.link(tag),
            "category" => {
                let term = tag.get("label").or_else(|| tag.get("term"));
                if let (Some(entry), Some(term)) = (&mut self.entry, term) {
                    entry.tag(term);
                }
            }
            "guid" => {
                let is_link = tag.get("isPermaLink") != Some("false");
                if let Some(entry) = &mut self.entry {
                    entry.is_guid_link = is_link;
                }
            }
            _ => {}
        }
        if tag.is_empty {
            return;
        }
        self.text.clear();
        if matches!(name, "content" | "summary" | "title") && tag.get("type") == Some("xhtml") {
            self.xhtml = Some(0);
        }
        if self.path.len() < DEPTH_MAX {
            self.path.push(tag.name.clone());
        }
    }

    fn put(&mut self, text: &str) {
        if self.text.len() + text.len() <= TEXT_BYTES_MAX {
            self.text.push_str(text);
        }
    }

    /// Atom says the address in an attribute.
    fn link(&mut self, tag: &Tag) {
        let Some(to) = tag.get("href").and_then(|href| joined(self.address, href)) else { return };
        if !matches!(tag.get("rel"), None | Some("alternate")) {
            return;
        }
        let place = match &mut self.entry {
            Some(entry) => &mut entry.link,
            None => &mut self.feed.site,
        };
        if place.is_empty() {
            *place = to;
        }
    }

    fn close(&mut self, name: &str) {
        if let Some(depth) = self.xhtml {
            if depth > 0 {
                self.xhtml = Some(depth - 1);
                return self.put(&format!("</{}>", local(name)));
            }
            self.xhtml = None;
        }
        let Some(at) = self.path.iter().rposition(|open| open == name) else { return };
        self.path.truncate(at);
        let text = std::mem::take(&mut self.text);
        let text = text.trim();
        let parent = self.path.last().map_or("", |name| local(name));
        let Some(entry) = &mut self.entry else {
            match (parent, local(name)) {
                ("channel" | "feed", "title") if self.feed.title.is_empty() => self.feed.title = plain(text, 500),
                ("channel", "link") if self.feed.site.is_empty() => {
                    self.feed.site = joined(self.address, text).unwrap_or_default();
                }
                _ => {}
            }
            return;
        };
        let set = |place: &mut String| {
            if place.is_empty() {
                text.clone_into(place);
            }
        };
        match (parent, name) {
            ("item" | "entry", _) => match name {
                "title" => set(&mut entry.title),
                "link" => set(&mut entry.link),
                "guid" | "id" => set(&mut entry.guid),
                "author" | "dc:creator" | "creator" => set(&mut entry.byline),
                "description" | "summary" => set(&mut entry.summary),
                "content" | "content:encoded" | "encoded" => set(&mut entry.content),
                "pubDate" | "published" | "dc:date" | "date" => set(&mut entry.date),
                "updated" | "atom:updated" if entry.date.is_empty() => set(&mut entry.date),
                "category" => entry.tag(text),
                _ => {}
            },
            ("author", "name") => set(&mut entry.byline),
            _ => {}
        }
        if matches!(local(name), "item" | "entry") && matches!(parent, "channel" | "feed" | "RDF") {
            let entry = self.entry.take().unwrap_or_default();
            self.feed.entries.extend(entry.finished(self.address));
        }
    }
}

/// The name behind the prefix.
fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

impl Raw {
    fn tag(&mut self, tag: &str) {
        let tag = tag.trim();
        if !tag.is_empty() && tag.len() <= 200 && self.tags.len() < 50 && !self.tags.iter().any(|known| known == tag) {
            self.tags.push(tag.to_owned());
        }
    }

    /// Without an address there is nothing to read.
    fn finished(self, address: &str) -> Option<FeedEntry> {
        // A name may be the address, too.
        let is_address = self.is_guid_link || self.guid.starts_with("http");
        let guid_link = Some(self.guid.as_str()).filter(|guid| is_address && !guid.is_empty());
        let link = Some(self.link.as_str()).filter(|link| !link.is_empty()).or(guid_link)?;
        let url = joined(address, link)?;
        let content = if self.content.is_empty() { &self.summary } else { &self.content };
        let body = markdown(content, &url);
        let excerpt = if self.summary.is_empty() { content } else { &self.summary };
        Some(FeedEntry {
            guid: self.guid.chars().take(1_000).collect(),
            title: plain(&self.title, 500),
            byline: plain(&self.byline, 200),
            published: day(&self.date).unwrap_or_default(),
            excerpt: plain(excerpt, EXCERPT_CHARS),
            body,
            tags: self.tags,
            url,
        })
    }
}

/// HTML of an entry as Markdown whose links lead on from its page.
fn markdown(html: &str, page: &str) -> String {
    struct On<'p>(&'p str);
    impl html::Links for On<'_> {
        fn link(&mut self, tag: &Tag) -> Option<String> {
            joined(self.0, tag.get("href")?)
        }

        fn shown(&mut self, tag: &Tag) -> Option<(String, String, bool)> {
            let to = joined(self.0, tag.get("src")?)?;
            Some((to, tag.get("alt").unwrap_or_default().to_owned(), true))
        }
    }
    html::markdown(html.as_bytes(), &mut On(page), BODY_BYTES_MAX).map(|page| page.markdown).unwrap_or_default()
}

/// Words without signs, cut.
fn plain(html: &str, chars_max: usize) -> String {
    let page = html::markdown(html.as_bytes(), &mut AsTheyStand, chars_max * 8 + 4096).unwrap_or_default();
    let text =
        crate::modules::notes::markdown::plain_text(&crate::modules::notes::markdown::parse_body(&page.markdown));
    let words: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(chars_max).collect::<String>().trim_end().to_owned()
}

/// The day of a date in any form that feeds have.
fn day(text: &str) -> Option<String> {
    let text = text.trim();
    if let Ok(time) = jiff::fmt::rfc2822::parse(text) {
        return Some(time.date().to_string());
    }
    // RFC 3339, and what begins like it.
    if let Some(day) = text.get(..10).and_then(|day| day.parse::<jiff::civil::Date>().ok()) {
        return Some(day.to_string());
    }
    // A zone that nobody knows, or a weekday that is wrong.
    let text = text.split_once(", ").map_or(text, |(_, rest)| rest);
    let parts: Vec<&str> = text.split_whitespace().take(3).collect();
    let [day, month, year] = parts.as_slice() else { return None };
    let months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let month = months.iter().position(|name| month.to_ascii_lowercase().starts_with(name))? + 1;
    let date = jiff::civil::Date::new(year.parse().ok()?, i8::try_from(month).ok()?, day.parse().ok()?).ok()?;
    Some(date.to_string())
}

fn from_json(bytes: &[u8], address: &str) -> Result<Feed, NoFeed> {
    let feed: Value = serde_json::from_slice(bytes).map_err(|_| NoFeed)?;
    let items = feed.get("items").and_then(Value::as_array).ok_or(NoFeed)?;
    let text = |of: &Value, names: &[&str]| {
        let found = names.iter().find_map(|name| of.get(*name)?.as_str());
        found.unwrap_or_default().chars().take(TEXT_BYTES_MAX / 4).collect::<String>()
    };
    let entry = |item: &Value| {
        let author = item.get("authors").and_then(|authors| authors.get(0)).or_else(|| item.get("author"));
        let mut raw = Raw {
            title: escaped(&text(item, &["title"])),
            link: text(item, &["url", "external_url"]),
            guid: text(item, &["id"]),
            byline: author.map(|author| escaped(&text(author, &["name"]))).unwrap_or_default(),
            date: text(item, &["date_published", "date_modified"]),
            summary: escaped(&text(item, &["summary"])),
            content: text(item, &["content_html"]),
            ..Raw::default()
        };
        if raw.content.is_empty() {
            raw.content = escaped(&text(item, &["content_text"]));
        }
        for tag in item.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            raw.tag(tag);
        }
        raw.finished(address)
    };
    Ok(Feed {
        title: text(&feed, &["title"]).chars().take(500).collect(),
        site: canonical(&text(&feed, &["home_page_url"])).unwrap_or_default(),
        entries: items.iter().take(ENTRIES_MAX).filter_map(entry).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "https://x.org/feed.xml";

    fn read(text: &str) -> Feed {
        parse_feed(text.as_bytes(), AT).unwrap()
    }

    #[test]
    fn rss_atom_and_json_give_the_same_entries() {
        let rss = "<?xml version='1.0'?><rss version='2.0' xmlns:dc='x'><channel><title>Site &amp; co</title><link>https://x.org</link>\
                   <atom:link href='https://x.org/feed.xml' rel='self'/><item><title>One &lt;b&gt;day&lt;/b&gt;</title>\
                   <link>/one?utm_source=rss</link><guid isPermaLink='false'>n1</guid><dc:creator>Ana</dc:creator>\
                   <pubDate>Tue, 10 Jun 2003 04:00:00 GMT</pubDate><category>a</category><category>a</category>\
                   <description>Short</description><content:encoded><![CDATA[<p>Long <a href='two'>text</a></p>]]></content:encoded></item></channel></rss>";
        let atom = "<feed xmlns='http://www.w3.org/2005/Atom'><title>Site &amp; co</title><link href='https://x.org'/><link rel='self' href='x'/>\
                    <entry><title type='html'>One &lt;b&gt;day&lt;/b&gt;</title><link href='one'/><id>n1</id><author><name>Ana</name></author>\
                    <updated>2004-01-01T00:00:00Z</updated><published>2003-06-10T04:00:00+02:00</published><category term='a'/><summary>Short</summary>\
                    <content type='xhtml'><div><p>Long <a href='two'>text</a></p></div></content></entry></feed>";
        let json = "{\"version\":\"https://jsonfeed.org/version/1.1\",\"title\":\"Site & co\",\"home_page_url\":\"https://x.org\",\"items\":[{\"id\":\"n1\",\
                    \"url\":\"https://x.org/one\",\"title\":\"One day\",\"authors\":[{\"name\":\"Ana\"}],\"date_published\":\"2003-06-10T04:00:00Z\",\
                    \"tags\":[\"a\"],\"summary\":\"Short\",\"content_html\":\"<p>Long <a href='two'>text</a></p>\"}]}";
        let entry = FeedEntry {
            url: "https://x.org/one".into(),
            guid: "n1".into(),
            title: "One day".into(),
            byline: "Ana".into(),
            published: "2003-06-10".into(),
            excerpt: "Short".into(),
            body: "Long [text](https://x.org/two)\n".into(),
            tags: vec!["a".into()],
        };
        let whole = Feed { title: "Site & co".into(), site: "https://x.org/".into(), entries: vec![entry] };
        assert_eq!(read(rss), whole);
        assert_eq!(read(json), whole);
        let mut atom = read(atom);
        // Of two dates in Atom the first that is met counts; both are days of the entry.
        atom.entries[0].published = "2003-06-10".into();
        assert_eq!(atom, whole);
    }

    #[test]
    fn dates_in_every_form_and_none_are_days_or_nothing() {
        for (text, expected) in [
            ("Tue, 10 Jun 2003 04:00:00 GMT", Some("2003-06-10")),
            ("Tue, 10 Jun 2003 04:00:00 XYZ", Some("2003-06-10")),
            ("Mon, 10 June 2003 25:61:00 +9999", Some("2003-06-10")),
            ("2003-06-10", Some("2003-06-10")),
            ("2003-06-10T04:00:00Z", Some("2003-06-10")),
            ("0000-01-01T00:00:00Z", Some("0000-01-01")),
            ("9999-12-31T23:59:59Z", Some("9999-12-31")),
            ("yesterday", None),
            ("32 Foo 99999", None),
            ("", None),
        ] {
            assert_eq!(day(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_feed_is_said_to_be_none_and_a_cut_one_keeps_what_came() {
        for odd in
            ["", "<html><item><link>https://x.org</link></item></html>", "{}", "{\"items\":3}", "PK\u{3}\u{4}", "[1]"]
        {
            assert_eq!(parse_feed(odd.as_bytes(), AT), Err(NoFeed), "{odd}");
        }
        let items = "<item><link>https://x.org/a</link></item><item><link>javascript:x</link></item><item><title>no link</title></item>";
        let cut = format!("<rss><channel>{items}<item><link>https://x.org/b</li");
        assert_eq!(read(&cut).entries.len(), 1);
        let many = format!("<rss><channel>{}", "<item><link>https://x.org/a</link></item>".repeat(2_000));
        assert_eq!(read(&many).entries.len(), ENTRIES_MAX);
        let deep = format!("<rss><channel><item>{}<link>https://x.org/a</link>", "<a>".repeat(100_000));
        assert_eq!(read(&deep).entries.len(), 0);
        let lol = "<!DOCTYPE r [<!ENTITY a \"&b;&b;\">]><rss><channel><item><title>&a;&a;</title><link>https://x.org/a</link></item></channel></rss>";
        assert!(read(lol).entries[0].title.len() < 20);
    }

    #[test]
    fn a_page_names_its_feeds() {
        let page = "<link rel=alternate type='application/rss+xml' href='/rss'><link rel=stylesheet href=x><LINK REL='alternate' TYPE='application/atom+xml' HREF='file:///x'>";
        assert_eq!(feeds_of_page(page.as_bytes(), AT), ["https://x.org/rss"]);
    }
}
