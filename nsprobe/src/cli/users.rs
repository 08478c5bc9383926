//! The names of users.

use super::{output, passwd};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How long the user database may take to answer: it may ask a daemon, or a directory server.
const PATIENCE: Duration = Duration::from_millis(500);

/// The user database of this machine, each user looked up once.
#[derive(Debug, Default)]
pub(super) struct Users(RefCell<Asked>);

#[derive(Debug)]
struct Asked {
    names: HashMap<u32, Option<String>>,
    /// `None` once it has not answered in time, or there is no thread to ask it.
    database: Option<Database>,
}

impl Default for Asked {
    fn default() -> Self {
        Self { names: HashMap::new(), database: Database::start(passwd::name) }
    }
}

/// A thread that asks the database, which is left behind when that does not answer.
#[derive(Debug)]
struct Database {
    ask: Sender<u32>,
    answers: Receiver<Option<String>>,
}

impl Users {
    /// The user's name; `None` for one without an entry, and when the database does not answer.
    pub(super) fn name(&self, uid: u32) -> Option<String> {
        let Asked { names, database } = &mut *self.0.borrow_mut();
        let look_up = || {
            let answer = database.as_ref()?.name(uid, PATIENCE);
            answer.unwrap_or_else(|| {
                *database = None;
                output::complain(&"the user database does not answer: users are shown by number");
                None
            })
        };
        names.entry(uid).or_insert_with(look_up).clone()
    }
}

impl Database {
    fn start(look_up: fn(u32) -> Option<String>) -> Option<Self> {
        let ((ask, asked), (answer, answers)) = (channel(), channel());
        let serve = move || {
            while let Ok(uid) = asked.recv() {
                if answer.send(look_up(uid)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().spawn(serve).ok()?;
        Some(Self { ask, answers })
    }

    /// The name of a user, if there is one; `None`: no answer.
    #[expect(clippy::option_option, reason = "no answer and no name are two things")]
    fn name(&self, uid: u32, patience: Duration) -> Option<Option<String>> {
        self.ask.send(uid).ok()?;
        self.answers.recv_timeout(patience).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_does_not_answer_is_given_up() {
        let silent = Database::start(|_| {
            std::thread::sleep(Duration::from_secs(1000));
            None
        });
        assert_eq!(silent.unwrap().name(0, Duration::from_millis(10)), None);
        let root = Database::start(passwd::name).unwrap().name(0, Duration::from_mins(1));
        assert_eq!(root, Some(Some("root".to_owned())));
    }
}
