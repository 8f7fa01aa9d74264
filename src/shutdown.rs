//! Named tasks, supervised: one that ends before it was told to ends the process.

use std::{collections::HashMap, future::Future, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::{Id, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Why the process has to end with a failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A task returned while the others were still to run.
    #[error("task {0} ended early")]
    EndedEarly(&'static str),
    /// A task panicked.
    #[error("task {name} panicked")]
    Panicked {
        /// The task.
        name: &'static str,
        /// What it panicked with.
        source: JoinError,
    },
    /// Tasks were still running when the deadline for an orderly end had passed.
    #[error("still running after {deadline:?}: {}", .names.join(", "))]
    Stuck {
        /// How long they had.
        deadline: Duration,
        /// The tasks.
        names: Vec<&'static str>,
    },
}

/// The long-lived tasks of the process.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<()>,
    names: HashMap<Id, &'static str>,
    shutdown: CancellationToken,
}

impl Tasks {
    /// What every task selects on; cancelled once, when the process is to end.
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Starts a task under a name of its own.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.set.spawn(task);
        self.names.insert(handle.id(), name);
    }

    /// Waits until `stop` resolves, cancels the shutdown token, and joins every task within `deadline`.
    ///
    /// # Errors
    /// A task ended early or panicked, or did not end within the deadline.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        deadline: Duration,
    ) -> Result<(), Error> {
        let early = tokio::select! {
            biased;
            () = stop => Ok(()),
            ended = self.set.join_next_with_id() => match ended {
                Some(ended) => Err(self.ended(ended)),
                None => Ok(()),
            },
        };
        self.shutdown.cancel();
        let drained = tokio::time::timeout(deadline, self.join_all()).await;
        early?;
        drained.unwrap_or_else(|_| {
            let mut names: Vec<_> = self.names.values().copied().collect();
            names.sort_unstable();
            Err(Error::Stuck { deadline, names })
        })
    }

    async fn join_all(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        while let Some(ended) = self.set.join_next_with_id().await {
            match self.ended(ended) {
                Error::EndedEarly(_) => {}
                panicked => result = Err(panicked),
            }
        }
        result
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) -> Error {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let name = self
            .names
            .remove(&id)
            .expect("every task was spawned with a name");
        match ended {
            Ok(_) => Error::EndedEarly(name),
            Err(source) => Error::Panicked { name, source },
        }
    }
}

/// Calls `act` at each SIGHUP, for ever.
///
/// # Errors
/// The handler cannot be installed.
pub fn at_each_hangup(act: impl Fn() + Send + 'static) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            info!("SIGHUP");
            act();
        }
    });
    Ok(())
}

/// Resolves at the first SIGTERM or SIGINT.
///
/// # Errors
/// The handlers cannot be installed.
pub fn signalled() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM"),
            _ = interrupt.recv() => warn!("SIGINT"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn tasks_that_end_when_told_to_are_a_clean_end() {
        let mut tasks = Tasks::default();
        let shutdown = tasks.shutdown();
        tasks.spawn("patient", async move { shutdown.cancelled().await });
        tasks.run(std::future::ready(()), SOON).await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_ends_early_ends_the_rest_and_is_named() {
        let mut tasks = Tasks::default();
        let shutdown = tasks.shutdown();
        tasks.spawn("patient", async move { shutdown.cancelled().await });
        tasks.spawn("hasty", async {});
        let error = tasks.run(std::future::pending(), SOON).await.unwrap_err();
        assert_eq!(error.to_string(), "task hasty ended early");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("stubborn", std::future::pending());
        let error = tasks.run(std::future::ready(()), SOON).await.unwrap_err();
        assert_eq!(error.to_string(), "still running after 10s: stubborn");
    }
}
