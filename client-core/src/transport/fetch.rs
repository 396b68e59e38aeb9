//! Gets a page or a feed over HTTP, when a person asks for it.
//!
//! Addresses come from pages and feeds, so they may be anybody's: nothing inside the network that this device stands in is
//! reached unless the person says so, the address that was looked at is the one connected to (a name is never looked up
//! twice), and bytes, redirects and time are bounded. Nothing is sent that tells devices or persons apart.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::GzDecoder;
use lifeos_sync_protocol::address::{is_inside, is_public};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::modules::articles::address::{canonical, host, joined};

/// Largest page or feed, unpacked.
pub const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 128;
const REDIRECTS_MAX: usize = 5;
const ADDRESSES_MAX: usize = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// Time for all of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to get.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Address.
    pub url: String,
    /// What the server called the version that is known.
    pub etag: String,
    /// When that was changed, in the server's words.
    pub last_modified: String,
    /// Addresses inside the network this device stands in may be reached.
    pub may_go_inside: bool,
    /// Larger is refused [default: [`BYTES_MAX`]].
    pub bytes_max: usize,
}

/// What came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The address that answered, after redirects.
    pub url: String,
    /// The version that is known is the newest; there is no body.
    pub is_unchanged: bool,
    /// Bytes, unpacked.
    pub body: Vec<u8>,
    /// What the server calls this version.
    pub etag: String,
    /// When it was changed, in the server's words.
    pub last_modified: String,
    /// Media type.
    pub media: String,
}

/// Why nothing came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No address of the web.
    #[error("{0} is no address of the web: give one that begins with https://")]
    BadAddress(String),
    /// Inside the network.
    #[error("{0} is inside the network of this device: allow that with --allow-private if it is meant")]
    Inside(String),
    /// Name or network.
    #[error("{0} cannot be reached: check the address and the connection, then try again")]
    Unreachable(String),
    /// The server's certificate.
    #[error("{0} does not prove who it is (TLS): check the address")]
    Unproven(String),
    /// An answer that says no.
    #[error("the server answers {status}: {}", meaning(*status))]
    Status {
        /// Its status.
        status: u16,
    },
    /// Too many bytes.
    #[error("it is larger than {} MiB", BYTES_MAX / (1024 * 1024))]
    TooLarge,
    /// From one address to the next.
    #[error("it leads from one address to the next without end")]
    Redirects,
    /// No HTTP, or packed in a way nobody asked for.
    #[error("what came is no answer of the web: check the address")]
    Malformed,
    /// Too slow.
    #[error("it took too long; try again")]
    Slow,
}

const fn meaning(status: u16) -> &'static str {
    match status {
        401 | 403 => "not without logging in; save the page in a browser and give the file",
        404 | 410 => "there is no such page (any more); check the address",
        429 => "too many requests; try again later",
        500..=599 => "it has a problem of its own; try again later",
        _ => "it cannot be used",
    }
}

impl FetchError {
    /// Whether the same request can succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Slow | Self::Status { status: 429 | 500..=599 })
    }
}

/// Gets something.
///
/// # Errors
/// [`FetchError`].
pub async fn fetch(request: &Request) -> Result<Answer, FetchError> {
    timeout(PATIENCE, follow(request)).await.map_err(|_| FetchError::Slow)?
}

async fn follow(request: &Request) -> Result<Answer, FetchError> {
    let mut url = canonical(&request.url).ok_or_else(|| FetchError::BadAddress(request.url.clone()))?;
    let bytes_max = if request.bytes_max == 0 { BYTES_MAX } else { request.bytes_max };
    for _ in 0..=REDIRECTS_MAX {
        let raw = exchange(&url, request, bytes_max).await?;
        let get = |name: &str| raw.get(name).unwrap_or_default().to_owned();
        match raw.status {
            200..=299 => {
                let body = unpacked(raw.body, &raw.headers, bytes_max)?;
                let (etag, last_modified, media) = (
                    header(&raw.headers, "etag"),
                    header(&raw.headers, "last-modified"),
                    header(&raw.headers, "content-type"),
                );
                return Ok(Answer { url, is_unchanged: false, body, etag, last_modified, media });
            }
            304 => return Ok(Answer { url, is_unchanged: true, ..Answer::default() }),
            301 | 302 | 303 | 307 | 308 => {
                url = joined(&url, &get("location")).ok_or(FetchError::Malformed)?;
            }
            status => return Err(FetchError::Status { status }),
        }
    }
    Err(FetchError::Redirects)
}

