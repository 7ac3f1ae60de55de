//! The text of a file, which must be UTF-8. What else it seems to be is said, with the line.

use std::path::Path;

use crate::problem::Problem;

/// The text of these bytes; the error names the first line that is not UTF-8, or the encoding that the file begins with.
pub fn decoded(path: &Path, bytes: Vec<u8>) -> Result<String, Box<Problem>> {
    const HINT: &str = "save the file as UTF-8";
    let problem = |message: String| Box::new(Problem::of_file(path.display().to_string(), message).with_hint(HINT));
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(problem("the file is in UTF-16, and must be in UTF-8".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let line = 1 + bytes[..valid].iter().filter(|byte| **byte == b'\n').count();
        let byte = bytes.get(valid).copied().unwrap_or_default();
        // What Windows and Latin-1 write for letters with accents.
        let letter = char::from(byte);
        let seems = if letter.is_alphabetic() { format!(", where Latin-1 has {letter:?}") } else { String::new() };
        problem(format!("line {line} is not UTF-8: it has the byte 0x{byte:02X}{seems}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf_8_is_named_with_its_line() {
        let of = |bytes: &[u8]| decoded(Path::new("a.yaml"), bytes.to_vec()).map_err(|problem| problem.message);
        assert_eq!(of("name: Zürich".as_bytes()).unwrap(), "name: Zürich");
        assert_eq!(of(b"\xff\xfen\0").unwrap_err(), "the file is in UTF-16, and must be in UTF-8");
        let latin = "line 2 is not UTF-8: it has the byte 0xFC, where Latin-1 has 'ü'";
        assert_eq!(of(b"a: 1\nname: Z\xfcrich\n").unwrap_err(), latin);
        assert_eq!(of(b"\x80").unwrap_err(), "line 1 is not UTF-8: it has the byte 0x80");
    }
}
