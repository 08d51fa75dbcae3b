//! The `esr` program: everything is in the library.

fn main() {}
