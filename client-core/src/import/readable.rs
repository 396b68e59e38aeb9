//! What a page is there for, without what stands around it, and what the page says of itself.
//!
//! After Mozilla's Readability, in two readings of the tokens and without a tree: the first gives each element points for the
//! paragraphs in it (all of a paragraph's to its parent, half to the one above), takes off what is links, and chooses; the
//! second writes what is in the chosen element, without what is named like something else.

use std::collections::HashMap;

use super::html::{Links, Page, Writer};
use super::markup::{Dialect, Markup, Tag, Token};
use super::text;
use crate::modules::articles::address::{canonical, host, joined};
use crate::modules::articles::declared::ARTICLE_BYTES_MAX;

/// Elements that are open at once and looked at.
const DEPTH_MAX: usize = 500;
/// Elements that are weighed.
const ELEMENTS_MAX: usize = 200_000;
/// Shorter paragraphs are no sign of anything.
const PARAGRAPH_CHARS_MIN: usize = 25;
/// Longest value of what the page says of itself.
const VALUE_CHARS_MAX: usize = 1_000;

/// A page, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readable {
    /// Its address as it says itself, if that is of the same host.
    pub url: String,
    /// Title.
    pub title: String,
    /// Who wrote it.
    pub byline: String,
    /// Where it was published.
    pub site: String,
    /// The day, `2026-03-08`.
    pub published: String,
    /// Language.
    pub lang: String,
    /// What it is about.
    pub excerpt: String,
    /// Its text as Markdown.
    pub body: String,
    /// Addresses of the pictures in it.
    pub pictures: Vec<String>,
}

/// Reads a page that came from an address.
#[must_use]
pub fn readable(page: &[u8], address: &str) -> Readable {
    let survey = Survey::of(page);
    let chosen = survey.chosen();
    let mut links = Onward { page: address, pictures: Vec::new() };
    let text = write(page, chosen, &mut links);
    let text = if text.markdown.trim().is_empty() { write(page, None, &mut links) } else { text };
    let said = |names: &[&str]| {
        let found = names.iter().find_map(|name| survey.said.get(*name)).map(String::as_str).unwrap_or_default();
        found.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let named = Some(said(&["canonical", "og:url"])).filter(|named| !named.is_empty());
    let own = named.and_then(|named| joined(address, &named)).filter(|own| host(own) == host(address));
    let published = said(&["article:published_time", "date", "dc.date", "dcterms.created", "datepublished", "time"]);
    let title = said(&["og:title", "twitter:title", "dc.title"]);
    let mut pictures = links.pictures;
    pictures.dedup();
    Readable {
        url: own.or_else(|| canonical(address)).unwrap_or_default(),
        title: if title.is_empty() { text.title } else { title },
        byline: said(&["author", "article:author", "dc.creator", "byl"]),
        site: said(&["og:site_name", "application-name"]),
        published: published
            .get(..10)
            .filter(|day| day.parse::<jiff::civil::Date>().is_ok())
            .unwrap_or_default()
            .to_owned(),
        lang: survey.lang,
        excerpt: said(&["og:description", "description", "twitter:description", "dc.description"]),
        body: text.markdown,
        pictures,
    }
}

/// Links of a page lead on from it.
struct Onward<'p> {
    page: &'p str,
    pictures: Vec<String>,
}

impl Links for Onward<'_> {
    fn link(&mut self, tag: &Tag) -> Option<String> {
        joined(self.page, tag.get("href")?)
    }

    fn shown(&mut self, tag: &Tag) -> Option<(String, String, bool)> {
        // Many pages keep the true address elsewhere until somebody scrolls there.
        let lazy = ["data-src", "data-original", "src"].iter().filter_map(|name| tag.get(name));
        let to =
            lazy.filter(|src| !src.is_empty() && !src.starts_with("data:")).find_map(|src| joined(self.page, src))?;
        self.pictures.push(to.clone());
        Some((to, tag.get("alt").unwrap_or_default().to_owned(), true))
    }
}

/// Points of an element.
#[derive(Debug, Clone, Copy, Default)]
struct Points {
    /// Number of its opening tag.
    ordinal: usize,
    points: f64,
    chars: usize,
    link_chars: usize,
    is_article: bool,
}

