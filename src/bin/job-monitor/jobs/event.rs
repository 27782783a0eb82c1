//! One posted event: read, checked field by field, and passed on as it came.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::JobId;

/// An event as it is emitted: `{type, jobId, timestamp, data}`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobEvent {
    #[serde(rename = "type", serialize_with = "kind_name")]
    pub(crate) kind: EventKind,
    pub(crate) job_id: JobId,
    /// As it was posted: text or milliseconds.
    pub(crate) timestamp: Box<RawValue>,
    /// The same moment in milliseconds since 1970.
    #[serde(skip)]
    pub(crate) at: i64,
    /// As it was posted, but `{}` where nothing was.
    pub(crate) data: Box<RawValue>,
}

/// What happened; progress carries its figures, read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum EventKind {
    Error,
    ItemScraped,
    JobCompleted,
    JobFailed,
    JobProgress(Progress),
    JobStarted,
}

/// How far a job has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Progress {
    pub(crate) items_scraped: u64,
    pub(crate) pages_scraped: u64,
    pub(crate) current_page: u64,
    /// `None` while the job does not know it.
    pub(crate) total_pages: Option<u64>,
    /// Milliseconds since the job started.
    #[serde(serialize_with = "as_javascript")]
    pub(crate) elapsed_time: f64,
}

/// A field that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidField {
    /// Its path: `data.itemsScraped`; `body` for the whole.
    pub(crate) field: String,
    /// What is wrong with it: `is missing`, `is -1`.
    pub(crate) problem: String,
    pub(crate) accepted: String,
}

impl JobEvent {
    /// Reads the body of a POST to the path of `job_id`.
    ///
    /// # Errors
    /// The first field that is missing, unknown, or holds what is not accepted.
    pub(crate) fn parse(job_id: JobId, body: &[u8]) -> Result<JobEvent, InvalidField> {
        let mut fields = Fields::of_body(body)?;
        let kind = fields.required("type", EVENT_TYPES, |raw| {
            let name = text(raw)?;
            KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
        })?;
        fields.optional("jobId", &format!("{job_id}, as in the path, or no such field"), |raw| {
            (text(raw)? == job_id.as_str()).then_some(())
        })?;
        let timestamp =
            fields.required("timestamp", TIMESTAMP, |raw| Some((raw.to_owned(), moment(raw)?)))?;
        let data = fields.optional("data", OBJECT, |raw| raw.get().starts_with('{').then_some(raw))?;
        let data = match (kind, data) {
            (EventKind::JobProgress(_), None) => return Err(fields.missing("data", OBJECT)),
            (_, data) => data.map_or_else(empty_object, ToOwned::to_owned),
        };
        fields.nothing_more()?;
        let kind = checked(kind, &data)?;
        Ok(JobEvent { kind, job_id, timestamp: timestamp.0, at: timestamp.1, data })
    }

    /// The text of the member `name` of `data`, cut to the length of a line or two.
    pub(crate) fn hint(&self, name: &str) -> Option<String> {
        let data: BTreeMap<String, &RawValue> = serde_json::from_str(self.data.get()).ok()?;
        let mut text = text(data.get(name)?)?;
        if let Some((end, _)) = text.char_indices().nth(MAX_HINT_CHARACTERS) {
            text.truncate(end);
        }
        Some(text)
    }

    /// The figures among `data`, where there are some, laid over `before`: for events that may carry them.
    pub(crate) fn figures(&self, before: Progress) -> Progress {
        let data: BTreeMap<String, &RawValue> = serde_json::from_str(self.data.get()).unwrap_or_default();
        let figure = |name: &str| data.get(name).and_then(|raw| count(raw));
        Progress {
            items_scraped: figure("itemsScraped").unwrap_or(before.items_scraped),
            pages_scraped: figure("pagesScraped").unwrap_or(before.pages_scraped),
            current_page: figure("currentPage").unwrap_or(before.current_page),
            total_pages: figure("totalPages").or(before.total_pages),
            elapsed_time: data.get("elapsedTime").and_then(|raw| millis(raw)).unwrap_or(before.elapsed_time),
        }
    }

