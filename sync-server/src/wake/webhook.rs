//! Wakes a device by one POST to an address that it gave: a UnifiedPush endpoint, or any webhook.
//!
//! Whoever registers an address chooses where a relay connects to, so this goes nowhere that the rules do not name:
//! the host is in them, the address that it has *now* is looked at and connected to (a name is never looked up twice),
//! no redirect is followed, and of the answer a few kilobytes are read and only the status counts.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lifeos_sync_protocol::wakeup::{Endpoint, WakeupTarget};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Waker, Woken};
use crate::config::WakeupRules;

/// Most addresses of one host that are tried.
const ADDRESSES_MAX: usize = 3;
/// Time to connect to one of them.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Bytes of an answer that are read; what a status line and headers take.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Most headers of an answer.
const HEADERS_MAX: usize = 64;
/// How long a push service keeps a message for a device that it does not reach: four weeks, the longest that all of them
/// take. The relay sends no other before the device has come.
const TTL_S: u32 = 2_419_200;
/// The longest wait that a push service may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// Posts tokens.
pub(crate) struct Webhook {
    rules: WakeupRules,
    tls: TlsConnector,
    patience: Duration,
}

/// Why a POST has no answer.
enum Failed {
    /// The address is not allowed: trying again changes nothing.
    Forbidden,
    /// Name, network, TLS, or what came is no answer.
    Unreachable,
}

impl Webhook {
    /// Certificates are checked against the common web roots.
    pub(crate) fn new(rules: WakeupRules, patience: Duration) -> Result<Self, rustls::Error> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self::with_roots(rules, patience, roots)
    }

    fn with_roots(rules: WakeupRules, patience: Duration, roots: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { rules, tls: TlsConnector::from(Arc::new(config)), patience })
    }

    async fn post(&self, target: &WakeupTarget) -> Result<(u16, Option<Duration>), Failed> {
        let at = target.endpoint().map_err(|_| Failed::Forbidden)?;
        if !self.rules.allows(&at) {
            return Err(Failed::Forbidden);
        }
        let stream = self.connect(&at).await?;
        let request = request(&at, target.token());
        if !at.is_tls {
            return exchange(stream, &request).await;
        }
        let name = ServerName::try_from(at.host.to_owned()).map_err(|_| Failed::Forbidden)?;
        let stream = self.tls.connect(name, stream).await.map_err(|_| Failed::Unreachable)?;
        exchange(stream, &request).await
    }

    /// Connects to the very address that was looked at: a name that means another one a moment later leads nowhere.
    async fn connect(&self, at: &Endpoint<'_>) -> Result<TcpStream, Failed> {
        let found: Vec<SocketAddr> = lookup_host((at.host, at.port)).await.map_err(|_| Failed::Unreachable)?.collect();
        let allowed: Vec<SocketAddr> =
            found.iter().copied().filter(|found| self.rules.allows_address(found.ip())).collect();
        if allowed.is_empty() && !found.is_empty() {
            return Err(Failed::Forbidden);
        }
        for address in allowed.into_iter().take(ADDRESSES_MAX) {
            if let Ok(Ok(stream)) = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                return Ok(stream);
            }
        }
        Err(Failed::Unreachable)
    }
}

impl Waker for Webhook {
    fn allows(&self, target: &WakeupTarget) -> bool {
        target.endpoint().is_ok_and(|at| self.rules.allows(&at))
    }

    fn wake<'a>(&'a self, target: &'a WakeupTarget) -> Pin<Box<dyn Future<Output = Woken> + Send + 'a>> {
        Box::pin(async move {
            match timeout(self.patience, self.post(target)).await {
                Ok(Ok((200..=299, _))) => Woken::Taken,
                // RFC 8030 §7.3: the subscription is over; UnifiedPush says the same with both.
                Ok(Ok((404 | 410, _))) => Woken::Gone,
                Ok(Ok((408 | 425 | 429 | 500..=599, after))) => Woken::Later(after),
                Ok(Ok(_) | Err(Failed::Forbidden)) => Woken::Refused,
                Ok(Err(Failed::Unreachable)) | Err(_) => Woken::Later(None),
            }
        })
    }
}

/// The headers of web push (RFC 8030), which a plain webhook passes over; nothing that tells spaces or devices apart.
fn request(at: &Endpoint<'_>, token: &str) -> Vec<u8> {
    let slash = if at.path.starts_with('/') { "" } else { "/" };
    let host = if at.host.contains(':') { format!("[{}]", at.host) } else { at.host.to_owned() };
    let is_usual = at.port == if at.is_tls { 443 } else { 80 };
    let port = if is_usual { String::new() } else { format!(":{}", at.port) };
    format!(
        "POST {slash}{} HTTP/1.1\r\nHost: {host}{port}\r\nTTL: {TTL_S}\r\nUrgency: normal\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\nUser-Agent: lifeos-relay\r\nConnection: close\r\n\r\n{token}",
        at.path,
        token.len(),
    )
    .into_bytes()
}

