//! The object that the agent embeds. Built for any other target than BPF it is an empty program, so that the workspace
//! can be checked as a whole.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod object {
    use aya_ebpf::macros::classifier;
    use aya_ebpf::programs::TcContext;
    use podgate_common::Direction;
    use podgate_ebpf::{exit, fast, packet, program};

    /// TC egress hook of a pod's veth: what enters the pod.
    #[classifier]
    pub(crate) fn podgate_ingress(ctx: TcContext) -> i32 {
        fast::run(&ctx, Direction::Ingress)
    }

    /// Called by it for what it leaves.
    #[classifier]
    pub(crate) fn podgate_whole_ingress(ctx: TcContext) -> i32 {
        program::run(&ctx, Direction::Ingress)
    }

    /// TC ingress hook of a pod's veth: what leaves the pod.
    #[classifier]
    pub(crate) fn podgate_egress(ctx: TcContext) -> i32 {
        fast::run(&ctx, Direction::Egress)
    }

    /// Called by it for what it leaves.
    #[classifier]
    pub(crate) fn podgate_whole_egress(ctx: TcContext) -> i32 {
        program::run(&ctx, Direction::Egress)
    }

    /// TC egress hook of a device that is no pod's: what leaves the host, or goes to another part of it.
    #[classifier]
    pub(crate) fn podgate_exit(ctx: TcContext) -> i32 {
        exit::leave::<{ packet::ETHERNET }>(&ctx)
    }

    /// The same of a device without link-layer headers.
    #[classifier]
    pub(crate) fn podgate_exit_bare(ctx: TcContext) -> i32 {
        exit::leave::<{ packet::BARE }>(&ctx)
    }

    /// TC ingress hook of a device that is no pod's.
    #[classifier]
    pub(crate) fn podgate_entry(ctx: TcContext) -> i32 {
        exit::enter(&ctx)
    }

    /// The same of a device whose packets were in others that may be of this host's pods.
    #[classifier]
    pub(crate) fn podgate_inner(ctx: TcContext) -> i32 {
        exit::emerge::<{ packet::ETHERNET }>(&ctx)
    }

    /// The same of such a device without link-layer headers.
    #[classifier]
    pub(crate) fn podgate_inner_bare(ctx: TcContext) -> i32 {
        exit::emerge::<{ packet::BARE }>(&ctx)
    }

    /// Never attached: test-run by the agent to calibrate HZ.
    #[classifier]
    pub(crate) fn podgate_jiffies(_ctx: TcContext) -> i32 {
        program::jiffies()
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    /// The helpers that the programs call are for GPL-compatible programs only.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 4] = *b"GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
