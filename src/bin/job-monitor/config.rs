//! Settings: one table drives the flags, the environment and the file, so that their names cannot drift apart.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::auth::{Scope, Secret};
use crate::jobs::{JobId, Limits};
use crate::log;

/// What the program was asked to do, and with which settings.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) settings: Settings,
    pub(crate) action: Action,
}

#[derive(Debug)]
pub(crate) enum Action {
    /// Serves until a signal ends it.
    Serve,
    /// Prints one token and ends.
    Token { subject: String, jobs: Scope, publish: Scope },
}

/// Settings, parsed: no text of them travels further.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: String,
    pub(crate) jwt_secret: Option<Secret>,
    pub(crate) token_lifetime: Duration,
    pub(crate) dashboard: Dashboard,
    pub(crate) max_event_bytes: usize,
    pub(crate) limits: Limits,
    pub(crate) log: String,
}

/// The folder with the built page, and whether somebody asked for it by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dashboard {
    pub(crate) folder: PathBuf,
    pub(crate) is_default: bool,
}

/// Why there are no settings.
#[derive(Debug)]
pub(crate) enum ConfigError {
    /// The command line itself: what clap says, `--help` and `--version` included.
    CommandLine(clap::Error),
    /// The file of `--config` cannot be read or is no TOML.
    File { path: String, problem: String },
    /// A variable holds what is no text.
    NoText { variable: String },
    /// The file holds a key that is no setting.
    UnknownKey { path: String, key: String },
    /// A variable is named like a setting, and there is no such setting.
    UnknownVariable { variable: String },
    /// Only its use showed a value to be wrong: an address that is taken, a folder without a page.
    Unusable { setting: &'static str, value: String, problem: String },
    /// A setting has a value that is not accepted.
    Value { setting: String, value: String, source: Source, accepted: String },
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Default,
    Environment(&'static str),
    File(String),
    Flag,
}

impl Invocation {
    /// Reads the command line (`arguments`, program name first), the environment and the file that one of them
    /// names. A flag wins over the environment, that over the file, that over the default.
    pub(crate) fn load(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Invocation, ConfigError> {
        let matches = command().try_get_matches_from(arguments).map_err(ConfigError::CommandLine)?;
        // A global flag given before the subcommand is known on both levels; the inner one has them all.
        let flags = matches.subcommand().map_or(&matches, |(_, inner)| inner);
        let values = Values::gather(flags, &variables(environment)?)?;
        let action = match matches.subcommand() {
            Some(("token", inner)) => token_action(inner)?,
            _ => Action::Serve,
        };
        Ok(Invocation { settings: Settings::parse(&values)?, action })
    }
}

impl Settings {
    fn parse(values: &Values) -> Result<Settings, ConfigError> {
        Ok(Settings {
            listen: values.required("listen", is_address)?,
            jwt_secret: values.optional("jwt-secret", |text| Secret::new(text.as_bytes()))?,
            token_lifetime: values.required("token-lifetime", duration)?,
            dashboard: Dashboard {
                is_default: values.source("dashboard") == Source::Default,
                folder: values.required("dashboard", |text| (!text.is_empty()).then(|| text.into()))?,
            },
            max_event_bytes: values.required("max-event-bytes", |text| whole(text, 256, 1 << 20))?,
            limits: Limits {
                jobs: values.required("jobs-kept", |text| whole(text, 1, 10_000))?,
                events: values.required("events-kept", |text| whole(text, 0, 10_000))?,
                event_bytes: values.required("event-bytes-kept", |text| whole(text, 0, 16 << 20))?,
            },
            log: values.required("log", |text| log::filter(text).map(|_| text.to_owned()))?,
        })
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::CommandLine(error) => write!(f, "{error}"),
            ConfigError::File { path, problem } => write!(f, "config file {path}: {problem}"),
            ConfigError::NoText { variable } => {
                write!(f, "environment variable {variable}: its value is not shown; accepted: UTF-8 text")
            }
            ConfigError::UnknownKey { path, key } => {
                let names: Vec<&str> = in_file().map(|setting| setting.name).collect();
                write!(f, "config file {path}: unknown setting {key}; accepted: {}", names.join(", "))
            }
            ConfigError::UnknownVariable { variable } => {
                let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.variable).collect();
                write!(
                    f,
                    "environment variable {variable}: there is no such setting; accepted: {}",
                    names.join(", ")
                )
            }
            ConfigError::Unusable { setting: name, value, problem } => {
                write!(f, "setting {name} is {value:?}: {problem}; accepted: {}", setting(name).accepted)
            }
            ConfigError::Value { setting, value, source, accepted } => {
                write!(f, "setting {setting} is {value} ({source}); accepted: {accepted}")
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => write!(f, "the default"),
            Source::Environment(name) => write!(f, "from the environment variable {name}"),
            Source::File(path) => write!(f, "from the file {path}"),
            Source::Flag => write!(f, "from the command line"),
        }
    }
}

/// One setting as it is named everywhere: `--name`, its variable, `name` in the file.
struct Setting {
    name: &'static str,
    variable: &'static str,
    value: &'static str,
    default: Option<&'static str>,
    help: &'static str,
    accepted: &'static str,
    secret: bool,
}

const SETTINGS: [Setting; 10] = [
    Setting {
        name: "config",
        variable: "JOB_MONITOR_CONFIG",
        value: "FILE",
        default: None,
        help: "A TOML file with settings, keys named as the flags",
        accepted: "the path of a readable TOML file",
        secret: false,
    },
    Setting {
        name: "listen",
        variable: "JOB_MONITOR_LISTEN",
        value: "HOST:PORT",
        default: Some("127.0.0.1:4000"),
        help: "Where to listen; port 0 takes a free one",
        accepted: "a host and a port that is free, such as 127.0.0.1:4000 or [::]:4000",
        secret: false,
    },
    Setting {
        name: "jwt-secret",
        variable: "JOB_MONITOR_JWT_SECRET",
        value: "SECRET",
        default: None,
        help: "The secret that signs tokens; without one, one is made and tokens are printed (others can read \
               command lines: prefer the variable or the file)",
        accepted: "at least 32 bytes",
        secret: true,
    },
    Setting {
        name: "token-lifetime",
        variable: "JOB_MONITOR_TOKEN_LIFETIME",
        value: "DURATION",
        default: Some("24h"),
        help: "How long printed tokens are valid",
        accepted: "a whole number and s, m, h or d, such as 90s or 24h, at most 3650d",
        secret: false,
    },
    Setting {
        name: "dashboard",
        variable: "JOB_MONITOR_DASHBOARD",
        value: "FOLDER",
        default: Some("dashboard/dist"),
        help: "The folder with the built web page",
        accepted: "a folder that holds an index.html, with at most 1000 files of 32 MiB together",
        secret: false,
    },
    Setting {
        name: "max-event-bytes",
        variable: "JOB_MONITOR_MAX_EVENT_BYTES",
        value: "BYTES",
        default: Some("65536"),
        help: "The largest event that may be posted",
        accepted: "a whole number from 256 to 1048576",
        secret: false,
    },
    Setting {
        name: "jobs-kept",
        variable: "JOB_MONITOR_JOBS_KEPT",
        value: "NUMBER",
        default: Some("500"),
        help: "How many jobs are remembered; beyond it the one longest silent is forgotten, finished ones first",
        accepted: "a whole number from 1 to 10000",
        secret: false,
    },
    Setting {
        name: "events-kept",
        variable: "JOB_MONITOR_EVENTS_KEPT",
        value: "NUMBER",
        default: Some("100"),
        help: "How many of its latest events each job keeps for those who subscribe later",
        accepted: "a whole number from 0 to 10000",
        secret: false,
    },
    Setting {
        name: "event-bytes-kept",
        variable: "JOB_MONITOR_EVENT_BYTES_KEPT",
        value: "BYTES",
        default: Some("131072"),
        help: "How many bytes these events may hold together",
        accepted: "a whole number from 0 to 16777216",
        secret: false,
    },
    Setting {
        name: "log",
        variable: "JOB_MONITOR_LOG",
        value: "FILTER",
        default: Some("info"),
        help: "What is logged to standard error",
        accepted: "a level (off, error, warn, info, debug, trace) or filters such as info,ferrio=debug",
        secret: false,
    },
];

/// The settings a file may hold: all but the file's own name.
fn in_file() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| setting.name != "config")
}

