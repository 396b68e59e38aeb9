//! What a working life is made of: skills, credentials, positions, learning, achievements, opportunities, résumés.
//!
//! What JSON Resume has is named in `json_resume`, which reads and writes it.

use crate::document::GenesisId;
use crate::registry::{
    Column, Crdt, Essential, Extra, Family, Field, FieldType, Genesis, Kind, Module, Place, Projection, Rule,
    Sensitivity, Validation, line_of,
};

/// Skill.
pub const SKILL_GENESIS: GenesisId = GenesisId(22);
/// Credential.
pub const CREDENTIAL_GENESIS: GenesisId = GenesisId(23);
/// Experience.
pub const EXPERIENCE_GENESIS: GenesisId = GenesisId(24);
/// Learning.
pub const LEARNING_GENESIS: GenesisId = GenesisId(25);
/// Achievement.
pub const ACHIEVEMENT_GENESIS: GenesisId = GenesisId(26);
/// Opportunity.
pub const OPPORTUNITY_GENESIS: GenesisId = GenesisId(27);
/// Résumé.
pub const RESUME_GENESIS: GenesisId = GenesisId(28);
/// Profile of a résumé.
pub const PROFILE_GENESIS: GenesisId = GenesisId(29);

/// A working life.
pub static MODULE: Module = Module {
    name: "career",
    label: "Career",
    purpose: "Skills, credentials that expire, positions, learning, achievements, opportunities and résumés",
    kinds: &[&SKILL, &CREDENTIAL, &EXPERIENCE, &LEARNING, &ACHIEVEMENT, &OPPORTUNITY, &RESUME, &PROFILE],
};

/// Sections of a résumé that are experiences.
pub const SECTIONS: &[&str] =
    &["work", "volunteer", "education", "award", "publication", "language", "interest", "reference", "project"];
/// How far an opportunity comes, in order; the last two end it from wherever it is.
pub const STAGES: &[&str] =
    &["found", "applied", "screening", "interview", "offer", "accepted", "rejected", "withdrawn"];
const PARTIAL_DATE: Validation =
    Validation::Text(super::is_partial_date, "must be a year, month or day, like 2026, 2026-03 or 2026-03-08");

fn in_order(first: Option<String>, last: Option<String>) -> bool {
    // Of two dates of different precision the shorter one is compared with as much of the other.
    first.zip(last).is_none_or(|(first, last)| {
        let shared = first.len().min(last.len());
        first.get(..shared) <= last.get(..shared)
    })
}

/// Something one can do, and how well.
pub static SKILL: Kind = Kind {
    name: "skill",
    label: "Skill",
    purpose: "Something one can do, and how well",
    first: &SKILL_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(200),
    fields: SKILL_FIELDS,
    families: &[
        Family { name: "keyword", label: "Keyword", table: "skill_keyword", rows_max: 200 },
        Family { name: "evidence", label: "Evidence", table: "skill_evidence", rows_max: 200 },
        Family { name: "tag", label: "Tag", table: "skill_tag", rows_max: 50 },
    ],
    rules: &[],
    projection: Projection::Fields { table: "skill", extra: None },
};

/// A certificate or licence, which may expire.
pub static CREDENTIAL: Kind = Kind {
    name: "credential",
    label: "Credential",
    purpose: "A certificate or licence, which may expire",
    first: &CREDENTIAL_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(200),
    fields: CREDENTIAL_FIELDS,
    families: &[
        Family { name: "unit", label: "Unit earned", table: "credential_unit", rows_max: 1_000 },
        Family { name: "tag", label: "Tag", table: "credential_tag", rows_max: 50 },
    ],
    rules: &[Rule {
        id: "credential.window",
        text: "nothing expires before it is issued",
        family: None,
        fields: &["issued", "expires"],
        holds: |values| in_order(values.text("issued"), values.text("expires")),
    }],
    projection: Projection::Fields {
        table: "credential",
        extra: Some(Extra {
            columns: &[Column::text("renew_on"), Column::integer("units_earned")],
            tables: &[],
            project: super::derived_credential,
        }),
    },
};

