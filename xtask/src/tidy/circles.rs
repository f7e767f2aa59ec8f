//! No circles of imports between the files of a crate.
//!
//! A file imports another one when a path in it (in a `use` or in code) leads there. Modules in the
//! folder of a module are parts of it: they may use what it defines, so that does not count. Nor
//! do tests. Paths inside macros are not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::{self, Visit};

use super::files::Source;

/// A module's path within its crate.
type Module = Vec<String>;

/// The circles of each crate.
pub(super) fn mistakes(files: &[Source]) -> Vec<String> {
    let mut crates: BTreeMap<String, Vec<&Source>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.kind() == "rs") {
        let path = file.path.to_string_lossy();
        if let Some((folder, _)) = path.split_once("/src/") {
            crates.entry(folder.to_owned()).or_default().push(file);
        }
    }
    let circles = crates.iter().flat_map(|(folder, files)| circles(folder, files));
    circles.map(|circle| format!("{}: import each other in a circle", circle.join(", "))).collect()
}

/// The groups of files of one crate that import each other, by their paths.
fn circles(folder: &str, files: &[&Source]) -> Vec<Vec<String>> {
    let mut parsed = BTreeMap::new();
    let mut tests = BTreeSet::new();
    for file in files {
        let path = file.path.strip_prefix(Path::new(folder).join("src"));
        let module = path.map(module_of).unwrap_or_default();
        // The compiler reports files that do not parse.
        let Ok(syntax) = syn::parse_file(&file.text) else { continue };
        let mut paths = Paths { module: module.clone(), ..Paths::default() };
        paths.visit_file(&syntax);
        tests.extend(paths.test_modules.iter().cloned());
        parsed.insert(module, (file.path.to_string_lossy().into_owned(), paths));
    }
    let is_test = |module: &Module| (1..=module.len()).any(|end| tests.contains(&module[..end]));
    parsed.retain(|module, _| !is_test(module));
    let mut edges: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for (module, (_, paths)) in &parsed {
        let targets = paths.used.iter().filter_map(|path| target(&parsed, module, path, 0));
        let others = targets.filter(|target| !module.starts_with(target));
        edges.insert(module, others.collect());
    }
    let name = |module: &&Module| parsed[*module].0.clone();
    groups(&edges).iter().map(|group| group.iter().map(name).collect()).collect()
}

/// `a/b.rs`, `a/b/mod.rs` → `a::b`.
fn module_of(path: &Path) -> Module {
    let mut module: Module =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

/// The module that defines what a path in `module` names, through re-exports; `None` for
/// another crate's.
fn target<'p>(
    parsed: &'p BTreeMap<Module, (String, Paths)>,
    module: &Module,
    path: &[String],
    depth: usize,
) -> Option<&'p Module> {
    /// Against re-exports of each other.
    const DEPTH_MAX: usize = 10;
    let absolute = absolute(parsed, module, path)?;
    let end = (0..=absolute.len()).rev().find(|end| parsed.contains_key(&absolute[..*end]))?;
    let (found, (_, paths)) = parsed.get_key_value(&absolute[..end])?;
    let reexported = absolute.get(end).and_then(|name| paths.reexports.get(name));
    match reexported {
        Some(path) if depth < DEPTH_MAX => {
            let rest = &absolute[end + 1..];
            target(parsed, found, &[path.as_slice(), rest].concat(), depth + 1)
        }
        _ => Some(found),
    }
}

/// The path from the root of the crate.
fn absolute(
    parsed: &BTreeMap<Module, (String, Paths)>,
    module: &Module,
    path: &[String],
) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    let mut base = module.clone();
    match first.as_str() {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            base.pop()?;
            if rest.first().is_some_and(|next| next == "super") {
                return absolute(parsed, &base, rest);
            }
        }
        name => {
            base.push(name.to_owned());
            if !parsed.contains_key(&base) {
                return None;
            }
        }
    }
    Some([base, rest.to_vec()].concat())
}

/// The paths of one file.
#[derive(Default)]
struct Paths {
    module: Module,
    used: Vec<Vec<String>>,
    /// Names that `pub use` gives, and where they come from.
    reexports: BTreeMap<String, Vec<String>>,
    /// Modules that are compiled for tests alone.
    test_modules: Vec<Module>,
    /// Modules written out within the file, around the place that is visited.
    inner: usize,
}

impl Paths {
    /// Notes a path, seen from the file's module.
    fn note(&mut self, mut path: Vec<String>) {
        let mut inner = self.inner;
        while inner > 0 && path.first().is_some_and(|first| first == "super") {
            path.remove(0);
            inner -= 1;
        }
        let goes_out = inner == 0 || path.first().is_some_and(|first| first == "crate");
        if goes_out && path.len() > 1 {
            self.used.push(path);
        }
    }

