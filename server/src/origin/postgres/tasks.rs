//! The tasks of the thread. The runtime swallows a task's panic, and the task's work would silently
//! stop. Here a panic ends the whole thread, which then starts again.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

/// Spawns tasks, and notes their panics.
pub(super) struct Tasks {
    has_panicked: Cell<bool>,
    wake: Arc<Notify>,
}

/// Notes that the task that holds it unwinds.
struct Watch(Rc<Tasks>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.has_panicked.set(true);
            self.0.wake.notify_one();
        }
    }
}

impl Tasks {
    /// `wake` is notified when a task has panicked.
    pub(super) fn new(wake: &Arc<Notify>) -> Rc<Self> {
        Rc::new(Self { has_panicked: Cell::new(false), wake: Arc::clone(wake) })
    }

    pub(super) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let watch = Watch(Rc::clone(self));
        drop(tokio::task::spawn_local(async move {
            let _watch = watch;
            task.await;
        }));
    }

    /// Passes a task's panic on to the thread.
    ///
    /// # Panics
    /// When a task has panicked.
    pub(super) fn check(&self) {
        assert!(!self.has_panicked.get(), "a task of the origin has panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a task of the origin has panicked")]
    fn a_tasks_panic_is_the_threads() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let wake = Arc::new(Notify::new());
        let tasks = Tasks::new(&wake);
        tokio::task::LocalSet::new().block_on(&runtime, async {
            tasks.spawn(async {});
            tasks.check();
            tasks.spawn(async { panic!("on purpose") });
            wake.notified().await;
            tasks.check();
        });
    }
}