fn setting(name: &str) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.name == name).expect("a name of the table: a test reads them all")
}

/// The variables that are settings.
fn variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<&'static str, String>, ConfigError> {
    let mut variables = BTreeMap::new();
    for (name, value) in environment {
        // Of a name that is no text what matters here is only its beginning.
        let name = name.to_string_lossy();
        if !name.starts_with(VARIABLE_PREFIX) || is_of_kubernetes(&name, &value) {
            continue;
        }
        let variable = name.into_owned();
        let Some(setting) = SETTINGS.iter().find(|setting| setting.variable == variable) else {
            return Err(ConfigError::UnknownVariable { variable });
        };
        let value = value.into_string().map_err(|_| ConfigError::NoText { variable })?;
        variables.insert(setting.variable, value);
    }
    Ok(variables)
}

/// Kubernetes tells every container of a service `job-monitor` by variables that begin like ours.
fn is_of_kubernetes(name: &str, value: &OsStr) -> bool {
    name.starts_with("JOB_MONITOR_SERVICE_")
        || name.starts_with("JOB_MONITOR_PORT_")
        || (name == "JOB_MONITOR_PORT" && value.to_string_lossy().contains("://"))
}

const VARIABLE_PREFIX: &str = "JOB_MONITOR_";

/// The texts of all settings with their sources, before they are parsed.
struct Values(BTreeMap<&'static str, (String, Source)>);

impl Values {
    fn gather(
        flags: &ArgMatches,
        environment: &BTreeMap<&'static str, String>,
    ) -> Result<Values, ConfigError> {
        let mut values = Values(BTreeMap::new());
        for setting in &SETTINGS {
            if let Some(default) = setting.default {
                values.0.insert(setting.name, (default.to_owned(), Source::Default));
            }
        }
        let given = |setting: &'static Setting| {
            let flag = flags.get_one::<String>(setting.name).cloned();
            let from_flag = flags.value_source(setting.name) == Some(ValueSource::CommandLine);
            match (flag, environment.get(setting.variable).cloned()) {
                (Some(text), _) if from_flag => Some((text, Source::Flag)),
                (_, Some(text)) => Some((text, Source::Environment(setting.variable))),
                _ => None,
            }
        };
        if let Some((path, _)) = given(&SETTINGS[0]) {
            values.read_file(&path)?;
        }
        values.0.extend(in_file().filter_map(|setting| Some((setting.name, given(setting)?))));
        Ok(values)
    }

    fn read_file(&mut self, path: &str) -> Result<(), ConfigError> {
        let failed = |problem: String| ConfigError::File { path: path.to_owned(), problem };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let table: toml::Table =
            text.parse().map_err(|error: toml::de::Error| failed(syntax_problem(&text, &error)))?;
        for (key, value) in table {
            let Some(setting) = in_file().find(|setting| setting.name == key) else {
                return Err(ConfigError::UnknownKey { path: path.to_owned(), key });
            };
            let source = Source::File(path.to_owned());
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                other => return Err(not_accepted(setting, &other.to_string(), source)),
            };
            self.0.insert(setting.name, (text, source));
        }
        Ok(())
    }

    fn source(&self, name: &str) -> Source {
        self.0.get(name).map_or(Source::Default, |(_, source)| source.clone())
    }

    fn optional<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ConfigError> {
        let Some((text, source)) = self.0.get(name) else { return Ok(None) };
        parse(text).map(Some).ok_or_else(|| not_accepted(setting(name), &format!("{text:?}"), source.clone()))
    }

    fn required<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, ConfigError> {
        Ok(self.optional(name, parse)?.expect("has a default: a test loads without any setting"))
    }
}

