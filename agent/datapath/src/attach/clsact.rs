//! Filters of preference 1 at the clsact qdisc, where the kernel has no TCX.
//!
//! A filter is replaced in place, by handle and preference: not a packet passes between the two. Deleting and adding
//! would leave a gap.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_ECHO, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};
use podgate_common::Direction;

use super::request::{Failure, request};
use super::{Standing, failed, hook_name};
use crate::load::Classifier;
use crate::{Error, sys};

/// The preference that comes before all others.
const PREFERENCE: u32 = 1;
/// The handles of our filters: a new one comes before the others of its preference, so moving ours ahead of a
/// stranger's takes a second.
const HANDLES: [u32; 2] = [0x7067_0001, 0x7067_0002];
/// Every protocol, `ETH_P_ALL` in network byte order.
const ALL_PROTOCOLS: u32 = (libc::ETH_P_ALL as u16).to_be() as u32;

/// A filter at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    preference: u32,
    handle: u32,
    kind: String,
    program: Option<u32>,
}

impl Filter {
    /// Whether it is one that this or a former start made.
    fn is_ours(&self) -> bool {
        self.preference == PREFERENCE && self.kind == TcFilterBpf::KIND && HANDLES.contains(&self.handle)
    }
}

/// Makes a program the first filter at a hook, and sees that it is; whether it was not.
pub(super) fn attach_first(program: BorrowedFd<'_>, classifier: Classifier, ifindex: u32) -> Result<bool, Error> {
    let direction = classifier.direction();
    let id = sys::program_id(program).map_err(|error| failed(ifindex, direction, "looking", &error))?;
    let standing = |filters: &[Filter]| Standing::among(filters.iter().map(|filter| filter.program), id);
    // Without the qdisc the kernel knows no such hook.
    if filters(ifindex, direction).is_ok_and(|filters| standing(&filters) == Standing::First) {
        return Ok(false);
    }
    ensure_qdisc(ifindex, direction)?;
    let before = filters(ifindex, direction)?;
    let handle = match before.first() {
        Some(first) if first.is_ours() => first.handle,
        _ => spare_handle(&before),
    };
    put(program, classifier, handle, ifindex).map_err(|failure| refused(&failure, &before, ifindex, direction))?;
    for other in before.iter().filter(|filter| filter.is_ours() && filter.handle != handle) {
        delete(other.handle, ifindex, direction)?;
    }
    let now = standing(&filters(ifindex, direction)?);
    now.must_be_first(ifindex, direction, |hook| {
        format!("another filter keeps putting itself before podgate's at the {hook} hook: give it a higher preference")
    })?;
    Ok(true)
}

/// Makes the clsact qdisc of an interface; whether there was no other in its place.
pub(super) fn make_qdisc(ifindex: u32, direction: Direction) -> Result<bool, Error> {
    match request(RouteNetlinkMessage::NewQueueDiscipline(our_qdisc(ifindex)), NLM_F_CREATE | NLM_F_EXCL) {
        Ok(_) => Ok(true),
        Err(failure) if failure.errno() == libc::EEXIST => Ok(false),
        Err(failure) => Err(failed(ifindex, direction, "adding the clsact qdisc", &failure.io())),
    }
}

/// Puts a program at a hook of a qdisc that [`make_qdisc`] has made, in the place of ours that may be there. What others do
/// there meanwhile [`attach_first`] finds.
pub(super) fn attach_alone(program: BorrowedFd<'_>, classifier: Classifier, ifindex: u32) -> Result<(), Error> {
    put(program, classifier, HANDLES[0], ifindex)
        .map_err(|failure| failed(ifindex, classifier.direction(), "adding a filter", &failure.io()))
}

/// Removes our filters from a hook. The qdisc stays: others may use it.
pub(super) fn detach(ifindex: u32, direction: Direction) -> Result<(), Error> {
    for handle in HANDLES {
        delete(handle, ifindex, direction)?;
    }
    Ok(())
}

/// Removes the clsact qdisc of an interface, which may be gone, if no filter is at it.
pub(super) fn remove_unused_qdisc(ifindex: u32) -> Result<(), Error> {
    for direction in Direction::ALL {
        match filters(ifindex, direction) {
            Ok(filters) if filters.is_empty() => {}
            // Somebody else's, or no qdisc and no interface to look at.
            Ok(_) | Err(_) => return Ok(()),
        }
    }
    remove(RouteNetlinkMessage::DelQueueDiscipline(our_qdisc(ifindex)))
        .map_err(|failure| failed(ifindex, Direction::Ingress, "removing the clsact qdisc", &failure.io()))
}

/// A handle that none of these filters has.
fn spare_handle(filters: &[Filter]) -> u32 {
    let taken = |handle: &u32| filters.iter().any(|filter| filter.is_ours() && filter.handle == *handle);
    HANDLES.into_iter().find(|handle| !taken(handle)).unwrap_or(HANDLES[0])
}

/// Says who has the place that a filter of ours was refused.
fn refused(failure: &Failure, before: &[Filter], ifindex: u32, direction: Direction) -> Error {
    let hook = hook_name(direction);
    match before.iter().find(|filter| filter.preference == PREFERENCE && !filter.is_ours()) {
        Some(other) => Error::Attach {
            ifindex,
            reason: format!(
                "preference 1 of the {hook} hook is held by a {} filter of another program: give that one a higher \
                 preference ({failure})",
                other.kind
            ),
        },
        None => failed(ifindex, direction, "adding a filter", &failure.io()),
    }
}

