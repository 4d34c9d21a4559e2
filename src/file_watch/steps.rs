//! The steps by which the system finds a file: one entry of a directory after the other, links included.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// The number of links that are followed, as in the system (`ELOOP`).
const LINKS_MAX: usize = 40;

/// Returns the entries of directories on the way to `file`, as they are now. An entry that does not exist is the last.
pub(super) fn steps(file: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let Ok(whole) = std::path::absolute(file) else { return found };
    let mut rest = parts(&whole);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let entry = at.join(&part);
        found.insert(entry.clone());
        let Ok(target) = std::fs::read_link(&entry) else {
            at = entry;
            continue;
        };
        links += 1;
        if links > LINKS_MAX {
            break;
        }
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        rest.extend(parts(&target));
    }
    found
}

/// Returns the parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let named = path.components().rev().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    named.map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_and_directory_on_the_way_is_a_step() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("..v1")).unwrap();
        std::fs::write(root.join("..v1/tls.crt"), "").unwrap();
        symlink("..v1", root.join("..data")).unwrap();
        symlink("..data/tls.crt", root.join("tls.crt")).unwrap();
        let found = steps(&root.join("tls.crt"));
        for entry in ["tls.crt", "..data", "..v1", "..v1/tls.crt"] {
            assert!(found.contains(&root.join(entry)), "{entry}: {found:?}");
        }
        assert!(found.contains(&root), "the directory itself can be swapped");
        assert!(steps(&root.join("no/such")).contains(&root.join("no")), "what is missing may come");
    }

    #[test]
    fn links_in_a_circle_end() {
        let folder = tempfile::tempdir().unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        assert!(steps(&folder.path().join("a")).len() < 20);
    }
}
