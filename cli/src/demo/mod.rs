//! stub
use std::path::PathBuf;
use clap::Args;
use crate::{Context, Failure};
/// Demo.
#[derive(Debug, Args)]
pub struct Demo { path: Option<PathBuf>, #[arg(long)] keep: Option<PathBuf> }
pub(crate) fn command(_: Demo, _: &Context) -> Result<(), Failure> { Ok(()) }
