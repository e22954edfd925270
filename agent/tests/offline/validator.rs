//! Whether a value fits a schema. A validator in Rust would bring features of crates that nearly
//! everything depends on, which then is compiled twice.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Reads a value, and says by the definition of a schema what is wrong with it, a line each.
const VALIDATE: &str = "
import json, sys
try:
    from jsonschema import Draft202012Validator, FormatChecker
except ImportError:
    sys.exit(77)
path, name = sys.argv[1:]
schema = json.load(open(path))
Draft202012Validator.check_schema(schema)
schema['$ref'] = '#/$defs/' + name
for error in Draft202012Validator(schema, format_checker=FormatChecker()).iter_errors(json.load(sys.stdin)):
    print(error.json_path, error.message)
";

/// What is wrong with a value by a definition of a schema, a file below the root of the repository: nothing, if it is as it
/// should be. None where nobody can tell.
pub(crate) fn mistakes(schema: &str, name: &str, value: &Value) -> Option<String> {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(schema);
    let mut validator = Command::new("/usr/bin/python3");
    validator.args(["-c", VALIDATE]).arg(schema).arg(name);
    let mut validator = validator.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // It may end without reading.
    let _ = validator.stdin.take().unwrap().write_all(value.to_string().as_bytes());
    let answer = validator.wait_with_output().unwrap();
    if answer.status.code() == Some(77) {
        eprintln!("SKIPPED: python3-jsonschema is not installed, so nothing is compared with its schema");
        return None;
    }
    assert!(answer.status.success(), "{name}: the schema can't be used");
    Some(String::from_utf8(answer.stdout).unwrap())
}
