//! The yardstick relay: the least a durable relay can do. Rooms, one SQLite thread with group commit at
//! FULL, acknowledgement and broadcast after the commit, bounded queues. No keys, no checks, no membership.
//!
//! A client's first binary message is its role: `W` (writer), `R` (reader, live) or `C` (catch-up from the
//! start). After that a writer sends payloads and gets one 4-byte count per commit; readers get payloads.

use std::path::Path;
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use rusqlite::Connection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

type Job = (Vec<Vec<u8>>, oneshot::Sender<()>);
type Bytes = tokio_tungstenite::tungstenite::Bytes;

/// Serves until the process ends; prints the address.
pub(crate) async fn serve(data: &Path) {
    let db = data.join("yard.db");
    let (jobs, queue) = mpsc::channel::<Job>(1024);
    let (live, _) = broadcast::channel::<Arc<Vec<Bytes>>>(4096);
    let to_readers = live.clone();
    let path = db.clone();
    std::thread::spawn(move || write_loop(&path, queue, &to_readers));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("ws://{}", listener.local_addr().expect("an address"));
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        let _ = socket.set_nodelay(true);
        tokio::spawn(connection(socket, jobs.clone(), live.subscribe(), db.clone()));
    }
}

/// Settings of every connection: small buffers, as a relay of many sockets must have.
pub(crate) fn websocket() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(4096).max_message_size(Some(8 << 20)).max_frame_size(Some(8 << 20))
}

fn open(path: &Path) -> Connection {
    let db = Connection::open(path).expect("a database");
    db.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000; CREATE TABLE IF NOT EXISTS log (pos INTEGER PRIMARY KEY, data BLOB)")
        .expect("a table");
    db
}

fn write_loop(path: &Path, mut queue: mpsc::Receiver<Job>, live: &broadcast::Sender<Arc<Vec<Bytes>>>) {
    let mut db = open(path);
    while let Some(first) = queue.blocking_recv() {
        let mut jobs = vec![first];
        while jobs.len() < 1024 {
            let Ok(job) = queue.try_recv() else { break };
            jobs.push(job);
        }
        let transaction = db.transaction().expect("a transaction");
        {
            let mut insert = transaction.prepare_cached("INSERT INTO log (data) VALUES (?1)").expect("a statement");
            jobs.iter().flat_map(|job| &job.0).for_each(|data| {
                insert.execute([data]).expect("a row");
            });
        }
        transaction.commit().expect("a commit");
        for (payloads, done) in jobs {
            let _ = live.send(Arc::new(payloads.into_iter().map(Bytes::from).collect()));
            let _ = done.send(());
        }
    }
}

async fn connection(
    socket: TcpStream,
    jobs: mpsc::Sender<Job>,
    mut live: broadcast::Receiver<Arc<Vec<Bytes>>>,
    db: std::path::PathBuf,
) {
    let Ok(mut socket) = tokio_tungstenite::accept_async_with_config(socket, Some(websocket())).await else { return };
    let Some(Ok(Message::Binary(role))) = socket.next().await else { return };
    match role.first() {
        Some(b'W') => drop(live),
        Some(b'C') => return catch_up(socket, &db).await,
        _ => {
            while let Ok(payloads) = live.recv().await {
                for payload in payloads.iter() {
                    if socket.feed(Message::Binary(payload.clone())).await.is_err() {
                        return;
                    }
                }
                if live.is_empty() && socket.flush().await.is_err() {
                    return;
                }
            }
            return;
        }
    }
    let (mut sink, mut stream) = socket.split();
    let (acks, mut to_ack) = mpsc::channel::<(u32, oneshot::Receiver<()>)>(1024);
    tokio::spawn(async move {
        while let Some((count, done)) = to_ack.recv().await {
            if done.await.is_err() || sink.send(Message::Binary(count.to_be_bytes().to_vec().into())).await.is_err() {
                return;
            }
        }
    });
    while let Some(Ok(Message::Binary(frame))) = stream.next().await {
        // A frame is a run of (u32 length, payload), as a PUSH is.
        let payloads = split(&frame);
        let (done, wait) = oneshot::channel();
        let count = u32::try_from(payloads.len()).unwrap_or(0);
        if jobs.send((payloads, done)).await.is_err() || acks.send((count, wait)).await.is_err() {
            return;
        }
    }
}

fn split(frame: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = frame;
    let mut out = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let length = (u32::from_be_bytes(*head) as usize).min(tail.len());
        out.push(tail[..length].to_vec());
        rest = &tail[length..];
    }
    out
}

/// Packs payloads into one frame.
pub(crate) fn join(payloads: &[Vec<u8>]) -> Vec<u8> {
    payloads
        .iter()
        .flat_map(|payload| {
            u32::try_from(payload.len()).unwrap_or(0).to_be_bytes().into_iter().chain(payload.iter().copied())
        })
        .collect()
}

async fn catch_up(mut socket: tokio_tungstenite::WebSocketStream<TcpStream>, db: &Path) {
    let (pages, mut ready) = mpsc::channel::<Vec<u8>>(4);
    let path = db.to_path_buf();
    // A thread that stays: the CPU time of one that has ended is not counted.
    tokio::task::spawn_blocking(move || {
        let db = open(&path);
        let mut select = db.prepare("SELECT data FROM log ORDER BY pos").expect("a statement");
        let mut rows = select.query([]).expect("rows");
        let mut page = Vec::with_capacity(80 << 10);
        while let Some(row) = rows.next().expect("a row") {
            let data = row.get_ref(0).and_then(|value| Ok(value.as_blob()?)).expect("a blob");
            page.extend_from_slice(&u32::try_from(data.len()).unwrap_or(0).to_be_bytes());
            page.extend_from_slice(data);
            if page.len() >= 64 << 10
                && pages.blocking_send(std::mem::replace(&mut page, Vec::with_capacity(80 << 10))).is_err()
            {
                return;
            }
        }
        let _ = pages.blocking_send(page);
        let _ = pages.blocking_send(Vec::new());
    });
    while let Some(page) = ready.recv().await {
        if socket.send(Message::Binary(page.into())).await.is_err() {
            return;
        }
    }
}