/// A position, study, project or another entry of a résumé.
pub static EXPERIENCE: Kind = Kind {
    name: "experience",
    label: "Experience",
    purpose: "A position, study, project or another entry of a résumé",
    first: &EXPERIENCE_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(200),
    fields: EXPERIENCE_FIELDS,
    families: &[
        Family { name: "highlight", label: "Highlight", table: "experience_highlight", rows_max: 500 },
        Family { name: "keyword", label: "Keyword", table: "experience_keyword", rows_max: 200 },
        Family { name: "role", label: "Role", table: "experience_role", rows_max: 50 },
        Family { name: "tag", label: "Tag", table: "experience_tag", rows_max: 50 },
    ],
    rules: &[Rule {
        id: "experience.window",
        text: "nothing ends before it starts",
        family: None,
        fields: &["start", "end"],
        holds: |values| in_order(values.text("start"), values.text("end")),
    }],
    projection: Projection::Fields { table: "experience", extra: None },
};

/// A course, book, video or mentor, and the time spent with it.
pub static LEARNING: Kind = Kind {
    name: "learning",
    label: "Learning",
    purpose: "A course, book, video or mentor, and the time spent with it",
    first: &LEARNING_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(200),
    fields: LEARNING_FIELDS,
    families: &[
        Family { name: "log", label: "Log", table: "learning_log", rows_max: 2_000 },
        Family { name: "skill", label: "Skill", table: "learning_skill", rows_max: 50 },
    ],
    rules: &[],
    projection: Projection::Fields {
        table: "learning",
        extra: Some(Extra {
            columns: &[Column::integer("spent"), Column::text("last_on")],
            tables: &[],
            project: super::derived_learning,
        }),
    },
};

/// What one did and what came of it.
pub static ACHIEVEMENT: Kind = Kind {
    name: "achievement",
    label: "Achievement",
    purpose: "What one did and what came of it",
    first: &ACHIEVEMENT_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(200),
    fields: ACHIEVEMENT_FIELDS,
    families: &[
        Family { name: "person", label: "Person", table: "achievement_person", rows_max: 50 },
        Family { name: "skill", label: "Skill", table: "achievement_skill", rows_max: 50 },
    ],
    rules: &[],
    projection: Projection::Fields { table: "achievement", extra: None },
};

/// A position one may come to, and how far it is.
pub static OPPORTUNITY: Kind = Kind {
    name: "opportunity",
    label: "Opportunity",
    purpose: "A position one may come to, and how far it is",
    first: &OPPORTUNITY_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(200),
    fields: OPPORTUNITY_FIELDS,
    families: &[
        Family { name: "history", label: "Stage", table: "opportunity_history", rows_max: 200 },
        Family { name: "contact", label: "Contact", table: "opportunity_contact", rows_max: 50 },
        Family { name: "tag", label: "Tag", table: "opportunity_tag", rows_max: 50 },
    ],
    rules: &[],
    projection: Projection::Fields {
        table: "opportunity",
        extra: Some(Extra {
            columns: &[Column::text("stage").indexed(), Column::text("since")],
            tables: &[],
            project: super::derived_opportunity,
        }),
    },
};

/// Who one is: what every résumé begins with.
pub static RESUME: Kind = Kind {
    name: "resume",
    label: "Résumé",
    purpose: "Who one is: what every résumé begins with",
    first: &RESUME_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Always,
    fields: RESUME_FIELDS,
    families: &[Family { name: "network", label: "Network", table: "resume_network", rows_max: 100 }],
    rules: &[],
    projection: Projection::Fields { table: "resume", extra: None },
};

/// What of a working life one résumé shows.
pub static PROFILE: Kind = Kind {
    name: "resume_profile",
    label: "Profile of a résumé",
    purpose: "What of a working life one résumé shows",
    first: &PROFILE_FIRST,
    version: 1,
    min_reader: 1,
    essential: Essential::Newest(200),
    fields: PROFILE_FIELDS,
    families: &[
        Family { name: "section", label: "Section", table: "resume_profile_section", rows_max: 50 },
        Family { name: "tag", label: "Tag", table: "resume_profile_tag", rows_max: 50 },
    ],
    rules: &[],
    projection: Projection::Fields { table: "resume_profile", extra: None },
};

