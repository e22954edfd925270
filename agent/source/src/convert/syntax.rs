//! The forms of names, labels, ports and addresses that the API server accepts. Each check gives what is wrong and expected.

use std::net::IpAddr;

use ipnet::IpNet;

use super::path::quote;

/// What is wrong with a value, and what is expected.
pub(super) type Wrong = String;

fn alphanumeric_ends(text: &str, allowed: impl Fn(u8) -> bool, inner: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    allowed(first) && allowed(last) && bytes.iter().all(|&byte| allowed(byte) || inner(byte))
}

fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_dns_label(text: &str) -> bool {
    alphanumeric_ends(text, lower_or_digit, |byte| byte == b'-')
}

/// The name of a namespace: a DNS label.
pub(super) fn dns_label(text: &str) -> Result<(), Wrong> {
    if text.len() <= 63 && is_dns_label(text) {
        return Ok(());
    }
    let expected = "at most 63 lower case letters, digits and '-', beginning and ending with a letter or digit";
    Err(format!("{} is not a valid name: expected {expected}", quote(text)))
}

/// The name of most objects: a DNS subdomain.
pub(super) fn dns_subdomain(text: &str) -> Result<(), Wrong> {
    if text.len() <= 253 && text.split('.').all(is_dns_label) {
        return Ok(());
    }
    let expected =
        "at most 253 lower case letters, digits, '-' and '.', each part beginning and ending with a letter or digit";
    Err(format!("{} is not a valid name: expected {expected}", quote(text)))
}

fn is_label_name(text: &str) -> bool {
    text.len() <= 63 && alphanumeric_ends(text, |byte| byte.is_ascii_alphanumeric(), |byte| b"-_.".contains(&byte))
}

/// The key of a label: an optional DNS subdomain and '/', then a name.
pub(super) fn label_key(text: &str) -> Result<(), Wrong> {
    let valid = match text.split_once('/') {
        None => is_label_name(text),
        Some((prefix, name)) => dns_subdomain(prefix).is_ok() && is_label_name(name),
    };
    if valid {
        return Ok(());
    }
    let expected = "an optional DNS prefix and '/', then at most 63 letters, digits, '-', '_' and '.', \
                    beginning and ending with a letter or digit";
    Err(format!("{} is not a valid label key: expected {expected}", quote(text)))
}

/// The value of a label: empty, or like the name in a key.
pub(super) fn label_value(text: &str) -> Result<(), Wrong> {
    if text.is_empty() || is_label_name(text) {
        return Ok(());
    }
    let expected =
        "at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, or nothing";
    Err(format!("{} is not a valid label value: expected {expected}", quote(text)))
}

/// The name of a port, as IANA writes service names.
pub(super) fn port_name(text: &str) -> Result<(), Wrong> {
    let valid = text.len() <= 15
        && is_dns_label(text)
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && !text.contains("--");
    if valid {
        return Ok(());
    }
    let expected = "at most 15 lower case letters, digits and single '-' between them, at least one letter";
    Err(format!("{} is not a valid port name: expected {expected}", quote(text)))
}

/// The number of a port.
pub(super) fn port_number(number: i32) -> Result<u16, Wrong> {
    match u16::try_from(number) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(format!("{number} is not a port: expected 1 to 65535")),
    }
}

/// An address. Leading zeros and IPv4-mapped IPv6 are refused, as the API server does for new objects: other software reads
/// `010.0.0.1` as octal, and compares `::ffff:10.0.0.1` sometimes as the one family, sometimes as the other.
pub(super) fn address(text: &str) -> Result<IpAddr, Wrong> {
    let address: IpAddr = text.parse().map_err(|_| {
        let hint = if has_leading_zero(text) { ", without leading zeros" } else { "" };
        format!("{} is not an IP address: expected one such as 10.9.8.7 or 2001:db8::7{hint}", quote(text))
    })?;
    match mapped(address) {
        None => Ok(address),
        Some(plain) => Err(format!("{} is an IPv4-mapped IPv6 address: write {plain}", quote(text))),
    }
}

fn mapped(address: IpAddr) -> Option<std::net::Ipv4Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => address.to_ipv4_mapped(),
    }
}

fn has_leading_zero(text: &str) -> bool {
    text.split(['.', '/', ':']).any(|part| part.len() > 1 && part.starts_with('0'))
}

