//! The rules of ARCHITECTURE.md that a machine can check: layers point down, and `proto/` is pure.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// A layer, and what it must not name.
const ABOVE: [(&str, &[&str]); 4] = [
    ("src/proto", &["engine", "server", "cluster", "service", "listen", "testing"]),
    ("src/engine", &["server", "cluster", "service", "listen", "testing"]),
    ("src/server", &["cluster", "service", "listen", "testing"]),
    ("src/cluster", &["service", "listen", "testing"]),
];

/// Clocks, locks, tasks and randomness, none of which belong into `proto/`.
const IMPURE: [&str; 12] = [
    "Instant::now",
    "SystemTime",
    "tokio",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "crate::sync",
    "atomic",
    "std::thread",
    "std::net",
    "std::io",
    "getrandom",
    "tracing",
];

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The code lines of a layer: without comments, tests, and the declarations of files of tests.
fn code_lines(layer: &str) -> Vec<(PathBuf, usize, String)> {
    let mut files = Vec::new();
    rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(layer), &mut files);
    assert!(!files.is_empty(), "{layer} has no Rust files");
    let (mut lines, mut all) = (Vec::new(), 0);
    for file in files.into_iter().filter(|file| !is_of_tests(file)) {
        let text = fs::read_to_string(&file).unwrap();
        all += text.lines().count();
        for (number, line) in code(&text) {
            lines.push((file.clone(), number, line.to_owned()));
        }
    }
    // Comments and tests beside the code are never two thirds of a layer: then something cuts off too much.
    assert!(lines.len() * 3 > all, "{layer}: only {} of {all} lines were looked at", lines.len());
    lines
}

/// A file that only tests have: `tests.rs`, or one in a folder `tests`.
fn is_of_tests(file: &Path) -> bool {
    file.ends_with("tests.rs") || file.parent().is_some_and(|folder| folder.ends_with("tests"))
}

/// The code lines of one file with their numbers, up to the tests that stand in it.
fn code(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let module = |index: usize| {
        let declared = lines.get(index + 1).filter(|next| next.starts_with("mod "));
        declared.filter(|_| lines[index] == "#[cfg(test)]")
    };
    let end = (0..lines.len()).find(|&index| module(index).is_some_and(|line| line.ends_with('{')));
    (0..end.unwrap_or(lines.len()))
        .filter(|&index| module(index).is_none() && (index == 0 || module(index - 1).is_none()))
        .filter(|&index| !lines[index].trim_start().starts_with("//"))
        .map(|index| (index + 1, lines[index]))
        .collect()
}

#[test]
fn only_tests_are_left_out() {
    let text =
        "// x\n#[cfg(test)]\nmod tests;\nuse a;\n#[cfg(test)]\nfn b() {}\n#[cfg(test)]\nmod t {\nuse c;\n}\n";
    assert_eq!(code(text), [(4, "use a;"), (5, "#[cfg(test)]"), (6, "fn b() {}")]);
}

#[test]
fn layers_point_down() {
    for (layer, above) in ABOVE {
        for (file, number, line) in code_lines(layer) {
            for name in above {
                let names =
                    [format!("crate::{name}::"), format!("crate::{name};"), format!("crate::{{{name}")];
                assert!(
                    !names.iter().any(|name| line.contains(name.as_str())),
                    "{}:{number} names a layer above: {line}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn proto_is_pure() {
    for (file, number, line) in code_lines("src/proto") {
        // serde_json's formatter is written in terms of `io::Write`, the Vec it writes to included.
        let formatter = file.ends_with("attachment.rs");
        for word in IMPURE.iter().filter(|&&word| !(formatter && word == "std::io")) {
            assert!(!line.contains(word), "{}:{number} uses {word}: {line}", file.display());
        }
        // The one cell of proto/: a message's further forms are made once, by whoever needs one first.
        assert!(
            !line.contains("OnceLock") || file.ends_with("encoded.rs"),
            "{}:{number} uses a lock: {line}",
            file.display()
        );
    }
}

#[test]
fn no_left_overs() {
    for (file, number, line) in code_lines("src") {
        for word in ["todo!(", "unimplemented!(", "dbg!("] {
            assert!(!line.contains(word), "{}:{number}: {line}", file.display());
        }
    }
}
