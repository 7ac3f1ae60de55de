//! Writes the files of a project into a folder: all of them or none, in the place of nothing, and nowhere else.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::template::ProjectFile;
use crate::cli::outcome::CliError;

/// A folder for people.
pub(super) fn in_words(folder: &Path) -> String {
    if folder == Path::new(".") {
        "this folder".to_owned()
    } else {
        crate::visible::one_line(&folder.to_string_lossy()).into_owned()
    }
}

/// Writes all files, or none of them.
pub(super) fn write(folder: &Path, files: &[ProjectFile]) -> Result<(), CliError> {
    check_folder(folder)?;
    let there = obstacles(folder, files)?;
    if !there.is_empty() {
        return Err(CliError::Usage(format!(
            "nothing was written, because {} has {} already: move {} away, or name another folder",
            in_words(folder),
            there.join(", "),
            if there.len() == 1 { "it" } else { "them" }
        )));
    }
    let mut made = MadePaths::default();
    let written = files.iter().try_for_each(|file| made.write(folder, file));
    let Err((path, error)) = written else { return Ok(()) };
    let left = made.remove();
    let ending = match left.as_slice() {
        [] => "nothing of the project is left there".to_owned(),
        left => {
            let left: Vec<String> = left.iter().map(|path| path.display().to_string()).collect();
            format!("these could not be removed again: {}", left.join(", "))
        }
    };
    Err(CliError::Failed(anyhow!("{} could not be written: {error}; {ending}", path.display())))
}

/// Refuses what cannot be a folder.
fn check_folder(folder: &Path) -> Result<(), CliError> {
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(no_folder(folder, "a file")),
        Err(error) if error.kind() == ErrorKind::NotFound && fs::symlink_metadata(folder).is_ok() => {
            Err(no_folder(folder, "a link that leads nowhere"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let file = folder.ancestors().find(|path| fs::metadata(path).is_ok_and(|found| !found.is_dir()));
            Err(no_folder(file.unwrap_or(folder), "a file"))
        }
        Err(error) => Err(CliError::Failed(anyhow!("{} cannot be looked at: {error}", folder.display()))),
    }
}

fn no_folder(path: &Path, what: &str) -> CliError {
    CliError::Usage(format!("{} is {what}: name a folder, or a name that is not taken yet", path.display()))
}

/// What stands in the way of the files, each once: files that are there, and links and files where a folder has to be. A link is not
/// followed, because it may lead out of the folder.
fn obstacles(folder: &Path, files: &[ProjectFile]) -> Result<Vec<String>, CliError> {
    let mut found: Vec<String> = Vec::new();
    for file in files {
        let inner = Path::new(file.path);
        let mut parts: Vec<&Path> = inner.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
        parts.reverse();
        for part in parts {
            let there = match fs::symlink_metadata(folder.join(part)) {
                Ok(there) => there,
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => {
                    let path = folder.join(part);
                    return Err(CliError::Failed(anyhow!("{} cannot be looked at: {error}", path.display())));
                }
            };
            if part != inner && there.is_dir() {
                continue;
            }
            let what = match (there.is_symlink(), part == inner) {
                (true, _) => " (a link)",
                (false, true) if there.is_dir() => " (a folder)",
                (false, true) => "",
                (false, false) => " (a file)",
            };
            let obstacle = format!("{}{what}", part.display());
            if !found.contains(&obstacle) {
                found.push(obstacle);
            }
            break;
        }
    }
    Ok(found)
}

/// What was made so far, in this order.
#[derive(Default)]
struct MadePaths {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl MadePaths {
    /// Makes a file that is not there yet, with the folders that it lies in.
    fn write(&mut self, folder: &Path, file: &ProjectFile) -> Result<(), (PathBuf, io::Error)> {
        let path = folder.join(file.path);
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| (path, error)
        };
        if let Some(parent) = path.parent() {
            self.make_folder(parent)?;
        }
        let mut open = OpenOptions::new().write(true).create_new(true).open(&path).map_err(at(&path))?;
        self.files.push(path.clone());
        open.write_all(file.text.as_bytes()).and_then(|()| open.flush()).map_err(at(&path))
    }

    fn make_folder(&mut self, folder: &Path) -> Result<(), (PathBuf, io::Error)> {
        if folder.as_os_str().is_empty() || folder.is_dir() {
            return Ok(());
        }
        if let Some(parent) = folder.parent() {
            self.make_folder(parent)?;
        }
        fs::create_dir(folder).map_err(|error| (folder.to_owned(), error))?;
        self.folders.push(folder.to_owned());
        Ok(())
    }

    /// Removes all of it again; returns what could not be removed.
    fn remove(self) -> Vec<PathBuf> {
        let files = self.files.into_iter().filter(|path| fs::remove_file(path).is_err());
        let mut left: Vec<PathBuf> = files.collect();
        left.extend(self.folders.into_iter().rev().filter(|path| fs::remove_dir(path).is_err()));
        left
    }
}