/// Where a file is no TOML, why, and the line, unless a secret may stand in it.
fn syntax_problem(text: &str, error: &toml::de::Error) -> String {
    let reason = error.message().lines().collect::<Vec<_>>().join(", ");
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return reason };
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let (number, column) = (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1);
    let names_secret = |line: &str| line.to_ascii_lowercase().contains("secret");
    // A text between three quotes goes on in the lines after its key.
    let is_within = |line: &str| names_secret(line) && (line.contains("\"\"\"") || line.contains("'''"));
    let shown = if names_secret(line) || before.lines().any(is_within) { "(not shown)" } else { line.trim() };
    format!("line {number}, column {column}: {reason}: {shown}")
}

fn not_accepted(setting: &Setting, value: &str, source: Source) -> ConfigError {
    let value = if setting.secret { "(not shown)".to_owned() } else { value.to_owned() };
    ConfigError::Value {
        setting: setting.name.to_owned(),
        value,
        source,
        accepted: setting.accepted.to_owned(),
    }
}

fn command() -> Command {
    let token =
        Command::new("token")
            .about("Prints a token signed with the configured secret")
            .arg(
                Arg::new("subject")
                    .long("subject")
                    .value_name("NAME")
                    .default_value("token")
                    .help("Whom it is for"),
            )
            .arg(Arg::new("jobs").long("jobs").value_name("IDS").default_value("*").help(
                "Which jobs may be watched: * or ids with commas between them, or an empty text for none",
            ))
            .arg(
                Arg::new("publish")
                    .long("publish")
                    .value_name("IDS")
                    .default_value("")
                    .help("For which jobs events may be posted: * or ids with commas between them"),
            );
    let command = Command::new("job-monitor")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Shows the progress of jobs live: they post events, browsers watch through Socket.IO")
        .subcommand(token);
    SETTINGS.iter().fold(command, |command, setting| {
        let default = setting.default.map(|text| format!(" [default: {text}]")).unwrap_or_default();
        let help = format!("{}{default} [env: {}]", setting.help, setting.variable);
        command.arg(
            Arg::new(setting.name)
                .long(setting.name)
                .value_name(setting.value)
                .action(ArgAction::Set)
                .global(true)
                .allow_negative_numbers(true) // refused by the setting, with what it accepts
                .help(help),
        )
    })
}