    fn note_tree(&mut self, prefix: &[String], tree: &syn::UseTree, is_reexport: bool) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        let (path, name) = match tree {
            syn::UseTree::Path(path) => {
                return self.note_tree(&with(&path.ident), &path.tree, is_reexport);
            }
            syn::UseTree::Group(group) => {
                return group.items.iter().for_each(|t| self.note_tree(prefix, t, is_reexport));
            }
            syn::UseTree::Name(name) if name.ident == "self" => {
                (prefix.to_vec(), prefix.last().cloned())
            }
            syn::UseTree::Name(name) => (with(&name.ident), Some(name.ident.to_string())),
            syn::UseTree::Rename(rename) => (with(&rename.ident), Some(rename.rename.to_string())),
            syn::UseTree::Glob(_) => (prefix.to_vec(), None),
        };
        if let Some(name) = name.filter(|_| is_reexport && self.inner == 0) {
            self.reexports.insert(name, path.clone());
        }
        self.note(path);
    }
}

/// Whether an item is compiled for tests alone.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_test = |list: &syn::MetaList| list.tokens.to_string() == "test";
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg") && attribute.meta.require_list().is_ok_and(is_test)
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_for_tests(&item.attrs) {
            let module = [self.module.clone(), vec![item.ident.to_string()]].concat();
            self.test_modules.push(module);
        } else if item.content.is_some() {
            self.inner += 1;
            visit::visit_item_mod(self, item);
            self.inner -= 1;
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            let is_reexport = !matches!(item.vis, syn::Visibility::Inherited);
            self.note_tree(&[], &item.tree, is_reexport);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    /// `pub(in crate::a)` imports nothing.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.note(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

/// The groups of two and more that reach each other.
fn groups<'m>(edges: &BTreeMap<&'m Module, BTreeSet<&'m Module>>) -> Vec<Vec<&'m Module>> {
    let reach = |from: &'m Module| {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(next) = open.pop() {
            let others = edges.get(next).into_iter().flatten();
            open.extend(others.copied().filter(|other| reached.insert(*other)));
        }
        reached
    };
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        edges.keys().map(|module| (*module, reach(module))).collect();
    let mut groups: Vec<Vec<&Module>> = Vec::new();
    for (module, there) in &reached {
        let is_in = |other: &&&Module| reached.get(**other).is_some_and(|b| b.contains(module));
        let group: Vec<&Module> = there.iter().filter(is_in).copied().collect();
        if group.first() == Some(module) && group.len() > 1 {
            groups.push(group);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let source = |(path, text): &(&str, &str)| Source {
            path: format!("c/src/{path}").into(),
            text: (*text).to_owned(),
        };
        mistakes(&files.iter().map(source).collect::<Vec<_>>())
    }

    #[test]
    fn two_files_that_import_each_other_are_a_circle() {
        let a = ("a.rs", "use crate::b::B;");
        assert_eq!(found(&[a, ("b.rs", "fn f() { crate::a::f(); }")]).len(), 1);
        assert_eq!(found(&[a, ("b.rs", "use super::a::{self, A};")]).len(), 1);
        assert_eq!(found(&[a, ("b.rs", "use other::a;")]), Vec::<String>::new());
    }

    #[test]
    fn a_circle_through_a_reexport_or_a_third_file_is_found() {
        let lib = ("lib.rs", "mod a; mod b; pub use a::A; pub(crate) use b::B as C;");
        assert_eq!(found(&[lib, ("a.rs", "use crate::C;"), ("b.rs", "use crate::A;")]).len(), 1);
        let files =
            [("a.rs", "use super::b;"), ("b.rs", "use super::c;"), ("c.rs", "use super::a::A;")];
        let circles = found(&files);
        assert!(circles.len() == 1 && circles[0].starts_with("c/src/a.rs, c/src/b.rs, c/src/c.rs"));
    }

    #[test]
    fn parts_may_use_their_whole_and_tests_may_use_anything() {
        let whole = ("a/mod.rs", "mod part; pub struct A(part::P);");
        assert!(found(&[whole, ("a/part.rs", "use super::A;")]).is_empty());
        let tested = ("b.rs", "#[cfg(test)] mod tests { use crate::a::A; }");
        assert!(found(&[("a.rs", "use crate::b::B;"), tested]).is_empty());
        let apart = [
            ("a.rs", "#[cfg(test)] mod t;"),
            ("a/t.rs", "use crate::b;"),
            ("b.rs", "use crate::a::A;"),
        ];
        assert!(found(&apart).is_empty());
    }
}
