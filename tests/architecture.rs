//! Compares the code with docs/architecture.md: some crates are named in one room only, and the modules of a room do
//! not import each other in circles. `tools/build/rooms.test.mjs` checks the table of rooms.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A path of module names, from the crate's root.
type ModulePath = Vec<String>;

/// Rooms whose modules must not import each other in circles. A folder inside a room counts as one module of it.
const ROOMS: [&str; 11] = [
    "answers",
    "binding",
    "config",
    "engine",
    "executor",
    "executor/mlx",
    "exposition",
    "hub",
    "metrics",
    "scheduler",
    "text",
];

/// Crates, and the only folder that may name each.
const CRATES: [(&str, &str); 4] = [
    ("napi", "src/binding/"),
    ("mlx_rs", "src/executor/mlx/"),
    ("llguidance", "src/text/constraint/"),
    ("prometheus_client", "src/exposition/"),
];

/// A source file without its tests.
struct Source {
    /// Relative to the project's root.
    file: String,
    module: ModulePath,
    code: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&root().join("src"), &mut sources);
    assert!(sources.len() > 100, "the sources are there: {}", sources.len());
    sources
}

fn collect(folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a UTF-8 name");
        if matches!(name, "tests" | "tests.rs") {
            continue;
        }
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(root()).expect("inside of the project").to_string_lossy().replace('\\', "/");
            let module = file.trim_start_matches("src/").trim_end_matches(".rs").split('/').map(str::to_owned);
            let module = module.filter(|part| part != "mod" && part != "lib").collect();
            let code = fs::read_to_string(&path).expect("a readable source");
            sources.push(Source { file, module, code: without_comments(&code) });
        }
    }
}

fn without_comments(code: &str) -> String {
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every path that a file imports, or names with `crate::` or `super::`, from the crate's root.
fn imports(source: &Source) -> Vec<ModulePath> {
    let mut paths = Vec::new();
    for statement in source.code.replace("#[cfg(test)]\nuse ", "#[cfg(test)]\n").split(';') {
        if let Some(tree) = statement.rsplit_once("use ").map(|(_, tree)| tree) {
            expand(Vec::new(), tree, &mut paths);
        }
    }
    for start in ["crate::", "super::"] {
        for (at, _) in source.code.match_indices(start) {
            let path: String =
                source.code[at..].chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect();
            paths.push(path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect());
        }
    }
    paths.into_iter().filter_map(|path| absolute(&source.module, &path)).collect()
}

/// The paths of a tree of imports, such as `a::{b, c::d}`.
fn expand(prefix: ModulePath, tree: &str, paths: &mut Vec<ModulePath>) {
    let (head, inner) = tree.split_once('{').map_or((tree, None), |(head, inner)| (head, Some(inner)));
    let names = head.split(" as ").next().unwrap_or_default().split("::").map(str::trim);
    let path: ModulePath = prefix.into_iter().chain(names.filter(|name| !name.is_empty()).map(str::to_owned)).collect();
    let Some(inner) = inner.and_then(|inner| inner.rsplit_once('}')).map(|(inner, _)| inner) else {
        return paths.push(path);
    };
    let (mut depth, mut from) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(path.clone(), &inner[from..at], paths);
                from = (at + 1).min(inner.len());
            }
            _ => {}
        }
    }
}

/// The path from the crate's root; `None` for other crates.
fn absolute(module: &[String], path: &[String]) -> Option<ModulePath> {
    let num_super = path.iter().take_while(|part| *part == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "super" => Some([&module[..module.len().checked_sub(num_super)?], &path[num_super..]].concat()),
        "self" => Some([module, &path[1..]].concat()),
        child => {
            let folder = root().join("src").join(module.join("/"));
            let is_child = folder.join(format!("{child}.rs")).exists() || folder.join(child).is_dir();
            is_child.then(|| [module, path].concat())
        }
    }
}

#[test]
fn crates_that_belong_to_a_room_are_named_nowhere_else() {
    for source in sources() {
        for (name, folder) in CRATES {
            let is_named =
                source.code.contains(&format!("use {name}::")) || source.code.contains(&format!(" {name}::"));
            assert!(!is_named || source.file.starts_with(folder), "{} names {name}", source.file);
        }
    }
}

#[test]
fn modules_of_a_room_import_each_other_without_circles() {
    let sources = sources();
    let mut circles = Vec::new();
    for room in ROOMS {
        let room: ModulePath = room.split('/').map(str::to_owned).collect();
        let edges = edges(&room, &sources);
        for module in edges.keys() {
            if reachable(&edges, module).contains(module) {
                circles.push(format!("{}::{module}", room.join("::")));
            }
        }
    }
    assert!(circles.is_empty(), "these modules are in circles: {circles:#?}");
}

/// For each module of a room, the other modules of the room that it imports from.
fn edges(room: &[String], sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let inside = |path: &[String]| path.strip_prefix(room).and_then(|rest| rest.first()).cloned();
    let modules: BTreeSet<_> = sources.iter().filter_map(|source| inside(&source.module)).collect();
    // An item that the room's own file imports from a module belongs to that module.
    let own = sources.iter().find(|source| source.module == room).expect("the room's own file");
    let mut owners = BTreeMap::new();
    for path in imports(own) {
        if let (Some(module), Some(item)) = (inside(&path), path.last()) {
            owners.insert(item.clone(), module);
        }
    }
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let Some(module) = inside(&source.module) else { continue };
        let named = imports(source).into_iter().filter_map(|path| inside(&path));
        let named =
            named.filter_map(|name| if modules.contains(&name) { Some(name) } else { owners.get(&name).cloned() });
        edges.entry(module.clone()).or_default().extend(named.filter(|name| *name != module));
    }
    edges
}

fn reachable(edges: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut seen, mut waiting) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(module) = waiting.pop() {
        for next in edges.get(&module).into_iter().flatten() {
            if seen.insert(next.clone()) {
                waiting.push(next.clone());
            }
        }
    }
    seen
}
