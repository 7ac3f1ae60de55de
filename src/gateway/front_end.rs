//! A front end of the user's own: the files of one folder, and nothing else. Hidden files, keys and data are not served, nor what a
//! link leads to outside the folder, and a folder that holds what the system keeps for itself is refused at the start.

use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;

use tower_http::services::fs::{Backend, TokioBackend, TokioFile};

use crate::serving::is_private_file;

/// How many entries are looked at for what will not be served: enough for a front end, and soon done.
const LOOKED_AT: usize = 20_000;
/// How many of them are named.
const MOST_NAMED_FILES: usize = 5;

/// What a system keeps for itself: how the configuration calls it, and where it is.
pub type PrivatePath<'a> = (&'static str, &'a Path);

/// Checks a folder that is to be served. The error is a sentence for whoever configured it.
pub fn check(folder: &Path, private: &[PrivatePath<'_>]) -> Result<(), String> {
    let refuse = |why: String| Err(format!("gateway.static_dir: {} {why}", folder.display()));
    let Ok(root) = folder.canonicalize() else { return refuse("is not there, or cannot be read".to_owned()) };
    if !root.is_dir() {
        return refuse("is no folder".to_owned());
    }
    for (what, path) in private {
        let path = resolved(path);
        if path.starts_with(&root) {
            return refuse(format!("holds {what} ({}), which everybody could read then", path.display()));
        }
        if root.starts_with(&path) {
            return refuse(format!("lies within {what} ({}); serve a folder of its own", path.display()));
        }
    }
    let withheld = withheld(&root);
    if let Some(more) = withheld.len().checked_sub(1) {
        let named: Vec<String> =
            withheld.iter().take(MOST_NAMED_FILES).map(|path| path.display().to_string()).collect();
        let more = if more >= MOST_NAMED_FILES {
            format!(" and {} more", withheld.len() - MOST_NAMED_FILES)
        } else {
            String::new()
        };
        tracing::warn!(
            "gateway.static_dir: these files are not served, as their names are those of secrets or links lead out: {}{more}",
            named.join(", ")
        );
    }
    Ok(())
}

/// A path with its links followed, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut missing = Vec::new();
    for there in absolute.ancestors() {
        if let Ok(found) = there.canonicalize() {
            return missing.iter().rev().fold(found, |path: PathBuf, name| path.join(name));
        }
        missing.extend(there.file_name());
    }
    absolute
}

/// What lies in the folder and will not be served.
fn withheld(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders, mut seen) = (Vec::new(), vec![root.to_owned()], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen > LOOKED_AT {
                return found;
            }
            let path = entry.path();
            let leads_out = || path.canonicalize().is_ok_and(|real| !is_served(root, &real));
            if !is_served(root, &path) || entry.file_type().is_ok_and(|kind| kind.is_symlink()) && leads_out() {
                found.extend(path.strip_prefix(root).map(Path::to_owned));
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            }
        }
    }
    found
}

/// Whether a path is in the folder and may be seen by everybody.
fn is_served(root: &Path, path: &Path) -> bool {
    let Ok(within) = path.strip_prefix(root) else { return false };
    within.components().enumerate().all(|(depth, part)| match part {
        Component::Normal(name) => !is_hidden(name) || depth == 0 && name == OsStr::new(".well-known"),
        _ => false,
    }) && !is_private_file(within)
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// The files of a folder that may be seen by everybody.
#[derive(Debug, Clone)]
pub struct FrontEnd {
    root: PathBuf,
}

impl FrontEnd {
    /// Those of this folder.
    pub fn of(folder: &Path) -> io::Result<Self> {
        Ok(Self { root: folder.canonicalize()? })
    }

    /// The folder, with its links followed.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a path really leads, if it may be seen.
    async fn find(self, path: PathBuf) -> io::Result<PathBuf> {
        let hidden = || io::Error::from(io::ErrorKind::NotFound);
        if !is_served(&self.root, &path) {
            return Err(hidden());
        }
        let real = tokio::fs::canonicalize(&path).await?;
        if is_served(&self.root, &real) { Ok(real) } else { Err(hidden()) }
    }
}

type OpenFuture<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl Backend for FrontEnd {
    type File = TokioFile;
    type Metadata = std::fs::Metadata;
    type OpenFuture = OpenFuture<TokioFile>;
    type MetadataFuture = OpenFuture<std::fs::Metadata>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let front_end = self.clone();
        // What is opened is what was looked at: the path without links, not the one that was asked for.
        Box::pin(async move { TokioBackend.open(front_end.find(path).await?).await })
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let front_end = self.clone();
        Box::pin(async move { TokioBackend.metadata(front_end.find(path).await?).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_or_lies_in_what_is_private_is_refused_with_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for made in ["public", "data/inside"] {
            std::fs::create_dir_all(at(made)).unwrap();
        }
        std::fs::write(at("access.yaml"), "").unwrap();
        let (data, users, missing) = (at("data"), at("access.yaml"), at("public/later/data"));
        let private: Vec<PrivatePath<'_>> = vec![("data_dir", &data), ("auth.file", &users)];
        assert_eq!(check(&at("public"), &private), Ok(()));
        let refused = |served: &str, private: &[PrivatePath<'_>]| check(&at(served), private).unwrap_err();
        assert!(refused(".", &private).contains("holds data_dir ("));
        assert!(refused(".", &private[1..]).contains("holds auth.file ("));
        assert!(refused("data/inside", &private).contains("lies within data_dir ("));
        assert!(refused("data", &private).contains("data_dir"));
        assert!(refused("public", &[("data_dir", &missing)]).contains("holds data_dir ("), "it will be made there");
        assert!(refused("nowhere", &private).contains("is not there"));
        assert!(refused("access.yaml", &[]).contains("is no folder"));
        std::os::unix::fs::symlink(at("data"), at("linked")).unwrap();
        assert!(refused("linked", &private).contains("data_dir"), "links are followed");
    }
}
