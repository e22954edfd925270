//! A thread on which what is to be done at hooks is done: the kernel may take seconds to let it in.

use std::sync::mpsc;
use std::thread;

use podgate_datapath::{Attacher, Error, HookReport, HookTask};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::command::Command;

/// A command whose work at hooks has ended, and how.
pub(super) type Hooked = (Command, Result<HookReport, Error>);

/// The thread.
#[derive(Debug)]
pub(super) struct BesideHooks {
    tasks: mpsc::Sender<(Command, HookTask)>,
    /// What has ended. It ends where the thread has panicked.
    pub(super) done: UnboundedReceiver<Hooked>,
}

impl BesideHooks {
    /// Starts it, in this thread's network namespace; it ends when this is dropped, with what it is at.
    ///
    /// # Errors
    /// There is no room for a thread.
    pub(super) fn start(attacher: Attacher) -> std::io::Result<Self> {
        let (tasks, todo) = mpsc::channel::<(Command, HookTask)>();
        let (ended, done) = unbounded_channel();
        thread::Builder::new().name("hooks".to_owned()).spawn(move || {
            while let Ok((command, task)) = todo.recv() {
                let report = attacher.carry_out(&task);
                if ended.send((command, report)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { tasks, done })
    }

    /// Lets something be done.
    pub(super) fn begin(&self, command: Command, task: HookTask) {
        // Where the thread is gone, so is what it did: who waits for that is told.
        drop(self.tasks.send((command, task)));
    }
}
