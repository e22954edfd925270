//! TC programs.
