//! The built web page: read once at the start, served from memory. No request reaches the file system.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

/// The files of the page by their paths.
#[derive(Debug, Default)]
pub(crate) struct Page(HashMap<String, File>);

#[derive(Debug)]
struct File {
    content_type: &'static str,
    cache_control: &'static str,
    bytes: Bytes,
}

impl Page {
    /// Reads all files below `folder`.
    ///
    /// # Errors
    /// The folder cannot be read, holds no `index.html`, or is larger than any page.
    pub(crate) fn read(folder: &Path) -> io::Result<Page> {
        let mut page = Page::default();
        let mut left = MAX_BYTES;
        let mut folders = vec![folder.to_owned()];
        while let Some(inner) = folders.pop() {
            for entry in fs::read_dir(inner)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                left = fs::metadata(&path)
                    .ok()
                    .and_then(|file| left.checked_sub(file.len()))
                    .filter(|_| page.0.len() < MAX_FILES)
                    .ok_or_else(|| io::Error::other("the folder is too large"))?;
                page.0.insert(request_path(folder, &path), File::read(&path)?);
            }
        }
        if !page.0.contains_key("/index.html") {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the folder holds no index.html"));
        }
        Ok(page)
    }

    /// Whether there is a page at all.
    pub(crate) fn is_built(&self) -> bool {
        !self.0.is_empty()
    }

    /// The answer to a GET of `path`, if there is such a file.
    pub(crate) fn file(&self, path: &str) -> Option<Response> {
        let name = if path == "/" { "/index.html" } else { path };
        if let Some(file) = self.0.get(name) {
            return Some(file.response());
        }
        (path == "/").then(|| (StatusCode::SERVICE_UNAVAILABLE, NOT_BUILT).into_response())
    }
}

impl File {
    fn read(path: &Path) -> io::Result<File> {
        let content_type = match path.extension().and_then(|extension| extension.to_str()) {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("png") => "image/png",
            Some("ico") => "image/x-icon",
            Some("json" | "map") => "application/json",
            Some("woff2") => "font/woff2",
            Some("txt") => "text/plain; charset=utf-8",
            _ => "application/octet-stream",
        };
        // The build puts a hash of the content into the names of its assets.
        let hashed = path.components().any(|part| part.as_os_str() == "assets");
        let cache_control = if hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
        Ok(File { content_type, cache_control, bytes: fs::read(path)?.into() })
    }

    fn response(&self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.content_type),
            (header::CACHE_CONTROL, self.cache_control),
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (headers, self.bytes.clone()).into_response()
    }
}

fn request_path(folder: &Path, file: &Path) -> String {
    let relative: PathBuf = file.strip_prefix(folder).unwrap_or(file).into();
    relative.iter().fold(String::new(), |path, part| path + "/" + &part.to_string_lossy())
}

/// The page loads its own files and talks to its own server, nothing else: what crawled data smuggles in stays text.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const NOT_BUILT: &str = "The dashboard is not built. Run `make dashboard` and start again in the project's folder, \
    or name the folder of a built one with --dashboard.\n";

const MAX_FILES: usize = 1000;
const MAX_BYTES: u64 = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that is gone when the test ends.
    struct TemporaryFolder(PathBuf);

    impl TemporaryFolder {
        fn new(name: &str) -> TemporaryFolder {
            let path = std::env::temp_dir().join(format!("job-monitor-{}-{name}", std::process::id()));
            fs::create_dir_all(path.join("assets")).unwrap();
            TemporaryFolder(path)
        }
    }

    impl Drop for TemporaryFolder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_are_served_with_their_type_and_nothing_else_is() {
        let folder = TemporaryFolder::new("page");
        fs::write(folder.0.join("index.html"), "<p>").unwrap();
        fs::write(folder.0.join("assets/a-1.js"), "1").unwrap();
        let page = Page::read(&folder.0).unwrap();
        let check = |path: &str, content_type: &str, cache: &str| {
            let response = page.file(path).unwrap();
            assert_eq!(response.headers()[header::CONTENT_TYPE], content_type);
            assert_eq!(response.headers()[header::CACHE_CONTROL], cache);
        };
        check("/", "text/html; charset=utf-8", "no-cache");
        check("/index.html", "text/html; charset=utf-8", "no-cache");
        check("/assets/a-1.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable");
        for path in ["/assets", "/../Cargo.toml", "/assets/../index.html", "//index.html", ""] {
            assert!(page.file(path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_folder_without_a_page_is_refused() {
        let folder = TemporaryFolder::new("empty");
        assert_eq!(Page::read(&folder.0).unwrap_err().to_string(), "the folder holds no index.html");
        assert!(Page::read(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn without_a_page_the_root_says_what_to_do() {
        let page = Page::default();
        assert!(!page.is_built());
        assert_eq!(page.file("/").unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(page.file("/index.html").is_none());
    }
}
