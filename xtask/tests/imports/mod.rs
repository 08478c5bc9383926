//! The imports between source files of a package, by their `use` items and paths that begin with `crate` or `super`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, UseTree, Visibility};

/// The index of a file in [`Package::files`].
pub type File = usize;

/// The source files of one package, without its tests.
pub struct Package {
    files: Vec<Source>,
    by_module: BTreeMap<Vec<String>, File>,
}

struct Source {
    name: String,
    module: Vec<String>,
    /// Absolute paths that it uses.
    used: BTreeSet<Vec<String>>,
    /// Absolute paths of what it names in modules below it.
    below: BTreeSet<Vec<String>>,
    /// Names that it re-exports, with the absolute path that each stands for.
    re_exported: BTreeMap<String, Vec<String>>,
}

/// All files below a directory with one of these extensions.
pub fn files(directory: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of the project") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, extensions));
        } else if path.extension().is_some_and(|extension| extensions.iter().any(|known| extension == *known))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

impl Package {
    /// Parses the package whose sources are below `src`.
    pub fn read(package: &str, src: &Path) -> Self {
        let mut sources = Vec::new();
        for path in files(src, &["rs"]) {
            let below = path.strip_prefix(src).expect("below src").with_extension("");
            let mut module: Vec<String> =
                below.iter().map(|part| part.to_str().expect("UTF-8").to_owned()).collect();
            if module.iter().any(|part| part == "tests") {
                continue;
            }
            module.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
            let text = fs::read_to_string(&path).expect("a source");
            let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let name = format!("{package}/src/{}.rs", below.display());
            let mut source = Source {
                name,
                module,
                used: BTreeSet::new(),
                below: BTreeSet::new(),
                re_exported: BTreeMap::new(),
            };
            Reader { source: &mut source, depth: 0 }.visit_file(&parsed);
            sources.push(source);
        }
        let by_module =
            sources.iter().enumerate().map(|(file, source)| (source.module.clone(), file)).collect();
        Self { files: sources, by_module }
    }

    /// Its name, from the project's root.
    pub fn name(&self, file: File) -> &str {
        &self.files[file].name
    }

    /// The directory below `src` that it belongs to.
    pub fn room(&self, file: File) -> Option<&str> {
        self.files[file].module.first().map(String::as_str)
    }

    /// Pairs of files of which the first imports from the second.
    pub fn imports(&self) -> BTreeSet<(File, File)> {
        let mut imports = BTreeSet::new();
        for (file, source) in self.files.iter().enumerate() {
            let used = source.used.iter().filter_map(|path| self.defines(path, 0));
            imports.extend(used.filter(|&imported| imported != file).map(|imported| (file, imported)));
        }
        imports
    }

    /// The same with what a file names in modules below it, but without what a file takes from those above it: a module
    /// may call those below it, which may share what is in it.
    fn calls(&self) -> BTreeSet<(File, File)> {
        let mut calls = self.imports();
        for (file, source) in self.files.iter().enumerate() {
            let below = source.below.iter().filter_map(|path| self.defines(path, 0));
            calls.extend(below.filter(|&called| called != file).map(|called| (file, called)));
        }
        calls.retain(|&(from, to)| !self.files[from].module.starts_with(&self.files[to].module));
        calls
    }

    /// The file that defines an absolute path.
    fn defines(&self, path: &[String], depth: u8) -> Option<File> {
        // Names re-exported in a circle define nothing.
        if depth > 8 {
            return None;
        }
        let length = (0..=path.len()).rev().find(|&length| self.by_module.contains_key(&path[..length]))?;
        let file = self.by_module[&path[..length]];
        let Some(name) = path.get(length) else { return Some(file) };
        let source = &self.files[file];
        if let Some(re_exported) = source.re_exported.get(name) {
            let target: Vec<String> = re_exported.iter().chain(&path[length + 1..]).cloned().collect();
            return self.defines(&target, depth + 1);
        }
        Some(file)
    }

    /// The imports inside circles, one per line.
    pub fn describe_circles(&self) -> String {
        let mut lines = String::new();
        for edges in [self.imports(), self.calls()] {
            lines += &self.describe(&edges);
        }
        lines
    }

