//! Events for people: one line each, aligned, with the call as strace(1) would write it.

use crate::model::{
    Changes, Created, Crossing, Destroyed, Directory, Event, Looks, Origination, Outcome, PathText, Pid,
    Place, Rebuilt, Seen, SetnsTarget, Text, errno_name, errno_text, text,
};
use crate::render::style::{self, Look};
use jiff::Timestamp;
use std::fmt::Write as _;
use std::time::SystemTime;
use unicode_width::UnicodeWidthStr as _;

/// Where a line goes on that is wider than the terminal: below the process id.
pub const CONTINUED: usize = 17;

/// The line above the first event.
#[must_use]
pub fn header(look: Look) -> String {
    look.paint(
        anstyle::Style::new().bold(),
        format_args!("{:15}  {:>11}  {:>5}  {:15}  CALL", "TIME", "PID", "UID", "COMM"),
    )
}

/// One event, with the time of day (UTC) and microseconds: the date is in the stream's start.
#[must_use]
pub fn line(event: &Event, time: SystemTime, look: Look) -> String {
    let actor = &event.process;
    let mut line = format!(
        "{}  {}  {:>5}  {}  {}",
        look.paint(style::DIM, clock(time)),
        look.paint(style::PID, format_args!("{:>11}", pid(actor.pid, actor.tid, &actor.pids))),
        actor.uid.map_or_else(|| "?".to_owned(), |uid| uid.to_string()),
        name(&actor.comm),
        call(event),
    );
    match event.outcome {
        Outcome::Success(result) => {
            let _ = write!(line, " = {}", made(event).unwrap_or_else(|| result.to_string()));
        }
        Outcome::Failure(errno) => {
            let name = errno_name(errno);
            let failure = match errno_text(errno) {
                _ if event.denied => format!("-1 {name} (stopped by seccomp)"),
                None => format!("-1 {name}"),
                Some(text) => format!("-1 {name} ({text})"),
            };
            line.push_str(" = ");
            line.push_str(&look.paint(style::BAD, failure));
        }
        Outcome::Restarted(errno) => {
            let _ = write!(line, " = ? {} (to be restarted)", errno_name(errno));
        }
        Outcome::Unseen => {
            if let Some(made) = made(event) {
                let _ = write!(line, " = ?  child {made}");
            }
        }
    }
    if event.joined_another() {
        line.push_str("  (target as at entry)");
    }
    if event.led_elsewhere() {
        line.push_str("  (path as at entry)");
    }
    if event.seen == Some(Seen::EntryMissed) {
        line.push_str("  (entry missed: before unknown)");
    }
    if event.compat == Some(true) {
        line.push_str("  (32-bit)");
    }
    let arrow = if look.unicode { "→" } else { "->" };
    let mut tell = |change: String| {
        line.push_str("  ");
        line.push_str(&look.paint(style::NAMESPACE, change));
    };
    for (slot, before, after) in event.changed_slots() {
        tell(format!("{slot} {}{arrow}{}", before.ino, after.ino));
    }
    if let Crossing::Change { looks: Some(Looks { is_new: true, .. }) } = event.crossing {
        for (slot, after) in event.after.iter().filter(|(slot, _)| event.before.get(*slot).is_none()) {
            if let Some(after) = after {
                tell(format!("{slot} ?{arrow}{}", after.ino));
            }
        }
    }
    for (name, directory) in [("root", &event.root), ("cwd", &event.cwd)] {
        if let Some(Directory { moved: true, before, after }) = directory {
            let (before, after) = (place(before), place(after));
            // The path does not show what has changed.
            let other = if before == after { " (another mount)" } else { "" };
            tell(format!("{name} {before}{arrow}{after}{other}"));
        }
    }
    line
}

/// The name of a program, filled up to the columns that fifteen bytes may take; nothing where it is not known.
fn name(comm: &Text) -> String {
    let mut name = if comm.is_empty() { String::new() } else { comm.to_string() };
    // Not by the formatter, which counts characters: one may take two columns, or none.
    name.extend(std::iter::repeat_n(' ', 15_usize.saturating_sub(name.width())));
    name
}

