//! The map in `docs/architecture.md` and the header of `lib.rs` name every module of the crate.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::source;

#[test]
fn the_map_names_every_top_level_module_and_every_folder() {
    let mut found = BTreeSet::new();
    for source in source::all() {
        let path = source.path.with_extension("");
        let parts: Vec<String> = path.iter().skip(1).map(|part| part.to_string_lossy().into_owned()).collect();
        found.extend((1..parts.len()).map(|length| parts[..length].join("/")));
        if let [module] = parts.as_slice() {
            found.extend((module != "lib").then(|| module.clone()));
        }
    }
    let map = fs::read_to_string("docs/architecture.md").expect("docs/architecture.md");
    let map = map.split("\n## ").find(|section| section.starts_with("The map")).expect("the section of the map");
    let rows = map.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let named: BTreeSet<String> = rows.map(|(name, _)| name.to_owned()).collect();
    assert_eq!(named.difference(&found).collect::<Vec<_>>(), [""; 0], "not in src; take them off the map");
    assert_eq!(found.difference(&named).collect::<Vec<_>>(), [""; 0], "not on the map of docs/architecture.md");
}

#[test]
fn the_header_of_the_crate_names_every_module() {
    let text = fs::read_to_string("src/lib.rs").expect("src/lib.rs");
    let header: String = text.lines().filter(|line| line.starts_with("//!")).collect();
    let declared =
        text.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
    let missing: Vec<&str> = declared.filter(|module| !header.contains(&format!("`{module}`"))).collect();
    assert!(missing.is_empty(), "src/lib.rs does not name {missing:?} in its header");
}

#[test]
fn every_file_is_declared_by_a_module() {
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let undeclared = source::all().into_iter().map(|source| source.path).filter(|path| {
        let name = path.file_stem().expect("a file has a name").to_string_lossy();
        let folder = path.parent().expect("a file below src");
        // `mod.rs` stands for its folder, which the file beside the folder or the `mod.rs` above it declares.
        let (name, folder) = match &*name {
            "lib" | "main" => return false,
            "mod" => {
                (folder.file_name().expect("a folder has a name").to_string_lossy(), folder.parent().expect("src"))
            }
            _ => (name, folder),
        };
        let declares = [folder.join("mod.rs"), folder.with_extension("rs"), folder.join("lib.rs")];
        !declares.iter().any(|file| text(file).lines().any(|line| line.ends_with(&format!("mod {name};"))))
    });
    let undeclared: Vec<_> = undeclared.collect();
    assert!(undeclared.is_empty(), "no module declares these files: {undeclared:?}");
}