struct Raw {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Raw {
    fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn header(headers: &[(String, String)], name: &str) -> String {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default()
}

async fn exchange(url: &str, request: &Request, bytes_max: usize) -> Result<Raw, FetchError> {
    let (is_tls, authority) = (url.starts_with("https://"), host(url));
    let (name, port) = split_port(authority, is_tls).ok_or_else(|| FetchError::BadAddress(url.to_owned()))?;
    let stream = connect(name, port, request.may_go_inside).await?;
    let head = written(url, authority, request);
    if !is_tls {
        return talk(stream, &head, bytes_max).await;
    }
    let unproven = || FetchError::Unproven(name.to_owned());
    let server = ServerName::try_from(name.to_owned()).map_err(|_| unproven())?;
    let stream = tls().ok_or_else(unproven)?.connect(server, stream).await.map_err(|_| unproven())?;
    talk(stream, &head, bytes_max).await
}

fn split_port(authority: &str, is_tls: bool) -> Option<(&str, u16)> {
    let usual = if is_tls { 443 } else { 80 };
    if let Some(rest) = authority.strip_prefix('[') {
        let (name, rest) = rest.split_once(']')?;
        return Some((name, rest.strip_prefix(':').map_or(Some(usual), |port| port.parse().ok())?));
    }
    match authority.rsplit_once(':') {
        Some((name, port)) => Some((name, port.parse().ok()?)),
        None => Some((authority, usual)),
    }
}

/// Connects to the very address that was looked at.
async fn connect(name: &str, port: u16, may_go_inside: bool) -> Result<TcpStream, FetchError> {
    let unreachable = || FetchError::Unreachable(name.to_owned());
    let found: Vec<SocketAddr> = lookup_host((name, port)).await.map_err(|_| unreachable())?.collect();
    let is_allowed = |found: &&SocketAddr| is_public(found.ip()) || (may_go_inside && is_inside(found.ip()));
    let allowed: Vec<&SocketAddr> = found.iter().filter(is_allowed).collect();
    if allowed.is_empty() && !found.is_empty() {
        return Err(FetchError::Inside(name.to_owned()));
    }
    for address in allowed.into_iter().take(ADDRESSES_MAX) {
        if let Ok(Ok(stream)) = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            return Ok(stream);
        }
    }
    Err(unreachable())
}

fn tls() -> Option<TlsConnector> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}

fn written(url: &str, authority: &str, request: &Request) -> Vec<u8> {
    let path = url.split_once("://").map_or("/", |(_, rest)| &rest[authority.len().min(rest.len())..]);
    let path: String =
        path.chars().map(|char| if char.is_ascii_graphic() { char.to_string() } else { percent(char) }).collect();
    let mut head = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: lifeos\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nConnection: close\r\n"
    );
    for (name, value) in [("If-None-Match", &request.etag), ("If-Modified-Since", &request.last_modified)] {
        // What a server said is said again only if it is one plain line.
        if !value.is_empty() && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    (head + "\r\n").into_bytes()
}

