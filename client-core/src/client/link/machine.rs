//! What the four machines of [`crate::link`] have in common.

use lifeos_sync_protocol::ids::RdvId;
use lifeos_sync_protocol::record::Record;

use crate::crypto::SystemRandom;
use crate::keys::DeviceKeys;
use crate::link::{
    ExistingDevice, Granted, GrantedSpace, GrantedSpaceInput, LinkError, LinkStep, NewDevice, NewEntry, Proven,
    SasExistingDevice, SasNewDevice,
};

/// A side of a link.
pub(super) trait Machine {
    fn rdv(&self) -> RdvId;
    fn poll(&self) -> LinkStep;
    fn handle(&mut self, index: u32, message: &[u8]) -> Result<(), LinkError>;
    fn sent(&mut self, index: u32) -> Result<(), LinkError>;
}

/// The new device's side.
pub(super) trait NewSide: Machine {
    fn device_name(&self) -> &str;
    fn granted(&self) -> Option<&Granted>;
    fn keys(&self, space: &GrantedSpace) -> DeviceKeys;
    fn prove(&self, records: &[Vec<Record>]) -> Result<Proven<'_>, LinkError>;
}

/// The existing device's side.
pub(super) trait ExistingSide: Machine {
    fn device_name(&self) -> Option<&str>;
    fn new_entries(&self) -> Option<&[NewEntry]>;
    fn grant(&mut self, person: &str, relays: &[String], spaces: &[GrantedSpaceInput]) -> Result<(), LinkError>;
}

impl Machine for NewDevice {
    fn rdv(&self) -> RdvId {
        Self::rdv(self)
    }

    fn poll(&self) -> LinkStep {
        Self::poll(self)
    }

    fn handle(&mut self, index: u32, message: &[u8]) -> Result<(), LinkError> {
        Self::handle(self, index, message, &mut SystemRandom::new())
    }

    fn sent(&mut self, index: u32) -> Result<(), LinkError> {
        Self::sent(self, index)
    }
}

macro_rules! machines {
    ($($name:ident)*) => {$(
        impl Machine for $name {
            fn rdv(&self) -> RdvId {
                Self::rdv(self)
            }

            fn poll(&self) -> LinkStep {
                Self::poll(self)
            }

            fn handle(&mut self, index: u32, message: &[u8]) -> Result<(), LinkError> {
                Self::handle(self, index, message)
            }

            fn sent(&mut self, index: u32) -> Result<(), LinkError> {
                Self::sent(self, index)
            }
        }
    )*};
}
machines!(ExistingDevice SasNewDevice SasExistingDevice);

macro_rules! new_sides {
    ($($name:ident)*) => {$(
        impl NewSide for $name {
            fn device_name(&self) -> &str {
                Self::device_name(self)
            }

            fn granted(&self) -> Option<&Granted> {
                Self::granted(self)
            }

            fn keys(&self, space: &GrantedSpace) -> DeviceKeys {
                Self::keys(self, space)
            }

            fn prove(&self, records: &[Vec<Record>]) -> Result<Proven<'_>, LinkError> {
                Self::prove(self, records)
            }
        }
    )*};
}
new_sides!(NewDevice SasNewDevice);

macro_rules! existing_sides {
    ($($name:ident)*) => {$(
        impl ExistingSide for $name {
            fn device_name(&self) -> Option<&str> {
                Self::device_name(self)
            }

            fn new_entries(&self) -> Option<&[NewEntry]> {
                Self::new_entries(self)
            }

            fn grant(
                &mut self,
                person: &str,
                relays: &[String],
                spaces: &[GrantedSpaceInput],
            ) -> Result<(), LinkError> {
                Self::grant(self, person, relays, spaces)
            }
        }
    )*};
}
existing_sides!(ExistingDevice SasExistingDevice);
