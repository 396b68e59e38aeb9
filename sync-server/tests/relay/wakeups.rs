//! Wake-ups: a device that is away is told once that something is new, by a request to a real server, and by nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lifeos_sync_protocol::frame::{Cursor, ErrorCode, FEATURE_WAKEUP, Frame, PushStatus, RecordStatus, WakeupStatus};
use lifeos_sync_protocol::ids::{MemberId, Roll};
use lifeos_sync_protocol::record::{Body, RemoveReason, Role};
use lifeos_sync_protocol::wakeup::WakeupTarget;
use lifeos_sync_server::{Config, Handle, Limits, Server, WakeupRules};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::fixture::{Client, Device, Space, Stream, metric, patiently};
use crate::place::local;

/// What a push service answers.
#[derive(Clone)]
enum Answer {
    /// A status and headers.
    Says(u16, String),
    /// Nothing, for ever.
    Silence,
    /// Headers without end.
    Endless,
    /// A status, and then a body without end.
    EndlessBody,
}

fn says(status: u16) -> Answer {
    Answer::Says(status, String::new())
}

/// A request as it came.
#[derive(Debug)]
struct Post {
    head: String,
    body: String,
}

/// A real HTTP server on a free port of this machine.
struct PushService {
    addr: SocketAddr,
    posts: mpsc::UnboundedReceiver<Post>,
    connections: Arc<AtomicUsize>,
}

impl PushService {
    /// Its n-th answer, from 0, to what is posted to a path that begins with `/control` is always 201.
    async fn start(answers: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, posts) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, answered, answers) = (Arc::clone(&connections), Arc::new(AtomicUsize::new(0)), Arc::new(answers));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (sender, answered, answers) = (sender.clone(), Arc::clone(&answered), Arc::clone(&answers));
                tokio::spawn(async move {
                    serve(stream, sender, |control| {
                        if control { says(201) } else { answers(answered.fetch_add(1, Ordering::SeqCst)) }
                    })
                    .await
                });
            }
        });
        Self { addr, posts, connections }
    }

    fn target(&self, path: &str, token: &str) -> WakeupTarget {
        WakeupTarget::new(format!("http://{}{path}", self.addr), token).unwrap()
    }

    async fn next(&mut self) -> Post {
        patiently("a wake-up", self.posts.recv()).await.unwrap()
    }

    /// The next wake-up is the control's: whoever else was due would have been woken before or with it.
    async fn only_control(&mut self) {
        assert_eq!(self.next().await.body, CONTROL);
        assert!(self.posts.try_recv().is_err(), "somebody else was woken, too");
    }
}

async fn serve(
    mut stream: TcpStream,
    sender: mpsc::UnboundedSender<Post>,
    answer: impl Fn(bool) -> Answer,
) -> Option<()> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let length: usize = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let answer = answer(head.contains(" /control"));
    sender.send(Post { head, body: String::from_utf8(bytes[end..].to_vec()).unwrap() }).ok()?;
    match answer {
        Answer::Says(status, headers) => {
            let head = format!("HTTP/1.1 {status} Whatever\r\n{headers}Content-Length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await.ok()?;
        }
        Answer::Silence => std::future::pending().await,
        Answer::Endless | Answer::EndlessBody => {
            let begin: &[u8] =
                if matches!(answer, Answer::Endless) { b"HTTP/1.1 200 OK\r\nX: " } else { b"HTTP/1.1 200 OK\r\n\r\n" };
            stream.write_all(begin).await.ok()?;
            loop {
                stream.write_all(&[b'x'; 4096]).await.ok()?;
            }
        }
    }
    Some(())
}

const CONTROL: &str = "controlcontrolcontrol";
const TOKEN: &str = "bbbb0000bbbb1111bbbb2222bbbb3333";

fn quick() -> Limits {
    Limits {
        wakeup_delay_ms: 50,
        wakeup_every_ms: 1,
        wakeup_retry_ms: 20,
        wakeup_ms_max: 1_500,
        wakeup_attempts_max: 3,
        ..Limits::default()
    }
}

