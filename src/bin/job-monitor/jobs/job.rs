//! What is remembered of one job: its state, its figures, and its latest events.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;

use super::event::{EventKind, JobEvent, Progress};
use super::{JobId, Limits};

/// A job.
///
/// ```text
///  (first event) ──▶ Running ── job_completed ──▶ Completed
///                     ▲  │ └──── job_failed ────▶ Failed
///                     └──┴── job_started, from any state: the job begins anew
/// ```
/// Its one rule: figures of late events count, but only those three types change the state.
#[derive(Debug)]
pub(crate) struct Job {
    summary: Summary,
    events: VecDeque<Arc<JobEvent>>,
    event_bytes: usize,
}

/// A job in short, as lists show it. Moments are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    pub(crate) job_id: JobId,
    pub(crate) state: JobState,
    /// The text of `data.name` of its `job_started`.
    pub(crate) name: Option<String>,
    /// When it began, by its own clock.
    pub(crate) started_at: i64,
    /// When its latest event came, by our clock.
    pub(crate) updated_at: i64,
    /// When it ended, by its own clock.
    pub(crate) finished_at: Option<i64>,
    #[serde(flatten)]
    pub(crate) progress: Progress,
    /// How many `error` events it posted.
    pub(crate) errors: u64,
    /// The message of the latest `error` or `job_failed`.
    pub(crate) last_error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JobState {
    Completed,
    Failed,
    Running,
}

impl Job {
    /// A job of which nothing is known but that `first` was posted for it; apply that next.
    pub(crate) fn new(first: &JobEvent) -> Job {
        Job { summary: Summary::new(first), events: VecDeque::new(), event_bytes: 0 }
    }

    /// Takes an event in that came `now`.
    pub(crate) fn apply(&mut self, event: &Arc<JobEvent>, now: i64, limits: &Limits) {
        self.summary.apply(event, now);
        if event.kind == EventKind::JobStarted {
            self.events.clear();
            self.event_bytes = 0;
        }
        self.event_bytes += event.bytes();
        self.events.push_back(Arc::clone(event));
        while self.events.len() > limits.events || self.event_bytes > limits.event_bytes {
            let Some(oldest) = self.events.pop_front() else { break };
            self.event_bytes -= oldest.bytes();
        }
    }

    pub(crate) fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Its latest events, the oldest first.
    pub(crate) fn events(&self) -> impl Iterator<Item = &JobEvent> {
        self.events.iter().map(|event| &**event)
    }
}

impl Summary {
    /// The longest that a job in short becomes as JSON: two hints of escaped characters, its id, and figures.
    pub(super) const MAX_JSON_BYTES: usize = 4500;

    fn new(first: &JobEvent) -> Summary {
        Summary {
            job_id: first.job_id.clone(),
            state: JobState::Running,
            name: None,
            started_at: first.at,
            updated_at: first.at,
            finished_at: None,
            progress: Progress::default(),
            errors: 0,
            last_error: None,
        }
    }

    fn apply(&mut self, event: &JobEvent, now: i64) {
        match event.kind {
            EventKind::JobStarted => {
                *self = Summary::new(event);
                self.name = event.hint("name");
                self.progress = event.figures(self.progress);
            }
            EventKind::JobProgress(progress) => self.progress = progress,
            EventKind::ItemScraped => self.progress.items_scraped += 1,
            EventKind::Error => {
                self.errors += 1;
                self.last_error = event.hint("message").or_else(|| self.last_error.take());
            }
            EventKind::JobCompleted => self.finish(JobState::Completed, event),
            EventKind::JobFailed => {
                self.finish(JobState::Failed, event);
                self.last_error = event.hint("message").or_else(|| self.last_error.take());
            }
        }
        self.updated_at = now;
    }

    fn finish(&mut self, state: JobState, event: &JobEvent) {
        self.state = state;
        self.finished_at = Some(event.at);
        self.progress = event.figures(self.progress);
    }
}
