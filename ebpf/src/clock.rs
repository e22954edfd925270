//! The kernel's clocks.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_boot_ns};

use crate::maps;

/// Jiffies of the running kernel.
#[inline(always)]
pub(crate) fn jiffies() -> u64 {
    // SAFETY: reads a counter.
    unsafe { bpf_jiffies64() }
}

/// Jiffies per second.
#[inline(always)]
pub(crate) fn hz() -> u64 {
    u64::from(maps::HZ.load())
}

/// Nanoseconds since the machine was booted, suspended or not.
#[inline(always)]
pub(crate) fn boot_ns() -> u64 {
    // SAFETY: reads a clock.
    unsafe { bpf_ktime_get_boot_ns() }
}
