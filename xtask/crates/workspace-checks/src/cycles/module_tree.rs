//! The modules of a crate, the names in them, and the file to which a path leads.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    graph::FileGraph,
    tokens::{Import, Token, imports, tokens},
};

/// Re-exports that lead to one another end after so many steps.
const MOST_REDIRECTIONS: usize = 16;

/// Words before the name of an item.
const ITEM_KEYWORDS: [&str; 9] = [
    "fn",
    "struct",
    "enum",
    "union",
    "trait",
    "type",
    "const",
    "static",
    "macro_rules",
];

/// An index into [`ModuleTree::modules`].
type ModuleId = usize;

/// Reads a file; replaced in tests.
pub(super) type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

#[derive(Debug, Default)]
struct Module {
    file: PathBuf,
    parent: ModuleId,
    children: BTreeMap<String, ModuleId>,
    imports: Vec<(Import, Visibility)>,
    /// Names of items that are defined here.
    items: BTreeSet<String>,
    /// Paths in expressions and types.
    paths: Vec<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visibility {
    Private,
    /// `pub`, `pub(crate)`, `pub(super)`
    Published,
}

/// All modules of a crate's target.
#[derive(Debug, Default)]
pub(super) struct ModuleTree {
    modules: Vec<Module>,
}

/// The module where the crate's root file is.
const ROOT: ModuleId = 0;

impl ModuleTree {
    /// Reads the file of a target and those of all its modules.
    ///
    /// # Errors
    /// When the file of a module cannot be read.
    pub(super) fn read(root: &Path, read_file: ReadFile<'_>) -> Result<Self> {
        let mut tree = Self::default();
        let directory = root.parent().unwrap_or(Path::new("")).to_owned();
        tree.read_module(root.to_owned(), &directory, ROOT, read_file)?;
        Ok(tree)
    }

    /// Adds the module of a file. The files of its children are below `directory`.
    fn read_module(
        &mut self,
        file: PathBuf,
        directory: &Path,
        parent: ModuleId,
        read_file: ReadFile<'_>,
    ) -> Result<ModuleId> {
        let source = read_file(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let id = self.add(file, parent);
        self.read_items(&tokens(&source), id, directory, read_file)?;
        Ok(id)
    }

    fn add(&mut self, file: PathBuf, parent: ModuleId) -> ModuleId {
        self.modules.push(Module {
            file,
            parent,
            ..Module::default()
        });
        self.modules.len() - 1
    }

    /// Reads the tokens of a module, up to the brace that closes an inline one. Returns how many
    /// tokens belong to it.
    fn read_items(
        &mut self,
        tokens: &[Token],
        id: ModuleId,
        directory: &Path,
        read_file: ReadFile<'_>,
    ) -> Result<usize> {
        let (mut index, mut depth) = (0, 0_usize);
        let mut visibility = Visibility::Private;
        while let Some(token) = tokens.get(index) {
            index += 1;
            let next = tokens.get(index).and_then(Token::word);
            match token {
                Token::Punctuation('{') => depth += 1,
                Token::Punctuation('}') if depth == 0 => return Ok(index),
                Token::Punctuation('}') => depth -= 1,
                Token::Word(word) if word == "pub" => {
                    visibility = Visibility::Published;
                    // `pub(in path)` and its like name no item.
                    if tokens.get(index).is_some_and(|token| token.is('(')) {
                        index += tokens[index..].iter().take_while(|t| !t.is(')')).count() + 1;
                    }
                    continue;
                }
                Token::Word(word) if word == "use" => {
                    let (leaves, length) = imports(&tokens[index..]);
                    let leaves = leaves.into_iter().map(|import| (import, visibility));
                    self.modules[id].imports.extend(leaves);
                    index += length;
                }
                Token::Word(word) if word == "mod" && next.is_some() => {
                    let name = next.unwrap_or_default().to_owned();
                    let directory = directory.join(&name);
                    index += 1;
                    let child = if tokens.get(index).is_some_and(|token| token.is(';')) {
                        self.read_module(
                            child_file(&directory, read_file),
                            &directory,
                            id,
                            read_file,
                        )?
                    } else {
                        let child = self.add(self.modules[id].file.clone(), id);
                        index += 1;
                        index += self.read_items(&tokens[index..], child, &directory, read_file)?;
                        child
                    };
                    self.modules[id].children.insert(name, child);
                }
                Token::Word(word) if ITEM_KEYWORDS.contains(&word.as_str()) => {
                    // `macro_rules! name`
                    let name = tokens[index..].iter().take(2).find_map(Token::word);
                    self.modules[id].items.extend(name.map(str::to_owned));
                }
                // A single word is mostly a variable; a name without a path has its import.
                Token::Word(_) => {
                    let path = path(&tokens[index - 1..]);
                    index += 2 * (path.len() - 1);
                    if path.len() > 1 {
                        self.modules[id].paths.push(path);
                    }
                }
                // The rest of `<T as Trait>::…`.
                Token::PathSeparator => index += usize::from(next.is_some()),
                _ => {}
            }
            visibility = Visibility::Private;
        }
        Ok(index)
    }

    /// Which file uses which.
    pub(super) fn graph(&self) -> FileGraph {
        let mut graph = FileGraph::default();
        for (id, module) in self.modules.iter().enumerate() {
            let mut add = |target: ModuleId| {
                graph.add(&module.file, &self.modules[target].file);
            };
            for (import, visibility) in &module.imports {
                let target = self.resolve(id, &import.path, 0);
                let publishes_child =
                    |target| *visibility == Visibility::Published && self.is_below(target, id);
                if let Some(target) = target.filter(|target| !publishes_child(*target)) {
                    add(target);
                }
            }
            for path in &module.paths {
                if let Some(target) = self.resolve(id, path, 0) {
                    add(target);
                }
            }
        }
        graph
    }

    /// The module of ours to which a path leads: itself, or the one that defines the item. `None`
    /// for other crates and for items without a path.
    fn resolve(&self, from: ModuleId, path: &[String], redirections: usize) -> Option<ModuleId> {
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => ROOT,
            "self" => from,
            "super" => self.modules[from].parent,
            name => return self.resolve_relative(from, name, rest, redirections),
        };
        if rest.first().is_some_and(|next| next == "super") {
            return self.resolve(start, rest, redirections);
        }
        Some(self.descend(start, rest, redirections).unwrap_or(start))
    }