impl Points {
    fn weight(&self) -> f64 {
        let links = if self.chars == 0 { 0.0 } else { self.link_chars as f64 / self.chars as f64 };
        self.points * (1.0 - links)
    }
}

#[derive(Default)]
struct Survey {
    found: Vec<Points>,
    said: HashMap<String, String>,
    lang: String,
}

struct Open {
    name: String,
    points: Points,
    commas: usize,
    unlikely: bool,
}

impl Survey {
    fn of(page: &[u8]) -> Self {
        let mut survey = Self::default();
        let Ok(opened) = text::open(page) else { return survey };
        let mut markup = Markup::new(opened.text, Dialect::Html);
        let (mut open, mut ordinal, mut links): (Vec<Open>, usize, usize) = (Vec::new(), 0, 0);
        while let Ok(Some(token)) = markup.next() {
            match token {
                Token::Open(tag) => {
                    ordinal += 1;
                    survey.note(&tag);
                    if tag.is_empty || is_void(&tag.name) || open.len() >= DEPTH_MAX || ordinal > ELEMENTS_MAX {
                        continue;
                    }
                    // A paragraph ends where the next block begins.
                    if is_block(&tag.name) {
                        while let Some(last) = open.pop_if(|last| last.name == "p") {
                            survey.end(last, &mut open);
                        }
                    }
                    links += usize::from(tag.name == "a");
                    let unlikely = is_unlikely(&tag) || open.last().is_some_and(|parent| parent.unlikely);
                    let is_article =
                        tag.name == "article" || tag.name == "main" || tag.get("itemprop") == Some("articleBody");
                    let points = Points { ordinal, is_article, ..Points::default() };
                    open.push(Open { name: tag.name, points, commas: 0, unlikely });
                }
                Token::Close(name) => {
                    let Some(at) = open.iter().rposition(|open| open.name == name) else { continue };
                    while open.len() > at {
                        let Some(last) = open.pop() else { break };
                        links -= usize::from(last.name == "a").min(links);
                        survey.end(last, &mut open);
                    }
                }
                Token::Text(text) => {
                    let Some(last) = open.last_mut() else { continue };
                    let chars = text.chars().filter(|char| !char.is_whitespace()).count();
                    last.points.chars += chars;
                    last.points.link_chars += if links > 0 { chars } else { 0 };
                    last.commas += text.matches([',', '،', '、', '，']).count();
                }
            }
        }
        while let Some(last) = open.pop() {
            survey.end(last, &mut open);
        }
        survey
    }

    /// What is in an element is in those around it, too.
    fn end(&mut self, last: Open, open: &mut [Open]) {
        if last.unlikely {
            return;
        }
        let is_paragraph = matches!(last.name.as_str(), "p" | "pre" | "td" | "blockquote" | "li");
        let depth = open.len();
        if let Some(parent) = open.last_mut() {
            parent.points.chars += last.points.chars;
            parent.points.link_chars += last.points.link_chars;
            parent.commas += if is_paragraph { 0 } else { last.commas };
            if is_paragraph && last.points.chars >= PARAGRAPH_CHARS_MIN {
                let whole = 1.0 + last.commas as f64 + (last.points.chars as f64 / 100.0).min(3.0);
                let links = last.points.link_chars as f64 / last.points.chars as f64;
                let points = whole * (1.0 - links);
                parent.points.points += points;
                if let Some(above) = depth.checked_sub(2).and_then(|at| open.get_mut(at)) {
                    above.points.points += points / 2.0;
                }
            }
        }
        if last.points.points > 0.0 {
            self.found.push(last.points);
        }
    }

    /// The element the page is there for: an article, if most stands in one, else the one with the most points.
    fn chosen(&self) -> Option<usize> {
        let most = self.found.iter().copied().max_by(|one, other| one.weight().total_cmp(&other.weight()))?;
        let articles = self.found.iter().filter(|points| points.is_article && points.chars >= most.chars / 2);
        let article = articles.min_by_key(|points| points.chars);
        Some(article.unwrap_or(&most).ordinal)
    }

