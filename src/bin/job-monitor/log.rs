//! What is logged, and what never is.

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;

/// Reads the setting `log`: a level, or filters such as `info,ferrio=debug`.
///
/// A word alone that is no level would be taken for the name of a module, and nothing but that would be logged; most
/// likely it is a misspelt level.
pub(crate) fn filter(text: &str) -> Option<EnvFilter> {
    let is_word = |part: &str| !part.contains(['=', '[', ']', '{', '}', '"', '/']);
    let mut words = text.split(',').filter(|part| is_word(part));
    if !words.all(|word| !word.is_empty() && word.parse::<LevelFilter>().is_ok()) {
        return None;
    }
    EnvFilter::try_new(text).ok()
}

/// Writes to `writer` what `filter` lets through, but never what passes through WebSockets: tokens are among it.
pub(crate) fn subscriber<W>(filter: EnvFilter, with_colours: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(|metadata| !metadata.target().starts_with("tungstenite")))
        .with(fmt::layer().with_ansi(with_colours).with_writer(writer))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_level_or_filters_are_accepted_and_no_bare_name() {
        for text in [
            "info",
            "OFF",
            "info,ferrio=debug",
            "warn,job_monitor=trace",
            "ferrio[span{a=1}]=debug,info",
            "ferrio=debug",
        ] {
            assert!(filter(text).is_some(), "{text}");
        }
        for text in ["", "bogus", "inof,ferrio=debug", "info,ferrio", "info,", "ferrio=loud"] {
            assert!(filter(text).is_none(), "{text}");
        }
    }

    #[test]
    fn frames_are_never_logged() {
        for text in ["trace", "tungstenite=trace", "trace,tungstenite::protocol=trace"] {
            let written = Written::default();
            let writer = written.clone();
            let logging = subscriber(filter(text).unwrap(), false, move || writer.clone());
            tracing::subscriber::with_default(logging, || {
                tracing::trace!(target: "tungstenite::protocol::frame", "a token");
                tracing::error!(target: "tungstenite::handshake", "a token");
                tracing::error!(target: "tungstenite", "a token");
                tracing::error!("shown");
            });
            let written = written.text();
            assert!(!written.contains("a token"), "{text}: {written}");
            assert_eq!(written.contains("shown"), text.starts_with("trace"), "{text}");
        }
    }
}