/// A message about an interface's hook.
fn message(ifindex: u32, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::with_index(ifindex.cast_signed());
    message.header.parent = parent;
    message
}

const fn hook(direction: Direction) -> TcHandle {
    let minor = match direction {
        Direction::Ingress => TcHandle::MIN_EGRESS,
        Direction::Egress => TcHandle::MIN_INGRESS,
    };
    TcHandle { major: TcHandle::CLSACT.major, minor }
}

/// A message about the clsact qdisc of an interface.
fn our_qdisc(ifindex: u32) -> TcMessage {
    let mut message = message(ifindex, TcHandle::CLSACT);
    message.header.handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    message.attributes.push(TcAttribute::Kind("clsact".to_owned()));
    message
}

/// Adds the clsact qdisc where it is missing.
fn ensure_qdisc(ifindex: u32, direction: Direction) -> Result<(), Error> {
    if make_qdisc(ifindex, direction)? { Ok(()) } else { check_qdisc(ifindex, direction) }
}

/// Sees that the qdisc in clsact's place is clsact.
fn check_qdisc(ifindex: u32, direction: Direction) -> Result<(), Error> {
    let get = RouteNetlinkMessage::GetQueueDiscipline(message(ifindex, TcHandle::CLSACT));
    // Without this flag the kernel answers a question about a qdisc to its multicast group only.
    let found = request(get, NLM_F_ECHO).map_err(|failure| failed(ifindex, direction, "looking", &failure.io()))?;
    let kinds: Vec<&str> = found.iter().filter_map(|message| kind(tc(message)?)).collect();
    if kinds == ["clsact"] {
        return Ok(());
    }
    Err(Error::Attach {
        ifindex,
        reason: format!(
            "its {} qdisc (of the bandwidth plugin?) excludes clsact: remove it, or use Linux 6.6 or later",
            kinds.first().unwrap_or(&"ingress")
        ),
    })
}

/// The filters at a hook in the order in which they run.
fn filters(ifindex: u32, direction: Direction) -> Result<Vec<Filter>, Error> {
    let get = RouteNetlinkMessage::GetTrafficFilter(message(ifindex, hook(direction)));
    let found = request(get, NLM_F_DUMP).map_err(|failure| failed(ifindex, direction, "looking", &failure.io()))?;
    // A dump also names each preference once, with handle 0.
    Ok(found.iter().filter_map(tc).filter_map(filter).filter(|filter| filter.handle != 0).collect())
}

/// The ids of the programs at a hook in the order in which they run.
pub(super) fn programs(ifindex: u32, direction: Direction) -> Result<Vec<u32>, Error> {
    Ok(filters(ifindex, direction)?.iter().filter_map(|filter| filter.program).collect())
}

fn filter(message: &TcMessage) -> Option<Filter> {
    // Packets enter chain 0; filters of another see them only if one of it sends them there.
    if message.attributes.iter().any(|attribute| matches!(attribute, TcAttribute::Chain(chain) if *chain != 0)) {
        return None;
    }
    let options = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options.as_slice()),
        _ => None,
    });
    let program = options.unwrap_or_default().iter().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
        _ => None,
    });
    let handle = message.header.handle.into();
    Some(Filter { preference: message.header.info >> 16, handle, kind: kind(message)?.to_owned(), program })
}

fn tc(message: &RouteNetlinkMessage) -> Option<&TcMessage> {
    match message {
        RouteNetlinkMessage::NewQueueDiscipline(message) | RouteNetlinkMessage::NewTrafficFilter(message) => {
            Some(message)
        }
        _ => None,
    }
}

fn kind(message: &TcMessage) -> Option<&str> {
    message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.as_str()),
        _ => None,
    })
}

/// A message about one of our filters.
fn our_filter(handle: u32, ifindex: u32, direction: Direction) -> TcMessage {
    let mut message = message(ifindex, hook(direction));
    message.header.handle = handle.into();
    message.header.info = PREFERENCE << 16 | ALL_PROTOCOLS;
    message.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.to_owned()));
    message
}

/// Adds a filter, or replaces the one with this handle in place.
fn put(program: BorrowedFd<'_>, classifier: Classifier, handle: u32, ifindex: u32) -> Result<(), Failure> {
    let mut message = our_filter(handle, ifindex, classifier.direction());
    message.attributes.push(TcAttribute::Options(vec![
        TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned())),
        TcOption::Bpf(TcFilterBpfOption::ProgName(classifier.name().to_owned())),
        TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
    ]));
    request(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE).map(drop)
}

/// Deletes one of our filters, if it, and its qdisc and interface, are there.
fn delete(handle: u32, ifindex: u32, direction: Direction) -> Result<(), Error> {
    remove(RouteNetlinkMessage::DelTrafficFilter(our_filter(handle, ifindex, direction)))
        .map_err(|failure| failed(ifindex, direction, "removing the filter", &failure.io()))
}

/// Removes what may not be there, nor its qdisc or interface.
fn remove(message: RouteNetlinkMessage) -> Result<(), Failure> {
    match request(message, 0) {
        Err(failure) if ![libc::ENOENT, libc::EINVAL, libc::ENODEV].contains(&failure.errno()) => Err(failure),
        _ => Ok(()),
    }
}