fn token_action(flags: &ArgMatches) -> Result<Action, ConfigError> {
    let scope = |name: &str| {
        let text = flags.get_one::<String>(name).map_or("", String::as_str);
        parse_scope(text).ok_or_else(|| ConfigError::Value {
            setting: name.to_owned(),
            value: format!("{text:?}"),
            source: Source::Flag,
            accepted: format!("* or job ids with commas between them; an id is {}", JobId::ACCEPTED),
        })
    };
    let subject = flags.get_one::<String>("subject").cloned().unwrap_or_default();
    Ok(Action::Token { subject, jobs: scope("jobs")?, publish: scope("publish")? })
}

fn parse_scope(text: &str) -> Option<Scope> {
    if text == "*" {
        return Some(Scope::All);
    }
    let ids = text.split(',').map(str::trim).filter(|id| !id.is_empty());
    ids.map(|id| JobId::parse(id).ok()).collect::<Option<_>>().map(Scope::Only)
}

fn is_address(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| text.to_owned())
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = whole(digits, 1, MAX_LIFETIME_SECONDS as usize)? as u64 * unit;
    (seconds <= MAX_LIFETIME_SECONDS).then(|| Duration::from_secs(seconds))
}

const MAX_LIFETIME_SECONDS: u64 = 3650 * 86_400; // ten years: far enough, and no sum with it overflows

