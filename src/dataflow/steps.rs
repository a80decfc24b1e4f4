//! The stateful steps of an object's dataflow, as checkpoints see them.
//!
//! A checkpoint at epoch e is asked for in the command that closes e, so a worker knows of it before any frontier can
//! pass e. Each step hands over when it has applied everything up to e and nothing later: it says where it is by
//! [`Seat::reached`], before the first change of each epoch and when its frontier has moved. So the flow never stops, what
//! lags hands over later, and nothing is on its way between two steps as of the cut: the one before has emitted all of e,
//! the one behind has applied it.
//!
//! When the last step of the object on this worker has handed over, the part is sent to whoever asked. An object that fails
//! sends none; whoever waits looks at the live table.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::command::{Cut, Part};
use super::glue::Context;
use crate::arrangement::Arrangement;
use crate::catalog::ObjectId;
use crate::change::ChangeBatch;
use crate::checkpoint::{StepState, mismatch, share};
use crate::epoch::Epoch;
use crate::error::Result;
use crate::operators::consolidate::consolidate;
use crate::operators::{Operator, StateChange};

/// The part of a step's state that an arrangement's rows are.
pub const ROWS: &str = "rows";
/// Rows that compaction may move at a time when no epoch does it: some milliseconds.
pub const IDLE_COMPACTION_ROWS: usize = 131_072;

/// State that can be handed over and taken back.
pub trait Stateful {
    /// What changed since the last call (everything at the first one). Called between epochs.
    fn hand_over(&mut self) -> Result<Vec<StateChange>>;

    /// Takes back what was handed over, as of `epoch`; called once, before the first change.
    fn take_back(&mut self, state: Vec<StateChange>, epoch: Epoch) -> Result<()>;

    /// Bytes held that nobody else counts.
    fn bytes(&self) -> usize;

    /// Rows, groups or entries held.
    fn rows(&self) -> usize;

    /// Bytes held, whoever counts them for the memory account.
    fn held_bytes(&self) -> usize {
        self.bytes()
    }

    /// Gives back memory of earlier epochs, for steps that no epoch comes to any more. Returns whether more is to be done.
    fn tidy(&mut self) -> bool {
        false
    }
}

impl Stateful for Box<dyn Operator> {
    fn hand_over(&mut self) -> Result<Vec<StateChange>> {
        self.as_mut().checkpoint()
    }

    fn take_back(&mut self, state: Vec<StateChange>, _epoch: Epoch) -> Result<()> {
        state.into_iter().try_for_each(|change| self.as_mut().restore(change))
    }

    fn bytes(&self) -> usize {
        self.state_bytes()
    }

    fn rows(&self) -> usize {
        self.state_rows()
    }
}

/// What changed in an arrangement, as a part of that name, routed by the columns `key`.
pub fn hand_over_rows(
    arrangement: &mut Arrangement,
    part: &'static str,
    key: Vec<usize>,
) -> Result<Vec<StateChange>> {
    let changes = arrangement.take_changes()?;
    Ok(changes.into_iter().map(|change| StateChange { part, key: key.clone(), change }).collect())
}

/// Fills an arrangement with the part's rows as of `epoch`.
pub fn take_back_rows(
    arrangement: &mut Arrangement,
    part: &'static str,
    state: &[StateChange],
    epoch: Epoch,
) -> Result<()> {
    if let Some(other) = state.iter().find(|state| state.part != part) {
        return Err(mismatch(&format!("part \"{}\" for an arrangement", other.part)));
    }
    // What came and went between the checkpoints leaves no trace.
    let changes: Vec<ChangeBatch> = state.iter().map(|state| state.change.clone()).collect();
    let rows = consolidate(&changes)?;
    if !rows.is_empty() {
        arrangement.apply(epoch, &[rows])?;
    }
    arrangement.advance(epoch);
    Ok(())
}

/// No checkpoint is due: no epoch is after it.
const NEVER: u64 = u64::MAX;

struct Step {
    name: &'static str,
    /// The number of the operator that it is a part of.
    operator: usize,
    state: Rc<RefCell<dyn Stateful>>,
    /// Nothing more will come.
    finished: bool,
    /// What it handed over for the checkpoint that is due.
    handed_over: Option<Vec<StateChange>>,
}

/// All stateful steps of one object on one worker, in the order in which its plan is rendered, the hub last.
pub struct Steps {
    steps: RefCell<Vec<Step>>,
    /// The epoch of the checkpoint that some step has not handed over for yet.
    due: Cell<u64>,
    asked: RefCell<Option<(ObjectId, Arc<Cut>)>>,
}

/// A step's own place among them.
pub struct Seat {
    context: Context,
    index: usize,
}

