//! Who may read the metrics.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

/// The longest token.
const MAX_TOKEN: u64 = 4096;

/// Who may read the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// The node itself: what comes from the address that it was sent to, which is the host's.
    Node,
    /// Whoever shows the token in this file, which is read anew each time.
    Token(PathBuf),
    /// Whoever reaches the address.
    Anyone,
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// Whose request it is.
    pub(super) peer: IpAddr,
    /// Where it came in.
    pub(super) local: IpAddr,
}

impl Ends {
    /// The ends of a connection with these addresses. On a socket of both families, IPv4 addresses come in IPv6's form.
    pub(super) fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        Self { peer: peer.ip().to_canonical(), local: local.ip().to_canonical() }
    }

    /// Whether a loopback address was reached from beyond the node, as a host with `route_localnet` lets it be.
    pub(super) fn are_martian(self) -> bool {
        self.local.is_loopback() && !self.peer.is_loopback()
    }
}

/// Why somebody may not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A token is needed.
    NoToken,
    /// Only the node may.
    NotTheNode,
}

impl Readers {
    /// Whether a request with these headers may be answered.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn admit(&self, headers: &HeaderMap, ends: Ends) -> Result<(), Refusal> {
        match self {
            Self::Anyone => Ok(()),
            Self::Node if ends.peer == ends.local => Ok(()),
            Self::Node => Err(Refusal::NotTheNode),
            Self::Token(file) if shown(headers).is_some_and(|shown| is_token(shown, file)) => Ok(()),
            Self::Token(_) => Err(Refusal::NoToken),
        }
    }
}

/// The token that a request shows.
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Whether a token is the one in a file. An empty file has none.
fn is_token(shown: &[u8], file: &Path) -> bool {
    /// What the log was told: anybody may ask as often as he likes.
    static TOLD: Mutex<Option<String>> = Mutex::new(None);
    let read = read(file);
    let trouble = read.as_ref().err().map(ToString::to_string);
    if let Some(error) = news(&mut TOLD.lock().unwrap_or_else(PoisonError::into_inner), trouble) {
        tracing::warn!(path = %file.display(), error, "--metrics-token-file cannot be read: nobody reads the metrics");
    }
    let expected = read.unwrap_or_default();
    let expected = expected.trim_ascii();
    !expected.is_empty() && expected.ct_eq(shown).into()
}

/// What is wrong now, if that is another thing than what was told before.
fn news(told: &mut Option<String>, trouble: Option<String>) -> Option<&str> {
    if *told == trouble {
        return None;
    }
    *told = trouble;
    told.as_deref()
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut token = Vec::new();
    File::open(file)?.take(MAX_TOKEN).read_to_end(&mut token)?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hyper::header::HeaderValue;
    use tempfile::TempDir;

    use super::*;

    fn ends(peer: &str, local: &str) -> Ends {
        Ends::new(peer.parse().unwrap(), local.parse().unwrap())
    }

    fn from_a_pod() -> Ends {
        ends("10.0.0.7:4000", "10.0.0.1:9417")
    }

    fn headers(authorization: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(authorization))])
    }

    #[test]
    fn nobody_but_loopback_reaches_loopback() {
        let martian = |peer, local| ends(peer, local).are_martian();
        assert!(
            martian("10.0.0.7:4000", "127.0.0.1:9419") && martian("[::ffff:10.0.0.7]:4000", "[::ffff:127.0.0.1]:9419")
        );
        assert!(martian("[fd00::7]:4000", "[::1]:9419"));
        assert!(!martian("127.0.0.1:4000", "127.0.0.1:9419") && !martian("127.0.0.53:4000", "127.0.0.1:9419"));
        assert!(!martian("[::1]:4000", "[::1]:9419"));
        assert!(!martian("10.0.0.7:4000", "10.0.0.1:9419"), "an address of the node's is the operator's choice");
    }

    #[test]
    fn without_a_token_the_node_alone_reads() {
        let admit = |ends| Readers::Node.admit(&HeaderMap::new(), ends);
        assert_eq!(admit(ends("127.0.0.1:4000", "127.0.0.1:9417")), Ok(()));
        assert_eq!(admit(ends("[::ffff:10.0.0.1]:4000", "[::ffff:10.0.0.1]:9417")), Ok(()));
        assert_eq!(admit(ends("[fd00::1]:4000", "[fd00::1]:9417")), Ok(()));
        assert_eq!(admit(from_a_pod()), Err(Refusal::NotTheNode));
        assert_eq!(admit(ends("[fd00::7]:4000", "[fd00::1]:9417")), Err(Refusal::NotTheNode));
    }

    #[test]
    fn with_a_token_who_shows_it_reads_and_nobody_else() {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("token");
        fs::write(&file, "secret\n").unwrap();
        let readers = Readers::Token(file.clone());
        let admits = |headers, ends| readers.admit(&headers, ends).is_ok();
        assert!(admits(headers("Bearer secret"), from_a_pod()) && admits(headers("bearer  secret"), from_a_pod()));
        for wrong in ["Bearer Secret", "Bearer secretx", "Bearer secre", "Bearer ", "Basic secret", "secret"] {
            assert!(!admits(headers(wrong), from_a_pod()), "{wrong}");
        }
        assert!(!admits(HeaderMap::new(), ends("127.0.0.1:4000", "127.0.0.1:9417")), "the node shows one too");
        fs::write(&file, "another").unwrap();
        assert!(admits(headers("Bearer another"), from_a_pod()) && !admits(headers("Bearer secret"), from_a_pod()));
    }

    #[test]
    fn a_file_without_a_token_lets_nobody_read() {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("token");
        let readers = Readers::Token(file.clone());
        let refused = || readers.admit(&headers("Bearer "), from_a_pod());
        assert_eq!(refused(), Err(Refusal::NoToken));
        fs::write(&file, "\n").unwrap();
        assert_eq!(refused(), Err(Refusal::NoToken));
    }

    #[test]
    fn what_keeps_a_token_from_being_read_is_told_once_until_it_changes() {
        let mut told = None;
        let mut news = |trouble: Option<&str>| news(&mut told, trouble.map(str::to_owned)).map(str::to_owned);
        let troubles = [Some("gone"), Some("gone"), Some("denied"), None, None, Some("gone")];
        let expected = [Some("gone"), None, Some("denied"), None, None, Some("gone")];
        assert_eq!(troubles.map(&mut news), expected.map(|it| it.map(str::to_owned)));
    }

    #[test]
    fn an_operator_may_let_anyone_read() {
        assert_eq!(Readers::Anyone.admit(&HeaderMap::new(), from_a_pod()), Ok(()));
    }
}
