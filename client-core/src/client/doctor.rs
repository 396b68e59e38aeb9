//! The doctor: checks everything that can be checked, repairs what can be made anew.

use super::status::waiting_text;
use super::{Client, ClientError, DoctorCheck, DoctorReport, Progress, ProgressStep};

impl Client {
    /// Checks database, documents, projections (recomputed and compared), search index, keys, streams.
    /// # Errors
    /// [`ClientError`].
    pub fn doctor(&self, rebuild_projections: bool, progress: Progress<'_>) -> Result<DoctorReport, ClientError> {
        if rebuild_projections {
            // Rows of what nobody has looked inside are not made again, but with looking.
            crate::engine::verify(&self.shared)?;
            let mut step = |done, total| progress(ProgressStep { phase: "index", done, total });
            self.shared.store().rebuild_projections(&mut step)?;
        }
        self.shared.retry_quarantined()?;
        let mut step = |done, total| progress(ProgressStep { phase: "read", done, total });
        let outcomes = self.shared.store().check(&mut step)?;
        let mut checks: Vec<_> = outcomes
            .into_iter()
            .map(|outcome| DoctorCheck { name: outcome.name.to_owned(), ok: outcome.ok, detail: outcome.detail })
            .collect();
        checks.extend([self.check_device_key(), self.check_membership(), self.check_epoch_key()]);
        checks.push(self.check_waiting()?);
        Ok(DoctorReport { ok: checks.iter().all(|check| check.ok), checks })
    }

    fn check_device_key(&self) -> DoctorCheck {
        let keys = self.shared.root.derive_space(&self.shared.state().membership.genesis_random);
        match Self::key_protection(&self.shared.home) {
            Ok(_) if keys.sign_pk() == self.device() => check("device key", true, "device.key is this device's"),
            Ok(_) => check("device key", false, "device.key belongs to another home: restore it from a backup"),
            Err(error) => check("device key", false, &error.to_string()),
        }
    }

    fn check_membership(&self) -> DoctorCheck {
        let state = self.shared.state();
        let membership = &state.membership;
        let devices = membership.devices.values().filter(|device| device.removed_by.is_none()).count();
        if membership.may_write(&self.device()) {
            check("membership", true, &format!("this device may write; {devices} keys are enrolled"))
        } else {
            check("membership", false, "this device may not write: ask another of your devices to link it again")
        }
    }

    /// An edit that waits is no illness of the home, and is told of all the same: it is nowhere else to be seen.
    fn check_waiting(&self) -> Result<DoctorCheck, ClientError> {
        let waiting = self.shared.reader().reads().waiting_changes(&self.space())?;
        let names = self.names()?;
        let texts: Vec<_> = waiting.iter().map(|waiting| waiting_text(waiting, &names)).collect();
        let detail = if texts.is_empty() { "no edit waits for another one".to_owned() } else { texts.join("; ") };
        Ok(check("waiting edits", true, &detail))
    }

    fn check_epoch_key(&self) -> DoctorCheck {
        let state = self.shared.state();
        let (held, known) = (state.keyring.len(), state.membership.epochs.len());
        let count = format!("{held} of {known} key generations are here");
        match (state.seal_key(&self.shared.keys), state.troubles.values().next_back()) {
            (Ok(_), None) => check("space keys", true, &count),
            (Ok(_), Some(trouble)) => check("space keys", true, &format!("{count}; {trouble}")),
            (Err(fault), _) => check("space keys", false, &format!("{count}; {fault}")),
        }
    }
}

fn check(name: &str, ok: bool, detail: &str) -> DoctorCheck {
    DoctorCheck { name: name.to_owned(), ok, detail: detail.to_owned() }
}
