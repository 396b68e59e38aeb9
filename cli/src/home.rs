//! Where this device's data lives when nobody says otherwise, and what the device calls itself.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use lifeos_client_core::names;

/// The platform's data folder for this program; `None` when the environment names none.
///
/// Linux and other Unix: `$XDG_DATA_HOME/lifeos` or `~/.local/share/lifeos` (XDG Base Directory
/// Specification; a relative `XDG_DATA_HOME` is ignored, as it asks). macOS: `~/Library/Application
/// Support/lifeos`. Windows: `%LOCALAPPDATA%\lifeos` (not the roaming folder: two machines that shared
/// one device's keys and streams through it would fork them).
#[must_use]
pub fn default_dir() -> Option<PathBuf> {
    data_dir(&|name| env::var_os(name).filter(|value| !value.is_empty())).map(|dir| dir.join("lifeos"))
}

type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

fn data_dir(variable: Environment<'_>) -> Option<PathBuf> {
    if cfg!(windows) {
        return variable("LOCALAPPDATA").map(PathBuf::from);
    }
    let home = variable("HOME").map(PathBuf::from);
    if cfg!(target_os = "macos") {
        return home.map(|home| home.join("Library").join("Application Support"));
    }
    variable("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .or_else(|| home.map(|home| home.join(".local").join("share")))
}

/// The machine's name, or `device` where it has none.
#[must_use]
pub fn device_name() -> String {
    let named = ["HOSTNAME", "COMPUTERNAME"].into_iter().find_map(|name| env::var(name).ok());
    let name = named.or_else(|| fs::read_to_string("/etc/hostname").ok()).unwrap_or_default();
    or_default(name.trim(), "device")
}

/// The account's name, or `me` where it has none.
#[must_use]
pub fn person_name() -> String {
    let name = ["USER", "USERNAME"].into_iter().find_map(|name| env::var(name).ok()).unwrap_or_default();
    or_default(name.trim(), "me")
}

fn or_default(name: &str, default: &str) -> String {
    names::checked(name).unwrap_or(default).to_owned()
}

#[cfg(all(test, unix, not(target_os = "macos")))]
mod tests {
    use super::*;

    fn dir(pairs: &[(&str, &str)]) -> Option<PathBuf> {
        data_dir(&|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)))
    }

    #[test]
    fn the_data_folder_follows_the_xdg_rules() {
        assert_eq!(dir(&[("XDG_DATA_HOME", "/data"), ("HOME", "/home/kim")]), Some(PathBuf::from("/data")));
        assert_eq!(dir(&[("XDG_DATA_HOME", "data"), ("HOME", "/home/kim")]), Some("/home/kim/.local/share".into()));
        assert_eq!(dir(&[("HOME", "/home/kim")]), Some("/home/kim/.local/share".into()));
        assert_eq!(dir(&[]), None);
    }
}