    /// About how many bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.data.get().len() + self.timestamp.get().len() + std::mem::size_of::<JobEvent>()
    }
}

impl EventKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            EventKind::Error => "error",
            EventKind::ItemScraped => "item_scraped",
            EventKind::JobCompleted => "job_completed",
            EventKind::JobFailed => "job_failed",
            EventKind::JobProgress(_) => "job_progress",
            EventKind::JobStarted => "job_started",
        }
    }
}

/// Checks the members of `data` that mean something in an event of this kind; further ones are passed on unread.
fn checked(kind: EventKind, data: &RawValue) -> Result<EventKind, InvalidField> {
    let mut fields = Fields::of_data(data)?;
    match kind {
        EventKind::JobProgress(_) => return Ok(EventKind::JobProgress(fields.progress()?)),
        EventKind::JobStarted => {
            fields.optional("name", TEXT, text)?;
            fields.optional_figures()?;
        }
        EventKind::JobCompleted => fields.optional_figures()?,
        EventKind::JobFailed => {
            fields.optional("message", TEXT, text)?;
            fields.optional_figures()?;
        }
        EventKind::Error => drop(fields.optional("message", TEXT, text)?),
        EventKind::ItemScraped => {
            fields.optional("name", TEXT, text)?;
            fields.optional("price", PRICE, price)?;
        }
    }
    Ok(kind)
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; accepted: {}", self.field, self.problem, self.accepted)
    }
}

/// The fields of a JSON object, taken out one after the other.
struct Fields<'a> {
    prefix: &'static str,
    left: BTreeMap<String, &'a RawValue>,
    /// The first name that is no field of an event, where no other fields are accepted.
    unknown: Option<String>,
}

