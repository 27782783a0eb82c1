//! What one call costs: time and allocations.

use std::alloc::System;
use std::hint::black_box;
use std::time::Instant;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 200_000;

/// Nanoseconds and allocations (growing counts as one) of one call.
pub fn cost<T>(mut call: impl FnMut() -> T) -> (f64, f64) {
    for _ in 0..ROUNDS / 10 {
        black_box(call());
    }
    let (start, before) = (Instant::now(), allocations());
    for _ in 0..ROUNDS {
        black_box(call());
    }
    let (allocated, elapsed) = (allocations() - before, start.elapsed());
    (elapsed.as_nanos() as f64 / ROUNDS as f64, allocated as f64 / ROUNDS as f64)
}

fn allocations() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}
