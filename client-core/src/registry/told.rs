//! What people and programs are told of a kind: its JSON Schema, and the table of its fields in `docs/modules`.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{Crdt, Field, FieldType, Kind, Module, Projection, Validation};

impl Field {
    /// The JSON Schema (2020-12) of its values as `Field::show` gives them.
    #[must_use]
    pub fn json_schema(&self) -> Value {
        let mut schema = match self.field_type {
            FieldType::Bool => json!({"type": "boolean"}),
            FieldType::Int | FieldType::Measure | FieldType::Counter | FieldType::TimeMs => json!({"type": "integer"}),
            FieldType::Minor(_) => {
                json!({"type": "integer", "minimum": -super::check::MINOR_MAX, "maximum": super::check::MINOR_MAX})
            }
            FieldType::Date => json!({"type": "string", "format": "date"}),
            FieldType::Currency => json!({"type": "string", "pattern": "^[A-Z]{3}$"}),
            FieldType::Quantity => json!({"type": "string", "pattern": "^-?\\d+(\\.\\d{1,18})?$"}),
            FieldType::Rate => json!({"type": "string", "pattern": "^\\d+(\\.\\d{1,18})?$"}),
            FieldType::Id => json!({"type": "string", "pattern": "^[0-9a-f]{32}$"}),
            FieldType::Hash => json!({"type": "string", "pattern": "^[0-9a-f]{64}$"}),
            FieldType::DetId => json!({"type": "string", "pattern": "^[a-z2-7]{26}$"}),
            FieldType::Ref => json!({"type": "string", "pattern": "^lifeos:[^/]+/.+$"}),
            // Unknown choices are kept: readers must not refuse them.
            FieldType::Choice(values) => json!({"type": "string", "examples": values}),
            FieldType::Json => json!({}),
            _ => json!({"type": "string"}),
        };
        let Some(map) = schema.as_object_mut() else { return schema };
        match self.validation {
            Validation::Line { chars_max, empty } => {
                map.insert("maxLength".into(), json!(chars_max));
                map.insert("minLength".into(), json!(u8::from(!empty)));
            }
            Validation::OneOf(values) => drop(map.insert("enum".into(), json!(values))),
            Validation::Range(min, max) => {
                map.insert("minimum".into(), json!(min));
                map.insert("maximum".into(), json!(max));
            }
            _ => {}
        }
        map.insert("title".into(), json!(self.label));
        map.insert("description".into(), json!(self.purpose));
        if let Some(unit) = self.unit {
            map.insert("x-unit".into(), json!(unit));
        }
        if self.deprecated.is_some() {
            map.insert("deprecated".into(), json!(true));
        }
        map.insert("x-id".into(), json!(self.id));
        map.insert("x-sensitivity".into(), json!(self.sensitivity.name()));
        schema
    }
}

/// Whether a field is one that people fill in: not its version, tombstone or time of making.
fn is_content(field: &Field) -> bool {
    !(field.key == "schema" || field.key.starts_with("schema:") || matches!(field.name(), "created" | "del"))
}

impl Kind {
    /// The JSON Schema (2020-12) of what its fields and lists hold, as `lifeos entity show --json` prints them.
    #[must_use]
    pub fn json_schema(&self) -> Value {
        let properties = |family: Option<&str>| -> Map<String, Value> {
            let fields = self.fields_of(family).filter(|field| is_content(field));
            fields.map(|field| (field.name().to_owned(), field.json_schema())).collect()
        };
        let lists: Map<String, Value> = self
            .families
            .iter()
            .map(|family| {
                let mut entry = properties(Some(family.name));
                let items = if self.is_set(family) {
                    json!({"type": "string"})
                } else {
                    entry.insert("id".into(), json!({"type": "string"}));
                    json!({"type": "object", "properties": entry, "required": ["id"]})
                };
                let schema =
                    json!({"type": "array", "title": family.label, "maxItems": family.rows_max, "items": items});
                (family.name.to_owned(), schema)
            })
            .collect();
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": self.label, "description": self.purpose, "x-kind": self.name, "x-version": self.version,
            "type": "object",
            "properties": {
                "values": {"type": "object", "properties": properties(None)},
                "lists": {"type": "object", "properties": lists},
            },
        })
    }
}

