//! Inviting people into a space, and joining one: links, requests, answers.

use lifeos_sync_protocol::ids::RecordId;
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Record, RemoveReason, Role, joining_member};

use super::members::{role_in, role_name};
use super::names::{APPROVED, given};
use super::{Client, ClientError, InviteOptions, InviteSummary, JoinOutcome, JoinRequest, RemovalReport};
use crate::crypto::SystemRandom;
use crate::engine::{EngineError, exchange_records, fetch_records, offer_record, wall_ms};
use crate::invite::{
    InviteError, InviteLink, InviteSecret, Joining, check_invite, fingerprint, join_record, may_invite_as, open_name,
};
use crate::records::{Draft, InviteTerms, devices_of, open_requests};
use crate::store::{PendingJoin, Store};
use crate::transport::RelayUrl;

impl From<InviteError> for ClientError {
    fn from(error: InviteError) -> Self {
        Self::invalid(error.to_string())
    }
}

fn wall_ms_unsigned() -> u64 {
    u64::try_from(wall_ms()).unwrap_or(0)
}

impl Client {
    /// Makes an invitation and hands it to the relay; gives the link, which is a secret.
    /// # Errors
    /// [`ClientError::Invalid`] in the home space, for a role above Editor, without a relay, or without the right.
    pub async fn invite_create(&self, options: InviteOptions) -> Result<InviteLink, ClientError> {
        if self.home_client()?.space() == self.space() {
            return Err(ClientError::invalid(
                "the home space is yours alone: make a space to share with `lifeos space new NAME`",
            ));
        }
        if self.shared.state().membership.closed.is_some() {
            return Err(InviteError::Closed.into());
        }
        if !may_invite_as(options.role) || options.uses_max == 0 {
            return Err(ClientError::invalid("a link invites at least one person, as editor or reader"));
        }
        let address = self.relay_addresses()?.into_iter().next();
        let address = address.ok_or_else(|| ClientError::invalid("set a relay first: `lifeos relay set URL`"))?;
        // Everything here is known to the relay before the link exists.
        exchange_records(&self.shared).await?;
        let relay: RelayUrl = self.relay_addresses()?.into_iter().next().unwrap_or(address).parse()?;
        let relay_pk =
            relay.key().ok_or_else(|| ClientError::invalid("sync once first: the relay's key is not known"))?;
        let secret = InviteSecret::generate(&mut SystemRandom::new());
        let keys = secret.keys();
        let terms = InviteTerms {
            keys: (keys.sign_pk(), keys.hpke_pk()),
            role: options.role,
            expires_ms: wall_ms_unsigned().saturating_add(options.lives_ms),
            uses_max: options.uses_max,
            auto: options.auto,
        };
        let invite = self.write_and_tell(|draft| draft.invite(&terms, &mut SystemRandom::new())).await?;
        Ok(InviteLink { space: self.space(), invite, relay_pk, relay_url: relay.without_token().to_owned(), secret })
    }

    /// The invitations of this space, newest last.
    /// # Errors
    /// [`ClientError`].
    pub fn invites(&self) -> Result<Vec<InviteSummary>, ClientError> {
        let state = self.shared.state();
        let (names, now_ms) = (self.names()?, wall_ms_unsigned());
        let summary = |(id, invite): (&RecordId, &lifeos_sync_protocol::membership::Invite)| InviteSummary {
            id: id.to_string(),
            role: role_name(invite.role).to_owned(),
            expires_ms: i64::try_from(invite.expires_ms).unwrap_or(i64::MAX),
            uses: u64::from(invite.uses),
            uses_max: u64::from(invite.uses_max),
            auto: invite.auto_epoch.is_some(),
            by: names.device(&invite.author),
            state: match check_invite(&state.membership, id, now_ms) {
                Ok(()) => "open",
                Err(InviteError::Revoked) => "revoked",
                Err(InviteError::Expired) => "expired",
                Err(InviteError::UsedUp) => "used up",
                Err(_) => "closed",
            }
            .to_owned(),
        };
        let mut all: Vec<_> = state.membership.invites.iter().map(summary).collect();
        all.sort_by_key(|invite| invite.expires_ms);
        Ok(all)
    }

