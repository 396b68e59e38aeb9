//! Feeds: their addresses are shared by all devices of a space; each device that fetches one remembers by itself which
//! version it knows. Entries become articles whose ids follow from their addresses, so it does not matter who fetches.

use lifeos_sync_protocol::ids::DocId;
use serde::{Deserialize, Serialize};

use super::articles::put_article;
use super::{Client, ClientError, Entity, EntityQuery, Progress, ProgressStep};
use crate::import::{Feed, FeedEntry, feeds_of_page, opml_feeds, parse_feed};
use crate::modules::articles::address::canonical;
use crate::modules::articles::declared::{ADDRESS_BYTES_MAX, FEED};
use crate::modules::articles::{Saved, article_doc, feed_doc};
use crate::modules::entity;
use crate::modules::register::line;
use crate::registry::LINE_CHARS_MAX;
use crate::store::{Step, Tx};
use crate::transport::fetch::{FetchError, Request, fetch};

/// Feeds of a space.
const FEEDS_MAX: u32 = 10_000;
/// Entries of one commit.
const ENTRIES_PER_COMMIT: usize = 25;

/// A feed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FeedShown {
    /// Its id.
    pub id: String,
    /// Address.
    pub url: String,
    /// Title.
    pub title: String,
    /// The page it belongs to.
    pub site: String,
    /// Where it stands among the others.
    pub folder: String,
    /// When this device fetched it last (ms UTC).
    pub fetched_ms: Option<i64>,
    /// What went wrong then.
    pub problem: Option<String>,
}

/// What fetching one feed brought.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FeedFetched {
    /// Its id.
    pub id: String,
    /// Title.
    pub title: String,
    /// Articles that are new.
    pub new: u64,
    /// Entries of the feed.
    pub entries: u64,
    /// The server says that nothing changed.
    pub unchanged: bool,
    /// What went wrong.
    pub problem: Option<String>,
}

/// What this device knows of a feed's newest version.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    etag: String,
    last_modified: String,
    fetched_ms: i64,
    problem: Option<String>,
}

impl Client {
    /// Subscribes to a feed; one that is there stays as it is but for its folder. Its id, and whether it is new.
    /// # Errors
    /// [`ClientError::Invalid`] for what is no address of the web.
    pub fn feed_add(&self, url: &str, title: &str, folder: &str) -> Result<(String, bool), ClientError> {
        let feed = FeedShown { url: url.into(), title: title.into(), folder: folder.into(), ..FeedShown::default() };
        self.write(|tx| {
            tx.step(Step::Edit);
            self.put_feed(tx, &feed)
        })
    }