fn percent(char: char) -> String {
    char.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    head: &[u8],
    bytes_max: usize,
) -> Result<Raw, FetchError> {
    let broken = |_| FetchError::Malformed;
    stream.write_all(head).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut bytes = Vec::with_capacity(16 * 1024);
    let (status, headers, mut body) = loop {
        if let Some((status, headers, length)) = parsed(&bytes)? {
            let rest = bytes.split_off(length);
            // 1xx comes before the answer.
            if status >= 200 {
                break (status, headers, rest);
            }
            bytes = rest;
            continue;
        }
        let room = HEAD_BYTES_MAX.saturating_sub(bytes.len());
        if (&mut stream).take(room as u64).read_buf(&mut bytes).await.map_err(broken)? == 0 {
            return Err(FetchError::Malformed);
        }
    };
    if status == 304 || status == 204 {
        return Ok(Raw { status, headers, body: Vec::new() });
    }
    let is_chunked = header(&headers, "transfer-encoding").to_ascii_lowercase().contains("chunked");
    let length = header(&headers, "content-length").parse::<usize>().ok().filter(|_| !is_chunked);
    if length.is_some_and(|length| length > bytes_max) {
        return Err(FetchError::TooLarge);
    }
    // Chunks cost a few bytes more; what ends without saying so ends with the connection.
    let room = length.unwrap_or(if is_chunked { bytes_max + bytes_max / 8 } else { bytes_max });
    while body.len() <= room && length.is_none_or(|length| body.len() < length) {
        let left = (room - body.len() + 1) as u64;
        match (&mut stream).take(left).read_buf(&mut body).await {
            Ok(0) => break,
            Ok(_) => {}
            // Some servers close without a goodbye: what has its length, or its last chunk, is whole all the same.
            Err(_) if length.is_none() => break,
            Err(_) => return Err(FetchError::Malformed),
        }
    }
    if body.len() > room && length.is_none() {
        return Err(FetchError::TooLarge);
    }
    if let Some(length) = length {
        if body.len() < length {
            return Err(FetchError::Malformed);
        }
        body.truncate(length);
    }
    let body = if is_chunked { unchunked(&body).ok_or(FetchError::Malformed)? } else { body };
    Ok(Raw { status, headers, body })
}

type Head = (u16, Vec<(String, String)>, usize);

fn parsed(bytes: &[u8]) -> Result<Option<Head>, FetchError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(FetchError::Malformed),
    };
    let status = response.code.ok_or(FetchError::Malformed)?;
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
    let headers = response.headers.iter().map(|header| (header.name.to_ascii_lowercase(), text(header.value)));
    Ok(Some((status, headers.collect(), length)))
}

fn unchunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size.checked_add(2)?..)?;
    }
}

