//! The format of the database: numbered migrations, each in one transaction.

/// Newest format this version writes and reads (`PRAGMA user_version`).
pub const SCHEMA_VERSION: u32 = 1;
