//! The imports among the files of `src`, and the cycles that they form.
//!
//! An import counts toward the file that defines the item: a re-export is followed to it, and is itself no import.
//! An import of a module counts toward the files whose items are named through it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::source;

/// The top-level modules that still have a cycle. The list only shrinks.
const STILL_CYCLIC: &[&str] = &[];

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = source::all();
    let code = sources.iter().map(|source| (source.module_path(), source.code.as_str()));
    let imports = Imports::of(&code.collect());
    let cycles = imports.cycles();
    let modules = cycles.iter().flatten().map(|file| file.split("::").next().unwrap_or_default().to_owned());
    let modules: BTreeSet<String> = modules.collect();
    if modules.iter().any(|module| !STILL_CYCLIC.contains(&module.as_str())) {
        println!("{}", imports.drawn(&cycles));
    }
    source::only_listed(STILL_CYCLIC, &modules);
}

/// A path such as `crate::proxy::Request`, in parts.
type Path = Vec<String>;

/// The files that each file imports from. Files are named by their modules' paths.
struct Imports(BTreeMap<String, BTreeSet<String>>);

impl Imports {
    /// Reads the imports of all files, given as code without comments and strings by module path.
    fn of(code: &BTreeMap<String, &str>) -> Self {
        let files: BTreeMap<&str, File> = code.iter().map(|(path, code)| (path.as_str(), File::of(code))).collect();
        let tree = Tree(files);
        // The crate's root and the program may name everything.
        let inner = tree.0.iter().filter(|(path, _)| !["", "main"].contains(path));
        Self(inner.map(|(path, file)| ((*path).to_owned(), tree.imports(path, file))).collect())
    }

    /// Returns each set of files of which every one reaches every other.
    fn cycles(&self) -> BTreeSet<BTreeSet<&str>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            self.0.keys().map(|file| (file.as_str(), self.reached(file))).collect();
        let cyclic = reached.iter().filter(|(file, reached)| reached.contains(*file));
        cyclic
            .map(|(file, others)| others.iter().copied().filter(|other| reached[other].contains(file)).collect())
            .collect()
    }

    fn reached(&self, start: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut waiting: Vec<&String> = self.0[start].iter().collect();
        while let Some(file) = waiting.pop() {
            if reached.insert(file.as_str()) {
                waiting.extend(self.0.get(file).into_iter().flatten());
            }
        }
        reached
    }

    /// Describes the cycles, a file on each line with the files of the cycle that it imports from.
    fn drawn(&self, cycles: &BTreeSet<BTreeSet<&str>>) -> String {
        let mut text = String::new();
        for cycle in cycles {
            writeln!(text, "a cycle of {} files", cycle.len()).expect("text grows");
            for file in cycle {
                let next: Vec<&str> =
                    self.0[*file].iter().map(String::as_str).filter(|to| cycle.contains(to)).collect();
                writeln!(text, "    {file} -> {}", next.join(" ")).expect("text grows");
            }
        }
        text
    }
}

/// All files by module path.
struct Tree<'a>(BTreeMap<&'a str, File>);

impl Tree<'_> {
    fn imports(&self, own: &str, file: &File) -> BTreeSet<String> {
        let used = file.uses.iter().filter(|used| !used.exported).filter_map(|used| {
            let path = self.absolute(own, &used.path)?;
            let home = self.home(&path)?;
            (home != path.join("::")).then_some(home)
        });
        let mentioned = file.mentions.iter().filter_map(|path| self.home(&self.mentioned(own, file, path)?));
        used.chain(mentioned).filter(|home| home != own).collect()
    }

    /// Returns the absolute path of one that stands in the code, if it leads into a module.
    fn mentioned(&self, own: &str, file: &File, path: &[String]) -> Option<Path> {
        let used = file.uses.iter().find(|used| used.name == path[0]);
        if let Some(module) = used.and_then(|used| self.absolute(own, &used.path)) {
            return self.0.contains_key(module.join("::").as_str()).then(|| [&module, &path[1..]].concat());
        }
        self.absolute(own, path)
    }

    /// Returns the path from the crate's root, or nothing for a path into a library.
    fn absolute(&self, own: &str, path: &[String]) -> Option<Path> {
        let own: Path = own.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        match path[0].as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([&own, &path[1..]].concat()),
            "super" => {
                let up = path.iter().take_while(|part| *part == "super").count();
                Some([&own[..own.len().saturating_sub(up)], &path[up..]].concat())
            }
            child => {
                let module = [own.as_slice(), &[child.to_owned()]].concat().join("::");
                self.0.contains_key(module.as_str()).then(|| [&own, path].concat())
            }
        }
    }

    /// Returns the file that defines the item at an absolute path.
    fn home(&self, path: &[String]) -> Option<String> {
        let length = (1..=path.len()).rev().find(|length| self.0.contains_key(path[..*length].join("::").as_str()))?;
        let (module, item) = (path[..length].join("::"), &path[length..]);
        let exported = item.first().and_then(|name| self.0[module.as_str()].exported(name));
        let Some(further) = exported.and_then(|exported| self.absolute(&module, exported)) else { return Some(module) };
        if further == path { Some(module) } else { self.home(&[&further, &item[1..]].concat()) }
    }
}

/// The paths that a file names.
struct File {
    uses: Vec<Use>,
    /// Paths in the code itself that begin with a module.
    mentions: Vec<Path>,
}

struct Use {
    /// The name by which the file knows the item.
    name: String,
    path: Path,
    exported: bool,
}

