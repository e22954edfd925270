//! Groups operations that can be written with one call.

use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use podgate_policy::op::Op;

/// Operations of one kind go to one table in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpKind {
    PutRow,
    PutRowPort,
    PutPort,
    PutClassRow,
    PutGroup,
    PutAddress4,
    PutAddress6,
    DeleteAddress4,
    DeleteAddress6,
    PutBlock4,
    PutBlock6,
    DeleteBlock4,
    DeleteBlock6,
    Invalidate,
    InvalidateAll,
    Switch,
    Grace,
    DeleteRow,
    DeleteRowPort,
    DeleteClassRow,
}

impl OpKind {
    /// The kind of an operation.
    pub(crate) const fn of(op: &Op) -> Self {
        match op {
            Op::PutRow { .. } => Self::PutRow,
            Op::PutRowPort { .. } => Self::PutRowPort,
            Op::PutPort { .. } => Self::PutPort,
            Op::PutClassRow { .. } => Self::PutClassRow,
            Op::PutGroup { .. } => Self::PutGroup,
            Op::PutAddress { address: IpAddr::V4(_), .. } => Self::PutAddress4,
            Op::PutAddress { address: IpAddr::V6(_), .. } => Self::PutAddress6,
            Op::DeleteAddress { address: IpAddr::V4(_) } => Self::DeleteAddress4,
            Op::DeleteAddress { address: IpAddr::V6(_) } => Self::DeleteAddress6,
            Op::PutBlock { block: IpNet::V4(_), .. } => Self::PutBlock4,
            Op::PutBlock { block: IpNet::V6(_), .. } => Self::PutBlock6,
            Op::DeleteBlock { block: IpNet::V4(_) } => Self::DeleteBlock4,
            Op::DeleteBlock { block: IpNet::V6(_) } => Self::DeleteBlock6,
            Op::Invalidate { .. } => Self::Invalidate,
            Op::InvalidateAll => Self::InvalidateAll,
            Op::Switch { .. } => Self::Switch,
            Op::Grace => Self::Grace,
            Op::DeleteRow { .. } => Self::DeleteRow,
            Op::DeleteRowPort { .. } => Self::DeleteRowPort,
            Op::DeleteClassRow { .. } => Self::DeleteClassRow,
        }
    }
}

/// The longest stretches of operations of one kind, in order.
pub(crate) fn runs(ops: &[Op]) -> impl Iterator<Item = (OpKind, Range<usize>)> + '_ {
    let mut start = 0;
    ops.chunk_by(|a, b| OpKind::of(a) == OpKind::of(b)).map(move |run| {
        let range = start..start + run.len();
        start = range.end;
        (OpKind::of(&run[0]), range)
    })
}

#[cfg(test)]
mod tests {
    use podgate_policy::id::GroupId;

    use super::*;

    #[test]
    fn only_neighbours_of_one_kind_and_family_are_grouped_and_their_order_kept() {
        let put = |address: &str| Op::PutAddress { address: address.parse().unwrap(), group: GroupId::from_raw(1) };
        let ops = [
            put("10.0.0.1"),
            put("10.0.0.2"),
            put("fd00::1"),
            Op::Grace,
            put("10.0.0.3"),
            Op::DeleteAddress { address: "10.0.0.3".parse().unwrap() },
        ];
        let expected = [
            (OpKind::PutAddress4, 0..2),
            (OpKind::PutAddress6, 2..3),
            (OpKind::Grace, 3..4),
            (OpKind::PutAddress4, 4..5),
            (OpKind::DeleteAddress4, 5..6),
        ];
        assert_eq!(runs(&ops).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn nothing_has_no_runs() {
        assert_eq!(runs(&[]).count(), 0);
    }
}
