//! The names of users.

use std::cell::RefCell;
use std::collections::HashMap;

/// The user database of this machine, each user looked up once.
#[derive(Debug, Default)]
pub(super) struct Users(RefCell<HashMap<u32, Option<String>>>);

impl Users {
    /// The user's name; `None` for one without an entry, and when the database cannot be asked.
    pub(super) fn name(&self, uid: u32) -> Option<String> {
        let look_up = || nix::unistd::User::from_uid(uid.into()).ok().flatten().map(|user| user.name);
        self.0.borrow_mut().entry(uid).or_insert_with(look_up).clone()
    }
}
