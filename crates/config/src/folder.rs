//! From a path to texts: the main file, and the pieces in `conf.d` beside it.
//!
//! ```text
//! /etc/dirigo/dirigo.toml      the main file
//! /etc/dirigo/conf.d/*.toml    pieces, in the order of their names
//! ```

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::{LoadError, limits};

/// The folder of pieces, beside the main file.
pub const PIECES: &str = "conf.d";

/// A file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path.
    pub name: String,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// The main file first, then the pieces.
///
/// # Errors
///
/// A file that cannot be read, or is too long.
pub fn read(path: &Path) -> Result<Vec<File>, LoadError> {
    let mut files = vec![bounded(path, limits::FILE_BYTES)?];
    let mut left = limits::FILE_BYTES - files[0].bytes.len() as u64;
    for piece in pieces(path)? {
        let file = bounded(&piece, left)?;
        left -= file.bytes.len() as u64;
        files.push(file);
    }
    Ok(files)
}

/// The paths of the pieces beside the main file, sorted. A hidden file is an editor's, not a piece.
fn pieces(path: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let folder = path.parent().unwrap_or(Path::new("")).join(PIECES);
    let unreadable = |source| LoadError::Unreadable {
        path: folder.clone(),
        source,
    };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        // A main file in a place that has no folder (`/dev/stdin`) has no pieces either.
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|ending| ending == "toml") {
            paths.push(path);
        }
        if paths.len() > limits::PIECES {
            return Err(LoadError::TooManyPieces { folder });
        }
    }
    paths.sort();
    Ok(paths)
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

/// The file's bytes, but not more than `limit`.
fn bounded(path: &Path, limit: u64) -> Result<File, LoadError> {
    let unreadable = |source| LoadError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(LoadError::TooLong {
            path: path.to_owned(),
        });
    }
    Ok(File {
        name: path.display().to_string(),
        bytes,
    })
}
