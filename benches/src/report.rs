//! One figure: what was measured, how often, beside which yardstick, with what ratio and target.

use serde_json::{Map, Value, json};

/// A figure of one benchmark.
pub(crate) struct Figure {
    /// Name of the row in the target tables.
    pub(crate) name: &'static str,
    /// What was done, in words.
    pub(crate) what: String,
    /// Repetitions or items.
    pub(crate) n: usize,
    /// Median (or total) with its unit last in the name, e.g. `edit_us`.
    pub(crate) value: (&'static str, f64),
    /// The yardstick of the same run, same unit; `None` where the target is absolute.
    pub(crate) yardstick: Option<(String, f64)>,
    /// The target in words.
    pub(crate) target: &'static str,
    /// Whether the target was met.
    pub(crate) met: bool,
    /// Other figures, unit last in the key.
    pub(crate) extra: Vec<(&'static str, f64)>,
}

impl Figure {
    /// Measured ÷ yardstick.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.yardstick.as_ref().map(|(_, yardstick)| self.value.1 / yardstick)
    }

    /// One JSON document.
    pub(crate) fn json(&self) -> String {
        let mut out = Map::new();
        out.insert("name".into(), json!(self.name));
        out.insert("what".into(), json!(self.what));
        out.insert("n".into(), json!(self.n));
        out.insert(self.value.0.into(), json!(round(self.value.1)));
        if let Some((what, value)) = &self.yardstick {
            out.insert("yardstick".into(), json!({ "what": what, self.value.0: round(*value) }));
            out.insert("ratio".into(), json!(round(self.ratio().unwrap_or_default())));
        }
        out.insert("target".into(), json!(self.target));
        out.insert("met".into(), json!(self.met));
        self.extra.iter().for_each(|(key, value)| {
            out.insert((*key).into(), json!(round(*value)));
        });
        Value::Object(out).to_string()
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let beside = self.yardstick.as_ref().map_or_else(String::new, |(what, value)| {
            format!("  ÷ {what} {:.3} = {:.2}", value, self.ratio().unwrap_or_default())
        });
        let extra: String = self.extra.iter().map(|(key, value)| format!("  {key}={}", round(*value))).collect();
        let verdict = if self.met { "met" } else { "MISSED" };
        format!(
            "{:<12} {} (n={})\n             {}={:.3}{beside}  target {} {verdict}{extra}",
            self.name, self.what, self.n, self.value.0, self.value.1, self.target
        )
    }
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