fn config(dir: &TempDir, limits: Limits, services: &[SocketAddr], private: bool) -> Config {
    let hosts: Vec<String> = services.iter().map(ToString::to_string).collect();
    let mut config = local(dir.path());
    (config.limits, config.wakeups) = (limits, WakeupRules::new(&hosts, true, private).ok());
    config
}

/// A relay, a space of three, and the founder connected to it.
struct Yard {
    relay: Handle,
    dir: TempDir,
    space: Space,
    b: Device,
    control: Device,
}

impl Yard {
    async fn new(service: &PushService) -> Self {
        Self::with(quick(), &[service.addr], true).await
    }

    async fn with(limits: Limits, services: &[SocketAddr], private: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let relay = Server::start(config(&dir, limits, services, private)).await.unwrap();
        let mut space = Space::new(1);
        let b = space.admit(2, MemberId([2; 16]), Role::Editor);
        let control = space.admit(3, MemberId([3; 16]), Role::Editor);
        drop(Client::found(&relay, &space).await);
        Self { relay, dir, space, b, control }
    }

    async fn writer(&self) -> (Client, u32) {
        Client::join(&self.relay, &self.space, &self.space.founder).await
    }

    /// Connects, says where to be woken, and reads to the end.
    async fn visit(&self, device: &Device, target: Option<WakeupTarget>) -> (Client, u32, WakeupStatus) {
        let (mut client, session) = Client::join(&self.relay, &self.space, device).await;
        let status = wish(&mut client, session, target).await;
        let mut cursor = Cursor { pos: 1, roll: Roll::ZERO, ..client.open(session, None).await.0 };
        client.catch_up(&self.space, session, &mut cursor).await;
        (client, session, status)
    }

    /// The same, and goes again.
    async fn register(&self, device: &Device, target: WakeupTarget) -> WakeupStatus {
        let (client, _, status) = self.visit(device, Some(target)).await;
        self.leave(client).await;
        status
    }

    /// Goes with a goodbye, and waits until the relay knows.
    async fn leave(&self, mut client: Client) {
        let open = metric(&self.relay, "sessions_open").await;
        client.socket.close(None).await.unwrap();
        while client.next().await.is_some() {}
        self.until("sessions_open", |now| now < open).await;
    }