/// A block of addresses. Bits behind the prefix are cleared, as everything that matches against it does.
pub(super) fn block(text: &str) -> Result<IpNet, Wrong> {
    let wrong = |why: &str| {
        format!(
            "{} is not a block{why}: expected an address and a prefix length, such as 10.9.8.0/24 or 2001:db8::/64",
            quote(text)
        )
    };
    let (address, length) = text.split_once('/').ok_or_else(|| wrong(" (no prefix length)"))?;
    let address: IpAddr = address
        .parse()
        .map_err(|_| wrong(if has_leading_zero(address) { " (numbers have no leading zeros)" } else { "" }))?;
    if mapped(address).is_some() {
        return Err(wrong(" (IPv4-mapped IPv6 is not accepted)"));
    }
    let length = prefix_length(length).ok_or_else(|| wrong(""))?;
    let block = IpNet::new(address, length).map_err(|_| wrong(" (the prefix is longer than the address)"))?;
    Ok(block.trunc())
}

fn prefix_length(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_namespaces_are_dns_labels() {
        let longest = "a".repeat(63);
        for name in ["a", "shop", "a-1", "0", &longest] {
            assert_eq!(dns_label(name), Ok(()), "{name}");
        }
        for name in ["", "-a", "a-", "A", "a.b", "a_b", "ä", &"a".repeat(64)] {
            assert!(dns_label(name).is_err(), "{name}");
        }
    }

    #[test]
    fn names_of_objects_are_dns_subdomains() {
        for name in ["a", "a.b-c.0", &["a"; 127].join(".")] {
            assert_eq!(dns_subdomain(name), Ok(()), "{name}");
        }
        for name in ["", ".", "a.", ".a", "a..b", "a.-b", "a/b", &["a"; 128].join(".")] {
            assert!(dns_subdomain(name).is_err(), "{name}");
        }
    }

    #[test]
    fn label_keys_have_an_optional_dns_prefix() {
        for key in ["a", "A_b.c-d", "example.com/A", "kubernetes.io/metadata.name"] {
            assert_eq!(label_key(key), Ok(()), "{key}");
        }
        for key in ["", "/", "/a", "a/", "a/b/c", "-a", "a b", "Example.com/a", &"a".repeat(64), "_"] {
            assert!(label_key(key).is_err(), "{key}");
        }
    }

    #[test]
    fn label_values_may_be_empty() {
        for value in ["", "a", "A.b_c-9"] {
            assert_eq!(label_value(value), Ok(()), "{value}");
        }
        for value in [" ", "a b", "-a", "a.", "a/b", "a\n", &"a".repeat(64)] {
            assert!(label_value(value).is_err(), "{value}");
        }
    }

    #[test]
    fn port_names_are_iana_service_names() {
        for name in ["http", "a", "8080-x", "a-b-c", "serve-80-tcp", "abcdefghijklmno"] {
            assert_eq!(port_name(name), Ok(()), "{name}");
        }
        for name in ["", "80", "HTTP", "a--b", "-a", "a-", "a_b", "http/1", "abcdefghijklmnop"] {
            assert!(port_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn port_numbers_are_1_to_65535() {
        assert_eq!((port_number(1), port_number(65535)), (Ok(1), Ok(65535)));
        for number in [0, -1, 65536, 70000, i32::MAX, i32::MIN] {
            assert_eq!(port_number(number), Err(format!("{number} is not a port: expected 1 to 65535")));
        }
    }

    #[test]
    fn addresses_are_written_plainly() {
        assert_eq!(address("10.0.0.1").map(|address| address.to_string()), Ok("10.0.0.1".to_owned()));
        assert_eq!(address("2001:DB8::1").map(|address| address.to_string()), Ok("2001:db8::1".to_owned()));
        for text in ["", "010.0.0.1", "10.0.0", "::ffff:10.0.0.1", "fe80::1%eth0", "10.0.0.1/32", " 10.0.0.1"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn block_with_host_bits_set_is_masked() {
        for (text, masked) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("1.2.3.4/0", "0.0.0.0/0"),
            ("1.2.3.4/32", "1.2.3.4/32"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(block(text).map(|block| block.to_string()), Ok(masked.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for text in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0.0/8/8",
            "10.0.0/8",
            "010.0.0.0/8",
            "10.0.0.0 /8",
            "::/129",
            "::ffff:10.0.0.0/104",
            "::ffff:0:0/96",
            "fe80::%1/64",
            "all",
        ] {
            let wrong = block(text).expect_err(text);
            assert!(wrong.contains("expected an address and a prefix length"), "{text}: {wrong}");
        }
    }
}
