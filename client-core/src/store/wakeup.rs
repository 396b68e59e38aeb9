//! Where this device wishes to be woken, and what each relay made of it. Of the device alone: no other hears of it.

use lifeos_sync_protocol::frame::WakeupStatus;
use lifeos_sync_protocol::wakeup::WakeupTarget;

use super::{Reads, RelayId, Store, StoreError, begin, schema};
use crate::session::{WakeupStanding, WakeupWish};

/// Key of the `meta` table: token, a space, address.
const TARGET: &str = "wakeup";

impl Store {
    /// Keeps where this device wishes to be woken in all of its spaces; `None`: nowhere.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_wakeup(&mut self, target: Option<&WakeupTarget>) -> Result<(), StoreError> {
        let tx = begin(&self.conn)?;
        match target {
            Some(target) => {
                schema::put_meta(&tx, TARGET, format!("{} {}", target.token(), target.url()).as_bytes())?;
            }
            None => schema::remove_meta(&tx, TARGET)?,
        }
        tx.commit()?;
        Ok(())
    }

    /// Keeps what a relay made of a wish. One that was withdrawn is over with that; a relay that keeps none of its own
    /// accord is told again with the next connection.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_wakeup(
        &mut self,
        relay: RelayId,
        wish: &WakeupWish,
        standing: WakeupStanding,
    ) -> Result<(), StoreError> {
        let tx = begin(&self.conn)?;
        match wish {
            WakeupWish::Withdraw => schema::remove_meta(&tx, &standing_key(relay))?,
            WakeupWish::Wake(target) => {
                let told = format!("{} {}", word(standing), target.token());
                schema::put_meta(&tx, &standing_key(relay), told.as_bytes())?;
            }
        }
        tx.commit()?;
        Ok(())
    }
}

impl Reads<'_> {
    /// Where this device wishes to be woken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn wakeup(&self) -> Result<Option<WakeupTarget>, StoreError> {
        let Some(bytes) = self.meta(TARGET)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.split_once(' ').and_then(|(token, url)| WakeupTarget::new(url, token).ok()))
    }

    /// What is to be said to a relay with the next connection; nothing if it was never asked and is not to be.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn wakeup_wish(&self, relay: RelayId) -> Result<Option<WakeupWish>, StoreError> {
        if relay.is_peer() {
            return Ok(None);
        }
        if let Some(target) = self.wakeup()? {
            return Ok(Some(WakeupWish::Wake(target)));
        }
        Ok(self.meta(&standing_key(relay))?.map(|_| WakeupWish::Withdraw))
    }

    /// What a relay made of the present wish; `None`: it was not told yet, or not of this one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn wakeup_standing(&self, relay: RelayId) -> Result<Option<WakeupStanding>, StoreError> {
        let (Some(target), Some(bytes)) = (self.wakeup()?, self.meta(&standing_key(relay))?) else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let told = text.split_once(' ').filter(|(_, token)| *token == target.token());
        Ok(told.and_then(|(word, _)| standing_of(word)))
    }

    /// Whether a relay may still keep an address that this device does not wish any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_wakeup_to_withdraw(&self, relay: RelayId) -> Result<bool, StoreError> {
        Ok(self.wakeup_wish(relay)? == Some(WakeupWish::Withdraw))
    }
}

fn standing_key(relay: RelayId) -> String {
    format!("wakeup:{}", relay.0)
}

const fn word(standing: WakeupStanding) -> &'static str {
    match standing {
        WakeupStanding::Said(WakeupStatus::Kept) => "kept",
        WakeupStanding::Said(WakeupStatus::Refused) => "refused",
        WakeupStanding::Said(WakeupStatus::Gone) => "gone",
        WakeupStanding::Said(_) => "none",
        WakeupStanding::Unsupported => "unsupported",
    }
}

fn standing_of(word: &str) -> Option<WakeupStanding> {
    Some(match word {
        "kept" => WakeupStanding::Said(WakeupStatus::Kept),
        "refused" => WakeupStanding::Said(WakeupStatus::Refused),
        "gone" => WakeupStanding::Said(WakeupStatus::Gone),
        "none" => WakeupStanding::Said(WakeupStatus::None),
        "unsupported" => WakeupStanding::Unsupported,
        _ => return None,
    })
}