    /// As [`Self::resolve`], for a path that begins with a child or an imported name.
    fn resolve_relative(
        &self,
        from: ModuleId,
        name: &str,
        rest: &[String],
        redirections: usize,
    ) -> Option<ModuleId> {
        if let Some(child) = self.modules[from].children.get(name) {
            return Some(self.descend(*child, rest, redirections).unwrap_or(*child));
        }
        self.resolve_import(from, name, rest, redirections)
    }

    /// Where the names of a path lead from a module; `None` when it defines the first one itself.
    fn descend(&self, module: ModuleId, names: &[String], redirections: usize) -> Option<ModuleId> {
        let (name, rest) = names.split_first()?;
        self.resolve_relative(module, name, rest, redirections)
    }

    fn resolve_import(
        &self,
        module: ModuleId,
        name: &str,
        rest: &[String],
        redirections: usize,
    ) -> Option<ModuleId> {
        if redirections > MOST_REDIRECTIONS || self.modules[module].items.contains(name) {
            return None;
        }
        let imports = || {
            self.modules[module]
                .imports
                .iter()
                .map(|(import, _)| import)
        };
        if let Some(import) = imports().find(|import| import.name.as_deref() == Some(name)) {
            // A crate, or `use child;`.
            if import.path.first().is_some_and(|first| first == name) {
                return None;
            }
            let path = [&import.path, rest].concat();
            return self.resolve(module, &path, redirections + 1);
        }
        imports()
            .filter(|import| import.name.is_none())
            .filter_map(|import| self.resolve(module, &import.path, redirections + 1))
            .filter(|target| *target != module)
            .find_map(|target| {
                let defines = self.modules[target].items.contains(name);
                let path = [&[name.to_owned()], rest].concat();
                if defines {
                    Some(target)
                } else {
                    self.descend(target, &path, redirections + 1)
                }
            })
    }

    fn is_below(&self, mut module: ModuleId, ancestor: ModuleId) -> bool {
        while module != ROOT {
            module = self.modules[module].parent;
            if module == ancestor {
                return true;
            }
        }
        false
    }
}

/// `name.rs` beside the directory of the module's children, or `mod.rs` in it.
fn child_file(directory: &Path, read_file: ReadFile<'_>) -> PathBuf {
    let inside = directory.join("mod.rs");
    if read_file(&inside).is_ok() {
        inside
    } else {
        directory.with_extension("rs")
    }
}

/// The words with which the tokens begin, as far as `::` joins them.
fn path(tokens: &[Token]) -> Vec<String> {
    let mut path = Vec::new();
    let mut rest = tokens;
    while let Some(word) = rest.first().and_then(Token::word) {
        path.push(word.to_owned());
        match rest.get(1..) {
            Some([Token::PathSeparator, Token::Word(_), ..]) => rest = &rest[2..],
            _ => break,
        }
    }
    path
}
