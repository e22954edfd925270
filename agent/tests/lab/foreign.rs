//! Somebody else's TC programs beside ours.