    fn put_feed(&self, tx: &mut Tx<'_>, feed: &FeedShown) -> Result<(String, bool), ClientError> {
        let url = canonical(&feed.url).ok_or_else(|| ClientError::from(FetchError::BadAddress(feed.url.clone())))?;
        let doc = feed_doc(&self.space(), &url);
        let is_new = tx.kind_of(&doc)?.is_none();
        let now_ms = tx.now_ms();
        tx.edit(&doc, FEED.genesis(), |inner| {
            let (title, folder) = (cut(&feed.title), cut(&feed.folder));
            let mut fields =
                vec![("title", title), ("folder", folder), ("site", canonical(&feed.site).unwrap_or_default())];
            fields.retain(|(name, value)| {
                let known = FEED.field_named(name).and_then(|field| entity::value(inner, field));
                let known = known.and_then(|known| known.into_string().ok());
                // What it is called here stays; where it stands is for who subscribes to say.
                !value.is_empty() && (known.is_none() || (*name == "folder" && known.as_ref() != Some(value)))
            });
            let mut fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str().into())).collect();
            if is_new {
                fields.push(("url", url.as_str().into()));
                return entity::create(inner, &FEED, &fields, now_ms).map_err(ClientError::from);
            }
            // Whoever subscribes again wants it.
            entity::restore(inner, &FEED)?;
            entity::set_all(inner, &FEED, &fields).map_err(ClientError::from)
        })?;
        Ok((doc.to_string(), is_new))
    }

    /// Subscribes to what an address leads to: a feed, or the first feed that a page names.
    /// # Errors
    /// [`ClientError`].
    pub async fn feed_discover(&self, url: &str, may_go_inside: bool) -> Result<String, ClientError> {
        let answer = fetch(&Request { url: url.to_owned(), may_go_inside, ..Request::default() }).await?;
        if let Ok(feed) = parse_feed(&answer.body, &answer.url) {
            let shown = FeedShown { url: answer.url, title: feed.title, site: feed.site, ..FeedShown::default() };
            return self.write(|tx| Ok(self.put_feed(tx, &shown)?.0));
        }
        let named = feeds_of_page(&answer.body, &answer.url).into_iter().next();
        let named = named.ok_or_else(|| ClientError::invalid(crate::import::NoFeed.to_string()))?;
        Ok(self.feed_add(&named, "", "")?.0)
    }

    /// Feeds that are subscribed to, by folder and title.
    /// # Errors
    /// [`ClientError`].
    pub fn feeds(&self) -> Result<Vec<FeedShown>, ClientError> {
        let found = self.entities(FEED.name, &EntityQuery { limit: FEEDS_MAX, ..EntityQuery::default() })?;
        let mut feeds: Vec<FeedShown> = found.iter().map(|entity| self.feed_shown(entity)).collect::<Result<_, _>>()?;
        feeds.sort_by(|one, other| (&one.folder, &one.title, &one.url).cmp(&(&other.folder, &other.title, &other.url)));
        Ok(feeds)
    }

    fn feed_shown(&self, entity: &Entity) -> Result<FeedShown, ClientError> {
        let text = |name: &str| entity.values.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
        let known = self.known_of(&entity.id)?;
        Ok(FeedShown {
            id: entity.id.clone(),
            url: text("url"),
            title: text("title"),
            site: text("site"),
            folder: text("folder"),
            fetched_ms: known.as_ref().map(|known| known.fetched_ms),
            problem: known.and_then(|known| known.problem),
        })
    }

    fn known_of(&self, id: &str) -> Result<Option<Known>, ClientError> {
        let bytes = self.shared.reader().reads().remembered(&known_key(id))?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Unsubscribes; the articles stay.
    /// # Errors
    /// [`ClientError`].
    pub fn feed_remove(&self, id: &str) -> Result<(), ClientError> {
        let found = self.entity(id)?;
        if found.kind != FEED.name {
            return Err(ClientError::not_found(format!("feed {id}")));
        }
        self.entity_trash(&found.id, true)
    }

    /// Fetches feeds (all, or those named by id), one after the other; one that cannot be had costs only itself.
    /// # Errors
    /// [`ClientError`] of the store.
    pub async fn feeds_fetch(
        &self,
        ids: &[String],
        may_go_inside: bool,
        progress: Progress<'_>,
    ) -> Result<Vec<FeedFetched>, ClientError> {
        let mut feeds = self.feeds()?;
        if !ids.is_empty() {
            let unknown = ids.iter().find(|id| !feeds.iter().any(|feed| feed.id.starts_with(id.as_str())));
            if let Some(id) = unknown {
                return Err(ClientError::not_found(format!("feed {id}")));
            }
            feeds.retain(|feed| ids.iter().any(|id| feed.id.starts_with(id.as_str())));
        }
        let (mut fetched, total) = (Vec::new(), feeds.len() as u64);
        for feed in feeds {
            fetched.push(self.feed_fetch(feed, may_go_inside).await?);
            progress(ProgressStep { phase: "feeds", done: fetched.len() as u64, total });
        }
        Ok(fetched)
    }

    async fn feed_fetch(&self, feed: FeedShown, may_go_inside: bool) -> Result<FeedFetched, ClientError> {
        let mut known = self.known_of(&feed.id)?.unwrap_or_default();
        known.fetched_ms = crate::engine::wall_ms();
        known.problem = None;
        let mut report = FeedFetched { id: feed.id.clone(), title: feed.title.clone(), ..FeedFetched::default() };
        let request = Request {
            url: feed.url.clone(),
            etag: known.etag.clone(),
            last_modified: known.last_modified.clone(),
            may_go_inside,
            ..Request::default()
        };
        match fetch(&request).await {
            Ok(answer) if answer.is_unchanged => report.unchanged = true,
            Ok(answer) => match parse_feed(&answer.body, &answer.url) {
                Ok(read) => {
                    report.entries = read.entries.len() as u64;
                    report.new = self.take_entries(&feed, read)?;
                    (known.etag, known.last_modified) = (answer.etag, answer.last_modified);
                }
                Err(error) => known.problem = Some(error.to_string()),
            },
            Err(error) => known.problem = Some(error.to_string()),
        }
        report.problem.clone_from(&known.problem);
        let value = serde_json::to_vec(&known).unwrap_or_default();
        self.write(|tx| {
            tx.step(Step::None);
            Ok(tx.put_meta(&known_key(&feed.id), &value)?)
        })?;
        Ok(report)
    }

    /// Makes articles of the entries that are not there yet; how many.
    fn take_entries(&self, feed: &FeedShown, read: Feed) -> Result<u64, ClientError> {
        let feed_id: Option<DocId> = feed.id.parse().ok();
        if feed.title.is_empty() {
            let shown = FeedShown { title: read.title.clone(), site: read.site.clone(), ..feed.clone() };
            self.write(|tx| {
                tx.step(Step::None);
                self.name_feed(tx, &shown)
            })?;
        }
        let mut new = 0;
        for entries in read.entries.chunks(ENTRIES_PER_COMMIT) {
            new += self.write(|tx| {
                tx.step(Step::None);
                let mut new = 0;
                for entry in entries {
                    let doc = article_doc(&self.space(), &entry.url);
                    // What is there may have been read, or thrown away.
                    if tx.kind_of(&doc)?.is_none() {
                        let saved = saved(entry, feed_id, &read.title);
                        put_article(tx, &doc, &saved)?;
                        new += 1;
                    }
                }
                Ok::<u64, ClientError>(new)
            })?;
        }
        Ok(new)
    }

    fn name_feed(&self, tx: &mut Tx<'_>, feed: &FeedShown) -> Result<(), ClientError> {
        let Ok(doc) = feed.id.parse::<DocId>() else { return Ok(()) };
        let (title, site) = (cut(&feed.title), canonical(&feed.site).unwrap_or_default());
        let mut fields: Vec<(&str, automerge::ScalarValue)> = Vec::new();
        if !title.is_empty() {
            fields.push(("title", title.into()));
        }
        if !site.is_empty() && site.len() <= ADDRESS_BYTES_MAX {
            fields.push(("site", site.into()));
        }
        tx.edit(&doc, FEED.genesis(), |inner| entity::set_all(inner, &FEED, &fields).map_err(ClientError::from))
    }

    /// Subscribes to the feeds of an outline (OPML); how many were new, and how many addresses are none of the web.
    /// # Errors
    /// [`ClientError`].
    pub fn feeds_import(&self, outline: &[u8]) -> Result<(u64, u64), ClientError> {
        let found = opml_feeds(outline).map_err(|error| ClientError::invalid(error.to_string()))?;
        let (mut new, mut bad) = (0, 0);
        for some in found.chunks(ENTRIES_PER_COMMIT) {
            self.write(|tx| {
                tx.step(Step::None);
                for (url, title, site, folder) in some {
                    let (url, title, site, folder) = (url.clone(), title.clone(), site.clone(), folder.clone());
                    let feed = FeedShown { url, title, site, folder, ..FeedShown::default() };
                    match self.put_feed(tx, &feed) {
                        Ok((_, is_new)) => new += u64::from(is_new),
                        Err(ClientError::Invalid { .. }) => bad += 1,
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            })?;
        }
        Ok((new, bad))
    }

    /// The feeds as an outline (OPML 2.0).
    /// # Errors
    /// [`ClientError`].
    pub fn feeds_export(&self) -> Result<String, ClientError> {
        let escaped = |text: &str| {
            let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
            text.chars().filter(|char| !char.is_control()).collect::<String>()
        };
        let mut out = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<opml version=\"2.0\">\n<head><title>Feeds</title></head>\n<body>\n",
        );
        let mut folder = String::new();
        for feed in self.feeds()? {
            if feed.folder != folder {
                if !folder.is_empty() {
                    out.push_str("</outline>\n");
                }
                if !feed.folder.is_empty() {
                    out.push_str(&format!("<outline text=\"{}\">\n", escaped(&feed.folder)));
                }
                folder.clone_from(&feed.folder);
            }
            let site =
                if feed.site.is_empty() { String::new() } else { format!(" htmlUrl=\"{}\"", escaped(&feed.site)) };
            let (title, url) = (escaped(&feed.title), escaped(&feed.url));
            out.push_str(&format!("<outline type=\"rss\" text=\"{title}\" xmlUrl=\"{url}\"{site}/>\n"));
        }
        if !folder.is_empty() {
            out.push_str("</outline>\n");
        }
        Ok(out + "</body>\n</opml>\n")
    }
}

fn known_key(id: &str) -> String {
    format!("feed/{id}")
}

fn cut(text: &str) -> String {
    line(text).chars().take(LINE_CHARS_MAX).collect::<String>().trim_end().to_owned()
}

fn saved(entry: &FeedEntry, feed: Option<DocId>, site: &str) -> Saved {
    Saved {
        url: entry.url.clone(),
        title: entry.title.clone(),
        byline: entry.byline.clone(),
        site: site.to_owned(),
        published: entry.published.clone(),
        excerpt: entry.excerpt.clone(),
        body: entry.body.clone(),
        guid: entry.guid.clone(),
        tags: entry.tags.clone(),
        feed,
        ..Saved::default()
    }
}
