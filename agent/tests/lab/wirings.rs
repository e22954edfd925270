//! Enforcement is the same whatever the wiring and the hook.
