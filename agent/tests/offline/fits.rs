//! Whether what a command prints fits its schema.

use serde_json::Value;

use crate::validator;

/// What is wrong with the output of a command: nothing, if it is as it should be. None where nobody can tell.
pub(crate) fn mistakes(command: &str, output: &Value) -> Option<String> {
    validator::mistakes("docs/output.schema.json", command, output)
}

/// Fails unless the output of a command fits.
pub(crate) fn assert_fits(command: &str, output: &Value) {
    assert_eq!(mistakes(command, output).unwrap_or_default(), "", "{output:#}");
}
