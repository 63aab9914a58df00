//! Everything that `setup` does.