    /// What the page says of itself.
    fn note(&mut self, tag: &Tag) {
        let (name, value) = match tag.name.as_str() {
            "html" => {
                self.lang = tag.get("lang").unwrap_or_default().chars().take(35).collect();
                return;
            }
            "meta" => {
                let name = tag.get("property").or_else(|| tag.get("name")).or_else(|| tag.get("itemprop"));
                (name, tag.get("content"))
            }
            "link" if tag.get("rel") == Some("canonical") => (Some("canonical"), tag.get("href")),
            "time" => (Some("time"), tag.get("datetime")),
            _ => return,
        };
        if let (Some(name), Some(value)) = (name, value.filter(|value| !value.trim().is_empty())) {
            let name = name.to_ascii_lowercase();
            if self.said.len() < 500 && name.len() < 100 {
                self.said.entry(name).or_insert_with(|| value.chars().take(VALUE_CHARS_MAX).collect());
            }
        }
    }
}

fn is_void(name: &str) -> bool {
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
        .contains(&name)
}

fn is_block(name: &str) -> bool {
    [
        "p",
        "div",
        "section",
        "article",
        "ul",
        "ol",
        "dl",
        "table",
        "blockquote",
        "pre",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "form",
        "header",
        "footer",
        "nav",
        "aside",
        "main",
        "figure",
    ]
    .contains(&name)
}

/// Words in names of elements that are there for something else, and those that make up for it.
const UNLIKELY: [&str; 22] = [
    "comment",
    "sidebar",
    "share",
    "sharing",
    "social",
    "related",
    "recommend",
    "promo",
    "newsletter",
    "subscribe",
    "cookie",
    "consent",
    "breadcrumb",
    "pagination",
    "advert",
    "sponsor",
    "banner",
    "popup",
    "modal",
    "skip-link",
    "masthead",
    "menu",
];
const LIKELY: [&str; 6] = ["article", "body", "content", "entry", "main", "post"];

fn is_unlikely(tag: &Tag) -> bool {
    if matches!(tag.name.as_str(), "nav" | "aside" | "footer" | "form" | "button" | "dialog" | "menu") {
        return true;
    }
    let role = tag.get("role").unwrap_or_default();
    if ["navigation", "complementary", "banner", "contentinfo", "dialog", "alert"].contains(&role)
        || tag.get("hidden").is_some()
    {
        return true;
    }
    if matches!(tag.name.as_str(), "html" | "body" | "article" | "main" | "a" | "p" | "h1" | "h2") {
        return false;
    }
    let said =
        [tag.get("class"), tag.get("id")].into_iter().flatten().map(|said| said.chars().take(300).collect::<String>());
    let said = said.collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    UNLIKELY.iter().any(|word| said.contains(word)) && !LIKELY.iter().any(|word| said.contains(word))
}