/// A directory: with `...` in front when names are missing there.
fn place(place: &Place) -> String {
    let cut = if place.cut { ".../" } else { "" };
    let mut text = format!("{cut}{}", place.path);
    // What is in no directory is nowhere else either.
    let nowhere = [(place.deleted, "deleted"), (place.unreachable && !place.deleted, "unreachable")];
    for (_, mark) in
        nowhere.into_iter().chain([(place.detached && !place.deleted, "detached")]).filter(|it| it.0)
    {
        let _ = write!(text, " ({mark})");
    }
    text
}

/// A namespace that was made, on the line below the call that made it, or that is told of for the first time.
#[must_use]
pub fn created(created: &Created, time: SystemTime, look: Look) -> String {
    let owner = created.owner.map(|owner| format!(", owner {}", owner.id)).unwrap_or_default();
    let how = match created.by {
        Origination::Call { .. } => "created",
        Origination::FirstSeen => "first seen",
    };
    life(time, format_args!("{} {how}{owner}", created.namespace.id), look)
}

/// A namespace that ended.
#[must_use]
pub fn destroyed(destroyed: &Destroyed, time: SystemTime, look: Look) -> String {
    let age = destroyed.age.map(|age| format!(" after {:.6} s", age.as_secs_f64())).unwrap_or_default();
    let seen = if destroyed.seen { "" } else { " (unseen, earlier)" };
    life(time, format_args!("{} destroyed{age}{seen}", destroyed.namespace.id), look)
}

/// What was put right after a loss.
#[must_use]
pub fn rebuilt(rebuilt: &Rebuilt) -> String {
    let mut text = match &rebuilt.failed {
        None => "-- right again after a loss".to_owned(),
        Some(why) => format!("-- not put right after a loss: {}", style::printable(why)),
    };
    if let Some(Changes { ended, found }) = rebuilt.namespaces {
        let _ = write!(text, "; namespaces that had ended: {ended}, that were not known: {found}");
    }
    if let Some(followed) = rebuilt.followed {
        let _ = write!(text, "; tasks that were not followed: {followed}");
    }
    text
}

fn life(time: SystemTime, what: std::fmt::Arguments<'_>, look: Look) -> String {
    let time = look.paint(style::DIM, clock(time));
    format!("{time}  {:>11}  {:>5}  {:15}  {}", "", "", "", look.paint(style::NAMESPACE, what))
}

/// The time of day (UTC) with microseconds.
fn clock(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX).strftime("%H:%M:%S%.6f").to_string()
}

/// The process id; with the thread's where that is another, and the ids inside its pid namespaces.
fn pid(pid: Pid, tid: Pid, pids: &[Pid]) -> String {
    let mut text = pid.to_string();
    if tid != pid {
        let _ = write!(text, "/{tid}");
    }
    if let Some((_, inside @ [_, ..])) = pids.split_first() {
        let inside: Vec<_> = inside.iter().map(Pid::to_string).collect();
        let _ = write!(text, "[{}]", inside.join(" "));
    }
    text
}

fn made(event: &Event) -> Option<String> {
    match &event.crossing {
        Crossing::Clone { child: Some(child), .. } => Some(pid(child.pid, child.tid, &child.pids)),
        _ => None,
    }
}

fn call(event: &Event) -> String {
    let name = event.crossing.name();
    match &event.crossing {
        Crossing::Clone { flags: Some(_), .. } | Crossing::Unshare { .. } => {
            format!("{name}({})", flags_text(&event.crossing.flag_names().unwrap_or_default()))
        }
        Crossing::Clone { flags: None, .. } => format!("{name}(?)"),
        Crossing::Change { looks: Some(Looks { is_new: true, .. }) } => format!("{name} (new process)"),
        Crossing::Change { .. } => name.to_owned(),
        Crossing::Setns { fd, target, .. } => {
            let target = target.as_ref().map(|it| format!("<{}>", target_text(it))).unwrap_or_default();
            format!("{name}({fd}{target}, {})", flags_text(&event.crossing.flag_names().unwrap_or_default()))
        }
        Crossing::Chroot { path } => format!("{name}({})", path_text(path)),
        Crossing::PivotRoot { new_root, put_old, new_root_at, put_old_at } => {
            let at =
                |at: &Option<Place>| at.as_ref().map(|at| format!("<{}>", place(at))).unwrap_or_default();
            let (new, old) = (path_text(new_root), path_text(put_old));
            format!("{name}({new}{}, {old}{})", at(new_root_at), at(put_old_at))
        }
    }
}

