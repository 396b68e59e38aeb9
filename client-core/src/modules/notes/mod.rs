//! Notes: title, rich-text body, properties, tags, notebooks, links, history.
// owner: notes helper
pub mod markdown;
