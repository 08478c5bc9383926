//! The names of users.

use super::{output, passwd};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// The time that the user database may take to answer: it may query a daemon, or a directory server.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The user database of this machine, each user looked up once.
#[derive(Debug, Default)]
pub(super) struct Users(RefCell<Cache>);

#[derive(Debug)]
struct Cache {
    names: HashMap<u32, Option<String>>,
    /// `None` once it has not answered in time, or if there is no thread to query it.
    database: Option<Database>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { names: HashMap::new(), database: Database::start(passwd::name) }
    }
}

/// A thread that queries the database, and is left behind if that does not answer.
#[derive(Debug)]
struct Database {
    requests: Sender<u32>,
    answers: Receiver<Option<String>>,
}

impl Users {
    /// The user's name; `None` if there is no entry, or the database does not answer.
    pub(super) fn name(&self, uid: u32) -> Option<String> {
        let Cache { names, database } = &mut *self.0.borrow_mut();
        let look_up = || {
            let answer = database.as_ref()?.name(uid, TIMEOUT);
            answer.unwrap_or_else(|| {
                *database = None;
                output::complain(&"the user database does not answer: users are shown as uids");
                None
            })
        };
        names.entry(uid).or_insert_with(look_up).clone()
    }
}

impl Database {
    fn start(look_up: fn(u32) -> Option<String>) -> Option<Self> {
        let ((requests, requested), (answer, answers)) = (channel(), channel());
        let serve = move || {
            while let Ok(uid) = requested.recv() {
                if answer.send(look_up(uid)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().spawn(serve).ok()?;
        Some(Self { requests, answers })
    }

    /// The name of a user, if there is one; `None` if there is no answer.
    #[expect(clippy::option_option, reason = "no answer and no name are two things")]
    fn name(&self, uid: u32, patience: Duration) -> Option<Option<String>> {
        self.requests.send(uid).ok()?;
        self.answers.recv_timeout(patience).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unresponsive_database_is_abandoned() {
        let silent = Database::start(|_| {
            std::thread::sleep(Duration::from_secs(1000));
            None
        });
        assert_eq!(silent.unwrap().name(0, Duration::from_millis(10)), None);
        let root = Database::start(passwd::name).unwrap().name(0, Duration::from_mins(1));
        assert_eq!(root, Some(Some("root".to_owned())));
    }
}
