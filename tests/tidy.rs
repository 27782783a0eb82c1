//! The rules of ARCHITECTURE.md that a machine can check: layers point down, and `proto/` is pure.

use std::fs;
use std::path::{Path, PathBuf};

/// A layer, and what it must not name.
const ABOVE: [(&str, &[&str]); 3] = [
    ("src/proto", &["engine", "server", "cluster", "service", "listen"]),
    ("src/engine", &["server", "cluster", "service", "listen"]),
    ("src/server", &["cluster", "service", "listen"]),
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

/// The code lines of a layer, without comments and without what stands behind `#[cfg(test)]`.
fn code_lines(layer: &str) -> Vec<(PathBuf, usize, String)> {
    let mut files = Vec::new();
    rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(layer), &mut files);
    assert!(!files.is_empty(), "{layer} has no Rust files");
    let mut lines = Vec::new();
    for file in files.into_iter().filter(|file| !file.ends_with("tests.rs")) {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or("");
        for (index, line) in code.lines().enumerate() {
            if !line.trim_start().starts_with("//") {
                lines.push((file.clone(), index + 1, line.to_owned()));
            }
        }
    }
    lines
}

#[test]
fn layers_point_down() {
    for (layer, above) in ABOVE {
        for (file, number, line) in code_lines(layer) {
            for name in above {
                let names = [format!("crate::{name}::"), format!("crate::{name};"), format!("crate::{{{name}")];
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
