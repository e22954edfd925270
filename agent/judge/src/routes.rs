//! By which addresses two ends can talk.

use std::net::IpAddr;

/// The pairs of addresses over which two ends can talk: every pair of one family, in the order of the lists. An end
/// without any address yet goes with every address of the other. Empty: the ends share no family.
#[must_use]
pub fn routes(from: &[IpAddr], to: &[IpAddr]) -> Vec<(Option<IpAddr>, Option<IpAddr>)> {
    let to = known(to);
    let pairs = known(from).into_iter().flat_map(|from| to.iter().map(move |&to| (from, to)));
    pairs.filter(|&(from, to)| same_family(from, to)).collect()
}

/// Whether packets can go between two addresses; nothing speaks against one that is not known.
pub(crate) fn same_family(from: Option<IpAddr>, to: Option<IpAddr>) -> bool {
    from.zip(to).is_none_or(|(from, to)| from.is_ipv4() == to.is_ipv4())
}

fn known(addresses: &[IpAddr]) -> Vec<Option<IpAddr>> {
    match addresses {
        [] => vec![None],
        addresses => addresses.iter().copied().map(Some).collect(),
    }
}