#[rustfmt::skip]
const SKILL_FIELDS: &[Field] = &[
    Field::schema("skill.schema"),
    Field::version("skill.schema.version", "schema:v"),
    Field::version("skill.schema.min_reader", "schema:min"),
    Field::created("skill.created"),
    Field::deleted("skill.del"),
    Field::new("skill.name", "name", FieldType::Line).required().indexed().searched(Place::Title)
        .named("Name", "What it is"),
    Field::new("skill.level", "level", FieldType::Line).named("Level in words", "As a résumé says it"),
    Field::new("skill.scheme", "scheme", FieldType::Choice(&["sfia", "dreyfus", "cefr", "esco"]))
        .named("Scheme", "What its levels are counted in"),
    Field::new("skill.code", "code", FieldType::Line).named("Code", "What the scheme calls it"),
    Field::new("skill.current", "current", FieldType::Int).range(0, 7).named("Level", "Where it is, from 1 to 7"),
    Field::new("skill.target", "target", FieldType::Int).range(1, 7).named("Wanted level", "Where it is to come to"),
    Field::new("skill.weight", "weight", FieldType::Int).range(1, 100).named("Weight", "How much a gap counts [1]"),
    Field::new("skill.last_used", "last_used", FieldType::Date).indexed().named("Last used", "On which day"),
    Field::new("skill.parent", "parent", FieldType::Id).named("Part of", "The skill it belongs to"),
    Field::new("skill.note", "note", FieldType::Text).searched(Place::Body).named("Note", "What shows it"),
    Field::new("skill.ext", "ext", FieldType::Json)
        .named("Kept", "What a file held beside the fields that are known here"),
    Field::new("skill.source", "source", FieldType::Line).sensitive(Sensitivity::Technical).hidden_from_ai()
        .named("Source", "Which text of an imported file it stands for"),
    Field::new("skill.rank", "rank", FieldType::Rank).named("Rank", "Order among the others"),
    Field::new("skill.keyword.text", "keyword/<id>:text", FieldType::Line).valid(line_of(2_000)).searched(Place::Body)
        .named("Keyword", "What belongs to it"),
    Field::new("skill.keyword.rank", "keyword/<id>:rank", FieldType::Rank).named("Rank", "Order among the others"),
    Field::row_deleted("skill.keyword.del", "keyword/<id>:del"),
    Field::new("skill.evidence", "evidence/<evidence>", FieldType::Ref).merges(Crdt::AddWins)
        .named("Evidence", "What shows it"),
    Field::new("skill.tag", "tag/<tag>", FieldType::Line).merges(Crdt::AddWins).searched(Place::Tags)
        .named("Tag", "What it is about, for profiles of a résumé"),
];

#[rustfmt::skip]
const CREDENTIAL_FIELDS: &[Field] = &[
    Field::schema("credential.schema"),
    Field::version("credential.schema.version", "schema:v"),
    Field::version("credential.schema.min_reader", "schema:min"),
    Field::created("credential.created"),
    Field::deleted("credential.del"),
    Field::new("credential.name", "name", FieldType::Line).required().indexed().searched(Place::Title)
        .named("Name", "What it is called"),
    Field::new("credential.issuer", "issuer", FieldType::Line).searched(Place::Headings)
        .named("Issuer", "Who gives it"),
    Field::new("credential.number", "number", FieldType::Line).sensitive(Sensitivity::Sensitive)
        .named("Number", "What the issuer calls it"),
    Field::new("credential.issued", "issued", FieldType::Line).valid(PARTIAL_DATE).named("Issued", "Since when"),
    Field::new("credential.expires", "expires", FieldType::Date).indexed().shows_conflicts()
        .named("Expires", "Last day it is good"),
    Field::new("credential.renew_days", "renew_days", FieldType::Int).range(0, 3_650).unit("d")
        .named("Renew ahead", "So many days before it expires [60]"),
    Field::new("credential.units", "units", FieldType::Int).range(0, 100_000)
        .named("Units wanted", "Of continuing education until it expires"),
    Field::new("credential.url", "url", FieldType::Line).valid(line_of(2_000))
        .named("URL", "Where it can be looked at"),
    Field::new("credential.ext", "ext", FieldType::Json)
        .named("Kept", "What a file held beside the fields that are known here"),
    Field::new("credential.source", "source", FieldType::Line).sensitive(Sensitivity::Technical).hidden_from_ai()
        .named("Source", "Which text of an imported file it stands for"),
    Field::new("credential.rank", "rank", FieldType::Rank).named("Rank", "Order among the others"),
    Field::new("credential.unit.on", "unit/<id>:on", FieldType::Date).named("On", "The day"),
    Field::new("credential.unit.n", "unit/<id>:n", FieldType::Int).range(0, 10_000).named("Units", "How many"),
    Field::new("credential.unit.for", "unit/<id>:for", FieldType::Line).named("For", "What they were given for"),
    Field::row_deleted("credential.unit.del", "unit/<id>:del"),
    Field::new("credential.tag", "tag/<tag>", FieldType::Line).merges(Crdt::AddWins).searched(Place::Tags)
        .named("Tag", "What it is about, for profiles of a résumé"),
];