fn unpacked(body: Vec<u8>, headers: &[(String, String)], bytes_max: usize) -> Result<Vec<u8>, FetchError> {
    match header(headers, "content-encoding").to_ascii_lowercase().as_str() {
        "" | "identity" if body.len() <= bytes_max => Ok(body),
        "" | "identity" => Err(FetchError::TooLarge),
        "gzip" | "x-gzip" => {
            let mut out = Vec::new();
            let unpacking = GzDecoder::new(body.as_slice()).take(bytes_max as u64 + 1).read_to_end(&mut out);
            unpacking.map_err(|_| FetchError::Malformed)?;
            if out.len() > bytes_max { Err(FetchError::TooLarge) } else { Ok(out) }
        }
        _ => Err(FetchError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tokio::net::TcpListener;

    use super::*;

    /// A server that gives these answers, one a connection; its address, and what it was asked.
    async fn server(answers: Vec<Vec<u8>>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}/a", listener.local_addr().unwrap().port());
        let serving = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                while !bytes.ends_with(b"\r\n\r\n") {
                    assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
                }
                asked.push(String::from_utf8(bytes).unwrap());
                let _ = stream.write_all(&answer).await;
            }
            asked
        });
        (url, serving)
    }

    fn inside(url: &str) -> Request {
        Request { url: url.to_owned(), may_go_inside: true, ..Request::default() }
    }

    async fn answer(bytes: impl Into<Vec<u8>>) -> Result<Answer, FetchError> {
        let (url, serving) = server(vec![bytes.into()]).await;
        let answer = fetch(&inside(&url)).await;
        serving.await.unwrap();
        answer
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packing = GzEncoder::new(Vec::new(), Compression::best());
        packing.write_all(bytes).unwrap();
        let body = packing.finish().unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.into_bytes(), body].concat()
    }

    #[tokio::test]
    async fn nothing_inside_the_network_is_reached_unless_it_is_asked_for() {
        let (url, serving) = server(vec![b"HTTP/1.1 200 OK\r\n\r\nsecret".to_vec()]).await;
        let request = Request { url: url.clone(), ..Request::default() };
        assert_eq!(fetch(&request).await, Err(FetchError::Inside("127.0.0.1".into())));
        for odd in ["http://169.254.169.254/latest", "http://[::1]/", "http://0.0.0.0/"] {
            let reached = fetch(&Request { url: odd.into(), ..Request::default() }).await;
            assert!(matches!(reached, Err(FetchError::Inside(_))), "{odd}: {reached:?}");
        }
        // Link-local is nobody's own network.
        let metadata = fetch(&inside("http://169.254.169.254/latest")).await;
        assert!(matches!(metadata, Err(FetchError::Inside(_))), "{metadata:?}");
        assert_eq!(fetch(&inside(&url)).await.unwrap().body, b"secret");
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_page_comes_whole_however_it_is_sent() {
        let chunked = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: \"1\"\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let came = answer(chunked).await.unwrap();
        assert_eq!((came.body.as_slice(), came.etag.as_str()), (b"abcde".as_slice(), "\"1\""));
        assert_eq!(
            answer("HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\nto the end").await.unwrap().body,
            b"to the end"
        );
        assert_eq!(answer(gzip(b"packed")).await.unwrap().body, b"packed");
    }

    #[tokio::test]
    async fn what_is_too_large_cut_off_or_no_answer_is_refused() {
        assert_eq!(answer(gzip(&vec![0; BYTES_MAX + 1])).await, Err(FetchError::TooLarge), "a bomb");
        assert_eq!(answer("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n").await, Err(FetchError::TooLarge));
        assert_eq!(answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await, Err(FetchError::Malformed));
        let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; BYTES_MAX + 2]].concat();
        assert_eq!(answer(endless).await, Err(FetchError::TooLarge));
        for odd in [
            "",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\nx",
        ] {
            assert_eq!(answer(odd).await, Err(FetchError::Malformed), "{odd}");
        }
        assert_eq!(answer("HTTP/1.1 404 Not Found\r\n\r\n").await, Err(FetchError::Status { status: 404 }));
        let headers = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(answer(headers).await, Err(FetchError::Malformed));
    }

    #[tokio::test]
    async fn redirects_are_followed_a_few_times_and_never_elsewhere_than_the_web() {
        let to = |place: &str| format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\n\r\n").into_bytes();
        let (url, serving) = server(vec![to("b?c=1"), b"HTTP/1.1 200 OK\r\n\r\nthere".to_vec()]).await;
        let came = fetch(&inside(&url)).await.unwrap();
        assert!(came.url.ends_with("/b?c=1") && came.body == b"there", "{came:?}");
        assert!(serving.await.unwrap()[1].starts_with("GET /b?c=1 HTTP/1.1\r\n"));
        let (url, _serving) = server(vec![to("/a"); REDIRECTS_MAX + 1]).await;
        assert_eq!(fetch(&inside(&url)).await, Err(FetchError::Redirects));
        assert_eq!(answer(to("file:///etc/passwd")).await, Err(FetchError::Malformed));
    }

    #[tokio::test]
    async fn what_is_known_already_is_not_sent_again() {
        let (url, serving) = server(vec![b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec()]).await;
        let request = Request { etag: "\"1\"".into(), last_modified: "x\r\nEvil: 1".into(), ..inside(&url) };
        assert!(fetch(&request).await.unwrap().is_unchanged);
        let asked = serving.await.unwrap().remove(0);
        assert!(asked.contains("If-None-Match: \"1\"\r\n") && !asked.contains("Evil"), "{asked}");
    }
}
