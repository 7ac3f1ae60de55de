//! Where a document comes from, and which other documents its references may lead to: those below its own folder, on its own
//! server. Everything else is refused, because a specification is written by others, and a reference in it must not read
//! files of this machine or addresses of its network.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::text::LARGEST_DOCUMENT;

/// Where a document comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DocumentSource {
    /// A file.
    File(PathBuf),
    /// An `http` or `https` address.
    Url(Url),
}

/// Gives the bytes of another document that a reference leads to. It is called only for sources that are allowed; the error is a
/// sentence without a full stop.
pub type DocumentLoader<'l> = dyn Fn(&DocumentSource) -> Result<Vec<u8>, String> + 'l;

impl fmt::Display for DocumentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DocumentSource::File(path) => path.display().fmt(f),
            DocumentSource::Url(url) => url.fmt(f),
        }
    }
}

impl DocumentSource {
    /// Reads what a person wrote: an address with `http://` or `https://`, or the path of a file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_url = ["http://", "https://"]
            .iter()
            .any(|scheme| text.get(..scheme.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(scheme)));
        if !is_url {
            return Ok(DocumentSource::File(PathBuf::from(text)));
        }
        Url::parse(text).map(DocumentSource::Url).map_err(|error| format!("{text:?} is not an address: {error}"))
    }

    /// The document that a relative reference in this one leads to, if it lies below the folder of `main`.
    pub(super) fn sibling(&self, reference: &str, main: &DocumentSource) -> Result<DocumentSource, String> {
        let refused =
            || format!("the reference {reference:?} leads out of the folder of the document, and is not followed");
        let lower = reference.to_ascii_lowercase();
        if ["%2f", "%5c", "\\"].iter().any(|separator| lower.contains(separator)) {
            return Err(refused());
        }
        match (self, main) {
            (DocumentSource::File(path), DocumentSource::File(main)) => {
                let reference = percent_decode_str(reference).decode_utf8().map_err(|_| refused())?;
                let folder = path.parent().unwrap_or(Path::new(""));
                let main_folder = main.parent().unwrap_or(Path::new(""));
                below(folder, &reference, main_folder).map(DocumentSource::File).ok_or_else(refused)
            }
            (DocumentSource::Url(url), DocumentSource::Url(main)) => {
                let mut target = url.join(reference).map_err(|_| refused())?;
                target.set_fragment(None);
                let folder = main.path().rsplit_once('/').map_or("", |(folder, _)| folder);
                let rest = target.path().strip_prefix(folder);
                let same_server = target.origin() == main.origin()
                    && (target.username(), target.password()) == (main.username(), main.password());
                let allowed = same_server && rest.is_some_and(|rest| rest.starts_with('/'));
                if allowed { Ok(DocumentSource::Url(target)) } else { Err(refused()) }
            }
            _ => Err(refused()),
        }
    }

    /// How the document is called in messages: its path below the folder of `main`.
    pub(super) fn label(&self, main: &DocumentSource) -> String {
        match (self, main) {
            (DocumentSource::File(path), DocumentSource::File(main)) => {
                let folder = main.parent().unwrap_or(Path::new(""));
                path.strip_prefix(folder).unwrap_or(path).display().to_string()
            }
            (DocumentSource::Url(url), DocumentSource::Url(main)) => {
                let folder = main.path().rsplit_once('/').map_or("", |(folder, _)| folder);
                url.path().strip_prefix(folder).unwrap_or(url.path()).trim_start_matches('/').to_owned()
            }
            (source, _) => source.to_string(),
        }
    }
}

/// The path of a relative reference, if it stays below `main_folder`. Nothing is looked up: `..` takes the name before it.
fn below(folder: &Path, reference: &str, main_folder: &Path) -> Option<PathBuf> {
    let has_scheme = reference.split_once(':').is_some_and(|(scheme, _)| !scheme.contains('/'));
    if has_scheme || reference.contains('\0') {
        return None;
    }
    let mut path = folder.strip_prefix(main_folder).ok()?.to_owned();
    for component in Path::new(reference).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!path.as_os_str().is_empty()).then(|| main_folder.join(path))
}

