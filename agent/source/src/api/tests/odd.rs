//! Servers that are slow, or do not tell the truth.

use std::time::Duration;

use serde_json::json;

use super::server::{Lie, Server};
use super::{Follower, has_pod, pod};
use crate::SourceStatus;

fn json_lie(body: impl ToString) -> Lie {
    Lie { content_type: "application/json", body: body.to_string() }
}

#[tokio::test]
async fn answers_that_are_no_list_are_failures_and_the_truth_counts_in_the_end() {
    let server = Server::start().await;
    server.apply("pods", pod("a", "10.0.0.1"));
    let metadata = json!({"resourceVersion": "1"});
    let lies = [
        Lie { content_type: "text/html", body: "<html>Welcome to the hotel</html>".to_owned() },
        json_lie(""),
        json_lie("[]"),
        json_lie("null"),
        json_lie(r#"{"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": [{"#),
        json_lie(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": []})),
        json_lie(json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": 7})),
        json_lie(json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata})),
    ];
    let number = lies.len() as u64;
    server.lie("pods", lies);
    let mut follower = Follower::of(&server);
    follower.next().await;
    assert_eq!(follower.pods(), ["shop/a"]);
    let status = follower.status(SourceStatus::is_synced).await;
    assert_eq!((status.resources["Pod"].failures(), status.resources["Pod"].failure()), (number, None));
}

#[tokio::test]
async fn events_that_make_no_sense_change_nothing_and_what_follows_counts() {
    let nonsense = [
        "not json\n",
        "{}\n",
        r#"{"type": "STRANGE", "object": {}}"#,
        r#"{"type": "ADDED"}"#,
        r#"{"type": "BOOKMARK", "object": {}}"#,
        r#"{"type": "DELETED", "object": {"metadata": {"namespace": "shop", "name": "nobody"}}}"#,
        r#"{"type": "ERROR", "object": {}}"#,
        r#"{"type": "ERROR", "object": "no status"}"#,
        "\u{0}\u{1}\n",
    ];
    for (number, text) in nonsense.into_iter().enumerate() {
        let server = Server::start().await;
        server.apply("pods", pod("a", "10.0.0.1"));
        let mut follower = Follower::synced(&server).await;
        server.tell("pods", &format!("{}\n", text.trim_end()));
        let name = format!("b{number}");
        server.apply("pods", pod(&name, "10.0.0.2"));
        follower.until(has_pod(&name)).await;
        assert_eq!(follower.pods(), ["shop/a".to_owned(), format!("shop/{name}")], "{text}");
    }
}

#[tokio::test]
async fn a_slow_server_is_waited_for() {
    let server = Server::start().await;
    server.apply("pods", pod("a", "10.0.0.1"));
    server.dawdle(Duration::from_millis(1));
    let mut follower = Follower::of(&server);
    follower.next().await;
    assert_eq!(follower.pods(), ["shop/a"]);
    let failures: u64 = follower.status(SourceStatus::is_synced).await.resources.values().map(|it| it.failures()).sum();
    assert_eq!(failures, 0);
}