#[rustfmt::skip]
const EXPERIENCE_FIELDS: &[Field] = &[
    Field::schema("experience.schema"),
    Field::version("experience.schema.version", "schema:v"),
    Field::version("experience.schema.min_reader", "schema:min"),
    Field::created("experience.created"),
    Field::deleted("experience.del"),
    Field::new("experience.section", "section", FieldType::Choice(SECTIONS)).required().indexed()
        .named("Section", "Where a résumé has it"),
    Field::new("experience.name", "name", FieldType::Line).required().indexed().searched(Place::Title)
        .named("Name", "Employer, school, project, title or language"),
    Field::new("experience.position", "position", FieldType::Line).searched(Place::Headings)
        .named("Position", "What one is there"),
    Field::new("experience.location", "location", FieldType::Line).named("Location", "Where it is"),
    Field::new("experience.area", "area", FieldType::Line).named("Area", "Of a study"),
    Field::new("experience.degree", "degree", FieldType::Line).named("Degree", "Of a study"),
    Field::new("experience.score", "score", FieldType::Line).named("Score", "Of a study"),
    Field::new("experience.fluency", "fluency", FieldType::Line).named("Fluency", "Of a language"),
    Field::new("experience.issuer", "issuer", FieldType::Line).searched(Place::Headings)
        .named("Issuer", "Who gave an award, published, or stands behind a project"),
    Field::new("experience.sort", "sort", FieldType::Line).named("Sort", "Of a project"),
    Field::new("experience.url", "url", FieldType::Line).valid(line_of(2_000))
        .named("URL", "Where it can be looked at"),
    Field::new("experience.start", "start", FieldType::Line).valid(PARTIAL_DATE).indexed()
        .named("Start", "Year, month or day it began, or of what has one day"),
    Field::new("experience.end", "end", FieldType::Line).valid(PARTIAL_DATE)
        .named("End", "Year, month or day it ended; none: it goes on"),
    Field::new("experience.about", "about", FieldType::Raw).searched(Place::Body)
        .named("About", "What it is, in words"),
    Field::new("experience.summary", "summary", FieldType::Text).searched(Place::Body)
        .named("Summary", "What was done there, or what somebody says"),
    Field::new("experience.visibility", "visibility", FieldType::Choice(&["public", "private"]))
        .named("Visibility", "What is private is in no résumé"),
    Field::new("experience.ext", "ext", FieldType::Json)
        .named("Kept", "What a file held beside the fields that are known here"),
    Field::new("experience.source", "source", FieldType::Line).sensitive(Sensitivity::Technical).hidden_from_ai()
        .named("Source", "Which text of an imported file it stands for"),
    Field::new("experience.rank", "rank", FieldType::Rank).named("Rank", "Order among the others"),
    Field::new("experience.highlight.text", "highlight/<id>:text", FieldType::Line)
        .valid(line_of(2_000)).searched(Place::Body)
        .named("Highlight", "What came of it, or a course"),
    Field::new("experience.highlight.rank", "highlight/<id>:rank", FieldType::Rank)
        .named("Rank", "Order among the others"),
    Field::row_deleted("experience.highlight.del", "highlight/<id>:del"),
    Field::new("experience.keyword.text", "keyword/<id>:text", FieldType::Line)
        .valid(line_of(2_000)).searched(Place::Body)
        .named("Keyword", "What belongs to it"),
    Field::new("experience.keyword.rank", "keyword/<id>:rank", FieldType::Rank)
        .named("Rank", "Order among the others"),
    Field::row_deleted("experience.keyword.del", "keyword/<id>:del"),
    Field::new("experience.role.text", "role/<id>:text", FieldType::Line).valid(line_of(2_000)).searched(Place::Body)
        .named("Role", "What one was in a project"),
    Field::new("experience.role.rank", "role/<id>:rank", FieldType::Rank).named("Rank", "Order among the others"),
    Field::row_deleted("experience.role.del", "role/<id>:del"),
    Field::new("experience.tag", "tag/<tag>", FieldType::Line).merges(Crdt::AddWins).searched(Place::Tags)
        .named("Tag", "What it is about, for profiles of a résumé"),
];