/// Loads other files below the folder of a document; symbolic links that lead out of it are refused, too.
pub fn files_below(main: &Path) -> impl Fn(&DocumentSource) -> Result<Vec<u8>, String> + use<> {
    let folder = match main.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    move |source| {
        let DocumentSource::File(path) = source else { return Err(format!("{source} is not a file")) };
        let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
        let folder = folder.canonicalize().map_err(failed)?;
        let real = path.canonicalize().map_err(failed)?;
        if !real.starts_with(&folder) {
            return Err(format!("{} leads out of the folder of the document, and is not read", path.display()));
        }
        read_file(&real).map_err(failed)
    }
}

/// Reads a file, and one byte more than the largest document has at most.
pub fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_DOCUMENT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sibling(from: &str, reference: &str, main: &str) -> Result<String, String> {
        let source = |text: &str| DocumentSource::parse(text).unwrap();
        source(from).sibling(reference, &source(main)).map(|found| found.to_string().replace('\\', "/"))
    }

    #[test]
    fn references_lead_only_below_the_folder_of_the_document() {
        for (from, reference, wanted) in [
            ("api/openapi.yaml", "parts.yaml", Some("api/parts.yaml")),
            ("api/openapi.yaml", "./parts/pets.yaml", Some("api/parts/pets.yaml")),
            ("api/parts/pets.yaml", "../schemas/a%20b.yaml", Some("api/schemas/a b.yaml")),
            ("api/openapi.yaml", "../secret.yaml", None),
            ("api/parts/pets.yaml", "../../secret.yaml", None),
            ("api/openapi.yaml", "/etc/passwd", None),
            ("api/openapi.yaml", "file:///etc/passwd", None),
            ("api/openapi.yaml", "http://other.example/a.yaml", None),
            ("api/openapi.yaml", "%2e%2e/secret.yaml", None),
            ("api/openapi.yaml", "..%2fsecret.yaml", None),
            ("api/openapi.yaml", "..\\secret.yaml", None),
        ] {
            let found = sibling(from, reference, "api/openapi.yaml");
            assert_eq!(found.as_deref().ok(), wanted, "{from} {reference}: {found:?}");
        }
        let main = "https://api.example/v1/openapi.json";
        for (reference, wanted) in [
            ("parts.json", Some("https://api.example/v1/parts.json")),
            ("https://api.example/v1/deep/parts.json", Some("https://api.example/v1/deep/parts.json")),
            ("../v2/parts.json", None),
            ("%2e%2e/parts.json", None),
            ("a%2f..%2f..%2fsecret", None),
            ("//other.example/v1/parts.json", None),
            ("http://api.example/v1/parts.json", None),
            ("https://user@api.example/v1/parts.json", None),
            ("https://api.example:444/v1/parts.json", None),
            ("file:///v1/parts.json", None),
        ] {
            let found = sibling(main, reference, main);
            assert_eq!(found.as_deref().ok(), wanted, "{reference}: {found:?}");
        }
        let refusal = sibling("a.yaml", "../b.yaml", "a.yaml").unwrap_err();
        assert_eq!(refusal, "the reference \"../b.yaml\" leads out of the folder of the document, and is not followed");
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_does_not_lead_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("api")).unwrap();
        std::fs::write(folder.path().join("secret.yaml"), "a: 1").unwrap();
        std::fs::write(folder.path().join("api/parts.yaml"), "a: 2").unwrap();
        std::os::unix::fs::symlink("../secret.yaml", folder.path().join("api/link.yaml")).unwrap();
        let load = files_below(&folder.path().join("api/openapi.yaml"));
        let at = |name: &str| DocumentSource::File(folder.path().join("api").join(name));
        assert_eq!(load(&at("parts.yaml")).unwrap(), b"a: 2");
        assert!(load(&at("link.yaml")).unwrap_err().contains("leads out"));
        assert!(load(&at("none.yaml")).unwrap_err().contains("cannot be read"));
    }
}