impl File {
    fn of(code: &str) -> Self {
        let tokens = tokens(code);
        let mut file = Self { uses: Vec::new(), mentions: Vec::new() };
        let mut at = 0;
        while at < tokens.len() {
            let before = at.checked_sub(1).map_or("", |at| tokens[at]);
            if tokens[at] == "use" && tokens.get(at + 1) != Some(&"<") {
                let end = at + tokens[at..].iter().position(|token| *token == ";").unwrap_or(tokens.len() - at);
                file.read_use(&[], &tokens[at + 1..end], before == "pub" || before == ")");
                at = end;
            } else if begins_module(tokens[at]) && before != "::" && before != "." {
                let path = path(&tokens[at..]);
                at += 2 * path.len() - 2;
                if path.len() > 1 {
                    file.mentions.push(path);
                }
            }
            at += 1;
        }
        file
    }

    /// Reads one branch of a `use` tree.
    fn read_use(&mut self, prefix: &[String], branch: &[&str], exported: bool) {
        let Some(open) = branch.iter().position(|token| *token == "{") else {
            let parts = branch.split(|token| *token == "as").collect::<Vec<_>>();
            let path =
                [prefix, &parts[0].iter().filter(|part| **part != "::").map(|&part| part.to_owned()).collect::<Path>()]
                    .concat();
            let path =
                if path.last().is_some_and(|last| last == "self") { path[..path.len() - 1].to_vec() } else { path };
            let Some(last) = path.last() else { return };
            let name = parts.get(1).and_then(|alias| alias.first()).map_or(last.clone(), |&alias| alias.to_owned());
            return self.uses.push(Use { name, path, exported });
        };
        let prefix = [
            prefix,
            &branch[..open].iter().filter(|part| **part != "::").map(|&part| part.to_owned()).collect::<Path>(),
        ]
        .concat();
        let inside = &branch[open + 1..branch.len() - 1];
        let (mut depth, mut start) = (0, 0);
        for (at, token) in inside.iter().enumerate() {
            match *token {
                "{" => depth += 1,
                "}" => depth -= 1,
                "," if depth == 0 => {
                    self.read_use(&prefix, &inside[start..at], exported);
                    start = at + 1;
                }
                _ => {}
            }
        }
        self.read_use(&prefix, &inside[start..], exported);
    }

    /// Returns the path that the file exports under a name.
    fn exported(&self, name: &str) -> Option<&Path> {
        self.uses.iter().find(|used| used.exported && used.name == name).map(|used| &used.path)
    }
}

fn begins_module(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
}

/// Returns the names at the beginning of the tokens that `::` joins.
fn path(tokens: &[&str]) -> Path {
    let mut path = vec![tokens[0].to_owned()];
    let mut rest = &tokens[1..];
    while let ["::", name, ..] = rest
        && name.starts_with(|c: char| c.is_alphabetic() || c == '_')
    {
        path.push((*name).to_owned());
        rest = &rest[2..];
    }
    path
}

/// Splits code into words, `::`, and single characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(next) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = match word {
            0 if rest.starts_with("::") => 2,
            0 => next.len_utf8(),
            length => length,
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// Returns the cycles among files, each written as `module: code`.
fn cycles_of(files: &[(&str, &str)]) -> Vec<String> {
    let code = files.iter().map(|(path, code)| ((*path).to_owned(), *code));
    let imports = Imports::of(&code.collect());
    imports.cycles().iter().map(|cycle| cycle.iter().copied().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_parent_that_uses_its_child_must_not_be_used_by_it() {
    let parent = ("a", "mod b; use b::B; struct A;");
    assert_eq!(cycles_of(&[parent, ("a::b", "use super::A; struct B;")]), ["a a::b"]);
    assert_eq!(cycles_of(&[parent, ("a::b", "struct B;")]), [""; 0]);
}

#[test]
fn a_re_export_leads_to_the_file_that_defines_the_item() {
    let parent = ("a", "mod b; mod c; pub use b::B; pub(crate) use c::C;");
    let c = ("a::c", "use super::B; struct C;");
    assert_eq!(cycles_of(&[parent, ("a::b", "struct B;"), c]), [""; 0]);
    assert_eq!(cycles_of(&[parent, ("a::b", "use crate::a::C; struct B;"), c]), ["a::b a::c"]);
}

#[test]
fn groups_aliases_and_modules_are_followed() {
    let b = ("b", "use crate::{a::{self, X}, c::D as E}; fn f() { a::f(); }");
    assert_eq!(cycles_of(&[("a", "use crate::b::g as h; struct X;"), b, ("c", "")]), ["a b"]);
    assert_eq!(
        cycles_of(&[("a", "use crate::c as other; fn f() { other::g() }"), ("c", "fn g() { crate::a::f() }")]),
        ["a c"]
    );
    assert_eq!(cycles_of(&[("a", "use crate::c;"), ("c", "use crate::a; ")]), [""; 0], "a module alone names no item");
}

#[test]
fn a_path_in_the_code_counts_as_an_import() {
    assert_eq!(cycles_of(&[("a", "mod b; fn f() { b::g() }"), ("a::b", "fn g() { super::f() }")]), ["a a::b"]);
    assert_eq!(
        cycles_of(&[("a", "fn f() -> impl Sized + use<'_> { x.b::<T>() }"), ("b", "use crate::a::f;")]),
        [""; 0]
    );
}

#[test]
fn longer_ways_round_are_found() {
    let files =
        [("a", "use crate::b::B;"), ("b", "use crate::c::C;"), ("c", "use crate::a::A;"), ("d", "use crate::a::A;")];
    assert_eq!(cycles_of(&files), ["a b c"]);
}