#[rustfmt::skip]
const LEARNING_FIELDS: &[Field] = &[
    Field::schema("learning.schema"),
    Field::version("learning.schema.version", "schema:v"),
    Field::version("learning.schema.min_reader", "schema:min"),
    Field::created("learning.created"),
    Field::deleted("learning.del"),
    Field::new("learning.title", "title", FieldType::Line).required().indexed().searched(Place::Title)
        .named("Title", "What it is called"),
    Field::new("learning.sort", "sort", FieldType::Choice(&["course", "book", "video", "mentor", "practice"]))
        .indexed()
        .named("Sort", "What it is"),
    Field::new("learning.provider", "provider", FieldType::Line).searched(Place::Headings)
        .named("Provider", "Who gives it"),
    Field::new("learning.url", "url", FieldType::Line).valid(line_of(2_000)).named("URL", "Where it is"),
    Field::new("learning.planned", "planned", FieldType::Int).range(0, 1_000_000).unit("min")
        .named("Planned", "How long it takes"),
    Field::new("learning.status", "status", FieldType::Choice(&["planned", "active", "done", "dropped"])).indexed()
        .named("Status", "Where it stands"),
    Field::new("learning.cost_minor", "cost_minor", FieldType::Minor("cost_ccy")).shows_conflicts()
        .named("Cost", "What it costs"),
    Field::new("learning.cost_ccy", "cost_ccy", FieldType::Currency).named("Currency", "Of the cost"),
    Field::new("learning.note", "note", FieldType::Text).searched(Place::Body).named("Note", "What was learnt"),
    Field::new("learning.log.on", "log/<id>:on", FieldType::Date).named("On", "The day"),
    Field::new("learning.log.minutes", "log/<id>:minutes", FieldType::Int).range(0, 1_440).unit("min")
        .named("Minutes", "How long"),
    Field::new("learning.log.note", "log/<id>:note", FieldType::Raw).searched(Place::Body)
        .named("Note", "What was learnt"),
    Field::row_deleted("learning.log.del", "log/<id>:del"),
    Field::new("learning.skill", "skill/<skill>", FieldType::Line).merges(Crdt::AddWins).searched(Place::Tags)
        .named("Skill", "What it is good for"),
];

#[rustfmt::skip]
const ACHIEVEMENT_FIELDS: &[Field] = &[
    Field::schema("achievement.schema"),
    Field::version("achievement.schema.version", "schema:v"),
    Field::version("achievement.schema.min_reader", "schema:min"),
    Field::created("achievement.created"),
    Field::deleted("achievement.del"),
    Field::new("achievement.title", "title", FieldType::Line).required().indexed().searched(Place::Title)
        .named("Title", "In one line"),
    Field::new("achievement.on", "on", FieldType::Date).indexed().named("On", "The day"),
    Field::new("achievement.situation", "situation", FieldType::Text).searched(Place::Body)
        .named("Situation", "How it was"),
    Field::new("achievement.task", "task", FieldType::Text).searched(Place::Body)
        .named("Task", "What was to be done"),
    Field::new("achievement.action", "action", FieldType::Text).searched(Place::Body).named("Action", "What one did"),
    Field::new("achievement.result", "result", FieldType::Text).searched(Place::Body)
        .named("Result", "What came of it"),
    Field::new("achievement.metrics", "metrics", FieldType::Raw).searched(Place::Body).named("Metrics", "In numbers"),
    Field::new("achievement.confidential", "confidential", FieldType::Bool)
        .named("Confidential", "It is in no résumé"),
    Field::new("achievement.experience", "experience", FieldType::Id).indexed()
        .named("Where", "The position or project it belongs to"),
    Field::new("achievement.person", "person/<person>", FieldType::Line).merges(Crdt::AddWins).searched(Place::Tags)
        .named("Person", "Who was there"),
    Field::new("achievement.skill", "skill/<skill>", FieldType::Line).merges(Crdt::AddWins).searched(Place::Tags)
        .named("Skill", "What it shows"),
];

