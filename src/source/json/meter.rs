//! What the expressions of a mapping may cost.
//!
//! Everything an evaluation does is paid for in steps, and everything it makes in bytes; how deep it recurses and
//! nests is bounded besides. An evaluation that cannot pay is unwound to where it began, like a panic but without
//! being one: jaq's iterators have no other way out of a loop that makes no value. What is counted is work and not
//! time, so the same body always ends the same way.
//!
//! The meter belongs to the thread, because a value that is added to another one knows no context.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// How much the evaluations for one body may do and make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Most steps of one evaluation: of one expression until its next value. A step takes some tens of nanoseconds.
    pub(super) steps: u64,
    /// Most steps of all evaluations for one body.
    pub(super) body_steps: u64,
    /// Most bytes one evaluation makes, what it drops again included.
    pub(super) bytes: u64,
    /// Most bytes all evaluations for one body make.
    pub(super) body_bytes: u64,
}

impl Limits {
    /// Ten times what the largest body with the longest mapping needs, and a second of work.
    pub(super) const USUAL: Self = Self {
        steps: 8_000_000,
        body_steps: 32_000_000,
        bytes: 64 << 20,
        body_bytes: 256 << 20,
    };
}

/// Deepest nesting of a value. What is read has at most half of it.
pub(super) const DEPTH_MAX: usize = 256;
/// Most bytes of stack below the begin of an evaluation; threads have 2 MiB.
const STACK_BYTES_MAX: usize = 768 << 10;
/// Longest integer, so that arithmetic takes one step.
pub(super) const INTEGER_BITS_MAX: u64 = 1024;

/// The limit that ended an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Limit {
    #[error("it takes more than {0} steps")]
    Steps(u64),
    #[error("it makes more than {0} bytes")]
    Bytes(u64),
    #[error("it makes a value of more than {DEPTH_MAX} levels")]
    Depth,
    #[error("it calls itself too deeply")]
    Stack,
    #[error("it makes an integer of more than {INTEGER_BITS_MAX} bits")]
    Integer,
    #[error("all expressions together take more than {0} steps for this body")]
    BodySteps(u64),
    #[error("all expressions together make more than {0} bytes of this body")]
    BodyBytes(u64),
}

/// What is left for the expressions of one body.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    steps: Cell<u64>,
    bytes: Cell<u64>,
    stopped: Cell<u32>,
}

impl Budget {
    /// All of it.
    pub(super) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            steps: Cell::new(limits.body_steps),
            bytes: Cell::new(limits.body_bytes),
            stopped: Cell::new(0),
        }
    }

    /// How many evaluations ended at a limit.
    pub(super) fn stopped(&self) -> u32 {
        self.stopped.get()
    }

    /// Whether nothing more can be evaluated for this body.
    pub(super) fn is_spent(&self) -> bool {
        self.steps.get() == 0 || self.bytes.get() == 0
    }

    /// Does a piece of an evaluation, unless it meets a limit.
    pub(super) fn spend<T>(&self, work: impl FnOnce() -> T) -> Result<T, Limit> {
        let (steps, bytes) = (self.steps.get(), self.bytes.get());
        let allowed = (steps.min(self.limits.steps), bytes.min(self.limits.bytes));
        let here = 0_u8;
        METER.set(Meter {
            steps: allowed.0,
            bytes: allowed.1,
            stack: Some(std::ptr::from_ref(&here).addr()),
        });
        let done = catch_unwind(AssertUnwindSafe(work));
        let left = METER.replace(Meter::IDLE);
        self.steps.set(steps - (allowed.0 - left.steps));
        self.bytes.set(bytes - (allowed.1 - left.bytes));
        let limit = match done {
            Ok(done) => return Ok(done),
            Err(reason) => match reason.downcast::<Limit>() {
                Ok(limit) => *limit,
                Err(panic) => resume_unwind(panic),
            },
        };
        self.stopped.set(self.stopped.get().saturating_add(1));
        Err(match limit {
            Limit::Steps(_) if self.steps.get() == 0 => Limit::BodySteps(self.limits.body_steps),
            Limit::Bytes(_) if self.bytes.get() == 0 => Limit::BodyBytes(self.limits.body_bytes),
            Limit::Steps(_) => Limit::Steps(self.limits.steps),
            Limit::Bytes(_) => Limit::Bytes(self.limits.bytes),
            other @ (Limit::Depth
            | Limit::Stack
            | Limit::Integer
            | Limit::BodySteps(_)
            | Limit::BodyBytes(_)) => other,
        })
    }
}

#[derive(Clone, Copy)]
struct Meter {
    steps: u64,
    bytes: u64,
    /// Where the stack of the evaluation begins.
    stack: Option<usize>,
}

impl Meter {
    /// Between evaluations nothing is counted.
    const IDLE: Self = Self {
        steps: u64::MAX,
        bytes: u64::MAX,
        stack: None,
    };
}

thread_local! {
    static METER: Cell<Meter> = const { Cell::new(Meter::IDLE) };
}

/// Ends the evaluation that runs.
pub(super) fn stop(limit: Limit) -> ! {
    resume_unwind(Box::new(limit))
}

/// Pays for work.
pub(super) fn steps(count: usize) {
    let mut meter = METER.get();
    let left = meter.steps.checked_sub(count as u64);
    meter.steps = left.unwrap_or(0);
    METER.set(meter);
    if left.is_none() {
        stop(Limit::Steps(0));
    }
}

/// Pays for what is made.
pub(super) fn bytes(count: usize) {
    let mut meter = METER.get();
    let left = meter.bytes.checked_sub(count as u64);
    meter.bytes = left.unwrap_or(0);
    METER.set(meter);
    if left.is_none() {
        stop(Limit::Bytes(0));
    }
}

/// Pays for one step of the interpreter, which may call itself for it.
pub(super) fn call() {
    steps(1);
    let here = 0_u8;
    let here = std::ptr::from_ref(&here).addr();
    let begin = METER.get().stack;
    if begin.is_some_and(|begin| begin.abs_diff(here) > STACK_BYTES_MAX) {
        stop(Limit::Stack);
    }
}
