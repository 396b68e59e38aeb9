//! Projection rows on disk: tables from the registry, and the difference between old and new rows.
