//! OpenAPI specifications that others write, and arguments that models give: every schema compiles, and every request goes to the
//! server of the specification.
#![no_main]

mod openapi_check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    openapi_check::check(bytes);
});
