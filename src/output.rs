//! What is printed. The macros of the standard library panic where nobody reads on (`… | head`) or nothing more fits on the disk;
//! those of this module take their place in all of the crate.

use std::fmt;
use std::io::{self, ErrorKind, Write};

/// Prints to standard output. Ends the program where that is not possible: without a word if whoever read it has left, else
/// with an error and the exit code 1.
pub fn print(text: fmt::Arguments<'_>) {
    if let Err(error) = io::stdout().lock().write_fmt(text) {
        end_for(&error);
    }
}

/// Ends the program because standard output cannot be written.
pub fn end_for(error: &io::Error) -> ! {
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    print_error(format_args!("error: standard output cannot be written: {error}\n"));
    std::process::exit(1);
}

/// Prints to standard output what a program says that goes on, whether anybody reads it or not.
pub fn announce(text: fmt::Arguments<'_>) {
    let _ = io::stdout().lock().write_fmt(text);
}

/// Prints to standard error, if that is possible.
pub fn print_error(text: fmt::Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(text);
}

macro_rules! print {
    ($($text:tt)*) => { $crate::output::print(format_args!($($text)*)) };
}

macro_rules! println {
    () => { $crate::output::print(format_args!("\n")) };
    ($($text:tt)*) => { $crate::output::print(format_args!("{}\n", format_args!($($text)*))) };
}

/// A line of a program that goes on.
macro_rules! announce {
    ($($text:tt)*) => { $crate::output::announce(format_args!("{}\n", format_args!($($text)*))) };
}

macro_rules! eprintln {
    () => { $crate::output::print_error(format_args!("\n")) };
    ($($text:tt)*) => { $crate::output::print_error(format_args!("{}\n", format_args!($($text)*))) };
}
