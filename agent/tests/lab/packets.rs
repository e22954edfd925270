//! Packets of every kind.
