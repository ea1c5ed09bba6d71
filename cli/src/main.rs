//! Program.
mod documents;
fn main() {}
