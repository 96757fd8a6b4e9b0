//! The one thread that writes: a round for all functions that have lines, each with all it has, then a pause in which lines gather.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::files::Files;
use super::function::Function;
use super::queue::{Job, Queue};

/// From one round to the next: at most so long does a line wait, and so seldom is a file written.
const PAUSE: Duration = Duration::from_millis(100);

/// How often it looks for files that are too old.
const SWEEP: Duration = Duration::from_secs(3600);

pub(super) struct Writer {
    queue: Arc<Queue>,
    files: Files,
    /// Since the last time that something could be written. It is warned of once.
    failing: bool,
}

impl Writer {
    pub(super) fn new(queue: Arc<Queue>, files: Files) -> Self {
        Self { queue, files, failing: false }
    }

    /// Writes until the queue stops and is empty; then `ended` is told.
    pub(super) fn spawn(self, ended: oneshot::Sender<()>) -> std::io::Result<()> {
        std::thread::Builder::new().name("nocti-logs".into()).spawn(move || {
            self.run();
            let _ = ended.send(());
        })?;
        Ok(())
    }

    fn run(mut self) {
        let mut swept: Option<Instant> = None;
        loop {
            let (jobs, stops) = self.queue.wait(if self.files.are_open() { Files::IDLE } else { SWEEP });
            if jobs.is_empty() && stops {
                return;
            }
            for job in jobs {
                match job {
                    Job::Write(function) => self.write(function, stops),
                    Job::Remove(function) => self.files.remove(&function),
                }
            }
            self.files.close_idle();
            if swept.is_none_or(|swept| swept.elapsed() >= SWEEP) {
                self.files.sweep();
                swept = Some(Instant::now());
            }
            self.queue.rest(PAUSE);
        }
    }

    fn write(&mut self, function: Arc<Function>, at_last: bool) {
        let taken = function.take(&self.queue, at_last);
        if !taken.bytes.is_empty() {
            let written = self.files.append(&function.name, &taken.bytes);
            match &written {
                Ok(()) if self.failing => tracing::info!("what functions print can be written again"),
                Err(error) if !self.failing => {
                    let folder = self.files.folder().display();
                    tracing::warn!(%error, %folder, "what functions print cannot be written; lines are missing until it can");
                }
                Ok(()) | Err(_) => {}
            }
            self.failing = written.is_err();
            if self.failing {
                function.missed(taken.lines);
            }
            function.changed();
        }
        if taken.again {
            self.queue.push(Job::Write(function));
        }
    }
}
