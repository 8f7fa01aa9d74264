//! What commands print. Whoever has read enough closes its end, which is no fault of the command.

use std::{fmt, io};

/// Prints to standard output, as `print!` does. Whether anybody reads it.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::cli::say::print(format_args!($($text)*))
    };
}
pub(super) use say;

/// Prints to standard error, as `eprint!` does. Whether anybody reads it.
macro_rules! complain {
    ($($text:tt)*) => {
        $crate::cli::say::print_to(std::io::stderr(), format_args!($($text)*))
    };
}
pub(super) use complain;

pub(super) fn print(text: fmt::Arguments<'_>) -> bool {
    print_to(io::stdout().lock(), text)
}

pub(super) fn print_to(mut out: impl io::Write, text: fmt::Arguments<'_>) -> bool {
    out.write_fmt(text).and_then(|()| out.flush()).is_ok()
}
