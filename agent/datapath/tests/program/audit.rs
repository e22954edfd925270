//! Policies in audit mode: what they deny passes as if they were not there, and is counted.

use podgate_common::{Direction, Reason, Tag};

use crate::frames::{ACK, SYN, SYN_ACK, of_type, tcp, udp};
use crate::rig::{FAMILIES, Rig, SLOT, Side};
use etherparse::EtherType;

#[test]
fn what_audited_policies_deny_passes_with_all_that_belongs_to_it() {
    for ends in FAMILIES {
        let rig = Rig::new(Side::AuditedDeny, Side::Deny);
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 1));
        assert_eq!(rig.ingress(&tcp(friend, pod, SYN)), Reason::NoRuleAudited);
        assert_eq!(
            rig.egress(&tcp(pod, friend, SYN_ACK)),
            Reason::Established,
            "egress policy is in force, but not asked"
        );
        assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::Established);
        assert_eq!(rig.ingress(&udp((ends.friend, 2), (ends.pod, 53))), Reason::NoRuleAudited);
        assert_eq!(rig.egress(&udp((ends.pod, 53), (ends.friend, 2))), Reason::Established);
        assert_eq!(rig.egress(&tcp((ends.pod, 1000), (ends.friend, 80), SYN)), Reason::NoRule, "this one is in force");
    }
}

#[test]
fn what_audited_policies_allow_is_allowed_by_the_rule() {
    for ends in FAMILIES {
        let rig = Rig::new(Side::AuditedWeb, Side::Open);
        assert_eq!(rig.ingress(&tcp((ends.friend, 1), (ends.pod, 80), SYN)), Reason::Rule);
        assert_eq!(rig.ingress(&tcp((ends.stranger, 1), (ends.pod, 80), SYN)), Reason::NoRuleAudited);
    }
}

#[test]
fn a_connection_that_audited_policies_would_cut_is_counted_once_and_lives() {
    for ends in FAMILIES {
        let mut rig = Rig::new(Side::Web, Side::Open);
        let (pod, friend) = ((ends.pod, 80), (ends.friend, 1));
        assert_eq!(rig.ingress(&tcp(friend, pod, SYN)), Reason::Rule);
        assert_eq!(rig.egress(&tcp(pod, friend, SYN_ACK)), Reason::Established);
        assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::Established);
        rig.switch(Side::AuditedDeny, Side::Open);
        assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::CutAudited);
        assert_eq!(rig.egress(&tcp(pod, friend, ACK)), Reason::Established);
        rig.switch(Side::AuditedDeny, Side::Deny);
        assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::Established, "judged again, and known already");
        rig.switch(Side::Deny, Side::Deny);
        assert_eq!(rig.ingress(&tcp(friend, pod, ACK)), Reason::Cut);
    }
}

#[test]
fn egress_that_audited_policies_deny_passes_at_the_exit_too() {
    for ends in FAMILIES {
        let rig = Rig::new(Side::Open, Side::AuditedDeny);
        let first = tcp((ends.pod, 1000), (ends.friend, 80), SYN);
        assert_eq!(rig.exit(&first, Tag::deferred(0, SLOT, false)), [(Direction::Egress, Reason::NoRuleAudited)]);
        let next = tcp((ends.pod, 1000), (ends.friend, 80), ACK);
        assert_eq!(rig.exit(&next, Tag::deferred(0, SLOT, false)), [(Direction::Egress, Reason::Established)]);
    }
}

fn appletalk() -> Vec<u8> {
    of_type(EtherType(0x809b), &[0; 46])
}

#[test]
fn foreign_sources_and_odd_frames_pass_where_no_policy_is_in_force() {
    for ends in FAMILIES {
        let spoofed = udp((ends.stranger, 1), (ends.friend, 2));
        let audited = Rig::new(Side::AuditedDeny, Side::AuditedDeny);
        assert_eq!(audited.egress(&spoofed), Reason::SpoofedAudited);
        assert_eq!(audited.egress(&appletalk()), Reason::NotIpAudited);
        let mixed = Rig::new(Side::Deny, Side::AuditedDeny);
        assert_eq!(mixed.egress(&spoofed), Reason::Spoofed);
        assert_eq!(mixed.egress(&appletalk()), Reason::NotIpAudited);
        assert_eq!(mixed.ingress(&appletalk()), Reason::NotIp);
    }
}