impl Module {
    /// Its kinds and fields as Markdown: the part of `docs/modules/<name>.md` that is generated.
    #[must_use]
    pub fn document(&self) -> String {
        let mut text = format!("{}.\n", self.purpose);
        for kind in self.kinds {
            let _ = write!(
                text,
                "\n### {} (`{}`, version {})\n\n{}.\n\n",
                kind.label, kind.name, kind.version, kind.purpose
            );
            text.push_str("| field | key | type | merges | what for |\n|---|---|---|---|---|\n");
            for field in kind.fields.iter().filter(|field| is_content(field)) {
                let _ = writeln!(text, "| {} |", cells(field).join(" | "));
            }
            for family in kind.families {
                let _ =
                    write!(text, "\n`{}`: {}, at most {}.", family.name, family.label.to_lowercase(), family.rows_max);
            }
            for rule in kind.rules {
                let _ = write!(text, "\n`{}`: {}.", rule.id, rule.text);
            }
            if !(kind.families.is_empty() && kind.rules.is_empty()) {
                text.push('\n');
            }
            if let Projection::Fields { table, .. } = kind.projection {
                let _ = writeln!(text, "\nRows follow from the fields (table `{table}`).");
            }
        }
        text
    }
}

fn cells(field: &Field) -> [String; 5] {
    let held = match (field.field_type, field.unit) {
        (FieldType::Choice(values), _) => values.join(", "),
        (other, Some(unit)) => format!("{} ({unit})", other.name()),
        (other, None) => other.name().to_owned(),
    };
    let merges = match field.crdt {
        Crdt::Constant => "never changes",
        Crdt::Register if field.conflicts => "last write wins, others shown",
        Crdt::Register => "last write wins",
        Crdt::AddWins => "adding wins",
        Crdt::Text => "both edits survive",
        Crdt::Counter => "all additions count",
    };
    let mut notes = vec![field.purpose.to_owned()];
    notes.extend((field.sensitivity > super::Sensitivity::Personal).then(|| field.sensitivity.name().to_owned()));
    notes.extend((!field.ai_readable).then(|| "no assistant reads it".to_owned()));
    notes.extend(field.deprecated.map(|version| format!("not written since version {version}")));
    [field.label.to_owned(), format!("`{}`", field.key), held, merges.to_owned(), notes.join("; ")]
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::modules::MODULES;
    use crate::modules::specimen::SPECIMEN;

    const BEGIN: &str = "<!-- fields: `cargo xtask docs` writes what follows -->\n";
    const END: &str = "<!-- end of fields -->\n";

    /// `LIFEOS_DOCS=write` writes them (`cargo xtask docs`).
    #[test]
    fn the_documents_of_modules_say_what_the_registry_declares() {
        for module in MODULES.iter().filter(|module| module.name != "specimen") {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/modules/{}.md", module.name));
            let found = std::fs::read_to_string(&path).unwrap_or_else(|_| format!("# {}\n", module.label));
            let by_hand = found.split_once(BEGIN).map_or(found.as_str(), |(before, _)| before).trim_end();
            let after = found.split_once(END).map_or("", |(_, after)| after);
            let wanted = format!("{by_hand}\n\n{BEGIN}\n## Fields\n\n{}\n{END}{after}", module.document());
            if std::env::var_os("LIFEOS_DOCS").is_some() {
                std::fs::write(&path, &wanted).unwrap();
            } else {
                assert!(found == wanted, "{} is not up to date: run `cargo xtask docs`", path.display());
            }
        }
    }

    #[test]
    fn the_schema_of_a_kind_has_its_fields_and_lists_and_none_of_the_technical_ones() {
        let schema = SPECIMEN.json_schema();
        let values = &schema["properties"]["values"]["properties"];
        assert_eq!((&values["int"]["minimum"], &values["int"]["maximum"]), (&(-5).into(), &100.into()));
        assert_eq!(values["weight"]["x-unit"], "g");
        assert_eq!(values["old"]["deprecated"], true);
        assert!(values["status"].get("enum").is_none(), "choices of newer versions are kept");
        for technical in ["schema", "schema:v", "created", "del"] {
            assert!(values.get(technical).is_none(), "{technical}");
        }
        let lists = &schema["properties"]["lists"]["properties"];
        assert_eq!(lists["tag"]["items"]["type"], "string");
        assert_eq!(lists["row"]["items"]["properties"]["text"]["type"], "string");
        assert!(lists["row"]["items"]["properties"].get("del").is_none());
    }
}
