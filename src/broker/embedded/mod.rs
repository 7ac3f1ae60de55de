//! The broker inside this process, kept in a file: for one machine.
