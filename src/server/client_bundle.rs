//! ClientBundle: the client for browsers, served as Node's `serveClient` serves it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
};
use http::{Response, StatusCode};

use super::ConfigError;
use crate::engine::{Encoding, ResponseBody, choose, compress};

/// The files of npm's `client-dist` that were found in a directory.
#[derive(Debug)]
pub(crate) struct ClientBundle {
    /// The server's path, without a slash at its end.
    path: String,
    files: Vec<Arc<ClientFile>>,
}

/// The names that Node serves; whatever else is in the directory is not.
const NAMES: [&str; 8] = [
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
];

impl ClientBundle {
    /// Reads the files, for a server at this path.
    ///
    /// # Errors
    /// A file that cannot be read, or a directory that has none of them.
    pub(crate) fn read(directory: &Path, path: &str) -> Result<ClientBundle, ConfigError> {
        let mut found = Vec::new();
        for name in NAMES {
            let file = directory.join(name);
            match fs::read(&file) {
                Ok(bytes) => found.push((name, Bytes::from(bytes))),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(refuse(format!("{} ({error})", file.display()))),
            }
        }
        if found.is_empty() {
            return Err(refuse(format!("{} (no such file)", directory.join(NAMES[0]).display())));
        }
        let version = found.iter().find_map(|(_, bytes)| version(bytes));
        let etag = version.and_then(|version| HeaderValue::try_from(format!("\"{version}\"")).ok());
        let Some(etag) = etag else {
            return Err(refuse(format!("{} (no file says its version)", directory.display())));
        };
        let file = |(name, bytes)| Arc::new(ClientFile::new(name, etag.clone(), bytes));
        Ok(ClientBundle {
            path: path.strip_suffix('/').unwrap_or(path).to_owned(),
            files: found.into_iter().map(file).collect(),
        })
    }

    /// Gives the file at the path of a request. As on Node, any one character may stand where the slash does.
    pub(crate) fn find(&self, path: &str) -> Option<Arc<ClientFile>> {
        let name = path.strip_prefix(&self.path)?.get(1..)?;
        self.files.iter().find(|file| file.name == name).cloned()
    }
}

fn refuse(value: String) -> ConfigError {
    let accepted = "a directory with the files of npm's socket.io/client-dist";
    ConfigError { option: "serve_client", value, accepted }
}

/// The version in the comment with which a script begins: ` * Socket.IO v4.8.4`.
fn version(script: &[u8]) -> Option<&str> {
    let comment = &script[..script.len().min(BANNER_LENGTH)];
    let start = memchr::memmem::find(comment, BANNER)? + BANNER.len();
    let is_version = |byte: &u8| byte.is_ascii_alphanumeric() || b".-+".contains(byte);
    let length = comment[start..].iter().take_while(|byte| is_version(byte)).count();
    str::from_utf8(&comment[start..start + length]).ok().filter(|version| !version.is_empty())
}

const BANNER: &[u8] = b"Socket.IO v";
const BANNER_LENGTH: usize = 200;

/// One file, and its compressed forms as soon as somebody has asked for them.
#[derive(Debug)]
pub(crate) struct ClientFile {
    name: &'static str,
    etag: HeaderValue,
    bytes: Bytes,
    brotli: OnceLock<Bytes>,
    gzip: OnceLock<Bytes>,
    deflate: OnceLock<Bytes>,
}

impl ClientFile {
    fn new(name: &'static str, etag: HeaderValue, bytes: Bytes) -> ClientFile {
        let [brotli, gzip, deflate] = [const { OnceLock::new() }; 3];
        ClientFile { name, etag, bytes, brotli, gzip, deflate }
    }

