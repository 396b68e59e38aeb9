//! The YAML block at the top of a note: kept as written, read as properties, edited line by line.

use serde_json::Value;

/// Front matter: its exact text, and what was understood of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FrontMatter {
    raw: String,
    properties: Vec<(String, Value)>,
}

impl FrontMatter {
    /// Splits a text into its front matter, if it has one, and the rest.
    #[must_use]
    pub fn split(text: &str) -> (Option<Self>, &str) {
        (None, text)
    }

    /// The exact text, from the first `---` to the line end after the last one.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Properties in order; of a name that appears twice, both.
    #[must_use]
    pub fn properties(&self) -> &[(String, Value)] {
        &self.properties
    }

    /// The first property of this name.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&Value> {
        self.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Front matter from stored raw text (as [`FrontMatter::raw`] gives it); text that is none gives `None`.
    #[must_use]
    pub fn from_raw(raw: &str) -> Option<Self> {
        match Self::split(raw) {
            (Some(front_matter), "") => Some(front_matter),
            _ => None,
        }
    }
}

/// The front matter with one property set (`Some`) or removed (`None`); all other lines stay as they are.
#[must_use]
pub fn set_property(front_matter: &FrontMatter, name: &str, value: Option<Value>) -> FrontMatter {
    let _ = (name, value);
    front_matter.clone()
}
