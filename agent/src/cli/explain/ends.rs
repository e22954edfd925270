//! The ends of a connection as they are named on the command line.

use std::net::IpAddr;

use podgate_judge::explain::{Destination, End};

use crate::cli::agent::object_key;

/// Parses who opens the connection.
pub(in crate::cli) fn source(text: &str) -> Result<End, String> {
    let key = text.strip_prefix("pod/").filter(|rest| rest.contains('/')).unwrap_or(text);
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(End::Address(address)),
        Err(_) => object_key(key).map(End::Pod).map_err(|_| "expected NAMESPACE/POD or an IP address".to_owned()),
    }
}

/// Parses who is connected to. A kind makes three parts, so a namespace may have a kind's name.
pub(in crate::cli) fn destination(text: &str) -> Result<Destination, String> {
    if let Ok(address) = text.parse() {
        return Ok(Destination::Address(address));
    }
    let named = match text.split_once('/') {
        Some(("pod", rest)) if rest.contains('/') => object_key(rest).map(Destination::Pod),
        Some(("svc", rest)) if rest.contains('/') => object_key(rest).map(Destination::Service),
        _ => object_key(text).map(Destination::Named),
    };
    named.map_err(|_| "expected NAMESPACE/NAME, pod/NAMESPACE/NAME, svc/NAMESPACE/NAME or an IP address".to_owned())
}

#[cfg(test)]
mod tests {
    use podgate_policy::model::ObjectKey;

    use super::*;

    #[test]
    fn source_is_a_pod_or_an_address() {
        let web = || ObjectKey::new("shop", "web");
        assert_eq!(source("shop/web"), Ok(End::Pod(web())));
        assert_eq!(source("pod/shop/web"), Ok(End::Pod(web())));
        assert_eq!(source("pod/web"), Ok(End::Pod(ObjectKey::new("pod", "web"))));
        assert_eq!(source("fd00::1"), Ok(End::Address("fd00::1".parse().unwrap())));
        for bad in ["web", "svc/shop/web", "10.0.0.256", "10.0.0.0/8/1", ""] {
            assert!(source(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn destination_may_say_of_which_kind_it_is() {
        let web = || ObjectKey::new("shop", "web");
        assert_eq!(destination("shop/web"), Ok(Destination::Named(web())));
        assert_eq!(destination("pod/shop/web"), Ok(Destination::Pod(web())));
        assert_eq!(destination("svc/shop/web"), Ok(Destination::Service(web())));
        assert_eq!(destination("svc/web"), Ok(Destination::Named(ObjectKey::new("svc", "web"))));
        assert_eq!(destination("10.0.0.1"), Ok(Destination::Address("10.0.0.1".parse().unwrap())));
        for bad in ["web", "node/shop/web", "svc/shop/", "10.0.0.256", ""] {
            assert!(destination(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
