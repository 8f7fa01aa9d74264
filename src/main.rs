//! The `copilot` command.

fn main() {}