#[rustfmt::skip]
const OPPORTUNITY_FIELDS: &[Field] = &[
    Field::schema("opportunity.schema"),
    Field::version("opportunity.schema.version", "schema:v"),
    Field::version("opportunity.schema.min_reader", "schema:min"),
    Field::created("opportunity.created"),
    Field::deleted("opportunity.del"),
    Field::new("opportunity.company", "company", FieldType::Line).required().indexed().searched(Place::Title)
        .named("Company", "Who offers it"),
    Field::new("opportunity.role", "role", FieldType::Line).searched(Place::Title).named("Role", "What one would be"),
    Field::new("opportunity.url", "url", FieldType::Line).valid(line_of(2_000)).named("URL", "Where it is offered"),
    Field::new("opportunity.origin", "origin", FieldType::Line).named("Origin", "How one came to it"),
    Field::new("opportunity.salary_minor", "salary_minor", FieldType::Minor("salary_ccy"))
        .sensitive(Sensitivity::Sensitive).shows_conflicts()
        .named("Salary", "What is paid a year"),
    Field::new("opportunity.salary_ccy", "salary_ccy", FieldType::Currency).named("Currency", "Of the salary"),
    Field::new("opportunity.next", "next", FieldType::Line).named("Next", "What is to be done now"),
    Field::new("opportunity.next_on", "next_on", FieldType::Date).indexed().named("Next on", "By which day"),
    Field::new("opportunity.note", "note", FieldType::Text).searched(Place::Body)
        .named("Note", "What is to be remembered"),
    Field::new("opportunity.history.stage", "history/<id>:stage", FieldType::Choice(STAGES))
        .named("Stage", "How far it came"),
    Field::new("opportunity.history.on", "history/<id>:on", FieldType::Date).named("On", "The day"),
    Field::row_deleted("opportunity.history.del", "history/<id>:del"),
    Field::new("opportunity.contact", "contact/<contact>", FieldType::Ref).merges(Crdt::AddWins)
        .named("Contact", "Who is asked"),
    Field::new("opportunity.tag", "tag/<tag>", FieldType::Line).merges(Crdt::AddWins).searched(Place::Tags)
        .named("Tag", "What it is about, for profiles of a résumé"),
];