fn target_text(target: &SetnsTarget) -> String {
    match target {
        SetnsTarget::Namespace { id, path: None, .. } => id.to_string(),
        SetnsTarget::Namespace { id, path: Some(path), .. } => format!("{id} {path}"),
        SetnsTarget::Process { pid, tid, comm, .. } => {
            let comm = comm.as_ref().map_or_else(|| "(gone)".to_owned(), Text::to_string);
            if tid == pid { format!("pid {pid} {comm}") } else { format!("pid {pid}/{tid} {comm}") }
        }
    }
}

fn flags_text(names: &[String]) -> String {
    if names.is_empty() { "0".to_owned() } else { names.join("|") }
}

fn path_text(path: &PathText) -> String {
    match path {
        PathText::Whole(path) => text::quoted(path.as_bytes()),
        PathText::Cut(path) => format!("{}...", text::quoted(path.as_bytes())),
        PathText::Unreadable => "<unreadable>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, CloneChild, Life, Mark, NsId, NsKind, NsSlot, Slots};
    use std::time::Duration;

    fn event(crossing: Crossing, outcome: Outcome, changed: &[(NsSlot, u64)]) -> Event {
        let before =
            Slots::from_fn(|slot| Some(NsId::new(slot.kind(), 4, 4_026_531_835 + slot.index() as u64)));
        let mut after = before;
        for &(slot, ino) in changed {
            *after.get_mut(slot) = Some(NsId::new(slot.kind(), 4, ino));
        }
        let process = Actor {
            pid: 4242,
            tid: 4242,
            ppid: Some(4000),
            pids: vec![4242],
            comm: "unshare".into(),
            uid: Some(0),
            gid: Some(0),
            euid: Some(0),
            cap_effective: Some(0),
            start_ticks: Some(1234),
            exe: None,
            arguments: None,
            cgroup: None,
        };
        Event {
            since_boot: Duration::from_secs(77),
            duration: Some(Duration::from_nanos(52_100)),
            process,
            crossing,
            compat: Some(false),
            outcome,
            before,
            after,
            marks: None,
            seen: None,
            denied: false,
            root: None,
            cwd: None,
        }
    }

    fn place(path: &str, cut: bool) -> Place {
        Place { path: path.into(), cut, ..Place::default() }
    }

    fn text(event: &Event, look: Look) -> String {
        line(event, SystemTime::UNIX_EPOCH + Duration::new(1_795_000_000, 123_456_789), look)
    }

    #[test]
    fn each_call_reads_as_strace_has_it() {
        let net = NsKind::Net;
        let lines = [
            event(
                Crossing::Unshare { flags: net.clone_flag() | 0x2_0000 },
                Outcome::Success(0),
                &[(NsSlot::In(net), 4_026_532_208), (NsSlot::In(NsKind::Mnt), 4_026_532_300)],
            ),
            event(Crossing::Unshare { flags: NsKind::User.clone_flag() }, Outcome::Failure(libc::EPERM), &[]),
            event(
                Crossing::Setns {
                    fd: 3,
                    nstype: net.clone_flag(),
                    target: Some(SetnsTarget::Namespace {
                        id: NsId::new(net, 4, 4_026_532_208),
                        kernel_id: Some(77),
                        path: Some("/run/netns/t".into()),
                    }),
                },
                Outcome::Success(0),
                &[(NsSlot::In(net), 4_026_532_208)],
            ),
            event(
                Crossing::Setns {
                    fd: 3,
                    nstype: net.clone_flag() | NsKind::Uts.clone_flag(),
                    target: Some(SetnsTarget::Process {
                        pid: 77,
                        tid: 78,
                        comm: Some("sle\nep".into()),
                        namespaces: vec![],
                    }),
                },
                Outcome::Success(0),
                &[],
            ),
            event(Crossing::Setns { fd: -1, nstype: 0, target: None }, Outcome::Failure(libc::EBADF), &[]),
            event(
                Crossing::Clone {
                    flags: Some(NsKind::Pid.clone_flag()),
                    child: Some(CloneChild {
                        pid: 4243,
                        tid: 4243,
                        pids: vec![4243, 1],
                        ppid: None,
                        cgroup: None,
                    }),
                },
                Outcome::Success(4243),
                &[(NsSlot::In(NsKind::Pid), 4_026_532_301)],
            ),
            event(
                Crossing::Chroot { path: PathText::Whole("/srv/ja\"il\u{1b}".into()) },
                Outcome::Success(0),
                &[],
            ),
            event(
                Crossing::PivotRoot {
                    new_root: PathText::Cut("/very/long".into()),
                    put_old: PathText::Unreadable,
                    new_root_at: Some(place("very/long", true)),
                    put_old_at: None,
                },
                Outcome::Failure(libc::EFAULT),
                &[],
            ),
        ];
        let mut lines = lines;
        let moved = |before, after| Some(Directory { moved: true, before, after });
        let gone = Place { detached: true, ..place("/a\n", false) };
        lines[6].root = moved(place("/", false), place("/srv/jail", false));
        lines[6].compat = Some(true);
        lines[6].cwd = moved(place("b/c", true), gone);
        let mut stopped = lines[1].clone();
        stopped.denied = true;
        let lines = [&lines[..], &[stopped]].concat();
        let text: Vec<_> = lines.iter().map(|event| text(event, Look::PLAIN)).collect();
        insta::assert_snapshot!(format!("{}\n{}", header(Look::PLAIN), text.join("\n")), @r#"
        TIME                     PID    UID  COMM             CALL
        11:06:40.123456         4242      0  unshare          unshare(CLONE_NEWNS|CLONE_NEWNET) = 0  mnt 4026531837→4026532300  net 4026531838→4026532208
        11:06:40.123456         4242      0  unshare          unshare(CLONE_NEWUSER) = -1 EPERM (Operation not permitted)
        11:06:40.123456         4242      0  unshare          setns(3<net:[4026532208] /run/netns/t>, CLONE_NEWNET) = 0  net 4026531838→4026532208
        11:06:40.123456         4242      0  unshare          setns(3<pid 77/78 "sle\nep">, CLONE_NEWUTS|CLONE_NEWNET) = 0
        11:06:40.123456         4242      0  unshare          setns(-1, 0) = -1 EBADF (Bad file descriptor)
        11:06:40.123456         4242      0  unshare          clone(CLONE_NEWPID) = 4243[1]  pid 4026531839→4026532301
        11:06:40.123456         4242      0  unshare          chroot("/srv/ja\"il\u{1b}") = 0  (32-bit)  root /→/srv/jail  cwd .../b/c→"/a\n" (detached)
        11:06:40.123456         4242      0  unshare          pivot_root("/very/long"...<.../very/long>, <unreadable>) = -1 EFAULT (Bad address)
        11:06:40.123456         4242      0  unshare          unshare(CLONE_NEWUSER) = -1 EPERM (stopped by seccomp)
        "#);
    }

    #[test]
    fn an_argument_that_leads_elsewhere_is_marked_as_of_the_entry() {
        let marked = |path: &str, after: Place| {
            let path = PathText::Whole(path.into());
            let mut event = event(Crossing::Chroot { path }, Outcome::Success(0), &[]);
            let before = |path| place(path, false);
            event.root = Some(Directory { moved: true, before: before("/jail"), after });
            event.cwd =
                Some(Directory { moved: false, before: before("/jail/home"), after: before("/jail/home") });
            let without = text(&event, Look::PLAIN).contains("as at entry");
            event.seen = Some(Seen::Entry);
            assert!(!without);
            text(&event, Look::PLAIN).contains("  (path as at entry)")
        };
        assert!(!marked("/a/b", place("/jail/a/b", false)) && !marked("//a/./b/", place("/jail/a/b", false)));
        assert!(!marked(".", place("/jail/home", false)) && !marked("a", place("/jail/home/a", false)));
        assert!(marked("/a/b", place("/jail/a/c", false)) && marked("/a", place("/a", false)));
        assert!(marked("a", place("/jail/a", false)));
        // It cannot be told.
        assert!(!marked("/a/..", place("/jail/b", false)) && !marked("/a", place("b/c", true)));
        // A process whose namespaces are others than those that were joined.
        let joined = |ino| {
            let namespaces = vec![NsId::new(NsKind::Net, 4, ino)];
            let target = Some(SetnsTarget::Process { pid: 7, tid: 7, comm: None, namespaces });
            let nstype = NsKind::Net.clone_flag();
            let changed = [(NsSlot::In(NsKind::Net), 4_026_532_208)];
            text(
                &event(Crossing::Setns { fd: 3, nstype, target }, Outcome::Success(0), &changed),
                Look::PLAIN,
            )
        };
        assert!(
            !joined(4_026_532_208).contains("as at entry") && joined(5).contains("  (target as at entry)")
        );
    }

    #[test]
    fn a_name_of_wide_characters_or_marks_takes_its_columns() {
        let column = |comm: &str| {
            let mut event = event(Crossing::Unshare { flags: 0 }, Outcome::Success(0), &[]);
            event.process.comm = comm.into();
            let line = text(&event, Look::PLAIN);
            line[..line.find("unshare(").expect("the call")].width()
        };
        assert_eq!([column("sh"), column("名前"), column("e\u{301}\u{301}e")], [column(""); 3]);
    }

    #[test]
    fn what_is_not_known_is_not_claimed() {
        let changed = [(NsSlot::In(NsKind::Net), 4_026_532_208)];
        let looks = Looks { within: Duration::from_secs(1), is_new: true };
        let child = CloneChild { pid: 4243, tid: 4243, pids: vec![], ppid: None, cgroup: None };
        let mut lines = [
            event(Crossing::Change { looks: None }, Outcome::Unseen, &changed),
            event(Crossing::Change { looks: Some(looks) }, Outcome::Unseen, &changed),
            event(Crossing::Clone { flags: None, child: Some(child) }, Outcome::Success(4243), &changed),
        ];
        let mut unknown = lines[1].clone();
        *unknown.before.get_mut(NsSlot::In(NsKind::Net)) = None;
        (lines[0].process.uid, lines[0].compat, lines[0].process.comm) = (None, None, Text::new());
        let lines = lines.iter().chain([&unknown]);
        let text: Vec<_> = lines.map(|event| text(event, Look::PLAIN)).collect();
        insta::assert_snapshot!(text.join("\n"), @"
        11:06:40.123456         4242      ?                   change  net 4026531838→4026532208
        11:06:40.123456         4242      0  unshare          change (new process)  net 4026531838→4026532208
        11:06:40.123456         4242      0  unshare          clone(?) = 4243  net 4026531838→4026532208
        11:06:40.123456         4242      0  unshare          change (new process)  net ?→4026532208
        ");
    }

    #[test]
    fn lives_of_namespaces_are_below_the_calls() {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_795_000_000, 123_456_789);
        let id = NsId::new(NsKind::Net, 4, 4_026_532_208);
        let owner = Some(NsId::new(NsKind::User, 4, 4_026_531_837));
        let namespace = Life { id, mark: Mark::Id(77) };
        let owner = owner.map(|id| Life { id, mark: Mark::Unknown });
        let by = Origination::Call { name: "unshare", pid: 7 };
        let made = created(&Created { namespace, owner, by }, time, Look::PLAIN);
        let age = Some(Duration::from_millis(1500));
        let ended = destroyed(&Destroyed { namespace, age, seen: true }, time, Look::PLAIN);
        insta::assert_snapshot!(format!("{made}\n{ended}"), @"
        11:06:40.123456                                       net:[4026532208] created, owner user:[4026531837]
        11:06:40.123456                                       net:[4026532208] destroyed after 1.500000 s
        ");
    }

    #[test]
    fn a_nested_thread_shows_all_its_ids_and_ascii_is_ascii() {
        let mut nested =
            event(Crossing::Unshare { flags: 0 }, Outcome::Success(0), &[(NsSlot::PidForChildren, 1)]);
        nested.process.tid = 4300;
        nested.process.pids = vec![4242, 17, 1];
        let text = text(&nested, Look { unicode: false, ..Look::PLAIN });
        assert!(text.is_ascii());
        insta::assert_snapshot!(text, @"11:06:40.123456  4242/4300[17 1]      0  unshare          unshare(0) = 0  pid_for_children 4026531843->1");
    }
}