impl<'a> Fields<'a> {
    fn of_body(body: &'a [u8]) -> Result<Fields<'a>, InvalidField> {
        let problem =
            |problem: &str| invalid("body", problem, "a JSON object {type, jobId, timestamp, data}");
        if body.trim_ascii().is_empty() {
            return Err(problem("is empty"));
        }
        let whole: &RawValue = serde_json::from_slice(body).map_err(|error| problem(&no_json(&error)))?;
        let mut fields = Fields::of("", whole, || problem(&format!("is {}", kind_of(whole))))?;
        fields.unknown = fields.left.keys().find(|name| !EVENT_FIELDS.contains(&name.as_str())).cloned();
        Ok(fields)
    }

    fn of_data(data: &'a RawValue) -> Result<Fields<'a>, InvalidField> {
        Fields::of("data.", data, || not_accepted("data", data, OBJECT))
    }

    fn of(
        prefix: &'static str,
        object: &'a RawValue,
        no_object: impl FnOnce() -> InvalidField,
    ) -> Result<Fields<'a>, InvalidField> {
        let Ok(Members(members)) = serde_json::from_str(object.get()) else { return Err(no_object()) };
        let mut left = BTreeMap::new();
        for (name, raw) in members {
            // Which of them would count is not agreed upon.
            if left.contains_key(&name) {
                return Err(invalid(
                    &shortened(&format!("{prefix}{name}")),
                    "is there twice",
                    "each name once",
                ));
            }
            left.insert(name, raw);
        }
        Ok(Fields { prefix, left, unknown: None })
    }

    fn required<T>(
        &mut self,
        name: &str,
        accepted: &str,
        read: impl FnOnce(&'a RawValue) -> Option<T>,
    ) -> Result<T, InvalidField> {
        let raw = self.left.remove(name).ok_or_else(|| self.missing(name, accepted))?;
        read(raw).ok_or_else(|| not_accepted(&format!("{}{name}", self.prefix), raw, accepted))
    }

    /// As [`Fields::required`], but the field may be missing or null.
    fn optional<T>(
        &mut self,
        name: &str,
        accepted: &str,
        read: impl FnOnce(&'a RawValue) -> Option<T>,
    ) -> Result<Option<T>, InvalidField> {
        if self.left.get(name).is_none_or(|raw| raw.get() == "null") {
            self.left.remove(name);
            return Ok(None);
        }
        self.required(name, accepted, read).map(Some)
    }

    fn progress(&mut self) -> Result<Progress, InvalidField> {
        Ok(Progress {
            items_scraped: self.required("itemsScraped", COUNT, count)?,
            pages_scraped: self.required("pagesScraped", COUNT, count)?,
            current_page: self.required("currentPage", COUNT, count)?,
            total_pages: self.required("totalPages", TOTAL, |raw| match raw.get() {
                "null" => Some(None),
                _ => count(raw).map(Some),
            })?,
            elapsed_time: self.required("elapsedTime", MILLIS, millis)?,
        })
    }

    /// The figures of progress where an event need not have them.
    fn optional_figures(&mut self) -> Result<(), InvalidField> {
        for name in ["itemsScraped", "pagesScraped", "currentPage", "totalPages"] {
            self.optional(name, COUNT, count)?;
        }
        self.optional("elapsedTime", MILLIS, millis).map(drop)
    }

    fn nothing_more(self) -> Result<(), InvalidField> {
        match self.unknown {
            Some(name) => Err(invalid(&shortened(&name), NO_FIELD, "type, jobId, timestamp and data")),
            None => Ok(()),
        }
    }

    /// A name that nobody knows is most likely the missing one, misspelt.
    fn missing(&self, name: &str, accepted: &str) -> InvalidField {
        let path = format!("{}{name}", self.prefix);
        match &self.unknown {
            Some(unknown) => {
                invalid(&path, &format!("is missing, and {} {NO_FIELD}", shortened(unknown)), accepted)
            }
            None => invalid(&path, "is missing", accepted),
        }
    }
}

/// The members of a JSON object in their order: a map would hide that a name is there twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'a>, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

fn invalid(field: &str, problem: &str, accepted: &str) -> InvalidField {
    InvalidField { field: field.to_owned(), problem: problem.to_owned(), accepted: accepted.to_owned() }
}

fn not_accepted(field: &str, raw: &RawValue, accepted: &str) -> InvalidField {
    invalid(field, &format!("is {}", shortened(raw.get())), accepted)
}

/// Where a body stops to be JSON, and why.
fn no_json(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let reason = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    format!("is not JSON (line {line}, column {column}: {reason})")
}

fn kind_of(raw: &RawValue) -> &'static str {
    match raw.get().bytes().next() {
        Some(b'{') => "an object with a name that is no Unicode text",
        Some(b'[') => "an array",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// A text between quotes, shortened: it is shown to whoever sent it.
pub(crate) fn shown(text: &str) -> String {
    format!("{:?}", shortened(text))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

fn count(raw: &RawValue) -> Option<u64> {
    serde_json::from_str(raw.get()).ok().filter(|number| *number <= MAX_SAFE_INTEGER)
}

fn millis(raw: &RawValue) -> Option<f64> {
    let most = MAX_SAFE_INTEGER as f64;
    serde_json::from_str(raw.get()).ok().filter(|number| (0.0..=most).contains(number))
}

fn price(raw: &RawValue) -> Option<()> {
    (serde_json::from_str::<f64>(raw.get()).is_ok() || text(raw).is_some()).then_some(())
}

fn moment(raw: &RawValue) -> Option<i64> {
    if let Some(number) = count(raw) {
        return i64::try_from(number).ok().filter(|millis| *millis <= LAST_MILLISECOND);
    }
    let moment: Timestamp = text(raw)?.parse().ok()?;
    Some(moment.as_millisecond())
}

fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).expect("is JSON")
}

fn kind_name<S: Serializer>(kind: &EventKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

/// Writes 1500, not 1500.0: as the figure is written wherever JavaScript's rules hold.
fn as_javascript<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if number.fract() == 0.0 {
        return serializer.serialize_u64(*number as u64); // at most MAX_SAFE_INTEGER
    }
    serializer.serialize_f64(*number)
}

const EVENT_FIELDS: [&str; 4] = ["type", "jobId", "timestamp", "data"];

const KINDS: [(&str, EventKind); 6] = [
    ("job_started", EventKind::JobStarted),
    ("job_progress", EventKind::JobProgress(NO_PROGRESS)),
    ("job_completed", EventKind::JobCompleted),
    ("job_failed", EventKind::JobFailed),
    ("item_scraped", EventKind::ItemScraped),
    ("error", EventKind::Error),
];

const NO_PROGRESS: Progress =
    Progress { items_scraped: 0, pages_scraped: 0, current_page: 0, total_pages: None, elapsed_time: 0.0 };

const EVENT_TYPES: &str = "job_started, job_progress, job_completed, job_failed, item_scraped or error";
const TIMESTAMP: &str = "RFC 3339 text such as 2026-01-31T12:00:00Z, or whole milliseconds since 1970";
const COUNT: &str = "a whole number from 0 to 9007199254740991";
const TOTAL: &str = "a whole number from 0 to 9007199254740991, or null while unknown";
const MILLIS: &str = "a number of milliseconds from 0 to 9007199254740991";
const OBJECT: &str = "an object";
const TEXT: &str = "a text";
const PRICE: &str = "a number or a text";
const NO_FIELD: &str = "is no field of an event";

const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1; // what a browser reads exactly
const LAST_MILLISECOND: i64 = 253_402_300_799_999; // the end of the year 9999, the last that RFC 3339 writes
const MAX_SHOWN_CHARACTERS: usize = 100;
const MAX_HINT_CHARACTERS: usize = 300;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn parse(body: &str) -> Result<JobEvent, InvalidField> {
        JobEvent::parse(JobId::parse("7").unwrap(), body.as_bytes())
    }

    fn progress(change: impl FnOnce(&mut Value)) -> String {
        let mut event = json!({
            "type": "job_progress",
            "jobId": "7",
            "timestamp": "2026-01-31T12:00:00.5Z",
            "data": { "itemsScraped": 4, "pagesScraped": 2, "currentPage": 2, "totalPages": 30, "elapsedTime": 1500 },
        });
        change(&mut event);
        event.to_string()
    }

    fn check_refused(body: &str, expected: &str) {
        assert_eq!(parse(body).unwrap_err().to_string(), expected, "{body}");
    }

    #[test]
    fn progress_is_read() {
        let event = parse(&progress(|_| {})).unwrap();
        let expected = Progress {
            items_scraped: 4,
            pages_scraped: 2,
            current_page: 2,
            total_pages: Some(30),
            elapsed_time: 1500.0,
        };
        assert_eq!(event.kind, EventKind::JobProgress(expected));
        assert_eq!(event.at, 1_769_860_800_500);
    }

    #[test]
    fn an_event_is_passed_on_as_it_came() {
        let body =
            r#"{"type":"item_scraped","jobId":"7","timestamp":1790000000000,"data":{"z":1.50,"a":"x"}}"#;
        assert_eq!(serde_json::to_string(&parse(body).unwrap()).unwrap(), body);
    }

    #[test]
    fn what_may_be_missing_is_filled_in() {
        for body in [
            r#"{"type":"job_started","timestamp":1}"#,
            r#"{"type":"job_started","timestamp":1,"jobId":null,"data":null}"#,
        ] {
            assert_eq!(
                serde_json::to_string(&parse(body).unwrap()).unwrap(),
                r#"{"type":"job_started","jobId":"7","timestamp":1,"data":{}}"#
            );
        }
    }

    #[test]
    fn every_type_is_accepted() {
        for (name, _) in KINDS {
            let event = parse(&progress(|event| event["type"] = json!(name))).unwrap();
            assert_eq!(event.kind.name(), name);
        }
    }

    #[test]
    fn a_body_that_is_no_object_is_named() {
        for body in ["", "[]", "1", "{", "{\"a\":", "\u{fffd}"] {
            assert_eq!(parse(body).unwrap_err().field, "body", "{body}");
        }
        let error = JobEvent::parse(JobId::parse("7").unwrap(), b"{\"type\":\"\xff\"}").unwrap_err();
        assert_eq!(error.field, "body");
    }

    #[test]
    fn what_is_wrong_with_a_body_is_said_in_words() {
        let accepted = "accepted: a JSON object {type, jobId, timestamp, data}";
        for (body, problem) in [
            ("", "is empty"),
            (" \n", "is empty"),
            ("[]", "is an array"),
            ("1", "is a number"),
            ("\"x\"", "is a text"),
            ("null", "is null"),
            ("false", "is a boolean"),
            (r#"{"\ud800":1}"#, "is an object with a name that is no Unicode text"),
            ("{'a':1}", "is not JSON (line 1, column 2: key must be a string)"),
            ("{\n\"a\":", "is not JSON (line 2, column 4: EOF while parsing a value)"),
        ] {
            check_refused(body, &format!("body {problem}; {accepted}"));
        }
    }

    #[test]
    fn a_name_that_is_there_twice_is_refused() {
        check_refused(
            r#"{"type":"job_started","timestamp":1,"type":"error"}"#,
            "type is there twice; accepted: each name once",
        );
        check_refused(
            r#"{"type":"job_started","timestamp":1,"data":{"x":1,"\u0078":2}}"#,
            "data.x is there twice; accepted: each name once",
        );
        // Deeper than that nothing is read here.
        assert!(parse(r#"{"type":"job_started","timestamp":1,"data":{"x":{"y":1,"y":2}}}"#).is_ok());
    }

    #[test]
    fn the_data_of_each_type_is_checked() {
        let event = |kind: &str, name: &str, value: &Value| {
            parse(&json!({ "type": kind, "timestamp": 1, "data": { name: value } }).to_string())
        };
        let figures = ["itemsScraped", "pagesScraped", "currentPage", "totalPages", "elapsedTime"];
        let counts = figures.map(|name| (name, json!(-1), json!(7)));
        let text = |name| (name, json!(5), json!("x"));
        for (kind, members) in [
            ("job_started", [vec![text("name")], counts.to_vec()].concat()),
            ("job_completed", counts.to_vec()),
            ("job_failed", [vec![text("message")], counts.to_vec()].concat()),
            ("error", vec![text("message")]),
            (
                "item_scraped",
                vec![text("name"), ("price", json!(true), json!("5 €")), ("price", json!([]), json!(5))],
            ),
        ] {
            for (name, wrong, right) in members {
                let error = event(kind, name, &wrong).unwrap_err();
                assert_eq!(error.field, format!("data.{name}"), "{kind}");
                assert!(event(kind, name, &right).is_ok(), "{kind} {name} {right}");
                assert!(event(kind, name, &json!(null)).is_ok(), "{kind} {name}");
            }
            assert!(event(kind, "other", &json!([1])).is_ok(), "{kind}");
        }
        check_refused(
            r#"{"type":"error","timestamp":1,"data":{"message":5}}"#,
            "data.message is 5; accepted: a text",
        );
    }

    #[test]
    fn a_bad_field_is_named_with_what_is_accepted() {
        check_refused(
            &progress(|event| event["type"] = json!("job_paused")),
            "type is \"job_paused\"; accepted: job_started, job_progress, job_completed, job_failed, item_scraped \
             or error",
        );
        check_refused(
            &progress(|event| event["jobId"] = json!("8")),
            "jobId is \"8\"; accepted: 7, as in the path, or no such field",
        );
        check_refused(
            &progress(|event| event["data"]["itemsScraped"] = json!(-1)),
            "data.itemsScraped is -1; accepted: a whole number from 0 to 9007199254740991",
        );
        check_refused(
            &progress(|event| drop(event["data"].as_object_mut().unwrap().remove("totalPages"))),
            "data.totalPages is missing; accepted: a whole number from 0 to 9007199254740991, or null while unknown",
        );
        check_refused(
            &progress(|event| event["dta"] = json!({})),
            "dta is no field of an event; accepted: type, jobId, timestamp and data",
        );
        check_refused(
            r#"{"type":"job_started","timestmp":1}"#,
            "timestamp is missing, and timestmp is no field of an event; accepted: RFC 3339 text such as \
             2026-01-31T12:00:00Z, or whole milliseconds since 1970",
        );
    }

    #[test]
    fn every_field_of_progress_is_checked() {
        let wrong = [json!("4"), json!(-1), json!(1.5), json!(1u64 << 53), json!([]), json!({}), json!(true)];
        for name in ["itemsScraped", "pagesScraped", "currentPage", "totalPages"] {
            for value in &wrong {
                let body = progress(|event| event["data"][name] = value.clone());
                assert_eq!(parse(&body).unwrap_err().field, format!("data.{name}"), "{body}");
            }
        }
        for value in [json!("4"), json!(-1), json!(null), json!(9_007_199_254_740_993u64)] {
            let body = progress(|event| event["data"]["elapsedTime"] = value);
            assert_eq!(parse(&body).unwrap_err().field, "data.elapsedTime", "{body}");
        }
        assert!(parse(&progress(|event| event["data"]["totalPages"] = json!(null))).is_ok());
        assert!(parse(&progress(|event| event["data"]["elapsedTime"] = json!(0.25))).is_ok());
    }

    #[test]
    fn data_is_an_object_and_of_progress_required() {
        for value in [json!([]), json!("x"), json!(1)] {
            assert_eq!(parse(&progress(|event| event["data"] = value)).unwrap_err().field, "data");
        }
        assert_eq!(parse(&progress(|event| event["data"] = json!(null))).unwrap_err().field, "data");
    }

    #[test]
    fn a_timestamp_is_text_with_an_offset_or_milliseconds() {
        for (value, at) in [
            (json!("1970-01-01T00:00:01Z"), 1000),
            (json!("1970-01-01T01:00:00.25+01:00"), 250),
            (json!(0), 0),
            (json!(LAST_MILLISECOND), LAST_MILLISECOND),
        ] {
            assert_eq!(parse(&progress(|event| event["timestamp"] = value)).unwrap().at, at);
        }
        for value in [
            json!("yesterday"),
            json!("2026-01-31T12:00:00"),
            json!(""),
            json!(-1),
            json!(1.5),
            json!(LAST_MILLISECOND + 1),
            json!(null),
            json!({}),
        ] {
            assert_eq!(parse(&progress(|event| event["timestamp"] = value)).unwrap_err().field, "timestamp");
        }
    }

    #[test]
    fn what_is_shown_of_a_bad_value_is_short() {
        let error = parse(&progress(|event| event["type"] = json!("ä".repeat(10_000)))).unwrap_err();
        assert!(error.to_string().len() < 500);
    }

    #[test]
    fn hints_are_texts_of_a_line() {
        let body = json!({ "type": "error", "timestamp": 1, "data": { "message": "no route", "url": 7, "long": "ä".repeat(400) } });
        let event = parse(&body.to_string()).unwrap();
        assert_eq!(event.hint("message").as_deref(), Some("no route"));
        assert_eq!(event.hint("long").map(|text| text.chars().count()), Some(MAX_HINT_CHARACTERS));
        assert_eq!(event.hint("url"), None);
        assert_eq!(event.hint("name"), None);
    }

    #[test]
    fn a_whole_number_is_written_without_a_fraction() {
        for (number, text) in
            [(2002.0, "2002"), (0.0, "0"), (0.25, "0.25"), (9_007_199_254_740_991.0, "9007199254740991")]
        {
            let progress = Progress { elapsed_time: number, ..NO_PROGRESS };
            let json = serde_json::to_string(&progress).unwrap();
            assert!(json.ends_with(&format!("\"elapsedTime\":{text}}}")), "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = JobEvent::parse(JobId::parse("7").unwrap(), &body);
        }
    }
}
