//! What an error of the API means: its class, and words that say what to do.

use std::error::Error;
use std::io::{self, ErrorKind};

use kube::api::ApiResource;
use kube::core::Status;
use kube::runtime::watcher;

use crate::status::ErrorClass;

/// Why a kind could not be listed or watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) class: ErrorClass,
    pub(super) message: String,
}

impl Failure {
    /// The failure that an error of a watch is, or its end without one.
    pub(super) fn of_watch(resource: &ApiResource, error: Option<&watcher::Error>) -> Self {
        match error {
            Some(error) => Self::new(resource, error),
            None => Self { class: ErrorClass::Other, message: "the watch ended".to_owned() },
        }
    }

    /// The failure that an error of a watch is.
    pub(super) fn new(resource: &ApiResource, error: &watcher::Error) -> Self {
        use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
        let (doing, cause) = match error {
            InitialListFailed(error) => ("list", error),
            WatchStartFailed(error) | WatchFailed(error) => ("watch", error),
            WatchError(status) => return Self::refusal(resource, "watch", status),
            NoResourceVersion => {
                let message = "the server's answer has no resourceVersion".to_owned();
                return Self { class: ErrorClass::Invalid, message };
            }
        };
        Self::of_request(resource, doing, cause)
    }

    /// The failure that an error of one request is.
    pub(super) fn of_request(resource: &ApiResource, doing: &str, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::refusal(resource, doing, status),
            other => Self { class: class(other), message: format!("can't {doing}: {}", chain(other)) },
        }
    }

    fn refusal(resource: &ApiResource, doing: &str, status: &Status) -> Self {
        let ApiResource { plural, group, .. } = resource;
        let name = if group.is_empty() { plural.clone() } else { format!("{plural}.{group}") };
        let hint = match status.code {
            401 => "; the credentials are not accepted".to_owned(),
            403 => format!("; grant get, list and watch on {name} to this user or service account"),
            _ => String::new(),
        };
        let message = format!("the server refuses to {doing} {name} ({}): {}{hint}", status.code, status.message);
        Self { class: of_code(status.code), message }
    }
}

const fn of_code(code: u16) -> ErrorClass {
    match code {
        401 => ErrorClass::Unauthorized,
        403 => ErrorClass::Forbidden,
        404 => ErrorClass::Missing,
        410 => ErrorClass::Expired,
        429 => ErrorClass::Overloaded,
        504 => ErrorClass::Timeout,
        500..=599 => ErrorClass::ServerError,
        _ => ErrorClass::Refused,
    }
}

/// The class of an error that is no answer of the API server.
fn class(error: &kube::Error) -> ErrorClass {
    match error {
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) | kube::Error::LinesCodecMaxLineLengthExceeded => {
            ErrorClass::Invalid
        }
        kube::Error::Auth(_) => ErrorClass::Unauthorized,
        kube::Error::RustlsTls(_) | kube::Error::TlsRequired => ErrorClass::Tls,
        kube::Error::ReadEvents(error) => of_connection(error),
        kube::Error::HyperError(error) => of_connection(error),
        kube::Error::Service(error) => of_connection(error.as_ref()),
        _ => ErrorClass::Other,
    }
}

/// What ended a connection, or kept it from being made. rustls tells of whatever is wrong with the other side's TLS as invalid data.
fn of_connection(error: &(dyn Error + 'static)) -> ErrorClass {
    match causes(error).find_map(|cause| cause.downcast_ref().map(innermost)) {
        Some(ErrorKind::TimedOut) => ErrorClass::Timeout,
        Some(ErrorKind::InvalidData) => ErrorClass::Tls,
        _ => ErrorClass::Unreachable,
    }
}

/// The kind of an error, or of that which it was made of.
fn innermost(error: &io::Error) -> ErrorKind {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>()) {
        Some(inner) => innermost(inner),
        None => error.kind(),
    }
}

/// An error and its causes, the innermost last.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}

/// An error with its causes, which the outer ones often leave out.
fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error).skip(1).fold(error.to_string(), |text, cause| {
        let inner = cause.to_string();
        if text.contains(&inner) { text } else { format!("{text}: {inner}") }
    })
}
