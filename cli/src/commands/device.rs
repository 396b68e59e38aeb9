//! `lifeos device`: who holds this space.

use clap::{Args, Subcommand};
use lifeos_client_core::client::DeviceStatus;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::page::{count, one_line, short};

/// The devices of this space.
#[derive(Debug, Subcommand)]
pub enum Device {
    /// List them
    List(List),
}

/// List devices.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos device list")]
pub struct List {}

pub(super) fn run(command: &Device, context: &Context) -> Result<(), Failure> {
    let Device::List(_) = command;
    let devices = context.open()?.status()?.devices;
    context.out.result(&json!({"devices": devices}), |page| {
        page.table(&devices.iter().map(row).collect::<Vec<_>>());
    })
}

pub(super) fn row(device: &DeviceStatus) -> Vec<String> {
    let this = if device.this { "this device" } else { "" };
    let held = format!("{} here", count(device.envelopes, "envelope"));
    vec![short(&device.device), one_line(&device.name), device.kind.clone(), held, this.to_owned()]
}