impl Default for Steps {
    fn default() -> Steps {
        Steps { steps: RefCell::default(), due: Cell::new(NEVER), asked: RefCell::default() }
    }
}

impl Context {
    /// Adds the next step.
    pub fn seat(
        &self,
        name: &'static str,
        operator: usize,
        state: Rc<RefCell<dyn Stateful>>,
    ) -> Seat {
        let mut steps = self.steps.steps.borrow_mut();
        steps.push(Step { name, operator, state, finished: false, handed_over: None });
        Seat { context: self.clone(), index: steps.len() - 1 }
    }

    /// Bytes that operators and join inputs hold, and results that are not published yet; the hub counts for itself.
    pub fn state_bytes(&self) -> usize {
        let steps = self.steps.steps.borrow();
        let held: usize = steps.iter().map(|step| step.state.borrow().bytes()).sum();
        held + self.waiting_bytes.get()
    }

    /// Tells the meters what the steps hold. A join's inputs are two steps of one operator.
    pub fn measure(&self) {
        let mut held = vec![(0, 0); self.meters.operators()];
        for step in self.steps.steps.borrow().iter() {
            let (state, (rows, bytes)) = (step.state.borrow(), &mut held[step.operator]);
            (*rows, *bytes) = (*rows + state.rows(), *bytes + state.held_bytes());
        }
        for (operator, (rows, bytes)) in held.into_iter().enumerate() {
            self.meter(operator).holds(rows, bytes);
        }
    }

    /// Gives back memory of earlier epochs; returns whether more is to be done.
    pub fn tidy(&self) -> bool {
        let steps = self.steps.steps.borrow();
        steps.iter().fold(false, |left, step| step.state.borrow_mut().tidy() | left)
    }

    /// A checkpoint of the object at `cut`'s epoch, which is about to be closed. Steps that have finished hand over at
    /// once: they are not called any more.
    pub fn ask(&self, object: ObjectId, cut: &Arc<Cut>) {
        self.steps.due.set(cut.epoch.0);
        *self.steps.asked.borrow_mut() = Some((object, cut.clone()));
        let steps = self.steps.steps.borrow().len();
        for index in 0..steps {
            self.steps.steps.borrow_mut()[index].handed_over = None;
            if self.steps.steps.borrow()[index].finished {
                self.hand_over(index);
            }
        }
    }

    fn hand_over(&self, index: usize) {
        let (name, state) = {
            let step = &self.steps.steps.borrow()[index];
            if step.handed_over.is_some() {
                return;
            }
            (step.name, step.state.clone())
        };
        let mut changes = vec![];
        let handed = self.guard(name, || {
            changes = state.borrow_mut().hand_over()?;
            Ok(())
        });
        if !handed {
            return;
        }
        let mut steps = self.steps.steps.borrow_mut();
        steps[index].handed_over = Some(changes);
        if steps.iter().any(|step| step.handed_over.is_none()) {
            return;
        }
        self.steps.due.set(NEVER);
        let Some((object, cut)) = self.steps.asked.borrow_mut().take() else { return };
        let part = steps.iter_mut().map(|step| StepState {
            name: step.name,
            changes: step.handed_over.take().unwrap_or_default(),
        });
        cut.send(Part { epoch: cut.epoch, object, steps: part.collect() });
    }

    /// Fills the steps with what was handed over as of `epoch`, as far as it belongs to this worker. From then on they hand
    /// over only what has changed since. A step that does not fit marks the object failed.
    pub fn take_back(&self, saved: &[StepState], mine: impl Fn(usize) -> bool, epoch: Epoch) {
        self.guard("restore", || {
            let steps = self.steps.steps.borrow();
            let names: Vec<_> = steps.iter().map(|step| step.name).collect();
            let wanted: Vec<_> = saved.iter().map(|step| step.name).collect();
            if names != wanted {
                return Err(mismatch(&format!("it is of {wanted:?}, the plan has {names:?}")));
            }
            for (step, saved) in steps.iter().zip(saved) {
                let shares = saved.changes.iter().map(|change| share(change, &mine));
                let mut state = step.state.borrow_mut();
                state.take_back(shares.collect::<Result<_>>()?, epoch)?;
                drop(state.hand_over()?);
            }
            Ok(())
        });
    }
}

impl Seat {
    /// The step has applied and emitted everything before epoch `next` and nothing from it on.
    pub fn reached(&self, next: u64) {
        if next > self.context.steps.due.get() {
            self.context.hand_over(self.index);
        }
        if next == u64::MAX {
            self.context.steps.steps.borrow_mut()[self.index].finished = true;
        }
    }
}
