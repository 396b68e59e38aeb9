//! What a contact is made of.

use crate::document::GenesisId;
use crate::registry::{
    Crdt, Essential, Family, Field, FieldType, Genesis, Kind, Module, Place, Projection, Rule, Sensitivity, Validation,
};

/// A contact.
pub const CONTACT_GENESIS: GenesisId = GenesisId(5);

/// People and organisations.
pub static MODULE: Module = Module {
    name: "contacts",
    label: "Contacts",
    purpose: "People and organisations, how to reach them, and when they were last met",
    kinds: &[&CONTACT],
};

/// A person or an organisation.
pub static CONTACT: Kind = Kind {
    name: "contact",
    label: "Contact",
    purpose: "A person or an organisation",
    first: &CONTACT_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(200),
    fields: FIELDS,
    families: &[
        Family { name: "reach", label: "Way to reach", table: "contact_reach", rows_max: 100 },
        Family { name: "meeting", label: "Meeting", table: "contact_meeting", rows_max: 2_000 },
        Family { name: "tag", label: "Tag", table: "contact_tag", rows_max: 200 },
    ],
    rules: &[Rule {
        id: "contact.met_after_born",
        text: "nobody is met before being born",
        family: None,
        fields: &["met", "born"],
        holds: |values| values.text("met").zip(values.text("born")).is_none_or(|(met, born)| met >= born),
    }],
    projection: Projection::Fields { table: "contact", extra: None },
};

#[rustfmt::skip]
const FIELDS: &[Field] = &[
    Field::schema("contact.schema"),
    Field::version("contact.schema.version", "schema:v"),
    Field::version("contact.schema.min_reader", "schema:min"),
    Field::created("contact.created"),
    Field::deleted("contact.del"),
    Field::new("contact.name", "name", FieldType::Line).required().indexed().searched(Place::Title)
        .named("Name", "What the person or organisation is called").exported(&[("vcard", "FN")]),
    Field::new("contact.nickname", "nickname", FieldType::Line).searched(Place::Title)
        .named("Nickname", "What friends say").exported(&[("vcard", "NICKNAME")]),
    Field::new("contact.organisation", "organisation", FieldType::Line).indexed().searched(Place::Headings)
        .named("Organisation", "Where they work or belong").exported(&[("vcard", "ORG")]),
    Field::new("contact.role", "role", FieldType::Line).searched(Place::Headings)
        .named("Role", "What they do there").exported(&[("vcard", "ROLE")]),
    Field::new("contact.born", "born", FieldType::Date).sensitive(Sensitivity::Sensitive)
        .named("Born", "Birthday").exported(&[("vcard", "BDAY")]),
    Field::new("contact.met", "met", FieldType::Date).indexed().shows_conflicts()
        .named("Last met", "Day of the last meeting"),
    Field::new("contact.every", "every", FieldType::Int).range(1, 3_650).unit("d")
        .named("Keep in touch", "To be met again after so many days"),
    Field::new("contact.starred", "starred", FieldType::Bool).named("Starred", "One of those who matter most"),
    Field::new("contact.note", "note", FieldType::Text).searched(Place::Body)
        .named("Note", "What else is to be remembered").exported(&[("vcard", "NOTE")]),
    Field::new("contact.reach.kind", "reach/<id>:kind", FieldType::Choice(&["phone", "email", "address", "url"]))
        .named("Kind", "What sort of way it is"),
    Field::new("contact.reach.value", "reach/<id>:value", FieldType::Line).searched(Place::Body)
        .valid(Validation::Line { chars_max: 512, empty: false }).named("Value", "Number or address"),
    Field::new("contact.reach.label", "reach/<id>:label", FieldType::Line).named("Label", "Home, work, …"),
    Field::new("contact.reach.rank", "reach/<id>:rank", FieldType::Rank).named("Rank", "Order among the others"),
    Field::row_deleted("contact.reach.del", "reach/<id>:del"),
    Field::new("contact.meeting.on", "meeting/<id>:on", FieldType::Date).named("On", "The day"),
    Field::new("contact.meeting.note", "meeting/<id>:note", FieldType::Raw).named("Note", "What was said")
        .sensitive(Sensitivity::Sensitive),
    Field::row_deleted("contact.meeting.del", "meeting/<id>:del"),
    Field::new("contact.tag", "tag/<tag>", FieldType::Line).merges(Crdt::AddWins).searched(Place::Tags)
        .named("Tag", "A tag as it is written").exported(&[("vcard", "CATEGORIES")]),
];

#[rustfmt::skip]
static CONTACT_FIRST: Genesis = Genesis::new(
    CONTACT_GENESIS,
    [220, 238, 78, 109, 164, 173, 246, 129, 175, 139, 202, 104, 197, 0, 59, 45, 32, 177, 219, 236, 45, 44, 152, 132, 52,
     81, 220, 241, 74, 191, 53, 85],
    b"\x85oJ\x83\xdc\xeeNm\x01D\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
      \x15\r4\x01B\x03V\x04W\tp\x02~\x04note\x06schema\x02~\x04\x01~\x00\x96\x01contact/1\x02\x00",
);
