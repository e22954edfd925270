//! Tests without a kernel.

mod inventory;
mod message;
