//! The layers of the crate, checked.
//!
//! A module may use the modules of the layers listed before its own, and
//! nothing else. To move a line of this table is to change the architecture:
//! say why in the commit.

use std::{collections::BTreeMap, fs, path::Path};

/// Lowest first. Modules in one layer do not see each other.
const LAYERS: &[&[&str]] = &[
    &["domain"],
    &["archive", "clock", "crypto", "sabotage"],
    &["config", "egress", "telemetry"],
    &["store", "ingress", "outbound", "executor", "live", "mailbox"],
    &["queue"],
    &["pipeline"],
    &["http", "console", "runner"],
    &["app"],
    &["cli"],
];

#[test]
fn modules_only_use_lower_layers() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let layer: BTreeMap<&str, usize> =
        LAYERS.iter().enumerate().flat_map(|(i, modules)| modules.iter().map(move |m| (*m, i))).collect();

    let mut faults = Vec::new();
    for (file, text) in rust_files(&src) {
        let module = file.split(['/', '.']).next().unwrap();
        if matches!(module, "lib" | "main") {
            continue;
        }
        lines_over_limit(&file, &text, &mut faults);
        let Some(&own) = layer.get(module) else {
            faults.push(format!("{file}: module `{module}` has no layer"));
            continue;
        };
        for used in crate_paths(&text) {
            match layer.get(used.as_str()) {
                _ if used == module => {}
                Some(&other) if other < own => {}
                _ => faults.push(format!("{file}: `{module}` may not use `{used}`")),
            }
        }
    }
    faults.dedup();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Files stay readable in one sitting.
fn lines_over_limit(file: &str, text: &str, faults: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > 500 {
        faults.push(format!("{file}: {lines} lines; carve it along a real seam (500 at most)"));
    }
}

/// Every `a` of `crate::a` and `crate::{a, b::c}` outside comments and unit tests.
fn crate_paths(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code: String = code.lines().map(|l| l.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(first_segment(&std::mem::take(&mut name))),
                    _ if depth == 0 => name.push(c),
                    _ => {}
                }
            }
            found.push(first_segment(&name));
        } else {
            found.push(first_segment(rest));
        }
    }
    // Types re-exported at the root start with a capital; modules do not.
    found.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    found
}

fn first_segment(path: &str) -> String {
    path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn rust_files(src: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut pending = vec![src.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(src).unwrap().to_string_lossy().into_owned();
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}
