//! One websocket connection.

pub(crate) mod metered;
pub(crate) mod outgoing;

use std::sync::Arc;

use axum::extract::ws::WebSocket;

use crate::server::{Peer, Relay};

/// Serves a connection until it ends.
pub(crate) async fn serve(_socket: WebSocket, _relay: Arc<Relay>, _peer: Peer) {}
