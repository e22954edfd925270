//! What scalars of YAML mean: as kubectl's parser resolves them, which is that of YAML 1.1 with exceptions.
//!
//! <https://yaml.org/type/> has the types; `resolve.go` of go.yaml.in/yaml/v2, which sigs.k8s.io/yaml uses, the exceptions: dates
//! and numbers beyond the range of a double are text, base 60 is unknown, `010` and `0o10` are 8.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

/// The beginning of the tags that `!!` stands for.
const STANDARD_TAGS: &str = "tag:yaml.org,2002:";

/// The value of a scalar. `plain` is one without quotes, and not of a block.
pub(super) fn value(text: String, tag: Option<&str>, plain: bool) -> Result<Value, String> {
    let Some(tag) = tag else { return if plain { resolve(text) } else { Ok(Value::String(text)) } };
    let cannot = |text: &str, tag: &str| format!("{text:?} can't be read as !!{tag}");
    match tag.strip_prefix(STANDARD_TAGS) {
        Some("binary") => decode(&text).ok_or_else(|| "!!binary without valid base64".to_owned()),
        Some(tag @ ("int" | "float" | "bool" | "null")) => {
            let value = resolve(text.clone())?;
            let fits = match tag {
                "bool" => value.is_boolean(),
                "null" => value.is_null(),
                "int" => value.is_i64() || value.is_u64(),
                _ => value.is_number(),
            };
            if fits { Ok(value) } else { Err(cannot(&text, tag)) }
        }
        // Text, or nothing that is known: text too.
        _ => Ok(Value::String(text)),
    }
}

/// Whether a plain scalar as a key merges the mapping that is its value.
pub(super) fn merges(text: &str, tag: Option<&str>, plain: bool) -> bool {
    text == "<<" && ((plain && tag.is_none()) || tag.and_then(|tag| tag.strip_prefix(STANDARD_TAGS)) == Some("merge"))
}

/// The text that a key becomes, since JSON has no others.
pub(super) fn key(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Err("a key that is null: expected text".to_owned()),
        Value::Array(_) | Value::Object(_) => Err("a key that is a list or a mapping: expected text".to_owned()),
    }
}

/// What a plain scalar without a tag is.
fn resolve(text: String) -> Result<Value, String> {
    Ok(match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => true.into(),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => false.into(),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf"
        | "-.INF" => return Err(format!("{text} is no finite number: expected one, or quotes")),
        _ => match text.bytes().next() {
            Some(b'0'..=b'9' | b'+' | b'-') => {
                let plain = text.replace('_', "");
                integer(&plain).or_else(|| float(&plain)).map_or(Value::String(text), Value::Number)
            }
            Some(b'.') => float(&text).map_or(Value::String(text), Value::Number),
            _ => Value::String(text),
        },
    })
}

/// An integer in base 10, or in that which its prefix says: `0x`, `0o` or `0`, `0b`.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // The parser takes signs too.
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if !negative {
        return Some(magnitude.into());
    }
    0_i64.checked_sub_unsigned(magnitude).map(Number::from)
}

/// A decimal number; `None` also for one beyond a double's range. A whole one is an integer, as JSON doesn't tell them apart.
fn float(text: &str) -> Option<Number> {
    if !is_decimal(text) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    // Without an exponent if it is whole, in as few digits as tell it apart.
    let whole = (value.fract() == 0.0).then(|| value.to_string().parse::<i64>().ok()).flatten();
    whole.map(Number::from).or_else(|| Number::from_f64(value))
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_decimal(text: &str) -> bool {
    let unsigned = |text: &str| text.strip_prefix(['-', '+']).unwrap_or(text).to_owned();
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let text = unsigned(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(unsigned(exponent))),
        None => (text.as_str(), None),
    };
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(whole, rest)| (whole, Some(rest)));
    let has_digits = !whole.is_empty() || fraction.is_some_and(|fraction| !fraction.is_empty());
    let fits = has_digits && is_digits(whole) && fraction.is_none_or(is_digits);
    fits && exponent.is_none_or(|exponent| !exponent.is_empty() && is_digits(&exponent))
}

fn decode(text: &str) -> Option<Value> {
    let digits: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    STANDARD.decode(digits).ok().map(|bytes| String::from_utf8_lossy(&bytes).into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plain(text: &str) -> Value {
        value(text.to_owned(), None, true).unwrap()
    }

    #[test]
    fn plain_scalars_are_what_kubectl_takes_them_for() {
        for (text, expected) in [
            ("80", json!(80)),
            ("+12", json!(12)),
            ("-0", json!(0)),
            ("-7", json!(-7)),
            ("010", json!(8)),
            ("08", json!(8)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("-0b11", json!(-3)),
            ("1_000", json!(1000)),
            ("80.0", json!(80)),
            ("1e3", json!(1000)),
            ("1.", json!(1)),
            (".5", json!(0.5)),
            ("1.5", json!(1.5)),
            ("1e30", json!(1e30)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("18446744073709551615", json!(u64::MAX)),
            ("12345678901234567890123", json!(1.2345678901234568e22)),
            ("y", json!(true)),
            ("NO", json!(false)),
            ("oN", json!("oN")),
            ("~", json!(null)),
            ("", json!(null)),
            ("nULL", json!("nULL")),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_number_is_text() {
        for text in [
            "57e4321",
            "1e999",
            "-1E400",
            "2001-01-01",
            "1:30",
            "0xFFFFFFFFFFFFFFFFFF",
            "0x",
            "0b",
            "0b12",
            "0o8",
            "1e",
            "e1",
            "1e+",
            ".",
            "-",
            "+",
            "--1",
            "1.2.3",
            "1..2",
            "0x1p3",
            "infinity",
            "nan",
            "Inf",
            "1e1_a",
            "5d5f5c4d9",
            "._5",
        ] {
            assert_eq!(plain(text), json!(text));
        }
    }

    #[test]
    fn no_number_of_json_is_an_error() {
        for text in [".nan", "-.Inf", ".INF"] {
            assert!(value(text.to_owned(), None, true).unwrap_err().contains("no finite number"), "{text}");
            assert_eq!(value(text.to_owned(), None, false), Ok(json!(text)));
        }
    }

    #[test]
    fn tags_say_what_a_scalar_is() {
        let tagged = |tag: &str, text: &str| value(text.to_owned(), Some(&format!("{STANDARD_TAGS}{tag}")), true);
        assert_eq!(tagged("str", "12"), Ok(json!("12")));
        assert_eq!(tagged("int", "12"), Ok(json!(12)));
        assert_eq!(tagged("float", "1"), Ok(json!(1)));
        assert_eq!(tagged("binary", "aG\nk="), Ok(json!("hi")));
        assert_eq!(value("x".to_owned(), Some("!include"), true), Ok(json!("x")));
        assert_eq!(value("12".to_owned(), Some("!"), true), Ok(json!("12")));
        for (tag, text) in [("int", "x"), ("bool", "1"), ("null", "x"), ("binary", "?")] {
            assert!(tagged(tag, text).is_err(), "{tag} {text}");
        }
    }

    #[test]
    fn keys_become_text() {
        for (value, expected) in [(json!(1), "1"), (json!(true), "true"), (json!("a"), "a"), (json!(1.5), "1.5")] {
            assert_eq!(key(value), Ok(expected.to_owned()));
        }
        for value in [json!(null), json!([]), json!({})] {
            assert!(key(value).is_err());
        }
    }
}