#[rustfmt::skip]
const RESUME_FIELDS: &[Field] = &[
    Field::schema("resume.schema"),
    Field::version("resume.schema.version", "schema:v"),
    Field::version("resume.schema.min_reader", "schema:min"),
    Field::created("resume.created"),
    Field::deleted("resume.del"),
    Field::new("resume.name", "name", FieldType::Line).searched(Place::Title).named("Name", "Of the person"),
    Field::new("resume.label", "label", FieldType::Line).named("Label", "What one does"),
    Field::new("resume.image", "image", FieldType::Line).valid(line_of(2_000)).named("Image", "Where a picture is"),
    Field::new("resume.email", "email", FieldType::Line).named("E-mail", "Where one is written to"),
    Field::new("resume.phone", "phone", FieldType::Line).named("Phone", "Where one is called"),
    Field::new("resume.url", "url", FieldType::Line).valid(line_of(2_000)).named("URL", "Where one is found"),
    Field::new("resume.summary", "summary", FieldType::Text).searched(Place::Body)
        .named("Summary", "Who one is, in a few sentences"),
    Field::new("resume.address", "address", FieldType::Raw)
        .valid(Validation::Bytes(2_000)).sensitive(Sensitivity::Sensitive)
        .named("Address", "Street and number"),
    Field::new("resume.postal_code", "postal_code", FieldType::Line).named("Postal code", "Of the address"),
    Field::new("resume.city", "city", FieldType::Line).named("City", "Of the address"),
    Field::new("resume.country_code", "country_code", FieldType::Line).named("Country", "Two letters (ISO 3166)"),
    Field::new("resume.region", "region", FieldType::Line).named("Region", "Of the address"),
    Field::new("resume.ext", "ext", FieldType::Json)
        .named("Kept", "What a file held beside the fields that are known here"),
    Field::new("resume.source", "source", FieldType::Line).sensitive(Sensitivity::Technical).hidden_from_ai()
        .named("Source", "Which text of an imported file it stands for"),
    Field::new("resume.rank", "rank", FieldType::Rank).named("Rank", "Order among the others"),
    Field::new("resume.place_ext", "place_ext", FieldType::Json)
        .named("Kept of the place", "What a file held of the place beside the known"),
    Field::new("resume.file_ext", "file_ext", FieldType::Json)
        .named("Kept of the file", "What a file held beside the known sections"),
    Field::new("resume.network.network", "network/<id>:network", FieldType::Line).named("Network", "Where"),
    Field::new("resume.network.username", "network/<id>:username", FieldType::Line).named("Name", "Under which name"),
    Field::new("resume.network.url", "network/<id>:url", FieldType::Line).valid(line_of(2_000))
        .named("URL", "Address"),
    Field::new("resume.network.ext", "network/<id>:ext", FieldType::Json)
        .named("Kept", "What a file held beside the known"),
    Field::new("resume.network.rank", "network/<id>:rank", FieldType::Rank).named("Rank", "Order among the others"),
    Field::row_deleted("resume.network.del", "network/<id>:del"),
];

#[rustfmt::skip]
const PROFILE_FIELDS: &[Field] = &[
    Field::schema("resume_profile.schema"),
    Field::version("resume_profile.schema.version", "schema:v"),
    Field::version("resume_profile.schema.min_reader", "schema:min"),
    Field::created("resume_profile.created"),
    Field::deleted("resume_profile.del"),
    Field::new("resume_profile.name", "name", FieldType::Line).required().indexed().named("Name", "What people type"),
    Field::new("resume_profile.label", "label", FieldType::Line).named("Label", "What one does, in this résumé"),
    Field::new("resume_profile.summary", "summary", FieldType::Text).named("Summary", "Who one is, in this résumé"),
    Field::new("resume_profile.since", "since", FieldType::Line).valid(PARTIAL_DATE)
        .named("Since", "Nothing that ended before"),
    Field::new("resume_profile.highlights", "highlights", FieldType::Int).range(0, 500)
        .named("Highlights", "At most so many an entry"),
    Field::new("resume_profile.achievements", "achievements", FieldType::Bool)
        .named("Achievements", "Those of an entry follow its highlights"),
    Field::new("resume_profile.contact", "contact", FieldType::Bool)
        .named("Contact", "Address, phone and e-mail are shown [yes]"),
    Field::new("resume_profile.section", "section/<section>", FieldType::Line).merges(Crdt::AddWins)
        .named("Section", "Only these sections"),
    Field::new("resume_profile.tag", "tag/<tag>", FieldType::Line).merges(Crdt::AddWins)
        .named("Tag", "Only what has one of these tags, or none at all"),
];

#[rustfmt::skip]
static SKILL_FIRST: Genesis = Genesis::new(
    SKILL_GENESIS,
    [93, 46, 2, 167, 196, 212, 104, 140, 111, 253, 95, 250, 110, 234, 154, 140, 42, 174, 52, 255, 75, 143, 222,
     244, 249, 19, 166, 158, 160, 226, 39, 118],
    b"\x85oJ\x83].\x02\xa7\x01A\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\x15\r4\x01B\x03V\x03W\x07p\
      \x02~\x04note\x06schema\x02~\x04\x01~\x00vskill/1\x02\x00",
);

#[rustfmt::skip]
static CREDENTIAL_FIRST: Genesis = Genesis::new(
    CREDENTIAL_GENESIS,
    [157, 130, 108, 103, 96, 1, 94, 228, 98, 44, 107, 9, 244, 65, 146, 17, 127, 208, 193, 114, 145, 75, 155, 46,
     163, 96, 122, 229, 41, 170, 106, 72],
    b"\x85oJ\x83\x9d\x82lg\x01@\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\x15\x084\x01B\x02V\x03W\
      \x0cp\x02\x7f\x06schema\x01\x7f\x01\x7f\xc6\x01credential/1\x7f\x00",
);