fn whole(text: &str, from: usize, to: usize) -> Option<usize> {
    text.parse().ok().filter(|number| (from..=to).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Invocation, ConfigError> {
        let arguments = ["job-monitor"].iter().chain(arguments).map(OsString::from);
        Invocation::load(arguments, environment.iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn message(arguments: &[&str], environment: &[(&str, &str)]) -> String {
        load(arguments, environment).unwrap_err().to_string()
    }

    /// A file that is gone when the test ends.
    struct TemporaryFile(PathBuf);

    impl TemporaryFile {
        fn new(name: &str, text: &str) -> TemporaryFile {
            let path = std::env::temp_dir().join(format!("job-monitor-{}-{name}.toml", std::process::id()));
            std::fs::write(&path, text).unwrap();
            TemporaryFile(path)
        }

        fn path(&self) -> &str {
            self.0.to_str().unwrap()
        }
    }

    impl Drop for TemporaryFile {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn without_any_setting_the_defaults_hold() {
        let settings = load(&[], &[]).unwrap().settings;
        assert_eq!(settings.listen, "127.0.0.1:4000");
        assert!(settings.jwt_secret.is_none());
        assert_eq!(settings.token_lifetime, Duration::from_secs(86_400));
        assert!(settings.dashboard.is_default);
        assert_eq!(settings.max_event_bytes, 65_536);
        assert_eq!(settings.limits, Limits { jobs: 500, events: 100, event_bytes: 131_072 });
        assert_eq!(settings.log, "info");
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let file =
            TemporaryFile::new("precedence", "jobs-kept = 1\nevents-kept = '1'\nevent-bytes-kept = 1\n");
        let config = ["--config", file.path(), "--jobs-kept", "3"];
        let environment = [("JOB_MONITOR_JOBS_KEPT", "2"), ("JOB_MONITOR_EVENTS_KEPT", "2")];
        let limits = load(&config, &environment).unwrap().settings.limits;
        assert_eq!(limits, Limits { jobs: 3, events: 2, event_bytes: 1 });
    }

    #[test]
    fn the_file_may_be_named_by_the_environment() {
        let file = TemporaryFile::new("named", "listen = '127.0.0.1:1'\n");
        let settings = load(&[], &[("JOB_MONITOR_CONFIG", file.path())]).unwrap().settings;
        assert_eq!(settings.listen, "127.0.0.1:1");
    }

    #[test]
    fn every_name_is_the_same_as_flag_and_variable() {
        for setting in &SETTINGS {
            let variable = format!("JOB_MONITOR_{}", setting.name.to_uppercase().replace('-', "_"));
            assert_eq!(setting.variable, variable);
        }
    }

    #[test]
    fn a_bad_value_is_named_with_its_source_and_what_is_accepted() {
        assert_eq!(
            message(&["--listen", "nowhere"], &[]),
            "setting listen is \"nowhere\" (from the command line); accepted: a host and a port that is free, such \
             as 127.0.0.1:4000 or [::]:4000"
        );
        assert_eq!(
            message(&[], &[("JOB_MONITOR_JOBS_KEPT", "0")]),
            "setting jobs-kept is \"0\" (from the environment variable JOB_MONITOR_JOBS_KEPT); accepted: a whole \
             number from 1 to 10000"
        );
        let file = TemporaryFile::new("value", "events-kept = true\n");
        assert_eq!(
            message(&["--config", file.path()], &[]),
            format!(
                "setting events-kept is true (from the file {}); accepted: a whole number from 0 to 10000",
                file.path()
            )
        );
        for (name, value) in [
            ("token-lifetime", "24"),
            ("token-lifetime", "0s"),
            ("token-lifetime", "3651d"),
            ("max-event-bytes", "-1"),
            ("max-event-bytes", "99999999999999999999"),
            ("event-bytes-kept", "1e3"),
            ("jobs-kept", "10001"),
            ("max-event-bytes", "1048577"),
            ("event-bytes-kept", "16777217"),
            ("log", "info,ferrio=loud"),
            ("log", "bogus"),
            ("dashboard", ""),
            ("listen", ":4000"),
            ("listen", "localhost:65536"),
        ] {
            let text = message(&[&format!("--{name}"), value], &[]);
            assert!(text.starts_with(&format!("setting {name} is {value:?} (")), "{text}");
            assert!(text.contains("; accepted: "), "{text}");
        }
    }

    #[test]
    fn a_bad_secret_is_not_shown() {
        let text = message(&[], &[("JOB_MONITOR_JWT_SECRET", "hunter2")]);
        assert_eq!(
            text,
            "setting jwt-secret is (not shown) (from the environment variable JOB_MONITOR_JWT_SECRET); accepted: at \
             least 32 bytes"
        );
        let settings = load(&[], &[("JOB_MONITOR_JWT_SECRET", &"s".repeat(32))]).unwrap().settings;
        assert!(!format!("{settings:?}").contains("ssss"));
    }

    #[test]
    fn an_unknown_key_in_the_file_stops_the_start() {
        let file = TemporaryFile::new("unknown", "jobs_kept = 3\n");
        let text = message(&["--config", file.path()], &[]);
        assert!(text.contains("unknown setting jobs_kept; accepted: listen, jwt-secret, "), "{text}");
        assert!(message(&["--config", "/nowhere.toml"], &[]).starts_with("config file /nowhere.toml: "));
    }

    #[test]
    fn a_file_that_is_no_toml_is_refused_with_the_place() {
        let refused = |name: &str, text: &str| {
            let file = TemporaryFile::new(name, text);
            let text = message(&["--config", file.path()], &[]);
            text.strip_prefix(&format!("config file {}: ", file.path())).unwrap().to_owned()
        };
        let text = refused("syntax", "jobs-kept = 3\n  listen 127.0.0.1:1\n");
        assert!(text.starts_with("line 2, column 10: "), "{text}");
        assert!(text.ends_with(": listen 127.0.0.1:1"), "{text}");
        let text = refused("twice", "jobs-kept = 3\njobs-kept = 4\n");
        assert!(text.starts_with("line 2, column 1: ") && text.ends_with(": jobs-kept = 4"), "{text}");
        for hidden in ["jwt-secret = \"hunter2\n", "jwt-secret = \"\"\"\nhunter2\\q\n", "jwt_secret hunter2"]
        {
            let text = refused("secret", hidden);
            assert!(text.starts_with("line ") && text.ends_with("(not shown)"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn an_unknown_variable_stops_the_start() {
        let text = message(&[], &[("JOB_MONITOR_JOB_KEPT", "3")]);
        assert!(
            text.starts_with(
                "environment variable JOB_MONITOR_JOB_KEPT: there is no such setting; accepted: JOB_MONITOR_CONFIG, "
            ),
            "{text}"
        );
        assert!(message(&[], &[("JOB_MONITOR_PORT", "8080")]).contains("JOB_MONITOR_PORT: "));
        let foreign = [
            ("OTHER", "x"),
            ("JOB_MONITOR_PORT", "tcp://10.0.0.1:80"),
            ("JOB_MONITOR_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("JOB_MONITOR_SERVICE_HOST", "10.0.0.1"),
        ];
        assert!(load(&[], &foreign).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_no_text_stops_the_start() {
        use std::os::unix::ffi::OsStringExt as _;

        let environment = |name: &str| [(name.into(), OsString::from_vec(vec![b'x', 0xff, b'y']))];
        let load = |name: &str| Invocation::load([OsString::from("job-monitor")], environment(name));
        assert_eq!(
            load("JOB_MONITOR_JWT_SECRET").unwrap_err().to_string(),
            "environment variable JOB_MONITOR_JWT_SECRET: its value is not shown; accepted: UTF-8 text"
        );
        assert!(load("OTHER").is_ok());
    }

    #[test]
    fn a_token_is_asked_for_with_its_scopes() {
        let Action::Token { subject, jobs, publish } =
            load(&["token", "--publish", "a, b", "--jobs", "", "--jobs-kept", "7"], &[]).unwrap().action
        else {
            panic!("no token was asked for")
        };
        assert_eq!(subject, "token");
        assert_eq!(jobs, Scope::none());
        assert!(publish.allows(&JobId::parse("b").unwrap()));
        assert!(message(&["token", "--publish", "a b"], &[]).starts_with("setting publish is \"a b\""));
    }
}
