//! What articles and feeds are made of.

use crate::document::GenesisId;
use crate::registry::{
    Crdt, Essential, Family, Field, FieldType, Genesis, Kind, Module, Place, Projection, Validation,
};

/// Largest text of an article, as Markdown; a longer one is cut there.
pub const ARTICLE_BYTES_MAX: usize = 640 * 1024;
/// Longest address.
pub const ADDRESS_BYTES_MAX: usize = 4 * 1024;
/// Longest passage that can be highlighted.
pub const PASSAGE_BYTES_MAX: usize = 40 * 1024;

/// An article.
pub const ARTICLE_GENESIS: GenesisId = GenesisId(30);
/// A feed.
pub const FEED_GENESIS: GenesisId = GenesisId(31);

/// Articles to read and keep, and the feeds they come from.
pub static MODULE: Module = Module {
    name: "articles",
    label: "Articles",
    purpose: "Pages kept to be read offline, what was highlighted in them, and the feeds that bring more",
    kinds: &[&ARTICLE, &FEED],
};

/// A page that is kept.
pub static ARTICLE: Kind = Kind {
    name: "article",
    label: "Article",
    purpose: "A page that is kept to be read; one address is one article on every device",
    first: &ARTICLE_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(100),
    fields: ARTICLE_FIELDS,
    families: &[
        Family { name: "highlight", label: "Highlight", table: "article_highlight", rows_max: 2_000 },
        Family { name: "reading", label: "How far a device is", table: "article_reading", rows_max: 200 },
        Family { name: "tag", label: "Tag", table: "article_tag", rows_max: 200 },
    ],
    rules: &[],
    projection: Projection::Fields { table: "article", extra: None },
};

/// A feed.
pub static FEED: Kind = Kind {
    name: "feed",
    label: "Feed",
    purpose: "A feed (RSS, Atom, JSON) whose entries become articles; one address is one feed on every device",
    first: &FEED_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(200),
    fields: FEED_FIELDS,
    families: &[],
    rules: &[],
    projection: Projection::Fields { table: "feed", extra: None },
};

const ADDRESS: Validation = Validation::Bytes(ADDRESS_BYTES_MAX);

#[rustfmt::skip]
const ARTICLE_FIELDS: &[Field] = &[
    Field::schema("article.schema"),
    Field::version("article.schema.version", "schema:v"),
    Field::version("article.schema.min_reader", "schema:min"),
    Field::created("article.created"),
    Field::deleted("article.del"),
    Field::new("article.url", "url", FieldType::Raw).required().valid(ADDRESS)
        .named("Address", "Where the page is"),
    Field::new("article.title", "title", FieldType::Line).indexed().searched(Place::Title)
        .named("Title", "What the page is called"),
    Field::new("article.byline", "byline", FieldType::Line).searched(Place::Headings)
        .named("Author", "Who wrote it"),
    Field::new("article.site", "site", FieldType::Line).indexed().searched(Place::Headings)
        .named("Site", "Where it was published"),
    Field::new("article.published", "published", FieldType::Date).indexed()
        .named("Published", "The day it was published"),
    Field::new("article.lang", "lang", FieldType::Line).named("Language", "As the page says"),
    Field::new("article.excerpt", "excerpt", FieldType::Raw).valid(Validation::Bytes(4 * 1024)).searched(Place::Body)
        .named("Excerpt", "What it is about"),
    Field::new("article.words", "words", FieldType::Int).range(0, i64::MAX)
        .named("Words", "How long its text is"),
    // A register and no merging text: two devices that save one page write the same, and it must not stand there twice.
    Field::new("article.body", "body", FieldType::Raw).valid(Validation::Bytes(ARTICLE_BYTES_MAX)).searched(Place::Body)
        .named("Text", "What can be read, as Markdown"),
    Field::new("article.state", "state", FieldType::Choice(&["inbox", "reading", "done", "archived"])).indexed()
        .named("State", "What was done with it"),
    Field::new("article.rating", "rating", FieldType::Int).range(1, 5).named("Rating", "How good it was"),
    Field::new("article.feed", "feed", FieldType::Id).indexed().named("Feed", "The feed that brought it"),
    Field::new("article.guid", "guid", FieldType::Raw).valid(ADDRESS).named("Entry", "What the feed calls it"),
    Field::new("article.highlight.exact", "highlight/<id>:exact", FieldType::Raw)
        .valid(Validation::Bytes(PASSAGE_BYTES_MAX)).searched(Place::Body).named("Passage", "The words that are highlighted"),
    Field::new("article.highlight.prefix", "highlight/<id>:prefix", FieldType::Raw).valid(Validation::Bytes(512))
        .named("Before", "The words in front of them, to find them again"),
    Field::new("article.highlight.suffix", "highlight/<id>:suffix", FieldType::Raw).valid(Validation::Bytes(512))
        .named("Behind", "The words behind them, to find them again"),
    Field::new("article.highlight.start", "highlight/<id>:start", FieldType::Int).range(0, i64::MAX)
        .named("Start", "Where they stood, in characters"),
    Field::new("article.highlight.note", "highlight/<id>:note", FieldType::Raw).searched(Place::Body)
        .named("Note", "What was thought of it"),
    Field::new("article.highlight.color", "highlight/<id>:color",
        FieldType::Choice(&["yellow", "green", "blue", "red", "purple"])).named("Colour", "Which pen"),
    Field::new("article.highlight.made", "highlight/<id>:made", FieldType::TimeMs).named("Made", "When"),
    Field::row_deleted("article.highlight.del", "highlight/<id>:del"),
    Field::new("article.reading.progress", "reading/<id>:progress", FieldType::Int).range(0, 1_000)
        .named("Progress", "How far a device is, per mille; the furthest counts"),
    Field::row_deleted("article.reading.del", "reading/<id>:del"),
    Field::new("article.tag", "tag/<tag>", FieldType::Line).merges(Crdt::AddWins).searched(Place::Tags)
        .named("Tag", "A tag as it is written"),
];

