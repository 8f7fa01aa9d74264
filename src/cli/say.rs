//! What commands print. Whoever has read enough closes its end, which is no fault of the command.

use std::{
    fmt,
    io::{self, Write as _},
};

/// Prints to standard output, as `print!` does. Whether anybody reads it.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::cli::say::print(format_args!($($text)*))
    };
}
pub(super) use say;

pub(super) fn print(text: fmt::Arguments<'_>) -> bool {
    let mut out = io::stdout().lock();
    out.write_fmt(text).and_then(|()| out.flush()).is_ok()
}