    /// Answers a request with these headers.
    pub(crate) async fn answer(self: Arc<Self>, request: &HeaderMap) -> Response<ResponseBody> {
        if self.is_known(request) {
            let mut response = Response::new(ResponseBody::default());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        let encoding = choose(request, &[Encoding::Brotli, Encoding::Gzip, Encoding::Deflate]);
        let bytes = match encoding {
            None => self.bytes.clone(),
            Some(encoding) => Arc::clone(&self).compressed(encoding).await,
        };
        let content_type = if self.name.ends_with(".map") {
            "application/json; charset=utf-8"
        } else {
            "application/javascript; charset=utf-8"
        };
        let mut response = Response::new(ResponseBody::chunked(bytes));
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=0"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(ETAG, self.etag.clone());
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, encoding.header_value());
        }
        response
    }

    /// Whether the client says that it has this version. As on Node it has to say just that, `"4.8.4"` or
    /// `W/"4.8.4"`: `*` and lists are not understood.
    fn is_known(&self, request: &HeaderMap) -> bool {
        let mut tags = request.get_all(IF_NONE_MATCH).iter().map(HeaderValue::as_bytes);
        let (Some(tag), None) = (tags.next(), tags.next()) else { return false };
        tag.strip_prefix(b"W/").unwrap_or(tag) == self.etag.as_bytes()
    }

    async fn compressed(self: Arc<Self>, encoding: Encoding) -> Bytes {
        if let Some(bytes) = self.cell(encoding).get() {
            return bytes.clone();
        }
        // It takes some ten milliseconds; whoever comes meanwhile waits for the same result.
        let compressed = tokio::task::spawn_blocking(move || {
            self.cell(encoding).get_or_init(|| compress(&self.bytes, encoding, LEVEL).into()).clone()
        });
        compressed.await.expect("compression does not panic, and is not aborted")
    }

    fn cell(&self, encoding: Encoding) -> &OnceLock<Bytes> {
        match encoding {
            Encoding::Brotli => &self.brotli,
            Encoding::Gzip => &self.gzip,
            Encoding::Deflate => &self.deflate,
        }
    }
}

