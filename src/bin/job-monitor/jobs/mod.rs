//! Jobs: what is posted about them ([`JobEvent`]), and what is remembered of them ([`JobStore`]).

mod event;
mod id;
mod job;
mod store;

pub(crate) use event::{InvalidField, JobEvent, shown};
pub(crate) use id::JobId;
pub(crate) use job::Summary;
pub(crate) use store::{JobStore, Limits};
