//! Finds the files of static services and reads their texts: the configuration file, and the files of a folder.
//!
//! It reads what it finds and remembers nothing. Invariants: a folder is read up to a number of files, a file up to a
//! size; only regular files are opened, so that no read waits.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{FileFault, ServicesFolder, utf8};

/// The largest number of files of a folder.
const FILES_MAX: usize = 1_000;
/// The largest size of a file of a folder.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A file of services.
#[derive(Clone, Debug)]
pub(super) struct FoundFile {
    /// The name of the file as the owner of its instances: with that of its folder in front.
    pub(super) name: Arc<str>,
    /// The path.
    pub(super) path: PathBuf,
    /// The text, or the fault for which there is none.
    pub(super) text: Result<String, FileFault>,
}

/// The files of a folder.
#[derive(Debug, Default)]
pub(super) struct FolderContents {
    /// The files, by name.
    pub(super) files: Vec<FoundFile>,
    /// The reason why there may be more files than these.
    pub(super) fault: Option<String>,
}

/// Returns the name of a file as the owner of its instances. `folder` is that of a folder of services.
pub(super) fn owner_name(folder: Option<&Path>, path: &Path) -> Arc<str> {
    let last = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    match folder {
        Some(folder) => format!("{}/{}", last(folder), last(path)).into(),
        None => last(path).into(),
    }
}

/// Reads the files of a folder whose names end with `.toml` and do not begin with a dot.
pub(super) fn read(folder: &ServicesFolder) -> FolderContents {
    let names = match names(&folder.path) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_given => return FolderContents::default(),
        Err(error) => {
            let fault = Some(format!("the folder cannot be read ({error}); its services stay as they are"));
            return FolderContents { files: Vec::new(), fault };
        }
    };
    let too_many = names.len() > FILES_MAX;
    let fault =
        too_many.then(|| format!("the folder has more than {FILES_MAX} files; those after the first are not read"));
    let found =
        |path: PathBuf| FoundFile { name: owner_name(Some(folder.path.as_path()), &path), text: text(&path), path };
    FolderContents { files: names.into_iter().take(FILES_MAX).map(found).collect(), fault }
}

fn names(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn text(path: &Path) -> Result<String, FileFault> {
    let whole = |words: String| FileFault { line: 1, column: 1, words };
    let facts = fs::metadata(path).map_err(|error| whole(format!("the file cannot be read: {error}")))?;
    if !facts.is_file() {
        return Err(whole("this is no file; move it elsewhere".to_owned()));
    }
    if facts.len() > FILE_BYTES_MAX {
        let words = format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read, so split it", facts.len());
        return Err(whole(words));
    }
    let bytes = fs::read(path).map_err(|error| whole(format!("the file cannot be read: {error}")))?;
    utf8(&bytes).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(path: &Path) -> ServicesFolder {
        ServicesFolder { path: path.to_owned(), is_given: true }
    }

    #[test]
    fn the_files_of_a_folder_are_read_by_name_and_others_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("conf.d");
        fs::create_dir(&folder).unwrap();
        for name in ["b.toml", "a.toml", ".hidden.toml", "a.toml.swp", "notes.txt"] {
            fs::write(folder.join(name), name).unwrap();
        }
        fs::create_dir(folder.join("c.toml")).unwrap();
        fs::write(folder.join("d.toml"), vec![b' '; 1024 * 1024 + 1]).unwrap();
        fs::write(folder.join("e.toml"), b"name = \"\xff\"").unwrap();
        let read = read(&given(&folder));
        let names: Vec<&str> = read.files.iter().map(|file| &*file.name).collect();
        assert_eq!(names, ["conf.d/a.toml", "conf.d/b.toml", "conf.d/c.toml", "conf.d/d.toml", "conf.d/e.toml"]);
        let faults: Vec<_> = read.files.iter().filter_map(|file| file.text.as_ref().err()).collect();
        let words: Vec<&str> = faults.iter().map(|fault| fault.words.as_str()).collect();
        assert!(words[0].starts_with("this is no file") && words[1].starts_with("the file has 1048577 bytes"));
        assert!(words[2].starts_with("a byte that is not UTF-8") && faults[2].column == 9, "{faults:?}");
        assert_eq!(read.fault, None);
    }

    #[test]
    fn a_folder_that_is_not_there_is_a_fault_if_it_is_given() {
        let home = tempfile::tempdir().unwrap();
        let away = ServicesFolder { path: home.path().join("conf.d"), is_given: false };
        assert!(read(&away).fault.is_none());
        assert!(read(&ServicesFolder { is_given: true, ..away }).fault.unwrap().contains("cannot be read"));
    }

    #[test]
    fn a_folder_with_too_many_files_is_read_up_to_its_bound() {
        let home = tempfile::tempdir().unwrap();
        for number in 0..=FILES_MAX {
            fs::write(home.path().join(format!("{number:04}.toml")), "").unwrap();
        }
        let read = read(&given(home.path()));
        assert_eq!(read.files.len(), FILES_MAX);
        assert!(read.fault.unwrap().contains("more than 1000 files"));
    }
}
