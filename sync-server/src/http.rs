//! The relay's HTTP surface: `/sync` (websocket), `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Extension, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use lifeos_sync_protocol::limits::FRAME_BYTES_MAX;

use crate::config::TokenHash;
use crate::connection;
use crate::server::{Peer, Phase, Relay};

/// Read buffer of a websocket. The default of 128 KiB would be the whole cost of an idle connection.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Written to the socket once this much is buffered, so that many small frames are one system call.
const WRITE_BUFFER_BYTES: usize = 32 * 1024;

pub(crate) fn router(relay: Arc<Relay>) -> axum::Router {
    axum::Router::new()
        .route("/sync", get(sync))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(relay)
}

async fn sync(
    State(relay): State<Arc<Relay>>,
    Extension(mut peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !relay.arrivals.try_take(peer.address, tokio::time::Instant::now()) {
        relay.metrics.connections_refused_total.increment();
        return (StatusCode::TOO_MANY_REQUESTS, "too many connections from this address; try again later\n")
            .into_response();
    }
    peer.token = query.as_deref().and_then(token).map(TokenHash::of);
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES + 2 * FRAME_BYTES_MAX)
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .on_upgrade(move |socket| connection::serve(socket, relay, peer))
}

/// The value of `token` in a query. Taken as it stands: a token has no characters that would be escaped.
fn token(query: &str) -> Option<&str> {
    query.split('&').find_map(|field| field.strip_prefix("token="))
}

/// Ready: serving, the writer thread is there, and the last commit succeeded.
async fn ready(State(relay): State<Arc<Relay>>) -> Response {
    if *relay.phase.borrow() != Phase::Running {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    if !relay.store.is_writing() {
        return (StatusCode::SERVICE_UNAVAILABLE, "nothing can be stored any more: restart the relay\n")
            .into_response();
    }
    if relay.metrics.storage_unavailable.value() != 0 {
        return (StatusCode::SERVICE_UNAVAILABLE, "the last commit failed: is the disk full?\n").into_response();
    }
    "ready\n".into_response()
}

async fn metrics(State(relay): State<Arc<Relay>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], relay.metrics.render()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Server};

    #[tokio::test]
    async fn a_relay_whose_writer_is_gone_is_not_ready() {
        let dir = tempfile::tempdir().unwrap();
        let handle = Server::start(Config::local(dir.path())).await.unwrap();
        let relay = handle.relay();
        assert_eq!(ready(State(Arc::clone(relay))).await.status(), StatusCode::OK);
        relay.store.stop();
        assert_eq!(ready(State(Arc::clone(relay))).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
