//! The program in containers, as operators run it; see `scripts/test-container` and tests/README.md.

mod compose;
mod postgres;
mod systemd;
