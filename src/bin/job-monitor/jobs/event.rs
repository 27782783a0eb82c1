//! One posted event: read, checked field by field, and passed on as it came.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
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
    pub(crate) elapsed_time: f64,
}

/// A field that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidField {
    /// Its path: `data.itemsScraped`; `body` for the whole.
    pub(crate) field: String,
    /// What it held, shortened; `None` if it was missing.
    pub(crate) found: Option<String>,
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
        let data = fields.optional("data", "an object", |raw| raw.get().starts_with('{').then_some(raw))?;
        fields.nothing_more()?;
        let kind = match (kind, data) {
            (EventKind::JobProgress(_), None) => return Err(missing("data", "an object")),
            (EventKind::JobProgress(_), Some(data)) => EventKind::JobProgress(Progress::parse(data)?),
            (kind, _) => kind,
        };
        let data = data.map_or_else(empty_object, ToOwned::to_owned);
        Ok(JobEvent { kind, job_id, timestamp: timestamp.0, at: timestamp.1, data })
    }

    /// The text of `data.name`, if it is one and not longer than a line: hints are read kindly.
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

impl Progress {
    fn parse(data: &RawValue) -> Result<Progress, InvalidField> {
        let mut fields = Fields::of_data(data)?;
        Ok(Progress {
            items_scraped: fields.required("itemsScraped", COUNT, count)?,
            pages_scraped: fields.required("pagesScraped", COUNT, count)?,
            current_page: fields.required("currentPage", COUNT, count)?,
            total_pages: fields.required("totalPages", TOTAL, |raw| match raw.get() {
                "null" => Some(None),
                _ => count(raw).map(Some),
            })?,
            elapsed_time: fields.required("elapsedTime", MILLIS, millis)?,
        })
    }
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Some(found) => write!(f, "{} is {found}; accepted: {}", self.field, self.accepted),
            None => write!(f, "{} is missing; accepted: {}", self.field, self.accepted),
        }
    }
}

/// The fields of a JSON object, taken out one after the other.
struct Fields<'a> {
    prefix: &'static str,
    left: BTreeMap<String, &'a RawValue>,
}

impl<'a> Fields<'a> {
    fn of_body(body: &'a [u8]) -> Result<Fields<'a>, InvalidField> {
        let left = serde_json::from_slice(body).map_err(|error| InvalidField {
            field: "body".to_owned(),
            found: Some(error.to_string()),
            accepted: "a JSON object {type, jobId, timestamp, data}".to_owned(),
        })?;
        Ok(Fields { prefix: "", left })
    }

    fn of_data(data: &'a RawValue) -> Result<Fields<'a>, InvalidField> {
        let left =
            serde_json::from_str(data.get()).map_err(|_| invalid("data".to_owned(), data, "an object"))?;
        Ok(Fields { prefix: "data.", left })
    }

    fn required<T>(
        &mut self,
        name: &str,
        accepted: &str,
        read: impl FnOnce(&'a RawValue) -> Option<T>,
    ) -> Result<T, InvalidField> {
        let path = format!("{}{name}", self.prefix);
        let raw = self.left.remove(name).ok_or_else(|| missing(&path, accepted))?;
        read(raw).ok_or_else(|| invalid(path, raw, accepted))
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

    /// A field that nobody asked for is most likely one that was misspelt.
    fn nothing_more(self) -> Result<(), InvalidField> {
        let Some((name, raw)) = self.left.into_iter().next() else { return Ok(()) };
        Err(invalid(shortened(&name), raw, "no field but type, jobId, timestamp and data"))
    }
}

fn missing(field: &str, accepted: &str) -> InvalidField {
    InvalidField { field: field.to_owned(), found: None, accepted: accepted.to_owned() }
}

fn invalid(field: String, raw: &RawValue, accepted: &str) -> InvalidField {
    InvalidField { field, found: Some(shortened(raw.get())), accepted: accepted.to_owned() }
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
    serde_json::from_str(raw.get()).ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
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
const MILLIS: &str = "a number of milliseconds, 0 or more";

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
            "dta is {}; accepted: no field but type, jobId, timestamp and data",
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
        for value in [json!("4"), json!(-1), json!(null)] {
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
    fn hints_are_read_kindly() {
        let event = parse(r#"{"type":"error","timestamp":1,"data":{"message":"no route","url":7}}"#).unwrap();
        assert_eq!(event.hint("message").as_deref(), Some("no route"));
        assert_eq!(event.hint("url"), None);
        assert_eq!(event.hint("name"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = JobEvent::parse(JobId::parse("7").unwrap(), &body);
        }
    }
}