/// The best that zlib has, as each file is compressed once. For Brotli it is the last step before those that take ten
/// times as long for a tenth less.
const LEVEL: u32 = 9;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::Request;
    use http_body_util::{BodyExt, Empty};
    use tower::ServiceExt;

    use super::*;
    use crate::engine::Cors;
    use crate::{Server, ServerBuilder};

    const SCRIPT: &str = "/*!\n * Socket.IO v4.8.4\n * (c) 2014-2026\n */\nlet client;";

    /// A directory of its own, removed at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn with(files: &[(&str, &str)]) -> Directory {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("ferrio-client-{}-{number}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            for (name, text) in files {
                fs::write(path.join(name), text).unwrap();
            }
            Directory(path)
        }

        fn server(&self) -> ServerBuilder {
            Server::builder().serve_client(&self.0)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn client() -> Directory {
        let map = r#"{"version":3}"#;
        Directory::with(&[("socket.io.js", SCRIPT), ("socket.io.js.map", map), ("secret.txt", "secret")])
    }

    async fn get(io: &Server, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Bytes) {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let (head, body) = io.service().oneshot(request).await.unwrap().into_parts();
        (head.status, head.headers, body.collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn the_files_that_are_there_are_served_with_their_types() {
        let io = client().server().build().unwrap();
        for (path, content_type) in [
            ("/socket.io/socket.io.js", "application/javascript; charset=utf-8"),
            ("/socket.io/socket.io.js?x=1", "application/javascript; charset=utf-8"),
            ("/socket.ioXsocket.io.js", "application/javascript; charset=utf-8"),
            ("/socket.io/socket.io.js.map", "application/json; charset=utf-8"),
        ] {
            let (status, headers, body) = get(&io, path, &[]).await;
            assert_eq!((status, body.is_empty()), (StatusCode::OK, false), "{path}");
            let expected: [(_, HeaderValue); 3] = [
                (CACHE_CONTROL, HeaderValue::from_static("public, max-age=0")),
                (CONTENT_TYPE, HeaderValue::from_static(content_type)),
                (ETAG, HeaderValue::from_static("\"4.8.4\"")),
            ];
            assert_eq!(headers, HeaderMap::from_iter(expected), "{path}");
        }
        for path in ["/socket.io/secret.txt", "/socket.io/socket.io.min.js", "/socket.io//socket.io.js"] {
            assert_eq!(get(&io, path, &[]).await.0, StatusCode::BAD_REQUEST, "{path}");
        }
        for path in ["/socket.iosocket.io.js", "/socket.io.js", "/socket.io\u{e9}", "/"] {
            assert!(io.client_bundle().unwrap().find(path).is_none(), "{path}");
        }
    }

    #[tokio::test]
    async fn nothing_is_served_unless_it_is_asked_for() {
        let io = Server::new();
        assert_eq!(get(&io, "/socket.io/socket.io.js", &[]).await.0, StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn the_client_is_served_in_front_of_another_service() {
        let io = client().server().build().unwrap();
        let app: axum::Router = axum::Router::new().fallback(async || "another").layer(io.layer());
        for (path, expected) in [("/socket.io/socket.io.js", SCRIPT), ("/socket.io.js", "another")] {
            let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
            let body = app.clone().oneshot(request).await.unwrap().into_body();
            assert_eq!(body.collect().await.unwrap().to_bytes(), expected);
        }
    }

    #[tokio::test]
    async fn who_has_the_version_is_told_so() {
        let io = client().server().cors(Cors::default()).build().unwrap();
        for tag in ["\"4.8.4\"", "W/\"4.8.4\""] {
            let (status, headers, body) =
                get(&io, "/socket.io/socket.io.js", &[("if-none-match", tag), ("origin", "http://a.com")])
                    .await;
            assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));
            assert_eq!(headers.len(), 1);
            assert_eq!(headers["access-control-allow-origin"], "*");
        }
        let two: &[_] = &[("if-none-match", "\"4.8.4\""), ("if-none-match", "\"4.8.4\"")];
        for tags in [
            &[("if-none-match", "*")],
            &[("if-none-match", "4.8.4")],
            &[("if-none-match", "w/\"4.8.4\"")],
            two,
        ] {
            assert_eq!(get(&io, "/socket.io/socket.io.js", tags).await.0, StatusCode::OK, "{tags:?}");
        }
    }

    #[tokio::test]
    async fn a_file_is_compressed_once() {
        let io = client().server().build().unwrap();
        for (accept, encoding) in
            [("br", Encoding::Brotli), ("gzip", Encoding::Gzip), ("deflate", Encoding::Deflate)]
        {
            let path = "/socket.io/socket.io.js";
            let (_, headers, first) = get(&io, path, &[("accept-encoding", accept)]).await;
            assert_eq!(headers[CONTENT_ENCODING], accept);
            assert_eq!(first, compress(SCRIPT.as_bytes(), encoding, LEVEL));
            let (_, _, second) = get(&io, path, &[("accept-encoding", accept)]).await;
            assert_eq!(first.as_ptr(), second.as_ptr());
        }
    }

    #[test]
    fn a_directory_without_the_client_is_refused_by_name() {
        for (directory, reason) in [
            (Directory::with(&[]), "socket.io.js (no such file)"),
            (Directory::with(&[("socket.io.js", "let client;")]), "(no file says its version)"),
            (Directory::with(&[("socket.io.js", "/*!\n * Socket.IO v\n")]), "(no file says its version)"),
        ] {
            let error = directory.server().build().unwrap_err();
            assert_eq!(error.option, "serve_client");
            assert!(error.value.starts_with(directory.0.to_str().unwrap()), "{error}");
            assert!(error.value.ends_with(reason), "{error}");
        }
        let directory = Directory::with(&[]);
        fs::create_dir(directory.0.join("socket.io.min.js")).unwrap();
        let error = directory.server().build().unwrap_err();
        assert!(error.value.contains("socket.io.min.js ("), "{error}");
    }
}
