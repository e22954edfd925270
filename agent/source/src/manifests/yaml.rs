//! One YAML document, within limits.

use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Options, SnippetMode};

use super::tree::Tree;

/// Reads one document that begins after `lines_before` lines of its file. The error says what is wrong and where.
///
/// The limits leave room for every real manifest and keep memory and time in proportion to the text: anchors can't expand to
/// more than [`MAX_REPLAYED`] nodes, and nothing nests deeper than [`MAX_DEPTH`].
pub(super) fn read(text: &str, lines_before: u64) -> Result<Tree, String> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        error.render_with_options(serde_saphyr::render_options! {
            snippets: SnippetMode::Off,
            line_offset: lines_before,
        })
    })
}

/// Nodes that anchors may add to a document.
const MAX_REPLAYED: usize = 100_000;
/// Lists and mappings in each other. The objects that podgate reads need fewer than 20.
const MAX_DEPTH: usize = 64;
/// Nodes in a document: what 16 MiB of Kubernetes objects have, with room.
const MAX_NODES: usize = 2_000_000;

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
        },
        // Told with their paths by `Tree`.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // Buffered comments have a limit of their own, which a commented-out rule would reach.
        emit_comments: false,
        // 010 is 8 to kubectl's parser and 10 to others, 1_000 a number to one and text to the other: as text they are no ports
        // to anybody.
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> serde_json::Value {
        read(text, 0).expect(text).value
    }

    #[test]
    fn scalars_have_the_types_that_kubectl_gives_them() {
        assert_eq!(
            value("{a: 80, b: '80', c: http, d: true, e: on, f: ~, g: , h: 2001-01-01, i: \"x\\ty\"}"),
            json!({
                "a": 80, "b": "80", "c": "http", "d": true, "e": true, "f": null, "g": null, "h": "2001-01-01", "i": "x\ty",
            })
        );
    }

    #[test]
    fn numbers_that_parsers_read_differently_are_text() {
        assert_eq!(value("[010, 1_000]"), json!(["010", "1_000"]));
    }

    #[test]
    fn anchors_and_merge_keys_are_expanded() {
        assert_eq!(
            value("a: &a {app: web}\nb: *a\nc: {<<: *a, tier: front}\n"),
            json!({"a": {"app": "web"}, "b": {"app": "web"}, "c": {"app": "web", "tier": "front"}})
        );
    }

    #[test]
    fn keys_given_twice_are_told_with_their_paths() {
        let tree = read("spec:\n  ingress:\n  - from: [1]\n    from: [2]\n  ingress: []\n", 0).expect("YAML");
        assert_eq!(tree.repeated, ["spec.ingress[0].from", "spec.ingress"]);
        assert_eq!(tree.value, json!({"spec": {"ingress": [{"from": [1]}]}}));
    }

    #[test]
    fn many_comments_are_no_problem() {
        assert_eq!(value(&format!("a:\n{}  b: 1\n", "# - from: []\n".repeat(5000))), json!({"a": {"b": 1}}));
    }

    #[test]
    fn errors_name_the_line_of_the_file() {
        let error = read("a: [\n", 40).expect_err("no YAML");
        assert!(error.contains("line 4"), "{error}");
    }
}
