//! All jobs that are remembered, never more than the limits say.

use std::collections::HashMap;
use std::sync::Arc;

use super::JobId;
use super::event::JobEvent;
use super::job::{Job, JobState, Summary};
use crate::auth::Scope;

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Jobs, running and finished.
    pub(crate) jobs: usize,
    /// Latest events of each job.
    pub(crate) events: usize,
    /// Bytes of these events together, for each job.
    pub(crate) event_bytes: usize,
}

impl Limits {
    /// How many bytes the largest snapshot of a job and the largest list of jobs take together, as JSON.
    pub(crate) fn largest_answers(&self) -> usize {
        let snapshot = self.event_bytes + self.events * MAX_EVENT_FRAME_BYTES + Summary::MAX_JSON_BYTES;
        let list = self.jobs * Summary::MAX_JSON_BYTES;
        snapshot + list + MAX_ANSWER_FRAME_BYTES
    }
}

/// What stands around the timestamp and the data of an event: names, its type, and the id of its job.
const MAX_EVENT_FRAME_BYTES: usize = 256;
/// What stands around the summaries and events of the two answers.
const MAX_ANSWER_FRAME_BYTES: usize = 1 << 10;

/// The jobs by id.
#[derive(Debug)]
pub(crate) struct JobStore {
    jobs: HashMap<JobId, Job>,
    limits: Limits,
}

/// What an event changed.
#[derive(Debug, PartialEq)]
pub(crate) struct Change {
    /// The job as it is now.
    pub(crate) summary: Summary,
    /// The job that had to be forgotten to make room for it.
    pub(crate) forgotten: Option<JobId>,
}

impl JobStore {
    pub(crate) fn new(limits: Limits) -> JobStore {
        JobStore { jobs: HashMap::new(), limits }
    }

    /// Takes in an event that came `now`, milliseconds since 1970.
    pub(crate) fn apply(&mut self, event: &Arc<JobEvent>, now: i64) -> Change {
        let forgotten = if self.jobs.contains_key(&event.job_id) { None } else { self.make_room() };
        let job = self.jobs.entry(event.job_id.clone()).or_insert_with(|| Job::new(event));
        job.apply(event, now, &self.limits);
        Change { summary: job.summary().clone(), forgotten }
    }

    pub(crate) fn get(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(id)
    }

    /// The jobs that `scope` allows to see, the latest started first.
    pub(crate) fn summaries(&self, scope: &Scope) -> Vec<&Summary> {
        let mut visible: Vec<&Summary> =
            self.jobs.values().map(Job::summary).filter(|summary| scope.allows(&summary.job_id)).collect();
        visible.sort_by(|a, b| b.started_at.cmp(&a.started_at).then_with(|| a.job_id.cmp(&b.job_id)));
        visible
    }