    fn describe(&self, edges: &BTreeSet<(File, File)>) -> String {
        let circles = circles(self.files.len(), edges);
        let mut lines = String::new();
        for &(from, to) in edges {
            if circles.iter().any(|circle| circle.contains(&from) && circle.contains(&to)) {
                lines.extend([self.name(from), " imports ", self.name(to), "\n"]);
            }
        }
        lines
    }
}

/// Sets of more than one file, each of which leads to all others of its set.
fn circles(count: usize, edges: &BTreeSet<(File, File)>) -> Vec<Vec<File>> {
    let mut reaches = vec![vec![false; count]; count];
    for &(from, to) in edges {
        reaches[from][to] = true;
    }
    for middle in 0..count {
        for from in 0..count {
            if reaches[from][middle] {
                let onwards = reaches[middle].clone();
                reaches[from].iter_mut().zip(onwards).for_each(|(reached, more)| *reached |= more);
            }
        }
    }
    let mut circles: Vec<Vec<File>> = Vec::new();
    for (file, reached) in reaches.iter().enumerate() {
        if reached[file] && !circles.iter().any(|circle| circle.contains(&file)) {
            circles.push((0..count).filter(|&other| reached[other] && reaches[other][file]).collect());
        }
    }
    circles
}

/// Collects the paths that a file uses.
struct Reader<'a> {
    source: &'a mut Source,
    /// The nesting depth of modules inside the file.
    depth: usize,
}

impl Reader<'_> {
    /// The absolute path, if it is one of this package and not inside the file.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut module = self.source.module.clone();
        let rest;
        match path.first()?.as_str() {
            "crate" => (module, rest) = (Vec::new(), &path[1..]),
            "self" => rest = &path[1..],
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let ups_of_file = ups.checked_sub(self.depth)?;
                module.truncate(module.len().checked_sub(ups_of_file)?);
                rest = &path[ups..];
            }
            _ => return None,
        }
        module.extend(rest.iter().cloned());
        Some(module)
    }

    fn leaves(tree: &UseTree, prefix: &[String], leaves: &mut Vec<(Vec<String>, String)>) {
        let with = |name: String| prefix.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => Self::leaves(&path.tree, &with(path.ident.to_string()), leaves),
            UseTree::Group(group) => group.items.iter().for_each(|tree| Self::leaves(tree, prefix, leaves)),
            UseTree::Name(name) if name.ident == "self" => {
                leaves.push((prefix.to_vec(), prefix.last().cloned().unwrap_or_default()));
            }
            UseTree::Name(name) => leaves.push((with(name.ident.to_string()), name.ident.to_string())),
            UseTree::Rename(rename) => {
                leaves.push((with(rename.ident.to_string()), rename.rename.to_string()));
            }
            UseTree::Glob(_) => leaves.push((prefix.to_vec(), "*".to_owned())),
        }
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Mod(module) if is_test(&module.attrs) => {}
            Item::Mod(module) => {
                self.depth += 1;
                visit::visit_item_mod(self, module);
                self.depth -= 1;
            }
            Item::Fn(function) if is_test(&function.attrs) => {}
            Item::Impl(block) if is_test(&block.attrs) => {}
            Item::Use(used) if is_test(&used.attrs) => {}
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut leaves = Vec::new();
        Self::leaves(&item.tree, &[], &mut leaves);
        for (path, name) in leaves {
            let Some(first) = path.first() else { continue };
            // `use plan::Plan` in the file that has `mod plan`.
            let child = !["crate", "self", "super", "std", "core"].contains(&first.as_str());
            let absolute = if child {
                let mut absolute = self.source.module.clone();
                absolute.extend(path.iter().cloned());
                absolute
            } else if let Some(absolute) = self.absolute(&path) {
                absolute
            } else {
                continue;
            };
            if !matches!(item.vis, Visibility::Inherited) && self.depth == 0 {
                assert_ne!(name, "*", "{}: names are re-exported one by one", self.source.name);
                self.source.re_exported.insert(name, absolute);
            } else if !child || path.len() > 1 {
                self.source.used.insert(absolute);
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if parts.len() > 1 {
            match self.absolute(&parts) {
                Some(absolute) => self.source.used.insert(absolute),
                // Where it is no module below this one it leads to this file.
                None => self.source.below.insert(self.source.module.iter().chain(&parts).cloned().collect()),
            };
        }
        visit::visit_path(self, path);
    }
}
