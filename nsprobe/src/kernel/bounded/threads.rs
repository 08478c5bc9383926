//! A thread pool: starting a thread costs as much as reading two processes.

use crate::kernel::signals;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

type Task = Box<dyn FnOnce() + Send>;

/// The idle threads.
static IDLE: Mutex<Vec<Sender<Task>>> = Mutex::new(Vec::new());

/// The most idle threads kept.
const MOST_IDLE: usize = 8;

/// Enough for the parsers; many threads may be abandoned.
const STACK: usize = 512 << 10;

/// Runs the `task` in a thread; returns false if none can be started.
pub(super) fn run(mut task: Task) -> bool {
    loop {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(idle) = idle else { break };
        match idle.send(task) {
            Ok(()) => return true,
            Err(back) => task = back.0,
        }
    }
    let builder = Builder::new().name("reader".to_owned()).stack_size(STACK);
    signals::spawn_without(builder, move || {
        task();
        let (sender, receiver) = channel::<Task>();
        loop {
            {
                let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.len() >= MOST_IDLE {
                    return;
                }
                idle.push(sender.clone());
            }
            let Ok(task) = receiver.recv() else { return };
            task();
        }
    })
    .is_ok()
}
