//! The stage: a relay, a first device, and a second one linked to it as a person would.

use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use lifeos_client_core::client::{Client, ClientError, InitOptions};
use lifeos_sync_server::{Config, Handle, Server};
use tokio::sync::oneshot;

use crate::failure::Failure;

/// Where everything lives.
#[derive(Debug, Clone)]
pub struct Folders {
    /// Home of the first device.
    pub laptop: PathBuf,
    /// Home of the second.
    pub phone: PathBuf,
    /// The relay's files.
    pub relay: PathBuf,
    /// The sample vault, if that is what is imported.
    pub vault: PathBuf,
    /// What the first device exports.
    pub laptop_export: PathBuf,
    /// What the second exports.
    pub phone_export: PathBuf,
    /// For copies that are thrown away.
    pub scratch: PathBuf,
}

impl Folders {
    /// Folders below `root`, which must be empty or not there.
    ///
    /// # Errors
    /// [`Failure::Usage`] when there is something in it already.
    pub fn new(root: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::io(format!("cannot use {}", root.display()), error);
        fs::create_dir_all(root).map_err(failed)?;
        if fs::read_dir(root).map_err(failed)?.next().is_some() {
            return Err(Failure::usage(format!("{} is not empty: choose a new folder", root.display())));
        }
        let below = |name: &str| root.join(name);
        Ok(Self {
            laptop: below("laptop"),
            phone: below("phone"),
            relay: below("relay"),
            vault: below("vault"),
            laptop_export: below("laptop-export"),
            phone_export: below("phone-export"),
            scratch: below("scratch"),
        })
    }
}

/// Starts a relay on a free loopback port.
///
/// # Errors
/// [`Failure::Relay`].
pub async fn start_relay(dir: &Path) -> Result<Handle, Failure> {
    Server::start(Config::local(dir)).await.map_err(|error| Failure::Relay(error.to_string()))
}

/// The relay's address with its key, so that no device trusts whoever answers first.
#[must_use]
pub fn relay_url(relay: &Handle) -> String {
    relay.url()
}

/// A device as the demonstration sees it.
pub struct Device {
    /// Its open home.
    pub client: Client,
    /// What it is called.
    pub name: String,
}

/// The first device of a person, and the recovery phrase in words.
///
/// # Errors
/// [`Failure::Client`].
pub fn first_device(home: &Path, name: String, person: String, relay: &str) -> Result<(Device, String), Failure> {
    let options = InitOptions { device_name: name.clone(), person_name: person, relay: Some(relay.to_owned()) };
    let (client, phrase) = Client::create(home, options)?;
    Ok((Device { client, name }, phrase.words().join(" ")))
}

/// What linking showed.
pub struct Linked {
    /// The new device.
    pub device: Device,
    /// A wrong code was typed first, and refused.
    pub wrong_code_refused: bool,
    /// The old device was told this name.
    pub name_shown: String,
}

/// Links a second device: it shows a link and then a code, which is typed into the first.
///
/// # Errors
/// [`Failure::Client`].
pub async fn link_device(first: &Client, home: &Path, relay: &str, name: String) -> Result<Linked, Failure> {
    let mut new = Client::link_new(home, relay, &name).await?;
    let link = new.link().to_owned();
    let (show_code, code_shown) = oneshot::channel();
    let new_side = async {
        let code = new.code().await?;
        // The other side hangs up only when it failed, and then its error is the one to report.
        let _ = show_code.send(code);
        Ok(new.finish().await?)
    };
    let (client, (wrong_code_refused, name_shown)) = tokio::try_join!(new_side, type_codes(first, &link, code_shown))?;
    Ok(Linked { device: Device { client, name }, wrong_code_refused, name_shown })
}

/// The person at the first device: mistypes once, then types what the new device shows.
async fn type_codes(
    first: &Client,
    link: &str,
    code_shown: oneshot::Receiver<String>,
) -> Result<(bool, String), Failure> {
    let mut approve = first.link_approve(link).await?;
    let name_shown = approve.device_name().to_owned();
    let code = code_shown.await.map_err(|_| Failure::io("linking", io::ErrorKind::UnexpectedEof.into()))?;
    let wrong_code_refused = approve.enter_code(&mistyped(&code)).await?.is_some();
    match approve.enter_code(&code).await? {
        None => Ok((wrong_code_refused, name_shown)),
        Some(_) => {
            Err(ClientError::Security { message: "the code that the new device showed was refused".into() }.into())
        }
    }
}

/// The code with its last digit changed.
fn mistyped(code: &str) -> String {
    let mut wrong = code.to_owned();
    let digit = wrong.pop().and_then(|digit| digit.to_digit(10)).unwrap_or(0);
    wrong.push(char::from_digit((digit + 1) % 10, 10).unwrap_or('0'));
    wrong
}

/// Sixteen hex characters that no earlier run has used, from the standard library's random hash keys: enough
/// to make canaries of this run unlike anything else, and no secret.
#[must_use]
pub fn run_mark() -> String {
    format!("{:016x}", RandomState::new().hash_one(0_u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_code_has_six_digits_and_is_another() {
        assert_eq!(mistyped("123456"), "123457");
        assert_eq!(mistyped("000009"), "000000");
    }

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Folders::new(dir.path()).is_ok());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(matches!(Folders::new(dir.path()), Err(Failure::Usage(_))));
    }
}