    async fn until(&self, name: &str, is_done: impl Fn(u64) -> bool) {
        let look = async {
            while !is_done(metric(&self.relay, name).await) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        patiently(name, look).await;
    }

    /// What is written after an answer is there a moment later.
    async fn until_count(&self, sql: &str, expected: i64) {
        let look = async {
            while self.count(sql) != expected {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        patiently(sql, look).await;
    }

    /// Rows of the relay's database.
    fn count(&self, sql: &str) -> i64 {
        crate::place::count(self.dir.path(), sql)
    }
}

async fn wish(client: &mut Client, session: u32, target: Option<WakeupTarget>) -> WakeupStatus {
    match client.ask(&Frame::Wakeup { session, target }).await {
        Frame::WakeupAck { status, .. } => status,
        other => panic!("{other:?}"),
    }
}

async fn write(client: &mut Client, session: u32, stream: &mut Stream<'_>) {
    let results = client.push(session, vec![stream.seal()]).await;
    assert_eq!(results[0].status, PushStatus::Ok);
}

#[tokio::test]
async fn a_device_that_is_away_is_woken_once_until_it_has_come_and_then_again() {
    let mut service = PushService::start(|_| says(201)).await;
    let yard = Yard::new(&service).await;
    let (mut a, session) = yard.writer().await;
    let mut stream = yard.space.stream(&yard.space.founder, 1);
    let target = service.target("/up?id=7", TOKEN);
    assert_eq!(yard.register(&yard.b, target.clone()).await, WakeupStatus::Kept);

    write(&mut a, session, &mut stream).await;
    let post = service.next().await;
    assert_eq!(post.body, TOKEN, "the token, and nothing else");
    let head: Vec<&str> = post.head.trim_end().split("\r\n").collect();
    let host = format!("Host: {}", service.addr);
    let length = format!("Content-Length: {}", TOKEN.len());
    // Every byte of the request: there is no room for anything about the space, its devices or what was written.
    assert_eq!(
        head,
        [
            "POST /up?id=7 HTTP/1.1",
            &host,
            "TTL: 2419200",
            "Urgency: normal",
            "Content-Type: text/plain",
            &length,
            "User-Agent: lifeos-relay",
            "Connection: close",
        ]
    );

    // Whatever comes now, it was woken. The control is not, and shows that the relay looked.
    for _ in 0..3 {
        yard.register(&yard.control, service.target("/control", CONTROL)).await;
        write(&mut a, session, &mut stream).await;
        service.only_control().await;
    }
    yard.register(&yard.b, target).await;
    write(&mut a, session, &mut stream).await;
    let bodies = [service.next().await.body, TOKEN.to_owned()];
    assert_eq!(bodies[0], bodies[1]);
    yard.until("wakeups_sent_total", |sent| sent == 5).await;
    assert!(service.posts.try_recv().is_err());
}

#[tokio::test]
async fn who_is_here_and_who_wrote_it_is_not_woken() {
    let mut service = PushService::start(|_| says(201)).await;
    let yard = Yard::new(&service).await;
    yard.register(&yard.control, service.target("/control", CONTROL)).await;
    yard.register(&yard.space.founder, service.target("/a", "aaaaaaaaaaaaaaaa")).await;
    let (here, ..) = yard.visit(&yard.b, Some(service.target("/b", TOKEN))).await;
    // It only brings something, as one that sends from the background does, and goes.
    let (mut a, session) = yard.writer().await;
    write(&mut a, session, &mut yard.space.stream(&yard.space.founder, 1)).await;
    yard.leave(a).await;
    service.only_control().await;
    // The one who was here goes, too; then the control is woken once more, and nobody else.
    yard.leave(here).await;
    yard.register(&yard.control, service.target("/control", CONTROL)).await;
    let (mut b, session) = Client::join(&yard.relay, &yard.space, &yard.b).await;
    write(&mut b, session, &mut yard.space.stream(&yard.b, 2)).await;
    yard.leave(b).await;
    let mut woken = [service.next().await.body, service.next().await.body];
    woken.sort();
    assert_eq!(woken, ["aaaaaaaaaaaaaaaa", CONTROL], "now the first is away");
    assert!(service.posts.try_recv().is_err());
}

#[tokio::test]
async fn what_was_sent_to_a_connection_that_broke_wakes_its_device_and_what_it_took_leave_after_does_not() {
    let mut service = PushService::start(|_| says(201)).await;
    let yard = Yard::new(&service).await;
    let (mut a, session) = yard.writer().await;
    let mut stream = yard.space.stream(&yard.space.founder, 1);
    let (client, ..) = yard.visit(&yard.b, Some(service.target("/b", TOKEN))).await;
    yard.register(&yard.control, service.target("/control", CONTROL)).await;
    write(&mut a, session, &mut stream).await;
    service.only_control().await;
    // A phone that fell asleep: the socket goes without a word.
    drop(client);
    assert_eq!(service.next().await.body, TOKEN);

    let (client, ..) = yard.visit(&yard.b, Some(service.target("/b", TOKEN))).await;
    yard.register(&yard.control, service.target("/control", CONTROL)).await;
    write(&mut a, session, &mut stream).await;
    service.only_control().await;
    yard.leave(client).await;
    yard.register(&yard.control, service.target("/control", CONTROL)).await;
    // It has what it was sent: were it due or woken, it would stay so.
    yard.until_count("SELECT count(*) FROM wakeup WHERE state <> 0", 0).await;
}

#[tokio::test]
async fn a_wish_that_is_withdrawn_or_replaced_counts_no_more() {
    let mut service = PushService::start(|_| says(201)).await;
    let yard = Yard::new(&service).await;
    let (mut a, session) = yard.writer().await;
    let mut stream = yard.space.stream(&yard.space.founder, 1);
    yard.register(&yard.b, service.target("/old", TOKEN)).await;
    yard.register(&yard.b, service.target("/new", "cccccccccccccccc")).await;
    write(&mut a, session, &mut stream).await;
    let post = service.next().await;
    assert_eq!((post.body.as_str(), post.head.lines().next()), ("cccccccccccccccc", Some("POST /new HTTP/1.1")));
    assert_eq!(yard.count("SELECT count(*) FROM wakeup"), 1);

    let (client, _, status) = yard.visit(&yard.b, None).await;
    assert_eq!(status, WakeupStatus::None);
    yard.leave(client).await;
    yard.register(&yard.control, service.target("/control", CONTROL)).await;
    write(&mut a, session, &mut stream).await;
    service.only_control().await;
    assert_eq!(yard.count("SELECT count(*) FROM wakeup"), 1);
}

#[tokio::test]
async fn nobody_is_woken_who_was_removed_or_whose_space_is_closed() {
    let mut service = PushService::start(|_| says(201)).await;
    let mut yard = Yard::new(&service).await;
    let (mut a, session) = yard.writer().await;
    yard.register(&yard.b, service.target("/b", TOKEN)).await;
    yard.register(&yard.control, service.target("/control", CONTROL)).await;
    assert_eq!(yard.count("SELECT count(*) FROM wakeup"), 2);
    let removal = Body::MemberRemove { member: MemberId([2; 16]), cuts: Vec::new(), reason: RemoveReason::Left };
    let record = yard.space.append(&removal);
    assert_eq!(a.bring(session, &record).await, RecordStatus::Ok);
    assert_eq!(yard.count("SELECT count(*) FROM wakeup"), 1, "with the removal, in one commit");
    let mut stream = yard.space.stream(&yard.space.founder, 1);
    write(&mut a, session, &mut stream).await;
    service.only_control().await;
    let close = yard.space.append(&Body::Close { successor: None });
    assert_eq!(a.bring(session, &close).await, RecordStatus::Ok);
    assert_eq!(yard.count("SELECT count(*) FROM wakeup"), 0);
    // Nor does anybody come back to the list.
    let (mut late, session) = Client::join(&yard.relay, &yard.space, &yard.control).await;
    assert_eq!(wish(&mut late, session, Some(service.target("/control", CONTROL))).await, WakeupStatus::None);
    assert_eq!(yard.count("SELECT count(*) FROM wakeup"), 0);
}

#[tokio::test]
async fn a_relay_goes_nowhere_inside_its_network_unless_it_is_told_to() {
    let service = PushService::start(|_| says(201)).await;
    // The host is named, its address is not a public one.
    let yard = Yard::with(quick(), &[service.addr], false).await;
    assert_eq!(yard.register(&yard.b, service.target("/b", TOKEN)).await, WakeupStatus::Kept);
    let by_name = format!("http://localhost:{}/", service.addr.port());
    let by_name = WakeupTarget::new(by_name, CONTROL).unwrap();
    assert_eq!(yard.register(&yard.control, by_name).await, WakeupStatus::Refused, "another host than the named one");
    let (mut a, session) = yard.writer().await;
    let mut stream = yard.space.stream(&yard.space.founder, 1);
    write(&mut a, session, &mut stream).await;
    yard.until("wakeups_failed_total", |failed| failed == 1).await;
    assert_eq!(service.connections.load(Ordering::SeqCst), 0, "not even a connection");
    for forbidden in ["https://push.example/", "http://[::1]/", "http://169.254.169.254/latest", "http://127.0.0.1/"] {
        let target = WakeupTarget::new(forbidden, TOKEN).unwrap();
        assert_eq!(yard.register(&yard.b, target).await, WakeupStatus::Refused, "{forbidden}");
        assert_eq!(yard.count("SELECT count(*) FROM wakeup"), 0, "nor is the one before kept");
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_the_network_is_not_followed_there() {
    let service = PushService::start(|_| says(201)).await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir, quick(), &[service.addr], false);
    let host = format!("localhost:{}", service.addr.port());
    config.wakeups = Some(WakeupRules::new(std::slice::from_ref(&host), true, false).unwrap());
    let relay = Server::start(config).await.unwrap();
    let mut space = Space::new(1);
    let b = space.admit(2, MemberId([2; 16]), Role::Editor);
    let control = space.admit(3, MemberId([3; 16]), Role::Editor);
    drop(Client::found(&relay, &space).await);
    let yard = Yard { relay, dir, space, b, control };
    let target = WakeupTarget::new(format!("http://{host}/"), TOKEN).unwrap();
    assert_eq!(yard.register(&yard.b, target).await, WakeupStatus::Kept);
    let (mut a, session) = yard.writer().await;
    write(&mut a, session, &mut yard.space.stream(&yard.space.founder, 1)).await;
    yard.until("wakeups_failed_total", |failed| failed == 1).await;
    assert_eq!(service.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let inside = PushService::start(|_| says(200)).await;
    let location = format!("Location: http://{}/secret\r\n", inside.addr);
    let mut service = PushService::start(move |_| Answer::Says(307, location.clone())).await;
    let yard = Yard::with(quick(), &[service.addr, inside.addr], true).await;
    yard.register(&yard.b, service.target("/b", TOKEN)).await;
    let (mut a, session) = yard.writer().await;
    write(&mut a, session, &mut yard.space.stream(&yard.space.founder, 1)).await;
    assert_eq!(service.next().await.body, TOKEN);
    yard.until("wakeups_failed_total", |failed| failed == 1).await;
    assert_eq!((service.connections.load(Ordering::SeqCst), inside.connections.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test]
async fn a_push_service_that_says_nothing_or_without_end_costs_a_bounded_request() {
    for (answer, sent, failed) in [(Answer::Silence, 0, 3), (Answer::Endless, 0, 3), (Answer::EndlessBody, 1, 0)] {
        let mut service = PushService::start(move |_| answer.clone()).await;
        let yard = Yard::with(Limits { wakeup_ms_max: 200, ..quick() }, &[service.addr], true).await;
        yard.register(&yard.b, service.target("/b", TOKEN)).await;
        let (mut a, session) = yard.writer().await;
        write(&mut a, session, &mut yard.space.stream(&yard.space.founder, 1)).await;
        yard.until("wakeups_failed_total", |now| now == failed).await;
        yard.until("wakeups_sent_total", |now| now == sent).await;
        for _ in 0..sent + failed {
            assert_eq!(service.next().await.body, TOKEN);
        }
        // It serves on, and the others are woken.
        yard.register(&yard.control, service.target("/control", CONTROL)).await;
        let mut stream = yard.space.stream(&yard.space.founder, 9);
        write(&mut a, session, &mut stream).await;
        service.only_control().await;
    }
}

#[tokio::test]
async fn what_fails_for_now_is_tried_a_few_times_and_what_comes_through_is_not() {
    let mut service = PushService::start(|number| says(if number < 2 { 503 } else { 201 })).await;
    let yard = Yard::new(&service).await;
    yard.register(&yard.b, service.target("/b", TOKEN)).await;
    let (mut a, session) = yard.writer().await;
    write(&mut a, session, &mut yard.space.stream(&yard.space.founder, 1)).await;
    for _ in 0..3 {
        assert_eq!(service.next().await.body, TOKEN);
    }
    yard.until("wakeups_sent_total", |sent| sent == 1).await;
    assert_eq!(metric(&yard.relay, "wakeups_failed_total").await, 2);
    assert!(service.posts.try_recv().is_err());
}

#[tokio::test]
async fn a_target_that_fails_again_and_again_is_forgotten_and_its_device_is_told() {
    let mut service = PushService::start(|_| says(400)).await;
    let limits = Limits { wakeup_failures_max: 2, ..quick() };
    let yard = Yard::with(limits, &[service.addr], true).await;
    let (mut a, session) = yard.writer().await;
    let mut stream = yard.space.stream(&yard.space.founder, 1);
    for round in 1..=2 {
        assert_eq!(yard.register(&yard.b, service.target("/b", TOKEN)).await, WakeupStatus::Kept);
        write(&mut a, session, &mut stream).await;
        assert_eq!(service.next().await.body, TOKEN);
        yard.until_count("SELECT failures FROM wakeup", round).await;
    }
    yard.until_count("SELECT count(*) FROM wakeup WHERE url <> ''", 0).await;
    assert_eq!(yard.register(&yard.b, service.target("/b", TOKEN)).await, WakeupStatus::Gone);
}

#[tokio::test]
async fn a_target_that_is_gone_is_forgotten_and_its_device_is_told_until_it_names_another() {
    for status in [404, 410] {
        let mut service = PushService::start(move |_| says(status)).await;
        let yard = Yard::new(&service).await;
        let (mut a, session) = yard.writer().await;
        let mut stream = yard.space.stream(&yard.space.founder, 1);
        yard.register(&yard.b, service.target("/b", TOKEN)).await;
        write(&mut a, session, &mut stream).await;
        assert_eq!(service.next().await.body, TOKEN);
        yard.until_count("SELECT count(*) FROM wakeup WHERE url <> ''", 0).await;
        assert_eq!(metric(&yard.relay, "wakeup_targets_gone_total").await, 1);
        let (client, _, said) = yard.visit(&yard.b, Some(service.target("/b", TOKEN))).await;
        assert_eq!(said, WakeupStatus::Gone);
        yard.leave(client).await;
        yard.register(&yard.control, service.target("/control", CONTROL)).await;
        write(&mut a, session, &mut stream).await;
        service.only_control().await;
        assert_eq!(yard.register(&yard.b, service.target("/b", "dddddddddddddddd")).await, WakeupStatus::Kept);
    }
}

#[tokio::test]
async fn a_relay_that_is_killed_wakes_once_at_most_and_forgets_nobody_whom_it_had_not_begun_to_wake() {
    // The first answer never comes: the relay is killed while it waits for it.
    let mut service = PushService::start(|number| if number == 0 { Answer::Silence } else { says(201) }).await;
    let slow = Limits { wakeup_delay_ms: 3_600_000, ..quick() };
    let mut yard = Yard::with(slow, &[service.addr], true).await;
    yard.register(&yard.b, service.target("/b", TOKEN)).await;
    let (mut a, session) = yard.writer().await;
    write(&mut a, session, &mut yard.space.stream(&yard.space.founder, 1)).await;
    drop(a);
    let restart = async |yard: Yard, limits: Limits| {
        let Yard { relay, dir, space, b, control } = yard;
        drop(relay);
        let relay = Server::start(config(&dir, limits, &[service.addr], true)).await.unwrap();
        Yard { relay, dir, space, b, control }
    };
    assert_eq!(yard.count("SELECT count(*) FROM wakeup WHERE state = 1"), 1, "durable with what was written");
    yard = restart(yard, quick()).await;
    assert_eq!(patiently("the wake-up from before", service.posts.recv()).await.unwrap().body, TOKEN);
    for _ in 0..2 {
        yard = restart(yard, quick()).await;
    }
    yard.register(&yard.control, service.target("/control", CONTROL)).await;
    let (mut a, session) = yard.writer().await;
    write(&mut a, session, &mut yard.space.stream(&yard.space.founder, 7)).await;
    service.only_control().await;
}

#[tokio::test]
async fn a_relay_that_wakes_nobody_says_so_and_one_that_is_asked_too_often_lets_the_device_wait() {
    let (relay, _dir) = crate::fixture::relay().await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let wakeup = Frame::Wakeup { session, target: None };
    assert!(matches!(client.ask(&wakeup).await, Frame::Error { code: ErrorCode::Unexpected, fatal: false, .. }));
    assert_eq!(features(&relay).await & FEATURE_WAKEUP, 0);

    let service = PushService::start(|_| says(201)).await;
    let limits = Limits { device_wakeup_frames_per_minute_max: 3, ..quick() };
    let yard = Yard::with(limits, &[service.addr], true).await;
    assert_eq!(features(&yard.relay).await & FEATURE_WAKEUP, FEATURE_WAKEUP);
    let (mut client, session) = Client::join(&yard.relay, &yard.space, &yard.b).await;
    for _ in 0..3 {
        assert_eq!(wish(&mut client, session, Some(service.target("/b", TOKEN))).await, WakeupStatus::Kept);
    }
    let wakeup = Frame::Wakeup { session, target: Some(service.target("/b", TOKEN)) };
    assert!(matches!(client.ask(&wakeup).await, Frame::Error { code: ErrorCode::Rate, fatal: false, .. }));
    // Before OPEN, and for a session that is none, it is not legal.
    let mut early = Client::connect(&yard.relay).await;
    let session = early.auth(&yard.space, &yard.control).await;
    let wakeup = Frame::Wakeup { session, target: None };
    assert!(matches!(early.ask(&wakeup).await, Frame::Error { code: ErrorCode::Unexpected, .. }));
    let nobodys = Frame::Wakeup { session: 99, target: None };
    assert!(matches!(early.ask(&nobodys).await, Frame::Error { code: ErrorCode::Unexpected, fatal: true, .. }));
}

#[tokio::test]
async fn many_devices_are_woken_a_few_at_a_time_and_none_is_lost() {
    let mut service = PushService::start(|_| says(201)).await;
    let limits = Limits { wakeups_waiting_max: 2, wakeup_every_ms: 100, ..quick() };
    let yard = Yard::with(limits, &[service.addr], true).await;
    yard.register(&yard.b, service.target("/b", TOKEN)).await;
    yard.register(&yard.control, service.target("/control", CONTROL)).await;
    yard.register(&yard.space.founder, service.target("/a", "aaaaaaaaaaaaaaaa")).await;
    // A recovery key may read, and so be woken: a fourth.
    yard.register(&yard.space.recovery(), service.target("/r", "rrrrrrrrrrrrrrrr")).await;
    let (mut b, session) = Client::join(&yard.relay, &yard.space, &yard.b).await;
    write(&mut b, session, &mut yard.space.stream(&yard.b, 1)).await;
    let mut woken = [service.next().await.body, service.next().await.body, service.next().await.body];
    woken.sort();
    assert_eq!(woken, ["aaaaaaaaaaaaaaaa", CONTROL, "rrrrrrrrrrrrrrrr"]);
    assert!(service.posts.try_recv().is_err());
}

#[tokio::test]
async fn one_host_is_asked_no_more_often_than_the_relay_is_told_and_the_others_do_not_wait_for_it() {
    let mut busy = PushService::start(|_| says(201)).await;
    let mut other = PushService::start(|_| says(201)).await;
    let limits = Limits { wakeups_per_host_minute_max: 1, ..quick() };
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir, limits, &[], true);
    let name = format!("localhost:{}", other.addr.port());
    config.wakeups = Some(WakeupRules::new(&[busy.addr.to_string(), name.clone()], true, true).unwrap());
    let relay = Server::start(config).await.unwrap();
    let mut space = Space::new(1);
    let b = space.admit(2, MemberId([2; 16]), Role::Editor);
    let control = space.admit(3, MemberId([3; 16]), Role::Editor);
    drop(Client::found(&relay, &space).await);
    let yard = Yard { relay, dir, space, b, control };
    yard.register(&yard.space.founder, busy.target("/a", "aaaaaaaaaaaaaaaa")).await;
    yard.register(&yard.space.recovery(), busy.target("/r", "aaaaaaaaaaaaaaaa")).await;
    let at_other = WakeupTarget::new(format!("http://{name}/control"), CONTROL).unwrap();
    yard.register(&yard.control, at_other).await;
    let (mut b, session) = Client::join(&yard.relay, &yard.space, &yard.b).await;
    write(&mut b, session, &mut yard.space.stream(&yard.b, 1)).await;
    assert_eq!(other.next().await.body, CONTROL);
    assert_eq!(busy.next().await.body, "aaaaaaaaaaaaaaaa");
    yard.until("wakeups_sent_total", |sent| sent == 2).await;
    assert!(busy.posts.try_recv().is_err());
    assert_eq!(yard.count("SELECT count(*) FROM wakeup WHERE state = 1"), 1, "the other waits, and is not forgotten");
}

async fn features(relay: &Handle) -> u64 {
    let mut client = Client::dial(relay).await;
    let hello = Frame::Hello {
        proto_min: 1,
        proto_max: 1,
        role: lifeos_sync_protocol::frame::PeerRole::Client,
        nonce: [5; 32],
        features: 0,
    };
    match client.ask(&hello).await {
        Frame::Challenge { features, .. } => features,
        other => panic!("{other:?}"),
    }
}