    /// Forgets the job that was silent the longest if all places are taken: a finished one if there is one.
    fn make_room(&mut self) -> Option<JobId> {
        if self.jobs.len() < self.limits.jobs {
            return None;
        }
        let silent = |job: &&Job| (job.summary().state == JobState::Running, job.summary().updated_at);
        let id = self.jobs.values().min_by_key(silent)?.summary().job_id.clone();
        self.jobs.remove(&id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: Limits = Limits { jobs: 3, events: 4, event_bytes: 10_000 };

    /// A store and a clock that goes on by one with each event.
    struct Fixture {
        store: JobStore,
        now: i64,
    }

    impl Fixture {
        fn new(limits: Limits) -> Fixture {
            Fixture { store: JobStore::new(limits), now: 0 }
        }

        fn post(&mut self, id: &str, kind: &str, data: &serde_json::Value) -> Change {
            self.now += 1;
            let body = json!({ "type": kind, "timestamp": self.now * 10, "data": data }).to_string();
            let event = JobEvent::parse(JobId::parse(id).unwrap(), body.as_bytes()).unwrap();
            self.store.apply(&Arc::new(event), self.now)
        }

        fn start(&mut self, id: &str) -> Change {
            self.post(id, "job_started", &json!({}))
        }

        fn ids(&self) -> Vec<&str> {
            self.store.summaries(&Scope::All).iter().map(|summary| summary.job_id.as_str()).collect()
        }
    }

    fn progress(items: u64, page: u64) -> serde_json::Value {
        json!({ "itemsScraped": items, "pagesScraped": page, "currentPage": page, "totalPages": 9, "elapsedTime": 5 })
    }

    #[test]
    fn a_job_goes_from_start_to_completion() {
        let mut jobs = Fixture::new(LIMITS);
        let started = jobs.post("a", "job_started", &json!({ "name": "Shop", "totalPages": 9 })).summary;
        assert_eq!((started.state, started.started_at, started.updated_at), (JobState::Running, 10, 1));
        assert_eq!((started.name.as_deref(), started.progress.total_pages), (Some("Shop"), Some(9)));
        let working = jobs.post("a", "job_progress", &progress(4, 2)).summary;
        assert_eq!((working.progress.items_scraped, working.progress.current_page), (4, 2));
        assert_eq!(jobs.post("a", "item_scraped", &json!({})).summary.progress.items_scraped, 5);
        let error = jobs.post("a", "error", &json!({ "message": "page 3 answered 500" })).summary;
        assert_eq!((error.errors, error.last_error.as_deref()), (1, Some("page 3 answered 500")));
        let done = jobs.post("a", "job_completed", &json!({ "itemsScraped": 6, "elapsedTime": 7 })).summary;
        assert_eq!((done.state, done.finished_at), (JobState::Completed, Some(50)));
        assert_eq!((done.progress.items_scraped, done.progress.elapsed_time, done.errors), (6, 7.0, 1));
    }

    #[test]
    fn a_late_event_counts_but_does_not_wake_a_finished_job() {
        let mut jobs = Fixture::new(LIMITS);
        jobs.post("a", "job_failed", &json!({ "message": "disk full" }));
        let late = jobs.post("a", "job_progress", &progress(4, 2)).summary;
        assert_eq!((late.state, late.progress.items_scraped), (JobState::Failed, 4));
        assert_eq!(late.last_error.as_deref(), Some("disk full"));
    }

    #[test]
    fn a_job_that_starts_again_begins_anew() {
        let mut jobs = Fixture::new(LIMITS);
        jobs.post("a", "job_progress", &progress(4, 2));
        jobs.post("a", "job_failed", &json!({}));
        let again = jobs.start("a").summary;
        assert_eq!(
            (again.state, again.finished_at, again.progress.items_scraped),
            (JobState::Running, None, 0)
        );
        assert_eq!(jobs.store.get(&again.job_id).unwrap().events().count(), 1);
    }

    #[test]
    fn the_finished_job_silent_the_longest_is_forgotten_first() {
        let mut jobs = Fixture::new(LIMITS);
        jobs.start("running");
        jobs.post("done-1", "job_completed", &json!({}));
        jobs.post("done-2", "job_completed", &json!({}));
        let change = jobs.start("new-1");
        assert_eq!(change.forgotten.unwrap().as_str(), "done-1");
        assert_eq!(jobs.ids(), ["new-1", "done-2", "running"]);
        assert_eq!(jobs.start("new-2").forgotten.unwrap().as_str(), "done-2");
        assert_eq!(jobs.start("new-3").forgotten.unwrap().as_str(), "running");
        assert_eq!(jobs.ids().len(), LIMITS.jobs);
        assert_eq!(jobs.start("new-1").forgotten, None);
    }

    #[test]
    fn events_are_kept_up_to_a_number_and_a_size() {
        let mut jobs = Fixture::new(LIMITS);
        for number in 0..6 {
            jobs.post("a", "item_scraped", &json!({ "number": number }));
        }
        let a = JobId::parse("a").unwrap();
        let kept: Vec<&str> = jobs.store.get(&a).unwrap().events().map(|event| event.data.get()).collect();
        assert_eq!(kept, [r#"{"number":2}"#, r#"{"number":3}"#, r#"{"number":4}"#, r#"{"number":5}"#]);
        jobs.post("a", "item_scraped", &json!({ "text": "x".repeat(9_700) }));
        assert_eq!(jobs.store.get(&a).unwrap().events().count(), 2);
        jobs.post("a", "item_scraped", &json!({ "text": "x".repeat(10_000) }));
        assert_eq!(jobs.store.get(&a).unwrap().events().count(), 0);
    }

    #[test]
    fn no_answer_is_larger_than_the_limits_say() {
        let mut jobs = Fixture::new(LIMITS);
        let (hint, most) = ("\u{1}".repeat(400), (1u64 << 53) - 1);
        let ids: Vec<String> = (0..LIMITS.jobs).map(|number| format!("{number:0>128}")).collect();
        for id in &ids {
            jobs.post(id, "job_started", &json!({ "name": hint }));
            jobs.post(id, "error", &json!({ "message": hint }));
            let data = json!({
                "itemsScraped": most, "pagesScraped": most, "currentPage": most, "totalPages": most,
                "elapsedTime": 1_234_567_890_123.456_7,
            });
            jobs.post(id, "job_progress", &data);
            jobs.post(id, "job_failed", &json!({}));
        }
        let list = jobs.store.summaries(&Scope::All);
        assert_eq!(list.len(), LIMITS.jobs);
        for summary in &list {
            let length = serde_json::to_string(summary).unwrap().len();
            assert!((3900..=Summary::MAX_JSON_BYTES).contains(&length), "{length}");
        }
        let job = jobs.store.get(&JobId::parse(&ids[0]).unwrap()).unwrap();
        for event in job.events() {
            let around = serde_json::to_string(event).unwrap().len().saturating_sub(event.bytes());
            assert!(around <= MAX_EVENT_FRAME_BYTES, "{around}");
        }
        let snapshot = serde_json::to_string(&(job.summary(), job.events().collect::<Vec<_>>())).unwrap();
        let list = serde_json::to_string(&list).unwrap();
        assert!(snapshot.len() + list.len() <= LIMITS.largest_answers());
    }

    #[test]
    fn a_list_shows_only_what_the_scope_allows() {
        let mut jobs = Fixture::new(LIMITS);
        jobs.start("a");
        jobs.start("b");
        let only_a = Scope::Only([JobId::parse("a").unwrap()].into());
        assert_eq!(jobs.store.summaries(&only_a).len(), 1);
        assert!(jobs.store.summaries(&Scope::none()).is_empty());
    }

    #[test]
    fn a_summary_is_flat_json() {
        let mut jobs = Fixture::new(LIMITS);
        let summary = jobs.post("a", "job_progress", &progress(4, 2)).summary;
        assert_eq!(
            serde_json::to_value(&summary).unwrap(),
            json!({
                "jobId": "a", "state": "running", "name": null, "startedAt": 10, "updatedAt": 1, "finishedAt": null,
                "itemsScraped": 4, "pagesScraped": 2, "currentPage": 2, "totalPages": 9, "elapsedTime": 5,
                "errors": 0, "lastError": null,
            })
        );
    }
}