    /// Withdraws an invitation. One that let people read at once forces a new key.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub async fn invite_revoke(&self, id: &str) -> Result<(), ClientError> {
        let invite = pick(self.shared.state().membership.invites.keys(), id, "invitation")?;
        self.write_and_tell(|draft| draft.revoke_invite(invite, &mut SystemRandom::new())).await
    }

    /// The requests to join that wait for an answer, after asking the relay.
    /// # Errors
    /// [`ClientError`].
    pub async fn join_requests(&self) -> Result<Vec<JoinRequest>, ClientError> {
        exchange_records(&self.shared).await?;
        let state = self.shared.state();
        let records = self.shared.store().records(&self.space())?;
        let open = open_requests(&state.membership, &records);
        Ok(open.into_iter().map(|(join, invite)| self.request(&state.membership, join, &invite)).collect())
    }

    fn request(&self, membership: &Membership, join: &Record, invite: &RecordId) -> JoinRequest {
        let state = self.shared.state();
        let name = open_name(join, state.own_keys(&self.shared.keys).hpke_keys());
        let role = membership.invites.get(invite).map_or(Role::Reader, |invite| invite.role);
        JoinRequest {
            id: join.id().to_string(),
            invite: invite.to_string(),
            name: name.unwrap_or_default(),
            role: role_name(role).to_owned(),
            fingerprint: fingerprint(&join.id()),
        }
    }

    /// Admits who asked, named by the beginning of the request's id. All members will see them called `name`; without
    /// one, what the request says.
    /// # Errors
    /// [`ClientError::Invalid`] for an invitation that is over, or a bad name; [`ClientError::NotFound`].
    pub async fn invite_approve(&self, id: &str, name: Option<&str>) -> Result<JoinRequest, ClientError> {
        self.invite_approve_at(id, name, wall_ms_unsigned()).await
    }

    /// The same at a time (ms UTC), which decides whether the invitation has expired.
    /// # Errors
    /// As [`Client::invite_approve`].
    pub async fn invite_approve_at(
        &self,
        id: &str,
        name: Option<&str>,
        now_ms: u64,
    ) -> Result<JoinRequest, ClientError> {
        let name = name.map(given).transpose()?;
        let (join, role, mut request) = self.open_request(id, now_ms).await?;
        if let Some(name) = name {
            name.clone_into(&mut request.name);
        }
        let name = (!request.name.is_empty()).then_some(request.name.as_str());
        self.write_and_tell(|draft| draft.admit(&join, role, name, &mut SystemRandom::new())).await?;
        Ok(request)
    }

    /// Admits who asked in the place of a member who lost every device: the request comes in with at most what the
    /// member may do, the member goes, and a new key is made, all or nothing. Without `name` they keep the name by
    /// which they were let in the first time, if they were.
    /// # Errors
    /// As [`Client::invite_approve`]; [`ClientError::Invalid`] also when this device may not remove the member.
    pub async fn invite_readmit(
        &self,
        id: &str,
        replaces: &str,
        name: Option<&str>,
    ) -> Result<(JoinRequest, RemovalReport), ClientError> {
        let name = name.map(given).transpose()?;
        self.catch_up().await?;
        let (join, _, mut request) = self.open_request(id, wall_ms_unsigned()).await?;
        let (old, old_name) = self.find_member(replaces)?;
        if self.own_member().is_ok_and(|own| own == old) {
            return Err(ClientError::invalid("you are here: nobody takes your own place"));
        }
        let kept_name = (self.names()?.source(&old) == APPROVED).then_some(old_name.as_str());
        if let Some(name) = name.or(kept_name) {
            name.clone_into(&mut request.name);
        }
        let space = self.space();
        let called = (!request.name.is_empty()).then_some(request.name.clone());
        let change = |draft: &mut Draft<'_>, store: &Store| {
            let (devices, had) = (devices_of(draft.membership(), &old), role_in(draft.membership(), &old));
            let left = draft.withdraw_links(&old, &devices);
            let new = draft.admit(&join, had.max(Role::Editor), called.as_deref(), &mut SystemRandom::new())?;
            // Who may not give more leaves them with less: somebody else can give it.
            let is_restored = had < Role::Editor && draft.set_role(new, had, Vec::new()).is_ok();
            draft.remove_member(old, RemoveReason::Lost, store.cuts(&space, &devices)?)?;
            Ok((if is_restored { had } else { had.max(Role::Editor) }, devices, left))
        };
        let ((role, devices, left), written) = self.write_records(true, change).await?;
        role_name(role).clone_into(&mut request.role);
        Ok((request, RemovalReport::new(old_name, &devices, &left, written)))
    }

    /// The request that an id or its beginning names, what it comes in as, and its summary; nothing once its invitation
    /// is over.
    async fn open_request(&self, id: &str, now_ms: u64) -> Result<(Record, Role, JoinRequest), ClientError> {
        exchange_records(&self.shared).await?;
        let state = self.shared.state();
        let records = self.shared.store().records(&self.space())?;
        let open = open_requests(&state.membership, &records);
        let wanted = pick(open.iter().map(|(join, _)| join.id()).collect::<Vec<_>>().iter(), id, "request to join")?;
        let (join, invite) = open.into_iter().find(|(join, _)| join.id() == wanted).ok_or(InviteError::Request)?;
        let terms = state.membership.invites.get(&invite).ok_or(InviteError::Unknown)?;
        // The request counts as a use itself, and one whose invitation was withdrawn is none: what is left is time.
        if terms.expires_ms <= now_ms {
            return Err(InviteError::Expired.into());
        }
        let request = self.request(&state.membership, join, &invite);
        Ok((join.clone(), terms.role, request))
    }

    /// Asks to join a space by a link, or, when that was done, sees whether it was answered. `name` is what the
    /// inviting person is told.
    /// # Errors
    /// [`ClientError::Invalid`] for a link that cannot be used (any more).
    pub async fn join(&self, link: &str, name: &str) -> Result<JoinOutcome, ClientError> {
        let link: InviteLink = link.parse()?;
        let pending = self.shared.store().pending_joins()?;
        let pending = pending.into_iter().find(|(space, join)| *space == link.space && join.link == link.to_string());
        if let Some((_, pending)) = pending {
            return self.finish_join(&link, &pending).await;
        }
        if self.shared.reader().reads().spaces()?.iter().any(|row| row.space == link.space) {
            let is_member = self.at(&link.space)?.own_member().is_ok();
            return Err(ClientError::invalid(if is_member {
                "you are in this space already"
            } else {
                "this device was in this space and left it or was removed, which is for good: join with another device"
            }));
        }
        self.ask_to_join(&link, name).await
    }

    async fn ask_to_join(&self, link: &InviteLink, name: &str) -> Result<JoinOutcome, ClientError> {
        let relay = link.relay_url.parse::<RelayUrl>()?.with_key(link.relay_pk);
        let guest = link.secret.keys();
        let records = fetch_records(&relay, link.space, &guest).await.map_err(refused_guest)?;
        let membership = Membership::evaluate(&link.space, &records).map_err(|_| InviteError::Unknown)?;
        let random = membership.genesis_random;
        // Before anything is signed with keys that another space may know.
        self.shared.store().check_genesis(&link.space, &random)?;
        let joining = Joining { link, membership: &membership, records: &records, root: &self.shared.root, name };
        let join = join_record(&joining, wall_ms_unsigned(), &mut SystemRandom::new())?;
        // Remembered before it is sent: the answer may come to another run of this program, and by then the
        // invitation may not let anybody in any more.
        let pending = PendingJoin { link: link.to_string(), random, join: Some(join) };
        self.shared.store().put_pending_join(&link.space, Some(&pending))?;
        if let Err(error) = self.hand_in(link, &relay, &pending).await {
            if !error.is_transient() {
                self.shared.store().put_pending_join(&link.space, None)?;
            }
            return Err(refused_guest(error));
        }
        self.finish_join(link, &pending).await
    }

    async fn hand_in(&self, link: &InviteLink, relay: &RelayUrl, pending: &PendingJoin) -> Result<(), EngineError> {
        match &pending.join {
            Some(join) => offer_record(relay, link.space, &link.secret.keys(), join).await,
            None => Ok(()),
        }
    }

    /// Sees whether a request was answered; if so, the space becomes one of this home's. Every step does nothing where
    /// it was done before, and the request is forgotten after the last: what a crash cut short goes on the next time.
    async fn finish_join(&self, link: &InviteLink, pending: &PendingJoin) -> Result<JoinOutcome, ClientError> {
        let waiting = JoinOutcome::Waiting { fingerprint: pending.join.as_ref().map(|join| fingerprint(&join.id())) };
        let relay = link.relay_url.parse::<RelayUrl>()?.with_key(link.relay_pk);
        let keys = self.shared.root.derive_space(&pending.random);
        let records = match fetch_records(&relay, link.space, &keys).await {
            Ok(records) => records,
            Err(error) if error.is_stranger() => {
                // It may never have arrived. Once it is there, the relay may not let the invitation in any more.
                if let Err(error) = self.hand_in(link, &relay, pending).await {
                    tracing::debug!(%error, "a request to join was not handed in again");
                }
                return Ok(waiting);
            }
            Err(error) => return Err(error.into()),
        };
        let membership = Membership::evaluate(&link.space, &records).map_err(|_| InviteError::Unknown)?;
        if !membership.may_read(&keys.sign_pk()) {
            return Ok(waiting);
        }
        let by_itself = membership.invites.get(&link.invite).is_some_and(|invite| invite.auto_epoch.is_some());
        if by_itself {
            self.shared.store().keep_invite_secret(&link.space, Some(&link.secret))?;
        }
        // Who comes in by a link waits for no recovery of the space any more.
        self.shared.store().end_space_recovery(&link.space)?;
        let client = self.add_space(link.space, &keys, records, Some(&relay))?;
        client.name_space(&joining_member(&link.invite, &keys.sign_pk()), None)?;
        self.shared.store().put_pending_join(&link.space, None)?;
        Ok(JoinOutcome::Joined { space: link.space })
    }

    /// Sees to every request that waits for an answer, whatever becomes of the others.
    /// # Errors
    /// The first that any met, after all were tried.
    pub(super) async fn finish_joins(&self) -> Result<(), ClientError> {
        let mut failed = None;
        let waiting = self.shared.store().pending_joins()?;
        for (_, pending) in waiting {
            let answered = match pending.link.parse::<InviteLink>() {
                Ok(link) => self.finish_join(&link, &pending).await.map(drop),
                Err(error) => Err(error.into()),
            };
            failed = failed.or(answered.err());
        }
        failed.map_or(Ok(()), Err)
    }
}

/// A relay that does not let an invitation in says nothing about why.
fn refused_guest(error: EngineError) -> ClientError {
    if error.is_stranger() || matches!(error, EngineError::RecordsRefused) {
        return ClientError::invalid(
            "this invitation does not open the space: it may have expired, been used up or been withdrawn; ask for a new one",
        );
    }
    error.into()
}

/// The id that a full id or an unambiguous beginning of at least 4 characters names.
fn pick<'i>(ids: impl Iterator<Item = &'i RecordId>, wanted: &str, what: &str) -> Result<RecordId, ClientError> {
    let wanted = wanted.trim().to_ascii_lowercase();
    if wanted.len() < 4 {
        return Err(ClientError::invalid("give at least the first 4 characters of the id"));
    }
    let found: Vec<&RecordId> = ids.filter(|id| id.to_string().starts_with(&wanted)).collect();
    match found.as_slice() {
        [id] => Ok(**id),
        [] => Err(ClientError::not_found(format!("{what} {wanted}"))),
        _ => Err(ClientError::invalid("more than one id begins like this; give more of its characters")),
    }
}