/// The status of the answer, and when to come again if it says so.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
) -> Result<(u16, Option<Duration>), Failed> {
    stream.write_all(request).await.map_err(|_| Failed::Unreachable)?;
    stream.flush().await.map_err(|_| Failed::Unreachable)?;
    let mut head = Vec::with_capacity(1024);
    loop {
        while let Some((status, after, bytes)) = parse(&head)? {
            // 1xx comes before the answer.
            if status >= 200 {
                return Ok((status, after));
            }
            head.drain(..bytes);
        }
        let room = HEAD_BYTES_MAX.saturating_sub(head.len());
        let read = (&mut stream).take(room as u64).read_buf(&mut head).await.map_err(|_| Failed::Unreachable)?;
        if read == 0 {
            return Err(Failed::Unreachable);
        }
    }
}

/// A complete head: status, Retry-After and its length.
fn parse(head: &[u8]) -> Result<Option<(u16, Option<Duration>, usize)>, Failed> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let bytes = match response.parse(head) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Failed::Unreachable),
    };
    let status = response.code.ok_or(Failed::Unreachable)?;
    let after = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("retry-after"));
    let seconds = after.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok());
    Ok(Some((status, seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX)), bytes)))
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// Made for these tests: a certificate of `localhost` that signs itself, and its key.
    const CERT: &[u8] = include_bytes!("../../tests/data/push_cert.der");
    const KEY: &[u8] = include_bytes!("../../tests/data/push_key.der");

    /// A push service with TLS; answers its port, and the first request if one comes.
    async fn service() -> (u16, tokio::task::JoinHandle<Option<Vec<u8>>>) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(KEY));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(CERT)], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.ok()?;
            let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.ok()?;
            let mut request = Vec::new();
            while !request.ends_with(b"0123456789abcdef") {
                if stream.read_buf(&mut request).await.ok()? == 0 {
                    return None;
                }
            }
            stream.write_all(b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 201 Created\r\n\r\n").await.ok()?;
            stream.shutdown().await.ok()?;
            Some(request)
        });
        (port, serving)
    }

    fn rules(hosts: &[String]) -> WakeupRules {
        WakeupRules::new(hosts, false, true).unwrap()
    }

    fn roots(cert: Option<&'static [u8]>) -> RootCertStore {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        cert.into_iter().for_each(|cert| roots.add(CertificateDer::from(cert)).unwrap());
        roots
    }

    #[tokio::test]
    async fn a_push_service_is_told_only_if_its_certificate_is_good_and_its_own() {
        for (host, cert, expected) in [
            ("localhost", Some(CERT), Woken::Taken),
            ("localhost", None, Woken::Later(None)),
            ("127.0.0.1", Some(CERT), Woken::Later(None)),
        ] {
            let (port, serving) = service().await;
            let hosts = [format!("{host}:{port}")];
            let webhook = Webhook::with_roots(rules(&hosts), Duration::from_secs(10), roots(cert)).unwrap();
            let target = WakeupTarget::new(format!("https://{host}:{port}/up"), "0123456789abcdef").unwrap();
            assert_eq!(webhook.wake(&target).await, expected, "{host} {}", cert.is_some());
            let request = serving.await.unwrap();
            assert_eq!(request.is_some(), expected == Woken::Taken, "{host}: the token is told to nobody else");
            if let Some(request) = request {
                assert!(request.starts_with(b"POST /up HTTP/1.1\r\n"));
            }
        }
    }

    #[test]
    fn a_request_is_the_same_for_everybody_but_for_address_and_token() {
        let text = |url: &str| {
            let target = WakeupTarget::new(url, "0123456789abcdef").unwrap();
            String::from_utf8(request(&target.endpoint().unwrap(), target.token())).unwrap()
        };
        let rest = "TTL: 2419200\r\nUrgency: normal\r\nContent-Type: text/plain\r\nContent-Length: 16\r\n\
                    User-Agent: lifeos-relay\r\nConnection: close\r\n\r\n0123456789abcdef";
        for (url, begin) in [
            ("https://push.example", "POST / HTTP/1.1\r\nHost: push.example\r\n"),
            ("https://push.example:443/a?b", "POST /a?b HTTP/1.1\r\nHost: push.example\r\n"),
            ("https://push.example:80?up=1", "POST /?up=1 HTTP/1.1\r\nHost: push.example:80\r\n"),
            ("http://[fd00::7]:8080/", "POST / HTTP/1.1\r\nHost: [fd00::7]:8080\r\n"),
        ] {
            assert_eq!(text(url), format!("{begin}{rest}"));
        }
    }

    #[test]
    fn of_an_answer_only_the_status_and_a_bounded_wait_count() {
        let read = |head: &str| parse(head.as_bytes()).ok();
        assert_eq!(read("HTTP/1.1 20"), Some(None));
        assert_eq!(read("HTTP/1.1 204 No Content\r\nX: y\r\n\r\nbody"), Some(Some((204, None, 33))));
        let wait = |after: &str| {
            let head = format!("HTTP/1.1 429 Slow\r\nRetry-After: {after}\r\n\r\n");
            parse(head.as_bytes()).ok().flatten().and_then(|(_, wait, _)| wait)
        };
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("99999999999"), Some(RETRY_AFTER_MAX));
        assert_eq!((wait("-1"), wait("Fri, 31 Dec 1999 23:59:59 GMT")), (None, None));
        assert!(read("SSH-2.0-OpenSSH\r\n\r\n").is_none());
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert!(parse(many.as_bytes()).is_err());
    }
}
