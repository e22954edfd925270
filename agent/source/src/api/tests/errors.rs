//! What keeps a kind from being read is told apart by what helps against it.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::server::{Lie, Server};
use super::{Follower, NODE, PATIENCE};
use crate::api::{WATCHED, start};
use crate::{ClusterPolicies, ErrorClass, SourceStatus};

/// How often which errors of pods came up.
fn errors(status: &SourceStatus) -> BTreeMap<ErrorClass, u64> {
    status.resources["Pod"].errors.iter().map(|(&class, errors)| (class, errors.count)).collect()
}

#[tokio::test]
async fn each_answer_that_refuses_has_its_class() {
    let codes = [401, 403, 404, 410, 418, 429, 500, 503, 504];
    let server = Server::start().await;
    server.refuse_lists("pods", &codes);
    server.lie("pods", [Lie { content_type: "text/html", body: "<html>".to_owned() }]);
    let mut follower = Follower::of(&server);
    let status = follower.status(SourceStatus::is_synced).await;
    let expected = [
        (ErrorClass::Unauthorized, 1),
        (ErrorClass::Forbidden, 1),
        (ErrorClass::Missing, 1),
        (ErrorClass::Expired, 1),
        (ErrorClass::Refused, 1),
        (ErrorClass::Overloaded, 1),
        (ErrorClass::ServerError, 2),
        (ErrorClass::Timeout, 1),
        (ErrorClass::Invalid, 1),
    ];
    assert_eq!(errors(&status), expected.into());
    assert_eq!(status.resources["Pod"].failure(), None);
    assert_eq!(status.resources["Pod"].last_error.as_ref().map(|error| error.class), Some(ErrorClass::Invalid));
}

#[tokio::test]
async fn a_watch_whose_place_is_forgotten_has_expired() {
    let server = Server::start().await;
    let mut follower = Follower::synced(&server).await;
    server.expire_watches("pods");
    let status = follower.status(|status| !errors(status).is_empty()).await;
    assert_eq!(errors(&status), [(ErrorClass::Expired, 1)].into());
}

/// The class of the first error with a server at this address, which may take so long to answer.
async fn first_error(url: &str, patience: Option<Duration>) -> ErrorClass {
    let mut config = Config::new(url.parse().expect("an URL"));
    config.default_retry = false;
    config.read_timeout = patience;
    let client = Client::try_from(config).expect("a client");
    let mut source =
        start(client, super::location(), NODE, super::timing(PATIENCE), WATCHED.into(), ClusterPolicies::Auto);
    let failing = source.status.wait_for(|status| status.resources["Pod"].failure().is_some());
    let status = timeout(PATIENCE, failing).await.expect("in time").expect("a source").clone();
    status.resources["Pod"].failure().expect("a failure").class
}

#[tokio::test]
async fn connections_that_come_to_nothing_are_told_apart() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let silent = format!("http://{}", silent.local_addr().expect("its address"));
    let plain = Server::start().await;
    assert_eq!(first_error("http://127.0.0.1:1", None).await, ErrorClass::Unreachable);
    assert_eq!(first_error(&silent, Some(Duration::from_millis(100))).await, ErrorClass::Timeout);
    assert_eq!(first_error(&plain.url().replace("http:", "https:"), None).await, ErrorClass::Tls);
}