/// The second reading.
fn write(page: &[u8], chosen: Option<usize>, links: &mut dyn Links) -> Page {
    let Ok(opened) = text::open(page) else { return Page::default() };
    let mut markup = Markup::new(opened.text, Dialect::Html);
    let mut writer = Writer::new(links);
    let (mut ordinal, mut inside, mut left_out, mut in_title) = (0, Vec::<String>::new(), Vec::<String>::new(), false);
    let mut is_begun = chosen.is_none();
    while let Ok(Some(token)) = markup.next() {
        match token {
            Token::Open(tag) => {
                ordinal += 1;
                let is_open = !tag.is_empty && !is_void(&tag.name);
                if !left_out.is_empty() || (is_begun && chosen.is_some() && is_unlikely(&tag)) {
                    if is_open && left_out.len() < DEPTH_MAX {
                        left_out.push(tag.name);
                    }
                    continue;
                }
                in_title |= tag.name == "title";
                is_begun |= chosen == Some(ordinal);
                if is_begun || in_title {
                    if is_begun && is_open && inside.len() < DEPTH_MAX {
                        inside.push(tag.name.clone());
                    }
                    writer.open(&tag);
                }
            }
            Token::Close(name) => {
                if let Some(at) = left_out.iter().rposition(|open| *open == name) {
                    left_out.truncate(at);
                    continue;
                }
                if !left_out.is_empty() {
                    continue;
                }
                if is_begun || in_title {
                    writer.close(&name);
                }
                in_title &= name != "title";
                let at = inside.iter().rposition(|open| *open == name);
                if let Some(at) = at.filter(|_| is_begun) {
                    inside.truncate(at);
                    if at == 0 && chosen.is_some() {
                        return writer.finish(false);
                    }
                }
            }
            Token::Text(text) if (is_begun || in_title) && left_out.is_empty() => writer.text(&text),
            Token::Text(_) => {}
        }
        if writer.bytes() > ARTICLE_BYTES_MAX {
            return writer.finish(true);
        }
    }
    writer.finish(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "https://x.org/2026/sea.html?utm_source=y";

    fn paragraph(n: usize) -> String {
        format!(
            "<p>Paragraph {n}, which says something of the sea, of <a href='/w'>waves</a>, and of what lives in it.</p>"
        )
    }

    #[test]
    fn what_a_page_is_there_for_is_kept_and_what_stands_around_it_is_not() {
        let links = "<ul>".to_owned()
            + &"<li><a href='/x'>Another story that you will surely want to read, too</a></li>".repeat(30)
            + "</ul>";
        let paragraphs: String = (0..5).map(paragraph).collect();
        for (open, close) in [
            ("<article>", "</article>"),
            ("<div class='post-body'>", "</div>"),
            ("<main><div>", "</div></main>"),
            ("<div><div>", "</div></div>"),
        ] {
            let page = format!(
                "<html lang=en><head><title>Sea | X</title><meta property='og:title' content='The &quot;sea&quot;'><meta name=author content=Ana>\
                 <meta property='article:published_time' content='2026-03-08T10:00:00Z'><meta name=description content='Of the sea'>\
                 <meta property='og:site_name' content='X'><link rel=canonical href='/2026/sea'></head><body><nav>{links}</nav>\
                 <header><h2>X news</h2></header>{open}<h1>The sea</h1>{paragraphs}<img data-src='sea.png' src='data:x' alt='waves'>\
                 <div class='share-buttons'>Share this, please, with all of your friends, everywhere</div>{close}\
                 <div class=sidebar>{links}</div><footer><p>All rights reserved, by everybody, for all times and places</p></footer></body></html>"
            );
            let read = readable(page.as_bytes(), AT);
            assert_eq!((read.title.as_str(), read.byline.as_str(), read.site.as_str()), ("The \"sea\"", "Ana", "X"));
            assert_eq!(
                (read.published.as_str(), read.lang.as_str(), read.excerpt.as_str()),
                ("2026-03-08", "en", "Of the sea")
            );
            assert_eq!(read.url, "https://x.org/2026/sea");
            assert!(read.body.starts_with("# The sea\n\nParagraph 0, which says"), "{open}: {}", read.body);
            assert!(
                read.body.contains("[waves](https://x.org/w)")
                    && read.body.contains("![waves](https://x.org/2026/sea.png)"),
                "{}",
                read.body
            );
            for other in ["Another story", "Share this", "rights reserved", "X news"] {
                assert!(!read.body.contains(other), "{open}: {other}: {}", read.body);
            }
            assert_eq!(read.pictures, ["https://x.org/2026/sea.png"]);
        }
    }

    #[test]
    fn a_page_that_names_another_host_as_its_own_keeps_its_address() {
        let page = "<link rel=canonical href='https://bank.example/'><p>words";
        assert_eq!(readable(page.as_bytes(), AT).url, "https://x.org/2026/sea.html");
    }

    #[test]
    fn a_page_without_paragraphs_or_of_any_shape_gives_its_words() {
        assert_eq!(readable(b"just words", AT).body, "just words\n");
        assert_eq!(readable(b"", AT), Readable { url: "https://x.org/2026/sea.html".into(), ..Readable::default() });
        for deep in ["<div>", "<p>", "<a href=x>", "<article>", "<ul><li>"] {
            let read = readable(
                format!("{}words of a page that is nested without any end{}", deep.repeat(100_000), paragraph(1))
                    .as_bytes(),
                AT,
            );
            assert!(read.body.contains("words of a page"), "{deep}");
        }
        let large = readable(paragraph(1).repeat(20_000).as_bytes(), AT);
        assert!(large.body.len() > ARTICLE_BYTES_MAX / 2 && large.body.len() < ARTICLE_BYTES_MAX + 4096);
    }
}
