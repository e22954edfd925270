//! The verdicts of the NetworkPolicy API, behaviour by behaviour, and how they are explained and tabulated.

mod explain;
mod explain_text;
mod isolation;
mod matrix;
mod peers;
mod ports;
mod random;
mod world;