#[rustfmt::skip]
static EXPERIENCE_FIRST: Genesis = Genesis::new(
    EXPERIENCE_GENESIS,
    [55, 25, 31, 26, 133, 214, 44, 35, 94, 201, 38, 47, 140, 121, 35, 220, 131, 229, 224, 61, 95, 126, 161, 33,
     17, 28, 132, 132, 40, 246, 92, 105],
    b"\x85oJ\x837\x19\x1f\x1a\x01J\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\x15\x104\x01B\x03V\x04W\
      \x0cp\x02~\x07summary\x06schema\x02~\x04\x01~\x00\xc6\x01experience/1\x02\x00",
);

#[rustfmt::skip]
static LEARNING_FIRST: Genesis = Genesis::new(
    LEARNING_GENESIS,
    [195, 245, 42, 187, 130, 219, 247, 136, 20, 123, 251, 217, 176, 73, 254, 20, 96, 253, 195, 241, 211, 218, 251,
     63, 228, 11, 170, 157, 173, 119, 148, 26],
    b"\x85oJ\x83\xc3\xf5*\xbb\x01E\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\x15\r4\x01B\x03V\x04W\n\
      p\x02~\x04note\x06schema\x02~\x04\x01~\x00\xa6\x01learning/1\x02\x00",
);

#[rustfmt::skip]
static ACHIEVEMENT_FIRST: Genesis = Genesis::new(
    ACHIEVEMENT_GENESIS,
    [18, 204, 114, 186, 159, 112, 12, 157, 36, 78, 105, 129, 243, 43, 164, 168, 40, 236, 249, 110, 115, 91, 23,
     223, 232, 17, 15, 16, 29, 100, 14, 68],
    b"\x85oJ\x83\x12\xccr\xba\x01b\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\x15%4\x01B\x04V\x05W\rp\
      \x02{\tsituation\x04task\x06action\x06result\x06schema\x05\x04\x04\x7f\x01\x04\x00\x7f\xd6\x01achiev\
      ement/1\x05\x00",
);

#[rustfmt::skip]
static OPPORTUNITY_FIRST: Genesis = Genesis::new(
    OPPORTUNITY_GENESIS,
    [177, 207, 46, 168, 42, 252, 148, 63, 20, 153, 10, 234, 19, 197, 61, 170, 69, 133, 85, 209, 56, 116, 205, 108,
     63, 73, 74, 132, 152, 152, 206, 140],
    b"\x85oJ\x83\xb1\xcf.\xa8\x01H\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\x15\r4\x01B\x03V\x04W\r\
      p\x02~\x04note\x06schema\x02~\x04\x01~\x00\xd6\x01opportunity/1\x02\x00",
);

#[rustfmt::skip]
static RESUME_FIRST: Genesis = Genesis::new(
    RESUME_GENESIS,
    [194, 242, 118, 117, 45, 125, 183, 123, 182, 212, 95, 106, 136, 52, 230, 41, 34, 127, 171, 209, 177, 16, 79,
     35, 153, 217, 73, 118, 189, 169, 31, 2],
    b"\x85oJ\x83\xc2\xf2vu\x01F\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\x15\x104\x01B\x03V\x04W\
      \x08p\x02~\x07summary\x06schema\x02~\x04\x01~\x00\x86\x01resume/1\x02\x00",
);

#[rustfmt::skip]
static PROFILE_FIRST: Genesis = Genesis::new(
    PROFILE_GENESIS,
    [183, 53, 237, 177, 10, 111, 140, 109, 159, 213, 114, 129, 200, 117, 71, 1, 11, 114, 30, 61, 196, 16, 231, 66,
     29, 155, 124, 10, 4, 177, 31, 250],
    b"\x85oJ\x83\xb75\xed\xb1\x01N\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\x15\x104\x01B\x03V\x04W\
      \x10p\x02~\x07summary\x06schema\x02~\x04\x01~\x00\x86\x02resume_profile/1\x02\x00",
);