#[rustfmt::skip]
const FEED_FIELDS: &[Field] = &[
    Field::schema("feed.schema"),
    Field::version("feed.schema.version", "schema:v"),
    Field::version("feed.schema.min_reader", "schema:min"),
    Field::created("feed.created"),
    Field::deleted("feed.del"),
    Field::new("feed.url", "url", FieldType::Raw).required().valid(ADDRESS)
        .named("Address", "Where the feed is").exported(&[("opml", "xmlUrl")]),
    Field::new("feed.title", "title", FieldType::Line).indexed().searched(Place::Title)
        .named("Title", "What it is called").exported(&[("opml", "text")]),
    Field::new("feed.site", "site", FieldType::Raw).valid(ADDRESS)
        .named("Site", "The page it belongs to").exported(&[("opml", "htmlUrl")]),
    Field::new("feed.folder", "folder", FieldType::Line).indexed()
        .named("Folder", "Where it stands among the others"),
];

#[rustfmt::skip]
static ARTICLE_FIRST: Genesis = Genesis::new(
    ARTICLE_GENESIS,
    [19, 124, 110, 207, 164, 178, 82, 57, 228, 116, 44, 144, 230, 139, 226, 3, 29, 228, 126, 232,
     90, 127, 20, 230, 193, 9, 6, 8, 90, 194, 73, 63],
    b"\x85oJ\x83\x13|n\xcf\x01=\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
      \x15\x084\x01B\x02V\x03W\x09p\x02\x7f\x06schema\x01\x7f\x01\x7f\x96\x01article/1\x7f\x00",
);

#[rustfmt::skip]
static FEED_FIRST: Genesis = Genesis::new(
    FEED_GENESIS,
    [60, 68, 122, 253, 249, 58, 146, 94, 116, 245, 208, 111, 172, 9, 145, 29, 172, 254, 148, 41,
     147, 18, 191, 157, 103, 61, 1, 236, 130, 71, 104, 60],
    b"\x85oJ\x83<Dz\xfd\x019\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
      \x15\x084\x01B\x02V\x02W\x06p\x02\x7f\x06schema\x01\x7f\x01\x7fffeed/1\x7f\x00",
);
